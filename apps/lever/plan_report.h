/* What `lever plan` prints. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PLAN_REPORT_H
#define LEVER_APPS_PLAN_REPORT_H

#include <jansson.h>

#include "lever/plan.h"

/* One limit: every configuration, the fastest first, and the sentence. At most 80 columns. */
void plan_report_table(const lever_advice *a);
/* Several limits: the best of each. advices [n], limits ascending. */
void plan_report_limits(const lever_advice *advices, uint32_t n);
/* From `bytes` on more memory is of no use: `speed` is within 3 % of what any amount gives. */
void plan_report_enough(uint64_t bytes, double speed, double most);
/* One limit as an object; the caller's. NULL: out of memory. */
json_t *plan_report_json(const lever_advice *a);

#endif
