/* What one session does in a round (DESIGN.md section 3): grow a tree with the draft, bring it to the sweep, take what
 * the target made of it. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include "os/clock.h"

/* ---- before the sweep ---- */

int lv_cycle_grow(lever_session *s, lever_error *err)
{
    lv_cycle *c = &s->run.cycle;
    lv_tree_reset(&s->tree, s->tokens[s->n_tokens - 1]);
    const uint32_t room = s->n_ctx - s->n_tokens; /* positions a tree may use, the extra token's kept free */
    uint32_t depth = c->max_new - 1;
    if (depth > room - 1) depth = room - 1;
    lv_drafter d = { .text = s->tokens, .n_text = s->n_tokens, .target_ratio = s->engine->target_ratio };
    s->draft.sharpness = lv_policy_sharpness(c->policy);
    s->draft.drafter = &d;
    s->draft.session = s;
    lv_draft_run_tell_others(&s->draft);
    if (s->engine->draft) lv_draft_run_begin(&s->draft, &d);
    lv_pruner_forget(&s->prune);
    lv_noter_forget(&s->noter);
    if (c->learner) lv_policy_share(c->policy, c->learner);
    const int rc = lv_policy_grow(c->policy, &s->tree, &d, c->most_nodes, depth, err);
    if (c->learner) lv_policy_share(c->learner, c->policy);
    lv_policy_expected(c->policy, &c->expected);
    c->draft_model_ns = (uint64_t)(d.total.seconds * 1e9);
    c->n_rows = s->tree.n;
    c->n_drafted = s->tree.n - 1;
    c->grown_ns = lv_clock_ns();
    return rc;
}

uint32_t lv_cycle_put_rows(lever_session *s, lv_row *rows, int32_t seq)
{
    const lv_cycle *c = &s->run.cycle;
    const lv_tree *t = &s->tree;
    const uint32_t n = c->n_pending;
    for (uint32_t i = 0; i < n; i++) /* text that is not in the cache yet: a chain below what is */
        rows[i] = (lv_row){ .token = s->tokens[s->kv.n_committed + i], .seq = seq, .parent = (int32_t)i - 1 };
    if (!c->grows) return n;
    for (uint32_t i = 1; i < t->n; i++) /* the root is the last of these */
        rows[n + i - 1] = (lv_row){ .token = t->nodes[i].token, .seq = seq,
                                    .parent = (int32_t)n - 1 + t->nodes[i].parent };
    return n + t->n - 1;
}

/* ---- after it ---- */

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
    lever_logprob top[LV_TOP_MOST];
    for (uint32_t i = 0; i < c->n_top; i++) top[i] = (lever_logprob){ c->top[i].token, c->top[i].logprob };
    const lever_token_event e = { .token = token, .position = s->n_tokens - 1, .text = s->text,
                                  .text_bytes = n, .source = source, .logprob = c->picked.logprob,
                                  .n_top = c->n_top, .top = c->n_top ? top : NULL };
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
static void commit(lever_session *s, const lv_cycle *c)
{
    const uint32_t n = c->n_pending;
    if (s->engine->draft) lv_draft_run_accept(&s->draft, s->path_nodes, c->n_new ? c->n_new - 1 : 0);
    for (uint32_t i = 0; i < n; i++) s->accepted[i] = (int32_t)i;
    for (uint32_t i = 0; i + 1 < c->n_new; i++) s->accepted[n + i] = (int32_t)n - 1 + s->path_nodes[i];
    lv_kv_commit(&s->kv, s->accepted, n + c->n_new - 1);
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

static int32_t pick(lever_session *s, lv_cycle *c, float *logits, const lv_history *h)
{
    if (!c->n_logprobs) return lv_sampler_pick(s->sampler, logits, h);
    c->n_top = c->n_logprobs;
    return lv_sampler_pick_scored(s->sampler, logits, h, &c->picked, c->top, &c->n_top);
}

/* Walk down from node c->at: the target's own choice at each node is text; go on while it is a child, and its logits
 * are there. At the end of the path c->at is -1. */
static void walk(lever_session *s, lv_cycle *c)
{
    for (float *logits; c->at >= 0 && (logits = lv_session_logits_at_hand(s, c->at));) {
        const uint64_t t0 = lv_clock_ns();
        const lv_history h = { .tokens = s->tokens, .n_tokens = s->n_tokens };
        const int32_t token = pick(s, c, logits, &h);
        s->engine->round.project_ns += lv_clock_ns() - t0;
        int32_t node = lv_tree_find_child(&s->tree, c->at, token);
        if (node >= 0 && s->prune.decided && !s->prune.keep[node]) c->n_accepted_dropped++;
        if (node >= 0 && s->prune.index[node] < 0) node = -1; /* a path ends where it was pruned */
        take_token(s, c, node, token);
        c->at = c->stop < 0 ? node : -1;
    }
}

/* Root by root and node by node, the logits of a few sessions are made together. */
static void accept_matches(lever_engine *e, lever_session *const *sessions, uint32_t n)
{
    for (;;) {
        lever_error err = { 0 };
        uint32_t n_waiting = 0;
        for (uint32_t i = 0; i < n; i++) {
            walk(sessions[i], &sessions[i]->run.cycle);
            n_waiting += sessions[i]->run.cycle.at >= 0;
        }
        if (n_waiting == 0) return;
        const uint64_t t0 = lv_clock_ns();
        const int rc = lv_project_ahead(e, sessions, n, &err);
        e->round.project_ns += lv_clock_ns() - t0;
        for (uint32_t i = 0; i < n; i++) {
            lv_run *r = &sessions[i]->run;
            const bool ends = rc < 0 || atomic_load(&sessions[i]->cancel);
            if (r->cycle.at < 0 || !ends) continue;
            r->rc = rc < 0 ? rc : LEVER_ECANCEL;
            r->err = err;
            r->cycle.at = -1;
        }
    }
}

/* The path and the token after it as the engine's rule decides. */
static int accept_verdict(lever_session *s, lv_cycle *c, lever_error *err)
{
    uint32_t n_path;
    int32_t next;
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(lv_session_decide(s, &n_path, &next, err));
    s->engine->round.project_ns += lv_clock_ns() - t0;
    for (uint32_t i = 0; i < n_path && c->stop < 0; i++)
        take_token(s, c, s->path_nodes[i], s->tree.nodes[s->path_nodes[i]].token);
    if (c->stop < 0) take_token(s, c, -1, next);
    return LEVER_OK;
}

static void begin_accept(lever_session *s)
{
    lv_cycle *c = &s->run.cycle;
    c->n_new = c->n_accepted = c->n_accepted_dropped = 0;
    c->stop = -1;
    c->n_kept = s->prune.n_kept;
    c->prune_ns = s->prune.ns;
    s->n_projected = 0;
}

static void accept_some(lever_engine *e, lever_session *const *sessions, uint32_t n)
{
    lever_session *walkers[LV_PROJECT_SESSIONS];
    uint32_t n_walkers = 0;
    for (uint32_t i = 0; i < n; i++) {
        lever_session *s = sessions[i];
        s->run.cycle.at = 0;
        /* A root alone was not drawn: its next token is the sampler's, as in plain decoding. */
        if (!lv_session_draws(s) || s->tree.n == 1) walkers[n_walkers++] = s;
        else s->run.rc = accept_verdict(s, &s->run.cycle, &s->run.err);
    }
    accept_matches(e, walkers, n_walkers);
    for (uint32_t i = 0; i < n; i++) commit(sessions[i], &sessions[i]->run.cycle);
}

void lv_round_accept(lever_engine *e)
{
    const lv_round *r = &e->round;
    lever_error err = { 0 };
    int rc = LEVER_OK;
    for (uint32_t i = 0; i < r->n_grow; i++) begin_accept(r->sessions[i]);
    if (r->n_grow && lv_engine_projects_all(e)) {
        const uint64_t t0 = lv_clock_ns();
        rc = lv_project_all(e, &err);
        e->round.project_ns += lv_clock_ns() - t0;
    }
    for (uint32_t i = 0; rc < 0 && i < r->n_grow; i++) {
        r->sessions[i]->run.rc = rc;
        r->sessions[i]->run.err = err;
        commit(r->sessions[i], &r->sessions[i]->run.cycle);
    }
    for (uint32_t i = 0; rc >= 0 && i < r->n_grow; i += LV_PROJECT_SESSIONS)
        accept_some(e, r->sessions + i, r->n_grow - i < LV_PROJECT_SESSIONS ? r->n_grow - i : LV_PROJECT_SESSIONS);
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

static double seconds(uint64_t ns) { return (double)ns * 1e-9; }

void lv_cycle_observe(lever_session *s, bool first)
{
    const lv_cycle *c = &s->run.cycle;
    const lv_round *r = &s->engine->round;
    uint32_t n_new = 0;
    for (uint32_t i = 0; i < r->n_grow; i++) n_new += r->sessions[i]->run.cycle.n_new;
    const lv_outcome o = { .tree = &s->tree,
                           .path = s->path_nodes,
                           .n_path = c->n_new - 1,
                           .next = s->tokens[s->n_tokens - 1],
                           .n_rows = r->n_rows,
                           .n_kept_rows = r->n_kept,
                           .draft_s = seconds(c->grown_ns - r->begin_ns),
                           .project_s = seconds(r->project_ns) * c->n_new / n_new,
                           .sweep = first ? lv_round_sweep_took(r) : (lv_sweep_took){ .seconds = -1 } };
    if (c->learner) lv_policy_share(c->policy, c->learner);
    lv_policy_observe(c->policy, &o);
    lv_noter_observe(s, c);
    if (c->learner) lv_policy_share(c->learner, c->policy);
    if (c->on_guess) tell_guesses(s, c);
    if (c->on_cycle) lv_view_show(s);
}
