/* A sidecar that lever_fit wrote, used as the engine uses it: residual streams from the hook after its layer,
 * scores from lv_exit_score. What it then costs in divergence from the target is what its card says.
 * SPDX-License-Identifier: MIT */
#include "equal/forward_rig.h"

#include <math.h>
#include <unistd.h>

#include "fit/fit_loss.h"
#include "lever/fit.h"
#include "model/exit_predictor.h"
#include "support/mkmodel.h"
#include "token/vocab.h"

enum { TEXT = 6000, D = 64, V = 273 };

static char target[] = "/tmp/lever-fs1-XXXXXX", draft[] = "/tmp/lever-fs2-XXXXXX",
            out[] = "/tmp/lever-fs3-XXXXXX";
static char text[TEXT];
static float streams[4][RIG_ROWS][D]; /* after each layer but the last */

static int keep_stream(void *user, uint32_t layer, const float *x, uint32_t n_rows, uint32_t *keep,
                       lever_error *err)
{
    (void)user, (void)keep, (void)err;
    memcpy(streams[layer], x, n_rows * sizeof streams[0][0]);
    return (int)n_rows;
}

static lever_fit_result fit(const char *form)
{
    lever_config c;
    lever_fit_result r;
    lever_error e = { 0 };
    const lever_text one = { text, sizeof text };
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_ctx = RIG_ROWS;
    c.kv_type = "f16"; /* as the rig's */
    const lever_fit_params p = {
        .texts = &one, .n_texts = 1, .out = out, .form = form, .layers = 3, .steps = 60
    };
    CHECK_OK(lever_fit(&c, &p, &r, &e), &e);
    return r;
}

/* Tokens of the text from an arbitrary place on. */
static void tokens_at(const lv_gguf *g, size_t at, int32_t *tokens)
{
    lv_vocab *v;
    lever_error e = { 0 };
    CHECK_OK(lv_vocab_open(&v, g, &e), &e);
    CHECK(lv_vocab_encode(v, text + at, 2 * RIG_ROWS, 0, tokens, RIG_ROWS, &e) >= RIG_ROWS);
    lv_vocab_close(&v);
}

/* Mean KL of target to predictor over the positions of a window, from the stream after `layer`. */
static double mean_kl(const rig *r, lv_exit *x, uint32_t layer, const float *logits)
{
    float scores[V], z[V], scratch[V];
    int32_t all[V];
    double sum = 0;
    for (int a = 0; a < V; a++) all[a] = a;
    for (int i = 4; i < RIG_ROWS; i++) {
        CHECK_EQ(lv_exit_score(x, r->m, streams[layer][i], all, V, scores), LEVER_OK);
        memcpy(z, logits + (size_t)i * V, sizeof z);
        sum += lv_fit_loss_kd(lv_cpu_kernels(r->cpu), z, scores, V, 1, scratch);
    }
    return sum / (RIG_ROWS - 4);
}

static void check_form(const char *form)
{
    const lever_fit_result result = fit(form);
    static float logits[RIG_ROWS * V];
    int32_t tokens[RIG_ROWS];
    lv_row rows[RIG_ROWS];
    lv_model_id id;
    lv_exit *x;
    lever_error e = { 0 };
    rig r;
    CHECK_OK(rig_open(&r, &(rig_config){ .path = target, .cpu_flags = lv_cpu_detect() }, &e), &e);
    CHECK_OK(lv_model_identify(r.m, &id, &e), &e);
    CHECK_OK(lv_exit_open(&x, out, &id, &e), &e);
    double right = 0, wrong = 0;
    for (int w = 0; w < 8 && x; w++) {
        lv_kv *kv = &r.kv;
        tokens_at(lv_model_gguf(r.m), (size_t)w * 700, tokens);
        for (int i = 0; i < RIG_ROWS; i++) rows[i] = (lv_row){ .token = tokens[i], .parent = i - 1 };
        lv_batch b = { .rows = rows, .n_rows = RIG_ROWS, .kv = &kv, .n_kv = 1, .after_layer = keep_stream };
        CHECK_OK(lv_model_forward(r.m, &b, &e), &e);
        CHECK_OK(rig_project(&r, RIG_ROWS, logits, &e), &e);
        lv_kv_truncate(kv, 0);
        right += mean_kl(&r, x, lv_exit_layer(x), logits) / 8;
        wrong += mean_kl(&r, x, lv_exit_layer(x) - 1, logits) / 8;
    }
    printf(
        "     %s: divergence %.4f; the card says %.4f, of the bare head %.4f; after the layer before %.4f\n",
        form, right, result.best.kd, result.best.kd_before, wrong);
    CHECK_EQ(lv_exit_layer(x), 2);
    CHECK(right < 1.15 * result.best.kd && right > 0.6 * result.best.kd); /* most of it was trained on */
    CHECK(wrong > 1.3 * right && result.best.kd_before > 1.3 * result.best.kd);
    lv_exit_close(&x);
    rig_close(&r);
}

static void tied(void) { check_form("tied"); }
static void untied(void) { check_form("untied"); }

int main(void)
{
    mk_config c = mk_config_init();
    lever_error e = { 0 };
    uint32_t s = 1;
    close(mkstemp(target)), close(mkstemp(draft)), close(mkstemp(out));
    CHECK_OK(mk_model_write(target, &c, &e), &e);
    c.n_layers = 2;
    CHECK_OK(mk_model_write(draft, &c, &e), &e);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "etaoin shrdlu"[(s = s * 1664525u + 1013904223u) >> 16 & 7];
    RUN(tied);
    RUN(untied);
    unlink(target);
    unlink(draft);
    unlink(out);
    return check_done();
}
