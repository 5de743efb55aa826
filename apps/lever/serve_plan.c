/* What serving takes of --mem, and how many conversations that leaves room for.
 * SPDX-License-Identifier: MIT */
#include "serve.h"

enum {
    /* libmicrohttpd and what it loads, and the stacks of two threads: the peak resident set of a server that
     * has answered, less that of lever run with the same model, is 3.2 MiB (glibc 2.36, x86-64); 0.5 MiB are
     * for what serve_kept.c knows of its files, and the rest is slack. */
    OWN_BYTES = 5 << 20,
    SLOT_BYTES = 512 << 10, /* answers on their way out, log-probabilities */
    CONNECTION_BYTES = SERVE_HEADER_BYTES + 4096,
    PARALLEL_DEFAULT = 4,
};

void serve_plan_own(server *s)
{
    const serve_args *a = &s->args;
    const uint32_t parallel = a->parallel ? a->parallel : PARALLEL_DEFAULT;
    /* One body of the largest size while it is parsed (serve_ask.c), and one that comes meanwhile. */
    s->budget.limit = 8 * (size_t)a->max_body + (512 << 10) + (size_t)parallel * SLOT_BYTES;
    s->config.caller_bytes = OWN_BYTES + s->budget.limit + (uint64_t)a->connections * CONNECTION_BYTES;
}

static uint64_t kept(const lever_plan *p) { return p->resident_bytes + p->lent_bytes; }

/* A conversation more takes its caches from what keeps weights in memory. Where nobody has said how many, there are as
 * many as leave the context whole and, while they are short, half of the weights that one would. */
int serve_plan_sessions(server *s, lever_error *err)
{
    lever_plan one, plan;
    s->config.n_sessions = s->args.parallel;
    if (s->args.parallel) return LEVER_OK;
    s->config.n_sessions = 1;
    int rc = lever_plan_memory(&s->config, &one, err);
    if (rc < 0 || !one.fits) return rc; /* opening will say what is missing */
    for (uint32_t n = PARALLEL_DEFAULT; n > 1; n--) {
        s->config.n_sessions = n;
        rc = lever_plan_memory(&s->config, &plan, err);
        if (rc < 0) return rc;
        if (plan.fits && plan.n_ctx >= one.n_ctx && kept(&plan) >= kept(&one) / 2) {
            if (n < PARALLEL_DEFAULT)
                serve_log(s, "%u conversations at once, as --mem has no room for %d; --parallel decides", n,
                          PARALLEL_DEFAULT);
            return LEVER_OK;
        }
    }
    serve_log(s,
              "one conversation at a time, as --mem has no room for more; --parallel or a shorter -c decide");
    s->config.n_sessions = 1;
    return LEVER_OK;
}
