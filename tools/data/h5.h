/* h5.h -- ScanObjectNN's .h5 files, through libhdf5 where it is installed: `data` [n,points,3] of floats,
 * `label` [n] or [n,1] of whole numbers; a `mask`, which tells the background's points, is not read. */
#ifndef FV_H5_H
#define FV_H5_H
#include "frozenvis.h"

typedef struct h5 {
    int64_t file, data; /* of libhdf5; -1: closed */
    int64_t count, points;
    int32_t *label; /* [count] */
    int classes;    /* the greatest label + 1 */
    char path[4400];
} h5;

/* h5_open -- 1, or 0 and FV_EIO, FV_EFORMAT, FV_ENOMEM, FV_EUNAVAILABLE (built without libhdf5). h5_cloud
 * -- cloud i into xyz [points,3]; 1, or 0 and FV_EFORMAT (damaged, not finite). Datasets that live in
 * other files are refused. */
int h5_open(fv_ctx *c, const char *path, h5 *h);
int h5_cloud(fv_ctx *c, const h5 *h, int64_t i, float *xyz);
void h5_close(fv_ctx *c, h5 *h);
#endif
