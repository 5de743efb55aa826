/* Lever's own policy on drafts with known probabilities and known costs. SPDX-License-Identifier: MIT */
#include "policy_rig.h"

static lv_tree tree;
static int32_t text[64];

/* One candidate of probability 0.9 and a second of 0.05 everywhere. */
static bool sure_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token, float *prob)
{
    (void)f;
    *token = (int32_t)((uint32_t)t->nodes[id].token * 2 + i + 1);
    *prob = i ? 0.05f : 0.9f;
    return i < 2;
}

static fake draft(double call_s, double row_s)
{
    return (fake){ .fail_call = -1, .max_rows = 16, .rows_left = 112, .at_most = 40, .call_s = call_s,
                   .row_s = row_s };
}

/* Tell the policy what sweeps of 1 to 128 rows take. */
static void sweeps_cost(lv_policy *p, double fixed, double per_row)
{
    for (int k = 0; k < 30; k++)
        for (uint32_t n = 1; n <= 128; n *= 2) lv_policy_observe_sweep(p, n, fixed + per_row * n, 0);
}

/* Grow twice: the first expand call of a policy is a cold one and teaches it nothing. */
static void grow_warm(lv_policy *p, fake *f, uint32_t n_text)
{
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(grow_tree(p, &tree, f, text, n_text, 256, 64), LEVER_OK);
        const lv_outcome o = { .tree = &tree, .next = -5, .n_rows = 1, .draft_s = f->n_calls * f->call_s +
                               f->n_rows * f->row_s, .verify_s = 0.5 };
        if (i < 2 && tree.n == 1) lv_policy_observe(p, &o);
    }
}

static void expected_tokens_are_the_sum_of_path_probabilities(void)
{
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.005, 0.001);
    f.candidate = random_candidate;
    for (f.seed = 1; f.seed < 20; f.seed++) {
        sweeps_cost(p, 0.5, 0.001);
        grow_warm(p, &f, 1);
        static double b[LV_GROW_MAX];
        double sum = 1;
        b[0] = 1;
        for (uint32_t i = 1; i < tree.n; i++) {
            b[i] = b[tree.nodes[i].parent] * (double)tree.nodes[i].prob;
            CHECK(tree.nodes[i].prob > 0 && tree.nodes[i].prob < 1);
            sum += b[i];
        }
        lv_expectation e;
        CHECK(lv_policy_expected(p, &e));
        CHECK(e.tokens > sum * 0.999 && e.tokens < sum * 1.001);
        CHECK(e.seconds > 0.5);
    }
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* Rows that hide under flash are all taken; the dearer a row, the fewer. */
static void dear_rows_make_small_trees(void)
{
    static const double per_row[] = { 0, 0.01, 0.1, 5 };
    uint32_t last = UINT32_MAX;
    for (int i = 0; i < 4; i++) {
        lv_policy *p = open_policy("lever", &tree);
        fake f = draft(0.005, 0.001);
        sweeps_cost(p, 0.5, per_row[i]);
        grow_warm(p, &f, 1);
        CHECK(tree.n <= last);
        if (i == 0) CHECK(tree.n > 40);
        if (i == 3) CHECK_EQ(tree.n, 1); /* says plainly: do not speculate */
        last = tree.n;
        lv_policy_close(&p);
        lv_tree_fini(&tree);
    }
}

/* A first large sweep that computing made slow is followed by small ones; one that waited for flash is not. */
static void small_sweeps_are_tried_unless_flash_sets_the_pace(void)
{
    for (int waits = 0; waits < 2; waits++) {
        lv_policy *p = open_policy("lever:32", &tree);
        fake f = draft(0.001, 0.0005);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
            const double verify = 0.01 + 0.02 * 33; /* rows of the target are dear */
            const lv_outcome o = { .tree = &tree, .next = -5, .n_rows = 33, .verify_s = verify,
                                   .flash_s = waits ? verify : 0,
                                   .draft_s = f.n_calls * f.call_s + f.n_rows * f.row_s };
            if (i < 2) lv_policy_observe(p, &o);
        }
        CHECK(waits ? tree.n == 33 : tree.n < 8);
        lv_policy_close(&p);
        lv_tree_fini(&tree);
    }
}

/* A dear draft is asked once; a cheap one as long as it is sure of itself. */
static void a_dear_draft_is_asked_seldom(void)
{
    static const double call_s[] = { 0.0001, 0.01, 0.1, 2 };
    int32_t last = 1000;
    for (int i = 0; i < 4; i++) {
        lv_policy *p = open_policy("lever", &tree);
        fake f = draft(call_s[i], 0.0005);
        f.candidate = sure_candidate;
        sweeps_cost(p, 0.5, 0.0001);
        grow_warm(p, &f, 1);
        CHECK(deepest(&tree) <= last);
        if (i == 0) CHECK(deepest(&tree) > 12);
        if (i == 3) CHECK_EQ(f.n_calls, 1);
        last = deepest(&tree);
        lv_policy_close(&p);
        lv_tree_fini(&tree);
    }
}

/* A draft that was believed and is always wrong is asked for less; one that is right stays. */
static void what_is_never_right_is_believed_less(void)
{
    uint32_t size[2];
    for (int right = 0; right < 2; right++) {
        lv_policy *p = open_policy("lever", &tree);
        fake f = draft(0.005, 0.001);
        f.candidate = sure_candidate;
        for (int cycle = 0; cycle < 150; cycle++) {
            sweeps_cost(p, 0.3, 0.01);
            CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
            static int32_t path[LV_GROW_MAX];
            lv_outcome o = { .tree = &tree, .path = path, .next = -5, .n_rows = tree.n, .verify_s = 0.3 };
            o.draft_s = f.n_calls * f.call_s + f.n_rows * f.row_s;
            for (int32_t at = tree.nodes[0].first_child; right && at >= 0; at = tree.nodes[at].first_child)
                path[o.n_path++] = at; /* first children are the best */
            lv_policy_observe(p, &o);
        }
        size[right] = (uint32_t)deepest(&tree);
        lv_policy_close(&p);
        lv_tree_fini(&tree);
    }
    CHECK(size[0] <= 2);
    CHECK(size[1] >= 8);
}

/* A draft that is never right is not believed by the next policy either, which gets to know that from the first. */
static void the_next_policy_begins_where_the_last_one_ended(void)
{
    static char learnt[1 << 16];
    static int32_t path[LV_GROW_MAX];
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.005, 0.001);
    f.candidate = sure_candidate;
    for (int cycle = 0; cycle < 150; cycle++) {
        sweeps_cost(p, 0.3, 0.01);
        CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
        lv_policy_observe(p, &(lv_outcome){ .tree = &tree, .path = path, .next = -5, .n_rows = tree.n, .verify_s = 0.3,
                                            .draft_s = f.n_calls * f.call_s + f.n_rows * f.row_s });
    }
    CHECK(lv_policy_learnt_bytes(p) <= sizeof learnt);
    lv_policy_get_learnt(p, learnt);
    lv_policy_close(&p);
    for (int with = 0; with < 3; with++) { /* nothing; all but times; all */
        lv_tree_fini(&tree);
        p = open_policy("lever", &tree);
        if (with) CHECK(lv_policy_set_learnt(p, learnt, with == 2));
        if (with < 2) sweeps_cost(p, 0.3, 0.01);
        CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
        lv_expectation e;
        CHECK(lv_policy_expected(p, &e));
        CHECK(with ? e.tokens < 1.3 : e.tokens > 1.8);
        if (with == 2) CHECK(e.seconds > 0.25 && e.seconds < 0.5);
        if (with < 2) lv_policy_close(&p);
    }
    memset(learnt, 0xff, sizeof(double)); /* no number */
    CHECK(!lv_policy_set_learnt(p, learnt, true));
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* Costs that a profile predicts choose the first tree; what was learnt, or is set later, is not touched by them. */
static void the_first_tree_follows_a_profile(void)
{
    for (int dear = 0; dear < 2; dear++) {
        lv_policy *p = open_policy("lever", &tree);
        lv_cost_seed seed = { .n = 8, .project_s = 0.001, .overhead_s = 0.0001 };
        for (uint32_t i = 0; i < 8; i++) {
            seed.rows[i] = 1u << i;
            seed.verify_s[i] = 0.1 + (dear ? 0.2 : 0.0001) * seed.rows[i];
            seed.draft_s[i] = 0.002 + 0.0005 * seed.rows[i];
        }
        lv_policy_seed(p, &seed);
        fake f = draft(0.002, 0.0005);
        f.candidate = sure_candidate;
        CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
        CHECK(dear ? tree.n < 8 : tree.n > 24);
        sweeps_cost(p, 0.1, dear ? 0.0001 : 0.2);
        lv_policy_seed(p, &seed);
        CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
        CHECK(dear ? tree.n > 12 : tree.n < 8);
        lv_policy_close(&p);
        lv_tree_fini(&tree);
    }
    lv_policy *p = open_policy("chain:4", &tree); /* has no opinion on costs */
    lv_policy_seed(p, &(lv_cost_seed){ .n = 0 });
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* What followed the same words before is proposed without asking the draft. */
static void repeated_text_gives_free_candidates(void)
{
    static const int32_t words[] = { 3, 14, 15, 92, 65, 35, 89, 79, 32, 38 };
    for (uint32_t i = 0; i < 25; i++) text[i] = words[i % 10];
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(2, 0); /* too dear to be asked twice */
    f.candidate = sure_candidate;
    sweeps_cost(p, 0.5, 0.001);
    grow_warm(p, &f, 25);
    CHECK_EQ(f.n_calls, 1);
    int32_t at = 0;
    uint32_t n = 0;
    for (; n < 8; n++) {
        at = lv_tree_find_child(&tree, at, words[(25 + n) % 10]);
        if (at < 0) break;
        CHECK_EQ(tree.nodes[at].source, LV_SOURCE_LOOKUP);
    }
    CHECK(n >= 6);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* The draft goes on from proposals of lookup, but never from one whose parent it has not seen. */
static void free_candidates_are_evaluated_from_the_top(void)
{
    static const int32_t words[] = { 3, 14, 15, 92, 65, 35, 89, 79, 32, 38 };
    for (uint32_t i = 0; i < 25; i++) text[i] = words[i % 10];
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.001, 0.0001);
    sweeps_cost(p, 0.5, 0.0001);
    grow_warm(p, &f, 25); /* the rig counts broken rules */
    const int32_t first = lv_tree_find_child(&tree, 0, words[5]);
    CHECK(first > 0 && tree.nodes[first].draft_row >= 0);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* A token that the draft and the text so far both name is one node, likelier than either says alone. */
static void sources_that_agree_share_a_node(void)
{
    for (uint32_t i = 0; i < 20; i++) text[i] = i % 2 ? 4 : 9; /* 4 is followed by 9 = 4 * 2 + 1 */
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.005, 0.001);
    f.candidate = sure_candidate;
    sweeps_cost(p, 0.5, 0.001);
    grow_warm(p, &f, 20);
    const int32_t both = lv_tree_find_child(&tree, 0, 9);
    CHECK(both > 0 && tree.nodes[both].prob > 0.9f);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

int main(void)
{
    RUN(expected_tokens_are_the_sum_of_path_probabilities);
    RUN(dear_rows_make_small_trees);
    RUN(small_sweeps_are_tried_unless_flash_sets_the_pace);
    RUN(a_dear_draft_is_asked_seldom);
    RUN(what_is_never_right_is_believed_less);
    RUN(the_next_policy_begins_where_the_last_one_ended);
    RUN(the_first_tree_follows_a_profile);
    RUN(repeated_text_gives_free_candidates);
    RUN(free_candidates_are_evaluated_from_the_top);
    RUN(sources_that_agree_share_a_node);
    return check_done();
}
