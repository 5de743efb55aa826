/* The flash probe: what it chooses, what it measures, what it refuses. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/check.h"

#include "base/mem.h"
#include "flash/load.h"
#include "flash/probe.h"

static char path[128];

static void make_file(off_t bytes)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/lever-probe-%ld", dir ? dir : "/tmp", (long)getpid());
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(fd >= 0 && ftruncate(fd, bytes) == 0);
    close(fd);
}

static void the_least_memory_among_the_fastest_is_chosen(void)
{
    const lv_probe_point points[] = {
        { "uring", 4 << 20, 4, true, 4.00e9, 0 },   /* the fastest */
        { "uring", 1 << 20, 4, true, 3.90e9, 0 },   /* within 3 %, a quarter of the memory */
        { "uring", 512 << 10, 2, true, 3.87e9, 0 }, /* less still, but too slow */
        { "uring", 1 << 20, 8, true, 3.99e9, 0 },
    };
    CHECK_EQ(lv_probe_choose(points, 4), 1);
    CHECK_EQ(lv_probe_choose(points, 1), 0);
}

/* What lasts while the processor is busy is preferred, as long as it is not much slower. */
static void enough_is_kept_in_flight(void)
{
    lv_probe_point points[] = {
        { "uring", 4 << 20, 1, true, 4.00e9, 0 },  /* 1 ms */
        { "uring", 4 << 20, 8, true, 3.80e9, 0 },  /* 9 ms */
        { "uring", 2 << 20, 16, true, 3.75e9, 0 }, /* the same */
        { "uring", 4 << 20, 16, true, 3.85e9, 0 }, /* 17 ms */
    };
    CHECK_EQ(lv_probe_choose(points, 4), 1);
    points[0].bytes_per_s = 5e9;
    CHECK_EQ(lv_probe_choose(points, 4), 0);
}

static void every_way_is_measured(void)
{
    make_file(64 << 20);
    lv_probe p;
    lever_error e = { 0 };
    const lv_probe_config c = { .path = path, .point_ns = 1000000 };
    const size_t live = lv_alloc_live();
    CHECK_OK(lv_probe_run(&p, &c, &e), &e);
    CHECK_EQ(lv_alloc_live(), live);
    CHECK(p.n_points >= 26 && p.n_points <= LV_PROBE_POINTS && p.best < p.n_points);
    bool small_pages = false, deep = false;
    for (uint32_t i = 0; i < p.n_points; i++) {
        CHECK(p.points[i].bytes_per_s > 1e6 && p.points[i].cpu_share >= 0);
        small_pages |= !p.points[i].huge_pages;
        deep |= p.points[i].depth == 16 && p.points[i].block_bytes == 4 << 20;
    }
    CHECK(small_pages && deep);
    unlink(path);
}

/* Reads go on as long as somebody pumps, from the start again at the end of the file; closing waits for them. */
static void a_load_goes_on_while_it_is_pumped(void)
{
    make_file(2 << 20);
    const size_t live = lv_alloc_live();
    static const char *const backends[] = { "auto", "pool", "sim" };
    for (int b = 0; b < 3; b++) {
        lv_flash_load *l;
        lever_error e = { 0 };
        CHECK_OK(lv_flash_load_open(&l, path, backends[b], 512 << 10, 3, &e), &e);
        while (lv_flash_load_bytes(l) < 8 << 20) lv_flash_load_pump(l);
        CHECK_EQ(lv_flash_load_bytes(l) % (512 << 10), 0);
        lv_flash_load_close(&l);
        CHECK(!l);
    }
    lv_flash_load *l;
    lever_error e = { 0 };
    CHECK_EQ(lv_flash_load_open(&l, path, "auto", 4 << 20, 1, &e), LEVER_EINVAL); /* more than the file has */
    CHECK_EQ(lv_flash_load_open(&l, path, "auto", 1 << 20, 17, &e), LEVER_EINVAL);
    CHECK_EQ(lv_flash_load_open(&l, path, "auto", 100, 1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_flash_load_open(&l, "/nowhere/at/all", "auto", 1 << 20, 1, &e), LEVER_EIO);
    CHECK(!l);
    lv_flash_load_close(&l);
    lv_flash_load_close(NULL);
    CHECK_EQ(lv_alloc_live(), live);
    unlink(path);
}

static void what_can_not_be_measured_is_refused(void)
{
    lv_probe p;
    lever_error e = { 0 };
    make_file((64 << 20) - 1);
    const lv_probe_config c = { .path = path, .point_ns = 1000000 };
    CHECK_EQ(lv_probe_run(&p, &c, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "at least 64 MiB"));
    unlink(path);
    CHECK_EQ(lv_probe_run(&p, &c, &e), LEVER_EIO);
}

static void every_failed_allocation_is_reported(void)
{
    make_file(64 << 20);
    const lv_probe_config c = { .path = path, .point_ns = 100000 };
    const size_t live = lv_alloc_live();
    for (long n = 0; n < 12; n++) {
        lv_probe p;
        lever_error e = { 0 };
        lv_alloc_fault(n, false);
        const int rc = lv_probe_run(&p, &c, &e);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK(rc == LEVER_OK || (fired && rc == LEVER_ENOMEM)); /* a failed uring means the pool */
        CHECK_EQ(lv_alloc_live(), live);
    }
    unlink(path);
}

/* The others in flight live in the frame of the measurement: it must wait for them, whichever failed. */
static void a_failed_read_ends_it_and_leaves_nothing(void)
{
    make_file(64 << 20);
    const size_t live = lv_alloc_live();
    for (uint64_t n = 0; n < 40; n = n * 2 + 1) {
        const lv_probe_config c = { .path = path, .point_ns = 100000,
                                    .fault = { .first = n, .count = n % 2, .os_errno = EIO } };
        lv_probe p;
        lever_error e = { 0 };
        const int rc = lv_probe_run(&p, &c, &e);
        CHECK(rc == LEVER_EIO || (n > 15 && rc == LEVER_OK)); /* a point may have fewer reads than that */
        if (rc < 0) CHECK(e.os_errno == EIO && strstr(e.msg, path));
        CHECK_EQ(lv_alloc_live(), live);
    }
    unlink(path);
}

int main(void)
{
    RUN(the_least_memory_among_the_fastest_is_chosen);
    RUN(enough_is_kept_in_flight);
    RUN(every_way_is_measured);
    RUN(a_load_goes_on_while_it_is_pumped);
    RUN(what_can_not_be_measured_is_refused);
    RUN(every_failed_allocation_is_reported);
    RUN(a_failed_read_ends_it_and_leaves_nothing);
    return check_done();
}
