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
                              .max_k = MAX_K, .max_ctx = MAX_CTX, .max_head_dim = 64 };
    lever_error e = { 0 };
    lv_cpu *cpu = NULL;
    CHECK_OK(lv_cpu_open(&cpu, &c, &e), &e);
    if (!cpu) exit(1);
    return cpu;
}

static void bad_configurations_are_refused(void)
{
    const lv_cpu_config good = { .n_threads = 1, .max_rows = 1, .max_k = 32, .max_ctx = 1,
                                 .max_head_dim = 2 };
    for (int i = 0; i < 5; i++) {
        lv_cpu_config c = good;
        if (i == 0) c.n_threads = 0;
        if (i == 1) c.max_rows = 0;
        if (i == 2) c.max_k = 0;
        if (i == 3) c.max_ctx = 0;
        if (i == 4) c.max_head_dim = 0;
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
                              .max_ctx = 50, .max_head_dim = 32 };
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
                              .max_ctx = 65536, .max_head_dim = 128 };
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

enum { SLOTS = 300, KV_HEADS = 2, HEADS = 6, DIM = 64 };

/* Random keys and values, f16 or Q8_0. */
static lv_cpu_kv make_kv(uint32_t type, size_t n_kv_heads)
{
    lv_cpu_kv kv = { .type = type, .n_slots = SLOTS, .row_bytes = lv_type_row_bytes(type, DIM) };
    kv.head_stride = SLOTS * kv.row_bytes;
    uint8_t **part[2] = { &kv.k, &kv.v };
    for (int i = 0; i < 2; i++) {
        float *x = values(n_kv_heads * SLOTS * DIM);
        *part[i] = lv_alloc(n_kv_heads * kv.head_stride, 64);
        lv_type_traits_get(type)->quantize(*part[i], x, n_kv_heads * SLOTS * DIM);
        lv_free(x);
    }
    return kv;
}

static void free_kv(lv_cpu_kv *kv)
{
    lv_free(kv->k);
    lv_free(kv->v);
}

/* Rows of a prompt, of a tree (path slots behind the prefix) and one with a path alone; the last rows belong
 * to another sequence. */
static void fill_rows(lv_cpu_attn_row *rows, const lv_cpu_kv *kv, const lv_cpu_kv *other, const int32_t *path)
{
    for (size_t t = 0; t < ROWS; t++)
        rows[t] = (lv_cpu_attn_row){ .kv = t < 17 ? *kv : *other,
                                     .n_prefix = t == 3 ? 0 : t < 8 ? 180 + t % 3 : 10 * t,
                                     .path = path,
                                     .n_path = t % 4 ? t % 8 : t == 0 };
}

/* One query by the definition in kernel.h, on the reference kernels. */
static void attend_one(float *out, const float *q, const lv_cpu_attn_row *row, size_t kv_head, float scale)
{
    _Alignas(64) static float scores[MAX_CTX + 32];
    static uint8_t packed[4096], scratch[1 << 16];
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    float x[DIM];
    const uint8_t *k = row->kv.k + kv_head * row->kv.head_stride,
                  *v = row->kv.v + kv_head * row->kv.head_stride;
    for (size_t d = 0; d < DIM; d++) x[d] = q[d] * scale;
    if (row->kv.type == LV_TYPE_F16) {
        ref.attn_scores(scores, SLOTS, x, 1, (const uint16_t *)(const void *)k, SLOTS, DIM);
    } else {
        ref.act_pack[LV_ACT_Q8](packed, x, DIM, 1, DIM, 0, 1);
        ref.matmul[LV_TYPE_Q8_0](scores, SLOTS, k, SLOTS, packed, 1, DIM, scratch);
    }
    float by_position[SLOTS];
    int32_t slots[SLOTS];
    const size_t n = row->n_prefix + row->n_path;
    for (size_t p = 0; p < n; p++) {
        slots[p] = p < row->n_prefix ? (int32_t)p : row->path[p - row->n_prefix];
        by_position[p] = scores[slots[p]];
    }
    const float inv = ref.attn_weights(by_position, n);
    memset(out, 0, DIM * sizeof *out);
    (row->kv.type == LV_TYPE_F16 ? ref.attn_values_f16 : ref.attn_values_q8_0)(out, by_position, SLOTS, 1, v,
                                                                               slots, n, DIM);
    for (size_t d = 0; d < DIM; d++) out[d] *= inv;
}

static void attention_reads_the_right_heads_and_slots(uint32_t type, size_t n_heads, size_t n_kv_heads)
{
    const size_t row = n_heads * DIM;
    float *q = values(ROWS * row), *want = values(ROWS * row), *got = values(ROWS * row);
    lv_cpu_kv kv = make_kv(type, n_kv_heads), other = make_kv(type, n_kv_heads);
    static const int32_t path[] = { 230, 231, 233, 250, 271, 290, 299 };
    lv_cpu_attn_row rows[ROWS];
    fill_rows(rows, &kv, &other, path);
    for (size_t t = 0; t < ROWS; t++)
        for (size_t h = 0; h < n_heads; h++)
            attend_one(want + t * row + h * DIM, q + t * row + h * DIM, &rows[t], h / (n_heads / n_kv_heads),
                       0.125f);
    for (size_t c = 0; c < N_COUNTS; c++) {
        lv_cpu *cpu = open_cpu(thread_counts[c]);
        memset(got, 0, ROWS * row * sizeof *got);
        lv_cpu_attention(cpu, got, q, rows, ROWS, n_heads, n_kv_heads, DIM, 0.125f);
        CHECK(same(want, got, ROWS * row));
        memset(got, 0, row * sizeof *got); /* a single row gives the same */
        lv_cpu_attention(cpu, got, q + 20 * row, rows + 20, 1, n_heads, n_kv_heads, DIM, 0.125f);
        CHECK(same(want + 20 * row, got, row));
        lv_cpu_close(&cpu);
    }
    lv_free(q);
    lv_free(want);
    lv_free(got);
    free_kv(&kv);
    free_kv(&other);
}

static void attention_equals_its_kernels(void)
{
    attention_reads_the_right_heads_and_slots(LV_TYPE_F16, HEADS, KV_HEADS);
    attention_reads_the_right_heads_and_slots(LV_TYPE_Q8_0, HEADS, KV_HEADS);
    attention_reads_the_right_heads_and_slots(LV_TYPE_F16, 71, 1); /* more heads than one block has */
    attention_reads_the_right_heads_and_slots(LV_TYPE_Q8_0, 3, 3);
}

static void rows_are_written_where_they_belong(void)
{
    enum { N = KV_HEADS * DIM };
    static const uint32_t types[] = { LV_TYPE_F16, LV_TYPE_Q8_0 };
    for (int i = 0; i < 2; i++) {
        lv_cpu *cpu = open_cpu(2);
        lv_cpu_kv kv = make_kv(types[i], KV_HEADS), before = make_kv(types[i], KV_HEADS);
        memcpy(before.k, kv.k, KV_HEADS * kv.head_stride);
        memcpy(before.v, kv.v, KV_HEADS * kv.head_stride);
        float *k = values(ROWS * N), *v = values(ROWS * N);
        lv_cpu_attn_row rows[ROWS];
        for (size_t t = 0; t < ROWS; t++)
            rows[t] = (lv_cpu_attn_row){ .kv = kv, .slot = (t * 13 + 7) % SLOTS };
        lv_cpu_write_kv(cpu, rows, k, v, ROWS, KV_HEADS, DIM);
        for (size_t t = 0; t < ROWS; t++)
            for (size_t h = 0; h < KV_HEADS; h++) {
                const size_t at = h * kv.head_stride + rows[t].slot * kv.row_bytes;
                lv_type_traits_get(types[i])->quantize(before.k + at, k + t * N + h * DIM, DIM);
                lv_type_traits_get(types[i])->quantize(before.v + at, v + t * N + h * DIM, DIM);
            }
        CHECK(!memcmp(before.k, kv.k, KV_HEADS * kv.head_stride)); /* and nothing else changed */
        CHECK(!memcmp(before.v, kv.v, KV_HEADS * kv.head_stride));
        lv_free(k);
        lv_free(v);
        free_kv(&kv);
        free_kv(&before);
        lv_cpu_close(&cpu);
    }
}

static void the_longest_context_fits_the_scratch(void)
{
    enum { LONG = SLOTS - 1 };
    float q[DIM], out[DIM];
    lv_cpu_kv kv = make_kv(LV_TYPE_F16, 1);
    for (int i = 0; i < DIM; i++) q[i] = uniform();
    for (size_t i = 0; i < SLOTS * DIM; i++) ((uint16_t *)(void *)kv.v)[i] = 0x3c00; /* 1 */
    const int32_t last = LONG;
    const lv_cpu_attn_row row = { .kv = kv, .n_prefix = LONG, .path = &last, .n_path = 1 };
    const lv_cpu_config c = { .n_threads = 2, .cpu_flags = lv_cpu_detect(), .max_rows = 1, .max_k = MAX_K,
                              .max_ctx = SLOTS - 1, .max_head_dim = DIM };
    lever_error e = { 0 };
    lv_cpu *cpu = NULL;
    CHECK_OK(lv_cpu_open(&cpu, &c, &e), &e);
    lv_cpu_attention(cpu, out, q, &row, 1, 1, 1, DIM, 0.125f);
    for (int i = 0; i < DIM; i++) CHECK(fabsf(out[i] - 1.0f) < 1e-5f);
    lv_cpu_close(&cpu);
    free_kv(&kv);
}

static void no_call_allocates(void)
{
    enum { K = 256 };
    lv_cpu *cpu = open_cpu(3);
    float *x = values(ROWS * N_OUT), *y = values(ROWS * N_OUT), *w = values(N_OUT * K);
    lv_cpu_kv kv = make_kv(LV_TYPE_Q8_0, KV_HEADS);
    lv_cpu_attn_row rows[ROWS];
    static const int32_t path[] = { 230, 231, 233, 250, 271, 290, 299 };
    fill_rows(rows, &kv, &kv, path);
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
        lv_cpu_write_kv(cpu, rows, x, x, ROWS, KV_HEADS, DIM);
        lv_cpu_attention(cpu, y, x, rows, ROWS, HEADS, KV_HEADS, DIM, 0.125f);
    }
    CHECK_EQ(lv_alloc_calls(), before);
    lv_free(x);
    lv_free(y);
    lv_free(w);
    free_kv(&kv);
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
    RUN(rows_are_written_where_they_belong);
    RUN(attention_equals_its_kernels);
    RUN(the_longest_context_fits_the_scratch);
    RUN(no_call_allocates);
    CHECK_EQ(lv_alloc_live(), 0);
    return check_done();
}
