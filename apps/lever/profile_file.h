/* What `lever profile` found, in the user's cache folder, in one file: how each device that files lie on is
 * read, and what machines compute (several: threads and kernels differ, and a folder may be shared).
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PROFILE_FILE_H
#define LEVER_APPS_PROFILE_FILE_H

#include "lever/profile.h"

enum { PROFILE_WHERE_CAP = 32 };

/* The file: $XDG_CACHE_HOME/lever/profile.json, else below ~/.cache. False: neither variable is set. */
bool profile_path(char *buf, size_t cap);
/* The device that `path` lies on, as the file names it: "259:1". False: no such path. */
bool profile_where(const char *path, char *buf, size_t cap);

enum profile_found {
    PROFILE_NONE,    /* no file, or none with a machine like this */
    PROFILE_GOOD,
    PROFILE_STALE,   /* there is one, but of other conditions: `why` says which; *m is that one */
    PROFILE_DAMAGED  /* the file is not one */
};
/* Read what is known of the machine `id`; *m is zeroed unless something was found, but for flashes, which do
 * not depend on the id. why [cap]. */
enum profile_found profile_load(lever_machine *m, const lever_machine_id *id, char *why, size_t cap);
/* Add or replace the machine of m->id, and m's flashes. LEVER_OK, LEVER_EIO. */
int  profile_store(const lever_machine *m, lever_error *err);

/* Use what is stored: how the device that `model` lies on is read, as far as c leaves that open (with a
 * flash_model only the backend), and c->machine, which stays valid until the program ends. Without a profile
 * nothing happens; one that is damaged or of other conditions is named on stderr. */
void profile_apply(const char *model, lever_config *c);

#endif
