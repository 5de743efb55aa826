/* What `lever profile` found, in the user's cache folder: one entry per device that files lie on.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PROFILE_FILE_H
#define LEVER_APPS_PROFILE_FILE_H

#include <jansson.h>

#include "lever/lever.h"

/* The file: $XDG_CACHE_HOME/lever/profile.json, else below ~/.cache. False: neither variable is set. */
bool profile_path(char *buf, size_t cap);
/* Add or replace the entry of the device that `on` lies on. LEVER_OK, LEVER_EIO. */
int  profile_store(const char *on, const lever_flash_profile *p, lever_error *err);
/* Every measured point; the caller's. */
json_t *profile_points(const lever_flash_profile *p);
/* Put the entry of the device that model lies on into c, as far as c leaves the settings open; with a
 * flash_model only the backend. Without a profile nothing happens; a damaged one is named on stderr. */
void profile_apply(const char *model, lever_config *c);

#endif
