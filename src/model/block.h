/* The words architectures are written in: products with layer weights, norms, rotary embedding,
 * attention, each over the whole row batch. Knows which buffer is already packed for products, and
 * takes streamed weights from the stream slice by slice. Products may run on a device and be done later:
 * whatever uses their results waits for them, and s->rc tells after a layer whether that went well.
 * Threading: the model's owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_BLOCK_H
#define LEVER_MODEL_BLOCK_H

#include <stdatomic.h>

#include "base/error.h"
#include "device/cpu/cpu.h"
#include "model/arch.h"
#include "model/kv.h"
#include "model/model.h"

struct lv_sweep {
    lv_model         *m;
    const lv_hparams *h;
    lv_cpu           *cpu;
    const lv_batch   *batch;       /* NULL outside forward */
    atomic_bool      *cancel;
    bool            (*go_on)(void *user);
    void             *user;
    lever_error      *err;
    size_t            n_rows;
    uint32_t          layer;
    size_t            next_weight; /* index in the weight map that the stream delivers next */
    bool              offload;     /* products go to the model's device, where it can do them */
    int               rc;          /* of products on the device that were waited for: LEVER_OK, LEVER_E* */
    /* Activations, row-major f32. Attention and feed-forward buffers share memory: q, k, v, a are
     * dead once the feed-forward part starts. */
    float *x;          /* residual stream [n_rows][n_embd] */
    float *n;          /* normed input of a part, then its output [n_rows][n_embd] */
    float *q, *a;      /* queries; attention output [n_rows][n_heads * head_dim] */
    float *k, *v;      /* [n_rows][n_kv_heads * head_dim] */
    float *gate, *up;  /* [n_rows][n_ff] */
    const float *packed[LV_ACT_COUNT]; /* buffer whose contents lie packed in the device, or NULL */
};

/* Does the caller want the sweep to end? */
static inline bool lv_sweep_cancelled(const lv_sweep *s)
{
    if (s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed)) return true;
    return s->go_on && !s->go_on(s->user);
}

/* In all of these, `w` and the like are indices into the architecture's tensor list. */

/* y = W x for every row; y [n_rows][rows of W], x [n_rows][cols of W].
 * LEVER_OK; LEVER_ECANCEL; what lv_stream_next returned. */
int  lv_block_mul(lv_sweep *s, float *y, const float *x, int w);
/* x[t] += b for every row */
void lv_block_bias(lv_sweep *s, float *x, int b);
/* s->n = rmsnorm(s->x) * w */
void lv_block_norm(lv_sweep *s, int w);
/* s->x += s->n */
void lv_block_residual(lv_sweep *s);
/* Rotate s->q and s->k by position, after a per-head RMSNorm with weights w_q, w_k (-1: none). */
void lv_block_rope(lv_sweep *s, int w_q, int w_k);
/* Store s->k, s->v as f16 in each row's slot, then s->a = softmax(q K^T / sqrt(head_dim)) V over the
 * committed prefix and each row's ancestors. */
void lv_block_attend(lv_sweep *s);
/* s->gate = silu(s->gate) * s->up */
void lv_block_swiglu(lv_sweep *s);
/* The output head: logits [n_rows][n_vocab] = W_head x. As lv_block_mul. */
int  lv_block_head(lv_sweep *s, float *logits, const float *x);

#endif
