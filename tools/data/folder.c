#define _GNU_SOURCE
#include "folder.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const void *a, const void *b) { return strverscmp(*(char *const *)a, *(char *const *)b); }

static int fits(const char *dir, const char *name, const char *ending, int folders) {
    char path[4400];
    struct stat st;
    size_t n = strlen(name), e = strlen(ending);
    if (*name == '.' || n < e || strcmp(name + n - e, ending)) return 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0 && (S_ISDIR(st.st_mode) ? folders : !folders);
}

char **folder_list(fv_ctx *c, const char *dir, const char *ending, int folders, int *count) {
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t bytes = 0;
    int n = 0, room;
    *count = 0;
    if (!d) return fv_fail(c, FV_EIO, "%s: the folder cannot be read", dir), (char **)NULL;
    while ((e = readdir(d)))
        if (fits(dir, e->d_name, ending, folders)) n++, bytes += strlen(e->d_name) + 1;
    rewinddir(d);
    room = n;
    char **list = (char **)fv_alloc(c, (size_t)(n + 1) * sizeof *list + bytes),
         *text = (char *)(list + n + 1);
    size_t used = 0;
    n = 0;
    while (list && n < room && (e = readdir(d)))
        if (fits(dir, e->d_name, ending, folders) && used + strlen(e->d_name) + 1 <= bytes) {
            list[n++] = (char *)memcpy(text + used, e->d_name, strlen(e->d_name) + 1);
            used += strlen(e->d_name) + 1;
        }
    closedir(d);
    if (list) qsort(list, (size_t)n, sizeof *list, by_name), *count = n;
    return list;
}
