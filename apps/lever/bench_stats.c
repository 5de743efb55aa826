/* SPDX-License-Identifier: MIT */
#include "bench_stats.h"

#include <math.h>

double stats_t95(size_t df)
{
    static const double table[] = { 12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060,
                                    2.2622,  2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314 };
    const size_t n = sizeof table / sizeof *table;
    if (df < 1) return NAN;
    if (df <= n) return table[df - 1];
    /* Cornish-Fisher expansion around the point of the normal distribution, in 1 / df. */
    const double z = 1.959964, v = (double)df, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

stats_interval stats_geometric(const double *x, size_t n)
{
    double sum = 0, squares = 0;
    if (n == 0) return (stats_interval){ NAN, NAN, NAN };
    for (size_t i = 0; i < n; i++) sum += log(x[i]);
    const double mean = sum / (double)n;
    if (n == 1) return (stats_interval){ exp(mean), NAN, NAN };
    for (size_t i = 0; i < n; i++) squares += (log(x[i]) - mean) * (log(x[i]) - mean);
    const double half = stats_t95(n - 1) * sqrt(squares / (double)(n - 1) / (double)n);
    return (stats_interval){ exp(mean), exp(mean - half), exp(mean + half) };
}

void stats_calibration_add(stats_calibration *c, double probability, bool right)
{
    const int bin = probability >= 1 ? STATS_BINS - 1 : probability > 0 ? (int)(probability * STATS_BINS) : 0;
    c->n[bin]++;
    c->stated[bin] += probability;
    c->right[bin] += right;
}

double stats_calibration_count(const stats_calibration *c)
{
    double n = 0;
    for (int i = 0; i < STATS_BINS; i++) n += c->n[i];
    return n;
}

double stats_calibration_error(const stats_calibration *c)
{
    double off = 0;
    for (int i = 0; i < STATS_BINS; i++) off += fabs(c->stated[i] - c->right[i]);
    return off / stats_calibration_count(c); /* 0 / 0 is NAN */
}
