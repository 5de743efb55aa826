/* Products of a model on a device (device/device.h). Weights lie in pieces of its memory: resident ones were
 * given once; streamed ones are read into pieces that change hands, slot by slot. Products that share their
 * rows and whose weights are there become one job; several jobs may be under way, while the stream is pumped.
 *
 *   lv_block_mul -> group -> job under way -> done: results written, slots back to the stream
 *
 * A device that fails is left: what was under way is computed by the CPU from the same pieces where it can
 * read them, and before the next sweep the weights move to memory of the host. Owns: pieces, and the list of
 * jobs. Threading: the model's owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_OFFLOAD_H
#define LEVER_MODEL_OFFLOAD_H

#include "device/device.h"
#include "model/model.h"

struct lv_sweep;

enum { LV_SLOTS_MOST = 128 };

typedef struct lv_offload_job {
    lv_device_job job;                            /* x stays as it is until nothing is under way */
    lv_device_memory *pieces[LV_DEVICE_PRODUCTS]; /* of its weights */
    int number;                                   /* the device's; -1: the CPU did it */
    uint32_t n_slots;                             /* of the stream, which it frees */
    uint64_t begin_ns;
} lv_offload_job;

typedef struct lv_offload {
    lv_device *device;        /* borrowed; NULL: there is none, or it was left */
    uint32_t min_rows;        /* of a sweep */
    bool head;                /* the output head is multiplied there too */
    bool reachable;           /* the CPU can read resident weights */
    bool lost;                /* the device failed */
    char note[256];           /* why it was left; "": it was not */
    lv_device_memory **slots; /* [n_slots] of the stream; NULL: streamed weights are not in pieces */
    void **slot_host;         /* [n_slots] where the stream reads to */
    uint32_t n_slots;
    lv_offload_job group;                     /* being collected: products of all rows of the sweep */
    lv_offload_job jobs[LV_DEVICE_JOBS_MOST]; /* under way: n from first on, in a circle */
    uint32_t first, n;
    uint64_t n_jobs, wait_ns; /* since load */
} lv_offload;

/* A sweep begins, with s->n_rows: fills s->offload. */
void lv_offload_begin(struct lv_sweep *s);
/* Is matrix `at` of the weight map multiplied here? s->offload is set. */
bool lv_offload_takes(const struct lv_sweep *s, size_t at);
/* y = W x, done at the latest after lv_offload_settle. LEVER_OK; what lv_stream_next returned; LEVER_EIO: the
 * device failed, and the CPU can not read the weights. */
int lv_offload_mul(struct lv_sweep *s, float *y, const float *x, size_t at);
/* Start what was collected and wait for all that is under way; s->rc tells how that went. */
void lv_offload_settle(struct lv_sweep *s);
/* After an error: nothing is under way, every slot is the host's, or the device is lost. */
void lv_offload_abort(lv_model *m);

/* Pieces for the slots of a stream, at most n. LEVER_OK; else none, and why. */
int lv_offload_open_slots(lv_offload *o, uint32_t n, size_t bytes, lever_error *err);
void lv_offload_close_slots(lv_offload *o);
/* The device failed: keep why. */
void lv_offload_lose(lv_offload *o, const lever_error *why);

#endif
