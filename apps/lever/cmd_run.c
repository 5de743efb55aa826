/* `lever run`: continue a text. The text goes to stdout as it comes, the closing block to stderr.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "cache_dir.h"
#include "model_args.h"
#include "plan_machine.h"
#include "run_prompts.h"
#include "run_report.h"
#include "trace_file.h"

typedef struct run_args {
    model_args     model;
    chat_args      chat;
    lever_sampling sampling;
    const char    *prompt, *file, *prompts, *trace;
    uint32_t       n_predict, limit, check;
    bool           json, ignore_eos, no_prompt, special, raw, quiet, help;
} run_args;

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "text", 0 },
    { "-p --prompt", OPTION_TEXT, "TEXT", "text to continue; default: standard input",
      offsetof(run_args, prompt) },
    { "-f --file", OPTION_TEXT, "FILE", "read the prompt from a file", offsetof(run_args, file) },
    { "--prompts", OPTION_TEXT, "FILES",
      "answer every prompt of these files (JSON lines, separated by commas):\n"
      "bench/prompts/*.jsonl, HumanEval, MBPP, GSM8K, MT-Bench, Spec-Bench",
      offsetof(run_args, prompts) },
    { "--limit", OPTION_U32, "N", "at most N prompts of each file; default all", offsetof(run_args, limit) },
    { "--raw", OPTION_FLAG, NULL, "with --prompts: continue messages as plain text, without chat marks",
      offsetof(run_args, raw) },
    CHAT_OPTIONS(run_args, chat),
    { "-n --n-predict", OPTION_U32, "N", "new tokens at most; default 128, 0 = until the context is full",
      offsetof(run_args, n_predict) },
    { "--ignore-eos", OPTION_FLAG, NULL, "go on after end-of-text tokens", offsetof(run_args, ignore_eos) },
    { "--special", OPTION_FLAG, NULL, "names of control tokens in the prompt become these tokens",
      offsetof(run_args, special) },
    { "--no-display-prompt", OPTION_FLAG, NULL, "print only the new text", offsetof(run_args, no_prompt) },
    MODEL_OPTIONS(run_args, model),
    LEARN_OPTION(run_args, model),
    SAMPLING_OPTIONS(run_args, sampling),
    VERIFY_OPTION(run_args, model),
    PROJECT_OPTIONS(run_args, model),
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--check", OPTION_U32, "N",
      "afterwards decode the first N new tokens again without a draft\n"
      "and compare; exit code 7 if they differ",
      offsetof(run_args, check) },
    { "--json", OPTION_FLAG, NULL, "one JSON object on stdout: text, tokens, statistics",
      offsetof(run_args, json) },
    { "--trace", OPTION_TEXT, "FILE",
      "write what ran when (reads, layers, drafting) as a Chrome trace,\n"
      "for chrome://tracing or ui.perfetto.dev",
      offsetof(run_args, trace) },
    { "-q --quiet", OPTION_FLAG, NULL, "no closing block", offsetof(run_args, quiet) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(run_args, help) },
};

static lever_session *volatile signal_session;

static void on_sigint(int sig)
{
    (void)sig;
    lever_session *s = signal_session;
    if (s) lever_session_cancel(s);
    signal(SIGINT, SIG_DFL); /* a second Ctrl-C ends the program at once */
}

typedef struct run {
    run_args     *args;
    lever_engine *engine;
    lever_session *session;
    run_report    report;
    trace_file    trace;
    int           write_errno;
} run;

static bool write_out(run *r, const char *text, size_t n)
{
    if (n == 0) return true;
    if (r->args->json) return run_report_add_text(&r->report, text, n);
    errno = 0;
    if (fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0) return true;
    r->write_errno = errno ? errno : EIO;
    return false;
}

static int write_error(const run *r, lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "the text can not be written to standard output: %s",
             strerror(r->write_errno));
    return LEVER_EIO;
}

static bool on_token(void *user, const lever_token_event *e)
{
    return write_out(user, e->text, e->text_bytes);
}

/* Whole of a stream, at most cap bytes; NULL with a message when it can not be. */
static char *read_all(FILE *f, const char *name, size_t cap, size_t *len, lever_error *err)
{
    size_t room = 4096, n = 0;
    char *text = malloc(room);
    while (text) {
        n += fread(text + n, 1, room - n, f);
        if (ferror(f)) {
            snprintf(err->msg, sizeof err->msg, "prompt '%s' can not be read: %s", name, strerror(errno));
            err->code = LEVER_EIO;
            break;
        }
        if (n < room) {
            *len = n;
            return text;
        }
        if (room >= cap) {
            snprintf(err->msg, sizeof err->msg,
                     "prompt '%s' is longer than the context can hold; use a longer -c", name);
            err->code = LEVER_ELIMIT;
            break;
        }
        char *more = realloc(text, room *= 2);
        if (!more) free(text);
        text = more;
    }
    if (!text)
        snprintf(err->msg, sizeof err->msg, "out of memory reading the prompt"), err->code = LEVER_ENOMEM;
    free(text);
    return NULL;
}

static int read_prompt(run *r, char **text, size_t *len, lever_error *err)
{
    const run_args *a = r->args;
    lever_engine_info info;
    lever_engine_get_info(r->engine, &info);
    const size_t cap = (size_t)info.n_ctx * 64; /* no tokenizer averages 64 bytes a token */
    if (a->prompt) {
        *text = strdup(a->prompt);
        *len = strlen(a->prompt);
        if (!*text) return snprintf(err->msg, sizeof err->msg, "out of memory"), LEVER_ENOMEM;
        return LEVER_OK;
    }
    FILE *f = a->file ? fopen(a->file, "rb") : stdin;
    if (!f) {
        snprintf(err->msg, sizeof err->msg, "prompt file '%s' can not be opened: %s", a->file,
                 strerror(errno));
        return LEVER_EIO;
    }
    if (!a->file && isatty(STDIN_FILENO)) fputs("lever: type the text to continue, then Ctrl-D\n", stderr);
    *text = read_all(f, a->file ? a->file : "standard input", cap, len, err);
    if (a->file) fclose(f);
    return *text ? LEVER_OK : err->code;
}

static int append_prompt(run *r, lever_error *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = read_prompt(r, &text, &len, err);
    if (rc >= 0)
        rc = lever_session_append_text(r->session, text, len,
                                       r->args->special ? LEVER_ENCODE_PARSE_SPECIAL : 0, err);
    size_t n;
    lever_session_tokens(r->session, &n);
    if (rc >= 0 && n == 0) {
        snprintf(err->msg, sizeof err->msg, "the prompt is empty and this model has no begin-of-text token");
        rc = LEVER_EINVAL;
    }
    r->report.n_prompt = n;
    if (rc >= 0 && !r->args->no_prompt && !write_out(r, text, len)) rc = write_error(r, err);
    free(text);
    return rc;
}

/* Decode the first tokens again without speculation and compare. */
static int check_prefix(run *r, lever_error *err)
{
    run_check *c = &r->report.check;
    size_t n_all;
    const int32_t *now = lever_session_tokens(r->session, &n_all);
    const size_t n_prompt = r->report.n_prompt, n_new = n_all - n_prompt;
    const uint32_t n = r->args->check < n_new ? r->args->check : (uint32_t)n_new;
    if (n == 0) return LEVER_OK;
    int32_t *was = malloc((n_prompt + n) * sizeof *was);
    if (!was) return snprintf(err->msg, sizeof err->msg, "out of memory"), LEVER_ENOMEM;
    memcpy(was, now, (n_prompt + n) * sizeof *was);

    const lever_generate_params p = { .max_tokens = n, .ignore_end = true, .policy = "none" };
    int rc = lever_session_reset(r->session, NULL, err);
    if (rc >= 0) rc = lever_session_append(r->session, was, n_prompt, err);
    if (rc >= 0) rc = lever_session_generate(r->session, &p, NULL, NULL, &c->stats, err);
    if (rc >= 0 && c->stats.stop != LEVER_STOP_CANCEL) {
        now = lever_session_tokens(r->session, &n_all);
        while (c->n_equal < n && n_prompt + c->n_equal < n_all &&
               was[n_prompt + c->n_equal] == now[n_prompt + c->n_equal])
            c->n_equal++;
        c->n_compared = n;
    }
    free(was);
    return rc;
}

static int generate(run *r, lever_error *err)
{
    const lever_generate_params p = { .max_tokens = r->args->n_predict, .ignore_end = r->args->ignore_eos };
    int rc = lever_session_generate(r->session, &p, on_token, r, &r->report.stats, err);
    if (!r->args->json && !r->write_errno) write_out(r, "\n", 1);
    if (rc < 0) return rc;
    if (r->write_errno) return write_error(r, err);
    if (r->args->json) run_report_add_tokens(&r->report, r->session);
    return r->args->check && r->report.stats.stop != LEVER_STOP_CANCEL ? check_prefix(r, err) : LEVER_OK;
}

static void on_load(void *user, const char *what, uint64_t done, uint64_t total)
{
    progress_show(user, what, done, total);
}

static int open_all(run *r, lever_config *c, progress *load, lever_error *err)
{
    if (r->args->trace) {
        const int trace_rc = trace_open(&r->trace, r->args->trace, err);
        if (trace_rc < 0) return trace_rc;
        c->on_trace = trace_event;
        c->trace_user = &r->trace;
    }
    static lever_advise_params advise;
    plan_machine_apply(&advise, &r->args->model, c, r->args->sampling.temperature);
    c->progress = on_load;
    c->progress_user = load;
    const int open_rc = lever_engine_open(&r->engine, c, err);
    progress_clear(load);
    if (open_rc < 0) return open_rc;
    if (!r->args->model.no_learn) learnt_load(r->engine);
    const int chat_rc = chat_args_apply(&r->args->chat, r->engine, err);
    if (chat_rc < 0) return chat_rc;
    if (!r->args->quiet) model_args_device_note(r->engine);
    lever_engine_get_info(r->engine, &r->report.info);
    if (r->report.info.exit_note && !r->args->quiet)
        fprintf(stderr, "lever: no pruning: %s\n", r->report.info.exit_note);
    return lever_session_open(&r->session, r->engine, &r->args->sampling, err);
}

static void close_all(run *r)
{
    lever_session_close(&r->session);
    if (r->engine && !r->args->model.no_learn) learnt_store(r->engine);
    lever_engine_close(&r->engine);
}

static int answer_all(run *r)
{
    const run_args *a = r->args;
    const run_prompts_args p = { .files = a->prompts, .limit = a->limit, .n_predict = a->n_predict,
                                 .ignore_eos = a->ignore_eos, .json = a->json, .quiet = a->quiet,
                                 .raw = a->raw, .think = chat_args_think(&a->chat) };
    signal_session = r->session;
    signal(SIGINT, on_sigint);
    const int code = run_prompts(r->engine, r->session, &p);
    signal(SIGINT, SIG_DFL);
    signal_session = NULL;
    return code;
}

int cmd_run(int argc, char **argv)
{
    static run_args a; /* static: holds paths, too large for a frame */
    a = (run_args){ .n_predict = 128 };
    model_args_init(&a.model);
    lever_sampling_init(&a.sampling);
    const char *none[1];
    int n;
    if (options_parse(options, sizeof options / sizeof *options, &a, argc, argv, 2, none, 0, &n))
        return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever run [options]\n\nContinues a text with a model that may be larger than the memory "
             "limit.");
        options_help(options, sizeof options / sizeof *options);
        return EXIT_OK;
    }
    if ((a.prompt != NULL) + (a.file != NULL) + (a.prompts != NULL) > 1 || (a.prompts && a.check)) {
        fputs(a.check && a.prompts ? "lever: --check needs a single prompt, not --prompts\n"
                                   : "lever: give one of -p, -f and --prompts\n",
              stderr);
        return EXIT_USAGE;
    }
    if (a.check && a.model.verify && strcmp(a.model.verify, "match") && a.sampling.temperature > 0) {
        fprintf(stderr, "lever: --check compares with plain decoding, whose text --verify %s does not give\n",
                a.model.verify);
        return EXIT_USAGE;
    }
    if (chat_args_check(&a.chat)) return EXIT_USAGE;
    lever_config config;
    const int refused = model_args_config(&a.model, &config); /* it has said why; failures below are told here */
    if (refused) return refused;
    run r = { .args = &a };
    progress load = { 0 };
    lever_error err = { 0 };
    signal(SIGPIPE, SIG_IGN); /* a closed reader is a write error, not a silent death */
    int rc = open_all(&r, &config, &load, &err);
    if (rc >= 0 && a.prompts) {
        int code = answer_all(&r);
        close_all(&r);
        if (trace_close(&r.trace, &err) < 0 && code == EXIT_OK) code = app_fail(LEVER_EIO, &err);
        return code;
    }
    if (rc >= 0) {
        signal_session = r.session;
        signal(SIGINT, on_sigint);
        rc = append_prompt(&r, &err);
        if (rc >= 0) rc = generate(&r, &err);
        signal(SIGINT, SIG_DFL);
        signal_session = NULL;
    }
    if (r.engine) lever_engine_get_info(r.engine, &r.report.info); /* a device may have failed meanwhile */
    int code = rc < 0 ? exit_code_of(rc) : EXIT_OK;
    const bool differs = r.report.check.n_equal != r.report.check.n_compared;
    if (code == EXIT_OK && differs) code = EXIT_CHECK;
    if (code == EXIT_OK && r.report.stats.stop == LEVER_STOP_CANCEL) code = EXIT_CANCEL;
    if (a.json && r.engine && !run_report_json(&r.report, rc < 0 ? &err : NULL) && code == EXIT_OK)
        code = EXIT_IO;
    if (!a.json && !a.quiet && r.report.stats.n_new_tokens) run_report_text(&r.report);
    if (rc < 0) app_fail(rc, &err);
    run_report_fini(&r.report);
    close_all(&r);
    if (trace_close(&r.trace, &err) < 0 && code == EXIT_OK) code = app_fail(LEVER_EIO, &err);
    return code;
}
