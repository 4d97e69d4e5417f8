/* libfuzzer.c -- explores one of targets.h, the one that the environment variable FUZZ_TARGET names; `make
 * fuzz` builds and runs it. FUZZ_SEEDS names a folder that the seeds are written to first. */
#include "fuzz/targets.h"

static int target_of(const char *name) {
    for (int i = 0; i < FUZZ_TARGETS; i++)
        if (name && !strcmp(name, fuzz_targets[i].name)) return i;
    fprintf(stderr, "FUZZ_TARGET is one of:");
    for (int i = 0; i < FUZZ_TARGETS; i++) fprintf(stderr, " %s", fuzz_targets[i].name);
    fprintf(stderr, "\n");
    exit(2);
}

static void write_seeds(int target, const char *folder) {
    static fuzz_seed s;
    char path[4096];
    for (int i = 0; fuzz_seed_of(fuzz_targets[target].name, i, &s); i++) {
        snprintf(path, sizeof path, "%s/seed-%d", folder, i);
        FILE *f = fopen(path, "wb");
        if (f) fwrite(s.data, 1, s.n, f), fclose(f);
    }
}

static int chosen;
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *tmp = getenv("TMPDIR"), *seeds = getenv("FUZZ_SEEDS");
    (void)argc, (void)argv;
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s", tmp && *tmp ? tmp : "/tmp");
    chosen = target_of(getenv("FUZZ_TARGET"));
    if (seeds) write_seeds(chosen, seeds);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_run(chosen, data, size);
    return 0;
}
