/* Small sidecars of an exit predictor for tests: made-up weights for a model, as card and arrays that a test
 * may spoil before writing. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_EXIT_SIDECAR_H
#define LEVER_TESTS_EXIT_SIDECAR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/exit_predictor.h"

enum { SIDECAR_RANK = 3 };

typedef struct sidecar {
    lv_exit_card card;
    lv_exit_weights weights; /* points at the arrays below */
    float *gain, *u, *v;     /* [n_embd], [SIDECAR_RANK][n_embd] */
    float *w;                /* [n_vocab][n_embd], F32 */
} sidecar;

/* Values in -1..1 that fit f16. */
static inline void sidecar_numbers(float *x, size_t n, uint32_t seed)
{
    uint32_t s = seed * 2654435761u + 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)((int32_t)(s >> 22) - 512) / 512.0f;
    }
}

static inline sidecar sidecar_make(const lv_model_id *id, uint32_t form)
{
    sidecar s = { .card = {
                      .form = form,
                      .layer = 1,
                      .n_layers = id->n_layers,
                      .n_embd = id->n_embd,
                      .n_vocab = id->n_vocab,
                      .rank = form == LV_EXIT_TIED ? SIDECAR_RANK : 0,
                      .norm_eps = 1e-5f,
                      .temperature = 1.5f,
                      .joint_temperature = 2.5f,
                      .joint_draft_weight = 0.5f,
                      .kd_before = 3,
                      .kd = 1,
                      .cand_before = 2,
                      .cand = 0.5f,
                      .kd_temperature = 1,
                      .cand_temperature = 1,
                      .cand_weight = 1,
                      .n_train = 1000,
                      .n_held = 100,
                      .n_steps = 7,
                      .n_candidates = 8,
                      .n_curve = 2,
                      .curve = { { 0.01f, 0.8f, 0.99f, 0.7f, 1.0f }, { 0.1f, 0.5f, 0.9f, 0.4f, 0.95f } },
                      .fingerprint = id->fingerprint } };
    const size_t d = id->n_embd;
    memcpy(s.card.target, id->name, sizeof s.card.target);
    snprintf(s.card.draft, sizeof s.card.draft, "draft.gguf");
    s.gain = malloc(d * sizeof(float));
    s.u = malloc(SIDECAR_RANK * d * sizeof(float));
    s.v = malloc(SIDECAR_RANK * d * sizeof(float));
    s.w = malloc(id->n_vocab * d * sizeof(float));
    sidecar_numbers(s.gain, d, 1);
    sidecar_numbers(s.u, SIDECAR_RANK * d, 2);
    sidecar_numbers(s.v, SIDECAR_RANK * d, 3);
    sidecar_numbers(s.w, id->n_vocab * d, 4);
    s.weights = (lv_exit_weights){ .gain = s.gain, .u = s.u, .v = s.v, .w_type = LV_TYPE_F32, .w = s.w };
    return s;
}

static inline void sidecar_free(sidecar *s)
{
    free(s->gain);
    free(s->u);
    free(s->v);
    free(s->w);
}

#endif
