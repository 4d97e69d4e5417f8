#include "clouds.h"
#include "npy.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mesh_free(fv_ctx *c, mesh *m) { fv_free(c, m->xyz), fv_free(c, m->face), memset(m, 0, sizeof *m); }

/* ---- numbers of a text that has no end mark ---- */
typedef struct words {
    fv_ctx *c;
    const char *path, *at, *end, *start;
    int hash; /* # begins a comment */
} words;
static const char *where(const words *w) { return w->path; }
static int next_word(words *w, char *out, size_t n) {
    size_t k = 0;
    for (;;) {
        while (w->at < w->end && isspace((unsigned char)*w->at)) w->at++;
        if (w->hash && w->at < w->end && *w->at == '#')
            while (w->at < w->end && *w->at != '\n') w->at++;
        else break;
    }
    while (w->at < w->end && !isspace((unsigned char)*w->at) && k + 1 < n) out[k++] = *w->at++;
    out[k] = 0;
    return k > 0;
}
static double next_number(words *w) {
    char text[64], *end = text;
    double v = next_word(w, text, sizeof text) ? strtod(text, &end) : 0;
    if (end == text || *end || !(fabs(v) < 1e30))
        return fv_fail(w->c, FV_EFORMAT, "%s: byte %lld: a number is wanted", where(w),
                       (long long)(w->at - w->start)),
               0;
    return v;
}
static int64_t next_count(words *w, int64_t most) {
    double v = next_number(w);
    if (fv_error(w->c)) return 0;
    if (v < 0 || v > (double)most || v > floor(v))
        return fv_fail(w->c, FV_EFORMAT, "%s: byte %lld: %g cannot be a count or index here", where(w),
                       (long long)(w->at - w->start), v),
               0;
    return (int64_t)v;
}

static int make_room(fv_ctx *c, mesh *m, int64_t points, int64_t triangles) {
    m->xyz = (float *)fv_alloc(c, (size_t)(3 * points + 1) * sizeof(float));
    m->face = triangles ? (int32_t *)fv_alloc(c, (size_t)(3 * triangles) * sizeof(int32_t)) : NULL;
    return !fv_error(c);
}
static int more_faces(fv_ctx *c, mesh *m, int64_t *room) {
    int32_t *more = (int32_t *)fv_alloc(c, (size_t)(6 * *room) * sizeof *more);
    if (!more) return 0;
    memcpy(more, m->face, (size_t)(3 * m->faces) * sizeof *more);
    fv_free(c, m->face), m->face = more, *room *= 2;
    return 1;
}
/* corner k of a polygon of n: the triangles 0, k-1, k */
static void corner(fv_ctx *c, mesh *m, int64_t *room, int64_t k, int32_t *first, int32_t *last, int32_t v) {
    if (k == 0) *first = v;
    else if (k > 1 && (m->faces < *room || more_faces(c, m, room))) {
        int32_t *f = m->face + 3 * m->faces++;
        f[0] = *first, f[1] = *last, f[2] = v;
    }
    *last = v;
}

static int read_off(fv_ctx *c, const char *path, const fv_file *f, mesh *m) {
    words w = {c, path, (const char *)f->data, (const char *)f->data + f->size, (const char *)f->data, 1};
    int64_t bytes = (int64_t)f->size;
    if (f->size < 3 || memcmp(w.at, "OFF", 3))
        return fv_fail(c, FV_EFORMAT, "%s: byte 0: OFF is wanted", path);
    w.at += 3;
    int64_t points = next_count(&w, bytes / 6), faces = fv_error(c) ? 0 : next_count(&w, bytes / 6);
    if (!fv_error(c)) next_count(&w, INT64_MAX / 4);
    int64_t room = bytes / 2; /* triangles, to begin with */
    if (room > 4 * faces + 64) room = 4 * faces + 64;
    if (fv_error(c) || !make_room(c, m, points, room)) return 0;
    for (; m->points < points && !fv_error(c); m->points++)
        for (int k = 0; k < 3; k++) m->xyz[3 * m->points + k] = (float)next_number(&w);
    for (int64_t i = 0; i < faces && !fv_error(c); i++) {
        int64_t n = next_count(&w, 1000000);
        int32_t first = 0, last = 0;
        for (int64_t k = 0; k < n && !fv_error(c); k++)
            corner(c, m, &room, k, &first, &last, (int32_t)next_count(&w, points - 1));
        while (!fv_error(c) && w.at < w.end && *w.at != '\n') w.at++; /* colours */
    }
    return !fv_error(c);
}

/* ---- PLY ---- */
enum { PLY_PROPERTIES = 32, PLY_ELEMENTS = 8 };
typedef struct ply_property {
    int bytes, kind, count_bytes, list; /* kind: 'f', 'i', 'u' */
    char name[32];
} ply_property;
typedef struct ply_element {
    char name[32];
    int64_t count;
    int properties;
    ply_property at[PLY_PROPERTIES];
} ply_element;
typedef struct ply {
    words w;
    int text, big, elements;
    ply_element e[PLY_ELEMENTS];
} ply;

static int ply_type(const char *name, int *kind) {
    static const struct {
        const char *a, *b;
        int bytes, kind;
    } types[] = {{"char", "int8", 1, 'i'},     {"uchar", "uint8", 1, 'u'},   {"short", "int16", 2, 'i'},
                 {"ushort", "uint16", 2, 'u'}, {"int", "int32", 4, 'i'},     {"uint", "uint32", 4, 'u'},
                 {"float", "float32", 4, 'f'}, {"double", "float64", 8, 'f'}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, types[i].a) || !strcmp(name, types[i].b))
            return *kind = types[i].kind, types[i].bytes;
    return 0;
}
static int ply_property_line(ply *p, const char *line) {
    char a[32] = "", b[32] = "", t[32] = "", n[32] = "";
    ply_element *e = p->elements ? &p->e[p->elements - 1] : NULL;
    if (!e || e->properties == PLY_PROPERTIES) return 0;
    ply_property *q = &e->at[e->properties++];
    int kind;
    memset(q, 0, sizeof *q);
    if (sscanf(line, "property list %31s %31s %31s", a, b, n) == 3)
        q->list = 1, q->count_bytes = ply_type(a, &kind), q->bytes = ply_type(b, &q->kind);
    else if (sscanf(line, "property %31s %31s", t, n) == 2)
        q->bytes = ply_type(t, &q->kind), q->count_bytes = 1;
    snprintf(q->name, sizeof q->name, "%s", n);
    return q->bytes && q->count_bytes && (!q->list || kind != 'f');
}
static int ply_header(ply *p, const fv_file *f) {
    words *w = &p->w;
    char line[256], name[32];
    int format = 0;
    for (int i = 0; i < 200; i++) {
        const char *stop =
            w->at < w->end ? (const char *)memchr(w->at, '\n', (size_t)(w->end - w->at)) : NULL;
        size_t n = stop ? (size_t)(stop - w->at) : sizeof line;
        long long count = -1;
        if (n >= sizeof line) break;
        memcpy(line, w->at, n), line[n] = 0, w->at = stop + 1;
        if (n && line[n - 1] == '\r') line[n - 1] = 0;
        if (i == 0 && strcmp(line, "ply")) break;
        if (!strcmp(line, "end_header"))
            return format && p->elements
                       ? 1
                       : fv_fail(w->c, FV_EFORMAT, "%s: the PLY header tells no format or element", w->path);
        if (!strncmp(line, "format ", 7)) {
            p->text = !strncmp(line + 7, "ascii", 5), p->big = !strncmp(line + 7, "binary_big", 10);
            if (!(format = p->text || p->big || !strncmp(line + 7, "binary_little", 13)))
                return fv_fail(w->c, FV_EFORMAT, "%s: PLY format \"%.40s\"", w->path, line + 7);
        } else if (!strncmp(line, "element ", 8)) {
            if (p->elements == PLY_ELEMENTS || sscanf(line, "element %31s %lld", name, &count) != 2 ||
                count < 0 || count > (long long)f->size)
                return fv_fail(w->c, FV_EFORMAT, "%s: \"%.60s\" does not fit the file", w->path, line);
            ply_element *e = &p->e[p->elements++];
            memset(e, 0, sizeof *e);
            snprintf(e->name, sizeof e->name, "%s", name), e->count = count;
        } else if (!strncmp(line, "property ", 9) && !ply_property_line(p, line))
            return fv_fail(w->c, FV_EFORMAT, "%s: \"%.60s\" is not read", w->path, line);
    }
    return fv_fail(w->c, FV_EFORMAT, "%s: no PLY header up to end_header", w->path);
}
static double ply_value(ply *p, int bytes, int kind) {
    npy one;
    if (p->text) return next_number(&p->w);
    if (p->w.end - p->w.at < bytes)
        return fv_fail(p->w.c, FV_EFORMAT, "%s: cut short at byte %lld", p->w.path,
                       (long long)(p->w.at - p->w.start)),
               0;
    memset(&one, 0, sizeof one);
    one.kind = (char)kind, one.bytes = bytes, one.big = p->big, one.data = (const uint8_t *)p->w.at;
    p->w.at += bytes;
    return npy_value(&one, 0);
}
static void ply_row(ply *p, const ply_element *e, mesh *m, int64_t *room) {
    int vertex = !strcmp(e->name, "vertex"), face = !strcmp(e->name, "face");
    for (int k = 0; k < e->properties && !fv_error(p->w.c); k++) {
        const ply_property *q = &e->at[k];
        double n = q->list ? ply_value(p, q->count_bytes, 'u') : 1;
        int indices = face && q->list && !strncmp(q->name, "vertex_ind", 10);
        int32_t first = 0, last = 0;
        if (!(n >= 0 && n <= 1e6)) fv_fail(p->w.c, FV_EFORMAT, "%s: a list of %g", p->w.path, n);
        for (int64_t i = 0; i < (int64_t)n && !fv_error(p->w.c); i++) {
            double v = ply_value(p, q->bytes, q->kind);
            if (indices && !(v >= 0 && v < (double)m->points))
                fv_fail(p->w.c, FV_EFORMAT, "%s: a face has the vertex %g, there are %lld", p->w.path, v,
                        (long long)m->points);
            else if (indices) corner(p->w.c, m, room, i, &first, &last, (int32_t)v);
            else if (vertex && !q->list && q->name[0] >= 'x' && q->name[0] <= 'z' && !q->name[1])
                m->xyz[3 * m->points + q->name[0] - 'x'] = (float)v;
        }
    }
    m->points += vertex;
}
static int read_ply(fv_ctx *c, const char *path, const fv_file *f, mesh *m) {
    ply *p = (ply *)fv_alloc(c, sizeof *p);
    if (!p) return 0;
    words w = {c, path, (const char *)f->data, (const char *)f->data + f->size, (const char *)f->data, 0};
    int64_t points = 0, faces = 0, axes = 0;
    p->w = w;
    if (ply_header(p, f)) {
        for (int i = 0; i < p->elements; i++) {
            if (!strcmp(p->e[i].name, "vertex")) points += p->e[i].count;
            for (int k = 0; !strcmp(p->e[i].name, "vertex") && k < p->e[i].properties; k++) {
                const ply_property *q = &p->e[i].at[k];
                if (!q->list && q->name[0] >= 'x' && q->name[0] <= 'z' && !q->name[1])
                    axes += (int64_t)1 << 10 * (q->name[0] - 'x'); /* how often each, ten bits wide */
            }
            if (!strcmp(p->e[i].name, "face")) faces += p->e[i].count;
        }
        int64_t room = 4 * faces + 64 < (int64_t)f->size ? 4 * faces + 64 : (int64_t)f->size;
        if (axes != 0x100401) fv_fail(c, FV_EFORMAT, "%s: vertices without x, y and z", path);
        else if (points > (int64_t)f->size / 3)
            fv_fail(c, FV_EFORMAT, "%s: %lld vertices do not fit the file", path, (long long)points);
        else if (make_room(c, m, points, faces ? room : 0))
            for (int i = 0; i < p->elements; i++)
                for (int64_t k = 0; k < p->e[i].count && !fv_error(c); k++) ply_row(p, &p->e[i], m, &room);
    }
    fv_free(c, p);
    return !fv_error(c);
}

static int take_array(fv_ctx *c, const char *path, const npy *a, mesh *m) {
    if (a->rank != 2 || a->dim[1] < 3) return fv_fail(c, FV_EFORMAT, "%s: an array [N,3] is wanted", path);
    if (!make_room(c, m, a->dim[0], 0)) return 0;
    m->points = a->dim[0];
    for (int64_t i = 0; i < m->points; i++)
        for (int k = 0; k < 3; k++) m->xyz[3 * i + k] = (float)npy_value(a, i * a->dim[1] + k);
    return 1;
}
static int read_npz(fv_ctx *c, const char *path, mesh *m) {
    static const char *const name[] = {"points", "pos", "xyz", "data", "arr_0"};
    npz z;
    npy a;
    if (!npz_open(c, path, &z)) return 0;
    int k = 0;
    while (k < 4 && !npz_has(&z, name[k])) k++;
    if (npz_get(c, &z, name[k], &a)) take_array(c, path, &a, m), npy_free(c, &a);
    npz_close(c, &z);
    return !fv_error(c);
}
/* three numbers at the start of a line, between blanks, commas or semicolons */
static int three(const char *line, float *to) {
    for (int k = 0; k < 3; k++) {
        char *end;
        while (*line && strchr(" \t,", *line)) line++;
        double v = strtod(line, &end);
        if (end == line || (*end && !strchr(" \t,\r", *end)) || !(fabs(v) < 1e15)) return 0;
        to[k] = (float)v, line = end;
    }
    return 1;
}
static int read_xyz(fv_ctx *c, const char *path, const fv_file *f, mesh *m) {
    const char *at = (const char *)f->data, *end = at + f->size;
    int64_t lines = 1, number = 0;
    char line[512];
    for (const char *p = at; p < end; p++) lines += *p == '\n';
    if (!make_room(c, m, lines, 0)) return 0;
    while (at < end) {
        const char *stop = (const char *)memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        number++;
        if (n >= sizeof line) n = sizeof line - 1;
        memcpy(line, at, n), line[n] = 0, at = stop ? stop + 1 : end;
        size_t blank = strspn(line, " \t\r");
        if (!line[blank] || line[blank] == '#') continue;
        if (!three(line + blank, m->xyz + 3 * m->points))
            return fv_fail(c, FV_EFORMAT, "%s: line %lld: x y z are wanted", path, (long long)number);
        m->points++;
    }
    return 1;
}

static int ends(const char *path, const char *with) {
    size_t n = strlen(path), k = strlen(with);
    if (n < k) return 0;
    for (size_t i = 0; i < k; i++)
        if (tolower((unsigned char)path[n - k + i]) != with[i]) return 0;
    return 1;
}
int mesh_read(fv_ctx *c, const char *path, mesh *m) {
    fv_file f;
    npy a;
    memset(m, 0, sizeof *m);
    if (ends(path, ".npz")) read_npz(c, path, m);
    else if (!fv_file_open(c, path, &f)) return 0;
    else {
        if (ends(path, ".off")) read_off(c, path, &f, m);
        else if (ends(path, ".ply")) read_ply(c, path, &f, m);
        else if (ends(path, ".wrl") || ends(path, ".wrz")) vrml_parse(c, path, f.data, f.size, m);
        else if (ends(path, ".npy"))
            (void)(npy_parse(c, path, f.data, f.size, &a) && take_array(c, path, &a, m));
        else if (ends(path, ".xyz") || ends(path, ".txt")) read_xyz(c, path, &f, m);
        else fv_fail(c, FV_EFORMAT, "%s: .off, .ply, .wrl, .npy, .npz and .xyz are read", path);
        fv_file_close(c, &f);
    }
    if (!fv_error(c) && m->points < 1) fv_fail(c, FV_EFORMAT, "%s: no point", path);
    for (int64_t i = 0; i < 3 * m->points && !fv_error(c); i++)
        if (!(fabsf(m->xyz[i]) < 1e15f))
            fv_fail(c, FV_EFORMAT, "%s: point %lld is not finite", path, (long long)(i / 3));
    if (fv_error(c)) mesh_free(c, m);
    return !fv_error(c);
}

static double area(const mesh *m, int64_t f) {
    const float *a = m->xyz + 3 * (int64_t)m->face[3 * f], *b = m->xyz + 3 * (int64_t)m->face[3 * f + 1],
                *d = m->xyz + 3 * (int64_t)m->face[3 * f + 2];
    double u[3], v[3];
    for (int k = 0; k < 3; k++) u[k] = (double)(b[k] - a[k]), v[k] = (double)(d[k] - a[k]);
    double x = u[1] * v[2] - u[2] * v[1], y = u[2] * v[0] - u[0] * v[2], z = u[0] * v[1] - u[1] * v[0];
    return sqrt(x * x + y * y + z * z) / 2;
}
static int sample_surface(fv_ctx *c, const mesh *m, fv_rng *r, int64_t n, float *out) {
    double *sum = (double *)fv_alloc(c, (size_t)(m->faces + 1) * sizeof *sum);
    if (!sum) return 0;
    for (int64_t f = 0; f < m->faces; f++) sum[f + 1] = sum[f] + area(m, f);
    for (int64_t i = 0; i < n; i++) {
        double at = (double)fv_rng_uniform(r) * sum[m->faces];
        int64_t low = 0, high = m->faces - 1;
        while (low < high) { /* the first triangle whose sum is beyond */
            int64_t mid = (low + high) / 2;
            if (sum[mid + 1] > at) high = mid;
            else low = mid + 1;
        }
        float s = sqrtf(fv_rng_uniform(r)), t = fv_rng_uniform(r), w[3] = {1 - s, s * (1 - t), s * t};
        for (int k = 0; k < 3; k++) {
            out[3 * i + k] = 0;
            for (int v = 0; v < 3; v++)
                out[3 * i + k] += w[v] * m->xyz[3 * (int64_t)m->face[3 * low + v] + k];
        }
    }
    fv_free(c, sum);
    return 1;
}
int mesh_sample(fv_ctx *c, const mesh *m, fv_rng *r, int64_t n, float *out) {
    if (m->faces) return sample_surface(c, m, r, n, out);
    int64_t N = m->points;
    int32_t *order = (int32_t *)fv_alloc(c, (size_t)N * sizeof *order);
    if (!order) return 0;
    for (int64_t i = 0; i < N; i++) order[i] = (int32_t)i;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = i % N, other = k + (int64_t)fv_rng_below(r, (uint32_t)(N - k));
        int32_t one = order[other];
        order[other] = order[k], order[k] = one;
        memcpy(out + 3 * i, m->xyz + 3 * (int64_t)one, 3 * sizeof *out);
    }
    fv_free(c, order);
    return 1;
}

void cloud_fit(float *p, int64_t n) {
    double mid[3] = {0, 0, 0}, far = 0;
    for (int64_t i = 0; i < 3 * n; i++) mid[i % 3] += (double)p[i] / (double)n;
    for (int64_t i = 0; i < 3 * n; i++) p[i] = (float)((double)p[i] - mid[i % 3]);
    for (int64_t i = 0; i < n; i++)
        far = fmax(far, (double)p[3 * i] * (double)p[3 * i] + (double)p[3 * i + 1] * (double)p[3 * i + 1] +
                            (double)p[3 * i + 2] * (double)p[3 * i + 2]);
    for (int64_t i = 0; i < 3 * n && far > 0; i++) p[i] = (float)((double)p[i] / sqrt(far));
}
