/* SPDX-License-Identifier: MIT */
#include "engine/eval_score.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "kernel/angles.h"

/* e^x for x <= 0 within 2 ulp; 0 below -708 (the sum it goes to is at least 1); NaN stays. This is lv_exp
 * without divisions, as it runs for every token of the vocabulary, and without fma, which is a call on
 * processors that may lack it. x = n ln 2 + r, n ln 2 in two parts, the first exact; e^r by its series. */
static inline double exp_down(double x)
{
    if (!(x >= -708.0)) return x != x ? x : 0.0;
    const double n = (x * 0x1.71547652b82fep+0 + 0x1.8p52) - 0x1.8p52;
    const double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800.0; /* 1/13! */
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* Index of the largest logit; the lowest among equals. NaN never wins, unless all are. */
static uint32_t argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best] || (x[best] != x[best] && x[i] == x[i])) best = i;
    return best;
}

/* ln of the sum of e^x. The maximum is taken out, so nothing overflows and the sum is at least 1. */
static double log_sum(const float *x, uint32_t n, double max)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) sum += exp_down((double)x[i] - max);
    return sum == sum ? max + lv_log(sum) : sum;
}

/* The sum of p (ln p - ln q) is that of p (t - d), as the sum of p is 1, plus what the logarithms of the two
 * sums differ by: nothing remains of either model's scale, and equal models give exactly 0. */
static double divergence(const float *t, const float *d, uint32_t n, double t_log, double d_log)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double p = exp_down((double)t[i] - t_log);
        if (p > 0.0) sum += p * ((double)t[i] - (double)d[i]);
    }
    const double kl = sum + (d_log - t_log);
    return kl < 0.0 ? 0.0 : kl; /* rounding may leave -1e-16 */
}

static uint32_t rank_of(const float *x, uint32_t n, uint32_t id)
{
    uint32_t better = 0;
    for (uint32_t i = 0; i < n; i++) better += x[i] > x[id] || (x[i] == x[id] && i < id);
    return better;
}

void lv_eval_score(lv_eval_row *out, const float *target, const float *draft, uint32_t n, int32_t token)
{
    *out = (lv_eval_row){ 0 };
    const uint32_t first = argmax(target, n);
    const double t_log = log_sum(target, n, (double)target[first]);
    out->nll = t_log - (double)target[token];
    if (!draft) return;
    const double d_log = log_sum(draft, n, (double)draft[argmax(draft, n)]);
    out->draft_nll = d_log - (double)draft[token];
    out->draft_rank = rank_of(draft, n, first);
    out->kl = divergence(target, draft, n, t_log, d_log);
}

void lv_eval_add(lv_eval_sums *s, const lv_eval_row *row, uint64_t bytes)
{
    s->n++;
    s->bytes += bytes;
    s->nll += row->nll;
    s->nll2 += row->nll * row->nll;
    s->draft_nll += row->draft_nll;
    s->draft_nll2 += row->draft_nll * row->draft_nll;
    s->kl += row->kl;
    s->n_first += row->draft_rank == 0;
    s->n_four += row->draft_rank < 4;
}

lv_eval_perplexity lv_eval_perplexity_of(double sum, double sum2, uint64_t n)
{
    if (n == 0) return (lv_eval_perplexity){ 0 };
    const double mean = sum / (double)n, variance = sum2 / (double)n - mean * mean;
    const double value = mean < 700.0 ? lv_exp(mean) : INFINITY;
    if (n == 1 || !(variance > 0.0)) return (lv_eval_perplexity){ .value = value };
    return (lv_eval_perplexity){ .value = value, .error = value * sqrt(variance / (double)(n - 1)) };
}

double lv_eval_bits_per_byte(double nll_sum, uint64_t bytes)
{
    return bytes ? nll_sum * 0x1.71547652b82fep+0 / (double)bytes : 0.0; /* 1 / ln 2 */
}
