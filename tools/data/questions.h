/* questions.h -- questions about pictures, with the answers that people gave. */
#ifndef FV_QUESTIONS_H
#define FV_QUESTIONS_H
#include "frozenvis.h"

/* Texts, each once, numbered as they come; found by hashing. Zero is empty. */
typedef struct name_table {
    char **text;
    int count, room, slots;
    int32_t *slot;
} name_table;
/* The number of a text, which joins the table when it is new; -1: no memory. */
int name_add(fv_ctx *c, name_table *t, const char *text);
void names_free(fv_ctx *c, name_table *t);

enum { ANSWERS_GIVEN = 10, ANSWER_BYTES = 64 };
typedef struct picture_question {
    char *text;
    int picture;                  /* number in the split's list */
    int32_t answer;               /* the one said most; numbers in `answers` */
    int32_t given[ANSWERS_GIVEN]; /* VQAv2: what each of ten people said */
    int givens;                   /* 10, or 0: only one answer is known (easy-vqa) */
    int32_t type, kind; /* numbers in `types`: of the answer (yes/no, number, other); of the question
                                     ("what is"), -1: none */
} picture_question;
typedef struct question_split {
    picture_question *item;
    int count, room, pictures;
    int64_t *picture;              /* [pictures]: their numbers in the files, ascending */
    char folder[4200], prefix[32]; /* a picture is FOLDER/PREFIX<number>ENDING */
    int digits;                    /* at least, with zeros in front */
    const char *ending;
} question_split;
typedef struct question_set {
    question_split split[2];
    name_table answers, types;
    int people; /* 1: with ten answers each */
} question_set;

/* questions_open -- both splits, train and test. What DIR holds decides:
 *   easy-vqa: train/ and test/ with questions.json, a list of [question, answer, picture's number], and
 *     images/NUMBER.png
 *   VQAv2: v2_OpenEnded_mscoco_SPLIT_questions.json and v2_mscoco_SPLIT_annotations.json for the SPLITs
 *     train2014 and val2014 (the test split), in DIR or in Questions/ and Annotations/; pictures
 *     COCO_SPLIT_<12 digits>.jpg in SPLIT/, images/SPLIT/ or Images/mscoco/SPLIT/. Answers are compared as
 *     answer_plain has them.
 * Every picture's file must be there. Returns 1, or 0 and c's error: FV_EIO, FV_EFORMAT. */
int questions_open(fv_ctx *c, const char *dir, question_set *s);
void questions_close(fv_ctx *c, question_set *s);
/* One split from its files alone, whose pictures are not looked for. */
int questions_easy(fv_ctx *c, const char *path, question_set *s, int split);
int questions_vqa2(fv_ctx *c, const char *questions, const char *annotations, question_set *s, int split);
/* The path of a picture */
void questions_picture(const question_split *s, int picture, char *path, size_t n);
/* An answer as VQAv2's evaluation compares it: lower case; without a, an, the; numbers up to ten as digits;
 * punctuation gone where a blank stands beside it (or in 1,000), else a blank; no full stop but before a
 * digit. Contractions stay as they are. At most ANSWER_BYTES - 1 bytes.
 *   source  Agrawal et al., VQA, arXiv:1505.00468; visualqa.org/evaluation.html */
void answer_plain(const char *text, char *plain);
#endif
