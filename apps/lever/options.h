/* Command-line options from one table: parsing, error texts and --help come from the same rows.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_OPTIONS_H
#define LEVER_APPS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,  /* bool, set to true */
    OPTION_TEXT,  /* const char *, borrowed from argv */
    OPTION_U32,
    OPTION_I32,
    OPTION_U64,
    OPTION_LONG,
    OPTION_FLOAT,
    OPTION_BYTES, /* uint64_t from "512MiB", "3GiB", "1.5G", "4096" */
};

typedef struct option {
    const char *names;      /* "-m --model": every spelling, separated by a space; NULL = a heading in help */
    enum option_kind kind;
    const char *arg;        /* placeholder in help; NULL for flags */
    const char *help;
    size_t      offset;     /* of the field in the struct given to options_parse */
} option;

/* Parse argv[first..argc) into *fields. Arguments that are not options go to positional [max]; *n counts
 * them. "--name=value" and "--" are understood. Returns 0, or 2 after a message on stderr. */
int options_parse(const option *options, size_t n_options, void *fields, int argc, char **argv, int first,
                  const char **positional, int max, int *n);
/* "512MiB", "3GiB", "1.5G", "4096". False: it is no size. */
bool option_bytes(const char *text, uint64_t *out);
/* Print the option part of a help page to stdout. */
void options_help(const option *options, size_t n_options);
/* "3.00 GiB", "12.3 MiB", "812 B". Returns buf. */
char *format_bytes(char *buf, size_t cap, double bytes);

#endif
