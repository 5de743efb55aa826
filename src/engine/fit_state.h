/* The unfinished training of lever_fit on disk. Private to a build and machine: a foreign file is ignored.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_FIT_STATE_H
#define LEVER_ENGINE_FIT_STATE_H

#include "fit/fit_net.h"
#include "lever/fit.h"

typedef struct fit_state {
    uint64_t settings;      /* hash of all that decides the numbers */
    uint32_t stage;         /* layers tried; the training after these is the last */
    uint32_t has_params;    /* the stage has begun: parameters follow */
    uint32_t step, n_steps; /* of the stage */
    uint32_t try_steps, final_steps;
    uint32_t n_best, n_bad; /* step of the best held-out loss (UINT32_MAX: none), checks since */
    uint32_t checked;       /* step of the last check */
    uint32_t adam_steps, n_params;
    uint32_t unused;
    double   best_loss, kd_before, cand_before;
    lever_fit_layer tried[LEVER_FIT_LAYERS];
} fit_state;

uint64_t lv_fit_state_hash(const uint64_t *numbers, size_t n);
/* Write s with the parameters and moments of net, and best [n_params], under another name first. net NULL:
 * without. LEVER_OK, LEVER_EIO, LEVER_ENOMEM. */
int lv_fit_state_save(fit_state *s, const char *path, const lv_fit_net *net, const float *best,
                      lever_error *err);
/* False: there is none, or of other settings; then *s is as it was. */
bool lv_fit_state_load(fit_state *s, const char *path, uint64_t settings);
/* What a save had of net and best. LEVER_OK, LEVER_EIO (also: cut short), LEVER_EFORMAT. */
int  lv_fit_state_load_params(const char *path, lv_fit_net *net, float *best, lever_error *err);

#endif
