/* draw.h -- a small RGB canvas for what the program shows: boxes, lines, discs, pictures, text (by FreeType),
 * saved as PNG (by stb). */
#ifndef FV_DRAW_H
#define FV_DRAW_H
#include "frozenvis.h"

typedef struct canvas {
    int width, height;
    uint8_t *rgb; /* [height,width,3] */
} canvas;
typedef uint32_t ink; /* 0xRRGGBB */

/* White; owned by c. NULL rgb and FV_ENOMEM when there is no room. */
canvas canvas_new(fv_ctx *c, int width, int height);
void canvas_free(fv_ctx *c, canvas *v);
void draw_box(canvas *v, double x, double y, double w, double h, ink colour, double alpha);
void draw_frame(canvas *v, double x, double y, double w, double h, double thick, ink colour);
void draw_line(canvas *v, double x0, double y0, double x1, double y1, double thick, ink colour, double alpha);
void draw_disc(canvas *v, double x, double y, double radius, ink colour, double alpha);
/* Pixels u8 [h,w,channels] (1, 3 or 4: the last is alpha) scaled to the box: to its nearest pixel when it
 * grows, averaged when it shrinks */
void draw_pixels(canvas *v, const uint8_t *pixels, int w, int h, int channels, double x, double y,
                 double box_w, double box_h);
/* Text whose baseline starts at (x,y), cut at max_width (0: never). Without FreeType or a font nothing is
 * drawn. Its width in pixels. */
double draw_text(canvas *v, const char *text, double x, double y, double size, ink colour, double max_width);
/* Lines of words of at most max_width; the y below the last one */
double draw_paragraph(canvas *v, const char *text, double x, double y, double size, ink colour,
                      double max_width, int most_lines);
/* errors  FV_EIO, FV_EUNAVAILABLE (built without stb) */
int canvas_save(fv_ctx *c, const canvas *v, const char *path);

/* Pixels u8 [h,w,channels] as a JPEG file in memory, owned by c, and its size. NULL and FV_ENOMEM,
 * FV_EUNAVAILABLE (built without stb). */
uint8_t *jpeg_write(fv_ctx *c, const uint8_t *pixels, int w, int h, int channels, int quality, size_t *size);

/* A colour of emoji `codepoints` (0 at the end), RGBA 136x128 in out; 0: the font has none, or FreeType is
 * missing (then an error). */
enum { EMOJI_W = 136, EMOJI_H = 128 };
typedef struct emoji_font emoji_font;
emoji_font *emoji_open(fv_ctx *c, const char *path);
int emoji_draw(emoji_font *f, uint32_t codepoint, uint8_t *rgba);
void emoji_close(fv_ctx *c, emoji_font *f);
#endif
