/* JSON, safetensors and GGUF: what is refused (each with its status and a sentence), what is read, and that
 * every prefix of a good file and every flipped bit ends in an answer, not a crash. Quantised blocks are
 * checked against gguf-py's numbers. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static char folder[256];

static const char *file_of(fv_ctx *c, const char *name, const void *data, size_t size) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    fv_write_file(c, path, data, size);
    return path;
}

static void json_refuses(void) {
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "[1 2]",
                                      "nul",
                                      "01",
                                      "1.",
                                      ".5",
                                      "+1",
                                      "1e",
                                      "-",
                                      "\"a",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\ud800\"",
                                      "\"\x01\"",
                                      "\"\x1f\"",
                                      "\"\xff\"",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":1,\"\\u0061\":2}",
                                      "{1:2}",
                                      "{\"a\"}",
                                      "[1]x",
                                      "'a'",
                                      "[NaN]",
                                      "Infinity",
                                      "\xef\xbb\xbf{}",
                                      "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
                                      "\"\\u0000\"",
                                      "// x\n1"};
    for (int i = 0; i < FV__COUNT(bad); i++) {
        fv_ctx *c = fv_create(NULL);
        fv_json *j = fv_json_parse(c, bad[i], strlen(bad[i]), "case");
        CHECK(!j && fv_error(c) == FV_EFORMAT && strstr(fv_error_text(c), "case"), "%s", bad[i]);
        fv_destroy(c);
    }
}

static void json_reads(void) {
    static const char text[] = " {\"a\": [1, -2.5e3, true, null, \"x\\u00e9\\n\\ud83d\\ude00\"], \"b\\\"\": "
                               "{\"c\": false}, \"d\": 9007199254740993} ";
    fv_ctx *c = fv_create(NULL);
    fv_json *j = fv_json_parse(c, text, sizeof text - 1, "case");
    fv_jnode r = fv_json_root(j), a = fv_json_get(j, r, "a");
    CHECK(j && fv_json_count(j, r) == 3 && fv_json_count(j, a) == 5, "%s", fv_error_text(c));
    CHECK(fv_json_number(j, fv_json_at(j, a, 1), 0) == -2500 && fv_json_bool(j, fv_json_at(j, a, 2), 0) == 1,
          "numbers");
    CHECK(!strcmp(fv_json_string(j, fv_json_at(j, a, 4), ""), "x\xc3\xa9\n\xf0\x9f\x98\x80"), "escapes");
    CHECK(fv_json_type(j, fv_json_get(j, fv_json_get(j, r, "b\""), "c")) == FV_JSON_FALSE, "nested");
    CHECK(fv_json_int(j, fv_json_get(j, r, "d"), 0) == 9007199254740993, "a whole number beyond a double's");
    CHECK(!fv_json_get(j, r, "none") && fv_json_number(j, 0, 7) == 7, "absent");
    fv_destroy(c);
}

/* a safetensors file of this header and n bytes of data */
static size_t build(uint8_t *out, const char *header, size_t n) {
    size_t h = strlen(header);
    memset(out, 0, 8 + h + n);
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(h >> (8 * i));
    memcpy(out + 8, header, h);
    return 8 + h + n;
}

static void safetensors_refuses(void) {
    static const struct {
        const char *header;
        size_t data;
    } bad[] = {{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,9007199254740993],\"data_offsets\":[0,0]}}", 0},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\":{\"dtype\":\"X32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\","
                "\"shape\":[1],\"data_offsets\":[0,4]}}",
                4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\","
                "\"shape\":[1],\"data_offsets\":[4,8]}}",
                8},
               {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\\u0000\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
               {"{\"__metadata__\":{\"a\":1}}", 0},
               {"{\"__metadata__\":[]}", 0},
               {"{\"a\":1}", 0},
               {"[]", 0},
               {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
               {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}", 4}};
    static uint8_t file[4096];
    for (int i = 0; i < FV__COUNT(bad); i++) {
        fv_ctx *c = fv_create(NULL);
        const char *path = file_of(c, "bad", file, build(file, bad[i].header, bad[i].data));
        fv_weights *w = fv_weights_open(c, path);
        CHECK(!w && fv_error(c) == FV_EFORMAT && strstr(fv_error_text(c), "bad"), "%s: %s", bad[i].header,
              fv_error_text(c));
        fv_destroy(c);
    }
}

static void foreign_files_are_named(void) {
    static const char *const foreign[][2] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"},
        {"<!DOCTYPE html><html></html>", "HTML"},
        {"PK\3\4 a zip of a pickle", "pickle"},
        {"\x80\x02}q", "pickle"},
        {"abc", "short"},
        {"", "short"}};
    for (int i = 0; i < FV__COUNT(foreign); i++) {
        fv_ctx *c = fv_create(NULL);
        const char *path = file_of(c, "foreign", foreign[i][0], strlen(foreign[i][0]));
        CHECK(!fv_weights_open(c, path) && fv_error(c) == FV_EFORMAT &&
                  strstr(fv_error_text(c), foreign[i][1]),
              "%s", fv_error_text(c));
        fv_destroy(c);
    }
}

static void what_is_written_is_read(void) {
    fv_ctx *c = fv_create(NULL);
    float a[6] = {1, -2, 3.5f, 0, 1e-30f, 7}, back[6] = {0};
    int64_t dim[2] = {2, 3}, empty[2] = {0, 4}, l[1] = {42};
    fv_save_entry e[4] = {{"a", FV_D_F32, 2, dim, a},
                          {"empty", FV_D_F32, 2, empty, a},
                          {"scalar", FV_D_I64, 0, dim, l},
                          {"a \"quoted\" name", FV_D_U8, 1, dim, a}};
    const char *meta[] = {"format", "pt", "note", "two\nlines", NULL};
    char path[512];
    snprintf(path, sizeof path, "%s/good.safetensors", folder);
    CHECK(fv_safetensors_write(c, path, e, 4, meta), "%s", fv_error_text(c));
    fv_weights *w = fv_weights_open(c, path);
    const fv_entry *x = fv_weights_find(w, "a"), *s = fv_weights_find(w, "scalar");
    CHECK(w && x && fv_entry_read(c, w, x, FV_F32, back) && !memcmp(a, back, sizeof a), "%s",
          fv_error_text(c));
    CHECK(s && s->rank == 0 && s->count == 1 && fv_weights_find(w, "a \"quoted\" name") &&
              !fv_weights_find(w, "b"),
          "names");
    CHECK(!strcmp(fv_weights_meta_string(w, "note", ""), "two\nlines"), "metadata");
    fv_destroy(c);
}

/* every prefix, and every file with one bit flipped, is answered */
static void shake(const char *path, int must_fail_short) {
    fv_ctx *c = fv_create(NULL);
    fv_file f;
    static uint8_t copy[65536];
    CHECK(fv_file_open(c, path, &f), "%s", fv_error_text(c));
    size_t n = f.size < sizeof copy ? f.size : sizeof copy;
    memcpy(copy, f.data, n);
    size_t step = n / 300 + 1;
    for (size_t k = 0; k < n; k += step) {
        fv_ctx *d = fv_create(NULL);
        fv_weights *w = fv_weights_open(d, file_of(d, "prefix", copy, k));
        CHECK(!must_fail_short || (!w && fv_error(d) == FV_EFORMAT), "%zu bytes of %s", k, path);
        fv_destroy(d);
        d = fv_create(NULL);
        copy[k] ^= (uint8_t)(1 << (k % 8));
        w = fv_weights_open(d, file_of(d, "flipped", copy, n));
        CHECK(w || *fv_error_text(d), "a flipped bit at %zu", k);
        copy[k] ^= (uint8_t)(1 << (k % 8));
        fv_destroy(d);
    }
    fv_destroy(c);
}

static void shaken_files_are_answered(void) {
    char path[512];
    snprintf(path, sizeof path, "%s/good.safetensors", folder);
    shake(path, 1);
    shake("tests/golden/quants.gguf", 1);
}

/* tests/golden/quants.gguf and quants.safetensors (the same tensors dequantised) were made with gguf-py by
 * make_quants.py */
static void quantised_blocks_are_gguf_pys(void) {
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, "tests/golden/quants.gguf"),
               *g = fv_weights_open(c, "tests/golden/quants.safetensors");
    CHECK(w && g && fv_weights_count(w) >= 10, "%s", fv_error_text(c));
    for (int i = 0; i < fv_weights_count(w); i++) {
        const fv_entry *e = fv_weights_at(w, i), *want = fv_weights_find(g, e->name);
        static float a[4096], b[4096];
        CHECK(want && e->count == want->count && e->count <= 4096 && e->rank == want->rank &&
                  e->dim[0] == want->dim[0],
              "%s", e->name);
        if (!want || !fv_entry_read(c, w, e, FV_F32, a) || !fv_entry_read(c, g, want, FV_F32, b)) continue;
        double worst = 0, scale = 0;
        for (int64_t k = 0; k < e->count; k++)
            worst = test_worse(worst, fabs((double)a[k] - (double)b[k])),
            scale = FV__MAX(scale, fabs((double)b[k]));
        CHECK(worst <= 1e-6 * scale, "%s (%s): %g of %g", e->name, fv_entry_dtype(e), worst, scale);
        static uint16_t half[4096]; /* the same as bf16 */
        int ok = fv_entry_read(c, w, e, FV_BF16, half);
        for (int64_t k = 0; ok && k < e->count; k++) ok = half[k] == fv__bf16_from(a[k]);
        CHECK(ok, "%s (%s) as bf16", e->name, fv_entry_dtype(e));
    }
    CHECK(!fv_error(c), "%s", fv_error_text(c));
    CHECK(fv_weights_meta_number(w, "test.number", 0) == 42 &&
              !strcmp(fv_weights_meta_string(w, "test.text", ""), "hello"),
          "metadata");
    fv_destroy(c);
}

static void refusing_costs_little_memory(void) {
    static char big[1 << 20];
    for (int way = 0; way < 3; way++) {
        fv_ctx *c = fv_create(NULL);
        size_t before = fv_memory(c).peak;
        for (size_t i = 0; i + 1 < sizeof big; i += 2)
            big[i] = way == 1 ? '[' : '0', big[i + 1] = way == 1 ? '[' : ',';
        big[0] = way == 2 ? 'x' : '[';
        fv_json_parse(c, big, sizeof big, "big"); /* ends in a comma: malformed at the last byte */
        CHECK(fv_error(c) == FV_EFORMAT, "way %d", way);
        CHECK(fv_memory(c).peak - before <= 4 * sizeof big + (1 << 20), "way %d: %zu bytes", way,
              fv_memory(c).peak - before);
        fv_destroy(c);
    }
}

static void sha256_is_the_standards(void) {
    static const uint8_t want[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                     0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                     0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t out[32], again[32];
    static uint8_t long_text[1000];
    fv_sha256("abc", 3, out);
    CHECK(!memcmp(out, want, 32), "abc");
    fv_sha s;
    fv_sha_start(&s);
    for (size_t i = 0; i < 1000; i += 50) fv_sha_add(&s, long_text + i, 50);
    fv_sha_end(&s, again);
    fv_sha256(long_text, 1000, out);
    CHECK(!memcmp(out, again, 32), "in pieces");
}

int main(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/fv-formats-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(json_refuses);
    RUN(json_reads);
    RUN(safetensors_refuses);
    RUN(foreign_files_are_named);
    RUN(what_is_written_is_read);
    RUN(quantised_blocks_are_gguf_pys);
    RUN(shaken_files_are_answered);
    RUN(refusing_costs_little_memory);
    RUN(sha256_is_the_standards);
    return REPORT();
}
