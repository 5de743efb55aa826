/* SPDX-License-Identifier: MIT */
#include "spec/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "base/mem.h"
#include "kernel/noise.h"

typedef struct cand {
    float   key; /* logit, later the perturbed score; NaN is stored as -inf */
    int32_t id;
} cand;

struct lv_sampler {
    lv_sampler_params p;
    const lv_kernels *k;    /* borrowed */
    int32_t  n_vocab;
    cand    *cands;         /* [n_vocab] */
    float   *probs;         /* [n_vocab] */
    uint64_t *seen;         /* [n_vocab / 64 rounded up] bits, all zero between calls */
};

void lv_sampler_params_init(lv_sampler_params *p)
{
    *p = (lv_sampler_params){
        .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f,
        .repeat_penalty = 1.0f, .repeat_last_n = 64,
    };
}

int lv_sampler_params_check(const lv_sampler_params *p, lever_error *err)
{
    /* Written so that NaN fails every range. */
    if (!(p->temperature >= 0.0f && p->temperature <= 100.0f))
        return lv_fail(err, LEVER_EINVAL, 0, "temperature is %g, but must be from 0 to 100", p->temperature);
    if (p->top_k < 0)
        return lv_fail(err, LEVER_EINVAL, 0, "top-k is %d, but must be 0 (off) or more", p->top_k);
    if (!(p->top_p > 0.0f && p->top_p <= 1.0f))
        return lv_fail(err, LEVER_EINVAL, 0, "top-p is %g, but must be above 0 and at most 1 (off)",
                       p->top_p);
    if (!(p->min_p >= 0.0f && p->min_p <= 1.0f))
        return lv_fail(err, LEVER_EINVAL, 0, "min-p is %g, but must be from 0 (off) to 1", p->min_p);
    if (!(p->repeat_penalty > 0.0f && p->repeat_penalty <= 100.0f))
        return lv_fail(err, LEVER_EINVAL, 0, "repeat penalty is %g, but must be above 0 and at most 100",
                       p->repeat_penalty);
    if (p->repeat_last_n < 0)
        return lv_fail(err, LEVER_EINVAL, 0, "repeat-last-n is %d, but must be 0 (off) or more",
                       p->repeat_last_n);
    return LEVER_OK;
}

static size_t n_words(int32_t n_vocab) { return ((size_t)n_vocab + 63) / 64; }

int lv_sampler_open(lv_sampler **out, const lv_sampler_params *p, const lv_kernels *k, int32_t n_vocab,
                    lever_error *err)
{
    *out = NULL;
    LEVER_TRY(lv_sampler_params_check(p, err));
    if (n_vocab < 1)
        return lv_fail(err, LEVER_EINVAL, 0, "vocabulary of %d tokens: nothing to sample", n_vocab);
    lv_sampler *s = lv_alloc(sizeof *s, 64);
    if (!s) goto fail;
    s->p = *p;
    s->k = k;
    s->n_vocab = n_vocab;
    if (!(s->cands = lv_alloc_array((size_t)n_vocab, sizeof *s->cands, 64))) goto fail;
    if (!(s->probs = lv_alloc_array((size_t)n_vocab, sizeof *s->probs, 64))) goto fail;
    if (!(s->seen = lv_alloc_array(n_words(n_vocab), sizeof *s->seen, 64))) goto fail;
    *out = s;
    return LEVER_OK;
fail:
    lv_sampler_close(&s);
    return lv_fail(err, LEVER_ENOMEM, 0, "sampler (%zu bytes)", lv_sampler_memory_bytes(n_vocab));
}

int lv_sampler_set(lv_sampler *s, const lv_sampler_params *p, lever_error *err)
{
    LEVER_TRY(lv_sampler_params_check(p, err));
    s->p = *p;
    return LEVER_OK;
}

void lv_sampler_close(lv_sampler **s)
{
    if (!s || !*s) return;
    lv_free((*s)->cands);
    lv_free((*s)->probs);
    lv_free((*s)->seen);
    lv_free(*s);
    *s = NULL;
}

size_t lv_sampler_memory_bytes(int32_t n_vocab)
{
    const size_t n = n_vocab > 0 ? (size_t)n_vocab : 0;
    return lv_round_up(sizeof(lv_sampler), 64) + lv_round_up(n * sizeof(cand), 64) +
           lv_round_up(n * sizeof(float), 64) + lv_round_up(n_words((int32_t)n) * sizeof(uint64_t), 64);
}

/* ---- repeat penalty ---- */

/* Token `back` places before the end of the text, back >= 1. */
static int32_t token_back(const lv_history *h, size_t back)
{
    return back <= h->n_path ? h->path[h->n_path - back] : h->tokens[h->n_tokens + h->n_path - back];
}

static void apply_penalty(lv_sampler *s, float *logits, const lv_history *h)
{
    const float penalty = s->p.repeat_penalty;
    size_t n = h->n_tokens + h->n_path;
    if (n > (size_t)s->p.repeat_last_n) n = (size_t)s->p.repeat_last_n;
    if (penalty == 1.0f) return;
    for (size_t back = 1; back <= n; back++) {
        const int32_t t = token_back(h, back);
        if (t < 0 || t >= s->n_vocab || (s->seen[t / 64] >> t % 64 & 1)) continue;
        s->seen[t / 64] |= UINT64_C(1) << t % 64;
        logits[t] = logits[t] > 0.0f ? logits[t] / penalty : logits[t] * penalty;
    }
    for (size_t back = 1; back <= n; back++) {
        const int32_t t = token_back(h, back);
        if (t >= 0 && t < s->n_vocab) s->seen[t / 64] = 0;
    }
}

/* ---- selection: a total order, so no result depends on how a heap happens to be built ---- */

static bool better(cand a, cand b) { return a.key > b.key || (a.key == b.key && a.id < b.id); }

static cand make_cand(float key, int32_t id) { return (cand){ key == key ? key : -INFINITY, id }; }

static void sift_down(cand *heap, size_t n, size_t i, bool best_on_top)
{
    const cand v = heap[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && better(heap[c + 1], heap[c]) == best_on_top) c++;
        if (better(heap[c], v) != best_on_top) break;
        heap[i] = heap[c];
    }
    heap[i] = v;
}

static void make_heap(cand *heap, size_t n, bool best_on_top)
{
    for (size_t i = n / 2; i-- > 0;) sift_down(heap, n, i, best_on_top);
}

/* Move the top behind the other n - 1 and return it. */
static cand pop_top(cand *heap, size_t n, bool best_on_top)
{
    const cand top = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = top;
    sift_down(heap, n - 1, 0, best_on_top);
    return top;
}

/* The k best of x [n] into out [k], best first; 1 <= k <= n. */
static void select_best(cand *out, const float *x, size_t n, size_t k)
{
    for (size_t i = 0; i < k; i++) out[i] = make_cand(x[i], (int32_t)i);
    make_heap(out, k, false);
    for (size_t i = k; i < n; i++) {
        if (!(x[i] > out[0].key)) continue; /* an equal one has the higher id: it loses */
        out[0] = make_cand(x[i], (int32_t)i);
        sift_down(out, k, 0, false);
    }
    for (size_t m = k; m > 1; m--) pop_top(out, m, false);
}

/* ---- filters ---- */

static bool top_k_on(const lv_sampler *s) { return s->p.top_k > 0 && s->p.top_k < s->n_vocab; }

static bool filters_on(const lv_sampler *s)
{
    return top_k_on(s) || s->p.top_p < 1.0f || s->p.min_p > 0.0f;
}

/* top-k first: the rest works on sorted candidates. logits are used up. Returns the survivors. */
static size_t filter_sorted(lv_sampler *s, float *logits)
{
    const size_t k = (size_t)s->p.top_k;
    select_best(s->cands, logits, (size_t)s->n_vocab, k);
    if (s->p.top_p >= 1.0f && s->p.min_p <= 0.0f) return k;
    for (size_t i = 0; i < k; i++) logits[i] = s->cands[i].key;
    s->k->softmax(logits, logits, k);
    const float top_p = s->p.top_p < 1.0f ? s->p.top_p : INFINITY; /* rounding may reach 1 early */
    float sum = logits[0];
    size_t n = 1;
    while (n < k && sum < top_p && logits[n] >= s->p.min_p * logits[0]) sum += logits[n++];
    return n;
}

/* No top-k: s->probs holds the probabilities of the vocabulary; top-p takes from a heap as many as it
 * needs. The survivors end up at *first, in no useful order. */
static size_t filter_all(lv_sampler *s, const float *logits, const cand **first)
{
    const size_t n_vocab = (size_t)s->n_vocab;
    const float least = s->p.min_p * s->probs[s->k->argmax(logits, n_vocab)];
    size_t n = 0;
    for (size_t i = 0; i < n_vocab; i++)
        if (s->probs[i] >= least) s->cands[n++] = make_cand(logits[i], (int32_t)i);
    *first = s->cands;
    if (n == 0) s->cands[n++] = make_cand(logits[0], 0); /* all NaN */
    if (s->p.top_p >= 1.0f) return n;
    make_heap(s->cands, n, true);
    size_t left = n;
    for (float sum = 0.0f; left > 0 && (left == n || sum < s->p.top_p); left--)
        sum += s->probs[pop_top(s->cands, left, true).id];
    *first = s->cands + left;
    return n - left;
}

/* The survivors of the filters, moved to s->cands [returned] with their perturbed scores. Without
 * top-k, s->probs must be there. */
static size_t filter_and_perturb(lv_sampler *s, float *logits, uint64_t pos)
{
    const cand *first = s->cands;
    const size_t n = top_k_on(s) ? filter_sorted(s, logits) : filter_all(s, logits, &first);
    for (size_t i = 0; i < n; i++) {
        float score;
        const cand c = first[i];
        s->k->perturb(&score, &c.key, 1, s->p.temperature, s->p.seed, pos, (uint32_t)c.id);
        s->cands[i] = make_cand(score, c.id);
    }
    return n;
}

/* ---- the two questions ---- */

int32_t lv_sampler_pick(lv_sampler *s, float *logits, const lv_history *h)
{
    const size_t n_vocab = (size_t)s->n_vocab;
    const uint64_t pos = h->n_tokens + h->n_path;
    apply_penalty(s, logits, h);
    if (s->p.temperature == 0.0f) return (int32_t)s->k->argmax(logits, n_vocab);
    if (!filters_on(s)) {
        s->k->perturb(logits, logits, n_vocab, s->p.temperature, s->p.seed, pos, 0);
        return (int32_t)s->k->argmax(logits, n_vocab);
    }
    if (!top_k_on(s)) s->k->softmax(s->probs, logits, n_vocab);
    const size_t n = filter_and_perturb(s, logits, pos);
    cand best = s->cands[0];
    for (size_t i = 1; i < n; i++)
        if (better(s->cands[i], best)) best = s->cands[i];
    return best.id;
}

/* ln of the probability of a logit, by that of the largest one. */
static float log_prob(float logit, float max, float log_max)
{
    const float x = logit - max + log_max;
    return x > -200.0f ? x < 0.0f ? x : 0.0f : -200.0f; /* NaN, too */
}

/* The logit a penalised token had, within an ulp; others are as they were. */
static float plain_logit(const lv_sampler *s, float logit, int32_t token, const lv_history *h)
{
    size_t n = h->n_tokens + h->n_path;
    if (n > (size_t)s->p.repeat_last_n) n = (size_t)s->p.repeat_last_n;
    size_t back = 1;
    while (back <= n && token_back(h, back) != token) back++;
    if (back > n) return logit;
    return logit > 0.0f ? logit * s->p.repeat_penalty : logit / s->p.repeat_penalty;
}

/* Picking uses up the logits, but s->probs only where top-k is off and another filter is on; then the logits stay. */
int32_t lv_sampler_pick_scored(lv_sampler *s, float *logits, const lv_history *h, lv_logprob *picked,
                               lv_logprob *top, uint32_t *n_top)
{
    cand best[LV_TOP_MOST];
    const size_t n_vocab = (size_t)s->n_vocab;
    if (*n_top > LV_TOP_MOST) *n_top = LV_TOP_MOST;
    if (*n_top > n_vocab) *n_top = (uint32_t)n_vocab;
    s->k->softmax(s->probs, logits, n_vocab);
    const int32_t first = (int32_t)s->k->argmax(logits, n_vocab);
    const float max = logits[first], log_max = lv_logf(s->probs[first]);
    if (*n_top) select_best(best, logits, n_vocab, *n_top);
    for (uint32_t i = 0; i < *n_top; i++) top[i] = (lv_logprob){ best[i].id, log_prob(best[i].key, max, log_max) };
    const bool own_probs = s->p.temperature > 0.0f && filters_on(s) && !top_k_on(s);
    const int32_t token = lv_sampler_pick(s, logits, h);
    const float prob = s->probs[token];
    if (own_probs) *picked = (lv_logprob){ token, log_prob(plain_logit(s, logits[token], token, h), max, log_max) };
    else *picked = (lv_logprob){ token, prob > 1e-37f ? log_prob(lv_logf(prob), 0.0f, 0.0f) : -200.0f };
    for (uint32_t i = 0; i < *n_top; i++)
        if (top[i].token == token) *picked = top[i];
    return token;
}

/* s->probs of the n survivors in s->cands; logits is scratch. */
static void survivor_probs(lv_sampler *s, float *logits, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) logits[i] = s->cands[i].key * scale;
    s->k->softmax(logits, logits, n);
    for (size_t i = 0; i < n; i++) s->probs[s->cands[i].id] = logits[i];
}

uint32_t lv_sampler_candidates(lv_sampler *s, float *logits, const lv_history *h, uint32_t k, float sharpness,
                               int32_t *tokens, float *probs)
{
    const float temp = s->p.temperature, scale = temp > 0.0f ? sharpness * temp : sharpness;
    const uint64_t pos = h->n_tokens + h->n_path;
    size_t n = (size_t)s->n_vocab;
    if (k == 0) return 0;
    apply_penalty(s, logits, h);
    if (temp > 0.0f && filters_on(s)) {
        if (!top_k_on(s)) s->k->softmax(s->probs, logits, n);
        n = filter_and_perturb(s, logits, pos);
        survivor_probs(s, logits, n, scale);
        if (k > n) k = (uint32_t)n;
        make_heap(s->cands, n, true);
        for (uint32_t i = 0; i < k; i++) tokens[i] = pop_top(s->cands, n - i, true).id;
    } else {
        if (temp > 0.0f) s->k->perturb(logits, logits, n, temp, s->p.seed, pos, 0);
        for (size_t i = 0; i < n; i++) s->probs[i] = logits[i] * scale;
        s->k->softmax(s->probs, s->probs, n);
        if (k > n) k = (uint32_t)n;
        select_best(s->cands, logits, n, k);
        for (uint32_t i = 0; i < k; i++) tokens[i] = s->cands[i].id;
    }
    for (uint32_t i = 0; i < k; i++) probs[i] = s->probs[tokens[i]];
    return k;
}

void lv_sampler_add_noise(const lv_sampler *s, uint64_t pos, const int32_t *tokens, uint32_t n, float *scores)
{
    if (s->p.temperature == 0.0f) return;
    for (uint32_t i = 0; i < n; i++)
        s->k->perturb(&scores[i], &scores[i], 1, s->p.temperature, s->p.seed, pos, (uint32_t)tokens[i]);
}

/* Tokens that float arithmetic leaves nothing are not listed. */
static void add_sorted(lv_dist *d, int32_t token, float prob)
{
    uint32_t i = d->n;
    if (!(prob > 0.0f)) return;
    for (; i > 0 && d->items[i - 1].token > token; i--) d->items[i] = d->items[i - 1];
    d->items[i] = (lv_prob){ (double)prob, token };
    d->n++;
}

void lv_sampler_distribution(lv_sampler *s, float *logits, const lv_history *h, lv_dist *out)
{
    const cand *first = s->cands;
    apply_penalty(s, logits, h);
    if (!top_k_on(s)) s->k->softmax(s->probs, logits, (size_t)s->n_vocab);
    const size_t n = top_k_on(s) ? filter_sorted(s, logits) : filter_all(s, logits, &first);
    assert(s->p.temperature > 0.0f && n <= LV_DIST_MAX);
    for (size_t i = 0; i < n; i++) logits[i] = first[i].key / s->p.temperature;
    s->k->softmax(logits, logits, n);
    out->n = 0;
    for (size_t i = 0; i < n; i++) add_sorted(out, first[i].id, logits[i]);
    if (!lv_dist_normalise(out)) *out = (lv_dist){ .items = { { 1, first[0].id } }, .n = 1 }; /* all NaN */
}
