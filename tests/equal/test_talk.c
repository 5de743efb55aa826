/* Texts that are replaced by others with the same beginning, and talks: what is kept must be right,
 * whatever the policy and however the answer before ended. usage: test_talk TARGET DRAFT (the demo pair).
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "lever/chat.h"
#include "support/mkmodel.h"

static const char *target, *draft;
enum { N_NEW = 20, N_CTX = 256 };

typedef struct opened {
    lever_engine  *engine;
    lever_session *session;
} opened;

static opened open_pair(const char *policy, float temperature)
{
    opened o = { 0 };
    lever_error err = { 0 };
    lever_config c;
    lever_sampling s;
    lever_config_init(&c);
    lever_sampling_init(&s);
    c.model_path = target;
    c.draft_path = draft;
    c.policy = policy;
    c.n_ctx = N_CTX;
    c.n_threads = 2;
    s.temperature = temperature;
    s.seed = 3;
    CHECK_OK(lever_engine_open(&o.engine, &c, &err), &err);
    CHECK_OK(lever_session_open(&o.session, o.engine, &s, &err), &err);
    return o;
}

static void close_pair(opened *o)
{
    lever_session_close(&o->session);
    lever_engine_close(&o->engine);
}

/* N_NEW more tokens; statistics to *st. */
static void go_on(opened *o, lever_stats *st)
{
    lever_error err = { 0 };
    const lever_generate_params p = { .max_tokens = N_NEW, .ignore_end = true };
    CHECK_OK(lever_session_generate(o->session, &p, NULL, NULL, st, &err), &err);
}

static size_t copy_text(const opened *o, int32_t *out)
{
    size_t n;
    const int32_t *t = lever_session_tokens(o->session, &n);
    memcpy(out, t, n * sizeof *t);
    return n;
}

static void a_common_beginning_is_kept_and_the_rest_is_as_new(const char *policy, float temperature)
{
    static const char text[] = "Once upon a time there was a girl named Anna. She had a red ball";
    static const char other[] = " and a small dog. One day";
    lever_error err = { 0 };
    opened o = open_pair(policy, temperature), fresh = open_pair(policy, temperature);
    int32_t first[N_CTX], now[N_CTX], want[N_CTX], added[64];
    lever_stats st;
    const int64_t n_prompt = lever_tokenize(o.engine, text, SIZE_MAX, 0, now, N_CTX, &err);
    const size_t n_other =
        (size_t)lever_tokenize(o.engine, other, SIZE_MAX, LEVER_ENCODE_NO_BOS, added, 64, &err);
    CHECK_EQ(lever_session_set_tokens(o.session, now, (size_t)n_prompt, &err), 0);
    go_on(&o, &st);
    CHECK_EQ(st.n_prompt_tokens, n_prompt);
    const size_t n_first = copy_text(&o, first);
    for (size_t cut = 1; cut <= n_first; cut += 5) { /* inside the prompt, inside what was generated */
        CHECK_EQ(lever_session_set_tokens(o.session, first, n_first, &err) >= 0, 1);
        go_on(&o, &st);
        memcpy(now, first, cut * sizeof *now);
        memcpy(now + cut, added, n_other * sizeof *now);
        const int64_t kept = lever_session_set_tokens(o.session, now, cut + n_other, &err);
        CHECK(kept == (int64_t)cut || (kept == (int64_t)cut + 1 && first[cut] == added[0]));
        go_on(&o, &st);
        CHECK_EQ(st.n_prompt_tokens, (int64_t)(cut + n_other) - kept);
        const size_t n = copy_text(&o, now);
        CHECK_OK(lever_session_reset(fresh.session, NULL, &err), &err);
        CHECK_OK(lever_session_append(fresh.session, now, cut + n_other, &err), &err);
        go_on(&fresh, &st);
        CHECK_EQ(copy_text(&fresh, want), n);
        CHECK(!memcmp(want, now, n * sizeof *want));
    }
    close_pair(&fresh);
    close_pair(&o);
}

static void the_beginning_is_kept_with_every_kind_of_policy(void)
{
    a_common_beginning_is_kept_and_the_rest_is_as_new("none", 0);
    a_common_beginning_is_kept_and_the_rest_is_as_new("chain:4", 0.8f);
    a_common_beginning_is_kept_and_the_rest_is_as_new("tree:3,2,1", 0);
    a_common_beginning_is_kept_and_the_rest_is_as_new("lever", 0.8f);
}

static void texts_that_do_not_fit_change_nothing(void)
{
    opened o = open_pair("chain:4", 0);
    lever_error err = { 0 };
    int32_t text[N_CTX + 1], now[N_CTX];
    for (int i = 0; i <= N_CTX; i++) text[i] = 100 + i;
    CHECK_EQ(lever_session_set_tokens(o.session, text, 40, &err), 0);
    lever_stats st;
    go_on(&o, &st);
    const size_t n = copy_text(&o, now);
    CHECK_EQ(lever_session_set_tokens(o.session, text, N_CTX + 1, &err), LEVER_ELIMIT);
    text[5] = lever_n_vocab(o.engine);
    CHECK_EQ(lever_session_set_tokens(o.session, text, 10, &err), LEVER_EINVAL);
    size_t n_now;
    const int32_t *t = lever_session_tokens(o.session, &n_now);
    CHECK(n_now == n && !memcmp(t, now, n * sizeof *t));
    CHECK_EQ(lever_session_set_tokens(o.session, t, n, &err), n - 1); /* its own text */
    CHECK_EQ(lever_session_set_tokens(o.session, t, 10, &err), 9);
    CHECK_EQ(lever_session_set_tokens(o.session, NULL, 0, &err), 0);
    CHECK_EQ(lever_session_generate(o.session, NULL, NULL, NULL, NULL, &err), LEVER_EINVAL);
    close_pair(&o);
}

static void settings_change_without_losing_the_text(void)
{
    opened o = open_pair("chain:4", 0), hot = open_pair("chain:4", 0.9f);
    lever_error err = { 0 };
    lever_sampling s;
    lever_stats st;
    int32_t a[N_CTX], b[N_CTX];
    lever_sampling_init(&s);
    s.seed = 3;
    s.temperature = 0.9f;
    CHECK_OK(lever_session_append_text(o.session, "Once upon a time", SIZE_MAX, 0, &err), &err);
    go_on(&o, &st);
    const size_t n = copy_text(&o, a);
    CHECK_OK(lever_session_append(hot.session, a, n, &err), &err);
    CHECK_OK(lever_session_set_sampling(o.session, &s, &err), &err);
    go_on(&o, &st);
    go_on(&hot, &st);
    CHECK_EQ(copy_text(&o, a), copy_text(&hot, b));
    CHECK(!memcmp(a, b, (n + N_NEW) * sizeof *a));
    s.top_p = -1;
    CHECK_EQ(lever_session_set_sampling(o.session, &s, &err), LEVER_EINVAL);
    go_on(&o, &st);
    CHECK_EQ(st.n_new_tokens, N_NEW);
    close_pair(&hot);
    close_pair(&o);
}

/* ---- talks ---- */

typedef struct said {
    lever_answer answer;
    lever_session *session;
    char   text[4096];
    size_t len, n_tokens, cancel_at;
} said;

static void on_part(void *user, int part, const char *text, size_t len)
{
    said *s = user;
    if (part != LEVER_PART_ANSWER || s->len + len >= sizeof s->text) return;
    memcpy(s->text + s->len, text, len);
    s->text[s->len += len] = '\0';
}

static bool on_token(void *user, const lever_token_event *e)
{
    said *s = user;
    if (e->token >= 0 && ++s->n_tokens == s->cancel_at) lever_session_cancel(s->session);
    return lever_answer_push(&s->answer, e->text, e->text_bytes, on_part, s);
}

/* Answer the talk into *s; returns the number of tokens kept. */
static int64_t answer(opened *o, const lever_message *m, size_t n, size_t cancel_at, said *s, lever_stats *st)
{
    lever_error err = { 0 };
    const lever_generate_params p = { .max_tokens = 40 };
    *s = (said){ .session = o->session, .cancel_at = cancel_at };
    const int64_t kept = lever_session_set_messages(o->session, m, n, true, &err);
    CHECK_OK((int)kept, &err);
    lever_answer_init(&s->answer, o->engine, true);
    CHECK_OK(lever_session_generate(o->session, &p, on_token, s, st, &err), &err);
    lever_answer_finish(&s->answer, on_part, s);
    return kept;
}

static void earlier_turns_are_not_evaluated_again(size_t cancel_at)
{
    opened o = open_pair("chain:4", 0.8f), fresh = open_pair("none", 0.8f);
    static said first, second, again;
    lever_stats st;
    lever_message m[3] = { { "user", "Tell me a story about a cat named Tom.", SIZE_MAX } };
    CHECK_EQ(answer(&o, m, 1, cancel_at, &first, &st), 0);
    const uint32_t n_prompt = st.n_prompt_tokens;
    CHECK_EQ(st.stop == LEVER_STOP_CANCEL, cancel_at > 0);
    CHECK(first.len > 0);
    m[1] = (lever_message){ "assistant", first.text, first.len };
    m[2] = (lever_message){ "user", "I want to find a restaurant.", SIZE_MAX };
    const int64_t kept = answer(&o, m, 3, 0, &second, &st);
    CHECK(kept + 2 >=
          (int64_t)(n_prompt + first.n_tokens)); /* all but the last piece, which ends otherwise */
    CHECK(st.n_prompt_tokens < 30);
    CHECK_EQ(answer(&fresh, m, 3, 0, &again, &st), 0); /* a talk is a function of its messages and the seed */
    CHECK_STR(second.text, again.text);
    close_pair(&fresh);
    close_pair(&o);
}

static void a_talk_goes_on_where_it_was(void) { earlier_turns_are_not_evaluated_again(0); }
static void a_talk_goes_on_after_a_cancelled_answer(void) { earlier_turns_are_not_evaluated_again(9); }

static size_t count(const opened *o)
{
    size_t n;
    lever_session_tokens(o->session, &n);
    return n;
}

static void reasoning_leaves_the_history_and_the_rest_is_kept(void)
{
    opened o = open_pair("chain:4", 0);
    lever_error err = { 0 };
    lever_stats st;
    const lever_message m[3] = { { "user", "What is 2 + 2?", SIZE_MAX },
                                 { "assistant", "<think>\nLet me add them, slowly.\n</think>\n\nIt is 4.",
                                   SIZE_MAX },
                                 { "user", "And 3 + 3?", SIZE_MAX } };
    const lever_message short_answer = { "assistant", "It is 4.", SIZE_MAX };
    const lever_message without[3] = { m[0], short_answer, m[2] };
    CHECK_OK(lever_chat_choose(o.engine, "qwen3", &err), &err);
    lever_chat_info info;
    lever_chat_get_info(o.engine, &info);
    CHECK_STR(info.name, "qwen3");
    CHECK_EQ(info.thinking, LEVER_THINKING_SWITCH);

    CHECK_EQ(lever_session_set_messages(o.session, m, 1, true, &err), 0);
    const size_t n_on = count(&o);
    go_on(&o, &st);
    /* Thinking off adds an empty block to the same beginning. */
    CHECK_EQ(lever_session_set_messages(o.session, m, 1, false, &err), n_on);
    CHECK(count(&o) > n_on);
    go_on(&o, &st);
    /* The next turn: the empty block is gone, so everything up to the answer is kept. */
    CHECK_EQ(lever_session_set_messages(o.session, m, 3, false, &err), n_on);
    go_on(&o, &st);
    /* What was reasoned in an earlier turn makes no difference. */
    CHECK_EQ(lever_session_set_messages(o.session, without, 3, false, &err), st.n_prompt_tokens + n_on - 1);
    CHECK_OK(lever_chat_choose(o.engine, NULL, &err), &err);
    lever_chat_get_info(o.engine, &info);
    CHECK_STR(info.name, "chatml");
    CHECK(info.has_template && !info.why && !info.note && !info.default_system);
    close_pair(&o);
}

static void talks_that_can_not_be_are_refused_and_change_nothing(void)
{
    opened o = open_pair("chain:4", 0);
    lever_error err = { 0 };
    char long_text[4000];
    memset(long_text, 'x', sizeof long_text);
    const lever_message good = { "user", "Hello", SIZE_MAX }, big = { "user", long_text, sizeof long_text };
    const lever_message late = { "assistant", "Hello", SIZE_MAX };
    CHECK_EQ(lever_session_set_messages(o.session, &good, 1, true, &err), 0);
    const size_t n = count(&o);
    CHECK_EQ(lever_session_set_messages(o.session, &big, 1, true, &err), LEVER_ELIMIT);
    CHECK(strstr(err.msg, "256") != NULL);
    CHECK_EQ(lever_session_set_messages(o.session, &late, 1, true, &err), LEVER_EINVAL);
    CHECK_EQ(lever_session_set_messages(o.session, NULL, 0, true, &err), LEVER_EINVAL);
    CHECK_EQ(lever_chat_choose(o.engine, "klingon", &err), LEVER_EINVAL);
    CHECK_OK(lever_chat_choose(o.engine, "gemma", &err), &err);
    CHECK_EQ(lever_session_set_messages(o.session, &good, 1, true, &err), LEVER_EFORMAT);
    CHECK_EQ(count(&o), n);
    close_pair(&o);
}

static void a_model_without_a_template_has_no_form_until_one_is_chosen(void)
{
    char path[] = "/tmp/lever-talk-XXXXXX";
    const mk_config mk = mk_config_init();
    lever_error err = { 0 };
    opened o = { 0 };
    const char *was = target, *was_draft = draft;
    const int fd = mkstemp(path);
    CHECK(fd >= 0 && close(fd) == 0);
    CHECK_OK(mk_model_write(path, &mk, &err), &err);
    target = path, draft = NULL;
    o = open_pair("none", 0);
    target = was, draft = was_draft;
    lever_chat_info info;
    lever_chat_get_info(o.engine, &info);
    CHECK(!info.name && !info.has_template && strstr(info.why, "--chat-template"));
    const lever_message m = { "user", "Hello", SIZE_MAX };
    CHECK_EQ(lever_session_set_messages(o.session, &m, 1, true, &err), LEVER_EUNSUP);
    CHECK_EQ(lever_chat_choose(o.engine, NULL, &err), LEVER_EUNSUP);
    CHECK_OK(lever_chat_choose(o.engine, "plain", &err), &err);
    CHECK_EQ(lever_session_set_messages(o.session, &m, 1, true, &err), 0);
    CHECK_EQ(count(&o), lever_tokenize(o.engine, "User: Hello\n\nAssistant:", SIZE_MAX, 0, NULL, 0, &err));
    close_pair(&o);
    remove(path);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    target = argv[1];
    draft = argv[2];
    RUN(the_beginning_is_kept_with_every_kind_of_policy);
    RUN(texts_that_do_not_fit_change_nothing);
    RUN(settings_change_without_losing_the_text);
    RUN(a_talk_goes_on_where_it_was);
    RUN(a_talk_goes_on_after_a_cancelled_answer);
    RUN(reasoning_leaves_the_history_and_the_rest_is_kept);
    RUN(talks_that_can_not_be_are_refused_and_change_nothing);
    RUN(a_model_without_a_template_has_no_form_until_one_is_chosen);
    return check_done();
}
