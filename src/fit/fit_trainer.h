/* Gradient steps and losses of an exit predictor on batches of recorded positions. The logits of both models
 * are computed from the output head chunk by chunk, and held for micro_rows positions at a time; what is
 * trained does not depend on that number in the tied form, nor on threads or processor. Owns: the net and the
 * buffers. Does not own: head, cpu. Threading: one owner thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_TRAINER_H
#define LEVER_FIT_FIT_TRAINER_H

#include "fit/fit_head.h"
#include "fit/fit_loss.h"
#include "fit/fit_net.h"

typedef struct lv_fit_trainer_config {
    lv_fit_shape shape;
    float    kd_temperature, cand_temperature, cand_weight;
    uint32_t batch_rows;  /* positions of a gradient step */
    uint32_t micro_rows;  /* of which logits are held at once; untied: batch_rows */
    unsigned n_threads;
    uint64_t seed;
} lv_fit_trainer_config;

typedef struct lv_fit_trainer lv_fit_trainer;

/* Positions as recorded; borrowed during a call. */
typedef struct lv_fit_batch {
    const float   *x;      /* [rows][d] residual stream over its root mean square */
    const float   *final;  /* [rows][d] hidden state after the output norm */
    const int32_t *cands;  /* [rows][LV_FIT_CANDIDATES] the draft's, best first; < 0: none */
    uint32_t rows;         /* <= batch_rows */
} lv_fit_batch;

typedef struct lv_fit_scored {
    double  kd, cand;      /* losses */
    float   z[LV_FIT_CANDIDATES], s[LV_FIT_CANDIDATES]; /* logits of the candidates: target's, predictor's */
    int32_t choice;        /* the target's likeliest token */
} lv_fit_scored;

uint64_t lv_fit_trainer_memory_bytes(const lv_fit_trainer_config *c, size_t head_chunk);
/* What the lv_cpu must be opened for. Threads and flags are left to the caller. */
void lv_fit_trainer_cpu(const lv_fit_trainer_config *c, const lv_fit_head_place *head, lv_cpu_config *out);
/* gain0 [d]: of the output norm. LEVER_OK, LEVER_EIO (the untied form begins as a copy of the head),
 * LEVER_ENOMEM. Returned: close. */
int  lv_fit_trainer_open(lv_fit_trainer **out, const lv_fit_trainer_config *c, const float *gain0,
                         lv_fit_head *head, lv_cpu *cpu, lever_error *err);
void lv_fit_trainer_close(lv_fit_trainer **t); /* accepts NULL and *t == NULL */
lv_fit_net *lv_fit_trainer_net(lv_fit_trainer *t);

/* Losses of each position into scored [rows]; with_gradient: net->g gets the sum over positions of the
 * gradient of kd + cand_weight * cand. LEVER_OK; LEVER_EIO; LEVER_EFORMAT: a logit is not finite. */
int  lv_fit_trainer_run(lv_fit_trainer *t, const lv_fit_batch *b, bool with_gradient, lv_fit_scored *scored,
                        lever_error *err);

#endif
