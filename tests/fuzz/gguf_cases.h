/* Small GGUF files built by hand, one for each rule of the reader. The unit test checks code and
 * message of each; the same bytes are the committed fuzz corpus. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_FUZZ_GGUF_CASES_H
#define LEVER_TESTS_FUZZ_GGUF_CASES_H

#include <stddef.h>
#include <stdint.h>

enum { GC_MAX = 1024 };

typedef struct gc_file {
    uint8_t bytes[GC_MAX];
    size_t  n;
} gc_file;

typedef struct gc_case {
    const char *name;      /* of the corpus file, without ".gguf" */
    int         code;      /* LEVER_OK or what the reader must answer */
    const char *says;      /* part of the message; NULL for LEVER_OK */
    void      (*build)(gc_file *f);
} gc_case;

extern const gc_case gc_cases[];
extern const size_t  gc_n_cases;

#endif
