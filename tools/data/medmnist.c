#include "medmnist.h"
#include "folder.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int medmnist_find(fv_ctx *c, const char *path, char *out, size_t n) {
    struct stat st;
    size_t length = strlen(path);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return snprintf(out, n, "%s", path) > 0 && length > 4 && !strcmp(path + length - 4, ".npz");
    int count;
    char **name = folder_list(c, path, ".npz", 0, &count);
    if (!name) return fv_clear_error(c), 0;
    if (count == 1) snprintf(out, n, "%s/%s", path, name[0]);
    fv_free(c, name);
    if (count > 1) fv_fail(c, FV_EUSAGE, "%s: %d .npz files are there; name one as --data FILE", path, count);
    return count == 1;
}

static int greatest(fv_ctx *c, const npz *z, const char *split) {
    char name[64];
    npy a;
    int most = -1;
    snprintf(name, sizeof name, "%s_labels", split);
    if (!npz_has(z, name) || !npz_get(c, z, name, &a)) return -1;
    for (int64_t i = 0; i < a.count; i++) {
        double v = npy_value(&a, i);
        if (!(v >= 0 && v < 65536)) fv_fail(c, FV_EFORMAT, "%s: %s: a label of %g", z->path, name, v);
        else if ((int)v > most) most = (int)v;
    }
    npy_free(c, &a);
    return most;
}

static const char *member(char *name, const char *split, const char *what) {
    return snprintf(name, 64, "%.20s_%s", split, what), name;
}
int medmnist_open(fv_ctx *c, const char *path, const char *split, int volumes, medmnist *m) {
    static const char *const splits[3] = {"train", "val", "test"};
    char name[64];
    memset(m, 0, sizeof *m);
    snprintf(m->path, sizeof m->path, "%s", path);
    if (!npz_open(c, path, &m->file)) return 0;
    if (!strcmp(split, "val") && !npz_has(&m->file, "val_images"))
        fv_fail(c, FV_EUSAGE, "%s has no split val", path);
    npz_head(c, &m->file, member(name, split, "images"), &m->images);
    npz_head(c, &m->file, member(name, split, "labels"), &m->labels);
    int rank = m->images.rank, colour = rank == 4 && m->images.dim[3] == 3, picture = rank == 3 || colour;
    if (fv_error(c)) (void)0;
    else if (m->images.bytes != 1 || (m->images.kind != 'u' && m->images.kind != 'b') ||
             !(picture || rank == 4))
        fv_fail(c, FV_EFORMAT, "%s: %s_images is no u8 array [N,H,W], [N,H,W,3] or [N,D,H,W]", path, split);
    else if (volumes ? rank != 4 || colour : !picture)
        fv_fail(c, FV_EUSAGE,
                volumes ? "%s holds pictures: the task image trains on them"
                        : "%s holds volumes: the task volumes trains on them",
                path);
    else if (m->labels.count != m->images.dim[0] || !m->images.count)
        fv_fail(c, FV_EUSAGE, "%s: %lld labels for %lld %s_images: one class each is wanted", path,
                (long long)m->labels.count, (long long)m->images.dim[0], split);
    else if (npz_get(c, &m->file, member(name, split, "images"), &m->images))
        npz_get(c, &m->file, member(name, split, "labels"), &m->labels);
    for (int i = 0; i < 3 && !fv_error(c); i++) {
        int most = greatest(c, &m->file, splits[i]);
        if (most + 1 > m->classes) m->classes = most + 1;
    }
    if (fv_error(c)) medmnist_close(c, m);
    return !fv_error(c);
}
void medmnist_close(fv_ctx *c, medmnist *m) {
    npy_free(c, &m->images), npy_free(c, &m->labels);
    if (m->file.file.data) npz_close(c, &m->file);
}

int medmnist_names(fv_ctx *c, const medmnist *m, char (*name)[CLASS_NAME]) {
    npy a;
    for (int i = 0; i < m->classes; i++) snprintf(name[i], CLASS_NAME, "%d", i);
    if (!npz_has(&m->file, "class_names")) return 1;
    if (!npz_head(c, &m->file, "class_names", &a)) return 0;
    int fits =
        a.kind == 'u' && a.bytes == 1 && a.rank == 2 && a.dim[0] >= m->classes && a.dim[1] == CLASS_NAME;
    if (fits && !npz_get(c, &m->file, "class_names", &a)) return 0;
    for (int i = 0; i < m->classes && fits; i++)
        fits = a.data[CLASS_NAME * i] && !a.data[CLASS_NAME * i + CLASS_NAME - 1];
    if (fits) memcpy(name, a.data, CLASS_NAME * (size_t)m->classes);
    npy_free(c, &a);
    return fits || fv_fail(c, FV_EFORMAT, "%s: class_names is no u8 array [%d,%d] of names", m->path,
                           m->classes, CLASS_NAME);
}
int medmnist_put_names(fv_ctx *c, npz_out *z, const char *const *name, int n) {
    int64_t dim[2] = {n, CLASS_NAME};
    char(*row)[CLASS_NAME] = (char(*)[CLASS_NAME])fv_alloc(c, CLASS_NAME * (size_t)n);
    for (int i = 0; i < n && row; i++)
        if (snprintf(row[i], CLASS_NAME, "%s", name[i]) >= CLASS_NAME)
            fv_fail(c, FV_EFORMAT, "%s: the name of a class has at most %d bytes", name[i], CLASS_NAME - 1);
    if (row && !fv_error(c)) npz_put(c, z, "class_names", (const uint8_t *)row, 2, dim);
    fv_free(c, row);
    return !fv_error(c);
}
