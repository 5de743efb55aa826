/* Requests that wait, and who owns them. SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "serve.h"
#include "serve_answer.h"
#include "serve_lib.h"

bool serve_queue_push(server *s, serve_request *r)
{
    pthread_mutex_lock(&s->lock);
    if (r->gone) {
        serve_request_done(s, r, SERVE_END_GONE);
        pthread_mutex_unlock(&s->lock);
        return true;
    }
    /* A request that a free place takes at once does not have to fit the queue. */
    const bool fits = !s->engine_over && s->n_queued + s->n_active < s->args.queue + s->n_slots;
    if (fits) {
        serve_request **end = &s->queue;
        while (*end) end = &(*end)->next;
        *end = r;
        r->next = NULL;
        r->refs = 2;
        r->state = SERVE_QUEUED;
        s->n_queued++;
        pthread_cond_signal(&s->work);
    } else {
        s->counts.refused_full += !s->engine_over;
    }
    pthread_mutex_unlock(&s->lock);
    return fits;
}

void serve_queue_remove(server *s, serve_request *r)
{
    for (serve_request **at = &s->queue; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            s->n_queued--;
            return;
        }
}

/* Of the clients that wait, the one with the fewest running answers; of these, the one that was served
 * longest ago. */
static uint64_t last_served(const server *s, uint64_t client)
{
    for (size_t i = 0; i < SERVE_CLIENTS_MOST; i++)
        if (s->clients[i].client == client) return s->clients[i].served;
    return 0;
}

static void note_served(server *s, uint64_t client)
{
    serve_client *place = &s->clients[0];
    for (size_t i = 0; i < SERVE_CLIENTS_MOST; i++) {
        serve_client *c = &s->clients[i];
        if (c->client == client) place = c;
        if (c->client == client) break;
        if (c->served < place->served) place = c; /* the one forgotten is the one served longest ago */
    }
    *place = (serve_client){ client, ++s->n_served };
}

static uint32_t running_of(const server *s, uint64_t client)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_slots; i++)
        n += s->slots[i].request && s->slots[i].request->client == client;
    return n;
}

serve_request *serve_queue_pop(server *s)
{
    serve_request *best = NULL;
    uint32_t best_running = 0;
    uint64_t best_served = 0;
    for (serve_request *r = s->queue; r; r = r->next) {
        const uint32_t running = running_of(s, r->client);
        const uint64_t served = last_served(s, r->client);
        if (best && (running > best_running || (running == best_running && served >= best_served))) continue;
        best = r;
        best_running = running;
        best_served = served;
    }
    if (!best) return NULL;
    serve_queue_remove(s, best);
    note_served(s, best->client);
    best->state = SERVE_RUNNING;
    s->n_active++; /* here, not when it has a session: what comes meanwhile must not be promised its place */
    return best;
}

void serve_request_free(server *s, serve_request *r)
{
    ask_fini(&r->ask, &s->budget);
    text_fini(&r->out);
    free(r);
    budget_give(&s->budget, sizeof *r);
}

void serve_request_drop(server *s, serve_request *r)
{
    pthread_mutex_lock(&s->lock);
    const bool last = --r->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last) return;
    const bool chat = r->ask.kind == SERVE_CHAT;
    serve_log_request(s, r->peer, "POST", chat ? "/v1/chat/completions" : "/v1/completions",
                      r->gone ? SERVE_STATUS_GONE : r->status, r->begin_ns, r->detail);
    serve_request_free(s, r);
}

void serve_request_wake(server *s, serve_request *r)
{
    (void)s;
#ifdef LEVER_HAVE_MICROHTTPD
    if (!r->suspended || !r->connection) return;
    r->suspended = false;
    lib_MHD_resume_connection(r->connection);
#else
    (void)r;
#endif
}

void serve_request_fail(server *s, serve_request *r, int end, const api_error *e)
{
    const bool begun = r->status != 0; /* a stream: its head is on its way */
    if (begun) text_puts(&r->out, "data: ");
    else text_fini(&r->out);
    api_error_json(&r->out, e);
    text_puts(&r->out, begun ? "\n\n" : "\n");
    if (!begun) r->status = e->status;
    serve_request_done(s, r, end);
    serve_request_wake(s, r);
}

void serve_request_done(server *s, serve_request *r, int end)
{
    if (r->state == SERVE_RUNNING) s->n_active--;
    r->state = SERVE_DONE;
    r->done_ns = now_ns();
    s->counts.answers[end]++;
}

void serve_request_gone(server *s, serve_request *r)
{
    if (r->gone) return;
    r->gone = true;
    if (r->state == SERVE_QUEUED) {
        serve_queue_remove(s, r);
        r->refs--; /* the engine's: it has not seen it; HTTP still holds its own */
        serve_request_done(s, r, SERVE_END_GONE);
    } else if (r->session) {
        lever_session_cancel(r->session);
    }
}

int serve_queue_wait_s(const server *s)
{
    const serve_counts *c = &s->counts;
    const double each = c->total_n ? c->total_s / (double)c->total_n : 1;
    const double wait = each * (s->n_queued + 1) / (s->n_slots ? s->n_slots : 1);
    return wait < 1 ? 1 : wait > 60 ? 60 : (int)wait;
}
