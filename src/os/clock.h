/* Monotonic time. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_CLOCK_H
#define LEVER_OS_CLOCK_H

#include <stdint.h>

uint64_t lv_clock_ns(void);

#endif
