/* fv eval, fv predict: a finished run measured on its test split, or asked about files or test items. */
#include "cli.h"
#include "corrupt.h"
#include "run.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- under corruptions ---- */
typedef struct errors {
    double clean, at[CORRUPT_KINDS][CORRUPT_LEVELS], mean[CORRUPT_KINDS], all;
} errors;

/* Top-1 errors in percent of the first `count` test pictures of a run, clean and under every kind at every
 * level. */
static int corrupt_errors(run *r, int count, errors *e) {
    for (int n = 0; n <= CORRUPT_KINDS * CORRUPT_LEVELS && !fv_error(r->c) && !is_interrupted(); n++) {
        int kind = (n - 1) / CORRUPT_LEVELS, level = n ? (n - 1) % CORRUPT_LEVELS + 1 : 0;
        figures f;
        memset(&f, 0, sizeof f);
        r->corrupt_kind = n ? kind : 0, r->corrupt_level = level;
        run_measure(r, SPLIT_TEST, 0, count, &f);
        double error = 100 - f.at[0].value;
        if (!n) e->clean = error;
        else
            e->at[kind][level - 1] = error, e->mean[kind] += error / CORRUPT_LEVELS,
                                e->all += error / CORRUPT_LEVELS / CORRUPT_KINDS;
    }
    r->corrupt_level = 0;
    return !fv_error(r->c);
}
static void errors_json(const errors *e, int beside, double mce) {
    printf("{\"final\":true,\"clean_error\":%.4f,\"mean_error\":{", e->clean);
    for (int k = 0; k < CORRUPT_KINDS; k++) printf("\"%s\":%.4f,", corrupt_name(k), e->mean[k]);
    printf("\"all\":%.4f},\"error\":{", e->all);
    for (int k = 0; k < CORRUPT_KINDS; k++)
        for (int l = 0; l < CORRUPT_LEVELS; l++) {
            if (!l) printf("%s\"%s\":[", k ? "," : "", corrupt_name(k));
            printf("%.4f%s", e->at[k][l], l + 1 < CORRUPT_LEVELS ? "," : "]");
        }
    if (!beside) printf("}}\n");
    else if (isfinite(mce)) printf("},\"mce\":%.4f}\n", mce);
    else printf("},\"mce\":null}\n");
}
static void errors_print(const errors *e, int beside, double mce) {
    printf("top-1 error in percent; without corruption %.2f\n%-10s", e->clean, "severity");
    for (int l = 1; l <= CORRUPT_LEVELS; l++) printf("%8d", l);
    printf("%8s\n", "mean");
    for (int k = 0; k < CORRUPT_KINDS; k++) {
        printf("%-10s", corrupt_name(k));
        for (int l = 0; l < CORRUPT_LEVELS; l++) printf("%8.2f", e->at[k][l]);
        printf("%8.2f\n", e->mean[k]);
    }
    printf("mean of all %.2f\n", e->all);
    if (beside && isfinite(mce))
        printf("mean corruption error against --beside: %.1f (under 100: more robust)\n", mce);
    if (beside && !isfinite(mce))
        printf(
            "mean corruption error against --beside: n/a (it makes no error under one of the corruptions)\n");
}

/* one run opened, measured, closed; the status to exit with */
static int errors_of(const char *dir, const char *data, const fv_desc *desc, int most, errors *e) {
    run r;
    memset(e, 0, sizeof *e);
    run_begin(&r, desc);
    fv_json *j = run_reopen(&r, dir, data);
    r.test_only = 1;
    run_catch_signals();
    if (j && !corrupt_task(r.task->name))
        fv_fail(r.c, FV_EUSAGE, "--corrupt: the task %s has no pictures that can be corrupted", r.task->name);
    if (j && run_open_data(&r))
        corrupt_errors(&r, most > 0 && most < r.count[SPLIT_TEST] ? most : r.count[SPLIT_TEST], e);
    fv_json_free(r.c, j);
    int status = run_end(&r);
    return status ? status : is_interrupted() ? 130 : 0;
}
static int eval_corrupted(const cli *a, const fv_desc *desc, int most) {
    errors e, base;
    double mce = 0;
    const char *beside = cli_value(a, "--beside"), *data = cli_value(a, "--data");
    if (strcmp(cli_value(a, "--corrupt"), "all"))
        return cli_fail(2, "--corrupt %s: all is what there is", cli_value(a, "--corrupt"));
    int status = errors_of(a->words[0], data, desc, most, &e);
    if (!status && beside) status = errors_of(beside, data, desc, most, &base);
    if (status) return status;
    for (int k = 0; k < CORRUPT_KINDS && beside; k++)
        mce += corrupt_ratio(e.mean[k], base.mean[k]) / CORRUPT_KINDS;
    if (cli_value(a, "--json")) errors_json(&e, beside != NULL, mce);
    else errors_print(&e, beside != NULL, mce);
    return 0;
}

int cmd_eval(int argc, char **argv) {
    cli_option options[] = {
        {"--data", "DIR|demo", "other data than the run's", NULL},
        {"--split", "NAME", "in place of test: train (all of it), or val of data that have it", NULL},
        {"--shuffle", NULL, "inputs of other items: what is left is guessed from the rest", NULL},
        {"--corrupt", "all", "under noise, blur, contrast, jpeg, rotation at 5 severities", NULL},
        {"--beside", "RUN", "with --corrupt: mean corruption error against it", NULL},
        {"--limit", "N", "first N items", NULL},
        CLI_DEVICE,
        {"--threads", "N", "all cores unless said", NULL},
        {"--json", NULL, "one JSON line", NULL},
        {NULL, NULL, NULL, NULL}};
    cli a = {"fv eval RUN [options]",
             "Measures a finished run on its test split, or another.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    if (a.count != 1) return cli_fail(2, "a run's folder is wanted; usage: %s", a.usage);
    int most = (int)cli_int(&a, "--limit", 0, 1, &bad);
    fv_desc desc;
    cli_context(&a, &desc, &bad);
    if (bad) return 2;
    if (cli_value(&a, "--beside") && !cli_value(&a, "--corrupt"))
        return cli_fail(2, "--beside goes with --corrupt");
    if (cli_value(&a, "--shuffle") && cli_value(&a, "--corrupt"))
        return cli_fail(2, "--shuffle and --corrupt exclude each other");
    const char *named = cli_text(&a, "--split", "test");
    if (strcmp(named, "train") && strcmp(named, "val") && strcmp(named, "test"))
        return cli_fail(2, "--split %s: train, val or test is wanted", named);
    if (cli_value(&a, "--corrupt") && strcmp(named, "test"))
        return cli_fail(2, "--split and --corrupt exclude each other");
    if (cli_value(&a, "--corrupt")) return eval_corrupted(&a, &desc, most);
    int split = !strcmp(named, "train") ? SPLIT_TRAIN : SPLIT_TEST;
    run r;
    figures f;
    fv_text t = {0};
    memset(&f, 0, sizeof f);
    run_begin(&r, &desc);
    fv_json *j = run_reopen(&r, a.words[0], cli_value(&a, "--data"));
    r.blind = cli_value(&a, "--shuffle") != NULL;
    r.on_val = !strcmp(named, "val"), r.test_only = split == SPLIT_TEST;
    run_catch_signals();
    if (j && r.on_val && !r.task->val)
        fv_fail(r.c, FV_EUSAGE, "--split val: the task %s reads no such split beside its test", r.task->name);
    if (j && run_open_data(&r)) {
        run_measure(&r, split, 0, most > 0 && most < r.count[split] ? most : r.count[split], &f);
        if (r.task->baselines && !r.blind && split == SPLIT_TEST && !fv_error(r.c)) r.task->baselines(&r, &f);
    }
    if (!fv_error(r.c) && !is_interrupted()) {
        figures_json(r.c, &t, &f);
        char of[32] = "";
        if (strcmp(named, "test")) snprintf(of, sizeof of, ",\"split\":\"%s\"", named);
        if (cli_value(&a, "--json")) printf("{\"final\":true%s,%s}\n", of, t.data);
        else figures_print(&f), printf("\n");
    }
    fv_text_free(r.c, &t);
    fv_json_free(r.c, j);
    status = run_end(&r);
    return status ? status : is_interrupted() ? 130 : 0;
}

/* "3,7,20-40" -> indices, as many as fit; how many the text names. 0: not such a list, or past the split */
static int read_items(const char *text, int count, int32_t *items, int most) {
    int n = 0;
    for (char *end; *text; text = *end ? end + 1 : end) {
        long from = strtol(text, &end, 10), to = from;
        if (end == text) return 0;
        if (*end == '-') to = strtol(text = end + 1, &end, 10);
        if (end == text || (*end && *end != ',') || from < 0 || to < from || to >= count) return 0;
        for (long i = from; i <= to && n <= most; i++, n++)
            if (n < most) items[n] = (int32_t)i;
    }
    return n;
}

static int draw_items(run *r, const char *text, const char *png) {
    int32_t items[256];
    if (!r->task->draw) return fv_fail(r->c, FV_EUNAVAILABLE, "the task %s draws nothing", r->task->name);
    r->test_only = 1;
    if (!run_open_data(r)) return 0;
    int n = read_items(text, r->count[SPLIT_TEST], items, 256);
    if (!n)
        return fv_fail(r->c, FV_EUSAGE, "--items %s: numbers of test items as in 3,7,20-40, below %d", text,
                       r->count[SPLIT_TEST]);
    if (n > 256) return fv_fail(r->c, FV_EUSAGE, "--items: at most 256 are drawn");
    return r->task->draw(r, items, n, png);
}

int cmd_predict(int argc, char **argv) {
    cli_option options[] = {
        {"--items", "N,N-N", "test items instead of files, drawn into --png", NULL},
        {"--png", "FILE", "the picture (default predictions.png); must not exist", NULL},
        {"--question", "TEXT", "vqa, scene-qa: what is asked about each file", NULL},
        {"--situation", "TEXT", "scene-qa: where the questioner is, in words", NULL},
        {"--at", "X,Y,DEGREES", "scene-qa: the same in metres; 0 looks along +y, turning left", NULL},
        {"--data", "DIR|demo", "other data than the run's", NULL},
        CLI_DEVICE,
        {"--threads", "N", "all cores unless said", NULL},
        {"--json", NULL, "a JSON line for each file, the last with \"final\": true", NULL},
        {NULL, NULL, NULL, NULL}};
    cli a = {"fv predict RUN FILE... | fv predict RUN --items 0-19 --png OUT.png",
             "Says what the network sees in each file, or draws what it sees in test items.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    const char *items = cli_value(&a, "--items"), *png = cli_text(&a, "--png", "predictions.png");
    if (a.count < 1 || (a.count < 2 && !items))
        return cli_fail(2, "a run's folder and files are wanted; usage: %s", a.usage);
    fv_desc desc;
    cli_context(&a, &desc, &bad);
    if (bad) return 2;
    if (items && cli_taken(png, "another --png is wanted")) return 2;
    run r;
    run_begin(&r, &desc);
    r.question = cli_value(&a, "--question"), r.situation = cli_value(&a, "--situation"),
    r.place = cli_value(&a, "--at");
    fv_json *j = run_reopen(&r, a.words[0], cli_value(&a, "--data"));
    if (j) {
        fv_no_grad(r.c, 1);
        if (a.count > 1 && !r.task->predict)
            fv_fail(r.c, FV_EUNAVAILABLE, "the task %s predicts test items only: --items 0-19", r.task->name);
        for (int i = 1; i < a.count && !fv_error(r.c); i++) {
            fv_reset(r.c);
            r.task->predict(&r, a.words[i], !cli_value(&a, "--json") ? 0 : i + 1 < a.count ? 1 : 2);
        }
        if (items && !fv_error(r.c)) draw_items(&r, items, png);
    }
    fv_json_free(r.c, j);
    return run_end(&r);
}
