/* A vision transformer trained by the header alone, on pictures that the program draws itself: discs,
 * squares, crosses and stripes somewhere in a noisy frame. Under a minute on one core.
 *
 *     cc -O2 -I. -o train_vit examples/train_vit.c -lm -lpthread && ./train_vit
 *
 * For a frozen block of a language model inside, add
 *     "frozen":{"layers":[29]}
 * to the config and give fv_model_create a desc whose llm is fv_weights_open(c,
 * "SmolLM2-135M-Instruct.Q4_1.gguf"). */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 28, CLASSES = 4, BATCH = 32, STEPS = 200 };

static const char config[] =
    "{\"arch\":\"vit\",\"img_size\":28,\"patch_size\":7,\"in_chans\":1,\"embed_dim\":64,\"depth\":3,"
    "\"num_heads\":4,\"num_classes\":4}";

static int inside(int shape, int dx, int dy, int r) {
    switch (shape) {
    case 0: return dx * dx + dy * dy <= r * r;              /* a disc */
    case 1: return abs(dx) <= r && abs(dy) <= r;            /* a square */
    case 2: return abs(dx) <= 1 || abs(dy) <= 1;            /* a cross */
    default: return abs(dx) <= r && abs(dy) <= r && dy % 2; /* stripes */
    }
}

/* Picture number i of a stream: always the same, whatever was drawn before. */
static int draw(uint64_t stream, uint32_t i, float *to) {
    fv_rng g = {7, stream * 1000000 + i, 0};
    int shape = (int)fv_rng_below(&g, CLASSES), r = 4 + (int)fv_rng_below(&g, 4);
    int x = 8 + (int)fv_rng_below(&g, 12), y = 8 + (int)fv_rng_below(&g, 12);
    for (int k = 0; k < SIZE * SIZE; k++) {
        int dx = k % SIZE - x, dy = k / SIZE - y,
            in = abs(dx) <= r && abs(dy) <= r && inside(shape, dx, dy, r);
        to[k] = (in ? 1.0f : -1.0f) + 0.3f * fv_rng_normal(&g);
    }
    return shape;
}

/* pictures [BATCH,1,28,28] f32 and labels [BATCH] i32 of the step */
static fv_tensor *batch(fv_ctx *c, uint64_t stream, int step, fv_tensor **labels) {
    int64_t dim[4] = {BATCH, 1, SIZE, SIZE};
    fv_tensor *x = fv_new(c, FV_F32, 4, dim);
    *labels = fv_new(c, FV_I32, 1, dim);
    if (fv_error(c)) return NULL;
    for (int b = 0; b < BATCH; b++)
        ((int32_t *)(*labels)->data)[b] =
            draw(stream, (uint32_t)(step * BATCH + b), (float *)x->data + b * SIZE * SIZE);
    return x;
}

static double accuracy(fv_ctx *c, fv_model *m, int batches) {
    int right = 0;
    fv_no_grad(c, 1), fv_training(c, 0);
    for (int k = 0; k < batches && !fv_error(c); k++) {
        fv_tensor *labels, *y;
        fv_reset(c); /* what the step before made is forgotten */
        y = fv_model_forward(c, m, batch(c, 2, k, &labels));
        for (int b = 0; y && b < BATCH; b++) {
            int best = 0;
            for (int j = 1; j < CLASSES; j++)
                if (fv_get(y, b * CLASSES + j) > fv_get(y, b * CLASSES + best)) best = j;
            right += best == (int)fv_get(labels, b);
        }
    }
    fv_no_grad(c, 0);
    return 100.0 * right / (batches * BATCH);
}

int main(void) {
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    /* zeros: the usual betas and eps; decay 0.05; norm clipped to 1 */
    fv_optim_desc adamw = {FV_ADAMW, 0, 0, 0, 0, 0.05f, 1.0f};
    fv_optim *o = m ? fv_optim_create(c, &m->params, &adamw) : NULL;

    fv_training(c, 1);
    for (int step = 0; step < STEPS && !fv_error(c); step++) {
        fv_tensor *labels, *x, *loss;
        fv_reset(c);
        x = batch(c, 1, step, &labels);
        loss = fv_cross_entropy(c, fv_model_forward(c, m, x), labels, 0.1f);
        if (!loss) break;
        if (step % 20 == 0) printf("step %3d  loss %.4f\n", step, fv_get(loss, 0));
        fv_backward(c, loss);
        fv_optim_step(c, o, fv_lr_cosine(step, STEPS, 20, 2e-3f, 1e-5f, 1e-5f));
    }
    if (!fv_error(c)) printf("accuracy on pictures never seen: %.1f %%\n", accuracy(c, m, 20));

    /* one check at the end: the first failure stuck to the context and everything after it did nothing */
    int status = fv_exit_status(fv_error(c));
    if (status) fprintf(stderr, "train_vit: %s\n", fv_error_text(c));
    fv_optim_destroy(c, o);
    fv_model_destroy(c, m);
    fv_destroy(c);
    return status;
}
