/* Cutting text into words before byte-level BPE, with the patterns of the tokenizers' families (PCRE2).
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_PRETOKENIZE_H
#define LEVER_TOKEN_PRETOKENIZE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct lv_pretokenizer lv_pretokenizer;
typedef struct lv_pretoken_run lv_pretoken_run;

/* name: tokenizer.ggml.pre. LEVER_OK, LEVER_EUNSUP (unknown: named with the known ones), LEVER_ENOMEM. */
int  lv_pretokenizer_open(lv_pretokenizer **out, const char *name, size_t len, lever_error *err);
void lv_pretokenizer_close(lv_pretokenizer **p);

/* One text: open, next until it returns 0, close. Each word is non-empty; together they are the text.
 * Bytes that are not UTF-8 come one by one. LEVER_OK, LEVER_ENOMEM. */
int    lv_pretoken_begin(lv_pretoken_run **out, const lv_pretokenizer *p, const uint8_t *text, size_t len,
                         lever_error *err);
size_t lv_pretoken_next(lv_pretoken_run *r, const uint8_t **word);
void   lv_pretoken_end(lv_pretoken_run **r);

#endif
