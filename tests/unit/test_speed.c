/* Predicted seconds and tokens: against cases computed by hand, against the formula for chains of METHODS.md section 2,
 * and what must hold for any costs. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "plan/speed.h"
#include "plan/speed_policy.h"

static bool near(double a, double b, double part) { return fabs(a - b) <= part * (1e-12 + fabs(b)); }

static lv_rows_curve flat(double value)
{
    lv_rows_curve c = { 0 };
    lv_curve_add(&c, 1, value);
    return c;
}

/* `fixed` and so much more a row. */
static lv_rows_curve line(double fixed, double per_row)
{
    lv_rows_curve c = { 0 };
    lv_curve_add(&c, 1, fixed + per_row);
    lv_curve_add(&c, 256, fixed + 256 * per_row);
    return c;
}

/* Ten layers of 0.1 s; every class alike, and only the best candidate ever right. */
static lv_speed_costs resident(double draft_s)
{
    return (lv_speed_costs){ .n_layers = 10, .sweep = flat(1), .draft = flat(draft_s) };
}

static lv_acceptance_rates rates; /* too large for frames */

static const lv_acceptance_rates *constant(double alpha)
{
    lv_acceptance_rates *r = &rates;
    memset(r, 0, sizeof *r);
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
        r->start[c] = 1.0 / LV_ACC_CLASSES;
        r->hit[c][0] = alpha;
        for (uint32_t n = 0; n < LV_ACC_CLASSES; n++) r->next[c][0][n] = r->next[c][1][n] = r->start[c];
    }
    return r;
}

static lv_speed predict(const lv_speed_costs *c, const lv_acceptance_rates *r, const char *policy)
{
    lever_error e = { 0 };
    lv_speed s;
    const lv_speed_input in = { .costs = c, .rates = r, .target_ratio = 10, .draft_batch = 16 };
    CHECK_OK(lv_speed_of_policy(&s, &in, policy, &e), &e);
    return s;
}

/* ---- one cycle, by hand ---- */

static void curves_are_straight_between_points_and_go_on(void)
{
    lv_rows_curve c = { 0 };
    CHECK(lv_curve_at(&c, 3, 7) == 7);
    CHECK(lv_curve_add(&c, 2, 10) && lv_curve_add(&c, 4, 20) && lv_curve_add(&c, 8, 24));
    CHECK(lv_curve_at(&c, 1, 0) == 10 && near(lv_curve_at(&c, 3, 0), 15, 1e-9));
    CHECK(near(lv_curve_at(&c, 6, 0), 22, 1e-9) && near(lv_curve_at(&c, 16, 0), 32, 1e-9));
    for (uint32_t i = 3; i < LV_CURVE_POINTS; i++) CHECK(lv_curve_add(&c, 100 + i, 30));
    CHECK(!lv_curve_add(&c, 1000, 30));
}

static void a_layer_takes_the_longer_of_reads_and_products(void)
{
    lv_speed_costs c = { .n_layers = 4, .sweep = flat(0.4), .streamed_bytes = 4e6, .flash_bytes_s = 5e6 };
    const lv_speed_work w = { .rows = 1, .kept = 1, .tokens = 1 };
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p); /* reads 0.2 s a layer, products 0.1 s */
    CHECK(near(p.cycle_s, 0.8, 1e-9) && near(p.wait_s, 0.4, 1e-9) && lv_speed_bound(&p) == LV_BOUND_FLASH);
    c.flash_bytes_s = 2e7; /* reads 0.05 s */
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.cycle_s, 0.4, 1e-9) && p.wait_s < 1e-9 && lv_speed_bound(&p) == LV_BOUND_COMPUTE);
}

/* Two layers wholly in memory, two streamed: without a ring the last two wait, with one their bytes are there. */
static void the_ring_carries_work_across_layers(void)
{
    const double bytes[4] = { 0, 0, 2e6, 2e6 };
    lv_speed_costs c = { .n_layers = 4, .sweep = flat(0.4), .streamed_bytes = 4e6, .layer_bytes = bytes,
                         .flash_bytes_s = 1e7 };
    const lv_speed_work w = { .rows = 1, .kept = 1, .tokens = 1 };
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.cycle_s, 0.1 + 0.1 + 0.2 + 0.2, 1e-9));
    c.ring_bytes = 2e6; /* 0.2 s of reads under the first two layers */
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.cycle_s, 0.1 + 0.1 + 0.1 + 0.1, 1e-9));
    c.ring_bytes = 5e5;
    lv_speed_steady(&c, &w, &p); /* 0.05 s of reads ahead */
    CHECK(near(p.cycle_s, 0.1 + 0.1 + 0.15 + 0.2, 1e-9));
}

static void reads_go_on_while_the_draft_runs_as_far_as_the_ring_has_room(void)
{
    lv_speed_costs c = { .n_layers = 4, .sweep = flat(0.04), .streamed_bytes = 4e6, .flash_bytes_s = 1e7 };
    lv_speed_work w = { .draft_s = 0.1, .rows = 1, .kept = 1, .tokens = 1 };
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.draft_s, 0.1, 1e-9) && near(p.sweep_s, 0.4, 1e-9));
    c.ring_bytes = 5e5; /* 0.05 s of the 0.1 s; after it the ring is full */
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.sweep_s, 0.35, 1e-9));
    c.ring_bytes = 1e9; /* 0.1 s of them, but not more than were read */
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.sweep_s, 0.3, 1e-9) && near(p.cycle_s, 0.4, 1e-9));
}

static void reads_slow_draft_batches_by_their_rows(void)
{
    lv_speed_costs c = { .n_layers = 1, .sweep = flat(0.1), .streamed_bytes = 1e6, .flash_bytes_s = 1e6,
                         .ring_bytes = 5e5 };
    lv_speed_work w = { .draft_s = 0.1, .rows = 1, .kept = 1, .tokens = 1 };
    lv_curve_add(&c.products_beside, 1, 1);
    lv_curve_add(&c.products_beside, 11, 2);
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.draft_s, 0.1, 1e-9));
    w.draft_rows = 6;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.draft_s, 0.15, 1e-9));
}

static void products_and_reads_slow_each_other_only_while_both_run(void)
{
    lv_speed_costs c = { .n_layers = 1, .sweep = flat(0.4), .streamed_bytes = 1e6, .flash_bytes_s = 1e7,
                         .products_beside = flat(2) };
    const lv_speed_work w = { .rows = 1, .kept = 1, .tokens = 1 };
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p); /* 0.1 s beside reads does 0.05 s of products */
    CHECK(near(p.cycle_s, 0.1 + 0.35, 1e-9));
    c.flash_bytes_s = 1e6, c.flash_beside = flat(0.5);
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.cycle_s, 0.8 + 0.6, 1e-9)); /* 0.4 of the reads beside products, the others at full speed */
}

static void rows_that_pruning_drops_skip_the_upper_layers(void)
{
    const lv_speed_costs c = { .n_layers = 10, .sweep = line(0, 0.01), .exit_layer = 4 };
    const lv_speed_work w = { .rows = 20, .kept = 0.25, .tokens = 1 };
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.sweep_s, 0.4 * 0.20 + 0.6 * 0.05, 1e-9));
}

static void projection_and_a_streamed_head(void)
{
    lv_speed_costs c = { .n_layers = 1, .sweep = flat(0.1), .project = line(0.01, 0.001), .pick_s = 0.002 };
    const lv_speed_work w = { .rows = 5, .kept = 1, .tokens = 3, .head_passes = 2, .head_rows = 4 };
    lv_speed_parts p;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.project_s, 2 * 0.014 + 3 * 0.002, 1e-9));
    c.head_bytes = 1e6, c.flash_bytes_s = 1e7;
    lv_speed_steady(&c, &w, &p);
    CHECK(near(p.project_s, 0.1 + 0.006, 1e-9));
}

/* ---- chains and trees ---- */

static void tokens_of_chains(void)
{
    const double p[3] = { 0.8, 0.5, 0.25 };
    CHECK(near(lv_speed_chain_tokens(p, 0), 1, 1e-12));
    CHECK(near(lv_speed_chain_tokens(p, 3), 1 + 0.8 + 0.4 + 0.1, 1e-12));
}

static void chains_with_constant_costs_are_the_published_formula(void)
{
    for (double alpha = 0.2; alpha < 0.95; alpha += 0.3)
        for (uint32_t g = 1; g <= 8; g += 3)
            for (double c = 0.02; c < 1; c += 0.3) {
                const double published = (1 - pow(alpha, g + 1)) / ((1 - alpha) * (g * c + 1));
                CHECK(near(lv_speedup_of_chain(alpha, g, c), published, 1e-9));
                const lv_speed_costs costs = resident(c);
                const lv_acceptance_rates *r = constant(alpha);
                char policy[16];
                snprintf(policy, sizeof policy, "chain:%u", g);
                const double plain = predict(&costs, r, "none").tokens_per_s;
                const double ratio = predict(&costs, r, policy).tokens_per_s / plain;
                CHECK(near(ratio, published, 1e-6));
            }
}

static void a_tree_of_known_rates_by_hand(void)
{
    const lv_acceptance_rates *r = constant(0.5);
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) rates.hit[c][1] = 0.25;
    const lv_speed_costs c = resident(0.1);
    const lv_speed s = predict(&c, r, "tree:2,1"); /* 1 + (0.5 + 0.25)(1 + 0.5) */
    CHECK(near(s.tokens, 2.125, 1e-6) && near(s.rows, 5, 1e-9));
    CHECK(near(s.draft_batches, 2, 1e-9) && near(s.parts.draft_s, 0.2, 1e-9));
}

/* ---- replaying text ---- */

static lv_replay text;

/* The draft's best is right so many times, then the second candidate once, and so on. */
static void write_text(uint32_t n, uint32_t right, uint32_t class)
{
    text.n = n;
    for (uint32_t i = 0; i < n; i++) {
        text.at[i].class = (uint8_t)class;
        text.at[i].rank = i % (right + 1) == right;
    }
}

static lv_speed replayed(const lv_speed_costs *c, const lv_acceptance_rates *r, const char *policy)
{
    lever_error e = { 0 };
    lv_speed s;
    const lv_speed_input in = { .costs = c, .rates = r, .text = &text, .target_ratio = 10, .draft_batch = 16 };
    CHECK_OK(lv_speed_of_policy(&s, &in, policy, &e), &e);
    return s;
}

/* Three right, one wrong: by hand. A tree with the second candidate takes what a chain does not. */
static void a_replayed_text_goes_on_as_it_did(void)
{
    const lv_acceptance_rates *r = constant(0.7);
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) rates.hit[c][1] = 0.2;
    const lv_speed_costs c = resident(0.1);
    write_text(4000, 3, 4);
    CHECK(near(replayed(&c, r, "chain:3").tokens, 4, 1e-9)); /* begins anew after every miss */
    CHECK(near(replayed(&c, r, "chain:8").tokens, 4, 1e-9));
    CHECK(near(replayed(&c, r, "chain:1").tokens, 2, 1e-9));
    CHECK(near(replayed(&c, r, "tree:2,1").tokens, 8.0 / 3, 0.01)); /* 3, 3, 2 */
    CHECK(near(replayed(&c, r, "none").tokens, 1, 1e-9));
}

/* As many tokens are right, but one after the other: chains win by being longer. */
static void easy_stretches_are_kept(void)
{
    const lv_acceptance_rates *r = constant(0.75);
    const lv_speed_costs c = resident(0.01);
    write_text(4096, 3, 4);
    CHECK(near(replayed(&c, r, "chain:8").tokens, replayed(&c, r, "chain:3").tokens, 1e-9));
    for (uint32_t i = 0; i < text.n; i++) text.at[i].rank = i % 128 < 96 ? 0 : 1;
    CHECK(near(replayed(&c, r, "chain:3").tokens, 128.0 / (96 / 4 + 32), 0.02));
    CHECK(near(replayed(&c, r, "chain:8").tokens, 128.0 / (96 / 9 + 32), 0.02));
}

/* Shorter than what is replayed: gone through again and again. */
static void a_short_text_is_gone_through_again(void)
{
    const lv_acceptance_rates *r = constant(0.7);
    const lv_speed_costs c = resident(0.1);
    for (uint32_t n = 1; n < 200; n += 13) {
        write_text(n, 500, 4);
        CHECK(near(replayed(&c, r, "chain:4").tokens, 5, 1e-9)); /* all is right */
        for (uint32_t i = 0; i < n; i++) text.at[i].rank = LV_ACC_RANKS;
        CHECK(near(replayed(&c, r, "chain:4").tokens, 1, 1e-9));
    }
}

static void the_same_text_gives_the_same_number(void)
{
    const lv_acceptance_rates *r = constant(0.7);
    const lv_speed_costs c = { .n_layers = 20, .sweep = line(0.1, 0.001), .draft = line(0.005, 0.0005),
                               .streamed_bytes = 1e9, .flash_bytes_s = 1e9, .ring_bytes = 1e8 };
    write_text(3000, 7, 5);
    const lv_speed once = replayed(&c, r, "lever"), again = replayed(&c, r, "lever");
    CHECK(once.tokens_per_s == again.tokens_per_s && once.tokens > 4 && once.tokens_per_s > 0);
}

/* ---- parts of a cycle ---- */

/* After a sweep of the target the draft's first batch finds other caches. */
static void the_first_batch_of_a_draft_takes_longer(void)
{
    lv_speed_costs c = resident(0.1);
    c.draft_first_s = 0.3;
    CHECK(near(predict(&c, constant(0.5), "chain:2").parts.draft_s, 0.3 + 2 * 0.1, 1e-6));
    CHECK(near(predict(&c, constant(0.5), "none").parts.draft_s, 0, 1e-6));
}

/* Of a chain that was right to its end, the last token comes to the draft with the root of the next. */
static void the_draft_reads_what_it_has_not_evaluated(void)
{
    lv_speed_costs c = resident(0);
    c.draft = line(0, 0.01), c.candidates_s = 0.001;
    lv_speed s = predict(&c, constant(1), "chain:3");
    CHECK(near(s.draft_rows, 2 + 1 + 1, 1e-6) && near(s.draft_batches, 3, 1e-6));
    CHECK(near(s.parts.draft_s, 0.04 + 3 * 0.001, 1e-6)); /* candidates of nodes, not of rows of text */
    s = predict(&c, constant(0), "chain:3");
    CHECK(near(s.draft_rows, 3, 1e-6) && near(s.parts.draft_s, 0.03 + 3 * 0.001, 1e-6));
}

/* Four nodes at once, as far as the text goes. */
static void the_head_is_multiplied_as_often_as_the_text_needs(void)
{
    lv_speed_costs c = resident(0.1);
    c.project = flat(0.01);
    CHECK(near(predict(&c, constant(1), "chain:3").parts.project_s, 0.01, 1e-6));
    CHECK(near(predict(&c, constant(1), "chain:8").parts.project_s, 0.03, 1e-6));
    CHECK(near(predict(&c, constant(0.5), "chain:6").parts.project_s, 0.01 * (1 + 0.0625), 1e-6));
    CHECK(near(predict(&c, constant(0.5), "none").parts.project_s, 0.01, 1e-6));
}

/* A draft that is always right, 4 tokens a cycle, answers of 10: 4 come with the prompt, then 4, then 2. */
static void the_last_tree_of_a_short_text_is_cut(void)
{
    const lv_speed_costs c = resident(0.1);
    lever_error e = { 0 };
    lv_speed s;
    lv_speed_input in = { .costs = &c, .rates = constant(1), .target_ratio = 10, .draft_batch = 16, .n_tokens = 10 };
    CHECK_OK(lv_speed_of_policy(&s, &in, "chain:3", &e), &e);
    CHECK(near(s.tokens, 3, 1e-6) && near(s.rows, 3, 1e-6) && near(s.parts.draft_s, 0.2, 1e-6));
    in.n_tokens = 1;
    CHECK_EQ(lv_speed_of_policy(&s, &in, "chain:3", &e), LEVER_EINVAL);
}

static void speculation_that_does_not_pay_is_slower(void)
{
    const lv_speed_costs slow = resident(2), fast = resident(0.01);
    const lv_acceptance_rates *r = constant(0.7);
    CHECK(predict(&slow, r, "chain:4").tokens_per_s < predict(&slow, r, "none").tokens_per_s);
    CHECK(predict(&slow, r, "chain:4").bound == LV_BOUND_DRAFT);
    CHECK(predict(&fast, r, "chain:4").tokens_per_s > 2 * predict(&fast, r, "none").tokens_per_s);
}

/* Rows are free under reads, so the policy takes many; where they cost, few. */
static void lever_follows_the_costs(void)
{
    const lv_acceptance_rates *r = &rates;
    lv_acceptance_get_rates(&rates, NULL);
    lv_speed_costs c = { .n_layers = 20, .sweep = line(0.1, 0.001), .draft = line(0.005, 0.0005),
                         .streamed_bytes = 1e9, .flash_bytes_s = 1e9, .ring_bytes = 1e8 };
    const lv_speed streamed = predict(&c, r, "lever");
    c.streamed_bytes = 0, c.sweep = line(0.01, 0.05);
    const lv_speed dear = predict(&c, r, "lever");
    CHECK(streamed.rows > 3 * dear.rows && streamed.tokens > 1.3 * dear.tokens);
    CHECK(streamed.bound == LV_BOUND_FLASH && dear.bound == LV_BOUND_COMPUTE);
    const lv_speed again = predict(&c, r, "lever");
    CHECK(again.tokens_per_s == dear.tokens_per_s);
}

/* ---- what holds for any costs ---- */

static void more_memory_is_never_slower(void)
{
    static const char *const policies[] = { "none", "chain:4", "tree:2,2" };
    const lv_acceptance_rates *r = constant(0.7);
    for (int i = 0; i < 3; i++) {
        double before = 0;
        for (double share = 1; share >= 0; share -= 0.0625) {
            const lv_speed_costs c = { .n_layers = 12, .sweep = line(0.2, 0.004), .draft = flat(0.01),
                                       .streamed_bytes = share * 2e9, .flash_bytes_s = 2e9, .ring_bytes = 5e7,
                                       .products_beside = flat(1.2), .flash_beside = flat(0.9) };
            const double now = predict(&c, r, policies[i]).tokens_per_s;
            CHECK(now >= before * (1 - 1e-9));
            before = now;
        }
        for (double ring = 0; ring < 1e9; ring = ring * 2 + 1e6) {
            const lv_speed_costs c = { .n_layers = 12, .sweep = line(0.2, 0.004), .draft = flat(0.01),
                                       .streamed_bytes = 1e9, .flash_bytes_s = 2e9, .ring_bytes = ring };
            const double now = predict(&c, r, policies[i]).tokens_per_s;
            CHECK(ring == 0 || now >= before * (1 - 1e-9));
            before = now;
        }
    }
}

static void impossible_costs_are_refused(void)
{
    const lv_acceptance_rates *r = constant(0.7);
    const lv_speed_costs good = { .n_layers = 2, .sweep = flat(1), .draft = flat(1), .streamed_bytes = 1,
                                  .flash_bytes_s = 1e6, .ring_bytes = 1 };
    CHECK(lv_speed_costs_valid(&good));
    static lv_speed_costs bad[14]; /* too large for a frame */
    for (int i = 0; i < 14; i++) bad[i] = good;
    bad[0].n_layers = 0;
    bad[1].sweep.n = 0;
    bad[2].flash_bytes_s = 0;
    bad[3].flash_bytes_s = NAN;
    bad[4].sweep.value[0] = NAN;
    bad[5].sweep.value[0] = -1;
    bad[6].draft.value[0] = INFINITY;
    bad[7].draft.rows[0] = 0;
    bad[8].streamed_bytes = -1;
    bad[9].ring_bytes = NAN;
    bad[10].products_beside = flat(0.5);
    bad[11].flash_beside = flat(0);
    bad[12].exit_layer = 3;
    bad[13].draft_first_s = -1;
    for (int i = 0; i < 14; i++) {
        lever_error e = { 0 };
        lv_speed s;
        const lv_speed_input in = { .costs = &bad[i], .rates = r, .draft_batch = 16 };
        CHECK_EQ(lv_speed_of_policy(&s, &in, "none", &e), LEVER_EINVAL);
        CHECK(strstr(e.msg, "profile") != NULL);
    }
    lever_error e = { 0 };
    lv_speed s;
    lv_speed_costs no_draft = good;
    no_draft.draft.n = 0;
    const lv_speed_input in = { .costs = &no_draft, .rates = r, .draft_batch = 16 };
    CHECK_EQ(lv_speed_of_policy(&s, &in, "chain:2", &e), LEVER_EINVAL);
    CHECK_EQ(lv_speed_of_policy(&s, &in, "nonsense", &e), LEVER_EINVAL);
}

/* Costs of zero are no reason to divide by it. */
static void free_parts_are_fine(void)
{
    const lv_speed_costs c = { .n_layers = 1, .sweep = flat(0), .draft = flat(0) };
    const lv_acceptance_rates *r = constant(0.7);
    static const char *const policies[] = { "none", "chain:4", "lever", "opttree", "sequoia", "edgellm" };
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        const lv_speed s = predict(&c, r, policies[i]);
        CHECK(isfinite(s.tokens_per_s) && isfinite(s.tokens) && s.tokens >= 1);
    }
}

int main(void)
{
    RUN(curves_are_straight_between_points_and_go_on);
    RUN(a_layer_takes_the_longer_of_reads_and_products);
    RUN(the_ring_carries_work_across_layers);
    RUN(reads_go_on_while_the_draft_runs_as_far_as_the_ring_has_room);
    RUN(reads_slow_draft_batches_by_their_rows);
    RUN(products_and_reads_slow_each_other_only_while_both_run);
    RUN(rows_that_pruning_drops_skip_the_upper_layers);
    RUN(projection_and_a_streamed_head);
    RUN(tokens_of_chains);
    RUN(chains_with_constant_costs_are_the_published_formula);
    RUN(a_tree_of_known_rates_by_hand);
    RUN(a_replayed_text_goes_on_as_it_did);
    RUN(easy_stretches_are_kept);
    RUN(a_short_text_is_gone_through_again);
    RUN(the_same_text_gives_the_same_number);
    RUN(the_first_batch_of_a_draft_takes_longer);
    RUN(the_draft_reads_what_it_has_not_evaluated);
    RUN(the_head_is_multiplied_as_often_as_the_text_needs);
    RUN(the_last_tree_of_a_short_text_is_cut);
    RUN(speculation_that_does_not_pay_is_slower);
    RUN(lever_follows_the_costs);
    RUN(more_memory_is_never_slower);
    RUN(impossible_costs_are_refused);
    RUN(free_parts_are_fine);
    return check_done();
}
