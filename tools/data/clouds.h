/* clouds.h -- point clouds and meshes from files, and the shapes of the demos. */
#ifndef FV_CLOUDS_H
#define FV_CLOUDS_H
#include "npy.h"

typedef struct mesh {
    int64_t points, faces;
    float *xyz;    /* [points,3] */
    int32_t *face; /* [faces,3]; none: a cloud */
} mesh;

/* mesh_read -- OFF (counts glued to the header too), PLY (ascii, binary little and big endian), VRML 2.0
 * (.wrl, .wrz; see vrml.c), NPY [N,3 or more], NPZ (its first of points, pos, xyz, data), XYZ (text, three
 * numbers or more a line), by the ending of the name. A vertex and a face have a line each. Polygons become
 * triangles; a file of vertices alone is a cloud, and one whose faces have no area is refused. Owned by c.
 * 1, or 0 and FV_EIO, FV_EFORMAT, FV_EUNAVAILABLE. mesh_named -- whether a name ends so, in capitals too. */
int mesh_read(fv_ctx *c, const char *path, mesh *m);
int mesh_named(const char *name);
int vrml_parse(fv_ctx *c, const char *path, const uint8_t *data, size_t size, mesh *m); /* of mesh_read */
void mesh_free(fv_ctx *c, mesh *m);
/* mesh_sample -- n points of it: on the surface, evenly by area; of a cloud, different ones as long as there
 * are enough. out [n,3] */
int mesh_sample(fv_ctx *c, const mesh *m, fv_rng *r, int64_t n, float *out);
/* cloud_fit -- moved to its centre, scaled to distance 1 of its farthest point */
void cloud_fit(float *xyz, int64_t n);

enum { SHAPES = 18 };
extern const char *const shape_name[SHAPES];
/* shape_sample -- n points on the surface of a shape of that kind with proportions of its own, upright, about
 * 2 wide. */
void shape_sample(fv_rng *r, int kind, int64_t n, float *out);

/* A cloud in the manner of ScanObjectNN's hardest split, of thing `which` of a source of `count` things,
 * whose sample() puts n points of one, fitted, into out (1 or 0): cut, turned, with a floor or wall and
 * another thing beside it, noisy (see shapes.c). p [SCENE_POINTS,3]. 1 or 0. */
enum { SCENE_POINTS = 1024 };
typedef struct thing_source {
    int count;
    int (*sample)(void *of, fv_rng *r, int which, int64_t n, float *out);
    void *of;
    float noise; /* once to three times that is added */
} thing_source;
int scene_of(fv_rng *r, const thing_source *from, int which, float *p);
/* volume_of -- the thing as voxels out [28,28,28]: cut, turned, blurred, noisy (see shapes.c). volumes_put --
 * n of them, things which[n] of classes label[n], as split `split` of an archive in MedMNIST's layout; item i
 * is drawn by random stream `stream` + i. 1 or 0. */
enum { VOLUME_SIDE = 28 };
int volume_of(fv_rng *r, const thing_source *from, int which, uint8_t *out);
int volumes_put(fv_ctx *c, npz_out *z, const char *split, const thing_source *from, uint64_t seed,
                uint64_t stream, const int32_t *which, const uint8_t *label, int64_t n);

/* clouds_write -- points' demo of generated shapes: train/KIND/N.npy and test/KIND/N.npy. parts_write -- the
 * same of real CAD parts, from folders of .wrl and .wrz files, each a class. volumes_write -- volumes' demo
 * of the same shapes: shapes3d.npz in MedMNIST's layout; part_volumes_write -- of the same parts:
 * parts3d.npz. Their settings stand in shapes.c and parts.c. 1 or 0. */
int clouds_write(fv_ctx *c, const char *dir);
int parts_write(fv_ctx *c, const char *dir, const char *parts);
int volumes_write(fv_ctx *c, const char *dir);
int part_volumes_write(fv_ctx *c, const char *dir, const char *parts);
#endif
