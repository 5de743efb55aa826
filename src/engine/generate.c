/* Making the next tokens of a text: at once, or in steps that several sessions take in turn.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"
#include "os/memory.h"

/* A policy the engine was not opened for must do with what was planned for the others. */
static int check_own_policy(const lever_engine *e, const lv_policy *p, lever_error *err)
{
    const char *name = lv_policy_name(p), *planned = lv_policy_name(e->policies[0]);
    LEVER_TRY(lv_rule_check_policy(e->rule, p, err));
    if (lv_policy_needs_draft(p) && !e->draft)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "policy '%s' needs a draft model, but the engine was opened without one ('%s')", name,
                       planned);
    if (lv_policy_max_nodes(p) > e->max_nodes)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "policy '%s' needs %u rows, but the engine was opened for %u ('%s')", name,
                       lv_policy_max_nodes(p), e->max_nodes, planned);
    if (lv_policy_grow_nodes(p) > e->grow_nodes || lv_policy_draft_rows(p) > e->draft_rows)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "policy '%s' needs room for %u nodes and %u draft rows, but the engine was opened for "
                       "%u and %u ('%s')", name, lv_policy_grow_nodes(p), lv_policy_draft_rows(p),
                       e->grow_nodes, e->draft_rows, planned);
    return LEVER_OK;
}

/* The i-th of the engine's policies. */
static int use_policy(lever_session *s, uint32_t i)
{
    lv_policy *p = s->engine->policies[i];
    s->run.cycle.policy = s->policies ? s->policies[i] : p;
    s->run.cycle.learner = s->policies ? p : NULL;
    return LEVER_OK;
}

static int start_run(lever_session *s, const lever_generate_params *p, lever_error *err)
{
    lv_run *r = &s->run;
    if (s->n_tokens == 0)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "the text is empty: append at least one token before generating");
    /* The prompt is the start of the text, so its continuation keeps a leading space. */
    for (uint32_t i = 0; i < s->n_tokens && !s->detok.started; i++)
        s->detok.started = !lv_vocab_is_special(s->engine->vocab, s->tokens[i]);
    if (p && p->n_logprobs > LV_TOP_MOST)
        return lv_fail(err, LEVER_EINVAL, 0, "%u log-probabilities of each token asked for; at most %d are given",
                       p->n_logprobs, LV_TOP_MOST);
    if (p && p->n_logprobs && lv_session_draws(s))
        return lv_fail(err, LEVER_EINVAL, 0, "log-probabilities of tokens need --verify match, not %s",
                       lv_rule_name(s->engine->rule));
    if (p && p->on_cycle) LEVER_TRY(lv_view_open(s, err));
    r->cycle.on_cycle = p ? p->on_cycle : NULL;
    r->cycle.cycle_user = p ? p->cycle_user : NULL;
    r->cycle.n_logprobs = p ? p->n_logprobs : 0;
    r->left = p && p->max_tokens ? p->max_tokens : UINT32_MAX;
    r->cycle.ignore_end = p && p->ignore_end;
    r->cycle.on_guess = p ? p->on_guess : NULL;
    r->cycle.guess_user = p ? p->guess_user : NULL;
    if (!p || !p->policy) return use_policy(s, 0);
    for (uint32_t i = 0; i < s->engine->n_policies; i++)
        if (!strcmp(p->policy, lv_policy_name(s->engine->policies[i]))) return use_policy(s, i);
    LEVER_TRY(lv_policy_open(&r->own_policy, p->policy, err));
    r->cycle.policy = r->own_policy;
    return check_own_policy(s->engine, r->own_policy, err);
}

static void flush_text(lever_session *s)
{
    const lv_run *r = &s->run;
    const size_t n = lv_detok_flush(&s->detok, s->text, s->text_cap);
    if (!n || !r->cycle.on_token) return;
    const lever_token_event e = { .token = -1, .position = s->n_tokens, .text = s->text, .text_bytes = n };
    r->cycle.on_token(r->cycle.user, &e);
}

int lever_session_start(lever_session *s, const lever_generate_params *params, lever_on_token on_token, void *user,
                        lever_error *err)
{
    lv_run *r = &s->run;
    if (r->started) return lv_fail(err, LEVER_EINVAL, 0, "the session is generating already; finish that first");
    *r = (lv_run){ .cycle = { .on_token = on_token, .user = user } };
    r->stats = (lever_stats){ .mem_limit_bytes = s->engine->plan.limit_bytes, .stop = -1 };
    const int rc = start_run(s, params, err);
    if (rc < 0) {
        lv_policy_close(&r->own_policy);
        return rc;
    }
    lv_ahead_count(s->ahead, NULL);
    r->stats.n_prompt_tokens = s->n_tokens - s->kv.n_committed;
    if (s->n_tokens >= s->n_ctx) r->stats.stop = LEVER_STOP_CONTEXT;
    r->started = true;
    r->running = r->stats.stop < 0;
    lv_kv_give_back(&s->kv);
    lv_kv_give_back(&s->draft_kv);
    lv_loan_update(s->engine);
    return LEVER_OK;
}

uint32_t lever_engine_step(lever_engine *e)
{
    lever_session *running[LV_SESSIONS_MOST];
    uint32_t n = 0, left = 0;
    for (uint32_t i = 0; i < LV_SESSIONS_MOST; i++)
        if (e->sessions[i] && e->sessions[i]->run.running) running[n++] = e->sessions[i];
    if (n) lv_engine_round(e, running, n);
    for (uint32_t i = 0; i < n; i++) left += running[i]->run.running;
    return left;
}

bool lever_session_is_running(const lever_session *s) { return s->run.running; }

int lever_session_finish(lever_session *s, lever_stats *stats, lever_error *err)
{
    lv_run *r = &s->run;
    if (!r->started) return lv_fail(err, LEVER_EINVAL, 0, "the session is not generating");
    if (r->running) r->stats.stop = LEVER_STOP_CANCEL;
    r->started = r->running = false;
    if (r->rc >= 0) flush_text(s);
    else if (err) *err = r->err;
    atomic_store(&s->cancel, false);
    lv_policy_close(&r->own_policy);
    lv_noter_flush(s);
    r->stats.peak_rss_bytes = lv_memory_peak_rss();
    lv_ahead_count(s->ahead, &r->stats);
    if (stats) *stats = r->stats;
    return r->rc;
}

int lever_session_generate(lever_session *s, const lever_generate_params *params, lever_on_token on_token,
                           void *user, lever_stats *stats, lever_error *err)
{
    if (stats) *stats = (lever_stats){ .mem_limit_bytes = s->engine->plan.limit_bytes };
    LEVER_TRY(lever_session_start(s, params, on_token, user, err));
    while (s->run.running) lv_engine_round(s->engine, &s, 1);
    return lever_session_finish(s, stats, err);
}
