/* Memory of caches that no text needs yet holds weights: sweeps read less while texts are short, the limit holds while
 * they grow, and they stay what they are.
 * usage: test_loan TARGET DRAFT. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "lever/lever.h"
#include "support/tempfile.h"

enum { N_CTX = 800 };
static const char *target, *draft;
static const char prompt[] = "Once upon a time there was a little dog who had a red ball. ";

static lever_config config_of(const char *policy, uint64_t mem, uint32_t n_sessions)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = strcmp(policy, "none") ? draft : NULL;
    c.policy = policy;
    c.n_ctx = N_CTX;
    c.max_rows = 64;
    c.n_threads = 1;
    c.n_sessions = n_sessions;
    c.mem_bytes = mem;
    return c;
}

/* A limit that keeps some of the weights, a third of the way to all of them. */
static uint64_t some_memory(const char *policy, uint32_t n_sessions, lever_plan *plan)
{
    lever_error err = { 0 };
    lever_config c = config_of(policy, UINT64_C(8) << 30, n_sessions);
    CHECK_OK(lever_plan_memory(&c, plan, &err), &err);
    c.mem_bytes = plan->needed_bytes + (plan->total_bytes - plan->needed_bytes) / 3;
    CHECK_OK(lever_plan_memory(&c, plan, &err), &err);
    CHECK(plan->fits && plan->streamed_bytes > 0);
    return c.mem_bytes;
}

static lever_engine *open_engine(const char *policy, uint64_t mem, uint32_t n_sessions)
{
    lever_error err = { 0 };
    lever_engine *e;
    const lever_config c = config_of(policy, mem, n_sessions);
    CHECK_OK(lever_engine_open(&e, &c, &err), &err);
    if (!e) exit(1);
    return e;
}

static lever_session *open_session(lever_engine *e)
{
    lever_error err = { 0 };
    lever_session *s;
    CHECK_OK(lever_session_open(&s, e, NULL, &err), &err);
    if (!s) exit(1);
    return s;
}

static uint64_t streamed(const lever_engine *e)
{
    lever_engine_info info;
    lever_engine_get_info(e, &info);
    return info.target_streamed_bytes;
}

static void append(lever_session *s, uint32_t times)
{
    lever_error err = { 0 };
    while (times-- > 0) CHECK_OK(lever_session_append_text(s, prompt, SIZE_MAX, 0, &err), &err);
}

static lever_stats generate(lever_session *s, uint32_t n)
{
    lever_error err = { 0 };
    lever_stats st;
    const lever_generate_params p = { .max_tokens = n, .ignore_end = true };
    CHECK_OK(lever_session_generate(s, &p, NULL, NULL, &st, &err), &err);
    return st;
}

static void sweeps_read_less_while_texts_are_short(void)
{
    lever_plan plan;
    const uint64_t mem = some_memory("none", 1, &plan);
    lever_engine *e = open_engine("none", mem, 1);
    CHECK_EQ(streamed(e), plan.streamed_bytes);
    lever_session *s = open_session(e);
    const uint64_t at_first = streamed(e);
    CHECK(at_first < plan.streamed_bytes);
    CHECK(plan.lent_bytes > 0 && plan.lent_bytes <= plan.streamed_bytes - at_first);
    append(s, 1);
    const lever_stats st = generate(s, 20);
    /* Each extent is read with up to two blocks more than it has; the ring holds some of the next sweep. */
    const uint64_t swept = st.bytes_read / st.n_cycles;
    CHECK(swept < plan.streamed_bytes && swept > at_first / 2);
    lever_session_close(&s);
    lever_engine_close(&e);
}

/* Four turns of a text that nearly fills the context, and what sweeps read after each. Returns its tokens. */
static size_t long_text(lever_engine *e, lever_session *s, int32_t *out, uint64_t after[4])
{
    size_t n;
    for (int i = 0; i < 4; i++) {
        append(s, 5);
        generate(s, 110);
        after[i] = streamed(e);
    }
    const int32_t *t = lever_session_tokens(s, &n);
    memcpy(out, t, n * sizeof *t);
    return n;
}

static void memory_comes_back_as_texts_grow_and_is_lent_again(const char *policy)
{
    static int32_t want[N_CTX], got[N_CTX];
    lever_plan plan;
    lever_error err = { 0 };
    const uint64_t mem = some_memory(policy, 1, &plan);
    uint64_t after[4];
    lever_engine *e = open_engine(policy, UINT64_C(8) << 30, 1);
    lever_session *s = open_session(e);
    const size_t n_want = long_text(e, s, want, after);
    CHECK_EQ(after[3], 0);
    lever_session_close(&s);
    lever_engine_close(&e);

    e = open_engine(policy, mem, 1);
    s = open_session(e);
    const size_t n = long_text(e, s, got, after);
    CHECK(n == n_want && n > N_CTX - 150 && !memcmp(got, want, n * sizeof *want));
    for (int i = 1; i < 4; i++) CHECK(after[i] >= after[i - 1]);
    CHECK(after[3] > plan.streamed_bytes - plan.lent_bytes && after[3] <= plan.streamed_bytes);
    CHECK_OK(lever_session_reset(s, NULL, &err), &err);
    append(s, 1);
    generate(s, 4);
    CHECK(streamed(e) < after[3] && streamed(e) <= plan.streamed_bytes - plan.lent_bytes);
    lever_session_close(&s);
    lever_engine_close(&e);
}

static void it_does_so_without_a_draft(void) { memory_comes_back_as_texts_grow_and_is_lent_again("none"); }
static void it_does_so_with_trees(void) { memory_comes_back_as_texts_grow_and_is_lent_again("tree:3,2,1"); }

/* A text that is read from a file takes its memory from weights too. */
static void a_loaded_text_takes_its_memory(void)
{
    char path[64];
    lever_plan plan;
    lever_error err = { 0 };
    if (temp_make(path, sizeof path, 1)) SKIP("no place for a test file");
    lever_engine *e = open_engine("chain:4", some_memory("chain:4", 2, &plan), 2);
    lever_session *s = open_session(e), *other = open_session(e);
    append(s, 30);
    generate(s, 5);
    CHECK_OK(lever_session_save(s, path, &err), &err);
    lever_session_close(&s);
    s = open_session(e);
    const uint64_t before = streamed(e);
    CHECK_OK(lever_session_load(s, path, &err), &err);
    CHECK(streamed(e) > before);
    append(other, 30); /* the same text, evaluated */
    generate(other, 5);
    size_t n, n_other;
    generate(s, 30);
    generate(other, 30);
    const int32_t *got = lever_session_tokens(s, &n), *text = lever_session_tokens(other, &n_other);
    CHECK(n == n_other && !memcmp(got, text, n * sizeof *text));
    unlink(path);
    lever_session_close(&s);
    lever_session_close(&other);
    lever_engine_close(&e);
}

/* All caches full at once: what was planned for them is theirs. */
static void full_caches_leave_what_was_planned(void)
{
    lever_plan plan;
    lever_engine *e = open_engine("none", some_memory("none", 3, &plan), 3);
    lever_session *s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = open_session(e);
        append(s[i], 42);
        generate(s[i], 0);
        CHECK(streamed(e) < plan.streamed_bytes || i == 2);
    }
    CHECK(streamed(e) > plan.streamed_bytes - plan.lent_bytes / 10); /* places of a sweep's rows are not all in use */
    for (int i = 0; i < 3; i++) lever_session_close(&s[i]);
    lever_engine_close(&e);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    target = argv[1], draft = argv[2];
    RUN(sweeps_read_less_while_texts_are_short);
    RUN(it_does_so_without_a_draft);
    RUN(it_does_so_with_trees);
    RUN(a_loaded_text_takes_its_memory);
    RUN(full_caches_leave_what_was_planned);
    return check_done();
}
