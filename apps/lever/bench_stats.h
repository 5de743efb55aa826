/* The statistics of `lever bench`: pure functions. Speeds are compared as ratios, so everything is done on
 * their logarithms. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_STATS_H
#define LEVER_APPS_BENCH_STATS_H

#include <stddef.h>

/* A geometric mean with its 95 % confidence interval: e^(m -+ t * s / sqrt(n)), with mean m and standard
 * deviation s of the logarithms and Student's t of n - 1 degrees of freedom. */
typedef struct stats_interval {
    double mean, low, high; /* NAN: not known; low and high need two values */
} stats_interval;

/* Of x [n], all above 0. Of the ratios a[i] / b[i] of two policies on the same prompts it is the paired
 * interval. */
stats_interval stats_geometric(const double *x, size_t n);
/* Two-sided 95 % point of Student's t with df >= 1 degrees of freedom; relative error below 2e-4. */
double stats_t95(size_t df);

#endif
