/* Architectures: what a layer's tensors are and in which order its equations use them. Adding one
 * takes a file <arch>.c and a line in arch.c. The words an architecture is written in are block.h.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_ARCH_H
#define LEVER_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/gguf.h"

typedef struct lv_sweep lv_sweep; /* block.h */

/* Sizes a tensor shape is made of. */
enum lv_dim {
    LV_DIM_VECTOR, /* as .rows: a norm or bias [cols], kept resident as f32 */
    LV_DIM_EMBD,   /* n_embd */
    LV_DIM_Q,      /* n_heads * head_dim */
    LV_DIM_KV,     /* n_kv_heads * head_dim */
    LV_DIM_HEAD,   /* head_dim */
    LV_DIM_FF      /* n_ff */
};

typedef struct lv_tensor_spec {
    const char *name;      /* after "blk.<layer>." */
    uint8_t     rows, cols; /* enum lv_dim */
} lv_tensor_spec;

enum { LV_LAYER_TENSORS_MAX = 24 };

typedef struct lv_arch {
    const char *name;         /* value of general.architecture */
    bool        rope_neox, qk_norm, qkv_bias;
    bool        rope_factors; /* may have rope_freqs.weight [n_rot/2]: divisors of the frequencies */
    const lv_tensor_spec *tensors; /* [n_tensors]; matrices in order of use: they are streamed so */
    size_t      n_tensors;         /* <= LV_LAYER_TENSORS_MAX */
    /* One layer over the row batch: reads and updates the residual stream s->x. LEVER_OK or what
     * lv_block_mul returned. */
    int (*layer)(lv_sweep *s);
} lv_arch;

const lv_arch *lv_arch_find(lv_str name); /* NULL: unknown */
/* Known names, separated by ", ", cut to fit buf [n]. Returns buf. */
const char *lv_arch_names(char *buf, size_t n);

extern const lv_arch lv_arch_llama, lv_arch_qwen2, lv_arch_qwen3;

#endif
