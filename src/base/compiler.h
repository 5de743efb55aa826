/* What we ask of the compiler and the target. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_COMPILER_H
#define LEVER_BASE_COMPILER_H

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Lever reads little-endian files in place and needs a little-endian target"
#endif
#if defined(__FAST_MATH__)
#error "Lever's results are defined bit for bit: build without -ffast-math"
#endif

#define LV_LIKELY(x)   __builtin_expect(!!(x), 1)
#define LV_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
