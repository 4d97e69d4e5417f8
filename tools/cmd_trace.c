/* fv trace: runs a case file (a small network, a block, or a training run, with its weights and inputs) and
 * writes every result, or compares it with the results that PyTorch left in the file. SPEC 2 tells the names
 * and the tolerances. */
#include "cli.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct trace_result {
    char name[256];
    int rank;
    int64_t dim[FV_MAX_RANK];
    float *data; /* the context's */
} trace_result;
typedef struct trace {
    fv_ctx *c;
    fv_weights *file, *llm; /* llm: NULL unless --llm */
    fv_json *config;
    const char *config_text;
    int bf16;
    trace_result *result;
    int count, capacity;
} trace;

/* ---- what goes in ---- */
static const fv_entry *trace_entry(trace *t, const char *name) {
    const fv_entry *e = fv_weights_find(t->file, name);
    if (!e)
        fv_fail(t->c, FV_EFORMAT, "%s: a case of this kind has a tensor \"%s\"", fv_weights_path(t->file),
                name);
    return e;
}

/* a whole tensor of the file; the context's memory */
static void *trace_read(trace *t, const char *name, fv_type type, const fv_entry **entry) {
    const fv_entry *e = trace_entry(t, name);
    if (!e) return NULL;
    void *data = fv_alloc(t->c, (size_t)(e->count + 1) * fv_type_size(type));
    *entry = e;
    return data && fv_entry_read(t->c, t->file, e, type, data) ? data : NULL;
}
static fv_tensor *trace_input(trace *t, const char *name, fv_type type, int needs_grad) {
    const fv_entry *e;
    void *data = trace_read(t, name, type, &e);
    fv_tensor *x = data ? fv_input(t->c, type, e->rank, e->dim, data, needs_grad) : NULL;
    fv_free(t->c, data);
    return x;
}

/* ---- what comes out ---- */
/* data: in host memory; NULL: zeros */
static void trace_add(trace *t, const char *prefix, const char *name, int rank, const int64_t *dim,
                      const void *data, fv_type type) {
    int64_t n = 1;
    if (fv_error(t->c)) return;
    if (t->count == t->capacity) {
        int more = 2 * t->capacity + 64;
        trace_result *r = (trace_result *)fv_alloc(t->c, (size_t)more * sizeof *r);
        if (!r) return;
        if (t->count) memcpy(r, t->result, (size_t)t->count * sizeof *r);
        fv_free(t->c, t->result);
        t->result = r, t->capacity = more;
    }
    trace_result *r = &t->result[t->count];
    snprintf(r->name, sizeof r->name, "%s%s", prefix, name);
    r->rank = rank;
    for (int i = 0; i < rank; i++) n *= r->dim[i] = dim[i];
    r->data = (float *)fv_alloc(t->c, (size_t)(n + 1) * sizeof *r->data);
    if (!r->data) return;
    fv_tensor view;
    memset(&view, 0, sizeof view);
    view.data = (void *)(uintptr_t)data, view.type = type;
    for (int64_t i = 0; data && i < n; i++)
        r->data[i] = (float)fv_get(&view, i); /* no data: zeros, no gradient arrived */
    t->count++;
}
/* a tensor, or its gradient, wherever it lies */
static void trace_add_any(trace *t, const char *prefix, const char *name, const fv_tensor *x, int gradient) {
    fv_type type = x ? gradient ? fv_grad_type(x) : x->type : FV_F32;
    void *p = x ? fv_alloc(t->c, (size_t)(fv_numel(x) + 1) * fv_type_size(type)) : NULL;
    if (p && (gradient ? fv_read_grad(t->c, x, p) : fv_read(t->c, x, p)))
        trace_add(t, prefix, name, x->rank, x->dim, p, type);
    fv_free(t->c, p);
}
static void trace_add_tensor(trace *t, const char *name, const fv_tensor *x) {
    trace_add_any(t, "", name, x, 0);
}
static void trace_add_grad(trace *t, const char *prefix, const char *name, const fv_tensor *x) {
    trace_add_any(t, prefix, name, x, 1);
}

/* ---- the kinds of cases ---- */
static fv_model *trace_model(trace *t) {
    fv_model_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.pack = t->bf16 ? FV_BF16 : FV_F32;
    if (!fv_frozen_has(t->c, t->file)) desc.llm = t->llm;
    fv_model *m = fv_model_create(t->c, t->config_text, strlen(t->config_text), &desc);
    if (m && !fv_model_load(t->c, m, t->file, "model.")) {
        fv_model_destroy(t->c, m);
        return NULL;
    }
    if (m) m->dropout = m->drop_path = 0; /* a case has nothing random */
    return m;
}

static void trace_model_case(trace *t) {
    fv_ctx *c = t->c;
    fv_model *m = trace_model(t);
    fv_tensor *x = trace_input(t, "input", FV_F32, 1);
    fv_tensor *target = fv_weights_find(t->file, "target") ? trace_input(t, "target", FV_I64, 0)
                                                           : NULL; /* without one: no loss */
    if (m && m->buffers.count) { /* batch statistics: once as stored, then as in training, which moves them */
        fv_no_grad(c, 1);
        trace_add_tensor(t, "logits_eval", fv_model_forward(c, m, x));
        fv_no_grad(c, 0);
        fv_training(c, 1);
    }
    fv_tensor *logits = fv_model_forward(c, m, x);
    trace_add_tensor(t, "logits", logits);
    if (m && m->features) trace_add_tensor(t, "features", m->features);
    fv_tensor *loss = logits && target ? fv_cross_entropy(c, logits, target, 0) : NULL;
    trace_add_tensor(t, "loss", loss);
    if (loss) fv_backward(c, loss);
    if (!fv_error(c) && x && x->grad_set) trace_add_grad(t, "", "grad_input", x);
    for (int i = 0; loss && i < m->params.count && !fv_error(c); i++)
        trace_add_grad(t, "grad.", m->params.at[i]->name, m->params.at[i]);
    for (int i = 0; m && i < m->buffers.count && !fv_error(c); i++)
        trace_add_any(t, "after.", m->buffers.at[i]->name, m->buffers.at[i], 0);
    fv_model_destroy(c, m);
}

static void trace_block_case(trace *t) {
    fv_ctx *c = t->c;
    fv_frozen_desc desc;
    fv_params none;
    const fv_entry *e;
    memset(&desc, 0, sizeof desc), memset(&none, 0, sizeof none);
    desc.pack = t->bf16 ? FV_BF16 : FV_F32;
    desc.llm = t->llm;
    int own = fv_frozen_has(c, t->file);
    if (own) desc.llm = NULL;
    if (!own && !t->llm)
        fv_fail(c, FV_EUSAGE, "%s holds no block: give the LLM's file with --llm", fv_weights_path(t->file));
    if (!fv_frozen_config_parse(c, t->config, fv_json_get(t->config, fv_json_root(t->config), "frozen"), 1,
                                &desc.config))
        return;
    fv_frozen *f = fv_frozen_create(c, &desc, &none);
    if (f && own) fv_frozen_load(c, f, t->file, 0);
    fv_tensor *x = trace_input(t, "input", FV_F32, 1);
    fv_tensor *mask = fv_weights_find(t->file, "mask") ? trace_input(t, "mask", FV_U8, 0) : NULL;
    fv_tensor *y = f && x ? fv_llm_blocks(c, f, x, mask) : NULL;
    if (y && y->type != FV_F32) y = fv_cast(c, y, FV_F32); /* a final norm's output under bf16 */
    trace_add_tensor(t, "output", y);
    float *gradient =
        fv_weights_find(t->file, "grad_output") ? (float *)trace_read(t, "grad_output", FV_F32, &e) : NULL;
    if (y && gradient && (e->count != fv_numel(y) || y->type != FV_F32))
        fv_fail(c, FV_EFORMAT, "%s: grad_output has not the output's shape", fv_weights_path(t->file));
    if (y && gradient && !fv_error(c)) fv_backward_from(c, y, gradient);
    if (gradient && !fv_error(c)) trace_add_grad(t, "", "grad_input", x);
    fv_frozen_destroy(c, f);
}

static float train_number(const trace *t, fv_jnode train, const char *key, float otherwise) {
    return (float)fv_json_number(t->config, fv_json_get(t->config, train, key), (double)otherwise);
}
/* for fv_optim_desc, where 0 means the default and a negative number 0 */
static float off_when_zero(double x) { return x > 0 ? (float)x : -1; }

static fv_optim_desc trace_optim(const trace *t, fv_jnode train) {
    fv_optim_desc d;
    fv_jnode betas = fv_json_get(t->config, train, "betas");
    memset(&d, 0, sizeof d);
    const char *name = fv_json_string(t->config, fv_json_get(t->config, train, "optimizer"), "adamw");
    if (strcmp(name, "adamw") && strcmp(name, "sgd"))
        fv_fail(t->c, FV_EUSAGE, "config: train.optimizer is \"%.40s\"; it can be adamw or sgd", name);
    d.kind = strcmp(name, "sgd") ? FV_ADAMW : FV_SGD;
    d.beta1 = off_when_zero(fv_json_number(t->config, fv_json_at(t->config, betas, 0), 0.9));
    d.beta2 = off_when_zero(fv_json_number(t->config, fv_json_at(t->config, betas, 1), 0.999));
    d.eps = off_when_zero((double)train_number(t, train, "eps", 1e-8f));
    d.momentum = off_when_zero((double)train_number(t, train, "momentum", 0));
    d.weight_decay = off_when_zero((double)train_number(t, train, "weight_decay", 0));
    d.clip_grad = train_number(t, train, "clip_grad", 0);
    return d;
}

/* The case's own groups: no decay for the names it lists, `pos_embed` and `cls_token` when it has no list.
 * (The optimiser itself leaves tensors of rank 0 and 1 out.) */
static void trace_decay_groups(const trace *t, fv_jnode train, fv_params *params) {
    fv_jnode list = fv_json_get(t->config, train, "no_decay");
    for (int i = 0; i < params->count; i++) {
        const char *name = params->at[i]->name;
        int kept = !list && (!strcmp(name, "pos_embed") || !strcmp(name, "cls_token"));
        for (fv_jnode n = fv_json_first(t->config, list); n; n = fv_json_next(t->config, n))
            kept |= !strcmp(name, fv_json_string(t->config, n, ""));
        if (kept) params->at[i]->flags |= FV_NO_DECAY;
        else params->at[i]->flags &= ~(unsigned)FV_NO_DECAY;
    }
}

/* one step: `accum` equal parts, each part's loss divided by their number; returns the mean loss */
static double trace_step(trace *t, fv_model *m, const float *x, const int64_t *target, const int64_t *dim,
                         int rank, int accum, float smoothing) {
    int64_t part[FV_MAX_RANK], sample = 1;
    double sum = 0;
    for (int i = 0; i < rank; i++) part[i] = dim[i];
    part[0] = dim[0] / accum;
    for (int i = 1; i < rank; i++) sample *= dim[i];
    for (int a = 0; a < accum && !fv_error(t->c); a++) {
        fv_tensor *in = fv_input(t->c, FV_F32, rank, part, x + a * part[0] * sample, 0);
        fv_tensor *label = fv_input(t->c, FV_I64, 1, part, target + a * part[0], 0);
        fv_tensor *logits = fv_model_forward(t->c, m, in);
        fv_tensor *loss = logits ? fv_cross_entropy(t->c, logits, label, smoothing) : NULL;
        if (loss) sum += fv_get(loss, 0) / accum;
        if (loss) fv_backward(t->c, accum > 1 ? fv_scale(t->c, loss, 1.0f / (float)accum) : loss);
        fv_reset(t->c);
    }
    return sum;
}

static void trace_train_case(trace *t) {
    fv_ctx *c = t->c;
    const fv_entry *in, *target, *lrs;
    fv_jnode train = fv_json_get(t->config, fv_json_root(t->config), "train");
    float *x = (float *)trace_read(t, "batches.input", FV_F32, &in);
    int64_t *label = (int64_t *)trace_read(t, "batches.target", FV_I64, &target);
    float *lr = (float *)trace_read(t, "lrs", FV_F32, &lrs);
    fv_model *m = trace_model(t);
    if (!m || !x || !label || !lr) return;
    int accum = (int)train_number(t, train, "grad_accum", 1);
    if (in->rank < 3 || target->rank != 2 || lrs->rank != 1 || in->dim[0] != lrs->dim[0] ||
        target->dim[0] != lrs->dim[0] || in->dim[1] != target->dim[1] || accum < 1 || in->dim[1] % accum) {
        fv_fail(c, FV_EFORMAT,
                "%s: batches.input [steps,n,...], batches.target [steps,n] and lrs [steps] do not fit",
                fv_weights_path(t->file));
        return;
    }
    fv_optim_desc desc = trace_optim(t, train);
    trace_decay_groups(t, train, &m->params);
    fv_optim *o = fv_optim_create(c, &m->params, &desc);
    int64_t steps = lrs->dim[0], n = in->count / (steps ? steps : 1);
    float *losses = (float *)fv_alloc(c, (size_t)(steps + 1) * sizeof(float));
    float *norms = (float *)fv_alloc(c, (size_t)(steps + 1) * sizeof(float));
    fv_training(c, 1);
    for (int64_t s = 0; s < steps && o && !fv_error(c); s++) {
        fv_seed(c, 0, (uint64_t)s);
        losses[s] = (float)trace_step(t, m, x + s * n, label + s * in->dim[1], in->dim + 1, in->rank - 1,
                                      accum, train_number(t, train, "label_smoothing", 0));
        norms[s] = (float)fv_optim_step(c, o, lr[s]);
    }
    trace_add(t, "", "losses", 1, &steps, losses, FV_F32);
    trace_add(t, "", "grad_norms", 1, &steps, norms, FV_F32);
    for (int i = 0; i < m->params.count; i++)
        trace_add_any(t, "final.", m->params.at[i]->name, m->params.at[i], 0);
    for (int i = 0; i < m->buffers.count; i++)
        trace_add_any(t, "final.", m->buffers.at[i]->name, m->buffers.at[i], 0);
    fv_optim_destroy(c, o);
    fv_model_destroy(c, m);
}

/* Fills t->result from t->file. Returns 1, or 0 and the context's error. */
static int trace_run(trace *t) {
    const char *kind = fv_weights_meta_string(t->file, "case", NULL);
    t->config_text = fv_weights_meta_string(t->file, "config", NULL);
    if (!kind || !t->config_text)
        return fv_fail(t->c, FV_EFORMAT, "%s is not a case: its metadata has no \"%s\"",
                       fv_weights_path(t->file), kind ? "config" : "case");
    t->config = fv_json_parse(t->c, t->config_text, strlen(t->config_text), "config");
    if (!t->config) return 0;
    fv_autocast(t->c, t->bf16 ? FV_BF16 : FV_F32);
    if (!strcmp(kind, "model")) trace_model_case(t);
    else if (!strcmp(kind, "block")) trace_block_case(t);
    else if (!strcmp(kind, "train")) trace_train_case(t);
    else
        fv_fail(t->c, FV_EUNAVAILABLE,
                "%s: cases of kind \"%.40s\" are not known; there are model, block, train",
                fv_weights_path(t->file), kind);
    fv_json_free(t->c, t->config);
    return !fv_error(t->c);
}

/* ---- comparing ---- */
static int starts(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }
static int ends(const char *s, const char *with) {
    size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcmp(s + n - m, with);
}
static int is_result(const char *name) {
    static const char *const exact[] = {"logits",      "loss",   "features", "grad_input",
                                        "logits_eval", "output", "losses",   "grad_norms"};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        if (!strcmp(name, exact[i])) return 1;
    return starts(name, "grad.") || starts(name, "final.") || starts(name, "after.");
}
/* "grad.PATH.N.bias" where PATH.(N+1) is a batch norm, which takes any constant away: the gradient is 0 but
 * for rounding */
static int feeds_batch_norm(const trace *t, const char *name) {
    char key[300];
    size_t n = strlen(name);
    /* points: each neighbour and its group's maximum carry this one, alike, through second_conv.0 into
     * second_conv.1 */
    if (!strcmp(name, "grad.encoder.first_conv.3.bias"))
        return fv_weights_find(t->file, "model.encoder.second_conv.1.running_mean") != NULL;
    if (!starts(name, "grad.") || !ends(name, ".bias") || n < 12 || n > 200) return 0;
    const char *digit = name + n - 6;
    while (digit > name && digit[-1] >= '0' && digit[-1] <= '9') digit--;
    if (digit == name + n - 5) return 0;
    snprintf(key, sizeof key, "model.%.*s%d.running_mean", (int)(digit - name) - 5, name + 5,
             atoi(digit) + 1);
    return fv_weights_find(t->file, key) != NULL;
}
static double tolerance_of(const char *name) {
    if (!strcmp(name, "losses") || !strcmp(name, "grad_norms")) return 2e-4;
    if (starts(name, "final.")) return ends(name, ".bias") ? 3e-2 : 5e-3;
    return 2e-5;
}

/* The greatest error over the greatest magnitude; NaN where a number is none. */
static double trace_error(const trace_result *r, const float *wanted, int64_t n, double least) {
    double worst = 0, scale = least;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)r->data[i] - (double)wanted[i]);
        if (!isfinite((double)wanted[i]) || !isfinite(e)) return NAN;
        if (e > worst) worst = e;
        if (fabs((double)wanted[i]) > scale) scale = fabs((double)wanted[i]);
    }
    return worst / scale;
}

/* One expected tensor; prints a line when `say`. Returns 1 when it holds. */
static int trace_compare(trace *t, const fv_entry *e, int say) {
    const trace_result *r = NULL;
    double tolerance = tolerance_of(e->name), error = NAN;
    for (int i = 0; i < t->count; i++)
        if (!strcmp(t->result[i].name, e->name)) r = &t->result[i];
    int same = r && (r->rank == e->rank || e->count == 1);
    for (int i = 0; same && i < r->rank; i++)
        same = r->dim[i] == (e->count == 1 ? 1 : e->dim[i]); /* [1] is as good as a scalar */
    float *wanted = same ? (float *)fv_alloc(t->c, (size_t)(e->count + 1) * sizeof(float)) : NULL;
    if (wanted && fv_entry_read(t->c, t->file, e, FV_F32, wanted))
        error = trace_error(r, wanted, e->count,
                            feeds_batch_norm(t, e->name)                               ? 1e-6 / tolerance
                            : starts(e->name, "grad") && strcmp(e->name, "grad_norms") ? 1e-3
                                                                                       : 1e-30);
    fv_free(t->c, wanted);
    int ok = error <= tolerance;
    if (say && !same)
        printf("%-48s %s\n", e->name, r ? "has another shape  FAILED" : "was not produced  FAILED");
    else if (say)
        printf("%-48s %9.2e of %.0e, %lld compared%s\n", e->name, error, tolerance, (long long)e->count,
               ok ? "" : "  FAILED");
    return ok;
}

/* Returns how many tensors disagree; -1 when there was nothing to compare. */
static int trace_check(trace *t, int say) {
    int compared = 0, bad = 0;
    for (int i = 0; i < fv_weights_count(t->file); i++) {
        const fv_entry *e = fv_weights_at(t->file, i);
        if (!is_result(e->name)) continue;
        compared++;
        bad += !trace_compare(t, e, say);
    }
    if (say) printf("%d tensors compared, %d failed\n", compared, bad);
    return compared ? bad : -1;
}

/* a result that is no number fails, though there is nothing to compare it with */
static int trace_finite(trace *t) {
    for (int i = 0; i < t->count; i++) {
        const trace_result *r = &t->result[i];
        int64_t n = 1;
        for (int k = 0; k < r->rank; k++) n *= r->dim[k];
        for (int64_t k = 0; k < n; k++)
            if (!isfinite(r->data[k]))
                return fv_fail(t->c, FV_ECHECK, "%s: the result %s is not finite at element %lld",
                               fv_weights_path(t->file), r->name, (long long)k);
    }
    return 1;
}

static int trace_write(trace *t, const char *path) {
    static const char *const metadata[] = {"format", "pt", NULL};
    fv_save_entry *e = (fv_save_entry *)fv_alloc(t->c, (size_t)(t->count + 1) * sizeof *e);
    if (!e) return 0;
    for (int i = 0; i < t->count; i++) {
        const trace_result *r = &t->result[i];
        e[i].name = r->name, e[i].dtype = FV_D_F32, e[i].rank = r->rank, e[i].dim = r->dim,
        e[i].data = r->data;
    }
    return fv_safetensors_write(t->c, path, e, t->count, metadata);
}

int cmd_trace(int argc, char **argv) {
    cli_option options[] = {
        {"--out", "FILE", "write every result to this safetensors file; must not exist", NULL},
        {"--check", NULL, "compare with the results in CASE; exit 1 when one is over its tolerance", NULL},
        {"--llm", "FILE", "the LLM, when CASE does not hold the block itself", NULL},
        {"--precision", "f32|bf16", "default f32", NULL},
        CLI_DEVICE,
        CLI_GPU,
        {"--threads", "N", "default: as many as the process may use", NULL},
        {NULL, NULL, NULL, NULL}};
    cli o = {"fv trace CASE.safetensors [--out FILE] [--check] [options]",
             "Runs a case (a model, a block, or a few steps of training) and writes or checks every result.",
             options,
             {NULL},
             0};
    int bad = 0, status = cli_parse(&o, argc, argv);
    if (status >= 0) return status;
    const char *out = cli_value(&o, "--out"), *llm = cli_value(&o, "--llm"),
               *precision = cli_value(&o, "--precision");
    int check = cli_value(&o, "--check") != NULL;
    fv_desc desc;
    trace t;
    memset(&t, 0, sizeof t);
    cli_context(&o, &desc, &bad);
    if (bad) return 2;
    if (o.count != 1 || (!out && !check))
        return cli_fail(2, "a CASE and --out FILE or --check are wanted; usage: %s", o.usage);
    if (precision && strcmp(precision, "f32") && strcmp(precision, "bf16"))
        return cli_fail(2, "--precision %s: it can be f32 or bf16", precision);
    if (out && cli_taken(out, "another --out is wanted")) return 2;
    t.bf16 = precision && !strcmp(precision, "bf16");
    if (!(t.c = fv_create(&desc))) return cli_fail(6, "out of memory");
    t.file = fv_weights_open(t.c, o.words[0]);
    if (t.file && llm) t.llm = fv_weights_open(t.c, llm);
    status = 0;
    if (!fv_error(t.c) && trace_run(&t)) {
        if (out) trace_write(&t, out);
        if (check && !fv_error(t.c)) status = trace_check(&t, 1);
        if (!check && !fv_error(t.c)) trace_finite(&t);
        if (status < 0 && !fv_error(t.c))
            fv_fail(t.c, FV_ECHECK, "%s holds no results: there is nothing to compare", o.words[0]);
    }
    fv_weights_close(t.c, t.llm);
    fv_weights_close(t.c, t.file);
    int failed = cli_end(t.c);
    return failed ? failed : status != 0;
}
