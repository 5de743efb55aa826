/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "line_edit.h"

#ifdef LEVER_HAVE_LIBEDIT

#include <dlfcn.h>
#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "terminal.h"

enum { HISTORY_LINES = 1000, PASTE_MOST = 1 << 20 };

/* What is used of the library. */
#define LIBEDIT_FUNCTIONS(X)                                                                                 \
    X(EditLine *, el_init, (const char *, FILE *, FILE *, FILE *))                                           \
    X(void, el_end, (EditLine *))                                                                            \
    X(int, el_set, (EditLine *, int, ...))                                                                   \
    X(int, el_wset, (EditLine *, int, ...))                                                                  \
    X(const char *, el_gets, (EditLine *, int *))                                                            \
    X(int, el_wgetc, (EditLine *, wchar_t *))                                                                \
    X(int, el_winsertstr, (EditLine *, const wchar_t *))                                                     \
    X(const LineInfo *, el_line, (EditLine *))                                                               \
    X(int, el_insertstr, (EditLine *, const char *))                                                         \
    X(void, el_resize, (EditLine *))                                                                         \
    X(int, el_source, (EditLine *, const char *))                                                            \
    X(History *, history_init, (void))                                                                       \
    X(void, history_end, (History *))                                                                        \
    X(int, history, (History *, HistEvent *, int, ...))

#define X(type, name, arguments) static type(*lib_##name) arguments;
LIBEDIT_FUNCTIONS(X)
#undef X

struct line_edit {
    EditLine *el;
    History  *history;
    const char *prompt, *commands;
    char     *history_path; /* nullable */
    bool      was_empty;    /* the line that Ctrl-C ended */
    mbstate_t state;        /* of characters that come in bytes */
};

static line_edit *editing; /* the callbacks of the library have no room for a context */

static bool load_library(void)
{
    static void *lib;
    static const char *const names[] = { "libedit.so.2", "libedit.so.0", "libedit.so" };
    for (size_t i = 0; i < sizeof names / sizeof *names && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lib) return false;
    void *p;
#define X(type, name, arguments)                   \
    if (!(p = dlsym(lib, #name))) return false;    \
    memcpy(&lib_##name, &p, sizeof p);
    LIBEDIT_FUNCTIONS(X)
#undef X
    return true;
}

static char *show_prompt(EditLine *el)
{
    (void)el;
    return (char *)(uintptr_t)editing->prompt;
}

static void draw_anew(EditLine *el)
{
    terminal_mark_pastes(true);
    terminal_clear_line();
    lib_el_resize(el);
    lib_el_set(el, EL_REFRESH);
}

/* A Ctrl-D typed before the terminal was taken over is in the queue as NUL, which no key of a line stands for. */
static bool is_early_end(EditLine *el, char byte, bool waited)
{
    const LineInfo *line = lib_el_line(el);
    return !waited && byte == '\0' && line->lastchar == line->buffer;
}

/* One character of standard input. Ctrl-C ends the line; a new size of the window draws it anew. */
static int read_char(EditLine *el, wchar_t *out)
{
    struct pollfd now = { .fd = STDIN_FILENO, .events = POLLIN };
    const bool waited = poll(&now, 1, 0) <= 0;
    for (;;) {
        const bool readable = terminal_wait();
        if (terminal_changed()) draw_anew(el);
        if (terminal_interrupted()) {
            const LineInfo *line = lib_el_line(el);
            editing->was_empty = line->lastchar == line->buffer;
            errno = EINTR;
            return -1;
        }
        if (!readable) continue;
        char byte;
        const ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        if (is_early_end(el, byte, waited)) return 0;
        const size_t used = mbrtowc(out, &byte, 1, &editing->state);
        if (used == (size_t)-2) continue; /* the character goes on */
        if (used == (size_t)-1) {
            memset(&editing->state, 0, sizeof editing->state);
            *out = 0xfffd;
        }
        return 1;
    }
}

static unsigned char insert_break(EditLine *el, int ch)
{
    (void)ch;
    lib_el_winsertstr(el, L"\n");
    return CC_REFRESH;
}

/* What the terminal pastes stands between ESC [200~ and ESC [201~: line breaks in it send nothing. */
static unsigned char insert_paste(EditLine *el, int ch)
{
    static const wchar_t end[] = L"\033[201~";
    const size_t n_end = wcslen(end);
    size_t n = 0, cap = 256;
    wchar_t *text = malloc(cap * sizeof *text), c;
    (void)ch;
    while (text && lib_el_wgetc(el, &c) == 1) {
        if (n < PASTE_MOST) text[n++] = c == L'\r' ? L'\n' : c;
        if (n >= n_end && !wmemcmp(text + n - n_end, end, n_end)) {
            n -= n_end;
            break;
        }
        if (n + 1 < cap) continue;
        wchar_t *more = realloc(text, (cap *= 2) * sizeof *text);
        if (!more) free(text);
        text = more;
    }
    if (!text) return CC_ERROR;
    size_t kept = 0; /* control characters could not be seen, and not be typed */
    for (size_t i = 0; i < n; i++)
        if (text[i] == L'\n' || text[i] == L'\t' || (text[i] >= 0x20 && text[i] != 0x7f))
            text[kept++] = text[i];
    text[kept] = L'\0';
    if (kept) lib_el_winsertstr(el, text);
    free(text);
    return CC_REFRESH;
}

/* The rest of a command, when only one begins like this. */
static unsigned char complete(EditLine *el, int ch)
{
    const LineInfo *line = lib_el_line(el);
    const size_t n = (size_t)(line->cursor - line->buffer);
    const char *found = NULL;
    size_t found_len = 0;
    (void)ch;
    if (n == 0 || line->buffer[0] != '/') return CC_NORM;
    for (const char *p = editing->commands; *p; p += strspn(p, " ")) {
        const size_t len = strcspn(p, " ");
        if (len >= n && !memcmp(p, line->buffer, n)) {
            if (found) return CC_REFRESH_BEEP;
            found = p, found_len = len;
        }
        p += len;
    }
    if (!found) return CC_REFRESH_BEEP;
    char rest[32];
    snprintf(rest, sizeof rest, "%.*s ", (int)(found_len - n), found + n);
    lib_el_insertstr(el, rest);
    return CC_REFRESH;
}

static void bind_keys(EditLine *el)
{
    static const char *const keys[][2] = {
        { "\\e\\r", "lever-break" },        { "\\e\\n", "lever-break" },     { "\\e[200~", "lever-paste" },
        { "\\t", "lever-complete" },        { "^R", "em-inc-search-prev" },  { "^W", "ed-delete-prev-word" },
        { "\\e[3~", "ed-delete-next-char" }, { "\\e[H", "ed-move-to-beg" },  { "\\e[1~", "ed-move-to-beg" },
        { "\\e[F", "ed-move-to-end" },      { "\\e[4~", "ed-move-to-end" },  { "\\e[1;5D", "ed-prev-word" },
        { "\\e[1;5C", "em-next-word" },     { "\\eOH", "ed-move-to-beg" },   { "\\eOF", "ed-move-to-end" },
    };
    /* Wide, because these are kept as they are; of other strings the library would lose its copies. */
    lib_el_wset(el, EL_ADDFN, L"lever-break", L"line break", insert_break);
    lib_el_wset(el, EL_ADDFN, L"lever-paste", L"pasted text", insert_paste);
    lib_el_wset(el, EL_ADDFN, L"lever-complete", L"complete a command", complete);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        lib_el_set(el, EL_BIND, keys[i][0], keys[i][1], (char *)NULL);
}

static void open_history(line_edit *e, const char *path)
{
    HistEvent event;
    e->history = lib_history_init();
    if (!e->history) return;
    lib_history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    lib_history(e->history, &event, H_SETUNIQUE, 1);
    e->history_path = path ? strdup(path) : NULL;
    if (e->history_path) lib_history(e->history, &event, H_LOAD, e->history_path);
    lib_el_set(e->el, EL_HIST, lib_history, e->history);
}

line_edit *line_edit_open(FILE *out, const char *history_path, const char *commands)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !term || !*term || !strcmp(term, "dumb") || !load_library()) return NULL;
    line_edit *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->commands = commands;
    e->prompt = "";
    editing = e;
    e->el = lib_el_init("lever", stdin, out, stderr);
    if (!e->el) {
        line_edit_close(&e);
        return NULL;
    }
    lib_el_set(e->el, EL_PROMPT_ESC, show_prompt, '\1');
    lib_el_set(e->el, EL_SIGNAL, 0);
    lib_el_set(e->el, EL_EDITOR, "emacs");
    lib_el_set(e->el, EL_GETCFN, read_char);
    bind_keys(e->el);
    open_history(e, history_path);
    lib_el_source(e->el, NULL); /* the user's own settings come last */
    return e;
}

void line_edit_close(line_edit **edit)
{
    if (!edit || !*edit) return;
    line_edit *e = *edit;
    *edit = NULL;
    if (e->history) lib_history_end(e->history);
    if (e->el) lib_el_end(e->el);
    free(e->history_path);
    free(e);
    editing = NULL;
}

const char *line_edit_read(line_edit *e, const char *prompt)
{
    int n = 0;
    e->prompt = prompt;
    memset(&e->state, 0, sizeof e->state);
    terminal_echo(true); /* the library takes the terminal as it is now for the usual one */
    terminal_mark_pastes(true);
    const char *line = lib_el_gets(e->el, &n);
    const int error = errno;
    terminal_mark_pastes(false);
    terminal_echo(false); /* what is typed meanwhile shows in the next line */
    errno = error;
    if (!line || n <= 0) return NULL;
    char *end = (char *)(uintptr_t)line + n; /* the library's own buffer, which it lets be changed */
    if (end[-1] == '\n' || end[-1] == '\r') end[-1] = '\0';
    return line;
}

bool line_edit_was_empty(const line_edit *e) { return !e || e->was_empty; }

void line_edit_remember(line_edit *e, const char *text)
{
    HistEvent event;
    if (!e->history || !*text) return;
    lib_history(e->history, &event, H_ENTER, text);
    if (!e->history_path) return;
    const mode_t was = umask(077); /* what one has asked is nobody else's business */
    lib_history(e->history, &event, H_SAVE, e->history_path); /* now: a closed terminal ends the program */
    umask(was);
}

#else

line_edit *line_edit_open(FILE *out, const char *history_path, const char *commands)
{
    (void)out, (void)history_path, (void)commands;
    return NULL;
}
void line_edit_close(line_edit **e) { (void)e; }
const char *line_edit_read(line_edit *e, const char *prompt)
{
    (void)e, (void)prompt;
    return NULL;
}
bool line_edit_was_empty(const line_edit *e) { return !e; }
void line_edit_remember(line_edit *e, const char *text) { (void)e, (void)text; }

#endif
