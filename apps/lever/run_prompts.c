/* SPDX-License-Identifier: MIT */
#include "run_prompts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_report.h"

enum { MAX_KINDS = 32 };

typedef struct kind_total {
    char name[24];
    uint32_t n_prompts;
    uint64_t n_tokens, n_cycles, n_drafted, n_accepted, decode_ns;
} kind_total;

typedef struct job {
    const run_prompts_args *args;
    const lever_engine *engine;
    lever_session *session;
    talk talk;
    talk_answer reader;
    int part;          /* of the answer, what was written last */
    bool is_talk;      /* the prompt is messages of a talk */
    run_report answer; /* text and statistics of the answer being made */
    kind_total kinds[MAX_KINDS];
    size_t n_kinds;
    uint32_t n_skipped;
    bool cancelled, write_failed;
} job;

static bool write_text(job *j, const char *text, size_t n)
{
    if (j->args->json) return run_report_add_text(&j->answer, text, n);
    j->write_failed |= fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0;
    return !j->write_failed;
}

static void on_part(void *user, int part, const char *text, size_t n)
{
    job *j = user;
    if (part != j->part && part == LEVER_PART_REASONING) write_text(j, "<think>\n", 8);
    if (part != j->part && part == LEVER_PART_ANSWER) write_text(j, "\n</think>\n\n", 11);
    j->part = part;
    write_text(j, text, n);
}

static bool on_token(void *user, const lever_token_event *e)
{
    job *j = user;
    if (e->text_bytes == 0) return true;
    if (!j->is_talk) return write_text(j, e->text, e->text_bytes);
    return talk_answer_push(&j->reader, e->text, e->text_bytes) && !j->write_failed;
}

static void count(job *j, const prompt *p, size_t turn)
{
    size_t i = 0;
    while (i < j->n_kinds && strcmp(j->kinds[i].name, p->kind)) i++;
    if (i == j->n_kinds) {
        if (i == MAX_KINDS) return;
        snprintf(j->kinds[j->n_kinds++].name, sizeof j->kinds[i].name, "%.23s", p->kind);
    }
    kind_total *k = &j->kinds[i];
    const lever_stats *s = &j->answer.stats;
    k->n_prompts += turn == 0;
    k->n_tokens += s->n_decode_tokens;
    k->n_cycles += s->n_cycles;
    k->n_drafted += s->n_drafted;
    k->n_accepted += s->n_accepted;
    k->decode_ns += s->decode_ns;
}

static int no_memory(lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "out of memory");
    return err->code = LEVER_ENOMEM;
}

int prompt_append(lever_session *session, const prompt *p, size_t turn, bool raw, bool think, talk *t,
                  lever_error *err)
{
    const char *text = p->turns[turn];
    if (p->continues || raw) return lever_session_append_text(session, text, SIZE_MAX, 0, err);
    if (!talk_add(t, "user", text, strlen(text))) return no_memory(err);
    const int64_t rc = lever_session_set_messages(session, t->m, t->n, think, err);
    return rc < 0 ? (int)rc : LEVER_OK;
}

static int answer_turn(job *j, const prompt *p, size_t turn, lever_error *err)
{
    const run_prompts_args *a = j->args;
    const lever_generate_params params = { .max_tokens = a->n_predict, .ignore_end = a->ignore_eos };
    j->answer.text_len = 0;
    j->answer.stats = (lever_stats){ 0 };
    int rc = prompt_append(j->session, p, turn, a->raw, a->think, &j->talk, err);
    if (rc >= 0) {
        j->is_talk = j->talk.n > 0;
        j->part = LEVER_PART_ANSWER;
        if (j->is_talk) talk_answer_begin(&j->reader, j->engine, a->think, on_part, j);
        lever_session_tokens(j->session, &j->answer.n_prompt);
        rc = lever_session_generate(j->session, &params, on_token, j, &j->answer.stats, err);
        if (j->is_talk && !talk_answer_end(&j->reader, &j->talk) && rc >= 0) rc = no_memory(err);
    }
    if (rc >= 0) count(j, p, turn);
    j->cancelled = j->answer.stats.stop == LEVER_STOP_CANCEL;
    if (a->json)
        j->write_failed |= !run_report_json_line(&j->answer, p->id, p->kind, turn, rc < 0 ? err : NULL);
    else
        j->write_failed |= fputs("\n\n", stdout) < 0;
    return rc;
}

/* LEVER_ELIMIT of a prompt, too long for the context, does not end the run. */
static int answer_prompt(job *j, const prompt *p, lever_error *err)
{
    int rc = lever_session_reset(j->session, NULL, err);
    talk_cut(&j->talk, 0);
    for (size_t t = 0; t < p->n_turns && rc >= 0 && !j->cancelled && !j->write_failed; t++) {
        if (!j->args->json) printf("=== %s%s", p->id, p->continues ? "\n" : "");
        if (!j->args->json && !p->continues) printf(", message %zu of %zu\n", t + 1, p->n_turns);
        rc = answer_turn(j, p, t, err);
    }
    if (rc != LEVER_ELIMIT) return rc;
    fprintf(stderr, "lever: prompt '%s' left out: %s\n", p->id, err->msg);
    j->n_skipped++;
    return LEVER_OK;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void print_totals(const job *j)
{
    kind_total all = { .name = "all" };
    fprintf(stderr, "\n%-12s %8s %9s %9s %17s %9s\n", "kind", "prompts", "tokens", "tokens/s",
            "tokens per sweep", "accepted");
    for (size_t i = 0; i <= j->n_kinds; i++) {
        const kind_total *k = i < j->n_kinds ? &j->kinds[i] : &all;
        if (i == j->n_kinds && i == 1) break;
        fprintf(stderr, "%-12s %8u %9llu %9.1f %17.2f %8.0f%%\n", k->name, k->n_prompts,
                (unsigned long long)k->n_tokens, ratio((double)k->n_tokens, (double)k->decode_ns * 1e-9),
                ratio((double)k->n_tokens, (double)k->n_cycles),
                100 * ratio((double)k->n_accepted, (double)k->n_drafted));
        all.n_prompts += k->n_prompts, all.n_tokens += k->n_tokens, all.n_cycles += k->n_cycles;
        all.n_drafted += k->n_drafted, all.n_accepted += k->n_accepted, all.decode_ns += k->decode_ns;
    }
}

static int load_files(const run_prompts_args *a, prompt_set *set, lever_error *err)
{
    char path[4096];
    for (const char *p = a->files;; p++) {
        const size_t len = strcspn(p, ",");
        snprintf(path, sizeof path, "%.*s", (int)len, p);
        const int rc = prompts_load(set, path, a->limit, err);
        p += len;
        if (rc < 0 || !*p) return rc;
    }
}

int run_prompts(const lever_engine *engine, lever_session *session, const run_prompts_args *args)
{
    job j = { .args = args, .engine = engine, .session = session };
    prompt_set set = { 0 };
    progress shown = { 0 };
    lever_error err = { 0 };
    int rc = load_files(args, &set, &err);
    for (size_t i = 0; i < set.n && rc >= 0 && !j.cancelled && !j.write_failed; i++) {
        if (args->json) progress_show(&shown, "prompts", i, set.n);
        rc = answer_prompt(&j, &set.items[i], &err);
    }
    progress_clear(&shown);
    if (!args->quiet && j.n_kinds) print_totals(&j);
    prompts_free(&set);
    talk_free(&j.talk);
    talk_answer_free(&j.reader);
    run_report_fini(&j.answer);
    if (rc < 0) return app_fail(rc, &err);
    if (j.write_failed) {
        fprintf(stderr, "lever: the answers can not be written to standard output: %s\n", strerror(errno));
        return EXIT_IO;
    }
    return j.cancelled ? EXIT_CANCEL : j.n_skipped ? EXIT_LIMIT : EXIT_OK;
}
