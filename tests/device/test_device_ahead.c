/* The draft goes on while a device computes a sweep: from a trace, for how many nanoseconds both had work. The device's
 * threads have the cores that are not the CPU side's.
 * usage: test_device_ahead DEVICE TARGET DRAFT. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>

#include "support/check.h"

#include "device/select.h"
#include "lever/lever.h"
#include "os/cpu.h"

static const char *device, *target, *draft;

enum { SPANS = 4096 };
typedef struct spans {
    struct { uint64_t begin, end; } device[SPANS]; /* [n_device] of the sweep that is going on */
    uint32_t n_device;
    struct { uint64_t begin, end; } ahead[SPANS];
    uint32_t n_ahead;
    uint64_t both_ns, ahead_ns, sweep_ns;
} spans;

/* Jobs of a device may overlap each other: a moment counts once. They end in the order they began in. */
static uint64_t beside_jobs(const spans *s, uint64_t begin, uint64_t end)
{
    uint64_t both = 0, from = begin;
    for (uint32_t i = 0; i < s->n_device; i++) {
        const uint64_t a = s->device[i].begin > from ? s->device[i].begin : from;
        const uint64_t b = s->device[i].end < end ? s->device[i].end : end;
        if (a < b) both += b - a, from = b;
    }
    return both;
}

/* Jobs and what was drafted ahead are told before the sweep they belong to. */
static void on_trace(void *user, const lever_trace_event *e)
{
    spans *s = user;
    if (!strcmp(e->track, "device") && s->n_device < SPANS) {
        s->device[s->n_device].begin = e->begin_ns;
        s->device[s->n_device++].end = e->end_ns;
    }
    if (!strcmp(e->name, "ahead") && s->n_ahead < SPANS) {
        s->ahead[s->n_ahead].begin = e->begin_ns;
        s->ahead[s->n_ahead++].end = e->end_ns;
    }
    if (strcmp(e->name, "verify")) return;
    s->sweep_ns += e->end_ns - e->begin_ns;
    for (uint32_t i = 0; i < s->n_ahead; i++) {
        s->ahead_ns += s->ahead[i].end - s->ahead[i].begin;
        s->both_ns += beside_jobs(s, s->ahead[i].begin, s->ahead[i].end);
    }
    s->n_ahead = s->n_device = 0;
}

static int32_t texts[2][512];
static size_t lengths[2];

static void generate(const char *on, const char *cpus, int ahead, spans *s, lever_stats *st, int which)
{
    lever_config c;
    lever_error err = { 0 };
    lever_engine *engine = NULL;
    lever_session *session = NULL;
    lever_engine_info info;
    lever_sampling sampling;
    lever_sampling_init(&sampling);
    sampling.temperature = 0;
    lever_config_init(&c);
    c.model_path = target, c.draft_path = draft, c.device = on, c.cpus = cpus;
    c.policy = "chain:4", c.n_ctx = 256, c.mem_bytes = 4ull << 30;
    c.draft_ahead = ahead;
    c.on_trace = s ? on_trace : NULL;
    c.trace_user = s;
    const lever_generate_params p = { .max_tokens = 48, .ignore_end = true };
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    lever_engine_get_info(engine, &info);
    CHECK_EQ(strcmp(info.device, "cpu") != 0, on != NULL);
    CHECK_OK(lever_session_open(&session, engine, &sampling, &err), &err);
    CHECK_OK(lever_session_append_text(session, "Once upon a time", SIZE_MAX, 0, &err), &err);
    CHECK_OK(lever_session_generate(session, &p, NULL, NULL, st, &err), &err);
    const int32_t *t = lever_session_tokens(session, &lengths[which]);
    CHECK(lengths[which] <= 512);
    memcpy(texts[which], t, lengths[which] * sizeof *t);
    lever_session_close(&session);
    lever_engine_close(&engine);
}

static void drafting_and_the_device_work_at_the_same_time(void)
{
    static spans s;
    lever_stats st;
    char first[16];
    cpu_set_t set;
    int c = 0;
    CHECK(!sched_getaffinity(0, sizeof set, &set));
    while (!CPU_ISSET(c, &set)) c++;
    snprintf(first, sizeof first, "%d", c);
    generate(NULL, NULL, LEVER_AHEAD_OFF, NULL, &st, 0);
    generate(device, first, LEVER_AHEAD_ON, &s, &st, 1);
    CHECK(lengths[0] == lengths[1] && !memcmp(texts[0], texts[1], lengths[0] * sizeof **texts));
    printf("     drafted ahead for %.1f ms, the device had jobs for %.1f ms of it; sweeps took %.1f ms\n",
           (double)s.ahead_ns * 1e-6, (double)s.both_ns * 1e-6, (double)s.sweep_ns * 1e-6);
    CHECK(st.n_ahead > 0);
    CHECK(s.both_ns > 0);
    CHECK(s.both_ns * 2 > s.ahead_ns); /* the device has jobs for nearly all of a sweep */
    CHECK(s.ahead_ns <= s.sweep_ns);
    CHECK_EQ(lv_cpu_count(), CPU_COUNT(&set)); /* the caller is released */
}

static void with_the_device_it_is_on_by_itself(void)
{
    lever_stats st;
    generate(device, NULL, LEVER_AHEAD_AUTO, NULL, &st, 1);
    CHECK(lengths[0] == lengths[1] && !memcmp(texts[0], texts[1], lengths[0] * sizeof **texts));
    CHECK(st.n_ahead > 0);
}

static void a_device_that_both_models_share_has_no_time_for_it(void)
{
    lever_config c;
    lever_plan plan[2];
    lever_error err = { 0 };
    lever_config_init(&c);
    c.model_path = target, c.draft_path = draft, c.policy = "chain:4", c.device = c.draft_device = device;
    for (int k = 0; k < 2; k++) {
        c.draft_ahead = k ? LEVER_AHEAD_ON : LEVER_AHEAD_OFF;
        CHECK_OK(lever_plan_memory(&c, &plan[k], &err), &err);
    }
    CHECK_EQ(plan[0].needed_bytes, plan[1].needed_bytes);
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    device = argv[1], target = argv[2], draft = argv[3];
    setenv("POCL_CPU_MAX_CU_COUNT", "1", 0); /* of newer PoCL */
    setenv("POCL_MAX_PTHREAD_COUNT", "1", 0);
    lever_error e = { 0 };
    lv_device *d = NULL;
    const lv_device_config sizes = { .max_rows = 1, .max_k = 256, .max_out = 256, .n_jobs = 1 };
    if (lv_device_open_named(&d, device, &sizes, NULL, &e) < 0) SKIP(e.msg);
    lv_device_close(&d);
    RUN(drafting_and_the_device_work_at_the_same_time);
    RUN(with_the_device_it_is_on_by_itself);
    RUN(a_device_that_both_models_share_has_no_time_for_it);
    return check_done();
}
