/* fv bench: figures as shares of what this machine can do, measured in the same run. One file a bench; this
 * one has the table and what they share. Adding a bench: a function like bench_gemm, its line in bench.h and
 * in the table. */
#define _GNU_SOURCE /* mkdtemp */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} benches[] = {
    {"gemm", bench_gemm, "a matrix product, plain or with a packed weight"},
    {"attention", bench_attention, "attention, forward and backward"},
    {"step", bench_step, "a training step or an inference of a vision transformer"},
    {"load", bench_load, "from the start of a process to its first step: opening, dequantising, packing"},
    {"data", bench_data, "reading and augmenting pictures, beside a training step"},
    {"clouds", bench_clouds, "farthest points and nearest neighbours of point clouds"},
};

int bench_begin(bench *b, const cli *a, int threads, int runs) {
    int bad = 0;
    fv_desc d;
    const char *p = cli_value(a, "--precision");
    memset(b, 0, sizeof *b);
    cli_context(a, &d, &bad);
    b->threads = d.threads = d.threads ? d.threads : threads;
    b->runs = (int)cli_int(a, "--runs", runs, 1, &bad);
    b->json = cli_value(a, "--json") != NULL, b->serve = cli_value(a, "--serve") != NULL;
    if (bad) return 2;
    if (a->count) return cli_fail(2, "\"%s\" is one word too many; usage: %s", a->words[0], a->usage);
    if (b->runs > BENCH_RUNS) return cli_fail(2, "--runs %d: at most %d", b->runs, BENCH_RUNS);
    if (p && strcmp(p, "f32") && strcmp(p, "bf16"))
        return cli_fail(2, "--precision %s: f32 or bf16 is wanted", p);
    b->type = p && !strcmp(p, "bf16") ? FV_BF16 : FV_F32;
    b->c = fv_create(&d);
    return !b->c || fv_error(b->c) ? cli_end(b->c) : -1;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
void bench_sort(double *second, int n, double *best, double *median) {
    qsort(second, (size_t)n, sizeof *second, by_value);
    *best = n ? second[0] : 0;
    *median = n ? (second[(n - 1) / 2] + second[n / 2]) / 2 : 0;
}

/* A process that measures two programs in turns asks us for one repetition at a time. */
static void serve(bench *b, bench_work work, void *data) {
    char line[256];
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && !fv_error(b->c)) {
        double t = work(data, line);
        if (fv_error(b->c)) return;
        if (b->count < BENCH_RUNS) b->second[b->count++] = t;
        printf("%.9f\n", t);
        fflush(stdout);
    }
}

void bench_repeat(bench *b, bench_work work, void *data) {
    if (!fv_error(b->c)) work(data, "");
    if (b->serve) serve(b, work, data);
    for (int i = 0; !b->serve && i < b->runs && !fv_error(b->c); i++) b->second[b->count++] = work(data, "");
    bench_sort(b->second, b->count, &b->best, &b->median);
}

int bench_on_gpu(const bench *b) { return fv_device_of(b->c) != FV_CPU; }
void bench_peak(bench *b) {
    double p = fv_error(b->c) || bench_on_gpu(b) ? 0 : fv_peak(b->c, b->type);
    b->peak = p > b->peak ? p : b->peak;
}
double bench_share(const bench *b, double gflops) { return b->peak > 0 ? gflops / b->peak / b->threads : 0; }

/* VmHWM is this program's own; getrusage also counts what the process was before it became this program. */
long bench_peak_rss_mb(void) {
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) break;
    if (f) fclose(f);
    if (kb > 0) return kb / 1024;
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss / 1024;
}

int bench_folder(fv_ctx *c, char *path, size_t n) {
    const char *root = getenv("TMPDIR");
    if (!root || !*root) root = "/tmp";
    int used = snprintf(path, n, "%s/fv-bench-XXXXXX", root);
    if (used > 0 && (size_t)used < n && mkdtemp(path)) return 1;
    *path = 0;
    return fv_fail(c, FV_EIO, "no folder can be made in %.300s; TMPDIR names another", root);
}

void bench_print_common(const bench *b) {
    if (bench_on_gpu(b)) {
        printf("\"precision\":\"%s\",\"device\":", fv_type_name(b->type));
        cli_print_json_string(fv_device_name(b->c));
        return;
    }
    printf("\"precision\":\"%s\",\"threads\":%d,\"isa\":\"%s\",\"peak_gflops\":%.1f", fv_type_name(b->type),
           b->threads, fv_isa_name(fv_isa_of(b->c)), b->peak);
}

static int help(void) {
    printf("usage: fv bench WHAT [options]\n\n"
           "Best and median of several runs, beside what this machine can do.\n\n"
           "WHAT:\n");
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
        printf("  %-10s %s\n", benches[i].name, benches[i].about);
    printf("\n"
           "fv bench WHAT --help tells more. `make bench` measures all that the README shows, in\n"
           "turns with PyTorch and onnxruntime where PEER_PYTHON (or python3) has them.\n");
    return 0;
}

int cmd_bench(int argc, char **argv) {
    for (size_t i = 0; argc && i < sizeof benches / sizeof *benches; i++)
        if (!strcmp(argv[0], benches[i].name)) return benches[i].run(argc - 1, argv + 1);
    if (argc && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) return help();
    if (argc && !strcmp(argv[0], "--version")) return cli_version();
    return cli_fail(2, "fv bench wants what to measure: gemm, attention, step, load, data or clouds");
}
