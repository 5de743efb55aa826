/* SPDX-License-Identifier: MIT */
#include "flash/verify.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "gguf/gguf_impl.h"

/* Pages a thread takes at a time; a batch of fewer than two such shares is not worth waking anybody. */
enum { GRAIN = 32 };

typedef struct job {
    const lv_sums *sums;
    const uint8_t *bytes;
    size_t   n;
    uint64_t off;
    _Atomic uint64_t bad; /* lowest page that differs */
} job;

static void check_share(void *arg, size_t begin, size_t end, unsigned thread)
{
    job *j = arg;
    (void)thread;
    const size_t at = begin * LV_SUMS_PAGE, stop = end * LV_SUMS_PAGE;
    const uint64_t bad = lv_sums_check(j->sums, j->bytes + at, (stop < j->n ? stop : j->n) - at, j->off + at);
    uint64_t lowest = atomic_load(&j->bad);
    while (bad < lowest && !atomic_compare_exchange_weak(&j->bad, &lowest, bad)) {}
}

uint64_t lv_verify_pages(const lv_sums *s, lv_pool *pool, const void *bytes, size_t n, uint64_t off)
{
    const size_t n_pages = (n + LV_SUMS_PAGE - 1) / LV_SUMS_PAGE;
    if (!pool || n_pages < 2 * GRAIN) return lv_sums_check(s, bytes, n, off);
    job j = { .sums = s, .bytes = bytes, .n = n, .off = off };
    atomic_init(&j.bad, UINT64_MAX);
    lv_pool_run(pool, n_pages, GRAIN, check_share, &j);
    return atomic_load(&j.bad);
}

int lv_verify_fail(const lv_sums *s, const lv_file *f, uint64_t off, lever_error *err)
{
    return lv_fail(err, LEVER_EIO, 0,
                   "'%s': the page at byte %" PRIu64 " (%s) differs from its checksum, also when read again; "
                   "'lever inspect --verify' lists the damage, a new copy of the file repairs it",
                   f->path, off, lv_shown_str(lv_sums_what(s, off)).s);
}

/* Whole pages, or up to the end of the file. */
static int read_pages(const lv_sums *s, const lv_file *f, lv_pool *pool, void *dst, size_t n, uint64_t off,
                      lever_error *err)
{
    for (bool again = false;; again = true) {
        LEVER_TRY(lv_file_read(f, dst, n, off, err));
        const uint64_t bad = lv_verify_pages(s, pool, dst, n, off);
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
    LEVER_TRY(read_pages(s, f, NULL, page, left < sizeof page ? (size_t)left : sizeof page, at, err));
    memcpy(dst, page + skip, n);
    return LEVER_OK;
}

int lv_verify_read(const lv_sums *s, const lv_file *f, lv_pool *pool, void *dst, size_t n, uint64_t off,
                   lever_error *err)
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
        LEVER_TRY(whole ? read_pages(s, f, pool, p, take, off, err) : read_part(s, f, p, take, off, err));
        p += take;
        off += take;
    }
    return LEVER_OK;
}
