/* Drafting beside verification: the text is the same with and without it, for every policy, resident and streamed,
 * also when texts are changed in between; the trees are the same too where they do not depend on times.
 * usage: test_ahead TARGET DRAFT PROMPT N_TOKENS. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "lever/lever.h"

static const char *target, *draft, *prompt;
static uint32_t n_tokens;
static bool quick; /* few tokens: a build that is many times slower, so a third of the policies has to do */

typedef struct outcome {
    int32_t tokens[4096];
    size_t  n;
    lever_stats stats;
} outcome;

static lever_config base_config(const char *policy, int ahead)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.policy = policy;
    c.draft_ahead = ahead;
    c.n_ctx = 512;
    c.n_threads = 2;
    c.mem_bytes = 8ull << 30;
    return c;
}

static lever_sampling sampling_at(float temperature, uint64_t seed)
{
    lever_sampling s;
    lever_sampling_init(&s);
    s.temperature = temperature;
    s.seed = seed;
    return s;
}

/* At most `piece` tokens at a time; each piece begins with a call that may change the session. */
static void generate(lever_session *s, uint32_t piece, outcome *o)
{
    lever_error err = { 0 };
    memset(o, 0, sizeof *o);
    for (uint32_t left = n_tokens; left;) {
        const lever_generate_params p = { .max_tokens = left < piece ? left : piece, .ignore_end = true };
        lever_stats st;
        CHECK_OK(lever_session_generate(s, &p, NULL, NULL, &st, &err), &err);
        if (!st.n_new_tokens) break;
        left -= st.n_new_tokens < left ? st.n_new_tokens : left;
        o->stats.n_drafted += st.n_drafted;
        o->stats.n_accepted += st.n_accepted;
        o->stats.n_cycles += st.n_cycles;
        o->stats.n_ahead += st.n_ahead;
        o->stats.n_ahead_used += st.n_ahead_used;
    }
    const int32_t *t = lever_session_tokens(s, &o->n);
    CHECK(o->n <= 4096);
    memcpy(o->tokens, t, o->n * sizeof *t);
}

static void run(const lever_config *c, float temperature, uint32_t piece, outcome *o)
{
    lever_error err = { 0 };
    lever_engine *engine = NULL;
    lever_session *session = NULL;
    const lever_sampling sampling = sampling_at(temperature, 7);
    CHECK_OK(lever_engine_open(&engine, c, &err), &err);
    CHECK_OK(lever_session_open(&session, engine, &sampling, &err), &err);
    CHECK_OK(lever_session_append_text(session, prompt, SIZE_MAX, 0, &err), &err);
    generate(session, piece, o);
    lever_session_close(&session);
    lever_engine_close(&engine);
}

static outcome off, on;

static void check_same_text(const char *what)
{
    const bool same = on.n == off.n && !memcmp(on.tokens, off.tokens, on.n * sizeof *on.tokens);
    if (!same) fprintf(stderr, "%s: another text\n", what);
    CHECK(same);
}

static void every_policy_gives_the_same_text_and_trees(void)
{
    static const struct { const char *policy; bool by_time; } policies[] = {
        { "chain:1", false }, { "chain:6", false }, { "tree:4,2,1", false }, { "tree:40,1", false },
        { "specinfer", false }, { "sequoia:15,4", false }, { "eagle2:4,3,9", false }, { "opttree:12", false },
        { "specexec:16", false }, { "dyspec:16", false }, { "edgellm:12", false }, { "lever:12", true },
    };
    uint32_t used = 0;
    for (size_t i = quick ? 2 : 0; i < sizeof policies / sizeof *policies; i += quick ? 3 : 1)
        for (int t = 0; t < 2; t++) {
            const lever_config without = base_config(policies[i].policy, LEVER_AHEAD_OFF);
            const lever_config with = base_config(policies[i].policy, LEVER_AHEAD_ON);
            run(&without, t ? 0.8f : 0, UINT32_MAX, &off);
            run(&with, t ? 0.8f : 0, UINT32_MAX, &on);
            check_same_text(policies[i].policy);
            CHECK_EQ(off.stats.n_ahead, 0);
            used += on.stats.n_ahead_used;
            if (policies[i].by_time) continue;
            CHECK_EQ(on.stats.n_cycles, off.stats.n_cycles);
            CHECK_EQ(on.stats.n_drafted, off.stats.n_drafted);
            CHECK_EQ(on.stats.n_accepted, off.stats.n_accepted);
        }
    CHECK(used > 0); /* else nothing was tested */
}

static void streamed_texts_are_the_same_too(void)
{
    static const char *const policies[] = { "chain:4", "specexec:16", "lever" };
    for (size_t i = quick ? 1 : 0; i < 3; i += quick ? 3 : 1) {
        lever_config c = base_config(policies[i], LEVER_AHEAD_OFF);
        run(&c, 0, UINT32_MAX, &off);
        for (int mode = LEVER_AHEAD_AUTO; mode <= LEVER_AHEAD_ON; mode++) {
            c = base_config(policies[i], mode);
            c.no_pin = true;
            run(&c, 0, UINT32_MAX, &on);
            check_same_text(policies[i]);
            c.no_pin = false;
            c.mem_bytes = 1;
            lever_plan plan;
            lever_error err = { 0 };
            CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
            c.mem_bytes = plan.needed_bytes;
            run(&c, 0, UINT32_MAX, &on);
            check_same_text(policies[i]);
        }
    }
}

/* What was drafted ahead belongs to one text: pieces, other sampling, and a text that is changed or replaced. */
static void changes_between_two_calls_are_noticed(void)
{
    lever_engine *engines[2];
    lever_session *sessions[2];
    lever_error err = { 0 };
    const lever_sampling first = sampling_at(0, 1), second = sampling_at(0.9f, 2);
    for (int k = 0; k < 2; k++) {
        const lever_config c = base_config("chain:5", k ? LEVER_AHEAD_ON : LEVER_AHEAD_OFF);
        CHECK_OK(lever_engine_open(&engines[k], &c, &err), &err);
        CHECK_OK(lever_session_open(&sessions[k], engines[k], &first, &err), &err);
    }
    for (int step = 0; step < 6; step++) {
        for (int k = 0; k < 2; k++) {
            lever_session *s = sessions[k];
            if (step == 0) CHECK_OK(lever_session_append_text(s, prompt, SIZE_MAX, 0, &err), &err);
            if (step == 1) CHECK_OK(lever_session_set_sampling(s, &second, &err), &err);
            if (step == 2) CHECK_OK(lever_session_append_text(s, prompt, SIZE_MAX, 0, &err), &err);
            if (step == 3) { /* the same text but for its last tokens, and one of the same length */
                size_t n;
                static int32_t tokens[4096];
                memcpy(tokens, lever_session_tokens(s, &n), sizeof tokens / 8);
                n = n < 40 ? n : 40;
                tokens[n - 1] = tokens[n - 2];
                CHECK(lever_session_set_tokens(s, tokens, n, &err) >= 0);
            }
            if (step == 4) CHECK_OK(lever_session_reset(s, &first, &err), &err);
            if (step == 4) CHECK_OK(lever_session_append_text(s, prompt, SIZE_MAX, 0, &err), &err);
            generate(s, step == 5 ? 3 : 17, k ? &on : &off);
        }
        check_same_text("changed text");
        CHECK_EQ(on.stats.n_drafted, off.stats.n_drafted);
    }
    for (int k = 0; k < 2; k++) {
        lever_session_close(&sessions[k]);
        lever_engine_close(&engines[k]);
    }
}

/* Where the text depends on draws, or sessions share the draft, nothing is drafted ahead. */
static void it_is_left_out_where_it_can_not_be(void)
{
    lever_config c = base_config("chain:4", LEVER_AHEAD_ON);
    c.verify = "specinfer";
    run(&c, 0.8f, UINT32_MAX, &on);
    CHECK_EQ(on.stats.n_ahead, 0);
    c = base_config("chain:4", LEVER_AHEAD_ON);
    c.n_sessions = 2;
    run(&c, 0, UINT32_MAX, &on);
    CHECK_EQ(on.stats.n_ahead, 0);
    c = base_config("lookup", LEVER_AHEAD_ON);
    run(&c, 0, UINT32_MAX, &on);
    CHECK_EQ(on.stats.n_ahead, 0);
    c = base_config("chain:4", 3);
    lever_engine *engine;
    lever_error err = { 0 };
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "draft_ahead"));
}

typedef struct canceler {
    lever_session *session;
    atomic_bool over;
    uint32_t seed;
} canceler;

/* Cancels after other times again and again: before the draft, beside it, in a sweep, between two calls. */
static void *cancel_often(void *arg)
{
    canceler *c = arg;
    while (!atomic_load(&c->over)) {
        c->seed = c->seed * 1664525u + 1013904223u;
        const struct timespec t = { .tv_nsec = 100000 + (long)(c->seed >> 12) * 4 };
        nanosleep(&t, NULL);
        lever_session_cancel(c->session);
    }
    return NULL;
}

/* n_tokens more, canceled `most` times at most on the way. Returns how often it was. */
static uint32_t generate_canceled(lever_session *s, uint32_t most, outcome *o)
{
    pthread_t thread;
    lever_error err = { 0 };
    canceler c = { .session = s, .seed = most };
    uint32_t n_canceled = 0;
    size_t before;
    lever_session_tokens(s, &before);
    CHECK_EQ(pthread_create(&thread, NULL, cancel_often, &c), 0);
    for (size_t n = before; n < before + n_tokens; lever_session_tokens(s, &n)) {
        const lever_generate_params p = { .max_tokens = (uint32_t)(before + n_tokens - n), .ignore_end = true };
        lever_stats st;
        if (n_canceled == most && !atomic_load(&c.over)) {
            atomic_store(&c.over, true);
            pthread_join(thread, NULL);
        }
        CHECK_OK(lever_session_generate(s, &p, NULL, NULL, &st, &err), &err);
        n_canceled += st.stop == LEVER_STOP_CANCEL;
    }
    if (!atomic_load(&c.over)) {
        atomic_store(&c.over, true);
        pthread_join(thread, NULL);
    }
    const int32_t *t = lever_session_tokens(s, &o->n);
    CHECK(o->n <= 4096);
    memcpy(o->tokens, t, o->n * sizeof *t);
    return n_canceled;
}

static void canceled_texts_go_on_as_if_they_had_not_been(void)
{
    static const char *const policies[] = { "chain:5", "specexec:24", "lever" };
    uint32_t n_canceled = 0;
    for (size_t i = 0; i < 3; i++) {
        lever_config c = base_config(policies[i], LEVER_AHEAD_OFF);
        run(&c, 0.8f, UINT32_MAX, &off);
        c.draft_ahead = LEVER_AHEAD_ON;
        c.no_pin = i == 1; /* streamed */
        lever_engine *engine = NULL;
        lever_session *session = NULL;
        lever_error err = { 0 };
        const lever_sampling sampling = sampling_at(0.8f, 7);
        CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
        CHECK_OK(lever_session_open(&session, engine, &sampling, &err), &err);
        CHECK_OK(lever_session_append_text(session, prompt, SIZE_MAX, 0, &err), &err);
        n_canceled += generate_canceled(session, 40, &on);
        check_same_text(policies[i]);
        CHECK_OK(lever_session_reset(session, NULL, &err), &err);
        CHECK_OK(lever_session_append_text(session, prompt, SIZE_MAX, 0, &err), &err);
        generate_canceled(session, 40, &on);
        check_same_text(policies[i]);
        lever_session_close(&session);
        lever_engine_close(&engine);
    }
    CHECK(n_canceled > 0); /* else nothing was tested */
}

typedef struct spans {
    lever_trace_event ahead[256];
    uint32_t n_ahead, n_inside, n_verify;
} spans;

/* What was drafted ahead is told before the sweep it belongs to. */
static void on_trace(void *user, const lever_trace_event *e)
{
    spans *s = user;
    if (!strcmp(e->name, "ahead") && s->n_ahead < 256) s->ahead[s->n_ahead++] = *e;
    if (strcmp(e->name, "verify")) return;
    s->n_verify++;
    for (uint32_t i = 0; i < s->n_ahead; i++)
        if (s->ahead[i].index == e->index)
            s->n_inside += s->ahead[i].begin_ns >= e->begin_ns && s->ahead[i].end_ns <= e->end_ns;
        else s->n_inside += 1000000; /* of a sweep that is over: told too late */
    s->n_ahead = 0;
}

static void the_trace_shows_it_inside_the_sweep(void)
{
    static spans s;
    lever_config c = base_config("chain:2", LEVER_AHEAD_ON);
    c.on_trace = on_trace;
    c.trace_user = &s;
    run(&c, 0, UINT32_MAX, &on);
    CHECK(s.n_verify > 0);
    CHECK(s.n_inside > 0 && s.n_inside < 1000000);
}

static void memory_is_planned_for_it(void)
{
    lever_plan plan[2];
    lever_error err = { 0 };
    for (int k = 0; k < 2; k++) {
        const lever_config c = base_config("chain:4", k ? LEVER_AHEAD_ON : LEVER_AHEAD_OFF);
        CHECK_OK(lever_plan_memory(&c, &plan[k], &err), &err);
    }
    CHECK(plan[1].total_bytes > plan[0].total_bytes);
    /* By itself it never raises what a model needs, nor takes more than a fiftieth of the limit. */
    for (int k = 0; k < 2; k++) {
        lever_config c = base_config("chain:4", k ? LEVER_AHEAD_AUTO : LEVER_AHEAD_OFF);
        c.mem_bytes = 1;
        CHECK_OK(lever_plan_memory(&c, &plan[k], &err), &err);
    }
    CHECK_EQ(plan[1].needed_bytes, plan[0].needed_bytes);
    for (uint64_t mem = plan[0].needed_bytes; mem < plan[0].needed_bytes + (24 << 20); mem += 1 << 20) {
        lever_config c = base_config("chain:4", LEVER_AHEAD_OFF);
        c.mem_bytes = mem;
        CHECK_OK(lever_plan_memory(&c, &plan[0], &err), &err);
        c.draft_ahead = LEVER_AHEAD_AUTO;
        CHECK_OK(lever_plan_memory(&c, &plan[1], &err), &err);
        CHECK(plan[1].total_bytes <= mem && plan[1].fits);
        CHECK(plan[1].resident_bytes + mem / 50 + (1 << 20) >= plan[0].resident_bytes);
        CHECK_EQ(plan[1].n_ctx, plan[0].n_ctx);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    target = argv[1], draft = argv[2], prompt = argv[3];
    n_tokens = (uint32_t)atoi(argv[4]);
    quick = n_tokens < 20;
    RUN(every_policy_gives_the_same_text_and_trees);
    RUN(streamed_texts_are_the_same_too);
    RUN(changes_between_two_calls_are_noticed);
    RUN(canceled_texts_go_on_as_if_they_had_not_been);
    RUN(it_is_left_out_where_it_can_not_be);
    RUN(the_trace_shows_it_inside_the_sweep);
    RUN(memory_is_planned_for_it);
    return check_done();
}
