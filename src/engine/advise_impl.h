/* Between advise.c, which compares configurations, and advise_costs.c, which says what their parts take.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_ADVISE_IMPL_H
#define LEVER_ENGINE_ADVISE_IMPL_H

#include "engine/engine.h"
#include "lever/plan.h"
#include "plan/model_shape.h"
#include "plan/speed_policy.h"

/* What is known of texts, in the form that predictions take it. */
typedef struct lv_expected_text {
    lv_acceptance_rates rates;
    lv_replay text;       /* n 0: nothing was seen */
    double   lookup;      /* tokens that lookup adds to each of the draft's */
    double   kept;        /* share of rows that pruning leaves */
    uint32_t n_known;     /* tokens */
} lv_expected_text;

/* What does not change from one configuration to the next. */
typedef struct lv_adviser {
    const lever_advise_params *params;
    const lv_machine_flash *flash;   /* NULL: not measured */
    lv_model_shape target, draft;    /* draft: zeroed without one */
    bool      has_draft;
    double    target_ratio;          /* weights of the target per weight of the draft */
    lv_acceptances acceptances;
    lv_expected_text expected[2];    /* of trees with the draft's probabilities; with sharpened ones */
    double   *layer_bytes;           /* [target.n_layers] scratch */
} lv_adviser;

/* Shapes, flash and counts for the models that o has opened. LEVER_OK; LEVER_EINVAL: the profile's numbers can not be;
 * LEVER_ENOMEM; LEVER_EUNSUP: a model with too many kinds of matrices. After a failure fini is due too. */
int  lv_adviser_init(lv_adviser *a, lv_engine_setup *o, const lever_advise_params *p, lever_error *err);
void lv_adviser_fini(lv_adviser *a);
/* What the parts of the configuration that o has planned take, with layers and draft on devices of the profile
 * (NULL: the CPU). False: something needed was not measured. c borrows a->layer_bytes. */
bool lv_adviser_costs(lv_speed_costs *c, const lv_adviser *a, lv_engine_setup *o, const lv_machine_device *layers,
                      const lv_machine_device *draft);

#endif
