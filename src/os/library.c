/* SPDX-License-Identifier: MIT */
#include "os/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

void *lv_library_open(const char *name, char *why, size_t cap)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
    const char *text = dlerror();
    snprintf(why, cap, "%s", text ? text : "unknown error");
    return NULL;
}

void lv_library_close(void *library)
{
    if (library) dlclose(library);
}

void lv_library_symbol(void *library, const char *symbol, void *fn)
{
    /* ISO C has no conversion from a data pointer to a function pointer; POSIX says they have one size. */
    void *at = dlsym(library, symbol);
    memcpy(fn, &at, sizeof at);
}
