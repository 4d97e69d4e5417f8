/* The generator behind the demos of points and volumes: points evenly over each part in closed form; what is
 * cut away, turned, put beside and blurred, as shapes.c says it.
 * link: tools/data/npy.c tools/data/medmnist.c tools/data/folder.c tools/data/clouds.c tools/data/vrml.c
 */
#include "../tools/data/shapes.c"
#include "test.h"
#include <stdlib.h>

enum { N = 40000 };
static const double PI = 3.14159265358979;
static float out[3 * N];
static void sample(int kind, int axis, float a, float b, float c, double area) {
    thing t;
    fv_rng r = {1, 2, 0};
    t.parts = 0;
    add(&t, kind, axis, 10, 20, 30, a, b, c);
    CHECK(t.parts == 1 && fabs((double)t.part[0].area / area - 1) < 1e-5, "area %g instead of %g",
          (double)t.part[0].area, area);
    for (int i = 0; i < N; i++) {
        on_part(&r, &t.part[0], out + 3 * i);
        for (int k = 0; k < 3; k++) out[3 * i + k] -= (float)(10 * (k + 1));
    }
}
static int near(double a, double b) { return fabs(a - b) < 1e-4; }
static void boxes(void) {
    double on[6] = {0}, square[3] = {0};
    const double side[3] = {1, 2, 3};
    sample(BOX, 2, 1, 2, 3, 22);
    for (int i = 0; i < N; i++) {
        int face = -1;
        for (int k = 0; k < 3; k++) {
            double v = (double)out[3 * i + k];
            CHECK(fabs(v) < side[k] / 2 + 1e-4, "point %d is outside", i);
            if (near(fabs(v), side[k] / 2)) face = 2 * k + (v > 0);
        }
        CHECK(face >= 0, "point %d is on no face", i);
        if (face >= 0)
            on[face] += 1.0 / N, square[face / 2] += pow((double)out[3 * i + (face / 2 + 1) % 3], 2) / N;
    }
    for (int k = 0; k < 6; k++) {
        double want = side[(k / 2 + 1) % 3] * side[(k / 2 + 2) % 3] / 22;
        CHECK(fabs(on[k] - want) < 0.01, "face %d has %g of the points, not %g", k, on[k], want);
        if (k % 2)
            CHECK(fabs(square[k / 2] / (on[k] + on[k - 1]) * 12 / pow(side[(k / 2 + 1) % 3], 2) - 1) < 0.05,
                  "evenly over face %d", k);
    }
    for (int axis = 0; axis < 2; axis++) { /* c, the longest side, lies along the axis */
        double most = 0;
        sample(BOX, axis, 1, 2, 3, 22);
        for (int i = 0; i < N; i++) most = fmax(most, fabs((double)out[3 * i + axis]));
        CHECK(near(most, 1.5), "axis %d: %g", axis, most);
    }
}
static void tubes(void) {
    double wall = 1.5 * sqrt(4.25), all = wall + 1 + 0.25, on[3] = {0}, height = 0, radii[2] = {0}, angle = 0;
    sample(TUBE, 2, 1, 0.5f, 2, PI * all);
    for (int i = 0; i < N; i++) {
        double z = (double)out[3 * i + 2], s = hypot((double)out[3 * i], (double)out[3 * i + 1]),
               k = z / 2 + 0.5;
        int cap = near(z, -1) ? 0 : near(z, 1) ? 1 : 2;
        angle += atan2((double)out[3 * i + 1], (double)out[3 * i]) / N;
        on[cap] += 1;
        if (cap == 2) CHECK(near(s, 1 - 0.5 * k), "point %d: radius %g at %g", i, s, z);
        if (cap == 2) height += k;
        else radii[cap] += s * s;
    }
    CHECK(fabs(on[2] / N - wall / all) < 0.01 && fabs(on[0] / N - 1 / all) < 0.01 &&
              fabs(on[1] / N - 0.25 / all) < 0.01,
          "wall %g, bottom %g, top %g", on[2] / N, on[0] / N, on[1] / N);
    CHECK(fabs(height / on[2] - 4.0 / 9) < 0.01, "evenly over the wall: mean height %g", height / on[2]);
    CHECK(fabs(radii[0] / on[0] - 0.5) < 0.02 && fabs(radii[1] / on[1] - 0.125) < 0.01,
          "evenly over the ends");
    CHECK(fabs(angle) < 0.04, "evenly around");
}
static void balls_and_rings(void) {
    double height = 0, square = 0, radius = 0;
    sample(BALL, 2, 2, 0.5f, 0, 8 * PI);
    for (int i = 0; i < N; i++) { /* the upper half: heights are even, as Archimedes found */
        const float *p = out + 3 * i;
        double z = (double)p[2];
        CHECK(near(sqrt((double)(p[0] * p[0] + p[1] * p[1]) + z * z), 2) && z > -1e-4, "point %d", i);
        height += z / N, square += z * z / N;
    }
    CHECK(fabs(height - 1) < 0.02 && fabs(square - 4.0 / 3) < 0.04, "heights %g, %g", height, square);
    double across = 0;
    sample(RING, 2, 2, 0.5f, 0.5f, 4 * PI * PI * 0.5);
    for (int i = 0; i < N; i++) { /* half a ring; the outer side has more */
        double s = hypot((double)out[3 * i], (double)out[3 * i + 1]), z = (double)out[3 * i + 2];
        CHECK(near(hypot(s - 2, z), 0.5) && out[3 * i + 1] > -1e-4f, "point %d", i);
        radius += s / N, across += (double)out[3 * i] / s / N;
    }
    CHECK(fabs(radius - 2.0625) < 0.01 && fabs(across) < 0.02, "mean radius %g", radius);
}
/* every kind: fitted, and no two samples of it the same thing */
static void kinds(void) {
    static float p[2][3 * 2000];
    for (int kind = 0; kind < SHAPES; kind++) {
        for (int turn = 0; turn < 2; turn++) {
            fv_rng r = {7, (uint64_t)turn, 0};
            double mid[3] = {0}, far = 0;
            shape_sample(&r, kind, 2000, p[turn]);
            for (int i = 0; i < 2000; i++) {
                double square = 0;
                for (int k = 0; k < 3; k++)
                    mid[k] += (double)p[turn][3 * i + k] / 2000, square += pow((double)p[turn][3 * i + k], 2);
                far = fmax(far, sqrt(square));
            }
            CHECK(fabs(mid[0]) + fabs(mid[1]) + fabs(mid[2]) < 1e-4 && near(far, 1), "%s is not fitted",
                  shape_name[kind]);
        }
        CHECK(memcmp(p[0], p[1], sizeof p[0]), "two of one");
    }
    /* parts get points by area: of a dumbbell's bar what is between the balls, and both balls alike; places
     * are shares of the whole length, whatever it was stretched by */
    double got = 0, want = 0, left = 0;
    for (int turn = 0; turn < 40; turn++) {
        fv_rng r = {8, (uint64_t)turn, 0}, again = r;
        float high = -9, low = 9;
        thing t;
        shape_sample(&r, 13, 2000, p[0]), make(&again, 13, &t);
        const part *bar = &t.part[0], *ball = &t.part[1];
        double between_balls = (double)(bar->c - 2 * ball->a), length = (double)(bar->c + 2 * ball->a);
        want += 2 * PI * (double)bar->a * between_balls / (double)(bar->area + 2 * ball->area) / 40;
        for (int i = 0; i < 2000; i++) high = fmaxf(high, p[0][3 * i]), low = fminf(low, p[0][3 * i]);
        for (int i = 0; i < 2000; i++) {
            double at = (double)((p[0][3 * i] - low) / (high - low)) - 0.5;
            got += (fabs(at) < between_balls / length / 2) / 8e4, left += (at < 0) / 8e4;
        }
    }
    CHECK(fabs(got - want) < 0.01 && fabs(left - 0.5) < 0.01,
          "bars have %g of the points, not %g; %g are left", got, want, left);
}

/* ---- scenes: of a sphere, of a pole, of a beam with most of its points at one end ---- */
enum { SPHERE, POLE, BEAM };
static int simple(void *of, fv_rng *r, int which, int64_t n, float *to) {
    int kind = *(const int *)of;
    (void)which;
    for (int64_t i = 0; i < n; i++) {
        float z = 1 - 2 * fv_rng_uniform(r), a = between(r, 0, 6.28318531f), s = sqrtf(1 - z * z);
        to[3 * i] = kind == SPHERE ? s * cosf(a) : kind == BEAM && i % 5 > 2 ? 1 + z : 0;
        to[3 * i + 1] = kind == SPHERE ? s * sinf(a) : 0, to[3 * i + 2] = kind == BEAM ? 0 : z;
    }
    return 1;
}
/* centre and radius of the sphere through n points: |p|^2 = 2 p c + r^2 - |c|^2, by normal equations */
static double sphere_of(const float *p, int n, double *centre) {
    double a[4][5] = {{0}};
    for (int i = 0; i < n; i++) {
        double row[5] = {0, 0, 0, 1, 0};
        for (int k = 0; k < 3; k++) row[k] = 2 * (double)p[3 * i + k], row[4] += pow((double)p[3 * i + k], 2);
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 5; k++) a[j][k] += row[j] * row[k];
    }
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) {
            double f = i == j ? 0 : a[i][j] / a[j][j];
            for (int k = j; k < 5 && i != j; k++) a[i][k] -= f * a[j][k];
        }
    double square = a[3][4] / a[3][3];
    for (int k = 0; k < 3; k++) centre[k] = a[k][4] / a[k][k], square += centre[k] * centre[k];
    return sqrt(square);
}
static double away(const float *p, const double *from) {
    return sqrt(pow((double)p[0] - from[0], 2) + pow((double)p[1] - from[1], 2) +
                pow((double)p[2] - from[2], 2));
}
static void scenes(void) {
    enum { TURNS = 80, OWN = 660 };
    int kind = SPHERE, walls = 0;
    static float p[3 * POINTS];
    thing_source from = {2, simple, &kind, 0};
    double cut_least = 1, cut_most = 0, cut_mean = 0, behind_least = 1, behind_most = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        fv_rng r = {3, (uint64_t)turn, 0};
        double c[3], d[3], mean[3] = {0}, share = 0, far;
        CHECK(scene_of(&r, &from, 0, p), "a scene");
        double radius = sphere_of(p, OWN, c);
        int own = 0;
        while (own < POINTS && fabs(away(p + 3 * own, c) - radius) < 1e-4) own++;
        double behind = (double)(POINTS - own) / POINTS;
        behind_least = fmin(behind_least, behind), behind_most = fmax(behind_most, behind);
        /* a cap of the share s is missing: the mean of the rest is s away from the middle */
        for (int i = 0; i < 3 * own; i++) mean[i % 3] += ((double)p[i] - c[i % 3]) / radius / own;
        for (int k = 0; k < 3; k++) share += mean[k] * mean[k];
        share = sqrt(share), cut_mean += share / TURNS;
        cut_least = fmin(cut_least, share), cut_most = fmax(cut_most, share);
        /* half of what is behind is a floor or a wall, the rest another, smaller sphere */
        int flat = (POINTS - own) / 2, floor = 1, other = own + flat;
        double small = sphere_of(p + 3 * other, POINTS - other, d);
        for (int i = own; i < other; i++) floor &= near((double)p[3 * i + 2], c[2] - 0.7 * radius);
        far = hypot(d[0] - c[0], d[1] - c[1]) / radius;
        CHECK(far > 0.79 && far < 1.21 && fabs((d[2] - c[2]) / radius + 0.4) < 1e-3 &&
                  small / radius > 0.24 && small / radius < 0.46,
              "the other: %g away, %g lower, %g its size", far, (d[2] - c[2]) / radius, small / radius);
        for (int i = other; i < POINTS; i++)
            CHECK(fabs(away(p + 3 * i, d) - small) < 1e-3, "the other's point %d", i);
        for (int i = own; i < other && !floor; i++) { /* a wall on the other side, as far off */
            double x = (double)p[3 * i] - c[0], y = (double)p[3 * i + 1] - c[1];
            CHECK(fabs((x * (d[0] - c[0]) + y * (d[1] - c[1])) / radius / radius / far + far) < 1e-3,
                  "turn %d: neither floor nor wall", turn);
        }
        walls += !floor;
        double mid[3] = {0}, most = 0;
        for (int i = 0; i < 3 * POINTS; i++) mid[i % 3] += (double)p[i] / POINTS;
        for (int i = 0; i < POINTS; i++) most = fmax(most, away(p + 3 * i, (double[3]){0, 0, 0}));
        CHECK(fabs(mid[0]) + fabs(mid[1]) + fabs(mid[2]) < 1e-4 && near(most, 1), "the whole is not fitted");
    }
    CHECK(walls > TURNS / 4 && walls < 3 * TURNS / 4, "%d of %d have a wall", walls, TURNS);
    CHECK(behind_least > 0.09 && behind_least < 0.13 && behind_most > 0.32 && behind_most < 0.36,
          "background is %g to %g", behind_least, behind_most);
    CHECK(cut_least > 0.12 && cut_least < 0.25 && cut_most > 0.35 && cut_most < 0.48 &&
              fabs(cut_mean - 0.3) < 0.02,
          "of the thing %g to %g are away, %g in the mean", cut_least, cut_most, cut_mean);
    double least = 1, most = 0; /* noise: once to three times what is told */
    from.noise = 0.01f;
    for (int turn = 0; turn < 40; turn++) {
        fv_rng r = {4, (uint64_t)turn, 0};
        double c[3], sum = 0;
        scene_of(&r, &from, 0, p);
        double radius = sphere_of(p, OWN, c);
        for (int i = 0; i < OWN; i++) sum += pow((away(p + 3 * i, c) - radius) / radius, 2) / OWN;
        least = fmin(least, sqrt(sum)), most = fmax(most, sqrt(sum));
    }
    CHECK(least > 0.009 && least < 0.013 && most > 0.027 && most < 0.033, "noise of %g to %g", least, most);
    /* turned: a pole is tilted by up to 15 degrees, a beam looks anywhere */
    double tilt = 0, sum = 0;
    int quarter[4] = {0};
    from.noise = 0;
    for (int turn = 0; turn < 200; turn++)
        for (kind = POLE; kind <= BEAM; kind++) {
            fv_rng r = {5, (uint64_t)turn, 0};
            scene_of(&r, &from, 0, p);
            int a = 0, b = 0;
            const double above[3] = {0, 0, 9};
            for (int i = 1; i < OWN && kind == POLE; i++)
                if (away(p + 3 * i, above) > away(p + 3 * a, above)) a = i;
            while (kind == BEAM && memcmp(p + 3 * a, p + 3 * a + 3, 3 * sizeof *p)) a++;
            double from_a[3] = {(double)p[3 * a], (double)p[3 * a + 1], (double)p[3 * a + 2]};
            for (int i = 1; i < OWN; i++) b = away(p + 3 * i, from_a) > away(p + 3 * b, from_a) ? i : b;
            double x = (double)p[3 * b] - from_a[0], y = (double)p[3 * b + 1] - from_a[1],
                   z = (double)p[3 * b + 2] - from_a[2], level = atan2(fabs(z), hypot(x, y));
            if (kind == POLE) tilt = fmax(tilt, PI / 2 - level), sum += (PI / 2 - level) / 200;
            else quarter[(int)((atan2(y, x) + PI) / PI * 2) % 4]++;
            CHECK(kind == POLE ? PI / 2 - level < 0.2601 : level < 0.2601, "tilted by %g", level);
        }
    CHECK(tilt > 0.23 && fabs(sum - 0.13) < 0.02, "tilts of up to %g, %g in the mean", tilt, sum);
    for (int k = 0; k < 4; k++) CHECK(quarter[k] > 15, "a beam looks there %d times", quarter[k]);
}

static const thing_source shapes = {SHAPES, one_shape, NULL, 0};
/* volumes: bolts stand upright along the first axis, in noise, within the frame */
static void voxels(void) {
    static uint8_t v[SIDE * SIDE * SIDE];
    double spread[3] = {0}, low = 255, high = 0;
    for (int turn = 0; turn < 30; turn++) {
        fv_rng r = {6, (uint64_t)turn, 0};
        double mid[3] = {0}, count = 0, around[3] = {0}, dim = 0;
        volume_of(&r, &shapes, 15, v);
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < SIDE * SIDE * SIDE; i++) {
                int at[3] = {i / SIDE / SIDE, i / SIDE % SIDE, i % SIDE};
                if (v[i] < 160) continue;
                for (int k = 0; k < 3; k++)
                    if (pass) around[k] += pow(at[k] - mid[k] / count, 2) / count;
                    else mid[k] += at[k];
                count += !pass;
            }
        for (int i = 0; i < SIDE * SIDE * SIDE; i++) dim += (v[i] < 10) / pow(SIDE, 3);
        low = fmin(low, dim), high = fmax(high, dim);
        CHECK(count > 100 && count < 4096, "%g bright voxels", count);
        for (int k = 0; k < 3; k++) {
            spread[k] += around[k] / 30;
            CHECK(fabs(mid[k] / count - SIDE / 2.0) < 6, "it is in the middle");
        }
    }
    CHECK(spread[0] > 1.3 * spread[1] && fabs(spread[1] / spread[2] - 1) < 0.3, "spread %g, %g, %g",
          spread[0], spread[1], spread[2]);
    /* |noise| of 0.05 to 0.2 of 255 is under 10 with a probability of 0.57 to 0.16 */
    CHECK(high > 0.4 && high < 0.58 && low > 0.13 && low < 0.25, "%g to %g are dim", low, high);
}

/* blurred: the more, the more voxels beside the thing are half bright */
static void blurred(void) {
    static uint8_t v[SIDE * SIDE * SIDE];
    double ratio[2] = {0}, turns[2] = {0};
    for (int turn = 0; turn < 150; turn++) {
        fv_rng r = {9, (uint64_t)turn, 0}, again = r;
        double bright = 0, half = 0;
        float blur = (between(&again, 9, 13), between(&again, 0, 0.6f)), noise = between(&again, 0.05f, 0.2f);
        if (noise > 0.1f || (blur > 0.15f && blur < 0.45f)) continue;
        volume_of(&r, &shapes, 0, v);
        for (int i = 0; i < SIDE * SIDE * SIDE; i++) bright += v[i] >= 160, half += v[i] >= 80 && v[i] < 160;
        ratio[blur > 0.3f] += half / bright, turns[blur > 0.3f]++;
    }
    CHECK(turns[0] > 2 && turns[1] > 2 && ratio[1] / turns[1] > 3 * ratio[0] / turns[0] &&
              ratio[1] / turns[1] > 0.2,
          "%g half bright voxels a bright one, %g where there is little blur", ratio[1] / turns[1],
          ratio[0] / turns[0]);
}

/* the file of the volumes' demo: as many as said, each kind what it is called */
static void demos(void) {
#ifndef __SANITIZE_ADDRESS__ /* a minute there */
    char dir[2100], command[4400], path[2400];
    const char *temp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.2000s/shapes", temp ? temp : "/tmp");
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s'", dir, dir);
    fv_ctx *c = fv_create(NULL);
    CHECK(!system(command) && volumes_write(c, dir), "%s", fv_error_text(c));
    npz z;
    npy volume, label;
    snprintf(path, sizeof path, "%s/shapes3d.npz", dir);
    CHECK(npz_open(c, path, &z) && npz_get(c, &z, "test_images", &volume) &&
              npz_get(c, &z, "test_labels", &label) && volume.dim[0] == TEST * SHAPES &&
              label.count == TEST * SHAPES,
          "%s", fv_error_text(c));
    double upright[SHAPES] = {0}; /* spread along the first axis beside that along the last */
    for (int64_t i = 0; i < TEST * SHAPES && !fv_error(c); i++) {
        const uint8_t *v = volume.data + i * SIDE * SIDE * SIDE;
        double sum[2] = {0}, square[2] = {0}, count = 0;
        for (int k = 0; k < SIDE * SIDE * SIDE; k++) {
            int at[2] = {k / SIDE / SIDE, k % SIDE};
            for (int a = 0; a < 2 && v[k] >= 160; a++) sum[a] += at[a], square[a] += at[a] * at[a];
            count += v[k] >= 160;
        }
        for (int a = 0; a < 2; a++) square[a] -= sum[a] * sum[a] / count;
        upright[(int)npy_value(&label, i)] += square[0] / square[1] / TEST;
    }
    CHECK(upright[15] > 1.4 && upright[10] > 1.4 && upright[4] < 0.5 && upright[16] < 0.6 && upright[1] < 1.3,
          "bolt %g, bottle %g, torus %g, plane %g, sphere %g", upright[15], upright[10], upright[4],
          upright[16], upright[1]);
    npz_close(c, &z), fv_destroy(c);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    CHECK(!system(command), "the folder goes");
#endif
}

int main(void) {
    RUN(boxes);
    RUN(tubes);
    RUN(balls_and_rings);
    RUN(kinds);
    RUN(scenes);
    RUN(voxels);
    RUN(blurred);
    RUN(demos);
    return REPORT();
}
