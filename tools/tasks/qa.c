#include "qa.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int qa_open(run *r, qa_set *q) {
    if (!*r->llm_path)
        return fv_fail(r->c, FV_EUSAGE, "the task %s wants a language model's tokenizer: --llm FILE",
                       r->task->name);
    fv_weights *w = fv_weights_open(r->c, r->llm_path);
    q->tokenizer = w ? fv_tokenizer_create(r->c, w) : NULL;
    fv_weights_close(r->c, w);
    if (!q->tokenizer) return 0;
    q->dense = (int32_t *)fv_alloc(r->c, (size_t)fv_tokenizer_size(q->tokenizer) * sizeof *q->dense);
    for (int i = 0; i < r->words && q->dense; i++)
        if (r->vocabulary[i] >= 0 && r->vocabulary[i] < fv_tokenizer_size(q->tokenizer))
            q->dense[r->vocabulary[i]] = i + 1;
    return !fv_error(r->c);
}

void qa_close(run *r, qa_set *q) {
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < q->split[s].count; i++)
            fv_free(r->c, q->split[s].item[i].text), fv_free(r->c, q->split[s].item[i].credit);
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
            int32_t *more =
                (int32_t *)grow(r->c, r->vocabulary, r->words, &q->vocabulary_room, sizeof *r->vocabulary);
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
    int known = run_class_named(r, answer);
    if (known >= 0 || !learn) return known;
    if (strlen(answer) >= CLASS_NAME)
        return fv_fail(r->c, FV_EUSAGE, "%s: the answer \"%.40s...\" has over %d bytes", r->data_path, answer,
                       CLASS_NAME - 1),
               -1;
    char(*more)[CLASS_NAME] =
        (char(*)[CLASS_NAME])grow(r->c, r->class_names, r->classes, &q->class_room, CLASS_NAME);
    if (!more) return -1;
    r->class_names = more;
    snprintf(r->class_names[r->classes], CLASS_NAME, "%s", answer);
    return r->classes++;
}
int qa_type(qa_set *q, const char *name) {
    for (int i = 0; i < q->types; i++)
        if (!strcmp(q->type_name[i], name)) return i;
    if (q->types == QA_TYPES) return QA_TYPES - 1;
    snprintf(q->type_name[q->types], 32, "%s", name);
    return q->types++;
}

qa_item *qa_add_class(run *r, qa_set *q, int split, int scene, const char *text, int answer, int type) {
    qa_split *s = &q->split[split];
    int learn = split == SPLIT_TRAIN && !r->model; /* a finished run's vocabulary stands */
    qa_item *more = (qa_item *)grow(r->c, s->item, s->count, &s->room, sizeof *more);
    if (!more) return NULL;
    s->item = more;
    qa_item *one = &s->item[s->count];
    memset(one, 0, sizeof *one);
    one->scene = scene, one->answer = answer, one->type = type, one->kind = -1;
    one->words = qa_words(r, q, text, one->word, learn);
    one->text = (char *)fv_alloc(r->c, strlen(text) + 1);
    if (!one->text || one->words < 0) return NULL;
    memcpy(one->text, text, strlen(text) + 1);
    if (!one->words) {
        fv_fail(r->c, FV_EFORMAT, "%s: question %d of the %s split is empty", r->data_path, s->count + 1,
                split ? "test" : "train");
        return NULL;
    }
    r->count[split] = ++s->count;
    return one;
}
qa_item *qa_add(run *r, qa_set *q, int split, int scene, const char *text, const char *answer,
                const char *type) {
    return qa_add_class(r, q, split, scene, text, class_of(r, q, answer, split == SPLIT_TRAIN && !r->model),
                        qa_type(q, type));
}

double qa_earned(const qa_item *one, int answer) {
    if (!one->credit) return answer >= 0 && answer == one->answer;
    for (int i = 0; i < one->credits; i++)
        if (one->credit[i].answer == answer) return (double)one->credit[i].share;
    return 0;
}

/* the entry of a language model's file that holds its embeddings, [tokens,D]; NULL and an error */
static const fv_entry *embeddings_of(run *r, const fv_weights *w) {
    static const char *const ending[] = {"token_embd.weight", "embed_tokens.weight", "tok_embeddings.weight"};
    for (int i = 0; i < fv_weights_count(w); i++)
        for (int k = 0; k < 3; k++) {
            const fv_entry *e = fv_weights_at(w, i);
            size_t n = strlen(e->name), m = strlen(ending[k]);
            if (e->rank == 2 && n >= m && !strcmp(e->name + n - m, ending[k])) return e;
        }
    fv_fail(r->c, FV_EUSAGE,
            "%s: words=llm wants the embeddings of its tokens, and there is no token_embd.weight or "
            "embed_tokens.weight",
            r->llm_path);
    return NULL;
}
void qa_put_words(run *r, const qa_set *q) {
    if (r->model) return;
    put_number(&r->s, 'm', "vocab_size", r->words + 1), put_number(&r->s, 'm', "max_words", q->most_words);
    if (!is_text(&r->s, 't', "words", "llm")) return;
    fv_weights *w = fv_error(r->c) ? NULL : fv_weights_open(r->c, r->llm_path);
    const fv_entry *e = w ? embeddings_of(r, w) : NULL;
    if (e) put_number(&r->s, 'm', "word_dim", (double)e->dim[1]);
    fv_weights_close(r->c, w);
}
void qa_put_settings(run *r, const qa_set *q) {
    run_put_classes(r, r->classes);
    qa_put_words(r, q);
}

int qa_fill_words(run *r, qa_set *q) {
    if (q->filled || !is_text(&r->s, 't', "words", "llm")) return !fv_error(r->c);
    /* [1+words,D]; row 0, any other word, is 0 */
    fv_tensor *table = fv_params_find(&r->model->buffers, "text.embed.weight");
    fv_weights *w = table ? fv_weights_open(r->c, r->llm_path) : NULL;
    const fv_entry *e = w ? embeddings_of(r, w) : NULL;
    float *all = e ? (float *)fv_alloc(r->c, (size_t)e->count * sizeof *all) : NULL;
    double square = 0;
    if (e && table->dim[1] != e->dim[1])
        fv_fail(r->c, FV_EUSAGE, "%s: its embeddings are %d wide, the network's words %d", r->llm_path,
                (int)e->dim[1], (int)table->dim[1]);
    if (all && !fv_error(r->c) && fv_entry_read(r->c, w, e, FV_F32, all)) {
        int64_t D = e->dim[1];
        for (int i = 0; i < r->words; i++)
            for (int64_t k = 0; k < D && r->vocabulary[i] < e->dim[0]; k++)
                square += (double)all[r->vocabulary[i] * D + k] * (double)all[r->vocabulary[i] * D + k];
        double scale = square > 0 ? sqrt((double)(r->words * D) / square) : 1;
        for (int64_t i = 0; i < fv_numel(table); i++) {
            int64_t token = i < D ? -1 : r->vocabulary[i / D - 1];
            fv_set(table, i, token >= 0 && token < e->dim[0] ? scale * (double)all[token * D + i % D] : 0);
        }
        q->filled = 1;
    }
    fv_free(r->c, all), fv_weights_close(r->c, w);
    return q->filled;
}

int qa_batch(run *r, qa_set *q, int split, const int32_t *index, int n, batch *b) {
    int words = 1, most = (int)number_of(&r->s, 'm', "max_words", 32);
    if (!qa_fill_words(r, q)) return 0;
    for (int i = 0; i < n; i++)
        words = q->split[split].item[index[i]].words > words ? q->split[split].item[index[i]].words : words;
    if (words > most) words = most;
    int64_t dim[2] = {n, words}, target[2] = {n, r->model->num_classes};
    fv_tensor *ids = fv_new(r->c, FV_I32, 2, dim), *mask = fv_new(r->c, FV_U8, 2, dim),
              *y = fv_new(r->c, FV_F32, 2, target), *label = fv_new(r->c, FV_I32, 1, dim);
    if (fv_error(r->c)) return 0;
    memset(y->data, 0, (size_t)fv_numel(y) * sizeof(float));
    for (int i = 0; i < n; i++) {
        const qa_item *one = &q->split[split].item[index[i]];
        for (int k = 0; k < words; k++) {
            ((int32_t *)ids->data)[i * words + k] =
                k < one->words && one->word[k] < (int)number_of(&r->s, 'm', "vocab_size", 1) ? one->word[k]
                                                                                             : 0;
            ((uint8_t *)mask->data)[i * words + k] = k < one->words;
        }
        ((int32_t *)label->data)[i] = one->answer;
        if (!one->credit && one->answer >= 0 && one->answer < target[1])
            ((float *)y->data)[i * target[1] + one->answer] = 1;
        for (int k = 0; k < one->credits; k++)
            ((float *)y->data)[i * target[1] + one->credit[k].answer] = one->credit[k].share;
    }
    b->input[0] = ids, b->input[1] = mask, b->inputs = 2, b->target[0] = y, b->target[1] = label,
    b->targets = 2, b->count = n;
    return 1;
}

int qa_text(run *r, qa_set *q, const char *text, batch *b) {
    int32_t word[QA_WORDS];
    int n = qa_words(r, q, text, word, 0), most = (int)number_of(&r->s, 'm', "max_words", 32),
        known = (int)number_of(&r->s, 'm', "vocab_size", 1);
    if (n == 0) return fv_fail(r->c, FV_EUSAGE, "the question is empty");
    if (n > most) n = most;
    int64_t dim[2] = {1, n};
    b->input[0] = n > 0 ? fv_new(r->c, FV_I32, 2, dim) : NULL,
    b->input[1] = n > 0 ? fv_new(r->c, FV_U8, 2, dim) : NULL;
    for (int i = 0; i < n && b->input[1]; i++)
        ((int32_t *)b->input[0]->data)[i] = word[i] < known ? word[i] : 0,
                  ((uint8_t *)b->input[1]->data)[i] = 1;
    b->inputs = 2, b->count = 1;
    return !fv_error(r->c);
}
int qa_print(run *r, const char *file, const fv_tensor *y, int one, int json) {
    if (!y) return 0;
    int n = (int)y->dim[1], top[5], found = 0;
    double sum = 0, highest = -INFINITY;
    for (int k = 0; k < n; k++) highest = fmax(highest, fv_get(y, k));
    if (!isfinite(highest))
        return fv_fail(r->c, FV_ENONFINITE, "%s: the network's output is not finite", file);
    for (int k = 0; k < n; k++) sum += exp(fv_get(y, k) - highest);
    for (; found < 5 && found < n; found++) {
        top[found] = -1;
        for (int k = 0; k < n; k++) {
            int taken = 0;
            for (int i = 0; i < found; i++) taken |= top[i] == k;
            if (!taken && (top[found] < 0 || fv_get(y, k) > fv_get(y, top[found]))) top[found] = k;
        }
    }
    fv_text t = {0};
    if (json) fv_text_add(r->c, &t, "{\"file\":"), fv_text_json_string(r->c, &t, file);
    else fv_text_add(r->c, &t, "%s", file);
    for (int i = json ? -1 : 0; i < (json ? found : 1); i++) { /* the best one, then the list */
        int k = top[i < 0 ? 0 : i];
        double p = one ? exp(fv_get(y, k) - highest) / sum : 1 / (1 + exp(-fv_get(y, k)));
        const char *name = k < r->classes ? r->class_names[k] : "?";
        if (json) {
            fv_text_add(r->c, &t,
                        i < 0 ? ",\"answer\":"
                        : i   ? ",{\"answer\":"
                              : ",\"top5\":[{\"answer\":"),
                fv_text_json_string(r->c, &t, name);
            fv_text_add(r->c, &t, ",\"probability\":%.6f%s", p, i < 0 ? "" : "}");
        } else fv_text_add(r->c, &t, "  %s  %.4f", name, p);
    }
    if (!fv_error(r->c)) printf("%s%s\n", t.data, run_list_end(json));
    fv_text_free(r->c, &t);
    return !fv_error(r->c);
}

/* METER sums the loss over the answers, where our op takes the mean */
fv_tensor *qa_loss(run *r, fv_tensor *y, const batch *b) {
    fv_tensor *loss = fv_bce_with_logits(r->c, y, b->target[0]);
    return loss ? fv_scale(r->c, loss, (float)y->dim[1]) : NULL;
}

/* What the highest of a row's scores earns; of equal ones that which earns least, and NaN earns nothing */
static double earned(const fv_tensor *y, int row, const qa_item *one) {
    int64_t K = y->dim[1];
    double highest = fv_get(y, row * K), least = 1;
    for (int64_t k = 0; k < K; k++) {
        double v = fv_get(y, row * K + k);
        if (!(v <= highest || v > highest)) return 0;
        if (v > highest) highest = v;
    }
    for (int64_t k = 0; k < K; k++) {
        double e = fv_get(y, row * K + k) < highest ? 1 : qa_earned(one, (int)k);
        if (e < least) least = e;
    }
    return least;
}

/* sums of all questions, and of those of each type */
typedef struct qa_sums {
    double right, near, loss, by_type[QA_TYPES], of_type[QA_TYPES];
    int done;
} qa_sums;
static void add_question(qa_sums *s, const fv_tensor *y, int row, const qa_item *one, double *right) {
    *right = earned(y, row, one);
    s->right += *right, s->done++;
    s->near += one->answer >= 0 && run_rank(y, row, one->answer) < 10; /* no such answer: never found */
    s->by_type[one->type] += *right, s->of_type[one->type]++;
    if (one->kind >= 0) s->by_type[one->kind] += *right, s->of_type[one->kind]++;
}
static void add_figures(const qa_set *q, const qa_sums *s, const char *first, const char *tenth, figures *f) {
    figure_add(f, first, 100 * s->right / s->done, "%");
    if (tenth) figure_add(f, tenth, 100 * s->near / s->done, "%");
    for (int t = 0; t < q->types; t++) {
        char name[80];
        snprintf(name, sizeof name, "%s_%s", first, q->type_name[t]);
        if (s->of_type[t] > 0) figure_add(f, name, 100 * s->by_type[t] / s->of_type[t], "%");
    }
    figure_add(f, "loss", s->loss / s->done, "");
}

int qa_measure(run *r, qa_set *q, int split, int from, int count, const char *first, const char *tenth,
               figures *f) {
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0);
    qa_sums s;
    memset(&s, 0, sizeof s);
    for (int at = from; at < from + count && !fv_error(r->c) && !is_interrupted(); at += 128) {
        int32_t index[128];
        int n = from + count - at < 128 ? from + count - at : 128;
        double right = 0;
        batch b;
        fv_reset(r->c);
        memset(&b, 0, sizeof b), b.with_loss = 1;
        for (int i = 0; i < n; i++) index[i] = at + i;
        fv_tensor *y = r->task->batch(r, split, index, n, -1, &b) ? run_forward(r, &b) : NULL,
                  *loss = y ? run_loss(r, y, &b) : NULL;
        if (!loss) break;
        s.loss += fv_get(loss, 0) * n;
        for (int i = 0; i < n; i++)
            add_question(&s, y, i, &q->split[split].item[index[i]], &right),
                run_score(r, split, index[i], 100 * right);
    }
    if (s.done && !fv_error(r->c)) add_figures(q, &s, first, tenth, f);
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return !fv_error(r->c);
}

static const char *asked(const qa_item *i) { return i->text + i->question; }
static int by_text(const void *a, const void *b) {
    return strcmp(asked(*(const qa_item *const *)a), asked(*(const qa_item *const *)b));
}

int qa_baselines(run *r, qa_set *q, figures *f) {
    int n = q->split[0].count, classes = r->classes > 0 ? r->classes : 1, top = 0;
    double right = 0;
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
        right += qa_earned(one, best);
    }
    fv_free(r->c, sorted), fv_free(r->c, votes);
    figure_add(f, "question_only", 100 * right / (q->split[1].count ? q->split[1].count : 1), "%");
    return !fv_error(r->c);
}
