/* What the rows of `lever bench` say together. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_SUMMARY_H
#define LEVER_APPS_BENCH_SUMMARY_H

#include "bench_rows.h"
#include "bench_setup.h"
#include "bench_stats.h"

/* One policy with one division of memory on the prompts of one file, or of all. Means of speeds are
 * geometric, over the prompts that every policy decoded (an answer that ended within the sweep that reads
 * the prompt has nothing to time); several rounds of a prompt count as their geometric mean. NAN: not known.
 * */
typedef struct bench_group {
    uint32_t cell, file, policy;     /* file n_files: all */
    uint32_t n_prompts;
    stats_interval speed;            /* tokens per second; the interval tells how prompts differ */
    stats_interval ratio;            /* to the first policy, paired by prompt; of that policy itself NAN */
    uint64_t decode_tokens, sweeps;  /* sums over all rows, as the means below */
    double tokens_per_sweep, rows_per_sweep, bytes_per_sweep;
    double decode_s, draft_s, wait_s, compute_s, project_s, other_s; /* per sweep; compute: of verification */
    double energy_j;                 /* per new token */
    double share;                    /* percent of the target's matrices that stayed in memory */
    uint64_t mem_limit_bytes;
} bench_group;

typedef struct bench_summary {
    bench_group *groups;             /* [n_cells][n_files + 1][n_policies], owned */
    size_t n;
} bench_summary;

int  bench_summary_make(bench_summary *out, const bench_setup *s, const bench_rows *rows, lever_error *err);
void bench_summary_free(bench_summary *m);
const bench_group *bench_summary_group(const bench_summary *m, const bench_setup *s, uint32_t cell,
                                       uint32_t file, uint32_t policy);

/* A table by kind of prompt, or by share of memory when there are several, to stdout. */
void    bench_summary_print(const bench_summary *m, const bench_setup *s);
json_t *bench_summary_json(const bench_summary *m, const bench_setup *s);

#endif
