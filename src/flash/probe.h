/* How fast a file can be read, by size of reads, number in flight, kind of buffer and backend.
 * Threading: one owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_PROBE_H
#define LEVER_FLASH_PROBE_H

#include "flash/io.h"

typedef struct lv_probe_point {
    const char *backend;     /* "uring", "pool" */
    uint32_t block_bytes, depth;
    bool     huge_pages;     /* asked for; the system may have none */
    double   bytes_per_s;
    double   cpu_share;      /* processor time of this process per time that passed; 1 = one core */
} lv_probe_point;

enum { LV_PROBE_POINTS = 48, LV_PROBE_POINTS_USUAL = 29 };

typedef struct lv_probe {
    lv_probe_point points[LV_PROBE_POINTS];
    uint32_t n_points;
    uint32_t best; /* the fastest with 8 ms of reads in flight, unless others are 10 % faster; of those within 3 % of
                    * it the one with the least memory */
    bool     direct; /* past the page cache; else the numbers are of memory, not of flash */
} lv_probe;

typedef struct lv_probe_config {
    const char *path;         /* at least 64 MiB; read in order, from the start again at its end */
    uint64_t    point_ns;     /* time for each point; 0 = 200 ms */
    void      (*progress)(void *user, uint32_t done, uint32_t total); /* nullable */
    void       *user;
    lv_read_fault fault;      /* tests: of the reads of each point; zeroed: none */
} lv_probe_config;

/* LEVER_OK; LEVER_EIO; LEVER_EINVAL (file too small); LEVER_ENOMEM. */
int lv_probe_run(lv_probe *out, const lv_probe_config *c, lever_error *err);
/* The choice that `best` is. n >= 1. */
uint32_t lv_probe_choose(const lv_probe_point *points, uint32_t n);

#endif
