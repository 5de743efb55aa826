/* Measurements of `lever bench`: one row per prompt and policy, as CSV and JSON, and the rows of an earlier
 * run. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_ROWS_H
#define LEVER_APPS_BENCH_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lever/lever.h"

/* Texts of the key are borrowed. Numbers that are not known are NAN; empty in CSV, null in JSON. */
typedef struct bench_row {
    /* The key: rows with the same one measure the same thing. options: settings as asked for that have no
     * column */
    const char *machine, *model, *draft, *residency, *options, *file, *prompt, *policy,
        *verify;
    uint64_t model_bytes, draft_bytes, mem; /* of the files; mem: limit asked for, 0 = by what is free */
    uint64_t most_rows;                     /* that the engine was opened for */
    uint64_t n_predict, seed, round;
    double   share_asked, temperature;      /* share: percent */

    /* What was measured. Times in seconds; of decoding but for prefill_s (lever_stats says what belongs
     * where). */
    char     date[24], version[16], isa[16], io[16], kv[16], text_hash[20];
    uint64_t threads, ctx, mem_limit_bytes, resident_bytes, streamed_bytes;
    uint64_t prompt_tokens, new_tokens, decode_tokens, sweeps, rows, drafted, accepted;
    double   tokens_per_s, tokens_per_sweep, accepted_per_sweep, rows_per_sweep; /* from the others */
    double   prefill_s, decode_s, draft_s, verify_s, project_s, flash_wait_s, flash_idle_s;
    uint64_t kept_rows, accepted_dropped;   /* of pruning, as in lever_stats */
    double   prune_s, draft_model_s;
    double   expected_tokens, expected_s;   /* by the policy, of all cycles; 0: it does not say */
    uint64_t flash_bytes, peak_rss_bytes;   /* peak: of the process, up to now */
    double   celsius, energy_j;             /* after the answer; of the machine during it, prefill included */

    /* Where it belongs in this run; not written. */
    uint32_t cell, i_prompt, i_policy;
} bench_row;

typedef struct bench_rows {
    bench_row *items; /* [n], owned */
    size_t n, cap;
} bench_rows;

bool bench_rows_add(bench_rows *rows, const bench_row *r); /* false: out of memory */
void bench_rows_free(bench_rows *rows);
/* The first row of the same prompt (whatever policy, memory and round) with another text; NULL: all agree. */
const bench_row *bench_rows_other_text(const bench_rows *rows, const bench_row *r);

/* Add an answer's statistics to a row, and bring the values made from others up to date. */
void bench_row_add(bench_row *r, const lever_stats *s);
/* FNV-1a over more bytes; begin with BENCH_HASH_START. */
#define BENCH_HASH_START UINT64_C(14695981039346656037)
uint64_t bench_hash(uint64_t h, const void *bytes, size_t n);

/* One object with a member per column. */
json_t *bench_row_json(const bench_row *r);

/* A file of rows being written; zero: none, and nothing is written. */
typedef struct bench_csv {
    FILE *f;
    const char *path;  /* borrowed */
    char  *old;        /* what stood in the file, owned */
    size_t old_len;
} bench_csv;

/* Begin or continue a file. Half a line at its end, from a run that was killed, is cut off. LEVER_OK;
 * LEVER_EIO; LEVER_EFORMAT: it holds something else; LEVER_ENOMEM. */
int  bench_csv_open(bench_csv *csv, const char *path, lever_error *err);
/* Whether the file had a row with the key of *r; then its measured part is filled in. */
bool bench_csv_find(const bench_csv *csv, bench_row *r);
/* The old rows are not looked for any more: gives back their memory, which counts within --mem too. */
void bench_csv_forget(bench_csv *csv);
/* Write a row through to the system. LEVER_OK, LEVER_EIO, LEVER_ENOMEM. */
int  bench_csv_add(bench_csv *csv, const bench_row *r, lever_error *err);
int  bench_csv_close(bench_csv *csv, lever_error *err); /* LEVER_OK, LEVER_EIO */

#endif
