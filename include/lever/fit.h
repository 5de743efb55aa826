/* What a model makes of a text: its perplexity, and the exit predictor that is trained on it. Each call opens the
 * models, reads the text and closes them again. Threading: as in lever.h. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_H
#define LEVER_FIT_H

#include "lever/lever.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What lever_eval has counted; plain data. Shares are within 0..1; without a draft, what is about it is 0. */
typedef struct lever_eval_result {
    uint32_t n_ctx;                  /* tokens of a window */
    uint64_t n_windows;              /* to be scored */
    uint64_t n_text_tokens;          /* of the whole text, with the begin-of-text token if there is one */
    uint64_t n_tokens, n_tokens_all; /* evaluated so far; when all is done. For progress and speed */
    uint64_t n_scored;               /* tokens scored so far: n_ctx - n_ctx / 2 - 1 of a window */
    uint64_t scored_bytes;           /* of text that these tokens stand for */
    double   perplexity, perplexity_error; /* e^(mean of -ln p), and its standard error */
    double   bits_per_byte;          /* sum of -log2 p over scored_bytes */
    bool     has_draft;
    double   draft_perplexity, draft_perplexity_error, draft_bits_per_byte;
    double   agree_1;                /* share of tokens where the likeliest one is the same for both */
    double   agree_4;                /* where the target's likeliest is among the draft's four likeliest */
    double   kl;                     /* mean KL(target || draft), in nats */
    uint64_t eval_ns, flash_wait_ns; /* without loading; part of it: compute waited for flash */
    uint64_t bytes_read;             /* from flash for the target, without loading */
    uint64_t peak_rss_bytes, mem_limit_bytes;
    char     device_note[200];       /* why a device that was asked for is not in use; "": nothing to say */
} lever_eval_result;

/* Called often, several times per pass over the model, from the calling thread; return false to stop. */
typedef bool (*lever_on_eval)(void *user, const lever_eval_result *so_far);

typedef struct lever_eval_params {   /* zeroed: all of the text, no calls */
    uint64_t      max_windows;       /* 0 = every whole window of the text */
    lever_on_eval on_progress;       /* nullable */
    void         *user;
} lever_eval_params;

/* Perplexity of the target of c on text [len] (SIZE_MAX: up to NUL), and how a draft compares with it.
 *
 * As llama.cpp's perplexity tool counts: the text is tokenised once; every n_ctx tokens are a window of their
 * own, with the begin-of-text token in place of the first where the model asks for one; the first half is
 * context, and each token of the second half but its first is scored by what the model gave it. What is left
 * at the end is not evaluated. Tokens marked unused at the end of the vocabulary take no part.
 *
 * c as for lever_engine_open, but: n_ctx 0 is the model's context, at most 512, and never cut short; policy
 * does nothing; the text and its tokens count within mem_bytes. The numbers depend on models, text, n_ctx and
 * max_windows only: bit for bit the same with any memory, threads, batch size and instruction set.
 * params and result may be NULL. LEVER_OK; LEVER_ECANCEL: on_progress said so; LEVER_EINVAL (text shorter
 * than one window, a setting), LEVER_EFORMAT (also: logits that are not finite), LEVER_ELIMIT, LEVER_EIO,
 * LEVER_EUNSUP, LEVER_ENOMEM. After a failure *result has what was counted before it. */
LEVER_API int lever_eval(const lever_config *c, const char *text, size_t len,
                         const lever_eval_params *params, lever_eval_result *result, lever_error *err);

/* --------------------------------------------------- fit: the exit predictor */

enum { LEVER_FIT_LAYERS = 8, LEVER_FIT_CURVE = 16 };

typedef struct lever_fit_layer { /* of a predictor after this many layers, measured on held-out text */
    uint32_t layers;
    double   kd_before, kd;      /* full-vocabulary loss in nats: of the bare output head, and trained */
    double   cand_before, cand;  /* the same among the draft's candidates */
    double   kept;               /* share of tree edges left when 95 % of the target's choices stay */
    double   draft_kept;         /* the same when the draft's probabilities prune, which takes no predictor */
    double   joint_kept;         /* the same when both do, as joint_temperature says */
    double   saved;              /* (1 - kept) * share of the layers that come after */
} lever_fit_layer;

typedef struct lever_fit_point { /* shares of edges, and of the target's choices, of at least this probability */
    float threshold, edges_kept, true_kept, joint_edges_kept, joint_true_kept;
} lever_fit_point;

enum lever_fit_phase { LEVER_FIT_RECORD, LEVER_FIT_TRY, LEVER_FIT_TRAIN, LEVER_FIT_CHECK };

/* What lever_fit has done so far, or at its end; plain data. */
typedef struct lever_fit_result {
    int      phase;              /* enum lever_fit_phase */
    uint64_t done, total;        /* of the phase: positions, or steps */
    double   loss;               /* LEVER_FIT_TRAIN: of the last batch */
    bool     resumed;            /* an earlier, interrupted run was continued */
    uint32_t n_windows;          /* of text */
    uint64_t n_text_tokens;      /* of all texts */
    uint32_t n_train, n_held;    /* positions to train on; to measure with */
    lever_fit_layer tried[LEVER_FIT_LAYERS]; /* [n_tried] short trainings, to choose the layer */
    uint32_t n_tried;
    lever_fit_layer best;        /* the predictor that was written */
    const char *form;            /* "tied", "untied" */
    uint32_t rank, n_steps, n_best; /* steps trained; those after which it was best */
    float    temperature;        /* of the softmax of scores s over a node's candidates */
    float    joint_temperature, joint_draft_weight; /* softmax of s / joint_temperature + weight * ln p(draft) */
    lever_fit_point curve[LEVER_FIT_CURVE]; /* [n_curve] */
    uint32_t n_curve;
    uint64_t record_ns, train_ns; /* of this run */
    uint64_t disk_bytes;         /* of the recorded positions */
    uint64_t sidecar_bytes;
    uint64_t peak_rss_bytes, mem_limit_bytes;
} lever_fit_result;

/* Called often from the calling thread; return false to stop. */
typedef bool (*lever_on_fit)(void *user, const lever_fit_result *so_far);

typedef struct lever_text { const char *text; size_t len; } lever_text;

typedef struct lever_fit_params {    /* zeroed but for texts and out: every default */
    const lever_text *texts;         /* [n_texts] the target's own kind of text; borrowed */
    size_t      n_texts;
    const char *out;                 /* sidecar to write; <out>.fit and <out>.state hold an unfinished run */
    const char *form;                /* "tied" = NULL: output head times (I + U V^T); "untied": its own matrix */
    uint32_t    rank;                /* of U and V, 1..1024; 0 = 64, at most a quarter of the width */
    uint32_t    layers;              /* predict after this many layers; 0 = chosen by measurement */
    uint32_t    steps;               /* of the last training; 0 = 600. Each takes 256 positions */
    uint32_t    positions;           /* recorded at most; 0 = 24576 */
    uint64_t    disk_bytes;          /* for recorded positions, fewer if they do not fit; 0 = 1 GiB */
    double      seconds;             /* end within about this time; 0 = no limit */
    uint64_t    seed;
    lever_on_fit on_progress;        /* nullable */
    void       *user;
} lever_fit_params;

/* Train the early-exit predictor of the target of c (docs/pruning.md) and write it to params->out.
 *
 * The target reads the texts once, streamed as c->mem_bytes asks; hidden states of some middle layers and of the
 * last, and the candidates of the draft (needed: c->draft_path) go to a file. Then the predictor is trained on
 * the CPU within the same limit; the target's output head is read in chunks where it does not fit. Several
 * layers are tried; the one that saves most is trained to the end. A tenth of the text is held out, for stopping
 * and for all numbers.
 *
 * c as for lever_eval (n_ctx: of the windows the texts are cut into). The sidecar depends on models, texts,
 * window, KV type and params only, not on memory, threads or instruction set, nor on being interrupted;
 * params->seconds makes it depend on the machine's speed. params and result may not be NULL.
 * LEVER_OK; LEVER_ECANCEL: on_progress said so, what is done stays on disk and the next call with the same texts
 * and settings goes on there; LEVER_EINVAL (a setting, too little text, out is a model), LEVER_EFORMAT (also:
 * values that are not finite), LEVER_ELIMIT (memory limit: the text says how much is needed), LEVER_EIO,
 * LEVER_EUNSUP, LEVER_ENOMEM. */
LEVER_API int lever_fit(const lever_config *c, const lever_fit_params *params, lever_fit_result *result,
                        lever_error *err);

#ifdef __cplusplus
}
#endif
#endif
