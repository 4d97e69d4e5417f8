/* Files made to break a reader: over 40 malformed GGUF files, indexes that lead out of their folder, good
 * files that look like others, and files whose reading could cost much. What SPEC 4 promises: a refusal is
 * one sentence, costs at most four times the file plus 1 MiB of memory, and at most a second (five here,
 * since a test machine may be busy). no sanitizers: they are slow here, and tests/fuzz runs the same readers
 * under them. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static char folder[256];

/* ---- bytes put one after another ---- */
typedef struct bytes {
    uint8_t *p;
    size_t n, room;
} bytes;
static void put(bytes *b, const void *data, size_t n) {
    if (b->n + n > b->room) b->p = (uint8_t *)realloc(b->p, b->room = 2 * b->room + n + 4096);
    memcpy(b->p + b->n, data, n);
    b->n += n;
}
static void put_number(bytes *b, uint64_t v, int size) {
    uint8_t le[8];
    for (int i = 0; i < 8; i++) le[i] = (uint8_t)(v >> (8 * i));
    put(b, le, (size_t)size);
}
static void put_text(bytes *b, const char *s) { put(b, s, strlen(s)); }
static void put_string(bytes *b, const char *s, size_t n) { /* GGUF's */
    put_number(b, n, 8);
    put(b, s, n);
}
static const char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}
static const char *save(const char *name, const bytes *b) {
    FILE *f = fopen(path_of(name), "wb");
    if (!f || fwrite(b->p, 1, b->n, f) != b->n || fclose(f)) printf("cannot write %s\n", path_of(name));
    return path_of(name);
}

/* ---- malformed GGUF ---- */
/* clang-format off: a line each */
#define FAULTS(X)                                 \
    X(NONE, "")                                   \
    X(MAGIC, "not safetensors")                   \
    X(VERSION_0, "version")                       \
    X(VERSION_1, "version")                       \
    X(VERSION_4, "version")                       \
    X(BIG_ENDIAN_FILE, "big-endian")              \
    X(MANY_TENSORS, "more tensors")               \
    X(MANY_KEYS, "more tensors")                  \
    X(ONE_TENSOR_MORE, "byte")                    \
    X(ONE_KEY_MORE, "")                           \
    X(KEY_LONG, "longer than")                    \
    X(KEY_HUGE, "longer than")                    \
    X(KEY_NUL, "NUL")                             \
    X(KEY_EMPTY, "empty key")                     \
    X(KEY_TWICE, "comes twice")                   \
    X(TYPE_13, "unknown type")                    \
    X(TYPE_HUGE, "unknown type")                  \
    X(BOOL_2, "bool")                             \
    X(STRING_LONG, "longer than")                 \
    X(STRING_NUL, "NUL")                          \
    X(ARRAY_NESTED, "nested")                     \
    X(ARRAY_TYPE, "unknown type")                 \
    X(ARRAY_LONG, "longer than")                  \
    X(ARRAY_OVERFLOW, "longer than")              \
    X(ARRAY_STRINGS_LONG, "longer than")          \
    X(ARRAY_STRING_LONG, "longer")                \
    X(ALIGN_0, "alignment")                       \
    X(ALIGN_3, "alignment")                       \
    X(ALIGN_4, "alignment")                       \
    X(ALIGN_HUGE, "alignment")                    \
    X(ALIGN_TEXT, "alignment")                    \
    X(NAME_LONG, "longer than")                   \
    X(NAME_NUL, "NUL")                            \
    X(NAME_EMPTY, "empty name")                   \
    X(NAME_TWICE, "comes twice")                  \
    X(RANK_5, "dimensions")                       \
    X(RANK_HUGE, "dimensions")                    \
    X(DIM_NEGATIVE, "overflow")                   \
    X(DIM_OVERFLOW, "overflow")                   \
    X(DIM_OVERFLOW_ZERO, "overflow")              \
    X(ROW_BROKEN, "whole number of blocks")       \
    X(SCALAR_QUANTISED, "whole number of blocks") \
    X(OFFSET_MISALIGNED, "not aligned")           \
    X(OFFSET_BEYOND, "outside")                   \
    X(OFFSET_HUGE, "outside")                     \
    X(OVERLAP, "overlaps")                        \
    X(SAME_PLACE, "overlaps")                     \
    X(DATA_SHORT, "outside")                      \
    X(HEADER_ONLY, "cut short")                   \
    X(NO_DATA, "outside")
/* clang-format on */
typedef enum fault {
#define FAULT_ENUM(name, says) name,
    FAULTS(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_COUNT
} fault;
static const struct {
    const char *name, *says;
} faults[] = {
#define FAULT_ROW(name, says) {#name, says},
    FAULTS(FAULT_ROW)
#undef FAULT_ROW
};

/* A GGUF file of 5 keys and 2 tensors, with one fault. */
static void gguf(bytes *b, int f) {
    b->n = 0;
    put(b, f == MAGIC ? "GGUE" : "GGUF", 4);
    put_number(b,
               f == VERSION_0         ? 0
               : f == VERSION_1       ? 1
               : f == VERSION_4       ? 4
               : f == BIG_ENDIAN_FILE ? 0x03000000
                                      : 3,
               4);
    if (f == HEADER_ONLY) return;
    put_number(b, f == MANY_TENSORS ? (uint64_t)1 << 60 : f == ONE_TENSOR_MORE ? 3 : 2, 8);
    put_number(b, f == MANY_KEYS ? UINT64_MAX : f == ONE_KEY_MORE ? 6 : 5, 8);
    if (f == KEY_HUGE || f == KEY_LONG)
        put_number(b, f == KEY_HUGE ? UINT64_MAX - 7 : 5000, 8), put_text(b, "general.name");
    else if (f == KEY_NUL) put_string(b, "gen\0ral.name", 12);
    else put_string(b, "general.name", f == KEY_EMPTY ? 0 : 12);
    put_number(b, f == TYPE_13 ? 13 : f == TYPE_HUGE ? 0xffffffff : 8, 4);
    if (f == STRING_LONG) put_number(b, 4000, 8), put_text(b, "name");
    else put_string(b, f == STRING_NUL ? "na\0e" : "name", 4);
    put_string(b, f == KEY_TWICE ? "general.name" : "general.flag", 12);
    put_number(b, 7, 4), put_number(b, f == BOOL_2 ? 2 : 1, 1);
    put_string(b, "general.alignment", 17);
    put_number(b, f == ALIGN_TEXT ? 8 : 4, 4);
    if (f == ALIGN_TEXT) put_string(b, "32", 2);
    else
        put_number(b,
                   f == ALIGN_0      ? 0
                   : f == ALIGN_3    ? 48
                   : f == ALIGN_4    ? 4
                   : f == ALIGN_HUGE ? 0x80000000
                                     : 32,
                   4);
    put_string(b, "a.numbers", 9);
    put_number(b, 9, 4), put_number(b, f == ARRAY_NESTED ? 9 : f == ARRAY_TYPE ? 13 : 4, 4);
    put_number(b, f == ARRAY_LONG ? 1000 : f == ARRAY_OVERFLOW ? ((uint64_t)1 << 62) + 3 : 3, 8);
    for (int i = 0; i < 3; i++) put_number(b, (uint64_t)i, 4);
    put_string(b, "a.words", 7);
    put_number(b, 9, 4), put_number(b, 8, 4),
        put_number(b, f == ARRAY_STRINGS_LONG ? (uint64_t)1 << 40 : 2, 8);
    put_string(b, "one", 3);
    if (f == ARRAY_STRING_LONG) put_number(b, (uint64_t)1 << 63, 8), put_text(b, "two");
    else put_string(b, "two", 3);
    for (int i = 0; i < 2; i++) { /* "a" f32 [4,2] at 0, 32 bytes; "b" Q8_0 [32] at 32, 34 bytes */
        uint64_t at = i ? 32 : 0;
        if (i && f == NAME_LONG) put_number(b, 10000, 8), put_text(b, "b");
        else if (i && f == NAME_NUL) put_string(b, "\0", 1);
        else put_string(b, i && f != NAME_TWICE ? "b" : "a", i && f == NAME_EMPTY ? 0 : 1);
        put_number(b,
                   f == RANK_5                  ? 5
                   : f == RANK_HUGE             ? 0xfffffff0
                   : i && f == SCALAR_QUANTISED ? 0
                   : i                          ? 1
                                                : 2,
                   4);
        if (!i)
            put_number(b,
                       f == DIM_NEGATIVE                             ? UINT64_MAX
                       : f == DIM_OVERFLOW || f == DIM_OVERFLOW_ZERO ? (uint64_t)1 << 62
                                                                     : 2,
                       8);
        if (!i) put_number(b, f == DIM_OVERFLOW ? 16 : f == DIM_OVERFLOW_ZERO ? 0 : 4, 8);
        if (i && f != SCALAR_QUANTISED) put_number(b, f == ROW_BROKEN ? 33 : 32, 8);
        put_number(b, i ? 8 : 0, 4);
        if (i && f == OFFSET_MISALIGNED) at = 40;
        if (i && f == OFFSET_BEYOND) at = 4096;
        if (i && f == OFFSET_HUGE) at = UINT64_MAX - 31;
        if ((i && f == SAME_PLACE) || (i && f == OVERLAP)) at = 0;
        if (!i && f == OVERLAP) at = 32;
        put_number(b, at, 8);
    }
    while (b->n % 32) put_number(b, 0, 1);
    for (int i = 0; i < 66 && f != NO_DATA; i++) put_number(b, 0, 1);

    if (f == DATA_SHORT) b->n--;
}

static void malformed_gguf_is_refused(void) {
    bytes b = {0};
    for (int f = 0; f < FAULT_COUNT; f++) {
        fv_ctx *c = fv_create(NULL);
        gguf(&b, f);
        /* 0 beside two dims whose product overflows: three dims, built by hand */
        if (f == DIM_OVERFLOW_ZERO) {
            b.n = 0, put_text(&b, "GGUF"), put_number(&b, 3, 4), put_number(&b, 1, 8), put_number(&b, 0, 8),
            put_string(&b, "a", 1);
            put_number(&b, 3, 4), put_number(&b, 0, 8), put_number(&b, (uint64_t)1 << 40, 8),
                put_number(&b, (uint64_t)1 << 40, 8);
            put_number(&b, 0, 4), put_number(&b, 0, 8);
        }
        fv_weights *w = fv_weights_open(c, save("f.gguf", &b));
        const char *says = fv_error_text(c);
        if (f == NONE)
            CHECK(w && fv_weights_count(w) == 2 && fv_weights_meta_count(w) == 5 &&
                      fv_weights_meta_number(w, "general.flag", 0) == 1,
                  "%s", says);
        else
            CHECK(!w && fv_error(c) == FV_EFORMAT && strstr(says, faults[f].says) && strstr(says, "f.gguf") &&
                      !strchr(says, '\n'),
                  "%s: %s", faults[f].name, says);
        fv_destroy(c);
    }
    gguf(&b, NONE); /* cut at every byte */
    for (size_t n = 0; n < b.n; n++) {
        bytes cut = {b.p, n, 0};
        fv_ctx *c = fv_create(NULL);
        CHECK(!fv_weights_open(c, save("f.gguf", &cut)) && fv_error(c) == FV_EFORMAT, "%zu of %zu bytes", n,
              b.n);
        fv_destroy(c);
    }
    free(b.p);
}

/* ---- good files that look like others: a header's length is a safetensors file's first bytes ---- */
static void lengths_that_look_foreign_are_read(void) {
    static const int length[] = {0x0480, 0x0280, 0x213c /* <! */, 0x683c /* <h */, 0x7b22, 0x4b50 /* PK */};
    bytes b = {0};
    for (int i = 0; i < FV__COUNT(length); i++) {
        fv_ctx *c = fv_create(NULL);
        b.n = 0, put_number(&b, (uint64_t)length[i], 8),
        put_text(&b, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
        while (b.n < 8 + (size_t)length[i]) put_text(&b, " ");
        put_text(&b, "x");
        fv_weights *w = fv_weights_open(c, save("looks.safetensors", &b));
        CHECK(w && fv_weights_find(w, "a"), "a header of %d bytes: %s", length[i], fv_error_text(c));
        fv_destroy(c);
    }
    static const char *const page[] = {"\n  <html>", "\xef\xbb\xbf<!doctype html>", "<?xml version",
                                       "<HTML><BODY>"};
    for (int i = 0; i < FV__COUNT(page); i++) {
        fv_ctx *c = fv_create(NULL);
        b.n = 0, put_text(&b, page[i]);
        CHECK(!fv_weights_open(c, save("page", &b)) && strstr(fv_error_text(c), "HTML"), "%s: %s", page[i],
              fv_error_text(c));
        fv_destroy(c);
    }
    static const char *const whole[] = {"[1.0]", "[1e0]", "[-0]", "[true]", "[\"1\"]", "[9007199254740994]"};
    for (int i = 0; i < FV__COUNT(whole); i++) {
        char header[256];
        fv_ctx *c = fv_create(NULL);
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"U8\",\"shape\":%s,\"data_offsets\":[0,1]}}",
                 whole[i]);
        b.n = 0, put_number(&b, strlen(header), 8), put_text(&b, header), put_text(&b, "x");
        CHECK(!fv_weights_open(c, save("whole", &b)) && fv_error(c) == FV_EFORMAT, "%s", whole[i]);
        fv_destroy(c);
    }
    free(b.p);
}

/* ---- an index and its shards ---- */
static void shard(const char *name, const char *tensor) {
    bytes b = {0};
    char header[256];
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
             tensor);
    put_number(&b, strlen(header), 8), put_text(&b, header), put_text(&b, "x");
    save(name, &b);
    free(b.p);
}
/* index/model.safetensors.index.json with this weight_map */
static fv_status opens(const char *map, const char *says) {
    bytes b = {0};
    fv_ctx *c = fv_create(NULL);
    put_text(&b, "{\"metadata\":{\"total_size\":2},\"weight_map\":"), put_text(&b, map), put_text(&b, "}");
    save("index/model.safetensors.index.json", &b);
    fv_weights_open(c, path_of("index"));
    fv_status status = fv_error(c);
    CHECK(strstr(fv_error_text(c), says), "%s: %s", map, fv_error_text(c));
    fv_destroy(c);
    free(b.p);
    return status;
}
static void shards_stay_in_their_folder(void) {
    char target[512], absolute[700];
    mkdir(path_of("index"), 0777), mkdir(path_of("blobs"), 0777);
    shard("index/1.safetensors", "a"), shard("index/2.safetensors", "b"), shard("out.safetensors", "a"),
        shard("index/3.safetensors", "a");
    CHECK(opens("{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}", "") == FV_OK, "two shards");
    CHECK(opens("{\"a\":\"../out.safetensors\"}", "not a file name in this folder") == FV_EFORMAT, "..");
    snprintf(absolute, sizeof absolute, "{\"a\":\"%s\"}", path_of("out.safetensors"));
    CHECK(opens(absolute, "not a file name in this folder") == FV_EFORMAT, "absolute");
    CHECK(opens("{\"a\":\"..\"}", "not a file name") == FV_EFORMAT &&
              opens("{\"a\":\"\"}", "not a file name") == FV_EFORMAT,
          "a folder");
    CHECK(opens("{\"a\":7}", "not a file name") == FV_EFORMAT && opens("[]", "weight_map") == FV_EFORMAT,
          "kinds");
    CHECK(opens("{\"a\":\"none.safetensors\"}", "cannot be opened") == FV_EIO, "a shard that is not there");
    CHECK(opens("{\"c\":\"1.safetensors\"}", "no shard holds") == FV_EFORMAT, "a name that no shard has");
    CHECK(opens("{\"a\":\"1.safetensors\",\"c\":\"3.safetensors\"}", "comes twice") == FV_EFORMAT,
          "one name in two shards");
    snprintf(target, sizeof target, "%s", path_of("out.safetensors"));
    CHECK(!symlink(target, path_of("index/link.safetensors")), "a link");
    CHECK(opens("{\"a\":\"link.safetensors\"}", "leads out of this folder") == FV_EFORMAT,
          "a link out of the folder");
    CHECK(!symlink("1.safetensors", path_of("index/inner.safetensors")), "a link");
    CHECK(opens("{\"a\":\"inner.safetensors\"}", "") == FV_OK, "a link within the folder");
    /* as in the hub's cache: snapshots/x holds links alone, into blobs */
    bytes b = {0};
    mkdir(path_of("snapshot"), 0777);
    put_text(&b, "{\"weight_map\":{\"a\":\"s.safetensors\"}}"), save("blobs/1", &b);
    shard("blobs/2", "a");
    CHECK(!symlink("../blobs/1", path_of("snapshot/model.safetensors.index.json")) &&
              !symlink("../blobs/2", path_of("snapshot/s.safetensors")),
          "links");
    fv_ctx *c = fv_create(NULL);
    CHECK(fv_weights_open(c, path_of("snapshot")), "%s", fv_error_text(c));
    fv_destroy(c);
    free(b.p);
}

/* ---- what reading may cost ---- */
/* Opens b (as JSON or as weights); it must be accepted, or refused, within the memory and time that SPEC 4
 * gives. */
static void costs(const char *what, const bytes *b, int json, int accepted) {
    fv_ctx *c = fv_create(NULL);
    size_t before = fv_memory(c).peak;
    const char *path = save("costly", b);
    double start = fv_now();
    int ok = json ? fv_json_open(c, path) != NULL : fv_weights_open(c, path) != NULL;
    double seconds = fv_now() - start;
    size_t most = fv_memory(c).peak - before;
    CHECK(ok == accepted && (ok || fv_error(c) == FV_EFORMAT), "%s: %s", what, fv_error_text(c));
    CHECK(most <= 4 * b->n + (1 << 20), "%s: %zu bytes of memory for %zu", what, most, b->n);
    CHECK(seconds < 5, "%s: %.1f s", what, seconds);
    printf("  %s: %.1f MB, %.2f x memory, %.2f s\n", what, (double)b->n * 1e-6, (double)most / (double)b->n,
           seconds);
    fv_destroy(c);
}
static void keys(bytes *b, int n, const char *value,
                 int twice) { /* "0":value, ... in base 36; twice: the last is the first again */
    static const char digit[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < n; i++) {
        char name[16];
        int at = 15, v = twice && i == n - 1 ? 0 : i;
        name[at] = 0;
        do name[--at] = digit[v % 36];
        while (v /= 36);
        put_text(b, i ? ",\"" : "\""), put_text(b, name + at), put_text(b, "\":"), put_text(b, value);
    }
}
static void header(bytes *b) { /* the 8 bytes before a header that was put at 8 */
    uint64_t n = b->n - 8;
    for (int i = 0; i < 8; i++) b->p[i] = (uint8_t)(n >> (8 * i));
}

static void json_costs_little(void) {
    bytes b = {0};
    put_text(&b, "[0");
    while (b.n < 8000000) put_text(&b, ",0");
    costs("a list that does not end", &b, 1, 0);
    put_text(&b, "]"), costs("a list of 4 million numbers", &b, 1, 1);
    b.n = 0;
    while (b.n < 8000000) put_text(&b, "[");
    costs("8 million levels", &b, 1, 0);
    for (int twice = 0; twice < 2; twice++) {
        b.n = 0, put_text(&b, "{"), keys(&b, 1000000, "0", twice), put_text(&b, "}");
        costs(twice ? "a million keys, the last one twice" : "a million keys", &b, 1, !twice);
    }
    b.n = 0, put_text(&b, "{\"\":0");
    while (b.n < 8000000) put_text(&b, ",\"\":0");
    put_text(&b, "}"), costs("a million empty keys", &b, 1, 0);
    b.n = 0, put_text(&b, "{"), keys(&b, 300000, "{\"a\":{\"a\":{\"b\":1,\"a\":1}}}", 0), put_text(&b, "}");
    costs("many small objects", &b, 1, 1);
    b.n = 0;
    put_text(&b, "[\"\\u0041");
    while (b.n < 8000000) put_text(&b, "\\ud83d\\ude00");
    put_text(&b, "\"]"), costs("a long string of escapes", &b, 1, 1);
    free(b.p);
}

static void safetensors_cost_little(void) {
    bytes b = {0};
    for (int twice = 0; twice < 2; twice++) {
        b.n = 0, put_text(&b, "8 bytes.{"),
        keys(&b, 200000, "{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", twice), put_text(&b, "}");
        header(&b), costs(twice ? "200,000 tensors, one name twice" : "200,000 tensors", &b, 0, !twice);
        b.n = 0, put_text(&b, "8 bytes.{\"__metadata__\":{"), keys(&b, 1000000, "\"\"", twice),
        put_text(&b, "}}");
        header(&b), costs(twice ? "a million keys of metadata, one twice" : "a million keys of metadata", &b,
                          0, !twice);
    }
    free(b.p);
}

static void gguf_costs_little(void) {
    bytes b = {0};
    char name[16];
    for (int twice = 0; twice < 2; twice++) {
        const int n = 300000;
        b.n = 0, put_text(&b, "GGUF"), put_number(&b, 3, 4), put_number(&b, n, 8), put_number(&b, 0, 8);
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "%x", twice && i == n - 1 ? 0 : i);
            put_string(&b, name, strlen(name)), put_number(&b, 1, 4), put_number(&b, 0, 8),
                put_number(&b, 0, 4), put_number(&b, 0, 8);
        }
        while (b.n % 32) put_number(&b, 0, 1);
        costs(twice ? "300,000 tensors of GGUF, one name twice" : "300,000 tensors of GGUF", &b, 0, !twice);
        b.n = 0, put_text(&b, "GGUF"), put_number(&b, 3, 4), put_number(&b, 0, 8), put_number(&b, n, 8);
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "%x", twice && i == n - 1 ? 0 : i);
            put_string(&b, name, strlen(name)), put_number(&b, 0, 4), put_number(&b, 0, 1);
        }
        costs(twice ? "300,000 keys of GGUF, one twice" : "300,000 keys of GGUF", &b, 0, !twice);
    }
    b.n = 0, put_text(&b, "GGUF"), put_number(&b, 3, 4), put_number(&b, 1000000, 8), put_number(&b, 0, 8);
    for (int i = 0; i < 1000000; i++) {
        snprintf(name, sizeof name, "%x", i);
        put_string(&b, name, strlen(name)), put_number(&b, 0, 4), put_number(&b, 99, 4), put_number(&b, 0, 8);
    }
    costs("a million tensors of GGUF without a dimension, of an unknown type", &b, 0, 0);
    b.n = 0, put_text(&b, "GGUF"), put_number(&b, 3, 4), put_number(&b, 0, 8), put_number(&b, 1, 8),
    put_string(&b, "k", 1);
    put_number(&b, 9, 4), put_number(&b, 8, 4), put_number(&b, 1000000, 8);
    for (int i = 0; i < 1000000; i++) put_string(&b, "", 0);
    costs("a million empty strings", &b, 0, 1);
    free(b.p);
}

/* the room for keys and names is theirs, not the file's: a tensor of 256 MB (a hole in the file) costs
 * nothing */
static void a_large_tensor_costs_nothing(void) {
    bytes b = {0};
    put_text(&b, "GGUF"), put_number(&b, 3, 4), put_number(&b, 1, 8), put_number(&b, 0, 8),
        put_string(&b, "a", 1);
    put_number(&b, 1, 4), put_number(&b, 1 << 26, 8), put_number(&b, 0, 4), put_number(&b, 0, 8);
    while (b.n % 32) put_number(&b, 0, 1);
    const char *path = save("large.gguf", &b);
    CHECK(!truncate(path, (off_t)b.n + (1 << 28)), "a sparse file");
    fv_ctx *c = fv_create(NULL);
    size_t before = fv_memory(c).peak;
    CHECK(fv_weights_open(c, path), "%s", fv_error_text(c));
    CHECK(fv_memory(c).peak - before < 1 << 16, "%zu bytes", fv_memory(c).peak - before);
    fv_destroy(c);
    unlink(path);
    free(b.p);
}

/* names that were chosen to have one hash: still n log n */
static void names_of_one_hash_are_told_apart(void) {
    enum { N = 100000 };
    static char text[N * 8];
    fv__hashed *a = (fv__hashed *)calloc(N, sizeof *a);
    fv__names names = {text, 0};
    for (int twice = 0; twice < 2; twice++) {
        for (int i = 0; i < N; i++) {
            snprintf(text + 8 * i, 8, "%d", twice && i == N - 1 ? 4711 : i);
            a[i].hash = 42, a[i].at = (uint64_t)(8 * i);
        }
        double start = fv_now();
        const char *twin = fv__twin(a, N, &names);
        CHECK(twice ? twin && !strcmp(twin, "4711") : !twin, "%s", twin ? twin : "none");
        CHECK(fv_now() - start < 5, "%.1f s", fv_now() - start);
    }
    free(a);
}

int main(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/fv-hostile-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(malformed_gguf_is_refused);
    RUN(lengths_that_look_foreign_are_read);
    RUN(shards_stay_in_their_folder);
    RUN(json_costs_little);
    RUN(safetensors_cost_little);
    RUN(gguf_costs_little);
    RUN(a_large_tensor_costs_nothing);
    RUN(names_of_one_hash_are_told_apart);
    return REPORT();
}
