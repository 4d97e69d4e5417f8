/* fv bench step: seconds of a training step (forward, backward, AdamW) or of an inference, with random
 * weights of the shapes that matter. */
#define _GNU_SOURCE /* fork */
#include "bench.h"
#include "bench_models.h"
#include "profile.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct step_work {
    bench *b;
    bench_shape shape;
    fv_model *m;
    fv_optim *o;
    fv_tensor *pictures, *labels; /* they lie where it computes before the first step, as PyTorch's do */
    int batch, runs, infer, recompute, profile;
    uint64_t number;
} step_work;
typedef struct cost {
    double best, median, mb;
} cost; /* what a run without --recompute takes */

static double once(void *data, const char *line) {
    step_work *s = (step_work *)data;
    fv_ctx *c = s->b->c;
    (void)line;
    if (s->profile && s->number == 1) fv_profile_reset(c, 1); /* step 0 was the untimed one */
    double start = fv_now();
    fv_reset(c);
    fv_seed(c, 0, s->number++);
    fv_tensor *y = fv_model_forward(c, s->m, s->pictures);
    if (!s->infer && y) {
        fv_backward(c, fv_cross_entropy(c, y, s->labels, 0));
        fv_optim_step(c, s->o, 1e-4f);
    }
    fv_sync(c);
    return fv_now() - start;
}

static int make_batch(step_work *s) {
    fv_ctx *c = s->b->c;
    int64_t dim[4] = {s->batch, s->shape.channels, s->shape.img_size, s->shape.img_size};
    s->pictures = fv_constant(c, NULL, FV_F32, 4, dim), s->labels = fv_constant(c, NULL, FV_I32, 1, dim);
    fv_init_normal(c, s->pictures, 1, 1);
    int32_t *label = (int32_t *)fv_alloc(c, (size_t)s->batch * sizeof *label);
    for (int i = 0; label && i < s->batch; i++) label[i] = i % 10;
    fv_write(c, s->labels, label);
    fv_free(c, label);
    return !fv_error(c);
}

static int prepare(step_work *s) {
    fv_ctx *c = s->b->c;
    fv_model_desc d;
    memset(&d, 0, sizeof d);
    if (s->b->type == FV_BF16) d.pack = FV_BF16;
    s->m = bench_model(c, &s->shape, &d);
    if (!make_batch(s)) return 0;
    if (s->m && !s->infer) s->o = fv_optim_create(c, &s->m->params, NULL);
    if (s->m && s->infer) fv_model_pack(c, s->m, s->b->type);
    fv_autocast(c, s->b->type);
    fv_training(c, !s->infer), fv_no_grad(c, s->infer), fv_recompute(c, s->recompute);
    return !fv_error(c);
}

static void take_down(step_work *s) {
    fv_ctx *c = s->b->c;
    fv_optim_destroy(c, s->o);
    fv_model_destroy(c, s->m);
    fv_param_free(c, s->pictures);
    fv_param_free(c, s->labels);
}

/* The most memory of the process or, on a GPU, what the context holds of the GPU's after its steps: a pool
 * keeps what the largest one needed. The first steps, which have yet to find out how much, may take more; of
 * PyTorch they are not counted either. */
static double peak_mb(const bench *b) {
    return bench_on_gpu(b) ? (double)(fv_memory(b->c).device_now >> 20) : (double)bench_peak_rss_mb();
}

/* --recompute: the same run without it, in a process of its own, so that neither's memory is counted as the
 * other's */
static cost without_recompute(step_work s, const cli *a) {
    cost k = {0, 0, 0};
    int ends[2];
    if (pipe(ends)) return k;
    fflush(NULL);
    pid_t p = fork();
    if (p == 0) {
        bench b;
        s.recompute = s.profile = 0, s.b = &b;
        if (bench_begin(&b, a, 2, s.runs) < 0 && prepare(&s)) bench_repeat(&b, once, &s);
        k.best = b.best, k.median = b.median, k.mb = peak_mb(&b);
        _exit(write(ends[1], &k, sizeof k) != (ssize_t)sizeof k);
    }
    close(ends[1]);
    if (p < 0 || read(ends[0], &k, sizeof k) != (ssize_t)sizeof k) memset(&k, 0, sizeof k);
    close(ends[0]);
    if (p > 0) waitpid(p, NULL, 0);
    return k;
}

static void print(const step_work *s, const cost *plain) {
    const bench *b = s->b;
    double gflop = bench_shape_gflop(&s->shape, s->batch, s->infer), mb = peak_mb(b);
    double rate = b->best > 0 ? 1 / b->best : 0, share = bench_share(b, gflop * rate);
    double time_ratio = plain->median > 0 ? b->median / plain->median : 0,
           memory_ratio = plain->mb > 0 ? mb / plain->mb : 0;
    const char *memory = bench_on_gpu(b) ? "peak_mb" : "peak_rss_mb";
    if (!b->json) {
        printf("%s, frozen %s, %d tokens, batch %d, %s, ", s->shape.size, s->shape.frozen,
               bench_shape_tokens(&s->shape), s->batch, fv_type_name(b->type));
        if (bench_on_gpu(b)) printf("%s", fv_device_name(b->c));
        else printf("%d thread(s)", b->threads);
        printf(", inference %s: best %.5f s, median %.5f s, %.1f images/s, %.0f MB, %.3f GFLOP",
               s->infer ? "true" : "false", b->best, b->median, s->batch * rate, mb, gflop);
        if (bench_on_gpu(b)) printf("\n");
        else printf(", %.2f of the peak\n", share);
        if (s->recompute)
            printf("--recompute: %.2f times the time and %.2f times the memory of the same run without it "
                   "(%.0f MB)\n",
                   time_ratio, memory_ratio, plain->mb);
        return;
    }
    printf("{\"bench\":\"step\",\"size\":\"%s\",\"frozen\":\"%s\",\"layers\":%d,\"tokens\":%d,\"batch\":%d,"
           "\"infer\":%s,",
           s->shape.size, s->shape.frozen, s->shape.layers, bench_shape_tokens(&s->shape), s->batch,
           s->infer ? "true" : "false");
    bench_print_common(b);
    if (s->recompute)
        printf(",\"recompute\":true,\"plain_median_s\":%.5f,\"plain_%s\":%.0f,\"time_ratio\":%.3f,"
               "\"memory_ratio\":%.3f",
               plain->median, memory, plain->mb, time_ratio, memory_ratio);
    printf(",\"best_s\":%.5f,\"median_s\":%.5f,\"images_per_s\":%.2f,\"%s\":%.0f,\"gflop\":%.3f", b->best,
           b->median, s->batch * rate, memory, mb, gflop);
    if (bench_on_gpu(b)) printf("}\n");
    else printf(",\"share\":%.3f}\n", share);
}

static void print_profile(step_work *s) {
    double all = 0;
    for (int i = 0; i < s->b->count; i++) all += s->b->second[i];
    profile_print(s->b->c, s->b->type, all, -1, s->b->json);
}

int bench_step(int argc, char **argv) {
    cli_option options[] = {BENCH_SHAPE_OPTIONS,
                            CLI_DEVICE,
                            CLI_GPU,
                            {"--batch", "N", "pictures a step (8)", NULL},
                            {"--infer", NULL, "without gradients", NULL},
                            {"--recompute", NULL, "less memory, more time; measures how much of each", NULL},
                            {"--profile", NULL, "where the time went, by op", NULL},
                            {"--steps", "N", "the same as --runs", NULL},
                            BENCH_OPTIONS("2", "5"),
                            {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench step [options]",
             "Times a training step of a vision transformer with random weights, on a batch that lies where\n"
             "it computes from the start. peak_mb is a GPU's memory alone. GFLOP is the work of the\n"
             "dense graph: two for each multiply-add of every product, forward, and backward for what is\n"
             "trained or led through.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv), bad = 0;
    cost plain = {0, 0, 0};
    step_work s;
    bench b;
    if (status >= 0) return status;
    memset(&s, 0, sizeof s);
    s.b = &b;
    s.batch = (int)cli_int(&a, "--batch", 8, 1, &bad);
    s.runs = (int)cli_int(&a, "--steps", 5, 1, &bad);
    if (bad || !bench_shape_read(&s.shape, &a)) return 2;
    s.infer = cli_value(&a, "--infer") != NULL, s.recompute = cli_value(&a, "--recompute") != NULL,
    s.profile = cli_value(&a, "--profile") != NULL;
    if (s.recompute && s.infer)
        return cli_fail(2, "--recompute with --infer: an inference keeps nothing that could be computed "
                           "again");
    if (s.recompute && !cli_value(&a, "--serve")) plain = without_recompute(s, &a);
    if ((status = bench_begin(&b, &a, 2, s.runs)) >= 0) return status;
    bench_peak(&b);
    if (prepare(&s)) bench_repeat(&b, once, &s);
    bench_peak(&b);
    if (!fv_error(b.c) && s.profile) print_profile(&s);
    if (!fv_error(b.c)) print(&s, &plain);
    take_down(&s);
    return cli_end(b.c);
}
