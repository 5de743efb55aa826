/* Verification rules give exactly the target's distribution: shown by enumeration.
 * SPDX-License-Identifier: MIT */
#include "unit/verify_rig.h"

enum { N_WORLDS = 9 };

static world worlds[N_WORLDS];
static rig r; /* too large for a frame */

static uint64_t rng_state;
static double rng(void) /* 0 .. 1, by splitmix64 */
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Random probabilities of the tokens whose bit is set; steep: most of it on few of them. */
static void random_row(double *row, unsigned tokens, double steep)
{
    double sum = 0;
    for (int t = 0; t < V; t++) sum += row[t] = tokens >> t & 1 ? pow(rng(), steep) + 1e-3 : 0;
    for (int t = 0; t < V; t++) row[t] /= sum;
}

/* Which tokens p and q have, by world; 0: by chance. */
static const unsigned supports[N_WORLDS][2] = {
    { 15, 15 }, { 15, 15 }, /* the second is steep */
    { 15, 5 },              /* q lacks what p has */
    { 6, 15 },              /* p lacks what q has */
    { 12, 3 },              /* nothing in common */
    { 15, 2 },              /* q is certain of one token */
    { 4, 15 },              /* p is */
    { 0, 0 }, { 15, 15 },   /* the last: p is q */
};

static void make_worlds(void)
{
    rng_state = 20251121;
    for (int i = 0; i < N_WORLDS; i++)
        for (int d = 0; d <= DEPTH; d++)
            for (int last = 0; last < V; last++) {
                const unsigned any_p = 1 + (unsigned)(rng() * 15), any_q = 1 + (unsigned)(rng() * 15);
                random_row(worlds[i].p[d][last], supports[i][0] ? supports[i][0] : any_p, i == 1 ? 6 : 1);
                random_row(worlds[i].q[d][last], supports[i][1] ? supports[i][1] : any_q, i == 1 ? 6 : 1);
                if (i == N_WORLDS - 1) memcpy(worlds[i].q[d][last], worlds[i].p[d][last], sizeof(double[V]));
            }
}

static rig *with(int rule, const world *w)
{
    memset(&r, 0, sizeof r);
    r.rule = rule;
    r.again = lv_rule_draws_again(rule);
    r.w = w;
    return &r;
}

static const char *const shapes[] = { "chain:1",  "chain:2",    "chain:3",  "tree:2",     "tree:4",
                                      "tree:3,1", "tree:2,1,1", "tree:1,2", "tree:1,1,2", "sequoia:4,2" };
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void every_rule_keeps_the_distribution(void)
{
    for (int rule = LV_RULE_SPECINFER; rule < LV_RULE_COUNT; rule++) {
        double most = 0, runs = 0;
        for (int i = 0; i < N_WORLDS; i++)
            for (int k = 0; k < N_SHAPES; k++) {
                enumerate(with(rule, &worlds[i]), shapes[k], DEPTH);
                const double error = error_of(&r);
                if (!(error < 1e-12))
                    fprintf(stderr, "%s, %s, world %d: error %g\n", lv_rule_name(rule), shapes[k], i, error);
                CHECK(error < 1e-12);
                most = error > most ? error : most;
                runs += (double)r.n_runs;
            }
        printf("     %s: %.0f outcomes, largest error %.1e\n", lv_rule_name(rule), runs, most);
    }
}

/* Two children with two children each, and DySpec's trees, whose shape depends on the draws before. */
static void wide_and_adaptive_trees_too(void)
{
    static const char *const more[] = { "tree:2,2", "dyspec:2", "dyspec:3", "dyspec:4" };
    uint32_t differ = 0;
    for (int rule = LV_RULE_SPECINFER; rule < LV_RULE_COUNT; rule++)
        for (int i = 0; i < N_WORLDS; i += 2)
            for (int k = 0; k < 4; k++) {
                if (k > 0 && rule == LV_RULE_SPECINFER) continue; /* dyspec does not draw so */
                enumerate(with(rule, &worlds[i]), more[k], 2);
                CHECK(error_of(&r) < 1e-12);
                differ += r.n_runs > 100;
            }
    CHECK(differ > 0);
}

/* ---- the same check finds rules that are wrong ---- */

static void a_forgotten_residual_is_found(void)
{
    for (int rule = LV_RULE_SPECINFER; rule < LV_RULE_COUNT; rule++)
        for (int k = 0; k < N_SHAPES; k++) {
            if (!strcmp(shapes[k], "tree:4")) continue; /* all tokens without replacement: one is accepted */
            with(rule, &worlds[1])->forget_residual = true;
            enumerate(&r, shapes[k], DEPTH);
            CHECK(error_of(&r) > 1e-3);
        }
}

static void merge_draws(rig *g, lv_drawn *d)
{
    uint32_t n = 0;
    bool seen[LV_DIST_MAX] = { false };
    (void)g;
    for (uint32_t i = 0; i < d->n_draws; i++)
        if (!seen[d->draws[i]]) d->draws[n++] = d->draws[i], seen[d->draws[i]] = true;
    d->n_draws = n;
}

static void likeliest_first(rig *g, lv_drawn *d)
{
    (void)g;
    for (uint32_t i = 1; i < d->n_draws; i++)
        for (uint32_t k = i; k > 0 && d->q.items[d->draws[k]].prob > d->q.items[d->draws[k - 1]].prob; k--) {
            const uint8_t place = d->draws[k];
            d->draws[k] = d->draws[k - 1], d->draws[k - 1] = place;
        }
}

static double error_with(int rule, bool again, void (*spoil)(rig *, lv_drawn *), const char *policy)
{
    with(rule, &worlds[1])->again = again;
    r.spoil_draws = spoil;
    enumerate(&r, policy, DEPTH);
    return error_of(&r);
}

static void draws_that_are_not_what_the_rule_thinks_are_found(void)
{
    const int specinfer = LV_RULE_SPECINFER, sequoia = LV_RULE_SEQUOIA, traversal = LV_RULE_TRAVERSAL;
    CHECK(error_with(specinfer, true, merge_draws, "tree:3") > 1e-3); /* repeated draws count */
    CHECK(error_with(specinfer, false, NULL, "tree:3") > 1e-3);
    CHECK(error_with(sequoia, true, NULL, "tree:3") > 1e-3);
    CHECK(error_with(traversal, true, NULL, "tree:2,1") > 1e-3);
    CHECK(error_with(sequoia, false, likeliest_first, "tree:2") > 1e-3);
    CHECK(error_with(traversal, false, likeliest_first, "tree:2") > 1e-3);
}

/* Policies that are refused with these rules choose what to keep by what was drawn. */
static void policies_that_choose_among_draws_are_found(void)
{
    static const char *const choosing[] = { "specexec:2", "eagle2:2,2,3", "opttree:2,0,2",
                                            "edgellm:3,2,0.2,0.3" };
    lever_error e = { 0 };
    for (int k = 0; k < 4; k++) {
        lv_policy *p;
        CHECK_OK(lv_policy_open(&p, choosing[k], &e), &e);
        CHECK_EQ(lv_policy_draws(p), LV_DRAWS_NEVER);
        lv_policy_close(&p);
        CHECK(error_with(LV_RULE_SEQUOIA, false, NULL, choosing[k]) > 1e-3);
        CHECK(error_with(LV_RULE_TRAVERSAL, false, NULL, choosing[k]) > 1e-3);
    }
    CHECK(error_with(LV_RULE_SPECINFER, true, NULL, "dyspec:2") > 1e-5);
}

/* ---- how much is accepted ---- */

static double accepted_with(int rule, int i, const char *policy)
{
    enumerate(with(rule, &worlds[i]), policy, DEPTH);
    return r.accepted;
}

/* Not on every tree: a first child that is a leaf may yield for traversal what a later one with a long
 * subtree would have made more of. None of these shapes has a child with more below it than one before it. */
static void traversal_accepts_most(void)
{
    double sum[LV_RULE_COUNT] = { 0 };
    for (int i = 0; i < N_WORLDS; i++)
        for (int k = 0; k < N_SHAPES; k++) {
            const double s = accepted_with(LV_RULE_SPECINFER, i, shapes[k]);
            const double w = accepted_with(LV_RULE_SEQUOIA, i, shapes[k]);
            const double t = accepted_with(LV_RULE_TRAVERSAL, i, shapes[k]);
            if (!(t > w - 1e-12)) fprintf(stderr, "%s, world %d: %.15g, sequoia %.15g\n", shapes[k], i, t, w);
            CHECK(t > w - 1e-12);
            sum[LV_RULE_SPECINFER] += s, sum[LV_RULE_SEQUOIA] += w, sum[LV_RULE_TRAVERSAL] += t;
        }
    printf("     mean accepted: specinfer %.4f, sequoia %.4f, traversal %.4f\n", sum[1] / N_WORLDS / N_SHAPES,
           sum[2] / N_WORLDS / N_SHAPES, sum[3] / N_WORLDS / N_SHAPES);
    CHECK(sum[LV_RULE_TRAVERSAL] > sum[LV_RULE_SEQUOIA] && sum[LV_RULE_SEQUOIA] > sum[LV_RULE_SPECINFER]);
}

static double at_most_1(double x) { return x < 1 ? x : 1; }

/* For one drawn token every rule is that of Leviathan et al.: accepted with the sum of min(p, q). For a chain
 * of two traversal is block verification: the second with the sum of min(min(p, q) p', q q'). */
static void chains_have_their_closed_forms(void)
{
    for (int i = 0; i < N_WORLDS; i++) {
        double one = 0, two = 0;
        for (int a = 0; a < V; a++) {
            const double p = worlds[i].p[0][0][a], q = worlds[i].q[0][0][a], w = q > 0 ? at_most_1(p / q) : 0;
            one += q * w;
            for (int b = 0; b < V; b++) {
                const double pb = worlds[i].p[1][a][b], qb = worlds[i].q[1][a][b];
                two += qb > 0 ? q * qb * at_most_1(w * pb / qb) : 0;
            }
        }
        for (int rule = LV_RULE_SPECINFER; rule < LV_RULE_COUNT; rule++)
            CHECK(fabs(accepted_with(rule, i, "chain:1") - one) < 1e-12);
        CHECK(fabs(accepted_with(LV_RULE_TRAVERSAL, i, "chain:2") - one - two) < 1e-12);
    }
}

static void equal_models_accept_everything(void)
{
    for (int rule = LV_RULE_SPECINFER; rule < LV_RULE_COUNT; rule++)
        CHECK(fabs(accepted_with(rule, N_WORLDS - 1, "tree:2,1,1") - 3) < 1e-12);
    CHECK(accepted_with(LV_RULE_SPECINFER, 4, "tree:4") < 1e-12); /* nothing in common */
    CHECK(accepted_with(LV_RULE_TRAVERSAL, 4, "tree:4") < 1e-12);
}

/* ---- dice, names ---- */

static void dice_are_fair_and_depend_on_their_numbers_only(void)
{
    lv_dist d = { .items = { { 0.1, 3 }, { 0, 5 }, { 0.6, 8 }, { 0.3, 9 } }, .n = 4 };
    enum { N = 40000 };
    uint32_t picked[4] = { 0 }, yes = 0, both = 0, same = 0;
    for (uint32_t i = 0; i < N; i++) {
        lv_dice a = { .seed = 7, .pos = i / 8, .stream = i % 8 }, b = a, c = a;
        const lv_chance x = lv_dice_chance(&a), y = lv_dice_chance(&b), z = lv_dice_chance(&c);
        const uint32_t first = x.pick(x.user, &d);
        CHECK_EQ(first, y.pick(y.user, &d));
        c.stream += 8;
        same += first == z.pick(z.user, &d);
        picked[first]++;
        const bool is = x.yes(x.user, 0.25);
        yes += is;
        both += is && first == 2;
    }
    const double sd = sqrt(N) / 2; /* at most, of any of these counts */
    CHECK_EQ(picked[1], 0);
    CHECK(fabs(picked[0] - 0.1 * N) < 5 * sd && fabs(picked[2] - 0.6 * N) < 5 * sd);
    CHECK(fabs(yes - 0.25 * N) < 5 * sd && fabs(both - 0.15 * N) < 5 * sd);
    CHECK(fabs(same - (0.01 + 0.36 + 0.09) * N) < 5 * sd);
}

static void draws_without_replacement_end_with_the_tokens(void)
{
    lv_drawn d = { 0 };
    lv_dice dice = { .seed = 1 };
    const lv_chance chance = lv_dice_chance(&dice);
    bool seen[V] = { false };
    fill(&d.q, (const double[V]){ 0.25, 0, 0.5, 0.25 });
    lv_draw(&d, V, false, &chance);
    CHECK_EQ(d.n_draws, 3);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(!seen[d.draws[i]]);
        seen[d.draws[i]] = true;
    }
    CHECK(lv_dist_prob(&d.q, 2) > 0.4999 && lv_dist_prob(&d.q, 1) <= 0); /* q is left as it was */
    lv_draw(&d, LV_DIST_MAX, true, &chance);
    CHECK_EQ(d.n_draws, LV_DIST_MAX);
}

static void rules_have_names(void)
{
    lever_error e = { 0 };
    int rule = -1;
    for (int i = 0; i < LV_RULE_COUNT; i++) {
        CHECK_OK(lv_rule_from_name(&rule, lv_rule_name(i), &e), &e);
        CHECK_EQ(rule, i);
    }
    CHECK_OK(lv_rule_from_name(&rule, NULL, &e), &e);
    CHECK_EQ(rule, LV_RULE_MATCH);
    CHECK_EQ(lv_rule_from_name(&rule, "eagle", &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "'eagle'") && strstr(e.msg, "traversal"));
}

int main(void)
{
    make_worlds();
    RUN(every_rule_keeps_the_distribution);
    RUN(wide_and_adaptive_trees_too);
    RUN(a_forgotten_residual_is_found);
    RUN(draws_that_are_not_what_the_rule_thinks_are_found);
    RUN(policies_that_choose_among_draws_are_found);
    RUN(traversal_accepts_most);
    RUN(chains_have_their_closed_forms);
    RUN(equal_models_accept_everything);
    RUN(dice_are_fair_and_depend_on_their_numbers_only);
    RUN(draws_without_replacement_end_with_the_tokens);
    RUN(rules_have_names);
    return check_done();
}
