/* Logits of the target at nodes of trees: a few rows cost what one does, because the head is read once for all, so
 * those that will probably be asked for are made together, and those of several sessions.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"

static size_t n_vocab(const lever_engine *e) { return (size_t)lv_vocab_n_tokens(e->vocab); }

/* Row of the sweep that is the root of the session's tree. */
static uint32_t root_row(const lever_session *s) { return s->run.cycle.row0 + s->run.cycle.n_pending - 1; }

/* The child that is most likely to follow, and how likely that is; -1: there is none. */
static int32_t likeliest_child(const lever_session *s, int32_t node, double *prob)
{
    const lv_tree *t = &s->tree;
    int32_t best = -1;
    *prob = 0;
    for (int32_t c = t->nodes[node].first_child; c >= 0; c = t->nodes[c].next_sibling) {
        const lv_tree_node *n = &t->nodes[c];
        const double p = n->prob > 0 ? (double)n->prob : n->source == LV_SOURCE_DRAFT ? (double)n->draft_prob : 0.5;
        if (p > *prob && s->prune.index[c] >= 0) best = c, *prob = p;
    }
    return best;
}

/* A node and those that will probably be asked for next. */
static void choose_ahead(lever_session *s, int32_t node)
{
    static const double worth = 0.3; /* a row that is asked for saves a pass, others cost a part of one */
    const uint32_t most = s->engine->max_nodes < LV_PROJECT_ROWS ? s->engine->max_nodes : LV_PROJECT_ROWS;
    double path = 1, p;
    s->n_projected = 0;
    for (int32_t at = node; at >= 0 && s->n_projected < most && path >= worth; path *= p) {
        s->projected[s->n_projected++] = at;
        at = likeliest_child(s, at, &p);
    }
}

int lv_project_ahead(lever_engine *e, lever_session *const *sessions, uint32_t n, lever_error *err)
{
    uint32_t rows[LV_PROJECT_SESSIONS * LV_PROJECT_ROWS], n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        lever_session *s = sessions[i];
        if (s->run.cycle.at < 0) continue;
        choose_ahead(s, s->run.cycle.at);
        s->logits = e->logits + n_rows * n_vocab(e);
        for (uint32_t k = 0; k < s->n_projected; k++) rows[n_rows++] = root_row(s) + (uint32_t)s->projected[k];
    }
    return lv_model_project(e->target, rows, n_rows, e->logits, err);
}

int lv_project_all(lever_engine *e, lever_error *err)
{
    const lv_round *r = &e->round;
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < r->n_grow; i++) {
        lever_session *s = r->sessions[i];
        s->logits = e->logits + n_rows * n_vocab(e);
        for (uint32_t k = 0; k < s->tree.n; k++)
            if (s->prune.index[k] >= 0) e->project_rows[n_rows++] = root_row(s) + k;
    }
    return lv_model_project(e->target, e->project_rows, n_rows, e->logits, err);
}

float *lv_session_logits_at_hand(const lever_session *s, int32_t node)
{
    if (lv_engine_projects_all(s->engine))
        return s->logits + (size_t)s->prune.index[node] * n_vocab(s->engine);
    for (uint32_t i = 0; i < s->n_projected; i++)
        if (s->projected[i] == node) return s->logits + i * n_vocab(s->engine);
    return NULL;
}

int lv_session_node_logits(lever_session *s, int32_t node, float **logits, lever_error *err)
{
    *logits = lv_session_logits_at_hand(s, node);
    if (*logits) return LEVER_OK;
    s->run.cycle.at = node;
    const int rc = lv_project_ahead(s->engine, &s, 1, err);
    s->run.cycle.at = -1;
    *logits = s->logits;
    return rc;
}
