/* fv train: reads the options, opens data, language model and network, and lets run.c do the work. */
#include "cli.h"
#include "group.h"
#include "run.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const direct[][2] = {
    {"--epochs", "epochs"},   {"--batch", "batch_size"},         {"--lr", "lr"},
    {"--seed", "seed"},       {"--precision", "precision"},      {"--limit", "limit"},
    {"--variant", "variant"}, {"--residual", "frozen.residual"}, {"--layers", "frozen.layers"}};
/* the options whose value becomes the key's as it is; that of --layers becomes a list */
enum { AS_THEY_ARE = 8 };
const char *train_option(const char *key) {
    for (size_t i = 0; i < sizeof direct / sizeof *direct; i++)
        if (!strcmp(key, direct[i][1])) return direct[i][0];
    return NULL;
}

static int read_options(cli *a, run *r, int *bad) {
    char text[512];
    for (int i = 0; i < AS_THEY_ARE; i++) {
        const char *v = cli_value(a, direct[i][0]);
        if (!v) continue;
        snprintf(text, sizeof text, "%s=%s", direct[i][1], v);
        if (!put_text(&r->s, text)) return !(*bad = cli_fail(2, "%s %.80s: not a value", direct[i][0], v));
    }
    const char *layers = cli_value(a, "--layers");
    if (layers) snprintf(text, sizeof text, "frozen.layers=[%.200s]", layers);
    if (layers && (strspn(layers, "0123456789,") != strlen(layers) || !put_text(&r->s, text)))
        return !(*bad = cli_fail(2, "--layers %.80s: numbers separated by commas are wanted", layers));
    return !*bad;
}

static int finished(const char *out) {
    char path[4200];
    snprintf(path, sizeof path, "%s/result.json", out);
    return access(path, F_OK) == 0;
}
/* in JSON: the line with which the run ended, its figures as result.json has them */
static int say_finished(const char *out, int json) {
    char path[4200];
    fv_file f;
    if (!json) return printf("%s is finished\n", out), 0;
    fv_ctx *c = fv_create(NULL);
    snprintf(path, sizeof path, "%s/config.json", out);
    fv_json *config = fv_json_open(c, path);
    snprintf(path, sizeof path, "%s/result.json", out);
    fv_json *result = config ? fv_json_open(c, path) : NULL;
    if (result && (fv_json_type(result, fv_json_root(result)) != FV_JSON_OBJECT ||
                   !fv_json_count(result, fv_json_root(result))))
        fv_fail(c, FV_EFORMAT, "%s: no figures", path);
    if (result && !fv_error(c) && fv_file_open(c, path, &f)) {
        fv_jnode root = fv_json_root(config);
        const char *text = (const char *)f.data, *brace = (const char *)memchr(text, '{', f.size);
        int n = (int)(f.size - (size_t)(brace + 1 - text));
        while (n && brace[n] != '}') n--;
        printf("{\"final\":true,\"task\":");
        cli_print_json_string(fv_json_string(config, fv_json_get(config, root, "task"), ""));
        printf(",\"variant\":");
        root = fv_json_get(config, root, "train");
        cli_print_json_string(fv_json_string(config, fv_json_get(config, root, "variant"), "llm"));
        printf(",%.*s\n", n, brace + 1);
        fv_file_close(c, &f);
    }
    fv_json_free(c, result), fv_json_free(c, config);
    return cli_end(c);
}

/* "tiny28, tiny (default), small" */
static void preset_names(const task *t, char *text, size_t n) {
    size_t at = 0;
    for (int i = 0; t->presets[i][0] && at < n; i++)
        at += (size_t)snprintf(text + at, n - at, "%s%s%s", i ? ", " : "", t->presets[i][0],
                               i ? "" : " (default)");
}

/* The preset of that name; without one the first, unless a config file stands in its place: then what the
 * library takes for whatever is not said, in the task's network. */
static int put_preset(run *r, const char *name, int config) {
    put_text(&r->s, "seed=0");
    for (int i = 0; r->task->presets[i][0]; i++) {
        const char *words = r->task->presets[i][1];
        if (name && strcmp(r->task->presets[i][0], name)) continue;
        char arch[64];
        snprintf(arch, sizeof arch, "%.*s", (int)strcspn(words, " "), words); /* "arch=..." comes first */
        put_words(&r->s, name || !config ? words : arch);
        return 1;
    }
    return 0;
}

/* JSON that no user can have typed: the limit is the default preset's, which was made for the demo */
#define UNSAID "unsaid"
/* preset or config file, --set, direct options: each over the one before; 0: a status was said, in *bad or in
 * r->c */
static int read_settings(run *r, cli *a, char sets[][256], int set_count, int *bad) {
    const char *config = cli_value(a, "--config"), *preset = cli_value(a, "--preset");
    char names[512];
    if (!put_preset(r, preset, config != NULL)) {
        preset_names(r->task, names, sizeof names);
        *bad = cli_fail(2, "--preset %s: unknown; one of %s", preset, names);
        return 0;
    }
    double limit = number_of(&r->s, 't', "limit", 0);
    if (limit > 0 && !preset) put(&r->s, 't', "limit", UNSAID);
    fv_json *j = config ? fv_json_open(r->c, config) : NULL;
    if (j) put_json(&r->s, j);
    fv_json_free(r->c, j);
    for (int i = 0; i < set_count && !*bad; i++)
        if (!put_text(&r->s, sets[i])) *bad = cli_fail(2, "--set %s: KEY=VALUE is wanted", sets[i]);
    if (*bad || !read_options(a, r, bad) || fv_error(r->c)) return 0;
    if (!strcmp(value_of(&r->s, 't', "limit", ""), UNSAID)) {
        put_number(&r->s, 't', "limit", limit);
        r->limit_unsaid = strcmp(cli_text(a, "--data", ""), "demo") != 0;
    }
    if (settings_fault(&r->s, names, sizeof names))
        *bad =
            *r->s.wrong ? cli_fail(2, "%s: %s", config ? config : "--set", names) : cli_fail(2, "%s", names);
    if (!value_of(&r->s, 't', "variant", NULL)) put_text(&r->s, "variant=llm");
    return !*bad;
}

/* which items are trained on; said before anything is made on the disk */
static int plan(run *r) {
    run_limit_test(r);
    int hold = run_holdout(r), limit = (int)number_of(&r->s, 't', "limit", 0);
    double items = number_of(&r->s, 't', "batch_size", 128) * number_of(&r->s, 't', "grad_accum", 1);
    if (items > INT32_MAX)
        return fv_fail(r->c, FV_EUSAGE, "batch_size times grad_accum: %.0f items a step are too many", items);
    int step = (int)items;
    r->order_count = hold < r->count[SPLIT_TRAIN] ? r->count[SPLIT_TRAIN] - hold : 0;
    double fraction = number_of(&r->s, 't', "fraction", 1);
    if (!(fraction > 0 && fraction <= 1))
        return fv_fail(r->c, FV_EUSAGE, "fraction %g: above 0, up to 1", fraction);
    if (limit > 0 && limit < r->order_count) {
        if (r->limit_unsaid && !r->rank)
            fprintf(stderr, "fv: the default preset trains on %d of %d %s; --limit 0 takes all\n", limit,
                    r->order_count, r->task->items);
        r->order_count = limit;
    }
    r->order_count = (int)(fraction * r->order_count);
    int batch_size = (int)number_of(&r->s, 't', "batch_size", 128);
    if (batch_size % r->ranks)
        return fv_fail(r->c, FV_EUSAGE, "%d GPUs cannot share batches of %d equally", r->ranks, batch_size);
    if (step < 1 || r->order_count < step)
        return fv_fail(r->c, FV_EUSAGE, "%d %s are too few for a step of %d", r->order_count, r->task->items,
                       step);
    r->order = (int32_t *)fv_alloc(r->c, (size_t)r->order_count * sizeof *r->order);
    return r->order != NULL;
}

static int load_init(run *r, const char *path) {
    fv_weights *w = fv_error(r->c) || !path ? NULL : fv_weights_open(r->c, path);
    if (w) fv_model_load(r->c, r->model, w, "");
    fv_weights_close(r->c, w);
    return !fv_error(r->c);
}

/* config.json keeps paths and the names of classes, and JSON is UTF-8: with other bytes the run would be
 * trained, and could not be read again */
static int names_are_utf8(run *r) {
    for (int i = -2; i < (r->class_names ? r->classes : 0) && !fv_error(r->c); i++) {
        const char *what = i == -2   ? "the LLM's path"
                           : i == -1 ? "the data's path"
                                     : "the class",
                   *name = i == -2   ? r->llm_path
                           : i == -1 ? r->data_path
                                     : r->class_names[i];
        fv_text t = {NULL, 0, 0};
        fv_text_json_string(r->c, &t, name);
        fv_json *j = fv_json_parse(r->c, t.data, t.size, "");
        if (fv_error(r->c) == FV_EFORMAT)
            fv_clear_error(r->c), fv_fail(r->c, FV_EUSAGE, "%s \"%s\" is not UTF-8", what, name);
        fv_json_free(r->c, j), fv_text_free(r->c, &t);
    }
    return !fv_error(r->c);
}

static int train(run *r, cli *a, const char *out, int save_every, group *g) {
    const char *data = cli_value(a, "--data");
    char words[4300];
    r->rank = g->rank, r->ranks = g->size;
    if (run_data(r, data) && run_llm(r, cli_value(a, "--llm"), !strcmp(data, "demo")) &&
        r->task->open(r, r->data_path) && names_are_utf8(r) && run_open_model(r) && plan(r) &&
        load_init(r, cli_value(a, "--init"))) {
        r->profile = cli_value(a, "--profile") != NULL;
        int recompute = cli_value(a, "--recompute") != NULL;
        fv_recompute(r->c, recompute);
        /* what recomputation costs is told with the result */
        fv_profile_reset(r->c, r->profile || recompute);
        run_catch_signals();
        if (!r->rank && mkdir(out, 0777) && (errno != EEXIST || !cli_value(a, "--resume")))
            fv_fail(r->c, FV_EIO, "%s: cannot be made: %s", out, strerror(errno));
        if (!r->rank) run_write_config(r, out);
        group_join(g, r);
        run_progress show = cli_value(a, "--progress") ? PROGRESS_LINES
                            : cli_value(a, "--quiet")  ? PROGRESS_NONE
                                                       : PROGRESS_BAR;
        if (!fv_error(r->c)) run_train(r, out, save_every, cli_value(a, "--json") != NULL, show);
    }
    /* all have found it, and the first one says so */
    if (r->rank && fv_error(r->c) == FV_ENONFINITE) fv_clear_error(r->c);
    int status = run_end(r);
    if (r->rank) return status;
    if (status || !is_interrupted()) return status;
    run_interrupted(out, words, sizeof words);
    return cli_fail(130, "%s", words);
}

static int print_tasks(void) {
    printf("\ntasks, their presets, and training keys of their own (tools/tasks/*.c says what they do):\n");
    for (int i = 0; tasks[i]; i++) {
        char names[512];
        preset_names(tasks[i], names, sizeof names);
        printf("  %-10s %s\n             presets %s\n", tasks[i]->name, tasks[i]->about, names);
        for (int k = 0; tasks[i]->keys && tasks[i]->keys[k]; k++)
            printf(k ? " %s" : "             keys %s", tasks[i]->keys[k]);
        printf(tasks[i]->keys && *tasks[i]->keys ? "\n" : "");
    }
    return 0;
}

/* ---- the command line ---- */
static const cli_option table[] = {
    {"--data", "DIR|demo", "the data set's folder; demo fetches or makes one", NULL},
    {"--out", "DIR", "the run's folder; must not exist, but with --resume", NULL},
    {"--preset", "NAME", "sizes and schedule, see below", NULL},
    {"--config", "FILE", "a config.json (of a run, or a model's): in place of a preset, or over --preset",
     NULL},
    {"--set", "KEY=VALUE", "any key of model, training or frozen.KEY; many are fine", NULL},
    {"--init", "FILE", "start from these weights (safetensors)", NULL},
    {"--llm", "FILE", "the language model: GGUF or safetensors; base, linear and mlp take no block of it",
     NULL},
    {"--layers", "N[,N]", "which blocks (default: the last), where the variant has any", NULL},
    {"--variant", "NAME", "base linear mlp llm random shuffled finetune scratch", NULL},
    {"--residual", "MODE", "none inside outside both outside_nn", NULL},
    {"--epochs", "N", "passes over the training items", NULL},
    {"--batch", "N", "items a step", NULL},
    {"--lr", "X", "the highest learning rate", NULL},
    {"--seed", "N", "of everything random", NULL},
    {"--precision", "f32|bf16", "f32 unless said", NULL},
    {"--threads", "N", "all cores unless said", NULL},
    {"--limit", "N", "first N training items (of class folders: mixed); 0: all", NULL},
    {"--save-every", "N", "steps between checkpoints (default 100)", NULL},
    {"--resume", NULL, "go on where the run's folder stands, with what it was begun with", NULL},
    {"--recompute", NULL, "less memory, more time: fv bench step --recompute says how much", NULL},
    {"--profile", NULL, "where the time of the steps went, by op, and its share of the peak", NULL},
    CLI_DEVICE,
    {"--gpus", "N", "on N GPUs from that one on, each with its part of a batch", NULL},
    CLI_GPU,
    {"--json", NULL, "JSON lines on stdout", NULL},
    {"--quiet", NULL, "no progress bar", NULL},
    {"--progress", NULL, "progress as lines, for a program that reads them", NULL},
    {NULL, NULL, NULL, NULL}};
/* what was asked for */
typedef struct request {
    cli a;
    cli_option options[sizeof table / sizeof *table];
    char sets[64][256]; /* of --set */
    int set_count, save_every, gpus;
    const char *out;
    fv_desc desc;
} request;

/* --set may come many times, with many values: taken out before the rest is read. Returns how many words are
 * left in argv, -1 after saying what is wrong. */
static int take_sets(request *q, int argc, char **argv) {
    cli_option set[] = {{"--set", "KEY=VALUE", NULL, NULL}, {NULL, NULL, NULL, NULL}};
    int n = 0, follows = 0, took;
    for (int i = 0; i < argc; i++) {
        const char *value = argv[i], *word = argv[i];
        follows = follows && *word != '-' && strchr(word, '=');
        if (!follows) {
            if ((took = cli_take(set, argc, argv, &i)) < 0) return -1;
            if (!took) {
                argv[n++] = argv[i];
                continue;
            }
            value = set->value, follows = argv[i] != word; /* --set=KEY=VALUE is one value */
        }
        if (q->set_count == 64)
            return cli_fail(2, "--set %s: over 64 values; write them into a file for --config", value), -1;
        if (strlen(value) >= sizeof q->sets[0]) return cli_fail(2, "--set %.40s...: too long", value), -1;
        snprintf(q->sets[q->set_count++], sizeof q->sets[0], "%s", value);
    }
    return n;
}

/* -1, or the status to exit with */
static int read_command(request *q, const task **t, int argc, char **argv) {
    int bad = 0, n = take_sets(q, argc, argv), help = 0;
    memcpy(q->options, table, sizeof table);
    q->a.usage = "fv train TASK --data DIR --out DIR [options]", q->a.options = q->options;
    q->a.about = "Trains a task's network, with a language model's block inside unless --variant base.";
    for (int i = 0; i < n; i++) help |= !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
    int status = n < 0 ? 2 : cli_parse(&q->a, n, argv);
    if (status == 0 && help) return print_tasks();
    if (status >= 0) return status;
    const cli *a = &q->a;
    if (a->count > 1) return cli_fail(2, "\"%s\" is one word too many; usage: %s", a->words[1], a->usage);
    *t = a->count == 1 ? task_named(a->words[0]) : NULL;
    if (!*t)
        return cli_fail(2,
                        a->count ? "task \"%s\": unknown; fv train --help lists them"
                                 : "a task is wanted; fv train --help lists them",
                        a->words[0]);
    q->out = cli_value(a, "--out");
    if (!cli_value(a, "--data") || !q->out)
        return cli_fail(2, "--data and --out are wanted; usage: %s", a->usage);
    cli_context(a, &q->desc, &bad);
    q->save_every = (int)cli_int(a, "--save-every", 100, 1, &bad);
    q->gpus = (int)cli_int(a, "--gpus", 1, 1, &bad);
    if (bad) return 2;
    if (q->gpus > GROUP_MOST) return cli_fail(2, "--gpus %d: up to %d", q->gpus, GROUP_MOST);
    if (cli_value(a, "--gpus") && !cli_value(a, "--device")) q->desc.device = FV_CUDA;
    return q->gpus > 1 && q->desc.device != FV_CUDA ? cli_fail(2, "--gpus %d: not with --device cpu", q->gpus)
                                                    : -1;
}

/* The settings of these words, nothing else opened. -1, or the status to exit with, which was said; *bad
 * says the same of read_settings, where r->c may have it too. */
static int read_only(request *q, run *r, int argc, char **argv, int *bad) {
    const task *t;
    memset(q, 0, sizeof *q);
    int status = read_command(q, &t, argc, argv);
    if (status >= 0) return status;
    run_begin(r, NULL);
    r->task = t, r->s.task_keys = t->keys;
    read_settings(r, &q->a, q->sets, q->set_count, bad);
    return -1;
}
int train_fits(int argc, char **argv) {
    static request q; /* large */
    run r;
    int bad = 0, status = read_only(&q, &r, argc, argv, &bad);
    if (status >= 0) return status;
    int demo = !strcmp(cli_value(&q.a, "--data"), "demo"); /* it comes with a language model */
    if (!bad && run_stage_fits(&r) && !demo && run_llm(&r, cli_value(&q.a, "--llm"), 0) && *r.llm_path)
        r.llm = fv_weights_open(r.c, r.llm_path);
    status = run_end(&r);
    return bad ? 2 : status;
}
int train_depth(int argc, char **argv, int *depth) {
    static request q;
    run r;
    int bad = 0, status = read_only(&q, &r, argc, argv, &bad);
    if (status >= 0) return status;
    *depth = (int)number_of(&r.s, 'm', "depth", 0);
    status = run_end(&r);
    return bad ? 2 : status;
}

int cmd_train(int argc, char **argv) {
    static request q;
    run r;
    const task *t;
    int bad = 0, status = read_command(&q, &t, argc, argv);
    if (status >= 0) return status;
    int resume = cli_value(&q.a, "--resume") != NULL;
    if (!resume && cli_taken(q.out, "--resume goes on with it")) return 2;
    if (resume && cli_foreign(q.out, "config.json")) return 2;
    if (resume && finished(q.out)) return say_finished(q.out, cli_value(&q.a, "--json") != NULL);
    group g;
    run_die_on_signals(q.out);
    status = group_start(&g, q.gpus, &q.desc);
    if (status) return status;
    run_begin(&r, &q.desc);
    r.task = t, r.s.task_keys = t->keys;
    if (!read_settings(&r, &q.a, q.sets, q.set_count, &bad)) {
        status = run_end(&r);
        return bad ? 2 : status;
    }
    return train(&r, &q.a, q.out, q.save_every, &g);
}
