/* >>image against Pillow, torchvision, timm and torch: tests/golden/pictures.safetensors, made by
 * make_image.py beside it. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
#include "test.h"

static fv_ctx *c;
static fv_weights *golden;

static const fv_entry *find(const char *format, int i, int j) {
    char name[64];
    snprintf(name, sizeof name, format, i, j);
    return fv_weights_find(golden, name);
}
/* an entry's number, whatever its type: the file's data may be misaligned */
static double number(const fv_entry *e, int64_t i) {
    float f;
    int32_t n;
    if (e->dtype == FV_D_U8) return e->data[i];
    memcpy(&f, e->data + 4 * i, 4), memcpy(&n, e->data + 4 * i, 4);
    return e->dtype == FV_D_F32 ? (double)f : n;
}
static float *floats(const fv_entry *e) {
    float *f = (float *)fv_alloc(c, (size_t)e->bytes);
    memcpy(f, e->data, (size_t)e->bytes);
    return f;
}
/* the greatest difference, NaN included; 0 is equal byte for byte */
static double worst(const fv_entry *e, const void *mine) {
    double most = 0;
    for (int64_t i = 0; i < e->count; i++) {
        double v = e->dtype == FV_D_U8 ? ((const uint8_t *)mine)[i] : (double)((const float *)mine)[i],
               d = fabs(v - number(e, i));
        most = test_worse(most, d);
    }
    return most;
}
typedef struct shape {
    const uint8_t *data;
    int h, w, ch;
} shape;
static shape picture(int i) {
    const fv_entry *e = find("picture.%d", i, 0);
    shape s = {e->data, (int)e->dim[0], (int)e->dim[1], (int)e->dim[2]};
    return s;
}

/* ---- resizing ---- */
static void resize_equals_pillow(void) {
    int n = 0;
    for (const fv_entry *a; (a = find("resize.%d.args", n, 0)) != NULL; n++) {
        const fv_entry *want = find("resize.%d", n, 0);
        shape s = picture((int)number(a, 0));
        int h = (int)number(a, 1), w = (int)number(a, 2);
        uint8_t *got = (uint8_t *)fv_alloc(c, (size_t)want->bytes);
        CHECK(fv_image_resize(c, s.data, s.h, s.w, s.ch, got, h, w, (fv_filter)(int)number(a, 3)), "%s",
              fv_error_text(c));
        CHECK(worst(want, got) == 0, "case %d, %dx%d to %dx%d: off by %g", n, s.h, s.w, h, w,
              worst(want, got));
        fv_free(c, got);
    }
    CHECK(n == 19, "%d cases", n);
    const fv_entry *in = find("picture4", 0, 0), *want = find("resize4", 0, 0);
    uint8_t got[12 * 11 * 4];
    CHECK(fv_image_resize(c, in->data, 19, 23, 4, got, 12, 11, FV_FILTER_DEFAULT) && worst(want, got) == 0,
          "four channels");
}

static void resize_f32_equals_torch(void) {
    static const int to[3][2] = {{5, 6}, {20, 14}, {9, 31}};
    float *x = floats(find("planes", 0, 0)), got[2 * 20 * 31];
    for (int i = 0; i < 3; i++)
        for (int f = 0; f < 2; f++) {
            const fv_entry *want = find(f ? "bicubic.%dx%d" : "bilinear.%dx%d", to[i][0], to[i][1]);
            CHECK(fv_image_resize_f32(c, x, 2, 9, 14, got, to[i][0], to[i][1], f ? FV_BICUBIC : FV_BILINEAR),
                  "%s", fv_error_text(c));
            CHECK(worst(want, got) < 1e-5, "%dx%d: off by %g", to[i][0], to[i][1], worst(want, got));
        }
    fv_free(c, x);
}

static void positions_equal_timm(void) {
    static const int to[4][2] = {{7, 7}, {14, 14}, {5, 9}, {3, 3}};
    float *x = floats(find("pos", 0, 0)), got[(2 + 14 * 14) * 6];
    for (int i = 0; i < 4; i++) {
        const fv_entry *want = find("pos.%dx%d", to[i][0], to[i][1]);
        CHECK(fv_resample_pos_embed(c, x, 2, 7, 7, 6, got, to[i][0], to[i][1]), "%s", fv_error_text(c));
        CHECK(worst(want, got) < 1e-5, "%dx%d: off by %g", to[i][0], to[i][1], worst(want, got));
    }
    fv_free(c, x);
}

/* ---- evaluation ---- */
static void center_crop_equals_torchvision(void) {
    int n = 0;
    for (const fv_entry *a; (a = find("center.%d.args", n, 0)) != NULL; n++) {
        shape s = picture((int)number(a, 0));
        uint8_t got[95 * 90 * 3];
        CHECK(fv_image_center_crop(c, s.data, s.h, s.w, s.ch, got, (int)number(a, 1), (int)number(a, 2)),
              "%s", fv_error_text(c));
        CHECK(worst(find("center.%d", n, 0), got) == 0, "case %d", n);
    }
    CHECK(n == 4, "%d cases", n);
}

static fv_augment_desc imagenet(void) {
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    fv_augment_desc d;
    memset(&d, 0, sizeof d);
    memcpy(d.mean, mean, sizeof mean), memcpy(d.std, std, sizeof std);
    return d;
}

static void preprocess_equals_timm(void) {
    int n = 0;
    for (const fv_entry *a; (a = find("eval.%d.args", n, 0)) != NULL; n++) {
        shape s = picture((int)number(a, 0));
        fv_augment_desc d = imagenet();
        float got[3 * 32 * 32];
        d.size = (int)number(a, 1), d.crop_pct = (float)number(a, 2), d.filter = (fv_filter)(int)number(a, 3);
        CHECK(fv_preprocess(c, &d, s.data, s.h, s.w, s.ch, got, NULL), "%s", fv_error_text(c));
        CHECK(worst(find("eval.%d", n, 0), got) == 0, "case %d: off by %g", n,
              worst(find("eval.%d", n, 0), got));
    }
    CHECK(n == 6, "%d cases", n);
}

/* ---- training ---- */
static int read_desc(const fv_entry *e, fv_augment_desc *d) {
    *d = imagenet();
    d->size = (int)number(e, 1), d->channels = (int)number(e, 2), d->filter = (fv_filter)(int)number(e, 3);
    d->crop_pct = (float)number(e, 4);
    for (int i = 0; i < 2; i++) d->scale[i] = (float)number(e, 5 + i), d->ratio[i] = (float)number(e, 7 + i);
    d->padding = (int)number(e, 9), d->hflip = (float)number(e, 10);
    d->brightness = (float)number(e, 11), d->contrast = (float)number(e, 12),
    d->saturation = (float)number(e, 13);
    d->erase = (float)number(e, 14), d->erase_area[0] = (float)number(e, 15),
    d->erase_area[1] = (float)number(e, 16);
    d->erase_ratio = (float)number(e, 17), d->erase_mode = (fv_erase_mode)(int)number(e, 18);
    return (int)number(e, 0);
}

static void augment_equals_timm(void) {
    int n = 0;
    for (const fv_entry *e; (e = find("augment.%d.desc", n, 0)) != NULL; n++)
        for (int j = 0; j < 2; j++) {
            fv_augment_desc d;
            shape s = picture(read_desc(e, &d));
            fv_rng r = {1000u + (uint64_t)n, ((uint64_t)7 << 32) + (uint64_t)j, 0};
            float got[3 * 28 * 28];
            CHECK(fv_augment(c, &d, &r, s.data, s.h, s.w, s.ch, got, NULL), "%s", fv_error_text(c));
            double off = worst(find("augment.%d.%d", n, j), got);
            /* the normal noise is rounded; pictures are equal */
            CHECK(off < 1e-5, "case %d.%d: off by %g", n, j, off);
        }
    CHECK(n == 19, "%d cases", n);
}

typedef struct many {
    const fv_augment_desc *d;
    shape s;
    float *out;
    char *scratch;
    size_t scratch_size;
    int failed;
} many;
static void augment_job(void *arg, int i, int worker) {
    many *m = (many *)arg;
    fv_rng r = {5, (uint64_t)i, 0};
    if (!fv_augment(NULL, m->d, &r, m->s.data, m->s.h, m->s.w, m->s.ch, m->out + i * 3 * 16 * 16,
                    m->scratch + (size_t)worker * m->scratch_size))
        m->failed = 1;
}
/* Without a context, in scratch of exactly the promised size (the sanitizers watch its end): the same
 * numbers. */
static void augment_from_workers(void) {
    fv_augment_desc d = imagenet();
    d.size = 16, d.hflip = 0.5f, d.scale[0] = 0.05f, d.brightness = d.contrast = d.saturation = 0.4f,
    d.erase = 0.5f;
    many m = {&d, picture(0), NULL, NULL, 0, 0};
    fv_desc three;
    memset(&three, 0, sizeof three);
    three.threads = 3;
    fv_ctx *pool = fv_create(&three);
    float one[3 * 16 * 16];
    m.scratch_size = fv_augment_scratch_size(c, &d, m.s.h, m.s.w, m.s.ch);
    CHECK(m.scratch_size > 0 && m.scratch_size % 64 == 0);
    m.out = (float *)malloc(40 * sizeof one), m.scratch = (char *)aligned_alloc(64, 3 * m.scratch_size);
    fv_parallel(pool, 40, augment_job, &m);
    CHECK(!m.failed);
    for (int i = 0; i < 40; i++) {
        fv_rng r = {5, (uint64_t)i, 0};
        CHECK(fv_augment(c, &d, &r, m.s.data, m.s.h, m.s.w, m.s.ch, one, NULL));
        CHECK(!memcmp(one, m.out + i * 3 * 16 * 16, sizeof one), "picture %d", i);
    }
    free(m.out), free(m.scratch);
    fv_destroy(pool);
}

/* any size of picture stays inside the scratch that was promised for the largest */
static void scratch_is_enough(void) {
    fv_augment_desc d[3];
    uint8_t *src = (uint8_t *)calloc(1, 300 * 300 * 4);
    float *out = (float *)malloc(4 * 40 * 40 * sizeof *out);
    fv_rng r = {9, 9, 0};
    memset(d, 0, sizeof d);
    d[0].size = 24, d[0].scale[0] = 0.01f, d[0].ratio[0] = 0.1f, d[0].ratio[1] = 10;
    d[1].size = 40, d[1].padding = 30, d[1].filter = FV_LANCZOS;
    d[2].size = 7, d[2].crop_pct = 0.4f, d[2].channels = 3;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 60; i++) {
            int ch = k == 2 ? 1 + (i & 3) : 3, h = 1 + (int)fv_rng_below(&r, i & 1 ? 300 : 8),
                w = 1 + (int)fv_rng_below(&r, i & 2 ? 300 : 8);
            size_t n = fv_augment_scratch_size(c, &d[k], h, w, ch);
            void *scratch = aligned_alloc(64, n);
            CHECK(k == 2 ? fv_preprocess(c, &d[k], src, h, w, ch, out, scratch)
                         : fv_augment(c, &d[k], &r, src, h, w, ch, out, scratch));
            free(scratch);
            CHECK(n <= fv_augment_scratch_size(c, &d[k], 300, 300, ch), "%dx%d", h, w);
        }
    free(src), free(out);
}

static void channels_are_made_to_fit(void) {
    static const uint8_t rgba[8] = {255, 0, 0, 9, 10, 20, 30, 40};
    fv_augment_desc d;
    float got[3];
    memset(&d, 0, sizeof d);
    d.size = 1, d.channels = 3;
    CHECK(fv_preprocess(c, &d, rgba + 4, 1, 1, 4, got, NULL) && got[0] == 10 / 255.0f * 2 - 1 &&
          got[2] == (30 / 255.0f - 0.5f) / 0.5f);
    CHECK(fv_preprocess(c, &d, rgba + 4, 1, 1, 1, got, NULL) && got[0] == got[1] && got[1] == got[2] &&
          got[0] == (10 / 255.0f - 0.5f) / 0.5f);
    d.channels = 1, d.mean[0] = -1; /* truly zero */
    CHECK(fv_preprocess(c, &d, rgba, 1, 1, 3, got, NULL) && got[0] == 76 / 255.0f / 0.5f, "luma of red: %g",
          (double)got[0]);
}

/* ---- mixing ---- */
static void mixup_equals_timm(void) {
    const fv_entry *x = find("mix.x", 0, 0), *l = find("mix.labels", 0, 0);
    int32_t labels[4];
    float targets[4 * 5];
    int n = 0, mixed = 0;
    memcpy(labels, l->data, sizeof labels);
    for (const fv_entry *e; (e = find("mix.%d.desc", n, 0)) != NULL; n++)
        for (int j = 0; j < 3; j++) {
            fv_mixup_desc d = {(float)number(e, 0), (float)number(e, 1), (float)number(e, 2),
                               (float)number(e, 3), (float)number(e, 4)};
            fv_rng r = {50u + (uint64_t)n, (uint64_t)j, 0};
            float *mine = floats(x);
            double lam = fv_mixup(c, &d, &r, mine, 4, 2, 5, 6, labels, 5, targets);
            CHECK(lam >= 0 && lam <= 1, "%s", fv_error_text(c));
            CHECK(worst(find("mix.%d.%d.x", n, j), mine) < 1e-6, "case %d.%d: x", n, j);
            CHECK(worst(find("mix.%d.%d.targets", n, j), targets) < 1e-6, "case %d.%d: targets", n, j);
            mixed += lam < 1;
            fv_free(c, mine);
        }
    CHECK(n == 7 && mixed > 10, "%d cases, %d mixed", n, mixed);
}

/* an odd batch: the middle one keeps its picture; two equal labels keep their sum */
static void mixup_of_an_odd_batch(void) {
    float x[3] = {1, 2, 5}, targets[6];
    const int32_t labels[3] = {0, 1, 1};
    fv_mixup_desc d = {1, 0, 0, 0, 0};
    fv_rng r = {1, 2, 3};
    double lam = fv_mixup(c, &d, &r, x, 3, 1, 1, 1, labels, 2, targets);
    CHECK(lam > 0 && lam < 1 && fabsf(x[0] - (float)(lam + 5 * (1 - lam))) < 1e-5f &&
          fabsf(x[2] - (float)(5 * lam + 1 - lam)) < 1e-5f);
    CHECK(fabsf(x[1] - 2) < 1e-6f && targets[2] == 0 && fabsf(targets[3] - 1) < 1e-6f);
}

/* ---- what is refused ---- */
#define REFUSED(call, status, word)                                                                          \
    do {                                                                                                     \
        CHECK(!(call), "accepted");                                                                          \
        CHECK(fv_error(c) == (status) && strstr(fv_error_text(c), word), "'%s'", fv_error_text(c));          \
        fv_clear_error(c);                                                                                   \
    } while (0)

static void bad_requests(void) {
    uint8_t u[12] = {0};
    float f[64], targets[8];
    int32_t labels[2] = {0, 2};
    fv_rng r = {0, 0, 0};
    fv_augment_desc d, ok;
    fv_mixup_desc m = {1, 0, 0, 0, 0};
    memset(&ok, 0, sizeof ok);
    ok.size = 2;
    REFUSED(fv_image_resize(c, u, 0, 2, 3, u, 2, 2, FV_BICUBIC), FV_ESHAPE, "0x2");
    REFUSED(fv_image_resize(c, u, 2, 2, 5, u, 2, 2, FV_BICUBIC), FV_ESHAPE, "5 channels");
    REFUSED(fv_image_resize(c, u, 2, 2, 3, u, 2, 65536, FV_BICUBIC), FV_ESHAPE, "65536");
    REFUSED(fv_image_resize(c, u, 2, 2, 3, u, 2, 2, (fv_filter)7), FV_EUSAGE, "filter number 7");
    REFUSED(fv_image_resize_f32(c, f, 0, 2, 2, f, 2, 2, FV_BICUBIC), FV_ESHAPE, "0 planes");
    REFUSED(fv_image_center_crop(c, u, 2, 2, 3, u, -1, 2), FV_ESHAPE, "-1x2");
    REFUSED(fv_resample_pos_embed(c, f, 1, 2, 2, 0, f, 3, 3), FV_ESHAPE, "dim 0");
    d = ok, d.size = 0;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "size 0");
    d = ok, d.channels = 3;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 5), FV_ESHAPE, "5 channels");
    d = ok, d.channels = 4;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_ESHAPE, "4 channels cannot");
    d = ok, d.scale[0] = 0.5f, d.padding = 2;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "exclude");
    d = ok, d.scale[0] = 0.5f, d.scale[1] = 0.2f;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "scale from 0.5 to 0.2");
    d = ok, d.scale[0] = 0.5f, d.ratio[0] = 2;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "ratio");
    d = ok, d.std[1] = -1;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "std -1");
    d = ok, d.hflip = 1.5f;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "hflip");
    d = ok, d.erase = 1, d.erase_area[0] = 0.9f;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "erase_area");
    d = ok, d.crop_pct = 1.1f;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 3), FV_EUSAGE, "crop_pct");
    d = ok, d.saturation = 0.1f;
    REFUSED(fv_augment_scratch_size(c, &d, 2, 2, 2), FV_ESHAPE, "colour jitter");
    d = ok, d.brightness = (float)NAN;
    CHECK(fv_augment_scratch_size(c, &d, 2, 2, 3) > 0); /* no number: off */
    d = ok, d.size = 65535;
    REFUSED(fv_augment_scratch_size(c, &d, 1, 65535, 3), FV_ESHAPE, "too long");
    CHECK(!fv_augment(NULL, &d, &r, u, 2, 0, 3, f, u) && !fv_augment(NULL, &ok, &r, u, 2, 2, 3, f, NULL));
    REFUSED(fv_mixup(c, &m, &r, f, 2, 1, 2, 2, labels, 2, targets) >= 0, FV_ESHAPE, "label 2 of item 1");
    REFUSED(fv_mixup(c, &m, &r, f, 0, 1, 2, 2, labels, 3, targets) >= 0, FV_ESHAPE, "batch of 0");
    m.mixup_alpha = (float)NAN;
    REFUSED(fv_mixup(c, &m, &r, f, 2, 1, 2, 2, labels, 3, targets) >= 0, FV_EUSAGE, "alphas");
    fv_fail(c, FV_EIO, "earlier");
    CHECK(!fv_image_resize(c, u, 1, 1, 3, u + 3, 1, 1, FV_BICUBIC) &&
          fv_mixup(c, &m, &r, f, 2, 1, 1, 1, labels, 3, targets) < 0);
    fv_clear_error(c);
}

int main(void) {
    c = fv_create(NULL);
    golden = fv_weights_open(c, "tests/golden/pictures.safetensors");
    if (!golden) {
        printf("%s\n0 passed, 1 failed, 0 skipped\n", fv_error_text(c));
        return 1;
    }
    RUN(resize_equals_pillow);
    RUN(resize_f32_equals_torch);
    RUN(positions_equal_timm);
    RUN(center_crop_equals_torchvision);
    RUN(preprocess_equals_timm);
    RUN(augment_equals_timm);
    RUN(augment_from_workers);
    RUN(scratch_is_enough);
    RUN(channels_are_made_to_fit);
    RUN(mixup_equals_timm);
    RUN(mixup_of_an_odd_batch);
    RUN(bad_requests);
    fv_weights_close(c, golden);
    fv_destroy(c);
    return REPORT();
}
