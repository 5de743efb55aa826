/* SPDX-License-Identifier: MIT */
#include "spec/draw.h"

#include <assert.h>

#include "kernel/noise.h"

bool lv_dist_normalise(lv_dist *d)
{
    double sum = 0;
    for (uint32_t i = 0; i < d->n; i++) sum += d->items[i].prob;
    if (!(sum > 0)) return false;
    for (uint32_t i = 0; i < d->n; i++) d->items[i].prob /= sum;
    return true;
}

double lv_dist_prob(const lv_dist *d, int32_t token)
{
    uint32_t lo = 0, hi = d->n;
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (d->items[mid].token < token) lo = mid + 1;
        else hi = mid;
    }
    return lo < d->n && d->items[lo].token == token ? d->items[lo].prob : 0;
}

bool lv_dist_take_out(lv_dist *d, uint32_t place)
{
    d->items[place].prob = 0;
    return lv_dist_normalise(d);
}

/* ---- dice ---- */

/* 0 .. 1 without 1, in steps of 2^-53. */
static double uniform(lv_dice *d)
{
    static const uint64_t not_the_samplers = UINT64_C(0x5bd1e9955bd1e995);
    assert(d->n < 4096 && d->stream < 1u << 20);
    const uint64_t bits = lv_noise_bits(d->seed ^ not_the_samplers, d->pos, d->stream << 12 | d->n++);
    return (double)(bits >> 11) * 0x1p-53;
}

static bool dice_yes(void *user, double prob) { return uniform(user) < prob; }

static uint32_t dice_pick(void *user, const lv_dist *d)
{
    double sum = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < d->n; i++) sum += d->items[i].prob;
    double left = uniform(user) * sum;
    for (uint32_t i = 0; i < d->n; i++) {
        if (!(d->items[i].prob > 0)) continue;
        last = i;
        if (left < d->items[i].prob) break;
        left -= d->items[i].prob;
    }
    return last; /* rounding may step over the end: the last one it is */
}

lv_chance lv_dice_chance(lv_dice *d) { return (lv_chance){ .user = d, .yes = dice_yes, .pick = dice_pick }; }

/* ---- draws ---- */

void lv_draw(lv_drawn *d, uint32_t k, bool with_replacement, const lv_chance *chance)
{
    lv_dist left = d->q;
    assert(k >= 1 && k <= LV_DIST_MAX);
    d->n_draws = 0;
    for (bool more = true; more && d->n_draws < k;) {
        const uint32_t place = chance->pick(chance->user, &left);
        d->draws[d->n_draws++] = (uint8_t)place;
        if (!with_replacement) more = lv_dist_take_out(&left, place);
    }
}
