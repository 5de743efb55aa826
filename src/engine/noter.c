/* Counting what becomes of the draft's candidates, whatever the policy (spec/acceptance.h).
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"

uint64_t lv_noter_bytes(uint32_t draft_rows)
{
    const uint64_t sets = draft_rows + 1;
    return sets * (LV_ACC_RANKS * sizeof(int32_t) + 2 * sizeof(uint8_t)) + 3 * 64;
}

int lv_noter_open(lv_noter *n, uint32_t draft_rows, lever_error *err)
{
    const size_t sets = (size_t)draft_rows + 1;
    n->candidates = lv_alloc_array(sets * LV_ACC_RANKS, sizeof *n->candidates, 64);
    n->n_candidates = lv_alloc_array(sets, sizeof *n->n_candidates, 64);
    n->class = lv_alloc_array(sets, sizeof *n->class, 64);
    n->n_sets = (uint32_t)sets;
    if (n->candidates && n->n_candidates && n->class) return LEVER_OK;
    return lv_fail(err, LEVER_ENOMEM, 0, "notes on the draft of the session");
}

void lv_noter_close(lv_noter *n)
{
    lv_free(n->candidates);
    lv_free(n->n_candidates);
    lv_free(n->class);
    *n = (lv_noter){ 0 };
}

void lv_noter_forget(lv_noter *n)
{
    if (n->n_candidates) memset(n->n_candidates, 0, n->n_sets);
}

void lv_noter_note(lv_noter *n, const lv_tree_node *node, const int32_t *tokens, const float *probs, uint32_t count)
{
    const uint32_t set = (uint32_t)(node->draft_row + 1);
    if (!n->n_candidates || set >= n->n_sets || count == 0) return;
    n->n_candidates[set] = (uint8_t)(count < LV_ACC_RANKS ? count : LV_ACC_RANKS);
    n->class[set] = (uint8_t)lv_acceptance_class(probs[0]);
    memcpy(n->candidates + (size_t)set * LV_ACC_RANKS, tokens, n->n_candidates[set] * sizeof *tokens);
}

/* Place of a token among the candidates of a set; as many as there are: it is none of them. */
static uint32_t rank_of(const lv_noter *n, uint32_t set, int32_t token)
{
    uint32_t r = 0;
    while (r < n->n_candidates[set] && n->candidates[(size_t)set * LV_ACC_RANKS + r] != token) r++;
    return r;
}

/* Who had proposed what became text; what pruning left. */
static void observe_sources(lv_acceptance *a, const lever_session *s, const lv_cycle *c)
{
    for (uint32_t i = 0; i < c->n_new; i++) {
        const int32_t node = s->path_nodes[i];
        if (node < 0) continue;
        if (s->tree.nodes[node].source == LV_SOURCE_LOOKUP) a->by_lookup += 1;
        else a->by_draft += 1;
    }
    if (!s->prune.decided) return;
    a->pruned_rows += (float)s->tree.n;
    a->pruned_kept += (float)c->n_kept;
}

void lv_noter_observe(const lever_session *s, const lv_cycle *c)
{
    const lv_noter *n = &s->noter;
    if (!n->n_candidates || lv_session_draws(s)) return; /* draws are no ranks */
    lv_acceptance *a =
        &s->engine->acceptances.kind[lv_acceptance_kind(lv_policy_sharpness(c->policy), s->params.temperature)];
    observe_sources(a, s, c);
    bool linked = false; /* the node before was of class `of`, and its candidate `rank` led here */
    uint32_t of = 0, rank = 0;
    for (uint32_t i = 0; i < c->n_new; i++) {
        const int32_t node = i ? s->path_nodes[i - 1] : 0;
        if (node < 0) return;
        const int32_t row = s->tree.nodes[node].draft_row;
        const uint32_t set = (uint32_t)(row + 1);
        if ((node && row < 0) || set >= n->n_sets || !n->n_candidates[set]) return; /* not evaluated */
        const uint32_t class = n->class[set];
        if (i == 0) lv_acceptance_fade(a), lv_acceptance_add_root(a, class);
        else if (linked) lv_acceptance_add_next(a, i - 1, of, rank, class);
        rank = rank_of(n, set, s->tokens[s->n_tokens - c->n_new + i]);
        lv_acceptance_add(a, i, class, n->n_candidates[set], rank);
        linked = rank < n->n_candidates[set];
        of = class;
    }
}
