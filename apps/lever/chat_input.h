/* Messages from a person or a pipe. On a terminal they are edited (line_edit.h); a line that ends in a
 * backslash goes on, and """ begins and ends one of several lines. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_CHAT_INPUT_H
#define LEVER_APPS_CHAT_INPUT_H

#include "app.h"
#include "line_edit.h"

typedef struct chat_input {
    line_edit *edit;    /* NULL: plain lines */
    FILE      *prompts; /* where prompts go; NULL: nobody is asked */
    bool       colour;  /* of the prompt */
    char      *line;    /* [line_cap], plain lines */
    size_t     line_cap;
    char      *text;    /* [len] the message; owned */
    size_t     len, cap;
} chat_input;

enum chat_input_kind {
    CHAT_INPUT_TEXT,      /* in->text, NUL-ended UTF-8; not empty */
    CHAT_INPUT_END,       /* Ctrl-D, or the end of the pipe */
    CHAT_INPUT_INTERRUPT, /* Ctrl-C where nothing was typed */
    CHAT_INPUT_CLEARED,   /* Ctrl-C; what was typed is gone */
    CHAT_INPUT_FAILED     /* out of memory, or input can not be read: errno */
};

/* commands as for line_edit_open. */
void chat_input_open(chat_input *in, const char *commands, bool colour);
enum chat_input_kind chat_input_read(chat_input *in);
void chat_input_close(chat_input *in);

/* Where the history of messages is kept: $XDG_STATE_HOME/lever/chat-history or that under ~/.local/state; the
 * folder is made. false: nowhere. */
bool chat_history_path(char *buf, size_t cap);

#endif
