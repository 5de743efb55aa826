/* `lever grow IN OUT SHAPE`. SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "app.h"
#include "lever/file.h"
#include "options.h"

typedef struct grow_args {
    const char *type;
    uint64_t seed;
    bool help;
} grow_args;

static const option options[] = {
    { "--type", OPTION_TEXT, "TYPE", "of the matrices: as for lever quantize; default Q8_0",
      offsetof(grow_args, type) },
    { "-s --seed", OPTION_U64, "N", "of the added random weights; default 0", offsetof(grow_args, seed) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(grow_args, help) },
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    progress_show(user, "growing", done, total);
}

static void print_help(void)
{
    puts("usage: lever grow [options] IN.gguf OUT.gguf SHAPE\n\n"
         "Writes a model with the tensor shapes of a large one that computes the function of the small model "
         "IN: a run\n"
         "costs what the large model costs, and says and accepts what the small one does. For measuring, not "
         "for use.\n\n"
         "SHAPE  a preset: llama-3.1-8b llama-3.2-1b qwen3-0.6b qwen3-4b qwen3-8b qwen3-14b,\n"
         "       or sizes: embd=2048,layers=24,heads=16,kv-heads=8,head-dim=128,ff=8192,vocab=32000,tied=0,\n"
         "       or both: qwen3-8b,layers=12. What is not given stays as in IN.\n\n"
         "When the width is 4, 16, 64... times that of IN, the logits are the same to the last bit.");
    options_help(options, sizeof options / sizeof *options);
}

static void print_result(const char *out, const char *type, const lever_grow_result *r)
{
    char bytes[32];
    printf("%s: %s of %s in %llu tensors\n", out, format_bytes(bytes, sizeof bytes, (double)r->bytes), type,
           (unsigned long long)r->n_tensors);
    printf("  %u layers, width %u, %u heads of %u, %u KV heads, feed-forward %u, %u tokens, head %s\n",
           r->n_layers, r->n_embd, r->n_heads, r->head_dim, r->n_kv_heads, r->n_ff, r->n_vocab,
           r->tied ? "tied to the embedding" : "of its own");
    if (r->with_exit) puts("  its exit predictor lies beside it");
    if (r->exact)
        printf("  bit for bit the function of the small model in %s\n", type);
    else
        printf("  the function of the small model up to rounding: %s\n", r->why);
}

int cmd_grow(int argc, char **argv)
{
    grow_args a = { .type = "Q8_0" };
    const char *arg[3];
    int n;
    if (options_parse(options, sizeof options / sizeof *options, &a, argc, argv, 2, arg, 3, &n))
        return EXIT_USAGE;
    if (a.help) {
        print_help();
        return EXIT_OK;
    }
    if (n != 3) {
        fputs("lever: grow needs IN, OUT and SHAPE; see lever grow --help\n", stderr);
        return EXIT_USAGE;
    }
    progress p = { 0 };
    lever_error err = { 0 };
    lever_grow_result r;
    const int rc = lever_grow(arg[0], arg[1], arg[2], a.type, a.seed, &r, on_progress, &p, &err);
    progress_clear(&p);
    if (rc < 0) return app_fail(rc, &err);
    print_result(arg[1], a.type, &r);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_IO;
}
