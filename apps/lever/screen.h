/* An answer on the screen as it comes: reasoning apart, tokens in colour by where they came from, nothing
 * in it that could drive the terminal. Where standard output is no terminal, the bare answer.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SCREEN_H
#define LEVER_APPS_SCREEN_H

#include <stdio.h>

#include "app.h"
#include "lever/chat.h"

typedef struct screen {
    bool terminal;       /* standard output is one */
    bool colour;         /* and may be coloured */
    bool show_draft;     /* tokens by their source */
    bool hide_reasoning; /* only that it goes on is shown */
    /* of the answer being shown */
    int  source;         /* enum lever_token_source of the token whose text comes */
    int  part;           /* enum lever_part written last; -1: nothing yet */
    char style[16];      /* colours that are switched on */
    char last;           /* byte written last */
    int  write_errno;    /* 0: all was written */
} screen;

/* Colours where standard output is a terminal, unless NO_COLOR is set or TERM is dumb. */
void screen_init(screen *s);
void screen_begin(screen *s);                       /* an answer */
void screen_part(screen *s, int part, const char *text, size_t len);
void screen_end(screen *s);                         /* ends the line and the colours */
void screen_gap(screen *s);                         /* an empty line behind it, on a terminal */
/* Text that comes from elsewhere, for a terminal: control characters but line feed and tab as \x1b. */
void screen_escape(FILE *out, const char *text, size_t len);
/* What the colours of show_draft mean. */
void screen_legend(const screen *s, FILE *out);

#endif
