/* Several sessions that share sweeps: each must get the text it gets alone, whatever the others do.
 * usage: test_sessions TARGET DRAFT. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "base/mem.h"
#include "lever/lever.h"
#include "support/exit_sidecar.h"

enum { N = 5, TEXT_MOST = 8192, TOKENS_MOST = 1024, N_CTX = 384 };

/* One text to be made. */
typedef struct job {
    const char *prompt;
    uint32_t repeat;     /* the prompt so many times: longer than a sweep has rows */
    float    temperature;
    uint64_t seed;
    uint32_t n_new;
    int      start;      /* step of the engine before which it begins */
} job;

static const job jobs[N] = {
    { "Once upon a time", 1, 0.0f, 1, 40, 0 },
    { "The little dog ran to the ", 1, 0.8f, 7, 31, 0 },
    { "One day, a big cat saw a small bird in the tree. ", 9, 0.9f, 3, 24, 1 },
    { "Tom and Sue had a red ball.", 1, 0.0f, 1, 50, 3 },
    { "abc abc abc ", 16, 0.7f, 99, 20, 6 },
};

typedef struct outcome {
    char     text[TEXT_MOST];
    size_t   text_bytes;
    int32_t  tokens[TOKENS_MOST];
    size_t   n;
    lever_stats stats;
    int      rc;
    lever_error err;
    uint32_t n_events, cancel_at, stop_at; /* 0: never */
    lever_session *session, *other;        /* other: cancelled in place of this one */
} outcome;

static const char *target, *draft;
static outcome want[N], got[N];

static bool collect(void *user, const lever_token_event *e)
{
    outcome *o = user;
    if (o->text_bytes + e->text_bytes < TEXT_MOST) {
        memcpy(o->text + o->text_bytes, e->text, e->text_bytes);
        o->text_bytes += e->text_bytes;
    }
    o->n_events++;
    if (o->n_events == o->cancel_at) lever_session_cancel(o->other ? o->other : o->session);
    return o->n_events != o->stop_at;
}

static lever_config base_config(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_ctx = N_CTX;
    c.n_threads = 1;
    c.mem_bytes = 8ull << 30;
    c.caller_bytes = 2 << 20; /* the outcomes of this program */
    return c;
}

static void begin(lever_engine *engine, const job *j, const char *policy, outcome *o)
{
    lever_error err = { 0 };
    lever_sampling s;
    lever_sampling_init(&s);
    s.temperature = j->temperature;
    s.seed = j->seed;
    CHECK_OK(lever_session_open(&o->session, engine, &s, &err), &err);
    if (!o->session) exit(1);
    for (uint32_t i = 0; i < j->repeat; i++)
        CHECK_OK(lever_session_append_text(o->session, j->prompt, SIZE_MAX, 0, &err), &err);
    const lever_generate_params p = { .max_tokens = j->n_new, .ignore_end = true, .policy = policy };
    CHECK_OK(lever_session_start(o->session, &p, collect, o, &err), &err);
}

static void end(outcome *o)
{
    o->rc = lever_session_finish(o->session, &o->stats, &o->err);
    const int32_t *t = lever_session_tokens(o->session, &o->n);
    if (o->n > TOKENS_MOST) o->n = TOKENS_MOST;
    memcpy(o->tokens, t, o->n * sizeof *t);
}

/* What each job gives alone, without a draft. */
static void learn(void)
{
    lever_config c = base_config();
    lever_error err = { 0 };
    lever_engine *engine;
    c.policy = "none";
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    if (!engine) exit(1);
    for (int i = 0; i < N; i++) {
        begin(engine, &jobs[i], NULL, &want[i]);
        while (lever_engine_step(engine) > 0) {}
        end(&want[i]);
        CHECK_EQ(want[i].rc, LEVER_OK);
        CHECK_EQ(want[i].stats.n_new_tokens, jobs[i].n_new);
        lever_session_close(&want[i].session);
    }
    lever_engine_close(&engine);
    CHECK(strcmp(want[0].text, want[3].text));
}

static bool tokens_begin_right(int i)
{
    return got[i].n <= want[i].n && !memcmp(got[i].tokens, want[i].tokens, got[i].n * sizeof(int32_t));
}

/* Is it the wanted text, or the beginning of it? One that ends within a character ends with U+FFFD. */
static bool begins_right(int i)
{
    size_t n = got[i].text_bytes;
    if (got[i].n < want[i].n && n >= 3 && !memcmp(got[i].text + n - 3, "\xef\xbf\xbd", 3)) n -= 3;
    return tokens_begin_right(i) && n <= want[i].text_bytes && !memcmp(got[i].text, want[i].text, n);
}

static bool is_right(int i)
{
    return begins_right(i) && got[i].n == want[i].n && got[i].text_bytes == want[i].text_bytes;
}

/* Steps until everything that was started has ended. policies: of each job, or NULL. Returns the number of steps. */
static int run_all(lever_engine *engine, const char *const *policies)
{
    bool done[N] = { false };
    int n_done = 0, step = 0;
    for (; n_done < N && step < 10000; step++) {
        for (int i = 0; i < N; i++)
            if (jobs[i].start == step) begin(engine, &jobs[i], policies ? policies[i] : NULL, &got[i]);
        lever_engine_step(engine);
        for (int i = 0; i < N; i++) {
            if (done[i] || !got[i].session || lever_session_is_running(got[i].session)) continue;
            end(&got[i]);
            done[i] = true, n_done++;
        }
    }
    CHECK_EQ(n_done, N);
    for (int i = 0; i < N; i++) lever_session_close(&got[i].session);
    return step;
}

/* All jobs together in an engine of c; every text must be right. Returns the number of steps. */
static int expect_same(lever_config c, const char *const *policies, const char *what)
{
    lever_error err = { 0 };
    lever_engine *engine;
    const size_t live = lv_alloc_live();
    memset(got, 0, sizeof got);
    c.n_sessions = N;
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    if (!engine) return fprintf(stderr, "  ... %s\n", what), 0;
    const int steps = run_all(engine, policies);
    for (int i = 0; i < N; i++) {
        CHECK_OK(got[i].rc, &got[i].err);
        if (!is_right(i))
            fprintf(stderr, "%s: job %d differs:\n  want %.120s\n  got  %.120s\n", what, i, want[i].text, got[i].text);
        CHECK(is_right(i));
        CHECK_EQ(got[i].stats.stop, LEVER_STOP_MAX_TOKENS);
        CHECK_EQ(got[i].stats.n_new_tokens, jobs[i].n_new);
    }
    lever_engine_close(&engine);
    CHECK_EQ(lv_alloc_live(), live);
    return steps;
}

static uint64_t least_memory(lever_config c)
{
    lever_plan plan;
    lever_error err = { 0 };
    c.mem_bytes = 1;
    c.n_sessions = N;
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    return plan.needed_bytes;
}

/* First of all, while the peak of this process is that of the engine. */
static void the_memory_limit_holds(void)
{
    lever_config c = base_config();
    c.policy = "tree:4,2,1";
    c.mem_bytes = least_memory(c);
    c.n_sessions = N;
    lever_error err = { 0 };
    lever_engine *engine;
    lever_engine_info info;
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    if (!engine) return;
    lever_engine_get_info(engine, &info);
    CHECK(info.planned_bytes <= c.mem_bytes);
    run_all(engine, NULL);
    uint64_t peak = 0;
    for (int i = 0; i < N; i++)
        if (got[i].stats.peak_rss_bytes > peak) peak = got[i].stats.peak_rss_bytes;
    printf("     limit %.1f MiB, peak %.1f MiB\n", (double)c.mem_bytes / 1048576, (double)peak / 1048576);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    CHECK(peak <= c.mem_bytes);
#endif
    lever_engine_close(&engine);
    memset(got, 0, sizeof got);
}

static void every_policy_gives_each_its_own_text(void)
{
    static const char *const policies[] = { "none", "lever", "lever:9@2", "chain:4", "tree:4,2,1", "eagle2:4,3,9",
                                            "specexec:16", "dyspec:12", "edgellm:12", "opttree:8", "lookup" };
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        lever_config c = base_config();
        c.policy = policies[i];
        c.n_threads = 1 + i % 2;
        const int steps = expect_same(c, NULL, policies[i]);
        if (i == 0) CHECK(steps < 31 + 24 + 20 + 50); /* some at a time */
    }
}

static void streamed_and_resident_give_the_same(void)
{
    static const char *const policies[] = { "lever", "none", "chain:3", "tree:4,2,1" };
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        lever_config c = base_config();
        c.policy = policies[i];
        c.mem_bytes = least_memory(c);
        expect_same(c, NULL, "least memory");
        c.mem_bytes = 8ull << 30;
        c.no_pin = true; /* the head is streamed too */
        expect_same(c, NULL, "nothing pinned");
    }
}

static void narrow_sweeps_give_the_same(void)
{
    static const uint32_t widths[] = { 5, 6, 9, 17, 40, 200 };
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        lever_config c = base_config();
        c.policy = i % 2 ? "chain:4" : "lookup:4";
        c.max_rows = widths[i];
        c.no_pin = i == 2;
        expect_same(c, NULL, "few rows");
    }
}

static void each_session_may_have_a_policy_of_its_own(void)
{
    static const char *const more[] = { "chain:4", "none", "lookup", "tree:3,2" };
    static const char *const policies[N] = { "lever:20", "chain:4", "none", "lookup", "chain:2" };
    lever_config c = base_config();
    c.policy = "lever:20";
    c.more_policies = more;
    c.n_more_policies = 4;
    expect_same(c, policies, "policies of their own");
}

static void pruning_changes_no_text(void)
{
    static const struct { const char *policy, *prune; uint32_t form; bool no_pin; } runs[] = {
        { "tree:4,3,2", "0.5,no-safeguards", LV_EXIT_UNTIED, false },
        { "lever:40", "auto", LV_EXIT_UNTIED, true },
        { "specexec:16", "0.9", LV_EXIT_TIED, false },
        { "tree:4,2", "0.4,dry", LV_EXIT_UNTIED, true },
    };
    char path[] = "/tmp/lever-exit-XXXXXX";
    CHECK(close(mkstemp(path)) == 0);
    uint64_t n_dropped = 0;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        lever_error err = { 0 };
        lv_model *m = NULL;
        lv_model_id id;
        CHECK_OK(lv_model_open(&m, target, &err), &err);
        CHECK_OK(lv_model_identify(m, &id, &err), &err);
        sidecar s = sidecar_make(&id, runs[i].form);
        s.card.layer = 1;
        CHECK_OK(lv_exit_write(path, &s.card, &s.weights, &err), &err);
        sidecar_free(&s);
        lv_model_close(&m);
        lever_config c = base_config();
        c.policy = runs[i].policy, c.prune = runs[i].prune, c.exit_path = path, c.no_pin = runs[i].no_pin;
        expect_same(c, NULL, runs[i].prune);
        for (int k = 0; k < N; k++) n_dropped += got[k].stats.n_rows - got[k].stats.n_kept_rows;
    }
    CHECK(n_dropped > 50);
    unlink(path);
}

/* One is cancelled, one stopped by its caller; both have the beginning of their texts, and the others all of theirs. */
static void who_leaves_stops_no_other(void)
{
    for (int round = 0; round < 4; round++) {
        lever_config c = base_config();
        lever_error err = { 0 };
        lever_engine *engine;
        c.policy = round % 2 ? "lever" : "chain:3";
        c.no_pin = round / 2;
        c.n_sessions = N;
        memset(got, 0, sizeof got);
        CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
        if (!engine) return;
        got[0].cancel_at = 9;
        got[1].stop_at = 5;
        run_all(engine, NULL);
        CHECK_EQ(got[0].stats.stop, LEVER_STOP_CANCEL);
        CHECK_EQ(got[1].stats.stop, LEVER_STOP_CALLBACK);
        CHECK_EQ(got[1].stats.n_new_tokens, 5);
        CHECK(got[0].stats.n_new_tokens >= 9 && got[0].stats.n_new_tokens < jobs[0].n_new);
        for (int i = 0; i < N; i++) {
            CHECK_OK(got[i].rc, &got[i].err);
            CHECK(i < 2 ? begins_right(i) : is_right(i));
        }
        lever_engine_close(&engine);
    }
}

/* A session that was cancelled or finished early goes on later, beside others, as if nothing had been. */
static void what_was_left_goes_on(void)
{
    lever_config c = base_config();
    lever_error err = { 0 };
    lever_engine *engine;
    lever_stats st;
    c.policy = "lever";
    c.n_sessions = 2;
    memset(got, 0, sizeof got);
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    begin(engine, &jobs[0], NULL, &got[0]);
    begin(engine, &jobs[3], NULL, &got[3]);
    uint32_t made = 0;
    for (int i = 0; i < 3; i++) lever_engine_step(engine);
    lever_session_cancel(got[0].session);
    CHECK(lever_session_is_running(got[0].session));
    lever_engine_step(engine);
    CHECK(!lever_session_is_running(got[0].session));
    CHECK_OK(lever_session_finish(got[0].session, &st, &err), &err);
    CHECK_EQ(st.stop, LEVER_STOP_CANCEL);
    made += st.n_new_tokens;
    const lever_generate_params p = { .max_tokens = jobs[0].n_new - made, .ignore_end = true };
    CHECK_OK(lever_session_start(got[0].session, &p, collect, &got[0], &err), &err);
    CHECK_EQ(lever_session_start(got[0].session, &p, collect, &got[0], &err), LEVER_EINVAL);
    lever_engine_step(engine);
    CHECK_OK(lever_session_finish(got[0].session, &st, &err), &err); /* in the middle, without a cancel */
    CHECK_EQ(st.stop, LEVER_STOP_CANCEL);
    made += st.n_new_tokens;
    const lever_generate_params rest = { .max_tokens = jobs[0].n_new - made, .ignore_end = true };
    CHECK(made < jobs[0].n_new);
    CHECK_OK(lever_session_generate(got[0].session, &rest, collect, &got[0], NULL, &err), &err); /* 3 stands still */
    const int32_t *t = lever_session_tokens(got[0].session, &got[0].n);
    CHECK(got[0].n == want[0].n && !memcmp(t, want[0].tokens, got[0].n * sizeof *t));
    while (lever_engine_step(engine) > 0) {}
    end(&got[3]);
    CHECK(is_right(3));
    lever_session_close(&got[0].session);
    lever_session_close(&got[3].session);
    lever_engine_close(&engine);
}

/* Everybody cancels: the sweep ends early, and nothing is lost. */
static void a_sweep_that_nobody_wants_ends(void)
{
    lever_config c = base_config();
    lever_error err = { 0 };
    lever_engine *engine;
    c.policy = "chain:3";
    c.no_pin = true;
    c.n_sessions = 2;
    memset(got, 0, sizeof got);
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    begin(engine, &jobs[0], NULL, &got[0]);
    begin(engine, &jobs[3], NULL, &got[3]);
    got[0].cancel_at = 4, got[0].other = got[3].session; /* 3 is cancelled by 0 ... */
    got[3].cancel_at = 6, got[3].other = got[0].session; /* ... or the other way round */
    while (lever_engine_step(engine) > 0) {}
    lever_session_cancel(got[0].session);
    lever_session_cancel(got[3].session);
    CHECK_EQ(lever_engine_step(engine), 0);
    end(&got[0]);
    end(&got[3]);
    CHECK(begins_right(0) && begins_right(3));
    lever_session_close(&got[0].session);
    lever_session_close(&got[3].session);
    lever_engine_close(&engine);
}

static void a_full_context_ends_one(void)
{
    lever_config c = base_config();
    lever_error err = { 0 };
    lever_engine *engine;
    c.policy = "lever";
    c.n_sessions = 2;
    memset(got, 0, sizeof got);
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    job endless = jobs[2];
    endless.n_new = N_CTX;
    begin(engine, &endless, NULL, &got[2]);
    begin(engine, &jobs[3], NULL, &got[3]);
    while (lever_engine_step(engine) > 0) {}
    end(&got[2]);
    end(&got[3]);
    CHECK_EQ(got[2].stats.stop, LEVER_STOP_CONTEXT);
    CHECK_EQ(got[2].n, N_CTX);
    CHECK(!memcmp(got[2].tokens, want[2].tokens, want[2].n * sizeof(int32_t)));
    CHECK(is_right(3));
    lever_session_close(&got[2].session);
    lever_session_close(&got[3].session);
    lever_engine_close(&engine);
}

/* A device that fails for a while: what there is of each text is right, and can be continued to its end. */
static void failing_reads_never_give_a_wrong_token(void)
{
    for (unsigned at = 3; at < 400; at = at * 2 + 1) {
        lever_config c = base_config();
        lever_error err = { 0 };
        lever_engine *engine;
        char faults[64];
        snprintf(faults, sizeof faults, "first=%u,count=9,error=EIO", at);
        c.io_faults = faults;
        c.policy = "chain:3";
        c.no_pin = true;
        c.n_sessions = N;
        memset(got, 0, sizeof got);
        CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
        if (!engine) return;
        for (int i = 0; i < N; i++) begin(engine, &jobs[i], NULL, &got[i]);
        for (int tries = 0; tries < 20; tries++) {
            while (lever_engine_step(engine) > 0) {}
            int n_left = 0;
            for (int i = 0; i < N; i++) {
                if (got[i].n == want[i].n) continue;
                end(&got[i]);
                CHECK(got[i].rc == LEVER_OK || (got[i].rc == LEVER_EIO && strstr(got[i].err.msg, target)));
                CHECK(tokens_begin_right(i));
                if (got[i].n == want[i].n) continue;
                n_left++;
                const lever_generate_params p = { .max_tokens = (uint32_t)(want[i].n - got[i].n), .ignore_end = true };
                CHECK_OK(lever_session_start(got[i].session, &p, collect, &got[i], &err), &err);
            }
            if (n_left == 0) break;
        }
        for (int i = 0; i < N; i++) {
            CHECK_EQ(got[i].n, want[i].n);
            CHECK(tokens_begin_right(i));
            lever_session_close(&got[i].session);
        }
        lever_engine_close(&engine);
    }
}

static void sessions_are_as_many_as_planned(void)
{
    lever_config c = base_config();
    lever_error err = { 0 };
    lever_engine *engine;
    lever_session *s[3];
    lever_plan one, three;
    c.policy = "chain:2";
    CHECK_OK(lever_plan_memory(&c, &one, &err), &err);
    c.n_sessions = 3;
    CHECK_OK(lever_plan_memory(&c, &three, &err), &err);
    CHECK(three.needed_bytes > one.needed_bytes);
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    for (int i = 0; i < 3; i++) CHECK_OK(lever_session_open(&s[i], engine, NULL, &err), &err);
    lever_session *more;
    CHECK_EQ(lever_session_open(&more, engine, NULL, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "3 sessions"));
    CHECK_EQ(lever_engine_step(engine), 0);
    lever_session_close(&s[1]);
    CHECK_OK(lever_session_open(&s[1], engine, NULL, &err), &err);
    for (int i = 0; i < 3; i++) lever_session_close(&s[i]);
    lever_engine_close(&engine);
    c.n_sessions = 65;
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EINVAL);
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: test_sessions TARGET DRAFT\n"), 2;
    target = argv[1], draft = argv[2];
    FILE *f = fopen(target, "rb");
    if (!f) SKIP("the model file is not there (its maker was skipped)");
    fclose(f);
    RUN(the_memory_limit_holds);
    learn();
    RUN(every_policy_gives_each_its_own_text);
    RUN(streamed_and_resident_give_the_same);
    RUN(narrow_sweeps_give_the_same);
    RUN(each_session_may_have_a_policy_of_its_own);
    RUN(pruning_changes_no_text);
    RUN(who_leaves_stops_no_other);
    RUN(what_was_left_goes_on);
    RUN(a_sweep_that_nobody_wants_ends);
    RUN(a_full_context_ends_one);
    RUN(failing_reads_never_give_a_wrong_token);
    RUN(sessions_are_as_many_as_planned);
    return check_done();
}
