/* test_engine_fault BACKEND: whole engines under failing allocations: every one is a clean error that leaves
 * nothing behind; and generating allocates nothing per token. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "base/mem.h"
#include "lever/file.h"
#include "lever/lever.h"
#include "support/mkmodel.h"
#include "support/open_fds.h"

static const char *backend; /* not "auto": that turns to the pool when io_uring can not be set up */
static char target[] = "/tmp/lever-target-XXXXXX", draft[] = "/tmp/lever-draft-XXXXXX";

static bool check_reads;
static const char *rule; /* of verification */

static lever_config config(bool streamed)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_ctx = 64;
    c.n_threads = 2;
    c.no_pin = streamed;
    c.mem_bytes = 64 << 20;
    c.policy = "tree:2,1";
    c.io_backend = backend;
    c.flash_model = streamed ? "nvme" : NULL; /* holding reads back takes memory too */
    c.verify_reads = check_reads;
    c.verify = rule;
    return c;
}

static int scenario(const lever_config *c, int32_t *last)
{
    lever_engine *engine = NULL;
    lever_session *session = NULL;
    lever_error err = { 0 };
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    const lever_generate_params p = { .max_tokens = 6, .ignore_end = true };
    int rc = lever_engine_open(&engine, c, &err);
    if (rc >= 0) rc = lever_session_open(&session, engine, &greedy, &err);
    if (rc >= 0) rc = lever_session_append_text(session, "abc abc", SIZE_MAX, 0, &err);
    if (rc >= 0) rc = lever_session_generate(session, &p, NULL, NULL, NULL, &err);
    if (rc >= 0) {
        size_t n;
        const int32_t *t = lever_session_tokens(session, &n);
        *last = t[n - 1];
    } else {
        CHECK(err.msg[0] != '\0');
    }
    lever_session_close(&session);
    lever_engine_close(&engine);
    return rc;
}

static void look(void *user, const lever_cycle_view *v) { *(uint32_t *)user += v->n_nodes; }

/* Two sessions that share sweeps, looked at. */
static int shared_scenario(const lever_config *c, int32_t *last)
{
    lever_engine *engine = NULL;
    lever_session *s[2] = { NULL };
    lever_error err = { 0 };
    uint32_t n_seen = 0;
    const lever_generate_params p = { .max_tokens = 6, .ignore_end = true, .n_logprobs = 2, .on_cycle = look,
                                      .cycle_user = &n_seen };
    lever_config two = *c;
    two.n_sessions = 2;
    two.policy = "lever:6";
    int rc = lever_engine_open(&engine, &two, &err), n_started = 0;
    for (int i = 0; i < 2; i++) {
        if (rc >= 0) rc = lever_session_open(&s[i], engine, NULL, &err);
        if (rc >= 0) rc = lever_session_append_text(s[i], i ? "abc abc" : "a", SIZE_MAX, 0, &err);
        if (rc >= 0) rc = lever_session_start(s[i], &p, NULL, NULL, &err);
        n_started += rc >= 0;
    }
    while (rc >= 0 && lever_engine_step(engine) > 0) {}
    for (int i = 0; i < n_started; i++) {
        const int end = lever_session_finish(s[i], NULL, &err);
        if (rc >= 0) rc = end;
    }
    if (rc >= 0) {
        size_t n;
        const int32_t *t = lever_session_tokens(s[1], &n);
        *last = t[n - 1];
        CHECK(n_seen >= 4);
    } else {
        CHECK(err.msg[0] != '\0');
    }
    lever_session_close(&s[0]);
    lever_session_close(&s[1]);
    lever_engine_close(&engine);
    return rc;
}

static int (*run_scenario)(const lever_config *c, int32_t *last) = scenario;

static void every_failed_allocation_is_clean(bool streamed)
{
    const lever_config c = config(streamed);
    int32_t want = -1, got = -2;
    CHECK_EQ(run_scenario(&c, &want), LEVER_OK);
    const size_t live = lv_alloc_live();
    const int fds = open_fds();
    for (int stays = 0; stays < 2; stays++)
        for (long n = 0;; n++) {
            lv_alloc_fault(n, stays);
            const int rc = run_scenario(&c, &got);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(lv_alloc_live(), live);
            CHECK_EQ(open_fds(), fds);
            if (!fired) {
                CHECK_EQ(rc, LEVER_OK);
                CHECK_EQ(got, want);
                CHECK(n > 40); /* the sweep did visit something */
                break;
            }
            if (rc != LEVER_ENOMEM) fprintf(stderr, "allocation %ld: code %d\n", n, rc);
            CHECK_EQ(rc, LEVER_ENOMEM);
        }
}

static void resident_engine(void) { every_failed_allocation_is_clean(false); }
static void streamed_engine(void) { every_failed_allocation_is_clean(true); }

static void engine_that_checks_reads(void)
{
    check_reads = true;
    every_failed_allocation_is_clean(true);
    check_reads = false;
}

static void engine_with_a_rule(void)
{
    rule = "traversal";
    every_failed_allocation_is_clean(false);
    rule = NULL;
}

static void engine_with_several_sessions(void)
{
    run_scenario = shared_scenario;
    every_failed_allocation_is_clean(false);
    run_scenario = scenario;
}

static void sharing_sweeps_allocates_nothing(void)
{
    lever_config c = config(true);
    lever_engine *engine;
    lever_session *s[3];
    lever_error err = { 0 };
    uint32_t n_seen = 0;
    const lever_generate_params p = { .max_tokens = 30, .ignore_end = true, .n_logprobs = 3, .on_cycle = look,
                                      .cycle_user = &n_seen };
    c.n_sessions = 3;
    c.policy = "lever:6";
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(lever_session_open(&s[i], engine, NULL, &err), &err);
        CHECK_OK(lever_session_append_text(s[i], "abc abc abc", SIZE_MAX, 0, &err), &err);
        CHECK_OK(lever_session_start(s[i], &p, NULL, NULL, &err), &err);
    }
    const size_t calls = lv_alloc_calls();
    while (lever_engine_step(engine) > 0) {}
    CHECK_EQ(lv_alloc_calls(), calls);
    CHECK(n_seen > 3);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(lever_session_finish(s[i], NULL, &err), &err);
        lever_session_close(&s[i]);
    }
    lever_engine_close(&engine);
}

static void generating_allocates_nothing(void)
{
    for (int how = 0; how < 4; how++) {
        lever_config c = config(how > 0);
        c.verify_reads = how == 2;
        c.verify = how == 3 ? "traversal" : NULL;
        lever_engine *engine;
        lever_session *session;
        lever_error err = { 0 };
        CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
        CHECK_OK(lever_session_open(&session, engine, NULL, &err), &err);
        CHECK_OK(lever_session_append_text(session, "abc", SIZE_MAX, 0, &err), &err);
        const size_t calls = lv_alloc_calls();
        const lever_generate_params p = { .max_tokens = 40, .ignore_end = true };
        CHECK_OK(lever_session_generate(session, &p, NULL, NULL, NULL, &err), &err);
        CHECK_EQ(lv_alloc_calls(), calls);
        lever_session_close(&session);
        lever_engine_close(&engine);
    }
}

int main(int argc, char **argv)
{
    lever_error err = { 0 };
    backend = argc > 1 ? argv[1] : "pool";
    mk_config c = mk_config_init();
    const int a = mkstemp(target), b = mkstemp(draft);
    if (a < 0 || b < 0) SKIP("no place for test models");
    close(a);
    close(b);
    CHECK_OK(mk_model_write(target, &c, &err), &err);
    c.n_layers = 1;
    CHECK_OK(mk_model_write(draft, &c, &err), &err);
    const lever_config first = config(true);
    int32_t last;
    if (scenario(&first, &last) == LEVER_EUNSUP) {
        unlink(target), unlink(draft);
        SKIP("this backend is absent here");
    }
    RUN(resident_engine);
    RUN(streamed_engine);
    CHECK_OK(lever_sums_make(target, NULL, NULL, NULL, &err), &err);
    RUN(engine_that_checks_reads);
    RUN(engine_with_a_rule);
    RUN(engine_with_several_sessions);
    RUN(generating_allocates_nothing);
    RUN(sharing_sweeps_allocates_nothing);
    char sums[sizeof target + 8];
    snprintf(sums, sizeof sums, "%s.sums", target);
    unlink(sums);
    unlink(target);
    unlink(draft);
    return check_done();
}
