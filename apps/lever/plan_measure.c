/* SPDX-License-Identifier: MIT */
#include "plan_measure.h"

#include <stdio.h>

#include "app.h"
#include "cache_dir.h"

/* What people ask for: a story, code, an explanation, sums. */
static const char *const texts[] = {
    "Once upon a time there was a small house at the edge of the forest, and in it lived",
    "def read_numbers(path):\n    \"\"\"Read one number per line.\"\"\"\n    with open(path) as f:\n",
    "The sea is salty because rivers carry minerals from the rocks they flow over. When the water",
    "Anna has 12 apples. She gives 3 to Ben and buys twice as many as she has left. To find how many she has now,",
};
enum { N_TEXTS = sizeof texts / sizeof *texts };

/* Trees teach what candidates of every rank are worth, chains what plain probabilities are. */
static const char *const policies[] = { "lever:24", "chain:8" };
enum { N_POLICIES = 2, TOKENS = 160 };

typedef struct clock_limit {
    uint64_t end_ns;
    progress *shown;
    uint64_t  begin_ns;
} clock_limit;

static bool on_token(void *user, const lever_token_event *e)
{
    const clock_limit *l = user;
    const uint64_t now = now_ns();
    (void)e;
    progress_show(l->shown, "counting how often the draft is right", now - l->begin_ns, l->end_ns - l->begin_ns);
    return now < l->end_ns;
}

static int answer(lever_session *s, const char *text, const char *policy, clock_limit *l, lever_error *err)
{
    const lever_generate_params p = { .max_tokens = TOKENS, .ignore_end = true, .policy = policy };
    int rc = lever_session_reset(s, NULL, err);
    if (rc >= 0) rc = lever_session_append_text(s, text, SIZE_MAX, 0, err);
    return rc < 0 ? rc : lever_session_generate(s, &p, on_token, l, NULL, err);
}

int plan_measure(const lever_config *c, const char *text, double seconds, float temperature, lever_error *err)
{
    if (!c->draft_path) {
        snprintf(err->msg, sizeof err->msg, "there is nothing to measure without a draft model (-md)");
        return err->code = LEVER_EINVAL;
    }
    lever_config with = *c;
    with.policy = policies[0];
    with.more_policies = policies + 1, with.n_more_policies = N_POLICIES - 1;
    with.advise = NULL;
    lever_engine *e = NULL;
    lever_session *s = NULL;
    lever_sampling sampling;
    lever_sampling_init(&sampling);
    sampling.temperature = temperature;
    int rc = lever_engine_open(&e, &with, err);
    if (rc < 0) return rc;
    learnt_load(e);
    rc = lever_session_open(&s, e, &sampling, err);
    progress shown = { 0 };
    const uint64_t begin = now_ns();
    clock_limit limit = { .begin_ns = begin, .end_ns = begin + (uint64_t)(seconds * 1e9), .shown = &shown };
    for (uint32_t i = 0; rc >= 0 && now_ns() < limit.end_ns; i++)
        rc = answer(s, text ? text : texts[i / N_POLICIES % N_TEXTS], policies[i % N_POLICIES], &limit, err);
    progress_clear(&shown);
    lever_session_close(&s);
    if (rc >= 0) learnt_store(e);
    lever_engine_close(&e);
    return rc;
}
