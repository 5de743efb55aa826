/* Token choice with shared noise (METHODS.md section 4): the token at absolute position p is
 * argmax over the filtered candidates a of (logit_a / T + gumbel(seed, p, a)). It depends on logits,
 * settings, seed, position and the text before p only, never on how a tree was built: so the text is
 * the same with any tree, any draft, and without speculation.
 *
 * Steps, in this order (T > 0; at T = 0 only the first, then argmax):
 *   repeat penalty  each distinct token of the last repeat_last_n once: positive logits are divided
 *                   by it, others multiplied
 *   top-k           the k largest logits
 *   top-p           the shortest run of tokens, most probable first, whose probabilities reach top_p
 *   min-p           tokens at least min_p times as probable as the first
 *   noise           argmax of logit / T + gumbel
 * Probabilities are untempered: kernels->softmax over the survivors of top-k in sorted order, or over
 * the vocabulary in id order when top-k is off. Sorted means logit descending, then id ascending; sums
 * over probabilities run in that order. NaN logits rank last. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_SAMPLER_H
#define LEVER_SPEC_SAMPLER_H

#include <stdint.h>

#include "base/error.h"
#include "kernel/kernel.h"
#include "spec/draw.h"

typedef struct lv_sampler_params {
    float    temperature;   /* 0 = greedy; then the filters do nothing */
    int32_t  top_k;         /* 0 = off */
    float    top_p;         /* 1 = off */
    float    min_p;         /* 0 = off */
    float    repeat_penalty;/* 1 = off; > 0 */
    int32_t  repeat_last_n; /* tokens looked back, 0 = off */
    uint64_t seed;
} lv_sampler_params;

/* llama.cpp's habits: T 0.8, k 40, p 0.95, min-p 0.05, no penalty. */
void lv_sampler_params_init(lv_sampler_params *p);
/* LEVER_OK or LEVER_EINVAL naming the bad setting and its range. */
int  lv_sampler_params_check(const lv_sampler_params *p, lever_error *err);

typedef struct lv_sampler lv_sampler;
/* p is copied, k borrowed. LEVER_OK, LEVER_EINVAL (as params_check, or n_vocab < 1), LEVER_ENOMEM.
 * Nothing is allocated after open. Returned: lv_sampler_close. Threading: one owner. */
int  lv_sampler_open(lv_sampler **out, const lv_sampler_params *p, const lv_kernels *k, int32_t n_vocab,
                     lever_error *err);
/* Sample with these settings from now on. LEVER_OK; LEVER_EINVAL: as params_check, the settings stay. */
int  lv_sampler_set(lv_sampler *s, const lv_sampler_params *p, lever_error *err);
void lv_sampler_close(lv_sampler **s);
size_t lv_sampler_memory_bytes(int32_t n_vocab);

/* The text before a position, without copying it: committed tokens, then the path in the tree. */
typedef struct lv_history {
    const int32_t *tokens; size_t n_tokens; /* borrowed */
    const int32_t *path;   size_t n_path;   /* borrowed; follows tokens */
} lv_history;

/* The token at absolute position pos = h->n_tokens + h->n_path. logits [n_vocab] may be overwritten. */
int32_t lv_sampler_pick(lv_sampler *s, float *logits, const lv_history *h);
/* The same token, and what plain softmax (temperature 1, no filter, no penalty) of the logits gives: the natural
 * logarithm of its probability in *picked, and those of the n_top <= LV_TOP_MOST likeliest tokens in top, best first,
 * ties to the lower id. Returns the token; *n_top becomes fewer where the vocabulary is smaller. */
enum { LV_TOP_MOST = 20 };
typedef struct lv_logprob {
    int32_t token;
    float   logprob; /* -200 to 0 */
} lv_logprob;
int32_t lv_sampler_pick_scored(lv_sampler *s, float *logits, const lv_history *h, lv_logprob *picked,
                               lv_logprob *top, uint32_t *n_top);
/* The `k` tokens the same rule would most likely pick if the target had these (draft) logits: best
 * first by perturbed score (T > 0) or logit (T = 0), ties to the lower id. Ranking by perturbed score over the
 * draft's own filtered set is what makes hits likely: target and draft share the noise (METHODS.md section 4),
 * and a token the filters remove is never picked.
 * p estimates how likely the target picks the token, given that noise: the softmax of
 * sharpness * (penalised logit + T * noise) over what the filters leave, so of sharpness * logit at T = 0. The
 * plain probability of a token says little once its noise is known. sharpness > 0; 1 where draft and target
 * differ as much as draws from the draft do, more where they agree more often.
 * Returns how many (<= k; fewer when the filters leave fewer). logits may be overwritten. */
uint32_t lv_sampler_candidates(lv_sampler *s, float *logits, const lv_history *h, uint32_t k, float sharpness,
                               int32_t *tokens, float *probs);
/* The distribution that pick draws from, over seeds: the softmax of penalised logit / T over what the filters
 * leave. T > 0, and at most LV_DIST_MAX tokens: top-k is 1 to LV_DIST_MAX, or the vocabulary is no larger
 * than that. logits may be overwritten. */
void lv_sampler_distribution(lv_sampler *s, float *logits, const lv_history *h, lv_dist *out);

/* scores [n] += temperature * noise of tokens [n] at position pos: logits as lv_sampler_pick compares them. */
void lv_sampler_add_noise(const lv_sampler *s, uint64_t pos, const int32_t *tokens, uint32_t n, float *scores);

#endif
