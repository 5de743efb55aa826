/* Conversations that no session has room for, kept on disk until they go on. Files of our own in a folder of
 * our own, named by numbers: nothing of a request becomes part of a path. Threading: of the engine thread.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_KEPT_H
#define LEVER_APPS_SERVE_KEPT_H

#include "lever/lever.h"

typedef struct serve_kept serve_kept;

/* Files of at most these bytes in all; 0, or no folder to put them: NULL, with which the calls below do
 * nothing. */
serve_kept *kept_open(uint64_t disk_bytes);
/* Removes the files. */
void kept_close(serve_kept **k);
/* How many of the tokens some kept conversation begins with, if it holds little else. */
size_t kept_match(const serve_kept *k, const int32_t *tokens, size_t n);
/* Keep what the session holds, if that is worth it. The files that were used longest ago make room. Returns
 * whether it was kept. */
bool kept_save(serve_kept *k, lever_session *session);
/* Load the conversation that kept_match saw, if there is one. Returns whether the session holds it now. */
bool kept_load(serve_kept *k, lever_session *session, const int32_t *tokens, size_t n);

#endif
