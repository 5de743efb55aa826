/* The engine's side of early-exit pruning (spec/prune.h): after the predictor's layer, score every edge of the tree
 * among all candidates of its parent, and drop the rows that are not worth the layers above.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "kernel/noise.h"
#include "os/clock.h"

/* ---- opening ---- */

int lv_exit_path(const char *model, char *buf, size_t cap)
{
    const size_t len = strlen(model), cut = len > 5 && !strcmp(model + len - 5, ".gguf") ? 5 : 0;
    const int n = snprintf(buf, cap, "%.*s.exit.gguf", (int)(len - cut), model);
    return n > 0 && (size_t)n < cap ? LEVER_OK : LEVER_EINVAL;
}

int lv_prune_setup(lv_engine_setup *o, lever_error *err)
{
    LEVER_TRY(lv_prune_parse(&o->prune_rule, o->config.prune ? o->config.prune : "auto", err));
    if (o->eval || o->max_nodes < 2 || o->prune_rule.mode == LV_PRUNE_OFF) return LEVER_OK;
    char beside[1024];
    const char *path = o->config.exit_path;
    lv_model_id id;
    lv_file file;
    if (!path) { /* one that lies beside the model is used if it can be */
        if (lv_exit_path(o->config.model_path, beside, sizeof beside) < 0) return LEVER_OK;
        const int there = lv_file_open(&file, beside, err);
        if (there < 0) return there == LEVER_ENOMEM ? there : LEVER_OK;
        lv_file_close(&file);
    }
    LEVER_TRY(lv_model_identify(o->target, &id, err));
    lever_error why = { 0 };
    const int rc = lv_exit_open(&o->exit, path ? path : beside, &id, path ? err : &why);
    if (rc >= 0 || path || rc == LEVER_ENOMEM) return rc;
    snprintf(o->exit_note, sizeof o->exit_note, "%.255s", why.msg);
    return LEVER_OK;
}

uint64_t lv_pruner_bytes(uint32_t max_nodes, uint32_t draft_rows)
{
    const uint64_t sets = draft_rows + 1;
    return max_nodes * (sizeof(float) + sizeof(int32_t) + sizeof(bool)) +
           sets * (LV_EXIT_CANDIDATES * (sizeof(int32_t) + sizeof(float)) + sizeof(uint8_t)) + 6 * 64;
}

int lv_pruner_open(lv_pruner *p, const lever_engine *e, lever_error *err)
{
    p->index = lv_alloc_array(e->max_nodes, sizeof *p->index, 64);
    if (p->index && !e->exit) return LEVER_OK;
    p->share = lv_alloc_array(e->max_nodes, sizeof *p->share, 64);
    p->keep = lv_alloc_array(e->max_nodes, sizeof *p->keep, 64);
    if (p->index && p->share && p->keep) return lv_pruner_watch(p, e, err);
    return lv_fail(err, LEVER_ENOMEM, 0, "pruning buffers of the session");
}

int lv_pruner_watch(lv_pruner *p, const lever_engine *e, lever_error *err)
{
    const size_t sets = (size_t)e->draft_rows + 1;
    if (p->n_sets) return LEVER_OK;
    if (!p->candidates) p->candidates = lv_alloc_array(sets * LV_EXIT_CANDIDATES, sizeof *p->candidates, 64);
    if (!p->log_probs) p->log_probs = lv_alloc_array(sets * LV_EXIT_CANDIDATES, sizeof *p->log_probs, 64);
    if (!p->n_candidates) p->n_candidates = lv_alloc_array(sets, sizeof *p->n_candidates, 64);
    if (!p->candidates || !p->log_probs || !p->n_candidates)
        return lv_fail(err, LEVER_ENOMEM, 0, "candidates of the session");
    p->n_sets = (uint32_t)sets;
    return LEVER_OK;
}

void lv_pruner_close(lv_pruner *p)
{
    lv_free(p->index);
    lv_free(p->share);
    lv_free(p->keep);
    lv_free(p->candidates);
    lv_free(p->log_probs);
    lv_free(p->n_candidates);
    *p = (lv_pruner){ 0 };
}

/* ---- candidate sets ---- */

void lv_pruner_forget(lv_pruner *p)
{
    if (p->n_sets) memset(p->n_candidates, 0, p->n_sets);
}

void lv_pruner_note(lv_pruner *p, const lv_tree_node *node, const int32_t *tokens, const float *probs, uint32_t n,
                    float sharpness)
{
    const uint32_t set = (uint32_t)(node->draft_row + 1);
    if (set >= p->n_sets) return;
    if (n > LV_EXIT_CANDIDATES) n = LV_EXIT_CANDIDATES;
    const size_t at = (size_t)set * LV_EXIT_CANDIDATES;
    memcpy(p->candidates + at, tokens, n * sizeof *tokens);
    for (uint32_t i = 0; i < n; i++)
        p->log_probs[at + i] = lv_logf(probs[i] > 1e-30f ? probs[i] : 1e-30f) / sharpness;
    p->n_candidates[set] = (uint8_t)n;
}

uint32_t lv_pruner_noted(const lv_pruner *p, const lv_tree_node *node, const int32_t **tokens, const float **log_probs)
{
    const uint32_t set = (uint32_t)(node->draft_row + 1);
    if (set >= p->n_sets) return 0;
    *tokens = p->candidates + (size_t)set * LV_EXIT_CANDIDATES;
    *log_probs = p->log_probs + (size_t)set * LV_EXIT_CANDIDATES;
    return p->n_candidates[set];
}

enum { MOST_CANDIDATES = 256 + LV_EXIT_CANDIDATES }; /* no policy gives a node more children */

/* The candidates of one node. */
typedef struct candidate_set {
    uint32_t n, n_in_tree; /* the first are its children in the tree, the others are shadow candidates */
    bool     drafted;      /* the draft has an opinion */
    int32_t  tokens[MOST_CANDIDATES];
    float    log_probs[MOST_CANDIDATES]; /* of the draft */
    float    scores[MOST_CANDIDATES];
} candidate_set;

static void gather(const lever_session *s, int32_t node, candidate_set *c)
{
    const lv_pruner *p = &s->prune;
    const lv_tree_node *u = &s->tree.nodes[node];
    const int32_t *tokens = NULL;
    const float *log_probs = NULL;
    const uint32_t known = lv_pruner_noted(p, u, &tokens, &log_probs);
    c->n = 0;
    c->drafted = known > 0;
    for (int32_t k = u->first_child; k >= 0 && c->n < MOST_CANDIDATES; k = s->tree.nodes[k].next_sibling) {
        uint32_t i = 0;
        while (i < known && tokens[i] != s->tree.nodes[k].token) i++;
        /* A child beyond the draft's best, from another source: less likely than the last of them. */
        c->log_probs[c->n] = i < known ? log_probs[i] : known ? log_probs[known - 1] - 0.7f : 0;
        c->tokens[c->n++] = s->tree.nodes[k].token;
    }
    c->n_in_tree = c->n;
    if (s->engine->prune_rule.no_shadows) return;
    for (uint32_t i = 0; i < known && c->n < MOST_CANDIDATES; i++) {
        if (lv_tree_find_child(&s->tree, node, tokens[i]) >= 0) continue;
        c->log_probs[c->n] = log_probs[i];
        c->tokens[c->n++] = tokens[i];
    }
}

/* ---- the sweep ---- */

/* Shares of a node's children, from its hidden state and from what the draft says: together they are right more often
 * than each alone. Both stand for logits of the target, so the noise that it will add belongs to them once; the draft's
 * probabilities contain it already. */
static int score_children(lever_session *s, int32_t node, const float *x)
{
    const lever_engine *e = s->engine;
    const lv_exit_card *card = lv_exit_get_card(e->exit);
    candidate_set c;
    float noise[MOST_CANDIDATES] = { 0 };
    gather(s, node, &c);
    LEVER_TRY(lv_exit_score(e->exit, e->target, x, c.tokens, c.n, c.scores));
    const uint64_t pos = s->n_tokens + (uint64_t)s->tree.nodes[node].depth;
    lv_sampler_add_noise(s->sampler, pos, c.tokens, c.n, noise);
    const float weight = c.drafted ? card->joint_draft_weight : 0.0f;
    const float t = c.drafted ? card->joint_temperature : card->temperature;
    for (uint32_t i = 0; i < c.n; i++)
        c.scores[i] = c.scores[i] / t + weight * c.log_probs[i] + (1.0f - weight) * noise[i];
    lv_prune_shares(c.scores, c.n);
    uint32_t i = 0;
    for (int32_t k = s->tree.nodes[node].first_child; k >= 0 && i < c.n_in_tree; k = s->tree.nodes[k].next_sibling)
        s->prune.share[k] = c.scores[i++];
    return LEVER_OK;
}

static uint32_t choose_nodes(lever_session *s, double layers_done, uint32_t n_rows)
{
    lv_pruner *p = &s->prune;
    const lv_prune_rule *rule = &s->engine->prune_rule;
    if (rule->mode == LV_PRUNE_THRESHOLD) return lv_prune_by_threshold(&s->tree, p->share, rule, p->keep);
    const lv_glimpse g = { .tree = &s->tree, .share = p->share, .layers_done = layers_done, .n_rows = n_rows };
    lv_policy_prune(p->policy, &g, p->keep);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->tree.n; i++) n += p->keep[i];
    return n;
}

/* Decide on the rows of one session, the first of which is x. */
static void prune_session(lever_session *s, const float *x, double layers_done, uint32_t n_rows)
{
    lv_pruner *p = &s->prune;
    const lever_engine *e = s->engine;
    const uint64_t t0 = lv_clock_ns();
    const size_t n_embd = lv_model_hparams(e->target)->n_embd;
    const float *root = x + (s->run.cycle.n_pending - 1) * n_embd;
    for (uint32_t i = 0; i < s->tree.n && !p->failed; i++)
        if (s->tree.nodes[i].first_child >= 0)
            p->failed = score_children(s, (int32_t)i, root + i * n_embd) < 0; /* a streamed head: never */
    if (p->failed) return;
    p->n_kept = choose_nodes(s, layers_done, n_rows);
    p->decided = true;
    p->ns = lv_clock_ns() - t0;
    if (e->prune_rule.dry || p->n_kept == s->tree.n) return;
    for (uint32_t i = 0, at = 0; i < s->tree.n; i++) p->index[i] = p->keep[i] ? (int32_t)at++ : -1;
}

/* lv_batch.after_layer of a sweep: every session decides on its own rows. */
static int after_layer(void *user, uint32_t layer, const float *x, uint32_t n_rows, uint32_t *keep, lever_error *err)
{
    lever_engine *e = user;
    const lv_round *r = &e->round;
    const size_t n_embd = lv_model_hparams(e->target)->n_embd;
    const double done = (layer + 1.0) / lv_model_hparams(e->target)->n_layers;
    uint32_t n = 0;
    (void)err;
    if (layer != lv_exit_layer(e->exit)) return (int)n_rows;
    for (uint32_t i = 0; i < r->n; i++) {
        lever_session *s = r->sessions[i];
        const lv_cycle *c = &s->run.cycle;
        const bool active = i < r->n_grow && s->prune.active;
        if (active) prune_session(s, x + c->row0 * n_embd, done, n_rows);
        for (uint32_t k = 0; k < c->n_pending; k++) keep[n++] = c->row0 + k;
        for (uint32_t k = 1; i < r->n_grow && k < s->tree.n; k++)
            if (s->prune.index[k] >= 0) keep[n++] = c->row0 + c->n_pending - 1 + k;
    }
    return (int)n;
}

void lv_pruner_begin(lever_session *s, lv_batch *b)
{
    lv_pruner *p = &s->prune;
    const lever_engine *e = s->engine;
    for (uint32_t i = 0; i < s->tree.n; i++) p->index[i] = (int32_t)i;
    p->n_kept = s->tree.n;
    p->ns = 0;
    p->active = p->decided = false;
    p->policy = s->run.cycle.policy;
    /* Other rules weigh every draw: without some of them the text would have another distribution. */
    if (!e->exit || p->failed || s->tree.n < 2 || lv_session_draws(s)) return;
    const double done = (lv_exit_layer(e->exit) + 1.0) / lv_model_hparams(e->target)->n_layers;
    if (e->prune_rule.mode == LV_PRUNE_AUTO && !lv_policy_would_prune(p->policy, b->n_rows, done)) return;
    p->active = true;
    b->after_layer = after_layer;
    b->hook_user = s->engine;
}
