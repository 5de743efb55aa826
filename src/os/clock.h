/* Monotonic time. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_CLOCK_H
#define LEVER_OS_CLOCK_H

#include <stdint.h>

uint64_t lv_clock_ns(void);
/* Sleep until lv_clock_ns() has reached this, whatever signals come. */
void lv_clock_sleep_until(uint64_t ns);
/* Processor time of all threads of this process. */
uint64_t lv_clock_cpu_ns(void);

#endif
