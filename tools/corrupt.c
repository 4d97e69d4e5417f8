#define _GNU_SOURCE /* M_PI */
#include "corrupt.h"
#include "draw.h"
#include <math.h>
#include <string.h>
#ifdef HAVE_STB
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#if defined(__GNUC__)
#pragma GCC diagnostic ignored                                                                               \
    "-Wunused-function" /* of stb's that are declared and left out; judged at the end of the file */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include <stb/stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#endif

const char *corrupt_name(int kind) {
    static const char *const names[CORRUPT_KINDS] = {"noise", "blur", "contrast", "jpeg", "rotation"};
    return kind >= 0 && kind < CORRUPT_KINDS ? names[kind] : "?";
}
double corrupt_ratio(double error, double others) { return others > 0 ? 100 * error / others : NAN; }
int corrupt_task(const char *task) { return !strcmp(task, "image"); }

double corrupt_strength(int kind, int level, int side) {
    static const double strengths[2][CORRUPT_KINDS][CORRUPT_LEVELS] = {{{0.04, 0.06, 0.08, 0.09, 0.10},
                                                                        {0.4, 0.6, 0.7, 0.8, 1},
                                                                        {0.75, 0.5, 0.4, 0.3, 0.15},
                                                                        {80, 65, 58, 50, 40},
                                                                        {5, 10, 15, 20, 30}},
                                                                       {{0.08, 0.12, 0.18, 0.26, 0.38},
                                                                        {1, 2, 3, 4, 6},
                                                                        {0.4, 0.3, 0.2, 0.1, 0.05},
                                                                        {25, 18, 15, 10, 7},
                                                                        {5, 10, 15, 20, 30}}};
    return strengths[side > 64][kind][level - 1];
}

static uint8_t to_byte(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

void corrupt_add_noise(uint8_t *pixels, int count, const float *normal, double strength) {
    for (int i = 0; i < count; i++) pixels[i] = to_byte(pixels[i] + 255 * strength * (double)normal[i]);
}

/* one direction: `count` numbers, `step` apart */
static void blur_line(const double *from, double *to, int count, int step, const double *weight, int radius) {
    for (int i = 0; i < count; i++) {
        double sum = 0;
        for (int k = -radius; k <= radius; k++) {
            int at = i + k < 0 ? 0 : i + k >= count ? count - 1 : i + k;
            sum += weight[k < 0 ? -k : k] * from[at * step];
        }
        to[i * step] = sum;
    }
}
int corrupt_blur(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, double sigma) {
    enum { MOST = 64 };
    double weight[MOST + 1], sum = 0;
    int radius = (int)(4 * sigma + 0.5), n = w * h * channels;
    if (radius > MOST) radius = MOST;
    double *a = (double *)fv_alloc(c, (size_t)n * sizeof *a),
           *b = (double *)fv_alloc(c, (size_t)n * sizeof *b);
    for (int k = 0; k <= radius; k++)
        weight[k] = exp(-0.5 * k * k / (sigma * sigma)), sum += (k ? 2 : 1) * weight[k];
    for (int k = 0; k <= radius; k++) weight[k] /= sum;
    for (int i = 0; i < n && a && b; i++) a[i] = pixels[i];
    for (int k = 0; k < channels && a && b; k++) {
        for (int x = 0; x < w; x++)
            blur_line(a + x * channels + k, b + x * channels + k, h, w * channels, weight, radius);
        for (int y = 0; y < h; y++)
            blur_line(b + y * w * channels + k, a + y * w * channels + k, w, channels, weight, radius);
    }
    for (int i = 0; i < n && a && b; i++)
        pixels[i] = to_byte(a[i] + 1e-9); /* a flat picture stays what it is */
    fv_free(c, a), fv_free(c, b);
    return !fv_error(c);
}

void corrupt_contrast(uint8_t *pixels, int w, int h, int channels, double left) {
    for (int k = 0; k < channels; k++) {
        double mean = 0;
        for (int i = 0; i < w * h; i++) mean += (double)pixels[i * channels + k] / (w * h);
        for (int i = 0; i < w * h; i++)
            pixels[i * channels + k] = to_byte((pixels[i * channels + k] - mean) * left + mean + 1e-9);
    }
}

#ifdef HAVE_STB
int corrupt_jpeg(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, int quality) {
    int x = 0, y = 0, n = 0;
    size_t size;
    uint8_t *file = jpeg_write(c, pixels, w, h, channels, quality, &size),
            *back = file ? stbi_load_from_memory(file, (int)size, &x, &y, &n, channels) : NULL;
    if (back && x == w && y == h) memcpy(pixels, back, (size_t)(w * h * channels));
    else fv_fail(c, FV_ENOMEM, "JPEG: %s", stbi_failure_reason() ? stbi_failure_reason() : "no memory");
    stbi_image_free(back);
    fv_free(c, file);
    return !fv_error(c);
}
#else
int corrupt_jpeg(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, int quality) {
    (void)pixels, (void)w, (void)h, (void)channels, (void)quality;
    return fv_fail(c, FV_EUNAVAILABLE,
                   "JPEG wants stb_image and stb_image_write: install libstb-dev and build again");
}
#endif

/* the value at (x,y) between pixels; outside, that of the nearest edge */
static double between(const uint8_t *p, int w, int h, int channels, int k, double x, double y) {
    x = fmin(fmax(x, 0), w - 1), y = fmin(fmax(y, 0), h - 1);
    int i = (int)x, j = (int)y, right = i + 1 < w, down = j + 1 < h;
    const uint8_t *at = p + (j * w + i) * channels + k;
    double top = at[0] * (1 - (x - i)) + at[right ? channels : 0] * (x - i);
    at += down ? w * channels : 0;
    return top * (1 - (y - j)) + (at[0] * (1 - (x - i)) + at[right ? channels : 0] * (x - i)) * (y - j);
}
int corrupt_rotate(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, double degrees) {
    size_t n = (size_t)w * (size_t)h * (size_t)channels;
    double co = cos(degrees * M_PI / 180), si = sin(degrees * M_PI / 180);
    double mx = (w - 1) / 2.0, my = (h - 1) / 2.0;
    uint8_t *from = (uint8_t *)fv_alloc(c, n);
    if (!from) return 0;
    memcpy(from, pixels, n);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int k = 0; k < channels; k++) {
                double u = mx + (x - mx) * co - (y - my) * si, v = my + (x - mx) * si + (y - my) * co;
                pixels[(y * w + x) * channels + k] = to_byte(between(from, w, h, channels, k, u, v) + 1e-9);
            }
    fv_free(c, from);
    return 1;
}

int corrupt_picture(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, int kind, int level, fv_rng *r) {
    double strength = corrupt_strength(kind, level, w > h ? w : h);
    int n = w * h * channels;
    switch (kind) {
    case CORRUPT_BLUR: return corrupt_blur(c, pixels, w, h, channels, strength);
    case CORRUPT_CONTRAST: corrupt_contrast(pixels, w, h, channels, strength); return 1;
    case CORRUPT_JPEG: return corrupt_jpeg(c, pixels, w, h, channels, (int)strength);
    case CORRUPT_ROTATION:
        return corrupt_rotate(c, pixels, w, h, channels, fv_rng_below(r, 2) ? strength : -strength);
    default: break;
    }
    float *normal = (float *)fv_alloc(c, (size_t)n * sizeof *normal);
    for (int i = 0; normal && i < n; i++) normal[i] = fv_rng_normal(r);
    if (normal) corrupt_add_noise(pixels, n, normal, strength);
    fv_free(c, normal);
    return normal != NULL;
}
