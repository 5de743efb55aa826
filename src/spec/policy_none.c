/* "none": no tree, one token per sweep. The reference every other policy must agree with.
 * SPDX-License-Identifier: MIT */
#include "spec/policy_impl.h"

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    if (args) return lv_fail(err, LEVER_EINVAL, 0, "tree policy 'none' takes no argument, got '%.40s'", args);
    p->max_nodes = 1;
    return LEVER_OK;
}

const lv_policy_type lv_policy_none = { .name = "none", .usage = "none", .no_draft = true,
                                        .draws = LV_DRAWS_ANY, .parse = parse };
