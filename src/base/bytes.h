/* Byte cursor over untrusted memory: reads little-endian values, can not run past the end.
 * After the first read past the end `bad` stays set and every read returns 0 or NULL.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_BYTES_H
#define LEVER_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct lv_bytes {
    const uint8_t *p;  /* borrowed: [n] */
    size_t         n, at;
    bool           bad;
} lv_bytes;

static inline lv_bytes lv_bytes_init(const void *p, size_t n)
{
    return (lv_bytes){ .p = p, .n = n };
}

/* The next `len` bytes, borrowed, and step over them; NULL past the end. */
static inline const void *lv_bytes_take(lv_bytes *b, uint64_t len)
{
    if (b->bad || len > b->n - b->at) {
        b->bad = true;
        return NULL;
    }
    const void *at = b->p + b->at;
    b->at += (size_t)len;
    return at;
}

#define LV_BYTES_READ(name, type)                     \
    static inline type name(lv_bytes *b)              \
    {                                                 \
        type v = 0;                                   \
        const void *at = lv_bytes_take(b, sizeof v);  \
        if (at) memcpy(&v, at, sizeof v);             \
        return v;                                     \
    }
/* All targets of Lever are little-endian, as GGUF is; base/compiler.h refuses others. */
LV_BYTES_READ(lv_bytes_u8, uint8_t)
LV_BYTES_READ(lv_bytes_u16, uint16_t)
LV_BYTES_READ(lv_bytes_u32, uint32_t)
LV_BYTES_READ(lv_bytes_u64, uint64_t)
#undef LV_BYTES_READ

#endif
