/* One cycle (DESIGN.md section 3): grow a tree with the draft, verify it with one sweep over the
 * target, project along the accepted path only, commit. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include "os/clock.h"

static lv_batch target_batch(lever_session *s, lv_kv **kv, uint32_t n_rows)
{
    *kv = &s->kv;
    return (lv_batch){ .rows = s->rows, .n_rows = n_rows, .kv = kv, .n_kv = 1, .cancel = &s->cancel };
}

/* The first n tokens that are not in the cache yet, as a chain below the committed prefix. */
static void put_pending_rows(lever_session *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        s->rows[i] = (lv_row){ .token = s->tokens[s->kv.n_committed + i], .parent = (int32_t)i - 1 };
}

static void trace(const lever_session *s, const char *name, uint64_t begin_ns, uint64_t end_ns, uint32_t rows)
{
    lv_trace_emit(&s->engine->trace, &(lever_trace_event){ .track = "cycle",
                                                           .name = name,
                                                           .begin_ns = begin_ns,
                                                           .end_ns = end_ns,
                                                           .index = (int64_t)s->n_cycles,
                                                           .rows = rows });
}

int lv_session_prefill(lever_session *s, uint32_t n, lever_error *err)
{
    lv_kv *kv;
    const uint64_t t0 = lv_clock_ns();
    put_pending_rows(s, n);
    lv_batch b = target_batch(s, &kv, n);
    LEVER_TRY(lv_model_forward(s->engine->target, &b, err));
    trace(s, "prefill", t0, lv_clock_ns(), n);
    for (uint32_t i = 0; i < n; i++) s->accepted[i] = (int32_t)i;
    lv_kv_commit(&s->kv, s->accepted, n);
    return LEVER_OK;
}

static int grow_tree(lever_session *s, lv_cycle *c, uint32_t n_pending, lever_error *err)
{
    lv_tree_reset(&s->tree, s->tokens[s->n_tokens - 1]);
    const uint32_t room = s->n_ctx - s->n_tokens; /* positions a tree may use, the extra token's kept free */
    uint32_t depth = c->max_new - 1;
    if (depth > room - 1) depth = room - 1;
    lv_drafter d = { .text = s->tokens, .n_text = s->n_tokens };
    s->draft.sharpness = lv_policy_sharpness(c->policy);
    d.n_pending = n_pending;
    d.target_ratio = s->engine->target_ratio;
    if (s->engine->draft) lv_draft_run_begin(&s->draft, &d);
    lv_pruner_forget(&s->prune);
    lv_noter_forget(&s->noter);
    const int rc = lv_policy_grow(c->policy, &s->tree, &d, s->engine->max_nodes, depth, err);
    lv_policy_expected(c->policy, &c->expected);
    c->draft_model_ns = (uint64_t)(d.total.seconds * 1e9);
    return rc;
}

/* Pending text and tree as one row batch; the root is row n_pending - 1, node i is i rows below it. */
static int verify(lever_session *s, lv_cycle *c, uint32_t n_pending, lever_error *err)
{
    const lv_tree *t = &s->tree;
    const int32_t root_row = (int32_t)n_pending - 1;
    put_pending_rows(s, n_pending);
    for (uint32_t i = 1; i < t->n; i++)
        s->rows[n_pending + i - 1] =
            (lv_row){ .token = t->nodes[i].token, .parent = root_row + t->nodes[i].parent };
    lv_kv *kv;
    lv_batch b = target_batch(s, &kv, n_pending + t->n - 1);
    lv_pruner_begin(s, c->policy, &b);
    LEVER_TRY(lv_model_forward(s->engine->target, &b, err));
    c->n_kept = s->prune.n_kept;
    c->prune_ns = s->prune.ns;
    return LEVER_OK;
}

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

/* Project a node, and with it those that will probably be asked for next: a few rows cost what one does, because
 * the head is read once for all. */
static int project_ahead(lever_session *s, uint32_t root_row, int32_t node, lever_error *err)
{
    static const double worth = 0.3; /* a row that is asked for saves a pass, others cost a part of one */
    double path = 1, p;
    s->n_projected = 0;
    for (int32_t at = node; at >= 0 && s->n_projected < s->logit_rows && path >= worth; path *= p) {
        s->project_rows[s->n_projected] = root_row + (uint32_t)at;
        s->projected[s->n_projected++] = at;
        at = likeliest_child(s, at, &p);
    }
    return lv_model_project(s->engine->target, s->project_rows, s->n_projected, s->logits, err);
}

/* Logits of one node. A resident head is multiplied on demand; a streamed one was read once, for
 * every node, when the root was asked for. */
int lv_session_node_logits(lever_session *s, uint32_t root_row, int32_t node, float **logits,
                           lever_error *err)
{
    const size_t n_vocab = (size_t)lv_vocab_n_tokens(s->engine->vocab);
    if (!lv_engine_projects_all(s->engine)) {
        uint32_t i = 0;
        while (i < s->n_projected && s->projected[i] != node) i++;
        if (i == s->n_projected) {
            LEVER_TRY(project_ahead(s, root_row, node, err));
            i = 0;
        }
        *logits = s->logits + i * n_vocab;
        return LEVER_OK;
    }
    *logits = s->logits + (size_t)s->prune.index[node] * n_vocab;
    if (node != 0) return LEVER_OK;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->tree.n; i++)
        if (s->prune.index[i] >= 0) s->project_rows[n++] = root_row + i;
    return lv_model_project(s->engine->target, s->project_rows, n, s->logits, err);
}

/* Who had proposed the node that became text; -1: nobody. */
static int token_source(const lv_tree *t, int32_t node)
{
    if (node < 0) return LEVER_FROM_TARGET;
    return t->nodes[node].source == LV_SOURCE_LOOKUP ? LEVER_FROM_LOOKUP : LEVER_FROM_DRAFT;
}

static bool emit(lever_session *s, const lv_cycle *c, int32_t token, int source)
{
    if (!c->on_token) return true;
    const size_t n = lv_detok_push(&s->detok, s->engine->vocab, token, false, s->text, s->text_cap);
    const lever_token_event e = { .token = token, .position = s->n_tokens - 1, .text = s->text,
                                  .text_bytes = n, .source = source };
    return c->on_token(c->user, &e);
}

static int stop_reason(const lever_session *s, const lv_cycle *c, int32_t token, bool go_on)
{
    if (!c->ignore_end && lv_vocab_is_end(s->engine->vocab, token)) return LEVER_STOP_END_TOKEN;
    if (!go_on) return LEVER_STOP_CALLBACK;
    if (c->n_new >= c->max_new) return LEVER_STOP_MAX_TOKENS;
    if (s->n_tokens >= s->n_ctx) return LEVER_STOP_CONTEXT;
    return -1;
}

/* Keep what became text in both caches. The last token of the text always stays pending, as after any
 * cycle; so of n_new tokens the first n_new - 1, which are tree nodes, go to the caches. */
static void commit(lever_session *s, const lv_cycle *c, uint32_t n_pending)
{
    if (s->engine->draft) lv_draft_run_accept(&s->draft, s->path_nodes, c->n_new ? c->n_new - 1 : 0);
    for (uint32_t i = 0; i < n_pending; i++) s->accepted[i] = (int32_t)i;
    for (uint32_t i = 0; i + 1 < c->n_new; i++)
        s->accepted[n_pending + i] = (int32_t)n_pending - 1 + s->path_nodes[i];
    lv_kv_commit(&s->kv, s->accepted, n_pending + c->n_new - 1);
}

/* A token becomes text; node is its node in the tree, -1 when it has none. */
static void take_token(lever_session *s, lv_cycle *c, int32_t node, int32_t token)
{
    s->path_nodes[c->n_new++] = node;
    s->tokens[s->n_tokens++] = token;
    c->n_accepted += node >= 0;
    const bool go_on = emit(s, c, token, token_source(&s->tree, node));
    c->stop = stop_reason(s, c, token, go_on);
}

/* Walk down from the root: the target's own choice at each node is text; go on while it is a child. */
static int accept_matches(lever_session *s, lv_cycle *c, uint32_t n_pending, lever_error *err)
{
    for (int32_t node = 0; node >= 0 && c->stop < 0;) {
        float *logits;
        const uint64_t t0 = lv_clock_ns();
        LEVER_TRY(lv_session_node_logits(s, n_pending - 1, node, &logits, err));
        const lv_history h = { .tokens = s->tokens, .n_tokens = s->n_tokens };
        const int32_t token = lv_sampler_pick(s->sampler, logits, &h);
        c->project_ns += lv_clock_ns() - t0;
        node = lv_tree_find_child(&s->tree, node, token);
        if (node >= 0 && s->prune.decided && !s->prune.keep[node]) c->n_accepted_dropped++;
        if (node >= 0 && s->prune.index[node] < 0) node = -1; /* a path ends where it was pruned */
        take_token(s, c, node, token);
    }
    return LEVER_OK;
}

/* The path and the token after it as the engine's rule decides. */
static int accept_verdict(lever_session *s, lv_cycle *c, uint32_t n_pending, lever_error *err)
{
    uint32_t n_path;
    int32_t next;
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(lv_session_decide(s, n_pending - 1, &n_path, &next, err));
    c->project_ns += lv_clock_ns() - t0;
    for (uint32_t i = 0; i < n_path && c->stop < 0; i++)
        take_token(s, c, s->path_nodes[i], s->tree.nodes[s->path_nodes[i]].token);
    if (c->stop < 0) take_token(s, c, -1, next);
    return LEVER_OK;
}

static int accept_path(lever_session *s, lv_cycle *c, uint32_t n_pending, lever_error *err)
{
    s->n_projected = 0;
    /* A root alone was not drawn: its next token is the sampler's, as in plain decoding. */
    const bool drawn = lv_session_draws(s) && s->tree.n > 1;
    const int rc = (drawn ? accept_verdict : accept_matches)(s, c, n_pending, err);
    commit(s, c, n_pending);
    return rc;
}

/* Every child of a node that was reached was a guess about the token that followed. */
static void tell_guesses(const lever_session *s, const lv_cycle *c)
{
    const lv_tree *t = &s->tree;
    for (uint32_t i = 0; i < c->n_new; i++) {
        const int32_t node = i ? s->path_nodes[i - 1] : 0;
        const int32_t token = s->tokens[s->n_tokens - c->n_new + i];
        for (int32_t k = t->nodes[node].first_child; k >= 0; k = t->nodes[k].next_sibling) {
            if (!(t->nodes[k].prob > 0)) continue;
            const lever_guess g = { .prob = (double)t->nodes[k].prob,
                                    .source = token_source(t, k),
                                    .right = t->nodes[k].token == token };
            c->on_guess(c->guess_user, &g);
        }
    }
}

uint64_t lv_flash_ns(uint64_t ns, const lv_model_stats *before, const lv_model_stats *after)
{
    const uint64_t idle = after->idle_ns - before->idle_ns;
    return after->bytes_read == before->bytes_read || idle > ns ? 0 : ns - idle;
}

static double seconds(uint64_t ns) { return (double)ns * 1e-9; }

static void observe(const lever_session *s, const lv_cycle *c, uint32_t n_pending)
{
    const lv_outcome o = { .tree = &s->tree,
                           .path = s->path_nodes,
                           .n_path = c->n_new - 1,
                           .next = s->tokens[s->n_tokens - 1],
                           .n_rows = n_pending + s->tree.n - 1,
                           .n_kept_rows = n_pending - 1 + (s->engine->prune_rule.dry ? s->tree.n : c->n_kept),
                           .draft_s = seconds(c->draft_ns),
                           .verify_s = seconds(c->verify_ns),
                           .project_s = seconds(c->project_ns),
                           .flash_s = seconds(c->flash_ns) };
    lv_policy_observe(c->policy, &o);
    lv_noter_observe(s, c);
    if (c->on_guess) tell_guesses(s, c);
}

int lv_session_cycle(lever_session *s, lv_cycle *c, lever_error *err)
{
    const uint32_t n_pending = s->n_tokens - s->kv.n_committed;
    c->n_new = c->n_rows = c->n_drafted = c->n_accepted = c->n_kept = c->n_accepted_dropped = 0;
    c->prune_ns = 0;
    c->draft_ns = c->verify_ns = c->project_ns = c->flash_wait_ns = 0;
    c->stop = -1;

    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(grow_tree(s, c, n_pending, err));
    const uint64_t t1 = lv_clock_ns();
    lv_model_stats before, after;
    lv_model_get_stats(s->engine->target, &before);
    LEVER_TRY(verify(s, c, n_pending, err));
    lv_model_get_stats(s->engine->target, &after);
    const uint64_t t2 = lv_clock_ns();
    c->flash_ns = lv_flash_ns(t2 - t1, &before, &after);
    c->flash_wait_ns = after.wait_ns - before.wait_ns; /* a streamed head is waited for later, by projecting */
    c->draft_ns = t1 - t0;
    c->verify_ns = t2 - t1;
    c->n_rows = s->tree.n;
    c->n_drafted = s->tree.n - 1;
    const int rc = accept_path(s, c, n_pending, err);
    const uint64_t t3 = lv_clock_ns();
    if (rc >= 0) observe(s, c, n_pending);
    if (s->engine->max_nodes > 1) trace(s, "draft", t0, t1, s->tree.n - 1);
    trace(s, "verify", t1, t2, n_pending + s->tree.n - 1);
    trace(s, "accept", t2, t3, c->n_new);
    trace(s, "cycle", t0, t3, c->n_new);
    s->n_cycles++;
    return rc;
}
