/* Behind spec/policy.h: what one policy file provides. To add a policy, write policy_<name>.c with
 * one lv_policy_type and list it in policy.c. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_POLICY_IMPL_H
#define LEVER_SPEC_POLICY_IMPL_H

#include "spec/policy.h"

enum { LV_POLICY_MAX_NODES = 256, LV_POLICY_MAX_LEVELS = 32, LV_POLICY_SPEC_BYTES = 256 };

typedef struct lv_policy_type {
    const char *name;  /* "chain" */
    const char *usage; /* "chain:K (K from 1 to 64)"; shown in error messages */
    /* Read the text after "name:" (NULL: there was no colon) into p->levels, p->n_levels and
     * p->max_nodes. LEVER_OK or LEVER_EINVAL, naming the bad part. */
    int (*parse)(lv_policy *p, const char *args, lever_error *err);
    int (*grow)(lv_policy *p, lv_tree *t, const lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err);
} lv_policy_type;

struct lv_policy {
    const lv_policy_type *type;
    char     spec[LV_POLICY_SPEC_BYTES];
    uint32_t max_nodes;                    /* root included */
    uint32_t n_levels;                     /* depth below the root */
    uint32_t levels[LV_POLICY_MAX_LEVELS]; /* "tree": children per node by level */
    int32_t  ids[LV_POLICY_MAX_NODES];     /* scratch: one expand batch */
};

extern const lv_policy_type lv_policy_none, lv_policy_chain, lv_policy_static;

/* Read a decimal number lo..hi at *at and step over it. LEVER_OK, or LEVER_EINVAL naming the text up
 * to the next comma and the range; `of` is the whole spec. */
int lv_policy_parse_number(const char **at, uint32_t lo, uint32_t hi, uint32_t *v, const char *of,
                           lever_error *err);

#endif
