/* The commands of `lever chat`. Every line of theirs fits 40 columns, unless a name in it is long.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"

const char chat_command_names[] =
    "/help /reset /system /save /load /stats /seed /temp /think /draft /quit";

static const char help[] = "/help         this page\n"
                           "/reset        begin a new talk\n"
                           "/system TEXT  set the system message;\n"
                           "              - removes it\n"
                           "/save FILE    write the talk as JSON\n"
                           "/load FILE    go on with a saved talk\n"
                           "/stats        speed and size\n"
                           "/seed N       set the seed\n"
                           "/temp T       set the temperature\n"
                           "/think MODE   on, off or hide\n"
                           "/draft on     colours by origin; off\n"
                           "/quit         leave, as Ctrl-D does\n"
                           "Without a word behind it, a setting is\n"
                           "shown. Ctrl-C stops an answer.\n"
                           "\\ at the end of a line: it goes on. \"\"\"\n"
                           "begins and ends several lines. Alt-Enter\n"
                           "breaks a line. // sends a first /.\n";

static void note(const char *text) { fprintf(stderr, "%s\n", text); }

static void show(const char *name, const char *text, size_t len)
{
    fprintf(stderr, "%s: ", name);
    screen_escape(stderr, text, len);
    fputc('\n', stderr);
}

/* ---- settings ---- */

static int apply_sampling(chat *c, const lever_sampling *s, lever_error *err)
{
    const int rc = lever_session_set_sampling(c->session, s, err);
    if (rc >= 0) c->about.sampling = *s;
    return rc;
}

static int set_seed(chat *c, const char *arg, lever_error *err)
{
    char *end;
    lever_sampling s = c->about.sampling;
    errno = 0;
    s.seed = strtoull(arg, &end, 10);
    if (*arg && (errno || *end || arg[0] == '-')) {
        snprintf(err->msg, sizeof err->msg, "a seed is a whole number, 0 or more");
        return LEVER_EINVAL;
    }
    const int rc = *arg ? apply_sampling(c, &s, err) : LEVER_OK;
    if (rc >= 0) fprintf(stderr, "seed %llu\n", (unsigned long long)c->about.sampling.seed);
    return rc;
}

static int set_temp(chat *c, const char *arg, lever_error *err)
{
    char *end;
    lever_sampling s = c->about.sampling;
    s.temperature = strtof(arg, &end);
    if (*arg && *end) {
        snprintf(err->msg, sizeof err->msg, "a temperature is a number, 0 or more");
        return LEVER_EINVAL;
    }
    const int rc = *arg ? apply_sampling(c, &s, err) : LEVER_OK;
    if (rc >= 0) fprintf(stderr, "temperature %g\n", (double)c->about.sampling.temperature);
    return rc;
}

static int set_think(chat *c, const char *arg, lever_error *err)
{
    if (*arg && strcmp(arg, "on") && strcmp(arg, "off") && strcmp(arg, "hide")) {
        snprintf(err->msg, sizeof err->msg, "/think is on, off or hide");
        return LEVER_EINVAL;
    }
    if (*arg) snprintf(c->about.think, sizeof c->about.think, "%s", arg);
    c->screen.hide_reasoning = !strcmp(c->about.think, "hide");
    fprintf(stderr, "think %s\n", c->about.think);
    if (!strcmp(c->about.think, "off") && c->form.thinking != LEVER_THINKING_SWITCH)
        note("(this model's form has no switch)");
    return LEVER_OK;
}

static int set_draft(chat *c, const char *arg, lever_error *err)
{
    if (*arg && strcmp(arg, "on") && strcmp(arg, "off")) {
        snprintf(err->msg, sizeof err->msg, "/draft is on or off");
        return LEVER_EINVAL;
    }
    if (*arg) c->screen.show_draft = !strcmp(arg, "on");
    fprintf(stderr, "draft %s\n", c->screen.show_draft ? "on" : "off");
    if (c->screen.show_draft && !c->screen.colour) note("(no colours here)");
    if (c->screen.show_draft) screen_legend(&c->screen, stderr);
    return LEVER_OK;
}

static int set_system(chat *c, const char *arg, lever_error *err)
{
    const bool none = !strcmp(arg, "-");
    if (*arg && !talk_set_system(&c->talk, arg, none ? 0 : strlen(arg))) {
        snprintf(err->msg, sizeof err->msg, "out of memory");
        return LEVER_ENOMEM;
    }
    const lever_message *m = talk_system(&c->talk);
    if (m) show("system", m->text, m->len);
    else if (c->form.default_system)
        show("system (the model's own)", c->form.default_system, strlen(c->form.default_system));
    else note("no system message");
    return LEVER_OK;
}

/* ---- talks ---- */

static int reset(chat *c, const char *arg, lever_error *err)
{
    (void)arg, (void)err;
    talk_cut(&c->talk, talk_system(&c->talk) ? 1 : 0); /* what the model is told to be stays */
    c->n_answers = c->n_new = c->n_drafted = c->n_accepted = c->decode_ns = c->n_decode = 0;
    note("a new talk");
    return LEVER_OK;
}

/* "~/x" in the home folder. Returns buf, or path itself. */
static const char *at_home(const char *path, char *buf, size_t cap)
{
    const char *home = getenv("HOME");
    if (strncmp(path, "~/", 2) || !home) return path;
    return (size_t)snprintf(buf, cap, "%s%s", home, path + 1) < cap ? buf : path;
}

static int need_file(const char *arg, lever_error *err)
{
    if (*arg) return LEVER_OK;
    snprintf(err->msg, sizeof err->msg, "name a file");
    return LEVER_EINVAL;
}

static int save(chat *c, const char *arg, lever_error *err)
{
    char buf[4096];
    int rc = need_file(arg, err);
    if (rc >= 0) rc = talk_save(&c->talk, &c->about, at_home(arg, buf, sizeof buf), err);
    if (rc >= 0) fprintf(stderr, "saved %zu messages\n", c->talk.n);
    return rc;
}

int chat_load(chat *c, const char *path, lever_error *err)
{
    char buf[4096];
    talk loaded = { 0 };
    talk_about about = c->about;
    int rc = talk_load(&loaded, &about, at_home(path, buf, sizeof buf), err);
    if (rc >= 0) rc = apply_sampling(c, &about.sampling, err);
    if (rc < 0) {
        talk_free(&loaded);
        return rc;
    }
    talk_free(&c->talk);
    c->talk = loaded;
    const bool known =
        !strcmp(about.think, "on") || !strcmp(about.think, "off") || !strcmp(about.think, "hide");
    if (known) memcpy(c->about.think, about.think, sizeof about.think);
    c->screen.hide_reasoning = !strcmp(c->about.think, "hide");
    fprintf(stderr, "loaded %zu messages\n", c->talk.n);
    if (strcmp(about.model, c->about.model)) show("saved with", about.model, strlen(about.model));
    return LEVER_OK;
}

static int load(chat *c, const char *arg, lever_error *err)
{
    const int rc = need_file(arg, err);
    return rc < 0 ? rc : chat_load(c, arg, err);
}

/* ---- numbers ---- */

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

static int stats(chat *c, const char *arg, lever_error *err)
{
    const lever_stats *s = &c->last;
    char a[32], b[32];
    size_t n_tokens;
    (void)arg, (void)err;
    lever_session_tokens(c->session, &n_tokens);
    if (c->n_answers) {
        fprintf(stderr, "last answer: %u tokens\n", s->n_new_tokens);
        fprintf(stderr, "  %.1f tokens/s, %.2f per sweep\n",
                ratio(s->n_decode_tokens, (double)s->decode_ns * 1e-9),
                ratio(s->n_decode_tokens, s->n_cycles));
        fprintf(stderr, "  drafted %u, right %.0f%%\n", s->n_drafted,
                100 * ratio(s->n_accepted, s->n_drafted));
        fprintf(stderr, "  evaluated before it: %u tokens\n", s->n_prompt_tokens);
        fprintf(stderr, "  kept from earlier: %lld\n", (long long)c->kept);
        fprintf(stderr, "talk: %llu answers, %llu tokens\n", (unsigned long long)c->n_answers,
                (unsigned long long)c->n_new);
        fprintf(stderr, "  %.1f tokens/s, drafts right %.0f%%\n",
                ratio((double)c->n_decode, (double)c->decode_ns * 1e-9),
                100 * ratio((double)c->n_accepted, (double)c->n_drafted));
    }
    fprintf(stderr, "context: %zu of %u tokens\n", n_tokens, c->info.n_ctx);
    fprintf(stderr, "policy: %s\nform: %s\n", c->info.policy, c->form.name);
    if (!c->n_answers) return LEVER_OK;
    fprintf(stderr, "memory: %s of %s\n", format_bytes(a, sizeof a, (double)s->peak_rss_bytes),
            format_bytes(b, sizeof b, (double)c->info.mem_limit_bytes));
    return LEVER_OK;
}

static int show_help(chat *c, const char *arg, lever_error *err)
{
    (void)c, (void)arg, (void)err;
    fputs(help, stderr);
    return LEVER_OK;
}

static const struct {
    const char *name;
    int (*run)(chat *c, const char *arg, lever_error *err);
} commands[] = {
    { "help", show_help },  { "reset", reset },     { "system", set_system }, { "save", save },
    { "load", load },       { "stats", stats },     { "seed", set_seed },     { "temp", set_temp },
    { "think", set_think }, { "draft", set_draft },
};

static void complain(int rc, const lever_error *err, int *code)
{
    const char *text = err->msg[0] ? err->msg : lever_status_text(rc);
    screen_escape(stderr, text, strlen(text));
    fputc('\n', stderr);
    if (*code == EXIT_OK) *code = exit_code_of(rc);
}

/* The command of this name with what stands behind it. */
static int run_command(chat *c, const char *name, size_t len, const char *arg, lever_error *err)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == len && !strncmp(commands[i].name, name, len))
            return commands[i].run(c, arg, err);
    snprintf(err->msg, sizeof err->msg, "no command '/%.*s'; /help lists them", (int)(len < 30 ? len : 30),
             name);
    return LEVER_EINVAL;
}

bool chat_command(chat *c, const char *line, int *code)
{
    const char *name = line + 1;
    const size_t len = strcspn(name, " \t\n");
    if (len == 4 && (!strncmp(name, "quit", 4) || !strncmp(name, "exit", 4))) return false;
    lever_error err = { 0 };
    char *arg = strdup(name + len + strspn(name + len, " \t\n"));
    int rc = LEVER_ENOMEM;
    if (arg) {
        size_t n = strlen(arg);
        while (n && strchr(" \t\n", arg[n - 1])) arg[--n] = '\0';
        rc = run_command(c, name, len, arg, &err);
    }
    free(arg);
    if (rc < 0) complain(rc, &err, code);
    return true;
}
