/* Writing GGUF v3 as a stream: header with counts still 0, keys, tensor headers, data; the counts are
 * patched in at the end. Only the sizes of the tensors are kept in memory.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/gguf_impl.h"

enum { BUFFER = 256 << 10, VERSION = 3 };

enum phase { KEYS, TENSORS, DATA, FINISHED };

struct lv_gguf_writer {
    char      *path, *part;  /* part: "<path>.part" */
    FILE      *f;
    char      *buffer;       /* [BUFFER] of f */
    enum phase phase;
    bool       failed;       /* a write failed: nothing more is written, finish refuses */
    uint32_t   alignment;
    uint64_t   n_kv, at;     /* at: bytes written so far */
    uint64_t  *tensor_bytes; /* [n_tensors] */
    size_t     n_tensors, cap_tensors;
    uint64_t   next_offset;  /* of the next declared tensor, relative to the data */
    size_t     current;      /* tensor being filled */
    uint64_t   filled;       /* bytes of it written */
};

static int put(lv_gguf_writer *w, const void *bytes, size_t n, lever_error *err)
{
    if (w->failed) return lv_fail(err, LEVER_EINVAL, 0, "%s: an earlier write failed", w->path);
    errno = 0;
    if (n && fwrite(bytes, 1, n, w->f) != n) {
        w->failed = true;
        return lv_fail(err, LEVER_EIO, errno, "%s: write of %zu bytes at byte %" PRIu64, w->part, n, w->at);
    }
    w->at += n;
    return LEVER_OK;
}

static int put_u32(lv_gguf_writer *w, uint32_t v, lever_error *err) { return put(w, &v, sizeof v, err); }
static int put_u64(lv_gguf_writer *w, uint64_t v, lever_error *err) { return put(w, &v, sizeof v, err); }

static int put_text(lv_gguf_writer *w, const char *s, size_t len, lever_error *err)
{
    LEVER_TRY(put_u64(w, len, err));
    return put(w, s, len, err);
}

static int pad(lv_gguf_writer *w, lever_error *err)
{
    static const uint8_t zero[1024];
    while (w->at % w->alignment) {
        const size_t left = (size_t)(w->alignment - w->at % w->alignment);
        LEVER_TRY(put(w, zero, left < sizeof zero ? left : sizeof zero, err));
    }
    return LEVER_OK;
}

/* ---- life ---- */

int lv_gguf_writer_open(lv_gguf_writer **out, const char *path, lever_error *err)
{
    *out = NULL;
    const size_t len = strlen(path);
    int rc = LEVER_ENOMEM;
    lv_gguf_writer *w = lv_alloc(sizeof *w, 16);
    if (!w) goto fail;
    w->alignment = LV_GGUF_ALIGN_DEFAULT;
    if (!(w->path = lv_strdup_n(path, len)) || !(w->part = lv_alloc(len + sizeof ".part", 16))) goto fail;
    if (!(w->buffer = lv_alloc(BUFFER, 4096))) goto fail;
    memcpy(w->part, path, len);
    memcpy(w->part + len, ".part", sizeof ".part");
    if (!(w->f = fopen(w->part, "wbe"))) {
        rc = lv_fail(err, LEVER_EIO, errno, "%s: can not be created", w->part);
        goto fail;
    }
    setvbuf(w->f, w->buffer, _IOFBF, BUFFER);
    if ((rc = put_u32(w, LV_GGUF_MAGIC, err)) < 0 || (rc = put_u32(w, VERSION, err)) < 0) goto fail;
    if ((rc = put_u64(w, 0, err)) < 0 || (rc = put_u64(w, 0, err)) < 0) goto fail;
    *out = w;
    return LEVER_OK;
fail:
    if (rc == LEVER_ENOMEM) lv_fail(err, rc, 0, "%s: writer state", path);
    lv_gguf_writer_close(&w);
    return rc;
}

void lv_gguf_writer_close(lv_gguf_writer **wp)
{
    lv_gguf_writer *w = *wp;
    if (!w) return;
    if (w->f) fclose(w->f);
    if (w->f && w->phase != FINISHED) unlink(w->part);
    lv_free(w->buffer);
    lv_free(w->tensor_bytes);
    lv_free(w->part);
    lv_free(w->path);
    lv_free(w);
    *wp = NULL;
}

/* ---- keys ---- */

static int put_key(lv_gguf_writer *w, const char *key, size_t len, uint32_t type, lever_error *err)
{
    const lv_shown name = lv_shown_str((lv_str){ key, len });
    if (w->phase != KEYS)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: key '%s' after the first tensor", w->path, name.s);
    if (!len || len > LV_GGUF_KEY_MAX)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: key '%s' of %zu bytes", w->path, name.s, len);
    LEVER_TRY(put_text(w, key, len, err));
    LEVER_TRY(put_u32(w, type, err));
    w->n_kv++;
    return LEVER_OK;
}

/* general.alignment changes where our own data goes, whoever sets it. */
static int note_alignment(lv_gguf_writer *w, lv_str key, uint32_t type, const void *value, lever_error *err)
{
    const lv_str name = { "general.alignment", strlen("general.alignment") };
    uint32_t a = 0;
    if (lv_str_compare(key, name)) return LEVER_OK;
    if (type == LV_GGUF_U32) memcpy(&a, value, sizeof a);
    if (a < LV_GGUF_ALIGN_MIN || a > LV_GGUF_ALIGN_MAX || a & (a - 1))
        return lv_fail(err, LEVER_EINVAL, 0,
                       "%s: general.alignment must be a u32 and a power of two, %d to %d",
                       w->path, LV_GGUF_ALIGN_MIN, LV_GGUF_ALIGN_MAX);
    w->alignment = a;
    return LEVER_OK;
}

static int put_scalar(lv_gguf_writer *w, lv_str key, uint32_t type, const void *v, lever_error *err)
{
    LEVER_TRY(note_alignment(w, key, type, v, err));
    LEVER_TRY(put_key(w, key.s, key.len, type, err));
    return put(w, v, lv_gguf_scalar_bytes(type), err);
}

int lv_gguf_put_u32(lv_gguf_writer *w, const char *key, uint32_t v, lever_error *err)
{
    return put_scalar(w, (lv_str){ key, strlen(key) }, LV_GGUF_U32, &v, err);
}

int lv_gguf_put_f32(lv_gguf_writer *w, const char *key, float v, lever_error *err)
{
    return put_scalar(w, (lv_str){ key, strlen(key) }, LV_GGUF_F32, &v, err);
}

int lv_gguf_put_bool(lv_gguf_writer *w, const char *key, bool v, lever_error *err)
{
    const uint8_t byte = v;
    return put_scalar(w, (lv_str){ key, strlen(key) }, LV_GGUF_BOOL, &byte, err);
}

int lv_gguf_put_str(lv_gguf_writer *w, const char *key, const char *s, size_t len, lever_error *err)
{
    LEVER_TRY(note_alignment(w, (lv_str){ key, strlen(key) }, LV_GGUF_STRING, NULL, err));
    LEVER_TRY(put_key(w, key, strlen(key), LV_GGUF_STRING, err));
    return put_text(w, s, len, err);
}

static int put_array(lv_gguf_writer *w, const char *key, size_t key_len, uint32_t elem_type, uint64_t n,
                     lever_error *err)
{
    LEVER_TRY(note_alignment(w, (lv_str){ key, key_len }, LV_GGUF_ARRAY, NULL, err));
    LEVER_TRY(put_key(w, key, key_len, LV_GGUF_ARRAY, err));
    LEVER_TRY(put_u32(w, elem_type, err));
    return put_u64(w, n, err);
}

int lv_gguf_put_strs(lv_gguf_writer *w, const char *key, const lv_str *s, size_t n, lever_error *err)
{
    LEVER_TRY(put_array(w, key, strlen(key), LV_GGUF_STRING, n, err));
    for (size_t i = 0; i < n; i++) LEVER_TRY(put_text(w, s[i].s, s[i].len, err));
    return LEVER_OK;
}

int lv_gguf_put_i32s(lv_gguf_writer *w, const char *key, const int32_t *v, size_t n, lever_error *err)
{
    LEVER_TRY(put_array(w, key, strlen(key), LV_GGUF_I32, n, err));
    return put(w, v, n * sizeof *v, err);
}

int lv_gguf_put_f32s(lv_gguf_writer *w, const char *key, const float *v, size_t n, lever_error *err)
{
    LEVER_TRY(put_array(w, key, strlen(key), LV_GGUF_F32, n, err));
    return put(w, v, n * sizeof *v, err);
}

int lv_gguf_put_kv(lv_gguf_writer *w, const lv_gguf *from, const lv_gguf_kv *kv, lever_error *err)
{
    const bool array = kv->type == LV_GGUF_ARRAY;
    const uint32_t type = array ? kv->elem_type : kv->type;
    if (!array && type != LV_GGUF_STRING) return put_scalar(w, kv->key, type, kv->data, err);
    if (array)
        LEVER_TRY(put_array(w, kv->key.s, kv->key.len, type, kv->n, err));
    else
        LEVER_TRY(put_key(w, kv->key.s, kv->key.len, type, err));
    if (type != LV_GGUF_STRING) return put(w, kv->data, (size_t)kv->n * lv_gguf_scalar_bytes(type), err);
    for (uint64_t i = 0; i < kv->n; i++) {
        const lv_str s = lv_gguf_str(from, kv, i);
        LEVER_TRY(put_text(w, s.s, s.len, err));
    }
    return LEVER_OK;
}

/* ---- tensors ---- */

static int remember_tensor(lv_gguf_writer *w, uint64_t bytes, lever_error *err)
{
    if (w->n_tensors == w->cap_tensors) {
        const size_t cap = w->cap_tensors ? 2 * w->cap_tensors : 64;
        uint64_t *grown = lv_alloc_array(cap, sizeof *grown, 16);
        if (!grown) return lv_fail(err, LEVER_ENOMEM, 0, "%s: sizes of %zu tensors", w->path, cap);
        if (w->n_tensors) memcpy(grown, w->tensor_bytes, w->n_tensors * sizeof *grown);
        lv_free(w->tensor_bytes);
        w->tensor_bytes = grown;
        w->cap_tensors = cap;
    }
    w->tensor_bytes[w->n_tensors++] = bytes;
    return LEVER_OK;
}

static int tensor_size(uint32_t type, uint32_t n_dims, const uint64_t *dims, uint64_t *bytes)
{
    if (n_dims < 1 || n_dims > 4) return LEVER_EINVAL;
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < n_dims; i++)
        if (__builtin_mul_overflow(rows, dims[i], &rows)) return LEVER_EINVAL;
    const uint64_t row_bytes = lv_type_row_bytes(type, dims[n_dims - 1]);
    if (!rows || !row_bytes || __builtin_mul_overflow(rows, row_bytes, bytes)) return LEVER_EINVAL;
    return *bytes > INT64_MAX ? LEVER_EINVAL : LEVER_OK;
}

int lv_gguf_put_tensor(lv_gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *dims, lever_error *err)
{
    const size_t len = strlen(name);
    uint64_t bytes, next;
    if (w->phase > TENSORS) return lv_fail(err, LEVER_EINVAL, 0, "%s: tensor '%s' after data", w->path, name);
    if (!len || len > LV_GGUF_NAME_MAX)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: tensor name of %zu bytes", w->path, len);
    if (tensor_size(type, n_dims, dims, &bytes) < 0 ||
        __builtin_add_overflow(w->next_offset, lv_round_up(bytes, w->alignment), &next))
        return lv_fail(err, LEVER_EINVAL, 0, "%s: type or shape of tensor '%s'", w->path, name);
    LEVER_TRY(remember_tensor(w, bytes, err));
    w->phase = TENSORS;
    LEVER_TRY(put_text(w, name, len, err));
    LEVER_TRY(put_u32(w, n_dims, err));
    for (uint32_t i = n_dims; i-- > 0;) LEVER_TRY(put_u64(w, dims[i], err)); /* fastest first in the file */
    LEVER_TRY(put_u32(w, type, err));
    LEVER_TRY(put_u64(w, w->next_offset, err));
    w->next_offset = next;
    return LEVER_OK;
}

int lv_gguf_write_data(lv_gguf_writer *w, const void *bytes, size_t n, lever_error *err)
{
    const uint8_t *at = bytes;
    if (w->phase == FINISHED) return lv_fail(err, LEVER_EINVAL, 0, "%s: already finished", w->path);
    if (w->phase != DATA) LEVER_TRY(pad(w, err));
    w->phase = DATA;
    while (n) {
        if (w->current == w->n_tensors)
            return lv_fail(err, LEVER_EINVAL, 0, "%s: %zu bytes of data more than declared", w->path, n);
        const uint64_t left = w->tensor_bytes[w->current] - w->filled;
        const size_t part = left < n ? (size_t)left : n;
        LEVER_TRY(put(w, at, part, err));
        at += part, n -= part, w->filled += part;
        if (part < left) break;
        LEVER_TRY(pad(w, err));
        w->current++, w->filled = 0;
    }
    return LEVER_OK;
}

/* ---- end ---- */

static int patch_counts(lv_gguf_writer *w, lever_error *err)
{
    const uint64_t counts[2] = { w->n_tensors, w->n_kv };
    errno = 0;
    if (fseeko(w->f, 8, SEEK_SET) < 0 || fwrite(counts, sizeof counts, 1, w->f) != 1 || fflush(w->f) != 0 ||
        fsync(fileno(w->f)) < 0)
        return lv_fail(err, LEVER_EIO, errno, "%s: write of %" PRIu64 " bytes", w->part, w->at);
    return LEVER_OK;
}

int lv_gguf_writer_finish(lv_gguf_writer *w, lever_error *err)
{
    if (w->phase == FINISHED) return lv_fail(err, LEVER_EINVAL, 0, "%s: already finished", w->path);
    if (w->failed) return lv_fail(err, LEVER_EINVAL, 0, "%s: an earlier write failed", w->path);
    LEVER_TRY(lv_gguf_write_data(w, NULL, 0, err)); /* a file without tensors is padded too */
    if (w->current < w->n_tensors)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "%s: tensor %zu of %zu lacks %" PRIu64 " of its %" PRIu64 " bytes",
                       w->path, w->current, w->n_tensors, w->tensor_bytes[w->current] - w->filled,
                       w->tensor_bytes[w->current]);
    int rc = patch_counts(w, err);
    if (rc == LEVER_OK && rename(w->part, w->path) < 0)
        rc = lv_fail(err, LEVER_EIO, errno, "%s: can not be renamed to %s", w->part, w->path);
    w->failed = rc < 0;
    if (rc == LEVER_OK) w->phase = FINISHED;
    return rc;
}

int lv_gguf_file_type(uint32_t type)
{
    static const int8_t number[LV_TYPE_COUNT] = {
        [LV_TYPE_F16] = 1,   [LV_TYPE_Q4_0] = 2,  [LV_TYPE_Q4_1] = 3,    [LV_TYPE_Q8_0] = 7,
        [LV_TYPE_Q5_0] = 8,  [LV_TYPE_Q5_1] = 9,  [LV_TYPE_Q2_K] = 10,   [LV_TYPE_Q3_K] = 12,
        [LV_TYPE_Q4_K] = 14, [LV_TYPE_Q5_K] = 16, [LV_TYPE_Q6_K] = 18,   [LV_TYPE_IQ4_NL] = 25,
        [LV_TYPE_BF16] = 32, [LV_TYPE_IQ4_XS] = 30, [LV_TYPE_MXFP4] = 38,
    };
    return type == LV_TYPE_F32 ? 0 : number[type] ? number[type] : -1;
}

int lv_gguf_check_paths(const char *in, const char *out, lever_error *err)
{
    const size_t len = strlen(out);
    char *part = lv_alloc(len + sizeof ".part", 16);
    if (!part) return lv_fail(err, LEVER_ENOMEM, 0, "%s: path", out);
    memcpy(part, out, len);
    memcpy(part + len, ".part", sizeof ".part");
    const bool same = lv_gguf_same_file(in, out) || lv_gguf_same_file(in, part);
    lv_free(part);
    if (!same) return LEVER_OK;
    return lv_fail(err, LEVER_EINVAL, 0, "%s would overwrite the input; give another name for the output",
                   out);
}
