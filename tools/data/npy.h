/* npy.h -- NumPy's arrays: .npy files, and .npz archives of them (stored, or deflated where zlib is there);
 * and writing one. */
#ifndef FV_NPY_H
#define FV_NPY_H
#include "frozenvis.h"

typedef struct npy {
    char kind; /* 'f', 'i', 'u' or 'b' */
    int bytes; /* of an element: 1, 2 (not f), 4, 8 */
    int big;   /* big-endian */
    int rank;
    int64_t dim[8], count; /* row-major; count: elements */
    const uint8_t *data;   /* in the file, or in owned */
    uint8_t *owned;
} npy;
typedef struct npz {
    fv_file file;
    char path[4096];
} npz;

/* npy_parse -- an array from a .npy file's bytes, which a must not outlive; its data end where the bytes do.
 * 1, or 0 and FV_EFORMAT (Fortran order and records too). npy_value -- element i as a number. */
int npy_parse(fv_ctx *c, const char *name, const uint8_t *bytes, size_t size, npy *a);
double npy_value(const npy *a, int64_t i);
void npy_free(fv_ctx *c, npy *a);
/* npz_open, npz_get -- member `name` (without .npy) of an archive: in place where it is stored. 1; 0 and
 * FV_EIO, FV_EFORMAT (a member that is not there, there twice, encrypted or not of its checksum too),
 * FV_EUNAVAILABLE (deflated, built without zlib), FV_ENOMEM. npz_head -- its type and shape alone, without
 * data: costs nothing, so that what is not wanted is refused before it is inflated. npz_has -- 1 when it is
 * there. */
int npz_open(fv_ctx *c, const char *path, npz *z);
int npz_has(const npz *z, const char *name);
int npz_head(fv_ctx *c, const npz *z, const char *name, npy *a);
int npz_get(fv_ctx *c, const npz *z, const char *name, npy *a);
void npz_close(fv_ctx *c, npz *z);

/* npy_write -- f32 as a .npy file. npz_put adds u8 arrays to an archive of stored members; npz_save writes
 * it. 1 or 0. */
int npy_write(fv_ctx *c, const char *path, const float *data, int rank, const int64_t *dim);
typedef struct npz_out {
    fv_text body, directory;
    int members;
} npz_out;
int npz_put(fv_ctx *c, npz_out *z, const char *name, const uint8_t *data, int rank, const int64_t *dim);
int npz_save(fv_ctx *c, npz_out *z, const char *path);
#endif
