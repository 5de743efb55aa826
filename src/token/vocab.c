/* Loading a vocabulary, look-ups, and cutting a text at its special tokens. SPDX-License-Identifier: MIT */
#include "token/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "token/symbols.h"
#include "token/vocab_impl.h"

enum { MAX_TEXT = 1 << 30 };

/* ---- hashing ---- */

static uint32_t hash_bytes(const uint8_t *p, size_t n)
{
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ n;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ h >> 32);
}

static uint32_t hash_pair(int32_t a, int32_t b)
{
    const uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32);
}

int32_t lv_vocab_find(const lv_vocab *v, const void *bytes, size_t len)
{
    for (uint32_t i = hash_bytes(bytes, len) & v->table_mask; v->table[i] >= 0; i = (i + 1) & v->table_mask) {
        const lv_str t = lv_vocab_raw(v, v->table[i]);
        if (t.len == len && !memcmp(t.s, bytes, len)) return v->table[i];
    }
    return -1;
}

const lv_merge *lv_vocab_find_merge(const lv_vocab *v, int32_t left, int32_t right)
{
    if (left < 0 || right < 0) return NULL;
    for (uint32_t i = hash_pair(left, right) & v->merge_mask; v->merges[i].left >= 0;
         i = (i + 1) & v->merge_mask)
        if (v->merges[i].left == left && v->merges[i].right == right) return &v->merges[i];
    return NULL;
}

static uint32_t table_size(uint64_t n)
{
    uint32_t size = 16;
    while (size < n * 3 / 2) size *= 2;
    return size;
}

/* ---- loading ---- */

typedef struct loader {
    lv_vocab *v;
    const lv_gguf *g;
    const lv_gguf_kv *tokens, *merges;
    lever_error *err;
} loader;

static void *take(loader *l, size_t n, size_t elem_bytes)
{
    void *p = lv_alloc_array(n ? n : 1, elem_bytes, 16);
    l->v->heap_bytes += n * elem_bytes;
    return p;
}

static int no_memory(loader *l)
{
    return lv_fail(l->err, LEVER_ENOMEM, 0, "vocabulary of %d tokens", l->v->n);
}

/* An array of the right kind and, when n > 0, length; *kv NULL when absent. */
static int find_array(loader *l, const char *key, uint32_t elem_type, uint64_t n, const lv_gguf_kv **kv)
{
    *kv = lv_gguf_find(l->g, key);
    if (!*kv) return LEVER_OK;
    if ((*kv)->type != LV_GGUF_ARRAY || (*kv)->elem_type != elem_type)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key '%s' is not an array of the expected type", key);
    if (n && (*kv)->n != n)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key '%s' has %" PRIu64 " entries for %" PRIu64 " tokens",
                       key, (*kv)->n, n);
    return LEVER_OK;
}

/* GPT-2 writes each byte as a printable character: itself, or U+0100 + its number among the others.
 * Returns the byte, or -1. */
static int byte_of_char(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff)) return (int)c;
    if (c < 0x100 || c > 0x143) return -1;
    const uint32_t k = c - 0x100; /* 0..32: bytes 0x00..0x20; 33..66: 0x7f..0xa0; 67: 0xad */
    return (int)(k <= 32 ? k : k <= 66 ? 0x7f + (k - 33) : 0xad);
}

/* Decode GPT-2's characters; false when one is outside its alphabet. */
static bool unmap_bytes(uint8_t *dst, size_t *n, lv_str s)
{
    *n = 0;
    for (size_t i = 0; i < s.len;) {
        const uint8_t a = (uint8_t)s.s[i];
        uint32_t c = a;
        if (a >= 0x80) {
            if (a < 0xc2 || a > 0xdf || i + 1 >= s.len || ((uint8_t)s.s[i + 1] & 0xc0) != 0x80) return false;
            c = (uint32_t)(a & 0x1f) << 6 | ((uint8_t)s.s[++i] & 0x3f);
        }
        i++;
        const int byte = byte_of_char(c);
        if (byte < 0) return false;
        dst[(*n)++] = (uint8_t)byte;
    }
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Raw bytes of token text `s` into dst (at most s.len bytes); returns their number. */
static size_t raw_bytes(const lv_vocab *v, int32_t id, lv_str s, uint8_t *dst)
{
    size_t n;
    const uint8_t type = v->type[id];
    if (v->model == LV_VOCAB_BPE && type != LV_TOKEN_CONTROL && type != LV_TOKEN_USER &&
        unmap_bytes(dst, &n, s))
        return n;
    if (v->model == LV_VOCAB_BPE || type == LV_TOKEN_CONTROL) {
        if (s.len) memcpy(dst, s.s, s.len);
        return s.len;
    }
    if (type == LV_TOKEN_BYTE && s.len == 6 && hex_digit(s.s[3]) >= 0 &&
        hex_digit(s.s[4]) >= 0) { /* <0x0A> */
        dst[0] = (uint8_t)(hex_digit(s.s[3]) << 4 | hex_digit(s.s[4]));
        return 1;
    }
    n = 0;
    for (size_t i = 0; i < s.len;) {
        const bool mark = s.len - i >= 3 && !memcmp(s.s + i, "\xe2\x96\x81", 3);
        dst[n++] = mark ? ' ' : (uint8_t)s.s[i];
        i += mark ? 3 : 1;
    }
    return n;
}

static int load_tokens(loader *l)
{
    lv_vocab *v = l->v;
    LEVER_TRY(find_array(l, "tokenizer.ggml.tokens", LV_GGUF_STRING, 0, &l->tokens));
    if (!l->tokens || l->tokens->n == 0)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.tokens' is missing or empty");
    if (l->tokens->n > INT32_MAX / 4)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.tokens' has %" PRIu64 " entries",
                       l->tokens->n);
    v->n = (int32_t)l->tokens->n;
    const lv_gguf_kv *types;
    LEVER_TRY(find_array(l, "tokenizer.ggml.token_type", LV_GGUF_I32, l->tokens->n, &types));
    size_t total = 0;
    for (int32_t i = 0; i < v->n; i++) total += lv_gguf_str(l->g, l->tokens, (uint64_t)i).len;
    if (total > UINT32_MAX)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.tokens' is larger than 4 GiB");
    if (!(v->type = take(l, (size_t)v->n, 1)) || !(v->bytes = take(l, total, 1)) ||
        !(v->at = take(l, (size_t)v->n + 1, sizeof *v->at)))
        return no_memory(l);
    for (int32_t i = 0; i < v->n; i++) {
        int32_t type = LV_TOKEN_NORMAL;
        if (types) memcpy(&type, (const uint8_t *)types->data + (size_t)i * sizeof type, sizeof type);
        v->type[i] = type >= 0 && type < 256 ? (uint8_t)type : LV_TOKEN_UNUSED;
        const size_t n = raw_bytes(v, i, lv_gguf_str(l->g, l->tokens, (uint64_t)i), v->bytes + v->at[i]);
        v->at[i + 1] = v->at[i] + (uint32_t)n;
        if (n > v->max_piece) v->max_piece = (uint32_t)n;
        if (v->type[i] != LV_TOKEN_UNUSED) v->n_used = i + 1;
    }
    if (v->n_used) return LEVER_OK;
    return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.token_type' marks every token as unused");
}

/* Tokens that plain text may become. Control tokens are left out: text can not fake them; so is padding. */
static bool is_plain(const lv_vocab *v, int32_t id)
{
    const uint8_t t = v->type[id];
    return id < v->n_used && t != LV_TOKEN_CONTROL && t != LV_TOKEN_UNKNOWN && t != LV_TOKEN_BYTE &&
           v->at[id + 1] > v->at[id];
}

static int index_tokens(loader *l)
{
    lv_vocab *v = l->v;
    const uint32_t size = table_size((uint64_t)v->n);
    if (!(v->table = take(l, size, sizeof *v->table))) return no_memory(l);
    memset(v->table, 0xff, size * sizeof *v->table);
    v->table_mask = size - 1;
    for (int i = 0; i < 256; i++) v->byte_id[i] = -1;
    for (int32_t id = 0; id < v->n; id++) {
        const lv_str t = lv_vocab_raw(v, id);
        const bool plain = is_plain(v, id);
        const bool byte = v->model == LV_VOCAB_SPM ? v->type[id] == LV_TOKEN_BYTE : plain;
        if (byte && t.len == 1 && v->byte_id[(uint8_t)t.s[0]] < 0) v->byte_id[(uint8_t)t.s[0]] = id;
        if (!plain || lv_vocab_find(v, t.s, t.len) >= 0) continue;
        uint32_t i = hash_bytes((const uint8_t *)t.s, t.len) & v->table_mask;
        while (v->table[i] >= 0) i = (i + 1) & v->table_mask;
        v->table[i] = id;
    }
    return LEVER_OK;
}

static int load_scores(loader *l)
{
    const lv_gguf_kv *kv;
    LEVER_TRY(find_array(l, "tokenizer.ggml.scores", LV_GGUF_F32, l->tokens->n, &kv));
    if (!kv) return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.scores' is missing");
    if (!(l->v->score = take(l, (size_t)l->v->n, sizeof(float)))) return no_memory(l);
    memcpy(l->v->score, kv->data, (size_t)l->v->n * sizeof(float));
    return LEVER_OK;
}

/* "left right" as token ids; false when a part or the result is no token: such a merge can never apply. */
static bool read_merge(const lv_vocab *v, lv_str s, uint8_t *buf, lv_merge *m)
{
    size_t space = s.len ? 1 : 0, a, b;
    while (space < s.len && s.s[space] != ' ') space++;
    if (space >= s.len) return false;
    if (!unmap_bytes(buf, &a, (lv_str){ s.s, space }) ||
        !unmap_bytes(buf + a, &b, (lv_str){ s.s + space + 1, s.len - space - 1 }))
        return false;
    m->left = lv_vocab_find(v, buf, a);
    m->right = lv_vocab_find(v, buf + a, b);
    m->merged = lv_vocab_find(v, buf, a + b);
    return m->left >= 0 && m->right >= 0 && m->merged >= 0;
}

static int load_merges(loader *l)
{
    lv_vocab *v = l->v;
    LEVER_TRY(find_array(l, "tokenizer.ggml.merges", LV_GGUF_STRING, 0, &l->merges));
    if (!l->merges) return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.merges' is missing");
    if (l->merges->n >= 1 << 24)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key 'tokenizer.ggml.merges' has %" PRIu64 " entries",
                       l->merges->n);
    const uint32_t size = table_size(l->merges->n);
    size_t longest = 0;
    for (uint64_t i = 0; i < l->merges->n; i++) {
        const size_t len = lv_gguf_str(l->g, l->merges, i).len;
        if (len > longest) longest = len;
    }
    uint8_t *buf = lv_alloc(longest + 1, 16);
    v->merges = take(l, size, sizeof *v->merges);
    if (!buf || !v->merges) {
        lv_free(buf);
        return no_memory(l);
    }
    v->merge_mask = size - 1;
    for (uint32_t i = 0; i < size; i++) v->merges[i].left = -1;
    for (uint64_t i = 0; i < l->merges->n; i++) {
        lv_merge m = { .rank = (int32_t)i };
        if (!read_merge(v, lv_gguf_str(l->g, l->merges, i), buf, &m) ||
            lv_vocab_find_merge(v, m.left, m.right))
            continue;
        uint32_t at = hash_pair(m.left, m.right) & v->merge_mask;
        while (v->merges[at].left >= 0) at = (at + 1) & v->merge_mask;
        v->merges[at] = m;
    }
    lv_free(buf);
    return LEVER_OK;
}

typedef struct special_key {
    uint32_t len;
    int32_t  id;
} special_key;

static int longest_first(const void *a, const void *b)
{
    const special_key *x = a, *y = b;
    return x->len != y->len ? (x->len < y->len) - (x->len > y->len) : (x->id > y->id) - (x->id < y->id);
}

static int load_specials(loader *l)
{
    lv_vocab *v = l->v;
    for (int pass = 0; pass < 2; pass++) { /* count, then collect */
        special_key *keys = NULL;
        uint32_t n = 0;
        if (pass && !(keys = lv_alloc_array(v->n_special + 1, sizeof *keys, 16))) return no_memory(l);
        for (int32_t i = 0; i < v->n; i++) {
            const uint32_t len = v->at[i + 1] - v->at[i];
            if ((v->type[i] != LV_TOKEN_CONTROL && v->type[i] != LV_TOKEN_USER) || len == 0) continue;
            if (pass) keys[n] = (special_key){ len, i };
            n++;
        }
        if (!pass) {
            v->n_special = n;
            if (!(v->special = take(l, n, sizeof *v->special))) return no_memory(l);
            continue;
        }
        if (n > 1) qsort(keys, n, sizeof *keys, longest_first);
        for (uint32_t i = 0; i < n; i++) v->special[i] = keys[i].id;
        lv_free(keys);
    }
    return LEVER_OK;
}

static int load_id(loader *l, const char *key, int32_t *id)
{
    uint32_t u;
    const int rc = lv_gguf_get_u32(l->g, key, &u, l->err);
    if (rc == 1 && u == UINT32_MAX) *id = -1;
    else if (rc == 1 && u >= (uint32_t)l->v->n)
        return lv_fail(l->err, LEVER_EFORMAT, 0, "key '%s' is %" PRIu32 ", but there are %d tokens", key, u,
                       l->v->n);
    else if (rc == 1) *id = (int32_t)u;
    return rc < 0 ? rc : LEVER_OK;
}

static int load_settings(loader *l)
{
    lv_vocab *v = l->v;
    const bool spm = v->model == LV_VOCAB_SPM;
    v->bos = spm ? 1 : -1, v->eos = spm ? 2 : -1, v->unk = spm ? 0 : -1, v->eot = -1;
    if (spm && v->n < 3) v->bos = v->eos = v->unk = -1;
    v->add_bos = v->add_space_prefix = spm;
    LEVER_TRY(load_id(l, "tokenizer.ggml.bos_token_id", &v->bos));
    LEVER_TRY(load_id(l, "tokenizer.ggml.eos_token_id", &v->eos));
    LEVER_TRY(load_id(l, "tokenizer.ggml.eot_token_id", &v->eot));
    LEVER_TRY(load_id(l, "tokenizer.ggml.unknown_token_id", &v->unk));
    LEVER_TRY(lv_gguf_get_bool(l->g, "tokenizer.ggml.add_bos_token", &v->add_bos, l->err));
    LEVER_TRY(lv_gguf_get_bool(l->g, "tokenizer.ggml.add_eos_token", &v->add_eos, l->err));
    LEVER_TRY(lv_gguf_get_bool(l->g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix, l->err));
    return LEVER_OK;
}

static bool str_is(lv_str s, const char *text) { return s.len == strlen(text) && !memcmp(s.s, text, s.len); }

static int load_bpe(loader *l)
{
    lv_str pre = { "gpt-2", 5 };
    LEVER_TRY(lv_gguf_get_str(l->g, "tokenizer.ggml.pre", &pre, l->err));
    LEVER_TRY(lv_pretokenizer_open(&l->v->pre, pre.s, pre.len, l->err));
    /* Llama 3 takes a word that is a token as it is, whatever its merges would give. */
    l->v->ignore_merges = str_is(pre, "llama-bpe") || str_is(pre, "llama3") || str_is(pre, "llama-v3");
    if (l->v->ignore_merges) l->v->add_bos = true;
    return load_merges(l);
}

static int load(loader *l)
{
    lv_str model = { NULL, 0 };
    const int rc = lv_gguf_get_str(l->g, "tokenizer.ggml.model", &model, l->err);
    if (rc == 0)
        return lv_fail(l->err, LEVER_EFORMAT, 0,
                       "key 'tokenizer.ggml.model' is missing: the file has no tokenizer");
    LEVER_TRY(rc);
    if (str_is(model, "gpt2")) l->v->model = LV_VOCAB_BPE;
    else if (str_is(model, "llama")) l->v->model = LV_VOCAB_SPM;
    else
        return lv_fail(l->err, LEVER_EUNSUP, 0,
                       "tokenizer '%.*s' (tokenizer.ggml.model) is not supported; supported: gpt2 "
                       "(byte-level BPE), llama (SentencePiece)",
                       (int)(model.len < 64 ? model.len : 64), model.s);
    LEVER_TRY(load_tokens(l));
    LEVER_TRY(index_tokens(l));
    if (l->v->model == LV_VOCAB_SPM) LEVER_TRY(load_scores(l));
    LEVER_TRY(load_specials(l));
    if (l->v->model == LV_VOCAB_BPE) LEVER_TRY(load_bpe(l));
    const bool bpe_bos = l->v->add_bos;
    LEVER_TRY(load_settings(l));
    if (bpe_bos && !lv_gguf_find(l->g, "tokenizer.ggml.add_bos_token")) l->v->add_bos = true;
    return LEVER_OK;
}

int lv_vocab_open(lv_vocab **out, const lv_gguf *g, lever_error *err)
{
    *out = NULL;
    lv_vocab *v = lv_alloc(sizeof *v, 16);
    if (!v) return lv_fail(err, LEVER_ENOMEM, 0, "vocabulary");
    v->heap_bytes = sizeof *v;
    loader l = { .v = v, .g = g, .err = err };
    const int rc = load(&l);
    if (rc < 0) {
        lv_vocab_close(&v);
        return rc;
    }
    *out = v;
    return LEVER_OK;
}

void lv_vocab_close(lv_vocab **v)
{
    if (!v || !*v) return;
    lv_pretokenizer_close(&(*v)->pre);
    lv_free((*v)->bytes);
    lv_free((*v)->at);
    lv_free((*v)->type);
    lv_free((*v)->score);
    lv_free((*v)->table);
    lv_free((*v)->merges);
    lv_free((*v)->special);
    lv_free(*v);
    *v = NULL;
}

/* ---- encoding ---- */

/* The longest special token that stands at text [len]; -1: none. */
static int32_t special_at(const lv_vocab *v, const uint8_t *text, size_t len, bool control)
{
    for (uint32_t i = 0; i < v->n_special; i++) {
        const int32_t id = v->special[i];
        const lv_str t = lv_vocab_raw(v, id);
        if ((uint8_t)t.s[0] != text[0] || t.len > len || memcmp(t.s, text, t.len)) continue;
        if (v->type[id] == LV_TOKEN_USER || control) return id;
    }
    return -1;
}

static int encode_plain(const lv_vocab *v, const uint8_t *text, size_t len, bool prefix_space,
                        lv_token_out *out, lever_error *err)
{
    if (v->model == LV_VOCAB_BPE) return lv_bpe_encode(v, text, len, out, err);
    return lv_spm_encode(v, text, len, prefix_space && v->add_space_prefix, out, err);
}

int64_t lv_vocab_encode(const lv_vocab *v, const char *text, size_t len, unsigned flags, int32_t *out,
                        size_t cap, lever_error *err)
{
    if (len > MAX_TEXT)
        return lv_fail(err, LEVER_EINVAL, 0, "a text of %zu bytes is too long to encode", len);
    lv_token_out o = { .ids = out, .cap = cap };
    const uint8_t *p = (const uint8_t *)text;
    bool leads[256] = { false };
    const bool control = flags & LV_ENCODE_PARSE_SPECIAL;
    for (uint32_t i = 0; i < v->n_special; i++)
        if (control || v->type[v->special[i]] == LV_TOKEN_USER) leads[v->bytes[v->at[v->special[i]]]] = true;

    if ((flags & LV_ENCODE_ADD_SPECIAL) && v->add_bos && v->bos >= 0) lv_token_put(&o, v->bos);
    size_t begin = 0;
    bool after_special = true; /* SentencePiece puts its space before the first text and after specials */
    for (size_t at = 0; at < len;) {
        const int32_t id = leads[p[at]] ? special_at(v, p + at, len - at, control) : -1;
        if (id < 0) {
            at++;
            continue;
        }
        if (at > begin) LEVER_TRY(encode_plain(v, p + begin, at - begin, after_special, &o, err));
        lv_token_put(&o, id);
        after_special = true;
        at += lv_vocab_raw(v, id).len;
        begin = at;
    }
    if (len > begin) LEVER_TRY(encode_plain(v, p + begin, len - begin, after_special, &o, err));
    if ((flags & LV_ENCODE_ADD_SPECIAL) && v->add_eos && v->eos >= 0) lv_token_put(&o, v->eos);
    return o.n;
}

size_t lv_vocab_encode_bytes(const lv_vocab *v, size_t len)
{
    return v->model == LV_VOCAB_SPM ? (len + 1) * (1 + sizeof(lv_symbol) + 3 * sizeof(lv_pair)) : 0;
}

/* ---- look-ups ---- */

int32_t lv_vocab_n_tokens(const lv_vocab *v) { return v->n; }
int32_t lv_vocab_n_used(const lv_vocab *v) { return v->n_used; }
int32_t lv_vocab_bos(const lv_vocab *v) { return v->bos; }
int32_t lv_vocab_eos(const lv_vocab *v) { return v->eos; }
bool lv_vocab_add_bos(const lv_vocab *v) { return v->add_bos && v->bos >= 0; }
size_t lv_vocab_memory_bytes(const lv_vocab *v) { return v->heap_bytes; }

bool lv_vocab_is_special(const lv_vocab *v, int32_t id)
{
    return id >= 0 && id < v->n && (v->type[id] == LV_TOKEN_CONTROL || v->type[id] == LV_TOKEN_UNKNOWN);
}

bool lv_vocab_is_end(const lv_vocab *v, int32_t id)
{
    static const char *const names[] = { "<|im_end|>",    "<|eot_id|>",      "<|end|>", "<end_of_turn>",
                                         "<|endoftext|>", "<|end_of_text|>", "</s>" };
    if (id < 0 || id >= v->n) return false;
    if (id == v->eos || id == v->eot) return true;
    if (v->type[id] != LV_TOKEN_CONTROL) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(lv_vocab_raw(v, id), names[i])) return true;
    return false;
}

lv_str lv_vocab_piece(const lv_vocab *v, int32_t id, bool special)
{
    if (id < 0 || id >= v->n || (lv_vocab_is_special(v, id) && !special)) return (lv_str){ "", 0 };
    return lv_vocab_raw(v, id);
}

int lv_vocab_compare(const lv_vocab *a, const lv_vocab *b, lever_error *err)
{
    if (a->n_used != b->n_used)
        return lv_fail(err, LEVER_EINVAL, 0, "the vocabularies have %d and %d tokens", a->n_used, b->n_used);
    for (int32_t i = 0; i < a->n_used; i++) {
        const lv_str x = lv_vocab_raw(a, i), y = lv_vocab_raw(b, i);
        if (x.len != y.len || memcmp(x.s, y.s, x.len))
            return lv_fail(err, LEVER_EINVAL, 0, "the vocabularies differ at token %d", i);
    }
    return LEVER_OK;
}
