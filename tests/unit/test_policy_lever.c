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
        for (uint32_t n = 1; n <= 128; n *= 2)
            lv_policy_observe_sweep(p, n, (lv_sweep_took){ .seconds = fixed + per_row * n });
}

/* Grow twice: the first expand call of a policy is a cold one and teaches it nothing. */
static void grow_warm(lv_policy *p, fake *f, uint32_t n_text)
{
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(grow_tree(p, &tree, f, text, n_text, 256, 64), LEVER_OK);
        const lv_outcome o = { .tree = &tree, .next = -5, .n_rows = 1, .draft_s = f->n_calls * f->call_s +
                               f->n_rows * f->row_s, .sweep.seconds = 0.5 };
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
            const lv_outcome o = { .tree = &tree, .next = -5, .n_rows = 33,
                                   .sweep = { verify, waits ? verify / 2 : 0 },
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
/* Sure of the first token, and of nothing behind it. */
static bool vain_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token, float *prob)
{
    const bool good = sure_candidate(f, t, id, i, token, prob);
    if (t->nodes[id].depth > 0) *prob /= 90;
    return good;
}

/* How many batches the draft is asked for, at last. */
static uint32_t calls_after(lv_policy *p, fake *f, int n)
{
    for (int i = 0; i < n; i++) CHECK_EQ(grow_tree(p, &tree, f, text, 1, 256, 64), LEVER_OK);
    return f->n_calls;
}

/* Where evaluating brought nothing for a while, it is tried again: text changes. */
static void bad_luck_does_not_end_all_trying(void)
{
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.15, 0);
    sweeps_cost(p, 0.5, 0.02);
    f.candidate = sure_candidate;
    CHECK(calls_after(p, &f, 3) > 1);
    f.candidate = vain_candidate;
    CHECK_EQ(calls_after(p, &f, 20), 1);
    f.candidate = sure_candidate;
    CHECK_EQ(calls_after(p, &f, 1), 1);
    CHECK(calls_after(p, &f, 40) > 1);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

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
            lv_outcome o = { .tree = &tree, .path = path, .next = -5, .n_rows = tree.n, .sweep.seconds = 0.3 };
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
        lv_policy_observe(p, &(lv_outcome){ .tree = &tree, .path = path, .next = -5, .n_rows = tree.n,
                                            .draft_s = f.n_calls * f.call_s + f.n_rows * f.row_s,
                                            .sweep.seconds = 0.3 });
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

/* A sweep whose reads take half a second, and each row a hundredth. */
static double shared_cost(uint32_t rows) { return 0.01 * rows > 0.5 ? 0.01 * rows : 0.5; }

static void observe_shared(lv_policy *p, uint32_t rows)
{
    const double seconds = shared_cost(rows);
    lv_policy_observe_sweep(p, rows, (lv_sweep_took){ seconds, seconds - 0.01 * rows });
}

/* Small sweeps that wait for flash and those of a prompt do not make the rows between them seem dear. */
static void rows_are_free_until_no_one_waits(void)
{
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.0001, 0.0001);
    f.candidate = random_candidate;
    f.seed = 3;
    for (int i = 0; i < 8; i++) observe_shared(p, 10), observe_shared(p, 256);
    grow_warm(p, &f, 1);
    CHECK(tree.n >= 45 && tree.n <= 80);
    lv_expectation e;
    CHECK(lv_policy_expected(p, &e));
    CHECK(e.seconds >= 0.49 && e.seconds < 0.9);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* Sweeps that never wait do not tell how long reads would take, so smaller ones are tried. */
static void reads_that_are_not_waited_for_set_no_pace(void)
{
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.001, 0.0005);
    for (int i = 0; i < 8; i++) lv_policy_observe_sweep(p, 64, (lv_sweep_took){ 6.4, 0.01 });
    grow_warm(p, &f, 1);
    CHECK(tree.n < 16);
    for (int i = 0; i < 2; i++) lv_policy_observe_sweep(p, 64, (lv_sweep_took){ 6.4, 3 }); /* now they do */
    grow_warm(p, &f, 1);
    CHECK(tree.n > 24);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

/* Sweeps that computing paces wait a little too: that does not make reads seem as long as they are. */
static void short_waits_set_no_pace(void)
{
    lv_policy *p = open_policy("lever", &tree);
    fake f = draft(0.0001, 0.0001);
    for (int i = 0; i < 40; i++) {
        lv_policy_observe_sweep(p, 20, (lv_sweep_took){ 0.5, 0.3 });
        for (int k = 0; k < 3; k++) lv_policy_observe_sweep(p, 100, (lv_sweep_took){ 1.05, 0.05 });
    }
    lv_expectation e;
    CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 16, 64), LEVER_OK); /* at most 16 rows, which wait for reads */
    CHECK(lv_policy_expected(p, &e));
    CHECK(e.seconds > 0.49 && e.seconds < 0.55);
    lv_policy_close(&p);
    lv_tree_fini(&tree);
}

enum { TEXTS = 4 };

/* Tokens per second of texts that share sweeps, each by a policy of its own, after they have come to an arrangement;
 * aware: they know of each other. */
static double shared_speed(bool aware, uint32_t *rows)
{
    lv_policy *p[TEXTS];
    lv_tree trees[TEXTS];
    lv_expectation e[TEXTS] = { { 0 } };
    for (int i = 0; i < TEXTS; i++) p[i] = open_policy("lever", &trees[i]);
    for (int cycle = 0; cycle < 12; cycle++)
        for (int i = 0; i < TEXTS; i++) {
            for (uint32_t n = 1; n <= 256; n += n < 8 ? 1 : n / 8)
                observe_shared(p[i], n);
            fake f = draft(0.002, 0.0005);
            f.candidate = random_candidate;
            f.seed = (uint64_t)i + 1;
            for (int k = 0; aware && k < TEXTS; k++)
                if (k != i) f.others_rows += e[k].nodes, f.others_tokens += e[k].tokens;
            CHECK_EQ(grow_tree(p[i], &trees[i], &f, text, 1, 256, 64), LEVER_OK);
            CHECK(lv_policy_expected(p[i], &e[i]));
            CHECK_EQ(e[i].nodes, trees[i].n);
        }
    double tokens = 0;
    *rows = 0;
    for (int i = 0; i < TEXTS; i++) {
        tokens += e[i].tokens, *rows += e[i].nodes;
        lv_policy_close(&p[i]);
        lv_tree_fini(&trees[i]);
    }
    return tokens / shared_cost(*rows);
}

/* Rows that are free for one text are not when others take them too. */
static void texts_that_share_a_sweep_share_its_free_rows(void)
{
    uint32_t alone, together;
    const double speed_alone = shared_speed(false, &alone), speed = shared_speed(true, &together);
    CHECK(alone > 100);                      /* each takes what is free for one */
    CHECK(together >= 45 && together <= 80); /* together they take that once, and what is worth its time */
    CHECK(speed > 1.3 * speed_alone);
}

/* What one has learnt another knows, but for the text it was at. */
static void policies_share_what_they_learn(void)
{
    lv_tree other;
    lv_policy *p = open_policy("lever", &tree), *q = open_policy("lever", &other);
    fake f = draft(0.005, 0.001);
    f.candidate = sure_candidate;
    sweeps_cost(p, 0.5, 0.1);
    grow_warm(p, &f, 1);
    const uint32_t n = tree.n;
    lv_policy_share(q, p);
    CHECK_EQ(grow_tree(q, &other, &f, text, 1, 256, 64), LEVER_OK);
    CHECK(other.n <= n + 2); /* the costs are known: without them it would be 24 */
    lv_policy_share(p, q);
    lv_policy_share(p, p);
    /* A sweep that somebody else accounts for teaches nothing about costs. */
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(grow_tree(p, &tree, &f, text, 1, 256, 64), LEVER_OK);
        lv_policy_observe(p, &(lv_outcome){ .tree = &tree, .next = -5, .n_rows = 500, .n_kept_rows = 500,
                                            .sweep.seconds = -1 });
    }
    lv_policy_share(q, p);
    sweeps_cost(q, 0.5, 0.1);
    CHECK_EQ(grow_tree(q, &other, &f, text, 1, 256, 64), LEVER_OK);
    CHECK(other.n < n); /* the draft was never right */
    lv_policy_close(&p);
    lv_policy_close(&q);
    lv_tree_fini(&tree);
    lv_tree_fini(&other);
}

static fake_note notes[2][FAKE_LOG];

/* Of the nodes evaluated for a, those that were not for b; the value of the best of them. */
static uint32_t missing(const fake *a, const fake *b, double *best)
{
    uint32_t n = 0;
    *best = 0;
    for (uint32_t i = 0; i < a->n_log; i++) {
        uint32_t k = 0;
        while (k < b->n_log && b->log[k].path != a->log[i].path) k++;
        if (k < b->n_log) continue;
        n++;
        if (a->log[i].value > *best) *best = a->log[i].value;
    }
    return n;
}

/* The same draft, sweeps and settings, `n_trees` times, so that the policy knows them; the log is that of the last. */
static double grow_often(const char *spec, fake *f, double per_row, int n_trees)
{
    lv_policy *p = open_policy(spec, &tree);
    lv_expectation e = { 0 };
    f->candidate = random_candidate;
    sweeps_cost(p, 0.5, per_row);
    for (int i = 0; i < n_trees; i++) CHECK_EQ(grow_tree(p, &tree, f, text, 1, 256, 64), LEVER_OK);
    CHECK(lv_policy_expected(p, &e));
    lv_policy_close(&p);
    lv_tree_fini(&tree);
    return e.tokens / e.seconds;
}

/* Whatever the size of batches: they hold the best candidates there are, so one by one in the order of b. */
static void batches_hold_the_best_candidates(void)
{
    static const char *const specs[] = { "lever:96,1", "lever:96,8,8", "lever:96,5,2", "lever" };
    static const uint32_t most[] = { 1, 8, 5, 64 };
    for (size_t k = 0; k < 4; k++)
        for (uint64_t seed = 1; seed < 20; seed++) {
            static fake f;
            f = draft(0.003, 0.001);
            f.max_rows = 64;
            f.log = notes[0];
            f.seed = seed;
            grow_often(specs[k], &f, 0.001, 3);
            CHECK(f.largest <= most[k]);
            if (k == 0) CHECK_EQ(f.n_calls, f.n_rows);
            if (k == 1 && f.n_calls > 8) CHECK(f.largest == 8 && f.n_rows > 4 * f.n_calls); /* children may be few */
            for (uint32_t i = 1; i < f.n_log; i++) {
                CHECK(f.log[i].value >= f.log[i].left * 0.9999999);
                /* What batch construction leaves for later is no better than what it took. */
                if (k == 0) CHECK(f.log[i].value <= f.log[i - 1].value * 1.0000001);
            }
        }
}

/* Where rows cost the same together as alone, those are evaluated that construction one by one evaluates, and next to
 * no others. Where they are cheaper together, hardly one of them is left out, others come
 * with them, and the tree is worth more. */
static void batches_reach_what_construction_one_by_one_does(void)
{
    static const struct { double call_s, row_s, per_row; } cost[] = {
        { 0, 0.004, 0.002 }, { 0.003, 0.001, 0 }, { 0.003, 0.001, 0.002 }, { 0.004, 0.00001, 0.002 }
    };
    for (size_t c = 0; c < 4; c++) {
        uint32_t serial = 0, lost = 0, extra = 0, calls = 0;
        for (uint64_t seed = 1; seed < 60; seed++) {
            static fake one, some;
            double best;
            one = some = draft(cost[c].call_s, cost[c].row_s);
            one.seed = some.seed = seed;
            one.log = notes[0], some.log = notes[1];
            const double alone = grow_often("lever:96,1", &one, cost[c].per_row, 12);
            const double together = grow_often("lever", &some, cost[c].per_row, 12);
            serial += one.n_log, calls += some.n_calls;
            lost += missing(&one, &some, &best);
            CHECK(best < 0.06);
            extra += missing(&some, &one, &best);
            CHECK(together > alone * 0.99);
        }
        CHECK(lost * 100 < serial);
        if (c == 0) CHECK(extra * 100 < serial);
        else CHECK(extra > 0 && calls < serial / 2);
    }
}

/* Where rows together cost more than one by one, the trees are those of construction one by one, node for node. */
static void dear_batches_are_avoided(void)
{
    for (uint64_t seed = 1; seed < 20; seed++) {
        static fake one, some;
        one = some = draft(-0.003, 0.007); /* 1 row 4 ms, 2 rows 11 ms */
        one.seed = some.seed = seed;
        one.log = notes[0], some.log = notes[1];
        grow_often("lever:96,1", &one, 0.002, 4); /* within these, a batch is tried once or twice */
        grow_often("lever", &some, 0.002, 4);
        CHECK_EQ(some.largest, 1);
        CHECK_EQ(some.n_log, one.n_log);
        for (uint32_t i = 0; i < one.n_log && i < some.n_log; i++) CHECK(one.log[i].path == some.log[i].path);
    }
}

int main(void)
{
    RUN(expected_tokens_are_the_sum_of_path_probabilities);
    RUN(dear_rows_make_small_trees);
    RUN(small_sweeps_are_tried_unless_flash_sets_the_pace);
    RUN(rows_are_free_until_no_one_waits);
    RUN(reads_that_are_not_waited_for_set_no_pace);
    RUN(short_waits_set_no_pace);
    RUN(a_dear_draft_is_asked_seldom);
    RUN(bad_luck_does_not_end_all_trying);
    RUN(batches_hold_the_best_candidates);
    RUN(batches_reach_what_construction_one_by_one_does);
    RUN(dear_batches_are_avoided);
    RUN(what_is_never_right_is_believed_less);
    RUN(the_next_policy_begins_where_the_last_one_ended);
    RUN(the_first_tree_follows_a_profile);
    RUN(repeated_text_gives_free_candidates);
    RUN(free_candidates_are_evaluated_from_the_top);
    RUN(sources_that_agree_share_a_node);
    RUN(texts_that_share_a_sweep_share_its_free_rows);
    RUN(policies_share_what_they_learn);
    return check_done();
}
