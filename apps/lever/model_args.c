/* SPDX-License-Identifier: MIT */
#include "model_args.h"

#include "profile_file.h"

#include <stdio.h>
#include <stdlib.h>

void model_args_init(model_args *a) { *a = (model_args){ 0 }; }

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
    profile_apply(a->model, c);
    c->isa = a->isa;
    c->cpus = a->cpus;
    c->kv_type = a->kv_type;
    c->pin_first_layers = a->pin_first;
    c->no_pin = a->no_pin;
    c->verify_reads = a->verify_reads;
    const char *faults = getenv("LEVER_IO_FAULTS"); /* for tests of the error paths */
    c->io_faults = faults && *faults ? faults : NULL;
    return 0;
}
