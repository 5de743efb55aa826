/* SPDX-License-Identifier: MIT */
#include "os/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "os/clock.h"

/* A worker that finds nothing to do spins this long before it sleeps: longer than the gaps between two
 * products of a sweep (tens of microseconds), far shorter than a flash wait. */
enum { SPIN_NS = 50000, SPIN_CHECKS = 64 };

struct lv_pool {
    pthread_t *threads;     /* [n_threads - 1] */
    unsigned   n_threads, n_started;
    pthread_mutex_t mutex;
    pthread_cond_t  wake;
    atomic_uint generation; /* release by run pairs with acquire in worker */
    atomic_uint n_busy;     /* release by worker pairs with acquire in run */
    atomic_uint n_asleep;
    atomic_bool stop;
    atomic_size_t next;
    size_t n, grain;
    lv_pool_fn fn;
    void *arg;
};

typedef struct worker_arg {
    lv_pool *pool;
    unsigned thread;
} worker_arg;

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(lv_pool *p, unsigned thread)
{
    for (;;) {
        const size_t begin = atomic_fetch_add_explicit(&p->next, p->grain, memory_order_relaxed);
        if (begin >= p->n) return;
        p->fn(p->arg, begin, p->grain < p->n - begin ? begin + p->grain : p->n, thread);
    }
}

static void wait_for_work(lv_pool *p, unsigned seen)
{
    const uint64_t end = lv_clock_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_CHECKS; i++) {
            if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen) return;
            cpu_relax();
        }
    } while (lv_clock_ns() < end);
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->n_asleep, 1);
    while (atomic_load(&p->generation) == seen) pthread_cond_wait(&p->wake, &p->mutex);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker(void *a)
{
    const worker_arg w = *(worker_arg *)a;
    lv_free(a);
    for (unsigned seen = 0;; seen++) {
        wait_for_work(w.pool, seen);
        if (atomic_load(&w.pool->stop)) return NULL;
        work(w.pool, w.thread);
        atomic_fetch_sub_explicit(&w.pool->n_busy, 1, memory_order_release);
    }
}

static void announce(lv_pool *p)
{
    /* Sequentially consistent: a worker that counted itself asleep before this sees the new generation,
     * or this sees it asleep and takes the mutex. */
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->n_asleep) == 0) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
}

int lv_pool_open(lv_pool **out, unsigned n_threads, lever_error *err)
{
    *out = NULL;
    if (n_threads < 1) return lv_fail(err, LEVER_EINVAL, 0, "a pool needs at least one thread");
    lv_pool *p = lv_alloc(sizeof *p, 64);
    if (!p) return lv_fail(err, LEVER_ENOMEM, 0, "worker pool");
    p->n_threads = n_threads;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    if (n_threads > 1 && !(p->threads = lv_alloc_array(n_threads - 1, sizeof *p->threads, 16))) goto fail;
    for (unsigned i = 1; i < n_threads; i++) {
        worker_arg *a = lv_alloc(sizeof *a, 16);
        if (!a) goto fail;
        *a = (worker_arg){ p, i };
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
    lv_free(p);
}

unsigned lv_pool_n_threads(const lv_pool *pool) { return pool->n_threads; }

void lv_pool_run(lv_pool *p, size_t n, size_t grain, lv_pool_fn fn, void *arg)
{
    if (n == 0) return;
    if (p->n_threads == 1 || n <= grain) {
        fn(arg, 0, n, 0);
        return;
    }
    p->n = n, p->grain = grain, p->fn = fn, p->arg = arg;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->n_busy, p->n_started, memory_order_relaxed);
    announce(p);
    work(p, 0);
    for (unsigned spins = 0; atomic_load_explicit(&p->n_busy, memory_order_acquire) != 0; spins++) {
        cpu_relax();
        if (spins > 20000) sched_yield();
    }
}
