/* SPDX-License-Identifier: MIT */
#include "spec/cost.h"

/* The mean of the last few dozen: machines warm up and slow down within seconds. */
static const double most_weight = 24;
/* What is not seen again is forgotten: a bin of one bad sample after some 120 others, so that it is tried again. */
static const double keep_others = 0.99, least_weight = 0.3;

/* floor(4 log2(rows)) by comparison: 4 bins for every doubling. */
static uint32_t bin_of(uint32_t rows)
{
    uint32_t octave = 0;
    while (octave < 9 && rows >> (octave + 1)) octave++;
    const double x = (double)rows / (double)(1u << octave); /* 1 <= x, < 2 but for very large ones */
    const uint32_t quarter = x < 1.189207115 ? 0 : x < 1.414213562 ? 1 : x < 1.681792831 ? 2 : 3;
    return octave * 4 + quarter;
}

/* Neighbours that fall are joined to their common mean, until none does. */
static void rebuild(lv_cost_table *c)
{
    double weight[LV_COST_BINS];
    uint32_t n = 0;
    uint32_t members[LV_COST_BINS]; /* bins joined in an entry of the stack */
    for (uint32_t b = 0; b < LV_COST_BINS; b++) {
        if (c->weight[b] <= 0) continue;
        weight[n] = c->weight[b], c->curve[n] = c->seconds[b], members[n++] = 1;
        while (n > 1 && c->curve[n - 1] < c->curve[n - 2]) {
            const double w = weight[n - 1] + weight[n - 2];
            c->curve[n - 2] = (c->curve[n - 1] * weight[n - 1] + c->curve[n - 2] * weight[n - 2]) / w;
            weight[n - 2] = w;
            members[n - 2] += members[n - 1];
            n--;
        }
    }
    /* Spread the joined entries over their bins again, from the last one on so that nothing is overwritten. */
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++) total += members[i];
    c->n_curve = total;
    for (uint32_t i = n, at = total; i-- > 0;)
        for (uint32_t k = members[i]; k-- > 0;) c->curve[--at] = c->curve[i];
    for (uint32_t b = 0, at = 0; b < LV_COST_BINS; b++)
        if (c->weight[b] > 0) c->curve_rows[at++] = c->rows[b];
}

void lv_cost_add(lv_cost_table *c, uint32_t rows, double seconds)
{
    if (rows == 0 || !(seconds >= 0)) return;
    const uint32_t b = bin_of(rows);
    /* One slow batch among many (a page of the system, another process) should not move the mean much. */
    if (c->weight[b] >= 4 && seconds > 2 * c->seconds[b]) seconds = 2 * c->seconds[b];
    const double w = c->weight[b] < most_weight - 1 ? c->weight[b] : most_weight - 1;
    c->rows[b] = (c->rows[b] * w + rows) / (w + 1);
    c->seconds[b] = (c->seconds[b] * w + seconds) / (w + 1);
    c->weight[b] = w + 1;
    for (uint32_t i = 0; i < LV_COST_BINS; i++) {
        if (i != b) c->weight[i] *= keep_others;
        if (c->weight[i] < least_weight) c->weight[i] = 0;
    }
    rebuild(c);
}

bool lv_cost_restore(lv_cost_table *c)
{
    static const double trusted = 4;
    for (uint32_t b = 0; b < LV_COST_BINS; b++) {
        const bool known = c->weight[b] > 0;
        if (!(c->weight[b] >= 0 && c->weight[b] <= most_weight)) return false;
        if (known && !(c->rows[b] >= 1 && c->rows[b] <= UINT32_MAX && bin_of((uint32_t)c->rows[b]) <= b)) return false;
        if (known && !(c->seconds[b] >= 0 && c->seconds[b] < 1e6)) return false;
        if (c->weight[b] > trusted) c->weight[b] = trusted;
    }
    rebuild(c);
    return true;
}

static double of_model(const lv_cost_model *m, uint32_t rows)
{
    return m ? m->fixed + m->per_row * rows : 0;
}

void lv_cost_seed_table(lv_cost_table *c, const uint32_t *rows, const double *seconds, uint32_t n)
{
    static const double seed_weight = 0.5;
    if (lv_cost_known(c)) return;
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i] == 0 || !(seconds[i] >= 0 && seconds[i] < 1e6)) continue;
        const uint32_t b = bin_of(rows[i]);
        c->rows[b] = rows[i], c->seconds[b] = seconds[i], c->weight[b] = seed_weight;
    }
    rebuild(c);
}

double lv_cost_get(const lv_cost_table *c, uint32_t rows, const lv_cost_model *model)
{
    const uint32_t n = c->n_curve;
    if (n == 0) return of_model(model, rows);
    if (rows <= c->curve_rows[0]) return c->curve[0];
    for (uint32_t i = 1; i < n; i++) {
        if (rows > c->curve_rows[i]) continue;
        const double span = c->curve_rows[i] - c->curve_rows[i - 1];
        return c->curve[i - 1] + (c->curve[i] - c->curve[i - 1]) * (rows - c->curve_rows[i - 1]) / span;
    }
    const double guess = of_model(model, rows);
    return guess > c->curve[n - 1] ? guess : c->curve[n - 1];
}

bool lv_cost_line(const lv_cost_table *c, lv_cost_model *out)
{
    if (c->n_curve == 0) return false;
    const uint32_t last = c->n_curve - 1;
    const double span = c->curve_rows[last] - c->curve_rows[0];
    *out = (lv_cost_model){ 0, c->curve[0] / c->curve_rows[0] };
    if (span <= 0) return true;
    out->per_row = (c->curve[last] - c->curve[0]) / span;
    out->fixed = c->curve[0] - out->per_row * c->curve_rows[0];
    if (out->fixed < 0) *out = (lv_cost_model){ 0, c->curve[last] / c->curve_rows[last] };
    return true;
}
