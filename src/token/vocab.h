/* Tokenizers from GGUF metadata: byte-level BPE (tokenizer.ggml.model "gpt2"; pre-tokenizers gpt-2,
 * llama-bpe, qwen2) and SentencePiece ("llama"). Text is UTF-8; invalid bytes are encoded as they are.
 * Threading: a vocabulary is immutable after open; encode may be called from any thread.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_VOCAB_H
#define LEVER_TOKEN_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "gguf/gguf.h"

typedef struct lv_vocab lv_vocab;

enum lv_encode_flags {
    LV_ENCODE_ADD_SPECIAL = 1,  /* add BOS/EOS where the model asks for it */
    LV_ENCODE_PARSE_SPECIAL = 2 /* text of special tokens becomes these tokens */
};

/* Everything needed is copied: g may be closed afterwards. LEVER_OK, LEVER_ENOMEM, LEVER_EFORMAT,
 * LEVER_EUNSUP (tokenizer or pre-tokenizer unknown: the message names it). Returned: lv_vocab_close. */
int  lv_vocab_open(lv_vocab **out, const lv_gguf *g, lever_error *err);
void lv_vocab_close(lv_vocab **v);

/* Tokens of text [len]; at most cap are stored in out. Returns the number of tokens the text has
 * (which may exceed cap: call again with more room), LEVER_ENOMEM, or LEVER_EINVAL (text too long). */
int64_t lv_vocab_encode(const lv_vocab *v, const char *text, size_t len, unsigned flags,
                        int32_t *out, size_t cap, lever_error *err);

/* Memory lv_vocab_encode takes while it works on a text of len bytes: SentencePiece has all of it in work at
 * once; for BPE a word is little and this is 0. */
size_t  lv_vocab_encode_bytes(const lv_vocab *v, size_t len);

int32_t lv_vocab_n_tokens(const lv_vocab *v);
/* Tokens before the padding: every id from here on is marked unused, and is never sampled. Files of one
 * family are padded to different sizes. */
int32_t lv_vocab_n_used(const lv_vocab *v);
int32_t lv_vocab_bos(const lv_vocab *v); /* -1: none */
int32_t lv_vocab_eos(const lv_vocab *v); /* -1: none */
bool    lv_vocab_add_bos(const lv_vocab *v);
/* True for tokens that end an answer (EOS, end of turn: <|im_end|>, <|eot_id|>, <end_of_turn>, ...). */
bool    lv_vocab_is_end(const lv_vocab *v, int32_t id);
bool    lv_vocab_is_special(const lv_vocab *v, int32_t id); /* control token: prints as nothing */
/* Raw bytes of a token as text; special tokens give their name when `special`, else nothing. The
 * bytes are borrowed from v. ids out of range give length 0. */
lv_str  lv_vocab_piece(const lv_vocab *v, int32_t id, bool special);
size_t  lv_vocab_memory_bytes(const lv_vocab *v);
/* Same tokens with the same ids, padding aside (draft and target must agree)? LEVER_OK or LEVER_EINVAL: why
 * not. */
int     lv_vocab_compare(const lv_vocab *a, const lv_vocab *b, lever_error *err);

/* Streaming detokenizer: never hands out half a UTF-8 character. Plain data, zero to begin. */
typedef struct lv_detok {
    uint8_t held[8]; /* start of an unfinished character */
    uint8_t n_held;
    bool    started; /* SentencePiece: the first space is dropped */
} lv_detok;

/* Append one token; writes complete characters to out and returns their number of bytes (never more
 * than cap; cap >= token length + 16). Bytes that can not become valid UTF-8 come out as U+FFFD. */
size_t lv_detok_push(lv_detok *d, const lv_vocab *v, int32_t id, bool special, char *out, size_t cap);
/* Longest output one push or flush can make for this vocabulary. */
size_t lv_detok_max_bytes(const lv_vocab *v);
/* End of text: what is held comes out as U+FFFD. */
size_t lv_detok_flush(lv_detok *d, char *out, size_t cap);

#endif
