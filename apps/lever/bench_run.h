/* The measuring loop of `lever bench`. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_RUN_H
#define LEVER_APPS_BENCH_RUN_H

#include "bench_rows.h"
#include "bench_setup.h"
#include "bench_stats.h"

typedef struct bench_result {
    char       machine[256], options[256];
    uint32_t   n_measured, n_resumed, n_left_out; /* rows, rows, prompts */
    bool       cancelled, texts_differ;
    stats_calibration guesses; /* of what was measured now */
} bench_result;

/* Measure everything of *s that is not in *csv yet (with args->resume) into *rows and *csv. One engine per
 * cell is open at a time; on it every prompt is answered by all policies in turn, in an order that rotates,
 * after one answer that does not count. LEVER_OK, also when a Ctrl-C (result->cancelled, after the prompt it
 * came in) or two texts that differ (result->texts_differ, *err says where) ended it; else LEVER_E*: *rows
 * has what was measured. */
int bench_run(bench_setup *s, bench_csv *csv, bench_rows *rows, bench_result *result, lever_error *err);

#endif
