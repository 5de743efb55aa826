/* SPDX-License-Identifier: MIT */
#include "fit/fit_quality.h"

#include <stdlib.h>

#include "base/mem.h"
#include "kernel/angles.h"

static const float tree_least = 0.02f; /* draft probability of an edge that a tree would hold */

static bool in_tree(const lv_fit_node *v, uint32_t i) { return i == 0 || v->prob[i] >= tree_least; }

static double mean_kl(const lv_fit_node *nodes, size_t n, double t)
{
    double p[LV_FIT_NODE_CANDIDATES], q[LV_FIT_NODE_CANDIDATES], sum = 0;
    for (size_t b = 0; b < n; b++) {
        lv_fit_softmax(nodes[b].z, nodes[b].n, 1.0, p);
        lv_fit_softmax(nodes[b].s, nodes[b].n, t, q);
        for (uint32_t i = 0; i < nodes[b].n; i++)
            if (p[i] > 1e-300) sum += p[i] * (lv_log(p[i]) - lv_log(q[i] > 1e-300 ? q[i] : 1e-300));
    }
    return sum;
}

float lv_fit_best_temperature(const lv_fit_node *nodes, size_t n)
{
    double best = 1, least = 0;
    for (int i = -16; i <= 32; i++) { /* eighths of an octave */
        const double t = lv_exp(i * 0.08664339756999316), kl = mean_kl(nodes, n, t);
        if (i == -16 || kl < least) least = kl, best = t;
    }
    return (float)best;
}

void lv_fit_curve_point(const lv_fit_node *nodes, size_t n, float temperature, lv_exit_point *point)
{
    double p[LV_FIT_NODE_CANDIDATES];
    size_t edges = 0, kept = 0, right = 0, right_kept = 0;
    for (size_t b = 0; b < n; b++) {
        const lv_fit_node *v = &nodes[b];
        lv_fit_softmax(v->s, v->n, (double)temperature, p);
        for (uint32_t i = 0; i < v->n; i++) {
            if (!in_tree(v, i)) continue;
            const bool stays = p[i] >= (double)point->threshold;
            edges++, kept += stays;
            if (v->right == (int)i) right++, right_kept += stays;
        }
    }
    point->edges_kept = edges ? (float)((double)kept / (double)edges) : 1.0f;
    point->true_kept = right ? (float)((double)right_kept / (double)right) : 1.0f;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Share of edges whose score is at least that of the true edge which the wanted share of true edges reaches.
 * all, right: room for every edge. by_draft: scores are the draft's probabilities. */
static int edges_left(const lv_fit_node *nodes, size_t n, double t, bool by_draft, double true_share,
                      double *all, double *right, double *out)
{
    size_t n_all = 0, n_right = 0, left = 0;
    for (size_t b = 0; b < n; b++) {
        const lv_fit_node *v = &nodes[b];
        double p[LV_FIT_NODE_CANDIDATES];
        lv_fit_softmax(v->s, v->n, t, p);
        for (uint32_t i = 0; i < v->n; i++) {
            if (!in_tree(v, i)) continue;
            const double score = by_draft ? (double)v->prob[i] : p[i];
            all[n_all++] = score;
            if (v->right == (int)i) right[n_right++] = score;
        }
    }
    if (!n_right) return LEVER_EINVAL;
    qsort(right, n_right, sizeof *right, by_value);
    const double least = right[(size_t)((1.0 - true_share) * (double)n_right)];
    for (size_t i = 0; i < n_all; i++) left += all[i] >= least;
    *out = (double)left / (double)n_all;
    return LEVER_OK;
}

int lv_fit_rank(const lv_fit_node *nodes, size_t n, float temperature, double true_share, lv_fit_ranking *out,
                lever_error *err)
{
    const size_t most = n * LV_FIT_NODE_CANDIDATES;
    const double t = (double)temperature;
    double *all = lv_alloc_array(2 * most, sizeof *all, 64);
    if (!all) return lv_fail(err, LEVER_ENOMEM, 0, "scores of %zu held-out positions", n);
    int rc = edges_left(nodes, n, t, false, true_share, all, all + most, &out->kept);
    if (rc >= 0) rc = edges_left(nodes, n, t, true, true_share, all, all + most, &out->draft_kept);
    lv_free(all);
    if (rc == LEVER_EINVAL)
        return lv_fail(
            err, rc, 0,
            "the target never chose a candidate of the draft in %zu held-out positions; use a better draft "
            "or more text",
            n);
    return rc;
}
