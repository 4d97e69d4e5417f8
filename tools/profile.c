#include "profile.h"
#include <stdio.h>
#include <stdlib.h>

static const char *const passes[] = {"forward", "backward", "again", "update"};

static int slower_first(const void *a, const void *b) {
    double x = ((const fv_profile_row *)a)->seconds, y = ((const fv_profile_row *)b)->seconds;
    return (x < y) - (x > y);
}

static void print_row(const fv_profile_row *r, const char *pass, double all, double peak, int json) {
    double share = all > 0 ? r->seconds / all : 0, g = r->seconds > 0 ? r->flop / r->seconds * 1e-9 : 0;
    if (json)
        printf("{\"profile\":\"%s\",\"pass\":\"%s\",\"calls\":%lld,\"seconds\":%.6f,\"time_share\":%.4f,"
               "\"gflop\":%.4f,\"gflops\":%.1f,\"share\":%.3f}\n",
               r->op, pass, (long long)r->calls, r->seconds, share, r->flop * 1e-9, g,
               peak > 0 ? g / peak : 0);
    else if (r->flop > 0)
        printf("%-16s %-9s %8lld %9.3f %5.1f%% %9.1f %5.2f\n", r->op, pass, (long long)r->calls, r->seconds,
               100 * share, g, peak > 0 ? g / peak : 0);
    else
        printf("%-16s %-9s %8lld %9.3f %5.1f%%\n", r->op, pass, (long long)r->calls, r->seconds, 100 * share);
}

/* what has no op: made, printed and added to the sum */
static void print_other(const char *name, double seconds, double all, int json) {
    fv_profile_row r = {name, FV_PASS_FORWARD, 0, seconds, 0};
    print_row(&r, "", all, 0, json);
}

void profile_print(fv_ctx *c, fv_type type, double seconds, double data, int json) {
    fv_profile_row row[FV_PROFILE_ROWS];
    int n = fv_profile(c, row, FV_PROFILE_ROWS);
    double by_pass[4] = {0}, explained = data > 0 ? data : 0, flop = 0,
           peak = fv_peak(c, type) * fv_threads(c);
    qsort(row, (size_t)n, sizeof *row, slower_first);
    for (int i = 0; i < n; i++) {
        by_pass[row[i].pass] += row[i].seconds, explained += row[i].seconds;
        flop += row[i].pass == FV_PASS_AGAIN ? 0 : row[i].flop; /* of the dense graph */
    }
    if (!json)
        printf("%-16s %-9s %8s %9s %6s %9s %5s\n", "op", "pass", "calls", "seconds", "time", "GFLOP/s",
               "peak");
    for (int i = 0; i < n; i++) print_row(&row[i], passes[row[i].pass], seconds, peak, json);
    if (data >= 0) print_other("data", data, seconds, json);
    print_other("rest", seconds > explained ? seconds - explained : 0, seconds, json);
    if (json || seconds <= 0) return;
    printf("forward %.1f%%, backward %.1f%%", 100 * by_pass[FV_PASS_FORWARD] / seconds,
           100 * by_pass[FV_PASS_BACKWARD] / seconds);
    if (by_pass[FV_PASS_AGAIN] > 0)
        printf(", forward again (--recompute) %.1f%%", 100 * by_pass[FV_PASS_AGAIN] / seconds);
    printf(", update %.1f%% of %.3f s; all products: %.1f GFLOP/s, %.2f of the peak of %d thread(s), %.1f "
           "GFLOP/s\n",
           100 * by_pass[FV_PASS_UPDATE] / seconds, seconds, flop / seconds * 1e-9,
           flop / seconds * 1e-9 / peak, fv_threads(c), peak);
}
