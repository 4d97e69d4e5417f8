/* qa.h -- what the tasks that answer questions share: texts as tokens of a compact vocabulary, answers as
 * classes, measures by type. */
#ifndef FV_QA_H
#define FV_QA_H
#include "task.h"

enum { QA_WORDS = 48, QA_TYPES = 96 };
typedef struct qa_credit {
    int32_t answer;
    float share;
} qa_credit; /* a class, and what saying it earns: up to 1 */
typedef struct qa_item {
    int32_t scene;  /* a picture's or room's number */
    int32_t answer; /* its class, -1: it is none */
    int32_t words, word[QA_WORDS];
    int32_t type, kind; /* numbers in type_name: of the answer; of the question, -1: none */
    int32_t question;   /* text + question: without the situation */
    char *text;
    qa_credit *credit; /* where several answers are right; NULL: `answer` alone is */
    int credits;
} qa_item;
typedef struct qa_split {
    qa_item *item;
    int count, room;
} qa_split;
typedef struct qa_set {
    qa_split split[2];
    fv_tokenizer *tokenizer;
    int32_t *dense; /* [tokens of the tokenizer]: number in the vocabulary, or 0 */
    int vocabulary_room, class_room, types, most_words, filled;
    char type_name[QA_TYPES][32];
} qa_set;

/* Opens the tokenizer of r->llm_path. 1 or 0. */
int qa_open(run *r, qa_set *q);
void qa_close(run *r, qa_set *q);
/* Text -> numbers of the run's vocabulary, at most QA_WORDS; new tokens join it when `learn`. How many,
 * or -1. */
int qa_words(run *r, qa_set *q, const char *text, int32_t *word, int learn);
/* A question; of the training split new answers and tokens are learnt. An answer that is no class is -1:
 * counted as wrong. NULL or the item. */
qa_item *qa_add(run *r, qa_set *q, int split, int scene, const char *text, const char *answer,
                const char *type);
/* The same, its answer's class being known, and its type's number in type_name. */
qa_item *qa_add_class(run *r, qa_set *q, int split, int scene, const char *text, int answer, int type);
int qa_type(qa_set *q, const char *name);
/* What saying class `answer` earns: 0 to 1 */
double qa_earned(const qa_item *i, int answer);
/* vocab_size, max_words and, with the training key words=llm, word_dim into the settings */
void qa_put_words(run *r, const qa_set *q);
/* With words=llm: the network's table of words becomes the language model's embeddings of the vocabulary
 * (scaled to a mean square of 1), once. 1 or 0. */
int qa_fill_words(run *r, qa_set *q);
/* the same and num_classes */
void qa_put_settings(run *r, const qa_set *q);
/* ids, mask and targets of a batch: input[0], input[1]; target[0] f32 [n,K], target[1] i32 [n] */
int qa_batch(run *r, qa_set *q, int split, const int32_t *index, int n, batch *b);
fv_tensor *qa_loss(run *r, fv_tensor *y, const batch *b);
/* `first` (EM@1, accuracy), what the best answer earns; `tenth` (EM@10, NULL: not wanted); `first` by types;
 * loss */
int qa_measure(run *r, qa_set *q, int split, int from, int count, const char *first, const char *tenth,
               figures *f);
/* For fv predict: input[0], input[1] of one text; and the answer printed, or the five best as JSON. y [1,K];
 * one: a softmax over the answers, else a sigmoid of each. 1 or 0. */
int qa_text(run *r, qa_set *q, const char *text, batch *b);
int qa_print(run *r, const char *file, const fv_tensor *y, int one, int json);
/* question_only: the commonest training answer to the same question, else the commonest of all; the situation
 * does not count */
int qa_baselines(run *r, qa_set *q, figures *f);
#endif
