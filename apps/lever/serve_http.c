/* The HTTP thread's callbacks, and what the main thread does to connections. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "serve_http.h"

#ifdef LEVER_HAVE_MICROHTTPD

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HTTP_STACK_BYTES = 512 << 10, /* JSON of the depth that is taken needs 20 KiB */
    CONNECTIONS_MOST = 1024,
};

struct serve_http {
    struct MHD_Daemon *daemon;
    int         listen_fd;  /* -1: quiesced */
    serve_conn *conns;      /* under server.lock */
    struct pollfd *polls;   /* [connections] of the main thread */
    serve_conn **polled;
};

/* ---- connections ---- */

static void name_peer(serve_conn *c)
{
    const union MHD_ConnectionInfo *i =
        lib_MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = i ? i->client_addr : NULL;
    const socklen_t n =
        a && a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (!a || getnameinfo(a, n, c->peer, sizeof c->peer, NULL, 0, NI_NUMERICHOST)) strcpy(c->peer, "?");
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    server *s = user;
    serve_conn *c = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        c = calloc(1, sizeof *c);
        *context = c;
        if (!c) return; /* the first request ends the connection */
        const union MHD_ConnectionInfo *i =
            lib_MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        c->connection = connection;
        c->fd = i ? i->connect_fd : -1;
        c->since_ns = now_ns();
        name_peer(c);
    }
    if (!c) return;
    pthread_mutex_lock(&s->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        c->next = s->http->conns;
        if (c->next) c->next->prev = c;
        s->http->conns = c;
        s->n_connections++;
    } else {
        if (c->next) c->next->prev = c->prev;
        *(c->prev ? &c->prev->next : &s->http->conns) = c->next;
        s->n_connections--;
    }
    pthread_mutex_unlock(&s->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) return;
    free(c);
    *context = NULL;
}

/* ---- requests ---- */

static void free_call(server *s, serve_call *call)
{
    text_fini(&call->body);
    free(call);
    budget_give(&s->budget, sizeof *call);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    (void)connection;
    (void)why;
    server *s = user;
    serve_call *call = *context;
    if (!call) return;
    *context = NULL;
    pthread_mutex_lock(&s->lock);
    serve_request *r = call->request;
    if (r) {
        /* Whether all was sent: a stream is over when its end was read. */
        if (r->state != SERVE_DONE || r->out.n) serve_request_gone(s, r);
        r->connection = NULL;
        r->suspended = false;
    }
    const int status = r ? (r->gone ? SERVE_STATUS_GONE : r->status) : call->status;
    s->counts.statuses[status > 0 && status < 600 ? status : 0]++;
    call->conn->request = NULL;
    call->conn->sending = false;
    call->conn->since_ns = now_ns();
    pthread_mutex_unlock(&s->lock);
    if (r) serve_request_drop(s, r);
    else serve_log_request(s, call->conn->peer, call->method, call->path, status, call->begin_ns, "");
    free_call(s, call);
}

static serve_call *begin_call(server *s, struct MHD_Connection *connection, const char *method,
                              const char *url)
{
    const union MHD_ConnectionInfo *i =
        lib_MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    serve_conn *conn = i ? i->socket_context : NULL;
    if (!conn || !budget_take(&s->budget, sizeof(serve_call))) return NULL;
    serve_call *call = calloc(1, sizeof *call);
    if (!call) {
        budget_give(&s->budget, sizeof *call);
        return NULL;
    }
    call->conn = conn;
    call->begin_ns = now_ns();
    call->body.budget = &s->budget;
    snprintf(call->method, sizeof call->method, "%s", method);
    snprintf(call->path, sizeof call->path, "%s", url);
    route_begin(s, call, connection);
    return call;
}

static void take_body(server *s, serve_call *call, const char *data, size_t n)
{
    if (call->refused) return; /* what still comes is read and forgotten, until the time is over */
    if (call->body.n + n > s->args.max_body) {
        call->refused = true;
        s->counts.refused_body++;
        api_fail(&call->error, 413, "body_too_large", NULL, "the body is longer than %llu bytes (--max-body)",
                 (unsigned long long)s->args.max_body);
    } else {
        text_add(&call->body, data, n);
        if (!call->body.failed) return;
        call->refused = true;
        api_fail(&call->error, 503, "out_of_memory", NULL,
                 "the memory for requests is taken by others; try again");
    }
    text_fini(&call->body);
}

/* ---- answers of the engine ---- */

/* The next bytes of an answer. With the lock held before suspending, so that nothing that comes is missed. */
static ssize_t read_out(void *user, uint64_t at, char *buf, size_t most)
{
    serve_call *call = user;
    serve_request *r = call->request;
    server *s = r->server;
    (void)at;
    pthread_mutex_lock(&s->lock);
    ssize_t n = (ssize_t)(r->out.n < most ? r->out.n : most);
    if (r->gone) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n) {
        memcpy(buf, r->out.p, (size_t)n);
        text_drop(&r->out, (size_t)n);
        if (r->out.n == 0 && r->out.cap > 65536) text_fini(&r->out);
    } else if (r->state == SERVE_DONE) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (atomic_load(&s->phase) == SERVE_ENDING) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else {
        r->suspended = true;
        lib_MHD_suspend_connection(r->connection);
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* The request was queued; its status is known, or the connection waits for that. */
static enum MHD_Result wait_for(server *s, serve_call *call)
{
    serve_request *r = call->request;
    pthread_mutex_lock(&s->lock);
    const bool leave = r->gone || (!r->status && atomic_load(&s->phase) == SERVE_ENDING);
    const bool wait = !leave && !r->status;
    if (wait) {
        r->suspended = true;
        lib_MHD_suspend_connection(r->connection);
    }
    const bool stream = r->ask.stream && r->status == 200;
    const uint64_t size = stream ? MHD_SIZE_UNKNOWN : r->out.n;
    const int status = r->status;
    if (status == 503) call->retry_after_s = r->retry_after_s;
    pthread_mutex_unlock(&s->lock);
    if (leave) return MHD_NO;
    if (wait) return MHD_YES;
    struct MHD_Response *response = lib_MHD_create_response_from_callback(size, 16384, read_out, call, NULL);
    if (!response) return MHD_NO;
    lib_MHD_add_response_header(response, "Content-Type",
                                stream ? "text/event-stream; charset=utf-8" : "application/json");
    return route_queue(s, call, status, response);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *n,
                                  void **context)
{
    (void)version;
    server *s = user;
    serve_call *call = *context;
    if (!call) {
        call = begin_call(s, connection, method, url);
        *context = call;
        if (!call) return MHD_NO;
        /* Refused before its body is read: the connection ends with the answer. */
        return call->refused && call->error.status == 413 ? route_run(s, call) : MHD_YES;
    }
    if (*n) {
        take_body(s, call, data, *n);
        *n = 0;
        return MHD_YES;
    }
    if (call->replied) return MHD_YES;
    if (!call->request) {
        const enum MHD_Result rc = route_run(s, call);
        text_fini(&call->body);
        if (rc == MHD_NO || !call->request) return rc;
    }
    return wait_for(s, call);
}

/* ---- for the main thread ---- */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n)) return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
                                         : ((struct sockaddr_in *)(void *)&a)->sin_port);
}

static int bind_to(server *s, lever_error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list = NULL;
    char port[16];
    snprintf(port, sizeof port, "%u", s->args.port);
    const int rc = getaddrinfo(s->args.host, port, &hints, &list);
    if (rc) {
        snprintf(err->msg, sizeof err->msg, "the address '%s' is not known: %s", s->args.host,
                 gai_strerror(rc));
        return -1;
    }
    int fd = -1, one = 1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        s->loopback = is_loopback(a->ai_addr);
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 256) == 0) break;
        const int why = errno;
        close(fd);
        fd = -1;
        errno = why;
    }
    if (fd < 0)
        snprintf(err->msg, sizeof err->msg, "%s:%s can not be listened on: %s", s->args.host, port,
                 strerror(errno));
    freeaddrinfo(list);
    return fd;
}

int http_open(server *s, uint16_t *port)
{
    lever_error err = { 0 };
    const char *why;
    struct serve_http *h = calloc(1, sizeof *h);
    const uint32_t n = s->args.connections;
    if (n < 1 || n > CONNECTIONS_MOST) {
        fprintf(stderr, "lever: --connections must be from 1 to %d\n", CONNECTIONS_MOST);
        free(h);
        return EXIT_USAGE;
    }
    if (!serve_lib_load(&why)) {
        fprintf(stderr, "lever: %s\n", why);
        free(h);
        return EXIT_UNSUP;
    }
    s->http = h;
    if (!h) return EXIT_OTHER;
    h->polls = calloc(n, sizeof *h->polls);
    h->polled = calloc(n, sizeof *h->polled);
    h->listen_fd = h->polls && h->polled ? bind_to(s, &err) : -1;
    if (h->listen_fd < 0) return app_fail(LEVER_EIO, &err);
    *port = (uint16_t)port_of(h->listen_fd);
    const uint32_t per_ip = s->args.per_ip ? s->args.per_ip : n;
    /* Not epoll, which does not see that a client has left while something that it sent is unread. */
    h->daemon = lib_MHD_start_daemon(
        MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL,
        NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, h->listen_fd, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)n, MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)(per_ip < n ? per_ip : 0),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVE_HEADER_BYTES, MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)HTTP_STACK_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_END);
    if (h->daemon) return EXIT_OK;
    fputs("lever: libmicrohttpd can not start\n", stderr);
    return EXIT_OTHER;
}

/* Has it had its time? Sending is counted from the end of the answer, however long that takes to make. */
static bool is_late(const server *s, const serve_conn *c, uint64_t now)
{
    const serve_request *r = c->request;
    const uint64_t most = s->args.timeout_s * 1000000000ull;
    if (r) return r->state == SERVE_DONE && r->done_ns + most < now;
    return c->since_ns + most < now;
}

/* Would its leaving change anything? */
static bool is_waited_for(const serve_conn *c)
{
    const serve_request *r = c->request;
    return r && !r->gone && (r->state != SERVE_DONE || r->out.n);
}

void http_watch(server *s)
{
    struct serve_http *h = s->http;
    const uint64_t now = now_ns();
    nfds_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (serve_conn *c = h->conns; c; c = c->next) {
        if (is_late(s, c, now)) {
            if (c->request) serve_request_gone(s, c->request);
            shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees it, and closes it */
        } else if (is_waited_for(c) && n < s->args.connections) {
            h->polls[n] = (struct pollfd){ .fd = c->fd, .events = POLLRDHUP };
            h->polled[n++] = c;
        }
    }
    if (n && poll(h->polls, n, 0) > 0)
        for (nfds_t i = 0; i < n; i++)
            if (h->polls[i].revents) {
                serve_request_gone(s, h->polled[i]->request);
                serve_request_wake(s, h->polled[i]->request);
            }
    pthread_mutex_unlock(&s->lock);
}

void http_quiesce(server *s)
{
    struct serve_http *h = s->http;
    if (h->listen_fd < 0) return;
    lib_MHD_quiesce_daemon(h->daemon);
    close(h->listen_fd);
    h->listen_fd = -1;
}

uint32_t http_n_busy(server *s)
{
    uint32_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (const serve_conn *c = s->http->conns; c; c = c->next) n += c->request || c->sending;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void http_close(server *s)
{
    struct serve_http *h = s->http;
    if (!h) return;
    atomic_store(&s->phase, SERVE_ENDING);
    pthread_mutex_lock(&s->lock);
    for (serve_conn *c = h->conns; c; c = c->next) /* none may be suspended when the daemon stops */
        if (c->request) serve_request_wake(s, c->request);
    pthread_mutex_unlock(&s->lock);
    if (h->daemon) lib_MHD_stop_daemon(h->daemon);
    else if (h->listen_fd >= 0) close(h->listen_fd);
    s->http = NULL;
    free(h->polls);
    free(h->polled);
    free(h);
}

#else
#include <stdio.h>

int http_open(server *s, uint16_t *port)
{
    (void)s, (void)port;
    fputs("lever: this build has no lever serve: libmicrohttpd was not found when it was made (package "
          "libmicrohttpd-dev, or run 'make setup')\n", stderr);
    return EXIT_UNSUP;
}
void http_watch(server *s) { (void)s; }
void http_quiesce(server *s) { (void)s; }
uint32_t http_n_busy(server *s) { return (void)s, 0; }
void http_close(server *s) { (void)s; }

#endif
