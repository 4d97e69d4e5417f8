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
    const char *word; /* where the last one begins */
    int hash;         /* # begins a comment */
} words;
static words words_of(fv_ctx *c, const char *path, const fv_file *f, int hash) {
    const char *text = (const char *)f->data;
    words w = {c, path, text, text + f->size, text, text, hash};
    return w;
}
/* a refusal at the last word */
static int wrong(const words *w, const char *what) {
    return fv_fail(w->c, FV_EFORMAT, "%s: byte %lld: %s", w->path, (long long)(w->word - w->start), what);
}
/* beyond blanks and comments; inside a row not beyond its line. 1: there is a word */
static int skip(words *w, int row) {
    for (; w->at < w->end; w->at++)
        if (w->hash && *w->at == '#')
            while (w->at + 1 < w->end && w->at[1] != '\n') w->at++;
        else if (!isspace((unsigned char)*w->at) || (row && *w->at == '\n')) break;
    w->word = w->at;
    return w->at < w->end && *w->at != '\n';
}
/* the length of the next word, of this line where it is inside a row; 0: there is none */
static size_t next_word(words *w, int row) {
    skip(w, row);
    while (w->at < w->end && !isspace((unsigned char)*w->at)) w->at++;
    return (size_t)(w->at - w->word);
}
/* whether n letters are a decimal number, all of them: no nan, no inf, no 0x1 */
static int decimal(const char *p, size_t n, double *v) {
    char text[512], *end;
    if (n < 1 || n >= sizeof text) return 0;
    memcpy(text, p, n), text[n] = 0;
    *v = strtod(text, &end);
    return strspn(text, "+-.0123456789eE") == n && end == text + n && fabs(*v) < HUGE_VAL;
}
static double next_number(words *w, int row) {
    double v = 0;
    size_t n = next_word(w, row);
    return decimal(w->word, n, &v) ? v : wrong(w, "a number is wanted");
}
static int64_t next_count(words *w, int row, int64_t most) {
    size_t n = next_word(w, row), i = 0;
    int64_t v = 0;
    while (i < n && w->word[i] >= '0' && w->word[i] <= '9' && v <= most) v = 10 * v + (w->word[i++] - '0');
    if (n && i == n && v <= most) return v;
    return fv_fail(w->c, FV_EFORMAT, "%s: byte %lld: a count or index is wanted, %lld at most", w->path,
                   (long long)(w->word - w->start), (long long)most),
           0;
}
static void row_ends(words *w) {
    if (skip(w, 1)) wrong(w, "the row goes on after its numbers");
}
static void text_ends(words *w) {
    if (skip(w, 0)) wrong(w, "the file goes on after what it tells of");
}

static int make_room(fv_ctx *c, const char *path, mesh *m, int64_t points) {
    if (points > INT32_MAX) return fv_fail(c, FV_EFORMAT, "%s: over 2147483647 points", path);
    m->xyz = (float *)fv_alloc(c, (size_t)(3 * points + 1) * sizeof(float));
    return !fv_error(c);
}
static float coordinate(const words *w, double v) {
    return fabs(v) < 1e15 ? (float)v : (float)wrong(w, "a coordinate is under 1e15");
}

/* Polygons become triangles. A first walk over the file counts them; only when all of it has proved good is
 * there room for them, and a second walk keeps them. */
typedef struct fans {
    mesh *m;
    int32_t first, last; /* corners */
    int64_t count;
    double area;
} fans;
static double area(const float *xyz, const int32_t *t) {
    const float *a = xyz + 3 * (int64_t)t[0], *b = xyz + 3 * (int64_t)t[1], *d = xyz + 3 * (int64_t)t[2];
    double u[3], v[3];
    for (int k = 0; k < 3; k++) u[k] = (double)(b[k] - a[k]), v[k] = (double)(d[k] - a[k]);
    double x = u[1] * v[2] - u[2] * v[1], y = u[2] * v[0] - u[0] * v[2], z = u[0] * v[1] - u[1] * v[0];
    return sqrt(x * x + y * y + z * z) / 2;
}
/* corner k of a polygon: the triangles 0, k-1, k */
static void corner(fans *t, int64_t k, int32_t v) {
    const int32_t three[3] = {t->first, t->last, v};
    if (k == 0) t->first = v;
    else if (k > 1 && t->m->face) memcpy(t->m->face + 3 * t->count++, three, sizeof three);
    else if (k > 1) t->count++, t->area += area(t->m->xyz, three);
    t->last = v;
}
static int faces_room(const words *w, fans *t) {
    if (fv_error(w->c)) return 0;
    if (!(t->area > 0)) return fv_fail(w->c, FV_EFORMAT, "%s: none of its faces has an area", w->path);
    t->m->face = (int32_t *)fv_alloc(w->c, (size_t)(3 * t->count) * sizeof(int32_t));
    t->m->faces = t->count;
    return !fv_error(w->c);
}

/* ---- OFF ---- */
static void off_faces(words *w, int64_t faces, fans *t) {
    t->count = 0;
    for (; faces > 0 && !fv_error(w->c); faces--) {
        int64_t n = next_count(w, 0, 1000000);
        for (int64_t k = 0; k < n && !fv_error(w->c); k++)
            corner(t, k, (int32_t)next_count(w, 1, t->m->points - 1));
        for (int k = 0; k < 4 && skip(w, 1); k++) next_number(w, 1); /* its colour */
        row_ends(w);
    }
    text_ends(w);
}
static int read_off(fv_ctx *c, const char *path, const fv_file *f, mesh *m) {
    words w = words_of(c, path, f, 1);
    int64_t bytes = (int64_t)f->size;
    fans t = {m, 0, 0, 0, 0};
    if (!skip(&w, 0) || w.end - w.at < 3 || memcmp(w.at, "OFF", 3)) return wrong(&w, "OFF is wanted");
    w.at += 3;
    int64_t points = next_count(&w, 0, bytes / 6), faces = next_count(&w, 1, bytes / 2);
    next_count(&w, 1, INT32_MAX); /* edges: many programs write 0 */
    row_ends(&w);
    if (!fv_error(c) && points < 1) return wrong(&w, "no vertex is told");
    if (fv_error(c) || !make_room(c, path, m, points)) return 0;
    for (; m->points < points && !fv_error(c); m->points++) {
        for (int k = 0; k < 3; k++) m->xyz[3 * m->points + k] = coordinate(&w, next_number(&w, k));
        row_ends(&w);
    }
    words rows = w;
    off_faces(&w, fv_error(c) ? 0 : faces, &t);
    if (faces && faces_room(&w, &t)) off_faces(&rows, faces, &t);
    return !fv_error(c);
}

/* ---- PLY ---- */
enum { PLY_PROPERTIES = 32, PLY_ELEMENTS = 8, PLY_NAME = 64 };
typedef struct ply_type {
    int bytes, kind; /* kind: 'f', 'i', 'u' */
} ply_type;
typedef struct ply_property {
    ply_type count, value; /* count: of a list */
    int list;
    char name[PLY_NAME];
} ply_property;
typedef struct ply_element {
    char name[PLY_NAME];
    int64_t count;
    int properties;
    ply_property at[PLY_PROPERTIES];
} ply_element;
typedef struct ply {
    words w;
    const char *body;
    int format, elements; /* format: 't', 'l', 'b' */
    fans t;
    ply_element e[PLY_ELEMENTS];
} ply;

static int ply_type_of(const char *name, ply_type *t) {
    static const struct {
        const char *a, *b;
        ply_type type;
    } types[] = {{"char", "int8", {1, 'i'}},     {"uchar", "uint8", {1, 'u'}},   {"short", "int16", {2, 'i'}},
                 {"ushort", "uint16", {2, 'u'}}, {"int", "int32", {4, 'i'}},     {"uint", "uint32", {4, 'u'}},
                 {"float", "float32", {4, 'f'}}, {"double", "float64", {8, 'f'}}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, types[i].a) || !strcmp(name, types[i].b)) return *t = types[i].type, 1;
    return 0;
}
/* a line of the header after its first word: NULL, or why it is refused */
static const char *ply_format(ply *p, const char *line) {
    static const char *const form[] = {"ascii 1.0", "binary_little_endian 1.0", "binary_big_endian 1.0"};
    if (p->format) return "comes twice";
    for (int i = 0; i < 3; i++)
        if (!strcmp(line, form[i])) p->format = "tlb"[i];
    return p->format ? NULL : "is not read";
}
static const char *ply_element_line(ply *p, const char *line) {
    char name[PLY_NAME], count[20], more;
    if (sscanf(line, "%63s %19s %c", name, count, &more) != 2 || p->elements == PLY_ELEMENTS ||
        strspn(count, "0123456789") != strlen(count))
        return "is not read";
    for (int i = 0; i < p->elements; i++)
        if (!strcmp(p->e[i].name, name)) return "comes twice";
    ply_element *e = &p->e[p->elements++];
    strcpy(e->name, name), e->count = strtoll(count, NULL, 10);
    return e->count <= p->w.end - p->w.start ? NULL : "does not fit the file";
}
static const char *ply_property_line(ply *p, const char *line) {
    char word[4][PLY_NAME], more;
    int n = sscanf(line, "%63s %63s %63s %63s %c", word[0], word[1], word[2], word[3], &more);
    ply_element *e = p->elements ? &p->e[p->elements - 1] : NULL;
    if (!e || e->properties == PLY_PROPERTIES || (n != 2 && n != 4)) return "is not read";
    for (int i = 0; i < e->properties; i++)
        if (!strcmp(e->at[i].name, word[n - 1])) return "comes twice";
    ply_property *q = &e->at[e->properties++];
    strcpy(q->name, word[n - 1]), q->list = n == 4;
    if (q->list && (strcmp(word[0], "list") || !ply_type_of(word[1], &q->count) || q->count.kind == 'f'))
        return "is not read";
    return ply_type_of(word[n - 2], &q->value) ? NULL : "is not read";
}
/* the line, without its end and blanks before that; 0: it has none, is too long or has a NUL */
static int ply_line(words *w, char *line, size_t room) {
    const char *stop = w->at < w->end ? (const char *)memchr(w->at, '\n', (size_t)(w->end - w->at)) : NULL;
    size_t n = stop ? (size_t)(stop - w->at) : room;
    if (n >= room || memchr(w->at, 0, n)) return 0;
    memcpy(line, w->at, n), w->word = w->at, w->at = stop + 1;
    while (n && isspace((unsigned char)line[n - 1])) n--;
    line[n] = 0;
    return 1;
}
static int ply_header(ply *p) {
    words *w = &p->w;
    char line[256];
    for (int number = 1; number <= 200 && ply_line(w, line, sizeof line); number++) {
        const char *why = NULL;
        if (number == 1 && strcmp(line, "ply")) break;
        if (!strncmp(line, "format ", 7)) why = ply_format(p, line + 7);
        else if (!strncmp(line, "element ", 8)) why = ply_element_line(p, line + 8);
        else if (!strncmp(line, "property ", 9)) why = ply_property_line(p, line + 9);
        else if (!strcmp(line, "end_header") && p->format && p->elements) return (p->body = w->at) != NULL;
        else if (!strcmp(line, "end_header")) why = "comes before format or elements";
        else if (number > 1 && strcmp(line, "comment") && strncmp(line, "comment ", 8) &&
                 strncmp(line, "obj_info ", 9))
            why = "is not read";
        if (why) return fv_fail(w->c, FV_EFORMAT, "%s: line %d: \"%.60s\" %s", w->path, number, line, why);
    }
    w->word = w->at;
    return wrong(w, "no PLY header up to end_header");
}
static double ply_value(ply *p, int row, ply_type t) {
    npy one;
    words *w = &p->w;
    if (p->format == 't') {
        double v = next_number(w, row), most = ldexp(1, 8 * t.bytes - (t.kind == 'i'));
        if (t.kind != 'f' && !(v >= (t.kind == 'i' ? -most : 0) && v < most && v <= floor(v)))
            return wrong(w, "a whole number of the property's type is wanted");
        return v;
    }
    w->word = w->at;
    if (w->end - w->at < t.bytes) return wrong(w, "cut short");
    memset(&one, 0, sizeof one);
    one.kind = (char)t.kind, one.bytes = t.bytes, one.big = p->format == 'b';
    one.data = (const uint8_t *)w->at, w->at += t.bytes;
    return npy_value(&one, 0);
}
/* which coordinate of a vertex a property is, or -1 */
static int ply_axis(const ply_property *q) {
    return !q->list && q->name[0] >= 'x' && q->name[0] <= 'z' && !q->name[1] ? q->name[0] - 'x' : -1;
}
static int ply_corners(const ply_property *q) {
    return q->list && (!strcmp(q->name, "vertex_indices") || !strcmp(q->name, "vertex_index"));
}
static void ply_row(ply *p, const ply_element *e, int64_t row) {
    int vertex = !strcmp(e->name, "vertex"), face = !strcmp(e->name, "face");
    mesh *m = p->t.m;
    for (int k = 0; k < e->properties && !fv_error(p->w.c); k++) {
        const ply_property *q = &e->at[k];
        double n = q->list ? ply_value(p, k > 0, q->count) : 1;
        int corners = face && ply_corners(q), axis = vertex ? ply_axis(q) : -1;
        if (!(n >= 0 && n <= 1e6)) wrong(&p->w, "a list has 0 to 1000000 items");
        for (int64_t i = 0; i < (int64_t)n && !fv_error(p->w.c); i++) {
            double v = ply_value(p, q->list || k > 0, q->value);
            if (axis >= 0) m->xyz[3 * row + axis] = coordinate(&p->w, v);
            else if (corners && v >= 0 && v < (double)m->points && v <= floor(v))
                corner(&p->t, i, (int32_t)v);
            else if (corners) wrong(&p->w, "a face has a corner that is no vertex");
        }
    }
    if (p->format == 't') row_ends(&p->w);
}
static void ply_walk(ply *p) {
    p->w.at = p->body, p->t.count = 0;
    for (int i = 0; i < p->elements; i++)
        for (int64_t k = 0; k < p->e[i].count && !fv_error(p->w.c); k++) ply_row(p, &p->e[i], k);
    text_ends(&p->w);
}
static int read_ply(fv_ctx *c, const char *path, const fv_file *f, mesh *m) {
    ply *p = (ply *)fv_alloc(c, sizeof *p);
    if (!p) return 0;
    int64_t faces = 0;
    int axes = 0, corners = 0;
    p->w = words_of(c, path, f, 0), p->t.m = m;
    if (ply_header(p)) {
        for (int i = 0; i < p->elements; i++) {
            const ply_element *e = &p->e[i];
            int vertex = !strcmp(e->name, "vertex"), face = !strcmp(e->name, "face");
            if (vertex) m->points = e->count;
            if (face) faces = e->count;
            for (int k = 0; k < e->properties; k++)
                axes += vertex && ply_axis(&e->at[k]) >= 0, corners += face && ply_corners(&e->at[k]);
        }
        if (axes != 3) wrong(&p->w, "vertices without x, y and z");
        else if (faces && corners != 1) wrong(&p->w, "faces without vertex_indices");
        else if (m->points > (p->w.end - p->body) / 3) wrong(&p->w, "the vertices do not fit the file");
        else if (make_room(c, path, m, m->points)) {
            ply_walk(p);
            /* faces may come before the vertices, which tell their area */
            if (faces && !(p->t.area > 0) && !fv_error(c)) ply_walk(p);
            if (faces && faces_room(&p->w, &p->t)) ply_walk(p);
        }
    }
    fv_free(c, p);
    return !fv_error(c);
}

/* ---- arrays ---- */
static int is_cloud(fv_ctx *c, const char *path, const npy *a) {
    return (a->rank == 2 && a->dim[1] >= 3) || fv_fail(c, FV_EFORMAT, "%s: an array [N,3] is wanted", path);
}
static int take_array(fv_ctx *c, const char *path, const npy *a, mesh *m) {
    if (!is_cloud(c, path, a) || !make_room(c, path, m, a->dim[0])) return 0;
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
    while (k < 5 && !npz_has(&z, name[k])) k++;
    if (k == 5) fv_fail(c, FV_EFORMAT, "%s: no points, pos, xyz, data or arr_0 in the archive", path);
    else if (npz_head(c, &z, name[k], &a) && is_cloud(c, path, &a) && npz_get(c, &z, name[k], &a))
        take_array(c, path, &a, m), npy_free(c, &a);
    npz_close(c, &z);
    return !fv_error(c);
}

/* ---- XYZ ---- */
static const char *past_blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    return at;
}
/* the first three of a line of three numbers or more, between blanks or a comma each */
static int three(const char *at, const char *end, float *to) {
    int k = 0;
    for (double v; at < end; k++) {
        const char *word = at;
        while (at < end && *at != ' ' && *at != '\t' && *at != ',') at++;
        if (!decimal(word, (size_t)(at - word), &v) || (k < 3 && !(fabs(v) < 1e15))) return 0;
        if (k < 3) to[k] = (float)v;
        at = past_blanks(at, end);
        if (at < end && *at == ',') at = past_blanks(at + 1, end);
    }
    return k >= 3;
}
static int read_xyz(fv_ctx *c, const char *path, const fv_file *f, mesh *m) {
    const char *at = (const char *)f->data, *end = at + f->size, *stop;
    int64_t lines = 1, number = 1, fit = ((int64_t)f->size + 1) / 6; /* a point takes six bytes or more */
    for (const char *p = at; p < end && (p = (const char *)memchr(p, '\n', (size_t)(end - p))); p++) lines++;
    if (!make_room(c, path, m, lines < fit ? lines : fit)) return 0;
    for (; at < end; at = stop + 1, number++) {
        const char *line = at, *last;
        float p[3];
        stop = (const char *)memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        last = (const char *)memchr(line, '#', (size_t)(stop - line)); /* a comment */
        if (!last) last = stop > line && stop[-1] == '\r' ? stop - 1 : stop;
        line = past_blanks(line, last);
        if (line == last) continue;
        if (!three(line, last, p))
            return fv_fail(c, FV_EFORMAT, "%s: line %lld: x y z are wanted", path, (long long)number);
        memcpy(m->xyz + 3 * m->points++, p, sizeof p);
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
int mesh_named(const char *name) {
    static const char *const ending[] = {".off", ".ply", ".wrl", ".wrz", ".npy", ".npz", ".xyz", ".txt"};
    for (int k = 0; k < 8; k++)
        if (ends(name, ending[k])) return strlen(name) > 4;
    return 0;
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

static int sample_surface(fv_ctx *c, const mesh *m, fv_rng *r, int64_t n, float *out) {
    double *sum = (double *)fv_alloc(c, (size_t)(m->faces + 1) * sizeof *sum);
    if (!sum) return 0;
    for (int64_t f = 0; f < m->faces; f++) sum[f + 1] = sum[f] + area(m->xyz, m->face + 3 * f);
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
