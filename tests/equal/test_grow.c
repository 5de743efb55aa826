/* A grown model has the shapes that were asked for and the logits of the small one.
 * SPDX-License-Identifier: MIT */
#include "forward_rig.h"

#include <math.h>
#include <unistd.h>

#include "gguf/gguf.h"
#include "gguf/gguf_quantize.h"
#include "model/grow.h"
#include "support/exit_sidecar.h"
#include "support/mkmodel.h"

static char small_path[128], typed_path[128], big_path[128];

static mk_config small_config(const char *arch)
{
    mk_config c = mk_config_init();
    c.arch = arch;
    c.type = LV_TYPE_F32;
    c.n_embd = 64, c.n_layers = 3, c.n_heads = 4, c.n_kv_heads = 2, c.head_dim = 32, c.n_ff = 96;
    return c;
}

static void make_small(const mk_config *c, uint32_t type)
{
    lever_error e = { 0 };
    CHECK_OK(mk_model_write(small_path, c, &e), &e);
    CHECK_OK(lv_gguf_quantize(small_path, typed_path, type, NULL, NULL, NULL, &e), &e);
}

/* The F32 model grown to `type`; its logits are compared with those of the same model quantised to it. */
static void grow(const char *shape, uint32_t type, lv_grow_result *r)
{
    lv_grow_shape s;
    lever_error e = { 0 };
    CHECK_OK(lv_grow_shape_parse(&s, shape, &e), &e);
    CHECK_OK(lv_grow(small_path, big_path, &s, type, 7, r, NULL, NULL, &e), &e);
}

static float *logits_of(const char *path, uint32_t *n_vocab)
{
    rig r;
    lever_error e = { 0 };
    int32_t tokens[RIG_TOKENS];
    rig_tokens(tokens, RIG_TOKENS, MK_MIN_VOCAB, 1);
    CHECK_OK(rig_open(&r, &(rig_config){ .path = path, .cpu_flags = lv_cpu_detect() }, &e), &e);
    float *logits = calloc((size_t)RIG_TOKENS * (r.n_vocab ? r.n_vocab : 1), sizeof *logits);
    if (r.n_vocab) CHECK_OK(rig_decode(&r, tokens, RIG_TOKENS, 8, logits, &e), &e);
    *n_vocab = r.n_vocab;
    rig_close(&r);
    return logits;
}

typedef struct difference {
    int bits;      /* logits that are not the same bits */
    float largest; /* relative to the largest logit */
    int padding;   /* logits of added tokens that are above token 0's */
} difference;

static difference compare(void)
{
    uint32_t n, m;
    float *a = logits_of(typed_path, &n), *b = logits_of(big_path, &m), scale = 0;
    difference d = { 0 };
    CHECK(n > 0 && m >= n);
    for (size_t t = 0; t < RIG_TOKENS; t++) {
        for (size_t i = 0; i < n; i++) scale = fmaxf(scale, fabsf(a[t * n + i]));
        for (size_t i = 0; i < n; i++) {
            d.bits += memcmp(&a[t * n + i], &b[t * m + i], sizeof *a) != 0;
            d.largest = fmaxf(d.largest, fabsf(a[t * n + i] - b[t * m + i]));
        }
        for (size_t i = n; i < m; i++) d.padding += b[t * m + i] > b[t * m];
    }
    d.largest /= scale;
    free(a);
    free(b);
    return d;
}

static const uint32_t types[] = { LV_TYPE_F32, LV_TYPE_F16, LV_TYPE_BF16, LV_TYPE_Q8_0, LV_TYPE_Q4_0 };
static const char *const archs[] = { "llama", "qwen2", "qwen3" };

static void expect_exact(const mk_config *c, const char *shape, uint32_t type)
{
    lv_grow_result r;
    grow(shape, type, &r);
    const difference d = compare();
    if (d.bits || !r.exact)
        fprintf(stderr, "%s grown to %s in %s: %d logits differ, by up to %g; said: %s\n", c->arch, shape,
                lv_type_traits_get(type)->name, d.bits, (double)d.largest, r.exact ? "exact" : r.why);
    CHECK(r.exact);
    CHECK_EQ(d.bits, 0);
    CHECK_EQ(d.padding, 0);
}

static void width_times_four_or_sixteen_keeps_every_bit(void)
{
    for (size_t a = 0; a < 3; a++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            const mk_config c = small_config(archs[a]);
            make_small(&c, types[t]);
            expect_exact(&c, "embd=256,layers=8,heads=12,kv-heads=3,ff=160,vocab=400", types[t]);
            expect_exact(&c, "embd=1024,heads=4,kv-heads=4,tied=0",
                         types[t]); /* one head per KV head: KV copies */
        }
}

static void blocks_of_256_keep_every_bit(void)
{
    static const uint32_t long_types[] = { LV_TYPE_Q4_K, LV_TYPE_Q6_K, LV_TYPE_IQ4_XS };
    mk_config c = small_config("qwen3");
    c.n_embd = 256, c.head_dim = 128, c.n_ff = 512;
    for (size_t t = 0; t < 3; t++) {
        make_small(&c, long_types[t]);
        expect_exact(&c, "embd=1024,layers=5,heads=16,kv-heads=4,ff=768,vocab=400", long_types[t]);
    }
}

static void same_width_and_longer_heads_keep_every_bit(void)
{
    const mk_config c = small_config("llama");
    make_small(&c, LV_TYPE_Q8_0);
    expect_exact(&c, "layers=5", LV_TYPE_Q8_0);
    expect_exact(&c, "head-dim=128", LV_TYPE_Q8_0);
    expect_exact(&c, "heads=16,kv-heads=8,head-dim=16", LV_TYPE_Q8_0); /* joined to 8 heads of 32 */
}

/* Factors of float32 are off by one in the last place; where that moves a key or value to the next number of
 * 16 bits, the difference grows to some 1e-4 of the logits. */
static void other_widths_agree_up_to_rounding(void)
{
    const char *const shapes[] = { "embd=128", "embd=160,layers=4", "embd=640,ff=128", "head-dim=64",
                                   "head-dim=128" };
    const mk_config c = small_config("qwen3");
    make_small(&c, LV_TYPE_F32);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        lv_grow_result r;
        grow(shapes[i], LV_TYPE_F32, &r);
        CHECK(!r.exact && r.why[0]);
        const difference d = compare();
        if (!(d.largest < 1e-3f)) fprintf(stderr, "%s: logits differ by %g\n", shapes[i], (double)d.largest);
        CHECK(d.largest < 1e-3f);
    }
}

/* A width that is no whole number of blocks: weights are quantised again in other blocks. */
static void partial_blocks_stay_near(void)
{
    mk_config c = small_config("llama");
    c.n_embd = 80, c.n_ff = 112;
    lever_error e = { 0 };
    CHECK_OK(mk_model_write(small_path, &c, &e), &e);
    CHECK_OK(lv_gguf_quantize(small_path, typed_path, LV_TYPE_F32, NULL, NULL, NULL, &e), &e);
    lv_grow_result r;
    grow("embd=320,ff=128", LV_TYPE_Q8_0, &r);
    CHECK(!r.exact && strstr(r.why, "blocks of 32"));
    CHECK(compare().largest < 0.05f);
}

static void tensors_have_the_shapes_asked_for(void)
{
    const mk_config c = small_config("qwen3");
    make_small(&c, LV_TYPE_Q8_0);
    lv_grow_result r;
    grow("embd=256,layers=5,heads=8,kv-heads=4,head-dim=32,ff=192,vocab=1000,tied=0", LV_TYPE_Q4_0, &r);
    CHECK_EQ(r.n_tensors, 5 * 11 + 3);
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } want[] = {
        { "token_embd.weight", 1000, 256 },          { "output.weight", 1000, 256 },
        { "blk.4.attn_q.weight", 8 * 32, 256 },      { "blk.0.attn_v.weight", 4 * 32, 256 },
        { "blk.2.attn_output.weight", 256, 8 * 32 }, { "blk.3.ffn_gate.weight", 192, 256 },
        { "blk.1.ffn_down.weight", 256, 192 },
    };
    lv_gguf *g;
    lever_error e = { 0 };
    CHECK_OK(lv_gguf_open(&g, big_path, &e), &e);
    uint64_t bytes = 0;
    for (size_t i = 0; i < lv_gguf_n_tensors(g); i++) bytes += lv_gguf_tensor_at(g, i)->bytes;
    CHECK_EQ(bytes, r.bytes);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const lv_gguf_tensor *t = lv_gguf_find_tensor(g, want[i].name);
        CHECK(t && t->dims[0] == want[i].rows && t->dims[1] == want[i].cols && t->type == LV_TYPE_Q4_0);
    }
    lv_gguf_close(&g);
}

/* Added weights are random bits, also where they are multiplied by zero: no storage can shorten them. */
static void added_blocks_are_not_empty(void)
{
    const mk_config c = small_config("llama");
    make_small(&c, LV_TYPE_Q8_0);
    lv_grow_result r;
    grow("embd=256,layers=6", LV_TYPE_Q8_0, &r);
    lv_gguf *g;
    lv_file f;
    lever_error e = { 0 };
    CHECK_OK(lv_gguf_open(&g, big_path, &e), &e);
    CHECK_OK(lv_file_open(&f, big_path, &e), &e);
    const lv_gguf_tensor *t = lv_gguf_find_tensor(g, "blk.1.ffn_down.weight"); /* of an added layer */
    uint8_t *bytes = malloc((size_t)t->bytes);
    CHECK_OK(lv_file_read(&f, bytes, (size_t)t->bytes, t->offset, &e), &e);
    size_t zeros = 0, scales = 0;
    for (size_t b = 0; b + 34 <= t->bytes; b += 34) {
        scales += bytes[b] || bytes[b + 1];
        for (int i = 2; i < 34; i++) zeros += bytes[b + (size_t)i] == 0;
    }
    CHECK_EQ(scales, 0);
    CHECK(zeros < t->bytes / 20);
    free(bytes);
    lv_file_close(&f);
    lv_gguf_close(&g);
}

static void what_can_not_be_grown_is_refused_by_name(void)
{
    static const struct {
        const char *shape, *says;
    } cases[] = {
        { "embd=32", "embd is 32, but the small model needs 64" },
        { "layers=2", "layers is 2" },
        { "vocab=100", "vocab is 100" },
        { "heads=2,kv-heads=1", "kv-heads" },
        { "heads=5,kv-heads=2", "no such model" },
        { "embd=100", "no whole Q8_0 blocks" },
        { "heads=6,kv-heads=3,head-dim=20", "can not be joined" },
    };
    const mk_config c = small_config("llama");
    make_small(&c, LV_TYPE_Q8_0);
    unlink(big_path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_grow_shape s;
        lever_error e = { 0 };
        CHECK_OK(lv_grow_shape_parse(&s, cases[i].shape, &e), &e);
        CHECK_EQ(lv_grow(small_path, big_path, &s, LV_TYPE_Q8_0, 0, NULL, NULL, NULL, &e), LEVER_EINVAL);
        if (!strstr(e.msg, cases[i].says)) fprintf(stderr, "%s: %s\n", cases[i].shape, e.msg);
        CHECK(strstr(e.msg, cases[i].says) != NULL);
        CHECK(access(big_path, F_OK) != 0);
    }
    lv_grow_shape s = { .tied = -1 };
    lever_error e = { 0 };
    CHECK_EQ(lv_grow(small_path, small_path, &s, LV_TYPE_Q8_0, 0, NULL, NULL, NULL, &e), LEVER_EINVAL);
    mk_config untied = c;
    untied.tied = false;
    CHECK_OK(mk_model_write(small_path, &untied, &e), &e);
    s.tied = 1;
    CHECK_EQ(lv_grow(small_path, big_path, &s, LV_TYPE_Q8_0, 0, NULL, NULL, NULL, &e), LEVER_EINVAL);
}

/* ---- the exit predictor ---- */

enum { N_SCORED = 12 };

typedef struct capture {
    const lv_exit *e;
    float x[RIG_TOKENS * 512];
    uint32_t n_rows;
    size_t n_embd;
} capture;

static int keep_states(void *user, uint32_t layer, const float *x, uint32_t n_rows, uint32_t *keep, lever_error *err)
{
    capture *c = user;
    (void)keep, (void)err;
    if (layer != lv_exit_layer(c->e)) return (int)n_rows;
    c->n_rows = n_rows;
    memcpy(c->x, x, n_rows * c->n_embd * sizeof *x);
    return (int)n_rows;
}

/* Scores of N_SCORED tokens after each of 8 rows. */
static void scores_of(const char *model, const char *sidecar_path, float *scores)
{
    lever_error e = { 0 };
    lv_model_id id;
    lv_model *m = NULL;
    static capture c;
    c = (capture){ 0 };
    lv_exit *predictor = NULL;
    CHECK_OK(lv_model_open(&m, model, &e), &e);
    CHECK_OK(lv_model_identify(m, &id, &e), &e);
    c.n_embd = id.n_embd;
    lv_model_close(&m);
    CHECK_OK(lv_exit_open(&predictor, sidecar_path, &id, &e), &e);
    if (!predictor) return;
    c.e = predictor;
    rig r;
    CHECK_OK(rig_open(&r, &(rig_config){ .path = model }, &e), &e);
    int32_t tokens[RIG_TOKENS], some[N_SCORED];
    rig_tokens(tokens, 8, MK_MIN_VOCAB, 1);
    rig_tokens(some, N_SCORED, MK_MIN_VOCAB, 2);
    lv_row rows[8];
    for (int32_t i = 0; i < 8; i++) rows[i] = (lv_row){ .token = tokens[i], .parent = i - 1 };
    lv_kv *kv = &r.kv;
    lv_batch b = { .rows = rows, .n_rows = 8, .kv = &kv, .n_kv = 1, .after_layer = keep_states, .hook_user = &c };
    CHECK_OK(lv_model_forward(r.m, &b, &e), &e);
    CHECK_EQ(c.n_rows, 8);
    for (uint32_t i = 0; i < c.n_rows; i++)
        CHECK_EQ(lv_exit_score(predictor, r.m, c.x + i * c.n_embd, some, N_SCORED, scores + i * N_SCORED), LEVER_OK);
    rig_close(&r);
    lv_exit_close(&predictor);
}

/* Heads tied and not, widths whose ratio is a power of four and not. */
static void an_exit_predictor_scores_the_same_when_grown(void)
{
    static const char *const shapes[] = { "embd=256,layers=7", "embd=256,layers=4,tied=0,vocab=300", "embd=200" };
    lever_error e = { 0 };
    mk_config c = small_config("llama");
    c.tied = true;
    make_small(&c, LV_TYPE_F32);
    char small_exit[160], big_exit[160];
    snprintf(small_exit, sizeof small_exit, "%s.small", big_path);
    snprintf(big_exit, sizeof big_exit, "%s.big", big_path);
    lv_model *m = NULL;
    lv_model_id id;
    CHECK_OK(lv_model_open(&m, small_path, &e), &e);
    CHECK_OK(lv_model_identify(m, &id, &e), &e);
    lv_model_close(&m);
    sidecar s = sidecar_make(&id, LV_EXIT_TIED);
    CHECK_OK(lv_exit_write(small_exit, &s.card, &s.weights, &e), &e);
    static float want[8 * N_SCORED], got[8 * N_SCORED];
    scores_of(small_path, small_exit, want);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        lv_grow_result r;
        grow(shapes[i], LV_TYPE_F32, &r);
        CHECK_OK(lv_grow_exit(small_path, small_exit, big_path, big_exit, &e), &e);
        scores_of(big_path, big_exit, got);
        double most = 0, off = 0;
        for (int k = 0; k < 8 * N_SCORED; k++) {
            if (fabs((double)want[k]) > most) most = fabs((double)want[k]);
            if (fabs((double)want[k] - (double)got[k]) > off) off = fabs((double)want[k] - (double)got[k]);
        }
        CHECK(most > 0.1 && off < most * 1e-4);
    }
    CHECK_EQ(lv_grow_exit(big_path, small_exit, big_path, big_exit, &e), LEVER_EINVAL); /* of another model */
    sidecar_free(&s);
    s = sidecar_make(&id, LV_EXIT_UNTIED);
    CHECK_OK(lv_exit_write(small_exit, &s.card, &s.weights, &e), &e);
    CHECK_EQ(lv_grow_exit(small_path, small_exit, big_path, big_exit, &e), LEVER_EUNSUP);
    sidecar_free(&s);
    unlink(small_exit);
    unlink(big_exit);
}

int main(void)
{
    const char *dir = getenv("TMPDIR");
    char *const paths[] = { small_path, typed_path, big_path };
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof small_path, "%s/lever-grow-%ld-%d.gguf", dir ? dir : "/tmp", (long)getpid(),
                 i);
    RUN(width_times_four_or_sixteen_keeps_every_bit);
    RUN(blocks_of_256_keep_every_bit);
    RUN(same_width_and_longer_heads_keep_every_bit);
    RUN(other_widths_agree_up_to_rounding);
    RUN(partial_blocks_stay_near);
    RUN(tensors_have_the_shapes_asked_for);
    RUN(added_blocks_are_not_empty);
    RUN(what_can_not_be_grown_is_refused_by_name);
    RUN(an_exit_predictor_scores_the_same_when_grown);
    for (int i = 0; i < 3; i++) unlink(paths[i]);
    return check_done();
}
