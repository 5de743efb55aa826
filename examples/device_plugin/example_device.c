/* A complete device for Lever to start from. Its hardware is a thread: jobs are put into its queue, it
 * computes them one after the other, and the caller goes on meanwhile. It takes weights of Q4_0 and Q8_0, and
 * only 1, 8 or 32 rows at once, as an NPU with compiled shapes would.
 *
 * What another device would do otherwise is marked "HERE". The interface is explained in
 * lever/device_plugin.h. SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lever/device_plugin.h"

enum { BLOCK = 32, MOST_ROWS = 32 };

/* HERE: what the driver knows a piece of memory by. */
struct lever_plugin_memory {
    unsigned char *bytes;
};

struct lever_plugin_device {
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    bool ends;
    uint32_t n_slots;
    const lever_plugin_job **jobs; /* [n_slots]; NULL: nothing to do, or done */
    uint32_t *queue;               /* [n_slots] slots in the order of their jobs */
    uint32_t first, n_queued;
};

static int fail(int result, char *why, const char *text)
{
    snprintf(why, LEVER_PLUGIN_WHY_BYTES, "%s", text);
    return result;
}

/* ---- arithmetic ---- */

static float from_f16(const unsigned char *p)
{
    const uint32_t h = (uint32_t)(p[0] | p[1] << 8);
    const uint32_t bits = (h & 0x7fff) << 13;
    float f;
    memcpy(&f, &bits, sizeof f);
    f *= 0x1p112f; /* the difference of both exponents' biases */
    if ((h & 0x7c00) == 0x7c00) f = h & 0x3ff ? NAN : INFINITY;
    return h & 0x8000 ? -f : f;
}

/* The codes of one block; returns its scale. */
static float unpack(uint32_t type, const unsigned char *block, int8_t code[BLOCK])
{
    const unsigned char *q = block + 2;
    if (type == LEVER_PLUGIN_Q8_0) {
        memcpy(code, q, BLOCK);
    } else {
        for (int i = 0; i < BLOCK / 2; i++) {
            code[i] = (int8_t)((q[i] & 15) - 8);
            code[i + BLOCK / 2] = (int8_t)((q[i] >> 4) - 8);
        }
    }
    return from_f16(block);
}

static int32_t dot(const int8_t *a, const int8_t *b)
{
    int32_t sum = 0;
    for (int i = 0; i < BLOCK; i++) sum += a[i] * b[i];
    return sum;
}

/* The demanded order: one fma per block, ascending; every output has a chain of its own. */
static void multiply(const lever_plugin_product *p, const lever_plugin_job *job)
{
    const size_t block_bytes = p->type == LEVER_PLUGIN_Q8_0 ? 34 : 18;
    const size_t n_blocks = job->k / BLOCK, n_rows = job->n_rows;
    const unsigned char *w = p->w->bytes + p->w_at;
    for (size_t r = 0; r < p->n_out; r++) {
        float acc[MOST_ROWS] = { 0 };
        for (size_t b = 0; b < n_blocks; b++) {
            int8_t code[BLOCK];
            const float d = unpack(p->type, w + (r * n_blocks + b) * block_bytes, code);
            for (size_t t = 0; t < n_rows; t++) {
                const size_t at = t * n_blocks + b;
                const int32_t isum = dot(code, job->by_32.q + at * BLOCK);
                acc[t] = fmaf(d * job->by_32.d[at], (float)isum, acc[t]);
            }
        }
        for (size_t t = 0; t < n_rows; t++) p->y[t * p->ldy + r] = acc[t];
    }
}

/* ---- the thread that is the hardware ---- */

static void *work(void *arg)
{
    lever_plugin_device *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->n_queued && !d->ends) pthread_cond_wait(&d->changed, &d->lock);
        if (!d->n_queued) break;
        const uint32_t slot = d->queue[d->first];
        const lever_plugin_job *job = d->jobs[slot];
        d->first = (d->first + 1) % d->n_slots;
        d->n_queued--;
        pthread_mutex_unlock(&d->lock);
        for (uint32_t i = 0; i < job->n_products; i++) multiply(&job->products[i], job);
        pthread_mutex_lock(&d->lock);
        d->jobs[slot] = NULL;
        pthread_cond_broadcast(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* HERE: hand the job to the driver. It stays where it is until it has been waited for. */
static int device_submit(lever_plugin_device *d, uint32_t slot, const lever_plugin_job *job, char *why)
{
    (void)why;
    pthread_mutex_lock(&d->lock);
    d->jobs[slot] = job;
    d->queue[(d->first + d->n_queued++) % d->n_slots] = slot;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    return LEVER_PLUGIN_OK;
}

static int device_wait(lever_plugin_device *d, uint32_t slot, char *why)
{
    (void)why;
    pthread_mutex_lock(&d->lock);
    while (d->jobs[slot]) pthread_cond_wait(&d->changed, &d->lock);
    pthread_mutex_unlock(&d->lock);
    return LEVER_PLUGIN_OK;
}

/* ---- memory: the thread reads what the host wrote, so nothing moves ---- */

/* HERE: memory that the hardware reads too, mapped into this process. */
static int memory_open(lever_plugin_device *d, lever_plugin_memory **out, uint64_t bytes, void **host,
                       char *why)
{
    (void)d;
    lever_plugin_memory *m = malloc(sizeof *m);
    void *at = NULL;
    if (!m || posix_memalign(&at, LEVER_PLUGIN_PAGE, bytes)) {
        free(m);
        return fail(LEVER_PLUGIN_NO_MEMORY, why, "no memory for a piece");
    }
    m->bytes = at;
    *out = m;
    *host = at;
    return LEVER_PLUGIN_OK;
}

static void memory_close(lever_plugin_device *d, lever_plugin_memory *m)
{
    (void)d;
    free(m->bytes);
    free(m);
}

/* HERE: make what the host wrote visible to the hardware (caches, or a copy). */
static int memory_give(lever_plugin_device *d, lever_plugin_memory *m, char *why)
{
    (void)d, (void)m, (void)why;
    return LEVER_PLUGIN_OK;
}

static int memory_take(lever_plugin_device *d, lever_plugin_memory *m, void **host, char *why)
{
    (void)d, (void)why;
    *host = m->bytes;
    return LEVER_PLUGIN_OK;
}

static int memory_look(lever_plugin_device *d, lever_plugin_memory *m, const void **host, char *why)
{
    (void)d, (void)why;
    *host = m->bytes;
    return LEVER_PLUGIN_OK;
}

/* ---- opening ---- */

static const lever_plugin_description *device_describe(char *why)
{
    (void)why;
    static const lever_plugin_description description = {
        .bytes = sizeof description,
        .flags = LEVER_PLUGIN_EXACT | LEVER_PLUGIN_UNIFIED | LEVER_PLUGIN_OVERLAPS,
        .name = "example device (a thread)",
        .types = LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q4_0) | LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q8_0),
        .piece_bytes = (uint64_t)1 << 32,
        .n_row_counts = 3,
        .row_counts = { 1, 8, MOST_ROWS },
    };
    return &description;
}

static void free_parts(lever_plugin_device *d)
{
    if (d) {
        free(d->jobs);
        free(d->queue);
    }
    free(d);
}

static int device_open(lever_plugin_device **out, const lever_plugin_sizes *sizes, char *why)
{
    lever_plugin_device *d = calloc(1, sizeof *d);
    if (d) {
        d->n_slots = sizes->n_jobs;
        d->jobs = calloc(sizes->n_jobs, sizeof *d->jobs);
        d->queue = calloc(sizes->n_jobs, sizeof *d->queue);
    }
    if (!d || !d->jobs || !d->queue) {
        free_parts(d);
        return fail(LEVER_PLUGIN_NO_MEMORY, why, "no memory for the device");
    }
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    if (pthread_create(&d->thread, NULL, work, d)) {
        free_parts(d);
        return fail(LEVER_PLUGIN_FAILED, why, "its thread can not be started");
    }
    *out = d;
    return LEVER_PLUGIN_OK;
}

static void device_close(lever_plugin_device *d)
{
    pthread_mutex_lock(&d->lock);
    d->ends = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free_parts(d);
}

/* A plug-in that uses what came after version 1.0 looks at host_version here. */
const lever_plugin *lever_device_plugin(uint32_t host_version)
{
    static const lever_plugin table = {
        .magic = LEVER_PLUGIN_MAGIC,
        .bytes = sizeof table,
        .version = LEVER_PLUGIN_VERSION,
        .describe = device_describe,
        .open = device_open,
        .close = device_close,
        .memory_open = memory_open,
        .memory_close = memory_close,
        .memory_give = memory_give,
        .memory_take = memory_take,
        .memory_look = memory_look,
        .submit = device_submit,
        .wait = device_wait,
    };
    return host_version >> 16 == LEVER_PLUGIN_MAJOR ? &table : NULL;
}
