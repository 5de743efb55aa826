/* test_io BACKEND: what every read backend must do. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/mem.h"
#include "flash/io.h"
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
    c.sim_latency_ns = 1000000;
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

static void injected_faults_fire_where_asked(void)
{
    if (strcmp(backend, "sim")) return;
    for (int stays = 0; stays < 2; stays++) {
        lv_io_config c = config();
        c.sim_fail_at = 2;
        c.sim_fail_stays = stays;
        lv_io *io = open_io(&c);
        uint8_t *buf = lv_map(4096);
        for (int i = 0; i < 5; i++) {
            lv_io_read r = { .file = &file, .dst = buf, .len = 4096 }, *p = &r, *done;
            CHECK_EQ(lv_io_submit(io, &p, 1), 1);
            CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
            CHECK_EQ(r.result, i == 2 || (stays && i > 2) ? LEVER_EIO : 4096);
        }
        lv_unmap(buf, 4096);
        lv_io_close(&io);
    }
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
    const lv_io_config c = config();
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
    RUN(injected_faults_fire_where_asked);
    RUN(large_file_reads_are_right_wherever_they_lie);
    RUN(opening_survives_every_failed_allocation);
    lv_file_close(&file);
    return check_done();
}
