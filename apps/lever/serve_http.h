/* Connections and requests, by libmicrohttpd. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_HTTP_H
#define LEVER_APPS_SERVE_HTTP_H

#include "serve.h"

/* ---- for the main thread ---- */

/* Bind and begin to answer. 0 with *port; or an exit code after a message. */
int  http_open(server *s, uint16_t *port);
/* To be called ten times a second: closes connections that are slow, and frees the places of clients that
 * left. */
void http_watch(server *s);
/* Take no more connections. */
void http_quiesce(server *s);
/* Connections that are owed an answer. */
uint32_t http_n_busy(server *s);
void http_close(server *s);

#ifdef LEVER_HAVE_MICROHTTPD
#include "serve_lib.h"

/* ---- between serve_http.c and serve_routes.c, both of the HTTP thread ---- */

typedef struct serve_conn { /* in the list under server.lock */
    struct serve_conn *prev, *next;
    struct MHD_Connection *connection;
    int       fd;
    char      peer[64];
    uint64_t  since_ns;  /* it began to wait for a request, or to send what was answered at once */
    bool      sending;
    serve_request *request; /* that is being answered; borrowed from the call */
} serve_conn;

typedef struct serve_call { /* one HTTP request */
    serve_conn *conn;
    const struct route *route;
    char      method[16], path[256];
    uint64_t  begin_ns, client;
    serve_text body;
    bool      refused, replied;
    api_error error;     /* refused: why */
    int       retry_after_s;
    int       status;    /* replied */
    serve_request *request; /* NULL: answered here */
} serve_call;

typedef struct route {
    const char *path;    /* ending in "/": all below it */
    bool  is_post, is_open; /* open: without an API key */
    /* Answers by route_reply or route_error, or sets call->request and has it queued. */
    enum MHD_Result (*run)(server *s, serve_call *call);
} route;

/* The head of a request is here: finds the route, and sets refused when it may not go on. */
void route_begin(server *s, serve_call *call, struct MHD_Connection *c);
/* The refusal, or what the route does. */
enum MHD_Result route_run(server *s, serve_call *call);
enum MHD_Result route_error(server *s, serve_call *call, const api_error *e);
/* Queue a response with the headers all have; destroys it. */
enum MHD_Result route_queue(server *s, serve_call *call, int status, struct MHD_Response *response);
#endif

#endif
