/* What heat maps, probes, comparisons and corruptions compute, against NumPy, SciPy and Pillow
 * (golden/make_measures.py).
 * link: tools/measures.c tools/corrupt.c tools/draw.c tools/report.c tools/plots.c tools/page.c
 * link: tools/data/npy.c
 */
#define _GNU_SOURCE /* M_PI */
#include "frozenvis.h"
#include "../tools/corrupt.h"
#include "../tools/measures.h"
#include "../tools/report.h"
#include "test.h"
#include <math.h>
#include <stdlib.h>

/* stb's encoder shifts into a sign bit, at which a build with the sanitizers stops: there JPEG is left out */
#if defined(HAVE_STB) && !defined(__SANITIZE_ADDRESS__)
#define TEST_JPEG 1
#endif

static fv_ctx *c;
static fv_weights *golden;
/* a tensor of the file as doubles, floats or bytes; freed with the context */
static void *load(const char *name, fv_type type, int64_t *count) {
    const fv_entry *e = fv_weights_find(golden, name);
    int64_t n = 1;
    for (int i = 0; e && i < e->rank; i++) n *= e->dim[i];
    void *x = e ? fv_alloc(c, (size_t)n * fv_type_size(type)) : NULL;
    CHECK(x && fv_entry_read(c, golden, e, type, x), "%s: %s", name, fv_error_text(c));
    if (count) *count = n;
    return x;
}
static const double *doubles(const char *name) { return (const double *)load(name, FV_F64, NULL); }
static const float *floats(const char *name) { return (const float *)load(name, FV_F32, NULL); }
static uint8_t *bytes(const char *name, int64_t *count) { return (uint8_t *)load(name, FV_U8, count); }

/* phases turn over at pi: an angle and its neighbour a whole turn away are the same */
static double angle_between(double a, double b) { return fabs(remainder(a - b, 2 * M_PI)); }
static void tokens(void) {
    static const int width[] = {48, 45, 31, 576};
    for (int w = 0; w < 4; w++) {
        int d = width[w], n = d < 100 ? 12 : 3;
        char name[4][32];
        static const char *const part[] = {"x", "phase", "magnitude", "frequency"};
        for (int i = 0; i < 4; i++) snprintf(name[i], sizeof name[i], "tokens%d.%s", d, part[i]);
        const float *x = floats(name[0]);
        const double *phase = doubles(name[1]), *magnitude = doubles(name[2]), *frequency = doubles(name[3]);
        double worst = 0, out[12], mine[576];
        for (int i = 0; i < n; i++) {
            CHECK(phase_of(x + i * d, d, mine), "memory");
            for (int k = 0; k < d; k++) worst = test_worse(worst, angle_between(mine[k], phase[i * d + k]));
        }
        CHECK(worst < 1e-9, "%d channels: a phase is off by %g", d, worst);
        CHECK(token_magnitude(x, n, d, out), "memory");
        for (int i = 0; i < n; i++)
            CHECK(fabs(out[i] - magnitude[i]) < 1e-9, "magnitude %g, NumPy's %g", out[i], magnitude[i]);
        CHECK(token_frequency(x, n, d, out), "memory");
        for (int i = 0; i < n; i++)
            CHECK(fabs(out[i] - frequency[i]) < 1e-7, "%d channels: frequency %g, NumPy's %g", d, out[i],
                  frequency[i]);
    }
}
static void overlap(void) {
    const double *maps = doubles("iou.maps"), *best = doubles("iou.best");
    const uint8_t *truth = bytes("iou.truth", NULL), *mask = bytes("mask", NULL),
                  *want = bytes("mask.tokens", NULL);
    uint8_t out[16], none[49] = {0};
    double row[4] = {3, -1, 1, 0};
    for (int i = 0; i < 20; i++)
        CHECK(fabs(best_iou(maps + 49 * i, truth + 49 * i, 49) - best[i]) < 1e-12, "IoU %g, NumPy's %g",
              best_iou(maps + 49 * i, truth + 49 * i, 49), best[i]);
    CHECK(isnan(best_iou(maps, none, 49)), "no object, no IoU");
    mask_to_tokens(mask, 28, 7, out);
    CHECK(!memcmp(out, want, 16), "patches of which half is masked");
    min_max(row, 4);
    CHECK(fabs(row[0] - 1) < 1e-15 && row[1] < 1e-15 && fabs(row[2] - 0.5) < 1e-15, "min and max");
    CHECK(fabs(share_on(row, truth, 4) + share_on(row, none, 4) -
               (truth[0] * 1 + truth[2] * 0.5 + truth[3] * 0.25) / 1.75) < 1e-12,
          "a share");
}
static void matrices(void) {
    const float *a = floats("cka.a"), *b = floats("cka.b"), *wide = floats("rank.wide"),
                *g = floats("cosine.g");
    const double *want = doubles("values");
    double got[4] = {linear_cka(a, 12, b, 7, 40), effective_rank(a, 40, 12), effective_rank(wide, 10, 25),
                     mean_cosine(g, 9, 33)};
    for (int i = 0; i < 4; i++)
        CHECK(fabs(got[i] - want[i]) < 1e-6, "measure %d: %.9g, NumPy's %.9g", i, got[i], want[i]);
    CHECK(fabs(linear_cka(a, 12, a, 12, 40) - 1) < 1e-9 && isnan(mean_cosine(g, 1, 33)),
          "CKA with itself is 1; one row has no pairs");
}
/* draws differ, so the ends agree to a few percent of the interval's width */
static void interval(void) {
    float *a = (float *)(uintptr_t)floats("bootstrap.a"), *b = (float *)(uintptr_t)floats("bootstrap.b"),
          *pa[4], *pb[4];
    const double *want = doubles("bootstrap.mean_low_high");
    double mean, low, high, width = want[2] - want[1];
    for (int s = 0; s < 4; s++) pa[s] = a + 150 * s, pb[s] = b + 150 * s;
    bootstrap(c, pa, pb, 4, 150, 8000, &mean, &low, &high);
    CHECK(fabs(mean - want[0]) < 1e-6, "mean %g, NumPy's %g", mean, want[0]);
    CHECK(fabs(low - want[1]) < 0.03 * width && fabs(high - want[2]) < 0.03 * width,
          "%g to %g, NumPy's %g to %g", low, high, want[1], want[2]);
}

/* largest and mean difference of two pictures; at most `most` and `average` are allowed */
static void close_to(const char *what, const uint8_t *got, const char *name, int64_t n, int most,
                     double average) {
    const uint8_t *want = bytes(name, NULL);
    int worst = 0;
    double sum = 0;
    for (int64_t i = 0; want && i < n; i++)
        worst = abs(got[i] - want[i]) > worst ? abs(got[i] - want[i]) : worst, sum += abs(got[i] - want[i]);
    CHECK(worst <= most && sum / (double)n <= average, "%s: differs by up to %d, %g on average", what, worst,
          sum / (double)n);
}
static void corruptions(void) {
    int64_t n;
    const float *normal = floats("normal");
    const struct {
        const char *name;
        int kind;
        double strength;
        int most;
        double average;
    } cases[] = {
        {"noise", CORRUPT_NOISE, 0.12, 1, 0.01},
        {"blur0.6", CORRUPT_BLUR, 0.6, 1, 0.01},
        {"blur2.0", CORRUPT_BLUR, 2, 1, 0.01},
        {"contrast", CORRUPT_CONTRAST, 0.3, 1, 0.01},
        {"rotate15", CORRUPT_ROTATION, 15, 1, 0.01},
        {"rotate-30", CORRUPT_ROTATION, -30, 1, 0.01},
#ifdef TEST_JPEG
        {"jpeg80", CORRUPT_JPEG, 80, 60, 3},
        {"jpeg15", CORRUPT_JPEG, 15, 90,
         6}, /* another encoder: the same tables, its own rounding and colours between pixels */
#endif
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *p = bytes("picture", &n);
        double s = cases[i].strength;
        if (!p || n != 24 * 20 * 3) return;
        switch (cases[i].kind) {
        case CORRUPT_NOISE: corrupt_add_noise(p, (int)n, normal, s); break;
        case CORRUPT_BLUR: corrupt_blur(c, p, 20, 24, 3, s); break;
        case CORRUPT_CONTRAST: corrupt_contrast(p, 20, 24, 3, s); break;
        case CORRUPT_ROTATION: corrupt_rotate(c, p, 20, 24, 3, s); break;
        default: corrupt_jpeg(c, p, 20, 24, 3, (int)s);
        }
        CHECK(!fv_error(c), "%s", fv_error_text(c));
        close_to(cases[i].name, p, cases[i].name, n, cases[i].most, cases[i].average);
    }
}
/* each level takes a picture further from what it was (JPEG of a picture this small, about so); the same
 * stream gives the same picture */
static void severities(void) {
    int64_t n;
    const uint8_t *p = bytes("picture", &n);
    for (int kind = 0; kind < CORRUPT_KINDS && p; kind++) {
        double last = 0;
#ifndef TEST_JPEG
        if (kind == CORRUPT_JPEG) continue;
#endif
        for (int level = 1; level <= CORRUPT_LEVELS; level++) {
            fv_rng r = {1, 2, 0}, again = {1, 2, 0};
            uint8_t *q = bytes("picture", NULL), *q2 = bytes("picture", NULL);
            double far = 0;
            CHECK(corrupt_picture(c, q, 20, 24, 3, kind, level, &r) &&
                      corrupt_picture(c, q2, 20, 24, 3, kind, level, &again),
                  "%s", fv_error_text(c));
            for (int64_t i = 0; i < n; i++) far += pow(q[i] - p[i], 2) / (double)n;
            CHECK(far > (kind == CORRUPT_JPEG ? 0.9 : 1) * last && !memcmp(q, q2, (size_t)n),
                  "%s %d: %g after %g", corrupt_name(kind), level, far, last);
            last = far;
        }
    }
}

int main(void) {
    c = fv_create(NULL);
    golden = fv_weights_open(c, "tests/golden/measures.safetensors");
    if (!golden) printf("%s\n", fv_error_text(c));
    RUN(tokens);
    RUN(overlap);
    RUN(matrices);
    RUN(interval);
    RUN(corruptions);
    RUN(severities);
    fv_weights_close(c, golden);
    fv_destroy(c);
    return REPORT();
}
