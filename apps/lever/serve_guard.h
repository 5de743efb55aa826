/* Who may ask: host names, origins, API keys. Threading: of the HTTP thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_GUARD_H
#define LEVER_APPS_SERVE_GUARD_H

#include "serve.h"

/* Read --api-key and --api-key-file. 0, or an exit code after a message. */
int guard_load_keys(server *s);
/* May this Host header (NULL: none) be used? A server for this machine only has the names of this machine: a
 * page from elsewhere, whose name was made to point here, has another. */
bool guard_host(const server *s, const char *host);
/* May a page of this origin ask (NULL: no page does)? host: the Host header. */
bool guard_origin(const server *s, const char *origin, const char *host);
/* Number of the key that the Authorization header has, from 1; 0: none is needed; -1: missing or wrong. */
int  guard_key(const server *s, const char *authorization);

#endif
