/* SPDX-License-Identifier: MIT */
#include "model/grow.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/grow_impl.h"
#include "model/state.h"

enum { N_AXES = LV_DIM_FF + 1, TOKEN_UNUSED = 5, TOKEN_NORMAL = 1 };

typedef struct job {
    lv_model *m; /* the small model, metadata only */
    lv_hparams small, big;
    bool tied; /* of the grown model */
    uint32_t type;
    lv_gguf_writer *w;
    lv_grow_filler fill;
    lv_grow_axis axis[N_AXES], vocab;
    float stream, norm; /* residual stream and norm weights are multiplied by these */
    float eps, q_scale; /* q_scale: query rows, for longer heads */
    uint8_t *row;       /* [row_bytes of the longest big row] */
    uint8_t *src;       /* [row of the small model] as in its file, of tensor src_of, row src_row */
    float *x, *y;       /* a small row; a big row */
    const lv_gguf_tensor *src_of;
    uint64_t src_row, done, total;
    lv_grow_result *result;
    lv_grow_progress_fn progress;
    void *user;
} job;

static void not_exact(job *j, const char *fmt, ...)
{
    va_list args;
    if (!j->result->exact) return;
    j->result->exact = false;
    va_start(args, fmt);
    vsnprintf(j->result->why, sizeof j->result->why, fmt, args);
    va_end(args);
}

/* ---- sizes ---- */

/* Heads shorter than the small model's are joined: the tensors keep their shapes. */
static int join_heads(lv_hparams *b, uint32_t head_dim, lever_error *err)
{
    const uint32_t q = b->n_heads * b->head_dim, kv = b->n_kv_heads * b->head_dim;
    if (q % head_dim || kv % head_dim)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "%" PRIu32 " heads and %" PRIu32 " KV heads of %" PRIu32
                       " can not be joined to heads of %" PRIu32,
                       b->n_heads, b->n_kv_heads, b->head_dim, head_dim);
    b->head_dim = head_dim;
    b->n_heads = q / head_dim;
    b->n_kv_heads = kv / head_dim;
    return LEVER_OK;
}

static int check_sizes(const job *j, lever_error *err)
{
    const lv_hparams *s = &j->small, *b = &j->big;
    const struct {
        const char *name;
        uint32_t small, big;
    } sizes[] = {
        { "embd", s->n_embd, b->n_embd },
        { "layers", s->n_layers, b->n_layers },
        { "ff", s->n_ff, b->n_ff },
        { "vocab", s->n_vocab, b->n_vocab },
        { "kv-heads (with copies for all query heads)", s->n_kv_heads * lv_grow_kv_copies(s, b),
          b->n_kv_heads },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].big < sizes[i].small)
            return lv_fail(err, LEVER_EINVAL, 0,
                           "shape: %s is %" PRIu32 ", but the small model needs %" PRIu32, sizes[i].name,
                           sizes[i].big, sizes[i].small);
    const uint64_t cols[] = { b->n_embd, b->n_ff, (uint64_t)b->n_heads * b->head_dim };
    const lv_type_traits *t = lv_type_traits_get(j->type);
    for (int i = 0; i < 3; i++)
        if (cols[i] % t->block_len)
            return lv_fail(err, LEVER_EINVAL, 0,
                           "shape: rows of %" PRIu64 " weights are no whole %s blocks of %" PRIu32, cols[i],
                           t->name, t->block_len);
    return LEVER_OK;
}

static uint32_t or_small(uint32_t v, uint32_t small)
{
    return v ? v : small;
}

static int set_sizes(job *j, const lv_grow_shape *shape, lever_error *err)
{
    const lv_hparams *s = &j->small;
    lv_hparams *b = &j->big;
    *b = *s;
    b->n_embd = or_small(shape->n_embd, s->n_embd);
    b->n_layers = or_small(shape->n_layers, s->n_layers);
    b->n_heads = or_small(shape->n_heads, s->n_heads);
    b->n_kv_heads = or_small(shape->n_kv_heads, s->n_kv_heads);
    b->head_dim = or_small(shape->head_dim, s->head_dim);
    b->n_ff = or_small(shape->n_ff, s->n_ff);
    b->n_vocab = or_small(shape->n_vocab, s->n_vocab);
    j->tied = shape->tied < 0 ? j->m->tied : shape->tied;
    if (b->n_layers > 1u << 10 || b->n_heads > 1u << 12 || b->head_dim > 1u << 10 || b->n_embd > 1u << 17 ||
        b->n_ff > 1u << 20 || b->n_kv_heads > b->n_heads || b->n_heads % b->n_kv_heads)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "shape: no such model: embd %" PRIu32 ", layers %" PRIu32 ", heads %" PRIu32
                       ", kv-heads %" PRIu32 ", head-dim %" PRIu32 ", ff %" PRIu32,
                       b->n_embd, b->n_layers, b->n_heads, b->n_kv_heads, b->head_dim, b->n_ff);
    if (b->head_dim < s->head_dim) LEVER_TRY(join_heads(b, s->head_dim, err));
    if (j->tied && !j->m->tied)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "shape: tied=1, but the small model's output head is not its embedding");
    return check_sizes(j, err);
}

/* ---- factors (grow.h), and whether they are exact ---- */

static bool power_of_four(uint32_t a, uint32_t b)
{
    if (a % b) return false;
    for (a /= b; a % 4 == 0; a /= 4) {
    }
    return a == 1;
}

double lv_grow_stream_factor(uint32_t n_small, uint32_t n_big)
{
    double t = 1;
    while (2 * t * t <= (double)n_big / n_small) t *= 2;
    return t;
}

static void set_factors(job *j)
{
    const lv_hparams *s = &j->small, *b = &j->big;
    const double ratio = (double)b->n_embd / s->n_embd, t = lv_grow_stream_factor(s->n_embd, b->n_embd);
    const double rest = t * t / ratio; /* 1/2 .. 2 */
    j->stream = (float)t;
    j->norm = (float)(sqrt(rest) / t);
    j->eps = (float)(s->norm_eps * rest);
    j->q_scale = (float)sqrt((double)b->head_dim / s->head_dim);

    if (!power_of_four(b->n_embd, s->n_embd))
        not_exact(j, "the widths' ratio, %" PRIu32 "/%" PRIu32 ", is no power of four", b->n_embd, s->n_embd);
    if (b->head_dim != s->head_dim && (s->qk_norm || !power_of_four(b->head_dim, s->head_dim)))
        not_exact(j, "heads of %" PRIu32 " became heads of %" PRIu32, s->head_dim, b->head_dim);
}

static int set_axes(job *j, lever_error *err)
{
    for (uint8_t d = LV_DIM_EMBD; d < N_AXES; d++)
        LEVER_TRY(lv_grow_axis_init(&j->axis[d], d, &j->small, &j->big, err));
    LEVER_TRY(lv_grow_axis_init(&j->vocab, LV_DIM_FF, &j->small, &j->big, err));
    j->vocab.n_big = j->big.n_vocab;
    j->vocab.n_small = j->vocab.runs[0].n = j->small.n_vocab;

    /* Sums run in blocks of the type, or in 16 lanes. */
    const uint32_t len = lv_type_traits_get(j->type)->block_len, block = len < 16 ? 16 : len;
    static const struct {
        uint8_t dim;
        const char *name;
    } inputs[] = { { LV_DIM_EMBD, "width" }, { LV_DIM_Q, "attention" }, { LV_DIM_FF, "feed-forward" } };
    for (int i = 0; i < 3; i++)
        if (!lv_grow_axis_whole(&j->axis[inputs[i].dim], block))
            not_exact(j, "the small model's %s does not fill blocks of %" PRIu32, inputs[i].name, block);
    return LEVER_OK;
}

/* ---- keys ---- */

static bool is_key(const lv_gguf_kv *kv, const char *arch, const char *name)
{
    char key[96];
    const int n = snprintf(key, sizeof key, "%s%s%s", arch, *arch ? "." : "", name);
    return kv->key.len == (size_t)n && !memcmp(kv->key.s, key, (size_t)n);
}

typedef struct size_key {
    const char *name;
    uint32_t v;
} size_key;

enum { N_SIZE_KEYS = 9 };

/* The keys that tell a shape, below the architecture's name. */
static void size_keys(const lv_hparams *h, size_key k[N_SIZE_KEYS])
{
    const size_key all[N_SIZE_KEYS] = {
        { "embedding_length", h->n_embd },
        { "block_count", h->n_layers },
        { "feed_forward_length", h->n_ff },
        { "attention.head_count", h->n_heads },
        { "attention.head_count_kv", h->n_kv_heads },
        { "attention.key_length", h->head_dim },
        { "attention.value_length", h->head_dim },
        { "rope.dimension_count", h->n_rot },
        { "vocab_size", h->n_vocab },
    };
    memcpy(k, all, sizeof all);
}

static const char eps_key[] = "attention.layer_norm_rms_epsilon";

static int put_sizes(job *j, lever_error *err)
{
    size_key sizes[N_SIZE_KEYS];
    char key[96];
    size_keys(&j->big, sizes);
    for (size_t i = 0; i < N_SIZE_KEYS; i++) {
        snprintf(key, sizeof key, "%s.%s", j->big.arch, sizes[i].name);
        LEVER_TRY(lv_gguf_put_u32(j->w, key, sizes[i].v, err));
    }
    snprintf(key, sizeof key, "%s.%s", j->big.arch, eps_key);
    LEVER_TRY(lv_gguf_put_f32(j->w, key, j->eps, err));
    const int number = lv_gguf_file_type(j->type);
    return number < 0 ? LEVER_OK : lv_gguf_put_u32(j->w, "general.file_type", (uint32_t)number, err);
}

static int put_name(job *j, const lv_grow_shape *shape, lever_error *err)
{
    lv_str old = { "", 0 };
    char name[160];
    LEVER_TRY(lv_gguf_get_str(j->m->gguf, "general.name", &old, err));
    const int n =
        snprintf(name, sizeof name, "%.*s, grown to the shape of %s", (int)(old.len < 80 ? old.len : 80),
                 old.s, shape->name[0] ? shape->name : "a larger model");
    return lv_gguf_put_str(j->w, "general.name", name, (size_t)n, err);
}

/* Added tokens are marked unused: they are never sampled. */
static int put_tokens(job *j, const lv_gguf_kv *old, lever_error *err)
{
    const size_t n = j->big.n_vocab, n_small = j->small.n_vocab;
    enum { NAME = 20 };
    lv_str *s = lv_alloc_array(n, sizeof *s, 16);
    char *names = lv_alloc_array(n, NAME, 16);
    int rc = s && names ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "%zu tokens", n);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        if (i < n_small)
            s[i] = lv_gguf_str(j->m->gguf, old, i);
        else
            s[i] = (lv_str){ names + i * NAME, (size_t)snprintf(names + i * NAME, NAME, "[PAD%zu]", i) };
    }
    if (rc >= 0) rc = lv_gguf_put_strs(j->w, "tokenizer.ggml.tokens", s, n, err);
    lv_free(s);
    lv_free(names);
    return rc;
}

static int put_token_types(job *j, const lv_gguf_kv *old, lever_error *err)
{
    const size_t n = j->big.n_vocab;
    int32_t *v = lv_alloc_array(n, sizeof *v, 16);
    if (!v) return lv_fail(err, LEVER_ENOMEM, 0, "types of %zu tokens", n);
    for (size_t i = 0; i < n; i++) v[i] = i < j->small.n_vocab ? TOKEN_NORMAL : TOKEN_UNUSED;
    if (old && old->elem_type == LV_GGUF_I32 && old->n <= n) memcpy(v, old->data, old->n * sizeof *v);
    const int rc = lv_gguf_put_i32s(j->w, "tokenizer.ggml.token_type", v, n, err);
    lv_free(v);
    return rc;
}

static int put_scores(job *j, const lv_gguf_kv *old, lever_error *err)
{
    const size_t n = j->big.n_vocab;
    if (old->elem_type != LV_GGUF_F32 || old->n > n) return lv_gguf_put_kv(j->w, j->m->gguf, old, err);
    float *v = lv_alloc_array(n, sizeof *v, 16);
    if (!v) return lv_fail(err, LEVER_ENOMEM, 0, "scores of %zu tokens", n);
    for (size_t i = 0; i < n; i++) v[i] = -1e4f;
    memcpy(v, old->data, old->n * sizeof *v);
    const int rc = lv_gguf_put_f32s(j->w, "tokenizer.ggml.scores", v, n, err);
    lv_free(v);
    return rc;
}

/* Written anew rather than copied. */
static bool is_replaced(const job *j, const lv_gguf_kv *kv)
{
    size_key sizes[N_SIZE_KEYS];
    size_keys(&j->big, sizes);
    for (size_t i = 0; i < N_SIZE_KEYS; i++)
        if (is_key(kv, j->small.arch, sizes[i].name)) return true;
    if (is_key(kv, j->small.arch, eps_key)) return true;
    return is_key(kv, "general", "name") || is_key(kv, "general", "file_type") ||
           is_key(kv, "tokenizer.ggml", "tokens") || is_key(kv, "tokenizer.ggml", "scores") ||
           is_key(kv, "tokenizer.ggml", "token_type");
}

static int put_keys(job *j, const lv_grow_shape *shape, lever_error *err)
{
    const lv_gguf *g = j->m->gguf;
    for (size_t i = 0; i < lv_gguf_n_kv(g); i++)
        if (!is_replaced(j, lv_gguf_kv_at(g, i)))
            LEVER_TRY(lv_gguf_put_kv(j->w, g, lv_gguf_kv_at(g, i), err));
    LEVER_TRY(put_name(j, shape, err));
    LEVER_TRY(put_sizes(j, err));
    const lv_gguf_kv *tokens = lv_gguf_find(g, "tokenizer.ggml.tokens");
    if (!tokens || tokens->type != LV_GGUF_ARRAY || tokens->elem_type != LV_GGUF_STRING)
        return lv_fail(err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.tokens' is missing or no list of texts");
    LEVER_TRY(put_tokens(j, tokens, err));
    LEVER_TRY(put_token_types(j, lv_gguf_find(g, "tokenizer.ggml.token_type"), err));
    const lv_gguf_kv *scores = lv_gguf_find(g, "tokenizer.ggml.scores");
    return scores ? put_scores(j, scores, err) : LEVER_OK;
}

/* ---- one matrix ---- */

static size_t blocks_bytes(uint32_t type, uint64_t n)
{
    return lv_type_row_bytes(type, n);
}

static int read_row(job *j, const lv_gguf_tensor *t, uint64_t row, lever_error *err)
{
    const size_t bytes = lv_type_row_bytes(t->type, t->dims[t->n_dims - 1]);
    if (j->src_of == t && j->src_row == row) return LEVER_OK;
    j->src_of = NULL;
    LEVER_TRY(lv_file_read(&j->m->file, j->src, bytes, t->offset + row * bytes, err));
    j->src_of = t;
    j->src_row = row;
    return LEVER_OK;
}

/* Row `row` of the small tensor over the filled big row. */
static int overlay_row(job *j, const lv_gguf_tensor *t, uint64_t row, const lv_grow_axis *cols, float scale,
                       lever_error *err)
{
    const lv_type_traits *from = lv_type_traits_get(t->type), *to = lv_type_traits_get(j->type);
    const bool whole = lv_grow_axis_whole(cols, to->block_len), copy = whole && t->type == j->type;
    LEVER_TRY(read_row(j, t, row, err));
    if (!copy) from->dequantize(j->x, j->src, cols->n_small);
    if (!whole) memset(j->y, 0, cols->n_big * sizeof *j->y);
    for (size_t i = 0; i < cols->n_runs && !whole; i++)
        memcpy(j->y + cols->runs[i].big, j->x + cols->runs[i].small, cols->runs[i].n * sizeof *j->y);
    for (size_t i = 0; i < cols->n_runs; i++) {
        const lv_grow_run *r = &cols->runs[i];
        const uint64_t len = to->block_len, first = r->big / len, end = (r->big + r->n + len - 1) / len;
        uint8_t *at = j->row + first * to->block_bytes;
        if (copy)
            memcpy(at, j->src + r->small / len * to->block_bytes, (end - first) * to->block_bytes);
        else
            to->quantize(at, whole ? j->x + r->small : j->y + first * len, (end - first) * len);
    }
    bool exact = true;
    for (size_t i = 0; i < cols->n_runs; i++) {
        const lv_grow_run *r = &cols->runs[i];
        const uint64_t len = to->block_len, first = r->big / len, end = (r->big + r->n + len - 1) / len;
        const bool shared = i && first < (cols->runs[i - 1].big + cols->runs[i - 1].n + len - 1) / len;
        const uint64_t skip = shared ? 1 : 0; /* the block two runs meet in is scaled once */
        exact &= lv_grow_scale(j->type, j->row + (first + skip) * to->block_bytes, end - first - skip, scale);
    }
    if (!exact) not_exact(j, "a block scale of %.*s does not fit 16 bits", (int)t->name.len, t->name.s);
    return LEVER_OK;
}

/* small NULL: a layer that adds nothing. */
static int put_matrix(job *j, const lv_gguf_tensor *small, const lv_grow_axis *rows, const lv_grow_axis *cols,
                      float scale, lever_error *err)
{
    const size_t bytes = blocks_bytes(j->type, cols->n_big);
    for (uint64_t r = 0; r < rows->n_big; r++) {
        int64_t from = small ? lv_grow_axis_find(rows, r) : rows->must_zero ? LV_GROW_ZERO : LV_GROW_ADDED;
        if (rows == &j->vocab && from < 0)
            from = 0; /* an added token looks like token 0, which wins every tie */
        lv_grow_fill(&j->fill, j->row, cols->n_big, from == LV_GROW_ZERO || (from >= 0 && !cols->silent));
        if (from >= 0) LEVER_TRY(overlay_row(j, small, (uint64_t)from, cols, scale, err));
        LEVER_TRY(lv_gguf_write_data(j->w, j->row, bytes, err));
        j->done += bytes;
        if (j->progress && r % 256 == 255) j->progress(j->user, j->done, j->total);
    }
    return LEVER_OK;
}

/* ---- one norm or bias ---- */

static int put_vector(job *j, const lv_gguf_tensor *small, const lv_grow_axis *axis, float scale, float rest,
                      lever_error *err)
{
    const uint64_t n = axis->n_big;
    for (uint64_t i = 0; i < n; i++) j->y[i] = rest;
    if (small) {
        LEVER_TRY(read_row(j, small, 0, err));
        lv_type_traits_get(small->type)->dequantize(j->x, j->src, axis->n_small);
        for (uint64_t i = 0; i < n; i++) {
            const int64_t from = lv_grow_axis_find(axis, i);
            if (from >= 0) j->y[i] = j->x[from] * scale;
        }
    }
    j->done += n * sizeof(float);
    return lv_gguf_write_data(j->w, j->y, n * sizeof(float), err);
}

static bool starts(const char *name, const char *with)
{
    return !strncmp(name, with, strlen(with));
}

/* What a head's norm weights become: the mean square over a longer head is smaller, and scores are divided by
 * the root of its length. */
static float vector_scale(const job *j, const lv_tensor_spec *spec)
{
    if (spec->cols == LV_DIM_EMBD) return j->norm;
    if (starts(spec->name, "attn_k_norm")) return 1.0f / j->q_scale;
    if (starts(spec->name, "attn_q.bias")) return j->q_scale;
    return 1.0f;
}

static float matrix_scale(const job *j, const lv_tensor_spec *spec)
{
    if (spec->rows == LV_DIM_EMBD) return j->stream;
    return starts(spec->name, "attn_q.") && !j->small.qk_norm ? j->q_scale : 1.0f;
}

/* ---- all tensors, once for the headers and once for the data ---- */

static const lv_gguf_tensor *small_tensor(const job *j, int64_t layer, const char *name)
{
    char full[LV_TENSOR_NAME_MAX];
    if (layer < 0) return NULL;
    snprintf(full, sizeof full, "blk.%" PRId64 ".%s", layer, name);
    return lv_gguf_find_tensor(j->m->gguf, full);
}

/* The small model's layers are spread evenly; -1: an added one. */
static int64_t small_layer(const job *j, uint32_t big)
{
    const uint64_t n = j->small.n_layers, of = j->big.n_layers;
    const uint64_t l = (big * n + of - 1) / of;
    return l < n && l * of / n == big ? (int64_t)l : -1;
}

static int header(job *j, const char *name, uint32_t type, uint64_t rows, uint64_t cols, lever_error *err)
{
    const uint64_t dims[2] = { rows ? rows : cols, cols };
    j->total += (rows ? rows : 1) * blocks_bytes(type, cols);
    j->result->n_tensors++;
    return lv_gguf_put_tensor(j->w, name, type, rows ? 2 : 1, dims, err);
}

static int put_headers(job *j, lever_error *err)
{
    const lv_arch *arch = j->m->arch;
    const lv_hparams *b = &j->big;
    char name[LV_TENSOR_NAME_MAX];
    LEVER_TRY(header(j, "token_embd.weight", j->type, b->n_vocab, b->n_embd, err));
    for (uint32_t l = 0; l < b->n_layers; l++)
        for (size_t i = 0; i < arch->n_tensors; i++) {
            const lv_tensor_spec *s = &arch->tensors[i];
            const bool vector = s->rows == LV_DIM_VECTOR;
            snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", l, s->name);
            LEVER_TRY(header(j, name, vector ? LV_TYPE_F32 : j->type, vector ? 0 : lv_model_dim(b, s->rows),
                             lv_model_dim(b, s->cols), err));
        }
    LEVER_TRY(header(j, "output_norm.weight", LV_TYPE_F32, 0, b->n_embd, err));
    if (j->m->has_rope_factors) LEVER_TRY(header(j, "rope_freqs.weight", LV_TYPE_F32, 0, b->n_rot / 2, err));
    return j->tied ? LEVER_OK : header(j, "output.weight", j->type, b->n_vocab, b->n_embd, err);
}

static int put_layer(job *j, uint32_t big, lever_error *err)
{
    const lv_arch *arch = j->m->arch;
    const int64_t layer = small_layer(j, big);
    for (size_t i = 0; i < arch->n_tensors; i++) {
        const lv_tensor_spec *s = &arch->tensors[i];
        const lv_gguf_tensor *t = small_tensor(j, layer, s->name);
        const bool bias = strstr(s->name, ".bias") != NULL;
        if (s->rows == LV_DIM_VECTOR)
            LEVER_TRY(put_vector(j, t, &j->axis[s->cols], vector_scale(j, s), bias ? 0.0f : 1.0f, err));
        else
            LEVER_TRY(put_matrix(j, t, &j->axis[s->rows], &j->axis[s->cols], matrix_scale(j, s), err));
    }
    return LEVER_OK;
}

static int put_data(job *j, lever_error *err)
{
    const lv_gguf *g = j->m->gguf;
    const lv_grow_axis *embd = &j->axis[LV_DIM_EMBD];
    const lv_gguf_tensor *table = lv_gguf_find_tensor(g, "token_embd.weight");
    lv_grow_axis out = *embd; /* the table's columns are outputs: they make the residual stream */
    out.silent = false;
    LEVER_TRY(put_matrix(j, table, &j->vocab, &out, j->stream, err));
    for (uint32_t l = 0; l < j->big.n_layers; l++) LEVER_TRY(put_layer(j, l, err));
    const float norm =
        j->tied ? j->norm / j->stream : j->norm; /* a tied head is multiplied like the stream */
    LEVER_TRY(put_vector(j, lv_gguf_find_tensor(g, "output_norm.weight"), embd, norm, 1.0f, err));
    if (j->m->has_rope_factors) {
        const lv_gguf_tensor *t = lv_gguf_find_tensor(g, "rope_freqs.weight");
        lv_grow_run run = { .n = j->big.n_rot / 2 };
        const lv_grow_axis all = { .n_big = run.n, .n_small = run.n, .runs = &run, .n_runs = 1 };
        LEVER_TRY(put_vector(j, t, &all, 1.0f, 1.0f, err));
    }
    if (j->tied) return LEVER_OK;
    const lv_gguf_tensor *head = lv_gguf_find_tensor(g, j->m->tied ? "token_embd.weight" : "output.weight");
    return put_matrix(j, head, &j->vocab, embd, 1.0f, err);
}

/* ---- the whole ---- */

static int check_types(const job *j, lever_error *err)
{
    const lv_type_traits *to = lv_type_traits_get(j->type);
    if (!to || !to->quantize)
        return lv_fail(err, LEVER_EUNSUP, 0, "this build can not write type %s", to ? to->name : "?");
    for (size_t i = 0; i < lv_gguf_n_tensors(j->m->gguf); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(j->m->gguf, i);
        const lv_type_traits *from = lv_type_traits_get(t->type);
        if (!from->dequantize)
            return lv_fail(err, LEVER_EUNSUP, 0, "tensor '%.*s' is %s, which this build can not read",
                           (int)(t->name.len < 64 ? t->name.len : 64), t->name.s, from->name);
    }
    return LEVER_OK;
}

static int open_buffers(job *j, lever_error *err)
{
    uint64_t most = 0;
    for (int d = LV_DIM_EMBD; d < N_AXES; d++)
        if (j->axis[d].n_big > most) most = j->axis[d].n_big;
    j->x = lv_alloc_array(most, sizeof *j->x, 64);
    j->y = lv_alloc_array(most, sizeof *j->y, 64);
    j->row = lv_alloc_array(most, sizeof(float), 64);
    j->src = lv_alloc_array(most, sizeof(float), 64);
    if (!j->x || !j->y || !j->row || !j->src)
        return lv_fail(err, LEVER_ENOMEM, 0, "rows of %" PRIu64 " weights", most);
    return LEVER_OK;
}

static int run(job *j, const char *out, const lv_grow_shape *shape, uint64_t seed, lever_error *err)
{
    j->small = *lv_model_hparams(j->m);
    LEVER_TRY(check_types(j, err));
    LEVER_TRY(set_sizes(j, shape, err));
    set_factors(j);
    LEVER_TRY(set_axes(j, err));
    LEVER_TRY(open_buffers(j, err));
    LEVER_TRY(lv_grow_filler_init(&j->fill, j->type, seed, err));
    LEVER_TRY(lv_gguf_writer_open(&j->w, out, err));
    LEVER_TRY(put_keys(j, shape, err));
    LEVER_TRY(put_headers(j, err));
    LEVER_TRY(put_data(j, err));
    return lv_gguf_writer_finish(j->w, err);
}

static void describe(job *j, const lv_grow_shape *shape)
{
    const lv_hparams *b = &j->big;
    lv_grow_shape *s = &j->result->shape;
    *s = (lv_grow_shape){ .n_embd = b->n_embd,
                          .n_layers = b->n_layers,
                          .n_heads = b->n_heads,
                          .n_kv_heads = b->n_kv_heads,
                          .head_dim = b->head_dim,
                          .n_ff = b->n_ff,
                          .n_vocab = b->n_vocab,
                          .tied = j->tied };
    memcpy(s->name, shape->name, sizeof s->name);
    j->result->bytes = j->total;
}

int lv_grow(const char *in, const char *out, const lv_grow_shape *shape, uint32_t type, uint64_t seed,
            lv_grow_result *result, lv_grow_progress_fn progress, void *user, lever_error *err)
{
    lv_grow_result own;
    job j = { .type = type, .result = result ? result : &own, .progress = progress, .user = user };
    *j.result = (lv_grow_result){ .exact = true };
    LEVER_TRY(lv_gguf_check_paths(in, out, err));
    int rc = lv_model_open(&j.m, in, err);
    if (rc >= 0) rc = run(&j, out, shape, seed, err);
    if (rc >= 0)
        describe(&j, shape);
    else if (j.m)
        lv_fail_prefix(err, rc, "%s", in);
    lv_gguf_writer_close(&j.w);
    lv_grow_filler_fini(&j.fill);
    for (int d = LV_DIM_EMBD; d < N_AXES; d++) lv_grow_axis_fini(&j.axis[d]);
    lv_grow_axis_fini(&j.vocab);
    lv_free(j.x);
    lv_free(j.y);
    lv_free(j.row);
    lv_free(j.src);
    lv_model_close(&j.m);
    return rc;
}
