/* fv -- the program: one command a file, found in this table. */
#define _GNU_SOURCE /* SIGXFSZ */
#include "cli.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"train", cmd_train, "train a network on a task, with or without the frozen block"},
    {"eval", cmd_eval, "measure a finished run on its test split, or another"},
    {"predict", cmd_predict, "name the classes of pictures"},
    {"compare", cmd_compare, "train several variants alike; a table and loss curves"},
    {"heatmap", cmd_heatmap, "where a network looks: magnitude, frequency, attention, over pictures"},
    {"probe", cmd_probe, "what the block does: gradients, similarity, rank, attention"},
    {"trace", cmd_trace, "run a case file and write, or check, every result"},
    {"inspect", cmd_inspect, "list the tensors and metadata of a safetensors or GGUF file"},
    {"extract", cmd_extract, "copy chosen blocks of a language model into a small file"},
    {"tokenize", cmd_tokenize, "text to the numbers of a language model's tokens"},
    {"bench", cmd_bench, "measure products and training steps"},
};

static int help(void) {
    printf("usage: fv COMMAND [options]\n\n"
           "vision encoders with a frozen block of a language model\n\n"
           "commands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].about);
    printf("\n"
           "fv COMMAND --help tells more. Of an option that comes twice the last one counts; the values\n"
           "of --set add up, key by key. Exit status: 0 ok, 1 a check failed, 2 wrong use, 3 malformed\n"
           "input, 4 a file could not be read or written, 5 the loss is not finite, 6 not available\n"
           "here, 130 interrupted.\n");
    return 0;
}

static int run(int argc, char **argv) {
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) return help();
    if (!strcmp(argv[1], "--version")) return cli_version();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 2, argv + 2);
    return cli_fail(2, "unknown command \"%s\"; fv --help lists them", argv[1]);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        help();
        return 2;
    }
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is then an error of writing, said as one */
    int status = run(argc, argv);
    return (fflush(stdout) || ferror(stdout)) && status == 0
               ? cli_fail(4, "standard output could not be written")
               : status;
}
