/* `lever quantize IN OUT TYPE`. SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "app.h"
#include "lever/file.h"
#include "options.h"

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    progress_show(user, "quantizing", done, total);
}

/* Matrices whose rows are not whole blocks keep their type: people should hear of it. */
static void tell_kept(const char *path, const char *type)
{
    static const char end[] = ".weight";
    lever_info *info;
    lever_tensor first = { .name = "" };
    unsigned long long n = 0;
    if (lever_info_open(&info, path, NULL) < 0) return;
    for (size_t i = 0; i < lever_info_n_tensors(info); i++) {
        lever_tensor t;
        lever_info_tensor(info, i, &t);
        const size_t len = strlen(t.name), n_end = sizeof end - 1;
        if (t.n_dims != 2 || len <= n_end || strcmp(t.name + len - n_end, end)) continue;
        if (strcasecmp(t.type, type) && !n++) first = t;
    }
    if (n)
        fprintf(stderr,
                "lever: matrices that kept another type because their rows are not whole blocks of %s: %llu "
                "(the first is %s, %llu columns, %s)\n",
                type, n, first.name, (unsigned long long)first.dims[1], first.type);
    lever_info_close(&info);
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
             "Writes a copy of IN with its matrices in TYPE:\n"
             "  F32 F16 BF16\n"
             "  Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4     blocks of 32 weights\n"
             "  Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS           blocks of 256 weights\n"
             "Norms, biases and matrices whose rows are not whole blocks of TYPE stay as they are.\n"
             "Keys and tokenizer are copied. OUT appears only when it is complete.");
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
    if (rc < 0) return app_fail(rc, &err);
    tell_kept(arg[1], arg[2]);
    return EXIT_OK;
}
