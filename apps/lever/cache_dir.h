/* Where the program keeps what it measures: $XDG_CACHE_HOME/lever or ~/.cache/lever.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_CACHE_DIR_H
#define LEVER_APPS_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lever/lever.h"

enum { CACHE_PATH_CAP = 1024 };

/* Path of a file of this name in it. False: neither variable is set, or the path is too long. */
bool cache_path(char *buf, size_t cap, const char *name);
/* Make the folder and those above it. 0, or -1 with errno. */
int  cache_make(void);

/* What policies have learnt of an engine's models, kept from run to run (lever_engine_get_learnt). Both are quiet about
 * a file that is missing, damaged or can not be written: it only saves time. */
void learnt_load(lever_engine *engine);
/* Those bytes of a pair, for lever_advise_params.load_learnt; user is not used. Stored if they fit into cap;
 * returns how many there are, 0: none. */
size_t learnt_read(void *user, uint64_t pair_key, void *out, size_t cap);
void learnt_store(const lever_engine *engine);

#endif
