/* What a cycle did, in the public form: the tree that was verified and what became of each node.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"
#include "kernel/noise.h"

uint64_t lv_view_bytes(uint32_t max_nodes)
{
    return (max_nodes + (uint64_t)LV_VIEW_SHADOWS) * sizeof(lever_node_view) + 128;
}

int lv_view_open(lever_session *s, lever_error *err)
{
    lv_view *v = &s->view;
    if (!v->nodes) v->nodes = lv_alloc_array(s->engine->max_nodes, sizeof *v->nodes, 64);
    if (!v->shadows) v->shadows = lv_alloc_array(LV_VIEW_SHADOWS, sizeof *v->shadows, 64);
    if (!v->nodes || !v->shadows) return lv_fail(err, LEVER_ENOMEM, 0, "view of the session's cycles");
    return s->engine->draft ? lv_pruner_watch(&s->prune, s->engine, err) : LEVER_OK;
}

void lv_view_close(lv_view *v)
{
    lv_free(v->nodes);
    lv_free(v->shadows);
    *v = (lv_view){ 0 };
}

static void show_nodes(lever_session *s, const lv_cycle *c)
{
    static const int source[LV_SOURCE_COUNT] = { LEVER_FROM_TARGET, LEVER_FROM_DRAFT, LEVER_FROM_LOOKUP };
    for (uint32_t i = 0; i < s->tree.n; i++) {
        const lv_tree_node *n = &s->tree.nodes[i];
        s->view.nodes[i] = (lever_node_view){
            .parent = n->parent, .token = n->token, .prob = n->prob, .draft_prob = i ? n->draft_prob : 0.0f,
            .source = source[n->source], .state = s->prune.index[i] < 0 ? LEVER_NODE_PRUNED : LEVER_NODE_REJECTED };
    }
    s->view.nodes[0].state = LEVER_NODE_ROOT;
    for (uint32_t i = 0; i < c->n_new; i++)
        if (s->path_nodes[i] >= 0) s->view.nodes[s->path_nodes[i]].state = LEVER_NODE_ACCEPTED;
}

/* Room for one more shadow, or that of the least likely one if this is likelier; NULL: neither. */
static lever_node_view *shadow_place(lever_node_view *shadows, uint32_t *n, float prob)
{
    if (*n < LV_VIEW_SHADOWS) return &shadows[(*n)++];
    uint32_t least = 0;
    for (uint32_t i = 1; i < *n; i++)
        if (shadows[i].draft_prob < shadows[least].draft_prob) least = i;
    return shadows[least].draft_prob < prob ? &shadows[least] : NULL;
}

/* The draft's candidates at verified nodes that are not in the tree. */
static uint32_t show_shadows(lever_session *s, float sharpness)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->tree.n; i++) {
        const int32_t *tokens;
        const float *log_probs;
        const uint32_t known = lv_pruner_noted(&s->prune, &s->tree.nodes[i], &tokens, &log_probs);
        for (uint32_t k = 0; k < known; k++) {
            if (lv_tree_find_child(&s->tree, (int32_t)i, tokens[k]) >= 0) continue;
            const float p = lv_expf(log_probs[k] * sharpness);
            lever_node_view *v = shadow_place(s->view.shadows, &n, p);
            if (v)
                *v = (lever_node_view){ .parent = (int32_t)i, .token = tokens[k], .draft_prob = p,
                                        .source = LEVER_FROM_DRAFT, .state = LEVER_NODE_SHADOW };
        }
    }
    return n;
}

void lv_view_show(lever_session *s)
{
    const lv_cycle *c = &s->run.cycle;
    const lv_round *r = &s->engine->round;
    const uint64_t verify_ns = r->verified_ns - r->drafted_ns, idle_ns = r->verified.idle_ns - r->drafted.idle_ns;
    const bool reads = r->verified.bytes_read != r->drafted.bytes_read && idle_ns <= verify_ns;
    show_nodes(s, c);
    const bool next = c->n_new && s->path_nodes[c->n_new - 1] < 0;
    const lever_cycle_view view = { .index = s->n_cycles,
                                    .begin_ns = r->begin_ns,
                                    .draft_ns = r->drafted_ns - r->begin_ns,
                                    .verify_ns = verify_ns,
                                    .project_ns = r->project_ns,
                                    .prune_ns = c->prune_ns,
                                    .flash_wait_ns = r->verified.wait_ns - r->drafted.wait_ns,
                                    .flash_ns = reads ? verify_ns - idle_ns : 0,
                                    .n_rows_all = r->n_rows,
                                    .n_nodes = s->tree.n,
                                    .nodes = s->view.nodes,
                                    .n_shadows = show_shadows(s, s->draft.sharpness),
                                    .shadows = s->view.shadows,
                                    .next_token = next ? s->tokens[s->n_tokens - 1] : -1,
                                    .n_new = c->n_new };
    c->on_cycle(c->cycle_user, &view);
}
