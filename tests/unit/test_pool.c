/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "os/pool.h"

enum { MAX_ITEMS = 5000 };
typedef struct loop {
    atomic_uint count[MAX_ITEMS];
    unsigned n_threads;
    size_t grain;
    atomic_uint bad;
    int plain[MAX_ITEMS]; /* written by workers without atomics: visibility */
} loop;

static loop state;

static void count_items(void *arg, size_t begin, size_t end, unsigned thread)
{
    loop *l = arg;
    if (thread >= l->n_threads || end <= begin ||
        (end - begin > l->grain && l->n_threads > 1 && end - begin != MAX_ITEMS))
        atomic_fetch_add(&l->bad, 1);
    for (size_t i = begin; i < end; i++) {
        atomic_fetch_add(&l->count[i], 1);
        l->plain[i]++;
    }
}

static void every_item_is_done_exactly_once(void)
{
    static const size_t sizes[] = { 0, 1, 2, 7, 64, 1000, 4999 };
    for (unsigned threads = 1; threads <= 5; threads++) {
        lv_pool *pool;
        lever_error err = { 0 };
        CHECK_OK(lv_pool_open(&pool, threads, NULL, &err), &err);
        CHECK_EQ(lv_pool_n_threads(pool), threads);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (size_t grain = 1; grain <= 300; grain = grain * 3 + 1) {
                memset(&state, 0, sizeof state);
                state.n_threads = threads;
                state.grain = grain > sizes[s] ? sizes[s] : threads == 1 ? sizes[s] : grain;
                lv_pool_run(pool, sizes[s], grain, count_items, &state);
                CHECK_EQ(state.bad, 0);
                unsigned wrong = 0;
                for (size_t i = 0; i < MAX_ITEMS; i++)
                    wrong += state.count[i] != (i < sizes[s]) || state.plain[i] != (i < sizes[s]);
                CHECK_EQ(wrong, 0);
            }
        lv_pool_close(&pool);
        CHECK(pool == NULL);
    }
}

static void add_one(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    long *sum = arg;
    for (size_t i = begin; i < end; i++) sum[i]++;
}

static void many_short_loops_in_a_row_lose_nothing(void)
{
    lv_pool *pool;
    lever_error err = { 0 };
    static long sum[8];
    memset(sum, 0, sizeof sum);
    CHECK_OK(lv_pool_open(&pool, 3, NULL, &err), &err);
    for (int i = 0; i < 20000; i++) lv_pool_run(pool, 8, 1, add_one, sum);
    for (int i = 0; i < 8; i++) CHECK_EQ(sum[i], 20000);
    lv_pool_close(&pool);
}

typedef struct given_up {
    atomic_bool abandon;
    atomic_uint n;
} given_up;

static void count_and_give_up(void *arg, size_t begin, size_t end, unsigned thread)
{
    given_up *g = arg;
    (void)begin, (void)end, (void)thread;
    atomic_fetch_add(&g->n, 1);
    atomic_store(&g->abandon, true);
}

/* Once a loop is given up, each thread begins at most no other chunk; the pool stays usable. */
static void a_loop_that_is_given_up_ends_early(void)
{
    for (unsigned threads = 1; threads <= 3; threads++) {
        lv_pool *pool;
        lever_error err = { 0 };
        given_up g = { 0 };
        CHECK_OK(lv_pool_open(&pool, threads, NULL, &err), &err);
        lv_pool_set_abandon(pool, &g.abandon);
        lv_pool_run(pool, 10000, 1, count_and_give_up, &g);
        CHECK(g.n >= 1 && g.n <= threads);
        lv_pool_run(pool, 10000, 1, count_and_give_up, &g);
        CHECK(g.n <= threads);
        atomic_store(&g.abandon, false);
        static long sum[100];
        memset(sum, 0, sizeof sum);
        lv_pool_run(pool, 100, 7, add_one, sum);
        for (int i = 0; i < 100; i++) CHECK_EQ(sum[i], 1);
        lv_pool_close(&pool);
    }
}

static void opening_survives_every_failed_allocation(void)
{
    const size_t live = lv_alloc_live();
    for (int mode = 0; mode < 2; mode++)
        for (long n = 0;; n++) {
            lv_pool *pool;
            lever_error err = { 0 };
            lv_alloc_fault(n, mode);
            const int rc = lv_pool_open(&pool, 4, NULL, &err);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            if (!fired) {
                CHECK_OK(rc, &err);
                lv_pool_close(&pool);
                CHECK_EQ(lv_alloc_live(), live);
                break;
            }
            CHECK_EQ(rc, LEVER_ENOMEM);
            CHECK(pool == NULL);
            CHECK_EQ(lv_alloc_live(), live);
        }
}

/* A worker that wakes late meets the end of the pool where it expected a loop. */
static void closing_right_after_a_loop_waits_for_nobody(void)
{
    for (int round = 0; round < 2000; round++) {
        lv_pool *pool;
        lever_error err = { 0 };
        long sum[8] = { 0 };
        CHECK_OK(lv_pool_open(&pool, 4, NULL, &err), &err);
        for (int i = 0; i < round % 3; i++) lv_pool_run(pool, 8, 1, add_one, sum);
        lv_pool_close(&pool);
        CHECK_EQ(sum[0], round % 3);
    }
}

static void no_threads_is_an_error(void)
{
    lv_pool *pool;
    lever_error err = { 0 };
    CHECK_EQ(lv_pool_open(&pool, 0, NULL, &err), LEVER_EINVAL);
    lv_pool_close(&pool);
    lv_pool_close(NULL);
}

int main(void)
{
    RUN(every_item_is_done_exactly_once);
    RUN(many_short_loops_in_a_row_lose_nothing);
    RUN(a_loop_that_is_given_up_ends_early);
    RUN(opening_survives_every_failed_allocation);
    RUN(closing_right_after_a_loop_waits_for_nobody);
    RUN(no_threads_is_an_error);
    return check_done();
}
