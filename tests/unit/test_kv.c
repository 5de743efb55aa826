/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/mem.h"
#include "model/kv.h"

static const lv_hparams shape = { .n_layers = 3, .n_kv_heads = 2, .head_dim = 4 };

/* Mark a slot in every layer so that it can be found after moves. */
static void mark(lv_kv *kv, uint32_t slot, uint16_t id)
{
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (size_t d = 0; d < kv->kv_dim; d++) {
            const size_t at = ((size_t)l * kv->n_slots + slot) * kv->kv_dim + d;
            kv->k[at] = (uint16_t)(id * 100 + l * 10 + d);
            kv->v[at] = (uint16_t)(id * 100 + l * 10 + d + 10000);
        }
}

static bool marked(const lv_kv *kv, uint32_t slot, uint16_t id)
{
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (size_t d = 0; d < kv->kv_dim; d++) {
            const size_t at = ((size_t)l * kv->n_slots + slot) * kv->kv_dim + d;
            if (kv->k[at] != (uint16_t)(id * 100 + l * 10 + d)) return false;
            if (kv->v[at] != (uint16_t)(id * 100 + l * 10 + d + 10000)) return false;
        }
    return true;
}

static void commit_keeps_the_path_and_forgets_the_rest(void)
{
    lv_kv kv;
    lever_error e = { 0 };
    CHECK_OK(lv_kv_init(&kv, &shape, 16, 8, &e), &e);
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
        mark(&kv, kv.n_committed + (uint32_t)s, (uint16_t)(10 + s));
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

static void appending_checks_parent_scratch_and_context(void)
{
    lv_kv kv;
    lever_error e = { 0 };
    CHECK_OK(lv_kv_init(&kv, &shape, 3, 4, &e), &e);
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
    CHECK_EQ(lv_kv_memory_bytes(&shape, 16, 8), 2 * 3 * 24 * 8 * 2 + 8 * 8);
    CHECK_OK(lv_kv_init(&kv, &shape, 16, 8, &e), &e);
    CHECK_EQ(kv.map_bytes, lv_kv_memory_bytes(&shape, 16, 8));
    CHECK_EQ(lv_alloc_live(), live + 1);
    lv_kv_fini(&kv);
    CHECK_EQ(lv_alloc_live(), live);
    const lv_hparams huge = { .n_layers = 1024, .n_kv_heads = 4096, .head_dim = 1024 };
    CHECK(lv_kv_memory_bytes(&huge, UINT32_MAX, UINT32_MAX) == SIZE_MAX);
    CHECK_EQ(lv_kv_init(&kv, &huge, UINT32_MAX, 1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_kv_init(&kv, &shape, 0, 1, &e), LEVER_EINVAL);
    lv_alloc_fault(0, false);
    CHECK_EQ(lv_kv_init(&kv, &shape, 16, 8, &e), LEVER_ENOMEM);
    lv_alloc_fault(-1, false);
    lv_kv_fini(&kv);
}

int main(void)
{
    RUN(commit_keeps_the_path_and_forgets_the_rest);
    RUN(appending_checks_parent_scratch_and_context);
    RUN(memory_is_what_was_announced);
    return check_done();
}
