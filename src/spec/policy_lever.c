/* "lever[:N]": the tree with the most expected tokens per second (METHODS.md section 1.3; arXiv 2605.16786).
 *
 *   G(T) = 1 + sum of b(v), b(v) = b(parent) * calibrated probability of v       expected tokens of the cycle
 *   C(T) = draft so far + verify(rows) + project * G                            expected seconds of the cycle
 *
 * Candidates come from the draft and, for nothing, from what followed the same words earlier in the text; one
 * calibration per source makes them comparable. All candidates of evaluated nodes form the frontier. Because b falls
 * along a path, the best n candidates are a tree for every n, so two questions can be answered apart:
 *   - which n to verify: the one with the largest G / C. Rows that hide under flash I/O cost nothing in C and are all
 *     taken; rows of a resident target are paid for, and fewer are.
 *   - what to have the draft evaluate next: as many of the best unevaluated candidates, in one batch, as raise
 *     G / C most by what evaluating has brought so far (gain per b); nothing when none raises it. Construction one by
 *     one goes through candidates in the order of b, down to some b that it only knows at its end; those above are
 *     evaluated sooner or later. So the best one is judged by the G / C so far, and those that join its batch by the
 *     G / C that trees have come to lately, where that is more: others would be in vain. And they only join where they
 *     cost less together than alone.
 * The paper inserts and evaluates in one step, node by node. Evaluating in batches costs a fraction on processors too
 * (8 rows of a 0.6B draft take twice as long as one: 14.7 and 7.5 ms), and a node worth verifying is
 * often not worth evaluating.
 * There is no budget of nodes; N (default 96) only bounds memory. lever:N,MOST,LEAST sets bounds to batches, for
 * comparison: lever:96,1 is construction one by one, lever:96,8,8 has batches of 8. SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/mem.h"
#include "spec/calibrate.h"
#include "spec/cost.h"
#include "spec/lookup.h"
#include "spec/policy_impl.h"
#include "spec/prune.h"

enum {
    DEFAULT_N = 96,
    CHILDREN = 8,         /* candidates of an evaluated node */
    ROOT_CHILDREN = 16,
    LOOKUP_LENGTH = 16,   /* tokens a match may propose */
    LOOKUP_SUFFIX = 8,    /* longest match looked for */
    DRAFT_ROWS = 112,     /* evaluated for one tree: what 1024 nodes of a growing tree have room for */
    FIRST_ROWS = 24,      /* verified while nothing is known of larger sweeps */
    BATCH = 64
};
_Static_assert(1 + ROOT_CHILDREN + LOOKUP_LENGTH + DRAFT_ROWS * CHILDREN <= LV_GROW_MAX, "room to grow");

static const double least_value = 1e-3; /* candidates less likely than this are not worth a place */
static const double rate_of_change = 0.1; /* of running means */
static const double usual_gain = 0.8;

/* What is known of the models, and of them on this machine. */
typedef struct lever_learnt {
    lv_calibration calibration;
    double gain;       /* expected tokens won per b of evaluated nodes */
    lv_cost_table  verify, draft; /* verify: less what a sweep waits for reads */
    double overhead_s; /* of a drafted row beside evaluating it: its candidates */
    double project_s;  /* of a token of text */
    lv_calibration exit; /* of the predictor after a middle layer */
    double dropped;    /* share of a sweep's rows that its last layers do without */
    double flash_s;    /* reads of a sweep, so what it takes at least; 0: none has waited for them */
    double n_flash;    /* sweeps that told */
    double stall_s;    /* waits of a sweep whose pace reads do not set */
} lever_learnt;

typedef struct lever_state {
    uint32_t n, batch_most, batch_least;
    double rate; /* tokens per second that trees have come to lately, a running mean; 0: none has */
    bool   warm, swept; /* draft, target have run: their first batches touch all memory for the first time */
    lever_learnt learnt;
    /* Of the tree being grown; [t->n]. */
    lv_guess guess[LV_GROW_MAX];
    double   value[LV_GROW_MAX];      /* b */
    bool     evaluated[LV_GROW_MAX], keep[LV_GROW_MAX];
    int32_t  order[LV_GROW_MAX];      /* [t->n - 1] by value, best first */
    lv_cost  spent;                   /* on evaluating */
    double   draft_s;                 /* on drafting in all */
    uint32_t n_pending;               /* rows of the sweep beside the candidates */
    double   others_tokens;           /* of other trees in the sweep */
    uint32_t others_draft_rows;
    /* Of the tree being verified. */
    bool     glimpsed;
    lv_guess exit_guess[LV_POLICY_MAX_NODES];
    double   exit_value[LV_POLICY_MAX_NODES];
    double   layers_done;             /* at the exit; 1: there is none */
    double   rows_ratio;              /* cost of a target row in draft rows */
} lever_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    lever_state *s = p->state;
    s->n = DEFAULT_N;
    s->batch_most = BATCH;
    s->batch_least = 1;
    const lv_policy_param params[] = { { "nodes verified at most", &s->n, 1, LV_POLICY_MAX_NODES - 1, NULL },
                                       { "nodes drafted at once at most", &s->batch_most, 1, BATCH, NULL },
                                       { "nodes drafted at once at least", &s->batch_least, 1, BATCH, NULL } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 3, err));
    if (s->batch_least > s->batch_most)
        return lv_fail(err, LEVER_EINVAL, 0, "policy '%s': %u nodes at once at least, but %u at most", p->spec,
                       s->batch_least, s->batch_most);
    s->learnt.gain = usual_gain;
    s->layers_done = 1;
    /* Drafts are right more often than their probabilities say: on the demo pair in large shapes 2 gave 5 % more speed
     * than 1 at temperature 0 (8 prompts) and 15 % at 0.8 (3 prompts). What is left to say calibration learns. */
    if (!strchr(p->spec, '@')) p->sharpness = 2;
    p->max_nodes = 1 + s->n;
    p->grow_nodes = LV_GROW_MAX;
    p->draft_rows = DRAFT_ROWS;
    return LEVER_OK;
}

/* ---- expected cost ---- */

/* While batches of one size are all that was seen, larger ones are believed to take half as much per row: else they
 * would never be tried. */
static double draft_cost(const lever_state *s, uint32_t rows)
{
    const lv_cost_table *c = &s->learnt.draft;
    lv_cost_model line = { 0 };
    lv_cost_line(c, &line);
    if (c->n_curve == 1) line = (lv_cost_model){ c->curve[0] / 2, c->curve[0] / 2 / c->curve_rows[0] };
    return lv_cost_get(&s->learnt.draft, rows, &line) + s->learnt.overhead_s * rows;
}

/* Computing of a sweep. Of larger ones than any seen: as for the draft and a tenth more, but a row costs no more than
 * in those seen. Of smaller ones, until they are tried: as much less as for the draft. */
static double compute_cost(const lever_state *s, uint32_t rows)
{
    lv_cost_model line = { 0 };
    lv_cost_line(&s->learnt.draft, &line);
    const double least = s->learnt.verify.n_curve ? s->learnt.verify.curve_rows[0] : 0;
    const double of_least = line.fixed + line.per_row * least;
    if (rows < least && of_least > 0) return s->learnt.verify.curve[0] * (line.fixed + line.per_row * rows) / of_least;
    line.fixed *= 1.1 * s->rows_ratio;
    line.per_row *= 1.1 * s->rows_ratio;
    const double cost = lv_cost_get(&s->learnt.verify, rows, &line);
    const uint32_t n = s->learnt.verify.n_curve;
    const double as_seen = n ? s->learnt.verify.curve[n - 1] * rows / s->learnt.verify.curve_rows[n - 1] : 0;
    return n && rows > s->learnt.verify.curve_rows[n - 1] && cost > as_seen ? as_seen : cost;
}

/* Reads go on beside computing: the longer of the two. Where few rows wait for flash, more are free up to where they
 * do not, though no sweep of that size was seen yet. */
static double verify_cost(const lever_state *s, uint32_t rows)
{
    const double compute = compute_cost(s, rows) + s->learnt.stall_s;
    return compute > s->learnt.flash_s ? compute : s->learnt.flash_s;
}

/* Half as many again as the largest sweep seen, and at least FIRST_ROWS. */
static uint32_t most_rows_known(const lever_state *s)
{
    const double seen = s->learnt.verify.n_curve ? s->learnt.verify.curve_rows[s->learnt.verify.n_curve - 1] : 0;
    return seen * 1.5 > FIRST_ROWS ? (uint32_t)(seen * 1.5) : FIRST_ROWS;
}

typedef struct choice {
    uint32_t n;  /* best candidates to verify */
    double tokens, seconds; /* of this tree; of the cycle, which other trees may share */
} choice;

/* Whole rows whose work a sweep of so many is likely to do: some are dropped on the way. */
static uint32_t rows_of_work(const lever_state *s, uint32_t rows)
{
    return (uint32_t)(rows * (1 - (1 - s->layers_done) * s->learnt.dropped) + 0.5);
}

/* The n with the most tokens per second, after `drafted` seconds. */
static choice choose(const lever_state *s, uint32_t n_candidates, uint32_t most, double drafted)
{
    const double others = s->others_tokens;
    choice best = { 0, 1, drafted + verify_cost(s, s->n_pending) + s->learnt.project_s * (1 + others) };
    double tokens = 1;
    const uint32_t known = most_rows_known(s); /* beyond, step by step: the model behind the table may be wrong */
    if (s->n_pending + most > known) most = known > s->n_pending ? known - s->n_pending : 0;
    for (uint32_t n = 1; n <= n_candidates && n <= most; n++) {
        tokens += s->value[s->order[n - 1]];
        const double seconds =
            drafted + verify_cost(s, rows_of_work(s, s->n_pending + n)) + s->learnt.project_s * (tokens + others);
        if ((tokens + others) * best.seconds > (best.tokens + others) * seconds) best = (choice){ n, tokens, seconds };
    }
    return best;
}

static double drafted_s(const lever_state *s)
{
    return s->spent.seconds + s->learnt.overhead_s * (s->spent.rows + s->spent.ready);
}

/* ---- candidates ---- */

static void set_guess(lever_state *s, int32_t id, uint8_t source, uint32_t rank, double stated)
{
    s->guess[id] = (lv_guess){ .source = source, .rank = (uint8_t)(rank < 255 ? rank : 255),
                               .stated = (float)(stated > 0 ? stated : 0) };
}

static int32_t add(lever_state *s, lv_tree *t, int32_t parent, int32_t token, uint8_t source)
{
    const uint32_t before = t->n;
    const int32_t id = lv_tree_add(t, parent, token, 0, source);
    if (id >= 0 && t->n > before) s->evaluated[id] = false;
    return id;
}

/* The draft's candidates below an evaluated node. One that lookup had named already becomes a common guess. */
static void add_children(lever_state *s, lv_tree *t, lv_drafter *d, int32_t parent, uint32_t k)
{
    int32_t tokens[ROOT_CHILDREN];
    float probs[ROOT_CHILDREN];
    const uint32_t got = d->candidates(d->user, t, parent, k, tokens, probs);
    s->evaluated[parent] = true;
    for (uint32_t i = 0; i < got; i++) {
        const bool named = lv_tree_find_child(t, parent, tokens[i]) >= 0;
        if (!named && s->value[parent] * (double)probs[i] < least_value) continue;
        const int32_t id = add(s, t, parent, tokens[i], LV_SOURCE_DRAFT);
        if (id < 0) return;
        t->nodes[id].draft_prob = probs[i];
        t->nodes[id].source = LV_SOURCE_DRAFT;
        set_guess(s, id, named ? LV_GUESS_BOTH : LV_GUESS_DRAFT, i, (double)probs[i]);
    }
}

/* What followed the longest suffix of the text that appeared before, as a chain below the root. */
static void add_lookup(lever_state *s, lv_tree *t, const lv_drafter *d, uint32_t depth)
{
    uint32_t from;
    const uint32_t match = lv_lookup_find(d->text, d->n_text, LOOKUP_SUFFIX, &from);
    if (match == 0) return;
    const uint32_t period = d->n_text - from;
    int32_t at = 0;
    for (uint32_t i = 0; i < LOOKUP_LENGTH && i < depth; i++) {
        const uint32_t before = t->n;
        at = add(s, t, at, d->text[from + i % period], LV_SOURCE_LOOKUP);
        if (at < 0) return;
        if (t->n > before) set_guess(s, at, LV_GUESS_LOOKUP, 0, (match + i) / 16.0);
        else s->guess[at].source = LV_GUESS_BOTH;
    }
}

/* Values from the root down, then the order. Children stand behind their parents and are worth less. */
static void rank(lever_state *s, lv_tree *t)
{
    s->value[0] = 1;
    for (uint32_t i = 1; i < t->n; i++) {
        const double q = lv_calibrated(&s->learnt.calibration, s->guess[i]);
        t->nodes[i].prob = (float)q;
        s->value[i] = s->value[t->nodes[i].parent] * q;
        uint32_t at = i - 1; /* insertion into what is sorted already; ties to the lower id */
        while (at > 0 && s->value[s->order[at - 1]] < s->value[i]) s->order[at] = s->order[at - 1], at--;
        s->order[at] = (int32_t)i;
    }
}

/* ---- growing ---- */

static void look_at_others(lever_state *s, const lv_drafter *d)
{
    s->n_pending = d->n_pending;
    s->others_tokens = d->others_tokens;
    s->others_draft_rows = d->others_draft_rows;
}

static int evaluate(lever_state *s, lv_tree *t, lv_drafter *d, const int32_t *ids, uint32_t n, uint32_t k,
                    lever_error *err)
{
    LEVER_TRY(lv_drafter_expand(d, t, ids, n, err));
    if (s->warm && d->last.calls) lv_cost_add(&s->learnt.draft, d->last.rows, d->last.seconds);
    s->warm = true;
    look_at_others(s, d);
    s->spent = d->total;
    for (uint32_t i = 0; i < n; i++) add_children(s, t, d, ids[i], k);
    return LEVER_OK;
}

/* Seconds that n rows add to what others evaluate now. */
static double batch_cost(const lever_state *s, uint32_t n)
{
    const uint32_t beside = s->others_draft_rows;
    return draft_cost(s, beside + n) - (beside ? draft_cost(s, beside) : 0);
}

/* What the tree is expected to be, with those of others, when evaluating n more wins `won` tokens: with n more rows, or
 * in the place of the last n of those chosen now, worth `lost`; whichever gives more tokens per second. */
static choice with_batch(const lever_state *s, const choice *now, uint32_t n, double won, double lost)
{
    const uint32_t rows = s->n_pending + now->n;
    const double drafted = now->seconds + batch_cost(s, n), tokens = now->tokens + s->others_tokens;
    const double more = verify_cost(s, rows_of_work(s, rows + n)) - verify_cost(s, rows_of_work(s, rows));
    const choice longer = { n, tokens + won, drafted + more + s->learnt.project_s * won };
    const choice instead = { n, tokens + won - lost, drafted + s->learnt.project_s * (won - lost) };
    return longer.tokens * instead.seconds > instead.tokens * longer.seconds ? longer : instead;
}

/* Of batches [n], of 1 to n rows, that raise tokens per second, the one that wins most where a second is worth `rate`
 * tokens. A candidate brings a batch no more than it would cost alone: it can wait. 0: none raises them. */
static uint32_t best_batch(const lever_state *s, const choice *now, const choice *batches, uint32_t n, double rate)
{
    const choice none = { 0, now->tokens + s->others_tokens, now->seconds };
    uint32_t best_n = 0;
    double best = 0, surplus = 0;
    for (uint32_t i = 0; i < n; i++) {
        const choice *c = &batches[i], *before = i ? c - 1 : &none;
        const double won = c->tokens - before->tokens, took = c->seconds - before->seconds;
        const double saved = i ? batch_cost(s, 1) - (batch_cost(s, i + 1) - batch_cost(s, i)) : 0;
        const double alone = rate * (took + saved);
        surplus += (i && won > alone ? alone : won) - rate * took;
        if (c->tokens * none.seconds > none.tokens * c->seconds && (!best_n || surplus > best))
            best = surplus, best_n = i + 1;
    }
    return best_n;
}

/* The candidates to evaluate next, best first, into ids; 0: evaluating raises tokens per second no more. */
static uint32_t next_batch(const lever_state *s, const lv_tree *t, const lv_drafter *d, const choice *now,
                           uint32_t depth, int32_t *ids)
{
    uint32_t most = d->max_rows < d->rows_left ? d->max_rows : d->rows_left, n = 0;
    if (most > s->batch_most) most = s->batch_most;
    choice batches[BATCH];
    double sum = 0, lost = 0, rate = s->rate;
    for (uint32_t i = 0; i + 1 < t->n && n < most; i++) {
        const int32_t id = s->order[i];
        if (s->evaluated[id] || !s->evaluated[t->nodes[id].parent] || t->nodes[id].depth >= (int32_t)depth)
            continue; /* lookup proposes chains: their nodes are evaluated one after the other */
        if (s->value[id] < least_value) break;
        ids[n++] = id;
        sum += s->value[id];
        if (n <= now->n) lost += s->value[s->order[now->n - n]];
        batches[n - 1] = with_batch(s, now, n, s->learnt.gain * sum, lost);
        const double reached = batches[n - 1].tokens / batches[n - 1].seconds;
        if (reached > rate) rate = reached;
    }
    const uint32_t best_n = best_batch(s, now, batches, n, rate);
    if (best_n == 0 || best_n >= s->batch_least) return best_n;
    return s->batch_least < n ? s->batch_least : n;
}

static void select_best(lever_state *s, lv_tree *t, uint32_t n)
{
    memset(s->keep, 0, t->n * sizeof *s->keep);
    s->keep[0] = true;
    for (uint32_t i = 0; i < n; i++) s->keep[s->order[i]] = true;
    for (uint32_t i = 0, to = 0; i < t->n; i++)
        if (s->keep[i]) s->guess[to++] = s->guess[i];
    lv_tree_keep(t, s->keep);
}

/* Some bad luck must not end all trying: while nothing is evaluated, it is forgotten bit by bit. */
static void learn_gain(lever_learnt *l, double won, double evaluated)
{
    static const double least = 0.2;
    if (evaluated > 0) l->gain += 2 * rate_of_change * (won / evaluated - l->gain);
    else l->gain += rate_of_change / 2 * (usual_gain - l->gain);
    if (l->gain < least) l->gain = least;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    lever_state *s = p->state;
    int32_t ids[BATCH] = { 0 };
    s->rows_ratio = d->target_ratio;
    look_at_others(s, d);
    s->value[0] = 1;
    int rc = evaluate(s, t, d, ids, 1, ROOT_CHILDREN, err);
    if (rc >= 0) add_lookup(s, t, d, max_depth);
    rank(s, t);
    choice now = choose(s, t->n - 1, max_nodes - 1, drafted_s(s));
    double won = 0, evaluated = 0; /* tokens, by b of what was evaluated below the root */
    while (rc >= 0) {
        p->expected_tokens = now.tokens, p->expected_nodes = 1 + now.n;
        const uint32_t n = next_batch(s, t, d, &now, max_depth, ids);
        if (n == 0) break;
        for (uint32_t i = 0; i < n; i++) evaluated += s->value[ids[i]];
        rc = evaluate(s, t, d, ids, n, CHILDREN, err);
        rank(s, t);
        const choice then = choose(s, t->n - 1, max_nodes - 1, drafted_s(s));
        won += then.tokens - now.tokens;
        now = then;
    }
    learn_gain(&s->learnt, won, evaluated);
    const double rate = (now.tokens + s->others_tokens) / now.seconds;
    if (rc >= 0) s->rate += (s->rate > 0 ? rate_of_change : 1) * (rate - s->rate);
    select_best(s, t, now.n);
    p->expected_tokens = now.tokens, p->expected_nodes = 1 + now.n;
    p->expected_s = now.seconds;
    s->draft_s = drafted_s(s);
    return rc;
}

/* ---- pruning ---- */

static const double least_saving = 0.02; /* of a sweep: less is not worth the scores */

static bool would_prune(const lv_policy *p, uint32_t n_rows, double layers_done)
{
    const lever_state *s = p->state;
    if (n_rows < 6) return false;
    const double all = verify_cost(s, n_rows), half = verify_cost(s, n_rows / 2);
    return (all - half) * (1 - layers_done) > least_saving * all;
}

/* What the predictor says of each node, and values along the paths. */
static void glimpse(lever_state *s, const lv_glimpse *g)
{
    const lv_tree *t = g->tree;
    s->glimpsed = true;
    s->layers_done = g->layers_done;
    s->exit_value[0] = 1;
    for (uint32_t i = 1; i < t->n; i++) {
        uint32_t rank = 0;
        for (int32_t c = t->nodes[t->nodes[i].parent].first_child; c >= 0; c = t->nodes[c].next_sibling)
            rank += g->share[c] > g->share[i];
        s->exit_guess[i] = (lv_guess){ .source = LV_GUESS_DRAFT, .rank = (uint8_t)rank, .stated = g->share[i] };
        const double q = lv_calibrated(&s->learnt.exit, s->exit_guess[i]);
        s->exit_value[i] = s->exit_value[t->nodes[i].parent] * q;
    }
}

/* The best n nodes, for the n with the most tokens per second when the layers so far are paid. */
static void prune(lv_policy *p, const lv_glimpse *g, bool *keep)
{
    lever_state *s = p->state;
    const lv_tree *t = g->tree;
    const uint32_t beside = g->n_rows - (t->n - 1); /* the root, and text before it */
    glimpse(s, g);
    for (uint32_t i = 1; i < t->n; i++) { /* as in rank */
        uint32_t at = i - 1;
        while (at > 0 && s->exit_value[s->order[at - 1]] < s->exit_value[i]) s->order[at] = s->order[at - 1], at--;
        s->order[at] = (int32_t)i;
    }
    const double spent = s->draft_s + g->layers_done * verify_cost(s, g->n_rows), upper = 1 - g->layers_done;
    double tokens = 1, best = 0, last = 0;
    uint32_t n_best = 0;
    for (uint32_t n = 0; n < t->n; n++) {
        if (n) tokens += s->exit_value[s->order[n - 1]];
        const double seconds = spent + upper * verify_cost(s, beside + n) + s->learnt.project_s * tokens;
        last = (tokens + s->others_tokens) / seconds;
        if (last > best) best = last, n_best = n;
    }
    if (last >= best * (1 - least_saving / 2)) n_best = t->n - 1; /* all of them are as good */
    memset(keep, 0, t->n * sizeof *keep);
    keep[0] = true;
    for (uint32_t n = 0; n < n_best; n++) keep[s->order[n]] = true;
    lv_prune_add_backbone(t, g->share, keep);
}

/* ---- learning ---- */

/* Every child of a node that was reached was a guess about the token that followed. */
static void learn_node(lever_state *s, const lv_tree *t, int32_t node, int32_t token)
{
    for (int32_t c = t->nodes[node].first_child; c >= 0; c = t->nodes[c].next_sibling)
        lv_calibration_learn(&s->learnt.calibration, s->guess[c], t->nodes[c].token == token);
    for (int32_t c = s->glimpsed ? t->nodes[node].first_child : -1; c >= 0; c = t->nodes[c].next_sibling)
        lv_calibration_learn(&s->learnt.exit, s->exit_guess[c], t->nodes[c].token == token);
}

/* Reads set the pace of a sweep that waits for them for long. Others wait a little here and there, however many rows
 * they have; reads take no longer than they. */
static void learn_flash(lever_learnt *l, const lv_sweep_took *took)
{
    static const double long_wait = 0.15;
    const bool paced = took->wait_s > long_wait * took->seconds;
    if (!paced) l->stall_s += rate_of_change * (took->wait_s - l->stall_s);
    if (!paced && took->seconds >= l->flash_s) return;
    l->n_flash++;
    const double rate = l->n_flash * rate_of_change < 1 ? 1 / l->n_flash : rate_of_change;
    l->flash_s += rate * (took->seconds - l->flash_s);
}

static void observe_sweep(lv_policy *p, uint32_t rows, lv_sweep_took took)
{
    lever_state *s = p->state;
    if (s->swept) lv_cost_add(&s->learnt.verify, rows, took.seconds - took.wait_s);
    s->swept = true;
    learn_flash(&s->learnt, &took);
}

static void observe(lv_policy *p, const lv_outcome *o)
{
    lever_state *s = p->state;
    const double kept = (double)o->n_kept_rows / o->n_rows;
    if (o->sweep.seconds >= 0) {
        s->learnt.dropped += rate_of_change * (1 - kept - s->learnt.dropped);
        observe_sweep(p, (uint32_t)(o->n_rows * (1 - (1 - s->layers_done) * (1 - kept)) + 0.5), o->sweep);
    }
    s->learnt.project_s += rate_of_change * (o->project_s / (o->n_path + 1) - s->learnt.project_s);
    if (s->spent.rows) /* candidates are looked for at nodes that were ready too */
        s->learnt.overhead_s += rate_of_change * ((o->draft_s - s->spent.seconds) / (s->spent.rows + s->spent.ready) -
                                                  s->learnt.overhead_s);
    s->spent = (lv_cost){ 0 };
    for (uint32_t i = 0; i <= o->n_path; i++) {
        const int32_t node = i ? o->path[i - 1] : 0;
        learn_node(s, o->tree, node, i < o->n_path ? o->tree->nodes[o->path[i]].token : o->next);
    }
    s->glimpsed = false;
}

static void get_learnt(const lv_policy *p, void *out)
{
    const lever_state *s = p->state;
    memcpy(out, &s->learnt, sizeof s->learnt);
}

static bool within(double x, double lo, double hi) { return x >= lo && x <= hi; }

static bool restore(lever_learnt *l)
{
    return lv_calibration_restore(&l->calibration) && lv_calibration_restore(&l->exit) && lv_cost_restore(&l->verify) &&
           lv_cost_restore(&l->draft) && within(l->gain, 0.01, 100) && within(l->overhead_s, -1, 1e3) &&
           within(l->project_s, 0, 1e3) && within(l->flash_s, 0, 1e6) && within(l->n_flash, 0, 1e12) &&
           within(l->stall_s, 0, 1e6) && within(l->dropped, 0, 1);
}

static bool set_learnt(lv_policy *p, const void *in, bool costs)
{
    lever_state *s = p->state;
    lever_learnt *l = lv_alloc(sizeof *l, 64); /* too large for a frame */
    if (!l) return false;
    memcpy(l, in, sizeof *l);
    const bool good = restore(l);
    if (good && costs) s->learnt = *l;
    if (good) {
        s->learnt.calibration = l->calibration;
        s->learnt.exit = l->exit;
        s->learnt.gain = l->gain;
    }
    lv_free(l);
    return good;
}

static void share(lv_policy *p, const lv_policy *from)
{
    lever_state *s = p->state;
    const lever_state *f = from->state;
    const double tilt = s->learnt.calibration.tilt, exit_tilt = s->learnt.exit.tilt;
    s->learnt = f->learnt;
    s->warm = f->warm, s->swept = f->swept, s->layers_done = f->layers_done;
    s->learnt.calibration.tilt = tilt, s->learnt.exit.tilt = exit_tilt; /* of the text */
}

/* Predictions of a measured machine, where nothing was learnt. */
static void seed(lv_policy *p, const lv_cost_seed *c)
{
    lever_learnt *l = &((lever_state *)p->state)->learnt;
    if (lv_cost_known(&l->verify) || lv_cost_known(&l->draft)) return;
    lv_cost_seed_table(&l->verify, c->rows, c->verify_s, c->n);
    lv_cost_seed_table(&l->draft, c->rows, c->draft_s, c->n);
    l->project_s = c->project_s;
    l->overhead_s = c->overhead_s;
    l->flash_s = c->flash_s;
}

static void reset(lv_policy *p)
{
    lever_state *s = p->state;
    lv_calibration_new_text(&s->learnt.calibration);
    lv_calibration_new_text(&s->learnt.exit);
}

const lv_policy_type lv_policy_lever = { .name = "lever",
                                         .usage = "lever[:N]",
                                         .state_bytes = sizeof(lever_state),
                                         .parse = parse,
                                         .grow = grow,
                                         .would_prune = would_prune,
                                         .prune = prune,
                                         .observe = observe,
                                         .observe_sweep = observe_sweep,
                                         .reset = reset,
                                         .learnt_bytes = sizeof(lever_learnt),
                                         .get_learnt = get_learnt,
                                         .set_learnt = set_learnt,
                                         .share = share,
                                         .seed = seed };
