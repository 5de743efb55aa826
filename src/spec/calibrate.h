/* From what a source of candidates says to how often it is right (METHODS.md section 1.3, Calibrate).
 *
 * Bins by source, rank and stated probability; each holds how often such a candidate was the target's token when
 * its parent was reached, with exponential forgetting, on top of a belief in the statement itself that is worth a
 * few trials. Between bins of one rank the value is interpolated, so that it is continuous in the probability.
 * Reliability: a factor of the odds that follows the surprises of the text at hand and is dropped with it: up for
 * the best guess of a node, down for the others, because where the draft is right more often, they are so less often.
 * At temperatures above 0 the stated probability is the one given the shared noise (spec/sampler.h).
 * Plain data, no allocation. Threading: one owner. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_CALIBRATE_H
#define LEVER_SPEC_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

enum lv_guess_source {
    LV_GUESS_DRAFT,  /* the draft's probability */
    LV_GUESS_LOOKUP, /* followed the same n tokens before; the statement is n / 16 */
    LV_GUESS_BOTH,   /* the draft's probability of a token that lookup names too */
    LV_GUESS_COUNT
};
enum { LV_CAL_RANKS = 4, LV_CAL_BINS = 12 };

typedef struct lv_guess {
    uint8_t source;  /* enum lv_guess_source */
    uint8_t rank;    /* among its siblings, best first; those from LV_CAL_RANKS - 1 on are one */
    float   stated;  /* 0..1 */
} lv_guess;

typedef struct lv_calibration {
    double hits[LV_GUESS_COUNT][LV_CAL_RANKS][LV_CAL_BINS], trials[LV_GUESS_COUNT][LV_CAL_RANKS][LV_CAL_BINS];
    double stated[LV_GUESS_COUNT][LV_CAL_RANKS][LV_CAL_BINS]; /* sum of the statements behind the trials */
    double tilt; /* of this text: odds of best guesses times 1 + tilt, of others divided by it; below 0 the inverse */
} lv_calibration; /* zeroed: nothing learnt, statements are believed as far as their source is known to be */

/* Probability that a guess is right, within 0..1. */
double lv_calibrated(const lv_calibration *c, lv_guess g);
/* The parent of a guess was reached, and the target's token was this one or not. */
void   lv_calibration_learn(lv_calibration *c, lv_guess g, bool right);
/* Take over one of an earlier run. False: it can not be one. */
bool   lv_calibration_restore(lv_calibration *c);
/* A new text: what was learnt stays, its offset goes. */
void   lv_calibration_new_text(lv_calibration *c);

#endif
