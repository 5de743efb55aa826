/* Monotony is by construction: a step that costs memory all at once (a longer prefill chunk, the last
 * positions of the context) is only taken where the budget for weights, capped just below the step,
 * does not shrink; what the cap leaves over goes to the ring. SPDX-License-Identifier: MIT */
#include "plan/memory_plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "flash/stream.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* Ring: two layers ahead hide a layer's reads under the layer before; 16 MiB (less for models below
 * 256 MiB) keeps a fast device busy for some milliseconds even when little streams; beyond 256 MiB a
 * pinned byte saves more than a prefetched one, because it is never read again. */
#define RING_LEAST (16 * MIB)
#define RING_MOST  (256 * MIB)
/* Below 64 KiB reads are slow on every flash; the shorter ones only serve limits where nothing else fits. */
#define EXTENT_LEAST (16 * KIB)
#define EXTENT_MOST  (4 * MIB)
/* Kernels work on tiles of up to 32 rows of weights, and threads share out whole tiles. An 8B model's products in
 * extents of 10 to 30 rows take 12 times as long as in those of 320 and more; of 40 to 120 1.6, 160 to 480 1.2. */
enum { EXTENT_ROWS = 128 };
#define HUGE_PAGE    (2 * MIB)
enum { READS_IN_FLIGHT = 6, ROWS_SHARE_DEFAULT = 8, RING_SHARE = 16, RING_ROUNDS = 16 };

static const uint32_t row_steps[] = { 8, 16, 32, 64, 128, 256, 512 };
enum { N_STEPS = sizeof row_steps / sizeof *row_steps };

typedef struct work {
    const lv_plan_input *in;
    uint64_t limit, fixed, all;    /* all: bytes of every matrix, head included */
    uint64_t largest;              /* matrix: no extent is longer */
    uint64_t stream_min;           /* smallest ring with its bookkeeping */
    uint32_t n_layers, rows_share, extent_most, reads_in_flight;
    uint32_t rows[N_STEPS + 1], n_rows; /* allowed chunks, ascending */
} work;

/* Sizes saturate: a sum of hostile sizes is then too large instead of small. */
static uint64_t sat_add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
static uint64_t sat_sub(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t sat_mul(uint64_t a, uint64_t b) { return b && a > UINT64_MAX / b ? UINT64_MAX : a * b; }
static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Everything but weights and ring. */
static uint64_t base_bytes(const work *w, uint32_t n_ctx, uint32_t rows)
{
    lv_plan_sizes s = { 0 };
    w->in->sizes(w->in->user, n_ctx, rows, &s);
    return sat_add(sat_add(w->fixed, sat_add(s.kv_bytes, s.draft_kv_bytes)),
                   sat_add(s.activation_bytes, s.scratch_bytes));
}

/* ---- the stream ---- */

/* An extent is a run of whole rows of at most extent_bytes, or one longer row; at the worst offset. */
static lv_extent worst_extent(const work *w, const lv_file *file, uint64_t extent_bytes)
{
    const uint64_t len = max_u64(min_u64(extent_bytes, w->largest), w->in->max_row_bytes);
    return (lv_extent){ .file = file, .off = w->in->align - 1, .len = (uint32_t)len };
}

static uint64_t ring_min(const work *w, uint64_t extent_bytes)
{
    const lv_file file = { .align = w->in->align };
    const lv_extent two[2] = { worst_extent(w, &file, extent_bytes), worst_extent(w, &file, extent_bytes) };
    return lv_round_up(lv_stream_min_ring(two, 2), 4096);
}

static uint64_t extent_ring_bytes(const work *w, uint64_t extent_bytes)
{
    const lv_file file = { .align = w->in->align };
    const lv_extent e = worst_extent(w, &file, extent_bytes);
    return lv_extent_ring_bytes(&e);
}

/* Bookkeeping of all extents. A cut at rows leaves less than one row of each extent unused. */
static uint64_t extents_bytes(const work *w, uint64_t extent_bytes)
{
    const uint64_t row = w->in->max_row_bytes;
    const uint64_t filled = extent_bytes > 2 * row ? extent_bytes - row : extent_bytes / 2;
    const uint64_t n = w->all / filled + w->in->n_items + 1;
    return lv_round_up(sat_mul(n, w->in->extent_cost_bytes), 4096);
}

/* Longest extent of which a stream of `bytes` holds enough for a full queue; where none does, the one
 * that needs least memory. */
static uint64_t choose_extent(const work *w, uint64_t bytes)
{
    uint64_t least = EXTENT_LEAST, least_cost = UINT64_MAX;
    for (uint64_t e = w->extent_most; e >= EXTENT_LEAST; e /= 2) {
        const uint64_t ring = sat_sub(bytes, extents_bytes(w, e));
        if (ring >= ring_min(w, e) && ring / w->reads_in_flight >= extent_ring_bytes(w, e)) return e;
        const uint64_t cost = sat_add(ring_min(w, e), extents_bytes(w, e));
        if (cost < least_cost) least = e, least_cost = cost;
    }
    return least;
}

/* A device reads into huge pages two to three times as fast as into small ones, so a ring has whole ones,
 * unless the model is so small that one would be a quarter of it. */
static uint64_t ring_least(const work *w)
{
    const uint64_t share = min_u64(RING_LEAST, w->all / RING_SHARE);
    return w->all / 4 >= HUGE_PAGE ? max_u64(share, HUGE_PAGE) : share;
}

static uint64_t whole_pages(uint64_t ring, uint64_t least)
{
    const uint64_t huge = ring & ~(uint64_t)(HUGE_PAGE - 1);
    return huge && huge >= least ? huge : ring & ~(uint64_t)4095;
}

/* The stream, ring and bookkeeping, whose ring has at least `ring` bytes in whole pages. */
static uint64_t stream_of(const work *w, uint64_t ring)
{
    if (ring >= HUGE_PAGE) ring = lv_round_up(ring, HUGE_PAGE);
    return sat_add(ring, extents_bytes(w, choose_extent(w, ring)));
}

/* What the stream should have when resident bytes stay in memory; falls as resident grows. */
static uint64_t stream_target(const work *w, uint64_t resident)
{
    const uint64_t left = sat_sub(w->all, resident);
    const uint64_t two_layers = left / w->n_layers * 2;
    const uint64_t want = min_u64(max_u64(two_layers, ring_least(w)), RING_MOST);
    return max_u64(stream_of(w, min_u64(want, 2 * left)), w->stream_min);
}

/* ---- weights ---- */

static uint64_t unpin_all(const work *w)
{
    for (size_t i = 0; i < w->in->n_items; i++) w->in->items[i].pinned = false;
    return 0;
}

static uint64_t pin(const work *w, lv_plan *p, uint64_t budget)
{
    p->head_resident = !w->in->no_pin && budget >= w->in->head_bytes;
    const uint64_t head = p->head_resident ? w->in->head_bytes : 0;
    p->pinned_bytes = w->in->no_pin ? unpin_all(w) : lv_residency_plan(w->in->items, w->in->n_items,
                                                                       budget - head, w->in->residency);
    return head + p->pinned_bytes;
}

/* ---- context and rows ---- */

/* Largest context in [min, wanted] that leaves `rest` within the limit; min when none does. */
static uint32_t choose_ctx(const work *w, uint64_t rest)
{
    uint32_t lo = w->in->n_ctx_min, hi = w->in->n_ctx_wanted;
    while (lo < hi) {
        const uint32_t mid = hi - (hi - lo) / 2;
        if (sat_add(base_bytes(w, mid, w->rows[0]), rest) <= w->limit) lo = mid;
        else hi = mid - 1;
    }
    return lo;
}

static void choose_rows_resident(const work *w, lv_plan *p)
{
    for (uint32_t i = 0; i < w->n_rows; i++)
        if (i == 0 || sat_add(base_bytes(w, p->n_ctx, w->rows[i]), w->all) <= w->limit)
            p->max_rows = w->rows[i];
}

/* Longest chunk whose extra cost is within its share of what is left for weights. Returns the budget
 * for stream and weights, capped so that it does not fall where the next chunk begins. */
static uint64_t choose_rows_streamed(const work *w, lv_plan *p)
{
    const uint64_t base = base_bytes(w, p->n_ctx, w->rows[0]), left = w->limit - base;
    uint64_t budget = left;
    p->max_rows = w->rows[0];
    for (uint32_t i = 1; i < w->n_rows; i++) {
        const uint64_t extra = sat_sub(base_bytes(w, p->n_ctx, w->rows[i]), base);
        if (extra > (left - w->stream_min) / w->rows_share)
            return min_u64(budget, sat_add(w->stream_min, sat_mul(extra, w->rows_share - 1)));
        p->max_rows = w->rows[i];
        budget = left - extra;
    }
    return budget;
}

/* ---- the plan ---- */

static void add_line(lv_plan *p, uint64_t bytes, const char *label)
{
    assert(p->n_lines < LV_PLAN_MAX_LINES);
    if (bytes == 0) return;
    lv_plan_line *line = &p->lines[p->n_lines++];
    snprintf(line->label, sizeof line->label, "%s", label);
    line->bytes = bytes;
    p->total_bytes = sat_add(p->total_bytes, bytes);
}

/* Turn the choices into lines; stream is the ring with its bookkeeping. */
static void finish(const work *w, lv_plan *p, uint64_t stream)
{
    char label[64];
    lv_plan_sizes s = { 0 };
    const uint64_t head = p->head_resident ? w->in->head_bytes : 0;
    p->limit_bytes = w->in->limit_bytes;
    p->resident_bytes = head + p->pinned_bytes;
    p->streamed_bytes = w->all - p->resident_bytes;
    p->n_lines = 0;
    p->total_bytes = 0;
    for (size_t i = 0; i < w->in->n_fixed; i++) add_line(p, w->in->fixed[i].bytes, w->in->fixed[i].label);
    w->in->sizes(w->in->user, p->n_ctx, p->max_rows, &s);
    snprintf(label, sizeof label, "KV cache, %" PRIu32 " positions", p->n_ctx);
    add_line(p, s.kv_bytes, label);
    add_line(p, s.draft_kv_bytes, "KV cache of the draft");
    snprintf(label, sizeof label, "activations, %" PRIu32 " rows", p->max_rows);
    add_line(p, s.activation_bytes, label);
    add_line(p, s.scratch_bytes, "scratch of the kernels");
    p->extent_bytes = p->ring_bytes = 0;
    if (stream) {
        p->extent_bytes = choose_extent(w, stream);
        const uint64_t list = extents_bytes(w, p->extent_bytes);
        p->ring_bytes = whole_pages(stream - list, ring_min(w, p->extent_bytes));
        add_line(p, list, "list of streamed extents");
        add_line(p, p->ring_bytes, "ring of the weight stream");
    }
    add_line(p, head, "output head");
    add_line(p, p->pinned_bytes, "resident layer matrices");
}

static void plan_resident(const work *w, lv_plan *p)
{
    p->n_ctx = choose_ctx(w, w->all);
    choose_rows_resident(w, p);
    pin(w, p, w->all);
    finish(w, p, 0);
}

static void plan_streamed(const work *w, lv_plan *p)
{
    p->n_ctx = choose_ctx(w, w->stream_min);
    p->max_rows = w->rows[0];
    /* While the context is cut short, memory goes there before any weight stays. */
    uint64_t budget = w->stream_min;
    if (p->n_ctx == w->in->n_ctx_wanted) budget = choose_rows_streamed(w, p);
    /* The head comes before a long ring: only a resident one is projected on demand. */
    const uint64_t short_ring = max_u64(stream_of(w, ring_least(w)), w->stream_min);
    const bool head_first = !w->in->no_pin && budget >= sat_add(w->in->head_bytes, short_ring);
    const uint64_t ring_most = head_first ? budget - w->in->head_bytes : budget;
    uint64_t stream = min_u64(stream_target(w, 0), ring_most), resident = 0;
    for (int i = 0; i < RING_ROUNDS; i++) { /* what stays resident need not pass through the ring */
        resident = pin(w, p, budget - stream);
        const uint64_t target = stream_target(w, resident);
        if (target >= stream) break;
        stream = target;
    }
    resident = pin(w, p, budget - stream);
    const uint64_t rest = w->limit - base_bytes(w, p->n_ctx, p->max_rows) - stream - resident;
    const uint64_t most = max_u64(min_u64(RING_MOST, 2 * (w->all - resident)), stream);
    if (!w->in->no_pin) stream += min_u64(rest, most - stream);
    finish(w, p, stream);
}

static int refuse(const work *w, lv_plan *p, lever_error *err)
{
    char list[320] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < p->n_lines && at < sizeof list - 1; i++) {
        const int n = snprintf(list + at, sizeof list - at, "%s%s %.1f MiB", i ? ", " : "", p->lines[i].label,
                               (double)p->lines[i].bytes / (double)MIB);
        at += n > 0 ? (size_t)n : 0;
    }
    const uint64_t whole_mib = p->needed_bytes / MIB + (p->needed_bytes % MIB != 0);
    const double limit_mib = (double)w->limit / (double)MIB;
    return lv_fail(err, LEVER_ELIMIT, 0, "needs at least %" PRIu64 " MiB, but the limit is %.1f MiB; "
                   "raise --mem or shorten the context (%s)", whole_mib, limit_mib, list);
}

static int check(const lv_plan_input *in, lever_error *err)
{
    if (in->n_ctx_min < 1 || in->n_ctx_min > in->n_ctx_wanted || in->tree_rows < 1)
        return lv_fail(err, LEVER_EINVAL, 0, "memory plan: context of %u to %u positions, %u tree rows",
                       in->n_ctx_min, in->n_ctx_wanted, in->tree_rows);
    if (in->n_fixed > LV_PLAN_MAX_FIXED || in->max_row_bytes < 1 || in->max_row_bytes > 1024 * MIB ||
        in->align < 1 || (in->align & (in->align - 1)) || in->align > 1 * MIB)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "memory plan: %zu fixed parts, rows of %" PRIu64 " bytes, alignment %u", in->n_fixed,
                       in->max_row_bytes, in->align);
    if (in->rows_share == 1)
        return lv_fail(err, LEVER_EINVAL, 0, "memory plan: rows can not have all of what is left");
    for (size_t i = 0; i < in->n_items; i++)
        if (in->items[i].layer < 0)
            return lv_fail(err, LEVER_EINVAL, 0, "memory plan: matrix %zu belongs to no layer", i);
    return LEVER_OK;
}

/* A request for short reads, of a profile say that found them as fast, is not worth slow products. Doubled, so that
 * the halves choose_extent() tries, and with them needed_bytes, stay those of the request. */
static uint32_t extent_most(const lv_plan_input *in)
{
    uint64_t most = in->extent_most_bytes ? in->extent_most_bytes : EXTENT_MOST;
    while (most < EXTENT_ROWS * in->max_row_bytes && 2 * most <= EXTENT_MOST) most *= 2;
    return (uint32_t)most;
}

static int prepare(work *w, const lv_plan_input *in, lever_error *err)
{
    *w = (work){ .in = in, .limit = in->limit_bytes ? in->limit_bytes : UINT64_MAX, .all = in->head_bytes,
                 .largest = in->head_bytes, .n_layers = 1,
                 .rows_share = in->rows_share ? in->rows_share : ROWS_SHARE_DEFAULT,
                 .extent_most = extent_most(in),
                 .reads_in_flight = in->reads_in_flight ? in->reads_in_flight : READS_IN_FLIGHT };
    for (size_t i = 0; i < in->n_fixed; i++) w->fixed = sat_add(w->fixed, in->fixed[i].bytes);
    for (size_t i = 0; i < in->n_items; i++) {
        w->all = sat_add(w->all, in->items[i].bytes);
        w->largest = max_u64(w->largest, in->items[i].bytes);
        if ((uint32_t)in->items[i].layer >= w->n_layers) w->n_layers = (uint32_t)in->items[i].layer + 1;
    }
    if (w->all > UINT64_MAX / 4 || w->fixed > UINT64_MAX / 4)
        return lv_fail(err, LEVER_EINVAL, 0, "memory plan: sizes overflow");
    if (in->max_rows) {
        w->rows[w->n_rows++] = in->max_rows > in->tree_rows ? in->max_rows : in->tree_rows;
    } else {
        for (int i = 0; i < N_STEPS; i++) /* a chunk longer than the context is never filled */
            if (row_steps[i] >= in->tree_rows && (w->n_rows == 0 || row_steps[i] <= in->n_ctx_wanted))
                w->rows[w->n_rows++] = row_steps[i];
        if (w->n_rows == 0) w->rows[w->n_rows++] = in->tree_rows;
    }
    const uint64_t e = choose_extent(w, 0);
    w->stream_min = sat_add(ring_min(w, e), extents_bytes(w, e));
    return LEVER_OK;
}

int lv_plan_memory(lv_plan *out, const lv_plan_input *in, lever_error *err)
{
    work w;
    *out = (lv_plan){ 0 };
    LEVER_TRY(check(in, err));
    LEVER_TRY(prepare(&w, in, err));
    /* A model no larger than the smallest ring is never worth streaming. */
    const bool tiny = !in->no_pin && w.all <= w.stream_min;
    const uint64_t needed = sat_add(base_bytes(&w, in->n_ctx_min, w.rows[0]), tiny ? w.all : w.stream_min);
    out->needed_bytes = needed;
    const bool fits = needed <= w.limit;
    if (!fits) w.limit = needed; /* plan the smallest, to show it */
    if (needed > UINT64_MAX / 2) return lv_fail(err, LEVER_EINVAL, 0, "memory plan: sizes overflow");
    const uint64_t whole = sat_add(base_bytes(&w, in->n_ctx_wanted, w.rows[0]), w.all);
    if (tiny || (!in->no_pin && whole <= w.limit)) plan_resident(&w, out);
    else plan_streamed(&w, out);
    assert(out->total_bytes <= w.limit);
    if (fits) return LEVER_OK;
    w.limit = in->limit_bytes;
    return refuse(&w, out, err);
}
