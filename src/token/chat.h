/* How a model writes a talk. The form is recognised by the text of the model's own template, with its spaces,
 * default system text and treatment of reasoning; a template with marks that are not known is refused.
 * A talk becomes pieces (chat.c), these become tokens (chat_encode.c).
 * Threading: everything here is pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_CHAT_H
#define LEVER_TOKEN_CHAT_H

#include "lever/message.h"
#include "token/vocab.h"

enum lv_chat_family {
    LV_CHAT_CHATML,
    LV_CHAT_LLAMA3,
    LV_CHAT_MISTRAL,
    LV_CHAT_GEMMA,
    LV_CHAT_PHI3,
    LV_CHAT_PLAIN
};

enum lv_chat_system { LV_CHAT_SYSTEM_FIRST, LV_CHAT_SYSTEM_LAST, LV_CHAT_SYSTEM_BLOCK };

typedef struct lv_chat_format {
    const char *name;     /* static */
    const char *note;     /* static; NULL: none. As lever_chat_info has it */
    enum lv_chat_family family;
    bool bos;             /* begins with the begin-of-text token, also where the vocabulary does not say so */
    bool trim;            /* white space around every text is dropped */
    bool trim_answer;     /* ... around earlier answers */
    bool dated;           /* Llama 3.1: the system message begins with two dates */
    /* reasoning */
    bool drops_reasoning; /* of earlier turns */
    bool think_switch;    /* thinking can be switched off */
    bool think_open;      /* the answer is begun with <think> */
    /* Mistral: where spaces stand */
    bool space_before, space_after; /* of [INST] */
    bool space_close;     /* before [/INST] */
    bool space_answer, space_end, space_next; /* before an answer, before its end token, after it */
    enum lv_chat_system system; /* Mistral: with the first user's message, the last one's, or of its own */
    char default_system[512]; /* "" = none */
} lv_chat_format;

/* Recognise a template. LEVER_OK; LEVER_EUNSUP: it is empty or of no known form (the text names its marks);
 * LEVER_ENOMEM. */
int lv_chat_format_detect(lv_chat_format *f, lv_str template_text, lever_error *err);
/* The form of a name. LEVER_OK; LEVER_EINVAL: the text lists the known ones. */
int lv_chat_format_named(lv_chat_format *f, const char *name, lever_error *err);
/* Name of the i-th form; NULL: there are no more. Static. */
const char *lv_chat_format_known(size_t i);
/* Text that ends an answer of a form without marks; NULL: none. Static. */
const char *lv_chat_format_stop(const lv_chat_format *f);

/* token/answer.c: lever_answer_init for an answer that this text ends (static; NULL: none). */
void lv_answer_init(lever_answer *a, const char *stop, bool in_reasoning);
/* As lever_answer_push, _finish, _is_past_reasoning. */
bool lv_answer_push(lever_answer *a, const char *text, size_t len, lever_on_part on_part, void *user);
void lv_answer_finish(lever_answer *a, lever_on_part on_part, void *user);
bool lv_answer_is_past_reasoning(const lever_answer *a);

enum lv_chat_kind {
    LV_CHAT_TEXT, /* content and what joins it: never a control token */
    LV_CHAT_MARK, /* name of a control token that must be there */
    LV_CHAT_WORD, /* the same, but text where the vocabulary has no such token */
    LV_CHAT_END   /* the end-of-text token; in the text: </s> */
};

typedef struct lv_chat_piece {
    enum lv_chat_kind kind;
    size_t at, len; /* in text */
} lv_chat_piece;

/* A talk as text and pieces, in order and without gaps; neighbouring texts are one piece. */
typedef struct lv_chat_text {
    char  *text;          /* [len], not NUL-ended */
    size_t len, cap;
    lv_chat_piece *pieces; /* [n] */
    size_t n, cap_pieces;
} lv_chat_text;

/* Write a talk and the beginning of its answer; zero *out before. LEVER_OK; LEVER_EINVAL (a role, an order of
 * roles); LEVER_ENOMEM. Free *out with lv_chat_text_fini in any case. */
int  lv_chat_write(lv_chat_text *out, const lv_chat_format *f, const lever_message *messages, size_t n,
                   bool think, lever_error *err);
void lv_chat_text_fini(lv_chat_text *t);

/* Its tokens, with the begin-of-text token where form or vocabulary want it. Returns as lv_vocab_encode;
 * LEVER_EFORMAT: the vocabulary lacks a mark (it is named). */
int64_t lv_chat_encode(const lv_vocab *v, const lv_chat_format *f, const lv_chat_text *t, int32_t *out,
                       size_t cap, lever_error *err);

#endif
