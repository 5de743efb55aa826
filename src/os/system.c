/* SPDX-License-Identifier: MIT */
#include "os/system.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Value of a line "name : value" of `text`, and where the next line begins; NULL: no such line. */
static const char *value_of(const char *text, const char *name, char *buf, size_t cap)
{
    const size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, n) || !strchr("\t :", line[n])) continue;
        const char *at = line + n + strspn(line + n, "\t :");
        snprintf(buf, cap, "%.*s", (int)strcspn(at, "\n"), at);
        return at;
    }
    return NULL;
}

static void append(char *buf, size_t cap, const char *word)
{
    if (strstr(buf, word)) return;
    const size_t n = strlen(buf);
    snprintf(buf + n, cap - n, " %s", word);
}

void lv_system_cpu_name_of(const char *text, char *buf, size_t cap)
{
    char word[64];
    if (value_of(text, "model name", buf, cap) && *buf) return;
    if (!value_of(text, "CPU implementer", word, sizeof word)) {
        snprintf(buf, cap, "unknown");
        return;
    }
    snprintf(buf, cap, "arm %s", word);
    for (const char *at = text; (at = value_of(at, "CPU part", word, sizeof word));) append(buf, cap, word);
}

void lv_system_cpu_name(char *buf, size_t cap)
{
    char text[7168]; /* a core is described in some 250 bytes on Arm: the first two dozen, of all kinds */
    FILE *f = fopen("/proc/cpuinfo", "r");
    const size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = '\0';
    lv_system_cpu_name_of(text, buf, cap);
}

void lv_system_kernel(char *buf, size_t cap)
{
    struct utsname u;
    if (uname(&u))
        snprintf(buf, cap, "unknown");
    else
        snprintf(buf, cap, "%s %s", u.sysname, u.release);
}

uint64_t lv_system_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

uint64_t lv_system_cache(void)
{
    long most = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
    const int levels[] = { _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL4_CACHE_SIZE };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const long n = sysconf(levels[i]);
        if (n > most) most = n;
    }
#endif
    return (uint64_t)most;
}
