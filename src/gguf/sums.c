/* SPDX-License-Identifier: MIT */
#include "gguf/sums.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "gguf/gguf_impl.h"

enum { MAGIC = 0x4d53564c, VERSION = 1, HEAD_BYTES = 56, END_BYTES = 8, ENTRY_BYTES = 26, NAME_MAX = 255 };

static uint64_t pages_of(uint64_t bytes) { return bytes / LV_SUMS_PAGE + (bytes % LV_SUMS_PAGE != 0); }

static bool next_entry(lv_bytes *b, lv_sums_tensor *t)
{
    t->offset = lv_bytes_u64(b);
    t->bytes = lv_bytes_u64(b);
    t->sum = lv_bytes_u64(b);
    t->name.len = lv_bytes_u16(b);
    t->name.s = lv_bytes_take(b, t->name.len);
    return !b->bad;
}

bool lv_sums_next(const lv_sums *s, size_t *at, lv_sums_tensor *t)
{
    lv_bytes b = lv_bytes_init(s->table, s->table_bytes);
    b.at = *at;
    if (b.at == b.n || !next_entry(&b, t)) return false;
    *at = b.at;
    return true;
}

static int check_table(const lv_sums *s, lever_error *err)
{
    lv_bytes b = lv_bytes_init(s->table, s->table_bytes);
    uint64_t end = s->header_bytes; /* of what stands before */
    if (s->n_tensors > s->table_bytes / ENTRY_BYTES)
        return lv_fail(err, LEVER_EFORMAT, 0, "%" PRIu32 " tensors in a table of %zu bytes", s->n_tensors,
                       s->table_bytes);
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        lv_sums_tensor t;
        if (!next_entry(&b, &t))
            return lv_fail(err, LEVER_EFORMAT, 0, "the table ends inside tensor %" PRIu32, i);
        const lv_shown name = lv_shown_str(t.name);
        if (t.name.len > NAME_MAX)
            return lv_fail(err, LEVER_EFORMAT, 0, "tensor %" PRIu32 ": a name of %zu bytes", i, t.name.len);
        if (t.bytes == 0 || t.offset < end || t.offset > s->model_bytes ||
            t.bytes > s->model_bytes - t.offset)
            return lv_fail(err, LEVER_EFORMAT, 0,
                           "tensor '%s': %" PRIu64 " bytes at %" PRIu64 " are not between byte %" PRIu64
                           " and the end",
                           name.s, t.bytes, t.offset, end);
        end = t.offset + t.bytes;
    }
    if (b.at == b.n) return LEVER_OK;
    return lv_fail(err, LEVER_EFORMAT, 0, "%zu bytes behind the last tensor", b.n - b.at);
}

static int check_sizes(const lv_sums *s, uint32_t page_bytes, uint32_t name_bytes, lever_error *err)
{
    if (page_bytes != LV_SUMS_PAGE)
        return lv_fail(err, LEVER_EFORMAT, 0, "pages of %" PRIu32 " bytes, not %d", page_bytes, LV_SUMS_PAGE);
    if (s->model_bytes < 1 || s->model_bytes > INT64_MAX || s->n_pages != pages_of(s->model_bytes))
        return lv_fail(err, LEVER_EFORMAT, 0, "%" PRIu64 " pages of a model of %" PRIu64 " bytes", s->n_pages,
                       s->model_bytes);
    if (s->header_bytes < 1 || s->header_bytes > s->model_bytes)
        return lv_fail(err, LEVER_EFORMAT, 0, "a header of %" PRIu64 " bytes", s->header_bytes);
    if (name_bytes < 1 || name_bytes > NAME_MAX)
        return lv_fail(err, LEVER_EFORMAT, 0, "a model name of %" PRIu32 " bytes", name_bytes);
    return LEVER_OK;
}

int lv_sums_parse(lv_sums *out, const void *bytes, size_t n, lever_error *err)
{
    *out = (lv_sums){ 0 };
    lv_bytes b = lv_bytes_init(bytes, n);
    if (lv_bytes_u32(&b) != MAGIC) return lv_fail(err, LEVER_EFORMAT, 0, "not a file of checksums");
    const uint32_t version = lv_bytes_u32(&b);
    if (!b.bad && version != VERSION)
        return lv_fail(err, LEVER_EUNSUP, 0, "version %" PRIu32 " of the format; this build knows %d",
                       version, VERSION);
    if (n < HEAD_BYTES + END_BYTES) return lv_fail(err, LEVER_EFORMAT, 0, "the file ends after %zu bytes", n);
    uint64_t sum;
    memcpy(&sum, (const uint8_t *)bytes + n - END_BYTES, sizeof sum);
    if (sum != lv_hash64(bytes, n - END_BYTES))
        return lv_fail(err, LEVER_EFORMAT, 0, "the checksums are themselves damaged or cut off");
    lv_sums s = { 0 };
    s.model_bytes = lv_bytes_u64(&b);
    s.header_bytes = lv_bytes_u64(&b);
    s.header_sum = lv_bytes_u64(&b);
    const uint32_t page_bytes = lv_bytes_u32(&b);
    s.n_tensors = lv_bytes_u32(&b);
    s.n_pages = lv_bytes_u64(&b);
    const uint32_t name_bytes = lv_bytes_u32(&b);
    s.table_bytes = lv_bytes_u32(&b);
    LEVER_TRY(check_sizes(&s, page_bytes, name_bytes, err));
    s.model = (lv_str){ lv_bytes_take(&b, name_bytes), name_bytes };
    s.table = lv_bytes_take(&b, s.table_bytes);
    s.pages = lv_bytes_take(&b, s.n_pages * sizeof(uint32_t)); /* n_pages < 2^51 */
    if (b.bad || n - b.at != END_BYTES)
        return lv_fail(err, LEVER_EFORMAT, 0, "%zu bytes do not fit %" PRIu64 " pages and a table of %zu", n,
                       s.n_pages, s.table_bytes);
    LEVER_TRY(check_table(&s, err));
    *out = s;
    return LEVER_OK;
}

uint32_t lv_sums_page_sum(const lv_sums *s, uint64_t page)
{
    uint32_t sum;
    memcpy(&sum, s->pages + page * sizeof sum, sizeof sum);
    return sum;
}

uint32_t lv_sums_of_page(const void *bytes, size_t n) { return (uint32_t)lv_hash64(bytes, n); }

uint64_t lv_sums_check(const lv_sums *s, const void *bytes, size_t n, uint64_t off)
{
    const uint8_t *p = bytes;
    for (size_t at = 0; at < n; at += LV_SUMS_PAGE) {
        const size_t len = n - at < LV_SUMS_PAGE ? n - at : LV_SUMS_PAGE;
        if (lv_sums_of_page(p + at, len) != lv_sums_page_sum(s, (off + at) / LV_SUMS_PAGE)) return off + at;
    }
    return UINT64_MAX;
}

lv_str lv_sums_what(const lv_sums *s, uint64_t off)
{
    lv_sums_tensor t;
    for (size_t at = 0; off >= s->header_bytes && lv_sums_next(s, &at, &t);)
        if (t.offset + t.bytes > off && t.offset < off + LV_SUMS_PAGE) return t.name;
    return off < s->header_bytes ? (lv_str){ "header", 6 } : (lv_str){ "padding", 7 };
}

/* ---- building ---- */

static uint8_t *put(uint8_t *at, const void *p, size_t n)
{
    if (n) memcpy(at, p, n);
    return at + n;
}
static uint8_t *put_u32(uint8_t *at, uint32_t v) { return put(at, &v, sizeof v); }
static uint8_t *put_u64(uint8_t *at, uint64_t v) { return put(at, &v, sizeof v); }

static size_t name_len(lv_str s) { return s.len < NAME_MAX ? s.len : NAME_MAX; }

int lv_sums_build(uint8_t **out, size_t *n, const lv_sums *s, const lv_sums_tensor *tensors,
                  const uint32_t *pages, lever_error *err)
{
    const uint64_t n_pages = pages_of(s->model_bytes), page_sums = n_pages * sizeof *pages;
    uint64_t table = 0;
    for (uint32_t i = 0; i < s->n_tensors; i++) table += ENTRY_BYTES + name_len(tensors[i].name);
    *out = NULL;
    if (table > UINT32_MAX) return lv_fail(err, LEVER_ELIMIT, 0, "checksums of %" PRIu32 " tensors",
                                           s->n_tensors);
    *n = (size_t)(HEAD_BYTES + name_len(s->model) + table + page_sums + END_BYTES);
    uint8_t *bytes = lv_alloc(*n, 64), *at = bytes;
    if (!bytes) return lv_fail(err, LEVER_ENOMEM, 0, "checksums (%zu bytes)", *n);
    at = put_u32(put_u32(at, MAGIC), VERSION);
    at = put_u64(put_u64(put_u64(at, s->model_bytes), s->header_bytes), s->header_sum);
    at = put_u64(put_u32(put_u32(at, LV_SUMS_PAGE), s->n_tensors), n_pages);
    at = put_u32(put_u32(at, (uint32_t)name_len(s->model)), (uint32_t)table);
    at = put(at, s->model.s, name_len(s->model));
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const uint16_t len = (uint16_t)name_len(tensors[i].name);
        at = put_u64(put_u64(put_u64(at, tensors[i].offset), tensors[i].bytes), tensors[i].sum);
        at = put(put(at, &len, sizeof len), tensors[i].name.s, len);
    }
    at = put(at, pages, (size_t)page_sums);
    put_u64(at, lv_hash64(bytes, *n - END_BYTES));
    *out = bytes;
    return LEVER_OK;
}
