/* How a model writes a talk: which marks stand around a message. The marks come from the model's own
 * template, recognised by its text; nothing is guessed. SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_CHAT_H
#define LEVER_TOKEN_CHAT_H

#include "token/vocab.h"

/* A message is: open role after_role text close after_close. open and close are names of control tokens. */
typedef struct lv_chat_format {
    const char *name;
    const char *open, *after_role, *close, *after_close;
    const char *sign; /* this text in a template means this format */
} lv_chat_format;

/* Format of a chat template; NULL: not known here. Known: ChatML, Llama 3. */
const lv_chat_format *lv_chat_format_find(lv_str template_text);

/* Tokens of the parts around and in a message. The text is content: names of control tokens in it stay
 * text. text NULL: the message is left open after its role, to be continued by the model.
 * Returns as lv_vocab_encode; LEVER_EFORMAT: the vocabulary lacks a mark (it is named). */
int64_t lv_chat_encode(const lv_vocab *v, const lv_chat_format *f, const char *role, const char *text,
                       size_t len, int32_t *out, size_t cap, lever_error *err);
/* Tokens that end an open message whose last token is `last`. At most LV_CHAT_CLOSE_MAX. */
enum { LV_CHAT_CLOSE_MAX = 8 };
int64_t lv_chat_encode_close(const lv_vocab *v, const lv_chat_format *f, int32_t last, int32_t *out,
                             size_t cap, lever_error *err);

#endif
