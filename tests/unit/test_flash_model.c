/* The arithmetic of modelled flash: rates, the law of read lengths, queue, jitter. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "flash/flash_model.h"

/* Bytes per second of n reads of `bytes`, with at most `depth` in flight. */
static double rate(const lv_flash_model *m, uint32_t bytes, uint32_t depth, uint32_t n)
{
    static uint64_t done[1024];
    lv_flash_clock c;
    lv_flash_clock_init(&c, m);
    uint64_t now = 0, last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i >= depth && done[i - depth] > now) now = done[i - depth];
        done[i] = lv_flash_clock_submit(&c, m, now, bytes);
        CHECK(done[i] >= now);
        if (done[i] > last) last = done[i];
    }
    return (double)bytes * n * 1e9 / (double)last;
}

static bool near(double x, double want, double share) { return fabs(x - want) <= share * want; }

static void without_a_model_reads_are_delivered_at_once(void)
{
    const lv_flash_model none = { 0 };
    lv_flash_clock c;
    lv_flash_clock_init(&c, &none);
    CHECK(!lv_flash_model_waits(&none));
    for (uint64_t t = 5; t < 50; t += 9) CHECK_EQ(lv_flash_clock_submit(&c, &none, t, 1u << 31), t);
}

static void a_limit_is_a_rate_and_saves_nothing_up(void)
{
    lv_flash_model m;
    lever_error e = { 0 };
    CHECK_OK(lv_flash_model_get(&m, NULL, 1000000, &e), &e); /* 1 us a byte */
    CHECK(lv_flash_model_waits(&m) && !m.name);
    lv_flash_clock c;
    lv_flash_clock_init(&c, &m);
    CHECK_EQ(lv_flash_clock_submit(&c, &m, 0, 10), 10000);
    CHECK_EQ(lv_flash_clock_submit(&c, &m, 0, 5), 15000);           /* behind the first */
    CHECK_EQ(lv_flash_clock_submit(&c, &m, 14000, 1), 16000);
    CHECK_EQ(lv_flash_clock_submit(&c, &m, 1000000, 100), 1100000); /* idle time is gone */
}

static void short_reads_are_slower_by_the_law(void)
{
    const lv_flash_model m = { .bytes_per_s = 3700000000, .half_bytes = 30 << 10 };
    static const uint32_t bytes[] = { 4096, 30 << 10, 128 << 10, 512 << 10, 4 << 20 };
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        const double s = bytes[i], want = 3.7e9 * s / (s + (30 << 10));
        CHECK(near(rate(&m, bytes[i], 8, 500), want, 0.001));
        CHECK(near(rate(&m, bytes[i], 1, 500), want, 0.001)); /* without latency the depth changes nothing */
    }
}

static void latency_hides_behind_other_reads_as_far_as_the_queue_goes(void)
{
    lv_flash_model m = { .latency_ns = 100000 };
    CHECK(lv_flash_model_waits(&m));
    CHECK(near(rate(&m, 4096, 1, 1000), 4096e4, 1e-9));     /* ten thousand reads a second */
    CHECK(near(rate(&m, 4096, 8, 1000), 8 * 4096e4, 1e-9));
    m.queue = 2;
    CHECK(near(rate(&m, 4096, 8, 1000), 2 * 4096e4, 1e-9)); /* the device takes two at a time */
    m.queue = 1, m.bytes_per_s = 40960000;                  /* 100 us on the link, and one at a time */
    CHECK(near(rate(&m, 4096, 8, 1000), 4096e4 / 2, 1e-9));
    m.queue = 0;
    CHECK(near(rate(&m, 4096, 8, 1000), 4096e4, 0.002));    /* the link is always busy */
}

static void jitter_is_a_share_of_the_latency_and_comes_from_the_seed(void)
{
    lv_flash_model m = { .latency_ns = 100000, .jitter_percent = 30 };
    double sum = 0;
    uint64_t least = UINT64_MAX, most = 0, first[4];
    for (uint64_t seed = 0; seed < 4; seed++) {
        lv_flash_clock c, again;
        m.seed = seed;
        lv_flash_clock_init(&c, &m);
        lv_flash_clock_init(&again, &m);
        for (int i = 0; i < 2000; i++) {
            const uint64_t t = lv_flash_clock_submit(&c, &m, 0, 4096);
            CHECK_EQ(lv_flash_clock_submit(&again, &m, 0, 4096), t);
            if (i == 0) first[seed] = t;
            sum += (double)t;
            least = t < least ? t : least, most = t > most ? t : most;
        }
    }
    CHECK(least >= 70000 && least < 71000 && most <= 130000 && most > 129000);
    CHECK(near(sum / 8000, 100000, 0.01));
    CHECK(first[0] != first[1] && first[1] != first[2] && first[2] != first[3]);
}

static void named_devices_have_the_speeds_of_their_class(void)
{
    static const struct { const char *name; double long_reads, short_reads; } want[] = {
        { "ufs4.0", 3.7e9, 0.45e9 }, { "ufs3.1", 2.1e9, 0.25e9 }, { "emmc5.1", 0.3e9, 0.03e9 },
        { "microsd-a1", 0.09e9, 1500 * 4096 }, { "nvme", 3.5e9, 2e9 },
    };
    lever_error e = { 0 };
    lv_flash_model m;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        CHECK_OK(lv_flash_model_get(&m, want[i].name, 0, &e), &e);
        CHECK_STR(m.name, want[i].name);
        CHECK(m.queue <= LV_FLASH_QUEUE_MOST && m.jitter_percent <= 100);
        const double long_rate = rate(&m, 4 << 20, 32, 1000), short_rate = rate(&m, 4096, 64, 1000);
        CHECK(near(long_rate, want[i].long_reads, 0.03) && near(short_rate, want[i].short_reads, 0.15));
    }
    CHECK_OK(lv_flash_model_get(&m, "ufs3.1", 500000000, &e), &e); /* a limit below the device's own */
    CHECK(near(rate(&m, 4 << 20, 32, 1000), 0.5e9, 0.02) && m.name);
    CHECK_OK(lv_flash_model_get(&m, "ufs3.1", 9000000000, &e), &e); /* one above it */
    CHECK_EQ(m.bytes_per_s, 2100000000);
}

static void an_unknown_device_is_told_the_known_ones(void)
{
    lever_error e = { 0 };
    lv_flash_model m;
    CHECK_EQ(lv_flash_model_get(&m, "tape", 0, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "'tape'; known: ufs4.0, ufs3.1, emmc5.1, microsd-a1, nvme"));
    CHECK(!lv_flash_model_waits(&m));
}

int main(void)
{
    RUN(without_a_model_reads_are_delivered_at_once);
    RUN(a_limit_is_a_rate_and_saves_nothing_up);
    RUN(short_reads_are_slower_by_the_law);
    RUN(latency_hides_behind_other_reads_as_far_as_the_queue_goes);
    RUN(jitter_is_a_share_of_the_latency_and_comes_from_the_seed);
    RUN(named_devices_have_the_speeds_of_their_class);
    RUN(an_unknown_device_is_told_the_known_ones);
    return check_done();
}
