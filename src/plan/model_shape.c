/* SPDX-License-Identifier: MIT */
#include "plan/model_shape.h"

#include <string.h>

#include "kernel/kernel.h"

/* Matrices that read the same rows as the one before them; what those rows were packed for is kept
 * (model/block.c). */
static bool shares_rows(const char *name)
{
    static const char *const after_another[] = { ".attn_k.", ".attn_v.", ".ffn_up." };
    for (size_t i = 0; i < sizeof after_another / sizeof *after_another; i++)
        if (strstr(name, after_another[i])) return true;
    return false;
}

bool lv_model_shape_of(lv_model_shape *out, lv_model *m)
{
    size_t n;
    const lv_hparams *h = lv_model_hparams(m);
    const lv_model_weight *w = lv_model_weights(m, &n);
    *out = (lv_model_shape){ .n_layers = h->n_layers,
                             .n_embd = h->n_embd,
                             .n_ff = h->n_ff,
                             .n_heads = h->n_heads,
                             .n_kv_heads = h->n_kv_heads,
                             .head_dim = h->head_dim,
                             .n_vocab = h->n_vocab,
                             .qk_norm = h->qk_norm,
                             .qkv_bias = h->qkv_bias,
                             .head_type = w[n - 1].type };
    unsigned packed = 0; /* kinds that the rows are packed as */
    for (size_t i = 0; i + 1 < n; i++) {
        const unsigned kind = 1u << lv_type_act_kind(w[i].type);
        if (!shares_rows(w[i].name)) packed = 0;
        if (!lv_model_shape_add(out, w[i].type, w[i].rows, w[i].cols, !(packed & kind))) return false;
        packed |= kind;
    }
    out->key = lv_model_shape_key(out);
    return true;
}
