/* SPDX-License-Identifier: MIT */
#include "spec/acceptance.h"

#include "base/chance.h"

static const float edges[LV_ACC_CLASSES - 1] = { 0.2f, 0.35f, 0.5f, 0.65f, 0.8f, 0.92f, 0.985f };
static const float keep = 0.9998f;    /* of counts, each cycle: some five thousand cycles count */
static const double prior_trials = 4; /* what is usual counts for so many nodes */

/* Of a usual pair: how often a root is of each class, and its best candidate right. */
static const double usual_start[LV_ACC_CLASSES] = { 0.05, 0.10, 0.12, 0.12, 0.12, 0.13, 0.14, 0.22 };
static const double usual_hit[LV_ACC_CLASSES] = { 0.15, 0.28, 0.43, 0.57, 0.72, 0.85, 0.94, 0.985 };
/* Where the best candidate is wrong: how often one of the others, by rank, is right. */
static const double usual_other[LV_ACC_RANKS - 1] = { 0.38, 0.16, 0.09, 0.06, 0.04, 0.03, 0.025 };
static const double stays = 0.25;     /* usual share of nodes of the same class as the one before */

uint32_t lv_acceptance_class(float best)
{
    uint32_t c = 0;
    while (c < LV_ACC_CLASSES - 1 && best >= edges[c]) c++;
    return c;
}

bool lv_acceptance_records(const lv_acceptance *a)
{
    enum { FIRST = 1024, STRETCH = 256, ONE_IN = 8 };
    return a->n_text < FIRST || a->n_seen / STRETCH % ONE_IN == 0;
}

void lv_acceptance_add(lv_acceptance *a, const lv_said *said, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        a->text[a->at] = said[i];
        if (i == 0) a->text[a->at].begins = 1;
        a->at = (a->at + 1) % LV_ACC_TEXT;
        if (a->n_text < LV_ACC_TEXT) a->n_text++;
    }
}

void lv_acceptance_fade(lv_acceptance *a)
{
    float *all[] = { &a->by_draft, &a->by_lookup, &a->pruned_rows, &a->pruned_kept };
    for (uint32_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] *= keep;
}

uint32_t lv_acceptance_known(const lv_acceptance *a)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_text; i++) n += a->text[i].known;
    return n;
}

static const double few = 50; /* tokens or rows that say nothing yet */

double lv_acceptance_lookup(const lv_acceptance *a)
{
    return (double)a->by_draft > few ? (double)(a->by_lookup / a->by_draft) : 0;
}

double lv_acceptance_kept(const lv_acceptance *a, double otherwise)
{
    return (double)a->pruned_rows > few ? (double)(a->pruned_kept / a->pruned_rows) : otherwise;
}

bool lv_acceptance_valid(const lv_acceptance *a)
{
    static const float most = 1e6f; /* nodes of a cycle times cycles that count */
    const float all[] = { a->by_draft, a->by_lookup, a->pruned_rows, a->pruned_kept };
    for (uint32_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(all[i] >= 0 && all[i] <= most)) return false;
    if (a->n_text > LV_ACC_TEXT || a->at >= LV_ACC_TEXT || a->pruned_kept > a->pruned_rows) return false;
    if (a->n_text < LV_ACC_TEXT && a->at != a->n_text) return false;
    for (uint32_t i = 0; i < a->n_text; i++) {
        const lv_said s = a->text[i];
        if (s.known && (s.n < 1 || s.n > LV_ACC_RANKS || s.rank > s.n)) return false;
    }
    return true;
}

/* Shares of counts [n], in which `prior` [n] (sum 1) has a weight of prior_trials. */
static void shares(double *out, const float *counts, const double *prior, uint32_t n)
{
    double sum = prior_trials;
    for (uint32_t i = 0; i < n; i++) sum += (double)counts[i];
    for (uint32_t i = 0; i < n; i++) out[i] = ((double)counts[i] + prior_trials * prior[i]) / sum;
}

static void usual_next(double *out, uint32_t of)
{
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) out[c] = (1 - stays) * usual_start[c] + (c == of ? stays : 0);
}

/* What is usual at rank r for a node of this class, whose best candidate is right with `best`. */
static double usual_rate(uint32_t c, uint32_t r, double best)
{
    return r ? usual_other[r - 1] * (1 - best) : usual_hit[c];
}

/* Keep rates falling, as the order is the draft's and few were counted, and their sum at most 1. */
static void tidy(double *hit)
{
    double left = 1;
    for (uint32_t r = 0; r < LV_ACC_RANKS; r++) {
        if (r && hit[r] > hit[r - 1]) hit[r] = hit[r - 1];
        if (hit[r] > left) hit[r] = left;
        left -= hit[r];
    }
}

/* The i-th entry, from the oldest on. */
static lv_said said(const lv_acceptance *a, uint32_t i)
{
    return a->text[a->n_text < LV_ACC_TEXT ? i : (a->at + i) % LV_ACC_TEXT];
}

/* What was seen, by class: nodes with a candidate of this rank; the text went on with it; class of the node behind. */
typedef struct counts {
    float trials[LV_ACC_CLASSES][LV_ACC_RANKS], hits[LV_ACC_CLASSES][LV_ACC_RANKS];
    float next[LV_ACC_CLASSES][2][LV_ACC_CLASSES], start[LV_ACC_CLASSES];
} counts;

static void count(counts *c, const lv_acceptance *a)
{
    lv_said before = { 0 };
    for (uint32_t i = 0; i < a->n_text; i++) {
        const lv_said s = said(a, i);
        if (s.known && before.known && !s.begins) {
            if (before.rank < before.n) c->next[before.class][before.rank > 0][s.class]++;
            else c->start[s.class]++;
        }
        for (uint32_t r = 0; s.known && r < s.n; r++) c->trials[s.class][r]++;
        if (s.known && s.rank < s.n) c->hits[s.class][s.rank]++;
        before = s;
    }
}

static void hit_rates(double *hit, const counts *n, uint32_t c)
{
    for (uint32_t r = 0; r < LV_ACC_RANKS; r++)
        hit[r] = ((double)n->hits[c][r] + prior_trials * usual_rate(c, r, hit[0])) /
                 ((double)n->trials[c][r] + prior_trials);
    tidy(hit);
}

void lv_acceptance_get_rates(lv_acceptance_rates *r, const lv_acceptance *a)
{
    counts n = { 0 };
    if (a) count(&n, a);
    shares(r->start, n.start, usual_start, LV_ACC_CLASSES);
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
        double usual[LV_ACC_CLASSES];
        usual_next(usual, c);
        hit_rates(r->hit[c], &n, c);
        shares(r->next[c][0], n.next[c][0], usual, LV_ACC_CLASSES);
        shares(r->next[c][1], n.next[c][1], usual, LV_ACC_CLASSES);
    }
}

/* ---- replaying ---- */

/* A rank from `first` on, or none. */
static uint32_t draw_rank(const double hit[LV_ACC_RANKS], uint32_t first, uint64_t *random)
{
    double left = 1;
    for (uint32_t r = 0; r < first; r++) left -= hit[r];
    if (left <= 0) return LV_ACC_RANKS;
    return first + lv_chance_pick(hit + first, LV_ACC_RANKS - first, lv_chance(random) * left);
}

void lv_acceptance_replay(lv_replay *out, const lv_acceptance *a, const lv_acceptance_rates *r)
{
    uint64_t random = 1;
    for (uint32_t i = 0; i < a->n_text; i++) {
        lv_said s = said(a, i);
        if (!s.known) s = (lv_said){ .class = lv_chance_pick(r->start, LV_ACC_CLASSES - 1, lv_chance(&random)) & 7 };
        out->at[i].class = s.class;
        out->at[i].rank =
            (uint8_t)(s.rank < s.n ? s.rank : draw_rank(r->hit[s.class], s.n, &random)); /* of those not looked at */
    }
    out->n = a->n_text;
}

/* ---- chains ---- */

void lv_acceptance_chain(const lv_acceptance_rates *r, double *p, uint32_t k)
{
    double at[LV_ACC_CLASSES], then[LV_ACC_CLASSES]; /* share of chains that reach a level in this class */
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) at[c] = r->start[c];
    for (uint32_t i = 0; i < k; i++) {
        double all = 0, right = 0;
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) then[c] = 0;
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
            const double go_on = at[c] * r->hit[c][0];
            all += at[c], right += go_on;
            for (uint32_t t = 0; t < LV_ACC_CLASSES; t++) then[t] += go_on * r->next[c][0][t];
        }
        p[i] = all > 0 ? right / all : 0;
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) at[c] = then[c];
    }
}

void lv_replay_chain(const lv_replay *text, double *p, uint32_t k)
{
    for (uint32_t i = 0; i < k; i++) {
        uint32_t reached = 0, right = 0, before = 0; /* tokens that were right in a row */
        for (uint32_t t = 0; t < text->n; t++) {
            const bool hit = text->at[t].rank == 0;
            if (before == i) reached++, right += hit;
            before = hit ? before + 1 : 0;
        }
        p[i] = reached ? (double)right / reached : 0;
    }
}
