/* fv bench gemm: the matrix product. A served line may name another shape: "m n k". */
#include "bench.h"
#include <stdio.h>
#include <string.h>

typedef struct gemm_work {
    bench *b;
    int m, n, k, packed;
    char *a, *w; /* [m,k] and [n,k], as a linear layer has them */
    float *out;  /* [m,n] */
    fv_tensor *pack;
} gemm_work;

static void drop(gemm_work *g) {
    fv_param_free(g->b->c, g->pack);
    fv_free(g->b->c, g->a), fv_free(g->b->c, g->w), fv_free(g->b->c, g->out);
    g->pack = NULL, g->a = g->w = NULL, g->out = NULL;
}

/* random numbers: zeros take less power, and the clock would show it */
static char *fill(fv_ctx *c, fv_type type, size_t n) {
    char *p = (char *)fv_alloc(c, n * fv_type_size(type));
    uint32_t state = 1;
    for (size_t i = 0; p && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        float v = (float)(state >> 8) / 8388608.f - 1;
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        if (type == FV_F32) ((float *)(void *)p)[i] = v;
        else ((uint16_t *)(void *)p)[i] = (uint16_t)(bits >> 16);
    }
    return p;
}

static int prepare(gemm_work *g) {
    fv_ctx *c = g->b->c;
    size_t m = (size_t)g->m, n = (size_t)g->n, k = (size_t)g->k;
    drop(g);
    g->a = fill(c, g->b->type, m * k), g->w = fill(c, g->b->type, n * k);
    g->out = (float *)fv_alloc(c, m * n * sizeof *g->out);
    if (g->packed && g->w) g->pack = fv_pack(c, NULL, g->b->type, g->n, g->k, g->w, g->b->type);
    return !fv_error(c);
}

static void product(const gemm_work *g) {
    fv_ctx *c = g->b->c;
    fv_type t = g->b->type;
    fv_mat x = {g->a, t, g->k, 1}, y = {g->w, t, 1, g->k};
    if (g->pack) fv_gemm_packed(c, g->m, g->n, g->k, x, g->pack->packed, 0, g->out, t, g->n, 0);
    else fv_gemm(c, t, g->m, g->n, g->k, x, y, g->out, t, g->n, 0);
}

/* seconds of one product, the mean of as many as take long enough to time; the result is of the operands'
 * type, as PyTorch's is */
static double once(void *data, const char *line) {
    gemm_work *g = (gemm_work *)data;
    int m, n, k;
    if (sscanf(line, "%d %d %d", &m, &n, &k) == 3 && (m != g->m || n != g->n || k != g->k)) {
        if (m < 1 || n < 1 || k < 1)
            return fv_fail(g->b->c, FV_EUSAGE, "served line \"%.40s\": m n k are wanted", line);
        g->m = m, g->n = n, g->k = k;
        g->b->count = 0; /* best and median are of the last shape */
        if (!prepare(g)) return 0;
        product(g);
    }
    int repeat = 1 + (int)(2e9 / (2.0 * g->m * g->n * g->k));
    double start = fv_now();
    for (int r = 0; r < repeat && !fv_error(g->b->c); r++) product(g);
    return (fv_now() - start) / repeat;
}

static void print(const gemm_work *g) {
    const bench *b = g->b;
    double flop = 2e-9 * g->m * g->n * g->k, best = b->best > 0 ? flop / b->best : 0,
           median = b->median > 0 ? flop / b->median : 0;
    if (!b->json) {
        printf("%dx%dx%d %s, %d thread(s), %s%s: %.1f GFLOP/s best, %.1f median; one core's peak %.1f; %.2f "
               "of it a thread\n",
               g->m, g->n, g->k, fv_type_name(b->type), b->threads, fv_isa_name(fv_isa_of(b->c)),
               g->packed ? ", packed" : "", best, median, b->peak, bench_share(b, best));
        return;
    }
    printf("{\"bench\":\"gemm\",\"m\":%d,\"n\":%d,\"k\":%d,\"packed\":%s,", g->m, g->n, g->k,
           g->packed ? "true" : "false");
    bench_print_common(b);
    printf(",\"gflops\":%.1f,\"median_gflops\":%.1f,\"share\":%.3f,\"median_share\":%.3f,"
           "\"peak_rss_mb\":%ld}\n",
           best, median, bench_share(b, best), bench_share(b, median), bench_peak_rss_mb());
}

int bench_gemm(int argc, char **argv) {
    cli_option options[] = {{"--m", "ROWS", "rows of A and C (1576)", NULL},
                            {"--n", "COLS", "columns of B and C (1536)", NULL},
                            {"--k", "DEPTH", "columns of A, rows of B (384)", NULL},
                            {"--packed", NULL, "B is a frozen weight, packed beforehand", NULL},
                            BENCH_OPTIONS("1", "10"),
                            {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench gemm [options]",
             "C[m,n] = A[m,k] B[k,n]: best and median of ten runs, beside the peak of one core.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    gemm_work g;
    bench b;
    if (status >= 0) return status;
    memset(&g, 0, sizeof g);
    g.b = &b, g.packed = cli_value(&a, "--packed") != NULL;
    g.m = (int)cli_int(&a, "--m", 1576, 1, &bad), g.n = (int)cli_int(&a, "--n", 1536, 1, &bad),
    g.k = (int)cli_int(&a, "--k", 384, 1, &bad);
    if (bad) return 2;
    if ((status = bench_begin(&b, &a, 1, 10)) >= 0) return status;
    bench_peak(&b);
    if (prepare(&g)) bench_repeat(&b, once, &g);
    bench_peak(&b);
    if (!fv_error(b.c)) print(&g);
    drop(&g);
    return cli_end(b.c);
}
