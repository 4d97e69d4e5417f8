/* Questions about pictures, and about rooms. vqa: a coloured square somewhere in a picture; "what colour" and
 * "where". scene_qa: five objects around you; "where is the red one". Both networks of language and vision,
 * trained from nothing in under a minute on one core. Words are numbers here; fv_tokenizer_encode gives those
 * of a language model.
 *
 *     cc -O2 -I. -o answer_questions examples/answer_questions.c -lm -lpthread && ./answer_questions
 */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <stdio.h>
#include <string.h>

enum { SIZE = 16, OBJECTS = 5, COLOURS = 5, BATCH = 32, STEPS = 300 };
static const char pictures[] = "{\"arch\":\"vqa\",\"dim\":48,\"num_heads\":4,\"vocab_size\":8,\"max_words\":"
                               "4,\"image_depth\":1,\"fusion_depth\":1,\"img_size\":16,\"patch_size\":4,"
                               "\"in_chans\":3,\"num_classes\":5}";
static const char rooms[] =
    "{\"arch\":\"scene_qa\",\"dim\":48,\"num_heads\":4,\"vocab_size\":8,\"max_words\":4,\"image_depth\":1,"
    "\"fusion_depth\":2,\"object_features\":7,\"num_classes\":4}";

static fv_tensor *words(fv_ctx *c, fv_tensor **mask) {
    int64_t dim[2] = {BATCH, 2};
    fv_tensor *ids = fv_new(c, FV_I32, 2, dim);
    if ((*mask = fv_new(c, FV_U8, 2, dim))) memset((*mask)->data, 1, 2 * BATCH);
    return ids;
}
/* "what colour" (1 3): answers 0 to 2; "which half" (2 4): 3 left, 4 right */
static int about_pictures(fv_ctx *c, uint64_t stream, int step, fv_tensor **in, fv_tensor **label) {
    int64_t dim[4] = {BATCH, 3, SIZE, SIZE};
    in[0] = words(c, &in[1]), in[2] = fv_new(c, FV_F32, 4, dim), *label = fv_new(c, FV_I32, 1, dim);
    for (int b = 0; b < BATCH && !fv_error(c); b++) {
        fv_rng g = {stream, (uint64_t)(step * BATCH + b), 0};
        int colour = (int)fv_rng_below(&g, 3), x = (int)fv_rng_below(&g, 12), y = (int)fv_rng_below(&g, 12),
            where = (int)fv_rng_below(&g, 2);
        for (int i = 0; i < 3 * SIZE * SIZE; i++) {
            int u = i % SIZE - x, v = i / SIZE % SIZE - y, in_it = u >= 0 && u < 4 && v >= 0 && v < 4;
            ((float *)in[2]->data)[b * 3 * SIZE * SIZE + i] =
                (in_it && i / (SIZE * SIZE) == colour ? 1.5f : 0) + 0.1f * fv_rng_normal(&g);
        }
        ((int32_t *)in[0]->data)[2 * b] = 1 + where, ((int32_t *)in[0]->data)[2 * b + 1] = 3 + where;
        ((int32_t *)(*label)->data)[b] = where ? 3 + (x >= 6) : colour;
    }
    return 3;
}
/* "where is COLOUR" (1, 2 + colour): 0 left, 1 right, 2 ahead, 3 behind. An object: right, ahead, and one 1
 * for its colour */
static int about_rooms(fv_ctx *c, uint64_t stream, int step, fv_tensor **in, fv_tensor **label) {
    int64_t dim[3] = {BATCH, OBJECTS, 2 + COLOURS};
    in[0] = words(c, &in[1]), in[2] = fv_new(c, FV_F32, 3, dim), in[3] = fv_new(c, FV_U8, 2, dim),
    *label = fv_new(c, FV_I32, 1, dim);
    if (fv_error(c)) return 0;
    memset(in[3]->data, 1, BATCH * OBJECTS),
        memset(in[2]->data, 0, BATCH * OBJECTS * (2 + COLOURS) * sizeof(float));
    for (int b = 0; b < BATCH; b++) {
        fv_rng g = {stream, (uint64_t)(step * BATCH + b), 0};
        int asked = (int)fv_rng_below(&g, COLOURS);
        for (int k = 0; k < OBJECTS; k++) { /* each colour once */
            float *o = (float *)in[2]->data + (b * OBJECTS + k) * (2 + COLOURS),
                  far = 0.5f + fv_rng_uniform(&g);
            int side = (int)fv_rng_below(&g, 4);
            o[side / 2] = (side % 2 ? 1 : -1) * far, o[1 - side / 2] = 0.3f * (fv_rng_uniform(&g) - 0.5f),
                     o[2 + k] = 1;
            if (k == asked) ((int32_t *)(*label)->data)[b] = side;
        }
        ((int32_t *)in[0]->data)[2 * b] = 1, ((int32_t *)in[0]->data)[2 * b + 1] = 2 + asked;
    }
    return 4;
}

static void learn(fv_ctx *c, const char *name, const char *config, int classes, int steps,
                  int (*batch)(fv_ctx *, uint64_t, int, fv_tensor **, fv_tensor **)) {
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    fv_optim *o = m ? fv_optim_create(c, &m->params, NULL) : NULL;
    fv_tensor *in[4], *label;
    int right = 0;
    for (int step = 0; step < steps && !fv_error(c); step++) {
        fv_reset(c);
        int n = batch(c, 1, step, in, &label);
        fv_tensor *loss = fv_cross_entropy(c, fv_model_forward_many(c, m, in, n), label, 0);
        fv_backward(c, loss);
        fv_optim_step(c, o, 1e-3f);
        if (loss && step % 100 == 99) printf("%s, step %d: loss %.3f\n", name, step + 1, fv_get(loss, 0));
    }
    fv_no_grad(c, 1);
    for (int k = 0; k < 10 && !fv_error(c); k++) {
        fv_reset(c);
        int n = batch(c, 2, k, in, &label);
        fv_tensor *y = fv_model_forward_many(c, m, in, n);
        for (int b = 0; b < BATCH && y; b++) {
            int best = 0;
            for (int i = 1; i < classes; i++)
                best = fv_get(y, b * classes + i) > fv_get(y, b * classes + best) ? i : best;
            right += best == ((int32_t *)label->data)[b];
        }
    }
    fv_no_grad(c, 0);
    if (!fv_error(c))
        printf("%s: %.0f %% of new questions answered right\n", name, 100.0 * right / (10 * BATCH));
    fv_optim_destroy(c, o), fv_model_destroy(c, m);
}

int main(void) {
    fv_ctx *c = fv_create(NULL);
    learn(c, "pictures", pictures, 5, STEPS, about_pictures);
    learn(c, "rooms", rooms, 4, 2 * STEPS, about_rooms);
    if (fv_error(c)) fprintf(stderr, "%s\n", fv_error_text(c));
    int status = fv_exit_status(fv_error(c));
    fv_destroy(c);
    return status;
}
