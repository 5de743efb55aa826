/* The two parts of the exit predictor's training loss, for one position (METHODS.md section 1.4):
 *   L = L_kd + weight * L_cand
 *   L_kd   = t^2  KL( softmax(z / t)  || softmax(s / t)  )   over the whole vocabulary
 *   L_cand = tc^2 KL( softmax(z / tc) || softmax(s / tc) )   over the draft's candidates at that position
 * z are the target's logits, s the predictor's. The results do not depend on the processor.
 * Threading: pure functions. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_LOSS_H
#define LEVER_FIT_FIT_LOSS_H

#include "kernel/kernel.h"

/* Returns L_kd. s [n] becomes its gradient by s; z and scratch [n] are used up. Not finite when a logit is
 * not. */
double lv_fit_loss_kd(const lv_kernels *k, float *z, float *s, size_t n, float t, float *scratch);
/* Returns L_cand of the n logits of the candidates; grad [n] (NULL: not wanted) becomes its gradient by s. n
 * <= LV_FIT_CANDIDATES. */
enum { LV_FIT_CANDIDATES = 16 };
double lv_fit_loss_cand(const float *z, const float *s, uint32_t n, float t, float *grad);

/* softmax(x / t), n <= LV_FIT_CANDIDATES, in double. */
void lv_fit_softmax(const float *x, uint32_t n, double t, double *p);

#endif
