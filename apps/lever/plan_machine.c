/* SPDX-License-Identifier: MIT */
#include "plan_machine.h"

#include <stdio.h>

#include "cache_dir.h"
#include "profile_file.h"

bool plan_machine_load(lever_advise_params *p, const model_args *a, const lever_config *c, float temperature, char *why,
                       size_t why_cap)
{
    (void)c;
    snprintf(why, why_cap, "there is no profile of this machine; run lever profile -m MODEL first");
    *p = (lever_advise_params){ .temperature = temperature, .load_learnt = a->no_learn ? NULL : learnt_read };
    return false;
}

void plan_machine_apply(lever_advise_params *p, const model_args *a, lever_config *c, float temperature)
{
    char why[256];
    if (c->policy || !c->draft_path || !plan_machine_load(p, a, c, temperature, why, sizeof why)) return;
    p->quick = true;
    c->advise = p;
}
