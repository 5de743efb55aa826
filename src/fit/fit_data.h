/* The recorded positions: a file of records of one size, so that training can read them in any order without
 * holding them. Fixed header, gains, then records; the header tells how many are complete, so a run that
 * ended in the middle goes on there. The file is private to a build and machine; foreign ones are replaced.
 * Threading: one owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_DATA_H
#define LEVER_FIT_FIT_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fit/fit_loss.h"

enum { LV_FIT_MAX_LAYERS = 8 };

typedef struct lv_fit_data_info {
    uint64_t fingerprint;  /* of the target */
    uint64_t settings;     /* hash of what else decides what is recorded: text, windows, draft, KV type */
    uint32_t n_embd, n_layers;
    uint32_t layers[LV_FIT_MAX_LAYERS]; /* [n_layers] recorded, ascending */
    uint32_t n_windows;    /* of text */
    uint32_t held_every;   /* groups of records: group g is held out when g % held_every == held_every - 1 */
} lv_fit_data_info;

/* One position, in memory. */
typedef struct lv_fit_record {
    uint32_t group;
    int32_t  cands[LV_FIT_CANDIDATES]; /* the draft's, best first; -1: none */
    float    probs[LV_FIT_CANDIDATES]; /* what the draft gives them */
} lv_fit_record;

typedef struct lv_fit_data lv_fit_data;

/* Open path, or begin it anew when it is missing or differs in *info. LEVER_OK, LEVER_EIO, LEVER_ENOMEM.
 * Returned: close, which keeps the file. */
int  lv_fit_data_open(lv_fit_data **out, const char *path, const lv_fit_data_info *info, lever_error *err);
void lv_fit_data_close(lv_fit_data **f);
uint64_t lv_fit_data_record_bytes(const lv_fit_data_info *info);
uint64_t lv_fit_data_memory_bytes(const lv_fit_data_info *info);
/* Complete windows and the records in them. */
uint32_t lv_fit_data_windows(const lv_fit_data *f);
uint32_t lv_fit_data_records(const lv_fit_data *f);
const lv_fit_data_info *lv_fit_data_get_info(const lv_fit_data *f);

/* Output norm of the target [n_embd], once before the first record. */
int  lv_fit_data_put_gain(lv_fit_data *f, const float *gain, lever_error *err);
int  lv_fit_data_gain(lv_fit_data *f, float *gain, lever_error *err);
/* Append a record: final [n_embd] hidden state after the output norm; x [n_layers][n_embd] residual streams,
 * of which x / sqrt(mean(x^2) + eps) is kept in f16. LEVER_OK, LEVER_EIO, LEVER_EFORMAT: a value is not
 * finite. */
int  lv_fit_data_append(lv_fit_data *f, const lv_fit_record *r, const float *final, const float *x, float eps,
                        lever_error *err);
/* The first n_windows are complete: what was appended belongs to them, and a later open finds it. */
int  lv_fit_data_commit(lv_fit_data *f, uint32_t n_windows, lever_error *err);
/* Is record i held out? 1, 0, LEVER_EIO. */
int  lv_fit_data_held(lv_fit_data *f, uint32_t i, lever_error *err);
/* Record i, with x of the layer-th recorded layer: x [n_embd], final [n_embd]. LEVER_OK, LEVER_EIO. */
int  lv_fit_data_read(lv_fit_data *f, uint32_t i, uint32_t layer, lv_fit_record *r, float *final, float *x,
                      lever_error *err);

#endif
