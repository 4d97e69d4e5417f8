/* insight.h -- what fv heatmap and fv probe see of a network while it runs: the tokens at the places of
 * the stage. */
#ifndef FV_INSIGHT_H
#define FV_INSIGHT_H
#include "run.h"

/* Where tokens are looked at: in the encoder's last block (of those before the stage) after attention;
 * before the stage, which is the encoder's end in a run without one; after the attention and the FFN of
 * the stage's last LLM block; after F2. */
enum { AT_BLOCK_ATTENTION, AT_BEFORE, AT_ATTENTION, AT_FFN, AT_F2, INSIGHT_PLACES };
enum { SCORES_BLOCK, SCORES_STAGE, INSIGHT_SCORES };
const char *insight_place(int place); /* "before the stage" */

typedef struct insight {
    fv_ctx *c;
    /* [items,tokens,width], NULL: the network has no such place; class token included */
    float *x[INSIGHT_PLACES];
    int width[INSIGHT_PLACES];
    float *scores[INSIGHT_SCORES]; /* [items,heads,tokens,tokens], or NULL */
    int heads[INSIGHT_SCORES];
    float *grad_in;  /* [items,tokens,d] d loss / d tokens before the stage; NULL without a backward pass */
    float *grad_out; /* the same after F2 */
    int items, tokens;
    int inside; /* while looking: the stage has been reached */
} insight;

/* From here on the forward (and backward) passes of r's network fill s; a pass begins with insight_clear. */
void insight_begin(fv_ctx *c, insight *s);
void insight_clear(insight *s);
void insight_end(insight *s);
/* A run that has image's data layout opened for looking into: a vit with a class token. 1, or 0 and
 * FV_EUSAGE. */
int insight_fits(run *r);
/* the class token's attention to patch k (0..tokens-2) of item i, summed over heads: out [tokens-1] */
void insight_class_row(const insight *s, int which, int item, double *out);

/* ---- a run to look into, one picture at a time ---- */
enum { MOST_TOKENS = 4096 };
typedef struct viewer {
    run r;
    insight s;
    const char *dir;
    int open;
} viewer;
/* Opens the finished run DIR without its data. Closed with insight_end and run_end where `open` is set. 1
 * or 0. */
int viewer_open(viewer *w, const char *dir, int threads);
int viewer_size(const viewer *w);
int viewer_channels(const viewer *w);
int viewer_patch(const viewer *w);
float viewer_crop(const viewer *w); /* crop_pct, for picture_fit */
/* A forward pass of pixels u8 [size,size,channels]; w->s is filled. 1 or 0. */
int viewer_look(viewer *w, const uint8_t *picture);
/* The mask of picture FILE, MASKS/CLASS/1.png or MASKS/1.png for .../CLASS/1.png, by tokens: truth
 * [tokens-1]. 1 when one of them is 1; 0 otherwise, and an error where there is no mask. */
int viewer_truth(viewer *w, const char *file, const char *masks, uint8_t *truth);

/* Pictures: files, or folders of PNG and JPEG files, or of folders of classes. */
typedef struct files {
    char (*at)[1024];
    int count, room;
} files;
int files_list(fv_ctx *c, files *f, const char *const *words, int count);
#endif
