/* Timing things so that a busy machine does not show. SPDX-License-Identifier: MIT */
#include "engine/profile_impl.h"
#include "os/clock.h"

static const double longest_sample = 0.004, shortest_sample = 20e-6; /* seconds */
enum { MOST_REPEATS = 1 << 20 };

static void sort(double *s, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        const double x = s[i];
        uint32_t at = i;
        while (at > 0 && s[at - 1] > x) s[at] = s[at - 1], at--;
        s[at] = x;
    }
}

double lv_lower_eighth(double *s, uint32_t n) { return sort(s, n), s[n / 8]; }

double lv_middle(double *s, uint32_t n) { return sort(s, n), s[n / 2]; }

int lv_profile_progress(lv_profile *p, double share, lever_error *err)
{
    const uint32_t done = p->step_from + (uint32_t)((p->step_to - p->step_from) * (share < 1 ? share : 1));
    if (done > p->done) p->done = done;
    if (!p->params->on_progress || p->params->on_progress(p->params->user, p->what, p->done, p->total))
        return LEVER_OK;
    return lv_fail(err, LEVER_ECANCEL, 0, "measuring was stopped");
}

/* One sample of n repetitions; *s: seconds of all of them. */
static int sample(lv_profile *p, lv_point *point, size_t n, double *s, lever_error *err)
{
    if (point->prepare) LEVER_TRY(point->prepare(p, point, err));
    point->passed_ns = 0;
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(point->run(p, point, n, err));
    *s = (double)(point->passed_ns ? point->passed_ns : lv_clock_ns() - t0) * 1e-9;
    return LEVER_OK;
}

static void keep(lv_point *point, uint32_t at, double seconds)
{
    point->samples[at] = seconds / (double)point->n;
    point->n_samples = at + 1;
}

/* Repeat until a sample takes about as long as it may. The last one counts if there is no time for more. */
static int calibrate(lv_profile *p, lv_point *point, double wanted, lever_error *err)
{
    double s;
    for (point->n = 1;;) {
        LEVER_TRY(sample(p, point, point->n, &s, err));
        keep(point, 0, s);
        if (s >= wanted / 2 || point->n >= MOST_REPEATS) return LEVER_OK;
        const double more = s > 0 ? wanted / s : 8;
        point->n = point->n * (more > 8 ? 8 : more < 2 ? 2 : (size_t)more);
    }
}

/* What belongs to something else was measured at another moment: it never takes more than half. */
static void conclude(lv_point *point)
{
    const double each = lv_lower_eighth(point->samples, point->n_samples);
    *point->out = (each - (point->less < each / 2 ? point->less : each / 2)) * point->scale;
}

int lv_points_measure(lv_profile *p, lv_point *points, size_t n, double seconds, lever_error *err)
{
    const uint64_t end = lv_clock_ns() + (uint64_t)(seconds * 1e9);
    double wanted = seconds / (double)(n * (LV_PROFILE_ROUNDS + 4)), s;
    if (wanted > longest_sample) wanted = longest_sample;
    if (wanted < shortest_sample) wanted = shortest_sample;
    for (size_t i = 0; i < n; i++) {
        LEVER_TRY(calibrate(p, &points[i], wanted, err));
        LEVER_TRY(lv_profile_progress(p, 0.4 * (double)(i + 1) / (double)n, err));
    }
    for (uint32_t round = 0; round < LV_PROFILE_ROUNDS && lv_clock_ns() < end; round++)
        for (size_t i = 0; i < n && lv_clock_ns() < end; i++) {
            LEVER_TRY(sample(p, &points[i], points[i].n, &s, err));
            keep(&points[i], round, s);
            if (i % 8 == 0) LEVER_TRY(lv_profile_progress(p, 0.4 + 0.6 * round / LV_PROFILE_ROUNDS, err));
        }
    for (size_t i = 0; i < n; i++) conclude(&points[i]);
    return LEVER_OK;
}
