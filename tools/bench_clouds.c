/* fv bench clouds: what grouping point clouds costs: the farthest points (fv_fps) and each one's nearest
 * (fv_knn), as every batch of the task points needs them. Random points in a ball; one run untimed, then
 * the best and the median of the others. */
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 1000 };
typedef struct clouds_case {
    int clouds, points, groups, size, runs;
} clouds_case;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static void ball(float *p, int64_t n) {
    fv_rng g = {1, 0, 0};
    for (int64_t i = 0; i < n;) {
        float *q = p + 3 * i, far = 0;
        for (int k = 0; k < 3; k++) q[k] = 2 * fv_rng_uniform(&g) - 1, far += q[k] * q[k];
        i += far <= 1;
    }
}
/* second[0..runs): both; fps, knn: each one's median */
static void time_clouds(fv_ctx *c, const clouds_case *k, double *second, double *fps, double *knn) {
    int64_t B = k->clouds, N = k->points, G = k->groups, K = k->size;
    float *p = (float *)fv_alloc(c, (size_t)(3 * B * N) * sizeof *p),
          *centre = (float *)fv_alloc(c, (size_t)(3 * B * G) * sizeof *p);
    int32_t *first = (int32_t *)fv_alloc(c, (size_t)(B * G) * sizeof *first);
    int32_t *near = (int32_t *)fv_alloc(c, (size_t)(B * G * K) * sizeof *near);
    double *part = (double *)fv_alloc(c, 2 * MOST_RUNS * sizeof *part);
    if (!fv_error(c)) ball(p, B * N);
    for (int i = -1; i < k->runs && !fv_error(c); i++) {
        double start = fv_now(), middle, end;
        if (!fv_fps(c, p, B, N, G, first)) break;
        middle = fv_now();
        for (int64_t j = 0; j < B * G; j++)
            memcpy(centre + 3 * j, p + 3 * (j / G * N + first[j]), 3 * sizeof *p);
        fv_knn(c, p, B, N, centre, G, K, near);
        end = fv_now();
        if (i >= 0) second[i] = end - start, part[i] = middle - start, part[MOST_RUNS + i] = end - middle;
    }
    if (!fv_error(c)) {
        qsort(second, (size_t)k->runs, sizeof *second, by_value);
        for (int i = 0; i < 2; i++) qsort(part + i * MOST_RUNS, (size_t)k->runs, sizeof *part, by_value);
        *fps = part[k->runs / 2], *knn = part[MOST_RUNS + k->runs / 2];
    }
    fv_free(c, p), fv_free(c, centre), fv_free(c, first), fv_free(c, near), fv_free(c, part);
}

int bench_clouds(int argc, char **argv) {
    cli_option options[] = {{"--clouds", "N", "at once (32)", NULL},
                            {"--points", "N", "of a cloud (2048)", NULL},
                            {"--groups", "N", "of a cloud (64)", NULL},
                            {"--size", "N", "points of a group (32)", NULL},
                            {"--threads", "N", "1 unless said", NULL},
                            {"--runs", "N", "that are timed (20), after one that is not", NULL},
                            {"--json", NULL, "one JSON line", NULL},
                            {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench clouds [options]",
             "Grouping point clouds: farthest points and nearest neighbours.",
             options,
             {NULL},
             0};
    static double second[MOST_RUNS];
    double fps = 0, knn = 0;
    int status = cli_parse(&a, argc, argv), bad = 0;
    clouds_case k;
    fv_desc d;
    if (status >= 0) return status;
    memset(&d, 0, sizeof d);
    k.clouds = (int)cli_int(&a, "--clouds", 32, 1, &bad);
    k.points = (int)cli_int(&a, "--points", 2048, 1, &bad);
    k.groups = (int)cli_int(&a, "--groups", 64, 1, &bad), k.size = (int)cli_int(&a, "--size", 32, 1, &bad);
    k.runs = (int)cli_int(&a, "--runs", 20, 1, &bad), d.threads = (int)cli_int(&a, "--threads", 1, 1, &bad);
    if (bad) return 2;
    if (k.runs > MOST_RUNS) return cli_fail(2, "--runs %d: at most %d", k.runs, MOST_RUNS);
    if (k.groups > k.points || k.size > k.points)
        return cli_fail(2, "--groups and --size are at most --points, %d", k.points);
    if ((double)k.clouds * k.points > 1e8)
        return cli_fail(2, "--clouds times --points is at most 100 million");
    fv_ctx *c = fv_create(&d);
    if (c && !fv_error(c)) time_clouds(c, &k, second, &fps, &knn);
    if (!c || fv_error(c)) return cli_end(c);
    if (cli_value(&a, "--json"))
        printf("{\"bench\":\"clouds\",\"clouds\":%d,\"points\":%d,\"groups\":%d,\"size\":%d,\"threads\":%d,"
               "\"isa\":\"%s\",\"best_s\":%.6f,\"median_s\":%.6f,\"fps_s\":%.6f,\"knn_s\":%.6f}\n",
               k.clouds, k.points, k.groups, k.size, d.threads, fv_isa_name(fv_isa_of(c)), second[0],
               second[k.runs / 2], fps, knn);
    else
        printf("%d clouds of %d points, %d groups of %d, %d thread(s), %s: best %.2f ms, median %.2f "
               "(farthest points %.2f, nearest %.2f)\n",
               k.clouds, k.points, k.groups, k.size, d.threads, fv_isa_name(fv_isa_of(c)), 1e3 * second[0],
               1e3 * second[k.runs / 2], 1e3 * fps, 1e3 * knn);
    return cli_end(c);
}
