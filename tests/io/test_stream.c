/* test_stream BACKEND: the sweep stream gives the file's bytes in order, whatever the ring, sweep after
 * sweep. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <dirent.h>
#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "flash/io_impl.h"
#include "flash/stream.h"
#include "support/tempfile.h"

enum { FILE_BYTES = 200 * 4096 + 77, N = 23 };
static const char *backend;
static char path[64];
static lv_file file;
static lv_extent extents[N];
static lv_io *io;
static uint8_t *ring;
static size_t ring_bytes;

static void make_extents(unsigned seed, uint32_t longest)
{
    uint64_t at = seed % 4000;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t len = 1 + (seed >> 8) % longest;
        if (at + len > FILE_BYTES) at = (seed >> 4) % 1000;
        extents[i] = (lv_extent){ .file = &file, .off = at, .len = len };
        at += len + (seed >> 20) % 3000;
    }
    extents[N - 1] =
        (lv_extent){ .file = &file, .off = FILE_BYTES - 500, .len = 500 }; /* ends with the file */
}

static lv_io_config io_config(void)
{
    lv_io_config c;
    lv_io_config_init(&c);
    c.depth = 4;
    c.sim_seed = 5;
    c.model.latency_ns = 20000;
    c.model.jitter_percent = 100;
    return c;
}

static lv_stream *open_stream(const lv_io_config *c, size_t bytes)
{
    lever_error err = { 0 };
    lv_stream *s = NULL;
    CHECK_OK(lv_io_open(&io, backend, c, &err), &err);
    ring_bytes = bytes;
    ring = lv_map(bytes);
    const lv_stream_config sc = {
        .io = io, .extents = extents, .n_extents = N, .ring = ring, .ring_bytes = bytes
    };
    CHECK_OK(lv_stream_open(&s, &sc, &err), &err);
    return s;
}

static void close_stream(lv_stream **s)
{
    lv_stream_close(s);
    lv_io_close(&io);
    lv_unmap(ring, ring_bytes);
}

static bool take(lv_stream *s, int i, lever_error *err)
{
    const void *p;
    if (lv_stream_next(s, &p, err) < 0) return false;
    const uint8_t *b = p;
    if (b < ring || b + extents[i].len > ring + ring_bytes) return false;
    for (uint32_t j = 0; j < extents[i].len; j++)
        if (b[j] != temp_byte(extents[i].off + j)) return false;
    return true;
}

static void bytes_are_right_for_every_ring(void)
{
    const lv_io_config c = io_config();
    for (unsigned seed = 1; seed < 12; seed++) {
        make_extents(seed, seed % 2 ? 30000 : 3000);
        const size_t least = lv_stream_min_ring(extents, N);
        for (size_t bytes = least; bytes < 12 * least; bytes = bytes * 3 / 2 + 4096) {
            lv_stream *s = open_stream(&c, bytes);
            lever_error err = { 0 };
            for (int sweep = 0; s && sweep < 4; sweep++)
                for (int i = 0; i < N; i++) {
                    CHECK(take(s, i, &err));
                    lv_stream_release(s);
                }
            lv_stream_stats st;
            lv_stream_get_stats(s, &st);
            CHECK(st.n_reads >= 4 * N);
            close_stream(&s);
        }
    }
}

static void two_extents_may_be_held(void)
{
    const lv_io_config c = io_config();
    make_extents(4, 5000);
    lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 4);
    lever_error err = { 0 };
    CHECK(take(s, 0, &err));
    for (int i = 1; i < 3 * N; i++) {
        CHECK(take(s, i % N, &err));
        lv_stream_release(s); /* the older one */
    }
    close_stream(&s);
}

static void restart_works_at_every_step(void)
{
    const lv_io_config c = io_config();
    make_extents(7, 9000);
    lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
    lever_error err = { 0 };
    for (int stop = 0; stop <= N; stop++) {
        for (int i = 0; i < stop; i++) {
            CHECK(take(s, i, &err));
            if (i + 1 < stop || stop % 2) lv_stream_release(s); /* sometimes one is still held */
        }
        CHECK_OK(lv_stream_restart(s, &err), &err);
    }
    for (int i = 0; i < N; i++) {
        CHECK(take(s, i, &err));
        lv_stream_release(s);
    }
    close_stream(&s);
}

static void streaming_allocates_nothing(void)
{
    const lv_io_config c = io_config();
    make_extents(9, 9000);
    lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
    lever_error err = { 0 };
    const size_t calls = lv_alloc_calls();
    for (int i = 0; i < 5 * N; i++) {
        CHECK(take(s, i % N, &err));
        lv_stream_release(s);
    }
    CHECK_OK(lv_stream_restart(s, &err), &err);
    CHECK_EQ(lv_alloc_calls(), calls);
    close_stream(&s);
}

/* After every call either the queue is full to its depth or the ring is: also across the end of a sweep. */
static void reads_are_in_flight_whenever_there_is_room(void)
{
    enum { DEPTH = 4 };
    const lv_io_config c = io_config(); /* depth 4; sim: 20 us a read, so that reads stay in flight */
    make_extents(5, 6000);
    size_t longest = 0, all = 0;
    for (int i = 0; i < N; i++) {
        const size_t bytes = lv_extent_ring_bytes(&extents[i]);
        if (bytes > longest) longest = bytes;
        all += bytes;
    }
    lv_stream *s = open_stream(&c, 3 * longest + all / 2);
    lever_error err = { 0 };
    uint32_t n_idle = 0;
    for (int i = 0; i < 6 * N; i++) {
        lv_stream_stats st;
        CHECK(take(s, i % N, &err));
        n_idle += io->n_flight < DEPTH && !lv_stream_is_full(s);
        lv_stream_release(s);
        n_idle += io->n_flight < DEPTH && !lv_stream_is_full(s);
        lv_stream_get_stats(s, &st);
        if (i % N == N - 1)
            CHECK(io->n_flight > 0 || st.n_reads > (uint64_t)i + 1); /* the next sweep has begun */
    }
    CHECK_EQ(n_idle, 0);
    close_stream(&s);
}

static void a_ring_too_small_is_refused(void)
{
    const lv_io_config c = io_config();
    lever_error err = { 0 };
    make_extents(2, 20000);
    CHECK_OK(lv_io_open(&io, backend, &c, &err), &err);
    const size_t bytes = lv_stream_min_ring(extents, N) - 1;
    uint8_t *r = lv_map(bytes);
    lv_stream *s;
    const lv_stream_config sc = {
        .io = io, .extents = extents, .n_extents = N, .ring = r, .ring_bytes = bytes
    };
    CHECK_EQ(lv_stream_open(&s, &sc, &err), LEVER_EINVAL);
    CHECK(s == NULL);
    lv_io_close(&io);
    lv_unmap(r, bytes);
}

static void a_file_cut_or_changed_under_us_is_an_error(void)
{
    for (int how = 0; how < 3; how++) { /* cut, changed, changed in mid-sweep */
        char name[64];
        lever_error err = { 0 };
        const lv_io_config c = io_config();
        CHECK_EQ(temp_make(name, sizeof name, FILE_BYTES), 0);
        const lv_file keep = file;
        CHECK_OK(lv_file_open(&file, name, &err), &err);
        make_extents(6, 9000);
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N));
        for (int i = 0; i < N; i++) {
            CHECK(take(s, i, &err));
            lv_stream_release(s);
        }
        const int middle = how == 2 ? N / 2 : 0;
        for (int i = 0; i < middle; i++) {
            CHECK(take(s, i, &err));
            lv_stream_release(s);
        }
        if (how == 0) {
            CHECK_EQ(truncate(name, 1000), 0);
        } else { /* same size, other bytes, a later time */
            FILE *f = fopen(name, "r+b");
            nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* file times are coarse */
            CHECK(f && fputc('x', f) != EOF);
            if (f) fclose(f);
        }
        int failed_at = -1;
        for (int i = 0; i < 2 * N && failed_at < 0; i++) {
            const void *p;
            const int rc = lv_stream_next(s, &p, &err);
            if (rc < 0) {
                CHECK_EQ(rc, LEVER_EIO);
                failed_at = i;
            } else {
                lv_stream_release(s);
            }
        }
        /* At the start of a sweep, or before its last extent: no sweep over a changed file is ever complete.
         */
        CHECK_EQ(failed_at, how == 2 ? N - 1 - middle : 0);
        CHECK(strstr(err.msg, name) != NULL);
        close_stream(&s);
        lv_file_close(&file);
        file = keep;
        unlink(name);
    }
}

/* ---- faults ---- */

/* Every read for one backend; for the others some: a busy disk takes its time. */
static uint64_t step(void) { return strcmp(backend, "sim") ? 5 : 1; }

static void one_failing_read_is_retried(void)
{
    make_extents(8, 9000);
    for (uint64_t at = 0; at < 3 * N; at += step()) {
        lv_io_config c = io_config();
        c.fault = (lv_read_fault){ .first = at, .count = 1, .os_errno = EIO };
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        lever_error err = { 0 };
        for (int i = 0; i < 4 * N; i++) {
            CHECK(take(s, i % N, &err));
            lv_stream_release(s);
        }
        close_stream(&s);
    }
}

static void reads_that_go_on_failing_are_an_error_and_never_wrong_bytes(void)
{
    make_extents(8, 9000);
    for (uint64_t at = 0; at < 2 * N; at += step()) {
        lv_io_config c = io_config();
        c.fault = (lv_read_fault){ .first = at, .os_errno = at % 2 ? EIO : ENODEV };
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        lever_error err = { 0 };
        int rc = LEVER_OK;
        for (int i = 0; i < 4 * N && rc >= 0; i++) {
            const void *p;
            rc = lv_stream_next(s, &p, &err);
            if (rc < 0) break;
            for (uint32_t j = 0; j < extents[i % N].len; j++)
                if (((const uint8_t *)p)[j] != temp_byte(extents[i % N].off + j)) CHECK(!"wrong byte");
            lv_stream_release(s);
        }
        CHECK_EQ(rc, LEVER_EIO);
        CHECK(strstr(err.msg, path) != NULL);
        CHECK_OK(lv_stream_restart(s, &err), &err); /* still usable: the next failure is again clean */
        const void *p;
        CHECK_EQ(lv_stream_next(s, &p, &err), LEVER_EIO);
        close_stream(&s);
    }
}

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

static void opening_survives_every_failed_allocation(void)
{
    make_extents(3, 9000);
    const size_t live = lv_alloc_live(), bytes = lv_stream_min_ring(extents, N);
    const int fds = open_fds();
    const lv_io_config c = io_config();
    for (int mode = 0; mode < 2; mode++)
        for (long n = 0;; n++) {
            lever_error err = { 0 };
            lv_file f = { .fd = -1, .fd_direct = -1 };
            lv_io *q = NULL;
            lv_stream *s = NULL;
            lv_alloc_fault(n, mode);
            uint8_t *r = lv_map(bytes);
            int rc = r ? LEVER_OK : LEVER_ENOMEM;
            if (rc >= 0) rc = lv_file_open(&f, "/proc/self/exe", &err);
            if (rc >= 0) rc = lv_io_open(&q, backend, &c, &err);
            const lv_stream_config sc = {
                .io = q, .extents = extents, .n_extents = N, .ring = r, .ring_bytes = bytes
            };
            if (rc >= 0) rc = lv_stream_open(&s, &sc, &err);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            lv_stream_close(&s);
            lv_io_close(&q);
            lv_file_close(&f);
            lv_unmap(r, bytes);
            CHECK_EQ(lv_alloc_live(), live);
            CHECK_EQ(open_fds(), fds);
            if (!fired) {
                CHECK_OK(rc, &err);
                break;
            }
            CHECK_EQ(rc, LEVER_ENOMEM);
        }
}

int main(int argc, char **argv)
{
    backend = argc > 1 ? argv[1] : "pool";
    const lv_io_config c = io_config();
    lever_error err = { 0 };
    if (lv_io_open(&io, backend, &c, &err) == LEVER_EUNSUP) SKIP(err.msg);
    lv_io_close(&io);
    if (temp_make(path, sizeof path, FILE_BYTES) || lv_file_open(&file, path, &err) < 0)
        SKIP("no place for a test file");
    unlink(path);
    RUN(bytes_are_right_for_every_ring);
    RUN(two_extents_may_be_held);
    RUN(restart_works_at_every_step);
    RUN(streaming_allocates_nothing);
    RUN(reads_are_in_flight_whenever_there_is_room);
    RUN(a_ring_too_small_is_refused);
    RUN(a_file_cut_or_changed_under_us_is_an_error);
    RUN(one_failing_read_is_retried);
    RUN(reads_that_go_on_failing_are_an_error_and_never_wrong_bytes);
    RUN(opening_survives_every_failed_allocation);
    lv_file_close(&file);
    return check_done();
}
