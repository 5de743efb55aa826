/* The sums file, MODEL.gguf.sums: checksums that tell whether a model file still has the bytes it had.
 * This is the format and its reading from memory; flash/sums_file.h makes, loads and compares.
 *
 * Little-endian, version 1, nothing between the parts, nothing behind them:
 *
 *    0  u32  magic "LVSM"
 *    4  u32  version, 1
 *    8  u64  model_bytes    size of the model file, 1 .. 2^63 - 1
 *   16  u64  header_bytes   GGUF header, keys and tensor list: the first 1 .. model_bytes bytes
 *   24  u64  header_sum     XXH3-64 of these
 *   32  u32  page_bytes     4096
 *   36  u32  n_tensors
 *   40  u64  n_pages        model_bytes / page_bytes, rounded up
 *   48  u32  name_bytes     1 .. 255
 *   52  u32  table_bytes
 *   56  u8   name [name_bytes], of the model file, without folder: only for messages
 *       table [table_bytes], n_tensors times, by ascending offset, without overlap, behind the header:
 *            u64 offset, u64 bytes (>= 1), u64 sum (XXH3-64 of the tensor's bytes),
 *            u16 name_bytes (0 .. 255), u8 name [name_bytes]
 *       u32  page_sums [n_pages]: low half of XXH3-64 of each page; the last page may be short
 *       u64  XXH3-64 of everything before
 *
 * A page is what direct reads are aligned to, so every byte of a streamed read lies in a page that was read
 * whole. A damaged page goes unnoticed once in 2^32. Bytes are hostile: every field is checked.
 * Threading: reading functions are pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_GGUF_SUMS_H
#define LEVER_GGUF_SUMS_H

#include "gguf/gguf.h"

enum { LV_SUMS_PAGE = 4096 };

typedef struct lv_sums { /* everything is borrowed from the bytes that were parsed */
    lv_str   model;      /* name of the model file */
    uint64_t model_bytes, header_bytes, header_sum, n_pages;
    uint32_t n_tensors;
    size_t   table_bytes;
    const uint8_t *table;
    const uint8_t *pages; /* u32 [n_pages], unaligned */
} lv_sums;

typedef struct lv_sums_tensor {
    lv_str   name;
    uint64_t offset, bytes, sum;
} lv_sums_tensor;

/* bytes [n] is borrowed as long as *out is used. LEVER_OK; LEVER_EFORMAT; LEVER_EUNSUP (version). */
int  lv_sums_parse(lv_sums *out, const void *bytes, size_t n, lever_error *err);
/* The tensor at *at (0 to begin) of the table, and step to the next; false: there is none. */
bool lv_sums_next(const lv_sums *s, size_t *at, lv_sums_tensor *t);
uint32_t lv_sums_page_sum(const lv_sums *s, uint64_t page); /* page < n_pages */
/* Check pages: bytes [n] are those of the file from off on, which is a multiple of LV_SUMS_PAGE; n is one
 * too, or reaches the end of the file. Returns the offset of the first page that differs; UINT64_MAX: none.
 */
uint64_t lv_sums_check(const lv_sums *s, const void *bytes, size_t n, uint64_t off);
/* What lies in the page at off, for messages: the first tensor there, "header" or "padding". */
lv_str   lv_sums_what(const lv_sums *s, uint64_t off);
/* Checksum of a page of n bytes. */
uint32_t lv_sums_of_page(const void *bytes, size_t n);

/* The bytes of a sums file: tensors [n_tensors] and pages [n_pages] as the format wants them, which this does
 * not check; s gives model (cut to 255 bytes), model_bytes, header_bytes, header_sum, n_tensors.
 * LEVER_OK, LEVER_ENOMEM, LEVER_ELIMIT (a table beyond 4 GiB). Returned: lv_free(*out). */
int lv_sums_build(uint8_t **out, size_t *n, const lv_sums *s, const lv_sums_tensor *tensors,
                  const uint32_t *pages, lever_error *err);

#endif
