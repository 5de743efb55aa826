/* Sessions: one text with its caches. SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"

void lever_sampling_init(lever_sampling *s)
{
    lv_sampler_params p;
    lv_sampler_params_init(&p);
    *s = (lever_sampling){ .temperature = p.temperature,
                           .top_k = p.top_k,
                           .top_p = p.top_p,
                           .min_p = p.min_p,
                           .repeat_penalty = p.repeat_penalty,
                           .repeat_last_n = p.repeat_last_n,
                           .seed = p.seed };
}

static int open_sampler(lever_session *s, const lever_sampling *in, lever_error *err)
{
    lever_sampling def;
    if (!in) {
        lever_sampling_init(&def);
        in = &def;
    }
    const lv_sampler_params p = { .temperature = in->temperature, .top_k = in->top_k, .top_p = in->top_p,
                                  .min_p = in->min_p, .repeat_penalty = in->repeat_penalty,
                                  .repeat_last_n = in->repeat_last_n, .seed = in->seed };
    LEVER_TRY(lv_sampler_params_check(&p, err));
    LEVER_TRY(lv_rule_check_sampling(s->engine->rule, &p, err));
    if (s->sampler) LEVER_TRY(lv_sampler_set(s->sampler, &p, err));
    else LEVER_TRY(lv_sampler_open(&s->sampler, &p, lv_cpu_kernels(s->engine->cpu),
                                   lv_vocab_n_used(s->engine->vocab), err));
    s->params = p;
    return LEVER_OK;
}

static int open_draft_run(lever_session *s, lever_error *err)
{
    lever_engine *e = s->engine;
    lv_draft_run *d = &s->draft;
    LEVER_TRY(lv_kv_init_in(&s->draft_kv, lv_model_hparams(e->draft), e->draft_kv_type, s->n_ctx,
                            lv_draft_scratch(e->plan.max_rows, e->draft_rows + e->ahead_rows), lv_loan_room(e), err));
    LEVER_TRY(lv_noter_open(&s->noter, e->draft_rows, err));
    d->session = s;
    d->logit_rows = e->max_nodes < LV_DRAFT_LOGIT_ROWS ? e->max_nodes : LV_DRAFT_LOGIT_ROWS;
    if (e->n_sessions > 1) LEVER_TRY(lv_turns_open(&s->turns, LV_TURNS_STACK_BYTES, err));
    d->path = lv_alloc_array(e->grow_nodes, sizeof *d->path, 64);
    d->n_vocab = lv_model_hparams(e->draft)->n_vocab;
    if (e->rule != LV_RULE_MATCH) {
        d->drawn = lv_alloc_array((size_t)e->draft_rows + 1, sizeof *d->drawn, 64);
        s->levels = lv_alloc_array(lv_rule_levels(e->max_nodes), sizeof *s->levels, 64);
        if (!d->drawn || !s->levels) return lv_fail(err, LEVER_ENOMEM, 0, "draws of the session");
    }
    if (!d->path) return lv_fail(err, LEVER_ENOMEM, 0, "draft buffers of the session");
    return e->ahead_rows ? lv_ahead_open(&s->ahead, s, &e->ahead_cpu, e->ahead_always, err) : LEVER_OK;
}

/* Trees of several sessions grow at a time, each by a policy of its own; what these learn goes to the engine's. */
static int open_policies(lever_session *s, lever_error *err)
{
    const lever_engine *e = s->engine;
    if (e->n_sessions == 1) return LEVER_OK;
    s->policies = lv_alloc_array(e->n_policies, sizeof *s->policies, 16);
    if (!s->policies) return lv_fail(err, LEVER_ENOMEM, 0, "policies of the session");
    for (uint32_t i = 0; i < e->n_policies; i++)
        LEVER_TRY(lv_policy_open(&s->policies[i], lv_policy_name(e->policies[i]), err));
    return LEVER_OK;
}

void lv_session_new_text(const lever_session *s)
{
    const lever_engine *e = s->engine;
    for (uint32_t i = 0; i < e->n_policies; i++) lv_policy_reset(s->policies ? s->policies[i] : e->policies[i]);
}

static int open_buffers(lever_session *s, lever_error *err)
{
    lever_engine *e = s->engine;
    const uint32_t max_rows = e->plan.max_rows;
    LEVER_TRY(lv_loan_open(e, err));
    LEVER_TRY(lv_kv_init_in(&s->kv, lv_model_hparams(e->target), e->kv_type, s->n_ctx, max_rows, lv_loan_room(e), err));
    LEVER_TRY(lv_tree_init(&s->tree, e->grow_nodes, err));
    s->text_cap = lv_detok_max_bytes(e->vocab);
    s->tokens = lv_alloc_array(s->n_ctx, sizeof *s->tokens, 64);
    s->talk = lv_alloc_array(s->n_ctx, sizeof *s->talk, 64);
    s->accepted = lv_alloc_array(max_rows, sizeof *s->accepted, 64);
    s->path_nodes = lv_alloc_array((size_t)e->max_nodes + 1, sizeof *s->path_nodes, 64);
    s->text = lv_alloc(s->text_cap, 64);
    if (!s->tokens || !s->talk || !s->accepted || !s->path_nodes || !s->text)
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the session");
    LEVER_TRY(open_policies(s, err));
    LEVER_TRY(lv_pruner_open(&s->prune, e, err));
    return e->draft ? open_draft_run(s, err) : LEVER_OK;
}

int lever_session_open(lever_session **out, lever_engine *engine, const lever_sampling *sampling,
                       lever_error *err)
{
    *out = NULL;
    uint32_t place = 0, n_open = 0;
    for (uint32_t i = LV_SESSIONS_MOST; i-- > 0;) {
        n_open += engine->sessions[i] != NULL;
        if (!engine->sessions[i]) place = i;
    }
    if (n_open >= engine->n_sessions)
        return lv_fail(err, LEVER_EINVAL, 0, "this engine was opened for %u sessions, which are all open; close one "
                       "first or raise n_sessions", engine->n_sessions);
    lever_session *s = lv_alloc(sizeof *s, 64);
    if (!s) return lv_fail(err, LEVER_ENOMEM, 0, "session");
    s->engine = engine;
    s->n_ctx = engine->plan.n_ctx;
    engine->sessions[place] = s;
    int rc = open_buffers(s, err);
    if (rc >= 0) rc = open_sampler(s, sampling, err);
    if (rc < 0) {
        lever_session_close(&s);
        return rc;
    }
    lv_session_new_text(s);
    lv_loan_update(engine);
    *out = s;
    return LEVER_OK;
}

void lever_session_close(lever_session **session)
{
    if (!session || !*session) return;
    lever_session *s = *session;
    *session = NULL;
    for (uint32_t i = 0; i < LV_SESSIONS_MOST; i++)
        if (s->engine->sessions[i] == s) s->engine->sessions[i] = NULL;
    lv_turns_close(&s->turns);
    lv_ahead_close(&s->ahead);
    lv_policy_close(&s->run.own_policy);
    if (s->policies) lv_policies_close(s->policies, s->engine->n_policies);
    lv_sampler_close(&s->sampler);
    lv_tree_fini(&s->tree);
    lv_kv_fini(&s->kv);
    lv_kv_fini(&s->draft_kv);
    lv_free(s->tokens);
    lv_free(s->talk);
    lv_free(s->accepted);
    lv_free(s->path_nodes);
    lv_free(s->text);
    lv_pruner_close(&s->prune);
    lv_noter_close(&s->noter);
    lv_view_close(&s->view);
    lv_free(s->draft.path);
    lv_free(s->draft.drawn);
    lv_free(s->levels);
    lv_free(s);
}

int lever_session_reset(lever_session *s, const lever_sampling *sampling, lever_error *err)
{
    if (sampling) LEVER_TRY(open_sampler(s, sampling, err));
    s->n_tokens = 0;
    s->detok = (lv_detok){ 0 };
    lv_kv_truncate(&s->kv, 0);
    if (s->engine->draft) lv_kv_truncate(&s->draft_kv, 0);
    lv_session_new_text(s);
    return LEVER_OK;
}

int lv_session_check_tokens(const lever_session *s, const int32_t *tokens, size_t n, lever_error *err)
{
    const int32_t n_used = lv_vocab_n_used(s->engine->vocab);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_used)
            return lv_fail(err, LEVER_EINVAL, 0, "token %d is not in the vocabulary of %d", tokens[i],
                           n_used);
    return LEVER_OK;
}

int lever_session_append(lever_session *s, const int32_t *tokens, size_t n, lever_error *err)
{
    if (n > s->n_ctx - s->n_tokens)
        return lv_fail(err, LEVER_ELIMIT, 0,
                       "the text has %u tokens and %zu more do not fit the context of %u; use a longer -c",
                       s->n_tokens, n, s->n_ctx);
    LEVER_TRY(lv_session_check_tokens(s, tokens, n, err));
    if (n) memcpy(s->tokens + s->n_tokens, tokens, n * sizeof *tokens);
    s->n_tokens += (uint32_t)n;
    return LEVER_OK;
}

static void keep_evaluated(lv_kv *kv, uint32_t n)
{
    lv_kv_truncate(kv, kv->n_committed < n ? kv->n_committed : n);
}

int64_t lever_session_set_tokens(lever_session *s, const int32_t *tokens, size_t n, lever_error *err)
{
    if (n > s->n_ctx)
        return lv_fail(err, LEVER_ELIMIT, 0,
                       "the text is %zu tokens long and does not fit the context of %u; use a longer -c", n,
                       s->n_ctx);
    LEVER_TRY(lv_session_check_tokens(s, tokens, n, err));
    uint32_t same = 0;
    while (same < n && same < s->n_tokens && tokens[same] == s->tokens[same]) same++;
    const uint32_t keep = same == n && n ? same - 1 : same; /* the last token always waits for evaluation */
    keep_evaluated(&s->kv, keep);
    if (s->engine->draft) keep_evaluated(&s->draft_kv, keep);
    if (same == 0) lv_session_new_text(s);
    if (n) memmove(s->tokens + same, tokens + same, (n - same) * sizeof *tokens);
    s->n_tokens = (uint32_t)n;
    s->detok = (lv_detok){ 0 };
    return s->kv.n_committed;
}

int lever_session_set_sampling(lever_session *s, const lever_sampling *sampling, lever_error *err)
{
    return open_sampler(s, sampling, err);
}

int lever_session_append_text(lever_session *s, const char *text, size_t len, unsigned flags,
                              lever_error *err)
{
    const size_t room = s->n_ctx - s->n_tokens;
    if (s->n_tokens > 0) flags |= LEVER_ENCODE_NO_BOS;
    const int64_t n = lever_tokenize(s->engine, text, len, flags, s->tokens + s->n_tokens, room, err);
    if (n < 0) return (int)n;
    if ((uint64_t)n > room)
        return lv_fail(err, LEVER_ELIMIT, 0,
                       "the text is %lld tokens long, but only %zu of the context of %u are free; "
                       "use a longer -c or a shorter prompt", (long long)n, room, s->n_ctx);
    s->n_tokens += (uint32_t)n;
    return LEVER_OK;
}

const int32_t *lever_session_tokens(const lever_session *s, size_t *n)
{
    *n = s->n_tokens;
    return s->tokens;
}

void lever_session_cancel(lever_session *s) { atomic_store(&s->cancel, true); }
