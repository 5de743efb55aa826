/* KV cache of one sequence, in f16 or Q8_0: committed positions first, then scratch slots for rows whose fate
 * is not known yet (tree rows, prefill chunks).
 *
 *   slot 0 .. n_committed-1          position = slot
 *   slot n_committed + s, s < n_scratch   scratch row s, parent[s] = scratch index or -1 (prefix)
 *
 * Committing a path copies its slots down, bit for bit, so a cache filled by verification equals one
 * filled by plain decoding. Threading: one owner. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_KV_H
#define LEVER_MODEL_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/hparams.h"

/* Who makes room for caches that take memory as they fill, and is told when they give it back. */
typedef struct lv_kv_room {
    void (*take)(void *user, uint64_t bytes); /* before the cache touches so many more; can not fail */
    void (*give)(void *user, uint64_t bytes); /* after it has */
    void  *user;
} lv_kv_room;

typedef struct lv_kv {
    uint8_t  *k, *v;        /* [n_layers][n_kv_heads][n_slots][row_bytes], aligned to 2 */
    uint32_t  type;         /* enum lv_type: F16 or Q8_0 */
    size_t    row_bytes;    /* of one head at one slot */
    uint32_t  n_layers, n_kv_heads, head_dim;
    uint32_t  n_ctx;        /* positions that may be committed */
    uint32_t  n_slots;      /* n_ctx + scratch rows */
    uint32_t  n_committed, n_scratch;
    int32_t  *parent;       /* [n_slots - n_ctx] */
    uint32_t *depth;        /* [n_slots - n_ctx] scratch rows on the way from the prefix, itself included */
    const lv_kv_room *room; /* borrowed; NULL: all slots have memory from the start */
    uint32_t  n_backed;     /* slots that have memory */
    size_t    map_bytes;    /* private */
} lv_kv;

/* May a model's keys and values be kept in this type? */
bool lv_kv_type_fits(const lv_hparams *h, uint32_t type);
size_t lv_kv_memory_bytes(const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch);
/* LEVER_OK, LEVER_ENOMEM, LEVER_EINVAL (sizes overflow, a type that does not fit). */
int  lv_kv_init(lv_kv *kv, const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch,
                lever_error *err);
/* The same for a cache that takes memory from `room` as its slots are used. */
int  lv_kv_init_in(lv_kv *kv, const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch,
                   const lv_kv_room *room, lever_error *err);
void lv_kv_fini(lv_kv *kv); /* accepts a zeroed one */
/* Memory for the first n_slots slots, before they are written otherwise than through lv_kv_append. */
void lv_kv_back(lv_kv *kv, uint32_t n_slots);
/* Give back the memory of slots that hold nothing, if it is more than a little. */
void lv_kv_give_back(lv_kv *kv);
/* What it will have taken when n_slots slots are used. */
uint64_t lv_kv_backed_bytes(const lv_kv *kv, uint32_t n_slots);
/* The same of a cache that is only planned. */
uint64_t lv_kv_planned_bytes(const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch,
                             uint32_t n_slots);
/* Offset in k and v of slot 0 of a head. */
size_t lv_kv_offset(const lv_kv *kv, uint32_t layer, uint32_t kv_head);
/* Keep scratch rows path [n] (ascending, each the child of the one before, the first a child of the
 * prefix) as the next n positions and forget the other scratch rows. n may be 0. */
void lv_kv_commit(lv_kv *kv, const int32_t *path, uint32_t n);
/* The same, but of the other scratch rows keep [n_keep] stay: ascending, each a child of the path's last row or of
 * one listed before it. They become scratch rows 0 .. n_keep - 1 below the longer prefix. n >= 1. */
void lv_kv_commit_keep(lv_kv *kv, const int32_t *path, uint32_t n, const int32_t *keep, uint32_t n_keep);
/* Take the next scratch slot for a child of scratch row `parent` (-1: of the prefix). Its position is
 * n_committed + depth - 1. Returns the scratch row >= 0; LEVER_EINVAL (no such parent); LEVER_ELIMIT
 * (no scratch slot is left, or the position lies past n_ctx). */
int  lv_kv_append(lv_kv *kv, int32_t parent, lever_error *err);
/* Forget scratch rows and committed positions from n_keep on (n_keep <= n_committed). */
void lv_kv_truncate(lv_kv *kv, uint32_t n_keep);

#endif
