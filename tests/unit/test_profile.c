/* Measuring a machine in next to no time: what comes of it, not how fast it is. SPDX-License-Identifier: MIT */
#include "support/check.h"
#include "support/fake_device.h"

#include <math.h>

#include "device/select.h"
#include "engine/profile_impl.h"
#include "os/system.h"
#include "plan/model_shape.h"
#include "support/mkmodel.h"

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
    CHECK_EQ(lever_profile(&m, &(lever_profile_params){ .flash_path = "/nowhere/a" }, &err), LEVER_EIO);
    CHECK_EQ(lever_profile(&m, &(lever_profile_params){ .model_path = "/nowhere/a" }, &err), LEVER_EIO);
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
    fake_now = fake_works;
    fake_now.open = 3; /* a piece of memory that is not to be had */
    fake_now.types = 1u << LV_TYPE_Q8_0;
    CHECK(lever_profile(&m, &p, &err) < 0);
    lv_device_register(NULL, NULL);
}

/* Whichever allocation fails, there is an error and nothing is left behind. */
static void every_allocation_may_fail(void)
{
    const lever_profile_params p = { .types = "Q8_0", .n_threads = 1, .seconds = 0.001 };
    const size_t live = lv_alloc_live();
    for (long n = 0;; n++) {
        lever_error err = { 0 };
        lv_alloc_fault(n, false);
        const int rc = lever_profile(&m, &p, &err);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK_EQ(lv_alloc_live(), live);
        CHECK(lever_machine_is_valid(&m));
        CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
        if (!fired) break;
    }
}

/* ---- models ---- */

static const char model_path[] = "build/test_profile.gguf", draft_path[] = "build/test_profile_draft.gguf";

static void make_models(void)
{
    lever_error err = { 0 };
    mk_config c = mk_config_init();
    CHECK_OK(mk_model_write(model_path, &c, &err), &err);
    c.n_layers = 1;
    c.arch = "qwen3";
    CHECK_OK(mk_model_write(draft_path, &c, &err), &err);
}

static void shapes_are_those_of_files(void)
{
    lv_model *model;
    lever_error err = { 0 };
    lv_model_shape s;
    CHECK_OK(lv_model_open(&model, model_path, &err), &err);
    CHECK(lv_model_shape_of(&s, model));
    lv_model_close(&model);
    CHECK(s.n_layers == 4 && s.n_embd == 64 && s.n_heads == 4 && s.n_kv_heads == 2 && s.head_dim == 16);
    CHECK(s.n_vocab == 273 && s.head_type == LV_TYPE_Q8_0 && !s.qk_norm && !s.qkv_bias);
    uint32_t count = 0, packs = 0;
    for (uint32_t i = 0; i < s.n_matrices; i++) count += s.matrices[i].count, packs += s.matrices[i].packs;
    CHECK(count == 4 * 7 && packs == 4 * 4); /* k and v have the rows of q, up has those of gate */
    CHECK_EQ(s.key, lv_model_shape_key(&s));
}

static void models_are_run(void)
{
    lever_error err = { 0 };
    const lever_profile_params p = { .types = "Q4_0", .n_threads = 1, .seconds = 0.1, .model_path = model_path,
                                     .draft_path = draft_path, .mem_bytes = 64 << 20 };
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK_EQ(m.n_models, 2);
    CHECK_EQ(m.devices[0].n_products, 2); /* the models' type came with them */
    CHECK_STR(m.models[1].name, "test_profile_draft.gguf");
    for (int i = 0; i < 2; i++) {
        const lever_machine_model *q = &m.models[i];
        CHECK(q->n_runs >= 1 && q->rows[0] == 1 && q->sweep_s[0] > 0 && q->factor[0] > 0);
        CHECK(q->project_s > 0 && q->project_factor > 0);
        CHECK(q->way == LEVER_MACHINE_WAY && q->first_s >= 0);
        for (uint32_t k = 1; k < q->n_runs; k++) CHECK(q->rows[k] > q->rows[k - 1] && q->sweep_s[k] > 0);
    }
    CHECK_OK(lever_profile(&m, &p, &err), &err); /* the same ones are no more */
    CHECK_EQ(m.n_models, 2);
    CHECK(lever_machine_is_valid(&m));
    lever_profile_params in_a_hurry = p;
    in_a_hurry.seconds = 1e-6;
    m = (lever_machine){ 0 };
    CHECK_OK(lever_profile(&m, &in_a_hurry, &err), &err);
    CHECK(m.n_models == 2 && m.models[0].n_runs >= 1 && m.models[1].n_runs >= 1);
}

/* Both run there, unless they leave the device; what is known of the CPU stays beside it. */
static void models_are_run_on_the_device_too(void)
{
    lever_error err = { 0 };
    const lever_profile_params p = { .types = "Q8_0", .n_threads = 1, .seconds = 0.1, .model_path = model_path,
                                     .draft_path = draft_path, .mem_bytes = 128 << 20, .device = "fake" };
    lv_device_register("fake", fake_open);
    fake_now = fake_works;
    fake_now.types = 1u << LV_TYPE_Q8_0;
    m = (lever_machine){ 0 };
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK_EQ(m.n_models, 4);
    CHECK(lever_machine_is_valid(&m));
    for (int i = 0; i < 4; i++) {
        const lever_machine_model *q = &m.models[i];
        CHECK_STR(q->kind, i < 2 ? "" : "fake");
        CHECK_STR(q->device, q->kind);
        CHECK(q->n_runs >= 1 && q->rows[0] == 1 && q->sweep_s[0] > 0 && q->factor[0] > 0);
        CHECK((q->project_s > 0) == (i < 2));
        CHECK(q->key == m.models[i % 2].key && !strcmp(q->name, m.models[i % 2].name));
    }
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK_EQ(m.n_models, 4);
    fake_now.look = 0; /* the models leave the device as they are loaded */
    m = (lever_machine){ 0 };
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK(m.n_models == 2 && !m.models[1].kind[0]);
    fake_now = fake_works;
    fake_now.types = 0; /* nothing that the models could do there */
    m = (lever_machine){ 0 };
    CHECK_OK(lever_profile(&m, &p, &err), &err);
    CHECK_EQ(m.n_models, 2);
    lv_device_register(NULL, NULL);
}

static bool near(double a, double b) { return fabs(a - b) < 1e-9; }

/* 3 batches, each beside reads and without: with 10 ms of reads in flight, windows of 50 ms at least. */
static void windows_beside_reads_are_as_long_as_reads_take_to_come(void)
{
    static const struct { double seconds, flight_s; uint32_t n; double window_s; } cases[] = {
        { 4.8, 0.01, 8, 0.1 }, { 2.5, 0.01, 8, 2.5 / 48 }, { 2.2, 0.01, 7, 2.2 / 42 },
        { 0.95, 0.01, 3, 0.95 / 18 }, { 0.1, 0.01, 3, 0.05 },
        { 0.1, 1, 3, 0.1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double window_s;
        CHECK_EQ(lv_profile_windows(cases[i].seconds, cases[i].flight_s, &window_s), cases[i].n);
        CHECK(near(window_s, cases[i].window_s));
    }
}

static void streamed_sweeps_say_what_products_and_reads_cost_each_other(void)
{
    const lever_machine_beside before = { .rows = { 1, 8, 32 }, .products = { 1.2, 1.1, 1 },
                                          .flash = { 0.5, 0.7, 0.8 } };
    static const struct { lv_streamed s; double products, flash; } cases[] = {
        { { 3e9, 0.00, 1.3 }, 1.3, 1 },   /* products set the pace: reads could be as fast as alone */
        { { 3e9, 0.20, 1.3 }, 1.3, 0.6875 }, /* a fifth of the time at 4e9, so 2.75e9 in the rest */
        { { 4.4e9, 0.20, 0.9 }, 1, 1 },   /* no faster than by themselves */
        { { 4e9, 0.60, 1.5 }, 0, 0 },     /* waits hide what products lose */
        { { 3e9, 0.20, 0 }, 0, 0 },       /* products that are not known */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lever_machine_beside b = before;
        lv_profile_conclude_beside(&b, &cases[i].s, 4e9);
        CHECK(b.flash[0] == 1 && b.products[0] == before.products[0]);
        for (int k = 1; k < 3; k++) {
            CHECK(near(b.products[k], cases[i].products > 0 ? cases[i].products : before.products[k]));
            CHECK(near(b.flash[k], cases[i].flash > 0 ? cases[i].flash : before.flash[k]));
        }
    }
    lever_machine_beside none = { 0 };
    lv_profile_conclude_beside(&none, &cases[0].s, 4e9);
    CHECK(none.flash[0] == 0 && none.rows[0] == 0);
}

/* An engine that is given the machine begins with costs, and one that is not knows none. */
static void engines_begin_with_what_is_predicted(void)
{
    static char learnt[3][1 << 15];
    for (int with = 0; with < 3; with++) { /* nothing; nonsense; the machine */
        lever_config c;
        lever_engine *e;
        lever_error err = { 0 };
        lever_config_init(&c);
        c.model_path = model_path;
        c.draft_path = draft_path;
        c.n_threads = 1;
        c.mem_bytes = 64 << 20;
        c.machine = with ? &m : NULL;
        m.read_bytes_s = with == 1 ? -1 : 1;
        CHECK_OK(lever_engine_open(&e, &c, &err), &err);
        const size_t n = lever_engine_get_learnt(e, learnt[with], sizeof *learnt);
        CHECK(n > 0 && n <= sizeof *learnt);
        lever_engine_close(&e);
    }
    CHECK(!memcmp(learnt[0], learnt[1], sizeof *learnt));
    CHECK(memcmp(learnt[0], learnt[2], sizeof *learnt));
}

static void the_oldest_entries_go(void)
{
    static lever_machine n;
    n.n_devices = 1;
    char name[16];
    for (int i = 0; i < 2 * LEVER_MACHINE_MODELS; i++) {
        snprintf(name, sizeof name, "%d", i);
        CHECK_STR(lv_profile_model_entry(&n, (uint64_t)i, NULL, name)->name, name);
        CHECK_STR(lv_profile_device_entry(&n, "kind", name, "")->name, name);
        CHECK_STR(lv_profile_flash_entry(&n, name)->where, name);
    }
    CHECK(n.n_models == LEVER_MACHINE_MODELS && n.n_devices == LEVER_MACHINE_DEVICES);
    CHECK(n.n_flashes == LEVER_MACHINE_FLASHES);
    CHECK_EQ(n.models[0].key, LEVER_MACHINE_MODELS);
    CHECK_STR(n.devices[0].kind, "");
    CHECK_STR(n.devices[1].name, "29");
    lv_profile_model_entry(&n, 20, NULL, "again");
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
    RUN(every_allocation_may_fail);
    make_models();
    RUN(shapes_are_those_of_files);
    RUN(models_are_run);
    RUN(models_are_run_on_the_device_too);
    RUN(windows_beside_reads_are_as_long_as_reads_take_to_come);
    RUN(streamed_sweeps_say_what_products_and_reads_cost_each_other);
    RUN(engines_begin_with_what_is_predicted);
    remove(model_path);
    remove(draft_path);
    RUN(the_oldest_entries_go);
    RUN(eighths_and_names);
    return check_done();
}
