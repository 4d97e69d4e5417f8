/* A language model's block, run on tokens of your own, and the gradient that flows back through it.
 *
 *   build/examples/block_on_tokens FILE LAYER      FILE: a GGUF or safetensors LLM;  LAYER: 0 is the first
 *   block
 *
 * This is all that "frozen" means: the block's weights get no gradient, and yet what stands before it can
 * learn. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: block_on_tokens FILE LAYER\n");
        return 2;
    }
    fv_ctx *c = fv_create(NULL); /* memory, threads, errors: everything hangs on it */

    /* The block alone: no F1, no F2 (dim 0), no final norm. Its dims come from the file. */
    fv_frozen_desc desc = {0};
    fv_params trained = {0}; /* stays empty: nothing here is trained */
    desc.llm = fv_weights_open(c, argv[1]);
    desc.config.layers[0] = atoi(argv[2]);
    desc.config.num_layers = 1;
    desc.config.final_norm = FV_NORM_NONE;
    fv_frozen *block = desc.llm ? fv_frozen_create(c, &desc, &trained) : NULL;
    if (!block) { /* the first failure sticks, so one look is enough */
        fprintf(stderr, "%s\n", fv_error_text(c));
        return fv_exit_status(fv_error(c));
    }

    /* Two sequences of five tokens, each D numbers wide; the second has only three valid tokens. */
    int64_t D = block->config.hidden_size, shape[3] = {2, 5, 0}, mask_shape[2] = {2, 5};
    shape[2] = D;
    float *numbers = (float *)fv_alloc(c, (size_t)(10 * D) * sizeof *numbers);
    for (int64_t i = 0; numbers && i < 10 * D; i++) numbers[i] = fv_random_normal(1, 0, (uint64_t)i);
    uint8_t valid[10] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
    fv_tensor *tokens = fv_input(c, FV_F32, 3, shape, numbers, 1); /* 1: its gradient is wanted */
    fv_tensor *mask = fv_input(c, FV_U8, 2, mask_shape, valid, 0);

    fv_tensor *out = fv_llm_block(c, block, 0, tokens, mask);

    /* A loss: the mean square of the output. */
    int64_t flat[1] = {-1};
    fv_tensor *loss = fv_mean(c, fv_reshape(c, fv_mul(c, out, out), 1, flat), 0);
    fv_backward(c, loss);
    if (fv_error(c)) {
        fprintf(stderr, "%s\n", fv_error_text(c));
        return fv_exit_status(fv_error(c));
    }

    printf("block %s of %s: D=%lld, %d heads, %d kv heads, %lld frozen numbers\n", argv[2], argv[1],
           (long long)D, block->config.num_attention_heads, block->config.num_key_value_heads,
           (long long)fv_frozen_numel(block));
    printf("sha256 of its tensors: %s\n", fv_frozen_hash(block));
    printf("loss %.6f\n", fv_get(loss, 0));
    float *gradient = (float *)fv_alloc(c, (size_t)fv_numel(tokens) * sizeof *gradient);
    if (!gradient || !fv_read_grad(c, tokens, gradient)) return 1;
    for (int t = 0; t < 10; t++) {
        double in = 0, grad = 0;
        for (int64_t i = 0; i < D; i++) {
            in += (double)numbers[t * D + i] * (double)numbers[t * D + i];
            grad += (double)gradient[t * D + i] * (double)gradient[t * D + i];
        }
        printf("sequence %d token %d%s  |x|^2 %9.3f  |dloss/dx|^2 %.3e\n", t / 5, t % 5,
               valid[t] ? "        " : " (masked)", in, grad);
    }
    fv_frozen_destroy(c, block);
    fv_weights_close(c, desc.llm);
    fv_destroy(c);
    return 0;
}
