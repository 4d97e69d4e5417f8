#define _GNU_SOURCE /* realpath */
#include "run.h"
#include "profile.h"
#include "data/npy.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;
static void on_signal(int number) { (void)number, interrupted = 1; }
int is_interrupted(void) { return interrupted; }
void run_catch_signals(void) { signal(SIGINT, on_signal), signal(SIGTERM, on_signal); }

static char last_words[4400];
void run_leave(int status, const char *words) {
    if (write(2, words, strlen(words)) < 0) status = status ? status : 4;
    _exit(status);
}
void run_leave_interrupted(int number) { (void)number, run_leave(130, last_words); }
void run_interrupted(const char *out, char *words, size_t n) {
    char path[4200];
    snprintf(path, sizeof path, "%s/latest", out);
    if (access(path, F_OK))
        snprintf(words, n, "interrupted before the first checkpoint; --resume begins %s anew", out);
    else snprintf(words, n, "interrupted; %s can be resumed", out);
}
void run_die_on_signals(const char *out) {
    char words[4300];
    struct sigaction a;
    run_interrupted(out, words, sizeof words);
    snprintf(last_words, sizeof last_words, "fv: %s\n", words);
    memset(&a, 0, sizeof a);
    a.sa_handler = run_leave_interrupted;
    sigfillset(&a.sa_mask); /* the sentence is said once */
    sigaction(SIGINT, &a, NULL), sigaction(SIGTERM, &a, NULL);
}

void run_begin(run *r, const fv_desc *desc) {
    memset(r, 0, sizeof *r);
    r->ranks = 1;
    r->c = fv_create(desc);
}

int run_end(run *r) {
    if (r->data && r->task) r->task->close(r);
    fv_model_destroy(r->c, r->model);
    fv_weights_close(r->c, r->llm);
    fv_free(r->c, r->class_names);
    fv_free(r->c, r->order);
    fv_free(r->c, r->vocabulary);
    return cli_end(r->c);
}

/* ---- figures ---- */
void figure_add(figures *f, const char *name, double value, const char *unit) {
    if (f->count == (int)(sizeof f->at / sizeof *f->at)) return;
    figure *one = &f->at[f->count++];
    snprintf(one->name, sizeof one->name, "%.47s", name);
    one->value = value, one->unit = unit;
}
static int decimals(const figure *f) {
    return *f->unit == '%' ? 2 : *f->unit == 'm' ? 3 : *f->unit == '#' ? 0 : 5;
}
void figures_json(fv_ctx *c, fv_text *t, const figures *f) {
    for (int i = 0; i < f->count; i++) {
        fv_text_add(c, t, i ? "," : "");
        fv_text_json_string(c, t, f->at[i].name);
        if (isfinite(f->at[i].value)) fv_text_add(c, t, ":%.*f", decimals(&f->at[i]), f->at[i].value);
        else fv_text_add(c, t, ":null");
    }
}
void figures_print(const figures *f) {
    for (int i = 0; i < f->count; i++)
        printf("%s%s %.*f%s%s", i ? ", " : "", f->at[i].name, decimals(&f->at[i]), f->at[i].value,
               *f->at[i].unit && *f->at[i].unit != '#' ? " " : "",
               *f->at[i].unit == '#' ? "" : f->at[i].unit);
}

/* ---- data and language model ---- */
static void cache_folder(char *path, size_t n, const char *what) {
    const char *own = getenv("FROZENVIS_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && *own) snprintf(path, n, "%s/%s", own, what);
    else if (xdg && *xdg) snprintf(path, n, "%s/frozenvis/%s", xdg, what);
    else snprintf(path, n, "%s/.cache/frozenvis/%s", home ? home : "/tmp", what);
}

/* The path that tools/fetch.sh prints for a thing. The script lies beside the program's folder (build/fv),
 * where make install put it, or a folder further up (build/cuda/fv). */
int run_fetch(run *r, const char *what, char *path) {
    static const char *const places[] = {"tools", "share/frozenvis", "../tools"};
    char self[4096], script[4200];
    int pipes[2], status = 0, place = 0;
    size_t used = 0;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash) *slash = 0;
    }
    for (; place < 3; place++) {
        snprintf(script, sizeof script, "%s/%s/fetch.sh", self, places[place]);
        if (!access(script, R_OK)) break;
    }
    if (place == 3)
        return fv_fail(r->c, FV_EIO,
                       "tools/fetch.sh, which fetches %s, is not beside the program; give --data and --llm",
                       what);
    if (pipe(pipes)) return fv_fail(r->c, FV_EUNAVAILABLE, "a process could not be started");
    fflush(NULL);
    pid_t p = fork();
    if (p == 0) {
        dup2(pipes[1], 1), close(pipes[0]), close(pipes[1]);
        execlp("sh", "sh", script, what, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    while (p > 0 && used < 4095 && (n = read(pipes[0], path + used, 4095 - used)) != 0)
        if (n > 0) used += (size_t)n;
        else if (errno != EINTR) break;
    close(pipes[0]);
    while (p > 0 && waitpid(p, &status, 0) < 0 && errno == EINTR)
        ;
    path[used] = 0;
    path[strcspn(path, "\n")] = 0;
    if (p < 0 || status || !*path)
        return fv_fail(r->c, FV_EIO, "%s could not be fetched; sh tools/fetch.sh %s says why", what, what);
    return 1;
}

void remove_folder(const char *path) {
    pid_t p = fork();
    if (p == 0) {
        execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
        _exit(127);
    }
    if (p > 0) waitpid(p, NULL, 0);
}

static int make_folders(const char *path) {
    char at[4096];
    snprintf(at, sizeof at, "%s", path);
    for (char *p = at + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(at, 0777);
            *p = '/';
        }
    return mkdir(at, 0777) == 0 || errno == EEXIST;
}

/* A demo that is made is made once, in a folder that gets its name when it is whole. */
static int make_demo(run *r, char found[][4096]) {
    char parent[4096], making[4200];
    cache_folder(parent, sizeof parent, "");
    snprintf(making, sizeof making, "%s.making-%ld", r->data_path, (long)getpid());
    if (!make_folders(parent) || !make_folders(making))
        return fv_fail(r->c, FV_EIO, "%s: cannot be made: %s", making, strerror(errno));
    int made = r->task->demo(r, making, found) && !fv_error(r->c);
    if (made && rename(making, r->data_path) && access(r->data_path, F_OK))
        made = fv_fail(r->c, FV_EIO, "%s: cannot be made: %s", r->data_path, strerror(errno));
    if (!access(making, F_OK)) remove_folder(making);
    return made;
}
/* The demo's folder of that name: demo-TASK-1, or demo-TASK-THING-1 with a thing that the demo can do
 * without. The number changes with what the demo writes. 1 when it is there. */
static int demo_folder(run *r, const char *thing) {
    char name[128];
    snprintf(name, sizeof name, "demo-%s%s%s-%d", r->task->name, thing ? "-" : "", thing ? thing : "",
             r->task->demo_version + 1);
    cache_folder(r->data_path, sizeof r->data_path, name);
    return !access(r->data_path, F_OK);
}
static int demo_data(run *r) {
    static char found[4][4096];
    char words[128];
    const char *extra = NULL;
    int count = 0;
    snprintf(words, sizeof words, "%s", r->task->fetch ? r->task->fetch : "");
    for (char *w = strtok(words, " "); w && count < 4; w = strtok(NULL, " "), count++) {
        found[count][0] = 0;
        if (*w != '?') {
            if (!run_fetch(r, w, found[count])) return 0;
            continue;
        }
        cache_folder(r->data_path, sizeof r->data_path, ++w);
        int there = !access(r->data_path, F_OK);
        if (there) fprintf(stderr, "fv: demo of %s: with %s, which is in the cache\n", r->task->name, w);
        else
            fprintf(stderr, "fv: demo of %s: without %s, which sh tools/fetch.sh %s would get\n",
                    r->task->name, w, w);
        if (there && demo_folder(r, w)) return 1;
        if (there && !run_fetch(r, w, found[count])) return 0;
        if (there) extra = w;
    }
    if (!r->task->demo) return snprintf(r->data_path, sizeof r->data_path, "%s", found[0]) > 0;
    return demo_folder(r, extra) || make_demo(r, found);
}

int run_data(run *r, const char *data) {
    char full[4096];
    if (fv_error(r->c)) return 0;
    if (!strcmp(data, "demo")) return demo_data(r);
    snprintf(r->data_path, sizeof r->data_path, "%s", realpath(data, full) ? full : data);
    return 1;
}

static int wants_llm(const run *r) {
    static const char *const names[] = {"llm", "random", "shuffled", "finetune"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_text(&r->s, 't', "variant", names[i])) return 1;
    return 0;
}

int run_llm(run *r, const char *llm, int demo) {
    char full[4096];
    int wanted = r->task->words || wants_llm(r);
    if (!fv_error(r->c) && llm && access(llm, R_OK)) /* though the variant may want none of it */
        return fv_fail(r->c, FV_EIO, "%s: cannot be opened: %s", llm, strerror(errno));
    if (fv_error(r->c) || (is_text(&r->s, 't', "variant", "base") && !r->task->words)) return !fv_error(r->c);
    if (llm) snprintf(r->llm_path, sizeof r->llm_path, "%s", realpath(llm, full) ? full : llm);
    else if (demo) return run_fetch(r, "smollm2", r->llm_path);
    else if (wanted && r->task->words)
        return fv_fail(r->c, FV_EUSAGE,
                       "the task %s wants a language model for its tokenizer: --llm FILE (a GGUF file)",
                       r->task->name);
    else if (wanted)
        return fv_fail(r->c, FV_EUSAGE,
                       "variant %s wants a language model: --llm FILE (a GGUF or safetensors file)",
                       value_of(&r->s, 't', "variant", "llm"));
    return 1;
}

/* ---- the model ---- */
int run_stage_fits(run *r) {
    fv_text t = {0};
    fv_frozen_config g;
    fv_text_add(r->c, &t, "{");
    section_json(r->c, &t, &r->s, 'f');
    fv_text_add(r->c, &t, "}");
    fv_json *j = fv_error(r->c) ? NULL : fv_json_parse(r->c, t.data, t.size, "config");
    if (j) fv_frozen_config_parse(r->c, j, fv_json_root(j), 1, &g);
    fv_json_free(r->c, j);
    fv_text_free(r->c, &t);
    return !fv_error(r->c);
}

int run_open_model(run *r) {
    fv_text t = {0};
    int base = is_text(&r->s, 't', "variant", "base");
    if (fv_error(r->c)) return 0;
    /* there is no stage, but what is set of one is looked at all the same */
    if (base && !run_stage_fits(r)) return 0;
    if (!base) put(&r->s, 'f', "variant", value_of(&r->s, 't', "variant", "\"llm\""));
    if (*r->llm_path && !base) r->llm = fv_weights_open(r->c, r->llm_path);
    model_json(r->c, &t, &r->s);
    fv_model_desc d;
    memset(&d, 0, sizeof d);
    d.seed = (uint64_t)number_of(&r->s, 't', "seed", 0), d.llm = r->llm;
    r->bf16 = is_text(&r->s, 't', "precision", "bf16");
    if (r->bf16) d.pack = FV_BF16;
    if (!fv_error(r->c)) r->model = fv_model_create(r->c, t.data, t.size, &d);
    fv_text_free(r->c, &t);
    return r->model != NULL;
}

static int read_vocabulary(run *r, const fv_json *j) {
    fv_jnode list = fv_json_get(j, fv_json_root(j), "vocabulary");
    int n = 0;
    r->words = fv_json_count(j, list);
    if (r->words) r->vocabulary = (int32_t *)fv_alloc(r->c, (size_t)r->words * sizeof *r->vocabulary);
    for (fv_jnode e = fv_json_first(j, list); e && r->vocabulary; e = fv_json_next(j, e))
        r->vocabulary[n++] = (int32_t)fv_json_number(j, e, -1);
    return !fv_error(r->c);
}

/* as many names as the network has classes, or none: of tasks without, and of checkpoints of others */
static int read_class_names(run *r, const fv_json *j, const char *path) {
    fv_jnode names = fv_json_get(j, fv_json_root(j), "class_names");
    int i = 0, wanted = (int)number_of(&r->s, 'm', "num_classes", -1);
    r->classes = fv_json_count(j, names);
    if (names && fv_json_type(j, names) != FV_JSON_ARRAY)
        return fv_fail(r->c, FV_EFORMAT, "%s: \"class_names\": a list of strings is wanted", path);
    if (wanted >= 0 && r->classes && r->classes != wanted)
        return fv_fail(r->c, FV_EUSAGE, "%s: %d class_names, and num_classes is %d", path, r->classes,
                       wanted);
    if (r->classes) r->class_names = (char(*)[CLASS_NAME])fv_alloc(r->c, (size_t)r->classes * CLASS_NAME);
    for (fv_jnode n = fv_json_first(j, names); n && r->class_names; n = fv_json_next(j, n)) {
        const char *name = fv_json_string(j, n, NULL);
        if (!name || strlen(name) >= CLASS_NAME)
            return fv_fail(r->c, FV_EFORMAT,
                           "%s: class_names, number %d: a string of at most %d bytes is wanted", path, i,
                           CLASS_NAME - 1);
        snprintf(r->class_names[i++], CLASS_NAME, "%s", name);
    }
    return !fv_error(r->c);
}

/* The blocks are those of the training; runs of before do not say which these were. */
static void same_layers(run *r, const fv_json *j, fv_jnode list) {
    const fv_frozen *f = fv_error(r->c) || !r->model ? NULL : r->model->frozen;
    int same = f && fv_json_count(j, list) == f->config.num_layers;
    for (int i = 0; same && i < f->config.num_layers; i++)
        same = fv_json_int(j, fv_json_at(j, list, i), -1) == f->config.layers[i];
    if (f && list && !same)
        fv_fail(r->c, FV_EUSAGE, "%s: the blocks are not those of the training, which config.json lists",
                r->llm_path);
}

fv_json *run_reopen(run *r, const char *dir, const char *data) {
    char path[4200], why[512];
    snprintf(path, sizeof path, "%s/config.json", dir);
    fv_json *j = fv_error(r->c) ? NULL : fv_json_open(r->c, path);
    if (!j) return NULL;
    fv_jnode root = fv_json_root(j), llm = fv_json_get(j, root, "llm");
    const char *name = fv_json_string(j, fv_json_get(j, root, "task"), "image"),
               *hash = fv_json_string(j, fv_json_get(j, llm, "sha256"), "");
    r->task = task_named(name);
    if (!r->task)
        return fv_json_free(r->c, j), fv_fail(r->c, FV_EUSAGE, "%s: the task \"%s\" is unknown", path, name),
               (fv_json *)NULL;
    r->s.task_keys = r->task->keys;
    put_json(&r->s, j);
    if (settings_fault(&r->s, why, sizeof why))
        return fv_json_free(r->c, j), fv_fail(r->c, FV_EFORMAT, "%s: %s", path, why), (fv_json *)NULL;
    snprintf(r->llm_path, sizeof r->llm_path, "%s", fv_json_string(j, fv_json_get(j, llm, "path"), ""));
    if (!data) data = fv_json_string(j, fv_json_get(j, root, "data"), "");
    read_class_names(r, j, path);
    read_vocabulary(r, j);
    if (!*data) snprintf(r->data_path, sizeof r->data_path, "%s", "");
    else run_data(r, data);
    run_open_model(r);
    if (r->model && r->model->frozen && *hash && strcmp(hash, fv_frozen_hash(r->model->frozen)))
        fv_fail(r->c, FV_EUSAGE,
                "%s: the language model is not the one of the training: its tensors' SHA-256 differs",
                r->llm_path);
    same_layers(r, j, fv_json_get(j, llm, "layers"));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    fv_weights *w = fv_error(r->c) ? NULL : fv_weights_open(r->c, path);
    if (w) fv_model_load(r->c, r->model, w, "");
    fv_weights_close(r->c, w);
    if (!fv_error(r->c)) fv_autocast(r->c, r->bf16 ? FV_BF16 : FV_F32);
    if (!fv_error(r->c) && fv_model_pack(r->c, r->model, r->bf16 ? FV_BF16 : FV_F32)) return j;
    fv_json_free(r->c, j);
    return NULL;
}

void run_limit_test(run *r) {
    int most = (int)number_of(&r->s, 't', "test_limit", 0);
    if (most > 0 && most < r->count[SPLIT_TEST]) r->count[SPLIT_TEST] = most;
}
int run_class_named(const run *r, const char *name) {
    for (int i = 0; i < r->classes; i++)
        if (!strcmp(r->class_names[i], name)) return i;
    return -1;
}
int run_put_classes(run *r, int classes) {
    const char *given = value_of(&r->s, 'm', "num_classes", NULL);
    double n = number_of(&r->s, 'm', "num_classes", classes);
    if (fv_error(r->c) || r->model) return !fv_error(r->c);
    if (given && (*given == '"' || n < classes || n > classes))
        return fv_fail(r->c, FV_EUSAGE, "num_classes is %.40s, and the data has %d classes", given, classes);
    put_number(&r->s, 'm', "num_classes", classes);
    return 1;
}

int run_open_data(run *r) {
    if (r->data) return 1;
    if (!fv_error(r->c) && !*r->data_path)
        return fv_fail(r->c, FV_EUSAGE, "the run names no data: --data DIR is wanted");
    if (fv_error(r->c) || !r->task->open(r, r->data_path)) return 0;
    if (!r->on_val) run_limit_test(r);
    return 1;
}

void run_score(run *r, int split, int item, double score) {
    if (r->score && split == SPLIT_TEST && item < r->count[SPLIT_TEST]) r->score[item] = (float)score;
}
fv_rng run_rng(const run *r, int epoch, int32_t item) {
    uint64_t seed = epoch < 0 ? 0 : (uint64_t)number_of(&r->s, 't', "seed", 0);
    fv_rng g = {seed, 1000003u * (uint64_t)(epoch + 1) + (uint64_t)item, 0};
    return g;
}

const char *run_list_end(int json) { return json > 1 ? "],\"final\":true}" : json ? "]}" : ""; }

/* half the split further on: another item, and a permutation of the split */
int32_t run_other(const run *r, int split, int32_t item) {
    return r->blind ? (int32_t)((item + r->count[split] / 2) % r->count[split]) : item;
}

fv_tensor *run_forward(run *r, const batch *b) {
    return fv_error(r->c) ? NULL
                          : fv_model_forward_many(r->c, r->model, (fv_tensor *const *)b->input, b->inputs);
}
fv_tensor *run_loss(run *r, fv_tensor *y, const batch *b) {
    if (!y) return NULL;
    if (r->task->loss) return r->task->loss(r, y, b);
    return fv_cross_entropy(r->c, y, b->target[0], (float)number_of(&r->s, 't', "label_smoothing", 0));
}

/* ---- classification's measures ---- */
int run_rank(const fv_tensor *y, int row, int label) {
    int rank = 0;
    int64_t n = y->dim[1];
    if (label < 0 || label >= n) return (int)n;
    for (int64_t k = 0; k < n; k++)
        rank += k != label && !(fv_get(y, row * n + k) < fv_get(y, row * n + label));
    return rank;
}
typedef struct scored {
    float score;
    int positive;
} scored;
static int by_score(const void *a, const void *b) {
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

/* area under the curve of one class against the rest, ties counted as half; NAN where one side is empty */
static double area(scored *s, int n) {
    double rank_sum = 0, positives = 0;
    qsort(s, (size_t)n, sizeof *s, by_score);
    for (int i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && s[j].score <= s[i].score; j++)
            ;
        for (int k = i; k < j; k++)
            if (s[k].positive) rank_sum += 0.5 * (i + 1 + j), positives++;
    }
    double negatives = n - positives;
    return positives > 0 && negatives > 0
               ? (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
               : NAN;
}

static double mean_area(run *r, const float *score, const int32_t *label, int n, int classes) {
    scored *s = (scored *)fv_alloc(r->c, (size_t)n * sizeof *s);
    double sum = 0;
    int counted = 0;
    for (int k = 0; k < classes && s; k++) {
        for (int i = 0; i < n; i++)
            s[i].score = score[(size_t)i * (size_t)classes + (size_t)k], s[i].positive = label[i] == k;
        double a = area(s, n);
        if (isfinite(a)) sum += a, counted++;
    }
    fv_free(r->c, s);
    return counted ? sum / counted : NAN;
}

int run_mean(const fv_tensor *p, int64_t row, int64_t views, float *mean) {
    int finite = 1;
    for (int64_t k = 0, K = p->dim[1]; k < K; k++) {
        double sum = 0;
        for (int64_t v = 0; v < views; v++) sum += fv_get(p, (row + v) * K + k);
        mean[k] = (float)(sum / (double)views), finite &= isfinite(mean[k]) != 0;
    }
    return finite;
}
int run_probabilities(run *r, int split, const int32_t *index, int n, float *p, int32_t *label,
                      double *loss) {
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0);
    int64_t K = r->model->num_classes, V = 0;
    batch b;
    fv_reset(r->c);
    memset(&b, 0, sizeof b), b.with_loss = 1;
    fv_tensor *y = r->task->batch(r, split, index, n, -1, &b) ? run_forward(r, &b) : NULL;
    fv_tensor *mean = y ? fv_cross_entropy(r->c, y, b.target[0], 0) : NULL,
              *say = mean ? fv_softmax(r->c, y) : NULL;
    if (say) V = say->dim[0] / n;
    if (V && loss) *loss = V > 1 ? 0 : fv_get(mean, 0);
    for (int64_t i = 0; V && i < n; i++) {
        int32_t one = ((const int32_t *)b.target[0]->data)[i * V];
        if (!run_mean(say, i * V, V, p + i * K))
            fv_fail(r->c, FV_ENONFINITE, "the network's output is not finite");
        if (label) label[i] = one;
        if (loss && V > 1 && one >= 0 && one < K) *loss -= log(fmax((double)p[i * K + one], 1e-30)) / n;
    }
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return fv_error(r->c) ? 0 : (int)V;
}
int run_classes(run *r, int split, int from, int count, figures *f) {
    int classes = r->model->num_classes, done = 0, step = r->task->views ? 1 : 250, views;
    double top1 = 0, top5 = 0, loss_sum = 0, loss;
    const size_t K = (size_t)classes, room = (size_t)(count > 0 ? count : 1);
    float *score = (float *)fv_alloc(r->c, room * K * sizeof *score);
    int32_t *label = (int32_t *)fv_alloc(r->c, room * sizeof *label);
    const fv_tensor said = {.type = FV_F32, .rank = 2, .dim = {(int64_t)room, classes}, .data = score};
    for (int at = from; score && label && at < from + count && !interrupted;) {
        int32_t index[250];
        int n = from + count - at < step ? from + count - at : step;
        for (int i = 0; i < n; i++) index[i] = at + i;
        views = run_probabilities(r, split, index, n, score + (size_t)done * K, label + done, &loss);
        if (!views) break;
        loss_sum += loss * n;
        for (int i = 0; i < n; i++, done++) {
            int rank = run_rank(&said, done, label[done]);
            top1 += rank < 1, top5 += rank < 5;
            run_score(r, split, at + i, 100 * (rank < 1));
        }
        at += n;
        if (r->task->views) step = views < 32 ? 32 / views : 1;
    }
    if (done && !fv_error(r->c)) {
        figure_add(f, "top1", 100 * top1 / done, "%");
        figure_add(f, "top5", 100 * top5 / done, "%");
        figure_add(f, "auc", 100 * mean_area(r, score, label, done, classes), "%");
        figure_add(f, "loss", loss_sum / done, "");
    }
    fv_free(r->c, score);
    fv_free(r->c, label);
    return !fv_error(r->c);
}

int run_measure(run *r, int split, int from, int count, figures *f) {
    return r->task->measure ? r->task->measure(r, split, from, count, f)
                            : run_classes(r, split, from, count, f);
}

int run_holdout(const run *r) {
    double hold = number_of(&r->s, 't', "holdout", 0);
    return hold <= 0 ? 0 : hold < 1 ? (int)(hold * r->count[SPLIT_TRAIN]) : (int)hold;
}

/* ---- the run's folder ---- */
/* SHA-256 of 16 items of a split as the network gets them in a test, spread over it: tells one from another */
static int digest_of(run *r, int split, char hex[65]) {
    fv_sha sha;
    uint8_t digest[32];
    fv_sha_start(&sha);
    for (int i = 0; i < 16 && i < r->count[split]; i++) {
        int32_t item = (int32_t)((int64_t)i * r->count[split] / 16);
        batch b;
        memset(&b, 0, sizeof b), b.with_loss = 1;
        fv_reset(r->c);
        if (!r->task->batch(r, split, &item, 1, -1, &b)) return 0;
        for (int k = 0; k < b.inputs + b.targets; k++) {
            const fv_tensor *t = k < b.inputs ? b.input[k] : b.target[k - b.inputs];
            if (t) fv_sha_add(&sha, t->data, (size_t)fv_numel(t) * fv_type_size(t->type));
        }
    }
    fv_sha_end(&sha, digest);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", (unsigned)digest[i]);
    return 1;
}
/* which blocks of the file are in the stage, though nobody named them: ,"layers":[29] */
static void layers_text(run *r, fv_text *t) {
    const fv_frozen *f = r->model->frozen;
    if (!f || !*fv_frozen_hash(f)) return;
    for (int i = 0; i < f->config.num_layers; i++)
        fv_text_add(r->c, t, i ? ",%d" : ",\"layers\":[%d", f->config.layers[i]);
    fv_text_add(r->c, t, "]");
}
static int config_text(run *r, fv_text *t) {
    char digest[65], training[65];
    if (fv_error(r->c) || !digest_of(r, SPLIT_TEST, digest) || !digest_of(r, SPLIT_TRAIN, training)) return 0;
    fv_text_add(r->c, t, "{\"task\":\"%s\",\"model\":", r->task->name);
    model_json(r->c, t, &r->s);
    fv_text_add(r->c, t, ",\"train\":{");
    section_json(r->c, t, &r->s, 't');
    fv_text_add(r->c, t, "},\"data\":");
    fv_text_json_string(r->c, t, r->data_path);
    fv_text_add(r->c, t,
                ",\"items\":{\"train\":%d,\"test\":%d,\"train_sha256\":\"%s\",\"test_sha256\":\"%s\"}",
                r->count[SPLIT_TRAIN], r->count[SPLIT_TEST], training, digest);
    if (*r->llm_path) {
        fv_text_add(r->c, t, ",\"llm\":{\"path\":");
        fv_text_json_string(r->c, t, r->llm_path);
        layers_text(r, t);
        fv_text_add(r->c, t, ",\"sha256\":\"%s\"}", r->model->frozen ? fv_frozen_hash(r->model->frozen) : "");
    }
    fv_text_add(r->c, t, ",\"class_names\":[");
    for (int i = 0; i < r->classes; i++) {
        if (i) fv_text_add(r->c, t, ",");
        fv_text_json_string(r->c, t, r->class_names[i]);
    }
    fv_text_add(r->c, t, "]");
    for (int i = 0; i < r->words; i++)
        fv_text_add(r->c, t, i ? ",%d" : ",\"vocabulary\":[%d", (int)r->vocabulary[i]);
    fv_text_add(r->c, t, r->words ? "]}\n" : "}\n");
    return !fv_error(r->c);
}

static int unchanged(run *r, const char *out, const char *what, const char *was, const char *is) {
    return !strcmp(was, is) ||
           fv_fail(r->c, FV_EUSAGE,
                   "%s: %s was %s when the run was begun and is %s now; --resume wants what it was begun "
                   "with, anything else another --out",
                   out, what, *was ? was : "absent", *is ? is : "absent");
}
/* What is in one of two configs must be in the other: first with is_now 1, then with 0. */
static int same_settings(run *r, const char *out, const settings *a, const settings *b, int is_now) {
    char name[64];
    for (int i = 0; i < a->count; i++) {
        const setting *s = &a->at[i];
        const char *other = value_of(b, s->section, s->key, "");
        snprintf(name, sizeof name, "%s%s", s->section == 'f' ? "frozen." : "", s->key);
        if (!unchanged(r, out, name, is_now ? other : s->value, is_now ? s->value : other)) return 0;
    }
    return 1;
}
void run_items(const fv_json *j, char *text, size_t n) {
    fv_jnode items = fv_json_get(j, fv_json_root(j), "items");
    snprintf(text, n, "%lld training items, %lld test items, digest %.64s",
             (long long)fv_json_int(j, fv_json_get(j, items, "train"), 0),
             (long long)fv_json_int(j, fv_json_get(j, items, "test"), 0),
             fv_json_string(j, fv_json_get(j, items, "test_sha256"), "unknown"));
}
void run_training(const fv_json *j, char *text, size_t n) {
    fv_jnode items = fv_json_get(j, fv_json_root(j), "items");
    snprintf(text, n, "%.64s", fv_json_string(j, fv_json_get(j, items, "train_sha256"), ""));
}
/* The data and the language model may lie elsewhere by now, as long as they are the same. */
static int same_config(run *r, const char *out, const fv_json *was, const fv_json *now) {
    fv_jnode a = fv_json_root(was), b = fv_json_root(now);
    settings before, after;
    char items[2][192], training[2][80];
    memset(&before, 0, sizeof before), memset(&after, 0, sizeof after);
    put_json(&before, was), put_json(&after, now);
    if (*before.wrong) return fv_fail(r->c, FV_EFORMAT, "%s/config.json: %s", out, before.wrong);
    run_items(was, items[0], sizeof items[0]), run_items(now, items[1], sizeof items[1]);
    run_training(was, training[0], sizeof training[0]), run_training(now, training[1], sizeof training[1]);
    return unchanged(r, out, "the task", fv_json_string(was, fv_json_get(was, a, "task"), ""),
                     r->task->name) &&
           unchanged(r, out, "variant", value_of(&before, 't', "variant", ""),
                     value_of(&after, 't', "variant", "")) &&
           same_settings(r, out, &after, &before, 1) && same_settings(r, out, &before, &after, 0) &&
           unchanged(r, out, "the data set", items[0], items[1]) &&
           (!*training[0] ||
            unchanged(r, out, "the digest of the training items", training[0], training[1])) &&
           unchanged(r, out, "the SHA-256 of the language model's tensors",
                     fv_json_string(was, fv_json_get(was, fv_json_get(was, a, "llm"), "sha256"), ""),
                     fv_json_string(now, fv_json_get(now, fv_json_get(now, b, "llm"), "sha256"), ""));
}
int run_write_config(run *r, const char *out) {
    fv_text t = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/config.json", out);
    int ok = config_text(r, &t);
    if (ok && !access(path, F_OK)) {
        fv_json *was = fv_json_open(r->c, path);
        fv_json *now = was ? fv_json_parse(r->c, t.data, t.size, path) : NULL;
        ok = now && same_config(r, out, was, now);
        fv_json_free(r->c, now), fv_json_free(r->c, was);
    }
    if (ok) fv_write_file(r->c, path, t.data, t.size);
    fv_text_free(r->c, &t);
    return !fv_error(r->c);
}

/* log.jsonl without the lines of steps that will be done again */
static FILE *open_log(run *r, const char *out, int64_t step) {
    char path[4096];
    fv_file f;
    fv_text keep = {0};
    snprintf(path, sizeof path, "%s/log.jsonl", out);
    if (step > 0 && !access(path, F_OK) && fv_file_open(r->c, path, &f)) {
        const char *p = (const char *)f.data, *end = p + f.size, *line;
        for (; p < end && (line = (const char *)memchr(p, '\n', (size_t)(end - p))) != NULL; p = line + 1) {
            long long at = -1;
            char start[40]; /* the file has no NUL at its end */
            snprintf(start, sizeof start, "%.*s", (int)(line - p < 39 ? line - p : 39), p);
            if (sscanf(start, "{\"step\":%lld", &at) == 1 && at <= step)
                fv_text_add(r->c, &keep, "%.*s", (int)(line + 1 - p), p);
        }
        fv_file_close(r->c, &f);
    }
    if (!fv_error(r->c)) fv_write_file(r->c, path, keep.data ? keep.data : "", keep.size);
    fv_text_free(r->c, &keep);
    FILE *log = fv_error(r->c) ? NULL : fopen(path, "a");
    if (!log) fv_fail(r->c, FV_EIO, "%s: cannot be written", path);
    return log;
}

static void progress(int64_t step, int64_t steps, double start, double loss, run_progress show) {
    static double said;
    const char *term = getenv("TERM");
    if (show == PROGRESS_LINES && (step == steps || fv_now() > said + 0.5))
        fprintf(stderr, "progress %lld %lld %.4f\n", (long long)step, (long long)steps, loss),
            said = fv_now();
    if (show != PROGRESS_BAR) return;
    if (!isatty(2) || (term && !strcmp(term, "dumb"))) return;
    double left = (fv_now() - start) / (double)step * (double)(steps - step);
    int full = (int)(30 * step / steps);
    fprintf(stderr, "\r[%.*s%*s] %lld/%lld  loss %.4f  %d:%02d left ", full, "##############################",
            30 - full, "", (long long)step, (long long)steps, loss, (int)left / 60, (int)left % 60);
    if (step == steps) fprintf(stderr, "\n");
}

/* ---- training ---- */
static void new_epoch_order(run *r, int epoch) {
    fv_rng g = {(uint64_t)number_of(&r->s, 't', "seed", 0), 77000000u + (uint64_t)epoch, 0};
    for (int i = 0; i < r->order_count; i++) r->order[i] = i;
    fv_rng_shuffle(&g, r->order, r->order_count);
}

/* Steps, and how far the log is behind them: a GPU is not waited for, so it tells of one two steps late. */
typedef struct course {
    const char *out;
    int size, accum, per_epoch;      /* items of a micro-batch, micro-batches of a step, steps */
    int64_t steps, warm, step, told; /* all, of warm-up; those begun and those in the log */
    double start;
    run_progress show;
    FILE *log;
} course;

static float rate_of(const run *r, const course *w, int64_t step) {
    double lr = number_of(&r->s, 't', "lr", 1e-3) * number_of(&r->s, 't', "lr_scale", 1);
    return fv_lr_cosine(step, w->steps, w->warm, (float)lr, (float)lr * 0.01f,
                        (float)number_of(&r->s, 't', "min_lr", 1e-6));
}

/* what is said of a number that is none: which, where, and what is left of the run */
static void not_finite(run *r, const course *w, const char *what, int64_t step) {
    char path[4200];
    snprintf(path, sizeof path, "%s/latest", w->out);
    fv_fail(r->c, FV_ENONFINITE, "%s at step %lld; %s", what, (long long)step,
            access(path, F_OK) ? "there is no checkpoint yet; a lower --lr may help"
                               : "the last checkpoint is kept");
}
/* An error of that kind without a step gets it, and what is left. */
static void name_step(run *r, const course *w) {
    char what[512];
    if (fv_error(r->c) != FV_ENONFINITE) return;
    snprintf(what, sizeof what, "%s", fv_error_text(r->c));
    fv_clear_error(r->c);
    not_finite(r, w, what, w->step);
}

/* The log's lines of the steps that are known: of all with `wait`, for a checkpoint or a measurement, to
 * which all processes of --gpus come at the same step; so they stop at the same one too. */
static void tell(run *r, fv_optim *o, course *w, int wait) {
    fv_step_result f;
    while (fv_optim_result(r->c, o, wait, &f)) {
        int64_t step = w->told++;
        r->stop |= f.note > 0;
        if (!isfinite(f.loss) || !isfinite(f.norm)) {
            not_finite(r, w, isfinite(f.loss) ? "the gradient is not finite" : "the loss is not finite",
                       w->told);
            return;
        }
        fprintf(w->log, "{\"step\":%lld,\"epoch\":%d,\"loss\":%.6f,\"lr\":%.6g,\"grad_norm\":%.5g}\n",
                (long long)w->told, (int)(step / w->per_epoch), f.loss, (double)rate_of(r, w, step), f.norm);
        progress(w->told, w->steps, w->start, f.loss, r->rank ? PROGRESS_NONE : w->show);
    }
}

/* All micro-batches of a step, or with --gpus this process's part of each, and the update. */
static void one_step(run *r, fv_optim *o, const course *w) {
    int epoch = (int)(w->step / w->per_epoch), part = w->size / r->ranks,
        at = (int)(w->step % w->per_epoch) * w->size * w->accum + r->rank * part;
    for (int a = 0; a < w->accum && !fv_error(r->c); a++) {
        batch b;
        memset(&b, 0, sizeof b), b.with_loss = 1;
        fv_reset(r->c);
        fv_seed(r->c, (uint64_t)number_of(&r->s, 't', "seed", 0), (uint64_t)(w->step * w->accum + a));
        double start = fv_now();
        int made = r->task->batch(r, SPLIT_TRAIN, r->order + at + a * w->size, part, epoch, &b);
        r->data_seconds += fv_now() - start;
        fv_tensor *y = made ? run_forward(r, &b) : NULL, *loss = run_loss(r, y, &b);
        if (loss && w->accum > 1) loss = fv_scale(r->c, loss, 1.0f / (float)w->accum);
        if (!loss) return;
        fv_backward(r->c, loss);
        fv_optim_loss(r->c, o, loss);
    }
    fv_optim_step_async(r->c, o, rate_of(r, w, w->step), interrupted);
}

static void print_result(run *r, const figures *f, const figures *cost, int json) {
    fv_text t = {0};
    char name[32];
    int hold = run_holdout(r);
    const char *v = text_of(&r->s, 't', "variant", "llm", name, sizeof name);
    if (json) {
        fv_text_add(r->c, &t, "{\"final\":true,\"task\":\"%s\",\"variant\":\"%s\",", r->task->name, v);
        figures_json(r->c, &t, f);
        fv_text_add(r->c, &t, ",");
        figures_json(r->c, &t, cost);
        if (!fv_error(r->c)) printf("%s}\n", t.data);
    } else {
        printf("variant %s: ", v);
        figures_print(f);
        printf(" on %d %s%s; ", hold ? hold : r->count[SPLIT_TEST], r->task->items, hold ? " held out" : "");
        figures_print(cost);
        printf("\n");
    }
    fv_text_free(r->c, &t);
}

/* the share of the steps' time that went into computing again what --recompute had dropped; 0 without it */
static double recomputed(run *r) {
    fv_profile_row row[FV_PROFILE_ROWS];
    double again = 0;
    int n = fv_profile(r->c, row, FV_PROFILE_ROWS);
    for (int i = 0; i < n; i++) again += row[i].pass == FV_PASS_AGAIN ? row[i].seconds : 0;
    return r->step_seconds > 0 ? again / r->step_seconds : 0;
}

/* measures, the weights, result.json: the last thing written, so that it tells a finished run */
static void finish(run *r, const char *out, double seconds, double speed, int json) {
    char path[4200], path2[4200];
    const char *meta[3] = {"format", "pt", NULL};
    figures f, cost;
    fv_text t = {0};
    memset(&f, 0, sizeof f), memset(&cost, 0, sizeof cost);
    int hold = run_holdout(r);
    figure_add(&cost, "images_per_s", speed, "#");
    figure_add(&cost, "peak_memory_mb", (double)fv_memory(r->c).peak / 1e6, "#");
    figure_add(&cost, "trainable_parameters", (double)fv_model_numel(r->model), "#");
    figure_add(&cost, "frozen_parameters", r->model->frozen ? (double)fv_frozen_numel(r->model->frozen) : 0,
               "#");
    figure_add(&cost, "seconds", seconds, "#");
    if (recomputed(r) > 0) figure_add(&cost, "recomputed_time", 100 * recomputed(r), "%");
    if (!hold) r->score = (float *)fv_alloc(r->c, (size_t)(r->count[SPLIT_TEST] + 1) * sizeof(float));
    if (hold) run_measure(r, SPLIT_TRAIN, r->count[SPLIT_TRAIN] - hold, hold, &f);
    else run_measure(r, SPLIT_TEST, 0, r->count[SPLIT_TEST], &f);
    if (!hold && r->task->baselines && !interrupted && !fv_error(r->c)) r->task->baselines(r, &f);
    if (interrupted || fv_error(r->c)) return;
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    snprintf(path2, sizeof path2, "%s/result.json", out);
    fv_params_save(r->c, path, &r->model->params, &r->model->buffers, meta);
    fv_text_add(r->c, &t, "{");
    figures_json(r->c, &t, &f);
    fv_text_add(r->c, &t, ",");
    figures_json(r->c, &t, &cost);
    fv_text_add(r->c, &t, "}\n");
    if (r->score) { /* by item, for fv compare */
        int64_t items = r->count[SPLIT_TEST];
        snprintf(path, sizeof path, "%s/scores.npy", out);
        npy_write(r->c, path, r->score, 1, &items);
        fv_free(r->c, r->score), r->score = NULL;
    }
    if (!fv_error(r->c)) fv_write_file(r->c, path2, t.data, t.size);
    fv_text_free(r->c, &t);
    if (!fv_error(r->c)) print_result(r, &f, &cost, json);
}

/* a line of the log with the test measures (or those of the items held out), every so many epochs */
static void log_measures(run *r, FILE *log, int64_t step) {
    int hold = run_holdout(r);
    figures f;
    fv_text t = {0};
    int counting = fv_profile_on(r->c, 0);
    memset(&f, 0, sizeof f);
    if (hold) run_measure(r, SPLIT_TRAIN, r->count[SPLIT_TRAIN] - hold, hold, &f);
    else run_measure(r, SPLIT_TEST, 0, r->count[SPLIT_TEST], &f);
    figures_json(r->c, &t, &f);
    if (!fv_error(r->c) && !interrupted)
        fprintf(log, "{\"step\":%lld,\"%s\":{%s}}\n", (long long)step, hold ? "held_out" : "test", t.data);
    fv_text_free(r->c, &t);
    fv_profile_on(r->c, counting);
}

static fv_optim *make_optim(run *r) {
    const settings *s = &r->s;
    fv_optim_desc d;
    memset(&d, 0, sizeof d);
    d.kind = is_text(s, 't', "optimizer", "sgd") ? FV_SGD : FV_ADAMW;
    double decay = number_of(s, 't', "weight_decay", 0.05), momentum = number_of(s, 't', "momentum", 0.9);
    d.weight_decay = decay > 0 ? (float)decay : -1, d.momentum = momentum > 0 ? (float)momentum : -1;
    d.clip_grad = (float)number_of(s, 't', "clip_grad", 0);
    double beta1 = number_of(s, 't', "beta1", 0.9), beta2 = number_of(s, 't', "beta2", 0.999),
           eps = number_of(s, 't', "eps", 1e-8);
    d.beta1 = beta1 > 0 ? (float)beta1 : -1, d.beta2 = beta2 > 0 ? (float)beta2 : -1,
    d.eps = eps > 0 ? (float)eps : -1;
    return fv_optim_create(r->c, &r->model->params, &d);
}

/* ---- the moving average of the parameters (ema), which becomes the model at the end ---- */
static int copy_param(run *r, fv_tensor *to, const fv_tensor *from) { /* wherever they lie */
    void *p = fv_alloc(r->c, (size_t)fv_numel(from) * sizeof(float));
    int ok = p && fv_read(r->c, from, p) && fv_write(r->c, to, p);
    fv_free(r->c, p);
    return ok;
}
/* average: a copy of each parameter as "ema.NAME"; kept: these and the model's buffers, which checkpoints
 * hold beside the parameters */
static int make_average(run *r, fv_params *average, fv_params *kept) {
    const fv_params *p = &r->model->params;
    char name[512];
    for (int i = 0; i < r->model->buffers.count; i++) fv_params_add(r->c, kept, r->model->buffers.at[i]);
    for (int i = 0; i < p->count && number_of(&r->s, 't', "ema", 0) > 0 && !fv_error(r->c); i++) {
        snprintf(name, sizeof name, "ema.%s", p->at[i]->name);
        fv_tensor *t = fv_constant(r->c, name, FV_F32, p->at[i]->rank, p->at[i]->dim);
        if (!t || !fv_params_add(r->c, average, t) || !fv_params_add(r->c, kept, t)) return 0;
        if (!copy_param(r, t, p->at[i])) return 0;
    }
    return !fv_error(r->c);
}
static void use_average(run *r, const fv_params *average) {
    for (int i = 0; i < average->count; i++) copy_param(r, r->model->params.at[i], average->at[i]);
}
static void free_average(run *r, fv_params *average, fv_params *kept) {
    for (int i = 0; i < average->count; i++) fv_param_free(r->c, average->at[i]);
    fv_free(r->c, average->at), fv_free(r->c, kept->at);
}

/* Whether the user wants to stop; with --gpus, whether a step has told all processes so. */
static int stopping(const run *r) { return r->ranks > 1 ? r->stop : interrupted; }

void run_train(run *r, const char *out, int save_every, int json, run_progress show) {
    const settings *s = &r->s;
    course w;
    memset(&w, 0, sizeof w);
    w.out = out;
    w.size = (int)number_of(s, 't', "batch_size", 128), w.accum = (int)number_of(s, 't', "grad_accum", 1);
    w.per_epoch = r->order_count / (w.size * w.accum);
    w.steps = (int64_t)(number_of(s, 't', "epochs", 1) * w.per_epoch);
    w.warm = (int64_t)(number_of(s, 't', "warmup_epochs", 0) * w.per_epoch);
    int epoch = -1, eval_every = (int)number_of(s, 't', "eval_every", 0);
    if (w.steps < 1) {
        fv_fail(r->c, FV_EUSAGE, "epochs %g: not one step of %d %s", number_of(s, 't', "epochs", 1),
                w.size * w.accum, r->task->items);
        return;
    }
    fv_params average, kept;
    memset(&average, 0, sizeof average), memset(&kept, 0, sizeof kept);
    fv_optim *o = make_optim(r);
    int64_t first = o && make_average(r, &average, &kept)
                        ? fv_checkpoint_load(r->c, out, &r->model->params, &kept, o)
                        : -1;
    float decay = (float)number_of(s, 't', "ema", 0);
    /* the first process writes */
    w.log = first < 0 ? NULL : r->rank ? fopen("/dev/null", "w") : open_log(r, out, first);
    double seen = 0, spent = 0;
    w.start = fv_now(), w.step = w.told = first, w.show = show;
    fv_training(r->c, 1);
    fv_autocast(r->c, r->bf16 ? FV_BF16 : FV_F32);
    while (w.log && w.step < w.steps && !stopping(r) && !fv_error(r->c)) {
        if ((int)(w.step / w.per_epoch) != epoch) new_epoch_order(r, epoch = (int)(w.step / w.per_epoch));
        double t = fv_now();
        one_step(r, o, &w);
        if (average.count) fv_ema(r->c, &average, &r->model->params, decay);
        if (fv_error(r->c)) break;
        w.step++, seen += w.size * w.accum;
        int last = w.step == w.steps, save = last || (save_every > 0 && w.step % save_every == 0),
            measure = eval_every > 0 && !last && w.step % ((int64_t)eval_every * w.per_epoch) == 0;
        tell(r, o, &w, save || measure);
        spent += fv_now() - t;
        if (fv_error(r->c) || r->rank) continue;
        if (measure) log_measures(r, w.log, w.step), name_step(r, &w);
        if (!save) continue;
        fflush(w.log);
        fv_checkpoint_save(r->c, out, &r->model->params, &kept, o, w.step);
    }
    if (w.log) tell(r, o, &w, 1); /* those after which it was stopped */
    if (stopping(r) && !r->rank && w.log && !fv_error(r->c) && w.step > first)
        fv_checkpoint_save(r->c, out, &r->model->params, &kept, o, w.step);
    if (w.log && fclose(w.log)) fv_fail(r->c, FV_EIO, "%s/log.jsonl: cannot be written", out);
    fv_optim_destroy(r->c, o);
    fv_group_leave(r->c); /* with --gpus: what follows is the first process's alone */
    r->step_seconds = spent;
    fv_profile_on(r->c, 0); /* the measures of the end are no training step's */
    if (r->profile && !r->rank && !fv_error(r->c))
        profile_print(r->c, r->bf16 ? FV_BF16 : FV_F32, spent, r->data_seconds, json);
    use_average(r, &average);
    free_average(r, &average, &kept);
    if (stopping(r)) interrupted = 1;
    if (!interrupted && !r->rank && !fv_error(r->c))
        finish(r, out, fv_now() - w.start, spent > 0 ? seen / spent : 0, json), name_step(r, &w);
}
