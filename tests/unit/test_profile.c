/* Measuring a machine in next to no time: what comes of it, not how fast it is. SPDX-License-Identifier: MIT */
#include "support/check.h"
#include "support/fake_device.h"

#include <math.h>

#include "device/select.h"
#include "engine/profile_impl.h"
#include "os/system.h"

static lever_machine m; /* too large for a frame */
static uint32_t n_calls, last_done;

static bool on_progress(void *user, const char *what, uint32_t done, uint32_t total)
{
    CHECK(what && done >= last_done && done <= total);
    last_done = done;
    return ++n_calls < *(uint32_t *)user;
}

static void expect_times(const double *s, size_t n)
{
    for (size_t i = 0; i < n; i++) CHECK(s[i] > 0 && s[i] < 1);
}

static void the_cpu_is_measured(void)
{
    uint32_t most = UINT32_MAX;
    lever_error err = { 0 };
    const lever_profile_params p = { .types = "Q8_0,F16", .n_threads = 2, .seconds = 0.05,
                                     .on_progress = on_progress, .user = &most };
    m = (lever_machine){ 0 };
    n_calls = last_done = 0;
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK(lever_machine_is_valid(&m) && n_calls > 2 && m.measured[0]);
    CHECK_EQ(m.id.n_threads, 2);
    CHECK_EQ(m.n_devices, 1);
    CHECK_STR(m.devices[0].kind, "cpu");
    CHECK_EQ(m.devices[0].n_products, 2);
    CHECK_STR(m.devices[0].products[1].type, "F16");
    for (int i = 0; i < 2; i++) {
        CHECK(m.devices[0].products[i].weight_s[7] > 0);
        CHECK(m.devices[0].products[i].pack_s > 0);
    }
    CHECK(m.read_bytes_s > 0);
    expect_times(m.rest.attend_s[0], LEVER_MACHINE_ROWS);
    expect_times(m.rest.attend_s[1], LEVER_MACHINE_ROWS);
    expect_times(&m.rest.norm_s, 1);
    expect_times(m.rest.write_s, LEVER_MACHINE_KV);
    expect_times(&m.rest.candidates_s, 1);
}

/* What is known of this machine and not measured again stays; of another one nothing does. */
static void what_is_known_stays(void)
{
    lever_error err = { 0 };
    lever_profile_params p = { .types = "Q4_0", .n_threads = 2, .seconds = 0.02 };
    m.n_models = 1;
    m.models[0] = (lever_machine_model){ .name = "a model", .key = 5 };
    lv_profile_flash_entry(&m, "1:2");
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK(m.n_models == 1 && m.models[0].key == 5 && m.n_flashes == 1);
    CHECK_STR(m.devices[0].products[0].type, "Q4_0");
    p.n_threads = 1;
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK(m.n_models == 0 && m.n_flashes == 1 && m.id.n_threads == 1);
}

static void settings_are_checked(void)
{
    lever_error err;
    const lever_profile_params bad[] = { { .types = "Q8_0,Q9_9", .seconds = 0.01 },
                                         { .types = "Q8_0", .n_threads = 10000 },
                                         { .types = "Q8_0", .isa = "mmx" },
                                         { .types = "Q8_0", .cpus = "x" },
                                         { .types = "Q8_0", .device = "abacus" } };
    static const char *const texts[] = { "Q9_9", "10000", "mmx", "'x'", "abacus" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (lever_error){ 0 };
        CHECK_EQ(lever_profile(&m, &bad[i], &err), LEVER_EINVAL);
        CHECK(strstr(err.msg, texts[i]));
    }
    CHECK_EQ(lever_profile(&m, &(lever_profile_params){ .types = "Q8_0", .flash_path = "/nowhere/a" }, &err), LEVER_EIO);
    CHECK_EQ(lever_profile(&m, &(lever_profile_params){ .types = "Q8_0", .model_path = "/nowhere/a" }, &err), LEVER_EIO);
}

static void it_can_be_stopped_anywhere(void)
{
    for (uint32_t most = 1; most < 40; most += 6) {
        lever_error err = { 0 };
        const lever_profile_params p = { .types = "Q8_0", .n_threads = 1, .seconds = 0.02,
                                         .on_progress = on_progress, .user = &most };
        n_calls = last_done = 0;
        const int rc = lever_profile(&m, &p, &err);
        CHECK(rc == LEVER_ECANCEL || (rc == LEVER_OK && n_calls < most));
    }
}

/* A device's products, hand-over and memory; one that fails on the way is an error. */
static void devices_are_measured(void)
{
    lever_error err = { 0 };
    const lever_profile_params p = { .types = "Q8_0,F32", .n_threads = 1, .seconds = 0.05, .device = "fake" };
    lv_device_register("fake", fake_open);
    fake_now = fake_works;
    fake_now.types = 1u << LV_TYPE_Q8_0;
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK_EQ(m.n_devices, 2);
    CHECK_EQ(m.devices[1].n_products, 1);
    CHECK_STR(m.devices[1].products[0].type, "Q8_0");
    CHECK(m.devices[1].products[0].weight_s[7] > 0 && m.devices[1].call_s > 0);
    CHECK(lever_machine_is_valid(&m));
    CHECK_OK(lever_profile(&m, &p, &err), &err); /* the same one is no second one */
    CHECK_EQ(m.n_devices, 2);
    fake_now.wait = 3;
    CHECK(lever_profile(&m, &p, &err) < 0);
    CHECK(lever_machine_is_valid(&m));
    CHECK_EQ(m.devices[1].n_products, 0);
    lv_device_register(NULL, NULL);
}

static void the_oldest_entries_go(void)
{
    static lever_machine n;
    n.n_devices = 1;
    char name[16];
    for (int i = 0; i < 2 * LEVER_MACHINE_MODELS; i++) {
        snprintf(name, sizeof name, "%d", i);
        CHECK_STR(lv_profile_model_entry(&n, (uint64_t)i, name)->name, name);
        CHECK_STR(lv_profile_device_entry(&n, "kind", name, "")->name, name);
        CHECK_STR(lv_profile_flash_entry(&n, name)->where, name);
    }
    CHECK(n.n_models == LEVER_MACHINE_MODELS && n.n_devices == LEVER_MACHINE_DEVICES);
    CHECK(n.n_flashes == LEVER_MACHINE_FLASHES);
    CHECK_EQ(n.models[0].key, LEVER_MACHINE_MODELS);
    CHECK_STR(n.devices[0].kind, "");
    CHECK_STR(n.devices[1].name, "29");
    lv_profile_model_entry(&n, 20, "again");
    CHECK(n.n_models == LEVER_MACHINE_MODELS);
}

static void eighths_and_names(void)
{
    double s[] = { 5, 1, 4, 2, 3, 9, 8, 7 }, one[] = { 3 };
    CHECK(lv_lower_eighth(s, 8) == 2 && lv_lower_eighth(one, 1) == 3);
    char buf[64], tiny[8];
    lv_system_cpu_name_of("processor\t: 0\nmodel name\t: Some CPU 3000\nflags: a b\n", buf, sizeof buf);
    CHECK_STR(buf, "Some CPU 3000");
    lv_system_cpu_name_of("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n\nCPU part\t: 0xd46\nCPU part\t: 0xd40\n", buf,
                          sizeof buf);
    CHECK_STR(buf, "arm 0x41 0xd40 0xd46");
    lv_system_cpu_name_of("", buf, sizeof buf);
    CHECK_STR(buf, "unknown");
    lv_system_cpu_name_of("model name : Some CPU 3000", tiny, sizeof tiny);
    CHECK_STR(tiny, "Some CP");
}

int main(void)
{
    RUN(the_cpu_is_measured);
    RUN(what_is_known_stays);
    RUN(settings_are_checked);
    RUN(it_can_be_stopped_anywhere);
    RUN(devices_are_measured);
    RUN(the_oldest_entries_go);
    RUN(eighths_and_names);
    return check_done();
}
