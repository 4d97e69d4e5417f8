/* report.c -- what the runs of a plan came to: reading, statistics, the table. */
#include "report.h"
#include "corrupt.h"
#include "data/npy.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ---- */
static double number(const fv_json *j, const char *key, double otherwise) {
    return fv_json_number(j, fv_json_get(j, fv_json_root(j), key), otherwise);
}
/* losses of the log, mean over each of at most MAX_CURVE equal parts */
/* strstr between p and end: a mapped file has no NUL behind it */
static const char *find_within(const char *p, const char *end, const char *text) {
    size_t n = strlen(text);
    for (; (size_t)(end - p) >= n; p++)
        if (!memcmp(p, text, n)) return p;
    return NULL;
}

static void read_curve(fv_ctx *c, const char *path, outcome *o) {
    fv_file f;
    if (!fv_file_open(c, path, &f)) return;
    const char *end = (const char *)f.data + f.size, *line;
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        int n = 0, in = 0, each = o->steps / MAX_CURVE + 1;
        for (const char *p = (const char *)f.data;
             p < end && (line = (const char *)memchr(p, '\n', (size_t)(end - p))) != NULL; p = line + 1) {
            const char *loss = find_within(p, line, "\"loss\":");
            if (!loss || !find_within(loss, line, "\"grad_norm\":")) continue; /* a line of test measures */
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
    if (npy_parse(c, path, f.data, f.size, &a) &&
        (o->score = (float *)fv_alloc(c, (size_t)(a.count + 1) * sizeof(float))))
        for (o->items = 0; o->items < a.count; o->items++)
            o->score[o->items] = (float)npy_value(&a, o->items);
    fv_file_close(c, &f);
}
static void read_corrupted(fv_ctx *c, const char *path, outcome *o) {
    fv_json *j = fv_json_open(c, path);
    fv_jnode mean = j ? fv_json_get(j, fv_json_root(j), "mean_error") : 0;
    for (int k = 0; mean && k < CORRUPT_KINDS; k++)
        o->error[k] = fv_json_number(j, fv_json_get(j, mean, corrupt_name(k)), NAN);
    o->corrupted = mean != 0;
    fv_json_free(c, j);
}
static outcome *read_run(fv_ctx *c, report *p, const arm *a, int seed, fv_text *lines) {
    char dir[4200], path[4400];
    outcome *o = (outcome *)fv_alloc(c, sizeof *o);
    fv_file f;
    snprintf(dir, sizeof dir, "%s/%s-%d", p->out, a->name, seed),
        snprintf(path, sizeof path, "%s/result.json", dir);
    fv_json *j = o ? fv_json_open(c, path) : NULL;
    if (!j) return NULL;
    fv_jnode first = fv_json_first(j, fv_json_root(j));
    if (!*p->headline && first) snprintf(p->headline, sizeof p->headline, "%.31s", fv_json_key(j, first));
    fv_jnode loss = fv_json_get(j, fv_json_root(j), "loss"); /* some tasks have none */
    o->headline = number(j, p->headline, NAN), o->loss = fv_json_number(j, loss, NAN),
    o->speed = number(j, "images_per_s", 0);
    o->mb = number(j, "peak_memory_mb", 0), o->trained = number(j, "trainable_parameters", 0),
    o->frozen = number(j, "frozen_parameters", 0);
    fv_json_free(c, j);
    if (fv_file_open(c, path, &f)) {
        size_t n = f.size;
        while (n && strchr("\n ", ((const char *)f.data)[n - 1])) n--;
        fv_text_add(c, lines,
                    "{\"task\":\"%s\",\"arm\":\"%s\",\"variant\":\"%s\",\"seed\":%d,\"lr_scale\":%.6g,%.*s\n",
                    p->task, a->name, a->variant, seed, a->lr_scale > 0 ? a->lr_scale : 1,
                    (int)(n ? n - 1 : 0), (const char *)f.data + 1);
        fv_file_close(c, &f);
    }
    snprintf(path, sizeof path, "%s/log.jsonl", dir), read_curve(c, path, o);
    snprintf(path, sizeof path, "%s/scores.npy", dir), read_scores(c, path, o);
    snprintf(path, sizeof path, "%s/corrupt.json", dir);
    if (p->corrupt) read_corrupted(c, path, o);
    return o;
}

/* ---- statistics ---- */
double report_trial_scale(const report *p, int k) { return pow(3, k - (p->trials - 1) / 2); }

int report_less_is_better(const char *headline) {
    return strstr(headline, "ADE") || strstr(headline, "FDE") || strstr(headline, "loss") ||
           !strcmp(headline, "MR");
}
int report_paired(const report *p) {
    return *p->sweep &&
           p->arm[0].sets > 0; /* in a sweep of the stage the first is base, which sets nothing */
}
int report_pictured(const report *p) {
    for (int i = 0; i < p->arms; i++)
        if (!strcmp(p->arm[i].variant, "llm")) return i;
    return p->arms - 1;
}
int report_verdict(const report *p, const arm *a) {
    int sign = report_less_is_better(p->headline) ? -1 : 1;
    return a->low > 0 && a->t_low > 0 ? sign : a->high < 0 && a->t_high < 0 ? -sign : 0; /* NAN: 0 */
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
/* place q (0..1) between the sorted numbers, linearly, as NumPy's percentile */
static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}
void bootstrap(fv_ctx *c, float *const *a, float *const *b, int seeds, int64_t items, int draws, double *mean,
               double *low, double *high) {
    double *value = (double *)fv_alloc(c, (size_t)draws * sizeof *value), all = 0;
    *mean = *low = *high = 0;
    if (!value || items < 1) return;
    for (int s = 0; s < seeds; s++)
        for (int64_t i = 0; i < items; i++) all += (double)(a[s][i] - b[s][i]);
    *mean = all / seeds / (double)items;
    fv_rng r = {1, 77, 0};
    for (int d = 0; d < draws; d++) {
        int pick[MAX_SEEDS];
        double sum = 0;
        for (int s = 0; s < seeds; s++) pick[s] = (int)fv_rng_below(&r, (uint32_t)seeds);
        for (int64_t i = 0; i < items; i++) {
            uint32_t k = fv_rng_below(&r, (uint32_t)items);
            for (int s = 0; s < seeds; s++) sum += (double)(a[pick[s]][k] - b[pick[s]][k]);
        }
        value[d] = sum / seeds / (double)items;
    }
    qsort(value, (size_t)draws, sizeof *value, by_value);
    *low = quantile(value, draws, 0.025), *high = quantile(value, draws, 0.975);
    fv_free(c, value);
}

static void mean_and_sd(const double *x, int n, double *mean, double *sd) {
    *mean = *sd = 0;
    for (int i = 0; i < n; i++) *mean += x[i] / n;
    for (int i = 0; i < n; i++) *sd += (x[i] - *mean) * (x[i] - *mean);
    *sd = n > 1 ? sqrt(*sd / (n - 1)) : 0;
}
void student(const double *x, int n, double *low, double *high) {
    /* the 0.975 quantiles of 1 to 31 degrees of freedom */
    static const double of[MAX_SEEDS - 1] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                             2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                             2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                             2.060,  2.056, 2.052, 2.048, 2.045, 2.042, 2.040};
    double mean, sd;
    mean_and_sd(x, n, &mean, &sd);
    double half = n > 1 ? of[n - 2] * sd / sqrt(n) : NAN;
    *low = mean - half, *high = mean + half;
}
/* the difference to its reference: an interval from two seeds on, and only where every run noted its
 * scores */
static void compute_difference(fv_ctx *c, report *p, arm *a, const arm *ref) {
    float *mine[MAX_SEEDS], *other[MAX_SEEDS];
    double apart[MAX_SEEDS];
    int64_t items = a->run[0]->items;
    int whole = p->seeds > 1;
    for (int s = 0; s < p->seeds; s++) {
        mine[s] = a->run[s]->score, other[s] = ref->run[s]->score;
        apart[s] = a->run[s]->headline - ref->run[s]->headline;
        whole &= mine[s] && other[s] && a->run[s]->items == items && ref->run[s]->items == items;
    }
    a->diff = a->mean - ref->mean;
    if (!whole) return;
    double by_items;
    bootstrap(c, mine, other, p->seeds, items, items > 5000 ? 1000 : 4000, &by_items, &a->low, &a->high);
    student(apart, p->seeds, &a->t_low, &a->t_high);
    /* the scores are of another measure than the headline */
    if (fabs(by_items - a->diff) > 0.02) a->low = a->high = a->t_low = a->t_high = NAN;
}
/* ImageNet-C's: for each kind the error divided by the reference's, mean over kinds; paired by seed */
static void compute_corruption(const report *p, arm *a, const arm *ref) {
    double mce[MAX_SEEDS];
    for (int s = 0; s < p->seeds; s++) {
        mce[s] = 0;
        if (!a->run[s]->corrupted || !ref->run[s]->corrupted) return;
        for (int k = 0; k < CORRUPT_KINDS; k++)
            mce[s] += corrupt_ratio(a->run[s]->error[k], ref->run[s]->error[k]) / CORRUPT_KINDS;
    }
    mean_and_sd(mce, p->seeds, &a->mce, &a->mce_sd);
}
static void compute(fv_ctx *c, report *p) {
    for (int i = 0; i < p->arms; i++) {
        arm *a = &p->arm[i];
        double value[MAX_SEEDS];
        for (int s = 0; s < p->seeds; s++) value[s] = a->run[s]->headline;
        mean_and_sd(value, p->seeds, &a->mean, &a->sd);
        a->diff = a->low = a->high = a->t_low = a->t_high = a->mce = NAN;
        if (a->ref != i) compute_difference(c, p, a, &p->arm[a->ref]); /* a reference stands before */
        compute_corruption(p, a, &p->arm[a->ref]);
    }
}

/* ---- the table ---- */
cost report_cost(const report *p, const arm *a) {
    cost k = {0, 0, 0};
    for (int s = 0; s < p->seeds; s++) {
        k.speed += a->run[s]->speed / p->seeds, k.loss += a->run[s]->loss / p->seeds;
        if (a->run[s]->mb > k.mb) k.mb = a->run[s]->mb;
    }
    return k;
}
static void print_json(const report *p) {
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        const cost k = report_cost(p, a);
        printf("{\"arm\":\"%s\",\"variant\":\"%s\",\"%s\":%.6g,\"seeds\":%d", a->name, a->variant,
               p->headline, a->mean, p->seeds);
        if (p->seeds > 1) printf(",\"sd\":%.6g", a->sd);
        if (a->ref != i) printf(",\"against\":\"%s\",\"difference\":%.6g", p->arm[a->ref].name, a->diff);
        if (!isnan(a->low)) printf(",\"low\":%.6g,\"high\":%.6g", a->low, a->high);
        if (!isnan(a->t_low)) printf(",\"t_low\":%.6g,\"t_high\":%.6g", a->t_low, a->t_high);
        if (p->corrupt) printf(isnan(a->mce) ? ",\"mce\":null" : ",\"mce\":%.6g", a->mce);
        if (p->trials) printf(",\"lr_scale\":%.6g", a->lr_scale);
        if (strcmp(p->headline, "loss")) printf(isnan(k.loss) ? ",\"loss\":null" : ",\"loss\":%.6g", k.loss);
        printf(",\"trainable_parameters\":%.0f,\"frozen_parameters\":%.0f,\"images_per_s\":%.6g,"
               "\"peak_memory_mb\":%.6g,\"final\":%s}\n",
               a->run[0]->trained, a->run[0]->frozen, k.speed, k.mb, i + 1 == p->arms ? "true" : "false");
    }
}
static void print_table(const report *p) {
    printf("%-22s %9s %7s %10s %19s %19s %8s %9s %9s %8s %8s", "arm", p->headline, "sd", "difference",
           "95 % interval", "t over seeds", "loss", "trained", "frozen", "items/s", "peak MB");
    printf("%s%s\n", p->trials ? "   lr x" : "", p->corrupt ? "    mCE" : "");
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        const cost k = report_cost(p, a);
        char between[64] = "-", seeds[64] = "-", diff[32] = "-", sd[32] = "-", loss[32] = "-";
        if (!isnan(k.loss)) snprintf(loss, sizeof loss, "%.4f", k.loss);
        if (a->ref != i) snprintf(diff, sizeof diff, "%+.3f", a->diff);
        if (p->seeds > 1) snprintf(sd, sizeof sd, "%.3f", a->sd);
        if (!isnan(a->low)) snprintf(between, sizeof between, "%+.3f .. %+.3f", a->low, a->high);
        if (!isnan(a->t_low)) snprintf(seeds, sizeof seeds, "%+.3f .. %+.3f", a->t_low, a->t_high);
        printf("%-22s %9.3f %7s %10s %19s %19s %8s %9.0f %9.0f %8.0f %8.0f", a->name, a->mean, sd, diff,
               between, seeds, loss, a->run[0]->trained, a->run[0]->frozen, k.speed, k.mb);
        if (p->trials) printf(" %6.3g", a->lr_scale);
        if (p->corrupt) printf(isnan(a->mce) ? "    n/a" : " %6.1f", a->mce);
        printf("\n");
    }
    if (p->seeds == 1)
        printf("one seed: seeds alone move results, so no interval is given; --seeds 5 --resume adds more\n");
    printf("%s/report.html\n", p->out);
}

static void save(fv_ctx *c, const report *p, const char *name, fv_text *t) {
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", p->out, name);
    if (!fv_error(c) && t->size) fv_write_file(c, path, t->data, t->size);
}
void report_write(fv_ctx *c, report *p, int json) {
    enum { LINES, EFFECT, ARMS, CURVES, TABLE, PAGE, TEXTS };
    static const char *const name[TEXTS] = {"results.jsonl", "effect.svg", "arms.svg",
                                            "curves.svg",    "table.md",   "report.html"};
    fv_text text[TEXTS];
    memset(text, 0, sizeof text);
    for (int i = 0; i < p->arms; i++)
        for (int s = 0; s < p->seeds; s++)
            if (!(p->arm[i].run[s] = read_run(c, p, &p->arm[i], s, &text[LINES]))) return;
            else if (isnan(p->arm[i].run[s]->headline))
                fv_fail(c, FV_EFORMAT, "%s/%s-%d/result.json: %s is no finite number", p->out, p->arm[i].name,
                        s, *p->headline ? p->headline : "the first figure");
    if (fv_error(c)) return;
    compute(c, p);
    plot_effect(c, p, &text[EFFECT]), plot_arms(c, p, &text[ARMS]), plot_curves(c, p, &text[CURVES]),
        table_markdown(c, p, &text[TABLE]);
    if (!fv_error(c)) page_write(c, p, &text[EFFECT], &text[ARMS], &text[CURVES], &text[PAGE]);
    for (int i = 0; i < TEXTS; i++) save(c, p, name[i], &text[i]), fv_text_free(c, &text[i]);
    if (!fv_error(c) && json) print_json(p);
    if (!fv_error(c) && !json) print_table(p);
    for (int i = 0; i < p->arms; i++)
        for (int s = 0; s < p->seeds; s++) fv_free(c, p->arm[i].run[s]->score), fv_free(c, p->arm[i].run[s]);
}
