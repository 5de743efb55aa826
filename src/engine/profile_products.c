/* Products of the CPU and of other devices, by type of weights and rows. SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "engine/profile_impl.h"
#include "os/clock.h"
#include "plan/machine.h"

/* ---- weights ---- */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
    return *x;
}

/* Random codes, but scales as those of a model: around 2^-7, none of them zero, infinite or subnormal. */
static void fill_pattern(uint8_t *to, const lv_type_traits *t, uint32_t type)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i + 8 <= LV_PROFILE_PATTERN; i += 8) {
        const uint64_t r = next_random(&x);
        memcpy(to + i, &r, sizeof r);
    }
    for (size_t at = 0; at + t->block_bytes <= LV_PROFILE_PATTERN; at += t->block_bytes) {
        for (unsigned s = 0; s < t->n_scales; s++) {
            const uint16_t half =
                (uint16_t)(0x2000 | (next_random(&x) & 0x83ff)); /* 2^-7 to 2^-6, either sign */
            memcpy(to + at + t->scale_at[s], &half, sizeof half);
        }
        if (type == LV_TYPE_MXFP4) to[at] = (uint8_t)(120 + to[at] % 8);
    }
}

static void fill_floats(uint8_t *to, const lv_type_traits *t)
{
    uint64_t x = 362436069;
    float values[256];
    const size_t n = sizeof values / sizeof *values;
    for (size_t at = 0; at + n * t->block_bytes <= LV_PROFILE_PATTERN; at += n * t->block_bytes) {
        for (size_t i = 0; i < n; i++) values[i] = (float)(int32_t)next_random(&x) * 0x1p-36f;
        t->quantize(to + at, values, n);
    }
}

int lv_profile_fill(lv_profile *p, uint32_t type)
{
    if (p->weights_type == (int)type) return LEVER_OK;
    const lv_type_traits *t = lv_type_traits_get(type);
    if (t->block_len == 1)
        fill_floats(p->pattern, t);
    else
        fill_pattern(p->pattern, t, type);
    const size_t whole = LV_PROFILE_PATTERN / t->block_bytes * t->block_bytes;
    for (size_t at = 0; at < p->weights_bytes; at += whole)
        memcpy(p->weights + at, p->pattern, p->weights_bytes - at < whole ? p->weights_bytes - at : whole);
    p->weights_type = (int)type;
    p->weights_at = 0;
    return LEVER_OK;
}

/* ---- the CPU ---- */

static int prepare_product(lv_profile *p, lv_point *point, lever_error *err)
{
    (void)err;
    lv_cpu_pack(p->cpu, (enum lv_act_kind)lv_type_act_kind(point->type), p->x, point->rows, LV_PROFILE_K);
    return lv_profile_fill(p, point->type);
}

/* The next matrix each time, so that weights come from memory; results lie as far apart as in a model. */
static int run_product(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)err;
    const size_t bytes = point->n_out * lv_type_row_bytes(point->type, LV_PROFILE_K);
    const uint64_t cpu0 = lv_clock_cpu_ns(), t0 = lv_clock_ns();
    for (size_t i = 0; i < n; i++) {
        if (p->weights_at + bytes > p->weights_bytes) p->weights_at = 0;
        lv_cpu_matmul(p->cpu, p->y + i % (LV_PROFILE_K / LV_PROFILE_OUT) * LV_PROFILE_OUT, LV_PROFILE_K,
                      point->type, p->weights + p->weights_at, point->n_out, point->rows, LV_PROFILE_K);
        p->weights_at += bytes;
    }
    p->got_ns += lv_clock_cpu_ns() - cpu0;
    p->asked_ns += (lv_clock_ns() - t0) * lv_cpu_n_threads(p->cpu);
    return LEVER_OK;
}

/* Packing on one thread. */
static int run_pack(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)err;
    const lv_kernels *k = lv_cpu_kernels(p->cpu);
    for (size_t i = 0; i < n; i++)
        k->act_pack[lv_type_act_kind(point->type)](p->y, p->x, LV_PROFILE_K, LV_ROW_GROUP, LV_PROFILE_K, 0,
                                                   LV_ROW_GROUP);
    return LEVER_OK;
}

/* Outputs of a matrix that takes `seconds` with the most rows: slow machines get smaller ones. */
static uint32_t outputs_for(lv_profile *p, uint32_t type, double seconds)
{
    lv_point point = { .type = type, .rows = LV_PROFILE_ROWS, .n_out = 32 };
    double least = 1e9;
    prepare_product(p, &point, NULL);
    for (int i = 0; i < 3 && least > seconds / 4; i++) {
        const uint64_t t0 = lv_clock_ns();
        run_product(p, &point, 1, NULL);
        const double s = (double)(lv_clock_ns() - t0) * 1e-9;
        least = s < least ? s : least;
    }
    const double n = least > 0 ? seconds / least * 32 : LV_PROFILE_OUT;
    return n >= LV_PROFILE_OUT ? LV_PROFILE_OUT : n < 32 ? 32 : (uint32_t)n / 32 * 32;
}

void lv_profile_name_product(lever_machine_product *to, uint32_t type)
{
    *to = (lever_machine_product){ .gguf_type = type };
    snprintf(to->type, sizeof to->type, "%s", lv_type_traits_get(type)->name);
}

int lv_profile_products(lv_profile *p, double seconds, lever_error *err)
{
    lever_machine_device *d = &p->m->devices[0];
    lv_point *points = p->points;
    const double one = seconds / (p->n_types * (LEVER_MACHINE_ROWS + 1) * (LV_PROFILE_ROUNDS + 4));
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_types; i++) {
        lever_machine_product *to = &d->products[i];
        const uint32_t type = p->types[i], n_out = outputs_for(p, type, one);
        lv_profile_name_product(to, type);
        /* Many rows first: what filling has left in the caches is written back before few are timed. */
        for (uint32_t r = LEVER_MACHINE_ROWS; r-- > 0;)
            points[n++] = (lv_point){ .run = run_product,
                                      .prepare = prepare_product,
                                      .out = &to->weight_s[r],
                                      .scale = 1.0 / ((double)n_out * LV_PROFILE_K),
                                      .less = d->call_s,
                                      .type = type,
                                      .rows = lever_machine_rows[r],
                                      .n_out = n_out };
        points[n++] = (lv_point){ .run = run_pack,
                                  .out = &to->pack_s,
                                  .scale = 1.0 / ((double)LV_ROW_GROUP * LV_PROFILE_K),
                                  .type = type };
    }
    d->n_products = p->n_types;
    p->asked_ns = p->got_ns = 0;
    const int rc = lv_points_measure(p, points, n, seconds, err);
    p->m->quiet = p->asked_ns ? (double)p->got_ns / (double)p->asked_ns : 0;
    return rc;
}
