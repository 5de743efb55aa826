/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench_setup.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(lever_error *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    return err->code = code;
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int path_stem_length(const char *path) { return (int)strcspn(path_name(path), "."); }

/* ---- policies ---- */

static bool begins_with_policy(const char *text)
{
    const char *name;
    for (size_t i = 0; (name = lever_policy_known(i)); i++) {
        const size_t len = strlen(name);
        if (!strncmp(text, name, len) && (!text[len] || strchr(":,; \t\n", text[len]))) return true;
    }
    return false;
}

static bool separates(const char *at)
{
    return *at == ';' || isspace((unsigned char)*at) || (*at == ',' && begins_with_policy(at + 1));
}

static int add_policy(bench_setup *s, const char *spec, lever_error *err)
{
    for (uint32_t i = 0; i < s->n_policies; i++)
        if (!strcmp(s->policies[i], spec)) return fail(err, LEVER_EINVAL, "policy '%s' is given twice", spec);
    if (s->n_policies == BENCH_MAX_POLICIES)
        return fail(err, LEVER_EINVAL, "more than %d policies", BENCH_MAX_POLICIES);
    const int rows = lever_policy_rows(spec, err);
    if (rows < 0) return rows;
    if ((uint32_t)rows > s->most_rows) s->most_rows = (uint32_t)rows;
    s->policies[s->n_policies++] = spec;
    return LEVER_OK;
}

int bench_setup_policies(bench_setup *s, const bench_args *args, lever_error *err)
{
    s->args = args;
    s->policy_text = strdup(args->policies);
    if (!s->policy_text) return fail(err, LEVER_ENOMEM, "out of memory");
    for (char *at = s->policy_text, *end; *at; at = end) {
        for (end = at; *end && !separates(end);) end++;
        if (*end) *end++ = '\0';
        const int rc = *at ? add_policy(s, at, err) : LEVER_OK; /* "a; b" has an empty one between */
        if (rc < 0) return rc;
    }
    return s->n_policies ? LEVER_OK : fail(err, LEVER_EINVAL, "--policies names no policy");
}

/* ---- prompts ---- */

static int add_file(bench_setup *s, const char *path, lever_error *err)
{
    for (uint32_t i = 0; i < s->n_files; i++)
        if (!strcmp(path_name(s->paths[i]), path_name(path)))
            return fail(err, LEVER_EINVAL,
                        "two prompt files are called '%s': their results could not be told apart",
                        path_name(path));
    if (s->n_files == BENCH_MAX_FILES)
        return fail(err, LEVER_EINVAL, "more than %d prompt files", BENCH_MAX_FILES);
    const int rc = prompts_load(&s->sets[s->n_files], path, 0, err);
    s->paths[s->n_files++] = path;
    return rc;
}

static int load_files(bench_setup *s, lever_error *err)
{
    s->file_text = strdup(s->args->prompts ? s->args->prompts : "");
    if (!s->file_text) return fail(err, LEVER_ENOMEM, "out of memory");
    char *rest = NULL;
    for (char *p = strtok_r(s->file_text, ",", &rest); p; p = strtok_r(NULL, ",", &rest)) {
        const int rc = add_file(s, p, err);
        if (rc < 0) return rc;
    }
    for (int i = 0; i < s->args->n_more_files; i++) {
        const int rc = add_file(s, s->args->more_files[i], err);
        if (rc < 0) return rc;
    }
    if (s->n_files) return LEVER_OK;
    return fail(err, LEVER_EINVAL, "bench needs prompts: --prompts FILE; see lever bench --help");
}

int bench_setup_prompts(bench_setup *s, lever_error *err)
{
    size_t n_all = 0;
    const int rc = load_files(s, err);
    if (rc < 0) return rc;
    for (uint32_t f = 0; f < s->n_files; f++) n_all += s->sets[f].n;
    s->prompts = calloc(n_all, sizeof *s->prompts);
    if (!s->prompts) return fail(err, LEVER_ENOMEM, "out of memory");
    for (uint32_t f = 0; f < s->n_files; f++) {
        const size_t n = s->sets[f].n, limit = s->args->limit;
        const size_t take = limit && limit < n ? limit : n;
        for (size_t i = 0; i < take; i++)
            s->prompts[s->n_prompts++] = (bench_prompt){ .text = &s->sets[f].items[i * n / take], .file = f };
    }
    return LEVER_OK;
}

/* ---- memory ---- */

/* Which weights stay. A new policy of the library is one line and one function here. */
static void keep_spread(lever_config *c) { c->pin_first_layers = false; }
static void keep_first(lever_config *c) { c->pin_first_layers = true; }
static void keep_none(lever_config *c) { c->no_pin = true; }

static const struct residency { const char *name; void (*apply)(lever_config *c); } residencies[] = {
    { "spread", keep_spread }, /* the same share of every layer */
    { "first", keep_first },   /* whole first layers */
    { "none", keep_none },     /* everything streams */
};
enum { N_RESIDENCIES = sizeof residencies / sizeof *residencies };

static const struct residency *residency_of(const char *name, size_t len)
{
    for (int i = 0; i < N_RESIDENCIES; i++)
        if (strlen(residencies[i].name) == len && !memcmp(residencies[i].name, name, len))
            return &residencies[i];
    return NULL;
}

void bench_setup_config(const bench_setup *s, uint32_t cell, lever_config *c)
{
    const bench_cell *e = &s->cells[cell];
    *c = s->config;
    c->mem_bytes = e->mem;
    residency_of(e->residency, strlen(e->residency))->apply(c);
}

/* The plan with a limit; more than the model needs is as good as no limit. */
static int plan_with(lever_config *c, uint64_t mem, lever_plan *plan, lever_error *err)
{
    c->mem_bytes = mem;
    return lever_plan_memory(c, plan, err);
}

/* The largest limit whose plan keeps at most `most` bytes resident, to one part in 4096 of the model; lo
 * keeps no more than that, or is the smallest limit that works. hi keeps more. */
static int largest_limit(lever_config *c, uint64_t most, uint64_t lo, uint64_t hi, uint64_t grain,
                         uint64_t *limit, uint64_t *above, lever_error *err)
{
    lever_plan p = { 0 };
    int rc = plan_with(c, hi, &p, err);
    *above = p.resident_bytes; /* what the smallest larger limit keeps */
    while (rc >= 0 && hi - lo > grain) {
        const uint64_t mid = lo + (hi - lo) / 2;
        rc = plan_with(c, mid, &p, err);
        if (p.fits && p.resident_bytes > most) hi = mid, *above = p.resident_bytes;
        else lo = mid;
    }
    *limit = lo;
    return rc;
}

/* Of the limits just below and just above the wanted share, the one that is nearer. The larger of all limits
 * with the same share is taken, because what is left over makes the ring of the stream longer; of those that
 * keep everything the smallest. */
static int search_limit(bench_setup *s, uint32_t cell, lever_error *err)
{
    lever_config c;
    lever_plan least = { 0 }, all = { 0 };
    bench_cell *e = &s->cells[cell];
    uint64_t above = 0;
    bench_setup_config(s, cell, &c);
    int rc = plan_with(&c, UINT64_C(1) << 60, &all, err);
    if (rc >= 0) rc = plan_with(&c, 1, &least, err);
    if (rc < 0) return rc;
    const uint64_t lo = least.needed_bytes, hi = all.total_bytes, bytes = all.resident_bytes;
    const uint64_t grain = bytes / 4096 + 4096;
    const double want = e->asked / 100 * (double)bytes;
    e->mem = hi;
    if (lo >= hi) return LEVER_OK; /* too small to be streamed */
    if (e->asked < 100) {
        rc = largest_limit(&c, (uint64_t)want, lo, hi, grain, &e->mem, &above, err);
        if (rc >= 0) rc = plan_with(&c, e->mem, &least, err);
        if (rc < 0 || want - (double)least.resident_bytes <= (double)above - want) return rc;
        if (above < bytes) return largest_limit(&c, above, e->mem, hi, grain, &e->mem, &above, err);
    }
    rc = largest_limit(&c, bytes - 1, lo, hi, grain, &e->mem, &above, err);
    e->mem += grain;
    return rc;
}

/* Next name or number of a list with commas; its length, 0 at the end. */
static size_t next_item(const char **at)
{
    *at += strspn(*at, ", ");
    return strcspn(*at, ", ");
}

static int unknown_residency(const char *name, size_t len, lever_error *err)
{
    char known[128] = "";
    for (int i = 0; i < N_RESIDENCIES; i++) {
        const size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", residencies[i].name);
    }
    return fail(err, LEVER_EINVAL, "residency '%.*s' is not known; known are: %s",
                (int)(len < 40 ? len : 40), name, known);
}

static int add_cells(bench_setup *s, double asked, lever_error *err)
{
    const bench_args *a = s->args;
    const char *list = a->model.no_pin ? "none" : a->model.pin_first ? "first" : "spread";
    if (a->residency) list = a->residency;
    for (size_t len; (len = next_item(&list)); list += len) {
        const struct residency *r = residency_of(list, len);
        if (!r) return unknown_residency(list, len, err);
        if (r->apply == keep_none && !isnan(asked))
            return fail(err, LEVER_EINVAL, "residency 'none' keeps nothing, so it can not keep a share");
        if (s->n_cells == BENCH_MAX_CELLS)
            return fail(err, LEVER_EINVAL, "more than %d ways to divide memory", BENCH_MAX_CELLS);
        for (uint32_t i = 0; i < s->n_cells; i++)
            if (s->cells[i].residency == r->name && !(s->cells[i].asked < asked || s->cells[i].asked > asked))
                return fail(err, LEVER_EINVAL, "a share or residency is given twice");
        s->cells[s->n_cells++] = (bench_cell){ .asked = asked, .residency = r->name, .mem = a->model.mem };
    }
    return s->n_cells ? LEVER_OK : fail(err, LEVER_EINVAL, "--residency names none");
}

static int add_shares(bench_setup *s, lever_error *err)
{
    const char *list = s->args->sweep_mem;
    for (size_t len; (len = next_item(&list)); list += len) {
        char *end;
        const double share = strtod(list, &end);
        if (end != list + len || !(share >= 0 && share <= 100))
            return fail(err, LEVER_EINVAL, "--sweep-mem: '%.*s' is not a percentage from 0 to 100",
                        (int)(len < 40 ? len : 40), list);
        const int rc = add_cells(s, share, err);
        if (rc < 0) return rc;
    }
    return s->n_cells ? LEVER_OK : fail(err, LEVER_EINVAL, "--sweep-mem names no share");
}

int bench_setup_cells(bench_setup *s, progress *shown, lever_error *err)
{
    s->config.policy = s->policies[0];
    s->config.more_policies = s->policies + 1;
    s->config.n_more_policies = s->n_policies - 1;
    if (!s->args->sweep_mem) return add_cells(s, NAN, err);
    lever_plan p;
    int rc = add_shares(s, err);
    lever_config c = s->config;
    if (rc >= 0) rc = plan_with(&c, UINT64_C(1) << 60, &p, err);
    if (rc < 0) return rc;
    s->config.n_ctx = p.n_ctx;
    for (uint32_t i = 0; i < s->n_cells && rc >= 0; i++) {
        progress_show(shown, "searching the limits", i, s->n_cells);
        rc = search_limit(s, i, err);
    }
    progress_clear(shown);
    return rc;
}

void bench_setup_free(bench_setup *s)
{
    for (uint32_t i = 0; i < s->n_files; i++) prompts_free(&s->sets[i]);
    free(s->prompts);
    free(s->policy_text);
    free(s->file_text);
}
