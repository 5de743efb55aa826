/* SPDX-License-Identifier: MIT */
#include "os/turns.h"

#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"

enum turn { CALLER, FUNCTION, END };

struct lv_turns {
    pthread_t       thread;
    pthread_mutex_t mutex;
    pthread_cond_t  changed;
    enum turn       turn;   /* whose it is; guarded by mutex */
    void          (*fn)(void *arg);
    void           *arg;
    bool            waits;  /* fn called lv_turns_wait and has not returned since */
};

/* With the mutex held: give the turn away and wait until it comes back. */
static enum turn hand_over(lv_turns *t, enum turn to, enum turn own)
{
    t->turn = to;
    pthread_cond_broadcast(&t->changed);
    while (t->turn != own && t->turn != END) pthread_cond_wait(&t->changed, &t->mutex);
    return t->turn;
}

static void *run(void *arg)
{
    lv_turns *t = arg;
    pthread_mutex_lock(&t->mutex);
    while (t->turn == CALLER) pthread_cond_wait(&t->changed, &t->mutex);
    while (t->turn != END) {
        pthread_mutex_unlock(&t->mutex);
        t->fn(t->arg);
        pthread_mutex_lock(&t->mutex);
        t->waits = false;
        hand_over(t, CALLER, FUNCTION);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static size_t whole_pages(size_t bytes)
{
    const long page = sysconf(_SC_PAGESIZE), least = sysconf(_SC_THREAD_STACK_MIN);
    if (least > 0 && bytes < (size_t)least) bytes = (size_t)least;
    return lv_round_up(bytes, page > 0 ? (size_t)page : 4096);
}

int lv_turns_open(lv_turns **out, size_t stack_bytes, lever_error *err)
{
    *out = NULL;
    lv_turns *t = lv_alloc(sizeof *t, 64);
    if (!t) return lv_fail(err, LEVER_ENOMEM, 0, "a thread that takes turns");
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        pthread_mutex_init(&t->mutex, NULL);
        pthread_cond_init(&t->changed, NULL);
        pthread_attr_setstacksize(&attr, whole_pages(stack_bytes));
        rc = pthread_create(&t->thread, &attr, run, t);
        pthread_attr_destroy(&attr);
        if (rc == 0) {
            *out = t;
            return LEVER_OK;
        }
        pthread_cond_destroy(&t->changed);
        pthread_mutex_destroy(&t->mutex);
    }
    lv_free(t);
    return lv_fail(err, LEVER_ENOMEM, rc, "a thread that takes turns");
}

void lv_turns_close(lv_turns **turns)
{
    if (!turns || !*turns) return;
    lv_turns *t = *turns;
    *turns = NULL;
    pthread_mutex_lock(&t->mutex);
    t->turn = END;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mutex);
    lv_free(t);
}

bool lv_turns_go_on(lv_turns *t)
{
    pthread_mutex_lock(&t->mutex);
    hand_over(t, FUNCTION, CALLER);
    const bool waits = t->waits;
    pthread_mutex_unlock(&t->mutex);
    return waits;
}

bool lv_turns_begin(lv_turns *t, void (*fn)(void *arg), void *arg)
{
    t->fn = fn;
    t->arg = arg;
    return lv_turns_go_on(t);
}

void lv_turns_wait(lv_turns *t)
{
    pthread_mutex_lock(&t->mutex);
    t->waits = true;
    hand_over(t, CALLER, FUNCTION);
    t->waits = false;
    pthread_mutex_unlock(&t->mutex);
}
