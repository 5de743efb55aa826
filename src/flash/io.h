/* Asynchronous positional reads. One interface, several backends: uring (Linux), pool (pread
 * threads, everywhere), sim (tests: modelled latency, reordering, faults).
 * Threading: one owner thread per lv_io calls submit and reap. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_IO_H
#define LEVER_FLASH_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "os/file.h"

typedef struct lv_io lv_io;

/* One read. Owned by the caller; must stay put and untouched from submit until reaped. The backend
 * uses the direct descriptor when off, len and dst respect file->align, else the buffered one.
 * A read that crosses the end of the file is complete when it reached the end. */
typedef struct lv_io_read {
    const lv_file *file;     /* borrowed */
    uint64_t off;            /* bytes from file start */
    void    *dst;            /* [len] */
    uint32_t len;            /* > 0 */
    int32_t  result;         /* out: bytes read (len, or fewer only at the end of the file) or LEVER_EIO */
    int32_t  os_errno;       /* out: errno behind LEVER_EIO, else 0 */
    uint64_t submit_ns;      /* out: lv_clock_ns() when it was submitted */
    uint64_t done_ns;        /* out: lv_clock_ns() at completion as seen by the backend */
    void    *user;           /* the caller's */
    uint32_t progress_bytes; /* private to the backend */
} lv_io_read;

typedef struct lv_io_config {
    uint32_t depth;          /* reads that may be in flight, >= 1 */
    uint32_t n_threads;      /* pool backend; 0 = default */
    uint64_t sim_latency_ns; /* sim: per read */
    uint64_t sim_bytes_per_s;/* sim: 0 = as fast as memory */
    long     sim_fail_at;    /* sim: n-th read (from 0) fails with EIO; -1 = none */
    bool     sim_fail_stays; /* sim: and every later one */
    long     sim_flip_at;    /* sim: n-th read gets one wrong bit in its middle; -1 = none */
    bool     sim_flip_stays; /* sim: and every later one */
    uint32_t sim_seed;       /* sim: order of completion; 0 = in order */
} lv_io_config;

void lv_io_config_init(lv_io_config *c);

/* backend: "uring", "pool", "sim", or "auto" = uring where the kernel allows it, else pool.
 * LEVER_OK, LEVER_EUNSUP (backend absent here; "auto" never returns it), LEVER_EINVAL, LEVER_ENOMEM. */
int  lv_io_open(lv_io **out, const char *backend, const lv_io_config *c, lever_error *err);
/* Waits for reads in flight. Accepts NULL and *io == NULL. */
void lv_io_close(lv_io **io);
const char *lv_io_backend(const lv_io *io);

/* Start reads [n]. Returns how many were taken, in order (fewer when depth is reached), or LEVER_E*. */
int lv_io_submit(lv_io *io, lv_io_read *const *reads, uint32_t n);
/* Collect finished reads into done [max]; block until at least wait_for (0 = do not block; capped at
 * the number in flight). Returns how many, or LEVER_E*. Short reads are continued and EINTR/EAGAIN
 * retried inside. */
int lv_io_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for);

#endif
