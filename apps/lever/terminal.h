/* The terminal and the signals of a conversation: Ctrl-C stops an answer or a line and nothing else, and the
 * terminal is left as it was found however the program ends. One thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_TERMINAL_H
#define LEVER_APPS_TERMINAL_H

#include "app.h"

/* Remember the terminal and catch signals: Ctrl-C wakes terminal_wait, and ends the program where standard
 * input is no terminal; SIGTERM, SIGHUP and SIGQUIT put the terminal back before they end the program,
 * SIGTSTP before it stops. */
void terminal_begin(void);
void terminal_end(void);

/* From here Ctrl-C cancels this session, also one since the last call of terminal_interrupted, and a second
 * one ends the program; NULL: no longer. */
void terminal_answering(lever_session *session);
/* Wait for standard input. true: it can be read; false: a signal came, perhaps before this call. */
bool terminal_wait(void);
/* Was there a Ctrl-C since the last call? */
bool terminal_interrupted(void);
/* Did the size change, or did the program stop and go on, since the last call? Then a line is drawn anew. */
bool terminal_changed(void);
/* Ask the terminal to mark pasted text, or no longer. */
void terminal_mark_pastes(bool on);
/* Show what is typed where the cursor stands, as it was found, or keep it until it is read: it would stand in
 * the middle of an answer. */
void terminal_echo(bool on);
/* Empty the line of the cursor and what is below it, for a line that is drawn anew. */
void terminal_clear_line(void);

#endif
