/* How often a target takes what a draft proposes, as a record of text: it says how long trees of any shape will be
 * accepted, before one is tried (plan/speed_policy.h).
 *
 * A node is of a class, by the probability of its best candidate. For every token of text is kept of what class the
 * draft was after it, and which of its candidates, in order, the text went on with. That does not depend on the policy
 * that was run, and text keeps its easy and hard stretches: what a policy would have made of it can be replayed. Tokens
 * that a policy had no wish to evaluate belong to it, else it would be too good: they are evaluated for the record with
 * the next root. That costs some rows of logits, so text is recorded only at first, then a stretch now and then.
 * Probabilities of policies that sharpen them are of other classes: kinds are told apart by that and by temperature.
 * The last few thousand tokens count.
 * Plain data, no allocation. Threading: one owner.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_ACCEPTANCE_H
#define LEVER_SPEC_ACCEPTANCE_H

#include <stdbool.h>
#include <stdint.h>

enum { LV_ACC_CLASSES = 8, LV_ACC_RANKS = 8, LV_ACC_KINDS = 4, LV_ACC_TEXT = 4096 };

/* What the draft said after one token of text. Zeroed: nothing is known. */
typedef struct lv_said {
    uint8_t known : 1;
    uint8_t begins : 1; /* not what follows the entry before */
    uint8_t class : 3;  /* lv_acceptance_class */
    uint8_t n : 4;      /* candidates that were looked at, 1..LV_ACC_RANKS */
    uint8_t rank : 4;   /* of the one that the text went on with; n: none of them */
} lv_said;

typedef struct lv_acceptance {
    lv_said  text[LV_ACC_TEXT]; /* [n_text]; a ring, once it is full */
    uint32_t n_text, at;        /* where the next one goes */
    uint32_t n_seen;            /* tokens, recorded or not */
    float by_draft, by_lookup;  /* accepted tokens: that the draft could propose; that only the text had */
    float pruned_rows, pruned_kept; /* rows of sweeps that were pruned; of them, those that went on */
} lv_acceptance; /* zeroed: nothing seen */

/* Of a pair of models, by kind. */
typedef struct lv_acceptances {
    lv_acceptance kind[LV_ACC_KINDS];
} lv_acceptances;

/* Index into kind. */
static inline uint32_t lv_acceptance_kind(float sharpness, float temperature)
{
    return (sharpness > 1.4f) + 2 * (temperature > 0);
}
/* Class of a node whose best candidate has this probability. */
uint32_t lv_acceptance_class(float best);
/* Is it time to record what comes? */
bool lv_acceptance_records(const lv_acceptance *a);
/* A stretch of n tokens. */
void lv_acceptance_add(lv_acceptance *a, const lv_said *said, uint32_t n);
/* A cycle begins to count in by_draft and so on: old ones fade. */
void lv_acceptance_fade(lv_acceptance *a);
/* Tokens that lookup adds to each of the draft's, 0 where little is known; share of rows that pruning leaves,
 * `otherwise` where little is known. */
double lv_acceptance_lookup(const lv_acceptance *a);
double lv_acceptance_kept(const lv_acceptance *a, double otherwise);
uint32_t lv_acceptance_known(const lv_acceptance *a); /* tokens of which something is known */
/* A record of an earlier run: false if it can not be one. */
bool lv_acceptance_valid(const lv_acceptance *a);

/* Probabilities, with what is usual where little was seen. */
typedef struct lv_acceptance_rates {
    double start[LV_ACC_CLASSES];                    /* after a token that was no candidate; sum 1 */
    double hit[LV_ACC_CLASSES][LV_ACC_RANKS];        /* falling with the rank; sum <= 1 */
    double next[LV_ACC_CLASSES][2][LV_ACC_CLASSES];  /* after the best candidate; after another. Sums 1 */
} lv_acceptance_rates;
/* a NULL or zeroed: of a usual pair, where the best candidate is right about seven times in ten. */
void lv_acceptance_get_rates(lv_acceptance_rates *r, const lv_acceptance *a);

/* The text from its oldest token on; what is not known of it is filled in by chance, always the same. */
typedef struct lv_replay {
    uint32_t n;
    struct { uint8_t class, rank; /* LV_ACC_RANKS: none */ } at[LV_ACC_TEXT];
} lv_replay;
void lv_acceptance_replay(lv_replay *out, const lv_acceptance *a, const lv_acceptance_rates *r);

/* That the i-th token of a chain is right when those before it are, p [k], where chains begin after a token that was
 * not the best candidate: by rates alone; in a text (n > 0). */
void lv_acceptance_chain(const lv_acceptance_rates *r, double *p, uint32_t k);
void lv_replay_chain(const lv_replay *text, double *p, uint32_t k);

#endif
