/* Verification by the rules of spec/rules.h: the draft's candidates are true draws, and the rule decides
 * which path of them becomes text. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

/* Streams of dice at one position of the text: the verdict, then the draws below each evaluated node. */
enum { VERDICT, DRAWS };

int lv_rule_check_policy(int rule, const lv_policy *p, lever_error *err)
{
    char names[200];
    const bool again = lv_rule_draws_again(rule);
    if (rule == LV_RULE_MATCH || lv_policy_draws(p) == LV_DRAWS_ANY) return LEVER_OK;
    if (lv_policy_draws(p) == LV_DRAWS_WITHOUT_REPLACEMENT && !again) return LEVER_OK;
    return lv_fail(
        err, LEVER_EINVAL, 0,
        "verification rule '%s' needs candidates that are drawn from the draft%s and kept whatever they "
        "are; policy '%.60s' does not work so: take one of %s, or --verify match",
        lv_rule_name(rule), again ? " with replacement" : "", lv_policy_name(p),
        lv_policy_list_drawing(names, sizeof names, again));
}

int lv_rule_check_sampling(int rule, const lv_sampler_params *p, lever_error *err)
{
    if (rule == LV_RULE_MATCH || !(p->temperature > 0) || (p->top_k >= 1 && p->top_k <= LV_DIST_MAX))
        return LEVER_OK;
    return lv_fail(
        err, LEVER_EINVAL, 0,
        "verification rule '%s' keeps distributions of at most %d tokens: top-k must be from 1 to %d, "
        "not %d",
        lv_rule_name(rule), LV_DIST_MAX, LV_DIST_MAX, p->top_k);
}

uint32_t lv_rule_levels(uint32_t max_nodes) { return max_nodes < LV_LEVELS_MAX ? max_nodes : LV_LEVELS_MAX; }

uint64_t lv_rule_bytes(int rule, uint32_t max_nodes, uint32_t draft_rows)
{
    if (rule == LV_RULE_MATCH) return 0;
    return ((uint64_t)draft_rows + 1) * sizeof(lv_drawn) + lv_rule_levels(max_nodes) * sizeof(lv_level);
}

bool lv_session_draws(const lever_session *s)
{
    return s->engine->rule != LV_RULE_MATCH && s->params.temperature > 0;
}

uint32_t lv_draft_run_draw(lv_draft_run *d, const lv_tree_node *node, const lv_history *h, float *logits,
                           uint32_t k, int32_t *tokens, float *probs)
{
    lever_session *s = d->session;
    const uint32_t slot = (uint32_t)(node->draft_row + 1);
    lv_drawn *o = &d->drawn[slot];
    lv_dice dice = { .seed = s->params.seed, .pos = s->n_tokens, .stream = DRAWS + slot };
    const lv_chance chance = lv_dice_chance(&dice);
    bool seen[LV_DIST_MAX] = { false };
    uint32_t n = 0;
    lv_sampler_distribution(s->sampler, logits, h, &o->q);
    lv_draw(o, k, lv_rule_draws_again(s->engine->rule), &chance);
    for (uint32_t i = 0; i < o->n_draws; i++) {
        const uint8_t place = o->draws[i];
        if (seen[place]) continue;
        seen[place] = true;
        tokens[n] = o->q.items[place].token;
        probs[n++] = (float)o->q.items[place].prob;
    }
    return n;
}

static int target_distribution(void *user, int32_t node, lv_dist *p, lever_error *err)
{
    lever_session *s = user;
    float *logits;
    LEVER_TRY(lv_session_node_logits(s, node, &logits, err));
    const lv_history h = lv_draft_run_history(&s->draft, &s->tree, node);
    lv_sampler_distribution(s->sampler, logits, &h, p);
    return LEVER_OK;
}

int lv_session_decide(lever_session *s, uint32_t *n_path, int32_t *next, lever_error *err)
{
    lv_dice dice = { .seed = s->params.seed, .pos = s->n_tokens, .stream = VERDICT };
    const lv_verification v = { .rule = s->engine->rule, .tree = &s->tree, .drawn = s->draft.drawn,
                                .levels = s->levels, .target = target_distribution, .user = s,
                                .chance = lv_dice_chance(&dice) };
    return lv_verify_tree(&v, s->path_nodes, n_path, next, err);
}
