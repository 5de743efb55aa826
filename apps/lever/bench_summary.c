/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench_summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double ratio(double a, double b) { return b > 0 ? a / b : NAN; }

/* ---- speeds ---- */

/* Geometric mean over rounds of each prompt and policy of one cell: speed [n_prompts][n_policies], 0 = none.
 * */
static void prompt_speeds(const bench_setup *s, const bench_rows *rows, uint32_t cell, double *speed,
                          uint32_t *count)
{
    const size_t n = (size_t)s->n_prompts * s->n_policies;
    for (size_t i = 0; i < n; i++) speed[i] = 0, count[i] = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const bench_row *r = &rows->items[i];
        const size_t at = (size_t)r->i_prompt * s->n_policies + r->i_policy;
        if (r->cell == cell && r->tokens_per_s > 0) speed[at] += log(r->tokens_per_s), count[at]++;
    }
    for (size_t i = 0; i < n; i++) speed[i] = count[i] ? exp(speed[i] / count[i]) : 0;
}

static bool in_group(const bench_setup *s, uint32_t i_prompt, uint32_t file)
{
    return file == s->n_files || s->prompts[i_prompt].file == file;
}

/* own, ratios [n_prompts]: scratch. */
static void fill_speeds(const bench_setup *s, bench_group *g, const double *speed, double *own,
                        double *ratios)
{
    const uint32_t n = s->n_policies;
    g->n_prompts = 0;
    for (uint32_t i = 0; i < s->n_prompts; i++) {
        const double *of = speed + (size_t)i * n;
        bool every = in_group(s, i, g->file);
        for (uint32_t k = 0; k < n; k++) every = every && of[k] > 0;
        if (!every) continue;
        own[g->n_prompts] = of[g->policy];
        ratios[g->n_prompts++] = of[g->policy] / of[0];
    }
    g->speed = stats_geometric(own, g->n_prompts);
    g->ratio = stats_geometric(ratios, g->policy ? g->n_prompts : 0);
}

/* ---- sums ---- */

static void fill_sums(const bench_setup *s, bench_group *g, const bench_rows *rows)
{
    double n_rows = 0, bytes = 0, decode = 0, draft = 0, verify = 0, wait = 0, project = 0, joules = 0;
    uint64_t new_tokens = 0;
    g->share = NAN;
    for (size_t i = 0; i < rows->n; i++) {
        const bench_row *r = &rows->items[i];
        if (r->cell != g->cell || r->i_policy != g->policy || !in_group(s, r->i_prompt, g->file)) continue;
        g->decode_tokens += r->decode_tokens, g->sweeps += r->sweeps;
        new_tokens += r->new_tokens;
        n_rows += (double)r->rows, bytes += (double)r->flash_bytes;
        decode += r->decode_s, draft += r->draft_s, verify += r->verify_s, wait += r->flash_wait_s;
        project += r->project_s, joules += r->energy_j;
        g->mem_limit_bytes = r->mem_limit_bytes;
        g->share = 100 * ratio((double)r->resident_bytes, (double)(r->resident_bytes + r->streamed_bytes));
    }
    const double sweeps = (double)g->sweeps;
    g->tokens_per_sweep = ratio((double)g->decode_tokens, sweeps);
    g->rows_per_sweep = ratio(n_rows, sweeps);
    g->bytes_per_sweep = ratio(bytes, sweeps);
    g->decode_s = ratio(decode, sweeps), g->draft_s = ratio(draft, sweeps), g->wait_s = ratio(wait, sweeps);
    g->compute_s = ratio(verify - wait, sweeps), g->project_s = ratio(project, sweeps);
    g->other_s = ratio(decode - draft - verify - project, sweeps);
    g->energy_j = ratio(joules, (double)new_tokens);
}

int bench_summary_make(bench_summary *out, const bench_setup *s, const bench_rows *rows, lever_error *err)
{
    const size_t n_pairs = (size_t)s->n_prompts * s->n_policies;
    out->n = (size_t)s->n_cells * (s->n_files + 1) * s->n_policies;
    out->groups = calloc(out->n, sizeof *out->groups);
    double *speed = calloc(n_pairs + 2 * (size_t)s->n_prompts, sizeof *speed);
    uint32_t *count = calloc(n_pairs, sizeof *count);
    const bool ok = out->groups && speed && count;
    size_t at = 0;
    for (uint32_t c = 0; ok && c < s->n_cells; c++) {
        prompt_speeds(s, rows, c, speed, count);
        for (uint32_t f = 0; f <= s->n_files; f++)
            for (uint32_t k = 0; k < s->n_policies; k++) {
                bench_group *g = &out->groups[at++];
                *g = (bench_group){ .cell = c, .file = f, .policy = k };
                fill_speeds(s, g, speed, speed + n_pairs, speed + n_pairs + s->n_prompts);
                fill_sums(s, g, rows);
            }
    }
    free(speed);
    free(count);
    if (ok) return LEVER_OK;
    bench_summary_free(out);
    snprintf(err->msg, sizeof err->msg, "out of memory");
    return err->code = LEVER_ENOMEM;
}

void bench_summary_free(bench_summary *m)
{
    free(m->groups);
    *m = (bench_summary){ 0 };
}

const bench_group *bench_summary_group(const bench_summary *m, const bench_setup *s, uint32_t cell,
                                       uint32_t file, uint32_t policy)
{
    return &m->groups[((size_t)cell * (s->n_files + 1) + file) * s->n_policies + policy];
}

/* ---- for people ---- */

/* "1.53", or "-" for what is not known; buf [16]. */
static const char *number(char *buf, const char *fmt, double x)
{
    if (isnan(x)) return "-";
    snprintf(buf, 16, fmt, x);
    return buf;
}

static void print_values(const bench_group *g)
{
    char a[5][16], interval[40] = "-";
    const char *fmt = g->speed.mean < 9.995 ? "%.3f" : "%.1f"; /* large models make less than one a second */
    if (!isnan(g->ratio.low)) snprintf(interval, sizeof interval, "%.2f..%.2f", g->ratio.low, g->ratio.high);
    printf("%8u %9s %6s %13s %8s %7s %9s", g->n_prompts, number(a[0], fmt, g->speed.mean),
           g->policy ? number(a[1], "%.2f", g->ratio.mean) : "1", interval,
           number(a[2], "%.2f", g->tokens_per_sweep), number(a[3], "%.1f", g->rows_per_sweep),
           number(a[4], "%.4f", g->bytes_per_sweep * 1e-9));
    if (!isnan(g->energy_j)) printf(" %9.2f", g->energy_j);
    putchar('\n');
}

static void print_head(const char *first, bool energy)
{
    printf("%s %8s %9s %6s %13s %8s %7s %9s%s\n", first, "prompts", "tokens/s", "ratio", "95 %", "tokens/",
           "rows/", "GB read/", energy ? "   joules/" : "");
    printf("%*s %8s %9s %6s %13s %8s %7s %9s%s\n", (int)strlen(first), "", "", "", "", "", "sweep", "sweep",
           "sweep", energy ? "     token" : "");
}

static void print_by_file(const bench_summary *m, const bench_setup *s, bool energy)
{
    char first[64];
    snprintf(first, sizeof first, "%-12s %-20s", "kind", "policy");
    print_head(first, energy);
    for (uint32_t f = 0; f <= s->n_files; f++) {
        if (f == s->n_files && f == 1) break; /* one kind is all */
        for (uint32_t k = 0; k < s->n_policies; k++) {
            const char *path = f < s->n_files ? s->paths[f] : "all";
            printf("%-12.*s %-20s ", k ? 0 : path_stem_length(path), path_name(path), s->policies[k]);
            print_values(bench_summary_group(m, s, 0, f, k));
        }
    }
}

static void print_by_cell(const bench_summary *m, const bench_setup *s, bool energy)
{
    char first[96], size[32], kept[2][16];
    snprintf(first, sizeof first, "%5s %6s %-7s %9s %-20s", "asked", "kept", "which", "--mem", "policy");
    print_head(first, energy);
    for (uint32_t c = 0; c < s->n_cells; c++)
        for (uint32_t k = 0; k < s->n_policies; k++) {
            const bench_group *g = bench_summary_group(m, s, c, s->n_files, k);
            if (!g->mem_limit_bytes) continue; /* broken off before */
            printf("%5s %6s %-7s %9s %-20s ", number(kept[0], "%.0f%%", s->cells[c].asked),
                   number(kept[1], "%.1f%%", g->share), s->cells[c].residency,
                   format_bytes(size, sizeof size, (double)g->mem_limit_bytes), s->policies[k]);
            print_values(g);
        }
}

void bench_summary_print(const bench_summary *m, const bench_setup *s)
{
    bool energy = false;
    for (size_t i = 0; i < m->n; i++) energy |= !isnan(m->groups[i].energy_j);
    if (s->n_cells > 1) print_by_cell(m, s, energy);
    else print_by_file(m, s, energy);
    const bench_group *all = bench_summary_group(m, s, s->n_cells - 1, s->n_files, 0);
    if (all->mem_limit_bytes && all->n_prompts < s->n_prompts)
        puts("\nspeeds are of the prompts that every policy decoded: an answer that ends with the sweep\n"
             "that reads its prompt has no speed; take a longer -n or --ignore-eos");
    if (s->n_policies > 1)
        printf("\nratio: to %s, geometric mean over prompts, with its 95 %% interval (t, paired by prompt)\n",
               s->policies[0]);
}

/* ---- for programs ---- */

static json_t *real(double x) { return isnan(x) ? json_null() : json_real(x); }

static json_t *interval(const stats_interval *i)
{
    return json_pack("{s:o, s:o, s:o}", "mean", real(i->mean), "low", real(i->low), "high", real(i->high));
}

json_t *bench_summary_json(const bench_summary *m, const bench_setup *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n; i++) {
        const bench_group *g = &m->groups[i];
        const char *file = g->file < s->n_files ? path_name(s->paths[g->file]) : "all";
        json_t *o = json_pack("{s:s, s:s, s:s, s:o, s:i}", "policy", s->policies[g->policy], "file", file,
                              "residency", s->cells[g->cell].residency, "share_asked",
                              real(s->cells[g->cell].asked), "prompts", (int)g->n_prompts);
        const struct { const char *name; double value; } values[] = {
            { "share", g->share }, { "tokens_per_sweep", g->tokens_per_sweep },
            { "rows_per_sweep", g->rows_per_sweep }, { "flash_bytes_per_sweep", g->bytes_per_sweep },
            { "decode_s_per_sweep", g->decode_s }, { "draft_s_per_sweep", g->draft_s },
            { "flash_wait_s_per_sweep", g->wait_s }, { "compute_s_per_sweep", g->compute_s },
            { "project_s_per_sweep", g->project_s }, { "energy_j_per_token", g->energy_j },
        };
        for (size_t k = 0; k < sizeof values / sizeof *values; k++)
            json_object_set_new(o, values[k].name, real(values[k].value));
        json_object_set_new(o, "tokens_per_s", interval(&g->speed));
        json_object_set_new(o, "ratio", interval(&g->ratio));
        json_object_set_new(o, "decode_tokens", json_integer((json_int_t)g->decode_tokens));
        json_object_set_new(o, "sweeps", json_integer((json_int_t)g->sweeps));
        json_object_set_new(o, "mem_limit_bytes", json_integer((json_int_t)g->mem_limit_bytes));
        json_array_append_new(list, o);
    }
    return list;
}
