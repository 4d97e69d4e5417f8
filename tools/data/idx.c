/* idx.c -- the IDX format of MNIST and Fashion-MNIST: big-endian 0x00000803, count, height, width, bytes;
 * labels 0x00000801, count, bytes. Plain or gzipped. */
#include "pictures.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

static uint32_t big32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#ifdef HAVE_ZLIB
/* The whole gzip member into memory. The header inside tells the exact size, so a bomb is refused before it
 * grows. */
static uint8_t *inflate_idx(fv_ctx *c, const char *path, const fv_file *f, size_t *size) {
    z_stream z;
    uint8_t head[16] = {0}, *out = NULL;
    memset(&z, 0, sizeof z);
    z.next_in = (Bytef *)(uintptr_t)f->data, z.avail_in = (uInt)f->size;
    z.next_out = head, z.avail_out = 16;
    if (f->size > 0x7fffffff || inflateInit2(&z, 31) != Z_OK)
        return fv_fail(c, FV_EFORMAT, "%s: not a gzip file that can be read", path), NULL;
    int r = inflate(&z, Z_SYNC_FLUSH);
    size_t got = 16 - z.avail_out;
    uint64_t want = head[3] == 1 ? 8 + (uint64_t)big32(head + 4)
                                 : 16 + (uint64_t)big32(head + 4) * big32(head + 8) * big32(head + 12);
    if ((r != Z_OK && r != Z_STREAM_END) || got < 8 || head[0] || head[1] || head[2] != 8 ||
        (head[3] != 1 && head[3] != 3))
        fv_fail(c, FV_EFORMAT, "%s: not IDX inside gzip at byte 0", path);
    else if (want > 1100 * (uint64_t)f->size + 1024) /* deflate cannot shrink more than about 1032 times */
        fv_fail(c, FV_EFORMAT, "%s: announces %llu bytes, more than the file can hold", path,
                (unsigned long long)want);
    else if ((out = (uint8_t *)fv_alloc(c, (size_t)want + 1)) != NULL) {
        memcpy(out, head, got < want ? got : (size_t)want);
        z.next_out = out + got, z.avail_out = (uInt)(want + 1 - got);
        if (r == Z_OK) r = inflate(&z, Z_FINISH);
        *size = (size_t)(z.next_out - out);
        if (r != Z_STREAM_END || *size != want)
            fv_fail(c, FV_EFORMAT, "%s: damaged or cut short at byte %lu", path, (unsigned long)z.total_in);
        else if (z.avail_in)
            fv_fail(c, FV_EFORMAT, "%s: something follows the gzip data at byte %lu", path,
                    (unsigned long)z.total_in);
    }
    inflateEnd(&z);
    return out;
}
#endif

/* dir/split-what-idxN-ubyte, plain or .gz, as bytes of the context's */
static uint8_t *read_idx(fv_ctx *c, const char *dir, const char *name, size_t *size) {
    char path[4096];
    fv_file f;
    uint8_t *out = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int gz = access(path, F_OK) != 0;
    if (gz) snprintf(path, sizeof path, "%s/%s.gz", dir, name);
    if (access(path, F_OK))
        return fv_fail(c, FV_EIO, "%s: holds neither %s nor %s.gz", dir, name, name), NULL;
    if (!fv_file_open(c, path, &f)) return NULL;
    if (gz) {
#ifdef HAVE_ZLIB
        out = inflate_idx(c, path, &f, size);
#else
        fv_fail(
            c, FV_EUNAVAILABLE,
            "%s: this program was built without zlib: install zlib1g-dev and build again, or gunzip the file",
            path);
#endif
    } else if ((out = (uint8_t *)fv_alloc(c, f.size + 1)) != NULL) {
        if (f.size) memcpy(out, f.data, f.size);
        *size = f.size;
    }
    fv_file_close(c, &f);
    return fv_error(c) ? NULL : out;
}

/* the bytes after a checked header; dims are written to n */
static const uint8_t *check_idx(fv_ctx *c, const char *dir, const char *name, const uint8_t *p, size_t size,
                                int rank, uint32_t *n) {
    size_t head = 4 + 4 * (size_t)rank;
    uint64_t want = 1;
    if (!p) return NULL;
    if (size < head || big32(p) != 0x800u + (uint32_t)rank)
        return fv_fail(c, FV_EFORMAT, "%s/%s: not IDX of rank %d at byte 0", dir, name, rank), NULL;
    for (int i = 0; i < rank; i++) {
        n[i] = big32(p + 4 + 4 * i);
        if (!n[i] || (i && n[i] > 65536))
            return fv_fail(c, FV_EFORMAT, "%s/%s: a dimension of %u at byte %d", dir, name, n[i], 4 + 4 * i),
                   NULL;
        if (want > UINT64_MAX / n[i])
            return fv_fail(c, FV_EFORMAT, "%s/%s: its dimensions overflow", dir, name), NULL;
        want *= n[i];
    }
    if (size - head != want || n[0] > 0x7fffffff)
        return fv_fail(c, FV_EFORMAT, "%s/%s: %zu bytes of data, %llu announced", dir, name, size - head,
                       (unsigned long long)want),
               NULL;
    return p + head;
}

/* Fashion-MNIST is known by its own folder's name: tools/fetch.sh's, or that of Debian's package. */
static int is_fashion(const char *dir) {
    static const char *const known[] = {"fashion-mnist", "dataset-fashion-mnist"};
    size_t end = strlen(dir), from;
    while (end && dir[end - 1] == '/') end--;
    for (from = end; from && dir[from - 1] != '/';) from--;
    for (int i = 0; i < 2; i++)
        if (end - from == strlen(known[i]) && !strncmp(dir + from, known[i], end - from)) return 1;
    return 0;
}
/* The names in classes.txt, one a line: as many as the training labels have classes, since a split for tests
 * may lack the last ones. */
static void read_names(fv_ctx *c, const char *path, FILE *f, int test, pictures *p) {
    char line[256];
    int n = 0, blank = 0; /* blank lines at the end are none */
    for (; !fv_error(c) && fgets(line, sizeof line, f); n++) {
        line[strcspn(line, "\r\n")] = 0;
        if (strlen(line) >= CLASS_NAME)
            fv_fail(c, FV_EUSAGE, "%s: a class's name has %d bytes at most", path, CLASS_NAME - 1);
        blank = *line ? 0 : blank + 1;
        if (n < p->classes) snprintf(p->class_name[n], CLASS_NAME, "%.127s", line);
    }
    n -= blank;
    if (!fv_error(c) && (n < p->classes || (n > p->classes && !test)))
        fv_fail(c, FV_EUSAGE, "%s: %d names, and the labels are of %d classes", path, n, p->classes);
}
/* the names in classes.txt; else Fashion-MNIST's for its own folder; else the numbers */
static void name_classes(fv_ctx *c, const char *dir, int test, pictures *p) {
    static const char *const fashion[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                          "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
    char path[4096];
    int known = is_fashion(dir) && p->classes <= 10;
    snprintf(path, sizeof path, "%s/classes.txt", dir);
    FILE *f = fopen(path, "r");
    p->class_name = (char(*)[CLASS_NAME])fv_alloc(c, (size_t)p->classes * sizeof *p->class_name);
    for (int i = 0; p->class_name && i < p->classes; i++)
        if (known) snprintf(p->class_name[i], CLASS_NAME, "%s", fashion[i]);
        else snprintf(p->class_name[i], CLASS_NAME, "%d", i);
    if (f && p->class_name) read_names(c, path, f, test, p);
    if (f) fclose(f);
}

int idx_open(fv_ctx *c, const char *dir, const char *split, pictures *p) {
    const char *prefix = !strcmp(split, "train") ? "train" : "t10k";
    char images[64], labels[64];
    size_t ni = 0, nl = 0;
    uint32_t d[3] = {0, 0, 0}, n = 0;
    memset(p, 0, sizeof *p);
    if (!strcmp(split, "val")) return fv_fail(c, FV_EUSAGE, "%s: IDX files have no split val", dir);
    snprintf(images, sizeof images, "%s-images-idx3-ubyte", prefix);
    snprintf(labels, sizeof labels, "%s-labels-idx1-ubyte", prefix);
    uint8_t *a = read_idx(c, dir, images, &ni);
    uint8_t *b = a ? read_idx(c, dir, labels, &nl) : NULL;
    const uint8_t *x = check_idx(c, dir, images, a, ni, 3, d), *y = check_idx(c, dir, labels, b, nl, 1, &n);
    if (x && y && n != d[0]) fv_fail(c, FV_EFORMAT, "%s: %u pictures but %u labels", dir, d[0], n);
    if (x && y && !fv_error(c)) {
        p->count = (int)n, p->height = (int)d[1], p->width = (int)d[2], p->channels = 1;
        p->data = p->own = (uint8_t *)fv_alloc(c, ni - 16),
        p->label = (int32_t *)fv_alloc(c, n * sizeof *p->label);
        if (p->label) memcpy(p->own, x, ni - 16);
        for (int i = 0; p->label && i < p->count; i++) {
            p->label[i] = y[i];
            if (y[i] >= p->classes) p->classes = y[i] + 1;
        }
        name_classes(c, dir, strcmp(split, "train") != 0, p);
    }
    fv_free(c, a);
    fv_free(c, b);
    return !fv_error(c);
}
