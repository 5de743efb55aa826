/* SPDX-License-Identifier: MIT */
#include "os/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Value of "name: 123 kB" in a /proc file; 0 when absent. */
static uint64_t proc_kb(const char *path, const char *name)
{
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    char line[256];
    uint64_t kb = 0;
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
            kb = strtoull(line + strlen(name) + 1, NULL, 10);
            break;
        }
    fclose(f);
    return kb * 1024;
}

static int read_number(const char *path, uint64_t *v)
{
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    const int n = fscanf(f, "%" SCNu64, v); /* "max" is no number: no limit */
    fclose(f);
    return n == 1 ? 0 : -1;
}

/* Room left in the memory cgroup at dir/path and in its parents. */
static uint64_t cgroup_room(const char *root, char *path, const char *limit, const char *usage)
{
    uint64_t room = UINT64_MAX;
    for (;;) {
        char file[4352];
        uint64_t max, used;
        snprintf(file, sizeof file, "%s%s/%s", root, path, limit);
        if (read_number(file, &max) == 0) {
            snprintf(file, sizeof file, "%s%s/%s", root, path, usage);
            if (read_number(file, &used) == 0 && (max > used ? max - used : 0) < room)
                room = max > used ? max - used : 0;
        }
        char *slash = strrchr(path, '/');
        if (!slash) return room;
        *slash = '\0';
    }
}

uint64_t lv_memory_available(void)
{
    uint64_t room = proc_kb("/proc/meminfo", "MemAvailable");
    if (!room) return 0;
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f) return room;
    char line[4096];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        uint64_t r = UINT64_MAX;
        if (!strcmp(controllers, ":"))
            r = cgroup_room("/sys/fs/cgroup", path, "memory.max", "memory.current");
        else if (strstr(controllers, "memory"))
            r = cgroup_room("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes");
        if (r < room) room = r;
    }
    fclose(f);
    return room;
}

uint64_t lv_memory_peak_rss(void) { return proc_kb("/proc/self/status", "VmHWM"); }
uint64_t lv_memory_rss(void) { return proc_kb("/proc/self/status", "VmRSS"); }

void lv_memory_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
