/* test_stream BACKEND: the sweep stream gives the file's bytes in order, whatever the ring, sweep after
 * sweep. SPDX-License-Identifier: MIT */
#include "io/stream_rig.h"

#include <time.h>

#include "flash/io_impl.h"

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
int main(int argc, char **argv)
{
    begin_streams(argc, argv);
    RUN(bytes_are_right_for_every_ring);
    RUN(extents_can_be_left_out_between_sweeps);
    RUN(slots_may_move);
    RUN(two_extents_may_be_held);
    RUN(restart_works_at_every_step);
    RUN(streaming_allocates_nothing);
    RUN(reads_are_in_flight_whenever_there_is_room);
    RUN(idle_time_counts_while_it_lasts);
    RUN(a_ring_too_small_is_refused);
    RUN(checked_bytes_are_right_and_allocate_nothing);
    lv_file_close(&file);
    return check_done();
}
