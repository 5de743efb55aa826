/* lever_fit, second part: from recorded positions to a sidecar. A short training after each recorded layer, a
 * long one after the layer that saves most. What is unfinished is kept in a state file; a run that goes on
 * from it does the same steps with the same numbers. SPDX-License-Identifier: MIT */
#include "engine/fit_impl.h"

#include <math.h>
#include <string.h>

#include "engine/fit_state.h"
#include "fit/fit_quality.h"
#include "fit/fit_trainer.h"
#include "kernel/angles.h"
#include "os/clock.h"

enum {
    STEPS = 600, TRY_STEPS = 80,
    STOP_CHECKS = 20,        /* of the held-out loss, in a whole training */
    STOP_AFTER = 5,          /* checks without a better one */
    STOP_POSITIONS = 512,    /* of a check */
    LEAST_MICRO = 8,
    STACK_BYTES = 64 << 10,
    SAVE_NS_E9 = 60          /* seconds between saves of the state */
};
static const double true_share = 0.95; /* of the target's choices that must stay, when layers are compared */
static const float kd_temperature = 1.0f, cand_temperature = 1.0f, cand_weight = 1.0f;
static const float thresholds[] = { 0.001f, 0.002f, 0.005f, 0.01f, 0.02f, 0.03f,
                                    0.05f,  0.07f,  0.1f,   0.15f, 0.2f,  0.3f };
enum { N_THRESHOLDS = sizeof thresholds / sizeof *thresholds };
_Static_assert(N_THRESHOLDS <= (int)LV_EXIT_MAX_CURVE && (int)LV_EXIT_MAX_CURVE <= (int)LEVER_FIT_CURVE,
               "curve");

typedef struct train_run {
    fit_job *job;
    lv_fit_trainer_config c;
    lv_fit_head     head;
    lv_cpu         *cpu;
    lv_fit_trainer *t;
    uint32_t *train, *held, *order; /* [n_train], [n_held] records; [n_train] those of the running pass */
    uint32_t  n_train, n_held;
    uint32_t  order_pass;           /* order is that of pass order_pass - 1 */
    float    *x, *final;            /* [FIT_BATCH][d] */
    int32_t  *cands;                /* [FIT_BATCH][LV_FIT_CANDIDATES] */
    lv_fit_scored *scored;          /* [FIT_BATCH] */
    lv_fit_node   *nodes;           /* [n_held] */
    float    *gain0, *best;         /* [d]; [n_params] */
    lv_fit_blend alone, joint;      /* of the last judgement */
    fit_state s;
    uint64_t  saved_ns;
    size_t    charged;
} train_run;

/* ---- memory ---- */

static uint64_t lists_bytes(const train_run *r, uint64_t n_records)
{
    const uint64_t d = r->c.shape.n_embd;
    const uint64_t row = 2 * d * sizeof(float) + LV_FIT_CANDIDATES * sizeof(int32_t) + sizeof(lv_fit_scored);
    return n_records * 3 * sizeof(uint32_t) + FIT_BATCH * row + FIT_HELD_MOST * sizeof(lv_fit_node) +
           (lv_fit_net_params(&r->c.shape) + d) * sizeof(float) +
           FIT_HELD_MOST * LV_FIT_NODE_CANDIDATES * 2 * sizeof(double);
}

/* Everything, with so many rows of logits at once. */
static uint64_t total_bytes(train_run *r, uint32_t micro, bool keep_head)
{
    const fit_job *j = r->job;
    lv_cpu_config cpu = j->cpu;
    r->c.micro_rows = micro;
    lv_fit_trainer_cpu(&r->c, &j->head, &cpu);
    return LV_PROGRAM_BYTES + cpu.n_threads * (uint64_t)STACK_BYTES + lv_cpu_memory_bytes(&cpu) +
           lv_fit_head_memory_bytes(&j->head, keep_head) +
           lv_fit_trainer_memory_bytes(&r->c, lv_fit_head_chunk(&j->head)) +
           lists_bytes(r, lv_fit_data_records(j->data)) + lv_fit_data_memory_bytes(&j->info);
}

/* As many rows of logits at once as fit; the head stays in memory if there is room for that with a few of
 * them. */
static int plan(train_run *r, bool *keep_head, lever_error *err)
{
    const fit_job *j = r->job;
    const uint64_t limit = j->mem_bytes > j->others_bytes ? j->mem_bytes - j->others_bytes : 1;
    const uint32_t least = j->form == LV_EXIT_TIED ? LEAST_MICRO : FIT_BATCH;
    uint64_t total = 0;
    for (int pass = 0; pass < 2; pass++) {
        *keep_head = pass == 0;
        for (uint32_t micro = FIT_BATCH; micro >= (pass || least > 32 ? least : 32u); micro /= 2)
            if ((total = total_bytes(r, micro, *keep_head)) <= limit) {
                r->charged = (size_t)(total - LV_PROGRAM_BYTES);
                return lv_budget_charge(r->charged, (size_t)(j->mem_bytes - LV_PROGRAM_BYTES), "the training",
                                        err);
            }
    }
    return lv_fail(
        err, LEVER_ELIMIT, 0,
        "the memory limit of %llu bytes is too small to train: the %s form needs at least %llu bytes; raise "
        "--mem%s",
        (unsigned long long)j->mem_bytes, j->result->form, (unsigned long long)(total + j->others_bytes),
        j->form == LV_EXIT_TIED ? " or lower --rank" : " or take the tied form");
}

/* ---- life ---- */

static int list_records(train_run *r, lever_error *err)
{
    lv_fit_data *data = r->job->data;
    const uint32_t n = lv_fit_data_records(data);
    uint32_t n_held = 0;
    r->train = lv_alloc_array(n, sizeof *r->train, 64);
    r->order = lv_alloc_array(n, sizeof *r->order, 64);
    r->held = lv_alloc_array(n, sizeof *r->held, 64);
    if (!r->train || !r->order || !r->held) return lv_fail(err, LEVER_ENOMEM, 0, "list of %u positions", n);
    for (uint32_t i = 0; i < n; i++) {
        const int held = lv_fit_data_held(data, i, err);
        if (held < 0) return held;
        if (held) r->held[n_held++] = i;
        else r->train[r->n_train++] = i;
    }
    /* An even selection of those held out is enough to measure with. */
    const uint32_t most = n_held < FIT_HELD_MOST ? n_held : FIT_HELD_MOST;
    for (uint32_t i = 0; i < most; i++) r->held[i] = r->held[(uint64_t)i * n_held / most];
    r->n_held = most;
    r->job->result->n_train = r->n_train;
    r->job->result->n_held = r->n_held;
    if (r->n_train >= FIT_BATCH && r->n_held >= 16) return LEVER_OK;
    return lv_fail(err, LEVER_EINVAL, 0,
                   "the text leaves %u positions to train on and %u to measure with; use more", r->n_train,
                   r->n_held);
}

static int open_buffers(train_run *r, lever_error *err)
{
    const size_t d = r->c.shape.n_embd;
    r->x = lv_alloc_array(FIT_BATCH, d * sizeof *r->x, 64);
    r->final = lv_alloc_array(FIT_BATCH, d * sizeof *r->final, 64);
    r->cands = lv_alloc_array(FIT_BATCH, LV_FIT_CANDIDATES * sizeof *r->cands, 64);
    r->scored = lv_alloc_array(FIT_BATCH, sizeof *r->scored, 64);
    r->nodes = lv_alloc_array(r->n_held, sizeof *r->nodes, 64);
    r->best = lv_alloc_array(lv_fit_net_params(&r->c.shape), sizeof *r->best, 64);
    r->gain0 = lv_alloc_array(d, sizeof *r->gain0, 64);
    if (!r->x || !r->final || !r->cands || !r->scored || !r->nodes || !r->best || !r->gain0)
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the training");
    return lv_fit_data_gain(r->job->data, r->gain0, err);
}

static int open_run(train_run *r, lever_error *err)
{
    fit_job *j = r->job;
    bool keep_head;
    r->c = (lv_fit_trainer_config){ .shape = { j->form, j->target.n_embd, j->n_used, j->rank },
                                    .kd_temperature = kd_temperature, .cand_temperature = cand_temperature,
                                    .cand_weight = cand_weight, .batch_rows = FIT_BATCH,
                                    .n_threads = j->cpu.n_threads, .seed = j->params->seed };
    LEVER_TRY(plan(r, &keep_head, err));
    LEVER_TRY(list_records(r, err));
    LEVER_TRY(open_buffers(r, err));
    lv_cpu_config cpu = j->cpu;
    lv_fit_trainer_cpu(&r->c, &j->head, &cpu);
    LEVER_TRY(lv_cpu_open(&r->cpu, &cpu, err));
    return lv_fit_head_open(&r->head, j->config->model_path, &j->head, keep_head, err);
}

static void close_run(train_run *r)
{
    lv_fit_trainer_close(&r->t);
    lv_fit_head_close(&r->head);
    lv_cpu_close(&r->cpu);
    lv_free(r->train);
    lv_free(r->order);
    lv_free(r->held);
    lv_free(r->x);
    lv_free(r->final);
    lv_free(r->cands);
    lv_free(r->scored);
    lv_free(r->nodes);
    lv_free(r->best);
    lv_free(r->gain0);
    lv_budget_refund(r->charged);
}

/* ---- batches ---- */

/* Random numbers that are a function of seed and counter: splitmix64. */
static uint64_t random_at(uint64_t seed, uint64_t i)
{
    uint64_t x = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The records of step `step`: each pass over the text has an order of its own. */
static const uint32_t *batch_of(train_run *r, uint32_t step)
{
    const uint32_t per_pass = r->n_train / FIT_BATCH, pass = step / per_pass;
    if (r->order_pass != pass + 1) {
        const uint64_t seed = random_at(r->c.seed, UINT64_MAX - pass);
        memcpy(r->order, r->train, r->n_train * sizeof *r->order);
        for (uint32_t i = r->n_train; i > 1; i--) {
            const uint32_t k = (uint32_t)(random_at(seed, i) % i), keep = r->order[i - 1];
            r->order[i - 1] = r->order[k];
            r->order[k] = keep;
        }
        r->order_pass = pass + 1;
    }
    return r->order + (size_t)(step % per_pass) * FIT_BATCH;
}

static int read_batch(train_run *r, const uint32_t *records, uint32_t n, uint32_t slot, lv_fit_batch *b,
                      lv_fit_node *nodes, lever_error *err)
{
    const size_t d = r->c.shape.n_embd;
    for (uint32_t i = 0; i < n; i++) {
        lv_fit_record rec;
        LEVER_TRY(
            lv_fit_data_read(r->job->data, records[i], slot, &rec, r->final + i * d, r->x + i * d, err));
        for (uint32_t c = 0; c < LV_FIT_CANDIDATES; c++) {
            const bool there = rec.cands[c] >= 0 && (uint32_t)rec.cands[c] < r->c.shape.n_vocab;
            r->cands[i * LV_FIT_CANDIDATES + c] = there ? rec.cands[c] : -1;
        }
        if (nodes) memcpy(nodes[i].prob, rec.probs, sizeof nodes[i].prob);
    }
    *b = (lv_fit_batch){ .x = r->x, .final = r->final, .cands = r->cands, .rows = n };
    return LEVER_OK;
}

/* ---- measuring ---- */

static void fill_node(const train_run *r, uint32_t i, lv_fit_node *v)
{
    const lv_fit_scored *s = &r->scored[i];
    const int32_t *cands = r->cands + i * LV_FIT_CANDIDATES;
    v->right = -1;
    for (v->n = 0; v->n < LV_FIT_NODE_CANDIDATES && cands[v->n] >= 0; v->n++) {
        v->z[v->n] = s->z[v->n];
        v->s[v->n] = s->s[v->n];
        if (cands[v->n] == s->choice) v->right = (int8_t)v->n;
    }
}

/* Mean losses over at most `most` held-out positions; nodes of the trees they would be. */
static int measure(train_run *r, uint32_t slot, uint32_t most, double *kd, double *cand, lever_error *err)
{
    const uint32_t total = r->n_held < most ? r->n_held : most;
    uint32_t records[FIT_BATCH];
    *kd = *cand = 0;
    for (uint32_t at = 0, n; at < total; at += n) {
        lv_fit_batch b;
        n = total - at < FIT_BATCH ? total - at : FIT_BATCH;
        for (uint32_t i = 0; i < n; i++) records[i] = r->held[(uint64_t)(at + i) * r->n_held / total];
        LEVER_TRY(read_batch(r, records, n, slot, &b, r->nodes + at, err));
        LEVER_TRY(lv_fit_trainer_run(r->t, &b, false, r->scored, err));
        for (uint32_t i = 0; i < n; i++) {
            *kd += r->scored[i].kd / total;
            *cand += r->scored[i].cand / total;
            fill_node(r, i, &r->nodes[at + i]);
        }
        if (!fit_go_on(r->job)) return LEVER_ECANCEL;
    }
    return LEVER_OK;
}

/* All held-out positions, and what pruning by them would save. */
static int judge(train_run *r, uint32_t slot, lever_fit_layer *out, lever_error *err)
{
    const uint32_t all = r->job->target.n_layers, after = r->job->info.layers[slot] + 1, n = r->n_held;
    LEVER_TRY(measure(r, slot, UINT32_MAX, &out->kd, &out->cand, err));
    r->alone = lv_fit_best_blend(r->nodes, n, false);
    r->joint = lv_fit_best_blend(r->nodes, n, true);
    LEVER_TRY(lv_fit_rank(r->nodes, n, r->alone, true_share, &out->kept, err));
    LEVER_TRY(lv_fit_rank(r->nodes, n, r->joint, true_share, &out->joint_kept, err));
    LEVER_TRY(lv_fit_rank(r->nodes, n, lv_fit_draft_alone, true_share, &out->draft_kept, err));
    out->layers = after;
    out->saved = (1.0 - out->kept) * (double)(all - after) / (double)all;
    return LEVER_OK;
}

/* ---- state ---- */

static int save(train_run *r, lever_error *err)
{
    r->saved_ns = lv_clock_ns();
    return lv_fit_state_save(&r->s, r->job->state_path, r->t ? lv_fit_trainer_net(r->t) : NULL, r->best, err);
}

static bool save_is_due(const train_run *r)
{
    return lv_clock_ns() - r->saved_ns > SAVE_NS_E9 * UINT64_C(1000000000);
}

/* ---- training ---- */

static float rate_at(const train_run *r)
{
    const double base = (r->job->form == LV_EXIT_TIED ? 0.03 : 0.008) / sqrt((double)r->c.shape.n_embd);
    const uint32_t n = r->s.n_steps, warm = n / 20 + 1;
    if (r->s.step < warm) return (float)(base * (r->s.step + 1) / warm);
    double sine, cosine;
    lv_sincos(3.14159265358979 * (double)(r->s.step - warm) / (double)(n - warm + 1), &sine, &cosine);
    return (float)(base * (0.52 + 0.48 * cosine));
}

static int one_step(train_run *r, uint32_t slot, lever_error *err)
{
    lv_fit_batch b;
    double sum = 0;
    const float rate = rate_at(r);
    LEVER_TRY(read_batch(r, batch_of(r, r->s.step), FIT_BATCH, slot, &b, NULL, err));
    LEVER_TRY(lv_fit_trainer_run(r->t, &b, true, r->scored, err));
    for (uint32_t i = 0; i < FIT_BATCH; i++)
        sum += r->scored[i].kd + (double)cand_weight * r->scored[i].cand;
    lv_fit_net_step(lv_fit_trainer_net(r->t), r->cpu, rate, 1.0f / FIT_BATCH);
    r->job->result->loss = sum / FIT_BATCH;
    r->job->result->done++;
    r->s.step++;
    return LEVER_OK;
}

/* The held-out loss: keep the parameters when it is the lowest so far. */
static int check_progress(train_run *r, uint32_t slot, lever_error *err)
{
    const lv_fit_net *net = lv_fit_trainer_net(r->t);
    double kd, cand;
    LEVER_TRY(measure(r, slot, STOP_POSITIONS, &kd, &cand, err));
    const double loss = kd + (double)cand_weight * cand;
    r->s.n_bad++;
    if (r->s.n_best == UINT32_MAX || loss < r->s.best_loss) {
        r->s.best_loss = loss;
        r->s.n_best = r->s.step;
        r->s.n_bad = 0;
        memcpy(r->best, net->p, net->n_params * sizeof *r->best);
    }
    r->s.checked = r->s.step;
    return LEVER_OK;
}

/* From r->s.step on: n_steps steps, or until the held-out loss has stopped falling. */
static int train(train_run *r, uint32_t slot, bool may_stop, lever_error *err)
{
    const uint32_t every = r->s.n_steps / STOP_CHECKS + 1;
    for (;;) {
        const bool last = r->s.step == r->s.n_steps;
        if (may_stop && r->s.checked != r->s.step && (last || r->s.step % every == 0))
            LEVER_TRY(check_progress(r, slot, err));
        if (last || (may_stop && r->s.n_bad >= STOP_AFTER)) return LEVER_OK;
        if (!fit_go_on(r->job)) return LEVER_ECANCEL;
        LEVER_TRY(one_step(r, slot, err));
        if (save_is_due(r)) LEVER_TRY(save(r, err));
    }
}

/* A new stage begins with new parameters; what the bare head would say comes first. */
static int begin_stage(train_run *r, uint32_t slot, uint32_t n_steps, lever_error *err)
{
    lv_fit_trainer_close(&r->t);
    LEVER_TRY(lv_fit_trainer_open(&r->t, &r->c, r->gain0, &r->head, r->cpu, err));
    if (r->s.has_params)
        return lv_fit_state_load_params(r->job->state_path, lv_fit_trainer_net(r->t), r->best, err);
    r->s.step = r->s.n_bad = 0;
    r->s.n_best = r->s.checked = UINT32_MAX;
    r->s.n_steps = n_steps;
    LEVER_TRY(measure(r, slot, UINT32_MAX, &r->s.kd_before, &r->s.cand_before, err));
    r->s.has_params = true;
    return LEVER_OK;
}

static void end_stage(train_run *r, lever_fit_layer *out)
{
    out->kd_before = r->s.kd_before;
    out->cand_before = r->s.cand_before;
    r->s.stage++;
    r->s.has_params = false;
}

static int try_layers(train_run *r, lever_error *err)
{
    lever_fit_result *res = r->job->result;
    const uint32_t n = r->job->info.n_layers;
    res->phase = LEVER_FIT_TRY;
    res->total = (uint64_t)n * r->s.try_steps;
    while (r->s.stage < n) {
        lever_fit_layer *out = &r->s.tried[r->s.stage];
        LEVER_TRY(begin_stage(r, r->s.stage, r->s.try_steps, err));
        res->done = (uint64_t)r->s.stage * r->s.try_steps + r->s.step;
        LEVER_TRY(train(r, r->s.stage, false, err));
        LEVER_TRY(judge(r, r->s.stage, out, err));
        end_stage(r, out);
        memcpy(res->tried, r->s.tried, sizeof res->tried);
        res->n_tried = r->s.stage;
    }
    return LEVER_OK;
}

static uint32_t best_layer(const train_run *r)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < r->job->info.n_layers; i++)
        if (r->s.tried[i].saved > r->s.tried[best].saved) best = i;
    return best;
}

/* ---- the sidecar ---- */

/* Parameters as the file will hold them; w: the untied matrix in its type, [n_vocab] rows, those not in use
 * zero. */
static void round_params(train_run *r, uint32_t w_type, uint8_t *w)
{
    lv_fit_net *n = lv_fit_trainer_net(r->t);
    const size_t d = r->c.shape.n_embd;
    if (r->job->form == LV_EXIT_TIED) {
        lv_exit_round(lv_fit_net_u(n, n->p), 2 * (size_t)r->c.shape.rank * d);
        return;
    }
    const lv_type_traits *t = lv_type_traits_get(w_type);
    const size_t row_bytes = lv_type_row_bytes(w_type, d);
    for (size_t a = 0; a < r->c.shape.n_vocab; a++) {
        t->quantize(w + a * row_bytes, n->p + a * d, d);
        t->dequantize(n->p + a * d, w + a * row_bytes, d);
    }
}

static void fill_card(const train_run *r, uint32_t slot, lv_exit_card *c)
{
    const fit_job *j = r->job;
    const lever_fit_result *res = j->result;
    *c = (lv_exit_card){ .form = j->form,
                         .layer = j->info.layers[slot],
                         .n_layers = j->target.n_layers,
                         .n_embd = j->target.n_embd,
                         .n_vocab = j->target.n_vocab,
                         .rank = j->rank,
                         .norm_eps = j->norm_eps,
                         .temperature = res->temperature, .joint_temperature = res->joint_temperature,
                         .joint_draft_weight = res->joint_draft_weight,
                         .kd_before = (float)res->best.kd_before,
                         .kd = (float)res->best.kd,
                         .cand_before = (float)res->best.cand_before,
                         .cand = (float)res->best.cand,
                         .kd_temperature = kd_temperature,
                         .cand_temperature = cand_temperature,
                         .cand_weight = cand_weight,
                         .n_train = r->n_train,
                         .n_held = r->n_held,
                         .n_steps = res->n_best,
                         .n_candidates = LV_FIT_NODE_CANDIDATES,
                         .n_curve = N_THRESHOLDS,
                         .fingerprint = j->target.fingerprint };
    memcpy(c->target, j->target.name, sizeof c->target);
    memcpy(c->draft, j->draft.name, sizeof c->draft);
    for (uint32_t i = 0; i < N_THRESHOLDS; i++) {
        const lever_fit_point *p = &res->curve[i];
        c->curve[i] = (lv_exit_point){ p->threshold, p->edges_kept, p->true_kept, p->joint_edges_kept,
                                       p->joint_true_kept };
    }
}

static void draw_curve(const train_run *r)
{
    lever_fit_result *res = r->job->result;
    res->temperature = r->alone.temperature;
    res->joint_temperature = r->joint.temperature;
    res->joint_draft_weight = r->joint.draft_weight;
    res->n_curve = N_THRESHOLDS;
    for (uint32_t i = 0; i < N_THRESHOLDS; i++) {
        lever_fit_point *p = &res->curve[i];
        p->threshold = thresholds[i];
        lv_fit_kept(r->nodes, r->n_held, r->alone, p->threshold, &p->edges_kept, &p->true_kept);
        lv_fit_kept(r->nodes, r->n_held, r->joint, p->threshold, &p->joint_edges_kept, &p->joint_true_kept);
    }
}

static uint64_t sidecar_bytes(const char *path)
{
    lv_file f;
    if (lv_file_open(&f, path, NULL) < 0) return 0;
    const uint64_t n = f.size_bytes;
    lv_file_close(&f);
    return n;
}

static int write_sidecar(train_run *r, uint32_t slot, lever_error *err)
{
    const fit_job *j = r->job;
    const size_t d = r->c.shape.n_embd;
    lv_fit_net *n = lv_fit_trainer_net(r->t);
    const bool tied = j->form == LV_EXIT_TIED;
    const uint32_t w_type = d % 32 ? LV_TYPE_F16 : LV_TYPE_Q8_0;
    lv_fit_net_drop_gradient(n); /* room for w */
    uint8_t *w = tied ? NULL : lv_alloc_array(j->target.n_vocab, lv_type_row_bytes(w_type, d), 64);
    if (!tied && !w) return lv_fail(err, LEVER_ENOMEM, 0, "the untied matrix");
    memcpy(n->p, r->best, n->n_params * sizeof *n->p);
    round_params(r, w_type, w);
    lv_exit_card card;
    lever_fit_layer *best = &j->result->best;
    int rc = judge(r, slot, best, err);
    if (rc >= 0) {
        best->kd_before = r->s.kd_before, best->cand_before = r->s.cand_before;
        draw_curve(r);
        fill_card(r, slot, &card);
        lv_fit_net_gain(n, r->x);
        const lv_exit_weights out = { .gain = r->x, .u = tied ? lv_fit_net_u(n, n->p) : NULL,
                                      .v = tied ? lv_fit_net_v(n, n->p) : NULL, .w_type = w_type, .w = w };
        rc = lv_exit_write(j->params->out, &card, &out, err);
    }
    lv_free(w);
    if (rc >= 0) j->result->sidecar_bytes = sidecar_bytes(j->params->out);
    return rc;
}

/* ---- the whole ---- */

/* Steps of both kinds of training; fewer where the time would not do. */
static int choose_steps(train_run *r, lever_error *err)
{
    const fit_job *j = r->job;
    r->s.try_steps = j->info.n_layers > 1 ? TRY_STEPS : 0;
    r->s.final_steps = j->params->steps ? j->params->steps : STEPS;
    if (r->s.try_steps > r->s.final_steps) r->s.try_steps = r->s.final_steps;
    if (!(j->params->seconds > 0)) return LEVER_OK;
    lv_fit_batch b;
    LEVER_TRY(lv_fit_trainer_open(&r->t, &r->c, r->gain0, &r->head, r->cpu, err));
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(read_batch(r, batch_of(r, 0), FIT_BATCH, 0, &b, NULL, err));
    LEVER_TRY(lv_fit_trainer_run(r->t, &b, true, r->scored, err));
    const double step = (double)(lv_clock_ns() - t0) * 1e-9;
    const double left = j->params->seconds - (double)(lv_clock_ns() - j->started_ns) * 1e-9;
    /* Measuring takes two of the three products of a step: twice per layer tried, and the checks. */
    const double measuring =
        step * 2 / 3 / FIT_BATCH *
        ((2.0 * j->info.n_layers + 2) * r->n_held + STOP_CHECKS * (double)STOP_POSITIONS);
    double share = (left - measuring) / step / (r->s.try_steps * (double)j->info.n_layers + r->s.final_steps);
    if (!(share > 0)) share = 0;
    if (share >= 1) return LEVER_OK;
    r->s.try_steps = r->s.try_steps ? (uint32_t)(r->s.try_steps * share) + 1 : 0;
    r->s.final_steps = (uint32_t)(r->s.final_steps * share) + 1;
    return LEVER_OK;
}

/* All that decides the numbers beside what was recorded. */
static uint64_t settings_of(const train_run *r)
{
    const lever_fit_params *p = r->job->params;
    const uint64_t numbers[] = { r->job->info.fingerprint, r->job->info.settings, r->job->form, r->job->rank,
                                 p->steps, p->seed, (uint64_t)(p->seconds * 1000), r->n_train, r->n_held };
    return lv_fit_state_hash(numbers, sizeof numbers / sizeof *numbers);
}

static int run(train_run *r, lever_error *err)
{
    lever_fit_result *res = r->job->result;
    LEVER_TRY(open_run(r, err));
    const uint64_t settings = settings_of(r);
    r->saved_ns = lv_clock_ns();
    if (lv_fit_state_load(&r->s, r->job->state_path, settings)) {
        res->resumed = true;
        memcpy(res->tried, r->s.tried, sizeof res->tried);
        res->n_tried = r->s.stage < r->job->info.n_layers ? r->s.stage : r->job->info.n_layers;
    } else {
        r->s = (fit_state){ .settings = settings };
        LEVER_TRY(choose_steps(r, err));
    }
    if (r->job->info.n_layers > 1) LEVER_TRY(try_layers(r, err));
    else res->n_tried = 0;
    const uint32_t slot = best_layer(r);
    LEVER_TRY(begin_stage(r, slot, r->s.final_steps, err));
    res->phase = LEVER_FIT_TRAIN;
    res->done = r->s.step;
    res->total = r->s.n_steps;
    LEVER_TRY(train(r, slot, true, err));
    res->n_steps = r->s.step;
    res->n_best = r->s.n_best;
    res->phase = LEVER_FIT_CHECK;
    return write_sidecar(r, slot, err);
}

int lv_fit_train_run(fit_job *j, lever_error *err)
{
    train_run *r = lv_alloc(sizeof *r, 64);
    if (!r) return lv_fail(err, LEVER_ENOMEM, 0, "training");
    r->job = j;
    const int rc = run(r, err);
    if (rc == LEVER_ECANCEL && j->result->phase != LEVER_FIT_CHECK) save(r, NULL);
    close_run(r);
    lv_free(r);
    return rc;
}
