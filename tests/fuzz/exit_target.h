/* The model that sidecars of the corpus belong to: there is none, but its identity is all that opening needs.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_FUZZ_EXIT_TARGET_H
#define LEVER_TESTS_FUZZ_EXIT_TARGET_H

#include "model/exit_predictor.h"

static const lv_model_id exit_target = {
    .name = "fuzzed.gguf", .fingerprint = 0x0123456789abcdef, .n_embd = 32, .n_layers = 4, .n_vocab = 12
};

#endif
