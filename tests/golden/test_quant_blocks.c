/* Every block format against floats from an independent implementation, bit for bit.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <stdbool.h>

#include "base/f16.h"
#include "quant/quant.h"

enum { BYTES_MAX = 1024, VALUES_MAX = 1024 };

static void expect_bits(FILE *f, const char *name, size_t n_bytes, size_t n_values)
{
    uint8_t raw[BYTES_MAX + 1];
    float x[VALUES_MAX];
    unsigned v;
    const int type = lv_type_from_name(name);
    CHECK(type >= 0);
    CHECK_EQ(lv_type_row_bytes((uint32_t)type, n_values), n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        CHECK_EQ(fscanf(f, "%2x", &v), 1);
        raw[i + 1] = (uint8_t)v; /* at an odd address: tensors may start anywhere */
    }
    lv_type_traits_get((uint32_t)type)->dequantize(x, raw + 1, n_values);
    int wrong = 0;
    for (size_t i = 0; i < n_values; i++) {
        CHECK_EQ(fscanf(f, "%8x", &v), 1);
        if (lv_f32_bits(x[i]) == v || wrong++ > 4) continue;
        fprintf(stderr, "%s: weight %zu is %a, expected %a\n", name, i, x[i], lv_f32_from_bits(v));
    }
    CHECK_EQ(wrong, 0);
}

static void dequantised_blocks_have_the_expected_bits(void)
{
    bool seen[LV_TYPE_COUNT] = { [LV_TYPE_F32] = true };
    char name[16];
    size_t n_bytes, n_values;
    FILE *f = fopen("tests/golden/quant_blocks.txt", "r");
    CHECK(f != NULL);
    if (!f) return;
    CHECK_EQ(fscanf(f, "#%*[^\n]"), 0);
    while (fscanf(f, "%15s bytes %zu values %zu", name, &n_bytes, &n_values) == 3) {
        const int type = lv_type_from_name(name);
        if (type < 0 || n_bytes > BYTES_MAX || n_values > VALUES_MAX) break;
        seen[type] = true;
        expect_bits(f, name, n_bytes, n_values);
    }
    CHECK(feof(f));
    fclose(f);
    for (uint32_t t = 0; t < LV_TYPE_COUNT; t++) CHECK(seen[t] || !lv_type_traits_get(t));
}

int main(void)
{
    RUN(dequantised_blocks_have_the_expected_bits);
    return check_done();
}
