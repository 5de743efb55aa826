/* What the backends share. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_IO_IMPL_H
#define LEVER_FLASH_IO_IMPL_H

#include <stdbool.h>

#include "flash/io.h"

typedef struct lv_io_ops {
    const char *name;
    int  (*open)(lv_io **out, const lv_io_config *c, lever_error *err);
    int  (*submit)(lv_io *io, lv_io_read *const *reads, uint32_t n);
    int  (*reap)(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for);
    void (*close)(lv_io *io); /* frees io */
} lv_io_ops;

struct lv_io { /* first member of every backend's state */
    const lv_io_ops *ops;
    uint32_t depth;
    /* The core's, set after open. */
    uint32_t n_flight;     /* submitted and not handed out: in the backend, or held back */
    uint64_t n_submitted;  /* since open */
    lv_read_fault fault;
    lv_flash_model model;
    lv_flash_clock clock;
    lv_io_read **flight;   /* [depth], n_flight used, in order of submission; NULL: no model */
};

extern const lv_io_ops lv_io_uring, lv_io_pool, lv_io_sim;

/* Which descriptor the rest of a read goes through: the direct one while everything is aligned. */
int  lv_io_fd(const lv_io_read *r);
/* Take the result of one system call for the rest of r: bytes, or -errno. True when r is over, well or not;
 * false when the rest is to be asked for again. Thread: whoever runs r. */
bool lv_io_take(const lv_io *io, lv_io_read *r, ssize_t res);
/* Run one read to its end with pread, from progress_bytes on. */
void lv_io_read_blocking(const lv_io *io, lv_io_read *r);

#endif
