/* SPDX-License-Identifier: MIT */
#include "fit/fit_loss.h"

#include "kernel/angles.h"

static void scale(float *x, size_t n, float by)
{
    for (size_t i = 0; i < n; i++) x[i] *= by;
}

/* The sum of p (z - s), as eight sums side by side. */
static double mean_difference(const float *p, const float *z, const float *s, size_t n)
{
    double sum[8] = { 0 };
    for (size_t i = 0; i < n; i++) sum[i % 8] += (double)p[i] * ((double)z[i] - (double)s[i]);
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* With p, q the softmaxes of z/t, s/t: KL = sum p (z - s) / t + ln sum e^(s/t) - ln sum e^(z/t), and its
 * gradient by s is (q - p) / t. At the largest logit p = e^(z/t - that logarithm), which gives the logarithm.
 */
double lv_fit_loss_kd(const lv_kernels *k, float *z, float *s, size_t n, float t, float *scratch)
{
    float *p = scratch;
    scale(z, n, 1.0f / t);
    scale(s, n, 1.0f / t);
    const size_t z_at = k->argmax(z, n), s_at = k->argmax(s, n);
    const double s_max = (double)s[s_at];
    k->softmax(p, z, n);
    const double difference = mean_difference(p, z, s, n);
    k->softmax(s, s, n);
    const double z_log = (double)z[z_at] - lv_log((double)p[z_at]), s_log = s_max - lv_log((double)s[s_at]);
    for (size_t i = 0; i < n; i++) s[i] = t * (s[i] - p[i]);
    const double kl = difference + (s_log - z_log);
    return (double)t * (double)t * (kl < 0.0 ? 0.0 : kl); /* rounding may leave -1e-8 */
}

void lv_fit_softmax(const float *x, uint32_t n, double t, double *p)
{
    double max = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++)
        if ((double)x[i] > max) max = x[i];
    for (uint32_t i = 0; i < n; i++) {
        const double e = ((double)x[i] - max) / t;
        sum += p[i] = e < -700.0 ? 0.0 : lv_exp(e);
    }
    for (uint32_t i = 0; i < n; i++) p[i] /= sum;
}

double lv_fit_loss_cand(const float *z, const float *s, uint32_t n, float t, float *grad)
{
    double p[LV_FIT_CANDIDATES], q[LV_FIT_CANDIDATES], kl = 0;
    lv_fit_softmax(z, n, (double)t, p);
    lv_fit_softmax(s, n, (double)t, q);
    for (uint32_t i = 0; i < n; i++) {
        /* q may underflow where p does not: the floor bounds the loss, not the gradient. */
        if (!(p[i] <= 1e-300)) kl += p[i] * (lv_log(p[i]) - lv_log(q[i] > 1e-300 ? q[i] : 1e-300));
        if (grad) grad[i] = (float)((double)t * (q[i] - p[i]));
    }
    return (double)t * (double)t * (kl < 0.0 ? 0.0 : kl);
}
