/* The draft model's side of a cycle. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <string.h>

static int draft_expand(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost,
                        lever_error *err)
{
    lv_draft_run *d = user;
    lever_session *s = d->session;
    const lv_cycle *c = &s->run.cycle;
    for (uint32_t i = 0; i < t->n; i++) t->nodes[i].draft_slot = -1;
    d->request = (lv_draft_request){ .tree = t, .ids = ids, .n = n };
    if (c->learner) lv_policy_share(c->learner, c->policy);
    if (s->in_turns) lv_turns_wait(s->turns); /* served with what others want */
    else lv_draft_serve(s->engine, &d, 1);
    if (c->learner) lv_policy_share(c->policy, c->learner);
    if (d->request.rc < 0) {
        if (err) *err = d->request.err;
        return d->request.rc;
    }
    lv_draft_run_tell_others(d);
    *cost = d->request.cost;
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

static uint32_t draft_candidates(void *user, lv_tree *t, int32_t id, uint32_t k, int32_t *tokens,
                                 float *probs)
{
    lv_draft_run *d = user;
    lever_session *s = d->session;
    if (t->nodes[id].draft_slot < 0) return 0;
    const lv_history h = lv_draft_run_history(d, t, id);
    float *logits = d->logits + (size_t)t->nodes[id].draft_slot * d->n_vocab;
    t->nodes[id].draft_slot = -1; /* the sampler overwrites them */
    if (lv_session_draws(s)) return lv_draft_run_draw(d, &t->nodes[id], &h, logits, k, tokens, probs);
    if (!s->engine->exit || k >= LV_EXIT_CANDIDATES) {
        const uint32_t n = lv_sampler_candidates(s->sampler, logits, &h, k, d->sharpness, tokens, probs);
        lv_pruner_note(&s->prune, &t->nodes[id], tokens, probs, n, d->sharpness);
        return n;
    }
    int32_t more[LV_EXIT_CANDIDATES]; /* those beyond k only serve to compare with */
    float more_probs[LV_EXIT_CANDIDATES];
    const uint32_t n =
        lv_sampler_candidates(s->sampler, logits, &h, LV_EXIT_CANDIDATES, d->sharpness, more, more_probs);
    lv_pruner_note(&s->prune, &t->nodes[id], more, more_probs, n, d->sharpness);
    const uint32_t got = n < k ? n : k;
    memcpy(tokens, more, got * sizeof *more);
    memcpy(probs, more_probs, got * sizeof *more_probs);
    return got;
}

void lv_draft_run_begin(lv_draft_run *d, lv_drafter *out)
{
    lv_kv *kv = &d->session->draft_kv;
    lv_kv_truncate(kv, kv->n_committed);
    d->request.n = 0;
    out->user = d;
    out->expand = draft_expand;
    out->candidates = draft_candidates;
    out->max_rows = d->logit_rows;
    out->rows_left = kv->n_slots - kv->n_ctx;
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
    lv_kv_commit(&s->draft_kv, s->accepted, n_kept);
}
