/* SPDX-License-Identifier: MIT */
#include "plan/sweep_time.h"

#include "base/hash.h"
#include "quant/quant.h"

/* How device/cpu/cpu.c cuts operations: smaller ones than HANDED_OVER stay on one thread. */
enum { HANDED_OVER = 1 << 16, ROW_GROUP = 16, ADD_PART = 16384, SWIGLU_PART = 4096, EXTENT_USUAL = 4 << 20 };

/* ---- shapes ---- */

uint64_t lv_model_shape_key(const lv_model_shape *s)
{
    uint64_t key = 0;
    const uint64_t head[] = { s->n_layers, s->n_embd,  s->n_ff,    s->n_heads,  s->n_kv_heads,
                              s->head_dim, s->n_vocab, s->qk_norm, s->qkv_bias, s->head_type };
    key = lv_hash64(head, sizeof head);
    for (uint32_t i = 0; i < s->n_matrices; i++) {
        const lv_shape_matrix *m = &s->matrices[i];
        const uint64_t of[] = { key, m->type, m->rows, m->cols, m->count, m->packs };
        key = lv_hash64(of, sizeof of);
    }
    return key;
}

bool lv_model_shape_add(lv_model_shape *s, uint32_t type, uint64_t rows, uint64_t cols, bool packs)
{
    uint32_t i = 0;
    while (i < s->n_matrices &&
           (s->matrices[i].type != type || s->matrices[i].rows != rows || s->matrices[i].cols != cols))
        i++;
    if (i == LV_SHAPE_MATRICES) return false;
    if (i == s->n_matrices)
        s->matrices[s->n_matrices++] = (lv_shape_matrix){ .type = type, .rows = rows, .cols = cols };
    s->matrices[i].count++;
    s->matrices[i].packs += packs;
    return true;
}

static double matrix_weights(const lv_shape_matrix *m) { return (double)m->rows * (double)m->cols; }

static double matrix_bytes(const lv_shape_matrix *m)
{
    return (double)m->rows * (double)lv_type_row_bytes(m->type, m->cols);
}

double lv_model_shape_weights(const lv_model_shape *s)
{
    double n = 0;
    for (uint32_t i = 0; i < s->n_matrices; i++) n += s->matrices[i].count * matrix_weights(&s->matrices[i]);
    return n;
}

double lv_model_shape_bytes(const lv_model_shape *s)
{
    double n = 0;
    for (uint32_t i = 0; i < s->n_matrices; i++) n += s->matrices[i].count * matrix_bytes(&s->matrices[i]);
    return n;
}

/* ---- operations that the CPU may spread over its threads (device/cpu/cpu.c) ---- */

/* n values in `parts`, each value worth `work` multiply-adds. */
static double op_s(const lv_run_on *on, double n, double each, double work, double parts)
{
    if (n * work < HANDED_OVER) return n * each;
    double at_once = on->machine->id.n_threads;
    if (parts < at_once) at_once = parts;
    return n * each / (at_once > 1 ? at_once : 1) + on->machine->rest.op_s;
}

static double pack_s(const lv_run_on *on, const lv_machine_device *d, uint32_t type, double rows, double cols)
{
    const double all = lv_machine_pack_s(d, type, rows, cols);
    if (d != &on->machine->devices[0]) return all; /* whoever submits packs */
    return op_s(on, rows * cols, all / (rows * cols), 1, rows / ROW_GROUP);
}

/* ---- products ---- */

/* The device where a type is multiplied, or NULL. */
static const lv_machine_device *device_for(const lv_run_on *on, uint32_t type)
{
    if (on->products && lv_machine_knows(on->products, type)) return on->products;
    return on->machine->n_devices ? &on->machine->devices[0] : NULL;
}

/* Jobs beside their products: of `count` matrices, where `packs` have rows of their own and a share of all
 * bytes comes in slices. A device takes matrices that share rows in one job; the CPU takes each for itself.
 */
static double calls_s(const lv_run_on *on, const lv_machine_device *d, const lv_shape_matrix *m,
                      double streamed)
{
    const bool cpu = d == &on->machine->devices[0];
    const double extent = on->extent_bytes ? (double)on->extent_bytes : EXTENT_USUAL, bytes = matrix_bytes(m);
    const double slices = bytes > extent ? bytes / extent : 1;
    const double whole = (1 - streamed) * (cpu ? m->count : m->packs), parts = streamed * m->count * slices;
    const double moved = d->give_s + d->take_s + (d->unified ? 0 : d->give_byte_s * bytes / slices);
    return (whole + parts) * d->call_s + (cpu ? 0 : parts * moved);
}

static bool add_products(lv_sweep_cost *c, const lv_run_on *on, const lv_model_shape *s, double rows)
{
    const double bytes = lv_model_shape_bytes(s);
    const double streamed = bytes > 0 && (double)on->streamed_bytes < bytes
                                ? (double)on->streamed_bytes / bytes
                            : on->streamed_bytes ? 1
                                                 : 0;
    for (uint32_t i = 0; i < s->n_matrices; i++) {
        const lv_shape_matrix *m = &s->matrices[i];
        const lv_machine_device *d = device_for(on, m->type);
        const double products =
            d ? lv_machine_products_s(d, m->type, m->count * matrix_weights(m), rows) : -1;
        if (products < 0) return false;
        c->products += products;
        c->pack += m->packs * pack_s(on, d, m->type, rows, (double)m->cols);
        c->calls += calls_s(on, d, m, streamed);
    }
    return true;
}

/* ---- the rest ---- */

static double rest_s(const lv_run_on *on, const lv_model_shape *s, double rows)
{
    const lever_machine_rest *r = &on->machine->rest;
    const double embd = rows * s->n_embd, ff = rows * s->n_ff, head = rows * s->head_dim;
    const double q = head * s->n_heads, kv = head * s->n_kv_heads;
    const double rope = s->qk_norm ? r->rope_norm_s : r->rope_s;
    const double norm = op_s(on, embd, r->norm_s, 1, rows);
    double layer = 2 * norm + 2 * op_s(on, embd, r->add_s, 1, embd / ADD_PART);
    layer += op_s(on, q, rope, 2, rows) + op_s(on, kv, rope, 2, rows);
    layer += op_s(on, 2 * kv, r->write_s[on->kv], 4, rows);
    layer += op_s(on, ff, r->swiglu_s, 8, ff / SWIGLU_PART);
    if (s->qkv_bias) layer += op_s(on, q, r->add_s, 1, rows / 4) + 2 * op_s(on, kv, r->add_s, 1, rows / 4);
    return s->n_layers * layer + norm;
}

static double attend_s(const lv_run_on *on, const lv_model_shape *s, double rows)
{
    const lever_machine_rest *r = &on->machine->rest;
    const double work = rows * s->n_heads * s->head_dim * on->n_ctx;
    double each[LEVER_MACHINE_ROWS]; /* per row: it falls with rows, so what is read off is the whole batch */
    for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++)
        each[i] = r->attend_s[on->kv][i] * lever_machine_rows[i];
    return s->n_layers * (work / rows * lv_machine_at(each, rows) + (work >= HANDED_OVER ? r->op_s : 0));
}

/* ---- together ---- */

/* Two jobs of a and b seconds at once: while both run, a takes slow_a times as long and b goes at a share of
 * its speed; who is left goes on alone. */
static double at_once(double a, double b, double slow_a, double share_b)
{
    const double a_done = a * slow_a, b_done = b / share_b;
    return a_done >= b_done ? b_done + a - b_done / slow_a : a_done + b - a_done * share_b;
}

/* On the CPU or, with a device, there; a model that did not run there is as far off as on the CPU. */
static const lever_machine_model *measured_model(const lv_run_on *on, const lv_model_shape *s,
                                                 const lv_machine_device *d)
{
    if (on->uncorrected) return NULL;
    const lever_machine_model *there = d ? lv_machine_model_find(on->machine, s->key, d) : NULL;
    return there ? there : lv_machine_model_find(on->machine, s->key, NULL);
}

bool lv_sweep_time(lv_sweep_cost *out, const lv_run_on *on, const lv_model_shape *s, double rows)
{
    static const lever_machine_beside nothing;
    *out = (lv_sweep_cost){ 0 };
    if (!add_products(out, on, s, rows)) return false;
    out->rest = rest_s(on, s, rows);
    out->attend = attend_s(on, s, rows);
    out->compute = (out->products + out->pack + out->calls + out->rest + out->attend) *
                   lv_machine_factor(measured_model(on, s, on->products), rows);
    const double speed = on->flash_bytes_s > 0 ? on->flash_bytes_s : lv_machine_flash_bytes_s(on->flash);
    const lever_machine_beside *b = on->flash ? &on->flash->beside : &nothing;
    out->flash = speed > 0 ? (double)on->streamed_bytes / speed : 0;
    out->sweep = at_once(out->compute, out->flash, lv_machine_products_beside(b, rows),
                         lv_machine_flash_beside(b, rows));
    return true;
}

uint32_t lv_rows_for_device(const lv_run_on *on, const lv_model_shape *s)
{
    lv_run_on cpu = *on;
    cpu.products = NULL;
    uint32_t from = LV_ROWS_NEVER;
    for (uint32_t i = LEVER_MACHINE_ROWS; i-- > 0; from = lever_machine_rows[i]) {
        const uint32_t rows = lever_machine_rows[i];
        lv_sweep_cost there, here;
        if (!lv_sweep_time(&there, on, s, rows) || !lv_sweep_time(&here, &cpu, s, rows)) return 1;
        if (there.compute > here.compute) break;
    }
    return from;
}

double lv_project_s(const lv_run_on *on, const lv_model_shape *s, double rows)
{
    lv_run_on head = *on;
    if (!on->head_on_device) head.products = NULL;
    const lv_machine_device *d = device_for(&head, s->head_type);
    const double weights = (double)s->n_vocab * s->n_embd;
    const double products = d ? lv_machine_products_s(d, s->head_type, weights, rows) : -1;
    if (products < 0) return -1;
    const lever_machine_model *m = measured_model(on, s, NULL);
    const double all = products + pack_s(on, d, s->head_type, rows, s->n_embd) + d->call_s;
    return all * (m && m->project_factor > 0 ? m->project_factor : 1);
}

double lv_draft_s(const lv_run_on *on, const lv_model_shape *s, double rows)
{
    lv_run_on resident = *on;
    resident.streamed_bytes = 0;
    lv_sweep_cost c;
    const double head = lv_project_s(on, s, rows);
    return head >= 0 && lv_sweep_time(&c, &resident, s, rows) ? c.sweep + head : -1;
}

double lv_candidates_s(const lv_run_on *on, const lv_model_shape *s)
{
    return on->machine->rest.candidates_s * s->n_vocab;
}

double lv_pick_s(const lv_run_on *on, const lv_model_shape *s)
{
    return on->machine->rest.pick_s * s->n_vocab;
}
