/* Worker pool: one parallel loop at a time. Each thread has a share of consecutive chunks and takes what is
 * left of others' when it is done, so slow cores do less and memory is read in order. The calling thread
 * works too. Threads spin briefly, then sleep.
 * Threading: one owner thread calls lv_pool_run. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_POOL_H
#define LEVER_OS_POOL_H

#include <stdatomic.h>
#include <stddef.h>

#include "os/affinity.h"

typedef struct lv_pool lv_pool;

/* n_threads >= 1 counts the caller: 1 starts no thread. cpus, if not NULL: thread i is bound to cpus[i % n];
 * the caller, thread 0, binds itself. LEVER_OK, LEVER_EINVAL, LEVER_ENOMEM (also when a
 * thread can not be started). Returned: close with lv_pool_close. */
int    lv_pool_open(lv_pool **out, unsigned n_threads, const lv_cpu_list *cpus, lever_error *err);
void   lv_pool_close(lv_pool **pool); /* accepts NULL and *pool == NULL */
unsigned lv_pool_n_threads(const lv_pool *pool);

/* Call fn(arg, begin, end, thread) until [0, n) is covered in chunks of at most `grain` items
 * (>= 1), each item once; thread < n_threads names the caller's private scratch. Returns when all
 * are done; what fn wrote is visible to the caller. */
typedef void (*lv_pool_fn)(void *arg, size_t begin, size_t end, unsigned thread);
void lv_pool_run(lv_pool *pool, size_t n, size_t grain, lv_pool_fn fn, void *arg);
/* The same; the calling thread first runs `beside`, while the others have begun. */
typedef struct lv_beside { void (*fn)(void *arg); void *arg; } lv_beside; /* fn NULL: nothing */
void lv_pool_run_beside(lv_pool *pool, size_t n, size_t grain, lv_pool_fn fn, void *arg, lv_beside beside);

/* From now on loops look at *abandon (borrowed; NULL: none) before each chunk, and leave out what is left once it
 * is true: a loop that nobody waits for any more ends within a chunk. What it was to write is then undefined. */
void lv_pool_set_abandon(lv_pool *pool, const atomic_bool *abandon);

#endif
