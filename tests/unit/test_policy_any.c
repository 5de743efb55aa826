/* What holds for every tree policy, on drafts with random probabilities: the limits, the order of nodes, the
 * same tree again; after failures too. SPDX-License-Identifier: MIT */
#include "policy_rig.h"

#include "base/mem.h"

static const char *const specs[] = {
    "none",        "chain:8",      "chain:64",   "tree:4,2,1",    "tree:2,2,2,2,2", "specinfer",
    "sequoia",     "sequoia:12,3", "sequoia:255", "eagle2",       "eagle2:3,4,7",   "eagle2:32,32,255",
    "opttree",     "opttree:9,0",  "opttree:255,0,32", "specexec", "specexec:20,4,1", "specexec:255,32,64",
    "dyspec",      "dyspec:20,4,1", "dyspec:255", "edgellm",      "edgellm:5,2,0.3", "edgellm:255,16,0.0001,0.0001",
    "lookup",      "lookup:3,1",  "lever",       "lever:5",       "lever:255@2",
};
enum { N_SPECS = sizeof specs / sizeof *specs };

/* A walk by chance over a tree: now and then off it, or ending inside it. */
static lv_outcome walk(const lv_tree *t, int32_t *path, uint64_t *seed)
{
    lv_outcome o = { .tree = t, .path = path, .next = -5, .n_rows = t->n };
    for (int32_t at = 0;;) {
        *seed = mix(*seed + 1);
        int32_t c = t->nodes[at].first_child;
        for (uint64_t skip = *seed % 3; skip && c >= 0; skip--) c = t->nodes[c].next_sibling;
        if (c < 0) break;
        if (*seed % 7 == 0) {
            o.next = t->nodes[c].token; /* the text ended here */
            break;
        }
        path[o.n_path++] = at = c;
    }
    o.draft_s = (double)(*seed % 100) * 1e-3;
    o.sweep.seconds = (double)(*seed % 37) * 1e-2;
    return o;
}

static void same_tree(const lv_tree *a, const lv_tree *b)
{
    CHECK_EQ(a->n, b->n);
    for (uint32_t i = 0; i < a->n && i < b->n; i++) {
        CHECK_EQ(a->nodes[i].token, b->nodes[i].token);
        CHECK_EQ(a->nodes[i].parent, b->nodes[i].parent);
        CHECK_EQ(a->nodes[i].source, b->nodes[i].source);
        CHECK(a->nodes[i].draft_prob == b->nodes[i].draft_prob);
    }
}

static fake random_fake(uint64_t seed, const lv_policy *p)
{
    const uint32_t rows = lv_policy_draft_rows(p);
    return (fake){ .fail_call = -1,
                   .candidate = random_candidate,
                   .seed = seed,
                   .max_rows = 1 + (uint32_t)(mix(seed) % 20),
                   .rows_left = seed % 3 ? rows : rows / 3,
                   .at_most = seed % 4 ? 40 : 2 };
}

/* Two policies live through the same ten cycles. */
static void live_twice(const char *spec, uint64_t seed)
{
    lv_tree a, b;
    lv_policy *p = open_policy(spec, &a), *q = open_policy(spec, &b);
    int32_t path[LV_GROW_MAX], text[40];
    for (uint32_t i = 0; i < 40; i++) text[i] = (int32_t)(mix(seed + i) % 4);
    uint64_t chance = seed;
    for (uint32_t cycle = 0; cycle < 10; cycle++) {
        fake f = random_fake(mix(seed * 31 + cycle), p), g = f;
        const uint32_t nodes = cycle % 3 ? 256 : 1 + (uint32_t)(f.seed % 40);
        const uint32_t depth = cycle % 2 ? 64 : (uint32_t)(f.seed % 9);
        CHECK_EQ(grow_tree(p, &a, &f, text, 40 - cycle, nodes, depth), LEVER_OK);
        CHECK_EQ(grow_tree(q, &b, &g, text, 40 - cycle, nodes, depth), LEVER_OK);
        CHECK_EQ(f.n_calls, g.n_calls);
        same_tree(&a, &b);
        const lv_outcome o = walk(&a, path, &chance);
        lv_policy_observe(p, &o);
        lv_policy_observe(q, &o);
        if (cycle == 6) lv_policy_reset(p), lv_policy_reset(q);
    }
    lv_policy_close(&p);
    lv_policy_close(&q);
    lv_tree_fini(&a);
    lv_tree_fini(&b);
}

static void limits_order_and_repetition(void)
{
    for (int i = 0; i < N_SPECS; i++) {
        const int before = check_failures;
        for (uint64_t seed = 1; seed <= 24; seed++) live_twice(specs[i], seed * 977 + (uint64_t)i);
        if (check_failures != before) fprintf(stderr, "  ... policy %s\n", specs[i]);
    }
}

static void a_failing_draft_leaves_a_tree_within_its_limits(void)
{
    for (int i = 0; i < N_SPECS; i++) {
        lv_tree t;
        lv_policy *p = open_policy(specs[i], &t);
        for (long call = 0; call < 6 && lv_policy_needs_draft(p); call++) {
            fake f = random_fake(7, p);
            f.fail_call = call;
            f.rows_left = lv_policy_draft_rows(p);
            const int rc = grow_tree(p, &t, &f, NULL, 0, 9, 64);
            CHECK(rc == LEVER_EIO || (rc == LEVER_OK && f.n_calls <= (uint32_t)call));
            if (call == 0) CHECK_EQ(rc, LEVER_EIO);
        }
        lv_policy_close(&p);
        lv_tree_fini(&t);
    }
}

static bool nan_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token, float *prob)
{
    (void)f, (void)t, (void)id;
    *token = (int32_t)i;
    *prob = i % 2 ? (float)strtod("nan", NULL) : 0.0f;
    return true;
}

static void broken_probabilities_do_no_harm(void)
{
    for (int i = 0; i < N_SPECS; i++) {
        grown g = grow_once(specs[i], 256, 64, (fake){ .fail_call = -1, .candidate = nan_candidate });
        CHECK_EQ(g.rc, LEVER_OK);
        lv_tree_fini(&g.t);
    }
}

static void growing_allocates_nothing_and_no_memory_is_an_error(void)
{
    for (int i = 0; i < N_SPECS; i++)
        for (long n = 0;; n++) {
            lever_error e = { 0 };
            lv_policy *p = NULL;
            const size_t live = lv_alloc_live();
            lv_alloc_fault(n, false);
            const int rc = lv_policy_open(&p, specs[i], &e);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            CHECK((p != NULL) == !fired);
            lv_policy_close(&p);
            CHECK_EQ(lv_alloc_live(), live);
            if (!fired) break;
        }
    for (int i = 0; i < N_SPECS; i++) {
        lv_tree t;
        lv_policy *p = open_policy(specs[i], &t);
        CHECK(lv_policy_memory_bytes(p) > 0);
        fake f = random_fake(5, p);
        const size_t calls = lv_alloc_calls();
        CHECK_EQ(grow_tree(p, &t, &f, NULL, 0, 256, 64), LEVER_OK);
        CHECK_EQ(lv_alloc_calls(), calls);
        lv_policy_close(&p);
        lv_tree_fini(&t);
    }
    lv_policy_close(NULL);
}

int main(void)
{
    RUN(limits_order_and_repetition);
    RUN(a_failing_draft_leaves_a_tree_within_its_limits);
    RUN(broken_probabilities_do_no_harm);
    RUN(growing_allocates_nothing_and_no_memory_is_an_error);
    return check_done();
}
