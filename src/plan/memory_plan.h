/* The memory plan behind --mem: a pure function from sizes to a split of the limit (docs/memory.md).
 *
 * Who gets memory first: fixed parts (code, vocabulary, draft weights), KV cache, prefill rows within their
 * share of the rest (an eighth), a short ring for the weight stream, the output head, a ring of two layers,
 * then layer matrices.
 * Guarantees (tests/unit/test_memory_plan.c): total_bytes <= limit_bytes; planning with needed_bytes
 * as the limit succeeds; a larger limit never keeps fewer weight bytes resident.
 * Does not: look at the machine, allocate, or know a model. Threading: pure.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_MEMORY_PLAN_H
#define LEVER_PLAN_MEMORY_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "flash/residency.h"

enum { LV_PLAN_MAX_LINES = 24, LV_PLAN_MAX_FIXED = 16 };

typedef struct lv_plan_line {
    char     label[64];
    uint64_t bytes;
} lv_plan_line;

/* What grows with the context and the row batch. Every field must not shrink when n_ctx or max_rows
 * grows. */
typedef struct lv_plan_sizes {
    uint64_t kv_bytes, draft_kv_bytes; /* scratch slots included */
    uint64_t activation_bytes;         /* of both models, logits included */
    uint64_t scratch_bytes;            /* packed rows and per-thread scratch of the device */
} lv_plan_sizes;

typedef struct lv_plan_input {
    uint64_t limit_bytes;        /* 0 = no limit */
    const lv_plan_line *fixed;   /* [n_fixed] borrowed; needed whatever is planned: code and libraries,
                                    thread stacks, vocabulary, target norms, draft weights, I/O buffers */
    size_t   n_fixed;            /* <= LV_PLAN_MAX_FIXED */
    lv_residency_item *items;    /* [n_items] layer matrices as allocated; pinned is filled. Borrowed */
    size_t   n_items;
    uint64_t head_bytes;         /* output head */
    uint64_t max_row_bytes;      /* longest row of a matrix that may be streamed; <= 1 GiB */
    uint32_t align;              /* of direct reads: a power of two */
    uint32_t extent_cost_bytes;  /* bookkeeping of one extent in model and stream together */
    uint32_t n_ctx_wanted, n_ctx_min; /* 1 <= min <= wanted; equal: the context is not negotiable */
    uint32_t tree_rows;          /* rows one verification may have; >= 1 */
    uint32_t max_rows;           /* prefill chunk; 0 = chosen here. Raised to tree_rows */
    uint32_t rows_share;         /* a longer chunk may cost 1 / rows_share of the rest; 0 = 8, else >= 2 */
    uint32_t extent_most_bytes;  /* longest streamed read; 0 = 4 MiB, else >= 64 KiB. Doubled
                                    while it holds less than 128 of the longest rows, up to 4 MiB */
    uint32_t reads_in_flight;    /* a ring is cut for this many; 0 = 6 */
    enum lv_residency_policy residency;
    bool     no_pin;             /* everything streams, the output head too */
    void   (*sizes)(void *user, uint32_t n_ctx, uint32_t max_rows, lv_plan_sizes *out);
    void    *user;
} lv_plan_input;

typedef struct lv_plan {
    uint64_t limit_bytes, total_bytes;
    uint64_t needed_bytes;       /* the smallest limit that works */
    uint32_t n_ctx, max_rows;
    uint64_t extent_bytes, ring_bytes; /* 0 when nothing streams */
    bool     head_resident;
    uint64_t pinned_bytes;       /* of layer matrices */
    uint64_t resident_bytes, streamed_bytes; /* of the target's matrices; streamed: read per sweep */
    uint32_t n_lines;
    lv_plan_line lines[LV_PLAN_MAX_LINES]; /* sum to total_bytes */
} lv_plan;

/* LEVER_OK; LEVER_ELIMIT: does not fit, the text and *out show the smallest plan, whose total is
 * needed_bytes (items are then not pinned unless that is smaller still); LEVER_EINVAL: input out of the
 * ranges above. */
int lv_plan_memory(lv_plan *out, const lv_plan_input *in, lever_error *err);

#endif
