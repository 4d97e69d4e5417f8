#include "qa.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int qa_open(run *r, qa_set *q) {
    if (!*r->llm_path) return fv_fail(r->c, FV_EUSAGE, "the task %s wants a language model's tokenizer: --llm FILE", r->task->name);
    fv_weights *w = fv_weights_open(r->c, r->llm_path);
    q->tokenizer = w ? fv_tokenizer_create(r->c, w) : NULL;
    fv_weights_close(r->c, w);
    if (!q->tokenizer) return 0;
    q->dense = (int32_t *)fv_alloc(r->c, (size_t)fv_tokenizer_size(q->tokenizer) * sizeof *q->dense);
    for (int i = 0; i < r->words && q->dense; i++)
        if (r->vocabulary[i] >= 0 && r->vocabulary[i] < fv_tokenizer_size(q->tokenizer)) q->dense[r->vocabulary[i]] = i + 1;
    return !fv_error(r->c);
}

void qa_close(run *r, qa_set *q) {
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < q->split[s].count; i++) fv_free(r->c, q->split[s].item[i].text);
        fv_free(r->c, q->split[s].item);
    }
    fv_tokenizer_destroy(r->c, q->tokenizer);
    fv_free(r->c, q->dense);
}

/* room for one more of an array that doubles */
static void *grow(fv_ctx *c, void *old, int count, int *room, size_t size) {
    if (count < *room) return old;
    int more = *room ? 2 * *room : 64;
    void *p = fv_alloc(c, (size_t)more * size);
    if (p && old) memcpy(p, old, (size_t)count * size);
    if (p) fv_free(c, old), *room = more;
    return p;
}

int qa_words(run *r, qa_set *q, const char *text, int32_t *word, int learn) {
    int64_t n = fv_tokenizer_encode(r->c, q->tokenizer, text, strlen(text), word, QA_WORDS);
    if (n < 0) return -1;
    if (n > QA_WORDS) n = QA_WORDS;
    for (int64_t i = 0; i < n; i++) {
        int32_t *number = &q->dense[word[i]];
        if (!*number && learn) {
            int32_t *more = (int32_t *)grow(r->c, r->vocabulary, r->words, &q->vocabulary_room, sizeof *r->vocabulary);
            if (!more) return -1;
            r->vocabulary = more;
            r->vocabulary[r->words++] = word[i];
            *number = r->words;
        }
        word[i] = *number;
    }
    if (n > q->most_words) q->most_words = (int)n;
    return (int)n;
}

static int class_of(run *r, qa_set *q, const char *answer, int learn) {
    for (int i = 0; i < r->classes; i++)
        if (!strcmp(r->class_names[i], answer)) return i;
    if (!learn) return -1;
    char(*more)[64] = (char(*)[64])grow(r->c, r->class_names, r->classes, &q->class_room, 64);
    if (!more) return -1;
    r->class_names = more;
    snprintf(r->class_names[r->classes], 64, "%s", answer);
    return r->classes++;
}
static int type_of(qa_set *q, const char *type) {
    for (int i = 0; i < q->types; i++)
        if (!strcmp(q->type_name[i], type)) return i;
    if (q->types == QA_TYPES) return QA_TYPES - 1;
    snprintf(q->type_name[q->types], 32, "%s", type);
    return q->types++;
}

int qa_add(run *r, qa_set *q, int split, int scene, const char *text, const char *answer, const char *type) {
    qa_split *s = &q->split[split];
    int learn = split == SPLIT_TRAIN && !r->model; /* a finished run's vocabulary and classes stand */
    qa_item *more = (qa_item *)grow(r->c, s->item, s->count, &s->room, sizeof *more);
    if (!more) return 0;
    s->item = more;
    qa_item *one = &s->item[s->count];
    memset(one, 0, sizeof *one);
    one->scene = scene, one->answer = class_of(r, q, answer, learn), one->type = type_of(q, type);
    one->words = qa_words(r, q, text, one->word, learn);
    one->text = (char *)fv_alloc(r->c, strlen(text) + 1);
    if (!one->text || one->words < 0) return 0;
    memcpy(one->text, text, strlen(text) + 1);
    if (!one->words) return fv_fail(r->c, FV_EFORMAT, "%s: question %d of the %s split is empty", r->data_path, s->count + 1, split ? "test" : "train");
    r->count[split] = ++s->count;
    return 1;
}

void qa_put_settings(run *r, const qa_set *q) {
    if (r->model) return;
    run_put_classes(r, r->classes), put_number(&r->s, 'm', "vocab_size", r->words + 1), put_number(&r->s, 'm', "max_words", q->most_words);
}

int qa_batch(run *r, const qa_set *q, int split, const int32_t *index, int n, batch *b) {
    int words = 1, most = (int)number_of(&r->s, 'm', "max_words", 32);
    for (int i = 0; i < n; i++) words = q->split[split].item[index[i]].words > words ? q->split[split].item[index[i]].words : words;
    if (words > most) words = most;
    int64_t dim[2] = {n, words}, target[2] = {n, r->model->num_classes};
    fv_tensor *ids = fv_new(r->c, FV_I32, 2, dim), *mask = fv_new(r->c, FV_U8, 2, dim), *y = fv_new(r->c, FV_F32, 2, target), *label = fv_new(r->c, FV_I32, 1, dim);
    if (fv_error(r->c)) return 0;
    memset(y->data, 0, (size_t)fv_numel(y) * sizeof(float));
    for (int i = 0; i < n; i++) {
        const qa_item *one = &q->split[split].item[index[i]];
        for (int k = 0; k < words; k++) {
            ((int32_t *)ids->data)[i * words + k] = k < one->words && one->word[k] < (int)number_of(&r->s, 'm', "vocab_size", 1) ? one->word[k] : 0;
            ((uint8_t *)mask->data)[i * words + k] = k < one->words;
        }
        ((int32_t *)label->data)[i] = one->answer;
        if (one->answer >= 0 && one->answer < target[1]) ((float *)y->data)[i * target[1] + one->answer] = 1;
    }
    b->input[0] = ids, b->input[1] = mask, b->inputs = 2, b->target[0] = y, b->target[1] = label, b->targets = 2, b->count = n;
    return 1;
}

/* METER sums the loss over the answers, where our op takes the mean */
fv_tensor *qa_loss(run *r, fv_tensor *y, const batch *b) {
    fv_tensor *loss = fv_bce_with_logits(r->c, y, b->target[0]);
    return loss ? fv_scale(r->c, loss, (float)y->dim[1]) : NULL;
}

int qa_measure(run *r, qa_set *q, int split, int from, int count, const char *first, const char *tenth, figures *f) {
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0), done = 0;
    double right = 0, near = 0, loss_sum = 0, by_type[QA_TYPES] = {0}, of_type[QA_TYPES] = {0};
    for (int at = from; at < from + count && !fv_error(r->c) && !is_interrupted(); at += 128) {
        int32_t index[128];
        int n = from + count - at < 128 ? from + count - at : 128;
        batch b;
        fv_reset(r->c);
        memset(&b, 0, sizeof b), b.with_loss = 1;
        for (int i = 0; i < n; i++) index[i] = at + i;
        fv_tensor *y = r->task->batch(r, split, index, n, -1, &b) ? run_forward(r, &b) : NULL, *loss = y ? run_loss(r, y, &b) : NULL;
        if (!loss) break;
        loss_sum += fv_get(loss, 0) * n;
        for (int i = 0; i < n; i++, done++) {
            const qa_item *one = &q->split[split].item[index[i]];
            int rank = one->answer < 0 ? 1000 : run_rank(y, i, one->answer); /* no such answer: never found */
            run_score(r, split, index[i], 100 * (rank < 1)), right += rank < 1, near += rank < 10, by_type[one->type] += rank < 1, of_type[one->type]++;
        }
    }
    if (done && !fv_error(r->c)) {
        figure_add(f, first, 100 * right / done, "%");
        if (tenth) figure_add(f, tenth, 100 * near / done, "%");
        for (int t = 0; t < q->types; t++) {
            char name[80];
            snprintf(name, sizeof name, "%s_%s", first, q->type_name[t]);
            if (of_type[t] > 0) figure_add(f, name, 100 * by_type[t] / of_type[t], "%");
        }
        figure_add(f, "loss", loss_sum / done, "");
    }
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return !fv_error(r->c);
}

static const char *asked(const qa_item *i) { return i->text + i->question; }
static int by_text(const void *a, const void *b) { return strcmp(asked(*(const qa_item *const *)a), asked(*(const qa_item *const *)b)); }

int qa_baselines(run *r, qa_set *q, figures *f) {
    int n = q->split[0].count, classes = r->classes > 0 ? r->classes : 1, right = 0, top = 0;
    const qa_item **sorted = (const qa_item **)fv_alloc(r->c, (size_t)(n + 1) * sizeof *sorted);
    int *votes = (int *)fv_alloc(r->c, 2 * (size_t)classes * sizeof *votes), *all = votes + classes;
    if (!sorted || !votes) return 0;
    for (int i = 0; i < n; i++) {
        sorted[i] = &q->split[0].item[i];
        if (sorted[i]->answer >= 0 && ++all[sorted[i]->answer] > all[top]) top = sorted[i]->answer;
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_text);
    for (int i = 0; i < q->split[1].count; i++) {
        const qa_item *one = &q->split[1].item[i];
        int low = 0, high = n, best = top;
        while (low < high) {
            int mid = low + (high - low) / 2;
            if (strcmp(asked(sorted[mid]), asked(one)) < 0) low = mid + 1;
            else high = mid;
        }
        memset(votes, 0, (size_t)classes * sizeof *votes);
        for (int k = low; k < n && !strcmp(asked(sorted[k]), asked(one)); k++) {
            if (k == low) best = sorted[k]->answer < 0 ? top : sorted[k]->answer;
            if (sorted[k]->answer >= 0 && ++votes[sorted[k]->answer] > votes[best]) best = sorted[k]->answer;
        }
        right += best == one->answer;
    }
    fv_free(r->c, sorted), fv_free(r->c, votes);
    figure_add(f, "question_only", 100.0 * right / (q->split[1].count ? q->split[1].count : 1), "%");
    return !fv_error(r->c);
}
