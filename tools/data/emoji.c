/* emoji.c -- pictures of emoji for the demos. retrieval's settings, fixed before the first training run:
 * 64x64 pixels; the emoji is 26 to 56 pixels wide, anywhere inside, over a background of two colours with 0
 * to 5 pieces of clutter. Of all single-character emoji of the font, shuffled, the first 400 are known: 16
 * training pictures each, with every name they have, listed in turns, so that the last tenth is pictures of
 * all, as the test is; two test pictures each, with the short name; up to
 * 200 others are unseen: one picture each, in a split of their own. Heat maps' demo: 20 emoji as classes, the
 * first of the same list after another shuffle, 60 training and 10 test pictures each, with 4 to 9 pieces of
 * clutter. */
#include "captions.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KNOWN = 400, UNSEEN = 200, TRAIN_PICTURES = 16, TEST_PICTURES = 2, SIDE = 64, LINE = 512 };
enum { SCENE_CLASSES = 20, SCENE_TRAIN = 60, SCENE_TEST = 10 };

static const char *next_line(const char *at, const char *end, char *line) {
    const char *stop = (const char *)memchr(at, '\n', (size_t)(end - at));
    size_t n = (size_t)((stop ? stop : end) - at);
    if (n >= LINE) n = LINE - 1;
    memcpy(line, at, n), line[n] = 0;
    return stop ? stop + 1 : end;
}
static void add_name(emoji *e, const char *text) {
    char low[80];
    size_t n = 0;
    for (; text[n] && text[n] != '\r' && n < sizeof low - 1; n++)
        low[n] = (char)tolower((unsigned char)text[n]);
    low[n] = 0;
    for (int i = 0; i < e->names; i++)
        if (!strcmp(e->name[i], low)) return;
    if (n > 1 && e->names < EMOJI_NAMES) memcpy(e->name[e->names++], low, sizeof low);
}

/* "1F600 ; fully-qualified # X E1.0 grinning face": one character, perhaps with FE0F */
static void read_test_line(char *line, const char *group, emoji *list, int *count) {
    char *end, *hash = strchr(line, '#'), *name;
    unsigned long code = strtoul(line, &end, 16);
    while (*end == ' ') end++;
    if (!strncmp(end, "FE0F", 4)) end += 4;
    while (*end == ' ') end++;
    if (!code || *end != ';' || !strstr(end, "; fully-qualified") || !hash) return;
    if (!(name = strstr(hash, " E")) || !(name = strchr(name + 2, ' '))) return;
    emoji *e = &list[(*count)++];
    memset(e, 0, sizeof *e);
    e->codepoint = (uint32_t)code;
    snprintf(e->group, sizeof e->group, "%.39s", group);
    add_name(e, name + 1);
}
static int by_code(const void *a, const void *b) {
    uint32_t x = ((const emoji *)a)->codepoint, y = ((const emoji *)b)->codepoint;
    return x < y ? -1 : x > y;
}

emoji *emoji_list(fv_ctx *c, const char *dir, emoji_font *font, int *count) {
    char path[4400], line[LINE], group[LINE] = "";
    uint8_t *pixels = (uint8_t *)fv_alloc(c, (size_t)EMOJI_W * EMOJI_H * 4);
    fv_file f;
    int n = 0, kept = 0;
    *count = 0;
    snprintf(path, sizeof path, "%s/emoji-test.txt", dir);
    if (!pixels || !fv_file_open(c, path, &f)) return NULL;
    const char *at = (const char *)f.data, *end = at + f.size;
    emoji *list = (emoji *)fv_alloc(c, (size_t)8192 * sizeof *list);
    while (list && at < end && n < 8192) {
        at = next_line(at, end, line);
        if (!strncmp(line, "# subgroup: ", 12)) snprintf(group, sizeof group, "%s", line + 12);
        else if (isxdigit((unsigned char)*line)) read_test_line(line, group, list, &n);
    }
    fv_file_close(c, &f);
    for (int i = 0; i < n; i++)
        if (emoji_draw(font, list[i].codepoint, pixels)) list[kept++] = list[i];
    n = kept;
    if (list) qsort(list, (size_t)n, sizeof *list, by_code);
    snprintf(path, sizeof path, "%s/NamesList.txt", dir);
    if (list && fv_file_open(c, path, &f)) {
        emoji *now = NULL, key;
        for (at = (const char *)f.data, end = at + f.size; at < end;) {
            at = next_line(at, end, line);
            if (isxdigit((unsigned char)*line)) {
                char *tab;
                key.codepoint = (uint32_t)strtoul(line, &tab, 16);
                now = (emoji *)bsearch(&key, list, (size_t)n, sizeof *list, by_code);
                if (now && *tab == '\t') add_name(now, tab + 1);
            } else if (now && !strncmp(line, "\t= ", 3)) add_name(now, line + 3);
        }
        fv_file_close(c, &f);
    }
    if (list && !n) fv_fail(c, FV_EFORMAT, "%s: no emoji that the font can draw", dir);
    fv_free(c, pixels);
    *count = n;
    return fv_error(c) ? NULL : list;
}

static ink any_colour(fv_rng *r) { return (ink)fv_rng_below(r, 1u << 24); }
static ink mixed(ink a, ink b, double t) {
    ink out = 0;
    for (int k = 0; k < 24; k += 8) {
        double x = (double)(a >> k & 255), y = (double)(b >> k & 255);
        out |= (ink)(x + (y - x) * (t < 0 ? 0 : t > 1 ? 1 : t)) << k;
    }
    return out;
}
void draw_background(canvas *v, fv_rng *r, int clutter) {
    ink a = any_colour(r), b = any_colour(r);
    int kind = (int)fv_rng_below(r, 4), cell = 3 + (int)fv_rng_below(r, 8), right = (int)fv_rng_below(r, 2),
        grid_w = v->width / 8 + 2;
    double noise[64 * 64], grain = 0.3 * (double)fv_rng_uniform(r);
    for (int i = 0; i < 64 * 64; i++) noise[i] = (double)fv_rng_uniform(r);
    for (int y = 0; y < v->height; y++)
        for (int x = 0; x < v->width; x++) {
            int gx = x / 8 % 63, gy = y / 8 % 63;
            double u = x % 8 / 8.0, w = y % 8 / 8.0, *g = noise + (gy * grid_w + gx) % (64 * 63 - 1);
            double smooth = (1 - w) * ((1 - u) * g[0] + u * g[1]) +
                            w * ((1 - u) * noise[((gy + 1) * grid_w + gx) % (64 * 63 - 1)] +
                                 u * noise[((gy + 1) * grid_w + gx + 1) % (64 * 63 - 1)]);
            double t = kind == 0   ? (right ? (double)x / v->width : (double)y / v->height)
                       : kind == 1 ? smooth
                       : kind == 2 ? (right ? x + y : x) / cell % 2
                                   : (x / cell + y / cell) % 2;
            ink one = mixed(a, b, t + grain * (smooth - 0.5));
            uint8_t *p = v->rgb + ((size_t)y * (size_t)v->width + (size_t)x) * 3;
            p[0] = (uint8_t)(one >> 16), p[1] = (uint8_t)(one >> 8), p[2] = (uint8_t)one;
        }
    for (int i = 0; i < clutter; i++) {
        double x = (double)fv_rng_uniform(r) * v->width, y = (double)fv_rng_uniform(r) * v->height,
               s = 2 + 6 * (double)fv_rng_uniform(r);
        if (fv_rng_below(r, 2)) draw_disc(v, x, y, s, any_colour(r), 0.8);
        else
            draw_line(v, x, y, x + 4 * (s - 5), y + 20 * (double)fv_rng_uniform(r) - 10, s / 3, any_colour(r),
                      0.8);
    }
}

static int write_picture(fv_ctx *c, fv_rng *r, canvas *v, const uint8_t *pixels, const char *path) {
    double w = 26 + 30 * (double)fv_rng_uniform(r), h = w * EMOJI_H / EMOJI_W,
           x = (double)fv_rng_uniform(r) * (SIDE - w), y = (double)fv_rng_uniform(r) * (SIDE - h);
    draw_background(v, r, (int)fv_rng_below(r, 6));
    draw_pixels(v, pixels, EMOJI_W, EMOJI_H, 4, x, y, w, h);
    return canvas_save(c, v, path);
}

/* ---- heat maps' demo ---- */
/* an emoji somewhere on a busy background, and its mask */
static int write_scene(fv_ctx *c, fv_rng *r, canvas *v, const uint8_t *pixels, const char *path,
                       const char *mask) {
    double w = 22 + 22 * (double)fv_rng_uniform(r), h = w * EMOJI_H / EMOJI_W,
           x = (double)fv_rng_uniform(r) * (SIDE - w), y = (double)fv_rng_uniform(r) * (SIDE - h);
    draw_background(v, r, 4 + (int)fv_rng_below(r, 6));
    draw_pixels(v, pixels, EMOJI_W, EMOJI_H, 4, x, y, w, h);
    if (!canvas_save(c, v, path) || !mask) return !fv_error(c);
    uint8_t *white = (uint8_t *)fv_alloc(c, (size_t)EMOJI_W * EMOJI_H * 4);
    for (int i = 0; white && i < EMOJI_W * EMOJI_H; i++)
        white[4 * i] = white[4 * i + 1] = white[4 * i + 2] = 255, white[4 * i + 3] = pixels[4 * i + 3];
    memset(v->rgb, 0, (size_t)SIDE * SIDE * 3);
    if (white) draw_pixels(v, white, EMOJI_W, EMOJI_H, 4, x, y, w, h);
    for (int i = 0; i < SIDE * SIDE * 3; i++) v->rgb[i] = v->rgb[i] >= 128 ? 255 : 0;
    fv_free(c, white);
    return canvas_save(c, v, mask);
}
/* "grinning face" -> "grinning_face", a folder's name */
static void class_folder(char *out, size_t n, const char *dir, const char *part, const char *name) {
    size_t at = (size_t)snprintf(out, n, "%.2000s/%s/", dir, part);
    for (; *name && at + 1 < n; name++) out[at++] = isalnum((unsigned char)*name) ? *name : '_';
    out[at] = 0;
}
static int write_class(fv_ctx *c, const char *dir, const emoji *e, int number, canvas *v,
                       const uint8_t *pixels) {
    static const char *const part[3] = {"train", "test", "masks"};
    char folder[3][2200], path[2300], mask[2300];
    for (int i = 0; i < 3; i++) {
        class_folder(folder[i], sizeof folder[i], dir, part[i], e->name[0]);
        if (mkdir(folder[i], 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", folder[i]);
    }
    for (int k = 0; k < SCENE_TRAIN + SCENE_TEST && !fv_error(c); k++) {
        fv_rng r = {2031, 1000 + (uint64_t)(number * 1000 + k), 0};
        int test = k >= SCENE_TRAIN;
        snprintf(path, sizeof path, "%s/%d.png", folder[test], k),
            snprintf(mask, sizeof mask, "%s/%d.png", folder[2], k);
        write_scene(c, &r, v, pixels, path, test ? mask : NULL);
    }
    return !fv_error(c);
}
int emoji_scenes_write(fv_ctx *c, const char *dir, const char *emoji_dir) {
    static const char *const part[3] = {"train", "test", "masks"};
    char path[4400];
    int n = 0;
    snprintf(path, sizeof path, "%s/NotoColorEmoji.ttf", emoji_dir);
    emoji_font *font = emoji_open(c, path);
    emoji *list = font ? emoji_list(c, emoji_dir, font, &n) : NULL;
    int32_t *order = list ? (int32_t *)fv_alloc(c, (size_t)n * sizeof *order) : NULL;
    uint8_t *pixels = (uint8_t *)fv_alloc(c, (size_t)EMOJI_W * EMOJI_H * 4);
    canvas v = canvas_new(c, SIDE, SIDE);
    fv_rng g = {2031, 0, 0};
    for (int i = 0; i < 3 && !fv_error(c); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, part[i]);
        if (mkdir(path, 0777)) fv_fail(c, FV_EIO, "%s: the folder cannot be made", path);
    }
    for (int i = 0; order && i < n; i++) order[i] = i;
    if (order) fv_rng_shuffle(&g, order, n);
    for (int i = 0; i < SCENE_CLASSES && i < n && v.rgb && !fv_error(c); i++) {
        if (!emoji_draw(font, list[order[i]].codepoint, pixels))
            fv_fail(c, FV_EFORMAT, "%s: an emoji could not be drawn twice", emoji_dir);
        else write_class(c, dir, &list[order[i]], i, &v, pixels);
    }
    canvas_free(c, &v), fv_free(c, pixels), fv_free(c, order), fv_free(c, list), emoji_close(c, font);
    return !fv_error(c);
}

/* ---- retrieval's demo ---- */
int emoji_captions_write(fv_ctx *c, const char *dir, const char *emoji_dir) {
    static const char *const split_name[3] = {"train", "test", "unseen"};
    char path[4400], file[64];
    int n, number = 0, quiet = 0;
    fv_text turn[TRAIN_PICTURES + 1] = {{NULL, 0, 0}}; /* all first pictures, all second, ...; the test's */
    snprintf(path, sizeof path, "%s/NotoColorEmoji.ttf", emoji_dir);
    emoji_font *font = emoji_open(c, path);
    emoji *list = font ? emoji_list(c, emoji_dir, font, &n) : NULL;
    if (!list) return 0;
    for (int s = 0; s < 3; s++) {
        snprintf(path, sizeof path, "%s/%s", dir, split_name[s]);
        if (mkdir(path, 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", path);
    }
    int32_t *order = (int32_t *)fv_alloc(c, (size_t)n * sizeof *order);
    uint8_t *pixels = (uint8_t *)fv_alloc(c, (size_t)EMOJI_W * EMOJI_H * 4);
    canvas v = canvas_new(c, SIDE, SIDE);
    fv_rng g = {2028, 0, 0};
    for (int i = 0; i < n && order; i++) order[i] = i;
    if (order) fv_rng_shuffle(&g, order, n);
    for (int i = 0; i < n && i < KNOWN + UNSEEN && pixels && v.rgb && !fv_error(c); i++) {
        const emoji *e = &list[order[i]];
        int pictures = i < KNOWN ? TRAIN_PICTURES + TEST_PICTURES : 1;
        quiet += !emoji_draw(font, e->codepoint, pixels);
        for (int k = 0; k < pictures && !fv_error(c); k++) {
            int split = i >= KNOWN ? 2 : k >= TRAIN_PICTURES, names = split ? 1 : e->names;
            fv_text *line = &turn[split ? TRAIN_PICTURES : k];
            fv_rng r = {2028, 1000 + (uint64_t)number, 0};
            snprintf(file, sizeof file, "%s/%d.png", split_name[split], ++number);
            snprintf(path, sizeof path, "%s/%s", dir, file);
            write_picture(c, &r, &v, pixels, path);
            fv_text_add(c, line, "{\"image\":\"%s\",\"split\":\"%s\",\"captions\":[", file,
                        split_name[split]);
            for (int m = 0; m < names; m++)
                fv_text_add(c, line, m ? "," : ""), fv_text_json_string(c, line, e->name[m]);
            fv_text_add(c, line, "]}\n");
        }
    }
    if (quiet && !fv_error(c))
        fv_fail(c, FV_EFORMAT, "%s: %d emoji could not be drawn twice", emoji_dir, quiet);
    snprintf(path, sizeof path, "%s/captions.jsonl", dir);
    for (int k = 1; k <= TRAIN_PICTURES; k++)
        fv_text_add(c, turn, "%s", turn[k].data ? turn[k].data : ""), fv_text_free(c, &turn[k]);
    int ok = !fv_error(c) && fv_write_file(c, path, turn->data, turn->size);
    fv_text_free(c, turn), canvas_free(c, &v), fv_free(c, pixels), fv_free(c, order), fv_free(c, list),
        emoji_close(c, font);
    return ok;
}
