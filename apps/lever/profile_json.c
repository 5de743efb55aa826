/* SPDX-License-Identifier: MIT */
#include "profile_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- small parts ---- */

static json_t *numbers(const double *x, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(a, json_real(x[i]));
    return a;
}

/* Missing ones stay as they are; false for what is no number. */
static bool get_numbers(const json_t *o, const char *key, double *x, size_t n)
{
    const json_t *a = json_object_get(o, key);
    if (json_array_size(a) > n) return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *v = json_array_get(a, i);
        if (!json_is_number(v)) return false;
        x[i] = json_number_value(v);
    }
    return true;
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static bool get_u32(const json_t *v, uint32_t *x)
{
    const json_int_t n = json_integer_value(v);
    *x = (uint32_t)n;
    return n >= 0 && n <= UINT32_MAX;
}

static bool get_rows(const json_t *o, const char *key, uint32_t *x, size_t n)
{
    const json_t *a = json_object_get(o, key);
    bool good = json_array_size(a) <= n;
    for (size_t i = 0; good && i < json_array_size(a); i++) good = get_u32(json_array_get(a, i), &x[i]);
    return good;
}

static json_t *rows_to_json(const uint32_t *x, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(a, json_integer(x[i]));
    return a;
}

static bool get_text(const json_t *o, const char *key, char *to, size_t cap)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && snprintf(to, cap, "%s", s) < (int)cap;
}

/* Names of files and devices may be anything; JSON takes UTF-8 only. */
static json_t *text(const char *s)
{
    json_t *j = json_string(s);
    return j ? j : json_string("?");
}

/* ---- id ---- */

static json_t *id_to_json(const lever_machine_id *id)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "version", text(id->version), "cpu",
                     text(id->cpu), "isa", text(id->isa), "kernel", text(id->kernel), "cores",
                     (json_int_t)id->n_cores, "threads", (json_int_t)id->n_threads, "memory_bytes",
                     (json_int_t)id->memory_bytes);
}

bool machine_id_from_json(lever_machine_id *id, const json_t *machine)
{
    const json_t *j = json_object_get(machine, "id");
    *id = (lever_machine_id){ 0 };
    const json_int_t memory = json_integer_value(json_object_get(j, "memory_bytes"));
    id->memory_bytes = memory > 0 ? (uint64_t)memory : 0;
    return get_text(j, "version", id->version, sizeof id->version) &&
           get_text(j, "cpu", id->cpu, sizeof id->cpu) && get_text(j, "isa", id->isa, sizeof id->isa) &&
           get_text(j, "kernel", id->kernel, sizeof id->kernel) &&
           get_u32(json_object_get(j, "cores"), &id->n_cores) &&
           get_u32(json_object_get(j, "threads"), &id->n_threads);
}

/* ---- the rest ---- */

typedef struct field {
    const char *name;
    size_t offset;
} field;

static const field rest_fields[] = {
    { "op_s", offsetof(lever_machine_rest, op_s) },
    { "norm_s", offsetof(lever_machine_rest, norm_s) },
    { "add_s", offsetof(lever_machine_rest, add_s) },
    { "rope_s", offsetof(lever_machine_rest, rope_s) },
    { "rope_norm_s", offsetof(lever_machine_rest, rope_norm_s) },
    { "swiglu_s", offsetof(lever_machine_rest, swiglu_s) },
    { "write_f16_s", offsetof(lever_machine_rest, write_s[0]) },
    { "write_q8_0_s", offsetof(lever_machine_rest, write_s[1]) },
    { "candidates_s", offsetof(lever_machine_rest, candidates_s) },
    { "pick_s", offsetof(lever_machine_rest, pick_s) },
};

static json_t *rest_to_json(const lever_machine_rest *r)
{
    json_t *j = json_object();
    for (size_t i = 0; i < sizeof rest_fields / sizeof *rest_fields; i++) {
        double x;
        memcpy(&x, (const char *)r + rest_fields[i].offset, sizeof x);
        json_object_set_new(j, rest_fields[i].name, json_real(x));
    }
    json_object_set_new(j, "attend_f16_s", numbers(r->attend_s[0], LEVER_MACHINE_ROWS));
    json_object_set_new(j, "attend_q8_0_s", numbers(r->attend_s[1], LEVER_MACHINE_ROWS));
    return j;
}

static bool rest_from_json(lever_machine_rest *r, const json_t *j)
{
    for (size_t i = 0; i < sizeof rest_fields / sizeof *rest_fields; i++) {
        const double x = number(j, rest_fields[i].name);
        memcpy((char *)r + rest_fields[i].offset, &x, sizeof x);
    }
    return get_numbers(j, "attend_f16_s", r->attend_s[0], LEVER_MACHINE_ROWS) &&
           get_numbers(j, "attend_q8_0_s", r->attend_s[1], LEVER_MACHINE_ROWS);
}

/* ---- devices ---- */

static json_t *device_to_json(const lever_machine_device *d)
{
    json_t *products = json_array();
    for (uint32_t i = 0; i < d->n_products; i++) {
        const lever_machine_product *p = &d->products[i];
        json_array_append_new(products,
                              json_pack("{s:s, s:o, s:f}", "type", p->type, "weight_s",
                                        numbers(p->weight_s, LEVER_MACHINE_ROWS), "pack_s", p->pack_s));
    }
    return json_pack("{s:o, s:o, s:o, s:b, s:f, s:f, s:f, s:f, s:o}", "kind", text(d->kind), "name",
                     text(d->name), "driver", text(d->driver), "unified", (int)d->unified, "call_s",
                     d->call_s, "give_s", d->give_s, "give_byte_s", d->give_byte_s, "take_s", d->take_s,
                     "products", products);
}

static bool product_from_json(lever_machine_product *p, const json_t *j)
{
    if (!get_text(j, "type", p->type, sizeof p->type)) return false;
    const int number_of_type = lever_type_number(p->type);
    p->gguf_type = (uint32_t)number_of_type;
    p->pack_s = number(j, "pack_s");
    return number_of_type >= 0 && get_numbers(j, "weight_s", p->weight_s, LEVER_MACHINE_ROWS);
}

static bool device_from_json(lever_machine_device *d, const json_t *j)
{
    const json_t *products = json_object_get(j, "products");
    if (json_array_size(products) > LEVER_MACHINE_TYPES) return false;
    d->n_products = (uint32_t)json_array_size(products);
    bool good = get_text(j, "kind", d->kind, sizeof d->kind) &&
                get_text(j, "name", d->name, sizeof d->name) &&
                get_text(j, "driver", d->driver, sizeof d->driver);
    for (uint32_t i = 0; good && i < d->n_products; i++)
        good = product_from_json(&d->products[i], json_array_get(products, i));
    d->unified = json_is_true(json_object_get(j, "unified"));
    d->call_s = number(j, "call_s");
    d->give_s = number(j, "give_s");
    d->give_byte_s = number(j, "give_byte_s");
    d->take_s = number(j, "take_s");
    return good;
}

/* ---- flashes ---- */

static json_t *beside_to_json(const lever_machine_flash *f)
{
    const lever_machine_beside *b = &f->beside;
    size_t n = 0;
    while (n < LEVER_MACHINE_BESIDE && b->rows[n]) n++;
    return json_pack("{s:o, s:o, s:o, s:o}", "where", text(f->where), "rows", rows_to_json(b->rows, n),
                     "products", numbers(b->products, n), "flash", numbers(b->flash, n));
}

static bool beside_from_json(lever_machine_flash *f, const json_t *j)
{
    lever_machine_beside *b = &f->beside;
    return get_text(j, "where", f->where, sizeof f->where) &&
           get_rows(j, "rows", b->rows, LEVER_MACHINE_BESIDE) &&
           get_numbers(j, "products", b->products, LEVER_MACHINE_BESIDE) &&
           get_numbers(j, "flash", b->flash, LEVER_MACHINE_BESIDE);
}

json_t *flash_points_to_json(const lever_flash_profile *p)
{
    json_t *points = json_array();
    for (uint32_t i = 0; i < p->n_points; i++) {
        const lever_flash_point *q = &p->points[i];
        json_array_append_new(points, json_pack("{s:s, s:i, s:i, s:b, s:f, s:f}", "backend", q->backend,
                                                "block_bytes", (int)q->block_bytes, "depth", (int)q->depth,
                                                "huge_pages", (int)q->huge_pages, "bytes_per_s",
                                                q->bytes_per_s, "cpu_share", q->cpu_share));
    }
    return points;
}

bool flash_points_from_json(lever_flash_profile *p, const json_t *points)
{
    static const char *const backends[] = { "uring", "pool" };
    *p = (lever_flash_profile){ 0 };
    if (json_array_size(points) > LEVER_FLASH_POINTS) return false;
    for (size_t i = 0; i < json_array_size(points); i++) {
        const json_t *j = json_array_get(points, i);
        const char *name = json_string_value(json_object_get(j, "backend"));
        lever_flash_point *q = &p->points[p->n_points];
        *q = (lever_flash_point){ .huge_pages = json_is_true(json_object_get(j, "huge_pages")),
                                  .bytes_per_s = number(j, "bytes_per_s"),
                                  .cpu_share = number(j, "cpu_share") };
        for (size_t b = 0; name && b < sizeof backends / sizeof *backends; b++)
            if (!strcmp(name, backends[b])) q->backend = backends[b];
        if (!q->backend || !get_u32(json_object_get(j, "block_bytes"), &q->block_bytes) ||
            !get_u32(json_object_get(j, "depth"), &q->depth))
            return false;
        p->n_points++;
    }
    return true;
}

/* ---- models ---- */

static json_t *model_to_json(const lever_machine_model *m)
{
    char key[24];
    snprintf(key, sizeof key, "%016" PRIx64, m->key);
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:I}", "name", text(m->name), "key",
                     key, "kind", text(m->kind), "device", text(m->device), "rows",
                     rows_to_json(m->rows, m->n_runs), "sweep_s", numbers(m->sweep_s, m->n_runs), "factor",
                     numbers(m->factor, m->n_runs), "project_s", m->project_s, "project_factor",
                     m->project_factor, "stream_factor", m->stream_factor, "first_s", m->first_s, "way",
                     (json_int_t)m->way);
}

static bool model_from_json(lever_machine_model *m, const json_t *j)
{
    char key[24];
    if (!get_text(j, "name", m->name, sizeof m->name) || !get_text(j, "key", key, sizeof key)) return false;
    m->key = strtoull(key, NULL, 16);
    if (json_object_get(j, "kind") && (!get_text(j, "kind", m->kind, sizeof m->kind) ||
                                       !get_text(j, "device", m->device, sizeof m->device)))
        return false;
    m->n_runs = (uint32_t)json_array_size(json_object_get(j, "rows"));
    m->project_s = number(j, "project_s");
    m->project_factor = number(j, "project_factor");
    m->stream_factor = number(j, "stream_factor");
    m->first_s = number(j, "first_s");
    const json_t *way = json_object_get(j, "way"); /* older versions had none */
    if (way && !get_u32(way, &m->way)) return false;
    return get_rows(j, "rows", m->rows, LEVER_MACHINE_RUNS) &&
           get_numbers(j, "sweep_s", m->sweep_s, LEVER_MACHINE_RUNS) &&
           get_numbers(j, "factor", m->factor, LEVER_MACHINE_RUNS);
}

/* ---- the machine ---- */

json_t *machine_to_json(const lever_machine *m)
{
    json_t *devices = json_array(), *flashes = json_array(), *models = json_array();
    for (uint32_t i = 0; i < m->n_devices; i++)
        json_array_append_new(devices, device_to_json(&m->devices[i]));
    for (uint32_t i = 0; i < m->n_flashes; i++)
        if (m->flashes[i].beside.rows[0]) json_array_append_new(flashes, beside_to_json(&m->flashes[i]));
    for (uint32_t i = 0; i < m->n_models; i++) json_array_append_new(models, model_to_json(&m->models[i]));
    return json_pack("{s:o, s:o, s:f, s:f, s:o, s:o, s:o, s:o}", "id", id_to_json(&m->id), "measured",
                     text(m->measured), "quiet", m->quiet, "read_bytes_s", m->read_bytes_s, "rest",
                     rest_to_json(&m->rest), "devices", devices, "beside", flashes, "models", models);
}

bool machine_from_json(lever_machine *m, const json_t *j)
{
    const json_t *devices = json_object_get(j, "devices"), *flashes = json_object_get(j, "beside"),
                 *models = json_object_get(j, "models");
    memset(m, 0, sizeof *m);
    if (json_array_size(devices) > LEVER_MACHINE_DEVICES ||
        json_array_size(flashes) > LEVER_MACHINE_FLASHES || json_array_size(models) > LEVER_MACHINE_MODELS)
        return false;
    m->n_devices = (uint32_t)json_array_size(devices);
    m->n_flashes = (uint32_t)json_array_size(flashes);
    m->n_models = (uint32_t)json_array_size(models);
    m->read_bytes_s = number(j, "read_bytes_s");
    m->quiet = number(j, "quiet");
    bool good = machine_id_from_json(&m->id, j) && get_text(j, "measured", m->measured, sizeof m->measured) &&
                rest_from_json(&m->rest, json_object_get(j, "rest"));
    for (uint32_t i = 0; good && i < m->n_devices; i++)
        good = device_from_json(&m->devices[i], json_array_get(devices, i));
    for (uint32_t i = 0; good && i < m->n_flashes; i++)
        good = beside_from_json(&m->flashes[i], json_array_get(flashes, i));
    for (uint32_t i = 0; good && i < m->n_models; i++)
        good = model_from_json(&m->models[i], json_array_get(models, i));
    return good && lever_machine_is_valid(m);
}
