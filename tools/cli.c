#define _GNU_SOURCE /* lstat */
#include "cli.h"
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_help(const cli *c) {
    printf("usage: %s\n\n%s\n", c->usage, c->about);
    if (c->options[0].name) printf("\noptions:\n");
    for (const cli_option *o = c->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-24s %s\n", left, o->help);
    }
    printf("  %-24s %s\n", "--help", "this text");
}

int cli_version(void) {
    printf("fv %s\n", FV_VERSION);
    return 0;
}

int cli_take(cli_option *options, int argc, char **argv, int *at) {
    char *a = argv[*at], *equals = strncmp(a, "--", 2) ? NULL : strchr(a, '=');
    size_t n = equals ? (size_t)(equals - a) : strlen(a);
    cli_option *o = options;
    while (o->name && (strlen(o->name) != n || strncmp(o->name, a, n))) o++;
    if (!o->name) return 0;
    if (!o->arg && equals) return cli_fail(2, "%s takes no value", o->name), -1;
    int follows = *at + 1 < argc && strncmp(argv[*at + 1], "--", 2);
    const char *value = !o->arg ? "1" : equals ? equals + 1 : follows ? argv[++*at] : "";
    if (!*value) return cli_fail(2, "%s wants a value: %s", o->name, o->arg), -1;
    o->value = value;
    return 1;
}

int cli_parse(cli *c, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        char *a = argv[i];
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            print_help(c);
            return 0;
        }
        if (!strcmp(a, "--version")) return cli_version();
        if (a[0] != '-' || !a[1]) {
            if (c->count == CLI_MANY) return cli_fail(2, "too many words: \"%s\"", a);
            c->words[c->count++] = a;
            continue;
        }
        int took = cli_take(c->options, argc, argv, &i);
        if (took < 1) return took ? 2 : cli_fail(2, "unknown option %s; usage: %s", a, c->usage);
    }
    return -1;
}

const char *cli_value(const cli *c, const char *name) {
    for (const cli_option *o = c->options; o->name; o++)
        if (!strcmp(o->name, name)) return o->value;
    return NULL;
}

const char *cli_text(const cli *c, const char *name, const char *otherwise) {
    const char *s = cli_value(c, name);
    return s ? s : otherwise;
}

long cli_int(const cli *c, const char *name, long otherwise, long least, int *bad) {
    const char *s = cli_value(c, name);
    char *end;
    if (!s) return otherwise;
    long v = strtol(s, &end, 10);
    if (*s && !*end && v >= least && v <= 1000000000) return v;
    *bad = 1;
    cli_fail(2, "%s %s: a whole number of at least %ld is wanted", name, s, least);
    return otherwise;
}

void cli_context(const cli *c, fv_desc *d, int *bad) {
    const char *s = cli_value(c, "--device");
    int length = 0;
    memset(d, 0, sizeof *d);
    d->threads = (int)cli_int(c, "--threads", 0, 1, bad);
    d->no_graph = cli_value(c, "--no-graph") != NULL, d->tf32 = cli_value(c, "--tf32") != NULL;
    if (!s || !strcmp(s, "cpu")) return;
    d->device = FV_CUDA;
    if (!strcmp(s, "cuda")) return;
    if (sscanf(s, "cuda:%9d%n", &d->device_index, &length) == 1 && !s[length] && d->device_index >= 0 &&
        s[5] >= '0' && s[5] <= '9')
        return;
    *bad = 1;
    cli_fail(2, "--device %s: cpu or cuda[:N]", s);
}

int cli_fail(int status, const char *format, ...) {
    va_list args;
    fprintf(stderr, "fv: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    return status;
}

int cli_taken(const char *path, const char *advice) {
    struct stat s;
    return lstat(path, &s) ? 0 : cli_fail(2, "%s exists and is left as it is; %s", path, advice);
}

int cli_foreign(const char *path, const char *file) {
    char at[4400];
    int holds = 0;
    size_t n = strlen(file);
    DIR *d = opendir(path);
    snprintf(at, sizeof at, "%s/%s", path, file);
    if (access(at, F_OK))
        for (struct dirent *e; d && !holds && (e = readdir(d)) != NULL;)
            holds = strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
                    (strncmp(e->d_name, file, n) || strncmp(e->d_name + n, ".tmp-", 5));
    if (d) closedir(d);
    return holds ? cli_fail(2,
                            "%s holds files and no %s: nothing that --resume could go on with, left as it is",
                            path, file)
                 : 0;
}

int cli_end(fv_ctx *c) {
    int status = 0;
    if (!c || fv_error(c)) status = cli_fail(fv_exit_status(fv_error(c)), "%s", fv_error_text(c));
    fv_destroy(c);
    return status;
}

void cli_print_json_string(const char *s) {
    putchar('"');
    for (; *s; s++)
        if ((unsigned char)*s < 32) printf("\\u%04x", (unsigned)(unsigned char)*s);
        else printf(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    putchar('"');
}
