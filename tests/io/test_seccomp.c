/* Where a sandbox forbids io_uring (containers, Android): "auto" turns to the pool, "uring" says why not.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "support/check.h"

#include "base/mem.h"
#include "flash/io.h"
#include "support/tempfile.h"

enum { LEN = 65536, NO_SECCOMP = 77 };
static char path[64];

/* From now on this process gets os_errno from the system call nr. */
static bool forbid(long nr, int os_errno)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)os_errno),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 && syscall(nr, 1, NULL) == -1 &&
           errno == os_errno;
}

static void check_without_uring(void)
{
    lv_io_config c;
    lv_io_config_init(&c);
    lv_io *io = NULL;
    lever_error err = { 0 };
    CHECK_EQ(lv_io_open(&io, "uring", &c, &err), LEVER_EUNSUP);
    CHECK(io == NULL && strstr(err.msg, "io_uring"));
    lv_file f;
    CHECK_OK(lv_io_open(&io, "auto", &c, &err), &err);
    CHECK_OK(lv_file_open(&f, path, &err), &err);
    CHECK_STR(lv_io_backend(io), "pool");
    uint8_t *buf = lv_map(LEN);
    lv_io_read r = { .file = &f, .dst = buf, .len = LEN }, *p = &r, *done;
    CHECK_EQ(lv_io_submit(io, &p, 1), 1);
    CHECK_EQ(lv_io_reap(io, &done, 1, 1), 1);
    CHECK_EQ(r.result, LEN);
    for (size_t i = 0; i < LEN; i++)
        if (buf[i] != temp_byte(i)) CHECK(!"wrong byte");
    lv_unmap(buf, LEN);
    lv_file_close(&f);
    lv_io_close(&io);
    CHECK_EQ(lv_alloc_live(), 0);
}

/* A filter stays for the life of a process, so each has one of its own. Exit code of the child. */
static int in_child(long nr, int os_errno)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        check_failures = 0;
        if (!forbid(nr, os_errno)) _exit(NO_SECCOMP);
        check_without_uring();
        _exit(check_failures != 0);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void io_uring_setup_may_be_refused(void)
{
    CHECK_EQ(in_child(__NR_io_uring_setup, EPERM), 0);
    CHECK_EQ(in_child(__NR_io_uring_setup, ENOSYS), 0);
    CHECK_EQ(in_child(__NR_io_uring_setup, EACCES), 0);
}

/* A ring that can not be asked what it can do might be one that can not read: kernels before 5.6. */
static void asking_the_ring_may_be_refused(void)
{
    CHECK_EQ(in_child(__NR_io_uring_register, EPERM), 0);
    CHECK_EQ(in_child(__NR_io_uring_register, EINVAL), 0);
}

int main(void)
{
    if (temp_make(path, sizeof path, LEN)) SKIP("no place for a test file");
    if (in_child(__NR_io_uring_setup, EPERM) == NO_SECCOMP) {
        unlink(path);
        SKIP("this system has no seccomp filters");
    }
    RUN(io_uring_setup_may_be_refused);
    RUN(asking_the_ring_may_be_refused);
    unlink(path);
    return check_done();
}
