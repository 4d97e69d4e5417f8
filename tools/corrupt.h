/* corrupt.h -- pictures under noise, blur, contrast, JPEG and rotation at five severities, as ImageNet-C
 * has them (Hendrycks and Dietterich, arXiv:1903.12261): its strengths for pictures of more than 64
 * pixels, those of CIFAR-10-C for smaller ones. Rotation is ours. */
#ifndef FV_CORRUPT_H
#define FV_CORRUPT_H
#include "frozenvis.h"

enum {
    CORRUPT_NOISE,
    CORRUPT_BLUR,
    CORRUPT_CONTRAST,
    CORRUPT_JPEG,
    CORRUPT_ROTATION,
    CORRUPT_KINDS,
    CORRUPT_LEVELS = 5
};
const char *corrupt_name(int kind); /* "noise", "blur", "contrast", "jpeg", "rotation" */
int corrupt_task(const char *task); /* 1 when the task's test items are pictures that can be corrupted */
/* A term of the mean corruption error: percent of the other's error; NAN where that is 0, for then there is
 * no such ratio. */
double corrupt_ratio(double error, double others);
/* The strength of a kind at level 1..5: the noise's and the blur's standard deviation (of 0..1, in
 * pixels), what is left of the contrast, JPEG's quality, degrees. */
double corrupt_strength(int kind, int level, int side);

/* Pixels u8 [h,w,channels], in place. r: of noise, and of the rotation's direction.
 *   errors  FV_ENOMEM; FV_EUNAVAILABLE: JPEG without stb */
int corrupt_picture(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, int kind, int level, fv_rng *r);

/* The parts. normal [h,w,channels]: standard normal numbers. The blur is cut at 4 sigma, contrast is about
 * each channel's mean, the rotation is bilinear; for blur and rotation a picture's edges go on. Results are
 * cut, as the reference's are, not rounded. */
void corrupt_add_noise(uint8_t *pixels, int count, const float *normal, double strength);
int corrupt_blur(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, double sigma);
void corrupt_contrast(uint8_t *pixels, int w, int h, int channels, double left);
int corrupt_jpeg(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, int quality);
int corrupt_rotate(fv_ctx *c, uint8_t *pixels, int w, int h, int channels, double degrees);
#endif
