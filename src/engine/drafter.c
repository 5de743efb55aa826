/* The draft model's side of a cycle. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <string.h>

#include "os/clock.h"

/* Rows of certain text: feed tokens [n_committed, to) as chains and commit them. *last is the row of the
 * last batch that holds the last token. */
static int draft_catch_up(lv_draft_run *d, uint32_t to, uint32_t *last, lever_error *err)
{
    lever_session *s = d->session;
    lv_kv *kv = &s->draft_kv;
    const uint32_t max_rows = s->engine->plan.max_rows;
    while (kv->n_committed < to) {
        const uint32_t left = to - kv->n_committed, n = left < max_rows ? left : max_rows;
        for (uint32_t i = 0; i < n; i++)
            d->rows[i] = (lv_row){ .token = s->tokens[kv->n_committed + i], .parent = (int32_t)i - 1 };
        lv_batch b = { .rows = d->rows, .n_rows = n, .kv = &kv, .n_kv = 1, .cancel = &s->cancel };
        LEVER_TRY(lv_model_forward(s->engine->draft, &b, err));
        for (uint32_t i = 0; i < n; i++) s->accepted[i] = (int32_t)i;
        lv_kv_commit(kv, s->accepted, n);
        *last = n - 1;
    }
    return LEVER_OK;
}

static int draft_expand_root(lv_draft_run *d, lv_tree *t, uint32_t *n_rows, lever_error *err)
{
    lever_session *s = d->session;
    uint32_t row = 0;
    /* The root's logits must come from a batch that ends with it: when the cache already holds the
     * root (a cycle was cancelled after drafting), step one token back and evaluate it again. */
    if (s->draft_kv.n_committed >= s->n_tokens) lv_kv_truncate(&s->draft_kv, s->n_tokens - 1);
    *n_rows = s->n_tokens - s->draft_kv.n_committed;
    LEVER_TRY(draft_catch_up(d, s->n_tokens, &row, err));
    t->nodes[0].draft_slot = 0;
    return lv_model_project(s->engine->draft, &row, 1, d->logits, err);
}

static int draft_expand_nodes(lv_draft_run *d, lv_tree *t, const int32_t *ids, uint32_t n, lever_error *err)
{
    lever_session *s = d->session;
    lv_kv *kv = &s->draft_kv;
    const uint32_t base = kv->n_scratch;
    uint32_t batch_row[LV_DRAFT_LOGIT_ROWS];
    for (uint32_t i = 0; i < n; i++) {
        const lv_tree_node *node = &t->nodes[ids[i]];
        d->rows[i] = (lv_row){ .token = node->token,
                               .parent = node->parent == 0 ? -1 : t->nodes[node->parent].draft_row };
        batch_row[i] = i;
    }
    lv_batch b = { .rows = d->rows, .n_rows = n, .kv = &kv, .n_kv = 1, .cancel = &s->cancel };
    LEVER_TRY(lv_model_forward(s->engine->draft, &b, err));
    for (uint32_t i = 0; i < n; i++) {
        t->nodes[ids[i]].draft_row = (int32_t)(base + i);
        t->nodes[ids[i]].draft_slot = (int32_t)i;
    }
    return lv_model_project(s->engine->draft, batch_row, n, d->logits, err);
}

static int draft_expand(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost,
                        lever_error *err)
{
    lv_draft_run *d = user;
    const uint64_t t0 = lv_clock_ns();
    uint32_t n_rows = n;
    lv_model_pump(d->session->engine->target); /* reads go on while the draft runs, however short the queue */
    for (uint32_t i = 0; i < t->n; i++) t->nodes[i].draft_slot = -1;
    LEVER_TRY(ids[0] == 0 ? draft_expand_root(d, t, &n_rows, err) : draft_expand_nodes(d, t, ids, n, err));
    *cost = (lv_cost){ .calls = 1, .rows = n_rows, .seconds = (double)(lv_clock_ns() - t0) * 1e-9 };
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
        lv_noter_note(&s->noter, &t->nodes[id], tokens, probs, n);
        return n;
    }
    int32_t more[LV_EXIT_CANDIDATES]; /* those beyond k only serve to compare with */
    float more_probs[LV_EXIT_CANDIDATES];
    const uint32_t n =
        lv_sampler_candidates(s->sampler, logits, &h, LV_EXIT_CANDIDATES, d->sharpness, more, more_probs);
    lv_pruner_note(&s->prune, &t->nodes[id], more, more_probs, n, d->sharpness);
    lv_noter_note(&s->noter, &t->nodes[id], more, more_probs, n);
    const uint32_t got = n < k ? n : k;
    memcpy(tokens, more, got * sizeof *more);
    memcpy(probs, more_probs, got * sizeof *more_probs);
    return got;
}

void lv_draft_run_begin(lv_draft_run *d, lv_drafter *out)
{
    lv_kv *kv = &d->session->draft_kv;
    lv_kv_truncate(kv, kv->n_committed);
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
