/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_UTF8_H
#define LEVER_TOKEN_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that starts with `lead`; 0 when no character does. */
static inline size_t lv_utf8_need(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* May `b` stand at index i >= 1 of a character with this lead byte? */
static inline bool lv_utf8_continues(uint8_t lead, size_t i, uint8_t b)
{
    const uint8_t lo = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const uint8_t hi = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return b >= lo && b <= hi;
}

/* Length of the character at p [n >= 1]; 1 for a byte that starts none. */
static inline size_t lv_utf8_length(const uint8_t *p, size_t n)
{
    const size_t need = lv_utf8_need(p[0]);
    if (need == 0 || need > n) return 1;
    for (size_t i = 1; i < need; i++)
        if (!lv_utf8_continues(p[0], i, p[i])) return 1;
    return need;
}

#endif
