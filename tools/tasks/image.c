/* image: classes of pictures. */
#include "../corrupt.h"
#include "../data/pictures.h"
#include "classify.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct image_data {
    pictures split[2];
} image_data;

static const char *presets[][2] = {
    {"demo-image", "arch=vit img_size=28 patch_size=7 in_chans=1 embed_dim=128 depth=4 num_heads=4 "
                   "batch_size=128 epochs=4 lr=1e-3 warmup_epochs=0.5 weight_decay=0.05 "
                   "label_smoothing=0.1 clip_grad=1 hflip=1 limit=30000"},
    {"emoji64", "arch=vit img_size=64 patch_size=8 in_chans=3 embed_dim=128 depth=4 num_heads=4 "
                "batch_size=50 epochs=12 lr=1e-3 warmup_epochs=1 weight_decay=0.05 "
                "linear_init=xavier clip_grad=1 precision=bf16 hflip=1 shift=4"},
    {"tiny28", "arch=vit img_size=28 patch_size=4 in_chans=1 embed_dim=128 depth=4 num_heads=4 "
               "batch_size=128 epochs=10 lr=1e-3 warmup_epochs=1 weight_decay=0.05"},
    {"tiny", "arch=vit img_size=224 patch_size=16 in_chans=3 embed_dim=192 depth=12 num_heads=3 "
             "batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"small", "arch=vit img_size=224 patch_size=16 in_chans=3 embed_dim=384 depth=12 num_heads=6 "
              "batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"base", "arch=vit img_size=224 patch_size=16 in_chans=3 embed_dim=768 depth=12 num_heads=12 "
             "batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {NULL, NULL}};
/* hflip: 1 mirrors half of the training pictures; shift: moves them by up to that many pixels. crop_scale:
 * the least share of the picture that a random resized crop takes; padding: a random crop of the picture with
 * that many black pixels around; jitter: of brightness, contrast, saturation; erase: the probability of
 * random erasing. mixup, cutmix: the alphas, mix_prob how often. normalize: half, (v/255 - 0.5) / 0.5, or
 * imagenet, by its mean and std; crop_pct: pictures of folders are read with their shorter side resized to
 * img_size / crop_pct and cropped to the middle. These two are what a network of the released code wants
 * (imagenet, 0.875). */
static const char *const keys[] = {"hflip", "shift",  "crop_scale", "padding",   "jitter",   "erase",
                                   "mixup", "cutmix", "mix_prob",   "normalize", "crop_pct", NULL};
static float key(const run *r, const char *name) { return (float)number_of(&r->s, 't', name, 0); }

static int image_size(const run *r) { return (int)number_of(&r->s, 'm', "img_size", 28); }
static int channels(const run *r) { return (int)number_of(&r->s, 'm', "in_chans", 3); }
static int imagenet(const run *r) { return is_text(&r->s, 't', "normalize", "imagenet"); }
static float crop(const run *r) { return (float)number_of(&r->s, 't', "crop_pct", 1); }

static int fits(run *r, const pictures *p) {
    int S = image_size(r);
    if (p->height == S && p->width == S && p->channels == channels(r)) return 1;
    return fv_fail(r->c, FV_EUSAGE,
                   "the pictures are %dx%d with %d channel(s), the network wants img_size=%d in_chans=%d",
                   p->height, p->width, p->channels, S, channels(r));
}

/* 1: the training pictures go through fv_augment; 0: mirrored and moved at most */
static int augmented(const run *r, fv_augment_desc *d) {
    memset(d, 0, sizeof *d);
    d->size = image_size(r), d->channels = channels(r), d->hflip = key(r, "hflip") > 0 ? 0.5f : 0;
    d->scale[0] = key(r, "crop_scale"), d->padding = (int)key(r, "padding"), d->erase = key(r, "erase");
    d->brightness = d->contrast = d->saturation = key(r, "jitter");
    for (int i = 0; i < 3 && imagenet(r); i++) d->mean[i] = picture_mean[i], d->std[i] = picture_std[i];
    return d->scale[0] > 0 || d->padding > 0 || d->erase > 0 || d->brightness > 0;
}
static int keys_make_sense(run *r) {
    static const char *const share[] = {"crop_scale", "erase", "mix_prob"}, *const other[] = {
                                                                                "jitter", "mixup", "cutmix",
                                                                                "padding", "shift"};
    for (int i = 0; i < 3; i++)
        if (!(key(r, share[i]) >= 0 && key(r, share[i]) <= 1))
            return fv_fail(r->c, FV_EUSAGE, "%s is between 0 and 1", share[i]);
    for (int i = 0; i < 5; i++)
        if (!(key(r, other[i]) >= 0 && key(r, other[i]) <= 1000))
            return fv_fail(r->c, FV_EUSAGE, "%s is between 0 and 1000", other[i]);
    if (!(crop(r) >= 0.01f && crop(r) <= 1)) return fv_fail(r->c, FV_EUSAGE, "crop_pct is 0.01 to 1");
    if (value_of(&r->s, 't', "normalize", NULL) && !is_text(&r->s, 't', "normalize", "half") && !imagenet(r))
        return fv_fail(r->c, FV_EUSAGE, "normalize is half or imagenet");
    if (imagenet(r) && channels(r) != 3)
        return fv_fail(r->c, FV_EUSAGE, "normalize=imagenet is of 3 channels, and in_chans is %d",
                       channels(r));
    fv_augment_desc d;
    if (augmented(r, &d) && key(r, "shift") > 0)
        return fv_fail(
            r->c, FV_EUSAGE,
            "shift does not go with crop_scale, padding, jitter or erase; padding moves pictures too");
    return !augmented(r, &d) ||
           fv_augment_scratch_size(r->c, &d, image_size(r), image_size(r), channels(r)) > 0;
}

/* The labels of a split as those of the run's classes, by their names: folders of a split need not be all
 * there. */
static int same_classes(run *r, const char *dir, pictures *p) {
    int *is = (int *)fv_alloc(r->c, (size_t)(p->classes + 1) * sizeof *is);
    for (int k = 0; is && k < p->classes && !fv_error(r->c); k++) {
        is[k] = run_class_named(r, p->class_name[k]);
        if (is[k] < 0)
            fv_fail(r->c, FV_EUSAGE, "%s: the class \"%s\" is none of the %d that are trained", dir,
                    p->class_name[k], r->classes);
        for (int m = 0; m < k; m++)
            if (is[m] == is[k])
                fv_fail(r->c, FV_EUSAGE, "%s: two classes are named \"%s\"", dir, p->class_name[k]);
    }
    for (int i = 0; is && i < p->count; i++) p->label[i] = is[p->label[i]];
    fv_free(r->c, is);
    return !fv_error(r->c);
}

static int image_open(run *r, const char *dir) {
    if (!keys_make_sense(r)) return 0;
    image_data *d = (image_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d ||
        !pictures_open(r->c, dir, "train", image_size(r), crop(r), r->test_only ? 0 : channels(r),
                       &d->split[0]) ||
        !pictures_open(r->c, dir, r->on_val ? "val" : "test", image_size(r), crop(r), channels(r),
                       &d->split[1]))
        return 0;
    int classes = d->split[0].classes;
    if (r->model && (classes > r->model->num_classes || (!r->class_names && classes < r->model->num_classes)))
        return fv_fail(r->c, FV_EUSAGE, "%s: %d classes, the run has %d", dir, classes,
                       r->model->num_classes);
    for (int s = 0; s < 2; s++) {
        r->count[s] = d->split[s].count;
        if ((s || !r->test_only) && !fits(r, &d->split[s])) return 0;
    }
    if (!run_put_classes(r, classes)) return 0;
    if (!r->class_names) {
        r->class_names = (char(*)[CLASS_NAME])fv_alloc(r->c, (size_t)classes * CLASS_NAME);
        if (r->class_names)
            memcpy(r->class_names, d->split[0].class_name, (size_t)classes * CLASS_NAME),
                r->classes = classes;
    }
    return same_classes(r, dir, &d->split[0]) && same_classes(r, dir, &d->split[1]);
}

static void image_close(run *r) {
    image_data *d = (image_data *)r->data;
    for (int s = 0; s < 2; s++) pictures_close(r->c, &d->split[s]);
    fv_free(r->c, d);
    r->data = NULL;
}

/* one picture -> f32 [C,S,S], moved by dx, dy and mirrored */
static void one_picture(const run *r, const uint8_t *src, float *to, int S, int dx, int dy, int mirror) {
    int C = channels(r), of_imagenet = imagenet(r);
    for (int ch = 0; ch < C; ch++)
        for (int i = 0; i < S; i++)
            for (int j = 0; j < S; j++) {
                int u = i + dy, v = (mirror ? S - 1 - j : j) + dx,
                    inside = u >= 0 && u < S && v >= 0 && v < S;
                to[(ch * S + i) * S + j] =
                    picture_value(inside ? src[(u * S + v) * C + ch] : 0, ch, of_imagenet);
            }
}

/* the test picture in `to`, corrupted; every run sees the same noise */
static const uint8_t *corrupted(run *r, const uint8_t *src, int32_t item, int S, int C, uint8_t *to) {
    fv_rng g = {4711, (uint64_t)item * 64 + (uint64_t)(r->corrupt_kind * 8 + r->corrupt_level), 0};
    memcpy(to, src, (size_t)(S * S * C));
    return corrupt_picture(r->c, to, S, S, C, r->corrupt_kind, r->corrupt_level, &g) ? to : NULL;
}

static int image_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const pictures *p = &((const image_data *)r->data)->split[split];
    int S = image_size(r), flip = epoch >= 0 && number_of(&r->s, 't', "hflip", 0) > 0,
        most = epoch >= 0 ? (int)number_of(&r->s, 't', "shift", 0) : 0;
    int64_t dim[4] = {n, p->channels, S, S}, labels[1] = {n};
    fv_tensor *x = fv_new(r->c, FV_F32, 4, dim), *y = x ? fv_new(r->c, FV_I32, 1, labels) : NULL;
    if (!y) return 0;
    size_t size = (size_t)(S * S * p->channels);
    fv_augment_desc augment;
    int rich = epoch >= 0 && augmented(r, &augment);
    uint8_t *room =
        epoch < 0 && split == SPLIT_TEST && r->corrupt_level ? (uint8_t *)fv_alloc(r->c, size) : NULL;
    for (int i = 0; i < n; i++) {
        fv_rng g = run_rng(r, epoch, index[i]);
        ((int32_t *)y->data)[i] = p->label[index[i]];
        if (rich) {
            if (!fv_augment(r->c, &augment, &g, p->data + (size_t)index[i] * size, S, S, p->channels,
                            (float *)x->data + (size_t)i * size, NULL))
                return 0;
            continue;
        }
        int mirror = flip && (fv_rng_u32(&g) & 1),
            dx = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0,
            dy = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0;
        const uint8_t *src = p->data + (size_t)run_other(r, split, index[i]) * size;
        if (room && !(src = corrupted(r, src, index[i], S, p->channels, room))) break;
        one_picture(r, src, (float *)x->data + (size_t)i * size, S, dx, dy, mirror);
    }
    fv_free(r->c, room);
    if (fv_error(r->c)) return 0;
    /* soft targets; label_smoothing is the loss's */
    if (epoch >= 0 && (key(r, "mixup") > 0 || key(r, "cutmix") > 0)) {
        fv_mixup_desc m = {key(r, "mixup"), key(r, "cutmix"), key(r, "mix_prob"), 0, 0};
        fv_rng g = run_rng(r, epoch, index[0]);
        g.stream ^= (uint64_t)1 << 40; /* apart from the pictures' own */
        x = fv_mixup_batch(r->c, &m, &g, x, (const int32_t *)y->data, r->model->num_classes, &y);
        if (!x) return 0;
    }
    b->input[0] = x, b->inputs = 1, b->target[0] = y, b->targets = 1, b->count = n;
    return 1;
}

/* ---- predict ---- */
static int image_predict(run *r, const char *file, int json) {
    int S = image_size(r), C = channels(r);
    int64_t dim[4] = {1, C, S, S};
    if (C != 1 && C != 3)
        return fv_fail(r->c, FV_EUSAGE, "the network wants %d channels; a picture has 1 or 3", C);
    uint8_t *bytes = (uint8_t *)fv_alloc(r->c, (size_t)S * (size_t)S * 3);
    fv_tensor *x = bytes ? fv_new(r->c, FV_F32, 4, dim) : NULL;
    if (x && picture_fit(r->c, file, S, crop(r), C, bytes)) {
        one_picture(r, bytes, (float *)x->data, S, 0, 0, 0);
        classify(r, x, file, json);
    }
    fv_free(r->c, bytes);
    return !fv_error(r->c);
}

static int image_picture(run *r, canvas *v, int32_t item, double x, double y) {
    const pictures *p = &((const image_data *)r->data)->split[SPLIT_TEST];
    draw_pixels(v, p->data + (size_t)item * (size_t)(p->height * p->width * p->channels), p->width, p->height,
                p->channels, x, y, 112, 112);
    return 1;
}
static int image_draw(run *r, const int32_t *index, int n, const char *png) {
    return classify_sheet(r, index, n, png, 8, 112, 112, image_picture);
}

extern const task task_image;
const task task_image = {
    .name = "image",
    .about = "classes of pictures",
    .items = "pictures",
    .presets = presets,
    .keys = keys,
    .fetch = "fashion-mnist",
    .open = image_open,
    .close = image_close,
    .batch = image_batch,
    .predict = image_predict,
    .draw = image_draw,
    .val = 1,
};
