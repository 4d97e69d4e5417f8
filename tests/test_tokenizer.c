/* >>tokenizer against the reference tokenizer's ids (tests/golden/tokens_smollm2.jsonl) and against merging
 * the plain way. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static fv_tokenizer *open_smollm2(fv_ctx *c) {
    char path[1024];
    const char *cache = getenv("FROZENVIS_CACHE"), *home = getenv("HOME");
    snprintf(path, sizeof path, "%s%s/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache/frozenvis");
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fclose(f);
    fv_weights *w = fv_weights_open(c, path);
    fv_tokenizer *t = fv_tokenizer_create(c, w);
    CHECK(t, "%s", fv_error_text(c));
    fv_weights_close(c, w);
    return t;
}

static void reference(void) {
    fv_ctx *c = fv_create(NULL);
    fv_tokenizer *t = open_smollm2(c);
    fv_file f;
    if (!t) {
        fv_destroy(c);
        SKIP("the SmolLM2 file is not in the cache; tools/fetch.sh gets it");
    }
    CHECK(fv_file_open(c, "tests/golden/tokens_smollm2.jsonl", &f), "%s", fv_error_text(c));
    int lines = 0;
    for (const char *p = (const char *)f.data, *end = p + f.size, *eol;
         p < end && (eol = (const char *)memchr(p, '\n', (size_t)(end - p))); p = eol + 1, lines++) {
        int32_t ids[4096];
        char back[16384];
        fv_json *j = fv_json_parse(c, p, (size_t)(eol - p), "line");
        fv_jnode wanted = fv_json_get(j, fv_json_root(j), "ids");
        const char *text = fv_json_string(j, fv_json_get(j, fv_json_root(j), "text"), "");
        int64_t n = fv_tokenizer_encode(c, t, text, strlen(text), ids, 4096);
        int same = n == fv_json_count(j, wanted);
        for (int i = 0; same && i < n; i++)
            same = ids[i] == (int)fv_json_number(j, fv_json_at(j, wanted, i), -1);
        CHECK(same, "line %d differs: %.60s", lines + 1, text);
        int64_t size = fv_tokenizer_decode(t, ids, n, back, sizeof back);
        CHECK(size == (int64_t)strlen(text) && !memcmp(back, text, (size_t)size),
              "line %d does not come back", lines + 1);
        fv_json_free(c, j);
    }
    CHECK(lines >= 250, "%d lines", lines);
    fv_destroy(c);
}

/* ---- a vocabulary made here: letters a..f, space, and merges of them ---- */
static void put_bytes(char *to, size_t *n, const void *from, size_t size) {
    memcpy(to + *n, from, size), *n += size;
}
static void put_number(char *to, size_t *n, uint64_t v, size_t size) { put_bytes(to, n, &v, size); }
static void put_string(char *to, size_t *n, const char *s) {
    put_number(to, n, strlen(s), 8), put_bytes(to, n, s, strlen(s));
}

/* the last is how a space is written */
static const char *const letters[] = {"a", "b", "c", "d", "e", "\xc4\xa0"};
static const char *const pairs[] = {"a b",
                                    "ab c",
                                    "b c",
                                    "\xc4\xa0 a",
                                    "e e",
                                    "ee ee",
                                    "d e",
                                    "\xc4\xa0"
                                    "a b",
                                    "c d",
                                    "cd e",
                                    "a a",
                                    "aa a"};
enum { LETTERS = 6, PAIRS = 12 };

static size_t make_gguf(char *to, const char *const *merges, int count) {
    size_t n = 0;
    put_bytes(to, &n, "GGUF", 4), put_number(to, &n, 3, 4), put_number(to, &n, 0, 8),
        put_number(to, &n, 2, 8);
    put_string(to, &n, "tokenizer.ggml.tokens"), put_number(to, &n, 9, 4), put_number(to, &n, 8, 4),
        put_number(to, &n, (uint64_t)(LETTERS + PAIRS), 8);
    for (int i = 0; i < LETTERS; i++) put_string(to, &n, letters[i]);
    for (int i = 0; i < PAIRS; i++) {
        char joined[32];
        const char *space = strchr(pairs[i], ' ');
        snprintf(joined, sizeof joined, "%.*s%s", (int)(space - pairs[i]), pairs[i], space + 1);
        put_string(to, &n, joined);
    }
    put_string(to, &n, "tokenizer.ggml.merges"), put_number(to, &n, 9, 4), put_number(to, &n, 8, 4),
        put_number(to, &n, (uint64_t)count, 8);
    for (int i = 0; i < count; i++) put_string(to, &n, merges[i]);
    return n;
}
static fv_weights *write_and_open(fv_ctx *c, const char *data, size_t n) {
    const char *path = "build/tests/tokenizer.gguf";
    CHECK(fv_write_file(c, path, data, n), "%s", fv_error_text(c));
    return fv_weights_open(c, path);
}

/* the plain way: look for the pair of the lowest rank, the first of those, again and again */
static int merge_plainly(const fv_tokenizer *t, int32_t *id, int n) {
    for (;;) {
        int at = -1;
        int32_t best = 1 << 30, into = 0, one;
        for (int i = 0; i + 1 < n; i++) {
            int32_t rank = fv__merge_find(t, id[i], id[i + 1], &one);
            if (rank >= 0 && rank < best) best = rank, at = i, into = one;
        }
        if (at < 0) return n;
        id[at] = into;
        memmove(id + at + 1, id + at + 2, (size_t)(n - at - 2) * sizeof *id);
        n--;
    }
}
static void plain_merges(void) {
    char data[4096], text[200];
    int32_t ids[200], wanted[200];
    fv_rng g = {1, 2, 0};
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = write_and_open(c, data, make_gguf(data, pairs, PAIRS));
    fv_tokenizer *t = fv_tokenizer_create(c, w);
    CHECK(t && fv_tokenizer_size(t) == LETTERS + PAIRS, "%s", fv_error_text(c));
    for (int round = 0; t && round < 3000; round++) {
        int n = 1 + (int)fv_rng_below(&g, 60);
        for (int i = 0; i < n; i++)
            text[i] = "abcde"[fv_rng_below(&g, 5)], wanted[i] = t->byte_id[(uint8_t)text[i]];
        int plain = merge_plainly(t, wanted, n);
        int64_t got = fv_tokenizer_encode(c, t, text, (size_t)n, ids, 200);
        CHECK(got == plain && !memcmp(ids, wanted, (size_t)plain * sizeof *ids),
              "%.*s: %d tokens, plainly %d", n, text, (int)got, plain);
    }
    CHECK(fv_tokenizer_encode(c, t,
                              "zab\xff\xfe"
                              "c",
                              6, ids, 200) == 2,
          "what has no token is left out");
    CHECK(fv_tokenizer_encode(c, t, "", 0, NULL, 0) == 0, "nothing is no token");
    CHECK(fv_tokenizer_encode(c, t, "abcabc", 6, NULL, 0) == 2, "counting needs no room");
    ids[0] = 99;
    CHECK(fv_tokenizer_decode(t, ids, 1, text, 200) == -1, "an unknown id is refused");
    fv_destroy(c);
}

/* where words end: each digit by itself, a space (no other blank) with the word after it, 's and the like */
static void words(void) {
    static const struct {
        const char *text;
        int end;
    } is[] = {{"12", 1},    {" 1", 1},    {"  1", 2},         {"a1", 1},  {" ab c", 3}, {"  ab", 1},
              {"\tab", 1},  {"\nab", 1},  {"\302\240a", 2},   {" .a", 2}, {"...a", 3},  {"\342\200\257.", 3},
              {"'ll b", 3}, {"ab'll", 2}, {" \303\251a.", 4}, {"'x", 1},  {"  ", 2},    {"\377a", 1}};
    char data[4096];
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = write_and_open(c, data, make_gguf(data, pairs, PAIRS));
    fv_tokenizer *t = fv_tokenizer_create(c, w);
    CHECK(t, "%s", fv_error_text(c));
    for (size_t i = 0; t && i < sizeof is / sizeof *is; i++)
        CHECK((int)fv__word_end(t, is[i].text, strlen(is[i].text)) == is[i].end, "\"%s\" ends at %d, not %d",
              is[i].text, (int)fv__word_end(t, is[i].text, strlen(is[i].text)), is[i].end);
    fv_destroy(c);
}

static void refusals(void) {
    static const char *const nothing[] = {"ab"}, *const unknown[] = {"a x"}, *const empty[] = {""};
    const char *const *merges[] = {nothing, unknown, empty};
    char data[4096];
    for (int i = 0; i < 3; i++) {
        fv_ctx *c = fv_create(NULL);
        fv_weights *w = write_and_open(c, data, make_gguf(data, merges[i], 1));
        CHECK(w && !fv_tokenizer_create(c, w) && fv_error(c) == FV_EFORMAT &&
                  strstr(fv_error_text(c), "merges[0]"),
              "%d: \"%s\"", i, fv_error_text(c));
        fv_destroy(c);
    }
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, "tests/golden/block_opt.safetensors");
    CHECK(!fv_tokenizer_create(c, w) && fv_error(c) == FV_EUSAGE, "a file without a tokenizer: \"%s\"",
          fv_error_text(c));
    fv_destroy(c);
}

int main(void) {
    RUN(reference);
    RUN(plain_merges);
    RUN(words);
    RUN(refusals);
    return REPORT();
}
