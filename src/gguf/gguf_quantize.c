/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_quantize.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/gguf_impl.h"

/* Weights per step: whole blocks of every type, 256 KiB as floats. */
enum { STEP = 64 << 10, COPY = STEP * sizeof(float) };

typedef struct job {
    const char *in;
    lv_gguf *g;
    int fd;
    lv_gguf_writer *w;
    uint32_t type;
    float   *x;            /* [STEP] */
    uint8_t *raw, *packed; /* [COPY] bytes as read, as converted */
    lv_gguf_quantize_result sum;
    uint64_t done, total;
    lv_gguf_progress_fn progress;
    void *user;
} job;

/* ---- what becomes of a tensor ---- */

static bool is_matrix(const lv_gguf_tensor *t)
{
    static const char end[] = ".weight";
    const size_t n = sizeof end - 1;
    return t->n_dims == 2 && t->name.len > n && !memcmp(t->name.s + t->name.len - n, end, n);
}

static bool is_partial(const job *j, const lv_gguf_tensor *t)
{
    return t->dims[t->n_dims - 1] % lv_type_traits_get(j->type)->block_len;
}

static uint32_t new_type(const job *j, const lv_gguf_tensor *t)
{
    return is_matrix(t) && !is_partial(j, t) ? j->type : t->type;
}

/* All that can be known before the first byte is written. */
static int check_tensors(job *j, lever_error *err)
{
    for (size_t i = 0; i < lv_gguf_n_tensors(j->g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(j->g, i);
        const lv_type_traits *from = lv_type_traits_get(t->type);
        j->total += t->bytes;
        if (memchr(t->name.s, 0, t->name.len))
            return lv_fail(err, LEVER_EFORMAT, 0, "%s: tensor '%s': name with a NUL byte", j->in,
                           lv_shown_str(t->name).s);
        if (new_type(j, t) != t->type && !from->dequantize)
            return lv_fail(err, LEVER_EUNSUP, 0, "%s: tensor '%s' is %s, which this build can not read",
                           j->in, lv_shown_str(t->name).s, from->name);
    }
    return LEVER_OK;
}

/* ---- keys and headers ---- */

static int put_keys(job *j, lever_error *err)
{
    const lv_gguf_kv *old = lv_gguf_find(j->g, "general.file_type");
    const int number = lv_gguf_file_type(j->type);
    for (size_t i = 0; i < lv_gguf_n_kv(j->g); i++) {
        const lv_gguf_kv *kv = lv_gguf_kv_at(j->g, i);
        if (kv != old) LEVER_TRY(lv_gguf_put_kv(j->w, j->g, kv, err));
    }
    return number < 0 ? LEVER_OK : lv_gguf_put_u32(j->w, "general.file_type", (uint32_t)number, err);
}

static int put_headers(job *j, lever_error *err)
{
    for (size_t i = 0; i < lv_gguf_n_tensors(j->g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(j->g, i);
        char name[LV_GGUF_NAME_MAX + 1];
        memcpy(name, t->name.s, t->name.len);
        name[t->name.len] = '\0';
        LEVER_TRY(lv_gguf_put_tensor(j->w, name, new_type(j, t), t->n_dims, t->dims, err));
    }
    return LEVER_OK;
}

/* ---- data ---- */

static int read_at(job *j, size_t n, uint64_t off, lever_error *err)
{
    const int rc = lv_gguf_fd_read(j->fd, j->raw, n, off, err);
    if (rc < 0) return lv_fail_prefix(err, rc, "%s", j->in);
    j->done += n;
    if (j->progress) j->progress(j->user, j->done, j->total);
    return LEVER_OK;
}

static int check_finite(const job *j, const lv_gguf_tensor *t, uint64_t first, size_t n, const char *what,
                        lever_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(j->x[i]))
            return lv_fail(err, LEVER_EFORMAT, 0, "%s: tensor '%s': weight %" PRIu64 " %s", j->in,
                           lv_shown_str(t->name).s, first + i, what);
    return LEVER_OK;
}

static int copy_tensor(job *j, const lv_gguf_tensor *t, lever_error *err)
{
    for (uint64_t at = 0; at < t->bytes;) {
        const size_t n = t->bytes - at < COPY ? (size_t)(t->bytes - at) : COPY;
        LEVER_TRY(read_at(j, n, t->offset + at, err));
        LEVER_TRY(lv_gguf_write_data(j->w, j->raw, n, err));
        at += n;
    }
    return LEVER_OK;
}

/* Reading the result back finds scales that overflowed f16 as well as weights that were not finite. */
static int convert_tensor(job *j, const lv_gguf_tensor *t, lever_error *err)
{
    const lv_type_traits *from = lv_type_traits_get(t->type), *to = lv_type_traits_get(j->type);
    const uint64_t n = t->dims[0] * t->dims[1];
    for (uint64_t at = 0; at < n;) {
        const size_t step = n - at < STEP ? (size_t)(n - at) : STEP;
        const size_t in_bytes = step / from->block_len * from->block_bytes;
        const size_t out_bytes = step / to->block_len * to->block_bytes;
        LEVER_TRY(read_at(j, in_bytes, t->offset + at / from->block_len * from->block_bytes, err));
        from->dequantize(j->x, j->raw, step);
        LEVER_TRY(check_finite(j, t, at, step, "is not a finite number", err));
        to->quantize(j->packed, j->x, step);
        if (to->dequantize) {
            to->dequantize(j->x, j->packed, step);
            LEVER_TRY(check_finite(j, t, at, step, "does not fit the new type", err));
        }
        LEVER_TRY(lv_gguf_write_data(j->w, j->packed, out_bytes, err));
        j->sum.bytes_out += out_bytes;
        at += step;
    }
    return LEVER_OK;
}

static int put_data(job *j, lever_error *err)
{
    for (size_t i = 0; i < lv_gguf_n_tensors(j->g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(j->g, i);
        j->sum.bytes_in += t->bytes;
        if (new_type(j, t) != t->type) {
            LEVER_TRY(convert_tensor(j, t, err));
            j->sum.n_converted++;
            continue;
        }
        LEVER_TRY(copy_tensor(j, t, err));
        j->sum.bytes_out += t->bytes;
        if (is_matrix(t) && is_partial(j, t)) j->sum.n_kept_partial++;
        else j->sum.n_kept++;
    }
    return LEVER_OK;
}

/* ---- the whole ---- */

static int job_open(job *j, const char *out, lever_error *err)
{
    uint64_t file_bytes;
    LEVER_TRY(lv_gguf_open(&j->g, j->in, err));
    LEVER_TRY(check_tensors(j, err));
    j->x = lv_alloc_array(STEP, sizeof *j->x, 64);
    j->raw = lv_alloc(COPY, 64);
    j->packed = lv_alloc(COPY, 64);
    if (!j->x || !j->raw || !j->packed) return lv_fail(err, LEVER_ENOMEM, 0, "%s: rows of weights", j->in);
    LEVER_TRY(lv_gguf_fd_open(&j->fd, &file_bytes, j->in, err));
    return lv_gguf_writer_open(&j->w, out, err);
}

static int job_run(job *j, lever_error *err)
{
    LEVER_TRY(put_keys(j, err));
    LEVER_TRY(put_headers(j, err));
    LEVER_TRY(put_data(j, err));
    return lv_gguf_writer_finish(j->w, err);
}

int lv_gguf_quantize(const char *in, const char *out, uint32_t type, lv_gguf_quantize_result *result,
                     lv_gguf_progress_fn progress, void *user, lever_error *err)
{
    const lv_type_traits *to = lv_type_traits_get(type);
    if (!to || !to->quantize)
        return lv_fail(err, LEVER_EUNSUP, 0, "this build can not write type %s", to ? to->name : "?");
    LEVER_TRY(lv_gguf_check_paths(in, out, err));
    job j = { .in = in, .fd = -1, .type = type, .progress = progress, .user = user };
    int rc = job_open(&j, out, err);
    if (rc == LEVER_OK) rc = job_run(&j, err);
    if (rc == LEVER_OK && result) *result = j.sum;
    lv_gguf_writer_close(&j.w);
    lv_gguf_close(&j.g);
    lv_free(j.x);
    lv_free(j.raw);
    lv_free(j.packed);
    lv_gguf_fd_close(&j.fd);
    return rc;
}
