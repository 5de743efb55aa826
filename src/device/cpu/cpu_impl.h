/* What an lv_cpu holds; shared by the files of device/cpu only. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_CPU_CPU_IMPL_H
#define LEVER_DEVICE_CPU_CPU_IMPL_H

#include "device/cpu/cpu.h"

/* One thread's part of the attention scratch: offsets in bytes, each a multiple of 64. */
typedef struct lv_attn_scratch {
    size_t n_queries; /* at once: heads of one KV head, of one row or of several */
    size_t ld;        /* floats between the scores of two queries */
    size_t scores, queries, packed, inv, bytes;
} lv_attn_scratch;

struct lv_cpu {
    lv_kernels k;
    lv_pool *pool;
    lv_cpu_config c;
    uint8_t *act[LV_ACT_COUNT];
    uint8_t *scratch; /* [n_threads][scratch_bytes] of matrix products */
    size_t scratch_bytes;
    uint8_t *attn; /* [n_threads][attn_scratch.bytes] */
    lv_attn_scratch attn_scratch;
};

/* device/cpu/attention.c */
lv_attn_scratch lv_cpu_attn_scratch(const lv_kernels *k, const lv_cpu_config *c);
/* Run a loop over the pool, or here when `work` (about one per multiply-add) does not repay waking it. */
void lv_cpu_run_if(lv_cpu *cpu, size_t n, size_t grain, size_t work, lv_pool_fn fn, void *arg);

#endif
