/* What is at which path. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "serve_http.h"

#ifdef LEVER_HAVE_MICROHTTPD

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "page_files.h"
#include "serve_answer.h"
#include "serve_guard.h"

/* ---- replies ---- */

static const char *header(struct MHD_Connection *c, const char *name)
{
    return lib_MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static void put_cors(const server *s, struct MHD_Connection *c, struct MHD_Response *response)
{
    const char *origin = header(c, "Origin");
    if (!s->args.cors || !origin || !guard_origin(s, origin, NULL)) return;
    lib_MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    lib_MHD_add_response_header(response, "Vary", "Origin");
    lib_MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    lib_MHD_add_response_header(response, "Access-Control-Allow-Headers", "Authorization, Content-Type");
    lib_MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

enum MHD_Result route_queue(server *s, serve_call *call, int status, struct MHD_Response *response)
{
    char retry[16];
    lib_MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (status != 304 && !(call->route && call->route->is_open))
        lib_MHD_add_response_header(response, "Cache-Control", "no-store");
    if (call->request) lib_MHD_add_response_header(response, "X-Request-Id", call->request->id);
    if (call->retry_after_s) {
        snprintf(retry, sizeof retry, "%d", call->retry_after_s);
        lib_MHD_add_response_header(response, "Retry-After", retry);
    }
    if (status == 401) lib_MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 405 || !strcmp(call->method, "OPTIONS"))
        lib_MHD_add_response_header(
            response, "Allow", call->route && call->route->is_post ? "POST, OPTIONS" : "GET, HEAD, OPTIONS");
    put_cors(s, call->conn->connection, response);
    const enum MHD_Result rc = lib_MHD_queue_response(call->conn->connection, (unsigned)status, response);
    lib_MHD_destroy_response(response);
    call->replied = true;
    call->status = status;
    pthread_mutex_lock(&s->lock);
    call->conn->sending = true;
    call->conn->since_ns = now_ns();
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum MHD_Result reply(server *s, serve_call *call, int status, const char *type, const serve_text *t)
{
    struct MHD_Response *response = lib_MHD_create_response_from_buffer(t->n, t->p, MHD_RESPMEM_MUST_COPY);
    if (!response) return MHD_NO;
    lib_MHD_add_response_header(response, "Content-Type", type);
    return route_queue(s, call, status, response);
}

/* A body that was put together; frees it. */
static enum MHD_Result reply_json(server *s, serve_call *call, serve_text *t)
{
    api_error e;
    api_fail(&e, 503, "out_of_memory", NULL, "the memory for requests is taken by others; try again");
    const enum MHD_Result rc =
        t->failed ? route_error(s, call, &e) : reply(s, call, 200, "application/json", t);
    text_fini(t);
    return rc;
}

enum MHD_Result route_error(server *s, serve_call *call, const api_error *e)
{
    if (e->code && !strcmp(e->code, "out_of_memory")) {
        s->counts.refused_memory++;
        call->retry_after_s = 1;
    }
    serve_budget own = { .limit = 8192 }; /* an error is told however little memory there is */
    serve_text t = { .budget = &own };
    api_error_json(&t, e);
    text_puts(&t, "\n");
    const enum MHD_Result rc = reply(s, call, e->status, "application/json", &t);
    text_fini(&t);
    return rc;
}

/* ---- small routes ---- */

static enum MHD_Result health(server *s, serve_call *call)
{
    static const char *const names[] = { "loading", "ok", "shutting down", "shutting down" };
    const int phase = atomic_load(&s->phase);
    serve_text t = { .budget = &s->budget };
    text_printf(&t, "{\"status\":\"%s\"}\n", names[phase]);
    const enum MHD_Result rc = reply(s, call, phase == SERVE_READY ? 200 : 503, "application/json", &t);
    text_fini(&t);
    return rc;
}

static void put_model(server *s, serve_text *t)
{
    text_puts(t, "{\"id\":");
    text_json(t, s->model, strlen(s->model));
    text_printf(t, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"lever\",\"context_length\":%u}",
                (long long)s->created, s->info.n_ctx);
}

static enum MHD_Result models(server *s, serve_call *call)
{
    serve_text t = { .budget = &s->budget };
    text_puts(&t, "{\"object\":\"list\",\"data\":[");
    put_model(s, &t);
    text_puts(&t, "]}\n");
    return reply_json(s, call, &t);
}

static enum MHD_Result one_model(server *s, serve_call *call)
{
    const char *id = call->path + strlen(call->route->path);
    if (strcmp(id, s->model) != 0) {
        api_error e;
        api_fail(&e, 404, "model_not_found", "model", "there is no model '%.80s' here, only '%s'", id,
                 s->model);
        return route_error(s, call, &e);
    }
    serve_text t = { .budget = &s->budget };
    put_model(s, &t);
    text_puts(&t, "\n");
    return reply_json(s, call, &t);
}

static enum MHD_Result metrics(server *s, serve_call *call)
{
    serve_text t = { .budget = &s->budget };
    serve_metrics(s, &t);
    const enum MHD_Result rc = reply(s, call, 200, "text/plain; version=0.0.4; charset=utf-8", &t);
    text_fini(&t);
    return rc;
}

static enum MHD_Result status(server *s, serve_call *call)
{
    serve_text t = { .budget = &s->budget };
    serve_status(s, &t);
    return reply_json(s, call, &t);
}

static enum MHD_Result page(server *s, serve_call *call)
{
    const page_file *file = NULL;
    for (size_t i = 0; i < n_page_files && !file; i++)
        if (!strcmp(page_files[i].path, call->path)) file = &page_files[i];
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < file->n; i++) hash = (hash ^ file->bytes[i]) * 0x100000001b3u;
    char etag[24];
    snprintf(etag, sizeof etag, "\"%016llx\"", (unsigned long long)hash);
    const char *known = header(call->conn->connection, "If-None-Match");
    const bool same = known && strstr(known, etag);
    struct MHD_Response *response = lib_MHD_create_response_from_buffer(
        same ? 0 : file->n, (void *)(uintptr_t)file->bytes, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    lib_MHD_add_response_header(response, "Content-Type", file->content_type);
    lib_MHD_add_response_header(response, "Content-Security-Policy", PAGE_CSP);
    lib_MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    lib_MHD_add_response_header(response, "Cache-Control", "no-cache");
    lib_MHD_add_response_header(response, "ETag", etag);
    return route_queue(s, call, same ? 304 : 200, response);
}

/* ---- tokens ---- */

static bool read_tokenize(server *s, serve_ask *ask, const json_t *root, api_error *e)
{
    bool special = false, bos = false;
    const json_t *text = json_object_get(root, "content");
    if (!text) text = json_object_get(root, "prompt");
    if (!json_is_string(text))
        return api_fail(e, 400, text ? "invalid_type" : "missing_required_parameter", "content",
                        "'content' must be text");
    if (!ask_bool(root, "add_special", &bos, e) || !ask_bool(root, "parse_special", &special, e))
        return false;
    const unsigned flags = (bos ? 0u : LEVER_ENCODE_NO_BOS) | (special ? LEVER_ENCODE_PARSE_SPECIAL : 0u);
    return ask_tokenize(ask, s, json_string_value(text), json_string_length(text), flags, s->args.max_body,
                        e);
}

static enum MHD_Result tokenize(server *s, serve_call *call)
{
    api_error e;
    serve_ask ask = { .stops.budget = &s->budget, .prompt.budget = &s->budget };
    json_t *root = ask_json(s, call->body.p, call->body.n, &e);
    if (!root) return route_error(s, call, &e);
    const bool ok = read_tokenize(s, &ask, root, &e);
    json_decref(root);
    ask_json_done(s, call->body.n);
    serve_text t = { .budget = &s->budget };
    text_puts(&t, "{\"tokens\":[");
    for (size_t i = 0; ok && i < ask.n_tokens; i++) text_printf(&t, i ? ",%d" : "%d", ask.tokens[i]);
    text_printf(&t, "],\"count\":%zu}\n", ask.n_tokens);
    ask_fini(&ask, &s->budget);
    if (ok) return reply_json(s, call, &t);
    text_fini(&t);
    return route_error(s, call, &e);
}

static bool read_detokenize(server *s, const json_t *root, serve_text *text, api_error *e)
{
    const json_t *list = json_object_get(root, "tokens");
    if (!json_is_array(list))
        return api_fail(e, 400, list ? "invalid_type" : "missing_required_parameter", "tokens",
                        "'tokens' must be a list of token numbers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        char one[512];
        if (!json_is_integer(v))
            return api_fail(e, 400, "invalid_type", "tokens", "'tokens' must be numbers");
        const json_int_t token = json_integer_value(v);
        if (token < 0 || token >= lever_n_vocab(s->engine))
            return api_fail(e, 400, "invalid_value", "tokens", "token %lld is not in the vocabulary of %d",
                            (long long)token, lever_n_vocab(s->engine));
        const size_t n = lever_token_text(s->engine, (int32_t)token, one, sizeof one);
        text_add(text, one, n < sizeof one ? n : sizeof one - 1);
    }
    return true;
}

static enum MHD_Result detokenize(server *s, serve_call *call)
{
    api_error e;
    serve_text text = { .budget = &s->budget }, t = { .budget = &s->budget };
    json_t *root = ask_json(s, call->body.p, call->body.n, &e);
    if (!root) return route_error(s, call, &e);
    const bool ok = read_detokenize(s, root, &text, &e);
    json_decref(root);
    ask_json_done(s, call->body.n);
    text_puts(&t, "{\"content\":");
    text_json(&t, text.p, text.n);
    text_puts(&t, "}\n");
    t.failed |= text.failed;
    text_fini(&text);
    if (ok) return reply_json(s, call, &t);
    text_fini(&t);
    return route_error(s, call, &e);
}

static bool check_phase(server *s, serve_call *call, api_error *e)
{
    const int phase = atomic_load(&s->phase);
    if (phase == SERVE_READY || !call->route || call->route->is_open) return true;
    call->retry_after_s = phase == SERVE_LOADING ? 1 : 0;
    return api_fail(e, 503, phase == SERVE_LOADING ? "loading" : "shutting_down", NULL,
                    phase == SERVE_LOADING ? "the model is being loaded" : "the server is shutting down");
}

/* ---- answers ---- */

static serve_request *new_request(server *s, serve_call *call, int kind)
{
    if (!budget_take(&s->budget, sizeof(serve_request))) return NULL;
    serve_request *r = calloc(1, sizeof *r);
    if (!r) {
        budget_give(&s->budget, sizeof *r);
        return NULL;
    }
    r->server = s;
    r->client = call->client;
    r->begin_ns = call->begin_ns;
    r->created = (int64_t)time(NULL);
    r->connection = call->conn->connection;
    r->out.budget = &s->budget;
    r->refs = 1;
    memcpy(r->peer, call->conn->peer, sizeof r->peer);
    snprintf(r->id, sizeof r->id, "%s-%012llx%08llx", kind == SERVE_CHAT ? "chatcmpl" : "cmpl",
             (unsigned long long)(s->seed_state >> 16), (unsigned long long)++s->n_ids & 0xffffffffu);
    return r;
}

static enum MHD_Result answer(server *s, serve_call *call, int kind)
{
    api_error e;
    json_t *root = ask_json(s, call->body.p, call->body.n, &e);
    if (!root) return route_error(s, call, &e);
    serve_request *r = new_request(s, call, kind);
    bool ok = r && ask_read(&r->ask, s, kind, root, &e);
    json_decref(root);
    ask_json_done(s, call->body.n);
    if (!r) api_fail(&e, 503, "out_of_memory", NULL, "the memory for requests is taken by others; try again");
    if (ok) {
        pthread_mutex_lock(&s->lock);
        call->conn->request = call->request = r;
        call->retry_after_s = serve_queue_wait_s(s);
        pthread_mutex_unlock(&s->lock);
        ok = serve_queue_push(s, r);
        if (ok) {
            call->retry_after_s = 0;
            return MHD_YES;
        }
        if (check_phase(s, call, &e))
            api_fail(&e, 429, "queue_full", NULL, "%u requests are waiting already; try again later",
                     s->args.queue);
        pthread_mutex_lock(&s->lock);
        call->conn->request = call->request = NULL;
        pthread_mutex_unlock(&s->lock);
    }
    if (r) serve_request_free(s, r);
    return route_error(s, call, &e);
}

static enum MHD_Result chat(server *s, serve_call *call) { return answer(s, call, SERVE_CHAT); }
static enum MHD_Result completion(server *s, serve_call *call) { return answer(s, call, SERVE_COMPLETION); }

/* ---- which one ---- */

static const route routes[] = {
    { "/v1/chat/completions", true, false, chat },
    { "/v1/completions", true, false, completion },
    { "/v1/models", false, false, models },
    { "/v1/models/", false, false, one_model },
    { "/health", false, true, health },
    { "/metrics", false, false, metrics },
    { "/lever/status", false, false, status },
    { "/tokenize", true, false, tokenize },
    { "/detokenize", true, false, detokenize },
};
static const route page_route = { "", false, true, page };

static const route *find_route(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const size_t n = strlen(routes[i].path);
        if (!strcmp(path, routes[i].path)) return &routes[i];
        if (routes[i].path[n - 1] == '/' && !strncmp(path, routes[i].path, n) && path[n]) return &routes[i];
    }
    for (size_t i = 0; i < n_page_files; i++)
        if (!strcmp(page_files[i].path, path)) return &page_route;
    return NULL;
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

/* Who asks, and may they? */
static bool check_asker(server *s, serve_call *call, struct MHD_Connection *c, api_error *e)
{
    const char *host = header(c, "Host"), *origin = header(c, "Origin");
    if (!guard_host(s, host)) {
        s->counts.refused_host++;
        return api_fail(e, 403, "host_not_allowed", NULL, "the host name '%.60s' is not one of this server "
                        "(--allow-host)", host);
    }
    if (!guard_origin(s, origin, host)) {
        s->counts.refused_host++;
        return api_fail(e, 403, "origin_not_allowed", NULL,
                        "pages of '%.60s' may not ask this server (--cors)", origin);
    }
    const bool open = (call->route && call->route->is_open) || !strcmp(call->method, "OPTIONS");
    const int key = guard_key(s, header(c, "Authorization"));
    call->client = key > 0 ? (uint64_t)key : hash_of(call->conn->peer);
    if (open || key >= 0) return true;
    s->counts.refused_key++;
    return api_fail(e, 401, "invalid_api_key", NULL,
                    "this server wants an API key: Authorization: Bearer KEY");
}

static bool check_method(serve_call *call, api_error *e)
{
    const bool post = !strcmp(call->method, "POST");
    const bool get = !strcmp(call->method, "GET") || !strcmp(call->method, "HEAD");
    if (!strcmp(call->method, "OPTIONS")) return true;
    if (!call->route) return api_fail(e, 404, "not_found", NULL, "there is nothing at %.120s", call->path);
    if (call->route->is_post ? post : get) return true;
    return api_fail(e, 405, "method_not_allowed", NULL, "%s takes %s, not %s", call->path,
                    call->route->is_post ? "POST" : "GET", call->method);
}

void route_begin(server *s, serve_call *call, struct MHD_Connection *c)
{
    const char *length = header(c, "Content-Length");
    api_error *e = &call->error;
    call->route = find_route(call->path);
    call->refused = !check_asker(s, call, c, e) || !check_method(call, e) || !check_phase(s, call, e);
    if (call->refused || !length || strtoull(length, NULL, 10) <= s->args.max_body) return;
    s->counts.refused_body++;
    call->refused = true;
    api_fail(e, 413, "body_too_large", NULL, "the body of %.20s bytes is longer than %llu (--max-body)",
             length, (unsigned long long)s->args.max_body);
}

enum MHD_Result route_run(server *s, serve_call *call)
{
    if (call->refused) return route_error(s, call, &call->error);
    if (!strcmp(call->method, "OPTIONS")) {
        const serve_text nothing = { 0 };
        return reply(s, call, 204, "text/plain", &nothing);
    }
    api_error e;
    if (!check_phase(s, call, &e)) return route_error(s, call, &e);
    return call->route->run(s, call);
}

#endif
