/* Loading: resident weights past the page cache, activation buffers, rope table, the stream.
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "base/f16.h"
#include "flash/verify.h"
#include "kernel/angles.h"
#include "model/state.h"

enum {
    PIECE_BYTES = 8 << 20, /* per read: large enough for full flash speed and smooth progress */
    IN_PLACE_BYTES = 1 << 20, /* matrices from this size on go past the page cache, straight into place */
    IN_PLACE_ALIGN = 4096,
};

typedef struct progress {
    const lv_model_load_config *c;
    uint64_t done, total;
} progress;

static void advance(progress *p, uint64_t bytes)
{
    p->done += bytes;
    if (p->c->progress) p->c->progress(p->c->user, p->done, p->total);
}

/* ---- activations ---- */

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void *take(char *base, size_t *at, size_t bytes)
{
    void *p = base ? base + *at : NULL;
    *at += lv_round_up(bytes, 64);
    return p;
}

size_t lv_act_layout(lv_model *m, char *base, size_t rows)
{
    const lv_hparams *h = &m->h;
    lv_sweep *s = &m->sweep;
    const size_t f = sizeof(float) * rows, q = (size_t)h->n_heads * h->head_dim;
    const size_t kv = (size_t)h->n_kv_heads * h->head_dim;
    size_t at = 0;
    s->x = take(base, &at, f * h->n_embd);
    s->n = take(base, &at, f * h->n_embd);
    m->hidden = take(base, &at, f * h->n_embd);
    m->cs = take(base, &at, f * h->n_rot);
    m->spans = take(base, &at, rows * sizeof *m->spans);
    m->row_of = take(base, &at, rows * sizeof *m->row_of);
    m->keep = take(base, &at, rows * sizeof *m->keep);
    m->paths = take(base, &at, rows * LV_PATH_PER_ROW * sizeof *m->paths);

    /* One region, three uses at different times: attention, feed-forward, raw rows of the embedding
     * or the head (which hold at most 4 bytes per value). */
    const size_t shared = at;
    s->q = take(base, &at, f * q);
    s->a = take(base, &at, f * q);
    s->k = take(base, &at, f * kv);
    s->v = take(base, &at, f * kv);
    const size_t attention_end = at;
    at = shared;
    s->gate = take(base, &at, f * h->n_ff);
    s->up = take(base, &at, f * h->n_ff);
    at = max_size(max_size(at, attention_end), shared + lv_round_up(sizeof(float) * h->n_embd, 64));
    m->staging = base ? base + shared : NULL;
    m->staging_bytes = at - shared;
    return at;
}

size_t lv_model_activation_bytes(const lv_model *m, uint32_t max_rows)
{
    lv_model count = *m; /* the layout writes into a copy */
    return lv_act_layout(&count, NULL, max_rows);
}

/* ---- extents ---- */

static size_t row_bytes(const lv_model_weight *w)
{
    return (size_t)(w->bytes / w->rows);
}

/* Rows per extent: as many as fit, spread evenly so that a weight's last extent is not a crumb. */
static uint64_t extent_rows(const lv_model_weight *w, size_t extent_bytes)
{
    const uint64_t fit = extent_bytes / row_bytes(w);
    if (fit >= w->rows) return w->rows;
    const uint64_t n = (w->rows + (fit ? fit : 1) - 1) / (fit ? fit : 1);
    return (w->rows + n - 1) / n;
}

/* Extents of everything not resident, in order of use. out == NULL only counts. */
static size_t list_extents(const lv_model *m, size_t extent_bytes, lv_extent *out)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        const lv_model_weight *w = &m->weights[i];
        if (w->resident) continue;
        const uint64_t step = extent_rows(w, extent_bytes);
        for (uint64_t r = 0; r < w->rows; r += step, n++) {
            if (!out) continue;
            const uint64_t rows = w->rows - r < step ? w->rows - r : step;
            out[n] = (lv_extent){ .file = &m->file,
                                  .off = w->offset + r * row_bytes(w),
                                  .len = (uint32_t)(rows * row_bytes(w)) };
        }
    }
    return n;
}

/* Longest extent such that len fits 32 bits with room for alignment. */
static size_t bound_extent(size_t extent_bytes)
{
    return extent_bytes < 1u << 30 ? extent_bytes : 1u << 30;
}

size_t lv_model_min_ring(const lv_model *m, size_t extent_bytes)
{
    extent_bytes = bound_extent(extent_bytes);
    const size_t n = list_extents(m, extent_bytes, NULL);
    if (!n) return 0;
    lv_extent *e = n > UINT32_MAX ? NULL : lv_alloc_array(n, sizeof *e, 64);
    if (!e) return SIZE_MAX;
    list_extents(m, extent_bytes, e);
    const size_t bytes = lv_stream_min_ring(e, (uint32_t)n);
    lv_free(e);
    return bytes;
}

static int open_stream(lv_model *m, const lv_model_load_config *c, lever_error *err)
{
    const size_t extent_bytes = bound_extent(c->extent_bytes), n = list_extents(m, extent_bytes, NULL);
    if (!n) return LEVER_OK;
    if (!c->io)
        return lv_fail(err, LEVER_EINVAL, 0, "weights are to be streamed, but there is no I/O backend");
    for (size_t i = 0; i < m->n_weights; i++) {
        if (m->weights[i].resident) continue;
        m->places[i].extent_rows = extent_rows(&m->weights[i], extent_bytes);
        *(i + 1 < m->n_weights ? &m->layers_streamed : &m->head_streamed) = true;
    }
    lv_extent *e = n > UINT32_MAX ? NULL : lv_alloc_array(n, sizeof *e, 64);
    if (!e) return lv_fail(err, LEVER_ENOMEM, 0, "list of %zu extents", n);
    list_extents(m, extent_bytes, e);
    int rc = LEVER_OK;
    const size_t min_ring = lv_stream_min_ring(e, (uint32_t)n);
    if (c->ring_bytes < min_ring)
        rc = lv_fail(err, LEVER_EINVAL, 0, "ring of %zu bytes; streaming needs at least %zu", c->ring_bytes,
                     min_ring);
    else if (!(m->ring = lv_map(c->ring_bytes)))
        rc = lv_fail(err, LEVER_ENOMEM, 0, "ring of %zu bytes", c->ring_bytes);
    if (rc == LEVER_OK) {
        m->ring_bytes = c->ring_bytes;
        const lv_stream_config sc = {
            .io = c->io, .extents = e, .n_extents = (uint32_t)n, .ring = m->ring, .ring_bytes = c->ring_bytes,
            .sums = m->sums, .trace = c->trace, .track = c->track
        };
        rc = lv_stream_open(&m->stream, &sc, err);
    }
    lv_free(e);
    m->at_head = !m->layers_streamed;
    return rc;
}

/* ---- resident weights ---- */

int lv_model_read(lv_model *m, void *dst, size_t n, uint64_t off, lever_error *err)
{
    return lv_verify_read(m->sums, &m->file, dst, n, off, err);
}

/* The file's values, at the end of the f32 area so that widening in place runs ascending. */
static int load_vector(lv_model *m, lv_vector *v, float *data, progress *p, lever_error *err)
{
    char *raw = (char *)(data + v->n) - v->bytes;
    LEVER_TRY(lv_model_read(m, raw, (size_t)v->bytes, v->offset, err));
    for (uint64_t i = 0; v->type != LV_TYPE_F32 && i < v->n; i++) {
        uint16_t half;
        memcpy(&half, raw + i * sizeof half, sizeof half);
        data[i] = v->type == LV_TYPE_F16 ? lv_f16_to_f32(half) : lv_bf16_to_f32(half);
    }
    v->data = data;
    advance(p, v->bytes);
    return LEVER_OK;
}

static int load_fixed(lv_model *m, progress *p, lever_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_vectors; i++) n += lv_round_up(m->vectors[i].n, 16);
    m->fixed = lv_alloc_array(n, sizeof *m->fixed, 64);
    if (!m->fixed) return lv_fail(err, LEVER_ENOMEM, 0, "norms and biases (%zu values)", n);
    float *at = m->fixed;
    for (size_t i = 0; i < m->n_vectors; i++) {
        LEVER_TRY(load_vector(m, &m->vectors[i], at, p, err));
        at += lv_round_up(m->vectors[i].n, 16);
    }
    return LEVER_OK;
}

/* rope_freq[i] = base^(-2i / n_rot) / factor[i] */
static int build_rope(lv_model *m, lever_error *err)
{
    const size_t half = m->h.n_rot / 2;
    m->rope_freq = lv_alloc_array(half, sizeof *m->rope_freq, 64);
    if (!m->rope_freq) return lv_fail(err, LEVER_ENOMEM, 0, "rope frequencies");
    const float *factor = m->has_rope_factors ? m->vectors[m->n_vectors - 1].data : NULL;
    for (size_t i = 0; i < half; i++) {
        m->rope_freq[i] = lv_rope_freq((double)m->h.rope_base, i, m->h.n_rot);
        if (!factor) continue;
        if (!(factor[i] >= 1e-3f && factor[i] <= 1e6f)) /* NaN fails too */
            return lv_fail(err, LEVER_EFORMAT, 0, "%s: rope_freqs.weight[%zu] is %g, not within 0.001..1e6",
                           m->file.path, i, (double)factor[i]);
        m->rope_freq[i] /= (double)factor[i];
    }
    return LEVER_OK;
}

uint64_t lv_model_resident_bytes(uint64_t bytes)
{
    return lv_round_up(bytes, 64) + (bytes >= IN_PLACE_BYTES ? IN_PLACE_ALIGN : 0);
}

/* Where the matrix goes: next multiple of 64, or as its file offset lies in a block. */
static size_t resident_place(const lv_model_weight *w, size_t at)
{
    if (w->bytes < IN_PLACE_BYTES) return at;
    return at + (size_t)((w->offset - at) & (IN_PLACE_ALIGN - 1));
}

static int load_resident(lv_model *m, progress *p, lever_error *err)
{
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].resident) m->arena_bytes += (size_t)lv_model_resident_bytes(m->weights[i].bytes);
    if (!m->arena_bytes) return LEVER_OK;
    m->arena = lv_map(m->arena_bytes);
    if (!m->arena) return lv_fail(err, LEVER_ENOMEM, 0, "resident weights (%zu bytes)", m->arena_bytes);
    size_t at = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        const lv_model_weight *w = &m->weights[i];
        if (!w->resident) continue;
        at = resident_place(w, at);
        for (uint64_t done = 0; done < w->bytes;) {
            const uint64_t off = w->offset + done;
            const size_t most = PIECE_BYTES - (size_t)(off % IN_PLACE_ALIGN); /* the next begins a block */
            const size_t n = w->bytes - done < most ? (size_t)(w->bytes - done) : most;
            LEVER_TRY(lv_model_read(m, m->arena + at + done, n, off, err));
            done += n;
            advance(p, n);
        }
        m->places[i].bytes = m->arena + at;
        at = lv_round_up(at + (size_t)w->bytes, 64);
    }
    return LEVER_OK;
}

int lv_model_load(lv_model *m, const lv_model_load_config *c, lever_error *err)
{
    if (m->max_rows) return lv_fail(err, LEVER_EINVAL, 0, "the model was loaded before");
    if (!c->cpu || c->max_rows < 1 || c->max_rows > 1 << 16)
        return lv_fail(err, LEVER_EINVAL, 0, "load for batches of %" PRIu32 " rows", c->max_rows);
    m->max_rows = c->max_rows;
    m->cpu = c->cpu;
    m->trace = c->trace;
    m->track = c->track;
    progress p = { .c = c };
    for (size_t i = 0; i < m->n_vectors; i++) p.total += m->vectors[i].bytes;
    for (size_t i = 0; i < m->n_weights; i++) p.total += m->weights[i].resident ? m->weights[i].bytes : 0;
    LEVER_TRY(load_fixed(m, &p, err));
    LEVER_TRY(build_rope(m, err));
    m->act_bytes = lv_model_activation_bytes(m, c->max_rows);
    m->act = lv_map(m->act_bytes);
    if (!m->act) return lv_fail(err, LEVER_ENOMEM, 0, "activations (%zu bytes)", m->act_bytes);
    lv_act_layout(m, m->act, c->max_rows);
    LEVER_TRY(load_resident(m, &p, err));
    LEVER_TRY(lv_file_check(&m->file, err));
    LEVER_TRY(open_stream(m, c, err));
    m->loaded = true;
    return LEVER_OK;
}
