/* The forward pass over a row batch, and the projection of chosen rows onto the vocabulary.
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "kernel/angles.h"
#include "model/state.h"
#include "os/clock.h"

/* ---- rows ---- */

static int check_row(const lv_model *m, const lv_batch *b, uint32_t t, lever_error *err)
{
    const lv_row *row = &b->rows[t];
    if (row->token < 0 || (uint32_t)row->token >= m->h.n_vocab)
        return lv_fail(err, LEVER_EINVAL, 0, "row %" PRIu32 ": token %" PRId32 " is not within 0..%" PRIu32,
                       t, row->token, m->h.n_vocab - 1);
    if (row->seq < 0 || (uint32_t)row->seq >= b->n_kv)
        return lv_fail(err, LEVER_EINVAL, 0, "row %" PRIu32 ": sequence %" PRId32 " of %" PRIu32, t, row->seq,
                       b->n_kv);
    const lv_kv *kv = b->kv[row->seq];
    if (!kv || kv->n_layers != m->h.n_layers || kv->n_kv_heads != m->h.n_kv_heads ||
        kv->head_dim != m->h.head_dim)
        return lv_fail(err, LEVER_EINVAL, 0, "row %" PRIu32 ": the KV cache was made for another model", t);
    return LEVER_OK;
}

/* What row t attends to. Scratch rows ascend along a path, so a row of depth d whose slot is the
 * d-th has the slots right behind the committed prefix as its ancestors: the prefix is then simply
 * longer, and a prefill chunk of n rows needs no lists of n^2/2 slots. */
static int build_span(lv_model *m, const lv_kv *kv, uint32_t t, uint32_t scratch, size_t *n_paths,
                      lever_error *err)
{
    int32_t at = (int32_t)scratch;
    size_t n = 0;
    for (; at >= 0 && (uint32_t)at + 1 != kv->depth[at]; at = kv->parent[at]) n++;
    const size_t n_prefix = kv->n_committed + (at < 0 ? 0 : kv->depth[at]);
    if (n > (size_t)m->max_rows * LV_PATH_PER_ROW - *n_paths)
        return lv_fail(err, LEVER_ELIMIT, 0, "tree too deep: its paths take more than %d slots per row",
                       LV_PATH_PER_ROW);
    int32_t *path = m->paths + *n_paths;
    *n_paths += n;
    m->spans[t] = (lv_cpu_attn_row){
        .slot = kv->n_committed + scratch, .n_prefix = n_prefix, .path = path, .n_path = n
    };
    for (at = (int32_t)scratch; n > 0; at = kv->parent[at]) path[--n] = (int32_t)kv->n_committed + at;
    return LEVER_OK;
}

/* Scratch slots, positions and spans for all rows; *n_taken rows hold a slot, also after a failure. */
static int take_rows(lv_model *m, lv_batch *b, uint32_t *n_taken, lever_error *err)
{
    size_t n_paths = 0;
    for (uint32_t t = 0; t < b->n_rows; t++) {
        LEVER_TRY(check_row(m, b, t, err));
        lv_kv *kv = b->kv[b->rows[t].seq];
        const int scratch = lv_kv_append(kv, b->rows[t].parent, err);
        if (scratch < 0) return lv_fail_prefix(err, scratch, "row %" PRIu32, t);
        *n_taken = t + 1;
        b->rows[t].pos = (int32_t)(kv->n_committed + kv->depth[scratch] - 1);
        LEVER_TRY(build_span(m, kv, t, (uint32_t)scratch, &n_paths, err));
    }
    return LEVER_OK;
}

static void give_back_rows(lv_batch *b, uint32_t n_taken)
{
    for (uint32_t t = 0; t < n_taken; t++) b->kv[b->rows[t].seq]->n_scratch--;
}

/* cs[t][i] = cos, sin of pos * freq[i]; a position that follows the same position repeats it. */
static void build_angles(lv_model *m, const lv_batch *b)
{
    const size_t half = m->h.n_rot / 2;
    for (uint32_t t = 0; t < b->n_rows; t++) {
        float *cs = m->cs + t * 2 * half;
        if (t && b->rows[t].pos == b->rows[t - 1].pos) {
            memcpy(cs, cs - 2 * half, 2 * half * sizeof *cs);
            continue;
        }
        const double pos = (double)b->rows[t].pos / (double)m->h.rope_scale_linear;
        for (size_t i = 0; i < half; i++) {
            double sine, cosine;
            lv_sincos(pos * m->rope_freq[i], &sine, &cosine);
            cs[2 * i] = (float)cosine;
            cs[2 * i + 1] = (float)sine;
        }
    }
}

/* ---- embedding ---- */

/* The embedding matrix in memory, or NULL: its rows are then read one by one. */
static const char *resident_embd(const lv_model *m)
{
    return m->tied ? m->places[m->n_weights - 1].bytes : NULL;
}

static bool reads_file(const lv_model *m)
{
    return m->stream || !resident_embd(m);
}

static int embed(lv_model *m, const lv_batch *b, lever_error *err)
{
    const lv_model_weight *e = &m->embd;
    const size_t row_bytes = lv_type_row_bytes(e->type, e->cols);
    const char *resident = resident_embd(m);
    const lv_type_traits *traits = lv_type_traits_get(e->type);
    for (uint32_t t = 0; t < b->n_rows; t++) {
        const uint64_t off = (uint64_t)b->rows[t].token * row_bytes;
        const char *raw = resident ? resident + off : m->staging;
        if (!resident) {
            LEVER_TRY(lv_model_read(m, m->staging, row_bytes, e->offset + off, err));
            m->read_bytes += row_bytes;
        }
        traits->dequantize(m->sweep.x + (size_t)t * e->cols, raw, (size_t)e->cols);
    }
    return LEVER_OK;
}

/* ---- stream ---- */

/* A canceled sweep goes back to the start of the cycle at once and reads ahead while the caller decides. After
 * an error the next call does that: what is read now may be as wrong as what failed. */
static void abort_stream(lv_model *m, int rc)
{
    lv_offload_abort(m);
    if (!m->stream) return;
    m->stream_dirty = rc != LEVER_ECANCEL || m->offload.lost || lv_stream_restart(m->stream, NULL) < 0;
    m->at_head = !m->layers_streamed;
}

/* Bring the stream to the first layer: a head that nobody projected with is skipped. */
static int rewind_stream(lv_model *m, lever_error *err)
{
    if (!m->stream || !(m->stream_dirty || (m->at_head && m->layers_streamed))) return LEVER_OK;
    m->stream_dirty = true;
    LEVER_TRY(lv_stream_restart(m->stream, err));
    m->stream_dirty = false;
    m->at_head = !m->layers_streamed;
    return LEVER_OK;
}

/* ---- forward ---- */

static void begin(lv_model *m, size_t n_rows, lever_error *err)
{
    lv_sweep *s = &m->sweep;
    s->m = m;
    s->h = &m->h;
    s->cpu = m->cpu;
    s->err = err;
    s->n_rows = n_rows;
    s->layer = 0;
    s->next_weight = 0;
    memset(s->packed, 0, sizeof s->packed); /* the device is shared with other models */
    lv_offload_begin(s);
}

static void trace(const lv_model *m, const char *name, int64_t index, uint64_t begin_ns)
{
    lv_trace_emit(&m->trace, &(lever_trace_event){ .track = m->track,
                                                   .name = name,
                                                   .begin_ns = begin_ns,
                                                   .end_ns = lv_clock_ns(),
                                                   .index = index,
                                                   .rows = (int64_t)m->sweep.n_rows });
}

/* Everything of row `from` moves to place `to` <= from. What is in other buffers is used up between layers. */
static void move_row(lv_model *m, uint32_t to, uint32_t from)
{
    const size_t n_embd = m->h.n_embd, n_cs = m->h.n_rot / 2 * 2;
    memcpy(m->sweep.x + to * n_embd, m->sweep.x + from * n_embd, n_embd * sizeof *m->sweep.x);
    memcpy(m->cs + to * n_cs, m->cs + from * n_cs, n_cs * sizeof *m->cs);
    m->spans[to] = m->spans[from];
    m->row_of[to] = m->row_of[from];
}

/* Ask the caller which rows go on, and close the gaps. */
static int drop_rows(lv_model *m, lever_error *err)
{
    lv_sweep *s = &m->sweep;
    const lv_batch *b = s->batch;
    const uint32_t n = (uint32_t)s->n_rows;
    const int kept = b->after_layer(b->hook_user, s->layer, s->x, n, m->keep, err);
    if (kept < 0 || kept == (int)n) return kept < 0 ? kept : LEVER_OK;
    bool ascending = kept > 0 && kept < (int)n && m->keep[0] < n;
    for (int i = 1; ascending && i < kept; i++) ascending = m->keep[i] > m->keep[i - 1] && m->keep[i] < n;
    if (!ascending) return lv_fail(err, LEVER_EINVAL, 0, "%d rows to keep of %" PRIu32 ": not a selection", kept, n);
    for (uint32_t i = 0; i < (uint32_t)kept; i++)
        if (m->keep[i] != i) move_row(m, i, m->keep[i]);
    s->n_rows = (size_t)kept;
    memset(s->packed, 0, sizeof s->packed);
    return LEVER_OK;
}

static int run_layers(lv_model *m, lv_batch *b, lever_error *err)
{
    lv_sweep *s = &m->sweep;
    begin(m, b->n_rows, err);
    for (uint32_t t = 0; t < b->n_rows; t++) m->row_of[t] = t;
    s->batch = b;
    s->cancel = b->cancel;
    s->go_on = b->go_on;
    s->user = b->user;
    build_angles(m, b);
    LEVER_TRY(embed(m, b, err));
    for (s->layer = 0; s->layer < m->h.n_layers; s->layer++) {
        const uint64_t t0 = m->trace.fn ? lv_clock_ns() : 0;
        LEVER_TRY(m->arch->layer(s));
        LEVER_TRY(s->rc);
        if (m->trace.fn) trace(m, "layer", s->layer, t0);
        if (b->after_layer && s->layer + 1 < m->h.n_layers) LEVER_TRY(drop_rows(m, err));
    }
    lv_cpu_rmsnorm(s->cpu, m->hidden, s->x, lv_model_output_norm(m), s->n_rows, m->h.n_embd, m->h.norm_eps);
    return LEVER_OK;
}

/* Nothing of a sweep, not even keys and values, is kept when the file changed before its end. */
static int run_checked(lv_model *m, lv_batch *b, lever_error *err)
{
    const bool reads = reads_file(m);
    if (reads) LEVER_TRY(lv_file_check(&m->file, err));
    if (m->offload.lost) LEVER_TRY(lv_model_leave_device(m, err));
    LEVER_TRY(rewind_stream(m, err));
    LEVER_TRY(run_layers(m, b, err));
    if (m->stream) lv_stream_pump(m->stream); /* the room of the last extent: reads go on across the sweep's end */
    return reads ? lv_file_check(&m->file, err) : LEVER_OK;
}

int lv_model_forward(lv_model *m, lv_batch *b, lever_error *err)
{
    if (!m->loaded) return lv_fail(err, LEVER_EINVAL, 0, "the model is not loaded");
    if (b->n_rows < 1 || b->n_rows > m->max_rows)
        return lv_fail(err, LEVER_EINVAL, 0, "batch of %" PRIu32 " rows, not within 1..%" PRIu32, b->n_rows,
                       m->max_rows);
    const uint64_t start = lv_clock_ns();
    uint32_t n_taken = 0;
    m->n_hidden = 0;
    int rc = take_rows(m, b, &n_taken, err);
    if (rc == LEVER_OK && (rc = run_checked(m, b, err)) < 0) abort_stream(m, rc);
    m->sweep.batch = NULL;
    if (rc < 0) {
        give_back_rows(b, n_taken);
        return rc;
    }
    m->n_hidden = m->sweep.n_rows;
    m->at_head = m->head_streamed;
    m->stats.n_sweeps++;
    m->stats.n_rows += b->n_rows;
    m->stats.sweep_ns += lv_clock_ns() - start;
    return LEVER_OK;
}

/* ---- projection ---- */

/* Head rows read again into the staging area, as many at a time as it holds. */
static int reread_head(lv_sweep *s, float *logits, lever_error *err)
{
    lv_model *m = s->m;
    const lv_model_weight *w = &m->weights[m->n_weights - 1];
    const size_t row_bytes = (size_t)(w->bytes / w->rows), step = m->staging_bytes / row_bytes;
    lv_cpu_pack(s->cpu, (enum lv_act_kind)lv_type_act_kind(w->type), s->x, s->n_rows, (size_t)w->cols);
    for (uint64_t r = 0; r < w->rows; r += step) {
        const size_t rows = w->rows - r < step ? (size_t)(w->rows - r) : step;
        if (lv_sweep_cancelled(s)) return lv_fail(err, LEVER_ECANCEL, 0, "canceled within '%s'", w->name);
        LEVER_TRY(lv_model_read(m, m->staging, rows * row_bytes, w->offset + r * row_bytes, err));
        m->read_bytes += rows * row_bytes;
        lv_cpu_matmul(s->cpu, logits + r, (size_t)w->rows, w->type, m->staging, rows, s->n_rows,
                      (size_t)w->cols);
    }
    return lv_file_check(&m->file, err);
}

static int project_streamed(lv_sweep *s, float *logits, lever_error *err)
{
    lv_model *m = s->m;
    if (!m->at_head) return reread_head(s, logits, err);
    if (m->stream_dirty) LEVER_TRY(rewind_stream(m, err));
    const int rc = lv_block_head(s, logits, s->x);
    if (rc < 0) {
        abort_stream(m, rc);
    } else {
        m->at_head = !m->layers_streamed;
        lv_stream_pump(m->stream); /* as after the layers */
    }
    return rc;
}

/* Where the hidden state of a row of the batch is; -1: it was not finished. */
static int64_t hidden_of(const lv_model *m, uint32_t row)
{
    size_t lo = 0, hi = m->n_hidden;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (m->row_of[mid] < row) lo = mid + 1;
        else hi = mid;
    }
    return lo < m->n_hidden && m->row_of[lo] == row ? (int64_t)lo : -1;
}

const float *lv_model_hidden(const lv_model *m, uint32_t row)
{
    const int64_t at = hidden_of(m, row);
    return at < 0 ? NULL : m->hidden + (size_t)at * m->h.n_embd;
}

const float *lv_model_output_norm(const lv_model *m)
{
    return m->vectors[m->h.n_layers * m->vecs_per_layer].data;
}

int lv_model_head_row(const lv_model *m, int32_t token, float *out)
{
    const lv_model_weight *w = &m->weights[m->n_weights - 1];
    const char *bytes = m->places[m->n_weights - 1].bytes;
    if (token < 0 || (uint64_t)token >= w->rows) return LEVER_EINVAL;
    if (!bytes) return LEVER_EAGAIN;
    const size_t row_bytes = (size_t)(w->bytes / w->rows);
    lv_type_traits_get(w->type)->dequantize(out, bytes + (size_t)token * row_bytes, (size_t)w->cols);
    return LEVER_OK;
}

int lv_model_project(lv_model *m, const uint32_t *rows, uint32_t n, float *logits, lever_error *err)
{
    if (n < 1 || n > m->max_rows)
        return lv_fail(err, LEVER_EINVAL, 0, "projection of %" PRIu32 " rows, not within 1..%" PRIu32, n,
                       m->max_rows);
    lv_sweep *s = &m->sweep;
    const size_t n_embd = m->h.n_embd;
    for (uint32_t i = 0; i < n; i++) {
        const int64_t at = hidden_of(m, rows[i]);
        if (at < 0)
            return lv_fail(err, LEVER_EINVAL, 0,
                           "projection of row %" PRIu32 ", which is not among the %zu that the last forward finished",
                           rows[i], m->n_hidden);
        memcpy(s->x + i * n_embd, m->hidden + (size_t)at * n_embd, n_embd * sizeof *s->x);
    }
    const uint64_t start = lv_clock_ns();
    begin(m, n, err);
    const int rc = m->head_streamed ? project_streamed(s, logits, err) : lv_block_head(s, logits, s->x);
    m->stats.project_ns += lv_clock_ns() - start;
    if (m->trace.fn) trace(m, "projection", -1, start);
    return rc;
}
