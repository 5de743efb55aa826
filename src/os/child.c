/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "os/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"

/* Shared by both processes; the result follows. */
typedef struct shared {
    atomic_int done; /* the child's store-release pairs with the parent's load after the child's end */
    _Alignas(64) unsigned char result[];
} shared;

enum { POLL_NS = 1000000 };

/* A crash is expected here: no dump, no handler of the host program, nothing printed. */
static void become_quiet(void)
{
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) signal(crashes[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    const int null = open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd < 3; fd++) dup2(null, fd);
}

/* Has the child ended before `deadline`? It stays a zombie, so that its number names no other process. Also
 * true when the host program lets the system forget its children: then waiting fails. */
static bool child_ended(pid_t pid, uint64_t deadline)
{
    for (;;) {
        siginfo_t info = { 0 };
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
            if (info.si_pid == pid) return true;
        } else if (errno != EINTR) {
            return true;
        }
        const uint64_t now = lv_clock_ns();
        if (now >= deadline) return false;
        lv_clock_sleep_until(now + POLL_NS);
    }
}

static int ended(const char *what, int status, lever_error *err)
{
    if (WIFSIGNALED(status))
        return lv_fail(err, LEVER_EUNSUP, 0, "%s crashed (%s)", what, strsignal(WTERMSIG(status)));
    return lv_fail(err, LEVER_EUNSUP, 0, "%s ended its process", what);
}

bool lv_child_is_safe(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;
    if (!tasks) return true;
    for (struct dirent *e; (e = readdir(tasks));) n += e->d_name[0] != '.';
    closedir(tasks);
    return n <= 1;
}

int lv_child_run(void (*fn)(void *arg, void *result), void *arg, void *result, size_t result_bytes,
                 unsigned limit_ms, const char *what, lever_error *err)
{
    const size_t bytes = sizeof(shared) + result_bytes;
    shared *s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) return lv_fail(err, LEVER_ENOMEM, errno, "%s: memory for trying it", what);
    const pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0); /* so that its own children end with it */
        become_quiet();
        fn(arg, s->result);
        atomic_store_explicit(&s->done, 1, memory_order_release);
        _exit(0);
    }
    int rc = LEVER_OK, status = 0;
    if (pid < 0) {
        rc = lv_fail(err, LEVER_EIO, errno, "%s: can not start a process to try it", what);
    } else {
        setpgid(pid, pid); /* whoever of the two comes first */
        const bool in_time = child_ended(pid, lv_clock_ns() + (uint64_t)limit_ms * 1000000);
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
        if (atomic_load_explicit(&s->done, memory_order_acquire))
            memcpy(result, s->result, result_bytes);
        else if (in_time)
            rc = ended(what, status, err);
        else
            rc = lv_fail(err, LEVER_EUNSUP, 0, "%s did not answer within %u ms", what, limit_ms);
    }
    munmap(s, bytes);
    return rc;
}
