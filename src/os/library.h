/* Shared libraries loaded at run time. Threading: any. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_LIBRARY_H
#define LEVER_OS_LIBRARY_H

#include <stddef.h>

/* Load a library by name or path, with its symbols private to it. NULL: `why` [cap] says what the system
 * said. Returned: release with lv_library_close, or keep for good. */
void *lv_library_open(const char *name, char *why, size_t cap);
void  lv_library_close(void *library); /* accepts NULL */

/* Store the address of `symbol` in the function pointer at `fn` (NULL when it is not there). */
void lv_library_symbol(void *library, const char *symbol, void *fn);

#endif
