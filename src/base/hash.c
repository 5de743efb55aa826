/* SPDX-License-Identifier: MIT */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

struct lv_hasher {
    XXH3_state_t state;
};

uint64_t lv_hash64(const void *bytes, size_t n) { return XXH3_64bits(bytes, n); }

lv_hasher *lv_hasher_open(void)
{
    lv_hasher *h = lv_alloc(sizeof *h, 64);
    if (h) lv_hasher_begin(h);
    return h;
}

void lv_hasher_close(lv_hasher *h) { lv_free(h); }
void lv_hasher_begin(lv_hasher *h) { XXH3_64bits_reset(&h->state); }
void lv_hasher_add(lv_hasher *h, const void *bytes, size_t n) { XXH3_64bits_update(&h->state, bytes, n); }
uint64_t lv_hasher_sum(const lv_hasher *h) { return XXH3_64bits_digest(&h->state); }
