/* What every device must do: equal bits with kernel/ref, and refuse what it can not do.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_DEVICE_RIG_H
#define LEVER_TESTS_DEVICE_RIG_H

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "support/check.h"

/* Sizes that a device must be opened for. */
enum { CASE_ROWS = 64, CASE_K = 2048, CASE_OUT = 160, CASE_JOBS = 3 };
#define CASE_CONFIG                                                                                          \
    {                                                                                                        \
        .max_rows = CASE_ROWS, .max_k = CASE_K, .max_out = CASE_OUT, .n_jobs = CASE_JOBS                     \
    }

static uint32_t types[LV_TYPE_COUNT] = { LV_TYPE_Q4_0, LV_TYPE_Q8_0, LV_TYPE_Q4_K, LV_TYPE_Q6_K };
static unsigned n_types = 4;

static uint32_t rng = 1;
static uint32_t draw(void)
{
    return rng = rng * 1664525u + 1013904223u, rng >> 8;
}
static float draw_in(float lo, float hi)
{
    return lo + (hi - lo) * (float)(draw() & 0xffffff) / 16777216.0f;
}

/* Every type that the device has, instead of these four. It must have Q4_0 and Q8_0. */
static inline void take_types(const lv_device *d)
{
    n_types = 0;
    for (uint32_t type = 0; type < LV_TYPE_COUNT; type++)
        if (d->traits.types >> type & 1) types[n_types++] = type;
}

/* One product: weights w [n_out][k], rows x [n_rows][k], what it should be and what came. */
typedef struct product {
    uint32_t type;
    size_t n_rows, n_out, k, w_bytes;
    uint8_t *w;
    float *x, *want, *got;
} product;

static product make(uint32_t type, size_t n_rows, size_t n_out, size_t k)
{
    product p = { .type = type, .n_rows = n_rows, .n_out = n_out, .k = k };
    p.w_bytes = n_out * lv_type_row_bytes(type, k);
    p.w = malloc(p.w_bytes);
    p.x = malloc(n_rows * k * sizeof(float));
    p.want = malloc(n_rows * n_out * sizeof(float));
    p.got = calloc(n_rows * n_out, sizeof(float));
    return p;
}

static void drop(product *p)
{
    free(p->w);
    free(p->x);
    free(p->want);
    free(p->got);
}

static void set_scales(const product *p, uint16_t (*scale)(void))
{
    const lv_type_traits *t = lv_type_traits_get(p->type);
    for (size_t at = 0; at < p->w_bytes; at += t->block_bytes)
        for (int n = 0; n < t->n_scales; n++) {
            const uint16_t d = scale();
            memcpy(p->w + at + t->scale_at[n], &d, 2);
        }
}

/* Of both signs, mostly ordinary; subnormal, zero, infinite and NaN now and then. */
static uint16_t any_scale(void)
{
    const uint32_t kind = draw() % 256;
    if (kind == 0) return 0x7e00;
    if (kind == 1) return 0x7c00;
    if (kind < 16) return (uint16_t)(draw() & 0x83ff);
    return (uint16_t)((0x1c00u + (draw() & 0x1fffu)) | (draw() & 1u) << 15);
}

static void fill(const product *p, bool no_tiny)
{
    static const float odd[] = { 0.0f, -0.0f, 3e4f, -7e5f, 1e38f, 1e-30f, -3e-39f, 1e-40f };
    const lv_type_traits *traits = lv_type_traits_get(p->type);
    for (size_t i = 0; i < p->w_bytes; i++) p->w[i] = draw() % 8 ? (uint8_t)draw() : draw() & 1 ? 0x80 : 0x7f;
    for (size_t i = 0; traits->block_len == 1 && i < p->n_out * p->k; i++) {
        const float w = draw_in(-1, 1);
        if (draw() % 256) traits->quantize(p->w + i * traits->block_bytes, &w, 1);
    }
    set_scales(p, any_scale);
    for (size_t t = 0; t < p->n_rows; t++) {
        const uint32_t kind =
            no_tiny ? 8 : draw() % 16; /* whole rows of tiny numbers: products are subnormal */
        const float size = kind == 0 ? 1e-31f : kind == 1 ? 3e-29f : 2.0f;
        for (size_t i = 0; i < p->k; i++)
            p->x[t * p->k + i] = draw() % 64 || size < 1 ? draw_in(-size, size) : odd[draw() % 8];
    }
    if (draw() % 8 == 0) p->x[draw() % (p->n_rows * p->k)] = INFINITY;
    if (draw() % 8 == 0) p->x[draw() % (p->n_rows * p->k)] = NAN;
}

static void reference(const product *p)
{
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    const int kind = lv_type_act_kind(p->type);
    void *act = aligned_alloc(64, (ref.act_bytes[kind](p->n_rows, p->k) + 63) / 64 * 64);
    void *scratch = aligned_alloc(64, ref.matmul_scratch_bytes(p->k) / 64 * 64 + 64);
    ref.act_pack[kind](act, p->x, p->k, p->n_rows, p->k, 0, p->n_rows);
    ref.matmul[p->type](p->want, p->n_out, p->w, p->n_out, act, p->n_rows, p->k, scratch);
    free(act);
    free(scratch);
}

/* Same bits, or NaN both. */
static void same(const product *p, const char *what)
{
    for (size_t i = 0; i < p->n_rows * p->n_out; i++) {
        const bool both_nan = p->want[i] != p->want[i] && p->got[i] != p->got[i];
        if (lv_f32_bits(p->want[i]) == lv_f32_bits(p->got[i]) || both_nan) continue;
        fprintf(stderr, "%s: %s rows=%zu out=%zu k=%zu [%zu]: want %a, got %a\n", what,
                lv_type_traits_get(p->type)->name, p->n_rows, p->n_out, p->k, i, (double)p->want[i],
                (double)p->got[i]);
        check_failures++;
        return;
    }
}

static lv_device_memory *give(lv_device *d, const product *p, size_t at)
{
    lever_error e = { 0 };
    lv_device_memory *m = NULL;
    CHECK_OK(lv_device_memory_open(d, &m, at + p->w_bytes, &e), &e);
    CHECK_EQ((uintptr_t)m->host % 4096, 0);
    memcpy(m->host + at, p->w, p->w_bytes);
    CHECK_OK(lv_device_memory_give(d, m, &e), &e);
    return m;
}

static lv_device_job job_of(const product *p, const lv_device_memory *m, size_t at)
{
    return (lv_device_job){ p->x, p->n_rows, p->k, 1, { { m, at, p->type, p->n_out, p->got, p->n_out } } };
}

/* Weights at byte `at` of their piece. */
static void run(lv_device *d, const product *p, size_t at, const char *what)
{
    lever_error e = { 0 };
    lv_device_memory *m = give(d, p, at);
    const lv_device_job job = job_of(p, m, at);
    const int number = lv_device_submit(d, &job, &e);
    CHECK_OK(number, &e);
    if (number >= 0) CHECK_OK(lv_device_wait(d, number, &e), &e);
    lv_device_memory_close(d, &m);
    reference(p);
    same(p, what);
}

static inline void case_products(lv_device *d, bool no_tiny)
{
    static const size_t rows[] = { 1, 2, 3, 4, 5, 8, 15, 16, 17, 20, 31, 32, 33, 48, 49, 63, 64 };
    static const size_t outs[] = { 1, 2, 3, 4, 5, 7, 8, 16, 33, 65, 160 };
    static const size_t k_32[] = { 32, 64, 96, 480, 512, 544, 1056, 2048 };
    static const size_t k_256[] = { 256, 512, 768, 1024, 1280, 2048, 256, 512 };
    for (unsigned i = 0; i < n_types; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t o = r % 2; o < sizeof outs / sizeof *outs; o += 2) {
                const size_t *ks = lv_type_block_len(types[i]) == 256 ? k_256 : k_32;
                product p = make(types[i], rows[r], outs[o], ks[draw() % 8]);
                fill(&p, no_tiny);
                run(d, &p, draw() % 3 * 17, "product");
                drop(&p);
            }
}

static uint16_t scale_zero(void)
{
    return draw() & 1 ? 0x8000 : 0;
}
static uint16_t scale_largest(void)
{
    return draw() & 1 ? 0x7bff : 0xfbff;
}
static uint16_t scale_smallest(void)
{
    return draw() & 1 ? 0x0001 : 0x8001;
}
static uint16_t scale_subnormal(void)
{
    return (uint16_t)(0x03ffu | (draw() & 1u) << 15);
}

/* Every byte of the codes the same, all scales of one kind, all activations of one size and sign. */
static inline void case_extremes(lv_device *d, bool no_tiny)
{
    static uint16_t (*const scales[])(void) = { scale_zero, scale_largest, scale_smallest, scale_subnormal };
    static const uint8_t codes[] = { 0x00, 0x7f, 0x80, 0xff };
    static const float sizes[] = { 0.0f, 1.0f, -127.0f, FLT_MAX, 0x1p-60f, 0x1p-72f, -0x1p-99f, FLT_MIN };
    for (unsigned i = 0; i < n_types; i++)
        for (int s = 0; s < 4; s++)
            for (int c = 0; c < 4; c++)
                for (int x = 0; x < (no_tiny ? 5 : 8); x++) {
                    product p = make(types[i], 2, 5, 768);
                    memset(p.w, codes[c], p.w_bytes);
                    set_scales(&p, scales[s]);
                    for (size_t j = 0; j < p.n_rows * p.k; j++) p.x[j] = sizes[x];
                    run(d, &p, 0, "extreme");
                    drop(&p);
                }
}

/* Four products of one batch, of both packings; y has columns that are not ours. */
static inline void case_shared_rows(lv_device *d)
{
    enum { ROWS = 21, K = 512, OUT = 13, LDY = 17 };
    lever_error e = { 0 };
    const unsigned n = n_types < LV_DEVICE_PRODUCTS ? n_types : LV_DEVICE_PRODUCTS;
    static float y[LV_DEVICE_PRODUCTS][ROWS * LDY];
    product p[LV_DEVICE_PRODUCTS];
    lv_device_memory *m[LV_DEVICE_PRODUCTS];
    lv_device_job job = { .n_rows = ROWS, .k = K, .n_products = n };
    for (unsigned i = 0; i < n; i++) {
        p[i] = make(types[n_types - n + i], ROWS, OUT + i, K);
        fill(&p[i], true);
        memcpy(p[i].x, p[0].x, ROWS * K * sizeof(float));
        m[i] = give(d, &p[i], 32);
        job.products[i] = (lv_device_product){ m[i], 32, types[n_types - n + i], p[i].n_out, y[i], LDY };
        for (size_t j = 0; j < ROWS * LDY; j++) y[i][j] = 12345.0f;
    }
    job.x = p[0].x;
    const int number = lv_device_submit(d, &job, &e);
    CHECK_OK(number, &e);
    CHECK_OK(lv_device_wait(d, number, &e), &e);
    for (unsigned i = 0; i < n; i++) {
        for (size_t t = 0; t < ROWS; t++) {
            memcpy(p[i].got + t * p[i].n_out, y[i] + t * LDY, p[i].n_out * sizeof(float));
            for (size_t j = p[i].n_out; j < LDY; j++) CHECK(y[i][t * LDY + j] == 12345.0f);
        }
        reference(&p[i]);
        same(&p[i], "one of four products");
        lv_device_memory_close(d, &m[i]);
        drop(&p[i]);
    }
}

/* As many jobs as fit at once, waited for in another order, again and again; one more is refused. */
static inline void case_jobs(lv_device *d)
{
    lever_error e = { 0 };
    for (int round = 0; round < 4; round++) {
        product p[CASE_JOBS];
        lv_device_memory *m[CASE_JOBS];
        int numbers[CASE_JOBS];
        for (int i = 0; i < CASE_JOBS; i++) {
            p[i] = make(types[(unsigned)(round + i) % n_types], 7 + (size_t)i * 11, 100, 1024);
            fill(&p[i], true);
            m[i] = give(d, &p[i], 0);
            const lv_device_job job = job_of(&p[i], m[i], 0);
            CHECK_OK(numbers[i] = lv_device_submit(d, &job, &e), &e);
        }
        const lv_device_job more = job_of(&p[0], m[0], 0);
        CHECK_EQ(lv_device_submit(d, &more, &e), LEVER_EAGAIN);
        for (int i = 0; i < CASE_JOBS; i++) {
            const int at = (i + 1 + round) % CASE_JOBS;
            CHECK_OK(lv_device_wait(d, numbers[at], &e), &e);
            CHECK_EQ(lv_device_wait(d, numbers[at], NULL), LEVER_EINVAL);
        }
        for (int i = 0; i < CASE_JOBS; i++) {
            reference(&p[i]);
            same(&p[i], "job beside others");
            lv_device_memory_close(d, &m[i]);
            drop(&p[i]);
        }
    }
}

/* A piece is filled anew while a job on another piece is under way, as in a ring of slots. */
static inline void case_memory(lv_device *d)
{
    enum { PIECES = 2, TURNS = 8 };
    lever_error e = { 0 };
    lv_device_memory *m[PIECES] = { NULL };
    product p[TURNS];
    int numbers[TURNS];
    for (int i = 0; i < TURNS; i++) {
        p[i] = make(LV_TYPE_Q4_0, 9, 64, 512);
        fill(&p[i], true);
        if (i < PIECES)
            CHECK_OK(lv_device_memory_open(d, &m[i], p[i].w_bytes, &e), &e);
        else
            CHECK_OK(lv_device_wait(d, numbers[i - PIECES], &e), &e);
        lv_device_memory *slot = m[i % PIECES];
        CHECK_OK(lv_device_memory_take(d, slot, &e), &e);
        memcpy(slot->host, p[i].w, p[i].w_bytes);
        CHECK_OK(lv_device_memory_give(d, slot, &e), &e);
        const lv_device_job job = job_of(&p[i], slot, 0);
        CHECK_OK(numbers[i] = lv_device_submit(d, &job, &e), &e);
    }
    for (int i = TURNS - PIECES; i < TURNS; i++) CHECK_OK(lv_device_wait(d, numbers[i], &e), &e);
    for (int i = 0; i < TURNS; i++) {
        reference(&p[i]);
        same(&p[i], "piece filled anew");
        drop(&p[i]);
    }
    for (int i = 0; i < PIECES; i++) lv_device_memory_close(d, &m[i]);
}

/* The host reads weights while the device multiplies with them; then the piece is filled anew. */
static inline void case_look(lv_device *d)
{
    lever_error e = { 0 };
    product p = make(LV_TYPE_Q8_0, 33, 64, 512), q = make(LV_TYPE_Q8_0, 5, 64, 512);
    fill(&p, true);
    fill(&q, true);
    lv_device_memory *m = give(d, &p, 17);
    if (!d->traits.unified) {
        CHECK_EQ(lv_device_memory_look(d, m, &e), LEVER_EUNSUP);
        lv_device_memory_close(d, &m);
        drop(&p);
        drop(&q);
        return;
    }
    for (int i = 0; i < 2; i++) CHECK_OK(lv_device_memory_look(d, m, &e), &e); /* again: nothing happens */
    CHECK(m->given && m->looked);
    const lv_device_job job = job_of(&p, m, 17);
    const int number = lv_device_submit(d, &job, &e);
    CHECK_OK(number, &e);
    CHECK(!memcmp(m->host + 17, p.w, p.w_bytes));
    CHECK_OK(lv_device_wait(d, number, &e), &e);
    CHECK(!memcmp(m->host + 17, p.w, p.w_bytes));
    reference(&p);
    same(&p, "weights that the host reads");

    CHECK_OK(lv_device_memory_take(d, m, &e), &e);
    CHECK(!m->given && !m->looked);
    CHECK_EQ((uintptr_t)m->host % 4096, 0);
    memcpy(m->host, q.w, q.w_bytes);
    CHECK_OK(lv_device_memory_give(d, m, &e), &e);
    const lv_device_job again = job_of(&q, m, 0);
    const int second = lv_device_submit(d, &again, &e);
    CHECK_OK(second, &e);
    CHECK_OK(lv_device_memory_look(d, m, &e), &e); /* while the job is under way */
    CHECK(!memcmp(m->host, q.w, q.w_bytes));
    CHECK_OK(lv_device_wait(d, second, &e), &e);
    reference(&q);
    same(&q, "weights after a look");
    lv_device_memory_close(d, &m); /* looked at */
    drop(&p);
    drop(&q);
}

static inline void case_refusals(lv_device *d)
{
    lever_error e = { 0 };
    product p = make(LV_TYPE_Q8_0, 2, 3, 64);
    fill(&p, true);
    lv_device_memory *m = give(d, &p, 0), *none;
    const lv_device_job good = job_of(&p, m, 0);
    struct {
        lv_device_job job;
        int rc;
    } cases[9];
    for (int i = 0; i < 9; i++) cases[i].job = good, cases[i].rc = LEVER_EINVAL;
    cases[0].job.n_rows = CASE_ROWS + 1;
    cases[1].job.k = CASE_K + 32;
    cases[2].job.k = 65;
    cases[3].job.products[0].n_out = CASE_OUT + 1;
    cases[4].job.products[0].ldy = 2;
    cases[5].job.products[0].w_at = 2; /* the last row would end behind the piece */
    cases[6].job.products[0].w_at = SIZE_MAX;
    cases[7].job.n_products = 0;
    cases[8].job.products[0].type = 77, cases[8].rc = LEVER_EUNSUP;
    for (int i = 0; i < 9; i++) CHECK_EQ(lv_device_submit(d, &cases[i].job, &e), cases[i].rc);
    CHECK_OK(lv_device_memory_take(d, m, &e), &e);
    CHECK_EQ(lv_device_submit(d, &good, &e), LEVER_EINVAL); /* not given */
    CHECK_EQ(lv_device_wait(d, 0, &e), LEVER_EINVAL);
    CHECK_EQ(lv_device_wait(d, -1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_device_memory_open(d, &none, 0, &e), LEVER_EINVAL);
    CHECK(none == NULL);
    CHECK(lv_device_memory_open(d, &none, SIZE_MAX - 8192, &e) < 0);
    CHECK(none == NULL);
    lv_device_memory_close(d, &m);
    drop(&p);
}

/* ---- every case, for a program that tests one device ---- */

static lv_device *device;
static bool flushes; /* it loses numbers below 2^-126 */

static inline void test_products(void) { case_products(device, flushes); }
static inline void test_extremes(void) { case_extremes(device, flushes); }
static inline void test_shared_rows(void) { case_shared_rows(device); }
static inline void test_jobs(void) { case_jobs(device); }
static inline void test_memory(void) { case_memory(device); }
static inline void test_look(void) { case_look(device); }
static inline void test_refusals(void) { case_refusals(device); }

static inline void run_device_cases(void)
{
    RUN(test_products);
    RUN(test_extremes);
    RUN(test_shared_rows);
    RUN(test_jobs);
    RUN(test_memory);
    RUN(test_look);
    RUN(test_refusals);
}

#endif
