/* A model: hyper-parameters, weight map, and the forward pass over a row batch. The forward pass
 * knows nothing of speculation: prefill, plain decoding, drafting and tree verification are all row
 * batches with parent links.
 *
 * Life:  open (metadata only) -> weights are listed -> the plan pins some -> load -> forward, project.
 * Owns:  the file, the weight map, resident weights, the stream and its ring, activation buffers.
 * Does not own: the lv_cpu (shared with other models), KV caches, the budget.
 * Threading: one owner thread at a time; different models are independent. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_MODEL_H
#define LEVER_MODEL_MODEL_H

#include <stdatomic.h>

#include "base/mem.h"
#include "device/cpu/cpu.h"
#include "device/device.h"
#include "flash/io.h"
#include "flash/residency.h"
#include "flash/stream.h"
#include "gguf/gguf.h"
#include "model/hparams.h"
#include "model/kv.h"

typedef struct lv_model lv_model;

/* The unit of model work. */
typedef struct lv_row {
    int32_t token;
    int32_t seq;     /* index into lv_batch.kv */
    int32_t parent;  /* scratch row of the same sequence, from this or an earlier batch; -1 = prefix */
    int32_t pos;     /* filled by the forward pass: n_committed + depth below the prefix */
} lv_row;

typedef struct lv_batch {
    lv_row *rows;       /* [n_rows]; a parent stands before its children */
    uint32_t n_rows;    /* 1..max_rows */
    lv_kv  **kv;        /* caches by sequence; each row takes the next scratch slot of its own */
    uint32_t n_kv;
    atomic_bool *cancel;/* nullable; polled between weights: the sweep ends with LEVER_ECANCEL; borrowed
                         * until the next forward, as projections poll it too */
    bool (*go_on)(void *user); /* nullable; asked where cancel is polled: false ends the sweep likewise */
    void  *user;
    /* nullable; called after each layer but the last, by the owner thread: x [n_rows][n_embd] is the residual
     * stream of the rows that are left. Returns how many of them stay, at least 1 and with their indices among
     * these ascending in keep [n_rows], or LEVER_E*, which ends the sweep. A result of n_rows needs no keep.
     * No row may stay whose parent in this batch goes. Rows that go have no keys and values from here on: they
     * must not be committed, projected, or become parents in a later batch. */
    int  (*after_layer)(void *hook_user, uint32_t layer, const float *x, uint32_t n_rows, uint32_t *keep,
                        lever_error *err);
    void  *hook_user;
} lv_batch;

/* What the plan needs to know of one matrix (norms and biases are always resident, not listed). */
typedef struct lv_model_weight {
    const char *name;     /* "blk.3.ffn_up.weight" */
    uint32_t type;
    uint64_t rows, cols, bytes, offset;
    int32_t  layer;       /* -1: output head (and, when tied, embedding) ; layers are 0.. in order of use */
    bool     resident;    /* in: to be pinned at load */
    bool     lent;        /* it is not, but likely to be in memory while texts are short (lv_model_lend_plan) */
} lv_model_weight;

/* Read and check metadata: architecture, shapes, types of every tensor. No weight is read.
 * Errors name file and tensor or key: LEVER_EIO, LEVER_EFORMAT, LEVER_EUNSUP, LEVER_ENOMEM. */
int  lv_model_open(lv_model **out, const char *path, lever_error *err);
void lv_model_close(lv_model **m);
const lv_hparams *lv_model_hparams(const lv_model *m);
const lv_gguf *lv_model_gguf(const lv_model *m);   /* NULL after lv_model_drop_metadata */
/* Free the GGUF metadata (token strings can be megabytes) once the vocabulary has copied its part. */
void lv_model_drop_metadata(lv_model *m);
/* What ties a file made for one model to that model, and lets messages name both. */
typedef struct lv_model_id {
    char     name[96];    /* base name of the file, NUL-ended, control characters as '?' */
    uint64_t fingerprint; /* XXH3 of the file's size, its whole metadata and samples of its weights */
    uint32_t n_embd, n_layers, n_vocab;
} lv_model_id;
/* Reads 64 samples of 4 KiB: equal files give the same, whatever their names; a copy with one changed key,
 * tensor or type another; a few changed weights may go unnoticed. Due before lv_model_drop_metadata. LEVER_OK;
 * LEVER_EINVAL (metadata was dropped); LEVER_EIO; LEVER_ENOMEM. */
int  lv_model_identify(const lv_model *m, lv_model_id *out, lever_error *err);
/* Check everything that is read from now on against the sums file beside the model, and what the metadata was
 * read from at once; due before it is dropped. As lv_sums_load and lv_sums_check_header. */
int  lv_model_verify_reads(lv_model *m, lever_error *err);
uint64_t lv_model_sums_bytes(const lv_model *m); /* memory they take; 0: reads are not checked */
/* Matrices in order of use: layers ascending, the output head last. The caller sets .resident. */
lv_model_weight *lv_model_weights(lv_model *m, size_t *n);
/* Memory a resident matrix of this many bytes takes. Long ones start where their file offset would in a
 * block, so that they can be read straight into place past the page cache. */
uint64_t lv_model_resident_bytes(uint64_t bytes);
/* Norms, biases and other always-resident bytes. */
uint64_t lv_model_fixed_bytes(const lv_model *m);
/* Activation buffers for batches of max_rows. */
size_t lv_model_activation_bytes(const lv_model *m, uint32_t max_rows);
/* Longest matrix row: what lv_cpu_config.max_k must cover. */
size_t lv_model_max_k(const lv_model *m);
/* Packings its products need: bits 1 << enum lv_act_kind. */
unsigned lv_model_act_kinds(const lv_model *m);
/* Smallest ring for what is not resident, with extents of at most extent_bytes; 0: nothing streams.
 * SIZE_MAX: out of memory. */
size_t lv_model_min_ring(const lv_model *m, size_t extent_bytes);

typedef struct lv_model_load_config {
    lv_cpu    *cpu;          /* borrowed */
    lv_io     *io;           /* borrowed; may be NULL when everything is resident */
    uint32_t   max_rows;
    size_t     extent_bytes; /* longest streamed read before alignment, e.g. 4 MiB; weights are cut at rows */
    size_t     ring_bytes;   /* 0 when nothing streams */
    void     (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes); /* nullable */
    void      *user;
    lv_trace   trace;        /* layers and projections go to this track, reads to "flash", jobs to "device" */
    const char *track;
    lv_device *device;       /* borrowed, may be shared; NULL: the CPU computes everything. Opened for at least
                              * lv_model_device_sizes; layer matrices it can multiply lie in its memory */
    uint32_t   device_min_rows; /* sweeps of fewer rows are the CPU's, where it can read the weights */
    bool       device_head;  /* the output head too */
} lv_model_load_config;

/* Raise k and out to what this model's products want of a device. */
void lv_model_device_sizes(const lv_model *m, lv_device_config *sizes);
/* Has a device the products of this matrix? d NULL: no. */
bool lv_model_can_offload(const lv_model_weight *w, const lv_device *d);
/* Memory that a resident matrix takes when this device, NULL for none, has those it can multiply. */
uint64_t lv_model_place_bytes(const lv_model_weight *w, const lv_device *d, bool head_too);
/* The same for what a stream needs beside its ring. */
uint64_t lv_model_slots_bytes(const lv_device *d);

/* Read resident weights past the page cache, allocate buffers, open the stream.
 * LEVER_OK, LEVER_EIO, LEVER_ENOMEM, LEVER_EINVAL (ring too small). Half-loaded models are closable. */
int  lv_model_load(lv_model *m, const lv_model_load_config *c, lever_error *err);

/* Run the batch through all layers; appends one scratch slot per row to its KV cache. Hidden states
 * after the final norm of the rows that after_layer left are kept for lv_model_project until the next forward.
 * LEVER_OK; LEVER_EINVAL (token, parent or row count out of range); LEVER_ELIMIT (context or scratch
 * full); LEVER_EIO; LEVER_ECANCEL. After a failure the scratch rows of this batch are gone and the
 * model can be used again. */
int  lv_model_forward(lv_model *m, lv_batch *b, lever_error *err);
/* The output head is the embedding: where the one is in memory, so is the other. */
bool lv_model_tied(const lv_model *m);
/* engine/loan.c decides about memory that is planned for something else and not needed yet. While it is lent,
 * streamed matrices of the layers stay in it, in the order in which a larger limit would have kept them.
 *
 * Reserve addresses for most_bytes, after load. Nothing is lent yet; nothing ever will where nothing streams, or a
 * device is used. LEVER_OK, LEVER_ENOMEM. */
int  lv_model_lend_open(lv_model *m, uint64_t most_bytes, enum lv_residency_policy policy, lever_error *err);
void lv_model_lend_close(lv_model *m); /* model.c does that */
/* Before load: mark what would be kept if `bytes` of most_bytes were lent. LEVER_OK, LEVER_ENOMEM. */
int  lv_model_lend_plan(lv_model *m, uint64_t most_bytes, uint64_t bytes, enum lv_residency_policy policy,
                        lever_error *err);
bool lv_model_lends(const lv_model *m); /* is there anything to lend? */
/* Between sweeps: keep what fits into `bytes`, no more. Memory above that is free when it returns. Matrices that
 * come in are read at once; one that can not be read stays streamed, and its next sweep says why. */
void lv_model_lend(lv_model *m, uint64_t bytes);
uint64_t lv_model_lend_planned(const lv_model *m); /* bytes of the matrices it marked */
/* What is lent takes of memory; and by how many bytes a sweep reads less for it. */
uint64_t lv_model_lent_bytes(const lv_model *m);
uint64_t lv_model_lent_weights(const lv_model *m);

/* True when the output head is streamed: project then reads it once per call, so ask for many rows. */
bool lv_model_head_streamed(const lv_model *m);
/* A streamed head follows the layers in the stream: the first projection after a forward takes it
 * from there (a forward without one drops what the ring holds of it); further projections of the same
 * forward read it again, synchronously, through the idle activation buffers.
 * logits [n][n_vocab] of batch rows `rows` [n] (n <= max_rows) of the last forward.
 * LEVER_OK, LEVER_EINVAL, LEVER_EIO, LEVER_ECANCEL. */
int  lv_model_project(lv_model *m, const uint32_t *rows, uint32_t n, float *logits, lever_error *err);

/* Hidden state [n_embd] after the final norm of batch row `row` of the last forward; borrowed until the next.
 * NULL: that forward did not finish the row. */
const float *lv_model_hidden(const lv_model *m, uint32_t row);
/* Weights [n_embd] of the final norm; NULL before load. */
const float *lv_model_output_norm(const lv_model *m);
/* Row `token` of the output head as floats, out [n_embd]. LEVER_OK; LEVER_EAGAIN: the head is not in memory;
 * LEVER_EINVAL: no such token. Allocates and reads nothing. */
int  lv_model_head_row(const lv_model *m, int32_t token, float *out);

/* Run what follows on another lv_cpu, which covers the model's sizes, and give its trace to another hook; both are
 * borrowed. For a thread that takes the model over while its owner does without. */
void lv_model_run_on(lv_model *m, lv_cpu *cpu, lv_trace trace);

/* Collect what was read ahead and start reads into free room, without waiting: for whoever is busy with
 * something else between two sweeps. A no-op where nothing is streamed. */
void lv_model_pump(lv_model *m);

typedef struct lv_model_stats {
    uint64_t n_sweeps, n_rows;
    uint64_t bytes_read;    /* from flash during sweeps and projections, embedding rows included */
    uint64_t wait_ns, sweep_ns, project_ns;
    uint64_t idle_ns;       /* nothing was being read, because the ring was full */
    uint64_t device_jobs, device_wait_ns; /* started on the device; the CPU waited for them */
} lv_model_stats;
void lv_model_get_stats(const lv_model *m, lv_model_stats *out);
/* Why the device was left; NULL: it was not, or there never was one. Lives as long as the model. */
const char *lv_model_device_note(const lv_model *m);

#endif
