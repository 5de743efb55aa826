/* Talks: messages in the model's own form. SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <string.h>

static int no_room(const lever_session *s, lever_error *err)
{
    return lv_fail(err, LEVER_ELIMIT, 0,
                   "the message does not fit: the text has %u tokens of a context of %u; use a longer -c",
                   s->n_tokens, s->n_ctx);
}

/* Closes an open message, begins the text; *n tokens follow s->tokens[s->n_tokens]. */
static int put_before(const lever_session *s, uint32_t *n, lever_error *err)
{
    const lever_engine *e = s->engine;
    int32_t *at = s->tokens + s->n_tokens;
    const size_t room = s->n_ctx - s->n_tokens;
    *n = 0;
    if (s->n_tokens == 0) {
        if (!lv_vocab_add_bos(e->vocab)) return LEVER_OK;
        if (!room) return no_room(s, err);
        at[(*n)++] = lv_vocab_bos(e->vocab);
        return LEVER_OK;
    }
    if (!s->answer_open) return LEVER_OK;
    const int64_t k = lv_chat_encode_close(e->vocab, e->chat, at[-1], at, room, err);
    if (k < 0) return (int)k;
    if ((uint64_t)k > room) return no_room(s, err);
    *n = (uint32_t)k;
    return LEVER_OK;
}

static int append(lever_session *s, const char *role, const char *text, size_t len, lever_error *err)
{
    const lever_engine *e = s->engine;
    if (!e->chat)
        return lv_fail(err, LEVER_EUNSUP, 0,
                       "the model has no chat template of a known form (known: ChatML, Llama 3)");
    uint32_t before;
    LEVER_TRY(put_before(s, &before, err));
    const size_t at = s->n_tokens + before, room = s->n_ctx - at;
    const int64_t n = lv_chat_encode(e->vocab, e->chat, role, text, len, s->tokens + at, room, err);
    if (n < 0) return (int)n;
    if ((uint64_t)n > room) return no_room(s, err);
    s->n_tokens = (uint32_t)(at + (size_t)n);
    s->answer_open = !text;
    return LEVER_OK;
}

int lever_session_append_message(lever_session *s, const char *role, const char *text, size_t len,
                                 lever_error *err)
{
    return append(s, role, text, len == SIZE_MAX ? strlen(text) : len, err);
}

int lever_session_open_answer(lever_session *s, lever_error *err)
{
    return append(s, "assistant", NULL, 0, err);
}
