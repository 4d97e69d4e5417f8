/* shapes.c -- 18 kinds of objects as surfaces, for the demos of points and volumes. The settings were fixed
 * before the first training run.
 *
 * points: 150 training and 40 test clouds of each kind, of 1,024 points, in the manner of ScanObjectNN's
 * hardest split: a part of the object cut away (what lies in a ball about a point of its surface, 20 to 40 %
 * of its points), 10 to 35 % of the cloud are background (a floor under it or a wall behind, and a second,
 * smaller thing beside it), turned any way about the upright axis and by up to 15 degrees about another,
 * noise of 0.01 to 0.03 of its size. volumes: 150, 20 and 40 of each kind (train, val, test), 28x28x28 voxels
 * of 4,096 points, a cut-out ball, turned about the upright axis, blurred over 3 voxels, with noise. Every
 * object has proportions of its own; test objects are none of the training objects. */
#include "clouds.h"
#include "medmnist.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    TRAIN = 150,
    VAL = 20,
    TEST = 40,
    POINTS = SCENE_POINTS,
    VOXEL_POINTS = 4096,
    SIDE = VOLUME_SIDE,
    PARTS = 24
};
const char *const shape_name[SHAPES] = {"box",   "sphere",   "cylinder", "cone", "torus",  "table",
                                        "chair", "stool",    "lamp",     "mug",  "bottle", "stairs",
                                        "arch",  "dumbbell", "bracket",  "bolt", "plane",  "shelf"};

static float between(fv_rng *r, float a, float b) { return a + (b - a) * fv_rng_uniform(r); }

/* ---- parts: where they stand, how large, and which way their axis goes ---- */
/* BOX: sides a, b, c; TUBE: radius a at the bottom, b at the top, height c, closed where a and b are
 * positive; RING: radii a, b; turned share c */
enum { BOX, TUBE, BALL, RING };
typedef struct part {
    int kind, axis;
    float at[3], a, b, c, area;
} part;
typedef struct thing {
    int parts;
    part part[PARTS];
} thing;

static void add(thing *t, int kind, int axis, float x, float y, float z, float a, float b, float c) {
    const float pi = 3.14159265f;
    if (t->parts == PARTS) return;
    part *p = &t->part[t->parts++];
    p->kind = kind, p->axis = axis, p->at[0] = x, p->at[1] = y, p->at[2] = z, p->a = a, p->b = b, p->c = c;
    if (kind == BOX) p->area = 2 * (a * b + b * c + a * c);
    else if (kind == BALL) p->area = 4 * pi * a * a * b;
    else if (kind == RING) p->area = 4 * pi * pi * a * b * c;
    else p->area = pi * (a + b) * sqrtf(c * c + (a - b) * (a - b)) + pi * (a * a + b * b);
}
static void on_part(fv_rng *r, const part *p, float *out) {
    const float turn = 6.28318531f;
    float q[3], u = fv_rng_uniform(r), v = fv_rng_uniform(r) * turn;
    if (p->kind == BOX) {
        float side[3] = {p->a, p->b, p->c}, face[3] = {p->b * p->c, p->a * p->c, p->a * p->b},
              at = u * (face[0] + face[1] + face[2]);
        int k = at < face[0] ? 0 : at < face[0] + face[1] ? 1 : 2;
        for (int i = 0; i < 3; i++) q[i] = (fv_rng_uniform(r) - 0.5f) * side[i];
        q[k] = (fv_rng_below(r, 2) ? 0.5f : -0.5f) * side[k];
    } else if (p->kind == BALL) { /* b: the share of it, from the top */
        float z = 1 - 2 * u * p->b, s = sqrtf(fmaxf(0, 1 - z * z));
        q[0] = p->a * s * cosf(v), q[1] = p->a * s * sinf(v), q[2] = p->a * z;
    } else if (p->kind == RING) {
        float w, s;
        do w = fv_rng_uniform(r) * turn, s = p->a + p->b * cosf(w);
        while (fv_rng_uniform(r) * (p->a + p->b) > s);
        v *= p->c;
        q[0] = s * cosf(v), q[1] = s * sinf(v), q[2] = p->b * sinf(w);
    } else {
        float wall = (p->a + p->b) * sqrtf(p->c * p->c + (p->a - p->b) * (p->a - p->b)), low = p->a * p->a,
              high = p->b * p->b, at = u * (wall + low + high), k;
        if (at < wall) { /* evenly by area: the radius grows linearly */
            do k = fv_rng_uniform(r);
            while (fv_rng_uniform(r) * fmaxf(p->a, p->b) > p->a + k * (p->b - p->a));
            float s = p->a + k * (p->b - p->a);
            q[0] = s * cosf(v), q[1] = s * sinf(v), q[2] = (k - 0.5f) * p->c;
        } else {
            int top = at > wall + low;
            float s = (top ? p->b : p->a) * sqrtf(fv_rng_uniform(r));
            q[0] = s * cosf(v), q[1] = s * sinf(v), q[2] = (top ? 0.5f : -0.5f) * p->c;
        }
    }
    /* axis 2: upright; 0: along x; 1: along y */
    for (int i = 0; i < 3; i++) out[i] = p->at[i] + q[(i - p->axis + 5) % 3];
}

static void legs(thing *t, fv_rng *r, int n, float width, float depth, float top, float thick) {
    int round = (int)fv_rng_below(r, 2);
    for (int i = 0; i < n; i++) {
        float a = 6.28318531f * ((float)i + 0.5f) / (float)n,
              x = n == 4 ? (i % 2 ? width : -width) / 2 : cosf(a) * width / 2,
              y = n == 4 ? (i / 2 ? depth : -depth) / 2 : sinf(a) * depth / 2;
        if (round) add(t, TUBE, 2, x, y, top / 2, thick / 2, thick / 2, top);
        else add(t, BOX, 2, x, y, top / 2, thick, thick, top);
    }
}
static void make(fv_rng *r, int kind, thing *t) {
    float a = between(r, 0.7f, 1.4f), b = between(r, 0.7f, 1.4f), h = between(r, 0.6f, 1.6f),
          k = between(r, 0.06f, 0.14f);
    t->parts = 0;
    switch (kind) {
    case 0: add(t, BOX, 2, 0, 0, 0, a, b, h); break;
    case 1: add(t, BALL, 2, 0, 0, 0, 1, 1, 0); break;
    case 2: add(t, TUBE, 2, 0, 0, 0, a / 2, a / 2, h); break;
    case 3: add(t, TUBE, 2, 0, 0, 0, a / 2, 0.001f, h); break;
    case 4: add(t, RING, 2, 0, 0, 0, 0.7f, between(r, 0.12f, 0.3f), 1); break;
    case 5: add(t, BOX, 2, 0, 0, h * 0.7f, a, b, k), legs(t, r, 4, a - 2 * k, b - 2 * k, h * 0.7f, k); break;
    case 6:
        add(t, BOX, 2, 0, 0, 0.5f, a * 0.7f, a * 0.7f, k), legs(t, r, 4, a * 0.7f - k, a * 0.7f - k, 0.5f, k);
        add(t, BOX, 2, 0, a * 0.35f, 0.5f + h * 0.35f, a * 0.7f, k, h * 0.7f);
        break;
    case 7:
        add(t, TUBE, 2, 0, 0, h * 0.6f, a * 0.35f, a * 0.35f, k),
            legs(t, r, 3, a * 0.55f, a * 0.55f, h * 0.6f, k);
        break;
    case 8:
        add(t, TUBE, 2, 0, 0, 0.04f, a * 0.35f, a * 0.3f, 0.08f),
            add(t, TUBE, 2, 0, 0, h * 0.4f, 0.04f, 0.04f, h * 0.8f);
        add(t, TUBE, 2, 0, 0, h * 0.8f + 0.2f, a * 0.45f, a * between(r, 0.15f, 0.3f), 0.4f);
        break;
    case 9:
        add(t, TUBE, 2, 0, 0, h * 0.3f, a * 0.35f, a * 0.35f, h * 0.6f),
            add(t, RING, 1, a * 0.35f, 0, h * 0.3f, h * 0.18f, 0.05f, 1);
        break;
    case 10:
        add(t, TUBE, 2, 0, 0, h * 0.35f, a * 0.3f, a * 0.3f, h * 0.7f),
            add(t, TUBE, 2, 0, 0, h * 0.78f, a * 0.3f, a * 0.1f, h * 0.16f);
        add(t, TUBE, 2, 0, 0, h * 0.96f, a * 0.1f, a * 0.1f, h * 0.2f);
        break;
    case 11:
        for (int i = 0, n = 4 + (int)fv_rng_below(r, 3); i < n; i++)
            add(t, BOX, 2, ((float)i - (float)n / 2) * a / (float)n, 0, h * 0.4f * (float)(i + 1) / (float)n,
                a / (float)n, b * 0.6f, h * 0.8f * (float)(i + 1) / (float)n);
        break;
    case 12: {
        float w = between(r, 0.15f, 0.25f);
        add(t, BOX, 2, -a / 2, 0, h * 0.3f, w, w * 1.5f, h * 0.6f),
            add(t, BOX, 2, a / 2, 0, h * 0.3f, w, w * 1.5f, h * 0.6f),
            add(t, RING, 1, 0, 0, h * 0.6f, a / 2, w / 2, 0.5f);
        break;
    }
    case 13:
        add(t, TUBE, 0, 0, 0, 0, 0.07f, 0.07f, a), add(t, BALL, 2, -a / 2, 0, 0, b * 0.25f, 1, 0),
            add(t, BALL, 2, a / 2, 0, 0, b * 0.25f, 1, 0);
        break;
    case 14:
        add(t, BOX, 2, a * 0.4f, 0, 0, a * 0.8f, b * 0.5f, k),
            add(t, BOX, 2, 0, 0, h * 0.35f, k, b * 0.5f, h * 0.7f);
        break;
    case 15:
        add(t, TUBE, 2, 0, 0, h * 0.5f, 0.16f, 0.16f, h),
            add(t, TUBE, 2, 0, 0, h, a * 0.35f, a * 0.35f, between(r, 0.15f, 0.3f));
        break;
    case 16:
        add(t, TUBE, 0, 0, 0, 0, 0.09f, 0.14f, 1.6f), add(t, BOX, 2, 0.1f, 0, 0, 0.35f, a * 1.5f, 0.05f);
        add(t, BOX, 2, -0.7f, 0, 0.05f, 0.2f, 0.55f, 0.04f),
            add(t, BOX, 2, -0.7f, 0, 0.2f, 0.2f, 0.04f, 0.4f);
        break;
    default:
        add(t, BOX, 2, -a * 0.4f, 0, h * 0.5f, k, 0.35f, h),
            add(t, BOX, 2, a * 0.4f, 0, h * 0.5f, k, 0.35f, h);
        for (int i = 0, n = 3 + (int)fv_rng_below(r, 3); i < n; i++)
            add(t, BOX, 2, 0, 0, h * ((float)i + 0.1f) / ((float)n - 0.8f), a * 0.8f, 0.35f, k * 0.7f);
    }
}

void shape_sample(fv_rng *r, int kind, int64_t n, float *out) {
    thing t;
    float sum[PARTS], whole = 0, size[3];
    make(r, kind, &t);
    for (int i = 0; i < t.parts; i++) sum[i] = whole += t.part[i].area;
    for (int k = 0; k < 3; k++) size[k] = between(r, 0.8f, 1.25f);
    for (int64_t i = 0; i < n; i++) {
        float at = fv_rng_uniform(r) * whole;
        int p = 0;
        while (p < t.parts - 1 && sum[p] <= at) p++;
        on_part(r, &t.part[p], out + 3 * i);
        for (int k = 0; k < 3; k++) out[3 * i + k] *= size[k];
    }
    cloud_fit(out, n);
}

/* turned about z by any angle and about a level axis by up to `tilt` */
static void turn(fv_rng *r, float *p, int64_t n, float tilt) {
    float a = between(r, 0, 6.28318531f), b = between(r, 0, 6.28318531f), t = between(r, -tilt, tilt),
          u[3] = {cosf(b), sinf(b), 0};
    for (int64_t i = 0; i < n; i++) {
        float *q = p + 3 * i, x = q[0] * cosf(a) - q[1] * sinf(a), y = q[0] * sinf(a) + q[1] * cosf(a),
              z = q[2], along = x * u[0] + y * u[1];
        float cross[3] = {u[1] * z, -u[0] * z, u[0] * y - u[1] * x};
        q[0] = x * cosf(t) + cross[0] * sinf(t) + u[0] * along * (1 - cosf(t)),
        q[1] = y * cosf(t) + cross[1] * sinf(t) + u[1] * along * (1 - cosf(t)),
        q[2] = z * cosf(t) + cross[2] * sinf(t);
    }
}
/* the points of a ball about one of them go away: about `share` of all. How many are left. */
static int64_t cut(fv_rng *r, float *p, int64_t n, float share) {
    float mid[3], low = 0, high = 4;
    memcpy(mid, p + 3 * fv_rng_below(r, (uint32_t)n), sizeof mid);
    for (int step = 0; step < 20; step++) { /* the radius that takes that many */
        float d = (low + high) / 2;
        int64_t in = 0;
        for (int64_t i = 0; i < n; i++)
            in += hypotf(hypotf(p[3 * i] - mid[0], p[3 * i + 1] - mid[1]), p[3 * i + 2] - mid[2]) < d;
        if ((float)in > share * (float)n) high = d;
        else low = d;
    }
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++)
        if (hypotf(hypotf(p[3 * i] - mid[0], p[3 * i + 1] - mid[1]), p[3 * i + 2] - mid[2]) >= low)
            memmove(p + 3 * left++, p + 3 * i, 3 * sizeof *p);
    return left;
}
static int background(fv_rng *r, const thing_source *from, float *p, int64_t n) {
    int64_t flat = n / 2;
    int wall = (int)fv_rng_below(r, 2), other = (int)fv_rng_below(r, (uint32_t)from->count);
    float a = between(r, 0, 6.28318531f), size = between(r, 0.25f, 0.45f), far = between(r, 0.8f, 1.2f);
    for (int64_t i = 0; i < flat; i++) {
        float u = between(r, -1, 1), v = between(r, -1, 1), *q = p + 3 * i;
        q[0] = wall ? far * cosf(a) - u * sinf(a) : u, q[1] = wall ? far * sinf(a) + u * cosf(a) : v;
        q[2] = wall ? v * 0.8f : -0.7f;
    }
    if (!from->sample(from->of, r, other, n - flat, p + 3 * flat)) return 0;
    for (int64_t i = flat; i < n; i++) {
        float *q = p + 3 * i;
        q[0] = q[0] * size - far * cosf(a), q[1] = q[1] * size - far * sinf(a), q[2] = q[2] * size - 0.4f;
    }
    return 1;
}
int scene_of(fv_rng *r, const thing_source *from, int which, float *p) {
    float own[3 * 2 * POINTS], noise = between(r, from->noise, 3 * from->noise);
    int64_t behind = (int64_t)(between(r, 0.10f, 0.35f) * POINTS), n = 2 * POINTS;
    if (!from->sample(from->of, r, which, n, own)) return 0;
    turn(r, own, n, 0.26f);
    n = cut(r, own, n, between(r, 0.2f, 0.4f)); /* at least 1,200 are left */
    memcpy(p, own, (size_t)(3 * (POINTS - behind)) * sizeof *p);
    if (!background(r, from, p + 3 * (POINTS - behind), behind)) return 0;
    for (int64_t i = 0; i < 3 * POINTS; i++) p[i] += noise * fv_rng_normal(r);
    cloud_fit(p, POINTS);
    return 1;
}

static int one_shape(void *of, fv_rng *r, int which, int64_t n, float *out) {
    (void)of;
    shape_sample(r, which, n, out);
    return 1;
}
int clouds_write(fv_ctx *c, const char *dir) {
    static const char *const split[2] = {"train", "test"};
    char path[4400];
    float p[3 * POINTS];
    int64_t dim[2] = {POINTS, 3};
    const thing_source from = {SHAPES, one_shape, NULL, 0.01f};
    for (int s = 0; s < 2; s++) {
        snprintf(path, sizeof path, "%s/%s", dir, split[s]);
        if (mkdir(path, 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", path);
        for (int k = 0; k < SHAPES; k++) {
            snprintf(path, sizeof path, "%s/%s/%s", dir, split[s], shape_name[k]);
            if (mkdir(path, 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", path);
            for (int i = 0; i < (s ? TEST : TRAIN) && !fv_error(c); i++) {
                fv_rng r = {2029, (uint64_t)((s * SHAPES + k) * 1000 + i), 0};
                scene_of(&r, &from, k, p);
                snprintf(path, sizeof path, "%s/%s/%s/%d.npy", dir, split[s], shape_name[k], i + 1);
                npy_write(c, path, p, 2, dim);
            }
        }
    }
    return !fv_error(c);
}

/* ---- volumes ---- */
int volume_of(fv_rng *r, const thing_source *from, int which, uint8_t *out) {
    float p[3 * VOXEL_POINTS];
    float grid[SIDE * SIDE * SIDE] = {0}, soft[SIDE * SIDE * SIDE], size = between(r, 9, 13),
                             blur = between(r, 0, 0.6f), noise = between(r, 0.05f, 0.2f), shift[3];
    if (!from->sample(from->of, r, which, VOXEL_POINTS, p)) return 0;
    turn(r, p, VOXEL_POINTS, 0.15f);
    int64_t n = cut(r, p, VOXEL_POINTS, between(r, 0.1f, 0.3f));
    for (int k = 0; k < 3; k++) shift[k] = SIDE / 2.0f + between(r, -1.5f, 1.5f);
    for (int64_t i = 0; i < n; i++) {
        int at[3], inside = 1;
        for (int k = 0; k < 3; k++)
            at[k] = (int)floorf(p[3 * i + k] * size + shift[k]), inside &= at[k] >= 0 && at[k] < SIDE;
        if (inside) grid[(at[2] * SIDE + at[1]) * SIDE + at[0]] = 1;
    }
    for (int z = 0; z < SIDE; z++)
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                float sum = 0;
                int count = 0;
                for (int a = -1; a < 2; a++)
                    for (int b = -1; b < 2; b++)
                        for (int d = -1; d < 2; d++)
                            if (z + a >= 0 && z + a < SIDE && y + b >= 0 && y + b < SIDE && x + d >= 0 &&
                                x + d < SIDE)
                                sum += grid[((z + a) * SIDE + y + b) * SIDE + x + d], count++;
                int i = (z * SIDE + y) * SIDE + x;
                soft[i] = (1 - blur) * grid[i] + 2 * blur * sum / (float)count;
            }
    for (int i = 0; i < SIDE * SIDE * SIDE; i++) {
        float v = 200 * fminf(soft[i], 1) + 255 * noise * fabsf(fv_rng_normal(r));
        out[i] = (uint8_t)(v > 255 ? 255 : v);
    }
    return 1;
}
int volumes_put(fv_ctx *c, npz_out *z, const char *split, const thing_source *from, uint64_t seed,
                uint64_t stream, const int32_t *which, const uint8_t *label, int64_t n) {
    char name[64];
    int64_t dim[4] = {n, SIDE, SIDE, SIDE}, column[2] = {n, 1}, one = SIDE * SIDE * SIDE;
    uint8_t *data = (uint8_t *)fv_alloc(c, (size_t)(n * one));
    for (int64_t i = 0; i < n && data && !fv_error(c); i++) {
        fv_rng r = {seed, stream + (uint64_t)i, 0};
        volume_of(&r, from, which[i], data + i * one);
    }
    snprintf(name, sizeof name, "%s_images", split);
    if (data && !fv_error(c)) npz_put(c, z, name, data, 4, dim);
    snprintf(name, sizeof name, "%s_labels", split);
    if (!fv_error(c)) npz_put(c, z, name, label, 2, column);
    fv_free(c, data);
    return !fv_error(c);
}
int volumes_write(fv_ctx *c, const char *dir) {
    static const char *const split[3] = {"train", "val", "test"};
    static const int each[3] = {TRAIN, VAL, TEST};
    const thing_source from = {SHAPES, one_shape, NULL, 0};
    char path[4400];
    int32_t which[SHAPES * TRAIN];
    uint8_t label[SHAPES * TRAIN];
    npz_out z;
    memset(&z, 0, sizeof z);
    for (int i = 0; i < SHAPES * TRAIN; i++) which[i] = i % SHAPES, label[i] = (uint8_t)(i % SHAPES);
    for (uint64_t s = 0; s < 3 && !fv_error(c); s++)
        volumes_put(c, &z, split[s], &from, 2030, s * 100000, which, label, (int64_t)each[s] * SHAPES);
    medmnist_put_names(c, &z, shape_name, SHAPES);
    snprintf(path, sizeof path, "%s/shapes3d.npz", dir);
    return npz_save(c, &z, path);
}
