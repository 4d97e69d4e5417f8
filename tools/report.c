#include "report.h"
#include "data/npy.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const colour[] = {"#1f5fa8", "#c8501e", "#2f8f4e", "#8a4fa3", "#7a6a00", "#b03060", "#3a8fa0", "#555555"};

/* ---- reading ---- */
static double number(const fv_json *j, const char *key) { return fv_json_number(j, fv_json_get(j, fv_json_root(j), key), 0); }
/* losses of the log, mean over each of at most MAX_CURVE equal parts */
static void read_curve(fv_ctx *c, const char *path, outcome *o) {
    fv_file f;
    if (!fv_file_open(c, path, &f)) return;
    const char *end = (const char *)f.data + f.size, *line;
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        int n = 0, in = 0, each = o->steps / MAX_CURVE + 1;
        for (const char *p = (const char *)f.data; p < end && (line = (const char *)memchr(p, '\n', (size_t)(end - p))) != NULL; p = line + 1) {
            const char *loss = strstr(p, "\"loss\":"), *norm = loss ? strstr(loss, "\"grad_norm\":") : NULL;
            if (!norm || norm >= line) continue; /* a line of test measures */
            if (pass == 0) o->steps++;
            else if (sum += strtod(loss + 7, NULL), in++, ++n == o->steps || in == each) {
                if (o->points < MAX_CURVE) o->curve[o->points++] = (float)(sum / in);
                sum = 0, in = 0;
            }
        }
    }
    fv_file_close(c, &f);
}
static void read_scores(fv_ctx *c, const char *path, outcome *o) {
    fv_file f;
    npy a;
    if (access(path, F_OK) || !fv_file_open(c, path, &f)) return;
    if (npy_parse(c, path, f.data, f.size, &a) && (o->score = (float *)fv_alloc(c, (size_t)(a.count + 1) * sizeof(float))))
        for (o->items = 0; o->items < a.count; o->items++) o->score[o->items] = (float)npy_value(&a, o->items);
    fv_file_close(c, &f);
}
static outcome *read_run(fv_ctx *c, report *p, const arm *a, int seed, fv_text *lines) {
    char path[4400];
    outcome *o = (outcome *)fv_alloc(c, sizeof *o);
    fv_file f;
    snprintf(path, sizeof path, "%s/%s-%d/result.json", p->out, a->name, seed);
    fv_json *j = o ? fv_json_open(c, path) : NULL;
    if (!j) return NULL;
    fv_jnode first = fv_json_first(j, fv_json_root(j));
    if (!*p->headline && first) snprintf(p->headline, sizeof p->headline, "%.31s", fv_json_key(j, first));
    o->headline = number(j, p->headline), o->loss = number(j, "loss"), o->speed = number(j, "images_per_s"), o->mb = number(j, "peak_memory_mb");
    o->trained = number(j, "trainable_parameters"), o->frozen = number(j, "frozen_parameters");
    fv_json_free(c, j);
    if (fv_file_open(c, path, &f)) {
        size_t n = f.size;
        while (n && strchr("\n ", ((const char *)f.data)[n - 1])) n--;
        fv_text_add(c, lines, "{\"task\":\"%s\",\"arm\":\"%s\",\"variant\":\"%s\",\"seed\":%d,%.*s\n", p->task, a->name, a->variant, seed, (int)(n ? n - 1 : 0), (const char *)f.data + 1);
        fv_file_close(c, &f);
    }
    snprintf(path, sizeof path, "%s/%s-%d/log.jsonl", p->out, a->name, seed);
    read_curve(c, path, o);
    snprintf(path, sizeof path, "%s/%s-%d/scores.npy", p->out, a->name, seed);
    read_scores(c, path, o);
    return o;
}

/* ---- statistics ---- */
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
void bootstrap(fv_ctx *c, float *const *a, float *const *b, int seeds, int64_t items, int draws, double *mean, double *low, double *high) {
    double *value = (double *)fv_alloc(c, (size_t)draws * sizeof *value), all = 0;
    *mean = *low = *high = 0;
    if (!value || items < 1) return;
    for (int s = 0; s < seeds; s++)
        for (int64_t i = 0; i < items; i++) all += (double)(a[s][i] - b[s][i]);
    *mean = all / seeds / (double)items;
    fv_rng r = {1, 77, 0};
    for (int d = 0; d < draws; d++) {
        int pick[64];
        double sum = 0;
        for (int s = 0; s < seeds; s++) pick[s] = (int)fv_rng_below(&r, (uint32_t)seeds);
        for (int64_t i = 0; i < items; i++) {
            uint32_t k = fv_rng_below(&r, (uint32_t)items);
            for (int s = 0; s < seeds; s++) sum += (double)(a[pick[s]][k] - b[pick[s]][k]);
        }
        value[d] = sum / seeds / (double)items;
    }
    qsort(value, (size_t)draws, sizeof *value, by_value);
    *low = value[(int)(0.025 * draws)], *high = value[(int)(0.975 * draws)];
    fv_free(c, value);
}
static void compute(fv_ctx *c, report *p) {
    for (int i = 0; i < p->arms; i++) {
        arm *a = &p->arm[i];
        float *mine[MAX_SEEDS], *first[MAX_SEEDS];
        int whole = i > 0;
        a->mean = a->sd = 0;
        for (int s = 0; s < p->seeds; s++) a->mean += a->run[s]->headline / p->seeds;
        for (int s = 0; s < p->seeds; s++) {
            a->sd += (a->run[s]->headline - a->mean) * (a->run[s]->headline - a->mean);
            mine[s] = a->run[s]->score, first[s] = p->arm[0].run[s]->score;
            whole &= mine[s] && first[s] && a->run[s]->items == p->arm[0].run[s]->items;
        }
        a->sd = p->seeds > 1 ? sqrt(a->sd / (p->seeds - 1)) : 0;
        a->diff = a->mean - p->arm[0].mean, a->low = a->high = NAN;
        int64_t items = a->run[0]->items;
        if (whole) bootstrap(c, mine, first, p->seeds, items, items > 5000 ? 500 : 2000, &a->diff, &a->low, &a->high);
    }
}

/* ---- plots ---- */
static void begin_svg(fv_ctx *c, fv_text *t, double W, double H, const char *title, double L) {
    fv_text_add(c, t, "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g' font-family='sans-serif' font-size='13'>\n"
                      "<rect width='100%%' height='100%%' fill='white'/><text x='%g' y='28' font-size='17'>%s</text>\n", W, H, W, H, L, title);
}
static void curves_svg(fv_ctx *c, const report *p, fv_text *t) {
    const double W = 760, H = 420, L = 70, R = 20, T = 50, B = 60;
    double low = 1e30, high = -1e30;
    int steps = 1, shown = p->arms < 8 ? p->arms : 8;
    for (int i = 0; i < shown; i++)
        for (int s = 0; s < p->seeds; s++) {
            const outcome *o = p->arm[i].run[s];
            if (o->steps > steps) steps = o->steps;
            for (int k = o->points / 20; k < o->points; k++) low = fmin(low, (double)o->curve[k]), high = fmax(high, (double)o->curve[k]);
        }
    if (!(high > low)) high = low + 1;
    begin_svg(c, t, W, H, "Training loss", L);
    for (int i = 0; i <= 5; i++) {
        double y = T + (H - T - B) * i / 5, x = L + (W - L - R) * i / 5;
        fv_text_add(c, t, "<path d='M%g %gH%g' stroke='#ddd'/><text x='%g' y='%g' text-anchor='end'>%.3g</text><text x='%g' y='%g' text-anchor='middle'>%d</text>\n", L, y, W - R, L - 8, y + 4,
                    high - (high - low) * i / 5, x, H - B + 20, steps * i / 5);
    }
    fv_text_add(c, t, "<text x='%g' y='%g' text-anchor='middle'>step</text>\n", (L + W - R) / 2, H - 16);
    for (int i = 0; i < shown; i++) {
        for (int s = 0; s < p->seeds; s++) {
            const outcome *o = p->arm[i].run[s];
            double mean = 0;
            fv_text_add(c, t, "<polyline fill='none' stroke='%s' stroke-width='1.5' opacity='%.2f' points='", colour[i], s ? 0.35 : 1.0);
            for (int k = 0; k < o->points; k++) {
                mean = k ? mean + ((double)o->curve[k] - mean) / (k < 10 ? k + 1 : 10) : (double)o->curve[k];
                fv_text_add(c, t, "%.1f,%.1f ", L + (W - L - R) * (k + 0.5) / o->points * o->steps / steps, T + (H - T - B) * (high - fmin(mean, high)) / (high - low));
            }
            fv_text_add(c, t, "'/>\n");
        }
        fv_text_add(c, t, "<path d='M%g %dh24' stroke='%s' stroke-width='3'/><text x='%g' y='%d'>%s</text>\n", W - 190, 60 + 20 * i, colour[i], W - 160, 64 + 20 * i, p->arm[i].name);
    }
    fv_text_add(c, t, "</svg>\n");
}
/* the headline figure of every arm: a dot for each seed, the mean as a line, one standard deviation as a bar; the first arm's mean goes across */
static void arms_svg(fv_ctx *c, const report *p, fv_text *t) {
    const double L = 70, T = 50, B = 110, each = p->arms > 16 ? 26 : 64, W = L + 30 + each * p->arms, H = 420;
    double low = 1e30, high = -1e30;
    for (int i = 0; i < p->arms; i++)
        for (int s = 0; s < p->seeds; s++) low = fmin(low, p->arm[i].run[s]->headline), high = fmax(high, p->arm[i].run[s]->headline);
    double pad = fmax((high - low) * 0.15, 1e-3);
    low -= pad, high += pad;
    begin_svg(c, t, W > 420 ? W : 420, H, p->headline, L);
    for (int i = 0; i <= 5; i++) {
        double y = T + (H - T - B) * i / 5;
        fv_text_add(c, t, "<path d='M%g %gH%g' stroke='#ddd'/><text x='%g' y='%g' text-anchor='end'>%.2f</text>\n", L, y, W - 20, L - 8, y + 4, high - (high - low) * i / 5);
    }
#define FV_Y(v) (T + (H - T - B) * (high - (v)) / (high - low))
    fv_text_add(c, t, "<path d='M%g %gH%g' stroke='%s' stroke-dasharray='5 4'/>\n", L, FV_Y(p->arm[0].mean), W - 20, colour[0]);
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        double x = L + each * (i + 0.5);
        const char *ink = colour[i == 0 ? 0 : 1];
        fv_text_add(c, t, "<path d='M%g %gV%g' stroke='%s' stroke-width='2'/><path d='M%g %gh%g' stroke='%s' stroke-width='3'/>\n", x, FV_Y(a->mean - a->sd), FV_Y(a->mean + a->sd), ink, x - each / 4, FV_Y(a->mean),
                    each / 2, ink);
        for (int s = 0; s < p->seeds; s++) fv_text_add(c, t, "<circle cx='%g' cy='%g' r='3' fill='%s' opacity='.5'/>\n", x + (s % 2 ? 6 : -6), FV_Y(a->run[s]->headline), ink);
        fv_text_add(c, t, "<text transform='translate(%g %g) rotate(-40)' text-anchor='end'>%s</text>\n", x + 4, H - B + 18, a->name);
    }
#undef FV_Y
    fv_text_add(c, t, "</svg>\n");
}

/* ---- the page ---- */
static void base64(fv_ctx *c, fv_text *t, const uint8_t *d, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char out[4096];
    size_t k = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)d[i] << 16 | (i + 1 < n ? (uint32_t)d[i + 1] << 8 : 0) | (i + 2 < n ? d[i + 2] : 0);
        for (int b = 0; b < 4; b++) out[k++] = i + (size_t)b > n ? '=' : digit[v >> (18 - 6 * b) & 63];
        if (k > sizeof out - 8 || i + 3 >= n) fv_text_add(c, t, "%.*s", (int)k, out), k = 0;
    }
}
static const char *verdict(const arm *a) { return isnan(a->low) ? "" : a->low > 0 ? "above" : a->high < 0 ? "below" : "no difference shown"; }
static void page(fv_ctx *c, const report *p, const fv_text *curves, const fv_text *arms, fv_text *t) {
    char path[4400];
    fv_file f;
    fv_text_add(c, t, "<!doctype html><html lang='en'><meta charset='utf-8'><title>%s: fv compare</title>\n<style>body{font:15px/1.45 sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}"
                      "table{border-collapse:collapse}td,th{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
                      "img,svg{max-width:100%%;height:auto}@media print{body{margin:0}svg,img,table{break-inside:avoid}}</style>\n"
                      "<h1>%s: %d arms, %d seed%s</h1>\n", p->task, p->task, p->arms, p->seeds, p->seeds > 1 ? "s" : "");
    fv_text_add(c, t, "<p>Each arm was trained with the same data in the same order, the same initial weights of the shared part and the same budget. The difference is to <b>%s</b>, paired by "
                      "seed and test item; its 95&nbsp;%% interval is a bootstrap over seeds and test items. An interval that holds 0 shows no difference.</p>\n", p->arm[0].name);
    fv_text_add(c, t, "<table><tr><th>arm<th>%s<th>sd<th>difference<th>95 %% interval<th><th>loss<th>trained<th>frozen<th>items/s<th>MB</tr>\n", p->headline);
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        const outcome *o = a->run[0];
        fv_text_add(c, t, "<tr><td>%s<td>%.3f<td>%.3f", a->name, a->mean, a->sd);
        if (i && !isnan(a->low)) fv_text_add(c, t, "<td>%+.3f<td>%+.3f to %+.3f<td>%s", a->diff, a->low, a->high, verdict(a));
        else fv_text_add(c, t, i ? "<td>%+.3f<td>&ndash;<td>" : "<td>&ndash;<td>&ndash;<td>", a->diff);
        fv_text_add(c, t, "<td>%.4f<td>%.0f<td>%.0f<td>%.0f<td>%.0f</tr>\n", o->loss, o->trained, o->frozen, o->speed, o->mb);
    }
    fv_text_add(c, t, "</table>\n<p>loss, parameters, speed and memory are those of seed 0.</p>\n<h2>%s by arm</h2>%s<h2>Training</h2>%s", p->headline, arms->data, curves->data);
    snprintf(path, sizeof path, "%s/predictions.png", p->out);
    if (!access(path, F_OK) && fv_file_open(c, path, &f)) {
        fv_text_add(c, t, "<h2>What %s predicts</h2><p>Test items 0 to 11, seed 0.</p><img alt='predictions' src='data:image/png;base64,", p->arm[p->arms - 1].name);
        base64(c, t, f.data, f.size);
        fv_text_add(c, t, "'>\n");
        fv_file_close(c, &f);
    }
    fv_text_add(c, t, "</html>\n");
}

static void save(fv_ctx *c, const report *p, const char *name, const fv_text *t) {
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", p->out, name);
    if (!fv_error(c)) fv_write_file(c, path, t->data, t->size);
}
static void print_table(const report *p, int json) {
    if (!json) printf("%-16s %10s %8s %10s %20s %8s %9s %8s %10s %10s\n", "arm", p->headline, "sd", "difference", "95 % interval", "loss", "images/s", "peak MB", "trained", "frozen");
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        const outcome *o = a->run[0];
        char between[64] = "-", diff[32] = "-";
        if (i) snprintf(diff, sizeof diff, "%+.3f", a->diff);
        if (i && !isnan(a->low)) snprintf(between, sizeof between, "%+.3f .. %+.3f", a->low, a->high);
        if (!json) printf("%-16s %10.3f %8.3f %10s %20s %8.4f %9.0f %8.0f %10.0f %10.0f\n", a->name, a->mean, a->sd, diff, between, o->loss, o->speed, o->mb, o->trained, o->frozen);
        else {
            printf("{\"arm\":\"%s\",\"variant\":\"%s\",\"%s\":%.6g,\"sd\":%.6g,\"difference\":%.6g", a->name, a->variant, p->headline, a->mean, a->sd, a->diff);
            if (i && !isnan(a->low)) printf(",\"low\":%.6g,\"high\":%.6g", a->low, a->high);
            printf(",\"trainable_parameters\":%.0f,\"frozen_parameters\":%.0f,\"images_per_s\":%.6g,\"final\":%s}\n", o->trained, o->frozen, o->speed, i + 1 == p->arms ? "true" : "false");
        }
    }
    if (!json) printf("%s/report.html\n", p->out);
}

void report_write(fv_ctx *c, report *p, int json) {
    fv_text lines = {NULL, 0, 0}, curves = {NULL, 0, 0}, arms = {NULL, 0, 0}, html = {NULL, 0, 0};
    for (int i = 0; i < p->arms; i++)
        for (int s = 0; s < p->seeds; s++)
            if (!(p->arm[i].run[s] = read_run(c, p, &p->arm[i], s, &lines))) return;
    compute(c, p);
    curves_svg(c, p, &curves), arms_svg(c, p, &arms);
    if (!fv_error(c)) page(c, p, &curves, &arms, &html);
    save(c, p, "results.jsonl", &lines), save(c, p, "curves.svg", &curves), save(c, p, "arms.svg", &arms), save(c, p, "report.html", &html);
    if (!fv_error(c)) print_table(p, json);
    fv_text_free(c, &lines), fv_text_free(c, &curves), fv_text_free(c, &arms), fv_text_free(c, &html);
    for (int i = 0; i < p->arms; i++)
        for (int s = 0; s < p->seeds; s++) fv_free(c, p->arm[i].run[s]->score), fv_free(c, p->arm[i].run[s]);
}
