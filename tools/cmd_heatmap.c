/* fv heatmap: where a network's tokens stand out, drawn over pictures; with masks, how well that agrees with
 * where the object is (source: Pang et al., arXiv:2310.12973, 6.2). */
#define _GNU_SOURCE
#include "cli.h"
#include "data/captions.h"
#include "data/pictures.h"
#include "draw.h"
#include "insight.h"
#include "measures.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CELL = 96, GAP = 6, MOST_RUNS = 2 }; /* a map's side and what is between two, in pixels */
enum { MAGNITUDE, FREQUENCY, ATTENTION, MAPS };
static const char *const map_name[MAPS] = {"magnitude", "frequency", "attention"};
typedef struct scores {
    double sum[INSIGHT_PLACES][MAPS]; /* of a run's IoUs, over count pictures */
    int count;
} scores;

/* the attention that belongs to a place, or -1: the encoder's last block's, the stage's */
static int attention_at(int place) {
    return place == AT_BLOCK_ATTENTION ? SCORES_BLOCK : place == AT_ATTENTION ? SCORES_STAGE : -1;
}
/* map [tokens-1] of one picture at a place, in 0..1; 0: there is none */
static int make_map(const insight *s, int place, int kind, double *map) {
    int n = s->tokens - 1, which = attention_at(place);
    if (kind == ATTENTION) {
        if (which < 0 || !s->scores[which]) return 0;
        insight_class_row(s, which, 0, map);
    } else {
        if (!s->x[place]) return 0;
        const float *x = s->x[place] + s->width[place]; /* without the class token */
        if (!(kind == MAGNITUDE ? token_magnitude(x, n, s->width[place], map)
                                : token_frequency(x, n, s->width[place], map)))
            return 0;
    }
    min_max(map, n);
    return 1;
}

/* ---- drawing ---- */
/* 0..1 as a colour: dark blue, purple, red, orange, yellow */
static void heat(double v, double rgb[3]) {
    static const double stop[5][3] = {
        {13, 8, 135}, {126, 3, 168}, {204, 71, 120}, {248, 149, 64}, {240, 249, 33}};
    double at = fmin(fmax(v, 0), 1) * 4;
    int i = at >= 4 ? 3 : (int)at;
    for (int k = 0; k < 3; k++) rgb[k] = stop[i][k] + (at - i) * (stop[i + 1][k] - stop[i][k]);
}
/* the map, smoothly between the patches' middles, over the picture in grey */
static void draw_map(canvas *v, const uint8_t *picture, int S, int C, const double *map, int grid, double x0,
                     double y0) {
    static uint8_t cell[CELL * CELL * 3];
    for (int y = 0; y < CELL; y++)
        for (int x = 0; x < CELL; x++) {
            double gx = fmin(fmax((x + 0.5) / CELL * grid - 0.5, 0), grid - 1),
                   gy = fmin(fmax((y + 0.5) / CELL * grid - 0.5, 0), grid - 1), rgb[3], grey = 0;
            int i = (int)gx, j = (int)gy, right = i + 1 < grid, down = (j + 1 < grid) * grid;
            const double *m = map + j * grid + i;
            double value = (1 - (gy - j)) * (m[0] * (1 - (gx - i)) + m[right] * (gx - i)) +
                           (gy - j) * (m[down] * (1 - (gx - i)) + m[down + right] * (gx - i));
            const uint8_t *p = picture + (y * S / CELL * S + x * S / CELL) * C;
            for (int k = 0; k < C; k++) grey += (double)p[k] / C;
            heat(value, rgb);
            for (int k = 0; k < 3; k++) cell[(y * CELL + x) * 3 + k] = (uint8_t)(0.35 * grey + 0.65 * rgb[k]);
        }
    draw_pixels(v, cell, CELL, CELL, 3, x0, y0, CELL, CELL);
}
/* what the columns of one run are: places by maps that exist */
static int columns(const insight *s, int column[INSIGHT_PLACES * MAPS][2]) {
    int n = 0;
    double map[MOST_TOKENS];
    for (int place = 0; place < INSIGHT_PLACES; place++)
        for (int kind = 0; kind < MAPS; kind++)
            if ((place != AT_BLOCK_ATTENTION || kind == ATTENTION) && make_map(s, place, kind, map))
                column[n][0] = place, column[n++][1] = kind;
    return n;
}
static void draw_heads(canvas *v, const char *name, const insight *s, double x) {
    int column[INSIGHT_PLACES * MAPS][2], n = columns(s, column);
    static const char *const short_name[INSIGHT_PLACES] = {"encoder's end", "before stage", "LLM attention",
                                                           "LLM FFN", "after F2"};
    draw_text(v, name, x, 16, 13, 0x1f2328, n * (CELL + GAP));
    for (int i = 0; i < n; i++, x += CELL + GAP) {
        draw_text(v, !s->x[AT_F2] && column[i][0] == AT_BEFORE ? "encoder's end" : short_name[column[i][0]],
                  x, 34, 11, 0x57606a, CELL);
        draw_text(v, map_name[column[i][1]], x, 48, 11, 0x57606a, CELL);
    }
}

/* ---- one picture through one run ---- */
static scores iou_of[MOST_RUNS];
static void add_iou(const viewer *w, scores *s, const uint8_t *truth) {
    double map[MOST_TOKENS];
    for (int place = 0; place < INSIGHT_PLACES; place++)
        for (int kind = 0; kind < MAPS; kind++)
            s->sum[place][kind] +=
                make_map(&w->s, place, kind, map) ? best_iou(map, truth, w->s.tokens - 1) : NAN;
    s->count++;
}

/* a row of the sheet (v NULL: none), and the IoUs. 1 or 0 and an error in the first run's context */
static int one_row(viewer *w, int runs, const char *file, const char *masks, canvas *v, double y,
                   int *masked) {
    fv_ctx *c = w->r.c;
    int S = viewer_size(w), C = viewer_channels(w), grid = S / viewer_patch(w);
    size_t n = (size_t)S * (size_t)S;
    double x = GAP, map[MOST_TOKENS];
    uint8_t *picture = (uint8_t *)fv_alloc(c, n * (size_t)C), truth[MOST_TOKENS];
    int ok = picture && picture_fit(c, file, S, viewer_crop(w), C, picture), any = 0;
    if (ok && masks) any = viewer_truth(w, file, masks, truth), ok = !fv_error(c);
    if (ok && v) draw_pixels(v, picture, S, S, C, x, y, CELL, CELL);
    x += CELL + GAP;
    if (ok && masks && v) {
        for (int i = 0; i < grid * grid; i++) map[i] = truth[i];
        draw_map(v, picture, S, C, map, grid, x, y);
    }
    if (masks) x += CELL + GAP;
    for (int k = 0; k < runs && ok; k++, x += 2 * GAP) {
        int column[INSIGHT_PLACES * MAPS][2];
        if (!viewer_look(&w[k], picture))
            ok = k ? fv_fail(c, FV_EUSAGE, "%s: %s", w[k].dir, fv_error_text(w[k].r.c)) : 0;
        int count = ok && v ? columns(&w[k].s, column) : 0;
        for (int i = 0; i < count; i++, x += CELL + GAP) {
            make_map(&w[k].s, column[i][0], column[i][1], map);
            draw_map(v, picture, S, C, map, grid, x, y);
        }
        if (ok && any) add_iou(&w[k], &iou_of[k], truth);
    }
    *masked += any;
    fv_free(c, picture);
    return ok;
}

/* ---- results ---- */
static void print_run(const viewer *w, const scores *s, int json, int last) {
    int at = 0;
    if (!json)
        printf("%-38s %10s %10s %10s   (mIoU, percent, %d pictures)\n", w->dir, map_name[0], map_name[1],
               map_name[2], s->count);
    else {
        printf("{\"run\":");
        cli_print_json_string(w->dir);
        printf(",\"pictures\":%d,\"miou\":{", s->count);
    }
    for (int place = 0; place < INSIGHT_PLACES; place++) {
        int any = 0;
        for (int kind = 0; kind < MAPS; kind++) any |= !isnan(s->sum[place][kind]);
        if (!any) continue;
        const char *name =
            place == AT_BEFORE && isnan(s->sum[AT_F2][0]) ? "the encoder's end" : insight_place(place);
        if (!json) printf("  %-36s", name);
        else printf("%s\"%s\":{", at++ ? "," : "", name);
        for (int kind = 0, first = 1; kind < MAPS; kind++) {
            double v = 100 * s->sum[place][kind] / s->count;
            if (!json && isnan(v)) printf(" %10s", "-");
            else if (!json) printf(" %10.2f", v);
            else if (!isnan(v)) printf("%s\"%s\":%.3f", first ? "" : ",", map_name[kind], v), first = 0;
        }
        printf(json ? "}" : "\n");
    }
    if (json) printf("},\"final\":%s}\n", last ? "true" : "false");
}

static int make_demo(const char *dir) {
    char path[4096];
    run r;
    if (cli_taken(dir, "a new folder is wanted")) return 2;
    run_begin(&r, NULL);
    if (run_fetch(&r, "emoji", path)) {
        if (mkdir(dir, 0777)) fv_fail(r.c, FV_EIO, "%s: cannot be made: %s", dir, strerror(errno));
        else emoji_scenes_write(r.c, dir, path);
    }
    return run_end(&r);
}

static int draw_sheet(viewer *w, int runs, const files *f, int most, const char *masks, const char *png) {
    int rows = f->count < most ? f->count : most, width = GAP + (CELL + GAP) * (masks ? 2 : 1), ok = 1,
        masked = 0;
    for (int k = 0; k < runs; k++) width += (CELL + GAP) * (w[k].r.model->frozen ? 8 + 2 : 3) + 2 * GAP;
    canvas v = canvas_new(w->r.c, width, 56 + rows * (CELL + GAP));
    for (int i = 0; i < f->count && ok && v.rgb; i++) { /* the rows are spread over all */
        int row = (int)((int64_t)i * rows / f->count),
            first = i == 0 || row != (int)((int64_t)(i - 1) * rows / f->count);
        ok = (first || masks)
                 ? one_row(w, runs, f->at[i], masks, first ? &v : NULL, 56 + row * (CELL + GAP), &masked)
                 : 1;
    }
    double x = GAP + (CELL + GAP) * (masks ? 2 : 1);
    if (masks && ok) draw_text(&v, "mask, by patch", GAP + CELL + GAP, 48, 11, 0x57606a, CELL);
    for (int k = 0; k < runs && ok; k++) {
        int column[INSIGHT_PLACES * MAPS][2];
        draw_heads(&v, w[k].dir, &w[k].s, x);
        x += columns(&w[k].s, column) * (CELL + GAP) + 2 * GAP;
    }
    if (ok && masks && !masked)
        ok = fv_fail(w->r.c, FV_EUSAGE, "%s: no mask covers half of any patch", masks);
    ok = ok && canvas_save(w->r.c, &v, png);
    canvas_free(w->r.c, &v);
    return ok;
}

int cmd_heatmap(int argc, char **argv) {
    cli_option options[] = {
        {"--beside", "RUN", "another run of the same size beside it, as base beside llm", NULL},
        {"--masks", "DIR", "PNG masks by the pictures' names (DIR/CLASS/1.png or DIR/1.png): mIoU is printed",
         NULL},
        {"--png", "FILE", "the sheet (default heatmap.png); must not exist", NULL},
        {"--rows", "N", "pictures drawn (default 12); mIoU is over all", NULL},
        {"--demo", "DIR", "make pictures to try it in a new folder: emoji on busy backgrounds, with masks",
         NULL},
        {"--threads", "N", "all cores unless said", NULL},
        {"--json", NULL, "JSON lines", NULL},
        {NULL, NULL, NULL, NULL}};
    cli a = {
        "fv heatmap RUN IMAGE|FOLDER... [options] | fv heatmap --demo DIR",
        "Draws, over each picture, how much each patch's token stands out: its magnitude (distance to the "
        "mean token), its frequency (the same of\n"
        "the phases of its Fourier transform over the channels) and the class token's attention to it; "
        "before the stage, after the LLM's attention and FFN, and after F2.\n"
        "mIoU: best threshold of 0.1 to 0.9 for each picture; a patch is the object's where at least half "
        "of it is masked.",
        options,
        {NULL},
        0};
    static viewer w[MOST_RUNS];
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    if (cli_value(&a, "--demo"))
        return a.count ? cli_fail(2, "--demo stands alone; usage: %s", a.usage)
                       : make_demo(cli_value(&a, "--demo"));
    if (a.count < 2) return cli_fail(2, "a run's folder and pictures are wanted; usage: %s", a.usage);
    const char *beside = cli_value(&a, "--beside"), *png = cli_text(&a, "--png", "heatmap.png"),
               *masks = cli_value(&a, "--masks");
    int threads = (int)cli_int(&a, "--threads", 0, 1, &bad), rows = (int)cli_int(&a, "--rows", 12, 1, &bad),
        runs = beside ? 2 : 1;
    if (bad || cli_taken(png, "another --png is wanted")) return 2;
    int ok = viewer_open(&w[0], a.words[0], threads) && (!beside || viewer_open(&w[1], beside, threads));
    if (ok && beside &&
        (viewer_size(&w[0]) != viewer_size(&w[1]) || viewer_channels(&w[0]) != viewer_channels(&w[1]) ||
         viewer_patch(&w[0]) != viewer_patch(&w[1]) || viewer_crop(&w[0]) < viewer_crop(&w[1]) ||
         viewer_crop(&w[0]) > viewer_crop(&w[1])))
        ok = fv_fail(w[0].r.c, FV_EUSAGE, "%s and %s differ in img_size, in_chans, patch_size or crop_pct",
                     w[0].dir, w[1].dir);
    files f = {NULL, 0, 0};
    ok =
        ok && files_list(w[0].r.c, &f, a.words + 1, a.count - 1) && draw_sheet(w, runs, &f, rows, masks, png);
    int count = f.count;
    if (w[0].open) fv_free(w[0].r.c, f.at);
    for (int k = 0; k < runs && ok && masks; k++)
        print_run(&w[k], &iou_of[k], cli_value(&a, "--json") != NULL, k + 1 == runs);
    if (ok && !cli_value(&a, "--json")) printf("%s\n", png);
    else if (ok && !masks) printf("{\"pictures\":%d,\"final\":true}\n", count);
    for (int k = 0; k < runs; k++) {
        insight_end(&w[k].s);
        if (w[k].open) bad = run_end(&w[k].r), status = status > 0 ? status : bad;
    }
    return status < 0 ? 0 : status;
}
