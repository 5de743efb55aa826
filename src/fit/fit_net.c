/* SPDX-License-Identifier: MIT */
#include "fit/fit_net.h"

#include <math.h>
#include <string.h>

#include "kernel/angles.h"
#include "model/exit_predictor.h"

static bool tied(const lv_fit_shape *s) { return s->form == LV_EXIT_TIED; }

size_t lv_fit_net_params(const lv_fit_shape *s)
{
    const size_t d = s->n_embd;
    return tied(s) ? d * (1 + 2 * (size_t)s->rank) : d * s->n_vocab;
}

uint64_t lv_fit_net_memory_bytes(const lv_fit_shape *s, uint32_t max_rows)
{
    const uint64_t per_row = s->n_embd + 2ull * s->rank;
    return (4 * (uint64_t)lv_fit_net_params(s) + s->n_embd + max_rows * per_row) * sizeof(float);
}

float *lv_fit_net_u(const lv_fit_net *n, float *base) { return base + n->shape.n_embd; }
float *lv_fit_net_v(const lv_fit_net *n, float *base)
{
    return base + (1 + (size_t)n->shape.rank) * n->shape.n_embd;
}

/* Even in -1..1: splitmix64. */
static float random_next(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (float)((x ^ x >> 31) >> 40) * 0x1p-23f - 1.0f;
}

int lv_fit_net_init(lv_fit_net *n, const lv_fit_shape *s, const float *gain0, uint32_t max_rows,
                    uint64_t seed, lever_error *err)
{
    const size_t d = s->n_embd, r = s->rank ? s->rank : 1;
    *n = (lv_fit_net){ .shape = *s, .n_params = lv_fit_net_params(s), .max_rows = max_rows };
    n->p = lv_alloc_array(n->n_params, sizeof(float), 64);
    n->g = lv_alloc_array(n->n_params, sizeof(float), 64);
    n->m = lv_alloc_array(n->n_params, sizeof(float), 64);
    n->v = lv_alloc_array(n->n_params, sizeof(float), 64);
    n->gain0 = lv_alloc_array(d, sizeof(float), 64);
    n->h = lv_alloc_array(max_rows, d * sizeof(float), 64);
    n->low = lv_alloc_array(max_rows, r * sizeof(float), 64);
    n->dlow = lv_alloc_array(max_rows, r * sizeof(float), 64);
    if (!n->p || !n->g || !n->m || !n->v || !n->gain0 || !n->h || !n->low || !n->dlow)
        return lv_fail(err, LEVER_ENOMEM, 0, "exit predictor of %zu parameters", n->n_params);
    memcpy(n->gain0, gain0, d * sizeof *gain0);
    if (!tied(s)) return LEVER_OK;
    float *v = lv_fit_net_v(n, n->p);
    const float size = 1.0f / sqrtf((float)d);
    for (size_t i = 0; i < s->rank * d; i++) v[i] = size * random_next(&seed);
    return LEVER_OK;
}

void lv_fit_net_fini(lv_fit_net *n)
{
    lv_free(n->p);
    lv_free(n->g);
    lv_free(n->m);
    lv_free(n->v);
    lv_free(n->gain0);
    lv_free(n->h);
    lv_free(n->low);
    lv_free(n->dlow);
    *n = (lv_fit_net){ 0 };
}

void lv_fit_net_drop_gradient(lv_fit_net *n)
{
    lv_free(n->g);
    lv_free(n->m);
    lv_free(n->v);
    n->g = n->m = n->v = NULL;
}

void lv_fit_net_gain(const lv_fit_net *n, float *gain)
{
    for (size_t i = 0; i < n->shape.n_embd; i++)
        gain[i] = tied(&n->shape) ? n->gain0[i] * (1.0f + n->p[i]) : n->gain0[i];
}

/* ---- products: y += k x, and x . y in sixteen sums ---- */

static void add_scaled(float *y, float k, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += k * x[i];
}

typedef struct net_job {
    lv_fit_net *n;
    const float *x;
    float *out; /* forward: result; backward: its gradient */
    size_t rows;
    float rate, scale, m_fix, v_fix;
} net_job;

static void forward_rows(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const net_job *j = arg;
    const lv_fit_net *n = j->n;
    const size_t d = n->shape.n_embd, r = n->shape.rank;
    for (size_t b = begin; b < end; b++) {
        const float *x = j->x + b * d;
        float *h = n->h + b * d, *out = j->out + b * d;
        for (size_t i = 0; i < d; i++)
            h[i] = x[i] * (tied(&n->shape) ? n->gain0[i] * (1.0f + n->p[i]) : n->gain0[i]);
        memcpy(out, h, d * sizeof *out);
        for (size_t k = 0; k < r; k++) {
            const float low = n->low[b * r + k] = lv_exit_dot(lv_fit_net_v(n, n->p) + k * d, h, d);
            add_scaled(out, low, lv_fit_net_u(n, n->p) + k * d, d);
        }
    }
}

void lv_fit_net_forward(lv_fit_net *n, lv_cpu *cpu, const float *x, uint32_t rows, float *out)
{
    net_job j = { .n = n, .x = x, .out = out, .rows = rows };
    lv_cpu_run(cpu, rows, 4, forward_rows, &j);
}

static void backward_low(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const net_job *j = arg;
    const size_t d = j->n->shape.n_embd, r = j->n->shape.rank;
    for (size_t b = begin; b < end; b++)
        for (size_t k = 0; k < r; k++)
            j->n->dlow[b * r + k] = lv_exit_dot(lv_fit_net_u(j->n, j->n->p) + k * d, j->out + b * d, d);
}

/* Gradients of the rows of U and V: two sums over positions each. */
static void backward_matrices(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const net_job *j = arg;
    lv_fit_net *n = j->n;
    const size_t d = n->shape.n_embd, r = n->shape.rank;
    for (size_t k = begin; k < end; k++) {
        float *gu = lv_fit_net_u(n, n->g) + k * d, *gv = lv_fit_net_v(n, n->g) + k * d;
        memset(gu, 0, d * sizeof *gu);
        memset(gv, 0, d * sizeof *gv);
        for (size_t b = 0; b < j->rows; b++) {
            add_scaled(gu, n->low[b * r + k], j->out + b * d, d);
            add_scaled(gv, n->dlow[b * r + k], n->h + b * d, d);
        }
    }
}

/* d_out becomes the gradient by h. */
static void backward_hidden(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const net_job *j = arg;
    const size_t d = j->n->shape.n_embd, r = j->n->shape.rank;
    for (size_t b = begin; b < end; b++)
        for (size_t k = 0; k < r; k++)
            add_scaled(j->out + b * d, j->n->dlow[b * r + k], lv_fit_net_v(j->n, j->n->p) + k * d, d);
}

static void backward_gain(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const net_job *j = arg;
    const size_t d = j->n->shape.n_embd;
    for (size_t i = begin; i < end; i++) {
        float sum = 0;
        for (size_t b = 0; b < j->rows; b++) sum += j->out[b * d + i] * j->x[b * d + i];
        j->n->g[i] = sum * j->n->gain0[i];
    }
}

void lv_fit_net_backward(lv_fit_net *n, lv_cpu *cpu, const float *x, uint32_t rows, float *d_out)
{
    net_job j = { .n = n, .x = x, .out = d_out, .rows = rows };
    lv_cpu_run(cpu, rows, 4, backward_low, &j);
    lv_cpu_run(cpu, n->shape.rank, 1, backward_matrices, &j);
    lv_cpu_run(cpu, rows, 4, backward_hidden, &j);
    lv_cpu_run(cpu, n->shape.n_embd, 16, backward_gain, &j);
}

/* ---- Adam ---- */

static const double beta_m = 0.9, beta_v = 0.999;

static void step_some(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const net_job *j = arg;
    lv_fit_net *n = j->n;
    const float bm = (float)beta_m, bv = (float)beta_v;
    for (size_t i = begin; i < end; i++) {
        const float g = n->g[i] * j->scale;
        n->m[i] = bm * n->m[i] + (1.0f - bm) * g;
        n->v[i] = bv * n->v[i] + (1.0f - bv) * (g * g);
        n->p[i] -= j->rate * (n->m[i] * j->m_fix) / (sqrtf(n->v[i] * j->v_fix) + 1e-12f);
    }
}

void lv_fit_net_step(lv_fit_net *n, lv_cpu *cpu, float rate, float scale)
{
    const double t = ++n->n_steps;
    /* The moments begin at zero: what they lack after t steps. */
    net_job j = { .n = n, .rate = rate, .scale = scale };
    const double m_left = t * lv_log(beta_m), v_left = t * lv_log(beta_v);
    j.m_fix = (float)(1.0 / (1.0 - (m_left < -700 ? 0 : lv_exp(m_left))));
    j.v_fix = (float)(1.0 / (1.0 - (v_left < -700 ? 0 : lv_exp(v_left))));
    lv_cpu_run(cpu, n->n_params, 16384, step_some, &j);
}
