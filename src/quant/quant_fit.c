/* Both kinds of block go the same way: a good scale (and minimum) for each sub-block alone; d from the
 * largest of them; whole scales near the good ones, judged by the codes that follow from the rounded
 * values; then d once more by least squares, as long as that helps.
 *
 * All weights count the same. On the demo model, counting large weights more (by the root mean square
 * plus their magnitude, or by their square) gave up to 9 % and 38 % more divergence from the unquantised
 * model; the best case was 2 % less. SPDX-License-Identifier: MIT */
#include "quant/quant_fit.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/f16.h"
#include "quant/quant_impl.h"

/* Sums are doubles: the error is a small difference of large sums. */

#define TINY 0x1p-100f /* below this is zero: no f16 scale reaches it, and reciprocals could overflow */
#define VAST 0x1p64f   /* above this no f16 scale reaches, and sums could overflow */
enum { REFITS = 3 };   /* more change the fourth digit of the error */

static float reciprocal(float s) { return fabsf(s) >= TINY ? 1.0f / s : 0.0f; }

static float f16_round(double v) { return lv_f16_to_f32(lv_f32_to_f16((float)v)); }

/* Steps from lo to the whole number in lo..hi that is nearest to v. */
static int steps(float v, float lo, float hi)
{
    v = v < lo ? lo : v > hi ? hi : v;
    return (int)(v - lo + 0.5f);
}

static int whole(float v, int lo, int hi) { return lo + steps(v, (float)lo, (float)hi); }

static int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

static bool usable(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabsf(x[i]) < VAST)) return false;
    return true;
}

/* ---- scale only ---- */

typedef struct scaled_try {
    double gain; /* how much smaller the squared error is than that of all zeros */
    float  scale;
} scaled_try;

/* The code whose level is nearest to v. */
static int nearest(const lv_fit_scaled_format *f, float v)
{
    if (!f->value) return steps(v, (float)f->lo, (float)f->hi);
    const float *middle = f->middle; /* masks instead of branches: the outcome is random, 8 ns become 3 */
    int c = 8 & -(v > middle[7]);
    c += 4 & -(v > middle[c + 3]);
    c += 2 & -(v > middle[c + 1]);
    return c + (v > middle[c]);
}

static float level(const lv_fit_scaled_format *f, int code)
{
    return (float)(f->value ? f->value[code] : f->lo + code);
}

/* The best scale for the codes that the inverse scale `id` gives. */
static void try_scale(scaled_try *best, const lv_fit_scaled_format *f, const float *x, float id)
{
    double xl = 0.0, ll = 0.0;
    for (int i = 0; i < f->sub_len; i++) {
        const double l = level(f, nearest(f, x[i] * id));
        xl += x[i] * l;
        ll += l * l;
    }
    if (ll > 0.0 && xl * xl > best->gain * ll) *best = (scaled_try){ xl * xl / ll, (float)(xl / ll) };
}

/* Tries scales that put the extreme weight inside, at and beyond either end of the levels. */
static float search_scale(const lv_fit_scaled_format *f, const float *x)
{
    float extreme = 0.0f;
    for (int i = 0; i < f->sub_len; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (fabsf(extreme) < TINY) return 0.0f;
    scaled_try best = { 0.0, 0.0f };
    for (int k = 0; k < 7; k++) {
        const float reach = 0.8f + 0.05f * (float)k;
        try_scale(&best, f, x, reach * (float)f->lo / extreme);
        try_scale(&best, f, x, reach * (float)f->hi / extreme);
    }
    for (double gain = 0.0; best.gain > gain;) {
        gain = best.gain;
        try_scale(&best, f, x, reciprocal(best.scale));
    }
    return best.scale;
}

/* Codes (unless NULL) and the squared error under scale ds. */
static double scaled_codes(const lv_fit_scaled_format *f, const float *x, float ds, uint8_t *code)
{
    const float id = reciprocal(ds);
    double sum = 0.0;
    for (int i = 0; i < f->sub_len; i++) {
        const int c = nearest(f, x[i] * id);
        const double e = x[i] - ds * level(f, c);
        sum += e * e;
        if (code) code[i] = (uint8_t)c;
    }
    return sum;
}

/* Whole scales near s [n_sub] and codes for one d; returns the squared error. */
static double scaled_assign(lv_fit_scaled *out, const lv_fit_scaled_format *f, const float *x, const float *s,
                            float d)
{
    double total = 0.0;
    out->d = lv_f32_to_f16(d);
    for (int j = 0; j < f->n_sub; j++, x += f->sub_len) {
        const int want = whole(s[j] * reciprocal(d), f->scale_lo, f->scale_hi);
        double least = INFINITY;
        for (int k = -1; k <= 1; k++) {
            const int sc = clamp(want + k, f->scale_lo, f->scale_hi);
            const double e = scaled_codes(f, x, d * (float)sc, NULL);
            if (e < least) least = e, out->scale[j] = (int16_t)sc;
        }
        total += scaled_codes(f, x, d * (float)out->scale[j], out->code + j * f->sub_len);
    }
    return total;
}

/* The best d for given whole scales and codes. */
static float scaled_refit(const lv_fit_scaled *b, const lv_fit_scaled_format *f, const float *x)
{
    double xl = 0.0, ll = 0.0;
    for (int i = 0; i < f->n_sub * f->sub_len; i++) {
        const double l = (float)b->scale[i / f->sub_len] * level(f, b->code[i]);
        xl += x[i] * l;
        ll += l * l;
    }
    return ll > 0.0 ? f16_round(xl / ll) : 0.0f;
}

void lv_fit_scaled_block(lv_fit_scaled *out, const lv_fit_scaled_format *f, const float *x)
{
    float s[LV_FIT_SUBS], extreme = 0.0f;
    memset(out, 0, sizeof *out);
    out->d = LV_F16_NAN;
    if (!usable(x, f->n_sub * f->sub_len)) return;
    for (int j = 0; j < f->n_sub; j++) {
        s[j] = search_scale(f, x + j * f->sub_len);
        if (fabsf(s[j]) > fabsf(extreme)) extreme = s[j];
    }
    float d = f16_round(extreme / (float)f->scale_lo);
    if (!isfinite(d)) return;
    double error = scaled_assign(out, f, x, s, d);
    for (int k = 0; k < REFITS; k++) {
        lv_fit_scaled next = { 0 };
        d = scaled_refit(out, f, x);
        if (!isfinite(d)) break;
        const double e = scaled_assign(&next, f, x, s, d);
        if (!(e < error)) break;
        error = e;
        *out = next;
    }
}

/* ---- scale and minimum ---- */

typedef struct affine_try {
    double error;
    float  scale, min; /* x = scale * code - min */
} affine_try;

/* The best scale and minimum (not negative) for the codes that `id` and `min` give. */
static void try_affine(affine_try *best, const lv_fit_affine_format *f, const float *x, float id, float min)
{
    double sx = 0.0, sxx = 0.0, sxq = 0.0;
    int iq = 0, iqq = 0;
    for (int i = 0; i < f->sub_len; i++) {
        const int q = steps((x[i] + min) * id, 0.0f, (float)f->top);
        sx += x[i], sxx += (double)x[i] * x[i], sxq += (double)x[i] * q;
        iq += q, iqq += q * q;
    }
    const double n = f->sub_len, sq = iq, sqq = iqq, det = n * sqq - sq * sq;
    double s = 0.0, m = -sx / n;
    if (det > 0.0) s = (n * sxq - sx * sq) / det, m = (sq * sxq - sqq * sx) / det;
    if (m < 0.0) m = 0.0, s = sqq > 0.0 ? sxq / sqq : 0.0;
    const double e = sxx - 2 * s * sxq + 2 * m * sx + s * s * sqq - 2 * s * m * sq + m * m * n;
    if (s >= 0.0 && e < best->error) *best = (affine_try){ e, (float)s, (float)m };
}

/* Tries codes that span from a little more than the range of the weights to a little less, with either end
 * kept. */
static affine_try search_affine(const lv_fit_affine_format *f, const float *x)
{
    float lo = 0.0f, hi = x[0];
    for (int i = 0; i < f->sub_len; i++) {
        if (x[i] < lo) lo = x[i];
        if (x[i] > hi) hi = x[i];
    }
    const float range = hi - lo;
    affine_try best = { INFINITY, 0.0f, 0.0f };
    try_affine(&best, f, x, 0.0f, 0.0f);
    if (range < TINY) return best;
    for (int k = -3; k <= 6; k++) {
        const float span = range / (1.0f + 0.025f * (float)k), id = (float)f->top / span;
        try_affine(&best, f, x, id, -lo);
        try_affine(&best, f, x, id, span - hi);
    }
    for (double error = INFINITY; best.error < error;) {
        error = best.error;
        try_affine(&best, f, x, reciprocal(best.scale), best.min);
    }
    return best;
}

static double affine_codes(const lv_fit_affine_format *f, const float *x, float ds, float dm, uint8_t *code)
{
    const float id = reciprocal(ds);
    double sum = 0.0;
    for (int i = 0; i < f->sub_len; i++) {
        const int c = steps((x[i] + dm) * id, 0.0f, (float)f->top);
        const double e = x[i] - (ds * (float)c - dm);
        sum += e * e;
        if (code) code[i] = (uint8_t)c;
    }
    return sum;
}

/* Whole scales and minima near t [n_sub] and codes for one d and dmin; returns the squared error. */
static double affine_assign(lv_fit_affine *out, const lv_fit_affine_format *f, const float *x,
                            const affine_try *t, float d, float dmin)
{
    double total = 0.0;
    out->d = lv_f32_to_f16(d);
    out->dmin = lv_f32_to_f16(dmin);
    for (int j = 0; j < f->n_sub; j++, x += f->sub_len) {
        const int s0 = whole(t[j].scale * reciprocal(d), 0, f->scale_top);
        const int m0 = whole(t[j].min * reciprocal(dmin), 0, f->scale_top);
        double least = INFINITY;
        for (int k = 0; k < 9; k++) {
            const int sc = clamp(s0 + k / 3 - 1, 0, f->scale_top), m = clamp(m0 + k % 3 - 1, 0, f->scale_top);
            const double e = affine_codes(f, x, d * (float)sc, dmin * (float)m, NULL);
            if (e < least) least = e, out->scale[j] = (uint8_t)sc, out->min[j] = (uint8_t)m;
        }
        total += affine_codes(f, x, d * (float)out->scale[j], dmin * (float)out->min[j],
                              out->code + j * f->sub_len);
    }
    return total;
}

/* The best d and dmin for given whole scales, minima and codes; d alone where one follows from the other.
 * False: there is nothing to fit, or no f16 that does. */
static bool affine_refit(const lv_fit_affine *b, const lv_fit_affine_format *f, const float *x, float *d,
                         float *dmin)
{
    double aa = 0.0, am = 0.0, mm = 0.0, xa = 0.0, xm = 0.0;
    for (int i = 0; i < f->n_sub * f->sub_len; i++) {
        const int j = i / f->sub_len;
        const double a = b->scale[j] * b->code[i], m = b->min[j];
        aa += a * a, am += a * m, mm += m * m;
        xa += x[i] * a, xm += x[i] * m;
    }
    const double det = aa * mm - am * am;
    if (!(aa > 0.0)) return false;
    *d = f16_round(det > 0.0 ? (xa * mm - xm * am) / det : (xa + *dmin * am) / aa);
    if (det > 0.0) *dmin = f16_round((xa * am - xm * aa) / det);
    return *d > 0.0f && *dmin >= 0.0f && isfinite(*d) && isfinite(*dmin);
}

void lv_fit_affine_block(lv_fit_affine *out, const lv_fit_affine_format *f, const float *x)
{
    affine_try t[LV_FIT_SUBS];
    float s = 0.0f, m = 0.0f;
    memset(out, 0, sizeof *out);
    out->d = LV_F16_NAN;
    if (!usable(x, f->n_sub * f->sub_len)) return;
    for (int j = 0; j < f->n_sub; j++) {
        t[j] = search_affine(f, x + j * f->sub_len);
        if (t[j].scale > s) s = t[j].scale;
        if (t[j].min > m) m = t[j].min;
    }
    float d = f16_round(s / (float)f->scale_top), dmin = f16_round(m / (float)f->scale_top);
    if (!isfinite(d) || !isfinite(dmin)) return;
    double error = affine_assign(out, f, x, t, d, dmin);
    for (int k = 0; k < REFITS && affine_refit(out, f, x, &d, &dmin); k++) {
        lv_fit_affine next = { 0 };
        const double e = affine_assign(&next, f, x, t, d, dmin);
        if (!(e < error)) break;
        error = e;
        *out = next;
    }
}
