/* SPDX-License-Identifier: MIT */
#include "run_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"

static const char *const stop_names[] = { "max_tokens", "end_token", "context", "callback", "cancel" };

bool run_report_add_text(run_report *r, const char *text, size_t n)
{
    if (r->text_len + n + 1 > r->text_cap) {
        const size_t cap = (r->text_len + n + 1) * 2;
        char *more = realloc(r->text, cap);
        if (!more) return false;
        r->text = more;
        r->text_cap = cap;
    }
    memcpy(r->text + r->text_len, text, n);
    r->text_len += n;
    r->text[r->text_len] = '\0';
    return true;
}

void run_report_add_tokens(run_report *r, const lever_session *s)
{
    size_t n;
    const int32_t *tokens = lever_session_tokens(s, &n);
    if (n <= r->n_prompt) return;
    r->tokens = malloc((n - r->n_prompt) * sizeof *r->tokens);
    if (!r->tokens) return;
    r->n_tokens = n - r->n_prompt;
    memcpy(r->tokens, tokens + r->n_prompt, r->n_tokens * sizeof *r->tokens);
}

void run_report_fini(run_report *r)
{
    free(r->text);
    free(r->tokens);
}

static double seconds(uint64_t ns) { return (double)ns * 1e-9; }
static double ratio(double a, double b) { return b > 0 ? a / b : 0; }
static double tokens_per_second(const lever_stats *s)
{
    return ratio(s->n_decode_tokens, seconds(s->decode_ns));
}
static double percent(uint64_t part, uint64_t all) { return 100 * ratio((double)part, (double)all); }

static void print_check(const run_report *r)
{
    const run_check *c = &r->check;
    if (!c->n_compared) return;
    const double plain = tokens_per_second(&c->stats);
    if (c->n_equal == c->n_compared)
        fprintf(stderr, "  check        the first %u tokens equal plain decoding", c->n_compared);
    else
        fprintf(stderr, "  check        DIFFERS from plain decoding at new token %u", c->n_equal);
    if (plain > 0)
        fprintf(stderr, " (plain: %.1f tokens/s, so %.2fx)", plain, tokens_per_second(&r->stats) / plain);
    fputc('\n', stderr);
}

/* ", held back as ufs3.1 to 1.96 GiB/s", or nothing: a modelled speed must not pass for a measured one. */
static const char *held_back(const lever_engine_info *info, char *buf, size_t cap)
{
    char rate[32];
    if (!info->flash_limit_bytes_per_s) return "";
    snprintf(buf, cap, ", held back%s%s to %s/s", info->flash_model ? " as " : "",
             info->flash_model ? info->flash_model : "",
             format_bytes(rate, sizeof rate, (double)info->flash_limit_bytes_per_s));
    return buf;
}

static void print_devices(const lever_engine_info *info)
{
    const bool draft = info->draft_device && strcmp(info->draft_device, "cpu");
    if (!info->device_jobs) return; /* a note was shown at the start */
    char from[48] = "";
    if (info->device_min_rows > 1 && info->device_min_rows < UINT32_MAX)
        snprintf(from, sizeof from, " for sweeps of %" PRIu32 " rows and more", info->device_min_rows);
    fprintf(stderr, "  device       %s%s%s%s; %llu jobs\n", info->device, from, draft ? ", draft on " : "",
            draft ? info->draft_device : "", (unsigned long long)info->device_jobs);
    if (info->device_note) fprintf(stderr, "               %s\n", info->device_note);
}

void run_report_text(const run_report *r)
{
    const lever_stats *s = &r->stats;
    char a[32], b[32], held[96];
    const bool color = isatty(STDERR_FILENO), other = strcmp(r->info.verify, "match") != 0;
    fprintf(stderr, "\n%s%u new tokens%s, %zu in the prompt, stopped by %s\n", color ? "\033[1m" : "",
            s->n_new_tokens, color ? "\033[0m" : "", r->n_prompt,
            s->stop >= 0 ? stop_names[s->stop] : "an error");
    fprintf(stderr, "  speed        %.1f tokens/s  (prompt and first tokens: %.2f s in %u sweeps)\n",
            tokens_per_second(s), seconds(s->prefill_ns), s->n_prefill_sweeps);
    if (s->n_cycles)
        fprintf(stderr,
                "  sweeps       %.2f tokens per sweep of %.1f rows; %.0f%% of %u drafted tokens accepted "
                "(%s%s%s)\n",
                ratio(s->n_decode_tokens, s->n_cycles), ratio((double)s->n_rows, s->n_cycles),
                percent(s->n_accepted, s->n_drafted), s->n_drafted, r->info.policy, other ? ", verify " : "",
                other ? r->info.verify : "");
    if (r->info.advice) fprintf(stderr, "  plan         %s\n", r->info.advice);
    if (s->n_kept_rows < s->n_rows)
        fprintf(stderr, "  pruning      %.0f%% of the rows went on after layer %u; %u right ones did not\n",
                percent(s->n_kept_rows, s->n_rows), r->info.exit_layer, s->n_accepted_dropped);
    if (s->bytes_read)
        fprintf(stderr, "  flash        %s per token, %s per sweep (%s%s)\n",
                format_bytes(a, sizeof a, ratio((double)s->bytes_read, s->n_decode_tokens)),
                format_bytes(b, sizeof b, ratio((double)s->bytes_read, s->n_cycles)), r->info.io_backend,
                held_back(&r->info, held, sizeof held));
    else if (s->n_cycles)
        fprintf(stderr, "  flash        nothing read: the whole model is resident\n");
    if (s->bytes_read)
        fprintf(stderr, "  stalls       compute waited %.2f s for flash, flash %.2f s for room in the ring\n",
                seconds(s->flash_wait_ns), seconds(s->flash_idle_ns));
    if (s->decode_ns)
        fprintf(
            stderr,
            "  time         draft %.0f%%, verify %.0f%% (of that waiting for flash %.0f%%), project %.0f%%\n",
            percent(s->draft_ns, s->decode_ns), percent(s->verify_ns, s->decode_ns),
            percent(s->flash_wait_ns, s->verify_ns), percent(s->project_ns, s->decode_ns));
    if (s->n_ahead)
        fprintf(stderr, "  ahead        %.2f s of drafting beside sweeps: %u rows, %u of use; %.3f s until it ended\n",
                seconds(s->ahead_ns), s->n_ahead, s->n_ahead_used, seconds(s->ahead_wait_ns));
    fprintf(stderr, "  memory       peak %s", format_bytes(a, sizeof a, (double)s->peak_rss_bytes));
    fprintf(stderr, " of the limit of %s; the model has %s\n",
            format_bytes(a, sizeof a, (double)s->mem_limit_bytes),
            format_bytes(b, sizeof b, (double)r->info.target_file_bytes));
    print_devices(&r->info);
    print_check(r);
}

static json_t *stats_json(const lever_stats *s)
{
    return json_pack(
        "{s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, "
        "s:I, s:I, s:i, s:f, s:f, s:i, s:i, s:f, s:f, s:s}",
        "tokens_per_second", tokens_per_second(s), "tokens_per_sweep", ratio(s->n_decode_tokens, s->n_cycles),
        "prompt_tokens", (int)s->n_prompt_tokens, "new_tokens", (int)s->n_new_tokens, "prefill_sweeps",
        (int)s->n_prefill_sweeps, "decode_tokens", (int)s->n_decode_tokens, "cycles", (int)s->n_cycles,
        "rows", (json_int_t)s->n_rows, "drafted", (int)s->n_drafted, "accepted", (int)s->n_accepted,
        "prefill_s", seconds(s->prefill_ns), "decode_s", seconds(s->decode_ns), "draft_s",
        seconds(s->draft_ns), "verify_s", seconds(s->verify_ns), "project_s", seconds(s->project_ns),
        "flash_wait_s", seconds(s->flash_wait_ns), "flash_idle_s", seconds(s->flash_idle_ns), "flash_bytes",
        (json_int_t)s->bytes_read, "peak_rss_bytes", (json_int_t)s->peak_rss_bytes, "mem_limit_bytes",
        (json_int_t)s->mem_limit_bytes, "kept_rows", (json_int_t)s->n_kept_rows, "accepted_dropped",
        (int)s->n_accepted_dropped, "prune_s", seconds(s->prune_ns), "draft_model_s",
        seconds(s->draft_model_ns), "ahead_rows", (int)s->n_ahead, "ahead_used", (int)s->n_ahead_used, "ahead_s",
        seconds(s->ahead_ns), "ahead_wait_s", seconds(s->ahead_wait_ns), "stop",
        s->stop >= 0 ? stop_names[s->stop] : "error");
}

static void add_error(json_t *root, const lever_error *err)
{
    if (err)
        json_object_set_new(
            root, "error",
            json_pack("{s:s, s:s}", "code", lever_status_name(err->code), "message", err->msg));
}

bool run_report_json_line(const run_report *r, const char *id, const char *kind, size_t turn,
                          const lever_error *err)
{
    json_t *text = json_stringn(r->text ? r->text : "", r->text_len);
    json_t *root = json_pack("{s:s, s:s, s:i, s:o, s:o}", "id", id, "kind", kind, "turn", (int)turn, "text",
                             text ? text : json_null(), "stats", stats_json(&r->stats));
    add_error(root, err);
    const bool ok = root && json_dumpf(root, stdout, JSON_REAL_PRECISION(6)) == 0 && putchar('\n') != EOF &&
                    fflush(stdout) == 0;
    json_decref(root);
    return ok;
}

bool run_report_json(const run_report *r, const lever_error *err)
{
    json_t *root = json_object(), *tokens = json_array();
    for (size_t i = 0; i < r->n_tokens; i++) json_array_append_new(tokens, json_integer(r->tokens[i]));
    /* Jansson wants valid UTF-8; a prompt may hold anything, the generated text is always valid. */
    json_t *text = json_stringn(r->text ? r->text : "", r->text_len);
    json_object_set_new(root, "text", text ? text : json_null());
    json_object_set_new(root, "tokens", tokens);
    json_object_set_new(root, "stats", stats_json(&r->stats));
    json_object_set_new(root, "engine",
                        json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:s?, s:I, s:i, s:s, s:s?, "
                                  "s:s?, s:I, s:I}", "isa",
                                  r->info.isa, "io", r->info.io_backend, "policy", r->info.policy, "verify",
                                  r->info.verify, "arch", r->info.arch,
                                  "threads", (int)r->info.n_threads, "n_ctx", (int)r->info.n_ctx,
                                  "model_bytes", (json_int_t)r->info.target_file_bytes, "resident_bytes",
                                  (json_int_t)r->info.target_resident_bytes, "streamed_bytes",
                                  (json_int_t)r->info.target_streamed_bytes, "planned_bytes",
                                  (json_int_t)r->info.planned_bytes, "flash_model", r->info.flash_model,
                                  "flash_limit_bytes_per_s", (json_int_t)r->info.flash_limit_bytes_per_s,
                                  "exit_layer", (int)r->info.exit_layer, "device", r->info.device, "draft_device",
                                  r->info.draft_device, "device_note", r->info.device_note, "device_jobs",
                                  (json_int_t)r->info.device_jobs, "device_min_rows",
                                  (json_int_t)r->info.device_min_rows));
    if (r->info.advice)
        json_object_set_new(json_object_get(root, "engine"), "advice", json_string(r->info.advice));
    if (r->check.n_compared)
        json_object_set_new(root, "check",
                            json_pack("{s:i, s:i, s:o}", "compared", (int)r->check.n_compared, "equal",
                                      (int)r->check.n_equal, "plain", stats_json(&r->check.stats)));
    add_error(root, err);
    const bool ok = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0 &&
                    putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(root);
    return ok;
}
