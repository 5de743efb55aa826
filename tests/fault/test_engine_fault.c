/* test_engine_fault BACKEND: whole engines under failing allocations: every one is a clean error that leaves
 * nothing behind; and generating allocates nothing per token. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <dirent.h>
#include <unistd.h>

#include "base/mem.h"
#include "lever/lever.h"
#include "support/mkmodel.h"

static const char *backend; /* not "auto": that turns to the pool when io_uring can not be set up */
static char target[] = "/tmp/lever-target-XXXXXX", draft[] = "/tmp/lever-draft-XXXXXX";

static bool check_reads;
static const char *rule; /* of verification */

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

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

static void every_failed_allocation_is_clean(bool streamed)
{
    const lever_config c = config(streamed);
    int32_t want = -1, got = -2;
    CHECK_EQ(scenario(&c, &want), LEVER_OK);
    const size_t live = lv_alloc_live();
    const int fds = open_fds();
    for (int stays = 0; stays < 2; stays++)
        for (long n = 0;; n++) {
            lv_alloc_fault(n, stays);
            const int rc = scenario(&c, &got);
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
    RUN(generating_allocates_nothing);
    char sums[sizeof target + 8];
    snprintf(sums, sizeof sums, "%s.sums", target);
    unlink(sums);
    unlink(target);
    unlink(draft);
    return check_done();
}
