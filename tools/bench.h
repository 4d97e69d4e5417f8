/* bench.h -- what the parts of fv bench share: repeating, serving, the best and the median, this machine's
 * peak. */
#ifndef FV_BENCH_H
#define FV_BENCH_H
#include "cli.h"

enum { BENCH_RUNS = 1000 };
typedef struct bench {
    fv_ctx *c;
    fv_type type; /* --precision */
    int threads, runs;
    int json, serve;
    double peak; /* GFLOP/s of one core in a register-only loop: the highest seen, as the clock moves */
    double second[BENCH_RUNS];
    int count;           /* of second */
    double best, median; /* seconds, once bench_repeat is through */
} bench;

/* One repetition -> its seconds; line: what a served request says ("" otherwise). */
typedef double (*bench_work)(void *work, const char *line);

/* --precision, --threads, --runs, --serve, --json: to be put into a list of options */
#define BENCH_OPTIONS(threads, runs)                                                                         \
    {"--precision", "f32|bf16", "f32 unless said", NULL}, {"--threads", "N", threads " unless said", NULL},  \
        {"--runs", "N", "repetitions that are timed (" runs "), after one that is not", NULL},               \
        {"--serve", NULL, "a repetition for each line on stdin; its seconds on stdout", NULL}, {             \
        "--json", NULL, "one JSON line", NULL                                                                \
    }

/* Reads those options and makes the context. -1: go on; otherwise the status to exit with. */
int bench_begin(bench *b, const cli *a, int threads, int runs);
/* Runs the work once untimed and then `runs` times; with --serve: says `ready`, then once for each line on
 * stdin, printing seconds. Sets best and median. Nothing once the context has failed. */
void bench_repeat(bench *b, bench_work work, void *data);
void bench_sort(double *second, int n, double *best, double *median);
int bench_on_gpu(const bench *b);
/* Measures the CPU's peak again; the higher figure stays. On a GPU there is none. */
void bench_peak(bench *b);
/* The most memory this process had, in MB of 2^20 bytes. A parent's share is not in it. */
long bench_peak_rss_mb(void);
/* `"precision":"f32","threads":2,"isa":"avx512","peak_gflops":250.1`; on a GPU
 * `"precision":"f32","device":"its name"` */
void bench_print_common(const bench *b);
/* GFLOP/s -> share of the peak of all threads */
double bench_share(const bench *b, double gflops);

/* Makes a folder in TMPDIR, else /tmp, and writes its path. 1, or 0 and FV_EIO. */
int bench_folder(fv_ctx *c, char *path, size_t n);

int bench_gemm(int argc, char **argv);
int bench_attention(int argc, char **argv);
int bench_clouds(int argc, char **argv);
int bench_step(int argc, char **argv);
int bench_load(int argc, char **argv);
int bench_data(int argc, char **argv);
#endif
