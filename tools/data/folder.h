/* folder.h -- the names in a folder, sorted. */
#ifndef FV_FOLDER_H
#define FV_FOLDER_H
#include "frozenvis.h"

/* Names that end so ("" any), numbers by their value; dot files and subfolders (folders: the files) are left
 * out. Owned by c: one block, freed with fv_free. NULL with *count 0 and FV_EIO (no such folder),
 * FV_ENOMEM. */
char **folder_list(fv_ctx *c, const char *dir, const char *ending, int folders, int *count);
#endif
