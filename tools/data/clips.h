/* clips.h -- clips: y4m, folders of frames, and what ffmpeg decodes; and the demo's clips. */
#ifndef FV_CLIPS_H
#define FV_CLIPS_H
#include "frozenvis.h"

typedef struct clip {
    int frames, width, height;
    fv_file file;         /* y4m */
    size_t *at;           /* where its frames' pixels begin */
    int kind, full_range; /* chroma */
    char **name;          /* a folder's pictures */
    char path[4400];
    uint8_t *still; /* a single picture */
} clip;

/* clip_open -- FILE.y4m (420, 422, 444, mono; 8 bits), a folder of PNG and JPEG frames in the order of their
 * names, a picture (one frame), or, by ffmpeg where it is installed, anything else; a side is at
 * most 100 times the other. 1, or 0 and FV_EIO, FV_EFORMAT, FV_EUNAVAILABLE (no ffmpeg). */
int clip_open(fv_ctx *c, const char *path, clip *v);
/* frame i as u8 [height,width,3]. 1 or 0. */
int clip_frame(fv_ctx *c, const clip *v, int i, uint8_t *rgb);
void clip_close(fv_ctx *c, clip *v);

/* y4m_write -- frames u8 [n,h,w,3] as 4:2:0; h and w even. */
int y4m_write(fv_ctx *c, const char *path, const uint8_t *rgb, int n, int h, int w);

/* actions_write -- video's demo, as actions.c describes it, into DIR: clips/N.y4m, train.csv, val.csv. 1 or
 * 0. */
int actions_write(fv_ctx *c, const char *dir, const char *emoji_dir);
#endif
