/* Reasoning and answer, taken apart as they come. The marks are ASCII, so what is held back while one may be
 * beginning is never a part of a longer character. SPDX-License-Identifier: MIT */
#include <string.h>

#include "token/chat.h"

enum { AT_START, IN_REASONING, AFTER_REASONING, IN_ANSWER, IS_OVER };

static const char open_mark[] = "<think>", close_mark[] = "</think>";

/* What is handed out in one call, as far as it is known. */
typedef struct parts {
    lever_on_part on_part;
    void  *user;
    int    part;
    size_t n;
    char   text[256];
} parts;

static void flush(parts *p)
{
    if (p->n) p->on_part(p->user, p->part, p->text, p->n);
    p->n = 0;
}

static void hand_out(parts *p, int part, char c)
{
    const bool between = ((unsigned char)c & 0xc0) != 0x80; /* characters, if these are any */
    const bool full = p->n == sizeof p->text || (between && p->n + 8 > sizeof p->text);
    if (full || part != p->part) flush(p);
    p->part = part;
    p->text[p->n++] = c;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static void put(lever_answer *a, parts *p, char c)
{
    if ((a->state == AT_START || a->state == AFTER_REASONING) && is_space(c)) return;
    if (a->state != IN_REASONING) {
        a->state = IN_ANSWER;
        hand_out(p, LEVER_PART_ANSWER, c);
        return;
    }
    if (c == '\n') { /* the line feeds before </think> are not text */
        a->n_newlines++;
        return;
    }
    for (; a->n_newlines; a->n_newlines--)
        if (a->has_text) hand_out(p, LEVER_PART_REASONING, '\n'); /* nor are those behind <think> */
    a->has_text = true;
    hand_out(p, LEVER_PART_REASONING, c);
}

/* The mark that may come now; NULL: none. */
static const char *awaited(const lever_answer *a)
{
    return a->state == AT_START ? open_mark : a->state == IN_REASONING ? close_mark : a->stop;
}

static void take_mark(lever_answer *a)
{
    a->state = a->state == AT_START ? IN_REASONING : a->state == IN_REASONING ? AFTER_REASONING : IS_OVER;
    a->n_held = 0;
    a->n_newlines = 0;
}

static void push_byte(lever_answer *a, parts *p, char c)
{
    a->held[a->n_held++] = c;
    while (a->n_held) {
        const char *mark = awaited(a);
        if (mark && a->n_held <= strlen(mark) && !memcmp(mark, a->held, a->n_held)) {
            if (!mark[a->n_held]) take_mark(a);
            return;
        }
        const char first = a->held[0];
        memmove(a->held, a->held + 1, --a->n_held);
        put(a, p, first);
    }
}

void lv_answer_init(lever_answer *a, const char *stop, bool in_reasoning)
{
    *a = (lever_answer){ .state = in_reasoning ? IN_REASONING : AT_START, .stop = stop };
}

bool lv_answer_push(lever_answer *a, const char *text, size_t len, lever_on_part on_part, void *user)
{
    parts p = { .on_part = on_part, .user = user };
    for (size_t i = 0; i < len && a->state != IS_OVER; i++) push_byte(a, &p, text[i]);
    flush(&p);
    return a->state != IS_OVER;
}

void lv_answer_finish(lever_answer *a, lever_on_part on_part, void *user)
{
    parts p = { .on_part = on_part, .user = user };
    for (uint32_t i = 0; i < a->n_held; i++) put(a, &p, a->held[i]);
    flush(&p);
    a->n_held = a->n_newlines = 0;
    a->state = IS_OVER;
}

bool lv_answer_is_past_reasoning(const lever_answer *a)
{
    return a->state == IN_ANSWER || a->state == IS_OVER;
}
