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

/* ---- what lies on a device ---- */

/* Alignment of what a device allocates, and the page it adds to have whole ones. */
enum { PIECE_COST = 2 * IN_PLACE_ALIGN };

static bool can_place(const lv_device *d, const lv_model_weight *w, bool head_too)
{
    return lv_model_can_offload(w, d) && (head_too || w->layer >= 0) &&
           w->bytes + IN_PLACE_ALIGN <= d->traits.piece_bytes;
}

static bool belongs_to_device(const lv_model *m, size_t at)
{
    return can_place(m->offload.device, &m->weights[at], m->offload.head);
}

static bool streams_to_device(const lv_model *m)
{
    for (size_t i = 0; i < m->n_weights; i++)
        if (!m->weights[i].resident && belongs_to_device(m, i)) return true;
    return false;
}

/* A ring or, for a device, as many slots as go into its bytes. */
static int make_room(lv_model *m, lv_stream_config *sc, size_t ring_bytes, lever_error *err)
{
    const size_t min_ring = lv_stream_min_ring(sc->extents, sc->n_extents);
    if (ring_bytes < min_ring)
        return lv_fail(err, LEVER_EINVAL, 0, "ring of %zu bytes; streaming needs at least %zu", ring_bytes,
                       min_ring);
    if (streams_to_device(m)) {
        lever_error e = { 0 };
        lv_offload *o = &m->offload;
        for (uint32_t i = 0; i < sc->n_extents; i++) {
            const size_t bytes = lv_extent_ring_bytes(&sc->extents[i]);
            if (bytes > sc->slot_bytes) sc->slot_bytes = bytes;
        }
        sc->n_slots = ring_bytes / sc->slot_bytes < LV_SLOTS_MOST ? (uint32_t)(ring_bytes / sc->slot_bytes)
                                                                  : LV_SLOTS_MOST;
        if (lv_offload_open_slots(o, sc->n_slots, sc->slot_bytes, &e) < 0) {
            lv_offload_lose(o, &e);
            return LEVER_OK; /* and be left */
        }
        sc->slots = o->slot_host;
        return LEVER_OK;
    }
    if (!m->ring && !(m->ring = lv_map(ring_bytes)))
        return lv_fail(err, LEVER_ENOMEM, 0, "ring of %zu bytes", ring_bytes);
    sc->ring = m->ring;
    sc->ring_bytes = m->ring_bytes = ring_bytes;
    return LEVER_OK;
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
    lv_stream_config sc = { .io = c->io, .extents = e, .n_extents = (uint32_t)n,
                            .sums = m->sums, .trace = c->trace, .track = c->track };
    int rc = make_room(m, &sc, c->ring_bytes, err);
    if (rc == LEVER_OK && (sc.ring || sc.slots)) rc = lv_stream_open(&m->stream, &sc, err);
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

uint64_t lv_model_place_bytes(const lv_model_weight *w, const lv_device *d, bool head_too)
{
    if (!can_place(d, w, head_too)) return lv_model_resident_bytes(w->bytes);
    return lv_round_up(w->bytes, IN_PLACE_ALIGN) + IN_PLACE_ALIGN + PIECE_COST;
}

uint64_t lv_model_slots_bytes(const lv_device *d)
{
    return d ? LV_SLOTS_MOST * (PIECE_COST + sizeof(void *) * 2) : 0;
}

/* Where the matrix goes: next multiple of 64, or as its file offset lies in a block. */
size_t lv_model_resident_place(const lv_model_weight *w, size_t at)
{
    if (w->bytes < IN_PLACE_BYTES) return at;
    return at + (size_t)((w->offset - at) & (IN_PLACE_ALIGN - 1));
}

static int read_weight(lv_model *m, const lv_model_weight *w, void *dst, progress *p, lever_error *err)
{
    for (uint64_t done = 0; done < w->bytes;) {
        const uint64_t off = w->offset + done;
        const size_t most = PIECE_BYTES - (size_t)(off % IN_PLACE_ALIGN); /* the next begins a block */
        const size_t n = w->bytes - done < most ? (size_t)(w->bytes - done) : most;
        LEVER_TRY(lv_model_read(m, (char *)dst + done, n, off, err));
        done += n;
        advance(p, n);
    }
    return LEVER_OK;
}

int lv_model_read_weight(lv_model *m, const lv_model_weight *w, void *dst, lever_error *err)
{
    const lv_model_load_config none = { 0 };
    progress p = { .c = &none };
    return read_weight(m, w, dst, &p, err);
}

static bool waits_for_host_memory(const lv_model *m, size_t i)
{
    return m->weights[i].resident && !m->places[i].bytes && !m->places[i].piece && !belongs_to_device(m, i);
}

/* Resident matrices that no device has into one mapping. */
static int load_resident(lv_model *m, char **arena, size_t *arena_bytes, progress *p, lever_error *err)
{
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < m->n_weights; i++)
        if (waits_for_host_memory(m, i)) bytes += (size_t)lv_model_resident_bytes(m->weights[i].bytes);
    if (!bytes) return LEVER_OK;
    *arena_bytes = bytes;
    if (!(*arena = lv_map(bytes)))
        return lv_fail(err, LEVER_ENOMEM, 0, "resident weights (%zu bytes)", bytes);
    for (size_t i = 0; i < m->n_weights; i++) {
        const lv_model_weight *w = &m->weights[i];
        if (!waits_for_host_memory(m, i)) continue;
        at = lv_model_resident_place(w, at);
        LEVER_TRY(read_weight(m, w, *arena + at, p, err));
        m->places[i].bytes = *arena + at;
        at = lv_round_up(at + (size_t)w->bytes, 64);
    }
    return LEVER_OK;
}

/* To the device, and readable for the CPU where that is the same memory. */
static int pass_piece(lv_model *m, lv_place *place, lever_error *err)
{
    lv_offload *o = &m->offload;
    LEVER_TRY(lv_device_memory_give(o->device, place->piece, err));
    if (!o->reachable) return LEVER_OK;
    LEVER_TRY(lv_device_memory_look(o->device, place->piece, err));
    place->bytes = place->piece->host + place->piece_at;
    return LEVER_OK;
}

/* Resident matrices into pieces. The device may fail, which is no error: then it is lost. */
static int load_pieces(lv_model *m, progress *p, lever_error *err)
{
    lv_offload *o = &m->offload;
    lever_error e = { 0 };
    for (size_t i = 0; i < m->n_weights; i++) {
        const lv_model_weight *w = &m->weights[i];
        lv_place *place = &m->places[i];
        if (!w->resident || !belongs_to_device(m, i)) continue;
        place->piece_at =
            (size_t)(w->offset & (IN_PLACE_ALIGN - 1)); /* as in the file: read past the page cache */
        const size_t bytes = (size_t)w->bytes + place->piece_at;
        place->in_piece = true;
        int rc = lv_device_memory_open(o->device, &place->piece, bytes, &e);
        if (rc >= 0) LEVER_TRY(read_weight(m, w, place->piece->host + place->piece_at, p, err));
        if (rc >= 0) rc = pass_piece(m, place, &e);
        if (rc < 0) return lv_offload_lose(o, &e), LEVER_OK;
    }
    return LEVER_OK;
}

int lv_model_leave_device(lv_model *m, lever_error *err)
{
    lv_offload *o = &m->offload;
    progress p = { .c = &m->load };
    lv_stream_close(&m->stream);
    if (o->device) {
        lv_offload_close_slots(o);
        for (size_t i = 0; i < m->n_weights; i++) lv_device_memory_close(o->device, &m->places[i].piece);
        o->device = NULL;
        o->n = 0; /* a job whose failure ended a projection */
        o->group = (lv_offload_job){ 0 };
    }
    lv_unmap(m->moved, m->moved_bytes); /* of a try that failed */
    m->moved = NULL;
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->places[i].in_piece) m->places[i].bytes = NULL;
    LEVER_TRY(load_resident(m, &m->moved, &m->moved_bytes, &p, err));
    LEVER_TRY(open_stream(m, &m->load, err));
    m->stream_dirty = false;
    o->lost = false;
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
    m->load = *c;
    m->load.progress = NULL;
    m->offload = (lv_offload){ .device = c->device, .min_rows = c->device_min_rows, .head = c->device_head,
                               .reachable = c->device && c->device->traits.unified };
    progress p = { .c = c };
    for (size_t i = 0; i < m->n_vectors; i++) p.total += m->vectors[i].bytes;
    for (size_t i = 0; i < m->n_weights; i++) p.total += m->weights[i].resident ? m->weights[i].bytes : 0;
    LEVER_TRY(load_fixed(m, &p, err));
    LEVER_TRY(build_rope(m, err));
    m->act_bytes = lv_model_activation_bytes(m, c->max_rows);
    m->act = lv_map(m->act_bytes);
    if (!m->act) return lv_fail(err, LEVER_ENOMEM, 0, "activations (%zu bytes)", m->act_bytes);
    lv_act_layout(m, m->act, c->max_rows);
    LEVER_TRY(load_resident(m, &m->arena, &m->arena_bytes, &p, err));
    LEVER_TRY(load_pieces(m, &p, err));
    LEVER_TRY(lv_file_check(&m->file, err));
    if (!m->offload.lost) LEVER_TRY(open_stream(m, c, err)); /* for whose slots it may fail */
    if (m->offload.lost) LEVER_TRY(lv_model_leave_device(m, err));
    m->loaded = true;
    return LEVER_OK;
}
