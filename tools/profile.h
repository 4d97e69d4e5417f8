/* profile.h -- where the time of steps went, by op and pass, for fv train --profile and fv bench step
 * --profile. */
#ifndef FV_PROFILE_H
#define FV_PROFILE_H
#include "frozenvis.h"

/* Prints what c has counted (fv_profile), slowest first: a table, or a JSON object a line.
 *   seconds  of all steps by the clock; what no row explains is the row `rest`
 *   data     of these, seconds spent on making batches; negative: not known
 *   type     FV_F32 or FV_BF16: whose peak the shares are of; an op runs on all threads of c */
void profile_print(fv_ctx *c, fv_type type, double seconds, double data, int json);
#endif
