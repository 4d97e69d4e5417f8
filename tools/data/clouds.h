/* clouds.h -- point clouds and meshes from files, and the shapes of the demos. */
#ifndef FV_CLOUDS_H
#define FV_CLOUDS_H
#include "frozenvis.h"

typedef struct mesh { int64_t points, faces; float *xyz; int32_t *face; } mesh; /* xyz [points,3]; face [faces,3], none: a cloud */

/* mesh_read -- OFF (counts glued to the header too), PLY (ascii, binary little and big endian), NPY [N,3 or more], NPZ (its first of points, pos,
 * xyz, data), XYZ (text, three numbers or more a line), by the ending of the name. Polygons become triangles. Owned by c. 1, or 0 and FV_EIO, FV_EFORMAT. */
int mesh_read(fv_ctx *c, const char *path, mesh *m);
void mesh_free(fv_ctx *c, mesh *m);
/* mesh_sample -- n points of it: on the surface, evenly by area; of a cloud, different ones as long as there are enough. out [n,3] */
int mesh_sample(fv_ctx *c, const mesh *m, fv_rng *r, int64_t n, float *out);
/* cloud_fit -- moved to its centre, scaled to distance 1 of its farthest point */
void cloud_fit(float *xyz, int64_t n);

enum { SHAPES = 18 };
extern const char *const shape_name[SHAPES];
/* shape_sample -- n points on the surface of a shape of that kind with proportions of its own, upright, about 2 wide. */
void shape_sample(fv_rng *r, int kind, int64_t n, float *out);
/* clouds_write -- points' demo: train/KIND/N.npy and test/KIND/N.npy. volumes_write -- volumes' demo: shapes3d.npz in MedMNIST's layout. Their
 * settings are in shapes.c. 1 or 0. */
int clouds_write(fv_ctx *c, const char *dir);
int volumes_write(fv_ctx *c, const char *dir);
#endif
