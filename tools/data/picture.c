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

int picture_read(fv_ctx *c, const char *path, int size, int channels, uint8_t *out) {
#ifdef HAVE_STB
    fv_file f;
    int w = 0, h = 0, n = 0;
    if (!fv_file_open(c, path, &f)) return 0;
    if (f.size > 0x7fffffff || !stbi_info_from_memory(f.data, (int)f.size, &w, &h, &n))
        fv_fail(c, FV_EFORMAT, "%s: neither PNG nor JPEG at byte 0", path);
    else if (w != size || h != size)
        fv_fail(c, FV_EUSAGE, "%s: %dx%d pixels, and the network wants %dx%d; resize it", path, w, h, size, size);
    else {
        uint8_t *pixels = stbi_load_from_memory(f.data, (int)f.size, &w, &h, &n, channels);
        if (pixels) memcpy(out, pixels, (size_t)size * (size_t)size * (size_t)channels);
        else fv_fail(c, FV_EFORMAT, "%s: damaged or cut short: %s", path, stbi_failure_reason());
        stbi_image_free(pixels);
    }
    fv_file_close(c, &f);
    return !fv_error(c);
#else
    (void)size, (void)channels, (void)out;
    return fv_fail(c, FV_EUNAVAILABLE, "%s: this program was built without stb_image: install libstb-dev and build again", path);
#endif
}
