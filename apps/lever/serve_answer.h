/* An answer while it is made: what the engine says becomes reasoning and text, ends at stop sequences, and
 * goes out as events of a stream or as one object. Threading: of the engine thread.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_ANSWER_H
#define LEVER_APPS_SERVE_ANSWER_H

#include "serve.h"

/* Begin; NULL: out of memory. cached: tokens of the prompt that need no evaluation. */
serve_answer *answer_open(server *s, serve_request *r, size_t cached);
/* Frees what an answer holds; accepts NULL. */
void answer_close(serve_answer *a);

/* For lever_generate_params; the user is the serve_answer. */
bool answer_on_token(void *user, const lever_token_event *event);
void answer_on_cycle(void *user, const lever_cycle_view *view);

/* The first event of a stream, when the answer begins. */
void answer_begin(serve_answer *a);
/* What came up since the last call goes to the request; end (enum serve_end): and that was all; -1: more will
 * come. Without the lock. false: there is no memory for it, or the client has not read for too long; an
 * answer that is a stream then ends as SERVE_END_SLOW. */
bool answer_flush(serve_answer *a, int end);
/* The end; enum serve_end other than GONE, SHUTDOWN and ERROR, which have no answer. What is written then
 * waits for answer_flush. */
void answer_finish(serve_answer *a, const lever_stats *stats);
/* Why it ended before the engine said so: SERVE_END_STOP (a stop sequence), _SLOW (the client does not read),
 * _LENGTH (no memory for more); -1: it has not. */
int answer_ended(const serve_answer *a);

/* serve_cycle.c: the lever.cycle event of the page. */
void cycle_event(serve_text *out, const lever_engine *engine, uint64_t begin_ns,
                 const lever_cycle_view *view);
/* Text of a token as a JSON string. */
void cycle_token(serve_text *out, const lever_engine *engine, int32_t token);

/* serve_stop.c: text that goes out as soon as it is certain that no stop sequence has begun in it. */
typedef struct stop_filter {
    const serve_ask *ask;
    serve_text held;
    bool stopped;
} stop_filter;
typedef void (*stop_out)(void *user, const char *text, size_t n);
/* More text, whole characters. Returns false when a sequence was met: what comes before it has gone out. */
bool stop_push(stop_filter *f, const char *text, size_t n, stop_out out, void *user);
/* The end: what is held goes out. */
void stop_flush(stop_filter *f, stop_out out, void *user);

#endif
