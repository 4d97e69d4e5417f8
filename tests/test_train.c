/* optim and train: AdamW and SGD against torch 2.15's (decay on the matrix alone, norm clipped to 1.5, five
 * steps of the gradients below), the schedule, EMA, and a checkpoint that goes on with the same bits. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"
#include <math.h>
#include <stdlib.h>

static const float start_w[6] = {0.5f, -1, 2, 0.25f, 0, -0.75f}, start_b[3] = {0.1f, -0.2f, 0.3f};
static const double after_adamw[9] = {0.471392542,  -1.02450955,  1.98070717,   0.263787389, 0.0314690508,
                                      -0.733537614, 0.0711800158, -0.159194306, 0.311549067};
static const double after_sgd[9] = {0.4529908,    -1.01892626,  1.97960424,   0.285061806, 0.0355998129,
                                    -0.740035832, 0.0723639801, -0.172079682, 0.304398119};

/* a step by fv_optim_step_async with a loss given in two halves; -> its norm */
static double told_later(fv_ctx *c, fv_optim *o, double loss) {
    fv_step_result r = {0, 0, 0};
    float half = (float)(loss / 2);
    for (int i = 0; i < 2; i++) fv_optim_loss(c, o, fv_input(c, FV_F32, 0, NULL, &half, 0));
    CHECK(fv_optim_step_async(c, o, 0.01f, 7) && fv_optim_result(c, o, 0, &r), "%s", fv_error_text(c));
    CHECK(r.note > 6.9 && r.note < 7.1, "the note is %g", r.note);
    CHECK(loss < INFINITY ? fabs(r.loss - loss) < 1e-6 : r.loss >= INFINITY, "the loss is %g", r.loss);
    CHECK(!fv_optim_result(c, o, 1, &r), "a result comes once");
    return r.norm;
}
static void against_torch(const fv_optim_desc *desc, const double *want, int later) {
    fv_ctx *c = fv_create(NULL);
    fv_params p;
    int64_t dim[2] = {2, 3}, three[1] = {3};
    double norm = 0;
    memset(&p, 0, sizeof p);
    fv_tensor *w = fv_param(c, "w", FV_F32, 2, dim), *b = fv_param(c, "b", FV_F32, 1, three);
    memcpy(w->data, start_w, sizeof start_w), memcpy(b->data, start_b, sizeof start_b);
    fv_params_add(c, &p, w), fv_params_add(c, &p, b);
    fv_optim *o = fv_optim_create(c, &p, desc);
    /* a backward pass would have made them */
    w->grad = fv_alloc(c, sizeof start_w), b->grad = fv_alloc(c, sizeof start_b);
    for (int s = 0; s < 5; s++) {
        for (int i = 0; i < 6; i++) ((float *)w->grad)[i] = (float)(sin(i + s) * (s + 1));
        for (int i = 0; i < 3; i++) ((float *)b->grad)[i] = (float)cos(2 * i + s);
        w->grad_set = b->grad_set = 1;
        norm = later ? told_later(c, o, s) : fv_optim_step(c, o, 0.01f);
        CHECK(!w->grad_set && !b->grad_set, "wrong");
    }
    for (int s = 0; s < 2 && later; s++) { /* after a loss that is not finite nothing moves any more */
        w->grad_set = b->grad_set = 1;
        told_later(c, o, s ? 1 : (double)INFINITY);
    }
    CHECK(fabs(norm - 8.951920509338379) < 1e-5, "%.9g", norm);
    for (int i = 0; i < 9; i++) {
        double got = i < 6 ? fv_get(w, i) : fv_get(b, i - 6);
        CHECK(fabs(got - want[i]) < 3e-7, "%d: %.9g, torch has %.9g", i, got, want[i]);
    }
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    fv_optim_destroy(c, o);
    fv_destroy(c);
}
static void adamw(void) {
    fv_optim_desc d = {FV_ADAMW, 0.9f, 0.95f, 1e-6f, 0, 0.1f, 1.5f};
    for (int later = 0; later < 2; later++) against_torch(&d, after_adamw, later);
}
static void sgd(void) {
    fv_optim_desc d = {FV_SGD, 0, 0, 0, 0.9f, 0.1f, 1.5f};
    for (int later = 0; later < 2; later++) against_torch(&d, after_sgd, later);
}

/* a finite loss with a gradient that is not: nothing moves, and the norm tells */
static void gradient_that_is_none(void) {
    for (int kind = 0; kind < 2; kind++) {
        fv_ctx *c = fv_create(NULL);
        fv_params p;
        fv_optim_desc d;
        int64_t dim[1] = {3};
        fv_step_result r = {0, 0, 0};
        float loss = 1;
        memset(&p, 0, sizeof p), memset(&d, 0, sizeof d);
        d.kind = kind ? FV_SGD : FV_ADAMW, d.clip_grad = 1;
        fv_tensor *b = fv_param(c, "b", FV_F32, 1, dim);
        fv_params_add(c, &p, b), memcpy(b->data, start_b, sizeof start_b);
        fv_optim *o = fv_optim_create(c, &p, &d);
        float *g = (float *)fv_alloc(c, sizeof start_b);
        b->grad = g;
        for (int s = 0; s < 2; s++) { /* the second one is sound, and comes too late */
            g[0] = g[2] = 1, g[1] = s ? 1 : NAN, b->grad_set = 1;
            fv_optim_loss(c, o, fv_input(c, FV_F32, 0, NULL, &loss, 0));
            CHECK(fv_optim_step_async(c, o, 0.1f, 0) && fv_optim_result(c, o, 1, &r), "%s", fv_error_text(c));
            CHECK(r.loss == 1 && isfinite(r.norm) == (s == 1), "loss %g, norm %g", r.loss, r.norm);
            CHECK(!memcmp(b->data, start_b, sizeof start_b), "the parameters have moved");
            CHECK(o->m[0][0] == 0 && o->m[0][1] == 0, "the moments have moved");
        }
        fv_optim_destroy(c, o);
        fv_destroy(c);
    }
}

/* A gradient of 0 leaves the decay alone: what is asked to have none, and vectors, stay as they are. A norm
 * below the limit is not clipped. */
static void decay_and_clipping(void) {
    for (int kind = FV_ADAMW; kind <= FV_SGD; kind++) {
        fv_optim_desc d = {(fv_optim_kind)kind, 0.9f, 0.95f, 1e-6f, 0.9f, 0.5f, 100};
        fv_ctx *c = fv_create(NULL);
        fv_params p;
        int64_t dim[2] = {2, 3};
        memset(&p, 0, sizeof p);
        for (int k = 0; k < 3; k++) {
            fv_tensor *t = fv_param(c, "t", FV_F32, k == 2 ? 1 : 2, dim);
            fv_init_fill(t, 2), fv_params_add(c, &p, t);
            t->grad = fv_alloc(c, sizeof start_w), t->grad_set = 1;
        }
        p.at[1]->flags |= FV_NO_DECAY;
        fv_optim *o = fv_optim_create(c, &p, &d);
        CHECK(fv_optim_step(c, o, 0.1f) == 0, "a norm of nothing");
        CHECK(fabs(fv_get(p.at[0], 5) - 2 * (1 - 0.1 * 0.5)) < 1e-6, "decayed to %g", fv_get(p.at[0], 5));
        CHECK(fv_get(p.at[1], 5) == 2 && fv_get(p.at[2], 1) == 2, "decayed, and should not");
        fv_optim_destroy(c, o);
        d.weight_decay = -1, d.momentum = -1; /* none */
        o = fv_optim_create(c, &p, &d);
        for (int i = 0; i < 6; i++) ((float *)p.at[1]->grad)[i] = 0.25f;
        p.at[1]->grad_set = 1;
        fv_optim_step(c, o, 0.1f);
        double want = kind == FV_SGD ? 2 - 0.1 * 0.25 : 2 - 0.1; /* the first step of AdamW has length lr */
        CHECK(fabs(fv_get(p.at[1], 3) - want) < 1e-5, "%g, not %g", fv_get(p.at[1], 3), want);
        if (kind == FV_ADAMW)
            CHECK(fabs((double)o->m[1][3] - 0.025) < 1e-7, "clipped: %g", (double)o->m[1][3]);
        fv_optim_destroy(c, o);
        fv_destroy(c);
    }
}

static void schedule(void) {
    CHECK(fabs(fv_lr_cosine(0, 100, 10, 1, 0.1f, 0.01f) - 0.1) < 1e-7, "wrong");
    CHECK(fabs(fv_lr_cosine(5, 100, 10, 1, 0.1f, 0.01f) - 0.55) < 1e-6, "wrong");
    CHECK(fabs(fv_lr_cosine(10, 100, 10, 1, 0.1f, 0.01f) - 1) < 1e-7, "wrong");
    CHECK(fabs(fv_lr_cosine(55, 100, 10, 1, 0.1f, 0.01f) - 0.505) < 1e-6, "wrong");
    CHECK(fabs(fv_lr_cosine(100, 100, 10, 1, 0.1f, 0.01f) - 0.01) < 1e-7, "wrong");
    CHECK(fabs(fv_lr_cosine(0, 10, 0, 1, 0.1f, 0) - 1) < 1e-7, "wrong");
    CHECK(fabs(fv_lr_cosine(150, 100, 10, 1, 0.1f, 0.01f) - 0.01) < 1e-7, "it rises after the end");
    CHECK(fabs(fv_lr_cosine(10, 10, 10, 1, 0.1f, 0.01f) - 0.01) < 1e-7, "nothing but warm-up");
}

static void ema(void) {
    fv_ctx *c = fv_create(NULL);
    fv_params p, q;
    int64_t dim[1] = {40000}; /* more than one chunk */
    memset(&p, 0, sizeof p), memset(&q, 0, sizeof q);
    for (int k = 0; k < 3; k++) {
        fv_tensor *w = fv_param(c, "w", FV_F32, 1, dim), *a = fv_constant(c, "w", FV_F32, 1, dim);
        fv_init_fill(w, 3 + 4 * k), fv_init_fill(a, 1);
        fv_params_add(c, &p, w), fv_params_add(c, &q, a);
    }
    fv_ema(c, &q, &p, 0.75f);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 40000; i++)
            CHECK(fv_get(q.at[k], i) == 1.5 + k && fv_get(p.at[k], i) == 3 + 4 * k, "%d of %d: %g", i, k,
                  fv_get(q.at[k], i));
    fv_destroy(c);
}

static double norm_with(int threads) {
    fv_desc d;
    fv_params p;
    int64_t dim[1] = {100003};
    memset(&d, 0, sizeof d), memset(&p, 0, sizeof p);
    d.threads = threads;
    fv_ctx *c = fv_create(&d);
    fv_tensor *w = fv_param(c, "w", FV_F32, 1, dim);
    fv_params_add(c, &p, w);
    w->grad = fv_alloc(c, 100003 * sizeof(float));
    for (int i = 0; i < 100003; i++) ((float *)w->grad)[i] = fv_random_normal(1, 2, (uint64_t)i);
    w->grad_set = 1;
    double norm = fv_grad_norm(c, &p);
    fv_zero_grad(&p);
    CHECK(fv_grad_norm(c, &p) == 0, "a gradient of before counts");
    fv_destroy(c);
    return norm;
}
static void norm_and_threads(void) {
    double one = norm_with(1);
    double sum = 0;
    for (int i = 0; i < 100003; i++) sum += pow((double)fv_random_normal(1, 2, (uint64_t)i), 2);
    CHECK(fabs(one - sqrt(sum)) < 1e-6 * one, "%g and not %g", one, sqrt(sum));
    CHECK(one == norm_with(2) && one == norm_with(3), "wrong");
}

/* ---- a small network trained for some steps, saved in the middle ---- */
static const char config[] = "{\"arch\":\"vit\",\"img_size\":8,\"patch_size\":4,\"in_chans\":1,\"embed_dim\":"
                             "16,\"depth\":2,\"num_heads\":2,"
                             "\"num_classes\":3,\"drop_path_rate\":0.3,\"drop_rate\":0.2}";
typedef struct trainer {
    fv_ctx *c;
    fv_model *m;
    fv_optim *o;
} trainer;

static trainer new_trainer(int threads) {
    trainer t;
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.threads = threads;
    t.c = fv_create(&d);
    t.m = fv_model_create(t.c, config, strlen(config), NULL);
    t.o = t.m ? fv_optim_create(t.c, &t.m->params, NULL) : NULL;
    CHECK(t.o, "%s", fv_error_text(t.c));
    return t;
}
static void end_trainer(trainer *t) {
    fv_optim_destroy(t->c, t->o);
    fv_model_destroy(t->c, t->m);
    fv_destroy(t->c);
}
static void train_steps(trainer *t, int from, int to) {
    int64_t dim[4] = {6, 1, 8, 8};
    fv_training(t->c, 1);
    for (int s = from; s < to && t->o; s++) {
        fv_reset(t->c);
        fv_seed(t->c, 5, (uint64_t)s);
        fv_tensor *x = fv_new(t->c, FV_F32, 4, dim), *y = fv_new(t->c, FV_I32, 1, dim);
        for (int i = 0; x && i < 6 * 64; i++)
            ((float *)x->data)[i] = fv_random_normal(9, (uint64_t)s, (uint64_t)i);
        for (int i = 0; y && i < 6; i++) ((int32_t *)y->data)[i] = (i + s) % 3;
        fv_backward(t->c, fv_cross_entropy(t->c, fv_model_forward(t->c, t->m, x), y, 0.1f));
        fv_optim_step(t->c, t->o, 1e-2f);
    }
    CHECK(!fv_error(t->c), "%s", fv_error_text(t->c));
}
static int same_bits(const trainer *a, const trainer *b) {
    for (int i = 0; i < a->m->params.count; i++) {
        size_t n = (size_t)fv_numel(a->m->params.at[i]) * sizeof(float);
        if (memcmp(a->m->params.at[i]->data, b->m->params.at[i]->data, n) ||
            memcmp(a->o->m[i], b->o->m[i], n) || memcmp(a->o->v[i], b->o->v[i], n))
            return 0;
    }
    return a->o->step == b->o->step;
}

static const char *folder(void) {
    static char path[1024];
    const char *t = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/fv_test_train_%ld", t ? t : "/tmp", (long)getpid());
    return path;
}
static int exists(const char *name) {
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    return access(path, F_OK) == 0;
}

static void resume(void) {
    trainer a = new_trainer(1), b = new_trainer(2), d = new_trainer(3);
    if (!a.o || !b.o || !d.o) return;
    mkdir(folder(), 0777);
    CHECK(fv_checkpoint_load(b.c, folder(), &b.m->params, &b.m->buffers, b.o) == 0,
          "nothing there is step 0");
    train_steps(&a, 0, 10);
    train_steps(&b, 0, 3);
    CHECK(fv_checkpoint_save(b.c, folder(), &b.m->params, &b.m->buffers, b.o, 3), "%s", fv_error_text(b.c));
    train_steps(&b, 3, 6);
    CHECK(!same_bits(&a, &b), "wrong");
    CHECK(fv_checkpoint_save(b.c, folder(), &b.m->params, &b.m->buffers, b.o, 6), "%s", fv_error_text(b.c));
    CHECK(fv_checkpoint_save(b.c, folder(), &b.m->params, &b.m->buffers, b.o, 6), "%s", fv_error_text(b.c));
    CHECK(exists("checkpoints/step-6/model.safetensors") &&
              exists("checkpoints/step-6/optimizer.safetensors"),
          "not saved");
    CHECK(exists("checkpoints/step-6/trainer_state.json") && exists("latest") &&
              !exists("checkpoints/step-3"),
          "wrong files");
    CHECK(fv_checkpoint_load(d.c, folder(), &d.m->params, &d.m->buffers, d.o) == 6, "%s", fv_error_text(d.c));
    train_steps(&d, 6, 10);
    CHECK(same_bits(&a, &d), "a resumed run differs from an uninterrupted one");
    end_trainer(&a), end_trainer(&b), end_trainer(&d);
}

/* what is not finite is not saved, and what was saved stays */
static void never_saved(void) {
    trainer a = new_trainer(1);
    if (!a.o) return;
    ((float *)a.m->params.at[1]->data)[0] = INFINITY;
    CHECK(!fv_checkpoint_save(a.c, folder(), &a.m->params, &a.m->buffers, a.o, 8) &&
              fv_error(a.c) == FV_ENONFINITE && strstr(fv_error_text(a.c), "step 8"),
          "%s", fv_error_text(a.c));
    CHECK(exists("checkpoints/step-6/model.safetensors") && !exists("checkpoints/step-8"), "wrong files");
    fv_clear_error(a.c);
    CHECK(fv_checkpoint_load(a.c, folder(), &a.m->params, &a.m->buffers, a.o) == 6, "%s", fv_error_text(a.c));
    end_trainer(&a);
}

/* what a kill in the middle of a save leaves: a half-made newer folder that `latest` does not name */
static void half_a_checkpoint(void) {
    trainer a = new_trainer(1);
    char path[2048];
    snprintf(path, sizeof path, "%s/checkpoints/step-9", folder());
    if (!a.o) return;
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/checkpoints/step-9/model.safetensors", folder());
    CHECK(fv_write_file(a.c, path, "torn", 4), "not written");
    CHECK(fv_checkpoint_load(a.c, folder(), &a.m->params, &a.m->buffers, a.o) == 6, "%s", fv_error_text(a.c));
    CHECK(fv_checkpoint_save(a.c, folder(), &a.m->params, &a.m->buffers, a.o, 9), "%s", fv_error_text(a.c));
    CHECK(fv_checkpoint_load(a.c, folder(), &a.m->params, &a.m->buffers, a.o) == 9 && a.o->step == 6, "%s",
          fv_error_text(a.c));
    /* a tensor of another shape, and one that is not there */
    fv_params other;
    int64_t dim[2] = {4, 16};
    memset(&other, 0, sizeof other);
    snprintf(path, sizeof path, "%s/checkpoints/step-9/model.safetensors", folder());
    fv_params_add(a.c, &other, fv_param(a.c, "head.weight", FV_F32, 2, dim));
    CHECK(!fv_params_load(a.c, path, &other, NULL) && fv_error(a.c) == FV_EUSAGE, "a head of 4 classes");
    fv_clear_error(a.c), dim[0] = 3;
    other.at[0] = fv_param(a.c, "head.weights", FV_F32, 2, dim);
    CHECK(!fv_params_load(a.c, path, &other, NULL) && fv_error(a.c) == FV_EUSAGE, "no such tensor");
    fv_clear_error(a.c);
    snprintf(path, sizeof path, "%s/latest", folder());
    CHECK(fv_write_file(a.c, path, "nonsense\n", 9), "not written");
    CHECK(fv_checkpoint_load(a.c, folder(), &a.m->params, &a.m->buffers, a.o) == -1 &&
              fv_error(a.c) == FV_EFORMAT,
          "wrong");
    end_trainer(&a);
}

int main(void) {
    RUN(adamw);
    RUN(sgd);
    RUN(gradient_that_is_none);
    RUN(decay_and_clipping);
    RUN(schedule);
    RUN(ema);
    RUN(norm_and_threads);
    RUN(resume);
    RUN(never_saved);
    RUN(half_a_checkpoint);
    return REPORT();
}
