/* Searches for scales and codes of block formats: least squared error among a grid of candidates.
 * Owns: the choice of numbers. Does not own: how a format packs them (quant_k.c, quant_iq4.c).
 * Pure functions. SPDX-License-Identifier: MIT */
#ifndef LEVER_QUANT_QUANT_FIT_H
#define LEVER_QUANT_QUANT_FIT_H

#include <stdint.h>

enum { LV_FIT_LEN = 256, LV_FIT_SUBS = 16 };

/* x = (d * scale) * level; the level of code c is value[c], or lo + c where there is no table. */
typedef struct lv_fit_scaled_format {
    int n_sub, sub_len;     /* sub-blocks with a scale each; at most LV_FIT_SUBS and LV_FIT_LEN weights */
    int scale_lo, scale_hi; /* scale_lo is the end of larger magnitude; both 1: no scales besides d */
    int lo, hi;             /* levels, lo < 0 < hi */
    const int8_t *value;    /* [16] ascending from lo to hi, or NULL */
    const float  *middle;   /* [15] midway between neighbours of value */
} lv_fit_scaled_format;

typedef struct lv_fit_scaled {
    uint16_t d;    /* f16 bits */
    int16_t  scale[LV_FIT_SUBS];
    uint8_t  code[LV_FIT_LEN];
} lv_fit_scaled;

/* x = (d * scale) * code - dmin * min */
typedef struct lv_fit_affine_format {
    int n_sub, sub_len;
    int top;       /* codes 0..top */
    int scale_top; /* scales and minima 0..scale_top */
} lv_fit_affine_format;

typedef struct lv_fit_affine {
    uint16_t d, dmin; /* f16 bits */
    uint8_t  scale[LV_FIT_SUBS], min[LV_FIT_SUBS];
    uint8_t  code[LV_FIT_LEN];
} lv_fit_affine;

/* x [n_sub][sub_len]. A block with a weight that is not finite, or one that needs a scale beyond f16,
 * gets a NaN for d, zeros for the rest. */
void lv_fit_scaled_block(lv_fit_scaled *out, const lv_fit_scaled_format *f, const float *x);
void lv_fit_affine_block(lv_fit_affine *out, const lv_fit_affine_format *f, const float *x);

#endif
