#include "captions.h"
#include "folder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *copied(fv_ctx *c, const char *text) {
    char *p = (char *)fv_alloc(c, strlen(text) + 1);
    if (p) memcpy(p, text, strlen(text) + 1);
    return p;
}
static void *grown(fv_ctx *c, void *old, int count, int *room, size_t size) {
    if (count < *room) return old;
    int more = *room ? 2 * *room : 256;
    void *p = fv_alloc(c, (size_t)more * size);
    if (p && old) memcpy(p, old, (size_t)count * size), fv_free(c, old);
    if (p) *room = more;
    return p;
}

static int add_picture(fv_ctx *c, caption_split *s, const char *file) {
    captioned *more = (captioned *)grown(c, s->picture, s->pictures, &s->picture_room, sizeof *more);
    if (!more) return 0;
    s->picture = more;
    captioned *p = &s->picture[s->pictures];
    p->first = s->captions, p->captions = 0;
    return (p->file = copied(c, file)) != NULL && ++s->pictures;
}
static int add_caption(fv_ctx *c, caption_split *s, const char *text) { /* of the picture added last */
    caption *more = (caption *)grown(c, s->caption, s->captions, &s->caption_room, sizeof *more);
    if (!more) return 0;
    s->caption = more;
    s->caption[s->captions].picture = s->pictures - 1;
    if (!(s->caption[s->captions].text = copied(c, text))) return 0;
    s->captions++, s->picture[s->pictures - 1].captions++;
    return 1;
}
static void drop_split(fv_ctx *c, caption_split *s) {
    for (int i = 0; i < s->captions; i++) fv_free(c, s->caption[i].text);
    for (int i = 0; i < s->pictures; i++) fv_free(c, s->picture[i].file);
    fv_free(c, s->caption), fv_free(c, s->picture);
    memset(s, 0, sizeof *s);
}
void captions_close(fv_ctx *c, caption_set *s) {
    for (int i = 0; i < CAPTION_SPLITS; i++) drop_split(c, &s->split[i]);
}

static int split_of(const char *name, int has_test) {
    if (!strcmp(name, "train") || !strcmp(name, "restval")) return CAPTIONS_TRAIN;
    if (!strcmp(name, "test") || (!strcmp(name, "val") && !has_test)) return CAPTIONS_TEST;
    if (!strcmp(name, "unseen")) return CAPTIONS_UNSEEN;
    return strcmp(name, "val") ? -1 : CAPTION_SPLITS;
}

/* ---- captions.jsonl ---- */
static int add_line(fv_ctx *c, caption_set *s, const char *dir, const char *path, int line, const char *text,
                    size_t n, int has_test) {
    char file[4400], where[4500];
    snprintf(where, sizeof where, "%s, line %d", path, line);
    fv_json *j = fv_json_parse(c, text, n, where);
    if (!j) return 0;
    fv_jnode root = fv_json_root(j), list = fv_json_get(j, root, "captions"),
             one = fv_json_get(j, root, "caption");
    const char *image = fv_json_string(j, fv_json_get(j, root, "image"), NULL),
               *name = fv_json_string(j, fv_json_get(j, root, "split"), "train");
    int k = split_of(name, has_test), count = list ? (int)fv_json_count(j, list) : one ? 1 : 0;
    if (!image || !*image || strlen(image) > 1000 || count < 1)
        fv_fail(c, FV_EFORMAT, "%s: {\"image\":...,\"captions\":[...],\"split\":...} is wanted", where);
    else if (k < 0)
        fv_fail(c, FV_EFORMAT, "%s: split is train, val, test or unseen, not \"%.30s\"", where, name);
    else if (k < CAPTION_SPLITS) {
        snprintf(file, sizeof file, "%s/%s", dir, image);
        add_picture(c, &s->split[k], file);
        fv_jnode at = list ? fv_json_first(j, list) : one;
        for (int i = 0; i < count && !fv_error(c); i++, at = list ? fv_json_next(j, at) : one) {
            const char *t = fv_json_string(j, at, NULL);
            if (!t || !*t) fv_fail(c, FV_EFORMAT, "%s: caption %d is no text", where, i);
            else add_caption(c, &s->split[k], t);
        }
    }
    fv_json_free(c, j);
    return !fv_error(c);
}
static int read_lines(fv_ctx *c, const char *dir, const char *path, caption_set *s) {
    fv_file f;
    if (!fv_file_open(c, path, &f)) return 0;
    const char *start = (const char *)f.data, *end = start + f.size;
    int has_test = 0;
    for (int pass = 0; pass < 2 && !fv_error(c); pass++) {
        int line = 0;
        for (const char *at = start, *stop; at < end && !fv_error(c); at = stop + 1) {
            stop = (const char *)memchr(at, '\n', (size_t)(end - at));
            if (!stop) stop = end;
            line++;
            size_t n = (size_t)(stop - at);
            if (pass == 0) { /* is there a test split? */
                for (size_t i = 0; i + 6 <= n && !has_test; i++) has_test = !memcmp(at + i, "\"test\"", 6);
            } else if (n && !(n == 1 && *at == '\r')) add_line(c, s, dir, path, line, at, n, has_test);
            if (stop == end) break;
        }
    }
    fv_file_close(c, &f);
    return !fv_error(c);
}

/* ---- Karpathy's splits of Flickr30k and COCO ---- */
static int read_karpathy(fv_ctx *c, const char *dir, const char *path, caption_set *s) {
    char file[4400], folder[4200];
    fv_json *j = fv_json_open(c, path);
    if (!j) return 0;
    fv_jnode list = fv_json_get(j, fv_json_root(j), "images");
    int row = 0;
    if (!list || fv_json_type(j, list) != FV_JSON_ARRAY)
        fv_fail(c, FV_EFORMAT, "%s: \"images\", a list, is wanted", path);
    snprintf(folder, sizeof folder, "%.4096s/flickr30k-images", dir);
    if (access(folder, F_OK)) snprintf(folder, sizeof folder, "%.4096s/images", dir);
    for (fv_jnode e = fv_error(c) ? 0 : fv_json_first(j, list); e && !fv_error(c);
         e = fv_json_next(j, e), row++) {
        const char *name = fv_json_string(j, fv_json_get(j, e, "filename"), NULL),
                   *in = fv_json_string(j, fv_json_get(j, e, "filepath"), NULL);
        fv_jnode sentences = fv_json_get(j, e, "sentences");
        int k = split_of(fv_json_string(j, fv_json_get(j, e, "split"), "?"), 1);
        if (!name || k < 0 || !sentences || fv_json_count(j, sentences) < 1) {
            fv_fail(c, FV_EFORMAT,
                    "%s: picture %d: filename, split (train, restval, val, test) and sentences are wanted",
                    path, row);
            break;
        }
        if (k == CAPTION_SPLITS) continue;
        if (in) snprintf(file, sizeof file, "%.2000s/%.1000s/%.1000s", dir, in, name);
        else snprintf(file, sizeof file, "%.3000s/%.1000s", folder, name);
        add_picture(c, &s->split[k], file);
        for (fv_jnode t = fv_json_first(j, sentences); t && !fv_error(c); t = fv_json_next(j, t)) {
            const char *raw = fv_json_string(j, fv_json_get(j, t, "raw"), NULL);
            if (!raw || !*raw)
                fv_fail(c, FV_EFORMAT, "%s: picture %d: a sentence without \"raw\"", path, row);
            else add_caption(c, &s->split[k], raw);
        }
    }
    fv_json_free(c, j);
    return !fv_error(c);
}

/* ---- COCO's own files ---- */
typedef struct coco_row {
    int64_t id;
    const char *text;
    int order;
} coco_row;
static int by_id(const void *a, const void *b) {
    const coco_row *x = (const coco_row *)a, *y = (const coco_row *)b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : x->order - y->order;
}
static int coco_rows(fv_ctx *c, const fv_json *j, const char *path, const char *list, const char *id,
                     const char *text, coco_row **rows) {
    fv_jnode a = fv_json_get(j, fv_json_root(j), list);
    int n = 0;
    *rows = NULL;
    if (!a || fv_json_type(j, a) != FV_JSON_ARRAY)
        return fv_fail(c, FV_EFORMAT, "%s: \"%s\", a list, is wanted", path, list), -1;
    if (!(*rows = (coco_row *)fv_alloc(c, (size_t)(fv_json_count(j, a) + 1) * sizeof **rows))) return -1;
    for (fv_jnode e = fv_json_first(j, a); e; e = fv_json_next(j, e), n++) {
        coco_row *r = &(*rows)[n];
        r->id = fv_json_int(j, fv_json_get(j, e, id), -1),
        r->text = fv_json_string(j, fv_json_get(j, e, text), NULL), r->order = n;
        if (r->id < 0 || !r->text || !*r->text)
            return fv_fail(c, FV_EFORMAT, "%s: %s, entry %d: %s and %s are wanted", path, list, n, id, text),
                   -1;
    }
    qsort(*rows, (size_t)n, sizeof **rows, by_id);
    return n;
}
static int read_coco(fv_ctx *c, const char *dir, const char *path, const char *folder, caption_split *s) {
    char file[4400];
    coco_row *image = NULL, *said = NULL;
    fv_json *j = fv_json_open(c, path);
    if (!j) return 0;
    int n = coco_rows(c, j, path, "images", "id", "file_name", &image),
        m = n < 0 ? -1 : coco_rows(c, j, path, "annotations", "image_id", "caption", &said), at = 0;
    for (int i = 0; i < n && m >= 0 && !fv_error(c); i++) {
        while (at < m && said[at].id < image[i].id) at++;
        if (at >= m || said[at].id != image[i].id) continue; /* a picture without a caption */
        snprintf(file, sizeof file, "%.2000s/%.100s/%.1000s", dir, folder, image[i].text);
        add_picture(c, s, file);
        for (; at < m && said[at].id == image[i].id && !fv_error(c); at++) add_caption(c, s, said[at].text);
    }
    fv_free(c, image), fv_free(c, said), fv_json_free(c, j);
    return !fv_error(c);
}

int captions_open(fv_ctx *c, const char *dir, caption_set *s) {
    static const char *const karpathy[2] = {"dataset_flickr30k.json", "dataset_coco.json"};
    static const char *const year[2] = {"2014", "2017"};
    char path[4400], folder[16];
    int ok = -1;
    memset(s, 0, sizeof *s);
    snprintf(path, sizeof path, "%s/captions.jsonl", dir);
    if (!access(path, F_OK)) ok = read_lines(c, dir, path, s);
    for (int i = 0; i < 2 && ok < 0; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, karpathy[i]);
        if (!access(path, F_OK)) ok = read_karpathy(c, dir, path, s);
    }
    for (int i = 0; i < 2 && ok < 0; i++) {
        snprintf(path, sizeof path, "%s/annotations/captions_train%s.json", dir, year[i]);
        if (access(path, F_OK)) continue;
        snprintf(folder, sizeof folder, "train%s", year[i]);
        ok = read_coco(c, dir, path, folder, &s->split[CAPTIONS_TRAIN]);
        snprintf(path, sizeof path, "%s/annotations/captions_val%s.json", dir, year[i]),
            snprintf(folder, sizeof folder, "val%s", year[i]);
        ok = ok && read_coco(c, dir, path, folder, &s->split[CAPTIONS_TEST]);
    }
    if (ok < 0)
        fv_fail(c, FV_EIO,
                "%s: there is neither captions.jsonl nor dataset_flickr30k.json nor dataset_coco.json nor "
                "annotations/captions_train2014.json (2017)",
                dir);
    else if (ok && (!s->split[0].pictures || !s->split[1].pictures))
        fv_fail(c, FV_EFORMAT, "%s: no picture in the %s split", path,
                s->split[0].pictures ? "test" : "train");
    if (fv_error(c)) captions_close(c, s);
    return !fv_error(c);
}
