/* The text is the same whatever computes the products: one pair of models on the CPU and on a device,
 * resident and streamed, with and without speculation; and on devices that fail. usage: test_device_text
 * DEVICE TARGET DRAFT PROMPT N_TOKENS, where "fake" is support/fake_device.h. SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "support/check.h"

#include "device/select.h"
#include "lever/lever.h"
#include "quant/quant.h"
#include "support/fake_device.h"

static const char *device, *target, *draft, *prompt;
static uint32_t n_tokens;
static bool is_fake;

static long cancel_at = -1; /* the device's n-th job that ends */

typedef struct outcome {
    int32_t tokens[4096];
    size_t n;
    int rc;        /* of generating; a device that failed is then left, and the rest generated */
    uint64_t jobs; /* of devices */
    uint64_t n_events, streamed_bytes;
    bool on_device, draft_on_device, cancelled;
    char note[300];
    lever_session *session; /* while it generates */
} outcome;

static outcome want, got;

static void count_jobs(void *user, const lever_trace_event *e)
{
    outcome *o = user;
    if (!strcmp(e->track, "device")) {
        if ((long)o->n_events == cancel_at && o->session) lever_session_cancel(o->session);
        o->n_events++;
        CHECK(e->begin_ns <= e->end_ns && e->rows > 0 && e->bytes > 0);
    }
}

static lever_config base_config(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_ctx = 256;
    c.n_threads = 1;
    c.mem_bytes = 8ull << 30;
    return c;
}

/* The smallest limit that works, plus `more`. */
static uint64_t tight(const lever_config *c, uint64_t more)
{
    lever_config least = *c;
    lever_plan plan;
    lever_error err = { 0 };
    least.mem_bytes = 1;
    CHECK_OK(lever_plan_memory(&least, &plan, &err), &err);
    return plan.needed_bytes + more;
}

static void generate(lever_config *c, outcome *o)
{
    memset(o, 0, sizeof *o);
    lever_error err = { 0 };
    lever_engine *engine = NULL;
    lever_session *session = NULL;
    lever_engine_info info;
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    c->on_trace = count_jobs;
    c->trace_user = o;
    int rc = lever_engine_open(&engine, c, &err);
    if (rc >= 0) rc = lever_session_open(&session, engine, &greedy, &err);
    if (rc >= 0) rc = lever_session_append_text(session, prompt, SIZE_MAX, 0, &err);
    CHECK_OK(rc, &err);
    if (rc < 0) {
        lever_engine_close(&engine);
        return;
    }
    size_t n_prompt;
    lever_session_tokens(session, &n_prompt);
    lever_generate_params p = { .max_tokens = n_tokens, .ignore_end = true };
    lever_stats st;
    o->session = session;
    o->rc = lever_session_generate(session, &p, NULL, NULL, &st, &err);
    o->session = NULL;
    const int32_t *t = lever_session_tokens(session, &o->n);
    o->cancelled = o->rc >= 0 && st.stop == LEVER_STOP_CANCEL;
    /* Tokens handed out are right, and the session can be continued. */
    for (int tries = 0; tries < 20 && o->n < n_prompt + n_tokens; tries++) {
        p.max_tokens = n_tokens - (uint32_t)(o->n - n_prompt);
        const int again = lever_session_generate(session, &p, NULL, NULL, NULL, &err);
        CHECK(again == LEVER_OK || again == LEVER_EIO);
        t = lever_session_tokens(session, &o->n);
    }
    if (o->n > 4096) o->n = 4096;
    memcpy(o->tokens, t, o->n * sizeof *t);
    lever_engine_get_info(engine, &info);
    o->jobs = info.device_jobs;
    o->streamed_bytes = info.target_streamed_bytes;
    o->on_device = strcmp(info.device, "cpu") != 0;
    o->draft_on_device = info.draft_device && strcmp(info.draft_device, "cpu");
    snprintf(o->note, sizeof o->note, "%s", info.device_note ? info.device_note : "");
    lever_session_close(&session);
    lever_engine_close(&engine);
}

static void expect_same(lever_config *c, const char *what)
{
    generate(c, &got);
    const bool same = got.n == want.n && !memcmp(got.tokens, want.tokens, got.n * sizeof(int32_t));
    if (!same) fprintf(stderr, "%s differs from the CPU's text (%zu tokens of %zu)\n", what, got.n, want.n);
    CHECK(same);
    if (is_fake) CHECK_EQ(fake_count.pieces, 0);
}

static lever_config device_config(const char *policy)
{
    lever_config c = base_config();
    c.device = device;
    c.policy = policy;
    return c;
}

/* A device that works: it has done something, nothing was left. */
static void expect_device(lever_config *c, const char *what)
{
    expect_same(c, what);
    if (!got.on_device || got.note[0] || !got.jobs || got.rc < 0)
        fprintf(stderr, "%s: note '%s', %llu jobs\n", what, got.note, (unsigned long long)got.jobs);
    CHECK(got.on_device && !got.note[0] && got.jobs > 0 && got.rc >= 0);
    CHECK_EQ(got.n_events, got.jobs);
}

static void cpu_is_the_reference(void)
{
    lever_config c = base_config();
    c.policy = "none";
    generate(&c, &want);
    CHECK_EQ(want.rc, LEVER_OK);
    CHECK(!want.on_device && !want.draft_on_device && !want.jobs);
}

static const char *const policies[] = { "none", "tree:3,2,1", "lever" };
enum { N_POLICIES = 3 };

static void resident(void)
{
    for (int i = 0; i < N_POLICIES; i++) {
        lever_config c = device_config(policies[i]);
        expect_device(&c, policies[i]);
        CHECK_EQ(got.streamed_bytes, 0);
    }
}

static void streamed(void)
{
    for (int i = 0; i < N_POLICIES; i++)
        for (int more = 0; more < 2; more++) {
            lever_config c = device_config(policies[i]);
            c.mem_bytes = tight(&c, more ? 200 << 10 : 0);
            expect_device(&c, more ? "a long ring" : "a short ring");
            CHECK(got.streamed_bytes > 0);
        }
    lever_config c = device_config("tree:2,2");
    c.no_pin = true;
    c.flash_block_bytes = 64 << 10;
    expect_device(&c, "everything streamed");
    CHECK(got.streamed_bytes > 0);
}

static void draft_on_the_device(void)
{
    lever_config c = device_config("tree:3,2");
    c.draft_device = device;
    expect_device(&c, "both models");
    const uint64_t both = got.jobs;
    CHECK(got.draft_on_device);
    c.mem_bytes = tight(&c, 0);
    expect_device(&c, "both models, the target streamed");
    c = device_config("tree:3,2");
    c.draft_device = device;
    c.device = NULL;
    expect_same(&c, "the draft alone");
    CHECK(!got.on_device && got.draft_on_device && got.jobs > 0 && got.jobs < both);
}

/* Drivers take a little more at one start than at another; a limit that is named allows for it. */
static void limits_that_are_named_allow_for_the_driver(void)
{
    const char *const devices[] = { NULL, device };
    for (int i = 0; i < 2; i++) {
        lever_config c = base_config();
        lever_engine *e;
        lever_error err = { 0 };
        char named[64];
        c.device = devices[i];
        snprintf(named, sizeof named, "at least %" PRIu64 " bytes", tight(&c, i ? 1 << 20 : 0));
        c.mem_bytes = 1 << 20;
        CHECK_EQ(lever_engine_open(&e, &c, &err), LEVER_ELIMIT);
        CHECK_STR(strstr(err.msg, named) ? named : err.msg, named);
        lever_engine_close(&e);
    }
}

/* Sweeps of few rows on the CPU, from the same memory. */
static void threshold(void)
{
    static const uint32_t rows[] = { 2, 3, 6, 10000 };
    for (size_t i = 0; i < 4; i++) {
        lever_config c = device_config("lever");
        c.device_min_rows = rows[i];
        expect_same(&c, "a threshold, resident");
        CHECK(got.on_device);
        if (rows[i] == 10000 && (!is_fake || !fake_now.discrete)) CHECK_EQ(got.jobs, 0);
        c.mem_bytes = tight(&c, 100 << 10);
        expect_same(&c, "a threshold, streamed");
        CHECK(got.on_device && !got.note[0]);
    }
}

/* A processor whose products take `row` of a row of activations, and the device under test, whose products always take
 * as long. */
static lever_machine m; /* too large for a frame */

static void measure_machine(double cpu_row_s, double device_s)
{
    static const uint32_t types[] = { LV_TYPE_Q4_0, LV_TYPE_Q8_0, LV_TYPE_Q4_K,
                                      LV_TYPE_Q6_K, LV_TYPE_F16,  LV_TYPE_BF16 };
    lever_error err = { 0 };
    lv_device *d = NULL;
    const lv_device_config sizes = { .max_rows = 4, .max_k = 256, .max_out = 256, .n_jobs = 1 };
    memset(&m, 0, sizeof m);
    m.n_devices = 2;
    CHECK_OK(lv_device_open_named(&d, device, &sizes, NULL, &err), &err);
    snprintf(m.devices[0].kind, sizeof m.devices[0].kind, "cpu");
    snprintf(m.devices[1].kind, sizeof m.devices[1].kind, "%s", d->traits.kind);
    snprintf(m.devices[1].name, sizeof m.devices[1].name, "%s", d->traits.name);
    snprintf(m.devices[1].driver, sizeof m.devices[1].driver, "%s", d->traits.driver);
    m.devices[1].unified = d->traits.unified;
    lv_device_close(&d);
    for (int i = 0; i < 2; i++) {
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            lever_machine_product *p = &m.devices[i].products[m.devices[i].n_products++];
            *p = (lever_machine_product){ .gguf_type = types[t] };
            snprintf(p->type, sizeof p->type, "%s", lv_type_traits_get(types[t])->name);
            for (int k = 0; k < LEVER_MACHINE_ROWS; k++)
                p->weight_s[k] = i ? device_s : cpu_row_s * lever_machine_rows[k];
        }
    }
    for (int k = 0; k < LEVER_MACHINE_ROWS; k++) m.rest.attend_s[0][k] = m.rest.attend_s[1][k] = 1e-12;
}

/* From as many rows on as the profile found the device faster; a device with memory of its own takes all. */
static void the_profile_chooses_the_rows(void)
{
    lever_config c = device_config("chain:1");
    const bool own = is_fake && fake_now.discrete;
    c.machine = &m;
    measure_machine(1e-10, 3e-10); /* from 4 rows on: the prompt */
    expect_same(&c, "rows by the profile");
    CHECK(got.on_device && got.jobs > 0 && !got.note[0] && got.n_events == got.jobs);
    const uint64_t jobs = got.jobs;
    c.device_min_rows = 4;
    expect_same(&c, "as many rows as the profile chooses");
    CHECK_EQ(got.jobs, jobs);
    c.device_min_rows = 1;
    expect_same(&c, "all rows");
    CHECK(own ? got.jobs == jobs : got.jobs > jobs);
    c.device_min_rows = 0;
    measure_machine(1e-10, 1e-6);
    expect_same(&c, "a device that is never faster");
    CHECK(own ? got.jobs > 0 && !got.note[0] : got.jobs == 0 && !got.on_device && strstr(got.note, "profile") != NULL);
    c.device_min_rows = 1;
    expect_device(&c, "a device that is never faster, asked for");
}

static void other_settings(void)
{
    lever_config c = device_config("tree:3,2,1");
    c.project = "eager";
    expect_device(&c, "eager projection");
    const uint64_t without = got.jobs;
    c.project_device = true;
    expect_device(&c, "eager projection on the device");
    CHECK(got.jobs > without);
    c.project = NULL;
    expect_device(&c, "projection on demand on the device");
    c.no_pin = true; /* the head is streamed */
    expect_device(&c, "a streamed head on the device");
    c.project_device = false;
    expect_device(&c, "a streamed head on the CPU");
    c = device_config("tree:4,2");
    c.n_threads = 2;
    c.max_rows = 16;
    c.isa = "ref";
    expect_device(&c, "short sweeps, two threads");
    c = device_config("tree:3,2");
    c.verify = "match";
    c.kv_type = NULL;
    c.prune = "0.02";
    expect_device(&c, "pruning");
}

/* Texts that share sweeps, on a device that both models have. */
static void sessions_share(void)
{
    enum { N = 3 };
    lever_config c = device_config("tree:2,2");
    c.draft_device = device;
    c.n_sessions = N;
    lever_error err = { 0 };
    lever_engine *engine;
    lever_session *s[N] = { NULL };
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    const lever_generate_params p = { .max_tokens = n_tokens, .ignore_end = true };
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    for (int i = 0; engine && i < N; i++) {
        CHECK_OK(lever_session_open(&s[i], engine, &greedy, &err), &err);
        CHECK_OK(lever_session_append_text(s[i], prompt, SIZE_MAX, 0, &err), &err);
        CHECK_OK(lever_session_start(s[i], &p, NULL, NULL, &err), &err);
    }
    while (engine && lever_engine_step(engine) > 0) continue;
    for (int i = 0; engine && i < N; i++) {
        size_t n;
        CHECK_OK(lever_session_finish(s[i], NULL, &err), &err);
        const int32_t *t = lever_session_tokens(s[i], &n);
        CHECK(n == want.n && !memcmp(t, want.tokens, n * sizeof *t));
        lever_session_close(&s[i]);
    }
    lever_engine_close(&engine);
}

/* In the middle of a sweep, with jobs under way and slots held. */
static void canceled(void)
{
    static const long at[] = { 0, 1, 5, 30 };
    for (size_t i = 0; i < 4; i++)
        for (int streams = 0; streams < 2; streams++) {
            lever_config c = device_config("tree:2,2");
            if (streams) c.mem_bytes = tight(&c, 200 << 10);
            cancel_at = at[i];
            expect_device(&c, "canceled");
            CHECK(got.cancelled);
        }
    cancel_at = -1;
}

static void reads_fail(void)
{
    static const char *const faults[] = { "first=3,count=20,error=EIO", "first=9,count=20,error=EIO",
                                          "first=40,count=20,error=EIO", "first=7,count=1,error=EIO" };
    for (int i = 0; i < 4; i++) {
        lever_config c = device_config("tree:2,2");
        c.no_pin = true;
        c.io_faults = faults[i];
        expect_same(&c, "a read fails");
        CHECK(got.on_device && !got.note[0]);
        CHECK_EQ(got.rc, i < 3 ? LEVER_EIO : LEVER_OK);
    }
}

/* ---- devices that fail ---- */

static void set_fake(fake_plan p)
{
    p.types = fake_now.types;
    fake_now = p;
}

/* The device fails in the middle; the CPU goes on without an error, and without it. */
static void expect_left(lever_config *c, const char *what)
{
    expect_same(c, what);
    CHECK_EQ(got.rc, LEVER_OK);
    if (!fake_failed) return;
    CHECK(!got.on_device && strstr(got.note, "fake: ") && strstr(got.note, "the CPU goes on"));
}

static void failing(void (*set)(fake_plan *p, long n), const char *what, bool clean)
{
    static const long at[] = { 0, 1, 2, 5, 17, 40, 111 };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (int streams = 0; streams < 2; streams++) {
            fake_plan p = fake_works;
            set(&p, at[i]);
            set_fake(fake_works);
            lever_config c = device_config("tree:2,2");
            c.draft_device = i % 2 ? device : NULL;
            if (streams) c.mem_bytes = tight(&c, 100 << 10);
            set_fake(p);
            if (clean)
                expect_left(&c, what);
            else
                expect_same(&c, what); /* the sweep may fail */
        }
    set_fake(fake_works);
}

static void fail_submit(fake_plan *p, long n)
{
    p->submit = n;
}
static void fail_wait(fake_plan *p, long n)
{
    p->wait = n;
}
static void fail_take(fake_plan *p, long n)
{
    p->take = n;
}
static void fail_look(fake_plan *p, long n)
{
    p->look = n;
}
static void fail_open(fake_plan *p, long n)
{
    p->open = n;
}
static void fail_give(fake_plan *p, long n)
{
    p->give = n;
}

static void jobs_fail(void)
{
    failing(fail_submit, "a job that can not be started", true);
    failing(fail_wait, "a job that fails", true);
}

static void memory_fails(void)
{
    failing(fail_open, "a piece that can not be had", true);
    failing(fail_give, "a piece that can not be given", true);
    failing(fail_take, "a piece that does not come back", false);
    failing(fail_look, "a piece that can not be read", false);
}

static void jobs_are_refused(void)
{
    for (unsigned every = 1; every < 4; every++) {
        fake_plan p = fake_works;
        p.refuse = every;
        set_fake(p);
        lever_config c = device_config("tree:2,2");
        c.draft_device = device;
        expect_same(&c, "refused jobs");
        CHECK(got.on_device && !got.note[0] && got.rc >= 0);
        c.mem_bytes = tight(&c, 0);
        expect_same(&c, "refused jobs, streamed");
        CHECK(got.on_device && !got.note[0] && got.rc >= 0);
    }
    set_fake(fake_works);
}

/* The host can not read what the device has: every sweep is the device's, and a failure ends the one it hits.
 */
static void memory_of_its_own(void)
{
    fake_plan p = fake_works;
    p.discrete = true;
    set_fake(p);
    resident();
    streamed();
    threshold();
    other_settings();
    lever_config c = device_config("tree:2,2");
    c.draft_device = device;
    expect_device(&c, "both models");
    static const long at[] = { 0, 3, 30 };
    for (size_t i = 0; i < 3; i++)
        for (int streams = 0; streams < 2; streams++) {
            set_fake(p);
            c = device_config("tree:2,2");
            if (streams) c.mem_bytes = tight(&c, 0);
            fake_now.submit = at[i];
            expect_same(&c, "memory of its own, and a job fails");
            CHECK(got.rc == LEVER_EIO || got.rc == LEVER_OK); /* OK: taken slots can still be read */
            CHECK(!got.on_device && strstr(got.note, "fake: job"));
        }
    for (long n = 0; n < 60; n += 7) /* some of them are projections */
        for (int streams = 0; streams < 2; streams++) {
            set_fake(p);
            c = device_config("tree:2,2");
            c.project_device = true;
            c.project = n % 2 ? "eager" : NULL;
            c.no_pin = streams;
            fake_now.wait = n;
            expect_same(&c, "memory of its own, and a projection fails");
            CHECK(!got.on_device && strstr(got.note, "fake: wait"));
        }
    p.refuse = 2; /* nobody can do such a job */
    set_fake(p);
    c = device_config("tree:2,2");
    expect_same(&c, "memory of its own, and a job is refused");
    CHECK_EQ(got.rc, LEVER_EIO);
    CHECK(!got.on_device);
    set_fake(fake_works);
}

/* Long rows are the CPU's, between jobs that hold slots of the stream. */
static void some_matrices_only(void)
{
    lever_config c = device_config("tree:2,2");
    fake_now.max_k = 256;
    expect_device(&c, "some matrices");
    c.mem_bytes = tight(&c, 200 << 10);
    expect_device(&c, "some matrices, streamed");
    c.no_pin = true;
    c.flash_block_bytes = 64 << 10;
    expect_device(&c, "some matrices, all streamed");
    set_fake(fake_works);
}

/* The n-th allocation fails: a clean error, or an engine that works; nothing is left behind. */
static void allocations_fail(void)
{
    lever_config c = device_config("tree:2,2");
    c.draft_device = device;
    c.mem_bytes = tight(&c, 100 << 10);
    for (long n = 0;; n++) {
        lever_error err = { 0 };
        lever_engine *engine;
        const size_t live = lv_alloc_live();
        lv_alloc_fault(n, false);
        const int rc = lever_engine_open(&engine, &c, &err);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK(rc == LEVER_OK || rc == LEVER_ENOMEM);
        lever_engine_close(&engine);
        CHECK_EQ(lv_alloc_live(), live);
        CHECK_EQ(fake_count.pieces, 0);
        if (!fired) break;
    }
}

static void some_types_only(void)
{
    const uint64_t all = fake_now.types;
    fake_now.types = 1ull << LV_TYPE_Q5_0;
    lever_config c = device_config("tree:2,2");
    c.draft_device = device;
    expect_same(&c, "a device without these types");
    CHECK(!got.on_device && !got.draft_on_device && strstr(got.note, "none of its types"));
    fake_now.types = all;
}

static void wrong_settings(void)
{
    lever_config c = base_config();
    lever_engine *engine;
    lever_error err = { 0 };
    c.device = "abacus";
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "abacus") && strstr(err.msg, "opencl"));
    c.device = NULL;
    c.draft_device = "openclx";
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EINVAL);
    c.draft_device = NULL;
    c.project = "sometimes";
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "eager"));
    c = base_config();
    c.policy = "none";
    c.device = "opencl:no such device";
    expect_same(&c, "a device that is not there");
    CHECK(!got.on_device && strstr(got.note, "the target runs on the CPU: "));
}

static void skip_without_device(void)
{
    lever_error e = { 0 };
    lv_device *d = NULL;
    const lv_device_config sizes = { .max_rows = 1, .max_k = 256, .max_out = 256, .n_jobs = 1 };
    if (lv_device_open_named(&d, device, &sizes, NULL, &e) < 0) {
        printf("SKIP: %s\n", e.msg);
        exit(77);
    }
    lv_device_close(&d);
}

int main(int argc, char **argv)
{
    if (argc != 6) return fprintf(stderr, "usage: test_device_text DEVICE TARGET DRAFT PROMPT N_TOKENS\n"), 2;
    device = argv[1], target = argv[2], draft = argv[3], prompt = argv[4];
    n_tokens = (uint32_t)atoi(argv[5]);
    is_fake = !strcmp(device, "fake");
    fake_now = fake_works;
    fake_now.types = UINT64_MAX >> 1;
    if (is_fake) lv_device_register(device, fake_open);
    skip_without_device();
    RUN(cpu_is_the_reference);
    RUN(resident);
    RUN(streamed);
    RUN(draft_on_the_device);
    RUN(limits_that_are_named_allow_for_the_driver);
    RUN(threshold);
    RUN(the_profile_chooses_the_rows);
    RUN(other_settings);
    RUN(wrong_settings);
    RUN(sessions_share);
    RUN(canceled);
    RUN(reads_fail);
    if (is_fake) {
        RUN(jobs_fail);
        RUN(memory_fails);
        RUN(jobs_are_refused);
        RUN(memory_of_its_own);
        RUN(some_types_only);
        RUN(some_matrices_only);
        RUN(allocations_fail);
    }
    return check_done();
}
