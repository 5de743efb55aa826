/* The CPU device: every operation equals its kernels called row by row, for any number of threads; nothing is
 * allocated after open. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>

#include "base/f16.h"
#include "device/cpu/cpu.h"
#include "os/cpu.h"
#include "quant/quant.h"
#include "support/check.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

enum { ROWS = 21, MAX_K = 512, MAX_CTX = 400, N_OUT = 1003 };
static const unsigned thread_counts[] = { 1, 2, 3, 5 };
enum { N_COUNTS = sizeof thread_counts / sizeof *thread_counts };

static uint32_t rng = 1;

static float uniform(void)
{
    rng = rng * 1664525u + 1013904223u;
    return (float)(rng >> 8) * 0x1p-23f - 1.0f;
}

static float *values(size_t n)
{
    float *x = lv_alloc_array(n, sizeof *x, 64);
    for (size_t i = 0; i < n; i++) x[i] = uniform();
    return x;
}

static float *copy_of(const float *x, size_t n)
{
    float *c = lv_alloc_array(n, sizeof *c, 64);
    memcpy(c, x, n * sizeof *c);
    return c;
}

static bool same(const float *a, const float *b, size_t n) { return memcmp(a, b, n * sizeof *a) == 0; }

static lv_cpu *open_cpu(unsigned n_threads)
{
    const lv_cpu_config c = { .n_threads = n_threads, .cpu_flags = lv_cpu_detect(), .max_rows = ROWS,
                              .max_k = MAX_K, .max_ctx = MAX_CTX };
    lever_error e = { 0 };
    lv_cpu *cpu = NULL;
    CHECK_OK(lv_cpu_open(&cpu, &c, &e), &e);
    if (!cpu) exit(1);
    return cpu;
}

static void bad_configurations_are_refused(void)
{
    const lv_cpu_config good = { .n_threads = 1, .max_rows = 1, .max_k = 32, .max_ctx = 1 };
    for (int i = 0; i < 4; i++) {
        lv_cpu_config c = good;
        if (i == 0) c.n_threads = 0;
        if (i == 1) c.max_rows = 0;
        if (i == 2) c.max_k = 0;
        if (i == 3) c.max_ctx = 0;
        lever_error e = { 0 };
        lv_cpu *cpu = (lv_cpu *)&e;
        CHECK_EQ(lv_cpu_open(&cpu, &c, &e), LEVER_EINVAL);
        CHECK(cpu == NULL && e.msg[0] != 0);
    }
    lv_cpu *none = NULL;
    lv_cpu_close(&none);
    lv_cpu_close(NULL);
}

static void every_failed_allocation_is_reported(void)
{
    const lv_cpu_config c = { .n_threads = 3, .cpu_flags = lv_cpu_detect(), .max_rows = 8, .max_k = 100,
                              .max_ctx = 50 };
    const size_t before = lv_alloc_live();
    for (long n = 0;; n++) {
        lever_error e = { 0 };
        lv_cpu *cpu = NULL;
        lv_alloc_fault(n, false);
        const int rc = lv_cpu_open(&cpu, &c, &e);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        if (!fired) {
            CHECK(rc == LEVER_OK && n > 3);
            lv_cpu_close(&cpu);
            break;
        }
        CHECK_EQ(rc, LEVER_ENOMEM);
        CHECK(cpu == NULL);
        CHECK_EQ(lv_alloc_live(), before);
    }
    CHECK_EQ(lv_alloc_live(), before);
}

static void memory_is_what_was_announced(void)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    const lv_cpu_config c = { .n_threads = 4, .cpu_flags = lv_cpu_detect(), .max_rows = 64, .max_k = 4096,
                              .max_ctx = 65536 };
    const size_t said = lv_cpu_memory_bytes(&c);
    const struct mallinfo2 a = mallinfo2();
    lever_error e = { 0 };
    lv_cpu *cpu = NULL;
    CHECK_OK(lv_cpu_open(&cpu, &c, &e), &e);
    const struct mallinfo2 b = mallinfo2();
    lv_cpu_close(&cpu);
    const size_t used = b.uordblks + b.hblkhd - a.uordblks - a.hblkhd;
    CHECK(said > 4 * 65536 * sizeof(float) + 64 * 4096 * sizeof(float));
    if (used == 0) return; /* another allocator, as under a sanitizer */
    CHECK(used >= said && used < said + 65536); /* thread handles, page rounding */
#endif
}

static void matmul_equals_its_kernel(void)
{
    static const uint32_t types[] = { LV_TYPE_F32, LV_TYPE_F16, LV_TYPE_BF16, LV_TYPE_Q8_0, LV_TYPE_Q4_0 };
    static const size_t batches[] = { 1, 2, 5, 16, 17, ROWS };
    enum { K = 256, LDY = N_OUT + 5 };
    float *x = values(ROWS * K), *w = values(N_OUT * K);
    float *want = values(ROWS * LDY), *got = values(ROWS * LDY);
    uint8_t *packed = lv_alloc(N_OUT * K * sizeof(float), 64);
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const uint32_t type = types[i];
        const int kind = lv_type_act_kind(type);
        const lv_type_traits *t = lv_type_traits_get(type);
        t->quantize(packed, w, N_OUT * K);
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            const size_t n = batches[b];
            void *act = lv_alloc(ref.act_bytes[kind](n, K), 64);
            void *scratch = lv_alloc(ref.matmul_scratch_bytes(K) + 64, 64);
            memset(want, 0, ROWS * LDY * sizeof *want);
            ref.act_pack[kind](act, x, K, n, K, 0, n);
            ref.matmul[type](want, LDY, packed, N_OUT, act, n, K, scratch);
            for (size_t c = 0; c < N_COUNTS; c++) {
                lv_cpu *cpu = open_cpu(thread_counts[c]);
                memset(got, 0, ROWS * LDY * sizeof *got);
                lv_cpu_pack(cpu, (enum lv_act_kind)kind, x, n, K);
                lv_cpu_matmul(cpu, got, LDY, type, packed, N_OUT, n, K);
                if (!same(want, got, ROWS * LDY)) {
                    fprintf(stderr, "%s rows %zu threads %u\n", t->name, n, thread_counts[c]);
                    CHECK(!"the product differs from the reference");
                }
                lv_cpu_close(&cpu);
            }
            lv_free(act);
            lv_free(scratch);
        }
    }
    lv_free(x);
    lv_free(w);
    lv_free(want);
    lv_free(got);
    lv_free(packed);
}

static void elementwise_equals_its_kernels(void)
{
    enum { N = 5000, SIZE = ROWS * N };
    float *x = values(SIZE), *y = values(SIZE), *w = values(N), *want = values(SIZE);
    for (size_t c = 0; c < N_COUNTS; c++) {
        lv_cpu *cpu = open_cpu(thread_counts[c]);
        const lv_kernels *k = lv_cpu_kernels(cpu);
        CHECK_EQ(lv_cpu_n_threads(cpu), thread_counts[c]);
        float *got = copy_of(x, SIZE);

        for (size_t t = 0; t < ROWS; t++) k->rmsnorm(want + t * N, x + t * N, w, N, 1e-5f);
        lv_cpu_rmsnorm(cpu, got, x, w, ROWS, N, 1e-5f);
        CHECK(same(want, got, SIZE));
        memcpy(got, x, SIZE * sizeof *got);
        lv_cpu_rmsnorm(cpu, got, got, w, ROWS, N, 1e-5f);
        CHECK(same(want, got, SIZE));

        for (size_t i = 0; i < SIZE; i++) want[i] = x[i] + y[i];
        memcpy(got, x, SIZE * sizeof *got);
        lv_cpu_add(cpu, got, y, SIZE);
        CHECK(same(want, got, SIZE));

        for (size_t i = 0; i < SIZE; i++) want[i] = x[i] + w[i % N];
        memcpy(got, x, SIZE * sizeof *got);
        lv_cpu_add_bias(cpu, got, w, ROWS, N);
        CHECK(same(want, got, SIZE));

        memcpy(want, x, SIZE * sizeof *want);
        k->silu_mul(want, y, SIZE);
        memcpy(got, x, SIZE * sizeof *got);
        lv_cpu_silu_mul(cpu, got, y, SIZE);
        CHECK(same(want, got, SIZE));

        memcpy(got, x, SIZE * sizeof *got); /* one element: no loop is empty */
        lv_cpu_add(cpu, got, y, 1);
        CHECK(got[0] == x[0] + y[0] && got[1] == x[1]);
        lv_free(got);
        lv_cpu_close(&cpu);
    }
    lv_free(x);
    lv_free(y);
    lv_free(w);
    lv_free(want);
}

static void rope_rotates_each_head_of_each_row(void)
{
    enum { HEADS = 8, DIM = 128, SIZE = ROWS * HEADS * DIM };
    float *x = values(SIZE), *w = values(DIM), *cs = values(ROWS * DIM);
    for (size_t c = 0; c < N_COUNTS; c++)
        for (int mode = 0; mode < 8; mode++) {
            lv_cpu *cpu = open_cpu(thread_counts[c]);
            const lv_kernels *k = lv_cpu_kernels(cpu);
            const lv_cpu_rope rope = { .cs = cs, .n_rot = mode & 2 ? 96 : DIM, .neox = mode & 1 };
            const float *norm = mode & 4 ? w : NULL;
            float *want = copy_of(x, SIZE), *got = copy_of(x, SIZE);
            for (size_t h = 0; h < ROWS * HEADS; h++) {
                float *head = want + h * DIM;
                const float *angles = cs + h / HEADS * rope.n_rot;
                if (norm) k->rmsnorm(head, head, norm, DIM, 1e-6f);
                (rope.neox ? k->rope_neox : k->rope_interleaved)(head, angles, rope.n_rot);
            }
            lv_cpu_rope_heads(cpu, got, ROWS, HEADS, DIM, norm, 1e-6f, &rope);
            CHECK(same(want, got, SIZE));
            if (!norm && rope.n_rot < DIM) CHECK(same(x + rope.n_rot, got + rope.n_rot, DIM - rope.n_rot));
            lv_free(want);
            lv_free(got);
            lv_cpu_close(&cpu);
        }
    lv_free(x);
    lv_free(w);
    lv_free(cs);
}

enum { SLOTS = 300, KV_HEADS = 2, HEADS = 6, DIM = 64, KV = KV_HEADS * DIM };

/* Rows of a prompt, of a tree (path slots behind the prefix) and one with a path alone. */
static void fill_rows(lv_cpu_attn_row *rows, const uint16_t *k, const uint16_t *v, const int32_t *path)
{
    for (size_t t = 0; t < ROWS; t++)
        rows[t] = (lv_cpu_attn_row){ .k = k, .v = v, .n_prefix = 10 * t, .path = path, .n_path = 1 + t % 7 };
}

static void attention_reads_the_right_heads_and_slots(void)
{
    float *q = values(ROWS * HEADS * DIM);
    float *want = values(ROWS * HEADS * DIM), *got = values(ROWS * HEADS * DIM);
    uint16_t *k = lv_alloc(SLOTS * KV * 2, 64), *v = lv_alloc(SLOTS * KV * 2, 64);
    for (size_t i = 0; i < SLOTS * KV; i++) k[i] = lv_f32_to_f16(uniform()), v[i] = lv_f32_to_f16(uniform());
    static const int32_t path[] = { 299, 250, 271, 230, 260, 231, 290 };
    lv_cpu_attn_row rows[ROWS];
    fill_rows(rows, k, v, path);
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    _Alignas(64) static float scores[MAX_CTX];
    for (size_t t = 0; t < ROWS; t++)
        for (size_t h = 0; h < HEADS; h++) {
            const size_t at = h / (HEADS / KV_HEADS) * DIM, i = (t * HEADS + h) * DIM;
            const lv_attn_span span = { .k = k + at, .v = v + at, .stride = KV, .n_prefix = rows[t].n_prefix,
                                        .path = path, .n_path = rows[t].n_path };
            ref.attention(want + i, q + i, 1, &span, DIM, 0.125f, scores, 65536);
        }
    for (size_t c = 0; c < N_COUNTS; c++) {
        lv_cpu *cpu = open_cpu(thread_counts[c]);
        memset(got, 0, ROWS * HEADS * DIM * sizeof *got);
        lv_cpu_attention(cpu, got, q, rows, ROWS, HEADS, KV_HEADS, DIM, 0.125f);
        CHECK(same(want, got, ROWS * HEADS * DIM));
        memset(got, 0, HEADS * DIM * sizeof *got); /* a single row gives the same */
        lv_cpu_attention(cpu, got, q + 20 * HEADS * DIM, rows + 20, 1, HEADS, KV_HEADS, DIM, 0.125f);
        CHECK(same(want + 20 * HEADS * DIM, got, HEADS * DIM));
        lv_cpu_close(&cpu);
    }
    lv_free(q);
    lv_free(want);
    lv_free(got);
    lv_free(k);
    lv_free(v);
}

static void the_longest_context_fits_the_scratch(void)
{
    enum { LONG = MAX_CTX - 1 };
    float q[DIM], out[DIM];
    uint16_t *k = lv_alloc(MAX_CTX * DIM * 2, 64), *v = lv_alloc(MAX_CTX * DIM * 2, 64);
    for (int i = 0; i < DIM; i++) q[i] = uniform();
    for (size_t i = 0; i < MAX_CTX * DIM; i++) k[i] = lv_f32_to_f16(uniform()), v[i] = 0x3c00; /* 1 */
    const int32_t last = LONG;
    const lv_cpu_attn_row row = { .k = k, .v = v, .n_prefix = LONG, .path = &last, .n_path = 1 };
    lv_cpu *cpu = open_cpu(2);
    lv_cpu_attention(cpu, out, q, &row, 1, 1, 1, DIM, 0.125f);
    for (int i = 0; i < DIM; i++) CHECK(fabsf(out[i] - 1.0f) < 1e-5f);
    lv_cpu_close(&cpu);
    lv_free(k);
    lv_free(v);
}

static void no_call_allocates(void)
{
    enum { K = 256 };
    lv_cpu *cpu = open_cpu(3);
    float *x = values(ROWS * N_OUT), *y = values(ROWS * N_OUT), *w = values(N_OUT * K);
    uint16_t *kv = lv_alloc(SLOTS * KV * 2, 64);
    lv_cpu_attn_row rows[ROWS];
    static const int32_t path[] = { 1, 2, 3, 4, 5, 6, 7 };
    fill_rows(rows, kv, kv, path);
    const lv_cpu_rope rope = { .cs = w, .n_rot = DIM };
    const size_t before = lv_alloc_calls();
    for (int round = 0; round < 20; round++) {
        lv_cpu_pack(cpu, LV_ACT_F32, x, ROWS, K);
        lv_cpu_pack(cpu, LV_ACT_Q8, x, ROWS, K);
        lv_cpu_matmul(cpu, y, N_OUT, LV_TYPE_F32, w, N_OUT, ROWS, K);
        lv_cpu_rmsnorm(cpu, y, x, w, ROWS, K, 1e-6f);
        lv_cpu_add(cpu, y, x, ROWS * N_OUT);
        lv_cpu_add_bias(cpu, y, x, ROWS, N_OUT);
        lv_cpu_silu_mul(cpu, y, x, ROWS * N_OUT);
        lv_cpu_rope_heads(cpu, y, ROWS, HEADS, DIM, w, 1e-6f, &rope);
        lv_cpu_attention(cpu, y, x, rows, ROWS, HEADS, KV_HEADS, DIM, 0.125f);
    }
    CHECK_EQ(lv_alloc_calls(), before);
    lv_free(x);
    lv_free(y);
    lv_free(w);
    lv_free(kv);
    lv_cpu_close(&cpu);
}

int main(void)
{
    RUN(bad_configurations_are_refused);
    RUN(every_failed_allocation_is_reported);
    RUN(memory_is_what_was_announced);
    RUN(matmul_equals_its_kernel);
    RUN(elementwise_equals_its_kernels);
    RUN(rope_rotates_each_head_of_each_row);
    RUN(attention_reads_the_right_heads_and_slots);
    RUN(the_longest_context_fits_the_scratch);
    RUN(no_call_allocates);
    CHECK_EQ(lv_alloc_live(), 0);
    return check_done();
}
