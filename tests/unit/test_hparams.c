/* Hyper-parameters and the weight map: every rule that refuses a file. SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "support/check.h"

#include "model/model.h"

/* A llama of 2 layers, described by keys and tensor headers; a test changes one thing at a time. */
typedef struct spec {
    const char *arch;
    const char *skip_key; /* after the dot */
    const char *key;
    uint32_t value; /* replaced or added */
    const char *fkey;
    float fvalue;
    const char *skey;
    const char *svalue;
    const char *skip_tensor, *extra_tensor;
    const char *tensor;
    uint32_t type;
    uint64_t rows, cols; /* replaced */
    uint32_t n_tokens;   /* tokenizer entries; 0 = no tokenizer */
} spec;

enum { EMBD = 64, HEADS = 4, KV_HEADS = 2, FF = 96, VOCAB = 10 };

static char path[128];

static void put_u32(lv_gguf_writer *w, const spec *s, const char *name, uint32_t v)
{
    char key[96];
    if (s->skip_key && !strcmp(s->skip_key, name)) return;
    if (s->key && !strcmp(s->key, name)) return;
    snprintf(key, sizeof key, "%s.%s", s->arch, name);
    CHECK_EQ(lv_gguf_put_u32(w, key, v, NULL), LEVER_OK);
}

static void put_f32(lv_gguf_writer *w, const spec *s, const char *name, float v)
{
    char key[96];
    if (s->skip_key && !strcmp(s->skip_key, name)) return;
    if (s->fkey && !strcmp(s->fkey, name)) return;
    snprintf(key, sizeof key, "%s.%s", s->arch, name);
    CHECK_EQ(lv_gguf_put_f32(w, key, v, NULL), LEVER_OK);
}

static void put_keys(lv_gguf_writer *w, const spec *s)
{
    spec plain = { .arch = s->arch };
    CHECK_EQ(lv_gguf_put_str(w, "general.architecture", s->arch, strlen(s->arch), NULL), LEVER_OK);
    put_u32(w, s, "context_length", 128);
    put_u32(w, s, "embedding_length", EMBD);
    put_u32(w, s, "block_count", 2);
    put_u32(w, s, "feed_forward_length", FF);
    put_u32(w, s, "attention.head_count", HEADS);
    put_u32(w, s, "attention.head_count_kv", KV_HEADS);
    put_f32(w, s, "attention.layer_norm_rms_epsilon", 1e-5f);
    if (s->key) put_u32(w, &plain, s->key, s->value);
    if (s->fkey) put_f32(w, &plain, s->fkey, s->fvalue);
    if (s->skey) {
        char key[96];
        snprintf(key, sizeof key, "%s.%s", s->arch, s->skey);
        CHECK_EQ(lv_gguf_put_str(w, key, s->svalue, strlen(s->svalue), NULL), LEVER_OK);
    }
    if (s->n_tokens) {
        lv_str tokens[32];
        for (uint32_t i = 0; i < s->n_tokens; i++) tokens[i] = (lv_str){ "x", 1 };
        CHECK_EQ(lv_gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, s->n_tokens, NULL), LEVER_OK);
    }
}

static size_t total_bytes;

static void put_tensor(lv_gguf_writer *w, const spec *s, const char *name, uint64_t rows, uint64_t cols)
{
    uint32_t type = LV_TYPE_F32;
    if (s->skip_tensor && !strcmp(s->skip_tensor, name)) return;
    if (s->tensor && !strcmp(s->tensor, name)) {
        type = s->type;
        rows = s->rows;
        cols = s->cols;
    }
    const uint64_t dims[2] = { rows ? rows : cols, cols };
    CHECK_EQ(lv_gguf_put_tensor(w, name, type, rows ? 2 : 1, dims, NULL), LEVER_OK);
    total_bytes += lv_type_row_bytes(type, cols) * (size_t)(rows ? rows : 1);
}

static void put_tensors(lv_gguf_writer *w, const spec *s)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } layer[] = {
        { "attn_norm", 0, EMBD },     { "attn_q", EMBD, EMBD },      { "attn_k", EMBD / 2, EMBD },
        { "attn_v", EMBD / 2, EMBD }, { "attn_output", EMBD, EMBD }, { "ffn_norm", 0, EMBD },
        { "ffn_gate", FF, EMBD },     { "ffn_up", FF, EMBD },        { "ffn_down", EMBD, FF },
    };
    put_tensor(w, s, "token_embd.weight", VOCAB, EMBD);
    put_tensor(w, s, "output_norm.weight", 0, EMBD);
    for (unsigned l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%u.%s.weight", l, layer[i].name);
            put_tensor(w, s, name, layer[i].rows, layer[i].cols);
        }
    if (s->extra_tensor) put_tensor(w, s, s->extra_tensor, 0, 8);
}

/* Write the model, open it. Every tensor's size is a multiple of the padding, so the data is one run. */
static int open_model(const spec *s, lv_model **m, lever_error *e)
{
    spec with_arch = *s;
    if (!s->arch) with_arch.arch = "llama";
    lv_gguf_writer *w = NULL;
    CHECK_OK(lv_gguf_writer_open(&w, path, e), e);
    put_keys(w, &with_arch);
    total_bytes = 0;
    put_tensors(w, &with_arch);
    char *zeros = calloc(total_bytes, 1);
    CHECK_OK(lv_gguf_write_data(w, zeros, total_bytes, e), e);
    free(zeros);
    CHECK_OK(lv_gguf_writer_finish(w, e), e);
    lv_gguf_writer_close(&w);
    return lv_model_open(m, path, e);
}

static void expect(const spec *s, int code, const char *words)
{
    lv_model *m = NULL;
    lever_error e = { 0 };
    const size_t live = lv_alloc_live();
    const int rc = open_model(s, &m, &e);
    if (rc != code || (words && !strstr(e.msg, words)))
        fprintf(stderr, "got %s \"%s\", expected %s with \"%s\"\n", lever_status_name(rc), e.msg,
                lever_status_name(code), words ? words : "");
    CHECK_EQ(rc, code);
    CHECK(!words || strstr(e.msg, words));
    CHECK(rc == LEVER_OK || (m == NULL && strstr(e.msg, path)));
    lv_model_close(&m);
    CHECK_EQ(lv_alloc_live(), live);
}

static void a_plain_model_is_understood(void)
{
    lv_model *m = NULL;
    lever_error e = { 0 };
    CHECK_OK(open_model(&(spec){ .n_tokens = VOCAB }, &m, &e), &e);
    const lv_hparams *h = lv_model_hparams(m);
    CHECK_STR(h->arch, "llama");
    CHECK_EQ(h->n_vocab, VOCAB);
    CHECK_EQ(h->n_embd, EMBD);
    CHECK_EQ(h->head_dim, 16);
    CHECK_EQ(h->n_rot, 16);
    CHECK_EQ(h->n_kv_heads, KV_HEADS);
    CHECK(h->rope_base == 10000 && h->rope_scale_linear == 1 && !h->rope_neox);
    CHECK_EQ(lv_model_max_k(m), FF);
    size_t n;
    const lv_model_weight *w = lv_model_weights(m, &n);
    CHECK_EQ(n, 2 * 7 + 1);
    CHECK_STR(w[0].name, "blk.0.attn_q.weight");
    CHECK_STR(w[13].name, "blk.1.ffn_down.weight");
    CHECK_EQ(w[13].layer, 1);
    CHECK_STR(w[14].name, "token_embd.weight"); /* tied */
    CHECK_EQ(w[14].layer, -1);
    CHECK(lv_model_gguf(m) != NULL);
    lv_model_drop_metadata(m);
    CHECK(lv_model_gguf(m) == NULL);
    CHECK_STR(w[0].name, "blk.0.attn_q.weight");
    lv_model_close(&m);
}

static void nonsense_sizes_are_refused(void)
{
    expect(&(spec){ .skip_key = "embedding_length" }, LEVER_EFORMAT, "'llama.embedding_length' is missing");
    expect(&(spec){ .skip_key = "context_length" }, LEVER_EFORMAT, "context_length");
    expect(&(spec){ .skip_key = "attention.layer_norm_rms_epsilon" }, LEVER_EFORMAT,
           "rms_epsilon' is missing");
    expect(&(spec){ .key = "embedding_length", .value = 0 }, LEVER_EFORMAT, "is 0, not within");
    expect(&(spec){ .key = "embedding_length", .value = UINT32_MAX }, LEVER_EFORMAT, "4294967295");
    expect(&(spec){ .key = "block_count", .value = 2000000 }, LEVER_EFORMAT, "block_count");
    expect(&(spec){ .key = "block_count", .value = 3 }, LEVER_EFORMAT, "'blk.2.attn_norm.weight' is missing");
    expect(&(spec){ .key = "feed_forward_length", .value = 1u << 31 }, LEVER_EFORMAT, "feed_forward_length");
    expect(&(spec){ .key = "attention.head_count", .value = 0 }, LEVER_EFORMAT, "head_count");
    expect(&(spec){ .key = "attention.head_count_kv", .value = 3 }, LEVER_EFORMAT, "not a multiple");
    expect(&(spec){ .key = "attention.key_length", .value = 32 }, LEVER_EUNSUP, "value_length is 16");
    expect(&(spec){ .key = "attention.key_length", .value = 5000 }, LEVER_EFORMAT, "key_length");
    expect(&(spec){ .key = "expert_count", .value = 8 }, LEVER_EUNSUP, "experts");
    expect(&(spec){ .n_tokens = VOCAB + 1 }, LEVER_EFORMAT, "11 entries");
}

static void nonsense_numbers_are_refused(void)
{
    expect(&(spec){ .fkey = "attention.layer_norm_rms_epsilon", .fvalue = 0 }, LEVER_EFORMAT,
           "epsilon' is 0");
    expect(&(spec){ .fkey = "attention.layer_norm_rms_epsilon", .fvalue = -1 }, LEVER_EFORMAT, "is -1");
    expect(&(spec){ .fkey = "rope.freq_base", .fvalue = __builtin_nanf("") }, LEVER_EFORMAT, "freq_base");
    expect(&(spec){ .fkey = "rope.freq_base", .fvalue = __builtin_inff() }, LEVER_EFORMAT, "freq_base");
    expect(&(spec){ .fkey = "rope.freq_base", .fvalue = 1e-30f }, LEVER_EFORMAT, "not within 1..1e+12");
    expect(&(spec){ .key = "rope.dimension_count", .value = 15 }, LEVER_EFORMAT, "odd");
    expect(&(spec){ .key = "rope.dimension_count", .value = 18 }, LEVER_EFORMAT, "dimension_count");
    expect(&(spec){ .key = "rope.dimension_count", .value = 8 }, LEVER_OK, NULL);
    expect(&(spec){ .skey = "embedding_length", .svalue = "many", .skip_key = "embedding_length" },
           LEVER_EFORMAT, "embedding_length");
}

static void unknown_kinds_are_unsupported(void)
{
    expect(&(spec){ .arch = "gpt9" }, LEVER_EUNSUP, "'gpt9' is not supported (known: llama, qwen2, qwen3)");
    expect(&(spec){ .skey = "rope.scaling.type", .svalue = "yarn" }, LEVER_EUNSUP, "'yarn'");
    expect(&(spec){ .skey = "rope.scaling.type", .svalue = "none" }, LEVER_OK, NULL);
    expect(
        &(spec){
            .skey = "rope.scaling.type", .svalue = "linear", .fkey = "rope.scaling.factor", .fvalue = 4 },
        LEVER_OK, NULL);
    expect(
        &(spec){
            .skey = "rope.scaling.type", .svalue = "linear", .fkey = "rope.scaling.factor", .fvalue = -4 },
        LEVER_EFORMAT, "rope.scaling.factor");
}

static void tensors_must_have_the_shape_the_equations_need(void)
{
    expect(&(spec){ .skip_tensor = "token_embd.weight" }, LEVER_EFORMAT, "vocabulary");
    expect(&(spec){ .skip_tensor = "token_embd.weight", .n_tokens = 4 }, LEVER_EFORMAT,
           "'token_embd.weight'");
    expect(&(spec){ .skip_tensor = "blk.1.ffn_up.weight" }, LEVER_EFORMAT,
           "'blk.1.ffn_up.weight' is missing");
    expect(&(spec){ .tensor = "blk.1.ffn_up.weight", .rows = EMBD, .cols = FF }, LEVER_EFORMAT,
           "'blk.1.ffn_up.weight' has shape [64, 96], expected [96, 64]");
    expect(&(spec){ .tensor = "output_norm.weight", .cols = 32 }, LEVER_EFORMAT, "shape [32], expected [64]");
    expect(&(spec){ .tensor = "output_norm.weight", .rows = EMBD, .cols = 8 }, LEVER_EFORMAT, "[64, 8]");
}

static void tensors_nobody_uses_are_refused(void)
{
    expect(&(spec){ .extra_tensor = "blk.0.attn_q.bias" }, LEVER_EUNSUP, "'blk.0.attn_q.bias' is not part");
    expect(&(spec){ .extra_tensor = "rope_freqs.weight" }, LEVER_OK, NULL);
    expect(&(spec){ .extra_tensor = "rope_freqs.weight", .key = "rope.dimension_count", .value = 8 },
           LEVER_EFORMAT, "shape [8], expected [4]");
}

static void tensor_types_without_a_product_are_refused(void)
{
    expect(&(spec){ .tensor = "blk.0.attn_q.weight", .type = LV_TYPE_Q5_1, .rows = EMBD, .cols = EMBD },
           lv_type_act_kind(LV_TYPE_Q5_1) < 0 ? LEVER_EUNSUP : LEVER_OK,
           lv_type_act_kind(LV_TYPE_Q5_1) < 0 ? "'blk.0.attn_q.weight' has type Q5_1" : NULL);
    expect(&(spec){ .tensor = "output_norm.weight", .type = LV_TYPE_Q8_0, .cols = EMBD }, LEVER_EUNSUP,
           "Q8_0");
    expect(&(spec){ .tensor = "output_norm.weight", .type = LV_TYPE_F16, .cols = EMBD }, LEVER_OK, NULL);
}

static void rope_factors_of_zero_are_refused_at_load(void)
{
    lv_model *m = NULL;
    lv_cpu *cpu = NULL;
    lever_error e = { 0 };
    CHECK_OK(open_model(&(spec){ .extra_tensor = "rope_freqs.weight" }, &m, &e), &e);
    const lv_cpu_config cc = { .n_threads = 1, .max_rows = 1, .max_k = FF, .max_ctx = 4, .max_head_dim = 16 };
    CHECK_OK(lv_cpu_open(&cpu, &cc, &e), &e);
    const lv_model_load_config lc = { .cpu = cpu, .max_rows = 1 };
    CHECK_EQ(lv_model_load(m, &lc, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "rope_freqs.weight[0] is 0"));
    lv_model_close(&m);
    lv_cpu_close(&cpu);
}

static void a_missing_file_is_named(void)
{
    lv_model *m = NULL;
    lever_error e = { 0 };
    CHECK_EQ(lv_model_open(&m, "no/such/model.gguf", &e), LEVER_EIO);
    CHECK(strstr(e.msg, "no/such/model.gguf"));
    CHECK(m == NULL);
}

static void open_survives_every_failed_allocation(void)
{
    lv_model *m = NULL;
    lever_error e = { 0 };
    CHECK_OK(open_model(&(spec){ .n_tokens = VOCAB }, &m, &e), &e);
    lv_model_close(&m);
    const size_t live = lv_alloc_live();
    for (long n = 0;; n++) {
        lv_alloc_fault(n, false);
        const int rc = lv_model_open(&m, path, &e);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK(fired ? rc == LEVER_ENOMEM && m == NULL : rc == LEVER_OK);
        lv_model_close(&m);
        CHECK_EQ(lv_alloc_live(), live);
        if (!fired) break;
    }
}

int main(void)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/lever-hparams-%ld.gguf", dir ? dir : "/tmp", (long)getpid());
    RUN(a_plain_model_is_understood);
    RUN(nonsense_sizes_are_refused);
    RUN(nonsense_numbers_are_refused);
    RUN(unknown_kinds_are_unsupported);
    RUN(tensors_must_have_the_shape_the_equations_need);
    RUN(tensors_nobody_uses_are_refused);
    RUN(tensor_types_without_a_product_are_refused);
    RUN(rope_factors_of_zero_are_refused_at_load);
    RUN(a_missing_file_is_named);
    RUN(open_survives_every_failed_allocation);
    unlink(path);
    return check_done();
}
