/* Block formats of GGUF tensors and their scalar truth (quantise, dequantise).
 * Owns: block layouts, type names, sizes. Does not own: products (kernel/).
 * Threading: pure functions. SPDX-License-Identifier: MIT */
#ifndef LEVER_QUANT_QUANT_H
#define LEVER_QUANT_QUANT_H

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

typedef struct lv_type_traits {
    const char *name;        /* "Q8_0"; as people write it in file names */
    uint32_t    block_len;   /* weights per block: 1, 32 or 256 */
    uint32_t    block_bytes;
    /* n is a multiple of block_len; NULL where this build can not. Exact scalar truth. */
    void (*dequantize)(float *dst, const void *src, size_t n);
    void (*quantize)(void *dst, const float *src, size_t n);
} lv_type_traits;

/* NULL for an id this build does not know at all; known ids always have name and sizes. */
const lv_type_traits *lv_type_traits_get(uint32_t type);
/* Type id for a name, without regard to case ("q8_0"); -1 when unknown. */
int lv_type_from_name(const char *name);
/* Bytes of n weights in a row; 0 when n is not a multiple of the block length or it overflows. */
size_t lv_type_row_bytes(uint32_t type, uint64_t n);

#endif
