/* Canonical scalar maths of the token path: exp, log and the shared noise, made of IEEE add, mul,
 * div and fma only, so that every compiler and ISA gives the same bits. SIMD kernels repeat these
 * steps lane by lane. Header-only: each ISA's object compiles its own copy.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_NOISE_H
#define LEVER_KERNEL_NOISE_H

/* Declares (see the definitions for the exact steps):
 *   static inline float lv_expf(float x);   relative error <= 2 ulp, 0 below -104, inf above 89
 *   static inline float lv_logf(float x);   x > 0 normal; error <= 2 ulp
 *   static inline float lv_gumbel(uint64_t seed, uint64_t pos, uint32_t id);
 *       u = a uniform in (0, 1) from a 64-bit mix of (seed, pos, id); -log(-log(u)).
 *       METHODS.md section 4: noise depends on seed, position and token only. */

#endif
