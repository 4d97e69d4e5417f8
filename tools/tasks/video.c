/* video: classes of clips. Data: train.csv and val.csv, lines `path;label`, `path,label` or `path label`
 * (paths from the folder of the list), or Something-Something's train.json, validation.json
 * ([{"id","template"}]) and videos/ID.webm (by ffmpeg), .y4m or a folder; its labels.json
 * ({"template":"17"}) numbers the classes, without it they are numbered as they come. A run whose classes
 * are called 0, 1, 2 (a converted checkpoint) is held against these numbers. Clips are read when they are
 * wanted, so that memory does not grow with the data. Frames are sampled sparsely: one of each of num_frames
 * equal parts, in training at random. Tests and predict look at 2 such samples x 3 crops (one where frames
 * are square) and take the mean of the probabilities; the measures are that mean's. Frames are resized
 * bilinearly and normalised as VideoMAE does it. one_frame=1 shows one frame of the clip again and again:
 * what is left is what can be told without motion. motion_only=1 takes from each pixel its mean over the
 * frames: what does not move vanishes, so that small data suffice. In training shift=N moves a clip by up to
 * N pixels, colours=1 changes its channels round and turns light to dark. */
#include "../data/clips.h"
#include "../data/folder.h"
#include "classify.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEGMENTS = 2, CROPS = 3, MOST_FRAMES = 128 };
typedef struct clip_item {
    char *path;
    int label;
} clip_item;
typedef struct video_data {
    clip_item *item[2];
    int room[2], class_room, size, frames;
    fv_json *numbers; /* labels.json, or NULL */
    int numbered;     /* the run's classes are called 0, 1, 2, ... */
} video_data;

static const char *presets[][2] = {
    {"demo-video", "arch=video_vit img_size=48 patch_size=8 num_frames=8 tubelet_size=2 in_chans=3 "
                   "embed_dim=128 depth=4 num_heads=4 batch_size=32 epochs=20 lr=1e-3 warmup_epochs=1 "
                   "weight_decay=0.05 linear_init=xavier clip_grad=1 precision=bf16 motion_only=1 shift=3"},
    {"videomae-small", "arch=video_vit img_size=224 patch_size=16 num_frames=16 tubelet_size=2 in_chans=3 "
                       "embed_dim=384 depth=12 num_heads=6 batch_size=8 epochs=40 lr=5e-4 warmup_epochs=5 "
                       "weight_decay=0.05 drop_path_rate=0.1 label_smoothing=0.1"},
    {NULL, NULL}};
static const char *const keys[] = {"one_frame", "motion_only", "shift", "colours", NULL};

static void *grown(fv_ctx *c, void *old, int count, int *room, size_t size) {
    if (count < *room) return old;
    int more = *room ? 2 * *room : 64;
    void *p = fv_alloc(c, (size_t)more * size);
    if (p && old) memcpy(p, old, (size_t)count * size), fv_free(c, old);
    if (p) *room = more;
    return p;
}
/* the number that labels.json gives a class */
static fv_jnode number_in(const video_data *d, const char *label) {
    return fv_json_get(d->numbers, fv_json_root(d->numbers), label);
}
static int add_class(run *r, video_data *d, const char *label) {
    char(*more)[CLASS_NAME] =
        (char(*)[CLASS_NAME])grown(r->c, r->class_names, r->classes, &d->class_room, CLASS_NAME);
    if (!more) return -1;
    r->class_names = more;
    if (snprintf(more[r->classes], CLASS_NAME, "%s", label) >= CLASS_NAME)
        return fv_fail(r->c, FV_EUSAGE, "%s: a class's name has %d bytes at most: \"%s\"", r->data_path,
                       CLASS_NAME - 1, label),
               -1;
    return r->classes++;
}
static int class_of(run *r, video_data *d, const char *label, int learn) {
    const char *name = label;
    if (d->numbers && d->numbered) name = fv_json_string(d->numbers, number_in(d, label), "?");
    int known = run_class_named(r, name);
    if (known >= 0) return known;
    if (!learn || d->numbers)
        return fv_fail(r->c, FV_EUSAGE, "%s: the class \"%.100s\" is not %s", r->data_path, label,
                       d->numbers ? "in labels.json" : "among the training clips'"),
               -1;
    return add_class(r, d, label);
}
/* labels.json, where it is there: the names of the classes in the order of their numbers */
static int read_labels(run *r, video_data *d, const char *dir) {
    char path[4400];
    snprintf(path, sizeof path, "%.4300s/labels.json", dir);
    d->numbered = r->model != NULL;
    for (int i = 0; i < r->classes; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        d->numbered &= !strcmp(r->class_names[i], number);
    }
    if (access(path, F_OK)) return 1;
    if (!(d->numbers = fv_json_open(r->c, path))) return 0;
    fv_jnode root = fv_json_root(d->numbers);
    int n = fv_json_type(d->numbers, root) == FV_JSON_OBJECT ? fv_json_count(d->numbers, root) : 0, found = 0;
    for (int k = 0; k < n && !fv_error(r->c); k++, found = 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", k);
        for (fv_jnode e = fv_json_first(d->numbers, root); e; e = fv_json_next(d->numbers, e)) {
            if (strcmp(fv_json_string(d->numbers, e, "?"), number)) continue;
            if (!found++ && !r->model) add_class(r, d, fv_json_key(d->numbers, e));
        }
        if (found != 1 && !fv_error(r->c))
            fv_fail(r->c, FV_EFORMAT, "%s: {\"template\":\"0\",...} is wanted, each of %d numbers once", path,
                    n);
    }
    if (!n) fv_fail(r->c, FV_EFORMAT, "%s: {\"template\":\"0\",...} is wanted", path);
    return !fv_error(r->c);
}
static int add_clip(run *r, video_data *d, int split, const char *path, const char *label) {
    clip_item *more =
        (clip_item *)grown(r->c, d->item[split], r->count[split], &d->room[split], sizeof *more);
    if (!more) return 0;
    d->item[split] = more;
    clip_item *one = &more[r->count[split]];
    one->label = class_of(r, d, label, !split && !r->model);
    one->path = (char *)fv_alloc(r->c, strlen(path) + 1);
    if (!one->path || one->label < 0) return 0;
    memcpy(one->path, path, strlen(path) + 1);
    r->count[split]++;
    return 1;
}

static int read_csv(run *r, video_data *d, const char *dir, const char *file, int split) {
    char line[4096], path[8800];
    fv_file f;
    int number = 0;
    if (!fv_file_open(r->c, file, &f)) return 0;
    const char *at = (const char *)f.data, *end = at + f.size;
    while (at < end && !fv_error(r->c)) {
        const char *stop = (const char *)memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        number++;
        if (n >= sizeof line) fv_fail(r->c, FV_EFORMAT, "%s: line %d is too long", file, number);
        else if (memchr(at, 0, n)) fv_fail(r->c, FV_EFORMAT, "%s: line %d has a zero byte", file, number);
        else {
            memcpy(line, at, n), line[n] = 0;
            while (n && (line[n - 1] == '\r' || line[n - 1] == ' ')) line[--n] = 0;
            char *cut = strchr(line, ';');
            if (!cut) cut = strchr(line, ',');
            if (!cut) cut = strrchr(line, ' ');
            if (!cut) cut = strchr(line, '\t');
            if (n && (!cut || cut == line || !cut[1]))
                fv_fail(r->c, FV_EFORMAT, "%s: line %d: `path;label` is wanted", file, number);
            else if (n) {
                *cut++ = 0;
                while (*cut == ' ' || *cut == '\t') cut++;
                snprintf(path, sizeof path, *line == '/' ? "%.0s%s" : "%.4200s/%s", dir, line);
                add_clip(r, d, split, path, cut);
            }
        }
        at = stop ? stop + 1 : end;
    }
    fv_file_close(r->c, &f);
    if (!fv_error(r->c) && !r->count[split]) fv_fail(r->c, FV_EFORMAT, "%s: no clip", file);
    return !fv_error(r->c);
}

/* Something-Something: [{"id":"74225","template":"Pushing [something] ..."}]; the template without brackets
 * is the class, and so labels.json writes it */
static int read_json(run *r, video_data *d, const char *dir, const char *file, int split) {
    static const char *const form[] = {".webm", ".y4m", ".mp4", ""};
    char path[4400], label[256];
    fv_json *j = fv_json_open(r->c, file);
    int row = 0;
    if (!j) return 0;
    if (fv_json_type(j, fv_json_root(j)) != FV_JSON_ARRAY)
        fv_fail(r->c, FV_EFORMAT, "%s: a list of {\"id\",\"template\"} is wanted", file);
    for (fv_jnode e = fv_error(r->c) ? 0 : fv_json_first(j, fv_json_root(j)); e && !fv_error(r->c);
         e = fv_json_next(j, e), row++) {
        const char *id = fv_json_string(j, fv_json_get(j, e, "id"), NULL),
                   *t = fv_json_string(j, fv_json_get(j, e, "template"), NULL);
        size_t n = 0;
        if (!id || !t || strchr(id, '/')) {
            fv_fail(r->c, FV_EFORMAT, "%s: entry %d has not the texts id and template", file, row);
            break;
        }
        for (; *t && n + 1 < sizeof label; t++)
            if (*t != '[' && *t != ']') label[n++] = *t;
        label[n] = 0;
        for (int k = 0; k < 4; k++) {
            snprintf(path, sizeof path, "%.4000s/videos/%.200s%s", dir, id, form[k]);
            if (!access(path, F_OK)) break;
        }
        add_clip(r, d, split, path, label);
    }
    fv_json_free(r->c, j);
    if (!fv_error(r->c) && !r->count[split]) fv_fail(r->c, FV_EFORMAT, "%s: no clip", file);
    return !fv_error(r->c);
}

/* what a test sees of a clip: 2 segments, and of frames that are not square 3 crops of each */
static int views_of(const clip *v) { return v->width == v->height ? SEGMENTS : SEGMENTS * CROPS; }

static int video_open(run *r, const char *dir) {
    video_data *d = (video_data *)fv_alloc(r->c, sizeof *d);
    static const char *const csv[2] = {"train.csv", "val.csv"}, *const json[2] = {"train.json",
                                                                                  "validation.json"};
    char path[4400];
    r->data = d;
    if (!d) return 0;
    d->size = (int)number_of(&r->s, 'm', "img_size", 224),
    d->frames = (int)number_of(&r->s, 'm', "num_frames", 16);
    if (number_of(&r->s, 'm', "in_chans", 3) > 3 || number_of(&r->s, 'm', "in_chans", 3) < 3)
        return fv_fail(r->c, FV_EUSAGE, "video: in_chans is 3");
    if (d->frames > MOST_FRAMES || d->frames < 1)
        return fv_fail(r->c, FV_EUSAGE, "video: num_frames is 1 to %d", MOST_FRAMES);
    if (!read_labels(r, d, dir)) return 0;
    for (int s = 0; s < 2; s++) {
        snprintf(path, sizeof path, "%s/%s", dir, json[s]);
        int as_json = !access(path, F_OK);
        if (!as_json) snprintf(path, sizeof path, "%s/%s", dir, csv[s]);
        if (!(as_json ? read_json(r, d, dir, path, s) : read_csv(r, d, dir, path, s))) return 0;
    }
    return run_put_classes(r, r->classes);
}
static void video_close(run *r) {
    video_data *d = (video_data *)r->data;
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < r->count[s]; i++) fv_free(r->c, d->item[s][i].path);
        fv_free(r->c, d->item[s]);
    }
    fv_json_free(r->c, d->numbers), fv_free(r->c, d);
    r->data = NULL;
}

/* The frames `index` of a clip, its shorter side made S, crop `crop` of CROPS along the longer (rng:
 * anywhere) -> f32 [3,T,S,S], less the mean of ImageNet's channels, by their deviation */
static int view_of(run *r, const clip *v, const int32_t *index, int T, int S, int crop, fv_rng *g,
                   float *to) {
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    int shorter = v->width < v->height ? v->width : v->height,
        w = v->width == shorter ? S : (int)((int64_t)v->width * S / shorter),
        h = v->height == shorter ? S : (int)((int64_t)v->height * S / shorter);
    int dx = g ? (int)fv_rng_below(g, (uint32_t)(w - S + 1)) : (w - S) * crop / (CROPS - 1),
        dy = g ? (int)fv_rng_below(g, (uint32_t)(h - S + 1)) : (h - S) * crop / (CROPS - 1);
    uint8_t *raw = (uint8_t *)fv_alloc(r->c, (size_t)v->width * (size_t)v->height * 3),
            *fit =
                w == v->width && h == v->height ? raw : (uint8_t *)fv_alloc(r->c, (size_t)w * (size_t)h * 3);
    for (int t = 0; t < T && raw && fit && !fv_error(r->c); t++) {
        if (t && index[t] == index[t - 1]) {
            for (int k = 0; k < 3; k++)
                memcpy(to + ((int64_t)k * T + t) * S * S, to + ((int64_t)k * T + t - 1) * S * S,
                       (size_t)(S * S) * sizeof *to);
            continue;
        }
        if (!clip_frame(r->c, v, index[t], raw) ||
            (fit != raw && !fv_image_resize(r->c, raw, v->height, v->width, 3, fit, h, w, FV_BILINEAR)))
            break;
        for (int k = 0; k < 3; k++)
            for (int y = 0; y < S; y++)
                for (int x = 0; x < S; x++)
                    to[(((int64_t)k * T + t) * S + y) * S + x] =
                        ((float)fit[3 * ((y + dy) * w + x + dx) + k] / 255 - mean[k]) / deviation[k];
    }
    if (fit != raw) fv_free(r->c, fit);
    fv_free(r->c, raw);
    return !fv_error(r->c);
}
/* a training clip, moved (its border goes on) and its channels changed round */
static int augmented(run *r, int T, int S, fv_rng *g, float *to) {
    int most = (int)number_of(&r->s, 't', "shift", 0), colours = number_of(&r->s, 't', "colours", 0) > 0,
        order[3] = {0, 1, 2};
    int dx = most > 0 ? (int)fv_rng_below(g, (uint32_t)(2 * most + 1)) - most : 0,
        dy = most > 0 ? (int)fv_rng_below(g, (uint32_t)(2 * most + 1)) - most : 0;
    if (!colours && !dx && !dy) return 1;
    float sign = colours && fv_rng_below(g, 2) ? -1.0f : 1.0f;
    if (colours) fv_rng_shuffle(g, order, 3);
    int64_t plane = (int64_t)S * S, all = 3 * T * plane;
    float *old = (float *)fv_alloc(r->c, (size_t)all * sizeof *old);
    if (!old) return 0;
    memcpy(old, to, (size_t)all * sizeof *old);
    for (int64_t i = 0; i < all; i++) {
        int k = (int)(i / plane / T), t = (int)(i / plane % T), y = (int)(i % plane / S) + dy,
            x = (int)(i % S) + dx;
        y = y < 0 ? 0 : y >= S ? S - 1 : y, x = x < 0 ? 0 : x >= S ? S - 1 : x;
        to[i] = sign * old[((int64_t)order[k] * T + t) * plane + y * S + x];
    }
    fv_free(r->c, old);
    return 1;
}
/* view number `view` of a clip in a test, or a random one of a training epoch */
static int sampled(run *r, const clip *v, int view, fv_rng *g, float *to) {
    int T = (int)number_of(&r->s, 'm', "num_frames", 16), S = (int)number_of(&r->s, 'm', "img_size", 224);
    int32_t index[MOST_FRAMES];
    fv_sample_frames(g, v->frames, T, view / CROPS, SEGMENTS, index);
    if (number_of(&r->s, 't', "one_frame", 0) > 0) {
        int32_t one = g ? (int32_t)fv_rng_below(g, (uint32_t)v->frames) : v->frames / 2;
        for (int i = 0; i < T; i++) index[i] = one;
    }
    if (!view_of(r, v, index, T, S, view % CROPS, g, to)) return 0;
    int64_t plane = (int64_t)S * S;
    for (int64_t i = 0; number_of(&r->s, 't', "motion_only", 0) > 0 && i < 3 * plane; i++) {
        float *p = to + i / plane * plane * T + i % plane, mean = 0;
        for (int t = 0; t < T; t++) mean += p[t * plane] / (float)T;
        for (int t = 0; t < T; t++) p[t * plane] -= mean;
    }
    return !g || augmented(r, T, S, g, to);
}

/* `views` views of a clip, `each` numbers apart; where there is one crop, it is the middle one */
static int test_views(run *r, const clip *v, int views, float *to, int64_t each) {
    int ok = 1;
    for (int k = 0; k < views && ok; k++)
        ok = sampled(r, v, views == SEGMENTS ? k * CROPS + 1 : k, NULL, to + k * each);
    return ok;
}
static int video_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const video_data *d = (const video_data *)r->data;
    int views = 1;
    clip *v = (clip *)fv_alloc(r->c, (size_t)n * sizeof *v);
    int opened = 0;
    while (v && opened < n &&
           clip_open(r->c, d->item[split][run_other(r, split, index[opened])].path, &v[opened]))
        opened++;
    /* one clip that is not square gives all of them three crops, which for square ones are the same */
    for (int i = 0; i < opened && epoch < 0; i++)
        if (views_of(&v[i]) > views) views = views_of(&v[i]);
    int64_t rows = (int64_t)n * views, dim[5] = {rows, 3, d->frames, d->size, d->size},
            each = 3 * (int64_t)d->frames * d->size * d->size;
    fv_tensor *x = fv_new(r->c, FV_F32, 5, dim), *label = fv_new(r->c, FV_I32, 1, &rows);
    for (int64_t i = 0; i < n && x && label && !fv_error(r->c); i++) {
        fv_rng g = run_rng(r, epoch, index[i]);
        float *to = (float *)x->data + i * views * each;
        if (epoch < 0) test_views(r, &v[i], views, to, each);
        else sampled(r, &v[i], 0, &g, to);
        for (int k = 0; k < views; k++)
            ((int32_t *)label->data)[i * views + k] = d->item[split][index[i]].label;
    }
    for (int i = 0; i < opened; i++) clip_close(r->c, &v[i]);
    fv_free(r->c, v);
    b->input[0] = x, b->inputs = 1, b->target[0] = label, b->targets = 1, b->count = n;
    return !fv_error(r->c);
}

static int video_predict(run *r, const char *file, int json) {
    int64_t T = (int64_t)number_of(&r->s, 'm', "num_frames", 16),
            S = (int64_t)number_of(&r->s, 'm', "img_size", 224), dim[5] = {0, 3, T, S, S};
    clip v;
    if (!clip_open(r->c, file, &v)) return 0;
    dim[0] = views_of(&v);
    fv_tensor *x = fv_new(r->c, FV_F32, 5, dim);
    int ok = x && test_views(r, &v, (int)dim[0], (float *)x->data, 3 * T * S * S);
    clip_close(r->c, &v);
    return ok && classify(r, x, file, json);
}

/* a film strip of six frames */
static int video_picture(run *r, canvas *v, int32_t item, double x, double y) {
    const video_data *d = (const video_data *)r->data;
    clip one;
    if (!clip_open(r->c, d->item[SPLIT_TEST][item].path, &one)) return 0;
    uint8_t *rgb = (uint8_t *)fv_alloc(r->c, (size_t)one.width * (size_t)one.height * 3);
    draw_box(v, x, y, 6 * 92 + 8, 104, 0x161b22, 1);
    for (int k = 0; k < 6 && rgb && !fv_error(r->c); k++) {
        if (clip_frame(r->c, &one, (int)((k + 0.5) * one.frames / 6), rgb))
            draw_pixels(v, rgb, one.width, one.height, 3, x + 6 + k * 92, y + 8, 88, 88);
        for (int hole = 0; hole < 6; hole++)
            draw_box(v, x + 10 + k * 92 + hole * 15, y + 2, 7, 4, 0xffffff, 0.8),
                draw_box(v, x + 10 + k * 92 + hole * 15, y + 98, 7, 4, 0xffffff, 0.8);
    }
    fv_free(r->c, rgb), clip_close(r->c, &one);
    return !fv_error(r->c);
}
static int video_draw(run *r, const int32_t *index, int n, const char *png) {
    return classify_sheet(r, index, n, png, 2, 560, 104, video_picture);
}

static int video_demo(run *r, const char *dir, char fetched[][4096]) {
    return actions_write(r->c, dir, fetched[0]);
}

extern const task task_video;
const task task_video = {
    .name = "video",
    .about = "classes of clips",
    .items = "clips",
    .presets = presets,
    .keys = keys,
    .fetch = "emoji",
    .demo = video_demo,
    .open = video_open,
    .close = video_close,
    .batch = video_batch,
    .baselines = classify_chance,
    .predict = video_predict,
    .draw = video_draw,
    .views = 1,
};
