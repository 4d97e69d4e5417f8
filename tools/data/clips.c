#define _GNU_SOURCE
#include "clips.h"
#include "folder.h"
#include "pictures.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MONO, C420, C422, C444 };

/* ---- y4m ---- */
/* what a number of digits alone says, if it is 1 to 16384, else 0 */
static int side_of(const char *t) {
    int v = 0;
    while (*t >= '0' && *t <= '9' && v <= 16384) v = 10 * v + (*t++ - '0');
    return *t || v > 16384 ? 0 : v;
}
static int colours_of(const char *t) {
    static const struct {
        const char *name;
        int kind;
    } of[] = {{"C420", C420}, {"C420jpeg", C420}, {"C420mpeg2", C420}, {"C420paldv", C420},
              {"C422", C422}, {"C444", C444},     {"Cmono", MONO}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (!strcmp(t, of[i].name)) return of[i].kind;
    return -1;
}
/* the header's words, each once: sides and colours; rates, shapes of pixels and remarks are passed over */
static int y4m_words(fv_ctx *c, clip *v, char *text) {
    int colours = 0;
    for (char *t = text, *next; t; t = next) {
        int *side = *t == 'W' ? &v->width : *t == 'H' ? &v->height : NULL;
        next = strchr(t, ' ');
        if (next) *next++ = 0;
        if (side && (*side || !(*side = side_of(t + 1))))
            return fv_fail(c, FV_EFORMAT, "%s: \"%.20s\" in the header is no side of 1 to 16384, told once",
                           v->path, t);
        if (*t == 'C' && (colours++ || (v->kind = colours_of(t)) < 0))
            return fv_fail(c, FV_EFORMAT,
                           "%s: the colours \"%.20s\" are not read: 8 bits of 420, 422, 444 or mono are",
                           v->path, t);
        if (*t && !strchr("WHCFIAX", *t))
            return fv_fail(c, FV_EFORMAT, "%s: \"%.20s\" in the header is unknown", v->path, t);
        if (!strcmp(t, "XCOLORRANGE=FULL")) v->full_range = 1;
    }
    return (v->width && v->height) ||
           fv_fail(c, FV_EFORMAT, "%s: the header tells no width or no height", v->path);
}
/* where each frame's pixels begin, behind a line FRAME, which may tell more: counted first, then kept */
static int y4m_frames(fv_ctx *c, clip *v, size_t from, size_t bytes) {
    const uint8_t *p = v->file.data;
    for (int keep = 0; keep < 2; keep++) {
        size_t at = from;
        for (v->frames = 0; at < v->file.size || !v->frames; v->frames++) {
            size_t left = v->file.size - at;
            const uint8_t *stop = (const uint8_t *)memchr(p + at, '\n', left < 256 ? left : 256);
            if (!stop || stop < p + at + 5 || memcmp(p + at, "FRAME", 5) ||
                (p[at + 5] != ' ' && p[at + 5] != '\n'))
                return fv_fail(c, FV_EFORMAT, "%s: byte %lld: FRAME is wanted", v->path, (long long)at);
            at = (size_t)(stop + 1 - p);
            if (bytes > v->file.size - at || v->frames == INT32_MAX)
                return fv_fail(c, FV_EFORMAT, "%s: byte %lld: a frame has %lld bytes: it is cut short",
                               v->path, (long long)at, (long long)bytes);
            if (keep) v->at[v->frames] = at;
            at += bytes;
        }
        if (!keep && !(v->at = (size_t *)fv_alloc(c, (size_t)v->frames * sizeof *v->at))) return 0;
    }
    return 1;
}
static int y4m_open(fv_ctx *c, clip *v, const char *file) {
    char text[4096];
    if (!fv_file_open(c, file, &v->file)) return 0;
    const char *p = (const char *)v->file.data;
    const char *line = (const char *)memchr(p, '\n', v->file.size < sizeof text ? v->file.size : sizeof text);
    size_t n = line ? (size_t)(line - p) : 0;
    if (n < 10 || memcmp(p, "YUV4MPEG2 ", 10) || memchr(p, 0, n))
        return fv_fail(c, FV_EFORMAT, "%s: byte 0: no YUV4MPEG2 header", v->path);
    memcpy(text, p, n), text[n] = 0, v->kind = C420;
    if (!y4m_words(c, v, text + 10)) return 0;
    size_t w = (size_t)v->width, h = (size_t)v->height, cw = v->kind == C444 ? w : (w + 1) / 2,
           ch = v->kind == C420 ? (h + 1) / 2 : h;
    return y4m_frames(c, v, n + 1, w * h + (v->kind == MONO ? 0 : 2 * cw * ch));
}
static uint8_t byte_of(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5); }
static void y4m_frame(const clip *v, int i, uint8_t *rgb) { /* ITU-R BT.601 */
    size_t w = (size_t)v->width, h = (size_t)v->height, cw = v->kind == C444 ? w : (w + 1) / 2,
           ch = v->kind == C420 ? (h + 1) / 2 : h;
    const uint8_t *Y = v->file.data + v->at[i], *U = Y + w * h, *V = U + cw * ch;
    double gain = v->full_range ? 1 : 255.0 / 219, lift = v->full_range ? 0 : 16,
           chroma = v->full_range ? 1 : 255.0 / 224;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t k = (v->kind == C420 ? y / 2 : y) * cw + (v->kind == C444 ? x : x / 2);
            double l = gain * (Y[y * w + x] - lift), b = v->kind == MONO ? 0 : chroma * (U[k] - 128.0),
                   r = v->kind == MONO ? 0 : chroma * (V[k] - 128.0);
            uint8_t *p = rgb + 3 * (y * w + x);
            p[0] = byte_of(l + 1.402 * r), p[1] = byte_of(l - 0.344136 * b - 0.714136 * r),
            p[2] = byte_of(l + 1.772 * b);
        }
}

int y4m_write(fv_ctx *c, const char *path, const uint8_t *rgb, int n, int h, int w) {
    char head[64];
    int length = snprintf(head, sizeof head, "YUV4MPEG2 W%d H%d F12:1 Ip A1:1 C420jpeg\n", w, h);
    size_t plane = (size_t)w * (size_t)h, frame = plane * 3 / 2 + 6;
    uint8_t *out = (uint8_t *)fv_alloc(c, (size_t)length + (size_t)n * frame), *at = out;
    if (!out) return 0;
    memcpy(at, head, (size_t)length), at += length;
    for (int i = 0; i < n; i++, rgb += 3 * plane) {
        memcpy(at, "FRAME\n", 6), at += 6;
        for (size_t k = 0; k < plane; k++)
            *at++ = byte_of(16 +
                            (65.481 * rgb[3 * k] + 128.553 * rgb[3 * k + 1] + 24.966 * rgb[3 * k + 2]) / 255);
        for (int part = 0; part < 2; part++)
            for (int y = 0; y < h; y += 2)
                for (int x = 0; x < w; x += 2) {
                    double m[3] = {0, 0, 0};
                    for (int k = 0; k < 12; k++)
                        m[k % 3] += rgb[3 * ((y + k / 6) * w + x + k / 3 % 2) + k % 3] / 4.0;
                    *at++ = byte_of(128 + (part ? 112 * m[0] - 93.786 * m[1] - 18.214 * m[2]
                                                : -37.797 * m[0] - 74.203 * m[1] + 112 * m[2]) /
                                              255);
                }
    }
    int ok = fv_write_file(c, path, out, (size_t)(at - out));
    fv_free(c, out);
    return ok;
}

/* ---- frames, pictures, ffmpeg ---- */
static int ends(const char *path, const char *with) {
    size_t n = strlen(path), k = strlen(with);
    return n > k && !strcasecmp(path + n - k, with);
}
static int is_picture(const char *path) {
    return ends(path, ".png") || ends(path, ".jpg") || ends(path, ".jpeg");
}

static int folder_open(fv_ctx *c, clip *v) {
    char file[8800];
    int n, kept = 0;
    v->name = folder_list(c, v->path, "", 0, &n);
    for (int i = 0; v->name && i < n; i++)
        if (is_picture(v->name[i])) v->name[kept++] = v->name[i];
    v->frames = kept;
    if (v->name && !kept) return fv_fail(c, FV_EFORMAT, "%s: no PNG or JPEG frame", v->path);
    if (!v->name) return 0;
    snprintf(file, sizeof file, "%s/%s", v->path, v->name[0]);
    uint8_t *one = picture_load(c, file, &v->width, &v->height);
    fv_free(c, one);
    return one != NULL;
}

/* decodes into a temporary y4m, which is unlinked as soon as it is open */
static int ffmpeg_open(fv_ctx *c, clip *v) {
    char name[] = "/tmp/fv-clip-XXXXXX";
    const char *dir = getenv("TMPDIR");
    char in_dir[4400];
    snprintf(in_dir, sizeof in_dir, "%.4000s/fv-clip-XXXXXX", dir && *dir ? dir : "/tmp");
    char *temp = dir && *dir ? in_dir : name;
    int fd = mkstemp(temp), status = -1;
    if (fd < 0) return fv_fail(c, FV_EIO, "%s: no temporary file can be made", temp);
    close(fd);
    pid_t child = fork();
    if (child == 0) {
        char input[4500];
        setpgid(0, 0); /* Ctrl-C is for us: the step that wants this clip is finished */
        snprintf(input, sizeof input, "file:%s", v->path); /* a name, never a protocol or an option */
        if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stderr)) _exit(126);
        execlp("ffmpeg", "ffmpeg", "-v", "error", "-y", "-i", input, "-an", "-pix_fmt", "yuv420p", "-f",
               "yuv4mpegpipe", temp, (char *)NULL);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    int ok = 0;
    if (child < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127))
        fv_fail(c, FV_EUNAVAILABLE,
                "%s: .y4m, folders of frames and pictures are read; for anything else install ffmpeg",
                v->path);
    else if (!WIFEXITED(status) || WEXITSTATUS(status))
        fv_fail(c, FV_EFORMAT, "%s: ffmpeg cannot decode it", v->path);
    else ok = y4m_open(c, v, temp);
    unlink(temp);
    return ok;
}

int clip_open(fv_ctx *c, const char *path, clip *v) {
    struct stat st;
    int ok;
    memset(v, 0, sizeof *v);
    snprintf(v->path, sizeof v->path, "%.4390s", path);
    if (stat(path, &st)) ok = fv_fail(c, FV_EIO, "%s: no such clip", path);
    else if (S_ISDIR(st.st_mode)) ok = folder_open(c, v);
    else if (ends(path, ".y4m")) ok = y4m_open(c, v, path);
    else if (is_picture(path))
        ok = (v->still = picture_load(c, path, &v->width, &v->height)) != NULL, v->frames = 1;
    else ok = ffmpeg_open(c, v);
    if (ok && (v->width / 100 > v->height || v->height / 100 > v->width))
        ok = fv_fail(c, FV_EFORMAT, "%s: frames of %dx%d pixels: a side over 100 times the other is not read",
                     path, v->width, v->height);
    if (!ok) clip_close(c, v);
    return ok;
}
int clip_frame(fv_ctx *c, const clip *v, int i, uint8_t *rgb) {
    char file[8800];
    int w, h;
    size_t n = (size_t)v->width * (size_t)v->height * 3;
    if (v->still) return memcpy(rgb, v->still, n) != NULL;
    if (!v->name) return y4m_frame(v, i, rgb), 1;
    snprintf(file, sizeof file, "%s/%s", v->path, v->name[i]);
    uint8_t *one = picture_load(c, file, &w, &h);
    if (one && (w != v->width || h != v->height))
        fv_fail(c, FV_EFORMAT, "%s: %dx%d pixels, the first frame has %dx%d", file, w, h, v->width,
                v->height);
    else if (one) memcpy(rgb, one, n);
    fv_free(c, one);
    return !fv_error(c);
}
void clip_close(fv_ctx *c, clip *v) {
    if (v->file.data) fv_file_close(c, &v->file);
    fv_free(c, v->at), fv_free(c, v->name), fv_free(c, v->still);
    memset(v, 0, sizeof *v);
}
