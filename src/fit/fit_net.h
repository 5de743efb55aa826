/* What is trained: from a hidden state of the middle layer to what the output head sees; gradients, Adam.
 *
 *   h = x * gain0 * (1 + delta)           x: residual stream over its root mean square; gain0: output norm
 *   tied    out = h + U (V^T h)           parameters delta [d], U, V [rank][d] (columns as rows)
 *   untied  out = x * gain0               parameters W [n_vocab][d], which fit_trainer.c multiplies with
 *
 * Sums over positions run in ascending order in one thread each, so results depend on the seed, not on
 * threads or processor. Owns: parameters, their gradients and moments, buffers for max_rows positions.
 * Threading: one owner thread; loops use the lv_cpu. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_NET_H
#define LEVER_FIT_FIT_NET_H

#include "device/cpu/cpu.h"

typedef struct lv_fit_shape {
    uint32_t form;            /* enum lv_exit_form */
    uint32_t n_embd, n_vocab; /* n_vocab: tokens in use */
    uint32_t rank;            /* tied */
} lv_fit_shape;

typedef struct lv_fit_net {
    lv_fit_shape shape;
    size_t   n_params;
    float   *p, *g, *m, *v;   /* [n_params] parameters, gradient, moments of Adam */
    float   *gain0;           /* [d] */
    uint32_t max_rows;
    uint32_t n_steps;         /* Adam has made */
    float   *h;               /* [max_rows][d] */
    float   *low, *dlow;      /* [max_rows][rank] V^T h and its gradient */
} lv_fit_net;

size_t   lv_fit_net_params(const lv_fit_shape *s);
uint64_t lv_fit_net_memory_bytes(const lv_fit_shape *s, uint32_t max_rows);
/* Parameters of zero, but V, which is random by the seed: out is h at first. W is the caller's to fill.
 * LEVER_OK, LEVER_ENOMEM; after a failure fini is due, too. */
int  lv_fit_net_init(lv_fit_net *n, const lv_fit_shape *s, const float *gain0, uint32_t max_rows,
                     uint64_t seed, lever_error *err);
void lv_fit_net_fini(lv_fit_net *n); /* accepts a zeroed one */
/* Gradient and moments are freed: nothing but forward and gain from here on. */
void lv_fit_net_drop_gradient(lv_fit_net *n);

float *lv_fit_net_u(const lv_fit_net *n, float *base); /* base: one of p, g, m, v; tied */
float *lv_fit_net_v(const lv_fit_net *n, float *base);

/* out [rows][d] of x [rows][d]; rows <= max_rows. */
void lv_fit_net_forward(lv_fit_net *n, lv_cpu *cpu, const float *x, uint32_t rows, float *out);
/* After forward of the same rows: g from d_out [rows][d], which is used up. Tied. */
void lv_fit_net_backward(lv_fit_net *n, lv_cpu *cpu, const float *x, uint32_t rows, float *d_out);
/* One step of Adam (0.9, 0.999) with the gradient g * scale. */
void lv_fit_net_step(lv_fit_net *n, lv_cpu *cpu, float rate, float scale);
/* gain [d] as a sidecar wants it. */
void lv_fit_net_gain(const lv_fit_net *n, float *gain);

#endif
