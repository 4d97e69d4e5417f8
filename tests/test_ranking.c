/* Ranks, areas under curves and nearest embeddings against the plain way: ties, one candidate, none.
 * link: tools/settings.c tools/profile.c tools/cli.c tools/draw.c tools/tasks/qa.c tools/data/captions.c
 * link: tools/data/emoji.c tools/data/folder.c tools/data/picture.c tools/data/npy.c
 */
#include "../tools/run.c"
#include "../tools/tasks/retrieval.c"
#include "test.h"

const task *const tasks[] = {&task_retrieval, NULL};
const task *task_named(const char *name) { return strcmp(name, "retrieval") ? NULL : &task_retrieval; }

/* coarse numbers, so that many are equal */
static float coarse(fv_rng *g) { return floorf(4 * fv_rng_uniform(g)) / 4; }

/* the share of pairs of a positive and a negative in which the positive scores more, ties half */
static void areas(void) {
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {1, 1, 0};
    for (int turn = 0; turn < 300; turn++) {
        run r;
        memset(&r, 0, sizeof r), r.c = c;
        enum { MOST = 40, K = 3 };
        int n = 1 + turn % MOST, counted = 0;
        float score[MOST * K];
        int32_t label[MOST];
        double sum = 0;
        for (int i = 0; i < n; i++) label[i] = (int32_t)(fv_rng_uniform(&g) * (turn % 7 ? K : 1));
        for (int i = 0; i < n * K; i++) score[i] = turn % 2 ? coarse(&g) : fv_rng_uniform(&g);
        for (int k = 0; k < K; k++) {
            double won = 0, pairs = 0;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++)
                    if (label[i] == k && label[j] != k)
                        pairs++, won += score[i * K + k] > score[j * K + k]   ? 1
                                        : score[i * K + k] < score[j * K + k] ? 0
                                                                              : 0.5;
            if (pairs > 0) sum += won / pairs, counted++;
        }
        double got = mean_area(&r, score, label, n, K);
        CHECK(counted ? fabs(got - sum / counted) < 1e-12 : isnan(got), "%d items: %g instead of %g", n, got,
              counted ? sum / counted : 0);
    }
    fv_destroy(c);
}

/* the place in the sorted row, the worst of equal ones */
static void ranks(void) {
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {2, 2, 0};
    for (int turn = 0; turn < 200; turn++) {
        int64_t dim[2] = {3, 1 + turn % 12};
        fv_reset(c);
        fv_tensor *y = fv_new(c, FV_F32, 2, dim);
        for (int64_t i = 0; i < fv_numel(y); i++) ((float *)y->data)[i] = coarse(&g);
        for (int row = 0; row < 3; row++)
            for (int label = 0; label < dim[1]; label++) {
                const float *v = (const float *)y->data + row * dim[1];
                int worse = 0;
                for (int k = 0; k < dim[1]; k++) worse += v[k] < v[label];
                CHECK(run_rank(y, row, label) == (int)dim[1] - 1 - worse, "rank %d of %d",
                      run_rank(y, row, label), (int)dim[1]);
            }
        CHECK(run_rank(y, 0, -1) == dim[1] && run_rank(y, 0, (int)dim[1]) == dim[1],
              "a class that is none is never found");
        for (int k = 0; k < dim[1]; k++) ((float *)y->data)[k] = NAN;
        CHECK(run_rank(y, 0, 0) == dim[1] - 1, "a network that says NaN is not right");
    }
    fv_destroy(c);
}

/* the first TOP of all, sorted; of equal ones the lower number first */
static void embeddings(void) {
    fv_rng g = {3, 3, 0};
    for (int turn = 0; turn < 300; turn++) {
        enum { MOST = 60, E = 5 };
        static float table[MOST * E];
        float q[E], s[MOST];
        found top[TOP];
        int n = 1 + turn % MOST, count;
        for (int i = 0; i < E; i++) q[i] = coarse(&g) - 0.5f;
        for (int i = 0; i < n * E; i++) table[i] = coarse(&g) - 0.5f;
        for (int i = 0; i < n; i++) {
            s[i] = 0;
            for (int e = 0; e < E; e++) s[i] += q[e] * table[i * E + e];
        }
        count = nearest(q, table, n, E, top);
        CHECK(count == (n < TOP ? n : TOP), "%d of %d", count, n);
        for (int m = 0; m < count; m++) {
            int before = 0;
            for (int i = 0; i < n; i++)
                before += s[i] > s[top[m].which] || (s[i] >= s[top[m].which] && i < top[m].which);
            CHECK(before == m, "place %d holds what is the %dth", m, before);
        }
    }
}

/* a picture's captions and those of others, some with the same text; by the plain count of what stands before
 * the first right one */
static void recalls(void) {
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {4, 4, 0};
    static char *const text[6] = {"a", "b", "c", "d", "e", "f"};
    for (int turn = 0; turn < 200; turn++) {
        enum { MOST = 20, E = 3 };
        run r;
        retrieval_data d;
        captioned picture[MOST];
        caption said[3 * MOST];
        float table[4 * MOST * E];
        double hits[2][3] = {{0}}, want[2][3] = {{0}};
        int n = 1 + turn % MOST, captions = 0;
        memset(&r, 0, sizeof r), memset(&d, 0, sizeof d), r.c = c, r.data = &d;
        for (int i = 0; i < n; i++) {
            picture[i].first = captions, picture[i].captions = 1 + (int)fv_rng_below(&g, 3);
            for (int k = 0; k < picture[i].captions; k++)
                said[captions].picture = i, said[captions++].text = text[fv_rng_below(&g, 6)];
        }
        d.set.split[1].picture = picture, d.set.split[1].pictures = n, d.set.split[1].caption = said,
        d.set.split[1].captions = captions;
        ranking k = {n, captions, E, table, table + n * E};
        for (int i = 0; i < (n + captions) * E; i++) table[i] = coarse(&g) - 0.5f;
        CHECK(count_hits(&r, &k, 1, 0, 0, 0, hits), "%s", fv_error_text(c));
        for (int way = 0; way < 2; way++)
            for (int i = 0; i < (way ? n : captions); i++) {
                const float *q = way ? k.image + i * E : k.text + i * E, *rows = way ? k.text : k.image;
                int others = way ? captions : n, place = others;
                for (int j = 0; j < others; j++) {
                    int right = 0, before = 0, of = way ? i : j;
                    float own = q[0] * rows[j * E] + q[1] * rows[j * E + 1] + q[2] * rows[j * E + 2];
                    for (int m = 0; m < picture[of].captions; m++)
                        right |= !strcmp(said[picture[of].first + m].text, said[way ? j : i].text);
                    for (int m = 0; m < others; m++) {
                        float s = q[0] * rows[m * E] + q[1] * rows[m * E + 1] + q[2] * rows[m * E + 2];
                        before += s > own || (s >= own && m < j);
                    }
                    if (right && before < place) place = before;
                }
                want[way][0] += place < 1, want[way][1] += place < 5 && place < others,
                    want[way][2] += place < 10 && place < others;
            }
        for (int i = 0; i < 6; i++)
            CHECK(fabs(hits[i / 3][i % 3] - want[i / 3][i % 3]) < 1e-9,
                  "%d pictures: %s %d: %g instead of %g", n, i / 3 ? "TR" : "IR", i % 3, hits[i / 3][i % 3],
                  want[i / 3][i % 3]);
    }
    fv_destroy(c);
}

/* cross-entropy of a row of scores against shares of its columns */
static double cross_entropy(const double *score, const double *share, int n) {
    double all = 0, sum = 0;
    for (int k = 0; k < n; k++) all += exp(score[k]);
    for (int k = 0; k < n; k++) sum += share[k] * (log(all) - score[k]);
    return sum;
}
static double dot(const fv_tensor *x, int a, int from, const fv_tensor *y, int b, int to, int n) {
    double sum = 0;
    for (int e = 0; e < n; e++)
        sum += fv_get(x, a * x->dim[1] + from + e) * fv_get(y, b * y->dim[1] + to + e);
    return sum;
}
/* the network's score of a pair, with --shuffle that of the picture half the split further on */
static double pair_score(run *r, int32_t text, int32_t picture) {
    fv_tensor *in[3], *y;
    int n = ((retrieval_data *)r->data)->set.split[1].pictures;
    picture = (picture + r->blind * n / 2) % n;
    fv_reset(r->c);
    y = inputs(r, 1, &text, 1, &picture, 1, -1, in) ? fv_model_forward_many(r->c, r->model, in, 3) : NULL;
    return y ? fv_get(y, 0) : NAN;
}
/* the first five anew, by both scores, both ways; --shuffle ranks by the pictures of others */
static void check_reranked(run *r, double temperature, float *own) {
    enum { FIRST = 5 };
    ranking k;
    found top[TOP], before[TOP];
    int n = ((retrieval_data *)r->data)->set.split[1].pictures;
    if (!embed(r, 1, 0, n, &k)) CHECK(0, "%s", fv_error_text(r->c));
    for (int way = 0; way < 2 && !fv_error(r->c); way++)
        for (int which = 0; which < (way ? k.pictures : k.captions); which += 3) {
            const float *q = way ? k.image + which * k.E : k.text + which * k.E;
            int count = nearest(q, way ? k.text : k.image, way ? k.captions : k.pictures, k.E, before);
            CHECK(search(r, &k, 1, 0, which, way, FIRST, top) == count, "%s", fv_error_text(r->c));
            for (int i = 0; i < count; i++) {
                int at = i < FIRST ? 0 : i;
                while (at < FIRST && i < FIRST && before[at].which != top[i].which) at++;
                if (i >= FIRST) CHECK(before[i].which == top[i].which, "what comes later stays");
                else if (at == FIRST) CHECK(0, "one of the first five is none of them");
                else {
                    double both = (double)before[at].score / temperature +
                                  pair_score(r, way ? top[i].which : which, way ? which : top[i].which);
                    CHECK(fabs((double)top[i].score - both) < 1e-4, "%g instead of %g", (double)top[i].score,
                          both);
                    CHECK(!i || top[i - 1].score >= top[i].score, "the better first");
                }
            }
        }
    for (int i = 0; i < n * k.E && !fv_error(r->c); i++) {
        int from = (i + r->blind * (n / 2) * k.E) % (n * k.E);
        if (!r->blind) own[i] = k.image[i];
        CHECK(fabsf(own[from] - k.image[i]) < 1e-5f, "shuffled: the embedding of another picture");
    }
    fv_free(r->c, k.image);
}
/* Of a batch: each picture's own caption, 15 that are not said of it, what else of the batch is; the loss of
 * these. Captions are told apart by their first word, some have the same text. */
static void batches(void) {
    enum { N = 10, MATCH = 4, S = 6, E = 5, PICTURES = 14 };
    static char *const text[6] = {"a", "b", "c", "d", "e", "f"};
    static const char config[] = "{\"arch\":\"retrieval\",\"dim\":12,\"num_heads\":2,\"vocab_size\":90,"
                                 "\"max_words\":6,\"img_size\":6,\"patch_size\":3,\"embed_dim\":5}";
    fv_desc one_thread;
    memset(&one_thread, 0, sizeof one_thread), one_thread.threads = 1; /* hundreds of small networks */
    fv_ctx *c = fv_create(&one_thread);
    fv_rng g = {5, 5, 0};
    run r;
    retrieval_data d;
    captioned picture[PICTURES];
    caption said[3 * PICTURES];
    static words word[3 * PICTURES];
    static uint8_t pixels[PICTURES * S * S * 3];
    caption_split *s = &d.set.split[1];
    batch b;
    int32_t index[N], own[N];
    double share_of[2] = {0, 0}, want = 0, guess = 0;
    float image[PICTURES * E];
    memset(&r, 0, sizeof r), memset(&d, 0, sizeof d), memset(&b, 0, sizeof b), memset(word, 0, sizeof word);
    r.c = c, r.data = &d, d.q.filled = 1, d.size = S, d.text[1] = word, d.pixels[1] = pixels;
    s->picture = picture, s->caption = said, s->pictures = PICTURES;
    for (int i = 0; i < PICTURES; i++) {
        picture[i].first = s->captions, picture[i].captions = 1 + (int)fv_rng_below(&g, 3);
        for (int k = 0; k < picture[i].captions; k++, s->captions++) {
            said[s->captions].picture = i, said[s->captions].text = text[fv_rng_below(&g, 6)];
            word[s->captions].count = 1 + s->captions % 4;
            for (int w = 0; w < 4; w++) word[s->captions].word[w] = 1 + s->captions;
        }
        for (int k = 0; k < S * S * 3; k++) pixels[i * S * S * 3 + k] = (uint8_t)(17 * i + k % 7);
    }
    put_number(&r.s, 'm', "max_words", 6), put_number(&r.s, 'm', "vocab_size", 90);
    put_number(&r.s, 't', "match", MATCH), put_number(&r.s, 't', "contrast", 0.5);
    put_number(&r.s, 't', "temperature", 0.2), put_number(&r.s, 'm', "embed_dim", E);
    for (int i = 0; i < N; i++) index[i] = (3 * i + 1) % PICTURES;
    CHECK(retrieval_batch(&r, 1, index, N, -1, &b), "%s", fv_error_text(c));
    for (int part = 0; part < 2; part++) {
        int64_t n = part ? MATCH * TEXTS : N, L = b.input[3 * part]->dim[1];
        CHECK(b.input[3 * part]->dim[0] == n && b.input[3 * part + 2]->dim[0] == (part ? MATCH : N), "sizes");
        for (int i = 0; i < n; i++) {
            int k = ((int32_t *)b.input[3 * part]->data)[i * L] - 1, of = index[part ? i / TEXTS : i];
            if (!part) own[i] = k;
            CHECK(part && i % TEXTS ? !is_said(s, of, said[k].text) : said[k].picture == of,
                  "text %d: caption %d, picture %d", i, k, of);
            CHECK(!part || i % TEXTS || k == own[i / TEXTS], "the same caption in both parts");
            for (int w = 0; w < L; w++)
                CHECK(((uint8_t *)b.input[3 * part + 1]->data)[i * L + w] == (w < word[k].count),
                      "text %d: word %d's mask", i, w);
        }
        for (int i = 0; i < (part ? MATCH : N); i++) {
            double first = pixels[index[i] * S * S * 3] / 127.5 - 1;
            CHECK(fabs(fv_get(b.input[3 * part + 2], i * 3 * S * S) - first) < 1e-5, "picture %d", i);
        }
    }
    for (int way = 0; way < 2; way++)
        for (int i = 0; i < N; i++) {
            int right[N], all = 0;
            for (int k = 0; k < N; k++)
                all += right[k] = is_said(s, index[way ? k : i], said[own[way ? i : k]].text);
            share_of[way] = fmax(share_of[way], all);
            for (int k = 0; k < N; k++)
                CHECK(fabs(fv_get(b.target[1 + way], i * N + k) - right[k] / (double)all) < 1e-6,
                      "target %d of %s %d", k, way ? "caption" : "picture", i);
        }
    CHECK(share_of[0] > 1 && share_of[1] > 1, "some captions are said of several pictures");
    for (int i = 0; i < s->captions; i++)
        for (int k = 0; k < PICTURES; k++) guess += is_said(s, k, said[i].text);
    CHECK(fabs(chance(s) - 100 * guess / s->captions / PICTURES) < 1e-9, "chance %g %%", chance(s));
    r.model = fv_model_create(c, config, strlen(config), NULL);
    fv_no_grad(c, 1);
    fv_tensor *y = r.model ? fv_model_forward_many(c, r.model, b.input, 3) : NULL,
              *z = y ? fv_model_forward_many(c, r.model, b.input + 3, 3) : NULL,
              *loss = z ? retrieval_loss(&r, y, &b) : NULL;
    CHECK(loss, "%s", fv_error_text(c));
    for (int i = 0; i < N && loss; i++) {
        double score[TEXTS], first[TEXTS] = {1}, near[2][N], target[2][N];
        for (int k = 0; k < TEXTS && i < MATCH; k++) {
            int at = i * TEXTS + k;
            score[k] = fv_get(z, at * z->dim[1]) + dot(z, at, 1, z, at, 1 + E, E) / 0.2;
        }
        if (i < MATCH) want += cross_entropy(score, first, TEXTS) / MATCH;
        for (int way = 0; way < 2; way++) {
            for (int k = 0; k < N; k++)
                near[way][k] = dot(y, i, way ? 1 + E : 1, y, k, way ? 1 : 1 + E, E) / 0.2,
                target[way][k] = fv_get(b.target[1 + way], i * N + k);
            want += 0.25 * cross_entropy(near[way], target[way], N) / N;
        }
    }
    CHECK(loss && fabs(fv_get(loss, 0) - want) < 1e-4, "loss %g instead of %g", loss ? fv_get(loss, 0) : NAN,
          want);
    for (r.blind = 0; r.blind < 2 && loss; r.blind++) check_reranked(&r, 0.2, image);
    fv_destroy(c);
}

static double figure_of(const figures *f, const char *name) {
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->at[i].name, name)) return f->at[i].value;
    return NAN;
}
/* what a test says of items with several views: the mean of their probabilities */
enum { ITEMS = 37, SEEN = 3, SIDE = 4, WAYS = 7 };
static float view_pixels[ITEMS * SEEN * SIDE * SIDE];
static int views_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    int64_t rows = (int64_t)n * SEEN, dim[4] = {rows, 1, SIDE, SIDE}, each = SEEN * SIDE * SIDE;
    fv_tensor *x = fv_new(r->c, FV_F32, 4, dim), *label = fv_new(r->c, FV_I32, 1, &rows);
    CHECK(split == SPLIT_TEST && epoch == -1, "as they are");
    for (int i = 0; i < n && label; i++) {
        memcpy((float *)x->data + i * each, view_pixels + index[i] * each, (size_t)each * sizeof(float));
        for (int v = 0; v < SEEN; v++) ((int32_t *)label->data)[i * SEEN + v] = index[i] % WAYS;
    }
    b->input[0] = x, b->inputs = 1, b->target[0] = label, b->targets = 1, b->count = n;
    return label != NULL;
}
static void views(void) {
    static const char config[] =
        "{\"arch\":\"vit\",\"img_size\":4,\"patch_size\":2,\"in_chans\":1,\"embed_dim\":8,"
        "\"depth\":1,\"num_heads\":2,\"num_classes\":7}";
    static const task seen = {.name = "seen", .batch = views_batch, .views = 1};
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {9, 9, 0};
    float score[ITEMS], p[ITEMS * WAYS];
    double want_loss = 0, right = 0, five = 0, areas = 0, loss = 0;
    int32_t index[ITEMS], label[ITEMS];
    run r;
    figures f;
    memset(&r, 0, sizeof r), memset(&f, 0, sizeof f);
    r.c = c, r.task = &seen, r.count[SPLIT_TEST] = ITEMS, r.score = score;
    r.model = fv_model_create(c, config, strlen(config), NULL);
    for (int i = 0; i < ITEMS * SEEN * SIDE * SIDE; i++) view_pixels[i] = 4 * fv_rng_uniform(&g) - 2;
    for (int i = 0; i < ITEMS; i++) index[i] = i;
    CHECK(r.model && run_probabilities(&r, SPLIT_TEST, index, ITEMS, p, label, &loss) == SEEN, "%s",
          fv_error_text(c));
    for (int i = 0; i < ITEMS && r.model; i++) {
        double want[WAYS] = {0};
        int best = 0;
        for (int v = 0; v < SEEN; v++) {
            int64_t dim[4] = {1, 1, SIDE, SIDE};
            double e[WAYS], sum = 0;
            fv_reset(c), fv_no_grad(c, 1);
            fv_tensor *y = fv_model_forward(
                c, r.model, fv_input(c, FV_F32, 4, dim, view_pixels + (i * SEEN + v) * SIDE * SIDE, 0));
            for (int k = 0; k < WAYS; k++) sum += e[k] = exp(fv_get(y, k));
            for (int k = 0; k < WAYS; k++) want[k] += e[k] / sum / SEEN;
        }
        for (int k = 0; k < WAYS; k++) {
            CHECK(fabs((double)p[i * WAYS + k] - want[k]) < 1e-5, "item %d: %g instead of %g", i,
                  (double)p[i * WAYS + k], want[k]);
            if (want[k] > want[best]) best = k;
        }
        CHECK(label[i] == i % WAYS, "item %d has label %d", i, label[i]);
        int better = 0;
        for (int k = 0; k < WAYS; k++) better += want[k] > want[i % WAYS];
        five += better < 5;
        right += best == i % WAYS, want_loss -= log(want[i % WAYS]) / ITEMS;
    }
    CHECK(fabs(loss - want_loss) < 1e-5, "loss %g instead of %g", loss, want_loss);
    CHECK(run_classes(&r, SPLIT_TEST, 0, ITEMS, &f), "%s", fv_error_text(c));
    for (int k = 0; k < WAYS; k++) { /* pairs of an item of class k and another, by what is said of k */
        double won = 0, pairs = 0;
        for (int i = 0; i < ITEMS * ITEMS; i++) {
            int a = i / ITEMS, b = i % ITEMS;
            if (a % WAYS != k || b % WAYS == k) continue;
            pairs++, won += p[a * WAYS + k] > p[b * WAYS + k]   ? 1
                            : p[a * WAYS + k] < p[b * WAYS + k] ? 0
                                                                : 0.5;
        }
        areas += won / pairs / WAYS;
    }
    CHECK(fabs(figure_of(&f, "top5") - 100 * five / ITEMS) < 1e-9 && five < ITEMS, "top5 %g",
          figure_of(&f, "top5"));
    CHECK(fabs(figure_of(&f, "auc") - 100 * areas) < 1e-4, "auc %g instead of %g", figure_of(&f, "auc"),
          100 * areas);
    CHECK(fabs(figure_of(&f, "top1") - 100 * right / ITEMS) < 1e-9, "top1 %g", figure_of(&f, "top1"));
    CHECK(fabs(figure_of(&f, "loss") - want_loss) < 1e-5, "loss %g", figure_of(&f, "loss"));
    view_pixels[(5 * SEEN + 2) * SIDE * SIDE] = NAN;
    CHECK(!run_classes(&r, SPLIT_TEST, 0, ITEMS, &f) && fv_error(c) == FV_ENONFINITE, "NaN in one view");
    fv_destroy(c);
}

int main(void) {
    RUN(areas);
    RUN(ranks);
    RUN(embeddings);
    RUN(recalls);
    RUN(batches);
    RUN(views);
    return REPORT();
}
