/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench_rows.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the columns: one table for CSV, JSON and reading back ---- */

enum kind {
    TEXT,  /* const char * */
    CHARS, /* char [size] */
    COUNT, /* uint64_t */
    REAL   /* double */
};

static const struct column { const char *name; enum kind kind; size_t offset, size; } columns[] = {
#define COLUMN(kind, field) { #field, kind, offsetof(bench_row, field), sizeof ((bench_row *)0)->field }
    COLUMN(TEXT, machine), COLUMN(TEXT, model), COLUMN(COUNT, model_bytes), COLUMN(TEXT, draft),
    COLUMN(COUNT, draft_bytes), COLUMN(COUNT, mem), COLUMN(REAL, share_asked), COLUMN(TEXT, residency),
    COLUMN(TEXT, options), COLUMN(COUNT, most_rows), COLUMN(COUNT, n_predict), COLUMN(REAL, temperature),
    COLUMN(COUNT, seed), COLUMN(COUNT, round), COLUMN(TEXT, file), COLUMN(TEXT, prompt), COLUMN(TEXT, policy),
    COLUMN(TEXT, verify),
    /* The key ends here. */
    COLUMN(CHARS, date), COLUMN(CHARS, version), COLUMN(CHARS, isa), COLUMN(CHARS, io), COLUMN(CHARS, kv),
    COLUMN(COUNT, threads), COLUMN(COUNT, ctx), COLUMN(COUNT, mem_limit_bytes), COLUMN(COUNT, resident_bytes),
    COLUMN(COUNT, streamed_bytes), COLUMN(COUNT, prompt_tokens), COLUMN(COUNT, new_tokens),
    COLUMN(COUNT, decode_tokens), COLUMN(COUNT, sweeps), COLUMN(COUNT, rows), COLUMN(COUNT, drafted),
    COLUMN(COUNT, accepted), COLUMN(REAL, tokens_per_s), COLUMN(REAL, tokens_per_sweep),
    COLUMN(REAL, accepted_per_sweep), COLUMN(REAL, rows_per_sweep), COLUMN(REAL, prefill_s),
    COLUMN(REAL, decode_s), COLUMN(REAL, draft_s), COLUMN(REAL, verify_s), COLUMN(REAL, project_s),
    COLUMN(REAL, flash_wait_s), COLUMN(REAL, flash_idle_s), COLUMN(COUNT, flash_bytes),
    COLUMN(COUNT, peak_rss_bytes), COLUMN(REAL, celsius), COLUMN(REAL, energy_j), COLUMN(CHARS, text_hash),
    COLUMN(REAL, expected_tokens), COLUMN(REAL, expected_s), COLUMN(COUNT, kept_rows),
    COLUMN(COUNT, accepted_dropped), COLUMN(REAL, prune_s), COLUMN(REAL, draft_model_s),
#undef COLUMN
};
enum { N_COLUMNS = sizeof columns / sizeof *columns, N_KEY = 18 };

static void *field(const bench_row *r, const struct column *c) { return (char *)(uintptr_t)r + c->offset; }

static const char *text_of(const bench_row *r, const struct column *c)
{
    const char *text = c->kind == TEXT ? *(const char **)field(r, c) : field(r, c);
    return text ? text : "";
}

/* ---- CSV ---- */

/* One line per row whatever a prompt is called: control characters become spaces. */
static void put_text(FILE *f, const char *text)
{
    const bool quoted = strpbrk(text, ",;\"") != NULL;
    if (quoted) fputc('"', f);
    for (; *text; text++) {
        if (*text == '"') fputc('"', f);
        fputc((unsigned char)*text < 0x20 ? ' ' : *text, f);
    }
    if (quoted) fputc('"', f);
}

static void put_value(FILE *f, const bench_row *r, const struct column *c)
{
    if (c->kind == COUNT) fprintf(f, "%" PRIu64, *(const uint64_t *)field(r, c));
    else if (c->kind != REAL) put_text(f, text_of(r, c));
    else if (!isnan(*(const double *)field(r, c))) fprintf(f, "%.9g", *(const double *)field(r, c));
}

/* Columns first..end of a row, each followed by a comma, the last of all by the end of the line; NULL: out of
 * memory. The caller's. */
static char *format(const bench_row *r, int first, int end)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f) return NULL;
    for (int i = first; i < end; i++) {
        if (r) put_value(f, r, &columns[i]);
        else fputs(columns[i].name, f);
        fputc(i + 1 < N_COLUMNS ? ',' : '\n', f);
    }
    if (fclose(f)) {
        free(text);
        return NULL;
    }
    return text;
}

/* One value at *at into buf, and over the comma or line end behind it. False: this is no value of ours. */
static bool take_value(const char **at, const char *end, char *buf, size_t cap)
{
    size_t n = 0;
    const bool quoted = *at < end && **at == '"';
    const char *p = *at + quoted;
    for (; p < end && n + 1 < cap; p++) {
        if (quoted ? *p == '"' && !(p + 1 < end && p[1] == '"') : *p == ',' || *p == '\n') break;
        p += quoted && *p == '"';
        buf[n++] = *p;
    }
    buf[n] = '\0';
    p += quoted;
    if (p >= end || (*p != ',' && *p != '\n')) return false;
    *at = p + 1;
    return true;
}

static bool parse_value(const char *text, bench_row *r, const struct column *c)
{
    char *end;
    if (c->kind == CHARS) {
        snprintf(field(r, c), c->size, "%s", text);
        return strlen(text) < c->size;
    }
    if (c->kind == COUNT) *(uint64_t *)field(r, c) = strtoull(text, &end, 10);
    else *(double *)field(r, c) = strtod(text, &end);
    if (c->kind == REAL && !*text) *(double *)field(r, c) = NAN;
    return !*end && (*text || c->kind == REAL);
}

/* The measured part of a line, into *r only if all of it is there. */
static bool parse_measured(const char *at, const char *end, bench_row *r)
{
    bench_row got = *r;
    char value[64];
    for (int i = N_KEY; i < N_COLUMNS; i++)
        if (!take_value(&at, end, value, sizeof value) || !parse_value(value, &got, &columns[i]))
            return false;
    if (at != end) return false;
    *r = got;
    return true;
}

/* The newest row counts, if a file has several. */
bool bench_csv_find(const bench_csv *csv, bench_row *r)
{
    char *key = csv->old_len ? format(r, 0, N_KEY) : NULL;
    const size_t len = key ? strlen(key) : 0;
    bool found = false;
    for (const char *at = csv->old, *all_end = at + csv->old_len; key && at < all_end;) {
        const char *nl = memchr(at, '\n', (size_t)(all_end - at)), *end = nl + 1;
        if ((size_t)(end - at) > len && !memcmp(at, key, len)) found |= parse_measured(at + len, end, r);
        at = end;
    }
    free(key);
    return found;
}

static int fail(const bench_csv *csv, int code, const char *what, const char *why, lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "results '%s' %s: %s", csv->path, what, why);
    return err->code = code;
}

/* Everything up to the last line end, once it is clear that the file is ours. */
static int read_old(bench_csv *csv, const char *header, lever_error *err)
{
    char chunk[4096];
    size_t n, len = 0;
    struct stat st;
    if (fstat(fileno(csv->f), &st) || !S_ISREG(st.st_mode)) return LEVER_OK; /* a device: only written to */
    FILE *f = open_memstream(&csv->old, &len);
    if (!f) return fail(csv, LEVER_ENOMEM, "can not be read", "out of memory", err);
    while ((n = fread(chunk, 1, sizeof chunk, csv->f)) > 0) fwrite(chunk, 1, n, f);
    const int read_errno = ferror(csv->f) ? errno : 0;
    if (fclose(f)) return fail(csv, LEVER_ENOMEM, "can not be read", "out of memory", err);
    if (read_errno) return fail(csv, LEVER_EIO, "can not be read", strerror(read_errno), err);
    const size_t header_len = strlen(header), same = len < header_len ? len : header_len;
    if (memcmp(csv->old, header, same))
        return fail(csv, LEVER_EFORMAT, "has other columns",
                    "it is not a file of this version of lever bench; choose another name", err);
    while (len && csv->old[len - 1] != '\n') len--;
    csv->old_len = len;
    if (ftruncate(fileno(csv->f), (off_t)len) == 0) return LEVER_OK;
    return fail(csv, LEVER_EIO, "can not be cut", strerror(errno), err);
}

int bench_csv_open(bench_csv *csv, const char *path, lever_error *err)
{
    *csv = (bench_csv){ .path = path, .f = fopen(path, "a+") };
    if (!csv->f) return fail(csv, LEVER_EIO, "can not be opened", strerror(errno), err);
    char *header = format(NULL, 0, N_COLUMNS);
    int rc = header ? LEVER_OK : fail(csv, LEVER_ENOMEM, "can not be read", "out of memory", err);
    rewind(csv->f);
    if (rc >= 0) rc = read_old(csv, header, err);
    fseek(csv->f, 0, SEEK_END);
    if (rc >= 0 && !csv->old_len && (fputs(header, csv->f) < 0 || fflush(csv->f)))
        rc = fail(csv, LEVER_EIO, "can not be written", strerror(errno), err);
    free(header);
    return rc;
}

int bench_csv_add(bench_csv *csv, const bench_row *r, lever_error *err)
{
    if (!csv->f) return LEVER_OK;
    char *line = format(r, 0, N_COLUMNS);
    if (!line) return fail(csv, LEVER_ENOMEM, "can not be written", "out of memory", err);
    const bool ok = fputs(line, csv->f) >= 0 && fflush(csv->f) == 0;
    free(line);
    return ok ? LEVER_OK : fail(csv, LEVER_EIO, "can not be written", strerror(errno), err);
}

void bench_csv_forget(bench_csv *csv)
{
    free(csv->old);
    csv->old = NULL;
    csv->old_len = 0;
}

int bench_csv_close(bench_csv *csv, lever_error *err)
{
    FILE *f = csv->f;
    csv->f = NULL;
    bench_csv_forget(csv);
    return f && fclose(f) ? fail(csv, LEVER_EIO, "can not be written", strerror(errno), err) : LEVER_OK;
}

/* ---- rows ---- */

json_t *bench_row_json(const bench_row *r)
{
    json_t *o = json_object();
    for (int i = 0; i < N_COLUMNS; i++) {
        const struct column *c = &columns[i];
        json_t *v;
        if (c->kind == COUNT) v = json_integer((json_int_t)*(const uint64_t *)field(r, c));
        else if (c->kind != REAL) v = json_string(text_of(r, c));
        else v = isnan(*(const double *)field(r, c)) ? json_null() : json_real(*(const double *)field(r, c));
        json_object_set_new(o, c->name, v ? v : json_null()); /* a name that is no UTF-8 is null */
    }
    return o;
}

bool bench_rows_add(bench_rows *rows, const bench_row *r)
{
    if (rows->n == rows->cap) {
        const size_t cap = rows->cap ? rows->cap * 2 : 64;
        bench_row *more = realloc(rows->items, cap * sizeof *more);
        if (!more) return false;
        rows->items = more;
        rows->cap = cap;
    }
    rows->items[rows->n++] = *r;
    return true;
}

void bench_rows_free(bench_rows *rows)
{
    free(rows->items);
    *rows = (bench_rows){ 0 };
}

const bench_row *bench_rows_other_text(const bench_rows *rows, const bench_row *r)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rows->items[i].i_prompt == r->i_prompt && strcmp(rows->items[i].text_hash, r->text_hash))
            return &rows->items[i];
    return NULL;
}

static double ratio(double a, double b) { return b > 0 ? a / b : NAN; }

void bench_row_add(bench_row *r, const lever_stats *s)
{
    const double ns = 1e-9;
    r->mem_limit_bytes = s->mem_limit_bytes;
    r->prompt_tokens += s->n_prompt_tokens;
    r->new_tokens += s->n_new_tokens;
    r->decode_tokens += s->n_decode_tokens;
    r->sweeps += s->n_cycles;
    r->rows += s->n_rows;
    r->drafted += s->n_drafted;
    r->accepted += s->n_accepted;
    r->prefill_s += (double)s->prefill_ns * ns;
    r->decode_s += (double)s->decode_ns * ns;
    r->draft_s += (double)s->draft_ns * ns;
    r->verify_s += (double)s->verify_ns * ns;
    r->project_s += (double)s->project_ns * ns;
    r->prune_s += (double)s->prune_ns * ns;
    r->draft_model_s += (double)s->draft_model_ns * ns;
    r->kept_rows += s->n_kept_rows;
    r->accepted_dropped += s->n_accepted_dropped;
    r->flash_wait_s += (double)s->flash_wait_ns * ns;
    r->flash_idle_s += (double)s->flash_idle_ns * ns;
    r->flash_bytes += s->bytes_read;
    r->expected_tokens += s->expected_tokens;
    r->expected_s += s->expected_s;
    r->peak_rss_bytes = s->peak_rss_bytes;
    r->tokens_per_s = ratio((double)r->decode_tokens, r->decode_s);
    r->tokens_per_sweep = ratio((double)r->decode_tokens, (double)r->sweeps);
    r->accepted_per_sweep = ratio((double)r->accepted, (double)r->sweeps);
    r->rows_per_sweep = ratio((double)r->rows, (double)r->sweeps);
}

uint64_t bench_hash(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * UINT64_C(1099511628211);
    return h;
}
