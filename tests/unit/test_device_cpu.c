/* The CPU as a device. SPDX-License-Identifier: MIT */
#include "device/cpu/cpu_device.h"
#include "device/device_rig.h"
#include "os/cpu.h"

static lv_cpu *cpu;
static const lv_device_config case_config = CASE_CONFIG;

static void test_open(void)
{
    lever_error e = { 0 };
    lv_device *other;
    lv_device_config c = case_config;
    c.max_rows++;
    CHECK_EQ(lv_cpu_device_open(&other, cpu, &c, &e), LEVER_EINVAL);
    c = case_config;
    c.n_jobs = LV_DEVICE_JOBS_MOST + 1;
    CHECK_EQ(lv_cpu_device_open(&other, cpu, &c, &e), LEVER_EINVAL);
    CHECK(other == NULL);
}

int main(void)
{
    lever_error e = { 0 };
    const lv_cpu_config c = { .n_threads = 2,
                              .cpu_flags = lv_cpu_detect(),
                              .max_rows = CASE_ROWS,
                              .max_k = CASE_K,
                              .max_ctx = 1,
                              .max_head_dim = 32 };
    if (lv_cpu_open(&cpu, &c, &e) < 0 || lv_cpu_device_open(&device, cpu, &case_config, &e) < 0)
        return fprintf(stderr, "%s\n", e.msg), 1;
    run_device_cases();
    RUN(test_open);
    lv_device_close(&device);
    lv_cpu_close(&cpu);
    return check_done();
}
