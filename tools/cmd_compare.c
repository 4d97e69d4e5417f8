/* fv compare: one task under several arms -- variants, or the values of a sweep -- with the same data,
 * seeds and budget. An arm's runs are paired, seed by seed and item by item, with those of its reference:
 * the first arm, or the first variant at the same value. */
#include "cli.h"
#include "corrupt.h"
#include "report.h"
#include "run.h"
#include "settings.h"
#include "tasks/task.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ARGS = 128, MAX_VALUES = MAX_ARMS };
/* What can be swept by name, and its usual values. With `paired`, every variant is trained at every value
 * and compared at that value; else the values are of the stage, which the first variant, base, does not
 * have. */
static const struct sweep {
    const char *key, *values;
    int paired;
} sweeps[] = {{"layer", "", 0},
              {"count", "1 2 4", 0},
              {"frozen.after_block", "", 0},
              {"residual", "none inside outside both outside_nn", 0},
              {"norm", "ones loaded none", 0},
              {"rope,causal", "plain causal rope rope+causal", 0},
              {"fraction", "0.02 0.05 0.1 0.3 1", 1},
              {NULL, NULL, 0}};

/* ---- words ---- */
typedef struct words {
    char at[MAX_VALUES][32];
    int count;
} words;
/* 1; 0 after saying what is wrong: the words name folders, too */
static int words_of(words *w, const char *option, const char *text, const char *between) {
    memset(w, 0, sizeof *w);
    for (text += strspn(text, between); *text; text += strspn(text, between)) {
        int n = (int)strcspn(text, between);
        if (w->count == MAX_VALUES) return !cli_fail(2, "%s: over %d values", option, MAX_VALUES);
        if (n > 31 || memchr(text, '/', (size_t)n))
            return !cli_fail(2, "%s: \"%.*s\" is too long, or has a slash in it", option, n > 40 ? 40 : n,
                             text);
        snprintf(w->at[w->count++], sizeof w->at[0], "%.*s", n, text);
        for (int i = 0; i + 1 < w->count; i++)
            if (!strcmp(w->at[i], w->at[w->count - 1]))
                return !cli_fail(2, "%s: %s is named twice", option, w->at[i]);
        text += n;
    }
    return w->count ? 1 : !cli_fail(2, "%s: no value", option);
}

/* ---- the plan ---- */
static arm *add_arm(report *p, const char *name, const char *variant, int ref) {
    if (p->arms == MAX_ARMS || strlen(name) > 63) return NULL; /* it is a folder's name */
    arm *a = &p->arm[p->arms];
    memset(a, 0, sizeof *a);
    strcpy(a->name, name);
    snprintf(a->variant, sizeof a->variant, "%.31s", variant);
    a->ref = ref < 0 ? p->arms : ref;
    p->arms++;
    return a;
}
static void set_value(arm *a, const char *key, const char *value) {
    snprintf(a->set[a->sets++], sizeof a->set[0], "%.60s=%.60s", key, value);
}

/* the settings of one value of the sweep; 0: no such value */
static int apply_value(report *p, arm *a, const char *value) {
    const char *key = p->sweep;
    snprintf(a->value, sizeof a->value, "%.31s", value);
    if (!strcmp(key, "layer")) snprintf(a->layers, sizeof a->layers, "%s", value);
    else if (!strcmp(key, "count")) {
        char *end; /* the last N blocks, in their order */
        long n = strtol(value, &end, 10);
        if (*end || n < 1 || n > p->blocks) return 0;
        for (int k = (int)n; k > 0; k--)
            snprintf(a->layers + strlen(a->layers), sizeof a->layers - strlen(a->layers), "%s%d",
                     k < n ? "," : "", p->blocks - k);
        return strlen(a->layers) < sizeof a->layers - 1;
    } else if (!strcmp(key, "rope,causal")) {
        static const char *const known[] = {"plain", "rope", "causal", "rope+causal"};
        int k = 0;
        while (k < 4 && strcmp(value, known[k])) k++;
        if (k == 4) return 0;
        set_value(a, "frozen.rope", strstr(value, "rope") ? "true" : "false");
        set_value(a, "frozen.causal", strstr(value, "causal") ? "true" : "false");
    } else
        set_value(a,
                  !strcmp(key, "residual") ? "frozen.residual"
                  : !strcmp(key, "norm")   ? "frozen.final_norm"
                                           : key,
                  value);
    return 1;
}
/* values of the stage: base once, then each other variant at each value */
static int plan_stage_sweep(report *p, const words *variants, const words *values) {
    char name[160];
    int several = -1; /* more than one variant besides base: its name is part of the arm's */
    add_arm(p, "base", "base", -1);
    for (int v = 0; v < variants->count; v++) several += strcmp(variants->at[v], "base") != 0;
    for (int v = 0; v < variants->count; v++) {
        if (!strcmp(variants->at[v], "base")) continue;
        if (!compare_has_block(variants->at[v]))
            return cli_fail(2, "--sweep %s: the variant %s has no block", p->sweep, variants->at[v]);
        for (int i = 0; i < values->count; i++) {
            snprintf(name, sizeof name, "%s_%s%s%s",
                     strrchr(p->sweep, '.') ? strrchr(p->sweep, '.') + 1 : p->sweep, values->at[i],
                     several > 0 ? "_" : "", several > 0 ? variants->at[v] : "");
            arm *a = add_arm(p, name, variants->at[v], 0);
            if (!a || !apply_value(p, a, values->at[i]))
                return cli_fail(2, "--sweep %s: the value %s does not fit", p->sweep, values->at[i]);
        }
    }
    return -1;
}
/* values of data or training: each variant at each of them; compared with the first variant there */
static int plan_paired_sweep(report *p, const words *variants, const words *values) {
    char name[160];
    for (int i = 0; i < values->count; i++) {
        int first = p->arms;
        for (int v = 0; v < variants->count; v++) {
            snprintf(name, sizeof name, "%s_%s", values->at[i], variants->at[v]);
            arm *a = add_arm(p, name, variants->at[v], v ? first : -1);
            if (!a || !apply_value(p, a, values->at[i]))
                return cli_fail(2, "--sweep %s: the value %s does not fit", p->sweep, values->at[i]);
        }
    }
    return -1;
}
/* -1, or the status to exit with */
static int make_plan(report *p, const char *variants, const char *sweep) {
    words named, values;
    char list[1024] = "";
    int k = 0;
    if (!words_of(&named, "--variants", variants, ", ")) return 2;
    for (int i = 0; i < named.count; i++)
        if (fv_variant_parse(named.at[i]) < 0)
            return cli_fail(2,
                            "--variants: %s is unknown; base linear mlp llm random shuffled finetune "
                            "scratch",
                            named.at[i]);
    for (int i = 0; i < named.count && !sweep; i++) add_arm(p, named.at[i], named.at[i], i ? 0 : -1);
    if (!sweep) return -1;
    const char *equals = strchr(sweep, '=');
    if ((equals ? (size_t)(equals - sweep) : strlen(sweep)) > 47)
        return cli_fail(2, "--sweep %.40s...: no such key", sweep);
    snprintf(p->sweep, sizeof p->sweep, "%.*s", (int)(equals ? equals - sweep : (long)strlen(sweep)), sweep);
    if (!strcmp(p->sweep, "seed") || !strcmp(p->sweep, "variant") || !strcmp(p->sweep, "lr_scale") ||
        !strcmp(p->sweep, "holdout"))
        return cli_fail(2, "--sweep %s: that is set by --seeds, --variants or --tune", p->sweep);
    while (sweeps[k].key && strcmp(sweeps[k].key, p->sweep)) k++;
    if (!equals && !sweeps[k].key)
        return cli_fail(2,
                        "--sweep %s: layer, count, frozen.after_block, residual, norm, rope,causal or "
                        "fraction; or "
                        "KEY=A,B,C for any other key",
                        sweep);
    if ((!strcmp(p->sweep, "layer") || !strcmp(p->sweep, "count")) && !p->blocks)
        return cli_fail(2, "--sweep %s wants --llm FILE, a GGUF or safetensors file with all its blocks",
                        sweep);
    for (int i = 0; i < p->blocks && !strcmp(p->sweep, "layer"); i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%d ", i);
    if (!strcmp(p->sweep, "frozen.after_block") && !equals) { /* head, middle, tail */
        if (p->depth < 2)
            return cli_fail(2, "--sweep %s: the encoder's depth is not known; name the blocks: %s=0,1,3",
                            sweep, sweep);
        if (p->depth > 2) snprintf(list, sizeof list, "0 %d %d", (p->depth - 1) / 2, p->depth - 1);
        else snprintf(list, sizeof list, "0 1");
    }
    if (!words_of(&values, "--sweep", equals ? equals + 1 : *list ? list : sweeps[k].values, " ,")) return 2;
    int paired = sweeps[k].key ? sweeps[k].paired : strncmp(p->sweep, "frozen.", 7) != 0;
    return paired ? plan_paired_sweep(p, &named, &values) : plan_stage_sweep(p, &named, &values);
}

/* how many blocks the LLM has; 0, or the status to exit with */
static int blocks_of(const char *llm, int *blocks) {
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, llm);
    int n = w ? (int)fv_weights_meta_number(w, "llama.block_count", 0) : 0, found = w && !n;
    char name[64];
    while (found && n < 1000) { /* safetensors: layers.0, layers.1, ... */
        snprintf(name, sizeof name, "layers.%d.", n);
        found = 0;
        for (int i = 0; i < fv_weights_count(w) && !found; i++)
            found = strstr(fv_weights_at(w, i)->name, name) != NULL;
        n += found;
    }
    if (w && n < 1) fv_fail(c, FV_EUSAGE, "%s: no blocks of a LLaMA model that could be counted", llm);
    *blocks = n;
    fv_weights_close(c, w);
    return cli_end(c);
}
/* the demo's language model; 0, or the status to exit with */
static int demo_llm(char path[4096]) {
    run r;
    run_begin(&r, NULL);
    run_fetch(&r, "smollm2", path);
    return run_end(&r);
}
/* ---- options that go on to fv train, which reads them itself ---- */
static int is_option(const char *name, const char *word) { /* --name or --name=value */
    size_t n = strlen(name);
    return !strncmp(word, name, n) && (!word[n] || word[n] == '=');
}
/* the value of the option argv[i], where it is this one; else NULL */
static const char *passed(const char *name, int argc, char **argv, int i) {
    size_t n = strlen(name);
    if (!is_option(name, argv[i])) return NULL;
    return argv[i][n] ? argv[i] + n + 1 : i + 1 < argc ? argv[i + 1] : NULL;
}

/* ---- a folder keeps to its plan: what fv train was given is written down; resumed, it is the same ---- */
/* a run of any plan, or a trial: later ones may name other arms */
static int any_run(const report *p) {
    char dir[4300];
    int found = 0;
    DIR *d = opendir(p->out);
    for (struct dirent *e; d && !found && (e = readdir(d)) != NULL;) {
        if (*e->d_name == '.') continue;
        snprintf(dir, sizeof dir, "%s/%.255s", p->out, e->d_name);
        found = compare_exists(dir, "config.json") || !strcmp(e->d_name, "tune");
    }
    if (d) closedir(d);
    return found;
}
static int keep_to_plan(const report *p, char **pass, int rest) {
    static const char *const free_of_effect[] = {"--threads", "--save-every", "--quiet", "--recompute", NULL};
    char path[4400];
    fv_text now = {NULL, 0, 0};
    fv_file f;
    fv_ctx *c = fv_create(NULL);
    int same = 1;
    for (int i = 2; i < rest; i++) { /* pass[1] is "train" */
        int k = 0;
        while (free_of_effect[k] && !is_option(free_of_effect[k], pass[i])) k++;
        if (!free_of_effect[k]) fv_text_add(c, &now, "%s\n", pass[i]);
        else i += k < 2 && !strchr(pass[i], '=');
    }
    if (p->trials) fv_text_add(c, &now, "--tune %d\n", p->trials);
    snprintf(path, sizeof path, "%s/plan.txt", p->out);
    if (!access(path, F_OK) && any_run(p) && fv_file_open(c, path, &f)) {
        same = f.size == now.size && !memcmp(f.data, now.data, now.size);
        fv_file_close(c, &f);
    } else fv_write_file(c, path, now.data, now.size);
    fv_text_free(c, &now);
    int status = cli_end(c);
    if (status || same) return status;
    return cli_fail(
        2,
        "%s was begun with other options, which %s lists; its runs cannot be compared with new ones: "
        "another --out is wanted",
        p->out, path);
}

/* ---- after the runs ---- */
/* RUN/corrupt.json for every run: fv eval RUN --corrupt all, on the first 2000 test pictures */
static int corrupt_all(report *p, const char *threads, int quiet) {
    char dir[4300], file[4400], part[4400];
    for (int s = 0; s < p->seeds; s++)
        for (int i = 0; i < p->arms; i++) {
            snprintf(dir, sizeof dir, "%s/%s-%d", p->out, p->arm[i].name, s);
            snprintf(file, sizeof file, "%s/corrupt.json", dir);
            snprintf(part, sizeof part, "%s/corrupt.part", dir);
            if (!access(file, F_OK)) continue;
            if (!quiet) fprintf(stderr, "%s-%d: under corruptions\n", p->arm[i].name, s);
            const char *eval[] = {NULL,        "eval",   dir,
                                  "--corrupt", "all",    "--limit",
                                  "2000",      "--json", threads ? "--threads" : NULL,
                                  threads,     NULL};
            int status = compare_run_self((char **)(uintptr_t)eval, part);
            if (status) return status;
            if (rename(part, file)) return cli_fail(4, "%s: cannot be written", file);
        }
    return 0;
}
/* how many test items the run in this folder has; 0: it does not say */
static int test_items(const char *dir) {
    char path[4400];
    snprintf(path, sizeof path, "%s/config.json", dir);
    fv_ctx *c = fv_create(NULL);
    fv_json *j = c ? fv_json_open(c, path) : NULL;
    fv_jnode items = j ? fv_json_get(j, fv_json_root(j), "items") : 0;
    int n = items ? (int)fv_json_int(j, fv_json_get(j, items, "test"), 0) : 0;
    fv_json_free(c, j);
    fv_destroy(c);
    return n;
}
/* OUT/ARM-0.png, of the run OUT/ARM-0, once it is done. 0, or the status to exit with */
static int draw_predictions(const report *p) {
    char picture[4400], part[4400], dir[4300], result[4400], items[32];
    int i = report_pictured(p);
    struct stat drawn, done;
    if (!task_named(p->task)->draw) return 0;
    snprintf(dir, sizeof dir, "%s/%s-0", p->out, p->arm[i].name);
    snprintf(picture, sizeof picture, "%s.png", dir), snprintf(part, sizeof part, "%s.part", dir);
    snprintf(result, sizeof result, "%s/result.json", dir);
    if (!stat(picture, &drawn) && !stat(result, &done) && drawn.st_mtime >= done.st_mtime) return 0;
    remove(part); /* of a comparison that was stopped */
    int n = test_items(dir);
    snprintf(items, sizeof items, "0-%d", n > 0 && n < 12 ? n - 1 : 11);
    const char *draw[] = {NULL, "predict", dir, "--items", items, "--png", part, NULL};
    int status = compare_run_self((char **)(uintptr_t)draw, "/dev/null");
    if (!status && rename(part, picture)) status = cli_fail(4, "%s: cannot be written", picture);
    return status;
}

static int print_help(void) {
    printf("usage: fv compare TASK --out DIR [options] [options of fv train]\n\n"
           "Trains each variant with each seed, or the values of a sweep, on the same data in the same\n"
           "order, from the same initial weights of the shared part and with the same budget. Prints a\n"
           "table with the mean, the standard deviation over seeds and the 95 %% interval of the paired\n"
           "difference to the first arm (bootstrap over seeds and test items; from two seeds on), and\n"
           "writes OUT/report.html, table.md, results.jsonl and the plots. A bootstrap of few seeds is too\n"
           "narrow, so Student's interval of the seeds stands beside it; a difference is shown where both\n"
           "leave out 0. Finished runs are reused: --variants random,llm --resume holds llm against random.\n"
           "Runs that cannot be compared (other data, budget or language model) are refused.\n\n"
           "options:\n"
           "  --out DIR         the folder of the plan; must not exist, but with --resume\n"
           "  --variants A,B    base linear mlp llm random shuffled finetune scratch (default base,llm)\n"
           "  --seeds N         1 to %d (default 1)\n"
           "  --sweep KEY[=A,B,C]\n"
           "                    layer (every block), count (1, 2, 4 last blocks), frozen.after_block (head,\n"
           "                    middle, tail), residual, norm, rope,causal: of the stage, beside base;\n"
           "                    fraction (of the training data): for each variant; or any key of the model\n"
           "                    and training config, with its values\n"
           "  --tune K          K learning rates for each arm, around the preset's (x 1/3, 1, 3), tried on\n"
           "                    a tenth of the training items that is held out; the best one is used. The\n"
           "                    test split is looked at once, at the end.\n"
           "  --corrupt         measure every run under noise, blur, contrast, JPEG and rotation too, on\n"
           "                    2000 test items\n"
           "  --resume          go on with OUT, with more seeds, or more or other arms, where asked; what\n"
           "                    fv train is given stays the same\n"
           "  --json            JSON lines in place of the table\n",
           MAX_SEEDS);
    return 0;
}

/* what was asked for; `pass` is what goes on to fv train, from pass[1] on */
typedef struct request {
    char *pass[MAX_ARGS + 48];
    int rest;
    cli own; /* compare's options, see print_help */
    const char *llm, *data, *threads;
} request;

/* -1, or the status to exit with. What is not compare's goes on to fv train. */
static int read_options(request *q, report *p, int argc, char **argv) {
    static const char *const singular[] = {"--variant", "--seed"};
    int bad = 0, took;
    for (int i = 0; i < argc; i++) {
        const char *o = argv[i], *value;
        if (q->rest >= MAX_ARGS) return cli_fail(2, "too many options");
        if (!strcmp(o, "--help") || !strcmp(o, "-h")) return print_help();
        if (!strcmp(o, "--version")) return cli_version();
        if ((took = cli_take(q->own.options, argc, argv, &i)) < 0) return 2;
        if (took) continue;
        for (int k = 0; k < 2; k++)
            if (is_option(singular[k], o))
                return cli_fail(2, "%s is fv train's; here it is %ss", singular[k], singular[k]);
        if ((value = passed("--llm", argc, argv, i))) q->llm = value;
        if ((value = passed("--data", argc, argv, i))) q->data = value;
        if ((value = passed("--threads", argc, argv, i))) q->threads = value;
        if (*o != '-' && !*p->task) snprintf(p->task, sizeof p->task, "%.30s", o);
        q->pass[q->rest++] = argv[i];
    }
    p->out = cli_value(&q->own, "--out"), p->corrupt = cli_value(&q->own, "--corrupt") != NULL;
    p->seeds = (int)cli_int(&q->own, "--seeds", 1, 1, &bad),
    p->trials = (int)cli_int(&q->own, "--tune", 0, 1, &bad);
    return bad ? 2 : -1;
}
static int options_fit(const request *q, const report *p) {
    if (!p->out) return cli_fail(2, "--out is wanted; fv compare --help");
    if (!task_named(p->task)) return cli_fail(2, "compare wants a task first: fv compare image ...");
    if (p->seeds > MAX_SEEDS) return cli_fail(2, "--seeds %d: at most %d are possible", p->seeds, MAX_SEEDS);
    if (p->trials > MAX_TRIALS)
        return cli_fail(2, "--tune %d: at most %d learning rates are possible", p->trials, MAX_TRIALS);
    if (p->corrupt && !corrupt_task(p->task))
        return cli_fail(2, "--corrupt: the task %s has no pictures that can be corrupted", p->task);
    if (!cli_value(&q->own, "--resume")) return cli_taken(p->out, "--resume goes on with it") ? 2 : -1;
    return !any_run(p) && cli_foreign(p->out, "plan.txt") ? 2 : -1;
}
/* Whether nothing that goes on to fv train takes the place of a value of the sweep; 0, or 2 after saying
 * so. */
static int sweep_stands(const request *q, const report *p) {
    const arm *a = &p->arm[p->arms - 1];
    char key[64];
    for (int k = 0; k <= a->sets; k++) {
        if (k < a->sets) snprintf(key, sizeof key, "%.*s", (int)strcspn(a->set[k], "="), a->set[k]);
        else snprintf(key, sizeof key, "%s", *a->layers ? "frozen.layers" : "");
        const char *option = train_option(key);
        for (int i = 2; i < q->rest && option; i++)
            if (is_option(option, q->pass[i]))
                return cli_fail(2, "--sweep %s and %s exclude each other", p->sweep, option);
    }
    return 0;
}
/* every arm's command as fv train would read it: what is wrong with one is said before the first run. 0, or
 * the status to exit with */
static int arms_fit(const request *q, const report *p) {
    char *given[MAX_ARGS + 48]; /* fv train moves them about */
    int status = sweep_stands(q, p);
    for (int i = 0; i < p->arms && !status; i++) {
        memcpy(given, q->pass, sizeof given);
        int count = compare_arm_words(p, i, 0, p->out, NULL, given + q->rest);
        status = train_fits(q->rest + count - 2, given + 2); /* from the task on */
    }
    return status;
}
/* for the sweep of its blocks by name; 0, or the status to exit with */
static int read_depth(const request *q, report *p) {
    char *given[MAX_ARGS + 48];
    memcpy(given, q->pass, sizeof given);
    given[q->rest] = (char *)(uintptr_t) "--out", given[q->rest + 1] = (char *)(uintptr_t)p->out;
    return train_depth(q->rest, given + 2, &p->depth);
}
/* A plan of which nothing was begun leaves no folder; one that holds anything stays. */
static void leave_nothing(const report *p) {
    char path[4400];
    snprintf(path, sizeof path, "%s/tune", p->out);
    rmdir(path);
    if (any_run(p)) return;
    snprintf(path, sizeof path, "%s/plan.txt", p->out);
    unlink(path), rmdir(p->out);
}

int cmd_compare(int argc, char **argv) {
    static report p;
    static request q;
    static char command[4096], fetched[4096];
    cli_option options[] = {{"--variants", "A,B", NULL, NULL},
                            {"--seeds", "N", NULL, NULL},
                            {"--sweep", "KEY[=A,B,C]", NULL, NULL},
                            {"--tune", "K", NULL, NULL},
                            {"--out", "DIR", NULL, NULL},
                            {"--corrupt", NULL, NULL, NULL},
                            {"--resume", NULL, NULL, NULL},
                            {"--json", NULL, NULL, NULL},
                            {NULL, NULL, NULL, NULL}};
    memset(&p, 0, sizeof p), p.command = command;
    q.own.options = options, q.rest = 1, q.pass[q.rest++] = (char *)(uintptr_t) "train";
    snprintf(command, sizeof command, "fv compare");
    for (int i = 0; i < argc; i++)
        snprintf(command + strlen(command), sizeof command - strlen(command), " %s", argv[i]);
    int status = read_options(&q, &p, argc, argv);
    if (status < 0) status = options_fit(&q, &p);
    if (status >= 0) return status;
    const char *sweep = cli_value(&q.own, "--sweep"), *variants = cli_text(&q.own, "--variants", "base,llm");
    int of_blocks = sweep && (!strncmp(sweep, "layer", 5) || !strncmp(sweep, "count", 5)), quiet = 0;
    int of_demo = !q.llm && q.data && !strcmp(q.data, "demo");
    for (int i = 2; i < q.rest; i++) quiet |= !strcmp(q.pass[i], "--quiet");
    if (of_blocks && of_demo) {
        if ((status = demo_llm(fetched))) return status;
        q.llm = fetched;
    }
    if (of_blocks && q.llm && (status = blocks_of(q.llm, &p.blocks))) return status;
    if (sweep && !strcmp(sweep, "frozen.after_block") && (status = read_depth(&q, &p))) return status;
    if ((status = make_plan(&p, variants, sweep)) >= 0) return status;
    if ((status = arms_fit(&q, &p))) return status;
    int made = !mkdir(p.out, 0777);
    if (!made && access(p.out, F_OK)) return cli_fail(4, "%s: cannot be made: %s", p.out, strerror(errno));
    /* a language model that cannot be had is missed before the runs that want none */
    if ((status = keep_to_plan(&p, q.pass, q.rest)) ||
        (of_demo && !q.llm && compare_wants_llm(&p) && (status = demo_llm(fetched))) ||
        (status = compare_run_all(&p, q.pass, q.rest, quiet))) {
        if (made) leave_nothing(&p);
        return status;
    }
    if (p.corrupt && (status = corrupt_all(&p, q.threads, quiet))) return status;
    int drawn = draw_predictions(&p); /* it has said what is wrong; the figures are told all the same */
    fv_ctx *c = fv_create(NULL);
    if (c) report_write(c, &p, cli_value(&q.own, "--json") != NULL);
    status = cli_end(c);
    return status ? status : drawn;
}
