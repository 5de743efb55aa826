/* SPDX-License-Identifier: MIT */
#include "plan_machine.h"

#include <stdio.h>

#include "cache_dir.h"
#include "profile_file.h"

bool plan_machine_load(lever_advise_params *p, const model_args *a, const lever_config *c, float temperature, char *why,
                       size_t why_cap)
{
    static char where[PROFILE_WHERE_CAP];
    *p = (lever_advise_params){ .machine = c->machine, .temperature = temperature,
                                .load_learnt = a->no_learn ? NULL : learnt_read };
    snprintf(why, why_cap, "there is no profile of this machine with these settings: run lever profile -m MODEL first");
    if (profile_where(c->model_path, where, sizeof where)) p->where = where;
    return c->machine != NULL;
}

void plan_machine_apply(lever_advise_params *p, const model_args *a, lever_config *c, float temperature)
{
    char why[256];
    if (c->policy || !c->draft_path || !plan_machine_load(p, a, c, temperature, why, sizeof why)) return;
    p->quick = true;
    c->advise = p;
}
