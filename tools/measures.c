#define _GNU_SOURCE /* M_PI */
#include "measures.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */
/* out[i] = distance of row i of v [n,d] to the mean row */
static void distance_to_mean(const double *v, int n, int d, double *out) {
    memset(out, 0, (size_t)n * sizeof *out);
    for (int k = 0; k < d; k++) {
        double mean = 0;
        for (int i = 0; i < n; i++) mean += v[(size_t)i * (size_t)d + (size_t)k] / n;
        for (int i = 0; i < n; i++) out[i] += pow(v[(size_t)i * (size_t)d + (size_t)k] - mean, 2);
    }
    for (int i = 0; i < n; i++) out[i] = sqrt(out[i]);
}

int token_magnitude(const float *x, int n, int d, double *out) {
    size_t all = (size_t)n * (size_t)d;
    double *v = (double *)malloc(all * sizeof *v);
    for (size_t i = 0; v && i < all; i++) v[i] = (double)x[i];
    if (v) distance_to_mean(v, n, d, out);
    free(v);
    return v != NULL;
}

/* ---- the discrete Fourier transform of any length, split by its smallest prime factor (Cooley and Tukey)
 * ---- */
typedef struct complex_number {
    double re, im;
} complex_number;
typedef struct transform {
    int n;
    complex_number *root, *room; /* root[k] = exp(-2 pi i k / n); room [n] */
} transform;

static int smallest_factor(int n) {
    for (int p = 2; p * p <= n; p++)
        if (n % p == 0) return p;
    return n;
}
/* y [n] of x[0], x[step], x[2 step], ... */
static void transform_run(const transform *t, const float *x, int step, complex_number *y, int n) {
    if (n == 1) {
        y[0].re = (double)x[0], y[0].im = 0;
        return;
    }
    int p = smallest_factor(n), m = n / p, turn = t->n / n;
    for (int r = 0; r < p; r++) transform_run(t, x + r * step, step * p, y + r * m, m);
    for (int k = 0; k < m; k++) {
        for (int r = 0; r < p; r++) t->room[r] = y[r * m + k];
        for (int q = 0; q < p; q++) { /* y[k + q m] = sum over r of part r's k, turned by r (k + q m) / n */
            complex_number sum = {0, 0};
            for (int r = 0; r < p; r++) {
                complex_number w = t->root[(int64_t)r * (k + q * m) % n * turn], a = t->room[r];
                sum.re += a.re * w.re - a.im * w.im, sum.im += a.re * w.im + a.im * w.re;
            }
            y[k + q * m] = sum;
        }
    }
}
static int transform_make(transform *t, int n) {
    t->n = n;
    t->root = (complex_number *)malloc((size_t)n * sizeof *t->root);
    t->room = (complex_number *)malloc((size_t)n * sizeof *t->room);
    for (int k = 0; t->root && k < n; k++)
        t->root[k].re = cos(2 * M_PI * k / n), t->root[k].im = -sin(2 * M_PI * k / n);
    return t->root && t->room;
}
static void phases(const transform *t, const float *x, complex_number *y, double *out) {
    transform_run(t, x, 1, y, t->n);
    for (int k = 0; k < t->n; k++)
        out[k] = k == 0 || 2 * k == t->n ? (y[k].re < 0 ? M_PI : 0) : atan2(y[k].im, y[k].re);
}

int phase_of(const float *x, int d, double *out) {
    transform t;
    complex_number *y = (complex_number *)malloc((size_t)d * sizeof *y);
    int ok = transform_make(&t, d) && y;
    if (ok) phases(&t, x, y, out);
    free(t.root), free(t.room), free(y);
    return ok;
}
int token_frequency(const float *x, int n, int d, double *out) {
    transform t;
    complex_number *y = (complex_number *)malloc((size_t)d * sizeof *y);
    double *phase = (double *)malloc((size_t)n * (size_t)d * sizeof *phase);
    int ok = transform_make(&t, d) && y && phase;
    for (int i = 0; ok && i < n; i++) phases(&t, x + (size_t)i * (size_t)d, y, phase + (size_t)i * (size_t)d);
    if (ok) distance_to_mean(phase, n, d, out);
    free(t.root), free(t.room), free(y), free(phase);
    return ok;
}

/* ---- maps ---- */
void min_max(double *x, int n) {
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < n; i++) low = fmin(low, x[i]), high = fmax(high, x[i]);
    for (int i = 0; i < n; i++) x[i] = high > low ? (x[i] - low) / (high - low) : 0;
}
void mask_to_tokens(const uint8_t *mask, int side, int patch, uint8_t *out) {
    int grid = side / patch;
    for (int i = 0; i < grid * grid; i++) {
        int set = 0;
        for (int y = 0; y < patch; y++)
            for (int x = 0; x < patch; x++)
                set += mask[(i / grid * patch + y) * side + i % grid * patch + x] > 0;
        out[i] = 2 * set >= patch * patch;
    }
}
double best_iou(const double *map, const uint8_t *truth, int n) {
    double best = 0;
    int any = 0;
    for (int i = 0; i < n; i++) any |= truth[i];
    for (int t = 1; t <= 9 && any; t++) {
        int both = 0, either = 0;
        for (int i = 0; i < n; i++)
            both += map[i] > t / 10.0 && truth[i], either += map[i] > t / 10.0 || truth[i];
        best = fmax(best, (double)both / either);
    }
    return any ? best : NAN;
}
double share_on(const double *row, const uint8_t *truth, int n) {
    double on = 0, all = 0;
    for (int i = 0; i < n; i++) all += row[i], on += truth[i] ? row[i] : 0;
    return all > 0 ? on / all : NAN;
}

/* ---- matrices ---- */
static double *centred(const float *x, int n, int d) {
    double *out = (double *)malloc((size_t)n * (size_t)d * sizeof *out);
    for (int k = 0; out && k < d; k++) {
        double mean = 0;
        for (int i = 0; i < n; i++) mean += (double)x[(size_t)i * (size_t)d + (size_t)k] / n;
        for (int i = 0; i < n; i++)
            out[(size_t)i * (size_t)d + (size_t)k] = (double)x[(size_t)i * (size_t)d + (size_t)k] - mean;
    }
    return out;
}
/* out [p,q] = x' y for x [n,p], y [n,q] */
static double *cross_product(const double *x, int p, const double *y, int q, int n) {
    double *out = x && y ? (double *)calloc((size_t)p * (size_t)q, sizeof *out) : NULL;
    for (int i = 0; out && i < n; i++)
        for (int a = 0; a < p; a++) {
            double v = x[(size_t)i * (size_t)p + (size_t)a], *to = out + (size_t)a * (size_t)q;
            const double *from = y + (size_t)i * (size_t)q;
            for (int b = 0; b < q; b++) to[b] += v * from[b];
        }
    return out;
}
static double frobenius(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}
static double cross_norm(const double *x, int p, const double *y, int q, int n) {
    double *m = cross_product(x, p, y, q, n), norm = m ? frobenius(m, (size_t)p * (size_t)q) : NAN;
    free(m);
    return norm;
}
double linear_cka(const float *x, int p, const float *y, int q, int n) {
    double *a = centred(x, n, p), *b = centred(y, n, q);
    double xy = cross_norm(a, p, b, q, n), xx = cross_norm(a, p, a, p, n), yy = cross_norm(b, q, b, q, n);
    free(a), free(b);
    return xx > 0 && yy > 0 ? xy * xy / (xx * yy) : NAN;
}

/* Eigenvalues of the symmetric a [n,n], which is destroyed, by Jacobi's rotations, row by row until
 * nothing is left beside the diagonal. */
static void eigenvalues(double *a, int n, double *value) {
    double all = frobenius(a, (size_t)n * (size_t)n);
    size_t N = (size_t)n;
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0;
        for (size_t i = 0; i < N; i++)
            for (size_t j = i + 1; j < N; j++) off += a[i * N + j] * a[i * N + j];
        if (sqrt(2 * off) <= 1e-12 * all) break;
        for (size_t i = 0; i < N; i++)
            for (size_t j = i + 1; j < N; j++) {
                if (fabs(a[i * N + j]) <= 1e-16 * all) continue;
                double theta = (a[j * N + j] - a[i * N + i]) / (2 * a[i * N + j]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)),
                       c = 1 / sqrt(t * t + 1), s = t * c;
                for (size_t k = 0; k < N; k++) { /* columns i and j, then rows */
                    double u = a[k * N + i], w = a[k * N + j];
                    a[k * N + i] = c * u - s * w, a[k * N + j] = s * u + c * w;
                }
                for (size_t k = 0; k < N; k++) {
                    double u = a[i * N + k], w = a[j * N + k];
                    a[i * N + k] = c * u - s * w, a[j * N + k] = s * u + c * w;
                }
            }
    }
    for (size_t i = 0; i < N; i++) value[i] = a[i * N + i];
}
/* x x' instead of x' x, where that is smaller: the same eigenvalues but for zeros */
static double *small_gram(const double *x, int n, int d, int *size) {
    *size = n < d ? n : d;
    if (n >= d) return cross_product(x, d, x, d, n);
    double *turned = x ? (double *)malloc((size_t)n * (size_t)d * sizeof *turned) : NULL;
    for (int i = 0; turned && i < n; i++)
        for (int k = 0; k < d; k++)
            turned[(size_t)k * (size_t)n + (size_t)i] = x[(size_t)i * (size_t)d + (size_t)k];
    double *gram = cross_product(turned, n, turned, n, d);
    free(turned);
    return gram;
}
double effective_rank(const float *x, int n, int d) {
    int size = 0;
    double *a = centred(x, n, d), *gram = small_gram(a, n, d, &size), sum = 0, entropy = 0;
    double *value = gram ? (double *)malloc((size_t)size * sizeof *value) : NULL;
    if (value) eigenvalues(gram, size, value);
    for (int i = 0; value && i < size; i++) value[i] = sqrt(fmax(value[i], 0)), sum += value[i];
    for (int i = 0; value && i < size; i++)
        if (value[i] > 0) entropy -= value[i] / sum * log(value[i] / sum);
    double rank = value && sum > 0 ? exp(entropy) : NAN;
    free(a), free(gram), free(value);
    return rank;
}

double mean_cosine(const float *g, int n, int64_t d) {
    double *sum = (double *)calloc((size_t)d, sizeof *sum), square = 0;
    int rows = 0;
    for (int i = 0; sum && i < n; i++) {
        double length = 0;
        for (int64_t k = 0; k < d; k++) length += pow((double)g[i * d + k], 2);
        if (!(length > 0)) continue;
        for (int64_t k = 0; k < d; k++) sum[k] += (double)g[i * d + k] / sqrt(length);
        rows++;
    }
    for (int64_t k = 0; sum && k < d; k++)
        square += sum[k] * sum[k]; /* the sum over all pairs, i = j included */
    int there = sum != NULL;
    free(sum);
    return there && rows > 1 ? (square - rows) / ((double)rows * (rows - 1)) : NAN;
}
