/* What a request asks for: the JSON of its body, checked field by field, and its prompt as tokens.
 * Threading: of the HTTP thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_ASK_H
#define LEVER_APPS_SERVE_ASK_H

#include <jansson.h>

#include "lever/chat.h"
#include "serve_text.h"

enum serve_kind { SERVE_CHAT, SERVE_COMPLETION };
enum { ASK_STOPS_MOST = 16, ASK_STOP_BYTES = 256, ASK_LOGPROBS_MOST = 20, ASK_DEPTH_MOST = 64 };

/* An error as clients of OpenAI's API know it. */
typedef struct api_error {
    int         status;
    const char *type, *code; /* static; code NULL: null */
    char        param[64];   /* "": null */
    char        message[512];
} api_error;

/* Fill *e; param may be NULL. Returns false, for the caller to return. */
bool api_fail(api_error *e, int status, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* {"error": {...}} */
void api_error_json(serve_text *out, const api_error *e);

typedef struct serve_ask {
    int      kind;           /* enum serve_kind */
    bool     stream, include_usage, cycles, echo, think, logprobs, ignore_end;
    uint32_t n_top;          /* of logprobs */
    uint32_t max_tokens;     /* 0: until the answer ends */
    lever_sampling sampling;
    int32_t *tokens;         /* [n_tokens] owned, charged to the budget */
    size_t   n_tokens, tokens_cap;
    serve_text stops;        /* stop sequences, one behind the other */
    uint32_t n_stops;
    uint16_t stop_bytes[ASK_STOPS_MOST];
    serve_text prompt;       /* text, for echo */
} serve_ask;

struct server;
/* Parse JSON of at most len bytes within the budget. NULL with *e: not JSON, not UTF-8, too deep, too
 * much. */
json_t *ask_json(struct server *s, const char *body, size_t len, api_error *e);
/* To be called once after ask_json's result was freed. */
void ask_json_done(struct server *s, size_t len);

/* false with *e. After either, ask_fini is due. */
bool ask_read(serve_ask *a, struct server *s, int kind, const json_t *root, api_error *e);
void ask_fini(serve_ask *a, serve_budget *b);

/* Fields: absent and null leave *out as it is; false with *e for another type or range. */
bool ask_bool(const json_t *root, const char *name, bool *out, api_error *e);
bool ask_number(const json_t *root, const char *name, double min, double max, double *out, api_error *e);
bool ask_integer(const json_t *root, const char *name, int64_t min, int64_t max, int64_t *out, api_error *e);

/* serve_prompt.c: the prompt of either kind as tokens. */
bool ask_messages(serve_ask *a, struct server *s, const json_t *root, api_error *e);
bool ask_prompt(serve_ask *a, struct server *s, const json_t *root, api_error *e);
/* Tokens of text into a->tokens. */
bool ask_tokenize(serve_ask *a, struct server *s, const char *text, size_t len, unsigned flags, size_t most,
                  api_error *e);

#endif
