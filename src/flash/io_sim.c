/* Simulated flash for tests: real bytes, modelled time, chosen order of completion, injected faults.
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "flash/io_impl.h"
#include "os/clock.h"

typedef struct io_sim {
    lv_io io;
    lv_io_config c;
    lv_io_read **flight; /* [depth], n_flight used */
    uint64_t *due_ns;    /* [depth] */
    uint32_t n;
    uint64_t busy_until_ns, n_submitted;
    uint32_t rng;
} io_sim;

static int sim_open(lv_io **out, const lv_io_config *c, lever_error *err)
{
    io_sim *s = lv_alloc(sizeof *s, 64);
    if (!s) goto fail;
    s->io = (lv_io){ .ops = &lv_io_sim, .depth = c->depth };
    s->c = *c;
    s->rng = c->sim_seed;
    if (!(s->flight = lv_alloc_array(c->depth, sizeof *s->flight, 16))) goto fail;
    if (!(s->due_ns = lv_alloc_array(c->depth, sizeof *s->due_ns, 16))) goto fail;
    *out = &s->io;
    return LEVER_OK;
fail:
    if (s) {
        lv_free(s->flight);
        lv_free(s);
    }
    return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
}

static void sim_close(lv_io *io)
{
    io_sim *s = (io_sim *)io;
    lv_free(s->flight);
    lv_free(s->due_ns);
    lv_free(s);
}

enum { FLIP = -1 }; /* os_errno of a read that will get a wrong bit */

static bool is_due(uint64_t n, long at, bool stays)
{
    return at >= 0 && (stays ? n >= (uint64_t)at : n == (uint64_t)at);
}

static int sim_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    io_sim *s = (io_sim *)io;
    for (uint32_t i = 0; i < n; i++) {
        lv_io_read *r = reads[i];
        const uint64_t now = lv_clock_ns();
        if (s->busy_until_ns < now) s->busy_until_ns = now;
        if (s->c.sim_bytes_per_s)
            s->busy_until_ns += (uint64_t)((double)r->len * 1e9 / (double)s->c.sim_bytes_per_s);
        const uint64_t nth = s->n_submitted++;
        if (is_due(nth, s->c.sim_flip_at, s->c.sim_flip_stays)) r->os_errno = FLIP;
        if (is_due(nth, s->c.sim_fail_at, s->c.sim_fail_stays)) r->result = LEVER_EIO, r->os_errno = EIO;
        s->due_ns[s->n] = s->busy_until_ns + s->c.sim_latency_ns;
        s->flight[s->n++] = r;
    }
    return (int)n;
}

/* The read that completes next: a seeded choice, or the oldest. */
static uint32_t choose(io_sim *s)
{
    if (!s->c.sim_seed) return 0;
    s->rng = s->rng * 1664525u + 1013904223u;
    return (s->rng >> 8) % s->n;
}

static int sim_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    io_sim *s = (io_sim *)io;
    uint32_t n = 0;
    while (n < max && s->n) {
        const uint32_t i = choose(s);
        const uint64_t now = lv_clock_ns();
        if (s->due_ns[i] > now) {
            if (n >= wait_for) break;
            const uint64_t ns = s->due_ns[i] - now;
            const struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
            nanosleep(&t, NULL);
        }
        lv_io_read *r = s->flight[i];
        s->n--;
        for (uint32_t k = i; k < s->n; k++) s->flight[k] = s->flight[k + 1], s->due_ns[k] = s->due_ns[k + 1];
        if (r->result != LEVER_EIO) lv_io_read_blocking(r);
        else r->done_ns = lv_clock_ns();
        if (r->os_errno == FLIP) ((uint8_t *)r->dst)[r->progress_bytes / 2] ^= 4, r->os_errno = 0;
        done[n++] = r;
    }
    return (int)n;
}

const lv_io_ops lv_io_sim = { "sim", sim_open, sim_submit, sim_reap, sim_close };
