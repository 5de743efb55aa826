/* The statistics of `lever bench`: pure functions. Speeds are compared as ratios, so everything is done on
 * their logarithms. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_STATS_H
#define LEVER_APPS_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* A geometric mean with its 95 % confidence interval: e^(m -+ t * s / sqrt(n)), with mean m and standard
 * deviation s of the logarithms and Student's t of n - 1 degrees of freedom. */
typedef struct stats_interval {
    double mean, low, high; /* NAN: not known; low and high need two values */
} stats_interval;

/* Of x [n], all above 0. Of the ratios a[i] / b[i] of two policies on the same prompts it is the paired
 * interval. */
stats_interval stats_geometric(const double *x, size_t n);
/* Stated probabilities and what came true, in STATS_BINS equal bins of probability. Zeroed: none yet. */
enum { STATS_BINS = 10 };
typedef struct stats_calibration {
    double n[STATS_BINS], stated[STATS_BINS], right[STATS_BINS]; /* right: how many came true; stated: the sum */
} stats_calibration;

void   stats_calibration_add(stats_calibration *c, double probability, bool right);
/* Expected calibration error: the mean over guesses of |stated - share that came true| of their bin. NAN: no
 * guesses. */
double stats_calibration_error(const stats_calibration *c);
double stats_calibration_count(const stats_calibration *c);

/* Two-sided 95 % point of Student's t with df >= 1 degrees of freedom; relative error below 2e-4. */
double stats_t95(size_t df);

#endif
