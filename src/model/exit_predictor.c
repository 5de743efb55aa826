/* Opening a sidecar, and scoring with it. SPDX-License-Identifier: MIT */
#include "model/exit_predictor.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "os/file.h"

struct lv_exit {
    lv_exit_card card;
    float   *gain;      /* [n_embd] */
    float   *u, *v;     /* tied: [rank][n_embd] */
    uint8_t *w;         /* untied: [n_vocab] rows of w_row_bytes */
    uint32_t w_type;
    size_t   w_row_bytes;
    float   *h, *row;   /* [n_embd] scratch */
    size_t   bytes;
};

typedef struct source { /* while opening */
    const char *path;
    lv_gguf *g;
    lv_file  file;
    bool     file_open;
    lever_error *err;
} source;

/* ---- keys ---- */

static int bad(const source *s, const char *key, const char *why)
{
    return lv_fail(s->err, LEVER_EFORMAT, 0, "%s: key '%s' %s", s->path, key, why);
}

static int named(const source *s, int rc)
{
    return rc < 0 ? lv_fail_prefix(s->err, rc, "%s", s->path) : rc;
}

static int get_u32(const source *s, const char *key, uint32_t *v)
{
    const int rc = named(s, lv_gguf_get_u32(s->g, key, v, s->err));
    return rc == 0 ? bad(s, key, "is missing") : rc;
}

static int get_f32(const source *s, const char *key, float *v)
{
    const int rc = named(s, lv_gguf_get_f32(s->g, key, v, s->err));
    if (rc == 1 && !isfinite(*v)) return bad(s, key, "is not a finite number");
    return rc == 0 ? bad(s, key, "is missing") : rc;
}

static int get_name(const source *s, const char *key, char *out, size_t cap)
{
    lv_str v = { 0 };
    const int rc = named(s, lv_gguf_get_str(s->g, key, &v, s->err));
    if (rc == 0) return bad(s, key, "is missing");
    if (rc < 0) return rc;
    size_t n = 0;
    for (; n < v.len && n + 1 < cap; n++)
        out[n] = (unsigned char)v.s[n] >= 0x20 && v.s[n] != 0x7f ? v.s[n] : '?';
    out[n] = '\0';
    return LEVER_OK;
}

/* 16 lower-case hexadecimal digits. */
static int get_fingerprint(const source *s, uint64_t *out)
{
    static const char key[] = "lever-exit.target.fingerprint";
    char text[32];
    LEVER_TRY(get_name(s, key, text, sizeof text));
    *out = 0;
    for (int i = 0; i < 16; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return bad(s, key, "is not 16 hexadecimal digits");
        *out = *out << 4 | (uint64_t)digit;
    }
    return text[16] ? bad(s, key, "is not 16 hexadecimal digits") : LEVER_OK;
}

static int check_kind(const source *s)
{
    char arch[16] = "";
    uint32_t version;
    lv_str v;
    if (lv_gguf_get_str(s->g, "general.architecture", &v, NULL) != 1 || v.len >= sizeof arch ||
        (memcpy(arch, v.s, v.len), strcmp(arch, "lever-exit")))
        return lv_fail(s->err, LEVER_EFORMAT, 0,
                       "%s is not an exit predictor (general.architecture is not 'lever-exit'); 'lever fit' "
                       "makes one", s->path);
    LEVER_TRY(get_u32(s, "lever-exit.version", &version));
    if (version == 1) return LEVER_OK;
    return lv_fail(s->err, LEVER_EUNSUP, 0, "%s: version %" PRIu32 " of exit predictors; this build reads 1",
                   s->path, version);
}

static int check_target(const source *s, lv_exit_card *c, const lv_model_id *t)
{
    LEVER_TRY(get_name(s, "lever-exit.target.name", c->target, sizeof c->target));
    LEVER_TRY(get_fingerprint(s, &c->fingerprint));
    if (c->fingerprint != t->fingerprint)
        return lv_fail(s->err, LEVER_EINVAL, 0,
                       "%s was fitted to '%s' (%016" PRIx64 "), not to '%s' (%016" PRIx64
                       "); make one for it "
                       "with 'lever fit'",
                       s->path, c->target, c->fingerprint, t->name, t->fingerprint);
    LEVER_TRY(get_u32(s, "lever-exit.n_layers", &c->n_layers));
    LEVER_TRY(get_u32(s, "lever-exit.n_embd", &c->n_embd));
    LEVER_TRY(get_u32(s, "lever-exit.n_vocab", &c->n_vocab));
    if (c->n_layers != t->n_layers) return bad(s, "lever-exit.n_layers", "is not the target's");
    if (c->n_embd != t->n_embd) return bad(s, "lever-exit.n_embd", "is not the target's");
    if (c->n_vocab != t->n_vocab) return bad(s, "lever-exit.n_vocab", "is not the target's");
    LEVER_TRY(get_u32(s, "lever-exit.layer", &c->layer));
    /* Nothing is left to save after the last layer, and no hook runs there. */
    return c->layer + 1ull < c->n_layers ? LEVER_OK
                                         : bad(s, "lever-exit.layer", "is beyond the target's layers");
}

static int get_temperature(const source *s, const char *key, float *v)
{
    LEVER_TRY(get_f32(s, key, v));
    return *v >= 1e-3f && *v <= 1e3f ? LEVER_OK : bad(s, key, "is not within 0.001..1000");
}

static int get_form(const source *s, lv_exit_card *c)
{
    char form[16];
    LEVER_TRY(get_name(s, "lever-exit.form", form, sizeof form));
    const bool tied = !strcmp(form, "tied");
    if (!tied && strcmp(form, "untied")) return bad(s, "lever-exit.form", "is neither 'tied' nor 'untied'");
    c->form = tied ? LV_EXIT_TIED : LV_EXIT_UNTIED;
    LEVER_TRY(get_u32(s, "lever-exit.rank", &c->rank));
    if (tied ? c->rank < 1 || c->rank > LV_EXIT_MAX_RANK : c->rank != 0)
        return bad(s, "lever-exit.rank", tied ? "is not within 1..1024" : "is not 0 in the untied form");
    LEVER_TRY(get_f32(s, "lever-exit.norm_eps", &c->norm_eps));
    LEVER_TRY(get_temperature(s, "lever-exit.temperature", &c->temperature));
    LEVER_TRY(get_temperature(s, "lever-exit.joint.temperature", &c->joint_temperature));
    LEVER_TRY(get_f32(s, "lever-exit.joint.draft_weight", &c->joint_draft_weight));
    if (!(c->norm_eps >= 0.0f && c->norm_eps <= 1.0f))
        return bad(s, "lever-exit.norm_eps", "is not within 0..1");
    if (!(c->joint_draft_weight >= 0.0f && c->joint_draft_weight <= 16.0f))
        return bad(s, "lever-exit.joint.draft_weight", "is not within 0..16");
    return LEVER_OK;
}

/* One array of the curve into field `at` of every point; all have the same length. */
static int get_curve(const source *s, lv_exit_card *c, const char *key, size_t at)
{
    const lv_gguf_kv *kv = lv_gguf_find(s->g, key);
    if (!kv) return bad(s, key, "is missing");
    if (kv->type != LV_GGUF_ARRAY || kv->elem_type != LV_GGUF_F32)
        return bad(s, key, "is not an array of f32");
    if (kv->n > LV_EXIT_MAX_CURVE || (at && kv->n != c->n_curve)) return bad(s, key, "has a wrong length");
    c->n_curve = (uint32_t)kv->n;
    for (uint32_t i = 0; i < c->n_curve; i++) {
        float v;
        memcpy(&v, (const char *)kv->data + i * sizeof v, sizeof v);
        if (!(v >= 0.0f && v <= 1.0f)) return bad(s, key, "has a value that is not within 0..1");
        memcpy((char *)&c->curve[i] + at, &v, sizeof v);
        if (!at && i && !(v > c->curve[i - 1].threshold)) return bad(s, key, "does not ascend");
    }
    return LEVER_OK;
}

static int get_card(const source *s, lv_exit_card *c)
{
    LEVER_TRY(get_form(s, c));
    LEVER_TRY(get_name(s, "lever-exit.draft.name", c->draft, sizeof c->draft));
    LEVER_TRY(get_u32(s, "lever-exit.fit.train_positions", &c->n_train));
    LEVER_TRY(get_u32(s, "lever-exit.fit.held_out_positions", &c->n_held));
    LEVER_TRY(get_u32(s, "lever-exit.fit.steps", &c->n_steps));
    LEVER_TRY(get_f32(s, "lever-exit.fit.kd_temperature", &c->kd_temperature));
    LEVER_TRY(get_f32(s, "lever-exit.fit.cand_temperature", &c->cand_temperature));
    LEVER_TRY(get_f32(s, "lever-exit.fit.cand_weight", &c->cand_weight));
    LEVER_TRY(get_f32(s, "lever-exit.loss.kd_before", &c->kd_before));
    LEVER_TRY(get_f32(s, "lever-exit.loss.kd", &c->kd));
    LEVER_TRY(get_f32(s, "lever-exit.loss.cand_before", &c->cand_before));
    LEVER_TRY(get_f32(s, "lever-exit.loss.cand", &c->cand));
    LEVER_TRY(get_u32(s, "lever-exit.curve.candidates", &c->n_candidates));
    LEVER_TRY(get_curve(s, c, "lever-exit.curve.threshold", offsetof(lv_exit_point, threshold)));
    LEVER_TRY(get_curve(s, c, "lever-exit.curve.edges_kept", offsetof(lv_exit_point, edges_kept)));
    LEVER_TRY(get_curve(s, c, "lever-exit.curve.true_kept", offsetof(lv_exit_point, true_kept)));
    LEVER_TRY(get_curve(s, c, "lever-exit.joint.edges_kept", offsetof(lv_exit_point, joint_edges_kept)));
    return get_curve(s, c, "lever-exit.joint.true_kept", offsetof(lv_exit_point, joint_true_kept));
}

/* ---- tensors ---- */

static int find_tensor(const source *s, const char *name, uint32_t n_dims, uint64_t rows, uint64_t cols,
                       const lv_gguf_tensor **out)
{
    const lv_gguf_tensor *t = *out = lv_gguf_find_tensor(s->g, name);
    if (!t) return lv_fail(s->err, LEVER_EFORMAT, 0, "%s: tensor '%s' is missing", s->path, name);
    const bool fits = n_dims == 1 ? t->dims[0] == cols : t->dims[0] == rows && t->dims[1] == cols;
    if (t->n_dims != n_dims || !fits)
        return lv_fail(s->err, LEVER_EFORMAT, 0,
                       "%s: tensor '%s' has %" PRIu32 " dimensions [%" PRIu64 ", %" PRIu64
                       "], expected [%" PRIu64 ", %" PRIu64 "]",
                       s->path, name, t->n_dims, t->dims[0], t->dims[1], rows, cols);
    if (!lv_type_traits_get(t->type)->dequantize)
        return lv_fail(s->err, LEVER_EUNSUP, 0, "%s: tensor '%s' has type %s", s->path, name,
                       lv_type_traits_get(t->type)->name);
    return LEVER_OK;
}

static void *take(lv_exit *e, size_t n, size_t elem_bytes)
{
    void *p = lv_alloc_array(n, elem_bytes, 64);
    if (p) e->bytes += n * elem_bytes;
    return p;
}

static int no_memory(const source *s, const char *what)
{
    return lv_fail(s->err, LEVER_ENOMEM, 0, "%s: %s", s->path, what);
}

static int check_finite(const source *s, const char *name, uint64_t row, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return lv_fail(s->err, LEVER_EFORMAT, 0,
                           "%s: tensor '%s': value %zu of row %" PRIu64 " is not a finite number", s->path,
                           name, i, row);
    return LEVER_OK;
}

/* Tensor `name` [rows][n_embd] as floats, row by row through a buffer, into *out. */
static int load_floats(lv_exit *e, const source *s, const char *name, uint32_t n_dims, uint64_t rows,
                       float **out)
{
    const lv_gguf_tensor *t;
    const size_t d = e->card.n_embd;
    LEVER_TRY(find_tensor(s, name, n_dims, rows, d, &t));
    const size_t row_bytes = lv_type_row_bytes(t->type, d);
    if (!(*out = take(e, (size_t)rows * d, sizeof **out))) return no_memory(s, name);
    uint8_t *raw = lv_alloc(row_bytes, 64);
    if (!raw) return no_memory(s, name);
    int rc = LEVER_OK;
    for (uint64_t r = 0; r < rows && rc >= 0; r++) {
        float *to = *out + r * d;
        rc = lv_file_read(&s->file, raw, row_bytes, t->offset + r * row_bytes, s->err);
        if (rc < 0) break;
        lv_type_traits_get(t->type)->dequantize(to, raw, d);
        rc = check_finite(s, name, r, to, d);
    }
    lv_free(raw);
    return rc;
}

/* The untied matrix stays in its own type; rows are widened when they are used. */
static int load_matrix(lv_exit *e, const source *s)
{
    const lv_gguf_tensor *t;
    const lv_exit_card *c = &e->card;
    LEVER_TRY(find_tensor(s, "exit.w", 2, c->n_vocab, c->n_embd, &t));
    e->w_type = t->type;
    e->w_row_bytes = lv_type_row_bytes(t->type, c->n_embd);
    if (!(e->w = take(e, c->n_vocab, e->w_row_bytes))) return no_memory(s, "exit.w");
    LEVER_TRY(lv_file_read(&s->file, e->w, c->n_vocab * e->w_row_bytes, t->offset, s->err));
    for (uint64_t r = 0; r < c->n_vocab; r++) {
        lv_type_traits_get(e->w_type)->dequantize(e->row, e->w + r * e->w_row_bytes, c->n_embd);
        LEVER_TRY(check_finite(s, "exit.w", r, e->row, c->n_embd));
    }
    return LEVER_OK;
}

static int load_tensors(lv_exit *e, const source *s)
{
    const lv_exit_card *c = &e->card;
    if (!(e->h = take(e, c->n_embd, sizeof *e->h)) || !(e->row = take(e, c->n_embd, sizeof *e->row)))
        return no_memory(s, "scratch");
    LEVER_TRY(load_floats(e, s, "exit.gain", 1, 1, &e->gain));
    if (c->form == LV_EXIT_UNTIED) return load_matrix(e, s);
    LEVER_TRY(load_floats(e, s, "exit.u", 2, c->rank, &e->u));
    return load_floats(e, s, "exit.v", 2, c->rank, &e->v);
}

/* ---- life ---- */

static int fill(lv_exit *e, source *s, const lv_model_id *target)
{
    LEVER_TRY(lv_gguf_open(&s->g, s->path, s->err));
    LEVER_TRY(check_kind(s));
    LEVER_TRY(check_target(s, &e->card, target));
    LEVER_TRY(get_card(s, &e->card));
    LEVER_TRY(lv_file_open(&s->file, s->path, s->err));
    s->file_open = true;
    LEVER_TRY(load_tensors(e, s));
    return lv_file_check(&s->file, s->err);
}

int lv_exit_open(lv_exit **out, const char *path, const lv_model_id *target, lever_error *err)
{
    *out = NULL;
    source s = { .path = path, .err = err };
    lv_exit *e = lv_alloc(sizeof *e, 64);
    if (!e) return no_memory(&s, "exit predictor");
    e->bytes = sizeof *e;
    const int rc = fill(e, &s, target);
    lv_gguf_close(&s.g);
    if (s.file_open) lv_file_close(&s.file);
    if (rc < 0) lv_exit_close(&e);
    *out = e;
    return rc;
}

void lv_exit_close(lv_exit **e)
{
    if (!e || !*e) return;
    lv_free((*e)->gain);
    lv_free((*e)->u);
    lv_free((*e)->v);
    lv_free((*e)->w);
    lv_free((*e)->h);
    lv_free((*e)->row);
    lv_free(*e);
    *e = NULL;
}

size_t lv_exit_memory_bytes(const lv_exit *e) { return e->bytes; }
const lv_exit_card *lv_exit_get_card(const lv_exit *e) { return &e->card; }
uint32_t lv_exit_layer(const lv_exit *e) { return e->card.layer; }
float lv_exit_temperature(const lv_exit *e) { return e->card.temperature; }

lv_exit_weights lv_exit_get_weights(const lv_exit *e)
{
    return (lv_exit_weights){ .gain = e->gain, .u = e->u, .v = e->v, .w_type = e->w_type, .w = e->w };
}

/* ---- scores ---- */

float lv_exit_dot(const float *a, const float *b, size_t n)
{
    float sum[16] = { 0 };
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; l++) sum[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i < n; i++, l++) sum[l] += a[i] * b[i];
    for (size_t half = 8; half; half /= 2)
        for (size_t l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

/* e->h as the head is to see it. */
static void project(lv_exit *e, const float *x)
{
    const size_t d = e->card.n_embd;
    float *h = e->h, *low = e->row;
    const float scale = 1.0f / sqrtf(lv_exit_dot(x, x, d) / (float)d + e->card.norm_eps);
    for (size_t i = 0; i < d; i++) h[i] = x[i] * scale * e->gain[i];
    if (e->card.form == LV_EXIT_UNTIED) return;
    memset(low, 0, d * sizeof *low); /* U (V^T h) */
    for (size_t j = 0; j < e->card.rank; j++) {
        const float k = lv_exit_dot(e->v + j * d, h, d);
        for (size_t i = 0; i < d; i++) low[i] += k * e->u[j * d + i];
    }
    for (size_t i = 0; i < d; i++) h[i] += low[i];
}

static int head_row(lv_exit *e, const lv_model *target, int32_t token)
{
    if (e->card.form == LV_EXIT_TIED) return lv_model_head_row(target, token, e->row);
    if (token < 0 || (uint32_t)token >= e->card.n_vocab) return LEVER_EINVAL;
    lv_type_traits_get(e->w_type)->dequantize(e->row, e->w + (size_t)token * e->w_row_bytes, e->card.n_embd);
    return LEVER_OK;
}

int lv_exit_score(lv_exit *e, const lv_model *target, const float *x, const int32_t *tokens, uint32_t n,
                  float *scores)
{
    project(e, x);
    for (uint32_t i = 0; i < n; i++) {
        LEVER_TRY(head_row(e, target, tokens[i]));
        scores[i] = lv_exit_dot(e->row, e->h, e->card.n_embd);
    }
    return LEVER_OK;
}
