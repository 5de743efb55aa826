/* Talks: which form they are written in, and sessions that hold one. SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"
#include "lever/chat.h"

const char *lever_chat_known(size_t i) { return lv_chat_format_known(i); }

void lever_chat_get_info(const lever_engine *e, lever_chat_info *info)
{
    const lv_chat_format *f = &e->chat.now;
    *info = (lever_chat_info){ .name = f->name,
                               .why = f->name ? NULL : e->chat.why,
                               .has_template = e->chat.has_template,
                               .thinking = f->think_switch ? LEVER_THINKING_SWITCH
                                           : f->think_open ? LEVER_THINKING_ALWAYS
                                                           : LEVER_THINKING_UNKNOWN,
                               .default_system = f->default_system[0] ? f->default_system : NULL,
                               .note = f->note };
}

int lever_chat_choose(lever_engine *e, const char *name, lever_error *err)
{
    if (name) return lv_chat_format_named(&e->chat.now, name, err);
    if (!e->chat.own.name) return lv_fail(err, LEVER_EUNSUP, 0, "%s", e->chat.why);
    e->chat.now = e->chat.own;
    return LEVER_OK;
}

int64_t lever_chat_tokenize(const lever_engine *e, const lever_message *messages, size_t n, bool think,
                            int32_t *tokens, size_t cap, lever_error *err)
{
    if (!e->chat.now.name) return lv_fail(err, LEVER_EUNSUP, 0, "%s", e->chat.why);
    lv_chat_text text = { 0 };
    int64_t n_ids = lv_chat_write(&text, &e->chat.now, messages, n, think, err);
    if (n_ids >= 0) n_ids = lv_chat_encode(e->vocab, &e->chat.now, &text, tokens, cap, err);
    lv_chat_text_fini(&text);
    return n_ids;
}

int64_t lever_session_set_messages(lever_session *s, const lever_message *messages, size_t n, bool think,
                                   lever_error *err)
{
    const int64_t n_ids = lever_chat_tokenize(s->engine, messages, n, think, s->talk, s->n_ctx, err);
    if (n_ids > s->n_ctx)
        return lv_fail(err, LEVER_ELIMIT, 0,
                       "the talk is %lld tokens long and does not fit the context of %u; use a longer -c",
                       (long long)n_ids, s->n_ctx);
    return n_ids < 0 ? n_ids : lever_session_set_tokens(s, s->talk, (size_t)n_ids, err);
}

void lever_answer_init(lever_answer *a, const lever_engine *e, bool think)
{
    const lv_chat_format *f = &e->chat.now;
    lv_answer_init(a, lv_chat_format_stop(f), f->think_open && (think || !f->think_switch));
}

bool lever_answer_push(lever_answer *a, const char *text, size_t len, lever_on_part on_part, void *user)
{
    return lv_answer_push(a, text, len, on_part, user);
}

void lever_answer_finish(lever_answer *a, lever_on_part on_part, void *user)
{
    lv_answer_finish(a, on_part, user);
}

bool lever_answer_is_past_reasoning(const lever_answer *a) { return lv_answer_is_past_reasoning(a); }
