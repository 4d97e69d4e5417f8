/* run.h -- a run and its folder: what train, eval and predict share. The folder: config.json, log.jsonl, checkpoints/, latest, and at
 * the end model.safetensors and result.json. */
#ifndef FV_RUN_H
#define FV_RUN_H
#include "cli.h"
#include "tasks/task.h"

void run_begin(run *r, const fv_desc *desc);
/* Frees all and prints the context's error if there is one; the status to exit with. */
int run_end(run *r);
/* Where --data and --llm are: "demo" fetches and makes what the task's demo wants, in the cache folder. 1 or 0. */
int run_data(run *r, const char *data);
int run_llm(run *r, const char *llm, int demo);
int run_open_model(run *r);
/* Settings, model, weights and data folder of a finished run, for eval and predict. NULL and an error, or its config. */
fv_json *run_reopen(run *r, const char *dir, const char *data);
void run_write_config(run *r, const char *out);
/* All steps that are left, the checkpoints, the measures, the result. */
void run_train(run *r, const char *out, int save_every, int json, int quiet);
/* {"top1":..,...} without the braces, each figure with its unit's decimals */
void figures_json(fv_ctx *c, fv_text *t, const figures *f);
void figures_print(const figures *f);
void run_catch_signals(void);
/* rm -r, of a folder that the program made */
void remove_folder(const char *path);
#endif
