/* The frozen stage inside a network of your own, made of public ops.
 *
 *   build/examples/frozen_in_your_network [FILE LAYER]     an LLM's block; without a file a random frozen
 *   block stands in
 *
 * The network: a sequence of 12 points in the plane, one linear layer makes tokens of them, the frozen stage
 * mixes the tokens, their mean goes to a linear head. The task: does the closed path through the points turn
 * left or right (the sign of its area)? */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { POINTS = 12, DIM = 32, BATCH = 64, STEPS = 150 };

typedef struct network {
    fv_params params; /* all that is trained: the optimiser's list */
    fv_tensor *embed, *embed_bias, *position, *head, *head_bias;
    fv_frozen *stage;
} network;

/* a parameter of our own; std 0: zeros */
static fv_tensor *param(fv_ctx *c, network *n, const char *name, int64_t rows, int64_t cols, float std) {
    int64_t dim[2];
    dim[0] = rows, dim[1] = cols;
    fv_tensor *t = fv_param(c, name, FV_F32, cols ? 2 : 1, dim);
    if (t && std > 0) fv_init_normal(c, t, std, (uint64_t)n->params.count);
    if (t) fv_params_add(c, &n->params, t);
    return t;
}

static void make(fv_ctx *c, network *n, const char *file, int layer) {
    fv_frozen_desc desc = {0};
    n->embed = param(c, n, "embed.weight", DIM, 2, 0.5f);
    n->embed_bias = param(c, n, "embed.bias", DIM, 0, 0);
    n->position = param(c, n, "position", POINTS, DIM, 0.5f);
    n->head = param(c, n, "head.weight", 2, DIM, 0.1f);
    n->head_bias = param(c, n, "head.bias", 2, 0, 0);
    desc.dim = DIM;
    desc.config.num_layers = 1;
    desc.config.residual = FV_RES_OUTSIDE; /* z' = F2 L F1 z + z */
    if (file) {
        desc.llm = fv_weights_open(c, file); /* dims come from the file */
        desc.config.layers[0] = layer;
    } else {
        desc.config.variant = FV_VARIANT_RANDOM;
        desc.config.hidden_size = 64, desc.config.num_attention_heads = 4,
        desc.config.intermediate_size = 128;
    }
    n->stage = fv_error(c) ? NULL : fv_frozen_create(c, &desc, &n->params); /* adds F1 and F2 to our list */
}

/* x [B,12,2] -> logits [B,2] */
static fv_tensor *forward(fv_ctx *c, network *n, fv_tensor *x) {
    fv_tensor *z = fv_add(c, fv_linear(c, x, n->embed, n->embed_bias), n->position);
    z = fv_gelu(c, z);
    z = fv_frozen_forward(c, n->stage, z, NULL);
    return fv_linear(c, fv_mean(c, z, 1), n->head, n->head_bias);
}

/* A batch of closed paths around a centre, turning left or right from somewhere in the first radian, with
 * noise. */
static void sample(fv_rng *r, float *x, int32_t *label) {
    for (int b = 0; b < BATCH; b++) {
        float start = fv_rng_uniform(r);
        label[b] = fv_rng_uniform(r) < 0.5f;
        for (int i = 0; i < POINTS; i++) {
            float angle = start + (label[b] ? 6.28f : -6.28f) * (float)i / POINTS;
            *x++ = cosf(angle) + 0.2f * fv_rng_normal(r);
            *x++ = sinf(angle) + 0.2f * fv_rng_normal(r);
        }
    }
}

int main(int argc, char **argv) {
    static float x[BATCH * POINTS * 2];
    static int32_t label[BATCH];
    const int64_t shape[3] = {BATCH, POINTS, 2}, batch[1] = {BATCH};
    network n = {0};
    fv_rng r = {7, 0, 0};
    fv_ctx *c = fv_create(NULL);
    make(c, &n, argc > 2 ? argv[1] : NULL, argc > 2 ? atoi(argv[2]) : 0);

    fv_optim_desc settings = {0};
    fv_optim *optim = fv_error(c) ? NULL : fv_optim_create(c, &n.params, &settings);
    for (int step = 0; step < STEPS && !fv_error(c); step++) {
        sample(&r, x, label);
        fv_tensor *logits = forward(c, &n, fv_input(c, FV_F32, 3, shape, x, 0));
        fv_tensor *loss = fv_cross_entropy(c, logits, fv_input(c, FV_I32, 1, batch, label, 0), 0);
        fv_backward(c, loss);
        if (fv_error(c)) break;
        int right = 0;
        for (int b = 0; b < BATCH; b++)
            right += (fv_get(logits, 2 * b + 1) > fv_get(logits, 2 * b)) == label[b];
        if (step % 25 == 0 || step == STEPS - 1)
            printf("step %3d  loss %.4f  right %5.1f %%\n", step, fv_get(loss, 0), 100.0 * right / BATCH);
        fv_optim_step(c, optim, fv_lr_cosine(step, STEPS, 10, 3e-3f, 1e-5f, 1e-5f));
        fv_reset(c); /* forgets the step's tensors; parameters stay */
    }
    if (fv_error(c)) fprintf(stderr, "%s\n", fv_error_text(c));
    int status = fv_exit_status(fv_error(c));
    fv_destroy(c); /* frees everything that hangs on it */
    return status;
}
