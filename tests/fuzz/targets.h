/* targets.h -- the readers that take a stranger's bytes, each with seeds to start from: libfuzzer.c explores
 * them (make fuzz), test_fuzz.c changes the seeds a few thousand times, always in the same way. */
#ifndef FV_FUZZ_TARGETS_H
#define FV_FUZZ_TARGETS_H
#include "data/argoverse.h"
#include "data/clips.h"
#include "data/clouds.h"
#include "data/npy.h"
#include "data/pictures.h"
#include "data/scenes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fuzz_folder[3000]; /* files are written here, for readers go by path */

static const char *fuzz_file(const char *name, const uint8_t *data, size_t n) {
    static char path[3300];
    snprintf(path, sizeof path, "%s/%ld-%s", fuzz_folder, (long)getpid(), name);
    FILE *f = fopen(path, "wb");
    if (f) fwrite(data, 1, n, f), fclose(f);
    return path;
}
static void fuzz_must(int holds, const char *what) {
    if (!holds) fprintf(stderr, "fuzz: %s\n", what), abort();
}

/* ---- targets: each reads a file, uses what it got, and must leave a sentence where it got nothing ---- */
static void fuzz_walk(const fv_json *j, fv_jnode n, int depth) {
    fuzz_must(depth <= 33, "JSON deeper than it may be");
    fv_json_number(j, n, 0), fv_json_int(j, n, 0), fv_json_bool(j, n, 0);
    fuzz_must(strlen(fv_json_string(j, n, "")) < 1 << 20, "a string without an end");
    int count = 0;
    for (fv_jnode v = fv_json_first(j, n); v; v = fv_json_next(j, v), count++) {
        if (fv_json_type(j, n) == FV_JSON_OBJECT)
            fuzz_must(fv_json_get(j, n, fv_json_key(j, v)) == v, "a member is not found by its key");
        fuzz_walk(j, v, depth + 1);
    }
    fuzz_must(count == fv_json_count(j, n), "JSON's count");
}
static void fuzz_json(fv_ctx *c, const uint8_t *data, size_t n) {
    fv_json *j = fv_json_parse(c, (const char *)data, n, "fuzz");
    fuzz_must(fv_memory(c).peak <= 4 * n + (2 << 20), "more memory than four times the text");
    if (j) fuzz_walk(j, fv_json_root(j), 0);
    fv_json_free(c, j);
}

static void fuzz_weights(fv_ctx *c, const uint8_t *data, size_t n) {
    static float out[1 << 16];
    size_t before = fv_memory(c).peak;
    fv_weights *w = fv_weights_open(c, fuzz_file("weights", data, n));
    fuzz_must(fv_memory(c).peak - before <= 4 * n + (1 << 20), "more memory than four times the file");
    for (int i = 0; i < fv_weights_count(w); i++) {
        const fv_entry *e = fv_weights_at(w, i);
        fuzz_must(fv_weights_find(w, e->name) == e, "a tensor is not found by its name");
        if (e->count <= 1 << 16 && !fv_entry_read(c, w, e, FV_F32, out)) fv_clear_error(c);
    }
    fv_meta m;
    for (int i = 0; fv_weights_meta_at(w, i, &m); i++)
        fuzz_must(m.key && fv_weights_meta_string(w, m.key, "") && strlen(fv_entry_dtype(&(fv_entry){0})),
                  "metadata");
    fv_frozen_config g;
    memset(&g, 0, sizeof g);
    if (w && !fv_frozen_config_from_llm(c, &g, w)) fv_clear_error(c);
    fv_weights_close(c, w);
}

static void fuzz_tokenizer(fv_ctx *c, const uint8_t *data, size_t n) {
    static const char text[] = "Hello, world! 1234 \xc3\xa9\xf0\x9f\x98\x80 \xff end\n\n  ";
    int32_t ids[256];
    char back[512];
    fv_weights *w = fv_weights_open(c, fuzz_file("words.gguf", data, n));
    fv_tokenizer *t = fv_tokenizer_create(c, w);
    fv_weights_close(c, w);
    if (!t) return;
    int64_t k = fv_tokenizer_encode(c, t, text, sizeof text - 1, ids, 256);
    for (int64_t i = 0; i < k && i < 256; i++)
        fuzz_must(ids[i] >= 0 && ids[i] < fv_tokenizer_size(t), "a token that is none");
    if (k > 0 && k <= 256) fv_tokenizer_decode(t, ids, k, back, sizeof back);
    fv_tokenizer_destroy(c, t);
}

static void fuzz_picture(fv_ctx *c, const uint8_t *data, size_t n) {
    uint8_t out[16 * 16 * 3];
    picture_fit(c, fuzz_file("picture.png", data, n), 16, 1, 3, out);
}

static void fuzz_npz(fv_ctx *c, const uint8_t *data, size_t n) {
    npy a;
    npz z;
    if (npy_parse(c, "fuzz", data, n, &a)) {
        for (int64_t i = 0; i < a.count && i < 4096; i++) npy_value(&a, i);
        if (a.count) npy_value(&a, a.count - 1);
        npy_free(c, &a);
    }
    fv_clear_error(c);
    if (!npz_open(c, fuzz_file("a.npz", data, n), &z)) return;
    if (npz_get(c, &z, "a", &a)) {
        if (a.count) npy_value(&a, a.count - 1);
        npy_free(c, &a);
    }
    npz_close(c, &z);
}

static void fuzz_csv(fv_ctx *c, const uint8_t *data, size_t n) {
    traffic t;
    lane_map m;
    const char *path = fuzz_file("scene.csv", data, n);
    if (traffic_read(c, path, &t)) traffic_free(c, &t);
    fv_clear_error(c);
    if (lanes_read(c, path, &m)) lanes_free(c, &m);
}

static void fuzz_mesh(fv_ctx *c, const uint8_t *data, size_t n) {
    static const char *const name[] = {"m.off", "m.ply", "m.xyz"};
    mesh m;
    float out[3 * 8];
    for (int i = 0; i < 3; i++) {
        fv_rng r = {1, 2, 0};
        if (mesh_read(c, fuzz_file(name[i], data, n), &m)) {
            mesh_sample(c, &m, &r, 8, out);
            mesh_free(c, &m);
        }
        fv_clear_error(c);
    }
}

static void fuzz_clip(fv_ctx *c, const uint8_t *data, size_t n) {
    clip v;
    if (!clip_open(c, fuzz_file("c.y4m", data, n), &v)) return;
    uint8_t *rgb = (uint8_t *)fv_alloc(c, (size_t)v.width * (size_t)v.height * 3);
    if (rgb && v.frames) clip_frame(c, &v, 0, rgb), clip_frame(c, &v, v.frames - 1, rgb);
    fv_free(c, rgb);
    clip_close(c, &v);
}

static void fuzz_scene(fv_ctx *c, const uint8_t *data, size_t n) {
    scene s;
    char path[3300];
    snprintf(path, sizeof path, "%s", fuzz_file("s.json", data, n));
    path[strlen(path) - 5] = 0;
    scene_read(c, path, &s);
}

static const struct {
    const char *name;
    void (*run)(fv_ctx *c, const uint8_t *data, size_t n);
} fuzz_targets[] = {{"json", fuzz_json},       {"safetensors", fuzz_weights},
                    {"gguf", fuzz_weights},    {"tokenizer", fuzz_tokenizer},
                    {"picture", fuzz_picture}, {"npz", fuzz_npz},
                    {"csv", fuzz_csv},         {"mesh", fuzz_mesh},
                    {"clip", fuzz_clip},       {"scene", fuzz_scene}};
enum { FUZZ_TARGETS = sizeof fuzz_targets / sizeof *fuzz_targets };

static void fuzz_run(int target, const uint8_t *data, size_t n) {
    fv_desc d;
    memset(&d, 0, sizeof d);
    d.threads = 1, d.isa = FV_ISA_SCALAR, d.memory_limit = (size_t)64 << 20;
    fv_ctx *c = fv_create(&d);
    fuzz_targets[target].run(c, data, n);
    fuzz_must(!fv_error(c) == !*fv_error_text(c) && !strchr(fv_error_text(c), '\n'),
              "an error without a sentence");
    fv_destroy(c);
}

/* ---- seeds: small good files ---- */
typedef struct fuzz_seed {
    uint8_t data[16384];
    size_t n;
} fuzz_seed;
static void seed_put(fuzz_seed *s, const void *p, size_t n) {
    fuzz_must(s->n + n <= sizeof s->data, "a seed is too long");
    memcpy(s->data + s->n, p, n);
    s->n += n;
}
static void seed_text(fuzz_seed *s, const char *t) { seed_put(s, t, strlen(t)); }
static void seed_number(fuzz_seed *s, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++, v >>= 8) {
        uint8_t b = (uint8_t)v;
        seed_put(s, &b, 1);
    }
}
static void seed_string(fuzz_seed *s, const char *t) { seed_number(s, strlen(t), 8), seed_text(s, t); }
static void seed_load(fuzz_seed *s, const char *path) {
    FILE *f = fopen(path, "rb");
    if (f) s->n = fread(s->data, 1, sizeof s->data, f), fclose(f);
}

/* one block of a LLaMA of 2 numbers, its settings, a tokenizer of a few words */
static void seed_gguf(fuzz_seed *s, int words) {
    static const char *const token[] = {"H", "e", "l", "o", "He", "\xc4\xa0", "1", "w"};
    seed_text(s, "GGUF"), seed_number(s, 3, 4), seed_number(s, 1, 8), seed_number(s, words ? 4 : 2, 8);
    seed_string(s, "general.architecture"), seed_number(s, 8, 4), seed_string(s, "llama");
    seed_string(s, "llama.embedding_length"), seed_number(s, 4, 4), seed_number(s, 2, 4);
    if (words) {
        seed_string(s, "tokenizer.ggml.tokens"), seed_number(s, 9, 4), seed_number(s, 8, 4),
            seed_number(s, 8, 8);
        for (int i = 0; i < 8; i++) seed_string(s, token[i]);
        seed_string(s, "tokenizer.ggml.merges"), seed_number(s, 9, 4), seed_number(s, 8, 4),
            seed_number(s, 1, 8), seed_string(s, "H e");
    }
    seed_string(s, "blk.0.ffn_down.weight"), seed_number(s, 2, 4), seed_number(s, 32, 8),
        seed_number(s, 2, 8), seed_number(s, 8, 4), seed_number(s, 0, 8);
    while (s->n % 32) seed_number(s, 0, 1);
    for (int i = 0; i < 68; i++) seed_number(s, (uint64_t)i, 1);
}

static void seed_safetensors(fuzz_seed *s) {
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},\"layers.0.mlp.down_proj.weight\":{"
                                 "\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                                 "\"\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[12,14]},"
                                 "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[14,14]}}  ";
    seed_number(s, sizeof header - 1, 8), seed_text(s, header);
    for (int i = 0; i < 14; i++) seed_number(s, (uint64_t)i, 1);
}

static void seed_npy(fuzz_seed *s) {
    char head[119];
    snprintf(head, sizeof head, "%-117s\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
    seed_put(s, "\x93NUMPY\1\0", 8), seed_number(s, 118, 2), seed_text(s, head);
    for (int i = 0; i < 6; i++) seed_number(s, 0x3f800000, 4);
}
static void seed_npz(fuzz_seed *s) { /* through the writer, with an array of bytes */
    char path[3300];
    uint8_t data[6] = {1, 2, 3, 4, 5, 6};
    int64_t dim[2] = {2, 3};
    npz_out z;
    fv_ctx *c = fv_create(NULL);
    memset(&z, 0, sizeof z);
    snprintf(path, sizeof path, "%s/seed.npz", fuzz_folder);
    npz_put(c, &z, "a", data, 2, dim), npz_save(c, &z, path);
    fv_destroy(c);
    seed_load(s, path);
    remove(path);
}

static void seed_png(fuzz_seed *s) { /* 8x8 grey, stored; stb_image does not look at the checksums */
    seed_put(s,
             "\211PNG\r\n\032\n\0\0\0\015IHDR\0\0\0\010\0\0\0\010\010\0\0\0\0\0\0\0\0\0\0\0\123IDAT\170\001"
             "\001\110\0\267\377",
             48);
    for (int i = 0; i < 72; i++) seed_number(s, i % 9 ? 40u + (unsigned)i : 0, 1);
    for (int i = 0; i < 12; i++) seed_number(s, 0, 1);
    seed_put(s, "IEND\0\0\0\0", 8);
}

static void seed_csv(fuzz_seed *s, int lanes) {
    char line[128];
    seed_text(s, lanes ? "LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_TRAFFIC_CONTROL\n"
                       : "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME\n");
    for (int i = 0; i < 20; i++) {
        if (lanes)
            snprintf(line, sizeof line, "%d,%.1f,%.1f,%s,True,False\n", i / 10, 1.5 * i, -2.0 * i,
                     i < 10 ? "LEFT" : "NONE");
        else
            snprintf(line, sizeof line, "%.1f,a,AGENT,%.3f,%.3f,MIA\n%.1f,b,AV,1.0,2e0,MIA\n", 0.1 * i,
                     1.0 * i, 0.5 * i, 0.1 * i);
        seed_text(s, line);
    }
}

/* seed number i of a target; 0: there is none */
static int fuzz_seed_of(const char *target, int i, fuzz_seed *s) {
    s->n = 0;
    if (!strcmp(target, "json")) {
        static const char *const text[] = {
            "{\"a\":[1,-2.5e3,true,null,\"x\\u00e9\\ud83d\\ude00\"],\"b\":{\"c\":{}},\"d\":[]}",
            "[[[[]]],[0.5],\"\"]", " \"\\\"\\\\\" "};
        if (i < 3) seed_text(s, text[i]);
        return i < 3;
    }
    if (!strcmp(target, "safetensors") && i == 0) return seed_safetensors(s), 1;
    if (!strcmp(target, "gguf") && i < 2)
        return i ? seed_load(s, "tests/golden/quants.gguf") : seed_gguf(s, 0), 1;
    if (!strcmp(target, "tokenizer") && i == 0) return seed_gguf(s, 1), 1;
    if (!strcmp(target, "picture") && i == 0) return seed_png(s), 1;
    if (!strcmp(target, "npz") && i < 2) return i ? seed_npz(s) : seed_npy(s), 1;
    if (!strcmp(target, "csv") && i < 2) return seed_csv(s, i), 1;
    if (!strcmp(target, "mesh") && i < 3) {
        static const char *const text[] = {
            "OFF\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n4 0 1 2 3\n", "0 0 0\n1 2 3 4\n-1e2,5;6\n",
            "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float "
            "z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 "
            "1 2\n"};
        return seed_text(s, text[i]), 1;
    }
    if (!strcmp(target, "clip") && i == 0) {
        seed_text(s, "YUV4MPEG2 W4 H2 F25:1 C420jpeg\nFRAME\n");
        for (int k = 0; k < 12; k++) seed_number(s, 100u + (unsigned)k, 1);
        return 1;
    }
    if (!strcmp(target, "scene") && i == 0)
        return seed_text(s, "{\"objects\":[{\"label\":\"chair\",\"center\":[0,1,2],\"size\":[1,1,1],"
                            "\"color\":[0.5,0,1]}]}"),
               1;
    return 0;
}
#endif
