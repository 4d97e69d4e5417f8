/* page.c -- fv compare's report.html: one self-contained page, no script; first what was asked and what
 * came out, then the figures behind it. */
#include "report.h"
#include "corrupt.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char style[] =
    "body{font:16px/1.5 'DejaVu Sans',Arial,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;"
    "color:#1f2328}"
    "h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.15em;margin-top:1.6em;border-bottom:1px solid "
    "#d0d7de}"
    "table{border-collapse:collapse;font-size:.85em}td,th{padding:.25em .7em;text-align:right;"
    "border-bottom:1px solid #d0d7de}"
    "td:first-child,th:first-child{text-align:left}.answer{background:#f6f8fa;border-left:4px solid "
    "#1f5fa8;padding:.6em 1em}"
    ".better{color:#1a7f37}.worse{color:#cf222e}.none{color:#57606a}code{font-size:.85em;"
    "background:#f6f8fa;padding:.1em .3em;overflow-wrap:anywhere}"
    "svg,img{max-width:100%;height:auto}small{color:#57606a}"
    "@media "
    "print{body{margin:0;max-width:none;font-size:11pt}h2,h2+p{break-after:avoid}svg,img,table,.answer{break-"
    "inside:avoid}"
    ".answer{border:1px solid #888}table{font-size:.74em}td,th{padding:.25em .35em}}";

static void base64(fv_ctx *c, fv_text *t, const uint8_t *d, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char out[4096];
    size_t k = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v =
            (uint32_t)d[i] << 16 | (i + 1 < n ? (uint32_t)d[i + 1] << 8 : 0) | (i + 2 < n ? d[i + 2] : 0);
        for (int b = 0; b < 4; b++) out[k++] = i + (size_t)b > n ? '=' : digit[v >> (18 - 6 * b) & 63];
        if (k > sizeof out - 8 || i + 3 >= n) fv_text_add(c, t, "%.*s", (int)k, out), k = 0;
    }
}
static void escaped(fv_ctx *c, fv_text *t, const char *s) {
    for (; *s; s++) fv_text_add(c, t, *s == '<' ? "&lt;" : *s == '&' ? "&amp;" : "%c", *s);
}
static const char *class_of(int verdict) { return verdict > 0 ? "better" : verdict < 0 ? "worse" : "none"; }

/* "llm: 0.42 above base (+0.11 to +0.73): better" */
static void say_difference(fv_ctx *c, const report *p, const arm *a, fv_text *t) {
    static const char *const says[] = {"worse", "no difference shown", "better"};
    int v = report_verdict(p, a);
    fv_text_add(c, t, "<li><b>%s</b> is %.2f %s %s", a->name, fabs(a->diff), a->diff < 0 ? "below" : "above",
                p->arm[a->ref].name);
    if (isnan(a->low))
        fv_text_add(c, t, "; how sure that is, %s does not tell</li>\n",
                    p->seeds > 1 ? "this task" : "one seed");
    else
        fv_text_add(c, t,
                    " (95&nbsp;%% interval %+.2f to %+.2f, over seeds alone %+.2f to %+.2f): <b "
                    "class='%s'>%s</b></li>\n",
                    a->low, a->high, a->t_low, a->t_high, class_of(v), says[v + 1]);
}
static void answer(fv_ctx *c, const report *p, fv_text *t) {
    int best = 0, counted[3] = {0, 0, 0}, compared = 0, less = report_less_is_better(p->headline);
    for (int i = 0; i < p->arms; i++) {
        if (less ? p->arm[i].mean < p->arm[best].mean : p->arm[i].mean > p->arm[best].mean) best = i;
        if (p->arm[i].ref != i) counted[report_verdict(p, &p->arm[i]) + 1]++, compared++;
    }
    fv_text_add(c, t, "<div class='answer'><b>What came out.</b> The best mean is that of <b>%s</b>: %s %.2f",
                p->arm[best].name, p->headline, p->arm[best].mean);
    if (p->arm[best].ref != best)
        fv_text_add(c, t, ", against %.2f of %s", p->arm[p->arm[best].ref].mean,
                    p->arm[p->arm[best].ref].name);
    fv_text_add(c, t, ".");
    if (p->seeds > 1)
        fv_text_add(
            c, t,
            " Of %d arms, %d are shown to be better than what they are compared with, %d worse; for %d no "
            "difference is shown.",
            compared, counted[2], counted[0], counted[1]);
    if (compared <= 12) {
        fv_text_add(c, t, "<ul>\n");
        for (int i = 0; i < p->arms; i++)
            if (p->arm[i].ref != i) say_difference(c, p, &p->arm[i], t);
        fv_text_add(c, t, "</ul>");
    }
    if (p->seeds == 1)
        fv_text_add(
            c, t,
            "<p><b>One seed.</b> Another seed moves such figures by as much as most differences here; "
            "nothing is shown by this page yet.</p>");
    fv_text_add(c, t, "</div>\n");
}
static void question(fv_ctx *c, const report *p, fv_text *t) {
    fv_text_add(c, t, "<h1>%s: what is compared", p->task);
    if (*p->sweep) fv_text_add(c, t, " by %s", p->sweep);
    fv_text_add(c, t, "</h1>\n<p>%d arms, %d seed%s each. %s on the test split, %s is better. ", p->arms,
                p->seeds, p->seeds > 1 ? "s" : "", p->headline,
                report_less_is_better(p->headline) ? "less" : "more");
    fv_text_add(c, t,
                "%s see the same data in the same order, start from the same weights in the part they share, "
                "and train for the same number of steps.</p>\n",
                report_paired(p) ? "At each value all variants" : "All arms");
}
static void meaning(fv_ctx *c, const report *p, fv_text *t) {
    static const char *const about[][2] = {
        {"base", "the encoder alone, no block"},
        {"linear", "two linear maps in the block's place, nothing between them"},
        {"mlp", "two linear maps with GELU and a norm between: as many trained parameters as llm"},
        {"llm", "a block of the language model, frozen"},
        {"random", "the same block, frozen, its matrices redrawn with each one's mean and deviation"},
        {"shuffled", "the same block, frozen, the entries of each matrix in random order"},
        {"finetune", "the language model's block, trained too"},
        {"scratch", "the block from random weights, trained too"}};
    fv_text_add(c, t, "<p><small>");
    for (size_t k = 0; k < sizeof about / sizeof *about; k++) {
        int used = 0;
        for (int i = 0; i < p->arms; i++) used |= !strcmp(p->arm[i].variant, about[k][0]);
        if (used) fv_text_add(c, t, "<b>%s</b>: %s. ", about[k][0], about[k][1]);
    }
    fv_text_add(c, t, "</small></p>\n");
}

/* ---- tables ---- */
static void loss_text(const cost *k, char text[32]) {
    snprintf(text, 32, isnan(k->loss) ? "" : "%.3f", k->loss);
}
static void between(fv_ctx *c, fv_text *t, const char *before, double low, double high) {
    fv_text_add(c, t, "%s", before);
    if (!isnan(low)) fv_text_add(c, t, "%+.2f to %+.2f", low, high);
}
static void table(fv_ctx *c, const report *p, fv_text *t) {
    fv_text_add(c, t,
                "<table><tr><th>arm<th>%s<th>sd<th>difference<th>95 %% interval<th>t over "
                "seeds<th>loss<th>trained<th>frozen<th>"
                "items/s<th>peak MB%s</tr>\n",
                p->headline, p->trials ? "<th>lr &times;" : "");
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        const outcome *o = a->run[0];
        const cost k = report_cost(p, a);
        char loss[32];
        loss_text(&k, loss);
        fv_text_add(c, t, "<tr><td>%s<td>%.2f<td>", a->name, a->mean);
        if (p->seeds > 1) fv_text_add(c, t, "%.2f", a->sd);
        if (a->ref != i) fv_text_add(c, t, "<td class='%s'>%+.2f", class_of(report_verdict(p, a)), a->diff);
        else fv_text_add(c, t, "<td>");
        between(c, t, "<td>", a->low, a->high), between(c, t, "<td>", a->t_low, a->t_high);
        fv_text_add(c, t, "<td>%s<td>%.0f<td>%.0f<td>%.0f<td>%.0f", loss, o->trained / 1e3, o->frozen / 1e3,
                    k.speed, k.mb);
        if (p->trials) fv_text_add(c, t, "<td>%.3g", a->lr_scale);
        fv_text_add(c, t, "</tr>\n");
    }
    fv_text_add(
        c, t,
        "</table>\n<p><small>sd: over seeds. loss: on the test split. trained, frozen: "
        "thousands of parameters. items/s: in training, here. peak MB: of memory, the greatest of all "
        "seeds.</small></p>\n");
}
void table_markdown(fv_ctx *c, const report *p, fv_text *t) {
    fv_text_add(c, t,
                "| arm | %s | sd | difference | 95 %% interval | t over seeds | loss | trained | frozen | "
                "items/s | peak MB |%s%s\n"
                "|---|---|---|---|---|---|---|---|---|---|---|%s%s\n",
                p->headline, p->trials ? " lr x |" : "", p->corrupt ? " mCE |" : "", p->trials ? "---|" : "",
                p->corrupt ? "---|" : "");
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        const cost k = report_cost(p, a);
        char loss[32];
        loss_text(&k, loss);
        fv_text_add(c, t, "| %s | %.2f | ", a->name, a->mean);
        if (p->seeds > 1) fv_text_add(c, t, "%.2f | ", a->sd);
        else fv_text_add(c, t, "| ");
        if (a->ref != i) fv_text_add(c, t, "%+.2f", a->diff);
        between(c, t, " | ", a->low, a->high), between(c, t, " | ", a->t_low, a->t_high);
        fv_text_add(c, t, " | %s | %.0f | %.0f | %.0f | %.0f |", loss, a->run[0]->trained, a->run[0]->frozen,
                    k.speed, k.mb);
        if (p->trials) fv_text_add(c, t, " %.3g |", a->lr_scale);
        if (p->corrupt) fv_text_add(c, t, isnan(a->mce) ? " n/a |" : " %.1f |", a->mce);
        fv_text_add(c, t, "\n");
    }
}
static void corruption(fv_ctx *c, const report *p, fv_text *t) {
    fv_text_add(c, t, "<h2>Under corruptions</h2>\n<table><tr><th>arm");
    for (int k = 0; k < CORRUPT_KINDS; k++) fv_text_add(c, t, "<th>%s", corrupt_name(k));
    fv_text_add(c, t, "<th>mCE</tr>\n");
    for (int i = 0; i < p->arms; i++) {
        const arm *a = &p->arm[i];
        fv_text_add(c, t, "<tr><td>%s", a->name);
        for (int k = 0; k < CORRUPT_KINDS; k++) {
            double sum = 0;
            for (int s = 0; s < p->seeds; s++) sum += a->run[s]->error[k] / p->seeds;
            fv_text_add(c, t, "<td>%.1f", sum);
        }
        fv_text_add(c, t, isnan(a->mce) ? "<td>n/a</tr>\n" : "<td>%.1f</tr>\n", a->mce);
    }
    fv_text_add(
        c, t,
        "</table>\n<p><small>Errors in percent, mean over five severities and all seeds. mCE: each "
        "error divided by that of what the arm is compared with, mean over the "
        "five kinds, times 100: under 100 is more robust; n/a where that other error is 0.</small></p>\n");
}
static void tuning(fv_ctx *c, const report *p, fv_text *t) {
    int last = p->trials - 1;
    char edges[1024] = "";
    fv_text_add(c, t,
                "<h2>Learning rates</h2>\n<p>Each arm had the same number of trials, %d, with one seed, on "
                "training items; a tenth of these was held out to choose by. The test split was looked at "
                "once, at the end.</p>\n<table><tr><th>arm",
                p->trials);
    for (int k = 0; k < p->trials; k++) fv_text_add(c, t, "<th>lr &times; %.3g", report_trial_scale(p, k));
    fv_text_add(c, t, "</tr>\n");
    for (int i = 0; i < p->arms; i++) {
        fv_text_add(c, t, "<tr><td>%s", p->arm[i].name);
        for (int k = 0; k < p->trials; k++) {
            int chosen = fabs(report_trial_scale(p, k) - p->arm[i].lr_scale) < 1e-6;
            if (isnan(p->arm[i].trial[k])) fv_text_add(c, t, "<td>not finite");
            else fv_text_add(c, t, chosen ? "<td><b>%.2f</b>" : "<td>%.2f", p->arm[i].trial[k]);
            if (chosen && last && (k == 0 || k == last))
                snprintf(edges + strlen(edges), sizeof edges - strlen(edges), "%s%s", *edges ? ", " : "",
                         p->arm[i].name);
        }
        fv_text_add(c, t, "</tr>\n");
    }
    fv_text_add(c, t, "</table>\n");
    if (*edges)
        fv_text_add(c, t, "<p>At the edge of what was tried, so that a rate beyond may be better: %s.</p>\n",
                    edges);
}

static void picture(fv_ctx *c, const report *p, fv_text *t) {
    char path[4400];
    int shown = report_pictured(p);
    fv_file f;
    snprintf(path, sizeof path, "%s/%s-0.png", p->out, p->arm[shown].name);
    if (access(path, F_OK) || !fv_file_open(c, path, &f)) return;
    fv_text_add(c, t,
                "<h2>What %s predicts</h2><p>The first test items, seed 0.</p><img alt='predictions' "
                "src='data:image/png;base64,",
                p->arm[shown].name);
    base64(c, t, f.data, f.size);
    fv_text_add(c, t, "'>\n");
    fv_file_close(c, &f);
}
void page_write(fv_ctx *c, const report *p, const fv_text *effect, const fv_text *arms, const fv_text *curves,
                fv_text *t) {
    fv_text_add(c, t,
                "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' "
                "content='width=device-width'><title>%s: fv compare</title>\n<style>%s</style>\n",
                p->task, style);
    question(c, p, t);
    answer(c, p, t);
    if (effect->size) fv_text_add(c, t, "%s", effect->data);
    meaning(c, p, t);
    fv_text_add(c, t, "<h2>Figures</h2>\n");
    table(c, p, t);
    if (arms->size) fv_text_add(c, t, "%s", arms->data);
    if (p->corrupt) corruption(c, p, t);
    if (p->trials) tuning(c, p, t);
    fv_text_add(c, t, "<h2>Training</h2>\n%s", curves->data);
    picture(c, p, t);
    fv_text_add(
        c, t,
        "<h2>How sure, and how to do it again</h2>\n<p>A difference is paired: the same seed and the same "
        "test item with and without. Its 95&nbsp;%% interval comes from a bootstrap that draws "
        "seeds and test items with replacement. Of few seeds that is too narrow: where seeds move the "
        "figure more than test items do, three that happen to agree in sign are enough to leave out 0, "
        "as one time in four they do. So a difference counts as shown only where Student's t interval of "
        "the seeds' differences leaves out 0, too. Even so, of twenty arms that do nothing one may be shown "
        "to differ by chance.</p>\n<p><code>");
    escaped(c, t, p->command);
    fv_text_add(c, t, "</code></p></html>\n");
}
