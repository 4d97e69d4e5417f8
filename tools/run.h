/* run.h -- a run and its folder: what train, eval and predict share. The folder: config.json, log.jsonl,
 * checkpoints/, latest, and at the end model.safetensors and result.json. */
#ifndef FV_RUN_H
#define FV_RUN_H
#include "cli.h"
#include "tasks/task.h"

void run_begin(run *r, const fv_desc *desc);
/* Frees all and prints the context's error if there is one; the status to exit with. */
int run_end(run *r);
/* Where --data and --llm are: "demo" fetches and makes what the task's demo wants, in the cache folder. 1 or
 * 0. */
int run_data(run *r, const char *data);
/* Where tools/fetch.sh keeps a thing ("emoji"); fetched when it is not there. path [4096]. 1 or 0. */
int run_fetch(run *r, const char *what, char *path);
int run_llm(run *r, const char *llm, int demo);
/* Whether what is set of the frozen stage makes sense by itself; 1, or 0 and an error. */
int run_stage_fits(run *r);
int run_open_model(run *r);
/* Settings, model, weights and data folder of a finished run, for eval and predict. NULL and an error, or its
 * config. */
fv_json *run_reopen(run *r, const char *dir, const char *data);
/* config.json. One that is there must say the same already: a run goes on with what it was begun with. 1 or
 * 0. */
int run_write_config(run *r, const char *out);
/* What a config.json says of the data: how many items, and which. */
void run_items(const fv_json *config, char *text, size_t n);
/* The digest of its training items; "": it says none, as a run of an older program. */
void run_training(const fv_json *config, char *text, size_t n);
/* How many of the training items, the last ones, are kept back to measure on in place of the test split: the
 * key holdout, a number, or below 1 a share. */
int run_holdout(const run *r);
/* The key test_limit: only the first so many test items are measured on. Called when the data are open. */
void run_limit_test(run *r);
/* PROGRESS_LINES: "progress STEP STEPS LOSS" on stderr, twice a second at most */
typedef enum run_progress { PROGRESS_BAR, PROGRESS_NONE, PROGRESS_LINES } run_progress;
/* All steps that are left, the checkpoints, the measures, the result. */
void run_train(run *r, const char *out, int save_every, int json, run_progress show);
/* Measures a split's items as the task does. */
int run_measure(run *r, int split, int from, int count, figures *f);
/* {"top1":..,...} without the braces, each figure with its unit's decimals */
void figures_json(fv_ctx *c, fv_text *t, const figures *f);
void figures_print(const figures *f);
/* What is said of an interruption of the run `out`: whether there is a checkpoint to go on from. */
void run_interrupted(const char *out, char *words, size_t n);
/* From now on SIGINT and SIGTERM end the program at once, with that sentence and 130: for the time before
 * anything is written. run_leave_interrupted does it, in a handler; run_leave with other words. */
void run_die_on_signals(const char *out);
void run_leave_interrupted(int number);
void run_leave(int status, const char *words);
/* From now on they are noted, for is_interrupted. */
void run_catch_signals(void);
/* rm -r, of a folder that the program made */
void remove_folder(const char *path);
#endif
