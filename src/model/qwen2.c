/* Qwen2 and Qwen2.5: Yang et al., "Qwen2 Technical Report" (2024). As LLaMA, but with biases on
 * queries, keys and values, and rotation of the pairs (i, i + n_rot/2).
 * SPDX-License-Identifier: MIT */
#include "model/block.h"

enum { ATTN_NORM, WQ, BQ, WK, BK, WV, BV, WO, FFN_NORM, W_GATE, W_UP, W_DOWN, N_TENSORS };

static const lv_tensor_spec tensors[N_TENSORS] = {
    [ATTN_NORM] = { "attn_norm.weight", LV_DIM_VECTOR, LV_DIM_EMBD },
    [WQ] = { "attn_q.weight", LV_DIM_Q, LV_DIM_EMBD },
    [BQ] = { "attn_q.bias", LV_DIM_VECTOR, LV_DIM_Q },
    [WK] = { "attn_k.weight", LV_DIM_KV, LV_DIM_EMBD },
    [BK] = { "attn_k.bias", LV_DIM_VECTOR, LV_DIM_KV },
    [WV] = { "attn_v.weight", LV_DIM_KV, LV_DIM_EMBD },
    [BV] = { "attn_v.bias", LV_DIM_VECTOR, LV_DIM_KV },
    [WO] = { "attn_output.weight", LV_DIM_EMBD, LV_DIM_Q },
    [FFN_NORM] = { "ffn_norm.weight", LV_DIM_VECTOR, LV_DIM_EMBD },
    [W_GATE] = { "ffn_gate.weight", LV_DIM_FF, LV_DIM_EMBD },
    [W_UP] = { "ffn_up.weight", LV_DIM_FF, LV_DIM_EMBD },
    [W_DOWN] = { "ffn_down.weight", LV_DIM_EMBD, LV_DIM_FF },
};

static int layer(lv_sweep *s)
{
    /* x += Wo attention(rope(Wq n + bq), rope(Wk n + bk), Wv n + bv)   with n = rmsnorm(x) */
    lv_block_norm(s, ATTN_NORM);
    LEVER_TRY(lv_block_mul(s, s->q, s->n, WQ));
    LEVER_TRY(lv_block_mul(s, s->k, s->n, WK));
    LEVER_TRY(lv_block_mul(s, s->v, s->n, WV));
    lv_block_bias(s, s->q, BQ);
    lv_block_bias(s, s->k, BK);
    lv_block_bias(s, s->v, BV);
    lv_block_rope(s, -1, -1);
    lv_block_attend(s);
    LEVER_TRY(lv_block_mul(s, s->n, s->a, WO));
    lv_block_residual(s);

    /* x += Wdown (silu(Wgate n) * Wup n)   with n = rmsnorm(x) */
    lv_block_norm(s, FFN_NORM);
    LEVER_TRY(lv_block_mul(s, s->gate, s->n, W_GATE));
    LEVER_TRY(lv_block_mul(s, s->up, s->n, W_UP));
    lv_block_swiglu(s);
    LEVER_TRY(lv_block_mul(s, s->n, s->gate, W_DOWN));
    lv_block_residual(s);
    return LEVER_OK;
}

const lv_arch lv_arch_qwen2 = {
    .name = "qwen2",
    .rope_neox = true,
    .qkv_bias = true,
    .tensors = tensors,
    .n_tensors = N_TENSORS,
    .layer = layer,
};
