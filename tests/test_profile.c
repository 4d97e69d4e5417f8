/* fv_profile: the floating-point operations of each op that has products, forward and backward, against
 * formulas by hand; passes apart; what recomputation runs again; counting that stops and goes on. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"
#include <stdlib.h>

typedef struct sums {
    double flop[4]; /* by pass */
    int64_t calls[4];
    double seconds;
} sums;

static sums total(fv_ctx *c, const char *op) { /* op NULL: of all */
    fv_profile_row row[FV_PROFILE_ROWS];
    sums s;
    int n = fv_profile(c, row, FV_PROFILE_ROWS);
    memset(&s, 0, sizeof s);
    for (int i = 0; i < n; i++) {
        if (op && strcmp(op, row[i].op)) continue;
        s.flop[row[i].pass] += row[i].flop, s.calls[row[i].pass] += row[i].calls, s.seconds += row[i].seconds;
    }
    return s;
}

/* [a,b,d], or [b,d] for a 0 */
static fv_tensor *tensor(fv_ctx *c, int wants, int64_t a, int64_t b, int64_t d) {
    int64_t dim[3] = {a, b, d};
    float *zero = (float *)calloc((size_t)((a ? a : 1) * b * d), sizeof *zero);
    fv_tensor *t = fv_input(c, FV_F32, a ? 3 : 2, a ? dim : dim + 1, zero, wants);
    free(zero);
    return t;
}

/* runs backward from y, and compares the sum of all rows */
static void expect(fv_ctx *c, fv_tensor *y, const char *what, double forward, double backward) {
    float *g = y ? (float *)calloc((size_t)fv_numel(y), sizeof *g) : NULL;
    if (y && backward > 0) fv_backward_from(c, y, g);
    free(g);
    sums s = total(c, NULL);
    CHECK(y && !fv_error(c), "%s: %s", what, fv_error_text(c));
    CHECK(s.flop[FV_PASS_FORWARD] == forward, "%s: forward %.0f, by hand %.0f", what, s.flop[FV_PASS_FORWARD],
          forward);
    CHECK(s.flop[FV_PASS_BACKWARD] == backward, "%s: backward %.0f, by hand %.0f", what,
          s.flop[FV_PASS_BACKWARD], backward);
    fv_reset(c);
    fv_profile_reset(c, 1);
}

static void linear(void) {
    fv_ctx *c = fv_create(NULL);
    double one = 2.0 * 6 * 5 * 7; /* x [2,3,7], w [5,7] */
    float w[35] = {0};
    fv_profile_reset(c, 1);
    expect(c, fv_linear(c, tensor(c, 1, 2, 3, 7), tensor(c, 1, 0, 5, 7), NULL), "linear", one, 2 * one);
    expect(c, fv_linear(c, tensor(c, 1, 2, 3, 7), tensor(c, 0, 0, 5, 7), NULL),
           "linear, a weight without gradient", one, one);
    expect(c, fv_linear(c, tensor(c, 0, 2, 3, 7), tensor(c, 1, 0, 5, 7), NULL),
           "linear, an input without gradient", one, one);
    expect(c, fv_linear(c, tensor(c, 0, 2, 3, 7), tensor(c, 0, 0, 5, 7), NULL),
           "linear, nothing wants a gradient", one, 0);
    fv_tensor *packed = fv_pack(c, NULL, FV_F32, 5, 7, w, FV_F32);
    expect(c, fv_linear(c, tensor(c, 1, 2, 3, 7), packed, NULL), "linear, a packed weight", one, one);
    fv_tensor *r = tensor(c, 1, 2, 3, 5);
    expect(c, fv_linear_add(c, tensor(c, 1, 2, 3, 7), packed, NULL, r), "linear with a residual", one, one);
    expect(c, fv_linear_act(c, tensor(c, 1, 2, 3, 7), tensor(c, 1, 0, 5, 7), NULL, FV_ACT_GELU),
           "linear and GELU", one, 2 * one);
    fv_param_free(c, packed);
    fv_destroy(c);
}

static void matmul(void) {
    fv_ctx *c = fv_create(NULL);
    double one = 2.0 * 2 * 3 * 7 * 5; /* a [2,3,7], b [2,7,5] or [7,5] */
    fv_profile_reset(c, 1);
    expect(c, fv_matmul(c, tensor(c, 1, 2, 3, 7), tensor(c, 1, 2, 7, 5), 0), "matmul", one, 2 * one);
    expect(c, fv_matmul(c, tensor(c, 1, 2, 3, 7), tensor(c, 0, 2, 5, 7), 1), "matmul, transposed", one, one);
    expect(c, fv_matmul(c, tensor(c, 0, 2, 3, 7), tensor(c, 1, 0, 7, 5), 0), "matmul, one b for all", one,
           one);
    fv_destroy(c);
}

/* scores and values are a product each; backward gv, gP, gq, gk, as many of them as are wanted */
static void attention(void) {
    static const struct {
        int q, k, v;
        double products;
    } wants[] = {{1, 1, 1, 4}, {1, 0, 0, 2}, {0, 1, 0, 2}, {0, 0, 1, 1},
                 {1, 1, 0, 3}, {1, 0, 1, 3}, {0, 1, 1, 3}};
    fv_ctx *c = fv_create(NULL);
    fv_attention_desc d;
    double product = 2.0 * 2 * 6 * 9 * 16; /* 2 samples, 6 queries, 9 keys, 4 heads of 4 */
    memset(&d, 0, sizeof d);
    d.num_heads = 4, d.num_kv_heads = 2;
    fv_profile_reset(c, 1);
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
        fv_tensor *q = tensor(c, wants[i].q, 2, 6, 16), *k = tensor(c, wants[i].k, 2, 9, 8),
                  *v = tensor(c, wants[i].v, 2, 9, 8);
        expect(c, fv_attention(c, q, k, v, &d), "attention", 2 * product, wants[i].products * product);
    }
    product = 2.0 * 2 * 6 * 6 * 16; /* q, k, v of 4 + 2 + 2 heads in one tensor */
    expect(c, fv_attention(c, tensor(c, 1, 2, 6, 32), NULL, NULL, &d), "attention, packed", 2 * product,
           4 * product);
    fv_destroy(c);
}

static fv_tensor *layer(fv_ctx *c, fv_tensor *x, fv_tensor *w) {
    fv_scope s = fv_scope_begin(c);
    return fv_scope_end(c, s, fv_relu(c, fv_linear(c, x, w, NULL)));
}

/* What a scope dropped runs again, in a row of its own; the optimiser has one too. */
static void passes(void) {
    fv_ctx *c = fv_create(NULL);
    fv_params p;
    int64_t dim[2] = {7, 7};
    double one = 2.0 * 6 * 7 * 7;
    memset(&p, 0, sizeof p);
    fv_tensor *w = fv_param(c, "w", FV_F32, 2, dim);
    fv_params_add(c, &p, w);
    fv_optim *o = fv_optim_create(c, &p, NULL);
    fv_recompute(c, 1);
    fv_profile_reset(c, 1);
    fv_tensor *y = layer(c, layer(c, tensor(c, 1, 2, 3, 7), w), w);
    fv_backward(c, fv_sum(c, fv_reshape(c, y, 1, (int64_t[1]){42}), 0));
    fv_optim_step(c, o, 1e-3f);
    sums s = total(c, "linear"), relu = total(c, "relu"), update = total(c, "adamw"), all = total(c, NULL);
    CHECK(s.flop[FV_PASS_FORWARD] == 2 * one && s.flop[FV_PASS_BACKWARD] == 4 * one &&
              s.flop[FV_PASS_AGAIN] == 2 * one,
          "%.0f %.0f %.0f", s.flop[0], s.flop[1], s.flop[2]);
    CHECK(relu.calls[FV_PASS_FORWARD] == 2 && relu.calls[FV_PASS_BACKWARD] == 2, "%lld %lld",
          (long long)relu.calls[0], (long long)relu.calls[1]);
    CHECK(update.calls[FV_PASS_UPDATE] == 1 && update.calls[FV_PASS_FORWARD] == 0, "%lld",
          (long long)update.calls[3]);
    CHECK(all.seconds > 0 && all.seconds < 60, "%g", all.seconds);
    fv_optim_destroy(c, o);
    fv_free(c, p.at);
    fv_destroy(c);
}

static void stops_and_goes_on(void) {
    fv_ctx *c = fv_create(NULL);
    fv_tensor *w = tensor(c, 0, 0, 5, 7);
    CHECK(fv_profile(c, NULL, 0) == 0, "rows before anything was counted");
    fv_linear(c, tensor(c, 0, 2, 3, 7), w, NULL);
    CHECK(total(c, "linear").calls[0] == 0, "counted without being asked to");
    fv_profile_reset(c, 1);
    fv_linear(c, tensor(c, 0, 2, 3, 7), w, NULL);
    CHECK(fv_profile_on(c, 0) == 1, "it was on");
    fv_linear(c, tensor(c, 0, 2, 3, 7), w, NULL);
    CHECK(fv_profile_on(c, 1) == 0, "it was off");
    fv_linear(c, tensor(c, 0, 2, 3, 7), w, NULL);
    CHECK(total(c, "linear").calls[0] == 2, "%lld", (long long)total(c, "linear").calls[0]);
    fv_profile_reset(c, 0);
    CHECK(total(c, NULL).calls[0] == 0, "not forgotten");
    fv_destroy(c);
}

int main(void) {
    RUN(linear);
    RUN(matmul);
    RUN(attention);
    RUN(passes);
    RUN(stops_and_goes_on);
    return REPORT();
}
