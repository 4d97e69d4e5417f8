/* captions.h -- pictures with captions: a folder with captions.jsonl, Flickr30k's and COCO's layout; and the
 * emoji that the demos draw. */
#ifndef FV_CAPTIONS_H
#define FV_CAPTIONS_H
#include "../draw.h"
#include "frozenvis.h"

/* unseen: a second test split, measured apart */
enum { CAPTIONS_TRAIN, CAPTIONS_TEST, CAPTIONS_UNSEEN, CAPTION_SPLITS };
typedef struct caption {
    int picture;
    char *text;
} caption;
typedef struct captioned {
    int first, captions; /* its captions are caption[first .. first+captions) */
    char *file;
} captioned;
typedef struct caption_split {
    int pictures, captions, picture_room, caption_room;
    captioned *picture;
    caption *caption;
} caption_split;
typedef struct caption_set {
    caption_split split[CAPTION_SPLITS];
} caption_set;

/* captions_open -- DIR/captions.jsonl, lines {"image":"a/1.png","captions":["..."] or
 * "caption":"...","split":"train|val|test|unseen"} (val is left out where there is a test); or
 * DIR/dataset_flickr30k.json or dataset_coco.json (Karpathy's splits; pictures in filepath/, images/ or
 * flickr30k-images/); or DIR/annotations/captions_{train,val}20??.json with train20??/ and val20??/. Owned by
 * c.
 *   ->  1, or 0 and FV_EIO, FV_EFORMAT */
int captions_open(fv_ctx *c, const char *dir, caption_set *s);
void captions_close(fv_ctx *c, caption_set *s);

/* One emoji of emoji-test.txt that is a single character, with its names: the short name first, then those of
 * NamesList.txt, lower case. */
enum { EMOJI_NAMES = 6 };
typedef struct emoji {
    uint32_t codepoint;
    int names;
    char name[EMOJI_NAMES][80], group[40];
} emoji;
/* DIR holds emoji-test.txt and NamesList.txt; those the font cannot draw are left out. Owned by c. NULL and
 * FV_EIO, FV_EFORMAT. */
emoji *emoji_list(fv_ctx *c, const char *dir, emoji_font *font, int *count);
/* A background to draw on: gradients, noise, stripes or checks of two colours, with clutter over it. */
void draw_background(canvas *v, fv_rng *r, int clutter);

/* emoji_scenes_write -- heat maps' demo: emoji over busy backgrounds, 64x64, as folders of classes:
 * DIR/train/CLASS/N.png, DIR/test/..., and for the test pictures DIR/masks/CLASS/N.png, white where the emoji
 * is. 1 or 0. */
int emoji_scenes_write(fv_ctx *c, const char *dir, const char *emoji_dir);
/* emoji_captions_write -- retrieval's demo, as captions.c describes it, into DIR. 1 or 0. */
int emoji_captions_write(fv_ctx *c, const char *dir, const char *emoji_dir);
#endif
