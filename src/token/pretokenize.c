/* SPDX-License-Identifier: MIT */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "token/pretokenize.h"

#include <pcre2.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "token/utf8.h"

/* No JIT: prompts are short beside a model's work, and the pages it maps matter under a small limit. */
struct lv_pretokenizer {
    pcre2_code *code;
};

struct lv_pretoken_run {
    const lv_pretokenizer *p;
    pcre2_match_data *match;
    const uint8_t *text;
    size_t len, at;
    size_t valid_end; /* text [at, valid_end) is UTF-8, and no longer piece of it is */
    bool   gave_up;   /* the rest comes byte by byte */
};

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define TAIL        "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct { const char *name, *pattern;
} patterns[] = {
    { "gpt-2", CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+" },
    { "llama-bpe",
      "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL },
    { "qwen2",
      "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL },
};
static const struct { const char *alias, *name; } aliases[] = {
    { "default", "gpt-2" }, { "llama3", "llama-bpe" }, { "llama-v3", "llama-bpe" },
};

static const char *find_pattern(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strlen(aliases[i].alias) == len && !memcmp(aliases[i].alias, name, len))
            name = aliases[i].name, len = strlen(name);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strlen(patterns[i].name) == len && !memcmp(patterns[i].name, name, len))
            return patterns[i].pattern;
    return NULL;
}

int lv_pretokenizer_open(lv_pretokenizer **out, const char *name, size_t len, lever_error *err)
{
    *out = NULL;
    const char *pattern = find_pattern(name, len);
    if (!pattern)
        return lv_fail(err, LEVER_EUNSUP, 0, "pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported; "
                       "supported: gpt-2, llama-bpe, qwen2", (int)(len < 64 ? len : 64), name);
    lv_pretokenizer *p = lv_alloc(sizeof *p, 16);
    if (!p) return lv_fail(err, LEVER_ENOMEM, 0, "pre-tokenizer");
    int code;
    size_t offset;
    p->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    if (!p->code) {
        lv_free(p);
        return lv_fail(err, LEVER_ENOMEM, 0,
                       "the pattern of pre-tokenizer '%.*s' does not compile (PCRE2 error %d)",
                       (int)(len < 64 ? len : 64), name, code);
    }
    *out = p;
    return LEVER_OK;
}

void lv_pretokenizer_close(lv_pretokenizer **p)
{
    if (!p || !*p) return;
    pcre2_code_free((*p)->code);
    lv_free(*p);
    *p = NULL;
}

int lv_pretoken_begin(lv_pretoken_run **out, const lv_pretokenizer *p, const uint8_t *text, size_t len,
                      lever_error *err)
{
    *out = NULL;
    lv_pretoken_run *r = lv_alloc(sizeof *r, 16);
    if (r) r->match = pcre2_match_data_create_from_pattern(p->code, NULL);
    if (!r || !r->match) {
        lv_free(r);
        return lv_fail(err, LEVER_ENOMEM, 0, "pre-tokenizer state");
    }
    r->p = p, r->text = text, r->len = len;
    *out = r;
    return LEVER_OK;
}

/* End of the UTF-8 that begins at `at`; `at` itself when no character does. */
static size_t valid_end(const uint8_t *text, size_t len, size_t at)
{
    while (at < len) {
        const size_t n = lv_utf8_length(text + at, len - at);
        if (n == 1 && text[at] >= 0x80) break;
        at += n;
    }
    return at;
}

/* Left to itself PCRE2 checks the whole rest of the text for every word, which makes a long text cost
 * quadratic time: so it is checked here, once, and each valid stretch is a text of its own. */
size_t lv_pretoken_next(lv_pretoken_run *r, const uint8_t **word)
{
    if (r->at == r->len) return 0;
    if (r->at >= r->valid_end) r->valid_end = valid_end(r->text, r->len, r->at);
    size_t n = 1;
    if (r->at < r->valid_end && !r->gave_up) {
        const uint32_t how = PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED;
        const int rc = pcre2_match(r->p->code, r->text, r->valid_end, r->at, how, r->match, NULL);
        const size_t *o = pcre2_get_ovector_pointer(r->match);
        /* Every character begins a word of every pattern, so what refuses are PCRE2's own limits; trying
         * again behind each character would take forever. */
        r->gave_up = rc <= 0 || o[1] <= r->at;
        if (!r->gave_up) n = o[1] - r->at;
    }
    *word = r->text + r->at;
    r->at += n;
    return n;
}

void lv_pretoken_end(lv_pretoken_run **r)
{
    if (!r || !*r) return;
    pcre2_match_data_free((*r)->match);
    lv_free(*r);
    *r = NULL;
}
