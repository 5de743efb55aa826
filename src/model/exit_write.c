/* Writing a sidecar of the early-exit predictor. SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "model/exit_predictor.h"

void lv_exit_round(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = lv_f16_to_f32(lv_f32_to_f16(x[i]));
}

static int put_text(lv_gguf_writer *w, const char *key, const char *s, lever_error *err)
{
    return lv_gguf_put_str(w, key, s, strlen(s), err);
}

static int put_keys(lv_gguf_writer *w, const lv_exit_card *c, lever_error *err)
{
    char print[17];
    snprintf(print, sizeof print, "%016" PRIx64, c->fingerprint);
    LEVER_TRY(put_text(w, "general.architecture", "lever-exit", err));
    LEVER_TRY(put_text(w, "general.type", "adapter", err));
    LEVER_TRY(lv_gguf_put_u32(w, "lever-exit.version", 1, err));
    LEVER_TRY(put_text(w, "lever-exit.target.name", c->target, err));
    LEVER_TRY(put_text(w, "lever-exit.target.fingerprint", print, err));
    LEVER_TRY(put_text(w, "lever-exit.draft.name", c->draft, err));
    LEVER_TRY(put_text(w, "lever-exit.form", c->form == LV_EXIT_TIED ? "tied" : "untied", err));
    const struct { const char *key; uint32_t v; } numbers[] = {
        { "lever-exit.layer", c->layer },           { "lever-exit.n_layers", c->n_layers },
        { "lever-exit.n_embd", c->n_embd },         { "lever-exit.n_vocab", c->n_vocab },
        { "lever-exit.rank", c->rank },             { "lever-exit.fit.train_positions", c->n_train },
        { "lever-exit.fit.held_out_positions", c->n_held }, { "lever-exit.fit.steps", c->n_steps },
        { "lever-exit.curve.candidates", c->n_candidates },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        LEVER_TRY(lv_gguf_put_u32(w, numbers[i].key, numbers[i].v, err));
    const struct { const char *key; float v; } reals[] = {
        { "lever-exit.norm_eps", c->norm_eps },
        { "lever-exit.temperature", c->temperature },
        { "lever-exit.joint.temperature", c->joint_temperature },
        { "lever-exit.joint.draft_weight", c->joint_draft_weight },
        { "lever-exit.fit.kd_temperature", c->kd_temperature },
        { "lever-exit.fit.cand_temperature", c->cand_temperature },
        { "lever-exit.fit.cand_weight", c->cand_weight },
        { "lever-exit.loss.kd_before", c->kd_before },
        { "lever-exit.loss.kd", c->kd },
        { "lever-exit.loss.cand_before", c->cand_before },
        { "lever-exit.loss.cand", c->cand },
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        LEVER_TRY(lv_gguf_put_f32(w, reals[i].key, reals[i].v, err));
    return LEVER_OK;
}

static int put_curve(lv_gguf_writer *w, const lv_exit_card *c, lever_error *err)
{
    static const struct { const char *key; size_t at; } fields[] = {
        { "lever-exit.curve.threshold", offsetof(lv_exit_point, threshold) },
        { "lever-exit.curve.edges_kept", offsetof(lv_exit_point, edges_kept) },
        { "lever-exit.curve.true_kept", offsetof(lv_exit_point, true_kept) },
        { "lever-exit.joint.edges_kept", offsetof(lv_exit_point, joint_edges_kept) },
        { "lever-exit.joint.true_kept", offsetof(lv_exit_point, joint_true_kept) },
    };
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        float v[LV_EXIT_MAX_CURVE];
        for (uint32_t i = 0; i < c->n_curve; i++)
            memcpy(&v[i], (const char *)&c->curve[i] + fields[f].at, sizeof *v);
        LEVER_TRY(lv_gguf_put_f32s(w, fields[f].key, v, c->n_curve, err));
    }
    return LEVER_OK;
}

static int put_halves(lv_gguf_writer *w, const float *x, size_t n, lever_error *err)
{
    uint16_t half[512];
    for (size_t i = 0; i < n; i += 512) {
        const size_t k = n - i < 512 ? n - i : 512;
        for (size_t j = 0; j < k; j++) half[j] = lv_f32_to_f16(x[i + j]);
        LEVER_TRY(lv_gguf_write_data(w, half, k * sizeof *half, err));
    }
    return LEVER_OK;
}

static int put_tensors(lv_gguf_writer *w, const lv_exit_card *c, const lv_exit_weights *t, lever_error *err)
{
    const uint64_t d = c->n_embd, low[2] = { c->rank, d }, full[2] = { c->n_vocab, d };
    const bool tied = c->form == LV_EXIT_TIED;
    LEVER_TRY(lv_gguf_put_tensor(w, "exit.gain", LV_TYPE_F32, 1, &d, err));
    if (tied) {
        LEVER_TRY(lv_gguf_put_tensor(w, "exit.u", LV_TYPE_F16, 2, low, err));
        LEVER_TRY(lv_gguf_put_tensor(w, "exit.v", LV_TYPE_F16, 2, low, err));
    } else {
        LEVER_TRY(lv_gguf_put_tensor(w, "exit.w", t->w_type, 2, full, err));
    }
    LEVER_TRY(lv_gguf_write_data(w, t->gain, (size_t)d * sizeof *t->gain, err));
    if (!tied)
        return lv_gguf_write_data(w, t->w, c->n_vocab * lv_type_row_bytes(t->w_type, d), err);
    LEVER_TRY(put_halves(w, t->u, (size_t)(c->rank * d), err));
    return put_halves(w, t->v, (size_t)(c->rank * d), err);
}

int lv_exit_write(const char *path, const lv_exit_card *card, const lv_exit_weights *weights,
                  lever_error *err)
{
    lv_gguf_writer *w;
    if (card->n_curve > LV_EXIT_MAX_CURVE)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: a curve of %" PRIu32 " points", path, card->n_curve);
    LEVER_TRY(lv_gguf_writer_open(&w, path, err));
    int rc = put_keys(w, card, err);
    if (rc >= 0) rc = put_curve(w, card, err);
    if (rc >= 0) rc = put_tensors(w, card, weights, err);
    if (rc >= 0) rc = lv_gguf_writer_finish(w, err);
    lv_gguf_writer_close(&w);
    return rc;
}
