#define _GNU_SOURCE
#include "group.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/* One of the others has failed, and the rest would wait for it for ever. It has said why, unless a signal
 * ended it: an interruption of one of them, which may reach us later or not at all, is one of all. */
static pid_t others[GROUP_MOST];
static void leave_after(int number) { /* in a handler */
    char words[] = "fv: --gpus: a process was ended by signal ??\n", *digits = strchr(words, '?');
    if (number == SIGINT || number == SIGTERM) run_leave_interrupted(number);
    if (number > 9) *digits++ = (char)('0' + number / 10);
    *digits++ = (char)('0' + number % 10), *digits++ = '\n', *digits = 0;
    run_leave(6, words);
}
static void on_end(int number) {
    int was = errno, status;
    (void)number;
    for (int i = 1; i < GROUP_MOST; i++) {
        if (!others[i] || waitpid(others[i], &status, WNOHANG) != others[i]) continue;
        others[i] = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status)) _exit(WEXITSTATUS(status));
        if (WIFSIGNALED(status)) leave_after(WTERMSIG(status));
    }
    errno = was;
}
static void watch(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_end, a.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    sigfillset(&a.sa_mask);
    sigaction(SIGCHLD, &a, NULL);
}

/* What cannot work is refused before any data are read: by a context on the last of the GPUs. */
static int try_last(group *g, const fv_desc *desc) {
    fv_desc last = *desc;
    last.device_index += g->size - 1;
    fv_ctx *c = fv_create(&last);
    if (c) fv_group_make(c, &g->key);
    return cli_end(c);
}

/* Process `rank` of the others waits for the key, or ends when the first one does. */
static int follow(group *g, int rank, const int *ends, fv_desc *desc) {
    size_t got = 0;
    for (int i = 1; i < rank; i++) close(g->wire[i]);
    close(ends[1]);
    signal(SIGINT, SIG_DFL), signal(SIGTERM, SIG_DFL); /* the first one speaks for all */
    while (got < sizeof g->key) {
        ssize_t n = read(ends[0], g->key.bytes + got, sizeof g->key - got);
        if (n > 0) got += (size_t)n;
        else if (n == 0 || errno != EINTR) _exit(0);
    }
    g->rank = rank, desc->device_index += rank;
    return 0;
}
int group_start(group *g, int size, fv_desc *desc) {
    pid_t parent = getpid();
    memset(g, 0, sizeof *g);
    g->size = size;
    if (size == 1) return 0;
    fflush(NULL);
    watch();
    /* before the runtime is asked for anything: it does not survive a fork */
    for (int i = 1; i < size; i++) {
        int ends[2];
        if (pipe(ends)) return cli_fail(6, "--gpus %d: a process could not be started", size);
        pid_t p = fork();
        if (p < 0) return cli_fail(6, "--gpus %d: a process could not be started", size);
        if (p == 0) {
#ifdef __linux__
            prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
            if (getppid() != parent) _exit(0);
            return follow(g, i, ends, desc);
        }
        close(ends[0]);
        g->wire[i] = ends[1], others[i] = p;
    }
    return try_last(g, desc);
}

int group_join(group *g, run *r) {
    if (g->size == 1 || fv_error(r->c)) return !fv_error(r->c);
    void (*was)(int) = signal(SIGPIPE, SIG_IGN);
    int told = 1;
    for (int i = 1; i < g->size && !g->rank; i++)
        told &= write(g->wire[i], &g->key, sizeof g->key) == (ssize_t)sizeof g->key;
    signal(SIGPIPE, was);
    if (!told) return fv_fail(r->c, FV_EUNAVAILABLE, "--gpus %d: a process is gone", g->size);
    return fv_group_join(r->c, &g->key, g->rank, g->size);
}
