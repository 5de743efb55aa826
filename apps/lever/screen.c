/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "screen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const source_colours[] = {
    [LEVER_FROM_TARGET] = "33", [LEVER_FROM_DRAFT] = "32", [LEVER_FROM_LOOKUP] = "36"
};

void screen_init(screen *s)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    *s = (screen){ .terminal = isatty(STDOUT_FILENO) };
    s->colour = s->terminal && !(no_color && *no_color) && term && *term && strcmp(term, "dumb");
}

/* ---- writing ---- */

static void put(screen *s, const char *text, size_t len)
{
    if (len == 0 || s->write_errno) return;
    errno = 0;
    if (fwrite(text, 1, len, stdout) != len) s->write_errno = errno ? errno : EIO;
    s->last = text[len - 1];
}

static void put_style(screen *s, const char *style)
{
    char sequence[32];
    if (!s->colour || !strcmp(style, s->style)) return;
    const char last = s->last;
    snprintf(sequence, sizeof sequence, "\033[0%s%sm", *style ? ";" : "", style);
    put(s, sequence, strlen(sequence));
    s->last = last;
    snprintf(s->style, sizeof s->style, "%s", style);
}

/* Bytes of a control character at text, 1 or 2; 0: it is none, or one that moves to a new line or column.
 * Those of two bytes are U+0080 to U+009F, which some terminals obey. */
static size_t control_at(const char *text, size_t len)
{
    const unsigned char a = (unsigned char)text[0];
    if (a == '\n' || a == '\t') return 0;
    if (a < 0x20 || a == 0x7f) return 1;
    return a == 0xc2 && len > 1 && (unsigned char)text[1] < 0xa0 ? 2 : 0;
}

static size_t escaped(char *out, size_t cap, const char *text, size_t n)
{
    return (size_t)snprintf(out, cap, n == 1 ? "\\x%02x" : "\\u%04x", (unsigned char)text[n - 1]);
}

static void put_escaped(screen *s, const char *text, size_t len)
{
    size_t begin = 0;
    for (size_t i = 0; i < len;) {
        char shown[16];
        const size_t n = control_at(text + i, len - i);
        if (n == 0) {
            i++;
            continue;
        }
        put(s, text + begin, i - begin);
        put(s, shown, escaped(shown, sizeof shown, text + i, n));
        begin = i += n;
    }
    put(s, text + begin, len - begin);
}

void screen_escape(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        char shown[16];
        const size_t n = control_at(text + i, len - i);
        if (n) fwrite(shown, 1, escaped(shown, sizeof shown, text + i, n), out);
        else fputc(text[i], out);
        i += n ? n : 1;
    }
}

/* ---- answers ---- */

void screen_begin(screen *s)
{
    s->part = -1;
    s->last = '\n';
    s->style[0] = '\0';
    s->source = LEVER_FROM_TARGET;
}

static void flush(screen *s)
{
    errno = 0;
    if (!s->write_errno && fflush(stdout) != 0) s->write_errno = errno ? errno : EIO;
}

/* A new part begins: reasoning stands by itself. */
static void turn_to(screen *s, int part)
{
    static const char hidden[] = "(thinking ...)";
    if (part == s->part) return;
    if (part == LEVER_PART_REASONING && s->hide_reasoning) {
        put_style(s, "2");
        put(s, hidden, sizeof hidden - 1);
    }
    if (s->part == LEVER_PART_REASONING) {
        put_style(s, "");
        put(s, "\n\n", 2);
    }
    s->part = part;
}

void screen_part(screen *s, int part, const char *text, size_t len)
{
    if (part == LEVER_PART_REASONING && !s->terminal) return; /* a program wants the answer */
    turn_to(s, part);
    if (part == LEVER_PART_ANSWER || !s->hide_reasoning) {
        char style[16] = "";
        const char *colour = s->show_draft ? source_colours[s->source] : "";
        snprintf(style, sizeof style, "%s%s%s", part == LEVER_PART_REASONING ? "2" : "",
                 part == LEVER_PART_REASONING && *colour ? ";" : "", colour);
        put_style(s, style);
        if (s->terminal) put_escaped(s, text, len);
        else put(s, text, len);
    }
    flush(s);
}

void screen_end(screen *s)
{
    put_style(s, "");
    if (s->last != '\n' || !s->terminal) put(s, "\n", 1);
    flush(s);
}

void screen_gap(screen *s)
{
    if (s->terminal) put(s, "\n", 1);
    flush(s);
}

void screen_legend(const screen *s, FILE *out)
{
    if (!s->colour) return;
    fprintf(out, "\033[%smdrafted\033[0m  \033[%smfree candidate\033[0m  \033[%smtarget\033[0m\n",
            source_colours[LEVER_FROM_DRAFT], source_colours[LEVER_FROM_LOOKUP],
            source_colours[LEVER_FROM_TARGET]);
}
