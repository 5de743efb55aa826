/* Requests of lever serve that wait: how many there may be, and that none is forgotten at the end.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "../../apps/lever/serve.h"

static int n_logged;

void serve_log_request(const server *s, const char *peer, const char *method, const char *path, int status,
                       uint64_t begin_ns, const char *detail)
{
    (void)s, (void)peer, (void)method, (void)path, (void)status, (void)begin_ns, (void)detail;
    n_logged++;
}

void ask_fini(serve_ask *a, serve_budget *b) { (void)a, (void)b; }
void api_error_json(serve_text *out, const api_error *e) { text_puts(out, e->code); }
void lever_session_cancel(lever_session *s) { (void)s; }
uint64_t now_ns(void) { return 1; }

static server *open_server(uint32_t n_slots, uint32_t queue)
{
    server *s = calloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    s->budget.limit = 1 << 20;
    s->n_slots = n_slots;
    s->args.queue = queue;
    atomic_store(&s->phase, SERVE_READY);
    return s;
}

static void close_server(server *s)
{
    CHECK_EQ(atomic_load(&s->budget.used), 0);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    free(s);
}

static serve_request *new_request(server *s)
{
    serve_request *r = calloc(1, sizeof *r);
    CHECK(budget_take(&s->budget, sizeof *r));
    r->server = s;
    r->out.budget = &s->budget;
    return r;
}

static serve_request *pop(server *s)
{
    pthread_mutex_lock(&s->lock);
    serve_request *r = serve_queue_pop(s);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void done(server *s, serve_request *r, int end)
{
    pthread_mutex_lock(&s->lock);
    serve_request_done(s, r, end);
    pthread_mutex_unlock(&s->lock);
}

static void drop_twice(server *s, serve_request *r)
{
    serve_request_drop(s, r); /* the engine's */
    serve_request_drop(s, r); /* HTTP's */
}

/* Between the queue and its session a request may be a while: another one's text is written to disk then. */
static void a_request_that_left_the_queue_has_a_place(void)
{
    server *s = open_server(1, 0);
    serve_request *a = new_request(s), *b = new_request(s);
    CHECK(serve_queue_push(s, a));
    CHECK(!serve_queue_push(s, b));
    CHECK(pop(s) == a);
    CHECK_EQ(a->state, SERVE_RUNNING);
    CHECK_EQ(s->n_active, 1);
    CHECK(!serve_queue_push(s, b));
    done(s, a, SERVE_END_STOP); /* the client may know from here on: its next request finds the place free */
    CHECK_EQ(s->n_active, 0);
    CHECK(serve_queue_push(s, b));
    drop_twice(s, a);
    CHECK(pop(s) == b);
    done(s, b, SERVE_END_ERROR);
    drop_twice(s, b);
    close_server(s);
}

static void one_that_leaves_the_queue_early_never_had_one(void)
{
    server *s = open_server(1, 1);
    serve_request *a = new_request(s), *b = new_request(s);
    CHECK(serve_queue_push(s, a) && serve_queue_push(s, b));
    CHECK(pop(s) == a);
    pthread_mutex_lock(&s->lock);
    serve_request_gone(s, b);
    serve_request_gone(s, b);
    pthread_mutex_unlock(&s->lock);
    CHECK_EQ(s->n_active, 1);
    CHECK_EQ(s->n_queued, 0);
    CHECK_EQ(b->state, SERVE_DONE);
    CHECK_EQ(s->counts.answers[SERVE_END_GONE], 1);
    serve_request_drop(s, b);
    pthread_mutex_lock(&s->lock);
    serve_request_gone(s, a); /* its session is not there yet: the engine thread sees it then */
    pthread_mutex_unlock(&s->lock);
    CHECK_EQ(s->n_active, 1);
    done(s, a, SERVE_END_GONE);
    CHECK_EQ(s->n_active, 0);
    drop_twice(s, a);
    close_server(s);
}

/* A request that was let in just before the end must not wait for a thread that is no more. */
static void nothing_is_queued_for_an_engine_that_has_ended(void)
{
    server *s = open_server(1, 4);
    serve_request *r = new_request(s);
    s->engine_over = true;
    CHECK(!serve_queue_push(s, r));
    CHECK_EQ(s->n_queued, 0);
    CHECK_EQ(s->counts.refused_full, 0);
    serve_request_free(s, r);
    close_server(s);
}

/* The main thread may see that a client has left before its request is in the queue. */
static void one_that_left_before_the_queue_takes_no_place(void)
{
    server *s = open_server(1, 1);
    serve_request *r = new_request(s);
    r->refs = 1;
    pthread_mutex_lock(&s->lock);
    serve_request_gone(s, r);
    pthread_mutex_unlock(&s->lock);
    CHECK(serve_queue_push(s, r));
    CHECK_EQ(s->n_queued, 0);
    CHECK_EQ(r->state, SERVE_DONE);
    CHECK_EQ(r->refs, 1);
    CHECK_EQ(s->counts.answers[SERVE_END_GONE], 1);
    serve_request_drop(s, r);
    close_server(s);
}

int main(void)
{
    RUN(a_request_that_left_the_queue_has_a_place);
    RUN(one_that_leaves_the_queue_early_never_had_one);
    RUN(one_that_left_before_the_queue_takes_no_place);
    RUN(nothing_is_queued_for_an_engine_that_has_ended);
    CHECK_EQ(n_logged, 5);
    return check_done();
}
