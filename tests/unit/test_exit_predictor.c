/* The exit predictor: sidecars written and read back, hostile ones, scores against plain arithmetic in
 * double. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>
#include <unistd.h>

#include "equal/forward_rig.h"
#include "fuzz/exit_target.h"
#include "support/exit_sidecar.h"
#include "support/mkmodel.h"
#include "support/tempfile.h"

static char model_path[64], other_path[64], path[64];
static lv_model_id id;

static int identify(const char *file, lv_model_id *out)
{
    lv_model *m;
    lever_error e = { 0 };
    int rc = lv_model_open(&m, file, &e);
    if (rc >= 0) rc = lv_model_identify(m, out, &e);
    CHECK_OK(rc, &e);
    lv_model_close(&m);
    return rc;
}

static void setup(void)
{
    lever_error e = { 0 };
    mk_config c = mk_config_init();
    temp_make(model_path, sizeof model_path, 0);
    temp_make(other_path, sizeof other_path, 0);
    temp_make(path, sizeof path, 0);
    CHECK_OK(mk_model_write(model_path, &c, &e), &e);
    c.seed++;
    CHECK_OK(mk_model_write(other_path, &c, &e), &e);
    identify(model_path, &id);
}

static void write_sidecar(const sidecar *s)
{
    lever_error e = { 0 };
    CHECK_OK(lv_exit_write(path, &s->card, &s->weights, &e), &e);
}

static void test_fingerprint_follows_content_not_name(void)
{
    lv_model_id other, again;
    identify(other_path, &other);
    identify(model_path, &again);
    CHECK(id.fingerprint == again.fingerprint && id.fingerprint != other.fingerprint);
    CHECK_STR(id.name, strrchr(model_path, '/') + 1);
    CHECK_EQ(id.n_layers, 4);
    char copy[80];
    snprintf(copy, sizeof copy, "%s.copy", model_path);
    char command[256];
    snprintf(command, sizeof command, "cp %s %s", model_path, copy);
    CHECK_EQ(system(command), 0);
    identify(copy, &again);
    CHECK(id.fingerprint == again.fingerprint);
    FILE *f = fopen(copy, "r+b"); /* the last byte is part of the last sample */
    fseek(f, -1, SEEK_END);
    const int last = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(last ^ 1, f);
    fclose(f);
    identify(copy, &again);
    CHECK(id.fingerprint != again.fingerprint);
    unlink(copy);
}

static void test_card_comes_back(void)
{
    for (uint32_t form = LV_EXIT_TIED; form <= LV_EXIT_UNTIED; form++) {
        sidecar s = sidecar_make(&id, form);
        write_sidecar(&s);
        lv_exit *x;
        lever_error e = { 0 };
        CHECK_OK(lv_exit_open(&x, path, &id, &e), &e);
        if (x) {
            CHECK(!memcmp(lv_exit_get_card(x), &s.card, sizeof s.card));
            CHECK_EQ(lv_exit_layer(x), 1);
            CHECK(lv_exit_temperature(x) == 1.5f);
            const size_t d = id.n_embd, most = form == LV_EXIT_TIED ? 2 * SIDECAR_RANK * d : id.n_vocab * d;
            CHECK(lv_exit_memory_bytes(x) > most * sizeof(float));
            CHECK(lv_exit_memory_bytes(x) < (most + 3 * d) * sizeof(float) + 4096);
        }
        lv_exit_close(&x);
        sidecar_free(&s);
    }
}

/* x [n_embd] to scores of every token, in double. head [n_vocab][n_embd]. */
static void score_plainly(const sidecar *s, const float *x, const float *head, double *scores)
{
    const size_t d = s->card.n_embd;
    static double h[256], out[256];
    double square = 0;
    for (size_t i = 0; i < d; i++) square += (double)x[i] * x[i];
    for (size_t i = 0; i < d; i++)
        out[i] = h[i] = x[i] / sqrt(square / (double)d + s->card.norm_eps) * s->gain[i];
    for (size_t j = 0; j < s->card.rank; j++) {
        double k = 0;
        for (size_t i = 0; i < d; i++) k += s->v[j * d + i] * h[i];
        for (size_t i = 0; i < d; i++) out[i] += k * s->u[j * d + i];
    }
    for (size_t a = 0; a < s->card.n_vocab; a++) {
        scores[a] = 0;
        for (size_t i = 0; i < d; i++) scores[a] += head[a * d + i] * out[i];
    }
}

static void test_scores_are_the_equation(void)
{
    enum { N = 5 };
    const int32_t tokens[N] = { 0, 272, 17, 200, 17 };
    for (uint32_t form = LV_EXIT_TIED; form <= LV_EXIT_UNTIED; form++) {
        lever_error e = { 0 };
        rig r;
        CHECK_OK(rig_open(&r, &(rig_config){ .path = model_path }, &e), &e);
        sidecar s = sidecar_make(&id, form);
        write_sidecar(&s);
        lv_exit *p;
        CHECK_OK(lv_exit_open(&p, path, &id, &e), &e);
        float *head = s.w, x[256], got[N];
        static double want[512];
        if (form == LV_EXIT_TIED)
            for (int32_t a = 0; a < (int32_t)id.n_vocab; a++)
                CHECK_EQ(lv_model_head_row(r.m, a, head + (size_t)a * id.n_embd), LEVER_OK);
        sidecar_numbers(x, id.n_embd, 99);
        for (size_t i = 0; i < id.n_embd; i++) x[i] *= 30;
        score_plainly(&s, x, head, want);
        const size_t calls = lv_alloc_calls();
        CHECK_EQ(lv_exit_score(p, r.m, x, tokens, N, got), LEVER_OK);
        CHECK(calls == lv_alloc_calls());
        for (int i = 0; i < N; i++)
            CHECK(fabs(got[i] - want[tokens[i]]) < 1e-4 * (1 + fabs(want[tokens[i]])));
        CHECK_EQ(lv_exit_score(p, r.m, x, &(int32_t){ (int32_t)id.n_vocab }, 1, got), LEVER_EINVAL);
        CHECK_EQ(lv_exit_score(p, r.m, x, &(int32_t){ -1 }, 1, got), LEVER_EINVAL);
        lv_exit_close(&p);
        rig_close(&r);
        /* A streamed head has no rows to score with; the untied form needs none. */
        CHECK_OK(rig_open(&r, &(rig_config){ .path = model_path, .pin = PIN_LAYERS }, &e), &e);
        CHECK_OK(lv_exit_open(&p, path, &id, &e), &e);
        CHECK_EQ(lv_exit_score(p, r.m, x, tokens, N, got), form == LV_EXIT_TIED ? LEVER_EAGAIN : LEVER_OK);
        lv_exit_close(&p);
        rig_close(&r);
        sidecar_free(&s);
    }
}

static void test_another_model_is_refused_with_both_names(void)
{
    lv_model_id other;
    identify(other_path, &other);
    sidecar s = sidecar_make(&id, LV_EXIT_TIED);
    write_sidecar(&s);
    lv_exit *x;
    lever_error e = { 0 };
    CHECK_EQ(lv_exit_open(&x, path, &other, &e), LEVER_EINVAL);
    CHECK(!x && strstr(e.msg, id.name) && strstr(e.msg, other.name) && strstr(e.msg, "lever fit"));
    CHECK_EQ(lv_exit_open(&x, model_path, &id, &e), LEVER_EFORMAT);
    CHECK(!x && strstr(e.msg, "not an exit predictor"));
    CHECK_EQ(lv_exit_open(&x, "/nonexistent", &id, &e), LEVER_EIO);
    sidecar_free(&s);
}

/* The sidecar, spoilt in one place, must be refused, and the text must say where. */
static void refused(sidecar s, int code, const char *says)
{
    lever_error e = { 0 };
    lv_exit *x;
    write_sidecar(&s);
    const size_t live = lv_alloc_live();
    CHECK_EQ(lv_exit_open(&x, path, &id, &e), code);
    CHECK(!x && lv_alloc_live() == live);
    if (!strstr(e.msg, says)) {
        fprintf(stderr, "message \"%s\" lacks \"%s\"\n", e.msg, says);
        check_failures++;
    }
}

static void test_wrong_values_are_refused(void)
{
    sidecar s = sidecar_make(&id, LV_EXIT_TIED), t;
#define SPOIL(field, value, says) t = s, t.card.field = (value), refused(t, LEVER_EFORMAT, says)
    SPOIL(layer, 3, "lever-exit.layer");
    SPOIL(layer, UINT32_MAX, "lever-exit.layer");
    SPOIL(n_layers, 5, "lever-exit.n_layers");
    SPOIL(n_vocab, 272, "lever-exit.n_vocab");
    SPOIL(temperature, 0, "lever-exit.temperature");
    SPOIL(temperature, NAN, "lever-exit.temperature");
    SPOIL(joint_temperature, -1, "joint.temperature");
    SPOIL(joint_draft_weight, -1, "joint.draft_weight");
    SPOIL(curve[1].joint_edges_kept, -1, "joint.edges_kept");
    SPOIL(norm_eps, -1, "lever-exit.norm_eps");
    SPOIL(kd, INFINITY, "lever-exit.loss.kd");
    SPOIL(curve[0].threshold, 0.5f, "ascend");
    SPOIL(curve[1].true_kept, 1.5f, "true_kept");
    SPOIL(form, LV_EXIT_UNTIED, "rank");
#undef SPOIL
    const float keep = s.gain[7];
    s.gain[7] = NAN;
    refused(s, LEVER_EFORMAT, "exit.gain");
    s.gain[7] = keep;
    s.v[5] = INFINITY;
    refused(s, LEVER_EFORMAT, "exit.v");
    sidecar_free(&s);
    s = sidecar_make(&id, LV_EXIT_UNTIED);
    s.w[1000] = -INFINITY;
    refused(s, LEVER_EFORMAT, "exit.w");
    sidecar_free(&s);
}

/* Keys as a card says, tensors of any shape. */
static void test_wrong_shapes_are_refused(void)
{
    lv_model_id wide = id;
    wide.n_embd = 128;
    sidecar s = sidecar_make(&wide, LV_EXIT_TIED);
    lever_error e = { 0 };
    lv_exit *x;
    write_sidecar(&s);
    CHECK_EQ(lv_exit_open(&x, path, &id, &e), LEVER_EFORMAT); /* the keys are of a wider model */
    CHECK(strstr(e.msg, "lever-exit.n_embd"));
    sidecar_free(&s);
}

static void test_every_shorter_file_is_refused(void)
{
    sidecar s = sidecar_make(&id, LV_EXIT_TIED);
    write_sidecar(&s);
    FILE *f = fopen(path, "rb");
    fseek(f, 0, SEEK_END);
    const long size = ftell(f);
    fclose(f);
    for (long n = size - 1; n >= 0; n = n > 64 ? n - 37 : n - 1) {
        lever_error e = { 0 };
        lv_exit *x;
        CHECK_EQ(truncate(path, n), 0);
        CHECK_EQ(lv_exit_open(&x, path, &id, &e), LEVER_EFORMAT);
        CHECK(!x && e.msg[0]);
    }
    sidecar_free(&s);
}

static void test_every_allocation_may_fail(void)
{
    for (uint32_t form = LV_EXIT_TIED; form <= LV_EXIT_UNTIED; form++) {
        sidecar s = sidecar_make(&id, form);
        write_sidecar(&s);
        for (long n = 0;; n++) {
            const size_t live = lv_alloc_live();
            lever_error e = { 0 };
            lv_exit *x;
            lv_alloc_fault(n, false);
            const int rc = lv_exit_open(&x, path, &id, &e);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            lv_exit_close(&x);
            CHECK(lv_alloc_live() == live);
            if (!fired) break;
        }
        sidecar_free(&s);
    }
}

/* A change of the format makes them all malformed: then run make_exit_corpus tests/fuzz/corpus/exit. */
static void test_the_committed_corpus_has_good_sidecars(void)
{
    static const char *const good[] = { "tied", "untied", "untied_q8_0", "tied_n_curve" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char file[96];
        lv_exit *x;
        lever_error e = { 0 };
        snprintf(file, sizeof file, "tests/fuzz/corpus/exit/%s.gguf", good[i]);
        CHECK_OK(lv_exit_open(&x, file, &exit_target, &e), &e);
        lv_exit_close(&x);
    }
}

int main(void)
{
    setup();
    RUN(test_fingerprint_follows_content_not_name);
    RUN(test_card_comes_back);
    RUN(test_scores_are_the_equation);
    RUN(test_another_model_is_refused_with_both_names);
    RUN(test_wrong_values_are_refused);
    RUN(test_wrong_shapes_are_refused);
    RUN(test_every_shorter_file_is_refused);
    RUN(test_every_allocation_may_fail);
    RUN(test_the_committed_corpus_has_good_sidecars);
    unlink(model_path);
    unlink(other_path);
    unlink(path);
    return check_done();
}
