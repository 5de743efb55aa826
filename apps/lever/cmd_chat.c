/* `lever chat`: a talk with a model, at a terminal or through pipes. Answers go to standard output, all
 * else to standard error. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache_dir.h"
#include "chat.h"
#include "chat_input.h"
#include "plan_machine.h"
#include "terminal.h"

/* What this command takes beside the engine: libedit and its terminal's description, the locale, history.
 * The peak resident set of a talk of six answers, less that of lever run with the same tiny model, was
 * 1.4 MiB (glibc 2.36, x86-64). */
enum { OWN_BYTES = 3 << 19 };

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "talk", 0 },
    { "-sys --system", OPTION_TEXT, "TEXT", "system message: what the model is told to be",
      offsetof(chat_args_all, system) },
    { "--load", OPTION_TEXT, "FILE", "go on with a talk that /save has written",
      offsetof(chat_args_all, load) },
    { "-n --n-predict", OPTION_U32, "N", "tokens of an answer at most; default 0 = until it ends",
      offsetof(chat_args_all, n_predict) },
    CHAT_OPTIONS(chat_args_all, chat),
    { "--show-draft", OPTION_FLAG, NULL,
      "colour each token by how it came: drafted (green), a free candidate\n"
      "(blue-green), from the target (yellow)",
      offsetof(chat_args_all, show_draft) },
    MODEL_OPTIONS(chat_args_all, model),
    LEARN_OPTION(chat_args_all, model),
    SAMPLING_OPTIONS(chat_args_all, sampling),
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(chat_args_all, help) },
};

/* ---- one answer ---- */

static void on_part(void *user, int part, const char *text, size_t len)
{
    chat *c = user;
    screen_part(&c->screen, part, text, len);
}

static bool on_token(void *user, const lever_token_event *e)
{
    chat *c = user;
    if (e->token >= 0) c->screen.source = e->source;
    return talk_answer_push(&c->answer, e->text, e->text_bytes) && !c->screen.write_errno;
}

static void count(chat *c)
{
    c->n_answers++;
    c->n_new += c->last.n_new_tokens;
    c->n_drafted += c->last.n_drafted;
    c->n_accepted += c->last.n_accepted;
    c->n_decode += c->last.n_decode_tokens;
    c->decode_ns += c->last.decode_ns;
}

static void tell_stop(const chat *c)
{
    const char *why = c->last.stop == LEVER_STOP_CANCEL       ? "(stopped)"
                      : c->last.stop == LEVER_STOP_MAX_TOKENS ? "(stopped: that is what -n allows)"
                      : c->last.stop == LEVER_STOP_CONTEXT    ? "(the context is full: /reset, or -c)"
                                                              : NULL;
    if (why) fprintf(stderr, "%s\n", why);
}

static int no_memory(lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "out of memory");
    return LEVER_ENOMEM;
}

/* The session is at the end of a question; show its answer and add it to the talk. */
static int answer(chat *c, lever_error *err)
{
    const bool think = strcmp(c->about.think, "off");
    const lever_generate_params p = { .max_tokens = c->args->n_predict };
    talk_answer_begin(&c->answer, c->engine, think, on_part, c);
    screen_begin(&c->screen);
    terminal_answering(c->session);
    const int rc = lever_session_generate(c->session, &p, on_token, c, &c->last, err);
    terminal_answering(NULL);
    const bool added = talk_answer_end(&c->answer, &c->talk);
    screen_end(&c->screen);
    if (rc >= 0) {
        count(c);
        tell_stop(c);
    }
    screen_gap(&c->screen);
    return rc >= 0 && !added ? no_memory(err) : rc;
}

/* A question: it stays in the talk only with something of an answer. */
static int ask(chat *c, const char *text, lever_error *err)
{
    const size_t before = c->talk.n;
    const bool think = strcmp(c->about.think, "off");
    if (!talk_add(&c->talk, "user", text, strlen(text))) return no_memory(err);
    c->kept = lever_session_set_messages(c->session, c->talk.m, c->talk.n, think, err);
    if (c->kept < 0) {
        talk_cut(&c->talk, before);
        return (int)c->kept;
    }
    const int rc = answer(c, err);
    if (c->talk.n == before + 2 && c->talk.m[before + 1].len > 0) return rc;
    if (rc < 0 || c->last.stop == LEVER_STOP_CANCEL) talk_cut(&c->talk, before);
    return rc;
}

/* ---- the talk ---- */

static void greet(const chat *c)
{
    if (!c->asks) return;
    fprintf(stderr, "%s, form %s%s\n", c->about.model, c->form.name,
            c->form.has_template ? "" : " (it has none)");
    if (c->form.note) fprintf(stderr, "(%s)\n", c->form.note);
    fprintf(stderr, "/help lists commands, Ctrl-D leaves.\n");
    if (c->screen.show_draft) screen_legend(&c->screen, stderr);
    fputc('\n', stderr);
}

static bool is_over(const chat *c, int *code)
{
    if (!c->screen.write_errno) return false;
    fprintf(stderr, "lever: the answer can not be written to standard output: %s\n",
            strerror(c->screen.write_errno));
    *code = EXIT_IO;
    return true;
}

/* Messages until there are no more. Returns the exit code: that of the first thing that failed. */
static int talk_on(chat *c, chat_input *in)
{
    int code = EXIT_OK;
    bool again = false; /* the last thing was a Ctrl-C, too */
    for (;;) {
        lever_error err = { 0 };
        const enum chat_input_kind kind = chat_input_read(in);
        if (kind == CHAT_INPUT_END) {
            if (c->asks) fputc('\n', stderr);
            return code;
        }
        if (kind == CHAT_INPUT_FAILED) {
            fprintf(stderr, "lever: the messages can not be read: %s\n", strerror(errno));
            return EXIT_IO;
        }
        if (kind == CHAT_INPUT_CLEARED && c->asks) {
            fputc('\n', stderr);
            again = false;
            continue;
        }
        if (kind == CHAT_INPUT_INTERRUPT || kind == CHAT_INPUT_CLEARED) {
            if (c->asks) fputc('\n', stderr);
            if (again || !c->asks) return EXIT_CANCEL;
            fputs("(Ctrl-C again, or Ctrl-D, leaves)\n", stderr);
            again = true;
            continue;
        }
        again = false;
        if (in->text[0] == '/' && in->text[1] != '/') {
            int failed = EXIT_OK;
            if (!chat_command(c, in->text, &failed)) return code;
            if (!c->asks && code == EXIT_OK) code = failed;
            continue;
        }
        const int rc = ask(c, in->text + (in->text[0] == '/'), &err);
        if (is_over(c, &code)) return code;
        if (rc < 0) app_fail(rc, &err);
        if (rc < 0 && !c->asks && code == EXIT_OK) code = exit_code_of(rc);
        if (!c->asks && c->last.stop == LEVER_STOP_CANCEL) return EXIT_CANCEL;
    }
}

/* ---- beginning ---- */

static void on_load(void *user, const char *what, uint64_t done, uint64_t total)
{
    progress_show(user, what, done, total);
}

/* The form of the talk. A model without any template gets a transcript; one with an unknown template is for
 * the user to decide about. */
static int choose_form(chat *c, lever_error *err)
{
    int rc = chat_args_apply(&c->args->chat, c->engine, err);
    if (rc < 0) return rc;
    lever_chat_get_info(c->engine, &c->form);
    if (!c->form.name && !c->form.has_template) rc = lever_chat_choose(c->engine, "plain", err);
    else if (!c->form.name) rc = lever_chat_choose(c->engine, NULL, err);
    lever_chat_get_info(c->engine, &c->form);
    return rc;
}

static int open_all(chat *c, model_args *model, lever_config *config, lever_error *err)
{
    progress load = { 0 };
    static lever_advise_params advise;
    plan_machine_apply(&advise, model, config, c->about.sampling.temperature);
    config->progress = on_load;
    config->progress_user = &load;
    config->caller_bytes = OWN_BYTES;
    int rc = lever_engine_open(&c->engine, config, err);
    progress_clear(&load);
    if (rc >= 0 && !model->no_learn) learnt_load(c->engine);
    if (rc >= 0) rc = choose_form(c, err);
    if (rc >= 0) rc = lever_session_open(&c->session, c->engine, &c->about.sampling, err);
    if (rc < 0) return rc;
    lever_engine_get_info(c->engine, &c->info);
    model_args_device_note(c->engine);
    if (c->info.exit_note) fprintf(stderr, "lever: no pruning: %s\n", c->info.exit_note);
    const char *slash = strrchr(config->model_path, '/');
    snprintf(c->about.model, sizeof c->about.model, "%s", slash ? slash + 1 : config->model_path);
    snprintf(c->about.form, sizeof c->about.form, "%s", c->form.name);
    if (c->args->load) rc = chat_load(c, c->args->load, err);
    const char *system = c->args->system;
    if (rc >= 0 && system && !talk_set_system(&c->talk, system, strlen(system))) rc = no_memory(err);
    return rc;
}

static int talk_from_terminal(chat *c)
{
    chat_input in;
    greet(c);
    terminal_begin();
    chat_input_open(&in, chat_command_names, c->screen.colour);
    const int code = talk_on(c, &in);
    chat_input_close(&in);
    terminal_end();
    return code;
}

int cmd_chat(int argc, char **argv)
{
    static chat_args_all a; /* static: holds paths, too large for a frame */
    static chat c;
    const char *none[1];
    int n;
    model_args_init(&a.model);
    lever_sampling_init(&a.sampling);
    if (options_parse(options, sizeof options / sizeof *options, &a, argc, argv, 2, none, 0, &n))
        return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever chat [options]\n\nTalks with a model that may be larger than the memory limit. "
             "/help in the talk lists\nits commands.");
        options_help(options, sizeof options / sizeof *options);
        return EXIT_OK;
    }
    if (chat_args_check(&a.chat)) return EXIT_USAGE;
    lever_config config;
    const int refused = model_args_config(&a.model, &config);
    if (refused) return refused;
    lever_error err = { 0 };
    c = (chat){ .args = &a, .about = { .sampling = a.sampling }, .asks = isatty(STDIN_FILENO) };
    snprintf(c.about.think, sizeof c.about.think, "%s", a.chat.think ? a.chat.think : "on");
    screen_init(&c.screen);
    c.screen.show_draft = a.show_draft;
    c.screen.hide_reasoning = !strcmp(c.about.think, "hide");
    signal(SIGPIPE, SIG_IGN); /* a closed reader is a write error, not a silent death */
    const int rc = open_all(&c, &a.model, &config, &err);
    int code = rc < 0 ? exit_code_of(rc) : EXIT_OK;
    if (rc < 0) app_fail(rc, &err);
    if (rc >= 0) code = talk_from_terminal(&c);
    talk_answer_free(&c.answer);
    talk_free(&c.talk);
    lever_session_close(&c.session);
    if (c.engine && !a.model.no_learn) learnt_store(c.engine);
    lever_engine_close(&c.engine);
    return code;
}
