/* lever_fit: settings, texts cut into windows, then recording and training. SPDX-License-Identifier: MIT */
#include "engine/fit_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "os/clock.h"
#include "os/memory.h"

enum {
    POSITIONS = 24576,
    RANK = 64,
    HELD_EVERY = 10,
    PROGRAM_BYTES = 4 << 20 /* the process while it tokenises, beside text and vocabulary */
};
static const uint64_t disk_default = 1ull << 30;

/* ---- settings ---- */

static int check_params(fit_job *j, lever_error *err)
{
    const lever_fit_params *p = j->params;
    if (!p->out) return lv_fail(err, LEVER_EINVAL, 0, "no name given for the sidecar");
    if (!p->n_texts) return lv_fail(err, LEVER_EINVAL, 0, "no text given to fit with");
    if (!j->config->model_path) return lv_fail(err, LEVER_EINVAL, 0, "no model given");
    if (!j->config->draft_path)
        return lv_fail(
            err, LEVER_EINVAL, 0,
            "fitting needs the draft model, too (-md): its candidates are what the predictor ranks");
    j->form = !p->form || !strcmp(p->form, "tied") ? LV_EXIT_TIED : LV_EXIT_UNTIED;
    if (j->form == LV_EXIT_UNTIED && strcmp(p->form, "untied"))
        return lv_fail(err, LEVER_EINVAL, 0, "unknown form '%s'; known: tied, untied", p->form);
    if (p->rank > LV_EXIT_MAX_RANK)
        return lv_fail(err, LEVER_EINVAL, 0, "rank %" PRIu32 " is not within 1..%d", p->rank,
                       LV_EXIT_MAX_RANK);
    LEVER_TRY(lv_gguf_check_paths(j->config->model_path, p->out, err));
    return lv_gguf_check_paths(j->config->draft_path, p->out, err);
}

static char *join(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    char *s = lv_alloc(n + m + 1, 8);
    if (s) memcpy(s, a, n), memcpy(s + n, b, m);
    return s;
}

/* What only the metadata tells: identity of both models, where the head is. */
static int look_at_models(fit_job *j, lever_error *err)
{
    lv_model *m;
    LEVER_TRY(lv_model_open(&m, j->config->draft_path, err));
    int rc = lv_model_identify(m, &j->draft, err);
    lv_model_close(&m);
    if (rc < 0) return rc;
    LEVER_TRY(lv_model_open(&m, j->config->model_path, err));
    rc = lv_model_identify(m, &j->target, err);
    size_t n;
    const lv_model_weight *head = lv_model_weights(m, &n) + n - 1;
    j->head = (lv_fit_head_place){ .type = head->type,
                                   .n_vocab = (uint32_t)head->rows,
                                   .n_embd = (uint32_t)head->cols,
                                   .offset = head->offset,
                                   .bytes = head->bytes };
    j->norm_eps = lv_model_hparams(m)->norm_eps;
    lv_model_close(&m);
    return rc;
}

/* From a quarter to seven eighths of the layers, or the one asked for. */
static int choose_layers(fit_job *j, lever_error *err)
{
    const uint32_t all = j->target.n_layers, asked = j->params->layers;
    lv_fit_data_info *info = &j->info;
    if (all < 2)
        return lv_fail(err, LEVER_EINVAL, 0, "a model of %" PRIu32 " layer has none to leave early", all);
    if (asked >= all)
        return lv_fail(err, LEVER_EINVAL, 0, "layer %" PRIu32 " is not within 1..%" PRIu32, asked, all - 1);
    for (uint32_t eighths = 2; eighths <= 7 && !asked; eighths++) {
        uint32_t after = (all * eighths + 4) / 8;
        if (after < 1) after = 1;
        if (after > all - 1) after = all - 1;
        if (!info->n_layers || info->layers[info->n_layers - 1] != after - 1)
            info->layers[info->n_layers++] = after - 1;
    }
    if (asked) info->layers[info->n_layers++] = asked - 1;
    return LEVER_OK;
}

/* ---- windows ---- */

static int check_text(const fit_job *j, const lv_engine_setup *o, lever_error *err)
{
    uint64_t work = 0, all = lv_vocab_memory_bytes(o->vocab) + PROGRAM_BYTES;
    for (size_t i = 0; i < j->params->n_texts; i++) {
        const size_t len = j->params->texts[i].len;
        const uint64_t one = lv_vocab_encode_bytes(o->vocab, len);
        if (one > work) work = one;
        all += len;
    }
    if (all + work <= j->mem_bytes) return LEVER_OK;
    return lv_fail(err, LEVER_ELIMIT, 0,
                   "tokenising this text takes %" PRIu64 " bytes, but the memory limit is %" PRIu64
                   "; raise --mem or "
                   "use less text",
                   all + work, j->mem_bytes);
}

/* Tokens of every text into tokens [cap], one after the other; a text ends at text_ends[i]. NULL: only count.
 */
static int64_t encode(const fit_job *j, const lv_engine_setup *o, int32_t *tokens, uint64_t cap,
                      uint64_t *text_ends, lever_error *err)
{
    uint64_t n = 0;
    for (size_t i = 0; i < j->params->n_texts; i++) {
        const lever_text *t = &j->params->texts[i];
        const int64_t got =
            lv_vocab_encode(o->vocab, t->text, t->len, LV_ENCODE_ADD_SPECIAL | LV_ENCODE_PARSE_SPECIAL,
                            tokens ? tokens + n : NULL, tokens ? (size_t)(cap - n) : 0, err);
        if (got < 0) return got;
        n += (uint64_t)got;
        if (text_ends) text_ends[i] = n;
    }
    return (int64_t)n;
}

typedef struct cutter {
    const uint64_t *text_ends; /* [n_texts] in tokens */
    size_t   n_texts;
    uint32_t n_ctx;
    int32_t bos, eos; /* put in place of each window's first token; a document ends at it. -1: none */
    double   share;            /* of all positions that is wanted */
    uint64_t taken, seen;      /* positions */
    uint32_t n;                /* windows taken */
    uint64_t n_tokens;         /* in them */
} cutter;

/* Take the window [at, at + len), if it is due for an even selection. ends NULL: only count; else tokens move
 * down in place. */
static void take_window(cutter *c, int32_t *tokens, uint32_t *ends, uint64_t at, uint64_t len)
{
    if (len < FIT_LEAST_WINDOW) return;
    const uint64_t positions = len - FIT_SKIP;
    c->seen += positions;
    if ((double)c->taken + (double)positions / 2 > c->share * (double)c->seen) return;
    c->taken += positions;
    if (ends) {
        memmove(tokens + c->n_tokens, tokens + at, (size_t)len * sizeof *tokens);
        if (c->bos >= 0) tokens[c->n_tokens] = c->bos;
        ends[c->n] = (uint32_t)(c->n_tokens + len);
    }
    c->n_tokens += len;
    c->n++;
}

/* Windows of n_ctx tokens at most; none goes across the end of a text or of a document in it. */
static void cut(cutter *c, int32_t *tokens, uint32_t *ends)
{
    for (size_t i = 0; i < c->n_texts; i++)
        for (uint64_t at = i ? c->text_ends[i - 1] : 0, len = 0; at < c->text_ends[i]; at += len ? len : 1) {
            const uint64_t left = c->text_ends[i] - at;
            for (len = 0; len < left && len < c->n_ctx && tokens[at + len] != c->eos;) len++;
            take_window(c, tokens, ends, at, len);
        }
}

static uint64_t positions_wanted(const fit_job *j)
{
    const uint64_t disk = j->params->disk_bytes ? j->params->disk_bytes : disk_default;
    const uint64_t fit = disk / lv_fit_data_record_bytes(&j->info);
    const uint64_t most = j->params->positions ? j->params->positions : POSITIONS;
    return fit < most ? fit : most;
}

static int cut_windows(fit_job *j, const lv_engine_setup *o, uint64_t *text_ends, uint64_t n_tokens,
                       lever_error *err)
{
    cutter all = { .text_ends = text_ends,
                   .n_texts = j->params->n_texts,
                   .n_ctx = o->config.n_ctx,
                   .share = 2,
                   .bos = lv_vocab_add_bos(o->vocab) ? lv_vocab_bos(o->vocab) : -1,
                   .eos = lv_vocab_eos(o->vocab) };
    cutter some = all;
    cut(&all, j->tokens, NULL);
    const uint64_t wanted = positions_wanted(j);
    if (all.taken > wanted) some.share = (double)wanted / (double)all.taken;
    if (!(j->ends = lv_alloc_array(all.n ? all.n : 1, sizeof *j->ends, 64)))
        return lv_fail(err, LEVER_ENOMEM, 0, "%" PRIu32 " windows of text", all.n);
    cut(&some, j->tokens, j->ends);
    /* A batch to train on and one to measure with are the least that makes sense. */
    const uint64_t least = FIT_BATCH + FIT_BATCH / 2;
    if (some.taken < least)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "the text gives %" PRIu64 " positions of %" PRIu64 " tokens, at least %" PRIu64
                       " are needed; "
                       "some ten thousand are better",
                       some.taken, n_tokens, least);
    j->info.n_windows = j->result->n_windows = some.n;
    return LEVER_OK;
}

static int tokenise(fit_job *j, lv_engine_setup *o, lever_error *err)
{
    LEVER_TRY(check_text(j, o, err));
    const int64_t n = encode(j, o, NULL, 0, NULL, err);
    if (n < 0) return (int)n;
    if (n > UINT32_MAX) return lv_fail(err, LEVER_EINVAL, 0, "%" PRId64 " tokens of text are too many", n);
    uint64_t *text_ends = lv_alloc_array(j->params->n_texts, sizeof *text_ends, 64);
    j->tokens = lv_alloc_array((size_t)n + 1, sizeof *j->tokens, 64);
    int rc =
        text_ends && j->tokens ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "%" PRId64 " tokens of text", n);
    if (rc >= 0) {
        const int64_t again = encode(j, o, j->tokens, (uint64_t)n, text_ends, err);
        rc = again < 0 ? (int)again : cut_windows(j, o, text_ends, (uint64_t)n, err);
    }
    lv_free(text_ends);
    j->result->n_text_tokens = (uint64_t)n;
    for (size_t i = 0; i < j->params->n_texts; i++) o->text_bytes += j->params->texts[i].len;
    o->text_bytes += ((uint64_t)n + 1) * sizeof *j->tokens + j->info.n_windows * sizeof *j->ends;
    return rc;
}

/* All that decides what is recorded, but the target and the layers. */
static int hash_settings(fit_job *j, const lv_engine_setup *o, lever_error *err)
{
    lv_hasher *h = lv_hasher_open();
    if (!h) return lv_fail(err, LEVER_ENOMEM, 0, "hash of the settings");
    const uint32_t n_tokens = j->ends[j->info.n_windows - 1];
    const uint64_t numbers[] = { j->draft.fingerprint, o->target_kv_type, o->draft_kv_type, n_tokens };
    lv_hasher_begin(h);
    lv_hasher_add(h, numbers, sizeof numbers);
    lv_hasher_add(h, j->ends, j->info.n_windows * sizeof *j->ends);
    lv_hasher_add(h, j->tokens, n_tokens * sizeof *j->tokens);
    j->info.settings = lv_hasher_sum(h);
    lv_hasher_close(h);
    return LEVER_OK;
}

/* ---- the whole ---- */

static int prepare(fit_job *j, lv_engine_setup *o, lever_error *err)
{
    j->mem_bytes = j->result->mem_limit_bytes = o->config.mem_bytes;
    j->others_bytes = o->others_bytes;
    j->cpu =
        (lv_cpu_config){ .n_threads = o->cpu.n_threads, .cpu_flags = o->cpu.cpu_flags, .cpus = o->cpu.cpus };
    j->n_used = (uint32_t)lv_vocab_n_used(o->vocab);
    j->info.fingerprint = j->target.fingerprint;
    j->info.n_embd = j->target.n_embd;
    j->info.held_every = HELD_EVERY;
    j->rank = 0;
    if (j->form == LV_EXIT_TIED) {
        j->rank = j->params->rank               ? j->params->rank
                  : j->target.n_embd / 4 < RANK ? j->target.n_embd / 4
                                                : RANK;
        if (j->rank > j->target.n_embd || j->rank < 1) j->rank = j->target.n_embd;
    }
    j->result->rank = j->rank;
    j->result->form = j->form == LV_EXIT_TIED ? "tied" : "untied";
    LEVER_TRY(choose_layers(j, err));
    LEVER_TRY(tokenise(j, o, err));
    LEVER_TRY(hash_settings(j, o, err));
    j->data_path = join(j->params->out, ".fit");
    j->state_path = join(j->params->out, ".state");
    if (!j->data_path || !j->state_path) return lv_fail(err, LEVER_ENOMEM, 0, "names of files");
    return lv_fit_data_open(&j->data, j->data_path, &j->info, err);
}

/* Not inlined: two setups side by side, of models looked at and models run, would be a large frame. */
static __attribute__((noinline)) int record(fit_job *j, lever_error *err)
{
    lv_engine_setup o;
    LEVER_TRY(lv_engine_setup_open(&o, j->config, true, err));
    int rc = prepare(j, &o, err);
    if (rc >= 0) j->result->resumed = lv_fit_data_windows(j->data) > 0;
    if (rc >= 0 && lv_fit_data_windows(j->data) < j->info.n_windows) rc = lv_fit_record_run(j, &o, err);
    lv_engine_setup_fini(&o);
    lv_free(j->tokens);
    lv_free(j->ends);
    j->tokens = NULL, j->ends = NULL;
    return rc;
}

static int run(fit_job *j, lever_error *err)
{
    LEVER_TRY(check_params(j, err));
    LEVER_TRY(look_at_models(j, err));
    LEVER_TRY(record(j, err));
    lv_memory_trim();
    j->result->disk_bytes = lv_fit_data_records(j->data) * lv_fit_data_record_bytes(&j->info);
    const uint64_t t0 = lv_clock_ns();
    const int rc = lv_fit_train_run(j, err);
    j->result->train_ns = lv_clock_ns() - t0;
    return rc;
}

int lever_fit(const lever_config *c, const lever_fit_params *params, lever_fit_result *result,
              lever_error *err)
{
    fit_job j = { .config = c, .params = params, .result = result, .started_ns = lv_clock_ns() };
    *result = (lever_fit_result){ 0 };
    int rc = run(&j, err);
    lv_fit_data_close(&j.data);
    if (rc >= 0) { /* only now: an unfinished run goes on from them */
        remove(j.data_path);
        remove(j.state_path);
    }
    if (rc == LEVER_ECANCEL) lv_fail(err, rc, 0, "stopped by the caller");
    lv_free(j.data_path);
    lv_free(j.state_path);
    lv_free(j.tokens);
    lv_free(j.ends);
    result->peak_rss_bytes = lv_memory_peak_rss();
    return rc;
}
