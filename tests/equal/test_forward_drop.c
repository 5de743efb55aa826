/* Rows that are dropped between layers: those that stay get the same bits as without. SPDX-License-Identifier: MIT */
#include "forward_rig.h"

#include "forward_models.h"

enum { TREE = 20, PREFIX = 5 };

static const int32_t parents[TREE] = { -1, 0, 0, 1, 1, 2, -1, 6, 7, 3, 3, 8, 5, 12, 9, 4, 14, 14, 16, 11 };

/* Nodes that stay after each layer, as bits. */
typedef struct drop_plan {
    uint32_t stay[4];
    uint32_t rows[TREE], n; /* nodes that are left */
    int answer;             /* not 0: returned instead */
    bool descending;
    uint32_t n_calls;
} drop_plan;

static int drop(void *user, uint32_t layer, const float *x, uint32_t n_rows, uint32_t *keep, lever_error *err)
{
    drop_plan *p = user;
    (void)x;
    p->n_calls++;
    CHECK_EQ(n_rows, p->n);
    if (p->answer < 0) return lv_fail(err, p->answer, 0, "as asked");
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_rows; i++)
        if (p->stay[layer < 3 ? layer : 3] >> p->rows[i] & 1) keep[n++] = i;
    for (uint32_t i = 0; i < n; i++) p->rows[i] = p->rows[keep[i]];
    p->n = n;
    if (p->descending) keep[0] = n_rows - 1;
    return p->answer ? p->answer : (int)n;
}

static int forward(rig *r, const int32_t *tokens, drop_plan *plan, lever_error *err)
{
    lv_row rows[TREE];
    lv_kv *kv = &r->kv;
    plan->n = TREE;
    plan->n_calls = 0;
    for (uint32_t i = 0; i < TREE; i++) {
        plan->rows[i] = i;
        rows[i] = (lv_row){ .token = tokens[i], .parent = parents[i] };
    }
    lv_batch b = {
        .rows = rows, .n_rows = TREE, .kv = &kv, .n_kv = 1, .after_layer = drop, .hook_user = plan
    };
    return lv_model_forward(r->m, &b, err);
}

static uint32_t path_bits(int32_t node)
{
    uint32_t bits = 0;
    for (; node >= 0; node = parents[node]) bits |= 1u << node;
    return bits;
}

static void open_with_prefix(rig *r, const char *path, enum rig_pin pin, const int32_t *prefix, lever_error *e)
{
    float scratch[PREFIX * MODEL_VOCAB];
    CHECK_OK(rig_open(r, &(rig_config){ .path = path, .n_threads = 2, .pin = pin }, e), e);
    CHECK_OK(rig_decode(r, prefix, PREFIX, PREFIX, scratch, e), e);
}

/* Drop in two steps; then compare what is left with plain decoding of the path to `node`, which stays. */
static void check_drop(const char *path, enum rig_pin pin, int32_t node, uint32_t others)
{
    int32_t prefix[PREFIX], tokens[TREE], way[TREE], text[PREFIX + TREE];
    rig_tokens(prefix, PREFIX, MODEL_VOCAB, 7);
    rig_tokens(tokens, TREE, MODEL_VOCAB, 8);
    lever_error e = { 0 };
    rig r;
    open_with_prefix(&r, path, pin, prefix, &e);
    const uint32_t last = path_bits(node);
    drop_plan plan = { .stay = { last | others, last, last, last } };
    CHECK_OK(forward(&r, tokens, &plan, &e), &e);
    CHECK(plan.n_calls >= 1);

    uint32_t n = 0;
    memcpy(text, prefix, sizeof prefix);
    for (int32_t i = 0; i < TREE; i++)
        if (plan.stay[plan.n_calls - 1] >> i & 1 && last >> i & 1) {
            text[PREFIX + n] = tokens[i];
            way[n++] = i;
        }
    uint64_t want_kv;
    float *want = rig_truth(path, text, PREFIX + n, &want_kv);
    float got[MODEL_VOCAB];
    for (uint32_t i = 0; i < n; i++) {
        CHECK_OK(lv_model_project(r.m, &(uint32_t){ (uint32_t)way[i] }, 1, got, &e), &e);
        CHECK(!memcmp(want + (PREFIX + i) * MODEL_VOCAB, got, sizeof got));
    }
    for (uint32_t i = 0; i < TREE; i++)
        if (!(plan.stay[plan.n_calls - 1] >> i & 1))
            CHECK_EQ(lv_model_project(r.m, &i, 1, got, &e), LEVER_EINVAL);
    lv_kv_commit(&r.kv, way, n);
    CHECK(rig_kv_sum(&r.kv) == want_kv);
    free(want);
    rig_close(&r);
}

static void rows_that_stay_are_as_without_dropping(void)
{
    for (size_t i = 0; i < N_MODELS; i++)
        for (int pin = PIN_ALL; pin <= PIN_NONE; pin++) {
            check_drop(model_path(i), (enum rig_pin)pin, 18, path_bits(13) | path_bits(15));
            check_drop(model_path(i), (enum rig_pin)pin, 19, 0);
            check_drop(model_path(i), (enum rig_pin)pin, 0, path_bits(17));
        }
}

static void answers_that_are_no_selection_are_refused(void)
{
    int32_t prefix[PREFIX], tokens[TREE];
    rig_tokens(prefix, PREFIX, MODEL_VOCAB, 7);
    rig_tokens(tokens, TREE, MODEL_VOCAB, 8);
    lever_error e = { 0 };
    rig r;
    open_with_prefix(&r, model_path(0), PIN_NONE, prefix, &e);
    drop_plan plan = { .stay = { 0 } };
    CHECK_EQ(forward(&r, tokens, &plan, &e), LEVER_EINVAL); /* nobody stays */
    plan = (drop_plan){ .stay = { 1 }, .answer = TREE + 1 };
    CHECK_EQ(forward(&r, tokens, &plan, &e), LEVER_EINVAL);
    plan = (drop_plan){ .stay = { 7 }, .descending = true };
    CHECK_EQ(forward(&r, tokens, &plan, &e), LEVER_EINVAL);
    plan = (drop_plan){ .answer = LEVER_ECANCEL };
    CHECK_EQ(forward(&r, tokens, &plan, &e), LEVER_ECANCEL);
    CHECK_EQ(r.kv.n_scratch, 0);
    plan = (drop_plan){ .stay = { 1, 1, 1, 1 } };
    CHECK_OK(forward(&r, tokens, &plan, &e), &e); /* and the model can be used again */
    rig_close(&r);
}

int main(void)
{
    make_models();
    RUN(rows_that_stay_are_as_without_dropping);
    RUN(answers_that_are_no_selection_are_refused);
    remove_models();
    return check_done();
}
