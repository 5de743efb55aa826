/* Options that name models and resources, shared by the commands that open an engine.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_MODEL_ARGS_H
#define LEVER_APPS_MODEL_ARGS_H

#include "app.h"
#include "lever/chat.h"
#include "options.h"

typedef struct model_args {
    const char *model, *draft_model, *policy, *io, *isa, *kv_type, *cpus, *flash_model, *exit, *prune, *verify;
    const char *device, *draft_device, *project, *draft_ahead;
    uint64_t    mem, flash_limit;
    uint32_t    ctx, threads, rows, device_min_rows;
    bool        pin_first, no_pin, verify_reads, no_learn, project_device;
    char        demo_model[4096], demo_draft[4096], cache[4096];
} model_args;

/* Rows for the option table; `base` is the struct that holds `field`, a model_args. MODEL_OPTIONS are those
 * of a run; a command that does not draft takes the other two, and says what its context is. */
#define MODEL_OPTIONS(base, field)                                                                           \
    MODEL_FILE_OPTIONS(base, field),                                                                         \
        { "--draft --policy", OPTION_TEXT, "POLICY",                                                         \
          "what is proposed: none, chain:K, tree:K1,K2,..., specinfer, sequoia:N,\n"                         \
          "eagle2, opttree, specexec:N, dyspec:N, edgellm; lookup:N needs no draft\n"                        \
          "model; default lever, or none without -md; settings in docs/policies.md",                         \
          offsetof(base, field.policy) },                                                                    \
        AHEAD_OPTION(base, field),                                                                           \
        PRUNE_OPTIONS(base, field),                                                                          \
        MODEL_RESOURCE_OPTIONS(base, field, "context in tokens; default: the model's, at most 4096")

#define AHEAD_OPTION(base, field)                                                                            \
    {                                                                                                        \
        "--draft-ahead", OPTION_TEXT, "WHEN",                                                                \
            "go on drafting while a sweep runs: auto (where cores wait for flash or\n"                       \
            "a device; default), on, off. It can not change the text",                                       \
            offsetof(base, field.draft_ahead)                                                                \
    }

#define PRUNE_OPTIONS(base, field)                                                                           \
    { "--prune", OPTION_TEXT, "RULE",                                                                        \
      "rows of a tree that skip upper layers: auto (as policy lever finds\n"                                 \
      "worth it; default), off, or a threshold: 0.05. Needs an exit predictor",                              \
      offsetof(base, field.prune) },                                                                         \
    {                                                                                                        \
        "--exit", OPTION_TEXT, "FILE",                                                                       \
            "exit predictor of the target (lever fit); default: MODEL.exit.gguf\n"                           \
            "for MODEL.gguf, if it is there",                                                                \
            offsetof(base, field.exit)                                                                       \
    }

/* For commands that use learnt_load and learnt_store. */
#define LEARN_OPTION(base, field)                                                                            \
    {                                                                                                        \
        "--no-learn", OPTION_FLAG, NULL,                                                                     \
            "neither use nor keep what earlier runs of these models have shown\n"                            \
            "(how sure the draft is, how long things take): ~/.cache/lever",                                 \
            offsetof(base, field.no_learn)                                                                   \
    }

/* For commands that compare ways to project rows. */
#define PROJECT_OPTIONS(base, field)                                                                         \
    { "--project", OPTION_TEXT, "MODE",                                                                      \
      "rows that meet the output head: demand (default: those on the path\n"                                 \
      "the model takes) or eager (all at once, for comparison)",                                             \
      offsetof(base, field.project) },                                                                       \
    {                                                                                                        \
        "--project-device", OPTION_FLAG, NULL, "with --device: the output head runs there too",              \
            offsetof(base, field.project_device)                                                             \
    }

/* For commands that compare rules of verification; beside MODEL_OPTIONS, as inspect has another --verify. */
#define VERIFY_OPTION(base, field)                                                                           \
    {                                                                                                        \
        "--verify", OPTION_TEXT, "RULE",                                                                     \
            "how trees are verified: match (default: the text is that of plain\n"                            \
            "decoding); above --temp 0 also specinfer, sequoia, traversal, with\n"                           \
            "which the text has the same distribution but depends on draft and\n"                            \
            "policy; these need a policy that draws (chain, tree, specinfer,\n"                              \
            "sequoia, dyspec) and --top-k 1 to 256",                                                         \
            offsetof(base, field.verify)                                                                     \
    }

#define MODEL_FILE_OPTIONS(base, field)                                                                      \
    { NULL, OPTION_FLAG, NULL, "models", 0 },                                                                \
        { "-m --model", OPTION_TEXT, "FILE", "target model (GGUF); default: the demo pair",                  \
          offsetof(base, field.model) },                                                                     \
    {                                                                                                        \
        "-md --model-draft", OPTION_TEXT, "FILE", "draft model with the same tokenizer",                     \
            offsetof(base, field.draft_model)                                                                \
    }

#define MODEL_RESOURCE_OPTIONS(base, field, ctx_help)                                                        \
    { NULL, OPTION_FLAG, NULL, "resources", 0 },                                                             \
        { "--mem", OPTION_BYTES, "SIZE", "hard memory limit, e.g. 3GiB; default: 3/4 of what is free",       \
          offsetof(base, field.mem) },                                                                       \
        MODEL_OTHER_RESOURCE_OPTIONS(base, field, ctx_help)

/* Those behind --mem. */
#define MODEL_OTHER_RESOURCE_OPTIONS(base, field, ctx_help)                                                  \
        { "-c --ctx-size", OPTION_U32, "N", ctx_help, offsetof(base, field.ctx) },                           \
        { "-t --threads", OPTION_U32, "N", "threads; default: every core", offsetof(base, field.threads) },  \
        { "--cpus", OPTION_TEXT, "LIST", "bind the threads to these cores: 0-3,6 or fast (the strong ones)", \
          offsetof(base, field.cpus) },                                                                      \
        { "-b --batch-size", OPTION_U32, "N", "most rows of one sweep over the model; default: by memory",   \
          offsetof(base, field.rows) },                                                                      \
        { "--io", OPTION_TEXT, "NAME", "flash reads: auto, uring, pool (threads)",                           \
          offsetof(base, field.io) },                                                                        \
        { "--flash-model", OPTION_TEXT, "NAME",                                                              \
          "hold reads back as this device would: ufs4.0, ufs3.1, emmc5.1,\n"                                 \
          "microsd-a1, nvme (to try out slower flash than there is)",                                        \
          offsetof(base, field.flash_model) },                                                               \
        { "--flash-limit", OPTION_BYTES, "RATE", "hold reads back to this many bytes per second: 800MB",     \
          offsetof(base, field.flash_limit) },                                                               \
        { "--isa", OPTION_TEXT, "NAME",                                                                      \
          "use at most these instructions: ref, avx2, avx512vnni,\n"                                         \
          "neon, dotprod, i8mm (the text is the same with all)",                                             \
          offsetof(base, field.isa) },                                                                       \
        { "--kv", OPTION_TEXT, "TYPE", "KV cache: f16 or q8_0 (half the memory); default: q8_0 if it can be", \
          offsetof(base, field.kv_type) },                                                                   \
        { "--device", OPTION_TEXT, "DEVICE",                                                                 \
          "where products of the model run: cpu (default), opencl (a GPU or\n"                               \
          "accelerator), opencl:PART-OF-A-NAME, or the path of a plug-in, with\n"                            \
          "a '/' in it (the text is the same with all)",                                                     \
          offsetof(base, field.device) },                                                                    \
        { "--device-draft", OPTION_TEXT, "DEVICE", "the same for the draft model; default cpu",                \
          offsetof(base, field.draft_device) },                                                              \
        { "--device-min-rows", OPTION_U32, "N", "sweeps of fewer rows run on the CPU; default 0: those that lever\n"  \
          "profile found faster there, 1: none",                                                             \
          offsetof(base, field.device_min_rows) },                                                           \
        { "--pin-first", OPTION_FLAG, NULL, "keep whole first layers in memory instead of an even share",    \
          offsetof(base, field.pin_first) },                                                                 \
        { "--no-pin", OPTION_FLAG, NULL, "keep no layer in memory: stream everything",                       \
          offsetof(base, field.no_pin) },                                                                    \
    {                                                                                                        \
        "--verify-reads", OPTION_FLAG, NULL,                                                                 \
            "check all that is read of the target against MODEL.sums\n"                                      \
            "(lever inspect --checksum); takes 1/1024 of the file as memory",                                \
            offsetof(base, field.verify_reads)                                                               \
    }

/* How talks are written, for the commands that have some. */
typedef struct chat_args {
    const char *template_name, *think;
} chat_args;

#define CHAT_OPTIONS(base, field)                                                                            \
    { "--chat-template", OPTION_TEXT, "NAME",                                                                \
      "form of a talk; default: the one of the model's own template.\n"                                      \
      "chatml, qwen2.5, qwen3, llama3, llama3.1, mistral-v7, gemma, phi3,\n"                                 \
      "plain, ... (docs/chat.md)",                                                                           \
      offsetof(base, field.template_name) },                                                                 \
    {                                                                                                        \
        "--think", OPTION_TEXT, "MODE",                                                                      \
            "reasoning of models that can switch it: on (default), off, or\n"                                \
            "hide: they reason, but lever chat does not show it",                                            \
            offsetof(base, field.think)                                                                      \
    }

/* Sampling settings; `field` is a lever_sampling. */
#define SAMPLING_OPTIONS(base, field)                                                                        \
    { NULL, OPTION_FLAG, NULL, "sampling (the text depends on these and the seed, never on the draft)", 0 }, \
        { "--temp", OPTION_FLOAT, "T", "temperature; default 0.8, 0 = always the likeliest token",           \
          offsetof(base, field.temperature) },                                                               \
        { "--top-k", OPTION_I32, "N", "keep the N likeliest; default 40, 0 = off",                           \
          offsetof(base, field.top_k) },                                                                     \
        { "--top-p", OPTION_FLOAT, "P", "keep the likeliest up to this sum; default 0.95, 1 = off",          \
          offsetof(base, field.top_p) },                                                                     \
        { "--min-p", OPTION_FLOAT, "P", "drop those below P times the likeliest; default 0.05, 0 = off",     \
          offsetof(base, field.min_p) },                                                                     \
        { "--repeat-penalty", OPTION_FLOAT, "X", "make repeated tokens less likely; default 1 = off",        \
          offsetof(base, field.repeat_penalty) },                                                            \
        { "--repeat-last-n", OPTION_I32, "N", "tokens looked back for that; default 64",                     \
          offsetof(base, field.repeat_last_n) },                                                             \
    {                                                                                                        \
        "-s --seed", OPTION_U64, "N", "default 0; the same seed gives the same text",                        \
            offsetof(base, field.seed)                                                                       \
    }

/* Are the names ones there are? Before a model is loaded. Returns 0, or an exit code after a message. */
int  chat_args_check(const chat_args *a);
/* With reasoning, where it can be switched? */
bool chat_args_think(const chat_args *a);
/* Use the form that was asked for, if one was. As lever_chat_choose. */
int  chat_args_apply(const chat_args *a, lever_engine *engine, lever_error *err);

void model_args_init(model_args *a);
/* Fill c; without -m the demo pair. Returns 0, or an exit code after a message. */
int  model_args_config(model_args *a, lever_config *c);
/* One line on stderr where a device that was asked for is not in use. */
void model_args_device_note(const lever_engine *engine);

#endif
