/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mem.h"

enum { DIRECT_ALIGN = 4096, DROP_CACHE_BYTES = 1 << 20, MAX_READ = 4 << 20 };

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int lv_file_open(lv_file *f, const char *path, lever_error *err)
{
    struct stat st;
    *f = (lv_file){ .fd = -1, .fd_direct = -1, .align = DIRECT_ALIGN };
    if (!(f->path = lv_strdup_n(path, strlen(path)))) return lv_fail(err, LEVER_ENOMEM, 0, "path '%s'", path);
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = LEVER_OK;
    if (f->fd < 0) rc = lv_fail(err, LEVER_EIO, errno, "can not open '%s'", path);
    else if (fstat(f->fd, &st) != 0) rc = lv_fail(err, LEVER_EIO, errno, "can not look at '%s'", path);
    else if (S_ISDIR(st.st_mode))
        rc = lv_fail(err, LEVER_EIO, 0, "'%s' is a directory, not a model file", path);
    if (rc < 0) {
        lv_file_close(f);
        return rc;
    }
    f->size_bytes = (uint64_t)st.st_size;
    f->dev = st.st_dev, f->ino = st.st_ino, f->mtime_ns = mtime_ns(&st);
    f->fd_direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    return LEVER_OK;
}

void lv_file_close(lv_file *f)
{
    if (f->path && f->fd >= 0) close(f->fd);
    if (f->path && f->fd_direct >= 0) close(f->fd_direct);
    lv_free(f->path);
    *f = (lv_file){ .fd = -1, .fd_direct = -1 };
}

/* For tests: see lv_file_set_fault. */
static lv_read_fault injected;
static atomic_uint_fast64_t n_reads; /* of all threads */
static _Thread_local uint64_t read_number;
static _Thread_local uint32_t n_attempts; /* of this thread's read */

void lv_file_set_fault(const lv_read_fault *f)
{
    injected = f ? *f : (lv_read_fault){ 0 };
    atomic_store(&n_reads, 0);
}

static bool fault_is_set(void) { return injected.os_errno || injected.short_bytes; }

/* One system call: bytes, or -errno. */
static ssize_t read_once(int fd, void *dst, size_t n, uint64_t off)
{
    ssize_t got = pread(fd, dst, n, (off_t)off);
    if (got < 0) got = -errno;
    return fault_is_set() ? lv_read_fault_apply(&injected, read_number, n_attempts++, dst, got) : got;
}

/* Read all n bytes. 1: done; 0: this descriptor can not (O_DIRECT refused); else LEVER_EIO. */
static int read_fully(const lv_file *f, int fd, char *dst, size_t n, uint64_t off, lever_error *err)
{
    uint32_t n_refused = 0;
    for (size_t done = 0; done < n;) {
        const size_t want = n - done < MAX_READ ? n - done : MAX_READ;
        const ssize_t got = read_once(fd, dst + done, want, off + done);
        if ((got == -EINTR || got == -EAGAIN) && n_refused++ < LV_READ_REFUSALS) continue;
        if (got == -EINVAL && fd != f->fd) return 0;
        if (got < 0)
            return lv_fail(err, LEVER_EIO, (int)-got, "'%s': read of %zu bytes at %" PRIu64, f->path, n, off);
        if (got == 0)
            return lv_fail(err, LEVER_EIO, 0,
                           "'%s': the file ends at byte %" PRIu64 ", inside %zu bytes at %" PRIu64, f->path,
                           off + done, n, off);
        n_refused = 0;
        done += (size_t)got;
        if (fd != f->fd && done < n && (done & (f->align - 1))) return 0; /* cut short off a block */
    }
    return 1;
}

int lv_file_read(const lv_file *f, void *dst, size_t n, uint64_t off, lever_error *err)
{
    const uint64_t mask = f->align - 1;
    if (fault_is_set()) read_number = atomic_fetch_add(&n_reads, 1), n_attempts = 0;
    /* The whole blocks inside, where memory and file are aligned alike, go past the page cache. */
    if (n >= DROP_CACHE_BYTES && f->fd_direct >= 0 && (((uintptr_t)dst ^ off) & mask) == 0) {
        const size_t head = (size_t)(-off & mask), body = (n - head) & ~(size_t)mask;
        char *p = dst;
        LEVER_TRY(read_fully(f, f->fd, p, head, off, err));
        int rc = read_fully(f, f->fd_direct, p + head, body, off + head, err);
        if (rc > 0) rc = read_fully(f, f->fd, p + head + body, n - head - body, off + head + body, err);
        if (rc != 0) return rc < 0 ? rc : LEVER_OK;
    }
    LEVER_TRY(read_fully(f, f->fd, dst, n, off, err));
    if (n >= DROP_CACHE_BYTES) lv_file_forget(f, off, n);
    return LEVER_OK;
}

void lv_file_forget(const lv_file *f, uint64_t off, uint64_t n)
{
    posix_fadvise(f->fd, (off_t)off, (off_t)n, POSIX_FADV_DONTNEED);
}

const char *lv_file_where(const lv_file *f, char *buf, size_t cap)
{
    snprintf(buf, cap, "%u:%u", major((dev_t)f->dev), minor((dev_t)f->dev));
    return buf;
}

int lv_file_check(const lv_file *f, lever_error *err)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0) return lv_fail(err, LEVER_EIO, errno, "can not look at '%s'", f->path);
    if ((uint64_t)st.st_size == f->size_bytes && mtime_ns(&st) == f->mtime_ns) return LEVER_OK;
    return lv_fail(err, LEVER_EIO, 0, "'%s' changed while in use (it had %" PRIu64 " bytes, now %" PRIu64 ")",
                   f->path, f->size_bytes, (uint64_t)st.st_size);
}
