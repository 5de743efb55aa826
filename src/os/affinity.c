/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "os/affinity.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(cpu_set_t) <= sizeof((lv_affinity){ 0 }.mask), "room for the system's set");

static bool add(lv_cpu_list *list, unsigned cpu)
{
    for (unsigned i = 0; i < list->n; i++)
        if (list->cpus[i] == cpu) return true;
    if (list->n == LV_CPU_LIST_MOST) return false;
    list->cpus[list->n++] = cpu;
    return true;
}

void lv_cpu_list_fast(lv_cpu_list *list, const unsigned *cpus, const unsigned long *capacity, unsigned n)
{
    unsigned long most = 0;
    list->n = 0;
    for (unsigned i = 0; i < n; i++) most = capacity[i] > most ? capacity[i] : most;
    for (unsigned i = 0; i < n; i++)
        if (capacity[i] >= most - most / 2) add(list, cpus[i]);
}

/* How strong a core is: the scheduler's own rating on Arm, else the highest frequency; 0 when unknown. */
static unsigned long capacity_of(unsigned cpu)
{
    static const char *const files[] = { "cpu_capacity", "cpufreq/cpuinfo_max_freq" };
    for (int i = 0; i < 2; i++) {
        char path[96];
        unsigned long value = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/%s", cpu, files[i]);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        const int n = fscanf(f, "%lu", &value);
        fclose(f);
        if (n == 1 && value) return value;
    }
    return 0;
}

static unsigned allowed_cpus(unsigned *cpus)
{
    cpu_set_t set;
    unsigned n = 0;
    if (sched_getaffinity(0, sizeof set, &set)) return 0;
    for (unsigned c = 0; c < CPU_SETSIZE && n < LV_CPU_LIST_MOST; c++)
        if (CPU_ISSET(c, &set)) cpus[n++] = c;
    return n;
}

static int bad_list(const char *text, lever_error *err)
{
    return lv_fail(err, LEVER_EINVAL, 0, "'%s' is not a list of cores such as 0-3,6, nor \"fast\"", text);
}

/* A number below CPU_SETSIZE at *p, which moves behind it. */
static bool number(const char **p, unsigned *value)
{
    if (**p < '0' || **p > '9') return false;
    char *end;
    const unsigned long n = strtoul(*p, &end, 10);
    if (n >= CPU_SETSIZE) return false;
    *value = (unsigned)n;
    *p = end;
    return true;
}

int lv_cpu_list_parse(lv_cpu_list *list, const char *text, lever_error *err)
{
    unsigned may[LV_CPU_LIST_MOST];
    unsigned long capacity[LV_CPU_LIST_MOST];
    const unsigned n = allowed_cpus(may);
    list->n = 0;
    if (!strcmp(text, "fast")) {
        for (unsigned i = 0; i < n; i++) capacity[i] = capacity_of(may[i]);
        lv_cpu_list_fast(list, may, capacity, n);
        return LEVER_OK;
    }
    for (const char *p = text;; p++) {
        unsigned first, last;
        if (!number(&p, &first)) return bad_list(text, err);
        last = first;
        if (*p == '-' && (p++, !number(&p, &last))) return bad_list(text, err);
        for (unsigned c = first; c <= last; c++) {
            bool usable = false;
            for (unsigned i = 0; i < n; i++) usable |= may[i] == c;
            if (!usable)
                return lv_fail(err, LEVER_EINVAL, 0, "core %u of '%s' is not one this process may use", c,
                               text);
            if (!add(list, c)) return bad_list(text, err);
        }
        if (last < first || (*p && *p != ',')) return bad_list(text, err);
        if (!*p) return LEVER_OK;
    }
}

bool lv_thread_bind(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

bool lv_thread_bind_others(const lv_cpu_list *not_these)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return false;
    for (unsigned i = 0; i < not_these->n; i++) CPU_CLR(not_these->cpus[i], &set);
    return CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof set, &set) == 0;
}

void lv_thread_step_back(void)
{
    const id_t self = (id_t)syscall(SYS_gettid);
    errno = 0;
    const int nice = getpriority(PRIO_PROCESS, self);
    if (!errno) setpriority(PRIO_PROCESS, self, nice + 10); /* refused: it works all the same */
}

void lv_affinity_save(lv_affinity *a)
{
    cpu_set_t set;
    a->known = sched_getaffinity(0, sizeof set, &set) == 0;
    memcpy(a->mask, &set, sizeof set);
    a->owner = (unsigned long long)(uintptr_t)pthread_self();
}

void lv_affinity_restore(lv_affinity *a)
{
    cpu_set_t set;
    if (!a->known || a->owner != (unsigned long long)(uintptr_t)pthread_self()) return;
    memcpy(&set, a->mask, sizeof set);
    sched_setaffinity(0, sizeof set, &set);
    a->known = false;
}
