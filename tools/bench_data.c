/* fv bench data: what reading and augmenting pictures costs beside a training step. It writes random
 * pictures into a folder (IDX for grey sizes, PNG in class folders for colour ones), reads them as fv train
 * image does, makes batches with and without augmentation, and trains on them. */
#include "bench.h"
#include "bench_models.h"
#include "draw.h"
#include "run.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char plain_keys[] = "hflip=1 crop_scale=0 jitter=0 erase=0 mixup=0 cutmix=0";
static const char rich_keys[] = "hflip=1 crop_scale=0.08 jitter=0.4 erase=0.25 mixup=0.8 cutmix=1";

typedef struct data_work {
    bench *b;
    bench_shape shape;
    run r; /* r.c is b->c */
    fv_optim *o;
    char folder[4096];
    int batch, pictures, at;
    double read, made[2][BENCH_RUNS],
        rest[BENCH_RUNS]; /* seconds: of all pictures; of a batch, plain and rich; of the rest of a step */
    int count[2];
} data_work;

/* ---- the pictures ---- */
static void put32(FILE *f, int v) {
    for (int s = 24; s >= 0; s -= 8) fputc(v >> s & 255, f);
}
static int write_idx(data_work *w, const char *split, int n) {
    char path[4200];
    int S = w->shape.img_size;
    for (int labels = 0; labels < 2; labels++) {
        snprintf(path, sizeof path, "%s/%s-%s-ubyte", w->folder, split,
                 labels ? "labels-idx1" : "images-idx3");
        FILE *f = fopen(path, "wb");
        if (!f) return fv_fail(w->b->c, FV_EIO, "%s: cannot be written", path);
        put32(f, labels ? 0x801 : 0x803), put32(f, n);
        if (!labels) put32(f, S), put32(f, S);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < (labels ? 1 : S * S); k++)
                fputc(labels ? i % w->shape.classes : (int)(fv_random_u32(2, (uint64_t)i, (uint64_t)k) & 255),
                      f);
        if (fclose(f)) return fv_fail(w->b->c, FV_EIO, "%s: cannot be written", path);
    }
    return 1;
}

/* boxes of random colours, as large as photographs' things are */
static int write_png(data_work *w, const char *split, int n) {
    char path[4200];
    int S = w->shape.img_size;
    snprintf(path, sizeof path, "%s/%s", w->folder, split);
    mkdir(path, 0777);
    for (int i = 0; i < n; i++) {
        canvas v = canvas_new(w->b->c, S, S);
        fv_rng g = {3, (uint64_t)i, 0};
        for (int k = 0; k < 40 && v.rgb; k++)
            draw_box(&v, (double)fv_rng_below(&g, (uint32_t)S), (double)fv_rng_below(&g, (uint32_t)S),
                     S / 3.0, S / 4.0, fv_rng_u32(&g) & 0xffffff, 0.7);
        snprintf(path, sizeof path, "%s/%s/%d", w->folder, split, i % 4);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/%s/%d/%d.png", w->folder, split, i % 4, i);
        int ok = v.rgb && canvas_save(w->b->c, &v, path);
        canvas_free(w->b->c, &v);
        if (!ok) return 0;
    }
    return 1;
}

static int write_pictures(data_work *w) {
    if (!bench_folder(w->b->c, w->folder, sizeof w->folder)) return 0;
    if (w->shape.channels == 1) return write_idx(w, "train", w->pictures) && write_idx(w, "t10k", 4);
    return write_png(w, "train", w->pictures) && write_png(w, "test", 4);
}

/* ---- the run, as fv train image makes it ---- */
static int open_run(data_work *w) {
    const bench_shape *s = &w->shape;
    char words[512];
    w->r.task = task_named("image");
    w->r.s.task_keys = w->r.task->keys;
    snprintf(words, sizeof words,
             "arch=vit img_size=%d patch_size=%d in_chans=%d embed_dim=%d depth=%d num_heads=%d seed=0 "
             "variant=%s precision=%s",
             s->img_size, s->patch_size, s->channels, s->dim, s->depth, s->heads,
             s->hidden ? "random" : "base", fv_type_name(w->b->type));
    put_words(&w->r.s, words);
    if (s->hidden) {
        snprintf(words, sizeof words,
                 "frozen.hidden_size=%d frozen.num_attention_heads=%d frozen.num_key_value_heads=%d "
                 "frozen.intermediate_size=%d "
                 "frozen.num_hidden_layers=%d",
                 s->hidden, s->llm_heads, s->kv_heads, s->ffn, s->layers);
        put_words(&w->r.s, words);
    }
    put_words(&w->r.s, plain_keys);
    double start = fv_now();
    if (!w->r.task->open(&w->r, w->folder)) return 0;
    w->read = fv_now() - start;
    if (run_open_model(&w->r)) w->o = fv_optim_create(w->b->c, &w->r.model->params, NULL);
    fv_autocast(w->b->c, w->b->type), fv_training(w->b->c, 1);
    return !fv_error(w->b->c);
}

static double make_batch(data_work *w, int rich, batch *made) {
    int32_t index[1024];
    memset(made, 0, sizeof *made), made->with_loss = 1;
    for (int i = 0; i < w->batch; i++) index[i] = (int32_t)((w->at + i) % w->pictures);
    put_words(&w->r.s, rich ? rich_keys : plain_keys);
    double start = fv_now();
    if (!w->r.task->batch(&w->r, SPLIT_TRAIN, index, w->batch, w->at, made)) return 0;
    double t = fv_now() - start;
    if (w->count[rich] < BENCH_RUNS) w->made[rich][w->count[rich]++] = t;
    return t;
}

/* a plain batch, thrown away; then a step on an augmented one */
static double once(void *data, const char *line) {
    data_work *w = (data_work *)data;
    fv_ctx *c = w->b->c;
    batch b;
    (void)line;
    fv_reset(c);
    make_batch(w, 0, &b);
    fv_reset(c);
    fv_seed(c, 0, (uint64_t)w->at++);
    double making = make_batch(w, 1, &b), start = fv_now();
    fv_tensor *loss = fv_error(c) ? NULL : run_loss(&w->r, run_forward(&w->r, &b), &b);
    if (!loss) return 0;
    fv_backward(c, loss);
    fv_optim_step(c, w->o, 1e-4f);
    double rest = fv_now() - start;
    w->rest[(w->count[1] - 1) % BENCH_RUNS] = rest;
    return making + rest;
}

static void print(data_work *w) {
    const bench *b = w->b;
    double best, plain, rich, rest, per = 1e3 / w->pictures;
    for (int i = 0; i < 2; i++)
        bench_sort(w->made[i] + 1, w->count[i] - 1, &best, i ? &rich : &plain); /* the first was not timed */
    bench_sort(w->rest + 1, w->count[1] - 1, &best, &rest);
    if (!b->json) {
        printf("%s, frozen %s, batch %d, %s, %d thread(s): reading %.4f ms a picture (once, when training "
               "starts, %s);\n",
               w->shape.size, w->shape.frozen, w->batch, fv_type_name(b->type), b->threads, w->read * per,
               w->shape.channels == 1 ? "IDX" : "PNG");
        printf("  a batch, mirrored at most, %.5f s; with crop, jitter, erasing, mixup and cutmix %.5f s; "
               "the rest of a step %.5f s: %.2f %% and %.2f %% of a step\n",
               plain, rich, rest, 100 * plain / (plain + rest), 100 * rich / (rich + rest));
        return;
    }
    printf("{\"bench\":\"data\",\"size\":\"%s\",\"frozen\":\"%s\",\"batch\":%d,\"pictures\":%d,"
           "\"precision\":\"%s\",\"threads\":%d,\"read_ms_per_image\":%.5f,",
           w->shape.size, w->shape.frozen, w->batch, w->pictures, fv_type_name(b->type), b->threads,
           w->read * per);
    printf("\"plain_batch_s\":%.6f,\"augmented_batch_s\":%.6f,\"rest_of_step_s\":%.6f,\"plain_share\":%.4f,"
           "\"share\":%.4f,\"best_s\":%.6f,\"median_s\":%.6f}\n",
           plain, rich, rest, plain / (plain + rest), rich / (rich + rest), b->best, b->median);
}

int bench_data(int argc, char **argv) {
    cli_option options[] = {BENCH_SHAPE_OPTIONS,
                            {"--batch", "N", "pictures a step (64), at most 1024", NULL},
                            {"--pictures", "N", "on the disk (256)", NULL},
                            BENCH_OPTIONS("2", "5"),
                            {NULL, NULL, NULL, NULL}};
    cli a = {"fv bench data [options]",
             "Reading and augmenting pictures, and its share of a training step.",
             options,
             {NULL},
             0};
    static data_work w;
    bench b;
    int status = cli_parse(&a, argc, argv), bad = 0;
    if (status >= 0) return status;
    memset(&w, 0, sizeof w);
    w.b = &b;
    w.batch = (int)cli_int(&a, "--batch", 64, 2, &bad),
    w.pictures = (int)cli_int(&a, "--pictures", 256, 4, &bad);
    if (bad || !bench_shape_read(&w.shape, &a)) return 2;
    if (w.batch > 1024) return cli_fail(2, "--batch %d: at most 1024", w.batch);
    if ((status = bench_begin(&b, &a, 2, 5)) >= 0) return status;
    w.r.c = b.c;
    if (write_pictures(&w) && open_run(&w)) bench_repeat(&b, once, &w);
    if (!fv_error(b.c)) print(&w);
    fv_optim_destroy(b.c, w.o);
    if (*w.folder) remove_folder(w.folder);
    return run_end(&w.r);
}
