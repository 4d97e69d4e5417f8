/* names.h -- how long the name of a class may be. */
#ifndef FV_NAMES_H
#define FV_NAMES_H

/* bytes of it, the 0 at its end included: the longest template of Something-Something has 96 */
enum { CLASS_NAME = 128 };
#endif
