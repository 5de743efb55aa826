/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "os/cpu.h"

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static unsigned detect(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const int fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
    if (!osxsave || !avx || !fma || !f16c) return 0;
    const uint64_t xcr0 = read_xcr0();
    if ((xcr0 & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 5 & 1)) return 0;
    unsigned flags = LV_CPU_AVX2;
    /* AVX512 F (16), DQ (17), BW (30), VL (31) in EBX; VNNI is bit 11 of ECX; opmask and ZMM in XCR0. */
    const uint32_t need = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((b & need) == need && c >> 11 & 1 && (xcr0 & 0xe6) == 0xe6) flags |= LV_CPU_AVX512VNNI;
    return flags;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

static unsigned detect(void)
{
    /* Bit numbers of the Linux arm64 ABI: HWCAP_ASIMDDP 20, HWCAP2_I8MM 13. */
    unsigned flags = LV_CPU_NEON;
    if (getauxval(AT_HWCAP) >> 20 & 1) flags |= LV_CPU_DOTPROD;
    if ((flags & LV_CPU_DOTPROD) && (getauxval(AT_HWCAP2) >> 13 & 1)) flags |= LV_CPU_I8MM;
    return flags;
}
#else
static unsigned detect(void) { return 0; }
#endif

int lv_cpu_flags_from_name(const char *name)
{
    static const struct { const char *name; unsigned flags; } levels[] = {
        { "ref", 0 },
        { "avx2", LV_CPU_AVX2 },
        { "avx512vnni", LV_CPU_AVX2 | LV_CPU_AVX512VNNI },
        { "neon", LV_CPU_NEON },
        { "dotprod", LV_CPU_NEON | LV_CPU_DOTPROD },
        { "i8mm", LV_CPU_NEON | LV_CPU_DOTPROD | LV_CPU_I8MM },
    };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(levels[i].name, name)) return (int)levels[i].flags;
    return -1;
}

unsigned lv_cpu_detect(void)
{
    const char *env = getenv("LEVER_ISA");
    const int mask = env ? lv_cpu_flags_from_name(env) : -1;
    return detect() & (mask < 0 ? ~0u : (unsigned)mask);
}

unsigned lv_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int n = CPU_COUNT(&set);
        if (n > 0) return (unsigned)n;
    }
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}
