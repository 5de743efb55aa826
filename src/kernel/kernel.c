/* The dispatch ladder: the reference first, then each level the processor has. Compiled without ISA
 * flags. SPDX-License-Identifier: MIT */
#include "kernel/kernel.h"

#include "kernel/kernel_isa.h"
#include "os/cpu.h"

void lv_kernels_init(lv_kernels *k, unsigned cpu_flags)
{
    *k = (lv_kernels){ .isa = "ref" };
    lv_kernels_add_matmul__ref(k);
    lv_kernels_add_vector__ref(k);
#if defined(__x86_64__)
    if (!(cpu_flags & LV_CPU_AVX2)) return;
    k->isa = "avx2";
    lv_kernels_add_matmul__avx2(k);
    lv_kernels_add_vector__avx2(k);
    if (!(cpu_flags & LV_CPU_AVX512VNNI)) return;
    k->isa = "avx512vnni";
    lv_kernels_add_matmul__avx512vnni(k);
    lv_kernels_add_vector__avx512vnni(k);
#elif defined(__aarch64__)
    if (!(cpu_flags & LV_CPU_NEON)) return;
    k->isa = "neon";
    lv_kernels_add_matmul__neon(k);
    lv_kernels_add_vector__neon(k);
    if (!(cpu_flags & LV_CPU_DOTPROD)) return;
    k->isa = "dotprod";
    lv_kernels_add_matmul_q__dotprod(k);
    if (!(cpu_flags & LV_CPU_I8MM)) return;
    k->isa = "i8mm";
    lv_kernels_add_matmul_q__i8mm(k);
#else
    (void)cpu_flags;
#endif
}

int lv_type_act_kind(uint32_t type)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    if (!t) return -1;
    return t->block_len == 1 ? LV_ACT_F32 : t->block_len == 32 ? LV_ACT_Q8 : LV_ACT_Q8K;
}
