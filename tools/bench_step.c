/* fv bench step: seconds of a training step (forward, backward, AdamW) or of an inference, with random weights of the shapes that
 * matter. */
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct named { const char *name, *config; } named; /* config: keys of the model, or of its frozen stage */
static const named sizes[] = {
    {"tiny28", "\"img_size\":28,\"patch_size\":4,\"in_chans\":1,\"embed_dim\":128,\"depth\":4,\"num_heads\":4,\"num_classes\":10"},
    {"tiny", "\"img_size\":224,\"patch_size\":16,\"in_chans\":3,\"embed_dim\":192,\"depth\":12,\"num_heads\":3,\"num_classes\":1000"},
    {"small", "\"img_size\":224,\"patch_size\":16,\"in_chans\":3,\"embed_dim\":384,\"depth\":12,\"num_heads\":6,\"num_classes\":1000"},
    {"base", "\"img_size\":224,\"patch_size\":16,\"in_chans\":3,\"embed_dim\":768,\"depth\":12,\"num_heads\":12,\"num_classes\":1000"},
    {NULL, NULL}};
static const named blocks[] = {
    {"none", "\"variant\":\"base\""},
    {"smollm2-135m", "\"variant\":\"random\",\"hidden_size\":576,\"num_attention_heads\":9,\"num_key_value_heads\":3,\"intermediate_size\":1536,\"num_hidden_layers\":1"},
    {"llama-7b", "\"variant\":\"random\",\"hidden_size\":4096,\"num_attention_heads\":32,\"num_key_value_heads\":32,\"intermediate_size\":11008,\"num_hidden_layers\":1"},
    {NULL, NULL}};

static const named *find(const named *list, const char *name) {
    for (; list->name; list++)
        if (!strcmp(list->name, name)) return list;
    return NULL;
}
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct stepper { fv_ctx *c; fv_model *m; fv_optim *o; float *pictures; int batch, size, channels, infer; } stepper;

static double one_step(stepper *s, uint64_t number) {
    int64_t dim[4] = {s->batch, s->channels, s->size, s->size};
    double start = fv_now();
    fv_reset(s->c);
    fv_seed(s->c, 0, number);
    fv_tensor *x = fv_input(s->c, FV_F32, 4, dim, s->pictures, 0), *label = fv_new(s->c, FV_I32, 1, dim);
    if (!label) return 0;
    for (int i = 0; i < s->batch; i++) ((int32_t *)label->data)[i] = i % 10;
    fv_tensor *y = fv_model_forward(s->c, s->m, x);
    if (!s->infer && y) {
        fv_backward(s->c, fv_cross_entropy(s->c, y, label, 0));
        fv_optim_step(s->c, s->o, 1e-4f);
    }
    return fv_now() - start;
}

/* floating-point operations of one step, all products of the dense graph, in units of 1e9 */
static double count_gflop(stepper *s) {
    fv_profile_row row[64];
    double flop = 0;
    int training = fv_training(s->c, 0); /* so that F1 is not folded: the work of the dense graph */
    fv_profile_reset(s->c, 1);
    one_step(s, 0);
    fv_training(s->c, training);
    int n = fv_profile(s->c, row, 64);
    for (int i = 0; i < n; i++) flop += row[i].flop;
    fv_profile_reset(s->c, 0);
    return flop * 1e-9;
}

static void prepare(stepper *s, const named *size, const named *block, fv_type precision) {
    fv_model_desc d;
    fv_text t = {0};
    memset(&d, 0, sizeof d);
    if (precision == FV_BF16) d.pack = FV_BF16;
    fv_text_add(s->c, &t, "{\"arch\":\"vit\",%s,\"frozen\":{%s}}", size->config, block->config);
    if (!fv_error(s->c)) s->m = fv_model_create(s->c, t.data, t.size, &d);
    fv_text_free(s->c, &t);
    s->size = strcmp(size->name, "tiny28") ? 224 : 28, s->channels = strcmp(size->name, "tiny28") ? 3 : 1;
    size_t n = (size_t)s->batch * (size_t)s->channels * (size_t)s->size * (size_t)s->size;
    s->pictures = (float *)fv_alloc(s->c, n * sizeof *s->pictures);
    for (size_t i = 0; s->pictures && i < n; i++) s->pictures[i] = fv_random_normal(1, 1, i);
    if (s->m && !s->infer) s->o = fv_optim_create(s->c, &s->m->params, NULL);
    fv_autocast(s->c, precision);
    fv_training(s->c, !s->infer), fv_no_grad(s->c, s->infer);
}

int bench_step(int argc, char **argv) {
    cli_option options[] = {CLI_DEVICE, {"--no-graph", NULL, "on a GPU: kernels one by one", NULL}, {"--tf32", NULL, "on a GPU: f32 products may round to TF32", NULL}, {"--size", "NAME", "tiny28 (default), tiny, small, base", NULL}, {"--frozen", "NAME", "none (default), smollm2-135m, llama-7b", NULL},
        {"--batch", "N", "pictures a step (8)", NULL}, {"--precision", "f32|bf16", "f32 unless said", NULL}, {"--threads", "N", "2 unless said", NULL},
        {"--steps", "N", "steps that are timed (5), after one that is not", NULL}, {"--infer", NULL, "without gradients", NULL}, {"--json", NULL, "one JSON line", NULL}, {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench step [options]", "Times a training step of a vision transformer with random weights.", options, {NULL}, 0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    double t[100];
    if (status >= 0) return status;
    const char *size = cli_value(&a, "--size"), *block = cli_value(&a, "--frozen"), *p = cli_value(&a, "--precision");
    const named *n = find(sizes, size ? size : "tiny28"), *f = find(blocks, block ? block : "none");
    stepper s;
    fv_desc d;
    memset(&s, 0, sizeof s);
    cli_context(&a, &d, &bad);
    s.batch = (int)cli_int(&a, "--batch", 8, 1, &bad), d.threads = d.threads ? d.threads : 2;
    int steps = (int)cli_int(&a, "--steps", 5, 1, &bad);
    if (bad) return 2;
    if (!n) return cli_fail(2, "--size %s: tiny28, tiny, small or base is wanted", size);
    if (!f) return cli_fail(2, "--frozen %s: none, smollm2-135m or llama-7b is wanted", block);
    if (p && strcmp(p, "f32") && strcmp(p, "bf16")) return cli_fail(2, "--precision %s: f32 or bf16 is wanted", p);
    if (steps > 100) steps = 100;
    s.infer = cli_value(&a, "--infer") != NULL;
    s.c = fv_create(&d);
    prepare(&s, n, f, p && !strcmp(p, "bf16") ? FV_BF16 : FV_F32);
    double gflop = fv_error(s.c) ? 0 : count_gflop(&s);
    if (!fv_error(s.c)) one_step(&s, 0); /* the warm-up */
    for (int i = 0; i < steps; i++) t[i] = fv_error(s.c) ? 0 : one_step(&s, (uint64_t)i + 1);
    qsort(t, (size_t)steps, sizeof *t, by_value);
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double best = t[0], median = t[steps / 2];
    if (!fv_error(s.c))
        printf(cli_value(&a, "--json") ? "{\"bench\":\"step\",\"size\":\"%s\",\"frozen\":\"%s\",\"batch\":%d,\"precision\":\"%s\",\"threads\":%d,\"infer\":%s,\"best_s\":%.5f,"
                                         "\"median_s\":%.5f,\"images_per_s\":%.2f,\"peak_rss_mb\":%ld,\"gflop\":%.3f}\n"
                                       : "%s, frozen %s, batch %d, %s, %d thread(s), inference %s: best %.5f s, median %.5f s, %.1f images/s, %ld MB, %.3f GFLOP\n",
               n->name, f->name, s.batch, p ? p : "f32", d.threads, s.infer ? "true" : "false", best, median, s.batch / best, use.ru_maxrss / 1024, gflop);
    fv_optim_destroy(s.c, s.o);
    fv_model_destroy(s.c, s.m);
    return cli_end(s.c);
}
