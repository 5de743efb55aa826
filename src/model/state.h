/* What an lv_model holds; shared by the files of model/ only. SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_STATE_H
#define LEVER_MODEL_STATE_H

#include "flash/sums_file.h"
#include "model/arch.h"
#include "model/block.h"
#include "model/model.h"
#include "model/offload.h"
#include "os/file.h"

enum { LV_TENSOR_NAME_MAX = 64 };

/* Where a matrix lives after load: with bytes or a piece in memory of the host or a device; else it comes from the
 * stream in slices of extent_rows rows (the last one shorter). */
typedef struct lv_place {
    const void *bytes;       /* NULL: the CPU can not read it */
    uint64_t    extent_rows; /* 0: it is resident for good */
    lv_device_memory *piece; /* NULL: it lies in memory of the host */
    size_t      piece_at;    /* byte of the piece where it begins */
    bool        in_piece;    /* it lies or lay in one */
    char        name[LV_TENSOR_NAME_MAX]; /* lv_model_weight.name points here */
} lv_place;

/* A norm, a bias or the rope factors: f32 in memory whatever the file holds. */
typedef struct lv_vector {
    float   *data; /* [n]; NULL before load */
    uint64_t n, offset, bytes;
    uint32_t type;
    char     name[LV_TENSOR_NAME_MAX];
} lv_vector;

/* Streamed matrices that are in memory for as long as nobody else needs it: the first n of order. */
typedef struct lv_lent {
    char     *arena;       /* NULL: there is nothing to lend */
    size_t    arena_bytes;
    bool      huge;        /* it is given back in huge pages */
    uint32_t *order;       /* [n_most] matrices in the order they are taken in */
    size_t   *end;         /* [n_most] of the arena: where the matrix ends */
    uint32_t  n_most, n;
    bool     *skip;        /* [extents of the stream] */
} lv_lent;

struct lv_model {
    lv_file        file;
    lv_gguf       *gguf;
    lv_hparams     h;
    const lv_arch *arch;

    /* The weight map. Matrix j of layer l is weights[l * mats_per_layer + j], the head is last;
     * vector j of layer l is vectors[l * vecs_per_layer + j], then output_norm, then the rope
     * factors when the file has them. ordinal[t] is the j of the architecture's tensor t. */
    lv_model_weight *weights;
    lv_place        *places;
    lv_vector       *vectors;
    size_t           n_weights, n_vectors, mats_per_layer, vecs_per_layer;
    uint8_t          ordinal[LV_LAYER_TENSORS_MAX];
    bool             has_rope_factors;
    lv_model_weight  embd; /* token_embd.weight: the head's own entry when tied */
    bool             tied;
    lv_sums_file     sums_file;
    const lv_sums   *sums; /* those of sums_file; NULL: reads are not checked */

    /* Load. */
    lv_cpu   *cpu;
    uint32_t  max_rows;
    lv_model_load_config load; /* what it was loaded with; without progress */
    char     *arena;       /* resident matrices */
    size_t    arena_bytes;
    char     *moved;       /* those that were in pieces of a device that was left */
    size_t    moved_bytes;
    lv_offload offload;
    float    *fixed;       /* every vector */
    double   *rope_freq;   /* [n_rot/2] radians per position */
    char     *act;         /* activations, laid out by lv_act_layout */
    size_t    act_bytes;
    void     *ring;
    size_t    ring_bytes;
    lv_stream *stream;     /* NULL: nothing streams */
    lv_lent   lent;
    bool      loaded, layers_streamed, head_streamed;
    bool      stream_dirty; /* a sweep was cut short: restart it first */
    bool      at_head;      /* the stream stands at the head's first extent */

    /* Activations. */
    lv_sweep  sweep;
    float    *hidden;      /* [n_hidden][n_embd] after the final norm */
    size_t    n_hidden;    /* rows that the last forward finished; 0 after a failed one */
    uint32_t *row_of;      /* [n_hidden] their rows of the batch, ascending */
    uint32_t *keep;        /* [max_rows] what lv_batch.after_layer answers */
    float    *cs;          /* [max_rows][n_rot/2][2] cos, sin */
    lv_cpu_attn_row *spans;/* [max_rows] */
    int32_t  *paths;       /* [max_rows * LV_PATH_PER_ROW] */
    char     *staging;     /* raw embedding and head rows; shares memory with q .. up */
    size_t    staging_bytes;

    lv_model_stats stats;
    lv_trace  trace;
    const char *track;
    uint64_t  read_bytes;  /* embedding rows and re-read head rows */
};

/* What lending a matrix takes in lists, beside its extents. */
enum { LV_LEND_BYTES = sizeof(uint32_t) + sizeof(size_t) };

/* Tree paths beyond the part that continues the committed prefix, on average per row: rows of one
 * chain need none, and a batch of branching rows deeper than this is refused with LEVER_ELIMIT. */
enum { LV_PATH_PER_ROW = 256 };

/* Sizes a lv_dim stands for. */
uint64_t lv_model_dim(const lv_hparams *h, uint8_t dim);
/* Fill the weight map from m->gguf: names, shapes and types checked, nothing read. LEVER_OK,
 * LEVER_EFORMAT (missing, wrong shape), LEVER_EUNSUP (type, or a tensor nothing uses), LEVER_ENOMEM. */
int lv_model_map_weights(lv_model *m, lever_error *err);
/* Point the activation fields into base (NULL: only count). Returns bytes. */
size_t lv_act_layout(lv_model *m, char *base, size_t max_rows);

/* Nothing of the model stays on its device, which has failed: read the resident matrices into memory of the host and
 * start the stream anew. LEVER_OK; LEVER_ENOMEM, LEVER_EIO: to be called again. */
int lv_model_leave_device(lv_model *m, lever_error *err);

/* Where a matrix that begins at byte `at` or behind it goes in a mapping; reading it there. */
size_t lv_model_resident_place(const lv_model_weight *w, size_t at);
int lv_model_read_weight(lv_model *m, const lv_model_weight *w, void *dst, lever_error *err);

/* lv_file_read of the model's file, checked where that was asked for. */
int lv_model_read(lv_model *m, void *dst, size_t n, uint64_t off, lever_error *err);

#endif
