/* What the system says about memory. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_MEMORY_H
#define LEVER_OS_MEMORY_H

#include <stdint.h>

/* Bytes an application may still take: the smaller of MemAvailable and what the process's memory
 * cgroup leaves (v1 or v2, whole ancestry). 0 when unknown. */
uint64_t lv_memory_available(void);
/* Peak and current resident set of this process; 0 when unknown. */
uint64_t lv_memory_peak_rss(void);
uint64_t lv_memory_rss(void);
/* Give memory that was freed back to the system, where the C library would keep it for later. */
void lv_memory_trim(void);

#endif
