/* Reads through io_uring. Any failure of set-up means "absent": kernels without it, containers and
 * Android forbid it in different ways. SPDX-License-Identifier: MIT */
#include "flash/io_impl.h"

#ifdef LEVER_HAVE_URING
#include <errno.h>
#include <liburing.h>

#include "base/mem.h"
#include "os/clock.h"

typedef struct io_uring_state {
    lv_io io;
    struct io_uring ring;
} io_uring_state;

static int uring_open(lv_io **out, const lv_io_config *c, lever_error *err)
{
    io_uring_state *u = lv_alloc(sizeof *u, 64);
    if (!u) return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
    u->io = (lv_io){ .ops = &lv_io_uring, .depth = c->depth };
    const int rc = io_uring_queue_init(c->depth, &u->ring, 0);
    if (rc < 0) {
        lv_free(u);
        return lv_fail(err, LEVER_EUNSUP, -rc, "io_uring is not available here");
    }
    *out = &u->io;
    return LEVER_OK;
}

static void uring_close(lv_io *io)
{
    io_uring_queue_exit(&((io_uring_state *)io)->ring);
    lv_free(io);
}

static bool queue_rest(io_uring_state *u, lv_io_read *r, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (!sqe) return false;
    io_uring_prep_read(sqe, fd, (char *)r->dst + r->progress_bytes, r->len - r->progress_bytes,
                       r->off + r->progress_bytes);
    io_uring_sqe_set_data(sqe, r);
    return true;
}

static int flush_queue(io_uring_state *u)
{
    int rc;
    do rc = io_uring_submit(&u->ring);
    while (rc == -EINTR || rc == -EAGAIN);
    return rc < 0 ? LEVER_EIO : LEVER_OK;
}

static int uring_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    io_uring_state *u = (io_uring_state *)io;
    uint32_t i = 0;
    while (i < n && queue_rest(u, reads[i], lv_io_fd(reads[i]))) i++;
    const int rc = flush_queue(u);
    return rc < 0 ? rc : (int)i;
}

/* Handle one completion. True when the read is over; else the rest was queued again. */
static bool complete(io_uring_state *u, lv_io_read *r, int res)
{
    r->done_ns = lv_clock_ns();
    if (res > 0) r->progress_bytes += (uint32_t)res;
    if (res == 0 || r->progress_bytes == r->len) {
        r->result = (int32_t)r->progress_bytes;
        return true;
    }
    int fd = lv_io_fd(r);
    if (res == -EINVAL && fd != r->file->fd) fd = r->file->fd; /* O_DIRECT refused: read it buffered */
    else if (res < 0 && res != -EINTR && res != -EAGAIN) {
        r->os_errno = -res;
        r->result = LEVER_EIO;
        return true;
    }
    if (queue_rest(u, r, fd) && flush_queue(u) >= 0) return false;
    lv_io_read_blocking(r);
    return true;
}

static int uring_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    io_uring_state *u = (io_uring_state *)io;
    uint32_t n = 0;
    while (n < max) {
        struct io_uring_cqe *cqe;
        const int rc = n < wait_for ? io_uring_wait_cqe(&u->ring, &cqe) : io_uring_peek_cqe(&u->ring, &cqe);
        if (rc == -EINTR) continue;
        if (rc == -EAGAIN) break;
        if (rc < 0) return n ? (int)n : LEVER_EIO;
        lv_io_read *r = io_uring_cqe_get_data(cqe);
        const int res = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        if (complete(u, r, res)) done[n++] = r;
    }
    return (int)n;
}

const lv_io_ops lv_io_uring = { "uring", uring_open, uring_submit, uring_reap, uring_close };
#else
static int uring_open(lv_io **out, const lv_io_config *c, lever_error *err)
{
    (void)out, (void)c;
    return lv_fail(err, LEVER_EUNSUP, 0, "this build has no io_uring");
}

const lv_io_ops lv_io_uring = { .name = "uring", .open = uring_open };
#endif
