/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "cache_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEARNT_MOST = 1 << 20 };

bool cache_path(char *buf, size_t cap, const char *name)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const bool has_xdg = xdg && *xdg;
    if (!has_xdg && !(home && *home)) return false;
    const int n = snprintf(buf, cap, has_xdg ? "%s/lever/%s" : "%s/.cache/lever/%s", has_xdg ? xdg : home, name);
    return n > 0 && (size_t)n < cap;
}

int cache_make(void)
{
    char folder[CACHE_PATH_CAP];
    if (!cache_path(folder, sizeof folder, "")) return errno = ENOENT, -1;
    for (char *at = strchr(folder + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(folder, 0755) && errno != EEXIST) return -1;
        *at = '/';
    }
    return 0;
}

static bool learnt_path(uint64_t pair_key, char *buf, size_t cap)
{
    char name[64];
    snprintf(name, sizeof name, "learnt-%016" PRIx64, pair_key);
    return cache_path(buf, cap, name);
}

static uint64_t pair_of(const lever_engine *engine)
{
    lever_engine_info info;
    lever_engine_get_info(engine, &info);
    return info.pair_key;
}

size_t learnt_read(void *user, uint64_t pair_key, void *out, size_t cap)
{
    char path[CACHE_PATH_CAP];
    (void)user;
    FILE *f = learnt_path(pair_key, path, sizeof path) ? fopen(path, "rb") : NULL;
    if (!f) return 0;
    const size_t n = fread(out, 1, cap, f);
    fclose(f);
    return n;
}

void learnt_load(lever_engine *engine)
{
    char *bytes = malloc(LEARNT_MOST);
    const size_t n = bytes ? learnt_read(NULL, pair_of(engine), bytes, LEARNT_MOST) : 0;
    if (n) lever_engine_set_learnt(engine, bytes, n, NULL);
    free(bytes);
}

/* Under a name of its own first: another run may be writing too, and a reader must never see half of it. */
void learnt_store(const lever_engine *engine)
{
    char path[CACHE_PATH_CAP], part[CACHE_PATH_CAP + 32];
    const size_t n = lever_engine_get_learnt(engine, NULL, 0);
    if (!n || !learnt_path(pair_of(engine), path, sizeof path) || cache_make()) return;
    snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
    char *bytes = malloc(n);
    FILE *f = bytes ? fopen(part, "wb") : NULL;
    bool good = f && lever_engine_get_learnt(engine, bytes, n) == n && fwrite(bytes, 1, n, f) == n;
    if (f && fclose(f)) good = false;
    if (f && (!good || rename(part, path))) remove(part);
    free(bytes);
}
