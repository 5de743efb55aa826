/* A function that takes turns with its caller: it has a thread of its own, but runs only while the caller waits for
 * it, and waits while the caller runs. So a straight loop can be left in its middle and gone on with later, and
 * nothing that the two share needs a lock. Threading: one owner thread; memory that one side wrote is seen by the
 * other. SPDX-License-Identifier: MIT */
#ifndef LEVER_OS_TURNS_H
#define LEVER_OS_TURNS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct lv_turns lv_turns;

/* Start the thread; it sleeps. stack_bytes is raised to what the system asks for. LEVER_OK, LEVER_ENOMEM (also when
 * a thread can not be started). Returned: close with lv_turns_close. */
int  lv_turns_open(lv_turns **out, size_t stack_bytes, lever_error *err);
/* Not while a function waits in it. Accepts NULL and *t == NULL. */
void lv_turns_close(lv_turns **t);

/* Run fn(arg) until it returns (false) or calls lv_turns_wait (true). Not while one waits already. */
bool lv_turns_begin(lv_turns *t, void (*fn)(void *arg), void *arg);
/* Let the function that waits go on; returns as lv_turns_begin. */
bool lv_turns_go_on(lv_turns *t);
/* In the function: hand over to the caller, and return when it lets this one go on. */
void lv_turns_wait(lv_turns *t);

#endif
