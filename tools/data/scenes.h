/* scenes.h -- rooms as lists of objects, and a generator of rooms with situated questions in SQA3D's
 * layout. */
#ifndef FV_SCENES_H
#define FV_SCENES_H
#include "frozenvis.h"

enum { SCENE_OBJECTS = 64 };
/* metres; z up; colour 0..1 */
typedef struct scene_object {
    char label[32];
    float centre[3], size[3], colour[3];
} scene_object;
typedef struct scene {
    char id[64];
    int count;
    scene_object object[SCENE_OBJECTS];
} scene;

/* scene_read -- FILE.json {"objects":[{"label","center":[3],"size":[3],"color":[3]}]}, or FILE.xyz, text
 * lines `x y z r g b` (colours 0..255): a cloud, from which SCENE_OBJECTS centres are sampled (farthest
 * points) and each point goes to its nearest; their label is "".
 *   path  without the ending
 *   ->    1, or 0 and FV_EIO (neither is there), FV_EFORMAT */
int scene_read(fv_ctx *c, const char *path, scene *s);

/* rooms_write -- 2,000 training and 150 test rooms with 20 questions each, as rooms.c describes, into DIR:
 * scenes/ID.json, v1_balanced_questions_{train,test}_scannetv2.json,
 * v1_balanced_sqa_annotations_{train,test}_scannetv2.json. 1 or 0. */
int rooms_write(fv_ctx *c, const char *dir);
#endif
