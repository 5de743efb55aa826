/* lv_file: reads that are cut, interrupted or refused; files that change; file systems without O_DIRECT.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "support/check.h"

#include "base/mem.h"
#include "flash/io.h"
#include "os/file.h"
#include "support/tempfile.h"

enum { FILE_BYTES = (3 << 20) + 123, LARGE = (1 << 20) + 5000, BUFFER = 4 << 20 };
static char path[64];
static uint8_t *buf; /* [BUFFER] */

/* A new file under its name; its time is long ago, so that every change shows. */
static void make_file(lv_file *f)
{
    lever_error err = { 0 };
    CHECK_EQ(temp_make(path, sizeof path, FILE_BYTES), 0);
    CHECK_EQ(utimensat(AT_FDCWD, path, (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 1 } }, 0), 0);
    CHECK_OK(lv_file_open(f, path, &err), &err);
}

static void drop_file(lv_file *f)
{
    lv_file_close(f);
    unlink(path);
}

static size_t n_wrong(const uint8_t *p, size_t n, uint64_t off)
{
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) wrong += p[i] != temp_byte(off + i);
    return wrong;
}

/* Memory and file lie alike in a block, so that a large read goes past the page cache. */
static int read_at(const lv_file *f, size_t n, uint64_t off, lever_error *err)
{
    memset(buf, 0x11, BUFFER);
    return lv_file_read(f, buf + off % 4096, n, off, err);
}

static void short_interrupted_and_refused_reads_are_continued(void)
{
    static const lv_read_fault faults[] = {
        { .short_bytes = 65536 },                /* goes on past the page cache */
        { .short_bytes = 10000 },                /* can not: cut off a block */
        { .os_errno = EINTR, .times = 90 },
        { .os_errno = EAGAIN, .times = 90 },
        { .os_errno = EAGAIN, .times = 3, .short_bytes = 12288 },
    };
    static const struct { size_t n; uint64_t off; } places[] = {
        { 100, 5 }, { 70000, 4096 }, { LARGE, 0 }, { LARGE, 8192 + 700 }, { LARGE, FILE_BYTES - LARGE },
    };
    lv_file f;
    make_file(&f);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            lever_error err = { 0 };
            lv_file_set_fault(&faults[i]);
            CHECK_OK(read_at(&f, places[k].n, places[k].off, &err), &err);
            lv_file_set_fault(NULL);
            CHECK_EQ(n_wrong(buf + places[k].off % 4096, places[k].n, places[k].off), 0);
        }
    if (f.fd_direct >= 0) { /* aligned at its head, so the first attempt is a direct one */
        lever_error err = { 0 };
        lv_file_set_fault(&(lv_read_fault){ .os_errno = EINVAL, .times = 1 });
        CHECK_OK(read_at(&f, LARGE, 4096, &err), &err);
        lv_file_set_fault(NULL);
        CHECK_EQ(n_wrong(buf, LARGE, 4096), 0);
    }
    drop_file(&f);
}

static void reads_that_can_not_succeed_name_the_file_and_the_reason(void)
{
    static const int errors[] = { EIO, ENODEV, ENOSPC, EINVAL, EINTR, EAGAIN };
    lv_file f;
    make_file(&f);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        lever_error err = { 0 };
        lv_file_set_fault(&(lv_read_fault){ .first = 1, .count = 1, .os_errno = errors[i] });
        CHECK_OK(read_at(&f, 5000, 0, &err), &err);
        CHECK_EQ(read_at(&f, i % 2 ? 5000 : LARGE, 4096, &err), LEVER_EIO);
        CHECK_EQ(err.os_errno, errors[i]);
        CHECK(strstr(err.msg, path) && strstr(err.msg, "at 4096") && strstr(err.msg, strerror(errors[i])));
        CHECK_OK(read_at(&f, 5000, 0, &err), &err);
        lv_file_set_fault(NULL);
    }
    drop_file(&f);
}

static void a_change_of_size_or_content_is_noticed(void)
{
    for (int how = 0; how < 3; how++) {
        lv_file f;
        lever_error err = { 0 };
        make_file(&f);
        CHECK_OK(lv_file_check(&f, &err), &err);
        const int fd = open(path, O_WRONLY);
        if (how == 0) CHECK_EQ(ftruncate(fd, 5000), 0);
        if (how == 1) CHECK_EQ(ftruncate(fd, FILE_BYTES + 1), 0);
        if (how == 2) CHECK_EQ(pwrite(fd, "x", 1, 777), 1);
        close(fd);
        CHECK_EQ(lv_file_check(&f, &err), LEVER_EIO);
        CHECK(strstr(err.msg, path) && strstr(err.msg, "changed while in use"));
        if (how == 0) {
            CHECK_EQ(read_at(&f, 4096, 4096, &err), LEVER_EIO);
            CHECK(strstr(err.msg, "the file ends at byte 5000"));
        }
        drop_file(&f);
    }
}

/* A new file under the old name is none of our business: ours lives on until it is closed. */
static void a_file_replaced_by_rename_is_still_the_old_one(void)
{
    lv_file f;
    lever_error err = { 0 };
    make_file(&f);
    char other[80];
    snprintf(other, sizeof other, "%s.new", path);
    const int fd = open(other, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && write(fd, "other", 5) == 5);
    close(fd);
    CHECK_EQ(rename(other, path), 0);
    CHECK_OK(lv_file_check(&f, &err), &err);
    CHECK_OK(read_at(&f, LARGE, 0, &err), &err);
    CHECK_EQ(n_wrong(buf, LARGE, 0), 0);
    drop_file(&f);
}

/* tmpfs has no O_DIRECT before Linux 6.6; where it has, the descriptor is taken away as well. */
static void whole_reads_are_right(lv_file *f)
{
    static const char *const backends[] = { "uring", "pool", "sim" };
    lever_error err = { 0 };
    CHECK_OK(read_at(f, LARGE, 4096, &err), &err);
    CHECK_EQ(n_wrong(buf, LARGE, 4096), 0);
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        lv_io *io;
        lv_io_config c;
        lv_io_config_init(&c);
        if (lv_io_open(&io, backends[i], &c, NULL) < 0) continue;
        memset(buf, 0x11, BUFFER);
        lv_io_read r = { .file = f, .off = 8192, .dst = buf, .len = LARGE & ~4095u }, *p = &r, *done;
        CHECK_EQ(lv_io_submit(io, &p, 1), 1);
        CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
        CHECK_EQ(r.result, r.len);
        CHECK_EQ(n_wrong(buf, r.len, 8192), 0);
        lv_io_close(&io);
    }
}

static void memory_file_systems_give_the_same_bytes(void)
{
    lv_file f;
    lever_error err = { 0 };
    snprintf(path, sizeof path, "/dev/shm/lever-test-%ld", (long)getpid());
    const int fd = open(path, O_CREAT | O_RDWR, 0600);
    if (fd < 0) {
        printf("     (no /dev/shm)\n");
        return;
    }
    for (size_t i = 0; i < BUFFER; i++) buf[i] = temp_byte(i);
    CHECK_EQ(write(fd, buf, BUFFER), BUFFER);
    close(fd);
    CHECK_OK(lv_file_open(&f, path, &err), &err);
    printf("     (%s O_DIRECT there)\n", f.fd_direct < 0 ? "no" : "with");
    whole_reads_are_right(&f);
    if (f.fd_direct >= 0) close(f.fd_direct);
    f.fd_direct = -1;
    whole_reads_are_right(&f);
    drop_file(&f);
}

int main(void)
{
    if (temp_make(path, sizeof path, 1)) SKIP("no place for a test file");
    unlink(path);
    buf = lv_map(BUFFER);
    RUN(short_interrupted_and_refused_reads_are_continued);
    RUN(reads_that_can_not_succeed_name_the_file_and_the_reason);
    RUN(a_change_of_size_or_content_is_noticed);
    RUN(a_file_replaced_by_rename_is_still_the_old_one);
    RUN(memory_file_systems_give_the_same_bytes);
    lv_unmap(buf, BUFFER);
    return check_done();
}
