/* A made-up draft model for tests of tree policies. It enforces what a real one needs: the root first and
 * alone, parents before children, each node once, candidates once and only from the last batch, no more rows
 * than there are. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_UNIT_POLICY_RIG_H
#define LEVER_TESTS_UNIT_POLICY_RIG_H

#include "support/check.h"

#include "spec/policy.h"

enum { FAKE_LOG = 160 }; /* more than a tree of policy lever has evaluated */

typedef struct fake_note { uint64_t path; double value, left; } fake_note;

typedef struct fake {
    uint32_t n_calls, n_rows, largest, max_rows, rows_left, n_nodes;
    uint32_t at_most;   /* candidates a node has */
    long     fail_call; /* this expand call fails; -1 = none */
    int      broken;    /* rules broken by the policy */
    bool     root_done;
    /* The i-th best continuation of a node, i from 0; false when there is none. NULL: plain_candidate. */
    bool (*candidate)(const struct fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token,
                      float *prob);
    uint64_t seed;      /* of random_candidate */
    double   call_s, row_s; /* seconds of a call, and of a row more */
    uint32_t others_rows;   /* what other texts bring to the sweep, and what is expected of that */
    double   others_tokens;
    /* [n_log] of nodes evaluated for the last tree, in order: which, how probable, and the best that its call left out;
     * room for FAKE_LOG. NULL: not wanted */
    fake_note *log;
    uint32_t n_log;
} fake;

/* Tokens 10 * token + 1, + 2, ...; probabilities 1/2, 1/4, 1/6, ... */
static bool plain_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token,
                            float *prob)
{
    (void)f;
    *token = (int32_t)((uint32_t)t->nodes[id].token * 10 + i + 1);
    *prob = 0.5f / (float)(i + 1);
    return true;
}

static inline uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

/* A hash of the tokens from the root to a node: candidates must not depend on ids. */
static inline uint64_t path_hash(const fake *f, const lv_tree *t, int32_t id)
{
    uint64_t h = f->seed;
    for (; id >= 0; id = t->nodes[id].parent) h = mix(h ^ (uint64_t)(uint32_t)t->nodes[id].token) + 1;
    return h;
}

/* Falling probabilities with a sum below 1, by chance steep or flat; some equal, some 0. */
static inline bool random_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token,
                                    float *prob)
{
    const uint64_t h = path_hash(f, t, id);
    const float steep = 0.05f + 0.9f * (float)(h >> 40) / (float)(1 << 24);
    float p = steep, left = 1;
    for (uint32_t k = 0; k < i; k++) left -= p, p = left * steep;
    if (h % 5 == 0) p = i < 8 ? 0.125f : 0;
    *token = (int32_t)(mix(h) % 1000 + i);
    *prob = p;
    return i < 40;
}

/* Product of the probabilities the policy states on the way to a node. */
static inline double stated_value(const lv_tree *t, int32_t id)
{
    double value = 1;
    for (; id > 0; id = t->nodes[id].parent) value *= (double)t->nodes[id].prob;
    return value;
}

/* Notes which nodes are evaluated now, and the value of the best that could have been. */
static inline void note_batch(fake *f, const lv_tree *t, const int32_t *ids, uint32_t n)
{
    double left = 0;
    for (int32_t i = 1; i < (int32_t)t->n; i++) {
        const int32_t parent = t->nodes[i].parent;
        bool open = t->nodes[i].draft_row < 0 && (parent == 0 || t->nodes[parent].draft_row >= 0);
        for (uint32_t k = 0; k < n; k++) open = open && ids[k] != i;
        if (open && stated_value(t, i) > left) left = stated_value(t, i);
    }
    for (uint32_t k = 0; f->log && k < n && f->n_log < FAKE_LOG; k++) {
        f->log[f->n_log].path = path_hash(f, t, ids[k]);
        f->log[f->n_log].value = stated_value(t, ids[k]);
        f->log[f->n_log++].left = left;
    }
}

static int fake_expand(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost,
                       lever_error *err)
{
    fake *f = user;
    if ((long)f->n_calls == f->fail_call) return lv_fail(err, LEVER_EIO, 0, "draft broke");
    f->n_calls++;
    f->n_rows += n;
    if (n > f->largest) f->largest = n;
    f->broken += n == 0 || n > f->max_rows;
    note_batch(f, t, ids, n);
    for (uint32_t i = 0; i < t->n; i++) t->nodes[i].draft_slot = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= t->n) {
            f->broken++;
            continue;
        }
        lv_tree_node *node = &t->nodes[ids[i]];
        node->draft_slot = (int32_t)i;
        if (ids[i] == 0) {
            f->broken += f->root_done || n != 1;
            f->root_done = true;
            continue;
        }
        f->broken += node->draft_row >= 0 || f->n_nodes == f->rows_left;
        f->broken += node->parent == 0 ? !f->root_done : t->nodes[node->parent].draft_row < 0;
        node->draft_row = (int32_t)f->n_nodes++;
    }
    *cost = (lv_cost){ .calls = 1, .rows = n, .seconds = f->call_s + f->row_s * n };
    return LEVER_OK;
}

static uint32_t fake_candidates(void *user, lv_tree *t, int32_t id, uint32_t k, int32_t *tokens, float *probs)
{
    fake *f = user;
    f->broken += t->nodes[id].draft_slot < 0;
    t->nodes[id].draft_slot = -1;
    uint32_t n = 0;
    while (n < k && n < f->at_most &&
           (f->candidate ? f->candidate : plain_candidate)(f, t, id, n, &tokens[n], &probs[n]))
        n++;
    return n;
}

static inline int32_t deepest(const lv_tree *t)
{
    int32_t d = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->nodes[i].depth > d) d = t->nodes[i].depth;
    return d;
}

/* What holds for the tree of any policy. */
static inline void check_tree(const lv_tree *t, uint32_t max_nodes, uint32_t max_depth)
{
    CHECK(t->n >= 1 && t->n <= max_nodes);
    CHECK(deepest(t) <= (int32_t)max_depth);
    for (int32_t i = 1; i < (int32_t)t->n; i++) {
        const lv_tree_node *node = &t->nodes[i];
        CHECK(node->parent >= 0 && node->parent < i);
        CHECK_EQ(node->depth, t->nodes[node->parent].depth + 1);
        CHECK_EQ(lv_tree_find_child(t, node->parent, node->token), i); /* linked, and no twin before it */
    }
}

/* Grow *t, which is as large as the policy wants, with a new drafter; returns what grow returned. */
static inline int grow_tree(lv_policy *p, lv_tree *t, fake *f, const int32_t *text, uint32_t n_text,
                            uint32_t max_nodes, uint32_t max_depth)
{
    lever_error e = { 0 };
    lv_drafter d = { .user = f, .expand = fake_expand, .candidates = fake_candidates,
                     .max_rows = f->max_rows, .rows_left = f->rows_left, .n_pending = 1 + f->others_rows,
                     .others_tokens = f->others_tokens, .target_ratio = 10, .text = text, .n_text = n_text };
    f->n_calls = f->n_rows = f->n_nodes = f->largest = f->n_log = 0;
    f->root_done = false;
    lv_tree_reset(t, n_text ? text[n_text - 1] : 0);
    const int rc = lv_policy_grow(p, t, &d, max_nodes, max_depth, &e);
    CHECK_EQ(f->broken, 0);
    check_tree(t, max_nodes < lv_policy_max_nodes(p) ? max_nodes : lv_policy_max_nodes(p), max_depth);
    if (rc >= 0) {
        CHECK_EQ(d.total.calls, f->n_calls);
        CHECK_EQ(d.total.rows, f->n_rows);
        CHECK_EQ(d.rows_left, f->rows_left - f->n_nodes);
    }
    return rc;
}

static inline lv_policy *open_policy(const char *spec, lv_tree *t)
{
    lever_error e = { 0 };
    lv_policy *p = NULL;
    CHECK_OK(lv_policy_open(&p, spec, &e), &e);
    if (!p) exit(1);
    CHECK_STR(lv_policy_name(p), spec);
    CHECK(lv_policy_max_nodes(p) >= 1 && lv_policy_max_nodes(p) <= lv_policy_grow_nodes(p));
    CHECK(lv_policy_grow_nodes(p) <= LV_GROW_MAX);
    CHECK_OK(lv_tree_init(t, lv_policy_grow_nodes(p), &e), &e);
    return p;
}

typedef struct grown {
    lv_tree t;
    fake    f;
    int     rc;
} grown;

/* One tree of a new policy; release with lv_tree_fini(&g.t). f is the drafter wanted; its limits of 0 mean
 * 16 rows a call, all the policy wants, and 99 candidates a node. */
static inline grown grow_once(const char *spec, uint32_t max_nodes, uint32_t max_depth, fake f)
{
    grown g;
    lv_policy *p = open_policy(spec, &g.t);
    g.f = f;
    if (!g.f.max_rows) g.f.max_rows = 16;
    if (!g.f.at_most) g.f.at_most = 99;
    if (!g.f.rows_left) g.f.rows_left = lv_policy_draft_rows(p);
    g.rc = grow_tree(p, &g.t, &g.f, NULL, 0, max_nodes, max_depth);
    lv_policy_close(&p);
    CHECK(p == NULL);
    return g;
}

#endif
