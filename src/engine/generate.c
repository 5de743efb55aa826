/* Making the next tokens of a text: at once, or in steps that several sessions take in turn.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"
#include "os/clock.h"
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
    r->cycle.policy = s->engine->policies[0];
    if (!p || !p->policy) return LEVER_OK;
    for (uint32_t i = 0; i < s->engine->n_policies; i++)
        if (!strcmp(p->policy, lv_policy_name(s->engine->policies[i]))) {
            r->cycle.policy = s->engine->policies[i];
            return LEVER_OK;
        }
    LEVER_TRY(lv_policy_open(&r->own_policy, p->policy, err));
    r->cycle.policy = r->own_policy;
    return check_own_policy(s->engine, r->own_policy, err);
}

/* What is left of the prompt beyond what one cycle takes: how many rows the next sweep is to evaluate; 0: none. */
static uint32_t prefill_rows(const lever_session *s)
{
    const uint32_t max_rows = s->engine->plan.max_rows, tree_rows = s->engine->max_nodes - 1;
    const uint32_t pending = s->n_tokens - s->kv.n_committed;
    if (pending == 1 || pending + tree_rows <= max_rows) return 0;
    return pending - 1 < max_rows ? pending - 1 : max_rows;
}

static int prefill(lever_session *s, uint32_t n, lever_error *err)
{
    lv_run *r = &s->run;
    lv_model_stats before, after;
    lv_model_get_stats(s->engine->target, &before);
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(lv_session_prefill(s, n, err));
    const uint64_t ns = lv_clock_ns() - t0;
    lv_model_get_stats(s->engine->target, &after);
    lv_policy_observe_sweep(r->cycle.policy, n, (double)ns * 1e-9, (double)lv_flash_ns(ns, &before, &after) * 1e-9);
    r->stats.n_prefill_sweeps++;
    r->stats.prefill_ns += ns;
    return LEVER_OK;
}

static void count_cycle(lv_run *r, bool is_prefill, uint64_t ns, const lv_model_stats *before,
                        const lv_model_stats *after)
{
    lever_stats *st = &r->stats;
    const lv_cycle *c = &r->cycle;
    st->n_new_tokens += c->n_new;
    if (is_prefill) {
        st->n_prefill_sweeps++;
        st->prefill_ns += ns;
        return;
    }
    st->n_cycles++;
    st->n_decode_tokens += c->n_new;
    st->n_rows += c->n_rows;
    st->n_drafted += c->n_drafted;
    st->n_accepted += c->n_accepted;
    st->n_kept_rows += c->n_kept;
    st->n_accepted_dropped += c->n_accepted_dropped;
    st->prune_ns += c->prune_ns;
    st->draft_model_ns += c->draft_model_ns;
    st->decode_ns += ns;
    st->expected_tokens += c->expected.tokens;
    st->expected_s += c->expected.seconds;
    st->draft_ns += c->draft_ns;
    st->verify_ns += c->verify_ns;
    st->project_ns += c->project_ns;
    st->flash_wait_ns += c->flash_wait_ns;
    st->flash_idle_ns += after->idle_ns - before->idle_ns;
    st->bytes_read += after->bytes_read - before->bytes_read;
}

static int decode(lever_session *s, lever_error *err)
{
    lv_run *r = &s->run;
    const bool is_prefill = s->n_tokens - s->kv.n_committed > 1;
    lv_model_stats before, after;
    r->cycle.max_new = r->left;
    const uint64_t t0 = lv_clock_ns();
    lv_model_get_stats(s->engine->target, &before);
    const int rc = lv_session_cycle(s, &r->cycle, err);
    lv_model_get_stats(s->engine->target, &after);
    count_cycle(r, is_prefill, lv_clock_ns() - t0, &before, &after);
    LEVER_TRY(rc);
    r->left -= r->cycle.n_new;
    r->stats.stop = r->cycle.stop;
    return LEVER_OK;
}

/* One sweep for one session; notes how the run ended. */
static void step(lever_session *s)
{
    lv_run *r = &s->run;
    const uint32_t n = prefill_rows(s);
    r->rc = n ? prefill(s, n, &r->err) : decode(s, &r->err);
    if (r->rc == LEVER_ECANCEL) {
        r->stats.stop = LEVER_STOP_CANCEL;
        r->rc = LEVER_OK;
    }
    r->running = r->rc >= 0 && r->stats.stop < 0;
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
    r->stats.n_prompt_tokens = s->n_tokens - s->kv.n_committed;
    if (s->n_tokens >= s->n_ctx) r->stats.stop = LEVER_STOP_CONTEXT;
    r->started = true;
    r->running = r->stats.stop < 0;
    return LEVER_OK;
}

int lever_engine_step(lever_engine *e, lever_error *err)
{
    (void)err;
    int n = 0;
    for (uint32_t i = 0; i < LV_SESSIONS_MOST; i++) {
        lever_session *s = e->sessions[i];
        if (!s || !s->run.running) continue;
        step(s);
        n += s->run.running;
    }
    return n;
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
    r->stats.peak_rss_bytes = lv_memory_peak_rss();
    if (stats) *stats = r->stats;
    return r->rc;
}

int lever_session_generate(lever_session *s, const lever_generate_params *params, lever_on_token on_token,
                           void *user, lever_stats *stats, lever_error *err)
{
    if (stats) *stats = (lever_stats){ .mem_limit_bytes = s->engine->plan.limit_bytes };
    LEVER_TRY(lever_session_start(s, params, on_token, user, err));
    while (s->run.running) step(s);
    return lever_session_finish(s, stats, err);
}
