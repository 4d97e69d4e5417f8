/* vrml.c -- VRML 2.0 (.wrl; gzipped too, which is called .wrz), the part of it that CAD programs write:
 * Shape with an IndexedFaceSet of a Coordinate, Transform and the nodes that only group, DEF and USE,
 * comments; of a Switch the choice that is shown, of an LOD the finest level. What has no surface
 * (appearances, lights, viewpoints, lines) is passed over; a surface of another kind (Box, Extrusion ...),
 * PROTO and Inline are refused, since a part without them would be a wrong part.
 *
 * The text is walked twice: first to count, so that exactly what is needed is allocated, then to fill.
 * DEF keeps where a node begins, and USE walks it again; how much may be walked again is bounded by the
 * file's size.
 * source  ISO/IEC 14772-1:1997, chapters 5, 6 and annex A */
#include "clouds.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

enum { WORD = 128, DEEPEST = 64, BUCKETS = 256, MOST_DEFS = 16384 };
enum { CHILD, GEOMETRY, COORDINATES }; /* what a node stands for where it stands */

/* a DEF: its name, its node's text [from,to); to is 0 until the node has ended. next: the one before it
 * in its bucket, or -1 */
typedef struct definition {
    const char *name;
    int length, next;
    int64_t from, to;
} definition;
typedef struct matrix {
    double at[3][4]; /* to the world: the last column is added */
} matrix;
typedef struct vrml {
    fv_ctx *c;
    const char *path, *text;
    int64_t size, at;
    char word[WORD]; /* the last word read, "" at the end of the text; { } [ ] are words, a text is " */
    const char *word_at;
    int depth, fill, again_in;        /* fill: the second walk; again_in: inside how many USE */
    int mute;                         /* what is walked is not shown: only its names count */
    int64_t points, triangles, again; /* again: bytes that USE may still walk */
    definition *def;
    int defs, room, bucket[BUCKETS];
    mesh *m;
} vrml;

static int refuse(vrml *v, const char *what) {
    return fv_fail(v->c, FV_EFORMAT, "%s: byte %lld: %s", v->path, (long long)v->at, what);
}

/* ---- words ---- */
static int is_blank(char a) { return a == ' ' || a == ',' || a == '\n' || a == '\t' || a == '\r'; }
static int is_mark(char a) { return a == '{' || a == '}' || a == '[' || a == ']'; }
static void next(vrml *v) {
    const char *p = v->text + v->at, *end = v->text + v->size;
    int n = 0;
    while (p < end && (is_blank(*p) || *p == '#'))
        if (*p == '#')
            while (p < end && *p != '\n') p++;
        else p++;
    v->word_at = p;
    if (p < end && *p == '"') {
        for (p++; p < end && *p != '"'; p++) p += *p == '\\' && p + 1 < end;
        if (p == end) refuse(v, "a text without end");
        else p++;
        v->word[n++] = '"';
    } else if (p < end && is_mark(*p)) v->word[n++] = *p++;
    else
        while (p < end && n < WORD && !is_blank(*p) && !is_mark(*p) && *p != '"' && *p != '#')
            v->word[n++] = *p++;
    v->at = p - v->text;
    if (n == WORD) refuse(v, "a word of over 127 letters"), n = 0;
    v->word[n] = 0;
    if (fv_error(v->c)) v->word[0] = 0; /* as at the end: every loop stops */
}
static int is(const vrml *v, const char *word) { return !strcmp(v->word, word); }
static int wanted(vrml *v, const char *mark) {
    next(v);
    return is(v, mark) || (refuse(v, *mark == '{' ? "{ is wanted" : "[ is wanted"), 0);
}
static double number(vrml *v) {
    char *end;
    next(v);
    double x = strtod(v->word, &end);
    if (end == v->word || *end || !(fabs(x) < 1e15)) refuse(v, "a number is wanted");
    return x;
}
/* to after the } or ] of the { or [ just read */
static void skip_block(vrml *v) {
    for (int64_t open = 1; open;) {
        next(v);
        if (!*v->word) {
            refuse(v, "cut short: } or ] is wanted");
            return;
        }
        open += is(v, "{") || is(v, "["), open -= is(v, "}") || is(v, "]");
    }
}
/* a field's value that begins with a node or a list */
static void skip_value(vrml *v) {
    next(v);
    if (is(v, "USE")) next(v);
    else if (!is(v, "NULL")) {
        while (*v->word && !is(v, "{") && !is(v, "[") && !is(v, "}") && !is(v, "]")) next(v);
        if (is(v, "{") || is(v, "[")) skip_block(v);
        else refuse(v, "a node or a list is wanted");
    }
}
/* The next field's name inside a node: 1; 0 at its }. What is not asked for is passed over word by word,
 * blocks whole. */
static int field(vrml *v, const char *const *names, int *which) {
    for (;;) {
        next(v);
        if (is(v, "}")) return 0;
        if (!*v->word || is(v, "]")) return refuse(v, "cut short: } is wanted"), 0;
        int block = is(v, "{") || is(v, "["), name = is(v, "DEF") || is(v, "USE");
        if (block) skip_block(v);
        else if (name) next(v);
        for (*which = 0; names[*which] && !block && !name; ++*which)
            if (is(v, names[*which])) return 1;
    }
}

/* ---- matrices ---- */
static matrix product(const matrix *a, const matrix *b) {
    matrix r;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++) {
            r.at[i][j] = j == 3 ? a->at[i][3] : 0;
            for (int k = 0; k < 3; k++) r.at[i][j] += a->at[i][k] * b->at[k][j];
        }
    return r;
}
static matrix moved(const double *by, double sign) {
    matrix r = {{{1, 0, 0, sign * by[0]}, {0, 1, 0, sign * by[1]}, {0, 0, 1, sign * by[2]}}};
    return r;
}
/* about the axis q[0..2] by q[3] radians (times sign): Rodrigues' formula */
static matrix turned(const double *q, double sign) {
    double n = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2]), s = sin(sign * q[3]), c = cos(q[3]);
    double u[3] = {n > 0 ? q[0] / n : 0, n > 0 ? q[1] / n : 0, n > 0 ? q[2] / n : 1};
    matrix r;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) r.at[i][j] = (i == j) * c + (1 - c) * u[i] * u[j];
    r.at[0][1] -= s * u[2], r.at[1][0] += s * u[2], r.at[0][2] += s * u[1], r.at[2][0] -= s * u[1];
    r.at[1][2] -= s * u[0], r.at[2][1] += s * u[0];
    r.at[0][3] = r.at[1][3] = r.at[2][3] = 0;
    return r;
}

/* ---- DEF ---- */
static unsigned bucket_of(const char *name, int n) {
    unsigned h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h % BUCKETS;
}
static int find_def(const vrml *v) {
    int n = (int)strlen(v->word), i = v->bucket[bucket_of(v->word, n)];
    for (; i >= 0; i = v->def[i].next)
        if (v->def[i].length == n && !memcmp(v->def[i].name, v->word, (size_t)n)) break;
    return i;
}
static int add_def(vrml *v) {
    int n = (int)strlen(v->word);
    if (v->defs == MOST_DEFS) return refuse(v, "over 16384 nodes with a name"), -1;
    if (v->defs == v->room) {
        int room = v->room ? 2 * v->room : 16;
        definition *more = (definition *)fv_alloc(v->c, (size_t)room * sizeof *more);
        if (!more) return -1;
        if (v->defs) memcpy(more, v->def, (size_t)v->defs * sizeof *more);
        fv_free(v->c, v->def), v->def = more, v->room = room;
    }
    int *bucket = &v->bucket[bucket_of(v->word, n)];
    definition d = {v->word_at, n, *bucket, v->at, 0};
    v->def[v->defs] = d;
    return *bucket = v->defs++;
}

/* ---- nodes: the type, or DEF or USE, is the word just read ---- */
static void node(vrml *v, const matrix *t, int stands_for);

static void children(vrml *v, const matrix *t) {
    next(v);
    if (!is(v, "[")) {
        node(v, t, CHILD);
        return;
    }
    for (next(v); *v->word && !is(v, "]"); next(v)) node(v, t, CHILD);
    if (!*v->word) refuse(v, "cut short: ] is wanted");
}
static void group(vrml *v, const matrix *t) {
    static const char *const names[] = {"children", NULL};
    for (int which; field(v, names, &which);) children(v, t);
}
/* the nodes of a list; all but number `shown` are walked for the names in them only */
static void choices(vrml *v, const matrix *t, int shown) {
    if (!wanted(v, "[")) return;
    next(v);
    for (int i = 0; *v->word && !is(v, "]"); i++, next(v)) {
        int hidden = i != shown;
        v->mute += hidden;
        node(v, t, CHILD);
        v->mute -= hidden;
    }
    if (!*v->word) refuse(v, "cut short: ] is wanted");
}
static void level_of_detail(vrml *v, const matrix *t) {
    static const char *const names[] = {"level", NULL};
    for (int which; field(v, names, &which);) choices(v, t, 0);
}
static void switched(vrml *v, const matrix *t) {
    static const char *const names[] = {"choice", "whichChoice", NULL};
    int64_t at = -1, end;
    double shown = -1;
    for (int which; field(v, names, &which);)
        if (which == 0) at = v->at, skip_value(v);
        else shown = number(v);
    end = v->at;
    if (at < 0 || fv_error(v->c)) return;
    v->at = at, choices(v, t, shown >= 0 && shown < 1e6 ? (int)shown : -1), v->at = end;
}
/* p' = T C R SR S -SR -C p; the children are walked last, since the other fields may come after them */
static void transform(vrml *v, const matrix *parent) {
    static const char *const names[] = {"translation",      "center",   "scale", "rotation",
                                        "scaleOrientation", "children", NULL};
    double value[5][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {1, 1, 1, 0}, {0, 0, 1, 0}, {0, 0, 1, 0}};
    int64_t at = -1, end;
    for (int which; field(v, names, &which);)
        if (which == 5) at = v->at, skip_value(v);
        else
            for (int k = 0; k < (which < 3 ? 3 : 4); k++) value[which][k] = number(v);
    end = v->at;
    if (at < 0 || fv_error(v->c)) return;
    matrix size = {{{value[2][0], 0, 0, 0}, {0, value[2][1], 0, 0}, {0, 0, value[2][2], 0}}};
    matrix step[7] = {
        moved(value[0], 1),   moved(value[1], 1), turned(value[3], 1), turned(value[4], 1), size,
        turned(value[4], -1), moved(value[1], -1)};
    matrix t = *parent;
    for (int i = 0; i < 7; i++) t = product(&t, &step[i]);
    v->at = at, children(v, &t), v->at = end;
}
static void coordinate(vrml *v, const matrix *t) {
    static const char *const names[] = {"point", NULL};
    for (int which; field(v, names, &which);) {
        int64_t n = 0;
        int keep = v->fill && !v->mute;
        double p[3];
        if (!wanted(v, "[")) return;
        for (next(v); *v->word && !is(v, "]"); next(v), n++) {
            char *end;
            if (!keep) continue;
            p[n % 3] = strtod(v->word, &end);
            if (end == v->word || *end || !(fabs(p[n % 3]) < 1e15)) refuse(v, "a coordinate is wanted");
            for (int k = 0; k < 3 && n % 3 == 2; k++)
                v->m->xyz[3 * (v->points + n / 3) + k] =
                    (float)(t->at[k][0] * p[0] + t->at[k][1] * p[1] + t->at[k][2] * p[2] + t->at[k][3]);
        }
        if (!*v->word || n % 3) refuse(v, "a list of points ends with a whole point and ]");
        if (!v->mute) v->points += n / 3;
    }
}
/* polygons, each ended by -1 (the last one by ] too), become fans of triangles; their points are those
 * from `first` */
static void polygons(vrml *v, int64_t first) {
    int64_t corners = 0, most = v->points - first, begin = 0, last = 0;
    if (!wanted(v, "[")) return;
    for (next(v); *v->word && !is(v, "]"); next(v)) {
        char *end;
        long long i = strtoll(v->word, &end, 10);
        if (end == v->word || *end || i < -1 || i >= most)
            refuse(v, "the number of a point of this set is wanted");
        else if (i < 0) corners = 0;
        else {
            if (corners == 0) begin = i;
            else if (corners > 1 && v->fill) {
                int32_t *f = v->m->face + 3 * v->triangles;
                f[0] = (int32_t)(first + begin), f[1] = (int32_t)(first + last), f[2] = (int32_t)(first + i);
            }
            v->triangles += corners++ > 1, last = i;
        }
    }
    if (!*v->word) refuse(v, "cut short: ] is wanted");
}
static void face_set(vrml *v, const matrix *t) {
    static const char *const names[] = {"coord", "coordIndex", NULL};
    int64_t first = v->points, at = -1, end;
    for (int which; field(v, names, &which);)
        if (which == 1) at = v->at, skip_value(v);
        else first = v->points, next(v), node(v, t, COORDINATES);
    end = v->at;
    if (at < 0 || v->mute || fv_error(v->c)) return;
    v->at = at, polygons(v, first), v->at = end;
}
/* lines and points: no surface, but a face set may USE their points */
static void lines(vrml *v, const matrix *t) {
    static const char *const names[] = {"coord", NULL};
    v->mute++;
    for (int which; field(v, names, &which);) next(v), node(v, t, COORDINATES);
    v->mute--;
}
static void shape(vrml *v, const matrix *t) {
    static const char *const names[] = {"geometry", NULL};
    for (int which; field(v, names, &which);) next(v), node(v, t, GEOMETRY);
}

static int among(const vrml *v, const char *const *names) {
    while (*names && strcmp(*names, v->word)) names++;
    return *names != NULL;
}
static void typed(vrml *v, const matrix *t, int stands_for) {
    static const char *const groups[] = {"Group", "Anchor", "Billboard", "Collision", NULL};
    int foreign = is(v, "Inline") || is(v, "PROTO") || is(v, "EXTERNPROTO");
    int flat = is(v, "IndexedLineSet") || is(v, "PointSet");
    void (*read)(vrml *, const matrix *) = NULL;
    if (stands_for == COORDINATES) read = is(v, "Coordinate") ? coordinate : NULL;
    else if (stands_for == GEOMETRY) read = is(v, "IndexedFaceSet") ? face_set : flat ? lines : NULL;
    else if (among(v, groups)) read = group;
    else
        read = is(v, "Shape")       ? shape
               : is(v, "Transform") ? transform
               : is(v, "Switch")    ? switched
               : is(v, "LOD")       ? level_of_detail
                                    : NULL;
    if (!read && stands_for == COORDINATES) refuse(v, "a Coordinate is wanted");
    else if (!read && stands_for == GEOMETRY && !is(v, "Text"))
        refuse(v, "of surfaces an IndexedFaceSet is read");
    else if (!read && foreign) refuse(v, "Inline and PROTO are not read");
    else if (is_mark(*v->word) || *v->word == '"' || !*v->word) refuse(v, "a node is wanted");
    else if (++v->depth > DEEPEST) refuse(v, "nodes inside nodes, too deep");
    else if (wanted(v, "{")) {
        if (read) read(v, t);
        else skip_block(v);
    }
    v->depth--;
}
static void use(vrml *v, const matrix *t, int stands_for) {
    next(v);
    int i = find_def(v);
    int64_t back = v->at;
    if (i < 0 || !v->def[i].to) refuse(v, "USE of what no whole node before it is called");
    else if ((v->again -= v->def[i].to - v->def[i].from) < 0)
        refuse(v, "USE repeats more than so small a file may");
    else {
        v->again_in++, v->at = v->def[i].from, next(v);
        typed(v, t, stands_for);
        v->again_in--, v->at = back;
    }
}
static void node(vrml *v, const matrix *t, int stands_for) {
    int i = -1;
    if (is(v, "NULL")) return;
    if (is(v, "USE")) {
        use(v, t, stands_for);
        return;
    }
    if (is(v, "DEF")) {
        next(v);
        if (!v->again_in) i = add_def(v); /* known since the first time */
        next(v);
    }
    typed(v, t, stands_for);
    if (i >= 0) v->def[i].to = v->at;
}

static int walk(vrml *v, int fill) {
    static const matrix whole = {{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
    v->fill = fill, v->at = 0, v->points = v->triangles = 0, v->defs = v->depth = 0,
    v->mute = v->again_in = 0;
    v->again = 16 * v->size + (1 << 20);
    for (int i = 0; i < BUCKETS; i++) v->bucket[i] = -1;
    for (next(v); *v->word; next(v))
        if (is(v, "ROUTE")) next(v), next(v), next(v); /* from TO to */
        else node(v, &whole, CHILD);
    return !fv_error(v->c);
}
static int read_text(fv_ctx *c, const char *path, const char *text, size_t size, mesh *m) {
    vrml v;
    memset(&v, 0, sizeof v);
    v.c = c, v.path = path, v.text = text, v.size = (int64_t)size, v.m = m;
    if (size < 10 || memcmp(text, "#VRML V2.0", 10))
        return fv_fail(c, FV_EFORMAT, "%s: byte 0: #VRML V2.0 is wanted%s", path,
                       size > 7 && !memcmp(text, "#VRML V", 7) ? ": of VRML only version 2.0 is read" : "");
    if (walk(&v, 0)) {
        int64_t bytes = 12 * (v.points + v.triangles);
        if (v.size > INT32_MAX) fv_fail(c, FV_EFORMAT, "%s: over 2 GB", path);
        else if (!v.triangles) fv_fail(c, FV_EFORMAT, "%s: no IndexedFaceSet with a face", path);
        else if (bytes > 4 * v.size + (1 << 20))
            refuse(&v, "more faces than a file of this size may make by USE");
        else {
            m->xyz = (float *)fv_alloc(c, (size_t)(3 * v.points) * sizeof *m->xyz);
            m->face = (int32_t *)fv_alloc(c, (size_t)(3 * v.triangles) * sizeof *m->face);
            if (!fv_error(c) && walk(&v, 1)) m->points = v.points, m->faces = v.triangles;
        }
    }
    fv_free(c, v.def);
    return !fv_error(c);
}

#ifdef HAVE_ZLIB
/* a gzip file's last four bytes tell the size, so that a bomb is refused before it grows */
static char *inflated(fv_ctx *c, const char *path, const uint8_t *data, size_t size, size_t *out_size) {
    static const char wrong[] = "the gzip data are damaged or cut short";
    const uint8_t *p = data + size - 4;
    size_t n = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    z_stream z;
    if (n / 1100 > size || size > INT32_MAX) return fv_fail(c, FV_EFORMAT, "%s: %s", path, wrong), NULL;
    char *out = (char *)fv_alloc(c, n + 1);
    if (!out) return NULL;
    memset(&z, 0, sizeof z);
    z.next_in = (Bytef *)(uintptr_t)data, z.avail_in = (uInt)size;
    z.next_out = (Bytef *)out, z.avail_out = (uInt)n + 1;
    int ok = inflateInit2(&z, 31) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END;
    inflateEnd(&z);
    if (!ok || z.total_out != n || z.avail_in) fv_fail(c, FV_EFORMAT, "%s: %s", path, wrong);
    *out_size = n;
    return out;
}
#endif
int vrml_parse(fv_ctx *c, const char *path, const uint8_t *data, size_t size, mesh *m) {
    int zipped = size >= 18 && data[0] == 0x1f && data[1] == 0x8b;
    if (!zipped) return read_text(c, path, (const char *)data, size, m);
#ifdef HAVE_ZLIB
    size_t n = 0;
    char *text = inflated(c, path, data, size, &n);
    if (text && !fv_error(c)) read_text(c, path, text, n, m);
    fv_free(c, text);
    return !fv_error(c);
#else
    return fv_fail(c, FV_EUNAVAILABLE,
                   "%s: gzipped, and this program was built without zlib: install zlib1g-dev and "
                   "build again",
                   path);
#endif
}
