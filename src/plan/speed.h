/* Seconds of one cycle of a configuration, predicted from what its parts take (docs/plan.md).
 *
 *   tokens/s = tokens per cycle / (draft + sweep + projection + choice)
 *
 * A sweep is a line of layers. Reads run ahead of them into the ring, across layers and across the end of a cycle,
 * for as long as there is room; a layer begins when the one before is done and ends when its products are done and
 * its bytes have come. So of a layer's reads only those count that the ring has not brought before.
 * Does not: know models or machines (engine/advise.c fills the costs), policies (plan/speed_policy.h), or memory.
 * Units: seconds, bytes, rows. Threading: pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_SPEED_H
#define LEVER_PLAN_SPEED_H

#include <stdbool.h>
#include <stdint.h>

enum { LV_CURVE_POINTS = 20 };

/* A value by number of rows: straight between points; below the first as the first, beyond the last on along the last
 * piece. n = 0: nothing is known. */
typedef struct lv_rows_curve {
    uint32_t n;                /* <= LV_CURVE_POINTS */
    double rows[LV_CURVE_POINTS], value[LV_CURVE_POINTS]; /* rows ascending, >= 1 */
} lv_rows_curve;

/* `otherwise` where nothing is known. */
double lv_curve_at(const lv_rows_curve *c, double rows, double otherwise);
/* Append a point, behind the others. False: there are too many. */
bool   lv_curve_add(lv_rows_curve *c, double rows, double value);

typedef struct lv_speed_costs {
    uint32_t n_layers;           /* of the target, >= 1 */
    const double *layer_bytes;   /* [n_layers] streamed of each per sweep, borrowed; NULL: streamed_bytes evenly */
    double streamed_bytes;       /* of all layers */
    double head_bytes;           /* of the output head, where it is streamed; 0: it is in memory */
    double ring_bytes;           /* that can lie ready */
    double flash_bytes_s;        /* of reads alone; > 0 where something is streamed */
    lv_rows_curve sweep;         /* products of all layers, without reads; >= 1 point */
    lv_rows_curve project;       /* of the output head */
    lv_rows_curve draft;         /* of a batch, its head included; empty: there is no draft */
    double draft_first_s;        /* the first batch of a cycle takes so much longer: the target's sweep was before it */
    lv_rows_curve products_beside; /* how many times as long products take beside reads, >= 1; empty: 1 */
    lv_rows_curve flash_beside;    /* share of its speed that flash keeps beside products; empty: 1 */
    double candidates_s;         /* of a drafted node: its best continuations */
    double pick_s;               /* of a token of text: the target's choice */
    double cycle_s;              /* of a cycle, beside all this */
    double row_s;                /* of a verified row, beside its products: reading its embedding */
    uint32_t exit_layer;         /* rows may go after so many layers; 0: none ever does */
} lv_speed_costs;

/* Every number finite and in range: what costs made of a file's numbers must pass. */
bool lv_speed_costs_valid(const lv_speed_costs *c);

/* What one cycle has to do. */
typedef struct lv_speed_work {
    double draft_s;       /* drafting, reads left aside */
    double draft_rows;    /* of a batch of the draft, in the mean; below 1 counts as 1 */
    double rows;          /* of the sweep, >= 1 */
    double kept;          /* share of them that goes on after exit_layer; 0..1, 1 without one */
    double tokens;        /* of text that come of it, >= 1 */
    double head_passes;   /* times the head is multiplied */
    double head_rows;     /* rows of each */
} lv_speed_work;

enum lv_speed_bound { LV_BOUND_FLASH, LV_BOUND_COMPUTE, LV_BOUND_DRAFT };

typedef struct lv_speed_parts {
    double draft_s, sweep_s, project_s, other_s; /* their sum is cycle_s */
    double sweep_wait_s;  /* part of the sweep: products waited for reads */
    double wait_s;        /* the same of sweep and projection */
    double flash_s;       /* what the reads of a cycle take at full speed */
    double cycle_s;
} lv_speed_parts;

/* One cycle that begins with *ring bytes read ahead (0..ring_bytes) and leaves that many for the next. */
void lv_speed_cycle(const lv_speed_costs *c, const lv_speed_work *w, double *ring, lv_speed_parts *out);
/* The same cycle again and again, until the ring is at its end as at its beginning. */
void lv_speed_steady(const lv_speed_costs *c, const lv_speed_work *w, lv_speed_parts *out);
/* What a faster part would help most. */
enum lv_speed_bound lv_speed_bound(const lv_speed_parts *p);

/* Tokens of a cycle with a chain of k whose i-th token is right with p[i - 1] when those before it are:
 * 1 + p1 + p1 p2 + ... */
double lv_speed_chain_tokens(const double *p, uint32_t k);
/* METHODS.md section 2: speed with chains of g tokens, each right with alpha, over speed without, when a draft step
 * costs c target steps and a verification as much as a step. */
double lv_speedup_of_chain(double alpha, uint32_t g, double c);

#endif
