/* Devices of an engine: opened before it starts threads, and counted in its plan.
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "device/select.h"
#include "engine/engine.h"
#include "os/memory.h"
#include "plan/model_shape.h"

enum {
    JOB_ROWS = 64,                 /* of one job; more are several */
    JOBS = 2,                      /* one computes while the next is packed */
    DRIVER_SLACK_BYTES = 16 << 20, /* what drivers take later: kernels for other sizes, queues, threads */
    ALIGN_BYTES = 1 << 20,
    DRIVERS_MOST = 4
};

/* What drivers took in this process when a device was first opened, at the peak: compilers need more for a
 * while. They keep it when the device is closed, so a later opening would measure nothing. */
static struct {
    char name[96]; /* of the device */
    uint64_t bytes;
} drivers[DRIVERS_MOST];

static uint64_t driver_bytes(const lv_device *d)
{
    for (int i = 0; d && i < DRIVERS_MOST; i++)
        if (!strcmp(drivers[i].name, d->traits.name))
            return lv_round_up(drivers[i].bytes + DRIVER_SLACK_BYTES, ALIGN_BYTES);
    return 0;
}

static void note_driver(const lv_device *d, uint64_t bytes)
{
    int i = 0;
    while (i + 1 < DRIVERS_MOST && drivers[i].name[0] && strcmp(drivers[i].name, d->traits.name)) i++;
    if (drivers[i].name[0]) return;
    memcpy(drivers[i].name, d->traits.name, sizeof drivers[i].name);
    drivers[i].bytes = bytes;
}

static bool wants(const char *name)
{
    return name && *name && strcmp(name, "cpu");
}

/* Open what `want` names, and measure what the driver takes. */
static int open_measured(lv_device **out, const char *want, const lv_device_config *sizes,
                         const char *cache_dir, lever_error *err)
{
    const uint64_t before = lv_memory_rss(), peak_before = lv_memory_peak_rss();
    LEVER_TRY(lv_device_open_named(out, want, sizes, cache_dir, err));
    const uint64_t peak = lv_memory_peak_rss(), after = peak > peak_before ? peak : lv_memory_rss();
    if (*out) note_driver(*out, after > before ? after - before : 0);
    return LEVER_OK;
}

static bool multiplies_any(lv_model *m, const lv_device *d)
{
    size_t n;
    const lv_model_weight *w = lv_model_weights(m, &n);
    for (size_t i = 0; i < n; i++)
        if (w[i].layer >= 0 && lv_model_can_offload(&w[i], d)) return true;
    return false;
}

static void note(lv_engine_devices *d, const char *which, const char *why)
{
    char text[256];
    const int n = snprintf(text, sizeof text, "%s runs on the CPU: %.220s", which, why);
    if (!d->note && n > 0) d->note = lv_strdup_n(text, strlen(text));
}

/* A driver that fails is tried once in a process: one that hangs would do so again. */
static struct {
    char want[256], why[256];
    bool for_draft;
} failed;

/* NULL: the CPU, with a note where a device was asked for. Opened for both models, which may share it; one
 * that is for the draft alone may be approximate. */
static lv_device *open_one(lv_engine_setup *o, const char *want, const char *which, bool for_draft)
{
    lever_error e = { 0 };
    lv_device *d = NULL;
    lv_device_config sizes = { .max_rows = JOB_ROWS, .n_jobs = JOBS, .approximate_will_do = for_draft };
    if (!wants(want)) return NULL;
    if (!strcmp(want, failed.want) && for_draft == failed.for_draft)
        return note(&o->devices, which, failed.why), NULL;
    lv_model_device_sizes(o->target, &sizes);
    if (o->draft) lv_model_device_sizes(o->draft, &sizes);
    if (open_measured(&d, want, &sizes, o->config.device_cache_dir, &e) < 0) {
        note(&o->devices, which, e.msg);
        snprintf(failed.want, sizeof failed.want, "%s", want);
        failed.for_draft = for_draft;
        snprintf(failed.why, sizeof failed.why, "%.255s", e.msg);
    }
    return d;
}

/* d, or NULL with a note where it can not help this model. */
static lv_device *if_useful(lv_engine_setup *o, lv_device *d, lv_model *m, const char *which)
{
    char why[200];
    if (!d || multiplies_any(m, d)) return d;
    snprintf(why, sizeof why, "%s multiplies with none of its types of weights", d->traits.name);
    note(&o->devices, which, why);
    return NULL;
}

/* Rows from which on a model runs on a device, as the profile prefers. */
static uint32_t preferred_rows(const lv_engine_setup *o, const lv_device *d, lv_model *m)
{
    enum { CTX = 256 }; /* positions; the same for both */
    const lv_machine *machine = o->config.machine;
    lv_model_shape shape;
    if (o->config.device_min_rows) return o->config.device_min_rows;
    if (!d || !d->traits.unified || !machine || !lv_machine_valid(machine) || !lv_model_shape_of(&shape, m)) return 0;
    lv_run_on on = { .machine = machine, .n_ctx = CTX };
    on.products = lv_machine_device_find(machine, d->traits.kind, d->traits.name, d->traits.driver);
    return on.products ? lv_rows_for_device(&on, &shape) : 0;
}

static void choose_rows(lv_engine_setup *o)
{
    lv_engine_devices *d = &o->devices;
    d->min_rows = preferred_rows(o, d->target, o->target);
    d->draft_min_rows = o->draft ? preferred_rows(o, d->draft, o->draft) : 0;
    if (d->target && d->min_rows == LV_ROWS_NEVER)
        note(d, "the target", "the profile says that it is faster there; --device-min-rows 1 does without the profile");
}

void lv_devices_open(lv_engine_setup *o)
{
    lv_engine_devices *d = &o->devices;
    const char *want = o->config.device, *draft_want = o->draft ? o->config.draft_device : NULL;
    if (d->tried) return;
    d->tried = true;
    /* A driver that computes with threads of this process (PoCL) leaves the cores to the CPU's side that --cpus names,
     * where there are others: threads begin on the cores of the one that starts them. */
    lv_affinity before = { 0 };
    lv_affinity_save(&before);
    if (o->cpu.cpus.n) lv_thread_bind_others(&o->cpu.cpus);
    const bool same = wants(want) && wants(draft_want) && !strcmp(want, draft_want);
    const bool draft_too = same && !lv_device_want_may_be_approximate(want);
    lv_device *target = open_one(o, want, draft_too ? "every model" : "the target", false), *draft = NULL;
    if (same && (target || draft_too))
        draft = target;
    else
        draft = open_one(o, draft_want, "the draft", true);
    d->target = if_useful(o, target, o->target, "the target");
    d->draft = draft ? if_useful(o, draft, o->draft, "the draft") : NULL;
    if (draft != target && draft != d->draft) lv_device_close(&draft);
    if (target != d->target && target != d->draft) lv_device_close(&target);
    choose_rows(o);
    lv_affinity_restore(&before);
}

void lv_devices_close(lv_engine_devices *d)
{
    if (d->draft != d->target) lv_device_close(&d->draft);
    d->draft = NULL;
    lv_device_close(&d->target);
    lv_free(d->note);
    d->note = NULL;
}

uint64_t lv_devices_driver_bytes(const lv_engine_devices *d)
{
    return driver_bytes(d->target) + (d->draft != d->target ? driver_bytes(d->draft) : 0);
}

uint64_t lv_devices_buffer_bytes(const lv_engine_devices *d, bool streams)
{
    uint64_t n = d->target ? d->target->traits.buffer_bytes : 0;
    if (d->draft && d->draft != d->target) n += d->draft->traits.buffer_bytes;
    return n + (streams ? lv_model_slots_bytes(d->target) : 0);
}
