#include "scenes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int three(const fv_json *j, fv_jnode e, const char *key, float *out, double least, double most) {
    fv_jnode a = fv_json_get(j, e, key);
    if (!a || fv_json_type(j, a) != FV_JSON_ARRAY || fv_json_count(j, a) != 3) return 0;
    for (int k = 0; k < 3; k++) {
        double v = fv_json_number(j, fv_json_at(j, a, k), 1e30);
        if (!(v >= least && v <= most)) return 0;
        out[k] = (float)v;
    }
    return 1;
}

static int read_json(fv_ctx *c, const char *path, scene *s) {
    fv_json *j = fv_json_open(c, path);
    if (!j) return 0;
    fv_jnode list = fv_json_get(j, fv_json_root(j), "objects");
    if (!list || fv_json_type(j, list) != FV_JSON_ARRAY)
        fv_fail(c, FV_EFORMAT, "%s: \"objects\", a list, is wanted", path);
    else if (fv_json_count(j, list) < 1 || fv_json_count(j, list) > SCENE_OBJECTS)
        fv_fail(c, FV_EFORMAT, "%s: %d objects; 1 to %d are read", path, (int)fv_json_count(j, list),
                SCENE_OBJECTS);
    for (fv_jnode e = fv_error(c) ? 0 : fv_json_first(j, list); e && !fv_error(c); e = fv_json_next(j, e)) {
        scene_object *o = &s->object[s->count];
        const char *label = fv_json_string(j, fv_json_get(j, e, "label"), NULL);
        if (!label || strlen(label) >= sizeof o->label)
            fv_fail(c, FV_EFORMAT, "%s: object %d: a label of at most 31 bytes is wanted", path, s->count);
        else if (!three(j, e, "center", o->centre, -1e4, 1e4) || !three(j, e, "size", o->size, 0, 1e4) ||
                 !three(j, e, "color", o->colour, 0, 1))
            fv_fail(
                c, FV_EFORMAT,
                "%s: object %d (%s): center, size and color are lists of 3 numbers (metres; colours 0 to 1)",
                path, s->count, label);
        else snprintf(o->label, sizeof o->label, "%s", label), s->count++;
    }
    fv_json_free(c, j);
    return !fv_error(c);
}

/* six numbers of a line, exactly; the next line, or NULL */
static const char *six(const char *at, const char *end, float *v) {
    char line[256];
    const char *stop = (const char *)memchr(at, '\n', (size_t)(end - at));
    size_t n = (size_t)((stop ? stop : end) - at);
    if (n >= sizeof line) return NULL;
    memcpy(line, at, n), line[n] = 0;
    char *p = line, *q;
    for (int k = 0; k < 6; k++, p = q) {
        v[k] = strtof(p, &q);
        if (q == p || !(v[k] > -1e6f && v[k] < 1e6f)) return NULL;
    }
    while (*p == ' ' || *p == '\t' || *p == '\r') p++;
    return *p ? NULL : stop ? stop + 1 : end;
}

/* each point to its nearest centre; what is gathered there is an object without a name */
static void gather(scene *s, const float *xyz, const float *rgb, int64_t n, const float *centre, int G) {
    float low[SCENE_OBJECTS][3], high[SCENE_OBJECTS][3];
    int64_t of[SCENE_OBJECTS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        float least = 1e30f;
        for (int g = 0; g < G; g++) {
            float d = 0;
            for (int k = 0; k < 3; k++)
                d += (xyz[3 * i + k] - centre[3 * g + k]) * (xyz[3 * i + k] - centre[3 * g + k]);
            if (d < least) least = d, best = g;
        }
        scene_object *o = &s->object[best];
        for (int k = 0; k < 3; k++) {
            float v = xyz[3 * i + k];
            if (!of[best] || v < low[best][k]) low[best][k] = v;
            if (!of[best] || v > high[best][k]) high[best][k] = v;
            o->centre[k] += v, o->colour[k] += rgb[3 * i + k] / 255;
        }
        of[best]++;
    }
    for (int g = 0; g < G; g++)
        if (of[g]) {
            scene_object o = s->object[g];
            for (int k = 0; k < 3; k++)
                o.centre[k] /= (float)of[g], o.colour[k] /= (float)of[g], o.size[k] = high[g][k] - low[g][k];
            s->object[s->count++] = o;
        }
}

static int read_xyz(fv_ctx *c, const char *path, scene *s) {
    fv_file f;
    if (!fv_file_open(c, path, &f)) return 0;
    const char *at = (const char *)f.data, *end = at + f.size;
    int64_t room = 1, n = 0, line = 0;
    for (const char *p = at; p < end; p++) room += *p == '\n';
    float *xyz = (float *)fv_alloc(c, (size_t)room * 6 * sizeof *xyz), *rgb = xyz + 3 * room, v[6];
    while (xyz && at < end && !fv_error(c)) {
        line++;
        const char *next = six(at, end, v);
        if (!next) fv_fail(c, FV_EFORMAT, "%s: line %lld is not `x y z r g b`", path, (long long)line);
        else memcpy(xyz + 3 * n, v, 12), memcpy(rgb + 3 * n, v + 3, 12), n++, at = next;
    }
    if (!fv_error(c) && !n) fv_fail(c, FV_EFORMAT, "%s: no point", path);
    int G = n < SCENE_OBJECTS ? (int)n : SCENE_OBJECTS;
    int32_t first[SCENE_OBJECTS];
    if (!fv_error(c) && fv_fps(c, xyz, 1, n, G, first)) {
        float centre[3 * SCENE_OBJECTS];
        for (int g = 0; g < G; g++) memcpy(centre + 3 * g, xyz + 3 * first[g], 12);
        gather(s, xyz, rgb, n, centre, G);
    }
    fv_free(c, xyz), fv_file_close(c, &f);
    return !fv_error(c);
}

int scene_read(fv_ctx *c, const char *path, scene *s) {
    char file[4400];
    const char *name = strrchr(path, '/');
    memset(s, 0, sizeof *s);
    snprintf(s->id, sizeof s->id, "%s", name ? name + 1 : path);
    snprintf(file, sizeof file, "%s.json", path);
    if (access(file, F_OK) == 0) return read_json(c, file, s);
    snprintf(file, sizeof file, "%s.xyz", path);
    if (access(file, F_OK) == 0) return read_xyz(c, file, s);
    return fv_fail(c, FV_EIO, "%s: the scene is neither there as .json nor as .xyz", path);
}
