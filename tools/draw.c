#define _GNU_SOURCE
#include "draw.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_STB
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include <stb/stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#endif
#ifdef HAVE_FREETYPE
#include <ft2build.h>
#include FT_FREETYPE_H
#endif

canvas canvas_new(fv_ctx *c, int width, int height) {
    canvas v = {width, height, NULL};
    v.rgb = (uint8_t *)fv_alloc(c, (size_t)width * (size_t)height * 3);
    if (v.rgb) memset(v.rgb, 255, (size_t)width * (size_t)height * 3);
    return v;
}
void canvas_free(fv_ctx *c, canvas *v) { fv_free(c, v->rgb), v->rgb = NULL; }

static void blend(canvas *v, int x, int y, ink colour, double alpha) {
    if (x < 0 || y < 0 || x >= v->width || y >= v->height || alpha <= 0) return;
    uint8_t *p = v->rgb + ((size_t)y * (size_t)v->width + (size_t)x) * 3;
    if (alpha > 1) alpha = 1;
    for (int k = 0; k < 3; k++)
        p[k] = (uint8_t)(p[k] + ((int)(colour >> (16 - 8 * k) & 255) - p[k]) * alpha + 0.5);
}

void draw_box(canvas *v, double x, double y, double w, double h, ink colour, double alpha) {
    for (int j = (int)floor(y + 0.5); j < (int)floor(y + h + 0.5); j++)
        for (int i = (int)floor(x + 0.5); i < (int)floor(x + w + 0.5); i++) blend(v, i, j, colour, alpha);
}
void draw_frame(canvas *v, double x, double y, double w, double h, double thick, ink colour) {
    draw_box(v, x, y, w, thick, colour, 1), draw_box(v, x, y + h - thick, w, thick, colour, 1);
    draw_box(v, x, y, thick, h, colour, 1), draw_box(v, x + w - thick, y, thick, h, colour, 1);
}

/* coverage of a pixel by its centre's distance from the line */
void draw_line(canvas *v, double x0, double y0, double x1, double y1, double thick, ink colour,
               double alpha) {
    double dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy, r = thick / 2;
    if (!(fabs(x0) < 1e5 && fabs(y0) < 1e5 && fabs(x1) < 1e5 && fabs(y1) < 1e5)) return;
    int left = (int)floor(fmin(x0, x1) - r - 1), right = (int)ceil(fmax(x0, x1) + r + 1),
        top = (int)floor(fmin(y0, y1) - r - 1), bottom = (int)ceil(fmax(y0, y1) + r + 1);
    for (int j = top < 0 ? 0 : top; j <= bottom && j < v->height; j++)
        for (int i = left < 0 ? 0 : left; i <= right && i < v->width; i++) {
            double px = i + 0.5 - x0, py = j + 0.5 - y0, t = length > 0 ? (px * dx + py * dy) / length : 0;
            t = t < 0 ? 0 : t > 1 ? 1 : t;
            double d = hypot(px - t * dx, py - t * dy);
            blend(v, i, j, colour, alpha * fmin(1, r + 0.5 - d));
        }
}
void draw_disc(canvas *v, double x, double y, double radius, ink colour, double alpha) {
    draw_line(v, x, y, x, y, 2 * radius, colour, alpha);
}

void draw_pixels(canvas *v, const uint8_t *pixels, int w, int h, int channels, double x, double y,
                 double box_w, double box_h) {
    int left = (int)floor(x + 0.5), top = (int)floor(y + 0.5), wide = (int)floor(box_w + 0.5),
        high = (int)floor(box_h + 0.5), colours = channels < 3 ? 1 : 3;
    for (int j = 0; j < high; j++)
        for (int i = 0; i < wide; i++) {
            int u0 = i * w / wide, u1 = (i + 1) * w / wide, s0 = j * h / high, s1 = (j + 1) * h / high, n = 0;
            double sum[3] = {0, 0, 0}, alpha = 0;
            for (int s = s0; s < (s1 > s0 ? s1 : s0 + 1); s++)
                for (int u = u0; u < (u1 > u0 ? u1 : u0 + 1); u++, n++) {
                    const uint8_t *p = pixels + ((size_t)s * (size_t)w + (size_t)u) * (size_t)channels;
                    double a = channels == 4 ? p[3] / 255.0 : 1;
                    for (int k = 0; k < 3; k++) sum[k] += p[colours == 3 ? k : 0] * a;
                    alpha += a;
                }
            if (alpha <= 0) continue;
            ink c = 0;
            for (int k = 0; k < 3; k++) c = c << 8 | (ink)(sum[k] / alpha + 0.5);
            blend(v, left + i, top + j, c, alpha / n);
        }
}

#ifdef HAVE_FREETYPE
/* The font is found once and kept for as long as the program runs. */
static FT_Face font(void) {
    static FT_Library library;
    static FT_Face face;
    static int tried;
    static const char *const paths[] = {"/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
                                        "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
                                        "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
                                        "/usr/share/fonts/TTF/DejaVuSans.ttf",
                                        "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
                                        "/usr/share/fonts/dejavu/DejaVuSans.ttf"};
    const char *own = getenv("FROZENVIS_FONT");
    if (tried++) return face;
    if (FT_Init_FreeType(&library)) return NULL;
    if (own && !FT_New_Face(library, own, 0, &face)) return face;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!access(paths[i], R_OK) && !FT_New_Face(library, paths[i], 0, &face)) return face;
    return face = NULL;
}

static uint32_t next_char(const char **s) {
    const uint8_t *p = (const uint8_t *)*s;
    int more = p[0] < 0x80 ? 0 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    uint32_t cp = more ? p[0] & (0x3fu >> more) : p[0];
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) return *s += 1, 0xfffd;
        cp = cp << 6 | (p[i] & 0x3f);
    }
    *s += more + 1;
    return cp;
}

double draw_text(canvas *v, const char *text, double x, double y, double size, ink colour, double max_width) {
    FT_Face f = font();
    double at = x;
    if (!f || FT_Set_Char_Size(f, 0, (FT_F26Dot6)(size * 64), 72, 72)) return 0;
    while (*text) {
        if (FT_Load_Char(f, next_char(&text), FT_LOAD_RENDER)) continue;
        FT_GlyphSlot g = f->glyph;
        if (max_width > 0 && at + (double)g->advance.x / 64 > x + max_width) break;
        for (int j = 0; v && j < (int)g->bitmap.rows; j++)
            for (int i = 0; i < (int)g->bitmap.width; i++)
                blend(v, (int)(at + 0.5) + g->bitmap_left + i, (int)(y + 0.5) - g->bitmap_top + j, colour,
                      g->bitmap.buffer[j * g->bitmap.pitch + i] / 255.0);
        at += (double)g->advance.x / 64;
    }
    return at - x;
}
#else
double draw_text(canvas *v, const char *text, double x, double y, double size, ink colour, double max_width) {
    (void)v, (void)text, (void)x, (void)y, (void)size, (void)colour, (void)max_width;
    return 0;
}
#endif

double draw_paragraph(canvas *v, const char *text, double x, double y, double size, ink colour,
                      double max_width, int most_lines) {
    char line[512];
    for (int n = 0; *text && n < most_lines; n++, y += 1.25 * size) {
        size_t take = 0;
        for (size_t end = 0; text[end];) { /* as many whole words as fit */
            size_t next = end + strcspn(text + end + 1, " ") + 1;
            if (next >= sizeof line) break;
            snprintf(line, sizeof line, "%.*s", (int)next, text);
            if (take && draw_text(NULL, line, 0, 0, size, 0, 0) > max_width) break;
            take = end = next;
        }
        if (!take) take = strlen(text);
        snprintf(line, sizeof line, "%.*s", (int)take, text);
        draw_text(v, line, x, y, size, colour, max_width);
        text += take;
        text += strspn(text, " ");
    }
    return y;
}

#ifdef HAVE_STB
/* what stb has written so far: a PNG in one piece, a JPEG in many */
typedef struct sink {
    fv_ctx *c;
    uint8_t *data;
    size_t size;
} sink;
static void keep(void *user, void *data, int size) {
    sink *s = (sink *)user;
    uint8_t *more = (uint8_t *)fv_alloc(s->c, s->size + (size_t)size + 1);
    if (more && s->size) memcpy(more, s->data, s->size);
    if (more) memcpy(more + s->size, data, (size_t)size);
    fv_free(s->c, s->data);
    s->data = more, s->size = more ? s->size + (size_t)size : 0;
}
#endif
uint8_t *jpeg_write(fv_ctx *c, const uint8_t *pixels, int w, int h, int channels, int quality, size_t *size) {
#ifdef HAVE_STB
    sink s = {c, NULL, 0};
    if (!stbi_write_jpg_to_func(keep, &s, w, h, channels, pixels, quality))
        fv_fail(c, FV_ENOMEM, "JPEG: no memory");
    *size = s.size;
    return s.data;
#else
    (void)pixels, (void)w, (void)h, (void)channels, (void)quality, (void)size;
    return fv_fail(c, FV_EUNAVAILABLE, "JPEG wants stb_image_write: install libstb-dev and build again"),
           (uint8_t *)NULL;
#endif
}
int canvas_save(fv_ctx *c, const canvas *v, const char *path) {
#ifdef HAVE_STB
    sink s = {c, NULL, 0};
    if (fv_error(c) || !v->rgb) return 0;
    if (!stbi_write_png_to_func(keep, &s, v->width, v->height, 3, v->rgb, v->width * 3))
        return fv_fail(c, FV_ENOMEM, "%s: no memory for the picture", path);
    int ok = s.data && fv_write_file(c, path, s.data, s.size);
    fv_free(c, s.data);
    return ok;
#else
    (void)v;
    return fv_fail(c, FV_EUNAVAILABLE,
                   "%s: this program was built without stb_image_write: install libstb-dev and build again",
                   path);
#endif
}

struct emoji_font {
#ifdef HAVE_FREETYPE
    FT_Library library;
    FT_Face face;
#endif
    int unused;
};
#ifdef HAVE_FREETYPE
emoji_font *emoji_open(fv_ctx *c, const char *path) {
    emoji_font *f = (emoji_font *)fv_alloc(c, sizeof *f);
    if (!f) return NULL;
    if (FT_Init_FreeType(&f->library))
        return fv_fail(c, FV_EUNAVAILABLE, "FreeType could not be started"), (emoji_font *)NULL;
    if (FT_New_Face(f->library, path, 0, &f->face) || !f->face->num_fixed_sizes ||
        FT_Select_Size(f->face, 0)) {
        fv_fail(c, FV_EFORMAT, "%s: no font of colour pictures", path);
        return NULL;
    }
    return f;
}
int emoji_draw(emoji_font *f, uint32_t codepoint, uint8_t *rgba) {
    FT_UInt glyph = FT_Get_Char_Index(f->face, codepoint);
    if (!glyph || FT_Load_Glyph(f->face, glyph, FT_LOAD_COLOR) ||
        f->face->glyph->bitmap.pixel_mode != FT_PIXEL_MODE_BGRA)
        return 0;
    const FT_Bitmap *b = &f->face->glyph->bitmap;
    memset(rgba, 0, (size_t)EMOJI_W * EMOJI_H * 4);
    for (int y = 0; y < (int)b->rows && y < EMOJI_H; y++)
        for (int x = 0; x < (int)b->width && x < EMOJI_W; x++) { /* colours come multiplied by alpha */
            const uint8_t *p = b->buffer + y * b->pitch + 4 * x;
            uint8_t *to = rgba + 4 * (y * EMOJI_W + x);
            for (int k = 0; k < 3; k++) to[k] = (uint8_t)(p[3] ? (p[2 - k] * 255 + p[3] / 2) / p[3] : 0);
            to[3] = p[3];
        }
    return 1;
}
void emoji_close(fv_ctx *c, emoji_font *f) {
    if (!f) return;
    FT_Done_Face(f->face);
    FT_Done_FreeType(f->library);
    fv_free(c, f);
}
#else
emoji_font *emoji_open(fv_ctx *c, const char *path) {
    return fv_fail(c, FV_EUNAVAILABLE,
                   "%s: this program was built without FreeType: install libfreetype-dev and build again",
                   path),
           (emoji_font *)NULL;
}
int emoji_draw(emoji_font *f, uint32_t codepoint, uint8_t *rgba) {
    return (void)f, (void)codepoint, (void)rgba, 0;
}
void emoji_close(fv_ctx *c, emoji_font *f) { (void)c, (void)f; }
#endif
