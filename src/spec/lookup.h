/* Prompt lookup: what followed the same words earlier in the text. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_LOOKUP_H
#define LEVER_SPEC_LOOKUP_H

#include <stdint.h>

/* The longest suffix of text [n], of at most max_len tokens, that also ends earlier, before the last token;
 * the newest of equally long ones. Returns its length, 0 when not even the last token appeared before, and
 * sets *next to the index behind the earlier match, *next < n. O(n * max_len). */
uint32_t lv_lookup_find(const int32_t *text, uint32_t n, uint32_t max_len, uint32_t *next);

#endif
