/* race -- measures programs in turns, so that what the machine does meanwhile (its clock, its other guests)
 * meets all of them alike.
 *
 *   race REPS NAME=COMMAND ...     works, one a line, on stdin
 *
 * Each COMMAND is started once and says `ready`. For each work, REPS rounds: each program gets the work's
 * line, in the order given, and answers with seconds. Prints one JSON object for each work and program,
 * {"work":..,"name":..,"reps":..,"best_s":..,"median_s":..}, and, when stdin has ended,
 * {"name":..,"end":{what the program said last}}. A program that fails is named on stderr and left out. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 8, MOST_REPS = 1000 };
typedef struct runner {
    char name[64];
    pid_t pid; /* 0: failed */
    FILE *to, *from;
    double second[MOST_REPS];
    int count;
} runner;

static void failed(runner *r) {
    fprintf(stderr, "race: %s failed and is left out\n", r->name);
    kill(r->pid, SIGTERM);
    fclose(r->to), fclose(r->from);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static void start(runner *r, const char *command) {
    int in[2], out[2];
    char line[256];
    if (pipe(in) || pipe(out)) exit(6);
    fflush(NULL);
    r->pid = fork();
    if (r->pid < 0) exit(6);
    if (r->pid == 0) {
        dup2(in[0], 0), dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd); /* the others' pipes, too: or they would never see their stdin end */
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    r->to = fdopen(in[1], "w"), r->from = fdopen(out[0], "r");
    if (!r->to || !r->from) exit(6);
    while (fgets(line, sizeof line, r->from))
        if (!strcmp(line, "ready\n")) return;
    failed(r);
}

/* -> seconds; negative: it failed */
static double ask(runner *r, const char *work) {
    char line[256];
    double t = -1;
    fprintf(r->to, "%s\n", work);
    if (fflush(r->to) || !fgets(line, sizeof line, r->from) || sscanf(line, "%lf", &t) != 1) return -1;
    return t;
}

static void one_repetition(runner *r, const char *work) {
    /* threads of the one before, waiting in a loop for more work, give up meanwhile: OpenBLAS takes tens of
     * ms */
    struct timespec rest = {0, 300000000};
    nanosleep(&rest, NULL);
    double t = ask(r, work);
    /* short work is done again at once and that counts: the caches and the clock are its own by then */
    if (t >= 0 && t < 0.1) t = ask(r, work);
    if (t < 0) failed(r);
    else r->second[r->count++] = t;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void do_work(runner *r, int n, const char *work, int reps) {
    const char *term = getenv("TERM");
    int terminal = isatty(2) && !(term && !strcmp(term, "dumb"));
    for (int i = 0; i < n; i++) r[i].count = 0;
    for (int k = 0; k < reps; k++) {
        if (terminal) fprintf(stderr, "\r\033[K%s: %d of %d ", *work ? work : "step", k + 1, reps);
        for (int i = 0; i < n; i++)
            if (r[i].pid) one_repetition(&r[i], work);
    }
    if (terminal) fprintf(stderr, "\r\033[K");
    for (int i = 0; i < n; i++) {
        if (!r[i].pid) continue;
        qsort(r[i].second, (size_t)reps, sizeof(double), by_value);
        printf("{\"work\":\"%s\",\"name\":\"%s\",\"reps\":%d,\"best_s\":%.9f,\"median_s\":%.9f}\n", work,
               r[i].name, reps, r[i].second[0], (r[i].second[(reps - 1) / 2] + r[i].second[reps / 2]) / 2);
    }
    fflush(stdout);
}

/* the program's last line goes on to stdout */
static void finish(runner *r) {
    char line[1024], last[1024] = "{}\n";
    fclose(r->to);
    while (fgets(line, sizeof line, r->from))
        if (*line == '{') memcpy(last, line, sizeof last);
    fclose(r->from);
    waitpid(r->pid, NULL, 0);
    last[strcspn(last, "\n")] = 0;
    printf("{\"name\":\"%s\",\"end\":%s}\n", r->name, last);
}

int main(int argc, char **argv) {
    static runner r[MOST];
    char work[256];
    int reps = argc > 2 ? atoi(argv[1]) : 0, n = argc - 2;
    if (reps < 1 || reps > MOST_REPS || n < 1 || n > MOST) {
        fprintf(stderr,
                "usage: race REPS NAME=COMMAND ... (at most %d repetitions of %d programs); works on stdin, "
                "one a line\n",
                MOST_REPS, MOST);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < n; i++) {
        char *equals = strchr(argv[i + 2], '=');
        if (!equals) return 2;
        snprintf(r[i].name, sizeof r[i].name, "%.*s", (int)(equals - argv[i + 2]), argv[i + 2]);
        start(&r[i], equals + 1);
    }
    while (fgets(work, sizeof work, stdin)) {
        work[strcspn(work, "\n")] = 0;
        do_work(r, n, work, reps);
    }
    for (int i = 0; i < n; i++)
        if (r[i].pid) finish(&r[i]);
    return 0;
}
