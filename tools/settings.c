#include "settings.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What every task knows of training: a number from least to most (w: a whole one), or one of two words.
 * limit: the first N training items; fraction: that share of them; holdout: that many training items (below
 * 1: that share), the last ones, are not trained on and measured in place of the test split; test_limit: the
 * first N test items are measured. Items come as the data's files list them; those of class folders (image,
 * points) are mixed before, always in the same way. lr_scale: a factor on lr, for tuning. */
static const struct {
    const char *key;
    char kind;
    double least, most;
    const char *words[2];
} train_keys[] = {{"epochs", 'n', 1e-6, 1e9, {NULL}},
                  {"batch_size", 'w', 1, 1e6, {NULL}},
                  {"grad_accum", 'w', 1, 1e6, {NULL}},
                  {"lr", 'n', 0, 1e38, {NULL}},
                  {"min_lr", 'n', 0, 1e38, {NULL}},
                  {"warmup_epochs", 'n', 0, 1e9, {NULL}},
                  {"optimizer", 's', 0, 0, {"adamw", "sgd"}},
                  {"beta1", 'n', 0, 0.9999999, {NULL}},
                  {"beta2", 'n', 0, 0.9999999, {NULL}},
                  {"eps", 'n', 1e-30, 1, {NULL}},
                  {"momentum", 'n', 0, 1, {NULL}},
                  {"weight_decay", 'n', 0, 1e6, {NULL}},
                  {"clip_grad", 'n', 0, 1e30, {NULL}},
                  {"ema", 'n', 0, 0.9999999, {NULL}},
                  {"label_smoothing", 'n', 0, 1, {NULL}},
                  {"seed", 'w', 0, 9007199254740992.0, {NULL}},
                  {"precision", 's', 0, 0, {"f32", "bf16"}},
                  {"limit", 'w', 0, 2e9, {NULL}},
                  {"fraction", 'n', 1e-9, 1, {NULL}},
                  {"variant", 'v', 0, 0, {NULL}},
                  {"holdout", 'n', 0, 2e9, {NULL}},
                  {"test_limit", 'w', 0, 2e9, {NULL}},
                  {"lr_scale", 'n', 1e-9, 1e9, {NULL}},
                  {"eval_every", 'w', 0, 1e9, {NULL}}};
enum { TRAIN_KEYS = sizeof train_keys / sizeof *train_keys };
static int train_key(const char *key) { /* which; -1: none */
    for (int i = 0; i < TRAIN_KEYS; i++)
        if (!strcmp(train_keys[i].key, key)) return i;
    return -1;
}

static int among(const char *const *keys, const char *key) {
    for (int i = 0; keys && keys[i]; i++)
        if (!strcmp(keys[i], key)) return 1;
    return 0;
}
static int is_train_key(const settings *s, const char *key) {
    return train_key(key) >= 0 || among(s->task_keys, key);
}

/* why a key cannot be kept, if it is the first */
static void refuse(settings *s, const char *key, const char *why) {
    if (!*s->wrong) snprintf(s->wrong, sizeof s->wrong, "\"%.48s\": %s", key, why);
}
void put(settings *s, char section, const char *key, const char *json) {
    int i = 0;
    while (i < s->count && (s->at[i].section != section || strcmp(s->at[i].key, key))) i++;
    if (i == (int)(sizeof s->at / sizeof *s->at)) {
        refuse(s, key, "too many settings");
        return;
    }
    if (i == s->count) s->count++;
    s->at[i].section = section;
    snprintf(s->at[i].key, sizeof s->at[i].key, "%s", key);
    snprintf(s->at[i].value, sizeof s->at[i].value, "%s", json);
}

/* ---- what a user may type: it ends up in JSON, in config.json too ---- */
static int is_key(const char *key) {
    size_t n = strlen(key);
    return n && n < 48 &&
           n == strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
}
static int is_plain(const char *text) { /* printable ASCII that needs no escape */
    for (; *text; text++)
        if (*text < 32 || *text > 126 || *text == '"' || *text == '\\') return 0;
    return 1;
}
/* a number of n characters as JSON has it: -1, 0.5, 1e-3, but not +1, .5, 1., 01 */
static int is_number(const char *v, size_t n) {
    const char *p = v, *end = v + n, *digits;
    if (p < end && *p == '-') p++;
    for (digits = p; p < end && *p >= '0' && *p <= '9';) p++;
    if (p == digits || (*digits == '0' && p > digits + 1)) return 0;
    if (p < end && *p == '.') {
        for (digits = ++p; p < end && *p >= '0' && *p <= '9';) p++;
        if (p == digits) return 0;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p += p + 1 < end && (p[1] == '+' || p[1] == '-') ? 2 : 1;
        for (digits = p; p < end && *p >= '0' && *p <= '9';) p++;
        if (p == digits) return 0;
    }
    return p == end;
}
static int is_list(const char *v) { /* of numbers, perhaps none */
    if (*v != '[' || v[strlen(v) - 1] != ']') return 0;
    if (v[1] == ']') return !v[2];
    for (v++;; v++) {
        size_t n = strcspn(v, ",]");
        if (!is_number(v, n)) return 0;
        v += n;
        if (*v == ']') return !v[1];
    }
}
/* digits enough to give the same number back, few where few do */
static void number_text(char *v, size_t n, double x) {
    snprintf(v, n, "%.9g", x);
    if (strtod(v, NULL) < x || strtod(v, NULL) > x) snprintf(v, n, "%.17g", x);
}

int put_text(settings *s, const char *text) {
    const char *equals = strchr(text, '=');
    char key[64], value[256], *end;
    if (!equals || equals - text > 47 || strlen(equals) > 200) return 0;
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    const char *v = equals + 1;
    double number = strtod(v, &end);
    int finite = *v && *v != ' ' && !*end && isfinite(number);
    if (!is_key(key) || !strcmp(key, "frozen") || !is_plain(v) || (*v == '[' && !is_list(v))) return 0;
    if (finite && !is_number(v, strlen(v))) number_text(value, sizeof value, number); /* .5, +1, 0x10 */
    else if (finite || *v == '[' || !strcmp(v, "true") || !strcmp(v, "false") || !strcmp(v, "null"))
        snprintf(value, sizeof value, "%s", v);
    else snprintf(value, sizeof value, "\"%s\"", v);
    char section = !strncmp(key, "frozen.", 7) ? 'f' : is_train_key(s, key) ? 't' : 'm';
    if (!strcmp(key, "frozen.variant")) put(s, 't', "variant", value); /* one thing, two names */
    else put(s, section, section == 'f' ? key + 7 : key, value);
    return 1;
}

void put_number(settings *s, char section, const char *key, double value) {
    char text[40];
    number_text(text, sizeof text, value);
    put(s, section, key, text);
}

void put_words(settings *s, const char *words) {
    char word[256];
    while (sscanf(words, "%255s", word) == 1) {
        put_text(s, word);
        words += strspn(words, " ");
        words += strcspn(words, " ");
    }
}

/* a list of numbers as JSON; 0: it is another list, or too long */
static int list_text(const fv_json *j, fv_jnode n, char *v, size_t size) {
    char number[40];
    size_t at = 1;
    strcpy(v, "[");
    for (fv_jnode e = fv_json_first(j, n); e; e = fv_json_next(j, e)) {
        if (fv_json_type(j, e) != FV_JSON_NUMBER || at + sizeof number > size) return 0;
        number_text(number, sizeof number, fv_json_number(j, e, 0));
        at += (size_t)snprintf(v + at, size - at, "%s%s", at > 1 ? "," : "", number);
    }
    strcpy(v + at, "]");
    return 1;
}
static void put_node(settings *s, const fv_json *j, fv_jnode n, char section) {
    char v[256];
    const char *key = fv_json_key(j, n), *text = fv_json_string(j, n, "");
    int ok = is_key(key);
    switch (fv_json_type(j, n)) {
    case FV_JSON_NUMBER: number_text(v, sizeof v, fv_json_number(j, n, 0)); break;
    case FV_JSON_STRING:
        ok = ok && strlen(text) <= 200 && is_plain(text), snprintf(v, sizeof v, "\"%.200s\"", text);
        break;
    case FV_JSON_TRUE: strcpy(v, "true"); break;
    case FV_JSON_FALSE: strcpy(v, "false"); break;
    case FV_JSON_ARRAY: ok = ok && list_text(j, n, v, sizeof v); break;
    default: strcpy(v, "null");
    }
    if (ok) put(s, section, key, v);
    else refuse(s, key, "no setting has such a name or value");
}

/* What a config.json may hold at its top, beside a model's settings: a run's has all of it. */
static const char *const top_keys[] = {"task", "model",       "train",      "data", "items",
                                       "llm",  "class_names", "vocabulary", NULL};
static void put_model(settings *s, const fv_json *j, fv_jnode model) {
    for (fv_jnode n = fv_json_first(j, model); n; n = fv_json_next(j, n)) {
        fv_json_kind kind = fv_json_type(j, n);
        const char *key = fv_json_key(j, n);
        if (!strcmp(key, "train") && model == fv_json_root(j)) continue; /* of a bare config */
        if (!strcmp(key, "frozen") && kind == FV_JSON_OBJECT)
            for (fv_jnode f = fv_json_first(j, n); f; f = fv_json_next(j, f)) put_node(s, j, f, 'f');
        else if (!strcmp(key, "frozen") && kind == FV_JSON_NULL) put(s, 't', "variant", "\"base\"");
        else if (!strcmp(key, "frozen")) refuse(s, key, "an object of settings or null is wanted");
        else if (kind == FV_JSON_OBJECT) refuse(s, key, "no setting is an object");
        else put_node(s, j, n, 'm');
    }
}
/* The variant may stand in the stage, too: there it is the training's, unless both say another. */
static void put_variant(settings *s, const fv_json *j, fv_jnode stage, fv_jnode train) {
    const char *inside = fv_json_string(j, fv_json_get(j, stage, "variant"), NULL),
               *beside = fv_json_string(j, fv_json_get(j, train, "variant"), inside);
    if (stage && fv_json_type(j, stage) == FV_JSON_NULL && !is_text(s, 't', "variant", "base"))
        refuse(s, "frozen", "null, and yet the variant beside it is not base");
    if (!inside) return;
    if (strcmp(inside, beside)) refuse(s, "frozen.variant", "the variant beside it is another");
    else put(s, 't', "variant", value_of(s, 'f', "variant", "\"\""));
}
void put_json(settings *s, const fv_json *j) {
    fv_jnode root = fv_json_root(j), model = fv_json_get(j, root, "model"),
             train = fv_json_get(j, root, "train");
    for (fv_jnode n = fv_json_first(j, root); n && model; n = fv_json_next(j, n))
        if (!among(top_keys, fv_json_key(j, n))) refuse(s, fv_json_key(j, n), "no such key beside \"model\"");
    if (!model) model = root;
    if (fv_json_type(j, model) != FV_JSON_OBJECT) refuse(s, "model", "an object of settings is wanted");
    if (train && fv_json_type(j, train) != FV_JSON_OBJECT)
        refuse(s, "train", "an object of settings is wanted");
    if (*s->wrong) return;
    put_model(s, j, model);
    for (fv_jnode n = fv_json_first(j, train); n; n = fv_json_next(j, n)) put_node(s, j, n, 't');
    put_variant(s, j, fv_json_get(j, model, "frozen"), train);
}

const char *value_of(const settings *s, char section, const char *key, const char *otherwise) {
    for (int i = 0; i < s->count; i++)
        if (s->at[i].section == section && !strcmp(s->at[i].key, key)) return s->at[i].value;
    return otherwise;
}
double number_of(const settings *s, char section, const char *key, double otherwise) {
    const char *v = value_of(s, section, key, NULL);
    return v ? strtod(v, NULL) : otherwise;
}
int is_text(const settings *s, char section, const char *key, const char *text) { /* "text" with its quotes */
    const char *v = value_of(s, section, key, "");
    size_t n = strlen(text);
    return v[0] == '"' && !strncmp(v + 1, text, n) && v[n + 1] == '"';
}

const char *text_of(const settings *s, char section, const char *key, const char *otherwise, char *buffer,
                    size_t n) {
    const char *v = value_of(s, section, key, NULL);
    if (!v || *v != '"' || n < strlen(v)) return otherwise;
    snprintf(buffer, n, "%.*s", (int)strlen(v) - 2, v + 1);
    return buffer;
}

/* What the library knows, since files of others hold it, and what means nothing here */
static int idle_key(const setting *s) {
    static const char *const model[] = {"train", "data", "classes", "format", "task", "llm", NULL},
                             *const stage[] = {"weights", "sha256", "file", NULL};
    return s->section != 't' && among(s->section == 'f' ? stage : model, s->key);
}
static int unknown_key(const settings *s, char *why, size_t n) {
    for (int i = 0; i < s->count; i++) {
        const char *key = s->at[i].key;
        if (s->at[i].section == 't' && !is_train_key(s, key))
            return snprintf(why, n, "training key \"%s\": the task has none of that name", key), 1;
        if (idle_key(&s->at[i]))
            return snprintf(why, n, "key \"%s%s\": it has no effect here",
                            s->at[i].section == 'f' ? "frozen." : "", key),
                   1;
    }
    return 0;
}

/* the few words among the tasks' keys, whose values are numbers else; of the first two the task says which */
static int is_task_word(const settings *s, const char *key) {
    return !strcmp(key, "normalize") || !strcmp(key, "up") ||
           (!strcmp(key, "words") && is_text(s, 't', key, "llm"));
}
static int bad_value(const settings *s, char *why, size_t n) {
    for (int i = 0; i < s->count; i++) {
        const char *v = s->at[i].value;
        int k = train_key(s->at[i].key), number = *v != '"' && *v != '[' && strcmp(v, "null"),
            flag = !strcmp(v, "true") || !strcmp(v, "false");
        double x = number && !flag ? strtod(v, NULL) : -1e300;
        if (s->at[i].section != 't') continue;
        if (k < 0 ? number : train_keys[k].kind == 'v') continue;
        if (k < 0 && is_task_word(s, s->at[i].key)) continue;
        if (k < 0) return snprintf(why, n, "%s is %.60s: a number is wanted", s->at[i].key, v), 1;
        if (train_keys[k].kind == 's') {
            if (is_text(s, 't', s->at[i].key, train_keys[k].words[0]) ||
                is_text(s, 't', s->at[i].key, train_keys[k].words[1]))
                continue;
            return snprintf(why, n, "%s is %.60s: %s or %s", s->at[i].key, v, train_keys[k].words[0],
                            train_keys[k].words[1]),
                   1;
        }
        if (x >= train_keys[k].least && x <= train_keys[k].most &&
            (train_keys[k].kind == 'n' || x == floor(x)))
            continue;
        return snprintf(why, n, "%s is %.60s: a %snumber from %.9g to %.9g is wanted", s->at[i].key, v,
                        train_keys[k].kind == 'w' ? "whole " : "", train_keys[k].least, train_keys[k].most),
               1;
    }
    return 0;
}

int settings_fault(const settings *s, char *why, size_t n) {
    char name[64];
    if (*s->wrong) return snprintf(why, n, "%s", s->wrong), 1;
    if (unknown_key(s, why, n) || bad_value(s, why, n)) return 1;
    if (fv_variant_parse(text_of(s, 't', "variant", "llm", name, sizeof name)) >= 0 &&
        *value_of(s, 't', "variant", "\"") == '"')
        return 0;
    return snprintf(why, n, "variant %.60s: unknown", value_of(s, 't', "variant", "")), 1;
}

void section_json(fv_ctx *c, fv_text *t, const settings *s, char section) {
    int first = 1;
    for (int i = 0; i < s->count; i++)
        if (s->at[i].section == section)
            fv_text_add(c, t, "%s\"%s\":%s", first ? first = 0, "" : ",", s->at[i].key, s->at[i].value);
}
void model_json(fv_ctx *c, fv_text *t, const settings *s) {
    fv_text_add(c, t, "{");
    section_json(c, t, s, 'm');
    if (is_text(s, 't', "variant", "base")) fv_text_add(c, t, ",\"frozen\":null}");
    else {
        fv_text_add(c, t, ",\"frozen\":{");
        section_json(c, t, s, 'f');
        fv_text_add(c, t, "}}");
    }
}
