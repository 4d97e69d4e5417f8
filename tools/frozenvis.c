/* frozenvis.c -- the one unit of fv that holds the library; the others include the header for its
 * declarations. */
#define FROZENVIS_IMPLEMENTATION
#include "frozenvis.h"
