/* Balls, cubes, shells and rods in noisy volumes: R-LLM's ViT3D, trained from nothing in half a minute on one
 * core. "arch":"vivit" with spatial_depth and temporal_depth instead of depth is the other network for
 * volumes.
 *
 *     cc -O2 -I. -o classify_volumes examples/classify_volumes.c -lm -lpthread && ./classify_volumes
 */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 16, BATCH = 16, STEPS = 400 };
static const char config[] =
    "{\"arch\":\"vit3d\",\"image_size\":16,\"image_patch_size\":4,\"frames\":16,\"frame_patch_size\":4,"
    "\"channels\":1,\"dim\":48,\"depth\":2,"
    "\"heads\":4,\"dim_head\":12,\"mlp_dim\":96,\"num_classes\":4,\"linear_init\":\"xavier\"}";

static int inside(int shape, int x, int y, int z, int r) {
    int d = x * x + y * y + z * z;
    switch (shape) {
    case 0: return d <= r * r;
    case 1: return abs(x) < r && abs(y) < r && abs(z) < r;
    case 2: return d <= r * r && d > (r - 2) * (r - 2);
    default: return abs(x) < 2 && abs(y) < 2 && abs(z) <= r + 2;
    }
}
/* [BATCH,1,SIZE,SIZE,SIZE] */
static fv_tensor *batch(fv_ctx *c, uint64_t stream, int step, fv_tensor **labels) {
    int64_t dim[5] = {BATCH, 1, SIZE, SIZE, SIZE};
    fv_tensor *x = fv_new(c, FV_F32, 5, dim);
    *labels = fv_new(c, FV_I32, 1, dim);
    for (int b = 0; b < BATCH && x && *labels; b++) {
        fv_rng g = {stream, (uint64_t)(step * BATCH + b), 0};
        int k = (int)fv_rng_below(&g, 4), r = 4 + (int)fv_rng_below(&g, 3), at[3];
        for (int i = 0; i < 3; i++) at[i] = 6 + (int)fv_rng_below(&g, 4);
        ((int32_t *)(*labels)->data)[b] = k;
        for (int i = 0; i < SIZE * SIZE * SIZE; i++)
            ((float *)x->data)[b * SIZE * SIZE * SIZE + i] =
                (inside(k, i % SIZE - at[0], i / SIZE % SIZE - at[1], i / SIZE / SIZE - at[2], r) ? 1.0f
                                                                                                  : -1.0f) +
                0.4f * fv_rng_normal(&g);
    }
    return x;
}

int main(void) {
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    fv_optim *o = m ? fv_optim_create(c, &m->params, NULL) : NULL;
    fv_tensor *labels, *loss;
    int right = 0;
    for (int step = 0; step < STEPS && !fv_error(c); step++) {
        fv_reset(c);
        loss = fv_model_forward(c, m, batch(c, 1, step, &labels));
        loss = fv_cross_entropy(c, loss, labels, 0);
        fv_backward(c, loss);
        fv_optim_step(c, o, 1e-3f);
        if (loss && step % 50 == 49) printf("step %d: loss %.3f\n", step + 1, fv_get(loss, 0));
    }
    fv_no_grad(c, 1);
    for (int k = 0; k < 10 && !fv_error(c); k++) {
        fv_reset(c);
        fv_tensor *y = fv_model_forward(c, m, batch(c, 2, k, &labels));
        for (int b = 0; b < BATCH && y; b++) {
            int best = 0;
            for (int i = 1; i < 4; i++) best = fv_get(y, b * 4 + i) > fv_get(y, b * 4 + best) ? i : best;
            right += best == ((int32_t *)labels->data)[b];
        }
    }
    if (fv_error(c)) fprintf(stderr, "%s\n", fv_error_text(c));
    else printf("%.0f %% of new volumes named right; a guess names 25 %%\n", 100.0 * right / (10 * BATCH));
    int status = fv_exit_status(fv_error(c));
    fv_optim_destroy(c, o), fv_model_destroy(c, m), fv_destroy(c);
    return status;
}
