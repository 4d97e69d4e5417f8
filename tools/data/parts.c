/* parts.c -- the demos of points and volumes from real CAD parts: the folders of KiCad's library that
 * tools/fetch.sh kicad-packages3d keeps, each a class. The settings were fixed before the first training run.
 *
 * 120 training and 30 test clouds of each class, of 1,024 points, made as shapes.c makes those of generated
 * shapes: a part of the object cut away, background with another part in it, turned, and noise, but half as
 * much (0.005 to 0.015 of its size), as pins are thin. A class's parts take turns. As many volumes, made as
 * shapes.c makes those.
 *
 * The split is by part, and near-duplicates stay on one side: parts whose names differ in numbers alone
 * (pins, pitch, size) are a family, and a family is either in training or in the test. Families are drawn for
 * the test as long as they fit into 30 % of the class's parts, so that a family larger than that is in
 * training. What stands beside an object is a part of the same side of the split. */
#include "clouds.h"
#include "folder.h"
#include "medmnist.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* KEPT: points of a part, from which clouds are drawn */
enum { TRAIN = 120, TEST = 30, KEPT = 4096, FAMILY = 160, SEED = 2032 };
typedef struct part {
    char family[FAMILY];
    int kind, test; /* kind: number of its class */
    float *xyz;     /* [KEPT,3] */
} part;
typedef struct parts {
    fv_ctx *c;
    part *at;
    int count, room, kinds;
} parts;
typedef struct side {
    const parts *of;
    int32_t *part;
    int count;
} side; /* the parts of training, or those of the test */

/* the name without its numbers: R_Axial_DIN#_L#mm_D#mm_P#mm_Horizontal */
static void family_of(const char *name, char *out) {
    size_t n = 0;
    for (const char *p = name; *p && strcmp(p, ".wrz") && strcmp(p, ".wrl") && n + 1 < FAMILY;) {
        int digits = isdigit((unsigned char)*p) != 0;
        out[n++] = digits ? '#' : *p++;
        while (digits && (isdigit((unsigned char)*p) || (*p == '.' && isdigit((unsigned char)p[1])))) p++;
    }
    out[n] = 0;
}

static int add_part(parts *s, const char *path, const char *name) {
    mesh m;
    fv_rng g = {SEED, 1000000000u + (uint64_t)s->count, 0};
    if (s->count == s->room) {
        int room = s->room ? 2 * s->room : 512;
        part *more = (part *)fv_alloc(s->c, (size_t)room * sizeof *more);
        if (!more) return 0;
        if (s->count) memcpy(more, s->at, (size_t)s->count * sizeof *more);
        fv_free(s->c, s->at), s->at = more, s->room = room;
    }
    part *p = &s->at[s->count++];
    memset(p, 0, sizeof *p);
    p->kind = s->kinds, family_of(name, p->family);
    p->xyz = (float *)fv_alloc(s->c, 3 * KEPT * sizeof *p->xyz);
    if (!p->xyz || !mesh_read(s->c, path, &m)) return 0;
    if (mesh_sample(s->c, &m, &g, KEPT, p->xyz)) cloud_fit(p->xyz, KEPT);
    mesh_free(s->c, &m);
    return !fv_error(s->c);
}
/* The parts from `first` on are a class's: their families are drawn for the test. */
static void split_class(parts *s, int first) {
    int32_t order[1024];
    int n = s->count - first < 1024 ? s->count - first : 1024, test = 0;
    fv_rng g = {SEED, 2000000000u + (uint64_t)s->kinds, 0};
    for (int i = 0; i < n; i++) order[i] = first + i, s->at[first + i].test = -1;
    fv_rng_shuffle(&g, order, n);
    for (int i = 0; i < n; i++) {
        int size = 0;
        if (s->at[order[i]].test >= 0) continue; /* its family is known */
        for (int k = first; k < first + n; k++) size += !strcmp(s->at[k].family, s->at[order[i]].family);
        int in = test + size <= 3 * n / 10;
        for (int k = first; k < first + n; k++)
            if (!strcmp(s->at[k].family, s->at[order[i]].family)) s->at[k].test = in;
        test += in ? size : 0;
    }
}
static int add_class(parts *s, const char *folder) {
    char path[8800];
    int n, first = s->count;
    char **name = folder_list(s->c, folder, "", 0, &n);
    for (int i = 0; i < n && !fv_error(s->c); i++) {
        size_t length = strlen(name[i]);
        if (length < 5 || (strcmp(name[i] + length - 4, ".wrl") && strcmp(name[i] + length - 4, ".wrz")))
            continue;
        snprintf(path, sizeof path, "%.4300s/%.4300s", folder, name[i]);
        add_part(s, path, name[i]);
    }
    fv_free(s->c, name);
    if (!fv_error(s->c)) split_class(s, first), s->kinds++;
    return !fv_error(s->c);
}

static int from_side(void *of, fv_rng *r, int which, int64_t n, float *out) {
    const side *s = (const side *)of;
    const mesh cloud = {KEPT, 0, s->of->at[s->part[which]].xyz, NULL};
    return mesh_sample(s->of->c, &cloud, r, n, out);
}
/* where the parts of a class begin in a side, and how many: they stand together. 0: there is none */
static int parts_of(const side *s, int kind, const char *class_name, int test, int *first) {
    int n = 0;
    for (int i = 0; i < s->count; i++)
        if (s->of->at[s->part[i]].kind == kind) *first = n++ ? *first : i;
    if (!n) fv_fail(s->of->c, FV_EFORMAT, "%s: no part for the %s", class_name, test ? "test" : "training");
    return n;
}
static int write_kind(side *s, const char *folder, int kind, int test) {
    fv_ctx *c = s->of->c;
    const thing_source from = {s->count, from_side, s, 0.005f};
    int64_t dim[2] = {SCENE_POINTS, 3};
    int first = 0, n = parts_of(s, kind, folder, test, &first);
    char path[4500];
    float p[3 * SCENE_POINTS];
    if (!n) return 0;
    if (mkdir(folder, 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", folder);
    for (int i = 0; i < (test ? TEST : TRAIN) && !fv_error(c); i++) {
        fv_rng r = {SEED, (uint64_t)((test * 1000 + kind) * 1000 + i), 0};
        snprintf(path, sizeof path, "%s/%d.npy", folder, i + 1);
        if (scene_of(&r, &from, first + i % n, p)) npy_write(c, path, p, 2, dim);
    }
    return !fv_error(c);
}
static side side_of(const parts *s, int test) {
    side one = {s, (int32_t *)fv_alloc(s->c, (size_t)(s->count + 1) * sizeof(int32_t)), 0};
    for (int i = 0; i < s->count && one.part; i++)
        if (s->at[i].test == test) one.part[one.count++] = i;
    return one;
}
static int write_side(const parts *s, const char *dir, char **name, int test) {
    char path[4400];
    side one = side_of(s, test);
    snprintf(path, sizeof path, "%.4300s/%s", dir, test ? "test" : "train");
    if (one.part && mkdir(path, 0777)) fv_fail(s->c, FV_EIO, "%s: the folder cannot be made", path);
    for (int k = 0; k < s->kinds && !fv_error(s->c); k++) {
        snprintf(path, sizeof path, "%.4000s/%s/%.300s", dir, test ? "test" : "train", name[k]);
        write_kind(&one, path, k, test);
    }
    fv_free(s->c, one.part);
    return !fv_error(s->c);
}

/* volume i of a side is of class i % kinds */
static int put_side(const parts *s, npz_out *z, char **name, int test) {
    side one = side_of(s, test);
    const thing_source from = {one.count, from_side, &one, 0};
    int each = test ? TEST : TRAIN, n = each * s->kinds;
    int32_t *which = (int32_t *)fv_alloc(s->c, (size_t)n * sizeof *which);
    uint8_t *label = (uint8_t *)fv_alloc(s->c, (size_t)n);
    for (int k = 0; k < s->kinds && !fv_error(s->c); k++) {
        int first = 0, count = parts_of(&one, k, name[k], test, &first);
        for (int i = 0; i < each && count; i++)
            which[i * s->kinds + k] = first + i % count, label[i * s->kinds + k] = (uint8_t)k;
    }
    if (!fv_error(s->c))
        volumes_put(s->c, z, test ? "test" : "train", &from, SEED + 1, (uint64_t)test * 100000, which, label,
                    n);
    fv_free(s->c, one.part), fv_free(s->c, which), fv_free(s->c, label);
    return !fv_error(s->c);
}

/* the parts in the folders of `from`, and the folders' names, owned by c */
static char **read_parts(fv_ctx *c, const char *from, parts *s) {
    char path[4400];
    int n = 0;
    memset(s, 0, sizeof *s), s->c = c;
    char **name = folder_list(c, from, "", 1, &n);
    for (int i = 0; i < n && !fv_error(c); i++) {
        snprintf(path, sizeof path, "%.4000s/%.300s", from, name[i]);
        add_class(s, path);
    }
    if (!fv_error(c) && (n < 2 || n > 255))
        fv_fail(c, FV_EFORMAT, "%s: 2 to 255 folders of parts are wanted, each a class", from);
    return name;
}
static int free_parts(parts *s, char **name) {
    for (int i = 0; i < s->count; i++) fv_free(s->c, s->at[i].xyz);
    fv_free(s->c, s->at), fv_free(s->c, name);
    return !fv_error(s->c);
}
int parts_write(fv_ctx *c, const char *dir, const char *from) {
    parts s;
    char **name = read_parts(c, from, &s);
    for (int test = 0; test < 2 && !fv_error(c); test++) write_side(&s, dir, name, test);
    return free_parts(&s, name);
}
int part_volumes_write(fv_ctx *c, const char *dir, const char *from) {
    parts s;
    npz_out z;
    char path[4400];
    memset(&z, 0, sizeof z);
    char **name = read_parts(c, from, &s);
    for (int test = 0; test < 2 && !fv_error(c); test++) put_side(&s, &z, name, test);
    if (!fv_error(c)) medmnist_put_names(c, &z, (const char *const *)name, s.kinds);
    snprintf(path, sizeof path, "%.4300s/parts3d.npz", dir);
    if (!fv_error(c)) npz_save(c, &z, path);
    return free_parts(&s, name);
}
