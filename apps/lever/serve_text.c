/* SPDX-License-Identifier: MIT */
#include "serve_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool budget_take(serve_budget *b, size_t bytes)
{
    const size_t before = atomic_fetch_add_explicit(&b->used, bytes, memory_order_relaxed);
    if (before <= b->limit && bytes <= b->limit - before) return true;
    budget_give(b, bytes);
    return false;
}

void budget_give(serve_budget *b, size_t bytes)
{
    atomic_fetch_sub_explicit(&b->used, bytes, memory_order_relaxed);
}

void text_fini(serve_text *t)
{
    if (t->cap) budget_give(t->budget, t->cap);
    free(t->p);
    *t = (serve_text){ .budget = t->budget };
}

/* Twice the room, or a half more where that is much. */
static bool grow(serve_text *t, size_t n)
{
    const size_t more = t->cap < 65536 ? t->cap : t->cap / 2;
    size_t cap = t->cap + more > n ? t->cap + more : n;
    if (cap < 256) cap = 256;
    if (!budget_take(t->budget, cap)) return false; /* realloc may hold both for a moment */
    char *p = realloc(t->p, cap);
    budget_give(t->budget, p ? t->cap : cap);
    if (!p) return false;
    t->p = p;
    t->cap = cap;
    return true;
}

void text_add(serve_text *t, const char *s, size_t n)
{
    if (t->failed || n == 0) return;
    if (n > t->cap - t->n && (n > SIZE_MAX / 4 || !grow(t, t->n + n))) {
        t->failed = true;
        return;
    }
    memcpy(t->p + t->n, s, n);
    t->n += n;
}

void text_puts(serve_text *t, const char *s) { text_add(t, s, strlen(s)); }

void text_printf(serve_text *t, const char *format, ...)
{
    char line[1001];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) text_add(t, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void text_number(serve_text *t, double v)
{
    if (isfinite(v)) text_printf(t, "%.6g", v);
    else text_puts(t, "null");
}

void text_drop(serve_text *t, size_t n)
{
    if (n == 0) return;
    memmove(t->p, t->p + n, t->n - n);
    t->n -= n;
}

size_t utf8_char(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) return 1;
    const size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0; /* too long; half a pair */
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0; /* too long; beyond the end */
    return len;
}

static void add_escape(serve_text *t, unsigned char c)
{
    static const char short_of[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof short_of; i += 2)
        if ((unsigned char)short_of[i] == c) {
            text_add(t, (const char[]){ '\\', short_of[i + 1] }, 2);
            return;
        }
    text_printf(t, "\\u%04x", c);
}

void text_json(serve_text *t, const char *s, size_t n)
{
    text_add(t, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t run = i; /* as many as need no change, at once */
        while (run < n && (unsigned char)s[run] >= 0x20 && s[run] != '"' && s[run] != '\\' &&
               s[run] != 0x7f) {
            const size_t len = utf8_char(s + run, n - run);
            if (!len) break;
            run += len;
        }
        text_add(t, s + i, run - i);
        i = run;
        if (i == n) break;
        if ((unsigned char)s[i] < 0x80) add_escape(t, (unsigned char)s[i]);
        else text_puts(t, "\xef\xbf\xbd");
        i++;
    }
    text_add(t, "\"", 1);
}
