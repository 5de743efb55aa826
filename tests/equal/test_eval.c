/* Perplexity and agreement of random models: against a plain softmax over logits decoded row by row, and bit
 * for bit the same with any batch, threads, memory, backend and instruction set.
 * SPDX-License-Identifier: MIT */
#include "equal/forward_rig.h"

#include <math.h>
#include <unistd.h>

#include "lever/file.h"
#include "lever/fit.h"
#include "support/mkmodel.h"
#include "token/vocab.h"

enum { N_TEXT = 3000 };

static char target[] = "/tmp/lever-eval-XXXXXX", draft[] = "/tmp/lever-eval-XXXXXX",
            bos[] = "/tmp/lever-eval-XXXXXX";
static char text[N_TEXT + 1];
static lever_eval_result base; /* the pair, resident, one thread */

static void make(char *path, const mk_config *c)
{
    lever_error err = { 0 };
    const int fd = mkstemp(path);
    if (fd < 0) SKIP("no place for test models");
    close(fd);
    CHECK_OK(mk_model_write(path, c, &err), &err);
}

static void make_all(void)
{
    static const char *const words[] = { "the ", "house", " and", " a", "\n", "wound", "ing ", "\xc3\xa9",
                                         "7 " };
    mk_config c = mk_config_init();
    c.n_vocab = 320; /* 273 are used */
    c.n_layers = 3, c.n_ctx = 100, c.tied = false;
    make(target, &c);
    c.add_bos = true;
    make(bos, &c);
    c.add_bos = false;
    c.n_layers = 1, c.n_vocab = 300;
    make(draft, &c);
    uint32_t x = 1;
    for (size_t n = 0;;) {
        x = x * 1664525u + 1013904223u;
        const char *w = words[(x >> 16) % 9];
        if (n + strlen(w) > N_TEXT) break;
        memcpy(text + n, w, strlen(w));
        n += strlen(w);
    }
}

static lever_config config(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target, c.draft_path = draft;
    c.n_ctx = 48, c.n_threads = 1, c.mem_bytes = 64 << 20;
    return c;
}

static int eval(const lever_config *c, lever_eval_result *r, lever_error *err)
{
    *err = (lever_error){ 0 };
    return lever_eval(c, text, SIZE_MAX, NULL, r, err);
}

/* ---- the same numbers the plain way ---- */

typedef struct truth {
    uint64_t n, bytes;
    double nll, nll2, draft_nll, draft_nll2, kl, one, four;
} truth;

static void softmax(double *p, const float *x, uint32_t n)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++) max = fmax(max, x[i]);
    for (uint32_t i = 0; i < n; i++) sum += p[i] = exp(x[i] - max);
    for (uint32_t i = 0; i < n; i++) p[i] /= sum;
}

static uint32_t best_of(const float *x, uint32_t n, const bool *taken)
{
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (!taken[i] && (best == n || x[i] > x[best])) best = i;
    return best;
}

static void add(truth *t, const float *a, const float *b, uint32_t n, int32_t token)
{
    static double p[512], q[512];
    static bool taken[512];
    memset(taken, 0, sizeof taken);
    softmax(p, a, n);
    softmax(q, b, n);
    const double x = -log(p[token]), y = -log(q[token]);
    t->n++;
    t->nll += x, t->nll2 += x * x;
    t->draft_nll += y, t->draft_nll2 += y * y;
    for (uint32_t i = 0; i < n; i++) t->kl += p[i] * log(p[i] / q[i]);
    const uint32_t first = best_of(a, n, taken);
    for (int k = 0; k < 4; k++) {
        const uint32_t guess = best_of(b, n, taken);
        taken[guess] = true;
        if (guess == first) t->four++, t->one += k == 0;
    }
}

/* Models one row at a time, windows of n_ctx; the first token of each becomes `begin` unless that is -1. */
static truth compute(const char *a_path, const char *b_path, uint32_t n_ctx)
{
    truth t = { 0 };
    rig a, b;
    lever_error err = { 0 };
    lv_vocab *v;
    static int32_t tokens[N_TEXT + 1];
    CHECK_OK(rig_open(&a, &(rig_config){ .path = a_path }, &err), &err);
    CHECK_OK(rig_open(&b, &(rig_config){ .path = b_path }, &err), &err);
    CHECK_OK(lv_vocab_open(&v, lv_model_gguf(a.m), &err), &err);
    const int64_t n = lv_vocab_encode(v, text, strlen(text), LV_ENCODE_ADD_SPECIAL, tokens, N_TEXT + 1, &err);
    float *x = calloc(n_ctx, a.n_vocab * sizeof *x), *y = calloc(n_ctx, b.n_vocab * sizeof *y);
    for (int64_t w = 0; w + n_ctx <= n; w += n_ctx) {
        if (lv_vocab_add_bos(v)) tokens[w] = lv_vocab_bos(v);
        lv_kv_truncate(&a.kv, 0);
        lv_kv_truncate(&b.kv, 0);
        CHECK_OK(rig_decode(&a, tokens + w, n_ctx, 1, x, &err), &err);
        CHECK_OK(rig_decode(&b, tokens + w, n_ctx, 1, y, &err), &err);
        for (uint32_t i = n_ctx / 2 + 1; i < n_ctx; i++) {
            add(&t, x + (size_t)(i - 1) * a.n_vocab, y + (size_t)(i - 1) * b.n_vocab,
                (uint32_t)lv_vocab_n_used(v), tokens[w + i]);
            t.bytes += lv_vocab_piece(v, tokens[w + i], false).len;
        }
    }
    free(x);
    free(y);
    lv_vocab_close(&v);
    rig_close(&a);
    rig_close(&b);
    return t;
}

static void expect_near(double got, double want, const char *what)
{
    if (fabs(got - want) <= 1e-12 * fabs(want)) return;
    fprintf(stderr, "%s: got %.17g, want %.17g\n", what, got, want);
    CHECK(!"near");
}

static void expect_truth(const lever_eval_result *r, const truth *t)
{
    const double n = (double)t->n, mean = t->nll / n, d_mean = t->draft_nll / n;
    CHECK_EQ(r->n_scored, t->n);
    CHECK_EQ(r->scored_bytes, t->bytes);
    expect_near(r->perplexity, exp(mean), "perplexity");
    expect_near(r->draft_perplexity, exp(d_mean), "perplexity of the draft");
    const double var = t->nll2 / n - mean * mean, d_var = t->draft_nll2 / n - d_mean * d_mean;
    expect_near(r->perplexity_error, exp(mean) * sqrt(var / (n - 1)), "error");
    expect_near(r->draft_perplexity_error, exp(d_mean) * sqrt(d_var / (n - 1)), "error of the draft");
    expect_near(r->bits_per_byte, t->nll / log(2) / (double)t->bytes, "bits per byte");
    expect_near(r->draft_bits_per_byte, t->draft_nll / log(2) / (double)t->bytes, "bits of the draft");
    expect_near(r->kl, t->kl / n, "KL");
    CHECK(r->agree_1 == t->one / n && r->agree_4 == t->four / n);
}

static void a_plain_softmax_gives_the_same_numbers(void)
{
    static const uint32_t windows[] = { 48, 33, 3, 100 };
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        lever_config c = config();
        lever_error err;
        c.n_ctx = windows[i];
        lever_eval_result r;
        CHECK_OK(eval(&c, &r, &err), &err);
        const truth t = compute(target, draft, windows[i]);
        expect_truth(&r, &t);
        CHECK(r.n_ctx == windows[i] && r.n_windows == r.n_text_tokens / windows[i] && r.n_windows > 9);
        CHECK(r.n_tokens == r.n_tokens_all && r.n_tokens == r.n_windows * (windows[i] - 1));
        CHECK(r.has_draft && r.agree_1 > 0 && r.agree_1 < r.agree_4 && r.agree_4 < 1 && r.kl > 0);
        CHECK(r.perplexity > 1 && r.perplexity_error > 0 && r.bytes_read > 0); /* embedding rows */
        if (i == 0) base = r;
    }
}

static void the_begin_token_opens_every_window_where_the_model_asks(void)
{
    lever_config c = config();
    lever_error err;
    lever_eval_result r;
    c.model_path = bos;
    CHECK_OK(eval(&c, &r, &err), &err);
    const truth t = compute(bos, draft, c.n_ctx);
    expect_truth(&r, &t);
    CHECK_EQ(r.n_text_tokens, base.n_text_tokens + 1);
    CHECK(r.perplexity != base.perplexity);
}

/* ---- the same bits ---- */

static void expect_same(const lever_config *c, const char *what)
{
    lever_error err;
    lever_eval_result r;
    CHECK_OK(eval(c, &r, &err), &err);
    const double got[] = { r.perplexity, r.perplexity_error, r.bits_per_byte, r.draft_perplexity,
                           r.draft_perplexity_error, r.draft_bits_per_byte, r.agree_1, r.agree_4, r.kl };
    const double want[] = { base.perplexity, base.perplexity_error, base.bits_per_byte, base.draft_perplexity,
                            base.draft_perplexity_error, base.draft_bits_per_byte, base.agree_1, base.agree_4,
                            base.kl };
    const bool same = !memcmp(got, want, sizeof got) && r.n_scored == base.n_scored &&
                      r.scored_bytes == base.scored_bytes && r.n_windows == base.n_windows;
    if (!same) fprintf(stderr, "%s: perplexity %.17g, not %.17g\n", what, r.perplexity, base.perplexity);
    CHECK(same);
}

static void batches_and_threads_change_no_bit(void)
{
    static const uint32_t rows[] = { 1, 5, 23, 24, 25, 47, 64 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int streamed = 0; streamed < 2; streamed++) {
            lever_config c = config();
            c.max_rows = rows[i];
            c.no_pin = streamed;
            expect_same(&c, streamed ? "streamed, batches" : "batches");
        }
    for (uint32_t n = 2; n <= 4; n++) {
        lever_config c = config();
        c.n_threads = n;
        expect_same(&c, "threads");
    }
}

static void backends_and_instruction_sets_change_no_bit(void)
{
    static const char *const isas[] = { "ref", "avx2", "avx512vnni", "neon", "dotprod", "i8mm" };
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        lever_config c = config();
        c.isa = isas[i];
        expect_same(&c, isas[i]);
    }
    static const char *const backends[] = { "auto", "pool", "sim" };
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        lever_config c = config();
        c.io_backend = backends[i];
        c.no_pin = true;
        expect_same(&c, backends[i]);
    }
    lever_config c = config();
    c.policy = "tree:4,2,1"; /* does nothing here */
    expect_same(&c, "policy");
}

static void a_limit_too_small_names_one_that_works(void)
{
    lever_config c = config();
    lever_error err;
    c.mem_bytes = 1;
    CHECK_EQ(eval(&c, NULL, &err), LEVER_ELIMIT);
    const char *at = strstr(err.msg, "at least ");
    CHECK(at != NULL);
    if (!at) return;
    c.mem_bytes = strtoull(at + 9, NULL, 10);
    expect_same(&c, "smallest limit");
    c.mem_bytes--;
    CHECK_EQ(eval(&c, NULL, &err), LEVER_ELIMIT);
}

/* ---- pairs, limits, stops, errors ---- */

static void a_model_agrees_with_itself(void)
{
    lever_config c = config();
    lever_error err;
    lever_eval_result r;
    c.draft_path = target;
    CHECK_OK(eval(&c, &r, &err), &err);
    CHECK(r.agree_1 == 1 && r.agree_4 == 1 && r.kl == 0);
    CHECK(r.draft_perplexity == base.perplexity && r.draft_perplexity_error == base.perplexity_error);
    c.draft_path = NULL;
    CHECK_OK(eval(&c, &r, &err), &err);
    CHECK(!r.has_draft && r.draft_perplexity == 0 && r.agree_1 == 0 && r.perplexity == base.perplexity);
    CHECK(r.mem_limit_bytes == c.mem_bytes && r.peak_rss_bytes > 0 && r.eval_ns > 0);
}

static void windows_can_be_limited_and_the_default_is_the_models_context(void)
{
    lever_config c = config();
    lever_error err = { 0 };
    lever_eval_result r;
    const lever_eval_params two = { .max_windows = 2 };
    CHECK_OK(lever_eval(&c, text, strlen(text), &two, &r, &err), &err);
    CHECK(r.n_windows == 2 && r.n_scored == 2 * 23 && r.n_text_tokens == base.n_text_tokens);
    c.n_ctx = 0;
    CHECK_OK(eval(&c, &r, &err), &err);
    CHECK_EQ(r.n_ctx, 100);
}

typedef struct watch {
    int n_calls, stop_at;
    uint64_t n_tokens;
    bool ordered;
} watch;

static bool on_progress(void *user, const lever_eval_result *so_far)
{
    watch *w = user;
    w->ordered = w->ordered && so_far->n_tokens >= w->n_tokens && so_far->n_tokens <= so_far->n_tokens_all;
    w->n_tokens = so_far->n_tokens;
    return ++w->n_calls != w->stop_at;
}

static void progress_is_told_and_can_stop_it(void)
{
    lever_config c = config();
    lever_error err = { 0 };
    lever_eval_result r;
    watch w = { .ordered = true };
    lever_eval_params p = { .on_progress = on_progress, .user = &w };
    CHECK_OK(lever_eval(&c, text, SIZE_MAX, &p, &r, &err), &err);
    CHECK(w.ordered && w.n_tokens == r.n_tokens_all && r.perplexity == base.perplexity);
    const int n_calls = w.n_calls;
    CHECK(n_calls > 10 * (int)r.n_windows);
    for (int i = 0; i < 4; i++) {
        w = (watch){ .stop_at = 1 + i * n_calls / 4, .ordered = true };
        CHECK_EQ(lever_eval(&c, text, SIZE_MAX, &p, &r, &err), LEVER_ECANCEL);
        CHECK_EQ(w.n_calls, w.stop_at);
        CHECK(i ? r.n_scored > 0 && r.perplexity > 1 : r.n_scored == 0);
        CHECK(r.n_scored < base.n_scored && r.n_windows == base.n_windows);
    }
}

static void bad_settings_and_short_texts_are_explained(void)
{
    lever_config c = config();
    lever_error err = { 0 };
    lever_eval_result r;
    CHECK_EQ(lever_eval(&c, "the house", SIZE_MAX, NULL, &r, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "tokens, but one window takes 48; use a longer text or a smaller -c"));
    CHECK_EQ(lever_eval(&c, "", 0, NULL, &r, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "has 0 tokens"));
    c.n_ctx = 2;
    CHECK_EQ(eval(&c, NULL, &err), LEVER_EINVAL);
    c = config();
    c.model_path = "/nowhere.gguf";
    CHECK_EQ(eval(&c, &r, &err), LEVER_EIO);
    c.model_path = NULL;
    CHECK_EQ(eval(&c, &r, &err), LEVER_EINVAL);
    for (long at = 0; at < 200; at = at * 2 + 1) {
        c = config();
        char faults[64];
        snprintf(faults, sizeof faults, "first=%ld,error=EIO", at);
        c.no_pin = true, c.io_faults = faults;
        CHECK_EQ(eval(&c, &r, &err), LEVER_EIO);
        CHECK(strstr(err.msg, target) && r.n_scored < base.n_scored);
    }
}

static void logits_that_are_no_numbers_are_an_error(void)
{
    lever_config c = config();
    lever_error err = { 0 };
    lever_info *info;
    lever_tensor t = { 0 };
    CHECK_OK(lever_info_open(&info, bos, &err), &err);
    for (size_t i = 0; i < lever_info_n_tensors(info) && strcmp(t.name, "output_norm.weight"); i++)
        lever_info_tensor(info, i, &t);
    lever_info_close(&info);
    FILE *f = fopen(bos, "r+b");
    const float nan = NAN;
    CHECK(f && !fseek(f, (long)t.offset, SEEK_SET) && fwrite(&nan, sizeof nan, 1, f) == 1 && !fclose(f));
    c.model_path = bos;
    CHECK_EQ(eval(&c, NULL, &err), LEVER_EFORMAT);
    CHECK(strstr(err.msg, "the model gives no probability"));
    c.model_path = target, c.draft_path = bos;
    CHECK_EQ(eval(&c, NULL, &err), LEVER_EFORMAT);
    CHECK(strstr(err.msg, "the draft gives no probability"));
}

int main(void)
{
    make_all();
    RUN(a_plain_softmax_gives_the_same_numbers);
    RUN(the_begin_token_opens_every_window_where_the_model_asks);
    RUN(batches_and_threads_change_no_bit);
    RUN(backends_and_instruction_sets_change_no_bit);
    RUN(a_limit_too_small_names_one_that_works);
    RUN(a_model_agrees_with_itself);
    RUN(windows_can_be_limited_and_the_default_is_the_models_context);
    RUN(progress_is_told_and_can_stop_it);
    RUN(bad_settings_and_short_texts_are_explained);
    RUN(logits_that_are_no_numbers_are_an_error);
    unlink(target);
    unlink(draft);
    unlink(bos);
    return check_done();
}
