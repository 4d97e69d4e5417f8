/* fv tokenize: lines of text on stdin, lines of token numbers on stdout. */
#define _GNU_SOURCE /* getline */
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>

static int tokenize_line(fv_ctx *c, const fv_tokenizer *t, const char *line, size_t n, int32_t **ids,
                         int64_t *room) {
    int64_t count = fv_tokenizer_encode(c, t, line, n, *ids, *room);
    if (count > *room) {
        fv_free(c, *ids);
        *room = count * 2;
        *ids = (int32_t *)fv_alloc(c, (size_t)*room * sizeof **ids);
        count = *ids ? fv_tokenizer_encode(c, t, line, n, *ids, *room) : -1;
    }
    for (int64_t i = 0; i < count; i++) printf(i ? " %d" : "%d", (int)(*ids)[i]);
    if (count >= 0) putchar('\n');
    return count >= 0;
}

int cmd_tokenize(int argc, char **argv) {
    cli_option options[] = {{"--llm", "FILE", "the GGUF file whose tokenizer is used", NULL},
                            {NULL, NULL, NULL, NULL}};
    cli a = {"fv tokenize --llm FILE",
             "Reads lines of text on stdin, writes for each a line of its tokens' numbers.",
             options,
             {NULL},
             0};
    int status = cli_parse(&a, argc, argv);
    if (status >= 0) return status;
    if (!cli_value(&a, "--llm") || a.count) return cli_fail(2, "--llm FILE is wanted; usage: %s", a.usage);
    fv_ctx *c = fv_create(NULL);
    fv_weights *w = fv_weights_open(c, cli_value(&a, "--llm"));
    fv_tokenizer *t = w ? fv_tokenizer_create(c, w) : NULL;
    int32_t *ids = NULL;
    int64_t room = 0;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    while (t && (n = getline(&line, &size, stdin)) > 0)
        if (!tokenize_line(c, t, line, (size_t)(line[n - 1] == '\n' ? n - 1 : n), &ids, &room)) break;
    free(line);
    fv_free(c, ids);
    fv_tokenizer_destroy(c, t);
    fv_weights_close(c, w);
    return cli_end(c);
}
