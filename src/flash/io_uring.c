/* Reads through io_uring. Any failure of set-up means "absent": kernels without it, containers and
 * Android forbid it in different ways. SPDX-License-Identifier: MIT */
#include "flash/io_impl.h"

#ifdef LEVER_HAVE_URING
#include <errno.h>
#include <liburing.h>

#include "base/mem.h"
#include "os/clock.h"

enum { REFUSED_NS = 100000 }; /* rest before the kernel is asked again */

typedef struct io_uring_state {
    lv_io io;
    struct io_uring ring;
    bool broken; /* the kernel did not take requests that are still in its queue: it is never told of more */
} io_uring_state;

/* Kernels before 5.6 have rings, but not this request. */
static bool can_read(struct io_uring *ring)
{
    struct io_uring_probe *p = io_uring_get_probe_ring(ring);
    const bool yes = p && io_uring_opcode_supported(p, IORING_OP_READ);
    io_uring_free_probe(p);
    return yes;
}

static int uring_open(lv_io **out, const lv_io_config *c, lever_error *err)
{
    io_uring_state *u = lv_alloc(sizeof *u, 64);
    if (!u) return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
    u->io = (lv_io){ .ops = &lv_io_uring, .depth = c->depth };
    int rc = io_uring_queue_init(c->depth, &u->ring, 0);
    if (rc >= 0 && !can_read(&u->ring)) {
        io_uring_queue_exit(&u->ring);
        rc = -EOPNOTSUPP;
    }
    if (rc < 0) {
        lv_free(u);
        return lv_fail(err, LEVER_EUNSUP, -rc, "io_uring is not available here (use auto or pool)");
    }
    *out = &u->io;
    return LEVER_OK;
}

static void uring_close(lv_io *io)
{
    io_uring_queue_exit(&((io_uring_state *)io)->ring);
    lv_free(io);
}

/* Ask for what is left of a read. False: no room. */
static bool queue_rest(io_uring_state *u, lv_io_read *r)
{
    struct io_uring_sqe *sqe = u->broken ? NULL : io_uring_get_sqe(&u->ring);
    if (!sqe) return false;
    io_uring_prep_read(sqe, lv_io_fd(r), (char *)r->dst + r->progress_bytes, r->len - r->progress_bytes,
                       r->off + r->progress_bytes);
    io_uring_sqe_set_data(sqe, r);
    return true;
}

/* Tell the kernel what is queued, until it has taken all. False when it goes on refusing, for want of memory. */
static bool flush_queue(io_uring_state *u)
{
    uint32_t n_refused = 0;
    while (!u->broken && io_uring_sq_ready(&u->ring)) {
        const int rc = io_uring_submit(&u->ring);
        if (rc > 0) n_refused = 0;
        else if ((rc != -EINTR && rc != -EAGAIN) || n_refused++ == LV_READ_REFUSALS) u->broken = true;
        else if (rc == -EAGAIN) lv_clock_sleep_until(lv_clock_ns() + REFUSED_NS);
    }
    return !u->broken;
}

static int uring_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    io_uring_state *u = (io_uring_state *)io;
    uint32_t i = 0;
    if (u->broken) return LEVER_EIO;
    while (i < n && queue_rest(u, reads[i])) i++;
    if (flush_queue(u)) return (int)i;
    const uint32_t left = io_uring_sq_ready(&u->ring);
    return left < i ? (int)(i - left) : LEVER_EIO;
}

/* Handle one completion. True when the read is over; else the rest was queued again. */
static bool complete(io_uring_state *u, lv_io_read *r, int res)
{
    if (lv_io_take(&u->io, r, res)) return true;
    if (queue_rest(u, r) && flush_queue(u)) return false;
    lv_io_read_blocking(&u->io, r);
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
