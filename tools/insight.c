#include "insight.h"
#include <stdio.h>
#include <string.h>

const char *insight_place(int place) {
    static const char *const names[INSIGHT_PLACES] = {"last encoder block, after attention", "before the stage", "after the LLM's attention", "after the LLM's FFN", "after F2"};
    return names[place];
}

/* *to = x's numbers as f32 */
static void keep(insight *s, float **to, const fv_tensor *x, const void *data, fv_type type) {
    int64_t n = fv_numel(x);
    fv_free(s->c, *to);
    *to = (float *)fv_alloc(s->c, (size_t)n * sizeof **to);
    fv_tensor view = *x;
    view.data = (void *)(uintptr_t)data, view.type = type;
    for (int64_t i = 0; *to && i < n; i++) (*to)[i] = (float)fv_get(&view, i);
}
static void keep_tokens(insight *s, int place, const fv_tensor *x) {
    keep(s, &s->x[place], x, x->data, x->type);
    s->items = (int)x->dim[0], s->tokens = (int)x->dim[1], s->width[place] = (int)x->dim[2];
}
static void keep_scores(insight *s, int which, const fv_tensor *x) {
    keep(s, &s->scores[which], x, x->data, x->type);
    s->heads[which] = (int)x->dim[1];
}
static void look(void *user, const char *place, const fv_tensor *x) {
    insight *s = (insight *)user;
    int stage = !strncmp(place, "stage.", 6);
    if (x->grad) {
        if (!strcmp(place, "stage.input")) keep(s, &s->grad_in, x, x->grad, fv_grad_type(x));
        if (!strcmp(place, "stage.output")) keep(s, &s->grad_out, x, x->grad, fv_grad_type(x));
        return;
    }
    s->inside |= stage;
    if (!stage && s->inside) return; /* blocks behind the stage */
    const char *what = strchr(place, '.') + 1;
    if (!strcmp(what, "scores")) keep_scores(s, stage, x);
    else if (!strcmp(what, "attention")) keep_tokens(s, stage ? AT_ATTENTION : AT_BLOCK_ATTENTION, x);
    else if (!strcmp(what, "ffn")) keep_tokens(s, stage ? AT_FFN : AT_BEFORE, x);
    else if (!strcmp(what, "input")) keep_tokens(s, AT_BEFORE, x);
    else if (!strcmp(what, "output")) keep_tokens(s, AT_F2, x);
}

void insight_begin(fv_ctx *c, insight *s) {
    memset(s, 0, sizeof *s);
    s->c = c;
    fv_observe(c, look, s);
}
void insight_clear(insight *s) {
    for (int i = 0; i < INSIGHT_PLACES; i++) fv_free(s->c, s->x[i]), s->x[i] = NULL;
    for (int i = 0; i < INSIGHT_SCORES; i++) fv_free(s->c, s->scores[i]), s->scores[i] = NULL;
    fv_free(s->c, s->grad_in), fv_free(s->c, s->grad_out);
    s->grad_in = s->grad_out = NULL, s->inside = 0;
}
void insight_end(insight *s) {
    if (!s->c) return;
    fv_observe(s->c, NULL, NULL);
    insight_clear(s);
}

int insight_fits(run *r) {
    if (fv_error(r->c)) return 0;
    if (strcmp(r->task->name, "image") || strcmp(r->model->arch->name, "vit") || is_text(&r->s, 'm', "class_token", "false") || !strcmp(value_of(&r->s, 'm', "class_token", "true"), "false"))
        return fv_fail(r->c, FV_EUSAGE, "this looks into vision transformers of the task image that have a class token; the run is of the task %s", r->task->name);
    return 1;
}

void insight_class_row(const insight *s, int which, int item, double *out) {
    int N = s->tokens, H = s->heads[which];
    for (int k = 0; k + 1 < N; k++) out[k] = 0;
    for (int h = 0; h < H; h++)
        for (int k = 0; k + 1 < N; k++) out[k] += (double)s->scores[which][((size_t)item * (size_t)H + (size_t)h) * (size_t)(N * N) + (size_t)k + 1];
}
