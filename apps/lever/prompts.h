/* Files of prompts: our own form and those of the benchmarks people measure with.
 *
 *   ours        {"id": "story-01", "kind": "story", "prompt": "text to continue"}, or "turns": ["message"]
 *   HumanEval   task_id, prompt, entry_point: the prompt is continued
 *   MBPP        text (or prompt), code, test_list: one message with the task and its tests
 *   GSM8K       question, answer: one message
 *   MT-Bench, Spec-Bench   question_id, category, turns
 *
 * One JSON object per line, or one JSON array; plain or gzip. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PROMPTS_H
#define LEVER_APPS_PROMPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "lever/error.h"

typedef struct prompt {
    char  *id, *kind;   /* kind: "code", "math", ..., a category of the file, or the file's name */
    char **turns;       /* [n_turns] */
    size_t n_turns;
    bool   continues;   /* one text to be continued; else messages of a user, answered one by one */
} prompt;

typedef struct prompt_set {
    prompt *items;      /* [n] */
    size_t  n;
} prompt_set;

/* Append the prompts of a file to *set, at most `limit` of it (0: all). LEVER_OK; LEVER_EIO; LEVER_EFORMAT:
 * the message names file and line; LEVER_ELIMIT: a file or prompt beyond any sense; LEVER_ENOMEM. *set stays
 * valid. */
int  prompts_load(prompt_set *set, const char *path, size_t limit, lever_error *err);
void prompts_free(prompt_set *set);

#endif
