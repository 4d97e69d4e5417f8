/* report.h -- fv compare's plan and its outcome: arms, runs, paired differences, plots, one page.
 * cmd_compare.c makes the plan, compare_runs.c carries it out, report.c reads and computes, plots.c draws,
 * page.c writes the page. */
#ifndef FV_REPORT_H
#define FV_REPORT_H
#include "frozenvis.h"

enum { MAX_ARMS = 160, MAX_SEEDS = 32, MAX_CURVE = 200, MAX_SETS = 4, MAX_TRIALS = 9, MAX_KINDS = 8 };

/* What one run came to. Its folder is OUT/ARM-SEED. */
typedef struct outcome {
    double headline, loss, speed, mb, trained, frozen;
    float curve[MAX_CURVE]; /* training loss, means over equal parts */
    int points, steps;
    float *score; /* [items] what each test item adds to the headline; NULL: the task notes none */
    int64_t items;
    double error[MAX_KINDS]; /* under each corruption, mean over severities, percent; see corrupt.h */
    int corrupted;           /* 1: error is there */
} outcome;

/* One thing that is compared: a variant, or a variant at a value of the sweep. */
typedef struct arm {
    char name[64], variant[32], layers[256], set[MAX_SETS][128]; /* set: "key=value", as --set takes them */
    char value[32];                                              /* of the sweep, as typed; "" without one */
    int sets, ref;                      /* ref: the arm it is compared with; its own number: with none */
    double lr_scale, trial[MAX_TRIALS]; /* tuning: what was chosen (0: nothing), what each trial came to */
    double seconds;                     /* of its finished runs and trials, all together */
    int timed;                          /* how many those are */
    outcome *run[MAX_SEEDS];
    double mean, sd;        /* of the headline figure over seeds */
    double diff, low, high; /* to ref, paired; low and high NAN: no interval can be given */
    double t_low, t_high;   /* Student's interval of the seeds' differences; NAN of one seed */
    double mce, mce_sd;     /* mean corruption error against ref, in percent; NAN without one */
} arm;

typedef struct report {
    char task[32], headline[32], sweep[64]; /* sweep: its key; "" without one */
    const char *out, *command;              /* command: how it was called, for the page */
    int arms, seeds, blocks, depth, trials, corrupt;
    arm arm[MAX_ARMS];
} report;

/* compare_runs.c: every run that is not there yet, and then whether they can be compared at all. The
 * status to exit with; 0. */
int compare_run_all(report *p, char **pass, int rest, int quiet);
/* compare_wants_llm -- whether a run or trial that is not there yet is of another variant than base. */
int compare_wants_llm(const report *p);
/* compare_has_block -- whether a block stands in the stage, of the language model's weights or others. */
int compare_has_block(const char *variant);
/* What fv train gets for a run of arm i, beside the plan's own words: written to words, a NULL at the end;
 * their number. `more`: for trials, NULL at its end, or NULL. They last until the next call. */
int compare_arm_words(const report *p, int i, int seed, const char *dir, const char *const *more,
                      char **words);
/* A process of this program; its stdout goes into the file `into` (NULL: stderr). Its exit status. */
int compare_run_self(char **args, const char *into);
int compare_exists(const char *dir, const char *file);

/* report.c: reads every run's result.json, log.jsonl, scores.npy, corrupt.json; computes; prints the table
 * (or JSON lines); writes results.jsonl, table.md, effect.svg, arms.svg, curves.svg, report.html. */
void report_write(fv_ctx *c, report *p, int json);
/* report_trial_scale -- what trial k multiplies the learning rate by; of three: 1/3, 1, 3. */
double report_trial_scale(const report *p, int k);
/* 1 for a sweep of data or training, whose variants are compared at each of its values */
int report_paired(const report *p);
/* 1 when less of this figure is better: losses, distances */
int report_less_is_better(const char *headline);
/* the arm whose predictions the page shows: the first of the variant llm, else the last */
int report_pictured(const report *p);
/* Of an arm's runs: items a second in training and loss on the test split, means over seeds (loss NAN: the task
 * has none); the greatest peak of memory, in MB. */
typedef struct cost {
    double speed, loss, mb;
} cost;
cost report_cost(const report *p, const arm *a);
/* -1 worse than its reference, 1 better, 0 no difference shown (or no interval): both intervals leave out 0.
 * The bootstrap's alone is too narrow of few seeds, the seeds' alone knows nothing of the test items that
 * they share. */
int report_verdict(const report *p, const arm *a);
/* bootstrap -- the mean of a[s][i] - b[s][i] over seeds and items, and its 95 % interval: seeds and items
 * are drawn with replacement, `draws` times; 2.5 and 97.5 percentiles. */
void bootstrap(fv_ctx *c, float *const *a, float *const *b, int seeds, int64_t items, int draws, double *mean,
               double *low, double *high);

/* student -- the 95 % interval of the mean of n independent numbers, by Student's t; NAN of one. */
void student(const double *x, int n, double *low, double *high);

/* plots.c: SVG texts */
void plot_effect(fv_ctx *c, const report *p, fv_text *t); /* the difference of every arm, with its interval */
void plot_arms(fv_ctx *c, const report *p, fv_text *t); /* the headline figure of every arm, with each seed */
void plot_curves(fv_ctx *c, const report *p, fv_text *t); /* training loss */
/* page.c */
void page_write(fv_ctx *c, const report *p, const fv_text *effect, const fv_text *arms, const fv_text *curves,
                fv_text *t);
void table_markdown(fv_ctx *c, const report *p, fv_text *t);
#endif
