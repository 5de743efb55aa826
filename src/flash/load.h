/* A load on the flash: reads in flight, one after the other, while the caller does something else. What they
 * read is of no interest. Threading: one owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_LOAD_H
#define LEVER_FLASH_LOAD_H

#include "flash/io.h"

typedef struct lv_flash_load lv_flash_load;

/* Start `depth` reads (1..16) of block_bytes (4 KiB..4 MiB) of the file at path, which holds at least one.
 * LEVER_OK; LEVER_EINVAL (file too small, sizes); LEVER_EIO, LEVER_EUNSUP, LEVER_ENOMEM. Returned:
 * lv_flash_load_close. */
int  lv_flash_load_open(lv_flash_load **out, const char *path, const char *backend, uint32_t block_bytes,
                        uint32_t depth, lever_error *err);
void lv_flash_load_close(lv_flash_load **l); /* waits for reads in flight; accepts NULL and *l == NULL */
/* Start anew what has ended, without waiting. A read that failed is not started again. Fits lv_beside. */
void lv_flash_load_pump(void *load);
/* Bytes read so far, of reads that pump has seen the end of. */
uint64_t lv_flash_load_bytes(const lv_flash_load *l);

#endif
