/* Whole files of text. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_TEXT_FILE_H
#define LEVER_APPS_TEXT_FILE_H

#include <stddef.h>

#include "lever/error.h"

/* The bytes of a file or pipe, *len of them; NULL with *err filled (LEVER_EIO, LEVER_ENOMEM). Returned: free. */
char *text_file_read(const char *path, size_t *len, lever_error *err);

#endif
