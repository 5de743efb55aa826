/* A round: one sweep over the target for several sessions. Some grow trees below their texts, others bring parts of
 * prompts; all rows are one batch, and each session takes what became of its own.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include "os/clock.h"

/* ---- who brings how much ---- */

static uint32_t pending(const lever_session *s) { return s->n_tokens - s->kv.n_committed; }

static uint32_t at_most(uint32_t n, uint32_t most) { return n < most ? n : most; }

/* Does a session reach the end of its text within `share` rows, and still have room for a tree worth the name? */
static bool can_grow(const lever_engine *e, const lever_session *s, uint32_t share, bool alone)
{
    const uint32_t tree = alone ? e->max_nodes - 1 : at_most(e->max_nodes - 1, share / 2);
    return pending(s) == 1 || pending(s) + tree <= share;
}

static void begin_cycle(lever_session *s)
{
    lv_run *r = &s->run;
    r->cycle.max_new = r->left;
    r->cycle.n_pending = pending(s);
}

/* The sweep's rows are shared out evenly. There is at least one for each session (the plan sees to that). */
static void choose_growing(lever_engine *e, lever_session *const *sessions, uint32_t n)
{
    lv_round *r = &e->round;
    const uint32_t share = e->plan.max_rows / n;
    r->n = r->n_grow = 0;
    for (uint32_t i = 0; i < n; i++) {
        begin_cycle(sessions[i]);
        sessions[i]->run.cycle.grows = can_grow(e, sessions[i], share, n == 1);
        if (sessions[i]->run.cycle.grows) r->sessions[r->n_grow++] = sessions[i];
    }
    r->n = r->n_grow;
    for (uint32_t i = 0; i < n; i++)
        if (!sessions[i]->run.cycle.grows) r->sessions[r->n++] = sessions[i];
    for (uint32_t i = 0; i < r->n_grow; i++) {
        lv_cycle *c = &r->sessions[i]->run.cycle;
        c->most_nodes = at_most(share - c->n_pending + 1, e->max_nodes);
        /* Where all nodes are projected at once, as with a streamed head, there is no more room for logits. */
        if (lv_engine_projects_all(e)) c->most_nodes = at_most(c->most_nodes, e->logit_rows / r->n_grow);
    }
}

/* Prompts get what trees leave; the last token of a prompt waits for a sweep that brings a tree. */
static void deal_prompts(lever_engine *e, uint32_t left)
{
    lv_round *r = &e->round;
    for (uint32_t i = r->n_grow; i < r->n; i++) {
        lv_cycle *c = &r->sessions[i]->run.cycle;
        c->n_pending = at_most(pending(r->sessions[i]) - 1, left / (r->n - i));
        left -= c->n_pending;
    }
}

/* What prompts will take, if trees are like the last ones. */
static uint32_t expect_prompts(const lever_engine *e)
{
    const lv_round *r = &e->round;
    uint32_t rows = 0, trees = 0;
    for (uint32_t i = 0; i < r->n_grow; i++)
        trees += r->sessions[i]->run.cycle.n_pending + r->sessions[i]->run.cycle.n_drafted;
    for (uint32_t i = r->n_grow; i < r->n; i++) rows += pending(r->sessions[i]) - 1;
    return at_most(rows, e->plan.max_rows - at_most(trees, e->plan.max_rows));
}

/* ---- the sweep ---- */

/* Sessions that failed to grow leave the round. */
static void drop_failed(lv_round *r)
{
    uint32_t n = 0, n_grow = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->sessions[i]->run.rc < 0) continue;
        n_grow += i < r->n_grow;
        r->sessions[n++] = r->sessions[i];
    }
    r->n = n, r->n_grow = n_grow;
}

static int sweep(lever_engine *e, lever_error *err)
{
    lv_round *r = &e->round;
    lv_kv *kv[LV_SESSIONS_MOST];
    lv_batch b = { .rows = e->rows, .kv = kv, .n_kv = r->n, .go_on = lv_round_wanted, .user = e };
    for (uint32_t i = 0; i < r->n; i++) {
        lever_session *s = r->sessions[i];
        kv[i] = &s->kv;
        s->run.cycle.row0 = b.n_rows;
        b.n_rows += lv_cycle_put_rows(s, e->rows + b.n_rows, (int32_t)i);
    }
    for (uint32_t i = 0; i < r->n_grow; i++) lv_pruner_begin(r->sessions[i], &b);
    lv_ahead *ahead = r->n_grow ? r->sessions[0]->ahead : NULL; /* of the only session */
    lv_ahead_begin(ahead);
    const int rc = lv_model_forward(e->target, &b, err);
    lv_ahead_end(ahead);
    LEVER_TRY(rc);
    r->n_rows = r->n_kept = b.n_rows;
    for (uint32_t i = 0; i < r->n_grow && !e->prune_rule.dry; i++)
        r->n_kept -= r->sessions[i]->tree.n - r->sessions[i]->prune.n_kept;
    return LEVER_OK;
}

/* Rows of a prompt are certain. */
static void commit_prompts(lv_round *r)
{
    for (uint32_t i = r->n_grow; i < r->n; i++) {
        lever_session *s = r->sessions[i];
        for (uint32_t k = 0; k < s->run.cycle.n_pending; k++) s->accepted[k] = (int32_t)k;
        lv_kv_commit(&s->kv, s->accepted, s->run.cycle.n_pending);
    }
}

/* The draft reads prompts as they are evaluated, so that nobody waits for it to read a long one at once. Alone it
 * may as well do so at the end, in longer batches. */
static void follow_prompts(lever_engine *e)
{
    const lv_round *r = &e->round;
    for (uint32_t i = r->n_grow; r->n > 1 && i < r->n; i++) {
        lever_session *s = r->sessions[i];
        if (lv_policy_needs_draft(s->run.cycle.policy))
            s->run.rc = lv_draft_catch_up(&s->draft, s->kv.n_committed, &s->run.err);
    }
}

/* ---- books ---- */

lv_sweep_took lv_round_sweep_took(const lv_round *r)
{
    return (lv_sweep_took){ .seconds = (double)(r->verified_ns - r->drafted_ns) * 1e-9,
                            .wait_s = (double)(r->verified.wait_ns - r->drafted.wait_ns) * 1e-9 };
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

static void trace_cycle(const lever_session *s, uint64_t end_ns)
{
    const lv_round *r = &s->engine->round;
    const lv_cycle *c = &s->run.cycle;
    if (s->engine->max_nodes > 1) trace(s, "draft", r->begin_ns, c->grown_ns, c->n_drafted);
    trace(s, "verify", r->drafted_ns, r->verified_ns, c->n_pending + c->n_drafted);
    trace(s, "accept", r->verified_ns, end_ns, c->n_new);
    trace(s, "cycle", r->begin_ns, end_ns, c->n_new);
}

static void count_cycle(lever_session *s, const lv_model_stats *after, uint64_t end_ns)
{
    const lv_round *r = &s->engine->round;
    const lv_cycle *c = &s->run.cycle;
    lever_stats *st = &s->run.stats;
    st->n_new_tokens += c->n_new;
    if (c->n_pending > 1) {
        st->n_prefill_sweeps++;
        st->prefill_ns += end_ns - r->begin_ns;
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
    st->decode_ns += end_ns - r->begin_ns;
    st->expected_tokens += c->expected.tokens;
    st->expected_s += c->expected.seconds;
    st->draft_ns += r->drafted_ns - r->begin_ns;
    st->verify_ns += r->verified_ns - r->drafted_ns;
    st->project_ns += r->project_ns;
    st->flash_wait_ns += r->verified.wait_ns - r->drafted.wait_ns; /* a streamed head is waited for later */
    st->flash_idle_ns += after->idle_ns - r->before.idle_ns;
    st->bytes_read += after->bytes_read - r->before.bytes_read;
}

static void end_cycles(lever_engine *e)
{
    const lv_round *r = &e->round;
    const uint64_t end_ns = lv_clock_ns();
    lv_model_stats after;
    lv_model_get_stats(e->target, &after);
    bool first = true;
    for (uint32_t i = 0; i < r->n_grow; i++) {
        lever_session *s = r->sessions[i];
        lv_ahead_observe(s->ahead, r->verified_ns - r->drafted_ns,
                         r->verified.wait_ns - r->drafted.wait_ns + r->verified.device_wait_ns -
                             r->drafted.device_wait_ns);
        if (s->run.rc >= 0) {
            lv_cycle_observe(s, first);
            first = false;
        }
        count_cycle(s, &after, end_ns);
        trace_cycle(s, end_ns);
        s->n_cycles++;
        s->run.left -= s->run.cycle.n_new;
        if (s->run.rc >= 0) s->run.stats.stop = s->run.cycle.stop;
    }
    for (uint32_t i = r->n_grow; i < r->n; i++) {
        lever_session *s = r->sessions[i];
        const lv_cycle *c = &s->run.cycle;
        s->run.stats.n_prefill_sweeps++;
        s->run.stats.prefill_ns += r->verified_ns - r->begin_ns;
        trace(s, "prefill", r->drafted_ns, r->verified_ns, c->n_pending);
        if (r->n_grow || i) continue;
        lv_policy_observe_sweep(c->learner ? c->learner : c->policy, r->n_rows, lv_round_sweep_took(r));
    }
}

/* ---- the round ---- */

static void run_round(lever_engine *e)
{
    lv_round *r = &e->round;
    lever_error err = { 0 };
    r->project_ns = 0;
    r->begin_ns = lv_clock_ns();
    lv_model_get_stats(e->target, &r->before);
    r->prompt_rows = expect_prompts(e);
    lv_round_grow(e);
    drop_failed(r);
    uint32_t left = e->plan.max_rows;
    for (uint32_t i = 0; i < r->n_grow; i++)
        left -= r->sessions[i]->run.cycle.n_pending + r->sessions[i]->tree.n - 1;
    deal_prompts(e, left);
    follow_prompts(e);
    drop_failed(r);
    if (r->n == 0) return;
    r->drafted_ns = lv_clock_ns();
    lv_model_get_stats(e->target, &r->drafted);
    const int rc = sweep(e, &err);
    r->verified_ns = lv_clock_ns();
    lv_model_get_stats(e->target, &r->verified);
    for (uint32_t i = 0; rc < 0 && i < r->n; i++) {
        r->sessions[i]->run.rc = rc;
        r->sessions[i]->run.err = err;
    }
    if (rc < 0) return;
    commit_prompts(r);
    lv_round_accept(e);
    end_cycles(e);
}

void lv_engine_round(lever_engine *e, lever_session *const *sessions, uint32_t n)
{
    lever_session *go[LV_SESSIONS_MOST];
    uint32_t n_go = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (atomic_load(&sessions[i]->cancel)) sessions[i]->run.rc = LEVER_ECANCEL;
        else go[n_go++] = sessions[i];
    }
    if (n_go) {
        choose_growing(e, go, n_go);
        run_round(e);
    }
    e->round.n = 0;
    for (uint32_t i = 0; i < n; i++) {
        lv_run *r = &sessions[i]->run;
        if (r->rc == LEVER_ECANCEL) {
            r->stats.stop = LEVER_STOP_CANCEL;
            r->rc = LEVER_OK;
        }
        r->running = r->rc >= 0 && r->stats.stop < 0;
    }
}
