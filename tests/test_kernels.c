/* test_kernels.c -- the row kernels of every ISA this CPU has, against formulas in double; exp and erf
 * against libm; random numbers against known ones and the laws of their distributions. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

enum { MOST = 600, GUARD = 64 };
static const int64_t sizes[] = {1, 3, 7, 8, 15, 16, 17, 50, 197, 256, 257, 513};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef struct path {
    const fv__kernels *k;
    const char *name;
    fv_type type;
    double tolerance;
} path;
static path paths[8];
static int path_count;

static void add_path(const fv__kernels *k, const char *name, fv_type type) {
    path *p = &paths[path_count++];
    p->k = k, p->name = name, p->type = type, p->tolerance = type == FV_F64 ? 1e-13 : 3e-6;
}
static void find_paths(void) {
    add_path(&fv__kernels_f64, "f64", FV_F64);
    add_path(&fv__kernels_scalar, "scalar", FV_F32);
#ifdef FV__X86
    if (fv_isa_available(FV_ISA_AVX2)) add_path(&fv__kernels_avx2, "avx2", FV_F32);
    if (fv_isa_available(FV_ISA_AVX512)) add_path(&fv__kernels_avx512, "avx512", FV_F32);
#endif
#ifdef FV__ARM
    add_path(&fv__kernels_neon, "neon", FV_F32);
#endif
}

/* ---- five operands, as doubles (what the elements really are) and as elements, with a guard behind them
 * ---- */
static double ref[6][MOST];
static double raw[6][MOST + GUARD]; /* bytes enough for either type */
static double want[3][MOST];

static void fill(fv_type type, int64_t n) {
    for (int j = 0; j < 6; j++)
        for (int64_t i = 0; i < n + GUARD; i++) {
            double v = 3 * (double)fv_random_normal(7, (uint64_t)j, (uint64_t)i);
            fv__set(raw[j], type, i, i < n ? v : 12345);
            if (i < n) ref[j][i] = fv__get(raw[j], type, i);
        }
}
static void compare(const path *p, const char *kernel, int operand, const double *expected, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double got = fv__get(raw[operand], p->type, i), error = fabs(got - expected[i]);
        CHECK(error <= p->tolerance * (1 + fabs(expected[i])), "%s %s n=%d [%d] %.9g not %.9g", kernel,
              p->name, (int)n, (int)i, got, expected[i]);
    }
    for (int64_t i = n; i < n + GUARD; i++)
        CHECK(fv__get(raw[operand], p->type, i) == 12345, "%s %s n=%d wrote past its end", kernel, p->name,
              (int)n);
}
static void close_to(const path *p, const char *kernel, double got, double expected, double size, int64_t n) {
    CHECK(fabs(got - expected) <= p->tolerance * (1 + size), "%s %s n=%d %.9g not %.9g", kernel, p->name,
          (int)n, got, expected);
}
#define EACH_CASE(...)                                                                                       \
    for (int pi = 0; pi < path_count; pi++)                                                                  \
        for (int si = 0; si < SIZES; si++) {                                                                 \
            const path *p = &paths[pi];                                                                      \
            int64_t n = sizes[si];                                                                           \
            __VA_ARGS__                                                                                      \
        }
#define EXPECT(expr)                                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        double a = ref[0][i], b = ref[1][i], z = ref[2][i];                                                  \
        (void)a, (void)b, (void)z;                                                                           \
        want[0][i] = (expr);                                                                                 \
    }

static double phi(double x) { return 0.5 * (1 + erf(x / sqrt(2.0))); }
static double gelu_slope(double x) { return phi(x) + x * exp(-x * x / 2) / sqrt(2 * M_PI); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu_slope(double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }

static void test_elementwise(void) {
#define TRY(name, call, expr)                                                                                \
    fill(p->type, n);                                                                                        \
    EXPECT(expr)                                                                                             \
    p->k->call;                                                                                              \
    compare(p, name, 2, want[0], n);
    /* clang-format off: a line each */
    EACH_CASE({
        TRY("add", add(raw[2], raw[0], raw[1], n), a + b)
        TRY("sub", sub(raw[2], raw[0], raw[1], n), a - b)
        TRY("mul", mul(raw[2], raw[0], raw[1], n), a * b)
        TRY("muladd", muladd(raw[2], raw[0], raw[1], n), a * b + z)
        TRY("axpy", axpy(raw[2], raw[0], 0.375, n), 0.375 * a + z)
        TRY("scale", scale(raw[2], raw[0], -1.5, n), -1.5 * a)
        TRY("affine", affine(raw[2], raw[0], -1.5, 4, n), 4 - 1.5 * a)
        TRY("exp", vec_exp(raw[2], raw[0], n), exp(a))
        TRY("erf", vec_erf(raw[2], raw[0], n), erf(a))
        TRY("gelu", gelu(raw[2], raw[0], n), a * phi(a))
        TRY("gelu_grad", gelu_grad(raw[2], raw[0], raw[1], n), b * gelu_slope(a))
        TRY("silu", silu(raw[2], raw[0], n), a * sigmoid(a))
        TRY("silu_grad", silu_grad(raw[2], raw[0], raw[1], n), b * silu_slope(a))
        TRY("relu", relu(raw[2], raw[0], n), a > 0 ? a : 0)
        TRY("relu_grad", relu_grad(raw[2], raw[0], raw[1], n), a > 0 ? b : 0)
        TRY("leaky_relu", leaky_relu(raw[2], raw[0], 0.25, n), a > 0 ? a : 0.25 * a)
        TRY("leaky_relu_grad", leaky_relu_grad(raw[2], raw[0], raw[1], 0.25, n), a > 0 ? b : 0.25 * b)
        TRY("swiglu", swiglu(raw[2], raw[0], raw[1], n), a * sigmoid(a) * b)
        TRY("swiglu_grad gate",
            swiglu_grad(raw[2], NULL, raw[0], raw[1], raw[3], n), ref[3][i] * b * silu_slope(a))
        TRY("swiglu_grad up",
            swiglu_grad(NULL, raw[2], raw[0], raw[1], raw[3], n), ref[3][i] * a * sigmoid(a))
    })
    /* clang-format on */
#undef TRY
}

static void test_sums(void) {
    EACH_CASE({
        double sum = 0;
        double dot = 0;
        double size = 0;
        double most = -INFINITY;
        fill(p->type, n);
        for (int64_t i = 0; i < n; i++) {
            sum += ref[0][i], dot += ref[0][i] * ref[1][i],
                size += fabs(ref[0][i]) + fabs(ref[0][i] * ref[1][i]);
            most = ref[0][i] > most ? ref[0][i] : most;
        }
        close_to(p, "sum", p->k->sum(raw[0], n), sum, size * 0.1, n);
        close_to(p, "dot", p->k->dot(raw[0], raw[1], n), dot, size * 0.1, n);
        CHECK(p->k->row_max(raw[0], n) == most, "max %s n=%d", p->name, (int)n);
        /* no 0 of a tail may win */
        for (int64_t i = 0; i < n; i++) fv__set(raw[0], p->type, i, -10 - (double)i);
        CHECK(p->k->row_max(raw[0], n) == -10, "max of negatives %s n=%d", p->name, (int)n);
        /* the last one is the largest */
        for (int64_t i = 0; i < n; i++) fv__set(raw[0], p->type, i, (double)(i - 1000));
        CHECK(p->k->row_max(raw[0], n) == (double)(n - 1001), "max at the end %s n=%d", p->name, (int)n);
        /* the larger of two and where it is; also of equal ones, and of NaNs, the first of which stays */
        fill(p->type, n);
        for (int64_t i = 0; i < n; i++) {
            fv__set(raw[2], p->type, i, 7);
            if (i % 5 == 1) fv__set(raw[1], p->type, i, ref[0][i]);
            if (i % 3 == 2) fv__set(raw[1], p->type, i, NAN);
            if (i % 7 == 2) fv__set(raw[0], p->type, i, NAN);
            want[0][i] = fv__get(raw[0], p->type, i);
            want[1][i] = fv__get(raw[1], p->type, i);
        }
        p->k->max_into(raw[0], raw[2], raw[1], n, 9);
        for (int64_t i = 0; i < n; i++) {
            double first = want[0][i], second = want[1][i], got = fv__get(raw[0], p->type, i);
            int take = first == first && (second != second || second > first);
            CHECK(fv__get(raw[2], p->type, i) == (take ? 9 : 7) &&
                      !memcmp(&got, take ? &second : &first, sizeof got),
                  "max_into %s n=%d i=%d", p->name, (int)n, (int)i);
        }
    })
    CHECK(fv__kernels_scalar.sum(raw[0], 0) == 0 && fv__kernels_scalar.row_max(raw[0], 0) == -INFINITY,
          "an empty row");
}

static void test_softmax(void) {
    EACH_CASE({
        double sum = 0;
        double d = 0;
        fill(p->type, n);
        if (n > 2) fv__set(raw[0], p->type, n / 2, -INFINITY), ref[0][n / 2] = -INFINITY; /* a masked key */
        for (int64_t i = 0; i < n; i++) sum += want[0][i] = exp(ref[0][i] * 0.5 - 1.25);
        close_to(p, "exp_sum", p->k->exp_sum(raw[1], n, 2), p->k->exp_sum(raw[1], n, 0) * exp(-2.0), sum, n);
        double got = p->k->softmax_exp(raw[0], n, 0.5, 1.25);
        compare(p, "softmax_exp", 0, want[0], n);
        close_to(p, "softmax_exp's sum", got, sum, sum, n);
        if (n > 2) CHECK(fv__get(raw[0], p->type, n / 2) == 0, "a masked key of %s is exactly 0", p->name);
        for (int64_t i = 0; i < n; i++) d += ref[1][i] * ref[2][i];
        EXPECT(b * (z - d))
        p->k->softmax_grad(raw[3], raw[1], raw[2], n);
        for (int64_t i = 0; i < n; i++) /* relative to what was cancelled */
            close_to(p, "softmax_grad", fv__get(raw[3], p->type, i), want[0][i], 30 * (double)n, n);
    })
}

/* x = 0, w = 1, b = 2, gy = 3; out in 4, 5 */
static void test_norms(void) {
    EACH_CASE({
        double mean = 0;
        double var = 0;
        double stats[2];
        fill(p->type, n);
        for (int64_t i = 0; i < n; i++)
            fv__set(raw[0], p->type, i, 100 + ref[0][i]), ref[0][i] = fv__get(raw[0], p->type, i);
        for (int64_t i = 0; i < n; i++) mean += ref[0][i] / (double)n;
        for (int64_t i = 0; i < n; i++) var += (ref[0][i] - mean) * (ref[0][i] - mean) / (double)n;
        double rstd = 1 / sqrt(var + 1e-2);
        for (int centred = 0; centred < 2; centred++) {
            if (!centred) rstd = 1 / sqrt(var + mean * mean + 1e-2);
            double m = centred ? mean : 0;
            double r = rstd = 1 / sqrt(var + (mean - m) * (mean - m) + 1e-2);
            EXPECT((a - m) * r * b + (centred ? z : 0))
            if (centred) p->k->layernorm(raw[4], raw[0], raw[1], raw[2], n, 1e-2, stats);
            else p->k->rmsnorm(raw[4], raw[0], raw[1], n, 1e-2, stats + 1);
            for (int64_t i = 0; i < n; i++) /* f32's mean of numbers near 100 is off by some 1e-6 */
                close_to(p, "norm", fv__get(raw[4], p->type, i), want[0][i], 100 * r * (1 + fabs(ref[1][i])),
                         n);
            close_to(p, "rstd", stats[1], r, r * 30, n);
            double h = 0;
            double hz = 0;
            for (int64_t i = 0; i < n; i++) {
                double v = ref[3][i] * ref[1][i];
                h += v / (double)n, hz += v * (ref[0][i] - m) * r / (double)n;
            }
            EXPECT(r * (ref[3][i] * b - (centred ? h : 0) - (a - m) * r * hz))
            p->k->norm_grad(raw[4], raw[0], raw[3], raw[1], n, m, r, centred);
            for (int64_t i = 0; i < n; i++)
                close_to(p, "norm_grad", fv__get(raw[4], p->type, i), want[0][i], 100 * r * r * 30, n);
            fill(p->type, n);
            for (int64_t i = 0; i < n; i++)
                fv__set(raw[0], p->type, i, 100 + ref[0][i]), ref[0][i] = fv__get(raw[0], p->type, i);
            EXPECT(ref[4][i] + ref[3][i] * (a - m) * r)
            p->k->norm_sums(raw[4], raw[5], raw[0], raw[3], n, m, r);
            for (int64_t i = 0; i < n; i++)
                close_to(p, "norm_sums w", fv__get(raw[4], p->type, i), want[0][i], 100 * r * 10, n);
            EXPECT(ref[5][i] + ref[3][i])
            compare(p, "norm_sums b", 5, want[0], n);
        }
    })
}

/* Error in units of the last place of the f32 nearest to the true value (of the smallest normal below it). */
static double ulp(float got, double truth) {
    int e;
    if (fabs(truth) < 1.17549435e-38) return fabs((double)got - truth) / ldexp(1, -149);
    frexp(truth, &e);
    return fabs((double)got - truth) / ldexp(1, e - 24);
}
static void sweep(const char *name, void (*kernel)(void *, const void *, int64_t), double (*f)(double),
                  double lo, double hi, double limit) {
    enum { N = 4096, ROUNDS = 100 };
    static float x[N], y[N];
    double worst = 0, where = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            x[i] = (float)(lo + (hi - lo) * ((double)i * ROUNDS + round) / ((double)N * ROUNDS));
        kernel(y, x, N);
        for (int i = 0; i < N; i++) {
            double e = ulp(y[i], f((double)x[i]));
            if (!(e <= worst) && worst == worst) worst = e, where = (double)x[i]; /* a NaN stays */
        }
    }
    CHECK(worst <= limit, "%s: %.2f ulp at %.9g", name, worst, where);
}
static void test_exp_erf_ulp(void) {
    for (int i = 1; i < path_count; i++) {
        sweep(paths[i].name, paths[i].k->vec_exp, exp, -87.3, 88.7, 1.5);
        sweep(paths[i].name, paths[i].k->vec_exp, exp, -1, 1, 1.5);
        sweep(paths[i].name, paths[i].k->vec_exp, exp, -106, -87.3, 1.5); /* denormals */
        sweep(paths[i].name, paths[i].k->vec_erf, erf, -5, 5, 2);
        sweep(paths[i].name, paths[i].k->vec_erf, erf, -1e-3, 1e-3, 2);
        sweep(paths[i].name, paths[i].k->vec_erf, erf, 0.95, 1.05, 2); /* where the two formulas meet */
        sweep(paths[i].name, paths[i].k->vec_erf, erf, 1e-38, 1e-36, 2);
    }
}

/* Absolute errors, in units of f32's rounding near 1: GELU's polynomials over and beyond the range they were
 * fitted on. */
static void test_gelu_error(void) {
    enum { N = 4096 };
    static float x[N], y[N], slope[N], one[N];
    for (int p = 1; p < path_count; p++)
        for (int round = 0; round < 64; round++) {
            for (int i = 0; i < N; i++)
                x[i] = (float)(-8 + 16 * ((double)i * 64 + round) / (64.0 * N)), one[i] = 1;
            paths[p].k->gelu(y, x, N);
            paths[p].k->gelu_grad(slope, x, one, N);
            for (int i = 0; i < N; i++) {
                double v = (double)x[i], g = v * 0.5 * erfc(-v / sqrt(2.0)),
                       s = 0.5 * erfc(-v / sqrt(2.0)) + v * exp(-v * v / 2) / sqrt(2 * M_PI);
                CHECK(fabs((double)y[i] - g) < 1.2e-7 * fabs(v) + 5e-7, "gelu %s at %.9g: %.9g",
                      paths[p].name, v, (double)y[i]);
                CHECK(fabs((double)slope[i] - s) < 4e-7, "gelu's slope %s at %.9g: %.9g", paths[p].name, v,
                      (double)slope[i]);
            }
        }
}

/* w = 0, m = 1, v = 2 (squared, as it is never negative), g = 3 */
static void test_adamw(void) {
    const fv__adamw_step s = {0.5f, 0.9f, 0.75f, 0.875f, 0.25f, 1.5f, 1e-3f};
    double b1 = (double)s.beta1, eps = (double)s.eps;
    EACH_CASE({
        fill(p->type, n);
        for (int64_t i = 0; i < n; i++)
            fv__set(raw[2], p->type, i, ref[2][i] * ref[2][i]), ref[2][i] = fv__get(raw[2], p->type, i);
        EXPECT(b1 * b + (1 - b1) * 0.5 * ref[3][i])
        for (int64_t i = 0; i < n; i++) {
            want[1][i] = 0.75 * ref[2][i] + 0.25 * 0.25 * ref[3][i] * ref[3][i];
            want[2][i] = ref[0][i] * 0.875 - 0.25 * want[0][i] / (sqrt(want[1][i]) * 1.5 + eps);
        }
        p->k->adamw(raw[0], raw[1], raw[2], raw[3], n, &s);
        compare(p, "adamw's m", 1, want[0], n);
        compare(p, "adamw's v", 2, want[1], n);
        compare(p, "adamw's w", 0, want[2], n);
    })
}

static void test_special_values(void) {
    for (int i = 0; i < path_count; i++) {
        const path *p = &paths[i];
        double v[] = {-INFINITY, INFINITY, NAN, -1e30, 1e30, 0, -0.0, 89, -200, 1000};
        enum { V = sizeof v / sizeof *v };
        double x[V + 16], y[V + 16];
        for (int j = 0; j < V; j++) fv__set(x, p->type, j, v[j]);
#define OF(j) fv__get(y, p->type, j)
        p->k->vec_exp(y, x, V);
        CHECK(OF(0) == 0 && OF(1) == INFINITY && isnan(OF(2)) && OF(3) == 0 && OF(4) == INFINITY, "exp %s",
              p->name);
        CHECK(OF(5) == 1 && OF(6) == 1 && OF(9) == INFINITY, "exp %s", p->name);
        CHECK(p->type == FV_F64 || (OF(7) == INFINITY && OF(8) == 0), "exp %s", p->name);
        p->k->vec_erf(y, x, V);
        CHECK(OF(0) == -1 && OF(1) == 1 && isnan(OF(2)) && OF(3) == -1 && OF(4) == 1, "erf %s", p->name);
        CHECK(OF(5) == 0 && OF(6) == 0 && OF(9) == 1, "erf %s", p->name);
        p->k->gelu(y, x, V);
        CHECK(OF(1) == INFINITY && isnan(OF(2)) && OF(3) == 0 && OF(4) > 9e29 && OF(8) == 0, "gelu %s",
              p->name);
        p->k->silu(y, x, V);
        CHECK(OF(1) == INFINITY && isnan(OF(2)) && OF(3) == 0 && OF(4) > 9e29, "silu %s", p->name);
        p->k->relu(y, x, V);
        CHECK(OF(0) == 0 && OF(1) == INFINITY && isnan(OF(2)) && OF(3) == 0, "relu %s", p->name);
        double ones[V + 16];
        for (int j = 0; j < V; j++) fv__set(ones, p->type, j, 1);
        p->k->relu_grad(y, x, ones, V); /* PyTorch's slopes at 0 */
        CHECK(OF(0) == 0 && OF(1) == 1 && OF(5) == 0 && OF(6) == 0, "relu's slope, %s", p->name);
        p->k->leaky_relu_grad(y, x, ones, 0.25, V);
        CHECK(OF(0) == 0.25 && OF(1) == 1 && OF(5) == 0.25, "leaky_relu's slope, %s", p->name);
        CHECK(isnan(p->k->sum(x, V)) && isnan(p->k->dot(x, x, V)), "a NaN stays in the sums of %s", p->name);
        double stats[2];
        p->k->layernorm(y, x, NULL, NULL, V, 1e-5, stats);
        CHECK(isnan(OF(5)), "a NaN spreads over a row's norm, %s", p->name);
        CHECK(isnan(p->k->softmax_exp(x, V, 1, 0)), "a NaN stays in softmax, %s", p->name);
        for (int n = 1; n <= 40; n++)
            for (int masked = 0; masked < 2; masked++) { /* scores that are no numbers, or only the last */
                double row[64], stat[2];
                for (int j = 0; j < n; j++) fv__set(row, p->type, j, masked && j + 1 < n ? -INFINITY : NAN);
                p->k->softmax_row(row, n, 40, 1, stat, NULL);
                CHECK(isnan(fv__get(stat, p->type, 1)), "%d scores, NaN%s: 1/sum is %g, %s", n,
                      masked ? " and masked" : "", fv__get(stat, p->type, 1), p->name);
                for (int j = 0; j < n; j++) fv__set(row, p->type, j, -INFINITY);
                p->k->softmax_row(row, n, 40, 1, stat, NULL);
                CHECK(fv__get(stat, p->type, 1) == 0 && fv__get(row, p->type, n - 1) == 0,
                      "%d scores, all masked: 1/sum is %g, %s", n, fv__get(stat, p->type, 1), p->name);
            }
#undef OF
    }
}

/* f32 to bf16: no other bf16 is nearer, of two as near the even one; a NaN stays one, whatever its bits */
static void test_bf16(void) {
    enum { N = 2003 };
    static float x[N];
    static uint16_t h[N + GUARD];
    for (int i = 0; i < N; i++) {
        uint32_t bits = fv_random_u32(3, 4, (uint64_t)i);
        if (i % 4 == 1) bits = (bits & 0xffff0000u) | 0x8000u;      /* halfway between two */
        if (i % 16 == 2) bits = 0x7f800000u | (bits & 0x8000ffffu); /* NaN or, rarely, infinity */
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (int i = 0; i < path_count; i++) {
        const path *p = &paths[i];
        if (p->type != FV_F32) continue;
        p->k->to_bf16(h, x, N);
        for (int j = 0; j < N; j++) {
            double v = (double)x[j], r = (double)fv__bf16_to(h[j]),
                   below = (double)fv__bf16_to((uint16_t)(h[j] - 1)),
                   above = (double)fv__bf16_to((uint16_t)(h[j] + 1)), off = fabs(r - v);
            int even = !(h[j] & 1);
            if (isnan(v)) CHECK(isnan(r), "%s: a NaN becomes %04x", p->name, h[j]);
            else if (isfinite(r) && (h[j] & 0x7fff) && isfinite(below) && isfinite(above))
                CHECK(even ? fabs(below - v) >= off && fabs(above - v) >= off
                           : fabs(below - v) > off && fabs(above - v) > off,
                      "%s: %a becomes %a", p->name, v, r);
        }
    }
}

/* ---- random numbers ---- */
/* philox4x32-10: the known answers of Random123, https://github.com/DEShawResearch/random123 */
static void test_random_words(void) {
    static const uint64_t in[3][3] = {
        {0, 0, 0},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX},
        {0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u}}; /* seed, stream, counter */
    static const uint32_t known[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                        {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                        {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        fv_philox(in[i][0], in[i][1], in[i][2], out);
        CHECK(!memcmp(out, known[i], sizeof out), "%d: %08x %08x %08x %08x", i, (unsigned)out[0],
              (unsigned)out[1], (unsigned)out[2], (unsigned)out[3]);
    }
    fv_rng r = {5, 6, 0};
    for (uint64_t i = 0; i < 9; i++) {
        uint32_t out[4];
        fv_philox(5, 6, i / 4, out);
        CHECK(fv_random_u32(5, 6, i) == out[i % 4] && fv_rng_u32(&r) == out[i % 4], "word %d", (int)i);
        fv_philox(5, 6, i / 2, out); /* by Box and Muller, of two words: the whole circle */
        double u = (out[i % 2 * 2] + 0.5) / 4294967296.0, v = out[i % 2 * 2 + 1] / 4294967296.0,
               n = sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
        CHECK(fabs((double)fv_random_normal(5, 6, i) - n) < 1e-6, "normal %d is not %g", (int)i, n);
    }
}

/* means of n draws lie within five of their standard deviations */
enum { DRAWS = 40000 };
static void expect_mean(const char *what, double sum, double mean, double variance) {
    double off = fabs(sum / DRAWS - mean) / sqrt(variance / DRAWS);
    CHECK(off < 5, "%s: %g, not %g", what, sum / DRAWS, mean);
}
static void test_random_laws(void) {
    static const float alphas[] = {0.2f, 1, 3};
    fv_rng r = {1, 2, 0};
    double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0, both = 0, before = 0, low = 0, order[27] = {0};
    for (int i = 0; i < DRAWS; i++) {
        double u = fv_rng_uniform(&r), n = fv_rng_normal(&r);
        CHECK(u >= 0 && u < 1, "%g", u);
        u1 += u, u2 += u * u, n1 += n, n2 += n * n, n4 += n * n * n * n, both += n * before, before = n;
        low += fv_rng_below(&r, 3u << 30) < 1u << 30; /* words left over would go to the lower ones */
        int32_t a[3] = {0, 1, 2};
        fv_rng_shuffle(&r, a, 3);
        order[9 * a[0] + 3 * a[1] + a[2]]++;
    }
    expect_mean("uniform", u1, 0.5, 1 / 12.0), expect_mean("uniform squared", u2, 1 / 3.0, 4 / 45.0);
    expect_mean("normal", n1, 0, 1), expect_mean("normal squared", n2, 1, 2);
    expect_mean("normal^4", n4, 3, 96), expect_mean("two neighbours", both, 0, 1);
    expect_mean("below a third", low, 1 / 3.0, 2 / 9.0);
    for (int i = 0; i < 27; i++) { /* each order of three as often as the others */
        int a = i / 9, b = i / 3 % 3, c = i % 3, fair = a != b && b != c && a != c;
        expect_mean("an order", order[i], fair / 6.0, fair ? 5 / 36.0 : 1e-9);
    }
    for (int k = 0; k < 3; k++) {
        double b1 = 0, b2 = 0, a = (double)alphas[k], v = 1 / (4 * (2 * a + 1));
        for (int i = 0; i < DRAWS; i++) {
            double b = fv_rng_beta(&r, alphas[k]);
            b1 += b, b2 += (b - 0.5) * (b - 0.5);
        }
        expect_mean("beta", b1, 0.5, v), expect_mean("beta's variance", b2, v, 1 / 16.0 - v * v);
    }
}

int main(void) {
    find_paths();
    RUN(test_elementwise);
    RUN(test_sums);
    RUN(test_softmax);
    RUN(test_norms);
    RUN(test_exp_erf_ulp);
    RUN(test_gelu_error);
    RUN(test_adamw);
    RUN(test_special_values);
    RUN(test_bf16);
    RUN(test_random_words);
    RUN(test_random_laws);
    return REPORT();
}
