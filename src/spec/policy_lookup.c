/* "lookup[:N,M]": prompt lookup. The longest suffix of the text, up to M tokens (3), that appeared before is
 * looked for, and the N tokens (10) that followed are proposed as a chain; the newest match first. Needs no
 * draft model. SPDX-License-Identifier: MIT */
#include "spec/lookup.h"
#include "spec/policy_impl.h"

enum { DEFAULT_N = 10, DEFAULT_M = 3, MAX_N = 64, MAX_M = 16 };

typedef struct lookup_state {
    uint32_t n, m;
} lookup_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    lookup_state *s = p->state;
    *s = (lookup_state){ DEFAULT_N, DEFAULT_M };
    const lv_policy_param params[] = { { "tokens", &s->n, 1, MAX_N, NULL },
                                       { "longest suffix", &s->m, 1, MAX_M, NULL } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 2, err));
    p->max_nodes = 1 + s->n;
    return LEVER_OK;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    const lookup_state *s = p->state;
    uint32_t from;
    (void)err;
    if (lv_lookup_find(d->text, d->n_text, s->m, &from) == 0) return LEVER_OK;
    /* A match that reaches the end of the text repeats itself: it goes on with what was just proposed. */
    const uint32_t period = d->n_text - from;
    int32_t at = 0;
    for (uint32_t i = 0; i < s->n && i < max_depth && t->n < max_nodes; i++)
        at = lv_tree_add(t, at, d->text[from + i % period], 0.0f, LV_SOURCE_LOOKUP);
    return LEVER_OK;
}

const lv_policy_type lv_policy_lookup = { .name = "lookup",
                                          .usage = "lookup[:N,M]",
                                          .state_bytes = sizeof(lookup_state),
                                          .no_draft = true,
                                          .parse = parse,
                                          .grow = grow };
