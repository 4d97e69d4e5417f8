/* pictures.h -- labelled pictures: one split of a data set, whatever its layout on the disk. */
#ifndef FV_PICTURES_H
#define FV_PICTURES_H
#include "medmnist.h"

typedef struct pictures {
    int count, classes;
    int height, width, channels;    /* of every picture */
    const uint8_t *data;            /* [count,height,width,channels] */
    uint8_t *own;                   /* the same where we made them; else they lie in */
    medmnist npz;                   /* this file, which stays open */
    int32_t *label;                 /* [count], 0..classes-1 */
    char (*class_name)[CLASS_NAME]; /* [classes] */
} pictures;

/* pictures_open -- split "train", "test" or "val" of a data set. Owned by c. What DIR holds decides:
 *   IDX files as Fashion-MNIST's, plain or .gz, as large as they are (idx_open); no val (FV_EUSAGE);
 *   a MedMNIST .npz, or the path of one;
 *   train/CLASS/ and test/CLASS/ (or val/) with PNG and JPEG files, resized to size x size x channels. Files
 *   lie there class by class: they are mixed, always in the same way, so that the first or last N are of all
 *   classes. A class's folder without a picture is refused.
 * channels 0: of folders the classes and labels alone, no pictures.
 * Returns 1, or 0 and c's error: FV_EIO (not there), FV_EFORMAT, FV_EUNAVAILABLE (.gz without zlib, pictures
 * without stb_image). */
int pictures_open(fv_ctx *c, const char *dir, const char *split, int size, float crop_pct, int channels,
                  pictures *p);
int idx_open(fv_ctx *c, const char *dir, const char *split, pictures *p);
void pictures_close(fv_ctx *c, pictures *p);

/* picture_read -- one PNG or JPEG of size x size pixels into out [size,size,channels], channels 1 or 3.
 * Returns 1, or 0: FV_EIO, FV_EFORMAT, FV_EUSAGE (another size), FV_EUNAVAILABLE (built without
 * stb_image). */
int picture_read(fv_ctx *c, const char *path, int size, int channels, uint8_t *out);
/* whether the name ends as a PNG's or JPEG's */
int picture_named(const char *name);
/* picture_fit -- the same of any size: its shorter side is resized to size / crop_pct (bicubic, antialiased),
 * then it is cropped to its middle. */
int picture_fit(fv_ctx *c, const char *path, int size, float crop_pct, int channels, uint8_t *out);
/* picture_value -- what a network gets for a byte: (v/255 - mean) / std, both 0.5, or with imagenet those of
 * the channel over ImageNet. */
float picture_value(uint8_t v, int channel, int imagenet);
extern const float picture_mean[3], picture_std[3]; /* ImageNet's */
/* picture_load -- all of it, u8 [h,w,3], owned by c; NULL and an error as above. */
uint8_t *picture_load(fv_ctx *c, const char *path, int *w, int *h);
#endif
