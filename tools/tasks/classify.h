/* classify.h -- what the tasks that name a class share: printing a prediction, and the frame of a sheet of
 * pictures. */
#ifndef FV_CLASSIFY_H
#define FV_CLASSIFY_H
#include "../draw.h"
#include "task.h"

/* Runs the network on an item's views, x [views,...], and prints the class of the mean, or the five best as
 * JSON. 1 or 0. */
int classify(run *r, fv_tensor *x, const char *file, int json);
/* A sheet of n test items: `picture` draws item i into the box at x, y, which is `side` wide and `tall` high;
 * under it stand the class that is seen, green where it is right, red where not, and then the true one. Saved
 * as PNG. 1 or 0. */
int classify_sheet(run *r, const int32_t *index, int n, const char *png, int across, int side, int tall,
                   int (*picture)(run *r, canvas *v, int32_t item, double x, double y));
/* A task's baselines hook: `chance`, what a guess gets. */
int classify_chance(run *r, figures *f);
#endif
