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
    for (size_t i = head + entry; i + 8 <= n; i += 8 * 3)
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
    const double roots = lv_acceptance_roots(a); /* one in every cycle that drafted, less what fades */
    CHECK(roots > 0 && roots <= st.n_cycles + st.n_prefill_sweeps && roots > 0.9 * st.n_cycles);
    double hits = 0;
    for (uint32_t d = 0; d < LV_ACC_DEPTHS; d++)
        for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) hits += a->hits[d][c][0];
    CHECK(st.n_accepted > 0 && hits > 0.9 * st.n_accepted && hits <= st.n_accepted + st.n_prefill_sweeps * 2);
    const uint32_t lever = lv_acceptance_kind(2, 0);
    CHECK(lv_acceptance_roots(&before.kind[lever]) > 0);
    CHECK(!memcmp(&before.kind[lever], &after.kind[lever], sizeof after.kind[lever]));
    lever_engine_close(&e);
    e = open_engine(model, "lever:8");
    CHECK_OK(lever_engine_set_learnt(e, again, n, &err), &err);
    lever_engine_close(&e);
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
    unlink(model);
    unlink(draft);
    return check_done();
}
