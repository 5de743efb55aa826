/* Checking and indexing the metadata of a GGUF file.
 *
 * Two ends bound every read: `n` bytes are in memory, the file has `file_bytes`. What would lie past
 * the file is malformed; what lies past the memory only is LEVER_EAGAIN. Arrays are allocated after
 * the bytes of their elements' headers are known to be in memory, so heap <= about 6 x n.
 * SPDX-License-Identifier: MIT */
#include "gguf/gguf_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

/* Smallest possible entry: key length, one byte of key, type, one byte of value; and for tensors
 * name length, one byte of name, dimensions, one dimension, type, offset. */
enum { KV_MIN = 8 + 1 + 4 + 1, TENSOR_MIN = 8 + 1 + 4 + 8 + 4 + 8, STR_MIN = 8 };

typedef struct parser {
    lv_gguf     *g;
    lv_bytes     in;
    uint64_t     file_bytes;
    const char  *part;  /* "key" or "tensor": what the parser is in, for messages */
    lv_str       name;  /* of the key or tensor; empty before it is known */
    size_t       index, start; /* number and file offset of that entry; 0 in the header */
    lever_error *err;
} parser;

__attribute__((format(printf, 3, 4)))
static int refuse(parser *p, int code, const char *fmt, ...)
{
    char why[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (p->name.len)
        return lv_fail(p->err, code, 0, "%s '%s' at byte %zu: %s", p->part, lv_shown_str(p->name).s,
                       p->start, why);
    if (!p->start) return lv_fail(p->err, code, 0, "header: %s", why);
    return lv_fail(p->err, code, 0, "%s %zu at byte %zu: %s", p->part, p->index, p->start, why);
}

/* Are the next `len` bytes in memory? */
static int need(parser *p, uint64_t len, const char *what)
{
    if (len <= p->in.n - p->in.at) return LEVER_OK;
    if (len > p->file_bytes - p->in.at)
        return refuse(p, LEVER_EFORMAT,
                      "%s needs %" PRIu64 " bytes at byte %zu, but the file ends at byte %" PRIu64, what, len,
                      p->in.at, p->file_bytes);
    return refuse(p, LEVER_EAGAIN, "%s goes on past the %zu bytes read so far", what, p->in.n);
}

static int read_str(parser *p, lv_str *s, uint64_t max, const char *what)
{
    LEVER_TRY(need(p, 8, what));
    const uint64_t len = lv_bytes_u64(&p->in);
    if (len > max) return refuse(p, LEVER_EFORMAT, "%s has a length of %" PRIu64 " bytes", what, len);
    LEVER_TRY(need(p, len, what));
    s->s = lv_bytes_take(&p->in, len);
    s->len = (size_t)len;
    return LEVER_OK;
}

/* Zeroed array of n >= 0 elements, counted; *out stays NULL for n == 0. */
static int take_heap(parser *p, void *out, size_t n, size_t elem_bytes, const char *what)
{
    if (!n) return LEVER_OK;
    void *mem = lv_alloc_array(n, elem_bytes, 16);
    if (!mem) return lv_fail(p->err, LEVER_ENOMEM, 0, "index of %zu %s", n, what);
    memcpy(out, &mem, sizeof mem);
    p->g->heap_bytes += n * elem_bytes;
    return LEVER_OK;
}

static int by_name(const void *a, const void *b)
{
    const lv_str *x = *(const lv_str *const *)a, *y = *(const lv_str *const *)b;
    return lv_str_compare(*x, *y);
}

/* Sort and look for equal neighbours: no hash that hostile names could drive into its worst case. */
static int index_names(parser *p, const lv_str **names, size_t n)
{
    if (n > 1) qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n; i++) {
        if (lv_str_compare(*names[i - 1], *names[i])) continue;
        const char *a = names[i - 1]->s, *b = names[i]->s, *later = a > b ? a : b;
        p->name = *names[i];
        p->start = (size_t)((const uint8_t *)later - p->g->bytes);
        return refuse(p, LEVER_EFORMAT, "the name is used twice");
    }
    return LEVER_OK;
}

/* ---- header ---- */

static int read_version(parser *p)
{
    lv_gguf *g = p->g;
    LEVER_TRY(need(p, 4, "magic"));
    if (lv_bytes_u32(&p->in) != LV_GGUF_MAGIC)
        return lv_fail(p->err, LEVER_EFORMAT, 0, "not a GGUF file: it does not start with \"GGUF\"");
    LEVER_TRY(need(p, 4, "version"));
    const uint32_t v = g->version = lv_bytes_u32(&p->in);
    if (v == 2 || v == 3) return LEVER_OK;
    if (v && !(v & 0xffff))
        return lv_fail(p->err, LEVER_EUNSUP, 0, "a big-endian GGUF file; convert it to little-endian");
    return lv_fail(p->err, LEVER_EUNSUP, 0, "GGUF version %" PRIu32 " is not supported, only 2 and 3%s", v,
                   v == 1 ? "; convert the file again with a newer tool" : "");
}

static int read_header(parser *p, uint64_t *n_tensors, uint64_t *n_kv)
{
    LEVER_TRY(read_version(p));
    LEVER_TRY(need(p, 16, "counts"));
    *n_tensors = lv_bytes_u64(&p->in);
    *n_kv = lv_bytes_u64(&p->in);
    const uint64_t rest = p->file_bytes - p->in.at;
    if (*n_kv > rest / KV_MIN)
        return refuse(p, LEVER_EFORMAT, "%" PRIu64 " keys can not fit a file of %" PRIu64 " bytes", *n_kv,
                      p->file_bytes);
    if (*n_tensors > rest / TENSOR_MIN)
        return refuse(p, LEVER_EFORMAT, "%" PRIu64 " tensors can not fit a file of %" PRIu64 " bytes",
                      *n_tensors, p->file_bytes);
    return LEVER_OK;
}

/* ---- keys ---- */

static int check_bools(parser *p, const uint8_t *v, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (v[i] > 1)
            return refuse(p, LEVER_EFORMAT, "bool with value %d at byte %zu", v[i],
                          (size_t)(v + i - p->g->bytes));
    return LEVER_OK;
}

static int read_scalars(parser *p, lv_gguf_kv *kv, uint32_t type)
{
    const size_t size = lv_gguf_scalar_bytes(type);
    if (kv->n > (p->file_bytes - p->in.at) / size)
        return refuse(p, LEVER_EFORMAT, "%" PRIu64 " values of %zu bytes go past the end of the file",
                      kv->n, size);
    LEVER_TRY(need(p, kv->n * size, "value"));
    kv->data = lv_bytes_take(&p->in, kv->n * size);
    return type == LV_GGUF_BOOL ? check_bools(p, kv->data, kv->n) : LEVER_OK;
}

static int read_strings(parser *p, lv_gguf_kv *kv, uint32_t **str_at)
{
    if (kv->n > (p->file_bytes - p->in.at) / STR_MIN)
        return refuse(p, LEVER_EFORMAT, "%" PRIu64 " strings go past the end of the file", kv->n);
    LEVER_TRY(need(p, kv->n * STR_MIN, "string array"));
    const size_t first = p->in.at;
    kv->data = p->in.p + first;
    LEVER_TRY(take_heap(p, str_at, (size_t)kv->n, sizeof **str_at, "strings"));
    for (uint64_t i = 0; i < kv->n; i++) {
        lv_str s;
        if (p->in.at - first > UINT32_MAX) return refuse(p, LEVER_EUNSUP, "string array of more than 4 GiB");
        (*str_at)[i] = (uint32_t)(p->in.at - first);
        LEVER_TRY(read_str(p, &s, UINT64_MAX, "string"));
    }
    return LEVER_OK;
}

static int read_value(parser *p, lv_gguf_kv *kv, uint32_t **str_at)
{
    LEVER_TRY(need(p, 4, "value type"));
    kv->type = lv_bytes_u32(&p->in);
    kv->n = 1;
    uint32_t type = kv->type;
    if (type == LV_GGUF_ARRAY) {
        LEVER_TRY(need(p, 12, "array header"));
        type = kv->elem_type = lv_bytes_u32(&p->in);
        kv->n = lv_bytes_u64(&p->in);
        if (type == LV_GGUF_ARRAY) return refuse(p, LEVER_EFORMAT, "arrays of arrays are not supported");
    }
    if (type >= LV_GGUF_N_TYPES) return refuse(p, LEVER_EFORMAT, "unknown value type %" PRIu32, type);
    if (type != LV_GGUF_STRING) return read_scalars(p, kv, type);
    if (kv->type == LV_GGUF_ARRAY) return read_strings(p, kv, str_at);
    kv->data = p->in.p + p->in.at;
    lv_str s;
    return read_str(p, &s, UINT64_MAX, "string");
}

static int read_keys(parser *p, uint64_t n)
{
    lv_gguf *g = p->g;
    p->part = "key";
    p->start = p->in.at;
    LEVER_TRY(need(p, n * KV_MIN, "list of keys"));
    LEVER_TRY(take_heap(p, &g->kv, (size_t)n, sizeof *g->kv, "keys"));
    g->n_kv = (size_t)n; /* close() walks str_at of this many */
    LEVER_TRY(take_heap(p, &g->str_at, g->n_kv, sizeof *g->str_at, "keys"));
    LEVER_TRY(take_heap(p, &g->kv_by_name, g->n_kv, sizeof *g->kv_by_name, "keys"));
    for (size_t i = 0; i < g->n_kv; i++) {
        lv_gguf_kv *kv = &g->kv[i];
        p->index = i, p->start = p->in.at, p->name = (lv_str){ NULL, 0 };
        LEVER_TRY(read_str(p, &kv->key, LV_GGUF_KEY_MAX, "key name"));
        if (!kv->key.len) return refuse(p, LEVER_EFORMAT, "empty key name");
        p->name = kv->key;
        LEVER_TRY(read_value(p, kv, &g->str_at[i]));
        g->kv_by_name[i] = &kv->key;
    }
    return index_names(p, g->kv_by_name, g->n_kv);
}

static int read_alignment(parser *p)
{
    lv_gguf *g = p->g;
    g->alignment = LV_GGUF_ALIGN_DEFAULT;
    const lv_gguf_kv *kv = lv_gguf_find(g, "general.alignment");
    if (!kv) return LEVER_OK;
    p->name = kv->key;
    p->start = (size_t)((const uint8_t *)kv->key.s - g->bytes);
    if (kv->type != LV_GGUF_U32)
        return refuse(p, LEVER_EFORMAT, "type is %s, must be u32", lv_gguf_type_name(kv->type));
    uint32_t a;
    memcpy(&a, kv->data, sizeof a);
    if (a < LV_GGUF_ALIGN_MIN || a > LV_GGUF_ALIGN_MAX || a & (a - 1))
        return refuse(p, LEVER_EFORMAT, "%" PRIu32 " is not a power of two from %d to %d", a,
                      LV_GGUF_ALIGN_MIN, LV_GGUF_ALIGN_MAX);
    g->alignment = a;
    return LEVER_OK;
}

/* ---- tensors ---- */

static int read_dims(parser *p, lv_gguf_tensor *t, uint64_t *n_elems)
{
    LEVER_TRY(need(p, 4, "number of dimensions"));
    t->n_dims = lv_bytes_u32(&p->in);
    if (t->n_dims < 1 || t->n_dims > 4)
        return refuse(p, LEVER_EFORMAT, "%" PRIu32 " dimensions, must be 1 to 4", t->n_dims);
    LEVER_TRY(need(p, 8 * (uint64_t)t->n_dims, "dimensions"));
    for (int i = 0; i < 4; i++) t->dims[i] = 1;
    *n_elems = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        const uint64_t d = lv_bytes_u64(&p->in);
        if (!d) return refuse(p, LEVER_EFORMAT, "dimension %" PRIu32 " is 0", i);
        if (__builtin_mul_overflow(*n_elems, d, n_elems) || *n_elems > INT64_MAX)
            return refuse(p, LEVER_EFORMAT, "more than 2^63 elements");
        t->dims[t->n_dims - 1 - i] = d; /* the file has the fastest first */
    }
    return LEVER_OK;
}

/* Type and relative offset; t->offset is made absolute once the start of the data is known. */
static int read_extent(parser *p, lv_gguf_tensor *t, uint64_t n_elems)
{
    LEVER_TRY(need(p, 12, "type and offset"));
    t->type = lv_bytes_u32(&p->in);
    t->offset = lv_bytes_u64(&p->in);
    const lv_type_traits *type = lv_type_traits_get(t->type);
    if (!type) return refuse(p, LEVER_EUNSUP, "tensor type %" PRIu32 " is not known", t->type);
    const uint64_t row = t->dims[t->n_dims - 1];
    if (row % type->block_len)
        return refuse(p, LEVER_EFORMAT, "rows of %" PRIu64 " are not whole blocks of %" PRIu32 " (%s)", row,
                      type->block_len, type->name);
    if (__builtin_mul_overflow(n_elems / type->block_len, (uint64_t)type->block_bytes, &t->bytes))
        return refuse(p, LEVER_EFORMAT, "more than 2^64 bytes");
    if (t->offset % p->g->alignment)
        return refuse(p, LEVER_EFORMAT, "offset %" PRIu64 " is not a multiple of the alignment %" PRIu32,
                      t->offset, p->g->alignment);
    return LEVER_OK;
}

static int read_tensors(parser *p, uint64_t n)
{
    lv_gguf *g = p->g;
    p->part = "tensor";
    p->start = p->in.at, p->index = 0, p->name = (lv_str){ NULL, 0 };
    LEVER_TRY(need(p, n * TENSOR_MIN, "list of tensors"));
    LEVER_TRY(take_heap(p, &g->tensors, (size_t)n, sizeof *g->tensors, "tensors"));
    g->n_tensors = (size_t)n;
    LEVER_TRY(take_heap(p, &g->tensor_by_name, g->n_tensors, sizeof *g->tensor_by_name, "tensors"));
    for (size_t i = 0; i < g->n_tensors; i++) {
        lv_gguf_tensor *t = &g->tensors[i];
        uint64_t n_elems = 0;
        p->index = i, p->start = p->in.at, p->name = (lv_str){ NULL, 0 };
        LEVER_TRY(read_str(p, &t->name, LV_GGUF_NAME_MAX, "tensor name"));
        if (!t->name.len) return refuse(p, LEVER_EFORMAT, "empty tensor name");
        p->name = t->name;
        LEVER_TRY(read_dims(p, t, &n_elems));
        LEVER_TRY(read_extent(p, t, n_elems));
        g->tensor_by_name[i] = &t->name;
    }
    return index_names(p, g->tensor_by_name, g->n_tensors);
}

static int by_offset(const void *a, const void *b)
{
    const lv_gguf_tensor *x = *(const lv_gguf_tensor *const *)a, *y = *(const lv_gguf_tensor *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int check_overlap(parser *p)
{
    lv_gguf *g = p->g;
    if (!g->n_tensors) return LEVER_OK;
    const lv_gguf_tensor **order = lv_alloc_array(g->n_tensors, sizeof *order, 16);
    if (!order) return lv_fail(p->err, LEVER_ENOMEM, 0, "order of %zu tensors", g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++) order[i] = &g->tensors[i];
    qsort(order, g->n_tensors, sizeof *order, by_offset);
    int rc = LEVER_OK;
    for (size_t i = 1; i < g->n_tensors && rc == LEVER_OK; i++) {
        const lv_gguf_tensor *a = order[i - 1], *b = order[i];
        if (b->offset - a->offset >= a->bytes) continue;
        rc = lv_fail(p->err, LEVER_EFORMAT, 0,
                     "tensor '%s' at byte %" PRIu64 " overlaps tensor '%s' (bytes %" PRIu64 " to %" PRIu64
                     ")",
                     lv_shown_str(b->name).s, b->offset, lv_shown_str(a->name).s, a->offset,
                     a->offset + a->bytes);
    }
    lv_free(order);
    return rc;
}

static int place_tensors(parser *p)
{
    lv_gguf *g = p->g;
    g->meta_bytes = p->in.at;
    g->data_offset = lv_round_up(g->meta_bytes, g->alignment);
    for (size_t i = 0; i < g->n_tensors; i++) {
        lv_gguf_tensor *t = &g->tensors[i];
        uint64_t end;
        if (__builtin_add_overflow(t->offset, g->data_offset, &t->offset) ||
            __builtin_add_overflow(t->offset, t->bytes, &end) || end > p->file_bytes)
            return lv_fail(p->err, LEVER_EFORMAT, 0,
                           "tensor '%s': %" PRIu64 " bytes at byte %" PRIu64
                           " go past the end of the file (%" PRIu64 " bytes); is the download complete?",
                           lv_shown_str(t->name).s, t->bytes, t->offset, p->file_bytes);
    }
    return check_overlap(p);
}

int lv_gguf_parse_into(lv_gguf *g, const void *bytes, size_t n, uint64_t file_bytes, lever_error *err)
{
    parser p = { .g = g, .in = lv_bytes_init(bytes, n), .file_bytes = file_bytes, .err = err };
    uint64_t n_tensors, n_kv;
    g->bytes = bytes;
    g->file_bytes = file_bytes;
    g->heap_bytes = sizeof *g;
    LEVER_TRY(read_header(&p, &n_tensors, &n_kv));
    LEVER_TRY(read_keys(&p, n_kv));
    LEVER_TRY(read_alignment(&p));
    LEVER_TRY(read_tensors(&p, n_tensors));
    return place_tensors(&p);
}
