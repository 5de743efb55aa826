/* XXH3-64 of libxxhash (used from its header, nothing is linked): fast checksums against accidents, not
 * against people. The value does not depend on the processor. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_HASH_H
#define LEVER_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t lv_hash64(const void *bytes, size_t n);

/* The same of bytes that come in pieces. */
typedef struct lv_hasher lv_hasher;

lv_hasher *lv_hasher_open(void);          /* NULL: out of memory */
void       lv_hasher_close(lv_hasher *h); /* accepts NULL */
void       lv_hasher_begin(lv_hasher *h); /* due before the first add, and after each sum */
void       lv_hasher_add(lv_hasher *h, const void *bytes, size_t n);
uint64_t   lv_hasher_sum(const lv_hasher *h);

#endif
