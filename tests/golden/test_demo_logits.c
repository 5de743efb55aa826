/* Logits of the trained demo target against PyTorch in float64 on the same dequantised weights (provenance: head of
 * demo_target.logits.txt; maker: tools/train/golden.py).
 *
 * Tolerance: the reference keeps activations exact, ours rounds them to 8 bits per block of 32, a relative error of
 * up to 1/254 of a block's largest value in each of 84 products; the largest deviation seen on these positions is
 * 0.35 % of the largest logit. 1 % leaves room for other positions, and the likeliest token must agree.
 * SPDX-License-Identifier: MIT */
#include "equal/forward_rig.h"

int main(void)
{
    FILE *f = fopen("tests/golden/demo_target.logits.txt", "r");
    rig r;
    lever_error e = { 0 };
    CHECK(f != NULL);
    if (!f) return 1;
    CHECK_OK(rig_open(&r, &(rig_config){ .path = "models/lever-demo-target.Q8_0.gguf",
                                         .cpu_flags = lv_cpu_detect(), .n_threads = 2 }, &e), &e);
    int32_t tokens[64];
    uint32_t n = 0, n_positions = 0;
    float *logits = NULL;
    char line[2048];
    while (fgets(line, sizeof line, f)) {
        char *at = line;
        if (!strncmp(line, "tokens:", 7)) {
            for (at += 7; n < 64; n++) {
                char *end;
                const long t = strtol(at, &end, 10);
                if (end == at) break;
                tokens[n] = (int32_t)t;
                at = end;
            }
            CHECK(n >= 16);
            logits = calloc((size_t)n * r.n_vocab, sizeof *logits);
            CHECK_OK(rig_decode(&r, tokens, n, n, logits, &e), &e);
        } else if (!strncmp(line, "pos ", 4) && logits) {
            const unsigned long pos = strtoul(line + 4, &at, 10);
            CHECK(pos < n && *at == ':');
            const float *row = logits + pos * r.n_vocab;
            double worst = 0, max = 0;
            for (int i = 0; i < 8; i++) {
                const long id = strtol(at + 1, &at, 10);
                const double want = strtod(at + 1, &at), diff = want - (double)row[id];
                if (i == 0) {
                    max = want;
                    CHECK_EQ(lv_cpu_kernels(r.cpu)->argmax(row, r.n_vocab), id);
                }
                if (diff > worst || -diff > worst) worst = diff < 0 ? -diff : diff;
            }
            printf("     position %lu: largest deviation %.2g of the largest logit\n", pos, worst / max);
            CHECK(worst <= 0.01 * max);
            n_positions++;
        }
    }
    CHECK_EQ(n_positions, 4);
    free(logits);
    rig_close(&r);
    fclose(f);
    check_tests = 1;
    return check_done();
}
