/* settings.h -- key=value pairs of three sections: m the model, f its frozen stage, t the training. They come
 * from a preset or a config file (with both, the file lies over the preset), --set and the direct options, in
 * that order; a run's config.json holds them all. */
#ifndef FV_SETTINGS_H
#define FV_SETTINGS_H
#include "frozenvis.h"

typedef struct setting {
    char section, key[48], value[256]; /* value: JSON */
} setting;
typedef struct settings {
    setting at[128];
    int count;
    const char *const *task_keys; /* training keys of the task, beside those of every task; NULL at the end */
    char wrong[160];              /* the first thing that could not be kept, a sentence; "" */
} settings;

void put(settings *s, char section, const char *key, const char *json);
/* "key=value" as a user types it: a value that is no number, word of JSON or list is a string. 0: not such a
 * text. */
int put_text(settings *s, const char *text);
void put_number(settings *s, char section, const char *key, double value);
/* "a=1 b=2", as presets are written */
void put_words(settings *s, const char *words);
/* {"model":{..., "frozen":{...}}, "train":{...}}, or a bare model config as the golden cases have; "frozen":
 * null is the variant base, and frozen.variant the training's variant */
void put_json(settings *s, const fv_json *j);

const char *value_of(const settings *s, char section, const char *key, const char *otherwise); /* JSON */
double number_of(const settings *s, char section, const char *key, double otherwise);
int is_text(const settings *s, char section, const char *key, const char *text);
/* the text of a string value, in at most n bytes */
const char *text_of(const settings *s, char section, const char *key, const char *otherwise, char *buffer,
                    size_t n);
/* 1 and a sentence when something could not be kept, a key is none of the task's or has no effect here, or a
 * training key has a value that it cannot have. What the model's keys are the library says. */
int settings_fault(const settings *s, char *why, size_t n);

void section_json(fv_ctx *c, fv_text *t, const settings *s, char section);
void model_json(fv_ctx *c, fv_text *t, const settings *s);
#endif
