/* Monotonic time. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_CLOCK_H
#define LEVER_OS_CLOCK_H

#include <stdint.h>

uint64_t lv_clock_ns(void);
/* Processor time of all threads of this process. */
uint64_t lv_clock_cpu_ns(void);

#endif
