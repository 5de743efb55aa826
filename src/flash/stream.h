/* The sweep stream: extents that are not resident are read again and again in the same order, into
 * a ring that is kept full ahead of the compute and across the end of a sweep.
 *
 *   absent --submit--> reading --complete--> ready --next--> held --release--> absent
 *
 * Owns:      the ring's bookkeeping and which extent is in which place.
 * Does not:  know layers, tensors or formats (model/ turns these into extents).
 * Threading: one owner thread makes every call.
 * Memory:    ring_bytes (the caller's) + bookkeeping; nothing is allocated after open.
 * Never idle: every free part of the ring has a read in flight (as far as the backend's depth goes)
 *            after open, restart, pump and a next that had to wait. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_STREAM_H
#define LEVER_FLASH_STREAM_H

#include <stdbool.h>

#include "base/trace.h"
#include "flash/io.h"
#include "gguf/sums.h"

typedef struct lv_stream lv_stream;

/* A contiguous run of weight bytes, read by one request. Array order = order of use. */
typedef struct lv_extent {
    const lv_file *file; /* borrowed */
    uint64_t off;        /* any alignment */
    uint32_t len;        /* > 0 */
} lv_extent;

typedef struct lv_stream_config {
    lv_io           *io;      /* borrowed; not shared with another stream while open */
    const lv_extent *extents; /* [n_extents] copied */
    uint32_t         n_extents;
    void            *ring;    /* borrowed, 4 KiB-aligned or better; NULL with slots */
    size_t           ring_bytes;
    void     *const *slots;   /* or, one extent each: [n_slots] of slot_bytes, 4 KiB-aligned. Borrowed; a slot that is
                               * held may move, by another address here before its release or a restart */
    uint32_t         n_slots;
    size_t           slot_bytes;
    const lv_sums   *sums;    /* borrowed; not NULL: every extent is checked before it is handed out */
    lv_trace         trace;   /* reads, and the waits for them */
    const char      *track;   /* of the waits */
} lv_stream_config;

typedef struct lv_stream_stats {
    uint64_t bytes_read;  /* completed, aligned supersets included */
    uint64_t wait_ns;     /* compute waited for flash */
    uint64_t idle_ns;     /* nothing was in flight although extents were wanted (ring full) */
    uint64_t n_reads;
} lv_stream_stats;

/* Bytes of ring one extent takes (aligned superset). */
size_t lv_extent_ring_bytes(const lv_extent *e);
/* Smallest ring that can stream these: the two largest neighbours must fit at once. */
size_t lv_stream_min_ring(const lv_extent *extents, uint32_t n);

/* Opens and starts reading. LEVER_OK, LEVER_EINVAL (ring below the minimum), LEVER_ENOMEM, LEVER_EIO. */
int  lv_stream_open(lv_stream **out, const lv_stream_config *c, lever_error *err);
void lv_stream_close(lv_stream **s); /* waits for reads in flight */

/* Wait for the next extent in cyclic order and hold it. *bytes is borrowed until its release; extents
 * are released in the order they were taken. Returns LEVER_OK; LEVER_EIO: the read failed twice or gave
 * bytes that differ from the sums twice, or the file ended early (message: file, offset, bytes): the stream
 * then restarts with lv_stream_restart. */
int  lv_stream_next(lv_stream *s, const void **bytes, lever_error *err);
void lv_stream_release(lv_stream *s); /* the oldest held one; its room is used from the next call on */
/* With slots: which of them holds the oldest, or newest, extent that is held. There is one. */
uint32_t lv_stream_oldest(const lv_stream *s);
uint32_t lv_stream_newest(const lv_stream *s);
/* Collect what was read and start reads, without waiting: can the next extent be had without waiting? */
bool lv_stream_is_ready(lv_stream *s);
/* Collect what was read and start reads into free room, without waiting. Errors show in the next lv_stream_next. */
void lv_stream_pump(lv_stream *s);
/* After an aborted sweep: drop everything, also what was read ahead, and start again at extent 0.
 * LEVER_OK; LEVER_EIO: nothing can be queued, to be called again. */
int  lv_stream_restart(lv_stream *s, lever_error *err);
/* From here on leave out the extents for which skip [n_extents] is true, and start again at the first that is left, if
 * any is: between sweeps. As lv_stream_restart. */
int  lv_stream_skip(lv_stream *s, const bool *skip, lever_error *err);
/* No room for the next extent: nothing more can be in flight until a release. */
bool lv_stream_is_full(const lv_stream *s);
void lv_stream_get_stats(const lv_stream *s, lv_stream_stats *out);

#endif
