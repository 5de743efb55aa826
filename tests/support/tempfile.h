/* A temporary file of known bytes, removed at once or by temp_close. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_SUPPORT_TEMPFILE_H
#define LEVER_TESTS_SUPPORT_TEMPFILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Byte at offset i of every such file. */
static inline uint8_t temp_byte(uint64_t i) { return (uint8_t)((i * 2654435761u) >> 13 ^ i >> 9); }

/* Writes n bytes to a new file in the working directory's build/ (a disk, where O_DIRECT works) or, where
 * that is not writable, in /tmp; path gets its name. Returns 0, or -1. */
static inline int temp_make(char *path, size_t cap, size_t n)
{
    snprintf(path, cap, "build/lever-test-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0) {
        snprintf(path, cap, "/tmp/lever-test-XXXXXX");
        fd = mkstemp(path);
    }
    if (fd < 0) return -1;
    uint8_t buf[4096];
    for (size_t at = 0; at < n; at += sizeof buf) {
        const size_t len = n - at < sizeof buf ? n - at : sizeof buf;
        for (size_t i = 0; i < len; i++) buf[i] = temp_byte(at + i);
        if (write(fd, buf, len) != (ssize_t)len) return close(fd), -1;
    }
    return close(fd);
}

#endif
