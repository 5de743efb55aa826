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
    (void)cpu_flags;
}

int lv_type_act_kind(uint32_t type)
{
    switch (type) {
    case LV_TYPE_F32:
    case LV_TYPE_F16:
    case LV_TYPE_BF16: return LV_ACT_F32;
    case LV_TYPE_Q8_0:
    case LV_TYPE_Q4_0: return LV_ACT_Q8;
    default: return -1;
    }
}
