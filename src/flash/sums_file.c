/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "flash/sums_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "gguf/gguf_impl.h"
#include "os/file.h"

enum {
    PIECE_BYTES = 8 << 20,   /* of one read of the model */
    TABLE_MOST = 128 << 20,  /* of a sums file that are not page sums */
};

static const char suffix[] = ".sums", part_suffix[] = ".sums.part";

static char *add_suffix(const char *model, const char *end)
{
    const size_t n = strlen(model), len = strlen(end);
    char *path = lv_alloc(n + len + 1, 16);
    if (!path) return NULL;
    memcpy(path, model, n);
    memcpy(path + n, end, len + 1);
    return path;
}

static lv_str base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return (lv_str){ name, strlen(name) };
}

/* ---- loading ---- */

static int read_sums(lv_sums_file *out, const char *path, uint64_t model_bytes, lever_error *err)
{
    lv_file f;
    LEVER_TRY(lv_file_open(&f, path, err));
    int rc = LEVER_OK;
    if (f.size_bytes > model_bytes / LV_SUMS_PAGE * sizeof(uint32_t) + TABLE_MOST)
        rc = lv_fail(err, LEVER_EFORMAT, 0, "'%s': %" PRIu64 " bytes are too many for this model", path,
                     f.size_bytes);
    else if (f.size_bytes == 0)
        rc = lv_fail(err, LEVER_EFORMAT, 0, "'%s' is empty", path);
    else if (!(out->bytes = lv_alloc((size_t)f.size_bytes, 64)))
        rc = lv_fail(err, LEVER_ENOMEM, 0, "'%s' (%" PRIu64 " bytes)", path, f.size_bytes);
    else
        rc = lv_file_read(&f, out->bytes, out->n_bytes = (size_t)f.size_bytes, 0, err);
    lv_file_close(&f);
    if (rc < 0 || (rc = lv_sums_parse(&out->sums, out->bytes, out->n_bytes, err)) >= 0) return rc;
    return lv_fail_prefix(err, rc, "'%s' can not be used; make it again from a good copy of the model",
                          path);
}

static bool same_name(const lv_sums *s, const char *model)
{
    const lv_str name = base_name(model);
    return lv_str_compare(s->model, name) == 0;
}

static int other_model(const lv_sums *s, const char *model, uint64_t model_bytes, lever_error *err)
{
    return lv_fail(err, LEVER_EINVAL, 0,
                   "'%s.sums' was made for '%s' of %" PRIu64 " bytes, not for this '%s' of %" PRIu64
                   " bytes; make the sums of this one: lever inspect --checksum MODEL",
                   model, lv_shown_str(s->model).s, s->model_bytes, lv_shown_str(base_name(model)).s,
                   model_bytes);
}

static int check_size(const lv_sums *s, const char *model, uint64_t model_bytes, lever_error *err)
{
    if (model_bytes == s->model_bytes) return LEVER_OK;
    if (model_bytes > s->model_bytes || !same_name(s, model)) return other_model(s, model, model_bytes, err);
    return lv_fail(err, LEVER_EFORMAT, 0,
                   "'%s' has %" PRIu64 " bytes, its sums file says %" PRIu64
                   ": it was cut off; copy it again",
                   model, model_bytes, s->model_bytes);
}

int lv_sums_load(lv_sums_file *out, const char *model, uint64_t model_bytes, lever_error *err)
{
    *out = (lv_sums_file){ 0 };
    char *path = add_suffix(model, suffix);
    if (!path) return lv_fail(err, LEVER_ENOMEM, 0, "path of the sums of '%s'", model);
    int rc = LEVER_OK;
    if (access(path, F_OK) != 0)
        rc = lv_fail(err, LEVER_EIO, errno,
                     "no checksums for this model; while it is known to be good, make them with "
                     "'lever inspect --checksum MODEL' ('%s')",
                     path);
    if (rc >= 0) rc = read_sums(out, path, model_bytes, err);
    if (rc >= 0) rc = check_size(&out->sums, model, model_bytes, err);
    lv_free(path);
    if (rc < 0) lv_sums_unload(out);
    return rc;
}

void lv_sums_unload(lv_sums_file *f)
{
    lv_free(f->bytes);
    *f = (lv_sums_file){ 0 };
}

int lv_sums_check_header(const lv_sums *s, const char *model, const void *header, size_t n, lever_error *err)
{
    if (n == s->header_bytes && lv_hash64(header, n) == s->header_sum) return LEVER_OK;
    if (!same_name(s, model)) return other_model(s, model, s->model_bytes, err);
    return lv_fail(err, LEVER_EIO, 0,
                   "'%s': the header differs from its checksum: the file is damaged, or another model took "
                   "its place and needs sums of its own (lever inspect --checksum MODEL)",
                   model);
}

/* ---- the whole model ---- */

/* What has a checksum of its own: the header, then the tensors by ascending offset. */
typedef struct region {
    lv_sums_tensor t;  /* t.sum: as found by the scan */
    uint64_t want;     /* sum of the sums file */
    bool     named;    /* its damage was told */
} region;

typedef struct scan {
    lv_file    file;
    region    *regions;   /* [n_regions] */
    size_t     n_regions;
    uint32_t  *pages;     /* [n_pages] sums as found */
    uint64_t   n_pages;
    uint8_t   *buffer;    /* [PIECE_BYTES] */
    lv_hasher *hasher;
} scan;

static void scan_close(scan *s)
{
    lv_file_close(&s->file);
    lv_free(s->regions);
    lv_unmap(s->pages, (size_t)s->n_pages * sizeof *s->pages);
    lv_unmap(s->buffer, PIECE_BYTES);
    lv_hasher_close(s->hasher);
}

static int scan_open(scan *s, const char *model, size_t n_regions, lever_error *err)
{
    LEVER_TRY(lv_file_open(&s->file, model, err));
    s->n_regions = n_regions;
    const uint64_t n_pages = (s->file.size_bytes + LV_SUMS_PAGE - 1) / LV_SUMS_PAGE;
    s->regions = lv_alloc_array(n_regions, sizeof *s->regions, 16);
    s->hasher = lv_hasher_open();
    s->buffer = lv_map(PIECE_BYTES);
    if ((s->pages = lv_map((size_t)n_pages * sizeof *s->pages))) s->n_pages = n_pages;
    if (!s->regions || !s->hasher || !s->buffer || !s->pages)
        return lv_fail(err, LEVER_ENOMEM, 0, "checksums of '%s'", model);
    return LEVER_OK;
}

/* The part of a piece that belongs to regions; *at is the first one that is not complete. */
static void add_to_regions(scan *s, size_t *at, const uint8_t *bytes, size_t n, uint64_t off)
{
    for (; *at < s->n_regions; (*at)++) {
        lv_sums_tensor *t = &s->regions[*at].t;
        if (t->offset >= off + n) return;
        const uint64_t begin = t->offset > off ? t->offset : off, end = t->offset + t->bytes;
        const uint64_t stop = end < off + n ? end : off + n;
        if (stop > begin) lv_hasher_add(s->hasher, bytes + (begin - off), (size_t)(stop - begin));
        if (end > off + n) return;
        t->sum = lv_hasher_sum(s->hasher);
        lv_hasher_begin(s->hasher);
    }
}

static int scan_run(scan *s, const lv_sums_progress *progress, lever_error *err)
{
    const uint64_t size = s->file.size_bytes;
    size_t region_at = 0;
    for (uint64_t off = 0; off < size; off += PIECE_BYTES) {
        const size_t n = size - off < PIECE_BYTES ? (size_t)(size - off) : PIECE_BYTES;
        LEVER_TRY(lv_file_read(&s->file, s->buffer, n, off, err));
        for (size_t at = 0; at < n; at += LV_SUMS_PAGE)
            s->pages[(off + at) / LV_SUMS_PAGE] =
                lv_sums_of_page(s->buffer + at, n - at < LV_SUMS_PAGE ? n - at : LV_SUMS_PAGE);
        add_to_regions(s, &region_at, s->buffer, n, off);
        if (progress && progress->fn) progress->fn(progress->user, off + n, size);
    }
    return lv_file_check(&s->file, err); /* nothing was changed meanwhile */
}

/* ---- making ---- */

static int by_offset(const void *a, const void *b)
{
    const region *x = a, *y = b;
    return x->t.offset < y->t.offset ? -1 : x->t.offset > y->t.offset;
}

static int write_whole(const char *path, const char *part, const void *bytes, size_t n, lever_error *err)
{
    errno = 0;
    FILE *f = fopen(part, "wbe");
    if (!f) return lv_fail(err, LEVER_EIO, errno, "'%s' can not be created", part);
    const bool wrote = fwrite(bytes, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
    const int e = errno;
    if (fclose(f) == 0 && wrote && rename(part, path) == 0) return LEVER_OK;
    const int rc = lv_fail(err, LEVER_EIO, wrote ? errno : e, "'%s' can not be written", path);
    remove(part);
    return rc;
}

static int store(const char *model, const uint8_t *bytes, size_t n, lever_error *err)
{
    char *path = add_suffix(model, suffix), *part = add_suffix(model, part_suffix);
    const int rc = path && part ? write_whole(path, part, bytes, n, err)
                                : lv_fail(err, LEVER_ENOMEM, 0, "path of the sums of '%s'", model);
    lv_free(path);
    lv_free(part);
    return rc;
}

static int build(const scan *s, const char *model, uint8_t **bytes, size_t *n, lever_error *err)
{
    const size_t n_tensors = s->n_regions - 1;
    const lv_sums head = { .model = base_name(model), .model_bytes = s->file.size_bytes,
                           .header_bytes = s->regions[0].t.bytes, .header_sum = s->regions[0].t.sum,
                           .n_tensors = (uint32_t)n_tensors };
    lv_sums_tensor *t = lv_alloc_array(n_tensors + 1, sizeof *t, 16);
    if (!t) return lv_fail(err, LEVER_ENOMEM, 0, "checksums of '%s'", model);
    for (size_t i = 0; i < n_tensors; i++) t[i] = s->regions[i + 1].t;
    const int rc = lv_sums_build(bytes, n, &head, t, s->pages, err);
    lv_free(t);
    return rc;
}

int lv_sums_make(const char *model, lv_sums_report *report, const lv_sums_progress *progress,
                 lever_error *err)
{
    lv_gguf *g;
    LEVER_TRY(lv_gguf_open(&g, model, err));
    scan s = { .file = { .fd = -1, .fd_direct = -1 } };
    uint8_t *bytes = NULL;
    size_t n = 0;
    const size_t n_tensors = lv_gguf_n_tensors(g);
    int rc = n_tensors < UINT32_MAX ? scan_open(&s, model, n_tensors + 1, err)
                                    : lv_fail(err, LEVER_ELIMIT, 0, "'%s': %zu tensors", model, n_tensors);
    if (rc >= 0) {
        size_t header_bytes;
        lv_gguf_meta(g, &header_bytes);
        s.regions[0].t.bytes = header_bytes;
        for (size_t i = 0; i < n_tensors; i++) {
            const lv_gguf_tensor *t = lv_gguf_tensor_at(g, i);
            s.regions[i + 1].t = (lv_sums_tensor){ .name = t->name, .offset = t->offset, .bytes = t->bytes };
        }
        qsort(s.regions, s.n_regions, sizeof *s.regions, by_offset);
        rc = scan_run(&s, progress, err);
    }
    if (rc >= 0) rc = build(&s, model, &bytes, &n, err);
    if (rc >= 0) rc = store(model, bytes, n, err);
    if (rc >= 0 && report)
        *report = (lv_sums_report){ .model_bytes = s.file.size_bytes, .sums_bytes = n, .n_pages = s.n_pages,
                                    .n_tensors = (uint32_t)n_tensors };
    lv_free(bytes);
    scan_close(&s);
    lv_gguf_close(&g);
    return rc;
}

/* ---- comparing ---- */

typedef struct teller {
    lv_sums_damage_fn fn; /* nullable */
    void *user;
} teller;

static void tell(const teller *t, lv_str what, uint64_t off, uint64_t end)
{
    if (t->fn) t->fn(t->user, what, off, end - off);
}

/* Damaged bytes [off, end): the parts in damaged regions from `at` on, or all as padding. */
static void tell_run(scan *s, size_t at, uint64_t off, uint64_t end, const teller *t)
{
    bool any = false;
    for (; at < s->n_regions && s->regions[at].t.offset < end; at++) {
        region *r = &s->regions[at];
        const uint64_t r_end = r->t.offset + r->t.bytes;
        if (r->t.sum == r->want || r_end <= off) continue;
        tell(t, r->t.name, r->t.offset > off ? r->t.offset : off, r_end < end ? r_end : end);
        r->named = any = true;
    }
    if (!any) tell(t, (lv_str){ "padding", 7 }, off, end);
}

static void compare_pages(scan *s, const lv_sums *want, lv_sums_report *report, const teller *t)
{
    size_t region_at = 0;
    for (uint64_t i = 0, begin; i < s->n_pages; i++) {
        for (begin = i; i < s->n_pages && s->pages[i] != lv_sums_page_sum(want, i);) i++;
        if (i == begin) continue;
        report->n_bad_pages += i - begin;
        const uint64_t off = begin * LV_SUMS_PAGE, end = i * LV_SUMS_PAGE, size = want->model_bytes;
        while (region_at < s->n_regions &&
               s->regions[region_at].t.offset + s->regions[region_at].t.bytes <= off)
            region_at++;
        tell_run(s, region_at, off, end < size ? end : size, t);
    }
}

static void compare(scan *s, const lv_sums *want, lv_sums_report *report, const teller *t)
{
    compare_pages(s, want, report, t);
    report->bad_header = s->regions[0].t.sum != want->header_sum;
    for (size_t i = 0; i < s->n_regions; i++) {
        const region *r = &s->regions[i];
        if (r->t.sum == r->want) continue;
        report->n_bad_tensors += i > 0;
        /* Damage that no page sum shows, which happens once in 2^32 pages. */
        if (!r->named) tell(t, r->t.name, r->t.offset, r->t.offset + r->t.bytes);
    }
}

static int list_regions(scan *s, const lv_sums *sums, const char *model, lever_error *err)
{
    LEVER_TRY(scan_open(s, model, (size_t)sums->n_tensors + 1, err));
    s->regions[0] = (region){ .t = { .name = { "header", 6 }, .bytes = sums->header_bytes },
                              .want = sums->header_sum };
    size_t n = 1;
    lv_sums_tensor t;
    for (size_t at = 0; n < s->n_regions && lv_sums_next(sums, &at, &t); n++)
        s->regions[n] = (region){ .t = t, .want = t.sum };
    return LEVER_OK;
}

int lv_sums_compare(const char *model, lv_sums_report *report, lv_sums_damage_fn on_damage, void *user,
                    const lv_sums_progress *progress, lever_error *err)
{
    lv_sums_file f = { 0 };
    scan s = { .file = { .fd = -1, .fd_direct = -1 } };
    *report = (lv_sums_report){ 0 };
    lv_file file;
    LEVER_TRY(lv_file_open(&file, model, err));
    int rc = lv_sums_load(&f, model, file.size_bytes, err);
    lv_file_close(&file);
    if (rc >= 0) rc = list_regions(&s, &f.sums, model, err);
    if (rc >= 0 && s.file.size_bytes != f.sums.model_bytes)
        rc = lv_fail(err, LEVER_EIO, 0, "'%s' changed while in use", model);
    if (rc >= 0) rc = scan_run(&s, progress, err);
    if (rc >= 0 && s.regions[0].t.sum != f.sums.header_sum && !same_name(&f.sums, model))
        rc = other_model(&f.sums, model, s.file.size_bytes, err);
    if (rc >= 0) {
        *report = (lv_sums_report){ .model_bytes = s.file.size_bytes, .sums_bytes = f.n_bytes,
                                    .n_pages = s.n_pages, .n_tensors = f.sums.n_tensors };
        compare(&s, &f.sums, report, &(teller){ on_damage, user });
    }
    scan_close(&s);
    lv_sums_unload(&f);
    return rc;
}
