/* Shapes by name and by numbers. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "model/grow.h"

static lv_grow_shape shape(const char *text)
{
    lv_grow_shape s = { 0 };
    lever_error e = { 0 };
    CHECK_OK(lv_grow_shape_parse(&s, text, &e), &e);
    return s;
}

/* Weights of a model of this shape, as the makers count them: with norms, with q and k norms for qwen3. */
static uint64_t n_parameters(const lv_grow_shape *s, bool qk_norm)
{
    const uint64_t d = s->n_embd, q = (uint64_t)s->n_heads * s->head_dim,
                   kv = (uint64_t)s->n_kv_heads * s->head_dim;
    const uint64_t layer =
        2 * d + d * q + 2 * d * kv + q * d + 3 * d * s->n_ff + (qk_norm ? 2 * s->head_dim : 0);
    return s->n_layers * layer + d + (s->tied ? 1 : 2) * s->n_vocab * d;
}

static void presets_have_the_published_number_of_parameters(void)
{
    static const struct {
        const char *name;
        uint64_t n;
    } published[] = {
        { "llama-3.1-8b", 8030261248 }, { "llama-3.2-1b", 1235814400 }, { "qwen3-0.6b", 596049920 },
        { "qwen3-4b", 4022468096 },     { "qwen3-8b", 8190735360 },     { "qwen3-14b", 14768307200 },
    };
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const lv_grow_shape s = shape(published[i].name);
        CHECK_STR(s.name, published[i].name);
        CHECK_EQ(n_parameters(&s, published[i].name[0] == 'q'), published[i].n);
    }
}

static void numbers_stand_alone_or_change_a_preset(void)
{
    lv_grow_shape s = shape("qwen3-8b,layers=12,vocab=9000,tied=1");
    CHECK(s.n_layers == 12 && s.n_vocab == 9000 && s.tied == 1 && s.n_embd == 4096 && s.n_ff == 12288);
    s = shape("embd=2048,kv-heads=4,head-dim=64,heads=16,ff=512");
    CHECK(s.n_embd == 2048 && s.n_kv_heads == 4 && s.head_dim == 64 && s.n_heads == 16 && s.n_ff == 512);
    CHECK(s.n_layers == 0 && s.n_vocab == 0 && s.tied == -1 && !s.name[0]);
    s = shape("");
    CHECK(s.n_embd == 0 && s.tied == -1);
}

static void what_is_not_understood_is_named(void)
{
    static const char *const bad[] = { "qwen9-8b",  "layers",
                                       "layers=",   "layers=0",
                                       "layers=x",  "layers=3x",
                                       "layers=-3", "layers=99999999999999999999",
                                       "tied=2",    "qwen3-8b,,layers=3",
                                       "layers=3,", "qwen3-8b,llama-3.1-8b",
                                       "embd= 5",   "=5" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lv_grow_shape s;
        lever_error e = { 0 };
        CHECK_EQ(lv_grow_shape_parse(&s, bad[i], &e), LEVER_EINVAL);
        CHECK(strstr(e.msg, "shape: '") != NULL);
    }
}

int main(void)
{
    RUN(presets_have_the_published_number_of_parameters);
    RUN(numbers_stand_alone_or_change_a_preset);
    RUN(what_is_not_understood_is_named);
    return check_done();
}
