/* picture.c -- one PNG or JPEG as bytes, by the system's stb_image. */
#include "pictures.h"
#ifdef HAVE_STB
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 32768 /* a forged header may not ask for more */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb/stb_image.h>
#endif
#include <string.h>

#ifdef HAVE_STB
/* The pixels of a file, freed with stbi_image_free; `size`: that many in each direction, or 0: any number */
static uint8_t *load(fv_ctx *c, const char *path, int size, int channels, int *w, int *h) {
    fv_file f;
    uint8_t *pixels = NULL;
    int n = 0;
    if (!fv_file_open(c, path, &f)) return NULL;
    if (f.size > 0x7fffffff || !stbi_info_from_memory(f.data, (int)f.size, w, h, &n))
        fv_fail(c, FV_EFORMAT, "%s: neither PNG nor JPEG at byte 0", path);
    else if (size && (*w != size || *h != size))
        fv_fail(c, FV_EUSAGE, "%s: %dx%d pixels, and the network wants %dx%d; resize it", path, *w, *h, size,
                size);
    else if ((double)*w * *h > 1100.0 * (double)f.size + 1e6) /* deflate makes 1032 bytes of one at most */
        fv_fail(c, FV_EFORMAT, "%s: %dx%d pixels cannot be in %zu bytes: damaged", path, *w, *h, f.size);
    else if (!(pixels = stbi_load_from_memory(f.data, (int)f.size, w, h, &n, channels)))
        fv_fail(c, FV_EFORMAT, "%s: damaged or cut short", path); /* stb_image's own words say no more */
    fv_file_close(c, &f);
    return pixels;
}
#else
static uint8_t *load(fv_ctx *c, const char *path, int size, int channels, int *w, int *h) {
    (void)size, (void)channels, (void)w, (void)h;
    fv_fail(c, FV_EUNAVAILABLE,
            "%s: this program was built without stb_image: install libstb-dev and build again", path);
    return NULL;
}
static void stbi_image_free(void *p) { (void)p; }
#endif

int picture_read(fv_ctx *c, const char *path, int size, int channels, uint8_t *out) {
    int w, h;
    uint8_t *pixels = load(c, path, size, channels, &w, &h);
    if (pixels) memcpy(out, pixels, (size_t)size * (size_t)size * (size_t)channels);
    stbi_image_free(pixels);
    return !fv_error(c);
}

const float picture_mean[3] = {0.485f, 0.456f, 0.406f}, picture_std[3] = {0.229f, 0.224f, 0.225f};
float picture_value(uint8_t v, int channel, int imagenet) {
    return imagenet ? ((float)v / 255 - picture_mean[channel]) / picture_std[channel] : (float)v / 127.5f - 1;
}

int picture_fit(fv_ctx *c, const char *path, int size, float crop_pct, int channels, uint8_t *out) {
    int w = 0, h = 0;
    size_t n = (size_t)size * (size_t)size;
    uint8_t *pixels = load(c, path, 0, channels, &w, &h);
    if (pixels && w == size && h == size && crop_pct >= 1) memcpy(out, pixels, n * (size_t)channels);
    else if (pixels) {
        fv_augment_desc d;
        float *x = (float *)fv_alloc(c, n * (size_t)channels * sizeof *x);
        memset(&d, 0, sizeof d);
        d.size = size, d.channels = channels, d.crop_pct = crop_pct;
        if (x && fv_preprocess(c, &d, pixels, h, w, channels, x, NULL)) /* -1..1, [channels,size,size] */
            for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < (size_t)channels; k++) {
                    float v = (x[k * n + i] + 1) * 127.5f + 0.5f;
                    out[i * (size_t)channels + k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
                }
        fv_free(c, x);
    }
    stbi_image_free(pixels);
    return !fv_error(c);
}

uint8_t *picture_load(fv_ctx *c, const char *path, int *w, int *h) {
    uint8_t *pixels = load(c, path, 0, 3, w, h), *out = NULL;
    size_t n = pixels ? (size_t)*w * (size_t)*h * 3 : 0;
    if (pixels && (out = (uint8_t *)fv_alloc(c, n))) memcpy(out, pixels, n);
    stbi_image_free(pixels);
    return out;
}
