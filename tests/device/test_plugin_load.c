/* Plug-ins that are missing, for another version, crash, hang, lie or fail later: each is one line of text.
 * usage: test_plugin_load FAULTY.so WITHOUT_ENTRY.so
 * SPDX-License-Identifier: MIT */
#include <fenv.h>

#include "device/device_rig.h"
#include "device/plugin/plugin.h"
#include "device/select.h"

static const char *faulty, *without_entry;

static int open_as(const char *path, const char *mode, lv_plugin_config c, lv_device **d, lever_error *err)
{
    setenv("LEVER_FAULTY_PLUGIN", mode, 1);
    *err = (lever_error){ 0 };
    c.path = path;
    return lv_plugin_open(d, &c, err);
}

static const lv_plugin_config config = {
    .sizes = { .max_rows = 40, .max_k = 1024, .max_out = 64, .n_jobs = 2 }, .limit_ms = LV_PLUGIN_LIMIT_MS
};

#define CHECK_HAS(text, part)                                                                                \
    do {                                                                                                     \
        if (!strstr(text, part)) {                                                                           \
            fprintf(stderr, "%s:%d: \"%s\" has no \"%s\"\n", __FILE__, __LINE__, text, part);                \
            check_failures++;                                                                                \
        }                                                                                                    \
    } while (0)

/* Refused, with one line that has `text`, whatever was in it. */
static void check_refused(const char *path, const char *mode, lv_plugin_config c, int want, const char *text)
{
    lever_error e;
    lv_device *d;
    CHECK_EQ(open_as(path, mode, c, &d, &e), want);
    CHECK(d == NULL);
    CHECK_HAS(e.msg, text);
    for (const char *p = e.msg; *p; p++) CHECK((unsigned char)*p >= 0x20);
    lv_device_close(&d);
}

static void test_no_library(void)
{
    check_refused("/nowhere/npu.so", "", config, LEVER_EIO, "/nowhere/npu.so");
    check_refused("npu.so", "", config, LEVER_EINVAL, "./npu.so");
    check_refused("tests/CMakeLists.txt", "", config, LEVER_EUNSUP, "can not be loaded");
    check_refused(without_entry, "", config, LEVER_EUNSUP, "it has no function lever_device_plugin");
}

static void test_faults(void)
{
    static const struct {
        const char *mode, *text;
        int rc;
    } cases[] = {
        { "none", "does not work with version 1.0 of the interface", LEVER_EUNSUP },
        { "magic", "its table has the mark 50564c30", LEVER_EUNSUP },
        { "older", "is for version 0.9 of the interface, this is 1.0", LEVER_EUNSUP },
        { "newer", "is for version 2.3 of the interface, this is 1.0", LEVER_EUNSUP },
        { "short table", "bytes, version 1.0 has", LEVER_EUNSUP },
        { "no submit", "lacks a function", LEVER_EUNSUP },
        { "crash", "crashed", LEVER_EUNSUP },
        { "crash in open", "crashed", LEVER_EUNSUP },
        { "exit", "ended its process", LEVER_EUNSUP },
        { "no device", "has no device: it is not plugged in", LEVER_EUNSUP },
        { "wild text", "has no device: ", LEVER_EUNSUP },
        { "short description", "its description has 100 bytes", LEVER_EUNSUP },
        { "no name", "no name", LEVER_EUNSUP },
        { "unknown types", "no type of weights that Lever knows", LEVER_EUNSUP },
        { "many row counts", "17 numbers of rows", LEVER_EUNSUP },
        { "row counts", "ascending order", LEVER_EUNSUP },
        { "row count 0", "ascending order", LEVER_EUNSUP },
        { "open refuses", "rows of this length  are too long", LEVER_EUNSUP },
        { "open fails", "failed, it does not say why", LEVER_EIO },
        { "crooked memory", "not at a multiple of 4096", LEVER_EIO },
        { "give fails", "no way in", LEVER_EIO },
        { "submit fails", "the cable came off", LEVER_EIO },
        { "submit refuses", "not on a Sunday", LEVER_EUNSUP },
        { "wait fails", "a product: failed", LEVER_EIO },
        { "rounds twice", "can not be used: it computes", LEVER_EUNSUP },
        { "approximate", "can only serve a draft model", LEVER_EUNSUP },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(faulty, cases[i].mode, config, cases[i].rc, cases[i].text);
}

static void test_hanging(void)
{
    lv_plugin_config c = config;
    c.limit_ms = 200;
    check_refused(faulty, "hang", c, LEVER_EUNSUP, "did not answer within 200 ms");
}

/* What a device with other habits must still get right. */
static void test_works(void)
{
    static const char *const modes[] = { "", "minor", "long name", "wants floats", "other rounding" };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        lever_error e;
        lv_device *d;
        CHECK_OK(open_as(faulty, modes[i], config, &d, &e), &e);
        CHECK_EQ(fegetround(), FE_TONEAREST);
        if (!d) continue;
        product p = make(LV_TYPE_Q6_K, 5, 7, 512);
        fill(&p, false);
        run(d, &p, 0, modes[i]);
        drop(&p);
        lv_device_close(&d);
    }
}

static void test_approximate(void)
{
    lever_error e;
    lv_device *d;
    lv_plugin_config c = config;
    c.sizes.approximate_will_do = true;
    CHECK_OK(open_as(faulty, "approximate", c, &d, &e), &e);
    CHECK(d && d->traits.approximate);
    lv_device_close(&d);
    check_refused(faulty, "far off", c, LEVER_EUNSUP, "can not be used: it computes");
    CHECK_OK(open_as(faulty, "", c, &d, &e), &e);
    CHECK(d && !d->traits.approximate);
    lv_device_close(&d);
}

/* A device that loses small numbers does not get rows that would show it. */
static void test_flushes(void)
{
    lever_error e;
    lv_device *d;
    CHECK_OK(open_as(faulty, "flushes", config, &d, &e), &e);
    if (!d) return;
    CHECK(!(d->traits.types >> LV_TYPE_F16 & 1));
    product p = make(LV_TYPE_Q8_0, 2, 3, 64);
    fill(&p, true);
    lv_device_memory *m = give(d, &p, 0);
    for (size_t i = 0; i < 128; i++) p.x[i] = i / 32 == 3 ? 0x1p-80f : 1;
    const lv_device_job job = job_of(&p, m, 0);
    CHECK_EQ(lv_device_submit(d, &job, &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "row 1");
    for (size_t i = 96; i < 128; i++) p.x[i] = 0;
    const int number = lv_device_submit(d, &job, &e);
    CHECK_OK(number, &e);
    CHECK_OK(lv_device_wait(d, number, &e), &e);
    reference(&p);
    same(&p, "after a refused job");
    lv_device_memory_close(d, &m);
    drop(&p);
    lv_device_close(&d);
}

/* Failures after opening: a refused job leaves the device in use, a failed one does not. */
static void test_fails_later(void)
{
    static const struct {
        const char *mode, *text;
        int submit, wait, then;
    } cases[] = {
        { "submit refuses", "not on a Sunday", LEVER_EUNSUP, 0, LEVER_OK },
        { "submit fails", "the cable came off", LEVER_EIO, 0, LEVER_EIO },
        { "wait fails", "failed, it does not say why", LEVER_OK, LEVER_EIO, LEVER_EIO },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lever_error e;
        lv_device *d;
        CHECK_OK(open_as(faulty, "", config, &d, &e), &e);
        if (!d) continue;
        product p = make(LV_TYPE_Q4_0, 3, 4, 64);
        fill(&p, true);
        lv_device_memory *m = give(d, &p, 0);
        const lv_device_job job = job_of(&p, m, 0);
        setenv("LEVER_FAULTY_PLUGIN", cases[i].mode, 1);
        int number = lv_device_submit(d, &job, &e);
        CHECK_EQ(number < 0 ? number : 0, cases[i].submit);
        if (number >= 0) CHECK_EQ(lv_device_wait(d, number, &e), cases[i].wait);
        CHECK_HAS(e.msg, cases[i].text);
        setenv("LEVER_FAULTY_PLUGIN", "", 1);
        number = lv_device_submit(d, &job, &e);
        CHECK_EQ(number < 0 ? number : 0, cases[i].then);
        if (number >= 0) CHECK_OK(lv_device_wait(d, number, &e), &e);
        lv_device_memory_close(d, &m);
        drop(&p);
        lv_device_close(&d);
    }
}

/* Of a job in two parts the second is refused: the first is waited for, then the next job works. */
static void test_part_refused(void)
{
    lever_error e;
    lv_device *d;
    CHECK_OK(open_as(faulty, "second submit refuses", config, &d, &e), &e); /* it takes 32 rows at once */
    if (!d) return;
    product p = make(LV_TYPE_Q5_1, 40, 4, 64), q = make(LV_TYPE_Q5_1, 20, 4, 64);
    fill(&p, true);
    fill(&q, true);
    lv_device_memory *m = give(d, &p, 0);
    const lv_device_job job = job_of(&p, m, 0);
    CHECK_EQ(lv_device_submit(d, &job, &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "one is enough");
    run(d, &q, 0, "after a refused part");
    setenv("LEVER_FAULTY_PLUGIN", "", 1);
    run(d, &p, 0, "in two parts");
    lv_device_memory_close(d, &m);
    drop(&p);
    drop(&q);
    lv_device_close(&d);
}

static void test_lost_memory(void)
{
    lever_error e;
    lv_device *d;
    CHECK_OK(open_as(faulty, "", config, &d, &e), &e);
    if (!d) return;
    lv_device_memory *m;
    CHECK_OK(lv_device_memory_open(d, &m, 100, &e), &e);
    CHECK_OK(lv_device_memory_give(d, m, &e), &e);
    setenv("LEVER_FAULTY_PLUGIN", "take fails", 1);
    CHECK_EQ(lv_device_memory_take(d, m, &e), LEVER_ENOMEM);
    CHECK_HAS(e.msg, "no way out");
    CHECK(m->given);
    lv_device_memory_close(d, &m);
    lv_device_close(&d);
}

static void test_by_name(void)
{
    lever_error e = { 0 };
    lv_device *d;
    setenv("LEVER_FAULTY_PLUGIN", "crash", 1);
    CHECK_OK(lv_device_want_check("./npu.so", &e), &e);
    CHECK_EQ(lv_device_want_check("npu.so", &e), LEVER_EINVAL);
    CHECK_HAS(e.msg, "path of a plug-in");
    CHECK_EQ(lv_device_open_named(&d, faulty, &config.sizes, NULL, &e), LEVER_EUNSUP);
    CHECK_HAS(e.msg, "crashed");
    CHECK(d == NULL);
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: test_plugin_load FAULTY.so WITHOUT_ENTRY.so\n"), 2;
    faulty = argv[1], without_entry = argv[2];
    RUN(test_no_library);
    RUN(test_faults);
    RUN(test_hanging);
    RUN(test_works);
    RUN(test_approximate);
    RUN(test_flushes);
    RUN(test_fails_later);
    RUN(test_part_refused);
    RUN(test_lost_memory);
    RUN(test_by_name);
    return check_done();
}
