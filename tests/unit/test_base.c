/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/bytes.h"
#include "base/f16.h"
#include "base/mem.h"

static void size_maths_reports_overflow(void)
{
    size_t n;
    CHECK_EQ(lv_mul_size(&n, 3, 5), 0);
    CHECK_EQ(n, 15);
    CHECK_EQ(lv_mul_size(&n, SIZE_MAX / 2, 3), -1);
    CHECK(n == SIZE_MAX);
    CHECK_EQ(lv_add_size(&n, SIZE_MAX, 1), -1);
    CHECK(lv_alloc_array(SIZE_MAX / 4, 8, 16) == NULL);
}

static void alloc_is_zeroed_aligned_and_counted(void)
{
    const size_t live = lv_alloc_live();
    unsigned char *p = lv_alloc(100, 64);
    CHECK(p && (uintptr_t)p % 64 == 0);
    for (int i = 0; p && i < 100; i++) CHECK_EQ(p[i], 0);
    unsigned char *m = lv_map(5 << 20);
    CHECK(m && (uintptr_t)m % (2 << 20) == 0);
    CHECK_EQ(lv_alloc_live(), live + 2);
    lv_free(p);
    lv_unmap(m, 5 << 20);
    CHECK_EQ(lv_alloc_live(), live);
}

static void injected_fault_fires_once_or_stays(void)
{
    lv_alloc_fault(1, false);
    void *a = lv_alloc(8, 16), *b = lv_alloc(8, 16), *c = lv_alloc(8, 16);
    CHECK(a && !b && c && lv_alloc_fault_fired());
    lv_alloc_fault(0, true);
    CHECK(!lv_alloc(8, 16) && !lv_map(4096));
    lv_alloc_fault(-1, false);
    CHECK(!lv_alloc_fault_fired());
    lv_free(a);
    lv_free(c);
}

static void cursor_can_not_run_past_the_end(void)
{
    const uint8_t raw[6] = { 1, 2, 3, 4, 5, 6 };
    lv_bytes b = lv_bytes_init(raw, sizeof raw);
    CHECK_EQ(lv_bytes_u32(&b), 0x04030201);
    CHECK_EQ(lv_bytes_u32(&b), 0);
    CHECK(b.bad);
    CHECK_EQ(lv_bytes_u8(&b), 0); /* stays bad although one byte would fit */
    b = lv_bytes_init(raw, sizeof raw);
    CHECK(lv_bytes_take(&b, UINT64_MAX) == NULL && b.bad);
}

static void f16_round_trips_every_value(void)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = lv_f16_to_f32((uint16_t)h);
        if (f != f) continue;
        if (lv_f32_to_f16(f) != h) CHECK_EQ(lv_f32_to_f16(f), h);
    }
    CHECK_EQ(lv_f32_to_f16(65519.9f), 0x7bff); /* just below the midpoint to 2^16 */
    CHECK_EQ(lv_f32_to_f16(65520.0f), 0x7c00); /* tie goes to even: infinity */
    CHECK_EQ(lv_f32_to_f16(0x1p-25f), 0);      /* half the smallest subnormal: tie to even */
    CHECK_EQ(lv_f32_to_f16(0x1.8p-25f), 1);
    CHECK_EQ(lv_f32_to_bf16(1.00390625f), 0x3f80); /* 1 + 2^-8: tie to even */
}

static void budget_refuses_what_does_not_fit(void)
{
    lever_error e = { 0 };
    CHECK_EQ(lv_budget_charge(60, 100, "weights", &e), LEVER_OK);
    CHECK_EQ(lv_budget_used(), 60);
    CHECK_EQ(lv_budget_charge(41, 100, "KV cache", &e), LEVER_ELIMIT);
    CHECK(strstr(e.msg, "KV cache") && strstr(e.msg, "--mem"));
    CHECK_EQ(lv_budget_charge(SIZE_MAX, 100, "huge", &e), LEVER_ELIMIT);
    CHECK_EQ(lv_budget_charge(1, 50, "under a smaller limit", &e), LEVER_ELIMIT);
    CHECK_EQ(lv_budget_charge(1, 0, "without a limit", &e), LEVER_OK);
    lv_budget_refund(61);
    CHECK_EQ(lv_budget_charge(100, 100, "all", &e), LEVER_OK);
    lv_budget_refund(100);
    CHECK_EQ(lv_budget_used(), 0);
}

static void error_text_is_prefixed_and_never_overrun(void)
{
    lever_error e;
    CHECK_EQ(lv_fail(&e, LEVER_EIO, 2, "open '%s'", "x"), LEVER_EIO);
    CHECK_STR(e.msg, "open 'x': No such file or directory");
    CHECK_EQ(lv_fail_prefix(&e, LEVER_EINVAL, "model"), LEVER_EIO);
    CHECK_STR(e.msg, "model: open 'x': No such file or directory");
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    lv_fail(&e, LEVER_EIO, 5, "%s", big);
    CHECK_EQ(strlen(e.msg), sizeof e.msg - 1);
    CHECK_STR(lever_status_name(LEVER_ELIMIT), "LEVER_ELIMIT");
    CHECK_STR(lever_status_name(-999), "LEVER_E?");
}

int main(void)
{
    RUN(size_maths_reports_overflow);
    RUN(alloc_is_zeroed_aligned_and_counted);
    RUN(injected_fault_fires_once_or_stays);
    RUN(cursor_can_not_run_past_the_end);
    RUN(f16_round_trips_every_value);
    RUN(budget_refuses_what_does_not_fit);
    RUN(error_text_is_prefixed_and_never_overrun);
    return check_done();
}
