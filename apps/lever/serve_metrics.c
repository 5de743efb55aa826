/* Numbers about the server: /metrics for Prometheus, /lever/status for the page.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "profile_file.h"
#include "serve.h"

enum { WINDOW_S = 10 };

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void serve_count_sweep(server *s, uint64_t tokens, uint64_t read_bytes)
{
    const uint64_t now = now_ns() / 1000000000u;
    serve_second *at = &s->seconds[now % 16];
    if (at->at_s != now) *at = (serve_second){ .at_s = now };
    at->tokens += tokens;
    at->sweeps++;
    at->read_bytes += read_bytes - s->counts.read_bytes;
    s->counts.sweeps++;
    s->counts.read_bytes = read_bytes;
}

/* Of the last ten seconds, per second. */
typedef struct serve_recent { double tokens, sweeps, read_bytes; } serve_recent;

static serve_recent recent(const server *s)
{
    serve_recent r = { 0 };
    const uint64_t now = now_ns() / 1000000000u;
    for (size_t i = 0; i < 16; i++) {
        const serve_second *at = &s->seconds[i];
        if (at->at_s + WINDOW_S < now || at->at_s > now) continue;
        r.tokens += (double)at->tokens / WINDOW_S;
        r.sweeps += (double)at->sweeps / WINDOW_S;
        r.read_bytes += (double)at->read_bytes / WINDOW_S;
    }
    return r;
}

/* What the device of the model gives at best: as it is held back, or as lever profile has measured it; 0: unknown. */
static double best_flash(const server *s)
{
    char where[PROFILE_WHERE_CAP];
    const lever_machine *m = s->config.machine;
    if (s->info.flash_limit_bytes_per_s) return (double)s->info.flash_limit_bytes_per_s;
    if (!m || !profile_where(s->config.model_path, where, sizeof where)) return 0;
    for (uint32_t i = 0; i < m->n_flashes; i++) {
        const lever_flash_profile *r = &m->flashes[i].reads;
        if (!strcmp(m->flashes[i].where, where) && r->best < r->n_points)
            return r->points[r->best].bytes_per_s;
    }
    return 0;
}

void serve_status(server *s, serve_text *out)
{
    const double best = best_flash(s);
    pthread_mutex_lock(&s->lock);
    const serve_recent now = recent(s);
    const uint32_t active = s->n_active, queued = s->n_queued;
    pthread_mutex_unlock(&s->lock);
    text_puts(out, "{\"model\":");
    text_json(out, s->model, strlen(s->model));
    text_printf(out, ",\"mem_limit\":%llu,\"mem_used\":%llu,\"mem_planned\":%llu",
                (unsigned long long)s->info.mem_limit_bytes, (unsigned long long)resident_bytes(),
                (unsigned long long)s->info.planned_bytes);
    text_puts(out, ",\"flash_bytes_per_s\":");
    text_number(out, now.read_bytes);
    text_puts(out, ",\"flash_best_bytes_per_s\":");
    if (best > 0) text_number(out, best);
    else text_puts(out, "null");
    text_puts(out, ",\"tokens_per_s\":");
    text_number(out, now.tokens);
    text_printf(out, ",\"parallel\":%u,\"active\":%u,\"queued\":%u,\"ctx\":%u,\"policy\":", s->n_slots,
                active, queued, s->info.n_ctx);
    text_json(out, s->info.policy, strlen(s->info.policy));
    text_puts(out, "}\n");
}

/* ---- /metrics ---- */

static void put(serve_text *out, const char *name, const char *kind, const char *help, double v)
{
    text_printf(out, "# HELP lever_%s %s\n# TYPE lever_%s %s\nlever_%s %.17g\n", name, help, name, kind, name,
                v);
}

static void put_labels(serve_text *out, const char *name, const char *help, const char *label,
                       const char *const *values, const uint64_t *v, size_t n)
{
    text_printf(out, "# HELP lever_%s %s\n# TYPE lever_%s counter\n", name, help, name);
    for (size_t i = 0; i < n; i++)
        text_printf(out, "lever_%s{%s=\"%s\"} %llu\n", name, label, values[i], (unsigned long long)v[i]);
}

static void put_summary(serve_text *out, const char *name, const char *help, double sum, uint64_t n)
{
    text_printf(out, "# HELP lever_%s %s\n# TYPE lever_%s summary\nlever_%s_sum %.9g\nlever_%s_count %llu\n",
                name, help, name, name, sum, name, (unsigned long long)n);
}

static void put_counts(serve_text *out, const serve_counts *c)
{
    static const char *const ends[] = { "stop", "length", "client_left", "shutdown", "client_slow", "error" };
    static const char *const reasons[] = { "queue_full", "body_too_large", "api_key", "host", "memory" };
    const uint64_t refused[] = { c->refused_full, c->refused_body, c->refused_key, c->refused_host,
                                 c->refused_memory };
    text_puts(out,
              "# HELP lever_requests_total HTTP requests answered\n# TYPE lever_requests_total counter\n");
    for (unsigned i = 0; i < sizeof c->statuses / sizeof *c->statuses; i++)
        if (c->statuses[i])
            text_printf(out, "lever_requests_total{code=\"%u\"} %llu\n", i,
                        (unsigned long long)c->statuses[i]);
    put_labels(out, "answers_total", "answers begun, by how they ended", "end", ends, c->answers, 6);
    put_labels(out, "refused_total", "requests refused, by reason", "reason", reasons, refused, 5);
    put(out, "prompt_tokens_total", "counter", "tokens of prompts", (double)c->prompt_tokens);
    put(out, "prompt_cached_tokens_total", "counter", "of them, tokens that needed no evaluation",
        (double)c->cached_tokens);
    put(out, "generated_tokens_total", "counter", "tokens of answers", (double)c->new_tokens);
    put(out, "drafted_tokens_total", "counter", "tokens proposed by the draft", (double)c->drafted);
    put(out, "accepted_tokens_total", "counter", "of them, tokens that became text", (double)c->accepted);
    put(out, "rows_total", "counter", "rows of the target verified", (double)c->rows);
    put(out, "sweeps_total", "counter", "passes over the target", (double)c->sweeps);
    put(out, "conversations_saved_total", "counter", "conversations written to disk", (double)c->kept_saved);
    put(out, "conversations_loaded_total", "counter", "conversations read back", (double)c->kept_loaded);
    put_summary(out, "first_token_seconds", "from the request to its first token", c->first_s, c->first_n);
    put_summary(out, "answer_seconds", "from the request to the end of its answer", c->total_s, c->total_n);
}

void serve_metrics(server *s, serve_text *out)
{
    pthread_mutex_lock(&s->lock);
    const serve_recent now = recent(s);
    const serve_counts c = s->counts;
    const uint32_t active = s->n_active, queued = s->n_queued, connections = s->n_connections;
    pthread_mutex_unlock(&s->lock);
    put_counts(out, &c);
    put(out, "flash_bytes_total", "counter", "bytes of the target read from flash by sweeps",
        (double)c.read_bytes);
    put(out, "tokens_per_second", "gauge", "tokens of all answers in the last 10 s, per second", now.tokens);
    put(out, "sweeps_per_second", "gauge", "passes over the target in the last 10 s, per second", now.sweeps);
    put(out, "answers_running", "gauge", "answers being made", active);
    put(out, "answers_queued", "gauge", "requests waiting for a place", queued);
    put(out, "places", "gauge", "conversations that can be answered at once", s->n_slots);
    put(out, "connections", "gauge", "open connections", connections);
    put(out, "request_bytes", "gauge", "memory that requests hold", (double)atomic_load(&s->budget.used));
    put(out, "resident_bytes", "gauge", "resident set of the process", (double)resident_bytes());
    put(out, "memory_limit_bytes", "gauge", "the limit (--mem)", (double)s->info.mem_limit_bytes);
    put(out, "memory_planned_bytes", "gauge", "of it, what is planned for", (double)s->info.planned_bytes);
}
