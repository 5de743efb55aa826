/* Prompts of requests as tokens: talks in the model's own form, texts, and lists of tokens.
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

enum {
    BYTES_OF_A_TOKEN = 64
}; /* no tokenizer averages more: longer prompts are refused before they are read */

static bool no_memory(api_error *e)
{
    return api_fail(e, 503, "out_of_memory", NULL, "the memory for requests is taken by others; try again");
}

static bool room_for(serve_ask *a, server *s, size_t n, api_error *e)
{
    if (!budget_take(&s->budget, n * sizeof *a->tokens)) return no_memory(e);
    a->tokens = malloc(n * sizeof *a->tokens);
    if (!a->tokens) {
        budget_give(&s->budget, n * sizeof *a->tokens);
        return no_memory(e);
    }
    a->tokens_cap = n;
    return true;
}

/* A request waits with its tokens: what they do not need goes back. */
static void trim(serve_ask *a, server *s)
{
    if (a->n_tokens == 0 || a->n_tokens == a->tokens_cap) return;
    int32_t *less = realloc(a->tokens, a->n_tokens * sizeof *less);
    if (!less) return;
    budget_give(&s->budget, (a->tokens_cap - a->n_tokens) * sizeof *less);
    a->tokens = less;
    a->tokens_cap = a->n_tokens;
}

static bool too_long(api_error *e, const char *param, const server *s)
{
    return api_fail(e, 400, "context_length_exceeded", param,
                    "the prompt does not fit the context of %u tokens", s->info.n_ctx);
}

/* What the tokenizer said: a count, or an error. */
static bool take_count(serve_ask *a, server *s, const char *param, int64_t n, const lever_error *err,
                       api_error *e)
{
    if (n == LEVER_ENOMEM) return no_memory(e);
    if (n == LEVER_EUNSUP || n == LEVER_EFORMAT)
        return api_fail(e, 400, "no_chat_template", param, "%s", err->msg);
    if (n < 0) return api_fail(e, 400, "invalid_value", param, "%s", err->msg);
    if ((uint64_t)n > a->tokens_cap) return too_long(e, param, s);
    a->n_tokens = (size_t)n;
    trim(a, s);
    return true;
}

bool ask_tokenize(serve_ask *a, server *s, const char *text, size_t len, unsigned flags, size_t most,
                  api_error *e)
{
    const size_t work = lever_tokenize_bytes(s->engine, len);
    lever_error err = { 0 };
    if (len / BYTES_OF_A_TOKEN > most) return too_long(e, "prompt", s);
    if (!budget_take(&s->budget, work)) return no_memory(e);
    if (!room_for(a, s, most < len + 8 ? most : len + 8, e)) {
        budget_give(&s->budget, work);
        return false;
    }
    const int64_t n = lever_tokenize(s->engine, text, len, flags, a->tokens, a->tokens_cap, &err);
    budget_give(&s->budget, work);
    return take_count(a, s, "prompt", n, &err, e);
}

/* ---- /v1/completions ---- */

static bool take_tokens(serve_ask *a, server *s, const json_t *list, api_error *e)
{
    const size_t n = json_array_size(list);
    const int32_t n_vocab = lever_n_vocab(s->engine);
    if (n > s->info.n_ctx) return too_long(e, "prompt", s);
    if (!room_for(a, s, n, e)) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v))
            return api_fail(e, 400, "invalid_type", "prompt",
                            "'prompt' must be text, or one list of token numbers");
        const int64_t token = json_integer_value(v);
        if (token < 0 || token >= n_vocab)
            return api_fail(e, 400, "invalid_value", "prompt", "token %lld is not in the vocabulary of %d",
                            (long long)token, n_vocab);
        a->tokens[i] = (int32_t)token;
    }
    a->n_tokens = n;
    return true;
}

bool ask_prompt(serve_ask *a, server *s, const json_t *root, api_error *e)
{
    const json_t *v = json_object_get(root, "prompt");
    if (!v) return api_fail(e, 400, "missing_required_parameter", "prompt", "'prompt' is missing");
    if (json_is_array(v) && json_array_size(v) == 1 && !json_is_integer(json_array_get(v, 0)))
        v = json_array_get(v, 0); /* a list of one prompt */
    else if (json_is_array(v) && json_array_size(v) > 1 && !json_is_integer(json_array_get(v, 0)))
        return api_fail(e, 400, "unsupported_value", "prompt", "one prompt is answered per request, not %zu",
                        json_array_size(v));
    if (json_is_array(v)) {
        if (a->echo)
            return api_fail(e, 400, "unsupported_value", "echo", "'echo' needs a prompt that is text");
        if (!take_tokens(a, s, v, e)) return false;
    } else if (json_is_string(v)) {
        const char *text = json_string_value(v);
        const size_t len = json_string_length(v);
        if (!ask_tokenize(a, s, text, len, 0, s->info.n_ctx, e)) return false;
        if (a->echo) text_add(&a->prompt, text, len);
    } else {
        return api_fail(e, 400, "invalid_type", "prompt",
                        "'prompt' must be text, or one list of token numbers");
    }
    if (a->n_tokens == 0)
        return api_fail(e, 400, "invalid_value", "prompt",
                        "'prompt' is empty, and this model has no token for the beginning of a text");
    if (a->n_tokens >= s->info.n_ctx) return too_long(e, "prompt", s);
    return true;
}

/* ---- /v1/chat/completions ---- */

static bool join_part(serve_text *to, const json_t *part, size_t m, size_t p, api_error *e)
{
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].content[%zu]", m, p);
    const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
    if (json_is_string(type) && strcmp(json_string_value(type), "text") != 0)
        return api_fail(e, 400, "unsupported_value", param, "%s is of type '%.40s'; only text is supported",
                        param, json_string_value(type));
    if (!json_is_string(type) || !json_is_string(text))
        return api_fail(e, 400, "invalid_type", param, "%s must be {\"type\": \"text\", \"text\": ...}",
                        param);
    text_add(to, json_string_value(text), json_string_length(text));
    return true;
}

/* The content of message m, to the end of `to`. */
static bool join_content(serve_text *to, const json_t *message, bool may_lack, size_t m, api_error *e)
{
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].content", m);
    const json_t *v = json_object_get(message, "content");
    if (json_is_string(v)) text_add(to, json_string_value(v), json_string_length(v));
    for (size_t p = 0; json_is_array(v) && p < json_array_size(v); p++)
        if (!join_part(to, json_array_get(v, p), m, p, e)) return false;
    if (json_is_string(v) || json_is_array(v) || (may_lack && (!v || json_is_null(v)))) return true;
    return api_fail(e, 400, v ? "invalid_type" : "missing_required_parameter", param,
                    "%s must be text, or a list of parts that are text", param);
}

static const char *role_of(const json_t *message, size_t m, api_error *e)
{
    static const char *const known[][2] = {
        { "system", "system" }, { "developer", "system" }, { "user", "user" }, { "assistant", "assistant" },
    };
    char param[64];
    snprintf(param, sizeof param, "messages[%zu]%s", m, json_is_object(message) ? ".role" : "");
    const char *role = json_string_value(json_object_get(message, "role"));
    for (size_t i = 0; role && i < sizeof known / sizeof *known; i++)
        if (!strcmp(role, known[i][0])) return known[i][1];
    if (role)
        api_fail(e, 400, "unsupported_value", param,
                 "%s is '%.40s'; system, developer, user and assistant are "
                 "supported",
                 param, role);
    else api_fail(e, 400, "invalid_type", param, "%s must be %s", param,
                  json_is_object(message) ? "text" : "an object with role and content");
    return NULL;
}

/* Message m to the end of all; its role and where its text begins into *out and *begin. */
static bool take_message(serve_text *all, const json_t *message, size_t m, lever_message *out, size_t *begin,
                         api_error *e)
{
    const char *role = role_of(message, m, e);
    if (!role) return false;
    const bool answer = !strcmp(role, "assistant");
    const json_t *reasoning = answer ? json_object_get(message, "reasoning_content") : NULL;
    const json_t *calls = json_object_get(message, "tool_calls");
    if (json_array_size(calls))
        return api_fail(e, 400, "unsupported_value", "messages",
                        "messages[%zu] calls tools, which this server does "
                        "not support",
                        m);
    *begin = all->n;
    if (json_string_length(reasoning)) { /* as the model wrote it; what becomes of it is up to the form */
        text_puts(all, "<think>\n");
        text_add(all, json_string_value(reasoning), json_string_length(reasoning));
        text_puts(all, "\n</think>\n\n");
    }
    if (!join_content(all, message, answer, m, e)) return false;
    *out = (lever_message){ .role = role, .len = all->n - *begin };
    return true;
}

static bool encode(serve_ask *a, server *s, const lever_message *talk, size_t n, size_t bytes, api_error *e)
{
    lever_error err = { 0 };
    const size_t work = lever_tokenize_bytes(s->engine, bytes) + bytes; /* the written talk, too */
    if (bytes / BYTES_OF_A_TOKEN > s->info.n_ctx) return too_long(e, "messages", s);
    if (!budget_take(&s->budget, work)) return no_memory(e);
    bool ok = room_for(a, s, s->info.n_ctx, e);
    if (ok) {
        const int64_t got = lever_chat_tokenize(s->engine, talk, n, a->think, a->tokens, a->tokens_cap, &err);
        ok = take_count(a, s, "messages", got, &err, e);
    }
    budget_give(&s->budget, work);
    if (ok && a->n_tokens >= s->info.n_ctx) return too_long(e, "messages", s);
    return ok;
}

bool ask_messages(serve_ask *a, server *s, const json_t *root, api_error *e)
{
    const json_t *list = json_object_get(root, "messages");
    const size_t n = json_array_size(list);
    if (!list) return api_fail(e, 400, "missing_required_parameter", "messages", "'messages' is missing");
    if (!json_is_array(list) || n == 0)
        return api_fail(e, 400, "invalid_type", "messages",
                        "'messages' must be a list of at least one message");
    const size_t bytes = n * (sizeof(lever_message) + sizeof(size_t));
    if (!budget_take(&s->budget, bytes)) return no_memory(e);
    lever_message *talk = malloc(n * sizeof *talk);
    size_t *begin = malloc(n * sizeof *begin);
    serve_text all = { .budget = &s->budget };
    bool ok = (talk && begin) || no_memory(e);
    for (size_t m = 0; ok && m < n; m++)
        ok = take_message(&all, json_array_get(list, m), m, &talk[m], &begin[m], e);
    if (ok && all.failed) ok = no_memory(e);
    for (size_t m = 0; ok && m < n; m++) talk[m].text = all.n ? all.p + begin[m] : "";
    if (ok) ok = encode(a, s, talk, n, all.n, e);
    text_fini(&all);
    free(begin);
    free(talk);
    budget_give(&s->budget, bytes);
    return ok;
}
