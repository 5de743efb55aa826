/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/gguf.h"
#include "support/mkmodel.h"

static char path[64];

static lv_gguf *model(const mk_config *c)
{
    lever_error e = { 0 };
    lv_gguf *g = NULL;
    CHECK_OK(mk_model_write(path, c, &e), &e);
    CHECK_OK(lv_gguf_open(&g, path, &e), &e);
    if (!g) exit(1);
    return g;
}

/* Tensor as floats; the caller frees. */
static float *values(const lv_gguf *g, const char *name, size_t *n)
{
    const lv_gguf_tensor *t = lv_gguf_find_tensor(g, name);
    if (!t) {
        fprintf(stderr, "no tensor %s\n", name);
        exit(1);
    }
    const lv_type_traits *type = lv_type_traits_get(t->type);
    *n = (size_t)(t->bytes / type->block_bytes * type->block_len);
    uint8_t *raw = malloc((size_t)t->bytes);
    float *x = malloc(*n * sizeof *x);
    FILE *f = fopen(path, "rb");
    CHECK(raw && x && f && !fseek(f, (long)t->offset, SEEK_SET) && fread(raw, 1, t->bytes, f) == t->bytes);
    fclose(f);
    type->dequantize(x, raw, *n);
    free(raw);
    return x;
}

static void each_architecture_has_its_tensors(void)
{
    const char *archs[] = { "llama", "qwen2", "qwen3" };
    const size_t per_layer[] = { 9, 12, 11 };
    for (int i = 0; i < 3; i++) {
        mk_config c = mk_config_init();
        c.arch = archs[i];
        c.tied = i != 1;
        lv_gguf *g = model(&c);
        CHECK_EQ(lv_gguf_n_tensors(g), per_layer[i] * 4 + 2 + !c.tied);
        CHECK_EQ(lv_gguf_find_tensor(g, "output.weight") != NULL, !c.tied);
        CHECK_EQ(lv_gguf_find_tensor(g, "blk.3.attn_q.bias") != NULL, i == 1);
        CHECK_EQ(lv_gguf_find_tensor(g, "blk.3.attn_k_norm.weight") != NULL, i == 2);
        const lv_gguf_tensor *k = lv_gguf_find_tensor(g, "blk.0.attn_k.weight");
        CHECK(k->type == LV_TYPE_Q8_0 && k->dims[0] == 32 && k->dims[1] == 64);
        lv_str arch;
        CHECK_EQ(lv_gguf_get_str(g, "general.architecture", &arch, NULL), 1);
        CHECK(!strncmp(arch.s, archs[i], arch.len));
        lv_gguf_close(&g);
    }
}

static void weights_have_the_promised_spread(void)
{
    mk_config c = mk_config_init();
    c.type = LV_TYPE_F32;
    lv_gguf *g = model(&c);
    const struct { const char *name; float mean, sd; } want[] = {
        { "token_embd.weight", 0, 0.125f }, { "blk.0.ffn_up.weight", 0, 0.125f },
        { "blk.3.ffn_down.weight", 0, 0.0198f }, { "blk.1.attn_norm.weight", 1, 0.1f },
    };
    for (int i = 0; i < 4; i++) {
        size_t n;
        float *x = values(g, want[i].name, &n);
        double sum = 0, sq = 0;
        for (size_t j = 0; j < n; j++) sum += x[j], sq += (double)x[j] * x[j];
        const double mean = sum / (double)n, sd = sqrt(sq / (double)n - mean * mean);
        CHECK(fabs(mean - want[i].mean) < 0.5 * want[i].sd);
        CHECK(fabs(sd / want[i].sd - 1) < 0.25);
        free(x);
    }
    lv_gguf_close(&g);
}

static void fewer_layers_are_a_prefix_of_the_deeper_model(void)
{
    mk_config c = mk_config_init();
    size_t n, m;
    lv_gguf *g = model(&c);
    float *deep = values(g, "blk.1.ffn_down.weight", &n);
    lv_gguf_close(&g);
    c.n_layers = 2;
    g = model(&c);
    float *shallow = values(g, "blk.1.ffn_down.weight", &m);
    CHECK(n == m && !memcmp(deep, shallow, n * sizeof *deep));
    lv_gguf_close(&g);
    free(shallow);
    c.seed++;
    g = model(&c);
    shallow = values(g, "blk.1.ffn_down.weight", &m);
    CHECK(memcmp(deep, shallow, n * sizeof *deep));
    lv_gguf_close(&g);
    free(shallow);
    free(deep);
}

static void the_vocabulary_is_padded_and_its_texts_are_unique(void)
{
    mk_config c = mk_config_init();
    c.n_vocab = 500;
    lv_gguf *g = model(&c);
    const lv_gguf_kv *tokens = lv_gguf_find(g, "tokenizer.ggml.tokens");
    CHECK_EQ(tokens->n, 500);
    CHECK_EQ(lv_gguf_find(g, "tokenizer.ggml.token_type")->n, 500);
    for (uint64_t i = 0; i < 500; i++) {
        const lv_str a = lv_gguf_str(g, tokens, i);
        for (uint64_t j = 0; j < i; j++) {
            const lv_str b = lv_gguf_str(g, tokens, j);
            CHECK(a.len != b.len || memcmp(a.s, b.s, a.len));
        }
    }
    const lv_str space = lv_gguf_str(g, tokens, ' '), the = lv_gguf_str(g, tokens, 258);
    CHECK(space.len == 2 && !memcmp(space.s, "\xc4\xa0", 2)); /* U+0120 */
    CHECK(the.len == 5 && !memcmp(the.s, "\xc4\xa0the", 5));
    CHECK(!memcmp(lv_gguf_str(g, tokens, MK_MIN_VOCAB - 1).s, "<|endoftext|>", 13));
    lv_gguf_close(&g);
}

static void impossible_configurations_are_refused(void)
{
    const size_t live = lv_alloc_live();
    lever_error e = { 0 };
    mk_config c = mk_config_init();
    c.arch = "mamba";
    CHECK_EQ(mk_model_write(path, &c, &e), LEVER_EINVAL);
    c = mk_config_init(), c.n_ff = 100;
    CHECK_EQ(mk_model_write(path, &c, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "rows of 100 are not whole Q8_0 blocks"));
    c = mk_config_init(), c.type = LV_TYPE_COUNT;
    CHECK_EQ(mk_model_write(path, &c, &e), LEVER_EINVAL);
    c = mk_config_init(), c.n_vocab = 256;
    CHECK_EQ(mk_model_write(path, &c, &e), LEVER_EINVAL);
    c = mk_config_init(), c.n_heads = 0;
    CHECK_EQ(mk_model_write(path, &c, &e), LEVER_EINVAL);
    CHECK_EQ(lv_alloc_live(), live);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/lever_test_mkmodel_%ld.gguf", (long)getpid());
    RUN(each_architecture_has_its_tensors);
    RUN(weights_have_the_promised_spread);
    RUN(fewer_layers_are_a_prefix_of_the_deeper_model);
    RUN(the_vocabulary_is_padded_and_its_texts_are_unique);
    RUN(impossible_configurations_are_refused);
    unlink(path);
    return check_done();
}
