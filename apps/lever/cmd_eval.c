/* `lever eval`: perplexity of a text, and how a draft compares with its target.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "lever/fit.h"
#include "model_args.h"
#include "text_file.h"

typedef struct eval_args {
    model_args  model;
    const char *text;
    uint64_t    limit;
    bool        json, help;
} eval_args;

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "text", 0 },
    { "-f --text", OPTION_TEXT, "FILE", "text to evaluate; needed", offsetof(eval_args, text) },
    { "--limit", OPTION_U64, "N", "at most N windows; default all", offsetof(eval_args, limit) },
    MODEL_FILE_OPTIONS(eval_args, model),
    MODEL_RESOURCE_OPTIONS(eval_args, model,
                           "tokens of a window; default: the model's context, at most 512\n"
                           "(perplexities are comparable only with the same windows)"),
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--json", OPTION_FLAG, NULL, "one JSON object on stdout", offsetof(eval_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(eval_args, help) },
};

/* ---- while it runs ---- */

static volatile sig_atomic_t interrupted;

static void on_sigint(int sig)
{
    (void)sig;
    interrupted = 1;
    signal(SIGINT, SIG_DFL); /* a second Ctrl-C ends the program at once */
}

typedef struct job {
    progress load, run;
    char     line[64];
    bool     started;
} job;

static void on_load(void *user, const char *what, uint64_t done, uint64_t total)
{
    job *j = user;
    progress_show(&j->load, what, done, total);
}

static bool on_eval(void *user, const lever_eval_result *so_far)
{
    job *j = user;
    if (!j->started) { /* only now is there something to report; before, Ctrl-C ends the program */
        j->started = true;
        progress_clear(&j->load);
        signal(SIGINT, on_sigint);
    }
    if (so_far->n_scored) snprintf(j->line, sizeof j->line, "perplexity %.4f,", so_far->perplexity);
    else snprintf(j->line, sizeof j->line, "evaluating,");
    progress_show(&j->run, j->line, so_far->n_tokens, so_far->n_tokens_all);
    return !interrupted;
}

/* ---- results ---- */

static double seconds(uint64_t ns) { return (double)ns * 1e-9; }

static double tokens_per_second(const lever_eval_result *r)
{
    return r->eval_ns ? (double)r->n_tokens / seconds(r->eval_ns) : 0;
}

static void print_draft(const lever_eval_result *r)
{
    printf("  draft         perplexity %.4f +- %.4f, %.4f bits per byte\n", r->draft_perplexity,
           r->draft_perplexity_error, r->draft_bits_per_byte);
    printf("  agreement     the target's first choice is the draft's for %.2f%% of the tokens, among its "
           "four for %.2f%%\n",
           100 * r->agree_1, 100 * r->agree_4);
    printf("  divergence    %.5f nats (mean KL of target to draft)\n", r->kl);
}

static void print_text(const eval_args *a, const lever_eval_result *r, const char *stop)
{
    char bytes[32];
    printf("%s: %llu windows of %u tokens%s%s\n", a->text, (unsigned long long)r->n_windows, r->n_ctx,
           *stop ? ", stopped by " : "", stop);
    printf("  scored        %llu tokens, %s of text\n", (unsigned long long)r->n_scored,
           format_bytes(bytes, sizeof bytes, (double)r->scored_bytes));
    printf("  perplexity    %.4f +- %.4f\n", r->perplexity, r->perplexity_error);
    printf("  bits per byte %.4f\n", r->bits_per_byte);
    if (r->has_draft) print_draft(r);
    printf("  time          %.2f s, %.1f tokens/s", seconds(r->eval_ns), tokens_per_second(r));
    if (r->bytes_read)
        printf("; %s read from flash", format_bytes(bytes, sizeof bytes, (double)r->bytes_read));
    printf("\n  memory        peak %s", format_bytes(bytes, sizeof bytes, (double)r->peak_rss_bytes));
    printf(" of the limit of %s\n", format_bytes(bytes, sizeof bytes, (double)r->mem_limit_bytes));
}

/* JSON has no infinity. */
static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *draft_json(const lever_eval_result *r)
{
    return json_pack("{s:o, s:o, s:o, s:f, s:f, s:o}", "perplexity", number(r->draft_perplexity),
                     "perplexity_error", number(r->draft_perplexity_error), "bits_per_byte",
                     number(r->draft_bits_per_byte), "agree_1", r->agree_1, "agree_4", r->agree_4, "kl",
                     number(r->kl));
}

static json_t *stats_json(const lever_eval_result *r)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:I}", "tokens", (json_int_t)r->n_tokens, "eval_s",
                     seconds(r->eval_ns), "tokens_per_second", tokens_per_second(r), "flash_wait_s",
                     seconds(r->flash_wait_ns), "flash_bytes", (json_int_t)r->bytes_read, "peak_rss_bytes",
                     (json_int_t)r->peak_rss_bytes, "mem_limit_bytes", (json_int_t)r->mem_limit_bytes);
}

static void print_json(const lever_eval_result *r, const char *stop, const lever_error *err)
{
    json_t *root = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "stop", stop, "n_ctx",
                             (int)r->n_ctx, "windows", (json_int_t)r->n_windows, "text_tokens",
                             (json_int_t)r->n_text_tokens, "scored_tokens", (json_int_t)r->n_scored,
                             "scored_bytes", (json_int_t)r->scored_bytes, "perplexity", number(r->perplexity),
                             "perplexity_error", number(r->perplexity_error), "bits_per_byte",
                             number(r->bits_per_byte));
    if (r->has_draft) json_object_set_new(root, "draft", draft_json(r));
    json_object_set_new(root, "stats", stats_json(r));
    if (err)
        json_object_set_new(
            root, "error",
            json_pack("{s:s, s:s}", "code", lever_status_name(err->code), "message", err->msg));
    json_dumpf(root, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(root);
}

/* EXIT_OK, or EXIT_IO after a message. */
static int print_result(const eval_args *a, const lever_eval_result *r, int rc, const lever_error *err)
{
    const bool cancelled = rc == LEVER_ECANCEL, failed = rc < 0 && !cancelled;
    errno = 0;
    if (a->json) print_json(r, cancelled ? "cancel" : failed ? "error" : "end", failed ? err : NULL);
    else if (r->n_scored) print_text(a, r, cancelled ? "Ctrl-C" : failed ? "an error" : "");
    else fputs("lever: stopped before the first token was scored\n", stderr);
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_OK;
    fprintf(stderr, "lever: the result can not be written to standard output: %s\n",
            strerror(errno ? errno : EIO));
    return EXIT_IO;
}

static int evaluate(const eval_args *a, lever_config *c)
{
    lever_error err = { 0 };
    size_t len = 0;
    char *text = text_file_read(a->text, &len, &err);
    if (!text) return app_fail(err.code, &err);
    job j = { 0 };
    lever_eval_result r;
    c->progress = on_load;
    c->progress_user = &j;
    const lever_eval_params p = { .max_windows = a->limit, .on_progress = on_eval, .user = &j };
    const int rc = lever_eval(c, text, len, &p, &r, &err);
    signal(SIGINT, SIG_DFL);
    progress_clear(&j.load);
    progress_clear(&j.run);
    free(text);
    if (r.device_note[0]) fprintf(stderr, "lever: %s\n", r.device_note);
    int code = EXIT_OK;
    if (rc >= 0 || rc == LEVER_ECANCEL || r.n_scored) code = print_result(a, &r, rc, &err);
    if (rc == LEVER_ECANCEL) return EXIT_CANCEL;
    return rc < 0 ? app_fail(rc, &err) : code;
}

int cmd_eval(int argc, char **argv)
{
    static eval_args a; /* static: holds paths, too large for a frame */
    model_args_init(&a.model);
    const char *none[1];
    int n;
    const size_t n_options = sizeof options / sizeof *options;
    if (options_parse(options, n_options, &a, argc, argv, 2, none, 0, &n)) return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever eval --text FILE [options]\n\n"
             "Perplexity of a model on a text; with a draft also how often the two agree, which bounds what\n"
             "speculation can gain. Windows are cut and scored as llama.cpp's perplexity tool does.");
        options_help(options, n_options);
        return EXIT_OK;
    }
    if (!a.text) {
        fputs("lever: eval needs a text: --text FILE; see lever eval --help\n", stderr);
        return EXIT_USAGE;
    }
    lever_config c;
    const int usage = model_args_config(&a.model, &c);
    if (usage) return usage;
    signal(SIGPIPE, SIG_IGN); /* a closed reader is a write error, not a silent death */
    return evaluate(&a, &c);
}
