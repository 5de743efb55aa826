/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "prompts.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_FILE = 256 << 20, MAX_TURNS = 64, NAME = 96 };

typedef struct reader {
    prompt_set *set;
    const char *path;
    char stem[NAME]; /* of the file's name */
    size_t line;     /* or element of an array, from 1 */
    bool is_array;
    lever_error *err;
} reader;

static int fail(reader *r, int code, const char *fmt, ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    r->err->code = code;
    if (r->line)
        snprintf(r->err->msg, sizeof r->err->msg, "%s, %s %zu: %s", r->path, r->is_array ? "element" : "line",
                 r->line, what);
    else
        snprintf(r->err->msg, sizeof r->err->msg, "%s: %s", r->path, what);
    return code;
}

/* ---- one record ---- */

static const char *text_of(const json_t *record, const char *key)
{
    return json_string_value(json_object_get(record, key));
}

/* A name of the record: text, or a number. */
static void name_of(const json_t *record, const char *const *keys, char *out, const char *otherwise)
{
    snprintf(out, NAME, "%s", otherwise);
    for (; *keys; keys++) {
        const json_t *v = json_object_get(record, *keys);
        if (json_is_string(v) && json_string_length(v))
            snprintf(out, NAME, "%s", json_string_value(v));
        else if (json_is_integer(v))
            snprintf(out, NAME, "%s-%" JSON_INTEGER_FORMAT, otherwise, json_integer_value(v));
        else
            continue;
        return;
    }
}

static int add_turn(reader *r, prompt *p, const char *text)
{
    char **more = realloc(p->turns, (p->n_turns + 1) * sizeof *more);
    if (more) p->turns = more;
    char *copy = more ? strdup(text) : NULL;
    if (!copy) return fail(r, LEVER_ENOMEM, "out of memory");
    p->turns[p->n_turns++] = copy;
    return LEVER_OK;
}

/* The task with its tests, as the makers of MBPP gave it to models: the tests fix the function's name. */
static int add_mbpp(reader *r, prompt *p, const char *task, const json_t *tests)
{
    char *text = NULL;
    size_t len = 0, i;
    json_t *test;
    FILE *f = open_memstream(&text, &len);
    if (!f) return fail(r, LEVER_ENOMEM, "out of memory");
    fputs(task, f);
    if (json_array_size(tests)) fputs("\nYour code should pass these tests:\n", f);
    json_array_foreach(tests, i, test) if (json_is_string(test)) fprintf(f, "\n%s", json_string_value(test));
    const bool ok = fclose(f) == 0;
    const int rc = ok ? add_turn(r, p, text) : fail(r, LEVER_ENOMEM, "out of memory");
    free(text);
    return rc;
}

static int add_turns(reader *r, prompt *p, const json_t *turns)
{
    const size_t n = json_array_size(turns);
    if (n < 1 || n > MAX_TURNS)
        return fail(r, LEVER_EFORMAT, "\"turns\" has %zu messages, not 1 to %d", n, MAX_TURNS);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(turns, i));
        if (!text || !*text)
            return fail(r, LEVER_EFORMAT, "message %zu of \"turns\" is no text or empty", i + 1);
        const int rc = add_turn(r, p, text);
        if (rc < 0) return rc;
    }
    return LEVER_OK;
}

static int fill(reader *r, prompt *p, const json_t *record, const char **kind)
{
    const json_t *turns = json_object_get(record, "turns"), *tests = json_object_get(record, "test_list");
    const char *text = text_of(record, "prompt");
    *kind = r->stem;
    if (json_is_array(turns)) return add_turns(r, p, turns);
    if (json_is_array(tests) && (text || (text = text_of(record, "text")))) {
        *kind = "code";
        return *text ? add_mbpp(r, p, text, tests) : fail(r, LEVER_EFORMAT, "the task is empty");
    }
    if (text) {
        p->continues = true;
        if (json_object_get(record, "entry_point")) *kind = "code";
    } else if ((text = text_of(record, "question"))) {
        if (json_object_get(record, "answer")) *kind = "math";
    } else {
        return fail(r, LEVER_EFORMAT,
                    "no \"prompt\", \"turns\", \"question\" or \"text\" with \"test_list\"");
    }
    return *text ? add_turn(r, p, text) : fail(r, LEVER_EFORMAT, "the prompt is empty");
}

static void free_prompt(prompt *p)
{
    for (size_t i = 0; i < p->n_turns; i++) free(p->turns[i]);
    free(p->turns);
    free(p->id);
    free(p->kind);
}

static int add_record(reader *r, const json_t *record)
{
    static const char *const id_keys[] = { "id", "task_id", "question_id", NULL };
    static const char *const kind_keys[] = { "kind", "category", NULL };
    prompt p = { 0 };
    const char *kind;
    char name[NAME], number[NAME];
    if (!json_is_object(record)) return fail(r, LEVER_EFORMAT, "no JSON object");
    int rc = fill(r, &p, record, &kind);
    if (rc >= 0) {
        name_of(record, kind_keys, name, kind);
        p.kind = strdup(name);
        snprintf(number, sizeof number, "%.64s-%zu", r->stem, r->line);
        name_of(record, id_keys, name, r->stem);
        p.id = strdup(strcmp(name, r->stem) ? name : number);
        prompt *more = realloc(r->set->items, (r->set->n + 1) * sizeof *more);
        if (more) r->set->items = more;
        if (!p.kind || !p.id || !more) rc = fail(r, LEVER_ENOMEM, "out of memory");
    }
    if (rc >= 0)
        r->set->items[r->set->n++] = p;
    else
        free_prompt(&p);
    return rc;
}

/* ---- one file ---- */

static int read_file(reader *r, char **text, size_t *len)
{
    size_t room = 1 << 16, n = 0;
    gzFile f = gzopen(r->path, "rb"); /* reads plain files as they are */
    if (!f) return fail(r, LEVER_EIO, "can not be opened: %s", strerror(errno));
    char *buf = malloc(room);
    int rc = buf ? LEVER_OK : fail(r, LEVER_ENOMEM, "out of memory");
    while (rc >= 0) {
        const int got = gzread(f, buf + n, (unsigned)(room - n));
        int code;
        if (got < 0) {
            const char *why = gzerror(f, &code);
            rc = fail(r, LEVER_EIO, "can not be read: %s", code == Z_ERRNO ? strerror(errno) : why);
            break;
        }
        n += (size_t)got;
        if (n < room) break;
        char *more = room < MAX_FILE ? realloc(buf, room * 2) : NULL;
        if (!more)
            rc = fail(r, room < MAX_FILE ? LEVER_ENOMEM : LEVER_ELIMIT, "more than %zu bytes", room);
        else
            buf = more, room *= 2;
    }
    if (gzclose(f) == Z_BUF_ERROR && rc >= 0) rc = fail(r, LEVER_EIO, "the compressed data ends early");
    if (rc < 0) free(buf), buf = NULL;
    *text = buf;
    *len = n;
    return rc;
}

static int load_array(reader *r, const char *text, size_t len, size_t limit)
{
    json_error_t at;
    json_t *all = json_loadb(text, len, 0, &at), *record;
    size_t i;
    int rc = LEVER_OK;
    if (!all) return r->line = (size_t)at.line, fail(r, LEVER_EFORMAT, "no JSON: %s", at.text);
    r->is_array = true;
    json_array_foreach(all, i, record)
    {
        if (rc < 0 || i == limit) break;
        r->line = i + 1;
        rc = add_record(r, record);
    }
    json_decref(all);
    return rc;
}

static bool is_blank(const char *s, size_t len)
{
    while (len && strchr(" \t\r", s[len - 1])) len--;
    return len == 0;
}

static int load_lines(reader *r, const char *text, size_t len, size_t limit)
{
    size_t n = 0;
    for (const char *at = text, *end = text + len; at < end && n < limit;) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        const size_t width = (size_t)((nl ? nl : end) - at);
        r->line++;
        if (!is_blank(at, width)) {
            json_error_t why;
            json_t *record = json_loadb(at, width, 0, &why);
            if (!record) return fail(r, LEVER_EFORMAT, "no JSON: %s", why.text);
            const int rc = add_record(r, record);
            json_decref(record);
            if (rc < 0) return rc;
            n++;
        }
        at += width + 1;
    }
    return LEVER_OK;
}

int prompts_load(prompt_set *set, const char *path, size_t limit, lever_error *err)
{
    const char *slash = strrchr(path, '/');
    reader r = { .set = set, .path = path, .err = err };
    char *text = NULL;
    size_t len = 0, skip = 0;
    const size_t before = set->n, most = limit ? limit : SIZE_MAX;
    snprintf(r.stem, sizeof r.stem, "%s", slash ? slash + 1 : path);
    r.stem[strcspn(r.stem, ".")] = '\0';
    int rc = read_file(&r, &text, &len);
    if (rc < 0) return rc;
    while (skip < len && strchr(" \t\r\n", text[skip])) skip++;
    rc = skip < len && text[skip] == '[' ? load_array(&r, text, len, most) : load_lines(&r, text, len, most);
    free(text);
    r.line = 0;
    if (rc >= 0 && set->n == before) rc = fail(&r, LEVER_EFORMAT, "there is no prompt in it");
    return rc;
}

void prompts_free(prompt_set *set)
{
    for (size_t i = 0; i < set->n; i++) free_prompt(&set->items[i]);
    free(set->items);
    *set = (prompt_set){ 0 };
}
