/* Merging neighbours, best first: the loop that BPE and SentencePiece share. Symbols form a linked list;
 * a heap holds the candidate pairs, so a run of n symbols costs O(n log n).
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_SYMBOLS_H
#define LEVER_TOKEN_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct lv_symbol {
    uint32_t at, len;    /* bytes of the text; len 0: merged away */
    int32_t  prev, next; /* -1: none */
    int32_t  id;         /* token; -1: none */
} lv_symbol;

typedef struct lv_pair {
    float    cost;       /* lower merges first; ties: leftmost */
    int32_t  left, right;
    uint32_t len;        /* of both when it was queued: else it is stale */
    int32_t  id;         /* token of the pair */
} lv_pair;

typedef struct lv_symbols {
    const uint8_t *text;
    lv_symbol *sym;
    uint32_t   n, cap;
    lv_pair   *heap;
    uint32_t   n_heap, cap_heap;
} lv_symbols;

/* May these two symbols merge? Sets cost and id. */
typedef int (*lv_pair_fn)(const void *vocab, const lv_symbols *s, const lv_symbol *left,
                          const lv_symbol *right, float *cost, int32_t *id);

/* Make room for n symbols (kept between calls). LEVER_OK, LEVER_ENOMEM. */
int  lv_symbols_reserve(lv_symbols *s, size_t n, lever_error *err);
void lv_symbols_fini(lv_symbols *s);
/* Append one symbol to the list. */
void lv_symbols_add(lv_symbols *s, uint32_t at, uint32_t len, int32_t id);
/* Merge until no pair is left; walk the result from symbol 0 along next. */
void lv_symbols_merge(lv_symbols *s, lv_pair_fn fn, const void *vocab);

#endif
