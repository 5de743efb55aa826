/* Drivers that are missing, too old, not for us, that crash, end the process or hang: each is one line of
 * text. usage: test_opencl_load FAKE.so OTHER.so
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/opencl/cl_devices.h"
#include "device/opencl/opencl.h"
#include "os/child.h"
#include "support/check.h"

static const char *fake, *other;

static int list_with(const char *library, const char *mode, lv_opencl_list *list, lever_error *err)
{
    if (library) setenv("LEVER_OPENCL_LIB", library, 1);
    setenv("LEVER_FAKE_OPENCL", mode, 1);
    *err = (lever_error){ 0 };
    return lv_opencl_list_devices(list, LV_OPENCL_LIMIT_MS, err);
}

#define CHECK_HAS(text, part)                                                                                \
    do {                                                                                                     \
        if (!strstr(text, part)) {                                                                           \
            fprintf(stderr, "%s:%d: \"%s\" has no \"%s\"\n", __FILE__, __LINE__, text, part);                \
            check_failures++;                                                                                \
        }                                                                                                    \
    } while (0)

static void test_no_library(void)
{
    lv_opencl_list list;
    lever_error e;
    CHECK_EQ(list_with("/nowhere/libOpenCL.so", "", &list, &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "/nowhere/libOpenCL.so");
    CHECK_HAS(e.msg, "LEVER_OPENCL_LIB");
}

static void test_other_library(void)
{
    lv_opencl_list list;
    lever_error e;
    CHECK_EQ(list_with(other, "", &list, &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "has no clGetPlatformInfo");
}

static void test_bad_driver(void)
{
    static const struct {
        const char *mode, *text;
        int rc;
    } cases[] = {
        { "crash", "OpenCL: the driver crashed", LEVER_EUNSUP },
        { "exit", "OpenCL: the driver ended its process", LEVER_EUNSUP },
        { "broken", "CL_OUT_OF_RESOURCES", LEVER_EUNSUP },
        { "no platform", "", LEVER_OK },
        { "no device", "", LEVER_OK },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_opencl_list list;
        lever_error e;
        CHECK_EQ(list_with(fake, cases[i].mode, &list, &e), cases[i].rc);
        CHECK_HAS(e.msg, cases[i].text);
        CHECK_EQ(list.n, 0);
    }
}

static void test_hanging_driver(void)
{
    lv_opencl_list list;
    lever_error e = { 0 };
    setenv("LEVER_OPENCL_LIB", fake, 1);
    setenv("LEVER_FAKE_OPENCL", "hang", 1);
    CHECK_EQ(lv_opencl_list_devices(&list, 200, &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "did not answer within 200 ms");
}

static void test_description(void)
{
    lv_opencl_list list;
    lever_error e;
    CHECK_OK(list_with(fake, "fine", &list, &e), &e);
    CHECK_EQ(list.n, 1);
    const lv_opencl_info *d = &list.devices[0];
    CHECK_STR(d->name, "fake GPU");
    CHECK_STR(d->vendor, "nobody");
    CHECK_STR(d->platform, "fake platform");
    CHECK_STR(d->driver, "0.1");
    CHECK_STR(d->refusal, "");
    CHECK_EQ(d->kind, LV_OPENCL_GPU);
    CHECK_EQ(d->version, 102);
    CHECK_EQ(d->n_units, 7);
    CHECK(d->unified && !d->denormals);
    CHECK_EQ(d->memory_bytes, (uint64_t)3 << 30);
    CHECK_EQ(d->alloc_bytes, (uint64_t)1 << 30);
    CHECK_EQ(d->local_bytes, 32768);
}

static void test_refused_devices(void)
{
    static const char *const cases[][2] = {
        { "old", "it has OpenCL 1.1" },
        { "no fma", "no fused multiply-add" },
        { "no compiler", "no compiler" },
        { "big-endian", "big-endian" },
        { "not available", "not available" },
        { "small groups", "work groups are too small" },
        { "little local", "too little local memory" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_opencl_list list;
        lever_error e;
        CHECK_OK(list_with(fake, cases[i][0], &list, &e), &e);
        CHECK_EQ(list.n, 1);
        CHECK_HAS(list.devices[0].refusal, cases[i][1]);
        CHECK_EQ(lv_cl_choose(&list, "any", &e), LEVER_EUNSUP);
        CHECK_HAS(e.msg, "fake GPU can not be used");
        CHECK_HAS(e.msg, cases[i][1]);
    }
}

static void test_choice(void)
{
    lever_error e = { 0 };
    static lv_opencl_list list = {
        4,
        { { .name = "slow", .platform = "P", .kind = LV_OPENCL_CPU },
          { .name = "odd", .platform = "P", .kind = LV_OPENCL_OTHER },
          { .name = "bad", .platform = "Q", .kind = LV_OPENCL_GPU, .refusal = "it is bad" },
          { .name = "good", .platform = "Q", .kind = LV_OPENCL_GPU } },
    };
    CHECK_EQ(lv_cl_choose(&list, NULL, &e), 3);
    CHECK_EQ(lv_cl_choose(&list, "any", &e), 3);
    CHECK_EQ(lv_cl_choose(&list, "P", &e), 1);
    CHECK_EQ(lv_cl_choose(&list, "slow", &e), 0);
    CHECK_EQ(lv_cl_choose(&list, "bad", &e), LEVER_EUNSUP);
    CHECK_STR(e.msg, "OpenCL: bad can not be used: it is bad");
    CHECK_EQ(lv_cl_choose(&list, "none such", &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "none such");
    list.n = 1;
    CHECK_EQ(lv_cl_choose(&list, "gpu", &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "no GPU, only slow");
    list.n = 0;
    CHECK_EQ(lv_cl_choose(&list, "any", &e), LEVER_EUNSUP);
}

/* ---- the child process itself ---- */

static void answer(void *arg, void *result)
{
    *(int *)result = *(const int *)arg + 1;
}

/* The watcher that stays behind holds the pipe open until it is ended. */
static void leave_a_watcher(void *arg, void *result)
{
    if (fork() == 0)
        for (;;) pause();
    answer(arg, result);
}

static void test_child(void)
{
    lever_error e = { 0 };
    int in = 41, out = 0, ends[2];
    CHECK_OK(lv_child_run(answer, &in, &out, sizeof out, 10000, "it", &e), &e);
    CHECK_EQ(out, 42);
    out = 0;
    CHECK_EQ(pipe(ends), 0);
    CHECK_OK(lv_child_run(leave_a_watcher, &in, &out, sizeof out, 10000, "it", &e), &e);
    CHECK_EQ(out, 42);
    char byte;
    close(ends[1]);
    CHECK_EQ(read(ends[0], &byte, 1), 0); /* hangs while anybody is left */
    close(ends[0]);
    /* A host program that does not care for its children. */
    signal(SIGCHLD, SIG_IGN);
    out = 0;
    CHECK_OK(lv_child_run(answer, &in, &out, sizeof out, 10000, "it", &e), &e);
    CHECK_EQ(out, 42);
    signal(SIGCHLD, SIG_DFL);
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: test_opencl_load FAKE.so OTHER.so\n"), 2;
    fake = argv[1], other = argv[2];
    RUN(test_child);
    RUN(test_no_library);
    RUN(test_other_library);
    RUN(test_bad_driver);
    RUN(test_hanging_driver);
    RUN(test_description);
    RUN(test_refused_devices);
    RUN(test_choice);
    return check_done();
}
