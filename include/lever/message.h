/* Messages of a talk, and an answer that is being read: types only, lever/chat.h says what is done with them.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_MESSAGE_H
#define LEVER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lever_message {
    const char *role;  /* "system", "user", "assistant" */
    const char *text;  /* UTF-8; names of control tokens in it stay text. An answer may begin with its
                        * reasoning, <think>...</think>, as the model wrote it: what becomes of it in an
                        * earlier turn is up to the form */
    size_t      len;   /* SIZE_MAX: up to NUL */
} lever_message;

enum lever_part { LEVER_PART_ANSWER, LEVER_PART_REASONING };
/* A piece of an answer: whole UTF-8 characters, len >= 1, borrowed during the call. */
typedef void (*lever_on_part)(void *user, int part, const char *text, size_t len);

/* Separates an answer that comes in pieces into reasoning and answer: reasoning is what stands between
 * <think> at its very start and </think>. White space around both is dropped, but not at the end of the
 * answer. Forms without control tokens end an answer by a text, which is recognised here. Plain data; the
 * fields are private. */
typedef struct lever_answer {
    int         state;
    const char *stop;       /* static; NULL: none */
    char        held[16];   /* the beginning of a mark, perhaps */
    uint32_t    n_held, n_newlines;
    bool        has_text;   /* of reasoning */
} lever_answer;

#ifdef __cplusplus
}
#endif
#endif
