/* What the networks of points, video, volumes and image get of an item, through the tasks' own hooks and from
 * files written here: halves and votes of a cloud, segments and crops of a clip, voxels, the middle of a
 * picture; what is random in training; what predict says and what a picture shows.
 * link: tools/tasks/points.c tools/tasks/video.c tools/tasks/volumes.c tools/tasks/image.c
 * link: tools/tasks/classify.c tools/corrupt.c tools/settings.c tools/profile.c tools/cli.c tools/draw.c
 * link: tools/data/[a-z]*.c
 */
#include "../tools/run.c"
#include "data/clips.h"
#include "data/pictures.h"
#include "draw.h"
#include "test.h"
#ifdef HAVE_HDF5
#include <hdf5.h>
#endif

extern const task task_points, task_video, task_volumes, task_image;
const task *const tasks[] = {&task_points, &task_video, &task_volumes, &task_image, NULL};
const task *task_named(const char *name) { return strcmp(name, "points") ? NULL : &task_points; }

static char dir[3000];
static const char *file_of(const char *name) {
    static char path[4][4096];
    static int turn;
    snprintf(path[turn = (turn + 1) % 4], sizeof path[0], "%s/%s", dir, name);
    return path[turn];
}
static void begin(run *r, const task *t) {
    memset(r, 0, sizeof *r);
    r->c = fv_create(NULL), r->task = t, r->s.task_keys = t->keys;
}
static void end(run *r) {
    r->task->close(r);
    fv_free(r->c, r->class_names);
    fv_destroy(r->c);
}
static batch batch_of(run *r, int split, int from, int n, int epoch) {
    int32_t index[64];
    batch b;
    memset(&b, 0, sizeof b), b.with_loss = 1;
    for (int i = 0; i < n; i++) index[i] = from + i;
    fv_reset(r->c);
    CHECK(r->task->batch(r, split, index, n, epoch, &b) && b.count == n && b.inputs == 1 && b.targets == 1,
          "%s", fv_error_text(r->c));
    return b;
}
static int32_t label_of(const batch *b, int64_t row) { return ((const int32_t *)b->target[0]->data)[row]; }

/* ---- points: item i of class k is a box with sides 1 + i, 1, 1 + 2 k, eight points at each corner ---- */
enum { POINTS = 32, EACH = 3, CLASSES = 2 };
static int upright = 2; /* the axis of the side 1 + 2 k, about which boxes are turned */
static void corner_of(int i, int k, int corner, float *to) {
    to[0] = (corner & 1 ? 0.5f : -0.5f) * (float)(1 + i), to[3 - upright] = corner & 2 ? 0.5f : -0.5f,
    to[upright] = (corner & 4 ? 0.5f : -0.5f) * (float)(1 + 2 * k);
}
static void put_box(const char *path, int i, int k) {
    float p[3];
    FILE *f = fopen(path, "w");
    for (int n = 0; n < 2 * POINTS && f; n++)
        corner_of(i, k, n % 8, p), fprintf(f, "%g %g %g\n", (double)p[0], (double)p[1], (double)p[2] + 7);
    if (f) fclose(f);
}
/* Which box the POINTS of a row are, 10 k + i; the least angle by which it can have been turned; how often
 * each corner is there, eight times at most. -1: none of them. */
static int box_of(const float *p, float *turned, int *times) {
    int box = -1, flat = 3 - upright;
    *turned = 9;
    for (int way = 0; way < CLASSES * EACH * 4;
         way++) { /* class, item, the corner that the first point may be */
        int k = way / 4 / EACH, i = way / 4 % EACH, fits = 1, count[8] = {0};
        float half[3] = {(float)(1 + i), 1, 1}, length = 0;
        half[upright] = (float)(1 + 2 * k);
        for (int a = 0; a < 3; a++) length += half[a] * half[a];
        for (int a = 0; a < 3; a++) half[a] /= sqrtf(length);
        float angle =
            atan2f(p[flat], p[0]) - atan2f(way & 2 ? half[flat] : -half[flat], way & 1 ? half[0] : -half[0]);
        angle = remainderf(angle, 6.28318531f);
        for (int n = 0; n < POINTS && fits; n++) {
            float x = p[3 * n] * cosf(angle) + p[3 * n + flat] * sinf(angle),
                  y = p[3 * n + flat] * cosf(angle) - p[3 * n] * sinf(angle), z = p[3 * n + upright];
            fits = fabsf(fabsf(x) - half[0]) < 1e-4f && fabsf(fabsf(y) - half[flat]) < 1e-4f &&
                   fabsf(fabsf(z) - half[upright]) < 1e-4f &&
                   ++count[(x > 0) + 2 * (y > 0) + 4 * (z > 0)] <= 8;
        }
        if (fits && fabsf(angle) < fabsf(*turned))
            *turned = angle, box = 10 * k + i, memcpy(times, count, sizeof count);
    }
    return box;
}
static const float *row_of(const batch *b, int64_t row) {
    return (const float *)b->input[0]->data + row * 3 * POINTS;
}
/* how far a row is turned, which must be a box of the class `label` */
static float turned(const batch *b, int row, int label, int *times) {
    float by;
    int box = box_of(row_of(b, row), &by, times);
    CHECK(box >= 0 && box / 10 == label, "row %d is box %d, the label is %d", row, box, label);
    return by;
}
/* up: NULL, or what --set up says; the data are turned about `upright` then */
static void check_points(const char *data, const char *first, const char *up) {
    run r;
    int times[8], other[8] = {0}, seen[20] = {0}, apart = 0, far = 0;
    float by;
    begin(&r, &task_points);
    put_number(&r.s, 'm', "num_points", POINTS);
    if (up) put_text(&r.s, up);
    CHECK(r.task->open(&r, data), "%s", fv_error_text(r.c));
    if (fv_error(r.c)) return;
    CHECK(r.count[0] == CLASSES * EACH && r.count[1] == CLASSES * EACH && r.classes == CLASSES &&
              !strcmp(r.class_names[0], first),
          "%d and %d items, class 0 is %s", r.count[0], r.count[1], r.class_names[0]);
    int n = r.count[1];
    for (int split = 0; split < 2; split++) { /* each box once, its class beside it, as it is */
        batch b = batch_of(&r, split, 0, n, -1);
        memset(seen, 0, sizeof seen);
        CHECK(b.input[0]->dim[0] == n && b.input[0]->dim[1] == POINTS, "one view");
        for (int i = 0; i < n; i++) {
            int box = box_of(row_of(&b, i), &by, times);
            CHECK(box >= 0 && box / 10 == label_of(&b, i) && !seen[box]++ && fabsf(by) < 1e-4f,
                  "item %d: box %d turned by %g", i, box, (double)by);
        }
    }
    /* votes: the first as without, the others other halves; turned with rotate */
    float once[3 * POINTS];
    memcpy(once, row_of(&(batch){.input = {batch_of(&r, 1, 2, 1, -1).input[0]}}, 0), sizeof once);
    put_number(&r.s, 't', "votes", 5);
    for (int rotate = 0; rotate < 2; rotate++) {
        put_number(&r.s, 't', "rotate", rotate);
        batch b = batch_of(&r, 1, 0, n, -1);
        CHECK(b.input[0]->dim[0] == 5 * n && fv_numel(b.target[0]) == 5 * n, "five views");
        CHECK(!memcmp(once, row_of(&b, 10), sizeof once), "the first vote is the only one's");
        for (int i = 0; i < 5 * n; i++) {
            by = turned(&b, i, label_of(&b, i), times);
            CHECK(label_of(&b, i) == label_of(&b, i / 5 * 5), "an item's views have one label");
            CHECK((rotate && i % 5) || fabsf(by) < 1e-4f, "vote %d is turned by %g", i % 5, (double)by);
            far += fabsf(by) > 0.01f;
            apart += i % 5 && memcmp(times, other, sizeof times);
            memcpy(other, times, sizeof times);
        }
    }
    CHECK(far > 2 * n && apart > 6 * n, "%d votes are turned, %d see another half", far, apart);
    /* training: one view, another half each epoch; stretched and moved an axis, unless that is turned off */
    batch usual = batch_of(&r, 0, 0, n, 2);
    for (int i = 0; i < n; i++) CHECK(box_of(row_of(&usual, i), &by, times) < 0, "it is stretched");
    put_number(&r.s, 't', "stretch", 0), put_number(&r.s, 't', "rotate", 0);
    for (int epoch = 0, same = 0; epoch < 6; epoch++) {
        batch b = batch_of(&r, 0, 0, n, epoch);
        CHECK(b.input[0]->dim[0] == n, "one view");
        for (int i = 0; i < n; i++)
            CHECK(fabsf(turned(&b, i, label_of(&b, i), times)) < 1e-4f, "neither turned nor stretched");
        same += epoch && !memcmp(times, other, sizeof times);
        memcpy(other, times, sizeof times);
        CHECK(epoch < 5 || same < 3, "the same half in %d epochs", same + 1);
    }
    put_number(&r.s, 't', "rotate", 1);
    batch b = batch_of(&r, 0, 0, n, 3);
    for (int i = far = 0; i < n; i++) far += fabsf(turned(&b, i, label_of(&b, i), times)) > 0.01f;
    CHECK(far > n / 2, "training turns %d of %d", far, n);
    put_number(&r.s, 't', "rotate", 0), put_number(&r.s, 't', "stretch", 1);
    b = batch_of(&r, 0, 0, n, 3);
    for (int i = 0; i < n; i++) {
        float low[3] = {9, 9, 9}, high[3] = {-9, -9, -9};
        for (int k = 0; k < 3 * POINTS; k++)
            low[k % 3] = fminf(low[k % 3], row_of(&b, i)[k]),
                    high[k % 3] = fmaxf(high[k % 3], row_of(&b, i)[k]);
        for (int a = 0; a < 3; a++)
            CHECK(fabsf(high[a] + low[a]) < 0.401f && fabsf(high[a] + low[a]) > 1e-6f &&
                      high[a] - low[a] < 3.01f,
                  "axis %d is %g to %g", a, (double)low[a], (double)high[a]);
        CHECK(box_of(row_of(&b, i), &by, times) < 0, "it is stretched");
    }
    CHECK(box_of(row_of(&(batch){.input = {batch_of(&r, 1, 0, 1, -1).input[0]}}, 0), &by, times) >= 0,
          "a test is not stretched");
    /* --shuffle: the input of the item half the split further on */
    put_number(&r.s, 't', "votes", 1);
    int box[16];
    b = batch_of(&r, 1, 0, n, -1);
    for (int i = 0; i < n; i++) box[i] = box_of(row_of(&b, i), &by, times);
    r.blind = 1, b = batch_of(&r, 1, 0, n, -1);
    for (int i = 0; i < n; i++)
        CHECK(box_of(row_of(&b, i), &by, times) == box[(i + n / 2) % n] && label_of(&b, i) == box[i] / 10,
              "item %d shuffled", i);
    end(&r);
}
/* fit=0: a cloud stays where it is; fps=1: a test sees those of its points that are farthest apart */
static void check_farthest(void) {
    enum { MANY = 2 * POINTS + 9 };
    static float cloud[MANY][3];
    fv_rng g = {9, 9, 0};
    run r;
    char text[200];
    for (int s = 0; s < 2; s++) {
        snprintf(text, sizeof text, "mkdir -p '%.120s/far/%s/it'", dir, s ? "test" : "train");
        CHECK(!system(text), "folders");
        FILE *f = fopen(file_of(s ? "far/test/it/1.xyz" : "far/train/it/1.xyz"), "w");
        for (int i = 0; i < MANY && f; i++) {
            for (int a = 0; a < 3; a++) cloud[i][a] = floorf(900 * fv_rng_uniform(&g)) / 16;
            fprintf(f, "%g %g %g\n", (double)cloud[i][0], (double)cloud[i][1], (double)cloud[i][2]);
        }
        if (f) fclose(f);
    }
    begin(&r, &task_points);
    put_number(&r.s, 'm', "num_points", POINTS), put_text(&r.s, "fit=0"), put_text(&r.s, "fps=1");
    put_text(&r.s, "stretch=0");
    CHECK(r.task->open(&r, file_of("far")), "%s", fv_error_text(r.c));
    if (fv_error(r.c)) return;
    const float *p = (const float *)batch_of(&r, 1, 0, 1, -1).input[0]->data;
    double least[MANY]; /* to the nearest of those before */
    for (int i = 0; i < MANY; i++) least[i] = 1e30;
    for (int n = 0, next = 0; n < POINTS; n++) {
        CHECK(!memcmp(p + 3 * n, cloud[next], sizeof cloud[0]), "point %d of the test is not point %d", n,
              next);
        int last = next;
        for (int i = next = 0; i < MANY; i++) {
            double square = 0;
            for (int a = 0; a < 3; a++) square += pow((double)cloud[i][a] - (double)cloud[last][a], 2);
            least[i] = fmin(least[i], square);
            next = least[i] > least[next] ? i : next;
        }
    }
    end(&r);
    begin(&r, &task_points);
    put_number(&r.s, 'm', "num_points", POINTS), put_text(&r.s, "up=x");
    CHECK(!r.task->open(&r, file_of("far")) && fv_error(r.c) == FV_EUSAGE, "up=x");
    end(&r);
}
static void put_boxes(void) {
    static const char *const name[CLASSES] = {"cube", "post"}, *const split[2] = {"train", "test"};
    char path[512];
    for (int k = 0; k < CLASSES; k++)
        for (int s = 0; s < 2; s++) {
            snprintf(path, sizeof path, "mkdir -p '%.200s/net/%s/%s' '%.200s/split/%s/%s'", dir, name[k],
                     split[s], dir, split[s], name[k]);
            CHECK(!system(path), "folders");
            for (int i = 0; i < EACH; i++)
                for (int way = 0; way < 2; way++) { /* ModelNet's CLASS/train, and train/CLASS */
                    snprintf(path, sizeof path, "%s/%s/%s/%d.xyz", way ? "split" : "net",
                             way ? split[s] : name[k], way ? name[k] : split[s], i);
                    put_box(file_of(path), i, k);
                }
        }
}
static void points(void) {
    put_boxes(), check_points(file_of("net"), "cube", NULL), check_points(file_of("split"), "cube", "up=z");
    upright = 1;
    put_boxes(), check_points(file_of("net"), "cube", "up=y");
    check_farthest();
#ifdef HAVE_HDF5
    static float x[CLASSES * EACH * 2 * POINTS * 3];
    int label[CLASSES * EACH];
    hsize_t dim[3] = {CLASSES * EACH, 2 * POINTS, 3};
    for (int n = 0; n < CLASSES * EACH * 2 * POINTS; n++) {
        int at = n / (2 * POINTS);
        label[at] = at % CLASSES, corner_of(at / CLASSES, at % CLASSES, n % 8, x + 3 * n);
    }
    CHECK(!mkdir(file_of("scan"), 0777), "a folder");
    for (int s = 0; s < 2; s++) {
        hid_t f = H5Fcreate(file_of(s ? "scan/test_a.h5" : "scan/training_a.h5"), H5F_ACC_TRUNC, H5P_DEFAULT,
                            H5P_DEFAULT),
              of[2] = {H5Screate_simple(3, dim, NULL), H5Screate_simple(1, dim, NULL)};
        for (int k = 0; k < 2; k++) {
            hid_t d = H5Dcreate2(f, k ? "label" : "data", k ? H5T_STD_I32BE : H5T_IEEE_F32BE, of[k],
                                 H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
            H5Dwrite(d, k ? H5T_NATIVE_INT : H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                     k ? (const void *)label : (const void *)x);
            H5Dclose(d), H5Sclose(of[k]);
        }
        H5Fclose(f);
    }
    check_points(file_of("scan"), "class 0", NULL); /* ScanObjectNN's are such */
#endif
}

/* ---- video ---- */
enum { FRAMES = 8, T = 4, S = 16, VIEW = 3 * T * S * S };
static uint8_t film[FRAMES][48 * 48 * 3]; /* what clip_frame says of the clip that is looked at */
static void put_clip(const char *name, int w, int h, uint64_t seed) {
    fv_rng g = {seed, 3, 0};
    FILE *f = fopen(file_of(name), "wb");
    if (f) fprintf(f, "YUV4MPEG2 W%d H%d C444\n", w, h);
    for (int i = 0; i < FRAMES && f; i++) {
        fprintf(f, "FRAME\n");
        for (int k = 0; k < 3 * w * h; k++) fputc((int)fv_rng_below(&g, 256), f);
    }
    if (f) fclose(f);
}
/* its frames, the shorter side made S */
static void load_film(fv_ctx *c, const char *name, int *w, int *h) {
    static uint8_t raw[48 * 48 * 3];
    clip v;
    CHECK(clip_open(c, file_of(name), &v) && v.frames == FRAMES, "%s", fv_error_text(c));
    int less = v.width < v.height ? v.width : v.height;
    *w = v.width * S / less, *h = v.height * S / less;
    for (int f = 0; f < FRAMES; f++) {
        clip_frame(c, &v, f, raw);
        if (less == S) memcpy(film[f], raw, (size_t)(*w * *h * 3));
        else fv_image_resize(c, raw, v.height, v.width, 3, film[f], *h, *w, FV_BILINEAR);
    }
    clip_close(c, &v);
}
/* the value of channel k at x, y of a crop of frame f; what is beyond the crop is its border */
static double value(int w, int f, int k, int x, int y, int dx, int dy) {
    static const double mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    x = x < 0 ? 0 : x >= S ? S - 1 : x, y = y < 0 ? 0 : y >= S ? S - 1 : y;
    return (film[f][3 * ((y + dy) * w + x + dx) + k] / 255.0 - mean[k]) / deviation[k];
}
static int same_frame(const float *p, int w, int t, int f, int dx, int dy, const int *order, double sign,
                      int mx, int my) {
    for (int i = 0; i < 3 * S * S; i++) {
        int k = i / (S * S), y = i / S % S, x = i % S;
        if (fabs((double)p[(k * T + t) * S * S + i % (S * S)] -
                 sign * value(w, f, order ? order[k] : k, x + mx, y + my, dx, dy)) > 1e-4)
            return 0;
    }
    return 1;
}
/* a view of the frames from + 2 t */
static void check_view(const float *p, int w, int from, int dx, int dy, const char *what) {
    for (int t = 0; t < T; t++)
        CHECK(same_frame(p, w, t, from + 2 * t, dx, dy, NULL, 1, 0, 0), "%s: frame %d", what, t);
}
static void open_video(run *r, const char *first, const char *second, const char *third) {
    char text[256];
    begin(r, &task_video);
    put_number(&r->s, 'm', "img_size", S), put_number(&r->s, 'm', "num_frames", T);
    int n = snprintf(text, sizeof text, "%s;up\n%s;down\n", first, second);
    fv_write_file(r->c, file_of("train.csv"), text, (size_t)n);
    n = snprintf(text, sizeof text, "%s;down\n%s;up\n", third, second);
    fv_write_file(r->c, file_of("val.csv"), text, (size_t)n);
    CHECK(r->task->open(r, dir), "%s", fv_error_text(r->c));
}
static void video(void) {
    static const char *const name[4] = {"wide.y4m", "tall.y4m", "square.y4m", "large.y4m"};
    static const int size[4][2] = {{32, 16}, {16, 32}, {16, 16}, {48, 32}};
    run r;
    int w, h;
    for (int i = 0; i < 4; i++) put_clip(name[i], size[i][0], size[i][1], 70 + (uint64_t)i);
    for (int i = 0; i < 4; i++) { /* two segments; three crops unless frames are square */
        open_video(&r, name[i], i == 2 ? "tall.y4m" : "square.y4m", name[i]);
        CHECK(r.classes == 2 && !strcmp(r.class_names[0], "up") && !strcmp(r.class_names[1], "down"),
              "classes");
        load_film(r.c, name[i], &w, &h);
        batch b = batch_of(&r, 1, 0, 1, -1);
        const float *p = (const float *)b.input[0]->data;
        int views = i == 2 ? 2 : 6;
        CHECK(b.input[0]->dim[0] == views && fv_numel(b.target[0]) == views, "%s: %d views", name[i],
              (int)b.input[0]->dim[0]);
        for (int k = 0; k < views && b.input[0]->dim[0] == views; k++) {
            check_view(p + k * VIEW, w, views == 2 ? k : k / 3, (w - S) * (k % 3) / 2, (h - S) * (k % 3) / 2,
                       name[i]);
            CHECK(label_of(&b, k) == 1, "%s: its class", name[i]);
        }
        b = batch_of(&r, 1, 0, 2, -1);
        CHECK(b.input[0]->dim[0] == 12, "%s: six views of each of two clips", name[i]);
        for (int k = 0; k < 12; k++)
            CHECK(label_of(&b, k) == (k < 6), "%s: view %d of two clips", name[i], k);
        r.blind = 1; /* the other clip, this one's class */
        b = batch_of(&r, 1, 1, 1, -1);
        check_view((const float *)b.input[0]->data, w, 0, 0, 0, "shuffled");
        CHECK(label_of(&b, 0) == 0, "shuffled: the class stays");
        end(&r);
    }
    /* a square clip beside a wide one: the same crop three times */
    open_video(&r, "square.y4m", "square.y4m", "wide.y4m"), load_film(r.c, "square.y4m", &w, &h);
    batch b = batch_of(&r, 1, 0, 2, -1);
    CHECK(b.input[0]->dim[0] == 12, "six views each");
    for (int k = 0; k < 6; k++)
        check_view((const float *)b.input[0]->data + (6 + k) * VIEW, w, k / 3, 0, 0, "square");
    load_film(r.c, "wide.y4m", &w, &h);
    put_number(&r.s, 't', "one_frame", 1);
    b = batch_of(&r, 1, 0, 1, -1);
    for (int t = 0; t < 6 * T; t++)
        CHECK(same_frame((const float *)b.input[0]->data + t / T * VIEW, w, t % T, FRAMES / 2, t / T % 3 * 8,
                         0, NULL, 1, 0, 0),
              "one frame, again and again");
    put_number(&r.s, 't', "one_frame", 0), put_number(&r.s, 't', "motion_only", 1);
    b = batch_of(&r, 1, 0, 1, -1);
    for (int i = 0; i < VIEW; i++) {
        int k = i / (T * S * S), t = i / (S * S) % T, y = i / S % S, x = i % S;
        double mean = 0;
        for (int m = 0; m < T; m++) mean += value(w, 2 * m, k, x, y, 8, 0) / T;
        CHECK(fabs(fv_get(b.input[0], VIEW + i) - value(w, 2 * t, k, x, y, 8, 0) + mean) < 1e-4,
              "what moves: %d", i);
    }
    end(&r);
    /* training: a frame of each part, a crop anywhere */
    int at[2][17] = {{0}}, parity[2] = {0};
    open_video(&r, "wide.y4m", "square.y4m", "wide.y4m"), load_film(r.c, "wide.y4m", &w, &h);
    for (int epoch = 0; epoch < 120; epoch++) {
        b = batch_of(&r, 0, 0, 1, epoch);
        const float *p = (const float *)b.input[0]->data;
        int found = 0;
        CHECK(b.input[0]->dim[0] == 1 && label_of(&b, 0) == 0, "one view");
        for (int dx = 0; dx <= 16; dx++)
            for (int f = 0; f < 2; f++)
                if (same_frame(p, w, 0, f, dx, 0, NULL, 1, 0, 0)) {
                    found = 1, at[0][dx]++, parity[f]++;
                    for (int t = 1; t < T; t++)
                        CHECK(same_frame(p, w, t, 2 * t, dx, 0, NULL, 1, 0, 0) ||
                                  same_frame(p, w, t, 2 * t + 1, dx, 0, NULL, 1, 0, 0),
                              "part %d", t);
                }
        CHECK(found, "epoch %d: no crop of the first part", epoch);
    }
    CHECK(at[0][0] && at[0][16] && parity[0] > 30 && parity[1] > 30, "every crop and frame: %d, %d",
          parity[0], parity[1]);
    /* moved by up to 3, channels changed round, light to dark; all frames alike */
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    int moved[2][7] = {{0}}, used[2][6] = {{0}};
    load_film(r.c, "square.y4m", &w, &h);
    put_number(&r.s, 't', "shift", 3), put_number(&r.s, 't', "colours", 1);
    for (int epoch = 0; epoch < 80; epoch++) {
        b = batch_of(&r, 0, 1, 1, epoch);
        const float *p = (const float *)b.input[0]->data;
        int found = 0;
        for (int way = 0; way < 7 * 7 * 6 * 2 * 2 && !found; way++) {
            int mx = way % 7 - 3, my = way / 7 % 7 - 3, order = way / 49 % 6, dark = way / 294 % 2,
                f = way / 588;
            if (!same_frame(p, w, 0, f, 0, 0, orders[order], dark ? -1 : 1, mx, my)) continue;
            found = 1, moved[0][mx + 3]++, moved[1][my + 3]++, used[dark][order]++;
            for (int t = 1; t < T; t++)
                CHECK(same_frame(p, w, t, 2 * t, 0, 0, orders[order], dark ? -1 : 1, mx, my) ||
                          same_frame(p, w, t, 2 * t + 1, 0, 0, orders[order], dark ? -1 : 1, mx, my),
                      "frame %d is changed otherwise", t);
        }
        CHECK(found, "epoch %d: not a moved clip", epoch);
    }
    for (int k = 0; k < 7; k++) CHECK(moved[0][k] && moved[1][k], "nothing is moved by %d", k - 3);
    for (int k = 0; k < 6; k++) CHECK(used[0][k] + used[1][k], "order %d of the channels", k);
    b = batch_of(&r, 1, 0, 1, -1), load_film(r.c, "wide.y4m", &w, &h);
    check_view((const float *)b.input[0]->data, w, 0, 0, 0, "a test is not moved");
    end(&r);
}

/* ---- volumes ---- */
enum { DEEP = 3, WIDE = 4, VOXELS = DEEP * WIDE * WIDE, ITEMS = 5 };
static uint8_t voxels[3][ITEMS * VOXELS];
static int is_moved(const float *p, const uint8_t *v, int mirror, int a, int b, int d) {
    for (int i = 0; i < VOXELS; i++) {
        int f = i / (WIDE * WIDE) + a, y = i / WIDE % WIDE + b, x = i % WIDE;
        x = (mirror ? WIDE - 1 - x : x) + d;
        int in = f >= 0 && f < DEEP && y >= 0 && y < WIDE && x >= 0 && x < WIDE;
        if (fabs((double)p[i] - (in ? v[(f * WIDE + y) * WIDE + x] / 127.5 - 1 : -1)) > 1e-5) return 0;
    }
    return 1;
}
static void open_volumes(run *r) {
    begin(r, &task_volumes);
    put_number(&r->s, 'm', "frames", DEEP), put_number(&r->s, 'm', "image_size", WIDE);
    CHECK(r->task->open(r, file_of("small.npz")), "%s", fv_error_text(r->c));
}
static void put_volumes(fv_ctx *c) {
    static const char *const split[3] = {"train", "val", "test"};
    uint8_t label[ITEMS];
    int64_t dim[4] = {ITEMS, DEEP, WIDE, WIDE}, column[2] = {ITEMS, 1};
    char name[64];
    npz_out z;
    fv_rng g = {11, 1, 0};
    memset(&z, 0, sizeof z);
    for (int s = 0; s < 3; s++) { /* the greatest label is one of val */
        for (int i = 0; i < ITEMS * VOXELS; i++) voxels[s][i] = (uint8_t)fv_rng_below(&g, 256);
        for (int i = 0; i < ITEMS; i++) label[i] = (uint8_t)((3 * i + s) % 5 + (s == 1));
        snprintf(name, sizeof name, "%s_images", split[s]), npz_put(c, &z, name, voxels[s], 4, dim);
        snprintf(name, sizeof name, "%s_labels", split[s]), npz_put(c, &z, name, label, 2, column);
    }
    CHECK(npz_save(c, &z, file_of("small.npz")), "%s", fv_error_text(c));
}
static void volumes(void) {
    run r;
    int mirrored[2] = {0}, by[3][3] = {{0}}, apart[2] = {0};
    fv_ctx *c = fv_create(NULL);
    put_volumes(c), fv_destroy(c);
    open_volumes(&r);
    CHECK(r.count[0] == ITEMS && r.count[1] == ITEMS && r.classes == 6 && !strcmp(r.class_names[5], "5"),
          "%d classes", r.classes);
    for (int turn = 0; turn < 3; turn++) { /* the test, training without changes, --shuffle */
        r.blind = turn == 2;
        batch b = batch_of(&r, turn != 1, 0, ITEMS, turn == 1 ? 0 : -1);
        for (int i = 0; i < ITEMS; i++)
            CHECK(is_moved((const float *)b.input[0]->data + i * VOXELS,
                           voxels[turn == 1 ? 0 : 2] + (turn == 2 ? (i + 2) % ITEMS : i) * VOXELS, 0, 0, 0,
                           0) &&
                      label_of(&b, i) == (3 * i + (turn == 1 ? 0 : 2)) % 5,
                  "volume %d", i);
    }
    r.blind = 0;
    put_number(&r.s, 't', "hflip", 1), put_number(&r.s, 't', "shift", 1);
    batch b = batch_of(&r, 1, 1, 1, -1);
    CHECK(is_moved((const float *)b.input[0]->data, voxels[2] + VOXELS, 0, 0, 0, 0), "a test is not moved");
    for (int epoch = 0; epoch < 60; epoch++) {
        int found = 0;
        b = batch_of(&r, 0, 2, 1, epoch);
        for (int way = 0; way < 54 && !found; way++) {
            int a = way % 3 - 1, d = way / 3 % 3 - 1, e = way / 9 % 3 - 1;
            if (!is_moved((const float *)b.input[0]->data, voxels[0] + 2 * VOXELS, way / 27, a, d, e))
                continue;
            found = 1, mirrored[way / 27]++, by[0][a + 1]++, by[1][d + 1]++, by[2][e + 1]++;
            apart[0] += a != d, apart[1] += d != e;
        }
        CHECK(found, "epoch %d: not a moved volume", epoch);
    }
    CHECK(apart[0] > 15 && apart[1] > 15, "each axis by its own: %d, %d", apart[0], apart[1]);
    CHECK(mirrored[0] > 15 && mirrored[1] > 15, "mirrored: %d of 60", mirrored[1]);
    for (int k = 0; k < 9; k++)
        CHECK(by[k / 3][k % 3] > 5, "axis %d, moved by %d: %d", k / 3, k % 3 - 1, by[k / 3][k % 3]);
    end(&r);
    for (int side = 0; side < 4; side++) { /* one side longer than the network wants; val is asked for */
        static const char *const names[] = {"train_images", "train_labels", "test_images", "test_labels"};
        static const uint8_t zeros[2 * VOXELS];
        int64_t dim[4] = {1, DEEP, WIDE, WIDE}, column[2] = {1, 1};
        npz_out z;
        memset(&z, 0, sizeof z), dim[side < 3 ? 1 + side : 0]++, column[0] += side == 3;
        begin(&r, &task_volumes), r.on_val = side == 3;
        for (int i = 0; i < 4; i++) npz_put(r.c, &z, names[i], zeros, i % 2 ? 2 : 4, i % 2 ? column : dim);
        npz_save(r.c, &z, file_of("long.npz"));
        put_number(&r.s, 'm', "frames", DEEP), put_number(&r.s, 'm', "image_size", WIDE);
        CHECK(!r.task->open(&r, file_of("long.npz")) && fv_error(r.c) == FV_EUSAGE &&
                  (side < 3) == !strstr(fv_error_text(r.c), "no split val"),
              "side %d is too long, or there is no val: %s", side, fv_error_text(r.c));
        end(&r);
    }
}

/* ---- image: normalize and crop_pct, of the pictures of folders ---- */
static void middle(void) {
    enum { SIDE = 8, W = 40, H = 20 };
    const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    uint8_t large[32 * 16 * 3], small[SIDE * SIDE * 3];
    float want[2][3 * SIDE * SIDE];
    run r;
    char text[400];
    fv_rng g = {3, 1, 4};
    fv_ctx *c = fv_create(NULL);
    canvas v = canvas_new(c, W, H);
    for (int s = 0; s < 2; s++) {
        snprintf(text, sizeof text, "mkdir -p '%.120s/seen/%s/it'", dir, s ? "test" : "train");
        CHECK(!system(text), "folders");
        for (int i = 0; i < W * H * 3; i++) v.rgb[i] = (uint8_t)fv_rng_below(&g, 256);
        CHECK(canvas_save(c, &v, file_of(s ? "seen/test/it/1.png" : "seen/train/it/1.png")), "%s",
              fv_error_text(c));
        CHECK(fv_image_resize(c, v.rgb, H, W, 3, large, 16, 32, FV_BICUBIC) && /* 16 is 8 / 0.5 */
                  fv_image_center_crop(c, large, 16, 32, 3, small, SIDE, SIDE),
              "%s", fv_error_text(c));
        fv_image_to_float(small, SIDE, SIDE, 3, mean, std, want[s]);
    }
    canvas_free(c, &v), fv_destroy(c);
    begin(&r, &task_image);
    put_text(&r.s, "img_size=8"), put_text(&r.s, "in_chans=3"), put_text(&r.s, "normalize=imagenet");
    put_text(&r.s, "crop_pct=0.5");
    CHECK(r.task->open(&r, file_of("seen")), "%s", fv_error_text(r.c));
    if (fv_error(r.c)) return;
    for (int s = 0; s < 2; s++) {
        const float *p = (const float *)batch_of(&r, s, 0, 1, -1).input[0]->data;
        for (int i = 0; i < 3 * SIDE * SIDE; i++)
            CHECK(fabsf(p[i] - want[s][i]) < 1e-6f, "value %d is %g, not %g", i, (double)p[i],
                  (double)want[s][i]);
    }
    end(&r);
    static const char *const wrong[] = {"normalize=x", "crop_pct=0", "crop_pct=1.5", "normalize=imagenet"};
    for (int k = 0; k < 4; k++) { /* imagenet's are three channels' */
        begin(&r, &task_image);
        put_text(&r.s, "img_size=8"), put_text(&r.s, k == 3 ? "in_chans=1" : "in_chans=3");
        put_text(&r.s, wrong[k]);
        CHECK(!r.task->open(&r, file_of("seen")) && fv_error(r.c) == FV_EUSAGE, "refused: %s", wrong[k]);
        fv_destroy(r.c);
    }
}

/* ---- what is said of a file is what is said of the same as a test item; what a picture shows ---- */
static double said(run *r, const char *file, char *name) {
    char text[4096] = "";
    FILE *f = fopen(file_of("said"), "w+");
    fflush(stdout);
    int kept = dup(1);
    dup2(fileno(f), 1);
    int ok = r->task->predict(r, file, 1);
    fflush(stdout), dup2(kept, 1), close(kept);
    CHECK(ok, "%s", fv_error_text(r->c));
    rewind(f);
    if (!fgets(text, sizeof text, f)) text[0] = 0;
    fclose(f);
    fv_json *j = fv_json_parse(r->c, text, strlen(text), "said");
    CHECK(j, "%s", text);
    fv_jnode top = fv_json_get(j, fv_json_root(j), "top5");
    double p = fv_json_number(j, fv_json_get(j, fv_json_root(j), "probability"), NAN), last = p, sum = 0;
    snprintf(name, 64, "%s", fv_json_string(j, fv_json_get(j, fv_json_root(j), "class"), ""));
    for (fv_jnode e = fv_json_first(j, top); e; e = fv_json_next(j, e)) {
        double one = fv_json_number(j, fv_json_get(j, e, "probability"), NAN);
        CHECK(one <= last && (sum > 0 || !strcmp(fv_json_string(j, fv_json_get(j, e, "class"), ""), name)),
              "the best first: %s", text);
        last = one, sum += one;
    }
    CHECK(fv_json_count(j, top) == (r->classes < 5 ? r->classes : 5) && sum < 1.001, "five at most: %s",
          text);
    fv_json_free(r->c, j);
    return p;
}
static void check_said(run *r, const char *config, const char *file, int32_t item) {
    float p[8];
    char name[64];
    int32_t label;
    int best = 0;
    r->model = fv_model_create(r->c, config, strlen(config), NULL);
    CHECK(r->model && run_probabilities(r, SPLIT_TEST, &item, 1, p, &label, NULL), "%s", fv_error_text(r->c));
    if (!r->model) return;
    for (int i = 0; i < r->model->params.count; i++)
        fv_init_normal(r->c, r->model->params.at[i], 0.3f, 5 + (uint64_t)i);
    run_probabilities(r, SPLIT_TEST, &item, 1, p, &label, NULL);
    for (int k = 1; k < r->model->num_classes; k++)
        if (p[k] > p[best]) best = k;
    double got = said(r, file, name);
    CHECK(!strcmp(name, r->class_names[best]) && fabs(got - (double)p[best]) < 2e-5, "%s %g instead of %s %g",
          name, got, r->class_names[best], (double)p[best]);
    figures f;
    memset(&f, 0, sizeof f);
    CHECK(r->task->baselines(r, &f) && fabs(f.at[0].value - 100.0 / r->classes) < 1e-9, "a guess");
}
static const char *sheet(run *r, int n) {
    int32_t index[4] = {0, 1, 2, 3};
    const char *png = file_of("sheet.png");
    remove(png);
    CHECK(r->task->draw(r, index, n, png), "%s", fv_error_text(r->c));
    return png;
}
static void predictions(void) {
    static const char clips[] = "{\"arch\":\"video_vit\",\"img_size\":16,\"patch_size\":8,\"num_frames\":4,"
                                "\"embed_dim\":8,\"depth\":1,\"num_heads\":2,\"num_classes\":2}",
                      cubes[] = "{\"arch\":\"vit3d\",\"image_size\":4,\"image_patch_size\":2,\"frames\":3,"
                                "\"frame_patch_size\":3,\"dim\":8,\"depth\":1,\"heads\":2,\"dim_head\":4,"
                                "\"mlp_dim\":8,\"num_classes\":6}",
                      head[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 4), }\n";
    char array[256];
    run r;
    int w, h;
    open_video(&r, "wide.y4m", "square.y4m", "wide.y4m");
    check_said(&r, clips, file_of("wide.y4m"), 0);
    uint8_t *rgb = picture_load(r.c, sheet(&r, 2), &w, &h);
    CHECK(rgb && w == 2 * (560 + 16) + 16 && h == 104 + 52 + 16, "%s: %dx%d", fv_error_text(r.c), w, h);
    int wide, high;
    load_film(r.c, "wide.y4m", &wide, &high);
    for (int k = 0; k < 6 && rgb; k++) /* six frames, spread over the clip */
        for (int i = 0; i < 32 * 16; i++) {
            int x = 16 + 6 + k * 92 + (int)((i % 32 + 0.5) * 88 / 32),
                y = 16 + 8 + (int)((i / 32 + 0.5) * 88 / 16), f = (int)((k + 0.5) * FRAMES / 6);
            CHECK(!memcmp(rgb + 3 * (y * w + x), film[f] + 3 * i, 3), "frame %d of the strip at %d, %d", k, x,
                  y);
        }
    fv_free(r.c, rgb), fv_model_destroy(r.c, r.model), end(&r);
    open_volumes(&r);
    memcpy(array, "\x93NUMPY\1\0\0\0", 10), array[8] = (char)strlen(head);
    memcpy(array + 10, head, strlen(head)), memcpy(array + 10 + strlen(head), voxels[2] + 3 * VOXELS, VOXELS);
    fv_write_file(r.c, file_of("one.npy"), array, 10 + strlen(head) + VOXELS);
    check_said(&r, cubes, file_of("one.npy"), 3);
    rgb = picture_load(r.c, sheet(&r, 3), &w, &h);
    CHECK(rgb && w == 3 * (308 + 16) + 16, "%s: %dx%d", fv_error_text(r.c), w, h);
    for (int view = 0; view < 3 && rgb; view++) /* green is the brightest voxel on the way */
        for (int i = 0; i < (view ? DEEP : WIDE) * WIDE; i++) {
            int row = i / WIDE, col = i % WIDE, rows = view ? DEEP : WIDE, most = 0;
            for (int k = 0; k < (view ? WIDE : DEEP); k++) {
                int f = view ? DEEP - 1 - row : k,
                    y = view == 0   ? row
                        : view == 1 ? k
                                    : col,
                    x = view == 2 ? k : col, one = voxels[2][VOXELS + (f * WIDE + y) * WIDE + x];
                most = one > most ? one : most;
            }
            int x = 16 + 324 + view * 104 + (int)((col + 0.5) * 100 / WIDE),
                y = 16 + (int)((row + 0.5) * 100 / rows);
            CHECK(rgb[3 * (y * w + x) + 1] == most, "view %d, %d, %d: %d instead of %d", view, row, col,
                  rgb[3 * (y * w + x) + 1], most);
        }
    fv_free(r.c, rgb), fv_model_destroy(r.c, r.model), end(&r);
}

int main(void) {
    const char *t = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.2000s/fv-views-XXXXXX", t ? t : "/tmp");
    if (!mkdtemp(dir)) return 1;
    RUN(points);
    RUN(middle);
    RUN(video);
    RUN(volumes);
    RUN(predictions);
    return REPORT();
}
