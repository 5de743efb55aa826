/* One model pair, one prompt: the text must be the same bytes with every policy, memory budget, thread
 * count, instruction set, batch width, I/O backend; at temperature 0 and 0.8.
 * usage: test_generate TARGET DRAFT PROMPT N_TOKENS. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "lever/lever.h"
#include <unistd.h>

#include "os/cpu.h"
#include "support/exit_sidecar.h"

static const char *target, *draft, *prompt;
static uint32_t n_tokens;
static uint64_t needed_bytes, all_bytes; /* smallest limit that works; limit that keeps everything resident */

typedef struct outcome {
    int32_t tokens[4096];
    size_t  n;
    char    text[65536];
    size_t  text_bytes;
    lever_stats stats;
    lever_plan plan;
} outcome;

static bool collect(void *user, const lever_token_event *e)
{
    outcome *o = user;
    if (o->text_bytes + e->text_bytes < sizeof o->text) {
        memcpy(o->text + o->text_bytes, e->text, e->text_bytes);
        o->text_bytes += e->text_bytes;
    }
    return true;
}

static lever_config base_config(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_ctx = 256;
    c.n_threads = 1;
    c.mem_bytes = all_bytes;
    return c;
}

/* Generate with c into *o; false (and a failed check) on error. */
static bool generate(const lever_config *c, float temperature, outcome *o)
{
    memset(o, 0, sizeof *o);
    lever_error err = { 0 };
    lever_engine *engine = NULL;
    lever_session *session = NULL;
    lever_sampling sampling;
    lever_sampling_init(&sampling);
    sampling.temperature = temperature;
    sampling.seed = 7;
    const lever_generate_params p = { .max_tokens = n_tokens, .ignore_end = true };
    int rc = lever_plan_memory(c, &o->plan, &err);
    if (rc >= 0) rc = lever_engine_open(&engine, c, &err);
    if (rc >= 0) rc = lever_session_open(&session, engine, &sampling, &err);
    if (rc >= 0) rc = lever_session_append_text(session, prompt, SIZE_MAX, 0, &err);
    if (rc >= 0) rc = lever_session_generate(session, &p, collect, o, &o->stats, &err);
    if (rc >= 0) {
        const int32_t *t = lever_session_tokens(session, &o->n);
        if (o->n > 4096) o->n = 4096;
        memcpy(o->tokens, t, o->n * sizeof *t);
    }
    CHECK_OK(rc, &err);
    lever_session_close(&session);
    lever_engine_close(&engine);
    return rc >= 0;
}

static outcome want[2]; /* plain decoding, resident, one thread, at temperatures[] */
static const float temperatures[2] = { 0.0f, 0.8f };
static outcome got;

static void expect_same_at(const lever_config *c, int i, const char *what)
{
    if (!generate(c, temperatures[i], &got)) {
        fprintf(stderr, "  ... %s at temperature %.1f\n", what, (double)temperatures[i]);
        return;
    }
    const bool same =
        got.n == want[i].n && !memcmp(got.tokens, want[i].tokens, got.n * sizeof(int32_t)) &&
        got.text_bytes == want[i].text_bytes && !memcmp(got.text, want[i].text, got.text_bytes);
    if (!same)
        fprintf(stderr, "%s at temperature %.1f differs:\n  want %.200s\n  got  %.200s\n", what,
                (double)temperatures[i], want[i].text, got.text);
    CHECK(same);
}

static void expect_same(const lever_config *c, const char *what)
{
    for (int i = 0; i < 2; i++) expect_same_at(c, i, what);
}

static void plain_decoding_is_the_reference(void)
{
    lever_config c = base_config();
    c.policy = "none";
    lever_plan plan;
    lever_error err = { 0 };
    c.mem_bytes = 8ull << 30;
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    CHECK_EQ(plan.streamed_bytes, 0);
    all_bytes = c.mem_bytes;
    for (int i = 0; i < 2; i++) {
        generate(&c, temperatures[i], &want[i]);
        CHECK_EQ(want[i].stats.n_new_tokens, n_tokens);
        CHECK(want[i].text_bytes > 0);
        CHECK_EQ(want[i].stats.n_accepted, 0);
    }
    CHECK(memcmp(want[0].tokens, want[1].tokens, sizeof want[0].tokens)); /* temperature does something */
}

static void every_policy_gives_the_same_text(void)
{
    static const char *const policies[] = {
        "chain:1", "chain",  "tree:4,2,1", "tree:8",   "specinfer", "sequoia:15", "sequoia:24,3", "eagle2",
        "eagle2:4,3,9", "opttree", "opttree:8,0", "specexec:24", "dyspec:20", "edgellm:16", "edgellm", "lookup",
    };
    uint32_t accepted = 0;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        lever_config c = base_config();
        c.policy = policies[i];
        expect_same(&c, policies[i]);
        accepted += got.stats.n_accepted;
        if (strcmp(c.policy, "lookup")) CHECK(got.stats.n_drafted > 0);
    }
    CHECK(accepted > 0); /* else nothing was tested */
}

/* Each at the smallest memory that works for it; the temperatures in turn, since streaming takes its time. */
static void every_policy_gives_the_same_text_streamed(void)
{
    static const char *const policies[] = { "lever", "lever:9@2", "specinfer", "sequoia:20", "eagle2:6,4,20",
                                            "opttree:12", "specexec:16", "dyspec:16", "edgellm:12", "lookup" };
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        lever_config c = base_config();
        lever_plan plan;
        lever_error err = { 0 };
        c.policy = policies[i];
        c.mem_bytes = 1;
        CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
        c.mem_bytes = plan.needed_bytes;
        expect_same_at(&c, (int)i % 2, policies[i]);
        CHECK(got.plan.total_bytes <= c.mem_bytes);
        CHECK(got.stats.bytes_read > 0 || got.plan.streamed_bytes == 0);
    }
}

static bool count_sources(void *user, const lever_token_event *e)
{
    if (e->token >= 0) ((int *)user)[e->source]++; /* the last event may be bytes only */
    return true;
}

static void lookup_needs_no_draft_and_says_where_tokens_come_from(void)
{
    lever_config c = base_config();
    c.policy = "lookup:6,2";
    lever_plan with, without;
    lever_error err = { 0 };
    CHECK_OK(lever_plan_memory(&c, &with, &err), &err);
    c.draft_path = NULL;
    CHECK_OK(lever_plan_memory(&c, &without, &err), &err);
    CHECK_EQ(with.total_bytes, without.total_bytes); /* a draft that is named is not loaded */
    expect_same(&c, "lookup without a draft");

    lever_engine *engine;
    lever_session *session;
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    int sources[3] = { 0 };
    lever_stats st;
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    CHECK_OK(lever_session_open(&session, engine, &greedy, &err), &err);
    /* The text that greedy decoding gives, twice: the second time it is in the first. */
    CHECK_OK(lever_session_append(session, want[0].tokens, want[0].n, &err), &err);
    CHECK_OK(lever_session_append(session, want[0].tokens, want[0].n / 2, &err), &err);
    lever_generate_params p = { .max_tokens = n_tokens, .ignore_end = true };
    CHECK_OK(lever_session_generate(session, &p, count_sources, sources, &st, &err), &err);
    CHECK_EQ(sources[LEVER_FROM_DRAFT], 0);
    CHECK(sources[LEVER_FROM_LOOKUP] >= (int)st.n_accepted); /* and those of the prompt's last sweep */
    CHECK_EQ(sources[LEVER_FROM_LOOKUP] + sources[LEVER_FROM_TARGET], n_tokens);
    p.policy = "chain:3"; /* fits the rows, but there is nothing to draft with */
    CHECK_EQ(lever_session_generate(session, &p, NULL, NULL, NULL, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "draft model") != NULL);
    lever_session_close(&session);
    lever_engine_close(&engine);
}

static void streamed_equals_resident_at_three_budgets(void)
{
    lever_config c = base_config();
    c.policy = "tree:4,2,1";
    c.mem_bytes = 1;
    lever_plan plan;
    lever_error err = { 0 };
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    CHECK(!plan.fits && plan.needed_bytes > 1);
    needed_bytes = plan.needed_bytes;
    c.mem_bytes = needed_bytes - 1;
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    CHECK(!plan.fits);
    c.mem_bytes = needed_bytes;
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    CHECK(plan.fits && plan.streamed_bytes > 0 && plan.total_bytes <= c.mem_bytes);
    const uint64_t least = plan.streamed_bytes;
    uint64_t streamed_before = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        c.mem_bytes = needed_bytes + (uint64_t)i * (least / 3);
        expect_same(&c, i == 0 ? "smallest budget" : i == 1 ? "middle budget" : "larger budget");
        CHECK(got.plan.streamed_bytes > 0 && got.plan.streamed_bytes <= streamed_before);
        CHECK(got.stats.bytes_read > 0);
        streamed_before = got.plan.streamed_bytes;
    }
    CHECK(streamed_before < least);
    c.mem_bytes = needed_bytes + least / 3;
    c.pin_first_layers = true;
    expect_same(&c, "whole first layers pinned");
    c.pin_first_layers = false;
    c.no_pin = true;
    c.mem_bytes = all_bytes;
    expect_same(&c, "nothing pinned");
    CHECK(got.stats.bytes_read > 0);
}

static void every_backend_and_batch_width_gives_the_same_text(void)
{
    static const char *const backends[] = { "uring", "pool", "sim" };
    for (size_t i = 0; i < 3; i++) {
        lever_config c = base_config();
        c.io_backend = backends[i];
        c.mem_bytes = needed_bytes;
        c.policy = "chain:4";
        lever_engine *probe;
        lever_error err = { 0 };
        const int rc = lever_engine_open(&probe, &c, &err);
        lever_engine_close(&probe);
        if (rc == LEVER_EUNSUP) {
            printf("     %s: %s\n", backends[i], err.msg);
            continue;
        }
        expect_same(&c, backends[i]);
    }
    static const uint32_t widths[] = { 5, 7, 33, 64 };
    for (size_t i = 0; i < 4; i++) {
        lever_config c = base_config();
        c.policy = "chain:4";
        c.max_rows = widths[i];
        expect_same(&c, "sweeps of few rows");
    }
    lever_config c = base_config();
    c.policy = "none";
    c.max_rows = 1;
    expect_same(&c, "one row at a time");
}

static void every_thread_count_and_isa_gives_the_same_text(void)
{
    for (uint32_t n = 2; n <= 3; n++) {
        lever_config c = base_config();
        c.n_threads = n;
        expect_same(&c, "more threads");
    }
    static const char *const names[] = { "ref", "avx2", "avx512vnni", "neon", "dotprod", "i8mm" };
    const unsigned have = lv_cpu_detect();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const int flags = lv_cpu_flags_from_name(names[i]);
        if (((unsigned)flags & have) != (unsigned)flags) {
            printf("     %s: not on this machine\n", names[i]);
            continue;
        }
        lever_config c = base_config();
        c.isa = names[i];
        c.policy = "tree:4,2,1";
        expect_same(&c, names[i]);
    }
}

/* Each type of cache gives a text of its own, which is the same in all these ways too. */
static void a_cache_of_type(const char *type)
{
    static outcome kept[2];
    static const char *const policies[] = { "chain:4", "tree:4,2,1", "tree:8" };
    lever_config c = base_config();
    c.kv_type = type;
    lever_error err = { 0 };
    lever_engine *probe;
    const int rc = lever_engine_open(&probe, &c, &err);
    lever_engine_close(&probe);
    if (rc == LEVER_EUNSUP) {
        printf("     %s\n", err.msg);
        return;
    }
    memcpy(kept, want, sizeof kept);
    c.policy = "none";
    for (int i = 0; i < 2; i++) generate(&c, temperatures[i], &want[i]);
    for (size_t i = 0; i < 3; i++) {
        c.policy = policies[i];
        c.n_threads = 1 + (uint32_t)i;
        c.mem_bytes = i == 1;
        lever_plan plan;
        if (i == 1) { /* the smallest memory */
            CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
            c.mem_bytes = plan.needed_bytes;
        }
        c.isa = i == 2 ? "ref" : NULL;
        c.max_rows = i == 2 ? 9 : 0;
        expect_same(&c, policies[i]);
    }
    memcpy(want, kept, sizeof kept);
}

static void every_cache_type_gives_the_same_text_with_and_without_speculation(void)
{
    a_cache_of_type("f16");
    a_cache_of_type("q8_0");
}

/* A predictor of made-up weights: its scores are as good as chance, so pruning drops what should stay. */
static void write_sidecar(const char *path, uint32_t form, uint32_t layer)
{
    lever_error err = { 0 };
    lv_model *m = NULL;
    lv_model_id id;
    CHECK_OK(lv_model_open(&m, target, &err), &err);
    CHECK_OK(lv_model_identify(m, &id, &err), &err);
    sidecar s = sidecar_make(&id, form);
    s.card.layer = layer;
    CHECK_OK(lv_exit_write(path, &s.card, &s.weights, &err), &err);
    sidecar_free(&s);
    lv_model_close(&m);
}

static void pruning_changes_no_text(void)
{
    static const struct { const char *policy, *prune; uint32_t form, layer; bool streamed; } runs[] = {
        { "tree:4,3,2", "0.3", LV_EXIT_TIED, 1, false },
        { "tree:4,3,2", "0.9,no-safeguards", LV_EXIT_UNTIED, 2, true },
        { "eagle2:4,3,14", "0.2,no-shadows", LV_EXIT_UNTIED, 0, false },
        { "specexec:16", "1", LV_EXIT_TIED, 2, true },
        { "lever:40", "0.5,no-safeguards", LV_EXIT_UNTIED, 1, false },
        { "lever:40", "auto", LV_EXIT_UNTIED, 1, false },
        { "lookup", "0.4", LV_EXIT_UNTIED, 1, true },
        { "chain:6", "0.9,no-safeguards", LV_EXIT_UNTIED, 1, false },
    };
    uint64_t n_dropped = 0;
    char path[] = "/tmp/lever-exit-XXXXXX";
    CHECK(close(mkstemp(path)) == 0);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        write_sidecar(path, runs[i].form, runs[i].layer);
        lever_config c = base_config();
        c.policy = runs[i].policy;
        c.prune = runs[i].prune;
        c.exit_path = path;
        c.n_threads = 1 + i % 2;
        c.no_pin = runs[i].streamed;
        for (int t = 0; t < 2; t++) {
            expect_same_at(&c, t, runs[i].prune);
            n_dropped += got.stats.n_rows - got.stats.n_kept_rows;
        }
    }
    CHECK(n_dropped > 100);
    /* A dry run counts what would be dropped, and accepts as much as without. */
    write_sidecar(path, LV_EXIT_UNTIED, 1);
    lever_config c = base_config();
    c.policy = "tree:4,3,2";
    c.prune = "off";
    expect_same_at(&c, 0, "no pruning");
    const uint32_t accepted = got.stats.n_accepted;
    CHECK_EQ(got.stats.n_kept_rows, got.stats.n_rows);
    c.exit_path = path;
    c.prune = "0.4,dry,no-safeguards";
    expect_same_at(&c, 0, "dry");
    CHECK_EQ(got.stats.n_accepted, accepted);
    CHECK(got.stats.n_kept_rows < got.stats.n_rows);
    c.exit_path = draft; /* no sidecar */
    lever_engine *engine;
    lever_error err = { 0 };
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EFORMAT);
    unlink(path);
}

static void threads_bound_to_cores_give_the_same_text(void)
{
    lever_config c = base_config();
    const unsigned before = lv_cpu_count();
    c.cpus = "fast";
    expect_same(&c, "bound to the fast cores");
    CHECK_EQ(lv_cpu_count(), before); /* the caller is released */
}

static void text_can_be_continued_and_reset(void)
{
    lever_config c = base_config();
    lever_error err = { 0 };
    lever_engine *engine;
    lever_session *session;
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    static const char *const policies[] = { "chain:3", "none", "tree:2,2", "chain:8" };
    c.policy = "none";
    c.more_policies = policies;
    c.n_more_policies = 4;
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    CHECK_OK(lever_session_open(&session, engine, &greedy, &err), &err);
    for (int round = 0; round < 2; round++) { /* in pieces of odd size, with changing policies */
        CHECK_OK(lever_session_append_text(session, prompt, SIZE_MAX, 0, &err), &err);
        uint32_t left = n_tokens;
        for (int i = 0; left; i++) {
            const lever_generate_params p = { .max_tokens = left < 5 ? left : 5,
                                              .ignore_end = true,
                                              .policy = policies[i % 4] };
            lever_stats st;
            CHECK_OK(lever_session_generate(session, &p, NULL, NULL, &st, &err), &err);
            if (!st.n_new_tokens) break;
            left -= st.n_new_tokens;
        }
        size_t n;
        const int32_t *t = lever_session_tokens(session, &n);
        CHECK_EQ(n, want[0].n);
        CHECK(n == want[0].n && !memcmp(t, want[0].tokens, n * sizeof *t));
        CHECK_OK(lever_session_reset(session, NULL, &err), &err);
    }
    const lever_generate_params wide = { .max_tokens = 5, .policy = "chain:9" };
    CHECK_OK(lever_session_append_text(session, prompt, SIZE_MAX, 0, &err), &err);
    CHECK_EQ(lever_session_generate(session, &wide, NULL, NULL, NULL, &err), LEVER_EINVAL);
    lever_session_close(&session);
    lever_engine_close(&engine);
}

static void policies_are_known_by_name_and_rows(void)
{
    lever_error err = { 0 };
    size_t n = 0;
    bool has_chain = false;
    for (const char *name; (name = lever_policy_known(n)); n++) has_chain |= !strcmp(name, "chain");
    CHECK(n >= 3 && has_chain);
    CHECK_EQ(lever_policy_rows("none", &err), 1);
    CHECK_EQ(lever_policy_rows("chain:8", &err), 9);
    CHECK_EQ(lever_policy_rows("tree:4,2,1", &err), 21);
    CHECK_EQ(lever_policy_rows("chain:", &err), LEVER_EINVAL);
    CHECK_EQ(lever_policy_rows("zigzag", &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "zigzag") && strstr(err.msg, "chain"));
    lever_config c = base_config();
    c.policy = "none";
    static const char *const policies[] = { "none", "chain:2" };
    c.more_policies = policies;
    c.n_more_policies = 2;
    c.draft_path = NULL;
    lever_plan plan;
    CHECK_EQ(lever_plan_memory(&c, &plan, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "chain:2"));
    c.n_more_policies = 1;
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
}

static bool stop_at_third(void *user, const lever_token_event *e)
{
    (void)e;
    return ++*(int *)user < 3;
}

static bool cancel_at_fourth(void *user, const lever_token_event *e)
{
    struct { lever_session *s; int n; } *u = user;
    (void)e;
    if (++u->n == 4) lever_session_cancel(u->s);
    return true;
}

static void stopping_and_cancelling_lose_nothing(void)
{
    lever_config c = base_config();
    c.mem_bytes = needed_bytes;
    c.policy = "tree:4,2,1";
    lever_error err = { 0 };
    lever_engine *engine;
    struct { lever_session *s; int n; } u = { 0 };
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    CHECK_OK(lever_session_open(&u.s, engine, &greedy, &err), &err);
    CHECK_OK(lever_session_append_text(u.s, prompt, SIZE_MAX, 0, &err), &err);
    lever_stats st;
    int n = 0;
    lever_generate_params p = { .max_tokens = n_tokens, .ignore_end = true };
    CHECK_OK(lever_session_generate(u.s, &p, stop_at_third, &n, &st, &err), &err);
    CHECK_EQ(st.stop, LEVER_STOP_CALLBACK);
    CHECK_EQ(st.n_new_tokens, 3);
    p.max_tokens = n_tokens - 3;
    CHECK_OK(lever_session_generate(u.s, &p, cancel_at_fourth, &u, &st, &err), &err);
    CHECK_EQ(st.stop, LEVER_STOP_CANCEL);
    CHECK(st.n_new_tokens >= 4 && st.n_new_tokens < n_tokens - 3);
    p.max_tokens = n_tokens - 3 - st.n_new_tokens;
    CHECK_OK(lever_session_generate(u.s, &p, NULL, NULL, &st, &err), &err);
    size_t n_all;
    const int32_t *t = lever_session_tokens(u.s, &n_all);
    CHECK(n_all == want[0].n && !memcmp(t, want[0].tokens, n_all * sizeof *t));
    lever_session_close(&u.s);
    lever_engine_close(&engine);
}

static void context_end_is_a_clean_stop(void)
{
    for (int i = 0; i < 2; i++) {
        lever_config c = base_config();
        c.n_ctx = (uint32_t)want[0].n - 4;
        c.policy = i ? "chain:8" : "none";
        const uint32_t keep = n_tokens;
        n_tokens = 4096;
        if (generate(&c, 0, &got)) {
            CHECK_EQ(got.stats.stop, LEVER_STOP_CONTEXT);
            CHECK_EQ(got.n, c.n_ctx);
            CHECK(!memcmp(got.tokens, want[0].tokens, got.n * sizeof(int32_t)));
        }
        n_tokens = keep;
    }
}

static void failing_reads_never_give_a_wrong_token(void)
{
    for (long at = 0; at < 400; at = at * 2 + 1) {
        lever_config c = base_config();
        char faults[64];
        snprintf(faults, sizeof faults, "first=%ld,error=EIO", at);
        c.io_faults = faults;
        c.mem_bytes = needed_bytes;
        c.policy = "chain:4";
        lever_error err = { 0 };
        lever_engine *engine;
        lever_session *session = NULL;
        lever_sampling greedy;
        lever_sampling_init(&greedy);
        greedy.temperature = 0;
        int rc = lever_engine_open(&engine, &c, &err);
        if (rc >= 0) rc = lever_session_open(&session, engine, &greedy, &err);
        if (rc >= 0) rc = lever_session_append_text(session, prompt, SIZE_MAX, 0, &err);
        const lever_generate_params p = { .max_tokens = n_tokens, .ignore_end = true };
        lever_stats st;
        if (rc >= 0) rc = lever_session_generate(session, &p, NULL, NULL, &st, &err);
        CHECK(rc == LEVER_EIO || (rc == LEVER_OK && at > 30));
        if (rc < 0) CHECK(strstr(err.msg, target) != NULL);
        if (session) { /* what was handed out before the failure is right */
            size_t n;
            const int32_t *t = lever_session_tokens(session, &n);
            CHECK(n <= want[0].n && !memcmp(t, want[0].tokens, n * sizeof *t));
        }
        lever_session_close(&session);
        lever_engine_close(&engine);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) return fprintf(stderr, "usage: test_generate TARGET DRAFT PROMPT N_TOKENS\n"), 2;
    target = argv[1], draft = argv[2], prompt = argv[3], n_tokens = (uint32_t)atoi(argv[4]);
    FILE *f = fopen(target, "rb");
    if (!f) SKIP("the model file is not there (its maker was skipped)");
    fclose(f);
    RUN(plain_decoding_is_the_reference);
    RUN(every_policy_gives_the_same_text);
    RUN(every_policy_gives_the_same_text_streamed);
    RUN(lookup_needs_no_draft_and_says_where_tokens_come_from);
    RUN(streamed_equals_resident_at_three_budgets);
    RUN(every_backend_and_batch_width_gives_the_same_text);
    RUN(every_thread_count_and_isa_gives_the_same_text);
    RUN(every_cache_type_gives_the_same_text_with_and_without_speculation);
    RUN(pruning_changes_no_text);
    RUN(threads_bound_to_cores_give_the_same_text);
    RUN(text_can_be_continued_and_reset);
    RUN(policies_are_known_by_name_and_rows);
    RUN(stopping_and_cancelling_lose_nothing);
    RUN(context_end_is_a_clean_stop);
    RUN(failing_reads_never_give_a_wrong_token);
    return check_done();
}
