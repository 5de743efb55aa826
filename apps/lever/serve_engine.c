/* The engine thread: sessions and what they answer. SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cache_dir.h"
#include "serve.h"
#include "serve_answer.h"
#include "serve_kept.h"

/* ---- beginning an answer ---- */

static size_t common(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    size_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

/* The idle session that holds the beginning of these tokens, if it holds little else; *same of them. NULL:
 * none. */
static serve_slot *slot_of(server *s, const serve_ask *ask, size_t *same)
{
    serve_slot *best = NULL;
    *same = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        serve_slot *slot = &s->slots[i];
        if (slot->request) continue;
        size_t n;
        const int32_t *tokens = lever_session_tokens(slot->session, &n);
        const size_t c = common(tokens, n, ask->tokens, ask->n_tokens);
        if (c <= *same || 2 * c < n) continue;
        best = slot;
        *same = c;
    }
    return best;
}

/* The idle session that was used longest ago; the ones that never were come first. There is one. */
static serve_slot *slot_to_give(server *s)
{
    serve_slot *best = NULL;
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (!s->slots[i].request && (!best || s->slots[i].used < best->used)) best = &s->slots[i];
    return best;
}

/* A session for the request: one that knows the beginning, or one that was kept on disk, or any. */
static serve_slot *choose_slot(server *s, const serve_request *r)
{
    size_t same;
    serve_slot *slot = slot_of(s, &r->ask, &same);
    if (kept_match(s->kept, r->ask.tokens, r->ask.n_tokens) <= same && slot) return slot;
    slot = slot_to_give(s);
    const bool saved = kept_save(s->kept, slot->session);
    const bool loaded = kept_load(s->kept, slot->session, r->ask.tokens, r->ask.n_tokens);
    pthread_mutex_lock(&s->lock);
    s->counts.kept_saved += saved;
    s->counts.kept_loaded += loaded;
    pthread_mutex_unlock(&s->lock);
    return slot;
}

static int start(server *s, serve_request *r, lever_session *session, lever_error *err)
{
    const serve_ask *ask = &r->ask;
    int rc = lever_session_set_sampling(session, &ask->sampling, err);
    if (rc < 0) return rc;
    const int64_t cached = lever_session_set_tokens(session, ask->tokens, ask->n_tokens, err);
    if (cached < 0) return (int)cached;
    r->answer = answer_open(s, r, (size_t)cached);
    if (!r->answer) return snprintf(err->msg, sizeof err->msg, "out of memory"), LEVER_ENOMEM;
    const lever_generate_params p = {
        .max_tokens = ask->max_tokens,
        .ignore_end = ask->ignore_end,
        .n_logprobs = !ask->logprobs ? 0 : ask->n_top ? ask->n_top : 1,
        .on_cycle = ask->cycles && ask->stream ? answer_on_cycle : NULL,
        .cycle_user = r->answer,
    };
    rc = lever_session_start(session, &p, answer_on_token, r->answer, err);
    if (rc < 0) return rc;
    pthread_mutex_lock(&s->lock);
    s->counts.prompt_tokens += ask->n_tokens;
    s->counts.cached_tokens += (uint64_t)cached;
    pthread_mutex_unlock(&s->lock);
    return LEVER_OK;
}

static void fail(server *s, serve_request *r, int end, int rc, const char *why)
{
    api_error e;
    const bool asked = rc == LEVER_EINVAL || rc == LEVER_ELIMIT || rc == LEVER_EUNSUP;
    api_fail(&e, end == SERVE_END_SHUTDOWN || rc == LEVER_ENOMEM ? 503 : asked ? 400 : 500,
             end == SERVE_END_SHUTDOWN ? "shutting_down" : NULL, NULL, "%s", why);
    pthread_mutex_lock(&s->lock);
    serve_request_fail(s, r, end, &e);
    pthread_mutex_unlock(&s->lock);
}

static void begin(server *s, serve_request *r)
{
    lever_error err = { 0 };
    serve_slot *slot = choose_slot(s, r);
    const int rc = start(s, r, slot->session, &err);
    if (rc < 0) {
        answer_close(r->answer);
        r->answer = NULL;
        fail(s, r, SERVE_END_ERROR, rc, err.msg);
        serve_request_drop(s, r);
        return;
    }
    slot->used = ++s->ticks;
    pthread_mutex_lock(&s->lock);
    slot->request = r;
    r->session = slot->session;
    if (r->gone || s->cut) lever_session_cancel(slot->session);
    pthread_mutex_unlock(&s->lock);
    answer_begin(r->answer);
    if (r->ask.stream) answer_flush(r->answer, -1);
}

/* ---- ending one ---- */

static int how_it_ended(const server *s, const serve_request *r, int rc, const lever_stats *st)
{
    const int own = answer_ended(r->answer);
    if (r->gone) return SERVE_END_GONE;
    if (own == SERVE_END_SLOW) return SERVE_END_SLOW;
    if (rc < 0) return SERVE_END_ERROR;
    if (own >= 0) return own;
    if (st->stop == LEVER_STOP_CANCEL) return s->cut ? SERVE_END_SHUTDOWN : SERVE_END_ERROR;
    return st->stop == LEVER_STOP_MAX_TOKENS || st->stop == LEVER_STOP_CONTEXT ? SERVE_END_LENGTH
                                                                               : SERVE_END_STOP;
}

static void count_answer(server *s, serve_request *r, const lever_stats *st)
{
    serve_counts *c = &s->counts;
    const uint64_t now = now_ns();
    c->new_tokens += st->n_new_tokens;
    c->drafted += st->n_drafted;
    c->accepted += st->n_accepted;
    c->rows += st->n_rows;
    c->total_n++;
    c->total_s += (double)(now - r->begin_ns) * 1e-9;
    if (!r->first_ns) return;
    c->first_n++;
    c->first_s += (double)(r->first_ns - r->begin_ns) * 1e-9;
}

static void note_detail(serve_request *r, int end, const lever_stats *st)
{
    static const char *const names[] = {
        "stop", "length", "client left", "shut down", "client reads too slowly", "error"
    };
    const double decode_s = (double)st->decode_ns * 1e-9;
    snprintf(r->detail, sizeof r->detail, "%zu prompt, %u new tokens, %s, first after %.2f s, %.1f tokens/s",
             r->ask.n_tokens, st->n_new_tokens, names[end],
             r->first_ns ? (double)(r->first_ns - r->begin_ns) * 1e-9 : 0.0,
             decode_s > 0 ? st->n_decode_tokens / decode_s : 0.0);
}

/* The last words to the client. */
static void deliver(server *s, serve_request *r, int how, int rc, const lever_stats *st,
                    const lever_error *err)
{
    pthread_mutex_lock(&s->lock);
    note_detail(r, how, st);
    pthread_mutex_unlock(&s->lock);
    if (how == SERVE_END_STOP || how == SERVE_END_LENGTH) {
        answer_finish(r->answer, st);
        if (answer_flush(r->answer, how)) return;
        how = r->ask.stream ? SERVE_END_SLOW : SERVE_END_ERROR;
        rc = LEVER_ENOMEM;
    }
    if (how == SERVE_END_SHUTDOWN)
        fail(s, r, how, 0, "the server is shutting down; the answer is not complete");
    if (how == SERVE_END_ERROR) fail(s, r, how, rc, err->msg[0] ? err->msg : lever_status_text(rc));
    if (how == SERVE_END_SHUTDOWN || how == SERVE_END_ERROR) return;
    pthread_mutex_lock(&s->lock);
    r->gone = true; /* the connection of a client that reads too slowly is cut, not left waiting */
    serve_request_done(s, r, how);
    serve_request_wake(s, r);
    pthread_mutex_unlock(&s->lock);
}

static void end(server *s, serve_slot *slot)
{
    serve_request *r = slot->request;
    lever_stats st = { 0 };
    lever_error err = { 0 };
    pthread_mutex_lock(&s->lock);
    r->session = NULL; /* before the end: a cancel after it would be the next answer's */
    slot->request = NULL;
    pthread_mutex_unlock(&s->lock);
    const int rc = lever_session_finish(slot->session, &st, &err);
    pthread_mutex_lock(&s->lock);
    count_answer(s, r, &st);
    const int how = how_it_ended(s, r, rc, &st);
    pthread_mutex_unlock(&s->lock);
    deliver(s, r, how, rc, &st, &err);
    answer_close(r->answer);
    r->answer = NULL;
    serve_request_drop(s, r);
}

/* ---- the loop ---- */

static void refuse_queue(server *s)
{
    api_error e;
    api_fail(&e, 503, "shutting_down", NULL, "the server is shutting down");
    while (s->queue) {
        serve_request *r = s->queue;
        serve_queue_remove(s, r);
        serve_request_fail(s, r, SERVE_END_SHUTDOWN, &e);
        r->refs--; /* HTTP, which still has to send this, holds its own */
    }
}

/* Takes what waits, as far as there are places. false: nothing is left, and nothing more will come. */
static bool admit(server *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->queue && s->n_active == 0 && atomic_load(&s->phase) == SERVE_READY)
        pthread_cond_wait(&s->work, &s->lock);
    if (atomic_load(&s->phase) != SERVE_READY) refuse_queue(s);
    for (uint32_t i = 0; s->cut && i < s->n_slots; i++)
        if (s->slots[i].request) lever_session_cancel(s->slots[i].session);
    const bool more = atomic_load(&s->phase) == SERVE_READY || s->n_active;
    while (s->queue && s->n_active < s->n_slots) {
        serve_request *r = serve_queue_pop(s);
        pthread_mutex_unlock(&s->lock);
        begin(s, r);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return more;
}

static uint64_t n_tokens(const server *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        size_t n;
        lever_session_tokens(s->slots[i].session, &n);
        sum += n;
    }
    return sum;
}

static void step(server *s)
{
    const uint64_t before = n_tokens(s);
    lever_engine_info info;
    lever_engine_step(s->engine);
    lever_engine_get_info(s->engine, &info);
    pthread_mutex_lock(&s->lock);
    serve_count_sweep(s, n_tokens(s) - before, info.target_read_bytes);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        serve_slot *slot = &s->slots[i];
        if (!slot->request) continue;
        if (slot->request->ask.stream) answer_flush(slot->request->answer, -1);
        const bool slow = answer_ended(slot->request->answer) == SERVE_END_SLOW;
        if (slow || !lever_session_is_running(slot->session)) end(s, slot);
    }
}

/* ---- opening and closing ---- */

static void on_load(void *user, const char *what, uint64_t done, uint64_t total)
{
    progress_show(user, what, done, total);
}

static int choose_form(server *s, lever_error *err)
{
    const int rc = chat_args_apply(&s->args.chat, s->engine, err);
    if (rc < 0) return rc;
    lever_chat_get_info(s->engine, &s->form);
    if (!s->form.name && !s->form.has_template) lever_chat_choose(s->engine, "plain", NULL);
    lever_chat_get_info(s->engine, &s->form);
    if (!s->form.name) serve_log(s, "no /v1/chat/completions: %s", s->form.why);
    return LEVER_OK;
}

static int open_all(server *s, lever_error *err)
{
    progress load = { 0 };
    s->config.progress = on_load;
    s->config.progress_user = &load;
    int rc = serve_plan_sessions(s, err);
    if (rc >= 0) rc = lever_engine_open(&s->engine, &s->config, err);
    progress_clear(&load);
    if (rc < 0) return rc;
    if (!s->args.model.no_learn) learnt_load(s->engine);
    if ((rc = choose_form(s, err)) < 0) return rc;
    lever_engine_get_info(s->engine, &s->info);
    if (s->info.exit_note) serve_log(s, "no pruning: %s", s->info.exit_note);
    for (uint32_t i = 0; i < s->config.n_sessions; i++) {
        rc = lever_session_open(&s->slots[i].session, s->engine, &s->args.sampling, err);
        if (rc < 0) return rc;
        s->n_slots = i + 1;
    }
    s->kept = kept_open(s->args.disk);
    return LEVER_OK;
}

void serve_engine_close(server *s)
{
    kept_close(&s->kept);
    for (uint32_t i = 0; i < s->n_slots; i++) lever_session_close(&s->slots[i].session);
    if (s->engine && !s->args.model.no_learn) learnt_store(s->engine);
    lever_engine_close(&s->engine);
}

void *serve_engine_main(void *user)
{
    serve_engine_result *out = user;
    server *s = out->s;
    int loading = SERVE_LOADING;
    out->rc = open_all(s, &out->err);
    if (out->rc >= 0) atomic_compare_exchange_strong(&s->phase, &loading, SERVE_READY);
    while (out->rc >= 0 && admit(s))
        if (s->n_active) step(s);
    pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->phase) < SERVE_STOPPING) atomic_store(&s->phase, SERVE_STOPPING);
    refuse_queue(s);
    s->engine_over = true;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
