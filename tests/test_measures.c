/* Measures against the plain way: motion's errors and trivial answers, the paired bootstrap of fv compare.
 * link: tools/run.c tools/settings.c tools/cli.c tools/draw.c tools/report.c tools/plots.c tools/page.c
 * link: tools/corrupt.c tools/profile.c tools/data/npy.c tools/data/folder.c tools/data/argoverse.c
 * link: tools/data/traffic.c
 */
#include "../tools/tasks/motion.c"
#include "../tools/report.h"
#include "test.h"
#include <stdlib.h>

const task *const tasks[] = {&task_motion, NULL};
const task *task_named(const char *name) { return strcmp(name, "motion") ? NULL : &task_motion; }

static void errors(void) {
    fv_rng g = {3, 3, 0};
    for (int turn = 0; turn < 200; turn++) {
        float future[6 * FUTURE * 2], p[6], truth[FUTURE * 2];
        motion_sums s = {0, 0, 0, 0, 0};
        int K = 1 + turn % 6, best = 0;
        double end[6], ade = 0;
        for (int i = 0; i < K * FUTURE * 2; i++) future[i] = 3 * fv_rng_normal(&g);
        for (int i = 0; i < FUTURE * 2; i++) truth[i] = 3 * fv_rng_normal(&g);
        for (int k = 0; k < K; k++) p[k] = fv_rng_uniform(&g);
        for (int k = 0; k < K; k++) {
            const float *last = &future[(k * FUTURE + FUTURE - 1) * 2];
            end[k] = sqrt(pow((double)last[0] - (double)truth[58], 2) +
                          pow((double)last[1] - (double)truth[59], 2));
            if (end[k] < end[best]) best = k;
        }
        for (int i = 0; i < FUTURE; i++)
            ade += sqrt(pow((double)future[(best * FUTURE + i) * 2] - (double)truth[2 * i], 2) +
                        pow((double)future[(best * FUTURE + i) * 2 + 1] - (double)truth[2 * i + 1], 2)) /
                   FUTURE;
        add_scene(&s, future, p, K, truth);
        CHECK(fabs(s.fde - end[best]) < 1e-5 && fabs(s.ade - ade) < 1e-5 &&
                  (s.missed > 0) == (end[best] > 2) && s.count == 1,
              "minFDE %g, minADE %g instead of %g, %g", s.fde, s.ade, end[best], ade);
        CHECK(fabs(s.brier - end[best] - pow(1 - (double)p[best], 2)) < 1e-5, "brier-minFDE %g", s.brier);
    }
}

/* equal endpoints: the first future counts; no number: never right; all of them none: a miss, infinitely
 * far */
static void ties_and_none(void) {
    fv_rng g = {8, 3, 0};
    for (int turn = 0; turn < 200; turn++) {
        float future[6 * FUTURE * 2], p[6], truth[FUTURE * 2];
        motion_sums s = {0, 0, 0, 0, 0};
        int K = 1 + turn % 6, best = -1;
        double end[6], ade = 0;
        for (int i = 0; i < FUTURE * 2; i++) truth[i] = 0;
        for (int k = 0; k < K; k++) {
            float *last = &future[(k * FUTURE + FUTURE - 1) * 2];
            for (int i = 0; i < FUTURE * 2 - 2; i++) future[k * FUTURE * 2 + i] = fv_rng_normal(&g);
            last[0] = (float)fv_rng_below(&g, 3), last[1] = 0, p[k] = fv_rng_uniform(&g);
            if (turn % 5 == 0 || fv_rng_below(&g, 4) == 0) last[turn % 2] = turn % 3 ? NAN : INFINITY;
            end[k] = sqrt((double)last[0] * (double)last[0] + (double)last[1] * (double)last[1]);
            if (end[k] <= 1e9 && (best < 0 || end[k] < end[best])) best = k;
        }
        for (int i = 0; i < FUTURE && best >= 0; i++)
            ade += sqrt(pow((double)future[(best * FUTURE + i) * 2], 2) +
                        pow((double)future[(best * FUTURE + i) * 2 + 1], 2)) /
                   FUTURE;
        add_scene(&s, future, p, K, truth);
        if (best < 0) CHECK(s.missed > 0 && isinf(s.fde), "no endpoint is a number: %g m", s.fde);
        else
            CHECK(fabs(s.fde - end[best]) < 1e-6 && fabs(s.ade - ade) < 1e-5 && s.missed <= 0,
                  "%g m instead of %g, minADE %g instead of %g", s.fde, end[best], s.ade, ade);
    }
}

/* a road user on a circle of radius R (0: straight) at `speed`, somewhere and turned by `way`; its lane is
 * that circle */
static void make_scene(fv_ctx *c, traffic *t, lane_map *m, double R, double speed, double way) {
    memset(t, 0, sizeof *t), memset(m, 0, sizeof *m);
    t->track = (track *)fv_alloc(c, sizeof *t->track), t->tracks = 1, t->steps = MOTION_STEPS;
    m->lane = (lane *)fv_alloc(c, sizeof *m->lane), m->lanes = 1, m->points = 400,
    m->point = (float(*)[2])fv_alloc(c, 400 * sizeof *m->point);
    m->lane[0].count = 400;
    for (int i = 0; i < 400 + MOTION_STEPS; i++) {
        double s = i < 400 ? i * 0.5 - 60 : (i - 400) * speed / 10, x = R > 0 ? R * sin(s / R) : s,
               y = R > 0 ? R * (1 - cos(s / R)) : 0;
        float *to = i < 400 ? m->point[i] : t->track[0].at[i - 400];
        to[0] = (float)(300 + x * cos(way) - y * sin(way)),
        to[1] = (float)(700 + x * sin(way) + y * cos(way));
        if (i >= 400) t->track[0].seen[i - 400] = 1;
    }
}
static void trivial_answers(void) {
    fv_ctx *c = fv_create(NULL);
    float future[FUTURE * 2], truth[FUTURE * 2], before[FUTURE * 2];
    for (int bent = 0; bent < 2; bent++)
        for (int k = 0; k < 8; k++) {
            traffic t;
            lane_map m;
            make_scene(c, &t, &m, bent ? 30 : 0, 9, k * 0.8);
            frame f = frame_of(&t);
            double off[2] = {0, 0};
            put_future(&t, &f, truth);
            for (int way = 0; way < 2; way++) {
                if (way) lane_follower(&t, &m, future);
                else constant_velocity(&t, future);
                for (int i = 0; i < FUTURE * 2; i++)
                    off[way] = fmax(off[way], fabs((double)(future[i] - truth[i])));
            }
            CHECK(off[1] < 0.2, "the lane follower is off by %g m", off[1]);
            CHECK(bent ? off[0] > 5 : off[0] < 0.01, "constant velocity is off by %g m", off[0]);
            for (int i = 0; i < FUTURE * 2 && k; i++)
                CHECK(fabsf(truth[i] - before[i]) < 0.01f, "a scene looks the same wherever it is");
            memcpy(before, truth, sizeof truth);
            CHECK(bent || (fabsf(truth[1]) < 0.01f && truth[58] > 26.9f), "straight ahead is +x");
            traffic_free(c, &t), lanes_free(c, &m);
        }
    fv_destroy(c);
}

/* at a fork the follower keeps straight on, and does not follow the lane of who comes the other way */
static void fork_of_lanes(void) {
    float point[9][2] = {{60, 0}, {-20, 0}, {-20, 0}, {20, 0}, {20, 0}, {24, 8}, {24, 60}, {20, 0}, {60, 0}},
          future[FUTURE * 2];
    lane of[4] = {{0, 2, 0, 0, 0}, {2, 2, 0, 0, 0}, {4, 3, 1, 1, 0}, {7, 2, 0, 1, 0}};
    track one;
    traffic t;
    lane_map m;
    memset(&one, 0, sizeof one), memset(&t, 0, sizeof t), memset(&m, 0, sizeof m);
    t.track = &one, t.tracks = 1, t.steps = MOTION_SEEN, m.lane = of, m.lanes = 4, m.point = point;
    for (int i = 0; i < MOTION_SEEN; i++) one.at[i][0] = (float)i - 19, one.seen[i] = 1;
    lane_follower(&t, &m, future);
    for (int i = 0; i < FUTURE; i++)
        CHECK(fabsf(future[2 * i] - (float)(i + 1)) < 1e-3f && fabsf(future[2 * i + 1]) < 1e-3f,
              "step %d: %g, %g", i, (double)future[2 * i], (double)future[2 * i + 1]);
}

/* what the network sees of a scene: the agent, then the others by distance; lanes in pieces; what was seen */
static void inputs_of_scenes(void) {
    enum { OTHERS = 11, AGENT = 4 };
    static track one[OTHERS + 1];
    float point[15][2];
    lane of[2] = {{0, 12, 1, 0, 1}, {12, 3, -1, 1, 0}};
    traffic t;
    lane_map m;
    batch b;
    run r;
    fv_ctx *c = fv_create(NULL);
    const traffic *scene = &t;
    const lane_map *map = &m;
    memset(&t, 0, sizeof t), memset(&m, 0, sizeof m), memset(&b, 0, sizeof b), memset(&r, 0, sizeof r);
    memset(one, 0, sizeof one);
    r.c = c, t.track = one, t.tracks = OTHERS + 1, t.agent = AGENT, t.steps = MOTION_STEPS;
    m.lane = of, m.lanes = 2, m.point = point;
    /* the agent goes to +y, so that is ahead, and -x is to its left; the others stand there, the nearer ones
     * later in the file */
    for (int i = 0; i <= OTHERS; i++)
        for (int k = 0; k < MOTION_STEPS; k++) {
            one[i].seen[k] = i == AGENT || k % (i + 2) > 0;
            one[i].at[k][0] = i == AGENT ? 0 : (float)(2 * i - 40);
            one[i].at[k][1] = i == AGENT ? (float)(k - 19) : 0;
        }
    for (int i = 0; i < 15; i++) point[i][0] = i < 12 ? 5 : -20, point[i][1] = (float)(i < 12 ? 2 * i : i);
    CHECK(scenes_batch(&r, &scene, &map, 1, &b), "%s", fv_error_text(c));
    for (int a = 0; a < AGENTS; a++) {
        int which = a ? OTHERS + 1 - a - (OTHERS + 1 - a <= AGENT) : AGENT;
        for (int k = 0; k < VECTORS; k++) {
            const float *x = (const float *)b.input[0]->data + (a * VECTORS + k) * 4;
            int valid = one[which].seen[k] && one[which].seen[k + 1];
            float ahead = a ? 0 : (float)(k - 18), left = a ? (float)(40 - 2 * which) : 0;
            CHECK(((uint8_t *)b.input[1]->data)[a * VECTORS + k] == valid, "agent %d, step %d: seen", a, k);
            CHECK(!valid || (fabsf(x[0] - ahead / 10) < 1e-5f && fabsf(x[1] - left / 10) < 1e-5f &&
                             fabsf(x[2] - (a ? 0.f : 1.f)) < 1e-5f && fabsf(x[3]) < 1e-5f),
                  "agent %d, step %d: %g, %g, %g, %g", a, k, (double)x[0], (double)x[1], (double)x[2],
                  (double)x[3]);
        }
    }
    for (int i = 0; i < LANES * POINTS; i++) { /* 9 + 2 vectors of the first lane, 2 of the other */
        static const int pieces[3] = {9, 2, 2};
        const float *x = (const float *)b.input[2]->data + i * 7;
        int piece = i / POINTS, from = piece == 0 ? 0 : piece == 1 ? 9 : 12, second = piece == 2;
        int valid = piece < 3 && i % POINTS < pieces[piece];
        CHECK(((uint8_t *)b.input[3]->data)[i] == valid, "lane vector %d is valid or not", i);
        if (!valid) continue;
        const float *end = point[from + i % POINTS + 1];
        CHECK(fabsf(x[0] - end[1] / 10) < 1e-5f && fabsf(x[1] + end[0] / 10) < 1e-5f &&
                  fabsf(x[2] - (second ? 1.f : 2.f)) < 1e-5f && fabsf(x[4] - (second ? -1.f : 1.f)) < 1e-6f &&
                  fabsf(x[5] - (second ? 1.f : 0.f)) < 1e-6f && fabsf(x[6] - (second ? 0.f : 1.f)) < 1e-6f,
              "lane vector %d: %g, %g ... %g, %g, %g", i, (double)x[0], (double)x[1], (double)x[4],
              (double)x[5], (double)x[6]);
    }
    for (int k = 0; k < FUTURE; k++)
        CHECK(fabs(fv_get(b.target[0], 2 * k) - (k + 1)) < 1e-5 &&
                  fabs(fv_get(b.target[0], 2 * k + 1)) < 1e-5,
              "the future");
    fv_destroy(c);
}

/* the network's rows become futures and probabilities, which are 1 together */
static void futures(void) {
    enum { B = 3, K = 4, N = 2 * FUTURE + 1 };
    int64_t dim[3] = {B, K, N};
    float future[K * FUTURE * 2], p[K];
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {7, 7, 0};
    fv_tensor *y = fv_new(c, FV_F32, 3, dim);
    for (int64_t i = 0; i < fv_numel(y); i++) fv_set(y, i, 5 * (double)fv_rng_normal(&g));
    for (int b = 0; b < B; b++) {
        double all = 0;
        CHECK(futures_of(y, b, future, p) == K, "all of them");
        for (int k = 0; k < K; k++) all += exp(fv_get(y, (b * K + k) * N + N - 1));
        for (int k = 0; k < K; k++) {
            int64_t at = (b * K + k) * N;
            CHECK(fabs((double)p[k] - exp(fv_get(y, at + N - 1)) / all) < 1e-6, "%g", (double)p[k]);
            for (int i = 0; i < N - 1; i++)
                CHECK(fabs((double)future[k * (N - 1) + i] - fv_get(y, at + i)) < 1e-6, "future %d", k);
        }
    }
    fv_destroy(c);
}

/* the demo's scenes through the reader: nobody flies, two are never in one place, the agent drives on a
 * lane */
static void generated_traffic(void) {
    fv_ctx *c = fv_create(NULL);
    char dir[2100], path[4400];
    const char *temp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.2000s/traffic", temp ? temp : "/tmp");
    snprintf(path, sizeof path, "rm -rf '%s' && mkdir -p '%s'", dir, dir);
    if (system(path) || !traffic_write(c, dir)) {
        CHECK(0, "%s", fv_error_text(c));
        fv_destroy(c);
        return;
    }
    double fastest = 0;
    for (int i = 1; i < 3600; i += 211) {
        traffic t;
        lane_map m;
        snprintf(path, sizeof path, "%s/%s/%d.csv", dir, i <= 3000 ? "train" : "val", i);
        CHECK(traffic_read(c, path, &t), "%s", fv_error_text(c));
        if (fv_error(c)) break;
        snprintf(path, sizeof path, "%s/lanes/%s.csv", dir, t.city);
        CHECK(lanes_read(c, path, &m) && m.lanes >= 6, "%s", fv_error_text(c));
        const track *a = &t.track[t.agent];
        for (int k = 0; k + 1 < MOTION_STEPS; k++) {
            float least = 1e9f, at;
            fastest = fmax(fastest, hypot((double)(a->at[k + 1][0] - a->at[k][0]),
                                          (double)(a->at[k + 1][1] - a->at[k][1])));
            for (int l = 0; l < m.lanes; l++)
                for (int n = 0; n + 1 < m.lane[l].count; n++)
                    least = fminf(least, to_segment(a->at[k], m.point[m.lane[l].first + n],
                                                    m.point[m.lane[l].first + n + 1], &at));
            CHECK(least < 2.5f, "%s: the agent is %g m from any lane", t.name, (double)least);
        }
        traffic_free(c, &t), lanes_free(c, &m);
    }
    CHECK(fastest > 0.5 && fastest < 2.2, "%g m in 0.1 s", fastest);
    snprintf(path, sizeof path, "rm -rf '%s'", dir);
    CHECK(!system(path), "the folder goes");
    fv_destroy(c);
}

static void paired_bootstrap(void) {
    enum { N = 400, S = 3 };
    fv_ctx *c = fv_create(NULL);
    static float a[S][N], b[S][N];
    float *pa[S], *pb[S];
    fv_rng g = {4, 4, 0};
    double mean, low, high, plain = 0, var = 0;
    for (int s = 0; s < S; s++) {
        pa[s] = a[s], pb[s] = b[s];
        for (int i = 0; i < N; i++) b[s][i] = fv_rng_normal(&g), a[s][i] = b[s][i] + 2;
    }
    bootstrap(c, pa, pb, S, N, 500, &mean, &low, &high);
    CHECK(fabs(mean - 2) < 1e-5 && fabs(low - 2) < 1e-5 && fabs(high - 2) < 1e-5,
          "a constant difference: %g, %g to %g", mean, low, high);
    for (int i = 0; i < N; i++)
        a[0][i] = b[0][i] + 1 + 3 * fv_rng_normal(&g), plain += (double)(a[0][i] - b[0][i]) / N;
    for (int i = 0; i < N; i++) var += pow((double)(a[0][i] - b[0][i]) - plain, 2) / (N - 1);
    bootstrap(c, pa, pb, 1, N, 4000, &mean, &low, &high);
    double half = 1.96 * sqrt(var / N); /* one seed: the normal interval of a mean */
    CHECK(fabs(mean - plain) < 1e-9 && fabs(low - (plain - half)) < 0.12 * half &&
              fabs(high - (plain + half)) < 0.12 * half,
          "%g: %g to %g, the normal interval is %g to %g", mean, low, high, plain - half, plain + half);
    fv_destroy(c);
}

/* the interval of n numbers from the mean up is as long as 97.5 % of Student's distribution say */
static void seeds_alone(void) {
    for (int n = 2; n <= MAX_SEEDS; n++) {
        double x[MAX_SEEDS], mean = 0, square = 0, low, high, share = 0.5;
        for (int i = 0; i < n; i++) x[i] = i * i % 7 + 0.1 * i, mean += x[i] / n;
        for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
        student(x, n, &low, &high);
        double error = sqrt(square / (n - 1) / n), t = (high - mean) / error, k = n - 1, step = t / 20000;
        double peak = tgamma((k + 1) / 2) / (sqrt(3.14159265358979 * k) * tgamma(k / 2));
        for (int i = 0; i < 20000; i++)
            share += step * peak * pow(1 + (i + 0.5) * step * (i + 0.5) * step / k, -(k + 1) / 2);
        CHECK(fabs(share - 0.975) < 5e-5 && fabs(high + low - 2 * mean) < 1e-9, "%d numbers: %.6f up to %g",
              n, share, high);
    }
    double one = 3, low, high;
    student(&one, 1, &low, &high);
    CHECK(isnan(low) && isnan(high), "an interval from one number: %g to %g", low, high);
    static const double ends[][4] = {{1, 2, 1, 2},     {-2, -1, -2, -1}, {1, 2, -1, 4},  {-1, 2, 1, 2},
                                     {1, 2, NAN, NAN}, {NAN, NAN, 1, 2}, {-2, -1, -3, 1}};
    static const int says[] = {1, -1, 0, 0, 0, 0, 0};
    for (int way = 0; way < 2; way++)
        for (int k = 0; k < 7; k++) { /* both intervals leave out 0, or nothing is shown */
            static report p;
            arm a = {.low = ends[k][0], .high = ends[k][1], .t_low = ends[k][2], .t_high = ends[k][3]};
            snprintf(p.headline, sizeof p.headline, way ? "minFDE" : "top1");
            CHECK(report_verdict(&p, &a) == (way ? -says[k] : says[k]), "row %d of %s: %d", k, p.headline,
                  report_verdict(&p, &a));
        }
}

int main(void) {
    RUN(errors);
    RUN(ties_and_none);
    RUN(trivial_answers);
    RUN(fork_of_lanes);
    RUN(inputs_of_scenes);
    RUN(futures);
    RUN(generated_traffic);
    RUN(paired_bootstrap);
    RUN(seeds_alone);
    return REPORT();
}
