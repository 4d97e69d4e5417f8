/* report.h -- the outcome of fv compare: figures of all runs, paired differences, plots, one page. */
#ifndef FV_REPORT_H
#define FV_REPORT_H
#include "frozenvis.h"

enum { MAX_ARMS = 64, MAX_SEEDS = 32, MAX_CURVE = 400 };
typedef struct outcome { double headline, loss, speed, mb, trained, frozen; float curve[MAX_CURVE]; int points, steps; float *score; int64_t items; } outcome;
typedef struct arm {
    char name[64], variant[32], layers[64], set[4][128];
    int sets;
    outcome *run[MAX_SEEDS];
    double mean, sd, diff, low, high; /* of the headline figure over seeds; paired with arm 0: mean difference and its 95 % interval */
} arm;
typedef struct report { char task[32], headline[32]; const char *out, *sweep; int arms, seeds, blocks; arm arm[MAX_ARMS]; } report;

/* Reads every run's result.json, log.jsonl and scores.npy, computes, prints the table (or JSON lines), writes results.jsonl, curves.svg, arms.svg, report.html. */
void report_write(fv_ctx *c, report *p, int json);

/* bootstrap -- the mean of a[s][i] - b[s][i] over seeds and items, and its 95 % interval: seeds and items are drawn with replacement, `draws` times. */
void bootstrap(fv_ctx *c, float *const *a, float *const *b, int seeds, int64_t items, int draws, double *mean, double *low, double *high);
#endif
