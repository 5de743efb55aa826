/* SPDX-License-Identifier: MIT */
#include "spec/tree.h"

#include <assert.h>

#include "base/mem.h"

int lv_tree_init(lv_tree *t, uint32_t cap, lever_error *err)
{
    *t = (lv_tree){ 0 };
    if (cap == 0 || cap > LV_GROW_MAX)
        return lv_fail(err, LEVER_EINVAL, 0, "a token tree holds 1 to %d nodes, not %u", LV_GROW_MAX, cap);
    t->nodes = lv_alloc_array(cap, sizeof *t->nodes, 64);
    if (!t->nodes) return lv_fail(err, LEVER_ENOMEM, 0, "token tree of %u nodes", cap);
    t->cap = cap;
    lv_tree_reset(t, 0);
    return LEVER_OK;
}

void lv_tree_fini(lv_tree *t)
{
    lv_free(t->nodes);
    *t = (lv_tree){ 0 };
}

void lv_tree_reset(lv_tree *t, int32_t root_token)
{
    assert(t->cap >= 1);
    t->nodes[0] = (lv_tree_node){
        .token = root_token, .parent = -1, .first_child = -1, .next_sibling = -1,
        .draft_row = -1, .draft_slot = -1, .draft_prob = 1.0f, .source = LV_SOURCE_ROOT,
    };
    t->n = 1;
}

int32_t lv_tree_add(lv_tree *t, int32_t parent, int32_t token, float draft_prob, uint8_t source)
{
    assert(parent >= 0 && (uint32_t)parent < t->n);
    int32_t last = -1;
    for (int32_t c = t->nodes[parent].first_child; c >= 0; c = t->nodes[c].next_sibling) {
        if (t->nodes[c].token == token) return c;
        last = c;
    }
    if (t->n == t->cap) return -1;
    const int32_t id = (int32_t)t->n++;
    t->nodes[id] = (lv_tree_node){
        .token = token, .parent = parent, .first_child = -1, .next_sibling = -1,
        .depth = t->nodes[parent].depth + 1, .draft_row = -1, .draft_slot = -1, .draft_prob = draft_prob,
        .source = source,
    };
    if (last < 0) t->nodes[parent].first_child = id;
    else t->nodes[last].next_sibling = id;
    return id;
}

int32_t lv_tree_find_child(const lv_tree *t, int32_t parent, int32_t token)
{
    assert(parent >= 0 && (uint32_t)parent < t->n);
    for (int32_t c = t->nodes[parent].first_child; c >= 0; c = t->nodes[c].next_sibling)
        if (t->nodes[c].token == token) return c;
    return -1;
}

void lv_tree_keep(lv_tree *t, const bool *keep)
{
    int32_t to[LV_GROW_MAX];
    uint32_t n = 0;
    assert(keep[0]);
    for (uint32_t i = 0; i < t->n; i++) {
        if (!keep[i]) continue;
        lv_tree_node node = t->nodes[i];
        assert(i == 0 || keep[node.parent]);
        if (i > 0) node.parent = to[node.parent];
        node.first_child = node.next_sibling = -1;
        to[i] = (int32_t)n;
        t->nodes[n++] = node;
    }
    t->n = n;
    /* Siblings stand in the order of their ids, so linking from the last one on restores it. */
    for (uint32_t i = n; i-- > 1;) {
        lv_tree_node *parent = &t->nodes[t->nodes[i].parent];
        t->nodes[i].next_sibling = parent->first_child;
        parent->first_child = (int32_t)i;
    }
}
