/* The networks beside vit: golden cases of the released PyTorch code, and each network's gradient against
 * finite differences in double, with odd sizes, padding and a batch of one. What is masked must not
 * matter. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "../tools/cli.c"
#include "../tools/cmd_trace.c"
#include "test.h"

static void check_golden(const char *name) {
    char path[256];
    for (int isa = 0; isa < 8; isa++) {
        fv_desc d;
        trace t;
        memset(&d, 0, sizeof d), memset(&t, 0, sizeof t);
        if (!fv_isa_available((fv_isa)isa)) continue;
        d.isa = (fv_isa)isa, d.threads = 1 + isa % 3;
        t.c = fv_create(&d);
        snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
        t.file = fv_weights_open(t.c, path);
        CHECK(t.file && trace_run(&t), "%s: %s", name, fv_error_text(t.c));
        CHECK(trace_check(&t, 0) == 0, "%s: disagrees, isa %d", name, isa);
        fv_destroy(t.c);
    }
}
static void point_cases(void) {
    check_golden("point_llama"), check_golden("point_llama_only_mlp"), check_golden("point_small");
}
static void video_cases(void) {
    check_golden("video_llama"), check_golden("video_layerscale"), check_golden("video_small"),
        check_golden("video_after_block_both");
}
static void volume_cases(void) {
    check_golden("vit3d_llama_inside"), check_golden("vit3d_small"), check_golden("vivit_llama"),
        check_golden("vivit_cls_outside_nn"), check_golden("vit3d_outside_nn");
}

/* ---- sampling of points, against the plain way ---- */
static void cloud_sampling(void) {
    enum { B = 3, N = 61, G = 17, K = 9 };
    static float p[B * N * 3], q[B * G * 3];
    int32_t first[B * G], near[B * G * K];
    fv_rng g = {5, 6, 0};
    for (int isa = 0; isa < 8; isa++) {
        fv_desc d;
        memset(&d, 0, sizeof d);
        if (!fv_isa_available((fv_isa)isa)) continue;
        d.isa = (fv_isa)isa;
        fv_ctx *c = fv_create(&d);
        /* a coarse grid: many ties */
        for (int i = 0; i < B * N * 3; i++) p[i] = (float)(int)fv_rng_below(&g, 5);
        CHECK(fv_fps(c, p, B, N, G, first), "%s", fv_error_text(c));
        for (int b = 0; b < B; b++) {
            double least[N];
            int at = 0;
            for (int i = 0; i < N; i++) least[i] = 1e30;
            for (int k = 0; k < G; k++) {
                int next = 0;
                CHECK(first[b * G + k] == at, "fps: %d, plainly %d", first[b * G + k], at);
                for (int i = 0; i < N; i++) {
                    double s = 0;
                    for (int a = 0; a < 3; a++)
                        s += pow((double)(p[(b * N + i) * 3 + a] - p[(b * N + at) * 3 + a]), 2);
                    if (s < least[i]) least[i] = s;
                    if (least[i] > least[next]) next = i;
                }
                at = next;
            }
        }
        /* every other centre is on the grid too: its distances are exact, equal ones go by number */
        for (int i = 0; i < B * G * 3; i++)
            q[i] = i / 3 % 2 ? fv_rng_normal(&g) + 2 : (float)fv_rng_below(&g, 5);
        CHECK(fv_knn(c, p, B, N, q, G, K, near), "%s", fv_error_text(c));
        for (int i = 0; i < B * G; i++) {
            int taken[N] = {0};
            for (int k = 0; k < K; k++) {
                int best = -1;
                float closest = 0;
                for (int j = 0; j < N; j++) {
                    const float *x = p + (i / G * N + j) * 3, *y = q + 3 * i;
                    float s = (x[0] - y[0]) * (x[0] - y[0]) + (x[1] - y[1]) * (x[1] - y[1]) +
                              (x[2] - y[2]) * (x[2] - y[2]);
                    if (!taken[j] && (best < 0 || s < closest)) best = j, closest = s;
                }
                taken[best] = 1;
                const float *x = p + (i / G * N + near[i * K + k]) * 3, *y = q + 3 * i;
                float s = (x[0] - y[0]) * (x[0] - y[0]) + (x[1] - y[1]) * (x[1] - y[1]) +
                          (x[2] - y[2]) * (x[2] - y[2]);
                CHECK(near[i * K + k] == best || (i % 2 && fabsf(s - closest) < 1e-5f),
                      "knn %d: %d, plainly %d", k, near[i * K + k], best);
            }
        }
        CHECK(!fv_fps(c, p, B, N, N + 1, first) && fv_error(c) == FV_ESHAPE, "too many centres are refused");
        fv_clear_error(c);
        CHECK(!fv_knn(c, p, B, N, q, G, N + 1, near) && fv_error(c) == FV_ESHAPE,
              "more neighbours than points are refused");
        fv_destroy(c);
    }
}

/* what is random in training: scale and shift of a cloud's axes, the frames of a clip */
static void moved_clouds(void) {
    enum { TURNS = 4000 };
    double least[6] = {9, 9, 9, 9, 9, 9}, most[6] = {-9, -9, -9, -9, -9, -9}, mean[6] = {0}, apart = 9;
    fv_rng g = {4, 4, 0};
    for (int turn = 0; turn < TURNS; turn++) {
        float p[9] = {0, 0, 0, 1, 1, 1, 2, -3, 5};
        fv_points_augment(&g, p, 3);
        for (int k = 0; k < 6; k++) { /* scales, then shifts */
            double v = k < 3 ? (double)(p[3 + k] - p[k]) : (double)p[k - 3];
            least[k] = fmin(least[k], v), most[k] = fmax(most[k], v), mean[k] += v / TURNS;
        }
        for (int k = 0; k < 3; k++) {
            double by = k == 0 ? 2 : k == 1 ? -3 : 5, v = (double)(p[3 + k] - p[k]);
            CHECK(fabs((double)p[6 + k] - v * by - (double)p[k]) < 1e-5, "axis %d is not moved as one", k);
            apart = fmin(apart, fabs(v - (double)(p[3 + (k + 1) % 3] - p[(k + 1) % 3])));
        }
    }
    for (int k = 0; k < 6; k++) {
        double low = k < 3 ? 2.0 / 3 : -0.2, high = k < 3 ? 1.5 : 0.2;
        CHECK(least[k] > low - 1e-5 && least[k] < low + 0.002 && most[k] < high + 1e-5 &&
                  most[k] > high - 0.002 && fabs(mean[k] - (low + high) / 2) < 0.02 * (high - low),
              "number %d is %g to %g, %g in the mean", k, least[k], most[k], mean[k]);
    }
    CHECK(apart > 0, "two axes have one scale");
}
static void sampled_frames(void) {
    static const int totals[] = {1, 3, 8, 12, 16, 97};
    int32_t at[16];
    fv_rng g = {4, 5, 0};
    for (int k = 0; k < FV__COUNT(totals); k++)
        for (int frames = 1; frames <= 16; frames *= 2)
            for (int n = 1, total = totals[k]; n < 4; n++)
                for (int view = 0; view < n; view++) {
                    CHECK(fv_sample_frames(NULL, total, frames, view, n, at), "refused");
                    for (int i = 0; i < frames; i++) { /* total (i + view / n) / frames; one: its middle */
                        int up = total * (2 * n * i + (n > 1 ? 2 * view : 1)), down = 2 * n * frames;
                        CHECK(at[i] == up / down || (up % down == 0 && at[i] == up / down - 1),
                              "frame %d of %d out of %d, view %d of %d: %d", i, frames, total, view, n,
                              at[i]);
                    }
                }
    int seen[24] = {0};
    for (int turn = 0; turn < 200; turn++) {
        CHECK(fv_sample_frames(&g, 24, 6, 0, 1, at), "refused");
        for (int i = 0; i < 6; i++) {
            CHECK(at[i] / 4 == i, "frame %d comes from %d", i, at[i]);
            if (at[i] >= 0 && at[i] < 24) seen[at[i]]++;
        }
    }
    for (int i = 0; i < 24; i++)
        CHECK(seen[i] > 25 && seen[i] < 80, "frame %d comes %d times of 200", i, seen[i]);
    CHECK(!fv_sample_frames(&g, 0, 6, 0, 1, at) && !fv_sample_frames(&g, 6, 0, 0, 1, at), "none");
}

/* max_pool_only: the mini-PointNet, loop by loop, and the head over the tokens' maximum alone */
static double number_of(const fv_model *m, const char *name, const char *part, int64_t i) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", name, part);
    const fv_tensor *t = fv_params_find(&m->params, key);
    if (!t) t = fv_params_find(&m->buffers, key);
    CHECK(t, "no %s", key);
    return t ? fv_get(t, i) : NAN;
}
static void plain_linear(const fv_model *m, const char *name, const double *x, int in, double *y, int out) {
    for (int o = 0; o < out; o++) {
        y[o] = number_of(m, name, "bias", o);
        for (int i = 0; i < in; i++) y[o] += number_of(m, name, "weight", (int64_t)o * in + i) * x[i];
    }
}
static void plain_norm(const fv_model *m, const char *name, double *x,
                       int n) { /* by the running statistics */
    for (int i = 0; i < n; i++) {
        double v = (x[i] - number_of(m, name, "running_mean", i)) /
                   sqrt(number_of(m, name, "running_var", i) + 1e-5);
        x[i] = fmax(0, v * number_of(m, name, "weight", i) + number_of(m, name, "bias", i));
    }
}
/* key: what makes the mini-PointNet that wide */
static void pooling_of(int width, const char *key) {
    enum { N = 12, G = 3, K = 4, D = 3, E = 5 };
    char config[400];
    snprintf(config, sizeof config,
             "{\"arch\":\"point_transformer\",\"trans_dim\":3,\"depth\":2,\"num_heads\":3,\"num_group\":"
             "3,\"group_size\":4,%s\"encoder_dims\":5,\"num_points\":12,\"num_classes\":4,"
             "\"max_pool_only\":true}",
             key);
    static double h[K][512], both[512], more[512];
    double token[E], t[D], sum[2 * D] = {0}, logits[4];
    float p[N * 3], q[G * 3];
    int32_t first[G], near[G * K];
    int64_t dim[3] = {1, N, 3};
    fv_model_desc desc;
    memset(&desc, 0, sizeof desc), desc.type = FV_F64;
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), &desc);
    CHECK(m, "%s", fv_error_text(c));
    for (int i = 0; m && i < m->params.count; i++) fv_init_normal(c, m->params.at[i], 0.3f, 40 + (uint64_t)i);
    fv_rng g = {6, 2, 0};
    for (int i = 0; m && i < m->buffers.count; i++)
        for (int64_t k = 0; k < fv_numel(m->buffers.at[i]); k++)
            fv_set(m->buffers.at[i], k, 0.1 + (double)fv_rng_uniform(&g));
    fv_tensor *x = fv_constant(c, NULL, FV_F64, 3, dim);
    for (int i = 0; i < 3 * N; i++) p[i] = fv_rng_normal(&g), fv_set(x, i, (double)p[i]);
    fv_fps(c, p, 1, N, G, first);
    for (int i = 0; i < G; i++) memcpy(q + 3 * i, p + 3 * first[i], 3 * sizeof *q);
    fv_knn(c, p, 1, N, q, G, K, near);
    for (int i = 0; i < G && m; i++) {
        double most[256];
        for (int k = 0; k < K; k++) {
            double offset[3], low[128];
            for (int a = 0; a < 3; a++) offset[a] = (double)p[3 * near[i * K + k] + a] - (double)q[3 * i + a];
            plain_linear(m, "encoder.first_conv.0", offset, 3, low, width / 2);
            plain_norm(m, "encoder.first_conv.1", low, width / 2);
            plain_linear(m, "encoder.first_conv.3", low, width / 2, h[k], width);
            for (int o = 0; o < width; o++) most[o] = k ? fmax(most[o], h[k][o]) : h[k][o];
        }
        for (int k = 0; k < K; k++) {
            double e[E];
            memcpy(both, most, (size_t)width * sizeof *most);
            memcpy(both + width, h[k], (size_t)width * sizeof *most);
            plain_linear(m, "encoder.second_conv.0", both, 2 * width, more, 2 * width);
            plain_norm(m, "encoder.second_conv.1", more, 2 * width);
            plain_linear(m, "encoder.second_conv.3", more, 2 * width, e, E);
            for (int o = 0; o < E; o++) token[o] = k ? fmax(token[o], e[o]) : e[o];
        }
        plain_linear(m, "reduce_dim", token, E, t, D);
        for (int o = 0; o < D; o++) sum[o] = sum[D + o] = i ? fmax(sum[o], t[o]) : t[o];
    }
    fv_no_grad(c, 1);
    fv_tensor *y = m ? fv_model_forward(c, m, x) : NULL;
    CHECK(y, "%s", fv_error_text(c));
    if (y) plain_linear(m, "cls_head_finetune.0", sum, 2 * D, more, 256);
    for (int i = 0; i < 256; i++) more[i] = fmax(0, more[i]);
    if (y) plain_linear(m, "cls_head_finetune.3", more, 256, logits, 4);
    for (int i = 0; i < 4 && y; i++)
        CHECK(fabs(fv_get(y, i) - logits[i]) < 1e-9, "logit %d is %g, plainly %g", i, fv_get(y, i),
              logits[i]);
    fv_destroy(c);
}
static void pooling_alone(void) {
    pooling_of(256, ""); /* the released code's */
    pooling_of(10, "\"encoder_width\":10,");
    pooling_of(7, "\"encoder_width\":7,");
}

/* what a config leaves out: the released code's epsilon, and which biases there are */
static void defaults(void) {
    static const struct {
        const char *config, *eps;
        int rank;
        int64_t dim[5];
        const char *bias, *no_bias;
    } of[] = {
        {"\"arch\":\"point_transformer\",\"trans_dim\":6,\"depth\":1,\"num_heads\":2,\"num_group\":3,"
         "\"group_size\":4,\"encoder_dims\":5,\"num_points\":12",
         "1e-5",
         3,
         {1, 12, 3},
         "blocks.blocks.0.attn.proj.bias",
         "blocks.blocks.0.attn.qkv.bias"},
        {"\"arch\":\"video_vit\",\"img_size\":4,\"patch_size\":2,\"num_frames\":2,\"embed_dim\":6,"
         "\"depth\":1,\"num_heads\":2",
         "1e-6",
         5,
         {1, 3, 2, 4, 4},
         "blocks.0.attn.q_bias",
         "blocks.0.gamma_1"},
        {"\"arch\":\"vit3d\",\"image_size\":4,\"image_patch_size\":2,\"frames\":2,\"frame_patch_size\":2,"
         "\"dim\":6,\"depth\":1,\"heads\":2,\"dim_head\":3,\"mlp_dim\":5",
         "1e-5",
         5,
         {1, 1, 2, 4, 4},
         "transformer.layers.0.0.to_out.0.bias",
         "transformer.layers.0.0.to_qkv.bias"},
        {"\"arch\":\"vivit\",\"image_size\":4,\"image_patch_size\":2,\"frames\":2,\"frame_patch_size\":2,"
         "\"dim\":6,\"spatial_depth\":1,\"temporal_depth\":1,\"heads\":1,\"dim_head\":6,\"mlp_dim\":5",
         "1e-5",
         5,
         {1, 1, 2, 4, 4},
         "spatial_transformer.layers.0.1.net.1.bias",
         "spatial_transformer.layers.0.0.to_out.0.weight"}};
    for (int i = 0; i < FV__COUNT(of); i++) {
        double said[3][3];
        for (int turn = 0; turn < 3; turn++) { /* left out, said, eleven times that */
            char config[512];
            fv_model_desc desc;
            fv_ctx *c = fv_create(NULL);
            memset(&desc, 0, sizeof desc), desc.type = FV_F64;
            snprintf(config, sizeof config, "{%s,\"num_classes\":3%s%s%s}", of[i].config,
                     turn ? ",\"norm_eps\":" : "", turn == 2 ? "1" : "", turn ? of[i].eps : "");
            fv_model *m = fv_model_create(c, config, strlen(config), &desc);
            CHECK(m && fv_params_find(&m->params, of[i].bias) && !fv_params_find(&m->params, of[i].no_bias),
                  "%s: %s", config, fv_error_text(c));
            for (int k = 0; m && k < m->params.count; k++)
                fv_init_normal(c, m->params.at[k], 0.2f, 60 + (uint64_t)k);
            fv_tensor *x = fv_constant(c, NULL, FV_F64, of[i].rank, of[i].dim);
            fv_init_normal(c, x, 0.05f, 3), fv_no_grad(c, 1);
            fv_tensor *y = m ? fv_model_forward(c, m, x) : NULL;
            for (int k = 0; k < 3; k++) said[turn][k] = y ? fv_get(y, k) : NAN;
            fv_destroy(c);
        }
        CHECK(!memcmp(said[0], said[1], sizeof said[0]) && memcmp(said[0], said[2], sizeof said[0]),
              "%.40s: %g, with its epsilon said %g, with eleven times that %g", of[i].config, said[0][0],
              said[1][0], said[2][0]);
    }
}

/* a block whose parameters are all 0 changes nothing: it adds to what comes in */
static void empty_blocks(void) {
    static const struct {
        const char *config, *depth;
        int rank;
        int64_t dim[5];
    } of[] = {
        {"\"arch\":\"vit3d\",\"image_size\":4,\"image_patch_size\":2,\"frames\":2,\"frame_patch_size\":2,"
         "\"dim\":6,"
         "\"heads\":2,\"dim_head\":3,\"mlp_dim\":5",
         "depth",
         5,
         {2, 1, 2, 4, 4}},
        {"\"arch\":\"vit3d\",\"image_size\":4,\"image_patch_size\":2,\"frames\":2,\"frame_patch_size\":2,"
         "\"dim\":6,"
         "\"heads\":1,\"dim_head\":6,\"mlp_dim\":5",
         "depth",
         5,
         {2, 1, 2, 4, 4}},
        {"\"arch\":\"vivit\",\"image_size\":4,\"image_patch_size\":2,\"frames\":2,\"frame_patch_size\":2,"
         "\"dim\":6,"
         "\"temporal_depth\":0,\"heads\":1,\"dim_head\":6,\"mlp_dim\":5",
         "spatial_depth",
         5,
         {2, 1, 2, 4, 4}},
        {"\"arch\":\"vivit\",\"image_size\":4,\"image_patch_size\":2,\"frames\":2,\"frame_patch_size\":2,"
         "\"dim\":6,"
         "\"spatial_depth\":0,\"heads\":1,\"dim_head\":6,\"mlp_dim\":5",
         "temporal_depth",
         5,
         {2, 1, 2, 4, 4}},
        {"\"arch\":\"video_vit\",\"img_size\":4,\"patch_size\":2,\"num_frames\":2,\"embed_dim\":6,\"num_"
         "heads\":2,"
         "\"init_values\":0.5",
         "depth",
         5,
         {2, 3, 2, 4, 4}}};
    for (int i = 0; i < FV__COUNT(of); i++) {
        fv_model *m[2];
        fv_tensor *y[2];
        fv_model_desc desc;
        fv_ctx *c = fv_create(NULL);
        memset(&desc, 0, sizeof desc), desc.type = FV_F64;
        fv_tensor *x = fv_constant(c, NULL, FV_F64, of[i].rank, of[i].dim);
        fv_init_normal(c, x, 1, 8), fv_no_grad(c, 1);
        for (int depth = 0; depth < 2; depth++) {
            char config[512];
            snprintf(config, sizeof config, "{%s,\"num_classes\":3,\"%s\":%d}", of[i].config, of[i].depth,
                     depth);
            m[depth] = fv_model_create(c, config, strlen(config), &desc);
            CHECK(m[depth], "%s: %s", config, fv_error_text(c));
            for (int k = 0; m[depth] && k < m[depth]->params.count; k++) {
                fv_tensor *p = m[depth]->params.at[k], *same = fv_params_find(&m[0]->params, p->name);
                if (!depth) fv_init_normal(c, p, 0.5f, 30 + (uint64_t)k);
                for (int64_t n = 0; depth && n < fv_numel(p); n++) fv_set(p, n, same ? fv_get(same, n) : 0);
            }
            y[depth] = m[depth] ? fv_model_forward(c, m[depth], x) : NULL;
        }
        CHECK(y[0] && y[1] && m[1]->params.count > m[0]->params.count, "%s", fv_error_text(c));
        for (int k = 0; k < 6 && y[0] && y[1]; k++)
            CHECK(fabs(fv_get(y[0], k) - fv_get(y[1], k)) < 1e-9, "%.40s: %g, without a block %g",
                  of[i].config, fv_get(y[1], k), fv_get(y[0], k));
        fv_destroy(c);
    }
}

/* ---- whole networks in double ---- */
/* U8: a mask with `below` valid at the start of each row; I32: ids below it */
typedef struct input {
    fv_type type;
    int rank;
    int64_t dim[5];
    int below;
} input;
typedef struct net {
    fv_model *m;
    fv_tensor *in[4], *target;
    int inputs, motion, fixed;
} net;

static fv_tensor *make_input(fv_ctx *c, const input *s, int i) {
    fv_tensor *x = s->type == FV_F64 ? fv_param(c, "x", s->type, s->rank, s->dim)
                                     : fv_constant(c, NULL, s->type, s->rank, s->dim);
    fv_rng g = {9, (uint64_t)i, 0};
    if (s->type == FV_F64) return fv_init_normal(c, x, 1, 70 + (uint64_t)i), x;
    for (int64_t k = 0; k < fv_numel(x); k++)
        fv_set(x, k,
               s->type == FV_U8 ? k % s->dim[s->rank - 1] < s->below - k / s->dim[s->rank - 1] % 3
                                : fv_rng_below(&g, (uint32_t)s->below));
    return x;
}
static fv_tensor *net_loss(fv_ctx *c, void *user, fv_tensor **t) {
    net *n = (net *)user;
    int used = 0;
    fv_tensor *in[4];
    for (int i = 0; i < n->inputs; i++) in[i] = n->in[i]->type == FV_F64 && !n->fixed ? t[used++] : n->in[i];
    fv_tensor *y = fv_model_forward_many(c, n->m, in, n->inputs);
    if (n->motion) return fv_motion_loss(c, y, n->target);
    /* retrieval: any function of all its outputs */
    if (y && y->rank == 2 && y->dim[1] == 1 + 2 * 5) y = fv_mul(c, y, y);
    if (y && y->rank == 2 && y->dim[1] == 1 + 2 * 5) return fv_mean(c, fv_mean(c, y, 0), 0);
    return fv_cross_entropy(c, y, n->target, 0.1f);
}

#define STAGE                                                                                                \
    "\"frozen\":{\"variant\":\"random\",\"hidden_size\":15,\"num_attention_heads\":3,\"num_key_value_"       \
    "heads\":1,"                                                                                             \
    "\"head_dim\":6,\"intermediate_size\":17,\"num_hidden_layers\":1,"
static const char *stage = STAGE "\"residual\":\"inside\"}";

static void check_gradient(const char *arch, const input *in, int inputs, int batch_norm, double within) {
    char config[1024];
    fv_tensor *t[260];
    int64_t one = in[0].dim[0];
    net n;
    fv_desc of;
    fv_model_desc desc;
    memset(&of, 0, sizeof of), memset(&desc, 0, sizeof desc), memset(&n, 0, sizeof n);
    of.threads = 1; /* thousands of small products: waiting for each other costs more */
    fv_ctx *c = fv_create(&of);
    desc.type = FV_F64, desc.seed = 3;
    snprintf(config, sizeof config, "{%s,\"num_classes\":3,\"drop_rate\":0,%s}", arch, stage);
    n.m = fv_model_create(c, config, strlen(config), &desc);
    CHECK(n.m, "%s: %s", arch, fv_error_text(c));
    if (n.m) {
        int count = 0;
        n.inputs = inputs, n.motion = strstr(arch, "motion") != NULL;
        for (int i = 0; i < inputs; i++) {
            n.in[i] = make_input(c, &in[i], i);
            /* nothing flows back to a cloud through its sampling */
            if (n.in[i]->type == FV_F64 && !batch_norm) t[count++] = n.in[i];
        }
        int64_t dim[3] = {one, 4, 2};
        n.target = n.motion ? fv_constant(c, NULL, FV_F32, 3, dim) : fv_constant(c, NULL, FV_I64, 1, &one);
        for (int64_t i = 0; i < fv_numel(n.target); i++) fv_set(n.target, i, n.motion ? 0.7 * (double)i : 2);
        for (int i = 0; i < n.m->params.count && count < 260; i++) {
            fv_tensor *p = n.m->params.at[i];
            if (p->rank > 1) fv_init_normal(c, p, 0.3f, (uint64_t)(1000 + i));
            t[count++] = p;
        }
        fv_training(c, batch_norm);
        n.fixed = batch_norm;
        double error = fv_gradcheck(c, net_loss, &n, t, count, 3);
        CHECK(error >= 0 && error < within, "%s: gradient off by %g %s", arch, error, fv_error_text(c));
    }
    fv_destroy(c);
}

static void gradients_points(void) {
    const input in[1] = {{FV_F64, 3, {1, 23, 3}, 0}};
    check_gradient("\"arch\":\"point_transformer\",\"trans_dim\":9,\"depth\":1,\"num_heads\":3,\"num_group\":"
                   "5,\"group_size\":4,\"encoder_dims\":7,\"num_points\":23",
                   in, 1, 1, 1e-5);
    check_gradient("\"arch\":\"point_transformer\",\"trans_dim\":9,\"depth\":1,\"num_heads\":3,\"num_group\":"
                   "5,\"group_size\":4,\"encoder_width\":9,\"encoder_dims\":7,\"num_points\":23",
                   in, 1, 1, 1e-5);
}
static void gradients_video(void) {
    const input in[1] = {{FV_F64, 5, {1, 2, 3, 6, 6}, 0}};
    check_gradient("\"arch\":\"video_vit\",\"img_size\":6,\"patch_size\":3,\"in_chans\":2,\"num_frames\":3,"
                   "\"tubelet_size\":1,\"embed_dim\":10,\"depth\":1,\"num_heads\":2,"
                   "\"init_values\":0.4",
                   in, 1, 0, 1e-6);
}
static void gradients_volumes(void) {
    const input in[1] = {{FV_F64, 5, {1, 2, 6, 9, 9}, 0}};
    const char *const pool[] = {"cls", "mean"};
    char config[512];
    for (int i = 0; i < 2; i++) {
        snprintf(config, sizeof config,
                 "\"arch\":\"vit3d\",\"image_size\":9,\"image_patch_size\":3,\"frames\":6,\"frame_patch_"
                 "size\":2,\"channels\":2,\"dim\":10,\"heads\":2,\"dim_head\":3,"
                 "\"mlp_dim\":7,\"depth\":1,\"pool\":\"%s\"",
                 pool[i]);
        check_gradient(config, in, 1, 0, 1e-6);
        snprintf(config, sizeof config,
                 "\"arch\":\"vivit\",\"image_size\":9,\"image_patch_size\":3,\"frames\":6,\"frame_patch_"
                 "size\":2,\"channels\":2,\"dim\":10,\"heads\":2,\"dim_head\":3,"
                 "\"mlp_dim\":7,\"spatial_depth\":1,\"temporal_depth\":1,\"pool\":\"%s\"",
                 pool[i]);
        check_gradient(config, in, 1, 0, 1e-6);
    }
}
/* every residual mode and switch of the frozen stage, in networks of two kinds, with two items of odd
 * sizes */
static void gradients_residual(void) {
    static const char *const stages[] = {STAGE "\"residual\":\"none\"}",
                                         STAGE "\"residual\":\"inside\"}",
                                         STAGE "\"residual\":\"outside\"}",
                                         STAGE "\"residual\":\"both\"}",
                                         STAGE "\"residual\":\"outside_nn\"}",
                                         STAGE "\"residual\":\"both\",\"only_mlp\":true}",
                                         STAGE "\"residual\":\"none\",\"rope\":true,\"causal\":true}"};
    const input volume[1] = {{FV_F64, 5, {2, 1, 6, 9, 9}, 0}}, clip[1] = {{FV_F64, 5, {2, 1, 3, 6, 6}, 0}};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        stage = stages[i];
        check_gradient(
            "\"arch\":\"vit3d\",\"image_size\":9,\"image_patch_size\":3,\"frames\":6,\"frame_patch_size\":2,"
            "\"channels\":1,\"dim\":6,\"heads\":1,\"dim_head\":3,\"mlp_dim\":5,\"depth\":1,\"pool\":\"cls\"",
            volume, 1, 0, 1e-6);
        check_gradient(
            "\"arch\":\"video_vit\",\"img_size\":6,\"patch_size\":3,\"in_chans\":1,\"num_frames\":3,"
            "\"tubelet_size\":1,\"embed_dim\":10,\"depth\":1,\"num_heads\":2,\"init_values\":0.4",
            clip, 1, 0, 1e-6);
    }
    stage = stages[1];
}
static const char *const motion_config =
    "\"arch\":\"motion\",\"dim\":10,\"depth\":1,\"num_heads\":2,\"mlp_ratio\":1.5,\"subgraph_layers\":3,"
    "\"modes\":3,\"future_steps\":4,\"scale\":1";
static const char *const stacked_config =
    "\"arch\":\"motion\",\"encoder\":\"mmtransformer\",\"dim\":10,\"depth\":1,\"num_heads\":2,\"mlp_ratio\":"
    "1.5,\"modes\":3,\"future_steps\":4,\"scale\":1,"
    "\"observed_steps\":6";
static void gradients_motion(void) {
    for (int64_t B = 1; B < 4; B += 2) {
        const input in[4] = {{FV_F64, 4, {B, 3, 5, 4}, 0},
                             {FV_U8, 3, {B, 3, 5}, 4},
                             {FV_F64, 4, {B, 4, 3, 7}, 0},
                             {FV_U8, 3, {B, 4, 3}, 2}};
        check_gradient(motion_config, in, 4, 0, 1e-5);
        check_gradient(stacked_config, in, 4, 0, 1e-5);
    }
}
static void gradients_language(void) {
    for (int64_t B = 1; B < 4; B += 2) {
        const input in[3] = {{FV_I32, 2, {B, 5}, 11}, {FV_U8, 2, {B, 5}, 4}, {FV_F64, 4, {B, 2, 6, 6}, 0}};
        const input room[4] = {
            {FV_I32, 2, {B, 5}, 11}, {FV_U8, 2, {B, 5}, 4}, {FV_F64, 3, {B, 6, 7}, 0}, {FV_U8, 2, {B, 6}, 5}};
        const char *sizes = "\"dim\":10,\"num_heads\":2,\"mlp_ratio\":1.5,\"vocab_size\":11,\"max_words\":6,"
                            "\"image_depth\":1,\"fusion_depth\":1";
        char config[512];
        snprintf(config, sizeof config, "\"arch\":\"vqa\",%s,\"img_size\":6,\"patch_size\":3,\"in_chans\":2",
                 sizes);
        check_gradient(config, in, 3, 0, 1e-6);
        const input stemmed[3] = {
            {FV_I32, 2, {B, 5}, 11}, {FV_U8, 2, {B, 5}, 4}, {FV_F64, 4, {B, 2, 8, 8}, 0}};
        snprintf(config, sizeof config,
                 "\"arch\":\"vqa\",%s,\"img_size\":8,\"patch_size\":4,\"in_chans\":2,\"conv_stem\":true",
                 sizes);
        check_gradient(config, stemmed, 3, 0, 1e-6);
        snprintf(config, sizeof config,
                 "\"arch\":\"vqa\",%s,\"img_size\":6,\"patch_size\":3,\"in_chans\":2,\"word_dim\":7", sizes);
        check_gradient(config, in, 3, 0, 1e-6);
        snprintf(config, sizeof config,
                 "\"arch\":\"retrieval\",%s,\"img_size\":6,\"patch_size\":3,\"in_chans\":2,\"embed_dim\":5",
                 sizes);
        check_gradient(config, in, 3, 0, 1e-6);
        snprintf(config, sizeof config, "\"arch\":\"scene_qa\",%s,\"object_features\":7", sizes);
        check_gradient(config, room, 4, 0, 1e-6);
    }
}

/* ---- what is masked has no influence ---- */
/* x [B,P,...] with one more of dim 1: of a mask invalid, of the others anything */
static fv_tensor *one_more(fv_ctx *c, const fv_tensor *x) {
    int64_t dim[5], each = fv_numel(x) / x->dim[0] / x->dim[1], row = each * (x->dim[1] + 1);
    memcpy(dim, x->dim, sizeof dim), dim[1]++;
    fv_tensor *y = fv_constant(c, NULL, x->type, x->rank, dim);
    for (int64_t k = 0; y && k < fv_numel(y); k++)
        fv_set(y, k,
               k % row < row - each ? fv_get(x, k / row * (row - each) + k % row)
               : x->type == FV_U8   ? 0
                                    : 3);
    return y;
}
static void check_masked(const char *arch, const input *in, int inputs) {
    char config[1024];
    double before[64];
    fv_model_desc desc;
    fv_tensor *x[4], *more[4];
    fv_ctx *c = fv_create(NULL);
    memset(&desc, 0, sizeof desc);
    desc.type = FV_F64;
    snprintf(config, sizeof config, "{%s,\"num_classes\":3,\"drop_rate\":0,%s}", arch, stage);
    fv_model *m = fv_model_create(c, config, strlen(config), &desc);
    CHECK(m, "%s", fv_error_text(c));
    for (int i = 0; m && i < m->params.count; i++)
        if (m->params.at[i]->rank > 1) fv_init_normal(c, m->params.at[i], 0.3f, (uint64_t)(1000 + i));
    for (int i = 0; i < inputs; i++) x[i] = make_input(c, &in[i], i);
    fv_no_grad(c, 1);
    for (int pass = 0; pass < 3 && m; pass++) {
        /* at last with one more polyline, word, object, of which nothing is valid */
        for (int i = 0; i < inputs && pass == 2; i++)
            more[i] =
                x[i]->type == FV_U8 || (i + 1 < inputs && x[i + 1]->type == FV_U8) ? one_more(c, x[i]) : x[i];
        fv_tensor *y = fv_model_forward_many(c, m, pass < 2 ? x : more, inputs);
        CHECK(y, "%s", fv_error_text(c));
        for (int64_t i = 0; y && i < fv_numel(y) && i < 64; i++) {
            if (!pass) before[i] = fv_get(y, i);
            else
                CHECK(fabs(fv_get(y, i) - before[i]) <= (pass < 2 ? 0 : 1e-9),
                      "%s: output %d changes with what is %s", arch, (int)i, pass < 2 ? "masked" : "padded");
        }
        /* what stands under a 0 of the mask that follows (text: before it) */
        for (int i = 0; i < inputs; i++) {
            int mask = x[i]->type == FV_U8                         ? -1
                       : x[i]->type == FV_I32                      ? i + 1
                       : i + 1 < inputs && x[i + 1]->type == FV_U8 ? i + 1
                                                                   : -1;
            int64_t each = mask < 0 ? 0 : fv_numel(x[i]) / fv_numel(x[mask]);
            for (int64_t k = 0; mask >= 0 && k < fv_numel(x[i]); k++)
                if (!((const uint8_t *)x[mask]->data)[k / each])
                    fv_set(x[i], k, x[i]->type == FV_I32 ? (double)(((int)fv_get(x[i], k) + 5) % 11) : 1e3);
        }
    }
    fv_destroy(c);
}
static void masked(void) {
    const input in[4] = {{FV_F64, 4, {2, 3, 5, 4}, 0},
                         {FV_U8, 3, {2, 3, 5}, 2},
                         {FV_F64, 4, {2, 4, 3, 7}, 0},
                         {FV_U8, 3, {2, 4, 3}, 2}};
    /* of the first item all words and objects are valid */
    const input text[3] = {{FV_I32, 2, {2, 5}, 11}, {FV_U8, 2, {2, 5}, 5}, {FV_F64, 4, {2, 2, 6, 6}, 0}};
    const input room[4] = {
        {FV_I32, 2, {2, 5}, 11}, {FV_U8, 2, {2, 5}, 5}, {FV_F64, 3, {2, 6, 7}, 0}, {FV_U8, 2, {2, 6}, 6}};
    check_masked(motion_config, in, 4), check_masked(stacked_config, in, 4);
    check_masked("\"arch\":\"vqa\",\"dim\":10,\"num_heads\":2,\"vocab_size\":11,\"max_words\":6,\"img_size\":"
                 "6,\"patch_size\":3,\"in_chans\":2",
                 text, 3);
    check_masked("\"arch\":\"retrieval\",\"dim\":10,\"num_heads\":2,\"vocab_size\":11,\"max_words\":6,"
                 "\"img_size\":6,\"patch_size\":3,\"in_chans\":2,\"embed_dim\":5",
                 text, 3);
    check_masked("\"arch\":\"scene_qa\",\"dim\":10,\"num_heads\":2,\"vocab_size\":11,\"max_words\":6,"
                 "\"object_features\":7",
                 room, 4);
}

/* ---- the loss of motion, by hand: the future whose end is nearest, of equal ones the first ---- */
/* ---- what is for training alone ---- */
/* drop_rate changes what the network computes then, and nothing in evaluation; decay spares the embeddings */
static void check_training(const char *arch, const input *in, int inputs) {
    fv_tensor *x[4];
    double y[2][2][64];
    fv_ctx *c = fv_create(NULL);
    fv_model_desc desc;
    memset(&desc, 0, sizeof desc), memset(y, 0, sizeof y), desc.type = FV_F64;
    for (int i = 0; i < inputs; i++) x[i] = make_input(c, &in[i], i);
    fv_no_grad(c, 1);
    for (int dropped = 0; dropped < 2; dropped++) {
        char config[1024];
        snprintf(config, sizeof config, "{%s,\"num_classes\":3,\"drop_rate\":%g,%s}", arch, dropped * 0.5,
                 stage);
        fv_model *m = fv_model_create(c, config, strlen(config), &desc);
        CHECK(m, "%s", fv_error_text(c));
        for (int i = 0; m && i < m->params.count; i++) {
            fv_tensor *p = m->params.at[i];
            int spared = strstr(p->name, "token") || strstr(p->name, "cls_pos") ||
                         strstr(p->name, "text.embed") ||
                         (strstr(p->name, "pos_embed") && !strstr(p->name, "weight"));
            if (p->rank < 2) continue;
            fv_init_normal(c, p, 0.3f, (uint64_t)(1000 + i));
            CHECK(!(p->flags & FV_NO_DECAY) == !spared, "%s: decay of %s", arch, p->name);
        }
        for (int training = 0; training < 2; training++) {
            fv_training(c, training), fv_seed(c, 5, 1);
            fv_tensor *out = m ? fv_model_forward_many(c, m, x, inputs) : NULL;
            CHECK(out, "%s", fv_error_text(c));
            for (int k = 0; out && k < FV__MIN(fv_numel(out), 64); k++)
                y[dropped][training][k] = fv_get(out, k);
        }
    }
    CHECK(!memcmp(y[0][0], y[1][0], sizeof y[0][0]), "%s: dropped in evaluation", arch);
    CHECK(memcmp(y[0][1], y[1][1], sizeof y[0][1]), "%s: drop_rate does nothing", arch);
    fv_destroy(c);
}
static void training_alone(void) {
    const input picture[1] = {{FV_F64, 4, {2, 2, 6, 6}, 0}}, cloud[1] = {{FV_F64, 3, {2, 23, 3}, 0}},
                clip[1] = {{FV_F64, 5, {2, 2, 3, 6, 6}, 0}}, volume[1] = {{FV_F64, 5, {2, 2, 6, 9, 9}, 0}};
    const input roads[4] = {{FV_F64, 4, {2, 3, 5, 4}, 0},
                            {FV_U8, 3, {2, 3, 5}, 4},
                            {FV_F64, 4, {2, 4, 3, 7}, 0},
                            {FV_U8, 3, {2, 4, 3}, 2}};
    const input text[3] = {{FV_I32, 2, {2, 5}, 11}, {FV_U8, 2, {2, 5}, 4}, {FV_F64, 4, {2, 2, 6, 6}, 0}};
    const char *boxes = "\"image_size\":9,\"image_patch_size\":3,\"frames\":6,\"frame_patch_size\":2,"
                        "\"channels\":2,\"dim\":10,\"heads\":2,\"dim_head\":3,\"mlp_dim\":7";
    char config[512];
    fv_model m; /* drop-path grows evenly, from none in the first block */
    fv_ctx *c = fv_create(NULL);
    memset(&m, 0, sizeof m), m.drop_path = 0.3f;
    for (int i = 0; i < 8; i++) {
        fv_training(c, i < 4);
        double p = (double)fv__drop_of(c, &m, i % 4, 4);
        CHECK(fabs(p - (i < 4 ? 0.1 * i : 0)) < 1e-6, "block %d of 4 drops %g", i % 4, p);
    }
    fv_destroy(c);
    check_training("\"arch\":\"vit\",\"img_size\":6,\"patch_size\":3,\"in_chans\":2,\"embed_dim\":10,"
                   "\"depth\":1,\"num_heads\":2",
                   picture, 1);
    check_training("\"arch\":\"point_transformer\",\"trans_dim\":9,\"depth\":1,\"num_heads\":3,"
                   "\"num_group\":5,\"group_size\":4,\"encoder_dims\":7,\"num_points\":23",
                   cloud, 1);
    check_training("\"arch\":\"video_vit\",\"img_size\":6,\"patch_size\":3,\"in_chans\":2,"
                   "\"num_frames\":3,\"tubelet_size\":1,\"embed_dim\":10,\"depth\":1,\"num_heads\":2",
                   clip, 1);
    snprintf(config, sizeof config, "\"arch\":\"vit3d\",%s,\"depth\":1", boxes);
    check_training(config, volume, 1);
    snprintf(config, sizeof config, "\"arch\":\"vivit\",%s,\"spatial_depth\":1,\"temporal_depth\":1", boxes);
    check_training(config, volume, 1);
    check_training(motion_config, roads, 4);
    check_training("\"arch\":\"vqa\",\"dim\":10,\"num_heads\":2,\"vocab_size\":11,\"max_words\":6,"
                   "\"img_size\":6,\"patch_size\":3,\"in_chans\":2",
                   text, 3);
}

static void motion_loss(void) {
    enum { B = 5, K = 3, T = 4, N = 2 * T + 1 };
    int64_t dim[3] = {B, K, N}, want[3] = {B, T, 2};
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {6, 6, 0};
    fv_tensor *y = fv_constant(c, NULL, FV_F64, 3, dim), *truth = fv_constant(c, NULL, FV_F32, 3, want);
    double sum = 0;
    for (int64_t i = 0; i < fv_numel(truth); i++) fv_set(truth, i, 2 * (double)fv_rng_normal(&g));
    for (int64_t i = 0; i < fv_numel(y); i++) fv_set(y, i, 2 * (double)fv_rng_normal(&g));
    for (int k = 1; k < 3; k++) /* three equal ends */
        for (int i = 2; i < 4; i++) fv_set(y, k * N + N - i, fv_get(y, N - i));
    for (int b = 0; b < B; b++) {
        double least = INFINITY, all = 0;
        int best = 0;
        for (int k = 0; k < K; k++) {
            int64_t at = (b * K + k) * N;
            double far = hypot(fv_get(y, at + N - 3) - fv_get(truth, b * 2 * T + 2 * T - 2),
                               fv_get(y, at + N - 2) - fv_get(truth, b * 2 * T + 2 * T - 1));
            if (far < least) least = far, best = k;
            all += exp(fv_get(y, at + N - 1));
        }
        CHECK(fv_motion_best(y, b, (const float *)truth->data + (b + 1) * 2 * T - 2) == best, "the nearest");
        for (int i = 0; i < 2 * T; i++) {
            double e = fabs(fv_get(y, (b * K + best) * N + i) - fv_get(truth, b * 2 * T + i));
            sum += (e < 1 ? e * e / 2 : e - 0.5) / (B * 2 * T);
        }
        sum -= (fv_get(y, (b * K + best) * N + N - 1) - log(all)) / B;
    }
    fv_tensor *loss = fv_motion_loss(c, y, truth);
    CHECK(loss && fabs(fv_get(loss, 0) - sum) < 1e-6, "%g instead of %g: %s", loss ? fv_get(loss, 0) : NAN,
          sum, fv_error_text(c));
    fv_destroy(c);
}
/* ---- retrieval: embeddings of length 1, several texts of a picture; a fusion layer's sides see each other
 * as they were before it ---- */
static void fusion(void) {
    enum { E = 5, Y = 1 + 2 * E };
    const char *config = "{\"arch\":\"retrieval\",\"dim\":10,\"num_heads\":2,\"vocab_size\":11,"
                         "\"max_words\":6,\"img_size\":6,\"patch_size\":3,\"in_chans\":2,\"embed_dim\":5,"
                         "\"fusion_depth\":1}";
    const input in[3] = {{FV_I32, 2, {6, 5}, 11}, {FV_U8, 2, {6, 5}, 5}, {FV_F64, 4, {3, 2, 6, 6}, 0}};
    double before[6 * Y];
    fv_tensor *x[3];
    fv_model_desc desc;
    fv_ctx *c = fv_create(NULL);
    memset(&desc, 0, sizeof desc), desc.type = FV_F64;
    fv_model *m = fv_model_create(c, config, strlen(config), &desc);
    CHECK(m, "%s", fv_error_text(c));
    for (int i = 0; m && i < m->params.count; i++)
        if (m->params.at[i]->rank > 1) fv_init_normal(c, m->params.at[i], 0.3f, (uint64_t)(1000 + i));
    for (int i = 0; i < 3; i++) x[i] = make_input(c, &in[i], i);
    fv_no_grad(c, 1);
    fv_tensor *y = m ? fv_model_forward_many(c, m, x, 3) : NULL;
    CHECK(y && y->dim[0] == 6 && y->dim[1] == Y, "%s", fv_error_text(c));
    for (int i = 0; y && i < 6; i++)
        for (int k = 0; k < 2; k++) {
            double length = 0;
            for (int e = 0; e < E; e++) length += pow(fv_get(y, i * Y + 1 + k * E + e), 2);
            CHECK(fabs(length - 1) < 1e-5, "an embedding of length %g", sqrt(length));
        }
    for (int i = 0; y && i < 6 * Y; i++) before[i] = fv_get(y, i);
    int64_t dim[4] = {6, 2, 6, 6}, each = 72;
    fv_tensor *all = fv_constant(c, NULL, FV_F64, 4, dim); /* texts 2 i and 2 i + 1 are of picture i */
    for (int64_t i = 0; i < fv_numel(all); i++) fv_set(all, i, fv_get(x[2], i / each / 2 * each + i % each));
    x[2] = all, y = m ? fv_model_forward_many(c, m, x, 3) : NULL;
    for (int i = 0; y && i < 6 * Y; i++)
        CHECK(fabs(fv_get(y, i) - before[i]) < 1e-9, "output %d of repeated pictures", i);
    for (int side = 0; side < 2 && m; side++) { /* the head sees one: the other's layer is nothing to it */
        const char *other = side ? "fusion.0.text" : "fusion.0.image";
        fv_tensor *head = fv_params_find(&m->params, "head.0.weight");
        for (int64_t i = 0; head && i < fv_numel(head); i++)
            fv_set(head, i, i % 20 / 10 == side ? 0.1 * (double)(i % 7) - 0.3 : 0);
        for (int pass = 0; pass < 2; pass++) {
            int changed = 0;
            y = fv_model_forward_many(c, m, x, 3);
            for (int i = 0; y && i < 6; i++) {
                if (pass) CHECK(fabs(fv_get(y, i * Y) - before[i]) < 1e-12, "%s is seen at once", other);
                before[i] = fv_get(y, i * Y);
            }
            for (int i = 0; i < m->params.count && !pass; i++)
                if (!strncmp(m->params.at[i]->name, other, strlen(other)))
                    fv_init_normal(c, m->params.at[i], 0.5f, (uint64_t)(7 + i)), changed++;
            CHECK(head && (pass || changed > 4), "%d parameters of %s", changed, other);
        }
    }
    fv_destroy(c);
}

/* ---- the networks as they are trained (f32 on every ISA, bf16) against the same in double ---- */
static double *gradients(fv_isa isa, fv_type type, int bf16, int threads, const char *config, const input *in,
                         int inputs, int64_t *count, double *loss_at) {
    fv_desc of;
    fv_model_desc desc;
    net n;
    memset(&of, 0, sizeof of), memset(&desc, 0, sizeof desc), memset(&n, 0, sizeof n);
    of.isa = isa, of.threads = threads;
    fv_ctx *c = fv_create(&of);
    desc.type = type, desc.seed = 3, desc.pack = bf16 ? FV_BF16 : FV_TYPE_DEFAULT;
    n.m = fv_model_create(c, config, strlen(config), &desc), n.inputs = inputs, n.fixed = 1,
    n.motion = strstr(config, "motion") != NULL;
    CHECK(n.m, "%s", fv_error_text(c));
    for (int i = 0; i < inputs; i++) {
        fv_tensor *x = make_input(c, &in[i], i);
        n.in[i] = x;
        if (x->type != FV_F64) continue;
        n.in[i] = fv_constant(c, NULL, type, x->rank, x->dim);
        for (int64_t k = 0; k < fv_numel(x); k++) fv_set(n.in[i], k, (double)(float)fv_get(x, k));
    }
    int64_t B = in[0].dim[0], dim[3] = {B, 4, 2}, at = 0;
    n.target = n.motion ? fv_constant(c, NULL, FV_F32, 3, dim) : fv_constant(c, NULL, FV_I64, 1, &B);
    for (int64_t i = 0; i < fv_numel(n.target); i++)
        fv_set(n.target, i, n.motion ? 0.7 * (double)i : (double)(i % 3));
    for (int i = 0; i < n.m->params.count; i++) {
        fv_tensor *t = n.m->params.at[i];
        if (t->rank > 1)
            fv_init_normal(c, t, 0.5f / sqrtf((float)t->dim[t->rank - 1]) + 0.1f, (uint64_t)(1000 + i));
        for (int64_t k = 0; k < fv_numel(t); k++) fv_set(t, k, (double)(float)fv_get(t, k));
    }
    if (bf16) fv_autocast(c, FV_BF16);
    fv_tensor *loss = net_loss(c, &n, n.in);
    if (loss) fv_backward(c, loss);
    CHECK(loss && !fv_error(c), "%s: %s", config, fv_error_text(c));
    *count = fv_model_numel(n.m), *loss_at = loss ? fv_get(loss, 0) : NAN;
    double *all = (double *)calloc((size_t)*count + 1, sizeof *all);
    for (int i = 0; i < n.m->params.count && loss; i++) {
        fv_tensor *t = n.m->params.at[i];
        for (int64_t k = 0; k < fv_numel(t); k++)
            all[at++] =
                t->grad ? (type == FV_F64 ? ((double *)t->grad)[k] : (double)((float *)t->grad)[k]) : 0;
    }
    fv_destroy(c);
    return all;
}
static void check_paths(const char *arch, const input *in, int inputs) {
    static const fv_isa isas[] = {FV_ISA_SCALAR, FV_ISA_AVX2, FV_ISA_AVX512, FV_ISA_AVX512BF16, FV_ISA_NEON};
    char config[1024];
    int64_t n, m;
    double loss, other;
    snprintf(config, sizeof config,
             "{%s,\"num_classes\":3,\"drop_rate\":0,\"frozen\":{\"variant\":\"random\",\"hidden_size\":48,"
             "\"num_attention_heads\":3,"
             "\"num_key_value_heads\":1,\"intermediate_size\":80,\"num_hidden_layers\":1}}",
             arch);
    double *want = gradients(FV_ISA_SCALAR, FV_F64, 0, 1, config, in, inputs, &n, &loss), norm = 0;
    for (int64_t i = 0; i < n; i++) norm += want[i] * want[i];
    for (int k = 0; k < 5; k++)
        for (int bf16 = 0; bf16 < 2 && fv_isa_available(isas[k]); bf16++)
            for (int threads = 1; threads < 4; threads += 2) {
                double *got = gradients(isas[k], FV_F32, bf16, threads, config, in, inputs, &m, &other),
                       off = 0;
                for (int64_t i = 0; i < n && i < m; i++) off += (got[i] - want[i]) * (got[i] - want[i]);
                CHECK(n == m && sqrt(off / norm) < (bf16 ? 0.2 : 1e-4),
                      "%.60s: %s, %s, %d threads: gradient off by %g of its length, loss %g instead of %g",
                      arch, fv_isa_name(isas[k]), bf16 ? "bf16" : "f32", threads, sqrt(off / norm), other,
                      loss);
                free(got);
            }
    free(want);
}
static void paths(void) {
    const char *sizes =
        "\"dim\":64,\"num_heads\":4,\"vocab_size\":11,\"max_words\":30,\"image_depth\":1,\"fusion_depth\":2";
    const input text[3] = {{FV_I32, 2, {5, 27}, 11}, {FV_U8, 2, {5, 27}, 26}, {FV_F64, 4, {5, 3, 32, 32}, 0}};
    const input room[4] = {
        {FV_I32, 2, {5, 27}, 11}, {FV_U8, 2, {5, 27}, 26}, {FV_F64, 3, {5, 9, 28}, 0}, {FV_U8, 2, {5, 9}, 8}};
    const input road[4] = {{FV_F64, 4, {5, 9, 19, 4}, 0},
                           {FV_U8, 3, {5, 9, 19}, 18},
                           {FV_F64, 4, {5, 24, 9, 7}, 0},
                           {FV_U8, 3, {5, 24, 9}, 9}};
    char config[512];
    snprintf(config, sizeof config, "\"arch\":\"scene_qa\",%s,\"object_features\":28", sizes);
    check_paths(config, room, 4);
    snprintf(config, sizeof config, "\"arch\":\"vqa\",%s,\"img_size\":32,\"patch_size\":8", sizes);
    check_paths(config, text, 3);
    snprintf(config, sizeof config, "\"arch\":\"vqa\",%s,\"img_size\":32,\"patch_size\":8,\"conv_stem\":true",
             sizes);
    check_paths(config, text, 3);
    check_paths("\"arch\":\"motion\",\"dim\":64,\"depth\":1,\"num_heads\":2,\"future_steps\":4", road, 4);
    check_paths("\"arch\":\"motion\",\"encoder\":\"mmtransformer\",\"dim\":64,\"depth\":2,\"num_heads\":2,"
                "\"future_steps\":4",
                road, 4);
}

static void refuse(const char *config, const char *says) {
    fv_ctx *c = fv_create(NULL);
    fv_model *m = fv_model_create(c, config, strlen(config), NULL);
    CHECK(!m && fv_error(c) == FV_EUSAGE && strstr(fv_error_text(c), says), "%s: \"%s\" does not say \"%s\"",
          config, fv_error_text(c), says);
    fv_destroy(c);
}
static void refusals(void) {
    refuse("{\"arch\":\"point_transformer\",\"trans_dim\":50,\"num_heads\":3}", "num_heads");
    refuse("{\"arch\":\"point_transformer\",\"num_points\":16}", "num_group");
    refuse("{\"arch\":\"point_transformer\",\"embed_dim\":48}", "embed_dim");
    refuse("{\"arch\":\"point_transformer\",\"encoder_width\":1}", "encoder_width");
    refuse("{\"arch\":\"video_vit\",\"num_frames\":5}", "tubelet_size");
    refuse("{\"arch\":\"video_vit\",\"global_pool\":\"token\"}", "global_pool");
    refuse("{\"arch\":\"vit3d\",\"image_size\":30}", "image_patch_size");
    refuse("{\"arch\":\"vit3d\",\"temporal_depth\":3}", "temporal_depth");
    refuse("{\"arch\":\"vivit\",\"pool\":\"max\"}", "pool");
    refuse(
        "{\"arch\":\"vivit\",\"frozen\":{\"variant\":\"random\",\"hidden_size\":16,\"num_attention_heads\":2,"
        "\"intermediate_size\":16,\"num_hidden_layers\":1,\"after_block\":1}}",
        "vivit's stage");
    refuse("{\"arch\":\"motion\",\"dim\":9}", "num_heads");
    refuse("{\"arch\":\"motion\",\"encoder\":\"lstm\"}", "mmtransformer");
    refuse("{\"arch\":\"motion\",\"encoder\":\"mmtransformer\",\"depth\":0}", "depth");
    refuse("{\"arch\":\"motion\",\"observed_steps\":19}", "observed_steps");
    refuse("{\"arch\":\"motion\",\"encoder\":\"mmtransformer\",\"frozen\":{\"variant\":\"random\",\"hidden_"
           "size\":16,\"num_attention_heads\":2,\"intermediate_size\":16,\"num_hidden_layers\":1,\"after_"
           "block\":0}}",
           "social constructor");
    refuse("{\"arch\":\"vqa\",\"img_size\":30}", "patch_size");
    refuse("{\"arch\":\"vqa\",\"img_size\":30,\"patch_size\":6,\"conv_stem\":true}", "power of 2");
    refuse("{\"arch\":\"vqa\",\"object_features\":9}", "object_features");
    refuse("{\"arch\":\"scene_qa\",\"img_size\":64}", "img_size");
}

int main(void) {
    RUN(point_cases);
    RUN(video_cases);
    RUN(volume_cases);
    RUN(cloud_sampling);
    RUN(moved_clouds);
    RUN(sampled_frames);
    RUN(pooling_alone);
    RUN(defaults);
    RUN(empty_blocks);
    RUN(gradients_points);
    RUN(gradients_video);
    RUN(gradients_volumes);
    RUN(gradients_residual);
    RUN(gradients_motion);
    RUN(gradients_language);
    RUN(masked);
    RUN(training_alone);
    RUN(motion_loss);
    RUN(fusion);
    RUN(paths);
    RUN(refusals);
    return REPORT();
}
