/* Small sums files built by hand, one for each rule of the reader: the unit test checks code and message of
 * each, and the same bytes are the committed fuzz corpus. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_FUZZ_SUMS_CASES_H
#define LEVER_TESTS_FUZZ_SUMS_CASES_H

#include <stddef.h>
#include <stdint.h>

enum { SC_MAX = 1024 };

typedef struct sc_file {
    uint8_t bytes[SC_MAX];
    size_t  n;
} sc_file;

typedef struct sc_case {
    const char *name; /* of the corpus file, without ".sums" */
    int         code; /* LEVER_OK or what the reader must answer */
    const char *says; /* part of the message; NULL for LEVER_OK */
    void      (*build)(sc_file *f);
} sc_case;

extern const sc_case sc_cases[];
extern const size_t  sc_n_cases;

/* Make the checksum at the end that of the bytes before it, if there are that many. */
void sc_seal(uint8_t *bytes, size_t n);

#endif
