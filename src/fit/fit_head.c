/* SPDX-License-Identifier: MIT */
#include "fit/fit_head.h"

enum { CHUNK_BYTES = 2 << 20, CHUNK_MOST = 1024, CHUNK_LEAST = 64, READ_BYTES = 8 << 20 };

size_t lv_fit_head_chunk(const lv_fit_head_place *p)
{
    size_t n = CHUNK_BYTES / (p->n_embd * sizeof(float));
    n = n > CHUNK_MOST ? CHUNK_MOST : n < CHUNK_LEAST ? CHUNK_LEAST : n;
    return n < p->n_vocab ? n : p->n_vocab;
}

uint64_t lv_fit_head_memory_bytes(const lv_fit_head_place *p, bool keep)
{
    const uint64_t chunk = lv_fit_head_chunk(p);
    return chunk * p->n_embd * sizeof(float) + (keep ? p->bytes : chunk * (p->bytes / p->n_vocab));
}

static int read_all(lv_fit_head *h, lever_error *err)
{
    for (uint64_t at = 0, n; at < h->place.bytes; at += n) {
        n = h->place.bytes - at < READ_BYTES ? h->place.bytes - at : READ_BYTES;
        LEVER_TRY(lv_file_read(&h->file, h->bytes + at, (size_t)n, h->place.offset + at, err));
    }
    return LEVER_OK;
}

int lv_fit_head_open(lv_fit_head *h, const char *path, const lv_fit_head_place *p, bool keep,
                     lever_error *err)
{
    *h = (lv_fit_head){ .place = *p,
                        .chunk = lv_fit_head_chunk(p),
                        .row_bytes = (size_t)(p->bytes / p->n_vocab) };
    LEVER_TRY(lv_file_open(&h->file, path, err));
    h->rows = lv_alloc_array(h->chunk, p->n_embd * sizeof *h->rows, 64);
    if (keep) h->bytes = lv_alloc((size_t)p->bytes, 64);
    else h->raw = lv_alloc_array(h->chunk, h->row_bytes, 64);
    if (!h->rows || !(keep ? h->bytes : h->raw))
        return lv_fail(err, LEVER_ENOMEM, 0, "%s: output head", path);
    return keep ? read_all(h, err) : LEVER_OK;
}

void lv_fit_head_close(lv_fit_head *h)
{
    if (h->file.path) lv_file_close(&h->file);
    lv_free(h->bytes);
    lv_free(h->raw);
    lv_free(h->rows);
    *h = (lv_fit_head){ 0 };
}

int lv_fit_head_raw(lv_fit_head *h, size_t first, size_t n, const uint8_t **out, lever_error *err)
{
    *out = h->bytes ? h->bytes + first * h->row_bytes : h->raw;
    if (h->bytes) return LEVER_OK;
    h->bytes_read += n * h->row_bytes;
    LEVER_TRY(lv_file_read(&h->file, h->raw, n * h->row_bytes, h->place.offset + first * h->row_bytes, err));
    return lv_file_check(&h->file, err);
}

typedef struct widen_job {
    const lv_fit_head *h;
    const uint8_t *raw;
} widen_job;

static void widen(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const widen_job *j = arg;
    const size_t d = j->h->place.n_embd;
    const lv_type_traits *t = lv_type_traits_get(j->h->place.type);
    t->dequantize(j->h->rows + begin * d, j->raw + begin * j->h->row_bytes, (end - begin) * d);
}

int lv_fit_head_rows(lv_fit_head *h, lv_cpu *cpu, size_t first, size_t n, const float **out, lever_error *err)
{
    widen_job j = { .h = h };
    *out = h->rows;
    LEVER_TRY(lv_fit_head_raw(h, first, n, &j.raw, err));
    lv_cpu_run(cpu, n, 16, widen, &j);
    return LEVER_OK;
}
