/* What comes with the tokens: log-probabilities, which depend on the text only, and views of the cycles, which must
 * agree with the text. usage: test_events TARGET DRAFT. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "lever/lever.h"

enum { N = 40, TOP = 5 };
static const char *target, *draft;

typedef struct told {
    int32_t token;
    lever_logprob own, top[TOP];
} told;

typedef struct record {
    told     told[N];
    uint32_t n;
    uint32_t n_cycles, n_new, n_accepted, n_nodes, n_shadows, n_pruned;
    lever_session *session;
} record;

static bool on_token(void *user, const lever_token_event *e)
{
    record *r = user;
    if (e->token < 0 || r->n == N) return true;
    CHECK_EQ(e->n_top, TOP);
    CHECK(e->logprob <= 0 && e->logprob > -200);
    told *t = &r->told[r->n++];
    *t = (told){ .token = e->token, .own = { e->token, e->logprob } };
    for (uint32_t i = 0; i < e->n_top && i < TOP; i++) {
        t->top[i] = e->top[i];
        CHECK(i == 0 || e->top[i].logprob <= e->top[i - 1].logprob);
        if (e->top[i].token == e->token) CHECK(e->top[i].logprob == e->logprob);
    }
    return true;
}

/* The accepted nodes are a path, and its tokens with the next one are the end of the text. */
static void on_cycle(void *user, const lever_cycle_view *v)
{
    record *r = user;
    size_t n;
    const int32_t *text = lever_session_tokens(r->session, &n);
    CHECK_EQ(v->index, r->n_cycles);
    r->n_cycles++, r->n_new += v->n_new, r->n_nodes += v->n_nodes, r->n_shadows += v->n_shadows;
    CHECK(v->n_nodes >= 1 && v->n_rows_all >= v->n_nodes);
    CHECK_EQ(v->nodes[0].state, LEVER_NODE_ROOT);
    CHECK_EQ(v->nodes[0].parent, -1);
    const uint32_t next = v->next_token >= 0;
    int32_t at = 0;
    uint32_t depth = 0;
    for (uint32_t i = 1; i < v->n_nodes; i++) {
        const lever_node_view *node = &v->nodes[i];
        CHECK(node->parent >= 0 && node->parent < (int32_t)i);
        CHECK(node->source == LEVER_FROM_DRAFT || node->source == LEVER_FROM_LOOKUP);
        CHECK(node->source != LEVER_FROM_DRAFT || node->draft_prob > 0);
        if (node->state != LEVER_NODE_ACCEPTED) continue;
        CHECK_EQ(node->parent, at);
        CHECK_EQ(node->token, text[n - v->n_new + depth]);
        at = (int32_t)i, depth++;
    }
    CHECK_EQ(depth + next, v->n_new);
    if (next) CHECK_EQ(v->next_token, text[n - 1]);
    CHECK_EQ(v->nodes[0].token, text[n - v->n_new - 1]);
    r->n_accepted += depth;
    for (uint32_t i = 0; i < v->n_shadows; i++) {
        const lever_node_view *shadow = &v->shadows[i];
        CHECK_EQ(shadow->state, LEVER_NODE_SHADOW);
        CHECK(shadow->parent >= 0 && shadow->parent < (int32_t)v->n_nodes);
        CHECK(shadow->draft_prob > 0 && shadow->draft_prob <= 1.001f);
        for (uint32_t k = 1; k < v->n_nodes; k++)
            CHECK(v->nodes[k].parent != shadow->parent || v->nodes[k].token != shadow->token);
    }
}

static record run(const char *policy, float temperature, bool no_pin)
{
    record r = { 0 };
    lever_config c;
    lever_config_init(&c);
    c.model_path = target, c.draft_path = draft, c.policy = policy;
    c.n_ctx = 256, c.n_threads = 1, c.mem_bytes = 8ull << 30, c.no_pin = no_pin;
    lever_engine *engine;
    lever_error err = { 0 };
    lever_sampling sampling;
    lever_sampling_init(&sampling);
    sampling.temperature = temperature;
    sampling.repeat_penalty = 1.1f;
    sampling.top_k = no_pin ? 0 : 40;
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    CHECK_OK(lever_session_open(&r.session, engine, &sampling, &err), &err);
    CHECK_OK(lever_session_append_text(r.session, "Once upon a time", SIZE_MAX, 0, &err), &err);
    lever_generate_params p = { .max_tokens = N, .ignore_end = true, .n_logprobs = 21 };
    CHECK_EQ(lever_session_generate(r.session, &p, NULL, NULL, NULL, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "20"));
    p.n_logprobs = TOP, p.on_cycle = on_cycle, p.cycle_user = &r;
    CHECK_OK(lever_session_generate(r.session, &p, on_token, &r, NULL, &err), &err);
    CHECK_EQ(r.n, N);
    CHECK_EQ(r.n_new, N);
    lever_session_close(&r.session);
    lever_engine_close(&engine);
    return r;
}

static void log_probabilities_depend_on_the_text_only(void)
{
    static record plain, drafted;
    for (int i = 0; i < 4; i++) {
        const float temperature = i % 2 ? 0.9f : 0.0f;
        plain = run("none", temperature, i / 2);
        drafted = run("lever", temperature, i / 2);
        CHECK(!memcmp(plain.told, drafted.told, sizeof plain.told));
        CHECK_EQ(plain.n_cycles, N);
        CHECK_EQ(plain.n_nodes, N);
        CHECK(drafted.n_cycles < N && drafted.n_accepted > 0 && drafted.n_nodes > 2 * drafted.n_cycles);
        if (temperature == 0) CHECK(drafted.n_shadows > 0);
    }
    run("chain:3", 0, false);
    run("lookup", 0, false);
}

static void tokens_have_names(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target, c.n_ctx = 64, c.n_threads = 1, c.mem_bytes = 8ull << 30;
    lever_engine *engine;
    lever_error err = { 0 };
    CHECK_OK(lever_engine_open(&engine, &c, &err), &err);
    int32_t ids[8];
    char buf[32];
    const int64_t n = lever_tokenize(engine, " time", SIZE_MAX, LEVER_ENCODE_NO_BOS, ids, 8, &err);
    CHECK_EQ(n, 1);
    CHECK_EQ(lever_token_text(engine, ids[0], buf, sizeof buf), 5);
    CHECK_STR(buf, " time");
    CHECK_EQ(lever_token_text(engine, ids[0], buf, 3), 5);
    CHECK_STR(buf, " t");
    CHECK_EQ(lever_token_text(engine, ids[0], NULL, 0), 5);
    CHECK_EQ(lever_token_text(engine, -1, buf, sizeof buf), 0);
    CHECK_STR(buf, "");
    CHECK_EQ(lever_token_text(engine, lever_n_vocab(engine), buf, sizeof buf), 0);
    lever_engine_close(&engine);
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: test_events TARGET DRAFT\n"), 2;
    target = argv[1], draft = argv[2];
    RUN(log_probabilities_depend_on_the_text_only);
    RUN(tokens_have_names);
    return check_done();
}
