/* Which configuration is fastest on a measured machine, predicted before anything is run (docs/plan.md).
 *
 *   lever_advice advice;                               // some 30 KB
 *   lever_advise_params p = { .machine = &machine, .where = "259:1" };
 *   if (lever_advise(&config, &p, &advice, &err) >= 0) puts(advice.why);
 *
 * lever_config.advise lets lever_engine_open follow the same advice. Plain data, which may be copied.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_H
#define LEVER_PLAN_H

#include "lever/lever.h"

#ifdef __cplusplus
extern "C" {
#endif

enum lever_bound { LEVER_BOUND_FLASH, LEVER_BOUND_COMPUTE, LEVER_BOUND_DRAFT };
enum { LEVER_CHOICES = 48, LEVER_ADVICE_CHAIN = 8 };

/* One configuration. Tokens, rows and seconds are means of decode cycles. */
typedef struct lever_choice {
    char     policy[64];         /* as lever_config.policy */
    bool     drafts;             /* the draft model is loaded */
    char     device[112], draft_device[112]; /* as lever_config's: of layers, of the draft; "": the CPU */
    uint32_t n_ctx, max_rows;    /* of the memory plan */
    bool     fits, measured;     /* within the limit; its device and weights are in the profile */
    double   tokens_per_s;       /* 0: it does not fit, or was not measured */
    double   tokens, rows;       /* of text and of the target's sweep, per cycle */
    double   draft_rows, draft_batches;
    double   cycle_s, draft_s, sweep_s, project_s, wait_s; /* wait_s: of them, products wait for reads */
    double   flash_s;            /* reads of a cycle alone */
    int      bound;              /* enum lever_bound: what a faster part would help most */
    uint64_t planned_bytes, resident_bytes, streamed_bytes, ring_bytes, needed_bytes;
    bool     head_resident;
} lever_choice;

typedef struct lever_advice {
    uint64_t limit_bytes;
    lever_choice choices[LEVER_CHOICES]; /* [n_choices] the fastest first; behind them what does not fit */
    uint32_t n_choices;
    uint32_t best;               /* what to run: the fastest, or policy lever where that is as good */
    bool     any;                /* there is something to run: best counts */
    bool     speculate;
    bool     acceptance_measured; /* false: of a usual pair */
    double   tokens_seen;        /* of text, that acceptance was counted at */
    double   chain[LEVER_ADVICE_CHAIN]; /* that the i-th token of a chain is right when those before it are */
    char     why[320];           /* one sentence */
} lever_advice;

typedef struct lever_advise_params {
    const lever_machine *machine;   /* of `lever profile`; borrowed */
    const char *where;              /* which of its flashes the target lies on; NULL: the first */
    float       temperature;        /* texts are drawn with it */
    uint32_t    n_positions;        /* of context that a row looks back on, in the mean; 0 = 256 */
    uint32_t    n_tokens;           /* of an answer, at least 2: short ones gain less; 0 = long */
    const char *const *policies;    /* [n_policies] to compare; NULL: none, chains, lever */
    uint32_t    n_policies;
    bool        quick;              /* fewer of them, and shorter predictions: some tens of milliseconds */
    /* Bytes of lever_engine_get_learnt of a pair of models: stored if they fit into cap; returns how many there are,
     * 0: none. May be NULL. Called from lever_advise and lever_engine_open. */
    size_t    (*load_learnt)(void *user, uint64_t pair_key, void *out, size_t cap);
    void       *user;
} lever_advise_params;

/* Compare what could be run with the models and limits of c, whose policy is left aside: reads metadata only.
 * LEVER_OK, also when nothing fits (any is false); LEVER_EINVAL: a setting, or a profile whose numbers can not be;
 * errors of opening models as lever_engine_open. */
LEVER_API int lever_advise(const lever_config *c, const lever_advise_params *params, lever_advice *out,
                           lever_error *err);

#ifdef __cplusplus
}
#endif
#endif
