/* fv inspect: what a file of weights holds. */
#include "cli.h"
#include <stdio.h>
#include <string.h>

static void shape_text(const fv_entry *e, char *s, size_t size) {
    size_t at = (size_t)snprintf(s, size, "[");
    for (int i = 0; i < e->rank && at < size; i++)
        at += (size_t)snprintf(s + at, size - at, "%s%lld", i ? "," : "", (long long)e->dim[i]);
    if (at < size) snprintf(s + at, size - at, "]");
}

static void print_meta(const fv_meta *m) {
    if (m->string) printf("  %s = %.100s%s\n", m->key, m->string, strlen(m->string) > 100 ? "..." : "");
    else if (m->is_number) printf("  %s = %g\n", m->key, m->number);
    else printf("  %s = an array of %llu\n", m->key, (unsigned long long)m->count);
}

static void print_json(fv_ctx *c, const fv_entry *e) {
    fv_text t = {0};
    char shape[256];
    shape_text(e, shape, sizeof shape);
    fv_text_add(c, &t, "{\"name\":");
    fv_text_json_string(c, &t, e->name);
    fv_text_add(c, &t, ",\"dtype\":\"%s\",\"shape\":%s,\"bytes\":%llu,\"offset\":%llu}", fv_entry_dtype(e),
                shape, (unsigned long long)e->bytes, (unsigned long long)e->offset);
    if (t.data) puts(t.data);
    fv_text_free(c, &t);
}

int cmd_inspect(int argc, char **argv) {
    cli_option options[] = {{"--json", NULL, "one JSON object a tensor", NULL}, {NULL, NULL, NULL, NULL}};
    cli a = {"fv inspect FILE [--json]",
             "Lists the tensors (name, dtype, shape, bytes) and metadata of a safetensors file, a "
             "sharded\nindex or a GGUF file.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv);
    if (status >= 0) return status;
    if (a.count != 1) return cli_fail(2, "one file is wanted; usage: %s", a.usage);
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = c ? fv_weights_open(c, a.words[0]) : NULL;
    int json = cli_value(&a, "--json") != NULL;
    unsigned long long bytes = 0;
    long long elements = 0;
    fv_meta m;
    for (int i = 0; !json && fv_weights_meta_at(w, i, &m); i++) print_meta(&m);
    for (int i = 0; i < fv_weights_count(w); i++) {
        const fv_entry *e = fv_weights_at(w, i);
        char shape[256];
        bytes += e->bytes, elements += e->count;
        shape_text(e, shape, sizeof shape);
        if (json) print_json(c, e);
        else
            printf("%-60s %-6s %-20s %12llu bytes\n", e->name, fv_entry_dtype(e), shape,
                   (unsigned long long)e->bytes);
    }
    if (w && !json) printf("%d tensors, %lld elements, %llu bytes\n", fv_weights_count(w), elements, bytes);
    fv_weights_close(c, w);
    return cli_end(c);
}
