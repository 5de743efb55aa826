/* SPDX-License-Identifier: MIT */
#include "spec/lookup.h"

uint32_t lv_lookup_find(const int32_t *text, uint32_t n, uint32_t max_len, uint32_t *next)
{
    uint32_t best = 0;
    for (uint32_t end = n; end-- > 1 && best < max_len;) { /* newest first: only a longer match replaces */
        uint32_t len = 0;
        while (len < max_len && len < end && text[end - 1 - len] == text[n - 1 - len]) len++;
        if (len > best) best = len, *next = end;
    }
    return best;
}
