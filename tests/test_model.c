/* The networks and the frozen stage. tests/golden/{image,block,train}_*.safetensors are PyTorch's: the
 * released ViTLLaMA, timm's VisionTransformer, Hugging Face's decoder layers, torch.optim.AdamW (each file's
 * metadata names its source and config). */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "../tools/cli.c"
#include "../tools/cmd_trace.c"
#include "test.h"

/* ---- golden cases, by the very code of `fv trace --check` ---- */
static int run_case(trace *t, const char *name, fv_isa isa, int threads, int bf16, const char *llm) {
    char path[256];
    fv_desc desc;
    memset(&desc, 0, sizeof desc), memset(t, 0, sizeof *t);
    desc.isa = isa, desc.threads = threads;
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    t->c = fv_create(&desc);
    t->bf16 = bf16;
    t->file = fv_weights_open(t->c, path);
    if (llm && t->file) t->llm = fv_weights_open(t->c, llm);
    int ok = !fv_error(t->c) && trace_run(t);
    CHECK(ok, "%s: %s", path, fv_error_text(t->c));
    return ok;
}
static void end_case(trace *t) {
    fv_weights_close(t->c, t->llm);
    fv_weights_close(t->c, t->file);
    fv_destroy(t->c);
}
static int64_t count_of(const trace_result *r) {
    int64_t n = 1;
    for (int i = 0; i < r->rank; i++) n *= r->dim[i];
    return n;
}
static int same_bits(const trace *a, const trace *b) {
    if (a->count != b->count) return 0;
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->result[i].data, b->result[i].data, (size_t)count_of(&a->result[i]) * sizeof(float)))
            return 0;
    return 1;
}

/* every ISA that is here; 1, 2, 3 threads give the same bits */
static void check_golden(const char *name, const char *llm) {
    for (int isa = FV_ISA_SCALAR; isa <= FV_ISA_NEON; isa++) {
        if (!fv_isa_available((fv_isa)isa)) continue;
        trace one;
        int ok = run_case(&one, name, (fv_isa)isa, 1, 0, llm), bad = ok ? trace_check(&one, 0) : -1;
        if (ok && bad) trace_check(&one, 1);
        CHECK(bad == 0, "%s on %s: %d tensors differ", name, fv_isa_name((fv_isa)isa), bad);
        for (int threads = 2; threads <= 3 && ok; threads++) {
            trace more;
            if (run_case(&more, name, (fv_isa)isa, threads, 0, llm))
                CHECK(same_bits(&one, &more), "%s on %s: %d threads give other bits", name,
                      fv_isa_name((fv_isa)isa), threads);
            end_case(&more);
        }
        end_case(&one);
    }
}
static void image_cases(void) {
    static const char *const name[] = {"image_llama_2layers_avgpool",
                                       "image_llama_residual_inside",
                                       "image_llama_residual_outside",
                                       "image_small",
                                       "image_timm",
                                       "image_no_class_token_both",
                                       "image_single_class"};
    for (int i = 0; i < 7; i++) check_golden(name[i], NULL);
}
static void block_cases(void) {
    static const char *const name[] = {"block_llama_gqa",
                                       "block_llama_mask",
                                       "block_llama_rope_causal",
                                       "block_llama_small",
                                       "block_opt",
                                       "block_opt_bidirectional",
                                       "block_opt_postnorm",
                                       "block_opt_small",
                                       "block_numbered_masked_rope_causal",
                                       "block_three_numbered",
                                       "block_opt_gelu_elsewhere_numbered",
                                       "block_opt_relu_masked_causal"};
    for (int i = 0; i < 12; i++) check_golden(name[i], NULL);
}
static void train_case(void) { check_golden("train_image_llama", NULL); }

static void block_smollm2(void) {
    char path[1024];
    const char *cache = getenv("FROZENVIS_CACHE"), *home = getenv("HOME");
    snprintf(path, sizeof path, "%s%s/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache/frozenvis");
    FILE *f = fopen(path, "rb");
    if (!f) SKIP("the SmolLM2 file is not in the cache; tools/fetch.sh gets it");
    fclose(f);
    check_golden("block_smollm2_layer29", path);
}

/* bf16 keeps about eight bits: far from f32's tolerance, near the result */
static void bf16_near(void) {
    trace t;
    if (run_case(&t, "image_llama_residual_inside", FV_ISA_BEST, 2, 1, NULL)) {
        float wanted[64];
        const fv_entry *e = fv_weights_find(t.file, "logits");
        CHECK(e && e->count <= 64 && fv_entry_read(t.c, t.file, e, FV_F32, wanted), "no logits");
        double error = trace_error(&t.result[0], wanted, count_of(&t.result[0]), 1e-30);
        CHECK(error < 0.03 && error > 1e-5, "bf16 logits are off by %g", error);
    }
    end_case(&t);
}

/* ---- the whole network in double ---- */
typedef struct net {
    fv_model *m;
    fv_tensor *x, *target;
} net;
static fv_tensor *net_loss(fv_ctx *c, void *user, fv_tensor **t) {
    net *n = (net *)user;
    return fv_cross_entropy(c, fv_model_forward(c, n->m, t[0]), n->target, 0.1f);
}

static void check_gradient(const char *stage) {
    char config[1024];
    static const int64_t dim[4] = {1, 2, 9, 9};
    static const int64_t label = 2;
    fv_tensor *t[128];
    int64_t one = 1;
    net n;
    fv_model_desc desc;
    fv_ctx *c = fv_create(NULL);
    memset(&desc, 0, sizeof desc);
    desc.type = FV_F64, desc.seed = 3;
    snprintf(config, sizeof config,
             "{\"arch\":\"vit\",\"img_size\":9,\"patch_size\":3,\"in_chans\":2,\"embed_dim\":14,\"depth\":1,"
             "\"num_heads\":2,\"mlp_ratio\":1.5,\"num_classes\":3,\"frozen\":{\"hidden_size\":15,\"num_"
             "attention_heads\":3,"
             "\"num_key_value_heads\":1,\"head_dim\":6,\"intermediate_size\":17,\"num_hidden_layers\":1,%s}}",
             stage);
    n.m = fv_model_create(c, config, strlen(config), &desc);
    CHECK(n.m, "%s", fv_error_text(c));
    if (n.m) {
        fv_tensor *x = fv_param(c, "x", FV_F64, 4, dim);
        int count = 0;
        fv_init_normal(c, x, 1, 77);
        n.target = fv_constant(c, NULL, FV_I64, 1, &one);
        fv_set(n.target, 0, (double)label);
        t[count++] = x;
        for (int i = 0; i < n.m->params.count && count < 128; i++) {
            fv_tensor *p = n.m->params.at[i];
            if (p->rank > 1) fv_init_normal(c, p, 0.3f, (uint64_t)(1000 + i));
            t[count++] = p;
        }
        double error = fv_gradcheck(c, net_loss, &n, t, count, 3);
        CHECK(error >= 0 && error < 1e-6, "%s: gradient off by %g %s", stage, error, fv_error_text(c));
    }
    fv_destroy(c);
}
/* What was forgotten comes back for the backward pass, to the bit: a chain of forgotten ones, one whose own
 * backward pass reads it (softmax), one that nothing reads (before a packed weight), inside a recomputed
 * scope and out of it. */
static void forget_run(int forget, int recompute, float *gx, float *gw) {
    static const int64_t dim[2] = {5, 7}, square[2] = {7, 7};
    float raw[49];
    fv_ctx *c = fv_create(NULL);
    fv_recompute(c, recompute);
    for (int i = 0; i < 49; i++) raw[i] = fv_random_normal(4, 5, (uint64_t)i);
    fv_tensor *x = fv_input(c, FV_F32, 2, dim, raw, 1), *w = fv_param(c, "w", FV_F32, 2, square), *kept[8];
    fv_init_normal(c, w, 1, 3);
    fv_tensor *packed = fv_pack(c, NULL, FV_F32, 7, 7, raw, FV_F32);
    fv_scope scope = fv_scope_begin(c);
    kept[0] = fv_layernorm(c, x, NULL, NULL, 1e-5f), kept[1] = fv_gelu(c, kept[0]),
    kept[2] = fv_linear(c, kept[1], w, NULL);
    kept[3] = fv_softmax(c, kept[2]), kept[4] = fv_linear(c, kept[3], packed, NULL),
    kept[5] = fv_silu(c, kept[4]);
    kept[6] = fv_linear(c, kept[5], w, NULL);
    for (int i = 0; forget && i < 6; i++)
        if (i != 2 && i != 4) fv_forget(c, kept[i]);
    CHECK(!forget || (!kept[0]->data && !kept[5]->data), "the memory is not given back");
    fv_tensor *y = fv_scope_end(c, scope, kept[6]);
    fv_backward(c, fv_mean(c, fv_mean(c, fv_mul(c, y, y), 0), 0));
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    memcpy(gx, x->grad, 35 * sizeof *gx), memcpy(gw, w->grad, 49 * sizeof *gw);
    fv_destroy(c);
}
/* A forgotten norm of an input without a gradient; what a recomputed scope starts from, and its result; a
 * tensor with a view. */
static double forget_around(int which, int forget) {
    static const int64_t dim[2] = {5, 7}, square[2] = {7, 7}, flat[1] = {35};
    float raw[35];
    fv_ctx *c = fv_create(NULL);
    for (int i = 0; i < 35; i++) raw[i] = fv_random_normal(4, 5, (uint64_t)i);
    fv_recompute(c, which == 1 || which == 2);
    fv_tensor *x = fv_input(c, FV_F32, 2, dim, raw, 0), *w = fv_param(c, "w", FV_F32, 2, square);
    fv_init_normal(c, w, 1, 3);
    fv_tensor *n = fv_layernorm(c, x, NULL, NULL, 1e-5f),
              *u = fv_gelu(c, which ? fv_linear(c, n, w, NULL) : n);
    fv_scope scope = fv_scope_begin(c);
    fv_tensor *y =
        which == 3 ? fv_reshape(c, u, 1, flat) : fv_scope_end(c, scope, fv_silu(c, fv_linear(c, u, w, NULL)));
    if (forget) fv_forget(c, n), fv_forget(c, which == 2 ? y : u);
    fv_tensor *loss = fv_mul(c, y, y);
    if (which == 2 && forget && !y->data) loss = NULL; /* its source is gone: it must stay */
    while (loss && loss->rank) loss = fv_mean(c, loss, 0);
    fv_backward(c, loss);
    double sum = 0;
    for (int i = 0; i < 49 && w->grad; i++) sum += (double)((float *)w->grad)[i] * (i + 1);
    CHECK(!fv_error(c), "case %d: %s", which, fv_error_text(c));
    fv_destroy(c);
    return sum;
}
static void forgetting_around(void) {
    for (int which = 0; which < 4; which++) {
        double kept = forget_around(which, 0), forgot = forget_around(which, 1);
        CHECK(kept != 0 && kept == forgot, "case %d: %g, and with forgotten ones %g", which, kept, forgot);
    }
}
static void forgetting(void) {
    float gx[2][35], gw[2][49];
    for (int recompute = 0; recompute < 2; recompute++) {
        forget_run(0, 0, gx[0], gw[0]), forget_run(1, recompute, gx[1], gw[1]);
        CHECK(!memcmp(gx[0], gx[1], sizeof gx[0]) && !memcmp(gw[0], gw[1], sizeof gw[0]),
              "other gradients, recompute %d", recompute);
    }
}

/* F1 folded into q, k, v: the plain path's logits and gradients, in double but for rounding */
static void folded(const char *stage) {
    static const int64_t dim[4] = {3, 2, 9, 9};
    static const int32_t label[3] = {2, 0, 1};
    double *kept[2][128] = {{NULL}}, logits[2][9];
    int64_t three = 3;
    int count = 0;
    fv_ctx *c = fv_create(NULL);
    for (int fold = 0; fold < 2; fold++) {
        char config[1024];
        fv_model_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.type = FV_F64, desc.seed = 3;
        snprintf(
            config, sizeof config,
            "{\"arch\":\"vit\",\"img_size\":9,\"patch_size\":3,\"in_chans\":2,\"embed_dim\":14,\"depth\":1,"
            "\"num_heads\":2,\"num_classes\":3,\"frozen\":{\"variant\":\"random\",\"hidden_size\":36,\"num_"
            "attention_heads\":6,"
            "\"num_key_value_heads\":2,\"intermediate_size\":17,\"fold\":%s,%s}}",
            fold ? "true" : "false", stage);
        fv_model *m = fv_model_create(c, config, strlen(config), &desc);
        CHECK(m, "%s", fv_error_text(c));
        if (!m) break;
        for (int i = 0; i < m->params.count; i++)
            if (m->params.at[i]->rank > 1) fv_init_normal(c, m->params.at[i], 0.3f, (uint64_t)(1000 + i));
        for (int i = 0; i < m->frozen->config.num_layers; i++) /* drawn ones have norms of 1 */
            for (int64_t j = 0; j < 36; j++)
                fv_set(m->frozen->layer[i].w[FV_LLM_NORM1], j, 0.5 + 0.25 * (double)(j % 5));
        fv_reset(c);
        fv_tensor *x = fv_new(c, FV_F64, 4, dim), *y;
        for (int64_t i = 0; i < fv_numel(x); i++) fv_set(x, i, (double)fv_random_normal(1, 2, (uint64_t)i));
        fv_backward(c, fv_cross_entropy(c, y = fv_model_forward(c, m, x),
                                        fv_input(c, FV_I32, 1, &three, label, 0), 0));
        CHECK(!fv_error(c), "%s", fv_error_text(c));
        int ops = c->tape->count;
        for (int i = 0; y && i < 9; i++) logits[fold][i] = fv_get(y, i);
        for (count = 0; count < m->params.count && count < 128; count++) {
            fv_tensor *p = m->params.at[count];
            kept[fold][count] = (double *)malloc((size_t)fv_numel(p) * sizeof(double));
            memcpy(kept[fold][count], p->grad, (size_t)fv_numel(p) * sizeof(double));
            double worst = 0;
            for (int64_t i = 0; fold && i < fv_numel(p); i++)
                worst = test_worse(worst, fabs(kept[0][count][i] - kept[1][count][i]));
            CHECK(worst < 1e-12, "%s: gradient of %s differs by %g", stage, p->name, worst);
        }
        static int plain_ops;
        if (fold) CHECK(ops != plain_ops, "the folded network has the plain one's ops");
        else plain_ops = ops;
        fv_model_destroy(c, m);
    }
    for (int i = 0; i < 9; i++)
        CHECK(fabs(logits[0][i] - logits[1][i]) < 1e-12, "%s: logit %d: %g, folded %g", stage, i,
              logits[0][i], logits[1][i]);
    for (int i = 0; i < 2 * 128; i++) free(kept[i / 128][i % 128]);
    fv_destroy(c);
}
static void folding(void) {
    folded("\"num_hidden_layers\":1");
    folded("\"num_hidden_layers\":2,\"residual\":\"both\",\"rope\":true,\"causal\":true");
}

static void gradients(void) {
    static const char *const stage[] = {
        "\"variant\":\"random\",\"residual\":\"none\",\"rope\":true",
        "\"variant\":\"random\",\"residual\":\"inside\",\"causal\":true",
        "\"variant\":\"random\",\"residual\":\"outside\",\"final_norm\":false",
        "\"variant\":\"random\",\"residual\":\"both\",\"after_block\":0",
        "\"variant\":\"random\",\"residual\":\"outside_nn\"",
        "\"variant\":\"random\",\"only_mlp\":true",
        "\"variant\":\"random\",\"fold\":true",
        "\"variant\":\"scratch\",\"rope\":true",
        "\"variant\":\"linear\"",
        "\"variant\":\"mlp\"",
        "\"arch\":\"opt\",\"variant\":\"scratch\"",
        "\"arch\":\"opt\",\"variant\":\"random\",\"do_layer_norm_before\":false,\"activation_function\":"
        "\"gelu\""};
    for (size_t i = 0; i < sizeof stage / sizeof *stage; i++) check_gradient(stage[i]);
}

/* ---- refusals ---- */
static void refuse(const char *config, fv_status status, const char *says) {
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    CHECK(!m && fv_error(c) == status, "%s: status %d", config, (int)fv_error(c));
    CHECK(strstr(fv_error_text(c), says), "%s: \"%s\" does not say \"%s\"", config, fv_error_text(c), says);
    fv_destroy(c);
}
static void refusals(void) {
    refuse("{\"arch\":\"vit\",\"embed_dims\":48}", FV_EUSAGE, "embed_dims");
    refuse("{\"arch\":\"vit\",\"embed_dim\":\"48\"}", FV_EUSAGE, "embed_dim");
    refuse("{\"arch\":\"vit\",\"embed_dim\":50,\"num_heads\":3}", FV_EUSAGE, "num_heads");
    refuse("{\"arch\":\"vit\",\"img_size\":30,\"patch_size\":8}", FV_EUSAGE, "patch_size");
    refuse("{\"arch\":\"vit\",\"global_pool\":\"max\"}", FV_EUSAGE, "global_pool");
    refuse("{\"arch\":\"resnet\"}", FV_EUSAGE, "resnet");
    refuse("{\"arch\":\"vit\",", FV_EFORMAT, "config");
    refuse("{\"img_size\":32,\"patch_size\":16,\"frozen\":{\"hiden_size\":64}}", FV_EUSAGE, "hiden_size");
    refuse("{\"img_size\":32,\"patch_size\":16,\"frozen\":{\"residual\":\"in\"}}", FV_EUSAGE, "residual");
    refuse("{\"img_size\":32,\"patch_size\":16,\"frozen\":{}}", FV_EUSAGE, "hidden_size");
    refuse("{\"img_size\":32,\"patch_size\":16,\"frozen\":{\"hidden_size\":64,\"num_attention_heads\":5,"
           "\"intermediate_size\":9}}",
           FV_EUSAGE, "num_attention_heads");
    refuse("{\"img_size\":32,\"patch_size\":16,\"frozen\":{\"hidden_size\":64,\"num_attention_heads\":4,"
           "\"intermediate_size\":9,\"variant\":\"scratch\",\"layers\":[2,1,2]}}",
           FV_EUSAGE, "block 2 twice");
    refuse("{\"img_size\":32,\"patch_size\":16,\"frozen\":{\"hidden_size\":64,\"num_attention_heads\":4,"
           "\"intermediate_size\":9,\"variant\":\"scratch\",\"layers\":[1,1]}}",
           FV_EUSAGE, "block 1 twice");
    refuse(
        "{\"img_size\":32,\"patch_size\":16,\"depth\":2,\"frozen\":{\"hidden_size\":64,\"after_block\":2}}",
        FV_EUSAGE, "after_block");
}

/* a stage on golden block weights with another config */
static void refuse_block(const char *name, const char *stage, const char *says) {
    char path[256];
    fv_frozen_desc desc;
    fv_params list;
    fv_ctx *c = fv_create(NULL);
    memset(&desc, 0, sizeof desc), memset(&list, 0, sizeof list);
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    desc.llm = fv_weights_open(c, path);
    fv_json *j = fv_json_parse(c, stage, strlen(stage), "config");
    CHECK(j && fv_frozen_config_parse(c, j, fv_json_root(j), 1, &desc.config), "%s", fv_error_text(c));
    desc.dim = 10;
    fv_frozen *f = fv_frozen_create(c, &desc, &list);
    CHECK(!f && fv_error(c) == FV_EUSAGE, "%s: status %d", stage, (int)fv_error(c));
    CHECK(strstr(fv_error_text(c), says), "\"%s\" does not say \"%s\"", fv_error_text(c), says);
    fv_destroy(c);
}
static void layer_refusals(void) {
    refuse_block("block_llama_gqa", "{\"layers\":[1],\"num_attention_heads\":6,\"num_key_value_heads\":2}",
                 "no block 1");
    refuse_block("block_llama_gqa", "{\"hidden_size\":64,\"num_attention_heads\":4}", "is [");
    refuse_block("block_llama_gqa", "{\"num_attention_heads\":6}", "k_proj");
    refuse_block("block_llama_gqa",
                 "{\"num_attention_heads\":6,\"num_key_value_heads\":2,\"final_norm\":true}", "norm.weight");
    refuse_block("block_opt", "{\"num_attention_heads\":4}", "OPT");
    refuse_block("block_llama_gqa", "{\"arch\":\"opt\",\"num_attention_heads\":4}", "LLaMA");
}

/* timm's resample_abs_pos_embed(x, new_size=(2,2), num_prefix_tokens=1) of x[i] = ((i+1)*7919 mod 97)/97,
 * [1,10,2] */
static void position_embedding(void) {
    static const float wanted[10] = {0.639175f, 0.278351f, 0.587085f, 0.617919f, 0.281116f,
                                     0.553467f, 0.628602f, 0.362524f, 0.322633f, 0.774461f};
    float x[20], y[10];
    fv_ctx *c = fv_create(NULL);
    for (int i = 0; i < 20; i++) x[i] = (float)((i + 1) * 7919 % 97) / 97;
    CHECK(fv__resample_pos(c, x, 3, 2, 1, 2, y), "%s", fv_error_text(c));
    for (int i = 0; i < 10; i++)
        CHECK(fabsf(y[i] - wanted[i]) < 2e-6f, "%d: %g, timm gives %g", i, (double)y[i], (double)wanted[i]);
    fv_destroy(c);
}

/* image_timm's weights into a network with other settings; says NULL: it loads */
static void load_into(const char *settings, const char *says) {
    char config[512];
    fv_ctx *c = fv_create(NULL);
    snprintf(config, sizeof config, "{\"arch\":\"vit\",\"patch_size\":8,\"embed_dim\":48,\"num_heads\":3,%s}",
             settings);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    fv_weights *w = fv_weights_open(c, "tests/golden/image_timm.safetensors");
    int ok = m && w && fv_model_load(c, m, w, "model.");
    CHECK(ok == !says && (ok || fv_error(c) == FV_EUSAGE), "%s: %s", settings, fv_error_text(c));
    CHECK(!says || strstr(fv_error_text(c), says), "\"%s\" does not say \"%s\"", fv_error_text(c), says);
    fv_destroy(c);
}
static void loading(void) {
    load_into("\"img_size\":32,\"num_classes\":10,\"depth\":2", NULL);
    /* the position embedding is interpolated */
    load_into("\"img_size\":48,\"num_classes\":10,\"depth\":2", NULL);
    load_into("\"img_size\":32,\"num_classes\":7,\"depth\":2", "10 classes");
    load_into("\"img_size\":32,\"num_classes\":10,\"depth\":1", "blocks.1");
    load_into("\"img_size\":32,\"num_classes\":10,\"depth\":3", "blocks.2");
    load_into("\"img_size\":32,\"num_classes\":10,\"depth\":2,\"mlp_ratio\":2", "mlp.fc1");
    load_into("\"img_size\":32,\"num_classes\":10,\"depth\":2,\"global_pool\":\"avg\"", "fc_norm");
}

/* the correlation of two f32 matrices of a shape */
static double alike(const fv_tensor *a, const fv_tensor *b) {
    double n = (double)fv_numel(a), x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < fv_numel(a); i++) {
        double v = fv_get(a, i), w = fv_get(b, i);
        x += v / n, y += w / n, xx += v * v / n, yy += w * w / n, xy += v * w / n;
    }
    return (xy - x * y) / sqrt((xx - x * x) * (yy - y * y));
}
/* What blocks of a variant that start from a file compute, beside what PyTorch's do: the greatest error as a
 * share of the greatest number. */
static double off_the_block(fv_variant variant, int trained) {
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, "tests/golden/block_llama_rope_causal.safetensors");
    const char *text = fv_weights_meta_string(w, "config", "");
    fv_json *j = fv_json_parse(c, text, strlen(text), "config");
    const fv_entry *in = fv_weights_find(w, "input"), *out = fv_weights_find(w, "output");
    float *x = (float *)fv_alloc(c, (size_t)in->count * 4),
          *want = (float *)fv_alloc(c, (size_t)out->count * 4);
    fv_frozen_desc desc;
    fv_params params;
    memset(&desc, 0, sizeof desc), memset(&params, 0, sizeof params);
    fv_frozen_config_parse(c, j, fv_json_get(j, fv_json_root(j), "frozen"), 1, &desc.config);
    fv_entry_read(c, w, in, FV_F32, x), fv_entry_read(c, w, out, FV_F32, want);
    desc.config.variant = variant, desc.llm = w;
    fv_frozen *f = fv_frozen_create(c, &desc, &params);
    fv_tensor *y = f ? fv_llm_blocks(c, f, fv_input(c, FV_F32, in->rank, in->dim, x, 0), NULL) : NULL;
    CHECK(y && (params.count > 0) == trained && (fv_frozen_numel(f) == 0) == trained, "%s", fv_error_text(c));
    double worst = 0, scale = 0;
    for (int64_t i = 0; y && i < out->count; i++) {
        worst = test_worse(worst, fabs(fv_get(y, i) - (double)want[i]));
        scale = FV__MAX(scale, fabs((double)want[i]));
    }
    if (f && trained) /* each matrix by a draw of its own */
        CHECK(fabs(alike(f->layer[0].w[FV_LLM_GATE], f->layer[0].w[FV_LLM_UP])) < 0.2, "two are alike");
    fv_destroy(c);
    return worst / scale;
}
/* Blocks that are trained start from the very numbers of the file: rope's pairs lie otherwise in them, and
 * yet they compute what PyTorch's do. Drawn or shuffled ones compute something else. */
static void finetuning_starts_from_the_block(void) {
    double own = off_the_block(FV_VARIANT_LLM, 0), trained = off_the_block(FV_VARIANT_FINETUNE, 1);
    CHECK(own < 2e-5 && trained < 2e-5, "off by %g and %g", own, trained);
    double drawn = off_the_block(FV_VARIANT_RANDOM, 0), shuffled = off_the_block(FV_VARIANT_SHUFFLED, 0),
           scratch = off_the_block(FV_VARIANT_SCRATCH, 1);
    CHECK(drawn > 0.05 && shuffled > 0.05 && scratch > 0.05, "off by %g, %g, %g alone", drawn, shuffled,
          scratch);
}

/* Without a list of layers it is the file's last block; the MLP in the stage's place is LN(gelu(F1 z)), with
 * PyTorch's eps. */
static void stage_defaults(void) {
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, "tests/golden/block_three_numbered.safetensors");
    fv_frozen_config g;
    memset(&g, 0, sizeof g);
    CHECK(fv_frozen_config_from_llm(c, &g, w) && g.num_layers == 1 && g.layers[0] == 5, "block %d of %d %s",
          g.layers[0], g.num_layers, fv_error_text(c));
    fv_weights_close(c, w);
    for (int arch = FV_LLAMA; arch <= FV_OPT; arch++) {
        memset(&g, 0, sizeof g);
        g.arch = (fv_llm_arch)arch, g.num_attention_heads = 6;
        fv__config_defaults(&g);
        CHECK(fabsf(g.rms_norm_eps - (arch == FV_OPT ? 1e-5f : 1e-6f)) < 1e-12f && g.num_key_value_heads == 6,
              "eps %g, %d key heads", (double)g.rms_norm_eps, g.num_key_value_heads);
        CHECK(fabsf(g.rope_theta - 10000) < 1, "rope_theta %g", (double)g.rope_theta);
    }
    enum { D = 5, WIDE = 7 };
    double hidden[WIDE], mean = 0, var = 0;
    int64_t dim[3] = {1, 1, D};
    fv_frozen_desc desc;
    fv_params params;
    memset(&desc, 0, sizeof desc), memset(&params, 0, sizeof params);
    desc.config.variant = FV_VARIANT_MLP, desc.config.hidden_size = WIDE, desc.dim = D, desc.type = FV_F64;
    fv_frozen *f = fv_frozen_create(c, &desc, &params);
    fv_tensor *z = fv_new(c, FV_F64, 3, dim);
    for (int i = 0; i < D; i++) fv_set(z, i, 0.1 * i - 0.15);
    fv_tensor *y = f ? fv_frozen_forward(c, f, z, NULL) : NULL;
    CHECK(y, "%s", fv_error_text(c));
    for (int i = 0; y && i < WIDE; i++) {
        double sum = 0;
        for (int k = 0; k < D; k++) sum += fv_get(f->mapper1, i * D + k) * fv_get(z, k);
        hidden[i] = sum * (1 + erf(sum / sqrt(2))) / 2, mean += hidden[i] / WIDE;
    }
    for (int i = 0; i < WIDE; i++) var += (hidden[i] - mean) * (hidden[i] - mean) / WIDE;
    for (int k = 0; y && k < D; k++) {
        double sum = 0;
        for (int i = 0; i < WIDE; i++)
            sum += fv_get(f->mapper2, k * WIDE + i) * (hidden[i] - mean) / sqrt(var + 1e-5);
        CHECK(fabs(fv_get(y, k) - sum) < 1e-6 * fabs(sum) + 1e-12, "%d: %g, not %g", k, fv_get(y, k), sum);
    }
    fv_destroy(c);
}

/* Blocks without a file: matrices of std 0.02, each of its own draw. */
static void drawn_blocks(void) {
    fv_ctx *c = fv_create(NULL);
    fv_frozen_desc desc;
    fv_params params;
    memset(&desc, 0, sizeof desc), memset(&params, 0, sizeof params);
    desc.config.variant = FV_VARIANT_SCRATCH, desc.config.hidden_size = 32,
    desc.config.intermediate_size = 40;
    desc.config.num_attention_heads = 4, desc.config.num_layers = 2, desc.config.layers[1] = 1;
    fv_frozen *f = fv_frozen_create(c, &desc, &params);
    CHECK(f && params.count > 0, "%s", fv_error_text(c));
    if (f) {
        const fv_tensor *gate = f->layer[0].w[FV_LLM_GATE];
        double square = 0;
        for (int i = 0; i < 1280; i++) square += fv_get(gate, i) * fv_get(gate, i) / 1280;
        CHECK(fabs(sqrt(square) - 0.02) < 0.002, "std %g", sqrt(square));
        CHECK(fabs(alike(gate, f->layer[0].w[FV_LLM_UP])) < 0.2, "two matrices are alike");
        CHECK(fabs(alike(gate, f->layer[1].w[FV_LLM_GATE])) < 0.2, "two blocks are alike");
    }
    fv_destroy(c);
}

/* random keeps mean and std of each matrix, shuffled its numbers; both are the same again for the same
 * seed */
static void variants(void) {
    for (int variant = FV_VARIANT_RANDOM; variant <= FV_VARIANT_SHUFFLED; variant++) {
        float x[1000], y[1000];
        double sum[2] = {0, 0}, square[2] = {0, 0};
        for (int i = 0; i < 1000; i++) x[i] = y[i] = 3 + 0.01f * (float)i;
        fv__redraw(x, 1000, (fv_variant)variant, 5, 9);
        fv__redraw(y, 1000, (fv_variant)variant, 5, 9);
        CHECK(!memcmp(x, y, sizeof x), "the same seed gives another draw");
        for (int i = 0; i < 1000; i++) {
            double v = 3 + 0.01 * i;
            sum[0] += v, sum[1] += (double)x[i], square[0] += v * v, square[1] += (double)x[i] * (double)x[i];
        }
        double mean[2], std[2];
        for (int i = 0; i < 2; i++)
            mean[i] = sum[i] / 1000, std[i] = sqrt(square[i] / 1000 - mean[i] * mean[i]);
        double within = variant == FV_VARIANT_SHUFFLED ? 1e-4 : 0.1;
        CHECK(fabs(mean[0] - mean[1]) < 3 * within && fabs(std[0] / std[1] - 1) < within,
              "mean %g %g std %g %g", mean[0], mean[1], std[0], std[1]);
        int moved = 0;
        for (int i = 0; i < 1000; i++) moved += fabs((double)x[i] - (3 + 0.01 * i)) > 0.005;
        CHECK(moved > 900, "only %d numbers moved", moved);
    }
}

/* ---- language models in Hugging Face's layout, made here ---- */
static const char *llm_folder(void) {
    static char path[1024];
    const char *t = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/fv_test_model_%ld", t ? t : "/tmp", (long)getpid());
    mkdir(path, 0777);
    return path;
}
/* model.safetensors of the tensors `names` with dims [rows[i], cols[i]] (cols 0: a vector), and config.json
 * beside it; -> bytes of the tensors */
static size_t write_llm(const char *const *names, const int64_t (*dim)[2], int n, const char *config) {
    fv_ctx *c = fv_create(NULL);
    fv_save_entry e[16];
    char path[2048];
    size_t bytes = 0;
    memset(e, 0, sizeof e);
    for (int i = 0; i < n; i++) {
        int64_t count = dim[i][0] * (dim[i][1] ? dim[i][1] : 1);
        float *x = (float *)fv_alloc(c, (size_t)count * sizeof *x);
        for (int64_t k = 0; k < count; k++) x[k] = 0.1f * fv_random_normal(5, (uint64_t)i, (uint64_t)k);
        e[i].name = names[i], e[i].dtype = FV_D_F32, e[i].rank = dim[i][1] ? 2 : 1, e[i].dim = dim[i],
        e[i].data = x, bytes += (size_t)count * sizeof *x;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", llm_folder());
    fv_safetensors_write(c, path, e, n, NULL);
    snprintf(path, sizeof path, "%s/config.json", llm_folder());
    fv_write_file(c, path, config, strlen(config));
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    for (int i = 0; i < n; i++) fv_free(c, (void *)(uintptr_t)e[i].data);
    fv_destroy(c);
    return bytes;
}
/* What else a file may hold: counts of batches, which PyTorch's batch norms keep, are passed over; blocks of a
 * language model are for networks with a stage. A network whose matrices were packed learns again after
 * loading. */
static void loading_more(void) {
    static const char config[] =
        "{\"arch\":\"vit\",\"img_size\":16,\"patch_size\":8,\"embed_dim\":16,\"depth\":1,"
        "\"num_heads\":2,\"num_classes\":3}";
    static const char *const name[] = {"norm.num_batches_tracked", "llama.layers.0.attention_norm.weight"};
    char path[2048];
    int64_t two = 2, dim[4] = {1, 3, 16, 16};
    for (int k = 0; k < 2; k++) {
        fv_ctx *c = fv_create(NULL);
        fv_model *m = fv_model_create(c, config, strlen(config), NULL);
        fv_params all;
        memset(&all, 0, sizeof all);
        for (int i = 0; m && i < m->params.count; i++) fv_params_add(c, &all, m->params.at[i]);
        fv_params_add(c, &all, fv_param(c, name[k], FV_F32, 1, &two));
        snprintf(path, sizeof path, "%s/model.safetensors", llm_folder());
        fv_params_save(c, path, &all, NULL, NULL);
        fv_model_pack(c, m, FV_F32);
        fv_tensor *w = fv_params_find(&m->params, "head.weight");
        CHECK(w && w->packed && !(w->flags & FV_NEEDS_GRAD), "packed: %s", fv_error_text(c));
        fv_weights *file = fv_weights_open(c, path);
        int ok = file && fv_model_load(c, m, file, "");
        CHECK(ok == !k && (ok || (fv_error(c) == FV_EUSAGE && strstr(fv_error_text(c), name[k]))), "%s: %s",
              name[k], fv_error_text(c));
        for (int i = 0; ok && i < m->params.count; i++)
            CHECK(m->params.at[i]->flags & FV_NEEDS_GRAD, "%s does not learn", m->params.at[i]->name);
        if (ok) {
            fv_tensor *x = fv_new(c, FV_F32, 4, dim), *target = fv_new(c, FV_I32, 1, dim);
            if (x && target) memset(x->data, 0, 3 * 256 * 4), memset(target->data, 0, 4);
            fv_training(c, 1);
            fv_backward(c, fv_cross_entropy(c, fv_model_forward(c, m, x), target, 0));
            CHECK(w->grad_set && !fv_error(c), "a gradient after loading: %s", fv_error_text(c));
        }
        fv_weights_close(c, file);
        fv_destroy(c);
    }
    /* all that is frozen counts: OPT's final norm has a bias too */
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, "tests/golden/block_opt_gelu_elsewhere_numbered.safetensors");
    const char *text = fv_weights_meta_string(w, "config", "");
    fv_json *j = fv_json_parse(c, text, strlen(text), "config");
    fv_frozen_desc desc;
    fv_params none;
    memset(&desc, 0, sizeof desc), memset(&none, 0, sizeof none);
    fv_frozen_config_parse(c, j, fv_json_get(j, fv_json_root(j), "frozen"), 1, &desc.config);
    desc.config.layers[0] = 0, desc.llm = w; /* the case itself is about a block 10 that is not there */
    fv_frozen *f = fv_frozen_create(c, &desc, &none);
    CHECK(f && fv_frozen_numel(f) == 4 * (64 + 8) + (17 * 8 + 17) + (8 * 17 + 8) + 3 * 16,
          "OPT: %lld elements, %s", (long long)fv_frozen_numel(f), fv_error_text(c));
    fv_destroy(c);
}
/* other families have LLaMA's names, and blocks that compute something else */
static void foreign_models(void) {
    static const struct {
        const char *config;
        fv_llm_arch arch;
        const char *says; /* NULL: it is taken */
    } cases[] = {
        {"{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"attention_bias\":false}", FV_LLAMA, NULL},
        {"{\"model_type\":\"mistral\",\"hidden_act\":\"swish\"}", FV_LLAMA, NULL},
        {"{}", FV_LLAMA, NULL},
        {"{\"model_type\":null,\"hidden_act\":null}", FV_LLAMA, NULL},
        {"{\"model_type\":\"gemma\",\"hidden_act\":\"gelu_pytorch_tanh\"}", FV_LLAMA, "\"gemma\""},
        {"{\"model_type\":\"qwen2\",\"hidden_act\":\"silu\"}", FV_LLAMA, "\"qwen2\""},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"gelu\"}", FV_LLAMA, "hidden_act \"gelu\""},
        {"{\"model_type\":\"llama\",\"attention_bias\":true}", FV_LLAMA, "biases"},
        {"{\"model_type\":\"opt\",\"activation_function\":\"gelu\"}", FV_OPT, NULL},
        {"{}", FV_OPT, NULL},
        {"{\"model_type\":\"opt\",\"activation_function\":\"gelu_new\"}", FV_OPT, "\"gelu_new\""},
        {"{\"model_type\":\"llama\"}", FV_OPT, "\"llama\""},
    };
    static const char *const name[2][1] = {{"model.layers.0.mlp.down_proj.weight"},
                                           {"model.decoder.layers.0.fc2.weight"}};
    static const int64_t dim[1][2] = {{8, 16}};
    char path[2048];
    for (int i = 0; i < FV__COUNT(cases); i++) {
        write_llm(name[cases[i].arch == FV_OPT], dim, 1, cases[i].config);
        fv_ctx *c = fv_create(NULL);
        fv_frozen_config g;
        memset(&g, 0, sizeof g);
        g.arch = cases[i].arch;
        snprintf(path, sizeof path, "%s/model.safetensors", llm_folder());
        fv_weights *w = fv_weights_open(c, path);
        int ok = w && fv_frozen_config_from_llm(c, &g, w);
        if (!cases[i].says) CHECK(ok && g.hidden_size == 8, "%s: %s", cases[i].config, fv_error_text(c));
        else
            CHECK(!ok && fv_error(c) == FV_EUSAGE && strstr(fv_error_text(c), cases[i].says), "%s: %s",
                  cases[i].config, fv_error_text(c));
        fv_weights_close(c, w);
        fv_destroy(c);
    }
}
/* A frozen block of a mapped file costs the context its packed copy, padded to tiles, and no more. */
static void mapped_block_memory(void) {
    static const char *const name[] = {
        "model.layers.0.input_layernorm.weight",  "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",    "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight"};
    static const int64_t dim[][2] = {{384, 0},   {384, 0},    {384, 384},  {384, 384}, {384, 384},
                                     {384, 384}, {1152, 384}, {1152, 384}, {384, 1152}};
    size_t own = write_llm(name, dim, 9, "{\"num_attention_heads\":6}");
    char path[2048];
    fv_ctx *c = fv_create(NULL);
    fv_frozen_desc desc;
    fv_params none;
    memset(&desc, 0, sizeof desc), memset(&none, 0, sizeof none);
    snprintf(path, sizeof path, "%s/model.safetensors", llm_folder());
    desc.llm = fv_weights_open(c, path);
    size_t before = fv_memory(c).now, mapped = fv_memory(c).mapped;
    fv_frozen *f = desc.llm ? fv_frozen_create(c, &desc, &none) : NULL;
    CHECK(f, "%s", fv_error_text(c));
    size_t held = fv_memory(c).now - before;
    CHECK(held <= own + own / 16 + 65536, "%zu bytes are held for a block of %zu", held, own);
    CHECK(fv_memory(c).peak - before <= own + own / 3 + 65536, "%zu bytes at most for a block of %zu",
          fv_memory(c).peak - before, own); /* a matrix on its way into its copy may stand beside it */
    CHECK(mapped >= own && fv_memory(c).mapped == mapped, "%zu bytes are mapped, then %zu", mapped,
          fv_memory(c).mapped);
    size_t first = 0;
    for (int step = 0; step < 3 && f; step++) {
        int64_t tokens[3] = {2, 5, 384};
        fv_tensor *x = fv_new(c, FV_F32, 3, tokens);
        if (x) fv_init_fill(x, 1), x->flags |= FV_NEEDS_GRAD;
        fv_tensor *y = fv_llm_blocks(c, f, x, NULL);
        float *g = y ? (float *)fv_alloc(c, (size_t)fv_numel(y) * sizeof *g) : NULL;
        if (g) fv_backward_from(c, y, g);
        CHECK(g && x->grad_set, "%s", fv_error_text(c));
        fv_free(c, g);
        fv_reset(c);
        if (!step) first = fv_memory(c).now;
    }
    CHECK(fv_memory(c).now == first, "%zu bytes after a step, %zu after three", first, fv_memory(c).now);
    fv_frozen_destroy(c, f);
    fv_weights_close(c, desc.llm);
    fv_destroy(c);
    remove(path), snprintf(path, sizeof path, "%s/config.json", llm_folder()), remove(path);
    rmdir(llm_folder());
}

int main(void) {
    RUN(block_cases);
    RUN(image_cases);
    RUN(train_case);
    RUN(block_smollm2);
    RUN(bf16_near);
    RUN(gradients);
    RUN(forgetting);
    RUN(forgetting_around);
    RUN(folding);
    RUN(refusals);
    RUN(layer_refusals);
    RUN(position_embedding);
    RUN(loading);
    RUN(loading_more);
    RUN(drawn_blocks);
    RUN(variants);
    RUN(finetuning_starts_from_the_block);
    RUN(stage_defaults);
    RUN(foreign_models);
    RUN(mapped_block_memory);
    return REPORT();
}
