/* The sums file beside a model: MODEL.gguf.sums (format: gguf/sums.h). Making and comparing read the whole
 * model in long reads past the page cache. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_SUMS_FILE_H
#define LEVER_FLASH_SUMS_FILE_H

#include "gguf/sums.h"

typedef struct lv_sums_file {
    lv_sums  sums;     /* borrowed from bytes */
    uint8_t *bytes;
    size_t   n_bytes;  /* memory held, for the budget */
} lv_sums_file;

/* Load the sums beside `model`, a file of model_bytes. LEVER_OK; LEVER_EIO: there are none, the text says how
 * to make them; LEVER_EFORMAT: malformed, or the model is cut off; LEVER_EUNSUP (version); LEVER_EINVAL: made
 * for another file; LEVER_ENOMEM. */
int  lv_sums_load(lv_sums_file *out, const char *model, uint64_t model_bytes, lever_error *err);
void lv_sums_unload(lv_sums_file *f); /* accepts a zeroed one */
/* header [n]: the first bytes of `model`, as lv_gguf_meta gives them. LEVER_OK; LEVER_EINVAL: the sums are of
 * another model; LEVER_EIO: damaged. */
int  lv_sums_check_header(const lv_sums *s, const char *model, const void *header, size_t n,
                          lever_error *err);

typedef struct lv_sums_report {
    uint64_t model_bytes, sums_bytes, n_pages, n_bad_pages;
    uint32_t n_tensors, n_bad_tensors;
    bool     bad_header;
} lv_sums_report;

typedef struct lv_sums_progress {
    void (*fn)(void *user, uint64_t done_bytes, uint64_t total_bytes); /* nullable; from this thread */
    void  *user;
} lv_sums_progress;

/* Damage in consecutive pages, as far as it lies in one tensor, the header or (when all of these are whole)
 * "padding". what is borrowed during the call. */
typedef void (*lv_sums_damage_fn)(void *user, lv_str what, uint64_t off, uint64_t bytes);

/* Write the sums of a model, under another name first: a failure leaves what was there. report may be NULL.
 * LEVER_OK, LEVER_EIO, LEVER_EFORMAT, LEVER_EUNSUP, LEVER_ELIMIT, LEVER_ENOMEM. */
int lv_sums_make(const char *model, lv_sums_report *report, const lv_sums_progress *progress,
                 lever_error *err);
/* Compare a model with its sums; the GGUF need not be readable. LEVER_OK: read it all, *report and the
 * calls of on_damage (nullable) tell what is damaged; else as lv_sums_load and lv_sums_make. */
int lv_sums_compare(const char *model, lv_sums_report *report, lv_sums_damage_fn on_damage, void *user,
                    const lv_sums_progress *progress, lever_error *err);

#endif
