/* GGUF metadata from hostile bytes: parse, then touch everything the reader hands out.
 * SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)                                                 \
    do {                                                             \
        if (!(cond)) {                                               \
            fprintf(stderr, "fuzz_gguf: %s does not hold\n", #cond); \
            abort();                                                 \
        }                                                            \
    } while (0)

static volatile uint8_t sink;

static void touch(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) sink ^= ((const uint8_t *)p)[i];
}

static void touch_kv(const lv_gguf *g, const lv_gguf_kv *kv)
{
    static const uint8_t size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    const uint32_t type = kv->type == LV_GGUF_ARRAY ? kv->elem_type : kv->type;
    touch(kv->key.s, kv->key.len);
    touch(kv->data, (size_t)kv->n * size[type]);
    for (uint64_t i = 0; type == LV_GGUF_STRING && i < kv->n; i++) {
        const lv_str s = lv_gguf_str(g, kv, i);
        touch(s.s, s.len);
    }
    char key[256];
    if (kv->key.len >= sizeof key || memchr(kv->key.s, 0, kv->key.len)) return;
    memcpy(key, kv->key.s, kv->key.len);
    key[kv->key.len] = '\0';
    DEMAND(lv_gguf_find(g, key) == kv);
    uint32_t u32;
    uint64_t u64;
    float f32;
    bool b;
    lv_str s;
    lever_error e;
    lv_gguf_get_u32(g, key, &u32, &e);
    lv_gguf_get_u64(g, key, &u64, &e);
    lv_gguf_get_f32(g, key, &f32, &e);
    lv_gguf_get_bool(g, key, &b, &e);
    if (lv_gguf_get_str(g, key, &s, &e) == 1) touch(s.s, s.len);
}

static void touch_tensor(const lv_gguf *g, const lv_gguf_tensor *t, uint64_t file_bytes)
{
    touch(t->name.s, t->name.len);
    DEMAND(t->n_dims >= 1 && t->n_dims <= 4 && lv_type_traits_get(t->type));
    DEMAND(t->offset >= lv_gguf_data_offset(g) && t->bytes > 0);
    DEMAND(t->offset <= file_bytes && t->bytes <= file_bytes - t->offset);
    const uint64_t row_bytes = lv_type_row_bytes(t->type, t->dims[t->n_dims - 1]);
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < t->n_dims; i++) rows *= t->dims[i];
    DEMAND(row_bytes && t->bytes == rows * row_bytes);
    char name[256];
    if (memchr(t->name.s, 0, t->name.len)) return;
    memcpy(name, t->name.s, t->name.len);
    name[t->name.len] = '\0';
    DEMAND(lv_gguf_find_tensor(g, name) == t);
}

static int try_parse(const uint8_t *data, size_t n, uint64_t file_bytes)
{
    const size_t live = lv_alloc_live();
    lv_gguf *g;
    lever_error e = { 0 };
    const int rc = lv_gguf_parse(&g, data, n, file_bytes, &e);
    DEMAND((rc == LEVER_OK) == (g != NULL));
    if (rc < 0) DEMAND(e.code == rc && e.msg[0]);
    if (g) {
        DEMAND(lv_gguf_memory_bytes(g) <= 1024 + 8 * n);
        for (size_t i = 0; i < lv_gguf_n_kv(g); i++) touch_kv(g, lv_gguf_kv_at(g, i));
        for (size_t i = 0; i < lv_gguf_n_tensors(g); i++)
            touch_tensor(g, lv_gguf_tensor_at(g, i), file_bytes);
    }
    lv_gguf_close(&g);
    DEMAND(lv_alloc_live() == live);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int rc = try_parse(data, size, size);
    DEMAND(rc != LEVER_EAGAIN);
    /* With half of it in memory the answer is the same, or it is to read more. */
    uint8_t *half = malloc(size / 2 + 1);
    if (!half) return 0;
    memcpy(half, data, size / 2);
    const int part = try_parse(half, size / 2, size);
    DEMAND(part == LEVER_EAGAIN || part == rc);
    free(half);
    return 0;
}
