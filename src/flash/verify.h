/* Reads that are checked against the sums of the file before anybody uses their bytes. A page that differs
 * is read once more, past the page cache: a bad transfer is repaired, damage on the device is an error.
 *
 * The calling thread checks alone, 15 to 20 GB/s: a sweep that waits for flash has the time, one that does not takes
 * about 7 % longer. Sharing the pages with the pool cost more (docs/cli.md).
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_VERIFY_H
#define LEVER_FLASH_VERIFY_H

#include "gguf/sums.h"
#include "os/file.h"

/* The error for the page at off, which differs after a second read: LEVER_EIO. */
int lv_verify_fail(const lv_sums *s, const lv_file *f, uint64_t off, lever_error *err);
/* lv_file_read, checked: pages that the range covers in part are read whole. s NULL: not checked.
 * LEVER_OK, LEVER_EIO. */
int lv_verify_read(const lv_sums *s, const lv_file *f, void *dst, size_t n, uint64_t off, lever_error *err);

#endif
