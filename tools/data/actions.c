/* actions.c -- clips of 12 actions in the manner of Something-Something. Settled in the first hour of work on
 * them: a first version, with a busier background, a shaking camera, smaller things and 170 clips an action,
 * was given up as too hard; nothing was changed later.
 *
 * 12 frames of 48x48 pixels; 200 training and 40 test clips of each action. In every clip there are two
 * things, A and B: emoji 14 to 20 pixels wide at any angle, over a background of two colours, of a third of
 * its full contrast. In actions 0 to 7 A acts and B stands still; in the others both matter. Places, sizes,
 * speeds and the moment of contact vary. A single frame tells a little all the same: B is in the middle of the
 * picture in actions 8 to 11, and what moves far starts near an edge. Who knows both places and sizes exactly
 * names the action of the middle frame in 24 of 100 clips, by the nearest of the training clips (a guess: 8).
 * The emoji of the test clips are none of the training clips. */
#include "captions.h"
#include "clips.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { ACTIONS = 12, TRAIN = 200, TEST = 40, FRAMES = 12, SIDE = 48, SMALL_W = 34, SMALL_H = 32 };
static const char *const action_name[ACTIONS] = {
    "A goes to the right", "A goes to the left",       "A goes up",
    "A goes down",         "A comes nearer",           "A goes away",
    "A turns clockwise",   "A turns anticlockwise",    "A comes to B and touches it",
    "A parts from B",      "A hits B, and B moves on", "A passes B"};
typedef struct state {
    double x, y, size, angle;
} state;

static double between(fv_rng *r, double a, double b) { return a + (b - a) * (double)fv_rng_uniform(r); }

/* RGBA pixels turned and scaled, averaged over 3x3 points a pixel */
static void paste(uint8_t *rgb, const uint8_t *pixels, const state *s) {
    double u = cos(s->angle) / s->size * SMALL_W, v = sin(s->angle) / s->size * SMALL_W;
    int reach = (int)(s->size * 0.75) + 2;
    for (int y = (int)s->y - reach; y <= (int)s->y + reach; y++)
        for (int x = (int)s->x - reach; x <= (int)s->x + reach; x++) {
            double sum[4] = {0, 0, 0, 0};
            if (x < 0 || y < 0 || x >= SIDE || y >= SIDE) continue;
            for (int k = 0; k < 9; k++) {
                double px = x + (k % 3 + 0.5) / 3 - s->x, py = y + (k / 3 + 0.5) / 3 - s->y;
                int i = (int)floor(u * px + v * py + SMALL_W / 2.0),
                    j = (int)floor(-v * px + u * py + SMALL_H / 2.0);
                if (i < 0 || j < 0 || i >= SMALL_W || j >= SMALL_H) continue;
                const uint8_t *p = pixels + 4 * (j * SMALL_W + i);
                for (int c = 0; c < 3; c++) sum[c] += p[c] * (p[3] / 255.0);
                sum[3] += p[3] / 255.0;
            }
            uint8_t *to = rgb + 3 * (y * SIDE + x);
            for (int c = 0; c < 3; c++) to[c] = (uint8_t)(to[c] * (1 - sum[3] / 9) + sum[c] / 9);
        }
}

/* where A and B are at time t (0..1) of an action; the draws of `p` are the clip's own */
static void act(int action, const double *p, double t, state *a, state *b) {
    double length = 18 + 12 * p[0], side = p[1] < 0.5 ? 1 : -1, free = SIDE - 12 - length,
           low = 6 + free * p[2], cross = 10 + (SIDE - 20) * p[3], gap;
    double when = 0.35 + 0.3 * p[4], far = 12 + 8 * p[0];
    a->size = 15 + 5 * p[5], b->size = 15 + 5 * p[6], a->angle = 6.2832 * p[7], b->angle = 6.2832 * p[8];
    a->x = 12 + 24 * p[2], a->y = 12 + 24 * p[3], b->x = 10 + 28 * p[9], b->y = 10 + 28 * p[10];
    switch (action) {
    case 0: a->x = low + length * t, a->y = cross; break;
    case 1: a->x = low + length * (1 - t), a->y = cross; break;
    case 2: a->y = low + length * (1 - t), a->x = cross; break;
    case 3: a->y = low + length * t, a->x = cross; break;
    case 4: a->size = 11 + (10 + 4 * p[0]) * t; break;
    case 5: a->size = 11 + (10 + 4 * p[0]) * (1 - t); break;
    case 6: a->angle += (2 + 1.2 * p[0]) * t; break;
    case 7: a->angle -= (2 + 1.2 * p[0]) * t; break;
    default: { /* along a line through B, at angle `way`, B in the middle of the picture */
        double way = 6.2832 * p[11], touch = 0.42 * (a->size + b->size), beside = 0;
        b->x = 20 + 8 * p[9], b->y = 20 + 8 * p[10];
        if (action == 8) gap = touch + far * fmax(0, 1 - t / (when + 0.3));
        else if (action == 9)
            gap = touch + far * fmax(0, (t - 0.35 + 0.3 * p[4] - 0.15) / (0.8 - 0.3 * p[4]));
        else if (action == 10) {
            gap = touch + far * fmax(0, 1 - t / when);
            double on = fmax(0, t - when) * (14 + 10 * p[0]);
            b->x -= on * cos(way), b->y -= on * sin(way), gap += on; /* A stays where it hit */
        } else
            gap = far * (1 - 2 * t),
            beside = side * (touch * 0.8); /* near by, at no moment in contact for long */
        a->x = b->x + gap * cos(way) - beside * sin(way), a->y = b->y + gap * sin(way) + beside * cos(way);
    }
    }
}

static int write_clip(fv_ctx *c, fv_rng *r, canvas *back, const uint8_t *a, const uint8_t *b, int action,
                      const char *path) {
    uint8_t rgb[FRAMES][SIDE * SIDE * 3];
    double p[12], begin = between(r, 0, 0.12), end = between(r, 0.88, 1);
    for (int i = 0; i < 12; i++) p[i] = (double)fv_rng_uniform(r);
    draw_background(back, r, (int)fv_rng_below(r, 4));
    for (int i = 0; i < SIDE * SIDE * 3; i++) back->rgb[i] = (uint8_t)(128 + (back->rgb[i] - 128) / 3);
    for (int f = 0; f < FRAMES; f++) {
        state sa, sb;
        memcpy(rgb[f], back->rgb, sizeof rgb[f]);
        act(action, p, begin + (end - begin) * f / (FRAMES - 1), &sa, &sb);
        paste(rgb[f], b, &sb), paste(rgb[f], a, &sa);
    }
    return y4m_write(c, path, rgb[0], FRAMES, SIDE, SIDE);
}

int actions_write(fv_ctx *c, const char *dir, const char *emoji_dir) {
    char path[4400];
    int n, number = 0, failed = 0;
    snprintf(path, sizeof path, "%s/NotoColorEmoji.ttf", emoji_dir);
    emoji_font *font = emoji_open(c, path);
    emoji *list = font ? emoji_list(c, emoji_dir, font, &n) : NULL;
    if (!list) return 0;
    uint8_t *large = (uint8_t *)fv_alloc(c, EMOJI_W * EMOJI_H * 4),
            *small = (uint8_t *)fv_alloc(c, (size_t)n * SMALL_W * SMALL_H * 4);
    /* a quarter as wide and high, premultiplied sums undone */
    for (int i = 0; i < n && large && small; i++) {
        failed += !emoji_draw(font, list[i].codepoint, large);
        for (int k = 0; k < SMALL_W * SMALL_H; k++) {
            double sum[4] = {0, 0, 0, 0};
            for (int m = 0; m < 16; m++) {
                const uint8_t *q =
                    large + 4 * ((k / SMALL_W * 4 + m / 4) * EMOJI_W + k % SMALL_W * 4 + m % 4);
                for (int s = 0; s < 3; s++) sum[s] += q[s] * q[3];
                sum[3] += q[3];
            }
            uint8_t *to = small + 4 * ((size_t)i * SMALL_W * SMALL_H + (size_t)k);
            for (int s = 0; s < 3; s++) to[s] = (uint8_t)(sum[3] > 0 ? sum[s] / sum[3] : 0);
            to[3] = (uint8_t)(sum[3] / 16);
        }
    }
    if (failed && !fv_error(c)) fv_fail(c, FV_EFORMAT, "%s: %d emoji could not be drawn", emoji_dir, failed);
    snprintf(path, sizeof path, "%s/clips", dir);
    if (mkdir(path, 0777)) fv_fail(c, FV_EIO, "%s: the folder cannot be made", path);
    canvas back = canvas_new(c, SIDE, SIDE);
    for (int s = 0; s < 2 && !fv_error(c); s++) {
        fv_text lines = {NULL, 0, 0};
        int from = s ? n * 4 / 5 : 0, count = s ? n - n * 4 / 5 : n * 4 / 5;
        for (int i = 0; i < (s ? TEST : TRAIN) * ACTIONS && !fv_error(c); i++) {
            fv_rng r = {2031, (uint64_t)number, 0};
            int a = from + (int)((fv_rng_below(&r, (uint32_t)count) * 577u) % (uint32_t)count),
                b = from + (int)fv_rng_below(&r, (uint32_t)count);
            snprintf(path, sizeof path, "%s/clips/%d.y4m", dir, ++number);
            write_clip(c, &r, &back, small + (size_t)a * SMALL_W * SMALL_H * 4,
                       small + (size_t)b * SMALL_W * SMALL_H * 4, i % ACTIONS, path);
            fv_text_add(c, &lines, "clips/%d.y4m;%s\n", number, action_name[i % ACTIONS]);
        }
        snprintf(path, sizeof path, "%s/%s.csv", dir, s ? "val" : "train");
        if (!fv_error(c)) fv_write_file(c, path, lines.data, lines.size);
        fv_text_free(c, &lines);
    }
    canvas_free(c, &back), fv_free(c, large), fv_free(c, small), fv_free(c, list), emoji_close(c, font);
    return !fv_error(c);
}
