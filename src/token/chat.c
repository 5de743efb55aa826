/* Writing a talk: one function per family, each as its template reads. SPDX-License-Identifier: MIT */
#include "token/chat.h"

#include <string.h>

#include "base/mem.h"

/* ---- pieces ---- */

typedef struct writer {
    lv_chat_text *out;
    const lv_chat_format *f;
    const lever_message *m; /* [n] */
    size_t n;
    bool   think, failed;   /* failed: no memory */
} writer;

static bool grow(void **p, size_t *cap, size_t need, size_t elem_bytes)
{
    if (need <= *cap) return true;
    size_t room = *cap ? *cap : 64;
    while (room < need) room = room > SIZE_MAX / 2 ? need : room * 2;
    void *more = lv_alloc_array(room, elem_bytes, 16);
    if (!more) return false;
    if (*cap) memcpy(more, *p, *cap * elem_bytes);
    lv_free(*p);
    *p = more;
    *cap = room;
    return true;
}

static void put(writer *w, enum lv_chat_kind kind, const char *s, size_t len)
{
    lv_chat_text *o = w->out;
    void *text = o->text, *pieces = o->pieces;
    if (w->failed || len == 0) return;
    w->failed = len > SIZE_MAX / 4 - o->len || !grow(&text, &o->cap, o->len + len, 1);
    o->text = text;
    w->failed = w->failed || !grow(&pieces, &o->cap_pieces, o->n + 1, sizeof *o->pieces);
    o->pieces = pieces;
    if (w->failed) return;
    memcpy(o->text + o->len, s, len);
    if (kind == LV_CHAT_TEXT && o->n && o->pieces[o->n - 1].kind == LV_CHAT_TEXT)
        o->pieces[o->n - 1].len += len; /* words may run on: one text is encoded as one */
    else
        o->pieces[o->n++] = (lv_chat_piece){ kind, o->len, len };
    o->len += len;
}

static void text(writer *w, const char *s) { put(w, LV_CHAT_TEXT, s, strlen(s)); }
static void mark(writer *w, const char *s) { put(w, LV_CHAT_MARK, s, strlen(s)); }
static void word(writer *w, const char *s) { put(w, LV_CHAT_WORD, s, strlen(s)); }
static void end(writer *w) { put(w, LV_CHAT_END, "</s>", 4); }
static void space_if(writer *w, bool wanted) { text(w, wanted ? " " : ""); }

void lv_chat_text_fini(lv_chat_text *t)
{
    lv_free(t->text);
    lv_free(t->pieces);
    *t = (lv_chat_text){ 0 };
}

/* ---- contents ---- */

static lv_str text_of(const lever_message *m)
{
    return (lv_str){ m->text, m->len == SIZE_MAX ? strlen(m->text) : m->len };
}

static lv_str trim(lv_str s, const char *what)
{
    while (s.len && strchr(what, s.s[0]) && s.s[0]) s.s++, s.len--;
    while (s.len && strchr(what, s.s[s.len - 1]) && s.s[s.len - 1]) s.len--;
    return s;
}

static lv_str trim_all(lv_str s) { return trim(s, " \t\n\r\f\v"); }

static bool is(const lever_message *m, const char *role) { return !strcmp(m->role, role); }

/* Where `what` begins in s for the last time; SIZE_MAX: nowhere. */
static size_t find_last(lv_str s, const char *what)
{
    const size_t n = strlen(what);
    for (size_t i = s.len < n ? 0 : s.len - n + 1; i-- > 0;)
        if (!memcmp(s.s + i, what, n)) return i;
    return SIZE_MAX;
}

/* An earlier answer as the form keeps it: without its reasoning, where that is dropped. */
static lv_str answer_of(const writer *w, const lever_message *m)
{
    lv_str s = text_of(m);
    const size_t at = w->f->drops_reasoning ? find_last(s, "</think>") : SIZE_MAX;
    if (at != SIZE_MAX) {
        s = (lv_str){ s.s + at + 8, s.len - at - 8 };
        while (s.len && s.s[0] == '\n') s.s++, s.len--;
    }
    return w->f->trim || w->f->trim_answer ? trim_all(s) : s;
}

static lv_str content_of(const writer *w, const lever_message *m)
{
    if (is(m, "assistant")) return answer_of(w, m);
    return w->f->trim ? trim_all(text_of(m)) : text_of(m);
}

static void content(writer *w, const lever_message *m)
{
    const lv_str s = content_of(w, m);
    put(w, LV_CHAT_TEXT, s.s, s.len);
}

/* ---- families ---- */

static void chatml_message(writer *w, const char *role)
{
    mark(w, "<|im_start|>");
    text(w, role);
    text(w, "\n");
}

static void write_chatml(writer *w)
{
    if (w->f->default_system[0] && !is(&w->m[0], "system")) {
        chatml_message(w, "system");
        text(w, w->f->default_system);
        mark(w, "<|im_end|>");
        text(w, "\n");
    }
    for (size_t i = 0; i < w->n; i++) {
        chatml_message(w, w->m[i].role);
        content(w, &w->m[i]);
        mark(w, "<|im_end|>");
        text(w, "\n");
    }
    chatml_message(w, "assistant");
    if (w->f->think_switch && !w->think) text(w, "<think>\n\n</think>\n\n");
    else if (w->f->think_open) text(w, "<think>\n");
}

static void llama3_message(writer *w, const char *role)
{
    mark(w, "<|start_header_id|>");
    text(w, role);
    mark(w, "<|end_header_id|>");
    text(w, "\n\n");
}

static void write_llama3(writer *w)
{
    size_t i = 0;
    if (w->f->dated) {
        llama3_message(w, "system");
        text(w, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
        if (is(&w->m[0], "system")) content(w, &w->m[i++]);
        mark(w, "<|eot_id|>");
    }
    for (; i < w->n; i++) {
        llama3_message(w, w->m[i].role);
        content(w, &w->m[i]);
        mark(w, "<|eot_id|>");
    }
    llama3_message(w, "assistant");
}

static void write_mistral(writer *w)
{
    const lv_chat_format *f = w->f;
    const lever_message *system = is(&w->m[0], "system") ? &w->m[0] : NULL;
    const size_t first = system ? 1 : 0;
    if (system && f->system == LV_CHAT_SYSTEM_BLOCK) {
        word(w, "[SYSTEM_PROMPT]");
        space_if(w, f->space_after);
        content(w, system);
        word(w, "[/SYSTEM_PROMPT]");
        system = NULL;
    }
    for (size_t i = first; i < w->n; i++) {
        if (is(&w->m[i], "assistant")) {
            space_if(w, f->space_answer);
            content(w, &w->m[i]);
            space_if(w, f->space_end);
            end(w);
            space_if(w, f->space_next);
            continue;
        }
        space_if(w, f->space_before);
        word(w, "[INST]");
        space_if(w, f->space_after);
        if (system && i == (f->system == LV_CHAT_SYSTEM_LAST ? w->n - 1 : first)) {
            content(w, system);
            text(w, "\n\n");
        }
        content(w, &w->m[i]);
        space_if(w, f->space_close);
        word(w, "[/INST]");
    }
}

static void write_gemma(writer *w)
{
    const size_t first = is(&w->m[0], "system") ? 1 : 0;
    for (size_t i = first; i < w->n; i++) {
        mark(w, "<start_of_turn>");
        text(w, is(&w->m[i], "assistant") ? "model\n" : "user\n");
        if (first && i == first) { /* no role of its own: before the first user's text, as it is */
            const lv_str s = text_of(&w->m[0]);
            put(w, LV_CHAT_TEXT, s.s, s.len);
            text(w, "\n\n");
        }
        content(w, &w->m[i]);
        mark(w, "<end_of_turn>");
        text(w, "\n");
    }
    mark(w, "<start_of_turn>");
    text(w, "model\n");
}

static void write_phi3(writer *w)
{
    for (size_t i = 0; i < w->n; i++) {
        mark(w, is(&w->m[i], "system") ? "<|system|>" : is(&w->m[i], "user") ? "<|user|>" : "<|assistant|>");
        text(w, "\n");
        content(w, &w->m[i]);
        mark(w, "<|end|>");
        text(w, "\n");
    }
    mark(w, "<|assistant|>");
    text(w, "\n");
}

/* For models that know no form: what transcripts look like. */
static void write_plain(writer *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const lv_str s = trim_all(content_of(w, &w->m[i]));
        text(w, is(&w->m[i], "user") ? "User: " : is(&w->m[i], "assistant") ? "Assistant: " : "");
        put(w, LV_CHAT_TEXT, s.s, s.len);
        text(w, "\n\n");
    }
    text(w, "Assistant:");
}

static int check_messages(const lv_chat_format *f, const lever_message *m, size_t n, lever_error *err)
{
    const bool joins_system = f->family == LV_CHAT_MISTRAL || f->family == LV_CHAT_GEMMA;
    for (size_t i = 0; i < n; i++) {
        if (!m[i].role || !m[i].text ||
            (!is(&m[i], "system") && !is(&m[i], "user") && !is(&m[i], "assistant")))
            return lv_fail(err, LEVER_EINVAL, 0,
                           "message %zu has the role '%.40s'; known: system, user, assistant", i + 1,
                           m[i].role ? m[i].role : "");
        if (joins_system && i > 0 && is(&m[i], "system"))
            return lv_fail(err, LEVER_EINVAL, 0,
                           "message %zu is a system message; the form '%s' can write one only at the start",
                           i + 1, f->name);
    }
    if (n == 0 || !is(&m[n - 1], "user"))
        return lv_fail(err, LEVER_EINVAL, 0, "the last message of a talk must be a user's, to be answered");
    return LEVER_OK;
}

int lv_chat_write(lv_chat_text *out, const lv_chat_format *f, const lever_message *messages, size_t n,
                  bool think, lever_error *err)
{
    static void (*const write[])(writer *) = {
        [LV_CHAT_CHATML] = write_chatml, [LV_CHAT_LLAMA3] = write_llama3, [LV_CHAT_MISTRAL] = write_mistral,
        [LV_CHAT_GEMMA] = write_gemma,   [LV_CHAT_PHI3] = write_phi3,     [LV_CHAT_PLAIN] = write_plain,
    };
    LEVER_TRY(check_messages(f, messages, n, err));
    writer w = { .out = out, .f = f, .m = messages, .n = n, .think = think };
    write[f->family](&w);
    return w.failed ? lv_fail(err, LEVER_ENOMEM, 0, "a talk of %zu messages", n) : LEVER_OK;
}
