/* Tokens of a talk. SPDX-License-Identifier: MIT */
#include <string.h>

#include "token/chat.h"
#include "token/vocab_impl.h"

typedef struct encoder {
    const lv_vocab *v;
    int32_t *out;
    size_t cap;
    int64_t n;
    lever_error *err;
} encoder;

static void put_id(encoder *e, int32_t id)
{
    if ((uint64_t)e->n < e->cap) e->out[e->n] = id;
    e->n++;
}

/* Content: control tokens named in it stay text. */
static int put_text(encoder *e, const char *text, size_t len)
{
    const size_t at = (uint64_t)e->n < e->cap ? (size_t)e->n : e->cap;
    const int64_t n = lv_vocab_encode(e->v, text, len, 0, e->out + at, e->cap - at, e->err);
    if (n < 0) return (int)n;
    e->n += n;
    return LEVER_OK;
}

/* The token of a mark; -1: there is none. */
static int64_t mark_id(encoder *e, const char *name, size_t len)
{
    int32_t id;
    const int64_t n = lv_vocab_encode(e->v, name, len, LV_ENCODE_PARSE_SPECIAL, &id, 1, e->err);
    return n < 0 ? n : n == 1 ? id : LEVER_EFORMAT;
}

static int put_mark(encoder *e, const lv_chat_format *f, const char *name, size_t len, bool must)
{
    const int64_t id = mark_id(e, name, len);
    if (id >= 0) {
        put_id(e, (int32_t)id);
        return LEVER_OK;
    }
    if (id != LEVER_EFORMAT) return (int)id;
    if (!must) return put_text(e, name, len);
    return lv_fail(e->err, LEVER_EFORMAT, 0,
                   "the chat form '%s' uses '%.*s', which is no token of this model", f->name, (int)len,
                   name);
}

/* A text that follows a mark. SentencePiece puts a space before it by itself, which is the one that Mistral's
 * templates write; and the tokens of Phi-3 swallow white space behind them. */
static int put_after_mark(encoder *e, const lv_chat_format *f, const char *text, size_t len)
{
    const bool spm = e->v->model == LV_VOCAB_SPM;
    if (spm && f->family == LV_CHAT_PHI3)
        while (len && (*text == ' ' || *text == '\n' || *text == '\t')) text++, len--;
    else if (spm && e->v->add_space_prefix && f->family == LV_CHAT_MISTRAL && len && *text == ' ')
        text++, len--;
    return len ? put_text(e, text, len) : LEVER_OK;
}

int64_t lv_chat_encode(const lv_vocab *v, const lv_chat_format *f, const lv_chat_text *t, int32_t *out,
                       size_t cap, lever_error *err)
{
    encoder e = { .v = v, .out = out, .cap = cap, .err = err };
    if (lv_vocab_add_bos(v) || (f->bos && lv_vocab_bos(v) >= 0)) put_id(&e, lv_vocab_bos(v));
    for (size_t i = 0; i < t->n; i++) {
        const lv_chat_piece *p = &t->pieces[i];
        const char *s = t->text + p->at;
        if (p->kind == LV_CHAT_END) {
            if (lv_vocab_eos(v) < 0)
                return lv_fail(err, LEVER_EFORMAT, 0,
                               "the chat form '%s' needs an end-of-text token, which this model lacks",
                               f->name);
            put_id(&e, lv_vocab_eos(v));
        } else if (p->kind == LV_CHAT_TEXT) {
            LEVER_TRY(put_after_mark(&e, f, s, p->len));
        } else {
            LEVER_TRY(put_mark(&e, f, s, p->len, p->kind == LV_CHAT_MARK));
        }
    }
    return e.n;
}
