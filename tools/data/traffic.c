/* traffic.c -- a generator of traffic in Argoverse's CSV. The settings below were fixed before the first
 * training run.
 *
 * A city is a junction of 3 or 4 arms, 90 m long, straight or bent (radius 80 m and more), with 1 or 2 lanes
 * of 3.5 m each way; it drives on the right. A vehicle comes in on one arm, crosses, and leaves by another;
 * on two lanes it may change lane, before or after. It drives as the Intelligent Driver Model says (Treiber
 * et al., arXiv:cond-mat/0002239): to its own speed, behind whatever is on its path, slower in bends (2 m/s^2
 * sideways), and stops at a red light; lights change within 10 s. 5 s are simulated before the 5 s that are
 * written. The AGENT is present all the time, moves 5 m or more, and in half of the scenes is the vehicle
 * that turns or brakes most. Positions carry noise of 5 cm (agent) or 12 cm; others are hidden for a while
 * with probability 0.4. Test cities are none of the training cities. */
#include "argoverse.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TRAIN_CITIES = 75, TEST_CITIES = 15, SCENES = 40, ARMS = 4, PATH = 400, CARS = 14, TICKS = 100 };
#define WIDTH 3.5f
#define INNER 12.0f /* where the arms begin */
#define OUTER 90.0f
#define DT 0.1f
#define TURN 6.28318531f

typedef struct city {
    int arms, lanes[ARMS];
    float dir[ARMS], bend[ARMS], at[2];
} city;
typedef struct path {
    int n, stop;                   /* stop: where the light stands */
    float p[PATH][2], curve[PATH]; /* points 1 m apart */
} path;
typedef struct car {
    path way;
    float s, v, wish;
    int from, seen_all;
    float at[TICKS][2], speed[TICKS], angle[TICKS];
} car;

static float between(fv_rng *r, float a, float b) { return a + (b - a) * fv_rng_uniform(r); }
static int below(fv_rng *r, int n) { return (int)fv_rng_below(r, (uint32_t)n); }

static void make_city(fv_rng *r, city *m) {
    memset(m, 0, sizeof *m);
    m->arms = 3 + below(r, 2);
    float start = between(r, 0, TURN);
    for (int a = 0; a < m->arms; a++) {
        m->dir[a] = start + TURN / 4 * (float)a + between(r, -0.3f, 0.3f), m->lanes[a] = 1 + below(r, 2);
        m->bend[a] = below(r, 2) ? between(r, -1 / 80.0f, 1 / 80.0f) : 0;
    }
    m->at[0] = between(r, 500, 3000), m->at[1] = between(r, 500, 3000);
}

/* a point of arm a at distance d from the centre, `side` metres to the right of who drives outwards; its
 * outward heading */
static float arm_point(const city *m, int a, float d, float side, float *p) {
    float k = m->bend[a], h = m->dir[a], t = d - INNER, x = m->at[0] + INNER * cosf(h),
          y = m->at[1] + INNER * sinf(h);
    if (fabsf(k) < 1e-6f) x += t * cosf(h), y += t * sinf(h);
    else x += (sinf(h + k * t) - sinf(h)) / k, y += (cosf(h) - cosf(h + k * t)) / k, h += k * t;
    p[0] = x + side * sinf(h), p[1] = y - side * cosf(h);
    return h;
}

/* points of a lane in driving order, about 1 m apart */
static int lane_points(const city *m, int a, int lane_number, int outwards, float (*p)[2]) {
    int n = (int)(OUTER - INNER) + 1;
    float side = WIDTH * (0.5f + (float)lane_number);
    for (int i = 0; i < n; i++)
        arm_point(m, a, outwards ? INNER + (float)i : OUTER - (float)i, outwards ? side : -side, p[i]);
    return n;
}

/* a cubic curve across the junction */
static int cross_points(const city *m, int a, int from, int b, int to, float (*p)[2]) {
    float s[2], e[2], hs = arm_point(m, a, INNER, -WIDTH * (0.5f + (float)from), s) + TURN / 2,
                      he = arm_point(m, b, INNER, WIDTH * (0.5f + (float)to), e);
    float far = hypotf(e[0] - s[0], e[1] - s[1]), k = 0.4f * far;
    int n = (int)(far * 1.1f) + 2;
    for (int i = 0; i < n; i++) {
        float t = (float)i / (float)(n - 1), u = 1 - t,
              w[4] = {u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t};
        p[i][0] = w[0] * s[0] + w[1] * (s[0] + k * cosf(hs)) + w[2] * (e[0] - k * cosf(he)) + w[3] * e[0];
        p[i][1] = w[0] * s[1] + w[1] * (s[1] + k * sinf(hs)) + w[2] * (e[1] - k * sinf(he)) + w[3] * e[1];
    }
    return n;
}
static float wrapped(float a) { return a - TURN * floorf(a / TURN + 0.5f); }
/* how much one turns from arm a to arm b: 0 is straight on, left positive */
static float turn_of(const city *m, int a, int b) { return wrapped(m->dir[b] - m->dir[a] - TURN / 2); }
/* with two lanes the inner goes left or straight, the outer right or straight */
static int may_go(const city *m, int a, int lane_number, int b) {
    float t = turn_of(m, a, b);
    if (a == b) return 0;
    return m->lanes[a] == 1 || (lane_number == 0 ? t > -0.5f : t < 0.5f);
}

static int write_lane(fv_ctx *c, fv_text *t, int id, float (*p)[2], int n, float turn, int junction,
                      int control) {
    for (int i = 0; i < n; i += (i + 3 > n - 1 && i < n - 1) ? n - 1 - i : 3)
        fv_text_add(c, t, "%d,%.2f,%.2f,%s,%s,%s\n", id, (double)p[i][0], (double)p[i][1],
                    !junction || fabsf(turn) < 0.5f ? "NONE"
                    : turn > 0                      ? "LEFT"
                                                    : "RIGHT",
                    junction ? "True" : "False", control ? "True" : "False");
    return !fv_error(c);
}
static int write_city(fv_ctx *c, const city *m, const char *dir, const char *name) {
    char file[4400];
    float p[PATH][2];
    int id = 1;
    fv_text t = {0};
    fv_text_add(c, &t, "LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_TRAFFIC_CONTROL\n");
    for (int a = 0; a < m->arms; a++)
        for (int i = 0; i < m->lanes[a]; i++) {
            write_lane(c, &t, id++, p, lane_points(m, a, i, 0, p), 0, 0, 1);
            write_lane(c, &t, id++, p, lane_points(m, a, i, 1, p), 0, 0, 0);
            for (int b = 0; b < m->arms; b++)
                if (may_go(m, a, i, b))
                    write_lane(c, &t, id++, p, cross_points(m, a, i, b, i < m->lanes[b] ? i : 0, p),
                               turn_of(m, a, b), 1, 0);
        }
    snprintf(file, sizeof file, "%s/lanes/%s.csv", dir, name);
    int ok = fv_write_file(c, file, t.data, t.size);
    fv_text_free(c, &t);
    return ok;
}

/* adds a lane to the way; a change to lane `to` begins after `start` metres and takes 25 m */
static void add_lane(path *w, const city *m, int a, int from, int to, int outwards, int start) {
    float p[PATH][2], q[PATH][2];
    int n = lane_points(m, a, from, outwards, p);
    lane_points(m, a, to, outwards, q);
    for (int i = 0; i < n && w->n < PATH; i++, w->n++) {
        float t = fminf(1, fmaxf(0, ((float)i - (float)start) / 25)), k = t * t * (3 - 2 * t);
        for (int d = 0; d < 2; d++) w->p[w->n][d] = (1 - k) * p[i][d] + k * q[i][d];
    }
}
static void make_way(fv_rng *r, const city *m, car *v) {
    path *w = &v->way;
    int a = below(r, m->arms), first = below(r, m->lanes[a]), change = m->lanes[a] == 2 && below(r, 4) == 0,
        i = change ? 1 - first : first, b, start = 10 + below(r, 30);
    do b = below(r, m->arms);
    while (!may_go(m, a, i, b));
    int k = i < m->lanes[b] ? i : 0, later = m->lanes[b] == 2 && below(r, 4) == 0;
    float p[PATH][2];
    w->n = 0, v->from = a;
    add_lane(w, m, a, first, i, 0, start);
    w->stop = w->n - 1;
    int n = cross_points(m, a, i, b, k, p);
    for (int j = 1; j < n - 1 && w->n < PATH; j++, w->n++) memcpy(w->p[w->n], p[j], sizeof p[j]);
    add_lane(w, m, b, k, later ? 1 - k : k, 1, 5 + below(r, 35));
    for (int j = 0; j < w->n; j++) {
        int u = j < 3 ? 0 : j - 3, z = j + 3 < w->n ? j + 3 : w->n - 1, y = (u + z) / 2;
        float h0 = atan2f(w->p[y][1] - w->p[u][1], w->p[y][0] - w->p[u][0]),
              h1 = atan2f(w->p[z][1] - w->p[y][1], w->p[z][0] - w->p[y][0]);
        w->curve[j] = fabsf(wrapped(h1 - h0)) /
                      fmaxf(0.5f, hypotf(w->p[z][0] - w->p[u][0], w->p[z][1] - w->p[u][1]) / 2);
    }
}
static void where(const path *w, float s, float *p) {
    int i = (int)s < 0 ? 0 : (int)s > w->n - 2 ? w->n - 2 : (int)s;
    float t = s - (float)i;
    for (int d = 0; d < 2; d++) p[d] = w->p[i][d] + t * (w->p[i + 1][d] - w->p[i][d]);
}

/* metres free ahead on the way of car i */
static float gap_ahead(const car *v, int cars, int i, int red) {
    const path *w = &v[i].way;
    float free = 60, q[2];
    if (red && v[i].s < (float)w->stop) free = fminf(free, (float)w->stop - v[i].s);
    for (int k = 0; k < cars; k++) {
        if (k == i) continue;
        where(&v[k].way, v[k].s, q);
        for (int d = 4; d < 40 && v[i].s + (float)d < (float)w->n; d++) {
            const float *p = w->p[(int)v[i].s + d];
            if ((p[0] - q[0]) * (p[0] - q[0]) + (p[1] - q[1]) * (p[1] - q[1]) < 1.5f * 1.5f) {
                free = fminf(free, (float)d - 4);
                break;
            }
        }
    }
    return free;
}
static void drive(car *v, int cars, int i, int red, float *next) {
    const path *w = &v[i].way;
    float wish = v[i].wish, gap = fmaxf(gap_ahead(v, cars, i, red), 0.5f), a;
    for (int d = 0; d < 14 && (int)v[i].s + d < w->n; d++)
        wish = fminf(wish, sqrtf(2 / fmaxf(w->curve[(int)v[i].s + d], 1e-3f)) + 0.15f * (float)d);
    a = 1.8f * (1 - powf(v[i].v / fmaxf(wish, 0.5f), 4));
    if (gap < 59) { /* what stands: 2 m are kept, 1.2 s of driving, and what braking at 2.5 m/s^2 takes */
        float want = 2 + 1.0f * v[i].v + v[i].v * v[i].v / (2 * sqrtf(1.8f * 2.5f));
        a -= 1.8f * fminf(9, want * want / (gap * gap));
    }
    *next = fmaxf(0, v[i].v + DT * fmaxf(-6, fminf(2, a)));
}

/* 1 when a car fits to be the agent */
static int simulate(fv_rng *r, const city *m, car *v, int cars, int *agent) {
    int green = below(r, 2), change = below(r, TICKS);
    float next[CARS], most = -1;
    for (int i = 0; i < cars; i++) {
        for (int t = 0, near = 1; near && t < 50; t++) {
            make_way(r, m, &v[i]);
            v[i].s = between(r, 0, (float)v[i].way.stop + 20), v[i].wish = between(r, 7, 15),
            v[i].v = v[i].wish * between(r, 0.4f, 1), near = 0;
            float p[2], q[2];
            where(&v[i].way, v[i].s, p);
            for (int k = 0; k < i; k++)
                where(&v[k].way, v[k].s, q), near |= hypotf(p[0] - q[0], p[1] - q[1]) < 8;
        }
        v[i].seen_all = 1;
    }
    for (int t = 0; t < TICKS; t++) {
        if (t == change) green = 1 - green;
        for (int i = 0; i < cars; i++) drive(v, cars, i, (v[i].from & 1) != green, &next[i]);
        for (int i = 0; i < cars; i++) {
            v[i].s += DT * 0.5f * (v[i].v + next[i]), v[i].v = next[i];
            if (v[i].s > (float)v[i].way.n - 2) v[i].seen_all = 0, v[i].s = (float)v[i].way.n - 2, v[i].v = 0;
            where(&v[i].way, v[i].s, v[i].at[t]), v[i].speed[t] = v[i].v;
        }
    }
    int start = TICKS - MOTION_STEPS, now = start + MOTION_SEEN - 1, last = TICKS - 1, pick = below(r, 2);
    *agent = -1;
    for (int i = 0; i < cars; i++) {
        const float *a = v[i].at[now - 5], *b = v[i].at[now], *e = v[i].at[last];
        if (!v[i].seen_all || hypotf(e[0] - v[i].at[start][0], e[1] - v[i].at[start][1]) < 5) continue;
        float err = hypotf(b[0] + (b[0] - a[0]) * 6 - e[0], b[1] + (b[1] - a[1]) * 6 - e[1]),
              score = pick ? err : fv_rng_uniform(r);
        if (score > most) most = score, *agent = i;
    }
    return *agent >= 0;
}

static int write_scene(fv_ctx *c, fv_rng *r, const car *v, int cars, int agent, const char *file,
                       const char *name) {
    int hide[CARS], until[CARS], av = (agent + 1) % cars;
    fv_text t = {0};
    fv_text_add(c, &t, "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME\n");
    for (int i = 0; i < cars; i++)
        hide[i] = i != agent && below(r, 5) < 2 ? below(r, 40) : 1000, until[i] = hide[i] + 5 + below(r, 16);
    for (int step = 0; step < MOTION_STEPS; step++)
        for (int i = 0; i < cars; i++) {
            float noise = i == agent ? 0.05f : 0.12f,
                  x = v[i].at[TICKS - MOTION_STEPS + step][0] + noise * fv_rng_normal(r),
                  y = v[i].at[TICKS - MOTION_STEPS + step][1] + noise * fv_rng_normal(r);
            if ((step >= hide[i] && step < until[i]) || (i != agent && !v[i].seen_all && v[i].v <= 0))
                continue;
            fv_text_add(c, &t, "%.1f,%08d,%s,%.2f,%.2f,%s\n", 1000 + step * 0.1, i + 1,
                        i == agent ? "AGENT"
                        : i == av  ? "AV"
                                   : "OTHERS",
                        (double)x, (double)y, name);
        }
    int ok = fv_write_file(c, file, t.data, t.size);
    fv_text_free(c, &t);
    return ok;
}

int traffic_write(fv_ctx *c, const char *dir) {
    static const char *const folder[3] = {"train", "val", "lanes"};
    char file[4400], name[16];
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%s/%s", dir, folder[i]);
        if (mkdir(file, 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", file);
    }
    car *v = (car *)fv_alloc(c, CARS * sizeof *v);
    for (int k = 0; k < TRAIN_CITIES + TEST_CITIES && v && !fv_error(c); k++) {
        int test = k >= TRAIN_CITIES;
        fv_rng r = {2027, (uint64_t)k, 0};
        city m;
        make_city(&r, &m);
        snprintf(name, sizeof name, "C%03d", k);
        write_city(c, &m, dir, name);
        for (int s = 0; s < SCENES && !fv_error(c); s++) {
            int agent, cars;
            do cars = 5 + below(&r, CARS - 4);
            while (!simulate(&r, &m, v, cars, &agent));
            snprintf(file, sizeof file, "%s/%s/%d.csv", dir, test ? "val" : "train", k * SCENES + s + 1);
            write_scene(c, &r, v, cars, agent, file, name);
        }
    }
    fv_free(c, v);
    return !fv_error(c);
}
