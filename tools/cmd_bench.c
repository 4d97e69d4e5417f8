/* fv bench: figures as shares of what this machine can do, measured in the same run. */
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct gemm_case { int m, n, k, packed; fv_type type; } gemm_case;

/* best and median seconds of ten runs, each long enough to time */
static void time_gemm(fv_ctx *c, const gemm_case *g, double *best, double *median) {
    size_t e = fv_type_size(g->type);
    char *a = (char *)fv_alloc(c, (size_t)g->m * (size_t)g->k * e), *b = (char *)fv_alloc(c, (size_t)g->n * (size_t)g->k * e);
    float *out = (float *)fv_alloc(c, (size_t)g->m * (size_t)g->n * sizeof *out);
    fv_tensor *w = out && g->packed ? fv_pack(c, NULL, g->type, g->n, g->k, b, g->type) : NULL;
    fv_mat x = {a, g->type, g->k, 1}, y = {b, g->type, 1, g->k};
    int repeat = 1 + (int)(1e9 / (2.0 * g->m * g->n * g->k));
    double t[10];
    for (int i = -1; i < 10 && !fv_error(c); i++) {
        double start = fv_now();
        for (int r = 0; r < repeat; r++) {
            if (w) fv_gemm_packed(c, g->m, g->n, g->k, x, w->packed, 0, out, FV_F32, g->n, 0);
            else fv_gemm(c, g->type, g->m, g->n, g->k, x, y, out, FV_F32, g->n, 0);
        }
        if (i >= 0) t[i] = (fv_now() - start) / repeat;
    }
    qsort(t, 10, sizeof *t, by_value);
    *best = t[0], *median = (t[4] + t[5]) / 2;
}

static int bench_gemm(int argc, char **argv) {
    cli_option options[] = {{"--m", "ROWS", "rows of A and C (1576)", NULL},
                            {"--n", "COLS", "columns of B and C (1536)", NULL},
                            {"--k", "DEPTH", "columns of A, rows of B (384)", NULL},
                            {"--precision", "f32|bf16", "f32 unless said", NULL},
                            {"--threads", "N", "1 unless said", NULL},
                            {"--packed", NULL, "B is a frozen weight, packed beforehand", NULL},
                            {"--json", NULL, "one JSON line", NULL},
                            {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench gemm [options]", "C[m,n] = A[m,k] B[k,n]: best and median of ten runs, beside the peak of one core.", options, {NULL}, 0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    gemm_case g;
    fv_desc d;
    memset(&d, 0, sizeof d);
    const char *p = cli_value(&a, "--precision");
    g.m = (int)cli_int(&a, "--m", 1576, 1, &bad), g.n = (int)cli_int(&a, "--n", 1536, 1, &bad), g.k = (int)cli_int(&a, "--k", 384, 1, &bad);
    d.threads = (int)cli_int(&a, "--threads", 1, 1, &bad);
    if (bad) return 2;
    if (p && strcmp(p, "f32") && strcmp(p, "bf16")) return cli_fail(2, "--precision %s: f32 or bf16 is wanted", p);
    g.type = p && !strcmp(p, "bf16") ? FV_BF16 : FV_F32;
    g.packed = cli_value(&a, "--packed") != NULL;
    fv_ctx *c = fv_create(&d);
    double best = 1, median = 1, flop = 2e-9 * g.m * g.n * g.k;
    double peak = c && !fv_error(c) ? fv_peak(c, g.type) : 0;
    if (peak > 0) time_gemm(c, &g, &best, &median);
    if (peak > 0 && !fv_error(c)) {
        double after = fv_peak(c, g.type); /* the clock moves: the higher of before and after is the fairer limit */
        peak = after > peak ? after : peak;
        if (cli_value(&a, "--json"))
            printf("{\"bench\":\"gemm\",\"m\":%d,\"n\":%d,\"k\":%d,\"precision\":\"%s\",\"threads\":%d,\"gflops\":%.1f,\"median_gflops\":%.1f,"
                   "\"peak_gflops\":%.1f,\"isa\":\"%s\",\"packed\":%s}\n",
                   g.m, g.n, g.k, fv_type_name(g.type), d.threads, flop / best, flop / median, peak, fv_isa_name(fv_isa_of(c)), g.packed ? "true" : "false");
        else
            printf("%dx%dx%d %s, %d thread(s), %s%s: %.1f GFLOP/s best, %.1f median; one core's peak %.1f; %.2f of it a thread\n", g.m, g.n, g.k, fv_type_name(g.type),
                   d.threads, fv_isa_name(fv_isa_of(c)), g.packed ? ", packed" : "", flop / best, flop / median, peak, flop / best / peak / d.threads);
    }
    return cli_end(c);
}

int cmd_bench(int argc, char **argv) {
    if (argc && !strcmp(argv[0], "gemm")) return bench_gemm(argc - 1, argv + 1);
    if (argc && !strcmp(argv[0], "step")) return bench_step(argc - 1, argv + 1);
    if (argc && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) {
        printf("usage: fv bench gemm|step [options]\n\nfv bench gemm --help and fv bench step --help tell more.\n");
        return 0;
    }
    if (argc && !strcmp(argv[0], "--version")) return cli_version();
    return cli_fail(2, "fv bench wants what to measure: gemm or step");
}
