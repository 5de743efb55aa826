/* SPDX-License-Identifier: MIT */
#include "os/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "os/clock.h"

/* A worker that finds nothing to do spins this long before it sleeps: longer than the gaps between two
 * products of a sweep (tens of microseconds), far shorter than a flash wait. */
enum { SPIN_NS = 50000, SPIN_CHECKS = 64, SPINS_BEFORE_YIELD = 2000 };

/* The gate of one loop: generation, whether it is closed, and how many workers are inside. The owner closes
 * it when no item is left and waits for those inside only: a worker that the system has not scheduled yet
 * is not waited for. On two cores shared with another busy process this made decoding 9 times faster. */
#define GATE_GENERATION 32
#define GATE_CLOSED     (UINT64_C(1) << 31)
#define GATE_INSIDE     (GATE_CLOSED - 1)

/* Chunks a thread has left, first in the low half, end in the high half. It takes its own from the front, so
 * that what it reads runs on in memory; one that has none left takes from the end of another's. */
typedef struct range {
    _Alignas(64) atomic_uint_fast64_t chunks;
} range;

struct lv_pool {
    pthread_t *threads;     /* [n_threads - 1] */
    range     *ranges;      /* [n_threads] */
    unsigned   n_threads, n_started;
    pthread_mutex_t mutex;
    pthread_cond_t  wake;
    atomic_uint_fast64_t gate; /* entering (acquire) pairs with the owner's opening store (release); leaving
                                  (release) with the owner's wait (acquire) */
    atomic_uint n_asleep;
    atomic_bool stop;
    const atomic_bool *abandon; /* nullable */
    size_t n, grain;
    lv_pool_fn fn;
    void *arg;
};

typedef struct worker_arg {
    lv_pool *pool;
    unsigned thread;
    int cpu; /* -1: any */
} worker_arg;

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A chunk of a range, its first or its last. False: none is left. */
static bool take(range *r, bool last, size_t *chunk)
{
    uint64_t was = atomic_load_explicit(&r->chunks, memory_order_relaxed), now;
    do {
        const uint64_t first = was & UINT32_MAX, end = was >> 32;
        if (first >= end) return false;
        *chunk = (size_t)(last ? end - 1 : first);
        now = last ? first | (end - 1) << 32 : (first + 1) | end << 32;
    } while (!atomic_compare_exchange_weak_explicit(&r->chunks, &was, now, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static bool abandoned(const lv_pool *p)
{
    return p->abandon && atomic_load_explicit(p->abandon, memory_order_relaxed);
}

static void work(lv_pool *p, unsigned thread)
{
    for (unsigned i = 0; i < p->n_threads; i++) {
        range *r = &p->ranges[(thread + i) % p->n_threads];
        for (size_t chunk; take(r, i > 0, &chunk);) {
            const size_t begin = chunk * p->grain;
            if (abandoned(p)) continue;
            p->fn(p->arg, begin, p->grain < p->n - begin ? begin + p->grain : p->n, thread);
        }
    }
}

static void deal(lv_pool *p)
{
    const uint64_t chunks = (p->n + p->grain - 1) / p->grain;
    for (uint64_t i = 0; i < p->n_threads; i++) {
        const uint64_t first = chunks * i / p->n_threads, end = chunks * (i + 1) / p->n_threads;
        atomic_store_explicit(&p->ranges[i].chunks, first | end << 32, memory_order_relaxed);
    }
}

static uint64_t generation(lv_pool *p)
{
    return atomic_load_explicit(&p->gate, memory_order_acquire) >> GATE_GENERATION;
}

static void wait_for_work(lv_pool *p, uint64_t seen)
{
    const uint64_t end = lv_clock_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_CHECKS; i++) {
            if (generation(p) != seen) return;
            cpu_relax();
        }
    } while (lv_clock_ns() < end);
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->n_asleep, 1);
    while (atomic_load(&p->gate) >> GATE_GENERATION == seen) pthread_cond_wait(&p->wake, &p->mutex);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->mutex);
}

/* Step inside the loop of this generation, unless it is closed or over. */
static bool enter(lv_pool *p, uint64_t of)
{
    uint64_t g = atomic_load(&p->gate);
    while (g >> GATE_GENERATION == of && !(g & GATE_CLOSED))
        if (atomic_compare_exchange_weak(&p->gate, &g, g + 1)) return true;
    return false;
}

static void *worker(void *a)
{
    const worker_arg w = *(worker_arg *)a;
    lv_free(a);
    if (w.cpu >= 0) lv_thread_bind((unsigned)w.cpu); /* refused: it works all the same */
    for (uint64_t seen = 0;;) {
        wait_for_work(w.pool, seen);
        seen = generation(w.pool);
        /* Only now: a worker that was late for the last loop may just have taken the generation of the end for seen. */
        if (atomic_load(&w.pool->stop)) return NULL;
        if (!enter(w.pool, seen)) continue;
        work(w.pool, w.thread);
        atomic_fetch_sub_explicit(&w.pool->gate, 1, memory_order_release);
    }
}

/* Start the next generation with an open gate and nobody inside. */
static void announce(lv_pool *p)
{
    const uint64_t next = (atomic_load(&p->gate) >> GATE_GENERATION) + 1;
    /* Sequentially consistent: a worker that counted itself asleep before this is seen here and woken; one
     * that does so later sees the new generation before it waits. */
    atomic_store(&p->gate, next << GATE_GENERATION);
    if (atomic_load(&p->n_asleep) == 0) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
}

int lv_pool_open(lv_pool **out, unsigned n_threads, const lv_cpu_list *cpus, lever_error *err)
{
    *out = NULL;
    if (n_threads < 1) return lv_fail(err, LEVER_EINVAL, 0, "a pool needs at least one thread");
    lv_pool *p = lv_alloc(sizeof *p, 64);
    if (!p) return lv_fail(err, LEVER_ENOMEM, 0, "worker pool");
    p->n_threads = n_threads;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    if (!(p->ranges = lv_alloc_array(n_threads, sizeof *p->ranges, 64))) goto fail;
    if (n_threads > 1 && !(p->threads = lv_alloc_array(n_threads - 1, sizeof *p->threads, 16))) goto fail;
    for (unsigned i = 1; i < n_threads; i++) {
        worker_arg *a = lv_alloc(sizeof *a, 16);
        if (!a) goto fail;
        *a = (worker_arg){ p, i, cpus && cpus->n ? (int)cpus->cpus[i % cpus->n] : -1 };
        if (pthread_create(&p->threads[i - 1], NULL, worker, a) != 0) {
            lv_free(a);
            goto fail;
        }
        p->n_started++;
    }
    *out = p;
    return LEVER_OK;
fail:
    lv_pool_close(&p);
    return lv_fail(err, LEVER_ENOMEM, 0, "%u worker threads", n_threads);
}

void lv_pool_close(lv_pool **pool)
{
    if (!pool || !*pool) return;
    lv_pool *p = *pool;
    *pool = NULL;
    atomic_store(&p->stop, true);
    announce(p);
    for (unsigned i = 0; i < p->n_started; i++) pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->wake);
    lv_free(p->threads);
    lv_free(p->ranges);
    lv_free(p);
}

unsigned lv_pool_n_threads(const lv_pool *pool) { return pool->n_threads; }

void lv_pool_set_abandon(lv_pool *p, const atomic_bool *abandon) { p->abandon = abandon; }

/* The whole loop on the calling thread: in one go, unless it may have to end early. */
static void run_here(lv_pool *p, size_t n, size_t grain, lv_pool_fn fn, void *arg)
{
    if (!p->abandon) grain = n;
    for (size_t begin = 0; begin < n && !abandoned(p); begin += grain)
        fn(arg, begin, grain < n - begin ? begin + grain : n, 0);
}

void lv_pool_run(lv_pool *p, size_t n, size_t grain, lv_pool_fn fn, void *arg)
{
    lv_pool_run_beside(p, n, grain, fn, arg, (lv_beside){ 0 });
}

void lv_pool_run_beside(lv_pool *p, size_t n, size_t grain, lv_pool_fn fn, void *arg, lv_beside beside)
{
    if (n == 0) {
        if (beside.fn) beside.fn(beside.arg);
        return;
    }
    if (p->n_threads == 1 || n <= grain) {
        if (beside.fn) beside.fn(beside.arg);
        run_here(p, n, grain, fn, arg);
        return;
    }
    while ((n - 1) / grain >= UINT32_MAX / 2) grain *= 2; /* chunks are counted in 32 bits */
    p->n = n, p->grain = grain, p->fn = fn, p->arg = arg;
    deal(p);
    announce(p);
    if (beside.fn) beside.fn(beside.arg);
    work(p, 0);
    atomic_fetch_or(&p->gate, GATE_CLOSED);
    for (unsigned spins = 0; atomic_load_explicit(&p->gate, memory_order_acquire) & GATE_INSIDE; spins++) {
        cpu_relax();
        if (spins > SPINS_BEFORE_YIELD) sched_yield();
    }
}
