/* The best tree for given acceptance by position (Sequoia, METHODS.md section 3): child k of any node is
 * accepted with probability p[k], so a node is worth the product along its path, and a dynamic program finds the
 * tree of most worth. Pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_SEQUOIA_H
#define LEVER_SPEC_SEQUOIA_H

#include <stdint.h>

enum { LV_SEQUOIA_NODES = 256, LV_SEQUOIA_DEPTH = 16, LV_SEQUOIA_CHILDREN = 16 };

/* Tables of the program; m nodes at most, root included, in l levels below the root. */
typedef struct lv_sequoia {
    double  best[LV_SEQUOIA_DEPTH + 1][LV_SEQUOIA_NODES + 1];  /* expected accepted length, root counted */
    double  part[LV_SEQUOIA_NODES + 1][LV_SEQUOIA_CHILDREN + 1]; /* of one l: exactly b children */
    uint8_t width[LV_SEQUOIA_DEPTH + 1][LV_SEQUOIA_NODES + 1]; /* children of the root of the best */
    uint8_t size[LV_SEQUOIA_DEPTH + 1][LV_SEQUOIA_NODES + 1][LV_SEQUOIA_CHILDREN + 1]; /* of the last child */
    uint32_t n_nodes, depth;
} lv_sequoia;

/* Parents before children, level by level; node 0 is the root. Children of a node are in order of k. */
typedef struct lv_sequoia_shape {
    uint32_t n;
    uint16_t parent[LV_SEQUOIA_NODES], n_children[LV_SEQUOIA_NODES];
    uint8_t  depth[LV_SEQUOIA_NODES];
} lv_sequoia_shape;

/* Fill the tables for trees of at most n_nodes (1 .. LV_SEQUOIA_NODES) in at most `depth` levels
 * (0 .. LV_SEQUOIA_DEPTH). */
void lv_sequoia_solve(lv_sequoia *o, const double p[LV_SEQUOIA_CHILDREN], uint32_t n_nodes, uint32_t depth);
/* The best tree of all nodes solved for, in at most `depth` levels, which is at most what was solved for. */
void lv_sequoia_shape_of(const lv_sequoia *o, uint32_t depth, lv_sequoia_shape *out);

#endif
