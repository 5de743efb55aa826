/* Comparison of configurations on made-up machines: which wins and why, what is not measured, what can not be.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>
#include <unistd.h>

#include "engine/engine.h"
#include "lever/plan.h"
#include "plan/model_shape.h"
#include "support/mkmodel.h"

static char model[] = "/tmp/lever-advise-XXXXXX", draft[] = "/tmp/lever-advise-XXXXXX";
static lever_advice advice, other; /* too large for frames */
static lever_machine machine;

static void make(char *path, uint32_t layers, uint32_t width)
{
    lever_error err = { 0 };
    CHECK(close(mkstemp(path)) == 0);
    mk_config c = mk_config_init();
    c.n_layers = layers, c.n_embd = width, c.n_ff = 4 * width, c.n_heads = width / 32, c.n_kv_heads = width / 64;
    CHECK_OK(mk_model_write(path, &c, &err), &err);
}

/* A processor of so many weights per second by itself, whose rows cost `row` of a batch of one, and a flash. */
static void make_machine(double weights_per_s, double row, double flash_bytes_s)
{
    machine = (lever_machine){ .n_devices = 1, .n_flashes = 1 };
    lever_machine_device *d = &machine.devices[0];
    snprintf(d->kind, sizeof d->kind, "cpu");
    d->unified = true;
    d->n_products = 1;
    d->products[0] = (lever_machine_product){ .type = "Q8_0", .gguf_type = LV_TYPE_Q8_0 };
    for (int i = 0; i < LEVER_MACHINE_ROWS; i++)
        d->products[0].weight_s[i] = (1 + row * (lever_machine_rows[i] - 1)) / weights_per_s;
    for (int i = 0; i < LEVER_MACHINE_ROWS; i++)
        machine.rest.attend_s[0][i] = machine.rest.attend_s[1][i] = 1e-12;
    snprintf(machine.flashes[0].where, sizeof machine.flashes[0].where, "1:1");
    lever_flash_profile *f = &machine.flashes[0].reads;
    f->n_points = 1;
    f->points[0] = (lever_flash_point){ .backend = "pool", .block_bytes = 65536, .depth = 2, .huge_pages = true,
                                        .bytes_per_s = flash_bytes_s };
}

static lever_config config(uint64_t mem)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = model, c.draft_path = draft;
    c.n_ctx = 128, c.n_threads = 1, c.mem_bytes = mem;
    return c;
}

static int advise(lever_advice *out, uint64_t mem, lever_error *err)
{
    const lever_config c = config(mem);
    const lever_advise_params p = { .machine = &machine };
    return lever_advise(&c, &p, out, err);
}

static const lever_choice *find(const lever_advice *a, const char *policy)
{
    for (uint32_t i = 0; i < a->n_choices; i++)
        if (!strcmp(a->choices[i].policy, policy)) return &a->choices[i];
    CHECK(!"no such choice");
    return &a->choices[0];
}

static uint64_t smallest(void)
{
    lever_plan plan;
    lever_error err = { 0 };
    lever_config c = config(1);
    c.policy = "lever";
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    return plan.needed_bytes;
}

static void reads_that_take_long_are_worth_large_trees(void)
{
    lever_error err = { 0 };
    make_machine(2e9, 0.05, 2e7);
    CHECK_OK(advise(&advice, smallest() + (1 << 20), &err), &err);
    CHECK(advice.any && advice.speculate && !advice.acceptance_measured);
    const lever_choice *best = &advice.choices[advice.best], *none = find(&advice, "none");
    CHECK(best->drafts && best->tokens_per_s > 1.5 * none->tokens_per_s && best->tokens > 2);
    CHECK_EQ(none->bound, LEVER_BOUND_FLASH);
    CHECK(none->streamed_bytes > 0 && none->streamed_bytes < best->streamed_bytes); /* the draft's memory */
    CHECK(strstr(advice.why, "acceptance assumed") && strstr(advice.why, best->policy));
    /* Plain decoding: its reads, as far as products do not take longer. */
    CHECK(none->cycle_s >= (double)none->streamed_bytes / 2e7 * 0.999);
    CHECK(none->cycle_s <= (double)none->streamed_bytes / 2e7 * 1.1 + 0.02);
    for (uint32_t i = 1; i < advice.n_choices; i++)
        CHECK(advice.choices[i].tokens_per_s <= advice.choices[i - 1].tokens_per_s);
}

/* Everything in memory, and every row as dear as the first. */
static void rows_that_cost_as_much_as_tokens_are_not_speculated_with(void)
{
    lever_error err = { 0 };
    make_machine(1e8, 1, 1e9);
    CHECK_OK(advise(&advice, 0, &err), &err);
    CHECK(advice.any && !advice.speculate);
    CHECK_STR(advice.choices[advice.best].policy, "none");
    CHECK(!advice.choices[advice.best].drafts && advice.choices[advice.best].streamed_bytes == 0);
    CHECK(strstr(advice.why, "do not speculate: ") == advice.why);
}

static void without_a_draft_there_is_plain_decoding(void)
{
    lever_error err = { 0 };
    make_machine(1e8, 0.1, 1e8);
    lever_config c = config(0);
    const lever_advise_params p = { .machine = &machine };
    c.draft_path = NULL;
    CHECK_OK(lever_advise(&c, &p, &advice, &err), &err);
    CHECK(advice.any && !advice.speculate && advice.n_choices == 1);
    CHECK(strstr(advice.why, "do not speculate") == NULL);
}

static void more_memory_is_never_predicted_slower(void)
{
    lever_error err = { 0 };
    const uint64_t least = smallest();
    make_machine(5e8, 0.1, 1e8);
    CHECK_OK(advise(&advice, least, &err), &err);
    for (uint64_t mem = least + (1 << 19); mem < least + (24 << 20); mem += 1 << 19) {
        CHECK_OK(advise(&other, mem, &err), &err);
        CHECK(find(&other, "none")->tokens_per_s >= find(&advice, "none")->tokens_per_s * 0.999);
        CHECK(find(&other, "chain:4")->tokens_per_s >= find(&advice, "chain:4")->tokens_per_s * 0.999);
        advice = other;
    }
    CHECK(find(&advice, "none")->streamed_bytes == 0);
}

static void what_does_not_fit_comes_last_and_is_not_chosen(void)
{
    lever_error err = { 0 };
    make_machine(5e8, 0.1, 1e8);
    lever_plan plan;
    lever_config c = config(1);
    c.policy = "none", c.draft_path = NULL;
    CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
    CHECK_OK(advise(&advice, plan.needed_bytes, &err), &err);
    CHECK(advice.any && !advice.speculate && advice.best == 0);
    CHECK(advice.choices[0].fits && !advice.choices[advice.n_choices - 1].fits);
    CHECK(advice.choices[advice.n_choices - 1].needed_bytes > plan.needed_bytes);
    CHECK_OK(advise(&advice, 1 << 20, &err), &err);
    CHECK(!advice.any && strstr(advice.why, "fits"));
}

static void a_second_device_is_compared_for_draft_and_layers(void)
{
    lever_error err = { 0 };
    make_machine(1e8, 0.5, 1e9);
    machine.n_devices = 2;
    lever_machine_device *d = &machine.devices[1];
    *d = machine.devices[0];
    snprintf(d->kind, sizeof d->kind, "opencl");
    snprintf(d->name, sizeof d->name, "Made Up");
    for (int i = 0; i < LEVER_MACHINE_ROWS; i++) d->products[0].weight_s[i] /= 8;
    CHECK_OK(advise(&advice, 0, &err), &err);
    const lever_choice *best = &advice.choices[advice.best];
    CHECK_STR(best->device, "opencl:Made Up");
    CHECK(!best->drafts || !strcmp(best->draft_device, "opencl:Made Up"));
    d->call_s = 0.1; /* of every product: nothing is faster there */
    CHECK_OK(advise(&advice, 0, &err), &err);
    CHECK_STR(advice.choices[advice.best].device, "");
    CHECK_STR(advice.choices[advice.best].draft_device, "");
}

static void impossible_profiles_are_refused_and_gaps_said(void)
{
    lever_error err = { 0 };
    make_machine(1e8, 0.1, 1e8);
    machine.devices[0].products[0].weight_s[0] = NAN;
    CHECK_EQ(advise(&advice, 0, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "lever profile"));
    make_machine(1e8, 0.1, 1e8);
    machine.devices[0].n_products = 0;
    CHECK_OK(advise(&advice, 0, &err), &err);
    CHECK(!advice.any && strstr(advice.why, "no numbers"));
    make_machine(1e8, 0.1, 1e8);
    machine.n_flashes = 0; /* streamed ones can not be predicted */
    CHECK_OK(advise(&advice, smallest(), &err), &err);
    CHECK(!advice.any);
    machine.devices[0].products[0].weight_s[3] = INFINITY;
    CHECK_EQ(advise(&advice, 0, &err), LEVER_EINVAL);
}

/* What running the draft beside the target has shown is predicted of every batch that is the first of a cycle. */
static void a_measured_first_batch_is_predicted(void)
{
    lever_error err = { 0 };
    make_machine(1e8, 0.1, 1e8);
    CHECK_OK(advise(&advice, 0, &err), &err);
    lv_model *m;
    lv_model_shape s;
    CHECK_OK(lv_model_open(&m, draft, &err), &err);
    CHECK(lv_model_shape_of(&s, m));
    lv_model_close(&m);
    machine.n_models = 1;
    machine.models[0] = (lever_machine_model){ .name = "draft", .key = s.key, .first_s = 0.5 };
    CHECK_OK(advise(&other, 0, &err), &err);
    const double before = find(&advice, "chain:4")->draft_s, after = find(&other, "chain:4")->draft_s;
    CHECK(fabs(after - before - 0.5) < 1e-6);
    CHECK(find(&other, "none")->cycle_s == find(&advice, "none")->cycle_s);
}

/* ---- the engine follows ---- */


static void check_engine(bool speculate)
{
    lever_error err = { 0 };
    lever_config c = config(0);
    const lever_advise_params p = { .machine = &machine, .quick = true };
    lever_engine *e;
    lever_engine_info info;
    c.advise = &p;
    CHECK_OK(lever_engine_open(&e, &c, &err), &err);
    if (!e) return;
    lever_engine_get_info(e, &info);
    CHECK(info.advice != NULL);
    CHECK((e->draft != NULL) == speculate);
    CHECK(strcmp(info.policy, "none") ? speculate : !speculate);
    lever_session *s;
    CHECK_OK(lever_session_open(&s, e, NULL, &err), &err);
    CHECK_OK(lever_session_append_text(s, "abc", SIZE_MAX, 0, &err), &err);
    const lever_generate_params g = { .max_tokens = 8, .ignore_end = true };
    CHECK_OK(lever_session_generate(s, &g, NULL, NULL, NULL, &err), &err);
    lever_session_close(&s);
    lever_engine_close(&e);
}

static void an_engine_follows_the_advice(void)
{
    make_machine(1e8, 1, 1e9);
    check_engine(false);
    make_machine(1e8, 0.001, 1e9);
    check_engine(true);
}

static void a_policy_that_is_named_is_kept(void)
{
    lever_error err = { 0 };
    lever_config c = config(0);
    make_machine(1e8, 1, 1e9);
    const lever_advise_params p = { .machine = &machine };
    lever_engine *e;
    lever_engine_info info;
    c.advise = &p, c.policy = "chain:3";
    CHECK_OK(lever_engine_open(&e, &c, &err), &err);
    lever_engine_get_info(e, &info);
    CHECK_STR(info.policy, "chain:3");
    CHECK(info.advice == NULL);
    lever_engine_close(&e);
    machine.n_devices = 0; /* nothing can be said: the usual policy */
    c.policy = NULL;
    CHECK_OK(lever_engine_open(&e, &c, &err), &err);
    lever_engine_get_info(e, &info);
    CHECK_STR(info.policy, "lever");
    CHECK(info.advice == NULL);
    lever_engine_close(&e);
}

int main(void)
{
    make(model, 12, 256);
    make(draft, 2, 128);
    RUN(reads_that_take_long_are_worth_large_trees);
    RUN(rows_that_cost_as_much_as_tokens_are_not_speculated_with);
    RUN(without_a_draft_there_is_plain_decoding);
    RUN(more_memory_is_never_predicted_slower);
    RUN(what_does_not_fit_comes_last_and_is_not_chosen);
    RUN(a_second_device_is_compared_for_draft_and_layers);
    RUN(impossible_profiles_are_refused_and_gaps_said);
    RUN(a_measured_first_batch_is_predicted);
    RUN(an_engine_follows_the_advice);
    RUN(a_policy_that_is_named_is_kept);
    unlink(model);
    unlink(draft);
    return check_done();
}
