/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "chat_input.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "terminal.h"

/* mkdir -p, for a path whose last part is a file. */
static void make_folders(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
}

bool chat_history_path(char *buf, size_t cap)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const bool has_xdg = xdg && *xdg;
    if (!has_xdg && !(home && *home)) return false;
    const int n = snprintf(buf, cap, has_xdg ? "%s/lever/chat-history" : "%s/.local/state/lever/chat-history",
                           has_xdg ? xdg : home);
    if (n <= 0 || (size_t)n >= cap) return false;
    make_folders(buf);
    return true;
}

void chat_input_open(chat_input *in, const char *commands, bool colour)
{
    *in = (chat_input){ .colour = colour };
    if (!isatty(STDIN_FILENO)) return;
    in->prompts = isatty(STDOUT_FILENO) ? stdout : stderr;
    /* Text is UTF-8 here, whatever the system says about it. */
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8")) setlocale(LC_CTYPE, "C.UTF-8");
    char path[4096];
    const bool has_path = chat_history_path(path, sizeof path);
    in->edit = line_edit_open(in->prompts, has_path ? path : NULL, commands);
}

void chat_input_close(chat_input *in)
{
    line_edit_close(&in->edit);
    free(in->line);
    free(in->text);
    *in = (chat_input){ 0 };
}

/* ---- UTF-8 ---- */

/* Bytes of the character at s, 1 to 4; 0: it is none. */
static size_t utf8_length(const unsigned char *s)
{
    static const struct { unsigned char mask, lead; uint32_t least; } forms[] = {
        { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 }
    };
    for (size_t n = 1; n <= 4; n++) {
        if ((s[0] & forms[n - 1].mask) != forms[n - 1].lead) continue;
        uint32_t c = s[0] & (unsigned char)~forms[n - 1].mask;
        for (size_t i = 1; i < n; i++) {
            if ((s[i] & 0xc0) != 0x80) return 0;
            c = c << 6 | (s[i] & 0x3f);
        }
        return c >= forms[n - 1].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
    }
    return 0;
}

/* ---- messages ---- */

static bool add(chat_input *in, const char *s, size_t len)
{
    if (in->len + 3 * len + 1 > in->cap) { /* a bad byte becomes three */
        const size_t cap = (in->len + 3 * len + 1) * 2;
        char *more = realloc(in->text, cap);
        if (!more) return false;
        in->text = more;
        in->cap = cap;
    }
    for (size_t i = 0; i < len;) {
        const size_t n = utf8_length((const unsigned char *)s + i);
        memcpy(in->text + in->len, n ? s + i : "\xef\xbf\xbd", n ? n : 3);
        in->len += n ? n : 3;
        i += n ? n : 1;
    }
    in->text[in->len] = '\0';
    return true;
}

static const char *read_plain(chat_input *in, const char *prompt)
{
    if (in->prompts) {
        fputs(prompt, in->prompts);
        fflush(in->prompts);
    }
    while (in->prompts && !terminal_wait()) /* a person: nothing but this line is on its way */
        if (terminal_interrupted()) return errno = EINTR, NULL;
    errno = 0;
    ssize_t n = getline(&in->line, &in->line_cap, stdin);
    if (n < 0) {
        clearerr(stdin);
        return NULL;
    }
    while (n && (in->line[n - 1] == '\n' || in->line[n - 1] == '\r')) in->line[--n] = '\0';
    return in->line;
}

static const char *read_line(chat_input *in, bool first)
{
    /* \1 stands around what takes no room. */
    const char *coloured = first ? "\1\033[1m\1>\1\033[0m\1 " : "\1\033[2m\1.\1\033[0m\1 ";
    const char *prompt = first ? "> " : ". ";
    return in->edit ? line_edit_read(in->edit, in->colour ? coloured : prompt) : read_plain(in, prompt);
}

static bool is_blank(const char *s) { return s[strspn(s, " \t\r\n")] == '\0'; }

/* One line more of a message. *go_on: there are others. false: out of memory. */
static bool add_line(chat_input *in, const char *line, bool *in_block, bool *go_on)
{
    size_t n = strlen(line);
    const bool first = in->len == 0 && !*in_block;
    if (first && !strncmp(line, "\"\"\"", 3)) {
        *in_block = true;
        line += 3, n -= 3;
        *go_on = true;
        if (n == 0) return add(in, "", 0);
    }
    const bool closes = *in_block && n >= 3 && !strcmp(line + n - 3, "\"\"\"");
    const bool backslash = !*in_block && n && line[n - 1] == '\\';
    *go_on = *in_block ? !closes : backslash;
    if (!add(in, line, closes ? n - 3 : backslash ? n - 1 : n)) return false;
    return !*go_on || add(in, "\n", 1);
}

/* One message, which may be blank. */
static enum chat_input_kind read_message(chat_input *in)
{
    bool in_block = false, go_on = true;
    in->len = 0;
    while (go_on) {
        const bool first = in->len == 0 && !in_block;
        errno = 0;
        const char *line = read_line(in, first);
        const int error = errno;
        if (!line && error == EINTR)
            return first && line_edit_was_empty(in->edit) ? CHAT_INPUT_INTERRUPT : CHAT_INPUT_CLEARED;
        if (!line && error && error != EAGAIN && error != ENOTTY) return errno = error, CHAT_INPUT_FAILED;
        if (!line && first) return CHAT_INPUT_END;
        if (!line) break; /* the pipe ends inside a message */
        if (!add_line(in, line, &in_block, &go_on)) return errno = ENOMEM, CHAT_INPUT_FAILED;
    }
    while (in_block && in->len && in->text[in->len - 1] == '\n') in->text[--in->len] = '\0';
    return CHAT_INPUT_TEXT;
}

enum chat_input_kind chat_input_read(chat_input *in)
{
    enum chat_input_kind kind;
    terminal_interrupted();
    do kind = read_message(in);
    while (kind == CHAT_INPUT_TEXT && is_blank(in->text));
    if (kind == CHAT_INPUT_TEXT && in->edit) line_edit_remember(in->edit, in->text);
    return kind;
}
