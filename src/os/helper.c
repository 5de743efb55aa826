/* SPDX-License-Identifier: MIT */
#include "os/helper.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/mem.h"

struct lv_helper {
    lv_helper_config c;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t  changed; /* any of the following */
    bool started, asked, busy, quit;
    int  rc;                 /* of start */
};

static void *run(void *arg)
{
    lv_helper *h = arg;
    const int rc = h->c.start ? h->c.start(h->c.arg) : LEVER_OK;
    pthread_mutex_lock(&h->mutex);
    h->rc = rc;
    h->busy = false;
    pthread_cond_broadcast(&h->changed);
    while (rc >= 0 && (!h->quit || h->asked)) {
        if (!h->asked) {
            pthread_cond_wait(&h->changed, &h->mutex);
            continue;
        }
        h->asked = false;
        pthread_mutex_unlock(&h->mutex);
        h->c.work(h->c.arg);
        pthread_mutex_lock(&h->mutex);
        h->busy = false;
        pthread_cond_broadcast(&h->changed);
    }
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

int lv_helper_open(lv_helper **out, const lv_helper_config *c, lever_error *err)
{
    *out = NULL;
    lv_helper *h = lv_alloc(sizeof *h, 64);
    if (!h) return lv_fail(err, LEVER_ENOMEM, 0, "a helping thread");
    h->c = *c;
    h->busy = true;
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->changed, NULL);
    h->started = pthread_create(&h->thread, NULL, run, h) == 0;
    if (h->started) lv_helper_wait(h);
    const int rc = h->started ? h->rc : LEVER_ENOMEM;
    if (rc < 0) {
        lv_helper_close(&h);
        return lv_fail(err, rc, 0, "a helping thread could not start");
    }
    *out = h;
    return LEVER_OK;
}

void lv_helper_close(lv_helper **helper)
{
    if (!helper || !*helper) return;
    lv_helper *h = *helper;
    *helper = NULL;
    if (h->started) {
        pthread_mutex_lock(&h->mutex);
        h->quit = true;
        pthread_cond_broadcast(&h->changed);
        pthread_mutex_unlock(&h->mutex);
        pthread_join(h->thread, NULL);
    }
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->changed);
    lv_free(h);
}

void lv_helper_ask(lv_helper *h)
{
    pthread_mutex_lock(&h->mutex);
    h->asked = h->busy = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

void lv_helper_wait(lv_helper *h)
{
    pthread_mutex_lock(&h->mutex);
    while (h->busy) pthread_cond_wait(&h->changed, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
}
