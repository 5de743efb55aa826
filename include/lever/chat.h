/* Talks: messages written in the model's own form, and answers read back from what the model writes.
 *
 *   const lever_message talk[] = { { "system", "Be brief.", SIZE_MAX }, { "user", "Hello!", SIZE_MAX } };
 *   lever_session_set_messages(session, talk, 2, true, &err);
 *   lever_answer answer;
 *   lever_answer_init(&answer, engine, true);
 *   lever_session_generate(session, NULL, on_token, &answer, &stats, &err);    on_token: lever_answer_push
 *   lever_answer_finish(&answer, on_part, user);
 *
 * The whole talk is given every time; what the session has evaluated of its beginning is kept.
 * Threading as in lever.h. docs/chat.md says what is known of each form. SPDX-License-Identifier: MIT */
#ifndef LEVER_CHAT_H
#define LEVER_CHAT_H

#include "lever/lever.h"
#include "lever/message.h"

#ifdef __cplusplus
extern "C" {
#endif

enum lever_thinking {
    LEVER_THINKING_UNKNOWN, /* the form says nothing about reasoning; an answer may have some all the same */
    LEVER_THINKING_SWITCH,  /* can be left out: `think` of lever_session_set_messages */
    LEVER_THINKING_ALWAYS   /* every answer begins with it */
};

typedef struct lever_chat_info {
    const char *name;       /* of the form: "qwen3"; NULL: none is chosen. Static */
    const char *why;        /* why none is, as the text of an error; NULL when one is. Lives as the engine */
    bool        has_template; /* the model file has a chat template, known or not */
    int         thinking;   /* enum lever_thinking */
    const char *default_system; /* what the form puts first into a talk without a system message; NULL:
                             * nothing. Lives as the engine */
    const char *note;       /* where Lever leaves the model's template: a sentence for people; NULL. Static */
} lever_chat_info;

/* The form in use: at first what the model's own chat template was recognised as. */
LEVER_API void lever_chat_get_info(const lever_engine *engine, lever_chat_info *info);
/* Names of the forms: the i-th one; NULL: there are no more. Static. */
LEVER_API const char *lever_chat_known(size_t i);
/* Use the form of this name, whatever the model's template says; NULL: go back to the template. LEVER_OK;
 * LEVER_EINVAL: unknown name (the text lists the known ones); LEVER_EUNSUP: NULL, but the model has no
 * template or an unknown one. After a failure the form is as before. */
LEVER_API int lever_chat_choose(lever_engine *engine, const char *name, lever_error *err);

/* Make the text of the session this talk, followed by the beginning of an answer. n >= 1, and the last
 * message is a user's. think false: without reasoning, where the form can switch it off. What is evaluated of
 * the longest common beginning of the old text and the new is kept.
 * Returns the number of tokens that need no evaluation again (>= 0). LEVER_EINVAL: a role, or an order of
 * roles that the form can not write; LEVER_ELIMIT: longer than the context; LEVER_EUNSUP: no form is chosen;
 * LEVER_EFORMAT: the vocabulary lacks a mark of the form; LEVER_ENOMEM. After a failure the text is as
 * before. */
LEVER_API int64_t lever_session_set_messages(lever_session *session, const lever_message *messages, size_t n,
                                             bool think, lever_error *err);

/* The tokens that lever_session_set_messages would make the text of, for programs that choose among sessions; any
 * thread, while none chooses a form. Returns their number, of which at most cap are stored; errors as there, but
 * for LEVER_ELIMIT. */
LEVER_API int64_t lever_chat_tokenize(const lever_engine *engine, const lever_message *messages, size_t n, bool think,
                                      int32_t *tokens, size_t cap, lever_error *err);

/* ------------------------------------------------------------------ answer */

/* For an answer begun by lever_session_set_messages with the same `think`. */
LEVER_API void lever_answer_init(lever_answer *a, const lever_engine *engine, bool think);
/* The next piece, text of a lever_token_event. Returns false when the answer is over: on_token should return
 * false too, and later pieces are ignored. */
LEVER_API bool lever_answer_push(lever_answer *a, const char *text, size_t len, lever_on_part on_part,
                                 void *user);
/* The answer has ended: what was held back is handed out. */
LEVER_API void lever_answer_finish(lever_answer *a, lever_on_part on_part, void *user);
/* Has the answer, so far, left its reasoning (or had none)? */
LEVER_API bool lever_answer_is_past_reasoning(const lever_answer *a);

#ifdef __cplusplus
}
#endif
#endif
