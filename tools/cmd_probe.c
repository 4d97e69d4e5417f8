/* fv probe: what the stage does to tokens and gradients, run by run, so that the LLM's block can be held
 * against random and shuffled ones. */
#define _GNU_SOURCE
#include "cli.h"
#include "data/pictures.h"
#include "insight.h"
#include "measures.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum probe_measure {
    GRAD_OUT,
    GRAD_IN,
    GRAD_PARAMS,
    GRAD_SKIPPED,
    CKA,
    RANK_BEFORE,
    RANK_AFTER,
    ON_OBJECT_BLOCK,
    ON_OBJECT_STAGE,
    OBJECT_AREA,
    PROBES
} probe_measure;
/* of each measure: name for --json, head of the table's column, what it is */
static const char *const probe_text[PROBES][3] = {
    {"gradient_cosine_after", "grad out", "mean cosine of samples' gradients, at the stage's output"},
    {"gradient_cosine_before", "grad in", "the same at its input: after they went back through it"},
    {"gradient_cosine_encoder", "encoder",
     "the same for the weights of the encoder's block before the stage"},
    {"gradient_cosine_skipped", "skipped", "the same weights, with the stage left out"},
    {"cka", "CKA",
     "linear CKA of the tokens before and after the stage: 1 is the same up to rotation and scale"},
    {"rank_before", "rank in", "effective rank of the tokens before the stage"},
    {"rank_after", "rank out", "effective rank after F2"},
    {"attention_on_object_encoder", "obj enc",
     "percent of the class token's attention on the object, in the encoder's last block"},
    {"attention_on_object_stage", "obj LLM", "the same in the LLM's block"},
    {"object_area", "obj area",
     "percent of the patches that are the object: what attention without aim would give it"}};
static const char *const panel_title[PROBES] = {"gradient cosine, stage's output",
                                                "gradient cosine, stage's input",
                                                "gradient cosine, encoder's weights",
                                                "the same, stage left out",
                                                "CKA, before and after the stage",
                                                "effective rank before",
                                                "effective rank after F2",
                                                "% attention on object, encoder",
                                                "% attention on object, LLM",
                                                "% of patches that are object"};
typedef struct probe {
    char dir[256], variant[32];
    double value[PROBES];
    int items;
} probe;

/* ---- gradients ---- */
/* the loss of test items, with its backward pass; 1 or 0 */
static int one_pass(run *r, insight *s, const int32_t *index, int n) {
    batch b;
    memset(&b, 0, sizeof b), b.with_loss = 1;
    fv_reset(r->c);
    insight_clear(s);
    fv_tensor *y = r->task->batch(r, SPLIT_TEST, index, n, -1, &b) ? run_forward(r, &b) : NULL,
              *loss = run_loss(r, y, &b);
    if (loss) fv_backward(r->c, loss);
    return !fv_error(r->c);
}
/* which parameters, "blocks.3.": those of the encoder's block before the stage; without a stage, of the last
 * block */
static void block_name(const run *r, char *name, size_t n) {
    int depth = (int)number_of(&r->s, 'm', "depth", 12), after = r->model->stage.after_block;
    snprintf(name, n, "blocks.%d.", (after ? after : depth) - 1);
}
static int64_t copy_gradients(const run *r, const char *prefix, float *to) { /* to NULL: only counts */
    int64_t n = 0;
    for (int i = 0; i < r->model->params.count; i++) {
        const fv_tensor *t = r->model->params.at[i];
        if (strncmp(t->name, prefix, strlen(prefix))) continue;
        for (int64_t k = 0; k < fv_numel(t); k++, n++)
            if (to) to[n] = t->grad ? ((const float *)t->grad)[k] : 0;
    }
    return n;
}
/* mean cosine over single items' gradients of the encoder's block; skip: with the stage left out */
static double encoder_cosine(run *r, insight *s, const int32_t *index, int n, int skip) {
    char prefix[32];
    struct fv_frozen *stage = r->model->frozen;
    block_name(r, prefix, sizeof prefix);
    int64_t each = copy_gradients(r, prefix, NULL);
    float *g = (float *)fv_alloc(r->c, (size_t)(each * n) * sizeof *g);
    if (skip) r->model->frozen = NULL;
    for (int i = 0; g && i < n; i++) {
        fv_zero_grad(&r->model->params);
        if (!one_pass(r, s, &index[i], 1)) break;
        copy_gradients(r, prefix, g + i * each);
    }
    r->model->frozen = stage;
    fv_zero_grad(&r->model->params);
    double cosine = g && !fv_error(r->c) && each ? mean_cosine(g, n, each) : NAN;
    fv_free(r->c, g);
    return cosine;
}

/* ---- tokens ---- */
/* rows of all items' tokens; at most MOST_ROWS, evenly taken */
enum { MOST_ROWS = 2048 };
static float *some_rows(fv_ctx *c, const float *x, int rows, int width, int kept) {
    float *out = (float *)fv_alloc(c, (size_t)kept * (size_t)width * sizeof *out);
    for (int i = 0; out && i < kept; i++)
        memcpy(out + (size_t)i * (size_t)width, x + (size_t)((int64_t)i * rows / kept) * (size_t)width,
               (size_t)width * sizeof *out);
    return out;
}
static void token_measures(fv_ctx *c, const insight *s, probe *p) {
    int rows = s->items * s->tokens, kept = rows < MOST_ROWS ? rows : MOST_ROWS, d = s->width[AT_BEFORE];
    float *before = s->x[AT_BEFORE] ? some_rows(c, s->x[AT_BEFORE], rows, d, kept) : NULL;
    float *after = s->x[AT_F2] ? some_rows(c, s->x[AT_F2], rows, d, kept) : NULL;
    if (before) p->value[RANK_BEFORE] = effective_rank(before, kept, d);
    if (after) p->value[RANK_AFTER] = effective_rank(after, kept, d);
    if (before && after) p->value[CKA] = linear_cka(before, d, after, d, kept);
    fv_free(c, before), fv_free(c, after);
}

static int probe_data(viewer *w, int items, probe *p) {
    run *r = &w->r;
    int32_t index[256];
    if (!run_open_data(r)) return 0;
    int n = items < r->count[SPLIT_TEST] ? items : r->count[SPLIT_TEST], single = n < 48 ? n : 48;
    for (int i = 0; i < n; i++) index[i] = (int32_t)((int64_t)i * r->count[SPLIT_TEST] / n);
    p->items = n;
    fv_no_grad(r->c, 0);
    if (!one_pass(r, &w->s, index, n)) return 0;
    token_measures(r->c, &w->s, p);
    int64_t each = (int64_t)w->s.tokens * w->s.width[AT_BEFORE];
    if (w->s.grad_out) p->value[GRAD_OUT] = mean_cosine(w->s.grad_out, n, each);
    if (w->s.grad_in) p->value[GRAD_IN] = mean_cosine(w->s.grad_in, n, each);
    p->value[GRAD_PARAMS] = encoder_cosine(r, &w->s, index, single, 0);
    if (r->model->frozen) p->value[GRAD_SKIPPED] = encoder_cosine(r, &w->s, index, single, 1);
    fv_no_grad(r->c, 1);
    return !fv_error(r->c);
}

/* ---- attention on the object ---- */
static int probe_masks(viewer *w, const char *folder, const char *masks, probe *p) {
    fv_ctx *c = w->r.c;
    files f = {NULL, 0, 0};
    double sum[INSIGHT_SCORES] = {0, 0}, area = 0, row[MOST_TOKENS];
    int S = viewer_size(w), C = viewer_channels(w), counted = 0;
    uint8_t *picture = (uint8_t *)fv_alloc(c, (size_t)(S * S * C)), truth[MOST_TOKENS];
    if (picture && files_list(c, &f, &folder, 1))
        for (int i = 0; i < f.count && !fv_error(c); i++) {
            if (!viewer_truth(w, f.at[i], masks, truth) ||
                !picture_fit(c, f.at[i], S, viewer_crop(w), C, picture) || !viewer_look(w, picture))
                continue;
            for (int k = 0; k < INSIGHT_SCORES; k++) {
                if (w->s.scores[k]) insight_class_row(&w->s, k, 0, row);
                sum[k] += w->s.scores[k] ? 100 * share_on(row, truth, w->s.tokens - 1) : NAN;
            }
            for (int k = 0; k + 1 < w->s.tokens; k++) area += 100.0 * truth[k] / (w->s.tokens - 1);
            counted++;
        }
    p->value[OBJECT_AREA] = area / counted;
    for (int k = 0; k < INSIGHT_SCORES; k++) p->value[ON_OBJECT_BLOCK + k] = sum[k] / counted;
    fv_free(c, picture), fv_free(c, f.at);
    return !fv_error(c);
}

/* ---- results ---- */
static void print_table(const probe *p, int n) {
    printf("%-30s %-9s", "run", "variant");
    for (int k = 0; k < PROBES; k++) printf(" %9s", probe_text[k][1]);
    printf("\n");
    for (int i = 0; i < n; i++) {
        printf("%-30s %-9s", p[i].dir, p[i].variant);
        for (int k = 0; k < PROBES; k++) {
            if (isnan(p[i].value[k])) printf(" %9s", "-");
            else printf(k < RANK_BEFORE ? " %9.4f" : " %9.2f", p[i].value[k]);
        }
        printf("\n");
    }
    for (int k = 0; k < PROBES; k++) printf("  %-9s %s\n", probe_text[k][1], probe_text[k][2]);
}
static void print_json(const probe *p, int n) {
    for (int i = 0; i < n; i++) {
        printf("{\"run\":");
        cli_print_json_string(p[i].dir);
        printf(",\"variant\":\"%s\",\"items\":%d", p[i].variant, p[i].items);
        for (int k = 0; k < PROBES; k++)
            if (!isnan(p[i].value[k])) printf(",\"%s\":%.6g", probe_text[k][0], p[i].value[k]);
        printf(",\"final\":%s}\n", i + 1 == n ? "true" : "false");
    }
}
/* ---- the plot: a panel for each measure, variants across, a dot for each run ---- */
enum { PANEL_W = 190, PANEL_H = 140 };
static int variants_of(const probe *p, int n, char name[CLI_MANY][32]) {
    int count = 0;
    for (int i = 0; i < n; i++) {
        int known = 0;
        for (int v = 0; v < count; v++) known |= !strcmp(name[v], p[i].variant);
        if (!known) memcpy(name[count++], p[i].variant, 32);
    }
    return count;
}
static void panel(fv_ctx *c, fv_text *t, const probe *p, int n, int k, double x, double y) {
    static const char *const ink[] = {"#1f5fa8", "#c8501e", "#2f8f4e", "#8a4fa3",
                                      "#7a6a00", "#b03060", "#3a8fa0", "#555555"};
    double low = 0, high = 0;
    char name[CLI_MANY][32];
    int variants = variants_of(p, n, name);
    for (int i = 0; i < n; i++)
        if (!isnan(p[i].value[k])) low = fmin(low, p[i].value[k]), high = fmax(high, p[i].value[k]);
    if (!(high > low)) high = low + 1;
    double zero = PANEL_H * high / (high - low);
    fv_text_add(
        c, t,
        "<g transform='translate(%g %g)'><text x='-30' y='-14' font-size='12'>%s</text><path d='M0 0V%dM0 "
        "%.1fH%d' stroke='#999'/>",
        x, y, panel_title[k], PANEL_H, zero, PANEL_W);
    fv_text_add(c, t,
                "<text x='-6' y='8' text-anchor='end'>%.3g</text><text x='-6' y='%.1f' text-anchor='end'>"
                "%.3g</text>\n",
                high, low < 0 ? PANEL_H : zero + 4, low);
    for (int v = 0; v < variants; v++) {
        double at = PANEL_W * (v + 0.5) / variants;
        fv_text_add(c, t, "<text x='%.1f' y='%d' text-anchor='middle' font-size='10'>%s</text>", at,
                    PANEL_H + 18, name[v]);
        for (int i = 0; i < n; i++)
            if (!strcmp(name[v], p[i].variant) && !isnan(p[i].value[k]))
                fv_text_add(c, t, "<circle cx='%.1f' cy='%.1f' r='4' fill='%s' opacity='.7'/>", at,
                            zero - PANEL_H * p[i].value[k] / (high - low), ink[v % 8]);
    }
    fv_text_add(c, t, "</g>\n");
}
static int write_svg(fv_ctx *c, const probe *p, int n, const char *path) {
    int shown[PROBES], panels = 0;
    fv_text t = {NULL, 0, 0};
    for (int k = 0; k < PROBES; k++)
        for (int i = 0; i < n; i++)
            if (!isnan(p[i].value[k]) && (!panels || shown[panels - 1] != k)) shown[panels++] = k;
    int height = 50 + 205 * ((panels + 2) / 3);
    fv_text_add(
        c, &t,
        "<svg xmlns='http://www.w3.org/2000/svg' width='800' height='%d' viewBox='0 0 800 %d' "
        "font-family='DejaVu Sans,Arial,sans-serif' font-size='11'>"
        "<rect width='100%%' height='100%%' fill='white'/><text x='16' y='24' font-size='15'>What the "
        "stage does: a dot for each run</text>\n",
        height, height);
    for (int i = 0; i < panels; i++) panel(c, &t, p, n, shown[i], 60 + 255 * (i % 3), 72 + 205 * (i / 3));
    fv_text_add(c, &t, "</svg>\n");
    int ok = !fv_error(c) && fv_write_file(c, path, t.data, t.size);
    fv_text_free(c, &t);
    return ok;
}

/* one run, opened, probed, closed; the status to exit with */
static int probe_run(const char *dir, int threads, int items, const char *folder, const char *masks,
                     probe *p) {
    static viewer w;
    memset(&w, 0, sizeof w), memset(p, 0, sizeof *p);
    for (int k = 0; k < PROBES; k++) p->value[k] = NAN;
    snprintf(p->dir, sizeof p->dir, "%.255s", dir);
    if (viewer_open(&w, dir, threads)) {
        char name[32];
        snprintf(p->variant, sizeof p->variant, "%s",
                 text_of(&w.r.s, 't', "variant", "llm", name, sizeof name));
        fv_autocast(w.r.c, FV_F32); /* gradients are compared: in f32 */
        if (probe_data(&w, items, p) && folder) probe_masks(&w, folder, masks, p);
    }
    insight_end(&w.s);
    return run_end(&w.r);
}

int cmd_probe(int argc, char **argv) {
    cli_option options[] = {
        {"--items", "N", "test items, at most 256 (default 128)", NULL},
        {"--pictures", "DIR", "pictures for --masks: the share of attention on the object", NULL},
        {"--masks", "DIR", "PNG masks by the pictures' names", NULL},
        {"--svg", "FILE", "a plot (default: none); must not exist", NULL},
        {"--threads", "N", "all cores unless said", NULL},
        {"--json", NULL, "JSON lines", NULL},
        {NULL, NULL, NULL, NULL}};
    cli a = {
        "fv probe RUN... [options]",
        "For each run: how alike the gradients of different samples are before and behind the stage, in "
        "the encoder's weights with the stage and without it; how alike\n"
        "tokens are before and after it (CKA); their effective rank; and, with masks, how much attention "
        "lies on the object. Give runs of llm, random and shuffled together.",
        options,
        {NULL},
        0};
    static probe p[CLI_MANY];
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    const char *folder = cli_value(&a, "--pictures"), *masks = cli_value(&a, "--masks"),
               *svg = cli_value(&a, "--svg");
    int threads = (int)cli_int(&a, "--threads", 0, 1, &bad),
        items = (int)cli_int(&a, "--items", 128, 2, &bad);
    if (a.count < 1) return cli_fail(2, "runs' folders are wanted; usage: %s", a.usage);
    if (!folder != !masks) return cli_fail(2, "--pictures and --masks go together");
    if (bad || items > 256) return bad ? 2 : cli_fail(2, "--items: at most 256");
    if (svg && cli_taken(svg, "another --svg is wanted")) return 2;
    for (int i = 0; i < a.count; i++)
        if ((status = probe_run(a.words[i], threads, items, folder, masks, &p[i]))) return status;
    if (cli_value(&a, "--json")) print_json(p, a.count);
    else print_table(p, a.count);
    if (!svg) return 0;
    fv_ctx *c = fv_create(NULL);
    write_svg(c, p, a.count, svg);
    return cli_end(c);
}
