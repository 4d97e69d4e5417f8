/* motion: where a road user will be in 3 seconds. Data: Argoverse 1's CSV files in train/ and val/, lane
 * centre lines in lanes/CITY.csv.
 *
 * A scene is turned so that the agent's last observed position is the origin and it drives along +x. What the
 * network sees:
 *   agents [B,9,19,4]   the agent and the nearest 8 others: of each observed step x, y (tens of metres), dx,
 *   dy
 *                       (metres since the step before)
 *   lanes  [B,24,9,7]   the nearest lanes within 65 m, in pieces of 10 points: x, y (tens of metres), dx, dy
 *                       (metres); turn, junction, control
 * and says K futures [30,2] in metres and a score for each. */
#include "../data/argoverse.h"
#include "../data/folder.h"
#include "../draw.h"
#include "task.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { AGENTS = 9, VECTORS = 19, LANES = 24, POINTS = 9, FUTURE = MOTION_STEPS - MOTION_SEEN, PIECES = 4096 };
static const float reach = 65;
typedef struct motion_data {
    traffic *scene[2];
    lane_map *map;
    int maps;
} motion_data;
typedef struct frame {
    float at[2], x[2]; /* x: the unit vector ahead */
} frame;

static const char *presets[][2] = {
    {"demo-motion", "arch=motion dim=128 depth=1 num_heads=2 batch_size=32 epochs=24 lr=1e-3 "
                    "warmup_epochs=0.5 weight_decay=0.01 clip_grad=1 precision=bf16"},
    {"mmtransformer", "arch=motion encoder=mmtransformer dim=128 depth=2 num_heads=2 batch_size=32 epochs=24 "
                      "lr=1e-3 warmup_epochs=1 weight_decay=0.01 clip_grad=1 precision=bf16"},
    {NULL, NULL}};
static const char *const keys[] = {NULL};

static lane_map *map_of(run *r, motion_data *d, const char *dir, const char *city) {
    char path[4400];
    for (int i = 0; i < d->maps; i++)
        if (!strcmp(d->map[i].city, city)) return &d->map[i];
    if (!*city || strchr(city, '/'))
        return fv_fail(r->c, FV_EFORMAT, "%s: \"%s\" is no CITY_NAME", dir, city), (lane_map *)NULL;
    lane_map *more = (lane_map *)fv_alloc(r->c, (size_t)(d->maps + 1) * sizeof *more);
    if (!more) return NULL;
    if (d->map) memcpy(more, d->map, (size_t)d->maps * sizeof *more), fv_free(r->c, d->map);
    d->map = more;
    snprintf(path, sizeof path, "%s/lanes/%s.csv", dir, city);
    if (!lanes_read(r->c, path, &d->map[d->maps])) return NULL;
    snprintf(d->map[d->maps].city, sizeof d->map->city, "%.15s", city);
    return &d->map[d->maps++];
}

static int read_split(run *r, motion_data *d, const char *dir, int split) {
    char folder[4300], path[4400];
    int n;
    snprintf(folder, sizeof folder, "%s/%s", dir, split ? "val" : "train");
    char **name = folder_list(r->c, folder, ".csv", 0, &n);
    d->scene[split] = name ? (traffic *)fv_alloc(r->c, (size_t)(n + 1) * sizeof(traffic)) : NULL;
    if (d->scene[split] && !n) fv_fail(r->c, FV_EIO, "%s: no .csv file", folder);
    for (int i = 0; i < n && d->scene[split] && !fv_error(r->c); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        traffic *t = &d->scene[split][i];
        if (!traffic_read(r->c, path, t)) break;
        r->count[split] = i + 1;
        if (t->steps != MOTION_STEPS)
            fv_fail(r->c, FV_EUSAGE, "%s: only %d steps: training and measuring want the future too", path,
                    t->steps);
        else map_of(r, d, dir, t->city);
    }
    fv_free(r->c, name);
    return !fv_error(r->c);
}

static int motion_open(run *r, const char *dir) {
    motion_data *d = (motion_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d) return 0;
    if ((int)number_of(&r->s, 'm', "future_steps", FUTURE) != FUTURE ||
        (int)number_of(&r->s, 'm', "agent_features", 4) != 4 ||
        (int)number_of(&r->s, 'm', "lane_features", 7) != 7)
        return fv_fail(r->c, FV_EUSAGE,
                       "motion: the data have future_steps=%d agent_features=4 lane_features=7", FUTURE);
    return read_split(r, d, dir, 0) && read_split(r, d, dir, 1);
}
static void motion_close(run *r) {
    motion_data *d = (motion_data *)r->data;
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < r->count[s]; i++) traffic_free(r->c, &d->scene[s][i]);
        fv_free(r->c, d->scene[s]);
    }
    for (int i = 0; i < d->maps; i++) lanes_free(r->c, &d->map[i]);
    fv_free(r->c, d->map), fv_free(r->c, d);
    r->data = NULL;
}

/* ---- a scene as the agent sees it ---- */
static frame frame_of(const traffic *t) {
    const track *a = &t->track[t->agent];
    frame f;
    int now = MOTION_SEEN - 1, from = now - 5;
    memcpy(f.at, a->at[now], sizeof f.at);
    while (from > 0 && hypotf(f.at[0] - a->at[from][0], f.at[1] - a->at[from][1]) < 1)
        from--; /* who hardly moves: since longer ago */
    float x = f.at[0] - a->at[from][0], y = f.at[1] - a->at[from][1], n = hypotf(x, y);
    f.x[0] = n > 1e-3f ? x / n : 1, f.x[1] = n > 1e-3f ? y / n : 0;
    return f;
}
static void seen_from(const frame *f, const float *p, float *out) {
    float x = p[0] - f->at[0], y = p[1] - f->at[1];
    out[0] = x * f->x[0] + y * f->x[1], out[1] = y * f->x[0] - x * f->x[1];
}

typedef struct near_one {
    float far;
    int which, from;
} near_one;
/* keeps the n nearest, nearest first */
static void keep(near_one *list, int *count, int n, near_one one) {
    int full = *count == n;
    if (full && !(one.far < list[n - 1].far)) return;
    int i = full ? n - 1 : (*count)++;
    for (; i > 0 && list[i - 1].far > one.far; i--) list[i] = list[i - 1];
    list[i] = one;
}

static void put_agent(const frame *f, const track *t, float *x, uint8_t *mask) {
    float p[2], q[2];
    for (int i = 0; i < VECTORS; i++) {
        if (!(mask[i] = t->seen[i] && t->seen[i + 1])) continue;
        seen_from(f, t->at[i], p), seen_from(f, t->at[i + 1], q);
        x[4 * i] = q[0] / 10, x[4 * i + 1] = q[1] / 10, x[4 * i + 2] = q[0] - p[0],
              x[4 * i + 3] = q[1] - p[1];
    }
}
static void put_agents(const traffic *t, const frame *f, float *x, uint8_t *mask) {
    near_one list[AGENTS - 1];
    int count = 0;
    put_agent(f, &t->track[t->agent], x, mask);
    for (int i = 0; i < t->tracks; i++) {
        int last = MOTION_SEEN - 1, vectors = 0;
        const track *one = &t->track[i];
        while (last >= 0 && !one->seen[last]) last--;
        for (int k = 0; k < VECTORS; k++) vectors += one->seen[k] && one->seen[k + 1];
        if (i == t->agent || !vectors) continue;
        near_one n = {hypotf(one->at[last][0] - f->at[0], one->at[last][1] - f->at[1]) + 1e-6f, i, 0};
        if (n.far < reach) keep(list, &count, AGENTS - 1, n);
    }
    for (int i = 0; i < count; i++)
        put_agent(f, &t->track[list[i].which], x + (i + 1) * VECTORS * 4, mask + (i + 1) * VECTORS);
}
static void put_lanes(const lane_map *m, const frame *f, float *x, uint8_t *mask) {
    near_one list[LANES];
    int count = 0;
    for (int i = 0; i < m->lanes; i++)
        for (int from = 0; from < m->lane[i].count - 1; from += POINTS) {
            near_one n = {1e30f, i, from};
            for (int k = from; k <= from + POINTS && k < m->lane[i].count; k++) {
                const float *p = m->point[m->lane[i].first + k];
                n.far = fminf(n.far, hypotf(p[0] - f->at[0], p[1] - f->at[1]) + 1e-6f);
            }
            if (n.far < reach) keep(list, &count, LANES, n);
        }
    for (int i = 0; i < count; i++) {
        const lane *l = &m->lane[list[i].which];
        for (int k = 0; k < POINTS && list[i].from + k + 1 < l->count; k++) {
            float p[2], q[2], *to = x + (i * POINTS + k) * 7;
            seen_from(f, m->point[l->first + list[i].from + k], p),
                seen_from(f, m->point[l->first + list[i].from + k + 1], q);
            to[0] = q[0] / 10, to[1] = q[1] / 10, to[2] = q[0] - p[0], to[3] = q[1] - p[1];
            to[4] = (float)l->turn, to[5] = (float)l->junction, to[6] = (float)l->control;
            mask[i * POINTS + k] = 1;
        }
    }
}
static void put_future(const traffic *t, const frame *f, float *y) {
    for (int k = 0; k < FUTURE; k++) seen_from(f, t->track[t->agent].at[MOTION_SEEN + k], y + 2 * k);
}

/* tensors of n scenes; scene i has its lanes in map i */
static int scenes_batch(run *r, const traffic *const *t, const lane_map *const *map, int n, batch *b) {
    int64_t dim[3][4] = {{n, AGENTS, VECTORS, 4}, {n, LANES, POINTS, 7}, {n, FUTURE, 2, 0}};
    for (int k = 0; k < 2; k++)
        b->input[2 * k] = fv_new(r->c, FV_F32, 4, dim[k]),
                     b->input[2 * k + 1] = fv_new(r->c, FV_U8, 3, dim[k]);
    b->target[0] = fv_new(r->c, FV_F32, 3, dim[2]);
    if (fv_error(r->c)) return 0;
    for (int k = 0; k < 4; k++)
        memset(b->input[k]->data, 0, (size_t)fv_numel(b->input[k]) * (k % 2 ? 1 : sizeof(float)));
    memset(b->target[0]->data, 0, (size_t)fv_numel(b->target[0]) * sizeof(float));
    for (int i = 0; i < n; i++) {
        frame f = frame_of(t[i]);
        put_agents(t[i], &f, (float *)b->input[0]->data + i * AGENTS * VECTORS * 4,
                   (uint8_t *)b->input[1]->data + i * AGENTS * VECTORS);
        put_lanes(map[i], &f, (float *)b->input[2]->data + i * LANES * POINTS * 7,
                  (uint8_t *)b->input[3]->data + i * LANES * POINTS);
        if (t[i]->steps == MOTION_STEPS) put_future(t[i], &f, (float *)b->target[0]->data + i * FUTURE * 2);
    }
    b->inputs = 4, b->targets = 1, b->count = n;
    return 1;
}
static int motion_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    motion_data *d = (motion_data *)r->data;
    const traffic *t[512];
    const lane_map *map[512];
    (void)epoch;
    if (n > 512) return fv_fail(r->c, FV_EUSAGE, "motion: a batch has at most 512 scenes");
    for (int i = 0; i < n; i++)
        t[i] = &d->scene[split][index[i]],
        map[i] = map_of(r, d, r->data_path, d->scene[split][run_other(r, split, index[i])].city);
    return !fv_error(r->c) && scenes_batch(r, t, map, n, b);
}
static fv_tensor *motion_loss(run *r, fv_tensor *y, const batch *b) {
    return fv_motion_loss(r->c, y, b->target[0]);
}

/* ---- measures ---- */
typedef struct motion_sums {
    double ade, fde, missed, brier;
    int count;
} motion_sums;
/* one scene: `modes` futures [modes][FUTURE][2] of probability p, the truth. The mode with the least endpoint
 * error counts, of equal ones the first; an
 * endpoint that is no number is infinitely far. */
static void add_scene(motion_sums *s, const float *future, const float *p, int modes, const float *truth) {
    int best = 0;
    double least = 0, sum = 0;
    for (int k = 0; k < modes; k++) {
        const float *end = future + (k + 1) * FUTURE * 2 - 2;
        double e = hypot((double)(end[0] - truth[2 * FUTURE - 2]), (double)(end[1] - truth[2 * FUTURE - 1]));
        if (!(e < INFINITY)) e = INFINITY;
        if (!k || e < least) least = e, best = k;
    }
    for (int i = 0; i < FUTURE; i++) {
        const float *at = future + (best * FUTURE + i) * 2;
        sum += hypot((double)(at[0] - truth[2 * i]), (double)(at[1] - truth[2 * i + 1]));
    }
    s->ade += sum / FUTURE, s->fde += least, s->missed += least > 2,
        s->brier += least + (1 - (double)p[best]) * (1 - (double)p[best]), s->count++;
}

/* futures and probabilities of row b of the network's output */
static int futures_of(const fv_tensor *y, int b, float *future, float *p) {
    int K = (int)y->dim[1], n = (int)y->dim[2];
    double sum = 0, most = -1e30;
    for (int k = 0; k < K; k++) most = fmax(most, fv_get(y, ((int64_t)b * K + k) * n + n - 1));
    for (int k = 0; k < K; k++) {
        for (int i = 0; i < n - 1; i++)
            future[k * (n - 1) + i] = (float)fv_get(y, ((int64_t)b * K + k) * n + i);
        sum += p[k] = (float)exp(fv_get(y, ((int64_t)b * K + k) * n + n - 1) - most);
    }
    for (int k = 0; k < K; k++) p[k] = (float)((double)p[k] / sum);
    return K;
}

static int motion_measure(run *r, int split, int from, int count, figures *out) {
    int was = fv_no_grad(r->c, 1), training = fv_training(r->c, 0),
        modes = (int)number_of(&r->s, 'm', "modes", 6);
    motion_sums s = {0, 0, 0, 0, 0};
    double loss_sum = 0;
    float *future = (float *)fv_alloc(r->c, (size_t)modes * (FUTURE * 2 + 1) * sizeof *future),
          *p = future + modes * FUTURE * 2;
    for (int at = from; future && at < from + count && !fv_error(r->c) && !is_interrupted(); at += 64) {
        int32_t index[64];
        int n = from + count - at < 64 ? from + count - at : 64;
        batch b;
        fv_reset(r->c);
        memset(&b, 0, sizeof b), b.with_loss = 1;
        for (int i = 0; i < n; i++) index[i] = at + i;
        fv_tensor *y = motion_batch(r, split, index, n, -1, &b) ? run_forward(r, &b) : NULL,
                  *loss = y ? motion_loss(r, y, &b) : NULL;
        if (!loss) break;
        loss_sum += fv_get(loss, 0) * n;
        for (int i = 0; i < n; i++) {
            double before = s.fde;
            futures_of(y, i, future, p),
                add_scene(&s, future, p, modes, (const float *)b.target[0]->data + i * FUTURE * 2);
            run_score(r, split, index[i], s.fde - before);
        }
    }
    fv_free(r->c, future);
    if (s.count && !fv_error(r->c)) {
        figure_add(out, "minFDE", s.fde / s.count, "m"), figure_add(out, "minADE", s.ade / s.count, "m"),
            figure_add(out, "MR", 100 * s.missed / s.count, "%");
        figure_add(out, "brier-minFDE", s.brier / s.count, "m"),
            figure_add(out, "loss", loss_sum / s.count, "");
    }
    fv_no_grad(r->c, was), fv_training(r->c, training);
    return !fv_error(r->c);
}

/* ---- trivial answers ---- */
static float speed_of(const traffic *t) { /* m a step, of the last half second */
    const track *a = &t->track[t->agent];
    return hypotf(a->at[19][0] - a->at[14][0], a->at[19][1] - a->at[14][1]) / 5;
}
static void constant_velocity(const traffic *t, float *future) {
    const track *a = &t->track[t->agent];
    frame f = frame_of(t);
    for (int k = 0; k < FUTURE; k++) {
        float p[2];
        for (int i = 0; i < 2; i++) p[i] = a->at[19][i] + (a->at[19][i] - a->at[14][i]) / 5 * (float)(k + 1);
        seen_from(&f, p, future + 2 * k);
    }
}
/* distance from p to the segment, and where on it (0..1) */
static float to_segment(const float *p, const float *a, const float *b, float *t) {
    float x = b[0] - a[0], y = b[1] - a[1], n = x * x + y * y;
    *t = n > 0 ? fminf(1, fmaxf(0, ((p[0] - a[0]) * x + (p[1] - a[1]) * y) / n)) : 0;
    return hypotf(a[0] + *t * x - p[0], a[1] + *t * y - p[1]);
}
/* the lane that begins where this one ends and bends least; -1 */
static int next_lane(const lane_map *m, int l) {
    const float *e = m->point[m->lane[l].first + m->lane[l].count - 1], *d = e - 2;
    int best = -1;
    float most = -1;
    for (int i = 0; i < m->lanes; i++) {
        const float *p = m->point[m->lane[i].first], *q = m->point[m->lane[i].first + m->lane[i].count - 1];
        float x = q[0] - p[0], y = q[1] - p[1], u = e[0] - d[0], v = e[1] - d[1],
              cosine = (x * u + y * v) / (hypotf(x, y) * hypotf(u, v) + 1e-9f);
        if (i != l && hypotf(p[0] - e[0], p[1] - e[1]) < 2 && cosine > most) most = cosine, best = i;
    }
    return best;
}
/* along the nearest lane that goes its way, at its speed; onward over the straightest following lane, and
 * straight where lanes end */
static void lane_follower(const traffic *t, const lane_map *m, float *future) {
    frame f = frame_of(t);
    int lane_at = -1, i = 0;
    float least = 5, along = 0, step = speed_of(t), here[2], ahead[2] = {f.x[0], f.x[1]};
    for (int l = 0; l < m->lanes; l++)
        for (int k = 0; k + 1 < m->lane[l].count; k++) {
            const float *p = m->point[m->lane[l].first + k];
            float s, far = to_segment(f.at, p, p + 2, &s), x = p[2] - p[0], y = p[3] - p[1];
            if (x * f.x[0] + y * f.x[1] < 0.7f * hypotf(x, y)) continue;
            if (far < least) least = far, lane_at = l, i = k, along = s;
        }
    if (lane_at < 0) {
        constant_velocity(t, future);
        return;
    }
    const float *p = m->point[m->lane[lane_at].first + i];
    for (int k = 0; k < 2; k++) here[k] = p[k] + along * (p[k + 2] - p[k]);
    for (int k = 0; k < FUTURE; k++) {
        float left = step;
        while (lane_at >= 0 && left > 0) {
            const float *q = m->point[m->lane[lane_at].first + i + 1];
            float x = q[0] - here[0], y = q[1] - here[1], far = hypotf(x, y);
            if (far > 1e-4f) ahead[0] = x / far, ahead[1] = y / far;
            if (far > left) break;
            here[0] = q[0], here[1] = q[1], left -= far;
            if (++i + 1 >= m->lane[lane_at].count) lane_at = next_lane(m, lane_at), i = 0;
        }
        for (int n = 0; n < 2; n++) here[n] += left * ahead[n];
        seen_from(&f, here, future + 2 * k);
    }
}
static int motion_baselines(run *r, figures *out) {
    motion_data *d = (motion_data *)r->data;
    motion_sums s[2];
    float future[FUTURE * 2], truth[FUTURE * 2], one = 1;
    memset(s, 0, sizeof s);
    for (int i = 0; i < r->count[1]; i++) {
        const traffic *t = &d->scene[1][i];
        const lane_map *m = map_of(r, d, r->data_path, t->city);
        if (!m) return 0;
        frame f = frame_of(t);
        put_future(t, &f, truth);
        constant_velocity(t, future), add_scene(&s[0], future, &one, 1, truth);
        lane_follower(t, m, future), add_scene(&s[1], future, &one, 1, truth);
    }
    if (!s[0].count) return 1;
    figure_add(out, "constant_velocity_minFDE", s[0].fde / s[0].count, "m"),
        figure_add(out, "constant_velocity_minADE", s[0].ade / s[0].count, "m");
    figure_add(out, "lane_follower_minFDE", s[1].fde / s[1].count, "m"),
        figure_add(out, "lane_follower_minADE", s[1].ade / s[1].count, "m");
    return 1;
}

/* ---- predictions ---- */
static int motion_predict(run *r, const char *file, int json) {
    char path[4400], dir[4200];
    traffic t;
    batch b;
    memset(&b, 0, sizeof b);
    if (!traffic_read(r->c, file, &t)) return 0;
    snprintf(dir, sizeof dir, "%.4000s", file); /* lanes/ beside the scene's folder, else the run's */
    char *slash = strrchr(dir, '/');
    if (slash) snprintf(slash, sizeof dir - (size_t)(slash - dir), "/..");
    lane_map read;
    snprintf(path, sizeof path, "%s/lanes/%.15s.csv", slash ? dir : "..", t.city);
    if (access(path, F_OK)) snprintf(path, sizeof path, "%.4096s/lanes/%.15s.csv", r->data_path, t.city);
    const lane_map *m = lanes_read(r->c, path, &read) ? &read : NULL;
    const traffic *one = &t;
    fv_tensor *y = m && scenes_batch(r, &one, &m, 1, &b) ? run_forward(r, &b) : NULL;
    int K = y ? (int)y->dim[1] : 0;
    float *future = y ? (float *)fv_alloc(r->c, (size_t)K * (FUTURE * 2 + 1) * sizeof *future) : NULL,
          *p = future + K * FUTURE * 2;
    if (future) {
        futures_of(y, 0, future, p);
        fv_text text = {0};
        if (json)
            fv_text_add(r->c, &text, "{\"file\":"), fv_text_json_string(r->c, &text, file),
                fv_text_add(r->c, &text, ",\"futures\":[");
        else fv_text_add(r->c, &text, "%s: metres ahead and to the left in 3 s:", file);
        for (int k = 0; k < K; k++) {
            const float *end = future + (k + 1) * FUTURE * 2 - 2;
            if (!json)
                fv_text_add(r->c, &text, "%s (%.1f, %.1f) %.0f %%", k ? "," : "", (double)end[0],
                            (double)end[1], 100 * (double)p[k]);
            else {
                fv_text_add(r->c, &text, "%s{\"probability\":%.4f,\"xy\":[", k ? "," : "", (double)p[k]);
                for (int i = 0; i < FUTURE; i++)
                    fv_text_add(r->c, &text, "%s[%.2f,%.2f]", i ? "," : "",
                                (double)future[(k * FUTURE + i) * 2],
                                (double)future[(k * FUTURE + i) * 2 + 1]);
                fv_text_add(r->c, &text, "]}");
            }
        }
        if (!fv_error(r->c)) printf("%s%s\n", text.data, run_list_end(json));
        fv_text_free(r->c, &text), fv_free(r->c, future);
    }
    if (m) lanes_free(r->c, &read);
    traffic_free(r->c, &t);
    return !fv_error(r->c);
}

typedef struct view {
    canvas *v;
    double x, y, scale; /* where the agent stands, pixels a metre; it drives upwards */
} view;
static void stroke(const view *w, const float *a, const float *b, double thick, ink colour, double alpha) {
    draw_line(w->v, w->x - a[1] * w->scale, w->y - a[0] * w->scale, w->x - b[1] * w->scale,
              w->y - b[0] * w->scale, thick, colour, alpha);
}
static void draw_scene(const view *w, const traffic *t, const lane_map *m, const float *future,
                       const float *p, int K) {
    frame f = frame_of(t);
    float a[2], b[2], zero[2] = {0, 0};
    for (int l = 0; l < m->lanes; l++)
        for (int k = 0; k + 1 < m->lane[l].count; k++) {
            seen_from(&f, m->point[m->lane[l].first + k], a),
                seen_from(&f, m->point[m->lane[l].first + k + 1], b);
            stroke(w, a, b, 3.2 * w->scale, 0xe6e6e6, 1);
        }
    for (int l = 0; l < m->lanes; l++)
        for (int k = 0; k + 1 < m->lane[l].count; k += 2) {
            seen_from(&f, m->point[m->lane[l].first + k], a),
                seen_from(&f, m->point[m->lane[l].first + k + 1], b);
            stroke(w, a, b, 1, 0xffffff, 1);
        }
    for (int i = 0; i < t->tracks; i++)
        for (int k = 0; k < VECTORS; k++)
            if (t->track[i].seen[k] && t->track[i].seen[k + 1]) {
                seen_from(&f, t->track[i].at[k], a), seen_from(&f, t->track[i].at[k + 1], b);
                stroke(w, a, b, i == t->agent ? 4 : 3, i == t->agent ? 0x0969da : 0x8c959f, 0.9);
                if (k == VECTORS - 1)
                    draw_disc(w->v, w->x - b[1] * w->scale, w->y - b[0] * w->scale, i == t->agent ? 5 : 4,
                              i == t->agent ? 0x0969da : 0x8c959f, 1);
            }
    for (int k = 0; k < K; k++) {
        const float *from = zero;
        for (int i = 0; i < FUTURE; i++)
            stroke(w, from, future + (k * FUTURE + i) * 2, 2.5, 0xfb8500, 0.25 + 0.75 * (double)p[k]),
                from = future + (k * FUTURE + i) * 2;
        draw_disc(w->v, w->x - from[1] * w->scale, w->y - from[0] * w->scale, 3 + 4 * (double)p[k], 0xfb8500,
                  0.9);
    }
    if (t->steps == MOTION_STEPS)
        for (int k = MOTION_SEEN - 1; k + 1 < MOTION_STEPS; k++) {
            seen_from(&f, t->track[t->agent].at[k], a), seen_from(&f, t->track[t->agent].at[k + 1], b);
            stroke(w, a, b, 2.2, 0x1a7f37, 1);
            if (k + 2 == MOTION_STEPS)
                draw_disc(w->v, w->x - b[1] * w->scale, w->y - b[0] * w->scale, 4, 0x1a7f37, 1);
        }
}
static int motion_draw(run *r, const int32_t *index, int n, const char *png) {
    motion_data *d = (motion_data *)r->data;
    const int cell = 380, across = n < 4 ? n : 4;
    canvas v = canvas_new(r->c, across * cell + 20, (n + across - 1) / across * (cell + 24) + 40),
           one = canvas_new(r->c, cell - 20, cell - 20);
    batch b;
    memset(&b, 0, sizeof b);
    fv_reset(r->c);
    fv_tensor *y =
        v.rgb && one.rgb && motion_batch(r, SPLIT_TEST, index, n, -1, &b) ? run_forward(r, &b) : NULL;
    int K = y ? (int)y->dim[1] : 0;
    float *future = y ? (float *)fv_alloc(r->c, (size_t)K * (FUTURE * 2 + 1) * sizeof *future) : NULL,
          *p = future + K * FUTURE * 2;
    if (future)
        draw_text(&v,
                  "blue: the agent's past 2 s   orange: the futures said, 3 s, stronger when likelier   "
                  "green: what it did   grey: other road users   minFDE in red: over 2 m, a miss",
                  20, 22, 14, 0x333333, 0);
    for (int i = 0; i < n && future; i++) {
        const traffic *t = &d->scene[1][index[i]];
        motion_sums s = {0, 0, 0, 0, 0};
        char text[80];
        double x = 20 + i % across * cell, top = 36 + i / across * (cell + 24);
        view w = {&one, one.width / 2.0, one.height * 0.68, 5};
        futures_of(y, i, future, p),
            add_scene(&s, future, p, K, (const float *)b.target[0]->data + i * FUTURE * 2);
        draw_box(&one, 0, 0, one.width, one.height, 0xfafafa, 1);
        draw_scene(&w, t, map_of(r, d, r->data_path, t->city), future, p, K);
        draw_line(&one, 12, one.height - 12, 12 + 10 * w.scale, one.height - 12, 2, 0x666666, 1),
            draw_text(&one, "10 m", 18 + 10 * w.scale, one.height - 8, 11, 0x666666, 0);
        draw_pixels(&v, one.rgb, one.width, one.height, 3, x, top, one.width, one.height);
        snprintf(text, sizeof text, "%s   minFDE %.2f m", t->name, s.fde);
        draw_text(&v, text, x, top + cell - 4, 13, s.fde <= 2 ? 0x1a7f37 : 0xcf222e, cell - 20);
    }
    int ok = future && canvas_save(r->c, &v, png);
    fv_free(r->c, future), canvas_free(r->c, &v), canvas_free(r->c, &one);
    return ok;
}

static int motion_demo(run *r, const char *dir, char fetched[][4096]) {
    (void)fetched;
    return traffic_write(r->c, dir);
}

extern const task task_motion;
const task task_motion = {
    .name = "motion",
    .about = "where a road user will be in 3 seconds",
    .items = "scenes",
    .presets = presets,
    .keys = keys,
    .demo = motion_demo,
    .open = motion_open,
    .close = motion_close,
    .batch = motion_batch,
    .loss = motion_loss,
    .measure = motion_measure,
    .baselines = motion_baselines,
    .predict = motion_predict,
    .draw = motion_draw,
};
