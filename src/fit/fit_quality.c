/* SPDX-License-Identifier: MIT */
#include "fit/fit_quality.h"

#include <stdlib.h>

#include "base/mem.h"
#include "kernel/angles.h"

enum { N = LV_FIT_NODE_CANDIDATES };
static const float tree_least = 0.02f; /* draft probability of an edge that a tree would hold */

static bool in_tree(const lv_fit_node *v, uint32_t i) { return i == 0 || v->prob[i] >= tree_least; }

/* Probabilities of the candidates; prob 0 counts as 1e-12. */
static void probabilities(const lv_fit_node *v, lv_fit_blend b, double *p)
{
    float x[N];
    for (uint32_t i = 0; i < v->n; i++) {
        x[i] = b.temperature > 0.0f ? v->s[i] / b.temperature : 0.0f;
        if (b.draft_weight > 0.0f)
            x[i] += b.draft_weight * (float)lv_log(v->prob[i] > 1e-12f ? (double)v->prob[i] : 1e-12);
    }
    lv_fit_softmax(x, v->n, 1.0, p);
}

static double sum_of_kl(const lv_fit_node *nodes, size_t n, lv_fit_blend blend)
{
    double p[N], q[N], sum = 0;
    for (size_t b = 0; b < n; b++) {
        if (!nodes[b].n) continue;
        lv_fit_softmax(nodes[b].z, nodes[b].n, 1.0, p);
        probabilities(&nodes[b], blend, q);
        for (uint32_t i = 0; i < nodes[b].n; i++)
            if (p[i] > 1e-300) sum += p[i] * (lv_log(p[i]) - lv_log(q[i] > 1e-300 ? q[i] : 1e-300));
    }
    return sum;
}

/* A coarse grid, as the minimum is flat: quarters of an octave, eighths of a weight. */
lv_fit_blend lv_fit_best_blend(const lv_fit_node *nodes, size_t n, bool with_draft)
{
    lv_fit_blend best = { 1.0f, 0.0f };
    double least = -1;
    for (int w = 0; w <= (with_draft ? 16 : 0); w++)
        for (int i = -8; i <= 16; i++) {
            const lv_fit_blend b = { (float)lv_exp(i * 0.17328679513998632), (float)w / 8 };
            const double kl = sum_of_kl(nodes, n, b);
            if (least < 0 || kl < least) least = kl, best = b;
        }
    return best;
}

void lv_fit_kept(const lv_fit_node *nodes, size_t n, lv_fit_blend blend, float threshold, float *edges,
                 float *right)
{
    double p[N];
    size_t all = 0, kept = 0, n_right = 0, right_kept = 0;
    for (size_t b = 0; b < n; b++) {
        const lv_fit_node *v = &nodes[b];
        if (v->n) probabilities(v, blend, p);
        for (uint32_t i = 0; i < v->n; i++) {
            if (!in_tree(v, i)) continue;
            const bool stays = p[i] >= (double)threshold;
            all++, kept += stays;
            if (v->right == (int)i) n_right++, right_kept += stays;
        }
    }
    *edges = all ? (float)((double)kept / (double)all) : 1.0f;
    *right = n_right ? (float)((double)right_kept / (double)n_right) : 1.0f;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* all, right: room for every edge. False: no edge is true. */
static bool edges_left(const lv_fit_node *nodes, size_t n, lv_fit_blend blend, double true_share, double *all,
                       double *right, double *kept)
{
    size_t n_all = 0, n_right = 0, left = 0;
    for (size_t b = 0; b < n; b++) {
        const lv_fit_node *v = &nodes[b];
        double p[N];
        if (v->n) probabilities(v, blend, p);
        for (uint32_t i = 0; i < v->n; i++) {
            if (!in_tree(v, i)) continue;
            all[n_all++] = p[i];
            if (v->right == (int)i) right[n_right++] = p[i];
        }
    }
    if (!n_right) return false;
    qsort(right, n_right, sizeof *right, by_value);
    const double least = right[(size_t)((1.0 - true_share) * (double)n_right)];
    for (size_t i = 0; i < n_all; i++) left += all[i] >= least;
    *kept = (double)left / (double)n_all;
    return true;
}

int lv_fit_rank(const lv_fit_node *nodes, size_t n, lv_fit_blend blend, double true_share, double *kept,
                lever_error *err)
{
    double *all = lv_alloc_array(2 * n, N * sizeof *all, 64);
    if (!all) return lv_fail(err, LEVER_ENOMEM, 0, "scores of %zu held-out positions", n);
    const bool any = edges_left(nodes, n, blend, true_share, all, all + n * N, kept);
    lv_free(all);
    if (any) return LEVER_OK;
    return lv_fail(
        err, LEVER_EINVAL, 0,
        "the target never chose a candidate of the draft in %zu held-out positions; use a better draft "
        "or more text",
        n);
}
