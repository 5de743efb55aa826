/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "flash/io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "flash/io_impl.h"
#include "os/clock.h"

void lv_io_config_init(lv_io_config *c) { *c = (lv_io_config){ .depth = 32, .sim_fail_at = -1, .sim_flip_at = -1 }; }

int lv_io_open(lv_io **out, const char *backend, const lv_io_config *c, lever_error *err)
{
    static const lv_io_ops *const all[] = { &lv_io_uring, &lv_io_pool, &lv_io_sim };
    *out = NULL;
    if (c->depth == 0) return lv_fail(err, LEVER_EINVAL, 0, "a read queue needs a depth of at least 1");
    if (!strcmp(backend, "auto")) {
        if (lv_io_uring.open(out, c, err) >= 0) return LEVER_OK;
        return lv_io_pool.open(out, c, err);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(backend, all[i]->name)) return all[i]->open(out, c, err);
    return lv_fail(err, LEVER_EINVAL, 0, "unknown I/O backend '%s'; known: auto, uring, pool", backend);
}

void lv_io_close(lv_io **io)
{
    if (!io || !*io) return;
    lv_io_read *done[16];
    while ((*io)->n_flight && lv_io_reap(*io, done, 16, 1) >= 0) {}
    (*io)->ops->close(*io);
    *io = NULL;
}

const char *lv_io_backend(const lv_io *io) { return io->ops->name; }

int lv_io_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    if (n > io->depth - io->n_flight) n = io->depth - io->n_flight;
    if (n == 0) return 0;
    const uint64_t now = lv_clock_ns();
    for (uint32_t i = 0; i < n; i++)
        reads[i]->progress_bytes = 0, reads[i]->result = 0, reads[i]->os_errno = 0, reads[i]->submit_ns = now;
    const int rc = io->ops->submit(io, reads, n);
    if (rc > 0) io->n_flight += (uint32_t)rc;
    return rc;
}

int lv_io_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    if (wait_for > io->n_flight) wait_for = io->n_flight;
    if (wait_for > max) wait_for = max;
    if (io->n_flight == 0 || max == 0) return 0;
    const int rc = io->ops->reap(io, done, max, wait_for);
    if (rc > 0) io->n_flight -= (uint32_t)rc;
    return rc;
}

int lv_io_fd(const lv_io_read *r)
{
    const lv_file *f = r->file;
    const uintptr_t dst = (uintptr_t)r->dst + r->progress_bytes;
    const uint64_t off = r->off + r->progress_bytes, all = off | dst | (r->len - r->progress_bytes);
    return f->fd_direct >= 0 && (all & (f->align - 1)) == 0 ? f->fd_direct : f->fd;
}

void lv_io_read_blocking(lv_io_read *r)
{
    bool buffered = false;
    while (r->progress_bytes < r->len) {
        const ssize_t got = pread(buffered ? r->file->fd : lv_io_fd(r), (char *)r->dst + r->progress_bytes,
                                  r->len - r->progress_bytes, (off_t)(r->off + r->progress_bytes));
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0 && errno == EINVAL && !buffered) { /* a file system that refuses O_DIRECT late */
            buffered = true;
            continue;
        }
        if (got < 0) {
            r->os_errno = errno;
            r->result = LEVER_EIO;
            r->done_ns = lv_clock_ns();
            return;
        }
        if (got == 0) break;
        r->progress_bytes += (uint32_t)got;
    }
    r->result = (int32_t)r->progress_bytes;
    r->done_ns = lv_clock_ns();
}
