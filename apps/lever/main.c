/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "app.h"

static const struct { const char *name; int (*run)(int argc, char **argv); const char *help; } commands[] = {
    { "run", cmd_run, "continue a text, streaming the model from flash" },
    { "chat", cmd_chat, "talk with a model" },
    { "serve", cmd_serve, "answer over HTTP, as OpenAI's API does" },
    { "inspect", cmd_inspect, "show a model's settings, tensors and memory plan" },
    { "eval", cmd_eval, "perplexity of a text, and how often draft and target agree" },
    { "fit", cmd_fit, "train the predictor that prunes trees at a middle layer" },
    { "bench", cmd_bench, "speed of several policies and memory limits on the same prompts" },
    { "profile", cmd_profile, "measure how this machine reads, for later runs" },
    { "plan", cmd_plan, "what would be fastest here, before it is tried" },
    { "quantize", cmd_quantize, "write a copy of a model in another weight type" },
    { "grow", cmd_grow, "write a small model in the shapes of a large one, for measuring" },
};

static void print_help(void)
{
    puts("lever: run language models larger than the memory they may use\n\n"
         "usage: lever COMMAND [options]\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    puts("  help       this page; 'lever COMMAND --help' tells the options of a command\n"
         "  version    version and build\n\n"
         "example: lever run -m big.gguf -md small.gguf --mem 3GiB -p \"Once upon a time\"\n"
         "Without -m the demo pair that comes with Lever is used.");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
        print_help();
        return argc > 1 ? EXIT_OK : EXIT_USAGE;
    }
    if (!strcmp(name, "version") || !strcmp(name, "--version")) {
        printf("lever %s\n", lever_version());
        return EXIT_OK;
    }
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN); /* a file grown to the limit of the shell is a write error, not a silent death */
#endif
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(name, commands[i].name)) return commands[i].run(argc, argv);
    fprintf(stderr, "lever: unknown command '%s'; see lever --help\n", name);
    return EXIT_USAGE;
}
