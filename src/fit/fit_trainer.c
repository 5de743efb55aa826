/* SPDX-License-Identifier: MIT */
#include "fit/fit_trainer.h"

#include <math.h>
#include <string.h>

#include "model/exit_predictor.h"

struct lv_fit_trainer {
    lv_fit_trainer_config c;
    lv_fit_net   net;
    lv_fit_head *head;
    lv_cpu      *cpu;
    float *out, *d_out;     /* [batch_rows][d] what the head sees, and its gradient */
    float *z, *s;           /* [micro_rows][n_vocab] logits; s becomes the gradient by them */
    float *slice;           /* [micro_rows][chunk] gradients of a chunk, or their transpose */
    float *turned;          /* [d][chunk] head rows, or [d][micro_rows] inputs: turned */
    float *part;            /* [micro_rows][d] */
    float *scratch;         /* [n_threads][n_vocab] */
};

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

static bool is_tied(const lv_fit_trainer_config *c) { return c->shape.form == LV_EXIT_TIED; }

uint64_t lv_fit_trainer_memory_bytes(const lv_fit_trainer_config *c, size_t chunk)
{
    const uint64_t d = c->shape.n_embd, v = c->shape.n_vocab, mb = c->micro_rows;
    const uint64_t floats =
        2 * c->batch_rows * d + 2 * mb * v + mb * chunk + d * max_size(chunk, mb) + mb * d + c->n_threads * v;
    return lv_fit_net_memory_bytes(&c->shape, c->batch_rows) + floats * sizeof(float) + 4096;
}

void lv_fit_trainer_cpu(const lv_fit_trainer_config *c, const lv_fit_head_place *head, lv_cpu_config *out)
{
    const size_t chunk = lv_fit_head_chunk(head);
    out->max_rows = is_tied(c) ? c->micro_rows : max_size(chunk, c->micro_rows);
    out->max_k = max_size(max_size(c->shape.n_embd, chunk), c->micro_rows);
    out->act_kinds = 1u << LV_ACT_F32 | 1u << lv_type_act_kind(head->type);
    out->max_ctx = out->max_head_dim = 1; /* nothing attends here */
}

/* W begins as the head: then the predictor is the logit lens, as in the tied form. */
static int copy_head(lv_fit_trainer *t, lever_error *err)
{
    const size_t d = t->c.shape.n_embd, n = t->c.shape.n_vocab;
    for (size_t at = 0, k; at < n; at += k) {
        const float *rows;
        k = n - at < t->head->chunk ? n - at : t->head->chunk;
        LEVER_TRY(lv_fit_head_rows(t->head, t->cpu, at, k, &rows, err));
        memcpy(t->net.p + at * d, rows, k * d * sizeof *rows);
    }
    return LEVER_OK;
}

static int fill(lv_fit_trainer *t, const float *gain0, lever_error *err)
{
    const lv_fit_trainer_config *c = &t->c;
    const size_t d = c->shape.n_embd, v = c->shape.n_vocab, mb = c->micro_rows, chunk = t->head->chunk;
    LEVER_TRY(lv_fit_net_init(&t->net, &c->shape, gain0, c->batch_rows, c->seed, err));
    t->out = lv_alloc_array(c->batch_rows, d * sizeof(float), 64);
    t->d_out = lv_alloc_array(c->batch_rows, d * sizeof(float), 64);
    t->z = lv_alloc_array(mb, v * sizeof(float), 64);
    t->s = lv_alloc_array(mb, v * sizeof(float), 64);
    t->slice = lv_alloc_array(mb, chunk * sizeof(float), 64);
    t->turned = lv_alloc_array(d, max_size(chunk, mb) * sizeof(float), 64);
    t->part = lv_alloc_array(mb, d * sizeof(float), 64);
    t->scratch = lv_alloc_array(c->n_threads, v * sizeof(float), 64);
    if (!t->out || !t->d_out || !t->z || !t->s || !t->slice || !t->turned || !t->part || !t->scratch)
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the training");
    return is_tied(c) ? LEVER_OK : copy_head(t, err);
}

int lv_fit_trainer_open(lv_fit_trainer **out, const lv_fit_trainer_config *c, const float *gain0,
                        lv_fit_head *head, lv_cpu *cpu, lever_error *err)
{
    *out = NULL;
    lv_fit_trainer *t = lv_alloc(sizeof *t, 64);
    if (!t) return lv_fail(err, LEVER_ENOMEM, 0, "training state");
    t->c = *c;
    t->head = head;
    t->cpu = cpu;
    const int rc = fill(t, gain0, err);
    if (rc < 0) lv_fit_trainer_close(&t);
    *out = t;
    return rc;
}

void lv_fit_trainer_close(lv_fit_trainer **tp)
{
    lv_fit_trainer *t = tp ? *tp : NULL;
    if (!t) return;
    lv_fit_net_fini(&t->net);
    lv_free(t->out);
    lv_free(t->d_out);
    lv_free(t->z);
    lv_free(t->s);
    lv_free(t->slice);
    lv_free(t->turned);
    lv_free(t->part);
    lv_free(t->scratch);
    lv_free(t);
    *tp = NULL;
}

lv_fit_net *lv_fit_trainer_net(lv_fit_trainer *t) { return &t->net; }

/* ---- logits ---- */

static size_t chunk_at(const lv_fit_trainer *t, size_t at)
{
    const size_t left = t->c.shape.n_vocab - at;
    return left < t->head->chunk ? left : t->head->chunk;
}

/* The target's, with the product that its own projection uses: the same bits. */
static int target_logits(lv_fit_trainer *t, const float *final, uint32_t rows, lever_error *err)
{
    const uint32_t type = t->head->place.type;
    const size_t d = t->c.shape.n_embd, n = t->c.shape.n_vocab;
    lv_cpu_pack(t->cpu, (enum lv_act_kind)lv_type_act_kind(type), final, rows, d);
    for (size_t at = 0, k; at < n; at += k) {
        const uint8_t *raw;
        k = chunk_at(t, at);
        LEVER_TRY(lv_fit_head_raw(t->head, at, k, &raw, err));
        lv_cpu_matmul(t->cpu, t->z + at, n, type, raw, k, rows, d);
    }
    return LEVER_OK;
}

static int guessed_logits(lv_fit_trainer *t, const float *out, uint32_t rows, lever_error *err)
{
    const size_t d = t->c.shape.n_embd, n = t->c.shape.n_vocab;
    lv_cpu_pack(t->cpu, LV_ACT_F32, out, rows, d);
    for (size_t at = 0, k; at < n; at += k) {
        const float *w = t->net.p + at * d;
        k = chunk_at(t, at);
        if (is_tied(&t->c)) LEVER_TRY(lv_fit_head_rows(t->head, t->cpu, at, k, &w, err));
        lv_cpu_matmul(t->cpu, t->s + at, n, LV_TYPE_F32, w, k, rows, d);
    }
    return LEVER_OK;
}

/* ---- losses: s becomes the gradient by s ---- */

typedef struct loss_job {
    lv_fit_trainer *t;
    const int32_t *cands; /* [rows][LV_FIT_CANDIDATES] */
    lv_fit_scored *out;   /* [rows] */
} loss_job;

static void loss_of(const loss_job *j, size_t b, float *scratch)
{
    const lv_fit_trainer_config *c = &j->t->c;
    const lv_kernels *k = lv_cpu_kernels(j->t->cpu);
    const size_t n = c->shape.n_vocab;
    const int32_t *cands = j->cands + b * LV_FIT_CANDIDATES;
    float *z = j->t->z + b * n, *s = j->t->s + b * n, grad[LV_FIT_CANDIDATES];
    lv_fit_scored *out = &j->out[b];
    uint32_t n_cands = 0;
    *out = (lv_fit_scored){ .choice = (int32_t)k->argmax(z, n) };
    for (; n_cands < LV_FIT_CANDIDATES && cands[n_cands] >= 0; n_cands++) {
        out->z[n_cands] = z[cands[n_cands]];
        out->s[n_cands] = s[cands[n_cands]];
    }
    if (n_cands) out->cand = lv_fit_loss_cand(out->z, out->s, n_cands, c->cand_temperature, grad);
    out->kd = lv_fit_loss_kd(k, z, s, n, c->kd_temperature, scratch);
    for (uint32_t i = 0; i < n_cands; i++) s[cands[i]] += c->cand_weight * grad[i];
}

static void loss_some(void *arg, size_t begin, size_t end, unsigned thread)
{
    const loss_job *j = arg;
    for (size_t b = begin; b < end; b++) loss_of(j, b, j->t->scratch + thread * j->t->c.shape.n_vocab);
}

static int losses(lv_fit_trainer *t, const int32_t *cands, uint32_t rows, lv_fit_scored *out,
                  lever_error *err)
{
    loss_job j = { .t = t, .cands = cands, .out = out };
    lv_cpu_run(t->cpu, rows, 1, loss_some, &j);
    for (uint32_t b = 0; b < rows; b++)
        if (!isfinite(out[b].kd) || !isfinite(out[b].cand))
            return lv_fail(
                err, LEVER_EFORMAT, 0,
                "logits of a position are not finite: the target's weights are damaged, or the training "
                "diverged (then lower --rate)");
    return LEVER_OK;
}

/* ---- gradients ---- */

typedef struct turn_job {
    float *to;         /* [cols][rows] */
    const float *from; /* [rows][ld] */
    size_t rows, ld;
} turn_job;

static void turn_some(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const turn_job *j = arg;
    enum { SIDE = 16 }; /* values of a cache line: each is used as a whole */
    for (size_t r0 = 0; r0 < j->rows; r0 += SIDE)
        for (size_t c = begin; c < end; c++)
            for (size_t r = r0; r < r0 + SIDE && r < j->rows; r++)
                j->to[c * j->rows + r] = j->from[r * j->ld + c];
}

static void turn(lv_cpu *cpu, float *to, const float *from, size_t rows, size_t cols, size_t ld)
{
    turn_job j = { .to = to, .from = from, .rows = rows, .ld = ld };
    lv_cpu_run(cpu, cols, 32, turn_some, &j);
}

/* d_out [rows][d] = G E, G [rows][n_vocab] lying in s. */
static int gradient_tied(lv_fit_trainer *t, uint32_t rows, float *d_out, lever_error *err)
{
    const size_t d = t->c.shape.n_embd, n = t->c.shape.n_vocab;
    memset(d_out, 0, rows * d * sizeof *d_out);
    for (size_t at = 0, k; at < n; at += k) {
        const float *w;
        k = chunk_at(t, at);
        LEVER_TRY(lv_fit_head_rows(t->head, t->cpu, at, k, &w, err));
        turn(t->cpu, t->turned, w, k, d, d);
        for (size_t b = 0; b < rows; b++) memcpy(t->slice + b * k, t->s + b * n + at, k * sizeof *t->slice);
        lv_cpu_pack(t->cpu, LV_ACT_F32, t->slice, rows, k);
        lv_cpu_matmul(t->cpu, t->part, d, LV_TYPE_F32, t->turned, d, rows, k);
        lv_cpu_add(t->cpu, d_out, t->part, rows * d);
    }
    return LEVER_OK;
}

/* g [n_vocab][d] = G^T out */
static void gradient_untied(lv_fit_trainer *t, uint32_t rows, const float *out)
{
    const size_t d = t->c.shape.n_embd, n = t->c.shape.n_vocab;
    turn(t->cpu, t->turned, out, rows, d, d);
    for (size_t at = 0, k; at < n; at += k) {
        k = chunk_at(t, at);
        turn(t->cpu, t->slice, t->s + at, rows, k, n);
        lv_cpu_pack(t->cpu, LV_ACT_F32, t->slice, k, rows);
        lv_cpu_matmul(t->cpu, t->net.g + at * d, d, LV_TYPE_F32, t->turned, d, k, rows);
    }
}

int lv_fit_trainer_run(lv_fit_trainer *t, const lv_fit_batch *b, bool with_gradient, lv_fit_scored *scored,
                       lever_error *err)
{
    const size_t d = t->c.shape.n_embd;
    lv_fit_net_forward(&t->net, t->cpu, b->x, b->rows, t->out);
    for (uint32_t at = 0, k; at < b->rows; at += k) {
        k = b->rows - at < t->c.micro_rows ? b->rows - at : t->c.micro_rows;
        LEVER_TRY(target_logits(t, b->final + at * d, k, err));
        LEVER_TRY(guessed_logits(t, t->out + at * d, k, err));
        LEVER_TRY(losses(t, b->cands + (size_t)at * LV_FIT_CANDIDATES, k, scored + at, err));
        if (!with_gradient) continue;
        if (is_tied(&t->c)) LEVER_TRY(gradient_tied(t, k, t->d_out + at * d, err));
        else gradient_untied(t, k, t->out + at * d);
    }
    if (with_gradient && is_tied(&t->c)) lv_fit_net_backward(&t->net, t->cpu, b->x, b->rows, t->d_out);
    return LEVER_OK;
}
