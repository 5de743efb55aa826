/* SPDX-License-Identifier: MIT */
#include "flash/verify.h"

#include <inttypes.h>
#include <string.h>

#include "gguf/gguf_impl.h"

int lv_verify_fail(const lv_sums *s, const lv_file *f, uint64_t off, lever_error *err)
{
    return lv_fail(err, LEVER_EIO, 0,
                   "'%s': the page at byte %" PRIu64 " (%s) differs from its checksum, also when read again; "
                   "'lever inspect --verify' lists the damage, a new copy of the file repairs it",
                   f->path, off, lv_shown_str(lv_sums_what(s, off)).s);
}

/* Whole pages, or up to the end of the file. */
static int read_pages(const lv_sums *s, const lv_file *f, void *dst, size_t n, uint64_t off, lever_error *err)
{
    for (bool again = false;; again = true) {
        LEVER_TRY(lv_file_read(f, dst, n, off, err));
        const uint64_t bad = lv_sums_check(s, dst, n, off);
        if (bad == UINT64_MAX) return LEVER_OK;
        if (again) return lv_verify_fail(s, f, bad, err);
        lv_file_forget(f, off, n);
    }
}

/* n bytes within one page. */
static int read_part(const lv_sums *s, const lv_file *f, void *dst, size_t n, uint64_t off, lever_error *err)
{
    uint8_t page[LV_SUMS_PAGE];
    const size_t skip = (size_t)(off % LV_SUMS_PAGE);
    const uint64_t at = off - skip, left = s->model_bytes - at;
    LEVER_TRY(read_pages(s, f, page, left < sizeof page ? (size_t)left : sizeof page, at, err));
    memcpy(dst, page + skip, n);
    return LEVER_OK;
}

int lv_verify_read(const lv_sums *s, const lv_file *f, void *dst, size_t n, uint64_t off, lever_error *err)
{
    if (!s) return lv_file_read(f, dst, n, off, err);
    uint8_t *p = dst;
    const uint64_t end = off + n;
    if (n > s->model_bytes || off > s->model_bytes - n)
        return lv_fail(err, LEVER_EIO, 0, "'%s': %zu bytes at %" PRIu64 " are past the end", f->path, n, off);
    const uint64_t whole_end = end == s->model_bytes ? end : end - end % LV_SUMS_PAGE;
    while (off < end) {
        const uint64_t page_end = off - off % LV_SUMS_PAGE + LV_SUMS_PAGE;
        const bool whole = off % LV_SUMS_PAGE == 0 && whole_end > off;
        const size_t take = (size_t)((whole ? whole_end : page_end < end ? page_end : end) - off);
        LEVER_TRY(whole ? read_pages(s, f, p, take, off, err) : read_part(s, f, p, take, off, err));
        p += take;
        off += take;
    }
    return LEVER_OK;
}
