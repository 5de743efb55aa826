/* GGUF: read (v2, v3), validate, write. Knows no model.
 *
 * A parsed file is immutable; its strings and arrays are borrowed from it and live until close.
 * File bytes are hostile: every length, count, type, offset and overlap is checked; a failure names
 * the field, key or tensor and its byte offset. No allocation exceeds what the file's size justifies.
 * Threading: reading functions are pure on a parsed file. SPDX-License-Identifier: MIT */
#ifndef LEVER_GGUF_GGUF_H
#define LEVER_GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "quant/quant.h"

typedef struct lv_gguf lv_gguf;

typedef struct lv_str { /* not NUL-ended, any bytes */
    const char *s;
    size_t      len;
} lv_str;

enum lv_gguf_type { /* the file format's numbers */
    LV_GGUF_U8, LV_GGUF_I8, LV_GGUF_U16, LV_GGUF_I16, LV_GGUF_U32, LV_GGUF_I32, LV_GGUF_F32,
    LV_GGUF_BOOL, LV_GGUF_STRING, LV_GGUF_ARRAY, LV_GGUF_U64, LV_GGUF_I64, LV_GGUF_F64
};

typedef struct lv_gguf_kv {
    lv_str   key;
    uint32_t type;       /* enum lv_gguf_type */
    uint32_t elem_type;  /* of an array; arrays of arrays are refused */
    uint64_t n;          /* elements; 1 unless type is LV_GGUF_ARRAY */
    const void *data;    /* scalars: unaligned little-endian [n]; strings: use lv_gguf_str */
} lv_gguf_kv;

typedef struct lv_gguf_tensor {
    lv_str   name;
    uint32_t type;       /* enum lv_type; known to lv_type_traits_get */
    uint32_t n_dims;     /* 1..4 */
    uint64_t dims[4];    /* slowest first: [rows][cols] has dims[0] = rows; unused are 1, at the end */
    uint64_t offset;     /* absolute, in the file */
    uint64_t bytes;
} lv_gguf_tensor;

/* Read and check the metadata of `path`; no tensor data is read, but every tensor must lie inside
 * the file. LEVER_OK, LEVER_EIO, LEVER_ENOMEM, LEVER_EFORMAT, LEVER_EUNSUP (version, tensor type).
 * Returned: close with lv_gguf_close. */
int  lv_gguf_open(lv_gguf **out, const char *path, lever_error *err);
/* The same from memory. bytes [n] is borrowed until close and starts at file offset 0; file_bytes >= n
 * is the size of the whole file. LEVER_EAGAIN: the metadata goes on past n although the file does too. */
int  lv_gguf_parse(lv_gguf **out, const void *bytes, size_t n, uint64_t file_bytes, lever_error *err);
void lv_gguf_close(lv_gguf **g);

uint32_t lv_gguf_version(const lv_gguf *g);
size_t   lv_gguf_n_kv(const lv_gguf *g);
const lv_gguf_kv *lv_gguf_kv_at(const lv_gguf *g, size_t i);
const lv_gguf_kv *lv_gguf_find(const lv_gguf *g, const char *key); /* NULL: absent */
/* i-th string of a string value or string array, in O(1); i < kv->n. */
lv_str   lv_gguf_str(const lv_gguf *g, const lv_gguf_kv *kv, uint64_t i);
size_t   lv_gguf_n_tensors(const lv_gguf *g);
const lv_gguf_tensor *lv_gguf_tensor_at(const lv_gguf *g, size_t i);
const lv_gguf_tensor *lv_gguf_find_tensor(const lv_gguf *g, const char *name); /* NULL: absent */
uint64_t lv_gguf_data_offset(const lv_gguf *g);
/* Header, keys and tensor list as they were read: the first *n bytes of the file. */
const void *lv_gguf_meta(const lv_gguf *g, size_t *n);
size_t   lv_gguf_memory_bytes(const lv_gguf *g); /* heap held by *g, for the budget */

/* Typed scalars. 1: found, *v set; 0: key absent, *v untouched; LEVER_EFORMAT: wrong type, or the
 * value does not fit (the message names the key). Any integer type is accepted for u32/u64. */
int lv_gguf_get_u32(const lv_gguf *g, const char *key, uint32_t *v, lever_error *err);
int lv_gguf_get_u64(const lv_gguf *g, const char *key, uint64_t *v, lever_error *err);
int lv_gguf_get_f32(const lv_gguf *g, const char *key, float *v, lever_error *err);
int lv_gguf_get_bool(const lv_gguf *g, const char *key, bool *v, lever_error *err);
int lv_gguf_get_str(const lv_gguf *g, const char *key, lv_str *v, lever_error *err);

/* ---- writing: all keys, then all tensor headers, then the data in the same order ----
 * Keys and names are the caller's to keep unique. A key "general.alignment" sets where data goes.
 * Each call: LEVER_OK; LEVER_EINVAL (order, shape, type, too much or too little data); LEVER_EIO (the
 * disk is full, ...: path and errno; every later call but close then gives LEVER_EINVAL); LEVER_ENOMEM. */
typedef struct lv_gguf_writer lv_gguf_writer;

/* Write to "<path>.part", renamed to path by finish: a failure never leaves a half file at path. */
int  lv_gguf_writer_open(lv_gguf_writer **out, const char *path, lever_error *err);
void lv_gguf_writer_close(lv_gguf_writer **w); /* unfinished: removes the .part file */
int  lv_gguf_put_u32(lv_gguf_writer *w, const char *key, uint32_t v, lever_error *err);
int  lv_gguf_put_f32(lv_gguf_writer *w, const char *key, float v, lever_error *err);
int  lv_gguf_put_bool(lv_gguf_writer *w, const char *key, bool v, lever_error *err);
int  lv_gguf_put_str(lv_gguf_writer *w, const char *key, const char *s, size_t len, lever_error *err);
int  lv_gguf_put_strs(lv_gguf_writer *w, const char *key, const lv_str *s, size_t n, lever_error *err);
int  lv_gguf_put_i32s(lv_gguf_writer *w, const char *key, const int32_t *v, size_t n, lever_error *err);
int  lv_gguf_put_f32s(lv_gguf_writer *w, const char *key, const float *v, size_t n, lever_error *err);
/* A copy of kv, which belongs to `from`. */
int  lv_gguf_put_kv(lv_gguf_writer *w, const lv_gguf *from, const lv_gguf_kv *kv, lever_error *err);
/* dims slowest first, as in lv_gguf_tensor. */
int  lv_gguf_put_tensor(lv_gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *dims, lever_error *err);
/* The next bytes of tensor data; padding between tensors is added by itself. */
int  lv_gguf_write_data(lv_gguf_writer *w, const void *bytes, size_t n, lever_error *err);
/* Checks that every declared tensor is complete, syncs, renames. */
int  lv_gguf_writer_finish(lv_gguf_writer *w, lever_error *err);

/* The value of general.file_type for a file whose matrices are all of `type`; -1: there is none. */
int  lv_gguf_file_type(uint32_t type);
/* A copy of `in` may be written to `out`: neither out nor "<out>.part" is the same file. LEVER_OK,
 * LEVER_EINVAL, LEVER_ENOMEM. */
int  lv_gguf_check_paths(const char *in, const char *out, lever_error *err);

#endif
