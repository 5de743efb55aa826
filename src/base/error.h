/* Filling lever_error and forwarding codes. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_ERROR_H
#define LEVER_BASE_ERROR_H

#include "lever/error.h"

/* Store code, os_errno and the formatted text in *err (which may be NULL); returns code.
 * os_errno != 0 appends ": <strerror text>". Too long a text is cut, never overrun. */
int lv_fail(lever_error *err, int code, int os_errno, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Put "<text>: " before the message already in *err (nullable); returns err's code,
 * or `code` when err is NULL. For adding a file name on the way up. */
int lv_fail_prefix(lever_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Forward a negative code from an int function. */
#define LEVER_TRY(call)                    \
    do {                                   \
        const int lv_try_rc_ = (call);     \
        if (lv_try_rc_ < 0) return lv_try_rc_; \
    } while (0)

#endif
