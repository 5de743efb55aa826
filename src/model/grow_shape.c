/* Shapes of published models, and their text form. SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/grow.h"

/* Sizes from the models' published configurations. */
static const lv_grow_shape presets[] = {
    /* name          embd layers heads kv head_dim  ff    vocab  tied */
    { "llama-3.1-8b", 4096, 32, 32, 8, 128, 14336, 128256, 0 },
    { "llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256, 1 },
    { "qwen3-0.6b", 1024, 28, 16, 8, 128, 3072, 151936, 1 },
    { "qwen3-4b", 2560, 36, 32, 8, 128, 9728, 151936, 1 },
    { "qwen3-8b", 4096, 36, 32, 8, 128, 12288, 151936, 0 },
    { "qwen3-14b", 5120, 40, 40, 8, 128, 17408, 151936, 0 },
};
enum { N_PRESETS = sizeof presets / sizeof *presets };

static const char *preset_names(char *buf, size_t n)
{
    int at = 0;
    for (int i = 0; i < N_PRESETS && at < (int)n; i++)
        at += snprintf(buf + at, n - (size_t)at, "%s%s", i ? ", " : "", presets[i].name);
    return buf;
}

static const lv_grow_shape *find_preset(const char *name, size_t len)
{
    for (int i = 0; i < N_PRESETS; i++)
        if (strlen(presets[i].name) == len && !memcmp(presets[i].name, name, len)) return &presets[i];
    return NULL;
}

static int assign(lv_grow_shape *s, const char *text, size_t len, lever_error *err)
{
    const struct {
        const char *name;
        uint32_t *v;
    } fields[] = {
        { "embd", &s->n_embd },         { "layers", &s->n_layers }, { "heads", &s->n_heads },
        { "kv-heads", &s->n_kv_heads }, { "ff", &s->n_ff },         { "head-dim", &s->head_dim },
        { "vocab", &s->n_vocab },       { "tied", NULL },
    };
    const char *eq = memchr(text, '=', len);
    const size_t name_len = eq ? (size_t)(eq - text) : len;
    for (size_t i = 0; eq && i < sizeof fields / sizeof *fields; i++) {
        if (strlen(fields[i].name) != name_len || memcmp(fields[i].name, text, name_len)) continue;
        char *end;
        errno = 0;
        const unsigned long v = strtoul(eq + 1, &end, 10);
        const unsigned long most = fields[i].v ? 1ul << 24 : 1, least = fields[i].v ? 1 : 0;
        if (eq[1] < '0' || eq[1] > '9' || errno || end != text + len || v < least || v > most)
            return lv_fail(err, LEVER_EINVAL, 0, "shape: '%.*s' needs a whole number from %lu to %lu",
                           (int)len, text, least, most);
        if (fields[i].v)
            *fields[i].v = (uint32_t)v;
        else
            s->tied = (int)v;
        return LEVER_OK;
    }
    char known[160];
    return lv_fail(
        err, LEVER_EINVAL, 0,
        "shape: '%.*s' is no known model (%s) and no assignment (embd, layers, heads, kv-heads, head-dim, "
        "ff, vocab, tied = number)",
        (int)(len < 64 ? len : 64), text, preset_names(known, sizeof known));
}

int lv_grow_shape_parse(lv_grow_shape *shape, const char *text, lever_error *err)
{
    *shape = (lv_grow_shape){ .tied = -1 };
    bool first = true;
    for (const char *p = text;; first = false) {
        const size_t len = strcspn(p, ",");
        const lv_grow_shape *preset = first ? find_preset(p, len) : NULL;
        if (preset)
            *shape = *preset;
        else if (len || !first)
            LEVER_TRY(assign(shape, p, len, err));
        p += len;
        if (!*p++) return LEVER_OK;
    }
}
