/* Streaming detokenizer. SPDX-License-Identifier: MIT */
#include <string.h>

#include "token/utf8.h"
#include "token/vocab_impl.h"

static size_t put_replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* One byte of the stream. What is held is always the start of a character that can still become valid, so
 * a byte that does not continue it replaces the whole start by one U+FFFD and is looked at afresh. */
static size_t push_byte(lv_detok *d, uint8_t b, char *out)
{
    size_t n = 0;
    if (d->n_held && !lv_utf8_continues(d->held[0], d->n_held, b)) {
        n += put_replacement(out);
        d->n_held = 0;
    }
    if (d->n_held == 0 && lv_utf8_need(b) == 0) return n + put_replacement(out + n);
    d->held[d->n_held++] = b;
    if (d->n_held < lv_utf8_need(d->held[0])) return n;
    memcpy(out + n, d->held, d->n_held);
    n += d->n_held;
    d->n_held = 0;
    return n;
}

size_t lv_detok_max_bytes(const lv_vocab *v) { return (size_t)v->max_piece * 3 + 16; }

size_t lv_detok_push(lv_detok *d, const lv_vocab *v, int32_t id, bool special, char *out, size_t cap)
{
    lv_str piece = lv_vocab_piece(v, id, special);
    if (v->model == LV_VOCAB_SPM && v->add_space_prefix && !d->started && piece.len && piece.s[0] == ' ')
        piece.s++, piece.len--;
    if (piece.len || !lv_vocab_is_special(v, id)) d->started = true;
    size_t n = 0;
    for (size_t i = 0; i < piece.len && n + 6 <= cap; i++) n += push_byte(d, (uint8_t)piece.s[i], out + n);
    return n;
}

size_t lv_detok_flush(lv_detok *d, char *out, size_t cap)
{
    const size_t n = d->n_held && cap >= 3 ? put_replacement(out) : 0;
    d->n_held = 0;
    return n;
}
