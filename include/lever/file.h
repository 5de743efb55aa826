/* Model files: looking into them, checking them, and writing other ones from them. Nothing here needs an engine.
 * Threading: calls on different files are independent; one lever_info belongs to one thread at a time.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_FILE_H
#define LEVER_FILE_H

#include "lever/lever.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lever_info lever_info; /* metadata of one GGUF file */

LEVER_API int  lever_info_open(lever_info **out, const char *path, lever_error *err);
LEVER_API void lever_info_close(lever_info **info);
LEVER_API uint32_t lever_info_version(const lever_info *info);
LEVER_API uint64_t lever_info_file_bytes(const lever_info *info);
LEVER_API size_t lever_info_n_keys(const lever_info *info);
/* Key and value of entry i as text; arrays are shortened to their first elements. Both NUL-ended and cut
 * to the given sizes; control characters are escaped. Returns LEVER_OK or LEVER_EINVAL. */
LEVER_API int lever_info_key(const lever_info *info, size_t i, char *key, size_t key_cap, char *value,
                             size_t value_cap);

typedef struct lever_tensor {
    char        name[128];
    const char *type;       /* "Q8_0" */
    uint32_t    n_dims;
    uint64_t    dims[4];    /* slowest first: [rows][cols] */
    uint64_t    offset, bytes;
} lever_tensor;
LEVER_API size_t lever_info_n_tensors(const lever_info *info);
LEVER_API int    lever_info_tensor(const lever_info *info, size_t i, lever_tensor *out);

/* Write a copy of `in` with its matrices in type "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0",
 * "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS" or "MXFP4". A matrix whose rows are not
 * whole blocks of that type (256 weights for K and XS, 32 for the others) keeps its own.
 * LEVER_EINVAL (unknown type, out is in), LEVER_EIO (reading, writing, full disk: no file is left at out),
 * LEVER_EFORMAT, LEVER_EUNSUP, LEVER_ENOMEM. */
LEVER_API int lever_quantize(const char *in, const char *out, const char *type,
                             void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                             lever_error *err);

/* ---- checksums: the file "<path>.sums" beside a model, to find damage later ---- */

typedef struct lever_sums_report {
    uint64_t model_bytes, sums_bytes;
    uint64_t n_pages, n_bad_pages;      /* of 4096 bytes */
    uint32_t n_tensors, n_bad_tensors;
    bool     bad_header;                /* keys and tensor list are damaged */
} lever_sums_report;

typedef struct lever_damage {           /* consecutive damaged pages, as far as they lie in one tensor */
    char     what[128];                 /* its name, "header", or "padding" (bytes that nothing uses) */
    uint64_t offset, bytes;             /* in the file */
} lever_damage;

/* Read a model that is known to be good and write its checksums, under another name first.
 * report and progress may be NULL. LEVER_OK, LEVER_EIO, LEVER_EFORMAT, LEVER_EUNSUP, LEVER_ENOMEM. */
LEVER_API int lever_sums_make(const char *path, lever_sums_report *report,
                              void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                              lever_error *err);
/* Read a model and compare it with its checksums; on_damage (nullable) is called when all is read. LEVER_OK,
 * also with damage, which *report tells; LEVER_EIO (also: no checksums, the text says how to make them);
 * LEVER_EINVAL: they are of another model; LEVER_EFORMAT: malformed, or the model was cut off; LEVER_EUNSUP;
 * LEVER_ENOMEM. */
LEVER_API int lever_sums_verify(const char *path, lever_sums_report *report,
                                void (*on_damage)(void *user, const lever_damage *damage),
                                void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                                lever_error *err);

typedef struct lever_grow_result {
    uint64_t n_tensors, bytes; /* bytes: of all tensors */
    uint32_t n_embd, n_layers, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    bool     tied;             /* the output head is the embedding */
    bool     with_exit;         /* the exit predictor beside `in` was grown too (lever_config.exit_path) */
    bool     exact;            /* the same logits, bit for bit, as `in` with its matrices in this type */
    char     why[160];         /* why not exact */
} lever_grow_result;

/* Write a model with the tensor shapes of a large one that computes the function of the small model `in`:
 * what it costs is real, what it says is the small model's (docs/evaluation.md).
 * shape: "qwen3-8b" or another preset, then or instead ",embd=4096,layers=32,heads=32,kv-heads=8,
 * head-dim=128,ff=14336,vocab=128256,tied=0" in any selection; what is not given stays as in `in`.
 * type: as lever_quantize; seed: of the added weights. result and progress may be NULL.
 * LEVER_EINVAL (shape unknown or smaller than `in`, type unknown, out is in), LEVER_EIO, LEVER_EFORMAT,
 * LEVER_EUNSUP, LEVER_ENOMEM; no file is left at out. */
LEVER_API int lever_grow(const char *in, const char *out, const char *shape, const char *type, uint64_t seed,
                         lever_grow_result *result,
                         void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                         lever_error *err);

#ifdef __cplusplus
}
#endif
#endif
