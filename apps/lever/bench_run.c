/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench_run.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench_sensors.h"
#include "run_prompts.h"

enum { WARM_UP_TOKENS = 8 };

typedef struct job {
    bench_setup  *s;
    bench_csv    *csv;
    bench_rows   *rows;
    bench_result *result;
    lever_engine *engine;
    lever_session *session;
    talk          talk;         /* the messages of a prompt, and their answers */
    talk_answer   reader;
    lever_engine_info info;
    uint32_t      cell;         /* the engine is open for; meaningless without one */
    energy_meter  energy;
    uint64_t      hash;         /* of the answer being made */
    uint64_t      model_bytes, draft_bytes;
    uint64_t      n_wanted, n_done; /* rows to be measured in this run, and those done or left out */
    bool          counts;       /* the answer is not for warming up */
    uint32_t      n_now;        /* tokens of the answer being made */
    progress      load, run;
    char          line[160];    /* of the progress */
} job;

static volatile sig_atomic_t interrupted;

static void on_sigint(int sig)
{
    static const char text[] = "\nlever: ending after this prompt; Ctrl-C again ends at once\n";
    (void)sig;
    interrupted = 1;
    signal(SIGINT, SIG_DFL);
    const ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
}

/* ---- keys ---- */

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void add_option(char *buf, size_t cap, const char *fmt, ...)
{
    const size_t at = strlen(buf);
    va_list args;
    va_start(args, fmt);
    vsnprintf(buf + at, cap - at, at ? fmt : fmt + 1, args); /* each fmt begins with a space */
    va_end(args);
}

/* What was asked for beyond the columns of the key, as on the command line. */
static void describe_options(const bench_setup *s, char *buf, size_t cap)
{
    const model_args *m = &s->args->model;
    *buf = '\0';
    if (s->config.n_ctx) add_option(buf, cap, " -c %u", s->config.n_ctx);
    if (m->threads) add_option(buf, cap, " -t %u", m->threads);
    if (m->rows) add_option(buf, cap, " -b %u", m->rows);
    if (m->cpus) add_option(buf, cap, " --cpus %s", m->cpus);
    if (m->io) add_option(buf, cap, " --io %s", m->io);
    if (m->flash_model) add_option(buf, cap, " --flash-model %s", m->flash_model);
    if (m->flash_limit) add_option(buf, cap, " --flash-limit %" PRIu64, m->flash_limit);
    if (m->verify_reads) add_option(buf, cap, " --verify-reads");
    if (m->prune) add_option(buf, cap, " --prune %s", m->prune);
    if (m->exit) add_option(buf, cap, " --exit %s", m->exit);
    if (m->isa) add_option(buf, cap, " --isa %s", m->isa);
    if (m->kv_type) add_option(buf, cap, " --kv %s", m->kv_type);
    if (m->device) add_option(buf, cap, " --device %s", m->device);
    if (m->draft_device) add_option(buf, cap, " --device-draft %s", m->draft_device);
    if (m->device_min_rows) add_option(buf, cap, " --device-min-rows %u", m->device_min_rows);
    if (m->project) add_option(buf, cap, " --project %s", m->project);
    if (m->project_device) add_option(buf, cap, " --project-device");
    if (s->args->raw) add_option(buf, cap, " --raw");
    if (s->args->chat.template_name) add_option(buf, cap, " --chat-template %s", s->args->chat.template_name);
    if (!chat_args_think(&s->args->chat)) add_option(buf, cap, " --think off");
    if (s->args->ignore_eos) add_option(buf, cap, " --ignore-eos");
}

static const char *rule_of(const bench_setup *s) { return s->config.verify ? s->config.verify : "match"; }

static bench_row key_of(const job *j, uint32_t round, uint32_t cell, uint32_t i_prompt, uint32_t i_policy)
{
    const bench_setup *s = j->s;
    const bench_prompt *p = &s->prompts[i_prompt];
    return (bench_row){ .machine = j->result->machine, .options = j->result->options,
                        .model = path_name(s->config.model_path), .model_bytes = j->model_bytes,
                        .draft = s->config.draft_path ? path_name(s->config.draft_path) : "",
                        .draft_bytes = j->draft_bytes,
                        .mem = s->cells[cell].mem, .share_asked = s->cells[cell].asked,
                        .residency = s->cells[cell].residency, .most_rows = s->most_rows,
                        .n_predict = s->args->n_predict, .seed = s->args->seed, .round = round,
                        .temperature = (double)s->args->temperature, .file = path_name(s->paths[p->file]),
                        .prompt = p->text->id, .policy = s->policies[i_policy],
                        .verify = rule_of(s),
                        .celsius = NAN, .energy_j = NAN,
                        .cell = cell, .i_prompt = i_prompt, .i_policy = i_policy };
}

/* ---- texts ---- */

static int out_of_memory(lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "out of memory");
    return err->code = LEVER_ENOMEM;
}

/* Rules other than match give every policy a text of its own. */
static bool texts_are_one(const bench_setup *s)
{
    return !(s->args->temperature > 0) || !strcmp(rule_of(s), "match");
}

/* Keep a row whose text is that of all others of its prompt; another text ends the run. */
static int keep(job *j, const bench_row *r, lever_error *err)
{
    const bench_row *other = texts_are_one(j->s) ? bench_rows_other_text(j->rows, r) : NULL;
    if (!other) return bench_rows_add(j->rows, r) ? LEVER_OK : out_of_memory(err);
    j->result->texts_differ = true;
    snprintf(err->msg, sizeof err->msg,
             "prompt '%s' of %s: the text of '%s' (%s, limit of %" PRIu64 " bytes) is not the text of '%s' "
             "(%s, limit of %" PRIu64 " bytes)", r->prompt, r->file, r->policy, r->residency,
             r->mem_limit_bytes, other->policy, other->residency, other->mem_limit_bytes);
    return LEVER_OK;
}

static bool is_measured(const job *j, uint32_t round, uint32_t cell, uint32_t i_prompt, uint32_t i_policy)
{
    for (size_t i = 0; i < j->result->n_resumed; i++) {
        const bench_row *r = &j->rows->items[i];
        if (r->round == round && r->cell == cell && r->i_prompt == i_prompt && r->i_policy == i_policy)
            return true;
    }
    return false;
}

/* Take over what the file has; count what is left. */
static int resume(job *j, lever_error *err)
{
    const bench_setup *s = j->s;
    for (uint32_t round = 0; round < s->args->rounds; round++)
        for (uint32_t c = 0; c < s->n_cells; c++)
            for (uint32_t i = 0; i < s->n_prompts; i++)
                for (uint32_t k = 0; k < s->n_policies && !j->result->texts_differ; k++) {
                    bench_row r = key_of(j, round, c, i, k);
                    const bool found = s->args->resume && bench_csv_find(j->csv, &r);
                    j->n_wanted += !found;
                    const int rc = found ? keep(j, &r, err) : LEVER_OK;
                    if (rc < 0) return rc;
                }
    j->result->n_resumed = (uint32_t)j->rows->n;
    return LEVER_OK;
}

/* ---- one answer ---- */

static bool on_token(void *user, const lever_token_event *e)
{
    job *j = user;
    j->hash = bench_hash(j->hash, e->text, e->text_bytes);
    j->n_now += e->token >= 0;
    const uint64_t whole = 1000, most = j->s->args->n_predict;
    const uint64_t part = most ? j->n_now * whole / most : 0;
    if (j->n_wanted)
        progress_show(&j->run, j->line, j->n_done * whole + (part < whole ? part : whole - 1),
                      j->n_wanted * whole);
    return j->talk.n == 0 || talk_answer_push(&j->reader, e->text, e->text_bytes);
}

static void on_guess(void *user, const lever_guess *g)
{
    job *j = user;
    if (j->counts) stats_calibration_add(&j->result->guesses, g->prob, g->right);
}

/* One message of a prompt, or its text. */
static int answer_turn(job *j, const prompt *p, size_t turn, const lever_generate_params *params,
                       lever_stats *stats, lever_error *err)
{
    const bench_args *a = j->s->args;
    const bool think = chat_args_think(&a->chat);
    int rc = prompt_append(j->session, p, turn, a->raw, think, &j->talk, err);
    if (rc < 0) return rc;
    const bool is_talk = j->talk.n > 0;
    if (is_talk) talk_answer_begin(&j->reader, j->engine, think, NULL, NULL);
    rc = lever_session_generate(j->session, params, on_token, j, stats, err);
    return is_talk && !talk_answer_end(&j->reader, &j->talk) && rc >= 0 ? out_of_memory(err) : rc;
}

/* All messages of a prompt, one after the other; the statistics of their answers together in *r. */
static int answer(job *j, bench_row *r, uint32_t max_tokens, lever_error *err)
{
    const prompt *p = j->s->prompts[r->i_prompt].text;
    const lever_generate_params params = { .max_tokens = max_tokens, .ignore_end = j->s->args->ignore_eos,
                                           .policy = r->policy, .on_guess = on_guess, .guess_user = j };
    lever_stats stats;
    int rc = lever_session_reset(j->session, NULL, err);
    talk_cut(&j->talk, 0);
    j->hash = BENCH_HASH_START;
    j->n_now = 0;
    for (size_t t = 0; t < p->n_turns && rc >= 0; t++) {
        rc = answer_turn(j, p, t, &params, &stats, err);
        if (rc >= 0) bench_row_add(r, &stats);
    }
    snprintf(r->text_hash, sizeof r->text_hash, "%016" PRIx64, j->hash);
    return rc;
}

static void describe_run(const job *j, bench_row *r)
{
    const lever_engine_info *i = &j->info;
    const time_t now = time(NULL);
    struct tm utc;
    strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    snprintf(r->version, sizeof r->version, "%s", lever_version());
    snprintf(r->isa, sizeof r->isa, "%s", i->isa);
    snprintf(r->io, sizeof r->io, "%s", i->io_backend);
    snprintf(r->kv, sizeof r->kv, "%s", i->kv_type);
    r->threads = i->n_threads;
    r->ctx = i->n_ctx;
    r->resident_bytes = i->target_resident_bytes;
    r->streamed_bytes = i->target_streamed_bytes;
}

static int measure(job *j, bench_row *r, lever_error *err)
{
    snprintf(j->line, sizeof j->line, "%.60s, %.60s,", r->prompt, r->policy);
    energy_joules(&j->energy); /* counts from here */
    j->counts = true;
    const int rc = answer(j, r, j->s->args->n_predict, err);
    j->counts = false;
    r->energy_j = energy_joules(&j->energy);
    r->celsius = highest_celsius("/sys/class/thermal");
    if (rc < 0) return rc;
    describe_run(j, r);
    const int kept = keep(j, r, err);
    if (kept < 0 || j->result->texts_differ) return kept;
    j->result->n_measured++;
    return bench_csv_add(j->csv, r, err);
}

/* All policies on one prompt. A prompt too long for the context is left out, with all policies. */
static int measure_prompt(job *j, uint32_t round, uint32_t i, lever_error *err)
{
    bench_setup *s = j->s;
    for (uint32_t turn = 0; turn < s->n_policies && !j->result->texts_differ; turn++) {
        const uint32_t k = (turn + i + round) % s->n_policies;
        if (is_measured(j, round, j->cell, i, k)) continue;
        j->n_done++;
        if (s->prompts[i].left_out) continue;
        bench_row r = key_of(j, round, j->cell, i, k);
        const int rc = measure(j, &r, err);
        if (rc == LEVER_ELIMIT) {
            progress_clear(&j->run);
            fprintf(stderr, "lever: prompt '%s' left out: %s\n", s->prompts[i].text->id, err->msg);
            s->prompts[i].left_out = true;
            j->result->n_left_out++;
        } else if (rc < 0) {
            return rc;
        }
    }
    return LEVER_OK;
}

/* ---- engines ---- */

static void close_engine(job *j)
{
    lever_session_close(&j->session);
    lever_engine_close(&j->engine);
}

static void on_load(void *user, const char *what, uint64_t done, uint64_t total)
{
    progress_show(user, what, done, total);
}

static int open_engine(job *j, uint32_t cell, lever_error *err)
{
    lever_config c;
    lever_sampling sampling;
    bench_setup_config(j->s, cell, &c);
    c.progress = on_load;
    c.progress_user = &j->load;
    lever_sampling_init(&sampling);
    sampling.temperature = j->s->args->temperature;
    sampling.seed = j->s->args->seed;
    int rc = lever_engine_open(&j->engine, &c, err);
    progress_clear(&j->load);
    if (rc < 0) return rc;
    j->cell = cell;
    model_args_device_note(j->engine);
    lever_engine_get_info(j->engine, &j->info);
    rc = chat_args_apply(&j->s->args->chat, j->engine, err);
    if (rc < 0) return rc;
    return lever_session_open(&j->session, j->engine, &sampling, err);
}

/* The first sweep finds caches, clocks and page tables cold. Of a prompt that fits; else there is nothing to
 * warm up for. */
static int warm_up(job *j, uint32_t i_prompt, lever_error *err)
{
    const uint32_t n = j->s->args->n_predict;
    bench_row r = key_of(j, 0, j->cell, i_prompt, j->s->n_policies - 1);
    snprintf(j->line, sizeof j->line, "warming up,");
    const int rc = answer(j, &r, n && n < WARM_UP_TOKENS ? n : WARM_UP_TOKENS, err);
    return rc == LEVER_ELIMIT ? LEVER_OK : rc;
}

static bool wants_prompt(const job *j, uint32_t round, uint32_t cell, uint32_t i)
{
    for (uint32_t k = 0; k < j->s->n_policies; k++)
        if (!is_measured(j, round, cell, i, k)) return true;
    return false;
}

static int measure_cell(job *j, uint32_t round, uint32_t cell, lever_error *err)
{
    int rc = LEVER_OK;
    for (uint32_t i = 0; i < j->s->n_prompts && rc >= 0 && !j->result->texts_differ; i++) {
        if (!wants_prompt(j, round, cell, i)) continue;
        j->result->cancelled = interrupted;
        if (interrupted) break;
        if (!j->engine || j->cell != cell) {
            close_engine(j);
            rc = open_engine(j, cell, err);
            if (rc >= 0) rc = warm_up(j, i, err);
        }
        if (rc >= 0) rc = measure_prompt(j, round, i, err);
    }
    return rc;
}

int bench_run(bench_setup *s, bench_csv *csv, bench_rows *rows, bench_result *result, lever_error *err)
{
    job j = { .s = s, .csv = csv, .rows = rows, .result = result };
    j.model_bytes = file_bytes(s->config.model_path);
    j.draft_bytes = file_bytes(s->config.draft_path);
    machine_name(result->machine, sizeof result->machine);
    describe_options(s, result->options, sizeof result->options);
    energy_open(&j.energy, "/sys/class/powercap");
    int rc = resume(&j, err);
    bench_csv_forget(csv);
    interrupted = 0;
    signal(SIGINT, on_sigint);
    for (uint32_t round = 0; round < s->args->rounds && rc >= 0; round++)
        for (uint32_t c = 0; c < s->n_cells && rc >= 0 && !result->cancelled && !result->texts_differ; c++)
            rc = measure_cell(&j, round, c, err);
    signal(SIGINT, SIG_DFL);
    result->cancelled |= interrupted && j.n_done < j.n_wanted;
    progress_clear(&j.run);
    close_engine(&j);
    talk_free(&j.talk);
    talk_answer_free(&j.reader);
    return rc;
}
