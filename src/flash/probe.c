/* SPDX-License-Identifier: MIT */
#include "flash/probe.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"

enum { DEPTH_MOST = 16, BLOCK_MOST = 4 << 20, FILE_LEAST = 64 << 20, POINT_NS = 200000000 };

/* A slice of weights times some dozens of rows, and a turn of another program: so long nobody asks for reads. A probe
 * that does nothing else is as fast with two reads in flight; a run on a busy machine was half as fast then. */
static const double busy_s = 0.008;

static const uint32_t blocks[] = { 128 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20 },
                      depths[] = { 1, 2, 4, 8, 16 };
enum { N_BLOCKS = sizeof blocks / sizeof *blocks, N_DEPTHS = sizeof depths / sizeof *depths };
_Static_assert((int)LV_PROBE_POINTS_USUAL == N_BLOCKS * N_DEPTHS + 4,
               "the grid, small pages, three of the pool");

typedef struct probe_run {
    const lv_probe_config *c;
    lv_probe *out;
    lv_file file;
    uint8_t *huge, *small; /* [DEPTH_MOST][BLOCK_MOST] */
    uint64_t at;           /* where the next read begins */
    bool has_uring;
} probe_run;

static void next_read(probe_run *r, lv_io_read *read, uint32_t block)
{
    if (r->at + block > r->file.size_bytes) r->at = 0;
    read->off = r->at;
    r->at += block;
}

/* Submit one read; LEVER_EIO when the queue does not take it. */
static int start(probe_run *r, lv_io *io, lv_io_read *read, uint32_t block, lever_error *err)
{
    next_read(r, read, block);
    if (lv_io_submit(io, &read, 1) == 1) return LEVER_OK;
    return lv_fail(err, LEVER_EIO, 0, "'%s': reads can not be queued", r->c->path);
}

/* Keeps `depth` reads in flight for the time of a point; *bytes: what was read. Also after a failure it waits
 * for those in flight, which live in this frame. */
static int read_for(probe_run *r, lv_io *io, const lv_probe_point *p, uint64_t ns, uint64_t *bytes,
                    lever_error *err)
{
    lv_io_read reads[DEPTH_MOST], *done[DEPTH_MOST];
    const uint64_t end = lv_clock_ns() + ns;
    uint32_t n_flight = 0;
    int rc = LEVER_OK;
    *bytes = 0;
    for (uint32_t i = 0; i < p->depth && rc >= 0; i++) {
        uint8_t *dst = (p->huge_pages ? r->huge : r->small) + (size_t)i * BLOCK_MOST;
        reads[i] = (lv_io_read){ .file = &r->file, .dst = dst, .len = p->block_bytes };
        rc = start(r, io, &reads[i], p->block_bytes, err);
        n_flight += rc >= 0;
    }
    while (n_flight) {
        const int n = lv_io_reap(io, done, DEPTH_MOST, 1);
        if (n < 0) return lv_fail(err, LEVER_EIO, 0, "'%s': the read queue failed", r->c->path);
        for (int i = 0; i < n; i++) {
            n_flight--;
            if (done[i]->result < 0 && rc >= 0)
                rc = lv_fail(err, LEVER_EIO, done[i]->os_errno, "'%s': read of %" PRIu32 " bytes at %" PRIu64,
                             r->c->path, done[i]->len, done[i]->off);
            if (rc < 0) continue;
            *bytes += (uint64_t)done[i]->result;
            if (lv_clock_ns() >= end) continue;
            rc = start(r, io, done[i], p->block_bytes, err);
            n_flight += rc >= 0;
        }
    }
    return rc;
}

static int measure(probe_run *r, lv_probe_point p, lever_error *err)
{
    lv_io_config ioc;
    lv_io_config_init(&ioc);
    ioc.depth = p.depth;
    ioc.fault = r->c->fault;
    lv_io *io;
    LEVER_TRY(lv_io_open(&io, p.backend, &ioc, err));
    const uint64_t ns = r->c->point_ns ? r->c->point_ns : POINT_NS;
    const uint64_t t0 = lv_clock_ns(), cpu0 = lv_clock_cpu_ns();
    uint64_t bytes = 0;
    const int rc = read_for(r, io, &p, ns, &bytes, err);
    const double passed = (double)(lv_clock_ns() - t0), cpu = (double)(lv_clock_cpu_ns() - cpu0);
    lv_io_close(&io);
    LEVER_TRY(rc);
    p.bytes_per_s = (double)bytes * 1e9 / passed;
    p.cpu_share = cpu / passed;
    r->out->points[r->out->n_points++] = p;
    r->out->best = lv_probe_choose(r->out->points, r->out->n_points);
    if (r->c->progress) r->c->progress(r->c->user, r->out->n_points, LV_PROBE_POINTS_USUAL);
    return LEVER_OK;
}

/* Bytes that stay in flight; do they last while whoever asks for more is busy? */
static double in_flight(const lv_probe_point *p) { return (double)p->block_bytes * p->depth; }
static bool lasts(const lv_probe_point *p) { return in_flight(p) >= p->bytes_per_s * busy_s; }

/* Of points at least as fast as `least` (and that last) the one with the least memory within 3 % of their
 * fastest. */
static uint32_t choose_among(const lv_probe_point *points, uint32_t n, double least, bool lasting)
{
    double most = 0;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        if ((lasts(&points[i]) || !lasting) && points[i].bytes_per_s > most) most = points[i].bytes_per_s;
    if (most < least) return best;
    for (uint32_t i = 0; i < n; i++) {
        if (points[i].bytes_per_s < 0.97 * most || (lasting && !lasts(&points[i]))) continue;
        if (best == UINT32_MAX || in_flight(&points[i]) < in_flight(&points[best])) best = i;
    }
    return best;
}

uint32_t lv_probe_choose(const lv_probe_point *points, uint32_t n)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++) most = points[i].bytes_per_s > most ? points[i].bytes_per_s : most;
    const uint32_t best = choose_among(points, n, 0.9 * most, true);
    return best < n ? best : choose_among(points, n, 0, false);
}

/* The grid; then at its best point smaller pages and the other backend. */
static int measure_all(probe_run *r, lever_error *err)
{
    const char *backend = r->has_uring ? "uring" : "pool";
    for (int b = 0; b < N_BLOCKS; b++)
        for (int d = 0; d < N_DEPTHS; d++)
            LEVER_TRY(measure(r, (lv_probe_point){ backend, blocks[b], depths[d], true, 0, 0 }, err));
    const lv_probe_point best = r->out->points[r->out->best];
    LEVER_TRY(measure(r, (lv_probe_point){ backend, best.block_bytes, best.depth, false, 0, 0 }, err));
    for (uint32_t d = 2; d <= 8 && r->has_uring; d *= 2)
        LEVER_TRY(measure(r, (lv_probe_point){ "pool", best.block_bytes, d, true, 0, 0 }, err));
    return LEVER_OK;
}

static int open_run(probe_run *r, lever_error *err)
{
    lv_io *io;
    lv_io_config ioc;
    lv_io_config_init(&ioc);
    LEVER_TRY(lv_file_open(&r->file, r->c->path, err));
    if (r->file.size_bytes < FILE_LEAST)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "'%s': %" PRIu64 " bytes are too few to measure with; at least %d MiB", r->c->path,
                       r->file.size_bytes, FILE_LEAST >> 20);
    r->out->direct = r->file.fd_direct >= 0;
    r->huge = lv_map((size_t)DEPTH_MOST * BLOCK_MOST);
    r->small = lv_map_small((size_t)DEPTH_MOST * BLOCK_MOST);
    if (!r->huge || !r->small) return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the flash probe");
    memset(r->huge, 1, (size_t)DEPTH_MOST * BLOCK_MOST); /* pages that exist */
    memset(r->small, 1, (size_t)DEPTH_MOST * BLOCK_MOST);
    r->has_uring = lv_io_open(&io, "uring", &ioc, NULL) >= 0;
    lv_io_close(&io);
    return LEVER_OK;
}

int lv_probe_run(lv_probe *out, const lv_probe_config *c, lever_error *err)
{
    probe_run r = { .c = c, .out = out };
    *out = (lv_probe){ 0 };
    int rc = open_run(&r, err);
    if (rc >= 0) rc = measure_all(&r, err);
    lv_unmap(r.huge, (size_t)DEPTH_MOST * BLOCK_MOST);
    lv_unmap(r.small, (size_t)DEPTH_MOST * BLOCK_MOST);
    lv_file_close(&r.file);
    return rc;
}
