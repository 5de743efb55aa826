/* SPDX-License-Identifier: MIT */
#include "serve_ask.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

bool api_fail(api_error *e, int status, const char *code, const char *param, const char *format, ...)
{
    *e = (api_error){ .status = status, .code = code };
    e->type = status == 401 || status == 403 ? "authentication_error"
              : status == 429                ? "rate_limit_error"
              : status >= 500                ? "server_error"
                                             : "invalid_request_error";
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    return false;
}

void api_error_json(serve_text *out, const api_error *e)
{
    text_puts(out, "{\"error\":{\"message\":");
    text_json(out, e->message, strlen(e->message));
    text_printf(out, ",\"type\":\"%s\",\"param\":", e->type);
    if (e->param[0]) text_json(out, e->param, strlen(e->param));
    else text_puts(out, "null");
    if (e->code) text_printf(out, ",\"code\":\"%s\"}}", e->code);
    else text_puts(out, ",\"code\":null}}");
}

/* ---- JSON within bounds ---- */

/* Jansson's own needs are many times the text: 1 byte of "[[],[],..." takes some 40. What one parse may ask
 * for in all is bounded, so it may also be less than it could have had. */
static _Thread_local size_t json_room = SIZE_MAX;
static _Thread_local bool json_refused;

static void *json_malloc(size_t n)
{
    if (n > json_room) json_refused = true;
    if (n > json_room) return NULL;
    if (json_room != SIZE_MAX) json_room -= n;
    return malloc(n);
}

/* A string of n bytes asks for 6 n at most; a token id of 2 bytes, comma included, for some 40. */
static size_t json_most(size_t len) { return 6 * len + (256 << 10); }

/* Deepest nesting, counted without recursion. */
static size_t json_depth(const char *s, size_t n)
{
    size_t depth = 0, most = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\') i++;
            else if (s[i] == '"') in_string = false;
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '[' || s[i] == '{') {
            if (++depth > most) most = depth;
        } else if ((s[i] == ']' || s[i] == '}') && depth) {
            depth--;
        }
    }
    return most;
}

json_t *ask_json(server *s, const char *body, size_t len, api_error *e)
{
    json_error_t why = { 0 };
    const size_t depth = json_depth(body, len);
    if (depth > ASK_DEPTH_MOST) {
        api_fail(e, 400, "json_too_deep", NULL, "the body is nested %zu deep; at most %d are taken", depth,
                 ASK_DEPTH_MOST);
        return NULL;
    }
    if (!budget_take(&s->budget, json_most(len))) {
        api_fail(e, 503, "out_of_memory", NULL, "the memory for requests is taken by others; try again");
        return NULL;
    }
    json_set_alloc_funcs(json_malloc, free);
    json_room = json_most(len);
    json_refused = false;
    json_t *root = json_loadb(body, len, JSON_REJECT_DUPLICATES, &why);
    json_room = SIZE_MAX;
    if (root && json_is_object(root)) return root;
    ask_json_done(s, len);
    const enum json_error_code code = json_error_code(&why);
    if (root) api_fail(e, 400, "invalid_json", NULL, "the body is JSON, but not an object");
    else if (json_refused || code == json_error_out_of_memory)
        api_fail(e, 413, "json_too_large", NULL, "the body has too many small parts to be held in memory");
    else if (code == json_error_invalid_utf8)
        api_fail(e, 400, "invalid_utf8", NULL, "the body is not valid UTF-8 (at byte %d)", why.position);
    else api_fail(e, 400, "invalid_json", NULL, "the body is not JSON: line %d: %s", why.line, why.text);
    json_decref(root);
    return NULL;
}

void ask_json_done(server *s, size_t len) { budget_give(&s->budget, json_most(len)); }

/* ---- fields ---- */

static const json_t *field(const json_t *root, const char *name)
{
    const json_t *v = json_object_get(root, name);
    return json_is_null(v) ? NULL : v;
}

static bool wrong_type(api_error *e, const char *name, const char *wanted)
{
    return api_fail(e, 400, "invalid_type", name, "'%s' must be %s", name, wanted);
}

bool ask_bool(const json_t *root, const char *name, bool *out, api_error *e)
{
    const json_t *v = field(root, name);
    if (!v) return true;
    if (!json_is_boolean(v)) return wrong_type(e, name, "true or false");
    *out = json_is_true(v);
    return true;
}

bool ask_number(const json_t *root, const char *name, double min, double max, double *out, api_error *e)
{
    const json_t *v = field(root, name);
    if (!v) return true;
    if (!json_is_number(v)) return wrong_type(e, name, "a number");
    const double n = json_number_value(v);
    if (!(n >= min && n <= max))
        return api_fail(e, 400, "invalid_value", name, "'%s' is %g, but must be from %g to %g", name, n, min,
                        max);
    *out = n;
    return true;
}

bool ask_integer(const json_t *root, const char *name, int64_t min, int64_t max, int64_t *out, api_error *e)
{
    const json_t *v = field(root, name);
    if (!v) return true;
    if (!json_is_integer(v)) return wrong_type(e, name, "a whole number");
    const int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return api_fail(e, 400, "invalid_value", name, "'%s' is %lld, but must be from %lld to %lld", name,
                        (long long)n, (long long)min, (long long)max);
    *out = n;
    return true;
}

/* ---- what is not offered ---- */

static bool is_neutral(const char *name, const json_t *v)
{
    const char *text = json_is_string(v) ? json_string_value(v) : NULL;
    if (!v || json_is_null(v) || json_is_false(v)) return true;
    if (json_is_number(v)) {
        const bool from_one = !strcmp(name, "n") || !strcmp(name, "best_of");
        return json_number_value(v) == (from_one ? 1.0 : 0.0); // NOLINT: exactly these
    }
    if (text) return !*text || (strstr(name, "_c") && (!strcmp(text, "none") || !strcmp(text, "auto")));
    if (json_is_array(v) && json_array_size(v) == 1 && !strcmp(name, "modalities")) {
        const char *only = json_string_value(json_array_get(v, 0));
        return only && !strcmp(only, "text");
    }
    if (json_is_object(v) && !strcmp(name, "response_format")) {
        const char *type = json_string_value(json_object_get(v, "type"));
        return type && !strcmp(type, "text");
    }
    return json_is_array(v) ? json_array_size(v) == 0 : json_is_object(v) && json_object_size(v) == 0;
}

/* Fields that change what an answer is. Ignoring one would give another answer than was asked for. */
static bool refuse_unsupported(const json_t *root, api_error *e)
{
    static const char *const names[] = {
        "n", "best_of", "tools", "tool_choice", "functions", "function_call", "response_format",
        "logit_bias", "modalities", "audio", "web_search_options", "suffix", "presence_penalty",
        "frequency_penalty", "grammar", "json_schema", "guided_json", "guided_regex", "guided_choice",
        "guided_grammar", "mirostat",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = json_object_get(root, names[i]);
        if (is_neutral(names[i], v)) continue;
        if (i < 2 && !json_is_integer(v)) return wrong_type(e, names[i], "a whole number");
        if (i < 2) return api_fail(e, 400, "unsupported_value", names[i],
                                   "'%s' must be 1: one answer is made per request", names[i]);
        return api_fail(e, 400, "unsupported_parameter", names[i],
                        "'%s' is not supported by this server; leave it out", names[i]);
    }
    return true;
}

/* ---- groups of fields ---- */

static bool read_sampling(serve_ask *a, server *s, const json_t *root, api_error *e)
{
    lever_sampling *p = &a->sampling;
    *p = s->args.sampling;
    double temperature = p->temperature, top_p = p->top_p, min_p = p->min_p, penalty = p->repeat_penalty;
    int64_t top_k = p->top_k, last_n = p->repeat_last_n, seed = 0;
    if (!ask_number(root, "temperature", 0, 2, &temperature, e) ||
        !ask_number(root, "top_p", 0, 1, &top_p, e) || !ask_number(root, "min_p", 0, 1, &min_p, e) ||
        !ask_integer(root, "top_k", -1, INT32_MAX, &top_k, e) ||
        !ask_number(root, "repeat_penalty", 0.01, 100, &penalty, e) ||
        !ask_number(root, "repetition_penalty", 0.01, 100, &penalty, e) ||
        !ask_integer(root, "repeat_last_n", 0, INT32_MAX, &last_n, e) ||
        !ask_integer(root, "seed", INT64_MIN, INT64_MAX, &seed, e))
        return false;
    p->temperature = (float)temperature;
    p->top_p = top_p > 1e-6 ? (float)top_p : 1e-6f; /* 0 is the likeliest token alone, as elsewhere */
    p->min_p = (float)min_p;
    p->top_k = top_k < 0 ? 0 : (int32_t)top_k; /* -1: off, as elsewhere */
    p->repeat_penalty = (float)penalty;
    p->repeat_last_n = (int32_t)last_n;
    if (field(root, "seed")) p->seed = (uint64_t)seed;
    else if (s->args.has_seed) p->seed = s->args.seed;
    else { /* a step of splitmix64; 53 bits pass through every JSON reader unharmed */
        uint64_t z = s->seed_state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        p->seed = (z ^ (z >> 31)) >> 11;
    }
    return true;
}

static bool add_stop(serve_ask *a, const json_t *v, api_error *e)
{
    const size_t n = json_string_length(v);
    if (!json_is_string(v)) return wrong_type(e, "stop", "a string or a list of strings");
    if (n < 1 || n > ASK_STOP_BYTES || a->n_stops == ASK_STOPS_MOST)
        return api_fail(e, 400, "invalid_value", "stop", "'stop' takes at most %d strings of 1 to %d bytes",
                        ASK_STOPS_MOST, ASK_STOP_BYTES);
    a->stop_bytes[a->n_stops++] = (uint16_t)n;
    text_add(&a->stops, json_string_value(v), n);
    return true;
}

static bool read_stops(serve_ask *a, const json_t *root, api_error *e)
{
    const json_t *v = field(root, "stop");
    if (!v) return true;
    if (!json_is_array(v)) return add_stop(a, v, e);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!add_stop(a, json_array_get(v, i), e)) return false;
    return true;
}

static bool read_logprobs(serve_ask *a, const json_t *root, api_error *e)
{
    int64_t n = -1;
    if (a->kind == SERVE_COMPLETION) {
        if (!ask_integer(root, "logprobs", 0, ASK_LOGPROBS_MOST, &n, e)) return false;
        a->logprobs = n >= 0;
        a->n_top = n > 0 ? (uint32_t)n : 0;
        return true;
    }
    if (!ask_bool(root, "logprobs", &a->logprobs, e) ||
        !ask_integer(root, "top_logprobs", 0, ASK_LOGPROBS_MOST, &n, e))
        return false;
    if (n > 0 && !a->logprobs)
        return api_fail(e, 400, "invalid_value", "top_logprobs",
                        "'top_logprobs' needs 'logprobs' to be true");
    a->n_top = n > 0 ? (uint32_t)n : 0;
    return true;
}

static bool read_length(serve_ask *a, const server *s, const json_t *root, api_error *e)
{
    int64_t n = a->kind == SERVE_COMPLETION ? 16 : 0; /* OpenAI's own defaults */
    if (!ask_integer(root, "max_tokens", 1, INT32_MAX, &n, e) ||
        !ask_integer(root, "max_completion_tokens", 1, INT32_MAX, &n, e))
        return false;
    const uint32_t most = s->args.max_tokens;
    a->max_tokens = most && (n == 0 || n > most) ? most : (uint32_t)n;
    return true;
}

static bool read_stream(serve_ask *a, const json_t *root, api_error *e)
{
    if (!ask_bool(root, "stream", &a->stream, e)) return false;
    const json_t *options = field(root, "stream_options");
    if (!options) return true;
    if (!json_is_object(options)) return wrong_type(e, "stream_options", "an object");
    if (!a->stream)
        return api_fail(e, 400, "invalid_value", "stream_options",
                        "'stream_options' needs 'stream' to be true");
    return ask_bool(options, "include_usage", &a->include_usage, e);
}

/* Reasoning is switched by "lever": {"think": ...}, by what templates call it elsewhere, or by OpenAI's
 * effort. */
static bool read_extras(serve_ask *a, const server *s, const json_t *root, api_error *e)
{
    a->think = chat_args_think(&s->args.chat);
    const json_t *effort = field(root, "reasoning_effort"), *template = field(root, "chat_template_kwargs"),
                 *own = field(root, "lever");
    if (effort && !json_is_string(effort)) return wrong_type(e, "reasoning_effort", "a string");
    if (effort) a->think = strcmp(json_string_value(effort), "none") != 0;
    if (template && !json_is_object(template)) return wrong_type(e, "chat_template_kwargs", "an object");
    if (template && !ask_bool(template, "enable_thinking", &a->think, e)) return false;
    if (own && !json_is_object(own)) return wrong_type(e, "lever", "an object");
    return !own || (ask_bool(own, "cycles", &a->cycles, e) && ask_bool(own, "think", &a->think, e));
}

bool ask_read(serve_ask *a, server *s, int kind, const json_t *root, api_error *e)
{
    *a = (serve_ask){ .kind = kind, .stops = { .budget = &s->budget }, .prompt = { .budget = &s->budget } };
    const json_t *model = field(root, "model");
    if (model && !json_is_string(model)) return wrong_type(e, "model", "a string");
    if (!refuse_unsupported(root, e) || !read_sampling(a, s, root, e) || !read_stops(a, root, e) ||
        !read_logprobs(a, root, e) || !read_length(a, s, root, e) || !read_stream(a, root, e) ||
        !read_extras(a, s, root, e) || !ask_bool(root, "echo", &a->echo, e) ||
        !ask_bool(root, "ignore_eos", &a->ignore_end, e))
        return false;
    a->echo = a->echo && kind == SERVE_COMPLETION;
    if (a->echo && a->logprobs)
        return api_fail(e, 400, "unsupported_value", "echo", "'echo' does not go with 'logprobs'");
    if (!(kind == SERVE_CHAT ? ask_messages(a, s, root, e) : ask_prompt(a, s, root, e))) return false;
    if (a->stops.failed || a->prompt.failed)
        return api_fail(e, 503, "out_of_memory", NULL,
                        "the memory for requests is taken by others; try again");
    return true;
}

void ask_fini(serve_ask *a, serve_budget *b)
{
    if (a->tokens_cap) budget_give(b, a->tokens_cap * sizeof *a->tokens);
    free(a->tokens);
    a->tokens = NULL;
    a->n_tokens = a->tokens_cap = 0;
    text_fini(&a->stops);
    text_fini(&a->prompt);
}
