/* Simulated completion for tests: every read runs when it is collected, in a chosen order. What a device
 * does to time and to results comes from the model and the faults of the core, as for every backend.
 * SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "flash/io_impl.h"

typedef struct io_sim {
    lv_io io;
    lv_io_read **waiting; /* [depth], n used */
    uint32_t n, seed, rng;
} io_sim;

static void sim_close(lv_io *io)
{
    lv_free(((io_sim *)io)->waiting);
    lv_free(io);
}

static int sim_open(lv_io **out, const lv_io_config *c, lever_error *err)
{
    io_sim *s = lv_alloc(sizeof *s, 64);
    if (!s) return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
    s->io = (lv_io){ .ops = &lv_io_sim, .depth = c->depth };
    s->seed = s->rng = c->sim_seed;
    if (!(s->waiting = lv_alloc_array(c->depth, sizeof *s->waiting, 16))) {
        sim_close(&s->io);
        return lv_fail(err, LEVER_ENOMEM, 0, "read queue");
    }
    *out = &s->io;
    return LEVER_OK;
}

static int sim_submit(lv_io *io, lv_io_read *const *reads, uint32_t n)
{
    io_sim *s = (io_sim *)io;
    for (uint32_t i = 0; i < n; i++) s->waiting[s->n++] = reads[i];
    return (int)n;
}

/* The read that completes next: a seeded choice, or the oldest. */
static uint32_t choose(io_sim *s)
{
    if (!s->seed) return 0;
    s->rng = s->rng * 1664525u + 1013904223u;
    return (s->rng >> 8) % s->n;
}

static int sim_reap(lv_io *io, lv_io_read **done, uint32_t max, uint32_t wait_for)
{
    (void)wait_for; /* there is always one that can be run */
    io_sim *s = (io_sim *)io;
    uint32_t n = 0;
    while (n < max && s->n) {
        const uint32_t i = choose(s);
        lv_io_read *r = s->waiting[i];
        s->n--;
        for (uint32_t k = i; k < s->n; k++) s->waiting[k] = s->waiting[k + 1];
        lv_io_read_blocking(io, r);
        done[n++] = r;
    }
    return (int)n;
}

const lv_io_ops lv_io_sim = { "sim", sim_open, sim_submit, sim_reap, sim_close };
