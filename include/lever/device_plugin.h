/* A device of your own for Lever: a shared library that multiplies matrices, on an NPU say. This header is
 * all that it needs; it is linked with nothing of Lever, and may be written in C or C++. People load it by
 * its path:
 *
 *   lever run --device ./libvendor_npu.so -m big.gguf -p "..."
 *
 * The library exports one function, lever_device_plugin, which returns a table of functions. Lever first goes
 * through the whole of opening, one sample of products and closing in a child process, within a time limit,
 * and compares the sample with its own results; then it opens the device in its own process.
 * examples/device_plugin is a complete plug-in to start from; docs/devices.md tells how one fits a phone.
 *
 * VERSIONS. The major number of both sides must be equal. Minor numbers only append: fields at the end of
 * structs that begin with `bytes`, or have it behind `magic`. Who fills such a struct stores the size that he
 * knows there; who reads it uses no field beyond. Structs without `bytes` never change within a major number.
 *
 * THREADS. Calls for one device come one at a time, from any thread. Several devices of one plug-in may be
 * open at once (for two models), and their calls may come at the same time. The plug-in may have threads of
 * its own.
 *
 * MANNERS. Nothing but its own state is changed: no signal handlers, no rounding modes or flushing of small
 * numbers (do not link with -ffast-math), no output, no end of the process, no fork.
 *
 * ERRORS. Functions that can fail return enum lever_plugin_result, and may write one line of text (UTF-8 with
 * its NUL, at most LEVER_PLUGIN_WHY_BYTES) to `why`, which is empty before. It is shown to people.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_PLUGIN_H
#define LEVER_DEVICE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEVER_PLUGIN_MAGIC   0x50564c31u /* "1LVP" */
#define LEVER_PLUGIN_MAJOR   1u
#define LEVER_PLUGIN_MINOR   0u
#define LEVER_PLUGIN_VERSION (LEVER_PLUGIN_MAJOR << 16 | LEVER_PLUGIN_MINOR)

enum { LEVER_PLUGIN_NAME_BYTES = 96, LEVER_PLUGIN_WHY_BYTES = 256, LEVER_PLUGIN_ROW_COUNTS = 16 };
enum { LEVER_PLUGIN_PAGE = 4096 }; /* alignment of memory that files are read into */

enum lever_plugin_result {
    LEVER_PLUGIN_OK = 0,
    LEVER_PLUGIN_REFUSED = 1, /* open: no such hardware, or not for these sizes. submit: not this job; the CPU
                               * does it, and the device stays in use */
    LEVER_PLUGIN_NO_MEMORY = 2,
    LEVER_PLUGIN_FAILED = 3 /* and every other value. After this or NO_MEMORY from submit, wait, memory_give,
                             * _take or _look the device gets no further job and is closed */
};

/* ---- weights: the block formats of GGUF files, values as there ----
 *
 * A matrix is [n_out][k], rows one after the other, k the contiguous direction; a row is k / block length
 * blocks. Blocks have no padding and any alignment; numbers are little-endian, f16 is IEEE binary16. Nibbles:
 * weight i < 16 of 32 is the low half of byte i, weight i + 16 its high half. "Plane of B bits, run R": R
 * neighbouring codes take the lowest B bits of R bytes, the next R codes the next B bits of these bytes, and
 * when the bytes are full the next R bytes follow. */
enum lever_plugin_type {
    LEVER_PLUGIN_F32 = 0,
    LEVER_PLUGIN_F16 = 1,
    /* Blocks of 32: weight = d * code (+ m). */
    LEVER_PLUGIN_Q4_0 = 2, /* 18 bytes: f16 d; 16 bytes of nibbles; code = nibble - 8 */
    LEVER_PLUGIN_Q4_1 = 3, /* 20: f16 d, m; nibbles; code = nibble */
    LEVER_PLUGIN_Q5_0 = 6, /* 22: f16 d; u32, whose bit i is bit 4 of number i; nibbles; code = number - 16 */
    LEVER_PLUGIN_Q5_1 = 7, /* 24: f16 d, m; u32 as before; nibbles; code = number */
    LEVER_PLUGIN_Q8_0 = 8, /* 34: f16 d; 32 int8 codes, -128 among them */
    /* Blocks of 256: weight = d * scale(i) * code(i) (- dmin * min(i)).
     * Scales and minima of Q4_K and Q5_K: 12 bytes s hold 8 of each, one per 32 weights, 6 bits. For j < 4:
     * scale = s[j] & 63, min = s[j + 4] & 63. For j >= 4: scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4,
     * min = (s[j + 4] >> 4) | (s[j] >> 6) << 4. */
    LEVER_PLUGIN_Q4_K = 12, /* 144: f16 d, dmin; s[12]; 128 bytes, plane of 4 bits, run 32 */
    LEVER_PLUGIN_Q5_K = 13, /* 176: f16 d, dmin; s[12]; 32 bytes, plane of 1 bit (bit 4 of codes), run 32;
                             * 128 bytes, plane of 4 bits, run 32 */
    LEVER_PLUGIN_Q6_K = 14, /* 210: 128 bytes, plane of 4 bits, run 64; 64 bytes, plane of 2 bits (bits 4, 5),
                             * run 32; 16 int8 scales, one per 16 weights; f16 d; code - 32 */
    LEVER_PLUGIN_BF16 = 30
};
#define LEVER_PLUGIN_TYPE_BIT(type) ((uint64_t)1 << (type))

/* ---- rows ----
 *
 * Lever quantises each row of activations itself, so that every device gets the same integers: in blocks of
 * 32 for the types of 32, of 256 for those of 256. An activation is about d * q, and q lies in -127 .. 127. d
 * is NaN for a block with infinities or NaN. */
typedef struct lever_plugin_rows {
    const int8_t *q;     /* [n_rows][k] */
    const float *d;      /* [n_rows][k / 32], or [n_rows][k / 256] */
    const int32_t *sums; /* of q, each run of 32 [n_rows][k / 32], or each run of 16 [n_rows][k / 16] */
} lever_plugin_rows;

/* ---- arithmetic ----
 *
 * What a product y[t][r] has to be, for a device with LEVER_PLUGIN_EXACT: these very bits (any NaN for a
 * NaN), whatever else is in the job. Sums of integers are int32 and exact in any order; float operations are
 * IEEE 754 binary32, round to nearest even, fma rounds once, and the chain of one y is never split or
 * reordered.
 *
 *   blocks of 32:   acc = +0; for each block, ascending:
 *                       isum = sum of code[i] * q[i]
 *                       acc = fma(weight_d * row_d, (float)isum, acc)
 *                       Q4_1, Q5_1: acc = fma(m * row_d, (float)sum, acc)
 *   blocks of 256:  acc = +0; for each block, ascending:
 *                       isum = sum of scale(i) * code[i] * q[i]
 *                       acc = fma(weight_d * row_d, (float)isum, acc)
 *                       Q4_K, Q5_K: msum = sum of min(i) * q[i], from `sums`
 *                                   acc = fma(-(dmin * row_d), (float)msum, acc)
 *   F32, F16, BF16: lane[0..15] = +0; for each i, ascending:
 *                       lane[i % 16] = fma(weight[i], x[i], lane[i % 16])
 *                   then lane[j] += lane[j + 8] for j < 8, then 4, 2, 1; y = lane[0]
 *
 * Without LEVER_PLUGIN_EXACT a device may compute as it likes, from q or from the floats. Then it can only
 * serve a draft model, whose results change speed and never text; the sample must come within 1/16 of the
 * largest magnitude of its row. */
enum lever_plugin_flags {
    LEVER_PLUGIN_EXACT = 1,    /* the arithmetic above */
    LEVER_PLUGIN_FLUSHES = 2,  /* numbers below 2^-126 become zero. Lever then keeps back rows that could show
                                * it, and the types F32, F16 and BF16 */
    LEVER_PLUGIN_UNIFIED = 4,  /* give, take and look copy nothing: the device reads the host's memory */
    LEVER_PLUGIN_OVERLAPS = 8, /* submit returns before the work is done */
    LEVER_PLUGIN_WANTS_FLOATS = 16 /* job.x for every job, not only for those with F32, F16 or BF16 */
};

/* What the device is; a constant of the plug-in. */
typedef struct lever_plugin_description {
    uint32_t bytes;                     /* sizeof(lever_plugin_description) */
    uint32_t flags;                     /* of enum lever_plugin_flags */
    char name[LEVER_PLUGIN_NAME_BYTES]; /* for people; UTF-8 with its NUL */
    uint64_t types;                     /* of weights: LEVER_PLUGIN_TYPE_BIT */
    uint64_t piece_bytes;               /* largest piece of memory */
    /* Fixed shapes: the only numbers of rows a job may have, ascending; n_row_counts = 0: any. Lever adds
     * rows of zeros up to the next number, drops their results, and splits what exceeds the largest. */
    uint32_t n_row_counts;
    uint32_t row_counts[LEVER_PLUGIN_ROW_COUNTS];
} lever_plugin_description;

/* ---- one device ---- */

typedef struct lever_plugin_device lever_plugin_device; /* yours */
typedef struct lever_plugin_memory lever_plugin_memory; /* yours */

/* What a device is opened for; no job is larger. Memory for jobs is best taken here, none per job. */
typedef struct lever_plugin_sizes {
    uint32_t bytes;
    uint32_t n_jobs;   /* submitted and not yet waited for, at once: slots 0 .. n_jobs - 1 */
    uint64_t max_rows; /* of a job */
    uint64_t max_k;
    uint64_t max_out; /* outputs of a row, all products of a job together */
} lever_plugin_sizes;

/* y[t * ldy + r] = w[r] . row t, for r < n_out, t < n_rows. Other elements of y are not touched. */
typedef struct lever_plugin_product {
    lever_plugin_memory *w; /* given to the device, until the job has been waited for */
    uint64_t w_at;          /* byte of it where [n_out][k] begins; any alignment */
    uint64_t n_out;
    float *y;
    uint64_t ldy;      /* >= n_out */
    uint32_t type;     /* enum lever_plugin_type, one of description.types */
    uint32_t reserved; /* 0 */
} lever_plugin_product;

/* Products that share their rows (q, k and v; gate and up). The job and all it points to is Lever's and stays
 * as it is until the job has been waited for. */
typedef struct lever_plugin_job {
    uint32_t bytes;
    uint32_t n_products;
    const lever_plugin_product *products; /* [n_products] */
    uint64_t n_rows, k;
    const float *x;           /* [n_rows][k], before quantisation; NULL: not asked for */
    lever_plugin_rows by_32;  /* NULLs: no product of the job has blocks of 32 */
    lever_plugin_rows by_256; /* NULLs: none has blocks of 256 */
} lever_plugin_job;

typedef struct lever_plugin {
    uint32_t magic;   /* LEVER_PLUGIN_MAGIC */
    uint32_t bytes;   /* sizeof(lever_plugin) */
    uint32_t version; /* LEVER_PLUGIN_VERSION */
    uint32_t reserved;

    /* The description, the same each time and valid for good; NULL: it can not be told (see `why`). Comes
     * first; may look for the hardware, but keeps nothing open. */
    const lever_plugin_description *(*describe)(char *why);
    /* Returned: closed by close, after all pieces of memory and with no job under way. */
    int (*open)(lever_plugin_device **out, const lever_plugin_sizes *sizes, char *why);
    void (*close)(lever_plugin_device *d);

    /* A piece of memory of `bytes`, which the host has and fills: *host is where, a multiple of
     * LEVER_PLUGIN_PAGE. Files are read right into it, past the page cache (O_DIRECT), so it must be ordinary
     * memory of the process to the kernel; where the device's own memory is not, give copies. Not zeroed. */
    int (*memory_open)(lever_plugin_device *d, lever_plugin_memory **out, uint64_t bytes, void **host,
                       char *why);
    void (*memory_close)(lever_plugin_device *d, lever_plugin_memory *m); /* whoever has it */
    /* The piece changes hands. Given, it is the device's: the host does not touch it. Taken, it is the
     * host's, at *host, which may be another address, and what was in it may be lost. No job that uses it is
     * under way at take. Neither waits for jobs on other pieces: those run while more weights are read. */
    int (*memory_give)(lever_plugin_device *d, lever_plugin_memory *m, char *why);
    int (*memory_take)(lever_plugin_device *d, lever_plugin_memory *m, void **host, char *why);
    /* The host reads, at *host, a piece that the device has, until it is taken or closed; jobs on it may run
     * meanwhile. So the CPU can share the work on a matrix. NULL where it can not be done without copying. */
    int (*memory_look)(lever_plugin_device *d, lever_plugin_memory *m, const void **host, char *why);

    /* Start a job. `slot` has none under way and names it for wait, which is called once for each submit that
     * returned LEVER_PLUGIN_OK, in any order, and returns when every y is written. */
    int (*submit)(lever_plugin_device *d, uint32_t slot, const lever_plugin_job *job, char *why);
    int (*wait)(lever_plugin_device *d, uint32_t slot, char *why);
} lever_plugin;

#if defined(__GNUC__)
#define LEVER_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define LEVER_PLUGIN_EXPORT
#endif

/* The plug-in's one export. host_version is Lever's LEVER_PLUGIN_VERSION; NULL: not with this one. Called
 * before anything else, at least once; it opens nothing. */
LEVER_PLUGIN_EXPORT const lever_plugin *lever_device_plugin(uint32_t host_version);

#ifdef __cplusplus
}
#endif
#endif
