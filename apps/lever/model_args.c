/* SPDX-License-Identifier: MIT */
#include "model_args.h"

#include "cache_dir.h"
#include "profile_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_args_init(model_args *a) { *a = (model_args){ 0 }; }

static void set_devices(model_args *a, lever_config *c)
{
    c->device = a->device;
    c->draft_device = a->draft_device;
    c->device_min_rows = a->device_min_rows;
    c->project = a->project;
    c->project_device = a->project_device;
    if ((a->device || a->draft_device) && cache_path(a->cache, sizeof a->cache, "") && cache_make() == 0)
        c->device_cache_dir = a->cache;
}

void model_args_device_note(const lever_engine *engine)
{
    lever_engine_info info;
    lever_engine_get_info(engine, &info);
    static bool said; /* engines of one command have the same device */
    if (info.device_note && !said) fprintf(stderr, "lever: %s\n", info.device_note);
    said = info.device_note != NULL;
}

int model_args_config(model_args *a, lever_config *c)
{
    lever_config_init(c);
    if (!a->model) {
        if (!demo_model_path(a->demo_model, sizeof a->demo_model, "lever-demo-target.Q8_0.gguf")) {
            fprintf(stderr, "lever: no -m MODEL given, and the demo pair is not at %s\n", a->demo_model);
            return EXIT_USAGE;
        }
        a->model = a->demo_model;
        if (!a->draft_model &&
            demo_model_path(a->demo_draft, sizeof a->demo_draft, "lever-demo-draft.Q8_0.gguf"))
            a->draft_model = a->demo_draft;
    }
    c->model_path = a->model;
    c->draft_path = a->draft_model;
    c->policy = a->policy;
    static const char *const when[] = { "auto", "on", "off" }; /* enum lever_draft_ahead */
    while (a->draft_ahead && c->draft_ahead < 3 && strcmp(when[c->draft_ahead], a->draft_ahead)) c->draft_ahead++;
    if (c->draft_ahead == 3) {
        fprintf(stderr, "lever: --draft-ahead is auto, on or off, not '%s'\n", a->draft_ahead);
        return EXIT_USAGE;
    }
    c->prune = a->prune;
    c->exit_path = a->exit;
    c->verify = a->verify;
    c->mem_bytes = a->mem;
    c->n_ctx = a->ctx;
    c->n_threads = a->threads;
    c->max_rows = a->rows;
    c->io_backend = a->io;
    c->flash_model = a->flash_model;
    c->flash_limit_bytes_per_s = a->flash_limit;
    set_devices(a, c);
    c->isa = a->isa;
    c->cpus = a->cpus;
    profile_apply(a->model, c);
    c->kv_type = a->kv_type;
    c->pin_first_layers = a->pin_first;
    c->no_pin = a->no_pin;
    c->verify_reads = a->verify_reads;
    const char *faults = getenv("LEVER_IO_FAULTS"); /* for tests of the error paths */
    c->io_faults = faults && *faults ? faults : NULL;
    return 0;
}

int chat_args_check(const chat_args *a)
{
    if (a->think && strcmp(a->think, "on") && strcmp(a->think, "off") && strcmp(a->think, "hide")) {
        fprintf(stderr, "lever: --think is on, off or hide, not '%s'\n", a->think);
        return EXIT_USAGE;
    }
    size_t i = 0;
    while (a->template_name && lever_chat_known(i) && strcmp(lever_chat_known(i), a->template_name)) i++;
    if (!a->template_name || lever_chat_known(i)) return EXIT_OK;
    fprintf(stderr, "lever: unknown chat template '%s'; known:", a->template_name);
    for (i = 0; lever_chat_known(i); i++) fprintf(stderr, "%s %s", i ? "," : "", lever_chat_known(i));
    fputc('\n', stderr);
    return EXIT_USAGE;
}

bool chat_args_think(const chat_args *a) { return !a->think || strcmp(a->think, "off"); }

int chat_args_apply(const chat_args *a, lever_engine *engine, lever_error *err)
{
    return a->template_name ? lever_chat_choose(engine, a->template_name, err) : LEVER_OK;
}
