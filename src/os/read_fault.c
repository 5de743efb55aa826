/* SPDX-License-Identifier: MIT */
#include "os/read_fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; int os_errno; } errors[] = {
    { "EIO", EIO },     { "ENOSPC", ENOSPC }, { "ENODEV", ENODEV },
    { "EINTR", EINTR }, { "EAGAIN", EAGAIN }, { "EINVAL", EINVAL },
};

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && !memcmp(text, word, len);
}

static bool parse_error(int *out, const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (is_word(name, len, errors[i].name)) return *out = errors[i].os_errno, true;
    return false;
}

static bool parse_number(uint64_t *out, uint64_t most, const char *text, size_t len)
{
    char *end;
    if (len == 0 || *text < '0' || *text > '9') return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return end == text + len && !errno && *out <= most;
}

/* One "key=value". */
static bool parse_item(lv_read_fault *f, const char *item, size_t len)
{
    const char *equals = memchr(item, '=', len);
    if (!equals) return false;
    const size_t key = (size_t)(equals - item), n = len - key - 1;
    uint64_t small = 0;
    if (is_word(item, key, "error")) return parse_error(&f->os_errno, equals + 1, n);
    if (is_word(item, key, "first")) return parse_number(&f->first, UINT64_MAX, equals + 1, n);
    if (is_word(item, key, "count")) return parse_number(&f->count, UINT64_MAX, equals + 1, n);
    if (!parse_number(&small, UINT32_MAX, equals + 1, n)) return false;
    if (is_word(item, key, "times")) return f->times = (uint32_t)small, true;
    if (is_word(item, key, "short")) return f->short_bytes = (uint32_t)small, true;
    if (is_word(item, key, "flip")) return f->flip = small != 0, true;
    return false;
}

int lv_read_fault_parse(lv_read_fault *f, const char *text, lever_error *err)
{
    *f = (lv_read_fault){ 0 };
    for (const char *p = text;; p++) {
        const size_t len = strcspn(p, ",");
        if (!parse_item(f, p, len))
            return lv_fail(err, LEVER_EINVAL, 0,
                           "read faults '%s': '%.*s' is none of first=N, count=N, error=NAME, times=N, short=N, flip=1",
                           text, (int)(len < 40 ? len : 40), p);
        p += len;
        if (!*p) break;
    }
    if (f->os_errno || f->short_bytes || f->flip) return LEVER_OK;
    return lv_fail(err, LEVER_EINVAL, 0, "read faults '%s': none of error=, short=, flip= is given", text);
}

ssize_t lv_read_fault_apply(const lv_read_fault *f, uint64_t read, uint32_t attempt, void *dst, ssize_t got)
{
    if (read < f->first || (f->count && read - f->first >= f->count)) return got;
    ssize_t kept = got;
    if (f->os_errno && (!f->times || attempt < f->times)) kept = -f->os_errno;
    else if (f->short_bytes && got > (ssize_t)f->short_bytes) kept = (ssize_t)f->short_bytes;
    const ssize_t from = kept < 0 ? 0 : kept;
    if (got > from) memset((char *)dst + from, 0xEE, (size_t)(got - from));
    if (f->flip && kept > 0) ((char *)dst)[kept / 2] ^= 1;
    return kept;
}
