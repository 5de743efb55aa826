/* The early-exit predictor: guesses, from the residual stream after one middle layer, what the target's
 * output head will say of a few tokens. Tree verification prunes by its scores; a wrong score costs speed,
 * never text.
 *
 *   h = x / sqrt(mean(x^2) + eps) * gain                 gain [n_embd] is learnt
 *   tied    score(a) = E_out[a] . (h + U (V^T h))        U, V [n_embd][rank]; E_out is the target's own head
 *   untied  score(a) = W[a] . h                          W [n_vocab][n_embd]
 *
 * A sidecar is a GGUF file of architecture "lever-exit" that `lever fit` writes for one target;
 * docs/pruning.md lists its keys. Its bytes are hostile: whatever they are, opening ends in LEVER_OK or an
 * error code. Owns: its weights and scratch. Does not own: the target. Threading: one owner thread.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_EXIT_PREDICTOR_H
#define LEVER_MODEL_EXIT_PREDICTOR_H

#include "model/model.h"

enum lv_exit_form { LV_EXIT_TIED, LV_EXIT_UNTIED };
enum { LV_EXIT_MAX_RANK = 1024, LV_EXIT_MAX_CURVE = 16 };

/* One point of what pruning at a threshold did on held-out text: shares, 0..1. An edge is a candidate that a
 * tree would hold; it is true when it is the target's own choice. Joint: with the draft's opinion, see below.
 */
typedef struct lv_exit_point {
    float threshold, edges_kept, true_kept, joint_edges_kept, joint_true_kept;
} lv_exit_point;

/* What is known of a predictor; plain data. Losses are means per held-out position in nats: over the whole
 * vocabulary (kd) and among the draft's candidates, of the bare output head and trained. */
typedef struct lv_exit_card {
    uint32_t form;            /* enum lv_exit_form */
    uint32_t layer;           /* scores are made from the residual stream after this layer, counted from 0 */
    uint32_t n_layers, n_embd, n_vocab; /* the target's */
    uint32_t rank;            /* tied; 0 when untied */
    float    norm_eps;
    float    temperature;     /* for the softmax of the scores over the candidates of a node */
    /* With the draft's probabilities p beside the scores s the ranking is better: softmax over the candidates
     * of s / joint_temperature + joint_draft_weight * ln p. */
    float    joint_temperature, joint_draft_weight;
    float    kd_before, kd, cand_before, cand;
    float    kd_temperature, cand_temperature, cand_weight; /* of the training loss */
    uint32_t n_train, n_held; /* positions trained on, held out */
    uint32_t n_steps;
    uint32_t n_candidates;    /* of a node, in the curve */
    uint32_t n_curve;
    lv_exit_point curve[LV_EXIT_MAX_CURVE]; /* [n_curve] thresholds ascending */
    uint64_t fingerprint;     /* of the target */
    char     target[96], draft[96]; /* file names */
} lv_exit_card;

typedef struct lv_exit lv_exit;

/* Read the sidecar at path for the model `target`. LEVER_OK; LEVER_EINVAL: it was made for another model (the
 * text names both); LEVER_EFORMAT (no sidecar, or malformed: key or tensor named); LEVER_EUNSUP (a newer
 * version, a weight type); LEVER_EIO; LEVER_ENOMEM. On failure *out is NULL. Returned: lv_exit_close. */
int  lv_exit_open(lv_exit **out, const char *path, const lv_model_id *target, lever_error *err);
void lv_exit_close(lv_exit **e); /* accepts NULL and *e == NULL */
size_t lv_exit_memory_bytes(const lv_exit *e); /* all that it holds, for the budget */
const lv_exit_card *lv_exit_get_card(const lv_exit *e);
uint32_t lv_exit_layer(const lv_exit *e);
float lv_exit_temperature(const lv_exit *e);

/* What lv_exit_write stores: rows of a matrix are slowest. */
typedef struct lv_exit_weights {
    const float *gain;     /* [n_embd] */
    const float *u, *v;    /* tied: [rank][n_embd], column j of U and V is row j */
    uint32_t     w_type;   /* untied */
    const void  *w;        /* untied: [n_vocab][n_embd] in w_type */
} lv_exit_weights;
/* Borrowed from e. */
lv_exit_weights lv_exit_get_weights(const lv_exit *e);

/* scores [n] = logits of `tokens` [n] as the predictor guesses them from x [n_embd], the residual stream
 * after its layer. The tied form takes rows of the head of `target`, which is the model it was opened for.
 * LEVER_OK; LEVER_EAGAIN: the form is tied and the head is not in memory (no text is set: do not prune);
 * LEVER_EINVAL: a token out of range. A score may be NaN or infinite when x is. Allocates nothing. */
int  lv_exit_score(lv_exit *e, const lv_model *target, const float *x, const int32_t *tokens, uint32_t n,
                   float *scores);

/* Write a sidecar ("<path>.part", then renamed). U, V are stored as F16, so round them before measuring
 * (lv_exit_round). LEVER_OK, LEVER_EINVAL (shape), LEVER_EIO, LEVER_ENOMEM; on failure there is no
 * file. */
int  lv_exit_write(const char *path, const lv_exit_card *card, const lv_exit_weights *w, lever_error *err);
/* Sum of a[i] b[i], n >= 0: sixteen sums side by side, then pairwise. Training and scoring use the same. */
float lv_exit_dot(const float *a, const float *b, size_t n);
/* x [n] as it comes back from a sidecar. */
void lv_exit_round(float *x, size_t n);

#endif
