/* SPDX-License-Identifier: MIT */
#include "trace_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char *const tracks[] = { "cycle", "draft", "target", "flash", "device" };
enum { N_TRACKS = sizeof tracks / sizeof *tracks };

static int fail(const trace_file *t, int why, lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "trace '%s' can not be written: %s", t->path, strerror(why));
    return err->code = LEVER_EIO;
}

static void note_failure(trace_file *t)
{
    if (ferror(t->f) && !t->failed) t->failed = errno ? errno : EIO;
}

int trace_open(trace_file *t, const char *path, lever_error *err)
{
    *t = (trace_file){ .path = path, .origin_ns = UINT64_MAX };
    t->f = fopen(path, "w");
    if (!t->f) return fail(t, errno, err);
    fputs("[{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"args\": {\"name\": \"lever\"}}", t->f);
    for (int i = 0; i < N_TRACKS; i++)
        fprintf(t->f,
                ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, "
                "\"args\": {\"name\": \"%s\"}}",
                i, tracks[i]);
    note_failure(t);
    return LEVER_OK;
}

static void put_args(FILE *f, const lever_trace_event *e)
{
    const char *comma = "";
    fputs(", \"args\": {", f);
    if (e->index >= 0) fprintf(f, "\"index\": %" PRId64, e->index), comma = ", ";
    if (e->rows) fprintf(f, "%s\"rows\": %" PRId64, comma, e->rows), comma = ", ";
    if (e->bytes) fprintf(f, "%s\"bytes\": %" PRId64, comma, e->bytes);
    fputs("}}", f);
}

void trace_event(void *user, const lever_trace_event *e)
{
    trace_file *t = user;
    int track = 0;
    while (track < N_TRACKS && strcmp(tracks[track], e->track)) track++;
    if (t->origin_ns == UINT64_MAX) t->origin_ns = e->begin_ns;
    const double begin = (double)(int64_t)(e->begin_ns - t->origin_ns) * 1e-3;
    const double us = (double)(e->end_ns - e->begin_ns) * 1e-3;
    const char *head = ",\n{\"name\": \"%s\", \"pid\": 1, \"tid\": %d, \"ts\": %.3f, ";
    errno = 0;
    fprintf(t->f, head, e->name, track, begin);
    if (strcmp(e->track, "flash") && strcmp(e->track, "device")) {
        fprintf(t->f, "\"ph\": \"X\", \"dur\": %.3f", us);
        put_args(t->f, e);
    } else { /* these overlap: pairs of asynchronous events */
        const uint64_t id = t->n_async++;
        fprintf(t->f, "\"ph\": \"b\", \"cat\": \"%s\", \"id\": %" PRIu64, e->track, id);
        put_args(t->f, e);
        fprintf(t->f, head, e->name, track, begin + us);
        fprintf(t->f, "\"ph\": \"e\", \"cat\": \"%s\", \"id\": %" PRIu64 "}", e->track, id);
    }
    note_failure(t);
}

int trace_close(trace_file *t, lever_error *err)
{
    if (!t->f) return LEVER_OK;
    errno = 0;
    fputs("]\n", t->f);
    note_failure(t);
    if (fclose(t->f) && !t->failed) t->failed = errno ? errno : EIO;
    t->f = NULL;
    return t->failed ? fail(t, t->failed, err) : LEVER_OK;
}
