/* Arithmetic of an evaluation: what one position of a text says about the models, in double, and sums over
 * positions. No libm, and every sum in one order (token id, then position): the same bits on every machine,
 * for any batch and any number of threads. Threading: pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_EVAL_SCORE_H
#define LEVER_ENGINE_EVAL_SCORE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lv_eval_row {
    double   nll, draft_nll; /* -ln p(token), in nats */
    double   kl;             /* KL(target || draft) in nats, >= 0 */
    uint32_t draft_rank; /* tokens the draft prefers to the target's first choice; ties: the lower id */
} lv_eval_row;

/* target [n], draft [n] (NULL: none): logits before softmax; token < n is what the text has there. A logit
 * that is NaN or +inf makes the numbers of its model not finite. */
void lv_eval_score(lv_eval_row *out, const float *target, const float *draft, uint32_t n, int32_t token);

typedef struct lv_eval_sums {
    uint64_t n, bytes;       /* positions; bytes of their tokens as text */
    double   nll, nll2, draft_nll, draft_nll2, kl;
    uint64_t n_first, n_four; /* the target's first choice is the draft's; is among the draft's four */
} lv_eval_sums;

void lv_eval_add(lv_eval_sums *s, const lv_eval_row *row, uint64_t bytes);

/* Perplexity e^(mean) of n values with this sum and sum of squares, and its standard error: that of the mean
 * times the perplexity, as llama.cpp counts it. n = 0 gives 0, n = 1 no error. */
typedef struct lv_eval_perplexity {
    double value, error;
} lv_eval_perplexity;
lv_eval_perplexity lv_eval_perplexity_of(double sum, double sum2, uint64_t n);
/* nll_sum in nats over so many bytes, in bits per byte; 0 bytes give 0. */
double lv_eval_bits_per_byte(double nll_sum, uint64_t bytes);

#endif
