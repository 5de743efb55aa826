/* `lever plan --measure`: how often a draft is right, found by running it. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PLAN_MEASURE_H
#define LEVER_APPS_PLAN_MEASURE_H

#include "lever/lever.h"

/* Continue `text` (NULL: some of several kinds) with the models of c for about `seconds` beside loading, at this
 * temperature, and keep what was learnt as `lever run` does. LEVER_OK; errors of opening and generating;
 * LEVER_EINVAL: there is no draft. */
int plan_measure(const lever_config *c, const char *text, double seconds, float temperature, lever_error *err);

#endif
