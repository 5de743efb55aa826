/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "serve_lib.h"

#ifdef LEVER_HAVE_MICROHTTPD

#include <dlfcn.h>
#include <string.h>

#define X(type, name, arguments) type(*lib_MHD_##name) arguments;
SERVE_LIB_FUNCTIONS(X)
#undef X

bool serve_lib_load(const char **why)
{
    static const char *const names[] = { "libmicrohttpd.so.12", "libmicrohttpd.so" };
    void *lib = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    *why = "libmicrohttpd.so.12 is not installed (package libmicrohttpd12, or run 'make setup')";
    if (!lib) return false;
    *why = "this libmicrohttpd lacks functions that lever serve uses; 0.9.75 has them";
    void *p;
#define X(type, name, arguments)                      \
    if (!(p = dlsym(lib, "MHD_" #name))) return false; \
    memcpy(&lib_MHD_##name, &p, sizeof p);
    SERVE_LIB_FUNCTIONS(X)
#undef X
    return true;
}

#endif
