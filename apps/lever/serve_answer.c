/* SPDX-License-Identifier: MIT */
#include "serve_answer.h"

#include <stdlib.h>
#include <string.h>

/* A client that reads nothing may leave this much of a stream waiting; an answer that is sent as one object
 * ends there, as if max_tokens had been reached. */
enum { ANSWER_BYTES_MOST = 1 << 20 };

/* A token whose text has not gone out yet. */
typedef struct held_token {
    int32_t  token;
    float    logprob;
    uint32_t n_top;
    bool     silent;        /* it came without text: the end token, perhaps */
    uint64_t begin, end;    /* in the bytes of the answer */
    lever_logprob top[ASK_LOGPROBS_MOST];
} held_token;

struct serve_answer {
    server        *s;
    serve_request *r;
    lever_answer   reader;  /* reasoning and answer; SERVE_CHAT only */
    stop_filter    filter;
    serve_text     chunk;   /* on its way to the request */
    serve_text     part[2]; /* by enum lever_part: of this event in a stream, else all */
    serve_text     lists[4]; /* of log-probabilities, in the same way: chat has one, completions four */
    held_token    *held;    /* [n_held] */
    size_t         n_held, held_cap;
    uint64_t       pushed, released; /* bytes of the answer into the filter, and out of it */
    size_t         cached;
    uint32_t       n_reasoning; /* tokens */
    bool           in_reasoning; /* this event had some */
    int            ended;   /* as answer_ended */
};

serve_answer *answer_open(server *s, serve_request *r, size_t cached)
{
    serve_answer *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->s = s;
    a->r = r;
    a->cached = cached;
    a->ended = -1;
    a->filter.ask = &r->ask;
    serve_text *const texts[] = { &a->filter.held, &a->chunk, &a->part[0], &a->part[1],
                                  &a->lists[0], &a->lists[1], &a->lists[2], &a->lists[3] };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) texts[i]->budget = &s->budget;
    lever_answer_init(&a->reader, s->engine, r->ask.think);
    return a;
}

void answer_close(serve_answer *a)
{
    if (!a) return;
    serve_text *const texts[] = { &a->filter.held, &a->chunk, &a->part[0], &a->part[1],
                                  &a->lists[0], &a->lists[1], &a->lists[2], &a->lists[3] };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) text_fini(texts[i]);
    budget_give(&a->s->budget, a->held_cap * sizeof *a->held);
    free(a->held);
    free(a);
}

int answer_ended(const serve_answer *a) { return a->ended; }

/* ---- log-probabilities ---- */

static void token_bytes(serve_text *out, const char *text, size_t n)
{
    text_puts(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++) text_printf(out, i ? ",%u" : "%u", (unsigned char)text[i]);
    text_puts(out, "]");
}

static void chat_token(serve_text *out, const lever_engine *engine, int32_t token, float logprob)
{
    char text[512];
    size_t n = lever_token_text(engine, token, text, sizeof text);
    if (n >= sizeof text) n = sizeof text - 1;
    text_puts(out, "{\"token\":");
    text_json(out, text, n);
    text_puts(out, ",\"logprob\":");
    text_number(out, (double)logprob);
    token_bytes(out, text, n);
}

static void list_chat(serve_answer *a, const held_token *t)
{
    serve_text *out = &a->lists[0];
    if (out->n) text_puts(out, ",");
    chat_token(out, a->s->engine, t->token, t->logprob);
    text_puts(out, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < t->n_top; i++) {
        if (i) text_puts(out, ",");
        chat_token(out, a->s->engine, t->top[i].token, t->top[i].logprob);
        text_puts(out, "}");
    }
    text_puts(out, "]}");
}

static void list_completion(serve_answer *a, const held_token *t)
{
    serve_text *l = a->lists;
    for (int i = 0; i < 4; i++)
        if (l[i].n) text_puts(&l[i], ",");
    cycle_token(&l[0], a->s->engine, t->token);
    text_number(&l[1], (double)t->logprob);
    text_puts(&l[2], "{");
    for (uint32_t i = 0; i < t->n_top; i++) {
        if (i) text_puts(&l[2], ",");
        cycle_token(&l[2], a->s->engine, t->top[i].token);
        text_puts(&l[2], ":");
        text_number(&l[2], (double)t->top[i].logprob);
    }
    text_puts(&l[2], "}");
    text_printf(&l[3], "%llu", (unsigned long long)t->begin);
}

static void hold_token(serve_answer *a, const lever_token_event *e, uint64_t begin)
{
    if (a->n_held == a->held_cap) {
        const size_t more = 16;
        held_token *p = NULL;
        if (budget_take(&a->s->budget, more * sizeof *p)) {
            p = realloc(a->held, (a->held_cap + more) * sizeof *p);
            if (!p) budget_give(&a->s->budget, more * sizeof *p);
        }
        if (!p) {
            a->ended = SERVE_END_LENGTH;
            return;
        }
        a->held = p;
        a->held_cap += more;
    }
    held_token *t = &a->held[a->n_held++];
    *t = (held_token){ .token = e->token, .logprob = e->logprob, .begin = begin, .end = a->pushed,
                       .silent = e->text_bytes == 0 };
    t->n_top = a->r->ask.n_top < e->n_top ? a->r->ask.n_top : e->n_top;
    if (t->n_top) memcpy(t->top, e->top, t->n_top * sizeof *t->top);
}

/* Tokens whose text is out are listed. A last one without text may be the end token, which is not: it
 * waits. */
static void list_tokens(serve_answer *a, bool all)
{
    size_t n = 0;
    for (; n < a->n_held && a->held[n].end <= a->released; n++) {
        if (!all && n + 1 == a->n_held && a->held[n].silent) break;
        if (a->r->ask.kind == SERVE_CHAT) list_chat(a, &a->held[n]);
        else list_completion(a, &a->held[n]);
    }
    if (!n) return; /* held is NULL where no log-probabilities are wanted */
    a->n_held -= n;
    memmove(a->held, a->held + n, a->n_held * sizeof *a->held);
}

static void put_lists(serve_answer *a, serve_text *out)
{
    static const char *const names[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
    text_puts(out, ",\"logprobs\":");
    if (!a->r->ask.logprobs || (a->r->ask.stream && !a->lists[0].n)) {
        text_puts(out, "null");
        return;
    }
    const bool chat = a->r->ask.kind == SERVE_CHAT;
    for (int i = 0; i < (chat ? 1 : 4); i++) {
        text_printf(out, "%s\"%s\":[", i ? "," : "{", chat ? "content" : names[i]);
        text_add(out, a->lists[i].p, a->lists[i].n);
        text_puts(out, "]");
        a->lists[i].n = 0;
    }
    text_puts(out, "}");
}

/* ---- chunks ---- */

static void put_head(serve_answer *a, serve_text *out, const char *object)
{
    const serve_request *r = a->r;
    text_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", r->id, object,
                (long long)r->created);
    text_json(out, a->s->model, strlen(a->s->model));
}

static void chunk_head(serve_answer *a)
{
    text_puts(&a->chunk, "data: ");
    put_head(a, &a->chunk, a->r->ask.kind == SERVE_CHAT ? "chat.completion.chunk" : "text_completion");
}

/* One choice; text [n] under this name, NULL: nothing of the kind. finish NULL: it goes on. */
static void put_chunk(serve_answer *a, const char *name, const char *text, size_t n, bool role,
                      const char *finish)
{
    serve_text *out = &a->chunk;
    const bool chat = a->r->ask.kind == SERVE_CHAT;
    chunk_head(a);
    text_puts(out, ",\"choices\":[{\"index\":0,");
    if (chat) text_puts(out, role ? "\"delta\":{\"role\":\"assistant\"," : "\"delta\":{");
    if (name) {
        text_printf(out, "\"%s\":", name);
        text_json(out, text, n);
    }
    if (chat) text_puts(out, "}");
    put_lists(a, out);
    if (finish) text_printf(out, ",\"finish_reason\":\"%s\"}]", finish);
    else text_puts(out, ",\"finish_reason\":null}]");
    if (a->r->ask.include_usage) text_puts(out, ",\"usage\":null");
    text_puts(out, "}\n\n");
}

static void chunk_parts(serve_answer *a)
{
    const bool chat = a->r->ask.kind == SERVE_CHAT;
    serve_text *reasoning = &a->part[LEVER_PART_REASONING], *text = &a->part[LEVER_PART_ANSWER];
    if (reasoning->n) put_chunk(a, "reasoning_content", reasoning->p, reasoning->n, false, NULL);
    if (text->n || a->lists[0].n) put_chunk(a, chat ? "content" : "text", text->p, text->n, false, NULL);
    reasoning->n = text->n = 0;
}

void answer_begin(serve_answer *a)
{
    const serve_ask *ask = &a->r->ask;
    if (ask->echo) a->pushed = a->released = ask->prompt.n; /* offsets count from the beginning of the text */
    if (!ask->stream) {
        text_add(&a->part[LEVER_PART_ANSWER], ask->prompt.p, ask->echo ? ask->prompt.n : 0);
        return;
    }
    if (ask->kind == SERVE_CHAT) put_chunk(a, "content", "", 0, true, NULL);
    else if (ask->echo) put_chunk(a, "text", ask->prompt.p, ask->prompt.n, false, NULL);
}

/* ---- from the engine ---- */

static void text_out(void *user, const char *text, size_t n)
{
    serve_answer *a = user;
    a->released += n;
    text_add(&a->part[LEVER_PART_ANSWER], text, n);
}

static void on_part(void *user, int part, const char *text, size_t n)
{
    serve_answer *a = user;
    if (part == LEVER_PART_REASONING) {
        a->in_reasoning = true;
        text_add(&a->part[LEVER_PART_REASONING], text, n);
        return;
    }
    a->pushed += n;
    if (!stop_push(&a->filter, text, n, text_out, a)) a->ended = SERVE_END_STOP;
}

static bool is_too_much(const serve_answer *a)
{
    size_t n = a->chunk.n;
    bool failed = a->chunk.failed || a->filter.held.failed;
    for (int i = 0; i < 2; i++) n += a->part[i].n, failed |= a->part[i].failed;
    for (int i = 0; i < 4; i++) n += a->lists[i].n, failed |= a->lists[i].failed;
    return failed || n > ANSWER_BYTES_MOST;
}

bool answer_on_token(void *user, const lever_token_event *e)
{
    serve_answer *a = user;
    const serve_ask *ask = &a->r->ask;
    const bool chat = ask->kind == SERVE_CHAT, was_past = !chat || lever_answer_is_past_reasoning(&a->reader);
    const uint64_t begin = a->pushed;
    if (a->ended >= 0) return false;
    if (!a->r->first_ns) a->r->first_ns = now_ns();
    a->in_reasoning = false;
    if (!chat) on_part(a, LEVER_PART_ANSWER, e->text, e->text_bytes);
    else if (!lever_answer_push(&a->reader, e->text, e->text_bytes, on_part, a)) a->ended = SERVE_END_STOP;
    a->n_reasoning += a->in_reasoning;
    if (ask->logprobs && e->token >= 0 && (was_past || a->pushed > begin)) hold_token(a, e, begin);
    list_tokens(a, false);
    if (ask->stream) chunk_parts(a);
    if (a->ended < 0 && is_too_much(a)) a->ended = SERVE_END_LENGTH;
    return a->ended < 0;
}

void answer_on_cycle(void *user, const lever_cycle_view *view)
{
    serve_answer *a = user;
    cycle_event(&a->chunk, a->s->engine, a->r->begin_ns, view);
}

bool answer_flush(serve_answer *a, int end)
{
    serve_request *r = a->r;
    const bool stream = r->ask.stream;
    if (a->chunk.n == 0 && !a->chunk.failed) return true;
    pthread_mutex_lock(&a->s->lock);
    const bool slow = stream && r->out.n + a->chunk.n > 2 * ANSWER_BYTES_MOST;
    if (!slow && !a->chunk.failed) text_add(&r->out, a->chunk.p, a->chunk.n);
    const bool good = !slow && !a->chunk.failed && !r->out.failed;
    if (!good && stream) a->ended = SERVE_END_SLOW;
    if (good) r->status = 200;
    if (good && end >= 0)
        serve_request_done(a->s, r, end); /* at once: the client may leave when it has the rest */
    serve_request_wake(a->s, r);
    pthread_mutex_unlock(&a->s->lock);
    a->chunk.n = 0;
    return good;
}

/* ---- the end ---- */

static void put_usage(serve_answer *a, serve_text *out, const lever_stats *st)
{
    const size_t n_prompt = a->r->ask.n_tokens;
    text_printf(out,
                ",\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%u,\"total_tokens\":%zu,"
                "\"prompt_tokens_details\":{\"cached_tokens\":%zu},\"completion_tokens_details\":"
                "{\"reasoning_tokens\":%u}}",
                n_prompt, st->n_new_tokens, n_prompt + st->n_new_tokens, a->cached, a->n_reasoning);
}

static double per(double a, double b) { return b > 0 ? a / b : 0; }

static void put_statistics(serve_answer *a, serve_text *out, const lever_stats *st, const char *why)
{
    const double decode_s = (double)st->decode_ns * 1e-9;
    text_printf(out,
                ",\"lever\":{\"stop\":\"%s\",\"seed\":%llu,\"prefill_sweeps\":%u,\"sweeps\":%u,\"rows\":%llu,"
                "\"drafted\":%u,\"accepted\":%u,\"flash_bytes\":%llu",
                why, (unsigned long long)a->r->ask.sampling.seed, st->n_prefill_sweeps, st->n_cycles,
                (unsigned long long)st->n_rows, st->n_drafted, st->n_accepted,
                (unsigned long long)st->bytes_read);
    const struct { const char *name; double v; } numbers[] = {
        { "first_token_s", a->r->first_ns ? (double)(a->r->first_ns - a->r->begin_ns) * 1e-9 : 0 },
        { "prefill_s", (double)st->prefill_ns * 1e-9 },
        { "decode_s", decode_s },
        { "decode_tokens_per_s", per(st->n_decode_tokens, decode_s) },
        { "tokens_per_sweep", per(st->n_decode_tokens, st->n_cycles) },
        { "draft_s", (double)st->draft_ns * 1e-9 },
        { "verify_s", (double)st->verify_ns * 1e-9 },
        { "project_s", (double)st->project_ns * 1e-9 },
        { "flash_wait_s", (double)st->flash_wait_ns * 1e-9 },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        text_printf(out, ",\"%s\":", numbers[i].name);
        text_number(out, numbers[i].v);
    }
    text_puts(out, "}");
}

static void put_object(serve_answer *a, const char *finish)
{
    serve_text *out = &a->chunk, *text = &a->part[LEVER_PART_ANSWER],
               *reasoning = &a->part[LEVER_PART_REASONING];
    const bool chat = a->r->ask.kind == SERVE_CHAT;
    put_head(a, out, chat ? "chat.completion" : "text_completion");
    text_puts(out, ",\"choices\":[{\"index\":0,");
    if (chat) text_puts(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    else text_puts(out, "\"text\":");
    text_json(out, text->p, text->n);
    if (chat && reasoning->n) {
        text_puts(out, ",\"reasoning_content\":");
        text_json(out, reasoning->p, reasoning->n);
    }
    if (chat) text_puts(out, "}");
    put_lists(a, out);
    text_printf(out, ",\"finish_reason\":\"%s\"}]", finish);
}

void answer_finish(serve_answer *a, const lever_stats *st)
{
    static const char *const why[] = { "max_tokens", "end_token", "context", "callback", "cancel" };
    const serve_ask *ask = &a->r->ask;
    const bool length = st->stop == LEVER_STOP_MAX_TOKENS || st->stop == LEVER_STOP_CONTEXT;
    const char *stop = a->filter.stopped               ? "stop_sequence"
                       : a->ended == SERVE_END_LENGTH ? "answer_bytes"
                       : a->ended == SERVE_END_STOP   ? "end_of_answer"
                                                      : why[st->stop];
    const char *finish = a->ended == SERVE_END_STOP || (a->ended < 0 && !length) ? "stop" : "length";
    if (ask->kind == SERVE_CHAT && !a->filter.stopped) lever_answer_finish(&a->reader, on_part, a);
    stop_flush(&a->filter, text_out, a);
    if (st->stop == LEVER_STOP_END_TOKEN && a->n_held && a->held[a->n_held - 1].silent) a->n_held--;
    list_tokens(a, true);
    if (a->filter.stopped) finish = "stop";
    if (ask->stream) {
        chunk_parts(a);
        put_chunk(a, ask->kind == SERVE_CHAT ? NULL : "text", "", 0, false, finish);
        if (ask->include_usage || ask->cycles) {
            chunk_head(a);
            text_puts(&a->chunk, ",\"choices\":[]");
        }
    } else {
        put_object(a, finish);
    }
    if (!ask->stream || ask->include_usage || ask->cycles) {
        put_usage(a, &a->chunk, st);
        put_statistics(a, &a->chunk, st, stop);
        text_puts(&a->chunk, ask->stream ? "}\n\n" : "}\n");
    }
    if (ask->stream) text_puts(&a->chunk, "data: [DONE]\n\n");
}
