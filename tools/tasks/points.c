/* points: classes of point clouds and meshes. Data: train/CLASS/ and test/CLASS/, or ModelNet40's
 * CLASS/train/ and CLASS/test/, with the files that data/clouds.h reads; or ScanObjectNN's training_X.h5 and
 * test_X.h5 (see data/h5.h): the folder of one such pair, the folder of the hardest split (X is
 * objectdataset_augmentedrot_scale75) among others, or the path of a training_X.h5. The demo is made of real
 * CAD parts (data/parts.c) where tools/fetch.sh kicad-packages3d has been run, else of generated shapes.
 *
 * Every object is sampled once to twice num_points (a mesh by area), moved to its centre and scaled into the
 * unit sphere (fit=0: it is left where and as large as it is). In training a random half of these is scaled
 * (2/3 to 3/2 an axis) and shifted (0.2), as Point-BERT does (stretch=0: not); rotate=1 turns it about the
 * upright axis first, up=z or y: y is ScanObjectNN's, and what its files get unless up says otherwise. A test
 * sees the first half, or with votes=V the mean of the probabilities of it and of V-1 random halves, turned
 * likewise; predict too. fps=1: in place of the first half the num_points of all points that are farthest
 * apart, from the first on. fit=0 and fps=1 is what a network of the released code was tested with. */
#include "../data/clouds.h"
#include "../data/folder.h"
#include "../data/h5.h"
#include "classify.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct points_data {
    float *cloud[2]; /* [count,2*points,3] */
    int32_t *label[2];
    int32_t *order[2];       /* item i is cloud order[i] */
    int room[2], points, up; /* up: the axis, 1 is y and 2 is z */
} points_data;

static const char *presets[][2] = {
    {"demo-points", "arch=point_transformer trans_dim=128 depth=4 num_heads=4 num_group=32 group_size=24 "
                    "encoder_width=128 encoder_dims=128 num_points=512 batch_size=32 epochs=40 lr=7e-4 "
                    "warmup_epochs=1 weight_decay=0.05 label_smoothing=0.2 drop_rate=0.1 linear_init=xavier "
                    "clip_grad=1 rotate=1 stretch=0 votes=10 precision=bf16 frozen.residual=outside"},
    {"point-bert", "arch=point_transformer trans_dim=384 depth=12 num_heads=6 num_group=64 group_size=32 "
                   "encoder_dims=256 num_points=1024 batch_size=32 epochs=300 lr=5e-4 "
                   "warmup_epochs=10 weight_decay=0.05 label_smoothing=0.2 drop_path_rate=0.1"},
    {NULL, NULL}};
static const char *const keys[] = {"rotate", "stretch", "votes", "up", "fit", "fps", NULL};

/* 2N points of an object; in a test the first N may be chosen */
static int sampled(run *r, const mesh *m, fv_rng *g, int test, int64_t N, float *to) {
    if (!mesh_sample(r->c, m, g, 2 * N, to)) return 0;
    if (test && number_of(&r->s, 't', "fps", 0) > 0) {
        int cloud = !m->faces && m->points >= N;
        const float *from = cloud ? m->xyz : to;
        int32_t *at = (int32_t *)fv_alloc(r->c, (size_t)N * sizeof *at);
        float *first = (float *)fv_alloc(r->c, (size_t)(3 * N) * sizeof *first);
        if (at && first && fv_fps(r->c, from, 1, cloud ? m->points : 2 * N, N, at)) {
            for (int64_t i = 0; i < N; i++) memcpy(first + 3 * i, from + 3 * (int64_t)at[i], 3 * sizeof *to);
            memcpy(to, first, (size_t)(3 * N) * sizeof *to);
        }
        fv_free(r->c, first), fv_free(r->c, at);
    }
    if (number_of(&r->s, 't', "fit", 1) > 0) cloud_fit(to, 2 * N);
    return !fv_error(r->c);
}

/* room for `more` further clouds of a split */
static int make_room(run *r, points_data *d, int split, int more) {
    int n = r->count[split], room = d->room[split] ? 2 * d->room[split] : 256;
    int64_t each = 6 * (int64_t)d->points;
    if (n + more <= d->room[split]) return 1;
    if (room < n + more) room = n + more;
    float *clouds = (float *)fv_alloc(r->c, (size_t)(room * each) * sizeof *clouds);
    int32_t *labels = (int32_t *)fv_alloc(r->c, (size_t)room * sizeof *labels);
    if (!clouds || !labels) return 0;
    if (n)
        memcpy(clouds, d->cloud[split], (size_t)(n * each) * sizeof *clouds),
            memcpy(labels, d->label[split], (size_t)n * sizeof *labels);
    fv_free(r->c, d->cloud[split]), fv_free(r->c, d->label[split]);
    d->cloud[split] = clouds, d->label[split] = labels, d->room[split] = room;
    return 1;
}
static int add_object(run *r, points_data *d, int split, const mesh *m, int label) {
    int n = r->count[split];
    if (!make_room(r, d, split, 1)) return 0;
    fv_rng g = {7, (uint64_t)(2 * n + split), 0};
    float *to = d->cloud[split] + n * 6 * (int64_t)d->points;
    if (!sampled(r, m, &g, split == SPLIT_TEST, d->points, to)) return 0;
    d->label[split][n] = label;
    return ++r->count[split];
}
static int add_file(run *r, points_data *d, int split, const char *path, int label) {
    mesh m;
    if (!mesh_read(r->c, path, &m)) return 0;
    add_object(r, d, split, &m, label);
    mesh_free(r->c, &m);
    return !fv_error(r->c);
}
static int add_folder(run *r, points_data *d, int split, const char *folder, int label) {
    char path[8800];
    int n, before = r->count[split];
    char **name = folder_list(r->c, folder, "", 0, &n);
    for (int i = 0; i < n && !fv_error(r->c); i++) {
        if (!mesh_named(name[i])) continue;
        snprintf(path, sizeof path, "%.4300s/%.4300s", folder, name[i]);
        add_file(r, d, split, path, label);
    }
    fv_free(r->c, name);
    if (!fv_error(r->c) && r->count[split] == before)
        fv_fail(r->c, FV_EIO, "%s: no .off, .ply, .wrl, .npy, .npz or .xyz file", folder);
    return !fv_error(r->c);
}

/* ---- ScanObjectNN ---- */
/* the training file that is meant, or "" */
static void find_h5(run *r, const char *dir, char *path, size_t size) {
    static const char ending[] = ".h5", hardest[] = "training_objectdataset_augmentedrot_scale75.h5";
    size_t length = strlen(dir);
    int n = 0, found = 0;
    *path = 0;
    if (length > 3 && !strcmp(dir + length - 3, ending)) {
        snprintf(path, size, "%s", dir);
        return;
    }
    char **name = folder_list(r->c, dir, ending, 0, &n);
    fv_clear_error(r->c); /* no such folder: what comes next says so */
    for (int i = 0; i < n; i++) {
        if (strncmp(name[i], "training_", 9)) continue;
        if (!found++ || !strcmp(name[i], hardest)) snprintf(path, size, "%s/%s", dir, name[i]);
    }
    if (found > 1 && !strstr(path, hardest))
        fv_fail(r->c, FV_EUSAGE, "%s: %d training_*.h5 are there; name one as --data FILE", dir, found);
    fv_free(r->c, name);
}
static int upright(const run *r, const char *file) { /* the axis that is said, or the data's */
    const char *said = value_of(&r->s, 't', "up", NULL);
    return (said ? is_text(&r->s, 't', "up", "y") : *file != 0) ? 1 : 2;
}
static void name_classes(run *r, int n) {
    static const char *const scan[15] = {"bag",  "bin",     "box",  "cabinet", "chair",
                                         "desk", "display", "door", "shelf",   "table",
                                         "bed",  "pillow",  "sink", "sofa",    "toilet"};
    r->class_names = (char(*)[CLASS_NAME])fv_alloc(r->c, (size_t)n * CLASS_NAME);
    if (r->class_names) r->classes = n;
    for (int i = 0; i < r->classes; i++)
        snprintf(r->class_names[i], CLASS_NAME, n == 15 ? "%s" : "%.0sclass %d", n == 15 ? scan[i] : "", i);
}
static int add_h5(run *r, points_data *d, int split, const char *path) {
    h5 h;
    mesh m;
    if (!h5_open(r->c, path, &h)) return 0;
    memset(&m, 0, sizeof m);
    m.points = h.points, m.xyz = (float *)fv_alloc(r->c, (size_t)(3 * h.points) * sizeof *m.xyz);
    if (!r->class_names) name_classes(r, h.classes);
    if (h.classes > r->classes)
        fv_fail(r->c, FV_EUSAGE, "%s: %d classes, there are %d in training", path, h.classes, r->classes);
    if (!fv_error(r->c)) make_room(r, d, split, (int)h.count);
    for (int64_t i = 0; i < h.count && !fv_error(r->c); i++)
        if (h5_cloud(r->c, &h, i, m.xyz)) add_object(r, d, split, &m, h.label[i]);
    mesh_free(r->c, &m), h5_close(r->c, &h);
    return !fv_error(r->c);
}
static int open_h5(run *r, points_data *d, const char *training) {
    char test[4400];
    const char *slash = strrchr(training, '/'), *name = slash ? slash + 1 : training;
    if (strncmp(name, "training_", 9))
        return fv_fail(r->c, FV_EUSAGE, "%s: a file training_X.h5 with a test_X.h5 beside it is wanted",
                       training);
    snprintf(test, sizeof test, "%.*stest_%.300s", (int)(name - training), training, name + 9);
    return add_h5(r, d, SPLIT_TRAIN, training) && add_h5(r, d, SPLIT_TEST, test);
}

/* ---- folders ---- */
/* whether test/ has only classes that the run knows */
static int none_besides(run *r, const char *dir) {
    char path[4300];
    int n;
    snprintf(path, sizeof path, "%s/test", dir);
    char **name = folder_list(r->c, path, "", 1, &n);
    for (int i = 0; i < n && !fv_error(r->c); i++)
        if (run_class_named(r, name[i]) < 0)
            fv_fail(r->c, FV_EUSAGE, "%s/%s: the class is not among the training clouds'", path, name[i]);
    fv_free(r->c, name);
    return !fv_error(r->c);
}
static int open_folders(run *r, points_data *d, const char *dir) {
    char path[4300], classes[4300];
    int n;
    snprintf(path, sizeof path, "%s/train", dir);
    int by_split = !access(path, F_OK); /* train/CLASS, else CLASS/train */
    snprintf(classes, sizeof classes, by_split ? "%s/train" : "%s", dir);
    char **name = folder_list(r->c, classes, "", 1, &n);
    if (name && !n) fv_fail(r->c, FV_EIO, "%s: no folder of a class", classes);
    if (name && !r->class_names && r->model && n != r->model->num_classes)
        fv_fail(r->c, FV_EUSAGE, "%s: %d classes, the run has %d", dir, n, r->model->num_classes);
    if (name && !r->class_names) {
        r->class_names = (char(*)[CLASS_NAME])fv_alloc(r->c, (size_t)(n + 1) * CLASS_NAME), r->classes = n;
        for (int i = 0; i < n && !fv_error(r->c); i++)
            if (snprintf(r->class_names[i], CLASS_NAME, "%s", name[i]) >= CLASS_NAME)
                fv_fail(r->c, FV_EUSAGE, "%s/%s: a class's name has %d bytes at most", classes, name[i],
                        CLASS_NAME - 1);
    }
    for (int s = 0; s < 2 && !fv_error(r->c); s++)
        for (int i = 0; i < n && !fv_error(r->c); i++) {
            int label = run_class_named(r, name[i]);
            if (label < 0) {
                fv_fail(r->c, FV_EUSAGE, "%s: the run knows no class %s", classes, name[i]);
                break;
            }
            snprintf(path, sizeof path, by_split ? "%.2000s/%s/%.1000s" : "%.2000s/%.1s%.1000s/%s", dir,
                     by_split ? (s ? "test" : "train") : "", name[i], s ? "test" : "train");
            add_folder(r, d, s, path, label);
        }
    fv_free(r->c, name);
    return !fv_error(r->c) && (!by_split || none_besides(r, dir));
}

/* how often a test looks at a cloud; 0 where that is refused */
static int votes_of(run *r) {
    double votes = number_of(&r->s, 't', "votes", 1);
    return votes >= 1 && votes <= 100 ? (int)votes
                                      : fv_fail(r->c, FV_EUSAGE, "votes is %g; it is 1 to 100", votes);
}

static int points_open(run *r, const char *dir) {
    points_data *d = (points_data *)fv_alloc(r->c, sizeof *d);
    char training[4400];
    r->data = d;
    if (!d) return 0;
    d->points = (int)number_of(&r->s, 'm', "num_points", 1024);
    if (d->points < 1 || d->points > 1 << 20) return fv_fail(r->c, FV_EUSAGE, "num_points is %d", d->points);
    if (!votes_of(r)) return 0;
    if (value_of(&r->s, 't', "up", NULL) && !is_text(&r->s, 't', "up", "y") &&
        !is_text(&r->s, 't', "up", "z"))
        return fv_fail(r->c, FV_EUSAGE, "up is y or z");
    find_h5(r, dir, training, sizeof training), d->up = upright(r, training);
    if (fv_error(r->c) || !(*training ? open_h5(r, d, training) : open_folders(r, d, dir))) return 0;
    if (!fv_error(r->c)) run_put_classes(r, r->classes);
    /* mixed once, so that the first N items are of all classes */
    for (int s = 0; s < 2 && !fv_error(r->c); s++) {
        fv_rng g = {7, 1000000000u + (uint64_t)s, 0};
        d->order[s] = (int32_t *)fv_alloc(r->c, (size_t)r->count[s] * sizeof(int32_t));
        for (int i = 0; i < r->count[s] && d->order[s]; i++) d->order[s][i] = i;
        if (d->order[s]) fv_rng_shuffle(&g, d->order[s], r->count[s]);
    }
    return !fv_error(r->c);
}
static void points_close(run *r) {
    points_data *d = (points_data *)r->data;
    for (int s = 0; s < 2; s++)
        fv_free(r->c, d->cloud[s]), fv_free(r->c, d->label[s]), fv_free(r->c, d->order[s]);
    fv_free(r->c, d);
    r->data = NULL;
}

/* N of src's 2N points. Training and, in a test, each vote but the first see random halves, with rotate
 * turned at random about the upright axis; the first vote (epoch -1) sees the first half. */
static void view_of(run *r, const float *src, int64_t N, int up, int epoch, fv_rng *g, float *to) {
    int random = epoch != -1, rotate = random && number_of(&r->s, 't', "rotate", 0) > 0, y = 3 - up;
    float a = rotate ? fv_rng_uniform(g) * 6.28318531f : 0, u = cosf(a), v = sinf(a);
    for (int64_t left = 2 * N, wanted = N; wanted; left--, src += 3) {
        if (random && (int64_t)fv_rng_below(g, (uint32_t)left) >= wanted) continue;
        to[0] = u * src[0] - v * src[y], to[y] = v * src[0] + u * src[y], to[up] = src[up];
        to += 3, wanted--;
    }
}
static int points_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const points_data *d = (const points_data *)r->data;
    int stretch = epoch >= 0 && number_of(&r->s, 't', "stretch", 1) > 0, V = epoch < 0 ? votes_of(r) : 1;
    int64_t N = d->points, rows = (int64_t)n * V, dim[3] = {rows, N, 3};
    fv_tensor *x = fv_new(r->c, FV_F32, 3, dim), *label = fv_new(r->c, FV_I32, 1, &rows);
    if (!V || !x || !label) return 0;
    for (int64_t row = 0; row < rows; row++) {
        int32_t item = index[row / V];
        int e = epoch < 0 ? -1 - (int)(row % V) : epoch;
        const float *src = d->cloud[split] + 6 * N * d->order[split][run_other(r, split, item)];
        float *to = (float *)x->data + 3 * N * row;
        fv_rng g = run_rng(r, e, item);
        view_of(r, src, N, d->up, e, &g, to);
        if (stretch) fv_points_augment(&g, to, N);
        ((int32_t *)label->data)[row] = d->label[split][d->order[split][item]];
    }
    b->input[0] = x, b->inputs = 1, b->target[0] = label, b->targets = 1, b->count = n;
    return 1;
}

static int points_predict(run *r, const char *file, int json) {
    int64_t N = (int64_t)number_of(&r->s, 'm', "num_points", 1024), dim[3] = {votes_of(r), N, 3};
    mesh m;
    fv_rng g = {7, 0, 0};
    fv_tensor *x = fv_new(r->c, FV_F32, 3, dim);
    float *cloud = (float *)fv_alloc(r->c, (size_t)(6 * N) * sizeof *cloud);
    if (x && cloud && mesh_read(r->c, file, &m)) {
        char training[4400];
        find_h5(r, r->data_path, training, sizeof training);
        int ok = !fv_error(r->c) && sampled(r, &m, &g, 1, N, cloud), up = upright(r, training);
        for (int v = 0; ok && v < dim[0]; v++) {
            g = run_rng(r, -1 - v, 0);
            view_of(r, cloud, N, up, -1 - v, &g, (float *)x->data + 3 * N * v);
        }
        if (ok) classify(r, x, file, json);
        mesh_free(r->c, &m);
    }
    fv_free(r->c, cloud);
    return !fv_error(r->c);
}

typedef struct dot {
    float depth;
    double x, y;
    float up;
} dot;
static int farther(const void *a, const void *b) {
    float x = ((const dot *)a)->depth, y = ((const dot *)b)->depth;
    return x < y ? -1 : x > y;
}
/* the cloud seen from above its front, near points larger and brighter; colour by height */
static int points_picture(run *r, canvas *v, int32_t item, double x, double y) {
    const points_data *d = (const points_data *)r->data;
    const int side = 200, n = 2 * d->points, z_up = d->up == 2;
    const float *p = d->cloud[SPLIT_TEST] + 6 * (int64_t)d->points * d->order[SPLIT_TEST][item];
    dot *dots = (dot *)fv_alloc(r->c, (size_t)n * sizeof *dots);
    if (!dots) return 0;
    draw_box(v, x, y, side, side, 0x0d1117, 1);
    for (int i = 0; i < n; i++) {
        float a = 0.6f, e = 0.45f, back = z_up ? p[3 * i + 1] : -p[3 * i + 2],
              u = p[3 * i] * cosf(a) - back * sinf(a), w = p[3 * i] * sinf(a) + back * cosf(a),
              z = p[3 * i + d->up];
        float depth = w * cosf(e) - z * sinf(e), up = w * sinf(e) + z * cosf(e), near = 3.2f / (3.2f + depth);
        dots[i].depth = -depth, dots[i].x = x + side / 2.0 + (double)(u * near) * side * 0.44,
        dots[i].y = y + side / 2.0 - (double)(up * near) * side * 0.44, dots[i].up = z;
    }
    qsort(dots, (size_t)n, sizeof *dots, farther);
    for (int i = 0; i < n; i++) {
        double near = 0.5 + 0.5 * (double)dots[i].depth, t = 0.5 + 0.5 * (double)dots[i].up,
               light = 0.35 + 0.65 * fmax(0, fmin(1, near));
        ink colour = (ink)(255 * light * (0.25 + 0.75 * t)) << 16 |
                     (ink)(255 * light * (0.55 + 0.25 * t)) << 8 | (ink)(255 * light * (1 - 0.65 * t));
        if (dots[i].x > x + 2 && dots[i].x < x + side - 2 && dots[i].y > y + 2 && dots[i].y < y + side - 2)
            draw_disc(v, dots[i].x, dots[i].y, 1 + 0.9 * near, colour, 1);
    }
    fv_free(r->c, dots);
    return 1;
}
static int points_draw(run *r, const int32_t *index, int n, const char *png) {
    return classify_sheet(r, index, n, png, 6, 200, 200, points_picture);
}

static int points_demo(run *r, const char *dir, char fetched[][4096]) {
    return *fetched[0] ? parts_write(r->c, dir, fetched[0]) : clouds_write(r->c, dir);
}

extern const task task_points;
const task task_points = {
    .name = "points",
    .about = "classes of point clouds and meshes",
    .items = "clouds",
    .presets = presets,
    .keys = keys,
    .fetch = "?kicad-packages3d",
    .demo = points_demo,
    .open = points_open,
    .close = points_close,
    .batch = points_batch,
    .baselines = classify_chance,
    .predict = points_predict,
    .draw = points_draw,
    .views = 1,
};
