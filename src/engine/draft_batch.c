/* Batches of the draft, which several sessions share: its weights are read once for all of them. Policies are straight
 * loops that ask for evaluations; each grows its tree in turns with the others, and what all of them ask for meanwhile
 * is one batch. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <string.h>

#include "os/clock.h"

/* Longer text than this is caught up with in batches of its own, so that those of several sessions have room. */
enum { TEXT_MOST = 16 };

/* ---- batches ---- */

bool lv_round_wanted(void *engine)
{
    const lv_round *r = &((lever_engine *)engine)->round;
    for (uint32_t i = 0; i < r->n; i++)
        if (!atomic_load_explicit(&r->sessions[i]->cancel, memory_order_relaxed)) return true;
    return r->n == 0;
}

static int forward(lever_engine *e, lv_kv **kv, uint32_t n_kv, uint32_t n_rows, lever_error *err)
{
    lv_batch b = { .rows = e->draft_batch, .n_rows = n_rows, .kv = kv, .n_kv = n_kv,
                   .go_on = lv_round_wanted, .user = e };
    return lv_model_forward(e->draft, &b, err);
}

/* n tokens of text from the end of the cache on, as a chain. */
static void put_text(const lever_session *s, lv_row *rows, uint32_t n, int32_t seq)
{
    const int32_t *text = s->tokens + s->draft_kv.n_committed;
    for (uint32_t i = 0; i < n; i++) rows[i] = (lv_row){ .token = text[i], .seq = seq, .parent = (int32_t)i - 1 };
}

static void commit_text(lever_session *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) s->accepted[i] = (int32_t)i;
    lv_kv_commit(&s->draft_kv, s->accepted, n);
}

int lv_draft_catch_up(lv_draft_run *d, uint32_t to, lever_error *err)
{
    lever_session *s = d->session;
    lv_kv *kv = &s->draft_kv;
    const uint32_t max_rows = s->engine->plan.max_rows;
    while (kv->n_committed < to) {
        const uint32_t left = to - kv->n_committed, n = left < max_rows ? left : max_rows;
        put_text(s, s->engine->draft_batch, n, 0);
        LEVER_TRY(forward(s->engine, &kv, 1, n, err));
        commit_text(s, n);
    }
    return LEVER_OK;
}

static uint32_t text_most(const lever_engine *e) { return e->plan.max_rows < TEXT_MOST ? e->plan.max_rows : TEXT_MOST; }

static bool is_root(const lv_draft_request *q) { return q->ids[0] == 0; }

static uint32_t projected(const lv_draft_request *q) { return q->n + q->n_before; }

static uint32_t pending(const lever_session *s) { return s->n_tokens - s->draft_kv.n_committed; }

/* The root's logits must come from a batch that ends with it: when the cache already holds the root (a cycle was
 * cancelled after drafting), step one token back and evaluate it again. Adds to *n_rows what it evaluates. */
static int prepare(lv_draft_run *d, uint32_t most_text, uint32_t *n_rows, lever_error *err)
{
    lever_session *s = d->session;
    if (!is_root(&d->request)) return LEVER_OK;
    if (s->draft_kv.n_committed >= s->n_tokens) lv_kv_truncate(&s->draft_kv, s->n_tokens - 1);
    if (pending(s) <= most_text) return LEVER_OK;
    *n_rows += pending(s) - most_text;
    return lv_draft_catch_up(d, s->n_tokens - most_text, err);
}

/* The rows of a request, and which of them are projected. Returns how many. */
static uint32_t put_request(lv_draft_run *d, lv_row *rows, int32_t seq, uint32_t *project)
{
    lv_draft_request *q = &d->request;
    if (is_root(q)) {
        const uint32_t n = pending(d->session);
        put_text(d->session, rows, n, seq);
        project[0] = d->row0 + n - 1;
        if (q->n_before >= n) q->n_before = n - 1;
        for (uint32_t i = 0; i < q->n_before; i++) project[i + 1] = d->row0 + n - 2 - i;
        return n;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        const lv_tree_node *node = &q->tree->nodes[q->ids[i]];
        const int32_t parent = node->parent == 0 ? -1 : q->tree->nodes[node->parent].draft_row;
        rows[i] = (lv_row){ .token = node->token, .seq = seq, .parent = parent };
        project[i] = d->row0 + i;
    }
    return q->n;
}

/* The rows of a request are in the cache; those of text are certain. */
static void keep_rows(lv_draft_run *d)
{
    const lv_draft_request *q = &d->request;
    lever_session *s = d->session;
    if (is_root(q)) {
        commit_text(s, pending(s));
        q->tree->nodes[0].draft_slot = 0;
        return;
    }
    const uint32_t base = s->draft_kv.n_scratch - q->n;
    for (uint32_t i = 0; i < q->n; i++) {
        q->tree->nodes[q->ids[i]].draft_row = (int32_t)(base + i);
        q->tree->nodes[q->ids[i]].draft_slot = (int32_t)i;
    }
}

/* Results go to draft_logits from row `slot` on. *evaluated: the rows are in the caches, so none may be tried again. */
static int run_batch(lever_engine *e, lv_draft_run *const *runs, uint32_t n, uint32_t slot, bool *evaluated,
                     uint32_t *n_rows, lever_error *err)
{
    lv_kv *kv[LV_SESSIONS_MOST];
    uint32_t project[LV_DRAFT_SHARED_ROWS], n_project = 0;
    const size_t n_vocab = runs[0]->n_vocab;
    *n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        kv[i] = &runs[i]->session->draft_kv;
        runs[i]->row0 = *n_rows;
        runs[i]->logits = e->draft_logits + (slot + n_project) * n_vocab;
        *n_rows += put_request(runs[i], e->draft_batch + *n_rows, (int32_t)i, project + n_project);
        n_project += projected(&runs[i]->request);
    }
    *evaluated = false;
    LEVER_TRY(forward(e, kv, n, *n_rows, err));
    *evaluated = true;
    for (uint32_t i = 0; i < n; i++) keep_rows(runs[i]);
    return lv_model_project(e->draft, project, n_project, e->draft_logits + slot * n_vocab, err);
}

static void end_request(lv_draft_run *d, int rc, const lever_error *err)
{
    d->request.rc = rc;
    if (rc < 0) d->request.err = *err;
}

/* A batch that failed as a whole: each alone, so that one that can not be served stops no other. */
static void serve_alone(lever_engine *e, lv_draft_run *const *runs, uint32_t n)
{
    lever_error err = { 0 };
    bool evaluated;
    for (uint32_t i = 0, slot = 0, n_rows; i < n; slot += projected(&runs[i++]->request))
        end_request(runs[i], run_batch(e, &runs[i], 1, slot, &evaluated, &n_rows, &err), &err);
}

void lv_draft_serve(lever_engine *e, lv_draft_run *const *runs, uint32_t n)
{
    lv_draft_run *good[LV_SESSIONS_MOST];
    uint32_t n_good = 0, n_before = 0, n_rows;
    lever_error err = { 0 };
    bool evaluated;
    const uint64_t t0 = lv_clock_ns();
    lv_model_pump(e->target); /* reads go on while the draft runs, however short the queue */
    for (uint32_t i = 0; i < n; i++) {
        end_request(runs[i], prepare(runs[i], n > 1 ? text_most(e) : e->plan.max_rows, &n_before, &err), &err);
        if (runs[i]->request.rc >= 0) good[n_good++] = runs[i];
    }
    if (n_good == 0) return;
    const int rc = run_batch(e, good, n_good, 0, &evaluated, &n_rows, &err);
    for (uint32_t i = 0; i < n_good; i++) end_request(good[i], rc, &err);
    if (rc < 0 && rc != LEVER_ECANCEL && !evaluated && n_good > 1) serve_alone(e, good, n_good);
    const double seconds = (double)(lv_clock_ns() - t0) * 1e-9;
    for (uint32_t i = 0; i < n_good; i++)
        good[i]->request.cost = (lv_cost){ .calls = i == 0, .rows = n_before + n_rows, .seconds = seconds };
}

/* ---- growing ---- */

/* A tree that keeps growing, or what the last one was like. */
static void add_expected(const lever_session *s, double *tokens, uint32_t *rows)
{
    const lv_cycle *c = &s->run.cycle;
    lv_expectation x;
    if (!lv_policy_expected(c->policy, &x)) x = c->expected;
    if (x.nodes == 0) x = (lv_expectation){ .tokens = c->n_new ? c->n_new : 1, .nodes = c->n_rows ? c->n_rows : 1 };
    *tokens += x.tokens;
    *rows += c->n_pending + x.nodes - 1;
}

void lv_draft_run_tell_others(lv_draft_run *d)
{
    const lv_round *r = &d->session->engine->round;
    lv_drafter *o = d->drafter;
    o->n_pending = d->session->run.cycle.n_pending + r->prompt_rows;
    o->others_tokens = 0;
    o->others_draft_rows = 0;
    for (uint32_t i = 0; i < r->n_grow; i++) {
        const lever_session *s = r->sessions[i];
        if (s == d->session) continue;
        add_expected(s, &o->others_tokens, &o->n_pending);
        if (s->waits_for_draft) o->others_draft_rows += s->draft.request.n;
    }
}

static void grow(void *session)
{
    lever_session *s = session;
    s->run.rc = lv_cycle_grow(s, &s->run.err);
}

/* The sessions that wait longest and fit into one batch, in order; they leave the queue. */
static uint32_t take_requests(const lever_engine *e, lever_session **queue, uint32_t *n, lv_draft_run **runs)
{
    uint32_t taken = 0, rows = 0, nodes = 0;
    for (; taken < *n; taken++) {
        lv_draft_run *d = &queue[taken]->draft;
        const uint32_t text = pending(d->session) < text_most(e) ? pending(d->session) : text_most(e);
        rows += is_root(&d->request) ? text : d->request.n;
        nodes += projected(&d->request);
        if (taken && (rows > e->plan.max_rows || nodes > e->draft_logit_rows)) break;
        runs[taken] = d;
    }
    *n -= taken;
    memmove(queue, queue + taken, *n * sizeof *queue);
    return taken;
}

void lv_round_grow(lever_engine *e)
{
    const lv_round *r = &e->round;
    lever_session *queue[LV_SESSIONS_MOST];
    lv_draft_run *runs[LV_SESSIONS_MOST];
    uint32_t n = 0;
    if (r->n_grow == 1 || !e->draft) {
        for (uint32_t i = 0; i < r->n_grow; i++) grow(r->sessions[i]);
        return;
    }
    for (uint32_t i = 0; i < r->n_grow; i++) {
        lever_session *s = r->sessions[i];
        s->in_turns = true;
        if ((s->waits_for_draft = lv_turns_begin(s->turns, grow, s))) queue[n++] = s;
    }
    while (n) {
        const uint32_t n_runs = take_requests(e, queue, &n, runs);
        lv_draft_serve(e, runs, n_runs);
        for (uint32_t i = 0; i < n_runs; i++) runs[i]->session->waits_for_draft = false;
        for (uint32_t i = 0; i < n_runs; i++) {
            lever_session *s = runs[i]->session;
            if ((s->waits_for_draft = lv_turns_go_on(s->turns))) queue[n++] = s;
        }
    }
    for (uint32_t i = 0; i < r->n_grow; i++) r->sessions[i]->in_turns = false;
}
