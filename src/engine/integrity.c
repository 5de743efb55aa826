/* Checksums of model files: the public face of flash/sums_file. SPDX-License-Identifier: MIT */
#include <string.h>

#include "flash/sums_file.h"
#include "lever/file.h"

static lever_sums_report exported(const lv_sums_report *r)
{
    return (lever_sums_report){ .model_bytes = r->model_bytes,
                                .sums_bytes = r->sums_bytes,
                                .n_pages = r->n_pages,
                                .n_bad_pages = r->n_bad_pages,
                                .n_tensors = r->n_tensors,
                                .n_bad_tensors = r->n_bad_tensors,
                                .bad_header = r->bad_header };
}

int lever_sums_make(const char *path, lever_sums_report *report,
                    void (*progress)(void *user, uint64_t done, uint64_t total), void *user, lever_error *err)
{
    lv_sums_report r;
    LEVER_TRY(lv_sums_make(path, &r, &(lv_sums_progress){ progress, user }, err));
    if (report) *report = exported(&r);
    return LEVER_OK;
}

typedef struct listener {
    void (*fn)(void *user, const lever_damage *damage);
    void *user;
} listener;

/* Names come from a file: only printable ASCII goes on. */
static void on_damage(void *user, lv_str what, uint64_t off, uint64_t bytes)
{
    const listener *l = user;
    lever_damage d = { .offset = off, .bytes = bytes };
    for (size_t i = 0; i < what.len && i < sizeof d.what - 1; i++)
        d.what[i] = what.s[i] < ' ' || what.s[i] > '~' ? '?' : what.s[i];
    if (l->fn) l->fn(l->user, &d);
}

int lever_sums_verify(const char *path, lever_sums_report *report,
                      void (*damage)(void *user, const lever_damage *damage),
                      void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                      lever_error *err)
{
    lv_sums_report r;
    listener l = { damage, user };
    LEVER_TRY(lv_sums_compare(path, &r, on_damage, &l, &(lv_sums_progress){ progress, user }, err));
    if (report) *report = exported(&r);
    return LEVER_OK;
}
