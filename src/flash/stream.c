/* SPDX-License-Identifier: MIT */
#include "flash/stream.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/mem.h"
#include "flash/verify.h"
#include "os/clock.h"

enum { PAGE = 4096, BATCH = 32 };

/* A place in the ring, in order of use: places [first, first + n) are in use, the first n_held of them
 * handed out, the others reading or ready. */
typedef struct place {
    lv_io_read read;
    size_t   at, bytes;   /* in the ring; bytes to the end of the ring when the next place wraps */
    uint32_t extent;
    bool     ready, retried;
} place;

struct lv_stream {
    lv_io *io;
    lv_extent *extents;
    uint32_t n_extents;
    uint32_t *turn, n_turns;       /* [n_extents] those that a sweep takes, ascending: [n_turns] */
    uint8_t *ring;
    size_t   ring_bytes, head;     /* head: where the next extent goes */
    void *const *slots;            /* NULL: the ring; else place i is slot i */
    place   *places;               /* [n_places] */
    uint32_t n_places, first, n, n_held;
    uint32_t next_turn;            /* whose extent is to be submitted */
    uint32_t taken;                /* extents handed out of the current sweep */
    uint32_t n_flight;
    uint64_t idle_since_ns;        /* 0: something is in flight */
    const lv_sums *sums;           /* NULL: reads are not checked */
    lv_trace trace;
    const char *track;
    lv_stream_stats stats;
};

static uint64_t align_of(const lv_extent *e) { return e->file->align > PAGE ? e->file->align : PAGE; }

static uint64_t superset_begin(const lv_extent *e) { return e->off & ~(align_of(e) - 1); }

size_t lv_extent_ring_bytes(const lv_extent *e)
{
    const uint64_t a = align_of(e), end = (e->off + e->len + a - 1) & ~(a - 1);
    return (size_t)(end - superset_begin(e));
}

/* One extent is held while the next is read; whatever the wrap wastes is less than one extent. */
size_t lv_stream_min_ring(const lv_extent *extents, uint32_t n)
{
    size_t largest = 0;
    for (uint32_t i = 0; i < n; i++)
        if (lv_extent_ring_bytes(&extents[i]) > largest) largest = lv_extent_ring_bytes(&extents[i]);
    return n > 1 ? 2 * largest : largest;
}

static place *place_at(const lv_stream *s, uint32_t i) { return &s->places[(s->first + i) % s->n_places]; }

/* Room for `bytes` in one piece at the head or, after wrapping, at 0. */
static bool find_room(const lv_stream *s, size_t bytes, size_t *at)
{
    if (s->slots) return *at = 0, s->n < s->n_places;
    if (s->n == 0) {
        *at = 0;
        return bytes <= s->ring_bytes;
    }
    const size_t tail = place_at(s, 0)->at;
    if (s->head > tail || (s->head == tail && s->n == 0)) {
        if (bytes <= s->ring_bytes - s->head) return *at = s->head, true;
        if (bytes <= tail) return *at = 0, true;
        return false;
    }
    return s->head < tail && bytes <= tail - s->head ? (*at = s->head, true) : false;
}

static const lv_extent *next_extent(const lv_stream *s) { return &s->extents[s->turn[s->next_turn]]; }

static void queue_extent(lv_stream *s, size_t at, size_t bytes)
{
    const lv_extent *e = next_extent(s);
    place *p = place_at(s, s->n);
    *p = (place){ .at = at, .bytes = bytes, .extent = s->turn[s->next_turn] };
    uint8_t *dst = s->slots ? s->slots[p - s->places] : s->ring + at;
    p->read = (lv_io_read){
        .file = e->file, .off = superset_begin(e), .dst = dst, .len = (uint32_t)bytes, .user = p
    };
    s->n++;
    s->head = at + bytes;
    s->next_turn = (s->next_turn + 1) % s->n_turns;
}

static void note_idle(lv_stream *s)
{
    const bool idle = s->n_flight == 0 && s->n_turns > 0;
    if (idle && !s->idle_since_ns) s->idle_since_ns = lv_clock_ns();
    if (!idle && s->idle_since_ns) {
        s->stats.idle_ns += lv_clock_ns() - s->idle_since_ns;
        s->idle_since_ns = 0;
    }
}

/* Start reads into all free room. What the queue does not take stays for the next call. */
static int fill(lv_stream *s, lever_error *err)
{
    lv_io_read *batch[BATCH];
    if (s->n_turns == 0) return note_idle(s), LEVER_OK;
    for (;;) {
        const uint32_t n_before = s->n, head_turn = s->next_turn;
        const size_t head = s->head;
        uint32_t n = 0;
        size_t at;
        while (n < BATCH && s->n < s->n_places) {
            const size_t bytes = lv_extent_ring_bytes(next_extent(s));
            if (!find_room(s, bytes, &at)) break;
            queue_extent(s, at, bytes);
            batch[n++] = &place_at(s, s->n - 1)->read;
        }
        const int taken = n ? lv_io_submit(s->io, batch, n) : 0;
        const uint32_t kept = taken > 0 ? (uint32_t)taken : 0;
        s->n_flight += kept;
        if (kept < n) { /* take the others out again */
            s->n = n_before + kept;
            s->next_turn = (head_turn + kept) % s->n_turns;
            s->head = kept ? place_at(s, s->n - 1)->at + place_at(s, s->n - 1)->bytes : head;
        }
        note_idle(s);
        if (taken < 0)
            return lv_fail(err, LEVER_EIO, 0, "'%s': reads can not be queued", s->extents[0].file->path);
        if (kept < n || n < BATCH) return LEVER_OK;
    }
}

static int reap(lv_stream *s, uint32_t wait_for, lever_error *err)
{
    lv_io_read *done[BATCH];
    const int n = lv_io_reap(s->io, done, BATCH, wait_for);
    if (n < 0) return lv_fail(err, LEVER_EIO, 0, "'%s': the read queue failed", s->extents[0].file->path);
    for (int i = 0; i < n; i++) {
        place *p = done[i]->user;
        p->ready = true;
        s->n_flight--;
        lv_trace_emit(&s->trace, &(lever_trace_event){ .track = "flash",
                                                       .name = "read",
                                                       .begin_ns = p->read.submit_ns,
                                                       .end_ns = p->read.done_ns,
                                                       .index = (int64_t)s->stats.n_reads,
                                                       .bytes = p->read.result });
        s->stats.n_reads++;
        if (p->read.result > 0) s->stats.bytes_read += (uint64_t)p->read.result;
    }
    return LEVER_OK;
}

static int check_room(const lv_stream_config *c, lever_error *err)
{
    const size_t least = lv_stream_min_ring(c->extents, c->n_extents);
    const size_t room = c->slots ? c->n_slots * c->slot_bytes : c->ring_bytes;
    if (room < least)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "the ring of %zu bytes is smaller than the %zu bytes that the longest reads need",
                       room, least);
    for (uint32_t i = 0; c->slots && i < c->n_extents; i++)
        if (lv_extent_ring_bytes(&c->extents[i]) > c->slot_bytes)
            return lv_fail(err, LEVER_EINVAL, 0, "slots of %zu bytes are too short for a read of %zu",
                           c->slot_bytes, lv_extent_ring_bytes(&c->extents[i]));
    return LEVER_OK;
}

int lv_stream_open(lv_stream **out, const lv_stream_config *c, lever_error *err)
{
    *out = NULL;
    if (c->n_extents == 0) return lv_fail(err, LEVER_EINVAL, 0, "nothing to stream");
    LEVER_TRY(check_room(c, err));
    lv_stream *s = lv_alloc(sizeof *s, 64);
    if (!s) goto fail;
    s->io = c->io;
    s->n_extents = c->n_extents;
    s->ring = c->ring;
    s->slots = c->slots;
    s->sums = c->sums;
    s->trace = c->trace;
    s->track = c->track;
    s->ring_bytes = c->ring_bytes;
    size_t smallest = SIZE_MAX;
    s->extents = lv_alloc_array(c->n_extents, sizeof *s->extents, 16);
    s->turn = lv_alloc_array(c->n_extents, sizeof *s->turn, 16);
    if (!s->extents || !s->turn) goto fail;
    s->n_turns = c->n_extents;
    for (uint32_t i = 0; i < c->n_extents; i++) {
        s->extents[i] = c->extents[i];
        s->turn[i] = i;
        if (lv_extent_ring_bytes(&c->extents[i]) < smallest) smallest = lv_extent_ring_bytes(&c->extents[i]);
    }
    const size_t most = c->ring_bytes / smallest;
    s->n_places = most < 2 * (size_t)c->n_extents ? (uint32_t)most : 2 * c->n_extents;
    if (s->n_places > 256) s->n_places = 256;
    if (s->slots) s->n_places = c->n_slots;
    if (!(s->places = lv_alloc_array(s->n_places, sizeof *s->places, 64))) goto fail;
    const int rc = fill(s, err);
    if (rc < 0) {
        lv_stream_close(&s);
        return rc;
    }
    *out = s;
    return LEVER_OK;
fail:
    lv_stream_close(&s);
    return lv_fail(err, LEVER_ENOMEM, 0, "the stream of %u extents", c->n_extents);
}

static void drain(lv_stream *s)
{
    lever_error ignored;
    while (s->n_flight && reap(s, 1, &ignored) >= 0) {}
}

void lv_stream_close(lv_stream **s)
{
    if (!s || !*s) return;
    if ((*s)->io) drain(*s);
    lv_free((*s)->extents);
    lv_free((*s)->turn);
    lv_free((*s)->places);
    lv_free(*s);
    *s = NULL;
}

/* What a read must bring: the extent's bytes or, to be checked, the pages that hold them. The superset may
 * end with the file before it is full. */
static uint64_t needed_bytes(const lv_stream *s, const place *p)
{
    const lv_extent *e = &s->extents[p->extent];
    uint64_t end = e->off + e->len;
    if (s->sums) end = (end + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    if (s->sums && end > s->sums->model_bytes) end = s->sums->model_bytes;
    return end - p->read.off;
}

static bool is_complete(const lv_stream *s, const place *p)
{
    return p->read.result >= 0 && (uint64_t)p->read.result >= needed_bytes(s, p);
}

static int wait_ready(lv_stream *s, place *p, lever_error *err)
{
    const uint64_t t0 = lv_clock_ns();
    int rc = LEVER_OK;
    while (rc >= 0 && !p->ready) rc = reap(s, 1, err);
    const uint64_t t1 = lv_clock_ns();
    s->stats.wait_ns += t1 - t0;
    lv_trace_emit(&s->trace, &(lever_trace_event){ .track = s->track,
                                                   .name = "wait for flash",
                                                   .begin_ns = t0,
                                                   .end_ns = t1,
                                                   .index = -1,
                                                   .bytes = p->read.len });
    return rc;
}

/* A failed read gets a second chance, as soon as the queue has room for it. */
static int read_again(lv_stream *s, place *p, lever_error *err)
{
    lv_io_read *again = &p->read;
    int taken;
    p->retried = true;
    while ((taken = lv_io_submit(s->io, &again, 1)) == 0) LEVER_TRY(reap(s, 1, err));
    if (taken < 0) return lv_fail(err, LEVER_EIO, 0, "'%s': reads can not be queued", p->read.file->path);
    p->ready = false;
    s->n_flight++;
    return wait_ready(s, p, err);
}

static int check_read(lv_stream *s, place *p, lever_error *err)
{
    const lv_extent *e = &s->extents[p->extent];
    if (p->read.result >= 0)
        return lv_fail(err, LEVER_EIO, 0, "'%s': the file ended inside %" PRIu32 " bytes at %" PRIu64
                       "; was it cut off while in use?", e->file->path, e->len, e->off);
    return lv_fail(err, LEVER_EIO, p->read.os_errno,
                   "'%s': read of %" PRIu32 " bytes at %" PRIu64 " failed twice", e->file->path, e->len,
                   e->off);
}

/* Checked when it is handed out: other reads are in flight meanwhile, and the bytes are warm for what comes.
 * Wrong bytes get a second chance too, past whatever the page cache holds. */
static int check_bytes(lv_stream *s, place *p, lever_error *err)
{
    const lv_file *f = p->read.file;
    for (;;) {
        const uint64_t t0 = s->trace.fn ? lv_clock_ns() : 0, n = needed_bytes(s, p);
        const uint64_t bad = lv_sums_check(s->sums, p->read.dst, (size_t)n, p->read.off);
        if (s->trace.fn)
            s->trace.fn(s->trace.user, &(lever_trace_event){ .track = s->track, .name = "check sums",
                                                             .begin_ns = t0, .end_ns = lv_clock_ns(),
                                                             .index = -1, .bytes = (int64_t)n });
        if (bad == UINT64_MAX) return LEVER_OK;
        if (p->retried) return lv_verify_fail(s->sums, f, bad, err);
        lv_file_forget(f, p->read.off, n);
        LEVER_TRY(read_again(s, p, err));
        if (!is_complete(s, p)) return check_read(s, p, err);
    }
}

int lv_stream_next(lv_stream *s, const void **bytes, lever_error *err)
{
    if (s->taken == 0) LEVER_TRY(lv_file_check(s->extents[0].file, err));
    if (s->n_held == s->n || !place_at(s, s->n_held)->ready) {
        LEVER_TRY(reap(s, 0, err));
        LEVER_TRY(fill(s, err));
    }
    if (s->n_held == s->n)
        return lv_fail(err, LEVER_EINVAL, 0, "the ring is full of extents that were not released");
    place *p = place_at(s, s->n_held);
    if (!p->ready) {
        LEVER_TRY(wait_ready(s, p, err));
        LEVER_TRY(fill(s, err)); /* what was collected meanwhile left room in the queue */
    }
    if (p->read.result < 0 && !p->retried) LEVER_TRY(read_again(s, p, err));
    if (!is_complete(s, p)) return check_read(s, p, err);
    if (s->sums) LEVER_TRY(check_bytes(s, p, err));
    /* Again at the end: nothing this sweep read came from a file that changed meanwhile. */
    if (s->taken + 1 == s->n_turns) LEVER_TRY(lv_file_check(s->extents[0].file, err));
    *bytes = (const uint8_t *)p->read.dst + (s->extents[p->extent].off - p->read.off);
    s->n_held++;
    s->taken = (s->taken + 1) % s->n_turns;
    return LEVER_OK;
}

void lv_stream_release(lv_stream *s)
{
    if (s->n_held == 0) return;
    s->first = (s->first + 1) % s->n_places;
    s->n--;
    s->n_held--;
}

uint32_t lv_stream_oldest(const lv_stream *s) { return (uint32_t)(place_at(s, 0) - s->places); }
uint32_t lv_stream_newest(const lv_stream *s) { return (uint32_t)(place_at(s, s->n_held - 1) - s->places); }

bool lv_stream_is_ready(lv_stream *s)
{
    if (s->n_held < s->n && place_at(s, s->n_held)->ready) return true;
    lv_stream_pump(s);
    return s->n_held < s->n && place_at(s, s->n_held)->ready;
}

void lv_stream_pump(lv_stream *s)
{
    lever_error ignored; /* a queue that fails now fails again in next(), which reports it */
    if (reap(s, 0, &ignored) >= 0) fill(s, &ignored);
}

int lv_stream_restart(lv_stream *s, lever_error *err)
{
    drain(s);
    s->first = s->n = s->n_held = s->taken = s->next_turn = 0;
    s->head = 0;
    return fill(s, err);
}

int lv_stream_skip(lv_stream *s, const bool *skip, lever_error *err)
{
    s->n_turns = 0;
    for (uint32_t i = 0; i < s->n_extents; i++)
        if (!skip[i]) s->turn[s->n_turns++] = i;
    return lv_stream_restart(s, err);
}

bool lv_stream_is_full(const lv_stream *s)
{
    size_t at;
    return s->n == s->n_places || s->n_turns == 0 || !find_room(s, lv_extent_ring_bytes(next_extent(s)), &at);
}

void lv_stream_get_stats(const lv_stream *s, lv_stream_stats *out)
{
    *out = s->stats;
    if (s->idle_since_ns) out->idle_ns += lv_clock_ns() - s->idle_since_ns;
}
