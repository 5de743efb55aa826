/* What `lever profile` keeps: the file, and what hostile or old ones do. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../apps/lever/profile_file.h"
#include "../apps/lever/profile_json.h"

static char folder[] = "/tmp/lever-profile.XXXXXX", path[64];
static lever_machine m, n; /* too large for a frame */
static char why[256];

static void make_machine(uint32_t n_threads)
{
    memset(&m, 0, sizeof m);
    m.id = (lever_machine_id){ .version = "1", .cpu = "made \"up\"", .isa = "ref", .kernel = "none", .n_cores = 2,
                               .n_threads = n_threads, .memory_bytes = 1ull << 33 };
    snprintf(m.measured, sizeof m.measured, "2026-11-21T19:00:00Z");
    m.read_bytes_s = 2.5e10;
    m.rest.op_s = 1e-6;
    m.rest.pick_s = 3e-10;
    m.n_devices = 2;
    for (uint32_t d = 0; d < 2; d++) {
        snprintf(m.devices[d].kind, sizeof m.devices[d].kind, "%s", d ? "opencl" : "cpu");
        m.devices[d].n_products = 1;
        m.devices[d].give_byte_s = d * 1e-10;
        m.devices[d].unified = d;
        m.devices[d].products[0] = (lever_machine_product){ .type = "Q4_K", .gguf_type = 12, .pack_s = 1e-9 };
    }
    for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++) {
        m.devices[0].products[0].weight_s[i] = m.devices[1].products[0].weight_s[i] = 1.23456789e-11 * (i + 1);
        m.rest.attend_s[1][i] = 1e-10 * i;
    }
    m.n_flashes = 1;
    lever_machine_flash *f = &m.flashes[0];
    *f = (lever_machine_flash){ .where = "259:1", .measured = "2026-11-21T18:00:00Z" };
    f->beside = (lever_machine_beside){ { 1, 8, 32 }, { 1.5, 1.25, 1 }, { 0.5, 0.75, 1 } };
    f->reads = (lever_flash_profile){ .n_points = 2, .best = 1, .direct = true };
    f->reads.points[0] = (lever_flash_point){ "uring", 1 << 20, 2, true, 1e9, 0.25 };
    f->reads.points[1] = (lever_flash_point){ "pool", 4 << 20, 4, true, 2e9, 0.5 };
    m.n_models = 1;
    m.models[0] = (lever_machine_model){ .name = "a.gguf", .key = 0xfedcba9876543210, .n_runs = 2, .rows = { 1, 16 },
                                         .sweep_s = { 0.25, 0.5 }, .factor = { 1.5, 1 }, .project_factor = 2,
                                         .kind = "opencl", .device = "a GPU",
                                         .first_s = 0.125, .way = LEVER_MACHINE_WAY };
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void what_is_kept_comes_back(void)
{
    lever_error err = { 0 };
    make_machine(2);
    CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_NONE);
    CHECK_OK(profile_store(&m, &err), &err);
    CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_GOOD);
    for (uint32_t i = 0; i < 2; i++) { /* one string or the other, not one address */
        CHECK_STR(n.flashes[0].reads.points[i].backend, m.flashes[0].reads.points[i].backend);
        n.flashes[0].reads.points[i].backend = m.flashes[0].reads.points[i].backend;
    }
    json_t *a = machine_to_json(&m), *b = machine_to_json(&n);
    CHECK(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    CHECK(n.devices[1].unified && n.devices[0].products[0].weight_s[7] == m.devices[0].products[0].weight_s[7]);
    CHECK_STR(n.models[0].kind, "opencl");
    CHECK_STR(n.models[0].device, "a GPU");
    CHECK(n.models[0].first_s == 0.125 && n.models[0].way == LEVER_MACHINE_WAY);
    CHECK(n.models[0].key == m.models[0].key && n.flashes[0].beside.products[1] == 1.25);
    CHECK(n.flashes[0].reads.best == 1 && n.flashes[0].reads.n_points == 2);
    CHECK_STR(n.flashes[0].measured, m.flashes[0].measured);
}

/* Models were measured otherwise before: they are read, and known to be old. */
static void models_of_older_versions_are_read(void)
{
    make_machine(2);
    json_t *root = machine_to_json(&m), *model = json_array_get(json_object_get(root, "models"), 0);
    CHECK(json_object_del(model, "first_s") == 0 && json_object_del(model, "way") == 0);
    CHECK(machine_from_json(&n, root));
    CHECK(n.models[0].first_s == 0 && n.models[0].way == 0 && n.models[0].factor[0] == 1.5);
    json_object_set_new(model, "way", json_integer(-1));
    CHECK(!machine_from_json(&n, root));
    json_decref(root);
}

/* Numbers of several threads live side by side; others are stale, and named. */
static void each_id_has_its_own(void)
{
    lever_error err = { 0 };
    for (uint32_t threads = 1; threads <= 20; threads++) {
        make_machine(threads);
        m.rest.op_s = threads;
        CHECK_OK(profile_store(&m, &err), &err);
    }
    make_machine(20);
    CHECK(profile_load(&n, &m.id, why, sizeof why) == PROFILE_GOOD && n.rest.op_s == 20);
    make_machine(5);
    CHECK(profile_load(&n, &m.id, why, sizeof why) == PROFILE_GOOD && n.rest.op_s == 5);
    make_machine(4); /* of too many the oldest went */
    CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_STALE);
    CHECK(strstr(why, "4 threads"));
    CHECK(n.n_flashes == 1 && n.flashes[0].reads.n_points == 2);
    make_machine(20);
    snprintf(m.id.kernel, sizeof m.id.kernel, "Linux 99");
    CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_STALE);
    CHECK(strstr(why, "Linux 99"));
}

/* A file of the first version says how to read; and is still there when machines come in. */
static void the_first_version_is_still_read(void)
{
    lever_error err = { 0 };
    struct stat st;
    CHECK(stat(folder, &st) == 0);
    char where[PROFILE_WHERE_CAP], text[512];
    CHECK(profile_where(folder, where, sizeof where));
    snprintf(text, sizeof text,
             "{\"version\": 1, \"flash\": {\"%s\": {\"measured\": \"2025\", \"backend\": \"pool\", "
             "\"block_bytes\": 65536, \"depth\": 3, \"bytes_per_s\": 1e9, "
             "\"points\": [{\"backend\": \"pool\", \"block_bytes\": 65536, "
             "\"depth\": 3, \"huge_pages\": true, \"bytes_per_s\": 1e9, \"cpu_share\": 0.1}]}}}", where);
    write_file(text);
    make_machine(2);
    CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_NONE);
    CHECK(n.n_flashes == 1 && n.flashes[0].reads.points[0].depth == 3 && n.n_devices == 0);
    CHECK_OK(profile_store(&m, &err), &err);
    lever_config c;
    lever_config_init(&c);
    profile_apply(folder, &c);
    CHECK(c.flash_depth == 3 && c.flash_block_bytes == 65536 && !c.machine); /* m is no machine of here */
    CHECK_STR(c.io_backend, "pool");
    CHECK_OK(lever_machine_identify(&m.id, 0, NULL, NULL, &err), &err);
    CHECK_OK(profile_store(&m, &err), &err);
    profile_apply(folder, &c);
    CHECK(c.machine && c.machine->rest.op_s == m.rest.op_s && c.machine->n_flashes == 2);
}

/* Files that are none of ours, and those that only look like it. */
static void hostile_files_are_refused(void)
{
    static const char *const damaged[] = { "", "{", "[]", "{\"version\": 3, \"flash\": {}}", "{\"version\": 2}",
                                           "{\"version\": 2, \"flash\": {}, \"machines\": {}}", "null", "\xff" };
    make_machine(2);
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        write_file(damaged[i]);
        CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_DAMAGED);
    }
    static const char *const flashes[] = { "3", "{}", "{\"points\": [1]}", "{\"points\": [{\"backend\": \"x\"}]}",
                                           "{\"points\": [{\"backend\": \"pool\", \"block_bytes\": -1}]}",
                                           "{\"points\": [{\"backend\": \"pool\", \"bytes_per_s\": -5}]}" };
    for (size_t i = 0; i < sizeof flashes / sizeof *flashes; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"version\": 2, \"flash\": {\"1:1\": %s}, \"machines\": [1, {}, \"a\"]}",
                 flashes[i]);
        write_file(text);
        CHECK_EQ(profile_load(&n, &m.id, why, sizeof why), PROFILE_NONE);
        CHECK(n.n_flashes == 0 || n.flashes[0].reads.n_points == 0);
    }
}

/* Every value of a good machine replaced by each of these: nothing but an answer comes of it. */
static void replace_all(json_t *root, json_t *at, const json_t *with)
{
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(at, next, key, value)
    {
        json_incref(value);
        json_object_set_new(at, key, json_deep_copy(with));
        if (machine_from_json(&n, root)) CHECK(lever_machine_is_valid(&n));
        json_object_set_new(at, key, value);
        if (json_is_object(value)) replace_all(root, value, with);
        if (json_is_array(value) && json_is_object(json_array_get(value, 0)))
            replace_all(root, json_array_get(value, 0), with);
    }
}

static void any_wrong_value_is_survived(void)
{
    make_machine(2);
    json_t *root = machine_to_json(&m), *many = json_array(), *numbers = json_array();
    for (int i = 0; i < 100; i++) json_array_append_new(many, json_object());
    for (int i = 0; i < 8; i++) json_array_append_new(numbers, json_real(-1));
    char *text = malloc(5001);
    memset(text, 'x', 5000);
    text[5000] = '\0';
    json_t *const values[] = { json_null(), json_integer(-1), json_real(1e300), json_string(text), many, numbers,
                               json_integer(INT64_MAX), json_object(), json_string("") };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        replace_all(root, root, values[i]);
        json_decref(values[i]);
    }
    CHECK(machine_from_json(&n, root));
    free(text);
    json_decref(root);
}

int main(void)
{
    if (!mkdtemp(folder)) return 1;
    setenv("XDG_CACHE_HOME", folder, 1);
    snprintf(path, sizeof path, "%s/lever/profile.json", folder);
    RUN(what_is_kept_comes_back);
    RUN(models_of_older_versions_are_read);
    RUN(each_id_has_its_own);
    RUN(the_first_version_is_still_read);
    RUN(hostile_files_are_refused);
    RUN(any_wrong_value_is_survived);
    remove(path);
    path[strlen(path) - strlen("/profile.json")] = '\0';
    rmdir(path);
    rmdir(folder);
    return check_done();
}
