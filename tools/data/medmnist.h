/* medmnist.h -- MedMNIST's .npz: train_images, train_labels, val_*, test_*; pictures [N,H,W] or [N,H,W,3],
 * volumes [N,D,H,W], all u8. */
#ifndef FV_MEDMNIST_H
#define FV_MEDMNIST_H
#include "names.h"
#include "npy.h"

typedef struct medmnist {
    npz file;
    npy images, labels;
    int classes;
    char path[4400];
} medmnist;

/* The .npz in a folder, or the file itself; 0 when there is none (no error), or several (FV_EUSAGE). */
int medmnist_find(fv_ctx *c, const char *path, char *out, size_t n);
/* Opens split "train", "val" or "test"; volumes: 1 wants [N,D,H,W], 0 pictures. Labels are one column of
 * classes. The images stay in the file where they are stored. classes: the greatest label of all splits + 1.
 * 1, or 0 and FV_EIO, FV_EFORMAT, FV_EUSAGE (volumes where pictures are wanted; several labels each). */
int medmnist_open(fv_ctx *c, const char *path, const char *split, int volumes, medmnist *m);
void medmnist_close(fv_ctx *c, medmnist *m);

/* medmnist_names -- what the m->classes classes are called, into name [classes,CLASS_NAME]: the rows of
 * the array class_names (u8 of that shape, which MedMNIST's own files have not), else their numbers.
 * medmnist_put_names -- adds that array. 1, or 0 and FV_EFORMAT (too few, or too long). */
int medmnist_names(fv_ctx *c, const medmnist *m, char (*name)[CLASS_NAME]);
int medmnist_put_names(fv_ctx *c, npz_out *z, const char *const *name, int n);
#endif
