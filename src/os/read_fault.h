/* Faults put into reads on purpose, so that tests see what a flaky or unplugged device, an interrupted
 * system call and a file system without O_DIRECT do. They act on the result of each system call, below the
 * code that continues, repeats and gives up. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_READ_FAULT_H
#define LEVER_OS_READ_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Reads are counted from 0 in the order they were asked for. Zeroed: no fault. */
typedef struct lv_read_fault {
    uint64_t first, count; /* the reads [first, first + count); count 0: and all later ones */
    int      os_errno;     /* EIO, EINTR, ...; 0: no error */
    uint32_t times;        /* attempts of such a read that fail with it; 0: every one */
    uint32_t short_bytes;  /* most bytes an attempt of such a read gives; 0: all */
    bool     flip;         /* one wrong bit in the middle of what such a read gives */
} lv_read_fault;

/* From "first=12,count=1,error=EIO,times=3,short=4096,flip=1", any selection with error, short or flip. The
 * errors are EIO, ENOSPC, ENODEV, EINTR, EAGAIN, EINVAL. LEVER_OK, or LEVER_EINVAL naming what is wrong. */
int lv_read_fault_parse(lv_read_fault *f, const char *text, lever_error *err);

/* The result of attempt `attempt` (from 0) of read `read`, whose system call put `got` bytes at dst or
 * returned -errno. Bytes that the fault withholds are overwritten, so that nobody uses them by mistake. */
ssize_t lv_read_fault_apply(const lv_read_fault *f, uint64_t read, uint32_t attempt, void *dst, ssize_t got);

#endif
