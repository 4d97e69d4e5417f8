/* pictures.c -- which layout a folder of pictures has. */
#include "pictures.h"
#include "folder.h"
#include "medmnist.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int from_medmnist(fv_ctx *c, const char *path, const char *split, pictures *p) {
    medmnist *m = &p->npz;
    if (!medmnist_open(c, path, split, 0, m)) return memset(m, 0, sizeof *m), 0;
    p->count = (int)m->images.dim[0], p->height = (int)m->images.dim[1], p->width = (int)m->images.dim[2],
    p->channels = m->images.rank == 4 ? 3 : 1, p->classes = m->classes, p->data = m->images.data;
    p->label = (int32_t *)fv_alloc(c, (size_t)p->count * sizeof *p->label);
    p->class_name = (char(*)[CLASS_NAME])fv_alloc(c, (size_t)p->classes * CLASS_NAME);
    if (!fv_error(c)) {
        for (int i = 0; i < p->count; i++) p->label[i] = (int32_t)npy_value(&m->labels, i);
        medmnist_names(c, m, p->class_name);
    }
    return !fv_error(c);
}

int picture_named(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".png") || !strcmp(dot, ".PNG") || !strcmp(dot, ".jpg") ||
                   !strcmp(dot, ".JPG") || !strcmp(dot, ".jpeg") || !strcmp(dot, ".JPEG"));
}
/* The pictures of a class's folder: without p they are counted, with it read to the places from place[0] on.
 * How many. */
static int class_folder(fv_ctx *c, const char *folder, float crop_pct, pictures *p, int label,
                        const int32_t *place) {
    char path[8800];
    int n, found = 0;
    char **file = folder_list(c, folder, "", 0, &n);
    for (int i = 0; i < n && file && !fv_error(c); i++) {
        if (!picture_named(file[i])) continue;
        snprintf(path, sizeof path, "%.4300s/%.4300s", folder, file[i]);
        if (p) {
            size_t at = (size_t)place[found],
                   each = (size_t)p->height * (size_t)p->width * (size_t)p->channels;
            if (each) picture_fit(c, path, p->height, crop_pct, p->channels, p->own + at * each);
            p->label[at] = label;
        }
        found++;
    }
    fv_free(c, file);
    if (!found && !fv_error(c))
        fv_fail(c, FV_EIO, "%s: no PNG or JPEG, and each folder there is a class", folder);
    return found;
}
/* where each of n pictures goes: mixed, always in the same way */
static int32_t *mixed(fv_ctx *c, int n) {
    fv_rng g = {7, 1000000000u, 0};
    int32_t *place = (int32_t *)fv_alloc(c, (size_t)(n + 1) * sizeof *place);
    for (int i = 0; i < n && place; i++) place[i] = i;
    if (place) fv_rng_shuffle(&g, place, n);
    return place;
}
static int from_folders(fv_ctx *c, const char *dir, int size, float crop_pct, int channels, pictures *p) {
    char folder[4400];
    int classes, at = 0;
    char **name = folder_list(c, dir, "", 1, &classes);
    if (name && !classes) fv_fail(c, FV_EIO, "%s: no folder of a class", dir);
    for (int k = 0; k < classes; k++) /* names travel with the run, and tell which class is which */
        if (strlen(name[k]) >= CLASS_NAME)
            fv_fail(c, FV_EUSAGE, "%s/%s: a class's name has %d bytes at most", dir, name[k], CLASS_NAME - 1);
    for (int k = 0; k < classes && !fv_error(c); k++) {
        snprintf(folder, sizeof folder, "%.2000s/%.2000s", dir, name[k]);
        p->count += class_folder(c, folder, crop_pct, NULL, k, NULL);
    }
    p->height = p->width = size, p->channels = channels, p->classes = classes;
    p->data = p->own =
        (uint8_t *)fv_alloc(c, (size_t)p->count * (size_t)size * (size_t)size * (size_t)channels + 1),
    p->label = (int32_t *)fv_alloc(c, (size_t)p->count * sizeof *p->label + 1);
    p->class_name = (char(*)[CLASS_NAME])fv_alloc(c, (size_t)classes * CLASS_NAME + 1);
    int32_t *place = mixed(c, p->count);
    for (int k = 0; k < classes && !fv_error(c); k++) {
        snprintf(p->class_name[k], CLASS_NAME, "%.127s", name[k]);
        snprintf(folder, sizeof folder, "%.2000s/%.2000s", dir, name[k]);
        at += class_folder(c, folder, crop_pct, p, k, place + at);
    }
    fv_free(c, place);
    fv_free(c, name);
    return !fv_error(c);
}

int pictures_open(fv_ctx *c, const char *dir, const char *split, int size, float crop_pct, int channels,
                  pictures *p) {
    char path[4400], folder[4400];
    memset(p, 0, sizeof *p);
    if (medmnist_find(c, dir, path, sizeof path)) return from_medmnist(c, path, split, p);
    if (fv_error(c)) return 0;
    int test = !strcmp(split, "test");
    snprintf(folder, sizeof folder, "%s/%s", dir, split);
    if (access(folder, F_OK) && test) snprintf(folder, sizeof folder, "%s/val", dir);
    if (!access(folder, F_OK)) return from_folders(c, folder, size, crop_pct, channels, p);
    snprintf(folder, sizeof folder, "%s/train", dir);
    if (!access(folder, F_OK))
        return fv_fail(c, test ? FV_EIO : FV_EUSAGE, "%s: there is train/, and %s beside it", dir,
                       test ? "neither test/ nor val/" : "no val/");
    return idx_open(c, dir, split, p);
}

void pictures_close(fv_ctx *c, pictures *p) {
    if (*p->npz.path) medmnist_close(c, &p->npz);
    fv_free(c, p->own);
    fv_free(c, p->label);
    fv_free(c, p->class_name);
    memset(p, 0, sizeof *p);
}
