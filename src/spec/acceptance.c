/* SPDX-License-Identifier: MIT */
#include "spec/acceptance.h"

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

void lv_acceptance_fade(lv_acceptance *a)
{
    float *all = &a->start[0];
    for (uint32_t i = 0; i < sizeof *a / sizeof *all; i++) all[i] *= keep;
}

void lv_acceptance_add(lv_acceptance *a, uint32_t levels, uint32_t of, uint32_t n, uint32_t rank)
{
    const uint32_t d = lv_acceptance_depth(levels);
    if (n > LV_ACC_RANKS) n = LV_ACC_RANKS;
    for (uint32_t r = 0; r < n; r++) a->trials[d][of][r] += 1;
    if (rank < n) a->hits[d][of][rank] += 1;
}

double lv_acceptance_roots(const lv_acceptance *a)
{
    double n = 0;
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) n += (double)a->start[c];
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
    const float *all = &a->start[0];
    for (uint32_t i = 0; i < sizeof *a / sizeof *all; i++)
        if (!(all[i] >= 0 && all[i] <= most)) return false;
    for (uint32_t i = 0; i < LV_ACC_DEPTHS * LV_ACC_CLASSES * LV_ACC_RANKS; i++)
        if ((&a->hits[0][0][0])[i] > (&a->trials[0][0][0])[i]) return false;
    return a->pruned_kept <= a->pruned_rows;
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

/* At every depth; where little was counted, as at all of them together. */
static void hit_rates(lv_acceptance_rates *out, const lv_acceptance *a, uint32_t c)
{
    double all[LV_ACC_RANKS];
    for (uint32_t r = 0; r < LV_ACC_RANKS; r++) {
        double hits = 0, trials = 0;
        for (uint32_t d = 0; d < LV_ACC_DEPTHS; d++) {
            hits += (double)a->hits[d][c][r];
            trials += (double)a->trials[d][c][r];
        }
        all[r] = (hits + prior_trials * usual_rate(c, r, all[0])) / (trials + prior_trials);
    }
    for (uint32_t d = 0; d < LV_ACC_DEPTHS; d++) {
        for (uint32_t r = 0; r < LV_ACC_RANKS; r++)
            out->hit[d][c][r] = ((double)a->hits[d][c][r] + prior_trials * all[r]) /
                                ((double)a->trials[d][c][r] + prior_trials);
        tidy(out->hit[d][c]);
    }
}

static void next_rates(lv_acceptance_rates *out, const lv_acceptance *a, uint32_t c, uint32_t other)
{
    double usual[LV_ACC_CLASSES], all[LV_ACC_CLASSES];
    float counts[LV_ACC_CLASSES] = { 0 };
    usual_next(usual, c);
    for (uint32_t d = 0; d < LV_ACC_DEPTHS; d++)
        for (uint32_t t = 0; t < LV_ACC_CLASSES; t++) counts[t] += a->next[d][c][other][t];
    shares(all, counts, usual, LV_ACC_CLASSES);
    for (uint32_t d = 0; d < LV_ACC_DEPTHS; d++)
        shares(out->next[d][c][other], a->next[d][c][other], all, LV_ACC_CLASSES);
}

void lv_acceptance_get_rates(lv_acceptance_rates *r, const lv_acceptance *a)
{
    static const lv_acceptance nothing;
    if (!a) a = &nothing;
    shares(r->start, a->start, usual_start, LV_ACC_CLASSES);
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
        hit_rates(r, a, c);
        next_rates(r, a, c, 0);
        next_rates(r, a, c, 1);
    }
}

void lv_acceptance_chain(const lv_acceptance_rates *r, double *p, uint32_t k)
{
    double at[LV_ACC_CLASSES], then[LV_ACC_CLASSES]; /* share of chains that reach a level in this class */
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) at[c] = r->start[c];
    for (uint32_t i = 0; i < k; i++) {
        const uint32_t d = lv_acceptance_depth(i);
        double all = 0, right = 0;
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) then[c] = 0;
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
            const double go_on = at[c] * r->hit[d][c][0];
            all += at[c], right += go_on;
            for (uint32_t t = 0; t < LV_ACC_CLASSES; t++) then[t] += go_on * r->next[d][c][0][t];
        }
        p[i] = all > 0 ? right / all : 0;
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) at[c] = then[c];
    }
}
