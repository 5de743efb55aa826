/* The shape of an opened model. Threading: that of the model. SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_MODEL_SHAPE_H
#define LEVER_PLAN_MODEL_SHAPE_H

#include "model/model.h"
#include "plan/sweep_time.h"

/* From metadata, key included; the model need not be loaded. False: more than LV_SHAPE_MATRICES different
 * matrices. */
bool lv_model_shape_of(lv_model_shape *out, lv_model *m);

#endif
