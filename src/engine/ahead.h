/* Drafting beside verification: while the target verifies a tree, a second thread lets the draft go on below it.
 * It evaluates the nodes that the next root is most likely to be, and keeps their rows of the draft's cache and
 * their best continuations. Where the verified path ends at one of them, the next tree begins with what is there;
 * all else is thrown away. It can not change the text: proposals never decide what a target says. Nor does it change
 * what the draft says, which is the same bits whenever it is computed.
 *
 * Life of one cycle:  begin (the tree is grown) -> the sweep -> end (it is over) -> commit (the path is known),
 *                     then for the next tree: take_root, take_node.
 * Owns: a thread with its own lv_cpu. Borrows the session and, between begin and end, its draft model, draft cache,
 * draft logits and sampler, which nobody else may touch then.
 * Threading: all calls by the session's owner. SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_AHEAD_H
#define LEVER_ENGINE_AHEAD_H

#include "device/cpu/cpu.h"
#include "lever/lever.h"
#include "spec/tree.h"

enum {
    LV_AHEAD_ROWS = 256, /* of the draft's cache, evaluated beside one sweep */
    LV_AHEAD_BATCH = 8,  /* rows of one batch */
    LV_AHEAD_BEST = 32   /* continuations kept of each; where a policy has asked for more, nothing is used */
};

/* The draft's candidates at a node, best first. */
typedef struct lv_ahead_list {
    uint32_t n;
    int32_t tokens[LV_AHEAD_BEST];
    float   probs[LV_AHEAD_BEST];
} lv_ahead_list;

typedef struct lv_ahead lv_ahead;

/* Bytes it takes beside the draft's cache: cpu as for open, draft_rows of a tree. */
uint64_t lv_ahead_bytes(const lv_cpu_config *cpu, uint32_t draft_rows);
/* cpu: for batches of LV_AHEAD_BATCH rows of the draft. always: beside every sweep; else where measurements say that
 * its owner's cores have time for it.
 * LEVER_OK, LEVER_ENOMEM. Returned: lv_ahead_close. All others accept a NULL lv_ahead and then do nothing. */
int  lv_ahead_open(lv_ahead **out, lever_session *s, const lv_cpu_config *cpu, bool always, lever_error *err);
void lv_ahead_close(lv_ahead **a);

/* A policy asks for k candidates of a node. */
void lv_ahead_asked(lv_ahead *a, uint32_t k);
/* The n best of the draft's candidates at an evaluated node: what the tree does not take may follow all the same. */
void lv_ahead_note(lv_ahead *a, const lv_tree_node *node, const int32_t *tokens, const float *probs, uint32_t n);
/* The session's tree is about to be verified. */
void lv_ahead_begin(lv_ahead *a);
/* The sweep is over, or was given up: returns once the thread has stopped, within a part of a product. Nodes of the
 * tree that were evaluated meanwhile know their draft_row. A no-op when nothing was begun. */
void lv_ahead_end(lv_ahead *a);
/* What the sweep took, and how long of it the cores of its owner had nothing to do. */
void lv_ahead_observe(lv_ahead *a, uint64_t sweep_ns, uint64_t idle_ns);
/* The scratch rows s->accepted [n] of the draft's cache became text, the last of them node `end` of the tree (0: the
 * root, with n = 0), and one more token follows. True: that token was evaluated; it and what stands below it are
 * committed and kept with them. False: nothing was done. */
bool lv_ahead_commit(lv_ahead *a, int32_t end, uint32_t n);

/* A new tree: true where the cache holds, in scratch rows, what was kept for this text. */
bool lv_ahead_use(lv_ahead *a);
/* What the draft proposes below the root; NULL: it has to be evaluated. Borrowed until the next begin. */
const lv_ahead_list *lv_ahead_take_root(lv_ahead *a);
/* The same for a child with `token` of the node in scratch row `parent` (-1: the root); *row: its own. */
const lv_ahead_list *lv_ahead_take_node(lv_ahead *a, int32_t parent, int32_t token, int32_t *row);

/* Counts since the last call with a NULL `out`, which starts anew. */
void lv_ahead_count(lv_ahead *a, lever_stats *out);

#endif
