/* The state of `lever chat`, shared by its loop and its commands. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_CHAT_H
#define LEVER_APPS_CHAT_H

#include "model_args.h"
#include "screen.h"
#include "talk.h"
#include "talk_file.h"

typedef struct chat_args_all {
    model_args     model;
    chat_args      chat;
    lever_sampling sampling;
    const char    *system, *load;
    uint32_t       n_predict;
    bool           show_draft, help;
} chat_args_all;

typedef struct chat {
    const chat_args_all *args;
    lever_engine  *engine;
    lever_session *session;
    lever_engine_info info;
    lever_chat_info form;
    talk        talk;
    talk_answer answer;
    screen      screen;
    talk_about  about;      /* settings in force; model, form and think as they are saved */
    lever_stats last;       /* of the last answer */
    int64_t     kept;       /* tokens of its question that needed no evaluation */
    uint64_t    n_answers, n_new, n_drafted, n_accepted, decode_ns, n_decode; /* of the talk so far */
    bool        asks;       /* a person sits at the terminal */
} chat;

/* Words for completion, separated by spaces. */
extern const char chat_command_names[];
/* Carry out a command: a line that begins with '/'. Answers and complaints go to standard error. Returns
 * false when the talk is to end. *code gets an exit code when something failed. */
bool chat_command(chat *c, const char *line, int *code);
/* Go on with the talk of a file. LEVER_OK, or LEVER_E* with *err; then nothing has changed. */
int  chat_load(chat *c, const char *path, lever_error *err);

#endif
