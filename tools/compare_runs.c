/* compare_runs.c -- the runs of a plan, one process each, so that a finished one is reused and a broken
 * one resumed; one progress bar over all of them; and the check that they may be compared. */
#define _GNU_SOURCE
#include "cli.h"
#include "report.h"
#include "run.h"
#include "settings.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int compare_exists(const char *dir, const char *file) {
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return access(path, F_OK) == 0;
}

/* ---- a process of this program ---- */
enum { NOT_STARTED = 127 }; /* an exit status that fv has not */
static int has_terminal(void) {
    const char *term = getenv("TERM");
    return isatty(2) && !(term && !strcmp(term, "dumb"));
}
/* both its streams go to `out`; it ends when this process does, so that no run goes on by itself after a
 * kill */
static pid_t start_self(char **args, int out, int err) {
    static char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return -1;
    self[n] = 0;
    args[0] = self;
    fflush(NULL);
    pid_t p = fork();
    if (p) return p;
    signal(SIGINT, SIG_DFL), signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(out, 1), dup2(err, 2);
    execv("/proc/self/exe", args); /* this very program, though its file may have been built anew since */
    _exit(NOT_STARTED);
}
/* Its exit status, or what befell it instead, which is said: `what` is its run. */
static int wait_for(pid_t p, const char *what) {
    int status = 0;
    while (waitpid(p, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_STARTED)
        return cli_fail(6, "%s: a process could not be started", what);
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    int number = WTERMSIG(status); /* the first two: it had not come so far as to end in order */
    return number == SIGINT || number == SIGTERM
               ? cli_fail(130, "%s was interrupted", what)
               : cli_fail(6, "%s was ended by signal %d: %s", what, number, strsignal(number));
}
int compare_run_self(char **args, const char *into) {
    int out = into ? open(into, O_WRONLY | O_CREAT | O_TRUNC, 0666) : 2;
    if (out < 0) return cli_fail(4, "%s: cannot be written", into);
    pid_t p = start_self(args, out, 2);
    if (into) close(out);
    return p < 0 ? cli_fail(6, "a process could not be started: compare needs /proc") : wait_for(p, args[2]);
}

/* ---- the bar over the whole plan ---- */
typedef struct plan_bar {
    report *p;
    const char *what; /* "llm-1" */
    int done, all;    /* runs, those that were there already included */
    double started;   /* the run in progress */
    int shown;
} plan_bar;

/* seconds of a run of arm i, by the runs of that arm that are finished, else by all; 0: nothing is known */
static double expected(const report *p, int i) {
    double seconds = 0;
    int runs = 0;
    if (p->arm[i].timed) return p->arm[i].seconds / p->arm[i].timed;
    for (int k = 0; k < p->arms; k++) seconds += p->arm[k].seconds, runs += p->arm[k].timed;
    return runs ? seconds / runs : 0;
}
static void run_folder(const report *p, int i, int seed, char *dir, size_t n) {
    snprintf(dir, n, "%s/%s-%d", p->out, p->arm[i].name, seed);
}

static void trial_folder(const report *p, int i, int k, char *dir, size_t n) {
    snprintf(dir, n, "%s/tune/%s-%d", p->out, p->arm[i].name, k);
}

int compare_has_block(const char *variant) {
    return strcmp(variant, "base") && strcmp(variant, "linear") && strcmp(variant, "mlp");
}
int compare_wants_llm(const report *p) {
    char dir[4300];
    for (int i = 0; i < p->arms; i++) {
        if (!strcmp(p->arm[i].variant, "base")) continue;
        for (int k = 0; k < p->seeds + p->trials; k++) {
            if (k < p->seeds) run_folder(p, i, k, dir, sizeof dir);
            else trial_folder(p, i, k - p->seeds, dir, sizeof dir);
            if (!compare_exists(dir, "result.json")) return 1;
        }
    }
    return 0;
}

/* of every run and trial that is not there; `now`: what one takes, where none has finished yet */
static double left_in_plan(const plan_bar *b, double now) {
    const report *p = b->p;
    double left = 0;
    char dir[4300];
    /* trials come first, arm by arm; one whose loss was not finite is done and has no result */
    for (int k = b->done; k < p->arms * p->trials; k++) {
        int i = k / p->trials;
        trial_folder(p, i, k % p->trials, dir, sizeof dir);
        if (!compare_exists(dir, "result.json")) left += expected(p, i) > 0 ? expected(p, i) : now;
    }
    for (int s = 0; s < p->seeds; s++)
        for (int i = 0; i < p->arms; i++) {
            run_folder(p, i, s, dir, sizeof dir);
            if (!compare_exists(dir, "result.json")) left += expected(p, i) > 0 ? expected(p, i) : now;
        }
    return left;
}
static void draw_bar(plan_bar *b, long long step, long long steps, double loss) {
    double share = steps > 0 ? (double)step / (double)steps : 0, spent = fv_now() - b->started,
           whole = share > 0.02 ? spent / share : 0;
    double left = left_in_plan(b, whole) - spent, all = b->done + share;
    int full = (int)(30 * all / b->all);
    fprintf(stderr, "\r[%.*s%*s] run %d of %d, %s: step %lld/%lld, loss %.3f", full,
            "##############################", 30 - full, "", b->done + 1, b->all, b->what, step, steps, loss);
    if (left > 0)
        fprintf(stderr, "; %d:%02d:%02d left in all", (int)left / 3600, (int)left / 60 % 60, (int)left % 60);
    fprintf(stderr, "   ");
    b->shown = 1;
}

/* What a run says: progress moves the bar, anything else is passed on with the run's name before it. */
static void follow(plan_bar *b, int from, int quiet) {
    char line[1024];
    FILE *f = fdopen(from, "r");
    while (f && fgets(line, sizeof line, f)) {
        long long step, steps;
        double loss;
        if (sscanf(line, "progress %lld %lld %lf", &step, &steps, &loss) == 3) {
            if (has_terminal() && !quiet) draw_bar(b, step, steps, loss);
            continue;
        }
        if (b->shown) fprintf(stderr, "\r%110s\r", ""), b->shown = 0;
        if (!strncmp(line, "fv: ", 4)) fprintf(stderr, "%s", line);
        else if (!quiet) fprintf(stderr, "%s: %s", b->what, line);
    }
    if (f) fclose(f);
}

/* ---- one run ---- */
int compare_arm_words(const report *p, int i, int seed, const char *dir, const char *const *more,
                      char **words) {
    static char seed_text[16], scale[64];
    const arm *a = &p->arm[i];
    const char *mine[40] = {"--variant", a->variant, "--seed",   seed_text,
                            "--out",     dir,        "--resume", "--progress"};
    int n = 8;
    snprintf(seed_text, sizeof seed_text, "%d", seed);
    for (; more && *more; more++) mine[n++] = *more;
    if (*a->layers) mine[n++] = "--layers", mine[n++] = a->layers;
    for (int k = 0; k < a->sets; k++) mine[n++] = "--set", mine[n++] = a->set[k];
    snprintf(scale, sizeof scale, "lr_scale=%.9g", a->lr_scale);
    if (a->lr_scale > 0) mine[n++] = "--set", mine[n++] = scale;
    for (int k = 0; k < n; k++) words[k] = (char *)(uintptr_t)mine[k];
    words[n] = NULL;
    return n;
}

/* Ctrl-C reaches the run too, a kill only us: the run ends with its checkpoint and 130, and so do we. */
static volatile sig_atomic_t stopped, running;
static void pass_on(int number) {
    stopped = 1;
    if (running > 0) kill(running, number);
}

/* `pass` holds what was given for fv train in [0,rest); the arm's own settings follow. more: NULL-ended,
 * for trials. */
static int train_one(report *p, int i, int seed, const char *dir, const char *const *more, char **pass,
                     int rest, plan_bar *b, int quiet) {
    int pipes[2];
    compare_arm_words(p, i, seed, dir, more, pass + rest);
    if (pipe(pipes)) return cli_fail(6, "a process could not be started");
    b->started = fv_now(), stopped = 0;
    void (*was_int)(int) = signal(SIGINT, pass_on), (*was_term)(int) = signal(SIGTERM, pass_on);
    fcntl(pipes[0], F_SETFD, FD_CLOEXEC), fcntl(pipes[1], F_SETFD, FD_CLOEXEC);
    pid_t child = running = start_self(pass, pipes[1], pipes[1]);
    if (stopped) pass_on(SIGINT);
    close(pipes[1]);
    if (child < 0) return cli_fail(6, "a process could not be started: compare needs /proc");
    follow(b, pipes[0], quiet);
    running = 0;
    int status = wait_for(child, dir);
    signal(SIGINT, was_int), signal(SIGTERM, was_term);
    return status || !stopped ? status : cli_fail(130, "interrupted; %s can be resumed", p->out);
}

static double result_number(const char *dir, const char *key) { /* of DIR/result.json; NAN */
    char path[4400];
    double value = NAN;
    fv_ctx *c = fv_create(NULL);
    snprintf(path, sizeof path, "%s/result.json", dir);
    fv_json *j = c && compare_exists(dir, "result.json") ? fv_json_open(c, path) : NULL;
    fv_jnode first = j ? fv_json_first(j, fv_json_root(j)) : 0;
    if (j) value = fv_json_number(j, key ? fv_json_get(j, fv_json_root(j), key) : first, NAN);
    fv_json_free(c, j), fv_destroy(c);
    return value;
}
static void note_time(arm *a, const char *dir) { /* where the run has finished */
    double seconds = result_number(dir, "seconds");
    if (seconds > 0) a->seconds += seconds, a->timed++;
}
static void headline_of(const char *dir, char *name, size_t n) {
    char path[4400];
    fv_ctx *c = fv_create(NULL);
    snprintf(path, sizeof path, "%s/result.json", dir);
    fv_json *j = c ? fv_json_open(c, path) : NULL;
    if (j) snprintf(name, n, "%s", fv_json_key(j, fv_json_first(j, fv_json_root(j))));
    fv_json_free(c, j), fv_destroy(c);
}

/* ---- may two runs be compared? ---- */
typedef struct run_config {
    settings s;
    char data[1024], items[160], training[80], llm[80]; /* digests: "" where the run says none */
} run_config;
static int read_config(fv_ctx *c, const char *dir, run_config *k) {
    char path[4400];
    memset(k, 0, sizeof *k);
    snprintf(path, sizeof path, "%s/config.json", dir);
    fv_json *j = fv_json_open(c, path);
    if (!j) return 0;
    put_json(&k->s, j);
    if (*k->s.wrong) fv_fail(c, FV_EFORMAT, "%s: %s", path, k->s.wrong);
    snprintf(k->data, sizeof k->data, "%s", fv_json_string(j, fv_json_get(j, fv_json_root(j), "data"), ""));
    run_items(j, k->items, sizeof k->items), run_training(j, k->training, sizeof k->training);
    fv_jnode llm = fv_json_get(j, fv_json_root(j), "llm");
    snprintf(k->llm, sizeof k->llm, "%s", fv_json_string(j, fv_json_get(j, llm, "sha256"), ""));
    fv_json_free(c, j);
    return !fv_error(c);
}
/* the variant, its seed, its tuned learning rate and its own settings may differ; everything else is the
 * same */
static int may_differ(const arm *a, const setting *s) {
    static const char *const own[] = {"seed", "variant", "lr_scale", NULL};
    for (int i = 0; s->section == 't' && own[i]; i++)
        if (!strcmp(s->key, own[i])) return 1;
    for (int i = 0; i < a->sets; i++) {
        const char *key = s->section == 'f' ? "frozen." : "";
        size_t n = strlen(key), m = strlen(s->key);
        if (!strncmp(a->set[i], key, n) && !strncmp(a->set[i] + n, s->key, m) && a->set[i][n + m] == '=')
            return 1;
    }
    return s->section == 'f' && (!strcmp(s->key, "variant") || (!strcmp(s->key, "layers") && *a->layers));
}
static int has_stage(const settings *s) {
    for (int i = 0; i < s->count; i++)
        if (s->at[i].section == 'f') return 1;
    return 0;
}
/* A key of one that the other has otherwise; NULL: none. num_classes and the like are decided by the data,
 * which are the same. */
static const setting *first_difference(const arm *a, const arm *b, const settings *x, const settings *y) {
    for (int i = 0; i < x->count; i++) {
        const setting *s = &x->at[i];
        if (may_differ(a, s) || may_differ(b, s) || (s->section == 'f' && !has_stage(y))) continue;
        if (strcmp(s->value, value_of(y, s->section, s->key, ""))) return s;
    }
    return NULL;
}
/* whether two values are the same, however their numbers are written: 1e-3 and 0.001, [1] and [1.0] */
static int same_value(const char *a, const char *b) {
    while (*a && *b) {
        char *end_a, *end_b;
        double x = strtod(a, &end_a), y = strtod(b, &end_b);
        if (end_a == a && end_b == b && *a == *b) end_a++, end_b++;
        else if (end_a == a || end_b == b || fabs(x - y) > 1e-8 * fabs(x)) return 0;
        a = end_a, b = end_b;
    }
    return *a == *b;
}
/* whether a run has what its arm sets: one of another sweep may lie there under the same name */
static int has_setting(const settings *s, const char *set) {
    static settings want;
    memset(&want, 0, sizeof want);
    if (!put_text(&want, set)) return 0;
    const char *key = want.at[0].key, *value = want.at[0].value, *got;
    if (want.at[0].section == 'f') got = value_of(s, 'f', key, NULL);
    else if (!(got = value_of(s, 't', key, NULL))) got = value_of(s, 'm', key, NULL);
    return got && same_value(got, value);
}
/* two digests that both runs say */
static int apart(const char *x, const char *y) { return *x && *y && strcmp(x, y); }
static int of_one_block(const arm *a, const arm *b) { /* the digest is that of the block's tensors */
    int own = strcmp(a->layers, b->layers) != 0;
    for (int i = 0; i < a->sets; i++) own |= !strncmp(a->set[i], "frozen.", 7);
    for (int i = 0; i < b->sets; i++) own |= !strncmp(b->set[i], "frozen.", 7);
    return !own;
}
/* 0, or 2 and a sentence: run `dir` of arm a against `first` of arm b */
static int comparable(fv_ctx *c, const arm *a, const char *dir, const arm *b, const char *first) {
    static run_config x, y;
    if (!read_config(c, dir, &x) || !read_config(c, first, &y)) return cli_fail(3, "%s", fv_error_text(c));
    if (strcmp(x.data, y.data))
        return cli_fail(2, "%s and %s cannot be compared: their data are %s and %s", first, dir, y.data,
                        x.data);
    if (strcmp(x.items, y.items))
        return cli_fail(2, "%s and %s cannot be compared: their data are %s and %s", first, dir, y.items,
                        x.items);
    if (apart(x.training, y.training))
        return cli_fail(2, "%s and %s cannot be compared: their training items are not the same", first, dir);
    if (apart(x.llm, y.llm) && of_one_block(a, b))
        return cli_fail(2, "%s and %s cannot be compared: their language models are not the same", first,
                        dir);
    for (int i = 0; i < a->sets; i++)
        if (!has_setting(&x.s, a->set[i]))
            return cli_fail(2, "%s is a run of something else: it was not trained with %s", dir, a->set[i]);
    const setting *s = first_difference(a, b, &x.s, &y.s);
    if (s)
        return cli_fail(2, "%s and %s cannot be compared: %s is %s and %s", first, dir, s->key,
                        value_of(&y.s, s->section, s->key, "absent"), s->value);
    if ((s = first_difference(b, a, &y.s, &x.s)))
        return cli_fail(2, "%s and %s cannot be compared: %s is %s and absent", first, dir, s->key, s->value);
    return 0;
}
/* every run that is there against the first one that is there, and with a block against the first that has one
 */
static int all_comparable(report *p) {
    char dir[4300], first[2][4300] = {"", ""};
    int status = 0, of[2] = {0, 0};
    fv_ctx *c = fv_create(NULL);
    for (int s = 0; s < p->seeds && !status; s++)
        for (int i = 0; i < p->arms && !status; i++) {
            int block = compare_has_block(p->arm[i].variant);
            run_folder(p, i, s, dir, sizeof dir);
            if (!compare_exists(dir, "config.json")) continue;
            for (int k = 0; k <= block && !status; k++) {
                if (!*first[k]) of[k] = i, memcpy(first[k], dir, sizeof dir);
                status = comparable(c, &p->arm[i], dir, &p->arm[of[k]], first[k]);
            }
        }
    fv_destroy(c);
    return status;
}

/* ---- tuning: as many learning rates for every arm, on training items held out; the test split is left alone
 * ---- */
static int tune_arm(report *p, int i, char **pass, int rest, plan_bar *b, int quiet) {
    static const char *const hold[] = {"--set", "holdout=0.1", NULL};
    arm *a = &p->arm[i];
    char dir[4300], what[160], headline[32] = "";
    double best = NAN, chosen = 1;
    for (int k = 0; k < p->trials; k++) {
        a->lr_scale = report_trial_scale(p, k);
        snprintf(what, sizeof what, "tuning %s, lr x %.3g", a->name, a->lr_scale);
        trial_folder(p, i, k, dir, sizeof dir);
        b->what = what;
        /* a seed that no compared run has */
        int status =
            compare_exists(dir, "result.json") ? 0 : train_one(p, i, 1000, dir, hold, pass, rest, b, quiet);
        if (status && status != 5) return status; /* a loss that is not finite: this rate is too high */
        if (!status && !*headline) headline_of(dir, headline, sizeof headline);
        a->trial[k] = status ? NAN : result_number(dir, NULL);
        note_time(a, dir);
        int better = report_less_is_better(headline) ? a->trial[k] < best : a->trial[k] > best;
        if (!isnan(a->trial[k]) && (isnan(best) || better)) best = a->trial[k], chosen = a->lr_scale;
        b->done++;
    }
    a->lr_scale = chosen;
    return isnan(best) ? cli_fail(5, "tuning %s: no learning rate gave a finite loss", a->name) : 0;
}

/* 0, or 2 and a sentence where the run was trained at another rate than the one that was chosen for its arm */
static int at_the_rate(const arm *a, const char *dir) {
    static run_config k;
    if (a->lr_scale <= 0) return 0; /* none was */
    fv_ctx *c = fv_create(NULL);
    double want = a->lr_scale, got = want;
    if (c && read_config(c, dir, &k)) got = number_of(&k.s, 't', "lr_scale", 1);
    int status = cli_end(c);
    if (status || fabs(got - want) < 1e-5 * want) return status;
    return cli_fail(2, "%s was trained at %.3g times the learning rate, and %.3g times is the best of %s: %s",
                    dir, got, want, a->name, "remove it to have it trained anew");
}
int compare_run_all(report *p, char **pass, int rest, int quiet) {
    plan_bar b = {p, "", 0, p->arms * (p->seeds + p->trials), 0, 0};
    char dir[4300];
    int status = all_comparable(p);
    snprintf(dir, sizeof dir, "%s/tune", p->out);
    if (p->trials) mkdir(dir, 0777);
    for (int i = 0; i < p->arms && p->trials && !status; i++) status = tune_arm(p, i, pass, rest, &b, quiet);
    for (int s = 0; s < p->seeds && !status; s++) /* seed by seed: what is done first compares all arms */
        for (int i = 0; i < p->arms && !status; i++, b.done++) {
            arm *a = &p->arm[i];
            run_folder(p, i, s, dir, sizeof dir);
            b.what = strrchr(dir, '/') + 1;
            int had = compare_exists(dir, "result.json");
            if (!had) status = train_one(p, i, s, dir, NULL, pass, rest, &b, quiet);
            if (status || (status = at_the_rate(a, dir))) break;
            note_time(a, dir);
            if (!had) status = all_comparable(p);
        }
    return status;
}
