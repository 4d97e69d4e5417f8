/* pictures.h -- labelled pictures: one split of a data set, whatever its layout on the disk. */
#ifndef FV_PICTURES_H
#define FV_PICTURES_H
#include "frozenvis.h"

typedef struct pictures {
    int count, classes;
    int height, width, channels; /* of every picture */
    uint8_t *data;               /* [count,height,width,channels] */
    int32_t *label;              /* [count], 0..classes-1 */
    char (*class_name)[64];      /* [classes] */
} pictures;

/* pictures_open -- split "train" or "test" of a folder with IDX files as Fashion-MNIST's, plain or .gz. Owned by c.
 * Returns 1, or 0 and c's error: FV_EIO (not there), FV_EFORMAT, FV_EUNAVAILABLE (.gz without zlib). */
int pictures_open(fv_ctx *c, const char *dir, const char *split, pictures *p);
void pictures_close(fv_ctx *c, pictures *p);
#endif
