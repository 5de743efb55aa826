/* How a draft tree is grown: one file per policy behind this interface, one line in the registry
 * (policy.c). A policy proposes; it can change speed, never text, unless a rule other than sample-and-match
 * verifies its trees (spec/rules.h). Threading: one owner.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_POLICY_H
#define LEVER_SPEC_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/tree.h"

/* What expanding took, as the engine measured it. */
typedef struct lv_cost {
    uint32_t calls, rows; /* rows of the draft: also those that catch up with the text, and those of other trees in the
                           * same batch; calls 0: another tree accounts for it */
    uint32_t ready;       /* nodes that had been evaluated before they were asked for */
    double   seconds;
} lv_cost;

/* What a policy may ask of the draft model, and what it may know of the text. A new one for every tree. */
typedef struct lv_drafter {
    void *user;
    /* Evaluate tree nodes ids [n] (parents evaluated in earlier calls, none of them twice) as one row batch
     * of the draft; the root comes first and alone. Sets draft_row and draft_slot of the nodes, and *cost.
     * Returns LEVER_OK or LEVER_E*. Policies call lv_drafter_expand. NULL without a draft model. */
    int (*expand)(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost, lever_error *err);
    /* The k best continuations of an evaluated node of the LAST expand call, best first; once per node.
     * Returns how many: fewer than k when the sampler's filters leave fewer. Where `draws` is set these are
     * the different ones of k draws, in the order of drawing, with their plain probabilities. */
    uint32_t (*candidates)(void *user, lv_tree *t, int32_t id, uint32_t k, int32_t *tokens, float *probs);
    bool draws; /* candidates are drawn: whether there is to be one may depend on earlier ones only */
    uint32_t max_rows;   /* rows one expand call may have */
    uint32_t rows_left;  /* nodes that still fit in the draft's cache; the root needs no place */
    lv_cost  last, total; /* of the last expand call; of all for this tree */
    uint32_t n_pending;  /* rows the sweep has beside the tree's new nodes: the root, text before it, and what others
                          * bring to the sweep. This and the next two may change with every expand call */
    double   others_tokens;     /* that trees of other texts in the same sweep are expected to bring; 0: no others */
    uint32_t others_draft_rows; /* of other trees, that will be evaluated with those of the next call */
    double   target_ratio; /* weights of the target per weight of the draft */
    const int32_t *text; /* [n_text] the text so far; its last token is the root. Borrowed */
    uint32_t n_text;
} lv_drafter;

/* d->expand with the books kept. n from 1 to max_rows, and at most rows_left unless ids is the root.
 * LEVER_OK or the drafter's error. */
int lv_drafter_expand(lv_drafter *d, lv_tree *t, const int32_t *ids, uint32_t n, lever_error *err);

/* Seconds of a sweep of the target. */
typedef struct lv_sweep_took {
    double seconds; /* in all */
    double wait_s;  /* of them, products waited for reads */
} lv_sweep_took;

/* What became of a tree. Borrowed, for the time of the call. */
typedef struct lv_outcome {
    const lv_tree *tree;
    const int32_t *path;  /* [n_path] nodes the target agreed with, from below the root on */
    uint32_t n_path;
    int32_t  next;        /* the target's token after the path; usually, but not always, outside the tree:
                           * a walk also ends where the text does */
    uint32_t n_rows;      /* rows of the sweep, text that was pending included */
    uint32_t n_kept_rows; /* of them, those that went through all layers */
    double   draft_s, project_s;
    lv_sweep_took sweep;  /* seconds < 0: another tree of the sweep accounts for it */
} lv_outcome;

/* What is known of the tree after some layers of the target. Borrowed, for the time of the call. */
typedef struct lv_glimpse {
    const lv_tree *tree;
    const float *share;   /* [tree->n] of each node among the candidates of its parent, as a predictor sees it; 0..1 */
    double layers_done;   /* of all layers, 0..1 */
    uint32_t n_rows;      /* of the sweep: the tree's, and of text that was pending */
} lv_glimpse;

typedef struct lv_policy lv_policy;

/* Name of the i-th known policy, "chain"; NULL: there are no more. Static. */
const char *lv_policy_known(size_t i);

/* spec: "none", "chain:8", "eagle2:10,6,60@1.5", ... (docs/policies.md). LEVER_OK, LEVER_EINVAL (names the bad part
 * and lists the known policies), LEVER_ENOMEM. Returned: lv_policy_close. Nothing is allocated later. */
int  lv_policy_open(lv_policy **out, const char *spec, lever_error *err);
void lv_policy_close(lv_policy **p);
const char *lv_policy_name(const lv_policy *p);    /* the spec as given */
bool lv_policy_needs_draft(const lv_policy *p);    /* false: it works, and no better, without a draft model */
/* Whether a policy works where candidates are true draws (lv_drafter.draws): whether it decides on a draw
 * before it has seen what comes of it, and keeps what was drawn. */
enum lv_policy_draws {
    LV_DRAWS_NEVER,
    LV_DRAWS_WITHOUT_REPLACEMENT, /* only these */
    LV_DRAWS_ANY
};
int lv_policy_draws(const lv_policy *p);
/* "none, chain, tree, ...": the policies that work with draws; buf [cap], returned. */
const char *lv_policy_list_drawing(char *buf, size_t cap, bool with_replacement);
/* How probabilities of candidates are to be sharpened (spec/sampler.h): what follows the '@', else 1. */
float lv_policy_sharpness(const lv_policy *p);
/* Most nodes, root included: of the tree to verify (1 for "none"), and while it grows (<= LV_GROW_MAX). */
uint32_t lv_policy_max_nodes(const lv_policy *p);
uint32_t lv_policy_grow_nodes(const lv_policy *p);
/* Nodes it may have the draft evaluate for one tree, the root not counted: wanted as rows_left. */
uint32_t lv_policy_draft_rows(const lv_policy *p);
size_t   lv_policy_memory_bytes(const lv_policy *p);
/* Grow t, which holds only its root, to at most max_nodes nodes and max_depth levels below the root; on the
 * way it may fill t->cap. The tree keeps to the limits whatever is returned. LEVER_OK or the drafter's error. */
int  lv_policy_grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                    lever_error *err);
/* Would the policy drop nodes of a sweep of so many rows after a part of the layers, if a predictor could tell it which
 * are bad? False also where it has no opinion on costs. */
bool lv_policy_would_prune(const lv_policy *p, uint32_t n_rows, double layers_done);
/* The nodes that are worth the other layers: fills keep [tree->n], ancestor-closed. Due only after would_prune. */
void lv_policy_prune(lv_policy *p, const lv_glimpse *g, bool *keep);
/* Tell what became of the last tree grown. */
void lv_policy_observe(lv_policy *p, const lv_outcome *o);
/* Another sweep, of a prompt, had that many rows. */
void lv_policy_observe_sweep(lv_policy *p, uint32_t rows, lv_sweep_took took);
/* What the policy expects of the tree it grows, or grew last. False: it does not say. */
typedef struct lv_expectation {
    double   tokens, seconds; /* of text; of the whole cycle */
    uint32_t nodes;           /* of the tree to verify, root included */
} lv_expectation;
bool lv_policy_expected(const lv_policy *p, lv_expectation *out);
/* What the policy has learnt of models and machine, as bytes for a later run of the same build; 0 bytes: nothing
 * that is worth keeping. */
size_t lv_policy_learnt_bytes(const lv_policy *p);
void   lv_policy_get_learnt(const lv_policy *p, void *out);
/* Start from such bytes; costs: times were taken under the same conditions, else they are left out. False: the
 * content can not be right, and nothing changes. */
bool   lv_policy_set_learnt(lv_policy *p, const void *in, bool costs);
/* Policies of one spec that take turns: what `from` has learnt of models and costs is p's now; what belongs to the
 * text at hand stays. */
void   lv_policy_share(lv_policy *p, const lv_policy *from);
/* What was predicted of the costs of models on this machine, for a policy that has not seen any. */
enum { LV_SEED_ROWS = 8 };
typedef struct lv_cost_seed {
    uint32_t n, rows[LV_SEED_ROWS];              /* ascending */
    double   verify_s[LV_SEED_ROWS]; /* of sweeps, less what they wait for reads */
    double   draft_s[LV_SEED_ROWS];  /* of draft batches, heads included */
    double   project_s;  /* of one row of the target, with choosing its token */
    double   overhead_s; /* of a drafted row beside evaluating it */
    double   flash_s;    /* reads of a sweep; 0: no sweep waits for them */
} lv_cost_seed;
/* Begin with these, which give way to what is observed. What was learnt before or is set later stays. */
void   lv_policy_seed(lv_policy *p, const lv_cost_seed *s);
/* A new text begins: forget what belongs to the old one, not what was learnt about the models. */
void lv_policy_reset(lv_policy *p);

#endif
