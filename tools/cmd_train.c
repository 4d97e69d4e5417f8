#define _GNU_SOURCE /* realpath */
/* fv train|eval|predict: the image task. Settings are key=value pairs of three sections (model, frozen stage, training), from a
 * preset, a config file and --set, in that order; a run's config.json holds them all. */
#include "cli.h"
#include "data/pictures.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- settings ---- */
typedef struct setting { char section, key[48], value[256]; } setting; /* section: m model, f frozen, t training; value: JSON */
typedef struct settings { setting at[96]; int count; } settings;

static const char *const train_keys[] = {"epochs", "batch_size", "lr", "min_lr", "warmup_epochs", "weight_decay", "clip_grad",
    "label_smoothing", "grad_accum", "hflip", "shift", "seed", "precision", "limit", "variant", "holdout", NULL};

static int is_train_key(const char *key) {
    for (int i = 0; train_keys[i]; i++)
        if (!strcmp(train_keys[i], key)) return 1;
    return 0;
}

static void put(settings *s, char section, const char *key, const char *json) {
    int i = 0;
    while (i < s->count && (s->at[i].section != section || strcmp(s->at[i].key, key))) i++;
    if (i == 96) return;
    if (i == s->count) s->count++;
    s->at[i].section = section;
    snprintf(s->at[i].key, sizeof s->at[i].key, "%s", key);
    snprintf(s->at[i].value, sizeof s->at[i].value, "%s", json);
}

/* "key=value" as a user types it: a value that is no number, word of JSON or list is a string */
static int put_text(settings *s, const char *text) {
    const char *equals = strchr(text, '=');
    char key[64], value[256], *end;
    if (!equals || equals == text || equals - text > 47 || strlen(equals) > 200) return 0;
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    const char *v = equals + 1;
    int plain = !strcmp(v, "true") || !strcmp(v, "false") || !strcmp(v, "null") || *v == '[';
    double number = strtod(v, &end);
    if (*v && !*end && number == number) plain = 1;
    if (!plain && strpbrk(v, "\"\\")) return 0;
    snprintf(value, sizeof value, plain ? "%s" : "\"%s\"", v);
    char section = !strncmp(key, "frozen.", 7) ? 'f' : is_train_key(key) ? 't' : 'm';
    put(s, section, section == 'f' ? key + 7 : key, value);
    return 1;
}

static void put_node(settings *s, const fv_json *j, fv_jnode n, char section) {
    char v[256];
    const char *key = fv_json_key(j, n);
    size_t at = 0;
    switch (fv_json_type(j, n)) {
    case FV_JSON_NUMBER: snprintf(v, sizeof v, "%.9g", fv_json_number(j, n, 0)); break;
    case FV_JSON_STRING: snprintf(v, sizeof v, "\"%.200s\"", fv_json_string(j, n, "")); break;
    case FV_JSON_TRUE: strcpy(v, "true"); break;
    case FV_JSON_FALSE: strcpy(v, "false"); break;
    case FV_JSON_ARRAY:
        at = (size_t)snprintf(v, sizeof v, "[");
        for (fv_jnode e = fv_json_first(j, n); e && at < 200; e = fv_json_next(j, e))
            at += (size_t)snprintf(v + at, sizeof v - at, "%s%.9g", at > 1 ? "," : "", fv_json_number(j, e, 0));
        snprintf(v + at, sizeof v - at, "]");
        break;
    default: strcpy(v, "null");
    }
    put(s, section, key, v);
}

/* {"model":{..., "frozen":{...}}, "train":{...}}, or a bare model config as the golden cases have */
static void put_json(settings *s, const fv_json *j) {
    fv_jnode root = fv_json_root(j), model = fv_json_get(j, root, "model"), train = fv_json_get(j, root, "train");
    if (!model) model = root;
    for (fv_jnode n = fv_json_first(j, model); n; n = fv_json_next(j, n)) {
        if (fv_json_type(j, n) == FV_JSON_OBJECT && !strcmp(fv_json_key(j, n), "frozen"))
            for (fv_jnode f = fv_json_first(j, n); f; f = fv_json_next(j, f)) put_node(s, j, f, 'f');
        else if (fv_json_type(j, n) != FV_JSON_OBJECT && strcmp(fv_json_key(j, n), "frozen")) put_node(s, j, n, 'm');
    }
    for (fv_jnode n = fv_json_first(j, train); n; n = fv_json_next(j, n)) put_node(s, j, n, 't');
}

static const char *value_of(const settings *s, char section, const char *key, const char *otherwise) {
    for (int i = 0; i < s->count; i++)
        if (s->at[i].section == section && !strcmp(s->at[i].key, key)) return s->at[i].value;
    return otherwise;
}
static double number_of(const settings *s, char section, const char *key, double otherwise) {
    const char *v = value_of(s, section, key, NULL);
    return v ? strtod(v, NULL) : otherwise;
}
static int is_text(const settings *s, char section, const char *key, const char *text) { /* "text" with its quotes */
    const char *v = value_of(s, section, key, "");
    size_t n = strlen(text);
    return v[0] == '"' && !strncmp(v + 1, text, n) && v[n + 1] == '"';
}

static void section_json(fv_ctx *c, fv_text *t, const settings *s, char section) {
    int first = 1;
    for (int i = 0; i < s->count; i++)
        if (s->at[i].section == section) fv_text_add(c, t, "%s\"%s\":%s", first ? first = 0, "" : ",", s->at[i].key, s->at[i].value);
}
static void model_json(fv_ctx *c, fv_text *t, const settings *s) {
    fv_text_add(c, t, "{");
    section_json(c, t, s, 'm');
    if (is_text(s, 't', "variant", "base")) fv_text_add(c, t, ",\"frozen\":null}");
    else {
        fv_text_add(c, t, ",\"frozen\":{");
        section_json(c, t, s, 'f');
        fv_text_add(c, t, "}}");
    }
}

static const char *const presets[][2] = {
    {"tiny28", "img_size=28 patch_size=4 in_chans=1 embed_dim=128 depth=4 num_heads=4 batch_size=128 epochs=10 lr=1e-3 warmup_epochs=1 weight_decay=0.05"},
    {"tiny", "img_size=224 patch_size=16 in_chans=3 embed_dim=192 depth=12 num_heads=3 batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"small", "img_size=224 patch_size=16 in_chans=3 embed_dim=384 depth=12 num_heads=6 batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"base", "img_size=224 patch_size=16 in_chans=3 embed_dim=768 depth=12 num_heads=12 batch_size=64 epochs=100 lr=5e-4 warmup_epochs=5 weight_decay=0.05"},
    {"demo-image", "img_size=28 patch_size=7 in_chans=1 embed_dim=128 depth=4 num_heads=4 batch_size=128 epochs=4 lr=1e-3 warmup_epochs=0.5 weight_decay=0.05 "
                   "label_smoothing=0.1 clip_grad=1 hflip=1 limit=30000"},
};
static int put_preset(settings *s, const char *name) {
    char word[64];
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        const char *p = presets[i][1];
        if (strcmp(presets[i][0], name)) continue;
        put_text(s, "arch=vit"), put_text(s, "seed=0");
        while (sscanf(p, "%63s", word) == 1) {
            put_text(s, word);
            p += strspn(p, " ");
            p += strcspn(p, " ");
        }
        return 1;
    }
    return 0;
}

/* ---- a run in memory ---- */
typedef struct run {
    fv_ctx *c;
    settings s;
    fv_weights *llm;
    const char *llm_path;
    fv_model *model;
    pictures train, test;
    int order_count, size, bf16;
    int32_t *order;
} run;

static volatile sig_atomic_t interrupted;
static void on_signal(int number) { (void)number, interrupted = 1; }

static void open_model(run *r, int classes) {
    char text[32];
    fv_text t = {0};
    snprintf(text, sizeof text, "num_classes=%d", classes);
    put_text(&r->s, text);
    const char *variant = value_of(&r->s, 't', "variant", "\"llm\"");
    int base = is_text(&r->s, 't', "variant", "base");
    if (!base) put(&r->s, 'f', "variant", variant);
    if (r->llm_path && !base) r->llm = fv_weights_open(r->c, r->llm_path);
    else if (!base && (is_text(&r->s, 't', "variant", "llm") || is_text(&r->s, 't', "variant", "random") || is_text(&r->s, 't', "variant", "shuffled") || is_text(&r->s, 't', "variant", "finetune") || !value_of(&r->s, 't', "variant", NULL)))
        fv_fail(r->c, FV_EUSAGE, "variant %s wants a language model: --llm FILE (a GGUF or safetensors file)", variant);
    model_json(r->c, &t, &r->s);
    fv_model_desc d;
    memset(&d, 0, sizeof d);
    d.seed = (uint64_t)number_of(&r->s, 't', "seed", 0);
    d.llm = r->llm;
    r->bf16 = is_text(&r->s, 't', "precision", "bf16");
    if (r->bf16) d.pack = FV_BF16;
    if (!fv_error(r->c)) r->model = fv_model_create(r->c, t.data, t.size, &d);
    fv_text_free(r->c, &t);
    r->size = (int)number_of(&r->s, 'm', "img_size", 28);
}

static int fits(run *r, const pictures *p) {
    if (p->height == r->size && p->width == r->size && p->channels == (int)number_of(&r->s, 'm', "in_chans", 3)) return 1;
    return fv_fail(r->c, FV_EUSAGE, "the pictures are %dx%d with %d channel(s), the network wants img_size=%d in_chans=%d", p->height, p->width, p->channels,
                   r->size, (int)number_of(&r->s, 'm', "in_chans", 3));
}

/* pictures -> f32 [B,1,S,S]: (v/255 - 0.5) / 0.5; in training flipped and shifted as (seed, epoch, item) say */
static fv_tensor *batch_of(run *r, const pictures *p, const int32_t *index, int n, int epoch, int augment, fv_tensor **target) {
    int64_t dim[4] = {n, p->channels, r->size, r->size}, labels[1] = {n};
    fv_tensor *x = fv_new(r->c, FV_F32, 4, dim), *y = x ? fv_new(r->c, FV_I32, 1, labels) : NULL;
    int flip = augment && number_of(&r->s, 't', "hflip", 0) > 0, most = augment ? (int)number_of(&r->s, 't', "shift", 0) : 0, S = r->size;
    if (!y) return NULL;
    for (int b = 0; b < n; b++) {
        fv_rng g = {(uint64_t)number_of(&r->s, 't', "seed", 0), 1000003u * (uint64_t)(epoch + 1) + (uint64_t)index[b], 0};
        int mirror = flip && (fv_rng_u32(&g) & 1), dx = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0,
            dy = most ? (int)fv_rng_below(&g, (uint32_t)(2 * most + 1)) - most : 0;
        const uint8_t *src = p->data + (size_t)index[b] * (size_t)(S * S * p->channels);
        float *to = (float *)x->data + (size_t)b * (size_t)(S * S * p->channels);
        for (int ch = 0; ch < p->channels; ch++)
            for (int i = 0; i < S; i++)
                for (int j = 0; j < S; j++) {
                    int u = i + dy, v = (mirror ? S - 1 - j : j) + dx, inside = u >= 0 && u < S && v >= 0 && v < S;
                    to[(ch * S + i) * S + j] = inside ? (float)src[(u * S + v) * p->channels + ch] / 127.5f - 1 : -1;
                }
        ((int32_t *)y->data)[b] = p->label[index[b]];
    }
    *target = y;
    return x;
}

typedef struct measures { double top1, top5, loss; int count; } measures;

/* the whole split without gradients; probabilities of the last batch stay in nothing: figures only */
static measures evaluate(run *r, const pictures *p, int from, int count) {
    measures m = {0, 0, 0, 0};
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0);
    for (int at = from; at < from + count && !fv_error(r->c) && !interrupted; at += 250) {
        int32_t index[250];
        int n = from + count - at < 250 ? from + count - at : 250;
        fv_tensor *target;
        fv_reset(r->c);
        for (int i = 0; i < n; i++) index[i] = at + i;
        fv_tensor *x = batch_of(r, p, index, n, 0, 0, &target), *y = x ? fv_model_forward(r->c, r->model, x) : NULL;
        fv_tensor *loss = y ? fv_cross_entropy(r->c, y, target, 0) : NULL;
        if (!loss) break;
        m.loss += fv_get(loss, 0) * n, m.count += n;
        for (int i = 0; i < n; i++) {
            int k = (int)y->dim[1], rank = 0;
            double mine = fv_get(y, (int64_t)i * k + p->label[at + i]);
            for (int j = 0; j < k; j++) rank += j != p->label[at + i] && fv_get(y, (int64_t)i * k + j) >= mine;
            m.top1 += rank < 1, m.top5 += rank < 5;
        }
    }
    if (m.count) m.top1 *= 100.0 / m.count, m.top5 *= 100.0 / m.count, m.loss /= m.count;
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return m;
}

/* ---- the run's folder ---- */
static void write_config(run *r, const char *out, const char *data) {
    fv_text t = {0};
    char path[4096], full[4096];
    fv_text_add(r->c, &t, "{\"task\":\"image\",\"model\":");
    model_json(r->c, &t, &r->s);
    fv_text_add(r->c, &t, ",\"train\":{");
    section_json(r->c, &t, &r->s, 't');
    fv_text_add(r->c, &t, "},\"data\":");
    fv_text_json_string(r->c, &t, realpath(data, full) ? full : data);
    if (r->llm_path) {
        fv_text_add(r->c, &t, ",\"llm\":{\"path\":");
        fv_text_json_string(r->c, &t, realpath(r->llm_path, full) ? full : r->llm_path);
        fv_text_add(r->c, &t, ",\"sha256\":\"%s\"}", r->model->frozen ? fv_frozen_hash(r->model->frozen) : "");
    }
    fv_text_add(r->c, &t, ",\"class_names\":[");
    for (int i = 0; i < r->train.classes; i++) {
        if (i) fv_text_add(r->c, &t, ",");
        fv_text_json_string(r->c, &t, r->train.class_name[i]);
    }
    fv_text_add(r->c, &t, "]}\n");
    snprintf(path, sizeof path, "%s/config.json", out);
    if (!fv_error(r->c)) fv_write_file(r->c, path, t.data, t.size);
    fv_text_free(r->c, &t);
}

/* log.jsonl without the lines of steps that will be done again */
static FILE *open_log(run *r, const char *out, int64_t step) {
    char path[4096];
    fv_file f;
    fv_text keep = {0};
    snprintf(path, sizeof path, "%s/log.jsonl", out);
    if (step > 0 && !access(path, F_OK) && fv_file_open(r->c, path, &f)) {
        const char *p = (const char *)f.data, *end = p + f.size, *line;
        for (; p < end && (line = (const char *)memchr(p, '\n', (size_t)(end - p))) != NULL; p = line + 1) {
            long long at = -1;
            if (sscanf(p, "{\"step\":%lld", &at) == 1 && at <= step) fv_text_add(r->c, &keep, "%.*s", (int)(line + 1 - p), p);
        }
        fv_file_close(r->c, &f);
    }
    if (!fv_error(r->c)) fv_write_file(r->c, path, keep.data ? keep.data : "", keep.size);
    fv_text_free(r->c, &keep);
    FILE *log = fv_error(r->c) ? NULL : fopen(path, "a");
    if (!log) fv_fail(r->c, FV_EIO, "%s: cannot be written", path);
    return log;
}

static void progress(int64_t step, int64_t steps, double start, double loss) {
    const char *term = getenv("TERM");
    if (!isatty(2) || (term && !strcmp(term, "dumb"))) return;
    double left = (fv_now() - start) / (double)step * (double)(steps - step);
    int full = (int)(30 * step / steps);
    fprintf(stderr, "\r[%.*s%*s] %lld/%lld  loss %.4f  %d:%02d left ", full, "##############################", 30 - full, "", (long long)step, (long long)steps,
            loss, (int)left / 60, (int)left % 60);
    if (step == steps) fprintf(stderr, "\n");
}

static void new_epoch_order(run *r, int epoch) {
    fv_rng g = {(uint64_t)number_of(&r->s, 't', "seed", 0), 77000000u + (uint64_t)epoch, 0};
    for (int i = 0; i < r->order_count; i++) r->order[i] = i;
    fv_rng_shuffle(&g, r->order, r->order_count);
}

/* all micro-batches of a step; the mean loss */
static double one_step(run *r, int64_t step, int batch, int accum, int per_epoch) {
    double sum = 0;
    int epoch = (int)(step / per_epoch), at = (int)(step % per_epoch) * batch * accum;
    for (int a = 0; a < accum && !fv_error(r->c); a++) {
        fv_tensor *target;
        fv_reset(r->c);
        fv_seed(r->c, (uint64_t)number_of(&r->s, 't', "seed", 0), (uint64_t)(step * accum + a));
        fv_tensor *x = batch_of(r, &r->train, r->order + at + a * batch, batch, epoch, 1, &target);
        fv_tensor *y = x ? fv_model_forward(r->c, r->model, x) : NULL;
        fv_tensor *loss = fv_cross_entropy(r->c, y, target, (float)number_of(&r->s, 't', "label_smoothing", 0));
        if (accum > 1) loss = fv_scale(r->c, loss, 1.0f / (float)accum);
        if (!loss) break;
        sum += fv_get(loss, 0);
        if (!isfinite(sum)) fv_fail(r->c, FV_ENONFINITE, "the loss is not finite at step %lld; the last checkpoint is kept", (long long)step + 1);
        fv_backward(r->c, loss);
    }
    return sum;
}

typedef struct outcome { measures test; double seconds, images_per_s; int64_t trained, frozen; double peak_mb; } outcome;

static void print_outcome(const outcome *o, int json, const run *r) {
    const char *v = value_of(&r->s, 't', "variant", "\"llm\"");
    if (json)
        printf("{\"final\":true,\"variant\":%s,\"top1\":%.2f,\"top5\":%.2f,\"loss\":%.5f,\"images_per_s\":%.1f,\"peak_memory_mb\":%.0f,\"trainable_parameters\":%lld,"
               "\"frozen_parameters\":%lld,\"seconds\":%.1f}\n", v, o->test.top1, o->test.top5, o->test.loss, o->images_per_s, o->peak_mb, (long long)o->trained, (long long)o->frozen, o->seconds);
    else
        printf("variant %s: top-1 %.2f %%, top-5 %.2f %%, loss %.4f on %d test pictures; %.0f images/s, %.0f MB at the peak, %lld parameters trained, %lld frozen, %.0f s\n", v,
               o->test.top1, o->test.top5, o->test.loss, o->test.count, o->images_per_s, o->peak_mb, (long long)o->trained, (long long)o->frozen, o->seconds);
}

static void finish(run *r, const char *out, outcome *o, int json) {
    char path[4096], path2[4096];
    const char *meta[3] = {"format", "pt", NULL};
    fv_text t = {0};
    int64_t n = 0;
    for (int i = 0; i < r->model->params.count; i++) n += fv_numel(r->model->params.at[i]);
    o->trained = n, o->frozen = r->model->frozen ? fv_frozen_numel(r->model->frozen) : 0;
    o->peak_mb = (double)fv_memory(r->c).peak / 1e6;
    int hold = (int)number_of(&r->s, 't', "holdout", 0);
    o->test = hold ? evaluate(r, &r->train, r->train.count - hold, hold) : evaluate(r, &r->test, 0, r->test.count);
    if (interrupted) return;
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    snprintf(path2, sizeof path2, "%s/result.json", out);
    if (!fv_error(r->c)) fv_params_save(r->c, path, &r->model->params, &r->model->buffers, meta);
    fv_text_add(r->c, &t, "{\"top1\":%.2f,\"top5\":%.2f,\"loss\":%.5f,\"images_per_s\":%.1f,\"peak_memory_mb\":%.0f,\"trainable_parameters\":%lld,\"frozen_parameters\":%lld,\"seconds\":%.1f}\n",
                o->test.top1, o->test.top5, o->test.loss, o->images_per_s, o->peak_mb, (long long)o->trained, (long long)o->frozen, o->seconds);
    if (!fv_error(r->c)) fv_write_file(r->c, path2, t.data, t.size);
    fv_text_free(r->c, &t);
    if (!fv_error(r->c)) print_outcome(o, json, r);
}

static void train_loop(run *r, const char *out, int save_every, int json, int quiet) {
    const settings *s = &r->s;
    int batch = (int)number_of(s, 't', "batch_size", 128), accum = (int)number_of(s, 't', "grad_accum", 1);
    int per_epoch = r->order_count / (batch * accum);
    int64_t steps = (int64_t)(number_of(s, 't', "epochs", 1) * per_epoch), warm = (int64_t)(number_of(s, 't', "warmup_epochs", 0) * per_epoch);
    if (per_epoch < 1 || steps < 1) {
        fv_fail(r->c, FV_EUSAGE, "%d pictures are too few for a batch of %d", r->order_count, batch * accum);
        return;
    }
    fv_optim_desc d;
    memset(&d, 0, sizeof d);
    d.weight_decay = (float)number_of(s, 't', "weight_decay", 0.05), d.clip_grad = (float)number_of(s, 't', "clip_grad", 0);
    fv_optim *o = fv_optim_create(r->c, &r->model->params, &d);
    int64_t step = o ? fv_checkpoint_load(r->c, out, &r->model->params, &r->model->buffers, o) : -1, first = step;
    FILE *log = step >= 0 ? open_log(r, out, step) : NULL;
    double start = fv_now(), lr = number_of(s, 't', "lr", 1e-3), seen = 0, spent = 0;
    int epoch = -1;
    fv_training(r->c, 1);
    fv_autocast(r->c, r->bf16 ? FV_BF16 : FV_F32);
    while (log && step < steps && !interrupted && !fv_error(r->c)) {
        if ((int)(step / per_epoch) != epoch) new_epoch_order(r, epoch = (int)(step / per_epoch));
        double t = fv_now(), loss = one_step(r, step, batch, accum, per_epoch);
        if (fv_error(r->c)) break;
        float rate = fv_lr_cosine(step, steps, warm, (float)lr, (float)lr * 0.01f, (float)number_of(s, 't', "min_lr", 1e-6));
        double norm = fv_optim_step(r->c, o, rate);
        step++, seen += batch * accum, spent += fv_now() - t;
        fprintf(log, "{\"step\":%lld,\"epoch\":%d,\"loss\":%.6f,\"lr\":%.6g,\"grad_norm\":%.5g}\n", (long long)step, epoch, loss, (double)rate, norm);
        if (!quiet) progress(step, steps, start, loss);
        if (step == steps || (save_every > 0 && step % save_every == 0)) {
            fflush(log);
            fv_checkpoint_save(r->c, out, &r->model->params, &r->model->buffers, o, step);
        }
    }
    if (interrupted && log && !fv_error(r->c) && step > first) fv_checkpoint_save(r->c, out, &r->model->params, &r->model->buffers, o, step);
    if (log && fclose(log)) fv_fail(r->c, FV_EIO, "%s/log.jsonl: cannot be written", out);
    outcome result;
    memset(&result, 0, sizeof result);
    result.seconds = fv_now() - start, result.images_per_s = spent > 0 ? seen / spent : 0;
    if (!interrupted && !fv_error(r->c)) finish(r, out, &result, json);
}

/* seconds, GFLOP/s and share of the cores' peak by op */
static void print_profile(run *r) {
    fv_profile_row row[64];
    int n = fv_profile(r->c, row, 64);
    double all = 0, peak = fv_peak(r->c, r->bf16 ? FV_BF16 : FV_F32) * fv_threads(r->c);
    for (int i = 0; i < n; i++) all += row[i].seconds;
    printf("%-16s %8s %9s %6s %9s %6s\n", "op", "calls", "seconds", "share", "GFLOP/s", "peak");
    for (int i = 0; i < n; i++) {
        double g = row[i].seconds > 0 ? row[i].flop / row[i].seconds * 1e-9 : 0;
        printf("%-16s %8lld %9.3f %5.1f%% %9.1f %5.2f\n", row[i].op, (long long)row[i].calls, row[i].seconds, 100 * row[i].seconds / all, g, g / peak);
    }
}

static void close_run(run *r) {
    fv_model_destroy(r->c, r->model);
    fv_weights_close(r->c, r->llm);
    pictures_close(r->c, &r->train);
    pictures_close(r->c, &r->test);
}

static int read_options(cli *a, run *r, int *bad) {
    static const char *const direct[][2] = {{"--epochs", "epochs"}, {"--batch", "batch_size"}, {"--lr", "lr"}, {"--seed", "seed"}, {"--precision", "precision"},
        {"--limit", "limit"}, {"--variant", "variant"}, {"--residual", "frozen.residual"}};
    char text[512];
    for (size_t i = 0; i < sizeof direct / sizeof *direct; i++) {
        const char *v = cli_value(a, direct[i][0]);
        if (!v) continue;
        snprintf(text, sizeof text, "%s=%s", direct[i][1], v);
        if (!put_text(&r->s, text)) *bad = cli_fail(2, "%s %s: not a value", direct[i][0], v);
    }
    const char *layers = cli_value(a, "--layers");
    if (layers) {
        snprintf(text, sizeof text, "[%s]", layers);
        put(&r->s, 'f', "layers", text);
    }
    return !*bad;
}

static int known_variant(const settings *s) {
    static const char *const names[] = {"base", "linear", "mlp", "llm", "random", "shuffled", "finetune", "scratch"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_text(s, 't', "variant", names[i])) return 1;
    return !value_of(s, 't', "variant", NULL);
}

static int finished(const char *out) {
    char path[4096];
    snprintf(path, sizeof path, "%s/result.json", out);
    return access(path, F_OK) == 0;
}

int cmd_train(int argc, char **argv) {
    static char sets[32][256];
    int set_count = 0, bad = 0, n = 0;
    for (int i = 0; i < argc; i++) { /* --set may come many times: taken out before the rest is read */
        if (!strcmp(argv[i], "--set") && i + 1 < argc && set_count < 32) snprintf(sets[set_count++], sizeof sets[0], "%s", argv[++i]);
        else argv[n++] = argv[i];
    }
    cli_option options[] = {{"--data", "DIR", "folder with IDX files (train-images-idx3-ubyte[.gz], ...)", NULL}, {"--out", "DIR", "the run's folder, new", NULL},
        {"--preset", "NAME", "tiny28, tiny, small, base, demo-image (default)", NULL}, {"--config", "FILE", "a config.json (of a run, or a model's)", NULL},
        {"--set", "KEY=VALUE", "any key of model, training or frozen.KEY; many times", NULL}, {"--llm", "FILE", "the language model: GGUF or safetensors", NULL},
        {"--layers", "N[,N]", "which blocks (default: the last)", NULL}, {"--variant", "NAME", "base linear mlp llm random shuffled finetune scratch", NULL},
        {"--residual", "MODE", "none inside outside both outside_nn", NULL}, {"--epochs", "N", "passes over the training pictures", NULL}, {"--batch", "N", "pictures a step", NULL},
        {"--lr", "X", "the highest learning rate", NULL}, {"--seed", "N", "of everything random", NULL}, {"--precision", "f32|bf16", "f32 unless said", NULL},
        {"--threads", "N", "all cores unless said", NULL}, {"--limit", "N", "first N training pictures", NULL}, {"--save-every", "N", "steps between checkpoints (default 100)", NULL},
        {"--resume", NULL, "go on where the run's folder stands", NULL}, {"--recompute", NULL, "less memory, more time", NULL}, {"--profile", NULL, "where the time went, by op", NULL},
        {"--json", NULL, "JSON lines on stdout", NULL}, {"--quiet", NULL, "no progress bar", NULL}, {NULL, NULL, NULL, NULL}};
    cli a = {"fv train image --data DIR --out DIR [options]", "Trains a vision transformer, with a language model's block inside unless --variant base.", options, {NULL}, 0};
    int status = cli_parse(&a, n, argv);
    if (status >= 0) return status;
    if (a.count != 1 || strcmp(a.words[0], "image")) return cli_fail(2, a.count ? "task \"%s\": only image is here yet" : "a task is wanted: image", a.words[0]);
    const char *data = cli_value(&a, "--data"), *out = cli_value(&a, "--out"), *preset = cli_value(&a, "--preset"), *config = cli_value(&a, "--config");
    if (!data || !out) return cli_fail(2, "--data and --out are wanted; usage: %s", a.usage);
    run r;
    fv_desc d;
    memset(&r, 0, sizeof r), memset(&d, 0, sizeof d);
    d.threads = (int)cli_int(&a, "--threads", 0, 1, &bad);
    int save_every = (int)cli_int(&a, "--save-every", 100, 1, &bad), json = cli_value(&a, "--json") != NULL;
    if (!put_preset(&r.s, preset ? preset : "demo-image")) return cli_fail(2, "--preset %s: unknown; one of tiny28, tiny, small, base, demo-image", preset);
    if (!cli_value(&a, "--resume") && access(out, F_OK) == 0) return cli_fail(2, "%s exists and is left as it is; --resume goes on with it", out);
    if (cli_value(&a, "--resume") && finished(out)) {
        printf("%s is finished\n", out);
        return 0;
    }
    r.c = fv_create(&d);
    fv_json *j = config ? fv_json_open(r.c, config) : NULL;
    if (j) put_json(&r.s, j);
    fv_json_free(r.c, j);
    for (int i = 0; i < set_count; i++)
        if (!put_text(&r.s, sets[i])) bad = cli_fail(2, "--set %s: KEY=VALUE is wanted", sets[i]);
    if (!read_options(&a, &r, &bad) || bad) return fv_destroy(r.c), 2;
    if (!known_variant(&r.s)) return fv_destroy(r.c), cli_fail(2, "variant %s: unknown", value_of(&r.s, 't', "variant", ""));
    if (!value_of(&r.s, 't', "variant", NULL)) put_text(&r.s, "variant=llm");
    r.llm_path = cli_value(&a, "--llm");
    if (!fv_error(r.c) && pictures_open(r.c, data, "train", &r.train) && pictures_open(r.c, data, "test", &r.test)) {
        if (r.test.classes > r.train.classes) fv_fail(r.c, FV_EUSAGE, "%s: the test pictures have %d classes, the training pictures %d", data, r.test.classes, r.train.classes);
        open_model(&r, r.train.classes);
        if (!fv_error(r.c)) fits(&r, &r.train), fits(&r, &r.test);
    }
    int hold = (int)number_of(&r.s, 't', "holdout", 0), limit = (int)number_of(&r.s, 't', "limit", 0);
    r.order_count = r.train.count - hold;
    if (limit > 0 && limit < r.order_count) r.order_count = limit;
    int batch = (int)number_of(&r.s, 't', "batch_size", 128) * (int)number_of(&r.s, 't', "grad_accum", 1);
    if (!fv_error(r.c) && (batch < 1 || r.order_count < batch)) /* said before anything is made on the disk */
        fv_fail(r.c, FV_EUSAGE, "%d pictures are too few for a step of %d", r.order_count, batch);
    r.order = (int32_t *)fv_alloc(r.c, (size_t)(r.order_count > 0 ? r.order_count : 1) * sizeof *r.order);
    fv_profile_reset(r.c, cli_value(&a, "--profile") != NULL);
    fv_recompute(r.c, cli_value(&a, "--recompute") != NULL);
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    if (!fv_error(r.c) && mkdir(out, 0777) && !cli_value(&a, "--resume")) fv_fail(r.c, FV_EIO, "%s: cannot be made", out);
    if (!fv_error(r.c)) write_config(&r, out, data);
    if (!fv_error(r.c)) train_loop(&r, out, save_every, json, cli_value(&a, "--quiet") != NULL);
    if (!fv_error(r.c) && cli_value(&a, "--profile")) print_profile(&r);
    close_run(&r);
    status = cli_end(r.c);
    return status ? status : interrupted ? cli_fail(130, "interrupted; %s can be resumed", out) : 0;
}

/* ---- eval ---- */
/* settings, LLM and weights of a finished run; its data folder and class names by j */
static fv_json *reopen(run *r, const char *dir) {
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", dir);
    fv_json *j = fv_json_open(r->c, path);
    fv_jnode root = fv_json_root(j), llm = fv_json_get(j, root, "llm");
    if (!j) return NULL;
    put_json(&r->s, j);
    r->llm_path = fv_json_string(j, fv_json_get(j, llm, "path"), NULL);
    open_model(r, fv_json_count(j, fv_json_get(j, root, "class_names")));
    const char *hash = fv_json_string(j, fv_json_get(j, llm, "sha256"), "");
    if (r->model && r->model->frozen && *hash && strcmp(hash, fv_frozen_hash(r->model->frozen)))
        fv_fail(r->c, FV_EUSAGE, "%s: the language model is not the one of the training: its tensors' SHA-256 differs", r->llm_path);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    if (!fv_error(r->c)) fv_params_load(r->c, path, &r->model->params, &r->model->buffers);
    fv_autocast(r->c, r->bf16 ? FV_BF16 : FV_F32);
    return j;
}

int cmd_eval(int argc, char **argv) {
    cli_option options[] = {{"--data", "DIR", "other data than the run's", NULL}, {"--threads", "N", "all cores unless said", NULL}, {"--json", NULL, "one JSON line", NULL}, {NULL, NULL, NULL, NULL}};
    cli a = {"fv eval RUN [options]", "Measures a finished run on the test pictures.", options, {NULL}, 0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    if (a.count != 1) return cli_fail(2, "a run's folder is wanted; usage: %s", a.usage);
    run r;
    fv_desc d;
    memset(&r, 0, sizeof r), memset(&d, 0, sizeof d);
    d.threads = (int)cli_int(&a, "--threads", 0, 1, &bad);
    if (bad) return 2;
    r.c = fv_create(&d);
    fv_json *j = reopen(&r, a.words[0]);
    const char *data = cli_value(&a, "--data");
    if (!data) data = fv_json_string(j, fv_json_get(j, fv_json_root(j), "data"), "");
    if (!fv_error(r.c) && pictures_open(r.c, data, "test", &r.test) && fits(&r, &r.test)) {
        if (r.test.classes > r.model->num_classes) fv_fail(r.c, FV_EUSAGE, "%s: %d classes, the run has %d", data, r.test.classes, r.model->num_classes);
        measures m = fv_error(r.c) ? (measures){0, 0, 0, 0} : evaluate(&r, &r.test, 0, r.test.count);
        if (!fv_error(r.c)) printf(cli_value(&a, "--json") ? "{\"final\":true,\"top1\":%.2f,\"top5\":%.2f,\"loss\":%.5f}\n" : "top-1 %.2f %%, top-5 %.2f %%, loss %.5f\n", m.top1, m.top5, m.loss);
    }
    fv_json_free(r.c, j);
    close_run(&r);
    return cli_end(r.c);
}

/* ---- predict ---- */
enum { TOP = 5 };

/* indices of the greatest probabilities, the greatest first */
static int best_classes(const float *p, int classes, int *top) {
    int n = classes < TOP ? classes : TOP;
    for (int i = 0; i < n; i++) {
        top[i] = -1;
        for (int j = 0; j < classes; j++) {
            int taken = 0;
            for (int k = 0; k < i; k++) taken |= top[k] == j;
            if (!taken && (top[i] < 0 || p[j] > p[top[i]])) top[i] = j;
        }
    }
    return n;
}

static void print_prediction(run *r, const fv_json *j, const char *file, const float *p, int json) {
    int top[TOP], n = best_classes(p, r->model->num_classes, top);
    fv_jnode names = fv_json_get(j, fv_json_root(j), "class_names");
    fv_text t = {0};
    if (json) {
        fv_text_add(r->c, &t, "{\"file\":");
        fv_text_json_string(r->c, &t, file);
        for (int i = -1; i < n; i++) { /* the best one, then the list */
            int k = top[i < 0 ? 0 : i];
            fv_text_add(r->c, &t, i < 0 ? ",\"class\":" : i ? ",{\"class\":" : ",\"top5\":[{\"class\":");
            fv_text_json_string(r->c, &t, fv_json_string(j, fv_json_at(j, names, k), "?"));
            fv_text_add(r->c, &t, ",\"probability\":%.6f%s", (double)p[k], i < 0 ? "" : "}");
        }
        fv_text_add(r->c, &t, "]}");
    } else
        fv_text_add(r->c, &t, "%s  %s  %.4f", file, fv_json_string(j, fv_json_at(j, names, top[0]), "?"), (double)p[top[0]]);
    if (!fv_error(r->c)) printf("%s\n", t.data);
    fv_text_free(r->c, &t);
}

static void predict_one(run *r, const fv_json *j, const char *file, int json) {
    int channels = (int)number_of(&r->s, 'm', "in_chans", 3);
    int32_t label = 0, index = 0;
    pictures one = {1, r->model->num_classes, r->size, r->size, channels, NULL, &label, NULL};
    fv_tensor *target, *x = NULL, *y = NULL;
    fv_reset(r->c);
    if (channels != 1 && channels != 3) fv_fail(r->c, FV_EUSAGE, "the network wants %d channels; a picture has 1 or 3", channels);
    one.data = (uint8_t *)fv_alloc(r->c, (size_t)r->size * (size_t)r->size * 3);
    if (one.data && !fv_error(r->c) && picture_read(r->c, file, r->size, channels, one.data)) x = batch_of(r, &one, &index, 1, 0, 0, &target);
    if (x) y = fv_model_forward(r->c, r->model, x);
    if (y) y = fv_softmax(r->c, y->type == FV_F32 ? y : fv_cast(r->c, y, FV_F32));
    if (y && !isfinite(fv_get(y, 0))) fv_fail(r->c, FV_ENONFINITE, "%s: the network's output is not finite", file);
    if (y && !fv_error(r->c)) print_prediction(r, j, file, (const float *)y->data, json);
    fv_free(r->c, one.data);
}

int cmd_predict(int argc, char **argv) {
    cli_option options[] = {{"--threads", "N", "all cores unless said", NULL}, {"--json", NULL, "a JSON line for each file, with the five best", NULL}, {NULL, NULL, NULL, NULL}};
    cli a = {"fv predict RUN FILE... [options]", "Prints the file, the class and its probability for each PNG or JPEG.", options, {NULL}, 0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    if (a.count < 2) return cli_fail(2, "a run's folder and pictures are wanted; usage: %s", a.usage);
    run r;
    fv_desc d;
    memset(&r, 0, sizeof r), memset(&d, 0, sizeof d);
    d.threads = (int)cli_int(&a, "--threads", 0, 1, &bad);
    if (bad) return 2;
    r.c = fv_create(&d);
    fv_json *j = reopen(&r, a.words[0]);
    fv_no_grad(r.c, 1);
    for (int i = 1; i < a.count && !fv_error(r.c); i++) predict_one(&r, j, a.words[i], cli_value(&a, "--json") != NULL);
    fv_json_free(r.c, j);
    close_run(&r);
    return cli_end(r.c);
}
