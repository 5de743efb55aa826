/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_name(const option *o, const char *name, size_t len)
{
    for (const char *p = o->names; p && *p;) {
        const size_t n = strcspn(p, " ");
        if (n == len && !memcmp(p, name, len)) return true;
        p += n + strspn(p + n, " ");
    }
    return false;
}

bool option_bytes(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    const double v = strtod(text, &end);
    static const struct { const char *unit; double factor; } units[] = {
        { "", 1 }, { "B", 1 }, { "k", 1024 }, { "K", 1024 }, { "KiB", 1024 }, { "kB", 1e3 }, { "KB", 1e3 },
        { "M", 1048576 }, { "MiB", 1048576 }, { "MB", 1e6 }, { "G", 1073741824 }, { "GiB", 1073741824 },
        { "GB", 1e9 },
    };
    if (end == text || errno || !(v >= 0)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit)) {
            const double bytes = v * units[i].factor;
            if (!(bytes < 1e18)) return false;
            *out = (uint64_t)bytes;
            return true;
        }
    return false;
}

static bool parse_integer(const char *text, long long min, unsigned long long max, long long *out)
{
    char *end;
    errno = 0;
    if (*text == '-') {
        *out = strtoll(text, &end, 10);
        return end != text && !*end && !errno && *out >= min;
    }
    const unsigned long long v = strtoull(text, &end, 10);
    *out = (long long)v;
    return end != text && !*end && !errno && v <= max;
}

static bool store(const option *o, void *field, const char *value)
{
    long long n = 0;
    switch (o->kind) {
    case OPTION_FLAG: *(bool *)field = true; return true;
    case OPTION_TEXT: *(const char **)field = value; return true;
    case OPTION_BYTES: return option_bytes(value, field);
    case OPTION_U32:
        if (!parse_integer(value, 0, UINT32_MAX, &n)) return false;
        *(uint32_t *)field = (uint32_t)n;
        return true;
    case OPTION_I32:
        if (!parse_integer(value, INT32_MIN, INT32_MAX, &n)) return false;
        *(int32_t *)field = (int32_t)n;
        return true;
    case OPTION_U64:
        if (!parse_integer(value, 0, UINT64_MAX, &n)) return false;
        *(uint64_t *)field = (uint64_t)n;
        return true;
    case OPTION_LONG:
        if (!parse_integer(value, -1, INT32_MAX, &n)) return false;
        *(long *)field = (long)n;
        return true;
    case OPTION_FLOAT: {
        char *end;
        const double v = strtod(value, &end);
        if (end == value || *end || !isfinite(v)) return false;
        *(float *)field = (float)v;
        return true;
    }
    }
    return false;
}

static const char *expected(enum option_kind kind)
{
    switch (kind) {
    case OPTION_BYTES: return "a size such as 512MiB or 3GiB";
    case OPTION_FLOAT: return "a number";
    case OPTION_U32:
    case OPTION_U64: return "a whole number, 0 or more";
    case OPTION_I32:
    case OPTION_LONG: return "a whole number";
    default: return "a value";
    }
}

int options_parse(const option *options, size_t n_options, void *fields, int argc, char **argv, int first,
                  const char **positional, int max, int *n)
{
    *n = 0;
    bool only_positional = false;
    for (int i = first; i < argc; i++) {
        const char *a = argv[i];
        if (!only_positional && !strcmp(a, "--")) {
            only_positional = true;
            continue;
        }
        if (only_positional || a[0] != '-' || !a[1]) {
            if (*n == max) {
                fprintf(stderr, "lever: unexpected argument '%s'\n", a);
                return 2;
            }
            positional[(*n)++] = a;
            continue;
        }
        const size_t len = strncmp(a, "--", 2) ? strlen(a) : strcspn(a, "=");
        const option *o = NULL;
        for (size_t k = 0; k < n_options && !o; k++)
            if (has_name(&options[k], a, len)) o = &options[k];
        if (!o) {
            fprintf(stderr, "lever: unknown option '%.*s'; see --help\n", (int)len, a);
            return 2;
        }
        const char *value = a[len] == '=' ? a + len + 1 : NULL;
        if (o->kind == OPTION_FLAG ? value != NULL : !value && i + 1 == argc) {
            fprintf(stderr, "lever: option '%.*s' %s\n", (int)len, a,
                    o->kind == OPTION_FLAG ? "takes no value" : "needs a value");
            return 2;
        }
        if (o->kind != OPTION_FLAG && !value) value = argv[++i];
        if (!store(o, (char *)fields + o->offset, value)) {
            fprintf(stderr, "lever: option '%.*s' needs %s, not '%s'\n", (int)len, a, expected(o->kind),
                    value);
            return 2;
        }
    }
    return 0;
}

void options_help(const option *options, size_t n_options)
{
    for (size_t i = 0; i < n_options; i++) {
        const option *o = &options[i];
        if (!o->names) {
            printf("\n%s\n", o->help);
            continue;
        }
        char left[64];
        int at = 0;
        for (const char *p = o->names; *p;) { /* "-m --model" prints as "-m, --model" */
            const size_t len = strcspn(p, " ");
            at += snprintf(left + at, sizeof left - (size_t)at, "%s%.*s", at ? ", " : "", (int)len, p);
            p += len + strspn(p + len, " ");
        }
        if (o->arg) snprintf(left + at, sizeof left - (size_t)at, " %s", o->arg);
        const char *text = o->help;
        printf("  %-27s", left);
        if (strlen(left) > 27) printf("\n  %-27s", "");
        for (;;) { /* help texts carry their own line breaks */
            const size_t len = strcspn(text, "\n");
            printf(" %.*s\n", (int)len, text);
            if (!text[len]) break;
            text += len + 1;
            printf("  %-27s", "");
        }
    }
}

char *format_bytes(char *buf, size_t cap, double bytes)
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    int u = 0;
    while (bytes >= 1000 && u < 4) bytes /= 1024, u++;
    snprintf(buf, cap,
             u == 0        ? "%.0f %s"
             : bytes < 10  ? "%.2f %s"
             : bytes < 100 ? "%.1f %s"
                           : "%.0f %s",
             bytes, unit[u]);
    return buf;
}
