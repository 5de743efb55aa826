/* Canonical maths against libm, and the statistics of the shared noise. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "kernel/angles.h"
#include "kernel/noise.h"

/* Distance in units of the last place of the float nearest to `want`. */
static double ulps(float got, double want)
{
    const float f = (float)want, next = nextafterf(f, INFINITY);
    const double unit = (double)next - (double)f;
    return fabs((double)got - want) / unit;
}

static void exp_is_within_two_ulp(void)
{
    double worst = 0;
    for (int i = -870000; i <= 885000; i++) {
        const float x = (float)i * 1e-4f;
        const double u = ulps(lv_expf(x), exp((double)x));
        if (u > worst) worst = u;
    }
    printf("     expf: at most %.2f ulp\n", worst);
    CHECK(worst <= 2.0);
}

static void exp_ends_are_defined(void)
{
    CHECK(lv_expf(0.0f) == 1.0f && lv_expf(-0.0f) == 1.0f);
    CHECK(lv_expf(89.0f) == INFINITY && lv_expf(INFINITY) == INFINITY && lv_expf(1e30f) == INFINITY);
    CHECK(lv_expf(-104.5f) == 0.0f && lv_expf(-INFINITY) == 0.0f && lv_expf(-1e30f) == 0.0f);
    CHECK(lv_expf(NAN) != lv_expf(NAN));
    CHECK(lv_expf(-100.0f) > 0.0f && fabs((double)lv_expf(-100.0f) - exp(-100.0)) < 3e-45); /* subnormal */
}

static void log_is_within_two_ulp(void)
{
    double worst = 0;
    for (uint32_t bits = 0x00800000u; bits < 0x7f800000u; bits += 1237) {
        const float x = lv_f32_from_bits(bits);
        const double want = log((double)x);
        if (want == 0) continue;
        const double u = ulps(lv_logf(x), want);
        if (u > worst) worst = u;
    }
    for (int i = -20000; i <= 20000; i++) { /* around 1, where the result is small */
        const float x = 1.0f + (float)i * 0x1p-20f;
        const double u = i ? ulps(lv_logf(x), log((double)x)) : 0;
        if (u > worst) worst = u;
    }
    printf("     logf: at most %.2f ulp\n", worst);
    CHECK(worst <= 2.0);
    CHECK(lv_logf(1.0f) == 0.0f);
}

static void angles_match_libm(void)
{
    double worst = 0, s, c;
    for (int i = 0; i <= 2000000; i++) {
        const double x = (double)i * 0.4999 + (double)(i % 97) * 1e-3;
        lv_sincos(x, &s, &c);
        worst = fmax(worst, fmax(fabs(s - sin(x)), fabs(c - cos(x))));
    }
    for (int i = 0; i < 1000; i++) { /* near multiples of pi/2 */
        const double x = i * 1.5707963267948966;
        lv_sincos(x, &s, &c);
        worst = fmax(worst, fmax(fabs(s - sin(x)), fabs(c - cos(x))));
        lv_sincos(-x, &s, &c);
        worst = fmax(worst, fmax(fabs(s - sin(-x)), fabs(c - cos(-x))));
    }
    printf("     sincos: error at most %.2g up to 1e6\n", worst);
    CHECK(worst < 1e-14);
    double rel = 0;
    static const double bases[] = { 2.0, 1e4, 5e5, 1e6, 1e7, 0.5 };
    for (size_t b = 0; b < 6; b++)
        for (size_t i = 0; i < 64; i++) {
            const double want = pow(bases[b], -2.0 * (double)i / 128);
            rel = fmax(rel, fabs(lv_rope_freq(bases[b], i, 128) - want) / want);
        }
    printf("     rope frequency: relative error at most %.2g\n", rel);
    CHECK(rel < 1e-13);
}

static void noise_has_the_gumbel_distribution(void)
{
    enum { N = 400000 };
    double sum = 0, square = 0, largest = -1e9;
    for (uint32_t i = 0; i < N; i++) {
        const double g = (double)lv_gumbel(11, i / 1000, i % 1000);
        CHECK(isfinite(g));
        sum += g;
        square += g * g;
        largest = fmax(largest, g);
    }
    const double mean = sum / N, var = square / N - mean * mean;
    CHECK(fabs(mean - 0.5772157) < 0.01);
    CHECK(fabs(var - 1.6449341) < 0.03);
    CHECK(largest > 10 && largest < 25); /* the largest of N is near ln N = 12.9 */
    /* P(g <= x) = exp(-exp(-x)) at several points, within four standard errors. */
    static const double at[] = { -1.5, -0.5, 0, 0.5, 1, 2, 4, 6, 9 };
    for (size_t j = 0; j < sizeof at / sizeof *at; j++) {
        int below = 0;
        for (uint32_t i = 0; i < N; i++) below += (double)lv_gumbel(5, i % 1000, i / 1000) <= at[j];
        const double want = exp(-exp(-at[j])), se = sqrt(want * (1 - want) / N);
        CHECK(fabs((double)below / N - want) < 4 * se + 1e-7);
    }
}

static void noise_depends_on_seed_position_and_token(void)
{
    CHECK(lv_gumbel(1, 2, 3) == lv_gumbel(1, 2, 3));
    CHECK(lv_gumbel(1, 2, 3) != lv_gumbel(2, 2, 3));
    CHECK(lv_gumbel(1, 2, 3) != lv_gumbel(1, 3, 3));
    CHECK(lv_gumbel(1, 2, 3) != lv_gumbel(1, 2, 4));
    double xy = 0; /* neighbours in each coordinate are uncorrelated */
    enum { N = 100000 };
    for (uint32_t i = 0; i < N; i++)
        xy += ((double)lv_gumbel(9, 4, i) - 0.5772) * ((double)lv_gumbel(9, 4, i + 1) - 0.5772);
    CHECK(fabs(xy / N) < 0.03);
    xy = 0;
    for (uint32_t i = 0; i < N; i++)
        xy += ((double)lv_gumbel(9, i, 7) - 0.5772) * ((double)lv_gumbel(9, i + 1, 7) - 0.5772);
    CHECK(fabs(xy / N) < 0.03);
}

/* argmax of logit + noise draws from the softmax, down to rare tokens. */
static void noise_draws_from_the_softmax(void)
{
    static const double p[] = { 0.5, 0.3, 0.15, 0.04, 0.009, 0.001 };
    enum { TOKENS = 6, DRAWS = 200000 };
    int n[TOKENS] = { 0 };
    for (uint64_t pos = 0; pos < DRAWS; pos++) {
        int best = 0;
        double top = -1e9;
        for (int t = 0; t < TOKENS; t++) {
            const double y = log(p[t]) + (double)lv_gumbel(99, pos, (uint32_t)t);
            if (y > top) top = y, best = t;
        }
        n[best]++;
    }
    for (int t = 0; t < TOKENS; t++) CHECK(fabs(n[t] - DRAWS * p[t]) < 5 * sqrt(DRAWS * p[t]));
}

/* The best draws of a large vocabulary differ from each other and reach far enough. */
static void the_best_draws_of_a_large_vocabulary_differ(void)
{
    enum { VOCAB = 150000 };
    int ties = 0;
    double mean_top = 0;
    for (uint64_t pos = 0; pos < 20; pos++) {
        float first = -1e9f, second = -1e9f;
        for (uint32_t id = 0; id < VOCAB; id++) {
            const float g = lv_gumbel(3, pos, id);
            if (g > first) second = first, first = g;
            else if (g > second) second = g;
        }
        ties += first == second;
        mean_top += (double)first / 20;
    }
    CHECK_EQ(ties, 0);
    CHECK(fabs(mean_top - (log(VOCAB) + 0.5772157)) < 1.5); /* standard error 0.29 */
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
    const uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* The same bits on every compiler and processor: the sums below were made on x86-64. A change of the
 * arithmetic changes the text of every model, so it must be deliberate. */
static void the_bits_are_the_same_everywhere(void)
{
    uint64_t exps = 1, logs = 1, noise = 1, angles = 1;
    for (int i = 0; i < 20000; i++) {
        const float e = lv_expf((float)(i - 10500) * 0.01f), l = lv_logf(1e-6f + (float)i * 0.37f);
        const float g = lv_gumbel((uint64_t)i * 77, (uint64_t)i / 3, (uint32_t)i);
        double a[3];
        lv_sincos(i * 12.34567, &a[0], &a[1]);
        a[2] = lv_rope_freq(10000.0 + i, (size_t)i % 64, 128);
        exps = mix(exps, &e, sizeof e);
        logs = mix(logs, &l, sizeof l);
        noise = mix(noise, &g, sizeof g);
        angles = mix(angles, a, sizeof a);
    }
    CHECK(exps == UINT64_C(0xe851a2ee956588a1));
    CHECK(logs == UINT64_C(0x23fae9201adfae12));
    CHECK(noise == UINT64_C(0x624d56bc39f41f6d));
    CHECK(angles == UINT64_C(0x2778f41a667b7a57));
}

int main(void)
{
    RUN(exp_is_within_two_ulp);
    RUN(exp_ends_are_defined);
    RUN(log_is_within_two_ulp);
    RUN(angles_match_libm);
    RUN(noise_has_the_gumbel_distribution);
    RUN(noise_depends_on_seed_position_and_token);
    RUN(noise_draws_from_the_softmax);
    RUN(the_best_draws_of_a_large_vocabulary_differ);
    RUN(the_bits_are_the_same_everywhere);
    return check_done();
}
