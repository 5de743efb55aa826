/* What policies keep between runs: taken over by the same models, refused otherwise; the text stays the same.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "engine/engine.h"
#include "base/hash.h"
#include "support/mkmodel.h"

static char model[] = "/tmp/lever-learnt-XXXXXX", draft[] = "/tmp/lever-learnt-XXXXXX";
static const char *draft_used = draft;

static void make(char *path, uint32_t seed, uint32_t layers)
{
    lever_error err = { 0 };
    CHECK(close(mkstemp(path)) == 0);
    mk_config c = mk_config_init();
    c.seed = seed;
    c.n_layers = layers;
    CHECK_OK(mk_model_write(path, &c, &err), &err);
}

static lever_engine *open_engine(const char *target, const char *policy)
{
    lever_config c;
    lever_error err = { 0 };
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft_used;
    c.n_ctx = 128;
    c.n_threads = 1;
    c.policy = policy;
    lever_engine *e = NULL;
    CHECK_OK(lever_engine_open(&e, &c, &err), &err);
    return e;
}

static void write_text(lever_engine *e, int32_t *text, size_t n, lever_stats *stats)
{
    lever_error err = { 0 };
    lever_session *s;
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    const lever_generate_params p = { .max_tokens = (uint32_t)n, .ignore_end = true };
    CHECK_OK(lever_session_open(&s, e, &greedy, &err), &err);
    CHECK_OK(lever_session_append_text(s, "abc", SIZE_MAX, 0, &err), &err);
    CHECK_OK(lever_session_generate(s, &p, NULL, NULL, stats, &err), &err);
    size_t all;
    const int32_t *t = lever_session_tokens(s, &all);
    memcpy(text, t + all - n, n * sizeof *t);
    lever_session_close(&s);
}

enum { N = 48, CAP = 1 << 16 };
static char learnt[CAP], again[CAP];

static size_t learn(int32_t *text)
{
    lever_stats st;
    lever_engine *e = open_engine(model, "lever:8");
    write_text(e, text, N, &st);
    const size_t n = lever_engine_get_learnt(e, learnt, CAP);
    CHECK(n > 0 && n < CAP);
    lever_engine_close(&e);
    return n;
}

static void what_was_learnt_is_taken_over_and_changes_no_text(void)
{
    int32_t before[N], after[N];
    lever_error err = { 0 };
    lever_stats st;
    const size_t n = learn(before);
    lever_engine *e = open_engine(model, "lever:8");
    CHECK_OK(lever_engine_set_learnt(e, learnt, n, &err), &err);
    again[0] = 1;
    CHECK_EQ(lever_engine_get_learnt(e, again, 3), n); /* how much it will be; nothing is stored */
    CHECK_EQ(again[0], 1);
    CHECK_EQ(lever_engine_get_learnt(e, again, CAP), n);
    write_text(e, after, N, &st);
    CHECK(!memcmp(before, after, sizeof before));
    lever_engine_close(&e);
}

static void other_models_and_damage_are_refused(void)
{
    int32_t text[N];
    lever_error err = { 0 };
    const size_t n = learn(text);
    lever_engine *e = open_engine(draft, "lever:8");
    CHECK_EQ(lever_engine_set_learnt(e, learnt, n, &err), LEVER_EINVAL);
    lever_engine_close(&e);
    e = open_engine(model, "lever:8");
    for (size_t i = 0; i < n; i++) {
        memcpy(again, learnt, n);
        again[i] = (char)(again[i] ^ 0x20);
        CHECK(lever_engine_set_learnt(e, again, n, &err) < 0);
    }
    for (size_t cut = 0; cut < n; cut += 7) CHECK(lever_engine_set_learnt(e, learnt, cut, &err) < 0);
    lever_engine_close(&e);
}

/* Numbers that can not be, behind a sum that is right. */
static void nonsense_is_refused(void)
{
    int32_t text[N];
    lever_error err = { 0 };
    const size_t n = learn(text), head = 32, entry = 272;
    lever_engine *e = open_engine(model, "lever:8");
    static const double bad[] = { -1e9, 1e300 };
    int refused = 0, total = 0;
    const size_t policies = n - sizeof(lv_acceptances); /* test_acceptance.c spoils the others */
    for (size_t i = head + entry; i + 8 <= policies; i += 8 * 3)
        for (int k = 0; k < 3; k++) {
            memcpy(again, learnt, n);
            const double v = k < 2 ? bad[k] : (double)__builtin_nanf("");
            memcpy(again + i, &v, sizeof v);
            const uint64_t sum = lv_hash64(again + head, n - head);
            memcpy(again + 24, &sum, sizeof sum);
            total++;
            refused += lever_engine_set_learnt(e, again, n, &err) < 0;
            lever_stats st;
            if (total % 64 == 0) write_text(e, text, 4, &st); /* and nothing breaks */
        }
    CHECK(refused > total / 3); /* curves and bins without weight are rebuilt, so not every place counts */
    lever_engine_close(&e);
}

static void who_has_seen_nothing_keeps_nothing(void)
{
    lever_engine *e = open_engine(model, "chain:2");
    CHECK_EQ(lever_engine_get_learnt(e, again, CAP), 0);
    lever_engine_close(&e);
}

/* Every policy counts how often the draft is right; what another policy has learnt is handed on. */
static void a_chain_counts_and_keeps_what_others_know(void)
{
    int32_t text[N];
    lever_error err = { 0 };
    lever_stats st;
    draft_used = model; /* always right */
    const size_t n = learn(text);
    lever_engine *e = open_engine(model, "chain:2");
    static lv_acceptances before, after; /* too large for a frame */
    lever_engine_info info;
    lever_engine_get_info(e, &info);
    CHECK(lv_learnt_acceptances(learnt, n, info.pair_key, &before));
    CHECK(!lv_learnt_acceptances(learnt, n, info.pair_key + 1, &before));
    CHECK_OK(lever_engine_set_learnt(e, learnt, n, &err), &err);
    CHECK_EQ(lever_engine_get_learnt(e, again, CAP), n);
    write_text(e, text, N, &st);
    CHECK_EQ(lever_engine_get_learnt(e, again, CAP), n);
    CHECK(lv_learnt_acceptances(again, n, info.pair_key, &after));
    const lv_acceptance *a = &after.kind[lv_acceptance_kind(1, 0)];
    uint32_t hits = 0;
    for (uint32_t i = 0; i < a->n_text; i++) hits += a->text[i].known && a->text[i].rank == 0;
    CHECK(a->n_text == N && a->n_seen == N && hits > 0.9 * N && hits >= st.n_accepted);
    const uint32_t lever = lv_acceptance_kind(2, 0);
    CHECK(lv_acceptance_known(&before.kind[lever]) > 0);
    CHECK(!memcmp(&before.kind[lever], &after.kind[lever], sizeof after.kind[lever]));
    lever_engine_close(&e);
    e = open_engine(model, "lever:8");
    CHECK_OK(lever_engine_set_learnt(e, again, n, &err), &err);
    lever_engine_close(&e);
    draft_used = draft;
}

/* The record says of a text the same, whatever trees grew: also where the text left them. */
static void the_record_does_not_depend_on_the_policy(void)
{
    static const char *const policies[] = { "chain:1", "chain:3", "tree:2,2,1", "specexec:12", "opttree:6" };
    static lv_acceptances first, other; /* too large for a frame */
    lever_engine_info info;
    draft_used = model; /* always right, where it is asked about the right token */
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        int32_t text[N];
        lever_stats st;
        lever_engine *e = open_engine(model, policies[i]);
        lever_engine_get_info(e, &info);
        write_text(e, text, N, &st);
        const size_t n = lever_engine_get_learnt(e, again, CAP);
        CHECK(n <= CAP && lv_learnt_acceptances(again, n, info.pair_key, i ? &other : &first));
        lever_engine_close(&e);
        const lv_acceptance *a = &(i ? &other : &first)->kind[lv_acceptance_kind(1, 0)];
        CHECK(a->n_text >= N - 1 && lv_acceptance_known(a) >= N - 2); /* nobody asks about the last */
        for (uint32_t t = 0; t + 1 < N; t++) {
            const lv_said said = a->text[t], before = first.kind[lv_acceptance_kind(1, 0)].text[t];
            CHECK(!said.known || (said.rank == 0 && (!before.known || said.class == before.class)));
        }
    }
    draft_used = draft;
}

int main(void)
{
    make(model, 1, 4);
    make(draft, 2, 1);
    RUN(what_was_learnt_is_taken_over_and_changes_no_text);
    RUN(other_models_and_damage_are_refused);
    RUN(nonsense_is_refused);
    RUN(who_has_seen_nothing_keeps_nothing);
    RUN(a_chain_counts_and_keeps_what_others_know);
    RUN(the_record_does_not_depend_on_the_policy);
    unlink(model);
    unlink(draft);
    return check_done();
}
