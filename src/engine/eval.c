/* lever_eval: a text cut into windows; each is a prefill of target and draft, whose logits are scored row by
 * row as they come and summed in the order of the text. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/eval_score.h"
#include "lever/fit.h"
#include "os/clock.h"
#include "os/memory.h"

enum { PROGRAM_BYTES = 4 << 20 }; /* the process while it tokenises, beside text and vocabulary */

typedef struct eval_run {
    const lever_eval_params *params;
    lever_eval_result *result;
    lever_engine *engine;
    int32_t      *tokens;       /* [n_windows][n_ctx] */
    lv_kv         kv, draft_kv;
    lv_row       *rows;         /* [max_rows] */
    int32_t      *chain;        /* [max_rows] 0, 1, ...: every row of a chunk is kept */
    uint32_t     *project;      /* [max_rows] */
    lv_eval_row  *scores;       /* [logit_rows] */
    float        *logits;       /* [logit_rows][n_vocab] */
    float        *draft_logits; /* [draft_rows][n_vocab of the draft] */
    uint32_t      logit_rows, draft_rows;
    lv_eval_sums  sums;
    uint64_t      started_ns;
} eval_run;

uint32_t lv_eval_scored(uint32_t n_ctx) { return n_ctx < 3 ? 0 : n_ctx - n_ctx / 2 - 1; }

uint64_t lv_eval_rows_bytes(uint32_t max_rows)
{
    return max_rows * (uint64_t)(sizeof(lv_row) + sizeof(int32_t) + sizeof(uint32_t) + sizeof(lv_eval_row));
}

/* ---- text ---- */

static int check_text(const lv_engine_setup *o, size_t len, lever_error *err)
{
    const uint32_t n_ctx = o->config.n_ctx;
    if (!lv_eval_scored(n_ctx))
        return lv_fail(err, LEVER_EINVAL, 0, "nothing is scored in a window of %u tokens; use -c 3 or more",
                       n_ctx);
    const uint64_t work = lv_vocab_encode_bytes(o->vocab, len);
    const uint64_t all = work + len + lv_vocab_memory_bytes(o->vocab) + PROGRAM_BYTES;
    if (work && all > o->config.mem_bytes)
        return lv_fail(err, LEVER_ELIMIT, 0,
                       "tokenising %zu bytes of text with this vocabulary takes %" PRIu64 " bytes, but the "
                       "memory limit is %" PRIu64 "; raise --mem or use a shorter text",
                       len, all, o->config.mem_bytes);
    return LEVER_OK;
}

static uint64_t window_count(const eval_run *r, uint64_t n_tokens, uint32_t n_ctx)
{
    const uint64_t n = n_tokens / n_ctx, most = r->params->max_windows;
    return most && n > most ? most : n;
}

/* The tokens of every window that will be evaluated. */
static int tokenise(eval_run *r, const lv_engine_setup *o, const char *text, size_t len, lever_error *err)
{
    lever_eval_result *res = r->result;
    const uint32_t n_ctx = o->config.n_ctx;
    LEVER_TRY(check_text(o, len, err));
    const int64_t n = lv_vocab_encode(o->vocab, text, len, LV_ENCODE_ADD_SPECIAL, NULL, 0, err);
    if (n < 0) return (int)n;
    res->n_ctx = n_ctx;
    res->n_text_tokens = (uint64_t)n;
    res->n_windows = window_count(r, (uint64_t)n, n_ctx);
    res->n_tokens_all = res->n_windows * (n_ctx - 1); /* nothing follows the last token of a window */
    if (!res->n_windows)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "the text has %" PRId64 " tokens, but one window takes %u; use a longer text or a "
                       "smaller -c", n, n_ctx);
    r->tokens = lv_alloc_array((size_t)res->n_windows, n_ctx * sizeof *r->tokens, 64);
    if (!r->tokens) return lv_fail(err, LEVER_ENOMEM, 0, "%" PRId64 " tokens of the text", n);
    const size_t kept = (size_t)res->n_windows * n_ctx;
    const int64_t again = lv_vocab_encode(o->vocab, text, len, LV_ENCODE_ADD_SPECIAL, r->tokens, kept, err);
    if (again < 0) return (int)again;
    for (uint64_t w = 0; w < res->n_windows && lv_vocab_add_bos(o->vocab); w++)
        r->tokens[w * n_ctx] = lv_vocab_bos(o->vocab);
    return LEVER_OK;
}

/* ---- buffers ---- */

static int open_buffers(eval_run *r, lever_error *err)
{
    lever_engine *e = r->engine;
    const uint32_t n_ctx = e->plan.n_ctx, max_rows = e->plan.max_rows;
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(e->target), e->kv_type, n_ctx, max_rows, err));
    if (e->draft)
        LEVER_TRY(
            lv_kv_init(&r->draft_kv, lv_model_hparams(e->draft), e->draft_kv_type, n_ctx, max_rows, err));
    r->rows = lv_alloc_array(max_rows, sizeof *r->rows, 64);
    r->chain = lv_alloc_array(max_rows, sizeof *r->chain, 64);
    r->project = lv_alloc_array(max_rows, sizeof *r->project, 64);
    r->scores = lv_alloc_array(r->logit_rows, sizeof *r->scores, 64);
    r->logits = lv_alloc_array(r->logit_rows, (size_t)lv_vocab_n_tokens(e->vocab) * sizeof(float), 64);
    if (e->draft)
        r->draft_logits =
            lv_alloc_array(r->draft_rows, (size_t)lv_model_hparams(e->draft)->n_vocab * sizeof(float), 64);
    if (!r->rows || !r->chain || !r->project || !r->scores || !r->logits || (e->draft && !r->draft_logits))
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the evaluation");
    for (uint32_t i = 0; i < max_rows; i++) r->chain[i] = (int32_t)i;
    return LEVER_OK;
}

static void close_run(eval_run *r)
{
    lever_engine_close(&r->engine);
    lv_kv_fini(&r->kv);
    lv_kv_fini(&r->draft_kv);
    lv_free(r->tokens);
    lv_free(r->rows);
    lv_free(r->chain);
    lv_free(r->project);
    lv_free(r->scores);
    lv_free(r->logits);
    lv_free(r->draft_logits);
}

/* ---- result ---- */

static void fill_result(eval_run *r)
{
    const lv_eval_sums *s = &r->sums;
    lever_eval_result *res = r->result;
    const double n = s->n ? (double)s->n : 1.0;
    const lv_eval_perplexity p = lv_eval_perplexity_of(s->nll, s->nll2, s->n);
    res->n_scored = s->n;
    res->scored_bytes = s->bytes;
    res->perplexity = p.value, res->perplexity_error = p.error;
    res->bits_per_byte = lv_eval_bits_per_byte(s->nll, s->bytes);
    if (r->engine->draft) {
        const lv_eval_perplexity q = lv_eval_perplexity_of(s->draft_nll, s->draft_nll2, s->n);
        res->has_draft = true;
        res->draft_perplexity = q.value, res->draft_perplexity_error = q.error;
        res->draft_bits_per_byte = lv_eval_bits_per_byte(s->draft_nll, s->bytes);
        res->agree_1 = (double)s->n_first / n;
        res->agree_4 = (double)s->n_four / n;
        res->kl = s->kl / n;
    }
    lv_model_stats st;
    lv_model_get_stats(r->engine->target, &st);
    res->eval_ns = lv_clock_ns() - r->started_ns;
    res->bytes_read = st.bytes_read;
    res->flash_wait_ns = st.wait_ns;
}

static bool go_on(void *user)
{
    eval_run *r = user;
    fill_result(r);
    return r->params->on_progress(r->params->user, r->result);
}

/* ---- windows ---- */

/* The next n tokens of the window, kept in the cache. */
static int forward(eval_run *r, lv_model *m, lv_kv *kv, const int32_t *tokens, uint32_t n, lever_error *err)
{
    for (uint32_t i = 0; i < n; i++) r->rows[i] = (lv_row){ .token = tokens[i], .parent = (int32_t)i - 1 };
    lv_batch b = { .rows = r->rows, .n_rows = n, .kv = &kv, .n_kv = 1 };
    if (r->params->on_progress) b.go_on = go_on, b.user = r;
    LEVER_TRY(lv_model_forward(m, &b, err));
    lv_kv_commit(kv, r->chain, n);
    return LEVER_OK;
}

typedef struct score_job {
    lv_eval_row *scores;
    const float *logits, *draft_logits;   /* draft_logits NULL: no draft */
    size_t n_vocab, n_draft_vocab;        /* which may be padded differently */
    uint32_t n_used;
    const int32_t *next;                  /* the token that followed */
} score_job;

static void score_some(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const score_job *j = arg;
    for (size_t i = begin; i < end; i++)
        lv_eval_score(&j->scores[i], j->logits + i * j->n_vocab,
                      j->draft_logits ? j->draft_logits + i * j->n_draft_vocab : NULL, j->n_used, j->next[i]);
}

static int project(eval_run *r, lv_model *m, uint32_t from, uint32_t n, float *logits, lever_error *err)
{
    for (uint32_t i = 0; i < n; i++) r->project[i] = from + i;
    return lv_model_project(m, r->project, n, logits, err);
}

/* Rows [from, from + n) of the last chunk, n <= logit_rows: project and score, a draft in smaller pieces. */
static int score_rows(eval_run *r, uint32_t from, uint32_t n, const int32_t *next, lever_error *err)
{
    lever_engine *e = r->engine;
    score_job job = { .n_vocab = (size_t)lv_vocab_n_tokens(e->vocab),
                      .n_used = (uint32_t)lv_vocab_n_used(e->vocab) };
    LEVER_TRY(project(r, e->target, from, n, r->logits, err));
    const uint32_t step = e->draft ? r->draft_rows : n;
    for (uint32_t i = 0; i < n; i += step) {
        const uint32_t k = n - i < step ? n - i : step;
        job.scores = r->scores + i;
        job.logits = r->logits + i * job.n_vocab;
        job.next = next + i;
        if (e->draft) {
            LEVER_TRY(project(r, e->draft, from + i, k, r->draft_logits, err));
            job.draft_logits = r->draft_logits;
            job.n_draft_vocab = lv_model_hparams(e->draft)->n_vocab;
        }
        lv_cpu_run(e->cpu, k, 1, score_some, &job);
    }
    return LEVER_OK;
}

/* In the order of the text, whatever scored them. */
static int add_scores(eval_run *r, uint32_t n, const int32_t *next, lever_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const lv_eval_row *row = &r->scores[i];
        if (!isfinite(row->nll) || !isfinite(row->draft_nll) || !isfinite(row->kl))
            return lv_fail(err, LEVER_EFORMAT, 0,
                           "the %s gives no probability for a token of the text: its logits are not finite; "
                           "the weights are damaged or this text is beyond their range",
                           isfinite(row->nll) ? "draft" : "model");
        lv_eval_add(&r->sums, row, lv_vocab_piece(r->engine->vocab, next[i], false).len);
    }
    return LEVER_OK;
}

/* tokens [n_ctx]. The last one is only a question. */
static int run_window(eval_run *r, const int32_t *tokens, lever_error *err)
{
    lever_engine *e = r->engine;
    const uint32_t n_ctx = e->plan.n_ctx, max_rows = e->plan.max_rows, first = n_ctx / 2, end = n_ctx - 1;
    lv_kv_truncate(&r->kv, 0);
    if (e->draft) lv_kv_truncate(&r->draft_kv, 0);
    for (uint32_t at = 0, n; at < end; at += n) {
        n = end - at < max_rows ? end - at : max_rows;
        LEVER_TRY(forward(r, e->target, &r->kv, tokens + at, n, err));
        if (e->draft) LEVER_TRY(forward(r, e->draft, &r->draft_kv, tokens + at, n, err));
        for (uint32_t i = at < first ? first : at, k; i < at + n; i += k) {
            k = at + n - i < r->logit_rows ? at + n - i : r->logit_rows;
            LEVER_TRY(score_rows(r, i - at, k, tokens + i + 1, err));
            LEVER_TRY(add_scores(r, k, tokens + i + 1, err));
        }
        r->result->n_tokens += n;
    }
    return LEVER_OK;
}

static int run_windows(eval_run *r, lever_error *err)
{
    const lever_eval_result *res = r->result;
    int rc = LEVER_OK;
    r->started_ns = lv_clock_ns();
    for (uint64_t w = 0; rc >= 0 && w < res->n_windows; w++)
        rc = run_window(r, r->tokens + w * res->n_ctx, err);
    fill_result(r);
    if (rc >= 0 && r->params->on_progress) r->params->on_progress(r->params->user, r->result);
    return rc == LEVER_ECANCEL ? lv_fail(err, rc, 0, "stopped by the caller") : rc;
}

static int open_run(eval_run *r, const lever_config *c, const char *text, size_t len, lever_error *err)
{
    lv_engine_setup o;
    LEVER_TRY(lv_engine_setup_open(&o, c, true, err));
    int rc = tokenise(r, &o, text, len, err);
    if (rc >= 0) {
        o.text_bytes = len + r->result->n_windows * r->result->n_ctx * sizeof *r->tokens;
        rc = lv_engine_setup_plan(&o, err);
    }
    if (rc >= 0) rc = lv_engine_load(&r->engine, &o, err);
    if (rc >= 0) {
        const uint32_t max_rows = r->engine->plan.max_rows;
        r->logit_rows = o.logit_rows < max_rows ? o.logit_rows : max_rows;
        r->draft_rows = LV_EVAL_LOGIT_ROWS < max_rows ? LV_EVAL_LOGIT_ROWS : max_rows;
        r->result->mem_limit_bytes = r->engine->plan.limit_bytes;
        rc = open_buffers(r, err);
    }
    lv_engine_setup_fini(&o);
    return rc;
}

int lever_eval(const lever_config *c, const char *text, size_t len, const lever_eval_params *params,
               lever_eval_result *result, lever_error *err)
{
    static const lever_eval_params defaults;
    lever_eval_result unused;
    eval_run r = { .params = params ? params : &defaults, .result = result ? result : &unused };
    *r.result = (lever_eval_result){ 0 };
    int rc = open_run(&r, c, text, len == SIZE_MAX ? strlen(text) : len, err);
    if (rc >= 0) rc = run_windows(&r, err);
    if (r.engine) {
        lever_engine_info info;
        lever_engine_get_info(r.engine, &info);
        if (info.device_note) snprintf(r.result->device_note, sizeof r.result->device_note, "%s", info.device_note);
    }
    close_run(&r);
    r.result->peak_rss_bytes = lv_memory_peak_rss();
    return rc;
}
