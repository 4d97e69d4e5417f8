/* group.h -- fv train --gpus N: a process for each GPU. The first one is the program that was called: it
 * looks at all settings, writes all files and speaks; the others wait for it, take their part of each batch,
 * and end with it. */
#ifndef FV_GROUP_H
#define FV_GROUP_H
#include "run.h"

enum { GROUP_MOST = 64 };
typedef struct group {
    int rank, size;
    int wire[GROUP_MOST]; /* rank 0's ends of the pipes to the others */
    fv_group_key key;
} group;

/* Starts the other processes. In the first one it returns at once; in the others when that has called
 * group_join, or never, and desc names their own GPU, counted from desc's. The status to exit with, said on
 * stderr, or 0. */
int group_start(group *g, int size, fv_desc *desc);
/* All is well so far: the first process tells the others; then all join. 1 or 0. */
int group_join(group *g, run *r);
#endif
