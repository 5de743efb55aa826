/* Names and sizes of the machine, for fingerprints. Threading: reentrant. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_SYSTEM_H
#define LEVER_OS_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* What the system calls its processor, "AMD EPYC 9654"; where it has no name for it (Arm), the numbers of the
 * maker and of each kind of core, "arm 41 d40 d46". "unknown" when it says nothing. NUL-ended, cut to fit. */
void lv_system_cpu_name(char *buf, size_t cap);
/* The same of given text in the form of /proc/cpuinfo: what lv_system_cpu_name decides with. */
void lv_system_cpu_name_of(const char *text, char *buf, size_t cap);
/* System and release: "Linux 6.1.0-18-amd64". */
void lv_system_kernel(char *buf, size_t cap);
/* Memory of the machine; 0 when unknown. */
uint64_t lv_system_memory(void);
/* The largest cache of the processor; 0 when unknown. */
uint64_t lv_system_cache(void);

#endif
