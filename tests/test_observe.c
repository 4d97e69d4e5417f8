/* Looking inside a network: attention's scores against the formula, what an observer is shown of the
 * stage, and that looking changes nothing. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

/* ---- scores: softmax(scale q k^T), query heads share key heads, with a causal mask or a mask of keys
 * ---- */
static double plain_score(const fv_tensor *q, const fv_tensor *k, const fv_attention_desc *d, int64_t b,
                          int64_t h, int64_t i, int64_t j) {
    int64_t N = q->dim[1], M = k->dim[1], hd = q->dim[2] / d->num_heads,
            kh = h / (d->num_heads / d->num_kv_heads);
    double sum = 0, mine = 0;
    for (int64_t m = 0; m < M; m++) {
        double dot = 0;
        if ((d->causal && m > i) || (d->mask && !(fv_get(d->mask, b * M + m) > 0))) continue;
        for (int64_t e = 0; e < hd; e++)
            dot += fv_get(q, (b * N + i) * q->dim[2] + h * hd + e) *
                   fv_get(k, (b * M + m) * k->dim[2] + kh * hd + e);
        sum += exp(dot / sqrt((double)hd));
        if (m == j) mine = exp(dot / sqrt((double)hd));
    }
    return mine / sum;
}
static void scores_are_the_formula(void) {
    enum { B = 2, N = 133, H = 6, K = 2, HD = 10 };
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {8, 8, 0};
    for (int way = 0; way < 3; way++) {
        int64_t dim[3] = {B, N, H * HD}, kdim[3] = {B, N, K * HD}, mdim[2] = {B, N};
        fv_tensor *q = fv_new(c, FV_F32, 3, dim), *k = fv_new(c, FV_F32, 3, kdim),
                  *mask = fv_new(c, FV_U8, 2, mdim);
        fv_attention_desc d;
        double worst = 0;
        memset(&d, 0, sizeof d);
        d.num_heads = H, d.num_kv_heads = K, d.causal = way == 1, d.mask = way == 2 ? mask : NULL;
        for (int64_t i = 0; i < fv_numel(q); i++) fv_set(q, i, (double)fv_rng_normal(&g));
        for (int64_t i = 0; i < fv_numel(k); i++) fv_set(k, i, (double)fv_rng_normal(&g));
        for (int64_t i = 0; i < fv_numel(mask); i++) fv_set(mask, i, i % 3 > 0);
        fv_tensor *y = fv_attention_scores(c, q, k, &d);
        CHECK(y && y->rank == 4 && y->dim[1] == H && y->dim[2] == N && y->dim[3] == N, "%s",
              fv_error_text(c));
        for (int64_t i = 0; y && i < fv_numel(y); i += 7)
            worst = test_worse(worst, fabs(fv_get(y, i) - plain_score(q, k, &d, i / (H * N * N),
                                                                      i / (N * N) % H, i / N % N, i % N)));
        CHECK(worst < 2e-6, "way %d: off by %g", way, worst);
        fv_reset(c);
    }
    fv_destroy(c);
}

/* ---- the stage ---- */
typedef struct sights {
    int count;
    char place[32][32];
    double sum[32];
    int backward[32];
    float grad[4][2 * 9 * 16];
    int grads;
} sights;
static void look(void *user, const char *place, const fv_tensor *x) {
    sights *s = (sights *)user;
    if (s->count == 32) return;
    snprintf(s->place[s->count], sizeof s->place[0], "%s", place);
    s->backward[s->count] = x->grad != NULL;
    for (int64_t i = 0; i < fv_numel(x); i++) s->sum[s->count] += fv_get(x, i);
    if (x->grad && (!strcmp(place, "stage.input") || !strcmp(place, "stage.output")))
        memcpy(s->grad[s->grads++], x->grad, (size_t)fv_numel(x) * sizeof(float));
    s->count++;
}
static fv_frozen *small_stage(fv_ctx *c, fv_params *p) {
    fv_frozen_desc d;
    memset(&d, 0, sizeof d);
    d.config.hidden_size = 24, d.config.num_attention_heads = 4, d.config.num_key_value_heads = 2,
    d.config.intermediate_size = 40;
    d.config.variant = FV_VARIANT_RANDOM, d.config.num_layers = 1, d.dim = 16, d.seed = 5;
    return fv_frozen_create(c, &d, p);
}
/* z -> stage; what flows back to z from a given gradient. out: [output, z's gradient] */
static void through(fv_ctx *c, fv_frozen *f, const float *z, const float *gy, float *out, int no_grad) {
    int64_t dim[3] = {2, 9, 16};
    fv_reset(c);
    fv_no_grad(c, no_grad);
    fv_tensor *x = fv_input(c, FV_F32, 3, dim, z, 1), *y = fv_frozen_forward(c, f, x, NULL);
    CHECK(y, "%s", fv_error_text(c));
    if (!y) return;
    memcpy(out, y->data, 288 * sizeof *out);
    if (no_grad) return;
    fv_backward_from(c, y, gy);
    memcpy(out + 288, x->grad, 288 * sizeof *out);
}
static void the_stage_is_shown(void) {
    static const char *const order[] = {"stage.input", "stage.scores",    "stage.attention",
                                        "stage.ffn",   "stage.output",    "stage.output",
                                        "stage.ffn",   "stage.attention", "stage.input"};
    fv_ctx *c = fv_create(NULL);
    fv_params p = {NULL, 0, 0};
    fv_frozen *f = small_stage(c, &p);
    fv_rng g = {9, 9, 0};
    float z[288], gy[288], plain[576], seen[576];
    static sights s, quiet;
    CHECK(f, "%s", fv_error_text(c));
    if (!f) return;
    for (int i = 0; i < 288; i++) z[i] = fv_rng_normal(&g), gy[i] = fv_rng_normal(&g);
    through(c, f, z, gy, plain, 0);
    fv_observe(c, look, &s);
    through(c, f, z, gy, seen, 0);
    CHECK(!memcmp(plain, seen, sizeof plain), "looking changes the numbers");
    CHECK(s.count == 9, "%d places instead of 9", s.count);
    for (int i = 0; i < 9 && i < s.count; i++)
        CHECK(!strcmp(s.place[i], order[i]) && s.backward[i] == (i > 4), "place %d is %s, %d", i, s.place[i],
              s.backward[i]);
    CHECK(fabs(s.sum[1] - 2 * 4 * 9) < 1e-4, "each row of the scores adds up to 1: %g", s.sum[1]);
    CHECK(s.grads == 2 && !memcmp(s.grad[0], gy, sizeof gy), "the output's gradient is what was given");
    CHECK(!memcmp(s.grad[1], seen + 288, sizeof gy), "the input's gradient is z's");
    fv_observe(c, look, &quiet);
    through(c, f, z, gy, seen, 1);
    CHECK(!memcmp(plain, seen, 288 * sizeof *seen) && quiet.count == 5 && quiet.grads == 0,
          "without gradients: %d places", quiet.count);
    static sights again;
    fv_observe(c, look, &again);
    fv_recompute(c, 1);
    through(c, f, z, gy, seen, 0);
    CHECK(!memcmp(plain, seen, sizeof plain) && again.grads == 2 &&
              !memcmp(again.grad[1], seen + 288, sizeof gy),
          "with recomputation");
    fv_recompute(c, 0);
    fv_observe(c, NULL, NULL);
    through(c, f, z, gy, seen, 0);
    CHECK(quiet.count == 5 && !memcmp(plain, seen, sizeof plain), "nobody looks any more");
    fv_frozen_destroy(c, f);
    fv_destroy(c);
}

/* ---- what fv compare relies on: variants start from the same weights in the part that they share ---- */
static void variants_share_their_start(void) {
    static const char *const variant[] = {"linear", "mlp", "random", "scratch"};
    static const char shared[] =
        "{\"arch\":\"vit\",\"img_size\":8,\"patch_size\":4,\"in_chans\":1,\"embed_dim\":16,\"depth\":2,"
        "\"num_heads\":2,\"num_classes\":3,\"frozen\":";
    fv_ctx *c = fv_create(NULL);
    fv_model_desc d;
    char text[600];
    memset(&d, 0, sizeof d), d.seed = 7;
    snprintf(text, sizeof text, "%snull}", shared);
    fv_model *base = fv_model_create(c, text, strlen(text), &d);
    for (int i = 0; i < 4 && base; i++) {
        snprintf(
            text, sizeof text,
            "%s{\"variant\":\"%s\",\"hidden_size\":24,\"num_attention_heads\":2,\"intermediate_size\":32}}",
            shared, variant[i]);
        fv_model *m = fv_model_create(c, text, strlen(text), &d);
        for (int k = 0; m && k < base->params.count; k++) {
            const fv_tensor *t = base->params.at[k], *u = fv_params_find(&m->params, t->name);
            CHECK(u && fv_numel(u) == fv_numel(t) &&
                      !memcmp(u->data, t->data, (size_t)fv_numel(t) * sizeof(float)),
                  "%s: %s starts otherwise", variant[i], t->name);
        }
        CHECK(m && m->params.count > base->params.count, "%s: %s", variant[i], fv_error_text(c));
        fv_model_destroy(c, m);
    }
    CHECK(base, "%s", fv_error_text(c));
    fv_destroy(c);
}

int main(void) {
    RUN(variants_share_their_start);
    RUN(scores_are_the_formula);
    RUN(the_stage_is_shown);
    return REPORT();
}
