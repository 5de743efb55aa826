/* Foreign code that may crash or hang, tried in a process of its own. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_CHILD_H
#define LEVER_OS_CHILD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* fn(arg, result) runs in a copy of this process; what it stores in result [result_bytes, plain data, zeroed
 * before] comes back, nothing else it does. It has no terminal (its input and output are /dev/null), and its
 * processes are ended after limit_ms.
 *
 * LEVER_OK: fn returned, result is filled. LEVER_EUNSUP: it crashed, ended or ran into the limit; the text
 * begins with `what` and says which. LEVER_ENOMEM, LEVER_EIO: no memory or process for it.
 *
 * The copy has one thread, so a lock that another thread held stays locked in it: where this happens the
 * limit ends it. Call it before starting threads. */
int lv_child_run(void (*fn)(void *arg, void *result), void *arg, void *result, size_t result_bytes,
                 unsigned limit_ms, const char *what, lever_error *err);

/* Has this process one thread only? Also true where the system does not say. */
bool lv_child_is_safe(void);

#endif
