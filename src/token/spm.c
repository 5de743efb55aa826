/* SentencePiece with byte fallback: characters merge into the pair with the best score. Spaces stand for
 * U+2581 in vocabulary and text alike. SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/mem.h"
#include "token/symbols.h"
#include "token/utf8.h"
#include "token/vocab_impl.h"

static int pair_score(const void *vocab, const lv_symbols *s, const lv_symbol *left, const lv_symbol *right,
                      float *cost, int32_t *id)
{
    const lv_vocab *v = vocab;
    *id = lv_vocab_find(v, s->text + left->at, left->len + right->len);
    if (*id < 0) return 0;
    *cost = -v->score[*id];
    return 1;
}

static void put_symbol(const lv_vocab *v, const uint8_t *text, const lv_symbol *sym, lv_token_out *out)
{
    if (sym->id >= 0) {
        lv_token_put(out, sym->id);
        return;
    }
    for (uint32_t i = 0; i < sym->len; i++) {
        const int32_t byte = v->byte_id[text[sym->at + i]];
        if (byte >= 0) lv_token_put(out, byte);
        else if (v->unk >= 0) {
            lv_token_put(out, v->unk); /* no byte fallback: one unknown token for the character */
            return;
        }
    }
}

/* Copy with U+2581 turned into spaces, which is what the vocabulary was loaded as. */
static size_t normalize(uint8_t *dst, const uint8_t *text, size_t len, bool prefix_space)
{
    size_t n = 0;
    if (prefix_space) dst[n++] = ' ';
    for (size_t i = 0; i < len;) {
        const bool mark = len - i >= 3 && !memcmp(text + i, "\xe2\x96\x81", 3);
        dst[n++] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return n;
}

int lv_spm_encode(const lv_vocab *v, const uint8_t *text, size_t len, bool prefix_space, lv_token_out *out,
                  lever_error *err)
{
    if (len == 0) return LEVER_OK;
    lv_symbols s = { 0 };
    uint8_t *plain = lv_alloc(len + 1, 16);
    if (!plain) return lv_fail(err, LEVER_ENOMEM, 0, "a text of %zu bytes", len);
    const size_t n = normalize(plain, text, len, prefix_space);
    const int rc = lv_symbols_reserve(&s, n, err);
    if (rc >= 0) {
        s.text = plain;
        for (size_t at = 0; at < n;) {
            const size_t k = lv_utf8_length(plain + at, n - at);
            lv_symbols_add(&s, (uint32_t)at, (uint32_t)k, lv_vocab_find(v, plain + at, k));
            at += k;
        }
        lv_symbols_merge(&s, pair_score, v);
        for (int32_t i = 0; i >= 0; i = s.sym[i].next) put_symbol(v, plain, &s.sym[i], out);
    }
    lv_symbols_fini(&s);
    lv_free(plain);
    return rc;
}
