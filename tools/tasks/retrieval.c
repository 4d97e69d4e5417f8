/* retrieval: pictures for texts and texts for pictures. Data: see data/captions.h.
 *
 * Training: a batch's pictures, each with one of its captions, by a contrastive loss between their embeddings
 * (times `contrast`); and the first `match` of them, each with its caption and NEGATIVES captions of others,
 * by the network's score of the pair (cross-entropy, METER's 15 negatives). Ranking: all pairs by their
 * embeddings, which takes seconds; then the first `rerank` anew by the sum of both, the score being what the
 * frozen stage sees. */
#include "../data/captions.h"
#include "../data/pictures.h"
#include "qa.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEGATIVES = 15, TEXTS = NEGATIVES + 1, TOP = 64 };
typedef struct words {
    int count;
    int32_t word[QA_WORDS];
} words;
typedef struct retrieval_data {
    caption_set set;
    qa_set q; /* its tokenizer and vocabulary */
    words *text[CAPTION_SPLITS];
    uint8_t *pixels[CAPTION_SPLITS];
    int size;
} retrieval_data;

static const char *presets[][2] = {
    {"demo-retrieval",
     "arch=retrieval dim=128 num_heads=4 text_depth=1 image_depth=2 fusion_depth=1 img_size=64 patch_size=16 "
     "in_chans=3 conv_stem=true embed_dim=64 batch_size=64 epochs=16 "
     "lr=4e-4 precision=bf16 warmup_epochs=0.3 weight_decay=0.05 clip_grad=1 contrast=1 match=8 "
     "temperature=0.07 rerank=8"},
    {NULL, NULL}};
static const char *const keys[] = {"contrast", "match", "temperature", "rerank", "words", NULL};

static int retrieval_open(run *r, const char *dir) {
    retrieval_data *d = (retrieval_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d || !qa_open(r, &d->q) || !captions_open(r->c, dir, &d->set)) return 0;
    d->size = (int)number_of(&r->s, 'm', "img_size", 64);
    if (number_of(&r->s, 'm', "in_chans", 3) > 3 || number_of(&r->s, 'm', "in_chans", 3) < 3)
        return fv_fail(r->c, FV_EUSAGE, "retrieval: in_chans is 3");
    size_t each = (size_t)d->size * (size_t)d->size * 3;
    for (int s = 0; s < CAPTION_SPLITS; s++) {
        const caption_split *p = &d->set.split[s];
        d->text[s] = (words *)fv_alloc(r->c, (size_t)(p->captions + 1) * sizeof(words)),
        d->pixels[s] = (uint8_t *)fv_alloc(r->c, (size_t)p->pictures * each + 1);
        for (int i = 0; i < p->captions && !fv_error(r->c); i++)
            if ((d->text[s][i].count = qa_words(r, &d->q, p->caption[i].text, d->text[s][i].word,
                                                s == CAPTIONS_TRAIN && !r->model)) < 0)
                return 0;
        for (int i = 0; i < p->pictures && !fv_error(r->c); i++)
            picture_fit(r->c, p->picture[i].file, d->size, 1, 3, d->pixels[s] + (size_t)i * each);
    }
    if (fv_error(r->c)) return 0;
    r->count[0] = d->set.split[CAPTIONS_TRAIN].pictures, r->count[1] = d->set.split[CAPTIONS_TEST].pictures;
    qa_put_words(r, &d->q);
    return !fv_error(r->c);
}
static void retrieval_close(run *r) {
    retrieval_data *d = (retrieval_data *)r->data;
    captions_close(r->c, &d->set), qa_close(r, &d->q);
    for (int s = 0; s < CAPTION_SPLITS; s++) fv_free(r->c, d->text[s]), fv_free(r->c, d->pixels[s]);
    fv_free(r->c, d);
    r->data = NULL;
}

/* texts [n] of a split and pictures [m] of it, n a multiple of m, as the network wants them */
static int inputs(run *r, int split, const int32_t *text, int n, const int32_t *picture, int m, int epoch,
                  fv_tensor **in) {
    retrieval_data *d = (retrieval_data *)r->data;
    if (!qa_fill_words(r, &d->q)) return 0;
    int S = d->size, most = (int)number_of(&r->s, 'm', "max_words", 32), longest = 1,
        known = (int)number_of(&r->s, 'm', "vocab_size", 1);
    for (int i = 0; i < n; i++)
        longest = d->text[split][text[i]].count > longest ? d->text[split][text[i]].count : longest;
    if (longest > most) longest = most;
    int64_t ids[2] = {n, longest}, dim[4] = {m, 3, S, S};
    in[0] = fv_new(r->c, FV_I32, 2, ids), in[1] = fv_new(r->c, FV_U8, 2, ids),
    in[2] = fv_new(r->c, FV_F32, 4, dim);
    if (fv_error(r->c)) return 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < longest; k++) {
            const words *w = &d->text[split][text[i]];
            ((int32_t *)in[0]->data)[i * longest + k] = k < w->count && w->word[k] < known ? w->word[k] : 0;
            ((uint8_t *)in[1]->data)[i * longest + k] =
                k < w->count || k == 0; /* an empty text is one unknown word */
        }
    for (int i = 0; i < m; i++) {
        const uint8_t *src = d->pixels[split] + (size_t)picture[i] * (size_t)(S * S * 3);
        float *to = (float *)in[2]->data + (size_t)i * (size_t)(S * S * 3), light = 0;
        fv_rng g = run_rng(r, epoch, picture[i]);
        int most_move = epoch >= 0 ? S / 8 : 0,
            dx = most_move ? (int)fv_rng_below(&g, (uint32_t)(2 * most_move + 1)) - most_move : 0,
            dy = most_move ? (int)fv_rng_below(&g, (uint32_t)(2 * most_move + 1)) - most_move : 0;
        if (epoch >= 0) light = (fv_rng_uniform(&g) - 0.5f) * 0.4f;
        for (int u = 0; u < S; u++)
            for (int v = 0; v < S; v++) {
                int y = u + dy < 0    ? 0
                        : u + dy >= S ? S - 1
                                      : u + dy,
                    x = v + dx < 0    ? 0
                        : v + dx >= S ? S - 1
                                      : v + dx;
                for (int k = 0; k < 3; k++)
                    to[(k * S + u) * S + v] = (float)src[(y * S + x) * 3 + k] / 127.5f - 1 + light;
            }
    }
    return 1;
}

/* whether caption `text` is said of a picture */
static int is_said(const caption_split *s, int picture, const char *text) {
    for (int k = 0; k < s->picture[picture].captions; k++)
        if (!strcmp(s->caption[s->picture[picture].first + k].text, text)) return 1;
    return 0;
}

/* n pictures with a caption each; input[3..5]: the first of them with 16 texts each, their own first.
 * Targets: [0] labels of the scores, all 0; [1] f32 [n,n]
 * which captions of the batch are said of each picture, rows of sum 1; [2] the same for each caption and all
 * pictures. */
static int retrieval_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    const caption_split *s = &d->set.split[split];
    int match = (int)number_of(&r->s, 't', "match", 8);
    if (match > n) match = n;
    if (match < 1) match = 1;
    int64_t count = match, square[2] = {n, n};
    int32_t *own = (int32_t *)fv_alloc(r->c, (size_t)n * sizeof *own),
            *text = (int32_t *)fv_alloc(r->c, (size_t)match * TEXTS * sizeof *text);
    if (!own || !text) return 0;
    for (int i = 0; i < n; i++) {
        fv_rng g = run_rng(r, epoch, index[i] + (1 << 24));
        const captioned *p = &s->picture[index[i]];
        own[i] = p->first + (int32_t)fv_rng_below(&g, (uint32_t)p->captions);
        if (i < match) text[i * TEXTS] = own[i];
        for (int k = 1, tries = 0; i < match && k < TEXTS; tries++) {
            int32_t other = (int32_t)fv_rng_below(&g, (uint32_t)s->captions);
            if (is_said(s, index[i], s->caption[other].text) && tries < 1000) continue;
            text[i * TEXTS + k++] = other;
        }
    }
    int ok = inputs(r, split, own, n, index, n, epoch, b->input) &&
             inputs(r, split, text, match * TEXTS, index, match, epoch, b->input + 3);
    fv_tensor *label = b->target[0] = fv_new(r->c, FV_I32, 1, &count),
              *said = b->target[1] = fv_new(r->c, FV_F32, 2, square),
              *of = b->target[2] = fv_new(r->c, FV_F32, 2, square);
    b->inputs = 3, b->targets = 3, b->count = n;
    for (int i = 0; ok && i < n && !fv_error(r->c); i++) {
        float *row = (float *)said->data + (int64_t)i * n, *col = (float *)of->data + (int64_t)i * n, sum = 0,
              also = 0;
        if (i < match) ((int32_t *)label->data)[i] = 0;
        for (int k = 0; k < n; k++)
            sum += row[k] = (float)is_said(s, index[i], s->caption[own[k]].text),
                   also += col[k] = (float)is_said(s, index[k], s->caption[own[i]].text);
        for (int k = 0; k < n; k++) row[k] /= sum, col[k] /= also;
    }
    fv_free(r->c, own), fv_free(r->c, text);
    return ok && !fv_error(r->c);
}

static fv_tensor *retrieval_loss(run *r, fv_tensor *y, const batch *b) {
    fv_ctx *c = r->c;
    int64_t score[2] = {b->target[0]->dim[0], TEXTS}, E = (y->dim[1] - 1) / 2;
    float share = (float)number_of(&r->s, 't', "contrast", 1),
          heat = 1 / (float)number_of(&r->s, 't', "temperature", 0.07);
    fv_tensor *pairs = fv_model_forward_many(c, r->model, (fv_tensor *const *)b->input + 3, 3);
    fv_tensor *fused = pairs ? fv_reshape(c, fv_slice(c, pairs, 1, 0, 1), 1, &pairs->dim[0]) : NULL,
              *near = fused ? fv_new(c, fused->type, 1, fused->dim) : NULL;
    /* ranking adds both scores: the pair's learns what is left; no gradient goes to the embeddings from
     * here */
    if (near && share > 0) {
        for (int64_t i = 0; i < near->dim[0]; i++) {
            double sum = 0;
            for (int64_t e = 0; e < E; e++)
                sum +=
                    fv_get(pairs, i * pairs->dim[1] + 1 + e) * fv_get(pairs, i * pairs->dim[1] + 1 + E + e);
            fv_set(near, i, sum * (double)heat);
        }
        fused = fv_add(c, fused, near);
    }
    fv_tensor *loss = fused ? fv_cross_entropy(c, fv_reshape(c, fused, 2, score), b->target[0], 0) : NULL;
    if (!loss || !(share > 0)) return loss;
    fv_tensor *image = fv_slice(c, y, 1, 1, E), *text = fv_slice(c, y, 1, 1 + E, E);
    fv_tensor *a = fv_cross_entropy(c, fv_scale(c, fv_matmul(c, image, text, 1), heat), b->target[1], 0),
              *t = fv_cross_entropy(c, fv_scale(c, fv_matmul(c, text, image, 1), heat), b->target[2], 0);
    return a && t ? fv_add(c, loss, fv_scale(c, fv_add(c, a, t), 0.5f * share)) : NULL;
}

/* ---- ranking ---- */
typedef struct ranking {
    int pictures, captions, E;
    float *image, *text;
} ranking; /* embeddings of a split */

static int embed(run *r, int split, int from, int wanted, ranking *k) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    const caption_split *s = &d->set.split[split];
    int first = s->picture[from].first,
        last = s->picture[from + wanted - 1].first + s->picture[from + wanted - 1].captions;
    k->pictures = wanted, k->captions = last - first, k->E = (int)number_of(&r->s, 'm', "embed_dim", 64);
    k->image = (float *)fv_alloc(r->c, (size_t)(k->pictures + k->captions) * (size_t)k->E * sizeof(float)),
    k->text = k->image + k->pictures * k->E;
    for (int at = first; at < last && k->image && !fv_error(r->c) && !is_interrupted(); at += 64) {
        int32_t text[64], picture[64];
        int n = last - at < 64 ? last - at : 64;
        batch b;
        fv_reset(r->c);
        memset(&b, 0, sizeof b);
        for (int i = 0; i < n; i++) {
            text[i] = at + i, picture[i] = s->caption[at + i].picture;
            if (r->blind) picture[i] = from + (picture[i] - from + wanted / 2) % wanted;
        }
        fv_tensor *y = inputs(r, split, text, n, picture, n, -1, b.input)
                           ? fv_model_forward_many(r->c, r->model, (fv_tensor *const *)b.input, 3)
                           : NULL;
        for (int i = 0; i < n && y; i++)
            for (int e = 0; e < k->E; e++) {
                k->image[(s->caption[at + i].picture - from) * k->E + e] =
                    (float)fv_get(y, i * y->dim[1] + 1 + e);
                k->text[(at + i - first) * k->E + e] = (float)fv_get(y, i * y->dim[1] + 1 + k->E + e);
            }
    }
    return !fv_error(r->c);
}

typedef struct found {
    float score;
    int32_t which;
} found;
static int better(const void *a, const void *b) {
    const found *x = (const found *)a, *y = (const found *)b;
    return x->score > y->score ? -1 : x->score < y->score ? 1 : x->which - y->which;
}
/* the TOP (or all) of n rows of `table` by their product with q */
static int nearest(const float *q, const float *table, int n, int E, found *top) {
    int count = 0;
    for (int i = 0; i < n; i++) {
        found one = {0, i};
        for (int e = 0; e < E; e++) one.score += q[e] * table[i * E + e];
        if (count == TOP && better(&one, &top[TOP - 1]) > 0) continue;
        int at = count < TOP ? count++ : TOP - 1;
        for (; at > 0 && better(&one, &top[at - 1]) < 0; at--) top[at] = top[at - 1];
        top[at] = one;
    }
    return count;
}
/* the first n of the list anew, by both scores: caption `fixed` (or picture, when of_picture) with each */
static int rerank(run *r, const ranking *k, int split, int from, int fixed, int of_picture, found *top,
                  int n) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    const caption_split *s = &d->set.split[split];
    int first = s->picture[from].first;
    int32_t text[TOP], picture[TOP];
    batch b;
    memset(&b, 0, sizeof b);
    fv_reset(r->c);
    for (int i = 0; i < n; i++) {
        text[i] = first + (of_picture ? top[i].which : fixed),
        picture[i] = from + (of_picture ? fixed : top[i].which);
        if (r->blind) picture[i] = from + (picture[i] - from + k->pictures / 2) % k->pictures;
    }
    fv_tensor *y = inputs(r, split, text, n, picture, of_picture ? 1 : n, -1, b.input)
                       ? fv_model_forward_many(r->c, r->model, (fv_tensor *const *)b.input, 3)
                       : NULL;
    for (int i = 0; i < n && y; i++)
        top[i].score = top[i].score / (float)number_of(&r->s, 't', "temperature", 0.07) +
                       (float)fv_get(y, i * y->dim[1]);
    if (y) qsort(top, (size_t)n, sizeof *top, better);
    return y != NULL;
}

/* The best for a caption (or picture) among the pictures (captions) of the ranking; how many */
static int search(run *r, const ranking *k, int split, int from, int which, int of_picture, int again,
                  found *top) {
    int n = of_picture ? nearest(k->image + which * k->E, k->text, k->captions, k->E, top)
                       : nearest(k->text + which * k->E, k->image, k->pictures, k->E, top);
    if (again > n) again = n;
    return again > 1 && !rerank(r, k, split, from, which, of_picture, top, again) ? 0 : n;
}

/* Right answers among the first 1, 5, 10: [0] pictures found for a caption (IR), [1] captions for a picture
 * (TR). Pictures that a caption is said of are
 * all right; when `scored`, each test picture's is noted (of several captions the last one's). */
static int count_hits(run *r, const ranking *k, int split, int from, int again, int scored,
                      double hits[2][3]) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    const caption_split *s = &d->set.split[split];
    static const int at[3] = {1, 5, 10};
    int first = s->picture[from].first;
    found top[TOP];
    for (int way = 0; way < 2; way++)
        for (int i = 0; i < (way ? k->pictures : k->captions) && !fv_error(r->c) && !is_interrupted(); i++) {
            int n = search(r, k, split, from, i, way, again, top), place = n;
            for (int m = 0; m < n && place == n; m++) {
                int picture = from + (way ? i : top[m].which);
                if (is_said(s, picture, s->caption[first + (way ? top[m].which : i)].text)) place = m;
            }
            if (!way && scored && s->caption[first + i].picture < r->count[1])
                run_score(r, split, s->caption[first + i].picture, 100 * (place < 1));
            for (int m = 0; m < 3; m++) hits[way][m] += place < at[m] && place < n;
        }
    return !fv_error(r->c);
}

static int measure_split(run *r, int split, int from, int wanted, const char *prefix, int again, figures *f) {
    static const int at[3] = {1, 5, 10};
    double hits[2][3] = {{0}};
    ranking k;
    if (!embed(r, split, from, wanted, &k)) return 0;
    count_hits(r, &k, split, from, again, !*prefix, hits);
    for (int way = 0; way < 2 && !fv_error(r->c); way++)
        for (int m = 0; m < 3; m++) {
            char name[32];
            snprintf(name, sizeof name, "%s%s@%d", prefix, way ? "TR" : "IR", at[m]);
            figure_add(f, name, 100 * hits[way][m] / (way ? k.pictures : k.captions), "%");
        }
    fv_free(r->c, k.image);
    return !fv_error(r->c);
}

static int retrieval_measure(run *r, int split, int from, int count, figures *f) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0),
        again = (int)number_of(&r->s, 't', "rerank", 8), unseen = d->set.split[CAPTIONS_UNSEEN].pictures;
    if (again > TOP) again = TOP;
    measure_split(r, split, from, count, "", again, f);
    if (again > 1 && !fv_error(r->c)) measure_split(r, split, from, count, "embedding_", 0, f);
    if (split == SPLIT_TEST && from == 0 && count == r->count[1] && unseen && !fv_error(r->c))
        measure_split(r, CAPTIONS_UNSEEN, 0, unseen, "unseen_", again, f);
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return !fv_error(r->c);
}
/* what a guess gets: the share of pictures that a caption is said of, mean over captions */
static double chance(const caption_split *s) {
    double sum = 0;
    for (int i = 0; i < s->captions; i++)
        for (int k = 0; k < s->pictures; k++) sum += is_said(s, k, s->caption[i].text);
    return 100 * sum / s->captions / s->pictures;
}
static int retrieval_baselines(run *r, figures *f) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    figure_add(f, "chance@1", chance(&d->set.split[CAPTIONS_TEST]), "%");
    if (d->set.split[CAPTIONS_UNSEEN].pictures)
        figure_add(f, "unseen_chance@1", chance(&d->set.split[CAPTIONS_UNSEEN]), "%");
    return 1;
}

/* ---- predictions ---- */
static int retrieval_predict(run *r, const char *file, int json) {
    if (!r->data && !run_open_data(r)) return 0; /* its captions are what can be said */
    retrieval_data *d = (retrieval_data *)r->data;
    size_t each = (size_t)d->size * (size_t)d->size * 3;
    ranking k;
    found top[TOP];
    uint8_t *kept = (uint8_t *)fv_alloc(r->c, each),
            *place = d->pixels[CAPTIONS_TEST]; /* in the place of test picture 0, so long */
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0), n = 0;
    if (!kept || !embed(r, CAPTIONS_TEST, 0, r->count[1], &k)) return 0;
    memcpy(kept, place, each);
    if (picture_fit(r->c, file, d->size, 1, 3, place)) {
        int32_t zero = 0;
        batch b;
        memset(&b, 0, sizeof b);
        fv_reset(r->c);
        fv_tensor *y = inputs(r, CAPTIONS_TEST, &zero, 1, &zero, 1, -1, b.input)
                           ? fv_model_forward_many(r->c, r->model, (fv_tensor *const *)b.input, 3)
                           : NULL;
        for (int e = 0; e < k.E && y; e++) k.image[e] = (float)fv_get(y, 1 + e);
        if (y) n = search(r, &k, CAPTIONS_TEST, 0, 0, 1, (int)number_of(&r->s, 't', "rerank", 8), top);
    }
    if (n && !fv_error(r->c)) {
        fv_text t = {NULL, 0, 0};
        if (json)
            fv_text_add(r->c, &t, "{\"file\":"), fv_text_json_string(r->c, &t, file),
                fv_text_add(r->c, &t, ",\"captions\":[");
        else fv_text_add(r->c, &t, "%s: ", file);
        for (int i = 0; i < n && i < 5; i++) {
            const char *text = d->set.split[CAPTIONS_TEST].caption[top[i].which].text;
            fv_text_add(r->c, &t, i ? (json ? "," : "; ") : "");
            if (json) fv_text_json_string(r->c, &t, text);
            else fv_text_add(r->c, &t, "%s", text);
        }
        if (!fv_error(r->c)) printf("%s%s\n", t.data, run_list_end(json));
        fv_text_free(r->c, &t);
    }
    memcpy(place, kept, each);
    fv_free(r->c, kept), fv_free(r->c, k.image);
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return !fv_error(r->c);
}

/* a contact sheet: a row for each test picture's caption, with the five pictures that were found; green: the
 * one it was said of */
static int retrieval_draw(run *r, const int32_t *index, int n, const char *png) {
    const retrieval_data *d = (const retrieval_data *)r->data;
    const caption_split *s = &d->set.split[CAPTIONS_TEST];
    const int cell = 108, text = 260, columns = n > 8 ? 2 : 1, rows = (n + columns - 1) / columns,
              wide = text + 5 * cell + 30;
    canvas v = canvas_new(r->c, columns * wide + 20, rows * cell + 48);
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0);
    ranking k;
    found top[TOP];
    int ok = v.rgb && embed(r, CAPTIONS_TEST, 0, r->count[1], &k);
    for (int i = 0; i < columns && ok; i++) {
        char head[120];
        snprintf(head, sizeof head,
                 "the five best of %d pictures, the best first; framed: it is said of this picture",
                 r->count[1]);
        draw_text(&v, "query", 20 + i * wide, 28, 14, 0x666666, 0),
            draw_text(&v, head, 20 + i * wide + text, 28, 14, 0x666666, 5 * cell);
    }
    for (int i = 0; i < n && ok; i++) {
        int said = s->picture[index[i]].first,
            found_count =
                search(r, &k, CAPTIONS_TEST, 0, said, 0, (int)number_of(&r->s, 't', "rerank", 8), top);
        double x = 20 + i % columns * wide, y = 48 + i / columns * cell;
        draw_paragraph(&v, s->caption[said].text, x, y + 40, 17, 0x222222, text - 20, 3);
        for (int m = 0; m < found_count && m < 5; m++) {
            int right = is_said(s, top[m].which, s->caption[said].text);
            draw_pixels(&v, d->pixels[CAPTIONS_TEST] + (size_t)top[m].which * (size_t)(d->size * d->size * 3),
                        d->size, d->size, 3, x + text + m * cell, y, cell - 12, cell - 12);
            if (right) draw_frame(&v, x + text + m * cell - 3, y - 3, cell - 6, cell - 6, 4, 0x1a7f37);
        }
        ok = !fv_error(r->c);
    }
    if (ok) fv_free(r->c, k.image), ok = canvas_save(r->c, &v, png);
    canvas_free(r->c, &v);
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return ok;
}

static int retrieval_demo(run *r, const char *dir, char fetched[][4096]) {
    return emoji_captions_write(r->c, dir, fetched[0]);
}

extern const task task_retrieval;
const task task_retrieval = {
    .name = "retrieval",
    .about = "pictures for texts, texts for pictures",
    .items = "pictures",
    .presets = presets,
    .keys = keys,
    .words = 1,
    .fetch = "emoji",
    .demo = retrieval_demo,
    .demo_version = 1,
    .open = retrieval_open,
    .close = retrieval_close,
    .batch = retrieval_batch,
    .loss = retrieval_loss,
    .measure = retrieval_measure,
    .baselines = retrieval_baselines,
    .predict = retrieval_predict,
    .draw = retrieval_draw,
};
