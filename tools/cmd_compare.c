/* fv compare: the same task, data, seeds and budget for several variants; a table and loss curves. Each run is a `fv train` of its
 * own in OUT/VARIANT-SEED, so that a finished one is reused and a broken one resumed. */
#define _GNU_SOURCE
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_RUNS = 64, MAX_ARGS = 96 };
typedef struct one_run { char name[32], dir[4096]; int seed; double top1, loss, speed, mb, trained, frozen; float *curve; int steps; } one_run;

/* fv train with these arguments; its exit status */
static int run_train(char **args) {
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

static double number(const fv_json *j, const char *key) { return fv_json_number(j, fv_json_get(j, fv_json_root(j), key), 0); }

static void read_run(fv_ctx *c, one_run *r) {
    char path[4200];
    fv_file f;
    snprintf(path, sizeof path, "%s/result.json", r->dir);
    fv_json *j = fv_json_open(c, path);
    r->top1 = number(j, "top1"), r->loss = number(j, "loss"), r->speed = number(j, "images_per_s"), r->mb = number(j, "peak_memory_mb");
    r->trained = number(j, "trainable_parameters"), r->frozen = number(j, "frozen_parameters");
    fv_json_free(c, j);
    snprintf(path, sizeof path, "%s/log.jsonl", r->dir);
    if (!fv_file_open(c, path, &f)) return;
    const char *p = (const char *)f.data, *end = p + f.size, *line;
    r->curve = (float *)fv_alloc(c, (f.size / 20 + 1) * sizeof *r->curve);
    for (; r->curve && p < end && (line = (const char *)memchr(p, '\n', (size_t)(end - p))) != NULL; p = line + 1) {
        const char *loss = strstr(p, "\"loss\":");
        if (loss && loss < line) r->curve[r->steps++] = strtof(loss + 7, NULL);
    }
    fv_file_close(c, &f);
}

/* curves, smoothed over 1/40 of the run, on a grid with numbers */
static void draw_curves(fv_ctx *c, const one_run *r, int n, const char *path) {
    static const char *const colour[] = {"#1f5fa8", "#c8501e", "#2f8f4e", "#8a4fa3", "#7a6a00", "#b03060", "#3a8fa0", "#555555"};
    const double W = 760, H = 420, L = 70, R = 20, T = 50, B = 60;
    double low = 1e30, high = -1e30;
    int steps = 1;
    fv_text t = {0};
    for (int i = 0; i < n; i++) {
        if (r[i].steps > steps) steps = r[i].steps;
        for (int k = r[i].steps / 40; k < r[i].steps; k++) {
            if (r[i].curve[k] < low) low = r[i].curve[k];
            if (r[i].curve[k] > high) high = r[i].curve[k];
        }
    }
    if (high <= low) high = low + 1;
    fv_text_add(c, &t, "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g' font-family='sans-serif' font-size='13'>\n"
                       "<rect width='100%%' height='100%%' fill='white'/><text x='%g' y='28' font-size='17'>Training loss</text>\n", W, H, W, H, L);
    for (int i = 0; i <= 5; i++) {
        double y = T + (H - T - B) * i / 5, x = L + (W - L - R) * i / 5;
        fv_text_add(c, &t, "<path d='M%g %gH%g' stroke='#ddd'/><text x='%g' y='%g' text-anchor='end'>%.2f</text><text x='%g' y='%g' text-anchor='middle'>%d</text>\n",
                    L, y, W - R, L - 8, y + 4, high - (high - low) * i / 5, x, H - B + 20, steps * i / 5);
    }
    fv_text_add(c, &t, "<text x='%g' y='%g' text-anchor='middle'>step</text>\n", (L + W - R) / 2, H - 16);
    for (int i = 0; i < n; i++) {
        const char *ink = colour[i % 8];
        int window = r[i].steps / 40 + 1, dots = r[i].steps > 400 ? r[i].steps / 400 : 1;
        fv_text_add(c, &t, "<polyline fill='none' stroke='%s' stroke-width='1.8' points='", ink);
        double mean = 0;
        for (int k = 0; k < r[i].steps; k++) {
            mean = k ? mean + (r[i].curve[k] - mean) / (k < window ? k + 1 : window) : r[i].curve[k];
            double y = T + (H - T - B) * (high - (mean > high ? high : mean)) / (high - low);
            if (k % dots == 0) fv_text_add(c, &t, "%.1f,%.1f ", L + (W - L - R) * k / steps, y);
        }
        fv_text_add(c, &t, "'/>\n<path d='M%g %dh24' stroke='%s' stroke-width='3'/><text x='%g' y='%d'>%s, seed %d: top-1 %.2f %%</text>\n", W - 250, 60 + 20 * i, ink, W - 220, 64 + 20 * i,
                    r[i].name, r[i].seed, r[i].top1);
    }
    fv_text_add(c, &t, "</svg>\n");
    if (!fv_error(c)) fv_write_file(c, path, t.data, t.size);
    fv_text_free(c, &t);
}

static void print_table(const one_run *r, int n) {
    printf("%-10s %4s %8s %8s %9s %9s %11s %11s\n", "variant", "seed", "top-1 %", "loss", "images/s", "peak MB", "trained", "frozen");
    for (int i = 0; i < n; i++)
        printf("%-10s %4d %8.2f %8.4f %9.0f %9.0f %11.0f %11.0f\n", r[i].name, r[i].seed, r[i].top1, r[i].loss, r[i].speed, r[i].mb, r[i].trained, r[i].frozen);
}

int cmd_compare(int argc, char **argv) {
    static one_run runs[MAX_RUNS];
    char *pass[MAX_ARGS] = {NULL}, seed_text[16];
    const char *variants = "base,llm", *out = NULL;
    int n = 0, rest = 1, seeds = 1, resume = 0, status = 0;
    pass[rest++] = (char *)(uintptr_t) "train";
    for (int i = 0; i < argc && rest < MAX_ARGS - 16; i++) { /* what is not ours goes on to fv train */
        if (!strcmp(argv[i], "--help")) {
            printf("usage: fv compare image --data DIR --out DIR --variants base,llm --seeds N [options of fv train]\n\n"
                   "Trains each variant with each seed, reuses finished runs (--resume), prints a table and writes OUT/curves.svg.\n");
            return 0;
        }
        if (!strcmp(argv[i], "--variants") && i + 1 < argc) variants = argv[++i];
        else if (!strcmp(argv[i], "--seeds") && i + 1 < argc) seeds = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--out") && i + 1 < argc) out = argv[++i];
        else if (!strcmp(argv[i], "--resume")) resume = 1;
        else pass[rest++] = argv[i];
    }
    if (!out) return cli_fail(2, "--out is wanted; fv compare --help");
    if (seeds < 1 || seeds > 32) return cli_fail(2, "--seeds: 1 to 32 are possible");
    if (!resume && access(out, F_OK) == 0) return cli_fail(2, "%s exists and is left as it is; --resume goes on with it", out);
    if (mkdir(out, 0777) && !resume) return cli_fail(4, "%s: cannot be made", out);
    for (const char *v = variants; *v && !status; v += strcspn(v, ","), v += *v == ',')
        for (int s = 0; s < seeds && n < MAX_RUNS && !status; s++, n++) {
            one_run *r = &runs[n];
            snprintf(r->name, sizeof r->name, "%.*s", (int)strcspn(v, ","), v);
            snprintf(r->dir, sizeof r->dir, "%s/%s-%d", out, r->name, s);
            snprintf(seed_text, sizeof seed_text, "%d", s);
            r->seed = s;
            char *mine[] = {(char *)(uintptr_t) "--variant", r->name, (char *)(uintptr_t) "--seed", seed_text, (char *)(uintptr_t) "--out", r->dir, (char *)(uintptr_t) "--resume"};
            memcpy(pass + rest, mine, sizeof mine);
            fprintf(stderr, "%s, seed %d\n", r->name, s);
            status = run_train(pass);
        }
    if (status) return status;
    fv_ctx *c = fv_create(NULL);
    char path[4200];
    for (int i = 0; i < n && c; i++) read_run(c, &runs[i]);
    snprintf(path, sizeof path, "%s/curves.svg", out);
    if (c && !fv_error(c)) draw_curves(c, runs, n, path);
    if (c && !fv_error(c)) print_table(runs, n), printf("loss curves: %s\n", path);
    return cli_end(c);
}
