/* bench_models.h -- the vision transformers of fv bench: sizes, frozen blocks, and the work of a step by
 * hand formula. */
#ifndef FV_BENCH_MODELS_H
#define FV_BENCH_MODELS_H
#include "cli.h"

typedef struct bench_shape {
    const char *size, *frozen; /* names */
    int img_size, patch_size, channels, dim, depth, heads, classes;
    int hidden, llm_heads, kv_heads, ffn, layers; /* of the frozen stage; hidden 0: none */
} bench_shape;

#define BENCH_SHAPE_OPTIONS                                                                                  \
    {"--size", "NAME", "tiny28 (default), tiny, small, base", NULL},                                         \
        {"--frozen", "NAME", "none (default), smollm2-135m, llama-7b", NULL},                                \
        {"--layers", "N", "blocks in the frozen stage (1)", NULL}, {                                         \
        "--img-size", "N", "pixels a side, in place of the size's own", NULL                                 \
    }

/* 1, or 0: a name or number that is none was said on stderr */
int bench_shape_read(bench_shape *s, const cli *a);
/* arch, sizes and the frozen stage as a model's config, which fv_model_create reads; desc as there */
fv_model *bench_model(fv_ctx *c, const bench_shape *s, const fv_model_desc *desc);
int bench_shape_tokens(const bench_shape *s);
/* The work of the dense graph in a step of `batch` pictures, in 1e9 floating-point operations */
double bench_shape_gflop(const bench_shape *s, int batch, int infer);
#endif
