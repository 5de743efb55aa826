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

/* What pruning left. */
static void observe_pruning(lv_acceptance *a, const lever_session *s, const lv_cycle *c)
{
    if (!s->prune.decided) return;
    a->pruned_rows += (float)s->tree.n;
    a->pruned_kept += (float)c->n_kept;
}

static lv_acceptance *record_of(const lever_session *s) { return &s->engine->acceptances.kind[s->noter.kind]; }

void lv_noter_flush(lever_session *s)
{
    lv_noter *n = &s->noter;
    lv_acceptance_add(record_of(s), n->text, n->n_text);
    n->n_text = 0;
    n->n_unknown = 0;
}

uint32_t lv_noter_wants(lever_session *s)
{
    const uint32_t most = s->draft.logit_rows - 1;
    return s->noter.n_unknown < most ? s->noter.n_unknown : most;
}

void lv_noter_tell(lever_session *s, uint32_t before, const int32_t *tokens, const float *probs, uint32_t count)
{
    lv_noter *n = &s->noter;
    if (count == 0) return;
    if (count > LV_ACC_RANKS) count = LV_ACC_RANKS;
    uint32_t rank = 0;
    while (rank < count && tokens[rank] != s->tokens[s->n_tokens - before]) rank++;
    n->text[n->n_text - before] = (lv_said){ .known = 1, .class = lv_acceptance_class(probs[0]) & 7,
                                        .n = count & 15, .rank = rank & 15 };
}

/* What the draft had said at a node of the tree about this token. */
static lv_said said_at(const lever_session *s, int32_t node, int32_t token)
{
    const lv_noter *n = &s->noter;
    const int32_t row = node < 0 ? -1 : s->tree.nodes[node].draft_row;
    const uint32_t set = (uint32_t)(row + 1);
    if (node < 0 || (node && row < 0) || set >= n->n_sets || !n->n_candidates[set]) return (lv_said){ 0 };
    return (lv_said){ .known = 1, .class = n->class[set] & 7, .n = n->n_candidates[set] & 15,
                      .rank = rank_of(n, set, token) & 15 };
}

/* Was a token of text in the tree, and could the draft have proposed it? Where it was not asked, it could. */
static void observe_source(lv_acceptance *a, int32_t node, lv_said said)
{
    if (node < 0) return;
    if (said.known && said.rank == said.n) a->by_lookup += 1;
    else a->by_draft += 1;
}

void lv_noter_observe(lever_session *s, const lv_cycle *c)
{
    lv_noter *n = &s->noter;
    n->n_unknown = 0;
    if (!n->n_candidates || !n->n_candidates[0] || lv_session_draws(s)) { /* nothing was drafted; draws are no ranks */
        lv_noter_flush(s);
        return;
    }
    const uint32_t kind = lv_acceptance_kind(lv_policy_sharpness(c->policy), s->params.temperature);
    if (kind != n->kind || n->n_text + c->n_new > LV_NOTER_TEXT) lv_noter_flush(s);
    n->kind = kind;
    lv_acceptance_fade(record_of(s));
    observe_pruning(record_of(s), s, c);
    record_of(s)->n_seen += c->n_new;
    if (!lv_acceptance_records(record_of(s))) {
        lv_noter_flush(s);
        return;
    }
    for (uint32_t i = 0; i < c->n_new && n->n_text < LV_NOTER_TEXT; i++) {
        const lv_said said = said_at(s, i ? s->path_nodes[i - 1] : 0, s->tokens[s->n_tokens - c->n_new + i]);
        observe_source(record_of(s), s->path_nodes[i], said);
        n->text[n->n_text++] = said;
        n->n_unknown += !said.known;
    }
}
