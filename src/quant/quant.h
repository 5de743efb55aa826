/* Block formats of GGUF tensors and their scalar truth (quantise, dequantise).
 * Owns: block layouts, type names, sizes. Does not own: products (kernel/).
 * Threading: pure functions. SPDX-License-Identifier: MIT */
#ifndef LEVER_QUANT_QUANT_H
#define LEVER_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are the file format's (ggml type ids). */
enum lv_type {
    LV_TYPE_F32 = 0,   LV_TYPE_F16 = 1,   LV_TYPE_Q4_0 = 2,  LV_TYPE_Q4_1 = 3,
    LV_TYPE_Q5_0 = 6,  LV_TYPE_Q5_1 = 7,  LV_TYPE_Q8_0 = 8,  LV_TYPE_Q2_K = 10,
    LV_TYPE_Q3_K = 11, LV_TYPE_Q4_K = 12, LV_TYPE_Q5_K = 13, LV_TYPE_Q6_K = 14,
    LV_TYPE_IQ4_NL = 20, LV_TYPE_IQ4_XS = 23, LV_TYPE_BF16 = 30, LV_TYPE_MXFP4 = 39,
    LV_TYPE_COUNT = 40
};

typedef struct lv_block_q8_0 { /* x[i] = d * qs[i] */
    uint16_t d;                /* f16 bits */
    int8_t   qs[32];
} lv_block_q8_0;
_Static_assert(sizeof(lv_block_q8_0) == 34, "file format: no padding");

typedef struct lv_block_q4_0 { /* x[i] = d * ((qs[i] & 15) - 8), x[16+i] = d * ((qs[i] >> 4) - 8) */
    uint16_t d;                /* f16 bits */
    uint8_t  qs[16];
} lv_block_q4_0;
_Static_assert(sizeof(lv_block_q4_0) == 18, "file format: no padding");

typedef struct lv_block_q4_1 { /* x = d * q + m; q of 4 bits, packed as in Q4_0 */
    uint16_t d, m;             /* f16 bits */
    uint8_t  qs[16];
} lv_block_q4_1;
_Static_assert(sizeof(lv_block_q4_1) == 20, "file format: no padding");

/* x = d * (q - 16); q of 5 bits: bit 4 of weight i is bit i of qh, the others are packed as in Q4_0 */
typedef struct lv_block_q5_0 {
    uint16_t d; /* f16 bits */
    uint8_t  qh[4], qs[16];
} lv_block_q5_0;
_Static_assert(sizeof(lv_block_q5_0) == 22, "file format: no padding");

typedef struct lv_block_q5_1 { /* x = d * q + m; q as in Q5_0 */
    uint16_t d, m;             /* f16 bits */
    uint8_t  qh[4], qs[16];
} lv_block_q5_1;
_Static_assert(sizeof(lv_block_q5_1) == 24, "file format: no padding");

/* ---- blocks of 256: a scale and perhaps a minimum for each 16 or 32 weights, in units of d and dmin ----
 *
 * Each operation below is one float operation, in the order of the parentheses; q, sc and m are integers
 * that a float holds exactly.
 *
 * Plane of so many bits, run R: where the format keeps some bits of each code. R neighbouring codes take
 * the lowest bits of R bytes, the next R codes the bits above, and when the bytes are full the next R
 * bytes begin (lv_plane_get). */

typedef struct lv_block_q2_k { /* 16 x 16: x = ((d * sc) * q) - (dmin * m), q 0..3 */
    uint8_t  scales[16];       /* sc 0..15 below, m 0..15 above */
    uint8_t  qs[64];           /* plane of 2 bits, run 32 */
    uint16_t d, dmin;          /* f16 bits */
} lv_block_q2_k;
_Static_assert(sizeof(lv_block_q2_k) == 84, "file format: no padding");

typedef struct lv_block_q3_k { /* 16 x 16: x = (d * (sc - 32)) * (q - 4), sc 0..63, q 0..7 */
    uint8_t  hmask[32];        /* bit 2 of q: plane of 1 bit, run 32 */
    uint8_t  qs[64];           /* bits 0 and 1 of q: plane of 2 bits, run 32 */
    uint8_t  scales[12];       /* sc: 8 bytes of low 4 bits, run 8; 4 bytes of high 2 bits, run 4 */
    uint16_t d;                /* f16 bits */
} lv_block_q3_k;
_Static_assert(sizeof(lv_block_q3_k) == 110, "file format: no padding");

typedef struct lv_block_q4_k { /* 8 x 32: x = ((d * sc) * q) - (dmin * m), q 0..15 */
    uint16_t d, dmin;          /* f16 bits */
    uint8_t  scales[12];       /* sc and m 0..63; lv_q4_k_scale */
    uint8_t  qs[128];          /* plane of 4 bits, run 32 */
} lv_block_q4_k;
_Static_assert(sizeof(lv_block_q4_k) == 144, "file format: no padding");

typedef struct lv_block_q5_k { /* as Q4_K with q 0..31 */
    uint16_t d, dmin;          /* f16 bits */
    uint8_t  scales[12];
    uint8_t  qh[32];           /* bit 4 of q: plane of 1 bit, run 32 */
    uint8_t  qs[128];          /* plane of 4 bits, run 32 */
} lv_block_q5_k;
_Static_assert(sizeof(lv_block_q5_k) == 176, "file format: no padding");

typedef struct lv_block_q6_k { /* 16 x 16: x = (d * sc) * (q - 32), sc -128..127, q 0..63 */
    uint8_t  ql[128];          /* bits 0 to 3 of q: plane of 4 bits, run 64 */
    uint8_t  qh[64];           /* bits 4 and 5 of q: plane of 2 bits, run 32 */
    int8_t   scales[16];
    uint16_t d;                /* f16 bits */
} lv_block_q6_k;
_Static_assert(sizeof(lv_block_q6_k) == 210, "file format: no padding");

/* ---- 4-bit codes that stand for the values of a table ---- */

typedef struct lv_block_iq4_nl { /* x = d * lv_iq4_value[q], packed as in Q4_0 */
    uint16_t d;                  /* f16 bits */
    uint8_t  qs[16];
} lv_block_iq4_nl;
_Static_assert(sizeof(lv_block_iq4_nl) == 18, "file format: no padding");

typedef struct lv_block_iq4_xs { /* 8 x 32: x = (d * (sc - 32)) * lv_iq4_value[q], sc 0..63 */
    uint16_t d;                  /* f16 bits */
    uint8_t  scales_h[2];        /* high 2 bits of sc: plane of 2 bits, run 1 */
    uint8_t  scales_l[4];        /* low 4 bits of sc: plane of 4 bits, run 1 */
    uint8_t  qs[128];            /* plane of 4 bits, run 16: eight times as in Q4_0 */
} lv_block_iq4_xs;
_Static_assert(sizeof(lv_block_iq4_xs) == 136, "file format: no padding");

/* x = 2^(e - 128) * lv_mxfp4_value[q]; the table holds the doubled values of E2M1, so that they are
 * integers. e = 255 is NaN, as OCP's specification of E8M0 has it; ggml reads it as a number. */
typedef struct lv_block_mxfp4 {
    uint8_t e, qs[16]; /* qs packed as in Q4_0 */
} lv_block_mxfp4;
_Static_assert(sizeof(lv_block_mxfp4) == 17, "file format: no padding");

extern const int8_t lv_iq4_value[16], lv_mxfp4_value[16];

/* Bits of code i in a plane of `bits` bits per code. */
static inline unsigned lv_plane_get(const uint8_t *plane, unsigned bits, unsigned run, unsigned i)
{
    const unsigned per_byte = 8 / bits, shift = bits * (i / run % per_byte);
    return plane[run * (i / (run * per_byte)) + i % run] >> shift & ((1u << bits) - 1);
}

/* The same place must hold zeros; bits of `code` above `bits` are ignored. */
static inline void lv_plane_put(uint8_t *plane, unsigned bits, unsigned run, unsigned i, unsigned code)
{
    const unsigned per_byte = 8 / bits, shift = bits * (i / run % per_byte);
    uint8_t *at = &plane[run * (i / (run * per_byte)) + i % run];
    *at = (uint8_t)(*at | (code & ((1u << bits) - 1)) << shift);
}

/* Scale and minimum of sub-block j (0..7) of a Q4_K or Q5_K block. */
void lv_q4_k_scale(const uint8_t scales[12], unsigned j, uint8_t *sc, uint8_t *m);

typedef struct lv_type_traits {
    const char *name;        /* "Q8_0"; as people write it in file names */
    uint32_t    block_len;   /* weights per block: 1, 32 or 256 */
    uint32_t    block_bytes;
    uint8_t     n_scales, scale_at[2]; /* bytes of the block where its 16-bit float scales are */
    /* n is a multiple of block_len; NULL where this build can not. Exact scalar truth. */
    void (*dequantize)(float *dst, const void *src, size_t n);
    void (*quantize)(void *dst, const float *src, size_t n);
} lv_type_traits;

/* Length and bytes of a quantised type's block, for code compiled once per type. */
static inline uint32_t lv_type_block_len(uint32_t type)
{
    const bool k = (type >= LV_TYPE_Q2_K && type <= LV_TYPE_Q6_K) || type == LV_TYPE_IQ4_XS;
    return k ? 256 : 32;
}

static inline size_t lv_type_block_bytes(uint32_t type)
{
    switch (type) {
    case LV_TYPE_Q4_0: return sizeof(lv_block_q4_0);
    case LV_TYPE_Q4_1: return sizeof(lv_block_q4_1);
    case LV_TYPE_Q5_0: return sizeof(lv_block_q5_0);
    case LV_TYPE_Q5_1: return sizeof(lv_block_q5_1);
    case LV_TYPE_Q8_0: return sizeof(lv_block_q8_0);
    case LV_TYPE_Q2_K: return sizeof(lv_block_q2_k);
    case LV_TYPE_Q3_K: return sizeof(lv_block_q3_k);
    case LV_TYPE_Q4_K: return sizeof(lv_block_q4_k);
    case LV_TYPE_Q5_K: return sizeof(lv_block_q5_k);
    case LV_TYPE_Q6_K: return sizeof(lv_block_q6_k);
    case LV_TYPE_IQ4_NL: return sizeof(lv_block_iq4_nl);
    case LV_TYPE_IQ4_XS: return sizeof(lv_block_iq4_xs);
    default: return sizeof(lv_block_mxfp4);
    }
}

/* NULL for an id this build does not know at all; known ids always have name and sizes. */
const lv_type_traits *lv_type_traits_get(uint32_t type);
/* Type id for a name, without regard to case ("q8_0"); -1 when unknown. */
int lv_type_from_name(const char *name);
/* Bytes of n weights in a row; 0 when n is not a multiple of the block length or it overflows. */
size_t lv_type_row_bytes(uint32_t type, uint64_t n);

#endif
