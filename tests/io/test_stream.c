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

static uint8_t *sums_bytes;
static const lv_sums *sums; /* of the next stream; NULL: not checked */

/* Checksums of the test file; that of page `wrong` differs (UINT32_MAX: none). */
static void use_sums(lv_sums *s, uint32_t wrong)
{
    static uint8_t bytes[FILE_BYTES];
    uint32_t pages[FILE_BYTES / LV_SUMS_PAGE + 1];
    lever_error err = { 0 };
    size_t n;
    for (size_t i = 0; i < FILE_BYTES; i++) bytes[i] = temp_byte(i);
    for (size_t at = 0, i = 0; at < FILE_BYTES; at += LV_SUMS_PAGE, i++)
        pages[i] =
            lv_sums_of_page(bytes + at, FILE_BYTES - at < LV_SUMS_PAGE ? FILE_BYTES - at : LV_SUMS_PAGE) ^
            (i == wrong);
    const lv_sums_tensor t = { .name = { "one.weight", 10 }, .offset = 4000, .bytes = FILE_BYTES - 4000 };
    const lv_sums head = { .model = { "m", 1 }, .model_bytes = FILE_BYTES, .header_bytes = 100,
                           .n_tensors = 1 };
    CHECK_OK(lv_sums_build(&sums_bytes, &n, &head, &t, pages, &err), &err);
    CHECK_OK(lv_sums_parse(s, sums_bytes, n, &err), &err);
    sums = s;
}

static void drop_sums(void)
{
    sums = NULL;
    lv_free(sums_bytes);
}

static int n_checks; /* reads that a stream compared with its sums */

static void count_checks(void *user, const lever_trace_event *e)
{
    (void)user;
    n_checks += !strcmp(e->name, "check sums");
}

static lv_stream *open_stream(const lv_io_config *c, size_t bytes)
{
    lever_error err = { 0 };
    lv_stream *s = NULL;
    CHECK_OK(lv_io_open(&io, backend, c, &err), &err);
    ring_bytes = bytes;
    ring = lv_map(bytes);
    const lv_stream_config sc = {
        .io = io, .extents = extents, .n_extents = N, .ring = ring, .ring_bytes = bytes, .sums = sums,
        .trace = { .fn = count_checks }, .track = "test"
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

/* Between sweeps any extents may be left out, all of them too. */
static void extents_can_be_left_out_between_sweeps(void)
{
    const lv_io_config c = io_config();
    unsigned seed = 7;
    make_extents(seed, 9000);
    for (size_t bytes = lv_stream_min_ring(extents, N), k = 0; k < 4; k++, bytes *= 3) {
        lv_stream *s = open_stream(&c, bytes);
        lever_error err = { 0 };
        const size_t calls = lv_alloc_calls();
        for (int sweep = 0; s && sweep < 20; sweep++) {
            bool skip[N];
            for (int i = 0; i < N; i++) {
                seed = seed * 1664525u + 1013904223u;
                skip[i] = sweep % 5 == 4 || (seed >> 16) % 3 == 0;
            }
            CHECK_OK(lv_stream_skip(s, skip, &err), &err);
            for (int i = 0; i < 2 * N; i++) {
                if (skip[i % N]) continue;
                CHECK(take(s, i % N, &err));
                lv_stream_release(s);
            }
            if (sweep % 5 != 4) continue;
            lv_stream_stats st, later;
            CHECK(lv_stream_is_full(s) && !lv_stream_is_ready(s));
            lv_stream_get_stats(s, &st);
            nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
            lv_stream_get_stats(s, &later);
            CHECK_EQ(later.idle_ns, st.idle_ns); /* nothing is wanted */
            CHECK_EQ(later.n_reads, st.n_reads);
        }
        CHECK_EQ(lv_alloc_calls(), calls);
        close_stream(&s);
    }
}

/* Slots instead of a ring: what is held stays where it is, and such a slot may move before its release. */
static void slots_may_move(void)
{
    enum { MOST = 7 };
    const lv_io_config c = io_config();
    make_extents(5, 30000);
    size_t slot_bytes = 0;
    for (int i = 0; i < N; i++)
        if (lv_extent_ring_bytes(&extents[i]) > slot_bytes) slot_bytes = lv_extent_ring_bytes(&extents[i]);
    for (uint32_t n = 2; n <= MOST; n++) {
        lever_error err = { 0 };
        lv_stream *s = NULL;
        void *slots[MOST], *spare = lv_map(slot_bytes);
        for (uint32_t i = 0; i < n; i++) slots[i] = lv_map(slot_bytes);
        CHECK_OK(lv_io_open(&io, backend, &c, &err), &err);
        lv_stream_config sc = { .io = io, .extents = extents, .n_extents = N, .slots = slots, .n_slots = n,
                                .slot_bytes = slot_bytes - 4096, .track = "test" };
        CHECK_EQ(lv_stream_open(&s, &sc, &err), LEVER_EINVAL); /* too short */
        sc.slot_bytes = slot_bytes;
        CHECK_OK(lv_stream_open(&s, &sc, &err), &err);
        int held[MOST] = { 0 }, n_held = 0;
        for (int turn = 0; turn < 3 * N; turn++) {
            const void *p;
            const int e = turn % N;
            CHECK_OK(lv_stream_next(s, &p, &err), &err);
            const uint32_t at = lv_stream_newest(s);
            CHECK((const uint8_t *)p >= (uint8_t *)slots[at]);
            held[n_held++] = e;
            if (n_held < (int)(turn % n) + 1 && n_held < (int)n) continue;
            for (int i = 0; i < n_held; i++) { /* all of them are still right, oldest first */
                const uint32_t slot = lv_stream_oldest(s);
                const uint8_t *b = (uint8_t *)slots[slot] + extents[held[i]].off % 4096;
                const lv_extent *x = &extents[held[i]];
                for (uint32_t j = 0; j < x->len; j++) CHECK_EQ(b[j], temp_byte(x->off + j));
                void *moved = spare;
                spare = slots[slot];
                memset(spare, 0x77, slot_bytes);
                slots[slot] = moved;
                lv_stream_release(s);
            }
            n_held = 0;
            if (turn == N + 3) { /* in the middle of a sweep */
                CHECK_OK(lv_stream_restart(s, &err), &err);
                turn = 2 * N - 1;
            }
        }
        while (!lv_stream_is_ready(s)) continue;
        lv_stream_close(&s);
        lv_io_close(&io);
        for (uint32_t i = 0; i < n; i++) lv_unmap(slots[i], slot_bytes);
        lv_unmap(spare, slot_bytes);
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

/* After every take, and after every release with the pump that follows it in a sweep, either the queue is full to
 * its depth or the ring is: also across the end of a sweep. */
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
        lv_stream_pump(s);
        n_idle += io->n_flight < DEPTH && !lv_stream_is_full(s);
        lv_stream_get_stats(s, &st);
        if (i % N == N - 1)
            CHECK(io->n_flight > 0 || st.n_reads > (uint64_t)i + 1); /* the next sweep has begun */
    }
    CHECK_EQ(n_idle, 0);
    close_stream(&s);
}

/* Time in which the ring is full counts as it passes, not only when the next read begins. */
static void idle_time_counts_while_it_lasts(void)
{
    const lv_io_config c = io_config();
    make_extents(5, 6000);
    lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
    lv_stream_stats before, after;
    while (!lv_stream_is_full(s) || io->n_flight) lv_stream_pump(s);
    lv_stream_get_stats(s, &before);
    nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    lv_stream_get_stats(s, &after);
    CHECK_EQ(after.n_reads, before.n_reads);
    CHECK(after.idle_ns - before.idle_ns >= 2000000);
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

/* ---- checksums ---- */

static void checked_bytes_are_right_and_allocate_nothing(void)
{
    lv_sums s;
    use_sums(&s, UINT32_MAX);
    bytes_are_right_for_every_ring();
    restart_works_at_every_step();
    streaming_allocates_nothing();
    drop_sums();
}

/* The one page whose checksum differs, for every page: each extent with bytes of it is refused after exactly
 * one more read, the others are handed out. */
static void a_damaged_page_is_an_error_after_one_more_read(void)
{
    const lv_io_config c = io_config();
    make_extents(8, 9000);
    for (uint32_t page = 0; page <= FILE_BYTES / LV_SUMS_PAGE; page += 7) {
        lv_sums sum;
        lever_error err = { 0 };
        use_sums(&sum, page);
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        int rc = LEVER_OK;
        for (int i = 0; i < N && rc >= 0; i++) {
            const uint64_t last = extents[i].off + extents[i].len - 1;
            const bool hit = extents[i].off / LV_SUMS_PAGE <= page && page <= last / LV_SUMS_PAGE;
            const void *p;
            n_checks = 0;
            rc = lv_stream_next(s, &p, &err);
            CHECK_EQ(rc, hit ? LEVER_EIO : LEVER_OK);
            CHECK_EQ(n_checks, hit ? 2 : 1);
            if (rc >= 0) lv_stream_release(s);
        }
        char at[32];
        snprintf(at, sizeof at, "byte %lu (", (unsigned long)page * LV_SUMS_PAGE);
        if (rc < 0) CHECK(strstr(err.msg, path) && strstr(err.msg, at) && strstr(err.msg, "read again"));
        close_stream(&s);
        drop_sums();
    }
}

static void a_wrong_bit_on_the_way_is_repaired_by_another_read(void)
{
    if (strcmp(backend, "sim")) return;
    make_extents(8, 9000);
    for (int checked = 0; checked < 2; checked++)
        for (long at = 0; at < 3 * N; at++) {
            lv_sums sum;
            lv_io_config c = io_config();
            c.fault = (lv_read_fault){ .first = (uint64_t)at, .count = 1, .flip = true };
            if (checked) use_sums(&sum, UINT32_MAX);
            lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
            lever_error err = { 0 };
            int n_wrong = 0;
            for (int i = 0; i < 4 * N; i++) {
                n_wrong += !take(s, i % N, &err);
                lv_stream_release(s);
            }
            lv_stream_stats st;
            lv_stream_get_stats(s, &st);
            if (checked) CHECK_EQ(n_wrong, 0);
            else CHECK(n_wrong <= 1); /* the bit may lie beside the extent */
            close_stream(&s);
            if (checked) drop_sums();
        }
}

static void wrong_bits_that_stay_are_an_error_and_never_handed_out(void)
{
    if (strcmp(backend, "sim")) return;
    make_extents(8, 9000);
    for (long at = 0; at < 2 * N; at++) {
        lv_sums sum;
        lv_io_config c = io_config();
        c.fault = (lv_read_fault){ .first = (uint64_t)at, .flip = true };
        use_sums(&sum, UINT32_MAX);
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        lever_error err = { 0 };
        int i = 0;
        while (i < 4 * N && take(s, i % N, &err)) {
            lv_stream_release(s);
            i++;
        }
        CHECK(i < 4 * N && err.code == LEVER_EIO && strstr(err.msg, "one.weight") != NULL);
        CHECK_OK(lv_stream_restart(s, &err), &err); /* still usable: the next failure is again clean */
        const void *p;
        CHECK_EQ(lv_stream_next(s, &p, &err), LEVER_EIO);
        close_stream(&s);
        drop_sums();
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
    RUN(extents_can_be_left_out_between_sweeps);
    RUN(slots_may_move);
    RUN(two_extents_may_be_held);
    RUN(restart_works_at_every_step);
    RUN(streaming_allocates_nothing);
    RUN(reads_are_in_flight_whenever_there_is_room);
    RUN(idle_time_counts_while_it_lasts);
    RUN(a_ring_too_small_is_refused);
    RUN(a_file_cut_or_changed_under_us_is_an_error);
    RUN(checked_bytes_are_right_and_allocate_nothing);
    RUN(a_damaged_page_is_an_error_after_one_more_read);
    RUN(a_wrong_bit_on_the_way_is_repaired_by_another_read);
    RUN(wrong_bits_that_stay_are_an_error_and_never_handed_out);
    RUN(one_failing_read_is_retried);
    RUN(reads_that_go_on_failing_are_an_error_and_never_wrong_bytes);
    RUN(opening_survives_every_failed_allocation);
    lv_file_close(&file);
    return check_done();
}
