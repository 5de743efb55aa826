/* How long a model takes on a measured machine: products, and everything beside them, by rows.
 * Does not: open files or look at the machine; shapes are filled by plan/model_shape.h, made up in tests, or
 * those of a model nobody has. Threading: pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_SWEEP_TIME_H
#define LEVER_PLAN_SWEEP_TIME_H

#include "plan/machine.h"

enum { LV_SHAPE_MATRICES = 48 };

/* Matrices of one type and size in the layers of a model. */
typedef struct lv_shape_matrix {
    uint32_t type; /* GGUF number */
    uint64_t rows, cols;
    uint32_t count; /* of them, in all layers together */
    uint32_t packs; /* of them, how many have their rows packed anew: not k and v after q */
} lv_shape_matrix;

typedef struct lv_model_shape {
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab;
    bool qk_norm, qkv_bias;
    uint32_t head_type; /* of the output head [n_vocab][n_embd] */
    uint32_t n_matrices;
    lv_shape_matrix matrices[LV_SHAPE_MATRICES]; /* without the output head */
    uint64_t key; /* lv_model_shape_key of this; which measured factors apply */
} lv_model_shape;

/* From all the fields but key: equal sizes and types give the same. */
uint64_t lv_model_shape_key(const lv_model_shape *s);
/* Count a matrix in. False: LV_SHAPE_MATRICES different ones are there already. */
bool lv_model_shape_add(lv_model_shape *s, uint32_t type, uint64_t rows, uint64_t cols, bool packs);
double lv_model_shape_weights(const lv_model_shape *s); /* of all layers */
double lv_model_shape_bytes(const lv_model_shape *s);

/* Where and how the layers of a model run. */
typedef struct lv_run_on {
    const lv_machine *machine;
    const lv_machine_device *products; /* NULL: the CPU. Types it has no product for run on the CPU too */
    bool head_on_device;           /* the output head runs there too, not on the CPU */
    uint32_t n_ctx;                /* positions each row attends to */
    uint32_t kv;                   /* 0 F16, 1 Q8_0 */
    uint64_t streamed_bytes;       /* of the layers, per sweep; 0: all is in memory */
    uint64_t extent_bytes;         /* streamed weights are multiplied in slices of this; 0: 4 MiB */
    const lv_machine_flash *flash; /* NULL: reads cost nothing */
    double flash_bytes_s;          /* 0: as the flash was measured; else this, e.g. a limit */
    bool uncorrected;              /* without the factors of measured models */
} lv_run_on;

/* Parts of one sweep, in seconds. */
typedef struct lv_sweep_cost {
    double products, pack, calls, rest, attend; /* of the processor alone */
    double compute;                             /* their sum, times the model's factor */
    double flash;                               /* reads of the streamed bytes, alone */
    double sweep; /* both at once: the longer of the two, slowed down while the other runs */
} lv_sweep_cost;

/* A sweep of `rows` rows over all layers, without the output head. False: products were not measured. */
bool lv_sweep_time(lv_sweep_cost *out, const lv_run_on *on, const lv_model_shape *s, double rows);
/* The smallest number of rows from which on products on on->products are as fast as on the CPU, reads aside; 1 where
 * that was not measured; LV_ROWS_NEVER where the CPU is faster with as many rows as were measured. */
#define LV_ROWS_NEVER UINT32_MAX
uint32_t lv_rows_for_device(const lv_run_on *on, const lv_model_shape *s);
/* Output head for `rows` rows, in memory. -1: as above. */
double lv_project_s(const lv_run_on *on, const lv_model_shape *s, double rows);
/* A batch of a draft that is in memory: layers and head for all its rows, candidates not included. -1: as
 * above. */
double lv_draft_s(const lv_run_on *on, const lv_model_shape *s, double rows);
/* Candidates of one drafted row; the target's choice of one token. */
double lv_candidates_s(const lv_run_on *on, const lv_model_shape *s);
double lv_pick_s(const lv_run_on *on, const lv_model_shape *s);

#endif
