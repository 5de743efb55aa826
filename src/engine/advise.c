/* Comparing what could be run. The models' metadata is opened once; every configuration is planned as the engine would
 * plan it, and predicted by plan/speed_policy.h. SPDX-License-Identifier: MIT */
#include "engine/advise_impl.h"

#include <stdio.h>
#include <string.h>

static const char *const usual[] = { "none",    "chain:1", "chain:2",  "chain:3",  "chain:4",  "chain:6",
                                     "chain:8", "chain:12", "lever:24", "lever" };
static const char *const quick[] = { "none", "chain:2", "chain:4", "chain:8", "lever:24", "lever" };
static const char preferred[] = "lever";

/* Closer than this is the same: then the policy is taken that follows the machine while it runs, and no speculation
 * rather than some that gains nothing. */
static const double same = 0.02;
enum { QUICK_TOKENS = 512, SEEN_ENOUGH = 96 /* tokens */ };
static const double usual_kept = 0.6; /* of rows, where pruning drops some */

/* ---- acceptance ---- */

/* Counts for these trees: of their own kind, or of one near it. NULL: nothing was counted. */
static const lv_acceptance *counts_for(const lv_acceptances *a, float sharpness, float temperature)
{
    const uint32_t own = lv_acceptance_kind(sharpness, temperature);
    const uint32_t order[] = { own, own ^ 1, own ^ 2, own ^ 3 };
    for (uint32_t i = 0; i < LV_ACC_KINDS; i++)
        if (lv_acceptance_known(&a->kind[order[i]]) >= SEEN_ENOUGH) return &a->kind[order[i]];
    return NULL;
}

static void expect(lv_expected_text *x, const lv_acceptances *all, float sharpness, float temperature)
{
    const lv_acceptance *a = counts_for(all, sharpness, temperature);
    x->kept = a ? lv_acceptance_kept(a, usual_kept) : usual_kept;
    x->lookup = a ? lv_acceptance_lookup(a) : 0;
    x->n_known = a ? lv_acceptance_known(a) : 0;
    x->text.n = 0;
    lv_acceptance_get_rates(&x->rates, a);
    if (a) lv_acceptance_replay(&x->text, a, &x->rates);
}

/* ---- one configuration ---- */

/* As lever_config.device takes it. */
static void device_name(const lv_machine_device *d, char *buf, size_t cap)
{
    if (d) snprintf(buf, cap, "%s:%s", d->kind, d->name);
}

static void copy_plan(lever_choice *c, const lv_engine_setup *o)
{
    const lv_plan *p = &o->plan;
    const uint64_t lent = c->device[0] ? 0 : lv_model_lend_planned(o->target);
    c->fits = o->fits;
    c->drafts = o->draft != NULL;
    c->n_ctx = p->n_ctx, c->max_rows = p->max_rows;
    c->planned_bytes = p->total_bytes, c->needed_bytes = p->needed_bytes + o->others_bytes;
    c->resident_bytes = p->resident_bytes + lent, c->streamed_bytes = p->streamed_bytes - lent;
    c->ring_bytes = p->ring_bytes;
    c->head_resident = p->head_resident;
}

static void copy_speed(lever_choice *c, const lv_speed *s)
{
    c->measured = true;
    c->tokens_per_s = s->tokens_per_s;
    c->tokens = s->tokens, c->rows = s->rows;
    c->draft_rows = s->draft_rows, c->draft_batches = s->draft_batches;
    c->cycle_s = s->parts.cycle_s, c->draft_s = s->parts.draft_s, c->sweep_s = s->parts.sweep_s;
    c->project_s = s->parts.project_s, c->wait_s = s->parts.wait_s, c->flash_s = s->parts.flash_s;
    c->bound = (int)s->bound;
}

/* Predict what o has planned. LEVER_OK, also where something was not measured; LEVER_EINVAL, LEVER_ENOMEM. */
static int predict(lever_choice *c, const lv_adviser *a, lv_engine_setup *o, const lv_machine_device *layers,
                   const lv_machine_device *draft, lever_error *err)
{
    *c = (lever_choice){ 0 };
    snprintf(c->policy, sizeof c->policy, "%s", o->config.policy);
    device_name(layers, c->device, sizeof c->device);
    device_name(draft, c->draft_device, sizeof c->draft_device);
    copy_plan(c, o);
    lv_speed_costs costs;
    if (!o->fits || !lv_adviser_costs(&costs, a, o, layers, draft)) return LEVER_OK;
    const lv_expected_text *x = &a->expected[lv_acceptance_kind(lv_policy_sharpness(o->policies[0]), 0)];
    const bool looks_up = !strncmp(c->policy, preferred, strlen(preferred)); /* in the text, too */
    const lv_speed_input in = { .costs = &costs, .rates = &x->rates, .text = &x->text,
                                .target_ratio = a->target_ratio,
                                .tokens_factor = 1 + (looks_up ? x->lookup : 0), .kept = x->kept,
                                .draft_batch = LV_DRAFT_LOGIT_ROWS, .max_rows = o->plan.max_rows,
                                .n_tokens = a->params->n_tokens,
                                .n_replayed = a->params->quick ? QUICK_TOKENS : 0 };
    lv_speed s;
    LEVER_TRY(lv_speed_of_policy(&s, &in, c->policy, err));
    copy_speed(c, &s);
    return LEVER_OK;
}

/* ---- all of them ---- */

/* Is c before d in the table? What fits before what does not, then the faster; ties as they came. */
static bool before(const lever_choice *c, const lever_choice *d)
{
    if (c->fits != d->fits) return c->fits;
    return c->tokens_per_s > d->tokens_per_s;
}

static void insert(lever_advice *out, const lever_choice *c)
{
    if (out->n_choices == LEVER_CHOICES) {
        if (!before(c, &out->choices[LEVER_CHOICES - 1])) return;
        out->n_choices--;
    }
    uint32_t at = out->n_choices++;
    while (at > 0 && before(c, &out->choices[at - 1])) out->choices[at] = out->choices[at - 1], at--;
    out->choices[at] = *c;
}

static int add_choice(lever_advice *out, const lv_adviser *a, lv_engine_setup *o, const lv_machine_device *layers,
                      const lv_machine_device *draft, lever_error *err)
{
    lever_choice c;
    LEVER_TRY(predict(&c, a, o, layers, draft, err));
    insert(out, &c);
    return LEVER_OK;
}

static bool names_device(const lever_config *c) { return c->device || c->draft_device; }

/* The profile's entry of an open device; NULL, where it was not measured, with *gap set. */
static const lv_machine_device *entry_of(const lv_machine *m, const lv_device *d, bool *gap)
{
    if (!d) return NULL;
    const lv_machine_device *e = lv_machine_device_find(m, d->traits.kind, d->traits.name, d->traits.driver);
    *gap = *gap || !e;
    return e;
}

/* As a name that opens it; kinds that are files can not be named by their kind. */
static bool can_be_named(const lv_machine_device *d) { return !strcmp(d->kind, "opencl"); }

/* Every device of the profile for the layers and for the draft, or those that were asked for; NULL is the CPU. */
static int add_devices(lever_advice *out, const lv_adviser *a, lv_engine_setup *o, lever_error *err)
{
    const lv_machine *m = a->params->machine;
    if (names_device(&o->config)) {
        bool gap = false;
        const lv_machine_device *layers = entry_of(m, o->devices.target, &gap);
        const lv_machine_device *draft = entry_of(m, o->devices.draft, &gap);
        return gap ? LEVER_OK : add_choice(out, a, o, layers, draft, err);
    }
    for (uint32_t i = 0; i == 0 || i < m->n_devices; i++)
        for (uint32_t k = 0; k == 0 || (o->draft && k < m->n_devices); k++) {
            if ((i && !can_be_named(&m->devices[i])) || (k && !can_be_named(&m->devices[k]))) continue;
            LEVER_TRY(add_choice(out, a, o, i ? &m->devices[i] : NULL, k ? &m->devices[k] : NULL, err));
        }
    return LEVER_OK;
}

static int compare(lever_advice *out, const lv_adviser *a, lv_engine_setup *o, lever_error *err)
{
    const lever_advise_params *p = a->params;
    const char *const *policies = p->policies ? p->policies : p->quick ? quick : usual;
    const uint32_t n = p->policies ? p->n_policies
                     : (uint32_t)(p->quick ? sizeof quick / sizeof *quick : sizeof usual / sizeof *usual);
    for (uint32_t i = 0; i < n; i++) {
        lv_policy *policy;
        LEVER_TRY(lv_policy_open(&policy, policies[i], err));
        const bool drafts = lv_policy_needs_draft(policy);
        lv_policy_close(&policy);
        if (drafts && !a->has_draft) continue;
        LEVER_TRY(lv_engine_setup_again(o, policies[i], err));
        LEVER_TRY(add_devices(out, a, o, err));
    }
    return LEVER_OK;
}

/* Nobody gives up a part of the context for speed without being asked. */
static uint32_t longest_context(const lever_advice *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < out->n_choices; i++)
        if (out->choices[i].tokens_per_s > 0 && out->choices[i].n_ctx > n) n = out->choices[i].n_ctx;
    return n;
}

static const lever_choice *fastest(const lever_advice *out, bool drafts)
{
    const uint32_t n_ctx = longest_context(out);
    for (uint32_t i = 0; i < out->n_choices; i++) {
        const lever_choice *c = &out->choices[i];
        if (c->tokens_per_s > 0 && c->drafts == drafts && c->n_ctx == n_ctx) return c;
    }
    return NULL;
}

/* The fastest; where others are as good, the policy that adapts, and before it no speculation at all. */
static void choose(lever_advice *out)
{
    const lever_choice *none = fastest(out, false), *some = fastest(out, true);
    const lever_choice *best = !none || (some && some->tokens_per_s > none->tokens_per_s) ? some : none;
    if (!(out->any = best != NULL)) return;
    const double enough = best->tokens_per_s * (1 - same);
    out->best = (uint32_t)(best - out->choices);
    for (uint32_t i = 0; i < out->n_choices; i++) {
        const lever_choice *c = &out->choices[i];
        if (c->tokens_per_s < enough || c->n_ctx != best->n_ctx) continue;
        if (c == none || (best == some && !strcmp(c->policy, preferred))) out->best = i;
        if (c == none) break;
    }
    out->speculate = out->choices[out->best].drafts;
}

static const char *const bounds[] = { "reads of the flash", "the target's products", "drafting" };

static void explain_none(lever_advice *out, const lever_choice *none, const lever_choice *other)
{
    const char *rest = other->draft_s > other->sweep_s ? "drafting takes longer than it saves"
                     : other->streamed_bytes > none->streamed_bytes * 1.1
                         ? "the draft's memory keeps more of the target from being read"
                     : other->tokens < 1.3 ? "the draft is seldom right" : "verifying its rows costs what they gain";
    snprintf(out->why, sizeof out->why,
             "do not speculate: %s; %.3g tokens/s without a draft, %.3g with the best use of it (%s)", rest,
             none->tokens_per_s, other->tokens_per_s, other->policy);
}

static void explain(lever_advice *out)
{
    const lever_choice *none = fastest(out, false), *some = fastest(out, true);
    if (!out->any) {
        const bool fits = out->n_choices && out->choices[0].fits;
        snprintf(out->why, sizeof out->why, "%s", fits ? "nothing can be predicted: the profile has no numbers for this"
                 : "nothing fits this limit");
        return;
    }
    const lever_choice *best = &out->choices[out->best];
    if (!out->speculate && some) explain_none(out, none, some);
    else if (!out->speculate)
        snprintf(out->why, sizeof out->why, "%.3g tokens/s, limited by %s", best->tokens_per_s, bounds[best->bound]);
    else
        snprintf(out->why, sizeof out->why,
                 "%s: %.2f tokens a sweep of %.1f rows are expected, so %.3g tokens/s%s; limited by %s", best->policy,
                 best->tokens, best->rows, best->tokens_per_s, out->acceptance_measured ? "" : " (acceptance assumed)",
                 bounds[best->bound]);
    if (out->speculate && none) {
        const size_t n = strlen(out->why);
        snprintf(out->why + n, sizeof out->why - n, "; %.3g without speculation", none->tokens_per_s);
    }
}

static int advise_with(lever_advice *out, lv_adviser *a, lv_engine_setup *o, const lever_advise_params *p,
                       lever_error *err)
{
    LEVER_TRY(lv_adviser_init(a, o, p, err));
    for (uint32_t i = 0; i < 2; i++) expect(&a->expected[i], &a->acceptances, i ? 2 : 1, p->temperature);
    const lv_expected_text *x = &a->expected[0];
    if (x->text.n) lv_replay_chain(&x->text, out->chain, LEVER_ADVICE_CHAIN);
    else lv_acceptance_chain(&x->rates, out->chain, LEVER_ADVICE_CHAIN);
    out->limit_bytes = o->config.mem_bytes;
    out->acceptance_measured = x->n_known > 0;
    out->tokens_seen = x->n_known;
    LEVER_TRY(compare(out, a, o, err));
    choose(out);
    explain(out);
    return LEVER_OK;
}

static int advise(lever_advice *out, lv_engine_setup *o, const lever_advise_params *p, lever_error *err)
{
    memset(out, 0, sizeof *out);
    lv_adviser *a = lv_alloc(sizeof *a, 64);
    if (!a) return lv_fail(err, LEVER_ENOMEM, 0, "comparison of configurations");
    const int rc = advise_with(out, a, o, p, err);
    lv_adviser_fini(a);
    lv_free(a);
    return rc;
}

/* Opened with the policy that needs most, so that the draft is there. */
static int open_for_advice(lv_engine_setup *o, const lever_config *c, lever_error *err)
{
    lever_config with = *c;
    with.policy = c->draft_path ? preferred : "none";
    with.more_policies = NULL, with.n_more_policies = 0;
    with.advise = NULL;
    LEVER_TRY(lv_engine_setup_open(o, &with, false, err));
    o->devices.tried = !names_device(c); /* those that are only compared are not opened for it */
    return LEVER_OK;
}

int lever_advise(const lever_config *c, const lever_advise_params *params, lever_advice *out, lever_error *err)
{
    lv_engine_setup o;
    LEVER_TRY(open_for_advice(&o, c, err));
    const int rc = advise(out, &o, params, err);
    lv_engine_setup_fini(&o);
    return rc;
}

int lv_engine_setup_advised(lv_engine_setup *o, const lever_config *c, lever_error *err)
{
    LEVER_TRY(open_for_advice(o, c, err));
    o->advice = lv_alloc(sizeof *o->advice, 64);
    int rc = o->advice ? advise(o->advice, o, c->advise, err)
                       : lv_fail(err, LEVER_ENOMEM, 0, "comparison of configurations");
    if (rc >= 0) {
        const lever_choice *best = &o->advice->choices[o->advice->best];
        if (o->advice->any && best->device[0]) o->config.device = best->device;
        if (o->advice->any && best->draft_device[0]) o->config.draft_device = best->draft_device;
        o->devices.tried = names_device(c);
        rc = lv_engine_setup_again(o, o->advice->any ? best->policy : preferred, err);
    }
    if (rc < 0) {
        lv_engine_setup_fini(o);
        return rc;
    }
    lv_model_close(&o->spare_draft); /* its memory is the target's now */
    lv_exit_close(&o->spare_exit);
    return LEVER_OK;
}
