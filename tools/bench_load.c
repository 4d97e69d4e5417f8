/* fv bench load: how long a user waits. Starts processes of its own, each of which opens the language
 * model's file, makes a network with its last block inside, and trains one step; the clock runs from before
 * the start. Then what opening, dequantising and packing take apart. Files come from the page cache, as in
 * any run but a day's first. */
#define _GNU_SOURCE /* fork */
#include "bench.h"
#include "bench_models.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STAGES = 5 };
static const char *const stage_name[STAGES] = {"main", "context", "open", "create", "step"};

typedef struct load_work {
    bench *b;
    bench_shape shape;
    int batch;
    const char *llm, *argv[24];    /* the file; the command of a process that starts once */
    char folder[4096], made[4200]; /* where a file of random weights was made, "" otherwise */
    double stage[STAGES][BENCH_RUNS], ready[BENCH_RUNS]; /* seconds, by run */
    int starts;
    double total_mb, block_mb, open_s, read_s, pack_s; /* of the file and its last block */
} load_work;

/* ---- the process that is started ---- */
static int start_once(const load_work *w, double main_at) {
    double at[STAGES];
    fv_desc d;
    fv_model_desc md;
    memset(&d, 0, sizeof d), memset(&md, 0, sizeof md);
    at[0] = main_at;
    d.threads = w->b->threads;
    fv_ctx *c = fv_create(&d);
    at[1] = fv_now();
    md.llm = fv_weights_open(c, w->llm);
    at[2] = fv_now();
    if (w->b->type == FV_BF16) md.pack = FV_BF16;
    fv_model *m = md.llm ? bench_model(c, &w->shape, &md) : NULL;
    fv_optim *o = m ? fv_optim_create(c, &m->params, NULL) : NULL;
    at[3] = fv_now();
    int64_t dim[4] = {w->batch, w->shape.channels, w->shape.img_size, w->shape.img_size};
    fv_autocast(c, w->b->type), fv_training(c, 1);
    fv_tensor *x = fv_new(c, FV_F32, 4, dim), *label = fv_new(c, FV_I32, 1, dim);
    if (o && label) {
        memset(x->data, 0, (size_t)fv_numel(x) * sizeof(float)),
            memset(label->data, 0, (size_t)w->batch * sizeof(int32_t));
        fv_backward(c, fv_cross_entropy(c, fv_model_forward(c, m, x), label, 0));
        fv_optim_step(c, o, 1e-4f);
    }
    at[4] = fv_now();
    if (!fv_error(c)) printf("%.9f %.9f %.9f %.9f %.9f\n", at[0], at[1], at[2], at[3], at[4]);
    fv_optim_destroy(c, o);
    fv_model_destroy(c, m);
    fv_weights_close(c, md.llm);
    return cli_end(c);
}

/* ---- the process that starts it ---- */
static double start_process(void *data, const char *line) {
    load_work *w = (load_work *)data;
    int ends[2], status = 0;
    double at[STAGES] = {0};
    (void)line;
    if (pipe(ends)) return fv_fail(w->b->c, FV_EUNAVAILABLE, "a process could not be started");
    fflush(NULL);
    double start = fv_now();
    pid_t p = fork();
    if (p == 0) {
        dup2(ends[1], 1), close(ends[0]), close(ends[1]);
        execv("/proc/self/exe", (char *const *)(uintptr_t)w->argv);
        _exit(127);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    int got = f ? fscanf(f, "%lf %lf %lf %lf %lf", &at[0], &at[1], &at[2], &at[3], &at[4]) : 0;
    if (f) fclose(f);
    if (p > 0) waitpid(p, &status, 0);
    if (p < 0 || got != STAGES || status)
        return fv_fail(w->b->c, FV_EUNAVAILABLE, "a start of this program with %s failed", w->llm);
    int run = w->starts++ - 1; /* the first one is not timed */
    if (run >= 0 && run < BENCH_RUNS) {
        w->ready[run] = at[3] - start;
        for (int i = 0; i < STAGES; i++) w->stage[i][run] = at[i] - (i ? at[i - 1] : start);
    }
    return at[4] - start;
}

/* ---- the parts ---- */
/* number N of a name with "layers.N." or "blk.N."; -1: none */
static int layer_of(const char *name) {
    const char *at = strstr(name, "layers."), *block = strstr(name, "blk.");
    int n = -1;
    if (at) sscanf(at, "layers.%d.", &n);
    else if (block) sscanf(block, "blk.%d.", &n);
    return n;
}

/* dequantises and packs the matrices of the last block */
static void measure_block(load_work *w, fv_weights *f) {
    fv_ctx *c = w->b->c;
    int last = -1;
    for (int i = 0; i < fv_weights_count(f); i++) {
        int n = layer_of(fv_weights_at(f, i)->name);
        last = n > last ? n : last;
    }
    w->block_mb = w->read_s = w->pack_s = 0;
    for (int i = 0; i < fv_weights_count(f) && !fv_error(c); i++) {
        const fv_entry *e = fv_weights_at(f, i);
        if (layer_of(e->name) != last || last < 0) continue;
        float *x = (float *)fv_alloc(c, (size_t)e->count * sizeof *x);
        double start = fv_now();
        if (x) fv_entry_read(c, f, e, FV_F32, x);
        double middle = fv_now();
        fv_tensor *packed = e->rank == 2 && x && !fv_error(c)
                                ? fv_pack(c, NULL, w->b->type, e->dim[0], e->dim[1], x, FV_F32)
                                : NULL;
        w->block_mb += (double)e->bytes / 1e6, w->read_s += middle - start, w->pack_s += fv_now() - middle;
        fv_param_free(c, packed);
        fv_free(c, x);
    }
}

static void measure_parts(load_work *w) {
    fv_ctx *c = w->b->c;
    for (int pass = 0; pass < 2 && !fv_error(c); pass++) { /* the second counts */
        double start = fv_now();
        fv_weights *f = fv_weights_open(c, w->llm);
        w->open_s = fv_now() - start;
        w->total_mb = 0;
        for (int i = 0; f && i < fv_weights_count(f); i++)
            w->total_mb += (double)fv_weights_at(f, i)->bytes / 1e6;
        if (f) measure_block(w, f);
        fv_weights_close(c, f);
    }
}

/* ---- a file of random weights, where none is given ---- */
static int make_file(load_work *w) {
    static const struct {
        const char *name;
        char rows, cols;
    } tensors[] = {
        {"input_layernorm", 'D', 0},    {"self_attn.q_proj", 'D', 'D'}, {"self_attn.k_proj", 'K', 'D'},
        {"self_attn.v_proj", 'K', 'D'}, {"self_attn.o_proj", 'D', 'D'}, {"post_attention_layernorm", 'D', 0},
        {"mlp.gate_proj", 'F', 'D'},    {"mlp.up_proj", 'F', 'D'},      {"mlp.down_proj", 'D', 'F'}};
    enum { TENSORS = sizeof tensors / sizeof *tensors };
    const bench_shape *s = &w->shape;
    fv_ctx *c = w->b->c;
    char name[TENSORS][64];
    int64_t dim[TENSORS][2], most = (int64_t)s->hidden * s->ffn;
    fv_save_entry e[TENSORS];
    if (!bench_folder(c, w->folder, sizeof w->folder)) return 0;
    snprintf(w->made, sizeof w->made, "%s/model.safetensors", w->folder);
    uint16_t *x = (uint16_t *)fv_alloc(
        c, (size_t)most * sizeof *x); /* bf16 numbers between 1/64 and 1/32; all tensors are the same ones */
    for (int64_t i = 0; x && i < most; i++)
        x[i] = (uint16_t)(0x3c80 + fv_random_u32(1, 1, (uint64_t)i) % 128);
    for (int i = 0; i < TENSORS; i++) {
        const char size[2] = {tensors[i].rows, tensors[i].cols};
        for (int k = 0; k < 2; k++)
            dim[i][k] = size[k] == 'D'   ? s->hidden
                        : size[k] == 'F' ? s->ffn
                                         : s->hidden / s->llm_heads * s->kv_heads;
        snprintf(name[i], sizeof name[i], "model.layers.0.%s.weight", tensors[i].name);
        e[i].name = name[i], e[i].dtype = FV_D_BF16, e[i].rank = tensors[i].cols ? 2 : 1, e[i].dim = dim[i],
        e[i].data = x;
    }
    int ok = x && fv_safetensors_write(c, w->made, e, TENSORS, NULL);
    fv_free(c, x);
    w->llm = w->made;
    return ok;
}

static void print(load_work *w, int gguf) {
    const bench *b = w->b;
    double best[STAGES], median[STAGES], ready_best, ready;
    bench_sort(w->ready, b->count, &ready_best, &ready);
    for (int i = 0; i < STAGES; i++) bench_sort(w->stage[i], b->count, &best[i], &median[i]);
    if (!b->json) {
        printf("%s, %s, %s, %d thread(s): from the start of the process %.3f s until the first step begins, "
               "%.3f s until it has ended (median; best %.3f, %.3f)\n",
               *w->made ? "a file of random weights" : w->llm, w->shape.size, fv_type_name(b->type),
               b->threads, ready, b->median, ready_best, b->best);
        for (int i = 0; i < STAGES; i++) printf("  %-8s %.4f s\n", stage_name[i], median[i]);
        printf("  opening all %.1f MB (%s) %.4f s; the last block, %.1f MB: to f32 %.4f s, packed as %s "
               "%.4f s\n",
               w->total_mb, gguf ? "GGUF" : "safetensors", w->open_s, w->block_mb, w->read_s,
               fv_type_name(b->type), w->pack_s);
        return;
    }
    printf("{\"bench\":\"load\",\"size\":\"%s\",\"frozen\":\"%s\",\"format\":\"%s\",\"batch\":%d,",
           w->shape.size, w->shape.hidden ? w->shape.frozen : "file", gguf ? "gguf" : "safetensors",
           w->batch);
    printf("\"precision\":\"%s\",\"threads\":%d,\"isa\":\"%s\"", fv_type_name(b->type), b->threads,
           fv_isa_name(fv_isa_of(b->c)));
    printf(",\"ready_best_s\":%.5f,\"ready_median_s\":%.5f,\"best_s\":%.5f,\"median_s\":%.5f", ready_best,
           ready, b->best, b->median);
    for (int i = 0; i < STAGES; i++) printf(",\"%s_s\":%.5f", stage_name[i], median[i]);
    printf(",\"file_mb\":%.1f,\"block_mb\":%.2f,\"open_all_s\":%.5f,\"dequantise_s\":%.5f,\"pack_s\":%.5f}\n",
           w->total_mb, w->block_mb, w->open_s, w->read_s, w->pack_s);
}

/* the same command, for one start */
static void command(load_work *w, const cli *a) {
    static char batch[16], threads[16];
    const char *size = w->shape.size, *frozen = w->shape.hidden ? w->shape.frozen : "none";
    int n = 0;
    (void)a;
    snprintf(batch, sizeof batch, "%d", w->batch), snprintf(threads, sizeof threads, "%d", w->b->threads);
    const char *words[] = {"fv",        "bench", "load",        "--once",
                           "--llm",     w->llm,  "--size",      size,
                           "--frozen",  frozen,  "--batch",     batch,
                           "--threads", threads, "--precision", fv_type_name(w->b->type),
                           NULL};
    for (; words[n]; n++) w->argv[n] = words[n];
}

static int measure(load_work *w, const cli *a) {
    bench *b = w->b;
    if (w->llm || make_file(w)) {
        command(w, a);
        measure_parts(w);
        bench_repeat(b, start_process, w);
        fv_weights *f = fv_error(b->c) ? NULL : fv_weights_open(b->c, w->llm);
        if (f) print(w, fv_weights_is_gguf(f));
        fv_weights_close(b->c, f);
    }
    if (*w->made) remove(w->made);
    if (*w->folder) rmdir(w->folder);
    return cli_end(b->c);
}

int bench_load(int argc, char **argv) {
    double main_at = fv_now();
    cli_option options[] = {
        {"--llm", "FILE",
         "GGUF or safetensors, its last block (a file of random weights of --frozen's shapes)", NULL},
        {"--size", "NAME", "tiny28 (default), tiny, small, base", NULL},
        {"--frozen", "NAME", "smollm2-135m (default without --llm), llama-7b", NULL},
        {"--batch", "N", "pictures of the first step (8)", NULL},
        {"--once", NULL, "one start, here; prints the clock after each stage", NULL},
        BENCH_OPTIONS("2", "5"),
        {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench load [options]",
             "Seconds from the start of a process to its first training step with a frozen block.",
             options,
             {NULL},
             0};
    static load_work w;
    bench b;
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    memset(&w, 0, sizeof w);
    w.b = &b, w.llm = cli_value(&a, "--llm");
    if (!w.llm && !cli_value(&a, "--frozen"))
        for (cli_option *o = options; o->name; o++)
            if (!strcmp(o->name, "--frozen")) o->value = "smollm2-135m";
    w.batch = (int)cli_int(&a, "--batch", 8, 1, &bad);
    if (bad || !bench_shape_read(&w.shape, &a)) return 2;
    if (!w.llm && !w.shape.hidden)
        return cli_fail(
            2, "--frozen none: there would be nothing to load; --llm FILE or another --frozen is wanted");
    if (cli_value(&a, "--once") && !w.llm) return cli_fail(2, "--once wants --llm FILE");
    if ((status = bench_begin(&b, &a, 2, 5)) >= 0) return status;
    if (!cli_value(&a, "--once")) return measure(&w, &a);
    status = start_once(&w, main_at);
    fv_destroy(b.c);
    return status;
}
