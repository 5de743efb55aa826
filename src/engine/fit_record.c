/* lever_fit, first part: windows of text through target and draft; what training needs of each position goes
 * to a file, window by window. SPDX-License-Identifier: MIT */
#include "engine/fit_impl.h"

#include <string.h>

#include "os/clock.h"

typedef struct recorder {
    fit_job      *job;
    lever_engine *engine;
    lv_kv         kv, draft_kv;
    lv_row       *rows;         /* [max_rows] */
    int32_t      *chain;        /* [max_rows] 0, 1, ... */
    float        *x;            /* [n_layers recorded][max_rows][n_embd] */
    float        *draft_logits; /* [logit_rows][n_vocab of the draft] */
    uint32_t      logit_rows;
    lv_fit_record records[LV_EVAL_LOGIT_ROWS];
} recorder;

static bool go_on(void *user)
{
    const recorder *r = user;
    return fit_go_on(r->job);
}

/* lv_batch.after_layer: keep a copy of the layers that are recorded. */
static int copy_layer(void *user, uint32_t layer, const float *x, uint32_t n_rows, uint32_t *keep,
                      lever_error *err)
{
    (void)keep, (void)err;
    const recorder *r = user;
    const lv_fit_data_info *info = &r->job->info;
    const size_t d = info->n_embd;
    for (uint32_t l = 0; l < info->n_layers; l++)
        if (info->layers[l] == layer)
            memcpy(r->x + l * r->engine->plan.max_rows * d, x, n_rows * d * sizeof *x);
    return (int)n_rows;
}

/* Tokens [at, at + n) of the job, from window `w` on. Each window that begins among them is a chain of its
 * own. */
static int forward(recorder *r, lv_model *m, lv_kv *kv, uint32_t w, uint32_t at, uint32_t n, lever_error *err)
{
    const fit_job *j = r->job;
    for (uint32_t i = 0; i < n; i++) {
        const bool begins = at + i == j->ends[w];
        r->rows[i] = (lv_row){ .token = j->tokens[at + i], .parent = begins ? -1 : (int32_t)i - 1 };
        w += begins;
    }
    lv_batch b = { .rows = r->rows, .n_rows = n, .kv = &kv, .n_kv = 1, .go_on = go_on, .user = r };
    if (m == r->engine->target) b.after_layer = copy_layer, b.hook_user = r;
    return lv_model_forward(m, &b, err);
}

/* ---- candidates of the draft ---- */

typedef struct cand_job {
    recorder *r;
    const lv_kernels *k;
    size_t n_vocab; /* of the draft */
} cand_job;

/* The largest of p [n], best first, the lowest token among equals. */
static void pick_best(lv_fit_record *out, const float *p, size_t n)
{
    uint32_t have = 0;
    for (size_t a = 0; a < n; a++) {
        if (have == LV_FIT_CANDIDATES && !(p[a] > out->probs[have - 1])) continue;
        uint32_t at = have < LV_FIT_CANDIDATES ? have++ : have - 1;
        for (; at > 0 && p[a] > out->probs[at - 1]; at--) {
            out->probs[at] = out->probs[at - 1];
            out->cands[at] = out->cands[at - 1];
        }
        out->probs[at] = p[a];
        out->cands[at] = (int32_t)a;
    }
    for (uint32_t i = have; i < LV_FIT_CANDIDATES; i++) out->cands[i] = -1;
}

static void pick_some(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const cand_job *j = arg;
    const uint32_t n_used = j->r->job->n_used;
    for (size_t i = begin; i < end; i++) {
        float *p = j->r->draft_logits + i * j->n_vocab;
        j->k->softmax(p, p, n_used);
        j->r->records[i] = (lv_fit_record){ 0 };
        pick_best(&j->r->records[i], p, n_used);
    }
}

/* ---- a window ---- */

/* Groups are held out as a whole: windows where there are many, else runs of 32 tokens. */
static uint32_t group_of(const fit_job *j, uint32_t window, uint32_t token)
{
    return j->info.n_windows >= 2 * j->info.held_every ? window : token / 32;
}

/* Rows [from, from + n) of the last batch, which begin with token `token` of window `window`. */
static int record_rows(recorder *r, uint32_t window, uint32_t token, uint32_t from, uint32_t n,
                       lever_error *err)
{
    fit_job *j = r->job;
    const size_t d = j->info.n_embd, max_rows = r->engine->plan.max_rows;
    uint32_t project[LV_EVAL_LOGIT_ROWS];
    float *x = r->x + j->info.n_layers * max_rows * d; /* one row of every layer */
    for (uint32_t i = 0; i < n; i++) project[i] = from + i;
    LEVER_TRY(lv_model_project(r->engine->draft, project, n, r->draft_logits, err));
    cand_job cands = { r, lv_cpu_kernels(r->engine->cpu), lv_model_hparams(r->engine->draft)->n_vocab };
    lv_cpu_run(r->engine->cpu, n, 1, pick_some, &cands);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t l = 0; l < j->info.n_layers; l++)
            memcpy(x + l * d, r->x + (l * max_rows + from + i) * d, d * sizeof *x);
        r->records[i].group = group_of(j, window, token + i);
        LEVER_TRY(lv_fit_data_append(j->data, &r->records[i], lv_model_hidden(r->engine->target, from + i), x,
                                     j->norm_eps, err));
    }
    return LEVER_OK;
}

/* What the batch of tokens [at, at + n) has of window w, but for the window's first tokens. */
static int record_window(recorder *r, uint32_t w, uint32_t at, uint32_t n, lever_error *err)
{
    const uint32_t first = fit_window_begin(r->job, w) + FIT_SKIP, end = r->job->ends[w];
    const uint32_t stop = end < at + n ? end : at + n;
    for (uint32_t i = first > at ? first : at, k; i < stop; i += k) {
        k = stop - i < r->logit_rows ? stop - i : r->logit_rows;
        LEVER_TRY(record_rows(r, w, i, i - at, k, err));
    }
    return LEVER_OK;
}

/* Windows that share a sweep, as reading the model for each would take longer than computing: as many as fit,
 * and whose paths (a chain that is not the first in a batch has one of its length per row) leave room in the
 * model. */
static uint32_t windows_of_sweep(const recorder *r, uint32_t w)
{
    const fit_job *j = r->job;
    const uint32_t max_rows = r->engine->plan.max_rows, begin = fit_window_begin(j, w);
    uint64_t paths = 0;
    uint32_t n = 1;
    for (; w + n < j->info.n_windows && j->ends[w + n] - begin <= max_rows; n++) {
        const uint64_t len = j->ends[w + n] - j->ends[w + n - 1];
        if ((paths += len * len / 2) > (uint64_t)max_rows * 128) break;
    }
    return n;
}

/* Windows [w, w + n) in one batch; a window longer than a batch in several. */
static int record_windows(recorder *r, uint32_t w, uint32_t n, lever_error *err)
{
    fit_job *j = r->job;
    const uint32_t max_rows = r->engine->plan.max_rows, end = j->ends[w + n - 1];
    lv_kv_truncate(&r->kv, 0);
    lv_kv_truncate(&r->draft_kv, 0);
    for (uint32_t at = fit_window_begin(j, w), k; at < end; at += k) {
        k = end - at < max_rows ? end - at : max_rows;
        LEVER_TRY(forward(r, r->engine->target, &r->kv, w, at, k, err));
        LEVER_TRY(forward(r, r->engine->draft, &r->draft_kv, w, at, k, err));
        for (uint32_t i = 0; i < n; i++) LEVER_TRY(record_window(r, w + i, at, k, err));
        if (at + k == end) break;
        lv_kv_commit(&r->kv, r->chain, k);
        lv_kv_commit(&r->draft_kv, r->chain, k);
    }
    j->result->done = end;
    return lv_fit_data_commit(j->data, w + n, err);
}

/* ---- life ---- */

static int open_buffers(recorder *r, lever_error *err)
{
    lever_engine *e = r->engine;
    const uint32_t n_ctx = e->plan.n_ctx, max_rows = e->plan.max_rows;
    const lv_hparams *draft = lv_model_hparams(e->draft);
    r->logit_rows = LV_EVAL_LOGIT_ROWS < max_rows ? LV_EVAL_LOGIT_ROWS : max_rows;
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(e->target), e->kv_type, n_ctx, max_rows, err));
    LEVER_TRY(lv_kv_init(&r->draft_kv, draft, e->draft_kv_type, n_ctx, max_rows, err));
    r->rows = lv_alloc_array(max_rows, sizeof *r->rows, 64);
    r->chain = lv_alloc_array(max_rows, sizeof *r->chain, 64);
    r->x = lv_alloc_array((max_rows + 1) * (size_t)r->job->info.n_layers, r->job->info.n_embd * sizeof *r->x,
                          64);
    r->draft_logits = lv_alloc_array(r->logit_rows, draft->n_vocab * sizeof(float), 64);
    if (!r->rows || !r->chain || !r->x || !r->draft_logits)
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the recording");
    for (uint32_t i = 0; i < max_rows; i++) r->chain[i] = (int32_t)i;
    return LEVER_OK;
}

static void close_recorder(recorder *r)
{
    lever_engine_close(&r->engine);
    lv_kv_fini(&r->kv);
    lv_kv_fini(&r->draft_kv);
    lv_free(r->rows);
    lv_free(r->chain);
    lv_free(r->x);
    lv_free(r->draft_logits);
}

static int record(recorder *r, lever_error *err)
{
    fit_job *j = r->job;
    LEVER_TRY(open_buffers(r, err));
    LEVER_TRY(lv_fit_data_put_gain(j->data, lv_model_output_norm(r->engine->target), err));
    for (uint32_t w = lv_fit_data_windows(j->data), n; w < j->info.n_windows; w += n) {
        if (!fit_go_on(j)) return lv_fail(err, LEVER_ECANCEL, 0, "stopped by the caller");
        n = windows_of_sweep(r, w);
        LEVER_TRY(record_windows(r, w, n, err));
    }
    return LEVER_OK;
}

int lv_fit_record_run(fit_job *j, lv_engine_setup *o, lever_error *err)
{
    recorder r = { .job = j };
    const uint64_t t0 = lv_clock_ns();
    o->fit = true;
    o->fit_row_bytes = (uint64_t)j->info.n_layers * j->info.n_embd * sizeof(float);
    o->text_bytes +=
        2 * lv_fit_data_memory_bytes(&j->info) + j->info.n_layers * j->info.n_embd * sizeof(float);
    j->result->phase = LEVER_FIT_RECORD;
    j->result->done = fit_window_begin(j, lv_fit_data_windows(j->data));
    j->result->total = j->ends[j->info.n_windows - 1];
    LEVER_TRY(lv_engine_setup_plan(o, err));
    int rc = lv_engine_load(&r.engine, o, err);
    if (rc >= 0) {
        j->result->mem_limit_bytes = r.engine->plan.limit_bytes;
        rc = record(&r, err);
    }
    close_recorder(&r);
    j->result->record_ns = lv_clock_ns() - t0;
    return rc;
}
