/* volumes: classes of volumes. Data: a MedMNIST 3D .npz, or a folder with one; training on its train split,
 * measures on its test split, or by fv eval --split val on that one. A network of several channels (R-LLM's
 * have 3) sees the volume in each. The demo is made of the objects of points' demo: real CAD parts
 * (data/parts.c) where tools/fetch.sh kicad-packages3d has been run, else generated shapes. */
#include "../data/clouds.h"
#include "../data/medmnist.h"
#include "classify.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct volumes_data {
    medmnist split[2];
    int size[3]; /* frames, height, width */
} volumes_data;

static const char *presets[][2] = {
    {"demo-volumes",
     "arch=vit3d image_size=28 image_patch_size=7 frames=28 frame_patch_size=7 channels=1 dim=128 depth=4 "
     "heads=4 dim_head=32 mlp_dim=256 batch_size=32 epochs=16 lr=1e-3 "
     "warmup_epochs=1 weight_decay=0.05 linear_init=xavier clip_grad=1 precision=bf16 hflip=1 shift=2"},
    {"vit3d", "arch=vit3d image_size=28 image_patch_size=7 frames=28 frame_patch_size=7 channels=1 dim=64 "
              "depth=6 heads=8 dim_head=64 mlp_dim=128 batch_size=32 epochs=100 lr=1e-3"},
    {"vivit",
     "arch=vivit image_size=28 image_patch_size=7 frames=28 frame_patch_size=7 channels=1 dim=64 "
     "spatial_depth=6 temporal_depth=6 heads=8 dim_head=64 mlp_dim=128 batch_size=32 epochs=100 lr=1e-3"},
    {NULL, NULL}};
static const char *const keys[] = {"hflip", "shift", NULL};

static int channels(run *r) { return (int)number_of(&r->s, 'm', "channels", 1); }
static int volumes_open(run *r, const char *dir) {
    volumes_data *d = (volumes_data *)fv_alloc(r->c, sizeof *d);
    char path[4400];
    r->data = d;
    if (!d) return 0;
    if (!medmnist_find(r->c, dir, path, sizeof path)) return fv_fail(r->c, FV_EIO, "%s: no .npz file", dir);
    for (int s = 0; s < 2; s++)
        if (!medmnist_open(r->c, path, !s ? "train" : r->on_val ? "val" : "test", 1, &d->split[s])) return 0;
    int H = (int)number_of(&r->s, 'm', "image_size", 28), F = (int)number_of(&r->s, 'm', "frames", 28),
        classes = d->split[0].classes;
    for (int s = 0; s < 2; s++) {
        const int64_t *dim = d->split[s].images.dim;
        if (dim[1] != F || dim[2] != H || dim[3] != H)
            return fv_fail(r->c, FV_EUSAGE,
                           "%s: volumes of %lldx%lldx%lld, the network wants frames=%d image_size=%d", path,
                           (long long)dim[1], (long long)dim[2], (long long)dim[3], F, H);
        r->count[s] = (int)dim[0];
    }
    if (r->model && classes > r->model->num_classes)
        return fv_fail(r->c, FV_EUSAGE, "%s: %d classes, the run has %d", path, classes,
                       r->model->num_classes);
    d->size[0] = F, d->size[1] = d->size[2] = H;
    if (!run_put_classes(r, classes)) return 0;
    if (r->class_names) return 1;
    r->classes = classes, r->class_names = (char(*)[CLASS_NAME])fv_alloc(r->c, (size_t)classes * CLASS_NAME);
    return r->class_names && medmnist_names(r->c, &d->split[0], r->class_names);
}
static void volumes_close(run *r) {
    volumes_data *d = (volumes_data *)r->data;
    for (int s = 0; s < 2; s++) medmnist_close(r->c, &d->split[s]);
    fv_free(r->c, d);
    r->data = NULL;
}

static int volumes_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const volumes_data *d = (const volumes_data *)r->data;
    int F = d->size[0], H = d->size[1], W = d->size[2], C = channels(r),
        most = epoch >= 0 ? (int)number_of(&r->s, 't', "shift", 0) : 0,
        flip = epoch >= 0 && number_of(&r->s, 't', "hflip", 0) > 0;
    int64_t dim[5] = {n, C, F, H, W}, count = n, each = (int64_t)F * H * W;
    fv_tensor *x = fv_new(r->c, FV_F32, 5, dim), *label = fv_new(r->c, FV_I32, 1, &count);
    if (!x || !label) return 0;
    for (int i = 0; i < n; i++) {
        const uint8_t *src = d->split[split].images.data + each * run_other(r, split, index[i]);
        float *to = (float *)x->data + each * C * i;
        fv_rng g = run_rng(r, epoch, index[i]);
        int mirror = flip && (fv_rng_u32(&g) & 1), move[3] = {0, 0, 0};
        for (int k = 0; k < 3 && most; k++) move[k] = (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most;
        for (int f = 0; f < F; f++)
            for (int y = 0; y < H; y++)
                for (int z = 0; z < W; z++) {
                    int u = f + move[0], v = y + move[1], w = (mirror ? W - 1 - z : z) + move[2],
                        in = u >= 0 && u < F && v >= 0 && v < H && w >= 0 && w < W;
                    *to++ = in ? (float)src[((int64_t)u * H + v) * W + w] / 127.5f - 1 : -1;
                }
        for (int k = 1; k < C; k++, to += each) memcpy(to, to - each, (size_t)each * sizeof *to);
        ((int32_t *)label->data)[i] = (int32_t)npy_value(&d->split[split].labels, index[i]);
    }
    b->input[0] = x, b->inputs = 1, b->target[0] = label, b->targets = 1, b->count = n;
    return 1;
}

/* fv predict RUN FILE.npy: one volume [D,H,W] of u8 */
static int volumes_predict(run *r, const char *file, int json) {
    int H = (int)number_of(&r->s, 'm', "image_size", 28), F = (int)number_of(&r->s, 'm', "frames", 28);
    int64_t dim[5] = {1, channels(r), F, H, H};
    fv_file f;
    npy a;
    if (!fv_file_open(r->c, file, &f)) return 0;
    if (npy_parse(r->c, file, f.data, f.size, &a)) {
        if (a.rank != 3 || a.dim[0] != dim[2] || a.dim[1] != dim[3] || a.dim[2] != dim[4] || a.bytes != 1)
            fv_fail(r->c, FV_EUSAGE, "%s: a u8 array [%d,%d,%d] is wanted", file, F, H, H);
        else {
            fv_tensor *x = fv_new(r->c, FV_F32, 5, dim);
            for (int64_t i = 0; i < a.count * dim[1] && x; i++)
                ((float *)x->data)[i] = (float)a.data[i % a.count] / 127.5f - 1;
            classify(r, x, file, json);
        }
    }
    fv_file_close(r->c, &f);
    return !fv_error(r->c);
}

/* three views: the brightest voxel along each axis */
static int volumes_picture(run *r, canvas *v, int32_t item, double x, double y) {
    const volumes_data *d = (const volumes_data *)r->data;
    int F = d->size[0], H = d->size[1], W = d->size[2];
    const uint8_t *src = d->split[SPLIT_TEST].images.data + (int64_t)F * H * W * item;
    for (int view = 0; view < 3; view++) {
        int h = view == 0 ? H : F, w = view == 2 ? H : W;
        uint8_t *most = (uint8_t *)fv_alloc(r->c, (size_t)h * (size_t)w * 3);
        if (!most) return 0;
        for (int f = 0; f < F; f++)
            for (int i = 0; i < H; i++)
                for (int j = 0; j < W; j++) {
                    uint8_t one = src[(f * H + i) * W + j],
                            *to = most + 3 * ((view == 0 ? i : F - 1 - f) * w + (view == 2 ? i : j));
                    if (one <= to[1]) continue;
                    to[0] = (uint8_t)(one * one / 255), to[1] = one,
                    to[2] = (uint8_t)(40 + one * 215 / 255 * (255 - one) / 255 + one / 3);
                }
        draw_pixels(v, most, w, h, 3, x + view * 104, y, 100, 100);
        fv_free(r->c, most);
    }
    return 1;
}
static int volumes_draw(run *r, const int32_t *index, int n, const char *png) {
    return classify_sheet(r, index, n, png, 3, 308, 100, volumes_picture);
}

static int volumes_demo(run *r, const char *dir, char fetched[][4096]) {
    return *fetched[0] ? part_volumes_write(r->c, dir, fetched[0]) : volumes_write(r->c, dir);
}

extern const task task_volumes;
const task task_volumes = {
    .name = "volumes",
    .about = "classes of volumes",
    .items = "volumes",
    .presets = presets,
    .keys = keys,
    .fetch = "?kicad-packages3d",
    .demo = volumes_demo,
    .open = volumes_open,
    .close = volumes_close,
    .batch = volumes_batch,
    .baselines = classify_chance,
    .predict = volumes_predict,
    .draw = volumes_draw,
    .val = 1,
};
