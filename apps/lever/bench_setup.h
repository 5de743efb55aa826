/* What `lever bench` measures: policies, prompts and ways to divide memory, from its options.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_SETUP_H
#define LEVER_APPS_BENCH_SETUP_H

#include "model_args.h"
#include "prompts.h"

enum { BENCH_MAX_POLICIES = 32, BENCH_MAX_FILES = 32, BENCH_MAX_CELLS = 128 };

typedef struct bench_args {
    model_args  model;
    chat_args   chat;
    const char *policies, *prompts, *csv, *plot, *calibration, *sweep_mem, *residency;
    const char *more_files[BENCH_MAX_FILES]; /* prompt files without an option before them */
    int         n_more_files;
    uint32_t    limit, n_predict, rounds;
    float       temperature;
    uint64_t    seed;
    bool        raw, ignore_eos, json, resume, help;
} bench_args;

/* One way to divide memory; each needs an engine of its own. */
typedef struct bench_cell {
    double      asked;     /* percent of the target's matrices to keep in memory; NAN: as the limit allows */
    const char *residency; /* which ones */
    uint64_t    mem;       /* limit; 0 = as without --mem */
} bench_cell;

typedef struct bench_prompt {
    const prompt *text;
    uint32_t file;
    bool     left_out;     /* too long for the context */
} bench_prompt;

typedef struct bench_setup {
    const bench_args *args;
    lever_config config;   /* of every engine, but for what a cell says */
    char        *policy_text, *file_text; /* owned; the strings below lie in them */
    const char  *policies[BENCH_MAX_POLICIES], *paths[BENCH_MAX_FILES];
    uint32_t     n_policies, most_rows;   /* most_rows: of one sweep of any policy */
    uint32_t     n_files;
    prompt_set   sets[BENCH_MAX_FILES];   /* owned */
    bench_prompt *prompts; /* [n_prompts], owned: the chosen ones, file by file */
    uint32_t     n_prompts;
    bench_cell   cells[BENCH_MAX_CELLS];
    uint32_t     n_cells;
} bench_setup;

/* Each step: LEVER_OK or LEVER_E*. *s is zeroed before the first; its strings are borrowed from args and
 * live as long as *s.
 *
 * Policies are separated by semicolons, white space, or a comma that the name of a known policy follows:
 * "none,chain:8,tree:4,2,1" has three. */
int  bench_setup_policies(bench_setup *s, const bench_args *args, lever_error *err);
/* Files are separated by commas. With a limit, prompts are taken from all over a file, evenly. */
int  bench_setup_prompts(bench_setup *s, lever_error *err);
/* After the others and s->config, which gets the policies here. For a share of the weights the --mem limit
 * is searched whose plan keeps just that much; the context is then the one of a limit without bounds, the
 * same for all shares. progress may be NULL. */
int  bench_setup_cells(bench_setup *s, progress *shown, lever_error *err);
/* The engine of a cell. */
void bench_setup_config(const bench_setup *s, uint32_t cell, lever_config *c);
void bench_setup_free(bench_setup *s);

/* The part of a path behind the last slash, and the length of that without what follows its first dot. */
const char *path_name(const char *path);
int         path_stem_length(const char *path);

#endif
