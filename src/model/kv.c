/* SPDX-License-Identifier: MIT */
#include "model/kv.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "quant/quant.h"

enum { STEP = 32, GIVE_BACK_LEAST = 64 }; /* slots; memory is asked for in steps */

static uint32_t whole_steps(uint64_t n_slots, uint64_t most)
{
    const uint64_t n = lv_round_up(n_slots, STEP);
    return (uint32_t)(n < most ? n : most);
}

/* K, V, parent and depth share one mapping, in this order; K and V each start 64-byte aligned. */
static int layout(const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch,
                  size_t *half_bytes, size_t *total)
{
    const size_t n_slots = (size_t)n_ctx + max_scratch;
    size_t n;
    if (n_slots > INT32_MAX || lv_mul_size(&n, n_slots, lv_type_row_bytes(type, h->head_dim)) < 0 ||
        lv_mul_size(&n, n, (size_t)h->n_kv_heads * h->n_layers) < 0 || n > SIZE_MAX / 4)
        return -1;
    *half_bytes = lv_round_up(n, 64);
    *total = 2 * *half_bytes + max_scratch * 2 * sizeof(int32_t);
    return 0;
}

bool lv_kv_type_fits(const lv_hparams *h, uint32_t type)
{
    return type == LV_TYPE_F16 || (type == LV_TYPE_Q8_0 && h->head_dim % 32 == 0);
}

size_t lv_kv_memory_bytes(const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch)
{
    size_t half, total;
    return layout(h, type, n_ctx, max_scratch, &half, &total) < 0 ? SIZE_MAX : total;
}

/* Each head's slots lie together, so its memory grows by pages; the last page is the next head's first. */
static uint64_t backed_bytes(uint64_t all, uint64_t n_heads, size_t row_bytes, uint32_t max_scratch, uint32_t n_slots)
{
    const uint64_t page = lv_page_bytes();
    if (n_slots == 0) return 0;
    const uint64_t some = 2 * n_heads * (lv_round_up(n_slots * row_bytes, page) + page) +
                          lv_round_up(max_scratch * 2 * sizeof(int32_t), page) + page;
    return some < lv_round_up(all, page) ? some : lv_round_up(all, page);
}

uint64_t lv_kv_planned_bytes(const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch, uint32_t n_slots)
{
    return backed_bytes(lv_kv_memory_bytes(h, type, n_ctx, max_scratch),
                        (uint64_t)h->n_layers * h->n_kv_heads, lv_type_row_bytes(type, h->head_dim), max_scratch,
                        whole_steps(n_slots, (uint64_t)n_ctx + max_scratch));
}

uint64_t lv_kv_backed_bytes(const lv_kv *kv, uint32_t n_slots)
{
    return backed_bytes(kv->map_bytes, (uint64_t)kv->n_layers * kv->n_kv_heads, kv->row_bytes,
                        kv->n_slots - kv->n_ctx, whole_steps(n_slots, kv->n_slots));
}

int lv_kv_init(lv_kv *kv, const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch,
               lever_error *err)
{
    return lv_kv_init_in(kv, h, type, n_ctx, max_scratch, NULL, err);
}

int lv_kv_init_in(lv_kv *kv, const lv_hparams *h, uint32_t type, uint32_t n_ctx, uint32_t max_scratch,
                  const lv_kv_room *room, lever_error *err)
{
    memset(kv, 0, sizeof *kv);
    size_t half, total;
    if (!lv_kv_type_fits(h, type))
        return lv_fail(err, LEVER_EINVAL, 0, "KV cache of type %" PRIu32 " with heads of %" PRIu32, type,
                       h->head_dim);
    if (n_ctx < 1 || max_scratch < 1 || layout(h, type, n_ctx, max_scratch, &half, &total) < 0)
        return lv_fail(err, LEVER_EINVAL, 0, "KV cache of %" PRIu32 " positions and %" PRIu32 " scratch rows",
                       n_ctx, max_scratch);
    char *p = room ? lv_map_small(total) : lv_map(total);
    if (!p)
        return lv_fail(err, LEVER_ENOMEM, 0, "KV cache of %" PRIu32 " positions (%zu bytes)", n_ctx, total);
    kv->k = (uint8_t *)p;
    kv->v = (uint8_t *)(p + half);
    kv->parent = (int32_t *)(p + 2 * half);
    kv->depth = (uint32_t *)(kv->parent + max_scratch);
    kv->type = type;
    kv->row_bytes = lv_type_row_bytes(type, h->head_dim);
    kv->n_layers = h->n_layers;
    kv->n_kv_heads = h->n_kv_heads;
    kv->head_dim = h->head_dim;
    kv->n_ctx = n_ctx;
    kv->n_slots = n_ctx + max_scratch;
    kv->map_bytes = total;
    kv->room = room;
    kv->n_backed = room ? 0 : kv->n_slots;
    return LEVER_OK;
}

size_t lv_kv_offset(const lv_kv *kv, uint32_t layer, uint32_t kv_head)
{
    return ((size_t)layer * kv->n_kv_heads + kv_head) * kv->n_slots * kv->row_bytes;
}

void lv_kv_fini(lv_kv *kv)
{
    if (kv->k) lv_unmap(kv->k, kv->map_bytes);
    if (kv->room) kv->room->give(kv->room->user, lv_kv_backed_bytes(kv, kv->n_backed));
    memset(kv, 0, sizeof *kv);
}

void lv_kv_back(lv_kv *kv, uint32_t n_slots)
{
    if (n_slots <= kv->n_backed) return;
    const uint64_t had = lv_kv_backed_bytes(kv, kv->n_backed);
    kv->n_backed = whole_steps(n_slots, kv->n_slots);
    kv->room->take(kv->room->user, lv_kv_backed_bytes(kv, kv->n_backed) - had);
}

void lv_kv_give_back(lv_kv *kv)
{
    const uint32_t n = whole_steps(kv->n_committed + kv->n_scratch, kv->n_slots);
    if (!kv->room || kv->n_backed - n < GIVE_BACK_LEAST) return;
    const size_t at = n * kv->row_bytes, tail = (kv->n_slots - n) * kv->row_bytes;
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_kv_heads; h++) {
            lv_map_forget(kv->k + lv_kv_offset(kv, l, h) + at, tail);
            lv_map_forget(kv->v + lv_kv_offset(kv, l, h) + at, tail);
        }
    const uint64_t had = lv_kv_backed_bytes(kv, kv->n_backed);
    kv->n_backed = n;
    kv->room->give(kv->room->user, had - lv_kv_backed_bytes(kv, n));
}

static void move_slot(lv_kv *kv, uint32_t to_slot, uint32_t from_slot)
{
    if (to_slot == from_slot) return;
    const size_t to = to_slot * kv->row_bytes, from = from_slot * kv->row_bytes;
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_kv_heads; h++) {
            const size_t at = lv_kv_offset(kv, l, h);
            memcpy(kv->k + at + to, kv->k + at + from, kv->row_bytes);
            memcpy(kv->v + at + to, kv->v + at + from, kv->row_bytes);
        }
}

void lv_kv_commit(lv_kv *kv, const int32_t *path, uint32_t n)
{
    assert(n <= kv->n_scratch && n <= kv->n_ctx - kv->n_committed);
    for (uint32_t i = 0; i < n; i++) {
        assert(path[i] >= 0 && (uint32_t)path[i] < kv->n_scratch);
        assert(kv->parent[path[i]] == (i ? path[i - 1] : -1));
        /* A path ascends, so path[i] >= i: moving slots down in order overwrites none still needed. */
        move_slot(kv, kv->n_committed + i, kv->n_committed + (uint32_t)path[i]);
    }
    kv->n_committed += n;
    kv->n_scratch = 0;
}

void lv_kv_commit_keep(lv_kv *kv, const int32_t *path, uint32_t n, const int32_t *keep, uint32_t n_keep)
{
    const uint32_t prefix = kv->n_committed;
    const int32_t last = path[n - 1];
    lv_kv_commit(kv, path, n);
    for (uint32_t i = 0; i < n_keep; i++) {
        /* Rows of the path and those kept before stand below this one: its new slot is not above the old. */
        const int32_t row = keep[i], parent = kv->parent[row];
        assert(row > last && (i == 0 || row > keep[i - 1]));
        uint32_t k = 0;
        while (parent != last && k < i && keep[k] != parent) k++;
        assert(parent == last || k < i);
        move_slot(kv, prefix + n + i, prefix + (uint32_t)row);
        kv->depth[i] = kv->depth[row] - n;
        kv->parent[i] = parent == last ? -1 : (int32_t)k;
    }
    kv->n_scratch = n_keep;
}

void lv_kv_truncate(lv_kv *kv, uint32_t n_keep)
{
    assert(n_keep <= kv->n_committed);
    kv->n_committed = n_keep;
    kv->n_scratch = 0;
}

int lv_kv_append(lv_kv *kv, int32_t parent, lever_error *err)
{
    const uint32_t s = kv->n_scratch;
    if (parent < -1 || parent >= (int64_t)s)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "parent row %" PRId32 " is not among the %" PRIu32 " scratch rows", parent, s);
    if (s >= kv->n_slots - kv->n_ctx)
        return lv_fail(err, LEVER_ELIMIT, 0, "all %" PRIu32 " scratch rows of the KV cache are in use",
                       kv->n_slots - kv->n_ctx);
    const uint32_t depth = parent < 0 ? 1 : kv->depth[parent] + 1;
    if (depth > kv->n_ctx - kv->n_committed)
        return lv_fail(err, LEVER_ELIMIT, 0, "the context of %" PRIu32 " positions is full", kv->n_ctx);
    lv_kv_back(kv, kv->n_committed + s + 1);
    kv->parent[s] = parent;
    kv->depth[s] = depth;
    kv->n_scratch = s + 1;
    return (int)s;
}
