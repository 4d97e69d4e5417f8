/* task.h -- what a task is to the program: where its data come from, what a batch is, what is lost and
 * measured, what a prediction is.
 *
 * Adding a task: write one file in this folder with a line `const task task_NAME = {` (the build finds it);
 * then train, eval, predict and compare know it, and `make demo-NAME` where it has a demo and draw. A new
 * network is a section of frozenvis.h and a line of its table of encoders. Every hook but open, batch and
 * close may be NULL and then does what classification wants. A hook that fails sets the context's error
 * (fv_fail) and returns 0 or NULL; nothing prints or exits. */
#ifndef FV_TASK_H
#define FV_TASK_H
#include "frozenvis.h"
#include "../data/names.h"
#include "settings.h"

enum { SPLIT_TRAIN, SPLIT_TEST, BATCH_PARTS = 12 };

typedef struct figure {
    char name[48];
    double value;
    const char *unit; /* "%", "m", "#" (a count) or "" */
} figure;
typedef struct figures {
    figure at[112]; /* the first one is the task's headline */
    int count;
} figures;
void figure_add(figures *f, const char *name, double value, const char *unit);

/* The tensors of a batch: input goes to fv_model_forward_many (or fv_model_forward) as it is, target to the
 * loss. All are made with fv_new, so they go with the step's memory. */
typedef struct batch {
    fv_tensor *input[BATCH_PARTS], *target[BATCH_PARTS];
    int inputs, targets, count; /* count: items */
    int with_loss;              /* set by the caller: 0 when no target is needed */
} batch;

typedef struct run run;
typedef struct task {
    const char *name;  /* "image" */
    const char *about; /* one line for --help */
    const char *items; /* "pictures" */
    /* rows {name, "key=value ..."}, the first the default; ends with {NULL, NULL} */
    const char *(*presets)[2];
    const char *const *keys; /* training keys of its own; NULL at the end */
    /* 1: it reads text, and wants the language model's tokenizer for every variant */
    int words;
    /* things of tools/fetch.sh that the demo wants, "a b"; NULL: none. "?a": only where it is in the cache
     * already */
    const char *fetch;

    /* --data demo: fills the new folder DIR with files that open reads; `fetched` are the folders of `fetch`,
     * in its order, "" for one that is not in the cache. NULL: the first of these is the data. 1 or 0. */
    int (*demo)(run *r, const char *dir, char fetched[][4096]);
    int demo_version; /* one more whenever what demo writes changes: it is then made again, elsewhere */
    /* Reads the data: r->data, r->count[2], r->class_names; puts what the data decide (num_classes, ...) into
     * r->s, or refuses with FV_EUSAGE what does not fit the settings. When the run is reopened, r->s holds
     * the run's own. 1 or 0. */
    int (*open)(run *r, const char *dir);
    void (*close)(run *r);
    /* Items `index[0..n)` of a split; epoch < 0: as they are, else augmented as (seed, epoch, item) say. 1 or
     * 0. */
    int (*batch)(run *r, int split, const int32_t *index, int n, int epoch, batch *b);
    /* A mini-batch's loss, of what the network says. NULL: cross-entropy with label_smoothing against
     * target[0], i32 [B]. */
    fv_tensor *(*loss)(run *r, fv_tensor *y, const batch *b);
    /* The measures of items from..from+count of a split. NULL: run_classes. 1 or 0. */
    int (*measure)(run *r, int split, int from, int count, figures *f);
    /* What does not come from the network (trivial answers, blind baselines), for the table after training
     * and what eval says of a test or val split. NULL: nothing. */
    int (*baselines)(run *r, figures *f);
    /* fv predict RUN FILE: prints one line, or one JSON object with a list at its end (json 1; 2: the last
     * one; see run_list_end). NULL: only test items are predicted. 1 or 0. */
    int (*predict)(run *r, const char *file, int json);
    /* A picture of what is predicted for n test items, as PNG. 1 or 0. */
    int (*draw)(run *r, const int32_t *index, int n, const char *png);
    /* 1: where epoch < 0, batch gives several views of each item, one after the other, in rows of their own;
     * run_classes takes the mean of what is said of them */
    int views;
    /* 1: where r->on_val is set, open reads the split val, of data that have one, as SPLIT_TEST */
    int val;
} task;

/* A run in memory: made by fv train, eval and predict, and lent to the task's hooks. */
struct run {
    fv_ctx *c;
    const task *task;
    settings s;
    fv_weights *llm;
    char llm_path[4096]; /* "": none */
    fv_model *model;
    int bf16;
    void *data;                      /* the task's own */
    int count[2];                    /* items of SPLIT_TRAIN and SPLIT_TEST */
    int on_val;                      /* SPLIT_TEST is the data's val split: fv eval --split val */
    int test_only;                   /* open need not read what only training items have */
    char (*class_names)[CLASS_NAME]; /* [classes], or NULL; freed with the run */
    int classes;
    /* [words]: the tokens that the training texts have; number i of the network is token vocabulary[i-1], 0
     * any other */
    int32_t *vocabulary;
    int words;
    /* [count[1]] while the test items are measured at a run's end: what each adds to the headline figure;
     * NULL otherwise */
    float *score;
    /* test pictures are measured corrupted so (see corrupt.h); level 0: as they are */
    int corrupt_kind, corrupt_level;
    /* fv predict --question TEXT --situation TEXT --at X,Y,DEGREES, or NULL */
    const char *question, *situation, *place;
    int blind;      /* measure with the inputs of other items (see fv eval --shuffle) */
    int32_t *order; /* of the training items in this epoch */
    int order_count;
    char data_path[4096];
    /* --gpus: which of so many processes this is; each takes its part of every batch. 0, 1: alone */
    int rank, ranks;
    int stop;                          /* one of them was interrupted */
    int limit_unsaid;                  /* the key limit is the default preset's, and the data the user's */
    int profile;                       /* print where the time of the steps went */
    double step_seconds, data_seconds; /* of all steps; of these, spent on making batches */
};

extern const task *const tasks[]; /* NULL at the end */
const task *task_named(const char *name);

/* For the hooks: forward of b's inputs, loss of its targets */
fv_tensor *run_forward(run *r, const batch *b);
fv_tensor *run_loss(run *r, fv_tensor *y, const batch *b);
/* top1, top5 (100 % where there are no six classes), auc (one class against the rest, mean of the classes
 * that are there), loss; of several views of an item, of the mean of their probabilities. FV_ENONFINITE
 * where the network says NaN. */
int run_classes(run *r, int split, int from, int count, figures *f);
/* mean [K] of `views` rows of p [R,K], the first being `row`. Whether it is finite. */
int run_mean(const fv_tensor *p, int64_t row, int64_t views, float *mean);
/* p [n*K]: the probabilities that the network gives n items, mean over their views; label [n] and the mean
 * loss too, where not NULL. How many views an item has, or 0. */
int run_probabilities(run *r, int split, const int32_t *index, int n, float *p, int32_t *label, double *loss);
/* How many other classes score at least as much as `label` in a row of y [B,K]: 0 is a right answer, ties and
 * NaN count against it; K when there is no such class. */
int run_rank(const fv_tensor *y, int row, int label);
/* What ends a prediction's JSON, the last one's too; "" where json is 0 */
const char *run_list_end(int json);
/* The rng of an item in an epoch, from the run's seed; in a test (epoch < 0) the same for every seed, so that
 * runs of several can be compared */
fv_rng run_rng(const run *r, int epoch, int32_t item);
/* The item whose input is measured for `item`: itself, or with r->blind another one of the split */
int32_t run_other(const run *r, int split, int32_t item);
/* Opens the data of a reopened run, for a prediction that wants them. 1 or 0. */
int run_open_data(run *r);
/* The network gets as many classes as the data has; a config that says another number is refused. */
int run_put_classes(run *r, int classes);
/* The class of that name; -1: there is none. */
int run_class_named(const run *r, const char *name);
/* Notes what a test item adds to the mean that is the headline figure (100 for a right answer, metres, ...),
 * where that is asked for. */
void run_score(run *r, int split, int item, double score);
int is_interrupted(void);
#endif
