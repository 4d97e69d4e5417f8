/* fv bench attention: softmax(q k^T s) v over heads, forward and backward, on random q, k, v. */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention_work {
    bench *b;
    int tokens, heads, kv_heads, head_dim, batch, infer, masked;
    fv_attention_desc desc;
    /* of --precision: [batch,tokens,heads*head_dim], one for k and v, the result's gradient */
    void *q, *kv, *grad;
    uint8_t *valid; /* [batch,tokens] */
    double backward[BENCH_RUNS];
    int count; /* of backward */
    double back_best, back_median;
} attention_work;

static void *noise(fv_ctx *c, fv_type type, int64_t n, uint64_t stream) {
    void *p = fv_alloc(c, (size_t)n * fv_type_size(type));
    fv_tensor t;
    memset(&t, 0, sizeof t);
    t.data = p, t.type = type, t.rank = 1, t.dim[0] = n;
    for (int64_t i = 0; p && i < n; i++) fv_set(&t, i, (double)fv_random_normal(1, stream, (uint64_t)i));
    return p;
}

static int prepare(attention_work *w) {
    fv_ctx *c = w->b->c;
    int64_t rows = (int64_t)w->batch * w->tokens, q = rows * w->heads * w->head_dim,
            kv = rows * w->kv_heads * w->head_dim;
    w->q = noise(c, w->b->type, q, 1), w->kv = noise(c, w->b->type, kv, 2),
    w->grad = noise(c, w->b->type, q, 3);
    w->valid = (uint8_t *)fv_alloc(c, (size_t)rows);
    for (int64_t i = 0; w->valid && i < rows; i++) w->valid[i] = i % w->tokens < (w->tokens + 1) / 2;
    w->desc.num_heads = w->heads, w->desc.num_kv_heads = w->kv_heads;
    fv_autocast(c, w->b->type);
    fv_no_grad(c, w->infer);
    return !fv_error(c);
}

/* forward's seconds are returned, backward's noted; served: their sum */
static double once(void *data, const char *line) {
    attention_work *w = (attention_work *)data;
    fv_ctx *c = w->b->c;
    int64_t dim[3] = {w->batch, w->tokens, (int64_t)w->heads * w->head_dim},
            kv[3] = {w->batch, w->tokens, (int64_t)w->kv_heads * w->head_dim};
    (void)line;
    fv_reset(c);
    fv_tensor *q = fv_input(c, w->b->type, 3, dim, w->q, !w->infer),
              *k = fv_input(c, w->b->type, 3, kv, w->kv, !w->infer),
              *v = fv_input(c, w->b->type, 3, kv, w->kv, !w->infer);
    w->desc.mask = w->masked ? fv_input(c, FV_U8, 2, dim, w->valid, 0) : NULL;
    double start = fv_now();
    fv_tensor *y = fv_attention(c, q, k, v, &w->desc);
    double middle = fv_now();
    if (w->infer || !y) return middle - start;
    fv_backward_from(c, y, w->grad);
    double back = fv_now() - middle;
    if (w->b->serve) return middle - start + back;
    if (w->count < BENCH_RUNS) w->backward[w->count++] = back;
    return middle - start;
}

/* The work that is asked for: with a causal mask only the pairs that see each other, with a validity mask
 * all. */
static double forward_gflop(const attention_work *w) {
    double n = w->tokens, pairs = w->desc.causal ? n * (n + 1) / 2 : n * n;
    return 4e-9 * pairs * w->batch * w->heads * w->head_dim;
}

static void print(const attention_work *w) {
    const bench *b = w->b;
    double flop = forward_gflop(w), best = b->best > 0 ? flop / b->best : 0,
           median = b->median > 0 ? flop / b->median : 0;
    double back = w->back_best > 0 ? 2 * flop / w->back_best : 0,
           back_median = w->back_median > 0 ? 2 * flop / w->back_median : 0;
    if (!b->json) {
        printf("%d tokens, %d heads of %d (%d key heads), batch %d, %s, %d thread(s), %s%s%s: forward %.1f "
               "GFLOP/s best, %.1f median, %.2f of the peak",
               w->tokens, w->heads, w->head_dim, w->kv_heads, w->batch, fv_type_name(b->type), b->threads,
               fv_isa_name(fv_isa_of(b->c)), w->desc.causal ? ", causal" : "", w->masked ? ", masked" : "",
               best, median, bench_share(b, best));
        if (!w->infer)
            printf("; backward %.1f best, %.1f median, %.2f", back, back_median, bench_share(b, back));
        printf("; one core's peak %.1f\n", b->peak);
        return;
    }
    printf("{\"bench\":\"attention\",\"tokens\":%d,\"heads\":%d,\"kv_heads\":%d,\"head_dim\":%d,"
           "\"batch\":%d,\"causal\":%s,\"mask\":%s,\"rope\":%s,",
           w->tokens, w->heads, w->kv_heads, w->head_dim, w->batch, w->desc.causal ? "true" : "false",
           w->masked ? "true" : "false", w->desc.rope_theta > 0 ? "true" : "false");
    bench_print_common(b);
    printf(",\"gflops\":%.1f,\"median_gflops\":%.1f,\"share\":%.3f", best, median, bench_share(b, best));
    if (!w->infer)
        printf(",\"backward_gflops\":%.1f,\"backward_median_gflops\":%.1f,\"backward_share\":%.3f", back,
               back_median, bench_share(b, back));
    printf(",\"peak_rss_mb\":%ld}\n", bench_peak_rss_mb());
}

static int read_options(attention_work *w, const cli *a) {
    int bad = 0;
    w->tokens = (int)cli_int(a, "--tokens", 197, 1, &bad), w->heads = (int)cli_int(a, "--heads", 6, 1, &bad);
    w->kv_heads = (int)cli_int(a, "--kv-heads", w->heads, 1, &bad),
    w->head_dim = (int)cli_int(a, "--head-dim", 64, 1, &bad);
    w->batch = (int)cli_int(a, "--batch", 8, 1, &bad);
    w->infer = cli_value(a, "--infer") != NULL, w->masked = cli_value(a, "--mask") != NULL;
    w->desc.causal = cli_value(a, "--causal") != NULL,
    w->desc.rope_theta = cli_value(a, "--rope") ? 10000.f : 0.f;
    if (!bad && w->heads % w->kv_heads)
        bad = cli_fail(2, "--kv-heads %d: the heads, %d, are a multiple of it", w->kv_heads, w->heads);
    return !bad;
}

int bench_attention(int argc, char **argv) {
    cli_option options[] = {
        {"--tokens", "N", "of a sample (197)", NULL},
        {"--heads", "N", "(6)", NULL},
        {"--kv-heads", "N", "key heads, each shared by heads/N heads (as many as heads)", NULL},
        {"--head-dim", "N", "a head's width (64)", NULL},
        {"--batch", "N", "samples (8)", NULL},
        {"--causal", NULL, "a token sees itself and those before it", NULL},
        {"--mask", NULL, "only the first half of each sample's tokens are valid keys", NULL},
        {"--rope", NULL, "with rotary embedding", NULL},
        {"--infer", NULL, "forward only, nothing kept for gradients", NULL},
        BENCH_OPTIONS("1", "10"),
        {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench attention [options]",
             "softmax(q k^T s) v, forward and backward: GFLOP/s and share of the peak of the cores in use.\n"
             "Work: 4 N N width forward, twice that backward; half with --causal.",
             options,
             {NULL},
             0};
    static attention_work w;
    bench b;
    int status = cli_parse(&a, argc, argv);
    if (status >= 0) return status;
    memset(&w, 0, sizeof w);
    w.b = &b;
    if (!read_options(&w, &a)) return 2;
    if ((status = bench_begin(&b, &a, 1, 10)) >= 0) return status;
    bench_peak(&b);
    if (prepare(&w)) bench_repeat(&b, once, &w);
    bench_peak(&b);
    if (w.count > 1) /* the first one was not timed */
        bench_sort(w.backward + 1, w.count - 1, &w.back_best, &w.back_median);
    if (!fv_error(b.c)) print(&w);
    fv_free(b.c, w.q), fv_free(b.c, w.kv), fv_free(b.c, w.grad), fv_free(b.c, w.valid);
    return cli_end(b.c);
}
