/* Shared by the commands of the `lever` binary. Results go to stdout, talk to stderr.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_APP_H
#define LEVER_APPS_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "lever/lever.h"

/* Exit codes, documented in docs/cli.md. */
enum {
    EXIT_OK = 0,
    EXIT_OTHER = 1,    /* out of memory, internal */
    EXIT_USAGE = 2,    /* bad option or setting */
    EXIT_IO = 3,       /* file missing, unreadable, disk full, output closed */
    EXIT_FORMAT = 4,   /* malformed model file */
    EXIT_UNSUP = 5,    /* valid, but this build can not run it */
    EXIT_LIMIT = 6,    /* memory limit or context too small */
    EXIT_CHECK = 7,    /* --check or bench found another text than it should */
    EXIT_CANCEL = 130, /* Ctrl-C */
};

int exit_code_of(int lever_code);
/* "lever: <message>" on stderr; returns the exit code. */
int app_fail(int code, const lever_error *err);

/* Progress of long work on stderr: one line that is rewritten on a terminal, with time left; silent
 * elsewhere. Zero to begin. */
typedef struct progress {
    const char *what;
    uint64_t    started_ns, shown_ns;
    bool        visible;
} progress;
void progress_show(progress *p, const char *what, uint64_t done, uint64_t total);
void progress_clear(progress *p);
uint64_t now_ns(void);

/* Path of a file of the embedded demo pair: LEVER_MODELS, beside the program, or the source tree.
 * Returns false when it is nowhere; buf then holds the place looked at last. */
bool demo_model_path(char *buf, size_t cap, const char *name);

int cmd_run(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_fit(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_grow(int argc, char **argv);

#endif
