/* Tokens per second of a tree policy on a machine with given costs: the policy itself grows trees against a draft and a
 * target that are numbers only (docs/plan.md).
 *
 * With a record of text (spec/acceptance.h) the draft says along it what it said then, and the text goes on as it did;
 * beside it, where nothing was seen, candidates are of the classes that usually follow. All policies go over the same
 * stretches of it. Without one, everything is drawn from rates, and expected tokens of a tree are the sum over its
 * paths, so little is left to chance. Costs are those of plan/speed.h: the policy learns them as it would from a clock.
 * The same input gives the same output.
 * Does not: know models or machines. Threading: pure, but for the memory of a policy. SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_SPEED_POLICY_H
#define LEVER_PLAN_SPEED_POLICY_H

#include "base/error.h"
#include "plan/speed.h"
#include "spec/acceptance.h"

typedef struct lv_speed_input {
    const lv_speed_costs *costs;
    const lv_acceptance_rates *rates;
    const lv_replay *text;  /* what is replayed; NULL or empty: rates only */
    double   target_ratio;  /* weights of the target per weight of the draft */
    double   tokens_factor; /* of expected tokens beyond the first of a cycle; 0 = 1 */
    double   kept;          /* share of rows that pruning leaves, where the policy prunes; 0 = 1 */
    uint32_t draft_batch;   /* rows of one draft batch at most, >= 1 */
    uint32_t max_rows;      /* of a sweep; 0 = as many as the policy wants */
    uint32_t n_tokens;      /* of a text, whose last tree is cut to what is wanted; 0 = texts are long */
    uint32_t n_replayed;    /* tokens of text that count, 0 = 2048; without text a tenth of it, in cycles. A quarter
                             * more are run before */
} lv_speed_input;

typedef struct lv_speed {
    double tokens_per_s;
    double tokens, rows;           /* of a cycle, in the mean */
    double draft_rows, draft_batches;
    double kept;                   /* share of rows that went through all layers */
    lv_speed_parts parts;          /* of a cycle, in the mean */
    enum lv_speed_bound bound;
    uint32_t n_cycles;             /* that were counted */
} lv_speed;

/* policy: as lv_policy_open takes it; one that drafts needs costs with a draft. LEVER_OK; LEVER_EINVAL: an unknown
 * policy, a text of one token, or costs that can not be (lv_speed_costs_valid); LEVER_ENOMEM. */
int lv_speed_of_policy(lv_speed *out, const lv_speed_input *in, const char *policy, lever_error *err);

#endif
