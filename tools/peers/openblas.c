/* The product C[m,n] = A[m,k] W[n,k]^T in OpenBLAS (or another CBLAS), f32, as `fv bench gemm` does it.
 * cc -O2 openblas.c -lopenblas; OPENBLAS_NUM_THREADS says on how many threads. It speaks as serve.py says. */
#define _GNU_SOURCE
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *fill(size_t n) {
    float *p = (float *)malloc(n * sizeof *p);
    for (size_t i = 0; p && i < n; i++) p[i] = (float)rand() / (float)RAND_MAX;
    return p;
}

int main(void) {
    int m = 0, n = 0, k = 0, wanted_m, wanted_n, wanted_k;
    float *a = NULL, *w = NULL, *c = NULL;
    char line[256];
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) &&
           sscanf(line, "%d %d %d", &wanted_m, &wanted_n, &wanted_k) == 3) {
        int fresh = wanted_m != m || wanted_n != n || wanted_k != k;
        if (fresh) {
            m = wanted_m, n = wanted_n, k = wanted_k;
            free(a), free(w), free(c);
            a = fill((size_t)m * (size_t)k), w = fill((size_t)n * (size_t)k), c = fill((size_t)m * (size_t)n);
            if (!a || !w || !c) return 6;
        }
        int repeat = 1 + (int)(2e9 / (2.0 * m * n * k));
        double start = 0;
        for (int round = fresh ? 0 : 1; round < 2; round++) { /* a fresh shape once untimed */
            start = now();
            for (int r = 0; r < repeat; r++)
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, a, k, w, k, 0, c, n);
        }
        printf("%.9f\n", (now() - start) / repeat);
        fflush(stdout);
    }
    printf("{\"peer\": \"openblas\"}\n");
    free(a), free(w), free(c);
    return 0;
}
