/* `lever quantize IN OUT TYPE`. SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "app.h"
#include "options.h"

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    progress_show(user, "quantizing", done, total);
}

int cmd_quantize(int argc, char **argv)
{
    struct { bool help; } a = { false };
    static const option options[] = { { "-h --help", OPTION_FLAG, NULL, "this page", 0 } };
    const char *arg[3];
    int n;
    if (options_parse(options, 1, &a, argc, argv, 2, arg, 3, &n)) return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever quantize IN.gguf OUT.gguf TYPE\n\n"
             "Writes a copy of IN with its matrices in TYPE: F32, F16, BF16, Q8_0 or Q4_0. Norms and biases "
             "stay\n"
             "F32; keys and tokenizer are copied. OUT appears only when it is complete.");
        return EXIT_OK;
    }
    if (n != 3) {
        fputs("lever: quantize needs IN, OUT and TYPE; see lever quantize --help\n", stderr);
        return EXIT_USAGE;
    }
    progress p = { 0 };
    lever_error err = { 0 };
    const int rc = lever_quantize(arg[0], arg[1], arg[2], on_progress, &p, &err);
    progress_clear(&p);
    return rc < 0 ? app_fail(rc, &err) : EXIT_OK;
}
