/* The weight map: which tensor of the file is which weight, checked against the shape the
 * architecture's equations need. SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/state.h"

uint64_t lv_model_dim(const lv_hparams *h, uint8_t dim)
{
    switch ((enum lv_dim)dim) {
    case LV_DIM_EMBD: return h->n_embd;
    case LV_DIM_Q: return (uint64_t)h->n_heads * h->head_dim;
    case LV_DIM_KV: return (uint64_t)h->n_kv_heads * h->head_dim;
    case LV_DIM_HEAD: return h->head_dim;
    case LV_DIM_FF: return h->n_ff;
    case LV_DIM_VECTOR: break;
    }
    return 1;
}

static bool is_vector(const lv_tensor_spec *spec)
{
    return spec->rows == LV_DIM_VECTOR;
}

static int wrong_shape(const lv_gguf_tensor *t, const char *name, const char *want, lever_error *err)
{
    char found[96];
    int at = 0;
    for (uint32_t d = 0; d < t->n_dims && d < 4; d++)
        at += snprintf(found + at, sizeof found - (size_t)at, "%s%" PRIu64, d ? ", " : "", t->dims[d]);
    return lv_fail(err, LEVER_EFORMAT, 0, "tensor '%s' has shape [%s], expected [%s]", name, found, want);
}

static int find(const lv_model *m, const char *name, const lv_gguf_tensor **t, lever_error *err)
{
    *t = lv_gguf_find_tensor(m->gguf, name);
    if (!*t) return lv_fail(err, LEVER_EFORMAT, 0, "tensor '%s' is missing", name);
    const uint64_t size = m->file.size_bytes;
    if ((*t)->bytes > size || (*t)->offset > size - (*t)->bytes)
        return lv_fail(err, LEVER_EFORMAT, 0,
                       "tensor '%s' (%" PRIu64 " bytes at %" PRIu64 ") ends past the file's %" PRIu64
                       " bytes",
                       name, (*t)->bytes, (*t)->offset, size);
    return LEVER_OK;
}

/* Shape, bytes and offset of matrix `name` [rows][cols] into *w; the type is checked by the caller. */
static int map_matrix(const lv_model *m, lv_model_weight *w, const char *name, uint64_t rows, uint64_t cols,
                      lever_error *err)
{
    const lv_gguf_tensor *t;
    LEVER_TRY(find(m, name, &t, err));
    if (t->n_dims > 2 || t->dims[0] != rows || t->dims[1] != cols) {
        char want[48];
        snprintf(want, sizeof want, "%" PRIu64 ", %" PRIu64, rows, cols);
        return wrong_shape(t, name, want, err);
    }
    const size_t row_bytes = lv_type_row_bytes(t->type, cols);
    if (!row_bytes || t->bytes != rows * row_bytes)
        return lv_fail(err, LEVER_EFORMAT, 0,
                       "tensor '%s': rows of %" PRIu64 " values do not fit type %" PRIu32, name, cols,
                       t->type);
    *w = (lv_model_weight){ .name = name,
                            .type = t->type,
                            .rows = rows,
                            .cols = cols,
                            .bytes = t->bytes,
                            .offset = t->offset,
                            .layer = -1 };
    return LEVER_OK;
}

static int unsupported_type(const char *name, uint32_t type, const char *why, lever_error *err)
{
    const lv_type_traits *traits = lv_type_traits_get(type);
    return lv_fail(err, LEVER_EUNSUP, 0, "tensor '%s' has type %s (%" PRIu32 "), %s", name,
                   traits ? traits->name : "unknown", type, why);
}

static int map_product(const lv_model *m, lv_model_weight *w, const char *name, uint64_t rows, uint64_t cols,
                       lever_error *err)
{
    LEVER_TRY(map_matrix(m, w, name, rows, cols, err));
    if (lv_type_act_kind(w->type) < 0)
        return unsupported_type(name, w->type, "which this build can not multiply with", err);
    return LEVER_OK;
}

static int map_vector(const lv_model *m, lv_vector *v, uint64_t n, lever_error *err)
{
    const lv_gguf_tensor *t;
    LEVER_TRY(find(m, v->name, &t, err));
    if (t->n_dims != 1 || t->dims[0] != n) {
        char want[24];
        snprintf(want, sizeof want, "%" PRIu64, n);
        return wrong_shape(t, v->name, want, err);
    }
    if (t->type != LV_TYPE_F32 && t->type != LV_TYPE_F16 && t->type != LV_TYPE_BF16)
        return unsupported_type(v->name, t->type, "expected F32, F16 or BF16", err);
    v->n = n;
    v->type = t->type;
    v->offset = t->offset;
    v->bytes = t->bytes;
    return LEVER_OK;
}

static int map_layer(lv_model *m, uint32_t layer, lever_error *err)
{
    for (size_t i = 0; i < m->arch->n_tensors; i++) {
        const lv_tensor_spec *spec = &m->arch->tensors[i];
        const uint64_t rows = lv_model_dim(&m->h, spec->rows), cols = lv_model_dim(&m->h, spec->cols);
        if (is_vector(spec)) {
            lv_vector *v = &m->vectors[layer * m->vecs_per_layer + m->ordinal[i]];
            snprintf(v->name, sizeof v->name, "blk.%" PRIu32 ".%s", layer, spec->name);
            LEVER_TRY(map_vector(m, v, cols, err));
        } else {
            const size_t at = layer * m->mats_per_layer + m->ordinal[i];
            char *name = m->places[at].name;
            snprintf(name, LV_TENSOR_NAME_MAX, "blk.%" PRIu32 ".%s", layer, spec->name);
            LEVER_TRY(map_product(m, &m->weights[at], name, rows, cols, err));
            m->weights[at].layer = (int32_t)layer;
        }
    }
    return LEVER_OK;
}

static int map_ends(lv_model *m, lever_error *err)
{
    const lv_hparams *h = &m->h;
    LEVER_TRY(map_matrix(m, &m->embd, "token_embd.weight", h->n_vocab, h->n_embd, err));
    if (!lv_type_traits_get(m->embd.type)->dequantize)
        return unsupported_type(m->embd.name, m->embd.type, "which this build can not read", err);
    m->tied = !lv_gguf_find_tensor(m->gguf, "output.weight");
    char *head = m->places[m->n_weights - 1].name;
    snprintf(head, LV_TENSOR_NAME_MAX, "%s", m->tied ? "token_embd.weight" : "output.weight");
    LEVER_TRY(map_product(m, &m->weights[m->n_weights - 1], head, h->n_vocab, h->n_embd, err));

    lv_vector *norm = &m->vectors[h->n_layers * m->vecs_per_layer];
    snprintf(norm->name, sizeof norm->name, "output_norm.weight");
    LEVER_TRY(map_vector(m, norm, h->n_embd, err));
    if (!m->has_rope_factors) return LEVER_OK;
    snprintf(norm[1].name, sizeof norm[1].name, "rope_freqs.weight");
    return map_vector(m, &norm[1], h->n_rot / 2, err);
}

/* A tensor that no equation uses (a bias, an expert, another norm) means that the file holds another
 * model than the one we would run: wrong tokens. Called only when the counts differ. */
static int refuse_unused(const lv_model *m, lever_error *err)
{
    for (size_t i = 0; i < lv_gguf_n_tensors(m->gguf); i++) {
        const lv_str name = lv_gguf_tensor_at(m->gguf, i)->name;
        bool used = name.len == 17 && !memcmp(name.s, "token_embd.weight", 17);
        for (size_t j = 0; j < m->n_weights && !used; j++)
            used = strlen(m->places[j].name) == name.len && !memcmp(m->places[j].name, name.s, name.len);
        for (size_t j = 0; j < m->n_vectors && !used; j++)
            used = strlen(m->vectors[j].name) == name.len && !memcmp(m->vectors[j].name, name.s, name.len);
        if (!used)
            return lv_fail(err, LEVER_EUNSUP, 0,
                           "tensor '%.*s' is not part of architecture %s as supported here",
                           (int)(name.len < 64 ? name.len : 64), name.s, m->arch->name);
    }
    return LEVER_OK;
}

int lv_model_map_weights(lv_model *m, lever_error *err)
{
    for (size_t i = 0; i < m->arch->n_tensors; i++)
        m->ordinal[i] =
            (uint8_t)(is_vector(&m->arch->tensors[i]) ? m->vecs_per_layer++ : m->mats_per_layer++);
    m->has_rope_factors = m->arch->rope_factors && lv_gguf_find_tensor(m->gguf, "rope_freqs.weight");
    m->n_weights = m->h.n_layers * m->mats_per_layer + 1;
    m->n_vectors = m->h.n_layers * m->vecs_per_layer + 1 + m->has_rope_factors;
    m->weights = lv_alloc_array(m->n_weights, sizeof *m->weights, 64);
    m->places = lv_alloc_array(m->n_weights, sizeof *m->places, 64);
    m->vectors = lv_alloc_array(m->n_vectors, sizeof *m->vectors, 64);
    if (!m->weights || !m->places || !m->vectors)
        return lv_fail(err, LEVER_ENOMEM, 0, "weight map of %" PRIu32 " layers", m->h.n_layers);
    for (uint32_t l = 0; l < m->h.n_layers; l++) LEVER_TRY(map_layer(m, l, err));
    LEVER_TRY(map_ends(m, err));
    const size_t n_used = m->n_weights + m->n_vectors + !m->tied;
    return n_used == lv_gguf_n_tensors(m->gguf) ? LEVER_OK : refuse_unused(m, err);
}
