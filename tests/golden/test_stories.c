/* A trained model end to end through the forward pass: the shared 260K-parameter story model, converted
 * from its llama2.c files, continues its prompt as the shared reference text does (greedy; the reference
 * comes from an independent float32 implementation). SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "equal/forward_rig.h"

enum { N_STEPS = 120 }; /* fits RIG_CTX */

static char path[128];

/* Text of a SentencePiece token: U+2581 is a space, <0xXX> a byte, control tokens are silent. */
static size_t append_text(char *text, size_t at, lv_str token)
{
    if (token.len == 6 && !memcmp(token.s, "<0x", 3)) {
        text[at++] = (char)strtoul((char[]){ token.s[3], token.s[4], 0 }, NULL, 16);
        return at;
    }
    for (size_t i = 0; i < token.len;) {
        const bool space = token.len - i >= 3 && !memcmp(token.s + i, "\xe2\x96\x81", 3);
        text[at++] = space ? ' ' : token.s[i];
        i += space ? 3 : 1;
    }
    return at;
}

static void convert(const char *shared)
{
    char command[2048];
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/lever-stories-%ld.gguf", dir ? dir : "/tmp", (long)getpid());
    snprintf(command, sizeof command,
             "python3 tools/llama2c_to_gguf.py '%s/models/stories260K/stories260K.bin' "
             "'%s/models/stories260K/tok512.bin' '%s'",
             shared, shared, path);
    if (system(command) != 0) SKIP("python3 is needed to convert the story model");
}

static void greedy_text_equals_the_reference(void)
{
    static const int32_t prompt[] = { 1, 403, 407, 261, 378 }; /* <s> Once upon a time */
    enum { N_PROMPT = sizeof prompt / sizeof *prompt };
    rig r;
    lever_error e = { 0 };
    CHECK_OK(rig_open(&r, &(rig_config){ .path = path, .cpu_flags = lv_cpu_detect() }, &e), &e);
    const lv_gguf *g = lv_model_gguf(r.m);
    const lv_gguf_kv *tokens = lv_gguf_find(g, "tokenizer.ggml.tokens");
    static float logits[N_PROMPT * 512];
    static char text[N_STEPS * 16], reference[4096];
    size_t at = 0;
    CHECK_EQ(r.n_vocab, 512);
    CHECK_OK(rig_decode(&r, prompt, N_PROMPT, N_PROMPT, logits, &e), &e);
    for (int i = 1; i < N_PROMPT; i++)
        at = append_text(text, at, lv_gguf_str(g, tokens, (uint64_t)prompt[i]));
    const float *last = logits + (N_PROMPT - 1) * 512;
    for (int i = N_PROMPT; i < N_STEPS; i++) {
        const int32_t next = (int32_t)lv_cpu_kernels(r.cpu)->argmax(last, 512);
        at = append_text(text, at, lv_gguf_str(g, tokens, (uint64_t)next));
        CHECK_OK(rig_decode(&r, &next, 1, 1, logits, &e), &e);
        last = logits;
    }
    char name[1024];
    snprintf(name, sizeof name, "%s/models/stories260K/reference_greedy_256.txt", check_shared());
    FILE *f = fopen(name, "rb");
    CHECK(f != NULL);
    if (f) {
        reference[fread(reference, 1, sizeof reference - 1, f)] = '\0';
        fclose(f);
    }
    CHECK(at > 200);
    text[at] = '\0';
    const size_t skip = text[0] == ' '; /* the tokenizer's dummy prefix */
    if (strncmp(text + skip, reference, at - skip)) {
        fprintf(stderr, "got: %s\n", text);
        CHECK(!"text differs from the reference");
    }
    rig_close(&r);
}

int main(void)
{
    const char *shared = check_shared();
    if (!shared) SKIP("shared test material is absent (LEVER_SHARED)");
    convert(shared);
    RUN(greedy_text_equals_the_reference);
    unlink(path);
    return check_done();
}
