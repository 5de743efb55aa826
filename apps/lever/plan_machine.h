/* The measured machine that a plan is made for. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PLAN_MACHINE_H
#define LEVER_APPS_PLAN_MACHINE_H

#include "lever/plan.h"
#include "model_args.h"

/* Fill *p, which lives as long as the program: numbers of this machine with the threads of c, the flash its model lies
 * on, what was learnt (unless a->no_learn), the temperature. False, with one line of why: there is no profile of this
 * machine. Costs a few milliseconds. */
bool plan_machine_load(lever_advise_params *p, const model_args *a, const lever_config *c, float temperature, char *why,
                       size_t why_cap);
/* Let an engine choose its policy, where the user named none and there is a profile: fills c->advise, and *p, which
 * must live until the engine is open. */
void plan_machine_apply(lever_advise_params *p, const model_args *a, lever_config *c, float temperature);

#endif
