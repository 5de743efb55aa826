/* SPDX-License-Identifier: MIT */
#include "device/cpu/cpu_impl.h"

#include <string.h>

/* A product below this many multiply-adds per thread is not worth waking another one (about 5 us). */
enum { MIN_WORK = 1 << 16, ROW_UNIT = 32 };

static size_t act_bytes(const lv_kernels *k, const lv_cpu_config *c, int kind)
{
    if (c->act_kinds && !(c->act_kinds >> kind & 1)) return 0;
    return lv_round_up(k->act_bytes[kind](c->max_rows, lv_round_up(c->max_k, 256)), 64);
}

static size_t scratch_bytes(const lv_kernels *k, const lv_cpu_config *c)
{
    return lv_round_up(k->matmul_scratch_bytes(lv_round_up(c->max_k, 256)), 64);
}

size_t lv_cpu_memory_bytes(const lv_cpu_config *c)
{
    lv_kernels k;
    lv_kernels_init(&k, c->cpu_flags);
    size_t n = sizeof(lv_cpu);
    for (int i = 0; i < LV_ACT_COUNT; i++) n += act_bytes(&k, c, i);
    return n + c->n_threads * (scratch_bytes(&k, c) + lv_cpu_attn_scratch(&k, c).bytes);
}

int lv_cpu_open(lv_cpu **out, const lv_cpu_config *c, lever_error *err)
{
    *out = NULL;
    if (!c->n_threads || !c->max_rows || !c->max_k || !c->max_ctx || !c->max_head_dim)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "CPU device: threads, rows, row length, context and head size must be at least 1");
    lv_cpu *cpu = lv_alloc(sizeof *cpu, 64);
    if (!cpu) goto fail;
    cpu->c = *c;
    lv_kernels_init(&cpu->k, c->cpu_flags);
    cpu->scratch_bytes = scratch_bytes(&cpu->k, c);
    cpu->attn_scratch = lv_cpu_attn_scratch(&cpu->k, c);
    for (int i = 0; i < LV_ACT_COUNT; i++)
        if (act_bytes(&cpu->k, c, i) && !(cpu->act[i] = lv_alloc(act_bytes(&cpu->k, c, i), 64))) goto fail;
    if (!(cpu->scratch = lv_alloc_array(c->n_threads, cpu->scratch_bytes, 64))) goto fail;
    if (!(cpu->attn = lv_alloc_array(c->n_threads, cpu->attn_scratch.bytes, 64))) goto fail;
    const int rc = lv_pool_open(&cpu->pool, c->n_threads, c->cpus.n ? &c->cpus : NULL, err);
    if (rc < 0) {
        lv_cpu_close(&cpu);
        return rc;
    }
    *out = cpu;
    return LEVER_OK;
fail:
    lv_cpu_close(&cpu);
    return lv_fail(err, LEVER_ENOMEM, 0, "CPU device (%zu bytes)", lv_cpu_memory_bytes(c));
}

void lv_cpu_close(lv_cpu **cpu)
{
    if (!cpu || !*cpu) return;
    lv_pool_close(&(*cpu)->pool);
    for (int i = 0; i < LV_ACT_COUNT; i++) lv_free((*cpu)->act[i]);
    lv_free((*cpu)->scratch);
    lv_free((*cpu)->attn);
    lv_free(*cpu);
    *cpu = NULL;
}

const lv_kernels *lv_cpu_kernels(const lv_cpu *cpu) { return &cpu->k; }
unsigned lv_cpu_n_threads(const lv_cpu *cpu) { return cpu->c.n_threads; }

static void run_if(lv_cpu *cpu, size_t n, size_t grain, size_t work, lv_pool_fn fn, void *arg, lv_beside beside)
{
    lv_pool_run_beside(cpu->pool, n, work < MIN_WORK ? n : grain, fn, arg, beside);
}

void lv_cpu_run_if(lv_cpu *cpu, size_t n, size_t grain, size_t work, lv_pool_fn fn, void *arg)
{
    run_if(cpu, n, grain, work, fn, arg, (lv_beside){ 0 });
}

void lv_cpu_set_abandon(lv_cpu *cpu, const atomic_bool *abandon) { lv_pool_set_abandon(cpu->pool, abandon); }

void lv_cpu_run(lv_cpu *cpu, size_t n, size_t grain, lv_pool_fn fn, void *arg)
{
    lv_pool_run(cpu->pool, n, grain, fn, arg);
}

typedef struct pack_job {
    lv_cpu *cpu;
    enum lv_act_kind kind;
    const float *x;
    size_t n_rows, k;
} pack_job;

static void pack_groups(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const pack_job *j = arg;
    const size_t last = end * LV_ROW_GROUP < j->n_rows ? end * LV_ROW_GROUP : j->n_rows;
    j->cpu->k.act_pack[j->kind](j->cpu->act[j->kind], j->x, j->k, j->n_rows, j->k, begin * LV_ROW_GROUP,
                                last);
}

void lv_cpu_pack(lv_cpu *cpu, enum lv_act_kind kind, const float *x, size_t n_rows, size_t k)
{
    pack_job j = { cpu, kind, x, n_rows, k };
    lv_cpu_run_if(cpu, (n_rows + LV_ROW_GROUP - 1) / LV_ROW_GROUP, 1, n_rows * k, pack_groups, &j);
}

typedef struct matmul_job {
    lv_cpu *cpu;
    float  *y;
    size_t  ldy, row_bytes, n_out, n_rows, k;
    const uint8_t *w;
    const void *act;
    lv_matmul_fn fn;
} matmul_job;

static void matmul_rows(void *arg, size_t begin, size_t end, unsigned thread)
{
    const matmul_job *j = arg;
    const size_t first = begin * ROW_UNIT;
    const size_t last = (end + 1) * ROW_UNIT > j->n_out ? j->n_out : end * ROW_UNIT;
    j->fn(j->y + first, j->ldy, j->w + first * j->row_bytes, last - first, j->act, j->n_rows, j->k,
          j->cpu->scratch + thread * j->cpu->scratch_bytes);
}

void lv_cpu_matmul(lv_cpu *cpu, float *y, size_t ldy, uint32_t type, const void *w, size_t n_out,
                   size_t n_rows, size_t k)
{
    lv_cpu_matmul_beside(cpu, y, ldy, type, w, n_out, n_rows, k, (lv_beside){ 0 });
}

void lv_cpu_matmul_beside(lv_cpu *cpu, float *y, size_t ldy, uint32_t type, const void *w, size_t n_out,
                          size_t n_rows, size_t k, lv_beside beside)
{
    matmul_job j = { cpu,    y, ldy, lv_type_row_bytes(type, k),       n_out,
                     n_rows, k, w,   cpu->act[lv_type_act_kind(type)], cpu->k.matmul[type] };
    /* Work is cut at whole tiles of the kernels; the last unit takes what is left. Some 16 chunks a thread,
     * so that a slow core leaves its share to a fast one; more where one tile is long, because a streamed
     * extent has few of them, and half a chunk is what the threads wait for each other. */
    const size_t units = n_out < ROW_UNIT ? 1 : n_out / ROW_UNIT, chunks = n_rows < 16 ? 16 : 128;
    run_if(cpu, units, units / (chunks * cpu->c.n_threads) + 1, n_out * n_rows * k, matmul_rows, &j, beside);
}

typedef struct rows_job {
    lv_cpu *cpu;
    float *y;
    const float *x, *w;
    size_t n;
    float eps;
} rows_job;

static void rmsnorm_rows(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const rows_job *j = arg;
    for (size_t t = begin; t < end; t++)
        j->cpu->k.rmsnorm(j->y + t * j->n, j->x + t * j->n, j->w, j->n, j->eps);
}

void lv_cpu_rmsnorm(lv_cpu *cpu, float *y, const float *x, const float *w, size_t n_rows, size_t n, float eps)
{
    rows_job j = { cpu, y, x, w, n, eps };
    lv_cpu_run_if(cpu, n_rows, 1, n_rows * n, rmsnorm_rows, &j);
}

static void add_range(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const rows_job *j = arg;
    j->cpu->k.add(j->y + begin, j->x + begin, end - begin);
}

static void silu_range(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const rows_job *j = arg;
    j->cpu->k.silu_mul(j->y + begin, j->x + begin, end - begin);
}

void lv_cpu_add(lv_cpu *cpu, float *x, const float *y, size_t n)
{
    rows_job j = { .cpu = cpu, .y = x, .x = y };
    lv_cpu_run_if(cpu, n, 16384, n, add_range, &j);
}

void lv_cpu_silu_mul(lv_cpu *cpu, float *g, const float *u, size_t n)
{
    rows_job j = { .cpu = cpu, .y = g, .x = u };
    lv_cpu_run_if(cpu, n, 4096, n * 8, silu_range, &j);
}

static void bias_rows(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const rows_job *j = arg;
    for (size_t t = begin; t < end; t++) j->cpu->k.add(j->y + t * j->n, j->x, j->n);
}

void lv_cpu_add_bias(lv_cpu *cpu, float *x, const float *b, size_t n_rows, size_t n)
{
    rows_job j = { .cpu = cpu, .y = x, .x = b, .n = n };
    lv_cpu_run_if(cpu, n_rows, 4, n_rows * n, bias_rows, &j);
}

typedef struct rope_job {
    lv_cpu *cpu;
    float *x;
    size_t n_heads, head_dim;
    const float *w_norm;
    float eps;
    const lv_cpu_rope *rope;
} rope_job;

static void rope_rows(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const rope_job *j = arg;
    const lv_kernels *k = &j->cpu->k;
    for (size_t t = begin; t < end; t++)
        for (size_t h = 0; h < j->n_heads; h++) {
            float *x = j->x + (t * j->n_heads + h) * j->head_dim;
            if (j->w_norm) k->rmsnorm(x, x, j->w_norm, j->head_dim, j->eps);
            const float *cs = j->rope->cs + t * j->rope->n_rot;
            if (j->rope->neox) k->rope_neox(x, cs, j->rope->n_rot);
            else k->rope_interleaved(x, cs, j->rope->n_rot);
        }
}

void lv_cpu_rope_heads(lv_cpu *cpu, float *x, size_t n_rows, size_t n_heads, size_t head_dim,
                       const float *w_norm, float eps, const lv_cpu_rope *rope)
{
    rope_job j = { cpu, x, n_heads, head_dim, w_norm, eps, rope };
    lv_cpu_run_if(cpu, n_rows, 1, n_rows * n_heads * head_dim * 2, rope_rows, &j);
}
