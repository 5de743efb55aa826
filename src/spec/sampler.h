/* Token choice with shared noise (METHODS.md section 4): the token at absolute position p is
 * argmax over the filtered candidates a of (logit_a / T + gumbel(seed, p, a)). It depends on logits,
 * settings, seed, position and the text before p only, never on how a tree was built: so the text is
 * the same with any tree, any draft, and without speculation. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_SAMPLER_H
#define LEVER_SPEC_SAMPLER_H

#include <stdint.h>

#include "base/error.h"
#include "kernel/kernel.h"

typedef struct lv_sampler_params {
    float    temperature;   /* 0 = greedy; then the filters do nothing */
    int32_t  top_k;         /* 0 = off */
    float    top_p;         /* 1 = off */
    float    min_p;         /* 0 = off */
    float    repeat_penalty;/* 1 = off; > 0 */
    int32_t  repeat_last_n; /* tokens looked back, 0 = off */
    uint64_t seed;
} lv_sampler_params;

void lv_sampler_params_init(lv_sampler_params *p); /* llama.cpp's habits: T 0.8, k 40, p 0.95, min-p 0.05, no penalty */
/* LEVER_OK or LEVER_EINVAL naming the bad setting and its range. */
int  lv_sampler_params_check(const lv_sampler_params *p, lever_error *err);

typedef struct lv_sampler lv_sampler;
int  lv_sampler_open(lv_sampler **out, const lv_sampler_params *p, const lv_kernels *k, int32_t n_vocab,
                     lever_error *err);
void lv_sampler_close(lv_sampler **s);
size_t lv_sampler_memory_bytes(int32_t n_vocab);

/* The text before a position, without copying it: committed tokens, then the path in the tree. */
typedef struct lv_history {
    const int32_t *tokens; size_t n_tokens; /* borrowed */
    const int32_t *path;   size_t n_path;   /* borrowed; follows tokens */
} lv_history;

/* The token at absolute position pos = h->n_tokens + h->n_path. logits [n_vocab] may be overwritten. */
int32_t lv_sampler_pick(lv_sampler *s, float *logits, const lv_history *h);
/* The `k` tokens the same rule would most likely pick if the target had these (draft) logits: best
 * first by perturbed score (T > 0) or logit (T = 0), ties to the lower id, with p = draft softmax
 * probability of each. Returns how many (<= k). logits may be overwritten. */
uint32_t lv_sampler_candidates(lv_sampler *s, float *logits, const lv_history *h, uint32_t k,
                               int32_t *tokens, float *probs);

#endif
