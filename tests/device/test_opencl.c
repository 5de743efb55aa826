/* An OpenCL device of this machine, of any kind: equal bits with kernel/ref, the cache of compiled kernels,
 * and drivers that compute something else or crash late. usage: test_opencl FAKE.so [WRONG.so]; the
 * environment variable LEVER_TEST_OPENCL names a device, as lv_opencl_config.want.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dirent.h>
#include <unistd.h>

#include "device/device_rig.h"
#include "device/opencl/opencl.h"

static lv_opencl_config config = { .sizes = CASE_CONFIG, .limit_ms = 4 * LV_OPENCL_LIMIT_MS };
static const char *fake, *wrong;

/* ---- the cache ---- */

static char folder[] = "/tmp/lever-test-XXXXXX", file[512];

/* Open with the cache; did the kernels come from it? */
static bool opens_from_cache(void)
{
    lever_error e = { 0 };
    lv_device *d;
    lv_opencl_config c = config;
    c.cache_dir = folder;
    c.limit_ms = 0; /* else the child would fill the cache */
    CHECK_OK(lv_opencl_open(&d, &c, &e), &e);
    const bool from = d && lv_opencl_from_cache(d);
    lv_device_close(&d);
    return from;
}

/* The only file of the folder, in `file`; its size, or -1. */
static long find_file(void)
{
    DIR *dir = opendir(folder);
    int n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') n++, snprintf(file, sizeof file, "%s/%s", folder, entry->d_name);
    if (dir) closedir(dir);
    CHECK_EQ(n, 1);
    FILE *f = n == 1 ? fopen(file, "rb") : NULL;
    if (!f) return -1;
    fseek(f, 0, SEEK_END);
    const long size = ftell(f);
    fclose(f);
    return size;
}

static void flip(long at)
{
    FILE *f = fopen(file, "r+b");
    if (!f) return;
    fseek(f, at, SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 64, f);
    fclose(f);
}

static void test_cache(void)
{
    CHECK(mkdtemp(folder) != NULL);
    CHECK(!opens_from_cache());
    const long size = find_file();
    CHECK(size > 32);
    CHECK(opens_from_cache());
    const long places[] = { 0, 8, 16, 24, 40, size / 2, size - 1 }; /* magic, key, length, sum, binary */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        flip(places[i]);
        CHECK(!opens_from_cache()); /* and mends it */
        CHECK(opens_from_cache());
    }
    CHECK_EQ(truncate(file, size - 1), 0);
    CHECK(!opens_from_cache());
    CHECK_EQ(truncate(file, size + 1), 0);
    CHECK(!opens_from_cache());
    CHECK_EQ(truncate(file, 0), 0);
    CHECK(!opens_from_cache());
    CHECK(opens_from_cache());
    CHECK_EQ(find_file(), size);
    remove(file);
    rmdir(folder);
    CHECK(!opens_from_cache()); /* no folder: no cache, no error */
}

/* ---- devices that lose small numbers ---- */

static void test_flush(void)
{
    lever_error e = { 0 };
    product p = make(LV_TYPE_Q8_0, 2, 3, 64);
    fill(&p, true);
    lv_device_memory *m = give(device, &p, 0);
    for (size_t i = 0; i < 128; i++) p.x[i] = 1;
    for (size_t i = 32; i < 64; i++) p.x[i] = 0x1p-80f;
    const lv_device_job job = job_of(&p, m, 0);
    CHECK_EQ(lv_device_submit(device, &job, &e), LEVER_EUNSUP);
    CHECK(strstr(e.msg, "row 0"));
    for (size_t i = 32; i < 64; i++) p.x[i] = 0;
    const int number = lv_device_submit(device, &job, &e); /* nothing of the refused job is left */
    CHECK_OK(number, &e);
    CHECK_OK(lv_device_wait(device, number, &e), &e);
    reference(&p);
    same(&p, "after a refused job");
    lv_device_memory_close(device, &m);
    drop(&p);
}

/* ---- opening ---- */

static void test_small_sizes(void)
{
    lever_error e = { 0 };
    lv_opencl_config c = config;
    lv_device *d;
    c.sizes = (lv_device_config){ .max_rows = 1, .max_k = 32, .max_out = 1, .n_jobs = 1 };
    c.limit_ms = 0;
    CHECK_OK(lv_opencl_open(&d, &c, &e), &e);
    lv_device_close(&d);
    c.sizes.n_jobs = 0;
    CHECK_EQ(lv_opencl_open(&d, &c, &e), LEVER_EINVAL);
    CHECK(d == NULL);
    c.sizes = (lv_device_config){ .max_rows = 1, .max_k = SIZE_MAX, .max_out = 1, .n_jobs = 1 };
    CHECK_EQ(lv_opencl_open(&d, &c, &e), LEVER_EINVAL);
}

static void test_info(void)
{
    const lv_opencl_info *info = lv_opencl_device_info(device);
    CHECK(info->name[0] && !info->refusal[0] && info->version >= 102);
    CHECK_STR(device->traits.name, info->name);
    CHECK_STR(device->traits.kind, "opencl");
    CHECK(lv_opencl_memory_bytes(&config.sizes) >= CASE_JOBS * CASE_ROWS * (CASE_K + CASE_OUT * 4));
}

/* Its kernels round twice where fma rounds once. */
static void test_wrong_arithmetic(void)
{
    lever_error e = { 0 };
    lv_device *d;
    const char *before = getenv("LEVER_OPENCL_LIB");
    setenv("LEVER_OPENCL_LIB", wrong, 1);
    CHECK_EQ(lv_opencl_open(&d, &config, &e), LEVER_EUNSUP);
    CHECK(d == NULL);
    CHECK(strstr(e.msg, "can not be used: it computes"));
    before ? setenv("LEVER_OPENCL_LIB", before, 1) : unsetenv("LEVER_OPENCL_LIB");
}

static void test_crash_late(void)
{
    lever_error e = { 0 };
    lv_device *d;
    const char *before = getenv("LEVER_OPENCL_LIB");
    setenv("LEVER_OPENCL_LIB", fake, 1);
    setenv("LEVER_FAKE_OPENCL", "crash later", 1);
    CHECK_EQ(lv_opencl_open(&d, &config, &e), LEVER_EUNSUP);
    CHECK(strstr(e.msg, "OpenCL: the driver crashed"));
    setenv("LEVER_FAKE_OPENCL", "no memory", 1);
    CHECK_EQ(lv_opencl_open(&d, &config, &e), LEVER_ENOMEM);
    CHECK(d == NULL);
    before ? setenv("LEVER_OPENCL_LIB", before, 1) : unsetenv("LEVER_OPENCL_LIB");
}

static void skip_without_device(void)
{
    lever_error e = { 0 };
    lv_opencl_list list;
    if (lv_opencl_list_devices(&list, config.limit_ms, &e) < 0) SKIP(e.msg);
    if (!list.n) SKIP("OpenCL has no device here");
}

/* The first time in a child process too; after that this process has used the driver. */
static void open_device(void)
{
    lever_error e = { 0 };
    if (lv_opencl_open(&device, &config, &e) == LEVER_OK) return;
    fprintf(stderr, "%s\n", e.msg);
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_opencl FAKE.so [WRONG.so]\n"), 2;
    fake = argv[1], wrong = argc > 2 ? argv[2] : NULL;
    config.want = getenv("LEVER_TEST_OPENCL") ? getenv("LEVER_TEST_OPENCL") : "any";
    skip_without_device();
    if (wrong) RUN(test_wrong_arithmetic);
    RUN(test_crash_late);
    open_device();
    printf("device: %s\n", device->traits.name);
    RUN(test_info);
    run_device_cases();
    lv_device_close(&device);
    config.limit_ms = 0;
    RUN(test_small_sizes);
    RUN(test_cache);
    config.assume_flush = flushes = true;
    open_device();
    RUN(test_products);
    RUN(test_extremes);
    RUN(test_flush);
    lv_device_close(&device);
    return check_done();
}
