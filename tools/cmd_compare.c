/* fv compare: one task under several arms -- variants, or the values of a sweep -- with the same data, seeds and budget. Each run is a `fv train` of its own in
 * OUT/ARM-SEED, so that a finished one is reused and a broken one resumed. The first arm is what the others are compared with, run by run and item by item. */
#define _GNU_SOURCE
#include "cli.h"
#include "report.h"
#include "settings.h"
#include "tasks/task.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 96 };
static const char *const sweeps[][2] = {{"residual", "none inside outside both outside_nn"}, {"norm", "ones loaded none"}, {"rope,causal", "00 01 10 11"}, {"fraction", "0.02 0.05 0.1 0.3 1"},
                                        {"frozen.after_block", "1 2 4"}, {"count", "1 2 4"}, {"layer", ""}, {NULL, NULL}};

/* a process of this program with these arguments; its exit status */
static int run_self(char **args) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return cli_fail(6, "compare needs /proc to start its runs");
    self[n] = 0;
    args[0] = self;
    fflush(NULL);
    pid_t p = fork();
    if (p < 0) return cli_fail(6, "a process could not be started");
    if (p == 0) {
        dup2(2, 1); /* what a run prints is progress here */
        execv(self, args);
        _exit(127);
    }
    int status = 0;
    while (waitpid(p, &status, 0) < 0)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 130;
}

static int exists(const char *dir, const char *file) {
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return access(path, F_OK) == 0;
}

/* ---- the plan ---- */
static arm *add_arm(report *p, const char *name, const char *variant) {
    if (p->arms == MAX_ARMS) return NULL;
    arm *a = &p->arm[p->arms++];
    memset(a, 0, sizeof *a);
    snprintf(a->name, sizeof a->name, "%s", name), snprintf(a->variant, sizeof a->variant, "%.31s", variant);
    return a;
}
static void set_value(arm *a, const char *format, const char *value) { snprintf(a->set[a->sets++], sizeof a->set[0], format, value); }

static void each_word(const char *words, const char *between, void (*with)(report *p, const char *word, const char *variant), report *p, const char *variant) {
    for (char word[64]; *words; words += strcspn(words, between), words += strspn(words, between)) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(words, between), words);
        with(p, word, variant);
    }
}
static const char *swept; /* the key, while its values are added */
static void add_value(report *p, const char *value, const char *variant) {
    char name[64];
    arm *a;
    if (!strcmp(swept, "rope,causal")) {
        static const char *const names[4] = {"plain", "causal", "rope", "rope+causal"};
        int k = (value[0] - '0') * 2 + value[1] - '0';
        if ((a = add_arm(p, names[k], variant))) set_value(a, "frozen.rope=%s", k & 2 ? "true" : "false"), set_value(a, "frozen.causal=%s", k & 1 ? "true" : "false");
        return;
    }
    snprintf(name, sizeof name, !strcmp(swept, "fraction") ? "%.20s %s" : "%.20s%.0s", value, variant);
    if (!strcmp(swept, "layer")) snprintf(name, sizeof name, "layer %s", value);
    if (!strcmp(swept, "count")) snprintf(name, sizeof name, "%s block%s", value, atoi(value) > 1 ? "s" : "");
    for (char *c = name; *c; c++)
        if (*c == ' ') *c = '_';
    if (!(a = add_arm(p, name, variant))) return;
    if (!strcmp(swept, "layer")) snprintf(a->layers, sizeof a->layers, "%.60s", value);
    else if (!strcmp(swept, "count"))
        for (int k = atoi(value); k > 0; k--) snprintf(a->layers + strlen(a->layers), sizeof a->layers - strlen(a->layers), "%s%d", *a->layers ? "," : "", p->blocks - k);
    else if (!strcmp(swept, "residual")) set_value(a, "frozen.residual=%s", value);
    else if (!strcmp(swept, "norm")) set_value(a, "frozen.final_norm=%s", value);
    else {
        char text[128];
        snprintf(text, sizeof text, "%.60s=%%s", swept);
        set_value(a, text, value);
    }
}
static void add_variant(report *p, const char *variant, const char *unused) {
    (void)unused;
    add_arm(p, variant, variant);
}
static void add_fraction(report *p, const char *variant, const char *values) { each_word(values, " ,", add_value, p, variant); }

static int make_plan(report *p, const char *variants, const char *sweep) {
    char layers[512] = "", key[64];
    if (!sweep) {
        each_word(variants, ",", add_variant, p, NULL);
        return p->arms ? -1 : cli_fail(2, "--variants names none");
    }
    const char *values = strchr(sweep, '=');
    snprintf(key, sizeof key, "%.*s", (int)(values ? values - sweep : (long)strlen(sweep)), sweep);
    int known = 0;
    while (sweeps[known][0] && strcmp(sweeps[known][0], key)) known++;
    if (!values && !sweeps[known][0]) return cli_fail(2, "--sweep %s: layer, count, frozen.after_block, residual, norm, rope,causal or fraction; or KEY=A,B,C for any other key", sweep);
    values = values ? values + 1 : sweeps[known][1];
    if (!strcmp(key, "layer") && !*values)
        for (int k = 0; k < p->blocks; k++) snprintf(layers + strlen(layers), sizeof layers - strlen(layers), "%d ", k), values = layers;
    swept = key;
    if (!strcmp(key, "fraction")) each_word(variants, ",", add_fraction, p, values);
    else {
        add_arm(p, "base", "base");
        each_word(values, " ,", add_value, p, "llm");
    }
    return p->arms ? -1 : cli_fail(2, "--sweep %s: no value", sweep);
}

/* how many blocks the LLM has; 0 */
static int blocks_of(const char *llm) {
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = llm && c ? fv_weights_open(c, llm) : NULL;
    int n = w ? (int)fv_weights_meta_number(w, "llama.block_count", 0) : 0;
    char name[64];
    while (w && !n && n < 1000) { /* safetensors: layers.0, layers.1, ... */
        int found = 0;
        for (int i = 0; i < fv_weights_count(w); i++) {
            snprintf(name, sizeof name, "layers.%d.", n);
            found |= strstr(fv_weights_at(w, i)->name, name) != NULL;
        }
        if (!found) break;
        n++;
    }
    fv_weights_close(c, w), fv_destroy(c);
    return n;
}

/* ---- the runs ---- */
static int train_one(report *p, arm *a, int seed, char **pass, int rest) {
    char seed_text[16], dir[4300];
    snprintf(seed_text, sizeof seed_text, "%d", seed), snprintf(dir, sizeof dir, "%s/%s-%d", p->out, a->name, seed);
    const char *mine[16] = {"--variant", a->variant, "--seed", seed_text, "--out", dir, "--resume"};
    int n = 7;
    if (*a->layers) mine[n++] = "--layers", mine[n++] = a->layers;
    for (int i = 0; i < a->sets; i++) mine[n++] = "--set", mine[n++] = a->set[i];
    for (int i = 0; i < n; i++) pass[rest + i] = (char *)(uintptr_t)mine[i];
    pass[rest + n] = NULL;
    return run_self(pass);
}
static int all_runs(report *p, char **pass, int rest) {
    double start = fv_now(), worked = 0;
    int plan = p->arms * p->seeds, done = 0, left = 0, ran = 0;
    for (int s = 0; s < p->seeds; s++)
        for (int i = 0; i < p->arms; i++) {
            char dir[4300];
            snprintf(dir, sizeof dir, "%s/%s-%d", p->out, p->arm[i].name, s);
            left += !exists(dir, "result.json");
        }
    for (int s = 0; s < p->seeds; s++) /* seed by seed: what is done first compares all arms */
        for (int i = 0; i < p->arms; i++) {
            char dir[4300], eta[64] = "";
            snprintf(dir, sizeof dir, "%s/%s-%d", p->out, p->arm[i].name, s);
            int had = exists(dir, "result.json");
            if (!had && ran) snprintf(eta, sizeof eta, ", about %.0f min left", worked / ran * (left - ran) / 60);
            if (!had && isatty(2)) fprintf(stderr, "[%d/%d] %s, seed %d%s\n", done + 1, plan, p->arm[i].name, s, eta);
            done++;
            if (had) continue;
            int status = train_one(p, &p->arm[i], s, pass, rest);
            if (status) return status;
            ran++, worked = fv_now() - start;
        }
    return 0;
}

int cmd_compare(int argc, char **argv) {
    static report p;
    char *pass[MAX_ARGS] = {NULL};
    const char *variants = "base,llm", *sweep = NULL, *llm = NULL, *device = NULL;
    int rest = 1, resume = 0, json = 0;
    memset(&p, 0, sizeof p), p.seeds = 1;
    pass[rest++] = (char *)(uintptr_t) "train";
    for (int i = 0; i < argc && rest < MAX_ARGS - 24; i++) { /* what is not ours goes on to fv train */
        int more = i + 1 < argc;
        if (!strcmp(argv[i], "--help")) {
            printf("usage: fv compare TASK --out DIR [--variants base,llm,...] [--seeds N] [--sweep KEY[=A,B,C]] [--resume] [--json] [options of fv train]\n\n"
                   "Trains each variant with each seed, or llm with each value of a sweep beside base; finished runs are reused. Prints a table with the mean, the\n"
                   "standard deviation over seeds and the 95 %% interval of the paired difference to the first arm (bootstrap over seeds and test items),\n"
                   "and writes OUT/results.jsonl, OUT/curves.svg, OUT/arms.svg and OUT/report.html.\n\n"
                   "sweeps: layer (every block), count (1, 2, 4 last blocks), frozen.after_block, residual, norm, rope,causal, fraction (of the training data, for each of\n"
                   "--variants), or any key of the model and training config with its values\n");
            return 0;
        }
        if (!strcmp(argv[i], "--version")) return cli_version();
        if (!strcmp(argv[i], "--variants") && more) variants = argv[++i];
        else if (!strcmp(argv[i], "--sweep") && more) sweep = argv[++i];
        else if (!strcmp(argv[i], "--seeds") && more) p.seeds = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--out") && more) p.out = argv[++i];
        else if (!strcmp(argv[i], "--resume")) resume = 1;
        else if (!strcmp(argv[i], "--json")) json = 1;
        else {
            if (!strcmp(argv[i], "--llm") && more) llm = argv[i + 1];
            if (!strcmp(argv[i], "--device") && more) device = argv[i + 1];
            if (*argv[i] != '-' && !*p.task) snprintf(p.task, sizeof p.task, "%.30s", argv[i]);
            pass[rest++] = argv[i];
        }
    }
    if (!p.out) return cli_fail(2, "--out is wanted; fv compare --help");
    if (!task_named(p.task)) return cli_fail(2, "compare wants a task first: fv compare image ...");
    if (p.seeds < 1 || p.seeds > MAX_SEEDS) return cli_fail(2, "--seeds: 1 to %d are possible", MAX_SEEDS);
    if (!resume && access(p.out, F_OK) == 0) return cli_fail(2, "%s exists and is left as it is; --resume goes on with it", p.out);
    if (sweep && (!strncmp(sweep, "layer", 5) || !strncmp(sweep, "count", 5)) && !(p.blocks = blocks_of(llm))) return cli_fail(2, "--sweep %s wants --llm FILE, a GGUF or safetensors file with all its blocks", sweep);
    p.sweep = sweep;
    int status = make_plan(&p, variants, sweep);
    if (status >= 0) return status;
    if (mkdir(p.out, 0777) && !resume) return cli_fail(4, "%s: cannot be made", p.out);
    if ((status = all_runs(&p, pass, rest))) return status;
    char picture[4400] = "", dir[4300];
    snprintf(dir, sizeof dir, "%s/%s-0", p.out, p.arm[p.arms - 1].name), snprintf(picture, sizeof picture, "%s/predictions.png", p.out);
    if (task_named(p.task)->draw && !exists(p.out, "predictions.png")) { /* a picture of what the last arm predicts, for the report */
        const char *draw[] = {NULL, "predict", dir, "--items", "0-11", "--png", picture, device ? "--device" : NULL, device, NULL};
        run_self((char **)(uintptr_t)draw);
    }
    fv_ctx *c = fv_create(NULL);
    if (c) report_write(c, &p, json);
    return cli_end(c);
}
