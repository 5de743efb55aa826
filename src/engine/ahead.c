/* SPDX-License-Identifier: MIT */
#include "engine/ahead.h"

#include <string.h>

#include "engine/engine.h"
#include "os/clock.h"
#include "os/helper.h"

enum { CHILDREN = 4, NODES = 2 * LV_GROW_MAX, NOTED = 8, EVENTS = 64 };

static const double least_value = 0.003; /* nodes less likely than this are not evaluated */
static const double least_share = 0.25;  /* of the best one's value, to join its batch */
static const double rate_of_change = 0.1; /* of running means */

typedef struct ahead_node {
    int32_t parent, token, depth;
    int32_t row;   /* of the draft's cache; -1: not evaluated, or the root */
    int32_t list;  /* place in lists; -1: none */
    bool    evaluated;
    double  value; /* that the text reaches it */
} ahead_node;

typedef struct ahead_noted {
    uint32_t n;
    int32_t tokens[NOTED];
    float   probs[NOTED];
} ahead_noted;

/* A kept row below the root; its place in the list is its scratch row. */
typedef struct ahead_ready { int32_t parent, token, list; } ahead_ready;

struct lv_ahead {
    lever_session *s;
    lv_cpu   *cpu;
    lv_cpu_config config;
    uint32_t  batch;      /* rows at most, <= LV_AHEAD_BATCH */
    bool      always;
    lv_helper *thread;
    atomic_bool cancel;   /* the sweep is over */
    /* The thread's while it is busy. */
    ahead_node nodes[NODES]; /* [n] those of the session's tree, in its order, come first */
    uint32_t  n, n_tree, n_lists, first_row, n_rows;
    lv_ahead_list lists[LV_AHEAD_ROWS]; /* [n_lists] of nodes below the tree */
    int32_t   of_row[LV_AHEAD_ROWS]; /* [n_rows] node in scratch row first_row + i */
    lv_row    rows[LV_AHEAD_BATCH];
    int32_t   path[NODES];
    lever_trace_event events[EVENTS];
    uint32_t  n_events;
    double    step_s;     /* running mean of a batch */
    /* The owner's. */
    ahead_noted *noted;   /* [draft_rows + 1] of the root, then by draft_row + 1 */
    uint32_t  n_noted;
    bool      begun;      /* end is due */
    uint32_t  n_tokens;   /* of the text at begin */
    double    idle_s, sweep_s; /* running means of sweeps: cores wait, and all of it */
    ahead_ready ready[LV_AHEAD_ROWS]; /* [n_ready] */
    uint32_t  n_ready;
    int32_t   root_list;
    uint32_t  most_asked;  /* candidates of one node */
    float     sharpness;   /* that the lists were made with */
    const lv_sampler *sampler;
    uint32_t  ready_tokens; /* of the text that ready belongs to */
    bool      fresh, in_use;
    uint32_t  n_evaluated, n_used; /* counts */
    uint64_t  wait_ns, busy_ns;
};

/* ---- the thread's work ---- */

static bool cancelled(lv_ahead *a) { return atomic_load_explicit(&a->cancel, memory_order_relaxed); }

static ahead_node *add_node(lv_ahead *a, int32_t parent, int32_t token, double value)
{
    if (a->n == NODES) return NULL;
    ahead_node *node = &a->nodes[a->n++];
    *node = (ahead_node){ .parent = parent, .token = token, .row = -1, .list = -1, .value = value };
    node->depth = parent < 0 ? 0 : a->nodes[parent].depth + 1;
    return node;
}

static bool has_child(const lv_ahead *a, int32_t parent, int32_t token)
{
    for (uint32_t i = (uint32_t)parent + 1; i < a->n; i++)
        if (a->nodes[i].parent == parent && a->nodes[i].token == token) return true;
    return false;
}

static void add_children(lv_ahead *a, int32_t parent, const int32_t *tokens, const float *probs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const double value = a->nodes[parent].value * (double)probs[i];
        if (value >= least_value && !has_child(a, parent, tokens[i])) add_node(a, parent, tokens[i], value);
    }
}

/* The tree being verified, and what its evaluated nodes proposed beside it. */
static void copy_tree(lv_ahead *a)
{
    const lv_tree *t = &a->s->tree;
    a->n = a->n_lists = a->n_rows = a->n_events = 0;
    a->first_row = a->s->draft_kv.n_scratch;
    for (uint32_t i = 0; i < t->n && i < NODES; i++) {
        const lv_tree_node *from = &t->nodes[i];
        const double p = from->prob > 0 ? (double)from->prob : from->draft_prob > 0 ? (double)from->draft_prob : 0.5;
        ahead_node *node = add_node(a, from->parent, from->token, i ? a->nodes[from->parent].value * p : 1);
        node->row = from->draft_row;
        node->evaluated = i == 0 || from->draft_row >= 0;
    }
    a->n_tree = a->n;
    for (uint32_t i = 0; i < a->n_tree; i++) {
        const uint32_t set = (uint32_t)(a->nodes[i].row + 1);
        if (!a->nodes[i].evaluated || set >= a->n_noted) continue;
        add_children(a, (int32_t)i, a->noted[set].tokens, a->noted[set].probs, a->noted[set].n);
    }
}

/* The most valuable nodes that can be evaluated now, best first, into ids; returns how many. */
static uint32_t choose(const lv_ahead *a, int32_t *ids)
{
    const lv_kv *kv = &a->s->draft_kv;
    const int32_t deepest = (int32_t)(kv->n_ctx - kv->n_committed);
    uint32_t room = LV_AHEAD_ROWS - a->n_rows, n = 0;
    if (room > kv->n_slots - kv->n_ctx - kv->n_scratch) room = kv->n_slots - kv->n_ctx - kv->n_scratch;
    if (room > a->batch) room = a->batch;
    while (n < room) {
        int32_t best = -1;
        for (uint32_t i = 1; i < a->n; i++) {
            const ahead_node *v = &a->nodes[i];
            if (v->evaluated || !a->nodes[v->parent].evaluated || v->depth > deepest) continue;
            bool taken = false;
            for (uint32_t k = 0; k < n; k++) taken |= ids[k] == (int32_t)i;
            if (!taken && (best < 0 || v->value > a->nodes[best].value)) best = (int32_t)i;
        }
        if (best < 0 || a->nodes[best].value < (n ? least_share * a->nodes[ids[0]].value : least_value)) break;
        ids[n++] = best;
    }
    return n;
}

/* The candidates of an evaluated node from its logits, which are used up. */
static void look_below(lv_ahead *a, int32_t id, float *logits)
{
    lever_session *s = a->s;
    ahead_node *v = &a->nodes[id];
    lv_ahead_list *list = &a->lists[a->n_lists];
    for (int32_t u = id, at = v->depth; at > 0; u = a->nodes[u].parent) a->path[--at] = a->nodes[u].token;
    const lv_history h = { s->tokens, s->n_tokens, a->path, (size_t)v->depth };
    list->n = lv_sampler_candidates(s->sampler, logits, &h, LV_AHEAD_BEST, s->draft.sharpness, list->tokens,
                                    list->probs);
    v->list = (int32_t)a->n_lists++;
    add_children(a, id, list->tokens, list->probs, list->n < CHILDREN ? list->n : CHILDREN);
}

static int evaluate(lv_ahead *a, const int32_t *ids, uint32_t n)
{
    lever_session *s = a->s;
    lv_model *draft = s->engine->draft;
    lv_kv *kv = &s->draft_kv;
    const uint32_t base = kv->n_scratch;
    uint32_t batch_row[LV_AHEAD_BATCH];
    for (uint32_t i = 0; i < n; i++) {
        const ahead_node *v = &a->nodes[ids[i]];
        a->rows[i] = (lv_row){ .token = v->token, .parent = v->parent == 0 ? -1 : a->nodes[v->parent].row };
        batch_row[i] = i;
    }
    lv_batch b = { .rows = a->rows, .n_rows = n, .kv = &kv, .n_kv = 1, .cancel = &a->cancel };
    LEVER_TRY(lv_model_forward(draft, &b, NULL));
    const int rc = lv_model_project(draft, batch_row, n, s->engine->draft_logits, NULL);
    if (rc < 0 || cancelled(a)) { /* products may have been left out, at last those of the logits */
        kv->n_scratch = base;
        return rc < 0 ? rc : LEVER_ECANCEL;
    }
    for (uint32_t i = 0; i < n; i++) {
        ahead_node *v = &a->nodes[ids[i]];
        v->row = (int32_t)(base + i);
        v->evaluated = true;
        a->of_row[a->n_rows++] = ids[i];
    }
    for (uint32_t i = 0; i < n && !cancelled(a); i++)
        look_below(a, ids[i], s->engine->draft_logits + i * s->draft.n_vocab);
    return LEVER_OK;
}

static void draft_ahead(void *ahead)
{
    lv_ahead *a = ahead;
    lever_engine *e = a->s->engine;
    int32_t ids[LV_AHEAD_BATCH];
    copy_tree(a);
    lv_model_run_on(e->draft, a->cpu, (lv_trace){ 0 }); /* hooks are called by the owner's thread only */
    for (uint32_t n; !cancelled(a) && (n = choose(a, ids)) > 0;) {
        const uint64_t t0 = lv_clock_ns();
        const int rc = evaluate(a, ids, n);
        const uint64_t t1 = lv_clock_ns();
        a->busy_ns += t1 - t0;
        if (a->n_events < EVENTS)
            a->events[a->n_events++] = (lever_trace_event){ .track = "draft", .name = "ahead", .begin_ns = t0,
                                                            .end_ns = t1, .index = (int64_t)a->s->n_cycles,
                                                            .rows = n };
        if (rc < 0) break; /* canceled; anything else the next tree's own drafting will say */
        a->step_s += (a->step_s > 0 ? rate_of_change : 1) * ((double)(t1 - t0) * 1e-9 - a->step_s);
    }
    lv_model_run_on(e->draft, e->cpu, e->trace);
}

static int start_thread(void *ahead)
{
    lv_ahead *a = ahead;
    if (a->config.cpus.n) lv_thread_bind(a->config.cpus.cpus[0]);
    lv_thread_step_back(); /* before the pool, whose threads do as this one does */
    LEVER_TRY(lv_cpu_open(&a->cpu, &a->config, NULL));
    lv_cpu_set_abandon(a->cpu, &a->cancel);
    return LEVER_OK;
}

/* ---- opening and closing ---- */

uint64_t lv_ahead_bytes(const lv_cpu_config *cpu, uint32_t draft_rows)
{
    return lv_round_up(sizeof(lv_ahead), 64) + lv_cpu_memory_bytes(cpu) + (draft_rows + 1) * sizeof(ahead_noted);
}

int lv_ahead_open(lv_ahead **out, lever_session *s, const lv_cpu_config *cpu, bool always, lever_error *err)
{
    *out = NULL;
    lv_ahead *a = lv_alloc(sizeof *a, 64);
    if (!a) return lv_fail(err, LEVER_ENOMEM, 0, "drafting ahead");
    a->s = s;
    a->config = *cpu;
    a->always = always;
    a->batch = LV_AHEAD_BATCH;
    if (a->batch > s->engine->draft_logit_rows) a->batch = s->engine->draft_logit_rows;
    if (a->batch > s->engine->plan.max_rows) a->batch = s->engine->plan.max_rows;
    a->n_noted = s->engine->draft_rows + 1;
    a->noted = lv_alloc_array(a->n_noted, sizeof *a->noted, 64);
    int rc = a->noted ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "drafting ahead");
    if (rc >= 0) rc = lv_helper_open(&a->thread, &(lv_helper_config){ start_thread, draft_ahead, a }, err);
    if (rc < 0) {
        lv_ahead_close(&a);
        return rc;
    }
    *out = a;
    return LEVER_OK;
}

void lv_ahead_close(lv_ahead **ahead)
{
    if (!ahead || !*ahead) return;
    lv_ahead *a = *ahead;
    *ahead = NULL;
    lv_ahead_end(a);
    lv_helper_close(&a->thread);
    lv_cpu_close(&a->cpu);
    lv_free(a->noted);
    lv_free(a);
}

/* ---- the owner's side ---- */

void lv_ahead_asked(lv_ahead *a, uint32_t k)
{
    if (a && k > a->most_asked) a->most_asked = k;
}

void lv_ahead_note(lv_ahead *a, const lv_tree_node *node, const int32_t *tokens, const float *probs, uint32_t n)
{
    const uint32_t set = (uint32_t)(node->draft_row + 1);
    if (!a || set >= a->n_noted) return;
    ahead_noted *to = &a->noted[set];
    to->n = n < NOTED ? n : NOTED;
    memcpy(to->tokens, tokens, to->n * sizeof *tokens);
    memcpy(to->probs, probs, to->n * sizeof *probs);
}

/* Is there time for at least a batch, and a half for what the sweep loses by it? Beside sweeps that mostly compute, it
 * takes from them more than it gives. */
static bool worth_it(const lv_ahead *a)
{
    return a->always || (a->idle_s > 1.5 * a->step_s && a->idle_s > 0.25 * a->sweep_s);
}

void lv_ahead_begin(lv_ahead *a)
{
    if (!a) return;
    const lever_session *s = a->s;
    /* Only a tree that the draft has just grown: others say nothing of where its cache stands. */
    if (lv_session_draws(s) || s->draft_kv.n_committed != s->n_tokens || !worth_it(a)) return;
    lv_kv_back(&a->s->draft_kv, s->draft_kv.n_committed + s->draft_kv.n_scratch + LV_AHEAD_ROWS);
    a->n_tokens = s->n_tokens;
    a->sampler = s->sampler;
    a->sharpness = s->draft.sharpness;
    a->begun = true;
    atomic_store(&a->cancel, false);
    lv_helper_ask(a->thread);
}

void lv_ahead_end(lv_ahead *a)
{
    if (!a || !a->begun) return;
    const uint64_t t0 = lv_clock_ns();
    atomic_store(&a->cancel, true);
    lv_helper_wait(a->thread);
    a->begun = false;
    a->wait_ns += lv_clock_ns() - t0;
    a->n_evaluated += a->n_rows;
    for (uint32_t i = 0; i < a->n_events; i++) lv_trace_emit(&a->s->engine->trace, &a->events[i]);
    lv_tree *t = &a->s->tree;
    for (uint32_t i = 0; i < a->n_rows; i++)
        if ((uint32_t)a->of_row[i] < a->n_tree) t->nodes[a->of_row[i]].draft_row = a->nodes[a->of_row[i]].row;
}

void lv_ahead_observe(lv_ahead *a, uint64_t sweep_ns, uint64_t idle_ns)
{
    if (!a) return;
    const double idle = (double)(idle_ns < sweep_ns ? idle_ns : sweep_ns) * 1e-9;
    a->idle_s += rate_of_change * (idle - a->idle_s);
    a->sweep_s += rate_of_change * ((double)sweep_ns * 1e-9 - a->sweep_s);
}

/* The node that was evaluated ahead below `end` for the last token of the text; -1: none. */
static int32_t find_root(const lv_ahead *a, int32_t end, uint32_t n)
{
    const lever_session *s = a->s;
    if (s->n_tokens != a->n_tokens + n + 1) return -1;
    for (uint32_t i = 0; i < a->n_rows; i++) {
        const ahead_node *v = &a->nodes[a->of_row[i]];
        if (v->list >= 0 && v->parent == end && v->token == s->tokens[s->n_tokens - 1]) return a->of_row[i];
    }
    return -1;
}

bool lv_ahead_commit(lv_ahead *a, int32_t end, uint32_t n)
{
    if (!a || a->n_rows == 0) return false;
    const int32_t root = find_root(a, end, n);
    int32_t keep[LV_AHEAD_ROWS], new_row[LV_AHEAD_ROWS]; /* new_row by place in of_row: -2 where it goes */
    a->n_ready = 0;
    for (uint32_t i = 0; i < a->n_rows && root >= 0; i++) {
        const ahead_node *v = &a->nodes[a->of_row[i]];
        const int32_t parent_row = a->nodes[v->parent].row - (int32_t)a->first_row;
        const int32_t parent = v->parent == root ? -1 : parent_row < 0 || v->parent == 0 ? -2 : new_row[parent_row];
        new_row[i] = -2;
        if (a->of_row[i] == root || parent == -2 || v->list < 0) continue;
        new_row[i] = (int32_t)a->n_ready;
        keep[a->n_ready] = v->row;
        a->ready[a->n_ready++] = (ahead_ready){ parent, v->token, v->list };
    }
    a->n_rows = 0;
    if (root < 0) return false;
    a->s->accepted[n] = a->nodes[root].row;
    lv_kv_commit_keep(&a->s->draft_kv, a->s->accepted, n + 1, keep, a->n_ready);
    a->root_list = a->nodes[root].list;
    a->ready_tokens = a->s->n_tokens;
    a->fresh = true;
    return true;
}

bool lv_ahead_use(lv_ahead *a)
{
    if (!a) return false;
    const lever_session *s = a->s;
    for (uint32_t i = 0; i < a->n_noted; i++) a->noted[i].n = 0;
    a->n_rows = 0;
    a->in_use = a->fresh && a->ready_tokens == s->n_tokens && s->draft_kv.n_committed == s->n_tokens &&
                s->draft_kv.n_scratch == a->n_ready && a->most_asked <= LV_AHEAD_BEST &&
                a->sampler == s->sampler && !(a->sharpness < s->draft.sharpness || a->sharpness > s->draft.sharpness);
    a->fresh = false;
    return a->in_use;
}

const lv_ahead_list *lv_ahead_take_root(lv_ahead *a)
{
    if (!a || !a->in_use) return NULL;
    a->n_used++;
    return &a->lists[a->root_list];
}

const lv_ahead_list *lv_ahead_take_node(lv_ahead *a, int32_t parent, int32_t token, int32_t *row)
{
    for (uint32_t i = 0; a && a->in_use && i < a->n_ready; i++) {
        if (a->ready[i].parent != parent || a->ready[i].token != token) continue;
        *row = (int32_t)i;
        a->n_used++;
        return &a->lists[a->ready[i].list];
    }
    return NULL;
}

void lv_ahead_count(lv_ahead *a, lever_stats *out)
{
    if (!a) return;
    if (out) {
        out->n_ahead = a->n_evaluated;
        out->n_ahead_used = a->n_used;
        out->ahead_ns = a->busy_ns;
        out->ahead_wait_ns = a->wait_ns;
        return;
    }
    a->n_evaluated = a->n_used = 0;
    a->busy_ns = a->wait_ns = 0;
}
