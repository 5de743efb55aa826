/* kcheck: every kernel of every instruction set against the reference, bit for bit; then, with --bench,
 * timed. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_KCHECK_H
#define LEVER_TESTS_KCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

/* The reference table and the one under test. */
typedef struct kc_tables {
    lv_kernels ref, test;
} kc_tables;

/* One entry per family of kernels. A check runs on the reference itself too (then ref == test): it must
 * compare the reference with something else, or only exercise it under guard pages. */
void kc_check_matmul(const kc_tables *k);
void kc_check_vector(const kc_tables *k);
void kc_check_attention(const kc_tables *k);

/* Record one failure; prints seed, ISA and message. Returns false. */
bool kc_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Buffer of `bytes` whose end touches a PROT_NONE page: one byte of overread is a SIGSEGV, one byte of
 * underwrite breaks the canary. Contents are random. Freed by kc_release. */
void *kc_buf(size_t bytes);
/* The same, starting at a multiple of 64 (so up to 63 bytes of overread go unseen). */
void *kc_buf64(size_t bytes);
void  kc_release(void);
/* Fails when the n floats differ in any bit, except that NaNs of any kind are equal. */
bool kc_same(const float *want, const float *got, size_t n, const char *what);

uint32_t kc_rand(void);
float    kc_randf(float lo, float hi);
/* n activations: mostly in [-2, 2], one in 64 an extreme (0, subnormal, huge). */
void     kc_fill(float *x, size_t n);

bool kc_benching(void); /* --bench given */
/* Time `call`; prints "name,ns,GB/s,GOP/s" on --bench. */
#define KC_BENCH(name, bytes, ops, call) \
    for (bool kc_go_ = kc_bench_start(); kc_go_; kc_go_ = kc_bench_next(name, bytes, ops)) { call; }
bool kc_bench_start(void);
bool kc_bench_next(const char *name, double bytes, double ops);

#endif
