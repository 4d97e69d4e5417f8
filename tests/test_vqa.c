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

int main(void) {
    RUN(classes);
    RUN(accuracy);
    return REPORT();
}
