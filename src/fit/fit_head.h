/* The target's output head for training: its rows chunk by chunk, from memory or from the file each time.
 * Owns: the file, the bytes kept, the chunk. Threading: one owner thread; dequantising uses the lv_cpu.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_HEAD_H
#define LEVER_FIT_FIT_HEAD_H

#include "device/cpu/cpu.h"
#include "os/file.h"

/* Where the head is in its file. */
typedef struct lv_fit_head_place {
    uint32_t type;
    uint32_t n_vocab, n_embd;
    uint64_t offset, bytes;
} lv_fit_head_place;

typedef struct lv_fit_head {
    lv_fit_head_place place;
    lv_file  file;
    uint8_t *bytes;      /* [n_vocab] rows, or NULL: read when asked for */
    uint8_t *raw;        /* [chunk] rows as read, when they are not kept */
    float   *rows;       /* [chunk][n_embd] the last chunk widened */
    size_t   chunk, row_bytes;
    uint64_t bytes_read; /* by chunks */
} lv_fit_head;

/* Rows of a chunk, and memory of a head that keeps its bytes or does not. */
size_t   lv_fit_head_chunk(const lv_fit_head_place *p);
uint64_t lv_fit_head_memory_bytes(const lv_fit_head_place *p, bool keep);
/* keep: read all of it now. LEVER_OK, LEVER_EIO, LEVER_ENOMEM; after a failure close is due, too. */
int lv_fit_head_open(lv_fit_head *h, const char *path, const lv_fit_head_place *p, bool keep,
                     lever_error *err);
void lv_fit_head_close(lv_fit_head *h); /* accepts a zeroed one */
/* Rows [first, first + n) in the file's layout, n <= chunk: borrowed until the next call. LEVER_OK,
 * LEVER_EIO. */
int  lv_fit_head_raw(lv_fit_head *h, size_t first, size_t n, const uint8_t **out, lever_error *err);
/* The same as floats [n][n_embd]. */
int lv_fit_head_rows(lv_fit_head *h, lv_cpu *cpu, size_t first, size_t n, const float **out,
                     lever_error *err);

#endif
