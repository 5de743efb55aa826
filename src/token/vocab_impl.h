/* What the tokenizer's files share. SPDX-License-Identifier: MIT */
#ifndef LEVER_TOKEN_VOCAB_IMPL_H
#define LEVER_TOKEN_VOCAB_IMPL_H

#include "token/pretokenize.h"
#include "token/vocab.h"

/* Token types of GGUF. */
enum {
    LV_TOKEN_NORMAL = 1,
    LV_TOKEN_UNKNOWN = 2,
    LV_TOKEN_CONTROL = 3,
    LV_TOKEN_USER = 4,
    LV_TOKEN_UNUSED = 5,
    LV_TOKEN_BYTE = 6
};

enum lv_vocab_model { LV_VOCAB_BPE, LV_VOCAB_SPM };

/* A BPE merge: tokens left and right, side by side, become token merged; lower ranks merge first. */
typedef struct lv_merge {
    int32_t left, right; /* left < 0: empty place of the table */
    int32_t merged, rank;
} lv_merge;

struct lv_vocab {
    enum lv_vocab_model model;
    int32_t   n, n_used;     /* n_used: up to the last token that is not LV_TOKEN_UNUSED */
    uint8_t  *bytes;         /* the tokens' raw bytes, one after the other */
    uint32_t *at;            /* [n + 1] offsets into bytes */
    uint8_t  *type;          /* [n] */
    float    *score;         /* [n] SPM */
    int32_t  *table;         /* [table_mask + 1] token ids by hash of their bytes; -1: empty */
    uint32_t  table_mask;
    lv_merge *merges;        /* [merge_mask + 1] BPE, by hash of (left, right) */
    uint32_t  merge_mask;
    int32_t   byte_id[256];  /* token of a single byte; -1: none */
    int32_t  *special;       /* [n_special] control and user-defined tokens, longest first */
    uint32_t  n_special;
    int32_t   bos, eos, eot, unk;
    bool      add_bos, add_eos, add_space_prefix, ignore_merges;
    uint32_t  max_piece;
    lv_pretokenizer *pre;    /* BPE */
    size_t    heap_bytes;
};

static inline lv_str lv_vocab_raw(const lv_vocab *v, int32_t id)
{
    return (lv_str){ (const char *)v->bytes + v->at[id], v->at[id + 1] - v->at[id] };
}

/* Token that ordinary text of these bytes may become; -1: none. Lowest id among equals. */
int32_t lv_vocab_find(const lv_vocab *v, const void *bytes, size_t len);
const lv_merge *lv_vocab_find_merge(const lv_vocab *v, int32_t left, int32_t right); /* NULL: none */

/* Growing output that counts on when full. */
typedef struct lv_token_out {
    int32_t *ids;
    size_t   cap;
    int64_t  n;
} lv_token_out;

static inline void lv_token_put(lv_token_out *o, int32_t id)
{
    if ((uint64_t)o->n < o->cap) o->ids[o->n] = id;
    o->n++;
}

/* Plain text without special tokens. LEVER_OK or LEVER_ENOMEM. */
int lv_bpe_encode(const lv_vocab *v, const uint8_t *text, size_t len, lv_token_out *out, lever_error *err);
int lv_spm_encode(const lv_vocab *v, const uint8_t *text, size_t len, bool prefix_space, lv_token_out *out,
                  lever_error *err);

#endif
