/* SPDX-License-Identifier: MIT */
#include "plan/speed_policy.h"

#include <math.h>
#include <string.h>

#include "base/chance.h"
#include "base/mem.h"
#include "spec/policy.h"

enum {
    TOKENS = 8192,       /* candidates that one tree may be shown */
    REPLAYED = 2048,     /* tokens of text */
    STRETCH = 128,       /* of them without a gap */
    TOKENS_OF_CYCLE = 10, /* without text cycles are counted, one for so many */
    PROJECTED = 4,       /* rows of the head at once, as engine/cycle.c takes them */
    LEVELS = 64
};

/* A candidate, by its token. */
typedef struct guess {
    float   prob;        /* that it follows its parent */
    uint8_t rank, of;    /* among its siblings; class of its parent */
    uint8_t class;       /* its own, once it is evaluated */
    int32_t said;        /* place in the text that it is the next token of; -1: the text went on otherwise */
} guess;

typedef struct virtual_run {
    const lv_speed_input *in;
    lv_policy *policy;
    lv_tree   tree;
    guess     guesses[TOKENS]; /* by token; 0 is the root */
    uint32_t  n_guesses;
    double    path[LV_GROW_MAX]; /* [tree.n] that a node becomes text */
    uint64_t  random, n_roots;
    uint32_t  left;       /* tokens that the text may still get; 0: a new one begins */
    double    ring;
    uint32_t  draft_text; /* tokens that are not in the draft's cache yet; they come with the root */
    uint32_t  n_asked;    /* nodes of this cycle whose candidates were */
    uint32_t  stretch, at, until; /* of the text: which stretch, the root's place in it, its end */
} virtual_run;

/* ---- chance ---- */

static const lv_replay *text_of(const virtual_run *v)
{
    return v->in->text && v->in->text->n ? v->in->text : NULL;
}

static uint8_t pick_class(const double *shares, double u)
{
    return (uint8_t)lv_chance_pick(shares, LV_ACC_CLASSES - 1, u);
}

/* Roots go through the classes evenly instead of by chance: the mean settles sooner. */
static uint8_t root_class(virtual_run *v)
{
    const double golden = 0.6180339887498949;
    const double u = fmod((double)++v->n_roots * golden, 1);
    return pick_class(v->in->rates->start, u);
}

/* ---- the draft ---- */

static int expand(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost, lever_error *err)
{
    virtual_run *v = user;
    (void)err;
    const lv_replay *text = text_of(v);
    uint32_t rows = n;
    for (uint32_t i = 0; i < t->n; i++) t->nodes[i].draft_slot = -1;
    for (uint32_t i = 0; i < n; i++) {
        guess *g = &v->guesses[t->nodes[ids[i]].token];
        g->class = text && g->said >= 0 ? text->at[g->said].class
                   : ids[i] ? pick_class(v->in->rates->next[g->of][g->rank > 0], lv_chance(&v->random)) : root_class(v);
        t->nodes[ids[i]].draft_slot = (int32_t)i;
        if (ids[i]) t->nodes[ids[i]].draft_row = 0;
        else rows += v->draft_text - 1;
    }
    const double first = ids[0] == 0 ? v->in->costs->draft_first_s : 0;
    *cost = (lv_cost){ .calls = 1, .rows = rows, .seconds = lv_curve_at(&v->in->costs->draft, rows, 0) + first };
    return LEVER_OK;
}

/* Beyond the counted ranks each is half of the one before. */
static double hit_rate(const double hit[LV_ACC_RANKS], uint32_t rank)
{
    if (rank < LV_ACC_RANKS) return hit[rank];
    const uint32_t beyond = rank - LV_ACC_RANKS + 1;
    return hit[LV_ACC_RANKS - 1] / (1u << (beyond < 20 ? beyond : 20));
}

static uint32_t candidates(void *user, lv_tree *t, int32_t id, uint32_t k, int32_t *tokens, float *probs)
{
    virtual_run *v = user;
    const guess parent = v->guesses[t->nodes[id].token];
    const double *hit = v->in->rates->hit[parent.class];
    const lv_replay *text = parent.said >= 0 ? text_of(v) : NULL;
    t->nodes[id].draft_slot = -1;
    v->n_asked++;
    uint32_t n = 0;
    for (; n < k && v->n_guesses < TOKENS; n++) {
        probs[n] = (float)hit_rate(hit, n);
        tokens[n] = (int32_t)v->n_guesses;
        const bool right = text && text->at[parent.said].rank == n;
        v->guesses[v->n_guesses++] = (guess){ .prob = probs[n], .rank = (uint8_t)(n < 255 ? n : 255),
                                              .of = parent.class,
                                              .said = right ? (int32_t)(((uint32_t)parent.said + 1) % text->n) : -1 };
    }
    return n;
}

/* ---- the target ---- */

static double with_lookup(const virtual_run *v, double drafted)
{
    return 1 + drafted * (v->in->tokens_factor > 0 ? v->in->tokens_factor : 1);
}

/* Expected tokens of the tree, and passes of the head over its rows: another one for every few that are reached. Fills
 * path. */
static double expected_tokens(virtual_run *v, double *passes)
{
    const lv_tree *t = &v->tree;
    double sum = 0;
    v->path[0] = *passes = 1;
    for (uint32_t i = 1; i < t->n; i++) {
        v->path[i] = v->path[t->nodes[i].parent] * (double)v->guesses[t->nodes[i].token].prob;
        sum += v->path[i];
        if (t->nodes[i].depth % PROJECTED == 0) *passes += v->path[i];
    }
    return with_lookup(v, sum);
}

/* What the target goes on with: as the text did, or children by their probabilities. */
static uint32_t walk(virtual_run *v, int32_t *path)
{
    const lv_tree *t = &v->tree;
    const bool known = text_of(v) != NULL;
    uint32_t n = 0;
    for (int32_t at = 0; at >= 0 && n < LEVELS;) {
        double u = known ? 0 : lv_chance(&v->random);
        int32_t c = t->nodes[at].first_child;
        for (; c >= 0; c = t->nodes[c].next_sibling) {
            const guess *g = &v->guesses[t->nodes[c].token];
            u -= (double)g->prob;
            if (known ? g->said >= 0 : u < 0) break;
        }
        if ((at = c) >= 0) path[n++] = c;
    }
    return n;
}

static double share_kept(const virtual_run *v)
{
    const lv_speed_costs *c = v->in->costs;
    if (!c->exit_layer || !(v->in->kept > 0) || v->tree.n < 2) return 1;
    const double done = (double)c->exit_layer / c->n_layers;
    return lv_policy_would_prune(v->policy, v->tree.n, done) ? v->in->kept : 1;
}

/* Accepted tokens that the draft has evaluated are in its cache; the one after them never is. */
static uint32_t text_for_draft(const lv_tree *t, const int32_t *path, uint32_t n)
{
    uint32_t known = 0;
    while (known < n && t->nodes[path[known]].draft_row >= 0) known++;
    return 1 + n - known;
}

static void tell(virtual_run *v, const int32_t *path, uint32_t n, const lv_speed_work *w, const lv_speed_parts *p)
{
    const double kept = 1 + (v->tree.n - 1) * w->kept;
    const lv_outcome o = { .tree = &v->tree, .path = path, .n_path = n, .next = -2, .n_rows = v->tree.n,
                           .n_kept_rows = (uint32_t)(kept + 0.5), .draft_s = p->draft_s, .project_s = p->project_s,
                           .sweep = { p->sweep_s, p->sweep_wait_s } };
    lv_policy_observe(v->policy, &o);
    v->draft_text = text_for_draft(&v->tree, path, n);
}

/* ---- going through the text ---- */

static uint32_t replayed(const virtual_run *v) { return v->in->n_replayed ? v->in->n_replayed : REPLAYED; }

static uint32_t stretches(const virtual_run *v) { return (replayed(v) + STRETCH - 1) / STRETCH; }

/* Stretches begin evenly over the whole text, where a cycle would: after a token that was not the draft's best. */
static void begin_stretch(virtual_run *v, uint32_t which)
{
    const lv_replay *text = text_of(v);
    v->stretch = which;
    v->at = (uint32_t)((uint64_t)which * text->n / stretches(v));
    for (uint32_t i = 0; i < STRETCH && text->at[v->at % text->n].rank == 0; i++) v->at++;
    v->until = ++v->at + STRETCH;
}

static void go_on(virtual_run *v, uint32_t n_tokens)
{
    if (!text_of(v)) return;
    v->at += n_tokens;
    if (v->at >= v->until) begin_stretch(v, v->stretch + 1);
}

static int32_t place(const virtual_run *v) { return text_of(v) ? (int32_t)(v->at % text_of(v)->n) : -1; }

/* ---- cycles ---- */

static void add_cycle(lv_speed *sum, const lv_drafter *d, const lv_speed_work *w, const lv_speed_parts *p)
{
    sum->tokens += w->tokens, sum->rows += w->rows, sum->kept += w->kept;
    sum->draft_rows += d->total.rows, sum->draft_batches += d->total.calls;
    sum->parts.draft_s += p->draft_s, sum->parts.sweep_s += p->sweep_s, sum->parts.project_s += p->project_s;
    sum->parts.other_s += p->other_s, sum->parts.wait_s += p->wait_s, sum->parts.flash_s += p->flash_s;
    sum->parts.sweep_wait_s += p->sweep_wait_s;
    sum->parts.cycle_s += p->cycle_s;
}

/* The first cycle of a text comes with its prompt, and is not counted. */
static int cycle(virtual_run *v, lv_speed *sum, lever_error *err)
{
    const bool first = v->in->n_tokens && v->left == 0;
    if (first) v->left = v->in->n_tokens;
    const uint32_t depth = v->in->n_tokens && v->left <= LEVELS ? v->left - 1 : LEVELS;
    const lv_speed_input *in = v->in;
    const bool drafts = lv_policy_needs_draft(v->policy);
    const uint32_t most = in->max_rows && in->max_rows < lv_policy_max_nodes(v->policy)
                              ? in->max_rows : lv_policy_max_nodes(v->policy);
    const int32_t text = 0;
    lv_drafter d = { .user = v, .expand = expand, .candidates = candidates, .max_rows = in->draft_batch,
                     .rows_left = lv_policy_draft_rows(v->policy), .n_pending = 1,
                     .target_ratio = in->target_ratio, .text = &text, .n_text = 1 };
    lv_tree_reset(&v->tree, 0);
    v->guesses[0] = (guess){ .said = place(v) };
    v->n_guesses = 1;
    v->n_asked = 0;
    if (first) v->draft_text = 1; /* with the prompt */
    LEVER_TRY(lv_policy_grow(v->policy, &v->tree, drafts ? &d : &(lv_drafter){ .text = &text, .n_text = 1 }, most,
                             depth, err));
    lv_speed_work w = { .draft_s = d.total.seconds + in->costs->candidates_s * v->n_asked, .rows = v->tree.n };
    if (d.total.calls) w.draft_rows = (double)d.total.rows / d.total.calls;
    int32_t path[LEVELS];
    const uint32_t n_path = walk(v, path);
    if (text_of(v)) w.tokens = with_lookup(v, n_path), w.head_passes = 1 + n_path / PROJECTED;
    else w.tokens = expected_tokens(v, &w.head_passes);
    w.kept = share_kept(v);
    /* A streamed head is read once, for every row; else a pass takes the few rows that will probably be asked for. */
    const bool streamed = in->costs->head_bytes > 0;
    w.head_rows = streamed ? w.rows : fmin(w.rows, PROJECTED);
    if (streamed) w.head_passes = 1;
    lv_speed_parts p;
    lv_speed_cycle(in->costs, &w, &v->ring, &p);
    tell(v, path, n_path, &w, &p);
    go_on(v, 1 + n_path);
    if (v->in->n_tokens) v->left = v->left > 1 + n_path ? v->left - (1 + n_path) : 0;
    if (!first) add_cycle(sum, &d, &w, &p), sum->n_cycles++;
    return LEVER_OK;
}

static void mean(lv_speed *s, double n)
{
    double *all[] = { &s->tokens, &s->rows, &s->kept, &s->draft_rows, &s->draft_batches, &s->parts.draft_s,
                      &s->parts.sweep_s, &s->parts.sweep_wait_s, &s->parts.project_s, &s->parts.other_s,
                      &s->parts.wait_s, &s->parts.flash_s, &s->parts.cycle_s };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] /= n;
    s->tokens_per_s = s->parts.cycle_s > 0 ? s->tokens / s->parts.cycle_s : 0;
    s->bound = lv_speed_bound(&s->parts);
}

/* What the engine tells a policy before it has seen anything (engine/seed.c). */
static void seed(virtual_run *v)
{
    const lv_speed_costs *c = v->in->costs;
    lv_cost_seed s = { .project_s = lv_curve_at(&c->project, 1, 0) + c->pick_s, .overhead_s = c->candidates_s };
    for (uint32_t rows = 1; s.n < LV_SEED_ROWS; rows *= 2) {
        const lv_speed_work w = { .rows = rows, .kept = 1, .tokens = 1 };
        lv_speed_parts p;
        lv_speed_steady(c, &w, &p);
        s.rows[s.n] = rows;
        s.verify_s[s.n] = p.sweep_s - p.sweep_wait_s;
        s.draft_s[s.n++] = lv_curve_at(&c->draft, rows, 0);
        if (rows == 1 && p.sweep_wait_s > 0) s.flash_s = p.sweep_s;
    }
    lv_policy_seed(v->policy, &s);
}

static int run_cycles(virtual_run *v, lv_speed *out, uint32_t before, uint32_t n, lever_error *err)
{
    for (uint32_t i = 0; i < before; i++) LEVER_TRY(cycle(v, out, err));
    *out = (lv_speed){ 0 };
    while (out->n_cycles < n) LEVER_TRY(cycle(v, out, err));
    return LEVER_OK;
}

/* The policy learns what things cost on the last quarter, before anything counts. */
static int run_text(virtual_run *v, lv_speed *out, lever_error *err)
{
    const uint32_t n = stretches(v);
    begin_stretch(v, n - (n + 3) / 4);
    while (v->stretch < n) LEVER_TRY(cycle(v, out, err));
    *out = (lv_speed){ 0 };
    begin_stretch(v, 0);
    while (v->stretch < n || out->n_cycles == 0) LEVER_TRY(cycle(v, out, err));
    return LEVER_OK;
}

static int run(virtual_run *v, lv_speed *out, lever_error *err)
{
    enum { PLAIN = 16, LEAST = 24 };
    const uint32_t n = replayed(v) / TOKENS_OF_CYCLE;
    seed(v);
    if (lv_policy_max_nodes(v->policy) == 1) /* every cycle is the same once the ring is */
        LEVER_TRY(run_cycles(v, out, PLAIN, 1, err));
    else if (text_of(v)) LEVER_TRY(run_text(v, out, err));
    else LEVER_TRY(run_cycles(v, out, n / 4 < LEAST ? LEAST : n / 4, n, err));
    mean(out, out->n_cycles);
    return LEVER_OK;
}

int lv_speed_of_policy(lv_speed *out, const lv_speed_input *in, const char *policy, lever_error *err)
{
    *out = (lv_speed){ 0 };
    if (in->n_tokens == 1) return lv_fail(err, LEVER_EINVAL, 0, "a text of one token has no cycles to predict");
    if (!lv_speed_costs_valid(in->costs) || in->draft_batch < 1)
        return lv_fail(err, LEVER_EINVAL, 0, "these costs can not be: a profile is damaged; run lever profile again");
    virtual_run *v = lv_alloc(sizeof *v, 64);
    if (!v) return lv_fail(err, LEVER_ENOMEM, 0, "prediction of a policy");
    v->in = in;
    v->draft_text = 1;
    int rc = lv_policy_open(&v->policy, policy, err);
    if (rc >= 0 && lv_policy_needs_draft(v->policy) && lv_policy_max_nodes(v->policy) > 1 && in->costs->draft.n == 0)
        rc = lv_fail(err, LEVER_EINVAL, 0, "policy '%s' needs a draft, and these costs have none", policy);
    if (rc >= 0) rc = lv_tree_init(&v->tree, lv_policy_grow_nodes(v->policy), err);
    if (rc >= 0) rc = run(v, out, err);
    lv_tree_fini(&v->tree);
    lv_policy_close(&v->policy);
    lv_free(v);
    return rc;
}
