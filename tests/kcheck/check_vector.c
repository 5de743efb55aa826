/* Norm, rotation, activation, conversion, softmax, argmax, noise. SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "kcheck/kcheck.h"

static const size_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 1000 };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static float *copy(const float *x, size_t n)
{
    float *c = kc_buf(n * sizeof *c);
    memcpy(c, x, n * sizeof *c);
    return c;
}

static float *filled(size_t n)
{
    float *x = kc_buf(n * sizeof *x);
    kc_fill(x, n);
    return x;
}

static void check_elementwise(const kc_tables *k, size_t n)
{
    char what[64];
    float *x = filled(n), *w = filled(n), *a = filled(n), *b = filled(n);
    snprintf(what, sizeof what, "rmsnorm n=%zu", n);
    k->ref.rmsnorm(a, x, w, n, 1e-6f);
    k->test.rmsnorm(b, x, w, n, 1e-6f);
    kc_same(a, b, n, what);
    float *in_place = copy(x, n);
    k->test.rmsnorm(in_place, in_place, w, n, 1e-6f);
    kc_same(a, in_place, n, "rmsnorm in place");

    float *c = copy(x, n), *d = copy(x, n);
    k->ref.add(c, w, n);
    k->test.add(d, w, n);
    snprintf(what, sizeof what, "add n=%zu", n);
    kc_same(c, d, n, what);

    for (size_t i = 0; i < n; i++) x[i] *= kc_rand() % 4 ? 1.0f : 60.0f; /* exp over- and underflows */
    if (n > 4) x[1] = INFINITY, x[2] = -INFINITY, x[3] = NAN;
    c = copy(x, n), d = copy(x, n);
    k->ref.silu_mul(c, w, n);
    k->test.silu_mul(d, w, n);
    snprintf(what, sizeof what, "silu_mul n=%zu", n);
    kc_same(c, d, n, what);
    kc_release();
}

static void check_f16(const kc_tables *k, size_t n)
{
    float *x = filled(n);
    for (size_t i = 0; i < n; i++) { /* any bits but NaN */
        const uint32_t u = kc_rand() << 16 ^ kc_rand();
        if (kc_rand() % 2 && (u & 0x7f800000u) != 0x7f800000u) memcpy(&x[i], &u, 4);
        else if (kc_rand() % 2)
            x[i] = lv_f16_to_f32((uint16_t)(kc_rand() & 0x7bff)) * (kc_rand() % 2 ? 1.0f : 1.0004883f);
    }
    uint16_t *a = kc_buf(n * 2), *b = kc_buf(n * 2);
    k->ref.f32_to_f16(a, x, n);
    k->test.f32_to_f16(b, x, n);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) kc_fail("f32_to_f16(%a): want %04x, got %04x", (double)x[i], a[i], b[i]);
    kc_release();
}

static void check_softmax(const kc_tables *k, size_t n)
{
    char what[64];
    float *x = filled(n), *a = filled(n), *b = filled(n);
    for (size_t i = 0; i < n; i++) x[i] *= kc_rand() % 4 ? 4.0f : 50.0f;
    k->ref.softmax(a, x, n);
    k->test.softmax(b, x, n);
    snprintf(what, sizeof what, "softmax n=%zu", n);
    kc_same(a, b, n, what);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i];
    if (!(fabs(sum - 1) < 1e-5)) kc_fail("softmax n=%zu sums to %g", n, sum);
    float *in_place = copy(x, n);
    k->test.softmax(in_place, in_place, n);
    kc_same(a, in_place, n, "softmax in place");

    k->ref.perturb(a, x, n, 0.7f, 42, 17, 100000);
    k->test.perturb(b, x, n, 0.7f, 42, 17, 100000);
    snprintf(what, sizeof what, "perturb n=%zu", n);
    kc_same(a, b, n, what);
    const size_t i = kc_rand() % n; /* noise depends on the id, not on the place in the call */
    k->test.perturb(b, x + i, 1, 0.7f, 42, 17, 100000 + (uint32_t)i);
    kc_same(a + i, b, 1, "perturb of one");
    kc_release();
}

static void check_argmax(const kc_tables *k, size_t n)
{
    float *x = filled(n);
    for (int round = 0; round < 8; round++) {
        for (size_t i = 0; i < n; i++) x[i] = (float)(kc_rand() % 7) - 3.0f; /* many ties */
        if (round == 1) x[kc_rand() % n] = NAN;
        if (round == 2) x[kc_rand() % n] = INFINITY;
        if (round == 3) for (size_t i = 0; i < n; i++) x[i] = NAN;
        if (round == 4) for (size_t i = 0; i < n; i++) x[i] = -INFINITY;
        if (round == 5) for (size_t i = 0; i < n; i++) x[i] = i % 2 ? 0.0f : -0.0f;
        if (round == 6) x[n - 1] = 9.0f;
        const size_t a = k->ref.argmax(x, n), b = k->test.argmax(x, n);
        if (a != b) kc_fail("argmax n=%zu round %d: want %zu, got %zu", n, round, a, b);
        for (size_t i = 0; i < n; i++)
            if (x[i] > x[a] || (x[i] == x[a] && i < a))
                kc_fail("argmax n=%zu: %zu is not the first largest", n, a);
    }
    kc_release();
}

static void check_rope(const kc_tables *k, size_t n_rot)
{
    char what[64];
    float *cs = filled(n_rot), *x = filled(n_rot), *a = copy(x, n_rot), *b = copy(x, n_rot);
    k->ref.rope_interleaved(a, cs, n_rot);
    k->test.rope_interleaved(b, cs, n_rot);
    snprintf(what, sizeof what, "rope_interleaved n_rot=%zu", n_rot);
    kc_same(a, b, n_rot, what);
    memcpy(a, x, n_rot * sizeof *x);
    memcpy(b, x, n_rot * sizeof *x);
    k->ref.rope_neox(a, cs, n_rot);
    k->test.rope_neox(b, cs, n_rot);
    snprintf(what, sizeof what, "rope_neox n_rot=%zu", n_rot);
    kc_same(a, b, n_rot, what);
    kc_release();
}

void kc_check_vector(const kc_tables *k)
{
    for (size_t i = 0; i < N_SIZES; i++) {
        check_elementwise(k, sizes[i]);
        check_f16(k, sizes[i]);
        check_softmax(k, sizes[i]);
        check_argmax(k, sizes[i]);
    }
    for (size_t n = 2; n <= 40; n += 2) check_rope(k, n);
    check_rope(k, 64);
    check_rope(k, 128);
    if (!kc_benching()) return;
    float *x = filled(4096), *w = filled(4096), *y = filled(4096);
    KC_BENCH("rmsnorm_4096", 4096 * 12.0, 4096 * 4.0, k->test.rmsnorm(y, x, w, 4096, 1e-6f));
    KC_BENCH("silu_mul_4096", 4096 * 12.0, 4096 * 4.0, k->test.silu_mul(y, w, 4096));
    KC_BENCH("softmax_4096", 4096 * 8.0, 4096 * 4.0, k->test.softmax(y, x, 4096));
    KC_BENCH("argmax_4096", 4096 * 4.0, 4096 * 1.0, k->test.argmax(x, 4096));
    KC_BENCH("perturb_4096", 4096 * 8.0, 4096 * 4.0, k->test.perturb(y, x, 4096, 0.7f, 1, 2, 3));
    kc_release();
}
