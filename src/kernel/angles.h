/* Angles of RoPE in double: sine, cosine and frequencies from IEEE add, mul, div and fma only, so that
 * the tables are the same on every target. SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_ANGLES_H
#define LEVER_KERNEL_ANGLES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* sin x and cos x; absolute error < 1e-14 for |x| <= 1e6. x = n pi/2 + r, pi/2 in three parts. */
static inline void lv_sincos(double x, double *s, double *c)
{
    const double n = fma(x, 0x1.45f306dc9c883p-1, 0x1.8p52) - 0x1.8p52;
    double r = fma(n, -0x1.921fb54400000p+0, x);
    r = fma(n, -0x1.0b4611a600000p-34, r);
    r = fma(n, -0x1.3198a2e037073p-69, r);
    const double z = r * r;
    double p = 1.0 / 355687428096000.0; /* sin: r^17/17! down to r */
    p = fma(p, z, -1.0 / 1307674368000.0);
    p = fma(p, z, 1.0 / 6227020800.0);
    p = fma(p, z, -1.0 / 39916800.0);
    p = fma(p, z, 1.0 / 362880.0);
    p = fma(p, z, -1.0 / 5040.0);
    p = fma(p, z, 1.0 / 120.0);
    p = fma(p, z, -1.0 / 6.0);
    const double sn = fma(p * z, r, r);
    double q = 1.0 / 20922789888000.0; /* cos: r^16/16! down to 1 */
    q = fma(q, z, -1.0 / 87178291200.0);
    q = fma(q, z, 1.0 / 479001600.0);
    q = fma(q, z, -1.0 / 3628800.0);
    q = fma(q, z, 1.0 / 40320.0);
    q = fma(q, z, -1.0 / 720.0);
    q = fma(q, z, 1.0 / 24.0);
    q = fma(q, z, -0.5);
    const double cs = fma(q, z, 1.0);
    switch ((int64_t)n & 3) {
    case 0: *s = sn, *c = cs; break;
    case 1: *s = cs, *c = -sn; break;
    case 2: *s = -sn, *c = -cs; break;
    default: *s = -cs, *c = sn; break;
    }
}

/* ln x, x > 0 normal; relative error < 1e-15. */
static inline double lv_log(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    const int64_t e = (int64_t)(u - UINT64_C(0x3fe6a09e667f3bcd)) >> 52;
    u -= (uint64_t)e << 52;
    double m;
    memcpy(&m, &u, sizeof m);
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 25.0;
    for (int k = 23; k >= 1; k -= 2) p = fma(p, z, 1.0 / k);
    return fma((double)e, 0x1.62e42fefa39efp-1, 2.0 * s * p);
}

/* e^x for |x| < 700; relative error < 1e-14. */
static inline double lv_exp(double x)
{
    const double n = fma(x, 0x1.71547652b82fep+0, 0x1.8p52) - 0x1.8p52;
    double r = fma(n, -0x1.62e42fefa39efp-1, x);
    r = fma(n, -0x1.abc9e3b39803fp-56, r);
    double p = 1.0;
    for (int k = 14; k >= 1; k--) p = fma(p, r / k, 1.0);
    const uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* Rotation per position of pair i: base^(-2 i / n_rot). base > 0. */
static inline double lv_rope_freq(double base, size_t i, size_t n_rot)
{
    return lv_exp(-lv_log(base) * (2.0 * (double)i) / (double)n_rot);
}

#endif
