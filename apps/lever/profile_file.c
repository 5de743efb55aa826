/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "profile_file.h"

#include "cache_dir.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

enum { VERSION = 1, PATH_CAP = CACHE_PATH_CAP };

bool profile_path(char *buf, size_t cap) { return cache_path(buf, cap, "profile.json"); }

/* "259:1", or false. */
static bool device_of(const char *path, char *buf, size_t cap)
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
    const bool ours = json_integer_value(json_object_get(root, "version")) == VERSION &&
                      json_is_object(json_object_get(root, "flash"));
    if (ours) return root;
    *damaged = true;
    json_decref(root);
    return NULL;
}

json_t *profile_points(const lever_flash_profile *p)
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

static json_t *entry(const lever_flash_profile *p)
{
    char now[32];
    const time_t t = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
    const lever_flash_point *best = &p->points[p->best];
    return json_pack("{s:s, s:s, s:i, s:i, s:f, s:o}", "measured", now, "backend", best->backend,
                     "block_bytes", (int)best->block_bytes, "depth", (int)best->depth, "bytes_per_s",
                     best->bytes_per_s, "points", profile_points(p));
}

static int fail(const char *path, const char *why, lever_error *err)
{
    snprintf(err->msg, sizeof err->msg, "profile '%.300s' can not be written: %s", path, why);
    return err->code = LEVER_EIO;
}

/* Under another name first, so that a reader never sees half of it. */
static int write_whole(json_t *root, const char *path, lever_error *err)
{
    char part[PATH_CAP + 8];
    snprintf(part, sizeof part, "%s.part", path);
    if (json_dump_file(root, part, JSON_INDENT(1)) || rename(part, path)) {
        const int e = errno;
        remove(part);
        return fail(path, strerror(e ? e : EIO), err);
    }
    return LEVER_OK;
}

int profile_store(const char *on, const lever_flash_profile *p, lever_error *err)
{
    char path[PATH_CAP], device[32];
    bool damaged;
    if (!profile_path(path, sizeof path))
        return fail("profile.json", "neither XDG_CACHE_HOME nor HOME is set", err);
    if (!device_of(on, device, sizeof device)) return fail(path, strerror(errno), err);
    if (cache_make()) return fail(path, strerror(errno), err);
    json_t *root = load(path, &damaged);
    if (!root) root = json_pack("{s:i, s:{}}", "version", VERSION, "flash");
    json_object_set_new(json_object_get(root, "flash"), device, entry(p));
    const int rc = write_whole(root, path, err);
    json_decref(root);
    return rc;
}

void profile_apply(const char *model, lever_config *c)
{
    char path[PATH_CAP], device[32];
    bool damaged;
    if (!model || !profile_path(path, sizeof path) || !device_of(model, device, sizeof device)) return;
    json_t *root = load(path, &damaged);
    if (damaged) fprintf(stderr, "lever: '%s' is damaged and not used; run lever profile again\n", path);
    if (!root) return;
    json_t *e = json_object_get(json_object_get(root, "flash"), device);
    const char *backend = json_string_value(json_object_get(e, "backend"));
    const json_int_t block = json_integer_value(json_object_get(e, "block_bytes"));
    const json_int_t depth = json_integer_value(json_object_get(e, "depth"));
    if (block >= 64 << 10 && block <= 64 << 20 && depth >= 1 && depth <= 256) {
        /* Size and depth that suit the device here say nothing about a modelled one, and would make its results
         * depend on the machine. Under a mere limit, and for how reads are issued, this device still counts. */
        const bool modelled = c->flash_model != NULL;
        if (!modelled && !c->flash_block_bytes) c->flash_block_bytes = (uint32_t)block;
        if (!modelled && !c->flash_depth) c->flash_depth = (uint32_t)depth;
        if (!c->io_backend && backend && !strcmp(backend, "pool"))
            c->io_backend = "pool"; /* auto prefers uring */
    }
    json_decref(root);
}
