/* insight.h -- what fv heatmap and fv probe see of a network while it runs: the tokens at the places of the stage. */
#ifndef FV_INSIGHT_H
#define FV_INSIGHT_H
#include "run.h"

/* Where tokens are looked at: in the encoder's last block (of those before the stage) after attention; before the stage, which is the
 * encoder's end in a run without one; after the attention and the FFN of the stage's last LLM block; after F2. */
enum { AT_BLOCK_ATTENTION, AT_BEFORE, AT_ATTENTION, AT_FFN, AT_F2, INSIGHT_PLACES };
enum { SCORES_BLOCK, SCORES_STAGE, INSIGHT_SCORES };
const char *insight_place(int place); /* "before the stage" */

typedef struct insight {
    fv_ctx *c;
    float *x[INSIGHT_PLACES];         /* [items,tokens,width], NULL: the network has no such place; class token included */
    int width[INSIGHT_PLACES];
    float *scores[INSIGHT_SCORES];    /* [items,heads,tokens,tokens], or NULL */
    int heads[INSIGHT_SCORES];
    float *grad_in, *grad_out;        /* [items,tokens,d] d loss / d tokens before the stage, and after F2; NULL without a backward pass */
    int items, tokens;
    int inside;                       /* while looking: the stage has been reached */
} insight;

/* From here on the forward (and backward) passes of r's network fill s; a pass begins with insight_clear. */
void insight_begin(fv_ctx *c, insight *s);
void insight_clear(insight *s);
void insight_end(insight *s);
/* A run that has image's data layout opened for looking into: a vit with a class token. 1, or 0 and FV_EUSAGE. */
int insight_fits(run *r);
/* the class token's attention to patch k (0..tokens-2) of item i, summed over heads: out [tokens-1] */
void insight_class_row(const insight *s, int which, int item, double *out);
#endif
