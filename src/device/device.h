/* Where the matrix products of a row batch can run: one small table of functions, which device/cpu,
 * device/opencl and device/plugin implement. Results do not depend on the device: each gives the bits of
 * kernel/ref (but for traits.approximate).
 *
 * Weights are multiplied where they lie: in pieces of memory that the device gives out and that flash reads
 * can go straight into. A piece belongs to the host (taken, from its opening on) or to the device (given).
 * Owns: pieces of memory, buffers for rows in and out (allocated at open; none per job).
 * Threading: one owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_DEVICE_H
#define LEVER_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { LV_DEVICE_PRODUCTS = 4, LV_DEVICE_JOBS_MOST = 8, LV_DEVICE_ROW_COUNTS = 16 };

/* Where a device loses numbers below 2^-126, no step of a product may reach them. A scale of weights is a
 * multiple of 2^-24; times a scale of activations from this on, every sum is a multiple of 2^-125. */
#define LV_DEVICE_FLUSH_LIMIT 0x1p-78f

typedef struct lv_device lv_device;

/* What a device is opened for. */
typedef struct lv_device_config {
    size_t   max_rows; /* of a job */
    size_t   max_k;    /* longest matrix row */
    size_t   max_out;  /* outputs of a job, all its products together */
    unsigned n_jobs;   /* submitted and not yet waited for, at once: 1..LV_DEVICE_JOBS_MOST */
    bool     approximate_will_do; /* for a draft model: results that are only near those of kernel/ref */
} lv_device_config;

typedef struct lv_device_traits {
    const char *kind;      /* "cpu", "opencl", "plugin" */
    char     name[96], driver[96]; /* driver: its version, "" where there is none */
    uint64_t types;        /* of weights it multiplies: bits 1 << enum lv_type */
    size_t   piece_bytes;  /* largest piece of memory */
    size_t   buffer_bytes; /* of host memory for rows in and out, taken at open */
    bool     unified;      /* its memory is the host's: giving, taking and looking copy nothing */
    bool     overlaps;     /* submit returns before the work is done */
    bool     approximate;  /* other bits than kernel/ref: for a draft model only */
    uint32_t row_counts[LV_DEVICE_ROW_COUNTS]; /* rows that it computes at once, ascending, 0 ends: a job of other
                            * numbers takes as long as the next of these. None: any number */
} lv_device_traits;

/* A piece of memory. Weights in it are used by whole pieces, so what is read from flash at different times
 * (slots of a ring) is different pieces. */
typedef struct lv_device_memory {
    uint8_t *host;   /* [bytes], at a multiple of 4096; valid while the host has it; may differ each time */
    size_t   bytes;
    bool     given;  /* the device has it */
    bool     looked; /* and the host may read it, at `host`, which may have any alignment then */
} lv_device_memory;

/* y[t * ldy + r] = w[r] . x[t] for r < n_out, t < n_rows of the job. */
typedef struct lv_device_product {
    const lv_device_memory *w; /* given, until the job is waited for */
    size_t   w_at;             /* byte of w where [n_out][k] begins, in file layout; any alignment */
    uint32_t type;
    size_t   n_out;
    float   *y;                /* borrowed until waited for */
    size_t   ldy;              /* >= n_out */
} lv_device_product;

/* Products that share their rows (q, k, v; gate, up). The job itself is copied. */
typedef struct lv_device_job {
    const float *x; /* [n_rows][k], borrowed for the call */
    size_t   n_rows, k;
    unsigned n_products;
    lv_device_product products[LV_DEVICE_PRODUCTS];
} lv_device_job;

/* Implementations: contracts are those of the functions below; arguments are checked before. */
typedef struct lv_device_table {
    int  (*memory_open)(lv_device *d, lv_device_memory **out, size_t bytes, lever_error *err);
    void (*memory_close)(lv_device *d, lv_device_memory *m);
    int  (*memory_take)(lv_device *d, lv_device_memory *m, lever_error *err);
    int  (*memory_give)(lv_device *d, lv_device_memory *m, lever_error *err);
    int  (*memory_look)(lv_device *d, lv_device_memory *m, lever_error *err); /* NULL: never */
    int  (*submit)(lv_device *d, unsigned slot, const lv_device_job *job, lever_error *err);
    int  (*wait)(lv_device *d, unsigned slot, lever_error *err);
    void (*close)(lv_device *d);
} lv_device_table;

/* The beginning of every implementation's own struct. */
struct lv_device {
    const lv_device_table *table;
    lv_device_traits traits;
    lv_device_config config;
    bool busy[LV_DEVICE_JOBS_MOST]; /* slots of jobs */
};

/* LEVER_OK, or LEVER_EINVAL naming the field: what every implementation's open asks first. */
int lv_device_config_check(const lv_device_config *c, lever_error *err);
/* Waits for what still runs. All pieces of memory must be closed. Accepts NULL and *d == NULL. */
void lv_device_close(lv_device **d);

/* A piece of `bytes`, taken by the host. LEVER_OK; LEVER_ELIMIT: more than traits.piece_bytes; LEVER_ENOMEM,
 * LEVER_EIO. Returned: lv_device_memory_close, before the device is closed. */
int  lv_device_memory_open(lv_device *d, lv_device_memory **out, size_t bytes, lever_error *err);
void lv_device_memory_close(lv_device *d, lv_device_memory **m); /* accepts NULL and *m == NULL */
/* Back to the host, to be filled anew: what was in it is lost. No job that reads it may be under way.
 * LEVER_OK, also when the host has it; LEVER_EIO. Does not wait for jobs on other pieces. */
int lv_device_memory_take(lv_device *d, lv_device_memory *m, lever_error *err);
/* To the device; the host may not touch it. LEVER_OK, also when the device has it; LEVER_EIO. */
int lv_device_memory_give(lv_device *d, lv_device_memory *m, lever_error *err);
/* The host may read, not write, what it gave, while the device reads it too, until it takes or closes the piece.
 * LEVER_OK, also when the host has it or looks already; LEVER_EUNSUP: not with this device, where that would copy;
 * LEVER_EIO. Does not wait for jobs. */
int lv_device_memory_look(lv_device *d, lv_device_memory *m, lever_error *err);

/* Start a job. >= 0: its number, for lv_device_wait. LEVER_EAGAIN: n_jobs are under way, wait for one.
 * LEVER_EINVAL: sizes, or weights that are not given. LEVER_EUNSUP: not here (the type of weights, or
 * activations so small that this device would lose them), but the CPU can. LEVER_EIO or LEVER_ENOMEM: the
 * device failed; from then on it takes no job, and the CPU must go on. */
int lv_device_submit(lv_device *d, const lv_device_job *job, lever_error *err);
/* Wait until job `number` is done, then y is written. LEVER_OK; LEVER_EINVAL: no such job; LEVER_EIO or
 * LEVER_ENOMEM: the device failed, y is undefined, the number is free again. */
int lv_device_wait(lv_device *d, int number, lever_error *err);

#endif
