/* vqa: answers to questions about pictures. Data: easy-vqa's layout (answers.txt; train/ and test/ with questions.json, a list of
 * [question, answer, picture's number], and images/NUMBER.png). */
#include "../data/pictures.h"
#include "../draw.h"
#include "qa.h"
#include <stdio.h>
#include <string.h>

typedef struct vqa_data { qa_set q; uint8_t *pixels[2]; int pictures[2], size; } vqa_data;

static const char *presets[][2] = {
    {"demo-vqa", "arch=vqa dim=128 num_heads=4 text_depth=1 image_depth=2 fusion_depth=2 img_size=64 patch_size=8 in_chans=3 conv_stem=true batch_size=64 epochs=5 lr=1e-3 precision=bf16 "
                 "warmup_epochs=0.5 weight_decay=0.05 clip_grad=1 hflip=1 shift=6"},
    {NULL, NULL}};
static const char *const keys[] = {"hflip", "shift", NULL};

static const char *type_of_question(const char *text, const char *answer) {
    if (!strcmp(answer, "yes") || !strcmp(answer, "no")) return "yes_no";
    return strstr(text, "color") || strstr(text, "colour") ? "colour" : "what";
}

static int read_split(run *r, vqa_data *d, const char *dir, int split) {
    char path[4300];
    const char *name = split ? "test" : "train";
    snprintf(path, sizeof path, "%s/%s/questions.json", dir, name);
    fv_json *j = fv_json_open(r->c, path);
    fv_jnode root = fv_json_root(j);
    if (!j) return 0;
    int row = 0, highest = -1;
    if (fv_json_type(j, root) != FV_JSON_ARRAY || !fv_json_count(j, root)) fv_fail(r->c, FV_EFORMAT, "%s: a list of [question, answer, picture] is wanted", path);
    for (fv_jnode e = fv_json_first(j, root); e && !fv_error(r->c); e = fv_json_next(j, e), row++) {
        const char *text = fv_json_string(j, fv_json_at(j, e, 0), NULL), *answer = fv_json_string(j, fv_json_at(j, e, 1), NULL);
        double picture = fv_json_number(j, fv_json_at(j, e, 2), -1);
        if (fv_json_count(j, e) != 3 || !text || !answer || !(picture >= 0 && picture < 1e7) || picture > (double)(int)picture) {
            fv_fail(r->c, FV_EFORMAT, "%s: entry %d is not [question, answer, picture's number]", path, row);
            break;
        }
        if ((int)picture > highest) highest = (int)picture;
        qa_add(r, &d->q, split, (int)picture, text, answer, type_of_question(text, answer));
    }
    fv_json_free(r->c, j);
    if (fv_error(r->c)) return 0;
    if (highest > 4 * row + 1000) return fv_fail(r->c, FV_EFORMAT, "%s: a picture's number %d in %d questions", path, highest, row);
    size_t each = (size_t)d->size * (size_t)d->size * 3;
    d->pictures[split] = highest + 1;
    d->pixels[split] = (uint8_t *)fv_alloc(r->c, (size_t)d->pictures[split] * each);
    uint8_t *have = (uint8_t *)fv_alloc(r->c, (size_t)d->pictures[split]);
    for (int i = 0; i < row && have && !fv_error(r->c); i++) {
        int picture = d->q.split[split].item[i].scene;
        if (have[picture]++) continue;
        have[picture] = 1;
        snprintf(path, sizeof path, "%s/%s/images/%d.png", dir, name, picture);
        picture_read(r->c, path, d->size, 3, d->pixels[split] + (size_t)picture * each);
    }
    fv_free(r->c, have);
    return !fv_error(r->c);
}

static int vqa_open(run *r, const char *dir) {
    vqa_data *d = (vqa_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d || !qa_open(r, &d->q)) return 0;
    d->size = (int)number_of(&r->s, 'm', "img_size", 64);
    if (number_of(&r->s, 'm', "in_chans", 3) > 3 || number_of(&r->s, 'm', "in_chans", 3) < 3) return fv_fail(r->c, FV_EUSAGE, "vqa: in_chans is 3");
    if (!read_split(r, d, dir, 0) || !read_split(r, d, dir, 1)) return 0;
    qa_put_settings(r, &d->q);
    return 1;
}
static void vqa_close(run *r) {
    vqa_data *d = (vqa_data *)r->data;
    qa_close(r, &d->q);
    fv_free(r->c, d->pixels[0]), fv_free(r->c, d->pixels[1]), fv_free(r->c, d);
    r->data = NULL;
}

static int vqa_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const vqa_data *d = (const vqa_data *)r->data;
    int S = d->size, most = epoch >= 0 ? (int)number_of(&r->s, 't', "shift", 0) : 0, flip = epoch >= 0 && number_of(&r->s, 't', "hflip", 0) > 0;
    int64_t dim[4] = {n, 3, S, S};
    if (!qa_batch(r, &d->q, split, index, n, b)) return 0;
    fv_tensor *x = b->input[b->inputs++] = fv_new(r->c, FV_F32, 4, dim);
    for (int i = 0; i < n && x; i++) {
        const uint8_t *src = d->pixels[split] + (size_t)d->q.split[split].item[run_other(r, split, index[i])].scene * (size_t)(S * S * 3);
        float *to = (float *)x->data + (size_t)i * (size_t)(S * S * 3);
        fv_rng g = run_rng(r, epoch, index[i]);
        int mirror = flip && (fv_rng_u32(&g) & 1), dx = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0, dy = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0;
        for (int u = 0; u < S; u++)
            for (int v = 0; v < S; v++) {
                int y = u + dy < 0 ? 0 : u + dy >= S ? S - 1 : u + dy, z = (mirror ? S - 1 - v : v) + dx; /* the border goes on beyond the edge */
                z = z < 0 ? 0 : z >= S ? S - 1 : z;
                for (int k = 0; k < 3; k++) to[(k * S + u) * S + v] = (float)src[(y * S + z) * 3 + k] / 127.5f - 1;
            }
    }
    return x != NULL;
}
static int vqa_measure(run *r, int split, int from, int count, figures *f) { return qa_measure(r, &((vqa_data *)r->data)->q, split, from, count, "accuracy", NULL, f); }
static int vqa_baselines(run *r, figures *f) { return qa_baselines(r, &((vqa_data *)r->data)->q, f); }

/* a grid of pictures, each with its question and the answer given: green when it is right */
static int vqa_draw(run *r, const int32_t *index, int n, const char *png) {
    const vqa_data *d = (const vqa_data *)r->data;
    const int cell = 220, across = n < 5 ? n : 5;
    canvas v = canvas_new(r->c, across * cell + 20, (n + across - 1) / across * 250 + 20);
    batch b;
    memset(&b, 0, sizeof b);
    fv_reset(r->c);
    fv_tensor *y = v.rgb && vqa_batch(r, SPLIT_TEST, index, n, -1, &b) ? run_forward(r, &b) : NULL;
    for (int i = 0; i < n && y; i++) {
        const qa_item *one = &d->q.split[1].item[index[i]];
        double x = 20 + i % across * cell, top = 20 + i / across * 250;
        int64_t K = y->dim[1], best = 0;
        char text[160];
        for (int64_t k = 1; k < K; k++)
            if (fv_get(y, i * K + k) > fv_get(y, i * K + best)) best = k;
        draw_pixels(&v, d->pixels[1] + (size_t)one->scene * (size_t)(d->size * d->size * 3), d->size, d->size, 3, x, top, 160, 160);
        double at = draw_paragraph(&v, one->text, x, top + 178, 13, 0x222222, cell - 20, 2);
        snprintf(text, sizeof text, best == one->answer ? "%s" : "%s (it is %s)", best < r->classes ? r->class_names[best] : "?", one->answer < 0 ? "?" : r->class_names[one->answer]);
        draw_text(&v, text, x, at + 2, 14, best == one->answer ? 0x1a7f37 : 0xcf222e, cell - 20);
    }
    int ok = y && canvas_save(r->c, &v, png);
    canvas_free(r->c, &v);
    return ok;
}

extern const task task_vqa;
const task task_vqa = {"vqa", "answers to questions about pictures", "questions", presets, keys, 1, "easy-vqa", NULL, vqa_open, vqa_close, vqa_batch, qa_loss, vqa_measure, vqa_baselines, NULL, vqa_draw};
