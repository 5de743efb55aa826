/* A talk as a list of messages, in memory of its own. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_TALK_H
#define LEVER_APPS_TALK_H

#include <stdbool.h>
#include <stddef.h>

#include "lever/chat.h"

typedef struct talk {
    lever_message *m;   /* [n] roles and texts are owned */
    size_t n, cap;
} talk;

/* Append a message; role and text [len] are copied. false: out of memory, the talk is as before. */
bool talk_add(talk *t, const char *role, const char *text, size_t len);
/* Set the system message, which stands first; len 0 takes it away. false: out of memory. */
bool talk_set_system(talk *t, const char *text, size_t len);
/* The system message; NULL: there is none. */
const lever_message *talk_system(const talk *t);
/* Forget the last messages, so that n are left. */
void talk_cut(talk *t, size_t n);
void talk_free(talk *t);

/* An answer while it comes: reasoning and answer are told apart and kept. Zero to begin. */
typedef struct talk_answer {
    lever_answer reader;
    lever_on_part on_part; /* nullable: is told each part, too */
    void  *user;
    char  *text[2];     /* [len] by enum lever_part; owned */
    size_t len[2], cap[2];
    bool   failed;      /* out of memory */
} talk_answer;

/* Begin another answer. lever_answer_init says when. */
void talk_answer_begin(talk_answer *a, const lever_engine *engine, bool think, lever_on_part on_part,
                       void *user);
/* A piece of it. false: it is over, or there is no memory (failed). */
bool talk_answer_push(talk_answer *a, const char *text, size_t len);
/* The answer has ended; it becomes a message of the talk, reasoning within <think> and </think>. false: out
 * of memory, here or before. */
bool talk_answer_end(talk_answer *a, talk *t);
void talk_answer_free(talk_answer *a);

#endif
