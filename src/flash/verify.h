/* Reads that are checked against the sums of the file before anybody uses their bytes. A page that differs
 * is read once more, past the page cache: a bad transfer is repaired, damage on the device is an error.
 * Threading: one owner thread, which may share the work with its pool. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_VERIFY_H
#define LEVER_FLASH_VERIFY_H

#include "gguf/sums.h"
#include "os/file.h"
#include "os/pool.h"

/* lv_sums_check, spread over the pool (nullable). */
uint64_t lv_verify_pages(const lv_sums *s, lv_pool *pool, const void *bytes, size_t n, uint64_t off);
/* The error for the page at off, which differs after a second read: LEVER_EIO. */
int lv_verify_fail(const lv_sums *s, const lv_file *f, uint64_t off, lever_error *err);
/* lv_file_read, checked: pages that the range covers in part are read whole. s NULL: not checked.
 * LEVER_OK, LEVER_EIO. */
int lv_verify_read(const lv_sums *s, const lv_file *f, lv_pool *pool, void *dst, size_t n, uint64_t off,
                   lever_error *err);

#endif
