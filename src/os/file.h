/* Files opened for reading, past the page cache where the file system allows it.
 * Units: offsets uint64_t bytes. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_FILE_H
#define LEVER_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "os/read_fault.h"

/* A read that the system refuses with EINTR or EAGAIN so often in a row, without a byte in between, fails. */
enum { LV_READ_REFUSALS = 100 };

typedef struct lv_file {
    int      fd;          /* buffered descriptor: metadata, small reads, unaligned tails */
    int      fd_direct;   /* O_DIRECT descriptor, or -1 where the file system refuses it */
    uint32_t align;       /* power of two that O_DIRECT offsets, lengths and addresses must respect */
    uint64_t size_bytes;  /* at open */
    uint64_t dev, ino;    /* identity at open */
    int64_t  mtime_ns;    /* at open; lv_file_check compares */
    char    *path;        /* copied, for messages */
} lv_file;

/* LEVER_OK, LEVER_EIO (missing, unreadable, a directory: message names the path), LEVER_ENOMEM. */
int  lv_file_open(lv_file *f, const char *path, lever_error *err);
void lv_file_close(lv_file *f); /* accepts a zeroed or half-opened one */
/* Buffered read of exactly n bytes; short reads continued, EINTR and EAGAIN retried, cache dropped
 * after large ones. LEVER_OK or LEVER_EIO naming path and offset (also when the file ends early). */
int  lv_file_read(const lv_file *f, void *dst, size_t n, uint64_t off, lever_error *err);
/* Let the page cache forget these bytes, so that the next read comes from the device. */
void lv_file_forget(const lv_file *f, uint64_t off, uint64_t n);
/* Size, identity and mtime still as at open? LEVER_OK or LEVER_EIO: "file changed while in use". */
int  lv_file_check(const lv_file *f, lever_error *err);
/* The device the file lies on as the system numbers it: "259:1". buf [cap], returned. */
const char *lv_file_where(const lv_file *f, char *buf, size_t cap);
/* Tests only: from now on lv_file_read, counted from here, meets this fault; NULL: none. Copied. For the whole
 * process, and to be called while nothing reads. */
void lv_file_set_fault(const lv_read_fault *f);

#endif
