/* SPDX-License-Identifier: MIT */
#include "spec/calibrate.h"

static const double keep = 0.998;        /* of old trials with each new one in a bin: some 500 count */
static const double prior_trials = 6;    /* what the statement itself counts for */
static const double tilt_step = 0.08, tilt_most = 3.5;
/* Edges of the bins in stated probability: finer where the decisions are. */
static const double edges[LV_CAL_BINS - 1] = { 0.005, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97 };

static double clamp(double p) { return p < 1e-4 ? 1e-4 : p > 0.9995 ? 0.9995 : p; }
static double odds(double p) { return p / (1 - p); }

static uint32_t bin_of(double p)
{
    uint32_t b = 0;
    while (b < LV_CAL_BINS - 1 && p >= edges[b]) b++;
    return b;
}

static uint32_t rank_of(lv_guess g) { return g.rank < LV_CAL_RANKS ? g.rank : LV_CAL_RANKS - 1; }

/* Before anything is known. Lookup after n equal tokens: 0.29 at one, 0.62 at eight. */
static double prior(lv_guess g)
{
    const double p = clamp((double)g.stated);
    if (g.source == LV_GUESS_LOOKUP) return 0.15 + 0.7 * 4 * p / (1 + 4 * p);
    if (g.source == LV_GUESS_BOTH) return 1 - (1 - p) * 0.6;
    return p;
}

/* How far the trials of bin b are from what was stated in them, as a factor of the odds. */
static double factor_of(const lv_calibration *c, lv_guess g, uint32_t b)
{
    const uint32_t r = rank_of(g);
    const double n = c->trials[g.source][r][b];
    if (n <= 0) return 1;
    const double mean = clamp(c->stated[g.source][r][b] / n);
    lv_guess typical = g;
    typical.stated = (float)mean;
    const double believed = clamp(prior(typical));
    const double seen = clamp((c->hits[g.source][r][b] + prior_trials * believed) / (n + prior_trials));
    return odds(seen) / odds(believed);
}

/* Where in its bin a statement lies: 0 at the lower edge, 1 at the upper. */
static double within(double p, uint32_t b)
{
    const double lo = b ? edges[b - 1] : 0, hi = b < LV_CAL_BINS - 1 ? edges[b] : 1;
    return (p - lo) / (hi - lo);
}

double lv_calibrated(const lv_calibration *c, lv_guess g)
{
    const double p = clamp((double)g.stated);
    const uint32_t b = bin_of(p);
    const double x = within(p, b) - 0.5; /* towards the neighbour on this side */
    const uint32_t other = x < 0 ? (b ? b - 1 : b) : b < LV_CAL_BINS - 1 ? b + 1 : b;
    const double part = x < 0 ? -x : x, tilt = rank_of(g) == 0 ? c->tilt : -c->tilt;
    /* A neighbour without trials has nothing to say. */
    const double *trials = c->trials[g.source][rank_of(g)];
    const double here = (1 - part) * (trials[b] + 0.01), there = part * (trials[other] + 0.01);
    const double factor = (here * factor_of(c, g, b) + there * factor_of(c, g, other)) / (here + there);
    const double z = odds(clamp(prior(g))) * factor * (tilt >= 0 ? 1 + tilt : 1 / (1 - tilt));
    return z / (1 + z);
}

void lv_calibration_learn(lv_calibration *c, lv_guess g, bool right)
{
    const double p = clamp((double)g.stated), believed = lv_calibrated(c, g);
    const uint32_t r = rank_of(g), b = bin_of(p);
    double *hits = &c->hits[g.source][r][b], *trials = &c->trials[g.source][r][b];
    double *stated = &c->stated[g.source][r][b];
    *hits = *hits * keep + right;
    *trials = *trials * keep + 1;
    *stated = *stated * keep + p;
    if (r != 0) return; /* the best guess of a node says most about the text */
    c->tilt += tilt_step * ((double)right - believed) * (1 + (c->tilt < 0 ? -c->tilt : c->tilt));
    if (c->tilt > tilt_most) c->tilt = tilt_most;
    if (c->tilt < -tilt_most) c->tilt = -tilt_most;
}

void lv_calibration_new_text(lv_calibration *c) { c->tilt = 0; }

bool lv_calibration_restore(lv_calibration *c)
{
    const double most = 1 / (1 - keep) + 1;
    for (uint32_t i = 0; i < LV_GUESS_COUNT * LV_CAL_RANKS * LV_CAL_BINS; i++) {
        const double n = (&c->trials[0][0][0])[i];
        if (!(n >= 0 && n <= most)) return false;
        if (!((&c->hits[0][0][0])[i] >= 0 && (&c->hits[0][0][0])[i] <= n)) return false;
        if (!((&c->stated[0][0][0])[i] >= 0 && (&c->stated[0][0][0])[i] <= n)) return false;
    }
    lv_calibration_new_text(c);
    return true;
}
