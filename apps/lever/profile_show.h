/* What `lever profile` found, for people and for programs. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PROFILE_SHOW_H
#define LEVER_APPS_PROFILE_SHOW_H

#include "lever/profile.h"

/* Tables with their units on stdout. `where`: the flash to show; NULL or unknown: all of them. */
void profile_print(const lever_machine *m, const char *where);
/* The same and every measured point as one JSON object. False: out of memory. */
bool profile_print_json(const lever_machine *m, const char *where);

#endif
