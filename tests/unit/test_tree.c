/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/mem.h"
#include "spec/tree.h"

static void reset_leaves_only_the_root(void)
{
    lv_tree t;
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&t, 4, &e), &e);
    lv_tree_add(&t, 0, 5, 0.5f, LV_SOURCE_DRAFT);
    lv_tree_reset(&t, 42);
    CHECK_EQ(t.n, 1);
    CHECK_EQ(t.nodes[0].token, 42);
    CHECK_EQ(t.nodes[0].parent, -1);
    CHECK_EQ(t.nodes[0].first_child, -1);
    CHECK_EQ(t.nodes[0].draft_row, -1);
    CHECK(t.nodes[0].draft_prob == 1.0f);
    CHECK_EQ(lv_tree_find_child(&t, 0, 5), -1);
    lv_tree_fini(&t);
    CHECK(t.nodes == NULL && t.cap == 0);
}

static void duplicate_prefixes_are_merged(void)
{
    lv_tree t;
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&t, 8, &e), &e);
    const int32_t a = lv_tree_add(&t, 0, 7, 0.5f, LV_SOURCE_DRAFT);
    const int32_t b = lv_tree_add(&t, 0, 8, 0.3f, LV_SOURCE_DRAFT);
    CHECK_EQ(lv_tree_add(&t, 0, 7, 0.9f, LV_SOURCE_DRAFT), a);
    CHECK(t.nodes[a].draft_prob == 0.5f);
    CHECK_EQ(t.n, 3);
    const int32_t c = lv_tree_add(&t, b, 7, 0.2f, LV_SOURCE_DRAFT); /* same token, other parent */
    CHECK(c != a);
    CHECK_EQ(t.nodes[c].depth, 2);
    CHECK_EQ(lv_tree_find_child(&t, b, 7), c);
    CHECK_EQ(lv_tree_find_child(&t, a, 7), -1);
    lv_tree_fini(&t);
}

static void siblings_keep_their_order_and_parents_stand_first(void)
{
    lv_tree t;
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&t, 64, &e), &e);
    for (int i = 0; i < 63; i++) lv_tree_add(&t, i / 3, 100 + i, 0.1f, LV_SOURCE_DRAFT);
    for (int32_t i = 1; i < (int32_t)t.n; i++) {
        CHECK(t.nodes[i].parent < i);
        CHECK_EQ(lv_tree_find_child(&t, t.nodes[i].parent, t.nodes[i].token), i);
    }
    int32_t want = 100;
    for (int32_t c = t.nodes[0].first_child; c >= 0; c = t.nodes[c].next_sibling)
        CHECK_EQ(t.nodes[c].token, want++);
    CHECK_EQ(want, 103);
    lv_tree_fini(&t);
}

static void full_tree_refuses_new_nodes_but_finds_old_ones(void)
{
    lv_tree t;
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&t, 2, &e), &e);
    CHECK_EQ(lv_tree_add(&t, 0, 1, 0.5f, LV_SOURCE_DRAFT), 1);
    CHECK_EQ(lv_tree_add(&t, 0, 2, 0.5f, LV_SOURCE_DRAFT), -1);
    CHECK_EQ(lv_tree_add(&t, 0, 1, 0.5f, LV_SOURCE_DRAFT), 1);
    CHECK_EQ(t.n, 2);
    lv_tree_fini(&t);
}

static void bad_sizes_and_no_memory_are_errors(void)
{
    lv_tree t;
    lever_error e = { 0 };
    CHECK_EQ(lv_tree_init(&t, 0, &e), LEVER_EINVAL);
    CHECK_EQ(lv_tree_init(&t, LV_GROW_MAX + 1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_tree_init(&t, 0xffffffffu, &e), LEVER_EINVAL);
    lv_alloc_fault(0, false);
    CHECK_EQ(lv_tree_init(&t, 4, &e), LEVER_ENOMEM);
    lv_alloc_fault(-1, false);
    lv_tree_fini(&t);
}

static void keeping_moves_nodes_down_in_order(void)
{
    lv_tree t;
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&t, LV_GROW_MAX, &e), &e);
    for (int i = 0; t.n < t.cap; i++) {
        const int32_t id = lv_tree_add(&t, i / 4, 7 * i, 0.1f, LV_SOURCE_DRAFT);
        t.nodes[id].draft_row = i;
    }
    bool keep[LV_GROW_MAX] = { [0] = true };
    uint32_t want = 1;
    for (uint32_t i = 1; i < t.n; i++) {
        keep[i] = keep[t.nodes[i].parent] && i % 3;
        want += keep[i];
    }
    lv_tree_keep(&t, keep);
    CHECK_EQ(t.n, want);
    for (int32_t i = 1, last = -1; i < (int32_t)t.n; i++) {
        const lv_tree_node *node = &t.nodes[i];
        CHECK(node->parent >= 0 && node->parent < i);
        CHECK_EQ(lv_tree_find_child(&t, node->parent, node->token), i);
        CHECK_EQ(node->token, 7 * node->draft_row);
        CHECK(node->draft_row > last);
        CHECK(node->depth == t.nodes[node->parent].depth + 1);
        if (node->next_sibling >= 0) CHECK(node->next_sibling > i);
        last = node->draft_row;
    }
    const int32_t more = lv_tree_add(&t, 0, 9999, 0.1f, LV_SOURCE_DRAFT);
    CHECK_EQ(more, want);
    CHECK_EQ(lv_tree_find_child(&t, 0, 9999), more);
    bool root[LV_GROW_MAX] = { [0] = true };
    lv_tree_keep(&t, root);
    CHECK_EQ(t.n, 1);
    CHECK_EQ(t.nodes[0].first_child, -1);
    lv_tree_fini(&t);
}

int main(void)
{
    RUN(reset_leaves_only_the_root);
    RUN(duplicate_prefixes_are_merged);
    RUN(siblings_keep_their_order_and_parents_stand_first);
    RUN(full_tree_refuses_new_nodes_but_finds_old_ones);
    RUN(keeping_moves_nodes_down_in_order);
    RUN(bad_sizes_and_no_memory_are_errors);
    return check_done();
}
