/* Where will it be in 3 seconds? Road users that follow bending lanes: VectorNet with six futures, trained
 * from nothing in under a minute on one core, beside the answer that it goes straight on.
 *
 *     cc -O2 -I. -o forecast_motion examples/forecast_motion.c -lm -lpthread && ./forecast_motion
 */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEEN = 19, FUTURE = 30, LANE = 9, LANES = 2, BATCH = 32, STEPS = 300 };
static const char config[] = "{\"arch\":\"motion\",\"dim\":48,\"depth\":1,\"num_heads\":2,\"subgraph_"
                             "layers\":2,\"modes\":6,\"future_steps\":30}";

/* distance s along a curve of curvature k, that passes 0,0 along +x */
static void along(float s, float k, float *p) {
    p[0] = fabsf(k) < 1e-5f ? s : sinf(k * s) / k;
    p[1] = fabsf(k) < 1e-5f ? 0 : (1 - cosf(k * s)) / k;
}
/* agents [B,1,SEEN,4], mask, lanes [B,LANES,LANE,7], mask; truth [B,FUTURE,2]: the lane forks, and the agent
 * takes either branch */
static void batch(fv_ctx *c, uint64_t stream, int step, fv_tensor **in, fv_tensor **truth) {
    int64_t dim[3][4] = {{BATCH, 1, SEEN, 4}, {BATCH, LANES, LANE, 7}, {BATCH, FUTURE, 2, 0}};
    for (int k = 0; k < 2; k++)
        in[2 * k] = fv_new(c, FV_F32, 4, dim[k]), in[2 * k + 1] = fv_new(c, FV_U8, 3, dim[k]);
    *truth = fv_new(c, FV_F32, 3, dim[2]);
    if (fv_error(c)) return;
    memset(in[1]->data, 1, BATCH * SEEN), memset(in[3]->data, 1, BATCH * LANES * LANE);
    memset(in[2]->data, 0, BATCH * LANES * LANE * 7 * sizeof(float));
    for (int b = 0; b < BATCH; b++) {
        fv_rng g = {stream, (uint64_t)(step * BATCH + b), 0};
        float v = 0.5f + fv_rng_uniform(&g), bend[2], p[2], q[2];
        for (int k = 0; k < 2; k++) bend[k] = (k ? -1 : 1) * 0.06f * fv_rng_uniform(&g);
        int takes = (int)fv_rng_below(&g, 2);
        for (int i = 0; i < SEEN; i++) {
            float *to = (float *)in[0]->data + (b * SEEN + i) * 4;
            to[0] = (float)(i + 1 - SEEN) * v / 10, to[1] = 0.005f * fv_rng_normal(&g), to[2] = v, to[3] = 0;
        }
        for (int i = 0; i < LANES * LANE; i++) {
            float *to = (float *)in[2]->data + (b * LANES * LANE + i) * 7;
            along((float)(i % LANE) * 5, bend[i / LANE], p),
                along((float)(i % LANE + 1) * 5, bend[i / LANE], q);
            to[0] = q[0] / 10, to[1] = q[1] / 10, to[2] = q[0] - p[0], to[3] = q[1] - p[1];
        }
        for (int i = 0; i < FUTURE; i++)
            along((float)(i + 1) * v, bend[takes], (float *)(*truth)->data + (b * FUTURE + i) * 2);
    }
}

int main(void) {
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    fv_optim *o = m ? fv_optim_create(c, &m->params, NULL) : NULL;
    fv_tensor *in[4], *truth, *y, *loss;
    double ours = 0, straight = 0;
    for (int step = 0; step < STEPS && !fv_error(c); step++) {
        fv_reset(c);
        batch(c, 1, step, in, &truth);
        loss = fv_motion_loss(c, fv_model_forward_many(c, m, in, 4), truth);
        fv_backward(c, loss);
        fv_optim_step(c, o, 1e-3f);
        if (loss && step % 50 == 49) printf("step %d: loss %.3f\n", step + 1, fv_get(loss, 0));
    }
    fv_no_grad(c, 1);
    for (int k = 0; k < 10 && !fv_error(c); k++) {
        fv_reset(c);
        batch(c, 2, k, in, &truth);
        y = fv_model_forward_many(c, m, in, 4);
        for (int b = 0; b < BATCH && y; b++) {
            const float *end = (float *)truth->data + (b + 1) * FUTURE * 2 - 2;
            int64_t at = ((int64_t)b * 6 + fv_motion_best(y, b, end)) * (2 * FUTURE + 1) + 2 * FUTURE - 2;
            float v = ((float *)in[0]->data)[b * SEEN * 4 + 2];
            ours += hypot(fv_get(y, at) - (double)end[0], fv_get(y, at + 1) - (double)end[1]) / (10 * BATCH);
            straight += hypot((double)(v * FUTURE - end[0]), (double)end[1]) / (10 * BATCH);
        }
    }
    if (fv_error(c)) fprintf(stderr, "%s\n", fv_error_text(c));
    else printf("endpoint error: %.2f m for the best of six futures, %.2f m straight on\n", ours, straight);
    int status = fv_exit_status(fv_error(c));
    fv_optim_destroy(c, o), fv_model_destroy(c, m), fv_destroy(c);
    return status;
}
