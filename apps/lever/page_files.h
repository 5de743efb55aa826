/* The web page of lever serve, held in the program: the files of apps/lever/page, written as C arrays by
 * cmake/embed_page.cmake when the program is built. Read-only, so any thread may look.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PAGE_FILES_H
#define LEVER_APPS_PAGE_FILES_H

#include <stddef.h>

typedef struct page_file {
    const char          *path;         /* of the request: "/app.js"; index.html is "/" */
    const char          *content_type; /* header value, with the character set where it is text */
    const unsigned char *bytes;        /* [n]; not NUL-ended */
    size_t               n;
} page_file;

extern const page_file page_files[]; /* [n_page_files] sorted by nothing; about ten */
extern const size_t    n_page_files;

/* Headers that the page is made for. Everything it needs comes from the same server. */
#define PAGE_CSP                                                                                           \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " \
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

#endif
