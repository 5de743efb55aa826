/* Inside of growing: which rows and columns of a large tensor come from which of the small one, and how a
 * row of blocks is put together. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_GROW_IMPL_H
#define LEVER_MODEL_GROW_IMPL_H

#include "model/arch.h"
#include "model/grow.h"
#include "model/hparams.h"
#include "quant/quant.h"

/* ---- one dimension: runs of indices that come from the small model, ascending ---- */

typedef struct lv_grow_run {
    uint64_t big, small, n;
    uint64_t zeros; /* big indices after the run that must give zero (the rest of a longer head) */
} lv_grow_run;

typedef struct lv_grow_axis {
    uint64_t n_big, n_small;
    lv_grow_run *runs; /* [n_runs] */
    size_t   n_runs;
    bool     silent;   /* inputs beyond the runs are always zero, so any weight may meet them */
    bool     must_zero;/* outputs beyond the runs must be zero */
} lv_grow_axis;

enum { LV_GROW_ADDED = -1, LV_GROW_ZERO = -2 };
/* Small index for a big one, LV_GROW_ADDED (anything may stand there) or LV_GROW_ZERO. */
int64_t lv_grow_axis_find(const lv_grow_axis *a, uint64_t big);
/* All runs start and end at multiples of block on both sides. */
bool lv_grow_axis_whole(const lv_grow_axis *a, uint64_t block);
/* The axis for enum lv_dim. LEVER_OK, LEVER_ENOMEM. */
int  lv_grow_axis_init(lv_grow_axis *a, uint8_t dim, const lv_hparams *small, const lv_hparams *big,
                       lever_error *err);
void lv_grow_axis_fini(lv_grow_axis *a);

/* Big query head that computes small head h; big KV heads per small one are copies, *n_copies each. */
uint32_t lv_grow_q_head(const lv_hparams *small, const lv_hparams *big, uint32_t h);
uint32_t lv_grow_kv_copies(const lv_hparams *small, const lv_hparams *big);

/* ---- rows of blocks ---- */

typedef struct lv_grow_filler {
    const lv_type_traits *traits;
    uint32_t type;
    uint8_t *random, *zero; /* [n_blocks] blocks: random weights; weights of zero with random bits */
    size_t   n_blocks;
    uint64_t state;         /* of the generator */
} lv_grow_filler;

int  lv_grow_filler_init(lv_grow_filler *f, uint32_t type, uint64_t seed, lever_error *err);
void lv_grow_filler_fini(lv_grow_filler *f);
/* n weights (whole blocks) of the kind into dst. */
void lv_grow_fill(lv_grow_filler *f, void *dst, size_t n, bool zero);
/* Multiply the weights of n_blocks blocks by factor, through their scales. Exact for powers of two unless a
 * 16-bit scale becomes subnormal or overflows: then returns false. */
bool lv_grow_scale(uint32_t type, void *blocks, size_t n_blocks, float factor);

/* What the residual stream of a model of width n_small is multiplied by in one of n_big: a power of two. */
double lv_grow_stream_factor(uint32_t n_small, uint32_t n_big);

#endif
