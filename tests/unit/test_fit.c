/* Training of the exit predictor: both losses against plain arithmetic, gradients against finite differences
 * in double, the same bits whatever the threads and micro-batches, and a problem with a known optimum.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>
#include <unistd.h>

#include "fit/fit_trainer.h"
#include "model/exit_predictor.h"
#include "os/cpu.h"
#include "support/tempfile.h"

enum { D = 24, V = 90, R = 3, ROWS = 7 };

static char head_path[64];
static float head_rows[V][D], gain0[D], x[64][D], final[64][D];
static int32_t cands[64][LV_FIT_CANDIDATES];

static uint64_t state = 1;
static float number(void) /* about normal */
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(state >> 40) / (1 << 24) - 0.5f;
    }
    return 1.7f * sum;
}

static void setup(void)
{
    temp_make(head_path, sizeof head_path, 0);
    for (int a = 0; a < V; a++)
        for (int i = 0; i < D; i++) head_rows[a][i] = 0.5f * number();
    for (int i = 0; i < D; i++) gain0[i] = 1.0f + 0.3f * number();
    for (int b = 0; b < 64; b++)
        for (int i = 0; i < D; i++) x[b][i] = number(), final[b][i] = number();
    for (int b = 0; b < 64; b++)
        for (int c = 0; c < LV_FIT_CANDIDATES; c++) /* different ones; some positions have fewer */
            cands[b][c] = c < 16 - b % 3 * 8 ? (b * 7 + c * 5) % V : -1;
    FILE *f = fopen(head_path, "wb");
    fwrite(head_rows, sizeof head_rows, 1, f);
    fclose(f);
}

/* ---- the same in double, without any of our code ---- */

static void plain_softmax(const double *in, int n, double t, double *p)
{
    double max = in[0], sum = 0;
    for (int i = 1; i < n; i++) max = in[i] > max ? in[i] : max;
    for (int i = 0; i < n; i++) sum += p[i] = exp((in[i] - max) / t);
    for (int i = 0; i < n; i++) p[i] /= sum;
}

static double plain_kl(const double *z, const double *s, int n, double t)
{
    double p[V], q[V], sum = 0;
    plain_softmax(z, n, t, p);
    plain_softmax(s, n, t, q);
    for (int i = 0; i < n; i++) sum += p[i] * (log(p[i]) - log(q[i]));
    return t * t * sum;
}

/* Loss of one position from the predictor's output. */
static double plain_position(int b, const double *z, const double *s, const lv_fit_trainer_config *c)
{
    double zc[LV_FIT_CANDIDATES], sc[LV_FIT_CANDIDATES];
    int n = 0;
    for (; n < LV_FIT_CANDIDATES && cands[b][n] >= 0; n++) zc[n] = z[cands[b][n]], sc[n] = s[cands[b][n]];
    return plain_kl(z, s, V, (double)c->kd_temperature) +
           (double)c->cand_weight * plain_kl(zc, sc, n, (double)c->cand_temperature);
}

static double plain_loss(const lv_fit_trainer_config *c, const double *p, int rows)
{
    double sum = 0;
    const bool tied = c->shape.form == LV_EXIT_TIED;
    for (int b = 0; b < rows; b++) {
        double h[D], out[D], z[V] = { 0 }, s[V] = { 0 };
        for (int i = 0; i < D; i++) out[i] = h[i] = x[b][i] * gain0[i] * (tied ? 1 + p[i] : 1);
        for (int k = 0; tied && k < R; k++) {
            double low = 0;
            for (int i = 0; i < D; i++) low += p[(1 + R + k) * D + i] * h[i];
            for (int i = 0; i < D; i++) out[i] += low * p[(1 + k) * D + i];
        }
        for (int a = 0; a < V; a++)
            for (int i = 0; i < D; i++) {
                z[a] += head_rows[a][i] * final[b][i];
                s[a] += (tied ? (double)head_rows[a][i] : p[a * D + i]) * out[i];
            }
        sum += plain_position(b, z, s, c);
    }
    return sum;
}

/* ---- rig ---- */

typedef struct fit_rig {
    lv_fit_trainer_config c;
    lv_fit_head head;
    lv_cpu *cpu;
    lv_fit_trainer *t;
} fit_rig;

static lv_fit_scored scored[64];

static void rig_open(fit_rig *r, uint32_t form, unsigned threads, uint32_t micro, bool keep, unsigned flags)
{
    lever_error e = { 0 };
    const lv_fit_head_place place = { LV_TYPE_F32, V, D, 0, sizeof head_rows };
    *r = (fit_rig){ .c = { .shape = { form, D, V, form == LV_EXIT_TIED ? R : 0 },
                           .kd_temperature = 1.5f, .cand_temperature = 0.7f, .cand_weight = 0.6f,
                           .batch_rows = 64, .micro_rows = micro, .n_threads = threads, .seed = 5 } };
    lv_cpu_config cc = { .n_threads = threads, .cpu_flags = flags };
    lv_fit_trainer_cpu(&r->c, &place, &cc);
    CHECK_OK(lv_cpu_open(&r->cpu, &cc, &e), &e);
    CHECK_OK(lv_fit_head_open(&r->head, head_path, &place, keep, &e), &e);
    CHECK_OK(lv_fit_trainer_open(&r->t, &r->c, gain0, &r->head, r->cpu, &e), &e);
}

static void rig_close(fit_rig *r)
{
    lv_fit_trainer_close(&r->t);
    lv_fit_head_close(&r->head);
    lv_cpu_close(&r->cpu);
}

static double run(fit_rig *r, uint32_t rows, bool gradient)
{
    lever_error e = { 0 };
    const lv_fit_batch b = { .x = x[0], .final = final[0], .cands = cands[0], .rows = rows };
    CHECK_OK(lv_fit_trainer_run(r->t, &b, gradient, scored, &e), &e);
    double sum = 0;
    for (uint32_t i = 0; i < rows; i++) sum += scored[i].kd + (double)r->c.cand_weight * scored[i].cand;
    return sum;
}

/* ---- tests ---- */

static void test_losses_are_the_formulas(void)
{
    lv_kernels k;
    lv_kernels_init(&k, 0);
    for (int round = 0; round < 20; round++) {
        const float t = 0.5f + 0.2f * (float)round, size = (float)(1 << round % 6);
        const int n = 2 + round * 4;
        float z[V], s[V], grad[LV_FIT_CANDIDATES], scratch[V];
        double zd[V], sd[V];
        for (int i = 0; i < n; i++) zd[i] = z[i] = size * number(), sd[i] = s[i] = size * number();
        if (n <= LV_FIT_CANDIDATES) {
            const double got = lv_fit_loss_cand(z, s, (uint32_t)n, t, grad),
                         want = plain_kl(zd, sd, n, (double)t);
            CHECK(fabs(got - want) < 1e-9 * (1 + want));
            CHECK(lv_fit_loss_cand(z, s, (uint32_t)n, t, NULL) == got);
        }
        const double want = plain_kl(zd, sd, n, (double)t),
                     got = lv_fit_loss_kd(&k, z, s, (size_t)n, t, scratch);
        CHECK(fabs(got - want) < 1e-5 * (1 + want));
        for (int i = 0; i < n; i++) { /* gradient by each logit */
            const double step = 1e-5, keep = sd[i];
            sd[i] = keep + step;
            const double up = plain_kl(zd, sd, n, (double)t);
            sd[i] = keep - step;
            const double slope = (up - plain_kl(zd, sd, n, (double)t)) / (2 * step);
            sd[i] = keep;
            CHECK(fabs(slope - (double)s[i]) < 2e-5 * (1 + fabs(slope)));
            if (n <= LV_FIT_CANDIDATES) CHECK(fabs(slope - (double)grad[i]) < 2e-6 * (1 + fabs(slope)));
        }
    }
    float same[3] = { 1, 2, 3 }, copy[3] = { 1, 2, 3 }, scratch[3], bad[3] = { 1, NAN, 2 };
    CHECK(lv_fit_loss_kd(&k, same, copy, 3, 1, scratch) == 0 && copy[0] == 0 && copy[2] == 0);
    CHECK(lv_fit_loss_cand(bad, same, 3, 1, NULL) != 0);
}

static void check_gradient(uint32_t form, bool keep)
{
    fit_rig r;
    rig_open(&r, form, 2, form == LV_EXIT_TIED ? 3 : 64, keep, lv_cpu_detect());
    lv_fit_net *n = lv_fit_trainer_net(r.t);
    static double p[V * D];
    /* Away from the start, where U is zero and V has no gradient. */
    for (size_t i = 0; i < n->n_params; i++) p[i] = n->p[i] += 0.2f * number();
    const double loss = run(&r, ROWS, true), want = plain_loss(&r.c, p, ROWS);
    CHECK(fabs(loss - want) < 1e-5 * want);
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n->n_params; i++) {
        const double step = 1e-5, here = p[i];
        p[i] = here + step;
        const double up = plain_loss(&r.c, p, ROWS);
        p[i] = here - step;
        const double slope = (up - plain_loss(&r.c, p, ROWS)) / (2 * step);
        p[i] = here;
        worst = fmax(worst, fabs(slope - (double)n->g[i]));
        largest = fmax(largest, fabs(slope));
    }
    printf("     form %u: largest gradient %.3g, largest error %.3g\n", form, largest, worst);
    CHECK(largest > 0.1 && worst < 1e-5 * largest);
    rig_close(&r);
}

static void test_tied_gradient_is_that_of_finite_differences(void) { check_gradient(LV_EXIT_TIED, true); }
static void test_untied_gradient_is_that_of_finite_differences(void)
{
    check_gradient(LV_EXIT_UNTIED, false);
}

/* Some steps; the parameters into out [n_params]. */
static size_t train(uint32_t form, unsigned threads, uint32_t micro, bool keep, unsigned flags, float *out)
{
    fit_rig r;
    rig_open(&r, form, threads, micro, keep, flags);
    lv_fit_net *n = lv_fit_trainer_net(r.t);
    for (int i = 0; i < 5; i++) {
        run(&r, 61, true);
        lv_fit_net_step(n, r.cpu, 0.01f, 1.0f / 61);
    }
    memcpy(out, n->p, n->n_params * sizeof *out);
    const size_t n_params = n->n_params;
    rig_close(&r);
    return n_params;
}

static void test_parameters_do_not_depend_on_threads_chunks_or_processor(void)
{
    static float want[V * D], got[V * D];
    const unsigned flags = lv_cpu_detect();
    for (uint32_t form = LV_EXIT_TIED; form <= LV_EXIT_UNTIED; form++) {
        const size_t n = train(form, 1, 64, true, flags, want);
        train(form, 3, 64, false, flags, got);
        CHECK(!memcmp(got, want, n * sizeof *got));
        train(form, 2, 64, true, 0, got);
        CHECK(!memcmp(got, want, n * sizeof *got));
        if (form == LV_EXIT_TIED) train(form, 2, 5, false, flags, got);
        CHECK(!memcmp(got, want, n * sizeof *got));
    }
}

/* The final hidden states are what U, V of that rank make of the middle ones: the loss can fall to nothing.
 */
static void test_training_finds_a_known_optimum(void)
{
    static float keep[64][D];
    float u[R][D], v[R][D];
    memcpy(keep, final, sizeof keep);
    for (int k = 0; k < R; k++)
        for (int i = 0; i < D; i++) u[k][i] = 0.8f * number(), v[k][i] = 0.4f * number();
    for (int b = 0; b < 64; b++) {
        for (int i = 0; i < D; i++) final[b][i] = x[b][i] * gain0[i];
        for (int k = 0; k < R; k++) {
            float low = 0;
            for (int i = 0; i < D; i++) low += v[k][i] * x[b][i] * gain0[i];
            for (int i = 0; i < D; i++) final[b][i] += low * u[k][i];
        }
    }
    for (uint32_t form = LV_EXIT_TIED; form <= LV_EXIT_UNTIED; form++) {
        fit_rig r;
        rig_open(&r, form, 2, 64, true, lv_cpu_detect());
        const double before = run(&r, 64, false) / 64;
        for (int i = 0; i < 1500; i++) {
            run(&r, 64, true);
            lv_fit_net_step(lv_fit_trainer_net(r.t), r.cpu, i < 1000 ? 0.02f : 0.002f, 1.0f / 64);
        }
        const double after = run(&r, 64, false) / 64;
        printf("     form %u: loss %.4f, then %.6f\n", form, before, after);
        CHECK(before > 0.5 && after < 2e-3 * before);
        rig_close(&r);
    }
    memcpy(final, keep, sizeof keep);
}

static void test_damaged_weights_are_an_error(void)
{
    fit_rig r;
    lever_error e = { 0 };
    rig_open(&r, LV_EXIT_TIED, 1, 64, true, 0);
    const float good = final[2][3];
    final[2][3] = NAN;
    const lv_fit_batch b = { .x = x[0], .final = final[0], .cands = cands[0], .rows = 4 };
    CHECK_EQ(lv_fit_trainer_run(r.t, &b, true, scored, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "not finite"));
    final[2][3] = good;
    CHECK_OK(lv_fit_trainer_run(r.t, &b, true, scored, &e), &e);
    rig_close(&r);
}

int main(void)
{
    setup();
    RUN(test_losses_are_the_formulas);
    RUN(test_tied_gradient_is_that_of_finite_differences);
    RUN(test_untied_gradient_is_that_of_finite_differences);
    RUN(test_parameters_do_not_depend_on_threads_chunks_or_processor);
    RUN(test_training_finds_a_known_optimum);
    RUN(test_damaged_weights_are_an_error);
    unlink(head_path);
    return check_done();
}
