/* What happened when: for pictures of how reads, layers and drafting overlap. SPDX-License-Identifier: MIT */
#ifndef LEVER_TRACE_H
#define LEVER_TRACE_H

#include <stdint.h>

/* One stretch of time. Times are nanoseconds of one monotonic clock; strings are static. */
typedef struct lever_trace_event {
    const char *track;  /* "cycle": cycles and their parts; "target", "draft": layers and what they wait for;
                         * "flash": reads, of which several are in flight at a time; "device": jobs of an
                         * accelerator, from submission until their results are collected, several at a time too */
    const char *name;
    uint64_t begin_ns, end_ns;
    int64_t  index;     /* of the layer, cycle or read, counted from 0; -1: none */
    int64_t  rows;      /* 0: none */
    int64_t  bytes;     /* 0: none */
} lever_trace_event;

/* Called when a stretch is over, so a part comes before the whole; from the thread that uses the engine. */
typedef void (*lever_on_trace)(void *user, const lever_trace_event *event);

#endif
