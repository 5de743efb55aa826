/* Editing a line, with history: libedit, loaded when it is first wanted, because it takes memory that the
 * other commands should not pay for. Where it is missing, the caller reads plain lines. One thread; between
 * terminal_begin and terminal_end. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_LINE_EDIT_H
#define LEVER_APPS_LINE_EDIT_H

#include <stdbool.h>
#include <stdio.h>

typedef struct line_edit line_edit;

/* Edit on standard input, drawn on `out`. history_path (nullable) is read now and written with each
 * message. commands: words that a tab completes, separated by spaces; borrowed. NULL: there is no libedit, or
 * standard input is no terminal that it can use. */
line_edit *line_edit_open(FILE *out, const char *history_path, const char *commands);
void line_edit_close(line_edit **e); /* accepts NULL */

/* Show the prompt and return the line as it was sent, which may hold line breaks; without the last one.
 * Borrowed until the next call. NULL: end of input, a Ctrl-C (terminal_interrupted tells), or an error. */
const char *line_edit_read(line_edit *e, const char *prompt);
/* Was the line empty that a Ctrl-C ended? true also for NULL, where nobody knows. */
bool line_edit_was_empty(const line_edit *e);
/* A message was sent: remember it. */
void line_edit_remember(line_edit *e, const char *text);

#endif
