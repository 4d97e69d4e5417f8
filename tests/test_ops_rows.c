/* test_ops_rows.c -- norms, softmax, activations and losses: gradients against central differences, f32 and
 * bf16 against f64, every ISA, every thread count, PyTorch's numbers, and what happens on misuse. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

enum {
    LAYERNORM,
    RMSNORM,
    BATCHNORM,
    BATCHNORM_EVAL,
    SOFTMAX,
    GELU,
    SILU,
    RELU,
    LEAKY,
    SWIGLU,
    SWIGLU_SAME,
    INVERSE_RMS,
    HARD,
    SOFT,
    BCE,
    HUBER,
    OPS
};
static const char *const op_name[] = {"layernorm",     "rmsnorm",
                                      "batchnorm",     "batchnorm in evaluation",
                                      "softmax",       "gelu",
                                      "silu",          "relu",
                                      "leaky_relu",    "swiglu",
                                      "swiglu(x,x)",   "inverse_rms",
                                      "cross_entropy", "cross_entropy, soft",
                                      "bce",           "huber"};
static int is_loss(int op) { return op >= HARD; }

static fv_ctx *context(fv_isa isa, int threads) {
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.isa = isa, d.threads = threads;
    return fv_create(&d);
}
/* the elements of every input: small numbers that bf16 holds exactly */
static double number(int stream, int64_t i) {
    float v = fv_random_normal(11, (uint64_t)stream, (uint64_t)i);
    return (double)fv__bf16_to(fv__bf16_from(v));
}
static fv_tensor *tensor(fv_ctx *c, fv_type type, int64_t rows, int64_t cols, int stream, int needs_grad) {
    int64_t dim[2];
    dim[0] = rows ? rows : cols, dim[1] = cols;
    fv_tensor *t = fv_new(c, type, rows ? 2 : 1, dim);
    for (int64_t i = 0; t && i < fv_numel(t); i++) fv_set(t, i, number(stream, i));
    if (t && needs_grad) t->flags |= FV_NEEDS_GRAD;
    return t;
}

/* ---- one op on inputs of any type; t: x, w or up, b, and what takes no gradient: target, mean, var ---- */
typedef struct inputs {
    int op;
    fv_tensor *t[6];
} inputs;

static inputs make_inputs(fv_ctx *c, int op, fv_type type, int64_t rows, int64_t cols) {
    inputs in;
    memset(&in, 0, sizeof in);
    fv_type w = type == FV_F64 ? FV_F64 : FV_F32;
    in.op = op;
    in.t[0] = tensor(c, type, rows, cols, 0, 1);
    if (op == SWIGLU) in.t[1] = tensor(c, type, rows, cols, 1, 1);
    if (op <= BATCHNORM_EVAL) in.t[1] = tensor(c, w, 0, cols, 1, 1);
    if (op <= BATCHNORM_EVAL && op != RMSNORM) in.t[2] = tensor(c, w, 0, cols, 2, 1);
    if (op == SOFT || op == BCE || op == HUBER) in.t[3] = tensor(c, w, rows, cols, 3, 0);
    if (op == HARD) {
        in.t[3] = fv_new(c, rows % 2 ? FV_I32 : FV_I64, 1, &rows);
        for (int64_t i = 0; i < rows; i++) fv_set(in.t[3], i, (double)(i * 7 % cols));
    }
    if (op == BATCHNORM || op == BATCHNORM_EVAL) {
        in.t[4] = tensor(c, w, 0, cols, 4, 0);
        in.t[5] = tensor(c, w, 0, cols, 5, 0);
        for (int64_t i = 0; i < cols; i++) fv_set(in.t[5], i, 0.5 + fabs(number(5, i)));
    }
    return in;
}
static fv_tensor *apply(fv_ctx *c, int op, fv_tensor *const *t) {
    fv_training(c, op == BATCHNORM);
    switch (op) {
    case LAYERNORM: return fv_layernorm(c, t[0], t[1], t[2], 1e-3f);
    case RMSNORM: return fv_rmsnorm(c, t[0], t[1], 1e-3f);
    case BATCHNORM:
    case BATCHNORM_EVAL: return fv_batchnorm(c, t[0], t[1], t[2], t[4], t[5], 0.25f, 1e-3f);
    case SOFTMAX: return fv_softmax(c, t[0]);
    case GELU: return fv_gelu(c, t[0]);
    case SILU: return fv_silu(c, t[0]);
    case RELU: return fv_relu(c, t[0]);
    case LEAKY: return fv_leaky_relu(c, t[0], 0.25f);
    case SWIGLU: return fv_swiglu(c, t[0], t[1]);
    case SWIGLU_SAME: return fv_swiglu(c, t[0], t[0]);
    case INVERSE_RMS: return fv_inverse_rms(c, t[0], 1e-3f);
    case HARD:
    case SOFT: return fv_cross_entropy(c, t[0], t[3], 0.125f);
    case BCE: return fv_bce_with_logits(c, t[0], t[3]);
    default: return fv_huber(c, t[0], t[3], 0.75f);
    }
}

/* Results as doubles: y and the gradients of t[0..2], each in its own list. */
enum { MOST = 40000 };
typedef struct results {
    int64_t n[4];
    double *v[4];
} results;

static results run(fv_ctx *c, int op, fv_type type, int64_t rows, int64_t cols) {
    results r;
    memset(&r, 0, sizeof r);
    inputs in = make_inputs(c, op, type, rows, cols);
    fv_tensor *y = apply(c, op, in.t);
    if (!y) return r;
    double *seed = (double *)malloc((size_t)fv_numel(y) * sizeof(double)); /* room for every type */
    for (int64_t i = 0; i < fv_numel(y); i++)
        fv__set(seed, fv_grad_type(y), i, is_loss(op) ? 1 : number(9, i));
    for (int j = 0; j < 4; j++) {
        fv_tensor *t = j ? in.t[j - 1] : y;
        if (j == 1) fv_backward_from(c, y, seed);
        if (!t || !(j ? t->grad : t->data)) continue;
        r.n[j] = fv_numel(t);
        r.v[j] = (double *)malloc((size_t)r.n[j] * sizeof(double));
        for (int64_t i = 0; i < r.n[j]; i++)
            r.v[j][i] = j ? fv__get(t->grad, fv_grad_type(t), i) : fv_get(t, i);
    }
    free(seed);
    fv_reset(c);
    return r;
}
static void drop(results *r) {
    for (int j = 0; j < 4; j++) free(r->v[j]);
}
/* The largest difference, in units of each list's largest element; 1 for lists of different lengths. */
static double difference(const results *a, const results *b) {
    double worst = 0;
    for (int j = 0; j < 4; j++) {
        double scale = 4e-3, most = 0; /* a gradient that is 0 but for rounding has no scale of its own */
        if (a->n[j] != b->n[j] || (j < 2 && !a->n[j])) return 1;
        for (int64_t i = 0; i < a->n[j]; i++) {
            double d = fabs(a->v[j][i] - b->v[j][i]);
            scale = FV__MAX(scale, fabs(a->v[j][i]));
            most = test_worse(most, d);
        }
        worst = test_worse(worst, most / scale);
    }
    return worst;
}
static const int64_t widths[] = {1, 3, 17, 50, 197};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* ---- gradients ---- */
static fv_tensor *loss_of(fv_ctx *c, void *user, fv_tensor **t) {
    const inputs *in = (const inputs *)user;
    fv_tensor *all[6];
    for (int i = 0, at = 0; i < 6; i++) all[i] = in->t[i] && i < 3 ? t[at++] : in->t[i];
    fv_tensor *y = apply(c, in->op, all);
    if (is_loss(in->op)) return y;
    fv_tensor *target = y ? fv_new(c, FV_F64, y->rank, y->dim) : NULL;
    for (int64_t i = 0; target && i < fv_numel(target); i++) fv_set(target, i, 3 * number(8, i));
    return fv_huber(c, y, target, 1.5f); /* any function of all elements will do */
}
static void test_gradients(void) {
    fv_ctx *c = context(FV_ISA_BEST, 2);
    for (int op = 0; op < OPS; op++)
        for (int w = 0; w < WIDTHS; w++) {
            inputs in = make_inputs(c, op, FV_F64, w == 1 ? 37 : 5, widths[w]);
            fv_tensor *t[3];
            int n = 0;
            for (int i = 0; i < 3; i++)
                if (in.t[i]) t[n++] = in.t[i];
            double error = fv_gradcheck(c, loss_of, &in, t, n, 60);
            CHECK(error >= 0 && error < 1e-6, "%s, %d columns: %g %s", op_name[op], (int)widths[w], error,
                  fv_error_text(c));
            fv_reset(c);
        }
    fv_destroy(c);
}

/* inverse_rms gives a number a row, [...,1] */
static fv_tensor *loss_of_inverse_rms(fv_ctx *c, void *user, fv_tensor **t) {
    fv_tensor *y = fv_inverse_rms(c, t[0], *(const float *)user);
    fv_tensor *target = y ? fv_new(c, FV_F64, y->rank, y->dim) : NULL;
    for (int64_t i = 0; target && i < fv_numel(target); i++) fv_set(target, i, 3 * number(8, i));
    return fv_huber(c, y, target, 1.5f);
}
static void test_inverse_rms(void) {
    static const int sizes[] = {1, 3, 17, 50, 197};
    fv_ctx *c = context(FV_ISA_BEST, 2);
    for (int i = 0; i < 25; i++) {
        int rows = sizes[i / 5], columns = sizes[i % 5];
        fv_tensor *x = tensor(c, FV_F64, rows, columns, 1, 1), *y;
        float eps = columns < 17 ? 0.5f : 1e-6f; /* alone, a number near 0 is no place for differences */
        y = fv_inverse_rms(c, x, eps);
        for (int64_t r = 0; y && r < rows; r++) {
            double square = 0;
            for (int64_t k = 0; k < columns; k++) square += pow(fv_get(x, r * columns + k), 2) / columns;
            CHECK(fabs(fv_get(y, r) * sqrt(square + (double)eps) - 1) < 1e-9, "%dx%d: %g", rows, columns,
                  fv_get(y, r));
        }
        double error = fv_gradcheck(c, loss_of_inverse_rms, &eps, &x, 1, 60);
        CHECK(error >= 0 && error < 1e-6, "%dx%d: %g %s", rows, columns, error, fv_error_text(c));
        fv_reset(c);
    }
    fv_destroy(c);
}

/* ---- f32 and bf16 against f64, on every ISA ---- */
static void test_types(void) {
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++) {
        if (!fv_isa_available((fv_isa)isa)) continue;
        fv_ctx *c = context((fv_isa)isa, 2);
        for (int op = 0; op < OPS; op++)
            for (int w = 0; w < WIDTHS; w++) {
                results d = run(c, op, FV_F64, 6, widths[w]), f = run(c, op, FV_F32, 6, widths[w]),
                        h = run(c, op, FV_BF16, 6, widths[w]);
                double f32 = difference(&d, &f), bf16 = difference(&d, &h);
                CHECK(f32 < 1e-5, "%s %s, %d columns, f32: %g %s", op_name[op], fv_isa_name((fv_isa)isa),
                      (int)widths[w], f32, fv_error_text(c));
                CHECK(bf16 < 1.5e-2, "%s %s, %d columns, bf16: %g %s", op_name[op], fv_isa_name((fv_isa)isa),
                      (int)widths[w], bf16, fv_error_text(c));
                drop(&d), drop(&f), drop(&h);
            }
        fv_destroy(c);
    }
}

/* ---- the same bits for any number of threads ---- */
static void test_threads(void) {
    fv_ctx *c[3];
    for (int i = 0; i < 3; i++) c[i] = context(FV_ISA_BEST, i + 1);
    for (int op = 0; op < OPS; op++)
        for (int type = FV_F32; type <= FV_BF16; type++) {
            results one = run(c[0], op, (fv_type)type, 201, 197),
                    two = run(c[1], op, (fv_type)type, 201, 197),
                    three = run(c[2], op, (fv_type)type, 201, 197);
            CHECK(difference(&one, &two) == 0 && difference(&one, &three) == 0, "%s %s", op_name[op],
                  fv_type_name((fv_type)type));
            drop(&one), drop(&two), drop(&three);
        }
    for (int i = 0; i < 3; i++) fv_destroy(c[i]);
}

/* ---- PyTorch 2 in f64: x, w, b, gradient and targets are ((37 i + 11 s) mod 23 - 11)/4, i = 0.., for s = 1,
 * 2, 3, 4, ..; y first, then the gradients of x, w, b. Options as in apply(); running mean s = 5, variance 1
 * + (s = 6)^2 ---- */
static const double layernorm0[] = {-0.415350916309, -3.20649936968,  -0.210068069352, -2.40745641416,
                                    1.52846872883,   -0.415350916309, -3.20649936968,  -0.210068069352,
                                    -2.40745641416,  1.52846872883};
static const double layernorm1[] = {2.51491972285,  -1.44036973424, 0.428210832022, 0.00541822334714,
                                    -1.50817904398, 2.83846156624,  -1.61614543183, 0.164816974038,
                                    0.107041159636, -1.49417426809};
static const double layernorm2[] = {-0.315669931135, -1.05974905453, -2.59300300575, -2.14956191202,
                                    -1.80382817792};
static const double layernorm3[] = {5.25, 0.75, -3.75, 3.25, -1.25};
static const double rmsnorm0[] = {0,
                                  -0.675216103735,
                                  -1.31292020171,
                                  -1.05033616137,
                                  -0.750240115261,
                                  0.404516756728,
                                  -0.588388009787,
                                  -1.54451852569,
                                  -0.772259262845,
                                  -0.809033513457};
static const double rmsnorm1[] = {4.12632063394,    0.309136223286, 1.97060998287,  1.67955411394,
                                  -0.0350526451547, 4.40512490662,  0.503572341594, 1.53458177561,
                                  1.93561653215,    -0.343056588881};
static const double rmsnorm2[] = {0.404516756728, -0.925996061654, -3.04499875621, -1.67254740116,
                                  -1.93439368635};
static const double batchnorm0[] = {-2.91601064926, -2.98472920896, 2.69655223135,  -2.94655223135,
                                    2.73472920896,  2.41601064926,  -2.01527079104, -0.696552231346,
                                    0.446552231346, 1.76527079104};
static const double batchnorm1[] = {-0.160361542812, -0.0291566441477, 0.102048254517,  -0.102048254517,
                                    0.0291566441477, 0.160361542812,   0.0291566441477, -0.102048254517,
                                    0.102048254517,  -0.0291566441477};
static const double batchnorm2[] = {0.242364604478, 0.242364604478, 0.242364604478, 0.242364604478,
                                    0.242364604478};
static const double batchnorm3[] = {5.25, 0.75, -3.75, 3.25, -1.25};
static const double running0[] = {-0.34375, -2.59375, 0.90625, -1.34375, 2.15625};
static const double running1[] = {4.5546875, 0.7578125, 4.5546875, 1.9296875, 1.5078125};
static const double batcheval0[] = {0.308394339581,  -2.25012490633, 0.644658147539, -0.703498457436,
                                    2.07326748231,   0.587591509372, -2.12518735949, 0.466987221309,
                                    -0.430247686154, 1.98490122347};
static const double batcheval1[] = {2.79197169791,  0.124937546836, 1.42136740984,  1.63950462769,
                                    0.265098776533, 3.0711688677,   0.249875093672, 1.24369648361,
                                    1.91275539897,  0.176732517689};
static const double batcheval2[] = {1.34522272717, 0.499750187344, -0.939117752932, 1.28818220747,
                                    -0.530197553066};
static const double batcheval3[] = {5.25, 0.75, -3.75, 3.25, -1.25};
static const double softmax0[] = {0.0583222476897, 0.0061471196812, 0.203564646487,  0.0214555558879,
                                  0.710510430254,  0.0583222476897, 0.0061471196812, 0.203564646487,
                                  0.0214555558879, 0.710510430254};
static const double softmax1[] = {0.1901588944,     0.0062115807306, -0.252321151324, 0.0484999919177,
                                  0.00745068427564, 0.1901588944,    0.0062115807306, -0.252321151324,
                                  0.0484999919177,  0.00745068427564};
static const double gelu0[] = {0,
                               -0.0275050634739,
                               1.11793778292,
                               -0.158655253931,
                               2.48447583669,
                               0.149676581421,
                               -0.0455002638964,
                               1.3997891981,
                               -0.169970514283,
                               2.7418056511};
static const double gelu1[] = {
    1.25,          -0.0147974359938, -2.24532316614, -0.124973205882,  -0.778208314431,
    1.91227672593, -0.0426159005391, -1.9730710864,  0.00135498695634, -0.511013766822};
static const double silu0[] = {0,
                               -0.214536296023,
                               0.971624826468,
                               -0.26894142137,
                               2.31035454995,
                               0.140544125221,
                               -0.238405844044,
                               1.22636171429,
                               -0.240615975618,
                               2.58476171202};
static const double silu1[] = {
    1.25,          -0.0246827275242, -1.98736168983, 0.108494232193, -0.824550833506,
    1.71520255932, -0.0453921243924, -1.82226477002, 0.275450097131, -0.5476115113};
static const double leaky0[] = {0, -0.5625, 1.25, -0.25, 2.5, 0.25, -0.5, 1.5, -0.1875, 2.75};
static const double leaky1[] = {0.625, 0.0625, -2, 0.375, -0.75, 2.75, 0.125, -1.75, 0.4375, -0.5};
static const double hard0[] = {4.25114665139};
static const double hard1[] = {0.0166611238448,   -0.0094264401594, 0.0892823232435, -0.439272222056,
                               0.342755215127,    0.0166611238448,  -0.446926440159, 0.0892823232435,
                               -0.00177222205603, 0.342755215127};
static const double soft0[] = {45.5970539831};
static const double soft1[] = {0.115033149262, -3.28171376454, 1.18221101656, -1.21489409509, 3.19936369382,
                               0.254941397183, -3.28137759393, 1.05662470816, -0.85825199438, 2.82806348297};
static const double bce0[] = {1.21134702133};
static const double bce1[] = {-0.0333333333333, -0.0362983868434, 0.0693966527841,  -0.0397725245297,
                              0.0632475153312,  -0.0312823499114, -0.0380797077978, 0.0692574476194,
                              -0.0387512032509, 0.0606580016493};
static const double huber0[] = {0.99140625};
static const double huber1[] = {-0.075, -0.075, 0.075, -0.075, 0.075, -0.0625, -0.075, 0.075, -0.075, 0.075};

static double pattern(int s, int64_t i) { return (double)((i * 37 + s * 11) % 23 - 11) / 4; }
static fv_tensor *patterned(fv_ctx *c, int s, int64_t rows) {
    fv_tensor *t = tensor(c, FV_F64, rows, 5, 0, s < 4);
    for (int64_t i = 0; i < fv_numel(t); i++) fv_set(t, i, pattern(s, i));
    return t;
}
static void golden(int op, const double *y_, const double *gx, const double *gw, const double *gb) {
    fv_ctx *c = context(FV_ISA_BEST, 1);
    fv_tensor *t[6] = {patterned(c, 1, 2), NULL, NULL, NULL, NULL, NULL};
    double g[10], one = 1;
    if (op <= BATCHNORM_EVAL)
        t[1] = patterned(c, 2, 0), t[2] = patterned(c, 3, 0), t[4] = patterned(c, 5, 0),
        t[5] = patterned(c, 6, 0);
    if (t[5])
        for (int i = 0; i < 5; i++) fv_set(t[5], i, 1 + pattern(6, i) * pattern(6, i));
    if (op == SOFT) t[3] = patterned(c, 7, 2);
    if (op == BCE || op == HUBER) t[3] = patterned(c, 8, 2);
    for (int i = 0; t[3] && i < 10; i++) {
        double v = fv_get(t[3], i);
        fv_set(t[3], i, op == SOFT ? v * v : (v + 3) / 6);
    }
    int64_t two = 2;
    int32_t labels[] = {3, 1};
    if (op == HARD) t[3] = fv_input(c, FV_I32, 1, &two, labels, 0);
    for (int i = 0; i < 10; i++) g[i] = pattern(4, i);
    fv_tensor *y = apply(c, op, t);
    CHECK(y != NULL, "%s: %s", op_name[op], fv_error_text(c));
    for (int64_t i = 0; i < fv_numel(y); i++)
        CHECK(fabs(fv_get(y, i) - y_[i]) < 1e-7 * (1 + fabs(y_[i])), "%s y[%d] %.9g", op_name[op], (int)i,
              fv_get(y, i));
    if (op == BATCHNORM)
        for (int i = 0; i < 5; i++)
            CHECK(fabs(fv_get(t[4], i) - running0[i]) + fabs(fv_get(t[5], i) - running1[i]) < 1e-9,
                  "running %d", i);
    if (y) fv_backward_from(c, y, is_loss(op) ? &one : g);
    const double *want[3] = {gx, gw, gb};
    for (int j = 0; j < 3; j++)
        for (int64_t i = 0; want[j] && i < fv_numel(t[j]); i++) {
            double v = t[j]->grad ? fv__get(t[j]->grad, FV_F64, i) : NAN;
            CHECK(fabs(v - want[j][i]) < 1e-7 * (1 + fabs(v)), "%s gradient %d [%d] %.9g", op_name[op], j,
                  (int)i, v);
        }
    fv_destroy(c);
}
static void test_pytorch(void) {
    golden(LAYERNORM, layernorm0, layernorm1, layernorm2, layernorm3);
    golden(RMSNORM, rmsnorm0, rmsnorm1, rmsnorm2, NULL);
    golden(BATCHNORM, batchnorm0, batchnorm1, batchnorm2, batchnorm3);
    golden(BATCHNORM_EVAL, batcheval0, batcheval1, batcheval2, batcheval3);
    golden(SOFTMAX, softmax0, softmax1, NULL, NULL);
    golden(GELU, gelu0, gelu1, NULL, NULL);
    golden(SILU, silu0, silu1, NULL, NULL);
    golden(LEAKY, leaky0, leaky1, NULL, NULL);
    golden(HARD, hard0, hard1, NULL, NULL);
    golden(SOFT, soft0, soft1, NULL, NULL);
    golden(BCE, bce0, bce1, NULL, NULL);
    golden(HUBER, huber0, huber1, NULL, NULL);
}

/* ---- gradients add up, over uses and over backward passes ---- */
static void test_accumulation(void) {
    fv_ctx *c = context(FV_ISA_BEST, 2);
    int64_t d = 17;
    fv_tensor *w = fv_param(c, "w", FV_F32, 1, &d);
    double g[17 * 4], once[17];
    fv_init_fill(w, 1.5);
    for (int i = 0; i < 17 * 4; i++) fv__set(g, FV_F32, i, number(9, i));
    for (int pass = 0; pass < 2; pass++) {
        fv_backward_from(c, fv_rmsnorm(c, tensor(c, FV_F32, 4, 17, 0, 0), w, 1e-5f), g);
        for (int i = 0; i < 17; i++) {
            double v = fv__get(w->grad, FV_F32, i);
            if (!pass) once[i] = v;
            else CHECK(fabs(v - 2 * once[i]) < 1e-6, "%g not twice %g", v, once[i]);
        }
        fv_reset(c);
    }
    /* x -> gelu and silu -> swiglu: two gradients meet in x */
    for (int type = FV_F32; type <= FV_BF16; type++) {
        fv_tensor *x = tensor(c, (fv_type)type, 4, 17, 0, 1);
        fv_backward_from(c, fv_swiglu(c, fv_gelu(c, x), fv_silu(c, x)), memset(g, 0, sizeof g));
        for (int i = 0; i < 17 * 4; i++)
            CHECK(fv__get(x->grad, fv_grad_type(x), i) == 0, "no gradient in, none out");
        fv_reset(c);
    }
    CHECK(fv_error(c) == FV_OK, "%s", fv_error_text(c));
    fv_param_free(c, w);
    fv_destroy(c);
}

/* ---- under fv_autocast norms hand on bf16, the rest keeps its type ---- */
static void test_autocast(void) {
    fv_ctx *c = context(FV_ISA_BEST, 2);
    for (int op = LAYERNORM; op < OPS; op++) {
        fv_autocast(c, FV_BF16);
        inputs in = make_inputs(c, op, FV_F32, 5, 50);
        fv_tensor *y = apply(c, op, in.t);
        fv_type wanted = op <= RMSNORM ? FV_BF16 : FV_F32;
        CHECK(y && y->type == wanted, "%s: %s", op_name[op], fv_error_text(c));
        fv_reset(c);
        results h = run(c, op, FV_F32, 5, 50);
        fv_autocast(c, FV_F32);
        results f = run(c, op, FV_F32, 5, 50);
        CHECK(difference(&f, &h) < (op <= RMSNORM ? 4e-3 : 1e-30), "%s: %g", op_name[op], difference(&f, &h));
        drop(&h), drop(&f);
    }
    fv_destroy(c);
}

/* ---- recomputation: the same gradients, and running statistics move once ---- */
static fv_tensor *scoped(fv_ctx *c, inputs *in) {
    fv_scope s = fv_scope_begin(c);
    fv_tensor *t = in->t[0];
    in->t[0] = fv_gelu(c, t);
    fv_tensor *y = fv_softmax(c, apply(c, in->op, in->t));
    in->t[0] = t;
    return fv_scope_end(c, s, y);
}
static void test_recompute(void) {
    fv_ctx *c = context(FV_ISA_BEST, 2);
    for (int op = 0; op < HARD; op++) {
        float grad[2][6 * 50], mean[2][50], g[6 * 50];
        memset(mean, 0, sizeof mean);
        for (int again = 0; again < 2; again++) {
            fv_recompute(c, again);
            inputs in = make_inputs(c, op, FV_F32, 6, 50);
            fv_tensor *y = scoped(c, &in);
            for (int i = 0; i < 300; i++) g[i] = (float)number(9, i);
            if (y) fv_backward_from(c, y, g);
            CHECK(y && in.t[0]->grad, "%s: %s", op_name[op], fv_error_text(c));
            if (!y || !in.t[0]->grad) return;
            memcpy(grad[again], in.t[0]->grad, sizeof g);
            if (in.t[4]) memcpy(mean[again], in.t[4]->data, sizeof mean[0]);
            fv_reset(c);
        }
        CHECK(!memcmp(grad[0], grad[1], sizeof g), "%s", op_name[op]);
        CHECK(!memcmp(mean[0], mean[1], sizeof mean[0]), "%s moved its statistics twice", op_name[op]);
    }
    fv_destroy(c);
}

/* ---- memory: what a norm keeps for the backward pass is 16 bytes a row, not another activation ---- */
static void test_saved_memory(void) {
    fv_ctx *c = context(FV_ISA_BEST, 1);
    inputs in = make_inputs(c, LAYERNORM, FV_F32, 64, 1024);
    size_t before = fv_memory(c).step_now;
    apply(c, LAYERNORM, in.t);
    size_t kept = fv_memory(c).step_now - before;
    CHECK(kept <= 64 * 1024 * 4 + 64 * 16 + 256, "%d bytes", (int)kept);
    before = fv_memory(c).step_now;
    fv_no_grad(c, 1);
    apply(c, LAYERNORM, in.t);
    CHECK(fv_memory(c).step_now - before == 64 * 1024 * 4, "without gradients nothing is kept");
    fv_destroy(c);
}

/* ---- NaN and infinity reach the loss ---- */
static void test_nonfinite(void) {
    fv_ctx *c = context(FV_ISA_BEST, 1);
    for (int op = HARD; op < OPS; op++)
        for (int type = FV_F32; type <= FV_BF16; type++) {
            inputs in = make_inputs(c, op, (fv_type)type, 4, 17);
            fv_set(in.t[0], 20, NAN);
            fv_tensor *y = apply(c, op, in.t);
            CHECK(y && isnan(fv_get(y, 0)), "%s of a NaN", op_name[op]);
            fv_reset(c);
        }
    inputs in = make_inputs(c, HARD, FV_F32, 4, 17); /* large logits do not overflow */
    for (int i = 0; i < 4 * 17; i++) fv_set(in.t[0], i, i % 17 ? -30000 : 30000);
    fv_tensor *y = fv_cross_entropy(c, in.t[0], in.t[3], 0);
    CHECK(y && fabs(fv_get(y, 0) - 60000 * 3 / 4.0) < 1, "%g", y ? fv_get(y, 0) : NAN);
    in = make_inputs(c, BCE, FV_F32, 4, 17);
    for (int i = 0; i < 4 * 17; i++) fv_set(in.t[0], i, 1e4), fv_set(in.t[3], i, 0);
    y = fv_bce_with_logits(c, in.t[0], in.t[3]);
    CHECK(y && fv_get(y, 0) == 1e4, "%g", y ? fv_get(y, 0) : NAN);
    fv_destroy(c);
}

/* ---- misuse: a status and a sentence ---- */
static void refused(fv_ctx *c, const fv_tensor *y, fv_status status, const char *part) {
    CHECK(!y && fv_error(c) == status, "%s gave status %d", part, (int)fv_error(c));
    CHECK(strstr(fv_error_text(c), part) && strlen(fv_error_text(c)) > 25, "\"%s\" has no \"%s\"",
          fv_error_text(c), part);
    fv_clear_error(c);
}
static void test_misuse(void) {
    fv_ctx *c = context(FV_ISA_BEST, 1);
    fv_tensor *x = tensor(c, FV_F32, 4, 17, 0, 1), *w = tensor(c, FV_F32, 0, 16, 1, 1),
              *v = tensor(c, FV_F32, 4, 16, 2, 1);
    fv_tensor *d = tensor(c, FV_F64, 0, 17, 1, 1), *ok = tensor(c, FV_F32, 0, 17, 1, 1),
              *one = tensor(c, FV_F32, 1, 17, 0, 1);
    int64_t four = 4;
    int32_t labels[] = {0, 17, 2, 3}, negative[] = {0, -100, 2, 3};
    fv_tensor *bad = fv_input(c, FV_I32, 1, &four, labels, 0),
              *less = fv_input(c, FV_I32, 1, &four, negative, 0);
    refused(c, fv_layernorm(c, x, w, NULL, 1e-5f), FV_ESHAPE, "[4,17] f32 and [16] f32");
    refused(c, fv_layernorm(c, x, NULL, w, 1e-5f), FV_ESHAPE, "layernorm");
    refused(c, fv_rmsnorm(c, x, w, 1e-5f), FV_ESHAPE, "rmsnorm");
    refused(c, fv_rmsnorm(c, x, d, 1e-5f), FV_ESHAPE, "f64");
    refused(c, fv_rmsnorm(c, bad, NULL, 1e-5f), FV_ESHAPE, "[4] i32");
    refused(c, fv_rmsnorm(c, NULL, NULL, 1e-5f), FV_ESHAPE, "NULL");
    refused(c, fv_batchnorm(c, x, ok, ok, ok, w, 0.1f, 1e-5f), FV_ESHAPE, "batchnorm");
    refused(c, fv_batchnorm(c, x, ok, ok, NULL, ok, 0.1f, 1e-5f), FV_ESHAPE, "NULL");
    fv_training(c, 1);
    refused(c, fv_batchnorm(c, one, ok, ok, ok, ok, 0.1f, 1e-5f), FV_ESHAPE, "two rows");
    refused(c, fv_swiglu(c, x, v), FV_ESHAPE, "[4,17] f32 and [4,16] f32");
    refused(c, fv_swiglu(c, x, NULL), FV_ESHAPE, "NULL");
    refused(c, fv_softmax(c, bad), FV_ESHAPE, "softmax");
    refused(c, fv_gelu(c, bad), FV_ESHAPE, "gelu");
    refused(c, fv_cross_entropy(c, x, bad, 0), FV_ESHAPE, "label 17 of row 1 is not one of 17 classes");
    refused(c, fv_cross_entropy(c, x, less, 0), FV_ESHAPE, "label -100 of row 1");
    refused(c, fv_cross_entropy(c, x, v, 0), FV_ESHAPE, "cross_entropy");
    refused(c, fv_cross_entropy(c, one, bad, 0), FV_ESHAPE, "cross_entropy");
    refused(c, fv_cross_entropy(c, x, bad, 2), FV_EUSAGE, "smoothing 2");
    refused(c, fv_bce_with_logits(c, x, v), FV_ESHAPE, "bce_with_logits");
    refused(c, fv_huber(c, x, v, 1), FV_ESHAPE, "huber");
    refused(c, fv_huber(c, x, x, 0), FV_EUSAGE, "delta");
    fv_fail(c, FV_EIO, "an earlier failure, with a sentence to it");
    refused(c, fv_gelu(c, x), FV_EIO, "earlier"); /* the first failure stays */
    fv_destroy(c);
}

int main(void) {
    RUN(test_gradients);
    RUN(test_inverse_rms);
    RUN(test_types);
    RUN(test_threads);
    RUN(test_pytorch);
    RUN(test_accumulation);
    RUN(test_autocast);
    RUN(test_recompute);
    RUN(test_saved_memory);
    RUN(test_nonfinite);
    RUN(test_misuse);
    return REPORT();
}
