/* From a lever_config to a memory plan: opens metadata, resolves defaults, asks plan/.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/select.h"
#include "os/cpu.h"
#include "os/file.h"
#include "os/memory.h"

enum {
    STACK_BYTES = 64 << 10,  /* touched part of a worker's stack with its thread descriptor */
    IO_BYTES = 256 << 10,    /* request tables of the I/O backend */
    EXTENT_COST_BYTES = 192, /* of one streamed extent, in model and stream together */
    AHEAD_SHARE = 50,        /* drafting beside verification takes at most 1/50 of the memory, unless asked for */
    CONTEXT_LEAST = 512,     /* a context nobody asked for may shrink to this */
    MAX_THREADS = 256
};

static int resolve_kv_type(lv_engine_setup *o, lever_error *err)
{
    const char *name = o->config.kv_type;
    o->kv_any = !name || !strcmp(name, "auto");
    o->kv_type = o->kv_any || !strcmp(name, "q8_0") ? LV_TYPE_Q8_0 : LV_TYPE_F16;
    if (o->kv_type == LV_TYPE_Q8_0 || !strcmp(name, "f16")) return LEVER_OK;
    return lv_fail(err, LEVER_EINVAL, 0, "unknown KV cache type '%s'; known: auto, f16, q8_0", name);
}

/* The type of a model's KV cache: what was asked for, if its heads allow that. */
static int choose_kv_type(const lv_engine_setup *o, const lv_model *m, const char *path, uint32_t *type,
                          lever_error *err)
{
    const lv_hparams *h = lv_model_hparams(m);
    *type = o->kv_type;
    if (lv_kv_type_fits(h, *type)) return LEVER_OK;
    *type = LV_TYPE_F16;
    if (o->kv_any) return LEVER_OK;
    return lv_fail(err, LEVER_EUNSUP, 0,
                   "'%s': a q8_0 KV cache needs heads of a multiple of 32, this model's have %u; use f16",
                   path, h->head_dim);
}

static void widen_cpu(lv_engine_setup *o, const lv_model *m)
{
    const size_t max_k = lv_model_max_k(m), head_dim = lv_model_hparams(m)->head_dim;
    if (max_k > o->cpu.max_k) o->cpu.max_k = max_k;
    if (head_dim > o->cpu.max_head_dim) o->cpu.max_head_dim = head_dim;
    o->cpu.act_kinds |= lv_model_act_kinds(m);
}

static int resolve_config(lv_engine_setup *o, const lever_config *c, lever_error *err)
{
    o->config = *c;
    if (!c->model_path) return lv_fail(err, LEVER_EINVAL, 0, "no model given");
    if (!o->config.io_backend) o->config.io_backend = "auto";
    if (o->eval) {
        o->config.policy = "none";
        o->config.n_more_policies = 0;
    }
    if (!o->config.policy) o->config.policy = "none";
    LEVER_TRY(lv_rule_from_name(&o->rule, o->eval ? NULL : c->verify, err));
    o->others_bytes = lv_budget_used();
    if (!o->config.mem_bytes) o->config.mem_bytes = o->others_bytes + lv_memory_available() / 4 * 3;
    if (!c->n_sessions) o->config.n_sessions = 1;
    if (c->n_sessions > LV_SESSIONS_MOST)
        return lv_fail(err, LEVER_EINVAL, 0, "%u sessions asked for; at most %d are supported", c->n_sessions,
                       LV_SESSIONS_MOST);
    if (c->n_threads > MAX_THREADS)
        return lv_fail(err, LEVER_EINVAL, 0, "%u threads asked for; at most %d are supported", c->n_threads,
                       MAX_THREADS);
    if ((c->flash_block_bytes && (c->flash_block_bytes < 64 << 10 || c->flash_block_bytes > 64 << 20)) ||
        c->flash_depth > 256)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "%u streamed reads of %u bytes: at most 256 of 64 KiB to 64 MiB are supported",
                       c->flash_depth, c->flash_block_bytes);
    if (c->draft_ahead < LEVER_AHEAD_AUTO || c->draft_ahead > LEVER_AHEAD_OFF)
        return lv_fail(err, LEVER_EINVAL, 0, "draft_ahead is %d; see enum lever_draft_ahead", c->draft_ahead);
    LEVER_TRY(lv_flash_model_get(&o->flash, c->flash_model, c->flash_limit_bytes_per_s, err));
    if (c->io_faults) LEVER_TRY(lv_read_fault_parse(&o->io_fault, c->io_faults, err));
    LEVER_TRY(lv_device_want_check(c->device, err));
    LEVER_TRY(lv_device_want_check(c->draft_device, err));
    if (c->project && strcmp(c->project, "demand") && strcmp(c->project, "eager"))
        return lv_fail(err, LEVER_EINVAL, 0, "rows are projected on 'demand' or 'eager', not '%s'", c->project);
    o->eager = c->project && !strcmp(c->project, "eager") && !o->eval;
    if (c->cpus) LEVER_TRY(lv_cpu_list_parse(&o->cpu.cpus, c->cpus, err));
    o->cpu.n_threads = c->n_threads ? c->n_threads : c->cpus ? o->cpu.cpus.n : lv_cpu_count();
    o->cpu.cpu_flags = lv_cpu_detect();
    LEVER_TRY(resolve_kv_type(o, err));
    if (!c->isa) return LEVER_OK;
    const int flags = lv_cpu_flags_from_name(c->isa);
    if (flags < 0)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "unknown instruction set '%s'; known: ref, avx2, avx512vnni, neon, dotprod, i8mm",
                       c->isa);
    o->cpu.cpu_flags &= (unsigned)flags;
    return LEVER_OK;
}

/* A template that is not known matters only once there is a talk. */
static int read_chat_template(lv_engine_setup *o, lever_error *err)
{
    lv_str text = { 0 };
    lever_error why = { 0 };
    LEVER_TRY(lv_gguf_get_str(lv_model_gguf(o->target), "tokenizer.chat_template", &text, err));
    o->chat.has_template = text.len > 0;
    const int rc = lv_chat_format_detect(&o->chat.own, text, &why);
    if (rc < 0 && rc != LEVER_EUNSUP) return lv_fail(err, rc, 0, "%s", why.msg);
    memcpy(o->chat.why, why.msg, sizeof o->chat.why);
    o->chat.now = o->chat.own;
    return LEVER_OK;
}

static int open_target(lv_engine_setup *o, lever_error *err)
{
    lv_file file;
    LEVER_TRY(lv_file_open(&file, o->config.model_path, err));
    o->target_file_bytes = file.size_bytes;
    lv_file_close(&file);
    LEVER_TRY(lv_model_open(&o->target, o->config.model_path, err));
    if (o->config.verify_reads) LEVER_TRY(lv_model_verify_reads(o->target, err));
    LEVER_TRY(lv_vocab_open(&o->vocab, lv_model_gguf(o->target), err));
    LEVER_TRY(read_chat_template(o, err));
    LEVER_TRY(lv_prune_setup(o, err));
    if (!o->eval) LEVER_TRY(lv_model_identify(o->target, &o->target_id, err));
    lv_model_drop_metadata(o->target);
    const lv_hparams *h = lv_model_hparams(o->target);
    if ((int64_t)lv_vocab_n_tokens(o->vocab) != (int64_t)h->n_vocab)
        return lv_fail(err, LEVER_EFORMAT, 0,
                       "'%s': the tokenizer has %d tokens, but the embedding has %u rows",
                       o->config.model_path, lv_vocab_n_tokens(o->vocab), h->n_vocab);
    widen_cpu(o, o->target);
    return choose_kv_type(o, o->target, o->config.model_path, &o->target_kv_type, err);
}

/* The first of the engine's policies that needs a draft; NULL: none does. */
static const char *policy_that_drafts(const lv_engine_setup *o)
{
    for (uint32_t i = 0; i < o->n_policies; i++)
        if (lv_policy_needs_draft(o->policies[i])) return lv_policy_name(o->policies[i]);
    return NULL;
}

static int open_draft(lv_engine_setup *o, lever_error *err)
{
    const char *drafting = policy_that_drafts(o);
    if (!o->config.draft_path) {
        if (!drafting) return LEVER_OK;
        return lv_fail(err, LEVER_EINVAL, 0, "policy '%s' needs a draft model (-md)", drafting);
    }
    if (!drafting && !o->eval) return LEVER_OK; /* not needed: its memory is better used for the target */
    LEVER_TRY(lv_model_open(&o->draft, o->config.draft_path, err));
    lv_vocab *vocab;
    LEVER_TRY(lv_vocab_open(&vocab, lv_model_gguf(o->draft), err));
    lv_model_drop_metadata(o->draft);
    int rc = lv_vocab_compare(o->vocab, vocab, err);
    if (rc >= 0 && (int64_t)lv_model_hparams(o->draft)->n_vocab < lv_vocab_n_used(o->vocab))
        rc = lv_fail(err, LEVER_EINVAL, 0, "the draft predicts %u of %d tokens",
                     lv_model_hparams(o->draft)->n_vocab, lv_vocab_n_used(o->vocab));
    lv_vocab_close(&vocab);
    if (rc < 0)
        return lv_fail_prefix(err, rc, "draft '%s' does not fit target '%s'", o->config.draft_path,
                              o->config.model_path);
    widen_cpu(o, o->draft);
    return choose_kv_type(o, o->draft, o->config.draft_path, &o->draft_kv_type, err);
}

/* ---- the plan ---- */

/* What a session has beside models, caches and logits: text, rows, tree, sampler, detokenizer. */
static uint64_t session_bytes(const lv_engine_setup *o, uint32_t n_ctx, uint32_t max_rows)
{
    const uint64_t tree = o->grow_nodes * (sizeof(lv_tree_node) + sizeof(int32_t));
    return n_ctx * 2 * sizeof(int32_t) + max_rows * sizeof(int32_t) + tree + o->max_nodes * sizeof(int32_t) +
           (o->config.n_sessions > 1 ? o->policy_bytes : 0) + lv_pruner_bytes(o->max_nodes, o->draft_rows) +
           lv_view_bytes(o->max_nodes) +
           lv_sampler_memory_bytes(lv_vocab_n_used(o->vocab)) + lv_detok_max_bytes(o->vocab) +
           (o->draft ? lv_rule_bytes(o->rule, o->max_nodes, o->draft_rows) + lv_noter_bytes(o->draft_rows) : 0);
}

lv_cpu_config lv_engine_setup_cpu(const lv_engine_setup *o, uint32_t n_ctx, uint32_t max_rows)
{
    lv_cpu_config cpu = o->cpu;
    cpu.max_rows = max_rows;
    /* The draft's cache may have more scratch slots than a batch has rows. */
    cpu.max_ctx = n_ctx + lv_draft_scratch(max_rows, o->draft_rows + o->ahead_rows) - max_rows;
    return cpu;
}

lv_cpu_config lv_engine_setup_ahead_cpu(const lv_engine_setup *o, uint32_t n_ctx, uint32_t max_rows)
{
    lv_cpu_config cpu = o->cpu;
    cpu.max_rows = LV_AHEAD_BATCH;
    cpu.max_ctx = n_ctx + lv_draft_scratch(max_rows, o->draft_rows + o->ahead_rows);
    cpu.max_k = lv_model_max_k(o->draft);
    cpu.max_head_dim = lv_model_hparams(o->draft)->head_dim;
    cpu.act_kinds = lv_model_act_kinds(o->draft);
    return cpu;
}

static uint32_t at_most(uint32_t n, uint32_t most) { return n < most ? n : most; }
static uint32_t at_least(uint32_t n, uint32_t least) { return n > least ? n : least; }

/* Two of its batches' worth where several sessions draft together. */
uint32_t lv_engine_setup_draft_rows(const lv_engine_setup *o)
{
    const uint32_t rows = at_most(o->max_nodes, LV_DRAFT_LOGIT_ROWS);
    return o->config.n_sessions > 1 ? at_most(2 * rows, LV_DRAFT_SHARED_ROWS) : rows;
}

static void plan_sizes(void *user, uint32_t n_ctx, uint32_t max_rows, lv_plan_sizes *out)
{
    const lv_engine_setup *o = user;
    const uint64_t logits = (uint64_t)lv_vocab_n_tokens(o->vocab) * sizeof(float);
    const uint32_t n = o->eval ? 1 : o->config.n_sessions;
    const uint32_t rows = o->fit ? 0 : o->eval ? at_most(max_rows, o->logit_rows) : o->logit_rows;
    const uint32_t draft_rows = o->eval ? at_most(max_rows, LV_EVAL_LOGIT_ROWS) : lv_engine_setup_draft_rows(o);
    const lv_cpu_config cpu = lv_engine_setup_cpu(o, n_ctx, max_rows);
    *out = (lv_plan_sizes){
        .kv_bytes = n * lv_kv_memory_bytes(lv_model_hparams(o->target), o->target_kv_type, n_ctx, max_rows),
        .activation_bytes = lv_model_activation_bytes(o->target, max_rows) + rows * logits +
                            (o->eval ? lv_eval_rows_bytes(max_rows)
                                     : o->policy_bytes + max_rows * 2 * sizeof(lv_row) + rows * sizeof(uint32_t) +
                                           n * session_bytes(o, n_ctx, max_rows)) +
                            max_rows * o->fit_row_bytes,
        .scratch_bytes = lv_cpu_memory_bytes(&cpu),
    };
    if (!o->draft) return;
    out->draft_kv_bytes = n * lv_kv_memory_bytes(lv_model_hparams(o->draft), o->draft_kv_type, n_ctx,
                                             lv_draft_scratch(max_rows, o->draft_rows + o->ahead_rows));
    out->activation_bytes += lv_model_activation_bytes(o->draft, max_rows) +
                             draft_rows * (uint64_t)lv_model_hparams(o->draft)->n_vocab * sizeof(float);
    if (!o->ahead_rows) return;
    const lv_cpu_config ahead = lv_engine_setup_ahead_cpu(o, n_ctx, max_rows);
    out->scratch_bytes += lv_ahead_bytes(&ahead, o->draft_rows);
}

static void add_line(lv_plan_line *lines, size_t *n, const char *label, uint64_t bytes)
{
    snprintf(lines[*n].label, sizeof lines[*n].label, "%s", label);
    lines[(*n)++].bytes = bytes;
}

static size_t fixed_lines(const lv_engine_setup *o, lv_plan_line *lines)
{
    size_t n = 0;
    add_line(lines, &n, "program and libraries", LV_PROGRAM_BYTES + o->config.caller_bytes);
    const uint32_t turns = o->draft && o->config.n_sessions > 1 && !o->eval ? o->config.n_sessions : 0;
    add_line(lines, &n, "thread stacks and I/O requests",
             (uint64_t)(o->cpu.n_threads * (o->ahead_rows ? 2 : 1) + turns) * STACK_BYTES + IO_BYTES);
    add_line(lines, &n, "vocabulary", lv_vocab_memory_bytes(o->vocab));
    add_line(lines, &n, "target norms and biases", lv_model_fixed_bytes(o->target));
    if (lv_model_sums_bytes(o->target))
        add_line(lines, &n, "checksums of the target", lv_model_sums_bytes(o->target));
    if (o->exit) add_line(lines, &n, "exit predictor", lv_exit_memory_bytes(o->exit));
    if (o->text_bytes) add_line(lines, &n, "the text and its tokens", o->text_bytes);
    if (o->devices.target || o->devices.draft) {
        add_line(lines, &n, "driver of the device", lv_devices_driver_bytes(&o->devices));
        add_line(lines, &n, "buffers of the device", lv_devices_buffer_bytes(&o->devices, true));
    }
    if (!o->draft) return n;
    add_line(lines, &n, "counts of acceptance", sizeof(lv_acceptances));
    size_t n_weights;
    const lv_model_weight *w = lv_model_weights(o->draft, &n_weights);
    uint64_t bytes = lv_model_fixed_bytes(o->draft);
    for (size_t i = 0; i < n_weights; i++) bytes += lv_model_place_bytes(&w[i], o->devices.draft, false);
    add_line(lines, &n, "draft weights", bytes);
    return n;
}

/* Plan with o->logit_rows; marks .pinned in items. */
static int run_plan(lv_engine_setup *o, lv_residency_item *items, size_t n_items, lv_plan_input *in,
                    lever_error *err)
{
    const lever_config *c = &o->config;
    const lv_hparams *h = lv_model_hparams(o->target);
    lv_plan_line fixed[LV_PLAN_MAX_FIXED];
    in->limit_bytes = c->mem_bytes; /* 0: none */
    if (c->mem_bytes) in->limit_bytes = c->mem_bytes > o->others_bytes ? c->mem_bytes - o->others_bytes : 1;
    in->fixed = fixed;
    in->n_fixed = fixed_lines(o, fixed);
    in->items = items;
    in->n_items = n_items;
    in->align = 4096;
    in->extent_cost_bytes = EXTENT_COST_BYTES;
    in->n_ctx_wanted = c->n_ctx;
    if (!c->n_ctx)
        in->n_ctx_wanted =
            h->n_ctx_train && h->n_ctx_train < LV_CONTEXT_DEFAULT ? h->n_ctx_train : LV_CONTEXT_DEFAULT;
    o->n_ctx_wanted = in->n_ctx_wanted;
    in->n_ctx_min = c->n_ctx || in->n_ctx_wanted < CONTEXT_LEAST ? in->n_ctx_wanted : CONTEXT_LEAST;
    in->tree_rows = o->eval ? o->max_nodes : at_least(o->max_nodes, o->config.n_sessions);
    in->max_rows = c->max_rows;
    in->extent_most_bytes = c->flash_block_bytes;
    in->reads_in_flight = c->flash_depth && c->flash_depth < 6 ? c->flash_depth : 0;
    in->rows_share = o->eval ? 2 : 0; /* nothing but prefill: fewer sweeps beat a larger resident part */
    in->residency = c->pin_first_layers ? LV_RESIDENCY_FIRST_LAYERS : LV_RESIDENCY_SPREAD;
    in->no_pin = c->no_pin;
    in->sizes = plan_sizes;
    in->user = o;
    const int rc = lv_plan_memory(&o->plan, in, err);
    o->fits = rc >= 0;
    return rc == LEVER_ELIMIT ? LEVER_OK : rc;
}

/* Plan with o->ahead_rows. A few rows of logits are enough while the head is resident; a streamed head is read once per
 * cycle and multiplied with every row of the tree, or once per chunk of a window with all that are scored. */
static int plan_with_logits(lv_engine_setup *o, lv_residency_item *items, size_t n_items, lv_plan_input *in,
                            lever_error *err)
{
    const uint32_t together = at_most(o->config.n_sessions, LV_PROJECT_SESSIONS);
    o->logit_rows = o->eval    ? LV_EVAL_LOGIT_ROWS
                    : o->eager ? at_least(o->max_nodes, o->config.n_sessions)
                               : at_most(o->max_nodes, LV_PROJECT_ROWS) * together;
    LEVER_TRY(run_plan(o, items, n_items, in, err));
    if (o->fits && o->plan.head_resident) return LEVER_OK;
    o->logit_rows = o->eval ? lv_eval_scored(o->config.n_ctx) : at_least(o->max_nodes, o->config.n_sessions);
    return run_plan(o, items, n_items, in, err);
}

/* Can the draft go on beside verification? */
static bool may_draft_ahead(const lv_engine_setup *o)
{
    const lv_engine_devices *d = &o->devices;
    const bool shares = o->config.n_sessions > 1 || (d->draft && d->draft == d->target); /* a device has one owner */
    return o->draft && !shares && !o->eval && o->rule == LV_RULE_MATCH && o->config.draft_ahead != LEVER_AHEAD_OFF;
}

/* Bytes of everything but weights and ring. */
static uint64_t base_bytes(lv_engine_setup *o)
{
    lv_plan_sizes s;
    plan_sizes(o, o->plan.n_ctx, o->plan.max_rows, &s);
    return s.kv_bytes + s.draft_kv_bytes + s.activation_bytes + s.scratch_bytes;
}

/* Drafting beside verification that was not asked for has room where cores are likely to wait, for flash or a device,
 * and where it takes nothing but a little of the weights' memory. */
static int plan_ahead(lv_engine_setup *o, lv_residency_item *items, size_t n_items, lv_plan_input *in,
                      lever_error *err)
{
    const lv_plan without = o->plan;
    const uint64_t base = base_bytes(o);
    if (!o->fits || !(without.streamed_bytes || o->devices.target)) return LEVER_OK;
    o->ahead_rows = LV_AHEAD_ROWS;
    LEVER_TRY(plan_with_logits(o, items, n_items, in, err));
    o->plan.needed_bytes = without.needed_bytes; /* it can do without */
    const bool same = o->fits && o->plan.n_ctx == without.n_ctx && o->plan.max_rows == without.max_rows &&
                      o->plan.head_resident == without.head_resident;
    if (same && base_bytes(o) - base <= o->config.mem_bytes / AHEAD_SHARE) return LEVER_OK;
    o->ahead_rows = 0;
    return plan_with_logits(o, items, n_items, in, err);
}

/* What of the caches holds weights while texts are short (engine/loan.c). */
static int plan_loan(lv_engine_setup *o, lever_error *err)
{
    const lv_plan *p = &o->plan;
    const bool lends = o->fits && p->streamed_bytes && !o->eval && !o->config.no_pin && !o->devices.target;
    const uint32_t scratch = lv_draft_scratch(p->max_rows, o->draft_rows + o->ahead_rows);
    const uint32_t used = at_most(LV_TEXT_SHORT, p->n_ctx);
    const lv_hparams *h = lv_model_hparams(o->target), *d = o->draft ? lv_model_hparams(o->draft) : NULL;
    uint64_t all = lv_kv_memory_bytes(h, o->target_kv_type, p->n_ctx, p->max_rows);
    uint64_t some = lv_kv_planned_bytes(h, o->target_kv_type, p->n_ctx, p->max_rows, used);
    if (d) all += lv_kv_memory_bytes(d, o->draft_kv_type, p->n_ctx, scratch);
    if (d) some += lv_kv_planned_bytes(d, o->draft_kv_type, p->n_ctx, scratch, used);
    o->loan_bytes = lends ? o->config.n_sessions * all : 0;
    const uint64_t free_bytes = lends && all > some ? o->config.n_sessions * (all - some) : 0;
    return lv_model_lend_plan(o->target, o->loan_bytes, free_bytes,
                              o->config.pin_first_layers ? LV_RESIDENCY_FIRST_LAYERS : LV_RESIDENCY_SPREAD, err);
}

int lv_engine_setup_plan(lv_engine_setup *o, lever_error *err)
{
    size_t n;
    lv_model_weight *w = lv_model_weights(o->target, &n);
    lv_residency_item *items = lv_alloc_array(n, sizeof *items, 16);
    if (!items) return lv_fail(err, LEVER_ENOMEM, 0, "memory plan");
    lv_plan_input in = { 0 };
    size_t n_items = 0;
    lv_devices_open(o);
    o->ahead_rows = may_draft_ahead(o) && o->config.draft_ahead == LEVER_AHEAD_ON ? LV_AHEAD_ROWS : 0;
    for (size_t i = 0; i < n; i++) {
        if (w[i].bytes / w[i].rows > in.max_row_bytes) in.max_row_bytes = w[i].bytes / w[i].rows;
        const uint64_t bytes = lv_model_place_bytes(&w[i], o->devices.target, o->config.project_device);
        if (w[i].layer < 0) in.head_bytes = bytes;
        else items[n_items++] = (lv_residency_item){ .bytes = bytes, .layer = w[i].layer };
    }
    int rc = plan_with_logits(o, items, n_items, &in, err);
    if (rc >= 0 && may_draft_ahead(o) && !o->ahead_rows) rc = plan_ahead(o, items, n_items, &in, err);
    for (size_t i = 0, k = 0; i < n; i++)
        w[i].resident = w[i].layer < 0 ? o->plan.head_resident : items[k++].pinned;
    if (rc >= 0) rc = plan_loan(o, err);
    if (o->draft) {
        lv_model_weight *dw = lv_model_weights(o->draft, &n);
        for (size_t i = 0; i < n; i++) dw[i].resident = true;
    }
    lv_free(items);
    return rc;
}

/* A perplexity belongs to a length of window, so that is fixed, whatever the memory. */
static void choose_window(lv_engine_setup *o)
{
    const uint32_t trained = lv_model_hparams(o->target)->n_ctx_train;
    if (!o->config.n_ctx) o->config.n_ctx = at_most(trained ? trained : LV_EVAL_WINDOW, LV_EVAL_WINDOW);
}

void lv_policies_close(lv_policy **policies, uint32_t n)
{
    for (uint32_t i = 0; policies && i < n; i++) lv_policy_close(&policies[i]);
    lv_free(policies);
}

/* Every policy that will be named, and room for the trees of each. */
static int open_policies(lv_engine_setup *o, lever_error *err)
{
    const uint32_t n = 1 + o->config.n_more_policies;
    if (!(o->policies = lv_alloc_array(n, sizeof *o->policies, 16)))
        return lv_fail(err, LEVER_ENOMEM, 0, "list of %u policies", n);
    for (o->n_policies = 0; o->n_policies < n; o->n_policies++) {
        const uint32_t i = o->n_policies;
        lv_policy **p = &o->policies[i];
        LEVER_TRY(lv_policy_open(p, i ? o->config.more_policies[i - 1] : o->config.policy, err));
        const int rc = lv_rule_check_policy(o->rule, *p, err);
        if (rc < 0) {
            lv_policy_close(p);
            return rc;
        }
        o->max_nodes = at_least(lv_policy_max_nodes(*p), o->max_nodes);
        o->grow_nodes = at_least(lv_policy_grow_nodes(*p), o->grow_nodes);
        o->draft_rows = at_least(lv_policy_draft_rows(*p), o->draft_rows);
        o->policy_bytes += lv_policy_memory_bytes(*p);
    }
    return LEVER_OK;
}

static int setup_open(lv_engine_setup *o, const lever_config *c, bool eval, const lv_engine_devices *devices,
                      lever_error *err)
{
    *o = (lv_engine_setup){ .max_nodes = 1, .grow_nodes = 1, .eval = eval, .devices = *devices };
    int rc = resolve_config(o, c, err);
    if (rc >= 0) rc = open_policies(o, err);
    if (rc >= 0) rc = open_target(o, err);
    if (rc >= 0) rc = open_draft(o, err);
    if (rc < 0) {
        lv_engine_setup_fini(o);
        return rc;
    }
    if (eval) choose_window(o);
    return LEVER_OK;
}

int lv_engine_setup_open(lv_engine_setup *o, const lever_config *c, bool eval, lever_error *err)
{
    return setup_open(o, c, eval, &(lv_engine_devices){ 0 }, err);
}

static int open_and_plan(lv_engine_setup *o, const lever_config *c, const lv_engine_devices *devices,
                         lever_error *err)
{
    LEVER_TRY(setup_open(o, c, false, devices, err));
    const int rc = lv_engine_setup_plan(o, err);
    if (rc < 0) lv_engine_setup_fini(o);
    return rc;
}

/* Lever's policy has room for large trees. Where that does not fit, or only beside a shorter context, smaller ones. */
int lv_engine_setup_init(lv_engine_setup *o, const lever_config *c, lever_error *err)
{
    static const char *const defaults[] = { "lever", "lever:24", "chain:8" };
    const bool draws = c->verify && strcmp(c->verify, "match"); /* which only the last of them does */
    if (!c->policy && c->advise && c->draft_path && !draws) return lv_engine_setup_advised(o, c, err);
    lv_engine_devices devices = { 0 }; /* which are opened only once */
    if (c->policy || !c->draft_path) return open_and_plan(o, c, &devices, err);
    for (int i = draws ? 2 : 0;; i++) {
        lever_config with = *c;
        with.policy = defaults[i];
        LEVER_TRY(open_and_plan(o, &with, &devices, err));
        if (i == 2 || (o->fits && o->plan.n_ctx >= o->n_ctx_wanted)) return LEVER_OK;
        devices = o->devices;
        o->devices = (lv_engine_devices){ 0 };
        lv_engine_setup_fini(o);
    }
}

/* Into the plan or out of it, where it stays open. */
static void take_part(void **in, void **out, bool part)
{
    if (part && !*in) *in = *out, *out = NULL;
    if (!part && *in) *out = *in, *in = NULL;
}

int lv_engine_setup_again(lv_engine_setup *o, const char *policy, lever_error *err)
{
    lv_policies_close(o->policies, o->n_policies);
    o->policies = NULL, o->n_policies = 0, o->policy_bytes = 0;
    o->max_nodes = o->grow_nodes = 1, o->draft_rows = 0;
    o->config.policy = policy;
    LEVER_TRY(open_policies(o, err));
    void *draft = o->draft, *spare_draft = o->spare_draft, *exit = o->exit, *spare_exit = o->spare_exit;
    take_part(&draft, &spare_draft, policy_that_drafts(o) != NULL);
    take_part(&exit, &spare_exit, o->max_nodes > 1);
    o->draft = draft, o->spare_draft = spare_draft, o->exit = exit, o->spare_exit = spare_exit;
    o->cpu.max_k = o->cpu.max_head_dim = 0, o->cpu.act_kinds = 0;
    widen_cpu(o, o->target);
    if (o->draft) widen_cpu(o, o->draft);
    return lv_engine_setup_plan(o, err);
}

void lv_engine_setup_fini(lv_engine_setup *o)
{
    lv_exit_close(&o->spare_exit);
    lv_model_close(&o->spare_draft);
    lv_free(o->advice);
    lv_exit_close(&o->exit);
    lv_policies_close(o->policies, o->n_policies);
    lv_vocab_close(&o->vocab);
    lv_model_close(&o->target);
    lv_model_close(&o->draft);
    lv_devices_close(&o->devices);
}

void lv_engine_setup_export(const lv_engine_setup *o, lever_plan *out)
{
    const lv_plan *p = &o->plan;
    *out = (lever_plan){ .limit_bytes = o->config.mem_bytes, .total_bytes = p->total_bytes,
                         .needed_bytes = p->needed_bytes + o->others_bytes, .resident_bytes = p->resident_bytes,
                         .streamed_bytes = p->streamed_bytes,
                         .lent_bytes = lv_model_lend_planned(o->target), .n_ctx = p->n_ctx, .max_rows = p->max_rows,
                         .head_resident = p->head_resident, .fits = o->fits };
    for (uint32_t i = 0; i < p->n_lines && i < sizeof out->lines / sizeof *out->lines; i++) {
        memcpy(out->lines[i].label, p->lines[i].label, sizeof out->lines[i].label);
        out->lines[i].bytes = p->lines[i].bytes;
        out->n_lines = i + 1;
    }
}
