/* SPDX-License-Identifier: MIT */
#include "spec/sequoia.h"

#include <assert.h>

/* best[l] from best[l - 1]: part[m][b] is the best with at most m nodes and b children, of which the last has
 * a subtree of at most y nodes. */
static void solve_level(lv_sequoia *o, const double *p, uint32_t l)
{
    const double *below = o->best[l - 1];
    for (uint32_t m = 1; m <= o->n_nodes; m++) {
        o->part[m][0] = 1;
        o->best[l][m] = 1;
        o->width[l][m] = 0;
        for (uint32_t b = 1; b <= LV_SEQUOIA_CHILDREN && b < m; b++) {
            o->part[m][b] = -1;
            for (uint32_t y = 1; y + b <= m; y++) {
                const double v = o->part[m - y][b - 1] + p[b - 1] * below[y];
                if (v > o->part[m][b]) o->part[m][b] = v, o->size[l][m][b] = (uint8_t)y;
            }
            if (o->part[m][b] > o->best[l][m]) o->best[l][m] = o->part[m][b], o->width[l][m] = (uint8_t)b;
        }
    }
}

void lv_sequoia_solve(lv_sequoia *o, const double p[LV_SEQUOIA_CHILDREN], uint32_t n_nodes, uint32_t depth)
{
    assert(n_nodes >= 1 && n_nodes <= LV_SEQUOIA_NODES && depth <= LV_SEQUOIA_DEPTH);
    o->n_nodes = n_nodes;
    o->depth = depth;
    for (uint32_t m = 1; m <= n_nodes; m++) o->best[0][m] = 1, o->width[0][m] = 0;
    for (uint32_t l = 1; l <= depth; l++) solve_level(o, p, l);
}

void lv_sequoia_shape_of(const lv_sequoia *o, uint32_t depth, lv_sequoia_shape *out)
{
    uint16_t nodes[LV_SEQUOIA_NODES] = { [0] = (uint16_t)o->n_nodes }; /* of the subtree of each node */
    assert(depth <= o->depth);
    out->n = 1;
    out->parent[0] = 0;
    out->depth[0] = 0;
    for (uint32_t i = 0; i < out->n; i++) {
        const uint32_t l = depth - out->depth[i], width = o->width[l][nodes[i]], first = out->n;
        out->n_children[i] = (uint16_t)width;
        out->n += width;
        for (uint32_t b = width, m = nodes[i]; b > 0; b--) { /* the last child is the last decision */
            const uint32_t y = o->size[l][m][b], child = first + b - 1;
            nodes[child] = (uint16_t)y;
            out->parent[child] = (uint16_t)i;
            out->depth[child] = (uint8_t)(out->depth[i] + 1);
            m -= y;
        }
    }
}
