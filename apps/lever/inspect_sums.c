/* SPDX-License-Identifier: MIT */
#include "inspect_sums.h"

#include <jansson.h>
#include <stdio.h>

#include "app.h"
#include "lever/file.h"
#include "options.h"

enum { LINES_MOST = 200 }; /* of damage, for people; --json has all */

typedef struct work {
    progress    bar;
    const char *what;
    json_t     *list;    /* --json, else NULL */
    uint64_t    n_damages;
} work;

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    work *w = user;
    progress_show(&w->bar, w->what, done, total);
}

static void on_damage(void *user, const lever_damage *d)
{
    work *w = user;
    progress_clear(&w->bar);
    if (w->list)
        json_array_append_new(w->list, json_pack("{s:s, s:I, s:I}", "in", d->what, "offset",
                                                 (json_int_t)d->offset, "bytes", (json_int_t)d->bytes));
    else if (w->n_damages++ < LINES_MOST)
        printf("damaged: %-32s %12llu bytes at %llu\n", d->what, (unsigned long long)d->bytes,
               (unsigned long long)d->offset);
}

/* Takes over root. */
static bool print_json(json_t *root)
{
    const bool ok = json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return ok;
}

static json_t *report_json(const lever_sums_report *r)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "model_bytes", (json_int_t)r->model_bytes, "sums_bytes",
                     (json_int_t)r->sums_bytes, "tensors", (json_int_t)r->n_tensors, "pages",
                     (json_int_t)r->n_pages);
}

int inspect_checksum(const char *model, bool json)
{
    work w = { .what = "reading the model" };
    lever_sums_report r;
    lever_error err = { 0 };
    const int rc = lever_sums_make(model, &r, on_progress, &w, &err);
    progress_clear(&w.bar);
    if (rc < 0) return app_fail(rc, &err);
    char size[32];
    bool ok = true;
    if (json) ok = print_json(report_json(&r));
    else
        ok = printf("%s.sums: %s, checksums of %u tensors and %llu pages\n", model,
                    format_bytes(size, sizeof size, (double)r.sums_bytes), r.n_tensors,
                    (unsigned long long)r.n_pages) > 0;
    return ok && fflush(stdout) == 0 ? EXIT_OK : EXIT_IO;
}

static void print_verdict(const work *w, const char *model, const lever_sums_report *r)
{
    char size[32];
    if (w->n_damages > LINES_MOST)
        printf("... and %llu more places; --json lists all\n",
               (unsigned long long)(w->n_damages - LINES_MOST));
    if (r->n_bad_pages || r->n_bad_tensors || r->bad_header)
        printf("%s is damaged: %u of %u tensors%s, %llu of %llu pages of 4 KiB; copy or download it again\n",
               model, r->n_bad_tensors, r->n_tensors, r->bad_header ? " and the header" : "",
               (unsigned long long)r->n_bad_pages, (unsigned long long)r->n_pages);
    else
        printf("%s is undamaged: %u tensors, %s\n", model, r->n_tensors,
               format_bytes(size, sizeof size, (double)r->model_bytes));
}

int inspect_verify(const char *model, bool json)
{
    work w = { .what = "reading the model", .list = json ? json_array() : NULL };
    lever_sums_report r;
    lever_error err = { 0 };
    const int rc = lever_sums_verify(model, &r, on_damage, on_progress, &w, &err);
    progress_clear(&w.bar);
    if (rc < 0) {
        json_decref(w.list);
        return app_fail(rc, &err);
    }
    const bool damaged = r.n_bad_pages || r.n_bad_tensors || r.bad_header;
    bool ok = true;
    if (json) {
        json_t *root = report_json(&r);
        json_object_set_new(root, "damaged", json_boolean(damaged));
        json_object_set_new(root, "bad_tensors", json_integer((json_int_t)r.n_bad_tensors));
        json_object_set_new(root, "bad_pages", json_integer((json_int_t)r.n_bad_pages));
        json_object_set_new(root, "bad_header", json_boolean(r.bad_header));
        json_object_set_new(root, "damage", w.list);
        ok = print_json(root);
    } else {
        print_verdict(&w, model, &r);
    }
    if (!ok || fflush(stdout) != 0) return EXIT_IO;
    return damaged ? EXIT_CHECK : EXIT_OK;
}
