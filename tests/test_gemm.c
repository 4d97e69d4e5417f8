/* The GEMM against a plain triple loop in double: every ISA here, every transposition, packed weights both
 * ways, odd shapes, bf16, and the same bits for 1, 2 and 3 threads. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static const int shapes[][3] = {{1, 1, 1},      {3, 17, 50},    {17, 3, 1},   {50, 197, 33},
                                {197, 50, 401}, {33, 65, 1001}, {14, 32, 384}};

static fv_ctx *context(int isa, int threads) {
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.isa = (fv_isa)isa, d.threads = threads;
    return fv_create(&d);
}

/* n numbers of a stream, rounded to bf16 where asked, so that products of both precisions can be compared
 * with one sum */
static float *numbers(fv_ctx *c, int64_t n, uint64_t stream, int rounded) {
    float *x = (float *)fv_alloc(c, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = fv_random_normal(7, stream, (uint64_t)i);
        if (rounded) x[i] = fv__bf16_to(fv__bf16_from(x[i]));
    }
    return x;
}

static double error_of(const float *out, fv_mat a, fv_mat b, int m, int n, int k, double start) {
    double worst = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double s = start;
            for (int p = 0; p < k; p++)
                s += fv__get(a.data, a.type, i * a.rs + p * a.cs) *
                     fv__get(b.data, b.type, p * b.rs + j * b.cs);
            worst = test_worse(worst, fabs(s - (double)out[i * n + j]));
        }
    return worst / sqrt((double)k);
}

static void products_agree_on_every_isa(void) {
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++) {
        if (!fv_isa_available((fv_isa)isa)) continue;
        fv_ctx *c = context(isa, 2);
        for (int s = 0; s < FV__COUNT(shapes); s++)
            for (int way = 0; way < 8; way++) {
                int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], bf16 = way >> 2;
                float *a = numbers(c, (int64_t)m * k, 1, bf16), *b = numbers(c, (int64_t)k * n, 2, bf16);
                float *out = (float *)fv_alloc(c, (size_t)(m * n) * sizeof *out);
                fv_mat x = fv__mat(a, FV_F32, way & 1 ? 1 : k, way & 1 ? m : 1),
                       y = fv__mat(b, FV_F32, way & 2 ? 1 : n, way & 2 ? k : 1);
                for (int i = 0; i < m * n; i++) out[i] = 0.5f;
                fv_gemm(c, bf16 ? FV_BF16 : FV_F32, m, n, k, x, y, out, FV_F32, n, 1);
                double e = error_of(out, x, y, m, n, k, 0.5);
                CHECK(e < 3e-6, "%s, %dx%dx%d way %d: %g %s", fv_isa_name((fv_isa)isa), m, n, k, way, e,
                      fv_error_text(c));
                fv_free(c, a), fv_free(c, b), fv_free(c, out);
            }
        fv_destroy(c);
    }
}

static void packed_weights_serve_both_products(void) {
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++) {
        if (!fv_isa_available((fv_isa)isa)) continue;
        fv_ctx *c = context(isa, 2);
        for (int s = 0; s < FV__COUNT(shapes); s++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
                float *w = numbers(c, (int64_t)n * k, 3, bf16), *x = numbers(c, (int64_t)m * k, 4, bf16),
                      *g = numbers(c, (int64_t)m * n, 5, bf16);
                float *out = (float *)fv_alloc(c, (size_t)(m * FV__MAX(n, k)) * sizeof *out);
                fv_tensor *p = fv_pack(c, "w", bf16 ? FV_BF16 : FV_F32, n, k, w, FV_F32);
                fv_gemm_packed(c, m, n, k, fv__mat(x, FV_F32, k, 1), p->packed, 0, out, FV_F32, n, 0);
                double e = error_of(out, fv__mat(x, FV_F32, k, 1), fv__mat(w, FV_F32, 1, k), m, n, k, 0);
                fv_gemm_packed(c, m, k, n, fv__mat(g, FV_F32, n, 1), p->packed, 1, out, FV_F32, k, 0);
                double f = error_of(out, fv__mat(g, FV_F32, n, 1), fv__mat(w, FV_F32, k, 1), m, k, n, 0);
                CHECK(e < 3e-6 && f < 3e-6, "%s, %dx%dx%d bf16 %d: %g %g", fv_isa_name((fv_isa)isa), m, n, k,
                      bf16, e, f);
                fv_param_free(c, p), fv_free(c, w), fv_free(c, x), fv_free(c, g), fv_free(c, out);
            }
        fv_destroy(c);
    }
}

/* A product in bf16 is that of its operands rounded, though they are f32 and the CPU has no such products */
static void bf16_rounds_its_operands(void) {
    enum { M = 17, N = 33, K = 50 };
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++) {
        if (!fv_isa_available((fv_isa)isa)) continue;
        fv_ctx *c = context(isa, 2);
        float *a = numbers(c, M * K, 1, 0), *b = numbers(c, N * K, 2, 0), out[M * N],
              *x = numbers(c, M * K, 1, 1), *y = numbers(c, N * K, 2, 1);
        fv_gemm(c, FV_BF16, M, N, K, fv__mat(a, FV_F32, K, 1), fv__mat(b, FV_F32, 1, K), out, FV_F32, N, 0);
        double e = error_of(out, fv__mat(x, FV_F32, K, 1), fv__mat(y, FV_F32, 1, K), M, N, K, 0);
        fv_tensor *w = fv_pack(c, "w", FV_BF16, N, K, b, FV_F32); /* weights when they are packed */
        fv_gemm_packed(c, M, N, K, fv__mat(x, FV_F32, K, 1), w->packed, 0, out, FV_F32, N, 0);
        double f = error_of(out, fv__mat(x, FV_F32, K, 1), fv__mat(y, FV_F32, 1, K), M, N, K, 0);
        CHECK(e < 3e-6 && f < 3e-6, "%s: %g, packed %g", fv_isa_name((fv_isa)isa), e, f);
        fv_destroy(c);
    }
}

/* Sums of either precision to f32 and bf16, with a bias, a residual of either type, added to what is there,
 * in rows that lie apart: what is between them stays. */
static void outputs_and_epilogues(const int *shape, int isa) {
    fv_ctx *c = context(isa, 2);
    int m = shape[0], n = shape[1], k = shape[2], ld = n + 3;
    const float *a = numbers(c, (int64_t)m * k, 1, 1), *b = numbers(c, (int64_t)k * n, 2, 1),
                *bias = numbers(c, n, 3, 0), *held = numbers(c, (int64_t)m * ld, 4, 1);
    double *product = (double *)fv_alloc(c, (size_t)(m * n) * sizeof *product);
    void *out = fv_alloc(c, (size_t)(m * ld) * 4), *half = fv_alloc(c, (size_t)(m * ld) * 2);
    for (int i = 0; i < m; i++)
        for (int p = 0; p < k; p++)
            for (int j = 0; j < n; j++) product[i * n + j] += (double)a[i * k + p] * (double)b[p * n + j];
    fv__convert(half, FV_BF16, held, FV_F32, m * ld);
    for (int way = 0; way < 32; way++) {
        fv_type compute = way & 1 ? FV_BF16 : FV_F32, type = way & 2 ? FV_BF16 : FV_F32;
        int add = way >> 2 & 1;
        fv__gemm g = fv__gemm_of(compute, m, n, k, fv__mat(a, FV_F32, k, 1), out, type, ld, add);
        g.b = fv__mat(b, FV_F32, n, 1), g.bias = bias;
        g.residual_type = way & 16 ? FV_BF16 : FV_F32;
        if (way & 8) g.residual = way & 16 ? half : (const void *)held;
        fv__convert(out, type, held, FV_F32, m * ld);
        fv__gemm_run(c, &g);
        double worst = 0;
        int touched = 0;
        for (int i = 0; i < m; i++)
            for (int j = 0; j < ld; j++) {
                double was = (double)held[i * ld + j], got = fv__get(out, type, i * ld + j);
                touched |= j >= n && (got < was || got > was);
                if (j >= n) continue;
                double want = product[i * n + j] + (double)bias[j] + was * (add + (way >> 3 & 1));
                double near = 3e-6 * sqrt((double)k) + (type == FV_BF16 ? fabs(want) / 256 : 1e-6);
                worst = test_worse(worst, fabs(got - want) / near);
            }
        CHECK(worst < 1 && !touched, "%s, %dx%dx%d way %d: %g %d %s", fv_isa_name((fv_isa)isa), m, n, k, way,
              worst, touched, fv_error_text(c));
    }
    fv_destroy(c);
}
static void every_output_and_epilogue(void) {
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++)
        for (int s = 0; s < FV__COUNT(shapes); s++)
            if (fv_isa_available((fv_isa)isa)) outputs_and_epilogues(shapes[s], isa);
}

static void threads_do_not_change_a_bit(void) {
    enum { M = 413, N = 301, K = 700 };
    static float first[M * N], out[M * N];
    for (int threads = 1; threads <= 3; threads++) {
        fv_ctx *c = context(0, threads);
        float *a = numbers(c, M * K, 1, 0), *b = numbers(c, K * N, 2, 0);
        fv_gemm(c, FV_F32, M, N, K, fv__mat(a, FV_F32, K, 1), fv__mat(b, FV_F32, N, 1), out, FV_F32, N, 0);
        if (threads == 1) memcpy(first, out, sizeof out);
        CHECK(!memcmp(first, out, sizeof out), "%d threads", threads);
        fv_destroy(c);
    }
}

static void types_that_do_not_fit_are_refused(void) {
    fv_ctx *c = context(0, 1);
    double d[1] = {1};
    float f[1] = {1};
    fv_gemm(c, FV_F32, 1, 1, 1, fv__mat(d, FV_F64, 1, 1), fv__mat(f, FV_F32, 1, 1), f, FV_F32, 1, 0);
    CHECK(fv_error(c) == FV_ESHAPE, "%s", fv_error_text(c));
    fv_destroy(c);
}

int main(void) {
    RUN(products_agree_on_every_isa);
    RUN(packed_weights_serve_both_products);
    RUN(bf16_rounds_its_operands);
    RUN(every_output_and_epilogue);
    RUN(threads_do_not_change_a_bit);
    RUN(types_that_do_not_fit_are_refused);
    return REPORT();
}
