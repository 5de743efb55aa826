/* SPDX-License-Identifier: MIT */
#include "model/grow_impl.h"

#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "base/mem.h"
#include "model/state.h"

/* ---- axes ---- */

int64_t lv_grow_axis_find(const lv_grow_axis *a, uint64_t big)
{
    size_t lo = 0, hi = a->n_runs;
    while (lo < hi) { /* the last run that starts at or before big */
        const size_t mid = (lo + hi) / 2;
        if (a->runs[mid].big <= big)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo > 0) {
        const lv_grow_run *r = &a->runs[lo - 1];
        if (big - r->big < r->n) return (int64_t)(r->small + (big - r->big));
        if (big - r->big < r->n + r->zeros) return LV_GROW_ZERO;
    }
    return a->must_zero ? LV_GROW_ZERO : LV_GROW_ADDED;
}

bool lv_grow_axis_whole(const lv_grow_axis *a, uint64_t block)
{
    for (size_t i = 0; i < a->n_runs; i++)
        if (a->runs[i].big % block || a->runs[i].small % block || a->runs[i].n % block) return false;
    return true;
}

/* Runs that continue each other become one, so that blocks longer than a head stay whole. */
static void add_run(lv_grow_axis *a, lv_grow_run r)
{
    lv_grow_run *last = a->n_runs ? &a->runs[a->n_runs - 1] : NULL;
    if (last && !last->zeros && last->big + last->n == r.big && last->small + last->n == r.small) {
        last->n += r.n;
        last->zeros = r.zeros;
        return;
    }
    a->runs[a->n_runs++] = r;
}

uint32_t lv_grow_kv_copies(const lv_hparams *small, const lv_hparams *big)
{
    const uint32_t group = small->n_heads / small->n_kv_heads, room = big->n_heads / big->n_kv_heads;
    return (group + room - 1) / room;
}

uint32_t lv_grow_q_head(const lv_hparams *small, const lv_hparams *big, uint32_t h)
{
    const uint32_t group = small->n_heads / small->n_kv_heads, room = big->n_heads / big->n_kv_heads;
    const uint32_t kv = h / group * lv_grow_kv_copies(small, big) + h % group / room;
    return kv * room + h % group % room;
}

static void head_runs(lv_grow_axis *a, bool q, const lv_hparams *small, const lv_hparams *big)
{
    const uint32_t copies = q ? 1 : lv_grow_kv_copies(small, big);
    const uint32_t n = q ? small->n_heads : small->n_kv_heads * copies;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t at = q ? lv_grow_q_head(small, big, i) : i;
        add_run(a, (lv_grow_run){ at * big->head_dim, (uint64_t)(i / copies) * small->head_dim,
                                  small->head_dim, big->head_dim - small->head_dim });
    }
}

int lv_grow_axis_init(lv_grow_axis *a, uint8_t dim, const lv_hparams *small, const lv_hparams *big,
                      lever_error *err)
{
    *a = (lv_grow_axis){ .n_big = lv_model_dim(big, dim), .n_small = lv_model_dim(small, dim) };
    const size_t most = (size_t)small->n_heads * lv_grow_kv_copies(small, big);
    a->runs = lv_alloc_array(most, sizeof *a->runs, 16);
    if (!a->runs) return lv_fail(err, LEVER_ENOMEM, 0, "map of %zu heads", most);
    a->silent = a->must_zero = dim == LV_DIM_EMBD;
    if (dim == LV_DIM_Q || dim == LV_DIM_KV)
        head_runs(a, dim == LV_DIM_Q, small, big);
    else
        add_run(a, (lv_grow_run){ 0, 0, a->n_small, 0 });
    return LEVER_OK;
}

void lv_grow_axis_fini(lv_grow_axis *a)
{
    lv_free(a->runs);
}

/* ---- blocks ---- */

static bool scale_f16(uint8_t *at, float factor)
{
    uint16_t h;
    memcpy(&h, at, 2);
    const float x = lv_f16_to_f32(h) * factor;
    h = lv_f32_to_f16(x);
    memcpy(at, &h, 2);
    return lv_f16_to_f32(h) == x;
}

static bool scale_number(uint32_t type, uint8_t *at, float factor)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    float x, back;
    t->dequantize(&x, at, 1);
    x *= factor;
    t->quantize(at, &x, 1);
    t->dequantize(&back, at, 1);
    return back == x;
}

bool lv_grow_scale(uint32_t type, void *blocks, size_t n_blocks, float factor)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    int exponent;
    const bool power = frexpf(factor, &exponent) == 0.5f;
    bool exact = true;
    if (factor == 1.0f) return true;
    for (size_t i = 0; i < n_blocks; i++) {
        uint8_t *b = (uint8_t *)blocks + i * t->block_bytes;
        for (int k = 0; k < t->n_scales; k++) exact &= scale_f16(b + t->scale_at[k], factor);
        if (t->block_len == 1)
            exact &= scale_number(type, b, factor);
        else if (!t->n_scales) { /* MXFP4: the nearest power of two */
            const int e = b[0] + exponent - 1;
            exact &= power && e >= 0 && e < 255;
            if (b[0] != 255) b[0] = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
        }
    }
    return exact;
}

/* SplitMix64 (Steele et al., 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Sum of four uniform numbers: near enough to a normal distribution of standard deviation sd. */
static float random_weight(uint64_t *state, float sd)
{
    const uint64_t r = next_random(state);
    const int32_t sum = (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) + (int32_t)(r >> 32 & 0xffff) +
                        (int32_t)(r >> 48) - 2 * 0xffff;
    return (float)sum * (sd * 0x1.bb67aep-17f); /* variance of the sum: (2^16)^2 / 3 */
}

enum { FILLER_WEIGHTS = 1 << 18 };

/* A block whose weights are all zero, with the other bits as they are. */
static void silence(uint32_t type, uint8_t *block)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    if (!t->n_scales) memset(block, 0, t->block_bytes);
    for (int k = 0; k < t->n_scales; k++) memset(block + t->scale_at[k], 0, 2);
}

int lv_grow_filler_init(lv_grow_filler *f, uint32_t type, uint64_t seed, lever_error *err)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    *f = (lv_grow_filler){
        .traits = t, .type = type, .n_blocks = FILLER_WEIGHTS / t->block_len, .state = seed
    };
    f->random = lv_alloc(f->n_blocks * t->block_bytes, 64);
    f->zero = lv_alloc(f->n_blocks * t->block_bytes, 64);
    if (!f->random || !f->zero) return lv_fail(err, LEVER_ENOMEM, 0, "random weights");
    float x[256];
    const size_t step = t->block_len == 1 ? 256 : t->block_len;
    for (size_t i = 0; i < FILLER_WEIGHTS; i += step) {
        for (size_t j = 0; j < step; j++) x[j] = random_weight(&f->state, 0.02f);
        t->quantize(f->random + i / t->block_len * t->block_bytes, x, step);
    }
    memcpy(f->zero, f->random, f->n_blocks * t->block_bytes);
    for (size_t i = 0; i < f->n_blocks; i++) silence(type, f->zero + i * t->block_bytes);
    return LEVER_OK;
}

void lv_grow_filler_fini(lv_grow_filler *f)
{
    lv_free(f->random);
    lv_free(f->zero);
}

void lv_grow_fill(lv_grow_filler *f, void *dst, size_t n, bool zero)
{
    const uint8_t *from = zero ? f->zero : f->random;
    const size_t bytes = f->traits->block_bytes;
    uint8_t *out = dst;
    size_t left = n / f->traits->block_len;
    while (left) {
        const size_t start = (size_t)(next_random(&f->state) % f->n_blocks);
        size_t run = f->n_blocks - start;
        if (run > left) run = left;
        memcpy(out, from + start * bytes, run * bytes);
        out += run * bytes;
        left -= run;
    }
}
