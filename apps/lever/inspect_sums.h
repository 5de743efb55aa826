/* `lever inspect --checksum` and `--verify`. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_INSPECT_SUMS_H
#define LEVER_APPS_INSPECT_SUMS_H

#include <stdbool.h>

/* Both return an exit code; verify: EXIT_CHECK when the file is damaged. */
int inspect_checksum(const char *model, bool json);
int inspect_verify(const char *model, bool json);

#endif
