#include "bench_models.h"
#include <string.h>

static const bench_shape sizes[] = {
    {"tiny28", "none", 28, 4, 1, 128, 4, 4, 10, 0, 0, 0, 0, 0},
    {"tiny", "none", 224, 16, 3, 192, 12, 3, 1000, 0, 0, 0, 0, 0},
    {"small", "none", 224, 16, 3, 384, 12, 6, 1000, 0, 0, 0, 0, 0},
    {"base", "none", 224, 16, 3, 768, 12, 12, 1000, 0, 0, 0, 0, 0},
};
static const struct {
    const char *name;
    int hidden, heads, kv_heads, ffn;
} blocks[] = {
    {"none", 0, 0, 0, 0},
    {"smollm2-135m", 576, 9, 3, 1536},
    {"llama-7b", 4096, 32, 32, 11008},
};

static int read_size(bench_shape *s, const char *name) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(sizes[i].size, name)) return *s = sizes[i], 1;
    return cli_fail(0, "--size %s: tiny28, tiny, small or base is wanted", name);
}
static int read_block(bench_shape *s, const char *name, int layers) {
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (!strcmp(blocks[i].name, name)) {
            s->frozen = blocks[i].name;
            s->hidden = blocks[i].hidden, s->llm_heads = blocks[i].heads, s->kv_heads = blocks[i].kv_heads,
            s->ffn = blocks[i].ffn;
            s->layers = s->hidden ? layers : 0;
            return 1;
        }
    return cli_fail(0, "--frozen %s: none, smollm2-135m or llama-7b is wanted", name);
}

int bench_shape_read(bench_shape *s, const cli *a) {
    int bad = 0, layers = (int)cli_int(a, "--layers", 1, 1, &bad);
    const char *size = cli_value(a, "--size"), *frozen = cli_value(a, "--frozen");
    if (bad || !read_size(s, size ? size : "tiny28") || !read_block(s, frozen ? frozen : "none", layers))
        return 0;
    s->img_size = (int)cli_int(a, "--img-size", s->img_size, s->patch_size, &bad);
    if (bad) return 0;
    if (layers > FV_MAX_LAYERS) return cli_fail(0, "--layers %d: at most %d", layers, FV_MAX_LAYERS);
    if (s->img_size % s->patch_size)
        return cli_fail(0, "--img-size %d: a multiple of the patch, %d, is wanted", s->img_size,
                        s->patch_size);
    return 1;
}

fv_model *bench_model(fv_ctx *c, const bench_shape *s, const fv_model_desc *desc) {
    fv_text t = {0};
    fv_model *m = NULL;
    fv_text_add(
        c, &t,
        "{\"arch\":\"vit\",\"img_size\":%d,\"patch_size\":%d,\"in_chans\":%d,\"embed_dim\":%d,\"depth\":%d,"
        "\"num_heads\":%d,\"num_classes\":%d",
        s->img_size, s->patch_size, s->channels, s->dim, s->depth, s->heads, s->classes);
    const char *variant = desc->llm ? "llm" : "random";
    if (s->hidden)
        fv_text_add(c, &t,
                    ",\"frozen\":{\"variant\":\"%s\",\"hidden_size\":%d,\"num_attention_heads\":%d,"
                    "\"num_key_value_heads\":%d,\"intermediate_size\":%d,"
                    "\"num_hidden_layers\":%d}",
                    variant, s->hidden, s->llm_heads, s->kv_heads, s->ffn, s->layers);
    else if (desc->llm)
        fv_text_add(c, &t, ",\"frozen\":{\"variant\":\"llm\"}"); /* its own dims, its last block */
    fv_text_add(c, &t, "}");
    if (!fv_error(c)) m = fv_model_create(c, t.data, t.size, desc);
    fv_text_free(c, &t);
    return m;
}

static int patches(const bench_shape *s) {
    return (s->img_size / s->patch_size) * (s->img_size / s->patch_size);
}
int bench_shape_tokens(const bench_shape *s) { return patches(s) + 1; }

/* Multiply-adds of a picture count as two operations. A product of trained weights costs as much again for
 * the gradient of its input and for that of its weight; one of frozen weights only for its input;
 * attention's two products cost four backward; pictures want no gradient. */
double bench_shape_gflop(const bench_shape *s, int batch, int infer) {
    double N = bench_shape_tokens(s), d = s->dim, D = s->hidden,
           kv = D > 0 ? D / s->llm_heads * s->kv_heads : 0;
    double embed = (double)patches(s) * s->patch_size * s->patch_size * s->channels * d;
    double trained = s->depth * N * d * d * 12 + N * d * D * 2 +
                     d * s->classes; /* qkv, proj, fc1, fc2: 3 + 1 + 4 + 4; F1, F2; head */
    /* q, o; k, v; gate, up, down */
    double frozen = s->layers * N * (2 * D * D + 2 * D * kv + 3 * D * s->ffn);
    double attention = 2 * N * N * (s->depth * d + s->layers * D);
    double one =
        infer ? embed + trained + frozen + attention : 2 * embed + 3 * trained + 2 * frozen + 3 * attention;
    return 2e-9 * one * batch;
}
