/* A thread that does one piece of work at a time beside its owner. Owns: the thread. Threading: one owner makes all
 * calls; the work sees what was written before lv_helper_ask, the owner what the work wrote after lv_helper_wait.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_HELPER_H
#define LEVER_OS_HELPER_H

#include "base/error.h"

typedef struct lv_helper lv_helper;

typedef struct lv_helper_config {
    int  (*start)(void *arg); /* once, on the new thread: LEVER_OK, or LEVER_E*, which ends it; nullable */
    void (*work)(void *arg);  /* for each lv_helper_ask */
    void *arg;                /* borrowed */
} lv_helper_config;

/* Returns once start has. LEVER_OK; what start returned; LEVER_ENOMEM, also when no thread can be had. Returned:
 * lv_helper_close. */
int  lv_helper_open(lv_helper **out, const lv_helper_config *c, lever_error *err);
void lv_helper_close(lv_helper **h); /* waits for the work under way; accepts NULL and *h == NULL */
/* Start the work. Nothing may be under way. */
void lv_helper_ask(lv_helper *h);
/* Return when nothing is under way. */
void lv_helper_wait(lv_helper *h);

#endif
