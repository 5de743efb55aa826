/* Pictures of `lever bench`, drawn by gnuplot. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_PLOT_H
#define LEVER_APPS_BENCH_PLOT_H

#include "bench_stats.h"
#include "bench_summary.h"

/* Whether a file name ends in .svg or .png. */
bool bench_plot_knows(const char *path);
/* Whether gnuplot is on the PATH. */
bool bench_plot_possible(void);
/* One division of memory: speed by kind and policy with intervals, tokens over rows of a sweep, parts of a
 * cycle. Several: speed and bytes over the share in memory. LEVER_OK; LEVER_EUNSUP: no gnuplot;
 * LEVER_EINVAL: no speed is known; LEVER_EIO: the file can not be written or gnuplot failed. */
int  bench_plot(const char *path, const bench_setup *s, const bench_summary *m, lever_error *err);
/* How often guesses came true against what was stated, with the number of guesses. As bench_plot;
 * LEVER_EINVAL: no policy stated a probability. */
int  bench_plot_calibration(const char *path, const stats_calibration *c, lever_error *err);

#endif
