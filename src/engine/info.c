/* Looking at a GGUF file, and writing quantised copies: the public face of gguf/.
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/gguf.h"
#include "gguf/gguf_quantize.h"
#include "model/grow.h"
#include "engine/engine.h"
#include "lever/file.h"
#include "os/file.h"

struct lever_info {
    lv_gguf *gguf;
    uint64_t file_bytes;
};

int lever_info_open(lever_info **out, const char *path, lever_error *err)
{
    *out = NULL;
    lv_file file;
    LEVER_TRY(lv_file_open(&file, path, err));
    const uint64_t file_bytes = file.size_bytes;
    lv_file_close(&file);
    lever_info *info = lv_alloc(sizeof *info, 16);
    if (!info) return lv_fail(err, LEVER_ENOMEM, 0, "metadata of '%s'", path);
    info->file_bytes = file_bytes;
    const int rc = lv_gguf_open(&info->gguf, path, err);
    if (rc < 0) {
        lv_free(info);
        return rc;
    }
    *out = info;
    return LEVER_OK;
}

void lever_info_close(lever_info **info)
{
    if (!info || !*info) return;
    lv_gguf_close(&(*info)->gguf);
    lv_free(*info);
    *info = NULL;
}

uint32_t lever_info_version(const lever_info *info) { return lv_gguf_version(info->gguf); }
uint64_t lever_info_file_bytes(const lever_info *info) { return info->file_bytes; }
size_t lever_info_n_keys(const lever_info *info) { return lv_gguf_n_kv(info->gguf); }
size_t lever_info_n_tensors(const lever_info *info) { return lv_gguf_n_tensors(info->gguf); }

/* A bounded text being built; what does not fit is dropped. */
typedef struct text {
    char  *p;
    size_t cap, n;
} text;

static void put_raw(text *t, const char *s, size_t len)
{
    for (size_t i = 0; i < len && t->n + 1 < t->cap; i++) t->p[t->n++] = s[i];
    if (t->cap) t->p[t->n] = '\0';
}

/* Bytes from the file: control characters, which could drive a terminal, are written as \xNN. */
static void put_text(text *t, lv_str s)
{
    for (size_t i = 0; i < s.len && t->n + 5 < t->cap; i++) {
        const unsigned char c = (unsigned char)s.s[i];
        char esc[5];
        if (c >= 0x20 && c != 0x7f) {
            put_raw(t, (const char *)&s.s[i], 1);
        } else {
            snprintf(esc, sizeof esc, "\\x%02x", c);
            put_raw(t, c == '\n' ? "\\n" : esc, c == '\n' ? 2 : 4);
        }
    }
    /* Never end inside a UTF-8 character. */
    while (t->n && t->n + 5 >= t->cap && ((unsigned char)t->p[t->n - 1] & 0x80)) t->p[--t->n] = '\0';
}

static void put_scalar(text *t, uint32_t type, const uint8_t *p)
{
    char buf[48] = "?";
    union { uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; float f32;
            uint64_t u64; int64_t i64; double f64; } v;
    static const uint8_t size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    memcpy(&v, p, size[type]);
    switch (type) {
    case LV_GGUF_U8: snprintf(buf, sizeof buf, "%u", v.u8); break;
    case LV_GGUF_I8: snprintf(buf, sizeof buf, "%d", v.i8); break;
    case LV_GGUF_U16: snprintf(buf, sizeof buf, "%u", v.u16); break;
    case LV_GGUF_I16: snprintf(buf, sizeof buf, "%d", v.i16); break;
    case LV_GGUF_U32: snprintf(buf, sizeof buf, "%" PRIu32, v.u32); break;
    case LV_GGUF_I32: snprintf(buf, sizeof buf, "%" PRId32, v.i32); break;
    case LV_GGUF_F32: snprintf(buf, sizeof buf, "%.9g", (double)v.f32); break;
    case LV_GGUF_BOOL: snprintf(buf, sizeof buf, "%s", v.u8 ? "true" : "false"); break;
    case LV_GGUF_U64: snprintf(buf, sizeof buf, "%" PRIu64, v.u64); break;
    case LV_GGUF_I64: snprintf(buf, sizeof buf, "%" PRId64, v.i64); break;
    case LV_GGUF_F64: snprintf(buf, sizeof buf, "%.17g", v.f64); break;
    default: break;
    }
    put_raw(t, buf, strlen(buf));
}

static void put_value(text *t, const lv_gguf *g, const lv_gguf_kv *kv, uint64_t i)
{
    static const uint8_t size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    const uint32_t type = kv->type == LV_GGUF_ARRAY ? kv->elem_type : kv->type;
    if (type == LV_GGUF_STRING) put_text(t, lv_gguf_str(g, kv, i));
    else put_scalar(t, type, (const uint8_t *)kv->data + i * size[type]);
}

int lever_info_key(const lever_info *info, size_t i, char *key, size_t key_cap, char *value, size_t value_cap)
{
    if (i >= lv_gguf_n_kv(info->gguf) || !key_cap || !value_cap) return LEVER_EINVAL;
    const lv_gguf_kv *kv = lv_gguf_kv_at(info->gguf, i);
    text k = { key, key_cap, 0 }, v = { value, value_cap, 0 };
    *key = *value = '\0';
    put_text(&k, kv->key);
    if (kv->type != LV_GGUF_ARRAY) {
        put_value(&v, info->gguf, kv, 0);
        return LEVER_OK;
    }
    char head[40];
    snprintf(head, sizeof head, "[%" PRIu64 "]", kv->n);
    put_raw(&v, head, strlen(head));
    for (uint64_t e = 0; e < kv->n && e < 6; e++) {
        put_raw(&v, e ? ", " : " ", e ? 2 : 1);
        put_value(&v, info->gguf, kv, e);
    }
    if (kv->n > 6) put_raw(&v, ", ...", 5);
    return LEVER_OK;
}

int lever_info_tensor(const lever_info *info, size_t i, lever_tensor *out)
{
    if (i >= lv_gguf_n_tensors(info->gguf)) return LEVER_EINVAL;
    const lv_gguf_tensor *t = lv_gguf_tensor_at(info->gguf, i);
    *out = (lever_tensor){ .type = lv_type_traits_get(t->type)->name, .n_dims = t->n_dims,
                           .offset = t->offset, .bytes = t->bytes };
    text name = { out->name, sizeof out->name, 0 };
    put_text(&name, t->name);
    memcpy(out->dims, t->dims, sizeof out->dims);
    return LEVER_OK;
}

static void list_writable(char *buf, size_t cap)
{
    text list = { buf, cap, 0 };
    for (uint32_t type = 0; type < LV_TYPE_COUNT; type++) {
        const lv_type_traits *t = lv_type_traits_get(type);
        if (!t || !t->quantize) continue;
        if (list.n) put_raw(&list, ", ", 2);
        put_raw(&list, t->name, strlen(t->name));
    }
}

static int writable_type(const char *name, lever_error *err)
{
    char names[256];
    const int id = lv_type_from_name(name);
    if (id >= 0 && lv_type_traits_get((uint32_t)id)->quantize) return id;
    list_writable(names, sizeof names);
    return lv_fail(err, LEVER_EINVAL, 0, "weight type '%s' can not be written; choose one of: %s", name,
                   names);
}

int lever_quantize(const char *in, const char *out, const char *type,
                   void (*progress)(void *user, uint64_t done, uint64_t total), void *user, lever_error *err)
{
    const int id = writable_type(type, err);
    return id < 0 ? id : lv_gguf_quantize(in, out, (uint32_t)id, NULL, progress, user, err);
}

/* An exit predictor that lies beside the small model grows with it. */
static int grow_exit(const char *in, const char *out, bool *done, lever_error *err)
{
    char small[1024], big[1024];
    lv_file file;
    if (lv_exit_path(in, small, sizeof small) < 0 || lv_exit_path(out, big, sizeof big) < 0) return LEVER_OK;
    const int there = lv_file_open(&file, small, err);
    if (there < 0) return there == LEVER_ENOMEM ? there : LEVER_OK;
    lv_file_close(&file);
    *done = true;
    return lv_grow_exit(in, small, out, big, err);
}

int lever_grow(const char *in, const char *out, const char *shape, const char *type, uint64_t seed,
               lever_grow_result *result, void (*progress)(void *user, uint64_t done, uint64_t total),
               void *user, lever_error *err)
{
    lv_grow_shape s;
    lv_grow_result r;
    const int id = writable_type(type, err);
    LEVER_TRY(id);
    LEVER_TRY(lv_grow_shape_parse(&s, shape, err));
    LEVER_TRY(lv_grow(in, out, &s, (uint32_t)id, seed, &r, progress, user, err));
    bool with_exit = false;
    LEVER_TRY(grow_exit(in, out, &with_exit, err));
    if (!result) return LEVER_OK;
    *result = (lever_grow_result){ .n_tensors = r.n_tensors,
                                   .bytes = r.bytes,
                                   .n_embd = r.shape.n_embd,
                                   .n_layers = r.shape.n_layers,
                                   .n_heads = r.shape.n_heads,
                                   .n_kv_heads = r.shape.n_kv_heads,
                                   .head_dim = r.shape.head_dim,
                                   .n_ff = r.shape.n_ff,
                                   .n_vocab = r.shape.n_vocab,
                                   .tied = r.shape.tied != 0,
                                   .exact = r.exact,
                                   .with_exit = with_exit };
    memcpy(result->why, r.why, sizeof result->why);
    return LEVER_OK;
}
