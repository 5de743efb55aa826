/* Several engines in one process: the limit is the process's, and what an engine says does not depend on
 * what the others leave it. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "lever/lever.h"
#include "support/mkmodel.h"

static char model[] = "/tmp/lever-budget-XXXXXX";
enum { N_TOKENS = 12 };

typedef struct opened {
    lever_engine *engine;
    lever_engine_info info;
    int32_t text[64];
    size_t n;
} opened;

static int open_one(opened *o, uint64_t mem_bytes, lever_error *err)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = model;
    c.n_ctx = 64;
    c.n_threads = 1;
    c.mem_bytes = mem_bytes;
    *o = (opened){ 0 };
    const int rc = lever_engine_open(&o->engine, &c, err);
    if (rc >= 0) lever_engine_get_info(o->engine, &o->info);
    return rc;
}

static void write_text(opened *o)
{
    lever_error err = { 0 };
    lever_session *s;
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    const lever_generate_params p = { .max_tokens = N_TOKENS, .ignore_end = true };
    CHECK_OK(lever_session_open(&s, o->engine, &greedy, &err), &err);
    CHECK_OK(lever_session_append_text(s, "abc", SIZE_MAX, 0, &err), &err);
    CHECK_OK(lever_session_generate(s, &p, NULL, NULL, NULL, &err), &err);
    const int32_t *t = lever_session_tokens(s, &o->n);
    memcpy(o->text, t, o->n * sizeof *t);
    lever_session_close(&s);
}

/* The smallest limit that one engine works with, found where it is refused. */
static uint64_t needed(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = model;
    c.n_ctx = 64;
    c.n_threads = 1;
    c.mem_bytes = 1;
    lever_plan plan;
    lever_error err = { 0 };
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    return plan.needed_bytes;
}

static void the_second_engine_gets_what_the_first_leaves(void)
{
    lever_error err = { 0 };
    opened alone, first, second;
    CHECK_OK(open_one(&alone, 1 << 30, &err), &err);
    const uint64_t all = alone.info.planned_bytes;
    CHECK_EQ(alone.info.target_streamed_bytes, 0);
    write_text(&alone);
    lever_engine_close(&alone.engine);
    CHECK_EQ(lv_budget_used(), 0);

    const uint64_t limit = all + needed() - (2 << 20); /* all of one, and less than all of another */
    CHECK_OK(open_one(&first, limit, &err), &err);
    CHECK_OK(open_one(&second, limit, &err), &err);
    CHECK_EQ(first.info.target_streamed_bytes, 0);
    CHECK(second.info.target_streamed_bytes > 0);
    CHECK(first.info.planned_bytes + second.info.planned_bytes <= limit + LV_PROGRAM_BYTES); /* the program, twice */
    write_text(&first);
    write_text(&second);
    CHECK_EQ(first.n, alone.n);
    CHECK(!memcmp(first.text, alone.text, alone.n * sizeof *alone.text));
    CHECK_EQ(second.n, alone.n);
    CHECK(!memcmp(second.text, alone.text, alone.n * sizeof *alone.text));

    opened third;
    CHECK_EQ(open_one(&third, limit, &err), LEVER_ELIMIT);
    CHECK(strstr(err.msg, "open already") != NULL);
    lever_engine_close(&first.engine);
    CHECK_OK(open_one(&third, limit, &err), &err); /* what was given back is there again */
    lever_engine_close(&third.engine);
    lever_engine_close(&second.engine);
    CHECK_EQ(lv_budget_used(), 0);
}

static void a_plan_says_what_it_needs_beside_open_engines(void)
{
    lever_error err = { 0 };
    opened first;
    const uint64_t alone = needed();
    CHECK_OK(open_one(&first, 1 << 30, &err), &err);
    CHECK_EQ(needed(), alone + first.info.planned_bytes - LV_PROGRAM_BYTES);
    lever_engine_close(&first.engine);
}

int main(void)
{
    lever_error err = { 0 };
    mk_config c = mk_config_init();
    c.n_layers = 24;
    c.n_embd = 128;
    c.n_ff = 512;
    const int fd = mkstemp(model);
    if (fd < 0) SKIP("no place for a test model");
    close(fd);
    CHECK_OK(mk_model_write(model, &c, &err), &err);
    RUN(the_second_engine_gets_what_the_first_leaves);
    RUN(a_plan_says_what_it_needs_beside_open_engines);
    unlink(model);
    return check_done();
}
