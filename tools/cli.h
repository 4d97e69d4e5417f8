/* cli.h -- what the commands of fv share: options, messages, exit statuses. */
#ifndef FV_CLI_H
#define FV_CLI_H
#include "frozenvis.h"

typedef struct cli_option {
    const char *name; /* "--layers" */
    const char *arg;  /* what follows it, for --help; NULL: a switch */
    const char *help;
    const char *value; /* set by cli_parse: the argument, or "1" for a switch; NULL when absent */
} cli_option;

enum { CLI_MANY = 1024 };
typedef struct cli {
    const char *usage;           /* "fv inspect FILE [options]" */
    const char *about;           /* one or two lines */
    cli_option *options;         /* ends with a NULL name */
    const char *words[CLI_MANY]; /* what is not an option */
    int count;
} cli;

/* Reads argv. -1: go on; otherwise the status to exit with (--help: 0; wrong use: 2, said on stderr). */
int cli_parse(cli *c, int argc, char **argv);
/* Reads argv[*at], where it is one of the options (its name ends the list), and moves *at to the last word it
 * took: 1. 0: it is none of them; -1: its value lacks, or it takes none, which was said. `--name value` or
 * `--name=value`; a value that begins with -- needs the =. */
int cli_take(cli_option *options, int argc, char **argv, int *at);
/* --version: prints it; 0 */
int cli_version(void);
/* NULL when the option is absent */
const char *cli_value(const cli *c, const char *name);
/* The same; `otherwise` when absent. */
const char *cli_text(const cli *c, const char *name, const char *otherwise);
/* The option as a whole number of at least `least`; `otherwise` when absent. Sets *bad and says so when it is
 * none. */
long cli_int(const cli *c, const char *name, long otherwise, long least, int *bad);
/* --threads, --device cpu|cuda[:N], --no-graph and --tf32, where a command has them, into a context's
 * settings; a wrong one sets *bad. */
#define CLI_DEVICE                                                                                           \
    { "--device", "cpu|cuda[:N]", "where to compute; cpu unless said", NULL }
#define CLI_GPU                                                                                              \
    {"--no-graph", NULL, "on a GPU: kernels one by one", NULL}, {                                            \
        "--tf32", NULL, "on a GPU: f32 products may round to TF32", NULL                                     \
    }
void cli_context(const cli *c, fv_desc *d, int *bad);
/* Prints `fv: sentence` on stderr and returns the status. */
int cli_fail(int status, const char *format, ...);
/* For what a command is to write under a name of the user's, before any work: nothing is written over. Where
 * the path leads to something, or is a link that leads nowhere, says so with `advice` on what to do ("another
 * --png is wanted") and returns 2; else 0. */
int cli_taken(const char *path, const char *advice);
/* Before --resume writes into a folder that is none of ours: it holds something, and not `file`, which is
 * written before all else (or the beginnings of it). Says so and returns 2; else 0. */
int cli_foreign(const char *path, const char *file);
/* The context's error, if there is one: prints it, destroys the context, and returns its exit status; 0
 * otherwise. */
int cli_end(fv_ctx *c);

int cmd_train(int argc, char **argv);
/* Whether fv train could begin with these words: its options, preset, keys and values, as far as they can be
 * judged without data and weights. 0, or the status to exit with, which was said. */
int train_fits(int argc, char **argv);
/* The depth of the encoder that fv train would make for these words, 0 where they do not say; 0, or the
 * status as above. */
int train_depth(int argc, char **argv, int *depth);
/* "--epochs" for "epochs": the option of fv train that sets this key, over what --set says of it; NULL */
const char *train_option(const char *key);
int cmd_eval(int argc, char **argv);
int cmd_predict(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_heatmap(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_extract(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_bench(int argc, char **argv);
/* a JSON string to stdout, quoted and escaped */
void cli_print_json_string(const char *s);
#endif
