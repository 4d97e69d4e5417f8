/* sqa3d.h -- situated questions about rooms, in SQA3D's layout. */
#ifndef FV_SQA3D_H
#define FV_SQA3D_H
#include "frozenvis.h"

typedef struct pose {
    float at[3], forward[2]; /* metres, z up; the direction of the look on the floor, of length 1 */
} pose;
typedef struct situated {
    char *scene, *situation, *question, *answer; /* scene and answer: at most 63 bytes */
    pose p;
} situated;
typedef struct situated_list {
    situated *item;
    int count;
} situated_list;

/* sqa3d_read -- one split's v1_balanced_questions_*.json and v1_balanced_sqa_annotations_*.json, in the same
 * order. Only the first answer is read, and of a rotation (a quaternion; none looks along +y) what it does on
 * the floor. Returns 1, or 0 and c's error: FV_EIO, FV_EFORMAT. */
int sqa3d_read(fv_ctx *c, const char *questions, const char *annotations, situated_list *l);
void sqa3d_free(fv_ctx *c, situated_list *l);
#endif
