/* A test file, a stream over parts of it, and what each backend's tests begin with.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_IO_STREAM_RIG_H
#define LEVER_TESTS_IO_STREAM_RIG_H

#include "support/check.h"

#include "base/mem.h"
#include "flash/stream.h"
#include "support/tempfile.h"

enum { FILE_BYTES = 200 * 4096 + 77, N = 23 };
static const char *backend;
static char path[64];
static lv_file file;
static lv_extent extents[N];
static lv_io *io;
static uint8_t *ring;
static size_t ring_bytes;

static inline void make_extents(unsigned seed, uint32_t longest)
{
    uint64_t at = seed % 4000;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t len = 1 + (seed >> 8) % longest;
        if (at + len > FILE_BYTES) at = (seed >> 4) % 1000;
        extents[i] = (lv_extent){ .file = &file, .off = at, .len = len };
        at += len + (seed >> 20) % 3000;
    }
    extents[N - 1] =
        (lv_extent){ .file = &file, .off = FILE_BYTES - 500, .len = 500 }; /* ends with the file */
}

static inline lv_io_config io_config(void)
{
    lv_io_config c;
    lv_io_config_init(&c);
    c.depth = 4;
    c.sim_seed = 5;
    c.model.latency_ns = 20000;
    c.model.jitter_percent = 100;
    return c;
}

static uint8_t *sums_bytes;
static const lv_sums *sums; /* of the next stream; NULL: not checked */

/* Checksums of the test file; that of page `wrong` differs (UINT32_MAX: none). */
static inline void use_sums(lv_sums *s, uint32_t wrong)
{
    static uint8_t bytes[FILE_BYTES];
    uint32_t pages[FILE_BYTES / LV_SUMS_PAGE + 1];
    lever_error err = { 0 };
    size_t n;
    for (size_t i = 0; i < FILE_BYTES; i++) bytes[i] = temp_byte(i);
    for (size_t at = 0, i = 0; at < FILE_BYTES; at += LV_SUMS_PAGE, i++)
        pages[i] =
            lv_sums_of_page(bytes + at, FILE_BYTES - at < LV_SUMS_PAGE ? FILE_BYTES - at : LV_SUMS_PAGE) ^
            (i == wrong);
    const lv_sums_tensor t = { .name = { "one.weight", 10 }, .offset = 4000, .bytes = FILE_BYTES - 4000 };
    const lv_sums head = { .model = { "m", 1 }, .model_bytes = FILE_BYTES, .header_bytes = 100,
                           .n_tensors = 1 };
    CHECK_OK(lv_sums_build(&sums_bytes, &n, &head, &t, pages, &err), &err);
    CHECK_OK(lv_sums_parse(s, sums_bytes, n, &err), &err);
    sums = s;
}

static inline void drop_sums(void)
{
    sums = NULL;
    lv_free(sums_bytes);
}

static int n_checks; /* reads that a stream compared with its sums */

static inline void count_checks(void *user, const lever_trace_event *e)
{
    (void)user;
    n_checks += !strcmp(e->name, "check sums");
}

static inline lv_stream *open_stream(const lv_io_config *c, size_t bytes)
{
    lever_error err = { 0 };
    lv_stream *s = NULL;
    CHECK_OK(lv_io_open(&io, backend, c, &err), &err);
    ring_bytes = bytes;
    ring = lv_map(bytes);
    const lv_stream_config sc = {
        .io = io, .extents = extents, .n_extents = N, .ring = ring, .ring_bytes = bytes, .sums = sums,
        .trace = { .fn = count_checks }, .track = "test"
    };
    CHECK_OK(lv_stream_open(&s, &sc, &err), &err);
    return s;
}

static inline void close_stream(lv_stream **s)
{
    lv_stream_close(s);
    lv_io_close(&io);
    lv_unmap(ring, ring_bytes);
}

static inline bool take(lv_stream *s, int i, lever_error *err)
{
    const void *p;
    if (lv_stream_next(s, &p, err) < 0) return false;
    const uint8_t *b = p;
    if (b < ring || b + extents[i].len > ring + ring_bytes) return false;
    for (uint32_t j = 0; j < extents[i].len; j++)
        if (b[j] != temp_byte(extents[i].off + j)) return false;
    return true;
}

/* main's first steps: the backend, or a skip, and the file. */
static inline void begin_streams(int argc, char **argv)
{
    backend = argc > 1 ? argv[1] : "pool";
    const lv_io_config c = io_config();
    lever_error err = { 0 };
    if (lv_io_open(&io, backend, &c, &err) == LEVER_EUNSUP) SKIP(err.msg);
    lv_io_close(&io);
    if (temp_make(path, sizeof path, FILE_BYTES) || lv_file_open(&file, path, &err) < 0)
        SKIP("no place for a test file");
    unlink(path);
}

#endif
