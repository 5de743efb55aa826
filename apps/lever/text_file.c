/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "text_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char *read_fail(lever_error *err, int code, const char *path, const char *why)
{
    snprintf(err->msg, sizeof err->msg, "text '%s' can not be read: %s", path, why);
    err->code = code;
    return NULL;
}

/* Grows as needed: the size is a hint, and a pipe has none. NULL with a message when it can not be. */
static char *read_stream(FILE *f, const char *path, size_t size, size_t *len, lever_error *err)
{
    size_t room = size + 1, n = 0; /* a byte more, so that the end shows at the first try */
    char *text = malloc(room);
    while (text) {
        n += fread(text + n, 1, room - n, f);
        if (n < room) break;
        char *more = realloc(text, room *= 2);
        if (!more) free(text);
        text = more;
    }
    if (!text) return read_fail(err, LEVER_ENOMEM, path, "out of memory");
    *len = n;
    if (!ferror(f)) return text;
    free(text);
    return read_fail(err, LEVER_EIO, path, strerror(errno));
}

char *text_file_read(const char *path, size_t *len, lever_error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) return read_fail(err, LEVER_EIO, path, strerror(errno));
    struct stat st;
    const bool sized = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode);
    char *text = read_stream(f, path, sized ? (size_t)st.st_size : 65536, len, err);
    fclose(f);
    return text;
}
