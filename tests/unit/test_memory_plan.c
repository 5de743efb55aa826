/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "flash/stream.h"
#include "plan/memory_plan.h"

#define MIB (UINT64_C(1) << 20)
enum { MAX_ITEMS = 400 };

static uint64_t rng_state;
static uint64_t rng(uint64_t n) /* splitmix64, 0..n-1 */
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % n;
}

/* A made-up model: sizes grow linearly with positions and rows. */
typedef struct toy {
    uint64_t kv, draft_kv, per_row, per_row_ctx;
    lv_residency_item items[MAX_ITEMS];
    lv_plan_line fixed[2];
    lv_plan_input in;
} toy;

static void toy_sizes(void *user, uint32_t n_ctx, uint32_t max_rows, lv_plan_sizes *out)
{
    const toy *t = user;
    out->kv_bytes = t->kv * (n_ctx + max_rows);
    out->draft_kv_bytes = t->draft_kv * (n_ctx + max_rows);
    out->activation_bytes = t->per_row * max_rows;
    out->scratch_bytes = t->per_row_ctx * n_ctx;
}

/* n_layers of `per_layer` matrices; sizes in bytes. */
static void toy_init(toy *t, uint32_t n_layers, uint32_t per_layer, uint64_t matrix_bytes,
                     uint64_t head_bytes)
{
    *t = (toy){ .kv = 4096, .draft_kv = 1024, .per_row = 65536, .per_row_ctx = 16 };
    for (uint32_t i = 0; i < n_layers * per_layer; i++)
        t->items[i] = (lv_residency_item){ .bytes = matrix_bytes, .layer = (int32_t)(i / per_layer) };
    t->fixed[0] = (lv_plan_line){ "program and libraries", 8 * MIB };
    t->fixed[1] = (lv_plan_line){ "draft weights", 30 * MIB };
    t->in = (lv_plan_input){
        .fixed = t->fixed, .n_fixed = 2, .items = t->items, .n_items = (size_t)n_layers * per_layer,
        .head_bytes = head_bytes, .max_row_bytes = 4608, .align = 4096, .extent_cost_bytes = 96,
        .n_ctx_wanted = 2048, .n_ctx_min = 256, .tree_rows = 9, .sizes = toy_sizes, .user = t,
    };
}

static void toy_random(toy *t)
{
    const uint32_t n_layers = 1 + (uint32_t)rng(48), per_layer = 1 + (uint32_t)rng(8);
    toy_init(t, n_layers, per_layer, 1, rng(3) ? rng(300 * MIB) : 0);
    const uint64_t scale = UINT64_C(1) << rng(28);
    for (size_t i = 0; i < t->in.n_items; i++) t->items[i].bytes = 1 + rng(scale);
    t->kv = rng(200000), t->draft_kv = rng(50000), t->per_row = rng(400000), t->per_row_ctx = rng(64);
    t->fixed[1].bytes = rng(500 * MIB);
    t->in.max_row_bytes = 1 + rng(rng(4) ? 20000 : 300000);
    t->in.align = 1u << rng(13);
    t->in.n_ctx_wanted = 1 + (uint32_t)rng(8192);
    t->in.n_ctx_min = 1 + (uint32_t)rng(t->in.n_ctx_wanted);
    t->in.tree_rows = 1 + (uint32_t)rng(rng(2) ? 16 : 700);
    t->in.max_rows = rng(4) ? 0 : (uint32_t)rng(600);
    t->in.rows_share = rng(3) ? 0 : (uint32_t)(2 + rng(9));
    t->in.residency = rng(2) ? LV_RESIDENCY_SPREAD : LV_RESIDENCY_FIRST_LAYERS;
    t->in.no_pin = rng(5) == 0;
}

static uint64_t all_bytes(const toy *t)
{
    uint64_t n = t->in.head_bytes;
    for (size_t i = 0; i < t->in.n_items; i++) n += t->items[i].bytes;
    return n;
}

static uint64_t needed_by(toy *t)
{
    lv_plan p;
    t->in.limit_bytes = 1;
    CHECK_EQ(lv_plan_memory(&p, &t->in, NULL), LEVER_ELIMIT);
    return p.needed_bytes;
}

/* What must hold of every plan that fits. */
static void check_plan(const toy *t, const lv_plan *p)
{
    uint64_t sum = 0, pinned = 0;
    lv_plan_sizes s;
    toy_sizes((void *)(uintptr_t)t, p->n_ctx, p->max_rows, &s);
    for (uint32_t i = 0; i < p->n_lines; i++) sum += p->lines[i].bytes;
    for (size_t i = 0; i < t->in.n_items; i++) pinned += t->items[i].pinned ? t->items[i].bytes : 0;
    CHECK_EQ(sum, p->total_bytes);
    CHECK(p->total_bytes <= t->in.limit_bytes || !t->in.limit_bytes);
    CHECK(p->total_bytes >= t->fixed[0].bytes + t->fixed[1].bytes + s.kv_bytes + s.draft_kv_bytes +
                                s.activation_bytes + s.scratch_bytes + p->ring_bytes + p->resident_bytes);
    CHECK_EQ(pinned, p->pinned_bytes);
    CHECK_EQ(p->resident_bytes, pinned + (p->head_resident ? t->in.head_bytes : 0));
    CHECK_EQ(p->resident_bytes + p->streamed_bytes, all_bytes(t));
    CHECK(p->n_ctx >= t->in.n_ctx_min && p->n_ctx <= t->in.n_ctx_wanted);
    CHECK(p->max_rows >= t->in.tree_rows);
    if (p->streamed_bytes) {
        uint64_t len = t->in.head_bytes; /* the longest read: whole rows of one matrix */
        for (size_t i = 0; i < t->in.n_items; i++) len = len > t->items[i].bytes ? len : t->items[i].bytes;
        len = len < p->extent_bytes ? len : p->extent_bytes;
        len = len > t->in.max_row_bytes ? len : t->in.max_row_bytes;
        const lv_file file = { .align = t->in.align };
        const lv_extent e = { .file = &file, .off = t->in.align - 1, .len = (uint32_t)len };
        const lv_extent two[2] = { e, e };
        CHECK(p->ring_bytes >= lv_stream_min_ring(two, 2));
        CHECK(p->extent_bytes >= 16384 && p->extent_bytes <= 4 * MIB);
        CHECK_EQ(p->ring_bytes % 4096, 0);
    } else {
        CHECK(p->ring_bytes == 0 || t->in.no_pin);
    }
}

static void everything_fits_without_a_ring(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 8, 7, 4 * MIB, 20 * MIB);
    t.in.limit_bytes = 0;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK_EQ(p.streamed_bytes, 0);
    CHECK_EQ(p.ring_bytes, 0);
    CHECK_EQ(p.n_ctx, 2048);
    CHECK_EQ(p.max_rows, 512);
    CHECK(p.head_resident);
    const uint64_t roomy = p.total_bytes;
    t.in.limit_bytes = roomy;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK_EQ(p.total_bytes, roomy);
    t.in.limit_bytes = roomy - 1; /* a shorter chunk gives way before any weight does */
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK_EQ(p.streamed_bytes, 0);
    CHECK_EQ(p.max_rows, 256);
}

static void memory_goes_in_the_budget_order(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 24, 7, 8 * MIB, 60 * MIB); /* 1344 MiB of layers */
    t.in.limit_bytes = needed_by(&t) + MIB;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK(p.n_ctx > t.in.n_ctx_min && p.n_ctx < t.in.n_ctx_wanted); /* KV first */
    CHECK_EQ(p.resident_bytes, 0);
    t.in.limit_bytes = needed_by(&t) + 60 * MIB;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK_EQ(p.n_ctx, t.in.n_ctx_wanted);
    CHECK(p.ring_bytes > 16 * MIB); /* then the ring: not yet two layers' bytes */
    CHECK(!p.head_resident);
    CHECK_EQ(p.pinned_bytes, 0);
    t.in.limit_bytes = needed_by(&t) + 110 * MIB;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK(p.head_resident); /* then the head, before the ring has two layers' bytes */
    CHECK(p.ring_bytes >= 16 * MIB && p.ring_bytes < 60 * MIB);
    CHECK_EQ(p.pinned_bytes, 0);
    t.in.limit_bytes = needed_by(&t) + 260 * MIB;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK(p.ring_bytes + p.ring_bytes / 16 >= 2 * p.streamed_bytes / 24);
    CHECK(p.pinned_bytes < 200 * MIB);
    t.in.limit_bytes = needed_by(&t) + 900 * MIB;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK(p.pinned_bytes > 600 * MIB);
    CHECK_EQ(p.max_rows, 512);
    CHECK(p.extent_bytes >= MIB && p.ring_bytes >= 6 * p.extent_bytes);
    CHECK_EQ(p.ring_bytes % (2 * MIB), 0) /* whole huge pages */;
    CHECK(p.ring_bytes < 90 * MIB); /* what stays need not pass through the ring */
}

static void reads_are_as_long_and_as_many_as_asked_for(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 24, 7, 8 * MIB, 60 * MIB);
    t.in.limit_bytes = needed_by(&t) + 900 * MIB;
    static const uint32_t most[] = { 64 << 10, 512 << 10, 2 << 20 };
    for (int i = 0; i < 3; i++) {
        t.in.extent_most_bytes = most[i];
        t.in.max_row_bytes = 512;
        CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
        check_plan(&t, &p);
        CHECK_EQ(p.extent_bytes, most[i]);
    }
    t.in.extent_most_bytes = 0;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    const uint64_t usual = p.extent_bytes;
    t.in.reads_in_flight = 64;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK(p.extent_bytes < usual && p.ring_bytes >= 64 * p.extent_bytes);
}

static void short_reads_are_raised_to_what_products_want(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 24, 7, 8 * MIB, 60 * MIB);
    t.in.limit_bytes = needed_by(&t) + 900 * MIB;
    t.in.extent_most_bytes = 64 << 10;
    static const uint32_t row[] = { 512, 4608, 13056, 100000 }, extent[] = { 64 << 10, 1 << 20, 2 << 20, 4 << 20 };
    for (int i = 0; i < 4; i++) {
        t.in.max_row_bytes = row[i];
        CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
        check_plan(&t, &p);
        CHECK_EQ(p.extent_bytes, extent[i]);
    }
    const uint64_t needed = needed_by(&t);
    t.in.limit_bytes = needed; /* where memory is short, so are reads, */
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK(p.extent_bytes < 4 << 20);
    t.in.extent_most_bytes = 0; /* and a wish changes nothing about what is needed */
    CHECK_EQ(needed_by(&t), needed);
    t.in.extent_most_bytes = 64 << 10;
    t.in.max_row_bytes = 4608;
    const uint64_t raised = needed_by(&t);
    t.in.extent_most_bytes = 0;
    CHECK_EQ(needed_by(&t), raised);
}

static void too_small_a_limit_says_what_is_needed(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 24, 7, 8 * MIB, 60 * MIB);
    t.in.limit_bytes = 20 * MIB;
    CHECK_EQ(lv_plan_memory(&p, &t.in, &e), LEVER_ELIMIT);
    CHECK_EQ(p.total_bytes, p.needed_bytes);
    CHECK(strstr(e.msg, "20.0 MiB") && strstr(e.msg, "draft weights 30.0 MiB"));
    char want[64];
    const uint64_t mib = (p.needed_bytes + MIB - 1) / MIB;
    snprintf(want, sizeof want, "at least %llu MiB", (unsigned long long)mib);
    CHECK(strstr(e.msg, want) != NULL);
    t.in.limit_bytes = mib * MIB; /* what the text says works */
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
}

static void never_above_the_limit_and_the_minimum_works(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    rng_state = 1;
    for (int round = 0; round < 200; round++) {
        toy_random(&t);
        const uint64_t needed = needed_by(&t);
        CHECK(needed > 1);
        for (int i = 0; i < 12; i++) {
            t.in.limit_bytes = i == 0 ? needed : needed + rng((all_bytes(&t) + 300 * MIB) >> rng(8));
            CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
            CHECK_EQ(p.needed_bytes, needed);
            check_plan(&t, &p);
        }
        t.in.limit_bytes = needed - 1;
        CHECK_EQ(lv_plan_memory(&p, &t.in, &e), LEVER_ELIMIT);
        CHECK_EQ(p.total_bytes, needed);
        if (check_failures) break; /* one model's worth of messages is enough */
    }
}

static void more_memory_never_keeps_less_resident(void)
{
    static toy t;
    lv_plan p;
    rng_state = 2;
    for (int round = 0; round < 100 && !check_failures; round++) {
        toy_random(&t);
        t.in.no_pin = false;
        const uint64_t needed = needed_by(&t), span = all_bytes(&t) + 256 * MIB;
        uint64_t before = 0;
        uint32_t ctx = 0;
        t.in.limit_bytes = needed;
        for (int i = 0; i < 200; i++) {
            CHECK_EQ(lv_plan_memory(&p, &t.in, NULL), LEVER_OK);
            if (p.resident_bytes < before || p.n_ctx < ctx)
                fprintf(stderr, "round %d: limit %llu keeps %llu, less than %llu\n", round,
                        (unsigned long long)t.in.limit_bytes, (unsigned long long)p.resident_bytes,
                        (unsigned long long)before);
            CHECK(p.resident_bytes >= before);
            CHECK(p.n_ctx >= ctx);
            before = p.resident_bytes;
            ctx = p.n_ctx;
            t.in.limit_bytes += 1 + rng(i % 3 ? span / 60 : 5000);
        }
    }
}

static void forced_settings_are_kept(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 8, 7, 4 * MIB, 20 * MIB);
    t.in.max_rows = 33, t.in.n_ctx_min = t.in.n_ctx_wanted = 777;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK_EQ(p.max_rows, 33);
    CHECK_EQ(p.n_ctx, 777);
    t.in.max_rows = 4; /* less than a tree needs */
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK_EQ(p.max_rows, 9);
    t.in.max_rows = 0, t.in.tree_rows = 1000; /* no step is that long */
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK_EQ(p.max_rows, 1000);
    t.in.tree_rows = 1, t.in.n_ctx_min = t.in.n_ctx_wanted = 40; /* no chunk beyond the context */
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    CHECK_EQ(p.max_rows, 32);
    t.in.no_pin = true;
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK_EQ(p.resident_bytes, 0);
    CHECK(p.ring_bytes > 0 && p.ring_bytes <= 2 * (8 * 7 * 4 + 20) * MIB / 8 + MIB);
}

static void tiny_models_are_not_streamed(void)
{
    static toy t;
    lv_plan p;
    lever_error e = { 0 };
    toy_init(&t, 2, 7, 1000, 5000); /* the smallest ring is two blocks of 8 KiB and the list */
    t.in.limit_bytes = needed_by(&t);
    CHECK_OK(lv_plan_memory(&p, &t.in, &e), &e);
    check_plan(&t, &p);
    CHECK_EQ(p.streamed_bytes, 0);
    CHECK_EQ(p.n_ctx, t.in.n_ctx_min);
}

static void nonsense_is_refused(void)
{
    static toy t;
    lv_plan p;
    toy_init(&t, 2, 2, MIB, MIB);
    const lv_plan_input good = t.in;
#define REFUSED(change)                                             \
    do {                                                            \
        t.in = good;                                                \
        change;                                                     \
        CHECK_EQ(lv_plan_memory(&p, &t.in, NULL), LEVER_EINVAL);    \
    } while (0)
    REFUSED(t.in.n_ctx_min = 0);
    REFUSED(t.in.n_ctx_min = 4096);
    REFUSED(t.in.tree_rows = 0);
    REFUSED(t.in.align = 3000);
    REFUSED(t.in.align = 0);
    REFUSED(t.in.max_row_bytes = 0);
    REFUSED(t.in.max_row_bytes = UINT64_MAX);
    REFUSED(t.in.n_fixed = 17);
    REFUSED(t.in.head_bytes = UINT64_MAX - 5);
    REFUSED(t.fixed[0].bytes = UINT64_MAX);
    t.fixed[0].bytes = MIB;
    REFUSED(t.items[1].layer = -1);
#undef REFUSED
}

int main(void)
{
    RUN(everything_fits_without_a_ring);
    RUN(memory_goes_in_the_budget_order);
    RUN(reads_are_as_long_and_as_many_as_asked_for);
    RUN(short_reads_are_raised_to_what_products_want);
    RUN(too_small_a_limit_says_what_is_needed);
    RUN(never_above_the_limit_and_the_minimum_works);
    RUN(more_memory_never_keeps_less_resident);
    RUN(forced_settings_are_kept);
    RUN(tiny_models_are_not_streamed);
    RUN(nonsense_is_refused);
    return check_done();
}
