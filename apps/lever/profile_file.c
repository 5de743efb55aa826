/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "profile_file.h"

#include "cache_dir.h"
#include "profile_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* 1 had no machines; what it says of flash is still true. */
enum { VERSION = 2, OLDEST = 1, PATH_CAP = CACHE_PATH_CAP, MACHINES_MOST = 16 };

bool profile_path(char *buf, size_t cap) { return cache_path(buf, cap, "profile.json"); }

bool profile_where(const char *path, char *buf, size_t cap)
{
    struct stat st;
    if (stat(path, &st)) return false;
    snprintf(buf, cap, "%u:%u", major(st.st_dev), minor(st.st_dev));
    return true;
}

/* The whole file; NULL when there is none, or, with *damaged, when it is not ours. */
static json_t *load(const char *path, bool *damaged)
{
    json_error_t e;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    *damaged = !root && json_error_code(&e) != json_error_cannot_open_file;
    if (!root) return NULL;
    const json_int_t version = json_integer_value(json_object_get(root, "version"));
    const json_t *machines = json_object_get(root, "machines");
    if (version >= OLDEST && version <= VERSION && json_is_object(json_object_get(root, "flash")) &&
        (!machines || json_is_array(machines)))
        return root;
    *damaged = true;
    json_decref(root);
    return NULL;
}

/* ---- reading ---- */

static lever_machine_flash *flash_entry(lever_machine *m, const char *where)
{
    for (uint32_t i = 0; i < m->n_flashes; i++)
        if (!strcmp(m->flashes[i].where, where)) return &m->flashes[i];
    if (m->n_flashes == LEVER_MACHINE_FLASHES) return NULL;
    lever_machine_flash *f = &m->flashes[m->n_flashes++];
    *f = (lever_machine_flash){ 0 };
    snprintf(f->where, sizeof f->where, "%s", where);
    return f;
}

/* Every device's reads into m->flashes, as far as there is room. Entries that make no sense are left out. */
static void add_flashes(lever_machine *m, const json_t *flash)
{
    const char *where;
    json_t *e;
    json_object_foreach((json_t *)(uintptr_t)flash, where, e)
    {
        lever_flash_profile reads;
        const json_int_t block = json_integer_value(json_object_get(e, "block_bytes")),
                         depth = json_integer_value(json_object_get(e, "depth"));
        const char *measured = json_string_value(json_object_get(e, "measured"));
        if (!flash_points_from_json(&reads, json_object_get(e, "points")) ||
            strlen(where) >= PROFILE_WHERE_CAP)
            continue;
        lever_machine_flash *f = flash_entry(m, where);
        if (!f) return;
        f->reads = reads;
        f->reads.direct = true; /* others are not kept */
        snprintf(f->measured, sizeof f->measured, "%s", measured ? measured : "");
        for (uint32_t i = 0; i < reads.n_points; i++) /* if the choice is not among them: the fastest */
            if (reads.points[i].bytes_per_s > reads.points[f->reads.best].bytes_per_s) f->reads.best = i;
        for (uint32_t i = 0; i < reads.n_points; i++)
            if (reads.points[i].block_bytes == block && reads.points[i].depth == depth &&
                reads.points[i].huge_pages)
                f->reads.best = i;
        if (!lever_machine_is_valid(m)) f->reads = (lever_flash_profile){ 0 };
    }
}

/* The machine of this id; else one of the same processor, with why it is not it. */
static enum profile_found find(lever_machine *m, const json_t *machines, const lever_machine_id *id,
                               char *why, size_t cap)
{
    enum profile_found found = PROFILE_NONE;
    for (size_t i = json_array_size(machines); i-- > 0;) { /* the newest is the last */
        const json_t *j = json_array_get(machines, i);
        lever_machine_id other;
        if (!machine_id_from_json(&other, j)) continue;
        const bool same = lever_machine_same(&other, id);
        if (!same && found != PROFILE_NONE) continue;
        if (!machine_from_json(m, j)) {
            found = PROFILE_NONE; /* what was found before is overwritten */
            continue;
        }
        found = same ? PROFILE_GOOD : PROFILE_STALE;
        lever_machine_differs(&other, id, why, cap);
        if (same) return found;
    }
    if (found == PROFILE_NONE) memset(m, 0, sizeof *m);
    return found;
}

enum profile_found profile_load(lever_machine *m, const lever_machine_id *id, char *why, size_t cap)
{
    char path[PATH_CAP];
    bool damaged = false;
    memset(m, 0, sizeof *m);
    *why = '\0';
    json_t *root = profile_path(path, sizeof path) ? load(path, &damaged) : NULL;
    if (!root) return damaged ? PROFILE_DAMAGED : PROFILE_NONE;
    const enum profile_found found = find(m, json_object_get(root, "machines"), id, why, cap);
    add_flashes(m, json_object_get(root, "flash"));
    json_decref(root);
    return found;
}

/* ---- writing ---- */

static int fail(const char *path, const char *why, lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "profile '%.300s' can not be written: %s", path, why);
    return err->code = LEVER_EIO;
}

/* Under another name first, so that a reader never sees half of it. */
static int write_whole(json_t *root, const char *path, lever_error *err)
{
    char part[PATH_CAP + 32];
    snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
    if (json_dump_file(root, part, JSON_INDENT(1)) || rename(part, path)) {
        const int e = errno;
        remove(part);
        return fail(path, strerror(e ? e : EIO), err);
    }
    return LEVER_OK;
}

static json_t *flash_to_json(const lever_machine_flash *f)
{
    const lever_flash_profile *p = &f->reads;
    const lever_flash_point *best = &p->points[p->best];
    return json_pack("{s:s, s:s, s:i, s:i, s:f, s:o}", "measured", f->measured, "backend", best->backend,
                     "block_bytes", (int)best->block_bytes, "depth", (int)best->depth, "bytes_per_s",
                     best->bytes_per_s, "points", flash_points_to_json(p));
}

/* The machine of m->id goes to the end; of too many the oldest go. */
static void put_machine(json_t *machines, const lever_machine *m)
{
    for (size_t i = json_array_size(machines); i-- > 0;) {
        lever_machine_id other;
        if (!machine_id_from_json(&other, json_array_get(machines, i)) || lever_machine_same(&other, &m->id))
            json_array_remove(machines, i);
    }
    while (json_array_size(machines) >= MACHINES_MOST) json_array_remove(machines, 0);
    json_array_append_new(machines, machine_to_json(m));
}

int profile_store(const lever_machine *m, lever_error *err)
{
    char path[PATH_CAP];
    bool damaged;
    if (!profile_path(path, sizeof path))
        return fail("profile.json", "neither XDG_CACHE_HOME nor HOME is set", err);
    if (cache_make()) return fail(path, strerror(errno), err);
    json_t *root = load(path, &damaged);
    if (!root) root = json_pack("{s:i, s:{}}", "version", VERSION, "flash");
    json_object_set_new(root, "version", json_integer(VERSION));
    for (uint32_t i = 0; i < m->n_flashes; i++)
        if (m->flashes[i].reads.n_points && m->flashes[i].reads.direct)
            json_object_set_new(json_object_get(root, "flash"), m->flashes[i].where,
                                flash_to_json(&m->flashes[i]));
    if (!json_object_get(root, "machines")) json_object_set_new(root, "machines", json_array());
    put_machine(json_object_get(root, "machines"), m);
    const int rc = write_whole(root, path, err);
    json_decref(root);
    return rc;
}

/* ---- using ---- */

static void apply_flash(const json_t *e, lever_config *c)
{
    const char *backend = json_string_value(json_object_get(e, "backend"));
    const json_int_t block = json_integer_value(json_object_get(e, "block_bytes"));
    const json_int_t depth = json_integer_value(json_object_get(e, "depth"));
    if (block < 64 << 10 || block > 64 << 20 || depth < 1 || depth > 256) return;
    /* Size and depth that suit the device here say nothing about a modelled one, and would make its results
     * depend on the machine. Under a mere limit, and for how reads are issued, this device still counts. */
    const bool modelled = c->flash_model != NULL;
    if (!modelled && !c->flash_block_bytes) c->flash_block_bytes = (uint32_t)block;
    if (!modelled && !c->flash_depth) c->flash_depth = (uint32_t)depth;
    if (!c->io_backend && backend && !strcmp(backend, "pool"))
        c->io_backend = "pool"; /* auto prefers uring */
}

static void apply_machine(const json_t *root, lever_config *c)
{
    static lever_machine machine;
    lever_machine_id id;
    char why[256];
    if (lever_machine_identify(&id, c->n_threads, c->cpus, c->isa, NULL) < 0)
        return; /* the engine will say why */
    const enum profile_found found = find(&machine, json_object_get(root, "machines"), &id, why, sizeof why);
    add_flashes(&machine, json_object_get(root, "flash"));
    if (found == PROFILE_GOOD) c->machine = &machine;
    if (found == PROFILE_STALE)
        fprintf(stderr, "lever: what was measured of this machine is not used: %s. Run lever profile again\n",
                why);
}

void profile_apply(const char *model, lever_config *c)
{
    char path[PATH_CAP], where[PROFILE_WHERE_CAP];
    bool damaged;
    if (!model || !profile_path(path, sizeof path)) return;
    json_t *root = load(path, &damaged);
    if (damaged) fprintf(stderr, "lever: '%s' is damaged and not used; run lever profile again\n", path);
    if (!root) return;
    if (profile_where(model, where, sizeof where))
        apply_flash(json_object_get(json_object_get(root, "flash"), where), c);
    apply_machine(root, c);
    json_decref(root);
}
