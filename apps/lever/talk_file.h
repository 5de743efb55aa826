/* A talk in a file, as JSON:
 *
 *   {"lever_talk": 1, "model": "big.gguf", "form": "qwen3",
 *    "settings": {"temperature": 0.8, ..., "seed": 0, "think": "on"},
 *    "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
 *
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_TALK_FILE_H
#define LEVER_APPS_TALK_FILE_H

#include "app.h"
#include "talk.h"

typedef struct talk_about {
    char model[256], form[32], think[8]; /* "" = the file does not say */
    lever_sampling sampling;
} talk_about;

/* Write a talk; the file appears under its name only when it is complete, readable by its owner alone.
 * LEVER_OK, LEVER_EIO, LEVER_ENOMEM. */
int talk_save(const talk *t, const talk_about *about, const char *path, lever_error *err);
/* Read one into an empty talk; what *about holds before stays where the file says nothing. LEVER_OK;
 * LEVER_EIO; LEVER_EFORMAT: the text says what is wrong with the file; LEVER_ENOMEM. After a failure *t is
 * empty and *about as before. */
int talk_load(talk *t, talk_about *about, const char *path, lever_error *err);

#endif
