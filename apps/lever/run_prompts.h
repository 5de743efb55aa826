/* `lever run --prompts`: every prompt of some files, one after the other. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_RUN_PROMPTS_H
#define LEVER_APPS_RUN_PROMPTS_H

#include "app.h"
#include "prompts.h"
#include "talk.h"

typedef struct run_prompts_args {
    const char *files;     /* separated by commas */
    uint32_t    limit;     /* prompts of each file; 0 = all */
    uint32_t    n_predict; /* new tokens of each answer */
    bool        ignore_eos, json, quiet;
    bool        raw;       /* messages are continued as plain text */
    bool        think;     /* as lever_session_set_messages */
} run_prompts_args;

/* Answers go to stdout (with json: one object per line), a table by kind to stderr. A prompt that does not
 * fit the context is reported and skipped. Returns an exit code: EXIT_LIMIT if one was skipped, EXIT_CANCEL,
 * ... */
int run_prompts(const lever_engine *engine, lever_session *session, const run_prompts_args *args);

/* Make the session ready to answer message `turn` of a prompt: a text is appended, so is a message when
 * raw; else the message joins the talk, which must hold those before it with their answers. As
 * lever_session_set_messages. */
int prompt_append(lever_session *session, const prompt *p, size_t turn, bool raw, bool think, talk *t,
                  lever_error *err);

#endif
