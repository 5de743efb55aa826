/* SPDX-License-Identifier: MIT */
#include "policy_rig.h"

#include "spec/sequoia.h"

/* ---- the dynamic program against every tree there is ---- */

typedef struct all_trees {
    const double *p;
    uint32_t n, depth, m;
    double   value[16], best, sum;
    uint32_t children[16], depth_of[16];
} all_trees;

/* Add the next child to one node of the tree so far, in every way. */
static void add_one(all_trees *a)
{
    if (a->sum > a->best) a->best = a->sum;
    if (a->m == a->n) return;
    for (uint32_t u = 0; u < a->m; u++) {
        if (a->depth_of[u] == a->depth) continue;
        const uint32_t v = a->m++;
        a->value[v] = a->value[u] * a->p[a->children[u]++];
        a->depth_of[v] = a->depth_of[u] + 1;
        a->children[v] = 0;
        a->sum += a->value[v];
        add_one(a);
        a->sum -= a->value[v];
        a->children[u]--;
        a->m--;
    }
}

static lv_sequoia tables;

static void random_acceptance(double *p, uint64_t seed)
{
    double left = 1;
    for (uint32_t k = 0; k < LV_SEQUOIA_CHILDREN; k++) {
        p[k] = left * (double)(mix(seed * 100 + k) % 1000) / 1000;
        left -= p[k];
    }
}

static double worth(const lv_sequoia_shape *s, const double *p)
{
    double value[LV_SEQUOIA_NODES] = { 1 }, sum = 1;
    uint32_t next_child[LV_SEQUOIA_NODES] = { 0 };
    for (uint32_t i = 1; i < s->n; i++) {
        value[i] = value[s->parent[i]] * p[next_child[s->parent[i]]++];
        sum += value[i];
    }
    return sum;
}

static bool close_to(double a, double b) { return a > b - 1e-9 && a < b + 1e-9; }

static void no_tree_is_better_than_the_program_says(void)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        double p[LV_SEQUOIA_CHILDREN];
        random_acceptance(p, seed);
        lv_sequoia_solve(&tables, p, 7, 5);
        for (uint32_t depth = 0; depth <= 5; depth++)
            for (uint32_t n = 1; n <= 7; n++) {
                all_trees a = { .p = p, .n = n, .depth = depth, .m = 1, .value = { 1 }, .sum = 1 };
                add_one(&a);
                CHECK(close_to(tables.best[depth][n], a.best));
            }
    }
}

static void the_shape_is_worth_what_the_program_says(void)
{
    lv_sequoia_shape s;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        static const uint32_t sizes[] = { 1, 2, 17, 64, 256 };
        double p[LV_SEQUOIA_CHILDREN];
        random_acceptance(p, seed);
        for (int i = 0; i < 5; i++) {
            lv_sequoia_solve(&tables, p, sizes[i], 9);
            for (uint32_t depth = 0; depth <= 9; depth += 3) {
                lv_sequoia_shape_of(&tables, depth, &s);
                CHECK(s.n >= 1 && s.n <= sizes[i]);
                CHECK(close_to(worth(&s, p), tables.best[depth][sizes[i]]));
                for (uint32_t k = 1; k < s.n; k++) {
                    CHECK(s.parent[k] < k);
                    CHECK(s.depth[k] == s.depth[s.parent[k]] + 1 && s.depth[k] <= depth);
                    CHECK(s.depth[k] >= s.depth[k - 1]); /* level by level */
                }
            }
        }
    }
}

/* ---- the policy ---- */

/* Grow, then let the target choose the child with this index below each of the first n_good nodes. */
static void cycle(lv_policy *p, lv_tree *t, uint32_t child, uint32_t n_good, double draft_s, double sweep_s)
{
    int32_t path[64];
    lv_outcome o = { .tree = t, .path = path, .next = -3, .draft_s = draft_s, .sweep.seconds = sweep_s };
    fake f = { .fail_call = -1, .max_rows = 16, .rows_left = 256, .at_most = 40 };
    CHECK_EQ(grow_tree(p, t, &f, NULL, 0, 256, 64), LEVER_OK);
    for (int32_t at = 0; o.n_path < n_good;) {
        int32_t c = t->nodes[at].first_child;
        for (uint32_t i = 0; i < child && c >= 0; i++) c = t->nodes[c].next_sibling;
        if (c < 0) break;
        path[o.n_path++] = at = c;
    }
    lv_policy_observe(p, &o);
}

static uint32_t n_children(const lv_tree *t, int32_t node)
{
    uint32_t n = 0;
    for (int32_t c = t->nodes[node].first_child; c >= 0; c = t->nodes[c].next_sibling) n++;
    return n;
}

static void it_learns_where_tokens_are_accepted(void)
{
    lv_tree t;
    lv_policy *p = open_policy("sequoia:12,12", &t);
    for (int i = 0; i < 200; i++) cycle(p, &t, 0, 64, 0.01, 0.1); /* the first child, always */
    CHECK_EQ(t.n, 13);
    CHECK_EQ(deepest(&t), 12); /* a chain */
    lv_policy_close(&p);
    lv_tree_fini(&t);

    p = open_policy("sequoia:12,12", &t);
    for (int i = 0; i < 1000; i++) cycle(p, &t, 0, 0, 0.01, 0.1); /* nothing, ever: what was tried is worth little */
    CHECK_EQ(t.n, 13);
    CHECK(n_children(&t, 0) >= 6);
    lv_policy_close(&p);
    lv_tree_fini(&t);
}

static void depth_follows_the_times(void)
{
    int32_t deep[2];
    for (int dear = 0; dear < 2; dear++) {
        lv_tree t;
        lv_policy *p = open_policy("sequoia:31", &t);
        for (int i = 0; i < 100; i++) {
            cycle(p, &t, 0, 3, 0, 0); /* three tokens are accepted */
            lv_outcome o = { .tree = &t, .next = -3, .sweep.seconds = 0.1, .draft_s = dear ? 1.0 : 1e-4 };
            lv_policy_observe(p, &o);
            o.sweep.seconds = -1; /* another tree of the sweep accounts for it */
            for (int k = 0; k < 9; k++) lv_policy_observe(p, &o);
        }
        deep[dear] = deepest(&t);
        lv_policy_close(&p);
        lv_tree_fini(&t);
    }
    CHECK(deep[0] > deep[1]);
    CHECK_EQ(deep[1], 1); /* a level of drafting costs more than a sweep */
}

static void few_candidates_and_rows_leave_a_part_of_the_shape(void)
{
    grown whole = grow_once("sequoia:40,6", 256, 64, (fake){ .fail_call = -1 });
    CHECK_EQ(whole.t.n, 41);
    grown few = grow_once("sequoia:40,6", 256, 64, (fake){ .fail_call = -1, .at_most = 1 });
    CHECK(few.t.n <= 7);
    grown rows = grow_once("sequoia:40,6", 256, 64, (fake){ .fail_call = -1, .rows_left = 2 });
    CHECK(rows.t.n < whole.t.n && rows.t.n > 2);
    lv_tree_fini(&whole.t);
    lv_tree_fini(&few.t);
    lv_tree_fini(&rows.t);
}

int main(void)
{
    RUN(no_tree_is_better_than_the_program_says);
    RUN(the_shape_is_worth_what_the_program_says);
    RUN(it_learns_where_tokens_are_accepted);
    RUN(depth_follows_the_times);
    RUN(few_candidates_and_rows_leave_a_part_of_the_shape);
    return check_done();
}
