/* SPDX-License-Identifier: MIT */
#include "profile_show.h"

#include <stdio.h>
#include <string.h>

#include "options.h"
#include "profile_json.h"

static bool is_wanted(const lever_machine_flash *f, const char *where)
{
    return f->reads.n_points && (!where || !strcmp(f->where, where));
}

/* ---- flash ---- */

static void print_grid(const lever_flash_profile *p)
{
    printf("%8s", "");
    for (uint32_t d = 1; d <= 16; d *= 2) printf("%8u", d);
    for (uint32_t i = 0, block = 0; i < p->n_points; i++) {
        const lever_flash_point *q = &p->points[i];
        if (!q->huge_pages || q->backend != p->points[0].backend) continue;
        if (q->block_bytes != block) printf("\n%4u KiB", (block = q->block_bytes) >> 10);
        printf("%7.2f%c", q->bytes_per_s * 1e-9, i == p->best ? '*' : ' ');
    }
    puts("\n");
}

static void print_flash(const lever_machine_flash *f)
{
    const lever_flash_profile *p = &f->reads;
    const lever_flash_point *best = &p->points[p->best];
    printf("\nflash %s: reads in GB/s, by their size and the number in flight (%s)\n\n", f->where,
           p->points[0].backend);
    print_grid(p);
    for (uint32_t i = 0; i < p->n_points; i++) {
        const lever_flash_point *q = &p->points[i];
        if (q->huge_pages && q->backend == p->points[0].backend) continue;
        printf("%s, %u KiB, %u in flight%s: %.2f GB/s\n", q->backend, q->block_bytes >> 10, q->depth,
               q->huge_pages ? "" : ", pages of 4 KiB", q->bytes_per_s * 1e-9);
    }
    printf(
        "\nbest: %u reads of %u KiB, %.2f GB/s with %.0f%% of one core: how weights are streamed from it\n",
        best->depth, best->block_bytes >> 10, best->bytes_per_s * 1e-9, best->cpu_share * 100);
    if (!p->direct) puts("no direct reads on this file system: these numbers are of memory, not of flash");
    for (uint32_t i = 0; i < LEVER_MACHINE_BESIDE && f->beside.rows[i]; i++)
        printf("%s%u rows take %.2f times as long, and reads keep %.0f%%",
               i ? "; " : "beside such reads products with ", f->beside.rows[i], f->beside.products[i],
               f->beside.flash[i] * 100);
    if (f->beside.rows[0]) puts("");
}

/* ---- products ---- */

static void print_device(const lever_machine_device *d)
{
    printf("\nproducts on %s %s%s%s: milliseconds for a billion weights, by rows of the batch\n\n%8s",
           d->kind, d->name, d->driver[0] ? ", driver " : "", d->driver, "");
    for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++) printf("%8u", lever_machine_rows[i]);
    puts("");
    for (uint32_t i = 0; i < d->n_products; i++) {
        printf("%8s", d->products[i].type);
        for (uint32_t r = 0; r < LEVER_MACHINE_ROWS; r++) printf("%8.1f", d->products[i].weight_s[r] * 1e12);
        puts("");
    }
    printf("\nhanding over a job takes %.1f us", d->call_s * 1e6);
    if (d->give_s > 0 || d->take_s > 0)
        printf(", a piece of memory %.1f us and %.2f ms for each GB, getting it back %.1f us",
               d->give_s * 1e6, d->give_byte_s * 1e12, d->take_s * 1e6);
    puts(": what small matrices cost however fast products are");
}

static void print_rest(const lever_machine *m)
{
    const lever_machine_rest *r = &m->rest;
    puts("\nbeside products, in nanoseconds per value on one thread: small as long as rows are few\n");
    printf("  norm %.2f, sum %.2f, rotation %.2f, with norms of heads %.2f, SwiGLU %.2f\n", r->norm_s * 1e9,
           r->add_s * 1e9, r->rope_s * 1e9, r->rope_norm_s * 1e9, r->swiglu_s * 1e9);
    printf("  keys and values stored as f16 %.2f, as q8_0 %.2f\n", r->write_s[0] * 1e9, r->write_s[1] * 1e9);
    printf("  for each token of the vocabulary: candidates of a drafted row %.2f, choice %.2f\n",
           r->candidates_s * 1e9, r->pick_s * 1e9);
    puts("\nattention: milliseconds for 1000 positions of one layer with 32 heads of 128, by rows of the "
         "batch\n");
    for (uint32_t k = 0; k < LEVER_MACHINE_KV; k++) {
        printf("%8s", k ? "q8_0" : "f16");
        for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++)
            printf("%8.2f", r->attend_s[k][i] * lever_machine_rows[i] * 32 * 128 * 1000 * 1e3);
        puts("");
    }
}

/* ---- models ---- */

static void print_models(const lever_machine *m)
{
    if (m->n_models)
        puts("\nmodels that were run: seconds of a sweep without waiting for flash, times what is predicted");
    for (uint32_t i = 0; i < m->n_models; i++) {
        const lever_machine_model *q = &m->models[i];
        printf("  %s%s%s:", q->name, q->kind[0] ? " on " : "", q->device);
        for (uint32_t k = 0; k < q->n_runs; k++)
            printf("%s %u rows %.4f s (%.2f)", k ? "," : "", q->rows[k], q->sweep_s[k], q->factor[k]);
        if (q->project_s > 0) printf("; projection %.2f ms (%.2f)", q->project_s * 1e3, q->project_factor);
        if (q->stream_factor > 0) printf("; streamed at %.2f of the flash", q->stream_factor);
        puts("");
    }
}

void profile_print(const lever_machine *m, const char *where)
{
    char memory[32];
    const lever_machine_id *id = &m->id;
    if (m->measured[0])
        printf("%s, %u threads on %u cores, %s kernels, %s of memory, %s, Lever %s; measured %s\n", id->cpu,
               id->n_threads, id->n_cores, id->isa,
               format_bytes(memory, sizeof memory, (double)id->memory_bytes), id->kernel, id->version,
               m->measured);
    for (uint32_t i = 0; i < m->n_flashes; i++)
        if (is_wanted(&m->flashes[i], where)) print_flash(&m->flashes[i]);
    if (m->read_bytes_s > 0)
        printf("\nmemory: %.1f GB/s read by all threads: no product with one row is faster than its weights "
               "come\n",
               m->read_bytes_s * 1e-9);
    for (uint32_t i = 0; i < m->n_devices; i++)
        if (m->devices[i].n_products) print_device(&m->devices[i]);
    if (m->n_devices) print_rest(m);
    print_models(m);
    if (m->quiet > 0 && m->quiet < 0.75)
        printf("\nother programs ran meanwhile: measuring got %.0f%% of the processors it asked for, so some "
               "of\n"
               "these times are too long. Measure again when the machine is quiet\n",
               m->quiet * 100);
}

bool profile_print_json(const lever_machine *m, const char *where)
{
    json_t *root = machine_to_json(m), *flashes = json_object();
    for (uint32_t i = 0; i < m->n_flashes; i++) {
        const lever_flash_profile *p = &m->flashes[i].reads;
        if (is_wanted(&m->flashes[i], where))
            json_object_set_new(flashes, m->flashes[i].where,
                                json_pack("{s:s, s:b, s:i, s:o}", "measured", m->flashes[i].measured,
                                          "direct", (int)p->direct, "best", (int)p->best, "points",
                                          flash_points_to_json(p)));
    }
    const bool good = root && json_object_set_new(root, "flash", flashes) == 0 &&
                      json_dumpf(root, stdout, JSON_INDENT(1)) == 0;
    if (good) putchar('\n');
    json_decref(root);
    return good;
}
