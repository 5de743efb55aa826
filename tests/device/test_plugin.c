/* A device plug-in against kernel/ref, bit for bit. usage: test_plugin PLUGIN.so
 * SPDX-License-Identifier: MIT */
#include "device/device_rig.h"
#include "device/plugin/plugin.h"
#include "device/select.h"

static const lv_plugin_config config = { .sizes = CASE_CONFIG, .limit_ms = 4 * LV_PLUGIN_LIMIT_MS };
static const char *path;

static void test_traits(void)
{
    CHECK_STR(device->traits.kind, "plugin");
    CHECK(device->traits.name[0] && device->traits.types && device->traits.piece_bytes);
    CHECK(device->traits.buffer_bytes >= CASE_JOBS * CASE_ROWS * CASE_K);
}

/* Sizes below the smallest fixed shape, and two devices of one plug-in at once. */
static void test_small_sizes(void)
{
    lever_error e = { 0 };
    lv_plugin_config c = config;
    lv_device *d;
    c.path = path, c.limit_ms = 0;
    c.sizes = (lv_device_config){ .max_rows = 1, .max_k = 32, .max_out = 1, .n_jobs = 1 };
    CHECK_OK(lv_plugin_open(&d, &c, &e), &e);
    lv_device_close(&d);
    c.sizes.max_rows = 3;
    CHECK_OK(lv_plugin_open(&d, &c, &e), &e);
    product p = make(LV_TYPE_Q8_0, 3, 1, 32);
    fill(&p, true);
    if (d) run(d, &p, 0, "beside another device");
    drop(&p);
    lv_device_close(&d);
    c.sizes.n_jobs = 0;
    CHECK_EQ(lv_plugin_open(&d, &c, &e), LEVER_EINVAL);
    c.sizes = (lv_device_config){ .max_rows = 1, .max_k = SIZE_MAX, .max_out = 1, .n_jobs = 1 };
    CHECK_EQ(lv_plugin_open(&d, &c, &e), LEVER_EINVAL);
    CHECK(d == NULL);
}

/* By the name that --device takes. */
static void test_by_name(void)
{
    lever_error e = { 0 };
    lv_device *d;
    CHECK_OK(lv_device_open_named(&d, path, &config.sizes, NULL, &e), &e);
    CHECK(d && !strcmp(d->traits.kind, "plugin"));
    lv_device_close(&d);
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: test_plugin PLUGIN.so\n"), 2;
    path = argv[1];
    lever_error e = { 0 };
    lv_plugin_config c = config;
    c.path = path;
    if (lv_plugin_open(&device, &c, &e) < 0) return fprintf(stderr, "%s\n", e.msg), 1;
    printf("device: %s\n", device->traits.name);
    take_types(device);
    RUN(test_traits);
    run_device_cases();
    RUN(test_small_sizes);
    lv_device_close(&device);
    RUN(test_by_name);
    return check_done();
}
