/* Loading a plug-in, opening its device, and its memory. SPDX-License-Identifier: MIT */
#include "device/plugin/plugin.h"

#include <errno.h>
#include <fenv.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "device/check.h"
#include "device/plugin/plugin_impl.h"
#include "os/child.h"
#include "os/library.h"
#include "quant/quant.h"

/* What version 1.0 of the interface has; later fields only follow these. */
enum {
    TABLE_BYTES = offsetof(lever_plugin, wait) + sizeof(((lever_plugin *)NULL)->wait),
    DESCRIPTION_BYTES =
        offsetof(lever_plugin_description, row_counts) + LEVER_PLUGIN_ROW_COUNTS * sizeof(uint32_t),
    ROWS_MOST = 1 << 16, /* of one fixed shape */
};

#define KNOWN(id) LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_##id)
static const uint64_t float_types = KNOWN(F32) | KNOWN(F16) | KNOWN(BF16);
static const uint64_t block_types = KNOWN(Q4_0) | KNOWN(Q4_1) | KNOWN(Q5_0) | KNOWN(Q5_1) | KNOWN(Q8_0) |
                                    KNOWN(Q4_K) | KNOWN(Q5_K) | KNOWN(Q6_K);

#define SAME(id) ((int)LEVER_PLUGIN_##id == (int)LV_TYPE_##id)
_Static_assert(SAME(F32) && SAME(F16) && SAME(BF16) && SAME(Q4_0) && SAME(Q4_1) && SAME(Q5_0) && SAME(Q5_1) &&
                   SAME(Q8_0) && SAME(Q4_K) && SAME(Q5_K) && SAME(Q6_K),
               "both are GGUF's numbers");
_Static_assert((int)LV_DEVICE_ROW_COUNTS == (int)LEVER_PLUGIN_ROW_COUNTS, "traits hold every fixed shape");

/* ---- texts ---- */

/* What a plug-in wrote, made fit for one line. */
static void one_line(char *text, size_t cap)
{
    text[cap - 1] = '\0';
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = ' ';
}

int lv_plugin_fail(lv_plugin_device *d, int result, const char *what, char *why, lever_error *err)
{
    one_line(why, LEVER_PLUGIN_WHY_BYTES);
    const int code = result == LEVER_PLUGIN_REFUSED     ? LEVER_EUNSUP
                     : result == LEVER_PLUGIN_NO_MEMORY ? LEVER_ENOMEM
                                                        : LEVER_EIO;
    return lv_fail(err, code, 0, "%s: %s: %s", d->base.traits.name, what,
                   why[0]                 ? why
                   : code == LEVER_EUNSUP ? "refused, it does not say why"
                   : code == LEVER_ENOMEM ? "out of memory"
                                          : "failed, it does not say why");
}

/* ---- pieces of memory ---- */

/* A piece that the host has now lies at `host`. */
static int place(lv_plugin_device *d, lv_plugin_memory *m, void *host, lever_error *err)
{
    if (!host || (uintptr_t)host % LEVER_PLUGIN_PAGE)
        return lv_fail(err, LEVER_EIO, 0, "%s: its memory is not at a multiple of %d", d->base.traits.name,
                       LEVER_PLUGIN_PAGE);
    m->base.host = host;
    return LEVER_OK;
}

static void memory_close(lv_device *base, lv_device_memory *memory)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    lv_plugin_memory *m = (lv_plugin_memory *)memory;
    d->table->memory_close(d->device, m->memory);
    lv_free(m);
}

static int memory_open(lv_device *base, lv_device_memory **out, size_t bytes, lever_error *err)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    lv_plugin_memory *m = lv_alloc(sizeof *m, 16);
    if (!m) return lv_fail(err, LEVER_ENOMEM, 0, "%s: a piece of memory", base->traits.name);
    char why[LEVER_PLUGIN_WHY_BYTES] = "";
    void *host = NULL;
    const int result = d->table->memory_open(d->device, &m->memory, bytes, &host, why);
    if (result != LEVER_PLUGIN_OK) {
        lv_free(m);
        return lv_plugin_fail(d, result, "a piece of memory", why, err);
    }
    m->base.bytes = bytes;
    const int rc = place(d, m, host, err);
    if (rc < 0)
        memory_close(base, &m->base);
    else
        *out = &m->base;
    return rc;
}

/* Failures to pass memory are failures of the device. */
static int lose(lv_plugin_device *d, int result, const char *what, char *why, lever_error *err)
{
    d->lost = true;
    const int rc = lv_plugin_fail(d, result, what, why, err);
    return rc == LEVER_ENOMEM ? rc : LEVER_EIO;
}

static int memory_take(lv_device *base, lv_device_memory *memory, lever_error *err)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    lv_plugin_memory *m = (lv_plugin_memory *)memory;
    char why[LEVER_PLUGIN_WHY_BYTES] = "";
    void *host = NULL;
    const int result = d->table->memory_take(d->device, m->memory, &host, why);
    if (result != LEVER_PLUGIN_OK) return lose(d, result, "memory back from it", why, err);
    return place(d, m, host, err);
}

static int memory_give(lv_device *base, lv_device_memory *memory, lever_error *err)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    char why[LEVER_PLUGIN_WHY_BYTES] = "";
    const int result = d->table->memory_give(d->device, ((lv_plugin_memory *)memory)->memory, why);
    return result == LEVER_PLUGIN_OK ? LEVER_OK : lose(d, result, "memory to it", why, err);
}

static int memory_look(lv_device *base, lv_device_memory *memory, lever_error *err)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    if (!d->table->memory_look)
        return lv_fail(err, LEVER_EUNSUP, 0, "%s: the host can not read what the device has",
                       base->traits.name);
    char why[LEVER_PLUGIN_WHY_BYTES] = "";
    const void *host = NULL;
    const int result = d->table->memory_look(d->device, ((lv_plugin_memory *)memory)->memory, &host, why);
    if (result == LEVER_PLUGIN_REFUSED) return lv_plugin_fail(d, result, "a look at its memory", why, err);
    if (result != LEVER_PLUGIN_OK || !host) return lose(d, result, "a look at its memory", why, err);
    memory->host = (uint8_t *)(uintptr_t)host; /* nobody writes there until it is taken back */
    return LEVER_OK;
}

/* ---- opening ---- */

static void close(lv_device *base)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    if (d->device) d->table->close(d->device);
    lv_plugin_slots_close(d);
    lv_free(d);
}

static int check_table(const lever_plugin *t, const char *path, lever_error *err)
{
    if (!t)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s' does not work with version %u.%u of the interface",
                       path, LEVER_PLUGIN_MAJOR, LEVER_PLUGIN_MINOR);
    if (t->magic != LEVER_PLUGIN_MAGIC)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': its table has the mark %08x, not %08x", path,
                       (unsigned)t->magic, LEVER_PLUGIN_MAGIC);
    if (t->version >> 16 != LEVER_PLUGIN_MAJOR)
        return lv_fail(
            err, LEVER_EUNSUP, 0,
            "plug-in '%s' is for version %u.%u of the interface, this is %u.%u: it must be built anew", path,
            (unsigned)(t->version >> 16), (unsigned)(t->version & 0xffff), LEVER_PLUGIN_MAJOR,
            LEVER_PLUGIN_MINOR);
    if (t->bytes < TABLE_BYTES)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': its table has %u bytes, version 1.0 has %d", path,
                       (unsigned)t->bytes, TABLE_BYTES);
    if (!t->describe || !t->open || !t->close || !t->memory_open || !t->memory_close || !t->memory_give ||
        !t->memory_take || !t->submit || !t->wait)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': its table lacks a function", path);
    return LEVER_OK;
}

static int load(lv_plugin_device *d, const char *path, lever_error *err)
{
    char why[256];
    FILE *file = fopen(path, "rb");
    if (!file) return lv_fail(err, LEVER_EIO, errno, "plug-in '%s'", path);
    fclose(file);
    void *library = lv_library_open(path, why, sizeof why);
    if (!library) return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s' can not be loaded: %s", path, why);
    const lever_plugin *(*entry)(uint32_t);
    lv_library_symbol(library, "lever_device_plugin", &entry);
    if (!entry)
        return lv_fail(err, LEVER_EUNSUP, 0,
                       "'%s' is no plug-in of Lever: it has no function lever_device_plugin", path);
    d->table = entry(LEVER_PLUGIN_VERSION);
    return check_table(d->table, path, err);
}

static int check_description(const lever_plugin_description *p, const char *path, lever_error *err)
{
    if (p->bytes < DESCRIPTION_BYTES)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': its description has %u bytes, version 1.0 has %d",
                       path, (unsigned)p->bytes, DESCRIPTION_BYTES);
    if (!p->name[0] || !p->piece_bytes)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': its description has no name or no memory", path);
    if (p->n_row_counts > LEVER_PLUGIN_ROW_COUNTS)
        return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': %u numbers of rows, at most %d are possible",
                       path, (unsigned)p->n_row_counts, LEVER_PLUGIN_ROW_COUNTS);
    for (uint32_t i = 0; i < p->n_row_counts; i++)
        if (p->row_counts[i] <= (i ? p->row_counts[i - 1] : 0) || p->row_counts[i] > ROWS_MOST)
            return lv_fail(err, LEVER_EUNSUP, 0,
                           "plug-in '%s': its numbers of rows are not 1 to %d in ascending order", path,
                           ROWS_MOST);
    return LEVER_OK;
}

static int describe(lv_plugin_device *d, const lv_plugin_config *c, lever_error *err)
{
    char why[LEVER_PLUGIN_WHY_BYTES] = "";
    const lever_plugin_description *p = d->table->describe(why);
    one_line(why, sizeof why);
    if (!p) return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s' has no device: %s", c->path, why);
    LEVER_TRY(check_description(p, c->path, err));
    lv_device_traits *t = &d->base.traits;
    *t = (lv_device_traits){ .kind = "plugin",
                             .piece_bytes = p->piece_bytes > SIZE_MAX ? SIZE_MAX : (size_t)p->piece_bytes,
                             .unified = p->flags & LEVER_PLUGIN_UNIFIED,
                             .overlaps = p->flags & LEVER_PLUGIN_OVERLAPS,
                             .approximate = !(p->flags & LEVER_PLUGIN_EXACT) };
    memcpy(t->name, p->name, sizeof t->name);
    one_line(t->name, sizeof t->name);
    memcpy(t->row_counts, p->row_counts, p->n_row_counts * sizeof *t->row_counts);
    d->flushes = p->flags & LEVER_PLUGIN_FLUSHES && !t->approximate;
    d->floats = p->flags & LEVER_PLUGIN_WANTS_FLOATS;
    t->types = p->types & (d->flushes ? block_types : block_types | float_types);
    if (!t->types)
        return lv_fail(err, LEVER_EUNSUP, 0, "%s: it has no type of weights that Lever knows", t->name);
    if (t->approximate && !c->sizes.approximate_will_do)
        return lv_fail(err, LEVER_EUNSUP, 0,
                       "%s: its results are not exact, so it can only serve a draft model", t->name);
    return LEVER_OK;
}

/* Rows of a part: all, or the largest fixed shape that is of use. */
static void split(lv_plugin_device *d)
{
    const size_t max_rows = d->base.config.max_rows;
    const uint32_t *counts = d->base.traits.row_counts;
    d->part_rows = max_rows;
    for (int i = 0; i < LV_DEVICE_ROW_COUNTS && counts[i]; i++) {
        d->part_rows = counts[i];
        if (counts[i] >= max_rows) break;
    }
    d->most_parts = (unsigned)((max_rows + d->part_rows - 1) / d->part_rows);
}

static int open_parts(lv_plugin_device *d, const lv_plugin_config *c, lever_error *err)
{
    LEVER_TRY(load(d, c->path, err));
    LEVER_TRY(describe(d, c, err));
    split(d);
    LEVER_TRY(lv_plugin_slots_open(d, err));
    const lever_plugin_sizes sizes = { .bytes = sizeof sizes,
                                       .n_jobs = c->sizes.n_jobs * d->most_parts,
                                       .max_rows = d->part_rows,
                                       .max_k = c->sizes.max_k,
                                       .max_out = c->sizes.max_out };
    char why[LEVER_PLUGIN_WHY_BYTES] = "";
    const int result = d->table->open(&d->device, &sizes, why);
    if (result == LEVER_PLUGIN_OK) return lv_device_check(&d->base, err);
    d->device = NULL;
    return lv_plugin_fail(d, result, "it can not be opened", why, err);
}

/* A library that was compiled for speed may change how its loader's thread rounds: that is put back. */
static int open_here(lv_device **out, const lv_plugin_config *c, lever_error *err)
{
    static const lv_device_table table = {
        .memory_open = memory_open,
        .memory_close = memory_close,
        .memory_take = memory_take,
        .memory_give = memory_give,
        .memory_look = memory_look,
        .submit = lv_plugin_submit,
        .wait = lv_plugin_wait,
        .close = close,
    };
    lv_plugin_device *d = lv_alloc(sizeof *d, 64);
    if (!d) return lv_fail(err, LEVER_ENOMEM, 0, "plug-in '%s': the device's description", c->path);
    d->base.table = &table;
    d->base.config = c->sizes;
    *out = &d->base;
    fenv_t modes;
    fegetenv(&modes);
    const int rc = open_parts(d, c, err);
    fesetenv(&modes);
    if (rc < 0) lv_device_close(out);
    return rc;
}

typedef struct trial {
    int rc;
    lever_error err;
} trial;

static void open_in_child(void *arg, void *result)
{
    trial *r = result;
    lv_device *d = NULL;
    r->rc = open_here(&d, arg, &r->err);
    lv_device_close(&d);
}

int lv_plugin_open(lv_device **out, const lv_plugin_config *c, lever_error *err)
{
    *out = NULL;
    LEVER_TRY(lv_device_config_check(&c->sizes, err));
    if (!c->path || !strchr(c->path, '/'))
        return lv_fail(err, LEVER_EINVAL, 0,
                       "plug-in '%s': name it by its path, as ./%s: nothing is searched for",
                       c->path ? c->path : "", c->path ? c->path : "device.so");
    const size_t most = (size_t)1 << 28; /* products of two of them fit 64 bits, with room */
    if (c->sizes.max_rows > most || c->sizes.max_k > most || c->sizes.max_out > most)
        return lv_fail(err, LEVER_EINVAL, 0, "plug-in '%s': sizes above %zu", c->path, most);
    if (c->limit_ms) {
        char what[256];
        snprintf(what, sizeof what, "plug-in '%s'", c->path);
        trial r;
        lv_plugin_config config = *c;
        LEVER_TRY(lv_child_run(open_in_child, &config, &r, sizeof r, c->limit_ms, what, err));
        if (r.rc < 0) {
            if (err) *err = r.err;
            return r.rc;
        }
    }
    return open_here(out, c, err);
}
