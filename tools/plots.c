/* plots.c -- fv compare's plots as SVG, readable in black and white too: intervals, dots for seeds,
 * curves. */
#include "report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const palette[] = {"#1f5fa8", "#c8501e", "#2f8f4e", "#8a4fa3",
                                      "#7a6a00", "#b03060", "#3a8fa0", "#555555"};
static const char *ink(int i) { return palette[i % 8]; }
/* green better, red worse, grey not shown to differ */
static const char *verdict_ink(const report *p, const arm *a) {
    int v = report_verdict(p, a);
    return v > 0 ? "#1a7f37" : v < 0 ? "#cf222e" : "#6e7781";
}

/* ---- axes ---- */
typedef struct axis {
    double low, high, from, to; /* values, and where they stand */
} axis;
static double place(const axis *a, double v) {
    return a->from + (a->to - a->from) * (v - a->low) / (a->high - a->low);
}
static void widen(axis *a, double v) { a->low = fmin(a->low, v), a->high = fmax(a->high, v); }
static void pad(axis *a) {
    double more = fmax((a->high - a->low) * 0.08, 1e-3);
    a->low -= more, a->high += more;
}
/* 1, 2 or 5 times a power of ten, for about `count` ticks */
static double tick_step(const axis *a, int count) {
    double rough = (a->high - a->low) / count, power = pow(10, floor(log10(rough))), lead = rough / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}
static void begin_svg(fv_ctx *c, fv_text *t, double w, double h, const char *title) {
    fv_text_add(c, t,
                "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g' "
                "font-family='DejaVu Sans,Arial,sans-serif' font-size='13'>\n",
                w, h, w, h);
    fv_text_add(c, t,
                "<rect width='100%%' height='100%%' fill='white'/><text x='16' y='24' font-size='15'>"
                "%s</text>\n",
                title);
}
static void grid_across(fv_ctx *c, fv_text *t, const axis *y, double left, double right) {
    double step = tick_step(y, 5);
    for (double v = ceil(y->low / step) * step; v <= y->high; v += step)
        fv_text_add(c, t,
                    "<path d='M%.1f %.1fH%.1f' stroke='#e3e3e3'/><text x='%.1f' y='%.1f' text-anchor='end'>"
                    "%.6g</text>\n",
                    left, place(y, v), right, left - 8, place(y, v) + 4, fabs(v) < step / 2 ? 0 : v);
}
static void grid_down(fv_ctx *c, fv_text *t, const axis *x, double top, double bottom) {
    double step = tick_step(x, 6);
    for (double v = ceil(x->low / step) * step; v <= x->high; v += step)
        fv_text_add(c, t,
                    "<path d='M%.1f %.1fV%.1f' stroke='#e3e3e3'/><text x='%.1f' y='%.1f' "
                    "text-anchor='middle'>"
                    "%.4g</text>\n",
                    place(x, v), top, bottom, place(x, v), bottom + 18, fabs(v) < step / 2 ? 0 : v);
}
static double sd_of(const report *p, const arm *a) { return p->seeds > 1 ? a->sd : 0; }

/* ---- a sweep: values across, a line for each variant ---- */
static void line_names(const report *p, int *count, const char *list[16]) {
    *count = 0;
    for (int i = 0; i < p->arms; i++) {
        int known = !*p->arm[i].value;
        for (int k = 0; k < *count; k++) known |= !strcmp(list[k], p->arm[i].variant);
        if (!known && *count < 16) list[(*count)++] = p->arm[i].variant;
    }
}
static int value_index(const report *p, const arm *a) { /* among the values, in the plan's order */
    int at = 0;
    for (const arm *b = p->arm; b < a; b++) {
        int seen = !*b->value || !strcmp(b->value, a->value);
        for (const arm *d = p->arm; d < b && !seen; d++) seen = !strcmp(d->value, b->value);
        at += !seen;
    }
    return at;
}
static int value_count(const report *p) {
    int most = 0;
    for (int i = 0; i < p->arms; i++)
        if (*p->arm[i].value && value_index(p, &p->arm[i]) >= most) most = value_index(p, &p->arm[i]) + 1;
    return most;
}
/* What a sweep's plot shows: the headline with one standard deviation, or the difference with its
 * interval. */
typedef struct sweep_plot {
    const report *p;
    int difference, lines, values;
    const char *variant[16];  /* of each line */
    double left, width, each; /* each: the width of one value */
    axis y;
} sweep_plot;
static int is_shown(const sweep_plot *g, const arm *a) { /* a reference differs from nothing */
    return *a->value && !(g->difference && a == &g->p->arm[a->ref]);
}
static double middle(const sweep_plot *g, const arm *a) { return g->difference ? a->diff : a->mean; }
static double end_of(const sweep_plot *g, const arm *a, int high) {
    double bound = high ? a->high : a->low;
    if (g->difference) return isnan(bound) ? a->diff : bound;
    return a->mean + (high ? 1 : -1) * sd_of(g->p, a);
}
static sweep_plot sweep_plot_of(const report *p, int difference, double top, double bottom) {
    sweep_plot g;
    memset(&g, 0, sizeof g);
    g.p = p, g.difference = difference, g.values = value_count(p), g.left = 74;
    g.each = g.values > 12 ? 30 : g.values > 6 ? 64 : 110;
    g.width = fmax(g.left + 40 + g.each * g.values, 520);
    g.y.low = INFINITY, g.y.high = -INFINITY, g.y.from = bottom, g.y.to = top;
    line_names(p, &g.lines, g.variant);
    for (int i = 0; i < p->arms; i++)
        if (is_shown(&g, &p->arm[i]) || !difference)
            widen(&g.y, end_of(&g, &p->arm[i], 0)), widen(&g.y, end_of(&g, &p->arm[i], 1));
    if (difference) widen(&g.y, 0);
    pad(&g.y);
    return g;
}
/* base beside a sweep of the stage: its mean and deviation as a band */
static void draw_band(fv_ctx *c, fv_text *t, const sweep_plot *g, const arm *a) {
    double top = place(&g->y, end_of(g, a, 1)), bottom = place(&g->y, end_of(g, a, 0)), right = g->width - 20;
    fv_text_add(c, t, "<rect x='%g' width='%g' y='%.1f' height='%.1f' fill='%s' opacity='.15'/>", g->left,
                right - g->left, top, fmax(bottom - top, 1), ink(7));
    fv_text_add(c, t, "<path d='M%g %.1fH%g' stroke='#222' stroke-dasharray='6 4'/>", g->left,
                place(&g->y, a->mean), right);
    fv_text_add(c, t, "<text x='%g' y='%.1f' text-anchor='end'>%s</text>\n", right - 4,
                place(&g->y, a->mean) - 5, a->name);
}
/* line k with its error bars; 0: it has no point */
static int draw_series(fv_ctx *c, fv_text *t, const sweep_plot *g, int k) {
    double shift = g->lines > 1 ? (k - (g->lines - 1) / 2.0) * fmin(8, g->each / 6) : 0;
    int points = 0;
    for (int bars = 0; bars < 2; bars++) { /* the line first, so that it lies below */
        if (!bars) fv_text_add(c, t, "<polyline fill='none' stroke='%s' opacity='.6' points='", ink(k));
        for (int i = 0; i < g->p->arms; i++) {
            const arm *a = &g->p->arm[i];
            if (strcmp(a->variant, g->variant[k]) || !is_shown(g, a)) continue;
            double x = g->left + g->each * (value_index(g->p, a) + 0.5) + shift,
                   y = place(&g->y, middle(g, a));
            points++;
            if (!bars) fv_text_add(c, t, "%.1f,%.1f ", x, y);
            else
                fv_text_add(c, t,
                            "<path d='M%.1f %.1fV%.1fm-4 0h8M%.1f %.1fh8' stroke='%s' stroke-width='1.5'/>"
                            "<circle cx='%.1f' cy='%.1f' r='4' fill='%s'/>\n",
                            x, place(&g->y, end_of(g, a, 0)), place(&g->y, end_of(g, a, 1)), x - 4,
                            place(&g->y, end_of(g, a, 0)), ink(k), x, y, ink(k));
        }
        if (!bars) fv_text_add(c, t, "'/>\n");
    }
    return points > 0;
}
/* the values below the axis, each once */
static void draw_values(fv_ctx *c, fv_text *t, const sweep_plot *g, double y) {
    for (int i = 0; i < g->p->arms; i++) {
        const arm *a = &g->p->arm[i];
        int first = *a->value != 0;
        for (int j = 0; j < i; j++) first &= strcmp(g->p->arm[j].value, a->value) != 0;
        if (first)
            fv_text_add(c, t, "<text x='%.1f' y='%g' text-anchor='middle' font-size='%d'>%s</text>\n",
                        g->left + g->each * (value_index(g->p, a) + 0.5), y, g->values > 12 ? 11 : 13,
                        a->value);
    }
}
static void plot_sweep(fv_ctx *c, const report *p, fv_text *t, int difference) {
    const double H = 400, bottom = H - 70;
    sweep_plot g = sweep_plot_of(p, difference, 66, bottom);
    const arm *first = &p->arm[0];
    char title[200];
    const char *s = p->seeds > 1 ? "s" : "";
    if (difference)
        snprintf(title, sizeof title, "%s: difference to %s%s", p->headline, first->variant,
                 *s ? ", bars 95 % intervals" : "");
    else
        snprintf(title, sizeof title, "%s: mean over %d seed%s%s", p->headline, p->seeds, s,
                 *s ? ", bars one standard deviation" : "");
    begin_svg(c, t, g.width, H, title);
    grid_across(c, t, &g.y, g.left, g.width - 20);
    if (difference)
        fv_text_add(c, t, "<path d='M%g %.1fH%g' stroke='#222' stroke-dasharray='6 4'/>\n", g.left,
                    place(&g.y, 0), g.width - 20);
    else if (!*first->value) draw_band(c, t, &g, first);
    for (int k = 0, at = 0; k < g.lines; k++)
        if (draw_series(c, t, &g, k)) {
            fv_text_add(c, t, "<circle cx='%g' cy='46' r='4' fill='%s'/><text x='%g' y='50'>%s</text>\n",
                        g.left + 10 + 100 * at, ink(k), g.left + 20 + 100 * at, g.variant[k]);
            at++;
        }
    draw_values(c, t, &g, bottom + 20);
    fv_text_add(c, t, "<text x='%g' y='%g' text-anchor='middle'>%s</text></svg>\n",
                (g.left + g.width - 20) / 2, H - 18, p->sweep);
}

/* ---- variants: one row each, its difference and interval, as in a forest plot ---- */
static void plot_forest(fv_ctx *c, const report *p, fv_text *t) {
    const double L = 150, W = 760, T = 48, row = 34, R = 190, H = T + row * (p->arms - 1) + 66;
    axis x = {0, 0, L, W - R};
    char title[160];
    for (int i = 0; i < p->arms; i++)
        if (p->arm[i].ref != i)
            widen(&x, isnan(p->arm[i].low) ? p->arm[i].diff : p->arm[i].low),
                widen(&x, isnan(p->arm[i].high) ? p->arm[i].diff : p->arm[i].high);
    pad(&x);
    snprintf(title, sizeof title, "%s: difference to %s%s", p->headline, p->arm[0].name,
             p->seeds > 1 ? ", with its 95 % interval" : " (one seed: no interval)");
    begin_svg(c, t, W, H, title);
    grid_down(c, t, &x, T, H - 62);
    fv_text_add(c, t, "<path d='M%.1f %gV%g' stroke='#222' stroke-dasharray='6 4'/>\n", place(&x, 0), T - 6,
                H - 62);
    for (int i = 0, at = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        double y = T + row * (at + 0.5);
        if (a->ref == i) continue;
        at++;
        const char *colour = verdict_ink(p, a);
        fv_text_add(c, t, "<text x='%g' y='%.1f' text-anchor='end'>%s</text>", L - 14, y + 4, a->name);
        if (!isnan(a->low))
            fv_text_add(c, t,
                        "<path d='M%.1f %.1fH%.1fm0 -5v10M%.1f %.1fv10' stroke='%s' "
                        "stroke-width='2.5'/>",
                        place(&x, a->low), y, place(&x, a->high), place(&x, a->low), y - 5, colour);
        fv_text_add(c, t,
                    "<circle cx='%.1f' cy='%.1f' r='5' fill='%s'/><text x='%g' y='%.1f' fill='%s'>"
                    "%+.2f",
                    place(&x, a->diff), y, colour, W - R + 14, y + 4, colour, a->diff);
        if (!isnan(a->low)) fv_text_add(c, t, " (%+.2f to %+.2f)", a->low, a->high);
        fv_text_add(c, t, "</text>\n");
    }
    const char *left = report_less_is_better(p->headline) ? "better" : "worse",
               *right = report_less_is_better(p->headline) ? "worse" : "better";
    fv_text_add(c, t,
                "<text x='%.1f' y='%g' text-anchor='end' fill='#555'>&#8592; %s than %s</text><text x='%.1f' "
                "y='%g' fill='#555'>%s &#8594;</text></svg>\n",
                place(&x, 0) - 8, H - 20, left, p->arm[0].name, place(&x, 0) + 8, H - 20, right);
}
void plot_effect(fv_ctx *c, const report *p, fv_text *t) {
    if (*p->sweep) plot_sweep(c, p, t, 1);
    else if (p->arms > 1) plot_forest(c, p, t);
}

/* a dot for each seed, the mean as a line; the reference's mean goes across */
void plot_arms(fv_ctx *c, const report *p, fv_text *t) {
    if (*p->sweep) {
        plot_sweep(c, p, t, 0);
        return;
    }
    const double L = 74, T = 48, B = 60, each = 86, W = fmax(L + 30 + each * p->arms, 460), H = 380;
    axis y = {INFINITY, -INFINITY, H - B, T};
    char title[160];
    for (int i = 0; i < p->arms; i++)
        for (int s = 0; s < p->seeds; s++) widen(&y, p->arm[i].run[s]->headline);
    pad(&y);
    snprintf(title, sizeof title, "%s: each seed, and the mean as a line", p->headline);
    begin_svg(c, t, W, H, title);
    grid_across(c, t, &y, L, W - 20);
    fv_text_add(c, t, "<path d='M%g %.1fH%g' stroke='#222' stroke-dasharray='6 4'/>\n", L,
                place(&y, p->arm[0].mean), W - 20);
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        double x = L + each * (i + 0.5);
        fv_text_add(c, t, "<path d='M%.1f %.1fh40' stroke='%s' stroke-width='3'/>", x - 20,
                    place(&y, a->mean), ink(i));
        for (int s = 0; s < p->seeds; s++)
            fv_text_add(c, t, "<circle cx='%.1f' cy='%.1f' r='4' fill='%s' opacity='.55'/>",
                        x + (p->seeds > 1 ? 24.0 * s / (p->seeds - 1) - 12 : 0),
                        place(&y, a->run[s]->headline), ink(i));
        fv_text_add(c, t, "<text x='%.1f' y='%g' text-anchor='middle'>%s</text>\n", x, H - B + 24, a->name);
    }
    fv_text_add(c, t, "</svg>\n");
}

/* ---- training loss: seed 0 of at most 8 arms, smoothed ---- */
void plot_curves(fv_ctx *c, const report *p, fv_text *t) {
    const double W = 760, H = 400, L = 74, T = 44, B = 56, R = 150;
    int shown = p->arms < 8 ? p->arms : 8, steps = 1;
    axis y = {INFINITY, -INFINITY, H - B, T};
    for (int i = 0; i < shown; i++) {
        const outcome *o = p->arm[i].run[0];
        if (o->steps > steps) steps = o->steps;
        for (int k = o->points / 20; k < o->points; k++) widen(&y, (double)o->curve[k]);
    }
    if (!(y.high > y.low)) y.low = 0, y.high = 1;
    begin_svg(c, t, W, H,
              p->arms > 8 ? "Training loss, seed 0 of the first 8 arms" : "Training loss, seed 0");
    grid_across(c, t, &y, L, W - R);
    for (int i = 0; i <= 5; i++)
        fv_text_add(c, t, "<text x='%.1f' y='%g' text-anchor='middle'>%d</text>", L + (W - L - R) * i / 5,
                    H - B + 20, steps * i / 5);
    fv_text_add(c, t, "<text x='%g' y='%g' text-anchor='middle'>step</text>\n", (L + W - R) / 2, H - 14);
    for (int i = 0; i < shown; i++) {
        const outcome *o = p->arm[i].run[0];
        double mean = 0;
        fv_text_add(c, t, "<polyline fill='none' stroke='%s' stroke-width='1.5' points='", ink(i));
        for (int k = 0; k < o->points; k++) {
            mean = k ? mean + ((double)o->curve[k] - mean) / (k < 5 ? k + 1 : 5) : (double)o->curve[k];
            fv_text_add(c, t, "%.1f,%.1f ", L + (W - L - R) * (k + 0.5) / o->points * o->steps / steps,
                        place(&y, fmin(mean, y.high)));
        }
        fv_text_add(c, t,
                    "'/><path d='M%g %dh22' stroke='%s' stroke-width='3'/><text x='%g' y='%d'>"
                    "%s</text>\n",
                    W - R + 12, 60 + 20 * i, ink(i), W - R + 40, 64 + 20 * i, p->arm[i].name);
    }
    fv_text_add(c, t, "</svg>\n");
}
