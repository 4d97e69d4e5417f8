/* The elementwise and shape ops against element-by-element index arithmetic, their gradients against central
 * differences (in f64), and what the tape promises: scopes, recomputation, views, accumulation, the same bits
 * for any thread count. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static fv_ctx *context(int threads) {
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.threads = threads, d.seed = 7;
    return fv_create(&d);
}

static fv_rng test_rng = {11, 22, 0};
static int below(int n) { return (int)fv_rng_below(&test_rng, (uint32_t)n); }

/* a step tensor of numbers that bf16 holds exactly: products of two are exact in f32 */
static fv_tensor *numbers(fv_ctx *c, fv_type type, int rank, const int64_t *dim, int needs_grad) {
    fv_tensor *t = fv_new(c, type, rank, dim);
    for (int64_t i = 0; t && i < fv_numel(t); i++)
        fv_set(t, i, type == FV_U8 ? below(256) : (below(255) - 127) * (type == FV_I32 ? 1 : 0.125));
    if (t && needs_grad) t->flags |= FV_NEEDS_GRAD;
    return t;
}
static fv_tensor *numbers2(fv_ctx *c, fv_type t, int64_t a, int64_t b) {
    int64_t d[2];
    d[0] = a, d[1] = b;
    return numbers(c, t, 2, d, 1);
}
static fv_tensor *numbers3(fv_ctx *c, fv_type t, int64_t a, int64_t b, int64_t e) {
    int64_t d[3];
    d[0] = a, d[1] = b, d[2] = e;
    return numbers(c, t, 3, d, 1);
}

static int64_t some_size(void) {
    static const int64_t size[] = {1, 3, 17, 2, 5};
    return size[below(5)];
}
static int some_shape(int64_t *dim) { /* rank 1 to 5, at most about 20,000 elements */
    int rank = 1 + below(5);
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        dim[i] = some_size();
        if (n * dim[i] > 20000) dim[i] = 1;
        n *= dim[i];
    }
    return rank;
}
/* element number e of shape (rank, dim) as indices */
static void unravel(int64_t e, int rank, const int64_t *dim, int64_t *at) {
    for (int i = rank - 1; i >= 0; i--) at[i] = e % dim[i], e /= dim[i];
}
static int64_t ravel(const fv_tensor *t, const int64_t *at) {
    int64_t e = 0;
    for (int i = 0; i < t->rank; i++) e = e * t->dim[i] + at[i];
    return e;
}
/* element of t under indices of a shape aligned at the end */
static double stretched(const fv_tensor *t, int rank, const int64_t *at) {
    int64_t own[FV_MAX_RANK] = {0};
    for (int i = 0; i < t->rank; i++) own[i] = t->dim[i] == 1 ? 0 : at[rank - t->rank + i];
    return fv_get(t, ravel(t, own));
}

static void broadcasting(void) {
    static const fv_type types[4][3] = {{FV_F32, FV_F32, FV_F32},
                                        {FV_BF16, FV_BF16, FV_BF16},
                                        {FV_F32, FV_BF16, FV_F32},
                                        {FV_F64, FV_F32, FV_F64}};
    fv_ctx *c = context(2);
    for (int round = 0; round < 300; round++) {
        int64_t dim[2][8], full[8], at[8] = {0};
        int rank = some_shape(full), r[2], kind = round % 3;
        const fv_type *t = types[round / 3 % 4];
        for (int s = 0; s < 2; s++) {
            int drop = below(3) ? 0 : below(rank + 1);
            r[s] = rank - drop;
            for (int i = 0; i < r[s]; i++) dim[s][i] = below(3) ? full[drop + i] : 1;
        }
        fv_tensor *a = numbers(c, t[0], r[0], dim[0], 0), *b = numbers(c, t[1], r[1], dim[1], 0);
        fv_tensor *y = kind == 0 ? fv_add(c, a, b) : kind == 1 ? fv_sub(c, a, b) : fv_mul(c, a, b);
        CHECK(y && y->type == t[2], "%s", fv_error_text(c));
        for (int64_t e = 0; y && e < fv_numel(y); e++) {
            unravel(e, y->rank, y->dim, at);
            double p = stretched(a, y->rank, at), q = stretched(b, y->rank, at);
            double v = kind == 0 ? p + q : kind == 1 ? p - q : p * q;
            if (t[2] == FV_BF16) v = fv__bf16_to(fv__bf16_from((float)v));
            CHECK(fv_get(y, e) == v, "round %d element %lld: %g, not %g", round, (long long)e, fv_get(y, e),
                  v);
        }
        fv_reset(c);
    }
    fv_destroy(c);
}

static void permutation(void) {
    static const fv_type types[] = {FV_F32, FV_BF16, FV_F64, FV_I32, FV_U8};
    fv_ctx *c = context(2);
    for (int round = 0; round < 300; round++) {
        int64_t dim[8], at[8] = {0}, from[8] = {0};
        int rank = some_shape(dim), order[8] = {0};
        for (int i = 0; i < rank; i++) order[i] = i;
        fv_rng_shuffle(&test_rng, (int32_t *)order, rank);
        fv_tensor *x = numbers(c, types[round % 5], rank, dim, 0), *y = fv_permute(c, x, order);
        CHECK(y && y->type == x->type && y->rank == rank);
        for (int i = 0; y && i < rank; i++) CHECK(y->dim[i] == dim[order[i]]);
        for (int64_t e = 0; y && e < fv_numel(y); e++) {
            unravel(e, rank, y->dim, at);
            for (int i = 0; i < rank; i++) from[order[i]] = at[i];
            CHECK(fv_get(y, e) == fv_get(x, ravel(x, from)), "round %d", round);
        }
        fv_reset(c);
    }
    /* the shapes that a vision transformer permutes, larger than one job: heads, patches, a plain
     * transposition */
    static const int64_t shape[3][6] = {{2, 197, 3, 64, 1, 1}, {2, 3, 7, 16, 7, 16}, {1, 1, 700, 333, 1, 1}};
    static const int orders[3][6] = {{0, 2, 1, 3, 4, 5}, {0, 2, 4, 1, 3, 5}, {0, 1, 3, 2, 4, 5}};
    for (int k = 0; k < 3; k++) {
        int64_t at[8] = {0}, from[8] = {0};
        fv_tensor *x = numbers(c, FV_F32, 6, shape[k], 0), *y = fv_permute(c, x, orders[k]);
        for (int64_t e = 0; y && e < fv_numel(y); e++) {
            unravel(e, 6, y->dim, at);
            for (int i = 0; i < 6; i++) from[orders[k][i]] = at[i];
            CHECK(fv_get(y, e) == fv_get(x, ravel(x, from)), "shape %d", k);
        }
    }
    fv_destroy(c);
}

static void concatenation(void) {
    static const fv_type types[] = {FV_F32, FV_BF16, FV_I32};
    fv_ctx *c = context(2);
    for (int round = 0; round < 200; round++) {
        int64_t dim[8], own[8], at[8] = {0}, from[8] = {0}, start = 0;
        int rank = some_shape(dim), axis = below(rank), n = 1 + below(4);
        fv_tensor *x[4];
        for (int s = 0; s < n; s++) {
            for (int i = 0; i < rank; i++)
                own[i] = i == axis ? 1 + below(4) : i < axis && s < n - 1 && !below(2) ? 1 : dim[i];
            x[s] = numbers(c, types[round % 3], rank, own, 0);
        }
        fv_tensor *y = fv_concat(c, x, n, below(2) ? axis : axis - rank);
        CHECK(y && y->type == x[0]->type, "%s", fv_error_text(c));
        for (int s = 0; y && s < n; start += x[s++]->dim[axis])
            for (int64_t e = 0; e < fv_numel(y); e++) {
                unravel(e, rank, y->dim, at);
                if (at[axis] < start || at[axis] >= start + x[s]->dim[axis]) continue;
                for (int i = 0; i < rank; i++)
                    from[i] = i == axis ? at[i] - start : x[s]->dim[i] == 1 ? 0 : at[i];
                CHECK(fv_get(y, e) == fv_get(x[s], ravel(x[s], from)), "round %d source %d", round, s);
            }
        fv_reset(c);
    }
    int64_t one[3] = {1, 1, 4};
    fv_tensor *x[2]; /* a class token in f32 before tokens in bf16: the result is f32 */
    x[0] = numbers(c, FV_F32, 3, one, 0), x[1] = numbers3(c, FV_BF16, 2, 3, 4);
    fv_tensor *y = fv_concat(c, x, 2, 1);
    CHECK(y && y->type == FV_F32 && y->dim[1] == 4 && fv_get(y, 17) == fv_get(x[0], 1) &&
          fv_get(y, 20) == fv_get(x[1], 12));
    fv_destroy(c);
}

static void slices_and_gathers(void) {
    static const fv_type types[] = {FV_F32, FV_BF16, FV_I32, FV_F64};
    fv_ctx *c = context(2);
    for (int round = 0; round < 200; round++) {
        int64_t dim[8], at[8] = {0};
        int rank = some_shape(dim), axis = below(rank);
        int64_t start = below((int)dim[axis]), count = 1 + below((int)(dim[axis] - start));
        fv_tensor *x = numbers(c, types[round % 4], rank, dim, 0), *y = fv_slice(c, x, axis, start, count);
        CHECK(y && y->dim[axis] == count);
        for (int64_t e = 0; y && e < fv_numel(y); e++) {
            unravel(e, rank, y->dim, at);
            at[axis] += start;
            CHECK(fv_get(y, e) == fv_get(x, ravel(x, at)), "round %d", round);
        }
        int64_t rows = 1 + below(30), cols = some_size() * 40, where[2] = {some_size(), some_size()};
        fv_tensor *table = numbers2(c, types[round % 4], rows, cols),
                  *index = fv_new(c, round & 1 ? FV_I32 : FV_I64, 2, where);
        for (int64_t i = 0; i < fv_numel(index); i++) fv_set(index, i, below((int)rows));
        table->flags = 0;
        y = fv_gather(c, table, index);
        CHECK(y && y->rank == 3 && y->dim[2] == cols);
        for (int64_t e = 0; y && e < fv_numel(y); e++)
            CHECK(fv_get(y, e) == fv_get(table, (int64_t)fv_get(index, e / cols) * cols + e % cols));
        fv_reset(c);
    }
    fv_destroy(c);
}

static void reductions(void) {
    static const fv_type types[] = {FV_F32, FV_BF16, FV_F64};
    fv_ctx *c = context(2);
    for (int round = 0; round < 200; round++) {
        int64_t dim[8], at[8] = {0};
        int rank = some_shape(dim), axis = below(rank);
        fv_tensor *x = numbers(c, types[round % 3], rank, dim, 0);
        fv_tensor *sum = fv_sum(c, x, axis), *mean = fv_mean(c, x, axis - rank), *max = fv_max(c, x, axis);
        CHECK(sum && mean && max && sum->rank == rank - 1 && max->type == x->type);
        double eps = x->type == FV_BF16 ? 4e-3 : 1e-6;
        for (int64_t e = 0; max && e < fv_numel(sum); e++) {
            double s = 0, m = -1e30;
            int64_t r = 0;
            unravel(e, rank - 1, sum->dim, at);
            for (int i = rank - 1; i > axis; i--) at[i] = at[i - 1];
            for (at[axis] = 0; at[axis] < dim[axis]; at[axis]++, r++) {
                double v = fv_get(x, ravel(x, at));
                s += v, m = v > m ? v : m;
            }
            CHECK(fabs(fv_get(sum, e) - s) <= eps * fabs(s) && fv_get(max, e) == m, "round %d", round);
            CHECK(fabs(fv_get(mean, e) - s / (double)r) <= eps * fabs(s));
        }
        fv_reset(c);
    }
    int64_t long_row[2] = {3, 40000};
    fv_tensor *x = numbers(c, FV_F32, 2, long_row, 0), *y = fv_sum(c, x, 1);
    double s = 0;
    for (int i = 0; i < 40000; i++) s += fv_get(x, 40000 + i);
    CHECK(fv_get(y, 1) == (double)(float)s);
    x = numbers2(c, FV_F32, 2, 3), fv_set(x, 1, NAN), fv_set(x, 2, INFINITY);
    CHECK(isnan(fv_get(fv_max(c, x, 1), 0)));
    fv_destroy(c);
}

/* ---- gradients ---- */
/* sum of w*y*y with weights that differ by element, so that a gradient in the wrong place shows */
static fv_tensor *loss_of(fv_ctx *c, fv_tensor *y) {
    int64_t flat[1] = {-1};
    if (!y) return NULL;
    fv_tensor *w = fv_new(c, y->type, y->rank, y->dim);
    for (int64_t i = 0; w && i < fv_numel(w); i++) fv_set(w, i, 0.5 + 0.37 * (double)(i % 13));
    return fv_sum(c, fv_reshape(c, fv_mul(c, fv_mul(c, y, y), w), 1, flat), 0);
}

static const int turn3[3] = {2, 0, 1}, heads[4] = {0, 2, 1, 3};
static fv_tensor *f_add(fv_ctx *c, void *u, fv_tensor **t) {
    (void)u;
    return loss_of(c, fv_add(c, t[0], t[1]));
}
static fv_tensor *f_sub(fv_ctx *c, void *u, fv_tensor **t) {
    (void)u;
    return loss_of(c, fv_sub(c, t[0], t[1]));
}
static fv_tensor *f_mul(fv_ctx *c, void *u, fv_tensor **t) {
    (void)u;
    return loss_of(c, fv_mul(c, t[0], t[1]));
}
static fv_tensor *f_twice(fv_ctx *c, void *u, fv_tensor **t) { /* an operand used four times over */
    (void)u;
    return loss_of(c, fv_sub(c, fv_add(c, t[0], t[0]), fv_mul(c, t[0], t[0])));
}
static fv_tensor *f_permute(fv_ctx *c, void *u, fv_tensor **t) {
    (void)u; /* t[0] gets a gradient from two sides: one of the permutations has to add */
    return fv_add(c, loss_of(c, fv_permute(c, t[0], turn3)),
                  loss_of(c, fv_scale(c, fv_permute(c, t[0], turn3), 2.5f)));
}
static fv_tensor *f_heads(fv_ctx *c, void *u, fv_tensor **t) {
    int64_t dim[4];
    (void)u;
    dim[0] = t[0]->dim[0], dim[1] = t[0]->dim[1], dim[2] = -1, dim[3] = 2;
    return loss_of(c, fv_permute(c, fv_reshape(c, t[0], 4, dim), heads));
}
static fv_tensor *f_concat(fv_ctx *c, void *u, fv_tensor **t) {
    fv_tensor *x[3];
    (void)u, x[0] = t[1], x[1] = t[0], x[2] = t[0];
    return loss_of(c, fv_concat(c, x, 3, 1));
}
static fv_tensor *f_slice(fv_ctx *c, void *u, fv_tensor **t) { /* two overlapping slices */
    (void)u;
    return fv_add(c, loss_of(c, fv_slice(c, t[0], 1, 1, 2)), loss_of(c, fv_slice(c, t[0], 1, 0, 2)));
}
static fv_tensor *f_gather(fv_ctx *c, void *u, fv_tensor **t) {
    return loss_of(c, fv_gather(c, t[0], (fv_tensor *)u));
}
static fv_tensor *f_reduce(fv_ctx *c, void *u, fv_tensor **t) {
    fv_tensor *l = NULL;
    (void)u;
    for (int d = 0; d < 3; d++) {
        fv_tensor *y =
            loss_of(c, fv_add(c, fv_sum(c, t[0], d), fv_add(c, fv_mean(c, t[0], d), fv_max(c, t[0], d))));
        l = l ? fv_add(c, l, y) : y;
    }
    return l;
}
static fv_tensor *f_dropout(fv_ctx *c, void *u, fv_tensor **t) {
    (void)u;
    return loss_of(c, fv_add(c, t[0], fv_drop_path(c, fv_dropout(c, t[0], 0.3f), 0.5f)));
}

/* the last two thirds of the rows: what lies behind a start that no vector is aligned to */
static fv_tensor *f_slice_odd(fv_ctx *c, void *u, fv_tensor **t) {
    int64_t n = t[0]->dim[2];
    (void)u;
    return loss_of(c, fv_slice(c, t[0], 2, n / 3, n - n / 3));
}
static fv_tensor *f_concat_last(fv_ctx *c, void *u, fv_tensor **t) {
    (void)u;
    return loss_of(c, fv_concat(c, t, 2, 2));
}

/* x, with a gradient that is no number at its first element */
static int spoilt_shape(fv_ctx *c, fv_tensor *y) {
    (void)c;
    return fv__like(y, y->node->src[0], FV_F64);
}
static void spoilt_fwd(fv_ctx *c, fv_tensor *y) {
    (void)c;
    memcpy(y->data, y->node->src[0]->data, (size_t)fv_numel(y) * sizeof(double));
}
static void spoilt_bwd(fv_ctx *c, fv_tensor *y) {
    double *g = (double *)fv__grad_or_zeros(c, y->node->src[0]);
    for (int64_t i = 0; g && i < fv_numel(y); i++) g[i] += i ? ((double *)y->grad)[i] : NAN;
}
static fv_tensor *f_spoilt(fv_ctx *c, void *u, fv_tensor **t) {
    static const fv__op op = {"spoilt", spoilt_shape, spoilt_fwd, spoilt_bwd, NULL, NULL};
    (void)u;
    return loss_of(c, fv__apply(c, fv__make(c, &op, t, 1)));
}
/* x, with a gradient that is a quarter too large */
static void large_bwd(fv_ctx *c, fv_tensor *y) {
    double *g = (double *)fv__grad_or_zeros(c, y->node->src[0]);
    for (int64_t i = 0; g && i < fv_numel(y); i++) g[i] += 1.25 * ((double *)y->grad)[i];
}
static fv_tensor *f_large(fv_ctx *c, void *u, fv_tensor **t) {
    static const fv__op op = {"large", spoilt_shape, spoilt_fwd, large_bwd, NULL, NULL};
    (void)u;
    return loss_of(c, fv__apply(c, fv__make(c, &op, t, 1)));
}
static void gradients(void) {
    static const struct {
        const char *name;
        fv_loss_fn f;
        int64_t a[3], b[3];
    } cases[] = {
        {"add", f_add, {2, 3, 5}, {2, 3, 5}},
        {"add last", f_add, {2, 3, 5}, {1, 1, 5}},
        {"add middle", f_add, {2, 3, 5}, {2, 1, 5}},
        {"add both", f_add, {2, 1, 5}, {1, 3, 1}},
        {"sub", f_sub, {2, 3, 5}, {1, 3, 5}},
        {"sub other", f_sub, {1, 3, 1}, {2, 3, 5}},
        {"mul", f_mul, {2, 3, 5}, {2, 3, 5}},
        {"mul first", f_mul, {2, 1, 1}, {2, 3, 5}},
        {"mul both", f_mul, {2, 3, 1}, {2, 1, 5}},
        {"mul one", f_mul, {2, 3, 5}, {1, 1, 1}},
        {"twice", f_twice, {2, 3, 5}, {1, 1, 1}},
        {"permute", f_permute, {3, 5, 4}, {1, 1, 1}},
        {"heads", f_heads, {2, 3, 6}, {1, 1, 1}},
        {"concat", f_concat, {3, 2, 4}, {1, 1, 4}},
        {"concat whole", f_concat, {3, 2, 4}, {3, 2, 4}},
        {"slice", f_slice, {3, 4, 2}, {1, 1, 1}},
        {"reduce", f_reduce, {3, 4, 5}, {1, 1, 1}},
        {"dropout", f_dropout, {5, 3, 4}, {1, 1, 1}},
    };
    fv_ctx *c = context(2);
    fv_training(c, 1);
    fv_seed(c, 3, 4);
    for (int k = 0; k < FV__COUNT(cases); k++) {
        fv_tensor *t[2];
        t[0] = fv_param(c, NULL, FV_F64, 3, cases[k].a), t[1] = fv_param(c, NULL, FV_F64, 3, cases[k].b);
        for (int s = 0; s < 2; s++) fv_init_normal(c, t[s], 1, (uint64_t)(2 * k + s));
        fv_dropout(c, t[0],
                   0.3f); /* numbers were drawn before, and it draws the same each time all the same */
        double worst = fv_gradcheck(c, cases[k].f, NULL, t, 2, 0);
        CHECK(worst >= 0 && worst < 1e-7, "%s: %g %s", cases[k].name, worst, fv_error_text(c));
        fv_param_free(c, t[0]), fv_param_free(c, t[1]);
        fv_reset(c);
    }
    int64_t rows[2] = {5, 70}, n[1] = {6};
    fv_tensor *table = fv_param(c, NULL, FV_F64, 2, rows), *index = fv_constant(c, NULL, FV_I32, 1, n);
    for (int i = 0; i < 6; i++) fv_set(index, i, i % 4 == 3 ? 0 : i % 4); /* some rows twice, row 4 never */
    fv_init_normal(c, table, 1, 99);
    double worst = fv_gradcheck(c, f_gather, index, &table, 1, 100);
    CHECK(worst >= 0 && worst < 1e-7, "gather: %g", worst);
    worst = fv_gradcheck(c, f_spoilt, NULL, &table, 1, 0);
    CHECK(isnan(worst) && !fv_error(c), "a gradient that is no number: %g %s", worst, fv_error_text(c));
    worst = fv_gradcheck(c, f_large, NULL, &table, 1, 0); /* the error over the largest of the gradients */
    CHECK(fabs(worst - 0.2) < 1e-6, "a gradient a quarter too large: %g", worst);
    fv_destroy(c);
}

/* the same ops where dims are 1, 3, 17, 50, 197: no multiple of a vector, over a kernel's blocks. b: which
 * dims of the second operand are 1 */
static void odd_gradients(void) {
    static const int64_t size[][3] = {{1, 3, 17},   {3, 17, 50},  {17, 50, 1},  {50, 1, 197},
                                      {197, 17, 3}, {1, 197, 50}, {17, 3, 197}, {1, 1, 1}};
    static const struct {
        const char *name;
        fv_loss_fn f;
        int b;
    } cases[] = {{"add", f_add, 0},          {"add rows", f_add, 6},    {"sub", f_sub, 0},
                 {"sub columns", f_sub, 1},  {"mul", f_mul, 0},         {"mul middle", f_mul, 2},
                 {"mul one", f_mul, 7},      {"permute", f_permute, 7}, {"concat", f_concat, 0},
                 {"last", f_concat_last, 0}, {"slice", f_slice_odd, 7}, {"reduce", f_reduce, 7},
                 {"dropout", f_dropout, 7}};
    fv_ctx *c = context(2);
    fv_training(c, 1);
    fv_seed(c, 3, 4);
    for (int s = 0; s < FV__COUNT(size); s++)
        for (int k = 0; k < FV__COUNT(cases); k++) {
            fv_tensor *t[2];
            int64_t b[3];
            for (int i = 0; i < 3; i++) b[i] = cases[k].b >> i & 1 ? 1 : size[s][i];
            t[0] = fv_param(c, NULL, FV_F64, 3, size[s]), t[1] = fv_param(c, NULL, FV_F64, 3, b);
            for (int i = 0; i < 2; i++) fv_init_normal(c, t[i], 1, (uint64_t)(100 + 2 * k + i));
            double worst = fv_gradcheck(c, cases[k].f, NULL, t, 2, 30);
            CHECK(worst >= 0 && worst < 1e-6, "%s of %dx%dx%d: %g %s", cases[k].name, (int)size[s][0],
                  (int)size[s][1], (int)size[s][2], worst, fv_error_text(c));
            fv_param_free(c, t[0]), fv_param_free(c, t[1]);
            fv_reset(c);
        }
    for (int s = 0; s < FV__COUNT(size); s++) {
        int64_t rows[2], n[1] = {17};
        rows[0] = size[s][0], rows[1] = size[s][2];
        fv_tensor *table = fv_param(c, NULL, FV_F64, 2, rows), *index = fv_constant(c, NULL, FV_I32, 1, n);
        for (int i = 0; i < 17; i++) fv_set(index, i, i * 5 % (int)rows[0]);
        fv_init_normal(c, table, 1, 99);
        double worst = fv_gradcheck(c, f_gather, index, &table, 1, 60);
        CHECK(worst >= 0 && worst < 1e-6, "gather of %dx%d: %g", (int)rows[0], (int)rows[1], worst);
        fv_reset(c);
    }
    fv_destroy(c);
}

/* the same network with bf16 between and with f32 between: gradients agree to bf16's precision */
static void bf16_gradients(void) {
    double sum[2][2] = {{0, 0}, {0, 0}};
    static float keep[2][3 * 40 * 24];
    for (int k = 0; k < 2; k++) {
        fv_ctx *c = context(2);
        fv_type t = k ? FV_BF16 : FV_F32;
        int64_t dim[3] = {3, 40, 24}, row[1] = {24};
        fv_tensor *x = fv_param(c, NULL, FV_F32, 3, dim), *b = fv_param(c, NULL, FV_F32, 1, row), *p[2];
        fv_init_normal(c, x, 1, 1), fv_init_normal(c, b, 1, 2);
        fv_tensor *h = fv_add(c, fv_cast(c, x, t), fv_cast(c, b, t));
        h = fv_mul(c, fv_permute(c, fv_scale(c, h, 0.5f), turn3), fv_permute(c, fv_cast(c, x, t), turn3));
        CHECK(h && h->type == t);
        p[0] = fv_slice(c, h, 2, 0, 7), p[1] = fv_slice(c, h, 2, 5, 20);
        h = fv_mean(c, fv_concat(c, p, 2, 2), 2);
        fv_backward(c, loss_of(c, fv_cast(c, h, FV_F32)));
        CHECK(!fv_error(c), "%s", fv_error_text(c));
        if (x->grad) memcpy(keep[k], x->grad, sizeof keep[k]);
        for (int i = 0; b->grad && i < 24; i++) sum[k][0] += fabs((double)((float *)b->grad)[i]);
        fv_destroy(c);
    }
    double scale = 0, worst = 0;
    for (int i = 0; i < FV__COUNT(keep[0]); i++) {
        scale = fmax(scale, fabs((double)keep[0][i]));
        worst = test_worse(worst, fabs((double)keep[0][i] - (double)keep[1][i]));
    }
    CHECK(scale > 0 && worst < 0.03 * scale, "%g of %g", worst, scale);
    CHECK(fabs(sum[0][0] - sum[1][0]) < 0.02 * sum[0][0], "%g %g", sum[0][0], sum[1][0]);
}

/* ---- threads: an embedding and tokens through everything here, large enough for many jobs ---- */
typedef struct bits {
    float y[4 * 96], cls[96], pos[101 * 96], table[50 * 96], gain[96];
} bits;

/* cls, pos, table, gain, [4,100] indices */
static fv_tensor *network(fv_ctx *c, fv_tensor **p, const fv_tensor *index) {
    fv_tensor *x[2];
    int order[3] = {0, 2, 1};
    x[0] = p[0], x[1] = fv_gather(c, p[2], index);
    fv_tensor *h = fv_add(c, fv_concat(c, x, 2, 1), p[1]);
    fv_scope s = fv_scope_begin(c);
    fv_tensor *f = fv_dropout(c, fv_mul(c, h, p[3]), 0.1f);
    f = fv_permute(c, fv_permute(c, f, order), order);
    h = fv_scope_end(c, s, fv_add(c, h, fv_drop_path(c, f, 0.3f)));
    s = fv_scope_begin(c);
    f = fv_sub(c, fv_mul(c, h, h), fv_scale(c, h, 0.5f));
    h = fv_scope_end(c, s, fv_add(c, h, fv_dropout(c, f, 0.2f)));
    int64_t dim[2] = {4, 96};
    return fv_add(c, fv_reshape(c, fv_slice(c, h, 1, 0, 1), 2, dim),
                  fv_add(c, fv_mean(c, h, 1), fv_max(c, h, 1)));
}

static void run_network(int threads, fv_type type, int recompute, uint64_t step, bits *out) {
    fv_ctx *c = context(threads);
    static const int64_t dims[4][3] = {{1, 1, 96}, {1, 101, 96}, {50, 96, 1}, {96, 1, 1}},
                         where[2] = {4, 100};
    static const int rank[4] = {3, 3, 2, 1};
    fv_tensor *p[4], *index = fv_constant(c, NULL, FV_I64, 2, where), *q[4];
    void *grads[4];
    memset(out, 0, sizeof *out);
    grads[0] = out->cls, grads[1] = out->pos, grads[2] = out->table, grads[3] = out->gain;
    for (int i = 0; i < 4; i++)
        p[i] = fv_param(c, NULL, FV_F32, rank[i], dims[i]), fv_init_normal(c, p[i], 1, (uint64_t)i);
    for (int i = 0; i < 400; i++) fv_set(index, i, i * 7 % 50);
    fv_training(c, 1), fv_seed(c, 5, step), fv_recompute(c, recompute);
    for (int i = 0; i < 4; i++) q[i] = fv_cast(c, p[i], type);
    fv_tensor *y = fv_cast(c, network(c, q, index), FV_F32);
    if (y) memcpy(out->y, y->data, sizeof out->y);
    fv_backward(c, loss_of(c, y));
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    for (int i = 0; i < 4; i++)
        if (p[i]->grad) memcpy(grads[i], p[i]->grad, (size_t)fv_numel(p[i]) * 4);
    fv_destroy(c);
}

static bits one, other;
static void thread_counts(void) {
    for (int t = 0; t < 2; t++) {
        fv_type type = t ? FV_BF16 : FV_F32;
        run_network(1, type, 0, 1, &one);
        double s = 0;
        for (int i = 0; i < 96; i++) s += fabs((double)one.cls[i]) * fabs((double)one.gain[i]);
        CHECK(s > 0);
        for (int threads = 2; threads <= 3; threads++) {
            run_network(threads, type, 0, 1, &other);
            CHECK(!memcmp(&one, &other, sizeof one), "%d threads, %s", threads, fv_type_name(type));
        }
    }
}
/* In f64 nothing is rounded away at the end, so the order of a sum over rows shows. */
static void thread_counts_of_sums(void) {
    double grad[3][7];
    for (int threads = 1; threads <= 3; threads++) {
        fv_ctx *c = context(threads);
        int64_t row[1] = {7}, dim[2] = {30000, 7};
        fv_tensor *b = fv_param(c, NULL, FV_F64, 1, row), *x = fv_constant(c, NULL, FV_F64, 2, dim);
        fv_init_normal(c, x, 1, 1);
        fv_backward(c, loss_of(c, fv_add(c, x, b)));
        if (b->grad) memcpy(grad[threads - 1], b->grad, sizeof grad[0]);
        CHECK(b->grad && !memcmp(grad[0], grad[threads - 1], sizeof grad[0]), "%d threads", threads);
        fv_destroy(c);
    }
    fv_ctx *c = context(2); /* a number for 100,000: summed in parts, none of which is lost */
    int64_t unit[1] = {1}, many[1] = {100000};
    fv_tensor *b = fv_param(c, NULL, FV_F64, 1, unit), *x = fv_constant(c, NULL, FV_F64, 1, many);
    fv_init_fill(x, 1);
    fv_backward(c, fv_sum(c, fv_mul(c, x, b), 0));
    CHECK(b->grad && ((double *)b->grad)[0] == 100000, "%g", b->grad ? ((double *)b->grad)[0] : 0);
    fv_destroy(c);
}

static void recomputation(void) { /* the same masks are drawn when a scope is computed again */
    run_network(2, FV_F32, 0, 1, &one);
    run_network(2, FV_F32, 1, 1, &other);
    CHECK(!memcmp(&one, &other, sizeof one));
    run_network(2, FV_F32, 1, 2, &other);
    CHECK(memcmp(one.y, other.y, sizeof one.y), "another step has other masks");
}

static void dropout_masks(void) {
    fv_ctx *c = context(2);
    enum { N = 100000 };
    int64_t dim[1] = {N}, two[2] = {1000, 20};
    fv_tensor *x = fv_new(c, FV_F32, 1, dim), *z = fv_new(c, FV_F32, 2, two);
    fv_init_fill(x, 1), fv_init_fill(z, 1);
    CHECK(fv_dropout(c, x, 0.25f) == x, "evaluation");
    fv_training(c, 1);
    CHECK(fv_dropout(c, x, 0) == x && fv_drop_path(c, x, 0) == x);
    fv_seed(c, 1, 2);
    fv_tensor *a = fv_dropout(c, x, 0.25f), *b = fv_dropout(c, x, 0.25f);
    fv_seed(c, 1, 2);
    fv_tensor *again = fv_dropout(c, x, 0.25f);
    fv_seed(c, 1, 3);
    fv_tensor *later = fv_dropout(c, x, 0.25f);
    fv_seed(c, 2, 2);
    fv_tensor *elsewhere = fv_dropout(c, x, 0.25f);
    int zeros = 0, both = 0;
    for (int i = 0; i < N; i++) {
        double v = fv_get(a, i);
        CHECK(v == 0 || fabs(v - 1 / 0.75) < 1e-6);
        /* the definition: element i uses number i of stream (step << 20) + op, here op 0 */
        CHECK((v == 0) == (fv_random_uniform(1, (uint64_t)2 << 20, (uint64_t)i) < 0.25f), "element %d", i);
        zeros += v == 0, both += v == 0 && fv_get(b, i) == 0;
    }
    CHECK(abs(zeros - N / 4) < 600 && abs(both - N / 16) < 350, "%d %d", zeros, both); /* over four std */
    CHECK(!memcmp(a->data, again->data, N * 4) && memcmp(a->data, later->data, N * 4));
    CHECK(memcmp(a->data, elsewhere->data, N * 4));
    fv_tensor *path = fv_drop_path(c, z, 0.5f);
    zeros = 0;
    for (int i = 0; i < 1000; i++) {
        for (int j = 0; j < 20; j++) CHECK(fv_get(path, i * 20 + j) == fv_get(path, i * 20));
        zeros += fv_get(path, i * 20) == 0;
    }
    CHECK(zeros > 420 && zeros < 580, "%d", zeros);
    fv_tensor *none = fv_dropout(c, x, 1);
    for (int i = 0; i < 100; i++) CHECK(fv_get(none, i) == 0);
    fv_destroy(c);
}

/* ---- the tape ---- */
static void views(void) {
    fv_ctx *c = context(1);
    int64_t flat[1] = {-1}, wide[2] = {2, -1};
    fv_tensor *x = numbers3(c, FV_F32, 2, 3, 4);
    fv_tensor *v = fv_reshape(c, x, 2, wide);
    CHECK(v && v->data == x->data && v->dim[1] == 12);
    int same[3] = {0, 1, 2};
    CHECK(fv_permute(c, x, same)->data == x->data);
    fv_no_grad(c, 1);
    fv_scope s = fv_scope_begin(c);
    fv_tensor *y = fv_scale(c, x, 2);
    y = fv_scope_end(c, s, fv_reshape(c, fv_reshape(c, y, 2, wide), 1, flat));
    size_t held = fv_memory(c).step_now;
    for (int i = 0; i < 5; i++) fv_scale(c, x, 100); /* would take the memory if it had been freed */
    CHECK(fv_memory(c).step_now > held);
    for (int i = 0; i < 24; i++) CHECK(fv_get(y, i) == 2 * fv_get(x, i));
    fv_destroy(c);
}

static void scopes_free_memory(void) {
    fv_ctx *c = context(1);
    int64_t dim[1] = {100000};
    fv_tensor *x = fv_new(c, FV_F32, 1, dim);
    fv_init_fill(x, 1);
    x->flags |= FV_NEEDS_GRAD;
    for (int grad = 0; grad < 3; grad++) { /* none; kept; recomputed */
        fv_no_grad(c, grad == 0), fv_recompute(c, grad == 2);
        size_t before = fv_memory(c).step_now;
        fv_scope s = fv_scope_begin(c);
        fv_tensor *y = x;
        for (int i = 0; i < 10; i++) y = fv_mul(c, y, y);
        y = fv_scope_end(c, s, y);
        size_t kept = fv_memory(c).step_now - before;
        CHECK(y && fv_get(y, 7) == 1);
        CHECK(grad == 1 ? kept >= 10 * 400000 : kept < 2 * 400000, "%d: %zu", grad, kept);
        if (grad) {
            fv_backward(c, fv_sum(c, y, 0));
            CHECK(x->grad && ((float *)x->grad)[7] == 1024.0f * (float)grad, "%g",
                  x->grad ? (double)((float *)x->grad)[7] : 0);
        }
    }
    fv_destroy(c);
}

/* What is spent lasts until the backward pass has read it, and not longer; the gradient is the same. */
static void spent_results(void) {
    fv_ctx *c = context(1);
    float g[2][24], in[24];
    fv_read(c, numbers3(c, FV_F32, 2, 3, 4), in);
    for (int spend = 0; spend < 2; spend++) {
        fv_reset(c);
        fv_tensor *x = numbers3(c, FV_F32, 2, 3, 4);
        fv_write(c, x, in);
        x->flags |= FV_NEEDS_GRAD;
        fv_tensor *wide = fv_scale(c, x, 3), *u = fv_gelu(c, wide), *y = fv_mul(c, u, u);
        if (spend) fv_spend(wide), fv_spend(u), fv_spend(x), fv_spend(NULL);
        size_t held = fv_memory(c).step_now;
        CHECK(wide && u && wide->data && u->data, "nothing goes before the backward pass");
        fv_backward(c, fv_sum(c, fv_reshape(c, y, 1, (const int64_t[]){-1}), 0));
        CHECK((!wide->data) == spend && (!u->data) == spend && x->data && y->data, "spent: %d", spend);
        CHECK(!spend || fv_memory(c).step_now < held + 3 * 128, "%zu bytes, then %zu", held,
              fv_memory(c).step_now);
        fv_read_grad(c, x, g[spend]);
    }
    CHECK(!memcmp(g[0], g[1], sizeof g[0]) && !fv_error(c), "%s", fv_error_text(c));
    fv_destroy(c);
}

/* A step of many large tensors, each in a chunk of its own: there is no number of chunks that is too many. No
 * page is touched. */
static void many_chunks(void) {
    fv_ctx *c = context(1);
    int64_t dim[1] = {9 << 20}; /* 36 MB */
    size_t held = 0;
    for (int step = 0; step < 3; step++) {
        fv_reset(c);
        for (int i = 0; i < 150 && !fv_error(c); i++) fv_new(c, FV_F32, 1, dim);
        CHECK(!fv_error(c), "%s", fv_error_text(c));
        CHECK(!step || fv_memory(c).now == held, "%zu bytes after a step, then %zu", held, fv_memory(c).now);
        held = fv_memory(c).now;
    }
    fv_destroy(c);
}

/* Four scopes of ten multiplications each: recomputed, a backward pass holds one scope's tensors at a time,
 * not all. */
static void recomputation_bounds_memory(void) {
    size_t peak[2];
    for (int k = 0; k < 2; k++) {
        fv_ctx *c = context(1);
        int64_t dim[1] = {100000};
        fv_tensor *x = fv_param(c, NULL, FV_F32, 1, dim), *y = x;
        fv_init_fill(x, 1);
        fv_recompute(c, k);
        for (int layer = 0; layer < 4; layer++) {
            fv_scope s = fv_scope_begin(c);
            for (int i = 0; i < 10; i++) y = fv_mul(c, y, x);
            y = fv_scope_end(c, s, y);
        }
        fv_backward(c, fv_sum(c, y, 0));
        CHECK(!fv_error(c) && x->grad && ((float *)x->grad)[9] == 41, "%s", fv_error_text(c));
        peak[k] = fv_memory(c).step_peak;
        fv_destroy(c);
    }
    CHECK(peak[0] > 40 * 400000 && peak[1] < 20 * 400000, "%zu %zu", peak[0], peak[1]);
}

static void accumulation(void) {
    fv_ctx *c = context(1);
    int64_t dim[1] = {5};
    fv_tensor *w = fv_param(c, "w", FV_F32, 1, dim);
    fv_init_fill(w, 3);
    for (int round = 1; round <= 3; round++) {
        fv_backward(c, fv_sum(c, fv_mul(c, w, w), 0));
        CHECK(w->grad && ((float *)w->grad)[4] == 6.0f * (float)round);
        fv_reset(c);
    }
    float g[5] = {1, 2, 3, 4, 5};
    w->grad_set = 0; /* as an optimiser's step leaves it */
    fv_backward_from(c, fv_scale(c, w, 10), g);
    for (int i = 0; i < 5; i++) CHECK(((float *)w->grad)[i] == 10 * g[i]);
    float v[2] = {1, 2};
    int64_t two[1] = {2};
    fv_tensor *x = fv_input(c, FV_F32, 1, two, v, 1); /* an input's gradient stays readable */
    fv_backward(c, fv_sum(c, fv_scale(c, x, 4), 0));
    CHECK(x->grad && ((float *)x->grad)[1] == 4);
    fv_no_grad(c, 1);
    fv_tensor *y = fv_sum(c, w, 0);
    CHECK(y && !(y->flags & FV_NEEDS_GRAD));
    fv_backward(c, y);
    CHECK(fv_error(c) == FV_EUSAGE);
    fv_clear_error(c);
    fv_no_grad(c, 0);
    fv_backward(c, fv_scale(c, w, 1));
    CHECK(fv_error(c) == FV_ESHAPE, "a loss has one element");
    fv_destroy(c);
}

/* what is given back is used again, neighbours as one; what is held is counted, and may be limited */
static void memory_is_counted(void) {
    fv_ctx *c = context(1);
    for (int order = 0; order < 2; order++) {
        fv__span *a = fv__pool_alloc(c, 1000), *b = fv__pool_alloc(c, 1000), *last = fv__pool_alloc(c, 1000);
        char *at = a->data;
        fv__pool_free(c, order ? a : b), fv__pool_free(c, order ? b : a);
        CHECK(fv_memory(c).step_now == 1024, "%zu", fv_memory(c).step_now);
        a = fv__pool_alloc(c, 2000);
        CHECK(a->data == at, "the room of two neighbours is not one");
        fv__pool_free(c, a), fv__pool_free(c, last);
    }
    fv_memory_info m = fv_memory(c);
    CHECK(m.step_now == 0 && m.step_peak == 3 * 1024, "%zu, at most %zu", m.step_now, m.step_peak);
    fv__pool_free(c, fv__pool_alloc(c, 1000));
    CHECK(fv_memory(c).step_peak == 3 * 1024, "a small buffer makes it %zu", fv_memory(c).step_peak);
    void *p = fv_alloc(c, 1 << 20);
    size_t held = fv_memory(c).now - m.now, peak = fv_memory(c).peak;
    CHECK(held >= 1 << 20 && held < (1 << 20) + 256 && peak >= fv_memory(c).now, "%zu", held);
    fv_free(c, p), fv_free(c, fv_alloc(c, 1));
    CHECK(fv_memory(c).now == m.now && fv_memory(c).peak == peak, "%zu", fv_memory(c).now);
    fv_destroy(c);
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.memory_limit = 5 << 20;
    c = fv_create(&d);
    CHECK(fv_alloc(c, 3 << 20) && !fv_alloc(c, 3 << 20) && fv_error(c) == FV_ENOMEM, "%s", fv_error_text(c));
    fv_destroy(c);
}

static void memory_stays(void) {
    fv_ctx *c = context(2);
    static const int64_t dims[4][3] = {{1, 1, 96}, {1, 101, 96}, {50, 96, 1}, {96, 1, 1}},
                         where[2] = {4, 100};
    static const int rank[4] = {3, 3, 2, 1};
    fv_tensor *p[4], *index = fv_constant(c, NULL, FV_I32, 2, where);
    for (int i = 0; i < 4; i++)
        p[i] = fv_param(c, NULL, FV_F32, rank[i], dims[i]), fv_init_normal(c, p[i], 1, (uint64_t)i);
    fv_memory_info first, m;
    memset(&first, 0, sizeof first);
    fv_training(c, 1), fv_recompute(c, 1);
    for (int step = 0; step < 200; step++) {
        fv_seed(c, 1, (uint64_t)step);
        fv_backward(c, loss_of(c, network(c, p, index)));
        fv_reset(c);
        m = fv_memory(c);
        if (step == 1) first = m;
        CHECK(m.step_now == 0 && (step < 2 || (m.now == first.now && m.step_peak == first.step_peak)),
              "step %d", step);
    }
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    fv_destroy(c);
}

static void shape_errors(void) {
    fv_ctx *c = context(1);
    fv_tensor *a = numbers3(c, FV_F32, 2, 3, 4), *b = numbers3(c, FV_F32, 2, 3, 5), *x[2], *y = a;
    int64_t five[1] = {5}, bad[2] = {-1, -1}, ok[1] = {24}, huge[3] = {(int64_t)1 << 40, (int64_t)1 << 40, 1};
    int twice[3] = {0, 0, 1}, far[3] = {0, 1, 3};
    fv_tensor *index = fv_new(c, FV_I32, 1, five), *table = numbers2(c, FV_F32, 4, 2),
              *ints = numbers(c, FV_I32, 1, five, 0);
    for (int i = 0; i < 5; i++) fv_set(index, i, i);
    x[0] = a, x[1] = b;
    for (int k = 0; k < 20 && y; k++) {
        y = NULL;
        switch (k) {
        case 0: y = fv_add(c, a, b); break;
        case 1: y = fv_mul(c, a, ints); break;
        case 2: y = fv_reshape(c, a, 1, five); break;
        case 3: y = fv_reshape(c, a, 2, bad); break;
        case 4: y = fv_reshape(c, a, 3, huge); break;
        case 5: y = fv_reshape(c, a, 9, ok); break;
        case 6: y = fv_permute(c, a, twice); break;
        case 7: y = fv_permute(c, a, far); break;
        case 8: y = fv_concat(c, x, 2, 1); break;
        case 9: y = fv_concat(c, x, 0, 1); break;
        case 10: y = fv_concat(c, x, 2, 3); break;
        case 11: y = fv_slice(c, a, 1, 2, 2); break;
        case 12: y = fv_slice(c, a, 1, -1, 1); break;
        case 13: y = fv_slice(c, a, -4, 0, 1); break;
        case 14: y = fv_gather(c, table, index); break;
        case 15: y = fv_gather(c, a, index); break;
        case 16: y = fv_sum(c, a, 3); break;
        case 17: y = fv_sum(c, ints, 0); break;
        case 18: y = fv_add(c, a, NULL); break;
        default: y = fv_cast(c, a, FV_I32); break;
        }
        CHECK(!y && fv_error(c) == FV_ESHAPE && strlen(fv_error_text(c)) > 15, "case %d: %s", k,
              fv_error_text(c));
        CHECK(!fv_add(c, a, a), "the first failure sticks");
        fv_clear_error(c);
        y = a;
    }
    CHECK(fv_dropout(c, a, 1.5f) == NULL && fv_error(c) == FV_EUSAGE);
    fv_clear_error(c);
    CHECK(fv_gradcheck(c, f_spoilt, NULL, &a, 1, 0) < 0 && fv_error(c) == FV_ESHAPE, "a check in f32");
    fv_destroy(c);
}

int main(void) {
    RUN(broadcasting);
    RUN(permutation);
    RUN(concatenation);
    RUN(slices_and_gathers);
    RUN(reductions);
    RUN(gradients);
    RUN(odd_gradients);
    RUN(bf16_gradients);
    RUN(thread_counts);
    RUN(thread_counts_of_sums);
    RUN(recomputation);
    RUN(dropout_masks);
    RUN(views);
    RUN(scopes_free_memory);
    RUN(spent_results);
    RUN(many_chunks);
    RUN(recomputation_bounds_memory);
    RUN(accumulation);
    RUN(memory_is_counted);
    RUN(memory_stays);
    RUN(shape_errors);
    return REPORT();
}
