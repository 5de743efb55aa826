/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "base/f16.h"
#include "quant/quant.h"

static const struct { uint32_t type; const char *name; uint32_t len, bytes; } known[] = {
    { LV_TYPE_F32, "F32", 1, 4 },         { LV_TYPE_F16, "F16", 1, 2 },
    { LV_TYPE_BF16, "BF16", 1, 2 },       { LV_TYPE_Q4_0, "Q4_0", 32, 18 },
    { LV_TYPE_Q4_1, "Q4_1", 32, 20 },     { LV_TYPE_Q5_0, "Q5_0", 32, 22 },
    { LV_TYPE_Q5_1, "Q5_1", 32, 24 },     { LV_TYPE_Q8_0, "Q8_0", 32, 34 },
    { LV_TYPE_Q2_K, "Q2_K", 256, 84 },    { LV_TYPE_Q3_K, "Q3_K", 256, 110 },
    { LV_TYPE_Q4_K, "Q4_K", 256, 144 },   { LV_TYPE_Q5_K, "Q5_K", 256, 176 },
    { LV_TYPE_Q6_K, "Q6_K", 256, 210 },   { LV_TYPE_IQ4_NL, "IQ4_NL", 32, 18 },
    { LV_TYPE_IQ4_XS, "IQ4_XS", 256, 136 }, { LV_TYPE_MXFP4, "MXFP4", 32, 17 },
};
enum { N_KNOWN = sizeof known / sizeof *known };

static void every_known_type_has_name_and_sizes(void)
{
    int found = 0;
    for (uint32_t t = 0; t < LV_TYPE_COUNT; t++) found += lv_type_traits_get(t) != NULL;
    CHECK_EQ(found, N_KNOWN);
    for (int i = 0; i < N_KNOWN; i++) {
        const lv_type_traits *t = lv_type_traits_get(known[i].type);
        CHECK(t != NULL);
        if (!t) continue;
        CHECK_STR(t->name, known[i].name);
        CHECK_EQ(t->block_len, known[i].len);
        CHECK_EQ(t->block_bytes, known[i].bytes);
        CHECK_EQ(lv_type_from_name(t->name), known[i].type);
        CHECK_EQ(!t->dequantize, !t->quantize);
    }
    CHECK(!lv_type_traits_get(4) && !lv_type_traits_get(LV_TYPE_COUNT) && !lv_type_traits_get(UINT32_MAX));
}

static void names_are_matched_without_case_and_in_full(void)
{
    CHECK_EQ(lv_type_from_name("q8_0"), LV_TYPE_Q8_0);
    CHECK_EQ(lv_type_from_name("Bf16"), LV_TYPE_BF16);
    CHECK_EQ(lv_type_from_name("Q8_"), -1);
    CHECK_EQ(lv_type_from_name("Q8_0x"), -1);
    CHECK_EQ(lv_type_from_name(""), -1);
}

static void row_bytes_refuses_partial_blocks_and_overflow(void)
{
    CHECK_EQ(lv_type_row_bytes(LV_TYPE_Q8_0, 64), 68);
    CHECK_EQ(lv_type_row_bytes(LV_TYPE_Q8_0, 63), 0);
    CHECK_EQ(lv_type_row_bytes(LV_TYPE_Q4_K, 512), 288);
    CHECK_EQ(lv_type_row_bytes(LV_TYPE_F32, UINT64_MAX), 0);
    CHECK_EQ(lv_type_row_bytes(5, 32), 0);
}

static uint32_t rng_state = 12345;
static float uniform(void) /* -1..1 */
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (float)((int32_t)rng_state >> 8) / 8388608.0f;
}

/* Largest error a format allows for a block: half a step, and the scale is rounded to f16. */
static void check_block_error(uint32_t type, float scale, float steps, float top)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    float x[64], y[64];
    uint8_t q[64 * 4 + 1];
    for (int i = 0; i < 64; i++) x[i] = scale * uniform();
    t->quantize(q + 1, x, 64); /* unaligned on purpose */
    t->dequantize(y, q + 1, 64);
    for (int b = 0; b < 64; b += 32) {
        float amax = 0;
        for (int i = b; i < b + 32; i++) amax = fmaxf(amax, fabsf(x[i]));
        const float d = amax / steps, bound = d * (top + steps / 1024.0f) + 0x1p-24f * steps;
        for (int i = b; i < b + 32; i++) CHECK(fabsf(x[i] - y[i]) <= bound);
    }
}

static void quantisation_error_stays_within_half_a_step(void)
{
    for (float scale = 1e-7f; scale < 1e4f; scale *= 3.0f) {
        check_block_error(LV_TYPE_Q8_0, scale, 127.0f, 0.5f);
        check_block_error(LV_TYPE_Q4_0, scale, 8.0f, 1.0f); /* +8 is cut to +7 */
    }
}

static void q8_0_scale_and_codes_follow_the_format(void)
{
    float x[32] = { 0 };
    x[0] = -254.0f, x[1] = 127.0f, x[2] = 3.0f, x[3] = -3.0f, x[4] = 2.9f; /* d = 2: ties go away from 0 */
    lv_block_q8_0 b;
    lv_type_traits_get(LV_TYPE_Q8_0)->quantize(&b, x, 32);
    CHECK_EQ(b.d, lv_f32_to_f16(2.0f));
    CHECK_EQ(b.qs[0], -127);
    CHECK_EQ(b.qs[1], 64);
    CHECK_EQ(b.qs[2], 2);
    CHECK_EQ(b.qs[3], -2);
    CHECK_EQ(b.qs[4], 1);
    CHECK_EQ(b.qs[31], 0);
    b.qs[31] = -128; /* never written by quantise, but allowed in files */
    float y[32];
    lv_type_traits_get(LV_TYPE_Q8_0)->dequantize(y, &b, 32);
    CHECK(y[31] == -256.0f && y[0] == -254.0f);
}

static void q4_0_scale_and_nibbles_follow_the_format(void)
{
    float x[32] = { 0 };
    x[0] = 16.0f, x[1] = -16.0f, x[16] = 2.0f, x[17] = -14.0f; /* first extreme wins: d = -2 */
    lv_block_q4_0 b;
    lv_type_traits_get(LV_TYPE_Q4_0)->quantize(&b, x, 32);
    CHECK_EQ(b.d, lv_f32_to_f16(-2.0f));
    CHECK_EQ(b.qs[0], 0 | 7 << 4);
    CHECK_EQ(b.qs[1], 15 | 15 << 4);
    CHECK_EQ(b.qs[2], 8 | 8 << 4);
    float y[32];
    lv_type_traits_get(LV_TYPE_Q4_0)->dequantize(y, &b, 32);
    CHECK(y[0] == 16.0f && y[1] == -14.0f && y[16] == 2.0f && y[17] == -14.0f && y[5] == 0.0f);
}

static void zero_tiny_and_damaged_blocks_are_defined(void)
{
    const uint32_t types[] = { LV_TYPE_Q8_0, LV_TYPE_Q4_0 };
    for (int k = 0; k < 2; k++) {
        const lv_type_traits *t = lv_type_traits_get(types[k]);
        uint8_t q[34];
        float x[32] = { 0 }, y[32];
        t->quantize(q, x, 32);
        t->dequantize(y, q, 32);
        for (int i = 0; i < 32; i++) CHECK(y[i] == 0.0f);
        x[3] = 1e-40f; /* subnormal: 1/d would be infinite */
        t->quantize(q, x, 32);
        t->dequantize(y, q, 32);
        for (int i = 0; i < 32; i++) CHECK(y[i] == 0.0f);
        const float bad[] = { NAN, -NAN, INFINITY, -INFINITY };
        for (int j = 0; j < 4; j++) {
            x[3] = 1.0f, x[30] = bad[j];
            t->quantize(q, x, 32);
            t->dequantize(y, q, 32);
            for (int i = 0; i < 32; i++) CHECK(y[i] != y[i]);
        }
    }
}

static void float_types_round_trip_at_odd_addresses(void)
{
    const float x[4] = { 0.0f, -1.5f, 1024.0f, 0x1p-14f };
    const uint32_t types[] = { LV_TYPE_F32, LV_TYPE_F16, LV_TYPE_BF16 };
    for (int k = 0; k < 3; k++) {
        const lv_type_traits *t = lv_type_traits_get(types[k]);
        uint8_t raw[17];
        float y[4];
        t->quantize(raw + 1, x, 4);
        t->dequantize(y, raw + 1, 4);
        CHECK(!memcmp(x, y, sizeof x));
    }
    const float third = 1.0f / 3.0f;
    uint16_t h;
    lv_type_traits_get(LV_TYPE_F16)->quantize(&h, &third, 1);
    CHECK_EQ(h, 0x3555);
    lv_type_traits_get(LV_TYPE_BF16)->quantize(&h, &third, 1);
    CHECK_EQ(h, 0x3eab);
}

int main(void)
{
    RUN(every_known_type_has_name_and_sizes);
    RUN(names_are_matched_without_case_and_in_full);
    RUN(row_bytes_refuses_partial_blocks_and_overflow);
    RUN(quantisation_error_stays_within_half_a_step);
    RUN(q8_0_scale_and_codes_follow_the_format);
    RUN(q4_0_scale_and_nibbles_follow_the_format);
    RUN(zero_tiny_and_damaged_blocks_are_defined);
    RUN(float_types_round_trip_at_odd_addresses);
    return check_done();
}
