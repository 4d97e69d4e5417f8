/* image: classes of pictures. */
#include "../data/pictures.h"
#include "task.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct image_data { pictures split[2]; } image_data;

static const char *presets[][2] = {
    {"demo-image", "arch=vit img_size=28 patch_size=7 in_chans=1 embed_dim=128 depth=4 num_heads=4 batch_size=128 epochs=4 lr=1e-3 warmup_epochs=0.5 weight_decay=0.05 "
                   "label_smoothing=0.1 clip_grad=1 hflip=1 limit=30000"},
    {"tiny28", "arch=vit img_size=28 patch_size=4 in_chans=1 embed_dim=128 depth=4 num_heads=4 batch_size=128 epochs=10 lr=1e-3 warmup_epochs=1 weight_decay=0.05"},
    {"tiny", "arch=vit img_size=224 patch_size=16 in_chans=3 embed_dim=192 depth=12 num_heads=3 batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"small", "arch=vit img_size=224 patch_size=16 in_chans=3 embed_dim=384 depth=12 num_heads=6 batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"base", "arch=vit img_size=224 patch_size=16 in_chans=3 embed_dim=768 depth=12 num_heads=12 batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {NULL, NULL}};
static const char *const keys[] = {"hflip", "shift", NULL};

static int image_size(const run *r) { return (int)number_of(&r->s, 'm', "img_size", 28); }
static int channels(const run *r) { return (int)number_of(&r->s, 'm', "in_chans", 3); }

static int fits(run *r, const pictures *p) {
    int S = image_size(r);
    if (p->height == S && p->width == S && p->channels == channels(r)) return 1;
    return fv_fail(r->c, FV_EUSAGE, "the pictures are %dx%d with %d channel(s), the network wants img_size=%d in_chans=%d", p->height, p->width, p->channels, S, channels(r));
}

static int image_open(run *r, const char *dir) {
    image_data *d = (image_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d || !pictures_open(r->c, dir, "train", &d->split[0]) || !pictures_open(r->c, dir, "test", &d->split[1])) return 0;
    int classes = d->split[0].classes;
    if (d->split[1].classes > classes) return fv_fail(r->c, FV_EUSAGE, "%s: the test pictures have %d classes, the training pictures %d", dir, d->split[1].classes, classes);
    if (r->model && classes > r->model->num_classes) return fv_fail(r->c, FV_EUSAGE, "%s: %d classes, the run has %d", dir, classes, r->model->num_classes);
    for (int s = 0; s < 2; s++) {
        r->count[s] = d->split[s].count;
        if (!fits(r, &d->split[s])) return 0;
    }
    if (!r->model) put_number(&r->s, 'm', "num_classes", classes);
    if (r->class_names) return 1;
    r->classes = classes;
    r->class_names = (char (*)[64])fv_alloc(r->c, (size_t)classes * 64);
    for (int i = 0; i < classes && r->class_names; i++) memcpy(r->class_names[i], d->split[0].class_name[i], 64);
    return !fv_error(r->c);
}

static void image_close(run *r) {
    image_data *d = (image_data *)r->data;
    for (int s = 0; s < 2; s++) pictures_close(r->c, &d->split[s]);
    fv_free(r->c, d);
    r->data = NULL;
}

/* one picture -> f32 [C,S,S], (v/255 - 0.5) / 0.5, moved by dx, dy and mirrored */
static void one_picture(const uint8_t *src, float *to, int S, int C, int dx, int dy, int mirror) {
    for (int ch = 0; ch < C; ch++)
        for (int i = 0; i < S; i++)
            for (int j = 0; j < S; j++) {
                int u = i + dy, v = (mirror ? S - 1 - j : j) + dx, inside = u >= 0 && u < S && v >= 0 && v < S;
                to[(ch * S + i) * S + j] = inside ? (float)src[(u * S + v) * C + ch] / 127.5f - 1 : -1;
            }
}

static int image_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const pictures *p = &((const image_data *)r->data)->split[split];
    int S = image_size(r), flip = epoch >= 0 && number_of(&r->s, 't', "hflip", 0) > 0, most = epoch >= 0 ? (int)number_of(&r->s, 't', "shift", 0) : 0;
    int64_t dim[4] = {n, p->channels, S, S}, labels[1] = {n};
    fv_tensor *x = fv_new(r->c, FV_F32, 4, dim), *y = x ? fv_new(r->c, FV_I32, 1, labels) : NULL;
    if (!y) return 0;
    size_t size = (size_t)(S * S * p->channels);
    for (int i = 0; i < n; i++) {
        fv_rng g = run_rng(r, epoch, index[i]);
        int mirror = flip && (fv_rng_u32(&g) & 1), dx = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0,
            dy = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0;
        one_picture(p->data + (size_t)run_other(r, split, index[i]) * size, (float *)x->data + (size_t)i * size, S, p->channels, dx, dy, mirror);
        ((int32_t *)y->data)[i] = p->label[index[i]];
    }
    b->input[0] = x, b->inputs = 1, b->target[0] = y, b->targets = 1, b->count = n;
    return 1;
}

/* ---- predict ---- */
enum { TOP = 5 };

/* indices of the greatest probabilities, the greatest first */
static int best_classes(const float *p, int classes, int *top) {
    int n = classes < TOP ? classes : TOP;
    for (int i = 0; i < n; i++) {
        top[i] = -1;
        for (int j = 0; j < classes; j++) {
            int taken = 0;
            for (int k = 0; k < i; k++) taken |= top[k] == j;
            if (!taken && (top[i] < 0 || p[j] > p[top[i]])) top[i] = j;
        }
    }
    return n;
}

static void print_prediction(run *r, const char *file, const float *p, int json) {
    int top[TOP], n = best_classes(p, r->model->num_classes, top);
    fv_text t = {0};
    if (json) {
        fv_text_add(r->c, &t, "{\"file\":");
        fv_text_json_string(r->c, &t, file);
        for (int i = -1; i < n; i++) { /* the best one, then the list */
            int k = top[i < 0 ? 0 : i];
            fv_text_add(r->c, &t, i < 0 ? ",\"class\":" : i ? ",{\"class\":" : ",\"top5\":[{\"class\":");
            fv_text_json_string(r->c, &t, k < r->classes ? r->class_names[k] : "?");
            fv_text_add(r->c, &t, ",\"probability\":%.6f%s", (double)p[k], i < 0 ? "" : "}");
        }
        fv_text_add(r->c, &t, "]}");
    } else
        fv_text_add(r->c, &t, "%s  %s  %.4f", file, top[0] < r->classes ? r->class_names[top[0]] : "?", (double)p[top[0]]);
    if (!fv_error(r->c)) printf("%s\n", t.data);
    fv_text_free(r->c, &t);
}

static int image_predict(run *r, const char *file, int json) {
    int S = image_size(r), C = channels(r);
    int64_t dim[4] = {1, C, S, S};
    if (C != 1 && C != 3) return fv_fail(r->c, FV_EUSAGE, "the network wants %d channels; a picture has 1 or 3", C);
    uint8_t *bytes = (uint8_t *)fv_alloc(r->c, (size_t)S * (size_t)S * 3);
    fv_tensor *x = bytes ? fv_new(r->c, FV_F32, 4, dim) : NULL, *y = NULL;
    if (x && picture_read(r->c, file, S, C, bytes)) {
        one_picture(bytes, (float *)x->data, S, C, 0, 0, 0);
        y = fv_model_forward(r->c, r->model, x);
    }
    if (y) y = fv_softmax(r->c, y->type == FV_F32 ? y : fv_cast(r->c, y, FV_F32));
    if (y && !isfinite(fv_get(y, 0))) fv_fail(r->c, FV_ENONFINITE, "%s: the network's output is not finite", file);
    if (y && !fv_error(r->c)) print_prediction(r, file, (const float *)y->data, json);
    fv_free(r->c, bytes);
    return !fv_error(r->c);
}

extern const task task_image;
const task task_image = {"image", "classes of pictures", "pictures", presets, keys, 0, "fashion-mnist", NULL, image_open, image_close, image_batch, NULL, NULL, NULL, image_predict, NULL};
