/* cuda_ops.cpp -- every op of a GPU context against its CPU twin, run by tests/test_cuda.sh: with the emulator on any machine, with
 * nvcc (FV_TEST_GPU) on a real GPU. Each case is a small network of odd shapes; its result and all gradients are compared, in f32,
 * bf16 and f64, once by itself and once with every gradient added to another one. With a word, the cases whose names have it are all
 * that is run. */
#define FROZENVIS_CUDA
#define FROZENVIS_IMPLEMENTATION
#ifndef FV_TEST_GPU
#define FROZENVIS_CUDA_EMULATE
#include "cuda_emulator.h"
#ifdef FROZENVIS_NCCL
#include "nccl_emulator.h"
#endif
#endif
#include "frozenvis.h"
#include "test.h"
#include <sys/wait.h>

static fv_ctx *contexts[2]; /* CPU, GPU */

static fv_ctx *context(fv_device device) {
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.device = device, d.threads = 1, d.seed = 5;
    return fv_create(&d);
}

/* n numbers of the type: about normal, the same for the same stream */
static void *numbers(fv_type type, int64_t n, uint64_t stream) {
    void *p = calloc((size_t)n + 1, fv_type_size(type));
    for (int64_t i = 0; i < n; i++) fv__set(p, type, i, (double)fv_random_normal(1, stream, (uint64_t)i) * (type == FV_F64 ? 1 + 1e-9 : 1)); /* f64: no f32 either */
    return p;
}
static int64_t product(int rank, const int64_t *dim) {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= dim[i];
    return n;
}

/* ---- a case: up to five inputs and what is made of them ---- */
enum { MOST = 5 };
enum { NANS = 5 }; /* i[NANS] 1: of the result alone; 2: of the first of two samples; gradients have 0 times NaN where one kernel multiplies what another leaves out */
typedef struct one_case {
    const char *name;
    fv_tensor *(*make)(fv_ctx *c, fv_tensor **in, const struct one_case *k);
    int64_t dim[MOST][5]; /* of the inputs; a 0 ends the dims; -1 in front: a constant or weight, of the computing type */
    int i[8];
    double f[2];
} one_case;

static int rank_of(const int64_t *dim) {
    int r = 0;
    while (r < 4 && dim[r] > 0) r++;
    return r;
}
static fv_tensor *input_of(fv_ctx *c, const one_case *k, int i, fv_type type) {
    int weight = k->dim[i][0] < 0, rank = rank_of(k->dim[i] + weight);
    if (!rank) return NULL;
    if (weight) type = type == FV_F64 ? FV_F64 : FV_F32;
    void *p = numbers(type, product(rank, k->dim[i] + weight), 10 + (uint64_t)i);
    fv_tensor *t = fv_input(c, type, rank, k->dim[i] + weight, p, 1);
    free(p);
    return t;
}

/* greatest difference over greatest magnitude */
static double difference(const void *a, const void *b, fv_type type, int64_t n) {
    double worst = 0, scale = 1e-3;
    for (int64_t i = 0; i < n; i++) {
        double x = fv__get(a, type, i), y = fv__get(b, type, i), e = fabs(x - y);
        if (x != x && y != y) continue;
        worst = test_worse(worst, e);
        scale = fabs(x) > scale ? fabs(x) : scale;
    }
    return worst / scale;
}
static double tolerance(fv_type type) { return type == FV_F64 ? 1e-12 : type == FV_F32 ? 5e-6 : 2e-2; }

static void compare(const char *name, const char *what, const fv_tensor *a, const fv_tensor *b, int gradient, fv_type type, int samples) {
    if (!a || !b) {
        CHECK(0, "%s: %s is missing: %s / %s", name, what, fv_error_text(contexts[0]), fv_error_text(contexts[1]));
        return;
    }
    fv_type t = gradient ? fv_grad_type(a) : a->type;
    int64_t n = fv_numel(a);
    void *x[2] = {calloc((size_t)n + 1, 8), calloc((size_t)n + 1, 8)};
    int ok = n == fv_numel(b) && a->type == b->type && a->rank == b->rank;
    for (int i = 0; i < 2 && ok; i++) ok = gradient ? fv_read_grad(contexts[i], i ? b : a, x[i]) : fv_read(contexts[i], i ? b : a, x[i]);
    double e = ok ? difference(x[0], x[1], t, n / samples) : NAN;
    CHECK(e <= tolerance(type), "%s, %s in %s: differs by %g (%s / %s)", name, what, fv_type_name(type), e, fv_error_text(contexts[0]), fv_error_text(contexts[1]));
    free(x[0]), free(x[1]);
}

static void run_case(const one_case *k, fv_type type, int twice) {
    fv_tensor *in[2][MOST], *y[2];
    for (int d = 0; d < 2; d++) {
        fv_ctx *c = contexts[d];
        fv_clear_error(c), fv_reset(c), fv_training(c, 1), fv_seed(c, 3, 4);
        fv_autocast(c, type == FV_BF16 ? FV_BF16 : FV_F32);
        for (int i = 0; i < MOST; i++) in[d][i] = input_of(c, k, i, type);
        y[d] = k->make(c, in[d], k);
        if (twice && y[d]) y[d] = fv_add(c, k->make(c, in[d], k), y[d]);
        if (!y[d] || !(y[d]->flags & FV_NEEDS_GRAD)) continue;
        void *g = numbers(fv_grad_type(y[d]), fv_numel(y[d]), 99);
        fv_backward_from(c, y[d], g);
        free(g);
    }
    int samples = k->i[NANS] == 2 ? 2 : 1;
    compare(k->name, "result", y[0], y[1], 0, type, samples);
    for (int i = 0; i < MOST && k->i[NANS] != 1; i++)
        if (in[0][i]) compare(k->name, "gradient", in[0][i], in[1][i], 1, type, samples);
}

/* ---- what the cases make ---- */
static fv_tensor *u8_mask(fv_ctx *c, int64_t rows, int64_t cols, int hidden) { /* the first `hidden` ones: not valid; the second row: nothing is */
    int64_t dim[2] = {rows, cols};
    fv_tensor *t = fv_new(c, FV_U8, 2, dim);
    for (int64_t i = 0; t && i < rows * cols; i++) ((uint8_t *)t->data)[i] = i / cols != 1 && i % cols >= hidden && fv_random_u32(3, 1, (uint64_t)i) % 3 > 0;
    return t;
}
static fv_tensor *whole_numbers(fv_ctx *c, fv_type type, int rank, const int64_t *dim, uint32_t below) {
    fv_tensor *t = fv_new(c, type, rank, dim);
    for (int64_t i = 0; t && i < fv_numel(t); i++) fv_set(t, i, fv_random_u32(3, 2, (uint64_t)i) % below);
    return t;
}
static fv_tensor *linear(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_linear_add(c, in[0], in[1], in[2], in[3]); }
static fv_tensor *packed(fv_ctx *c, fv_tensor **in, const one_case *k) { /* i: type, out, in */
    float *w = (float *)numbers(FV_F32, k->i[1] * k->i[2], 44);
    fv_tensor *t = fv_pack(c, NULL, (fv_type)k->i[0], k->i[1], k->i[2], w, FV_F32); /* freed with the context */
    free(w);
    return fv_linear(c, in[0]->type == FV_F64 ? fv_cast(c, in[0], FV_F32) : in[0], t, NULL);
}
static fv_tensor *matmul(fv_ctx *c, fv_tensor **in, const one_case *k) { return fv_matmul(c, in[0], in[1], k->i[0]); }
static fv_tensor *attention(fv_ctx *c, fv_tensor **in, const one_case *k) { /* i: heads, key heads, causal, mask's columns, interleaved, NaNs, see below, hidden keys; f: theta */
    fv_attention_desc d;
    memset(&d, 0, sizeof d);
    d.num_heads = k->i[0], d.num_kv_heads = k->i[1], d.causal = k->i[2], d.rope_theta = (float)k->f[0], d.rope_interleaved = k->i[4];
    if (k->i[3]) d.mask = u8_mask(c, in[0]->dim[0], k->i[3], k->i[7]);
    int64_t width = fv__last(in[0]), late = 65 * width + width - 1; /* keys 0 and 65, seen by all queries of one head and the last ones of another */
    if (k->i[NANS] == 1) fv_set(in[1], 0, NAN), fv_set(in[1], late, NAN);
    for (int i = 0; i < 3 && k->i[NANS] == 2; i++) /* all of the next sample */
        for (int64_t n = fv_numel(in[i]), e = n / 2; e < n; e++) fv_set(in[i], e, NAN);
    fv_tensor *of[3] = {in[0], in[1], in[2]};
    for (int i = 0; i < 3; i++)
        if (k->i[6] == 3 + i) of[i] = fv_input(c, in[i]->type, in[i]->rank, in[i]->dim, in[i]->data, 0);
    in = of;
    fv_tensor *v = k->i[6] == 1 ? in[1] : k->i[6] == 2 ? in[0] : in[2]; /* i[6]: whose tensor v is too; all three's: the keys' is not given; 3 to 5: q, k or v has no gradient */
    return fv_attention(c, in[0], k->i[6] && !in[1] ? in[0] : in[1], v, &d);
}
static fv_tensor *layernorm(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_layernorm(c, in[0], in[1], in[2], 1e-3f); }
static fv_tensor *norm_of_data(fv_ctx *c, fv_tensor **in, const one_case *) { /* the weights alone have a gradient */
    int64_t dim[2] = {37, in[0]->dim[0]};
    void *x = numbers(in[0]->type, dim[0] * dim[1], 76);
    fv_tensor *t = fv_input(c, in[0]->type, 2, dim, x, 0);
    free(x);
    return fv_layernorm(c, t, in[0], in[1], 1e-3f);
}
static fv_tensor *rmsnorm(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_rmsnorm(c, in[0], in[1], 1e-3f); }
static fv_tensor *inverse_rms(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_inverse_rms(c, in[0], 1e-3f); }
static fv_tensor *batchnorm(fv_ctx *c, fv_tensor **in, const one_case *k) { /* i[0]: evaluation; the moved statistics are part of the result */
    fv_type t = in[0]->type == FV_F64 ? FV_F64 : FV_F32;
    int64_t d = in[0]->dim[in[0]->rank - 1];
    fv_tensor *mean = fv_constant(c, NULL, t, 1, &d), *var = fv_constant(c, NULL, t, 1, &d);
    if (mean) fv_init_fill(mean, 0.25), fv_init_fill(var, 1.5);
    fv_training(c, !k->i[0]);
    fv_tensor *y = fv_batchnorm(c, in[0], in[1], in[2], mean, var, 0.1f, 1e-3f);
    fv_training(c, 1);
    return y ? fv_add(c, fv_mul(c, y, mean), var) : NULL;
}
static fv_tensor *softmax(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_softmax(c, in[0]); }
static fv_tensor *gelu(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_gelu(c, in[0]); }
static fv_tensor *silu(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_silu(c, in[0]); }
static fv_tensor *relu(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_relu(c, in[0]); }
static fv_tensor *leaky(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_leaky_relu(c, in[0], 0.1f); }
static fv_tensor *swiglu(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_swiglu(c, in[0], in[1] ? in[1] : in[0]); }
static fv_tensor *binary(fv_ctx *c, fv_tensor **in, const one_case *k) {
    fv_tensor *b = in[1] ? in[1] : in[0];
    return k->i[0] == 0 ? fv_add(c, in[0], b) : k->i[0] == 1 ? fv_sub(c, in[0], b) : fv_mul(c, in[0], b);
}
static fv_tensor *scale(fv_ctx *c, fv_tensor **in, const one_case *) { return fv_scale(c, in[0], -1.7f); }
static fv_tensor *cast(fv_ctx *c, fv_tensor **in, const one_case *k) { return fv_cast(c, in[0], (fv_type)k->i[0]); }
static fv_tensor *cast_labels(fv_ctx *c, fv_tensor **in, const one_case *) { /* i64 -> f32, as a factor */
    int64_t dim[1] = {in[0]->dim[0]};
    return fv_mul(c, in[0], fv_cast(c, whole_numbers(c, FV_I64, 1, dim, 9), FV_F32));
}
static fv_tensor *reshape(fv_ctx *c, fv_tensor **in, const one_case *) {
    int64_t dim[2] = {-1, 6};
    return fv_mul(c, fv_reshape(c, in[0], 2, dim), fv_reshape(c, in[0], 2, dim));
}
static fv_tensor *permute(fv_ctx *c, fv_tensor **in, const one_case *k) { return fv_permute(c, in[0], k->i); }
static fv_tensor *concat(fv_ctx *c, fv_tensor **in, const one_case *k) { return fv_concat(c, in, k->i[0], k->i[1]); }
static fv_tensor *slice(fv_ctx *c, fv_tensor **in, const one_case *k) { return fv_slice(c, in[0], k->i[0], k->i[1], k->i[2]); }
static fv_tensor *gather(fv_ctx *c, fv_tensor **in, const one_case *k) {
    int64_t dim[2] = {3, 7};
    return fv_gather(c, in[0], whole_numbers(c, (fv_type)k->i[0], 2, dim, (uint32_t)in[0]->dim[0]));
}
static fv_tensor *reduce(fv_ctx *c, fv_tensor **in, const one_case *k) { /* i: which, dim, NaNs */
    if (k->i[NANS]) fv_set(in[0], 7, NAN), fv_set(in[0], 15, NAN);
    return k->i[0] == 0 ? fv_sum(c, in[0], k->i[1]) : k->i[0] == 1 ? fv_mean(c, in[0], k->i[1]) : fv_max(c, in[0], k->i[1]);
}
static fv_tensor *dropout(fv_ctx *c, fv_tensor **in, const one_case *k) { return k->i[0] ? fv_drop_path(c, in[0], 0.4f) : fv_dropout(c, in[0], 0.3f); }
static fv_tensor *classes(fv_ctx *c, fv_tensor **in, const one_case *k) { /* i: 0 soft, else the labels' type; f: smoothing, what soft targets sum to or 0 */
    int64_t n = in[0]->dim[0];
    if (k->i[0]) return fv_cross_entropy(c, in[0], whole_numbers(c, (fv_type)k->i[0], 1, &n, (uint32_t)in[0]->dim[1]), (float)k->f[0]);
    int64_t dim[2] = {n, in[0]->dim[1]};
    void *p = numbers(in[0]->type, dim[0] * dim[1], 77);
    fv_tensor *t = fv_input(c, in[0]->type, 2, dim, p, 0);
    free(p);
    t = fv_softmax(c, t);
    return fv_cross_entropy(c, in[0], k->f[1] > 0 ? fv_scale(c, t, (float)k->f[1]) : t, (float)k->f[0]);
}
static fv_tensor *elements(fv_ctx *c, fv_tensor **in, const one_case *k) {
    void *p = numbers(in[0]->type, fv_numel(in[0]), 78);
    fv_tensor *t = fv_input(c, in[0]->type, in[0]->rank, in[0]->dim, p, 0);
    free(p);
    return k->i[0] ? fv_huber(c, in[0], t, 0.7f) : fv_bce_with_logits(c, in[0], t);
}
/* i: groups, neighbours, 1: points on a grid, many of them equally far; other groups, and the numbers would be far apart */
static fv_tensor *groups(fv_ctx *c, fv_tensor **in, const one_case *k) {
    fv_tensor *grid = k->i[2] ? whole_numbers(c, in[0]->type, 3, in[0]->dim, 5) : in[0];
    fv_tensor *centre, *near = fv_point_groups(c, grid, k->i[0], k->i[1], &centre);
    int64_t dim[3] = {in[0]->dim[0], -1, 3};
    fv_tensor *both[2] = {near ? fv_reshape(c, near, 3, dim) : NULL, centre};
    fv_tensor *y = near ? fv_concat(c, both, 2, 1) : NULL;
    return y ? fv_add(c, y, fv_scale(c, fv_slice(c, in[0], 1, 0, 1), 0)) : NULL;
}
static fv_tensor *recomputed(fv_ctx *c, fv_tensor **in, const one_case *) { /* a scope whose memory goes and comes again */
    int was = fv_recompute(c, 1);
    fv_scope s = fv_scope_begin(c);
    fv_tensor *y = fv_scope_end(c, s, fv_gelu(c, fv_linear(c, fv_dropout(c, in[0], 0.3f), in[1], NULL)));
    y = fv_softmax(c, y);
    fv_recompute(c, was);
    return y;
}
/* results made again when a backward pass wants them, or given back when nobody reads them any more; i[0]: the product too */
static fv_tensor *forgotten(fv_ctx *c, fv_tensor **in, const one_case *k) {
    fv_tensor *n = fv_layernorm(c, in[0], NULL, NULL, 1e-3f), *h = fv_linear(c, n, in[1], in[2]), *u = fv_gelu(c, h), *y = fv_linear(c, u, in[3], NULL);
    fv_forget(c, n), fv_forget(c, u);
    if (k->i[0]) fv_forget(c, h);
    fv_spend(h);
    return y;
}

static const one_case cases[] = {
    {"linear", linear, {{3, 5, 37}, {-1, 29, 37}, {-1, 29}, {3, 5, 29}}, {0}, {0}},
    {"linear without bias", linear, {{130, 65}, {-1, 70, 65}}, {0}, {0}},
    {"linear of one", linear, {{1, 1}, {-1, 1, 1}, {-1, 1}}, {0}, {0}},
    {"linear, a frozen f32 weight", packed, {{7, 19}}, {FV_F32, 33, 19}, {0}},
    {"linear, a frozen bf16 weight", packed, {{7, 20}}, {FV_BF16, 66, 20}, {0}},
    {"matmul", matmul, {{2, 3, 17, 5}, {2, 3, 5, 9}}, {0}, {0}},
    {"matmul, b turned", matmul, {{4, 17, 5}, {4, 9, 5}}, {1}, {0}},
    {"matmul, one b for all", matmul, {{4, 17, 5}, {5, 9}}, {0}, {0}},
    {"matmul, one b for all, turned", matmul, {{4, 3, 5}, {9, 5}}, {1}, {0}},
    {"attention", attention, {{2, 37, 3 * 3 * 8}}, {3, 3}, {0}},
    {"attention, grouped queries, causal", attention, {{2, 35, (4 + 2 * 2) * 6}}, {4, 2, 1}, {0}},
    {"attention, cross, mask", attention, {{3, 9, 2 * 33}, {3, 41, 2 * 33}, {3, 41, 2 * 33}}, {2, 2, 0, 41}, {0}},
    {"attention, rotary halves", attention, {{2, 11, (4 + 2 * 2) * 8}}, {4, 2, 1}, {100}},
    {"attention, rotary pairs, mask", attention, {{2, 11, 2 * 10}, {2, 13, 10}, {2, 13, 10}}, {2, 1, 0, 13, 1}, {100}},
    {"attention, a wide head", attention, {{1, 5, 256}, {1, 3, 256}, {1, 3, 256}}, {1, 1}, {0}},
    {"attention, heads of 32", attention, {{2, 70, (4 + 2 * 2) * 32}}, {4, 2}, {0}},
    {"attention, heads of 48, cross, mask", attention, {{3, 67, 2 * 48}, {3, 131, 2 * 48}, {3, 131, 2 * 48}}, {2, 2, 0, 131}, {0}},
    {"attention, heads of 64, causal, rotary", attention, {{1, 133, (2 + 2 * 1) * 64}}, {2, 1, 1}, {100}},
    {"attention, heads of 64, causal, fewer queries", attention, {{1, 5, 64}, {1, 90, 64}, {1, 90, 64}}, {1, 1, 1, 90}, {0}},
    {"attention, heads of 80, causal, fewer keys", attention, {{2, 75, 2 * 80}, {2, 9, 80}, {2, 9, 80}}, {2, 1, 1}, {0}},
    {"attention, heads of 96, rotary pairs, mask", attention, {{2, 20, 2 * 96}, {2, 37, 96}, {2, 37, 96}}, {2, 1, 0, 37, 1}, {100}},
    {"attention, heads of 128", attention, {{1, 66, 3 * 128}}, {1, 1, 1}, {0}},
    {"attention, keys that are no numbers", attention, {{2, 70, 2 * 64}, {2, 70, 2 * 64}, {2, 70, 2 * 64}}, {2, 2, 1, 0, 0, 1}, {0}},
    {"attention, the next sample has no numbers", attention, {{2, 70, 2 * 64}, {2, 81, 2 * 64}, {2, 81, 2 * 64}}, {2, 2, 0, 0, 0, 2}, {0}},
    {"attention, the next sample has no numbers, heads of 112, causal", attention, {{2, 70, 2 * 112}, {2, 81, 112}, {2, 81, 112}}, {2, 1, 1, 0, 0, 2}, {0}},
    {"attention, tiles, the next sample has no numbers", attention, {{2, 70, 2 * 16}, {2, 81, 2 * 16}, {2, 81, 2 * 16}}, {2, 2, 0, 0, 0, 2}, {0}},
    {"attention, tiles, heads of 8, 50 tokens", attention, {{2, 50, 3 * 2 * 8}}, {2, 2}, {0}},
    {"attention, tiles, heads of 32, 64 and 65 tokens, mask", attention, {{2, 64, 2 * 32}, {2, 65, 32}, {2, 65, 32}}, {2, 1, 0, 65}, {0}},
    {"attention, tiles, heads of 24, 65 and 64 tokens, causal", attention, {{1, 65, 24}, {1, 64, 24}, {1, 64, 24}}, {1, 1, 1}, {0}},
    {"attention, tiles, heads of 40, 31 and 33 tokens, mask", attention, {{3, 31, 4 * 40}, {3, 33, 2 * 40}, {3, 33, 2 * 40}}, {4, 2, 0, 33}, {0}},
    {"attention, tiles, heads of 64, 130 tokens, causal", attention, {{1, 130, (2 + 2) * 64}}, {2, 1, 1}, {0}},
    {"attention, tiles, heads of 64, 33 and 130 tokens, mask, causal", attention, {{2, 33, 64}, {2, 130, 64}, {2, 130, 64}}, {1, 1, 1, 130}, {0}},
    {"attention, tiles, heads of 100, 65 and 17 tokens", attention, {{1, 65, 100}, {1, 17, 100}, {1, 17, 100}}, {1, 1}, {0}},
    {"attention, tiles, heads of 128, 17 and 65 tokens, mask", attention, {{2, 17, 128}, {2, 65, 128}, {2, 65, 128}}, {1, 1, 0, 65}, {0}},
    {"attention, tiles, heads of 200, 66 tokens, causal", attention, {{1, 66, 3 * 200}}, {1, 1, 1}, {0}},
    {"attention, tiles, heads of 256, 1 and 33 tokens", attention, {{2, 1, 2 * 256}, {2, 33, 256}, {2, 33, 256}}, {2, 1}, {0}},
    {"attention, tiles, heads of 13, by ones", attention, {{2, 66, 3 * 13}}, {1, 1}, {0}},
    {"attention, tiles, heads of 78, by ones, rotary", attention, {{1, 35, (2 + 2) * 78}}, {2, 1, 1}, {100}},
    {"attention, tiles, heads of 16, hidden keys first", attention, {{2, 66, 16}, {2, 140, 16}, {2, 140, 16}}, {1, 1, 0, 140, 0, 0, 0, 70}, {0}},
    {"attention, tiles, heads of 16, hidden keys first, causal", attention, {{3, 140, 2 * 16}, {3, 140, 16}, {3, 140, 16}}, {2, 1, 1, 140, 0, 0, 0, 70}, {0}},
    {"attention, heads of 32, hidden keys first", attention, {{2, 66, 32}, {2, 140, 32}, {2, 140, 32}}, {1, 1, 0, 140, 0, 0, 0, 70}, {0}},
    {"attention, heads of 80, hidden keys first, causal", attention, {{3, 140, 2 * 80}, {3, 140, 80}, {3, 140, 80}}, {2, 1, 1, 140, 0, 0, 0, 70}, {0}},
    {"attention, one token", attention, {{1, 1, 3 * 2}}, {1, 1}, {0}},
    {"attention, rotary, heads of 8, keys are values", attention, {{2, 11, 4 * 8}, {2, 13, 2 * 8}}, {4, 2, 0, 0, 0, 0, 1}, {100}},
    {"attention, rotary, heads of 8, queries are values", attention, {{2, 11, 2 * 8}, {2, 11, 2 * 8}}, {2, 2, 0, 0, 0, 0, 2}, {100}},
    {"attention, rotary, heads of 8, all are one", attention, {{2, 11, 2 * 8}}, {2, 2, 1, 0, 0, 0, 2}, {100}},
    {"attention, rotary, heads of 32, keys are values", attention, {{2, 11, 4 * 32}, {2, 13, 2 * 32}}, {4, 2, 0, 0, 0, 0, 1}, {100}},
    {"attention, rotary, heads of 32, queries are values", attention, {{2, 11, 2 * 32}, {2, 11, 2 * 32}}, {2, 2, 0, 0, 0, 0, 2}, {100}},
    {"attention, rotary, heads of 32, all are one", attention, {{2, 11, 2 * 32}}, {2, 2, 1, 0, 0, 0, 2}, {100}},
    {"attention, tiles, heads of 16, a gradient of all but queries", attention, {{2, 17, 2 * 16}, {2, 19, 16}, {2, 19, 16}}, {2, 1, 0, 0, 0, 0, 3}, {100}},
    {"attention, tiles, heads of 16, a gradient of all but keys", attention, {{2, 17, 2 * 16}, {2, 19, 16}, {2, 19, 16}}, {2, 1, 0, 0, 0, 0, 4}, {100}},
    {"attention, tiles, heads of 16, a gradient of all but values", attention, {{2, 17, 2 * 16}, {2, 19, 16}, {2, 19, 16}}, {2, 1, 0, 0, 0, 0, 5}, {0}},
    {"attention, heads of 32, a gradient of all but queries", attention, {{2, 17, 2 * 32}, {2, 19, 32}, {2, 19, 32}}, {2, 1, 0, 0, 0, 0, 3}, {100}},
    {"attention, heads of 32, a gradient of all but keys", attention, {{2, 17, 2 * 32}, {2, 19, 32}, {2, 19, 32}}, {2, 1, 0, 0, 0, 0, 4}, {100}},
    {"attention, heads of 32, a gradient of all but values", attention, {{2, 17, 2 * 32}, {2, 19, 32}, {2, 19, 32}}, {2, 1, 0, 0, 0, 0, 5}, {0}},
    {"layernorm", layernorm, {{3, 5, 67}, {-1, 67}, {-1, 67}}, {0}, {0}},
    {"layernorm without weights", layernorm, {{11, 3}}, {0}, {0}},
    {"rmsnorm", rmsnorm, {{37, 129}, {-1, 129}}, {0}, {0}},
    {"rmsnorm without weights", rmsnorm, {{3, 31}}, {0}, {0}},
    {"inverse_rms", inverse_rms, {{3, 5, 67}}, {0}, {0}},
    {"batchnorm in training", batchnorm, {{37, 19}, {-1, 19}, {-1, 19}}, {0}, {0}},
    {"batchnorm in evaluation", batchnorm, {{37, 19}, {-1, 19}, {-1, 19}}, {1}, {0}},
    {"batchnorm without weights", batchnorm, {{5, 130}}, {0}, {0}},
    {"softmax", softmax, {{3, 5, 67}}, {0}, {0}},
    {"gelu", gelu, {{3, 411}}, {0}, {0}},
    {"silu", silu, {{3, 7}}, {0}, {0}},
    {"relu", relu, {{3, 7}}, {0}, {0}},
    {"leaky_relu", leaky, {{1}}, {0}, {0}},
    {"swiglu", swiglu, {{3, 5, 7}, {3, 5, 7}}, {0}, {0}},
    {"swiglu of one with itself", swiglu, {{5, 7}}, {0}, {0}},
    {"add", binary, {{3, 5, 7}, {3, 5, 7}}, {0}, {0}},
    {"add, the last dim", binary, {{3, 5, 7}, {7}}, {0}, {0}},
    {"sub, stretched both ways", binary, {{3, 1, 7}, {5, 1}}, {1}, {0}},
    {"mul", binary, {{3, 5, 7}, {3, 5, 7}}, {2}, {0}},
    {"mul, stretched in the middle", binary, {{3, 5, 7}, {3, 1, 7}}, {2}, {0}},
    {"mul, one number", binary, {{1}, {3, 100, 7}}, {2}, {0}},
    {"mul with itself", binary, {{13, 7}}, {2}, {0}},
    {"scale", scale, {{3, 7}}, {0}, {0}},
    {"cast to bf16", cast, {{3, 7}}, {FV_BF16}, {0}},
    {"cast to f64", cast, {{3, 7}}, {FV_F64}, {0}},
    {"cast of labels", cast_labels, {{11}}, {0}, {0}},
    {"reshape", reshape, {{2, 9, 3}}, {0}, {0}},
    {"permute, last two", permute, {{2, 37, 41}}, {0, 2, 1}, {0}},
    {"permute, heads", permute, {{2, 5, 3, 7}}, {0, 2, 1, 3}, {0}},
    {"permute, patches", permute, {{3, 4, 5, 6}}, {1, 3, 0, 2}, {0}},
    {"permute, reversed", permute, {{5, 3, 4}}, {2, 1, 0}, {0}},
    {"concat", concat, {{2, 3, 5}, {2, 1, 5}, {2, 4, 5}}, {3, 1}, {0}},
    {"concat, the first repeated", concat, {{1, 1, 5}, {3, 4, 5}}, {2, 1}, {0}},
    {"concat, repeated in the middle", concat, {{2, 1, 3, 5}, {2, 4, 2, 5}}, {2, 2}, {0}},
    {"slice", slice, {{3, 5, 7}}, {1, 2, 2}, {0}},
    {"slice of the last dim", slice, {{3, 5, 7}}, {-1, 6, 1}, {0}},
    {"gather, i32", gather, {{5, 9}}, {FV_I32}, {0}},
    {"gather, i64", gather, {{5, 40}}, {FV_I64}, {0}},
    {"sum, first", reduce, {{41, 5, 7}}, {0, 0}, {0}},
    {"sum, last", reduce, {{3, 5, 300}}, {0, -1}, {0}},
    {"mean, middle", reduce, {{3, 50, 7}}, {1, 1}, {0}},
    {"mean, middle, fours of elements in threes", reduce, {{4, 50, 3}}, {1, 1}, {0}},
    {"max, middle", reduce, {{3, 5, 7}}, {2, 1}, {0}},
    {"max, middle, no numbers", reduce, {{3, 5, 7}}, {2, 1, 0, 0, 0, 1}, {0}},
    {"max, last", reduce, {{3, 5, 7}}, {2, 2}, {0}},
    {"dropout", dropout, {{3, 57}}, {0}, {0}},
    {"drop_path", dropout, {{13, 5, 3}}, {1}, {0}},
    {"cross_entropy, i32", classes, {{7, 41}}, {FV_I32}, {0}},
    {"cross_entropy, i64, smoothed", classes, {{7, 3}}, {FV_I64}, {0.1}},
    {"cross_entropy, soft, smoothed", classes, {{7, 37}}, {0}, {0.1}},
    {"cross_entropy, soft, of another sum", classes, {{7, 37}}, {0}, {0.1, 0.6}},
    {"bce_with_logits", elements, {{13, 77}}, {0}, {0}},
    {"huber", elements, {{3, 7}}, {1}, {0}},
    /* four neighbours a thread, whole tiles of a map, folds of several ranges; rows in the registers of one warp and of several */
    {"linear by fours, many rows", linear, {{700, 8}, {-1, 36, 8}, {-1, 36}}, {0}, {0}},
    {"linear, many rows of odd width", linear, {{700, 3}, {-1, 35, 3}, {-1, 35}}, {0}, {0}},
    {"attention by fours of heads, rotary", attention, {{2, 11, (6 + 2 * 2) * 8}}, {6, 2, 1}, {100}},
    {"layernorm by fours", layernorm, {{3, 31, 68}, {-1, 68}, {-1, 68}}, {0}, {0}},
    {"layernorm by fours of two warps", layernorm, {{37, 772}, {-1, 772}, {-1, 772}}, {0}, {0}},
    {"layernorm by fours of four warps", layernorm, {{17, 1300}, {-1, 1300}}, {0}, {0}},
    {"layernorm by fours, no weights", layernorm, {{11, 512}}, {0}, {0}},
    {"layernorm by fours of what has no gradient", norm_of_data, {{-1, 68}, {-1, 68}}, {0}, {0}},
    {"layernorm of what has no gradient", norm_of_data, {{-1, 67}, {-1, 67}}, {0}, {0}},
    {"rmsnorm by fours of a whole block", rmsnorm, {{9, 4096}, {-1, 4096}}, {0}, {0}},
    {"rmsnorm by fours, a row too wide", rmsnorm, {{3, 4100}, {-1, 4100}}, {0}, {0}},
    {"rmsnorm by fours, many rows", rmsnorm, {{700, 8}, {-1, 8}}, {0}, {0}},
    {"batchnorm of many rows", batchnorm, {{700, 20}, {-1, 20}, {-1, 20}}, {0}, {0}},
    {"gelu by fours", gelu, {{3, 1401}}, {0}, {0}},
    {"silu by fours", silu, {{3, 1401}}, {0}, {0}},
    {"relu by fours", relu, {{3, 1401}}, {0}, {0}},
    {"swiglu by fours", swiglu, {{3, 1401}, {3, 1401}}, {0}, {0}},
    {"swiglu by fours, of one with itself", swiglu, {{3, 1401}}, {0}, {0}},
    {"cast by fours to bf16", cast, {{3, 1401}}, {FV_BF16}, {0}},
    {"dropout by fours", dropout, {{3, 1401}}, {0}, {0}},
    {"add by fours, the first dims", binary, {{300, 5, 8}, {5, 8}}, {0}, {0}},
    {"mul, stretched along many", binary, {{20, 300}, {20, 1}}, {2}, {0}},
    {"sum, last, few rows of many", reduce, {{3, 1700}}, {0, -1}, {0}},
    {"sub by fours, stretched both ways", binary, {{3, 1, 8}, {5, 1}}, {1}, {0}},
    {"sub by fours", binary, {{7, 8}, {7, 8}}, {1}, {0}},
    {"sub by fours, the first dims", binary, {{300, 5, 8}, {5, 8}}, {1}, {0}},
    {"mul by fours", binary, {{7, 8}, {7, 8}}, {2}, {0}},
    {"mul by fours, stretched in the middle", binary, {{3, 50, 12}, {3, 1, 12}}, {2}, {0}},
    {"mul by fours, one number", binary, {{1}, {3, 100, 8}}, {2}, {0}},
    {"permute by 16 bytes, patches", permute, {{3, 4, 5, 8}}, {1, 2, 0, 3}, {0}},
    {"concat by 16 bytes", concat, {{2, 3, 8}, {2, 1, 8}, {2, 4, 8}}, {3, 1}, {0}},
    {"concat of the last dim, half of it by 16 bytes", concat, {{3, 5, 8}, {3, 5, 5}}, {2, 2}, {0}},
    {"slice, of 16 bytes but not at them", slice, {{3, 5, 24}}, {-1, 2, 8}, {0}},
    {"concat by fours, the first repeated", concat, {{1, 1, 8}, {300, 4, 8}}, {2, 1}, {0}},
    {"sum by fours, first", reduce, {{410, 5, 8}}, {0, 0}, {0}},
    {"mean by fours, middle", reduce, {{3, 50, 8}}, {1, 1}, {0}},
    {"bce_with_logits of many", elements, {{130, 77}}, {0}, {0}},
    {"point groups", groups, {{2, 300, 3}}, {9, 35}, {0}},
    {"point groups, ties", groups, {{2, 100, 3}}, {9, 35, 1}, {0}},
    {"results forgotten", forgotten, {{31, 12}, {-1, 20, 12}, {-1, 20}, {-1, 8, 20}}, {0}, {0}},
    {"results forgotten, a product too", forgotten, {{31, 12}, {-1, 20, 12}, {-1, 20}, {-1, 8, 20}}, {1}, {0}},
    {"recomputed scope", recomputed, {{5, 6}, {-1, 7, 6}}, {0}, {0}},
};

static const char *only = ""; /* a part of a case's name */
static void test_ops(void) {
    static const fv_type type[] = {FV_F32, FV_BF16, FV_F64};
    int ran = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int t = 0; t < 3 && strstr(cases[i].name, only); t++) {
            if (cases[i].make == packed && type[t] == FV_F64) continue; /* frozen weights are f32 or bf16 */
            run_case(&cases[i], type[t], 0);
            if (cases[i].make != recomputed) run_case(&cases[i], type[t], 1);
            ran++;
        }
    CHECK(ran > 0, "no case has \"%s\" in its name", only);
}

/* Attention on tensor cores: every width of heads with every length, a few short of a tile, whole ones and more; of all these some are
 * packed, causal, masked (one sample wholly) or share their key heads. */
static void test_attention_shapes(void) {
    static const int width[] = {32, 48, 64, 80, 96, 112, 128}, length[] = {1, 17, 50, 64, 65, 197, 200};
    for (int w = 0; w < 7; w++)
        for (int l = 0; l < 7; l++) {
            int K = 1 + (w + l) % 2, H = K * (1 + l % 2), kind = (w + 2 * l) % 4, one = kind == 0, masked = kind == 3;
            int64_t B = 1 + masked, N = length[l], M = one ? N : length[(l + w) % 7], hd = width[w];
            char name[100];
            snprintf(name, sizeof name, "attention, %d queries, %d keys, heads of %d, kind %d, %d for %d", (int)N, (int)M, (int)hd, kind, H, K);
            one_case k = {name, attention, {{B, N, one ? (H + 2 * K) * hd : H * hd}}, {H, K, kind == 1 || l == 5, masked ? (int)M : 0}, {0}};
            for (int i = 1; i < 3 && !one; i++) k.dim[i][0] = B, k.dim[i][1] = M, k.dim[i][2] = K * hd;
            run_case(&k, FV_BF16, (w + l) % 3 == 0);
        }
}

#ifndef FV_TEST_GPU
/* bf16 attention of heads 32 to 128 wide is done by tensor cores, all else is not: by the products counted */
static void test_tensor_cores(void) {
    static const int width[] = {16, 32, 40, 64, 128, 144};
    static const fv_type type[] = {FV_F32, FV_BF16, FV_F64};
    for (size_t w = 0; w < sizeof width / sizeof *width; w++)
        for (int t = 0; t < 3; t++) {
            one_case k = {"attention, which kernel", attention, {{1, 3, 3 * width[w]}}, {1, 1}, {0}};
            long before = emu_products;
            run_case(&k, type[t], 0);
            int wanted = type[t] == FV_BF16 && (width[w] == 32 || width[w] == 64 || width[w] == 128);
            /* one warp, halves of 16 keys or queries: scores and sums forward; scores, gP, gq; scores, gP, gv, gk */
            long products = 2 * (width[w] <= 64 ? 4 : 8) * (2 + 3 + 4);
            CHECK(emu_products - before == (wanted ? products : 0), "heads of %d in %s: %ld products", width[w], fv_type_name(type[t]), emu_products - before);
        }
}
#endif

/* ---- training: parameters, a large one too, a few steps, averages of two ---- */
enum { SMALL = 75 * 19 + 11, BIG = 40003 };
static void train(fv_ctx *c, fv_optim_kind kind, float clip, double *norm, float *out) {
    int64_t wd[2] = {37, 19}, xd[2] = {11, 19}, n = 11, bd[2] = {1, BIG};
    fv_params p, average, averaged;
    fv_optim_desc d;
    memset(&p, 0, sizeof p), memset(&average, 0, sizeof average), memset(&averaged, 0, sizeof averaged), memset(&d, 0, sizeof d);
    fv_tensor *w = fv_param(c, "w", FV_F32, 2, wd), *b = fv_param(c, "b", FV_F32, 1, wd), *idle = fv_param(c, "idle", FV_F32, 1, &n);
    fv_tensor *aw = fv_constant(c, "w", FV_F32, 2, wd), *big = fv_param(c, "big", FV_F32, 2, bd), *abig = fv_constant(c, "big", FV_F32, 2, bd);
    fv_params_add(c, &p, w), fv_params_add(c, &p, b), fv_params_add(c, &average, aw), fv_params_add(c, &p, idle);
    fv_params_add(c, &p, big), fv_params_add(c, &average, abig), fv_params_add(c, &averaged, w), fv_params_add(c, &averaged, big);
    fv_init_trunc_normal(c, w, 0.5f, 3), fv_init_uniform(c, b, 0.1f, 4), fv_init_normal(c, aw, 1, 5), fv_init_fill(idle, 2);
    fv_init_normal(c, big, 1, 6), fv_init_normal(c, abig, 1, 7), big->flags |= FV_NO_DECAY;
    d.kind = kind, d.clip_grad = clip;
    fv_optim *o = fv_optim_create(c, &p, &d);
    for (int step = 0; step < 5; step++) {
        fv_reset(c);
        void *x = numbers(FV_F32, 11 * 19, (uint64_t)step);
        fv_tensor *in = fv_input(c, FV_F32, 2, xd, x, 0);
        free(x);
        fv_tensor *loss = fv_cross_entropy(c, fv_linear(c, in, w, b), whole_numbers(c, FV_I32, 1, &n, 37), 0);
        fv_tensor *squares = fv_sum(c, fv_reshape(c, fv_mul(c, big, big), 1, bd + 1), 0);
        fv_backward(c, fv_add(c, loss, fv_scale(c, squares, 0.005f)));
        double all = fv_grad_norm(c, &p);
        norm[step] = fv_optim_step(c, o, 0.1f);
        CHECK(fabs(all - norm[step]) <= 1e-9 * all, "the norm asked for and the step's: %g, %g", all, norm[step]);
        fv_ema(c, &average, &averaged, 0.9f);
    }
    fv_read(c, w, out), fv_read(c, b, out + 37 * 19), fv_read(c, aw, out + 38 * 19), fv_read(c, idle, out + 75 * 19);
    fv_read(c, big, out + SMALL), fv_read(c, abig, out + SMALL + BIG);
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    fv_optim_destroy(c, o);
    fv_free(c, p.at), fv_free(c, average.at), fv_free(c, averaged.at);
    fv_param_free(c, w), fv_param_free(c, b), fv_param_free(c, aw), fv_param_free(c, idle), fv_param_free(c, big), fv_param_free(c, abig);
}
/* A parameter's bf16 copy is the parameter's, whatever changed that: a product with an input of the same numbers has the same bytes. */
static void test_rounded(void) {
    enum { OUT = 37, IN = 891, N = 11 }; /* more than one chunk of the update */
    static const char *const how[] = {"as made", "AdamW", "SGD", "fv_write", "fv_set", "fv_init_fill", "fv_ema", "a lost recording"};
    int64_t wd[2] = {OUT, IN}, xd[2] = {N, IN}, n = N;
    static float from[OUT * IN], now[2][OUT * IN + OUT];
    static uint16_t y[2][N * OUT];
    fv_ctx *c = contexts[1];
    fv_params p, other;
    fv_optim *o[2];
    memset(&p, 0, sizeof p), memset(&other, 0, sizeof other);
    fv_clear_error(c), fv_reset(c), fv_training(c, 1), fv_autocast(c, FV_BF16);
    fv_tensor *w = fv_param(c, "w", FV_F32, 2, wd), *b = fv_param(c, "b", FV_F32, 1, wd);
    fv_tensor *v = fv_param(c, "v", FV_F32, 2, wd), *a = fv_param(c, "a", FV_F32, 1, wd);
    fv_params_add(c, &p, w), fv_params_add(c, &p, b), fv_params_add(c, &other, v), fv_params_add(c, &other, a);
    for (int i = 0; i < 2; i++) fv_init_normal(c, i ? v : w, 1, 3 + (uint64_t)i), fv_init_normal(c, i ? a : b, 1, 5 + (uint64_t)i);
    for (int i = 0; i < 2; i++) {
        fv_optim_desc d;
        memset(&d, 0, sizeof d);
        d.kind = i ? FV_SGD : FV_ADAMW;
        o[i] = fv_optim_create(c, &p, &d);
    }
    void *x = numbers(FV_F32, N * IN, 8);
    for (int k = 0; k < 8; k++) {
        fv_reset(c);
        fv_tensor *in = fv_input(c, FV_F32, 2, xd, x, 1);
        if (k == 1 || k == 2) {
            fv_backward(c, fv_cross_entropy(c, fv_linear(c, in, w, b), whole_numbers(c, FV_I32, 1, &n, OUT), 0));
            fv_optim_step(c, o[k - 1], 1);
        }
        if (k == 3) fv_read(c, v, from), fv_write(c, w, from);
        if (k == 4) fv_set(w, 5, 50), fv_set(b, 5, -50);
        if (k == 5) fv_init_fill(w, 0.3);
        if (k == 6) fv_ema(c, &p, &other, 0.5f);
        if (k == 7) fv__device_zero(c, w->rounded, OUT * IN * 2), c->device->lost++;
        fv_read(c, w, now[0]), fv_read(c, b, now[0] + OUT * IN);
        fv_tensor *plain[2] = {fv_scale(c, fv_input(c, FV_F32, 2, wd, now[0], 0), 1), fv_input(c, FV_F32, 1, wd, now[0] + OUT * IN, 0)};
        fv_read(c, fv_linear(c, in, w, b), y[0]), fv_read(c, fv_linear(c, in, plain[0], plain[1]), y[1]);
        CHECK(!fv_error(c) && !memcmp(y[0], y[1], sizeof y[0]), "%s: %s", how[k], fv_error_text(c));
        CHECK(!plain[0]->rounded, "only parameters have a copy");
        CHECK(w->rounded && fv__is_rounded(c, w) && (!k || k == 7 || memcmp(now[0], now[1], sizeof now[0])), "%s: nothing changed", how[k]);
        memcpy(now[1], now[0], sizeof now[0]);
    }
    free(x);
    fv_autocast(c, FV_F32);
    for (int i = 0; i < 2; i++) fv_optim_destroy(c, o[i]);
    fv_free(c, p.at), fv_free(c, other.at);
    fv_param_free(c, w), fv_param_free(c, b), fv_param_free(c, v), fv_param_free(c, a);
}

/* A gradient that is no number makes the norm none, and clipping then all weights: on the CPU and here. */
static void test_norm_that_is_none(void) {
    float start[4] = {1, 2, 3, 4}, grad[4] = {1, 1, NAN, 1}, out[2][4];
    int64_t two = 2;
    for (int d = 0; d < 2; d++) {
        fv_ctx *c = contexts[d];
        fv_optim_desc desc;
        fv_params p;
        memset(&desc, 0, sizeof desc), memset(&p, 0, sizeof p);
        desc.clip_grad = 1;
        fv_clear_error(c), fv_reset(c), fv_training(c, 1);
        fv_tensor *w[2] = {fv_param(c, "a", FV_F32, 1, &two), fv_param(c, "b", FV_F32, 1, &two)};
        for (int i = 0; i < 2; i++) fv_write(c, w[i], start + 2 * i), fv_params_add(c, &p, w[i]);
        fv_optim *o = fv_optim_create(c, &p, &desc);
        fv_backward_from(c, fv_concat(c, w, 2, 0), grad);
        double norm = fv_optim_step(c, o, 0.1f);
        fv_read(c, w[0], out[d]), fv_read(c, w[1], out[d] + 2);
        CHECK(norm != norm && !fv_error(c), "a norm of %g: %s", norm, fv_error_text(c));
        for (int i = 0; i < 4; i++) CHECK(out[d][i] != out[d][i], "%s: weight %d is %g", d ? "GPU" : "CPU", i, (double)out[d][i]);
        fv_optim_destroy(c, o), fv_free(c, p.at), fv_param_free(c, w[0]), fv_param_free(c, w[1]);
    }
}
static void test_training(void) {
    static float out[2][SMALL + 2 * BIG];
    static const float clip[] = {0, 0.05f, 1e3f};
    double norm[2][5];
    for (int k = 0; k < 6; k++) {
        for (int d = 0; d < 2; d++) fv_clear_error(contexts[d]), train(contexts[d], k % 2 ? FV_SGD : FV_ADAMW, clip[k / 2], norm[d], out[d]);
        CHECK(difference(norm[0], norm[1], FV_F64, 5) < 1e-6, "norms");
        double e = difference(out[0], out[1], FV_F32, SMALL), large = difference(out[0] + SMALL, out[1] + SMALL, FV_F32, 2 * BIG);
        CHECK(e < 5e-5 && large < 5e-5, "weights after 5 steps of kind %d: %g, %g", k, e, large);
    }
}

/* more parameters than the threads that add up their norms */
static void test_many_parameters(void) {
    enum { MANY = 300 };
    fv_ctx *c = contexts[1];
    int64_t one = 1;
    fv_tensor *w[MANY], *sum = NULL;
    fv_params p;
    memset(&p, 0, sizeof p);
    fv_clear_error(c), fv_reset(c), fv_training(c, 1), fv_autocast(c, FV_F32);
    for (int i = 0; i < MANY; i++) {
        w[i] = fv_param(c, "w", FV_F32, 1, &one), fv_params_add(c, &p, w[i]);
        sum = sum ? fv_add(c, sum, w[i]) : w[i];
    }
    fv_backward(c, sum);
    double norm = fv_grad_norm(c, &p);
    CHECK(fabs(norm * norm - MANY) < 1e-9, "%g: %s", norm, fv_error_text(c));
    for (int i = 0; i < MANY; i++) fv_param_free(c, w[i]);
    fv_free(c, p.at);
}
/* made again in the backward pass, a batch norm does not move its statistics again */
static void test_moved_once(void) {
    int64_t dim[2] = {11, 5}, d = 5;
    float mean[2][5], var[2][5];
    for (int k = 0; k < 2; k++) {
        fv_ctx *c = contexts[k];
        fv_clear_error(c), fv_reset(c), fv_training(c, 1), fv_autocast(c, FV_F32);
        void *x = numbers(FV_F32, 55, 5);
        fv_tensor *m = fv_constant(c, "m", FV_F32, 1, &d), *v = fv_constant(c, "v", FV_F32, 1, &d), *in = fv_input(c, FV_F32, 2, dim, x, 1);
        fv_init_fill(m, 0.25), fv_init_fill(v, 1.5);
        int was = fv_recompute(c, 1);
        fv_scope s = fv_scope_begin(c);
        fv_tensor *y = fv_scope_end(c, s, fv_gelu(c, fv_batchnorm(c, in, NULL, NULL, m, v, 0.1f, 1e-3f)));
        fv_recompute(c, was);
        fv_backward_from(c, y, x);
        free(x);
        fv_read(c, m, mean[k]), fv_read(c, v, var[k]);
        CHECK(!fv_error(c), "%s", fv_error_text(c));
        fv_param_free(c, m), fv_param_free(c, v);
    }
    double e = test_worse(difference(mean[0], mean[1], FV_F32, 5), difference(var[0], var[1], FV_F32, 5));
    CHECK(e < 1e-6, "statistics differ by %g", e);
}
/* A key that is masked has a gradient of zeros, also where its queries' gradient is no number. */
static void test_masked(void) {
    enum { N = 3, M = 4, H = 32 };
    int64_t qd[3] = {1, N, H}, kd[3] = {1, M, H}, md[2] = {1, M};
    for (int bf16 = 0; bf16 < 2; bf16++) {
        fv_ctx *c = contexts[1];
        fv_attention_desc a;
        float g[N * H], got[M * H];
        memset(&a, 0, sizeof a);
        fv_clear_error(c), fv_reset(c), fv_training(c, 1), fv_autocast(c, bf16 ? FV_BF16 : FV_F32);
        void *x = numbers(FV_F32, M * H, 5);
        fv_tensor *q = fv_input(c, FV_F32, 3, qd, x, 1), *k = fv_input(c, FV_F32, 3, kd, x, 1), *v = fv_input(c, FV_F32, 3, kd, x, 1), *mask = fv_new(c, FV_U8, 2, md);
        free(x);
        for (int i = 0; i < M; i++) ((uint8_t *)mask->data)[i] = i != 1;
        a.num_heads = 1, a.mask = mask;
        fv_tensor *y = fv_attention(c, q, k, v, &a);
        for (int i = 0; y && i < N * H; i++) fv__set(g, fv_grad_type(y), i, NAN);
        fv_backward_from(c, y, g);
        for (int which = 0; which < 2; which++) {
            int ok = fv_read_grad(c, which ? v : k, got), zeros = 0;
            for (int i = H; i < 2 * H; i++) zeros += got[i] == 0;
            CHECK(ok && zeros == H && got[0] != got[0], "%s, bf16 %d: %d zeros, %g: %s", which ? "v" : "k", bf16, zeros, (double)got[0], fv_error_text(c));
        }
        fv_autocast(c, FV_F32);
    }
}
/* Labels and indices that lie on the device, where nobody looks at them before: what has none is no number. */
static void test_out_of_range(void) {
    static const int32_t index[4] = {0, 3, -1, 1};
    fv_ctx *c = contexts[1];
    int64_t n = 4, dim[2] = {1, 3}, table[2] = {3, 2};
    float x[6] = {1, 2, 3, 4, 5, 6}, y[8];
    fv_clear_error(c), fv_reset(c), fv_training(c, 1);
    fv_tensor *i = fv_new(c, FV_I32, 1, &n), *t = fv_input(c, FV_F32, 2, table, x, 0), *logits = fv_input(c, FV_F32, 2, dim, x, 0);
    memcpy(i->data, index, sizeof index);
    i = fv_slice(c, i, 0, 0, 4);
    CHECK(fv_read(c, fv_gather(c, t, i), y), "%s", fv_error_text(c));
    CHECK(y[0] == 1 && y[1] == 2 && y[2] != y[2] && y[3] != y[3] && y[4] != y[4] && y[5] != y[5] && y[6] == 3, "rows that are not there");
    for (int k = 0; k < 4; k++) {
        CHECK(fv_read(c, fv_cross_entropy(c, logits, fv_slice(c, i, 0, k, 1), 0), y), "%s", fv_error_text(c));
        CHECK((y[0] != y[0]) == (k == 1 || k == 2), "label %d of 3: %g", (int)index[k], (double)y[0]);
    }
}

/* ---- the host's side ---- */
static void test_tensors(void) {
    fv_ctx *c = contexts[1];
    int64_t dim[2] = {2, 3};
    float six[6] = {1, 2, 3, 4, 5, 6}, back[6] = {0};
    fv_clear_error(c), fv_reset(c);
    fv_autocast(c, FV_F32);
    fv_tensor *p = fv_param(c, "p", FV_F32, 2, dim), *x = fv_new(c, FV_F32, 2, dim);
    CHECK(p && p->device && x && !x->device, "parameters lie there, what fv_new gives here");
    CHECK(fv_get(p, 5) == 0, "a parameter starts as zeros");
    CHECK(fv_write(c, p, six) && fv_read(c, p, back) && !memcmp(six, back, sizeof six), "there and back");
    fv_set(p, 4, 50);
    CHECK(fv_get(p, 4) == 50 && fv_get(p, 3) == 4, "one element");
    memcpy(x->data, six, sizeof six);
    fv_tensor *y = fv_scale(c, x, 2);
    CHECK(y && y->device && fv_get(y, 5) == 12, "an input is brought over when it is used");
    fv_set(x, 5, 7);
    y = fv_scale(c, x, 2);
    CHECK(y && fv_get(y, 5) == 14 && fv_get(y, 0) == 2, "and again when fv_set changed it");
    CHECK(fv_device_of(c) == FV_CUDA && fv_device_of(contexts[0]) == FV_CPU && !strcmp(fv_device_name(contexts[0]), "cpu"), "which device");
    float a[4] = {0}, b[4] = {0}, o[4];
    fv_gemm(c, FV_F32, 2, 2, 2, fv__mat(a, FV_F32, 2, 1), fv__mat(b, FV_F32, 2, 1), o, FV_F32, 2, 0);
    CHECK(fv_error(c) == FV_EUNAVAILABLE, "no product of the CPU's on a GPU context");
    fv_clear_error(c);
    fv_param_free(c, p);
    fv_reset(c);
    CHECK(!fv_error(c), "%s", fv_error_text(c));
}

/* A step of more chunks than a pool once had room for, with room between them that a later request may take; from the next step on a
 * GPU has one chunk for it, the same addresses come again, and no more memory is held. */
static void test_many_chunks(void) {
    enum { MANY = 70, STEPS_OF_IT = 5 };
    for (int d = 0; d < 2; d++) {
        fv_ctx *c = context(d ? FV_CUDA : FV_CPU);
        size_t held[STEPS_OF_IT];
        void *last[STEPS_OF_IT];
        for (int step = 0; step < STEPS_OF_IT; step++) {
            fv__span *s[MANY], *t = NULL;
            fv_reset(c);
            for (int i = 0; i < MANY; i++) s[i] = fv__pool_alloc(c, ((size_t)17 << 20) + 1); /* more than half of a chunk */
            fv__pool_free(c, s[1]), fv__pool_free(c, s[3]);
            if (!fv_error(c)) t = fv__pool_alloc(c, 5 << 20);
            CHECK(t && !fv_error(c), "step %d: %s", step, fv_error_text(c));
            for (int i = 4; i < MANY && !fv_error(c); i++) /* what comes last does not reach as far as what came before */
                fv__pool_free(c, s[i]), fv__pool_alloc(c, ((size_t)16 << 20) + 1);
            last[step] = t ? t->data : NULL, held[step] = fv_memory(c).now;
        }
        const fv__pool *p = &c->pool[FV__POOL_STEP];
        CHECK(d ? p->chunks == 1 : p->chunks > 64, "device %d: %d chunks", d, p->chunks);
        CHECK(held[4] == held[1] && held[1] <= held[0] && last[4] == last[2], "device %d: %zu bytes, then %zu and %zu", d, held[0], held[1], held[4]);
        if (d) CHECK(held[1] < (size_t)MANY * (18 << 20) + (60 << 20) && held[1] < held[0] * 2 / 3, "%zu bytes, then %zu", held[0], held[1]);
        CHECK(fv_memory(c).device_now <= fv_memory(c).now && fv_memory(c).device_peak >= fv_memory(c).device_now && !fv_memory(c).device_now == !d, "%zu bytes on the device",
              fv_memory(c).device_now);
        fv_destroy(c);
    }
}

/* An input that the host fills late is copied into memory of its own, not into what kernels that were started before still use. */
static void test_copies(void) {
    fv_ctx *c = contexts[1];
    int64_t n = 1000;
    float one[1000], y[1000];
    for (int i = 0; i < n; i++) one[i] = 1;
    fv_clear_error(c), fv_reset(c), fv_autocast(c, FV_F32);
    int was = fv_no_grad(c, 1);
    fv_tensor *x = fv_input(c, FV_F32, 1, &n, one, 0);
    fv_scope s = fv_scope_begin(c);
    fv_tensor *eight = fv_scope_end(c, s, fv_scale(c, fv_scale(c, fv_scale(c, x, 2), 2), 2)); /* what is 2 and 4 is dropped */
    fv_tensor *late = fv_input(c, FV_F32, 1, &n, one, 0), *sum = fv_add(c, eight, late);
    CHECK(fv_read(c, sum, y) && y[0] == 9 && y[999] == 9, "8 + 1 is %g", (double)y[0]);
    fv_set(late, 999, 2), fv_set(late, 0, 3);
    fv_tensor *first = fv_scale(c, sum, 2), *then = fv_add(c, first, late);
    CHECK(fv_read(c, then, y) && y[0] == 21 && y[999] == 20, "18 + 3 is %g", (double)y[0]);
    fv_tensor *before = fv_scale(c, late, 2); /* sees what was there when it was called */
    fv_set(late, 0, 5);
    CHECK(fv_read(c, before, y) && y[0] == 6, "2 * 3 is %g", (double)y[0]);
    before = fv_scale(c, late, 2);
    fv_write(c, late, one);
    CHECK(fv_read(c, before, y) && y[0] == 10, "2 * 5 is %g", (double)y[0]);
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    fv_no_grad(c, was);
}

/* mixup and cutmix, or neither, as drawn: the very numbers of the CPU, pictures and targets, and of fv_mixup's */
static void test_mixup(void) {
    enum { B = 5, C = 3, H = 7, W = 9, K = 4, ALL = B * C * H * W };
    static const fv_mixup_desc desc[] = {{0.8f, 0, 0, 0, 0}, {0, 1, 0, 0, 0.1f}, {0.4f, 1, 0.7f, 0, 0}, {0, 0, 0, 0, 0.1f}};
    static float y[3][ALL], t[3][B * K];
    int64_t dim[4] = {B, C, H, W};
    int32_t labels[B] = {3, 0, 2, 2, 1};
    int mixed = 0, cut = 0, plain = 0;
    float *x = (float *)numbers(FV_F32, ALL, 6);
    for (int k = 0; k < 4; k++)
        for (uint64_t draw = 0; draw < 6; draw++) {
            for (int d = 0; d < 3; d++) {
                fv_ctx *c = contexts[d == 1];
                fv_rng r = {11, draw, 0};
                fv_clear_error(c), fv_reset(c);
                if (d == 2) {
                    memcpy(y[d], x, sizeof y[d]);
                    fv_mixup(c, &desc[k], &r, y[d], B, C, H, W, labels, K, t[d]);
                    continue;
                }
                fv_tensor *targets = NULL, *m = fv_mixup_batch(c, &desc[k], &r, fv_input(c, FV_F32, 4, dim, x, 0), labels, K, &targets);
                CHECK(m && fv_read(c, m, y[d]) && fv_read(c, targets, t[d]), "%s", fv_error_text(c));
                CHECK(!m || !m->device == (d == 0), "where it was mixed");
            }
            int moved = memcmp(y[0], x, sizeof y[0]) != 0, blended = 0;
            for (int i = 0; i < C * H * W; i++) /* no number of cutmix is new */
                blended |= y[0][i] != x[i] && y[0][i] != x[(B - 1) * C * H * W + i];
            plain += !moved, mixed += blended, cut += moved && !blended;
            CHECK(!memcmp(y[0], y[1], sizeof y[0]) && !memcmp(t[0], t[1], sizeof t[0]), "settings %d, draw %d", k, (int)draw);
            CHECK(!memcmp(y[0], y[2], sizeof y[0]) && !memcmp(t[0], t[2], sizeof t[0]), "settings %d, draw %d: fv_mixup", k, (int)draw);
        }
    CHECK(cut > 4 && mixed + cut > 8 && plain > 4, "%d mixed, %d cut, %d neither", mixed, cut, plain);
    for (int d = 0; d < 2; d++) {
        fv_rng r = {11, 0, 0};
        fv_tensor *targets, *m = fv_mixup_batch(contexts[d], desc, &r, fv_input(contexts[d], FV_F32, 4, dim, x, 0), labels, 3, &targets);
        CHECK(!m && fv_error(contexts[d]) == FV_ESHAPE, "label 3 of 3 classes: %s", fv_error_text(contexts[d]));
        fv_clear_error(contexts[d]);
    }
    free(x);
}

/* ---- steps that the host does not wait for ---- */
enum { STEPS = 9, SIDE = 19, CLASSES = 7, ROWS = 11, GRADIENT = 100, WEIGHTS = CLASSES * (SIDE + 1) };
/* `steps` of them, with other numbers each; step `none`'s input has a NaN, or, with GRADIENT added to it, its gradient alone. said: [STEPS]; out: [WEIGHTS], and the average of w */
static void steps_ahead(fv_ctx *c, int steps, int none, int accum, fv_step_result *said, float *out) {
    int64_t wd[2] = {CLASSES, SIDE}, xd[2] = {ROWS, SIDE}, n = ROWS;
    int told = 0, gpu = fv_device_of(c) == FV_CUDA;
    fv_params p, average, averaged;
    fv_optim_desc d;
    memset(&p, 0, sizeof p), memset(&average, 0, sizeof p), memset(&averaged, 0, sizeof p), memset(&d, 0, sizeof d), memset(said, 0, STEPS * sizeof *said);
    fv_clear_error(c), fv_reset(c), fv_training(c, 1), fv_autocast(c, FV_F32);
    fv_tensor *w = fv_param(c, "w", FV_F32, 2, wd), *b = fv_param(c, "b", FV_F32, 1, wd), *idle = fv_param(c, "idle", FV_F32, 1, wd), *mean = fv_constant(c, "w", FV_F32, 2, wd);
    fv_params_add(c, &p, w), fv_params_add(c, &p, b), fv_params_add(c, &p, idle), fv_params_add(c, &average, mean), fv_params_add(c, &averaged, w);
    fv_init_trunc_normal(c, w, 0.5f, 3);
    d.clip_grad = 0.05f;
    fv_optim *o = fv_optim_create(c, &p, &d);
    fv_step_result r;
    CHECK(!fv_optim_result(c, o, 1, &r), "a result before the first step");
#ifndef FV_TEST_GPU
    long stalls = 0;
#endif
    for (int step = 0; step < steps; step++) {
#ifndef FV_TEST_GPU
        if (step == 4) stalls = emu_stalls;
#endif
        for (int a = 0; a < accum; a++) {
            fv_reset(c);
            float *x = (float *)numbers(FV_F32, ROWS * SIDE, (uint64_t)(step * accum + a));
            if (step == none && a == 0) x[40] = NAN;
            fv_tensor *in = fv_input(c, FV_F32, 2, xd, x, 0), *label = fv_new(c, FV_I32, 1, &n);
            for (int i = 0; i < ROWS; i++) ((int32_t *)label->data)[i] = (step + 3 * i) % CLASSES;
            free(x);
            fv_tensor *loss = fv_cross_entropy(c, fv_linear(c, in, w, b), label, 0);
            fv_backward(c, step + GRADIENT == none && a == 0 ? fv_scale(c, loss, NAN) : loss);
            fv_optim_loss(c, o, loss);
        }
        fv_optim_step_async(c, o, 0.1f, 10.0 * step);
        fv_ema(c, &average, &averaged, 0.7f); /* asked for before the step is done */
        while (fv_optim_result(c, o, 0, &r)) said[told++] = r;
        int known = !gpu ? step + 1 : accum > 1 ? step : step > 1 ? step - 1 : 0;
        CHECK(told == known, "%d results are known after %d steps of %d, and %d wanted", told, step + 1, accum, known);
    }
#ifndef FV_TEST_GPU
    CHECK(emu_stalls == stalls || steps < 5, "the GPU had nothing to do %ld times in %d steps", emu_stalls - stalls, steps - 4);
#endif
    while (fv_optim_result(c, o, 1, &r)) said[told++] = r;
    CHECK(told == steps && !fv_optim_result(c, o, 1, &r), "%d results of %d steps", told, steps);
    fv_read(c, w, out), fv_read(c, b, out + CLASSES * SIDE), fv_read(c, mean, out + WEIGHTS);
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    for (int i = 0; i < FV_OPTIM_AHEAD; i++) CHECK(fv_optim_step_async(c, o, 0, 0), "%s", fv_error_text(c));
    CHECK(!fv_optim_step_async(c, o, 0, 0) && fv_error(c) == FV_EUSAGE, "more steps ahead than there is room for");
    fv_clear_error(c);
    fv_optim_destroy(c, o), fv_free(c, p.at), fv_free(c, average.at), fv_free(c, averaged.at);
    fv_param_free(c, w), fv_param_free(c, b), fv_param_free(c, idle), fv_param_free(c, mean);
}
static double apart(double a, double b) { return a != a && b != b ? 0 : fabs(a - b) / (1e-3 + fabs(a)); }
static void test_steps(void) {
    static float out[2][WEIGHTS + CLASSES * SIDE], stopped[2][WEIGHTS + CLASSES * SIDE];
    fv_step_result said[2][STEPS], unused[STEPS];
    for (int accum = 1; accum < 3; accum++)
        for (int kind = 0; kind < 3; kind++) { /* all is finite; the loss of step 3 is not; its gradient alone is not */
            const int at = 3, none = kind == 0 ? -1 : kind == 1 ? at : at + GRADIENT;
            for (int d = 0; d < 2; d++) steps_ahead(contexts[d], STEPS, none, accum, said[d], out[d]);
            for (int i = 0; i < STEPS; i++) {
                double e = test_worse(apart(said[0][i].loss, said[1][i].loss), apart(said[0][i].norm, said[1][i].norm));
                CHECK(e < 1e-5 && said[1][i].note > 10 * i - 1 && said[1][i].note < 10 * i + 1, "step %d: losses %g %g, norms %g %g, note %g", i, said[0][i].loss,
                      said[1][i].loss, said[0][i].norm, said[1][i].norm, said[1][i].note);
                for (int d = 0; d < 2; d++) CHECK((said[d][i].loss != said[d][i].loss) == (i == none), "step %d: a loss of %g", i, said[d][i].loss);
            }
            double e = difference(out[0], out[1], FV_F32, WEIGHTS), m = difference(out[0] + WEIGHTS, out[1] + WEIGHTS, FV_F32, CLASSES * SIDE);
            CHECK(e < 5e-5 && m < 5e-5, "weights: %g, their averages: %g", e, m);
            for (int d = 0; d < 2 && none > 0; d++) { /* nothing moved from there on */
                steps_ahead(contexts[d], at, -1, accum, unused, stopped[d]);
                CHECK(!memcmp(stopped[d], out[d], WEIGHTS * sizeof *out[d]), "a step counted after a %s that is none", kind == 1 ? "loss" : "gradient");
                CHECK(said[d][at].norm != said[d][at].norm, "the norm of step %d is %g", at, said[d][at].norm);
            }
        }
}
#ifndef FV_TEST_GPU
/* The next step's input goes over while the kernels of this one are still to run; that one's after next waits. */
static void test_overlap(void) {
    fv_ctx *c = contexts[1];
    const emu_stream *kernels = &emu_streams[(size_t)c->device->stream], *copies = &emu_streams[(size_t)c->device->copies];
    int64_t n = 1000;
    float x[1000], y[1000];
    long asked[4];
    fv_clear_error(c), fv_reset(c), fv_sync(c);
    int was = fv_no_grad(c, 1);
    for (int step = 0; step < 4; step++) {
        for (int i = 0; i < n; i++) x[i] = (float)(step + i);
        fv_reset(c);
        CHECK(step < 2 || kernels->done >= asked[step - 2], "step %d's memory is used again before it is done", step - 2);
        fv_tensor *sum = fv_add(c, fv_input(c, FV_F32, 1, &n, x, 0), fv_input(c, FV_F32, 1, &n, x, 0));
        CHECK(copies->done == copies->asked, "step %d's input waits for something", step);
        CHECK(!step || kernels->done < asked[step - 1], "step %d was waited for", step - 1);
        asked[step] = kernels->asked;
        if (step == 3) CHECK(fv_read(c, sum, y) && y[0] == 6 && y[999] == 2004, "2 * 3 is %g", (double)y[0]);
    }
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    fv_no_grad(c, was);
}
static void test_late(void) { /* copies too */
    int was = emu_late;
    emu_late = 1;
    test_tensors(), test_copies(), test_steps();
    emu_late = 0;
    test_overlap(), test_copies(), test_steps();
    emu_late = was;
}
#endif

/* One row more than a grid of transposing blocks takes; and where memory on the device begins. */
static void test_limits(void) {
    fv_ctx *c = contexts[1];
    int64_t dim[2] = {2, (int64_t)65535 * 32 + 1};
    static const int order[2] = {1, 0};
    fv_clear_error(c), fv_reset(c);
    int was = fv_no_grad(c, 1);
    fv_tensor *x = fv_new(c, FV_BF16, 2, dim), *y;
    if (x) memset(x->data, 0, fv__bytes(x));
    fv_set(x, dim[1] - 1, 2), fv_set(x, dim[1], 3);
    y = fv_permute(c, x, order);
    CHECK(y && fv_get(y, 2 * dim[1] - 2) == 2 && fv_get(y, 1) == 3, "%s", fv_error_text(c));
    int64_t panels[3] = {65537, 2, 2};
    static const int turned[3] = {0, 2, 1};
    fv_reset(c), x = fv_new(c, FV_BF16, 3, panels);
    if (x) memset(x->data, 0, fv__bytes(x));
    fv_set(x, 65536 * 4 + 1, 2);
    y = fv_permute(c, x, turned);
    CHECK(y && fv_get(y, 65536 * 4 + 2) == 2, "many panels: %s", fv_error_text(c));
    fv_reset(c), dim[1] = 1;
    for (int i = 0; i < 3; i++) CHECK((y = fv_scale(c, fv_new(c, FV_BF16, 2, dim), 2)) && (uintptr_t)y->data % 256 == 0, "cuBLASLt wants 256 bytes");
    fv_no_grad(c, was);
}

static fv_tensor *checked(fv_ctx *c, void *, fv_tensor **t) {
    fv_tensor *y = fv_gelu(c, fv_linear(c, fv_layernorm(c, t[0], NULL, NULL, 1e-5f), t[1], NULL));
    return fv_mean(c, fv_reshape(c, y, 1, (const int64_t[]){-1}), 0);
}
static void test_gradcheck(void) {
    fv_ctx *c = contexts[1];
    fv_clear_error(c), fv_reset(c);
    int64_t dim[2] = {3, 5}, wdim[2] = {4, 5};
    fv_tensor *t[2];
    void *x = numbers(FV_F64, 15, 1);
    t[0] = fv_input(c, FV_F64, 2, dim, x, 1), t[1] = fv_param(c, "w", FV_F64, 2, wdim);
    free(x);
    fv_init_normal(c, t[1], 1, 9);
    double e = fv_gradcheck(c, checked, NULL, t, 2, 0);
    CHECK(e >= 0 && e < 1e-6, "%g %s", e, fv_error_text(c));
    fv_param_free(c, t[1]);
}

#ifdef FROZENVIS_NCCL
/* ---- a group: two processes with half of the batch each get the gradients that one has with all of it; on a GPU, of which there may be but one,
 * a group of one ---- */
#ifdef FV_TEST_GPU
static const int group_size = 1, emu_averages = 7;
#else
static const int group_size = 2;
#endif
enum { GROUP_ROWS = 6, GROUP_WIDTH = 9, GROUP_NUMBERS = GROUP_WIDTH * (GROUP_WIDTH + 3) }; /* w fills a bucket */
static double group_gradients(fv_ctx *c, int rank, int size, float *g) { /* -> the loss, this process's */
    int64_t dim[2] = {GROUP_ROWS / size, GROUP_WIDTH}, wdim[2] = {GROUP_WIDTH, GROUP_WIDTH}, all = -1;
    double loss = 0;
    float *x = (float *)numbers(FV_F32, GROUP_ROWS * GROUP_WIDTH, 8) + rank * dim[0] * dim[1];
    fv_tensor *w = fv_param(c, "w", FV_F32, 2, wdim), *b = fv_param(c, "b", FV_F32, 1, wdim), *idle = fv_param(c, "idle", FV_F32, 1, wdim), *s = fv_param(c, "s", FV_F32, 1, wdim);
    fv_init_normal(c, w, 1, 1), fv_init_normal(c, b, 1, 2), fv_init_normal(c, s, 1, 3);
    fv_training(c, 1), fv_autocast(c, FV_F32);
    for (int pass = 0; pass < 2; pass++) { /* gradients of two passes are added; w is read twice in each */
        fv_reset(c), fv_seed(c, 3, (uint64_t)pass);
        fv_tensor *y = fv_linear(c, fv_input(c, FV_F32, 2, dim, x, 0), w, b);
        y = fv_mul(c, fv_linear(c, fv_drop_path(c, fv_dropout(c, fv_gelu(c, y), 0.4f), 0.3f), w, NULL), s);
        fv_tensor *l = fv_mean(c, fv_reshape(c, fv_mul(c, y, y), 1, &all), 0);
        fv_backward(c, l);
        loss += l ? fv_get(l, 0) : NAN;
    }
    fv_read_grad(c, w, g), fv_read_grad(c, b, g + GROUP_WIDTH * GROUP_WIDTH), fv_read_grad(c, idle, g + GROUP_WIDTH * (GROUP_WIDTH + 1)), fv_read_grad(c, s, g + GROUP_WIDTH * (GROUP_WIDTH + 2));
    fv_param_free(c, s), fv_param_free(c, w), fv_param_free(c, b), fv_param_free(c, idle);
    return loss;
}
static double group_member(const fv_group_key *key, int rank, const float *wanted, double loss) { /* -> how far from what is wanted */
    float g[GROUP_NUMBERS];
    fv_ctx *c = context(FV_CUDA);
    fv_group_join(c, key, rank, group_size);
    double mine = group_gradients(c, rank, group_size, g), e = difference(wanted, g, FV_F32, GROUP_NUMBERS);
    if (!fv_group_mean(c, &mine, 1) || !(fabs(mine - loss) < 1e-6 * loss) || emu_averages < 7) e = NAN; /* 2 x w, 2 x b, 2 x s, the loss */
    if (fv_error(c)) printf("  rank %d: %s\n", rank, fv_error_text(c)), e = NAN;
    fv_destroy(c);
    return e;
}
static void test_group(void) {
    float wanted[GROUP_NUMBERS];
    fv_group_key key;
    fv_ctx *c = contexts[1];
    int status = 1;
    double v = 3;
    fv_clear_error(c), fv_reset(c);
    CHECK(fv_group_mean(c, &v, 1) && v > 2.9, "alone a mean is the number");
    double loss = group_gradients(c, 0, 1, wanted);
    CHECK(fv_group_make(c, &key), "%s", fv_error_text(c));
    fflush(stdout);
    pid_t p = group_size > 1 ? fork() : -1; /* not with a real driver, whose state a child cannot use */
    if (p == 0) _exit(!(group_member(&key, 1, wanted, loss) < 1e-6));
    double e = group_member(&key, 0, wanted, loss);
    CHECK(e < 1e-6, "rank 0's gradients differ by %g", e);
    CHECK(group_size == 1 || (waitpid(p, &status, 0) == p && status == 0), "rank 1's gradients differ");
    CHECK(fv_group_join(contexts[0], &key, 0, 1) == 0 && fv_error(contexts[0]) == FV_EUSAGE, "the CPU joins no group");
    fv_clear_error(contexts[0]), fv_clear_error(c);
}
#endif

/* an op that a GPU has no kernel for: one sentence, and no fall back to the CPU */
static int odd_shape(fv_ctx *, fv_tensor *y) { return fv__like(y, y->node->src[0], y->node->src[0]->type); }
static void odd_run(fv_ctx *, fv_tensor *) {}
static const fv__op odd_op = {"odd", odd_shape, odd_run, odd_run, NULL, NULL};
static void test_no_queries(void) {
    int64_t keys[3] = {2, 5, 16}, queries[3] = {2, 0, 16};
    for (int d = 0; d < 2; d++) {
        fv_ctx *c = contexts[d];
        float k[2 * 5 * 16], g[2 * 5 * 16];
        fv_attention_desc a;
        memset(&a, 0, sizeof a), memset(k, 0, sizeof k), memset(g, 1, sizeof g);
        a.num_heads = 2;
        fv_clear_error(c), fv_reset(c), fv_training(c, 1);
        fv_tensor *q = fv_input(c, FV_F32, 3, queries, NULL, 1), *of = fv_input(c, FV_F32, 3, keys, k, 1);
        fv_tensor *y = fv_attention(c, q, of, of, &a);
        fv_backward_from(c, y, k);
        int ok = y && fv_read_grad(c, of, g);
        for (int i = 0; ok && i < 160; i++) ok = g[i] == 0;
        CHECK(ok, "device %d: keys that nobody asks: %g, %s", d, (double)g[0], fv_error_text(c));
        fv_clear_error(c);
    }
}
static void test_refusals(void) {
    fv_ctx *c = contexts[1];
    int64_t two = 2, width = 257, dim[3] = {1, 2, 257};
    float x[2] = {1, 2};
    fv_clear_error(c), fv_reset(c);
    fv_tensor *in = fv_input(c, FV_F32, 1, &two, x, 0);
    fv_tensor *y = fv__apply(c, fv__make(c, &odd_op, &in, 1));
    CHECK(!y && fv_error(c) == FV_EUNAVAILABLE && strstr(fv_error_text(c), "odd"), "%s", fv_error_text(c));
    fv_clear_error(c);
    fv_attention_desc d;
    memset(&d, 0, sizeof d);
    d.num_heads = 1;
    fv_tensor *q = fv_new(c, FV_F32, 3, dim);
    memset(q->data, 0, 2 * 257 * 4);
    CHECK(!fv_attention(c, q, q, q, &d) && fv_error(c) == FV_EUNAVAILABLE, "a head of %lld: %s", (long long)width, fv_error_text(c));
    fv_clear_error(c);
    fv_desc small;
    memset(&small, 0, sizeof small);
    small.device = FV_CUDA, small.threads = 1, small.memory_limit = 20 << 20;
    fv_ctx *s = fv_create(&small);
    int64_t big = 30 << 20;
    if (s) fv_param(s, "big", FV_F32, 1, &big);
    CHECK(s && fv_error(s) == FV_ENOMEM, "%s", fv_error_text(s));
    fv_destroy(s);
    fv_desc third;
    memset(&third, 0, sizeof third);
    third.device = FV_CUDA, third.threads = 1, third.device_index = 99;
    s = fv_create(&third);
    CHECK(s && fv_error(s) == FV_EUNAVAILABLE && strstr(fv_error_text(s), "cuda:99"), "%s", fv_error_text(s));
    fv_destroy(s);
#ifndef FV_TEST_GPU
    static const char *const devices[] = {"0", "-1", "-2"}, *const says[] = {"no CUDA device", "no NVIDIA driver", "update the driver"};
    for (int i = 0; i < 3; i++) {
        setenv("FV_EMULATE_DEVICES", devices[i], 1);
        s = context(FV_CUDA);
        CHECK(s && fv_error(s) == FV_EUNAVAILABLE && strstr(fv_error_text(s), says[i]), "%s", fv_error_text(s));
        fv_destroy(s);
    }
    unsetenv("FV_EMULATE_DEVICES");
#endif
}

int main(int argc, char **argv) {
    for (int d = 0; d < 2; d++) contexts[d] = context(d ? FV_CUDA : FV_CPU);
    if (fv_error(contexts[1])) {
        printf("%s\n0 passed, 1 failed, 0 skipped\n", fv_error_text(contexts[1]));
        return 1;
    }
    RUN(test_tensors);
    RUN(test_many_chunks);
    RUN(test_copies);
    RUN(test_mixup);
    RUN(test_steps);
#ifndef FV_TEST_GPU
    RUN(test_late);
#endif
    RUN(test_limits);
    RUN(test_rounded);
    if (argc > 1) {
        only = argv[1];
        RUN(test_ops);
        return REPORT();
    }
    RUN(test_ops);
    RUN(test_attention_shapes);
#ifndef FV_TEST_GPU
    RUN(test_tensor_cores);
#endif
    RUN(test_training);
    RUN(test_many_parameters);
    RUN(test_moved_once);
    RUN(test_masked);
    RUN(test_out_of_range);
    RUN(test_norm_that_is_none);
    RUN(test_gradcheck);
#ifdef FROZENVIS_NCCL
    RUN(test_group);
#endif
    RUN(test_no_queries);
    RUN(test_refusals);
    for (int d = 0; d < 2; d++) fv_destroy(contexts[d]);
    return REPORT();
}
