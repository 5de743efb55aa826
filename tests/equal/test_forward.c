/* The same bits for every batch width, thread count, instruction set and shape of the row tree.
 * SPDX-License-Identifier: MIT */
#include "forward_rig.h"

#include "forward_models.h"

static void expect_truth(const char *what, const rig_config *c, uint32_t chunk)
{
    rig r;
    lever_error e = { 0 };
    int32_t tokens[RIG_TOKENS];
    rig_tokens(tokens, RIG_TOKENS, MODEL_VOCAB, 1);
    uint64_t want_kv;
    float *want = rig_truth(c->path, tokens, RIG_TOKENS, &want_kv);
    float *got = calloc(RIG_TOKENS * MODEL_VOCAB, sizeof *got);
    CHECK_OK(rig_open(&r, c, &e), &e);
    CHECK_OK(rig_decode(&r, tokens, RIG_TOKENS, chunk, got, &e), &e);
    const bool same = !memcmp(want, got, RIG_TOKENS * MODEL_VOCAB * sizeof *got);
    if (!same || rig_kv_sum(&r.kv) != want_kv)
        fprintf(stderr, "%s: %s, batches of %u, differ from plain decoding\n", c->path, what, chunk);
    CHECK(same);
    CHECK(rig_kv_sum(&r.kv) == want_kv);
    rig_close(&r);
    free(want);
    free(got);
}

static void batches_of_any_width_agree(void)
{
    for (size_t i = 0; i < N_MODELS; i++)
        for (uint32_t chunk = 2; chunk <= 64; chunk = chunk * 2 + 1)
            expect_truth("batch width", &(rig_config){ .path = model_path(i) }, chunk);
    expect_truth("batch width", &(rig_config){ .path = model_path(0) }, 64);
}

static void any_number_of_threads_agrees(void)
{
    for (size_t i = 0; i < N_MODELS; i++)
        for (unsigned n = 2; n <= 3; n++)
            for (uint32_t chunk = 1; chunk <= 17; chunk += 16)
                expect_truth("threads", &(rig_config){ .path = model_path(i), .n_threads = n }, chunk);
}

static void every_instruction_set_agrees(void)
{
    const char *names[] = { "avx2", "avx512vnni", "neon", "dotprod", "i8mm" };
    const unsigned here = lv_cpu_detect();
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        const int flags = lv_cpu_flags_from_name(names[n]);
        if (flags <= 0 || ((unsigned)flags & here) != (unsigned)flags) continue;
        printf("  %s\n", names[n]);
        for (size_t i = 0; i < N_MODELS; i++) {
            expect_truth(names[n], &(rig_config){ .path = model_path(i), .cpu_flags = (unsigned)flags }, 1);
            expect_truth(names[n], &(rig_config){ .path = model_path(i), .cpu_flags = (unsigned)flags }, 19);
        }
    }
}

/* Every node of a tree over a prefix, verified in one or two batches, equals decoding its path. */
enum { TREE = 20, PREFIX = 5 };

static void check_tree(const char *path, uint32_t first_batch)
{
    static const int32_t parents[TREE] = {
        -1, 0, 0, 1, 1, 2, -1, 6, 7, 3, 3, 8, 5, 12, 9, 4, 14, 14, 16, 11
    };
    int32_t prefix[PREFIX], tokens[TREE];
    rig_tokens(prefix, PREFIX, MODEL_VOCAB, 7);
    rig_tokens(tokens, TREE, MODEL_VOCAB, 8);
    float *got = calloc((TREE + PREFIX) * MODEL_VOCAB, sizeof *got), *scratch = got + TREE * MODEL_VOCAB;
    lever_error e = { 0 };
    for (int32_t node = 0; node < TREE; node++) {
        rig r;
        CHECK_OK(rig_open(&r, &(rig_config){ .path = path }, &e), &e);
        CHECK_OK(rig_decode(&r, prefix, PREFIX, PREFIX, scratch, &e), &e);
        CHECK_OK(rig_forward(&r, tokens, parents, first_batch, &e), &e);
        CHECK_OK(rig_project(&r, first_batch, got, &e), &e);
        const uint32_t rest = TREE - first_batch;
        if (rest) {
            CHECK_OK(rig_forward(&r, tokens + first_batch, parents + first_batch, rest, &e), &e);
            CHECK_OK(rig_project(&r, rest, got + first_batch * MODEL_VOCAB, &e), &e);
        }
        int32_t back[TREE], up[TREE], path_tokens[PREFIX + TREE];
        uint32_t n = 0;
        for (int32_t at = node; at >= 0; at = parents[at]) back[n++] = at;
        memcpy(path_tokens, prefix, sizeof prefix);
        for (uint32_t i = 0; i < n; i++) path_tokens[PREFIX + i] = tokens[up[i] = back[n - 1 - i]];
        lv_kv_commit(&r.kv, up, n);
        uint64_t want_kv;
        float *want = rig_truth(path, path_tokens, PREFIX + n, &want_kv);
        CHECK(!memcmp(want + (PREFIX + n - 1) * MODEL_VOCAB, got + node * MODEL_VOCAB,
                      MODEL_VOCAB * sizeof *got));
        CHECK(rig_kv_sum(&r.kv) == want_kv);
        CHECK_EQ(r.kv.n_committed, PREFIX + n);
        free(want);
        rig_close(&r);
    }
    free(got);
}

static void tree_rows_equal_plain_decoding_of_their_paths(void)
{
    for (size_t i = 0; i < N_MODELS; i++) {
        check_tree(model_path(i), TREE);
        if (i == 0) check_tree(model_path(i), 7);
    }
}

static void sequences_in_one_batch_do_not_mix(void)
{
    for (size_t i = 0; i < N_MODELS; i++) {
        lever_error e = { 0 };
        rig r;
        lv_kv other;
        int32_t a[8], b[8];
        rig_tokens(a, 8, MODEL_VOCAB, 3);
        rig_tokens(b, 8, MODEL_VOCAB, 4);
        CHECK_OK(rig_open(&r, &(rig_config){ .path = model_path(i) }, &e), &e);
        CHECK_OK(lv_kv_init(&other, lv_model_hparams(r.m), LV_TYPE_F16, 32, 16, &e), &e);
        lv_row rows[16];
        for (int32_t t = 0; t < 8; t++) {
            rows[2 * t] = (lv_row){ .token = a[t], .seq = 0, .parent = t - 1 };
            rows[2 * t + 1] = (lv_row){ .token = b[t], .seq = 1, .parent = t - 1 };
        }
        lv_kv *kv[2] = { &r.kv, &other };
        lv_batch batch = { .rows = rows, .n_rows = 16, .kv = kv, .n_kv = 2 };
        CHECK_OK(lv_model_forward(r.m, &batch, &e), &e);
        float *got = calloc(16 * MODEL_VOCAB, sizeof *got);
        CHECK_OK(rig_project(&r, 16, got, &e), &e);
        CHECK_EQ(rows[15].pos, 7);
        for (int seq = 0; seq < 2; seq++) {
            uint64_t sum;
            float *want = rig_truth(model_path(i), seq ? b : a, 8, &sum);
            for (int t = 0; t < 8; t++)
                CHECK(!memcmp(want + t * MODEL_VOCAB, got + (2 * t + seq) * MODEL_VOCAB,
                              MODEL_VOCAB * sizeof *got));
            free(want);
        }
        free(got);
        lv_kv_fini(&other);
        rig_close(&r);
    }
}

static void bad_rows_are_refused_and_leave_no_trace(void)
{
    lever_error e = { 0 };
    rig r;
    CHECK_OK(rig_open(&r, &(rig_config){ .path = model_path(0) }, &e), &e);
    const int32_t big[] = { 1, MODEL_VOCAB }, negative[] = { 1, -1 }, fine[RIG_ROWS + 1] = { 1, 2 };
    CHECK_EQ(rig_forward(&r, big, NULL, 2, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "token 160"));
    CHECK_EQ(rig_forward(&r, negative, NULL, 2, &e), LEVER_EINVAL);
    CHECK_EQ(rig_forward(&r, fine, (const int32_t[]){ -1, 1 }, 2, &e), LEVER_EINVAL);
    CHECK_EQ(rig_forward(&r, fine, (const int32_t[]){ -2, 0 }, 2, &e), LEVER_EINVAL);
    CHECK_EQ(rig_forward(&r, fine, NULL, 0, &e), LEVER_EINVAL);
    CHECK_EQ(rig_forward(&r, fine, NULL, RIG_ROWS + 1, &e), LEVER_EINVAL);
    CHECK_EQ(r.kv.n_scratch, 0);
    float logits[2 * MODEL_VOCAB];
    CHECK_EQ(rig_project(&r, 1, logits, &e), LEVER_EINVAL); /* no forward succeeded yet */
    lv_row row = { .token = 1, .seq = 1, .parent = -1 };
    lv_kv *kv = &r.kv;
    lv_batch b = { .rows = &row, .n_rows = 1, .kv = &kv, .n_kv = 1 };
    CHECK_EQ(lv_model_forward(r.m, &b, &e), LEVER_EINVAL);
    CHECK_OK(rig_forward(&r, fine, NULL, 2, &e), &e);
    CHECK_OK(rig_project(&r, 2, logits, &e), &e);
    CHECK_EQ(lv_model_project(r.m, &(uint32_t){ 2 }, 1, logits, &e), LEVER_EINVAL);
    rig_close(&r);
}

static void full_scratch_and_full_context_are_limits(void)
{
    lever_error e = { 0 };
    rig r;
    CHECK_OK(rig_open(&r, &(rig_config){ .path = model_path(0) }, &e), &e);
    int32_t tokens[RIG_ROWS] = { 0 };
    CHECK_OK(rig_forward(&r, tokens, NULL, RIG_ROWS, &e), &e);
    CHECK_EQ(rig_forward(&r, tokens, NULL, RIG_SCRATCH - RIG_ROWS + 1, &e), LEVER_ELIMIT);
    CHECK_EQ(r.kv.n_scratch, RIG_ROWS);
    rig_commit_chain(&r, RIG_ROWS);
    CHECK_OK(rig_forward(&r, tokens, NULL, RIG_ROWS, &e), &e);
    rig_commit_chain(&r, RIG_ROWS);
    CHECK_EQ(r.kv.n_committed, RIG_CTX);
    CHECK_EQ(rig_forward(&r, tokens, NULL, 1, &e), LEVER_ELIMIT);
    CHECK(strstr(e.msg, "context"));
    lv_kv_truncate(&r.kv, 3);
    CHECK_OK(rig_forward(&r, tokens, NULL, 1, &e), &e);
    rig_close(&r);
}

static void sweeps_do_not_allocate(void)
{
    lever_error e = { 0 };
    for (int streamed = 0; streamed < 2; streamed++) {
        rig r;
        const rig_config c = { .path = model_path(0), .n_threads = 2, .pin = streamed ? PIN_NONE : PIN_ALL };
        CHECK_OK(rig_open(&r, &c, &e), &e);
        float *logits = calloc(RIG_TOKENS * MODEL_VOCAB, sizeof *logits);
        int32_t tokens[RIG_TOKENS] = { 0 };
        const size_t before = lv_alloc_calls();
        CHECK_OK(rig_decode(&r, tokens, RIG_TOKENS, 7, logits, &e), &e);
        CHECK_EQ(lv_alloc_calls(), before);
        lv_model_stats s;
        lv_model_get_stats(r.m, &s);
        CHECK_EQ(s.n_rows, RIG_TOKENS);
        CHECK_EQ(s.n_sweeps, 6);
        CHECK(streamed ? s.bytes_read > 0 : s.bytes_read == 0);
        free(logits);
        rig_close(&r);
    }
}

int main(void)
{
    make_models();
    RUN(batches_of_any_width_agree);
    RUN(any_number_of_threads_agrees);
    RUN(every_instruction_set_agrees);
    RUN(tree_rows_equal_plain_decoding_of_their_paths);
    RUN(sequences_in_one_batch_do_not_mix);
    RUN(bad_rows_are_refused_and_leave_no_trace);
    RUN(full_scratch_and_full_context_are_limits);
    RUN(sweeps_do_not_allocate);
    remove_models();
    return check_done();
}
