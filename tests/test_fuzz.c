/* Every reader of tests/fuzz over its seeds, and over seeds that were changed: bytes flipped, set to the ends
 * of their range, cut out, doubled, moved; numbers in text made long. The changes are the same each time. A
 * fault is a crash (or a sanitizer's report). */
#define _GNU_SOURCE   /* mkdtemp */
#include "data/npy.h" /* with it the runner links all readers */
#include "fuzz/targets.h"
#include "test.h"

enum { CHANGED = 1500 }; /* of each target */
static int running;

/* one change somewhere in s */
static void change(fuzz_seed *s, fv_rng *r) {
    size_t at = s->n ? fv_rng_below(r, (uint32_t)s->n) : 0, n = 1 + fv_rng_below(r, 8);
    static const uint8_t ends[] = {0, 1, 0x7f, 0x80, 0xff, '0', '9', '-', '"', '{', ',', '\n'};
    if (!s->n) return;
    if (n > s->n - at) n = s->n - at;
    switch (fv_rng_below(r, 6)) {
    case 0: s->data[at] ^= (uint8_t)(1u << fv_rng_below(r, 8)); break;
    case 1: memset(s->data + at, ends[fv_rng_below(r, sizeof ends)], n); break;
    case 2: memmove(s->data + at, s->data + at + n, s->n - at - n), s->n -= n; break;
    case 3:
        if (s->n + n > sizeof s->data) break;
        memmove(s->data + at + n, s->data + at, s->n - at), s->n += n;
        break;
    case 4: s->n = at; break;
    default: memmove(s->data + at, s->data + fv_rng_below(r, (uint32_t)(s->n - n + 1)), n);
    }
}

static void seeds_and_their_changes(void) {
    static fuzz_seed s;
    fv_rng r = {20260101, (uint64_t)running, 0};
    const char *name = fuzz_targets[running].name;
    int seeds = 0, good = 0;
    while (fuzz_seed_of(name, seeds, &s)) {
        fuzz_run(running, s.data, s.n);
        good += s.n > 0, seeds++;
    }
    CHECK(seeds > 0 && good == seeds, "%s: %d of %d seeds", name, good, seeds);
    for (int i = 0; i < CHANGED; i++) {
        fuzz_seed_of(name, i % seeds, &s);
        for (uint32_t k = 1 + fv_rng_below(&r, 4); k; k--) change(&s, &r);
        fuzz_run(running, s.data, s.n);
    }
}

int main(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s/fv-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(fuzz_folder)) return 1;
    for (running = 0; running < FUZZ_TARGETS; running++)
        test_run(fuzz_targets[running].name, seeds_and_their_changes);
    return REPORT();
}
