/* Converts the matrices of a GGUF file to another type, tensor by tensor, in a few hundred kilobytes of
 * memory besides the metadata. SPDX-License-Identifier: MIT */
#ifndef LEVER_GGUF_GGUF_QUANTIZE_H
#define LEVER_GGUF_GGUF_QUANTIZE_H

#include <stdint.h>

#include "base/error.h"

typedef struct lv_gguf_quantize_result {
    uint64_t n_converted;
    uint64_t n_kept;         /* not a matrix, or of the wanted type already */
    uint64_t n_kept_partial; /* matrices whose rows are not whole blocks of the wanted type */
    uint64_t bytes_in, bytes_out; /* tensor data */
} lv_gguf_quantize_result;

typedef void (*lv_gguf_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* Copy `in` to `out` (written as GGUF v3 under "<out>.part", then renamed). Matrices are the tensors of
 * two dimensions whose names end in ".weight"; those become `type`, everything else stays as it is.
 * Keys are copied; general.file_type is set. result and progress may be NULL; progress counts bytes
 * of `in` and is called from this thread.
 * LEVER_OK; LEVER_EINVAL (out is in); LEVER_EUNSUP (this build can not write `type`, or can not read
 * the type of a matrix); LEVER_EFORMAT (in is malformed, or a weight is NaN or infinite or becomes so:
 * the tensor is named); LEVER_EIO; LEVER_ENOMEM. On failure `out` is left as it was. */
int lv_gguf_quantize(const char *in, const char *out, uint32_t type, lv_gguf_quantize_result *result,
                     lv_gguf_progress_fn progress, void *user, lever_error *err);

#endif
