/* The exit predictor of a grown model. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/exit_predictor.h"
#include "model/grow_impl.h"
#include "model/state.h"

static int open_model(lv_model **m, const char *path, lv_model_id *id, lever_error *err)
{
    LEVER_TRY(lv_model_open(m, path, err));
    return lv_model_identify(*m, id, err);
}

/* Rows of x [rows][small] at the start of wider rows of zeros, times scale. The caller's; NULL: out of memory. */
static float *widen(const float *x, size_t rows, size_t small, size_t big, float scale)
{
    float *y = lv_alloc_array(rows * big, sizeof *y, 64);
    for (size_t r = 0; y && r < rows; r++)
        for (size_t i = 0; i < small; i++) y[r * big + i] = x[r * small + i] * scale;
    return y;
}

/* The small model's states fill the first values of the wide ones, whose mean square is spread over more of them; a
 * tied head is multiplied like the stream; layer l becomes l * big / small (model/grow.c). */
static int write_grown(const char *out, const lv_exit *e, const lv_model_id *big, bool tied, lever_error *err)
{
    lv_exit_card c = *lv_exit_get_card(e);
    const lv_exit_weights s = lv_exit_get_weights(e);
    const size_t n = c.n_embd, wide = big->n_embd, rank = c.rank;
    const double t = lv_grow_stream_factor(c.n_embd, big->n_embd), ratio = (double)wide / (double)n;
    float *gain = widen(s.gain, 1, n, wide, (float)(1 / sqrt(ratio) / (tied ? t : 1)));
    float *u = widen(s.u, rank, n, wide, 1), *v = widen(s.v, rank, n, wide, 1);
    c.layer = (uint32_t)((uint64_t)c.layer * big->n_layers / c.n_layers);
    c.n_layers = big->n_layers, c.n_embd = big->n_embd, c.n_vocab = big->n_vocab;
    c.norm_eps *= (float)(t * t / ratio);
    c.fingerprint = big->fingerprint;
    memcpy(c.target, big->name, sizeof c.target);
    const lv_exit_weights w = { .gain = gain, .u = u, .v = v };
    const int rc = gain && u && v ? lv_exit_write(out, &c, &w, err)
                                  : lv_fail(err, LEVER_ENOMEM, 0, "exit predictor of rank %zu", rank);
    lv_free(gain);
    lv_free(u);
    lv_free(v);
    return rc;
}

int lv_grow_exit(const char *small, const char *small_exit, const char *big, const char *out, lever_error *err)
{
    lv_model *m[2] = { NULL, NULL };
    lv_model_id id[2];
    lv_exit *e = NULL;
    int rc = open_model(&m[0], small, &id[0], err);
    if (rc >= 0) rc = lv_exit_open(&e, small_exit, &id[0], err);
    if (rc >= 0 && lv_exit_get_card(e)->form != LV_EXIT_TIED)
        rc = lv_fail(err, LEVER_EUNSUP, 0, "%s: only the tied form can be grown with its model", small_exit);
    if (rc >= 0) rc = open_model(&m[1], big, &id[1], err);
    if (rc >= 0) rc = write_grown(out, e, &id[1], m[1]->tied, err);
    lv_exit_close(&e);
    lv_model_close(&m[0]);
    lv_model_close(&m[1]);
    return rc;
}
