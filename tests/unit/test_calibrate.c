/* Calibration of candidates on made-up sources whose truth is known. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "spec/calibrate.h"

static uint64_t state = 1;

static double uniform(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(state >> 40) / (double)(1 << 24);
}

static lv_guess guess(uint8_t source, uint8_t rank, double stated)
{
    return (lv_guess){ .source = source, .rank = rank, .stated = (float)stated };
}

/* Sum over ten bins of |mean probability - share of hits|, weighted by how many fell in. */
static double error_of(const lv_calibration *c, uint8_t source, uint8_t rank, double (*truth)(double))
{
    double sum[10] = { 0 }, hits[10] = { 0 }, n[10] = { 0 }, all = 0, error = 0;
    for (int i = 0; i < 40000; i++) {
        const double p = uniform(), q = lv_calibrated(c, guess(source, rank, p));
        const int b = q < 1 ? (int)(q * 10) : 9;
        sum[b] += q, hits[b] += uniform() < truth(p), n[b]++, all++;
    }
    for (int b = 0; b < 10; b++) error += fabs(sum[b] - hits[b]) / all;
    return error;
}

static double overconfident(double p) { return 0.15 + 0.5 * p; }
static double sharper(double p) { return p * p / (p * p + (1 - p) * (1 - p)); }

static void without_trials_a_draft_is_believed(void)
{
    const lv_calibration c = { 0 };
    for (double p = 0.02; p < 1; p += 0.07)
        CHECK(fabs(lv_calibrated(&c, guess(LV_GUESS_DRAFT, 0, p)) - p) < 1e-3);
    CHECK(lv_calibrated(&c, guess(LV_GUESS_BOTH, 0, 0.5)) > 0.55); /* two that agree */
    double last = 0;
    for (int n = 1; n < 16; n++) { /* longer matches are more likely right */
        const double q = lv_calibrated(&c, guess(LV_GUESS_LOOKUP, 0, n / 16.0));
        CHECK(q > last && q < 1);
        last = q;
    }
}

static void wrong_statements_are_put_right(void)
{
    double (*const truths[])(double) = { overconfident, sharper };
    for (int t = 0; t < 2; t++)
        for (uint8_t rank = 0; rank < 2; rank++) {
            lv_calibration c = { 0 };
            const double before = error_of(&c, LV_GUESS_DRAFT, rank, truths[t]);
            for (int i = 0; i < 6000; i++) {
                const double p = uniform();
                lv_calibration_learn(&c, guess(LV_GUESS_DRAFT, rank, p), uniform() < truths[t](p));
            }
            lv_calibration_new_text(&c);
            const double after = error_of(&c, LV_GUESS_DRAFT, rank, truths[t]);
            CHECK(before > 0.08);
            CHECK(after < 0.035);
            /* Other sources and ranks have learnt nothing from it. */
            CHECK(fabs(lv_calibrated(&c, guess(LV_GUESS_DRAFT, 3, 0.3)) - 0.3) < 1e-3);
        }
}

static void a_text_that_surprises_moves_best_and_others_apart(void)
{
    lv_calibration c = { 0 };
    for (int i = 0; i < 12; i++) lv_calibration_learn(&c, guess(LV_GUESS_DRAFT, 0, 0.9), false);
    CHECK(lv_calibrated(&c, guess(LV_GUESS_DRAFT, 0, 0.6)) < 0.5);
    CHECK(lv_calibrated(&c, guess(LV_GUESS_DRAFT, 1, 0.2)) > 0.2);
    lv_calibration_new_text(&c);
    CHECK(fabs(lv_calibrated(&c, guess(LV_GUESS_DRAFT, 1, 0.2)) - 0.2) < 1e-3);
}

static void values_are_probabilities_whatever_is_stated(void)
{
    lv_calibration c = { 0 };
    static const double stated[] = { 0, 1, -1, 7, 1e-30, 0.9999999 };
    for (int i = 0; i < 3000; i++) {
        const lv_guess g = guess((uint8_t)(i % LV_GUESS_COUNT), (uint8_t)(i % 256), stated[i % 6]);
        lv_calibration_learn(&c, g, i % 3 == 0);
        const double q = lv_calibrated(&c, g);
        CHECK(q > 0 && q < 1);
    }
}

int main(void)
{
    RUN(without_trials_a_draft_is_believed);
    RUN(wrong_statements_are_put_right);
    RUN(a_text_that_surprises_moves_best_and_others_apart);
    RUN(values_are_probabilities_whatever_is_stated);
    return check_done();
}
