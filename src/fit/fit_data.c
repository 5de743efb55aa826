/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "fit/fit_data.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "base/mem.h"

enum { VERSION = 1, HEADER_BYTES = 4096 };
static const char magic[8] = "lvrfit\r\n";

typedef struct header {
    char     magic[8];
    uint32_t version, n_records, windows_done;
    lv_fit_data_info info;
} header;
_Static_assert(sizeof(header) <= HEADER_BYTES, "the header has its own block");

struct lv_fit_data {
    char    *path;
    FILE    *f;
    header   h;
    uint8_t *raw;         /* [record_bytes] */
    uint64_t record_bytes, first; /* first: where records begin */
    uint32_t appended;    /* records written, complete groups or not */
};

static uint64_t final_bytes(const lv_fit_data_info *i) { return i->n_embd * sizeof(float); }
static uint64_t layer_bytes(const lv_fit_data_info *i) { return i->n_embd * sizeof(uint16_t); }

uint64_t lv_fit_data_record_bytes(const lv_fit_data_info *i)
{
    return sizeof(lv_fit_record) + final_bytes(i) + i->n_layers * layer_bytes(i);
}

uint64_t lv_fit_data_memory_bytes(const lv_fit_data_info *i)
{
    return sizeof(lv_fit_data) + lv_fit_data_record_bytes(i) + BUFSIZ;
}

static int io_error(lv_fit_data *f, const char *what, lever_error *err)
{
    return lv_fail(err, LEVER_EIO, errno ? errno : EIO, "%s: %s", f->path, what);
}

static int seek(lv_fit_data *f, uint64_t at, lever_error *err)
{
    errno = 0;
    return fseeko(f->f, (off_t)at, SEEK_SET) < 0 ? io_error(f, "seek", err) : LEVER_OK;
}

static int write_at(lv_fit_data *f, uint64_t at, const void *bytes, size_t n, lever_error *err)
{
    LEVER_TRY(seek(f, at, err));
    return fwrite(bytes, 1, n, f->f) == n ? LEVER_OK : io_error(f, "write", err);
}

static int read_at(lv_fit_data *f, uint64_t at, void *bytes, size_t n, lever_error *err)
{
    LEVER_TRY(seek(f, at, err));
    return fread(bytes, 1, n, f->f) == n ? LEVER_OK : io_error(f, "read", err);
}

static uint64_t record_at(const lv_fit_data *f, uint32_t i) { return f->first + i * f->record_bytes; }

/* Is what lies there ours, whole and of the same settings? */
static bool usable(lv_fit_data *f, const lv_fit_data_info *info)
{
    const header *h = &f->h;
    if (fread(&f->h, sizeof f->h, 1, f->f) != 1 || memcmp(h->magic, magic, sizeof magic)) return false;
    if (h->version != VERSION || memcmp(&h->info, info, sizeof *info)) return false;
    if (fseeko(f->f, 0, SEEK_END) < 0) return false;
    const off_t size = ftello(f->f);
    return size >= 0 && (uint64_t)size >= record_at(f, h->n_records) && h->windows_done <= info->n_windows;
}

int lv_fit_data_open(lv_fit_data **out, const char *path, const lv_fit_data_info *info, lever_error *err)
{
    *out = NULL;
    lv_fit_data *f = lv_alloc(sizeof *f, 16);
    if (f) f->path = lv_strdup_n(path, strlen(path));
    if (f) f->record_bytes = lv_fit_data_record_bytes(info);
    if (!f || !f->path || !(f->raw = lv_alloc((size_t)f->record_bytes, 64))) {
        lv_fit_data_close(&f);
        return lv_fail(err, LEVER_ENOMEM, 0, "%s: recorded positions", path);
    }
    f->first = HEADER_BYTES + final_bytes(info);
    f->f = fopen(path, "r+be");
    if (!f->f || !usable(f, info)) {
        if (f->f) fclose(f->f);
        f->h = (header){ .version = VERSION, .info = *info };
        memcpy(f->h.magic, magic, sizeof magic);
        errno = 0;
        f->f = fopen(path, "w+be");
    }
    f->appended = f->h.n_records;
    int rc = f->f ? LEVER_OK : io_error(f, "can not be created", err);
    if (rc < 0) lv_fit_data_close(&f);
    *out = f;
    return rc;
}

void lv_fit_data_close(lv_fit_data **fp)
{
    lv_fit_data *f = fp ? *fp : NULL;
    if (!f) return;
    if (f->f) fclose(f->f);
    lv_free(f->raw);
    lv_free(f->path);
    lv_free(f);
    *fp = NULL;
}

uint32_t lv_fit_data_windows(const lv_fit_data *f) { return f->h.windows_done; }
uint32_t lv_fit_data_records(const lv_fit_data *f) { return f->h.n_records; }
const lv_fit_data_info *lv_fit_data_get_info(const lv_fit_data *f) { return &f->h.info; }

int lv_fit_data_put_gain(lv_fit_data *f, const float *gain, lever_error *err)
{
    return write_at(f, HEADER_BYTES, gain, (size_t)final_bytes(&f->h.info), err);
}

int lv_fit_data_gain(lv_fit_data *f, float *gain, lever_error *err)
{
    return read_at(f, HEADER_BYTES, gain, (size_t)final_bytes(&f->h.info), err);
}

static int pack_layer(const lv_fit_data *f, uint8_t *to, const float *x, float eps, lever_error *err)
{
    const size_t d = f->h.info.n_embd;
    double square = 0;
    for (size_t i = 0; i < d; i++) square += (double)x[i] * (double)x[i];
    const double scale = 1.0 / sqrt(square / (double)d + (double)eps);
    if (!isfinite(square))
        return lv_fail(err, LEVER_EFORMAT, 0,
                       "a hidden state of the target is not finite: its weights are damaged");
    for (size_t i = 0; i < d; i++) {
        const uint16_t half = lv_f32_to_f16((float)((double)x[i] * scale));
        memcpy(to + i * sizeof half, &half, sizeof half);
    }
    return LEVER_OK;
}

int lv_fit_data_append(lv_fit_data *f, const lv_fit_record *r, const float *final, const float *x, float eps,
                       lever_error *err)
{
    const lv_fit_data_info *info = &f->h.info;
    uint8_t *at = f->raw;
    memcpy(at, r, sizeof *r);
    memcpy(at += sizeof *r, final, (size_t)final_bytes(info));
    at += final_bytes(info);
    for (uint32_t l = 0; l < info->n_layers; l++, at += layer_bytes(info))
        LEVER_TRY(pack_layer(f, at, x + (size_t)l * info->n_embd, eps, err));
    LEVER_TRY(write_at(f, record_at(f, f->appended), f->raw, (size_t)f->record_bytes, err));
    f->appended++;
    return LEVER_OK;
}

int lv_fit_data_commit(lv_fit_data *f, uint32_t n_windows, lever_error *err)
{
    errno = 0;
    if (fflush(f->f) != 0) return io_error(f, "write", err); /* records first */
    f->h.windows_done = n_windows;
    f->h.n_records = f->appended;
    LEVER_TRY(write_at(f, 0, &f->h, sizeof f->h, err));
    return fflush(f->f) != 0 ? io_error(f, "write", err) : LEVER_OK;
}

int lv_fit_data_held(lv_fit_data *f, uint32_t i, lever_error *err)
{
    uint32_t group, every = f->h.info.held_every;
    LEVER_TRY(read_at(f, record_at(f, i) + offsetof(lv_fit_record, group), &group, sizeof group, err));
    return group % every == every - 1;
}

int lv_fit_data_read(lv_fit_data *f, uint32_t i, uint32_t layer, lv_fit_record *r, float *final, float *x,
                     lever_error *err)
{
    const lv_fit_data_info *info = &f->h.info;
    LEVER_TRY(read_at(f, record_at(f, i), f->raw, (size_t)f->record_bytes, err));
    memcpy(r, f->raw, sizeof *r);
    memcpy(final, f->raw + sizeof *r, (size_t)final_bytes(info));
    const uint8_t *at = f->raw + sizeof *r + final_bytes(info) + layer * layer_bytes(info);
    for (size_t k = 0; k < info->n_embd; k++) {
        uint16_t half;
        memcpy(&half, at + k * sizeof half, sizeof half);
        x[k] = lv_f16_to_f32(half);
    }
    return LEVER_OK;
}
