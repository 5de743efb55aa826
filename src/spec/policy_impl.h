/* Behind spec/policy.h: what one policy file provides. To add a policy, write policy_<name>.c with
 * one lv_policy_type and list it in policy.c. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_POLICY_IMPL_H
#define LEVER_SPEC_POLICY_IMPL_H

#include "spec/policy.h"

enum { LV_POLICY_MAX_NODES = 256, LV_POLICY_MAX_LEVELS = 32, LV_POLICY_SPEC_BYTES = 256 };

typedef struct lv_policy_type {
    const char *name;  /* "chain" */
    const char *usage; /* "chain[:K]"; shown in error messages */
    size_t state_bytes; /* of p->state; 0: none */
    bool   no_draft;    /* works without a draft model */
    uint8_t draws;      /* enum lv_policy_draws */
    /* Read the text after "name:" (NULL: there was no colon) into p->state, which is zeroed, and fill
     * p->max_nodes and, where they are more than that, p->grow_nodes and p->draft_rows. LEVER_OK or LEVER_E*,
     * naming the bad part. */
    int (*parse)(lv_policy *p, const char *args, lever_error *err);
    /* As lv_policy_grow; NULL: nothing. max_nodes >= 2, max_depth >= 1, t->cap >= max_nodes, which is at most
     * p->max_nodes. */
    int (*grow)(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err);
    bool (*would_prune)(const lv_policy *p, uint32_t n_rows, double layers_done); /* nullable, with the next */
    void (*prune)(lv_policy *p, const lv_glimpse *g, bool *keep);
    void (*observe)(lv_policy *p, const lv_outcome *o); /* nullable */
    void (*observe_sweep)(lv_policy *p, uint32_t rows, lv_sweep_took took); /* nullable */
    void (*reset)(lv_policy *p);                        /* nullable */
    size_t learnt_bytes;                                /* 0: the next two are NULL */
    void (*get_learnt)(const lv_policy *p, void *out);
    bool (*set_learnt)(lv_policy *p, const void *in, bool costs);
    void (*share)(lv_policy *p, const lv_policy *from); /* nullable */
    void (*seed)(lv_policy *p, const lv_cost_seed *s);  /* nullable */
    void (*close)(lv_policy *p);                        /* nullable: what parse took beside the state */
} lv_policy_type;

struct lv_policy {
    const lv_policy_type *type;
    char     spec[LV_POLICY_SPEC_BYTES]; /* as given */
    char     args[LV_POLICY_SPEC_BYTES]; /* of it, what is between ':' and '@' */
    float    sharpness;
    uint32_t max_nodes, grow_nodes, draft_rows; /* as their getters in policy.h */
    double   expected_tokens, expected_s; /* of the last tree, for lv_policy_expected; 0: not said */
    uint32_t expected_nodes;
    size_t   more_bytes;                        /* what parse took beside the state */
    void    *state;                             /* of the type */
};

extern const lv_policy_type lv_policy_none, lv_policy_chain, lv_policy_static, lv_policy_specinfer,
    lv_policy_lookup, lv_policy_eagle2, lv_policy_opttree, lv_policy_specexec, lv_policy_dyspec, lv_policy_edgellm,
    lv_policy_sequoia, lv_policy_lever;

/* Read a decimal number lo..hi at *at and step over it. LEVER_OK, or LEVER_EINVAL naming the text up
 * to the next comma and the range; `of` is the whole spec. */
int lv_policy_parse_number(const char **at, uint32_t lo, uint32_t hi, uint32_t *v, const char *of,
                           lever_error *err);

/* One parameter of a policy. The value found in *u or *f is the default of one that is left out. */
typedef struct lv_policy_param {
    const char *name;  /* "nodes"; for errors */
    uint32_t  *u, lo, hi; /* a whole number from lo to hi ... */
    float     *f;      /* ... or, where u is NULL, a decimal fraction from 0 to hi */
} lv_policy_param;
/* Read at most n of them, separated by commas, from args (NULL: none given). LEVER_OK or LEVER_EINVAL. */
int lv_policy_parse_params(const lv_policy *p, const char *args, const lv_policy_param *params, uint32_t n,
                           lever_error *err);

#endif
