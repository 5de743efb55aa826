/* The draft model's side of a cycle. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

/* Rows of certain text: feed tokens [from, to) as a chain and commit them. */
static int draft_catch_up(lv_draft_run *d, uint32_t to, lever_error *err)
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
        d->slot_of[0] = (int32_t)n - 1; /* row of the batch that holds the last token */
    }
    return LEVER_OK;
}

static int draft_expand_root(lv_draft_run *d, lever_error *err)
{
    lever_session *s = d->session;
    /* The root's logits must come from a batch that ends with it: when the cache already holds the
     * root (a cycle was cancelled after drafting), step one token back and evaluate it again. */
    if (s->draft_kv.n_committed >= s->n_tokens) lv_kv_truncate(&s->draft_kv, s->n_tokens - 1);
    LEVER_TRY(draft_catch_up(d, s->n_tokens, err));
    const uint32_t row = (uint32_t)d->slot_of[0];
    d->slot_of[0] = 0;
    return lv_model_project(s->engine->draft, &row, 1, d->logits, err);
}

static int draft_expand(void *user, const lv_tree *t, const int32_t *ids, uint32_t n, lever_error *err)
{
    lv_draft_run *d = user;
    lever_session *s = d->session;
    for (uint32_t i = 0; i < t->n; i++) d->slot_of[i] = -1;
    if (n == 1 && ids[0] == 0) return draft_expand_root(d, err);

    lv_kv *kv = &s->draft_kv;
    const uint32_t base = kv->n_scratch;
    uint32_t batch_row[LV_DRAFT_LOGIT_ROWS];
    for (uint32_t i = 0; i < n; i++) {
        const lv_tree_node *node = &t->nodes[ids[i]];
        d->rows[i] = (lv_row){ .token = node->token,
                               .parent = node->parent == 0 ? -1 : d->row_of[node->parent] };
        batch_row[i] = i;
    }
    lv_batch b = { .rows = d->rows, .n_rows = n, .kv = &kv, .n_kv = 1, .cancel = &s->cancel };
    LEVER_TRY(lv_model_forward(s->engine->draft, &b, err));
    for (uint32_t i = 0; i < n; i++) {
        d->row_of[ids[i]] = (int32_t)(base + i);
        d->slot_of[ids[i]] = (int32_t)i;
    }
    return lv_model_project(s->engine->draft, batch_row, n, d->logits, err);
}

static uint32_t draft_candidates(void *user, const lv_tree *t, int32_t id, uint32_t k, int32_t *tokens,
                                 float *probs)
{
    lv_draft_run *d = user;
    lever_session *s = d->session;
    if (d->slot_of[id] < 0) return 0;
    const uint32_t depth = (uint32_t)t->nodes[id].depth;
    for (int32_t v = id, at = (int32_t)depth; at > 0; v = t->nodes[v].parent)
        d->path[--at] = t->nodes[v].token;
    const lv_history h = { .tokens = s->tokens, .n_tokens = s->n_tokens, .path = d->path, .n_path = depth };
    float *logits = d->logits + (size_t)d->slot_of[id] * d->n_vocab;
    d->slot_of[id] = -1; /* the sampler overwrites them */
    return lv_sampler_candidates(s->sampler, logits, &h, k, tokens, probs);
}

lv_drafter lv_draft_run_drafter(lv_draft_run *d)
{
    return (lv_drafter){ .user = d, .expand = draft_expand, .candidates = draft_candidates,
                         .max_rows = d->logit_rows };
}

void lv_draft_run_begin(lv_draft_run *d)
{
    lever_session *s = d->session;
    lv_kv_truncate(&s->draft_kv, s->draft_kv.n_committed);
    for (uint32_t i = 0; i < s->engine->max_nodes; i++) d->row_of[i] = d->slot_of[i] = -1;
}

void lv_draft_run_accept(lv_draft_run *d, const int32_t *nodes, uint32_t n)
{
    lever_session *s = d->session;
    uint32_t n_kept = 0;
    while (n_kept < n && d->row_of[nodes[n_kept]] >= 0) {
        s->accepted[n_kept] = d->row_of[nodes[n_kept]];
        n_kept++;
    }
    lv_kv_commit(&s->draft_kv, s->accepted, n_kept);
}
