/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "flash/io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "flash/io_impl.h"
#include "os/clock.h"

enum { COLLECT = 32 };

void lv_io_config_init(lv_io_config *c) { *c = (lv_io_config){ .depth = 32 }; }

static int open_backend(lv_io **out, const char *backend, const lv_io_config *c, lever_error *err)
{
    static const lv_io_ops *const all[] = { &lv_io_uring, &lv_io_pool, &lv_io_sim };
    if (!strcmp(backend, "auto")) {
        if (lv_io_uring.open(out, c, err) >= 0) return LEVER_OK;
        return lv_io_pool.open(out, c, err);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(backend, all[i]->name)) return all[i]->open(out, c, err);
    return lv_fail(err, LEVER_EINVAL, 0, "unknown I/O backend '%s'; known: auto, uring, pool", backend);
}

int lv_io_open(lv_io **out, const char *backend, const lv_io_config *c, lever_error *err)
{
    *out = NULL;
    if (c->depth == 0) return lv_fail(err, LEVER_EINVAL, 0, "a read queue needs a depth of at least 1");
    LEVER_TRY(open_backend(out, backend, c, err));
    lv_io *io = *out;
    io->fault = c->fault;
    io->model = c->model;
    lv_flash_clock_init(&io->clock, &io->model);
    if (!lv_flash_model_waits(&io->model)) return LEVER_OK;
    if ((io->flight = lv_alloc_array(c->depth, sizeof *io->flight, 16))) return LEVER_OK;
    lv_io_close(out);
    return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
}

void lv_io_close(lv_io **io)
{
    if (!io || !*io) return;
    lv_io_read *done[16];
    while ((*io)->n_flight && lv_io_reap(*io, done, 16, 1) >= 0) {}
    lv_free((*io)->flight);
    (*io)->ops->close(*io);
    *io = NULL;
}

const char *lv_io_backend(const lv_io *io) { return io->ops->name; }

int lv_io_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    if (n > io->depth - io->n_flight) n = io->depth - io->n_flight;
    if (n == 0) return 0;
    const uint64_t now = lv_clock_ns();
    for (uint32_t i = 0; i < n; i++) {
        lv_io_read *r = reads[i];
        r->progress_bytes = r->n_attempts = r->n_refused = 0;
        r->result = r->os_errno = 0;
        r->buffered = r->landed = false;
        r->submit_ns = now;
        r->number = io->n_submitted + i;
    }
    const int rc = io->ops->submit(io, reads, n);
    for (int i = 0; i < rc; i++) {
        if (io->flight) {
            reads[i]->due_ns = lv_flash_clock_submit(&io->clock, &io->model, now, reads[i]->len);
            io->flight[io->n_flight] = reads[i];
        }
        io->n_flight++;
        io->n_submitted++;
    }
    return rc;
}

/* ---- holding back what a model has not delivered yet ---- */

/* Mark what the backend has finished. The number of reads, or LEVER_E*. */
static int collect(lv_io *io, uint32_t wait_for)
{
    lv_io_read *some[COLLECT];
    const int n = io->ops->reap(io, some, COLLECT, wait_for);
    for (int i = 0; i < n; i++) some[i]->landed = true;
    return n;
}

/* Move reads that have landed and are due from flight to done [max]. */
static uint32_t hand_out(lv_io *io, lv_io_read **done, uint32_t max)
{
    const uint64_t now = lv_clock_ns();
    uint32_t n = 0, kept = 0;
    for (uint32_t i = 0; i < io->n_flight; i++) {
        lv_io_read *r = io->flight[i];
        if (n == max || !r->landed || r->due_ns > now) {
            io->flight[kept++] = r;
            continue;
        }
        if (r->done_ns < r->due_ns) r->done_ns = r->due_ns;
        done[n++] = r;
    }
    io->n_flight = kept;
    return n;
}

static const lv_io_read *first_due(const lv_io *io)
{
    const lv_io_read *first = io->flight[0];
    for (uint32_t i = 1; i < io->n_flight; i++)
        if (io->flight[i]->due_ns < first->due_ns) first = io->flight[i];
    return first;
}

static int reap_held(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    uint32_t n = 0;
    int rc;
    do rc = collect(io, 0);
    while (rc == COLLECT);
    while (rc >= 0) {
        n += hand_out(io, done + n, max - n);
        if (n >= wait_for) break;
        const lv_io_read *next = first_due(io);
        if (next->landed) lv_clock_sleep_until(next->due_ns);
        rc = collect(io, !next->landed);
    }
    return rc < 0 && n == 0 ? rc : (int)n;
}

int lv_io_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    if (wait_for > io->n_flight) wait_for = io->n_flight;
    if (wait_for > max) wait_for = max;
    if (io->n_flight == 0 || max == 0) return 0;
    if (io->flight) return reap_held(io, done, max, wait_for);
    const int rc = io->ops->reap(io, done, max, wait_for);
    if (rc > 0) io->n_flight -= (uint32_t)rc;
    return rc;
}

/* ---- one read ---- */

int lv_io_fd(const lv_io_read *r)
{
    const lv_file *f = r->file;
    const uintptr_t dst = (uintptr_t)r->dst + r->progress_bytes;
    const uint64_t off = r->off + r->progress_bytes, all = off | dst | (r->len - r->progress_bytes);
    return f->fd_direct >= 0 && !r->buffered && (all & (f->align - 1)) == 0 ? f->fd_direct : f->fd;
}

bool lv_io_take(const lv_io *io, lv_io_read *r, ssize_t res)
{
    const int fd = lv_io_fd(r);
    res = lv_read_fault_apply(&io->fault, r->number, r->n_attempts++, (char *)r->dst + r->progress_bytes, res);
    if (res > 0) {
        r->progress_bytes += (uint32_t)res;
        r->n_refused = 0;
        if (r->progress_bytes < r->len) return false;
    }
    if ((res == -EINTR || res == -EAGAIN) && r->n_refused++ < LV_READ_REFUSALS) return false;
    if (res == -EINVAL && fd != r->file->fd) { /* a file system that refuses O_DIRECT late */
        r->buffered = true;
        return false;
    }
    r->result = res < 0 ? LEVER_EIO : (int32_t)r->progress_bytes;
    r->os_errno = res < 0 ? (int32_t)-res : 0;
    r->done_ns = lv_clock_ns();
    return true;
}

void lv_io_read_blocking(const lv_io *io, lv_io_read *r)
{
    ssize_t got;
    do {
        got = pread(lv_io_fd(r), (char *)r->dst + r->progress_bytes, r->len - r->progress_bytes,
                    (off_t)(r->off + r->progress_bytes));
        if (got < 0) got = -errno;
    } while (!lv_io_take(io, r, got));
}
