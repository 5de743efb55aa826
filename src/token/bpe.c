/* Byte-level BPE. SPDX-License-Identifier: MIT */
#include "token/symbols.h"
#include "token/vocab_impl.h"

static int pair_rank(const void *vocab, const lv_symbols *s, const lv_symbol *left, const lv_symbol *right,
                     float *cost, int32_t *id)
{
    (void)s;
    const lv_merge *m = lv_vocab_find_merge(vocab, left->id, right->id);
    if (!m) return 0;
    *cost = (float)m->rank; /* exact: vocabularies have fewer than 2^24 merges */
    *id = m->merged;
    return 1;
}

static int encode_word(const lv_vocab *v, lv_symbols *s, const uint8_t *word, size_t len, lv_token_out *out,
                       lever_error *err)
{
    const int32_t whole = v->ignore_merges || len == 1 ? lv_vocab_find(v, word, len) : -1;
    if (whole >= 0) {
        lv_token_put(out, whole);
        return LEVER_OK;
    }
    LEVER_TRY(lv_symbols_reserve(s, len, err));
    s->text = word;
    for (size_t i = 0; i < len; i++) lv_symbols_add(s, (uint32_t)i, 1, v->byte_id[word[i]]);
    lv_symbols_merge(s, pair_rank, v);
    for (int32_t i = 0; i >= 0; i = s->sym[i].next) {
        const int32_t id = s->sym[i].id >= 0 ? s->sym[i].id : v->unk;
        if (id >= 0) lv_token_put(out, id); /* a byte that the vocabulary does not have is dropped */
    }
    return LEVER_OK;
}

int lv_bpe_encode(const lv_vocab *v, const uint8_t *text, size_t len, lv_token_out *out, lever_error *err)
{
    if (len == 0) return LEVER_OK;
    lv_pretoken_run *run;
    LEVER_TRY(lv_pretoken_begin(&run, v->pre, text, len, err));
    lv_symbols s = { 0 };
    const uint8_t *word;
    int rc = LEVER_OK;
    for (size_t n; rc >= 0 && (n = lv_pretoken_next(run, &word)) > 0;)
        rc = encode_word(v, &s, word, n, out, err);
    lv_symbols_fini(&s);
    lv_pretoken_end(&run);
    return rc;
}
