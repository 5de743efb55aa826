/* What the server says on standard error. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "serve.h"

void serve_log(const server *s, const char *format, ...)
{
    if (s->args.quiet) return;
    char line[600];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *p = line; *p; p++) /* names from a model file: nothing in them may drive the terminal */
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    fprintf(stderr, "lever: %s\n", line);
}

static void log_json(const char *at, const char *peer, const char *method, const char *path, int status,
                     double s, const char *detail)
{
    serve_budget budget = { .limit = 65536 };
    serve_text t = { .budget = &budget };
    const char *const names[] = { "time", "peer", "method", "path", "detail" };
    const char *const values[] = { at, peer, method, path, detail };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        text_printf(&t, "%s\"%s\":", i ? "," : "{", names[i]);
        text_json(&t, values[i], strlen(values[i]));
    }
    text_printf(&t, ",\"status\":%d,\"seconds\":%.6f}\n", status, s);
    fwrite(t.p, 1, t.n, stderr);
    text_fini(&t);
}

void serve_log_request(const server *s, const char *peer, const char *method, const char *path, int status,
                       uint64_t begin_ns, const char *detail)
{
    if (s->args.quiet) return;
    char at[32], shown[80];
    const time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(shown, sizeof shown, "%s", path);
    for (char *p = shown; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f) *p = '?';
    const double seconds = (double)(now_ns() - begin_ns) * 1e-9;
    if (s->args.log_json) log_json(at, peer, method, shown, status, seconds, detail);
    else
        fprintf(stderr, "%s %s %s %s %d %.3f s%s%s\n", at, peer, method, shown, status, seconds,
                *detail ? ": " : "", detail);
}
