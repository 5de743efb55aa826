/* The draft model's side of a cycle. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <string.h>

/* Takes over what was drafted beside the last sweep, unless that is NULL. */
static bool draft_know(lv_draft_run *d, lv_tree_node *node, const lv_ahead_list *list)
{
    if (!list) return false;
    node->draft_slot = (int32_t)(d->logit_rows + d->n_known);
    d->known[d->n_known++] = list;
    return true;
}

/* Was the node evaluated beside the last sweep? Then it has its row already. */
static bool draft_take(lv_draft_run *d, lv_tree *t, int32_t id)
{
    lv_tree_node *node = &t->nodes[id];
    lv_ahead *a = d->session->ahead;
    if (id == 0) return draft_know(d, node, lv_ahead_take_root(a));
    const int32_t parent = node->parent == 0 ? -1 : t->nodes[node->parent].draft_row;
    return draft_know(d, node, lv_ahead_take_node(a, parent, node->token, &node->draft_row));
}

/* For the record only. */
static void tell_before(lv_draft_run *d)
{
    lever_session *s = d->session;
    int32_t tokens[LV_ACC_RANKS];
    float probs[LV_ACC_RANKS];
    for (uint32_t i = 1; i <= d->request.n_before; i++) {
        const lv_history h = { .tokens = s->tokens, .n_tokens = s->n_tokens - i };
        float *logits = d->logits + (size_t)i * d->n_vocab;
        const uint32_t n = lv_sampler_candidates(s->sampler, logits, &h, LV_ACC_RANKS, d->sharpness, tokens, probs);
        lv_noter_tell(s, i, tokens, probs, n);
    }
}

static int draft_expand(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost,
                        lever_error *err)
{
    lv_draft_run *d = user;
    lever_session *s = d->session;
    const lv_cycle *c = &s->run.cycle;
    for (uint32_t i = 0; i < t->n; i++) t->nodes[i].draft_slot = -1;
    uint32_t n_left = 0;
    d->n_known = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!draft_take(d, t, ids[i])) d->left[n_left++] = ids[i];
    *cost = (lv_cost){ .ready = n - n_left };
    if (n_left == 0) return LEVER_OK;
    d->request = (lv_draft_request){ .tree = t, .ids = d->left, .n = n_left,
                                     .n_before = d->left[0] == 0 ? lv_noter_wants(s) : 0 };
    if (c->learner) lv_policy_share(c->learner, c->policy);
    if (s->in_turns) lv_turns_wait(s->turns); /* served with what others want */
    else lv_draft_serve(s->engine, &d, 1);
    if (c->learner) lv_policy_share(c->policy, c->learner);
    if (d->request.rc < 0) {
        if (err) *err = d->request.err;
        return d->request.rc;
    }
    tell_before(d);
    lv_draft_run_tell_others(d);
    *cost = d->request.cost;
    cost->ready = n - n_left;
    return LEVER_OK;
}

lv_history lv_draft_run_history(lv_draft_run *d, const lv_tree *t, int32_t id)
{
    const lever_session *s = d->session;
    const uint32_t depth = (uint32_t)t->nodes[id].depth;
    for (int32_t v = id, at = (int32_t)depth; at > 0; v = t->nodes[v].parent)
        d->path[--at] = t->nodes[v].token;
    return (lv_history){ .tokens = s->tokens, .n_tokens = s->n_tokens, .path = d->path, .n_path = depth };
}

/* The k best of a list, noted for those who compare. */
static uint32_t draft_known(lv_draft_run *d, const lv_tree_node *node, const lv_ahead_list *list, uint32_t k,
                            int32_t *tokens, float *probs)
{
    lever_session *s = d->session;
    const uint32_t n = k < list->n ? k : list->n;
    const uint32_t noted = list->n < LV_EXIT_CANDIDATES || n > LV_EXIT_CANDIDATES ? n : LV_EXIT_CANDIDATES;
    lv_pruner_note(&s->prune, node, list->tokens, list->probs, noted, d->sharpness);
    lv_noter_note(&s->noter, node, list->tokens, list->probs, noted);
    lv_ahead_note(s->ahead, node, list->tokens, list->probs, noted);
    memcpy(tokens, list->tokens, n * sizeof *tokens);
    memcpy(probs, list->probs, n * sizeof *probs);
    return n;
}

static uint32_t draft_candidates(void *user, lv_tree *t, int32_t id, uint32_t k, int32_t *tokens,
                                 float *probs)
{
    lv_draft_run *d = user;
    lever_session *s = d->session;
    const int32_t slot = t->nodes[id].draft_slot;
    if (slot < 0) return 0;
    lv_ahead_asked(s->ahead, k);
    if (slot >= (int32_t)d->logit_rows) {
        t->nodes[id].draft_slot = -1;
        return draft_known(d, &t->nodes[id], d->known[slot - (int32_t)d->logit_rows], k, tokens, probs);
    }
    const lv_history h = lv_draft_run_history(d, t, id);
    float *logits = d->logits + (size_t)slot * d->n_vocab;
    t->nodes[id].draft_slot = -1; /* the sampler overwrites them */
    if (lv_session_draws(s)) return lv_draft_run_draw(d, &t->nodes[id], &h, logits, k, tokens, probs);
    if (!s->engine->exit || k >= LV_EXIT_CANDIDATES) {
        const uint32_t n = lv_sampler_candidates(s->sampler, logits, &h, k, d->sharpness, tokens, probs);
        lv_pruner_note(&s->prune, &t->nodes[id], tokens, probs, n, d->sharpness);
        lv_noter_note(&s->noter, &t->nodes[id], tokens, probs, n);
        lv_ahead_note(s->ahead, &t->nodes[id], tokens, probs, n);
        return n;
    }
    int32_t more[LV_EXIT_CANDIDATES]; /* those beyond k only serve to compare with */
    float more_probs[LV_EXIT_CANDIDATES];
    const uint32_t n =
        lv_sampler_candidates(s->sampler, logits, &h, LV_EXIT_CANDIDATES, d->sharpness, more, more_probs);
    lv_pruner_note(&s->prune, &t->nodes[id], more, more_probs, n, d->sharpness);
    lv_noter_note(&s->noter, &t->nodes[id], more, more_probs, n);
    lv_ahead_note(s->ahead, &t->nodes[id], more, more_probs, n);
    const uint32_t got = n < k ? n : k;
    memcpy(tokens, more, got * sizeof *more);
    memcpy(probs, more_probs, got * sizeof *more_probs);
    return got;
}

void lv_draft_run_begin(lv_draft_run *d, lv_drafter *out)
{
    lv_kv *kv = &d->session->draft_kv;
    if (!lv_ahead_use(d->session->ahead)) lv_kv_truncate(kv, kv->n_committed);
    d->request.n = 0;
    out->user = d;
    out->expand = draft_expand;
    out->candidates = draft_candidates;
    out->max_rows = d->logit_rows;
    /* The cache has room for a prompt's rows, which may be more than the policy has room for in its tree. */
    const uint32_t most = lv_policy_draft_rows(d->session->run.cycle.policy);
    out->rows_left = kv->n_slots - kv->n_ctx - d->session->engine->ahead_rows;
    if (out->rows_left > most) out->rows_left = most;
    if (!(out->draws = lv_session_draws(d->session))) return;
    const uint32_t rows = d->session->engine->draft_rows; /* the scratch rows may be more */
    if (out->rows_left > rows) out->rows_left = rows;
    for (uint32_t i = 0; i <= rows; i++) d->drawn[i].n_draws = 0;
}

void lv_draft_run_accept(lv_draft_run *d, const int32_t *nodes, uint32_t n)
{
    lever_session *s = d->session;
    uint32_t n_kept = 0;
    while (n_kept < n && s->tree.nodes[nodes[n_kept]].draft_row >= 0) {
        s->accepted[n_kept] = s->tree.nodes[nodes[n_kept]].draft_row;
        n_kept++;
    }
    if (n_kept == n && lv_ahead_commit(s->ahead, n ? nodes[n - 1] : 0, n)) return;
    lv_kv_commit(&s->draft_kv, s->accepted, n_kept);
}
