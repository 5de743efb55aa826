/* Row-batch operations on the CPU: kernels spread over the worker pool. The results do not depend on
 * the number of threads. Everything works on the batch [n_rows][...], row-major f32.
 * Owns: the pool, the kernel table, packed-activation and per-thread scratch (allocated at open; none
 * per call). Threading: one owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_CPU_CPU_H
#define LEVER_DEVICE_CPU_CPU_H

#include "base/mem.h"
#include "kernel/kernel.h"
#include "os/pool.h"

typedef struct lv_cpu lv_cpu;

typedef struct lv_cpu_config {
    unsigned n_threads;  /* >= 1 */
    unsigned cpu_flags;  /* lv_cpu_detect(), or fewer to force an ISA */
    size_t   max_rows;   /* largest batch */
    size_t   max_k;      /* longest matrix row */
    unsigned act_kinds;  /* packings that will be used: bits 1 << enum lv_act_kind; 0 = any */
    size_t   max_ctx;    /* positions one row may attend to; a cache has at most max_ctx + max_rows slots */
    size_t   max_head_dim;
    lv_cpu_list cpus;    /* cores of the threads; n = 0: any */
} lv_cpu_config;

/* Bytes an lv_cpu of this configuration allocates (for the memory plan). */
size_t lv_cpu_memory_bytes(const lv_cpu_config *c);
/* LEVER_OK, LEVER_EINVAL, LEVER_ENOMEM. Returned: lv_cpu_close. */
int  lv_cpu_open(lv_cpu **out, const lv_cpu_config *c, lever_error *err);
void lv_cpu_close(lv_cpu **cpu);
const lv_kernels *lv_cpu_kernels(const lv_cpu *cpu);
unsigned lv_cpu_n_threads(const lv_cpu *cpu);

/* Pack x [n_rows][k] (ldx = k) as the right-hand side for weights of `kind`; valid until the next
 * pack of the same kind. One packed batch serves several products (q, k, v; gate, up). */
void lv_cpu_pack(lv_cpu *cpu, enum lv_act_kind kind, const float *x, size_t n_rows, size_t k);
/* y[t * ldy + r] = w[r] . x[t] for r < n_out, from the last pack of the type's kind (same n_rows, k).
 * w: n_out rows in file layout. type must have a product (lv_type_act_kind >= 0). */
void lv_cpu_matmul(lv_cpu *cpu, float *y, size_t ldy, uint32_t type, const void *w, size_t n_out,
                   size_t n_rows, size_t k);
/* The same; the calling thread first runs `beside`, while the others compute. */
void lv_cpu_matmul_beside(lv_cpu *cpu, float *y, size_t ldy, uint32_t type, const void *w, size_t n_out,
                          size_t n_rows, size_t k, lv_beside beside);

/* Work of the caller's own on the same threads: lv_pool_run. */
void lv_cpu_run(lv_cpu *cpu, size_t n, size_t grain, lv_pool_fn fn, void *arg);

/* lv_pool_set_abandon for every operation on this lv_cpu: results are undefined once *abandon is true. */
void lv_cpu_set_abandon(lv_cpu *cpu, const atomic_bool *abandon);

/* Elementwise and per-row operations; see lv_kernels for the arithmetic. */
void lv_cpu_rmsnorm(lv_cpu *cpu, float *y, const float *x, const float *w, size_t n_rows, size_t n,
                    float eps);
void lv_cpu_add(lv_cpu *cpu, float *x, const float *y, size_t n);
/* x[t][i] += b[i] */
void lv_cpu_add_bias(lv_cpu *cpu, float *x, const float *b, size_t n_rows, size_t n);
void lv_cpu_silu_mul(lv_cpu *cpu, float *g, const float *u, size_t n);

typedef struct lv_cpu_rope {
    const float *cs;      /* [n_rows][n_rot/2][2] */
    size_t n_rot;         /* even, <= head_dim; the rest of a head is left alone */
    bool   neox;
} lv_cpu_rope;
/* Optional per-head RMSNorm (w_norm [head_dim], NULL = none), then RoPE, on x [n_rows][n_heads][head_dim]. */
void lv_cpu_rope_heads(lv_cpu *cpu, float *x, size_t n_rows, size_t n_heads, size_t head_dim,
                       const float *w_norm, float eps, const lv_cpu_rope *rope);

/* Keys and values of one layer and sequence, each [n_kv_heads][n_slots][head_dim]. */
typedef struct lv_cpu_kv {
    uint8_t *k, *v;       /* aligned to 2 */
    uint32_t type;        /* F16, or Q8_0 with a head_dim that is a multiple of 32 */
    uint32_t n_slots;
    size_t   row_bytes;   /* of one head */
    size_t   head_stride; /* bytes from one KV head to the next */
} lv_cpu_kv;
/* One row's view for attention. */
typedef struct lv_cpu_attn_row {
    lv_cpu_kv      kv;
    size_t         slot;     /* the row's own */
    size_t         n_prefix; /* slots 0..n_prefix-1, which are positions */
    const int32_t *path;     /* [n_path] further slots in position order, ascending, each >= n_prefix */
    size_t         n_path;
} lv_cpu_attn_row;
/* Store k, v [n_rows][n_kv_heads][head_dim] at each row's slot. */
void lv_cpu_write_kv(lv_cpu *cpu, const lv_cpu_attn_row *rows, const float *k, const float *v, size_t n_rows,
                     size_t n_kv_heads, size_t head_dim);
/* out, q [n_rows][n_heads][head_dim]; the slots a row reads are written. Query head h reads KV head
 * h / (n_heads / n_kv_heads). */
void lv_cpu_attention(lv_cpu *cpu, float *out, const float *q, const lv_cpu_attn_row *rows,
                      size_t n_rows, size_t n_heads, size_t n_kv_heads, size_t head_dim, float scale);

#endif
