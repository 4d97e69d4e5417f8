/* Spheres, cubes, rings and sticks told apart by their points: Point-BERT's network, trained from nothing in
 * half a minute on one core.
 *
 *     cc -O2 -I. -o classify_points examples/classify_points.c -lm -lpthread && ./classify_points
 */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { POINTS = 96, BATCH = 16, STEPS = 150 };
static const char config[] = "{\"arch\":\"point_transformer\",\"num_points\":96,\"num_group\":12,\"group_"
                             "size\":12,\"encoder_dims\":48,\"trans_dim\":48,\"depth\":2,"
                             "\"num_heads\":4,\"num_classes\":4,\"drop_rate\":0,\"linear_init\":\"xavier\"}";

static int draw(fv_rng *g, float *p) { /* [POINTS,3] on a surface of size 1; its class */
    int shape = (int)fv_rng_below(g, 4);
    for (int i = 0; i < POINTS; i++, p += 3) {
        float v[3], n = 0, a = 6.2832f * fv_rng_uniform(g);
        for (int k = 0; k < 3; k++) v[k] = fv_rng_normal(g), n += v[k] * v[k];
        for (int k = 0; k < 3; k++) p[k] = v[k] / sqrtf(n);
        if (shape == 1) p[fv_rng_below(g, 3)] = fv_rng_below(g, 2) ? 0.6f : -0.6f;
        if (shape == 2) p[0] = cosf(a), p[1] = sinf(a), p[2] *= 0.15f;
        if (shape == 3) p[0] *= 0.1f, p[1] *= 0.1f;
        for (int k = 0; k < 3; k++) p[k] += 0.03f * fv_rng_normal(g);
    }
    return shape;
}
static fv_tensor *batch(fv_ctx *c, uint64_t stream, int step, fv_tensor **labels) {
    int64_t dim[3] = {BATCH, POINTS, 3};
    fv_tensor *x = fv_new(c, FV_F32, 3, dim);
    *labels = fv_new(c, FV_I32, 1, dim);
    for (int b = 0; b < BATCH && x && *labels; b++) {
        fv_rng g = {stream, (uint64_t)(step * BATCH + b), 0};
        ((int32_t *)(*labels)->data)[b] = draw(&g, (float *)x->data + b * POINTS * 3);
        if (stream == 1) fv_points_augment(&g, (float *)x->data + b * POINTS * 3, POINTS);
    }
    return x;
}

int main(void) {
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    fv_optim *o = m ? fv_optim_create(c, &m->params, NULL) : NULL;
    fv_tensor *labels, *loss;
    int right = 0;
    fv_training(c, 1); /* batch norm takes its batch's mean, and remembers */
    for (int step = 0; step < STEPS && !fv_error(c); step++) {
        fv_reset(c);
        loss = fv_model_forward(c, m, batch(c, 1, step, &labels));
        loss = fv_cross_entropy(c, loss, labels, 0);
        fv_backward(c, loss);
        fv_optim_step(c, o, 1e-3f);
        if (loss && step % 50 == 49) printf("step %d: loss %.3f\n", step + 1, fv_get(loss, 0));
    }
    fv_training(c, 0), fv_no_grad(c, 1);
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
    else printf("%.0f %% of new clouds named right; a guess names 25 %%\n", 100.0 * right / (10 * BATCH));
    int status = fv_exit_status(fv_error(c));
    fv_optim_destroy(c, o), fv_model_destroy(c, m), fv_destroy(c);
    return status;
}
