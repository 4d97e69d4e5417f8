/* The readers of the tasks' data: good files in every form, and malformed ones, each refused with FV_EFORMAT.
 * Files are cut at every length and have bytes changed: nothing may crash, read beyond the end or ask for
 * memory that the file does not account for. What is written is read back, and by brute force.
 */
#define _GNU_SOURCE
#include "data/argoverse.h"
#include "data/captions.h"
#include "data/clips.h"
#include "data/clouds.h"
#include "data/folder.h"
#include "data/h5.h"
#include "data/medmnist.h"
#include "data/pictures.h"
#include "data/questions.h"
#include "data/scenes.h"
#include "data/sqa3d.h"
#include "draw.h"
#include "test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef HAVE_HDF5
#include <hdf5.h>
#endif
#ifdef HAVE_ZLIB
#include <zlib.h>
#undef OF
#endif

static char dir[3000];
static const char *file_of(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
static const char *put(const char *name, const void *data, size_t n) {
    const char *path = file_of(name);
    FILE *f = fopen(path, "wb");
    if (f) fwrite(data, 1, n, f), fclose(f);
    return path;
}

/* reads `path`; 1 when it was taken */
typedef int (*reader)(fv_ctx *c, const char *path);
static int as_mesh(fv_ctx *c, const char *path) {
    mesh m;
    return mesh_read(c, path, &m) && (mesh_free(c, &m), 1);
}
static int as_clip(fv_ctx *c, const char *path) {
    clip v;
    if (!clip_open(c, path, &v)) return 0;
    uint8_t *rgb = (uint8_t *)fv_alloc(c, (size_t)v.width * (size_t)v.height * 3);
    for (int i = 0; i < v.frames && rgb; i++) clip_frame(c, &v, i, rgb);
    fv_free(c, rgb), clip_close(c, &v);
    return !fv_error(c);
}
static int as_traffic(fv_ctx *c, const char *path) {
    traffic t;
    return traffic_read(c, path, &t) && (traffic_free(c, &t), 1);
}
static int as_lanes(fv_ctx *c, const char *path) {
    lane_map m;
    return lanes_read(c, path, &m) && (lanes_free(c, &m), 1);
}
static int as_volumes(fv_ctx *c, const char *path) {
    medmnist m;
    return medmnist_open(c, path, "train", 1, &m) && (medmnist_close(c, &m), 1);
}
static int as_scene(fv_ctx *c, const char *path) {
    scene s;
    char bare[4096];
    snprintf(bare, sizeof bare, "%.*s", (int)(strrchr(path, '.') - path), path);
    return scene_read(c, bare, &s);
}
static int as_captions(fv_ctx *c, const char *path) {
    caption_set s;
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    return captions_open(c, folder, &s) && (captions_close(c, &s), 1);
}

static int as_easy(fv_ctx *c, const char *path) {
    question_set s;
    memset(&s, 0, sizeof s);
    int ok = questions_easy(c, path, &s, 0);
    questions_close(c, &s);
    return ok;
}
/* of the two files of VQAv2 and SQA3D one is `path`, the other good */
static int as_vqa2(fv_ctx *c, const char *questions, const char *notes) {
    question_set s;
    memset(&s, 0, sizeof s);
    int ok = questions_vqa2(c, questions, notes, &s, 0);
    questions_close(c, &s);
    return ok;
}
static int as_sqa3d(fv_ctx *c, const char *questions, const char *notes) {
    situated_list l;
    return sqa3d_read(c, questions, notes, &l) && (sqa3d_free(c, &l), 1);
}
static const char *good_path(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
static int as_vqa2_questions(fv_ctx *c, const char *path) {
    return as_vqa2(c, path, good_path("vqa2-notes"));
}
static int as_vqa2_notes(fv_ctx *c, const char *path) {
    return as_vqa2(c, good_path("vqa2-questions"), path);
}
static int as_sqa3d_questions(fv_ctx *c, const char *path) {
    return as_sqa3d(c, path, good_path("sqa3d-notes"));
}
static int as_sqa3d_notes(fv_ctx *c, const char *path) {
    return as_sqa3d(c, good_path("sqa3d-questions"), path);
}

static void refused(reader r, const char *name, const void *data, size_t n) {
    fv_ctx *c = fv_create(NULL);
    const char *path = put(name, data, n);
    int ok = r(c, path);
    CHECK(!ok && fv_error(c) == FV_EFORMAT, "%s: taken, or status %d: %s\n%.80s", name, (int)fv_error(c),
          fv_error_text(c), (const char *)data);
    CHECK(fv_memory(c).peak <= 4 * n + (2u << 20), "%s: %lld bytes for a file of %lld", name,
          (long long)fv_memory(c).peak, (long long)n);
    fv_destroy(c);
}
static void texts_refused(reader r, const char *name, const char *const *text) {
    int n = 0;
    for (; text[n]; n++) refused(r, name, text[n], strlen(text[n]));
    CHECK(n >= 20, "%s: only %d malformed files", name, n);
}
static int taken(reader r, const char *name, const void *data, size_t n) {
    fv_ctx *c = fv_create(NULL);
    int ok = r(c, put(name, data, n));
    CHECK(ok, "%s: %s", name, fv_error_text(c));
    fv_destroy(c);
    return ok;
}
/* cut at each length (or `cuts` of them), and with bytes changed: taken or refused, but never a crash */
static void battered(reader r, const char *name, const void *data, size_t n, int cuts) {
    uint8_t *copy = (uint8_t *)malloc(n + 1);
    fv_rng g = {5, 5, 0};
    for (int i = 0; i < cuts; i++) {
        fv_ctx *c = fv_create(NULL);
        r(c, put(name, data, n * (size_t)i / (size_t)cuts));
        CHECK(fv_error(c) == FV_OK || fv_error(c) == FV_EFORMAT || fv_error(c) == FV_EUSAGE,
              "%s, cut: status %d: %s", name, (int)fv_error(c), fv_error_text(c));
        fv_destroy(c);
    }
    for (int i = 0; i < cuts; i++) {
        fv_ctx *c = fv_create(NULL);
        memcpy(copy, data, n);
        for (int k = 0; k < 1 + i % 3; k++)
            copy[fv_rng_below(&g, (uint32_t)n)] = (uint8_t)fv_rng_below(&g, 256);
        r(c, put(name, copy, n));
        CHECK(fv_memory(c).peak <= 64 * n + (4u << 20), "%s, changed: %lld bytes", name,
              (long long)fv_memory(c).peak);
        fv_destroy(c);
    }
    free(copy);
}

/* ---- meshes ---- */
#define CUBE                                                                                                 \
    "8 6 12\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n1 0 1\n1 1 1\n0 1 1\n4 0 1 2 3\n4 4 5 6 7\n4 0 1 5 4\n4 1 "  \
    "2 6 5\n4 2 3 7 6\n4 3 0 4 7\n"
static void meshes(void) {
    static const char *const bad_off[] = {"",
                                          "O",
                                          "OFX 1 0 0\n",
                                          "OFX 1 0 0\n1 2 3\n",
                                          "OFF 1 0 0\n1 2 3x\n",
                                          "OFF nan 0 0\n1 2 3\n",
                                          "OFF 1 0 x\n1 2 3\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 nan\n",
                                          "OFF 1 0 0\n1 2 1e20\n",
                                          "OFF",
                                          "OFF\n",
                                          "OFF\n1",
                                          "OFF -1 0 0\n",
                                          "OFF 1 0 0\n",
                                          "OFF 1 0 0\n1 2\n",
                                          "OFF 1 0 0\n1 2 x\n",
                                          "OFF 1 0 0\n1 2 nan\n",
                                          "OFF 1e30 0 0\n1 2 3",
                                          "OFF 99999999 0 0\n1 2 3\n",
                                          "OFF 3 99999999 0\n0 0 0\n1 0 0\n0 1 0\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\nx 0 1 2\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n2000000 0 1 2\n",
                                          "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1.5 2\n",
                                          "OFF 0 0 0\n",
                                          NULL};
#define HEAD "ply\nformat ascii 1.0\n"
#define XYZ3 "property float x\nproperty float y\nproperty float z\n"
    static const char *const bad_ply[] = {
        "",
        "pl",
        "ply\n",
        "ply\nformat ascii 1.0\n",
        "ply\nend_header\n",
        HEAD "end_header\n",
        "ply\nformat odd 1.0\nend_header\n",
        HEAD "element vertex\nend_header\n",
        HEAD "element vertex -1\n" XYZ3 "end_header\n",
        HEAD "element vertex 99999999999\n" XYZ3 "end_header\n",
        HEAD "element vertex 1\nproperty float x\nend_header\n1\n",
        HEAD "property float x\nelement vertex 1\nend_header\n",
        HEAD "element vertex 1\nproperty odd x\nend_header\n1\n",
        HEAD "element vertex 1\n" XYZ3 "end_header\n",
        HEAD "element vertex 1\n" XYZ3 "end_header\n1 2\n",
        HEAD "element vertex 1\n" XYZ3 "end_header\n1 2 x\n",
        HEAD "element vertex 1\n" XYZ3 "end_header\n1 2 inf\n",
        HEAD "element vertex 1\n" XYZ3 "end_header\n1 2 1e20\n",
        HEAD "element vertex\n" XYZ3 "end_header\n1 2 3\n",
        HEAD "element vertex x\n" XYZ3 "end_header\n1 2 3\n",
        HEAD "element vertex 1\nproperty odd\n" XYZ3 "end_header\n1 2 3\n",
        HEAD "element vertex 1\nproperty odd red\n" XYZ3 "end_header\n7 1 2 3\n",
        HEAD "element vertex 1\nproperty list odd int l\n" XYZ3 "end_header\n0 1 2 3\n",
        HEAD "element vertex 1\nproperty list char odd l\n" XYZ3 "end_header\n0 1 2 3\n",
        HEAD "property float w\nelement vertex 1\n" XYZ3 "end_header\n1 2 3\n",
        "plx\nformat ascii 1.0\nelement vertex 1\n" XYZ3 "end_header\n1 2 3\n",
        "ply\nelement vertex 1\n" XYZ3 "end_header\n1 2 3 4 5 6 7\n",
        "ply\nformat odd 1.0\nelement vertex 1\n" XYZ3 "end_header\n1 2 3 4 5 6 7\n",
        HEAD "element vertex 1\n" XYZ3
             "element face 1\nproperty list uchar int vertex_indices\nend_header\n1 2 3\n3 0 0 -1\n",
        HEAD "element vertex 1\n" XYZ3
             "element face 1\nproperty list uchar int vertex_indices\nend_header\n1 2 3\nnan 0 0 0\n",
        HEAD "element vertex 0\n" XYZ3 "end_header\n",
        HEAD "element vertex 1\n" XYZ3 "element face 9223372036854775807\nproperty list uchar int "
             "vertex_indices\nend_header\n1 2 3\n3 0 0 0\n",
        HEAD "element vertex 1\nproperty float x\nproperty float x\nproperty float z\nend_header\n1 2 3\n",
        HEAD "element vertex 1\nproperty list uchar int x\nproperty float y\nproperty float z\n"
             "end_header\n1 1 2 3\n",
        HEAD "element vertex 1\n" XYZ3
             "element face 1\nproperty list uchar int vertex_indices\nend_header\n1 2 3\n3 0 0 1\n",
        HEAD "element vertex 1\n" XYZ3
             "element face 1\nproperty list uchar int vertex_indices\nend_header\n1 2 3\n-3 0 0 0\n",
        HEAD "element vertex 1\n" XYZ3
             "element face 1\nproperty list float int vertex_indices\nend_header\n1 2 3\n3 0 0 0\n",
        HEAD "element vertex 1\n" XYZ3
             "element face 2\nproperty list uchar int vertex_indices\nend_header\n1 2 3\n3 0 0 0\n",
        "ply\nformat binary_little_endian 1.0\nelement vertex 1\n" XYZ3 "end_header\n1234567",
        "ply\nformat binary_little_endian 1.0\nelement vertex 1\n" XYZ3 "end_header\n12345678901",
        NULL};
    static const char *const bad_xyz[] = {
        "",        "\n\n",    "1",          "1 2",          "1 2\n3",          "x y z",          "1 2 z",
        "nan 1 2", "1 inf 2", "1 2 3\n4 5", "1 2 3\n4 5 x", "# only\n",        "1 2 3\n\n4",     "1;2;3",
        "--1 2 3", "1 2 3e",  "1 2 0x",     "1e99 2 3",     "1 2 3\n4 5 6\n7", "1 2 3\n4 nan 6", NULL};
    texts_refused(as_mesh, "bad.off", bad_off), texts_refused(as_mesh, "bad.ply", bad_ply),
        texts_refused(as_mesh, "bad.xyz", bad_xyz);
    static const char noted[] = "OFF # counts\n" CUBE "# end\n";
    taken(as_mesh, "a.off", "OFF\n" CUBE, strlen("OFF\n" CUBE)),
        taken(as_mesh, "a.off", noted, strlen(noted)),
        taken(as_mesh, "glued.off", "OFF" CUBE, strlen("OFF" CUBE));
    taken(as_mesh, "a.xyz", "# one\n1 2 3\n4,5,6 7\n", 20);
    battered(as_mesh, "cut.off", "OFF\n" CUBE, strlen("OFF\n" CUBE), 150);

    /* the same tetrahedron in the three forms of PLY */
    fv_ctx *c = fv_create(NULL);
    mesh m[3];
    for (int form = 0; form < 3; form++) {
        static const float corner[12] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1};
        static const int face[12] = {0, 1, 2, 0, 1, 3, 0, 2, 3, 1, 2, 3};
        uint8_t data[1024];
        size_t n =
            (size_t)sprintf((char *)data,
                            "ply\nformat %s 1.0\ncomment c\nelement vertex 4\nproperty uchar red\n" XYZ3
                            "element face 4\nproperty list uchar int vertex_indices\nend_header\n",
                            form == 0   ? "ascii"
                            : form == 1 ? "binary_little_endian"
                                        : "binary_big_endian");
        for (int i = 0; i < 4; i++)
            if (form == 0)
                n += (size_t)sprintf((char *)data + n, "7 %g %g %g\n", (double)corner[3 * i],
                                     (double)corner[3 * i + 1], (double)corner[3 * i + 2]);
            else {
                data[n++] = 7;
                for (int k = 0; k < 3; k++) {
                    uint32_t u;
                    memcpy(&u, corner + 3 * i + k, 4);
                    for (int b = 0; b < 4; b++) data[n++] = (uint8_t)(u >> 8 * (form == 1 ? b : 3 - b));
                }
            }
        for (int i = 0; i < 4; i++)
            if (form == 0)
                n += (size_t)sprintf((char *)data + n, "3 %d %d %d\n", face[3 * i], face[3 * i + 1],
                                     face[3 * i + 2]);
            else {
                data[n++] = 3;
                for (int k = 0; k < 3; k++)
                    for (int b = 0; b < 4; b++)
                        data[n++] = (uint8_t)((uint32_t)face[3 * i + k] >> 8 * (form == 1 ? b : 3 - b));
            }
        CHECK(mesh_read(c, put("t.ply", data, n), &m[form]), "%s", fv_error_text(c));
        CHECK(m[form].points == 4 && m[form].faces == 4 && !memcmp(m[form].xyz, corner, sizeof corner) &&
                  m[form].face[11] == 3,
              "PLY form %d", form);
        battered(as_mesh, "cut.ply", data, n, 120);
    }
    /* by area: a quarter of the points on each of two triangles, half on the third, of twice their area */
    mesh two;
    int count[3] = {0, 0, 0};
    static const char tri[] = "OFF 9 3 0\n0 0 0\n1 0 0\n0 1 0\n5 0 0\n6 0 0\n5 1 0\n9 0 0\n11 0 0\n9 1 0\n3 "
                              "0 1 2\n3 3 4 5\n3 6 7 8\n";
    float *p = (float *)malloc(3 * 8000 * sizeof *p);
    fv_rng g = {1, 1, 0};
    CHECK(mesh_read(c, put("area.off", tri, strlen(tri)), &two) && mesh_sample(c, &two, &g, 8000, p), "%s",
          fv_error_text(c));
    for (int i = 0; i < 8000; i++) count[p[3 * i] < 3 ? 0 : p[3 * i] < 8 ? 1 : 2]++;
    CHECK(abs(count[0] - 2000) < 160 && abs(count[2] - 4000) < 180, "by area: %d %d %d", count[0], count[1],
          count[2]);
    free(p), mesh_free(c, &two);
    for (int i = 0; i < 3; i++) mesh_free(c, &m[i]);
    fv_destroy(c);
}

/* evenly over a triangle: the second moments of its points' weights are 1/6 and 1/12; two triangles that lie
 * askew, one with sides twice as long and its axes changed round; colours behind corners are passed over */
static void surfaces(void) {
    enum { N = 20000 };
    static const char text[] =
        "OFF 6 2 0\n0 0 0\n1 2 0.5\n-1 0.5 2\n10 0 0\n14 1 2\n11 4 -2\n3 0 1 2 255 0 0\n3 3 4 5 7\n";
    static float p[3 * N];
    static const double edge[2][3] = {{1, 2, 0.5}, {-1, 0.5, 2}}; /* of the small one */
    double moment[2][2] = {{0}}, mean[2] = {0}, large = 0;
    fv_ctx *c = fv_create(NULL);
    fv_rng g = {2, 6, 0};
    mesh m;
    CHECK(mesh_read(c, put("two.off", text, strlen(text)), &m) && m.faces == 2 &&
              mesh_sample(c, &m, &g, N, p),
          "%s", fv_error_text(c));
    for (int i = 0; i < N; i++) {
        int twice = p[3 * i] > 5;
        double x[3], w[2], a = 0, b = 0, d = 0, u = 0, v = 0, off = 0;
        for (int k = 0; k < 3; k++) {
            x[k] = twice ? ((double)p[3 * i + (k + 2) % 3] - 10 * (k == 1)) / 2 : (double)p[3 * i + k];
            a += edge[0][k] * edge[0][k], b += edge[0][k] * edge[1][k], d += edge[1][k] * edge[1][k];
            u += edge[0][k] * x[k], v += edge[1][k] * x[k];
        }
        w[0] = (u * d - v * b) / (a * d - b * b), w[1] = (v * a - u * b) / (a * d - b * b);
        for (int k = 0; k < 3; k++) off += fabs(x[k] - w[0] * edge[0][k] - w[1] * edge[1][k]);
        CHECK(off < 1e-5 && w[0] > -1e-6 && w[1] > -1e-6 && w[0] + w[1] < 1 + 1e-6,
              "point %d is on no triangle", i);
        for (int k = 0; k < 2; k++) mean[k] += w[k] / N, moment[k][k] += w[k] * w[k] / N;
        moment[0][1] += w[0] * w[1] / N, large += twice;
    }
    CHECK(fabs(large / N - 0.8) < 0.012, "the larger one, of four times the area, has %g", large / N);
    for (int k = 0; k < 2; k++)
        CHECK(fabs(mean[k] - 1.0 / 3) < 0.01 && fabs(moment[k][k] - 1.0 / 6) < 0.006, "weight %d: %g, %g", k,
              mean[k], moment[k][k]);
    CHECK(fabs(moment[0][1] - 1.0 / 12) < 0.004, "both weights: %g", moment[0][1]);
    mesh_free(c, &m);
    /* of a cloud each point once a round, in another order */
    float cloud[3 * 7], out[3 * 24];
    int count[7] = {0}, same = 0;
    for (int i = 0; i < 21; i++) cloud[i] = (float)i;
    const mesh points = {7, 0, cloud, NULL};
    CHECK(mesh_sample(c, &points, &g, 24, out), "%s", fv_error_text(c));
    for (int i = 0; i < 24; i++) {
        int at = (int)out[3 * i] / 3;
        CHECK(at >= 0 && at < 7 && !memcmp(out + 3 * i, cloud + 3 * at, 12) && count[at]++ == i / 7,
              "point %d of round %d", at, i / 7);
        same += at == i % 7;
    }
    CHECK(same < 18, "the order of the file");
    /* fitted: the centre, then the farthest point, 3, 4 and 12 from it, at distance 1 */
    float four[12] = {1 + 3, 2 + 4, 3 + 12, 1 - 3, 2 - 4, 3 - 12, 1 + 1, 2 - 1, 3, 1 - 1, 2 + 1, 3};
    cloud_fit(four, 4);
    for (int i = 0; i < 12; i++) {
        static const double want[12] = {3, 4, 12, -3, -4, -12, 1, -1, 0, -1, 1, 0};
        CHECK(fabs((double)four[i] - want[i] / 13) < 1e-6, "number %d is %g", i, (double)four[i]);
    }
    fv_destroy(c);
}

/* every type of a PLY's numbers, both ways round; another element before, lists and other names among the
 * vertices */
static void ply_types(void) {
    static const struct {
        const char *name;
        int bytes, kind;
        double value[3];
    } of[] = {{"char", 1, 'i', {-3, 5, -100}},      {"int8", 1, 'i', {-3, 5, -100}},
              {"uchar", 1, 'u', {3, 250, 100}},     {"uint8", 1, 'u', {3, 250, 100}},
              {"short", 2, 'i', {-300, 5, 20000}},  {"int16", 2, 'i', {-300, 5, 20000}},
              {"ushort", 2, 'u', {300, 65000, 1}},  {"uint16", 2, 'u', {300, 65000, 1}},
              {"int", 4, 'i', {-70000, 5, 100000}}, {"int32", 4, 'i', {-70000, 5, 100000}},
              {"uint", 4, 'u', {70000, 3e9, 1}},    {"uint32", 4, 'u', {70000, 3e9, 1}},
              {"float", 4, 'f', {-0.5, 3, 1e6}},    {"float32", 4, 'f', {-0.5, 3, 1e6}},
              {"double", 8, 'f', {-0.25, 3, 1e6}},  {"float64", 8, 'f', {-0.25, 3, 1e6}}};
    uint8_t data[1024];
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        for (int form = 0; form < 3; form++) {
            fv_ctx *c = fv_create(NULL);
            mesh m;
            size_t n = (size_t)sprintf(
                (char *)data,
                "ply\r\nformat %s 1.0\r\nelement other 1\nproperty list char short what\n"
                "element vertex 1\nproperty %s z\nproperty list uchar uchar xs\nproperty %s x\n"
                "property char xx\nproperty %s y\nend_header\n",
                form == 0   ? "ascii"
                : form == 1 ? "binary_little_endian"
                            : "binary_big_endian",
                of[i].name, of[i].name, of[i].name);
            if (form == 0)
                n += (size_t)sprintf((char *)data + n, "2 -7 8\n%g 1 9 %g 7 %g\n", of[i].value[2],
                                     of[i].value[0], of[i].value[1]);
            else {
                memcpy(data + n, "\2abcd", 5), n += 5;
                for (int k = 0; k < 3; k++) {
                    int at = k == 0 ? 2 : k - 1;
                    double v = of[i].value[at];
                    float f = (float)v;
                    uint64_t u = 0;
                    uint32_t half;
                    if (of[i].kind == 'f' && of[i].bytes == 8) memcpy(&u, &v, 8);
                    else if (of[i].kind == 'f') memcpy(&half, &f, 4), u = half;
                    else u = (uint64_t)(int64_t)v;
                    for (int b = 0; b < of[i].bytes; b++)
                        data[n++] = (uint8_t)(u >> 8 * (form == 1 ? b : of[i].bytes - 1 - b));
                    memcpy(data + n, k == 0 ? "\1\11" : "\7", 2), n += k == 0 ? 2 : k == 1;
                }
            }
            CHECK(mesh_read(c, put("types.ply", data, n), &m) && m.points == 1 && !m.faces, "%s: %s",
                  of[i].name, fv_error_text(c));
            for (int k = 0; k < 3 && m.xyz; k++)
                CHECK(fabs((double)m.xyz[k] - of[i].value[k]) < 1e-6 * fabs(of[i].value[k]),
                      "%s, form %d: %g", of[i].name, form, (double)m.xyz[k]);
            mesh_free(c, &m), fv_destroy(c);
        }
    /* a megabyte that tells of more than it can hold */
    for (int form = 0; form < 2; form++) {
        enum { ROOM = 1 << 20 };
        char *large = (char *)malloc(ROOM);
        memset(large, '7', ROOM);
        int n =
            sprintf(large, form ? HEAD "element vertex 1000000\n" XYZ3 "end_header\n" : "OFF 1000000 0 0\n");
        large[n] = ' ', refused(as_mesh, form ? "bad.ply" : "bad.off", large, ROOM);
        free(large);
    }
    /* nine elements, 33 properties */
    for (int form = 0; form < 2; form++) {
        char *many = (char *)data;
        int n = sprintf(many, HEAD "element vertex 1\n" XYZ3);
        for (int i = 0; i < (form ? 30 : 8); i++)
            n += sprintf(many + n, form ? "property char c\n" : "element c 0\n");
        n += sprintf(many + n, "end_header\n1 2 3");
        for (int i = 0; i < 30; i++) n += sprintf(many + n, " 0");
        refused(as_mesh, "bad.ply", many, (size_t)n);
    }
    /* a polygon of 100 corners loses none of its triangles */
    char *many = (char *)data;
    for (int form = 0; form < 2; form++) {
        fv_ctx *c = fv_create(NULL);
        mesh m;
        int n = sprintf(many, form ? HEAD "element vertex 3\n" XYZ3 "element face 1\nproperty list uchar int "
                                          "vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n100"
                                   : "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n100");
        for (int i = 0; i < 100; i++) n += sprintf(many + n, " %d", i % 3);
        CHECK(mesh_read(c, put(form ? "many.ply" : "many.off", many, (size_t)n), &m) && m.faces == 98,
              "%lld of 98: %s", (long long)m.faces, fv_error_text(c));
        for (int i = 0; i < 98 && m.faces == 98; i++)
            CHECK(m.face[3 * i] == 0 && m.face[3 * i + 1] == (i + 1) % 3 && m.face[3 * i + 2] == (i + 2) % 3,
                  "triangle %d", i);
        mesh_free(c, &m), fv_destroy(c);
    }
    /* a pentagon is a fan of three triangles */
    static const char five[] = HEAD
        "element vertex 5\n" XYZ3 "element face 2\nproperty uchar red\nproperty list uchar int vertex_index\n"
        "end_header\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n7 5 4 3 2 1 0\n7 2 0 1\n";
    static const int32_t fan[9] = {4, 3, 2, 4, 2, 1, 4, 1, 0};
    fv_ctx *c = fv_create(NULL);
    mesh m;
    CHECK(mesh_read(c, put("five.ply", five, strlen(five)), &m) && m.faces == 3 &&
              !memcmp(m.face, fan, sizeof fan),
          "a fan: %s", fv_error_text(c));
    mesh_free(c, &m);
    static const char xyz[] = "# x y z\n1 2 3\n\n4,5,6,7\r\n 7\t8 9 0.5\n";
    CHECK(mesh_read(c, put("a.xyz", xyz, strlen(xyz)), &m) && m.points == 3, "%s", fv_error_text(c));
    for (int i = 0; i < 9 && m.points == 3; i++)
        CHECK(fabsf(m.xyz[i] - (float)(i + 1)) < 1e-6f, "number %d is %g", i, (double)m.xyz[i]);
    mesh_free(c, &m), fv_destroy(c);
}

/* ---- VRML ---- */
#define VRML "#VRML V2.0 utf8\n"
#define POINTS4 "coord Coordinate { point [0 0 0, 1 0 0, 0 1 0, 0 0 1] }"
#define TETRA "geometry IndexedFaceSet { coordIndex [0,1,2,-1,0,1,3,-1,0,2,3,-1,1,2,3] " POINTS4 " }"
#define OF(coord, index) VRML "Shape { geometry IndexedFaceSet { " coord " " index " } }"
#define TWO "[USE a USE a]"
#define GROUP(name, inside) "DEF " name " Group { children [" inside "] } "
/* the box around what is read */
static void box_is(const char *text, int64_t faces, float x0, float y0, float z0, float x1, float y1,
                   float z1) {
    float want[6] = {x0, y0, z0, x1, y1, z1}, have[6] = {1e9f, 1e9f, 1e9f, -1e9f, -1e9f, -1e9f};
    fv_ctx *c = fv_create(NULL);
    mesh m;
    CHECK(mesh_read(c, put("a.wrl", text, strlen(text)), &m), "%s\n%s", fv_error_text(c), text);
    CHECK(m.faces == faces, "%lld faces, not %lld\n%s", (long long)m.faces, (long long)faces, text);
    for (int64_t i = 0; i < 3 * m.points; i++) {
        have[i % 3] = fminf(have[i % 3], m.xyz[i]), have[3 + i % 3] = fmaxf(have[3 + i % 3], m.xyz[i]);
    }
    for (int i = 0; i < 6; i++)
        CHECK(fabsf(have[i] - want[i]) < 1e-5f, "side %d is %g, not %g\n%s", i, (double)have[i],
              (double)want[i], text);
    mesh_free(c, &m), fv_destroy(c);
}
static void vrml(void) {
    static const char *const bad[] = {
        "", "#VRML", "#VRML V1.0 ascii\n", "Shape { " TETRA " }", VRML, VRML "# only\n", VRML "Shape { }",
        VRML "Shape {", VRML "}", VRML "Shape { geometry Box { size 1 1 1 } }", VRML "Shape { geometry }",
        VRML "Inline { url \"x\" }", VRML "PROTO a [ ] { Shape { " TETRA " } }", VRML "Shape { " TETRA,
        OF("", "coordIndex [0,1,2]"), OF(POINTS4, ""), OF(POINTS4, "coordIndex [0,1,4]"),
        OF(POINTS4, "coordIndex [0,1,-2]"), OF(POINTS4, "coordIndex [0,1,1.5]"),
        OF(POINTS4, "coordIndex [0,1,2,-2]"), OF(POINTS4, "coordIndex [0,1,x]"),
        OF(POINTS4, "coordIndex [0,1,-1]"), OF(POINTS4, "coordIndex [0,1,2"), OF(POINTS4, "coordIndex 0"),
        OF("coord Coordinate { point [0 0 0, 1 0 0, 0 1] }", "coordIndex [0,1,1]"),
        OF("coord Coordinate { point [0 0 0, 1 0 0, 0 1 nan] }", "coordIndex [0,1,2]"),
        OF("coord Coordinate { point [0 0 0, 1 0 0, 0 1 x] }", "coordIndex [0,1,2]"),
        OF("coord Coordinate { point [0 0 0, 1 0 0, 0 1 1e99] }", "coordIndex [0,1,2]"),
        OF("coord Coordinate { point [0 0 0", "coordIndex [0,1,2]"), OF("coord USE a", "coordIndex [0,1,2]"),
        OF("coord Shape { }", "coordIndex [0,1,2]"),
        OF("coord DEF a Coordinate { point USE a }", "coordIndex [0,1,2]"),
        VRML "DEF a Group { children USE a }",
        VRML "Transform { translation 1 x 1 children Shape { " TETRA " } }",
        VRML "Transform { scale 1 1 children Shape { " TETRA " } }",
        VRML "Transform { translation 1 1x 1 children Shape { " TETRA " } }",
        VRML "Transform { scaleOrientation 0 0 nan 1 children Shape { " TETRA " } }",
        OF("coord Coordinate { point [0 0 0, 1 0 0, 0 1 0x] }", "coordIndex [0,1,2]"),
        OF("coord Normal { }", "") "Shape { " TETRA " }", VRML "Inline { url \"x\" } Shape { " TETRA " }",
        VRML "PROTO a [ ] { Shape { " TETRA " } } Shape { " TETRA " }",
        VRML "Shape { geometry Box { size 1 1 1 } } Shape { " TETRA " }",
        VRML "DEF a Group { children [ Shape { " TETRA " } USE a ] }", VRML "[ ] Shape { " TETRA " }",
        VRML "Shape { " TETRA " } \"no end",
        VRML "Transform { scale 1e14 1 1 children Transform { scale 1e14 1 1 children Shape { " TETRA
             " } } }",
        VRML "Group { children [ Shape { " TETRA " } }", VRML "Shape { appearance \"no end " TETRA " }",
        /* 2^20 times a tetrahedron */
        VRML GROUP("a", "Shape { " TETRA " }") GROUP("b", "USE a USE a USE a USE a")
            GROUP("c", "USE b USE b USE b USE b") GROUP("d", "USE c USE c USE c USE c")
                GROUP("e", "USE d USE d USE d USE d") GROUP("f", "USE e USE e USE e USE e")
                    GROUP("g", "USE f USE f USE f USE f") GROUP("h", "USE g USE g USE g USE g")
                        GROUP("i", "USE h USE h USE h USE h") GROUP("j", "USE i USE i USE i USE i")
                            GROUP("k", "USE j USE j USE j USE j"),
        NULL};
    static const char good[] =
        VRML "DEF p Transform { children [ DEF s Shape { appearance Appearance { material DEF m Material { } "
             "} " TETRA " } ] } # end\nUSE s Shape { appearance Appearance { material USE m } " TETRA " }";
    texts_refused(as_mesh, "bad.wrl", bad);
    battered(as_mesh, "cut.wrl", good, strlen(good), 200);
    /* a number of 200 letters; 70 groups in each other; 16,385 names */
    enum { MANY = 16385, EACH = 16 };
    char *many = (char *)malloc(MANY * EACH + 1000), *at = many;
    at += sprintf(at, VRML "Shape { geometry IndexedFaceSet { " POINTS4 " coordIndex [0,1,2,");
    for (int i = 0; i < 200; i++) *at++ = '0';
    at += sprintf(at, "] } }"), refused(as_mesh, "bad.wrl", many, (size_t)(at - many));
    /* groups of groups, of which nothing is seen, a million times; 6,000 faces twenty times */
    at = many + sprintf(many, VRML "Shape { " TETRA " } DEF a0 Group { } ");
    for (int i = 1; i < 11; i++)
        at += sprintf(at, "DEF a%d Group { children [USE a%d USE a%d USE a%d USE a%d] } ", i, i - 1, i - 1,
                      i - 1, i - 1);
    refused(as_mesh, "bad.wrl", many, (size_t)(at - many));
    at = many + sprintf(many, VRML "DEF a Shape { geometry IndexedFaceSet { " POINTS4 " coordIndex [");
    for (int i = 0; i < 6000; i++) at += sprintf(at, "0,1,2,-1,");
    at += sprintf(at, "] } } ");
    for (int i = 0; i < 20; i++) at += sprintf(at, "USE a ");
    refused(as_mesh, "bad.wrl", many, (size_t)(at - many));
    at = many + sprintf(many, VRML);
    for (int i = 0; i < 70; i++) at += sprintf(at, "Group { children ");
    at += sprintf(at, "Shape { " TETRA " }");
    for (int i = 0; i < 70; i++) *at++ = '}';
    refused(as_mesh, "bad.wrl", many, (size_t)(at - many)),
        at = many + sprintf(many, VRML "Shape { " TETRA " } ");
    for (int i = 0; i < MANY; i++) at += sprintf(at, "DEF a Group { } ");
    refused(as_mesh, "bad.wrl", many, (size_t)(at - many)), free(many);
    box_is(VRML "Shape { " TETRA " }", 4, 0, 0, 0, 1, 1, 1), box_is(good, 12, 0, 0, 0, 1, 1, 1);
    /* a square; an edge and a point are no face */
    box_is(OF(POINTS4, "coordIndex [0 1 2 3 -1, 0,1,-1, 2]"), 2, 0, 0, 0, 1, 1, 1);
    box_is(VRML "Transform { translation 5 0 0 rotation 0 0 2 1.5707963 scale 2 1 3 children [ Shape { " TETRA
                " } ] }",
           4, 4, 0, 0, 5, 2, 3);
    box_is(VRML "Transform { children Shape { " TETRA " } center 1 1 0 rotation 0 0 1 3.1415927 }", 4, 1, 1,
           0, 2, 2, 1);
    box_is(VRML "Transform { scale 2 1 1 scaleOrientation 0 0 1 1.5707963 children Shape { " TETRA " } }", 4,
           0, 0, 0, 1, 2, 1);
    box_is(VRML "Transform { scale 2 2 2 children Transform { translation 1 0 0 children Shape { " TETRA
                " } } }",
           4, 2, 0, 0, 4, 2, 2);
    box_is(VRML "Group { children [ DEF a Shape { " TETRA
                " } Transform { translation 3 0 0 children USE a } ] }",
           8, 0, 0, 0, 4, 1, 1);
    box_is(VRML "Switch { whichChoice 1 choice [ Group { children DEF a Shape { " TETRA
                " } } Transform { translation 1 1 1 children USE a } ] }",
           4, 1, 1, 1, 2, 2, 2);
    box_is(VRML "LOD { level [ Shape { " TETRA " } Transform { translation 1 1 1 children Shape { " TETRA
                " } } ] }",
           4, 0, 0, 0, 1, 1, 1);
    box_is(VRML "Shape { geometry IndexedLineSet { coord DEF p Coordinate { point [0 0 0, 1 0 0, 0 1 0] } "
                "coordIndex [0 1 2] } } Shape { geometry IndexedFaceSet { coord USE p coordIndex [0,1,2] } }",
           1, 0, 0, 0, 1, 1, 0);
    /* turned about the other axes: +y comes to +z, +z to +x */
    box_is(VRML "Transform { rotation 1 0 0 1.5707963 scale 1 2 3 children Shape { " TETRA " } }", 4, 0, -3,
           0, 1, 0, 2);
    box_is(VRML "Transform { rotation 0 1 0 1.5707963 scale 1 2 3 children Shape { " TETRA " } }", 4, 0, 0,
           -1, 3, 2, 0);
    box_is(
        VRML
        "Transform { scale 3 1 1 scaleOrientation 0 0 1 0.6435011 children Shape { geometry IndexedFaceSet { "
        "coord Coordinate { point [0 0 0, 0.8 0.6 0, -0.6 0.8 0] } coordIndex [0,1,2] } } }",
        1, -0.6f, 0, 0, 2.4f, 1.8f, 0);
#ifdef HAVE_ZLIB
    /* gzipped: as it is; cut, damaged, with more behind, telling another size */
    static uint8_t packed[2000];
    z_stream z;
    memset(&z, 0, sizeof z);
    z.next_in = (Bytef *)(uintptr_t)good, z.avail_in = sizeof good - 1, z.next_out = packed,
    z.avail_out = sizeof packed - 8;
    CHECK(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, 0) == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END, "zlib");
    size_t n = z.total_out;
    deflateEnd(&z);
    taken(as_mesh, "a.wrz", packed, n), taken(as_mesh, "a.wrl", packed, n);
    refused(as_mesh, "bad.wrz", packed, n - 1), refused(as_mesh, "bad.wrz", packed, n / 2);
    memcpy(packed + n, packed + n - 4, 4), refused(as_mesh, "bad.wrz", packed, n + 4);
    for (size_t at = n - 8; at < n; at += 3) /* the checksum, the size */
        packed[at] ^= 0x41, refused(as_mesh, "bad.wrz", packed, n), packed[at] ^= 0x41;
    packed[n - 4]++, refused(as_mesh, "bad.wrz", packed, n), packed[n - 4]--; /* tells one byte more */
    packed[20] ^= 0x10, refused(as_mesh, "bad.wrz", packed, n), packed[20] ^= 0x10;
    battered(as_mesh, "cut.wrz", packed, n, 100);
#endif
    box_is(VRML "WorldInfo { title \"a } \\\" b\" } ROUTE a.b TO c.d DirectionalLight { } Shape { geometry "
                "NULL } Shape { " TETRA " }",
           4, 0, 0, 0, 1, 1, 1);
}

/* ---- the demo of CAD parts ---- */
static int clouds_in(fv_ctx *c, const char *folder) {
    int n;
    mesh m;
    char path[4600];
    char **name = folder_list(c, folder, ".npy", 0, &n);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        CHECK(mesh_read(c, path, &m) && m.points == SCENE_POINTS, "%s: %s", path, fv_error_text(c));
        mesh_free(c, &m);
    }
    fv_free(c, name);
    return n;
}
/* the share of a cloud's spread that lies along its longest direction, of its first 600 points (behind them
 * stands the background) */
static double longest(fv_ctx *c, const char *path) {
    double mid[3] = {0}, a[3][3] = {{0}}, v[3] = {1, 0.7, 0.4}, length = 0;
    mesh m;
    CHECK(mesh_read(c, path, &m) && m.points == SCENE_POINTS, "%s", fv_error_text(c));
    for (int i = 0; i < 1800 && m.xyz; i++) mid[i % 3] += (double)m.xyz[i] / 600;
    for (int i = 0; i < 600 && m.xyz; i++)
        for (int k = 0; k < 9; k++)
            a[k / 3][k % 3] +=
                ((double)m.xyz[3 * i + k / 3] - mid[k / 3]) * ((double)m.xyz[3 * i + k % 3] - mid[k % 3]);
    for (int step = 0; step < 200; step++) {
        double w[3] = {0, 0, 0};
        for (int k = 0; k < 9; k++) w[k / 3] += a[k / 3][k % 3] * v[k % 3];
        length = sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2]);
        for (int k = 0; k < 3; k++) v[k] = w[k] / length;
    }
    mesh_free(c, &m);
    return length / (a[0][0] + a[1][1] + a[2][2]);
}
static void parts(void) {
    static const char *const part[] = {"box/a1x2.wrl", "box/a10x3.5.wrl", "box/b_1.wrl", "box/c.wrl",
                                       "rod/d1.wrl",   "rod/d2.wrl",      "rod/e.wrl",   "rod/e1.wrl"};
    char from[4096], to[4096], one[4096], folder[4400];
    fv_ctx *c = fv_create(NULL);
    snprintf(from, sizeof from, "%s", file_of("parts")), snprintf(to, sizeof to, "%s", file_of("made")),
        snprintf(one, sizeof one, "%s", file_of("alike"));
    mkdir(from, 0777), mkdir(to, 0777), mkdir(file_of("parts/box"), 0777), mkdir(file_of("parts/rod"), 0777);
    for (int i = 0; i < 8; i++) {
        snprintf(folder, sizeof folder, "parts/%s", part[i]);
        static const char plain[] = VRML "Shape { " TETRA " }",
                          thin[] = VRML "Transform { scale 9 1 1 children Shape { " TETRA " } }";
        put(folder, i < 4 ? plain : thin, strlen(i < 4 ? plain : thin));
    }
    CHECK(parts_write(c, to, from), "%s", fv_error_text(c));
    for (int i = 0; i < 4; i++) {
        snprintf(folder, sizeof folder, "%s/%s/%s", to, i / 2 ? "test" : "train", i % 2 ? "box" : "rod");
        CHECK(clouds_in(c, folder) == (i / 2 ? 30 : 120), "%s", folder);
        for (int k = 1; k <= 20; k++) {
            snprintf(folder, sizeof folder, "%s/%s/%s/%d.npy", to, i / 2 ? "test" : "train",
                     i % 2 ? "box" : "rod", k);
            double share = longest(c, folder);
            CHECK(i % 2 ? share < 0.8 : share > 0.85, "%s: %g lie along it", folder, share);
        }
    }
    /* names that differ in numbers alone stay together, so that such a class has nothing for the test */
    mkdir(one, 0777), mkdir(file_of("alike/box"), 0777), mkdir(file_of("alike/rod"), 0777),
        mkdir(file_of("made2"), 0777);
    for (int i = 0; i < 8; i++) {
        snprintf(folder, sizeof folder, "alike/%s/a%dx2.%d.wrl", i % 2 ? "box" : "rod", i, i);
        put(folder, VRML "Shape { " TETRA " }", strlen(VRML "Shape { " TETRA " }"));
    }
    CHECK(!parts_write(c, file_of("made2"), one) && strstr(fv_error_text(c), "no part for the test"), "%s",
          fv_error_text(c));
    fv_clear_error(c);
    /* two families, each more than 30 % of its class; one whose parts are packed or not */
    for (int packed = 0; packed < 2; packed++) {
        snprintf(one, sizeof one, "%s", file_of(packed ? "packed" : "halves")), mkdir(one, 0777);
        for (int k = 0; k < 2; k++) {
            snprintf(folder, sizeof folder, "%s/%s", one, k ? "rod" : "box"), mkdir(folder, 0777);
            for (int i = 0; i < 10; i++) {
                snprintf(folder, sizeof folder, "%s/%s/%s%d.%s", packed ? "packed" : "halves",
                         k ? "rod" : "box", packed || i % 2 ? "a" : "b", i, packed && i > 7 ? "wrz" : "wrl");
                put(folder, VRML "Shape { " TETRA " }", strlen(VRML "Shape { " TETRA " }"));
            }
        }
        snprintf(to, sizeof to, "%s", file_of(packed ? "made4" : "made5")), mkdir(to, 0777);
        CHECK(!parts_write(c, to, one) && strstr(fv_error_text(c), "no part for the test"), "%s: %s", one,
              fv_error_text(c));
        fv_clear_error(c);
    }
    mkdir(file_of("made3"), 0777);
    CHECK(!parts_write(c, file_of("made3"), file_of("alike/box")) && fv_error(c) == FV_EFORMAT,
          "one class alone");
    fv_destroy(c);
}

/* mean count of bright voxels in the volumes of class k */
static double bright(const medmnist *m, int k) {
    int64_t one = m->images.count / m->images.dim[0], volumes = 0, many = 0;
    for (int64_t i = 0; i < m->images.dim[0]; i++) {
        if ((int)npy_value(&m->labels, i) != k) continue;
        volumes++;
        for (int64_t j = 0; j < one; j++) many += m->images.data[i * one + j] > 150;
    }
    return (double)many / (double)volumes;
}
static void part_volumes(void) {
    static const char thin[] =
        VRML "Shape { geometry IndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0, "
             "0 .02 0] } coordIndex [0 1 2] } }";
    char from[4096], to[4096], path[4400];
    fv_ctx *c = fv_create(NULL);
    snprintf(from, sizeof from, "%s", file_of("vparts")), snprintf(to, sizeof to, "%s", file_of("vmade"));
    mkdir(from, 0777), mkdir(to, 0777), mkdir(file_of("vparts/box"), 0777),
        mkdir(file_of("vparts/rod"), 0777), mkdir(file_of("vparts/rod2"), 0777);
    for (int i = 0; i < 12; i++) {
        snprintf(path, sizeof path, "vparts/%s/%c.wrl", i % 3 ? i % 3 == 1 ? "rod" : "rod2" : "box", 'a' + i);
        i % 3 ? put(path, thin, strlen(thin))
              : put(path, VRML "Shape { " TETRA " }", strlen(VRML "Shape { " TETRA " }"));
    }
    CHECK(part_volumes_write(c, to, from), "%s", fv_error_text(c));
    for (int s = 0; s < 2; s++) {
        medmnist m;
        char name[3][CLASS_NAME];
        int n = s ? 30 : 120, right = 1;
        CHECK(medmnist_find(c, to, path, sizeof path) && medmnist_open(c, path, s ? "test" : "train", 1, &m),
              "%s", fv_error_text(c));
        CHECK(m.classes == 3 && m.images.dim[0] == 3 * n && m.images.dim[1] == 28 && m.images.dim[3] == 28,
              "%lld volumes of %d classes", (long long)m.images.dim[0], m.classes);
        for (int i = 0; i < 3 * n; i++) right &= (int)npy_value(&m.labels, i) == i % 3;
        CHECK(right, "labels");
        CHECK(medmnist_names(c, &m, name) && !strcmp(name[0], "box") && !strcmp(name[1], "rod") &&
                  !strcmp(name[2], "rod2"),
              "%s %s %s", name[0], name[1], name[2]);
        double box = bright(&m, 0), rod = bright(&m, 1);
        CHECK(box > 2 * rod && rod > 20, "%g and %g bright voxels", box, rod);
        medmnist_close(c, &m);
    }
    fv_destroy(c);
}
/* names of classes in an .npz that do not fit are refused */
static void npz_names(void) {
    static const struct {
        int rows, width;
        const char *last;
        int good;
    } row[] = {{2, CLASS_NAME, "b", 1},     {3, CLASS_NAME, "b", 1}, {1, CLASS_NAME, "b", 0},
               {2, CLASS_NAME + 1, "b", 0}, {2, CLASS_NAME, "", 0},  {2, 0, "b", 0}};
    for (int i = 0; i < 6; i++) {
        fv_ctx *c = fv_create(NULL);
        npz_out z;
        medmnist m;
        char names[3 * CLASS_NAME] = "a", got[2][CLASS_NAME];
        uint8_t label[2] = {0, 1}, picture[2 * 4 * 4] = {0};
        int64_t images[3] = {2, 4, 4}, column[2] = {2, 1}, dim[2] = {row[i].rows, row[i].width};
        memset(&z, 0, sizeof z), snprintf(names + CLASS_NAME, CLASS_NAME, "%s", row[i].last);
        if (!row[i].width) memset(names + CLASS_NAME, 'b', CLASS_NAME), dim[1] = CLASS_NAME; /* no end */
        npz_put(c, &z, "train_images", picture, 3, images), npz_put(c, &z, "train_labels", label, 2, column);
        npz_put(c, &z, "class_names", (const uint8_t *)names, 2, dim);
        CHECK(npz_save(c, &z, file_of("names.npz")) && medmnist_open(c, file_of("names.npz"), "train", 0, &m),
              "%s", fv_error_text(c));
        int taken = medmnist_names(c, &m, got);
        CHECK(taken == row[i].good && fv_error(c) == (taken ? 0 : FV_EFORMAT), "row %d: %s", i,
              fv_error_text(c));
        CHECK(!taken || (!strcmp(got[0], "a") && !strcmp(got[1], "b")), "row %d", i);
        medmnist_close(c, &m), fv_destroy(c);
    }
}

/* ---- HDF5 ---- */
#ifdef HAVE_HDF5
/* what is written; 0 stands for what is right: 4 clouds of 5 points and their classes */
typedef struct h5_case {
    int rank;
    hsize_t dim[3];
    int whole, label_rank, label_of_floats, label, special;
    hsize_t labels, columns;
    float value;
    const char *says; /* in the error's sentence */
} h5_case;
enum {
    PLAIN,
    NO_DATA,
    NO_LABEL,
    GROUP_FOR_DATA,
    UNWRITTEN,
    SOFT,
    ELSEWHERE,
    RAW_ELSEWHERE,
    TEXTS,
    EMPTY,
    VIRTUAL,
    PACKED,
    DAMAGED_DATA,
    DAMAGED_LABEL
};
/* one byte of a file changes, where `what` stands in it */
static void damage(const char *path, const void *what, size_t n) {
    fv_ctx *c = fv_create(NULL);
    fv_file f;
    int ok = fv_file_open(c, path, &f);
    size_t at = 0;
    while (ok && at + n <= f.size && memcmp(f.data + at, what, n)) at++;
    ok = ok && at + n <= f.size;
    CHECK(ok, "%s does not hold what is to be damaged", path);
    FILE *out = ok ? fopen(path, "r+b") : NULL;
    if (out) fseek(out, (long)at, SEEK_SET), fputc(f.data[at] ^ 1, out), fclose(out);
    if (ok) fv_file_close(c, &f);
    fv_destroy(c);
}
static const char *put_h5(const char *name, const h5_case *k) {
    static char path[4200];
    float x[64];
    int32_t label[16];
    hsize_t rank = (hsize_t)(k->rank ? k->rank : 3), dim[4] = {4, 5, 3, 1},
            labels[3] = {k->labels ? k->labels : 4, k->columns ? k->columns : 1, 1};
    snprintf(path, sizeof path, "%s", file_of(name));
    for (int i = 0; i < 3; i++) dim[i] = k->dim[i] ? k->dim[i] : dim[i];
    for (int i = 0; i < 64; i++) x[i] = (float)i;
    for (int i = 0; i < 16; i++) label[i] = i % 3;
    if (k->value != 0) x[7] = k->value;
    if (k->label) label[2] = k->label;
    if (k->special == EMPTY) dim[0] = labels[0] = 0;
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), how = H5Pcreate(H5P_DATASET_CREATE),
          d = -1;
    hid_t type = k->whole ? H5T_NATIVE_INT32 : k->special == TEXTS ? H5T_C_S1 : H5T_NATIVE_FLOAT;
    /* a gigabyte that no byte stands for */
    if (k->special == UNWRITTEN) H5Pset_chunk(how, 3, dim), dim[0] = labels[0] = 1u << 28;
    if (k->special == PACKED) H5Pset_chunk(how, 3, dim), H5Pset_deflate(how, 9);
    if (k->special == DAMAGED_DATA) H5Pset_chunk(how, 3, dim), H5Pset_fletcher32(how);
    if (k->special == RAW_ELSEWHERE) H5Pset_external(how, file_of("elsewhere.raw"), 0, 240);
    hid_t space = H5Screate_simple((int)rank, dim, NULL),
          lines = H5Screate_simple(k->label_rank ? k->label_rank : 1, labels, NULL);
    if (k->special == VIRTUAL) H5Pset_virtual(how, space, file_of("good.h5"), "data", space);
    if (k->special == GROUP_FOR_DATA) H5Gclose(H5Gcreate2(f, "data", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    else if (k->special == SOFT) H5Lcreate_soft("/nowhere", f, "data", H5P_DEFAULT, H5P_DEFAULT);
    else if (k->special == ELSEWHERE)
        H5Lcreate_external(file_of("good.h5"), "data", f, "data", H5P_DEFAULT, H5P_DEFAULT);
    else if (k->special != NO_DATA) d = H5Dcreate2(f, "data", type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (d >= 0 && k->special != UNWRITTEN && k->special != VIRTUAL)
        H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, x);
    if (d >= 0) H5Dclose(d);
    H5Pclose(how), how = H5Pcreate(H5P_DATASET_CREATE);
    if (k->special == DAMAGED_LABEL) H5Pset_chunk(how, 1, labels), H5Pset_fletcher32(how);
    d = k->special == NO_LABEL
            ? -1
            : H5Dcreate2(f, "label", k->label_of_floats ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT32, lines,
                         H5P_DEFAULT, how, H5P_DEFAULT);
    if (d >= 0 && k->special != UNWRITTEN)
        H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, label);
    if (d >= 0) H5Dclose(d);
    H5Pclose(how), H5Sclose(space), H5Sclose(lines), H5Fclose(f);
    if (k->special == DAMAGED_DATA) damage(path, x + 20, 20);
    if (k->special == DAMAGED_LABEL) damage(path, label, 16);
    return path;
}
static int as_scans(fv_ctx *c, const char *path) {
    h5 h;
    if (!h5_open(c, path, &h)) return 0;
    float *p = (float *)fv_alloc(c, (size_t)(3 * h.points) * sizeof *p);
    for (int64_t i = 0; i < h.count && p && h5_cloud(c, &h, i, p); i++) (void)0;
    fv_free(c, p), h5_close(c, &h);
    return !fv_error(c);
}
static void scans(void) {
    static const h5_case good, bad[] = {{.special = NO_DATA},
                                        {.special = NO_LABEL},
                                        {.special = GROUP_FOR_DATA},
                                        {.special = UNWRITTEN},
                                        {.special = SOFT},
                                        {.special = ELSEWHERE},
                                        {.special = RAW_ELSEWHERE},
                                        {.special = TEXTS},
                                        {.special = EMPTY},
                                        {.special = VIRTUAL, .says = "data lives in another file"},
                                        {.special = DAMAGED_DATA, .says = "cloud 0 is damaged"},
                                        {.special = DAMAGED_LABEL, .says = "label is damaged"},
                                        {.rank = 1, .says = "data is no array"},
                                        {.rank = 2, .says = "data is no array"},
                                        {.rank = 4, .says = "has the wrong rank"},
                                        {.dim = {4, 5, 2}},
                                        {.dim = {4, 3, 4}},
                                        {.dim = {3, 5, 3}},
                                        {.whole = 1},
                                        {.label_of_floats = 1},
                                        {.labels = 3},
                                        {.labels = 5},
                                        {.label_rank = 2, .columns = 2},
                                        {.label_rank = 3},
                                        {.label = -1},
                                        {.label = 65536},
                                        {.value = NAN},
                                        {.value = INFINITY},
                                        {.value = 1e30f}};
    static const char *const text[] = {"", "x", "\x89HDF\r\n\x1a\n",
                                       "\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0\x04\0\x10"};
    fv_ctx *c = fv_create(NULL);
    h5 h;
    float p[15];
    CHECK(h5_open(c, put_h5("good.h5", &good), &h), "%s", fv_error_text(c));
    CHECK(h.count == 4 && h.points == 5 && h.classes == 3 && h.label[3] == 0 && h5_cloud(c, &h, 2, p) &&
              p[0] == 30 && p[14] == 44,
          "what is written is read back");
    h5_close(c, &h);
    const h5_case column = {.label_rank = 2}, packed = {.special = PACKED};
    CHECK(as_scans(c, put_h5("column.h5", &column)), "%s", fv_error_text(c));
    if (H5Zfilter_avail(H5Z_FILTER_DEFLATE) > 0)
        CHECK(as_scans(c, put_h5("packed.h5", &packed)) && h5_open(c, file_of("packed.h5"), &h) &&
                  h5_cloud(c, &h, 2, p) && p[0] == 30 && p[14] == 44 && (h5_close(c, &h), 1),
              "packed data: %s", fv_error_text(c));
    long long held = (long long)fv_memory(c).now;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fv_clear_error(c);
        CHECK(!as_scans(c, put_h5("bad.h5", &bad[i])) && fv_error(c) == FV_EFORMAT &&
                  (!bad[i].says || strstr(fv_error_text(c), bad[i].says)),
              "case %d: taken, or %s", (int)i, fv_error_text(c));
    }
    fv_clear_error(c);
    CHECK(!as_scans(c, put("bad.h5", "x", 1)) && strstr(fv_error_text(c), "no whole HDF5 file"), "%s",
          fv_error_text(c));
    fv_clear_error(c);
    CHECK(!as_scans(c, file_of("")) && fv_error(c) == FV_EIO, "a folder: %s", fv_error_text(c));
    CHECK(held == (long long)fv_memory(c).now, "refusals keep %lld bytes",
          (long long)fv_memory(c).now - held);
    CHECK(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "refusals keep files or datasets open");
    H5E_auto2_t speaks = NULL;
    void *of = NULL;
    CHECK(H5Eget_auto2(H5E_DEFAULT, &speaks, &of) >= 0 && !speaks, "libhdf5 prints errors of its own");
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        refused(as_scans, "bad.h5", text[i], i == 3 ? 19 : strlen(text[i]));
    fv_file f;
    fv_clear_error(c);
    CHECK(fv_file_open(c, file_of("good.h5"), &f), "%s", fv_error_text(c));
    /* libhdf5 knows a cut file */
    for (size_t n = 0; n + 1 < f.size; n += f.size / 40 + 1) refused(as_scans, "cut.h5", f.data, n);
    fv_file_close(c, &f), fv_destroy(c);
}
#else
static void scans(void) { SKIP("libhdf5 is not installed"); }
#endif

/* ---- arrays ---- */
/* archives whose arrays are not MedMNIST's: one is left out, renamed, of another shape or with labels that do
 * not fit */
static void malformed_archives(void) {
    static const struct {
        const char *images, *labels;
        int rank;
        int64_t dim[4], count;
        int rows, label, status;
    } bad[] = {{NULL, "train_labels", 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT},
               {"train_images", NULL, 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT},
               {"train_image", "train_labels", 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT},
               {"train_images", "train_label", 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT},
               {"test_images", "train_labels", 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT},
               {"train_images.npy", "train_labels", 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT},
               {"train_images", "train_labels", 1, {40}, 5, 1, 0, FV_EFORMAT},
               {"train_images", "train_labels", 2, {5, 8}, 5, 1, 0, FV_EFORMAT},
               {"train_images", "train_labels", 3, {5, 4, 2}, 5, 1, 0, FV_EUSAGE},
               {"train_images", "train_labels", 4, {1, 4, 2, 3}, 1, 1, 0, FV_EUSAGE},
               {"train_images", "train_labels", 4, {0, 2, 2, 2}, 0, 1, 0, FV_EUSAGE},
               {"train_images", "train_labels", 4, {5, 2, 2, 2}, 4, 1, 0, FV_EUSAGE},
               {"train_images", "train_labels", 4, {5, 2, 2, 2}, 6, 1, 0, FV_EUSAGE},
               {"train_images", "train_labels", 4, {5, 2, 2, 2}, 5, 2, 0, FV_EUSAGE},
               {"train_images", "train_labels", 4, {5, 2, 2, 2}, 0, 1, 0, FV_EUSAGE},
               {"", "train_labels", 4, {5, 2, 2, 2}, 5, 1, 0, FV_EFORMAT}};
    uint8_t bytes[64] = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fv_ctx *c = fv_create(NULL);
        npz_out z;
        int64_t column[2] = {bad[i].count, bad[i].rows};
        memset(&z, 0, sizeof z);
        if (bad[i].images) npz_put(c, &z, bad[i].images, bytes, bad[i].rank, bad[i].dim);
        if (bad[i].labels) npz_put(c, &z, bad[i].labels, bytes, 2, column);
        CHECK(npz_save(c, &z, file_of("odd.npz")), "%s", fv_error_text(c));
        CHECK(!as_volumes(c, file_of("odd.npz")) && (int)fv_error(c) == bad[i].status,
              "archive %d: taken, or %s", (int)i, fv_error_text(c));
        fv_destroy(c);
    }
}
/* an array's bytes: a .npy of that version, header and data */
static size_t npy_of(uint8_t *to, int version, const char *head, const void *data, size_t n) {
    size_t length = strlen(head), at = version > 1 ? 12 : 10;
    memcpy(to, "\x93NUMPY\0\0\0\0\0\0", 12), to[6] = (uint8_t)version;
    to[8] = (uint8_t)length, to[9] = (uint8_t)(length >> 8);
    memcpy(to + at, head, length), memcpy(to + at + length, data, n);
    return at + length + n;
}
static const char *head_of(const char *type, const char *shape) {
    static char text[2000];
    snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", type, shape);
    return text;
}
/* the types of numbers, both ways round, in the three versions of the format */
static void numbers(void) {
    static const struct {
        const char *type, *bytes;
        int n;
        double value;
    } of[] = {{"|u1", "\xfe", 1, 254},
              {"|i1", "\xfe", 1, -2},
              {"|b1", "\1", 1, 1},
              {"<u2", "\xfe\xff", 2, 65534},
              {"<i2", "\xfe\xff", 2, -2},
              {">i2", "\xfe\xff", 2, -257},
              {"=i2", "\2\1", 2, 258},
              {">u4", "\xff\0\0\1", 4, 4278190081.0},
              {"<i4", "\1\0\0\x80", 4, -2147483647},
              {">i4", "\1\0\0\x80", 4, 16777344},
              {"<i8", "\xfd\xff\xff\xff\xff\xff\xff\xff", 8, -3},
              {">u8", "\x80\0\0\0\0\0\0\0", 8, 9223372036854775808.0},
              {"<f4", "\0\0\x20\xc1", 4, -10},
              {">f4", "\xc1\x20\0\0", 4, -10},
              {"<f8", "\0\0\0\0\0\0\x24\xc0", 8, -10},
              {">f8", "\xc0\x24\0\0\0\0\0\0", 8, -10}};
    uint8_t data[2200], twice[16];
    fv_ctx *c = fv_create(NULL);
    npy a;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        for (int version = 1; version < 4; version++) {
            memset(twice, 0, 8), memcpy(twice + of[i].n, of[i].bytes, (size_t)of[i].n);
            size_t n = npy_of(data, version, head_of(of[i].type, "2,"), twice, 2 * (size_t)of[i].n);
            CHECK(npy_parse(c, "a", data, n, &a) && a.rank == 1 && a.count == 2 &&
                      fabs(npy_value(&a, 1) - of[i].value) < 1e-9 * fabs(of[i].value),
                  "%s, version %d: %g %s", of[i].type, version, fv_error(c) ? 0 : npy_value(&a, 1),
                  fv_error_text(c));
            fv_clear_error(c);
        }
    /* four numbers a row, of which three are taken; what is not read */
    static const float rows[8] = {1, 2, 3, 9, 4, 5, 6, 9}, wild[6] = {1, 2, 3, NAN, 5, 6},
                       far[6] = {1, 2, 3, 4, 1e20f, 6};
    mesh m;
    CHECK(mesh_read(c, put("four.npy", data, npy_of(data, 1, head_of("<f4", "2, 4"), rows, 32)), &m) &&
              m.points == 2 && m.xyz[3] > 3.9f && m.xyz[3] < 4.1f,
          "rows of four: %s", fv_error_text(c));
    mesh_free(c, &m), fv_destroy(c);
    static const char *const odd[][2] = {{"<f2", "1, 3"},
                                         {"<c8", "1, 3"},
                                         {"<U4", "1, 3"},
                                         {"<f4", "2, 3,"},
                                         {"<f4", "6"},
                                         {"<f4", "1, 3, 1"},
                                         {"<f4", "3, 2"},
                                         {"<f4", "0, 3"},
                                         {"<f4", "1, -3"},
                                         {"<i3", "1, 3"},
                                         {"<f4", "1,1,1,1,1,1,1,1,3"}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        refused(as_mesh, "bad.npy", data,
                npy_of(data, 1, head_of(odd[i][0], odd[i][1]), rows,
                       i == 3   ? 20
                       : i == 8 ? 32
                                : 24));
    refused(as_mesh, "bad.npy", data, npy_of(data, 1, head_of("<f4", "2, 3"), wild, 24));
    refused(as_mesh, "bad.npy", data, npy_of(data, 1, head_of("<f4", "2, 3"), far, 24));
    for (int version = 0; version < 5; version += 4)
        refused(as_mesh, "bad.npy", data, npy_of(data, version, head_of("<f4", "2, 3"), rows, 24));
    size_t n = npy_of(data, 1, head_of("<f4", "2, 3"), rows, 24);
    data[1] = 'n', refused(as_mesh, "bad.npy", data, n);
    n = npy_of(data, 1, head_of("<f4", "2, 3"), rows, 24), data[9] = 1, refused(as_mesh, "bad.npy", data, n);
    char longer[1200]; /* a header of more than 1,023 bytes */
    snprintf(longer, sizeof longer, "%-1100s\n", head_of("<f4", "2, 3"));
    refused(as_mesh, "bad.npy", data, npy_of(data, 1, longer, rows, 24));
}

/* ---- archives made here, so that each of their numbers can be wrong ---- */
static struct archive {
    uint8_t body[8192], list[1024];
    size_t n, listed;
    int members;
    uint32_t sum; /* of what a packed member holds */
} zip;
static uint32_t sum_of(const uint8_t *p, size_t n) {
    uint32_t v = 0xffffffffu;
    for (size_t i = 0; i < 8 * n; i++)
        v = v >> 1 ^ (0xedb88320u & (0u - ((v ^ (uint32_t)p[i / 8] >> i % 8) & 1)));
    return ~v;
}
static void zip_number(uint8_t *to, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(v >> 8 * i);
}
static void zip_add(const char *name, int method, const void *packed, size_t n, size_t size) {
    uint8_t *local = zip.body + zip.n, *entry = zip.list + zip.listed;
    size_t length = strlen(name);
    memset(local, 0, 30), memset(entry, 0, 46);
    zip_number(local, 0x04034b50, 4), zip_number(local + 8, (uint32_t)method, 2);
    zip_number(local + 18, (uint32_t)n, 4), zip_number(local + 22, (uint32_t)size, 4),
        zip_number(local + 26, (uint32_t)length, 2);
    memcpy(local + 30, name, length), memcpy(local + 30 + length, packed, n);
    zip_number(entry, 0x02014b50, 4), zip_number(entry + 10, (uint32_t)method, 2);
    zip_number(entry + 16, method ? zip.sum : sum_of((const uint8_t *)packed, n), 4);
    zip_number(entry + 20, (uint32_t)n, 4), zip_number(entry + 24, (uint32_t)size, 4),
        zip_number(entry + 28, (uint32_t)length, 2), zip_number(entry + 42, (uint32_t)zip.n, 4);
    memcpy(entry + 46, name, length);
    zip.n += 30 + length + n, zip.listed += 46 + length, zip.members++;
}
/* the whole archive into body; where the list and the end begin */
static size_t zip_end(size_t *list) {
    uint8_t *end = zip.body + (*list = zip.n) + zip.listed;
    memcpy(zip.body + zip.n, zip.list, zip.listed), memset(end, 0, 22);
    zip_number(end, 0x06054b50, 4), zip_number(end + 8, (uint32_t)zip.members, 2),
        zip_number(end + 10, (uint32_t)zip.members, 2);
    zip_number(end + 12, (uint32_t)zip.listed, 4), zip_number(end + 16, (uint32_t)zip.n, 4);
    return (size_t)(end - zip.body) + 22;
}
static void archives(void) {
    static const float p[6] = {1, 2, 3, 4, 5, 6};
    static const char *const names[] = {"points.npy", "pos.npy", "xyz.npy", "data.npy", "arr_0.npy"};
    uint8_t data[512];
    size_t n = npy_of(data, 1, head_of("<f4", "2, 3"), p, 24), list, all;
    for (int i = 0; i < 5; i++) { /* stored, under any of the names; another member before */
        memset(&zip, 0, sizeof zip), zip_add("other.npy", 0, "odd", 3, 3), zip_add(names[i], 0, data, n, n);
        all = zip_end(&list);
        taken(as_mesh, "a.npz", zip.body, all);
    }
    /* each number wrong once: place in the list's entry (or -1 - place in the end's record), bytes, value */
    static const struct {
        int at, bytes;
        uint32_t value;
    } wrong[] = {{0, 4, 0x02014b51},  {10, 2, 12},          {20, 4, 0xffffffffu}, {20, 4, 7},
                 {20, 4, 4000},       {24, 4, 3},           {28, 2, 4000},        {28, 2, 9},
                 {30, 2, 4000},       {32, 2, 4000},        {42, 4, 4000},        {42, 4, 1},
                 {42, 4, 0x7fffffff}, {46, 1, 'q'},         {52, 1, ','},         {-1, 4, 0x06054b51},
                 {-13, 4, 4000},      {-13, 4, 0},          {-13, 4, 20},         {-17, 4, 4000},
                 {-17, 4, 3},         {-17, 4, 0x80000000u}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memset(&zip, 0, sizeof zip), zip_add("points.npy", 0, data, n, n), all = zip_end(&list);
        zip_number(wrong[i].at < 0 ? zip.body + all - 22 - wrong[i].at - 1 : zip.body + list + wrong[i].at,
                   wrong[i].value, wrong[i].bytes);
        refused(as_mesh, "bad.npz", zip.body, all);
    }
    memset(&zip, 0, sizeof zip), zip_add("points.npy", 0, data, n, n), all = zip_end(&list);
    zip.body[0] = 'Q', refused(as_mesh, "bad.npz", zip.body, all);
    memset(&zip, 0, sizeof zip), zip_add("points.npz", 0, data, n, n), all = zip_end(&list);
    refused(as_mesh, "bad.npz", zip.body, all);
#ifdef HAVE_ZLIB
    uint8_t packed[512];
    z_stream z;
    memset(&z, 0, sizeof z);
    z.next_in = data, z.avail_in = (uInt)n, z.next_out = packed, z.avail_out = sizeof packed;
    CHECK(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, 0) == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END,
          "zlib");
    size_t m = z.total_out;
    deflateEnd(&z);
    for (int turn = 5; turn >= 0; turn--) { /* a bomb; damaged; cut; other sizes; whole */
        size_t told = turn == 1 ? n - 1 : turn == 2 ? n + 1 : turn == 5 ? 0x7f000000 : n;
        memset(&zip, 0, sizeof zip), zip.sum = sum_of(data, n);
        zip_add("points.npy", 8, packed, turn == 3 ? m - 1 : m, told);
        if (turn == 4) zip.body[30 + 10 + 1] ^= 0x55;
        all = zip_end(&list);
        if (turn) refused(as_mesh, "bad.npz", zip.body, all);
        else taken(as_mesh, "a.npz", zip.body, all);
    }
    battered(as_mesh, "cut.npz", zip.body, all, 100);
    memset(&zip, 0, sizeof zip), zip_add("points.npy", 8, packed, m, n), all = zip_end(&list);
    zip_number(zip.body + list + 20, 4000, 4), refused(as_mesh, "bad.npz", zip.body, all);
    memset(&zip, 0, sizeof zip), zip_add("points.npy", 9, packed, m, n), all = zip_end(&list);
    refused(as_mesh, "bad.npz", zip.body, all);
#endif
    /* MedMNIST's types, and its pictures */
    static const struct {
        const char *type, *shape;
        double label[2];
        int volumes, status, classes;
    } of[] = {{"|u1", "2, 2, 2, 2", {0, 6}, 1, FV_OK, 7},
              {"|b1", "2, 2, 2, 2", {3, 0}, 1, FV_OK, 4},
              {"|u1", "2, -4, -2", {0, 1}, 0, FV_EFORMAT, 0},
              {"|u1", "2, 4, 2", {0, 1}, 0, FV_OK, 2},
              {"|u1", "2, 2, 1, 3", {0, 1}, 0, FV_OK, 2},
              {"|u1", "2, 2, 1, 3", {0, 1}, 1, FV_EUSAGE, 0},
              {"|u1", "2, 2, 2, 2", {0, 1}, 0, FV_EUSAGE, 0},
              {"|i1", "2, 2, 2, 2", {0, 1}, 1, FV_EFORMAT, 0},
              {"<u2", "2, 2, 2, 1", {0, 1}, 1, FV_EFORMAT, 0},
              {"|u1", "2, 2, 2, 2", {0, -1}, 1, FV_EFORMAT, 0},
              {"|u1", "2, 2, 2, 2", {65536, 1}, 1, FV_EFORMAT, 0},
              {"|u1", "2, 2, 2, 2", {NAN, 1}, 1, FV_EFORMAT, 0}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        static const uint8_t zeros[16];
        static const int32_t fair[2] = {1, 0};
        fv_ctx *c = fv_create(NULL);
        medmnist v;
        memset(&zip, 0, sizeof zip);
        n = npy_of(data, 1, head_of(of[i].type, of[i].shape), zeros, strstr(of[i].shape, "1, 3") ? 12 : 16),
        zip_add("test_images.npy", 0, data, n, n);
        n = npy_of(data, 1, head_of("<i4", "2, 1"), fair, 8), zip_add("test_labels.npy", 0, data, n, n);
        n = npy_of(data, 1, head_of("<f8", "2, 1"), of[i].label, 16);
        zip_add("train_labels.npy", 0, data, n, n), all = zip_end(&list);
        int ok = medmnist_open(c, put("med.npz", zip.body, all), "test", of[i].volumes, &v);
        CHECK((int)fv_error(c) == of[i].status && (!ok || v.classes == of[i].classes), "MedMNIST %d: %s",
              (int)i, fv_error_text(c));
        if (ok) medmnist_close(c, &v);
        fv_destroy(c);
    }
}
static void arrays(void) {
    static const char *const header[] = {
        "{}",
        "{'descr': '<f4', 'fortran_order': False, }",
        "{'descr': '<f4', 'shape': (2, 3), }",
        "{'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f16', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (x, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 6, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"};
    uint8_t data[512];
    for (size_t i = 0; i < sizeof header / sizeof *header; i++) {
        size_t n = strlen(header[i]);
        memcpy(data, "\x93NUMPY\1\0", 8), data[8] = (uint8_t)n, data[9] = 0;
        memcpy(data + 10, header[i], n), memset(data + 10 + n, 0, 24);
        refused(as_mesh, "bad.npy", data, 10 + n + 24);
    }
    float x[12];
    int64_t dim[2] = {4, 3};
    fv_ctx *c = fv_create(NULL);
    mesh m;
    for (int i = 0; i < 12; i++) x[i] = (float)i - 5.5f;
    CHECK(npy_write(c, file_of("x.npy"), x, 2, dim) && mesh_read(c, file_of("x.npy"), &m), "%s",
          fv_error_text(c));
    CHECK(m.points == 4 && !memcmp(m.xyz, x, sizeof x), "an array is read back");
    mesh_free(c, &m);
    fv_file f;
    CHECK(fv_file_open(c, file_of("x.npy"), &f), "%s", fv_error_text(c));
    battered(as_mesh, "cut.npy", f.data, f.size, 100);
    fv_file_close(c, &f);
    /* an archive in MedMNIST's layout */
    npz_out z;
    uint8_t images[5 * 8], label[5] = {0, 2, 1, 2, 0};
    int64_t four[4] = {5, 2, 2, 2}, column[2] = {5, 1};
    static const char *const split[3] = {"train", "val", "test"};
    memset(&z, 0, sizeof z);
    for (int i = 0; i < 40; i++) images[i] = (uint8_t)(7 * i);
    for (int s = 0; s < 3; s++) {
        char name[32];
        snprintf(name, sizeof name, "%s_images", split[s]), npz_put(c, &z, name, images, 4, four);
        snprintf(name, sizeof name, "%s_labels", split[s]), npz_put(c, &z, name, label, 2, column);
    }
    medmnist v;
    CHECK(npz_save(c, &z, file_of("v.npz")) && medmnist_open(c, file_of("v.npz"), "val", 1, &v), "%s",
          fv_error_text(c));
    CHECK(v.classes == 3 && v.images.dim[0] == 5 && !memcmp(v.images.data, images, sizeof images) &&
              npy_value(&v.labels, 3) > 1.5,
          "an archive is read back, in place");
    medmnist_close(c, &v);
    CHECK(!medmnist_open(c, file_of("v.npz"), "val", 0, &v) && fv_error(c) == FV_EUSAGE,
          "volumes are no pictures");
    fv_clear_error(c);
    CHECK(fv_file_open(c, file_of("v.npz"), &f), "%s", fv_error_text(c));
    battered(as_volumes, "cut.npz", f.data, f.size, 250);
    malformed_archives();
    uint8_t *copy = (uint8_t *)malloc(f.size);
    for (size_t at = f.size - 22; at < f.size - 2; at++) { /* the end's record: 20 bytes, each wrong once */
        memcpy(copy, f.data, f.size), copy[at] ^= 0x55;
        if (at - (f.size - 22) < 4 || at - (f.size - 22) >= 12)
            refused(as_volumes, "bad.npz", copy, at - (f.size - 22) >= 20 ? f.size - 1 : f.size);
    }
    free(copy), fv_file_close(c, &f);
    fv_destroy(c);
}

/* ---- clips ---- */
static void clips(void) {
#define Y4M "YUV4MPEG2 W2 H2 "
    static const char *const bad[] = {"",
                                      "YUV4MPEG",
                                      "YUV4MPEG2 ",
                                      "YUV4MPEG2 \n",
                                      "YUV4MPEG2 W2 H2",
                                      Y4M "\n",
                                      Y4M "\nFRAME",
                                      Y4M "\nFRAME\n",
                                      Y4M "\nFRAME\n12345",
                                      Y4M "\nFRAME\n1234567",
                                      Y4M "\nFRAMX\n123456",
                                      Y4M "\nFRAME\n123456FRAME\n",
                                      Y4M "\nFRAME\n123456FRAMX\n123456",
                                      Y4M "\nFRAME\n123456FRAME\n12345",
                                      "YUV4MPEG2 W0 H2\nFRAME\n",
                                      "YUV4MPEG2 W-2 H2\nFRAME\n1234",
                                      "YUV4MPEG2 H2\nFRAME\n123456",
                                      "YUV4MPEG2 W2\nFRAME\n123456",
                                      "YUV4MPEG2 W99999 H99999\nFRAME\n123456",
                                      "YUV4MPEG3 W2 H2 \nFRAME\n123456",
                                      "YUV4MPEG2 W2 H0\nFRAME\n",
                                      "YUV4MPEG2 W2 H-2\nFRAME\n",
                                      Y4M "C411\nFRAME\n12345678",
                                      Y4M "C420p10\nFRAME\n123456",
                                      Y4M "C411\nFRAME\n123456",
                                      Y4M "Codd\nFRAME\n123456",
                                      NULL};
    texts_refused(as_clip, "bad.y4m", bad);
    for (int tall = 0; tall < 2; tall++) { /* a side of over 16,384 */
        static char large[17000];
        memset(large, 'x', sizeof large);
        int n = sprintf(large, "YUV4MPEG2 W%d H%d Cmono\nFRAME\n", tall ? 1 : 16385, tall ? 16385 : 1);
        large[n] = 'x', refused(as_clip, "bad.y4m", large, (size_t)n + 16385);
    }
    static const char *const good[] = {Y4M "\nFRAME\n123456",
                                       Y4M "C420jpeg F25:1 Ip A1:1\nFRAME\n123456FRAME\n123456",
                                       Y4M "C444\nFRAME\n123456789012",
                                       Y4M "C422\nFRAME\n12345678",
                                       Y4M "Cmono\nFRAME\n1234FRAME\n5678",
                                       "YUV4MPEG2 W3 H1 C420\nFRAME\n1234567"};
    for (int i = 0; i < 6; i++)
        taken(as_clip, "a.y4m", good[i], strlen(good[i])),
            battered(as_clip, "cut.y4m", good[i], strlen(good[i]), 60);
    /* what is written is read back, but for what 4:2:0 loses: one colour all over loses next to nothing */
    fv_ctx *c = fv_create(NULL);
    uint8_t rgb[2 * 4 * 6 * 3], out[4 * 6 * 3];
    clip v;
    for (int i = 0; i < 2 * 24; i++)
        rgb[3 * i] = (uint8_t)(i < 24 ? 200 : 30), rgb[3 * i + 1] = 90,
                rgb[3 * i + 2] = (uint8_t)(i < 24 ? 20 : 240);
    CHECK(y4m_write(c, file_of("w.y4m"), rgb, 2, 4, 6) && clip_open(c, file_of("w.y4m"), &v) &&
              v.frames == 2 && v.width == 6 && v.height == 4,
          "%s", fv_error_text(c));
    for (int f = 0; f < 2; f++) {
        clip_frame(c, &v, f, out);
        for (int i = 0; i < 72; i++)
            CHECK(abs(out[i] - rgb[72 * f + i]) <= 3, "frame %d: %d instead of %d", f, out[i],
                  rgb[72 * f + i]);
    }
    clip_close(c, &v);
    fv_destroy(c);
}

/* ITU-R BT.601 of random planes, of 16 to 235 (240) and of 0 to 255, in each sampling and with odd sides */
static void colours(void) {
    enum { W = 5, H = 3 };
    static const char *const kind[4] = {"Cmono", "C420mpeg2", "C422", "C444"};
    uint8_t plane[3][W * H], rgb[3 * W * H];
    char data[512];
    fv_rng g = {3, 9, 0};
    for (int turn = 0; turn < 16; turn++) {
        int form = turn % 4, full = turn / 4 % 2, cw = form < 3 ? 3 : W, ch = form == 1 ? 2 : H;
        fv_ctx *c = fv_create(NULL);
        clip v;
        size_t n = (size_t)sprintf(data, "YUV4MPEG2 W%d H%d %s%s\n", W, H, kind[form],
                                   full ? " XCOLORRANGE=FULL" : "");
        for (int f = 0; f < 2; f++) { /* the second is looked at */
            n += (size_t)sprintf(data + n, "FRAME\n");
            for (int k = 0; k < (form ? 3 : 1); k++) {
                int size = k ? cw * ch : W * H;
                for (int i = 0; i < size; i++)
                    plane[k][i] =
                        (uint8_t)(full ? fv_rng_below(&g, 256) : 16 + fv_rng_below(&g, k ? 225 : 220));
                memcpy(data + n, plane[k], (size_t)size), n += (size_t)size;
            }
        }
        CHECK(clip_open(c, put("colours.y4m", data, n), &v) && v.frames == 2 && clip_frame(c, &v, 1, rgb),
              "%s: %s", kind[form], fv_error_text(c));
        for (int i = 0; i < W * H; i++) {
            int x = i % W, y = i / W, at = (form == 1 ? y / 2 : y) * cw + (form < 3 ? x / 2 : x);
            double l = full ? plane[0][i] : (plane[0][i] - 16) / 219.0 * 255,
                   b = !form  ? 0
                       : full ? plane[1][at] - 128
                              : (plane[1][at] - 128) / 224.0 * 255,
                   r = !form  ? 0
                       : full ? plane[2][at] - 128
                              : (plane[2][at] - 128) / 224.0 * 255;
            /* with Kr 0.299 and Kb 0.114 */
            double want[3] = {l + 2 * (1 - 0.299) * r,
                              l - 2 * 0.114 * (1 - 0.114) / 0.587 * b - 2 * 0.299 * (1 - 0.299) / 0.587 * r,
                              l + 2 * (1 - 0.114) * b};
            for (int k = 0; k < 3; k++)
                CHECK(fabs(rgb[3 * i + k] - fmax(0, fmin(255, want[k]))) < 0.51,
                      "%s, full %d: %d instead of %g", kind[form], full, rgb[3 * i + k], want[k]);
        }
        clip_close(c, &v), fv_destroy(c);
    }
    /* written: each 2x2 pixels share the mean of their colours */
    fv_ctx *c = fv_create(NULL);
    clip v;
    static const uint8_t four[12] = {200, 60, 60, 100, 120, 90, 150, 100, 110, 110, 80, 140};
    CHECK(y4m_write(c, file_of("four.y4m"), four, 1, 2, 2) && clip_open(c, file_of("four.y4m"), &v), "%s",
          fv_error_text(c));
    clip_frame(c, &v, 0, rgb);
    double off[3] = {0, 0, 0}; /* chroma is the mean's: R - Y and B - Y are those of all four */
    for (int i = 0; i < 4; i++) {
        double was = 0.299 * four[3 * i] + 0.587 * four[3 * i + 1] + 0.114 * four[3 * i + 2],
               is = 0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2];
        CHECK(fabs(was - is) < 2, "brightness %g instead of %g", is, was);
        off[0] += (four[3 * i] - was - rgb[3 * i] + is) / 4,
            off[2] += (four[3 * i + 2] - was - rgb[3 * i + 2] + is) / 4;
    }
    CHECK(fabs(off[0]) < 1.5 && fabs(off[2]) < 1.5, "the colours' mean is off by %g, %g", off[0], off[2]);
    clip_close(c, &v), fv_destroy(c);
}
/* a folder of frames, by number; a picture alone */
static void frames(void) {
#ifdef HAVE_STB
    static const char *const name[] = {"f/10.png", "f/9.PNG", "f/2.png", "f/x.txt", "f/.1.png"};
    uint8_t rgb[6 * 4 * 3];
    fv_ctx *c = fv_create(NULL);
    clip v;
    mkdir(file_of("f"), 0777), mkdir(file_of("none"), 0777), put("none/x.txt", "x", 1);
    for (int i = 0; i < 5; i++) {
        canvas one = canvas_new(c, 6, 4);
        draw_box(&one, 0, 0, 6, 4, (ink)(0x102030 * (unsigned)(i + 1)), 1);
        CHECK(canvas_save(c, &one, file_of(name[i])), "%s", fv_error_text(c));
        canvas_free(c, &one);
    }
    CHECK(clip_open(c, file_of("f"), &v) && v.frames == 3 && v.width == 6 && v.height == 4, "%s",
          fv_error_text(c));
    for (int i = 0; i < 3 && v.frames == 3; i++)
        CHECK(clip_frame(c, &v, i, rgb) && rgb[0] == 0x10 * (3 - i) && rgb[71] == 0x30 * (3 - i),
              "frame %d: %d", i, rgb[0]);
    clip_close(c, &v);
    CHECK(clip_open(c, file_of("f/9.PNG"), &v) && v.frames == 1 && clip_frame(c, &v, 0, rgb) &&
              rgb[1] == 0x40,
          "a picture: %s", fv_error_text(c));
    clip_close(c, &v);
    CHECK(!clip_open(c, file_of("none"), &v) && fv_error(c) == FV_EFORMAT, "a folder without frames");
    fv_clear_error(c), mkdir(file_of("bare"), 0777);
    CHECK(!clip_open(c, file_of("bare"), &v) && fv_error(c) == FV_EFORMAT, "a folder without anything");
    fv_clear_error(c);
    CHECK(!clip_open(c, file_of("nowhere"), &v) && fv_error(c) == FV_EIO, "no such folder");
    fv_clear_error(c);
    canvas other = canvas_new(c, 4, 6);
    CHECK(canvas_save(c, &other, file_of("f/9.PNG")) && clip_open(c, file_of("f"), &v) &&
              clip_frame(c, &v, 0, rgb),
          "%s", fv_error_text(c));
    CHECK(!clip_frame(c, &v, 1, rgb) && fv_error(c) == FV_EFORMAT, "a frame of another size");
    clip_close(c, &v), fv_destroy(c);
#endif
}

/* ---- motion ---- */
/* 20 steps of the tracks a and b, the last first; `row`, when given, in place of a's at 3.7 s */
static size_t whole_scene(char *text, const char *a, const char *b, const char *row, const char *end) {
    char *at = text + sprintf(text, "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME%s", end);
    for (int i = 19; i >= 0; i--) {
        at += row && i == 7 ? sprintf(at, "%s", row)
                            : sprintf(at, "%.1f,a,%s,%d,%d,PIT%s", 3 + i * 0.1, a, i, 20 + 2 * i, end);
        at += sprintf(at, "%.1f,b,%s,7,8,PIT%s", 3 + i * 0.1, b, end);
    }
    return (size_t)(at - text);
}
/* scenes and lanes with nothing wrong but one thing, which is what they are refused for; every column */
static void whole_roads(void) {
    static const char *const row[] = {"",
                                      "3.7,a,AGENT,nan,2,PIT\n",
                                      "3.7,a,AGENT,7,-inf,PIT\n",
                                      "3.7,a,AGENT,7,1e9,PIT\n",
                                      "3.7,a,AGENT,7x,2,PIT\n",
                                      "3.7,a,AGENT,7,,PIT\n",
                                      "3.7,a,AGENT,7,2\n",
                                      "3.7,a,AGENT,7,2,PIT,9\n",
                                      "3.7,a,AGENT,7,2,PIT\n3.7,a,AGENT,7,2,PIT\n",
                                      "3.7x,a,AGENT,7,2,PIT\n",
                                      "nan,a,AGENT,7,2,PIT\n",
                                      "3.75,a,AGENT,7,2,PIT\n3.7,a,AGENT,7,2,PIT\n",
                                      "3.7,,OTHERS,7,2,PIT\n3.7,a,AGENT,7,2,PIT\n",
                                      "\n3.7,a,AGENT,7,2,PIT\n",
                                      "3.7,b,OTHERS,7,2,PIT\n3.7,a,AGENT,7,2,PIT\n"};
    static const char *const end[] = {"\n", "\r\n"};
    char text[4000];
    fv_ctx *c = fv_create(NULL);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        refused(as_traffic, "bad.csv", text, whole_scene(text, "AGENT", "OTHERS", row[i], "\n"));
    refused(as_traffic, "bad.csv", text, whole_scene(text, "AGENT", "AGENT", NULL, "\n"));
    refused(as_traffic, "bad.csv", text, whole_scene(text, "AV", "OTHERS", NULL, "\n"));
    for (int k = 0; k < 2; k++) {
        traffic t;
        lane_map m;
        CHECK(traffic_read(c, put("a.csv", text, whole_scene(text, "AGENT", "AV", NULL, end[k])), &t) &&
                  t.steps == 20 && t.tracks == 2 && t.agent == 0 && t.track[1].type == TRACK_AV &&
                  !strcmp(t.city, "PIT"),
              "a scene of 20 steps: %s", fv_error_text(c));
        for (int i = 0; i < 20 && !fv_error(c); i++)
            CHECK(t.track[0].seen[i] && fabsf(t.track[0].at[i][0] - (float)i) < 1e-6f &&
                      fabsf(t.track[0].at[i][1] - (float)(20 + 2 * i)) < 1e-6f,
                  "step %d: %g, %g", i, (double)t.track[0].at[i][0], (double)t.track[0].at[i][1]);
        traffic_free(c, &t);
        int n = sprintf(text, "LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_TRAFFIC_CONTROL%s", end[k]);
        static const char *const line[] = {"7,1,2,LEFT,True,False",  "7,3,4,LEFT,True,False",
                                           "8,5,6,RIGHT,False,True", "8,7,8,RIGHT,False,True",
                                           "8,9,8,RIGHT,False,True", "9,1,1,NONE,False,False",
                                           "9,2,1,NONE,False,False"};
        for (int i = 0; i < 7; i++) n += sprintf(text + n, "%s%s", line[i], end[k]);
        CHECK(lanes_read(c, put("lanes.csv", text, (size_t)n), &m) && m.lanes == 3 && m.points == 7, "%s",
              fv_error_text(c));
        for (int i = 0; i < 3 && m.lanes == 3; i++)
            CHECK(m.lane[i].first == (i ? 2 * i + i / 2 : 0) && m.lane[i].count == (i == 1 ? 3 : 2) &&
                      m.lane[i].turn == (i == 0) - (i == 1) && m.lane[i].junction == (i == 0) &&
                      m.lane[i].control == (i == 1),
                  "lane %d: %d points, turn %d, junction %d, control %d", i, m.lane[i].count, m.lane[i].turn,
                  m.lane[i].junction, m.lane[i].control);
        CHECK(m.lanes == 3 && m.point[3][0] > 6.9f && m.point[3][1] > 7.9f, "lanes' points");
        lanes_free(c, &m);
    }
    fv_destroy(c);
}
static void roads(void) {
#define TOP "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME\n"
    static const char *const bad[] = {
        "",
        "\n",
        TOP,
        "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y\n",
        "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY\n",
        TOP "1,a,AGENT,1,2\n",
        TOP "1,a,AGENT,1,2,P,7\n",
        TOP "x,a,AGENT,1,2,P\n",
        TOP "1,a,AGENT,x,2,P\n",
        TOP "1,a,AGENT,1,,P\n",
        TOP "1,a,AGENT,nan,2,P\n",
        TOP "1,a,AGENT,1,inf,P\n",
        TOP "1,,AGENT,1,2,P\n",
        TOP "1,a,AGENT,1,2,P\n",
        TOP "1,a,AGENT,1,2,P\n1,b,AGENT,1,2,P\n",
        TOP "1,a,AGENT,1,2,P\n1,a,AGENT,1,2,P\n",
        TOP "1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,AGENT,1,2,P\n",
        TOP "1,a,AGENT,1e9,2,P\n",
        TOP ",,,,,\n",
        TOP "1,a,AGENT,1,2,P\n\n",
        "\x89PNG",
        NULL};
    static const char *const bad_lanes[] = {
        "",
        "\n",
        "LANE_ID,X,Y\n",
        "LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_CONTROL\n",
#define LANE "LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_TRAFFIC_CONTROL\n"
        LANE "1,1,1,NONE,False,False\n",
        LANE "1,1,1,NONE,False\n",
        LANE "1,1,1,NONE,False,False,7\n",
        LANE "1,x,1,NONE,False,False\n",
        LANE "1,1,,NONE,False,False\n",
        LANE "1,nan,1,NONE,False,False\n",
        LANE "1,1,inf,NONE,False,False\n",
        LANE "1,1e12,1,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n2,1,1,NONE,False,False\n2,2,1,NONE,False,False\n",
        LANE "\n",
        LANE ",,,,,\n",
        LANE "1,1,1,NONE,False,False\n1,2,1,NONE,False,False\n3,1,1,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n1,2,x,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n1,nan,1,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n1,2,-inf,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n1,2,1e12,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n1,2,,NONE,False,False\n",
        LANE "1,1,1,NONE,False,False\n1,2,1,NONE,False\n",
        LANE "1,1,1,NONE,False,False\n1,2,1,NONE,False,False,7\n",
        LANE "1,1",
        LANE "1",
        "\x1f\x8b",
        NULL};
    texts_refused(as_traffic, "bad.csv", bad), texts_refused(as_lanes, "bad.csv", bad_lanes);
    char *text = (char *)malloc(20000), *at = text + sprintf(text, TOP);
    for (int i = 0; i < 50; i++)
        at += sprintf(at, "%.1f,a,AGENT,%d,%d,PIT\n%s", 100 + i * 0.1, i, 2 * i, i % 3 ? "" : ""),
            at += i % 4 ? sprintf(at, "%.1f,b,OTHERS,7,8,PIT\n", 100 + i * 0.1) : 0;
    fv_ctx *c = fv_create(NULL);
    traffic t;
    CHECK(traffic_read(c, put("a.csv", text, (size_t)(at - text)), &t), "%s", fv_error_text(c));
    CHECK(t.steps == 50 && t.tracks == 2 && t.agent == 0 && t.track[0].at[49][1] > 97 &&
              !t.track[1].seen[0] && t.track[1].seen[1] && !strcmp(t.city, "PIT"),
          "a scene is read");
    traffic_free(c, &t), fv_destroy(c);
    battered(as_traffic, "cut.csv", text, (size_t)(at - text), 120);
    free(text);
}

/* ---- scenes, captions ---- */
static void words(void) {
#define OBJ "{\"label\":\"a\",\"center\":[1,2,3],\"size\":[1,1,1],\"color\":[0,1,0]}"
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"objects\":3}",
        "{\"objects\":[]}",
        "{\"objects\":[3]}",
        "{\"objects\":[{}]}",
        "{\"objects\":[{\"label\":\"a\"}]}",
        "{\"objects\":[{\"label\":3,\"center\":[1,2,3],\"size\":[1,1,1],\"color\":[0,1,0]}]}",
        "{\"objects\":[{\"label\":\"a\",\"center\":[1,2],\"size\":[1,1,1],\"color\":[0,1,0]}]}",
        "{\"objects\":[{\"label\":\"a\",\"center\":[1,2,\"x\"],\"size\":[1,1,1],\"color\":[0,1,0]}]}",
        "{\"objects\":[{\"label\":\"a\",\"center\":[1,2,3],\"size\":[1,1,-1],\"color\":[0,1,0]}]}",
        "{\"objects\":[{\"label\":\"a\",\"center\":[1,2,3],\"size\":[1,1,1],\"color\":[0,1,2]}]}",
        "{\"objects\":[{\"label\":\"a\",\"center\":[1,2,1e9],\"size\":[1,1,1],\"color\":[0,1,0]}]}",
        "{\"objects\":[{\"label\":\"a\",\"center\":[1,2,3],\"size\":[1,1,1]}]}",
        "{\"objects\":[" OBJ ",]}",
        "{\"objects\":[" OBJ "]} x",
        "{\"objects\":[" OBJ "],\"objects\":[]}",
        "{\"objects\":[{\"label\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"center\":[1,2,3],"
        "\"size\":[1,1,1],\"color\":[0,1,0]}]}",
        NULL};
    static const char *const bad_lines[] = {"",
                                            "\n",
                                            "{",
                                            "{}",
                                            "[]",
                                            "3",
                                            "{\"image\":\"a.png\"}",
                                            "{\"caption\":\"x\"}",
                                            "{\"image\":3,\"caption\":\"x\"}",
                                            "{\"image\":\"\",\"caption\":\"x\"}",
                                            "{\"image\":\"a\",\"caption\":3}",
                                            "{\"image\":\"a\",\"captions\":[]}",
                                            "{\"image\":\"a\",\"captions\":[3]}",
                                            "{\"image\":\"a\",\"captions\":[\"\"]}",
                                            "{\"image\":\"a\",\"caption\":\"x\",\"split\":\"odd\"}",
                                            "{\"image\":\"a\",\"caption\":\"x\"}",
                                            "{\"image\":\"a\",\"caption\":\"x\",\"split\":\"test\"}",
                                            "{\"image\":\"a\",\"caption\":\"x\"}\n{\"image\":\"a\"",
                                            "{\"image\":\"a\",\"caption\":\"x\",\"image\":\"b\"}",
                                            "{\"image\":\"a\",\"caption\":\"\xff\"}",
                                            "x",
                                            NULL};
    texts_refused(as_scene, "bad.json", bad), texts_refused(as_captions, "captions.jsonl", bad_lines);
    taken(as_scene, "a.json", "{\"objects\":[" OBJ "," OBJ "]}", strlen("{\"objects\":[" OBJ "," OBJ "]}"));
    static const char two[] = "{\"image\":\"a\",\"caption\":\"x\"}\n{\"image\":\"b\",\"captions\":[\"y\","
                              "\"z\"],\"split\":\"test\"}\n";
    taken(as_captions, "captions.jsonl", two, strlen(two)),
        battered(as_captions, "captions.jsonl", two, strlen(two), 80);
    /* without a test split val is it; every caption, in order, of its own picture */
    fv_ctx *c = fv_create(NULL);
    caption_set k;
    static const char lines[] = "{\"image\":\"a\",\"captions\":[\"x\",\"y\",\"z\"]}\r\n\n"
                                "{\"image\":\"b\",\"caption\":\"u\",\"split\":\"restval\"}\n"
                                "{\"image\":\"c\",\"caption\":\"v\",\"split\":\"val\"}\n"
                                "{\"image\":\"d\",\"caption\":\"w\",\"split\":\"unseen\"}\n"
                                "{\"image\":\"e\",\"caption\":\"t\",\"split\":\"test\"}\n";
    for (int test = 0; test < 2; test++) {
        const char *stop = strstr(lines, "{\"image\":\"e");
        put("captions.jsonl", lines, test ? strlen(lines) : (size_t)(stop - lines));
        CHECK(captions_open(c, dir, &k), "%s", fv_error_text(c));
        const caption_split *p = k.split;
        CHECK(p[0].pictures == 2 && p[0].captions == 4 && p[1].pictures == 1 && p[2].pictures == 1,
              "%d training pictures, %d test, %d unseen", p[0].pictures, p[1].pictures, p[2].pictures);
        for (int i = 0; i < p[0].captions; i++)
            CHECK(p[0].caption[i].text[0] == "xyzu"[i] && p[0].caption[i].picture == i / 3, "caption %d", i);
        CHECK(p[1].pictures == 1 && strstr(p[1].picture[0].file, test ? "/e" : "/c"),
              "val is the test where there is no other");
        captions_close(c, &k);
    }
    remove(file_of("captions.jsonl"));
    /* a cloud: two lumps become objects at their means */
    static const char lumps[] = "0 0 0 255 0 0\n0 0 0.2 255 0 0\n5 5 0 0 0 255\n";
    scene s;
    put("cloud.xyz", lumps, strlen(lumps));
    CHECK(scene_read(c, file_of("cloud"), &s) && s.count == 3 && s.object[0].colour[0] > 0.99f, "%s",
          fv_error_text(c));
    char pairs[8000], *to = pairs; /* twice as many points as objects */
    for (int i = 0; i < SCENE_OBJECTS; i++)
        to += sprintf(to, "%d 0 1 0 255 51\n%d.5 1 1 255 255 51\n", 10 * i, 10 * i);
    put("pairs.xyz", pairs, (size_t)(to - pairs));
    CHECK(scene_read(c, file_of("pairs"), &s) && s.count == SCENE_OBJECTS, "%s", fv_error_text(c));
    for (int i = 0; i < s.count; i++) {
        static const float want[9] = {0.25f, 0.5f, 1, 0.5f, 1, 0, 0.5f, 1, 0.2f};
        const scene_object *o = &s.object[i];
        for (int a = 0; a < 3; a++)
            CHECK(fabsf((a ? o->centre[a] : fmodf(o->centre[0], 10)) - want[a]) < 1e-3f &&
                      fabsf(o->size[a] - want[3 + a]) < 1e-3f && fabsf(o->colour[a] - want[6 + a]) < 1e-3f,
                  "object %d, axis %d: centre %g, size %g, colour %g", i, a, (double)o->centre[a],
                  (double)o->size[a], (double)o->colour[a]);
    }
    /* Karpathy's and COCO's layout */
    static const char flickr[] =
        "{\"images\":[{\"filename\":\"1.jpg\",\"split\":\"train\",\"sentences\":[{\"raw\":\"a\"},{\"raw\":"
        "\"b\"}]},{\"filename\":\"2.jpg\",\"split\":\"val\",\"sentences\":[{\"raw\":\"c\"}]},"
        "{\"filename\":\"3.jpg\",\"split\":\"test\",\"sentences\":[{\"raw\":\"d\"}]},{\"filename\":\"4.jpg\","
        "\"filepath\":\"val2014\",\"split\":\"restval\",\"sentences\":[{\"raw\":\"e\"}]}]}";
    static const char coco[] = "{\"images\":[{\"id\":9,\"file_name\":\"x.jpg\"},{\"id\":4,\"file_name\":\"y."
                               "jpg\"}],\"annotations\":[{\"image_id\":9,\"caption\":\"one\"},{\"image_id\":"
                               "4,\"caption\":\"two\"},{\"image_id\":9,\"caption\":\"three\"}]}";
    put("dataset_flickr30k.json", flickr, strlen(flickr));
    CHECK(captions_open(c, dir, &k), "%s", fv_error_text(c));
    CHECK(k.split[0].pictures == 2 && k.split[0].captions == 3 && k.split[1].pictures == 1 &&
              strstr(k.split[1].picture[0].file, "images/3.jpg") &&
              strstr(k.split[0].picture[1].file, "/val2014/4.jpg"),
          "Karpathy's splits");
    captions_close(c, &k), remove(file_of("dataset_flickr30k.json"));
    mkdir(file_of("annotations"), 0777);
    put("annotations/captions_train2014.json", coco, strlen(coco)),
        put("annotations/captions_val2014.json", coco, strlen(coco));
    CHECK(captions_open(c, dir, &k), "%s", fv_error_text(c));
    CHECK(k.split[0].pictures == 2 && k.split[0].captions == 3 && k.split[0].picture[1].captions == 2 &&
              !strcmp(k.split[0].caption[1].text, "one") &&
              strstr(k.split[1].picture[0].file, "val2014/y.jpg"),
          "COCO's files");
    captions_close(c, &k), fv_destroy(c);
}

/* ---- questions ---- */
static void answers(void) {
    static const char *const pair[][2] = {{"Yes", "yes"},
                                          {" the Red  ball ", "red ball"},
                                          {"A", ""},
                                          {"two", "2"},
                                          {"none", "0"},
                                          {"1,000", "1000"},
                                          {"red, white", "red white"},
                                          {"t-shirt", "t shirt"},
                                          {"black/white", "black white"},
                                          {"black / white", "black white"},
                                          {"12:30 p.m.", "12:30 pm"},
                                          {"3.5", "3.5"},
                                          {"yes.", "yes"},
                                          {"an\tapple\n", "apple"},
                                          {"", ""},
                                          {"What?", "what"}};
    char plain[ANSWER_BYTES], more[600];
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        answer_plain(pair[i][0], plain);
        CHECK(!strcmp(plain, pair[i][1]), "\"%s\" becomes \"%s\", not \"%s\"", pair[i][0], plain, pair[i][1]);
    }
    for (int length = 1; length < 600; length++) { /* two-byte letters: none is cut by half */
        for (int i = 0; i + 1 < length; i += 2) memcpy(more + i, "\xc3\xa9", 2);
        more[length / 2 * 2] = 0;
        answer_plain(more, plain);
        CHECK(strlen(plain) < ANSWER_BYTES && strlen(plain) % 2 == 0, "%d bytes", (int)strlen(plain));
    }
}
static void pictures_asked(void) {
#define EASY(x) "[[\"what?\",\"red\",0]," x "]"
    static const char *const easy[] = {
        "",
        "[",
        "{",
        "[]",
        "{}",
        "3",
        "null",
        "[3]",
        "[[]]",
        EASY("[]"),
        EASY("[\"a\"]"),
        EASY("[\"a\",\"b\"]"),
        EASY("[\"a\",\"b\",1,2]"),
        EASY("[3,\"b\",1]"),
        EASY("[\"a\",3,1]"),
        EASY("[\"a\",\"b\",\"1\"]"),
        EASY("[\"a\",\"b\",-1]"),
        EASY("[\"a\",\"b\",1.5]"),
        EASY("[\"a\",\"b\",1e15]"),
        EASY("[\"a\",\"b\",NaN]"),
        EASY("[\"\",\"b\",1]"),
        EASY("[\"a\",\"\",1]"),
        EASY("[\"a\",\"b\",1],"),
        "[[\"what?\",\"red\",0]",
        EASY("[\"a\",\"\xff\",1]"),
        EASY("[\"a\",\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",1]"),
        NULL};
    texts_refused(as_easy, "bad.json", easy);
    static const char good[] =
        "[[\"what?\",\"red\",7],\r\n[\"is it?\",\"no\",2],[\"what color?\",\"red\",7]]\r\n";
    fv_ctx *c = fv_create(NULL);
    question_set s;
    char path[4500];
    memset(&s, 0, sizeof s);
    CHECK(questions_easy(c, put("q.json", good, strlen(good)), &s, 1), "%s", fv_error_text(c));
    CHECK(s.split[1].count == 3 && s.split[1].pictures == 2 && s.split[1].item[0].picture == 1 &&
              s.split[1].item[1].picture == 0 && s.answers.count == 2 && s.types.count == 3,
          "easy-vqa is read");
    questions_close(c, &s), battered(as_easy, "cut.json", good, strlen(good), 100);

/* what VQAv2's and SQA3D's readers of answers refuse alike */
#define NO_ANNOTATIONS                                                                                       \
    "", "{", "[]", "{}", "{\"annotations\":3}", "{\"annotations\":[]}", "{\"annotations\":[3,4]}",           \
        "{\"annotations\":[{},{}]}"
#define TEN(x)                                                                                               \
    "[{\"answer\":\"" x                                                                                      \
    "\"},{\"answer\":\"red\"},{\"answer\":\"Red.\"},{\"answer\":\"blue\"},{\"answer\":\"a\"},{\"answer\":"   \
    "\"b\"},{\"answer\":\"c\"},{\"answer\":\"d\"},{\"answer\":\"e\"},{\"answer\":\"f\"}]"
#define NOTE(id, image, most, ten)                                                                           \
    "{\"question_type\":\"what is\",\"multiple_choice_answer\":" most ",\"answers\":" ten                    \
    ",\"image_id\":" image ",\"answer_type\":\"other\",\"question_id\":" id "}"
#define NOTES(x) "{\"annotations\":[" x "," NOTE("1", "5", "\"red\"", TEN("red")) "]}"
#define ASKED(x) "{\"questions\":[{\"image_id\":5,\"question\":\"what is it?\",\"question_id\":1}," x "]}"
    static const char asks[] = ASKED("{\"image_id\":58,\"question\":\"and this?\",\"question_id\":2}"),
                      notes[] = NOTES(NOTE("2", "58", "\"Two\"", TEN("two")));
    put("vqa2-questions", asks, strlen(asks)), put("vqa2-notes", notes, strlen(notes));
    static const char *const bad_asks[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"questions\":3}",
        "{\"questions\":[]}",
        "{\"questions\":[3,4]}",
        "{\"questions\":[{},{}]}",
        ASKED("{}"),
        ASKED("3"),
        ASKED("{\"image_id\":58,\"question\":\"and this?\"}"),
        ASKED("{\"image_id\":58,\"question_id\":2}"),
        ASKED("{\"question\":\"and this?\",\"question_id\":2}"),
        ASKED("{\"image_id\":58,\"question\":3,\"question_id\":2}"),
        ASKED("{\"image_id\":58,\"question\":\"\",\"question_id\":2}"),
        ASKED("{\"image_id\":\"58\",\"question\":\"x\",\"question_id\":2}"),
        ASKED("{\"image_id\":58,\"question\":\"x\",\"question_id\":\"2\"}"),
        ASKED("{\"image_id\":-58,\"question\":\"x\",\"question_id\":2}"),
        ASKED("{\"image_id\":58.5,\"question\":\"x\",\"question_id\":2}"),
        ASKED("{\"image_id\":1e13,\"question\":\"x\",\"question_id\":2}"),
        ASKED("{\"image_id\":NaN,\"question\":\"x\",\"question_id\":2}"),
        ASKED("{\"image_id\":58,\"question\":\"x\",\"question_id\":9}"),
        ASKED("{\"image_id\":59,\"question\":\"x\",\"question_id\":2}"),
        ASKED("{\"image_id\":58,\"question\":\"x\",\"question_id\":2},"),
        "{\"questions\":[{\"image_id\":5,\"question\":\"what is it?\",\"question_id\":1}]}",
        "\xef\xbb\xbf{}",
        NULL};
    static const char *const bad_notes[] = {
        NO_ANNOTATIONS,
        NOTES("{}"),
        NOTES(NOTE("1", "58", "\"2\"", TEN("two"))),
        NOTES(NOTE("3", "58", "\"2\"", TEN("two"))),
        NOTES(NOTE("\"2\"", "58", "\"2\"", TEN("two"))),
        NOTES(NOTE("2.5", "58", "\"2\"", TEN("two"))),
        NOTES(NOTE("2", "57", "\"2\"", TEN("two"))),
        NOTES(NOTE("2", "\"58\"", "\"2\"", TEN("two"))),
        NOTES(NOTE("2", "58", "2", TEN("two"))),
        NOTES(NOTE("2", "58", "null", TEN("two"))),
        NOTES(NOTE("2", "58", "\"2\"", "[]")),
        NOTES(NOTE("2", "58", "\"2\"", "3")),
        NOTES(NOTE("2", "58", "\"2\"", "[{\"answer\":\"two\"}]")),
        NOTES(NOTE("2", "58", "\"2\"", "[1,2,3,4,5,6,7,8,9,10]")),
        NOTES(NOTE("2", "58", "\"2\"", "[{},{},{},{},{},{},{},{},{},{}]")),
        NOTES("{\"multiple_choice_answer\":\"a\",\"answers\":" TEN(
            "a") ",\"image_id\":58,\"answer_type\":\"other\",\"question_id\":2}"),
        NOTES("{\"question_type\":\"what\",\"multiple_choice_answer\":\"a\",\"answers\":" TEN(
            "a") ",\"image_id\":58,\"question_id\":2}"),
        NOTES("{\"question_type\":\"\",\"multiple_choice_answer\":\"a\",\"answers\":" TEN(
            "a") ",\"image_id\":58,\"answer_type\":\"other\",\"question_id\":2}"),
        NOTES("{\"question_type\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"multiple_choice_answer\":\"a\","
              "\"answers\":" TEN("a") ",\"image_id\":58,\"answer_type\":\"other\",\"question_id\":2}"),
        NOTES(NOTE("2", "58", "\"2\"", TEN("two"))) "x",
        NULL};
    texts_refused(as_vqa2_questions, "bad.json", bad_asks),
        texts_refused(as_vqa2_notes, "bad.json", bad_notes);
    memset(&s, 0, sizeof s);
    CHECK(questions_vqa2(c, good_path("vqa2-questions"),
                         (snprintf(path, sizeof path, "%s/vqa2-notes", dir), path), &s, 0),
          "%s", fv_error_text(c));
    const picture_question *a = s.split[0].item; /* the notes stand in another order than the questions */
    CHECK(s.people && s.split[0].count == 2 && s.split[0].pictures == 2 && s.split[0].picture[1] == 58 &&
              !strcmp(s.answers.text[a[0].answer], "red") && !strcmp(s.answers.text[a[1].answer], "2"),
          "VQAv2 is read");
    CHECK(a[0].givens == 10 && a[0].given[0] == a[0].given[2] && a[0].given[2] != a[0].given[3] &&
              !strcmp(s.types.text[a[0].type], "other") && !strcmp(s.types.text[a[0].kind], "what is"),
          "ten answers and both types");
    snprintf(s.split[0].folder, sizeof s.split[0].folder, "d%%d");
    snprintf(s.split[0].prefix, sizeof s.split[0].prefix, "COCO_val2014_");
    s.split[0].digits = 12, s.split[0].ending = ".jpg";
    questions_picture(&s.split[0], 1, path, sizeof path);
    CHECK(!strcmp(path, "d%d/COCO_val2014_000000000058.jpg"), "%s", path);
    questions_close(c, &s), fv_destroy(c);
    battered(as_vqa2_questions, "cut.json", asks, strlen(asks), 120),
        battered(as_vqa2_notes, "cut.json", notes, strlen(notes), 150);
}

static void rooms_asked(void) {
#define ROOM(x)                                                                                              \
    "{\"questions\":[{\"scene_id\":\"s0\",\"situation\":\"I sit.\",\"question\":\"What is "                  \
    "left?\",\"question_id\":3}," x "]}"
#define POSE(position, rotation) "\"position\":" position ",\"rotation\":" rotation
#define LEVEL POSE("{\"x\":1,\"y\":2,\"z\":0}", "{\"_x\":0,\"_y\":0,\"_z\":0.6,\"_w\":0.8}")
#define SAID(x) "{\"annotations\":[{\"question_id\":3,\"answers\":[{\"answer\":\"a bed\"}]," LEVEL "}," x "]}"
    static const char asks[] =
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":4}"),
                      notes[] = SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," LEVEL "}");
    put("sqa3d-questions", asks, strlen(asks)), put("sqa3d-notes", notes, strlen(notes));
    static const char *const bad_asks[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"questions\":3}",
        "{\"questions\":[]}",
        "{\"questions\":[3,4]}",
        "{\"questions\":[{},{}]}",
        ROOM("{}"),
        ROOM("3"),
        "{\"questions\":[{\"scene_id\":\"s0\"}]}",
        ROOM("{\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"s1\",\"question\":\"Is it?\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"Is it?\"}"),
        ROOM("{\"scene_id\":1,\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"../s1\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":3,\"question\":\"Is it?\",\"question_id\":4}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":5}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":-4}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":\"4\"}"),
        ROOM("{\"scene_id\":\"s1\",\"situation\":\"\",\"question\":\"Is it?\",\"question_id\":4}]"),
        NULL};
    static const char *const bad_notes[] = {
        NO_ANNOTATIONS,
        SAID("{}"),
        SAID("{\"answers\":[{\"answer\":\"no\"}]," LEVEL "}"),
        SAID("{\"question_id\":5,\"answers\":[{\"answer\":\"no\"}]," LEVEL "}"),
        SAID("{\"question_id\":4.5,\"answers\":[{\"answer\":\"no\"}]," LEVEL "}"),
        SAID("{\"question_id\":4,\"answers\":[]," LEVEL "}"),
        SAID("{\"question_id\":4,\"answers\":[{}]," LEVEL "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":3}]," LEVEL "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"\"}]," LEVEL "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," POSE(
            "{\"x\":1,\"y\":2}", "{\"_x\":0,\"_y\":0,\"_z\":0,\"_w\":1}") "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," POSE(
            "{\"x\":1,\"y\":\"2\",\"z\":0}", "{\"_x\":0,\"_y\":0,\"_z\":0,\"_w\":1}") "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," POSE(
            "{\"x\":1,\"y\":2e9,\"z\":0}", "{\"_x\":0,\"_y\":0,\"_z\":0,\"_w\":1}") "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," POSE(
            "{\"x\":1,\"y\":2,\"z\":0}", "{\"_x\":0,\"_y\":0,\"_z\":0}") "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," POSE(
            "{\"x\":1,\"y\":2,\"z\":0}", "{\"_x\":0,\"_y\":0,\"_z\":0,\"_w\":7}") "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," POSE("{\"x\":1,\"y\":2,\"z\":0}",
                                                                          "[0,0,0,1]") "}"),
        SAID("{\"question_id\":4,\"answers\":[{\"answer\":\"no\"}]," LEVEL "}") "x",
        NULL};
    texts_refused(as_sqa3d_questions, "bad.json", bad_asks),
        texts_refused(as_sqa3d_notes, "bad.json", bad_notes);
    battered(as_sqa3d_questions, "cut.json", asks, strlen(asks), 100),
        battered(as_sqa3d_notes, "cut.json", notes, strlen(notes), 120);
    fv_ctx *c = fv_create(NULL);
    situated_list l;
    char path[4096];
    snprintf(path, sizeof path, "%s/sqa3d-notes", dir);
    CHECK(sqa3d_read(c, good_path("sqa3d-questions"), path, &l), "%s", fv_error_text(c));
    /* cos = 0.8*0.8 - 0.6*0.6, sin = 2*0.6*0.8: +y turned to the left by that */
    CHECK(l.count == 2 && !strcmp(l.item[0].answer, "a bed") &&
              fabsf(l.item[0].p.forward[0] + 0.96f) < 1e-6f && fabsf(l.item[0].p.forward[1] - 0.28f) < 1e-6f,
          "a pose is read");
    const situated *one = l.item;
    CHECK(one->p.at[0] > 0.9f && one->p.at[0] < 1.1f && one->p.at[1] > 1.9f && fabsf(one->p.at[2]) < 1e-6f &&
              !strcmp(one->scene, "s0") && !strcmp(one->situation, "I sit.") &&
              !strcmp(one->question, "What is left?") && !strcmp(one[1].scene, "s1") && !*one[1].situation &&
              !strcmp(one[1].answer, "no"),
          "where one stands, and the texts");
    sqa3d_free(c, &l), fv_destroy(c);
}

/* ---- clouds of rooms; Karpathy's and COCO's captions ---- */
static void more_words(void) {
    static const char *const bad_xyz[] = {"",
                                          "\n",
                                          "1",
                                          "1 2 3",
                                          "1 2 3 4 5",
                                          "1 2 3 4 5 6 7",
                                          "x y z r g b",
                                          "1 2 3 4 5 x",
                                          "nan 2 3 4 5 6",
                                          "1 inf 3 4 5 6",
                                          "1 2 3 4 5 nan",
                                          "1e9 2 3 4 5 6",
                                          "1,2,3,4,5,6",
                                          "1 2 3 4 5 6\n7",
                                          "1 2 3 4 5 6\n\n1 2 3 4 5 6",
                                          "1 2 3 4 5 6\n1 2 3 4 5",
                                          "\x89PNG",
                                          "1 2 3 4 5 6 #",
                                          "1 2 3 -- 5 6",
                                          "1 2 3 4 5 6\nx 2 3 4 5 6",
                                          "1 2 3 4 5 1e30",
                                          NULL};
    texts_refused(as_scene, "bad.xyz", bad_xyz),
        taken(as_scene, "crlf.xyz", "1 2 3 4 5 6\r\n1 2 4 4 5 6\r\n", 26);
#define PICTURE(x)                                                                                           \
    "{\"images\":[{\"filename\":\"1.jpg\",\"split\":\"train\",\"sentences\":[{\"raw\":\"a\"}]},{"            \
    "\"filename\":\"2.jpg\",\"split\":\"test\",\"sentences\":[{\"raw\":\"a\"}]}," x "]}"
    static const char *const karpathy[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"images\":3}",
        "{\"images\":[]}",
        "{\"images\":[3]}",
        "{\"images\":[{}]}",
        PICTURE("{}"),
        PICTURE("{\"split\":\"train\",\"sentences\":[{\"raw\":\"a\"}]}"),
        PICTURE("{\"filename\":3,\"split\":\"train\",\"sentences\":[{\"raw\":\"a\"}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"sentences\":[{\"raw\":\"a\"}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"odd\",\"sentences\":[{\"raw\":\"a\"}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":3,\"sentences\":[{\"raw\":\"a\"}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\"}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\",\"sentences\":[]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\",\"sentences\":[{}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\",\"sentences\":[{\"raw\":3}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\",\"sentences\":[{\"raw\":\"\"}]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\",\"sentences\":[\"a\"]}"),
        PICTURE("{\"filename\":\"3.jpg\",\"split\":\"train\",\"sentences\":\"a\"}"),
        "{\"images\":[{\"filename\":\"1.jpg\",\"split\":\"train\",\"sentences\":[{\"raw\":\"a\"}]}]}",
        "{\"images\":[{\"filename\":\"1.jpg\",\"split\":\"test\",\"sentences\":[{\"raw\":\"a\"}]}]}",
        NULL};
    remove(file_of("captions.jsonl"));
    texts_refused(as_captions, "dataset_flickr30k.json", karpathy);
    remove(file_of("dataset_flickr30k.json"));
    texts_refused(as_captions, "dataset_coco.json", karpathy), remove(file_of("dataset_coco.json"));
#define COCO(images, notes)                                                                                  \
    "{\"images\":[{\"id\":1,\"file_name\":\"a.jpg\"}" images                                                 \
    "],\"annotations\":[{\"image_id\":1,\"caption\":\"a\"}" notes "]}"
    static const char *const coco[] = {"",
                                       "{",
                                       "[]",
                                       "{}",
                                       "{\"images\":[]}",
                                       "{\"annotations\":[]}",
                                       "{\"images\":[],\"annotations\":[]}",
                                       "{\"images\":3,\"annotations\":[]}",
                                       "{\"images\":[],\"annotations\":3}",
                                       COCO(",3", ""),
                                       COCO("", ",3"),
                                       COCO(",{}", ""),
                                       COCO("", ",{}"),
                                       COCO(",{\"id\":2}", ""),
                                       COCO(",{\"file_name\":\"b\"}", ""),
                                       COCO(",{\"id\":\"2\",\"file_name\":\"b\"}", ""),
                                       COCO(",{\"id\":-2,\"file_name\":\"b\"}", ""),
                                       COCO(",{\"id\":2,\"file_name\":3}", ""),
                                       COCO(",{\"id\":2,\"file_name\":\"\"}", ""),
                                       COCO("", ",{\"image_id\":1}"),
                                       COCO("", ",{\"caption\":\"b\"}"),
                                       COCO("", ",{\"image_id\":1,\"caption\":3}"),
                                       COCO("", ",{\"image_id\":1,\"caption\":\"\"}"),
                                       COCO("", ",{\"image_id\":NaN,\"caption\":\"b\"}"),
                                       "{\"images\":[{\"id\":1,\"file_name\":\"a.jpg\"}],\"annotations\":[{"
                                       "\"image_id\":2,\"caption\":\"a\"}]}",
                                       NULL};
    static const char good[] = COCO("", "");
    char folder[4096], kept[4096];
    mkdir(file_of("annotations"), 0777);
    snprintf(folder, sizeof folder, "%s", file_of("annotations"));
    put("annotations/captions_val2014.json", good, strlen(good));
    for (int i = 0; i < 2; i++) { /* as the training file, as the other */
        snprintf(kept, sizeof kept, "annotations/captions_%s2014.json", i ? "val" : "train");
        put("annotations/captions_train2014.json", good, strlen(good));
        int n = 0;
        for (; coco[n]; n++) {
            fv_ctx *c = fv_create(NULL);
            put(kept, coco[n], strlen(coco[n]));
            CHECK(!as_captions(c, folder) && fv_error(c) == FV_EFORMAT, "%s: taken, or %s", coco[n],
                  fv_error_text(c));
            fv_destroy(c);
        }
        CHECK(n >= 20, "%d malformed files", n);
        put(kept, good, strlen(good));
    }
}

/* ---- each rule of the clouds' forms broken once ---- */
static void each_refused(reader r, const char *name, const char *const *text) {
    for (int n = 0; text[n]; n++) refused(r, name, text[n], strlen(text[n]));
}
#define TRI3 "0 0 0\n1 0 0\n0 1 0\n"
#define FACE(n) "element face " n "\nproperty list uchar int vertex_indices\n"
#define TRIANGLE HEAD "element vertex 3\n" XYZ3 FACE("1") "end_header\n" TRI3
static void strict_clouds(void) {
    static const char *const off[] = {"OFF 3 1 0\n" TRI3 "3 0 1 2\n3 0 1 2\n",
                                      "OFF 3 1 0\n" TRI3 "3 0 1 2\nword\n",
                                      "OFF 3 1 0\n" TRI3 "3 0 1 2 word\n",
                                      "OFF 3 1 0\n" TRI3 "3 0 1 2 9 9 9 9 9\n",
                                      "OFF 3 0 0\n" TRI3 "3 0 1 2\n",
                                      "OFF 2 0 0\n" TRI3,
                                      "OFF 3 1 0\n0 0 0 9\n1 0 0 9\n0 1 0 9\n3 0 1 2\n",
                                      "OFF 3 1 0\n0 0 0 1 0 0\n0 1 0\n3 0 1 2\n",
                                      "OFF 3 1 0\n0 0\n0 1 0 0\n0 1 0\n3 0 1 2\n",
                                      "OFF 3 1 0\n" TRI3 "3 0 1\n2\n",
                                      "OFF 3 1 0\n0 0 0\n0x1 0 0\n0 1 0\n3 0 1 2\n",
                                      "OFF 3 1 0\n" TRI3 "1 0\n",
                                      "OFF 3 1 0\n" TRI3 "0\n",
                                      "OFF 3 1 0\n" TRI3 "2 0 1\n",
                                      "OFF 3 1 0\n" TRI3 "3 0 1 1\n",
                                      "OFF 3 1 0\n" TRI3 "3 0 1 +2\n",
                                      "OFF 3 1 0\n" TRI3 "3.0 0 1 2\n",
                                      "OFF 3e0 1 0\n" TRI3 "3 0 1 2\n",
                                      "OFF 3 1\n" TRI3 "3 0 1 2\n",
                                      "OFF 3 1 -1\n" TRI3 "3 0 1 2\n",
                                      "OFF 3 1 0 0\n" TRI3 "3 0 1 2\n",
                                      "OFF 3 1 0\r0 0 0\r1 0 0\r0 1 0\r3 0 1 2\r",
                                      "OFF BINARY\n",
                                      "COFF\n3 1 0\n" TRI3 "3 0 1 2\n",
                                      "# OFF 3 1 0\n" TRI3 "3 0 1 2\n",
                                      NULL};
    static const char *const ply[] = {
        TRIANGLE "3.7 0 1 2\n",
        TRIANGLE "3 0 1.5 2\n",
        TRIANGLE "3 0 1 2 9\n",
        TRIANGLE "3 0 1\n2\n",
        TRIANGLE "3 0 1 2\nword\n",
        TRIANGLE "3 0 0x1 2\n",
        TRIANGLE "256 0 1 2\n",
        TRIANGLE "2 0 1\n",
        TRIANGLE "3 0 1 1\n",
        HEAD "element vertex 3x\n" XYZ3 "end_header\n" TRI3,
        HEAD "element vertex 3.7\n" XYZ3 "end_header\n" TRI3,
        HEAD "element vertex 3 4\n" XYZ3 "end_header\n" TRI3,
        HEAD "element vertex 2\n" XYZ3 "end_header\n" TRI3,
        HEAD "element vertex 4\n" XYZ3 "end_header\n" TRI3,
        HEAD "element vertex 3\n" XYZ3 "element vertex 3\n" XYZ3 "end_header\n" TRI3 TRI3,
        HEAD "rubbish\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        HEAD "comments\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        HEAD "\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        HEAD "format ascii 1.0\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        "ply\nformat asciixyz 7\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        "ply\nformat ascii\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        "ply\nformat ascii 2.0\nelement vertex 3\n" XYZ3 "end_header\n" TRI3,
        HEAD "element vertex 3\n" XYZ3 "property float x\nend_header\n0 0 0 0\n1 0 0 0\n0 1 0 0\n",
        HEAD "element vertex 3\nproperty list uchar float x\nproperty float y\nproperty float z\nend_header\n"
             "0 0 0\n0 0 0\n0 1 0\n",
        HEAD "element vertex 3\nproperty float x y\n" XYZ3 "end_header\n" TRI3,
        HEAD
        "element vertex 1\nproperty uchar x\nproperty float y\nproperty float z\nend_header\n999.5 0 0\n",
        HEAD "element vertex 1\nproperty uchar x\nproperty float y\nproperty float z\nend_header\n9.5 0 0\n",
        HEAD "element vertex 1\nproperty uchar x\nproperty float y\nproperty float z\nend_header\n256 0 0\n",
        HEAD "element vertex 1\nproperty char x\nproperty float y\nproperty float z\nend_header\n-129 0 0\n",
        HEAD
        "element vertex 1\nproperty short x\nproperty float y\nproperty float z\nend_header\n32768 0 0\n",
        HEAD "element vertex 1\nproperty uint x\nproperty float y\nproperty float z\nend_header\n-1 0 0\n",
        HEAD "element vertex 3\n" XYZ3 "element face 1\nproperty list uchar int corners\nend_header\n" TRI3
             "3 0 1 2\n",
        HEAD FACE("1") "element vertex 3\n" XYZ3 "end_header\n3 0 1 3\n" TRI3,
        HEAD FACE("1") "element vertex 3\n" XYZ3 "end_header\n3 0 1 1\n" TRI3,
        NULL};
    static const char *const xyz[] = {"1 2 3 abc\n", "0x10 2 3\n", "1 2 3\r4 5 6\r", "1 2 3\r\r\n",
                                      "1;2;3\n",     "1,,2,3\n",   ",1,2,3\n",       "1 2 3 nan\n",
                                      "1 2 3 0x1\n", "1 2\n3\n",   "1 2 3 1.2.3\n",  "1 2 3 4e\n",
                                      "1e15 2 3\n",  NULL};
    each_refused(as_mesh, "bad.off", off), each_refused(as_mesh, "bad.ply", ply);
    each_refused(as_mesh, "bad.xyz", xyz), refused(as_mesh, "bad.xyz", "1 2 3\0rubbish\n4 5 6\n", 20);
    refused(as_mesh, "bad.ply", HEAD "element vertex 1\n" XYZ3 "comment a\0b\nend_header\n1 2 3\n",
            strlen(HEAD "element vertex 1\n" XYZ3) + 11 + 1 + 11 + 6);
    refused(as_mesh, "bad.off", "OFF 1 0 0\n1 2\0 3\n", 17);
    static const struct {
        const char *name, *text;
        int points, faces;
    } good[] = {
        {"a.off", "# a comment\n\n# two\nOFF # here\n3 1 0 # and here\n" TRI3 "3 0 1 2 # and here\n# end", 3,
         1},
        {"a.off", "OFF\r\n3 1 3\r\n0 0 0\r\n1 0 0\r\n0 1 0\r\n3 0 1 2 0.5 0.5 0.5 1\r\n\r\n", 3, 1},
        {"a.OFF", "OFF3 2 0\n" TRI3 "3 0 1 1\n3 0 1 2", 3, 2},
        {"a.off", "OFF 3 0 0\n" TRI3, 3, 0},
        {"a.ply", TRIANGLE "3 0 1 2\n", 3, 1},
        {"a.ply", TRIANGLE "3.0 0 1 2 \n\n \r\n", 3, 1},
        {"a.ply", HEAD FACE("1") "element vertex 3\n" XYZ3 "end_header\n3 0 1 2\n" TRI3, 3, 1},
        {"a.PLY", HEAD "comment\nobj_info x y\nelement vertex 3 \n" XYZ3 FACE("0") "end_header\n" TRI3, 3, 0},
        {"a.ply",
         HEAD "element vertex 1\nproperty uchar x\nproperty char y\nproperty float z\n"
              "end_header\n255 -128 .5e1",
         1, 0},
        {"a.XYZ", "1 2 3 # one\r\n1 , 2,3,\t4\n  7 8 9 .5 1e-3\r\n#1 2\n \t\n+1 -2 3.", 4, 0}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        fv_ctx *c = fv_create(NULL);
        mesh m;
        CHECK(mesh_read(c, put(good[i].name, good[i].text, strlen(good[i].text)), &m) &&
                  m.points == good[i].points && m.faces == good[i].faces,
              "%s: %lld, %lld: %s\n%s", good[i].name, (long long)m.points, (long long)m.faces,
              fv_error_text(c), good[i].text);
        mesh_free(c, &m), fv_destroy(c);
    }
}
/* a number of 82 letters is one number, in each form; where the 63rd letter falls makes no other one */
static void long_numbers(void) {
    static const char *const name[] = {"long.off", "long.ply", "long.xyz"};
    static const char *const form[] = {"OFF 1 0 0\n%s -5 %s\n",
                                       HEAD "element vertex 1\n" XYZ3 "end_header\n%s -5 %s", "%s,-5 %s\n"};
    char one[83], tiny[83], huge[600], text[1500];
    for (int i = 0; i < 82; i++)
        one[i] = i == 1 ? '.' : i ? '1' : '0', tiny[i] = i == 1 ? '.' : i == 63 ? '7' : '0';
    memset(huge, '1', sizeof huge), huge[1] = '.', huge[599] = one[82] = tiny[82] = 0;
    for (int i = 0; i < 3; i++) {
        fv_ctx *c = fv_create(NULL);
        mesh m;
        int n = snprintf(text, sizeof text, form[i], one, tiny);
        CHECK(mesh_read(c, put(name[i], text, (size_t)n), &m) && m.points == 1, "%s: %s", name[i],
              fv_error_text(c));
        CHECK(!m.xyz || (fabsf(m.xyz[0] - 1 / 9.0f) < 1e-7f && m.xyz[1] < -4.9f && fabsf(m.xyz[2]) < 1e-30f),
              "%s: %g %g %g", name[i], (double)m.xyz[0], (double)m.xyz[1], (double)m.xyz[2]);
        mesh_free(c, &m), fv_destroy(c);
        n = snprintf(text, sizeof text, form[i], huge, "2");
        refused(as_mesh, name[i], text, (size_t)n);
    }
}
/* PLY of big-endian numbers: three corners and a triangle, one thing of it wrong */
static void big_endian(void) {
    static const uint8_t corner[36] = {
        [12] = 0x3f, [13] = 0x80, [28] = 0x3f, [29] = 0x80}; /* 1 is 3f800000 */
    static const uint8_t face[13] = {3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2};
    static const struct {
        const char *list;
        int at, value, longer, good; /* the byte that is another; bytes more or less at the end */
    } of[] = {{"uchar int", -1, 0, 0, 1},   {"char uint", -1, 0, 0, 1},
              {"uchar int", 0, 0x7f, 0, 0}, /* 3e38 */
              {"uchar int", 0, 0xff, 0, 0}, {"uchar int", 36, 2, -4, 0},
              {"uchar int", 36, 4, 0, 0},   {"char int", 36, 0xfd, 0, 0},
              {"uchar int", 36, 255, 0, 0}, {"uchar int", 37, 0x80, 0, 0},
              {"uchar int", 48, 3, 0, 0},   {"uchar int", 45, 1, 0, 0},
              {"uchar int", 48, 1, 0, 0},   {"uchar float", 45, 0x3f, 0, 0},
              {"uchar int", -1, 0, -1, 0},  {"uchar int", -1, 0, -13, 0},
              {"uchar int", -1, 0, -14, 0}, {"uchar int", -1, 0, 5, 0},
              {"uchar int", -1, 0, 49, 0},  {"ushort int", -1, 0, 0, 0},
              {"float int", -1, 0, 0, 0}};
    char text[600];
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        int n = sprintf(text,
                        "ply\nformat binary_big_endian 1.0\nelement vertex 3\n" XYZ3
                        "element face 1\nproperty list %s vertex_index\nend_header\n",
                        of[i].list);
        memcpy(text + n, corner, 36), memcpy(text + n + 36, face, 13), memcpy(text + n + 49, "trailing", 8);
        memset(text + n + 57, 'x', 60);
        if (of[i].at >= 0) text[n + of[i].at] = (char)of[i].value;
        if (of[i].good) taken(as_mesh, "big.ply", text, (size_t)(n + 49)), strcpy(text + n + 49, "\r\n");
        if (of[i].good) taken(as_mesh, "big.ply", text, (size_t)(n + 51));
        else refused(as_mesh, "big.ply", text, (size_t)(n + 49 + of[i].longer));
    }
}

/* ---- .npy headers and members of .npz, each rule broken once ---- */
static const char *const odd_header[] = {
    "",
    "{",
    "}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), ",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,,3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (,2, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (+2, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3], }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1, }",
    "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'shape': (2, 3), }",
    "{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr' '<f4', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '<f4', 'fortran_order': Falsehood, 'shape': (2, 3), }",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }",
    "{'descr': '<f4xyz', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '<f04', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': 'f4', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '<b4', 'fortran_order': False, 'shape': (2, 3), }",
    "xx'descr''<f4zz' 'fortran_order'Falsehood 'shape'(2,,3)",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), 'fortran_order': False, }",
    NULL};
static void odd_arrays(void) {
    static const float p[6] = {1, 2, 3, 4, 5, 6};
    static const char *const good[] = {
        "{'shape':(2,3),'descr':'<f4','fortran_order':False}",
        "{ 'fortran_order' : False , 'shape' : ( 2 , 3 , ) , 'descr' : '=f4' , } \n"};
    uint8_t data[1600];
    size_t list, n;
    for (int i = 0; odd_header[i]; i++) {
        n = npy_of(data, 1, odd_header[i], p, 24), refused(as_mesh, "bad.npy", data, n);
        memset(&zip, 0, sizeof zip), zip_add("points.npy", 0, data, n, n);
        refused(as_mesh, "bad.npz", zip.body, zip_end(&list));
    }
    for (int i = 0; i < 2; i++) taken(as_mesh, "a.npy", data, npy_of(data, 2, good[i], p, 24));
    for (int more = -1; more < 2; more += 2) /* a byte too few, too many */
        refused(as_mesh, "bad.npy", data, npy_of(data, 1, good[0], p, 24) + (size_t)more);
    n = npy_of(data, 1, good[0], p, 24), data[14] = 0, refused(as_mesh, "bad.npy", data, n);
    /* the longest header, which ends where a type is to come */
    char text[1024];
    static const char begin[] = "{'fortran_order': False,'shape':(2,3),", last[] = "'descr': '";
    memset(text, ' ', 1023), text[1023] = 0, memcpy(text, begin, strlen(begin));
    memcpy(text + 1023 - strlen(last), last, strlen(last));
    refused(as_mesh, "bad.npy", data, npy_of(data, 1, text, p, 24));
    /* members: encrypted, twice, damaged */
    n = npy_of(data, 1, good[0], p, 24);
    for (int turn = 0; turn < 4; turn++) {
        memset(&zip, 0, sizeof zip), zip_add("points.npy", 0, data, n, n);
        if (turn == 1) zip_add("points.npy", 0, data, n, n);
        if (turn == 2) zip.list[8] = 9;
        if (turn == 3) zip.body[zip.n - 1] ^= 1;
        size_t all = zip_end(&list);
        if (turn) refused(as_mesh, "bad.npz", zip.body, all);
        else taken(as_mesh, "a.npz", zip.body, all), battered(as_mesh, "cut.npz", zip.body, all, 60);
    }
}

/* ---- MedMNIST's pictures, for the task image ---- */
static int as_pictures(fv_ctx *c, const char *path) {
    pictures p;
    int ok = pictures_open(c, path, "train", 4, 1, 1, &p);
    pictures_close(c, &p);
    return ok;
}
static void medmnist_pictures(void) {
    static const struct {
        const char *images, *type, *shape, *labels, *kind, *column;
        int label, status;
    } of[] = {{"train_images", "|u1", "3, 2, 4", "train_labels", "|u1", "3, 1", 2, FV_OK},
              {"train_images", "|u1", "3, 4, 2", "train_labels", "|u1", "3,", 2, FV_OK},
              {"train_images", "|u1", "2, 2, 2, 3", "train_labels", "|u1", "2, 1", 2, FV_OK},
              {"train_images", "|i1", "3, 2, 4", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "<u2", "3, 2, 2", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "<f4", "3, 2, 1", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "|u1", "24,", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "|u1", "3, 8", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "|u1", "3, 2, 2, 2, 1", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "|u1", "3, 2, 2, 2", "train_labels", "|u1", "3, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 2, 4, 1", "train_labels", "|u1", "3, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 2, 4", "train_labels", "|u1", "2, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 2, 4", "train_labels", "|u1", "4, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 2, 4", "train_labels", "|u1", "3, 2", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 2, 4", "train_labels", "|u1", "0, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "0, 2, 4", "train_labels", "|u1", "0, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 0, 4", "train_labels", "|u1", "3, 1", 2, FV_EUSAGE},
              {"train_images", "|u1", "3, 2, 5", "train_labels", "|u1", "3, 1", 2, -1},
              {"train_images", "|u1", "3, 2, 3", "train_labels", "|u1", "3, 1", 2, -2},
              {"train_images", "|u1", "3, 2, 4", "train_labels", "|i1", "3, 1", 255, FV_EFORMAT},
              {"train_images", "|u1", "3, 2, 4", "train_labels", "|V1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "|u1", "3, 2, 4", "train_label", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_image", "|u1", "3, 2, 4", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"test_images", "|u1", "3, 2, 4", "train_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_images", "|u1", "3, 2, 4", "test_labels", "|u1", "3, 1", 2, FV_EFORMAT},
              {"train_labels", "|u1", "3, 2, 4", "train_images", "|u1", "3, 1", 2, FV_EFORMAT}};
    uint8_t data[512], bytes[24], label[8];
    size_t list, all = 0;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        fv_ctx *c = fv_create(NULL);
        pictures p;
        memset(&zip, 0, sizeof zip), memset(label, 0, sizeof label), label[1] = (uint8_t)of[i].label;
        int known = of[i].status >= 0, count = 1;
        for (const char *at = of[i].shape; *at; at += strspn(at, ", "))
            count *= atoi(at), at += strspn(at, "0123456789");
        for (int k = 0; k < 24; k++) bytes[k] = (uint8_t)(9 * k + 1);
        int each = of[i].type[2] - '0';
        if (!known) count = 24, each = 1; /* not as many as the shape tells */
        size_t n = npy_of(data, 1, head_of(of[i].type, of[i].shape), bytes, (size_t)(count * each));
        char name[2][40];
        snprintf(name[0], 40, "%s.npy", of[i].images), snprintf(name[1], 40, "%s.npy", of[i].labels);
        memset(&zip, 0, sizeof zip), zip_add(name[0], 0, data, n, n);
        count = atoi(of[i].column) * (strstr(of[i].column, ", 2") ? 2 : 1);
        n = npy_of(data, 1, head_of(of[i].kind, of[i].column), label, (size_t)count);
        zip_add(name[1], 0, data, n, n), all = zip_end(&list);
        int ok = pictures_open(c, put("pictures.npz", zip.body, all), "train", 4, 1, 1, &p);
        CHECK((int)fv_error(c) == (known ? of[i].status : FV_EFORMAT), "row %d: %s", (int)i,
              fv_error_text(c));
        CHECK(fv_memory(c).peak <= 4 * all + (1u << 20), "row %d costs %lld", (int)i,
              (long long)fv_memory(c).peak);
        CHECK(!ok || (p.count == (i == 2 ? 2 : 3) && p.height == (i == 1 ? 4 : 2) &&
                      p.channels == (i == 2 ? 3 : 1) && p.classes == 3 && p.label[0] == 0 &&
                      p.label[1] == 2 && !memcmp(p.data, bytes, 24)),
              "row %d is read", (int)i);
        pictures_close(c, &p), fv_destroy(c);
        if (i < 3) battered(as_pictures, "cut.npz", zip.body, all, 60);
    }
    /* a folder of one archive; of two it has to be said which */
    char folder[4096], path[4096];
    fv_ctx *c = fv_create(NULL);
    snprintf(folder, sizeof folder, "%s", file_of("two")), mkdir(folder, 0777),
        put("two/a.npz", zip.body, all);
    CHECK(medmnist_find(c, folder, path, sizeof path) && strstr(path, "/two/a.npz"), "%s", fv_error_text(c));
    put("two/b.npz", zip.body, all);
    CHECK(!as_pictures(c, folder) && fv_error(c) == FV_EUSAGE && strstr(fv_error_text(c), "--data FILE"),
          "%s", fv_error_text(c));
    fv_destroy(c);
}

/* ---- y4m's words; frames with words of their own ---- */
static void strict_clips(void) {
#define FRAMES4 "\nFRAME\n1234FRAME\n5678"
    static const char *const bad[] = {"YUV4MPEG2 W4294967298 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W2abc H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W+2 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W2 W2 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W9 W2 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W2 H2 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W 2 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W02x H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W2.0 H2 Cmono" FRAMES4,
                                      "YUV4MPEG2 W2 H2 Cmono Cmono" FRAMES4,
                                      "YUV4MPEG2 W2 H2 Cmono9" FRAMES4,
                                      "YUV4MPEG2 W2 H2 Cmono\r" FRAMES4,
                                      "YUV4MPEG2 W2 H2 Cmono rubbish" FRAMES4,
                                      "YUV4MPEG2 W16385 H2 Cmono" FRAMES4,
                                      Y4M "C420p9\nFRAME\n123456",
                                      Y4M "C420rubbish\nFRAME\n123456",
                                      Y4M "C420P10\nFRAME\n123456",
                                      Y4M "Cmono\nFRAMEX\n1234FRAMEX\n5678",
                                      Y4M "Cmono\nFRAME\n1234 FRAME\n567",
                                      Y4M "Cmono\nFRAME\r\n1234",
                                      "YUV4MPEG2 W500 H1 Cmono\nFRAME\n",
                                      NULL};
    each_refused(as_clip, "bad.y4m", bad);
    refused(as_clip, "bad.y4m", Y4M "Cmono\0x" FRAMES4, strlen(Y4M "Cmono_x" FRAMES4));
    char wide[1000] = "YUV4MPEG2 W500 H1 Cmono\nFRAME\n"; /* whole, and too wide for what comes */
    refused(as_clip, "bad.y4m", wide, strlen(wide) + 500);
    static const char words[] =
        Y4M "F25:1 Ip A0:0 XYSCSS=MONO  Cmono\nFRAME\n1234FRAME Ixyz XA=1\n5678FRAME \nFRAM";
    fv_ctx *c = fv_create(NULL);
    clip v;
    uint8_t rgb[12];
    CHECK(clip_open(c, put("words.y4m", words, strlen(words)), &v) && v.frames == 3, "%s", fv_error_text(c));
    for (int i = 0; i < 3 && v.frames == 3; i++) {
        clip_frame(c, &v, i, rgb);
        int Y = "15F"[i];
        CHECK(abs(rgb[0] - (int)((Y - 16) * 255 / 219.0 + 0.5)) <= 1, "frame %d begins with %d", i, rgb[0]);
    }
    clip_close(c, &v), fv_destroy(c);
    battered(as_clip, "cut.y4m", words, strlen(words), 60);
}

/* ---- folders of frames: two of 6x4 pixels, the second or the first of which is none ---- */
static void odd_frames(void) {
#ifdef HAVE_STB
    static const struct {
        int at, value, cut; /* this byte is another, or so many of 100 are left */
    } bad[] = {{0, 0, 0},      {0, 0, 1},     {0, 0, 8},     {0, 0, 12},     {0, 0, 33},
               {0, 0, 45},     {0, 0, 60},    {0, 0x88, -1}, {1, 'p', -1},   {7, 'x', -1},
               {11, 12, -1},   {12, 'i', -1}, {16, 1, -1},   {18, 0x7f, -1}, {19, 0, -1},
               {22, 0xff, -1}, {23, 0, -1},   {24, 3, -1},   {25, 7, -1},    {26, 1, -1},
               {27, 1, -1},    {28, 9, -1},   {33, 1, -1},   {37, 'X', -1},  {41, 0xff, -1}};
    static const char *const text[] = {
        "GIF89a\6\0\4\0", "\xff\xd8", "\xff\xd8\xff\xe0\0\x10JFIF", "frame", "\n", "BM", "RIFF", "8BPS"};
    enum { BAD = sizeof bad / sizeof *bad, TEXT = sizeof text / sizeof *text };
    char folder[4096];
    fv_ctx *c = fv_create(NULL);
    fv_file good, other;
    snprintf(folder, sizeof folder, "%s", file_of("odd")), mkdir(folder, 0777);
    for (int k = 0; k < 2; k++) {
        canvas one = k ? canvas_new(c, 4, 6) : canvas_new(c, 6, 4);
        draw_box(&one, 1, 1, 2, 2, 0x102030, 1);
        CHECK(canvas_save(c, &one, file_of(k ? "other.png" : "good.png")), "%s", fv_error_text(c));
        canvas_free(c, &one);
    }
    CHECK(fv_file_open(c, file_of("good.png"), &good) && fv_file_open(c, file_of("other.png"), &other) &&
              good.size > 60,
          "%s", fv_error_text(c));
    for (int k = 0; k < 2; k++) put(k ? "odd/2.png" : "odd/1.png", good.data, good.size);
    CHECK(as_clip(c, folder), "%s", fv_error_text(c));
    for (int which = 0; which < 2; which++) { /* the frame that is wrong */
        const char *name = which ? "odd/2.png" : "odd/1.png";
        for (int i = 0; i < BAD + TEXT + 1; i++) {
            uint8_t copy[2000];
            size_t n = good.size;
            fv_clear_error(c), memcpy(copy, good.data, n);
            if (i < BAD && bad[i].cut >= 0) n = (size_t)bad[i].cut;
            else if (i < BAD) copy[bad[i].at] = (uint8_t)bad[i].value;
            else if (i < BAD + TEXT) n = strlen(text[i - BAD]), memcpy(copy, text[i - BAD], n);
            else n = other.size, memcpy(copy, other.data, n);
            put(name, copy, n);
            CHECK(!as_clip(c, folder) && fv_error(c) == FV_EFORMAT && strstr(fv_error_text(c), "/odd/"),
                  "frame %d, row %d: taken, or %s", which, i, fv_error_text(c));
        }
        put(name, good.data, good.size);
    }
    fv_clear_error(c);
    CHECK(as_clip(c, folder), "%s", fv_error_text(c));
    fv_file_close(c, &good), fv_file_close(c, &other), fv_destroy(c);
#endif
}

/* ---- a stand-in for ffmpeg: what it gives, how it ends ---- */
static void by_ffmpeg(void) {
    static const char *const gives[] = {"",
                                        "\n",
                                        "rubbish",
                                        "YUV4MPEG2 \n",
                                        Y4M "\n",
                                        Y4M "\nFRAME\n",
                                        Y4M "\nFRAME\n12345",
                                        Y4M "\nFRAME\n123456FRAM",
                                        Y4M "C420p10\nFRAME\n123456",
                                        "RIFF\1\1\1\1AVI ",
                                        "\x1a\x45\xdf\xa3",
                                        "ffmpeg: no such codec\n",
                                        "YUV4MPEG2 W2147483647 H2147483647 F1:1\nFRAME\n123456",
                                        "YUV4MPEG2 W-2 H2 F1:1\nFRAME\n123456",
                                        "YUV4MPEG2 Wnan H2 F1:1\nFRAME\n123456",
                                        "YUV4MPEG2 W2 F1:1\nFRAME\n123456",
                                        Y4M "\r\nFRAME\r\n123456",
                                        Y4M "\nframe\n123456"};
    enum { GIVES = sizeof gives / sizeof *gives };
    static const char good[] = Y4M "\nFRAME\n123456FRAME\n123456";
    char bin[4096], was[4096], gave[4096], script[9000];
    const char *path = getenv("PATH");
    struct stat st;
    snprintf(was, sizeof was, "%s", path ? path : ""), snprintf(bin, sizeof bin, "%s", file_of("bin"));
    snprintf(gave, sizeof gave, "%s", file_of("gave")), mkdir(bin, 0777);
    put("clip.mp4", "film", 4), setenv("PATH", bin, 1);
    for (int i = -1; i < GIVES + 4; i++) {
        static const char *const end[] = {"exit 0", "exit 1", "exit 126", "kill -9 $$", "exit 0"};
        fv_ctx *c = fv_create(NULL);
        const char *out = i < GIVES && i >= 0 ? gives[i] : good;
        put("gave", out, strlen(out));
        int n =
            snprintf(script, sizeof script, "#!/bin/sh\nfor out; do :; done\n/bin/cat '%s' >\"$out\"\n%s\n",
                     gave, i < GIVES ? "exit 0" : end[i - GIVES + 1]);
        if (i >= 0) chmod(put("bin/ffmpeg", script, (size_t)n), 0755);
        int ok = as_clip(c, file_of("clip.mp4"));
        CHECK(i < 0            ? fv_error(c) == FV_EUNAVAILABLE
              : i == GIVES + 3 ? ok
                               : !ok && fv_error(c) == FV_EFORMAT,
              "row %d: %s", i, fv_error_text(c));
        CHECK(ok || strstr(fv_error_text(c), "clip.mp4"), "row %d names the file: %s", i, fv_error_text(c));
        fv_destroy(c);
    }
    setenv("PATH", was, 1);
    CHECK(stat(bin, &st) == 0, "the stand-in is there");
}

/* ---- what a refusal may cost: four times the file and 1 MiB (SPEC 4), of files of megabytes ---- */
enum { LARGE = 3 << 20 };
static char *large;
static size_t large_n;
static void add(const char *form, long long a, long long b) {
    large_n += (size_t)snprintf(large + large_n, LARGE - large_n, form, a, b);
}
/* `text` again and again, up to n bytes */
static void fill(const char *text, size_t n, size_t length) {
    for (; large_n + length <= n; large_n += length) memcpy(large + large_n, text, length);
}
static void costs(reader r, const char *name) {
    fv_ctx *c = fv_create(NULL);
    uint64_t before = fv_memory(c).now;
    const char *path = put(name, large, large_n);
    CHECK(!r(c, path) && fv_error(c) == FV_EFORMAT, "%s: taken, or %s\n%.60s", name, fv_error_text(c), large);
    CHECK(fv_memory(c).peak - before <= 4 * large_n + (1u << 20), "%s, of %lld bytes, costs %lld\n%.60s",
          name, (long long)large_n, (long long)(fv_memory(c).peak - before), large);
    fv_destroy(c), large_n = 0;
}
#ifdef HAVE_ZLIB
/* an archive of one or two deflated members: an array of n zeros each, `type` and shape as told */
static void zeros_deflated(const char *const *name, const char *const *shape, int members, size_t n,
                           int damaged) {
    static uint8_t raw[LARGE + 256], packed[16384];
    memset(&zip, 0, sizeof zip);
    for (int i = 0; i < members; i++) {
        z_stream z;
        size_t all = npy_of(raw, 1, head_of("|u1", shape[i]), "", 0);
        memset(raw + all, 0, n), all += n, memset(&z, 0, sizeof z);
        z.next_in = raw, z.avail_in = (uInt)all, z.next_out = packed, z.avail_out = sizeof packed;
        CHECK(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, 0) == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END,
              "zlib");
        zip.sum = sum_of(raw, all) ^ (uint32_t)damaged, zip_add(name[i], 8, packed, z.total_out, all);
        deflateEnd(&z);
    }
    size_t list;
    large_n = zip_end(&list), memcpy(large, zip.body, large_n);
}
#endif
static void dear_files(void) {
#define BINARY "ply\nformat binary_little_endian 1.0\n"
#define UCHAR3 "property uchar x\nproperty uchar y\nproperty uchar z\n"
    const size_t n = 2 << 20;
    large = (char *)malloc(LARGE);
    fill("\n", n, 1), costs(as_mesh, "dear.xyz");
    fill("\n", n, 1), add("x\n", 0, 0), costs(as_mesh, "dear.xyz");
    fill("1 2 3\n", n, 6), add("x", 0, 0), costs(as_mesh, "dear.xyz");
    fill("#\n", n, 2), fill("1 2 3\n", n + n / 4, 6), add("1 2", 0, 0), costs(as_mesh, "dear.xyz");
    add("OFF %lld %lld 0\n", (long long)n / 6, (long long)n / 6), fill("0 0 0\n", n, 6),
        costs(as_mesh, "dear.off");
    add("OFF 3 %lld 0\n" TRI3, (long long)n / 6, 0), fill("3 0 1 2\n", n, 8), costs(as_mesh, "dear.off");
    add("OFF 3 1 0\n" TRI3 "1000000", 0, 0), fill(" 0 1 2", n, 6), costs(as_mesh, "dear.off");
    add("OFF 3 1 0\n" TRI3 "1000000", 0, 0), fill(" 0 1", 2000035, 4), add("\nx", 0, 0),
        costs(as_mesh, "dear.off");
    add("OFF %lld 0 0\n", (long long)n / 6 - 4, 0), fill("0 0 0\n", n, 6), costs(as_mesh, "dear.off");
    add(BINARY "element vertex 1\n" XYZ3 FACE("%lld") "end_header\n", (long long)n, 0);
    fill("\0", n + n / 2, 1), costs(as_mesh, "dear.ply");
    add(BINARY "element vertex %lld\n" UCHAR3 "end_header\n", (long long)n / 3, 0), fill("abc", n, 3),
        costs(as_mesh, "dear.ply");
    add(BINARY "element vertex 3\n" UCHAR3
               "element face %lld\nproperty list uchar uchar vertex_index\nend_header\n",
        (long long)n / 101, 0);
    large_n += 9, memcpy(large + large_n - 9, "\0\0\0\1\0\0\0\1\0", 9);
    char polygon[101] = {100};
    for (int i = 1; i < 101; i++) polygon[i] = (char)(i % 3);
    for (long long i = 0; i < (long long)n / 101; i++) fill(polygon, large_n + 101, 101);
    add("x", 0, 0), costs(as_mesh, "dear.ply");
    add("ply\nformat ascii 1.0\nelement vertex 3\n" XYZ3 FACE("%lld") "end_header\n" TRI3, (long long)n / 8,
        0);
    fill("3 0 1 2\n", n, 8), costs(as_mesh, "dear.ply");
    add("YUV4MPEG2 W1 H1 Cmono\n", 0, 0), fill("FRAME\n1", n, 7), add("F", 0, 0), costs(as_clip, "dear.y4m");
#ifdef HAVE_ZLIB
    static const char *const cloud[] = {"points.npy"}, *const med[] = {"train_images.npy",
                                                                       "train_labels.npy"};
    static const char *const shape[] = {"2097152,", "1048576, 2", "2097152, 2", "699050, 3"};
    for (int i = 0; i < 4; i++) /* of the wrong rank, width and length; damaged */
        zeros_deflated(cloud, shape + i, 1, i < 3 ? n : 2097150, i == 3), costs(as_mesh, "dear.npz");
    static const char *const picture[] = {"2048, 32, 32", "2048, 1"},
                             *const many[] = {"2, 2, 2, 2", "2097152, 1"},
                             *const volume[] = {"64, 32, 32, 32", "64, 1"};
    zeros_deflated(med, volume, 1, n, 0), costs(as_volumes, "dear.npz");
    zeros_deflated(med, volume, 1, n, 1), costs(as_volumes, "dear.npz");
    zeros_deflated(med, many, 2, n, 0), costs(as_volumes, "dear.npz");
    zeros_deflated(med, picture, 2, n, 0), costs(as_volumes, "dear.npz");
#endif
    free(large);
}

int main(void) {
    const char *t = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.2000s/fv-readers-XXXXXX", t ? t : "/tmp");
    if (!mkdtemp(dir)) return 1;
    RUN(meshes);
    RUN(surfaces);
    RUN(ply_types);
    RUN(vrml);
    RUN(parts);
    RUN(part_volumes);
    RUN(npz_names);
    RUN(scans);
    RUN(numbers);
    RUN(archives);
    RUN(arrays);
    RUN(clips);
    RUN(colours);
    RUN(frames);
    RUN(roads);
    RUN(whole_roads);
    RUN(words);
    RUN(answers);
    RUN(pictures_asked);
    RUN(rooms_asked);
    RUN(more_words);
    RUN(strict_clouds);
    RUN(long_numbers);
    RUN(big_endian);
    RUN(odd_arrays);
    RUN(medmnist_pictures);
    RUN(strict_clips);
    RUN(odd_frames);
    RUN(by_ffmpeg);
    RUN(dear_files);
    return REPORT();
}
