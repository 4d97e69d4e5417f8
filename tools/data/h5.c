#include "h5.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#ifdef HAVE_HDF5
#include <hdf5.h>

static int wrong(fv_ctx *c, const h5 *h, const char *what) {
    return fv_fail(c, FV_EFORMAT, "%s: %s", h->path, what);
}

/* A dataset of this file itself whose elements are of a class and whose bytes are really there. -1, or
 * its handle. */
static hid_t dataset(fv_ctx *c, const h5 *h, const char *name, H5T_class_t class, int *rank, hsize_t *dim) {
    H5L_info_t link;
    struct stat st;
    char what[160];
    if (H5Lget_info(h->file, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
        return snprintf(what, sizeof what, "no dataset %s in it", name), wrong(c, h, what), -1;
    hid_t d = H5Dopen2(h->file, name, H5P_DEFAULT), space = d < 0 ? -1 : H5Dget_space(d);
    hid_t type = d < 0 ? -1 : H5Dget_type(d), how = d < 0 ? -1 : H5Dget_create_plist(d);
    const char *bad = NULL;
    *rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (d < 0 || space < 0 || type < 0 || how < 0) bad = "cannot be read as a dataset";
    else if (H5Tget_class(type) != class)
        bad = class == H5T_FLOAT ? "holds no floats" : "holds no whole numbers";
    else if (*rank < 1 || *rank > 3 || H5Sget_simple_extent_dims(space, dim, NULL) < 0)
        bad = "has the wrong rank";
    else if (H5Pget_layout(how) == H5D_VIRTUAL || H5Pget_external_count(how) > 0)
        bad = "lives in another file";
    else {
        /* what is announced fits what is stored: deflate shrinks by 1032 at most, no file stores more than it
         * has */
        double bytes = (double)H5Tget_size(type), stored = (double)H5Dget_storage_size(d);
        for (int i = 0; i < *rank; i++) bytes *= (double)dim[i];
        if (stat(h->path, &st) || stored > (double)st.st_size || bytes > 1100 * stored)
            bad = "announces more than is stored";
        else if (!(bytes > 0)) bad = "is empty";
    }
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (how >= 0) H5Pclose(how);
    if (!bad) return d;
    if (d >= 0) H5Dclose(d);
    snprintf(what, sizeof what, "%s %s", name, bad);
    return wrong(c, h, what), -1;
}

static int read_labels(fv_ctx *c, h5 *h) {
    hsize_t dim[3];
    int rank, ok = 0;
    hid_t d = dataset(c, h, "label", H5T_INTEGER, &rank, dim);
    if (d < 0) return 0;
    if (rank > 2 || (rank == 2 && dim[1] != 1) || (int64_t)dim[0] != h->count)
        wrong(c, h, "label has not one number for each cloud");
    else if ((h->label = (int32_t *)fv_alloc(c, (size_t)h->count * sizeof *h->label)) != NULL) {
        ok = H5Dread(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, h->label) >= 0;
        if (!ok) wrong(c, h, "label is damaged");
    }
    for (int64_t i = 0; i < h->count && ok; i++) {
        if (h->label[i] < 0 || h->label[i] > 65535) ok = 0, wrong(c, h, "a label is under 0 or over 65535");
        else if (h->label[i] >= h->classes) h->classes = h->label[i] + 1;
    }
    H5Dclose(d);
    return ok;
}

int h5_open(fv_ctx *c, const char *path, h5 *h) {
    hsize_t dim[3];
    int rank;
    struct stat st;
    memset(h, 0, sizeof *h);
    h->file = h->data = -1;
    snprintf(h->path, sizeof h->path, "%s", path);
    if (stat(path, &st) || !S_ISREG(st.st_mode)) return fv_fail(c, FV_EIO, "%s: cannot be read", path);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* the library prints nothing: what fails is said here */
    h->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (h->file < 0) return wrong(c, h, "no whole HDF5 file");
    h->data = dataset(c, h, "data", H5T_FLOAT, &rank, dim);
    if (h->data >= 0) {
        h->count = (int64_t)dim[0], h->points = rank == 3 ? (int64_t)dim[1] : 0;
        if (rank != 3 || dim[2] != 3) wrong(c, h, "data is no array [clouds,points,3]");
        else if (h->count > INT32_MAX || h->points > 1 << 24)
            wrong(c, h, "data has too many clouds or points");
        else read_labels(c, h);
    }
    if (fv_error(c)) h5_close(c, h);
    return !fv_error(c);
}
int h5_cloud(fv_ctx *c, const h5 *h, int64_t i, float *xyz) {
    hsize_t from[3] = {(hsize_t)i, 0, 0}, count[3] = {1, (hsize_t)h->points, 3};
    hid_t space = H5Dget_space(h->data), memory = H5Screate_simple(3, count, NULL);
    int ok = space >= 0 && memory >= 0 &&
             H5Sselect_hyperslab(space, H5S_SELECT_SET, from, NULL, count, NULL) >= 0 &&
             H5Dread(h->data, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, xyz) >= 0;
    if (space >= 0) H5Sclose(space);
    if (memory >= 0) H5Sclose(memory);
    for (int64_t k = 0; k < 3 * h->points && ok; k++) ok = fabsf(xyz[k]) < 1e15f;
    return ok || fv_fail(c, FV_EFORMAT, "%s: cloud %lld is damaged or not finite", h->path, (long long)i);
}
void h5_close(fv_ctx *c, h5 *h) {
    if (h->data >= 0) H5Dclose(h->data);
    if (h->file >= 0) H5Fclose(h->file);
    fv_free(c, h->label);
    h->label = NULL, h->file = h->data = -1;
}

#else
int h5_open(fv_ctx *c, const char *path, h5 *h) {
    struct stat st;
    memset(h, 0, sizeof *h);
    h->file = h->data = -1;
    if (stat(path, &st)) return fv_fail(c, FV_EIO, "%s: cannot be read", path);
    return fv_fail(c, FV_EUNAVAILABLE,
                   "%s: this program was built without libhdf5: install libhdf5-dev and build again", path);
}
int h5_cloud(fv_ctx *c, const h5 *h, int64_t i, float *xyz) {
    (void)i, (void)xyz;
    return fv_fail(c, FV_EUNAVAILABLE, "%s: built without libhdf5", h->path);
}
void h5_close(fv_ctx *c, h5 *h) { (void)c, (void)h; }
#endif
