/* Numbers that look drawn, the same in every run: for predictions and other things that no text depends on (draws of
 * text: spec/draw.h). Threading: pure, but for the caller's state. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_CHANCE_H
#define LEVER_BASE_CHANCE_H

#include <stdint.h>

/* In [0, 1); steps *state, which may begin anywhere. */
static inline double lv_chance(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) * 0x1p-53;
}

/* Index of the share [n] that u falls into when they lie one after the other; n: behind them all. */
static inline uint32_t lv_chance_pick(const double *shares, uint32_t n, double u)
{
    uint32_t i = 0;
    while (i < n && u >= shares[i]) u -= shares[i++];
    return i;
}

#endif
