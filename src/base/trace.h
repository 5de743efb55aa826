/* Emitting trace events where a trace is wanted. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_TRACE_H
#define LEVER_BASE_TRACE_H

#include <stddef.h>

#include "lever/trace.h"

/* fn NULL: nobody wants it. */
typedef struct lv_trace {
    lever_on_trace fn;
    void *user;
} lv_trace;

static inline void lv_trace_emit(const lv_trace *t, const lever_trace_event *e)
{
    if (t->fn) t->fn(t->user, e);
}

#endif
