/* Logits of tiny random models against an independent implementation in float32 (provenance: the
 * heads of *.logits.txt; maker: tools/golden/make_goldens.py).
 *
 * Tolerance: keys and values are kept as f16, 11 significant bits, so each carries a relative error
 * of at most 2^-12 = 2.4e-4; over the two layers of these models the largest deviation seen is below
 * 1e-3 of the largest logit. 2e-3 leaves a factor of two; a wrong pairing, scale, order or bias is
 * wrong by more than 1e-1. SPDX-License-Identifier: MIT */
#include "equal/forward_rig.h"

enum { N_TOKENS_MAX = 64 };

typedef struct golden {
    int32_t tokens[N_TOKENS_MAX];
    uint32_t n;
    double max;
    FILE *f; /* stands before the first row */
} golden;

static void golden_open(golden *g, const char *arch)
{
    char path[128], line[1024];
    snprintf(path, sizeof path, "tests/golden/%s.logits.txt", arch);
    memset(g, 0, sizeof *g);
    g->f = fopen(path, "r");
    CHECK(g->f != NULL);
    if (!g->f) exit(1);
    do CHECK(fgets(line, sizeof line, g->f) != NULL);
    while (line[0] == '#');
    char *at = line + strlen("tokens");
    g->n = (uint32_t)strtoul(at, &at, 10);
    CHECK(g->n >= 1 && g->n <= N_TOKENS_MAX);
    for (uint32_t i = 0; i < g->n && i < N_TOKENS_MAX; i++) g->tokens[i] = (int32_t)strtol(at, &at, 10);
    CHECK_EQ(fscanf(g->f, " max %lf", &g->max), 1);
}

static void compare(golden *g, const rig *r, const float *logits)
{
    const lv_kernels *k = lv_cpu_kernels(r->cpu);
    double worst = 0;
    uint32_t n_rows = 0;
    unsigned pos, first, n;
    int argmax;
    while (fscanf(g->f, " row %u %d %u %u", &pos, &argmax, &first, &n) == 4) {
        CHECK(pos < g->n && first + n <= r->n_vocab);
        const float *row = logits + (size_t)pos * r->n_vocab;
        if (argmax >= 0) CHECK_EQ(k->argmax(row, r->n_vocab), argmax);
        for (unsigned i = 0; i < n; i++) {
            double v = 0;
            CHECK_EQ(fscanf(g->f, "%lf", &v), 1);
            const double diff = v > row[first + i] ? v - row[first + i] : row[first + i] - v;
            if (!(diff <= worst)) worst = diff;
        }
        n_rows++;
    }
    CHECK_EQ(n_rows, g->n);
    printf("  largest deviation %.2g of the largest logit\n", worst / g->max);
    CHECK(worst <= 2e-3 * g->max);
}

static void check_arch(const char *arch)
{
    golden g;
    rig r;
    lever_error e = { 0 };
    char path[128];
    snprintf(path, sizeof path, "tests/golden/%s.gguf", arch);
    golden_open(&g, arch);
    CHECK_OK(rig_open(&r, &(rig_config){ .path = path, .cpu_flags = lv_cpu_detect(), .n_threads = 2 }, &e),
             &e);
    float *whole = calloc((size_t)g.n * r.n_vocab, sizeof *whole);
    float *single = calloc((size_t)g.n * r.n_vocab, sizeof *single);
    CHECK_OK(rig_decode(&r, g.tokens, g.n, g.n, whole, &e), &e);
    compare(&g, &r, whole);
    lv_kv_truncate(&r.kv, 0);
    CHECK_OK(rig_decode(&r, g.tokens, g.n, 1, single, &e), &e);
    CHECK(!memcmp(whole, single, (size_t)g.n * r.n_vocab * sizeof *whole));
    free(whole);
    free(single);
    rig_close(&r);
    fclose(g.f);
}

static void llama_with_rope_factors_and_tied_head(void)
{
    check_arch("llama");
}
static void qwen2_with_biases(void)
{
    check_arch("qwen2");
}
static void qwen3_with_head_norms(void)
{
    check_arch("qwen3");
}

int main(void)
{
    RUN(llama_with_rope_factors_and_tied_head);
    RUN(qwen2_with_biases);
    RUN(qwen3_with_head_norms);
    return check_done();
}
