/* VQAv2's classes, credits and accuracy against the plain way: ties, NaN, answers that are no class, types.
 * link: tools/settings.c tools/profile.c tools/cli.c tools/draw.c tools/data/questions.c tools/data/picture.c
 * link: tools/data/npy.c
 */
#include "../tools/run.c"
#include "../tools/tasks/qa.c"
#include "../tools/tasks/vqa.c"
#include "test.h"

const task *const tasks[] = {&task_vqa, NULL};
const task *task_named(const char *name) { return strcmp(name, "vqa") ? NULL : &task_vqa; }

/* n questions with ten answers each out of `words`, the first ones more often */
static void make_questions(fv_ctx *c, question_set *s, fv_rng *g, int n, int words) {
    question_split *q = &s->split[0];
    memset(s, 0, sizeof *s);
    for (int i = 0; i < words; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i), name_add(c, &s->answers, name);
    }
    q->item = (picture_question *)fv_alloc(c, (size_t)n * sizeof *q->item), q->count = q->room = n;
    for (int i = 0; i < n; i++) {
        float u = fv_rng_uniform(g);
        q->item[i].answer = (int32_t)(u * u * (float)words), q->item[i].givens = ANSWERS_GIVEN;
        for (int k = 0; k < ANSWERS_GIVEN; k++)
            u = fv_rng_uniform(g), q->item[i].given[k] = (int32_t)(u * u * (float)words);
    }
}
static int said_mostly(const question_set *s, int answer) {
    int n = 0;
    for (int i = 0; i < s->split[0].count; i++) n += s->split[0].item[i].answer == answer;
    return n;
}

static void classes(void) {
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {1, 2, 0};
    for (int turn = 0; turn < 60; turn++) {
        run r;
        question_set s;
        int words = 1 + turn % 30, most = 1 + turn % 7, there = 0;
        memset(&r, 0, sizeof r), r.c = c;
        put_number(&r.s, 't', "most_answers", most);
        make_questions(c, &s, &g, 1 + turn, words);
        for (int i = 0; i < words; i++) there += said_mostly(&s, i) > 0;
        CHECK(choose_classes(&r, &s) && r.classes == (there < most ? there : most),
              "%d classes of %d, at most %d", r.classes, there, most);
        int32_t *number = class_numbers(&r, &s);
        for (int i = 0; i < words && number; i++) /* nobody outside was said more often than anybody inside */
            for (int k = 0; k < words; k++)
                CHECK(number[i] < 0 || number[k] >= 0 || said_mostly(&s, i) >= said_mostly(&s, k),
                      "w%d is a class and w%d is not", i, k);
        for (int i = 0; i < words && number; i++)
            CHECK(number[i] < 0 || !strcmp(r.class_names[number[i]], s.answers.text[i]),
                  "a class has its answer's name");
        fv_free(c, number), fv_free(c, r.class_names), questions_close(c, &s);
    }
    fv_destroy(c);
}

/* accuracy: the answer's number among the ten, by its text, in thirds */
static double plainly(const question_set *s, const picture_question *a, const char *answer) {
    int n = 0;
    for (int i = 0; i < a->givens; i++) n += !strcmp(s->answers.text[a->given[i]], answer);
    return n / 3.0 < 1 ? n / 3.0 : 1;
}
static void accuracy(void) {
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {3, 4, 0};
    for (int turn = 0; turn < 60; turn++) {
        run r;
        question_set s;
        int n = 20, kinds[2] = {0, 0};
        double sum = 0, of[2] = {0, 0};
        qa_sums got;
        memset(&r, 0, sizeof r), memset(&got, 0, sizeof got), r.c = c;
        put_number(&r.s, 't', "most_answers", 9);
        make_questions(c, &s, &g, n, 3 + turn % 12);
        choose_classes(&r, &s);
        int32_t *number = class_numbers(&r, &s);
        int64_t dim[2] = {n, r.classes};
        fv_reset(c);
        fv_tensor *y = fv_new(c, FV_F32, 2, dim);
        for (int64_t i = 0; i < fv_numel(y); i++)
            ((float *)y->data)[i] =
                turn % 2 ? floorf(3 * fv_rng_uniform(&g)) : fv_rng_uniform(&g); /* many equal ones */
        for (int i = 0; i < n; i++) {
            const picture_question *a = &s.split[0].item[i];
            const float *row = (const float *)y->data + i * dim[1];
            qa_item one;
            double least = 1, right;
            memset(&one, 0, sizeof one), one.answer = number[a->answer], one.type = i % 2, one.kind = 2;
            CHECK(give_credit(&r, a, number, &one), "%s", fv_error_text(c));
            for (int k = 0; k < r.classes; k++) {
                int highest = 1;
                double e = plainly(&s, a, r.class_names[k]);
                for (int j = 0; j < r.classes; j++) highest &= row[j] <= row[k];
                if (highest && e < least) least = e;
                CHECK(fabs(qa_earned(&one, k) - e) < 1e-6, "%s earns %g, plainly %g", r.class_names[k],
                      qa_earned(&one, k), e);
            }
            add_question(&got, y, i, &one, &right);
            CHECK(fabs(right - least) < 1e-6, "question %d: %g, plainly %g", i, right, least);
            sum += least, of[i % 2] += least, kinds[i % 2]++;
            if (i == 0) { /* NaN is no answer */
                ((float *)y->data)[r.classes - 1] = NAN;
                CHECK(earned(y, 0, &one) <= 0, "NaN earns nothing");
            }
            fv_free(c, one.credit);
        }
        CHECK(fabs(got.right - sum) < 1e-4 && got.done == n && fabs(got.by_type[1] - of[1]) < 1e-4 &&
                  got.of_type[0] >= kinds[0] && fabs(got.by_type[2] - sum) < 1e-4,
              "sums by type");
        fv_free(c, number), fv_free(c, r.class_names), questions_close(c, &s);
    }
    fv_destroy(c);
}

/* a batch's words, mask and targets; its loss; EM@10 and figures by type: all counted plainly */
static void batches_and_figures(void) {
    enum { N = 30, K = 14, MOST = 6, VOCABULARY = 9 };
    static qa_item item[N];
    qa_credit credit[2] = {{3, 1}, {5, 1 / 3.0f}};
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {5, 5, 0};
    fv_model m;
    run r;
    qa_set q;
    batch b;
    qa_sums got;
    figures f;
    int32_t index[N];
    double loss = 0, near = 0, right[4] = {0}, of[4] = {0};
    memset(&m, 0, sizeof m), memset(&r, 0, sizeof r), memset(&q, 0, sizeof q), memset(&b, 0, sizeof b);
    memset(&got, 0, sizeof got), memset(&f, 0, sizeof f), memset(item, 0, sizeof item);
    r.c = c, r.model = &m, m.num_classes = K, q.filled = 1, q.split[1].item = item, q.split[1].count = N;
    put_number(&r.s, 'm', "max_words", MOST), put_number(&r.s, 'm', "vocab_size", VOCABULARY);
    for (int i = 0; i < 3; i++) qa_type(&q, i == 0 ? "a" : i == 1 ? "b" : "c");
    for (int i = 0; i < N; i++) {
        item[i].answer = i % 5 ? (int)fv_rng_below(&g, K) : -1, item[i].words = 1 + i % 8;
        item[i].type = i % 7 ? 0 : 1, item[i].kind = i % 3 ? 2 : -1, index[i] = N - 1 - i;
        for (int k = 0; k < item[i].words; k++) item[i].word[k] = (int)fv_rng_below(&g, VOCABULARY + 3);
        if (i % 4 == 1) item[i].credit = credit, item[i].credits = 2;
    }
    CHECK(qa_batch(&r, &q, 1, index, N, &b) && b.input[0]->dim[1] == MOST, "%s", fv_error_text(c));
    int64_t dim[2] = {N, K};
    fv_tensor *y = fv_new(c, FV_F32, 2, dim);
    for (int i = 0; i < N; i++) {
        const qa_item *one = &item[N - 1 - i];
        float *row = (float *)y->data + i * K;
        double earns;
        int others = 0;
        for (int k = 0; k < MOST; k++)
            CHECK(((uint8_t *)b.input[1]->data)[i * MOST + k] == (k < one->words) &&
                      ((int32_t *)b.input[0]->data)[i * MOST + k] ==
                          (k < one->words && one->word[k] < VOCABULARY ? one->word[k] : 0),
                  "question %d, word %d", i, k);
        for (int k = 0; k < K; k++) {
            double want = qa_earned(one, k);
            row[k] = floorf(12 * fv_rng_uniform(&g)) / 4 - (k == one->answer && i % 2 ? -5 : 1);
            CHECK(fabs(fv_get(b.target[0], i * K + k) - want) < 1e-6, "question %d: target %d", i, k);
            loss += (log(1 + exp((double)row[k])) - want * (double)row[k]) / N;
        }
        for (int k = 0; k < K && one->answer >= 0; k++)
            others += k != one->answer && row[k] >= row[one->answer];
        add_question(&got, y, i, one, &earns);
        near += one->answer >= 0 && others < 10;
        for (int k = 0; k < 3; k++)
            if (one->type == k || one->kind == k) right[k] += earns, of[k]++;
        right[3] += earns, of[3]++;
    }
    fv_tensor *said = qa_loss(&r, y, &b);
    CHECK(said && fabs(fv_get(said, 0) - loss) < 1e-4, "loss %g instead of %g", fv_get(said, 0), loss);
    add_figures(&q, &got, "EM@1", "EM@10", &f);
    for (int i = 0; i < 5; i++) {
        double want = i == 1 ? near / N : i ? right[i - 2] / of[i - 2] : right[3] / N;
        CHECK(fabs(f.at[i].value - 100 * want) < 1e-9, "%s: %g, plainly %g", f.at[i].name, f.at[i].value,
              100 * want);
    }
    CHECK(!strcmp(f.at[1].name, "EM@10") && !strcmp(f.at[4].name, "EM@1_c") && near < N - 6 && right[1] > 0,
          "the figures' names");
    fv_destroy(c);
}

/* the answer said most to the same question, whatever the situation; the most frequent of all to others */
static void question_alone(void) {
    static const struct {
        const char *text;
        int answer;
    } train[] = {{"p", 1}, {"p", 2}, {"p", 2}, {"q", 0}, {"r", 3}, {"r", 3}, {"r", 3}, {"r", 3}},
      test[] = {{"p", 2}, {"p", 2}, {"p", 1}, {"q", 0}, {"z", 3}, {"z", 3}, {"z", 0}};
    static qa_item item[2][8];
    static char text[2][8][16];
    fv_ctx *c = fv_create(NULL);
    run r;
    qa_set q;
    figures f;
    memset(&r, 0, sizeof r), memset(&q, 0, sizeof q), memset(&f, 0, sizeof f), memset(item, 0, sizeof item);
    r.c = c, r.classes = 4;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 8 - s; i++) {
            snprintf(text[s][i], 16, "%s %s", s ? "I sit." : "I stand.", s ? test[i].text : train[i].text);
            item[s][i].text = text[s][i], item[s][i].question = s ? 7 : 9;
            item[s][i].answer = s ? test[i].answer : train[i].answer;
        }
    q.split[0].item = item[0], q.split[0].count = 8, q.split[1].item = item[1], q.split[1].count = 7;
    CHECK(qa_baselines(&r, &q, &f) && fabs(f.at[0].value - 500 / 7.0) < 1e-9, "%g %%", f.at[0].value);
    fv_destroy(c);
}

int main(void) {
    RUN(classes);
    RUN(accuracy);
    RUN(batches_and_figures);
    RUN(question_alone);
    return REPORT();
}
