/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *lever_status_name(int code)
{
    switch (code) {
#define X(name, value, text) \
    case value: return "LEVER_E" #name;
        LEVER_ERROR_MAP(X)
#undef X
    default: return code >= 0 ? "LEVER_OK" : "LEVER_E?";
    }
}

const char *lever_status_text(int code)
{
    switch (code) {
#define X(name, value, text) \
    case value: return text;
        LEVER_ERROR_MAP(X)
#undef X
    default: return code >= 0 ? "ok" : "unknown error";
    }
}

/* ": <text>" behind the first n characters of the message, as much as fits. */
static void append(lever_error *err, size_t n, const char *text)
{
    const size_t room = sizeof err->msg - 1 - n, len = strlen(text);
    if (room < 3) return;
    const size_t take = len < room - 2 ? len : room - 2;
    memcpy(err->msg + n, ": ", 2);
    memcpy(err->msg + n + 2, text, take);
    err->msg[n + 2 + take] = '\0';
}

int lv_fail(lever_error *err, int code, int os_errno, const char *fmt, ...)
{
    if (!err) return code;
    err->code = code;
    err->os_errno = os_errno;
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (os_errno && n >= 0 && (size_t)n < sizeof err->msg) append(err, (size_t)n, strerror(os_errno));
    return code;
}

int lv_fail_prefix(lever_error *err, int code, const char *fmt, ...)
{
    if (!err) return code;
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    old[sizeof old - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg) append(err, (size_t)n, old);
    return err->code;
}
