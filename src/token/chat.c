/* SPDX-License-Identifier: MIT */
#include "token/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const lv_chat_format formats[] = {
    { "chatml", "<|im_start|>", "\n", "<|im_end|>", "\n", "<|im_start|>" },
    { "llama3", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "", "<|start_header_id|>" },
};

static bool contains(lv_str s, const char *what)
{
    const size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.len; i++)
        if (!memcmp(s.s + i, what, n)) return true;
    return false;
}

const lv_chat_format *lv_chat_format_find(lv_str text)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (contains(text, formats[i].sign)) return &formats[i];
    return NULL;
}

typedef struct encoder {
    const lv_vocab *v;
    int32_t *out;
    size_t cap;
    int64_t n;
    lever_error *err;
} encoder;

static int put(encoder *e, const char *text, size_t len, unsigned flags)
{
    const size_t at = (uint64_t)e->n < e->cap ? (size_t)e->n : e->cap;
    const int64_t n = lv_vocab_encode(e->v, text, len, flags, e->out + at, e->cap - at, e->err);
    if (n < 0) return (int)n;
    e->n += n;
    return LEVER_OK;
}

static int put_mark(encoder *e, const char *name)
{
    int32_t id;
    const int64_t n = lv_vocab_encode(e->v, name, strlen(name), LV_ENCODE_PARSE_SPECIAL, &id, 1, e->err);
    if (n < 0) return (int)n;
    if (n != 1)
        return lv_fail(e->err, LEVER_EFORMAT, 0,
                       "the chat template uses '%s', which is no token of this model", name);
    if ((uint64_t)e->n < e->cap) e->out[e->n] = id;
    e->n++;
    return LEVER_OK;
}

/* Text may continue the words around it, so what stands between two marks is encoded as one piece. After_role
 * may hold a mark itself, at its start. */
static int put_role_and_text(encoder *e, const lv_chat_format *f, const char *role, const char *text,
                             size_t len)
{
    const char *after = f->after_role;
    const char *mark_end = *after == '<' ? strchr(after, '>') + 1 : after;
    char mark[32] = "";
    if (mark_end > after) {
        memcpy(mark, after, (size_t)(mark_end - after));
        LEVER_TRY(put(e, role, strlen(role), 0));
        LEVER_TRY(put_mark(e, mark));
        role = "";
    }
    const size_t head = strlen(role), tail = strlen(mark_end);
    char *all = lv_alloc(head + tail + len + 1, 16);
    if (!all) return lv_fail(e->err, LEVER_ENOMEM, 0, "message of %zu bytes", len);
    memcpy(all, role, head);
    memcpy(all + head, mark_end, tail);
    if (len) memcpy(all + head + tail, text, len);
    const int rc = put(e, all, head + tail + len, 0);
    lv_free(all);
    return rc;
}

int64_t lv_chat_encode(const lv_vocab *v, const lv_chat_format *f, const char *role, const char *text,
                       size_t len, int32_t *out, size_t cap, lever_error *err)
{
    encoder e = { .v = v, .out = out, .cap = cap, .err = err };
    LEVER_TRY(put_mark(&e, f->open));
    LEVER_TRY(put_role_and_text(&e, f, role, text, text ? len : 0));
    if (!text) return e.n;
    LEVER_TRY(put_mark(&e, f->close));
    LEVER_TRY(put(&e, f->after_close, strlen(f->after_close), 0));
    return e.n;
}

int64_t lv_chat_encode_close(const lv_vocab *v, const lv_chat_format *f, int32_t last, int32_t *out,
                             size_t cap, lever_error *err)
{
    encoder e = { .v = v, .out = out, .cap = cap, .err = err };
    LEVER_TRY(put_mark(&e, f->close));
    if (cap && e.n == 1 && out[0] == last) e.n = 0;
    LEVER_TRY(put(&e, f->after_close, strlen(f->after_close), 0));
    return e.n;
}
