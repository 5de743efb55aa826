/* Opening a model (metadata only), closing it, and what the plan asks. SPDX-License-Identifier: MIT */
#include "model/model.h"

#include <string.h>

#include "model/state.h"

int lv_model_open(lv_model **out, const char *path, lever_error *err)
{
    *out = NULL;
    lv_model *m = lv_alloc(sizeof *m, 64);
    if (!m) return lv_fail(err, LEVER_ENOMEM, 0, "model state");
    int rc = lv_file_open(&m->file, path, err);
    if (rc < 0) goto fail;
    if ((rc = lv_gguf_open(&m->gguf, path, err)) < 0) goto fail;
    if ((rc = lv_hparams_read(&m->h, m->gguf, err)) < 0) goto name_file;
    m->arch = lv_arch_find((lv_str){ m->h.arch, strlen(m->h.arch) });
    if ((rc = lv_model_map_weights(m, err)) < 0) goto name_file;
    *out = m;
    return LEVER_OK;
name_file:
    lv_fail_prefix(err, rc, "%s", path);
fail:
    lv_model_close(&m);
    return rc;
}

void lv_model_close(lv_model **m)
{
    if (!m || !*m) return;
    lv_model *p = *m;
    lv_stream_close(&p->stream); /* before the ring it reads into */
    lv_model_lend_close(p);
    lv_offload_close_slots(&p->offload);
    for (size_t i = 0; p->places && i < p->n_weights; i++)
        lv_device_memory_close(p->offload.device, &p->places[i].piece);
    lv_unmap(p->ring, p->ring_bytes);
    lv_unmap(p->moved, p->moved_bytes);
    lv_unmap(p->act, p->act_bytes);
    lv_unmap(p->arena, p->arena_bytes);
    lv_free(p->fixed);
    lv_free(p->rope_freq);
    lv_free(p->weights);
    lv_free(p->places);
    lv_free(p->vectors);
    lv_sums_unload(&p->sums_file);
    lv_gguf_close(&p->gguf);
    lv_file_close(&p->file);
    lv_free(p);
    *m = NULL;
}

const lv_hparams *lv_model_hparams(const lv_model *m)
{
    return &m->h;
}
const lv_gguf *lv_model_gguf(const lv_model *m)
{
    return m->gguf;
}
void lv_model_drop_metadata(lv_model *m)
{
    lv_gguf_close(&m->gguf);
}

int lv_model_verify_reads(lv_model *m, lever_error *err)
{
    size_t n;
    const void *header = lv_gguf_meta(m->gguf, &n);
    LEVER_TRY(lv_sums_load(&m->sums_file, m->file.path, m->file.size_bytes, err));
    LEVER_TRY(lv_sums_check_header(&m->sums_file.sums, m->file.path, header, n, err));
    m->sums = &m->sums_file.sums;
    return LEVER_OK;
}

uint64_t lv_model_sums_bytes(const lv_model *m)
{
    return m->sums_file.n_bytes;
}

lv_model_weight *lv_model_weights(lv_model *m, size_t *n)
{
    *n = m->n_weights;
    return m->weights;
}

size_t lv_model_max_k(const lv_model *m)
{
    size_t max = 0;
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].cols > max) max = (size_t)m->weights[i].cols;
    return max;
}

unsigned lv_model_act_kinds(const lv_model *m)
{
    unsigned kinds = 0;
    for (size_t i = 0; i < m->n_weights; i++) kinds |= 1u << lv_type_act_kind(m->weights[i].type);
    return kinds;
}

void lv_model_device_sizes(const lv_model *m, lv_device_config *sizes)
{
    const lv_hparams *h = &m->h;
    const size_t kv = (size_t)h->n_kv_heads * h->head_dim, qkv = (size_t)h->n_heads * h->head_dim + 2 * kv;
    const size_t ff = 2 * (size_t)h->n_ff, out = qkv > ff ? qkv : ff, most = out > h->n_embd ? out : h->n_embd;
    if (lv_model_max_k(m) > sizes->max_k) sizes->max_k = lv_model_max_k(m);
    if (most > sizes->max_out) sizes->max_out = most;
}

const char *lv_model_device_note(const lv_model *m)
{
    return m->offload.note[0] ? m->offload.note : NULL;
}

uint64_t lv_model_fixed_bytes(const lv_model *m)
{
    uint64_t n = sizeof *m + m->n_weights * (sizeof *m->weights + sizeof *m->places + LV_LEND_BYTES) +
                 m->n_vectors * sizeof *m->vectors + m->h.n_rot / 2 * sizeof *m->rope_freq;
    for (size_t i = 0; i < m->n_vectors; i++) n += lv_round_up(m->vectors[i].n, 16) * sizeof(float);
    return n;
}

bool lv_model_tied(const lv_model *m)
{
    return m->tied;
}

bool lv_model_head_streamed(const lv_model *m)
{
    return m->head_streamed;
}

void lv_model_run_on(lv_model *m, lv_cpu *cpu, lv_trace trace)
{
    m->cpu = cpu;
    m->trace = trace;
}

void lv_model_pump(lv_model *m)
{
    if (m->stream) lv_stream_pump(m->stream);
}

void lv_model_get_stats(const lv_model *m, lv_model_stats *out)
{
    *out = m->stats;
    out->bytes_read = m->read_bytes;
    out->device_jobs = m->offload.n_jobs;
    out->device_wait_ns = m->offload.wait_ns;
    if (!m->stream) return;
    lv_stream_stats s;
    lv_stream_get_stats(m->stream, &s);
    out->bytes_read += s.bytes_read;
    out->wait_ns = s.wait_ns;
    out->idle_ns = s.idle_ns;
}
