/* Inside of lever_fit; shared by the files engine/fit*.c. SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_FIT_IMPL_H
#define LEVER_ENGINE_FIT_IMPL_H

#include "engine/engine.h"
#include "fit/fit_data.h"
#include "fit/fit_head.h"
#include "lever/fit.h"
#include "model/exit_predictor.h"

enum {
    FIT_BATCH = 256,         /* positions of a gradient step */
    FIT_SKIP = 4,            /* first positions of a window, whose hidden states are unlike all others */
    FIT_LEAST_WINDOW = 16,   /* tokens; shorter rests of a text are left out */
    FIT_HELD_MOST = 2048     /* held-out positions measured with */
};

typedef struct fit_job {
    const lever_config     *config;
    const lever_fit_params *params;
    lever_fit_result       *result;
    lv_model_id       target, draft;
    lv_fit_head_place head;
    float     norm_eps;
    uint32_t  n_used;        /* tokens of the vocabulary */
    uint32_t  form, rank;    /* enum lv_exit_form */
    lv_cpu_config cpu;       /* threads, flags, cores */
    uint64_t  mem_bytes, others_bytes;
    lv_fit_data_info info;
    lv_fit_data *data;
    char     *data_path, *state_path;
    int32_t  *tokens;        /* of all windows, one after the other */
    uint32_t *ends;          /* [n_windows] where each ends in tokens */
    uint64_t  started_ns;
} fit_job;

static inline uint32_t fit_window_begin(const fit_job *j, uint32_t w) { return w ? j->ends[w - 1] : 0; }

/* Ask the caller whether to go on. */
static inline bool fit_go_on(const fit_job *j)
{
    return !j->params->on_progress || j->params->on_progress(j->params->user, j->result);
}

/* engine/fit_record.c: run what is left of the windows through both models. o: opened, planned here; its
 * models move on. LEVER_OK; LEVER_ECANCEL: complete windows are kept; errors of engines. */
int lv_fit_record_run(fit_job *j, lv_engine_setup *o, lever_error *err);
/* engine/fit_train.c: from complete records to the sidecar. LEVER_OK; LEVER_ECANCEL: the state is kept; other
 * errors as lever_fit. */
int lv_fit_train_run(fit_job *j, lever_error *err);

#endif
