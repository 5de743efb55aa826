/* The table of tensor types. SPDX-License-Identifier: MIT */
#include "quant/quant.h"

#include "base/mem.h"
#include "quant/quant_impl.h"

/* The bytes of a block where its 16-bit scales are. */
#define NONE 0, { 0, 0 }
#define AT(a) 1, { a, 0 }
#define PAIR(a, b) 2, { a, b }
#define FULL(id, fn, len, bytes, scales) \
    [LV_TYPE_##id] = { #id, len, bytes, scales, lv_dequantize_##fn, lv_quantize_##fn }

static const lv_type_traits table[LV_TYPE_COUNT] = {
    FULL(F32, f32, 1, 4, NONE),
    FULL(F16, f16, 1, 2, NONE),
    FULL(BF16, bf16, 1, 2, NONE),
    FULL(Q8_0, q8_0, 32, 34, AT(0)),
    FULL(Q4_0, q4_0, 32, 18, AT(0)),
    FULL(Q4_1, q4_1, 32, 20, PAIR(0, 2)),
    FULL(Q5_0, q5_0, 32, 22, AT(0)),
    FULL(Q5_1, q5_1, 32, 24, PAIR(0, 2)),
    FULL(Q2_K, q2_k, 256, 84, PAIR(80, 82)),
    FULL(Q3_K, q3_k, 256, 110, AT(108)),
    FULL(Q4_K, q4_k, 256, 144, PAIR(0, 2)),
    FULL(Q5_K, q5_k, 256, 176, PAIR(0, 2)),
    FULL(Q6_K, q6_k, 256, 210, AT(208)),
    FULL(IQ4_NL, iq4_nl, 32, 18, AT(0)),
    FULL(IQ4_XS, iq4_xs, 256, 136, AT(0)),
    FULL(MXFP4, mxfp4, 32, 17, NONE),
};

const lv_type_traits *lv_type_traits_get(uint32_t type)
{
    return type < LV_TYPE_COUNT && table[type].name ? &table[type] : NULL;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

int lv_type_from_name(const char *name)
{
    for (int type = 0; type < LV_TYPE_COUNT; type++) {
        const char *a = table[type].name, *b = name;
        if (!a) continue;
        while (*a && lower(*a) == lower(*b)) a++, b++;
        if (!*a && !*b) return type;
    }
    return -1;
}

size_t lv_type_row_bytes(uint32_t type, uint64_t n)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    size_t bytes;
    if (!t || n % t->block_len || n / t->block_len > SIZE_MAX) return 0;
    return lv_mul_size(&bytes, (size_t)(n / t->block_len), t->block_bytes) < 0 ? 0 : bytes;
}
