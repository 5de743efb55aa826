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

/* Takes over what was drafted beside the last sweep, unless that is NULL. */
static bool draft_know(lv_draft_run *d, lv_tree_node *node, const lv_ahead_list *list)
{
    if (!list) return false;
    node->draft_slot = (int32_t)(d->logit_rows + d->n_known);
    d->known[d->n_known++] = list;
    return true;
}

static int draft_expand_root(lv_draft_run *d, lv_tree *t, uint32_t *n_rows, lever_error *err)
{
    lever_session *s = d->session;
    uint32_t row = 0;
    *n_rows = 0;
    if (draft_know(d, &t->nodes[0], lv_ahead_take_root(s->ahead))) return LEVER_OK;
    /* The root's logits must come from a batch that ends with it: when the cache already holds the
     * root (a cycle was cancelled after drafting), step one token back and evaluate it again. */
    if (s->draft_kv.n_committed >= s->n_tokens) lv_kv_truncate(&s->draft_kv, s->n_tokens - 1);
    *n_rows = s->n_tokens - s->draft_kv.n_committed;
    LEVER_TRY(draft_catch_up(d, s->n_tokens, &row, err));
    t->nodes[0].draft_slot = 0;
    return lv_model_project(s->engine->draft, &row, 1, d->logits, err);
}

/* Was the node evaluated beside the last sweep? Then it has its row already. */
static bool draft_take_node(lv_draft_run *d, lv_tree *t, int32_t id)
{
    lv_tree_node *node = &t->nodes[id];
    const int32_t parent = node->parent == 0 ? -1 : t->nodes[node->parent].draft_row;
    return draft_know(d, node, lv_ahead_take_node(d->session->ahead, parent, node->token, &node->draft_row));
}

/* *n_rows: those that had to be evaluated. */
static int draft_expand_nodes(lv_draft_run *d, lv_tree *t, const int32_t *all, uint32_t n_all, uint32_t *n_rows,
                              lever_error *err)
{
    lever_session *s = d->session;
    lv_kv *kv = &s->draft_kv;
    const uint32_t base = kv->n_scratch;
    uint32_t batch_row[LV_DRAFT_LOGIT_ROWS], n = 0;
    int32_t ids[LV_DRAFT_LOGIT_ROWS];
    for (uint32_t i = 0; i < n_all; i++) {
        const lv_tree_node *node = &t->nodes[all[i]];
        if (draft_take_node(d, t, all[i])) continue;
        d->rows[n] = (lv_row){ .token = node->token,
                               .parent = node->parent == 0 ? -1 : t->nodes[node->parent].draft_row };
        ids[n] = all[i];
        batch_row[n] = n;
        n++;
    }
    *n_rows = n;
    if (n == 0) return LEVER_OK;
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
    d->n_known = 0;
    LEVER_TRY(ids[0] == 0 ? draft_expand_root(d, t, &n_rows, err)
                          : draft_expand_nodes(d, t, ids, n, &n_rows, err));
    *cost = (lv_cost){ .calls = n_rows > 0, .rows = n_rows, .seconds = (double)(lv_clock_ns() - t0) * 1e-9 };
    if (n_rows < n) cost->ready = n - n_rows; /* the root may come with text before it */
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
        lv_ahead_note(s->ahead, &t->nodes[id], tokens, probs, n);
        return n;
    }
    int32_t more[LV_EXIT_CANDIDATES]; /* those beyond k only serve to compare with */
    float more_probs[LV_EXIT_CANDIDATES];
    const uint32_t n =
        lv_sampler_candidates(s->sampler, logits, &h, LV_EXIT_CANDIDATES, d->sharpness, more, more_probs);
    lv_pruner_note(&s->prune, &t->nodes[id], more, more_probs, n, d->sharpness);
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
    out->user = d;
    out->expand = draft_expand;
    out->candidates = draft_candidates;
    out->max_rows = d->logit_rows;
    out->rows_left = kv->n_slots - kv->n_ctx - d->session->engine->ahead_rows;
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
