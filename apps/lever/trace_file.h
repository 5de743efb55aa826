/* Trace events of the library as a Chrome trace file, which browsers (chrome://tracing) and Perfetto show.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_TRACE_FILE_H
#define LEVER_APPS_TRACE_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "lever/lever.h"

typedef struct trace_file {
    FILE       *f;
    const char *path;
    uint64_t    origin_ns, n_async;
    int         failed; /* errno of the first failure */
} trace_file;

/* LEVER_OK, LEVER_EIO. */
int  trace_open(trace_file *t, const char *path, lever_error *err);
/* A lever_on_trace; user is the trace_file. */
void trace_event(void *user, const lever_trace_event *e);
/* Ends the file. LEVER_OK; LEVER_EIO: it is not complete. Accepts one that was never opened. */
int  trace_close(trace_file *t, lever_error *err);

#endif
