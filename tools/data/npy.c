#include "npy.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

static uint32_t little(const uint8_t *p, int n) {
    uint32_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint32_t)p[i] << (8 * i);
    return v;
}

/* ---- .npy: magic, version, length of a header that is a Python dict, then the data ---- */
static const char *after(const char *text, const char *key) {
    const char *p = strstr(text, key);
    if (!p) return NULL;
    for (p += strlen(key); *p == ' ' || *p == ':'; p++)
        ;
    return p;
}
static int header(fv_ctx *c, const char *name, const char *text, size_t left, npy *a) {
    const char *type = after(text, "'descr'"), *order = after(text, "'fortran_order'"),
               *shape = after(text, "'shape'");
    if (!type || !order || !shape || *shape != '(')
        return fv_fail(c, FV_EFORMAT, "%s: the .npy header lacks descr, fortran_order or shape", name);
    if (strncmp(order, "False", 5))
        return fv_fail(c, FV_EFORMAT, "%s: in Fortran order; numpy.ascontiguousarray turns it", name);
    a->kind = type[0] == '\'' && strchr("<>|=", type[1]) ? type[2] : 0;
    a->big = type[1] == '>', a->bytes = a->kind ? atoi(type + 3) : 0;
    if (!a->kind || !strchr("fiub", a->kind) ||
        !(a->bytes == 1 || a->bytes == 2 || a->bytes == 4 || a->bytes == 8) ||
        (a->kind == 'f' && a->bytes < 4))
        return fv_fail(c, FV_EFORMAT, "%s: elements of type %.12s are not read", name, type);
    a->count = 1, a->rank = 0;
    for (shape++; *shape && *shape != ')';) {
        char *end;
        long long n = strtoll(shape, &end, 10);
        if (end == shape || n < 0 || a->rank == 8 || (n && a->count > INT64_MAX / n))
            return fv_fail(c, FV_EFORMAT, "%s: the shape is not read", name);
        a->dim[a->rank++] = n, a->count *= n;
        for (shape = end; *shape == ',' || *shape == ' '; shape++)
            ;
    }
    if ((uint64_t)a->count > left / (size_t)a->bytes)
        return fv_fail(c, FV_EFORMAT, "%s: %lld elements of %d bytes are told, there are %lld bytes", name,
                       (long long)a->count, a->bytes, (long long)left);
    return 1;
}
int npy_parse(fv_ctx *c, const char *name, const uint8_t *bytes, size_t size, npy *a) {
    char text[1024];
    memset(a, 0, sizeof *a);
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6))
        return fv_fail(c, FV_EFORMAT, "%s: no .npy array at byte 0", name);
    size_t start = bytes[6] >= 2 ? 12 : 10,
           length = size < start ? size : little(bytes + 8, bytes[6] >= 2 ? 4 : 2);
    if (bytes[6] < 1 || bytes[6] > 3 || size < start || length > size - start || length >= sizeof text)
        return fv_fail(c, FV_EFORMAT, "%s: the .npy header is cut short or too long", name);
    memcpy(text, bytes + start, length), text[length] = 0;
    a->data = bytes + start + length;
    return header(c, name, text, size - start - length, a);
}
double npy_value(const npy *a, int64_t i) {
    uint8_t b[8];
    const uint8_t *p = a->data + i * a->bytes;
    for (int k = 0; k < a->bytes; k++) b[k] = p[a->big ? a->bytes - 1 - k : k];
    uint64_t v = 0;
    for (int k = 0; k < a->bytes; k++) v |= (uint64_t)b[k] << (8 * k);
    if (a->kind == 'f' && a->bytes == 4) {
        float f;
        uint32_t u = (uint32_t)v;
        memcpy(&f, &u, 4);
        return (double)f;
    }
    if (a->kind == 'f') {
        double f;
        memcpy(&f, &v, 8);
        return f;
    }
    if (a->kind == 'i' && a->bytes < 8 && v >> (8 * a->bytes - 1))
        return (double)v - (double)((uint64_t)1 << (8 * a->bytes));
    return a->kind == 'i' ? (double)(int64_t)v : (double)v;
}
void npy_free(fv_ctx *c, npy *a) { fv_free(c, a->owned), memset(a, 0, sizeof *a); }

/* ---- .npz: a zip archive ---- */
typedef struct member {
    const uint8_t *name, *data;
    uint32_t name_length, packed, size, method;
} member;

/* the directory's next entry at *at; 0 at the end, -1 where it does not hold together */
static int next_member(const npz *z, size_t *at, size_t end, member *m) {
    const uint8_t *f = z->file.data, *p = f + *at;
    size_t total = z->file.size;
    if (*at >= end) return 0;
    if (end - *at < 46 || little(p, 4) != 0x02014b50) return -1;
    m->method = little(p + 10, 2), m->packed = little(p + 20, 4), m->size = little(p + 24, 4),
    m->name_length = little(p + 28, 2), m->name = p + 46;
    size_t next = 46 + (size_t)m->name_length + little(p + 30, 2) + little(p + 32, 2),
           local = little(p + 42, 4);
    if (next > end - *at || m->packed == 0xffffffffu || local > total || total - local < 30 ||
        little(f + local, 4) != 0x04034b50)
        return -1;
    size_t data = local + 30 + little(f + local + 26, 2) + little(f + local + 28, 2);
    if (data > total || m->packed > total - data || (m->method == 0 && m->packed != m->size)) return -1;
    m->data = f + data, *at += next;
    return 1;
}
static int directory(const npz *z, size_t *at, size_t *end) {
    const uint8_t *f = z->file.data;
    size_t n = z->file.size;
    for (size_t back = 22; back <= n && back < 22 + 65536; back++) {
        const uint8_t *p = f + n - back;
        if (little(p, 4) != 0x06054b50) continue;
        size_t size = little(p + 12, 4), start = little(p + 16, 4);
        if (start > n - back || size > n - back - start) return 0;
        *at = start, *end = start + size;
        return 1;
    }
    return 0;
}
static int find(const npz *z, const char *name, member *m) {
    size_t at, end, n = strlen(name);
    int more = directory(z, &at, &end) ? 1 : -1;
    while (more > 0 && (more = next_member(z, &at, end, m)) > 0)
        if (m->name_length == n + 4 && !memcmp(m->name, name, n) && !memcmp(m->name + n, ".npy", 4)) return 1;
    return more;
}
int npz_open(fv_ctx *c, const char *path, npz *z) {
    member m;
    memset(z, 0, sizeof *z);
    snprintf(z->path, sizeof z->path, "%s", path);
    if (!fv_file_open(c, path, &z->file)) return 0;
    if (find(z, "", &m) >= 0) return 1;
    fv_fail(c, FV_EFORMAT, "%s: no whole .npz archive (zip64 is not read)", path);
    npz_close(c, z);
    return 0;
}
int npz_has(const npz *z, const char *name) {
    member m;
    return find(z, name, &m) > 0;
}
static int inflated(fv_ctx *c, const char *name, const member *m, npy *a) {
#ifdef HAVE_ZLIB
    z_stream s;
    if (m->size / 1100 > m->packed + 64)
        return fv_fail(c, FV_EFORMAT, "%s: %u bytes cannot hold %u", name, m->packed, m->size);
    uint8_t *out = (uint8_t *)fv_alloc(c, (size_t)m->size + 1);
    if (!out) return 0;
    memset(&s, 0, sizeof s);
    s.next_in = (Bytef *)(uintptr_t)m->data, s.avail_in = m->packed, s.next_out = out, s.avail_out = m->size;
    int ok = inflateInit2(&s, -15) == Z_OK && inflate(&s, Z_FINISH) == Z_STREAM_END && s.total_out == m->size;
    inflateEnd(&s);
    if (!ok) fv_fail(c, FV_EFORMAT, "%s: the deflated data are damaged", name);
    if (ok && npy_parse(c, name, out, m->size, a)) {
        a->owned = out;
        return 1;
    }
    fv_free(c, out);
    return 0;
#else
    (void)m, (void)a;
    return fv_fail(
        c, FV_EUNAVAILABLE,
        "%s: deflated, and this program was built without zlib: install zlib1g-dev and build again", name);
#endif
}
int npz_get(fv_ctx *c, const npz *z, const char *name, npy *a) {
    char full[4300];
    member m;
    snprintf(full, sizeof full, "%s: %.100s", z->path, name);
    memset(a, 0, sizeof *a);
    if (find(z, name, &m) <= 0) return fv_fail(c, FV_EFORMAT, "%s is not in the archive", full);
    if (m.method == 0) return npy_parse(c, full, m.data, m.size, a);
    if (m.method != 8)
        return fv_fail(c, FV_EFORMAT, "%s: packed by method %u; stored and deflated members are read", full,
                       m.method);
    return inflated(c, full, &m, a);
}
void npz_close(fv_ctx *c, npz *z) { fv_file_close(c, &z->file); }

/* ---- writing ---- */
static int put_bytes(fv_ctx *c, fv_text *t, const void *data, size_t n) {
    if (t->size + n + 1 > t->capacity) {
        size_t room = 2 * t->capacity + n + 4096;
        char *more = (char *)fv_alloc(c, room);
        if (!more) return 0;
        if (t->data) memcpy(more, t->data, t->size), fv_free(c, t->data);
        t->data = more, t->capacity = room;
    }
    memcpy(t->data + t->size, data, n), t->size += n, t->data[t->size] = 0;
    return 1;
}
static void put_number(fv_ctx *c, fv_text *t, uint32_t v, int bytes) {
    uint8_t b[4];
    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)(v >> (8 * i));
    put_bytes(c, t, b, (size_t)bytes);
}
static void put_header(fv_ctx *c, fv_text *t, const char *type, int rank, const int64_t *dim) {
    char text[256];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
    for (int i = 0; i < rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%lld,%s", (long long)dim[i],
                      i + 1 < rank ? " " : "");
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    while ((10 + n + 1) % 64) text[n++] = ' ';
    text[n++] = '\n';
    put_bytes(c, t, "\x93NUMPY\1", 8);
    put_number(c, t, (uint32_t)n, 2), put_bytes(c, t, text, (size_t)n);
}
int npy_write(fv_ctx *c, const char *path, const float *data, int rank, const int64_t *dim) {
    fv_text t = {NULL, 0, 0};
    size_t n = sizeof *data;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    put_header(c, &t, "<f4", rank, dim);
    int ok = put_bytes(c, &t, data, n) && fv_write_file(c, path, t.data, t.size);
    fv_text_free(c, &t);
    return ok;
}
static uint32_t crc_of(const uint8_t *p, size_t n) {
    uint32_t v = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        v ^= p[i];
        for (int k = 0; k < 8; k++) v = v >> 1 ^ (0xedb88320u & (0u - (v & 1)));
    }
    return ~v;
}
int npz_put(fv_ctx *c, npz_out *z, const char *name, const uint8_t *data, int rank, const int64_t *dim) {
    fv_text t = {NULL, 0, 0};
    size_t n = 1, at = z->body.size, length = strlen(name) + 4;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    put_header(c, &t, "|u1", rank, dim), put_bytes(c, &t, data, n);
    if (fv_error(c)) return 0;
    uint32_t sum = crc_of((const uint8_t *)t.data, t.size);
    for (int in_directory = 0; in_directory < 2; in_directory++) {
        fv_text *to = in_directory ? &z->directory : &z->body;
        put_number(c, to, in_directory ? 0x02014b50 : 0x04034b50, 4);
        if (in_directory) put_number(c, to, 20, 2);
        /* version, flags and method, date and time */
        put_number(c, to, 20, 2), put_number(c, to, 0, 4), put_number(c, to, 0x00210000, 4),
            put_number(c, to, sum, 4);
        put_number(c, to, (uint32_t)t.size, 4), put_number(c, to, (uint32_t)t.size, 4),
            put_number(c, to, (uint32_t)length, 2), put_number(c, to, 0, 2);
        if (in_directory)
            put_number(c, to, 0, 4), put_number(c, to, 0, 4), put_number(c, to, 0, 2),
                put_number(c, to, (uint32_t)at, 4);
        put_bytes(c, to, name, length - 4), put_bytes(c, to, ".npy", 4);
    }
    put_bytes(c, &z->body, t.data, t.size);
    fv_text_free(c, &t);
    z->members++;
    return !fv_error(c);
}
int npz_save(fv_ctx *c, npz_out *z, const char *path) {
    size_t at = z->body.size;
    if (z->directory.size) put_bytes(c, &z->body, z->directory.data, z->directory.size);
    put_number(c, &z->body, 0x06054b50, 4), put_number(c, &z->body, 0, 4),
        put_number(c, &z->body, (uint32_t)z->members, 2), put_number(c, &z->body, (uint32_t)z->members, 2);
    put_number(c, &z->body, (uint32_t)z->directory.size, 4), put_number(c, &z->body, (uint32_t)at, 4),
        put_number(c, &z->body, 0, 2);
    int ok = !fv_error(c) && fv_write_file(c, path, z->body.data, z->body.size);
    fv_text_free(c, &z->body), fv_text_free(c, &z->directory);
    return ok;
}
