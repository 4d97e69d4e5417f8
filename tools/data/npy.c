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
typedef struct scan {
    const char *at, *end;
} scan;
/* blanks, then `text`: 1, and the scan stands behind it */
static int take(scan *s, const char *text) {
    size_t n = strlen(text);
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n')) s->at++;
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, text, n)) return 0;
    s->at += n;
    return 1;
}
static int take_digits(scan *s, int64_t *v) {
    int n = 0;
    take(s, "");
    for (*v = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9' && n < 18; n++)
        *v = 10 * *v + (*s->at++ - '0');
    return n > 0;
}
/* '<f4' and its like */
static int take_type(scan *s, npy *a) {
    static const char order[] = "<>|=", kind[] = "fiub";
    char text[5];
    if (!take(s, "'") || s->end - s->at < 4) return 0;
    memcpy(text, s->at, 4), text[4] = 0;
    a->kind = text[1], a->big = text[0] == '>', a->bytes = text[2] - '0';
    if (strlen(text) < 4 || text[3] != '\'' || !strchr(order, text[0]) || !strchr(kind, a->kind) ||
        (a->bytes != 1 && a->bytes != 2 && a->bytes != 4 && a->bytes != 8) ||
        (a->kind == 'f' && a->bytes < 4) || (a->kind == 'b' && a->bytes > 1))
        return 0;
    s->at += 4;
    return 1;
}
/* (), (2,) or (2, 3) and so on */
static int take_shape(scan *s, npy *a) {
    int more = 1;
    if (!take(s, "(")) return 0;
    for (a->count = 1, a->rank = 0; !take(s, ")"); a->rank++) {
        int64_t n;
        if (!more || a->rank == 8 || !take_digits(s, &n) || (n && a->count > INT64_MAX / n)) return 0;
        a->dim[a->rank] = n, a->count *= n, more = take(s, ",");
    }
    return a->rank != 1 || more; /* (2) is a number */
}
static int header(fv_ctx *c, const char *name, scan s, size_t data, npy *a) {
    const char *start = s.at;
    int seen = 0, closed = 0, good = take(&s, "{");
    while (good && !(closed = take(&s, "}"))) {
        int key = take(&s, "'descr'") ? 1 : take(&s, "'fortran_order'") ? 2 : take(&s, "'shape'") ? 4 : 0;
        good = key && !(seen & key) && take(&s, ":"), seen |= key;
        if (good && key == 1 && !take_type(&s, a))
            return fv_fail(c, FV_EFORMAT, "%s: header, byte %lld: elements of type %.*s are not read", name,
                           (long long)(s.at - start), (int)(s.end - s.at < 12 ? s.end - s.at : 12), s.at);
        if (good && key == 2 && take(&s, "True"))
            return fv_fail(c, FV_EFORMAT, "%s: in Fortran order; numpy.ascontiguousarray turns it", name);
        if (good && key == 2) good = take(&s, "False");
        if (good && key == 4) good = take_shape(&s, a);
        good = good && (take(&s, ",") || (s.at < s.end && *s.at == '}'));
    }
    take(&s, "");
    if (!closed || seen != 7 || s.at < s.end)
        return fv_fail(
            c, FV_EFORMAT,
            "%s: header, byte %lld: {'descr': ..., 'fortran_order': False, 'shape': (...)} is wanted", name,
            (long long)(s.at - start));
    if (data % (size_t)a->bytes || (uint64_t)a->count != data / (size_t)a->bytes)
        return fv_fail(c, FV_EFORMAT, "%s: %lld elements of %d bytes are told, there are %lld bytes", name,
                       (long long)a->count, a->bytes, (long long)data);
    return 1;
}
/* the first n bytes of an array of `size` bytes: its header is among them */
enum { HEADER = 1024, HEADER_AT = 12 };
static int parse(fv_ctx *c, const char *name, const uint8_t *bytes, size_t n, size_t size, npy *a) {
    memset(a, 0, sizeof *a);
    if (n < 10 || memcmp(bytes, "\x93NUMPY", 6))
        return fv_fail(c, FV_EFORMAT, "%s: no .npy array at byte 0", name);
    size_t start = bytes[6] >= 2 ? HEADER_AT : HEADER_AT - 2,
           length = n < start ? n : little(bytes + 8, bytes[6] >= 2 ? 4 : 2);
    if (bytes[6] < 1 || bytes[6] > 3 || n < start || length > n - start || length >= HEADER)
        return fv_fail(c, FV_EFORMAT, "%s: the .npy header is cut short or too long", name);
    scan s = {(const char *)bytes + start, (const char *)bytes + start + length};
    a->data = bytes + start + length;
    return header(c, name, s, size - start - length, a);
}
int npy_parse(fv_ctx *c, const char *name, const uint8_t *bytes, size_t size, npy *a) {
    return parse(c, name, bytes, size, size, a);
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
    uint32_t name_length, packed, size, method, flags, sum;
} member;

/* the directory's next entry at *at; 0 at the end, -1 where it does not hold together */
static int next_member(const npz *z, size_t *at, size_t end, member *m) {
    const uint8_t *f = z->file.data, *p = f + *at;
    size_t total = z->file.size;
    if (*at >= end) return 0;
    if (end - *at < 46 || little(p, 4) != 0x02014b50) return -1;
    m->flags = little(p + 8, 2), m->method = little(p + 10, 2), m->sum = little(p + 16, 4),
    m->packed = little(p + 20, 4), m->size = little(p + 24, 4), m->name_length = little(p + 28, 2),
    m->name = p + 46;
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
/* how many members have that name; -1 where the directory does not hold together */
static int find(const npz *z, const char *name, member *m) {
    size_t at, end, n = strlen(name);
    int found = 0, more = directory(z, &at, &end) ? 1 : -1;
    member one;
    while (more > 0 && (more = next_member(z, &at, end, &one)) > 0)
        if (one.name_length == n + 4 && !memcmp(one.name, name, n) && !memcmp(one.name + n, ".npy", 4))
            *m = one, found++;
    return more < 0 ? -1 : found;
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
static uint32_t crc_of(uint32_t sum, const uint8_t *p, size_t n) {
#ifdef HAVE_ZLIB
    return (uint32_t)crc32(sum, p, (uInt)n);
#else
    static const uint32_t of[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                    0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                    0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t v = ~sum;
    for (size_t i = 0; i < n; i++) {
        v ^= p[i];
        v = v >> 4 ^ of[v & 15], v = v >> 4 ^ of[v & 15];
    }
    return ~v;
#endif
}
#ifdef HAVE_ZLIB
/* Inflates the first n bytes into out; with `all` looks at what follows too, and at the checksum. 1: it is
 * what the directory tells. */
static int inflated(const member *m, uint8_t *out, size_t n, int all) {
    uint8_t rest[16384];
    z_stream s;
    size_t done = 0;
    uint32_t sum = 0;
    memset(&s, 0, sizeof s);
    s.next_in = (Bytef *)(uintptr_t)m->data, s.avail_in = m->packed;
    int more = inflateInit2(&s, -15);
    while (more == Z_OK && done <= m->size && (all || done < n)) {
        uint8_t *to = done < n ? out + done : rest;
        uInt room = done < n ? (uInt)(n - done) : (uInt)sizeof rest;
        s.next_out = to, s.avail_out = room, more = inflate(&s, Z_NO_FLUSH);
        done += room - s.avail_out;
        if (all) sum = crc_of(sum, to, room - s.avail_out);
    }
    inflateEnd(&s);
    return all ? more == Z_STREAM_END && done == m->size && sum == m->sum && !s.avail_in : done == n;
}
#else
static int inflated(const member *m, uint8_t *out, size_t n, int all) {
    (void)m, (void)out, (void)n, (void)all;
    return 0;
}
#endif
/* the member that is meant, and its header: of a deflated one only the beginning is inflated */
static int head_of(fv_ctx *c, const npz *z, const char *name, char *full, member *m, npy *a) {
    uint8_t begin[HEADER_AT + HEADER];
    snprintf(full, 4300, "%s: %.100s", z->path, name);
    memset(a, 0, sizeof *a);
    int found = find(z, name, m);
    if (found != 1)
        return fv_fail(c, FV_EFORMAT,
                       found > 1 ? "%s is %d times in the archive" : "%s is not in the archive", full, found);
    if (m->flags & 1) return fv_fail(c, FV_EFORMAT, "%s: encrypted, which is not read", full);
    if (m->method == 0) return npy_parse(c, full, m->data, m->size, a);
    if (m->method != 8)
        return fv_fail(c, FV_EFORMAT, "%s: packed by method %u; stored and deflated members are read", full,
                       m->method);
#ifndef HAVE_ZLIB
    return fv_fail(
        c, FV_EUNAVAILABLE,
        "%s: deflated, and this program was built without zlib: install zlib1g-dev and build again", full);
#endif
    if (m->size / 1100 > m->packed + 64) /* deflate makes 1032 bytes of one at most */
        return fv_fail(c, FV_EFORMAT, "%s: %u bytes cannot hold %u", full, m->packed, m->size);
    size_t n = m->size < sizeof begin ? m->size : sizeof begin;
    if (!inflated(m, begin, n, 0)) return fv_fail(c, FV_EFORMAT, "%s: the deflated data are damaged", full);
    return parse(c, full, begin, n, m->size, a);
}
int npz_head(fv_ctx *c, const npz *z, const char *name, npy *a) {
    char full[4300];
    member m;
    int ok = head_of(c, z, name, full, &m, a);
    a->data = NULL;
    return ok;
}
int npz_get(fv_ctx *c, const npz *z, const char *name, npy *a) {
    char full[4300];
    member m;
    if (!head_of(c, z, name, full, &m, a)) return 0;
    int whole = m.method ? inflated(&m, NULL, 0, 1) : crc_of(0, m.data, m.size) == m.sum;
    if (!whole) return fv_fail(c, FV_EFORMAT, "%s: damaged: its data are not those of its checksum", full);
    if (!m.method) return 1;
    uint8_t *out = (uint8_t *)fv_alloc(c, (size_t)m.size + 1); /* all of it is good */
    if (out && inflated(&m, out, m.size, 0) && npy_parse(c, full, out, m.size, a)) return a->owned = out, 1;
    fv_free(c, out);
    return fv_fail(c, FV_ENOMEM, "%s: no memory to inflate it", full);
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
int npz_put(fv_ctx *c, npz_out *z, const char *name, const uint8_t *data, int rank, const int64_t *dim) {
    fv_text t = {NULL, 0, 0};
    size_t n = 1, at = z->body.size, length = strlen(name) + 4;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    put_header(c, &t, "|u1", rank, dim), put_bytes(c, &t, data, n);
    if (fv_error(c)) return 0;
    uint32_t sum = crc_of(0, (const uint8_t *)t.data, t.size);
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
