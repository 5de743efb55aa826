/* lever_profile: the steps of measuring a machine, and what they need. SPDX-License-Identifier: MIT */
#include "engine/profile_impl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "device/select.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/memory.h"
#include "os/system.h"
#include "plan/machine.h"

enum { WEIGHTS_LEAST = 64 << 20, WEIGHTS_MOST = 256 << 20, PARTS = 1000, MAX_THREADS = 256 };
static const double usual_s = 45, few_s = 2;

/* ---- this machine ---- */

static void copy(char *to, size_t cap, const char *from) { snprintf(to, cap, "%s", from); }

/* Configuration of the CPU; the part of it that products need. */
static int cpu_config(lv_cpu_config *c, uint32_t n_threads, const char *cpus, const char *isa,
                      lever_error *err)
{
    *c = (lv_cpu_config){ .cpu_flags = lv_cpu_detect(),
                          .max_rows = LV_PROFILE_ROWS,
                          .max_k = LV_PROFILE_K,
                          .max_ctx = LV_PROFILE_CTX,
                          .max_head_dim = LV_PROFILE_HEAD };
    if (n_threads > MAX_THREADS)
        return lv_fail(err, LEVER_EINVAL, 0, "%u threads asked for; at most %d are supported", n_threads,
                       MAX_THREADS);
    if (cpus) LEVER_TRY(lv_cpu_list_parse(&c->cpus, cpus, err));
    c->n_threads = n_threads ? n_threads : cpus ? c->cpus.n : lv_cpu_count();
    const int flags = isa ? lv_cpu_flags_from_name(isa) : 0;
    if (flags < 0)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "unknown instruction set '%s'; known: ref, avx2, avx512vnni, neon, dotprod, i8mm",
                       isa);
    if (isa) c->cpu_flags &= (unsigned)flags;
    return LEVER_OK;
}

int lever_machine_identify(lever_machine_id *out, uint32_t n_threads, const char *cpus, const char *isa,
                           lever_error *err)
{
    lv_cpu_config c;
    lv_kernels k;
    *out = (lever_machine_id){ 0 };
    LEVER_TRY(cpu_config(&c, n_threads, cpus, isa, err));
    lv_kernels_init(&k, c.cpu_flags);
    copy(out->version, sizeof out->version, lever_version());
    copy(out->isa, sizeof out->isa, k.isa);
    lv_system_cpu_name(out->cpu, sizeof out->cpu);
    lv_system_kernel(out->kernel, sizeof out->kernel);
    out->n_cores = lv_cpu_count();
    out->n_threads = c.n_threads;
    out->memory_bytes = lv_system_memory();
    return LEVER_OK;
}

bool lever_machine_same(const lever_machine_id *a, const lever_machine_id *b)
{
    return lv_machine_same(a, b);
}
bool lever_machine_is_valid(const lever_machine *m) { return lv_machine_valid(m); }
int lever_type_number(const char *name) { return lv_type_from_name(name); }

const char *lever_machine_differs(const lever_machine_id *a, const lever_machine_id *b, char *buf, size_t cap)
{
    *buf = '\0';
    if (lv_machine_same(a, b)) return buf;
    if (strcmp(a->cpu, b->cpu))
        snprintf(buf, cap, "the processor is '%s', not '%s'", b->cpu, a->cpu);
    else if (a->n_threads != b->n_threads)
        snprintf(buf, cap, "%u threads, not %u", b->n_threads, a->n_threads);
    else if (a->n_cores != b->n_cores)
        snprintf(buf, cap, "%u cores, not %u", b->n_cores, a->n_cores);
    else if (strcmp(a->isa, b->isa))
        snprintf(buf, cap, "kernels for %s, not %s", b->isa, a->isa);
    else if (strcmp(a->version, b->version))
        snprintf(buf, cap, "Lever is %s, not %s", b->version, a->version);
    else if (strcmp(a->kernel, b->kernel))
        snprintf(buf, cap, "the system is '%s', not '%s'", b->kernel, a->kernel);
    else
        snprintf(buf, cap, "the machine has another amount of memory");
    return buf;
}

void lv_profile_now(char *buf, size_t cap)
{
    const time_t t = time(NULL);
    struct tm utc;
    strftime(buf, cap, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
}

/* ---- entries ---- */

/* Room for one more of n elements of `size` bytes: the first, which is the oldest, goes where all are taken.
 */
static void *append(void *list, uint32_t *n, uint32_t most, size_t size)
{
    char *at = list;
    if (*n == most)
        memmove(at, at + size, (most - 1) * size);
    else
        (*n)++;
    return memset(at + (*n - 1) * size, 0, size);
}

lever_machine_device *lv_profile_device_entry(lever_machine *m, const char *kind, const char *name,
                                              const char *driver)
{
    lever_machine_device *d = NULL;
    for (uint32_t i = 1; i < m->n_devices && !d; i++)
        if (!strcmp(m->devices[i].kind, kind) && !strcmp(m->devices[i].name, name)) d = &m->devices[i];
    if (d) {
        *d = (lever_machine_device){ 0 };
    } else { /* the CPU stays the first */
        uint32_t n = m->n_devices - 1;
        d = append(m->devices + 1, &n, LEVER_MACHINE_DEVICES - 1, sizeof *d);
        m->n_devices = n + 1;
    }
    copy(d->kind, sizeof d->kind, kind);
    copy(d->name, sizeof d->name, name);
    copy(d->driver, sizeof d->driver, driver);
    return d;
}

lever_machine_flash *lv_profile_flash_entry(lever_machine *m, const char *where)
{
    for (uint32_t i = 0; i < m->n_flashes; i++)
        if (!strcmp(m->flashes[i].where, where)) return &m->flashes[i];
    lever_machine_flash *f = append(m->flashes, &m->n_flashes, LEVER_MACHINE_FLASHES, sizeof *f);
    copy(f->where, sizeof f->where, where);
    return f;
}

lever_machine_model *lv_profile_model_entry(lever_machine *m, uint64_t key, const lever_machine_device *on,
                                            const char *name)
{
    const lever_machine_model *known = lv_machine_model_find(m, key, on);
    lever_machine_model *to = known ? &m->models[known - m->models]
                                    : append(m->models, &m->n_models, LEVER_MACHINE_MODELS, sizeof *to);
    *to = (lever_machine_model){ .key = key };
    copy(to->name, sizeof to->name, name);
    copy(to->kind, sizeof to->kind, on ? on->kind : "");
    copy(to->device, sizeof to->device, on ? on->name : "");
    return to;
}

/* ---- types of weights ---- */

static int add_type(lv_profile *p, int type, lever_error *err)
{
    if (type < 0 || lv_type_act_kind((uint32_t)type) < 0)
        return lv_fail(err, LEVER_EINVAL, 0, "a type of weights that is not known, or not multiplied");
    for (uint32_t i = 0; i < p->n_types; i++)
        if (p->types[i] == (uint32_t)type) return LEVER_OK;
    if (p->n_types == LEVER_MACHINE_TYPES)
        return lv_fail(err, LEVER_EINVAL, 0, "more than %d types of weights", LEVER_MACHINE_TYPES);
    p->types[p->n_types++] = (uint32_t)type;
    return LEVER_OK;
}

static int add_named_types(lv_profile *p, const char *names, lever_error *err)
{
    while (*names) {
        char name[16];
        const size_t n = strcspn(names, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        const int type = lv_type_from_name(name);
        if (type < 0 || add_type(p, type, NULL) < 0)
            return lv_fail(err, LEVER_EINVAL, 0, "'%s' is not a type of weights that can be measured", name);
        names += n + (names[n] == ',');
    }
    return LEVER_OK;
}

static int add_types_of(lv_profile *p, const char *path, lever_error *err)
{
    lv_model *m;
    size_t n;
    if (!path) return LEVER_OK;
    LEVER_TRY(lv_model_open(&m, path, err));
    const lv_model_weight *w = lv_model_weights(m, &n);
    int rc = LEVER_OK;
    for (size_t i = 0; i < n && rc >= 0; i++) rc = add_type(p, (int)w[i].type, err);
    lv_model_close(&m);
    return rc;
}

/* Those of the models first: the first type also stands for what reads and products cost each other. */
static int choose_types(lv_profile *p, lever_error *err)
{
    const char *names = p->params->types ? p->params->types : "Q4_0,Q8_0,Q4_K,Q6_K,F16";
    LEVER_TRY(add_types_of(p, p->params->model_path, err));
    LEVER_TRY(add_types_of(p, p->params->draft_path, err));
    LEVER_TRY(add_named_types(p, names, err));
    return p->n_types ? LEVER_OK : lv_fail(err, LEVER_EINVAL, 0, "no type of weights to measure");
}

/* ---- steps ---- */

/* More than the caches hold, so that weights come from memory; no more than a quarter of what is free. */
static size_t weights_bytes(const lever_profile_params *q)
{
    if (q->seconds > 0 && q->seconds < few_s) return LV_PROFILE_WEIGHTS_LEAST; /* no time to go through more */
    const uint64_t free = lv_memory_available(), wanted = 4 * lv_system_cache();
    uint64_t n = wanted < WEIGHTS_LEAST ? WEIGHTS_LEAST : wanted > WEIGHTS_MOST ? WEIGHTS_MOST : wanted;
    if (free && n > free / 4) n = free / 4;
    return n < LV_PROFILE_WEIGHTS_LEAST ? LV_PROFILE_WEIGHTS_LEAST : (size_t)(n & ~(uint64_t)0xfffff);
}

static int open_cpu(lv_profile *p, lever_error *err)
{
    lv_cpu_config c;
    LEVER_TRY(cpu_config(&c, p->params->n_threads, p->params->cpus, p->params->isa, err));
    LEVER_TRY(lv_cpu_open(&p->cpu, &c, err));
    const size_t floats = (size_t)LV_PROFILE_ROWS * LV_PROFILE_K;
    p->weights_type = -1;
    p->weights_bytes = weights_bytes(p->params);
    p->weights = lv_map(p->weights_bytes);
    p->pattern = lv_alloc(LV_PROFILE_PATTERN, 64);
    p->x = lv_alloc_array(floats, sizeof *p->x, 64);
    p->y = lv_alloc_array(floats, sizeof *p->y, 64);
    if (!p->weights || !p->pattern || !p->x || !p->y)
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the measurement (%zu MiB)", p->weights_bytes >> 20);
    for (size_t i = 0; i < floats; i++) p->x[i] = (float)((i * 2654435761u >> 8) % 2001) * 1e-3f - 1;
    return LEVER_OK;
}

static void close_cpu(lv_profile *p)
{
    lv_device_close(&p->device);
    lv_cpu_close(&p->cpu);
    lv_unmap(p->weights, p->weights_bytes);
    lv_free(p->pattern);
    lv_free(p->x);
    lv_free(p->y);
    p->weights = p->pattern = NULL;
    p->x = p->y = NULL;
}

typedef struct step {
    const char *what;
    int (*run)(lv_profile *p, double seconds, lever_error *err);
    double share; /* of usual_s */
    bool wanted;
} step;

/* The steps that are wanted; each has its share of the time, whether or not there are others. */
static int run_steps(lv_profile *p, const step *steps, size_t n, lever_error *err)
{
    const double seconds = p->params->seconds > 0 ? p->params->seconds : usual_s;
    double all = 0;
    for (size_t i = 0; i < n; i++) all += steps[i].wanted ? steps[i].share : 0;
    for (size_t i = 0; i < n; i++) {
        if (!steps[i].wanted) continue;
        p->what = steps[i].what;
        p->step_from = p->step_to;
        p->step_to += (uint32_t)(PARTS * steps[i].share / all);
        LEVER_TRY(lv_profile_progress(p, 0, err));
        LEVER_TRY(steps[i].run(p, seconds * steps[i].share, err));
    }
    return LEVER_OK;
}

static int close_and_run_models(lv_profile *p, double seconds, lever_error *err)
{
    close_cpu(p); /* their memory and cores are for the models now */
    return lv_profile_models(p, seconds, err);
}

/* As runs open it (lv_devices_open): threads of its driver have the cores that --cpus leaves. */
static int open_device(lv_profile *p, lever_error *err)
{
    const lever_profile_params *q = p->params;
    const lv_device_config sizes = {
        .max_rows = LV_PROFILE_ROWS, .max_k = LV_PROFILE_K, .max_out = LV_PROFILE_OUT, .n_jobs = 1
    };
    lv_cpu_config c;
    LEVER_TRY(cpu_config(&c, q->n_threads, q->cpus, q->isa, err));
    lv_affinity before = { 0 };
    lv_affinity_save(&before);
    if (c.cpus.n) lv_thread_bind_others(&c.cpus);
    const int rc = lv_device_open_named(&p->device, q->device, &sizes, q->device_cache, err);
    lv_affinity_restore(&before);
    p->on_device = p->device != NULL;
    return rc;
}

static int measure(lv_profile *p, lever_error *err)
{
    const lever_profile_params *q = p->params;
    LEVER_TRY(choose_types(p, err));
    /* Before there are threads: a driver is first tried in a child process. */
    LEVER_TRY(open_device(p, err));
    LEVER_TRY(open_cpu(p, err));
    const step steps[] = {
        { "reading in different ways", lv_profile_flash, 0.12, q->flash_path },
        { "norms, attention, choosing tokens", lv_profile_rest, 0.10, true },
        { "products", lv_profile_products, 0.20, true },
        { "products beside reads", lv_profile_beside, 0.04, q->flash_path },
        { "products on the device", lv_profile_device, 0.16, p->device },
        { "running the models", close_and_run_models, 0.38, q->model_path && !q->no_run },
    };
    return run_steps(p, steps, sizeof steps / sizeof *steps, err);
}

/* Nothing but the reads of flash is true of another machine. */
static void forget(lever_machine *m)
{
    if (!lv_machine_valid(m)) m->n_flashes = 0;
    for (uint32_t i = 0; i < m->n_flashes; i++) m->flashes[i].beside = (lever_machine_beside){ 0 };
    memset(m->devices, 0, sizeof m->devices);
    m->rest = (lever_machine_rest){ 0 };
    m->n_devices = m->n_models = 0;
    m->measured[0] = '\0';
    m->read_bytes_s = 0;
}

/* What is known of the machine in *m is kept. */
static int begin(lever_machine *m, const lever_profile_params *params, lever_error *err)
{
    lever_machine_id id;
    LEVER_TRY(lever_machine_identify(&id, params->n_threads, params->cpus, params->isa, err));
    if (!lv_machine_valid(m) || !lv_machine_same(&m->id, &id)) forget(m);
    m->id = id;
    if (!m->n_devices) m->n_devices = 1;
    copy(m->devices[0].kind, sizeof m->devices[0].kind, "cpu");
    copy(m->devices[0].name, sizeof m->devices[0].name, id.cpu);
    return LEVER_OK;
}

int lever_profile(lever_machine *m, const lever_profile_params *params, lever_error *err)
{
    LEVER_TRY(begin(m, params, err));
    lv_profile *p = lv_alloc(sizeof *p, 64);
    if (!p) return lv_fail(err, LEVER_ENOMEM, 0, "the measurement");
    lv_affinity before = { 0 };
    if (params->cpus) lv_affinity_save(&before);
    p->params = params;
    p->m = m;
    p->total = PARTS;
    const int rc = measure(p, err);
    if (rc >= 0) lv_profile_now(m->measured, sizeof m->measured);
    close_cpu(p);
    lv_affinity_restore(&before);
    lv_free(p);
    return rc;
}
