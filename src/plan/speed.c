/* SPDX-License-Identifier: MIT */
#include "plan/speed.h"

#include <math.h>

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }

/* ---- curves ---- */

double lv_curve_at(const lv_rows_curve *c, double rows, double otherwise)
{
    if (c->n == 0) return otherwise;
    if (c->n == 1 || rows <= c->rows[0]) return c->value[0];
    uint32_t i = 1;
    while (i + 1 < c->n && rows > c->rows[i]) i++;
    const double slope = (c->value[i] - c->value[i - 1]) / (c->rows[i] - c->rows[i - 1]);
    const double y = c->value[i - 1] + slope * (rows - c->rows[i - 1]);
    return y > 0 ? y : 0; /* a falling last piece ends somewhere */
}

bool lv_curve_add(lv_rows_curve *c, double rows, double value)
{
    if (c->n == LV_CURVE_POINTS) return false;
    c->rows[c->n] = rows;
    c->value[c->n++] = value;
    return true;
}

/* ---- what can be computed with ---- */

static bool within(double x, double lo, double hi) { return x >= lo && x <= hi; } /* false for NaN */

static bool curve_valid(const lv_rows_curve *c, double lo, double hi)
{
    if (c->n > LV_CURVE_POINTS) return false;
    for (uint32_t i = 0; i < c->n; i++)
        if (!within(c->rows[i], 1, 1e6) || !within(c->value[i], lo, hi) || (i && !(c->rows[i] > c->rows[i - 1])))
            return false;
    return true;
}

bool lv_speed_costs_valid(const lv_speed_costs *c)
{
    static const double bytes = 1e15, seconds = 1e6;
    if (c->n_layers < 1 || c->n_layers > 1 << 16 || c->exit_layer > c->n_layers || c->sweep.n == 0) return false;
    if (!within(c->streamed_bytes, 0, bytes) || !within(c->head_bytes, 0, bytes) || !within(c->ring_bytes, 0, bytes))
        return false;
    for (uint32_t i = 0; c->layer_bytes && i < c->n_layers; i++)
        if (!within(c->layer_bytes[i], 0, bytes)) return false;
    if (!within(c->flash_bytes_s, c->streamed_bytes + c->head_bytes > 0 ? 1e3 : 0, bytes)) return false;
    return curve_valid(&c->sweep, 0, seconds) && curve_valid(&c->project, 0, seconds) &&
           curve_valid(&c->draft, 0, seconds) && curve_valid(&c->products_beside, 1, 100) &&
           curve_valid(&c->flash_beside, 0.01, 1) && within(c->draft_first_s, 0, seconds) &&
           within(c->candidates_s, 0, seconds) && within(c->pick_s, 0, seconds) &&
           within(c->cycle_s, 0, seconds) && within(c->row_s, 0, seconds);
}

/* ---- one cycle ---- */

typedef struct pipe {
    const lv_speed_costs *c;
    double ring;   /* bytes that lie ready */
    double wait_s;
} pipe;

/* Time passes with `compute` seconds of products on so many rows, that need `bytes` of the stream. Reads go on
 * beside them while there is room: each slows the other down, but only for as long as both run. */
static double advance(pipe *p, double compute, double bytes, double rows)
{
    const lv_speed_costs *c = p->c;
    if (c->flash_bytes_s <= 0 || c->streamed_bytes + c->head_bytes <= 0) return compute;
    const double slow = lv_curve_at(&c->products_beside, rows, 1);
    const double beside = c->flash_bytes_s * lv_curve_at(&c->flash_beside, rows, 1);
    const double reading = (c->ring_bytes - p->ring + bytes) / beside; /* until the ring is full */
    const double products = compute * slow <= reading ? compute * slow : compute + reading * (1 - 1 / slow);
    const double got = p->ring + beside * products; /* when the products could be done */
    const double wait = most(0, (bytes - got) / c->flash_bytes_s);
    p->wait_s += wait;
    p->ring = most(0, least(c->ring_bytes, got - bytes));
    return products + wait;
}

static double layer_bytes(const lv_speed_costs *c, uint32_t i)
{
    return c->layer_bytes ? c->layer_bytes[i] : c->streamed_bytes / c->n_layers;
}

void lv_speed_cycle(const lv_speed_costs *c, const lv_speed_work *w, double *ring, lv_speed_parts *out)
{
    pipe p = { .c = c, .ring = *ring };
    *out = (lv_speed_parts){ 0 };
    out->draft_s = advance(&p, w->draft_s, 0, most(1, w->draft_rows));
    p.wait_s = 0; /* the draft needs no reads */
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const double rows = c->exit_layer && i >= c->exit_layer ? most(1, w->rows * w->kept) : w->rows;
        out->sweep_s += advance(&p, lv_curve_at(&c->sweep, rows, 0) / c->n_layers, layer_bytes(c, i), rows);
        out->flash_s += layer_bytes(c, i);
    }
    out->sweep_s += c->row_s * w->rows;
    out->sweep_wait_s = p.wait_s;
    const double head = lv_curve_at(&c->project, w->head_rows, 0) * w->head_passes;
    out->project_s = advance(&p, head, c->head_bytes, w->head_rows) + advance(&p, c->pick_s * w->tokens, 0, 1);
    out->other_s = advance(&p, c->cycle_s, 0, 1);
    out->wait_s = p.wait_s;
    out->flash_s = c->flash_bytes_s > 0 ? (out->flash_s + c->head_bytes) / c->flash_bytes_s : 0;
    out->cycle_s = out->draft_s + out->sweep_s + out->project_s + out->other_s;
    *ring = p.ring;
}

void lv_speed_steady(const lv_speed_costs *c, const lv_speed_work *w, lv_speed_parts *out)
{
    double ring = 0, before;
    int n = 0;
    do {
        before = ring;
        lv_speed_cycle(c, w, &ring, out);
    } while (fabs(ring - before) > 1e-6 * c->ring_bytes && ++n < 16);
}

enum lv_speed_bound lv_speed_bound(const lv_speed_parts *p)
{
    static const double notable = 0.1;
    const double target = p->sweep_s + p->project_s;
    if (p->draft_s > target) return LV_BOUND_DRAFT;
    return p->wait_s > notable * target ? LV_BOUND_FLASH : LV_BOUND_COMPUTE;
}

/* ---- chains ---- */

double lv_speed_chain_tokens(const double *p, uint32_t k)
{
    double tokens = 1, path = 1;
    for (uint32_t i = 0; i < k; i++) tokens += path *= p[i];
    return tokens;
}

double lv_speedup_of_chain(double alpha, uint32_t g, double c)
{
    double tokens = 1, path = 1;
    for (uint32_t i = 0; i < g; i++) tokens += path *= alpha;
    return tokens / (g * c + 1);
}
