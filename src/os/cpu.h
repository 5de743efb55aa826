/* What the processor and the operating system allow. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_CPU_H
#define LEVER_OS_CPU_H

/* Each flag is a tested bundle, set only when the OS saves the registers it needs. */
enum lv_cpu_flags {
    LV_CPU_AVX2 = 1u << 0,       /* AVX2 + FMA + F16C, YMM enabled in XCR0 */
    LV_CPU_AVX512VNNI = 1u << 1, /* F/BW/DQ/VL/VNNI, ZMM and opmask enabled in XCR0 */
    LV_CPU_NEON = 1u << 2,
    LV_CPU_DOTPROD = 1u << 3,
    LV_CPU_I8MM = 1u << 4,
};

/* Flags of this machine, masked by the environment variable LEVER_ISA when it is set: one of
 * ref, avx2, avx512vnni, neon, dotprod, i8mm = this level and those below. Unknown names are ignored. */
unsigned lv_cpu_detect(void);
/* Flags for an ISA name as above, not looking at the machine; 0 for "ref"; -1 for an unknown name. */
int lv_cpu_flags_from_name(const char *name);
/* Cores this process may run on, >= 1. */
unsigned lv_cpu_count(void);

#endif
