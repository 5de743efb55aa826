/* usage: kcheck [--isa NAME] [--only SUBSTR] [--seed N] [--slack] [--bench]. Exit 77: the machine lacks the
 * ISA. --slack puts 64 readable bytes between buffers and their guard pages, for emulators that read more
 * than an instruction asks for: overreads below 64 bytes go unseen, writes do not.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kcheck/kcheck.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/cpu.h"

static const struct { const char *name; void (*run)(const kc_tables *k); } checks[] = {
    { "matmul", kc_check_matmul },
    { "vector", kc_check_vector },
    { "attention", kc_check_attention },
};

enum { MAX_BUFS = 64, SLACK = 64, CANARY = 0xA5 };
static struct { void *base; size_t len; uint8_t *user, *end, *guard; } bufs[MAX_BUFS];
static int n_bufs, n_failed;
static const char *isa = "ref", *check_name = "";
static uint32_t seed = 1, rng;
static bool bench, slack;
static sigjmp_buf trap;

bool kc_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (n_failed++ < 20) {
        fprintf(stderr, "FAIL %s__%s seed=%u: ", check_name, isa, seed);
        vfprintf(stderr, fmt, ap);
        fputc('\n', stderr);
    }
    va_end(ap);
    return false;
}

uint32_t kc_rand(void) { return rng = rng * 1664525u + 1013904223u, rng >> 8 ^ rng; }
float kc_randf(float lo, float hi) { return lo + (hi - lo) * (float)(kc_rand() & 0xffffff) / 16777216.0f; }

void kc_fill(float *x, size_t n)
{
    static const float odd[] = { 0.0f, -0.0f, 1e-40f, -3e-39f, 1e-30f, 3e4f, -7e5f, 1e-38f };
    for (size_t i = 0; i < n; i++) x[i] = kc_rand() % 64 ? kc_randf(-2, 2) : odd[kc_rand() % 8];
}

static uint8_t *guarded(size_t bytes, size_t align)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t tail = (align - bytes % align) % align + (slack ? SLACK : 0);
    const size_t body = (bytes + tail + 64 + page - 1) / page * page;
    uint8_t *p = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || n_bufs == MAX_BUFS || mprotect(p + body, page, PROT_NONE)) abort();
    uint8_t *user = p + body - bytes - tail;
    for (size_t i = 0; i < bytes; i++) user[i] = (uint8_t)kc_rand();
    memset(user - 32, CANARY, 32);
    memset(user + bytes, CANARY, tail);
    bufs[n_bufs].base = p, bufs[n_bufs].len = body + page;
    bufs[n_bufs].user = user, bufs[n_bufs].end = user + bytes, bufs[n_bufs++].guard = p + body;
    return user;
}

void *kc_buf(size_t bytes) { return guarded(bytes, 1); }
void *kc_buf64(size_t bytes) { return guarded(bytes, 64); }

static bool untouched(const uint8_t *from, const uint8_t *to)
{
    while (from < to && *from == CANARY) from++;
    return from == to;
}

void kc_release(void)
{
    for (int i = 0; i < n_bufs; i++) {
        if (!untouched(bufs[i].user - 32, bufs[i].user)) kc_fail("wrote before buffer %d", i);
        if (!untouched(bufs[i].end, bufs[i].guard)) kc_fail("wrote behind buffer %d", i);
        munmap(bufs[i].base, bufs[i].len);
    }
    n_bufs = 0;
}

bool kc_same(const float *want, const float *got, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const bool both_nan = want[i] != want[i] && got[i] != got[i];
        if (memcmp(&want[i], &got[i], sizeof *want) && !both_nan)
            return kc_fail("%s [%zu]: want %a, got %a", what, i, (double)want[i], (double)got[i]);
    }
    return true;
}

static uint64_t bench_t0;
static double bench_best;
static int bench_rounds;

bool kc_benching(void) { return bench; }

bool kc_bench_start(void)
{
    bench_best = 1e300, bench_rounds = 0, bench_t0 = lv_clock_ns();
    return bench;
}

bool kc_bench_next(const char *name, double bytes, double ops)
{
    const double ns = (double)(lv_clock_ns() - bench_t0);
    if (ns < bench_best) bench_best = ns;
    bench_t0 = lv_clock_ns();
    if (++bench_rounds < 30) return true;
    printf("%s__%s,%.0f,%.2f,%.1f\n", name, isa, bench_best, bytes / bench_best, ops / bench_best);
    return false;
}

static void on_signal(int sig) { siglongjmp(trap, sig); }

int main(int argc, char **argv)
{
    static const char usage[] = "usage: kcheck [--isa NAME] [--only SUBSTR] [--seed N] [--slack] [--bench]\n";
    static const char *only = ""; /* static: a signal jumps back into this frame */
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench")) bench = true;
        else if (!strcmp(argv[i], "--slack")) slack = true;
        else if (!strcmp(argv[i], "--isa") && i + 1 < argc) isa = argv[++i];
        else if (!strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc) seed = (uint32_t)strtoul(argv[++i], NULL, 10);
        else return fprintf(stderr, "%s", usage), 2;
    }
    const int flags = lv_cpu_flags_from_name(isa);
    if (flags < 0) return fprintf(stderr, "kcheck: unknown ISA '%s'\n", isa), 2;
    if (((unsigned)flags & lv_cpu_detect()) != (unsigned)flags)
        return printf("SKIP: no %s on this machine\n", isa), 77;
    struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);

    kc_tables k;
    lv_kernels_init(&k.ref, 0);
    lv_kernels_init(&k.test, (unsigned)flags);
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (!strstr(checks[i].name, only)) continue;
        check_name = checks[i].name;
        rng = seed;
        const int sig = sigsetjmp(trap, 1);
        if (sig == 0) checks[i].run(&k);
        else kc_fail("%s", strsignal(sig));
        kc_release();
        fprintf(stderr, "%s__%s checked\n", check_name, k.test.isa);
    }
    fprintf(stderr, "kcheck: %d failures (seed %u)\n", n_failed, seed);
    return n_failed != 0;
}
