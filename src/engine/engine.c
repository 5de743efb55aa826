/* Opening and closing engines. SPDX-License-Identifier: MIT */
#include "engine/engine.h"
#include "lever/plan.h"

#include <string.h>

#include "os/cpu.h"
#include "os/memory.h"
#include "plan/sweep_time.h"

#define LEVER_VERSION "0.1.0"

const char *lever_version(void) { return LEVER_VERSION; }

void lever_config_init(lever_config *c) { *c = (lever_config){ 0 }; }

typedef struct load_progress {
    const lever_config *config;
    const char *what;
} load_progress;

static void on_load(void *user, uint64_t done, uint64_t total)
{
    const load_progress *p = user;
    if (p->config->progress) p->config->progress(p->config->progress_user, p->what, done, total);
}

static int open_io(lever_engine *e, const lv_engine_setup *o, lever_error *err)
{
    lv_io_config io;
    lv_io_config_init(&io);
    if (o->config.flash_depth) io.depth = o->config.flash_depth;
    io.model = e->flash = o->flash;
    io.fault = o->io_fault;
    return lv_io_open(&e->io, o->config.io_backend, &io, err);
}

static int load_models(lever_engine *e, const lv_engine_setup *o, lever_error *err)
{
    load_progress p = { .config = &o->config, .what = "loading the target" };
    lv_model_load_config load = { .cpu = e->cpu, .io = e->io, .max_rows = o->plan.max_rows,
                                  .extent_bytes = o->plan.extent_bytes, .ring_bytes = o->plan.ring_bytes,
                                  .progress = on_load, .user = &p,
                                  .trace = { o->config.on_trace, o->config.trace_user }, .track = "target",
                                  .device = e->devices.target, .device_min_rows = e->devices.min_rows,
                                  .device_head = o->config.project_device };
    e->trace = load.trace;
    LEVER_TRY(lv_model_load(e->target, &load, err));
    if (!e->draft) return LEVER_OK;
    p.what = "loading the draft";
    load.ring_bytes = 0;
    load.track = "draft";
    load.io = NULL;
    load.device = e->devices.draft;
    load.device_min_rows = e->devices.draft_min_rows;
    load.device_head = false;
    return lv_model_load(e->draft, &load, err);
}

/* Weights that each row is multiplied with: without the head for the target, which projects few rows. */
static double count_weights(lv_model *m, bool head)
{
    size_t n;
    double count = 1; /* never 0 */
    const lv_model_weight *w = lv_model_weights(m, &n);
    for (size_t i = 0; i < n; i++)
        if (head || w[i].layer >= 0) count += (double)w[i].rows * (double)w[i].cols;
    return count;
}

/* What the sessions have in common, as one sweep at a time is made for all of them. */
static int open_buffers(lever_engine *e, const lv_engine_setup *o, lever_error *err)
{
    const size_t n_vocab = (size_t)lv_vocab_n_tokens(e->vocab);
    e->logit_rows = o->logit_rows;
    e->draft_logit_rows = lv_engine_setup_draft_rows(o);
    e->rows = lv_alloc_array(o->plan.max_rows, sizeof *e->rows, 64);
    e->project_rows = lv_alloc_array(e->logit_rows, sizeof *e->project_rows, 64);
    e->logits = lv_alloc_array(e->logit_rows * n_vocab, sizeof *e->logits, 64);
    if (!e->rows || !e->project_rows || !e->logits) return lv_fail(err, LEVER_ENOMEM, 0, "rows of a sweep");
    if (!e->draft) return LEVER_OK;
    e->draft_batch = lv_alloc_array(o->plan.max_rows, sizeof *e->draft_batch, 64);
    e->draft_logits = lv_alloc_array(e->draft_logit_rows * (size_t)lv_model_hparams(e->draft)->n_vocab,
                                     sizeof *e->draft_logits, 64);
    if (e->draft_batch && e->draft_logits) return LEVER_OK;
    return lv_fail(err, LEVER_ENOMEM, 0, "rows of a batch of the draft");
}

static int build_engine(lever_engine *e, lv_engine_setup *o, lever_error *err)
{
    /* From here on the engine owns what prepare opened. */
    e->devices = o->devices, o->devices = (lv_engine_devices){ 0 };
    e->eager = o->eager;
    e->target = o->target, e->draft = o->draft, e->vocab = o->vocab;
    e->policies = o->policies, e->n_policies = o->n_policies;
    e->chat = o->chat;
    e->n_sessions = o->config.n_sessions;
    e->rule = o->rule;
    e->loan.bytes = o->loan_bytes;
    e->residency = o->config.pin_first_layers ? LV_RESIDENCY_FIRST_LAYERS : LV_RESIDENCY_SPREAD;
    if (e->draft) e->target_ratio = count_weights(e->target, false) / count_weights(e->draft, true);
    e->exit = o->exit, o->exit = NULL;
    e->prune_rule = o->prune_rule;
    memcpy(e->exit_note, o->exit_note, sizeof e->exit_note);
    if (o->advice && o->advice->any) memcpy(e->advice, o->advice->why, sizeof e->advice);
    e->max_nodes = o->max_nodes, e->grow_nodes = o->grow_nodes, e->draft_rows = o->draft_rows;
    e->kv_type = o->target_kv_type, e->draft_kv_type = o->draft_kv_type;
    e->ahead_rows = o->ahead_rows;
    e->ahead_always = o->config.draft_ahead == LEVER_AHEAD_ON;
    if (e->ahead_rows) e->ahead_cpu = lv_engine_setup_ahead_cpu(o, o->plan.n_ctx, o->plan.max_rows);
    o->target = o->draft = NULL, o->vocab = NULL, o->policies = NULL, o->n_policies = 0;
    /* Every plan has a line for the program, which is there only once. */
    const size_t own = o->plan.total_bytes - LV_PROGRAM_BYTES, limit = o->config.mem_bytes;
    LEVER_TRY(lv_budget_charge(own, limit ? limit - LV_PROGRAM_BYTES : 0, "the memory plan", err));
    e->charged_bytes = own;
    const lv_cpu_config cpu = lv_engine_setup_cpu(o, o->plan.n_ctx, o->plan.max_rows);
    LEVER_TRY(lv_cpu_open(&e->cpu, &cpu, err));
    LEVER_TRY(open_io(e, o, err));
    if (o->cpu.cpus.n) { /* only now: the threads of the reads may go anywhere */
        lv_affinity_save(&e->affinity);
        lv_thread_bind(o->cpu.cpus.cpus[0]);
    }
    LEVER_TRY(load_models(e, o, err));
    return o->eval ? LEVER_OK : open_buffers(e, o, err);
}

/* Names a limit that will do the next time, too: what a driver takes differs a little from start to start. */
static int too_small(const lv_engine_setup *o, lever_error *err)
{
    enum { DRIVERS_DIFFER_BYTES = 1 << 20 };
    const bool device = o->devices.target || o->devices.draft;
    const uint64_t needed = o->plan.needed_bytes + o->others_bytes + (device ? DRIVERS_DIFFER_BYTES : 0);
    return lv_fail(err, LEVER_ELIMIT, 0, "the memory limit of %llu bytes is too small: '%s' needs at least %llu bytes "
                   "with a context of %u%s; raise --mem or lower -c", (unsigned long long)o->config.mem_bytes,
                   o->config.model_path, (unsigned long long)needed, o->plan.n_ctx,
                   o->others_bytes ? ", beside the models that are open already" : "");
}

int lv_engine_load(lever_engine **out, lv_engine_setup *o, lever_error *err)
{
    *out = NULL;
    lever_engine *e = NULL;
    int rc = o->fits ? LEVER_OK : too_small(o, err);
    if (rc >= 0 && !(e = lv_alloc(sizeof *e, 64))) rc = lv_fail(err, LEVER_ENOMEM, 0, "engine");
    if (rc >= 0) {
        lv_memory_trim(); /* the metadata of two files, which no line of the plan stands for */
        lv_engine_setup_export(o, &e->plan);
        e->target_file_bytes = o->target_file_bytes;
        e->target_id = o->target_id;
        rc = build_engine(e, o, err);
        if (rc >= 0) e->pair_key = lv_learnt_pair(e->target_file_bytes, e->target, e->draft);
        if (rc >= 0) lv_engine_seed(e, o);
    }
    if (rc < 0) {
        lever_engine_close(&e);
        return rc;
    }
    *out = e;
    return LEVER_OK;
}

int lever_engine_open(lever_engine **out, const lever_config *config, lever_error *err)
{
    *out = NULL;
    lv_engine_setup o;
    LEVER_TRY(lv_engine_setup_init(&o, config, err));
    const int rc = lv_engine_load(out, &o, err);
    lv_engine_setup_fini(&o);
    return rc;
}

void lever_engine_close(lever_engine **engine)
{
    if (!engine || !*engine) return;
    lever_engine *e = *engine;
    *engine = NULL;
    lv_model_close(&e->target);
    lv_model_close(&e->draft);
    lv_devices_close(&e->devices);
    lv_io_close(&e->io);
    lv_cpu_close(&e->cpu);
    lv_vocab_close(&e->vocab);
    lv_exit_close(&e->exit);
    lv_free(e->rows);
    lv_free(e->project_rows);
    lv_free(e->logits);
    lv_free(e->draft_batch);
    lv_free(e->draft_logits);
    lv_policies_close(e->policies, e->n_policies);
    lv_free(e->learnt_rest);
    lv_affinity_restore(&e->affinity);
    lv_budget_refund(e->charged_bytes);
    lv_free(e);
}

int64_t lever_tokenize(const lever_engine *e, const char *text, size_t len, unsigned flags, int32_t *tokens,
                       size_t cap, lever_error *err)
{
    const unsigned f = (flags & LEVER_ENCODE_NO_BOS ? 0u : (unsigned)LV_ENCODE_ADD_SPECIAL) |
                       (flags & LEVER_ENCODE_PARSE_SPECIAL ? (unsigned)LV_ENCODE_PARSE_SPECIAL : 0u);
    return lv_vocab_encode(e->vocab, text, len == SIZE_MAX ? strlen(text) : len, f, tokens, cap, err);
}

size_t lever_tokenize_bytes(const lever_engine *e, size_t len) { return lv_vocab_encode_bytes(e->vocab, len); }

int32_t lever_n_vocab(const lever_engine *e) { return lv_vocab_n_tokens(e->vocab); }

size_t lever_token_text(const lever_engine *e, int32_t token, char *buf, size_t cap)
{
    const lv_str piece = lv_vocab_piece(e->vocab, token, true);
    const size_t n = piece.len < cap ? piece.len : cap ? cap - 1 : 0;
    if (n) memcpy(buf, piece.s, n);
    if (cap) buf[n] = '\0';
    return piece.len;
}

const char *lever_policy_known(size_t i) { return lv_policy_known(i); }

int lever_policy_rows(const char *spec, lever_error *err)
{
    lv_policy *p;
    LEVER_TRY(lv_policy_open(&p, spec, err));
    const uint32_t rows = lv_policy_max_nodes(p);
    lv_policy_close(&p);
    return (int)rows;
}

static void device_info(const lever_engine *e, lever_engine_info *info)
{
    const lv_engine_devices *d = &e->devices;
    lv_model_stats t, dr = { 0 };
    const char *lost = lv_model_device_note(e->target), *draft_lost = NULL;
    lv_model_get_stats(e->target, &t);
    if (e->draft) lv_model_get_stats(e->draft, &dr), draft_lost = lv_model_device_note(e->draft);
    info->device = d->target && !lost && d->min_rows != LV_ROWS_NEVER ? d->target->traits.name : "cpu";
    if (e->draft) info->draft_device = d->draft && !draft_lost ? d->draft->traits.name : "cpu";
    info->device_note = lost ? lost : draft_lost ? draft_lost : d->note;
    info->device_jobs = t.device_jobs + dr.device_jobs;
    info->device_min_rows = d->min_rows;
}

void lever_engine_get_info(const lever_engine *e, lever_engine_info *info)
{
    const uint64_t lent = lv_model_lent_weights(e->target);
    lv_model_stats t;
    lv_model_get_stats(e->target, &t);
    *info = (lever_engine_info){ .isa = lv_cpu_kernels(e->cpu)->isa,
                                 .io_backend = lv_io_backend(e->io),
                                 .policy = lv_policy_name(e->policies[0]),
                                 .verify = lv_rule_name(e->rule),
                                 .kv_type = e->kv_type == LV_TYPE_F16 ? "f16" : "q8_0",
                                 .n_threads = lv_cpu_n_threads(e->cpu),
                                 .n_ctx = e->plan.n_ctx,
                                 .max_rows = e->plan.max_rows,
                                 .mem_limit_bytes = e->plan.limit_bytes,
                                 .planned_bytes = e->plan.total_bytes,
                                 .target_file_bytes = e->target_file_bytes,
                                 .target_resident_bytes = e->plan.resident_bytes + lent,
                                 .target_streamed_bytes = e->plan.streamed_bytes - lent,
                                 .target_read_bytes = t.bytes_read,
                                 .pair_key = e->pair_key,
                                 .exit_layer = e->exit ? lv_exit_layer(e->exit) + 1 : 0,
                                 .advice = e->advice[0] ? e->advice : NULL,
                                 .exit_note = e->exit_note[0] ? e->exit_note : NULL,
                                 .flash_model = e->flash.name,
                                 .flash_limit_bytes_per_s = e->flash.bytes_per_s };
    device_info(e, info);
    memcpy(info->arch, lv_model_hparams(e->target)->arch, sizeof info->arch);
}

int lever_plan_memory(const lever_config *c, lever_plan *plan, lever_error *err)
{
    lv_engine_setup o;
    LEVER_TRY(lv_engine_setup_init(&o, c, err));
    lv_engine_setup_export(&o, plan);
    lv_engine_setup_fini(&o);
    return LEVER_OK;
}
