/* test_io BACKEND: what every read backend must do. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <errno.h>

#include "base/mem.h"
#include "flash/io.h"
#include "os/clock.h"
#include "support/tempfile.h"

enum { FILE_BYTES = 300 * 4096 + 123, DEPTH = 8 };
static const char *backend;
static char path[64];
static lv_file file;

static lv_io *open_io(const lv_io_config *c)
{
    lv_io *io;
    lever_error err = { 0 };
    CHECK_OK(lv_io_open(&io, backend, c, &err), &err);
    return io;
}

static lv_io_config config(void)
{
    lv_io_config c;
    lv_io_config_init(&c);
    c.depth = DEPTH;
    return c;
}

static bool right(const lv_io_read *r)
{
    const uint8_t *p = r->dst;
    for (int32_t i = 0; i < r->result; i++)
        if (p[i] != temp_byte(r->off + (uint64_t)i)) return false;
    return true;
}

static void reads_of_any_place_and_size_are_right(void)
{
    const lv_io_config c = config();
    lv_io *io = open_io(&c);
    uint8_t *buf = lv_map(1 << 20);
    static const struct { uint64_t off; uint32_t len, shift; } cases[] = {
        { 0, 4096, 0 },      { 4096, 8192, 0 },  { 1, 4096, 0 },       { 4096, 100, 0 }, { 8192, 4096, 7 },
        { 12345, 54321, 3 }, { 0, 1 << 19, 0 },  { FILE_BYTES - 1, 1, 0 },
        { FILE_BYTES - 4096 - 123, 4096, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_io_read r = {
            .file = &file, .off = cases[i].off, .dst = buf + cases[i].shift, .len = cases[i].len, .user = buf
        };
        lv_io_read *p = &r, *done = NULL;
        CHECK_EQ(lv_io_submit(io, &p, 1), 1);
        CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
        CHECK(done == &r && r.user == buf && r.done_ns > 0);
        CHECK_EQ(r.result, cases[i].len);
        CHECK(right(&r));
    }
    lv_unmap(buf, 1 << 20);
    lv_io_close(&io);
}

static void a_read_across_the_end_completes_short(void)
{
    const lv_io_config c = config();
    lv_io *io = open_io(&c);
    uint8_t *buf = lv_map(65536);
    static const struct { uint64_t off; uint32_t len; int32_t want;
    } cases[] = {
        { FILE_BYTES - 123, 4096, 123 },
        { FILE_BYTES - 123 - 4096, 16384, 4096 + 123 },
        { FILE_BYTES - 10, 100, 10 },
        { FILE_BYTES, 4096, 0 },
        { FILE_BYTES + 40960 - 123 - FILE_BYTES % 4096 + 123, 4096, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_io_read r = { .file = &file, .off = cases[i].off, .dst = buf, .len = cases[i].len };
        lv_io_read *p = &r, *done;
        CHECK_EQ(lv_io_submit(io, &p, 1), 1);
        CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
        CHECK_EQ(r.result, cases[i].want);
        CHECK(right(&r));
    }
    lv_unmap(buf, 65536);
    lv_io_close(&io);
}

static void many_reads_in_flight_all_arrive_and_depth_is_kept(void)
{
    lv_io_config c = config();
    c.sim_seed = 77; /* sim completes out of order */
    lv_io *io = open_io(&c);
    enum { N = 200, LEN = 4096 };
    uint8_t *buf = lv_map(N * LEN);
    static lv_io_read reads[N];
    static bool seen[N];
    memset(seen, 0, sizeof seen);
    uint32_t next = 0, finished = 0, flight = 0;
    while (finished < N) {
        lv_io_read *batch[N];
        uint32_t n = 0;
        for (uint32_t i = next; i < N; i++, n++) {
            reads[i] =
                (lv_io_read){ .file = &file, .off = (uint64_t)i * LEN, .dst = buf + i * LEN, .len = LEN };
            batch[n] = &reads[i];
        }
        const int taken = lv_io_submit(io, batch, n);
        CHECK(taken >= 0 && flight + (uint32_t)taken <= DEPTH);
        next += (uint32_t)taken, flight += (uint32_t)taken;
        lv_io_read *done[DEPTH];
        const int got = lv_io_reap(io, done, DEPTH, 1);
        CHECK(got >= 1);
        if (got < 1) break;
        flight -= (uint32_t)got, finished += (uint32_t)got;
        for (int i = 0; i < got; i++) {
            const size_t at = (size_t)(done[i] - reads);
            CHECK(!seen[at] && done[i]->result == LEN && right(done[i]));
            seen[at] = true;
        }
    }
    CHECK_EQ(lv_io_reap(io, (lv_io_read *[1]){ 0 }, 1, 5), 0); /* nothing in flight: does not block */
    lv_unmap(buf, N * LEN);
    lv_io_close(&io);
}

static void closing_waits_for_reads_in_flight(void)
{
    lv_io_config c = config();
    c.model.latency_ns = 1000000;
    lv_io *io = open_io(&c);
    uint8_t *buf = lv_map(DEPTH * 65536);
    lv_io_read reads[DEPTH], *batch[DEPTH];
    for (uint32_t i = 0; i < DEPTH; i++) {
        reads[i] = (lv_io_read){ .file = &file, .off = i * 65536u, .dst = buf + i * 65536, .len = 65536 };
        batch[i] = &reads[i];
    }
    CHECK_EQ(lv_io_submit(io, batch, DEPTH), DEPTH);
    lv_io_close(&io);
    CHECK(io == NULL);
    for (int i = 0; i < DEPTH; i++) CHECK(reads[i].result == 65536 && right(&reads[i]));
    lv_unmap(buf, DEPTH * 65536);
}

static void a_bad_descriptor_is_an_error_of_that_read(void)
{
    const lv_io_config c = config();
    lv_io *io = open_io(&c);
    uint8_t *buf = lv_map(8192);
    lv_file closed = file;
    closed.fd = closed.fd_direct = 1000; /* never open here */
    lv_io_read bad = { .file = &closed, .dst = buf, .len = 4096 },
               good = { .file = &file, .dst = buf + 4096, .len = 4096 };
    lv_io_read *batch[2] = { &bad, &good }, *done[2];
    CHECK_EQ(lv_io_submit(io, batch, 2), 2);
    int n = 0;
    while (n < 2) n += lv_io_reap(io, done, 2, 1);
    CHECK_EQ(bad.result, LEVER_EIO);
    CHECK(bad.os_errno != 0);
    CHECK(good.result == 4096 && right(&good));
    lv_unmap(buf, 8192);
    lv_io_close(&io);
}

/* ---- faults, on the code of each backend that continues, repeats and gives up ---- */

/* Read [len] at off, with this fault; right or failed, as r says. */
static lv_io_read read_with(const lv_read_fault *fault, uint64_t off, uint32_t len)
{
    static uint8_t *buf;
    if (!buf) buf = lv_map(1 << 20);
    lv_io_config c = config();
    c.fault = *fault;
    lv_io *io = open_io(&c);
    memset(buf, 0x11, 1 << 20);
    lv_io_read r = { .file = &file, .off = off, .dst = buf + off % 4096, .len = len }, *p = &r, *done = NULL;
    CHECK_EQ(lv_io_submit(io, &p, 1), 1);
    CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
    CHECK(done == &r);
    lv_io_close(&io);
    return r;
}

static void short_and_interrupted_reads_are_continued(void)
{
    static const lv_read_fault faults[] = {
        { .short_bytes = 4096 },                   /* goes on past the page cache */
        { .short_bytes = 1000 },                   /* can only go on through it */
        { .short_bytes = 12345 },
        { .os_errno = EINTR, .times = 1 },
        { .os_errno = EAGAIN, .times = 1 },
        { .os_errno = EINTR, .times = 90 },
        { .os_errno = EAGAIN, .times = 90 },
        { .os_errno = EINTR, .times = 7, .short_bytes = 8192 },
    };
    static const struct { uint64_t off; uint32_t len; } places[] = {
        { 0, 4096 }, { 8192, 65536 }, { 4096, 50000 }, { 777, 60001 }, { FILE_BYTES - 20000, 19000 },
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            const lv_io_read r = read_with(&faults[i], places[k].off, places[k].len);
            CHECK_EQ(r.result, places[k].len);
            CHECK_EQ(r.os_errno, 0);
            CHECK(right(&r));
        }
    const lv_io_read end = read_with(&faults[1], FILE_BYTES - 5000, 8192); /* and the end still ends it */
    CHECK(end.result == 5000 && right(&end));
}

/* Some file systems open O_DIRECT and refuse the read. */
static void what_o_direct_refuses_is_read_through_the_page_cache(void)
{
    if (file.fd_direct < 0) {
        printf("     (no O_DIRECT here)\n");
        return;
    }
    for (uint32_t n_short = 0; n_short < 8193; n_short += 4096) { /* also after some of it was read */
        const lv_read_fault fault = { .os_errno = EINVAL, .times = 1, .short_bytes = n_short };
        const lv_io_read r = read_with(&fault, 4096, 65536);
        CHECK_EQ(r.result, 65536);
        CHECK(right(&r));
    }
}

static void reads_that_can_not_succeed_fail_with_their_errno(void)
{
    static const int errors[] = { EIO, ENOSPC, ENODEV, EINVAL, EINTR, EAGAIN }; /* the last two end as well */
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        const lv_io_read r = read_with(&(lv_read_fault){ .os_errno = errors[i] }, 4096, 65536);
        CHECK_EQ(r.result, LEVER_EIO);
        CHECK_EQ(r.os_errno, errors[i]);
    }
}

static void faults_fire_where_asked(void)
{
    enum { AT = 2 };
    for (uint64_t count = 0; count < 3; count++) { /* 0: from there on */
        lv_io_config c = config();
        c.fault = (lv_read_fault){ .first = AT, .count = count, .os_errno = EIO };
        lv_io *io = open_io(&c);
        uint8_t *buf = lv_map(4096);
        for (uint64_t i = 0; i < 6; i++) {
            lv_io_read r = { .file = &file, .dst = buf, .len = 4096 }, *p = &r, *done;
            CHECK_EQ(lv_io_submit(io, &p, 1), 1);
            CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
            const bool hit = i >= AT && (!count || i < AT + count);
            CHECK_EQ(r.result, hit ? LEVER_EIO : 4096);
            CHECK(hit || right(&r));
        }
        lv_unmap(buf, 4096);
        lv_io_close(&io);
    }
}

/* ---- a model holds reads back ---- */

/* All that is checked are times before which nothing may come: load can only make reads later. */
static void a_limit_holds_reads_back_asleep(void)
{
    enum { LEN = 65536 };
    lv_io_config c = config();
    lever_error err = { 0 };
    CHECK_OK(lv_flash_model_get(&c.model, NULL, 10000000, &err), &err); /* 6.5 ms a read */
    lv_io *io = open_io(&c);
    uint8_t *buf = lv_map(DEPTH * LEN);
    lv_io_read reads[DEPTH], *batch[DEPTH], *done[DEPTH];
    for (uint32_t i = 0; i < DEPTH; i++) {
        reads[i] = (lv_io_read){ .file = &file, .off = i * LEN, .dst = buf + i * LEN, .len = LEN };
        batch[i] = &reads[i];
    }
    const uint64_t t0 = lv_clock_ns(), cpu0 = lv_clock_cpu_ns();
    CHECK_EQ(lv_io_submit(io, batch, DEPTH), DEPTH); /* none waits to be submitted */
    uint32_t n = 0;
    while (n < DEPTH) {
        const int got = lv_io_reap(io, done, DEPTH, 1);
        CHECK(got >= 1);
        for (int i = 0; i < got; i++, n++) {
            const uint64_t least = t0 + (uint64_t)(n + 1) * LEN * 100 - DEPTH;
            CHECK(done[i] == &reads[n] && right(done[i]) && done[i]->result == LEN);
            CHECK(done[i]->done_ns >= least && lv_clock_ns() >= least);
        }
    }
    const uint64_t passed = lv_clock_ns() - t0, cpu = lv_clock_cpu_ns() - cpu0;
    CHECK(cpu * 2 < passed);
    CHECK_EQ(lv_io_reap(io, done, DEPTH, 1), 0);
    lv_unmap(buf, DEPTH * LEN);
    lv_io_close(&io);
}

/* Latencies that differ: some reads overtake others, none comes early, none twice. */
static void a_model_keeps_every_read_until_it_is_due(void)
{
    enum { N = 64, LEN = 4096 };
    lv_io_config c = config();
    c.depth = N;
    c.model = (lv_flash_model){ .latency_ns = 3000000, .jitter_percent = 100, .bytes_per_s = 1000000000,
                                .queue = 16, .seed = 3 };
    lv_io *io = open_io(&c);
    uint8_t *buf = lv_map(N * LEN);
    static lv_io_read reads[N], *batch[N], *done[N];
    for (uint32_t i = 0; i < N; i++) {
        reads[i] = (lv_io_read){ .file = &file, .off = i * LEN, .dst = buf + i * LEN, .len = LEN };
        batch[i] = &reads[i];
    }
    CHECK_EQ(lv_io_submit(io, batch, N), N);
    bool seen[N] = { false }, overtakes = false;
    for (uint32_t n = 0; n < N;) {
        const int got = lv_io_reap(io, done, 5, n % 3);
        CHECK(got >= 0 && (uint32_t)got >= (n % 3 < N - n ? n % 3 : N - n));
        for (int i = 0; i < got; i++, n++) {
            const uint32_t at = (uint32_t)(done[i] - reads);
            CHECK(!seen[at] && right(done[i]) && done[i]->result == LEN);
            CHECK(done[i]->done_ns >= done[i]->due_ns && lv_clock_ns() >= done[i]->due_ns);
            seen[at] = true;
        }
    }
    for (uint32_t i = 1; i < N; i++) overtakes |= reads[i].due_ns < reads[i - 1].due_ns;
    CHECK(overtakes);
    lv_unmap(buf, N * LEN);
    lv_io_close(&io);
}

/* lv_file_read goes past the page cache where memory and file lie alike in a block, else not: the same bytes.
 */
static void large_file_reads_are_right_wherever_they_lie(void)
{
    enum { LEN = (1 << 20) + 70000 };
    uint8_t *buf = lv_map(LEN + 3 * 4096);
    lever_error err = { 0 };
    static const struct { uint64_t off; size_t shift;
    } cases[] = {
        { 0, 0 },     { 4096, 0 },           { 100, 100 }, { 8192 + 4095, 4095 },
        { 100, 101 }, { 5000, 5000 - 4096 }, { 7, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *dst = buf + cases[i].shift;
        memset(buf, 0xEE, LEN + 3 * 4096);
        CHECK_OK(lv_file_read(&file, dst, LEN, cases[i].off, &err), &err);
        size_t wrong = 0;
        for (size_t j = 0; j < LEN; j++) wrong += dst[j] != temp_byte(cases[i].off + j);
        CHECK_EQ(wrong, 0);
        CHECK(dst[LEN] == 0xEE && (cases[i].shift == 0 || dst[-1] == 0xEE));
    }
    CHECK_EQ(lv_file_read(&file, buf + (FILE_BYTES - LEN + 1) % 4096, LEN, FILE_BYTES - LEN + 1, &err),
             LEVER_EIO);
    CHECK(strstr(err.msg, path) != NULL);
    lv_unmap(buf, LEN + 3 * 4096);
}

static void opening_survives_every_failed_allocation(void)
{
    const size_t live = lv_alloc_live();
    lv_io_config c = config();
    c.model.latency_ns = 1; /* whose list is one more allocation */
    for (int mode = 0; mode < 2; mode++)
        for (long n = 0;; n++) {
            lv_io *io;
            lever_error err = { 0 };
            lv_alloc_fault(n, mode);
            const int rc = lv_io_open(&io, backend, &c, &err);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            if (rc >= 0) lv_io_close(&io);
            CHECK_EQ(lv_alloc_live(), live);
            if (!fired) break;
            CHECK_EQ(rc, LEVER_ENOMEM);
        }
}

int main(int argc, char **argv)
{
    backend = argc > 1 ? argv[1] : "pool";
    const lv_io_config c = config();
    lv_io *io;
    lever_error err = { 0 };
    if (lv_io_open(&io, backend, &c, &err) == LEVER_EUNSUP) SKIP(err.msg);
    lv_io_close(&io);
    CHECK_EQ(lv_io_open(&io, "pigeon", &c, &err), LEVER_EINVAL);
    if (temp_make(path, sizeof path, FILE_BYTES) || lv_file_open(&file, path, &err) < 0)
        SKIP("no place for a test file");
    unlink(path);
    RUN(reads_of_any_place_and_size_are_right);
    RUN(a_read_across_the_end_completes_short);
    RUN(many_reads_in_flight_all_arrive_and_depth_is_kept);
    RUN(closing_waits_for_reads_in_flight);
    RUN(a_bad_descriptor_is_an_error_of_that_read);
    RUN(short_and_interrupted_reads_are_continued);
    RUN(what_o_direct_refuses_is_read_through_the_page_cache);
    RUN(reads_that_can_not_succeed_fail_with_their_errno);
    RUN(faults_fire_where_asked);
    RUN(a_limit_holds_reads_back_asleep);
    RUN(a_model_keeps_every_read_until_it_is_due);
    RUN(large_file_reads_are_right_wherever_they_lie);
    RUN(opening_survives_every_failed_allocation);
    lv_file_close(&file);
    return check_done();
}
