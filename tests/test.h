/* test.h -- the whole test harness: CHECK in a test, RUN in main, REPORT at its end.
 * A binary's last line is `N passed, N failed, N skipped`; tests/run adds those lines up. */
#ifndef FV_TEST_H
#define FV_TEST_H
#include <stdio.h>
#include <string.h>

static int test_passed, test_failed, test_skipped, test_bad;
static const char *test_skip_why;

/* A failed CHECK is printed and fails the running test; it goes on. Shows up to 10 failures a test. */
#define CHECK(x, ...)                                                                                        \
    do {                                                                                                     \
        if (!(x) && test_bad++ < 10) {                                                                       \
            printf("  %s:%d: CHECK(%s) failed: ", __FILE__, __LINE__, #x);                                   \
            printf("" __VA_ARGS__);                                                                          \
            printf("\n");                                                                                    \
        }                                                                                                    \
    } while (0)

/* Ends the running test as skipped; `why` must be one of the reasons listed in tests/skips.txt. */
#define SKIP(why)                                                                                            \
    do {                                                                                                     \
        test_skip_why = (why);                                                                               \
        return;                                                                                              \
    } while (0)

#define RUN(test) test_run(#test, test)
static void test_run(const char *name, void (*test)(void)) {
    test_bad = 0, test_skip_why = NULL;
    test();
    if (test_bad) test_failed++, printf("FAIL %s (%d checks)\n", name, test_bad);
    else if (test_skip_why) test_skipped++, printf("skipped %s: %s\n", name, test_skip_why);
    else test_passed++, printf("ok   %s\n", name);
    fflush(stdout);
}

/* the greater of two errors; a NaN, once met, stays */
static inline double test_worse(double a, double b) { return a != a || a >= b ? a : b; }

#define REPORT() test_report()
static int test_report(void) {
    printf("%d passed, %d failed, %d skipped\n", test_passed, test_failed, test_skipped);
    return test_failed != 0;
}
#endif
