/* test_tokenizer VOCAB.gguf CASES: every text of CASES.inp must encode to exactly the ids of CASES.out, and
 * decode back to itself where the tokenizer keeps every byte. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "token/vocab.h"

static const char separator[] = "\n__ggml_vocab_test__\n";

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = malloc(1 << 20);
    *len = fread(text, 1, (1 << 20) - 1, f);
    text[*len] = '\0';
    fclose(f);
    return text;
}

static int n_cases;

static void check_decode(const lv_vocab *v, const int32_t *ids, int64_t n, const char *text, size_t len)
{
    static char out[1 << 16];
    size_t at = 0;
    lv_detok d = { 0 };
    const size_t max = lv_detok_max_bytes(v);
    for (int64_t i = 0; i < n && at + max < sizeof out; i++)
        at += lv_detok_push(&d, v, ids[i], true, out + at, max);
    at += lv_detok_flush(&d, out + at, max);
    if (at != len || memcmp(out, text, len)) {
        fprintf(stderr, "case %d decodes to '%.*s', not '%.*s'\n", n_cases, (int)at, out, (int)len, text);
        check_failures++;
    }
}

static void check_case(const lv_vocab *v, const char *text, size_t len, const char *want)
{
    static int32_t ids[4096];
    lever_error err = { 0 };
    const int64_t n = lv_vocab_encode(v, text, len, 0, ids, 4096, &err);
    bool same = n >= 0 && n <= 4096;
    const char *p = want;
    for (int64_t i = 0; same && i < n; i++) {
        char *end;
        const long id = strtol(p, &end, 10);
        same = end != p && id == ids[i];
        p = end;
    }
    while (same && *p == ' ') p++;
    if (!same || *p) {
        fprintf(stderr, "case %d: '%.*s'\n  want %s\n  got ", n_cases, (int)len, text, want);
        for (int64_t i = 0; i < n && i < 4096; i++) fprintf(stderr, " %d", ids[i]);
        fprintf(stderr, "\n");
        check_failures++;
    } else {
        check_decode(v, ids, n, text, len);
    }
    n_cases++;
}

static void run_cases(const lv_vocab *v, char *in, size_t in_len, char *out)
{
    char *line = out, *text = in, *end = in + in_len;
    for (;;) {
        char *stop = strstr(text, separator), *eol = strchr(line, '\n');
        CHECK(eol != NULL);
        if (!eol) return;
        *eol = '\0';
        check_case(v, text, (size_t)((stop ? stop : end) - text), line);
        line = eol + 1;
        if (!stop) break;
        text = stop + sizeof separator - 1;
        if (text == end) break; /* the files end with a separator */
    }
    CHECK_EQ(*line, 0); /* no answer without a question */
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: test_tokenizer VOCAB.gguf CASES\n"), 2;
    const char *shared = check_shared();
    if (!shared) SKIP("shared test material is absent (set LEVER_SHARED)");
    char path[4096];
    size_t in_len = 0, out_len = 0;
    snprintf(path, sizeof path, "%s/tokenizers/%s.inp", shared, argv[2]);
    char *in = read_file(path, &in_len);
    snprintf(path, sizeof path, "%s/tokenizers/%s.out", shared, argv[2]);
    char *out = read_file(path, &out_len);
    if (!in || !out) SKIP("the cases are not in the shared test material");
    if (argv[1][0] == '/') snprintf(path, sizeof path, "%s", argv[1]);
    else snprintf(path, sizeof path, "%s/tokenizers/%s", shared, argv[1]);
    lv_gguf *g;
    lv_vocab *v = NULL;
    lever_error err = { 0 };
    CHECK_OK(lv_gguf_open(&g, path, &err), &err);
    if (g) CHECK_OK(lv_vocab_open(&v, g, &err), &err);
    lv_gguf_close(&g);
    if (v) {
        run_cases(v, in, in_len, out);
        printf("%d cases, %d tokens in the vocabulary, %zu bytes\n", n_cases, lv_vocab_n_tokens(v),
               lv_vocab_memory_bytes(v));
        CHECK(n_cases > 40);
    }
    lv_vocab_close(&v);
    free(in);
    free(out);
    return check_done();
}
