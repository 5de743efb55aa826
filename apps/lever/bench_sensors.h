/* What the system tells about the machine, its energy and its temperature. Linux; elsewhere nothing is known.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_BENCH_SENSORS_H
#define LEVER_APPS_BENCH_SENSORS_H

#include <stddef.h>
#include <stdint.h>

enum { ENERGY_ZONES = 16 };

/* Counters of energy: processor packages, and memory where it is counted apart. */
typedef struct energy_meter {
    struct energy_zone {
        char     path[320];
        uint64_t last_uj, range_uj; /* the counter goes on from 0 after range_uj */
    } zones[ENERGY_ZONES];
    size_t n; /* 0: this machine has none that may be read */
} energy_meter;

/* folder: "/sys/class/powercap", or another with the same files for tests. */
void   energy_open(energy_meter *m, const char *folder);
/* Joules since the last call or since energy_open, of the whole machine; NAN: not known. A counter that runs
 * full twice between two calls is not noticed; it takes minutes. */
double energy_joules(energy_meter *m);

/* Highest temperature of folder ("/sys/class/thermal") in degrees Celsius; NAN: none is known. */
double highest_celsius(const char *folder);
/* "AMD EPYC 9B45 family 26, 2 cores": name of the processor and cores in the system. */
void   machine_name(char *buf, size_t cap);

#endif
