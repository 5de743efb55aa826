/* Which cores threads run on. Threading: reentrant. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_AFFINITY_H
#define LEVER_OS_AFFINITY_H

#include <stdbool.h>

#include "base/error.h"

enum { LV_CPU_LIST_MOST = 256 };

typedef struct lv_cpu_list {
    unsigned n;
    unsigned cpus[LV_CPU_LIST_MOST]; /* as the system numbers them, in the order given, each once */
} lv_cpu_list;

/* "0-3,6": these cores; "fast": of the cores this process may use those that have at least half the capacity
 * of the strongest, as the system rates them (all when it does not). LEVER_OK; LEVER_EINVAL: not such a list,
 * or a core this process may not use. */
int lv_cpu_list_parse(lv_cpu_list *list, const char *text, lever_error *err);
/* The same for "fast" from given capacities, 0 = unknown: what lv_cpu_list_parse decides with. */
void lv_cpu_list_fast(lv_cpu_list *list, const unsigned *cpus, const unsigned long *capacity, unsigned n);

/* Bind the calling thread to one core. False when the system refuses. */
bool lv_thread_bind(unsigned cpu);

/* Bind the calling thread to the cores it may use that are not listed. False: none is left, or the system refuses. */
bool lv_thread_bind_others(const lv_cpu_list *not_these);

/* From now on the calling thread and those it starts yield to the process's other threads (niceness + 10 where
 * threads have their own; else nothing happens). Can not be undone. */
void lv_thread_step_back(void);

/* What the calling thread may use now, to be restored by the same thread. */
typedef struct lv_affinity {
    unsigned long long owner;
    unsigned char mask[128];
    bool known;
} lv_affinity;
void lv_affinity_save(lv_affinity *a);
void lv_affinity_restore(lv_affinity *a); /* does nothing on another thread, or when nothing was saved */

#endif
