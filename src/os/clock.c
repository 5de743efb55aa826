/* SPDX-License-Identifier: MIT */
#include "os/clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t lv_clock_ns(void) { return read_clock(CLOCK_MONOTONIC); }
uint64_t lv_clock_cpu_ns(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }
