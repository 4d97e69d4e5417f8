/* measures.h -- what heat maps and probes compute of activations: plain functions of arrays, in double, no
 * tensors.
 *   source  magnitude, frequency, IoU: Pang et al., arXiv:2310.12973, 6.2 and A.3; CKA: Kornblith et al.,
 *   arXiv:1905.00414;
 *           effective rank: Roy and Vetterli, EUSIPCO 2007 */
#ifndef FV_MEASURES_H
#define FV_MEASURES_H
#include <stdint.h>

/* x [n,d], the tokens of one picture. out[i] = |x_i - mean token|. 1, or 0: no memory. */
int token_magnitude(const float *x, int n, int d, double *out);
/* out[i] = |phase_i - mean phase|, phase_i being the angles, in (-pi,pi], of the d numbers of x_i's
 * discrete Fourier transform over the channels; not unwrapped. 1 or 0. */
int token_frequency(const float *x, int n, int d, double *out);
/* The angles of the transform of x [d]: out [d]. What is real by symmetry (numbers 0 and d/2) has angle 0
 * or pi. 1, or 0: no memory. */
int phase_of(const float *x, int d, double *out);
/* to 0..1; all equal: 0 */
void min_max(double *x, int n);
/* mask u8 [side,side], 0: background. out[i] = 1 where at least half of the patch i (rows of side/patch)
 * is not 0. */
void mask_to_tokens(const uint8_t *mask, int side, int patch, uint8_t *out);
/* Intersection over union of {map > t} and truth at the best t of 0.1, 0.2 .. 0.9; map in 0..1. NAN when
 * truth is empty. */
double best_iou(const double *map, const uint8_t *truth, int n);
/* share of the row's attention that lies where truth is 1; NAN when the row adds up to 0 */
double share_on(const double *row, const uint8_t *truth, int n);
/* Linear CKA of x [n,p] and y [n,q], columns centred: |y'x|^2 / (|x'x| |y'y|), Frobenius norms. NAN when
 * one is constant or no memory. */
double linear_cka(const float *x, int p, const float *y, int q, int n);
/* exp of the entropy of the singular values of x [n,d], columns centred, divided by their sum. NAN as
 * above. */
double effective_rank(const float *x, int n, int d);
/* Mean cosine of all pairs of rows of g [n,d]; rows of length 0 are left out. NAN with fewer than two. */
double mean_cosine(const float *g, int n, int64_t d);
#endif
