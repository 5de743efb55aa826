/* What one cycle did, as the page draws it. SPDX-License-Identifier: MIT */
#include <string.h>

#include "serve_answer.h"

void cycle_token(serve_text *out, const lever_engine *engine, int32_t token)
{
    char text[512];
    const size_t n = lever_token_text(engine, token, text, sizeof text);
    text_json(out, text, n < sizeof text ? n : sizeof text - 1);
}

/* Shares of 0 are not known. */
static void put_share(serve_text *out, const char *name, float share)
{
    text_printf(out, ",\"%s\":", name);
    if (share > 0.0f) text_number(out, (double)share);
    else text_puts(out, "null");
}

static void put_node(serve_text *out, const lever_engine *engine, const lever_node_view *n)
{
    static const char *const states[] = { "root", "accepted", "rejected", "pruned", "shadow" };
    static const char *const sources[] = { "text", "draft", "lookup" };
    text_printf(out, "{\"parent\":%d,\"text\":", n->parent);
    cycle_token(out, engine, n->token);
    put_share(out, "p", n->prob);
    put_share(out, "draft_p", n->draft_prob);
    text_printf(out, ",\"source\":\"%s\",\"state\":\"%s\"}",
                n->state == LEVER_NODE_ROOT ? "text" : sources[n->source], states[n->state]);
}

static void put_times(serve_text *out, const lever_cycle_view *v)
{
    const struct { const char *name; uint64_t ns; } times[] = {
        { "draft_ms", v->draft_ns }, { "verify_ms", v->verify_ns },         { "project_ms", v->project_ns },
        { "prune_ms", v->prune_ns }, { "flash_wait_ms", v->flash_wait_ns }, { "flash_ms", v->flash_ns },
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        text_printf(out, ",\"%s\":%.3f", times[i].name, (double)times[i].ns * 1e-6);
}

void cycle_event(serve_text *out, const lever_engine *engine, uint64_t begin_ns, const lever_cycle_view *v)
{
    const double at = v->begin_ns > begin_ns ? (double)(v->begin_ns - begin_ns) * 1e-6 : 0;
    text_printf(out, "event: lever.cycle\ndata: {\"cycle\":%llu,\"t_ms\":%.2f", (unsigned long long)v->index,
                at);
    put_times(out, v);
    text_printf(out, ",\"rows\":%u,\"rows_all\":%u,\"new\":%u,\"nodes\":[", v->n_nodes, v->n_rows_all,
                v->n_new);
    for (uint32_t i = 0; i < v->n_nodes; i++) {
        if (i) text_puts(out, ",");
        put_node(out, engine, &v->nodes[i]);
    }
    text_puts(out, "],\"shadows\":[");
    for (uint32_t i = 0; i < v->n_shadows; i++) {
        text_printf(out, "%s{\"parent\":%d,\"text\":", i ? "," : "", v->shadows[i].parent);
        cycle_token(out, engine, v->shadows[i].token);
        put_share(out, "draft_p", v->shadows[i].draft_prob);
        text_puts(out, "}");
    }
    text_puts(out, "],\"next\":");
    if (v->next_token >= 0) {
        text_puts(out, "{\"text\":");
        cycle_token(out, engine, v->next_token);
        text_puts(out, "}}\n\n");
    } else {
        text_puts(out, "null}\n\n");
    }
}
