/* What `lever profile` measures of a machine: enough to say how long a sweep of any model takes on it.
 *
 * Plain data. Seconds are wall-clock time with the threads of `id`; a 0 where a time stands means that it was
 * not measured. Times are those of a quiet machine: the low end of many short measurements (docs/profile.md).
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_MACHINE_H
#define LEVER_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lever/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How fast a file is read, past the page cache, with `depth` reads of block_bytes in flight. */
typedef struct lever_flash_point {
    const char *backend;     /* "uring", "pool" */
    uint32_t block_bytes, depth;
    bool     huge_pages;     /* of the buffers */
    double   bytes_per_s;
    double   cpu_share;      /* processor time per time that passed; 1 = one core */
} lever_flash_point;

enum { LEVER_FLASH_POINTS = 48 };

typedef struct lever_flash_profile {
    lever_flash_point points[LEVER_FLASH_POINTS];
    uint32_t n_points;
    uint32_t best;           /* among the fastest, with enough in flight for some milliseconds and no more: what to
                              * put into io_backend, flash_block_bytes and flash_depth */
    bool     direct;         /* false: the file system knows no direct reads, so memory was measured */
} lever_flash_profile;

enum {
    LEVER_MACHINE_ROWS = 8,     /* batches of 1, 2, 4, ... 128 rows: lever_machine_rows */
    LEVER_MACHINE_TYPES = 16,   /* of weights */
    LEVER_MACHINE_DEVICES = 4,  /* that multiply; the first is the CPU */
    LEVER_MACHINE_FLASHES = 4,  /* places where models lie */
    LEVER_MACHINE_MODELS = 16,  /* measured as a whole */
    LEVER_MACHINE_BESIDE = 3,   /* batches that were multiplied beside flash reads */
    LEVER_MACHINE_RUNS = 6,     /* batches that a model was run with */
    LEVER_MACHINE_WAY = 2,      /* of measuring a model now: target and draft by turns, streams in slices */
    LEVER_MACHINE_KV = 2        /* types of cache: 0 F16, 1 Q8_0 */
};

LEVER_API extern const uint32_t lever_machine_rows[LEVER_MACHINE_ROWS]; /* 1, 2, 4, 8, 16, 32, 64, 128 */

/* What numbers of the CPU depend on: those of another id are not used. */
typedef struct lever_machine_id {
    char     version[16];   /* of Lever */
    char     cpu[64];       /* as the system names it */
    char     isa[16];       /* of the kernels: "avx2" */
    char     kernel[96];    /* system and release: "Linux 6.1.0-18-amd64" */
    uint32_t n_cores;       /* that this process may use */
    uint32_t n_threads;
    uint64_t memory_bytes;  /* of the machine */
} lever_machine_id;

/* Products with one type of weights, in matrices that are read from memory, not from a cache. */
typedef struct lever_machine_product {
    char     type[12];       /* "Q4_0" */
    uint32_t gguf_type;      /* its number in files */
    double   weight_s[LEVER_MACHINE_ROWS]; /* seconds per weight for all rows of the batch together */
    double   pack_s;         /* per value of the rows that are multiplied: preparing them on one thread, once
                              * for all products that share them */
} lever_machine_product;

typedef struct lever_machine_device {
    char     kind[12];       /* "cpu", "opencl", name of a plug-in */
    char     name[96], driver[96]; /* which one; other texts: another device */
    uint32_t n_products;
    lever_machine_product products[LEVER_MACHINE_TYPES];
    bool     unified;        /* weights are multiplied where the host put them */
    double   call_s;         /* of a job beside its products: waking threads, or submitting and waiting */
    double   give_s, give_byte_s; /* of handing over a piece of memory: each, and per byte */
    double   take_s;         /* of getting one back */
} lever_machine_device;

/* What is not a product, on the CPU. Per value on one thread; op_s and attend_s are of all threads together. */
typedef struct lever_machine_rest {
    double op_s;             /* handing one operation to the threads and waiting for them; operations of less
                              * than some 64 Ki multiply-adds are not handed over */
    double norm_s;           /* RMSNorm, per value */
    double add_s;            /* sums of rows and biases */
    double rope_s, rope_norm_s; /* rotation of queries and keys; with a norm of each head before it */
    double swiglu_s;
    double write_s[LEVER_MACHINE_KV];  /* storing keys and values: per value of either */
    double attend_s[LEVER_MACHINE_KV][LEVER_MACHINE_ROWS]; /* per row, query head, position attended to, and
                              * value of a head; the rows share a context; four query heads to one of keys */
    double candidates_s;     /* per vocabulary entry: best candidates of a drafted row */
    double pick_s;           /* per vocabulary entry: the target's token, greedily */
} lever_machine_rest;

/* What products and reads at full speed cost each other. */
typedef struct lever_machine_beside {
    uint32_t rows[LEVER_MACHINE_BESIDE];     /* ascending; 0: not measured */
    double   products[LEVER_MACHINE_BESIDE]; /* products take this many times as long; >= 1 */
    double   flash[LEVER_MACHINE_BESIDE];    /* reads keep this share of their speed; <= 1 */
} lever_machine_beside;

typedef struct lever_machine_flash {
    char where[32];          /* the device that files lie on, as the system numbers it: "259:1" */
    char measured[24];       /* "2026-11-21T19:00:00Z" */
    lever_flash_profile  reads;
    lever_machine_beside beside;
} lever_machine_flash;

/* A model that was run. What the general numbers predict of it is multiplied by these factors. */
typedef struct lever_machine_model {
    char     name[64];       /* of its file, for people */
    uint64_t key;            /* of its sizes: lv_model_shape_key */
    char     kind[12], device[96]; /* where its layers ran, as in lever_machine_device; "": on the CPU */
    uint32_t n_runs;
    uint32_t rows[LEVER_MACHINE_RUNS];     /* ascending */
    double   sweep_s[LEVER_MACHINE_RUNS];  /* of a sweep, without waiting for flash */
    double   factor[LEVER_MACHINE_RUNS];   /* what it took / what was predicted */
    double   project_s, project_factor;    /* of projecting one row to the vocabulary */
    double   stream_factor;  /* speed of its reads in streamed sweeps / as flash was measured; 0: not known */
    double   first_s;        /* of a draft: its batch right after the target's sweep takes so much longer */
    uint32_t way;            /* how it was measured; below LEVER_MACHINE_WAY: as older versions did */
} lever_machine_model;

typedef struct lever_machine {
    lever_machine_id id;
    char     measured[24];   /* "2026-11-21T19:00:00Z" */
    double   read_bytes_s;   /* bytes per second that all threads together read from memory */
    double   quiet;          /* share of the processor time it asked for that measuring products got: well below 1
                              * other programs ran, and times are too long */
    lever_machine_rest rest;
    uint32_t n_devices, n_flashes, n_models;
    lever_machine_device devices[LEVER_MACHINE_DEVICES]; /* [0] is the CPU */
    lever_machine_flash  flashes[LEVER_MACHINE_FLASHES];
    lever_machine_model  models[LEVER_MACHINE_MODELS];
} lever_machine;

#ifdef __cplusplus
}
#endif
#endif
