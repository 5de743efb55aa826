/* lever serve: what its parts share. One HTTP thread (libmicrohttpd's) reads requests and sends answers, the
 * engine thread makes the tokens, and the main thread keeps the time: it sees signals, slow senders and
 * clients that left.
 *
 *   request --serve_http--> serve_ask (JSON to tokens) --serve_queue--> serve_engine
 *   client <--serve_http-- out <--serve_answer-- serve_engine
 *
 * server.lock guards what is marked so; it is held for copies of text at most, never during a step of the
 * engine. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_H
#define LEVER_APPS_SERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "app.h"
#include "lever/chat.h"
#include "model_args.h"
#include "serve_ask.h"
#include "serve_text.h"

enum {
    SERVE_SLOTS_MOST = 64,       /* as many sessions as an engine takes */
    SERVE_KEYS_MOST = 64,
    SERVE_STATUS_GONE = 499,     /* in logs: the client left before its answer */
    SERVE_CLIENTS_MOST = 64,     /* that the queue remembers having served */
    SERVE_HEADER_BYTES = 16384,  /* of one request, with what is read ahead of its body */
};

/* ---- settings: the command line, and what follows from it ---- */

typedef struct serve_args {
    model_args     model;
    chat_args      chat;
    lever_sampling sampling;     /* where a request says nothing */
    const char    *host, *alias, *api_key, *api_key_file, *cors, *allow_host;
    uint32_t       port, parallel, max_tokens, queue, connections, per_ip, timeout_s, grace_s;
    uint64_t       max_body, seed, disk;
    bool           has_seed, quiet, log_json, help;
} serve_args;

/* ---- a request while it is answered ---- */

enum serve_state { SERVE_NEW, SERVE_QUEUED, SERVE_RUNNING, SERVE_DONE };
enum serve_end {
    SERVE_END_STOP,
    SERVE_END_LENGTH,
    SERVE_END_GONE,
    SERVE_END_SHUTDOWN,
    SERVE_END_SLOW,
    SERVE_END_ERROR
};

typedef struct serve_answer serve_answer;
struct server;
struct MHD_Connection;

typedef struct serve_request {
    struct server *server;
    serve_ask ask;           /* constant once it is queued */
    char      id[40];        /* "chatcmpl-..." */
    char      peer[64];      /* address of the client, for the log */
    uint64_t  client;        /* whose turn it is is decided by this: API key, or address */
    uint64_t  begin_ns;
    uint64_t  first_ns;      /* of the engine thread: first token, 0: none yet */
    int64_t   created;       /* seconds since 1970 */
    serve_answer *answer;    /* of the engine thread */

    /* under server.lock */
    struct serve_request *next; /* in the queue */
    int       state;         /* enum serve_state */
    int       refs;          /* HTTP's and the engine's */
    bool      gone;          /* the client is not there any more */
    bool      suspended;     /* the connection waits for out or status */
    struct MHD_Connection *connection; /* NULL: HTTP has let it go */
    lever_session *session;  /* while it runs */
    int       status;        /* HTTP's; 0: not known yet */
    int       retry_after_s; /* with status 503; 0: no such header */
    serve_text out;          /* what the client has not got yet */
    uint64_t  done_ns;
    char      detail[200];   /* for the log */
} serve_request;

/* ---- the server ---- */

enum serve_phase { SERVE_LOADING, SERVE_READY, SERVE_STOPPING, SERVE_ENDING };

typedef struct serve_second { uint64_t at_s; uint64_t tokens, sweeps, read_bytes; } serve_second;

typedef struct serve_counts { /* since the start; under server.lock */
    uint64_t prompt_tokens, cached_tokens, new_tokens, drafted, accepted, rows, sweeps, read_bytes;
    uint64_t answers[6];     /* by enum serve_end */
    /* of the HTTP thread, but for refused_full */
    uint64_t refused_full, refused_body, refused_key, refused_host, refused_memory;
    uint64_t statuses[600];  /* answers by HTTP status */
    uint64_t first_n, total_n, kept_saved, kept_loaded;
    double   first_s, total_s; /* sums of waiting for the first token, and for the whole answer */
} serve_counts;

typedef struct serve_slot {
    lever_session *session;
    serve_request *request;  /* NULL: idle */
    uint64_t       used;     /* ticks: the smaller, the longer ago */
} serve_slot;

typedef struct serve_client { uint64_t client, served; } serve_client;

typedef struct server {
    serve_args     args;
    lever_config   config;   /* of the engine; strings are of args */
    lever_engine  *engine;   /* NULL while loading. tokenize and text of tokens may be used by any thread */
    lever_engine_info info;
    lever_chat_info form;
    char           model[128]; /* the id clients see */
    int64_t        created;
    bool           loopback; /* bound to this machine only */
    char           keys[SERVE_KEYS_MOST][256];
    uint32_t       n_keys;
    serve_budget   budget;
    atomic_int     phase;    /* enum serve_phase */
    uint64_t       seed_state; /* of the HTTP thread: seeds for requests without one */
    uint64_t       n_ids;    /* of the HTTP thread */

    pthread_mutex_t lock;
    pthread_cond_t  work;    /* the engine thread waits on it */
    /* under lock */
    serve_request *queue;    /* first come first, chosen fairly */
    uint32_t       n_queued, n_connections;
    uint32_t       n_active; /* SERVE_RUNNING; changed by the engine thread only, which may read it without */
    serve_client   clients[SERVE_CLIENTS_MOST];
    uint64_t       n_served;
    serve_counts   counts;
    serve_second   seconds[16]; /* of now, by second modulo 16 */
    bool           cut;      /* running answers are to end at once */
    bool           engine_over; /* the engine thread has ended */

    /* of the engine thread */
    serve_slot     slots[SERVE_SLOTS_MOST];
    uint32_t       n_slots;
    uint64_t       ticks;
    struct serve_kept *kept;
    /* of the HTTP thread and the main thread */
    struct serve_http *http;
} server;

/* ---- serve_queue.c ---- */

/* Put a new request, whose ask and client are set, into the queue. false: the queue is full, or nobody will
 * take anything out of it any more. A client that has left meanwhile needs no place: true, and it is
 * SERVE_DONE. */
bool serve_queue_push(server *s, serve_request *r);
/* The next to be answered, fairly among clients; NULL: none waits. Takes it out of the queue, and it is
 * SERVE_RUNNING until serve_request_done. With the lock. */
serve_request *serve_queue_pop(server *s);
/* Take it out, if it is there. With the lock. */
void serve_queue_remove(server *s, serve_request *r);
/* One of its two owners lets it go; the last one frees it. Without the lock. */
void serve_request_drop(server *s, serve_request *r);
/* One that was never queued. */
void serve_request_free(server *s, serve_request *r);
/* There is something new for the connection. With the lock. */
void serve_request_wake(server *s, serve_request *r);
/* An answer ends as this without having begun: status and an error as its body, or as the last event of a
 * stream that has begun. With the lock. */
void serve_request_fail(server *s, serve_request *r, int end, const api_error *e);
/* It has ended, and nothing will be added to out. With the lock. */
void serve_request_done(server *s, serve_request *r, int end);
/* The client has left: its place is free at once, or with the end of the cycle. With the lock. */
void serve_request_gone(server *s, serve_request *r);
/* Seconds after which a refused client may find a place. With the lock. */
int  serve_queue_wait_s(const server *s);

/* ---- serve_engine.c ---- */

/* Sizes that follow from the arguments: memory for requests, and with it all that the program takes beside
 * the engine; then how many sessions fit, if that was left open. */
void serve_plan_own(server *s);
int  serve_plan_sessions(server *s, lever_error *err);
/* Thread: opens the engine, answers until phase is SERVE_STOPPING and nothing is left. user: a
 * serve_engine_result with s set. phase becomes SERVE_READY in between, and engine_over is true at the
 * end. */
typedef struct serve_engine_result { server *s; int rc; lever_error err; } serve_engine_result;
void *serve_engine_main(void *user);
/* When that thread has ended, and nobody uses the engine any more. */
void serve_engine_close(server *s);

/* ---- serve_metrics.c: with the lock for counting ---- */

void serve_count_sweep(server *s, uint64_t tokens, uint64_t read_bytes); /* read: since the start */
void serve_metrics(server *s, serve_text *out);
void serve_status(server *s, serve_text *out);

/* ---- serve_log.c ---- */

/* One line on stderr about a request; NULL-terminated details may be "". */
void serve_log_request(const server *s, const char *peer, const char *method, const char *path, int status,
                       uint64_t begin_ns, const char *detail);
/* A line for people, unless --quiet. */
void serve_log(const server *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
