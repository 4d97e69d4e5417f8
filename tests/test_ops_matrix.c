/* linear, matmul and attention: gradients against differences in double at odd shapes, f32 on every ISA and
 * bf16 against double, attention against a plain version of the formula, and the same bits for any number of
 * threads. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static fv_ctx *context(int isa, int threads) {
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.isa = (fv_isa)isa, d.threads = threads;
    return fv_create(&d);
}

static fv_tensor *random_tensor(fv_ctx *c, fv_type type, uint64_t stream, int rank, int64_t d0, int64_t d1,
                                int64_t d2) {
    int64_t dim[3];
    dim[0] = d0, dim[1] = d1, dim[2] = d2;
    fv_tensor *t = fv_param(c, NULL, type, rank, dim);
    fv_init_normal(c, t, 1, stream);
    return t;
}

typedef struct net {
    int kind, transpose, twice; /* twice: each gradient is added to one that is there */
    fv_attention_desc attention;
} net;

/* a loss that weighs every element of the result differently: sum over (y * fixed numbers), by a product with
 * a constant */
static fv_tensor *weigh(fv_ctx *c, fv_tensor *y) {
    int64_t n = fv_numel(y), one[2] = {1, 1};
    if (!y) return NULL;
    one[1] = n;
    fv_tensor *w = fv_new(c, y->type, 2, one);
    for (int64_t i = 0; w && i < n; i++) fv_set(w, i, (double)fv_random_normal(3, 99, (uint64_t)i));
    return fv_reshape(c, fv_linear(c, fv_reshape(c, y, 1, &n), w, NULL), 1, one);
}

static fv_tensor *once(fv_ctx *c, const net *n, fv_tensor **t) {
    switch (n->kind) {
    case 0: return weigh(c, fv_linear(c, t[0], t[1], t[2]));
    case 1: return weigh(c, fv_linear_add(c, t[0], t[1], t[2], t[3]));
    case 2: return weigh(c, fv_matmul(c, t[0], t[1], n->transpose));
    case 3: return weigh(c, fv_attention(c, t[0], t[1], t[2], &n->attention));
    case 5: return weigh(c, fv_linear_act(c, t[0], t[1], t[2], (fv_act)n->transpose));
    default: return weigh(c, fv_attention(c, t[0], NULL, NULL, &n->attention));
    }
}
static fv_tensor *loss(fv_ctx *c, void *user, fv_tensor **t) {
    const net *n = (const net *)user;
    fv_tensor *y = once(c, n, t);
    return n->twice ? fv_add(c, y, once(c, n, t)) : y;
}

static void check(fv_ctx *c, net *n, fv_tensor **t, int count, const char *what) {
    double e = fv_gradcheck(c, loss, n, t, count, 40);
    CHECK(e >= 0 && e < 1e-6, "%s: %g %s", what, e, fv_error_text(c));
    e = fv_gradcheck(c, loss, n, t, count, 1); /* over the gradients of before, which do not count */
    CHECK(e >= 0 && e < 1e-6, "%s, again: %g %s", what, e, fv_error_text(c));
    for (int i = 0; i < count; i++) fv_param_free(c, t[i]);
    fv_reset(c);
}

static void gradients_of_linear(void) {
    static const int size[][3] = {{1, 1, 1}, {3, 17, 50}, {17, 50, 3}, {50, 197, 17}};
    fv_ctx *c = context(0, 2);
    for (int s = 0; s < FV__COUNT(size); s++)
        for (int kind = 0; kind < 4; kind++) {
            net n;
            memset(&n, 0, sizeof n);
            n.kind = kind & 1, n.twice = kind >> 1;
            fv_tensor *t[4];
            t[0] = random_tensor(c, FV_F64, 1, 3, 1, size[s][0], size[s][2]);
            t[1] = random_tensor(c, FV_F64, 2, 2, size[s][1], size[s][2], 0);
            t[2] = random_tensor(c, FV_F64, 3, 1, size[s][1], 0, 0);
            t[3] = random_tensor(c, FV_F64, 4, 3, 1, size[s][0], size[s][1]);
            check(c, &n, t, 4, "linear");
        }
    fv_destroy(c);
}

static void gradients_of_matmul(void) {
    fv_ctx *c = context(0, 2);
    for (int way = 0; way < 8; way++) {
        net n;
        memset(&n, 0, sizeof n);
        n.kind = 2, n.transpose = way & 1, n.twice = way >> 2;
        fv_tensor *t[2];
        t[0] = random_tensor(c, FV_F64, 1, 3, 3, 17, 5);
        int64_t r = n.transpose ? 7 : 5, k = n.transpose ? 5 : 7;
        t[1] = way & 2 ? random_tensor(c, FV_F64, 2, 2, r, k, 0) : random_tensor(c, FV_F64, 2, 3, 3, r, k);
        check(c, &n, t, 2, "matmul");
    }
    fv_destroy(c);
}

/* dims that are no multiple of a vector or of a kernel's tile: [2,m,k] [k,n] or [2,k,n], and transposed */
static void odd_gradients_of_matmul(void) {
    static const int size[][3] = {{1, 1, 1},     {3, 17, 50}, {17, 50, 3},
                                  {50, 197, 17}, {197, 3, 1}, {1, 197, 50}};
    fv_ctx *c = context(0, 1);
    for (int s = 0; s < FV__COUNT(size); s++)
        for (int way = 0; way < 4; way++) {
            net n;
            memset(&n, 0, sizeof n);
            n.kind = 2, n.transpose = way & 1;
            fv_tensor *t[2];
            int64_t r = size[s][n.transpose ? 2 : 1], k = size[s][n.transpose ? 1 : 2];
            t[0] = random_tensor(c, FV_F64, 1, 3, 2, size[s][0], size[s][1]);
            t[1] =
                way & 2 ? random_tensor(c, FV_F64, 2, 2, r, k, 0) : random_tensor(c, FV_F64, 2, 3, 2, r, k);
            check(c, &n, t, 2, "matmul at odd shapes");
        }
    fv_destroy(c);
}
/* a linear layer with its activation in one op */
static void gradients_of_linear_act(void) {
    static const int size[][3] = {{1, 1, 1}, {3, 17, 50}, {17, 50, 3}, {50, 197, 17}};
    fv_ctx *c = context(0, 1);
    for (int s = 0; s < FV__COUNT(size); s++)
        for (int way = 0; way < 4; way++) {
            net n;
            memset(&n, 0, sizeof n);
            n.kind = 5, n.transpose = way;
            fv_tensor *t[3];
            t[0] = random_tensor(c, FV_F64, 1, 3, 1, size[s][0], size[s][2]);
            t[1] = random_tensor(c, FV_F64, 2, 2, size[s][1], size[s][2], 0);
            t[2] = random_tensor(c, FV_F64, 3, 1, size[s][1], 0, 0);
            check(c, &n, t, 3, "linear_act");
        }
    fv_destroy(c);
}

static void gradients_of_attention(void) {
    static const int size[][5] = {/* N M H K hd */ {1, 1, 1, 1, 2},
                                  {3, 3, 2, 1, 6},
                                  {17, 17, 6, 2, 10},
                                  {50, 50, 3, 3, 4},
                                  {197, 197, 1, 1, 8},
                                  {17, 50, 4, 2, 6},
                                  {300, 300, 2, 1, 4}}; /* queries in two tiles */
    for (int s = 0; s < FV__COUNT(size); s++)
        for (int way = size[s][0] > 256 ? 9 : 0; way < 12; way++) {
            fv_ctx *c = context(0, 2);
            int N = size[s][0], M = size[s][1], H = size[s][2], K = size[s][3], hd = size[s][4],
                packed = way >= 6 && N == M;
            net n;
            memset(&n, 0, sizeof n);
            n.kind = packed ? 4 : 3, n.twice = way % 4 == 3;
            n.attention.num_heads = H, n.attention.num_kv_heads = K;
            if (way % 3 == 1) n.attention.causal = 1;
            if (way % 2) n.attention.rope_theta = 100, n.attention.rope_interleaved = way % 3 == 0;
            int64_t dim[2] = {2, M};
            fv_tensor *mask = fv_constant(c, NULL, FV_U8, 2, dim), *t[3];
            for (int i = 0; i < 2 * M; i++) fv_set(mask, i, i % 5 != 2);
            if (way % 3 == 2) n.attention.mask = mask;
            if (packed) t[0] = random_tensor(c, FV_F64, 1, 3, 2, N, (H + 2 * K) * hd);
            else {
                t[0] = random_tensor(c, FV_F64, 1, 3, 2, N, H * hd);
                t[1] = random_tensor(c, FV_F64, 2, 3, 2, M, K * hd);
                t[2] = random_tensor(c, FV_F64, 3, 3, 2, M, K * hd);
            }
            check(c, &n, t, packed ? 1 : 3, "attention");
            fv_destroy(c);
        }
}

/* Keys that no query asks have gradients of zeros, whatever stood in the room where they are made. */
static void attention_without_queries(void) {
    fv_ctx *c = context(0, 1);
    fv_attention_desc d;
    memset(&d, 0, sizeof d), d.num_heads = 2;
    fv_tensor *k = random_tensor(c, FV_F64, 2, 3, 2, 5, 8), *v = random_tensor(c, FV_F64, 3, 3, 2, 5, 8);
    for (int64_t queries = 3; queries >= 0; queries -= 3) {
        fv_tensor *q = random_tensor(c, FV_F64, 1, 3, 2, queries, 8);
        k->grad_set = v->grad_set = 0;
        fv_backward(c, fv_sum(c, fv_sum(c, fv_sum(c, fv_attention(c, q, k, v, &d), 2), 1), 0));
        double most = 0, g[2][80] = {{0}};
        CHECK(fv_read_grad(c, k, g[0]) && fv_read_grad(c, v, g[1]), "%s", fv_error_text(c));
        for (int i = 0; i < 80; i++) most = test_worse(most, fabs(g[0][i]) + fabs(g[1][i]));
        CHECK(queries ? most > 0.1 : most <= 0, "%d queries: a gradient of %g", (int)queries, most);
    }
    fv_destroy(c);
}

/* softmax(q k^T s + mask) v for one element of the result, by the book */
static double plain_attention(const fv_tensor *q, const fv_tensor *k, const fv_tensor *v, const net *n,
                              int64_t b, int64_t i, int64_t h, int64_t e) {
    int64_t N = q->dim[1], M = k->dim[1], H = n->attention.num_heads, K = n->attention.num_kv_heads,
            hd = q->dim[2] / H, kh = h / (H / K);
    double max = -INFINITY, sum = 0, out = 0, s[320],
           scale = n->attention.scale > 0 ? (double)n->attention.scale : 1 / sqrt((double)hd);
    for (int64_t j = 0; j < M; j++) {
        int seen = (!n->attention.causal || j <= i) &&
                   (!n->attention.mask || fv_get(n->attention.mask, b * M + j) > 0);
        s[j] = seen ? 0 : -INFINITY;
        for (int64_t d = 0; seen && d < hd; d++)
            s[j] += fv_get(q, (b * N + i) * H * hd + h * hd + d) *
                    fv_get(k, (b * M + j) * K * hd + kh * hd + d) * scale;
        max = FV__MAX(max, s[j]);
    }
    for (int64_t j = 0; j < M; j++) {
        double p = max > -INFINITY ? exp(s[j] - max) : 0;
        sum += p;
        out += p * fv_get(v, (b * M + j) * K * hd + kh * hd + e);
    }
    return sum > 0 ? out / sum : 0;
}

static void attention_is_the_formula(void) {
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++)
        for (int way = 0; way < 7; way++) {
            if (!fv_isa_available((fv_isa)isa)) continue;
            fv_ctx *c = context(isa, 2);
            int tiles = way == 6, bf16 = way == 5; /* queries in two tiles */
            int64_t N = way < 3 ? 50 : 197, H = 6, K = 2, hd = 10;
            if (tiles) N = 300, H = 2, K = 1, hd = 4;
            int64_t M = N, dim[2] = {2, M};
            net n;
            memset(&n, 0, sizeof n);
            n.attention.num_heads = (int)H, n.attention.num_kv_heads = (int)K,
            n.attention.causal = way == 1 || tiles;
            fv_tensor *mask = fv_constant(c, NULL, FV_U8, 2, dim);
            /* sample 1 has no valid key at all */
            for (int64_t i = 0; i < M; i++) fv_set(mask, i, i % 3 == 0);
            if (way == 2 || way == 4) n.attention.mask = mask;
            if (way == 4) n.attention.scale = 0.7f;
            fv_type type = bf16 ? FV_BF16 : FV_F32;
            fv_tensor *q = random_tensor(c, type, 1, 3, 2, N, H * hd),
                      *k = random_tensor(c, type, 2, 3, 2, M, K * hd),
                      *v = random_tensor(c, type, 3, 3, 2, M, K * hd);
            if (bf16) fv_autocast(c, FV_BF16);
            fv_tensor *y = fv_attention(c, q, k, v, &n.attention);
            CHECK(y, "%s", fv_error_text(c));
            double worst = 0;
            for (int64_t i = 0; y && i < fv_numel(y); i++)
                worst = test_worse(
                    worst, fabs(fv_get(y, i) - plain_attention(q, k, v, &n, i / (N * H * hd),
                                                               i / (H * hd) % N, i / hd % H, i % hd)));
            CHECK(worst < (bf16 ? 2e-2 : 3e-6), "%s way %d: %g", fv_isa_name((fv_isa)isa), way, worst);
            fv_destroy(c);
        }
}

/* forward and gradients of linear and attention in f32 or bf16, as one list of numbers */
static int64_t run_all(fv_ctx *c, fv_type type, fv_type autocast, double *out) {
    net n;
    int64_t at = 0;
    memset(&n, 0, sizeof n);
    n.attention.num_heads = 4, n.attention.num_kv_heads = 2;
    fv_tensor *x = random_tensor(c, type, 1, 3, 3, 17, 50), *w = random_tensor(c, type, 2, 2, 8 * 6, 50, 0),
              *b = random_tensor(c, type, 3, 1, 48, 0, 0);
    fv_tensor *o = random_tensor(c, type, 4, 2, 50, 24, 0), *t[4];
    fv_init_normal(c, w, 0.2f, 2), fv_init_normal(c, o, 0.2f, 4);
    fv_autocast(c, autocast);
    fv_tensor *a = fv_attention(c, fv_linear(c, x, w, b), NULL, NULL, &n.attention);
    fv_tensor *y = fv_linear_add(c, a, o, NULL, x);
    for (int64_t i = 0; y && i < fv_numel(y); i++) out[at++] = fv_get(y, i);
    fv_backward(c, weigh(c, y));
    t[0] = x, t[1] = w, t[2] = b, t[3] = o;
    for (int k = 0; k < 4; k++)
        for (int64_t i = 0; !fv_error(c) && i < fv_numel(t[k]); i++)
            out[at++] = fv__get(t[k]->grad, fv_grad_type(t[k]), i);
    return at;
}

static void precisions_and_isas_agree(void) {
    static double want[20000], got[20000];
    fv_ctx *c = context(FV_ISA_SCALAR, 1);
    int64_t n = run_all(c, FV_F64, FV_F32, want);
    double scale = 0;
    for (int64_t i = 0; i < n; i++) scale = FV__MAX(scale, fabs(want[i]));
    fv_destroy(c);
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            if (!fv_isa_available((fv_isa)isa)) continue;
            c = context(isa, 2);
            int64_t m = run_all(c, FV_F32, bf16 ? FV_BF16 : FV_F32, got);
            double worst = 0;
            for (int64_t i = 0; i < n; i++) worst = test_worse(worst, fabs(want[i] - got[i]));
            CHECK(m == n && worst < scale * (bf16 ? 2e-2 : 2e-6), "%s bf16 %d: %g of %g %s",
                  fv_isa_name((fv_isa)isa), bf16, worst, scale, fv_error_text(c));
            fv_destroy(c);
        }
}

static void threads_do_not_change_a_bit(void) {
    static double first[20000], out[20000];
    for (int threads = 1; threads <= 3; threads++) {
        fv_ctx *c = context(0, threads);
        int64_t n = run_all(c, FV_F32, FV_F32, out);
        if (threads == 1) memcpy(first, out, sizeof out);
        CHECK(n > 0 && !memcmp(first, out, (size_t)n * sizeof *out), "%d threads", threads);
        fv_destroy(c);
    }
}

static void misfits_are_refused(void) {
    for (int way = 0; way < 5; way++) {
        fv_ctx *c = context(0, 1);
        fv_attention_desc d;
        memset(&d, 0, sizeof d);
        d.num_heads = 4;
        fv_tensor *x = random_tensor(c, FV_F32, 1, 3, 2, 3, 12), *w = random_tensor(c, FV_F32, 1, 2, 5, 7, 0),
                  *f = random_tensor(c, FV_F64, 1, 2, 5, 12, 0), *y = NULL;
        if (way == 0) y = fv_linear(c, x, w, NULL);
        if (way == 1) y = fv_linear(c, x, f, NULL);
        if (way == 2) y = fv_linear(c, NULL, w, NULL);
        if (way == 3) d.num_heads = 5, y = fv_attention(c, x, NULL, NULL, &d);
        if (way == 4) y = fv_attention(c, x, x, NULL, &d);
        CHECK(!y && fv_error(c) == FV_ESHAPE && strlen(fv_error_text(c)) > 10, "way %d: %s", way,
              fv_error_text(c));
        fv_destroy(c);
    }
}

/* A scale that is negative, infinite or no number would turn the softmax's largest score into its least. */
static void odd_scales_are_refused(void) {
    static const float odd[] = {-1, -1e-30f, NAN, INFINITY, -INFINITY};
    for (int way = 0; way < 2 * FV__COUNT(odd); way++) {
        fv_ctx *c = context(0, 1);
        fv_attention_desc d;
        memset(&d, 0, sizeof d);
        d.num_heads = 2, d.scale = odd[way / 2];
        fv_tensor *x = random_tensor(c, FV_F32, 1, 3, 2, 3, 12);
        fv_tensor *y = way % 2 ? fv_attention_scores(c, x, NULL, &d) : fv_attention(c, x, NULL, NULL, &d);
        CHECK(!y && fv_error(c) == FV_EUSAGE && strstr(fv_error_text(c), "scale"), "%g: %s", (double)d.scale,
              fv_error_text(c));
        fv_destroy(c);
    }
}

/* A weight's gradient over so many rows that the product is cut along them, with the bias' gradient on the
 * way: against sums in double; added to what is there; the same bits for any number of threads. */
static void long_gradient(int64_t rows, int64_t out, int64_t in, fv_type compute) {
    float *kept[3] = {NULL, NULL, NULL};
    int64_t xd[2], gd[2], wd[2];
    xd[0] = gd[0] = rows, xd[1] = wd[1] = in, gd[1] = wd[0] = out;
    for (int threads = 1; threads <= 3; threads++) {
        fv_desc desc;
        memset(&desc, 0, sizeof desc), desc.threads = threads;
        fv_ctx *c = fv_create(&desc);
        fv_tensor *x = fv_new(c, FV_F32, 2, xd), *g = fv_new(c, FV_F32, 2, gd),
                  *w = fv_param(c, "w", FV_F32, 2, wd);
        fv_tensor *b = fv_param(c, "b", FV_F32, 1, wd);
        for (int64_t i = 0; i < rows * in; i++)
            fv_set(x, i, fv__bf16_to(fv__bf16_from(fv_random_normal(1, 1, (uint64_t)i))));
        for (int64_t i = 0; i < rows * out; i++)
            fv_set(g, i, fv__bf16_to(fv__bf16_from(fv_random_normal(1, 2, (uint64_t)i))));
        fv_autocast(c, compute);
        for (int twice = 0; twice < 2; twice++) {
            fv_tensor *y = fv_linear(c, x, w, b), *gy = y ? fv_cast(c, g, fv_grad_type(y)) : NULL;
            if (gy) fv_backward_from(c, y, gy->data);
        }
        CHECK(!fv_error(c), "%s", fv_error_text(c));
        int64_t n = out * in + out;
        kept[threads - 1] = (float *)malloc((size_t)n * sizeof(float));
        memcpy(kept[threads - 1], w->grad, (size_t)(out * in) * sizeof(float));
        memcpy(kept[threads - 1] + out * in, b->grad, (size_t)out * sizeof(float));
        double worst = 0;
        for (int64_t o = 0; o < out; o++)
            for (int64_t i = 0; i <= in; i++) {
                double sum = 0;
                for (int64_t r = 0; r < rows; r++)
                    sum += 2 * fv_get(g, r * out + o) * (i < in ? fv_get(x, r * in + i) : 1);
                double got = (double)kept[threads - 1][i < in ? o * in + i : out * in + o];
                worst = test_worse(worst, fabs(got - sum));
            }
        CHECK(worst < 2e-5 * sqrt((double)rows), "%d x %d x %d in %s, %d threads: off by %g", (int)out,
              (int)in, (int)rows, fv_type_name(compute), threads, worst);
        CHECK(!memcmp(kept[0], kept[threads - 1], (size_t)n * sizeof(float)), "%d threads give other bits",
              threads);
        fv_destroy(c);
    }
    for (int i = 0; i < 3; i++) free(kept[i]);
}
static void long_gradients(void) {
    static const int64_t shape[][3] = {{1536, 3, 1}, {1601, 14, 33}, {3137, 45, 32}, {1600, 130, 17}};
    for (int i = 0; i < 4; i++) {
        long_gradient(shape[i][0], shape[i][1], shape[i][2], FV_F32);
        long_gradient(shape[i][0], shape[i][1], shape[i][2], FV_BF16);
    }
}

int main(void) {
    RUN(gradients_of_linear);
    RUN(gradients_of_matmul);
    RUN(odd_gradients_of_matmul);
    RUN(gradients_of_linear_act);
    RUN(gradients_of_attention);
    RUN(attention_without_queries);
    RUN(attention_is_the_formula);
    RUN(precisions_and_isas_agree);
    RUN(threads_do_not_change_a_bit);
    RUN(misfits_are_refused);
    RUN(odd_scales_are_refused);
    RUN(long_gradients);
    return REPORT();
}
