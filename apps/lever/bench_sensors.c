/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench_sensors.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* First line of folder/entry/name. */
static bool read_line(const char *folder, const char *entry, const char *name, char *buf, int cap)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s", folder, entry, name);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    const bool ok = fgets(buf, cap, f) != NULL;
    fclose(f);
    if (ok) buf[strcspn(buf, "\n")] = '\0';
    return ok;
}

static bool read_number(const char *folder, const char *entry, const char *name, uint64_t *v)
{
    char text[64];
    return read_line(folder, entry, name, text, sizeof text) && sscanf(text, "%" SCNu64, v) == 1;
}

/* Cores and graphics are parts of their package, and "psys" holds the packages: these would count twice. The
 * same zones appear again below intel-rapl-mmio. */
static bool counts(const char *entry, const char *name)
{
    return !strncmp(entry, "intel-rapl:", 11) && (!strncmp(name, "package", 7) || !strcmp(name, "dram"));
}

void energy_open(energy_meter *m, const char *folder)
{
    m->n = 0;
    DIR *d = opendir(folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d)) && m->n < ENERGY_ZONES;) {
        struct energy_zone *z = &m->zones[m->n];
        char name[64];
        if (!read_line(folder, e->d_name, "name", name, sizeof name) || !counts(e->d_name, name)) continue;
        if (snprintf(z->path, sizeof z->path, "%s/%s", folder, e->d_name) >= (int)sizeof z->path) continue;
        if (!read_number(z->path, "", "energy_uj", &z->last_uj)) continue;
        if (!read_number(z->path, "", "max_energy_range_uj", &z->range_uj)) z->range_uj = 0;
        m->n++;
    }
    closedir(d);
}

double energy_joules(energy_meter *m)
{
    double joules = m->n ? 0 : NAN;
    for (size_t i = 0; i < m->n; i++) {
        struct energy_zone *z = &m->zones[i];
        uint64_t now;
        if (!read_number(z->path, "", "energy_uj", &now)) return NAN;
        joules += (double)(now >= z->last_uj ? now - z->last_uj : now + z->range_uj - z->last_uj) * 1e-6;
        z->last_uj = now;
    }
    return joules;
}

double highest_celsius(const char *folder)
{
    double highest = NAN;
    DIR *d = opendir(folder);
    if (!d) return NAN;
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t milli;
        if (strncmp(e->d_name, "thermal_zone", 12)) continue;
        if (!read_number(folder, e->d_name, "temp", &milli)) continue;
        /* Zones without a sensor report 0 or nonsense. */
        if (milli > 0 && milli < 150000 && !(highest >= (double)milli / 1000)) highest = (double)milli / 1000;
    }
    closedir(d);
    return highest;
}

void machine_name(char *buf, size_t cap)
{
    char line[512], model[128] = "unknown processor", family[32] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    for (bool done = !f; !done && fgets(line, sizeof line, f);) {
        const char *value = strstr(line, ": ");
        line[strcspn(line, "\n")] = '\0';
        done = !line[0]; /* the first processor stands for all */
        if (!value) continue;
        value += 2;
        if (!strncmp(line, "model name", 10)) snprintf(model, sizeof model, "%.120s", value);
        if (!strncmp(line, "CPU part", 8)) snprintf(model, sizeof model, "Arm part %.100s", value);
        if (!strncmp(line, "cpu family", 10)) snprintf(family, sizeof family, " family %.20s", value);
    }
    if (f) fclose(f);
    snprintf(buf, cap, "%s%s, %ld cores", model, family, sysconf(_SC_NPROCESSORS_CONF));
}
