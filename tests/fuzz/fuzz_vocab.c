/* Tokenizers under hostile bytes. First byte 'M': the rest is GGUF metadata, from which a vocabulary and
 * hyper-parameters are read. Else the rest is a text for the demo pair's vocabulary (run in the source
 * folder): what is encoded must decode to the same bytes, except that invalid UTF-8 comes back as U+FFFD.
 * SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/hparams.h"
#include "token/utf8.h"
#include "token/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)                                                  \
    do {                                                              \
        if (!(cond)) {                                                \
            fprintf(stderr, "fuzz_vocab: %s does not hold\n", #cond); \
            abort();                                                  \
        }                                                             \
    } while (0)

enum { MAX_TEXT = 4096 };
static int32_t ids[MAX_TEXT + 2];

static const lv_vocab *demo_vocab(void)
{
    static lv_vocab *v;
    lv_gguf *g;
    lever_error err;
    if (v) return v;
    DEMAND(lv_gguf_open(&g, "models/lever-demo-target.Q8_0.gguf", &err) == LEVER_OK);
    DEMAND(lv_vocab_open(&v, g, &err) == LEVER_OK);
    lv_gguf_close(&g);
    return v;
}

static bool is_utf8(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += lv_utf8_length(p + i, n - i))
        if (lv_utf8_length(p + i, n - i) == 1 && p[i] >= 0x80) return false;
    return true;
}

static void round_trip(const lv_vocab *v, const uint8_t *text, size_t n, unsigned flags)
{
    static char out[3 * MAX_TEXT + 65536];
    lever_error err;
    const int64_t n_ids = lv_vocab_encode(v, (const char *)text, n, flags, ids, MAX_TEXT + 2, &err);
    DEMAND(n_ids >= 0 && n_ids <= (int64_t)n);
    lv_detok d = { 0 };
    size_t at = 0;
    for (int64_t i = 0; i < n_ids; i++) at += lv_detok_push(&d, v, ids[i], true, out + at, sizeof out - at);
    at += lv_detok_flush(&d, out + at, sizeof out - at);
    DEMAND(is_utf8((const uint8_t *)out, at));
    if (is_utf8(text, n)) DEMAND(at == n && !memcmp(out, text, n));
}

static void hostile_metadata(const uint8_t *data, size_t size)
{
    lv_gguf *g;
    lv_vocab *v;
    lv_hparams h;
    lever_error err;
    const size_t live = lv_alloc_live();
    if (lv_gguf_parse(&g, data, size, size, &err) < 0) return;
    if (lv_vocab_open(&v, g, &err) == LEVER_OK) {
        static const char text[] = "Hello  w\xc3\xb6rld 123\n\xff <s></s>";
        const int64_t n = lv_vocab_encode(v, text, sizeof text, 3, ids, MAX_TEXT, &err);
        lv_detok d = { 0 };
        char *out = malloc(lv_detok_max_bytes(v) + 16);
        for (int64_t i = 0; out && i < n && i < MAX_TEXT; i++) {
            DEMAND(ids[i] >= 0 && ids[i] < lv_vocab_n_tokens(v));
            lv_detok_push(&d, v, ids[i], i % 2, out, lv_detok_max_bytes(v));
        }
        free(out);
        lv_vocab_close(&v);
    }
    lv_hparams_read(&h, g, &err);
    lv_gguf_close(&g);
    DEMAND(lv_alloc_live() == live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    if (data[0] == 'M') {
        hostile_metadata(data + 1, size - 1);
        return 0;
    }
    const size_t n = size - 1 < MAX_TEXT ? size - 1 : MAX_TEXT;
    round_trip(demo_vocab(), data + 1, n, data[0] & 1 ? LV_ENCODE_PARSE_SPECIAL : 0);
    return 0;
}
