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
    uint32_t depth, n_flight;
};

extern const lv_io_ops lv_io_uring, lv_io_pool, lv_io_sim;

/* Which descriptor the rest of a read goes through: the direct one while everything is aligned. */
int lv_io_fd(const lv_io_read *r);
/* Run one read to its end with pread, from progress_bytes on. */
void lv_io_read_blocking(lv_io_read *r);

#endif
