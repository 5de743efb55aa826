/* Growing: a GGUF with the tensor shapes of a large model that computes the function of a small one.
 *
 * The small model lives in a subspace of the large one. Its residual stream fills the first n_embd values,
 * times a power of two t near sqrt(N/n), so that RMSNorm over N values sees (nearly) the mean square it
 * saw over n; norm weights and eps take the rest. Heads, neurons, tokens and layers are added: what they
 * write is multiplied by zero. Everything that may be random is random, and zero weights still have random
 * bits in their blocks (only the block scale is zero), so a sweep over the large model costs what it costs
 * with any weights.
 *
 * Bits: when N/n is a power of four and blocks are whole, every value of the grown model equals the small
 * model's, times a power of two: the same logits to the last bit. Otherwise the two agree up to rounding
 * of float32 factors. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_GROW_H
#define LEVER_MODEL_GROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* 0: as in the small model; tied -1: as in the small model. */
typedef struct lv_grow_shape {
    char     name[32]; /* preset, or "" */
    uint32_t n_embd, n_layers, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    int      tied;     /* the output head is the embedding */
} lv_grow_shape;

/* "qwen3-8b", or "qwen3-8b,layers=12,vocab=9000", or only assignments: embd, layers, heads, kv-heads,
 * head-dim, ff, vocab, tied (0, 1). LEVER_OK, LEVER_EINVAL: the text names what is wrong and the known
 * presets. */
int lv_grow_shape_parse(lv_grow_shape *shape, const char *text, lever_error *err);

typedef struct lv_grow_result {
    lv_grow_shape shape;     /* as written: nothing is 0 */
    uint64_t n_tensors, bytes;
    bool     exact;          /* bit-equal to the small model with its matrices in the same type */
    char     why[160];       /* why not */
} lv_grow_result;

typedef void (*lv_grow_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* Write `out` (as "<out>.part", then renamed) from `in`, matrices in `type`. A shape whose heads are
 * shorter than the small model's gets fewer, longer ones, with the same tensor shapes. Memory: a few rows,
 * the metadata of both files. LEVER_OK; LEVER_EINVAL (a size is smaller than the small model's: both are
 * named; out is in); LEVER_EUNSUP (type can not be read or written, architecture); LEVER_EFORMAT;
 * LEVER_EIO; LEVER_ENOMEM. On failure `out` is left as it was. */
int lv_grow(const char *in, const char *out, const lv_grow_shape *shape, uint32_t type, uint64_t seed,
            lv_grow_result *result, lv_grow_progress_fn progress, void *user, lever_error *err);

/* Write the exit predictor of the grown model `big` from that of its small model: scores are the same up to rounding.
 * LEVER_OK; LEVER_EINVAL (small_exit is of another model); LEVER_EUNSUP (not the tied form); as lv_exit_open and
 * lv_exit_write. */
int lv_grow_exit(const char *small, const char *small_exit, const char *big, const char *out, lever_error *err);

#endif
