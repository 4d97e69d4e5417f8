/* fv extract: chosen blocks of a large checkpoint, the final norm and the settings, in a small safetensors
 * file. Only their bytes are touched; names stay as they are. */
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The block's number in a tensor's name ("...layers.29.mlp...", "blk.29.ffn_up.weight"); -1 outside the
 * blocks. */
static int layer_of(const char *name) {
    const char *p = strstr(name, "layers.");
    if (p) return (p == name || p[-1] == '.') && p[7] >= '0' && p[7] <= '9' ? atoi(p + 7) : -1;
    return !strncmp(name, "blk.", 4) ? atoi(name + 4) : -1;
}

static int is_final_norm(const char *name) {
    static const char *const end[] = {"model.norm.weight", "norm.weight", "output_norm.weight",
                                      "final_layer_norm.weight", "final_layer_norm.bias"};
    if (layer_of(name) >= 0 || strstr(name, "vision")) return 0;
    for (size_t i = 0; i < sizeof end / sizeof *end; i++) {
        size_t n = strlen(name), m = strlen(end[i]);
        if (n >= m && !strcmp(name + n - m, end[i]) && (n == m || name[n - m - 1] == '.')) return 1;
    }
    return 0;
}

/* the name with another block's number in its place; how long what stands before the number is */
static int renumbered(const char *name, int block, char *out, size_t n) {
    const char *p = strstr(name, "layers.");
    int start = (int)((p ? p + 7 : name + 4) - name);
    snprintf(out, n, "%.*s%d%.200s", start, name, block, name + start + strspn(name + start, "0123456789"));
    return start;
}
/* Whether block n lacks the tensor `name` of another block of its model, which all others have. */
static int lacks(const fv_weights *w, const char *name, int n, char *missing, size_t size) {
    char other[512];
    int start = renumbered(name, n, missing, size), there = 0;
    if (fv_weights_find(w, missing)) return 0;
    for (int i = 0; i < fv_weights_count(w); i++) {
        const char *one = fv_weights_at(w, i)->name;
        int at = strncmp(one, name, (size_t)start) ? -1 : layer_of(one);
        there |= at == n; /* else it is another model's list of blocks: a vision tower's */
        if (at < 0 || at == n) continue;
        renumbered(name, at, other, sizeof other);
        if (!fv_weights_find(w, other)) return 0;
    }
    return there;
}
/* A block that lacks what all others of its model have is damaged: it could not be used. */
static int is_whole(fv_ctx *c, const fv_weights *w, int block) {
    char missing[512];
    for (int i = 0; i < fv_weights_count(w); i++) {
        const char *name = fv_weights_at(w, i)->name;
        if (layer_of(name) < 0 || layer_of(name) == block) continue;
        if (lacks(w, name, block, missing, sizeof missing))
            return fv_fail(c, FV_EUSAGE, "%s: block %d is not whole: there is no %s", fv_weights_path(w),
                           block, missing);
    }
    return 1;
}

enum { MAX_LAYERS = 64 };
static int parse_layers(const char *s, int *layer) {
    int n = 0;
    while (n < MAX_LAYERS) {
        char *end;
        long v = strtol(s, &end, 10);
        if (end == s || v < 0 || v > 100000) return 0;
        layer[n++] = (int)v;
        if (!*end) return n;
        if (*end != ',') return 0;
        s = end + 1;
    }
    return 0;
}

/* the LLM's settings under HF's keys: its config.json as it is, or GGUF's metadata */
static void settings(fv_ctx *c, const fv_weights *w, fv_text *t) {
    static const char *const map[][2] = {{"hidden_size", "embedding_length"},
                                         {"intermediate_size", "feed_forward_length"},
                                         {"num_attention_heads", "attention.head_count"},
                                         {"num_key_value_heads", "attention.head_count_kv"},
                                         {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
                                         {"rope_theta", "rope.freq_base"},
                                         {"num_hidden_layers", "block_count"}};
    const char *given = fv_weights_meta_string(w, "config", NULL), *path = fv_weights_path(w),
               *slash = strrchr(path, '/');
    char key[128], beside[4096];
    if (given) fv_text_add(c, t, "%s", given);
    if (given) return;
    snprintf(beside, sizeof beside, "%.*sconfig.json", slash ? (int)(slash - path) + 1 : 0, path);
    fv_file f;
    if (!fv_weights_is_gguf(w) && access(beside, F_OK) == 0) {
        fv_json_free(c, fv_json_open(c, beside)); /* a file with broken settings could not be opened again */
        if (fv_error(c) || !fv_file_open(c, beside, &f)) return;
        fv_text_add(c, t, "%.*s", (int)f.size, (const char *)f.data);
        fv_file_close(c, &f);
        return;
    }
    const char *arch = fv_weights_meta_string(w, "general.architecture", "llama");
    fv_text_add(c, t, "{\"model_type\":");
    fv_text_json_string(c, t, arch);
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, map[i][1]);
        double v = fv_weights_meta_number(w, key, -1);
        if (v >= 0) fv_text_add(c, t, ",\"%s\":%.9g", map[i][0], v);
    }
    fv_text_add(c, t, "}");
}

/* copies what was chosen; quantised tensors become f32, others keep their dtype unless bf16 is asked for */
static void copy_out(fv_ctx *c, const fv_weights *w, const int *take, int count, int bf16, const char *out) {
    fv_save_entry *e = (fv_save_entry *)fv_alloc(c, (size_t)(count + 1) * sizeof *e);
    int n = 0;
    for (int i = 0; e && i < fv_weights_count(w) && !fv_error(c); i++) {
        const fv_entry *s = fv_weights_at(w, i);
        if (!take[i]) continue;
        int as_is = !bf16 && s->dtype && s->dtype < FV_D_Q4_0;
        fv_type type = bf16 ? FV_BF16 : FV_F32;
        void *data = as_is ? NULL : fv_alloc(c, (size_t)s->count * fv_type_size(type));
        if (!as_is && !(data && fv_entry_read(c, w, s, type, data))) return;
        e[n].name = s->name, e[n].dtype = as_is ? s->dtype : bf16 ? FV_D_BF16 : FV_D_F32;
        e[n].rank = s->rank, e[n].dim = s->dim, e[n++].data = as_is ? (const void *)s->data : data;
    }
    fv_text t = {0};
    settings(c, w, &t);
    const char *meta[] = {"format", "pt",     "config",
                          t.data,   "naming", fv_weights_is_gguf(w) ? "gguf" : "as in the source",
                          NULL};
    if (!fv_error(c)) fv_safetensors_write(c, out, e, n, meta);
    fv_text_free(c, &t);
}

int cmd_extract(int argc, char **argv) {
    cli_option options[] = {
        {"--layers", "29[,30]", "which blocks", NULL},
        {"--out", "FILE", "the safetensors file to write; must not exist", NULL},
        {"--dtype", "bf16", "store all as bf16 (else quantised tensors become f32, others stay)", NULL},
        {NULL, NULL, NULL, NULL}};
    cli a = {"fv extract FILE --layers N[,N...] --out OUT.safetensors",
             "Copies chosen blocks of a language model (safetensors, a sharded index, GGUF), its final norm "
             "and its\nsettings into a small file.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv), layer[MAX_LAYERS], found[MAX_LAYERS] = {0}, count = 0;
    if (status >= 0) return status;
    const char *out = cli_value(&a, "--out"), *dtype = cli_value(&a, "--dtype"),
               *list = cli_value(&a, "--layers");
    if (a.count != 1 || !out || !list)
        return cli_fail(2, "a file, --layers and --out are wanted; usage: %s", a.usage);
    int n = parse_layers(list, layer);
    if (!n) return cli_fail(2, "--layers %s: numbers separated by commas are wanted", list);
    if (dtype && strcmp(dtype, "bf16")) return cli_fail(2, "--dtype %s: only bf16 is known", dtype);
    if (cli_taken(out, "another --out is wanted")) return 2;
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = c ? fv_weights_open(c, a.words[0]) : NULL;
    int *take = w ? (int *)fv_alloc(c, (size_t)(fv_weights_count(w) + 1) * sizeof *take) : NULL;
    for (int i = 0; take && i < fv_weights_count(w); i++) {
        int at = layer_of(fv_weights_at(w, i)->name);
        take[i] = is_final_norm(fv_weights_at(w, i)->name);
        for (int k = 0; k < n; k++)
            if (at == layer[k]) take[i] = found[k] = 1;
        count += take[i];
    }
    for (int k = 0; take && k < n; k++)
        if (!found[k]) fv_fail(c, FV_EUSAGE, "%s has no block %d", a.words[0], layer[k]);
    for (int k = 0; take && k < n && !fv_error(c); k++) is_whole(c, w, layer[k]);
    if (take && !fv_error(c)) copy_out(c, w, take, count, dtype != NULL, out);
    if (take && !fv_error(c)) printf("%s: %d tensors\n", out, count);
    fv_weights_close(c, w);
    return cli_end(c);
}
