/* SPDX-License-Identifier: MIT */
#include "model/block.h"

#include <assert.h>
#include <string.h>

#include "model/state.h"

/* Buffer b gets new contents: what the device holds packed of the old ones is stale. */
static void overwritten(lv_sweep *s, const float *b)
{
    for (int kind = 0; kind < LV_ACT_COUNT; kind++)
        if (s->packed[kind] == b) s->packed[kind] = NULL;
}

/* Results of products are needed: wait for those that a device computes. */
static void settle(lv_sweep *s)
{
    if (s->offload) lv_offload_settle(s);
}

static const lv_vector *vector(const lv_sweep *s, int t)
{
    return &s->m->vectors[s->layer * s->m->vecs_per_layer + s->m->ordinal[t]];
}

static void pump(void *stream) { lv_stream_pump(stream); }

/* Reads are collected and asked for by the thread that leads a product, while the others compute: a system
 * call for some MiB takes as long as a tenth of their product at a few rows. */
static lv_beside beside(const lv_sweep *s)
{
    return (lv_beside){ s->m->stream ? pump : NULL, s->m->stream };
}

static int mul_streamed(lv_sweep *s, float *y, const lv_model_weight *w, uint64_t step)
{
    for (uint64_t r = 0; r < w->rows; r += step) {
        const uint64_t rows = w->rows - r < step ? w->rows - r : step;
        const void *bytes;
        LEVER_TRY(lv_stream_next(s->m->stream, &bytes, s->err));
        lv_cpu_matmul_beside(s->cpu, y + r, (size_t)w->rows, w->type, bytes, (size_t)rows, s->n_rows,
                             (size_t)w->cols, beside(s));
        lv_stream_release(s->m->stream);
    }
    return LEVER_OK;
}

/* y = W x with matrix `at` of the weight map. */
static int mul(lv_sweep *s, float *y, const float *x, size_t at)
{
    const lv_model_weight *w = &s->m->weights[at];
    const lv_place *place = &s->m->places[at];
    if (lv_sweep_cancelled(s))
        return lv_fail(s->err, LEVER_ECANCEL, 0, "canceled before '%s'", w->name);
    if (s->offload && lv_offload_takes(s, at)) {
        overwritten(s, y);
        return lv_offload_mul(s, y, x, at);
    }
    const int kind = lv_type_act_kind(w->type);
    if (s->packed[kind] != x) {
        lv_cpu_pack(s->cpu, (enum lv_act_kind)kind, x, s->n_rows, (size_t)w->cols);
        s->packed[kind] = x;
    }
    overwritten(s, y);
    const bool streamed = place->extent_rows && !place->bytes;
    if (streamed && s->offload) { /* extents are released in order: those of jobs under way first */
        settle(s);
        LEVER_TRY(s->rc);
    }
    if (streamed) return mul_streamed(s, y, w, place->extent_rows);
    lv_cpu_matmul_beside(s->cpu, y, (size_t)w->rows, w->type, place->bytes, (size_t)w->rows, s->n_rows,
                         (size_t)w->cols, beside(s));
    return LEVER_OK;
}

int lv_block_mul(lv_sweep *s, float *y, const float *x, int w)
{
    const size_t at = s->layer * s->m->mats_per_layer + s->m->ordinal[w];
    assert(at == s->next_weight); /* the architecture's list is the order of the stream */
    s->next_weight = at + 1;
    return mul(s, y, x, at);
}

int lv_block_head(lv_sweep *s, float *logits, const float *x)
{
    LEVER_TRY(mul(s, logits, x, s->m->n_weights - 1));
    settle(s);
    return s->rc;
}

void lv_block_bias(lv_sweep *s, float *x, int b)
{
    const lv_vector *v = vector(s, b);
    settle(s);
    overwritten(s, x);
    lv_cpu_add_bias(s->cpu, x, v->data, s->n_rows, (size_t)v->n);
}

void lv_block_norm(lv_sweep *s, int w)
{
    overwritten(s, s->n);
    lv_cpu_rmsnorm(s->cpu, s->n, s->x, vector(s, w)->data, s->n_rows, s->h->n_embd, s->h->norm_eps);
}

void lv_block_residual(lv_sweep *s)
{
    settle(s);
    overwritten(s, s->x);
    lv_cpu_add(s->cpu, s->x, s->n, s->n_rows * s->h->n_embd);
}

void lv_block_rope(lv_sweep *s, int w_q, int w_k)
{
    const lv_hparams *h = s->h;
    const lv_cpu_rope rope = { .cs = s->m->cs, .n_rot = h->n_rot, .neox = h->rope_neox };
    settle(s);
    overwritten(s, s->q);
    overwritten(s, s->k);
    lv_cpu_rope_heads(s->cpu, s->q, s->n_rows, h->n_heads, h->head_dim, w_q < 0 ? NULL : vector(s, w_q)->data,
                      h->norm_eps, &rope);
    lv_cpu_rope_heads(s->cpu, s->k, s->n_rows, h->n_kv_heads, h->head_dim,
                      w_k < 0 ? NULL : vector(s, w_k)->data, h->norm_eps, &rope);
}

void lv_block_attend(lv_sweep *s)
{
    const lv_hparams *h = s->h;
    lv_cpu_attn_row *spans = s->m->spans;
    settle(s);
    for (size_t t = 0; t < s->n_rows; t++) {
        const lv_kv *kv = s->batch->kv[s->batch->rows[s->m->row_of[t]].seq];
        const size_t layer = lv_kv_offset(kv, s->layer, 0);
        spans[t].kv = (lv_cpu_kv){ .k = kv->k + layer,
                                   .v = kv->v + layer,
                                   .type = kv->type,
                                   .n_slots = kv->n_slots,
                                   .row_bytes = kv->row_bytes,
                                   .head_stride = kv->n_slots * kv->row_bytes };
    }
    lv_cpu_write_kv(s->cpu, spans, s->k, s->v, s->n_rows, h->n_kv_heads, h->head_dim);
    overwritten(s, s->a);
    const float scale = 1.0f / __builtin_sqrtf((float)h->head_dim);
    lv_cpu_attention(s->cpu, s->a, s->q, spans, s->n_rows, h->n_heads, h->n_kv_heads, h->head_dim, scale);
}

void lv_block_swiglu(lv_sweep *s)
{
    settle(s);
    overwritten(s, s->gate);
    lv_cpu_silu_mul(s->cpu, s->gate, s->up, s->n_rows * s->h->n_ff);
}
