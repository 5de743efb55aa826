/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* mincore */
#include "support/check.h"

#include <sys/mman.h>

#include "base/mem.h"
#include "model/kv.h"
#include "quant/quant.h"

static const lv_hparams shape = { .n_layers = 3, .n_kv_heads = 2, .head_dim = 4 };

static uint8_t mark_of(uint32_t id, uint32_t layer, uint32_t head, size_t i)
{
    return (uint8_t)(id * 37 + layer * 11 + head * 5 + i);
}

/* Mark a slot in every layer so that it can be found after moves. */
static void mark(lv_kv *kv, uint32_t slot, uint32_t id)
{
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_kv_heads; h++) {
            const size_t at = lv_kv_offset(kv, l, h) + slot * kv->row_bytes;
            for (size_t i = 0; i < kv->row_bytes; i++) kv->k[at + i] = mark_of(id, l, h, i);
            for (size_t i = 0; i < kv->row_bytes; i++) kv->v[at + i] = mark_of(id + 100, l, h, i);
        }
}

static bool marked(const lv_kv *kv, uint32_t slot, uint32_t id)
{
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_kv_heads; h++)
            for (size_t i = 0; i < kv->row_bytes; i++) {
                const size_t at = lv_kv_offset(kv, l, h) + slot * kv->row_bytes + i;
                if (kv->k[at] != mark_of(id, l, h, i) || kv->v[at] != mark_of(id + 100, l, h, i))
                    return false;
            }
    return true;
}

static void commit_keeps_the_path(const lv_hparams *h, uint32_t type)
{
    lv_kv kv;
    lever_error e = { 0 };
    CHECK_OK(lv_kv_init(&kv, h, type, 16, 8, &e), &e);
    CHECK_EQ(lv_kv_append(&kv, -1, &e), 0);
    mark(&kv, 0, 1);
    lv_kv_commit(&kv, (int32_t[]){ 0 }, 1);
    /*        0        3
     *       / \       |
     *      1   2      5
     *          |\
     *          4 6      */
    const int32_t parents[] = { -1, 0, 0, -1, 2, 3, 2 };
    const uint32_t depths[] = { 1, 2, 2, 1, 3, 2, 3 };
    for (int s = 0; s < 7; s++) {
        CHECK_EQ(lv_kv_append(&kv, parents[s], &e), s);
        CHECK_EQ(kv.depth[s], depths[s]);
        mark(&kv, kv.n_committed + (uint32_t)s, 10u + (uint32_t)s);
    }
    lv_kv_commit(&kv, (int32_t[]){ 0, 2, 6 }, 3);
    CHECK_EQ(kv.n_committed, 4);
    CHECK_EQ(kv.n_scratch, 0);
    CHECK(marked(&kv, 0, 1) && marked(&kv, 1, 10) && marked(&kv, 2, 12) && marked(&kv, 3, 16));
    lv_kv_commit(&kv, NULL, 0);
    CHECK_EQ(kv.n_committed, 4);
    lv_kv_truncate(&kv, 2);
    CHECK_EQ(kv.n_committed, 2);
    CHECK(marked(&kv, 1, 10));
    lv_kv_fini(&kv);
}

static void commit_keeps_the_path_and_forgets_the_rest(void)
{
    const lv_hparams wide = { .n_layers = 3, .n_kv_heads = 2, .head_dim = 64 };
    commit_keeps_the_path(&shape, LV_TYPE_F16);
    commit_keeps_the_path(&wide, LV_TYPE_F16);
    commit_keeps_the_path(&wide, LV_TYPE_Q8_0);
}

/* Rows below the path stay, with the parents they had; those beside it go. */
static void commit_can_keep_what_stands_below(void)
{
    lv_kv kv;
    lever_error e = { 0 };
    CHECK_OK(lv_kv_init(&kv, &shape, LV_TYPE_F16, 32, 12, &e), &e);
    CHECK_EQ(lv_kv_append(&kv, -1, &e), 0);
    mark(&kv, 0, 1);
    lv_kv_commit(&kv, (int32_t[]){ 0 }, 1);
    /* 0 - 2 - 3 - 5 - 8      0, 2, 3 become text; 5, 7, 8 and 9 stand below 3
     *  \      \   \
     *   1      4   7 - 9      6 is another child of the prefix */
    const int32_t parents[] = { -1, 0, 0, 2, 2, 3, -1, 3, 5, 7 };
    for (int s = 0; s < 10; s++) {
        CHECK_EQ(lv_kv_append(&kv, parents[s], &e), s);
        mark(&kv, kv.n_committed + (uint32_t)s, 10u + (uint32_t)s);
    }
    lv_kv_commit_keep(&kv, (int32_t[]){ 0, 2, 3 }, 3, (int32_t[]){ 5, 7, 8, 9 }, 4);
    CHECK_EQ(kv.n_committed, 4);
    CHECK_EQ(kv.n_scratch, 4);
    static const uint32_t ids[] = { 1, 10, 12, 13, 15, 17, 18, 19 };
    for (uint32_t i = 0; i < 8; i++) CHECK(marked(&kv, i, ids[i]));
    static const int32_t new_parents[] = { -1, -1, 0, 1 };
    for (int i = 0; i < 4; i++) CHECK_EQ(kv.parent[i], new_parents[i]);
    CHECK(kv.depth[0] == 1 && kv.depth[1] == 1 && kv.depth[2] == 2 && kv.depth[3] == 2);
    CHECK_EQ(lv_kv_append(&kv, 3, &e), 4);
    CHECK_EQ(kv.depth[4], 3);
    lv_kv_fini(&kv);
}

static void blocks_of_32_need_heads_of_a_multiple_of_32(void)
{
    const lv_hparams wide = { .n_layers = 1, .n_kv_heads = 1, .head_dim = 96 };
    lv_kv kv;
    lever_error e = { 0 };
    CHECK(lv_kv_type_fits(&wide, LV_TYPE_F16) && lv_kv_type_fits(&wide, LV_TYPE_Q8_0));
    CHECK(lv_kv_type_fits(&shape, LV_TYPE_F16) && !lv_kv_type_fits(&shape, LV_TYPE_Q8_0));
    CHECK(!lv_kv_type_fits(&wide, LV_TYPE_Q4_0));
    CHECK_EQ(lv_kv_init(&kv, &shape, LV_TYPE_Q8_0, 16, 8, &e), LEVER_EINVAL);
    CHECK(lv_kv_memory_bytes(&wide, LV_TYPE_Q8_0, 100, 28) == 2 * 128 * 3 * 34 + 28 * 8);
}

static void appending_checks_parent_scratch_and_context(void)
{
    lv_kv kv;
    lever_error e = { 0 };
    CHECK_OK(lv_kv_init(&kv, &shape, LV_TYPE_F16, 3, 4, &e), &e);
    CHECK_EQ(lv_kv_append(&kv, 0, &e), LEVER_EINVAL);
    CHECK_EQ(lv_kv_append(&kv, -2, &e), LEVER_EINVAL);
    for (int s = 0; s < 3; s++) CHECK_EQ(lv_kv_append(&kv, s - 1, &e), s);
    CHECK_EQ(lv_kv_append(&kv, 2, &e), LEVER_ELIMIT); /* position 3 of 0..2 */
    CHECK(strstr(e.msg, "context"));
    CHECK_EQ(lv_kv_append(&kv, 1, &e), 3);
    CHECK_EQ(lv_kv_append(&kv, -1, &e), LEVER_ELIMIT);
    CHECK(strstr(e.msg, "scratch"));
    CHECK_EQ(kv.n_scratch, 4);
    lv_kv_fini(&kv);
    lv_kv_fini(&kv);
}

static void memory_is_what_was_announced(void)
{
    lv_kv kv;
    lever_error e = { 0 };
    const size_t live = lv_alloc_live();
    CHECK_EQ(lv_kv_memory_bytes(&shape, LV_TYPE_F16, 16, 8), 2 * 3 * 24 * 8 * 2 + 8 * 8);
    CHECK_OK(lv_kv_init(&kv, &shape, LV_TYPE_F16, 16, 8, &e), &e);
    CHECK_EQ(kv.map_bytes, lv_kv_memory_bytes(&shape, LV_TYPE_F16, 16, 8));
    CHECK_EQ(lv_alloc_live(), live + 1);
    lv_kv_fini(&kv);
    CHECK_EQ(lv_alloc_live(), live);
    const lv_hparams huge = { .n_layers = 1024, .n_kv_heads = 4096, .head_dim = 1024 };
    CHECK(lv_kv_memory_bytes(&huge, LV_TYPE_F16, UINT32_MAX, UINT32_MAX) == SIZE_MAX);
    CHECK_EQ(lv_kv_init(&kv, &huge, LV_TYPE_F16, UINT32_MAX, 1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_kv_init(&kv, &shape, LV_TYPE_F16, 0, 1, &e), LEVER_EINVAL);
    lv_alloc_fault(0, false);
    CHECK_EQ(lv_kv_init(&kv, &shape, LV_TYPE_F16, 16, 8, &e), LEVER_ENOMEM);
    lv_alloc_fault(-1, false);
    lv_kv_fini(&kv);
}

/* ---- memory that is taken as the cache fills ---- */

static uint64_t room_taken;

static void take_room(void *user, uint64_t bytes)
{
    CHECK(user == &room_taken);
    room_taken += bytes;
}

static void give_room(void *user, uint64_t bytes)
{
    CHECK(user == &room_taken && bytes <= room_taken);
    room_taken -= bytes;
}

static const lv_kv_room room = { .take = take_room, .give = give_room, .user = &room_taken };

static uint64_t touched_bytes(const lv_kv *kv)
{
    unsigned char in[4096];
    const size_t page = lv_page_bytes(), n = (kv->map_bytes + page - 1) / page;
    uint64_t pages = 0;
    if (n > sizeof in || mincore(kv->k, kv->map_bytes, in) < 0) return UINT64_MAX;
    for (size_t i = 0; i < n; i++) pages += in[i] & 1;
    return pages * page;
}

static void fill(lv_kv *kv, uint32_t n)
{
    lever_error e = { 0 };
    int32_t row = 0;
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(lv_kv_append(kv, -1, &e), 0);
        mark(kv, kv->n_committed, kv->n_committed);
        lv_kv_commit(kv, &row, 1);
        CHECK(touched_bytes(kv) <= room_taken);
    }
}

static void memory_is_taken_as_the_cache_fills_and_given_back(void)
{
    const lv_hparams h = { .n_layers = 3, .n_kv_heads = 5, .head_dim = 64 };
    lv_kv kv;
    lever_error e = { 0 };
    const uint64_t all = lv_round_up(lv_kv_memory_bytes(&h, LV_TYPE_Q8_0, 1500, 100), lv_page_bytes());
    CHECK_OK(lv_kv_init_in(&kv, &h, LV_TYPE_Q8_0, 1500, 100, &room, &e), &e);
    CHECK_EQ(room_taken, 0);
    CHECK_EQ(touched_bytes(&kv), 0);
    fill(&kv, 70);
    CHECK(room_taken > 0 && room_taken < all / 4);
    CHECK_EQ(room_taken, lv_kv_backed_bytes(&kv, 70));
    CHECK_EQ(room_taken, lv_kv_planned_bytes(&h, LV_TYPE_Q8_0, 1500, 100, 70));
    const uint64_t at_70 = room_taken;
    fill(&kv, 1300);
    CHECK(room_taken > all / 2 && room_taken <= all);
    for (uint32_t i = 0; i < 1370; i += 137) CHECK(marked(&kv, i, i));
    lv_kv_truncate(&kv, 70);
    CHECK(room_taken > all / 2); /* it may be needed at once */
    lv_kv_give_back(&kv);
    CHECK_EQ(room_taken, at_70);
    CHECK(touched_bytes(&kv) <= room_taken);
    for (uint32_t i = 0; i < 70; i++) CHECK(marked(&kv, i, i));
    lv_kv_back(&kv, 90);
    lv_kv_give_back(&kv); /* too little to be worth it */
    CHECK(room_taken == lv_kv_backed_bytes(&kv, 96));
    fill(&kv, 1430);
    CHECK_EQ(room_taken, lv_kv_backed_bytes(&kv, 1500));
    lv_kv_back(&kv, 1600);
    CHECK_EQ(room_taken, all);
    lv_kv_fini(&kv);
    CHECK_EQ(room_taken, 0);
}

int main(void)
{
    RUN(memory_is_taken_as_the_cache_fills_and_given_back);
    RUN(commit_keeps_the_path_and_forgets_the_rest);
    RUN(commit_can_keep_what_stands_below);
    RUN(blocks_of_32_need_heads_of_a_multiple_of_32);
    RUN(appending_checks_parent_scratch_and_context);
    RUN(memory_is_what_was_announced);
    return check_done();
}
