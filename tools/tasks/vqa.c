/* vqa: answers to questions about pictures. Data: easy-vqa's layout or VQAv2's (see data/questions.h).
 *
 * Classes are the `most_answers` answers said most often in the training split (3129 unless said, as METER
 * has it). With VQAv2 saying an answer that n of the ten people gave earns min(n/3, 1): that is the target of
 * the binary cross-entropy as well as the accuracy. An answer that is no class earns nothing.
 * Words are learnt; with --set words=llm (here and in the other tasks that read text) they are the language
 * model's embeddings, mapped by a layer. */
#include "../data/pictures.h"
#include "../data/questions.h"
#include "../draw.h"
#include "qa.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_MB = 2048 }; /* pictures are decoded when first seen, and kept up to that much */
typedef struct vqa_data {
    qa_set q;
    question_set set;
    uint8_t **pixels[2]; /* [pictures] u8 [S,S,3], NULL: not yet seen */
    uint8_t *passing;    /* the last picture for which there was no room */
    size_t kept;
    int size;
} vqa_data;

static const char *presets[][2] = {
    {"demo-vqa", "arch=vqa dim=128 num_heads=4 text_depth=1 image_depth=2 fusion_depth=2 img_size=64 "
                 "patch_size=8 in_chans=3 conv_stem=true batch_size=64 epochs=2 lr=3e-4 precision=bf16 "
                 "warmup_epochs=0.5 weight_decay=0.05 clip_grad=1 hflip=1 shift=6"},
    {"vqav2", "arch=vqa dim=256 num_heads=8 text_depth=2 image_depth=4 fusion_depth=4 img_size=128 "
              "patch_size=16 in_chans=3 conv_stem=true batch_size=64 epochs=10 lr=3e-4 precision=bf16 "
              "warmup_epochs=0.5 weight_decay=0.05 clip_grad=1 shift=8"},
    {NULL, NULL}};
static const char *const keys[] = {"hflip", "shift", "most_answers", "words", NULL};

/* ---- classes ---- */
typedef struct tally {
    int32_t answer, count, first;
} tally;
static int more_said(const void *a, const void *b) {
    const tally *x = (const tally *)a, *y = (const tally *)b;
    return x->count != y->count ? y->count - x->count : x->first - y->first;
}
static int came_first(const void *a, const void *b) {
    return ((const tally *)a)->first - ((const tally *)b)->first;
}

/* The training split's most frequent answers -> r->class_names, in the order in which they come */
static int choose_classes(run *r, const question_set *s) {
    const question_split *q = &s->split[SPLIT_TRAIN];
    int n = s->answers.count, used = 0, most = (int)number_of(&r->s, 't', "most_answers", 3129);
    if (most < 1) return fv_fail(r->c, FV_EUSAGE, "most_answers %d: 1 at least", most);
    tally *t = (tally *)fv_alloc(r->c, (size_t)(n + 1) * sizeof *t);
    if (!t) return 0;
    for (int i = 0; i < n; i++) t[i].answer = i;
    for (int i = 0; i < q->count; i++)
        if (!t[q->item[i].answer].count++) t[q->item[i].answer].first = i;
    qsort(t, (size_t)n, sizeof *t, more_said);
    while (used < n && used < most && t[used].count) used++;
    qsort(t, (size_t)used, sizeof *t, came_first);
    r->class_names = (char(*)[CLASS_NAME])fv_alloc(r->c, (size_t)used * CLASS_NAME), r->classes = used;
    for (int i = 0; i < used && r->class_names; i++)
        if (snprintf(r->class_names[i], CLASS_NAME, "%s", s->answers.text[t[i].answer]) >= CLASS_NAME)
            fv_fail(r->c, FV_EUSAGE, "%s: the answer \"%.40s...\" has over %d bytes", r->data_path,
                    r->class_names[i], CLASS_NAME - 1);
    fv_free(r->c, t);
    return !fv_error(r->c);
}
/* [answers]: the class of each, or -1 */
static int32_t *class_numbers(run *r, question_set *s) {
    for (int i = 0; i < r->classes; i++)
        if (name_add(r->c, &s->answers, r->class_names[i]) < 0)
            return NULL; /* a finished run's classes may not be in these data */
    int32_t *number = (int32_t *)fv_alloc(r->c, (size_t)(s->answers.count + 1) * sizeof *number);
    for (int i = 0; i < s->answers.count && number; i++) number[i] = -1;
    for (int i = 0; i < r->classes && number; i++) number[name_add(r->c, &s->answers, r->class_names[i])] = i;
    return number;
}

/* min(n/3, 1) for each class that n of the ten said */
static int give_credit(run *r, const picture_question *a, const int32_t *number, qa_item *one) {
    if (!a->givens) return 1;
    one->credit = (qa_credit *)fv_alloc(r->c, ANSWERS_GIVEN * sizeof *one->credit);
    if (!one->credit) return 0;
    for (int i = 0; i < a->givens; i++) {
        int said = 0, before = 0;
        for (int k = 0; k < a->givens; k++)
            said += a->given[k] == a->given[i], before += k < i && a->given[k] == a->given[i];
        if (before || number[a->given[i]] < 0) continue;
        qa_credit *c = &one->credit[one->credits++];
        c->answer = number[a->given[i]], c->share = said < 3 ? (float)said / 3 : 1;
    }
    return 1;
}

static int add_questions(run *r, vqa_data *d, const int32_t *number) {
    for (int kind = 0; kind < 2; kind++) /* types of answers, then those of questions */
        for (int s = 0; s < 2; s++)
            for (int i = 0; i < d->set.split[s].count; i++) {
                const picture_question *a = &d->set.split[s].item[i];
                if (kind ? a->kind >= 0 : 1) qa_type(&d->q, d->set.types.text[kind ? a->kind : a->type]);
            }
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < d->set.split[s].count; i++) {
            const picture_question *a = &d->set.split[s].item[i];
            qa_item *one = qa_add_class(r, &d->q, s, a->picture, a->text, number[a->answer],
                                        qa_type(&d->q, d->set.types.text[a->type]));
            if (!one || !give_credit(r, a, number, one)) return 0;
            if (a->kind >= 0) one->kind = qa_type(&d->q, d->set.types.text[a->kind]);
        }
    return 1;
}

static int vqa_open(run *r, const char *dir) {
    vqa_data *d = (vqa_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d || !qa_open(r, &d->q)) return 0;
    d->size = (int)number_of(&r->s, 'm', "img_size", 64);
    if (number_of(&r->s, 'm', "in_chans", 3) > 3 || number_of(&r->s, 'm', "in_chans", 3) < 3)
        return fv_fail(r->c, FV_EUSAGE, "vqa: in_chans is 3");
    if (d->size < 1 || d->size > 8192) return fv_fail(r->c, FV_EUSAGE, "vqa: img_size is 1 to 8192");
    if (!questions_open(r->c, dir, &d->set) || (!r->model && !choose_classes(r, &d->set))) return 0;
    int32_t *number = class_numbers(r, &d->set);
    if (!number || !add_questions(r, d, number)) return 0;
    fv_free(r->c, number);
    for (int s = 0; s < 2; s++)
        d->pixels[s] =
            (uint8_t **)fv_alloc(r->c, (size_t)(d->set.split[s].pictures + 1) * sizeof *d->pixels[s]);
    qa_put_settings(r, &d->q);
    return !fv_error(r->c);
}
static void vqa_close(run *r) {
    vqa_data *d = (vqa_data *)r->data;
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < d->set.split[s].pictures && d->pixels[s]; i++) fv_free(r->c, d->pixels[s][i]);
        fv_free(r->c, d->pixels[s]);
    }
    qa_close(r, &d->q), questions_close(r->c, &d->set);
    fv_free(r->c, d->passing), fv_free(r->c, d);
    r->data = NULL;
}

/* A picture's pixels, good until the next call; NULL and an error */
static const uint8_t *pixels_of(run *r, vqa_data *d, int split, int picture) {
    uint8_t **at = &d->pixels[split][picture];
    char path[4500];
    size_t n = (size_t)d->size * (size_t)d->size * 3;
    if (*at) return *at;
    if (d->kept + n > (size_t)KEPT_MB << 20) at = &d->passing;
    if (!*at && !(*at = (uint8_t *)fv_alloc(r->c, n))) return NULL;
    if (at != &d->passing) d->kept += n;
    questions_picture(&d->set.split[split], picture, path, sizeof path);
    if (picture_fit(r->c, path, d->size, 1, 3, *at)) return *at;
    fv_free(r->c, *at), *at = NULL;
    return NULL;
}

/* u8 [S,S,3] -> f32 [3,S,S] in -1..1, mirrored and moved; the border goes on beyond the edge */
static void put_picture(const uint8_t *src, int S, int mirror, int dx, int dy, float *to) {
    for (int u = 0; u < S; u++)
        for (int v = 0; v < S; v++) {
            int y = u + dy < 0 ? 0 : u + dy >= S ? S - 1 : u + dy, z = (mirror ? S - 1 - v : v) + dx;
            z = z < 0 ? 0 : z >= S ? S - 1 : z;
            for (int k = 0; k < 3; k++)
                to[(k * S + u) * S + v] = (float)src[(y * S + z) * 3 + k] / 127.5f - 1;
        }
}
static int vqa_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    vqa_data *d = (vqa_data *)r->data;
    int S = d->size, most = epoch >= 0 ? (int)number_of(&r->s, 't', "shift", 0) : 0,
        flip = epoch >= 0 && number_of(&r->s, 't', "hflip", 0) > 0;
    int64_t dim[4] = {n, 3, S, S};
    if (!qa_batch(r, &d->q, split, index, n, b)) return 0;
    fv_tensor *x = b->input[b->inputs++] = fv_new(r->c, FV_F32, 4, dim);
    for (int i = 0; i < n && x; i++) {
        const uint8_t *src =
            pixels_of(r, d, split, d->q.split[split].item[run_other(r, split, index[i])].scene);
        fv_rng g = run_rng(r, epoch, index[i]);
        int mirror = flip && (fv_rng_u32(&g) & 1),
            dx = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0,
            dy = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0;
        if (!src) return 0;
        put_picture(src, S, mirror, dx, dy, (float *)x->data + (size_t)i * (size_t)(S * S * 3));
    }
    return x != NULL;
}
static int vqa_measure(run *r, int split, int from, int count, figures *f) {
    return qa_measure(r, &((vqa_data *)r->data)->q, split, from, count, "accuracy", NULL, f);
}
static int vqa_baselines(run *r, figures *f) { return qa_baselines(r, &((vqa_data *)r->data)->q, f); }

/* what stands under a picture: the answer, and how right it is */
static void verdict(const run *r, const qa_item *one, int said, char *text, size_t n) {
    const char *name = said < r->classes ? r->class_names[said] : "?",
               *right = one->answer < 0 ? "another" : r->class_names[one->answer];
    double earns = qa_earned(one, said);
    if (earns <= 0) snprintf(text, n, "%s (it is %s)", name, right);
    else if (earns < 1) snprintf(text, n, "%s (%.0f of 10 say so)", name, 3 * earns);
    else snprintf(text, n, "%s", name);
}
/* a grid of pictures, each with its question and the answer given: green when it is right */
static int vqa_draw(run *r, const int32_t *index, int n, const char *png) {
    vqa_data *d = (vqa_data *)r->data;
    const int cell = 220, across = n < 5 ? n : 5;
    canvas v = canvas_new(r->c, across * cell + 20, (n + across - 1) / across * 250 + 44);
    batch b;
    memset(&b, 0, sizeof b);
    fv_reset(r->c);
    fv_tensor *y = v.rgb && vqa_batch(r, SPLIT_TEST, index, n, -1, &b) ? run_forward(r, &b) : NULL;
    if (y) draw_text(&v, "answers: green right, red wrong", 20, 26, 14, 0x333333, across * cell - 20);
    for (int i = 0; i < n && y; i++) {
        const qa_item *one = &d->q.split[1].item[index[i]];
        const uint8_t *seen = pixels_of(r, d, SPLIT_TEST, one->scene);
        double x = 20 + i % across * cell, top = 44 + i / across * 250;
        int64_t K = y->dim[1], best = 0;
        char text[200];
        if (!seen) break;
        for (int64_t k = 1; k < K; k++)
            if (fv_get(y, i * K + k) > fv_get(y, i * K + best)) best = k;
        draw_pixels(&v, seen, d->size, d->size, 3, x, top, 160, 160);
        double at = draw_paragraph(&v, one->text, x, top + 178, 13, 0x222222, cell - 20, 2);
        verdict(r, one, (int)best, text, sizeof text);
        draw_text(&v, text, x, at + 2, 14, qa_earned(one, (int)best) > 0 ? 0x1a7f37 : 0xcf222e, cell - 20);
    }
    int ok = y && !fv_error(r->c) && canvas_save(r->c, &v, png);
    canvas_free(r->c, &v);
    return ok;
}

/* ---- a question about a picture ---- */
static int vqa_predict(run *r, const char *file, int json) {
    int S = (int)number_of(&r->s, 'm', "img_size", 64);
    int64_t dim[4] = {1, 3, S, S};
    qa_set q;
    batch b;
    memset(&q, 0, sizeof q), memset(&b, 0, sizeof b);
    if (!r->question)
        return fv_fail(r->c, FV_EUSAGE, "vqa: --question TEXT says what is asked about %s", file);
    uint8_t *seen = (uint8_t *)fv_alloc(r->c, (size_t)S * (size_t)S * 3);
    if (seen && qa_open(r, &q) && picture_fit(r->c, file, S, 1, 3, seen) && qa_text(r, &q, r->question, &b) &&
        (b.input[b.inputs++] = fv_new(r->c, FV_F32, 4, dim)) != NULL) {
        put_picture(seen, S, 0, 0, 0, (float *)b.input[2]->data);
        qa_print(r, file, run_forward(r, &b), 0, json);
    }
    qa_close(r, &q), fv_free(r->c, seen);
    return !fv_error(r->c);
}

extern const task task_vqa;
const task task_vqa = {
    .name = "vqa",
    .about = "answers to questions about pictures",
    .items = "questions",
    .presets = presets,
    .keys = keys,
    .words = 1,
    .fetch = "easy-vqa",
    .open = vqa_open,
    .close = vqa_close,
    .batch = vqa_batch,
    .loss = qa_loss,
    .measure = vqa_measure,
    .baselines = vqa_baselines,
    .predict = vqa_predict,
    .draw = vqa_draw,
};
