/* Reads by pread threads: the backend that runs everywhere. SPDX-License-Identifier: MIT */
#include <pthread.h>

#include "base/mem.h"
#include "flash/io_impl.h"

enum { DEFAULT_THREADS = 3 };

typedef struct io_pool {
    lv_io io;
    pthread_mutex_t mutex;
    pthread_cond_t  work, finished;
    lv_io_read **todo, **done; /* rings [depth] */
    uint32_t todo_at, n_todo, done_at, n_done;
    pthread_t *threads;
    uint32_t n_threads;
    bool stop;
} io_pool;

static void *reader(void *arg)
{
    io_pool *p = arg;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->n_todo && !p->stop) pthread_cond_wait(&p->work, &p->mutex);
        if (!p->n_todo) break;
        lv_io_read *r = p->todo[p->todo_at];
        p->todo_at = (p->todo_at + 1) % p->io.depth;
        p->n_todo--;
        pthread_mutex_unlock(&p->mutex);
        lv_io_read_blocking(&p->io, r);
        pthread_mutex_lock(&p->mutex);
        p->done[(p->done_at + p->n_done++) % p->io.depth] = r;
        pthread_cond_signal(&p->finished);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void pool_close(lv_io *io)
{
    io_pool *p = (io_pool *)io;
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
    for (uint32_t i = 0; i < p->n_threads; i++) pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->finished);
    lv_free(p->todo);
    lv_free(p->done);
    lv_free(p->threads);
    lv_free(p);
}

static int pool_open(lv_io **out, const lv_io_config *c, lever_error *err)
{
    io_pool *p = lv_alloc(sizeof *p, 64);
    if (!p) return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
    p->io = (lv_io){ .ops = &lv_io_pool, .depth = c->depth };
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->finished, NULL);
    const uint32_t n = c->n_threads ? c->n_threads : DEFAULT_THREADS;
    p->todo = lv_alloc_array(c->depth, sizeof *p->todo, 16);
    p->done = lv_alloc_array(c->depth, sizeof *p->done, 16);
    p->threads = lv_alloc_array(n, sizeof *p->threads, 16);
    while (p->todo && p->done && p->threads && p->n_threads < n &&
           pthread_create(&p->threads[p->n_threads], NULL, reader, p) == 0)
        p->n_threads++;
    if (p->n_threads == 0) {
        pool_close(&p->io);
        return lv_fail(err, LEVER_ENOMEM, 0, "read threads");
    }
    *out = &p->io;
    return LEVER_OK;
}

static int pool_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    io_pool *p = (io_pool *)io;
    pthread_mutex_lock(&p->mutex);
    for (uint32_t i = 0; i < n; i++) p->todo[(p->todo_at + p->n_todo++) % io->depth] = reads[i];
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
    return (int)n;
}

static int pool_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    io_pool *p = (io_pool *)io;
    uint32_t n = 0;
    pthread_mutex_lock(&p->mutex);
    while (p->n_done < wait_for) pthread_cond_wait(&p->finished, &p->mutex);
    for (; n < max && p->n_done; n++, p->n_done--) {
        done[n] = p->done[p->done_at];
        p->done_at = (p->done_at + 1) % io->depth;
    }
    pthread_mutex_unlock(&p->mutex);
    return (int)n;
}

const lv_io_ops lv_io_pool = { "pool", pool_open, pool_submit, pool_reap, pool_close };
