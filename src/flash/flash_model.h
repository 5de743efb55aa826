/* A flash device as arithmetic: when would it have delivered a read? Pure functions of the model, its clock
 * and the time given, so they serve real waits (io.c) and virtual time alike.
 *
 *   queue      at most `queue` reads are in work; the others wait for the first of them to be delivered
 *   link       one read after the other, in order of submission: (bytes + half_bytes) / bytes_per_s.
 *              Reads of s bytes in a row so reach bytes_per_s * s / (s + half_bytes)
 *   latency    latency_ns * (1 +- jitter) on top, which overlaps with other reads
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_FLASH_MODEL_H
#define LEVER_FLASH_FLASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { LV_FLASH_QUEUE_MOST = 64 };

typedef struct lv_flash_model {
    const char *name;        /* static; NULL: not from the table */
    uint64_t bytes_per_s;    /* of long reads; 0 = the link takes no time */
    uint32_t half_bytes;     /* reads of this length reach half of it */
    uint32_t latency_ns;
    uint32_t jitter_percent; /* of the latency, 0..100 */
    uint32_t queue;          /* <= LV_FLASH_QUEUE_MOST; 0 = any number */
    uint64_t seed;           /* of the jitter */
} lv_flash_model;            /* zeroed: every read is delivered at once */

/* What a device remembers between reads. */
typedef struct lv_flash_clock {
    uint64_t link_free_ns, rng;
    uint64_t slot_free_ns[LV_FLASH_QUEUE_MOST]; /* [queue] when each place of the queue is free again */
} lv_flash_clock;

/* The device called name (NULL: none, an unlimited one), not faster than limit_bytes_per_s (0: no limit).
 * LEVER_OK, or LEVER_EINVAL: unknown; the text lists those there are. */
int  lv_flash_model_get(lv_flash_model *m, const char *name, uint64_t limit_bytes_per_s, lever_error *err);
/* False when every read is delivered at once. */
bool lv_flash_model_waits(const lv_flash_model *m);

void lv_flash_clock_init(lv_flash_clock *c, const lv_flash_model *m);
/* Submit a read of `bytes` at now_ns (never less than at the call before); returns when it is delivered. */
uint64_t lv_flash_clock_submit(lv_flash_clock *c, const lv_flash_model *m, uint64_t now_ns, uint32_t bytes);

#endif
