/* The models the forward tests run: the goldens of three architectures (F32) and the llama one again
 * in F16, BF16, Q8_0, Q4_0 and a mixture. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_FORWARD_MODELS_H
#define LEVER_TESTS_FORWARD_MODELS_H

#include <unistd.h>

#include "support/check.h"

#include "gguf/gguf.h"
#include "os/file.h"

enum { MODEL_VOCAB = 160, N_GOLDENS = 3, N_COPIES = 5, N_MODELS = N_GOLDENS + N_COPIES };

static char model_paths[N_MODELS][128];

static inline const char *model_path(size_t i)
{
    return model_paths[i];
}

/* Types of a copy's matrices, taken in turn. */
static const uint32_t copy_types[N_COPIES][3] = {
    { LV_TYPE_F16, LV_TYPE_F16, LV_TYPE_F16 },    { LV_TYPE_BF16, LV_TYPE_BF16, LV_TYPE_BF16 },
    { LV_TYPE_Q8_0, LV_TYPE_Q8_0, LV_TYPE_Q8_0 }, { LV_TYPE_Q4_0, LV_TYPE_Q4_0, LV_TYPE_Q4_0 },
    { LV_TYPE_Q4_0, LV_TYPE_F32, LV_TYPE_Q8_0 },
};

static inline int copy_tensor(lv_gguf_writer *w, const lv_gguf_tensor *t, const lv_file *f, uint32_t type,
                              lever_error *err)
{
    const size_t n = (size_t)(t->bytes / sizeof(float));
    const size_t bytes = lv_type_row_bytes(type, t->dims[1]) * (size_t)t->dims[0];
    float *values = malloc(n * sizeof *values);
    void *packed = malloc(bytes);
    int rc = lv_file_read(f, values, n * sizeof *values, t->offset, err);
    if (rc == LEVER_OK) {
        if (type == LV_TYPE_F32)
            memcpy(packed, values, bytes);
        else
            lv_type_traits_get(type)->quantize(packed, values, n);
        rc = lv_gguf_write_data(w, packed, bytes, err);
    }
    free(values);
    free(packed);
    return rc;
}

static inline uint32_t copy_type(const lv_gguf_tensor *t, size_t i, const uint32_t *types)
{
    return t->n_dims == 2 ? types[i % 3] : (uint32_t)LV_TYPE_F32;
}

static inline int requantise(const char *from, const char *to, const uint32_t *types, lever_error *err)
{
    lv_gguf *g = NULL;
    lv_gguf_writer *w = NULL;
    lv_file f;
    LEVER_TRY(lv_file_open(&f, from, err));
    int rc = lv_gguf_open(&g, from, err);
    if (rc == LEVER_OK) rc = lv_gguf_writer_open(&w, to, err);
    for (size_t i = 0; rc == LEVER_OK && i < lv_gguf_n_kv(g); i++)
        rc = lv_gguf_put_kv(w, g, lv_gguf_kv_at(g, i), err);
    for (size_t i = 0; rc == LEVER_OK && i < lv_gguf_n_tensors(g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(g, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.s);
        rc = lv_gguf_put_tensor(w, name, copy_type(t, i, types), t->n_dims, t->dims, err);
    }
    for (size_t i = 0; rc == LEVER_OK && i < lv_gguf_n_tensors(g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(g, i);
        if (t->n_dims == 2) {
            rc = copy_tensor(w, t, &f, copy_type(t, i, types), err);
        } else {
            lv_gguf_tensor row = *t;
            row.dims[1] = row.dims[0];
            row.dims[0] = 1;
            rc = copy_tensor(w, &row, &f, LV_TYPE_F32, err);
        }
    }
    if (rc == LEVER_OK) rc = lv_gguf_writer_finish(w, err);
    lv_gguf_writer_close(&w);
    lv_gguf_close(&g);
    lv_file_close(&f);
    return rc;
}

static inline void make_models(void)
{
    const char *goldens[N_GOLDENS] = { "llama", "qwen2", "qwen3" };
    const char *dir = getenv("TMPDIR");
    lever_error e = { 0 };
    for (size_t i = 0; i < N_GOLDENS; i++)
        snprintf(model_paths[i], sizeof model_paths[i], "tests/golden/%s.gguf", goldens[i]);
    for (size_t i = 0; i < N_COPIES; i++) {
        char *path = model_paths[N_GOLDENS + i];
        snprintf(path, sizeof model_paths[0], "%s/lever-forward-%ld-%zu.gguf", dir ? dir : "/tmp",
                 (long)getpid(), i);
        CHECK_OK(requantise(model_paths[0], path, copy_types[i], &e), &e);
    }
}

static inline void remove_models(void)
{
    for (size_t i = N_GOLDENS; i < N_MODELS; i++) {
        char sums[sizeof model_paths[0] + 8]; /* some tests make them */
        snprintf(sums, sizeof sums, "%s.sums", model_paths[i]);
        unlink(model_paths[i]);
        unlink(sums);
    }
}

#endif
