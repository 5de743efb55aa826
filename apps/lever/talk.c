/* SPDX-License-Identifier: MIT */
#include "talk.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *text, size_t len)
{
    char *c = malloc(len + 1);
    if (!c) return NULL;
    if (len) memcpy(c, text, len);
    c[len] = '\0';
    return c;
}

static void drop(lever_message *m)
{
    free((void *)(uintptr_t)m->role);
    free((void *)(uintptr_t)m->text);
}

bool talk_add(talk *t, const char *role, const char *text, size_t len)
{
    if (t->n == t->cap) {
        const size_t cap = t->cap ? t->cap * 2 : 16;
        lever_message *m = realloc(t->m, cap * sizeof *m);
        if (!m) return false;
        t->m = m;
        t->cap = cap;
    }
    lever_message m = { copy(role, strlen(role)), copy(text, len), len };
    if (!m.role || !m.text) {
        drop(&m);
        return false;
    }
    t->m[t->n++] = m;
    return true;
}

const lever_message *talk_system(const talk *t)
{
    return t->n && !strcmp(t->m[0].role, "system") ? &t->m[0] : NULL;
}

bool talk_set_system(talk *t, const char *text, size_t len)
{
    const bool had = talk_system(t) != NULL;
    if (len && !talk_add(t, "system", text, len)) return false;
    lever_message new_one = { 0 };
    if (len) new_one = t->m[--t->n];
    if (had) {
        drop(&t->m[0]);
        memmove(t->m, t->m + 1, --t->n * sizeof *t->m);
    }
    if (len) {
        memmove(t->m + 1, t->m, t->n++ * sizeof *t->m);
        t->m[0] = new_one;
    }
    return true;
}

void talk_cut(talk *t, size_t n)
{
    while (t->n > n) drop(&t->m[--t->n]);
}

void talk_free(talk *t)
{
    talk_cut(t, 0);
    free(t->m);
    *t = (talk){ 0 };
}

/* ---- answers ---- */

static void keep(void *user, int part, const char *text, size_t len)
{
    talk_answer *a = user;
    if (a->len[part] + len > a->cap[part]) {
        const size_t cap = (a->len[part] + len) * 2 + 256;
        char *more = realloc(a->text[part], cap);
        if (!more) {
            a->failed = true;
            return;
        }
        a->text[part] = more;
        a->cap[part] = cap;
    }
    memcpy(a->text[part] + a->len[part], text, len);
    a->len[part] += len;
    if (a->on_part) a->on_part(a->user, part, text, len);
}

void talk_answer_begin(talk_answer *a, const lever_engine *engine, bool think, lever_on_part on_part,
                       void *user)
{
    lever_answer_init(&a->reader, engine, think);
    a->on_part = on_part;
    a->user = user;
    a->len[0] = a->len[1] = 0;
    a->failed = false;
}

bool talk_answer_push(talk_answer *a, const char *text, size_t len)
{
    return lever_answer_push(&a->reader, text, len, keep, a) && !a->failed;
}

bool talk_answer_end(talk_answer *a, talk *t)
{
    static const char open[] = "<think>\n", close[] = "\n</think>\n\n";
    lever_answer_finish(&a->reader, keep, a);
    const size_t reasoning = a->len[LEVER_PART_REASONING], answer = a->len[LEVER_PART_ANSWER];
    if (a->failed) return false;
    if (reasoning == 0) return talk_add(t, "assistant", answer ? a->text[LEVER_PART_ANSWER] : "", answer);
    const size_t len = strlen(open) + reasoning + strlen(close) + answer;
    char *all = malloc(len), *at = all;
    if (!all) return false;
    at = (char *)memcpy(at, open, strlen(open)) + strlen(open);
    at = (char *)memcpy(at, a->text[LEVER_PART_REASONING], reasoning) + reasoning;
    at = (char *)memcpy(at, close, strlen(close)) + strlen(close);
    if (answer) memcpy(at, a->text[LEVER_PART_ANSWER], answer);
    const bool ok = talk_add(t, "assistant", all, len);
    free(all);
    return ok;
}

void talk_answer_free(talk_answer *a)
{
    free(a->text[0]);
    free(a->text[1]);
    *a = (talk_answer){ 0 };
}
