/* Reading a measured machine, and times of sweeps on machines that are made up. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "plan/sweep_time.h"

static lv_machine m; /* too large for a frame */

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 + 1e-9 * fabs(b); }

/* Two threads; a weight takes 1 ns for up to 4 rows, then a quarter for each row; nothing else takes any time. */
static void make_machine(void)
{
    m = (lv_machine){ .id = { .version = "1", .cpu = "made up", .isa = "ref", .kernel = "none", .n_cores = 2,
                              .n_threads = 2, .memory_bytes = 1u << 30 },
                      .n_devices = 1 };
    lv_machine_device *d = &m.devices[0];
    *d = (lv_machine_device){ .kind = "cpu", .name = "made up", .n_products = 1 };
    d->products[0] = (lever_machine_product){ .type = "F32", .gguf_type = 0 };
    for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++)
        d->products[0].weight_s[i] = lever_machine_rows[i] < 4 ? 1e-9 : 0.25e-9 * lever_machine_rows[i];
}

/* Three layers of two matrices [100][200] that share their rows, and a head of [50][200]. */
static lv_model_shape small_shape(void)
{
    lv_model_shape s = { .n_layers = 3, .n_embd = 200, .n_ff = 100, .n_heads = 4, .n_kv_heads = 2, .head_dim = 50,
                         .n_vocab = 50, .head_type = 0 };
    for (int i = 0; i < 3; i++) {
        CHECK(lv_model_shape_add(&s, 0, 100, 200, true));
        CHECK(lv_model_shape_add(&s, 0, 100, 200, false));
    }
    s.key = lv_model_shape_key(&s);
    return s;
}

/* ---- numbers between points ---- */

static void curves_are_monotone_whatever_was_measured(void)
{
    uint32_t x = 7;
    for (int round = 0; round < 200; round++) {
        double y[LEVER_MACHINE_ROWS];
        for (int i = 0; i < LEVER_MACHINE_ROWS; i++) {
            x = x * 1664525u + 1013904223u;
            y[i] = x >> 30 ? (double)(x >> 8) * 1e-9 : 0; /* a quarter of them was not measured */
        }
        double last = 0;
        for (double rows = 1; rows < 1000; rows += 0.5) {
            const double at = lv_machine_at(y, rows);
            CHECK(at >= last * (1 - 1e-12)); /* but for rounding */
            last = at;
        }
    }
}

static void curves_go_through_their_points_and_on(void)
{
    const double y[LEVER_MACHINE_ROWS] = { 1, 0, 4, 3, 0, 0, 10, 14 };
    CHECK(near(lv_machine_at(y, 1), 1));
    CHECK(near(lv_machine_at(y, 2), 2)); /* between rows 1 and 4 */
    CHECK(near(lv_machine_at(y, 8), 4)); /* no less than fewer rows */
    CHECK(near(lv_machine_at(y, 36), 7));
    CHECK(near(lv_machine_at(y, 256), 22));
    const double one[LEVER_MACHINE_ROWS] = { 0, 3 }, none[LEVER_MACHINE_ROWS] = { 0 };
    CHECK(near(lv_machine_at(one, 1), 3) && near(lv_machine_at(one, 6), 9));
    CHECK(lv_machine_at(none, 6) == 0);
}

static void unknown_types_cost_what_the_dearest_does(void)
{
    make_machine();
    lv_machine_device *d = &m.devices[0];
    CHECK(near(lv_machine_products_s(d, 0, 1000, 8), 2e-6));
    CHECK(lv_machine_knows(d, 0) && !lv_machine_knows(d, 12));
    d->n_products = 2;
    d->products[1] = (lever_machine_product){ .type = "F16", .gguf_type = 1, .weight_s = { 5e-9 }, .pack_s = 3e-9 };
    CHECK(near(lv_machine_products_s(d, 12, 1000, 1), 5e-6));
    CHECK(near(lv_machine_pack_s(d, 12, 2, 10), 6e-8));
    CHECK(near(lv_machine_pack_s(d, 0, 2, 10), 0));
    d->n_products = 0;
    CHECK(lv_machine_products_s(d, 0, 1000, 8) == -1);
}

static void what_runs_beside_is_flat_outside(void)
{
    const lever_machine_beside b = { { 1, 9 }, { 1.5, 1.1 }, { 0.5, 0.9 } }, none = { { 0 }, { 0 }, { 0 } };
    CHECK(near(lv_machine_products_beside(&b, 1), 1.5) && near(lv_machine_products_beside(&b, 5), 1.3));
    CHECK(near(lv_machine_products_beside(&b, 100), 1.1) && near(lv_machine_flash_beside(&b, 3), 0.6));
    CHECK(lv_machine_products_beside(&none, 4) == 1 && lv_machine_flash_beside(&none, 4) == 1);
}

/* ---- sweeps ---- */

static void sweeps_are_sums_of_products(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    const lv_run_on on = { .machine = &m };
    lv_sweep_cost c;
    CHECK(lv_model_shape_weights(&s) == 120000 && lv_model_shape_bytes(&s) == 480000);
    CHECK(s.n_matrices == 1 && s.matrices[0].count == 6 && s.matrices[0].packs == 3);
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.products, 120e-6) && near(c.sweep, 120e-6) && c.flash == 0 && c.rest == 0);
    CHECK(lv_sweep_time(&c, &on, &s, 16));
    CHECK(near(c.sweep, 480e-6));
    CHECK(near(lv_project_s(&on, &s, 16), 40e-6));
    CHECK(near(lv_draft_s(&on, &s, 16), 520e-6));
    m.n_devices = 0;
    CHECK(!lv_sweep_time(&c, &on, &s, 1) && lv_project_s(&on, &s, 1) == -1 && lv_draft_s(&on, &s, 1) == -1);
}

static void small_costs_add_up(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    const lv_run_on on = { .machine = &m, .n_ctx = 10, .kv = 1 };
    m.devices[0].call_s = 1e-6;
    m.devices[0].products[0].pack_s = 1e-9;
    m.rest.norm_s = 1e-9;
    m.rest.rope_s = 2e-9;
    m.rest.write_s[1] = 3e-9;
    m.rest.attend_s[1][0] = 1e-10;
    m.rest.candidates_s = 4e-9;
    m.rest.pick_s = 5e-9;
    lv_sweep_cost c;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.calls, 6e-6));
    CHECK(near(c.pack, 3 * 200e-9));
    /* Seven norms of 200; queries of 200 and keys of 100 in three layers; 200 keys and values. */
    CHECK(near(c.rest, 7 * 200e-9 + 3 * 300 * 2e-9 + 3 * 200 * 3e-9));
    CHECK(near(c.attend, 3 * 4 * 50 * 10 * 1e-10));
    CHECK(near(c.sweep, c.products + c.calls + c.pack + c.rest + c.attend));
    CHECK(near(lv_candidates_s(&on, &s), 200e-9) && near(lv_pick_s(&on, &s), 250e-9));
}

/* Operations that are worth it are handed to the threads: half the time, and the hand-over. */
static void large_operations_are_spread(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    const lv_run_on on = { .machine = &m };
    m.rest.norm_s = 1e-9;
    lv_sweep_cost small, large;
    CHECK(lv_sweep_time(&small, &on, &s, 256));
    m.rest.op_s = 1e-6;
    CHECK(lv_sweep_time(&large, &on, &s, 512)); /* 512 * 200 > 64 Ki */
    CHECK(near(small.rest, 7 * 256 * 200e-9));
    CHECK(large.rest > 7 * (1e-6 + 512 * 100e-9) - 1e-12);
    CHECK(large.rest < 2 * small.rest);
}

static void reads_hide_products_or_products_reads(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    lv_machine_flash f = { .reads = { .n_points = 1 } };
    f.reads.points[0] = (lever_flash_point){ .backend = "pool", .bytes_per_s = 1e9 };
    lv_run_on on = { .machine = &m, .flash = &f, .streamed_bytes = 480000 };
    lv_sweep_cost c;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.compute, 120e-6) && near(c.flash, 480e-6) && near(c.sweep, 480e-6));
    CHECK(lv_sweep_time(&c, &on, &s, 64));
    CHECK(near(c.compute, 1920e-6) && near(c.sweep, 1920e-6));
    /* Beside each other products take twice as long, and reads go at half their speed. */
    f.beside = (lever_machine_beside){ { 1 }, { 2 }, { 0.5 } };
    CHECK(lv_sweep_time(&c, &on, &s, 1)); /* 240 us of both, in which a quarter is read; 360 us of reads alone */
    CHECK(near(c.sweep, 600e-6));
    CHECK(lv_sweep_time(&c, &on, &s, 64)); /* 960 us of both, then three quarters of the products alone */
    CHECK(near(c.sweep, 960e-6 + 1440e-6));
    on.flash_bytes_s = 2e9; /* a limit, or another device */
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.flash, 240e-6));
}

static void a_ring_gets_the_fastest_reads_it_has_room_for(void)
{
    lv_machine_flash f = { .reads = { .n_points = 4, .best = 1 } };
    f.reads.points[0] = (lever_flash_point){ "uring", 1 << 20, 2, true, 2e9, 0 };
    f.reads.points[1] = (lever_flash_point){ "uring", 4 << 20, 8, true, 4e9, 0 };
    f.reads.points[2] = (lever_flash_point){ "uring", 1 << 18, 1, false, 1e9, 0 };
    f.reads.points[3] = (lever_flash_point){ "pool", 1 << 20, 1, true, 9e9, 0 }; /* not how weights are read */
    const lever_machine_model run = { .stream_factor = 0.9 }, unknown = { .stream_factor = 0 };
    CHECK(near(lv_machine_stream_bytes_s(&f, NULL, 4 << 20, 64 << 20), 4e9));
    CHECK(near(lv_machine_stream_bytes_s(&f, NULL, 4 << 20, 16 << 20), 2e9));  /* 8 of 4 MiB do not fit */
    CHECK(near(lv_machine_stream_bytes_s(&f, NULL, 1 << 20, 64 << 20), 2e9));  /* nor does a block of 4 MiB */
    CHECK(near(lv_machine_stream_bytes_s(&f, NULL, 1 << 18, 1 << 20), 1e9));   /* no huge pages in a small ring */
    CHECK(near(lv_machine_stream_bytes_s(&f, &run, 4 << 20, 64 << 20), 3.6e9));
    CHECK(near(lv_machine_stream_bytes_s(&f, &unknown, 4 << 20, 64 << 20), 4e9));
    CHECK(lv_machine_stream_bytes_s(NULL, &run, 4 << 20, 64 << 20) == 0);
}

static void slices_of_streamed_weights_are_calls(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    lv_run_on on = { .machine = &m, .streamed_bytes = 480000, .extent_bytes = 20000 };
    m.devices[0].call_s = 1e-6;
    lv_sweep_cost c;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.calls, 24e-6)); /* a matrix has 80000 bytes */
    on.streamed_bytes = 240000;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.calls, 15e-6));
}

static void devices_multiply_what_they_know(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    m.n_devices = 2;
    m.devices[1] = (lv_machine_device){ .kind = "gpu", .name = "fast", .n_products = 1, .call_s = 1e-6,
                                        .give_s = 2e-6, .take_s = 3e-6, .give_byte_s = 1e-9 };
    m.devices[1].products[0] = (lever_machine_product){ .type = "F32", .gguf_type = 0, .weight_s = { 1e-10 } };
    lv_run_on on = { .machine = &m, .products = lv_machine_device_find(&m, "gpu", "fast", NULL) };
    CHECK(on.products == &m.devices[1]);
    CHECK(!lv_machine_device_find(&m, "gpu", "slow", NULL) && !lv_machine_device_find(&m, "gpu", "fast", "2.0"));
    lv_sweep_cost c;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.products, 12e-6) && near(c.calls, 3e-6)); /* matrices that share rows are one job */
    CHECK(near(lv_project_s(&on, &s, 1), 10e-6));          /* of 10000 weights, on the CPU */
    on.head_on_device = true;
    CHECK(near(lv_project_s(&on, &s, 1), 2e-6));
    on.streamed_bytes = 480000;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.calls, 6 * (1e-6 + 5e-6 + 80e-6)));
    m.devices[1].unified = true;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.calls, 6 * 6e-6));
    m.devices[1].products[0].gguf_type = 8;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.products, 120e-6));
}

static void models_that_were_run_correct_what_is_predicted(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    lv_run_on on = { .machine = &m };
    m.n_models = 1;
    m.models[0] = (lever_machine_model){ .name = "it", .key = s.key, .n_runs = 2, .rows = { 1, 9 },
                                         .factor = { 2, 1 }, .project_factor = 3 };
    lv_sweep_cost c;
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.compute, 240e-6) && near(c.products, 120e-6));
    CHECK(lv_sweep_time(&c, &on, &s, 64));
    CHECK(near(c.compute, 1920e-6));
    CHECK(near(lv_project_s(&on, &s, 1), 30e-6));
    on.uncorrected = true;
    CHECK(near(lv_project_s(&on, &s, 1), 10e-6));
    m.models[0].key++;
    on.uncorrected = false;
    CHECK(near(lv_project_s(&on, &s, 1), 10e-6));
}

/* The device's sweeps are off by what they were off there; the head and, before they were run there, sweeps by
 * what they were on the CPU. */
static void models_that_ran_on_a_device_correct_its_sweeps(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    m.n_devices = 2;
    m.devices[1] = m.devices[0];
    strcpy(m.devices[1].kind, "opencl");
    strcpy(m.devices[1].name, "a GPU");
    const lv_run_on on = { .machine = &m, .products = &m.devices[1] }, cpu = { .machine = &m };
    lv_sweep_cost c, plain;
    CHECK(lv_sweep_time(&plain, &on, &s, 1));
    m.n_models = 2;
    m.models[0] = (lever_machine_model){ .key = s.key, .n_runs = 1, .rows = { 1 }, .factor = { 2 },
                                         .project_factor = 3 };
    m.models[1] = (lever_machine_model){ .key = s.key, .n_runs = 1, .rows = { 1 }, .factor = { 1.5 },
                                         .kind = "opencl", .device = "another" };
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.compute, 2 * plain.compute));
    strcpy(m.models[1].device, "a GPU");
    CHECK(lv_sweep_time(&c, &on, &s, 1));
    CHECK(near(c.compute, 1.5 * plain.compute));
    CHECK(near(lv_project_s(&on, &s, 1), 30e-6));
    CHECK(lv_sweep_time(&c, &cpu, &s, 1));
    CHECK(near(c.compute, 240e-6));
}

/* The processor takes 1 ns a weight up to 4 rows, then a quarter for each row. */
static void a_device_has_the_sweeps_that_it_is_faster_with(void)
{
    make_machine();
    const lv_model_shape s = small_shape();
    m.n_devices = 2;
    lv_machine_device *d = &m.devices[1];
    *d = m.devices[0];
    const lv_run_on on = { .machine = &m, .products = d };
    static const struct { double weight_s; uint32_t from; } cases[] = {
        { 0.9e-9, 1 }, { 3e-9, 16 }, { 16e-9, 64 }, { 1e-3, LV_ROWS_NEVER }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint32_t k = 0; k < LEVER_MACHINE_ROWS; k++) d->products[0].weight_s[k] = cases[i].weight_s;
        CHECK_EQ(lv_rows_for_device(&on, &s), cases[i].from);
    }
    m.devices[0].n_products = 0; /* nothing to compare with */
    CHECK_EQ(lv_rows_for_device(&on, &s), 1);
}

static void keys_tell_shapes_apart(void)
{
    lv_model_shape a = small_shape(), b = a;
    b.n_ff++;
    CHECK(lv_model_shape_key(&a) == a.key && lv_model_shape_key(&b) != a.key);
    b = a;
    CHECK(lv_model_shape_add(&b, 0, 100, 200, true));
    CHECK(lv_model_shape_key(&b) != a.key);
    for (uint32_t i = 1; i < LV_SHAPE_MATRICES; i++) CHECK(lv_model_shape_add(&a, 0, 100 + i, 200, true));
    CHECK(!lv_model_shape_add(&a, 1, 100, 200, true) && lv_model_shape_add(&a, 0, 100, 200, true));
}

/* ---- what is kept ---- */

static void ids_differ_by_what_times_depend_on(void)
{
    make_machine();
    lever_machine_id id = m.id;
    CHECK(lv_machine_same(&m.id, &id));
    id.memory_bytes -= id.memory_bytes / 20;
    CHECK(lv_machine_same(&m.id, &id));
    id.memory_bytes /= 2;
    CHECK(!lv_machine_same(&m.id, &id));
    for (int i = 0; i < 6; i++) {
        id = m.id;
        if (i == 0) id.n_threads++;
        if (i == 1) id.n_cores++;
        if (i == 2) id.isa[0]++;
        if (i == 3) id.cpu[0]++;
        if (i == 4) id.kernel[0]++;
        if (i == 5) id.version[0]++;
        CHECK(!lv_machine_same(&m.id, &id));
    }
}

static void nonsense_is_not_valid(void)
{
    make_machine();
    CHECK(lv_machine_valid(&m));
    double *const places[] = { &m.read_bytes_s, &m.rest.op_s, &m.rest.attend_s[1][7], &m.devices[0].call_s,
                               &m.devices[0].products[0].weight_s[3], &m.devices[0].products[0].pack_s };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const double before = *places[i], bad[] = { -1, NAN, INFINITY };
        for (int k = 0; k < 3; k++) {
            *places[i] = bad[k];
            CHECK(!lv_machine_valid(&m));
        }
        *places[i] = before;
        CHECK(lv_machine_valid(&m));
    }
    uint32_t *const counts[] = { &m.n_devices, &m.n_flashes, &m.n_models, &m.devices[0].n_products };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const uint32_t before = *counts[i];
        *counts[i] = 100;
        CHECK(!lv_machine_valid(&m));
        *counts[i] = before;
    }
    m.n_flashes = 1;
    m.flashes[0].beside = (lever_machine_beside){ { 4, 2 }, { 1, 1 }, { 1, 1 } };
    CHECK(!lv_machine_valid(&m));
    m.flashes[0].beside = (lever_machine_beside){ { 2 }, { 1 }, { 1.5 } };
    CHECK(!lv_machine_valid(&m));
    m.flashes[0].beside = (lever_machine_beside){ { 2 }, { 1 }, { 0.5 } };
    CHECK(lv_machine_valid(&m));
    m.flashes[0].reads.n_points = 1; /* without a backend */
    CHECK(!lv_machine_valid(&m));
    make_machine();
    m.n_models = 1;
    m.models[0] = (lever_machine_model){ .name = "it", .first_s = 1e-5 };
    CHECK(lv_machine_valid(&m));
    m.models[0].first_s = -1e-5;
    CHECK(!lv_machine_valid(&m));
    m.models[0].first_s = NAN;
    CHECK(!lv_machine_valid(&m));
    make_machine();
    memset(m.id.cpu, 'x', sizeof m.id.cpu);
    CHECK(!lv_machine_valid(&m));
}

int main(void)
{
    RUN(curves_are_monotone_whatever_was_measured);
    RUN(curves_go_through_their_points_and_on);
    RUN(unknown_types_cost_what_the_dearest_does);
    RUN(what_runs_beside_is_flat_outside);
    RUN(sweeps_are_sums_of_products);
    RUN(small_costs_add_up);
    RUN(large_operations_are_spread);
    RUN(reads_hide_products_or_products_reads);
    RUN(a_ring_gets_the_fastest_reads_it_has_room_for);
    RUN(slices_of_streamed_weights_are_calls);
    RUN(devices_multiply_what_they_know);
    RUN(models_that_were_run_correct_what_is_predicted);
    RUN(models_that_ran_on_a_device_correct_its_sweeps);
    RUN(a_device_has_the_sweeps_that_it_is_faster_with);
    RUN(keys_tell_shapes_apart);
    RUN(ids_differ_by_what_times_depend_on);
    RUN(nonsense_is_not_valid);
    return check_done();
}
