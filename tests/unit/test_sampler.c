/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "base/mem.h"
#include "spec/sampler.h"

enum { N_MAX = 600 };

static lv_kernels kernels;

static uint64_t rng_state;
static uint32_t rng(void) /* splitmix64 */
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static void random_logits(float *x, int n, float spread, int steps)
{
    /* `steps` distinct values: few of them make many ties. */
    for (int i = 0; i < n; i++) {
        const float step = (float)(int)(rng() % (unsigned)steps);
        x[i] = spread * step / (float)steps - spread / 2;
    }
}

static lv_sampler_params plain(float temperature)
{
    return (lv_sampler_params){ .temperature = temperature, .top_p = 1.0f, .repeat_penalty = 1.0f };
}

static lv_sampler *must_open(const lv_sampler_params *p, int n)
{
    lever_error e = { 0 };
    lv_sampler *s = NULL;
    CHECK_OK(lv_sampler_open(&s, p, &kernels, n, &e), &e);
    if (!s) exit(1);
    return s;
}

static int32_t pick(const lv_sampler_params *p, const float *logits, int n, const lv_history *h)
{
    static float copy[N_MAX];
    lv_sampler *s = must_open(p, n);
    memcpy(copy, logits, (size_t)n * sizeof *copy);
    const int32_t id = lv_sampler_pick(s, copy, h);
    lv_sampler_close(&s);
    return id;
}

/* ---- the naive rule: sort everything, then cut ---- */

typedef struct { float logit; int32_t id; } ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Survivors of the filters, best first. */
static int naive_filter(const lv_sampler_params *p, const float *logits, int n, ranked *r)
{
    static float prob[N_MAX];
    for (int i = 0; i < n; i++) r[i] = (ranked){ logits[i], i };
    qsort(r, (size_t)n, sizeof *r, by_rank);
    int m = n;
    if (p->top_k > 0 && p->top_k < n) {
        m = p->top_k;
        for (int i = 0; i < m; i++) prob[i] = r[i].logit;
        kernels.softmax(prob, prob, (size_t)m);
    } else {
        static float by_id[N_MAX];
        kernels.softmax(by_id, logits, (size_t)n);
        for (int i = 0; i < n; i++) prob[i] = by_id[r[i].id];
    }
    const float top = prob[0];
    if (p->top_p < 1.0f) {
        float sum = 0;
        int i = 0;
        do sum += prob[i++]; while (i < m && sum < p->top_p);
        m = i;
    }
    if (p->min_p > 0.0f)
        while (m > 1 && prob[m - 1] < p->min_p * top) m--;
    return m;
}

static int32_t naive_pick(const lv_sampler_params *p, const float *logits, int n, uint64_t pos)
{
    static ranked r[N_MAX];
    const int m = naive_filter(p, logits, n, r);
    float best = -INFINITY;
    int32_t id = -1;
    for (int i = 0; i < m; i++) {
        float score;
        kernels.perturb(&score, &r[i].logit, 1, p->temperature, p->seed, pos, (uint32_t)r[i].id);
        if (id < 0 || score > best || (score == best && r[i].id < id)) best = score, id = r[i].id;
    }
    return id;
}

static void greedy_takes_the_largest_and_the_lowest_id_on_ties(void)
{
    const float x[6] = { 1, 5, 2, 5, 5, -1 };
    const lv_history none = { 0 };
    lv_sampler_params p = plain(0.0f);
    CHECK_EQ(pick(&p, x, 6, &none), 1);
    p.top_k = 1, p.top_p = 0.01f, p.min_p = 1.0f; /* filters do nothing at T = 0 */
    CHECK_EQ(pick(&p, x, 6, &none), 1);
    const float nan_first[3] = { NAN, 1, 2 };
    p = plain(0.0f);
    CHECK_EQ(pick(&p, nan_first, 3, &none), 2);
    const float one[1] = { 3 };
    CHECK_EQ(pick(&p, one, 1, &none), 0);
}

static void repeat_penalty_counts_each_token_once(void)
{
    /* 1: 4 / 2 = 2 (once, not 1); 2: -1 * 2 = -2; the rest untouched. */
    const float x[5] = { 1.5f, 4, -1, 1.9f, -1.5f };
    const int32_t tokens[3] = { 1, 2, 1 }, path[1] = { 1 };
    const lv_history h = { tokens, 3, path, 1 };
    lv_sampler_params p = plain(0.0f);
    p.repeat_penalty = 2.0f, p.repeat_last_n = 64;
    CHECK_EQ(pick(&p, x, 5, &h), 1);
    int32_t got[5];
    float probs[5], copy[5];
    lv_sampler *s = must_open(&p, 5);
    for (int round = 0; round < 2; round++) { /* the marks are clean again for the second call */
        memcpy(copy, x, sizeof copy);
        CHECK_EQ(lv_sampler_candidates(s, copy, &h, 5, 1, got, probs), 5);
        const int32_t want[5] = { 1, 3, 0, 4, 2 };
        for (int i = 0; i < 5; i++) CHECK_EQ(got[i], want[i]);
    }
    lv_sampler_close(&s);
    p.repeat_penalty = 2.2f;
    CHECK_EQ(pick(&p, x, 5, &h), 3);
    p.repeat_last_n = 0;
    CHECK_EQ(pick(&p, x, 5, &h), 1);
}

static void repeat_penalty_looks_back_through_path_and_text(void)
{
    const float x[4] = { 4, 3, 2, 1 };
    const int32_t tokens[2] = { 0, 1 }, path[2] = { 2, -7 }; /* -7 and 99: not in the vocabulary, ignored */
    const int32_t odd[2] = { 2, 99 };
    lv_sampler_params p = plain(0.0f);
    p.repeat_penalty = 100.0f;
    const int want[5] = { 0, 0, 0, 0, 3 };
    for (int n = 1; n <= 4; n++) {
        p.repeat_last_n = n;
        const lv_history h = { tokens, 2, path, 2 }, g = { tokens, 2, odd, 2 };
        CHECK_EQ(pick(&p, x, 4, &h), want[n]);
        CHECK_EQ(pick(&p, x, 4, &g), want[n]);
    }
}

static void path_history_equals_concatenated_text(void)
{
    float x[64];
    int32_t text[20];
    rng_state = 7;
    lv_sampler_params p;
    lv_sampler_params_init(&p);
    p.repeat_penalty = 1.3f, p.repeat_last_n = 10;
    for (int round = 0; round < 50; round++) {
        random_logits(x, 64, 8, 40);
        for (int i = 0; i < 20; i++) text[i] = (int32_t)(rng() % 64);
        p.seed = rng();
        const lv_history whole = { text, 20, NULL, 0 };
        const int32_t want = pick(&p, x, 64, &whole);
        for (size_t cut = 0; cut <= 20; cut++) {
            const lv_history split = { text, cut, text + cut, 20 - cut };
            CHECK_EQ(pick(&p, x, 64, &split), want);
        }
    }
}

static void filters_agree_with_sorting_everything(void)
{
    static const int ks[] = { 0, 1, 2, 7, 40, 599, 600, 1000 };
    static const float ps[] = { 1.0f, 0.999f, 0.9f, 0.5f, 0.01f }, ms[] = { 0.0f, 0.02f, 0.3f, 1.0f };
    static float x[N_MAX];
    int32_t text[9] = { 0 };
    rng_state = 1;
    for (size_t a = 0; a < sizeof ks / sizeof *ks; a++)
        for (size_t b = 0; b < sizeof ps / sizeof *ps; b++)
            for (size_t c = 0; c < sizeof ms / sizeof *ms; c++)
                for (int round = 0; round < 6; round++) {
                    const int n = round < 3 ? N_MAX : 1 + (int)(rng() % 50);
                    random_logits(x, n, 12, round % 2 ? 5 : 100000); /* with many ties, and with few */
                    lv_sampler_params p = plain(0.7f);
                    p.top_k = ks[a], p.top_p = ps[b], p.min_p = ms[c], p.seed = rng();
                    const lv_history h = { text, 9, NULL, 0 };
                    CHECK_EQ(pick(&p, x, n, &h), naive_pick(&p, x, n, 9));
                }
}

static void candidates_are_the_filtered_set_by_score(void)
{
    static float x[N_MAX], copy[N_MAX];
    static ranked r[N_MAX];
    int32_t got[N_MAX];
    float probs[N_MAX];
    const lv_history h = { 0 };
    rng_state = 3;
    for (int round = 0; round < 60; round++) {
        random_logits(x, N_MAX, 12, round % 2 ? 50 : 100000);
        lv_sampler_params p = plain(0.9f);
        p.top_k = round % 3 ? 30 : 0, p.top_p = round % 4 ? 0.9f : 1.0f, p.seed = rng();
        lv_sampler *s = must_open(&p, N_MAX);
        memcpy(copy, x, sizeof copy);
        const float sharpness = round % 5 ? 1.0f : 2.5f;
        const uint32_t n = lv_sampler_candidates(s, copy, &h, N_MAX, sharpness, got, probs);
        lv_sampler_close(&s);
        const int m = naive_filter(&p, x, N_MAX, r);
        CHECK_EQ(n, m);
        for (int i = 0; i < m; i++) /* rank the survivors by score, with the same order on ties */
            kernels.perturb(&r[i].logit, &(float){ r[i].logit }, 1, 0.9f, p.seed, 0, (uint32_t)r[i].id);
        qsort(r, (size_t)m, sizeof *r, by_rank);
        double sum = 0;
        for (int i = 0; i < m; i++) sum += exp((double)sharpness * 0.9 * (r[i].logit - r[0].logit));
        for (uint32_t i = 0; i < n && (int)i < m; i++) {
            const double want = exp((double)sharpness * 0.9 * (r[i].logit - r[0].logit)) / sum;
            CHECK_EQ(got[i], r[i].id);
            CHECK(fabs(probs[i] - want) < 1e-5);
        }
    }
}

static void greedy_probabilities_are_the_sharpened_softmax(void)
{
    static float x[N_MAX], copy[N_MAX], want[N_MAX];
    const lv_history h = { 0 };
    const lv_sampler_params p = plain(0.0f);
    rng_state = 5;
    for (int round = 0; round < 20; round++) {
        const float sharpness = round % 2 ? 1.0f : 2.0f;
        int32_t got[4];
        float probs[4];
        random_logits(x, N_MAX, 12, 1000);
        memcpy(copy, x, sizeof copy);
        lv_sampler *s = must_open(&p, N_MAX);
        CHECK_EQ(lv_sampler_candidates(s, copy, &h, 4, sharpness, got, probs), 4);
        lv_sampler_close(&s);
        for (int i = 0; i < N_MAX; i++) x[i] *= sharpness;
        kernels.softmax(want, x, N_MAX);
        for (int i = 0; i < 4; i++) CHECK(probs[i] == want[got[i]]);
    }
}

static void first_candidate_is_the_pick(void)
{
    static float x[N_MAX], copy[N_MAX];
    int32_t text[5] = { 3, 1, 4, 1, 5 };
    rng_state = 11;
    for (int round = 0; round < 200; round++) {
        random_logits(x, N_MAX, 10, round % 5 ? 1000 : 4);
        lv_sampler_params p;
        lv_sampler_params_init(&p);
        p.temperature = round % 2 ? 0.8f : 0.0f;
        if (round % 3 == 0) p.top_k = 0, p.top_p = 1.0f, p.min_p = 0.0f;
        p.repeat_penalty = round % 7 ? 1.0f : 1.2f;
        p.seed = rng();
        const lv_history h = { text, 5, NULL, 0 };
        lv_sampler *s = must_open(&p, N_MAX);
        int32_t tokens[4];
        float probs[4];
        memcpy(copy, x, sizeof copy);
        const uint32_t n = lv_sampler_candidates(s, copy, &h, 4, 1, tokens, probs);
        lv_sampler_close(&s);
        CHECK(n >= 1 && n <= 4);
        CHECK_EQ(tokens[0], pick(&p, x, N_MAX, &h));
        for (uint32_t i = 1; i < n; i++) CHECK(tokens[i] != tokens[i - 1]);
    }
}

static void noise_depends_on_seed_and_position_only(void)
{
    static float x[N_MAX], copy[N_MAX];
    int32_t text[40] = { 0 };
    rng_state = 5;
    random_logits(x, N_MAX, 6, 100000);
    lv_sampler_params p = plain(1.0f);
    p.seed = 99;
    lv_sampler *s = must_open(&p, N_MAX);
    int32_t first[40];
    int differs = 0;
    for (int order = 0; order < 2; order++)
        for (int i = 0; i < 40; i++) {
            const size_t pos = (size_t)(order ? 39 - i : i);
            const lv_history h = { text, pos, NULL, 0 };
            if (order) { /* unrelated questions in between */
                int32_t t[3];
                float q[3];
                memcpy(copy, x, sizeof copy);
                lv_sampler_candidates(s, copy, &(lv_history){ text, 7, NULL, 0 }, 3, 1, t, q);
            }
            memcpy(copy, x, sizeof copy);
            const int32_t id = lv_sampler_pick(s, copy, &h);
            if (order) CHECK_EQ(id, first[pos]);
            else first[pos] = id;
        }
    lv_sampler_close(&s);
    p.seed = 100;
    for (size_t pos = 0; pos < 40; pos++) {
        const lv_history h = { text, pos, NULL, 0 };
        differs += pick(&p, x, N_MAX, &h) != first[pos];
    }
    CHECK(differs > 20); /* another seed is another text */
}

static void picks_follow_the_softmax(void)
{
    enum { N = 8, DRAWS = 40000 };
    const float x[N] = { 0.0f, 1.0f, -1.0f, 2.0f, 0.5f, -2.0f, 1.5f, 0.25f }, temp = 0.8f;
    const lv_history h = { 0 };
    lv_sampler_params p = plain(temp);
    lv_sampler *s = must_open(&p, N);
    int count[N] = { 0 };
    lv_sampler_close(&s);
    for (int i = 0; i < DRAWS; i++) {
        p.seed = (uint64_t)i;
        count[pick(&p, x, N, &h)]++;
    }
    double sum = 0, chi2 = 0;
    for (int i = 0; i < N; i++) sum += exp(x[i] / temp);
    for (int i = 0; i < N; i++) {
        const double want = DRAWS * exp(x[i] / temp) / sum;
        chi2 += (count[i] - want) * (count[i] - want) / want;
    }
    if (chi2 >= 24.32) fprintf(stderr, "chi2 = %g\n", chi2);
    CHECK(chi2 < 24.32); /* 7 degrees of freedom: exceeded by chance once in a thousand */
}

/* A distribution is that of the picks: the same tokens, as often as it says. */
static void distributions_are_those_of_the_picks(void)
{
    static const struct { int n, top_k; float top_p, min_p, temperature, penalty; } cases[] = {
        { 200, 8, 1.0f, 0.0f, 0.7f, 1.0f },    { 200, 40, 0.9f, 0.05f, 1.5f, 1.3f },
        { 600, 256, 1.0f, 0.01f, 1.0f, 1.0f }, { 12, 256, 0.8f, 0.0f, 2.0f, 1.0f },
        { 12, 12, 1.0f, 0.1f, 0.3f, 2.0f },    { 5, 1, 1.0f, 0.0f, 1.0f, 1.0f },
    };
    enum { N = 20000 };
    static float logits[N_MAX], x[N_MAX];
    static uint32_t count[N_MAX];
    static int32_t long_text[N + 3];
    static lv_dist d;
    const int32_t text[] = { 3, 4, 4 };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const int n = cases[c].n;
        lv_sampler_params p = { .temperature = cases[c].temperature, .top_k = cases[c].top_k, .seed = c,
                                .top_p = cases[c].top_p, .min_p = cases[c].min_p,
                                .repeat_penalty = cases[c].penalty, .repeat_last_n = 8 };
        lv_sampler *s = must_open(&p, n);
        rng_state = 5 + c;
        random_logits(logits, n, 8.0f, 50);
        memcpy(x, logits, sizeof x);
        lv_sampler_distribution(s, x, &(lv_history){ .tokens = text, .n_tokens = 3 }, &d);
        double sum = 0;
        CHECK(d.n >= 1 && d.n <= (uint32_t)cases[c].top_k);
        for (uint32_t i = 0; i < d.n; i++) {
            CHECK(d.items[i].prob > 0 && (i == 0 || d.items[i].token > d.items[i - 1].token));
            sum += d.items[i].prob;
        }
        CHECK(fabs(sum - 1) < 1e-12);
        memset(count, 0, sizeof count);
        for (int i = 0; i < N; i++) { /* another position; the penalty knows no token before the last three */
            for (int k = 0; k < 3; k++) long_text[i + k] = text[k];
            if (i > 0) long_text[i - 1] = n;
            memcpy(x, logits, sizeof x);
            count[lv_sampler_pick(s, x, &(lv_history){ .tokens = long_text, .n_tokens = (size_t)i + 3 })]++;
        }
        for (int t = 0; t < n; t++) {
            const double prob = lv_dist_prob(&d, t);
            CHECK(prob > 0 ? fabs(count[t] - prob * N) <= 5 * sqrt(prob * N) + 5 : count[t] == 0);
        }
        lv_sampler_close(&s);
    }
}

static void odd_logits_never_break_the_choice(void)
{
    const float nan3[3] = { NAN, NAN, NAN }, low[3] = { -INFINITY, -INFINITY, -INFINITY };
    const float mixed[4] = { NAN, -INFINITY, 1.0f, NAN }, high[3] = { 0, INFINITY, 1 };
    const lv_history h = { 0 };
    for (int mode = 0; mode < 8; mode++) {
        lv_sampler_params p = plain(mode & 1 ? 0.8f : 0.0f);
        if (mode & 2) p.top_k = 2;
        if (mode & 4) p.top_p = 0.9f, p.min_p = 0.05f;
        CHECK(pick(&p, nan3, 3, &h) < 3);
        CHECK(pick(&p, low, 3, &h) < 3);
        if (mode <= 3) CHECK_EQ(pick(&p, mixed, 4, &h), 2);
        else CHECK((unsigned)pick(&p, mixed, 4, &h) < 4);
        CHECK((unsigned)pick(&p, high, 3, &h) < 3);
        int32_t tokens[4];
        float probs[4], copy[4];
        memcpy(copy, mixed, sizeof copy);
        lv_sampler *s = must_open(&p, 4);
        CHECK(lv_sampler_candidates(s, copy, &h, 9, 1, tokens, probs) <= 4);
        CHECK_EQ(lv_sampler_candidates(s, copy, &h, 0, 1, tokens, probs), 0);
        const float *odd[] = { nan3, low, mixed, high };
        for (int i = 0; i < 4 && mode & 1; i++) {
            lv_dist d;
            for (int k = 0; k < 4; k++) copy[k] = k < 3 || i == 2 ? odd[i][k] : -1;
            lv_sampler_distribution(s, copy, &h, &d);
            CHECK(d.n >= 1 && d.items[0].token >= 0 && d.items[d.n - 1].token < 4 && d.items[0].prob > 0);
        }
        lv_sampler_close(&s);
    }
}

static void settings_out_of_range_are_named(void)
{
    struct { float t, top_p, min_p, penalty; int32_t k, last; const char *named; } bad[] = {
        { -0.1f, 1, 0, 1, 0, 0, "temperature" }, { 101, 1, 0, 1, 0, 0, "temperature" },
        { NAN, 1, 0, 1, 0, 0, "temperature" },   { 1, 0, 0, 1, 0, 0, "top-p" },
        { 1, 1.5f, 0, 1, 0, 0, "top-p" },        { 1, NAN, 0, 1, 0, 0, "top-p" },
        { 1, 1, -1, 1, 0, 0, "min-p" },          { 1, 1, 2, 1, 0, 0, "min-p" },
        { 1, 1, NAN, 1, 0, 0, "min-p" },         { 1, 1, 0, 0, 0, 0, "repeat penalty" },
        { 1, 1, 0, NAN, 0, 0, "repeat penalty" }, { 1, 1, 0, 1, -1, 0, "top-k" },
        { 1, 1, 0, 1, 0, -1, "repeat-last-n" },  { INFINITY, 1, 0, 1, 0, 0, "temperature" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lever_error e = { 0 };
        lv_sampler *s = (lv_sampler *)&e;
        const lv_sampler_params p = { bad[i].t, bad[i].k, bad[i].top_p, bad[i].min_p, bad[i].penalty,
                                      bad[i].last, 0 };
        CHECK_EQ(lv_sampler_open(&s, &p, &kernels, 8, &e), LEVER_EINVAL);
        CHECK(s == NULL);
        if (!strstr(e.msg, bad[i].named)) fprintf(stderr, "%zu: %s\n", i, e.msg);
        CHECK(strstr(e.msg, bad[i].named) != NULL);
    }
    lv_sampler_params p;
    lever_error e = { 0 };
    lv_sampler *s = NULL;
    lv_sampler_params_init(&p);
    CHECK_EQ(lv_sampler_params_check(&p, &e), LEVER_OK);
    CHECK_EQ(lv_sampler_open(&s, &p, &kernels, 0, &e), LEVER_EINVAL);
}

static void memory_is_allocated_at_open_only(void)
{
    static float x[N_MAX];
    const lv_history h = { 0 };
    lv_sampler_params p;
    lever_error e = { 0 };
    lv_sampler *s = NULL;
    lv_sampler_params_init(&p);
    const size_t live = lv_alloc_live();
    for (long n = 0; n < 4; n++) {
        lv_alloc_fault(n, false);
        CHECK_EQ(lv_sampler_open(&s, &p, &kernels, N_MAX, &e), LEVER_ENOMEM);
        CHECK(s == NULL);
        CHECK_EQ(lv_alloc_live(), live);
    }
    lv_alloc_fault(-1, false);
    s = must_open(&p, N_MAX);
    const size_t calls = lv_alloc_calls();
    int32_t tokens[8];
    float probs[8];
    lv_sampler_pick(s, x, &h);
    lv_sampler_candidates(s, x, &h, 8, 1, tokens, probs);
    CHECK_EQ(lv_alloc_calls(), calls);
    CHECK(lv_sampler_memory_bytes(N_MAX) >= N_MAX * 12);
    lv_sampler_close(&s);
    lv_sampler_close(&s);
    lv_sampler_close(NULL);
    CHECK_EQ(lv_alloc_live(), live);
}

/* Log-probabilities are those of the logits as they come, whatever is done to them for the pick. */
static void scored_picks_tell_plain_log_probabilities(void)
{
    static float x[N_MAX], used[N_MAX];
    const int32_t text[] = { 3, 77, 3, 250, 12 };
    const lv_history h = { .tokens = text, .n_tokens = 5 };
    for (int round = 0; round < 200; round++) {
        const int n = 20 + (int)(rng() % (N_MAX - 20));
        lv_sampler_params p = plain(round % 4 == 0 ? 0.0f : 0.9f);
        p.top_k = round % 3 == 0 ? 10 : 0;
        p.min_p = round % 5 < 2 ? 0.01f : 0.0f;
        p.repeat_penalty = round % 2 ? 1.3f : 1.0f;
        p.repeat_last_n = 4;
        p.seed = (uint64_t)round;
        random_logits(x, n, 30.0f, 100000);
        lv_sampler *s = must_open(&p, n);
        lv_logprob picked, top[LV_TOP_MOST];
        uint32_t n_top = (uint32_t)round % (LV_TOP_MOST + 1);
        memcpy(used, x, sizeof used);
        const int32_t token = lv_sampler_pick_scored(s, used, &h, &picked, top, &n_top);
        memcpy(used, x, sizeof used);
        CHECK_EQ(token, lv_sampler_pick(s, used, &h));
        CHECK_EQ(picked.token, token);
        CHECK_EQ(n_top, (uint32_t)round % (LV_TOP_MOST + 1));
        double sum = 0;
        for (int i = 0; i < n; i++) sum += exp((double)x[i]);
        CHECK(fabs((double)picked.logprob - ((double)x[token] - log(sum))) < 1e-4);
        for (uint32_t i = 0; i < n_top; i++) {
            int better = 0;
            for (int k = 0; k < n; k++)
                better += x[k] > x[top[i].token] || (x[k] == x[top[i].token] && k < top[i].token);
            CHECK_EQ(better, i);
            CHECK(fabs((double)top[i].logprob - ((double)x[top[i].token] - log(sum))) < 1e-4);
            if (top[i].token == token) CHECK(top[i].logprob == picked.logprob);
        }
        lv_sampler_close(&s);
    }
}

int main(void)
{
    lv_kernels_init(&kernels, 0);
    RUN(greedy_takes_the_largest_and_the_lowest_id_on_ties);
    RUN(repeat_penalty_counts_each_token_once);
    RUN(repeat_penalty_looks_back_through_path_and_text);
    RUN(path_history_equals_concatenated_text);
    RUN(filters_agree_with_sorting_everything);
    RUN(candidates_are_the_filtered_set_by_score);
    RUN(greedy_probabilities_are_the_sharpened_softmax);
    RUN(first_candidate_is_the_pick);
    RUN(noise_depends_on_seed_and_position_only);
    RUN(picks_follow_the_softmax);
    RUN(distributions_are_those_of_the_picks);
    RUN(scored_picks_tell_plain_log_probabilities);
    RUN(odd_logits_never_break_the_choice);
    RUN(settings_out_of_range_are_named);
    RUN(memory_is_allocated_at_open_only);
    return check_done();
}
