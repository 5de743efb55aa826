/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "talk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, LARGEST_FILE = 64 << 20, MOST_MESSAGES = 100000 };

static int fail(lever_error *err, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return err->code = code;
}

/* ---- saving ---- */

static json_t *to_json(const talk *t, const talk_about *about)
{
    const lever_sampling *s = &about->sampling;
    json_t *messages = json_array();
    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(
            messages, json_pack("{s:s, s:s%}", "role", t->m[i].role, "content", t->m[i].text, t->m[i].len));
    if (json_array_size(messages) != t->n) {
        json_decref(messages);
        return NULL;
    }
    json_t *settings = json_pack(
        "{s:f, s:i, s:f, s:f, s:f, s:i, s:I, s:s}", "temperature", (double)s->temperature, "top_k", s->top_k,
        "top_p", (double)s->top_p, "min_p", (double)s->min_p, "repeat_penalty", (double)s->repeat_penalty,
        "repeat_last_n", s->repeat_last_n, "seed", (json_int_t)s->seed, "think", about->think);
    return json_pack("{s:i, s:s, s:s, s:o, s:o}", "lever_talk", VERSION, "model", about->model, "form",
                     about->form, "settings", settings, "messages", messages);
}

static int write_json(json_t *root, const char *path, lever_error *err)
{
    char part[4096];
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
        return fail(err, LEVER_EIO, "the name of the file is too long");
    const int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        fail(err, LEVER_EIO, "'%.200s' can not be written: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return LEVER_EIO;
    }
    errno = 0;
    bool ok = json_dumpf(root, f, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0 && fputc('\n', f) != EOF;
    ok = fflush(f) == 0 && ok;
    int error = errno;
    if (fclose(f) != 0 && ok) ok = false, error = errno;
    if (ok && rename(part, path) != 0) ok = false, error = errno;
    if (ok) return LEVER_OK;
    unlink(part);
    return fail(err, LEVER_EIO, "'%.200s' can not be written: %s", path,
                error ? strerror(error) : "unknown error");
}

int talk_save(const talk *t, const talk_about *about, const char *path, lever_error *err)
{
    json_t *root = to_json(t, about);
    const int rc = root ? write_json(root, path, err) : fail(err, LEVER_ENOMEM, "out of memory");
    json_decref(root);
    return rc;
}

/* ---- loading ---- */

typedef struct loader {
    const char *path;
    lever_error *err;
} loader;

static int malformed(const loader *l, const char *fmt, ...)
{
    char why[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return fail(l->err, LEVER_EFORMAT, "'%.200s' is no talk that lever chat has saved: %s", l->path, why);
}

static int read_messages(const loader *l, const json_t *messages, talk *t)
{
    if (!json_is_array(messages)) return malformed(l, "it has no list of messages");
    if (json_array_size(messages) > MOST_MESSAGES)
        return malformed(l, "it has %zu messages", json_array_size(messages));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i), *content = json_object_get(m, "content");
        const char *role = json_string_value(json_object_get(m, "role"));
        const bool known = role && (!strcmp(role, "user") || !strcmp(role, "assistant") ||
                                    (!strcmp(role, "system") && i == 0));
        if (!known) return malformed(l, "message %zu has no role that can stand there", i + 1);
        if (!json_is_string(content)) return malformed(l, "message %zu has no text", i + 1);
        if (!talk_add(t, role, json_string_value(content), json_string_length(content)))
            return fail(l->err, LEVER_ENOMEM, "out of memory");
    }
    return LEVER_OK;
}

static void read_text(char *out, size_t cap, const json_t *from, const char *key)
{
    const char *text = json_string_value(json_object_get(from, key));
    if (text && strlen(text) < cap) snprintf(out, cap, "%s", text);
}

static bool read_number(const json_t *from, const char *key, double least, double most, double *out)
{
    const json_t *v = json_object_get(from, key);
    if (!v) return true;
    *out = json_number_value(v);
    return json_is_number(v) && *out >= least && *out <= most;
}

static bool read_float(const json_t *from, const char *key, double least, double most, float *out)
{
    double v = (double)*out;
    const bool ok = read_number(from, key, least, most, &v);
    *out = (float)v;
    return ok;
}

static bool read_int(const json_t *from, const char *key, double least, double most, int32_t *out)
{
    double v = *out;
    const bool ok = read_number(from, key, least, most, &v);
    if (ok) *out = (int32_t)v;
    return ok;
}

static int read_settings(const loader *l, const json_t *from, talk_about *about)
{
    lever_sampling *s = &about->sampling;
    const json_t *seed = json_object_get(from, "seed");
    const bool ok =
        read_float(from, "temperature", 0, 1000, &s->temperature) &&
        read_int(from, "top_k", 0, INT32_MAX, &s->top_k) && read_float(from, "top_p", 0, 1, &s->top_p) &&
        read_float(from, "min_p", 0, 1, &s->min_p) &&
        read_float(from, "repeat_penalty", 0, 1000, &s->repeat_penalty) &&
        read_int(from, "repeat_last_n", 0, INT32_MAX, &s->repeat_last_n) && (!seed || json_is_integer(seed));
    if (!ok) return malformed(l, "a setting is out of its range");
    if (seed) s->seed = (uint64_t)json_integer_value(seed);
    read_text(about->think, sizeof about->think, from, "think");
    return LEVER_OK;
}

static int read_talk(const loader *l, const json_t *root, talk *t, talk_about *about)
{
    const json_t *version = json_object_get(root, "lever_talk");
    if (!json_is_integer(version)) return malformed(l, "it does not say \"lever_talk\"");
    if (json_integer_value(version) != VERSION)
        return malformed(l, "its version is %lld, and %d is known", (long long)json_integer_value(version),
                         VERSION);
    const int rc = read_messages(l, json_object_get(root, "messages"), t);
    if (rc < 0) return rc;
    read_text(about->model, sizeof about->model, root, "model");
    read_text(about->form, sizeof about->form, root, "form");
    return read_settings(l, json_object_get(root, "settings"), about);
}

/* Size and kind are looked at first: a device or a huge file is not read. */
static json_t *read_json(const loader *l)
{
    struct stat st;
    json_error_t why;
    if (stat(l->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        malformed(l, "it is no file");
        return NULL;
    }
    FILE *f = fopen(l->path, "rb");
    if (!f || fstat(fileno(f), &st) != 0) {
        fail(l->err, LEVER_EIO, "'%.200s' can not be opened: %s", l->path, strerror(errno));
        if (f) fclose(f);
        return NULL;
    }
    json_t *root = NULL;
    if (st.st_size > LARGEST_FILE) malformed(l, "it has %lld bytes", (long long)st.st_size);
    else if (!(root = json_loadf(f, JSON_REJECT_DUPLICATES, &why)))
        malformed(l, "line %d: %s", why.line, why.text);
    fclose(f);
    return root;
}

int talk_load(talk *t, talk_about *about, const char *path, lever_error *err)
{
    const loader l = { .path = path, .err = err };
    talk_about read = *about;
    json_t *root = read_json(&l);
    if (!root) return err->code;
    const int rc = read_talk(&l, root, t, &read);
    json_decref(root);
    if (rc < 0) talk_cut(t, 0);
    else *about = read;
    return rc;
}
